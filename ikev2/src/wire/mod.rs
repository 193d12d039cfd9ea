//! The octets of RFC 7296 §3: parse borrows, emit owns, nothing here knows of keys or states.
//!
//! ```text
//!   datagram ──► header::Header ──► message::Payloads ──► message::Body { sa, ke, nonce, ... }
//!                28 octets          one per payload       proposal, identity (name), selector (traffic), certificate,
//!   octet by octet: cursor                                redirect, ppk, and payload for all others
//!
//!   message::Chain ──► message::message (in the clear) or the cryptography (inside SK) ──► datagram
//! ```
//!
//! The module is public so that fuzzers and tools can read messages; an [`Endpoint`](crate::Endpoint) does it all by
//! itself. Whatever the octets, parsing does not panic and needs no more memory than a small multiple of their number.

pub mod certificate;
pub mod cursor;
pub mod header;
pub mod identity;
pub mod message;
pub mod name;
pub mod payload;
pub mod ppk;
pub mod proposal;
pub mod redirect;
pub mod selector;
pub mod traffic;

use crate::registry::PayloadType;

/// Why octets are not a message. Says which structure, so that a log line is enough to find the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It ends before its fields do.
    #[error("{0} is cut short")]
    Truncated(&'static str),
    /// Its length field disagrees with what is there.
    #[error("{0} has an impossible length")]
    Length(&'static str),
    /// A field has a value that the RFC rules out.
    #[error("{0}")]
    Value(&'static str),
    /// A payload that may occur once occurs twice.
    #[error("payload {0} occurs twice")]
    Duplicate(PayloadType),
    /// Too long to be written: a length exceeds 65535, or a count 255.
    #[error("{0} is too large to be sent")]
    Overflow(&'static str),
}
