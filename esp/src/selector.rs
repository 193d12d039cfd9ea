//! Traffic selectors of an SA: which inner packets may use it (RFC 4301 §4.4.1.1, §5.1, §5.2).
//!
//! ```text
//!             source         destination
//! outbound    in local       in remote        before sealing
//! inbound     in remote      in local         after opening
//! ```
//!
//! A packet belongs to an SA if one selector of the source side and one of the destination side match it.
//! Ports of each side are compared with that side's selector. A type (ICMP, Mobility Header) belongs to the
//! sender, so only the source side's selector looks at it (RFC 4301 §4.4.1.3). A packet without ports, for
//! example a later fragment, matches selectors for all ports or for "opaque" (start 65535, end 0) only.

use std::net::IpAddr;

use crate::ip::{Upper, View};

/// The selectors of an SA, seen from this side. An SA with an empty list carries nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    /// Addresses behind us.
    pub local: Vec<Selector>,
    /// Addresses behind the peer.
    pub remote: Vec<Selector>,
}

/// One traffic selector (RFC 7296 §3.13.1): all bounds are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Next layer protocol; 0 is any.
    pub protocol: u8,
    /// First and last port, or type and code. (0, 65535) is any; (65535, 0) is opaque: packets without ports.
    pub ports: (u16, u16),
    /// First address.
    pub start: IpAddr,
    /// Last address, of the same family.
    pub end: IpAddr,
}

impl Selectors {
    /// Whether a packet that leaves through the SA may: source local, destination remote.
    #[must_use]
    pub fn admit_outbound(&self, packet: &View) -> bool {
        admit(&self.local, &self.remote, packet)
    }

    /// Whether a packet that came through the SA may: source remote, destination local.
    #[must_use]
    pub fn admit_inbound(&self, packet: &View) -> bool {
        admit(&self.remote, &self.local, packet)
    }
}

impl Selector {
    /// Any protocol and port from `start` to `end`, both included.
    #[must_use]
    pub const fn addresses(start: IpAddr, end: IpAddr) -> Self {
        Self { protocol: 0, ports: ANY_PORT, start, end }
    }

    /// Whether the sender's side of a packet matches: its source address, protocol, and source port or type.
    #[must_use]
    pub fn matches_source(&self, packet: &View) -> bool {
        let port = match packet.upper {
            Upper::Ports { source, .. } => Some(source),
            Upper::Type(kind) => Some(kind),
            Upper::Opaque => None,
        };
        self.contains(packet.source) && self.has_protocol(packet.protocol) && self.has_port(port)
    }

    /// Whether the receiver's side of a packet matches: its destination address, protocol and destination port.
    #[must_use]
    pub fn matches_destination(&self, packet: &View) -> bool {
        let port_matches = match packet.upper {
            Upper::Ports { destination, .. } => self.has_port(Some(destination)),
            Upper::Type(_) => true,
            Upper::Opaque => self.has_port(None),
        };
        self.contains(packet.destination) && self.has_protocol(packet.protocol) && port_matches
    }

    /// Whether `address` lies in the range; never across families.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.start, self.end, address) {
            (IpAddr::V4(start), IpAddr::V4(end), IpAddr::V4(address)) => {
                (start.to_bits()..=end.to_bits()).contains(&address.to_bits())
            }
            (IpAddr::V6(start), IpAddr::V6(end), IpAddr::V6(address)) => {
                (start.to_bits()..=end.to_bits()).contains(&address.to_bits())
            }
            _ => false,
        }
    }

    const fn has_protocol(&self, protocol: u8) -> bool {
        self.protocol == 0 || self.protocol == protocol
    }

    fn has_port(&self, port: Option<u16>) -> bool {
        match port {
            Some(port) => (self.ports.0..=self.ports.1).contains(&port),
            None => self.ports == ANY_PORT || self.ports == OPAQUE_PORT,
        }
    }
}

fn admit(source: &[Selector], destination: &[Selector], packet: &View) -> bool {
    source.iter().any(|selector| selector.matches_source(packet))
        && destination.iter().any(|selector| selector.matches_destination(packet))
}

/// Every port, and packets without one.
pub const ANY_PORT: (u16, u16) = (0, u16::MAX);

/// Packets without a port only (RFC 7296 §3.13.1).
pub const OPAQUE_PORT: (u16, u16) = (u16::MAX, 0);
