//! The checked view of an IPv4 or IPv6 packet: what selectors and policies need, read once.
//!
//! ```text
//!        0        4                        8              12       16            20
//! IPv4   | v ihl tos length | id DF MF offset | ttl protocol sum | source | destination | options | upper
//!        0        4                               8           24            40
//! IPv6   | v class flow | length, next header, hop | source    | destination | extension headers | upper
//!                                                                              0, 43, 44, 60 are skipped
//! upper  TCP, UDP, UDP-Lite, DCCP, SCTP: ports    ICMP, ICMPv6, Mobility: type
//!        anything else, and all of a later fragment: opaque
//! ```
//!
//! RFC 791 §3.1, RFC 8200 §3 and §4.
//!
//! [`View::parse`] never reads past the total length and never fails for what lies above the IP header:
//! an upper header that is cut off is [`Upper::Opaque`], which only selectors for all ports match.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One IP packet, parsed. Holds values, not octets, so that the buffer may be written meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Octets of the whole packet by its own header; never more than were given to [`View::parse`].
    pub total_len: usize,
    /// Octets before the upper-layer header: the IP header, its options or extension headers.
    pub header_len: usize,
    /// IPv4 type of service or IPv6 traffic class: DSCP in the upper six bits, ECN in the lower two.
    pub traffic_class: u8,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family as `source`.
    pub destination: IpAddr,
    /// Next layer protocol (RFC 4301 §4.4.1.1): what follows the extension headers. In a later fragment of an
    /// IPv6 packet, and where headers are cut off or too many, the number of the header that was reached.
    pub protocol: u8,
    /// What the next layer offers to selectors.
    pub upper: Upper,
    /// Whether this is a fragment.
    pub fragment: Fragment,
    /// Whether routers must not fragment it: the IPv4 DF bit; always true for IPv6.
    pub dont_fragment: bool,
}

/// What the next layer header offers to selectors (RFC 4301 §4.4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upper {
    /// Ports of TCP, UDP, UDP-Lite, DCCP or SCTP.
    Ports {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// ICMP type and code or Mobility Header type: type in the upper octet, code or 0 in the lower.
    Type(u16),
    /// Nothing: another protocol, a later fragment, or too few octets.
    Opaque,
}

/// Place of a packet among the fragments of its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// Not fragmented.
    Whole,
    /// The first of several: has the upper-layer header.
    First,
    /// Any later one: has no upper-layer header.
    Later,
}

/// IP version of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// IPv4, ESP next header 4.
    V4,
    /// IPv6, ESP next header 41.
    V6,
}

impl View {
    /// Reads the packet at the start of `octets`; octets behind its total length are ignored.
    /// `None` if it is neither IPv4 nor IPv6, its header is damaged, or fewer octets are there than it claims.
    /// The IPv4 header checksum is not looked at: the host that receives the packet does that.
    #[must_use]
    pub fn parse(octets: &[u8]) -> Option<Self> {
        match octets.first()? >> 4 {
            4 => Self::parse_v4(octets),
            6 => Self::parse_v6(octets),
            _ => None,
        }
    }

    /// IP version.
    #[must_use]
    pub const fn version(&self) -> Version {
        match self.source {
            IpAddr::V4(_) => Version::V4,
            IpAddr::V6(_) => Version::V6,
        }
    }

    /// Source and destination port, if the packet has them.
    #[must_use]
    pub const fn ports(&self) -> Option<(u16, u16)> {
        match self.upper {
            Upper::Ports { source, destination } => Some((source, destination)),
            Upper::Type(_) | Upper::Opaque => None,
        }
    }

    /// Whether the packet is one of several fragments, first or later.
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        !matches!(self.fragment, Fragment::Whole)
    }

    fn parse_v4(octets: &[u8]) -> Option<Self> {
        let header = octets.first_chunk::<V4_HEADER_LEN>()?;
        let [
            first,
            traffic_class,
            len_hi,
            len_lo,
            _,
            _,
            frag_hi,
            frag_lo,
            _,
            protocol,
            _,
            _,
            addresses @ ..,
        ] = *header;
        let header_len = usize::from(first & 0x0f) * 4;
        let total_len = usize::from(u16::from_be_bytes([len_hi, len_lo]));
        if header_len < V4_HEADER_LEN {
            return None;
        }
        let packet = octets.get(..total_len)?;
        let (source, destination) = addresses.split_first_chunk::<4>()?;
        let flags_and_offset = u16::from_be_bytes([frag_hi, frag_lo]);
        let fragment = Fragment::of(flags_and_offset & 0x1fff, flags_and_offset & 0x2000 != 0);
        Some(Self {
            total_len,
            header_len,
            traffic_class,
            // Each address in one piece, so that it is written as the number that selectors read.
            source: Ipv4Addr::from(*source).into(),
            destination: Ipv4Addr::from(*destination.first_chunk::<4>()?).into(),
            protocol,
            upper: Upper::read(protocol, packet.get(header_len..)?, fragment),
            fragment,
            dont_fragment: flags_and_offset & 0x4000 != 0,
        })
    }

    fn parse_v6(octets: &[u8]) -> Option<Self> {
        let (header, _) = octets.split_first_chunk::<V6_HEADER_LEN>()?;
        let [v0, v1, _, _, len_hi, len_lo, next_header, _, addresses @ ..] = *header;
        let payload_len = usize::from(u16::from_be_bytes([len_hi, len_lo]));
        // A jumbogram (RFC 2675), which no path here carries, or a header that is not there.
        if payload_len == 0 && next_header == HOP_BY_HOP {
            return None;
        }
        let total_len = V6_HEADER_LEN + payload_len;
        let packet = octets.get(..total_len)?;
        let (source, destination) = addresses.split_first_chunk::<16>()?;
        let chain = Chain::walk(packet, next_header);
        Some(Self {
            total_len,
            header_len: chain.header_len,
            traffic_class: (v0 << 4) | (v1 >> 4),
            source: Ipv6Addr::from(*source).into(),
            destination: Ipv6Addr::from(*destination.first_chunk::<16>()?).into(),
            protocol: chain.protocol,
            upper: Upper::read(
                chain.protocol,
                packet.get(chain.header_len..).unwrap_or_default(),
                chain.fragment,
            ),
            fragment: chain.fragment,
            dont_fragment: true,
        })
    }
}

/// Where the IPv6 extension headers end.
struct Chain {
    protocol: u8,
    header_len: usize,
    fragment: Fragment,
}

impl Chain {
    /// Skips the extension headers that RFC 4301 §4.4.1.1 names. AH is not among them: it is a next layer.
    fn walk(packet: &[u8], next_header: u8) -> Self {
        let mut chain =
            Self { protocol: next_header, header_len: V6_HEADER_LEN, fragment: Fragment::Whole };
        for _ in 0..MAX_EXTENSION_HEADERS {
            if !matches!(chain.protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) {
                break;
            }
            let rest = packet.get(chain.header_len..).unwrap_or_default();
            let Some(&[next, len, offset_hi, offset_lo]) = rest.first_chunk::<4>() else { break };
            let len = match chain.protocol {
                FRAGMENT => FRAGMENT_HEADER_LEN,
                _ => (usize::from(len) + 1) * 8,
            };
            if rest.len() < len {
                break;
            }
            if chain.protocol == FRAGMENT {
                let field = u16::from_be_bytes([offset_hi, offset_lo]);
                chain.fragment = Fragment::of(field >> 3, field & 1 != 0);
            }
            chain.protocol = next;
            chain.header_len += len;
            if chain.fragment == Fragment::Later {
                break; // what follows is the middle of a datagram, not a header
            }
        }
        chain
    }
}

impl Upper {
    fn read(protocol: u8, upper: &[u8], fragment: Fragment) -> Self {
        if fragment == Fragment::Later {
            return Self::Opaque;
        }
        match (protocol, upper) {
            (TCP | UDP | UDP_LITE | DCCP | SCTP, &[s0, s1, d0, d1, ..]) => Self::Ports {
                source: u16::from_be_bytes([s0, s1]),
                destination: u16::from_be_bytes([d0, d1]),
            },
            (ICMP | ICMP_V6, &[kind, code, ..]) => Self::Type(u16::from_be_bytes([kind, code])),
            // RFC 6275 §6.1.1: next header, length, MH type.
            (MOBILITY, &[_, _, kind, ..]) => Self::Type(u16::from_be_bytes([kind, 0])),
            _ => Self::Opaque,
        }
    }
}

impl Fragment {
    /// From the offset in units of 8 octets and the "more fragments" flag. An IPv6 atomic fragment
    /// (RFC 6946) is a whole packet.
    const fn of(offset: u16, more: bool) -> Self {
        match (offset, more) {
            (0, false) => Self::Whole,
            (0, true) => Self::First,
            _ => Self::Later,
        }
    }
}

const V4_HEADER_LEN: usize = 20;
const V6_HEADER_LEN: usize = 40;
const FRAGMENT_HEADER_LEN: usize = 8;

/// Chosen so that a packet of nothing but extension headers costs little: hosts send one to three.
const MAX_EXTENSION_HEADERS: usize = 8;

// Protocol numbers, IANA "Assigned Internet Protocol Numbers".
const HOP_BY_HOP: u8 = 0;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const ICMP_V6: u8 = 58;
const DESTINATION_OPTIONS: u8 = 60;
const SCTP: u8 = 132;
const MOBILITY: u8 = 135;
const UDP_LITE: u8 = 136;

#[cfg(test)]
mod tests;
