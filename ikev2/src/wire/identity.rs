//! Identification payloads (RFC 7296 §3.5).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::registry::IdType;

/// Who somebody claims to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// ID_IPV4_ADDR.
    Ipv4(Ipv4Addr),
    /// ID_IPV6_ADDR.
    Ipv6(Ipv6Addr),
    /// ID_FQDN, without trailing dot.
    Fqdn(String),
    /// ID_RFC822_ADDR.
    Email(String),
    /// ID_KEY_ID: opaque octets.
    KeyId(Vec<u8>),
    /// A type that we know no better form of.
    Other(IdType, Vec<u8>),
}
