//! Traffic selectors (RFC 7296 §3.13).

use std::net::IpAddr;

/// A range of addresses, a range of ports, one protocol or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrafficSelector {
    /// IP protocol; 0 means any.
    pub protocol: u8,
    /// First and last port, both included; `(0, 65535)` means any, `(65535, 0)` is OPAQUE (RFC 7296 §3.13.1).
    pub ports: (u16, u16),
    /// First address.
    pub start: IpAddr,
    /// Last address, of the same family, not before `start`.
    pub end: IpAddr,
}
