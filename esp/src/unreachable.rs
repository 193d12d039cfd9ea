//! The ICMP message to an inside host whose packet was dropped before it got into a tunnel, and which says why.
//!
//! ```text
//!                    IPv4: 3 |                      IPv6: 1 |
//!   NoRoute          0  net unreachable             0  no route to destination               nobody has the network
//!   NotConnected     1  host unreachable            3  address unreachable                   its tunnel is not up
//!   Filtered         13 administratively prohibited 1  administratively prohibited           the two sides left it out
//!   Source           13 administratively prohibited 5  source failed ingress policy          not from there
//!
//!   | type | code | checksum |     0     |  the packet, until all is 576 (RFC 1812 §4.3.2.3) or 1280 octets (RFC 4443 §3.1) |
//! ```
//!
//! Who gets none: see [`too_big`](crate::too_big). The IP header is the kernel's to write, and the checksum of ICMPv6, which
//! covers it (RFC 3542 §3.1).

use std::net::IpAddr;

use crate::checksum::Sum;
use crate::ip::{Fragment, View};
use crate::too_big::{
    ICMP_HEADER_LEN, MAX_LEN_V4, MAX_LEN_V6, V4_HEADER_LEN, V6_HEADER_LEN, is_icmp_error,
    is_one_host,
};

/// Why a packet does not get into a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unreachable {
    /// No tunnel leads there.
    NoRoute,
    /// One does, and is not up.
    NotConnected,
    /// One does and is up, and what was agreed on leaves the packet out.
    Filtered,
    /// One does, and not from this source.
    Source,
}

impl Unreachable {
    /// All of them, in declaration order.
    pub const ALL: [Self; 4] = [Self::NoRoute, Self::NotConnected, Self::Filtered, Self::Source];

    /// A stable word for status and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoRoute => "no-route",
            Self::NotConnected => "not-connected",
            Self::Filtered => "filtered",
            Self::Source => "source",
        }
    }

    /// Type and code.
    const fn numbers(self, is_v4: bool) -> (u8, u8) {
        match (is_v4, self) {
            (true, Self::NoRoute) => (3, 0),
            (true, Self::NotConnected) => (3, 1),
            (true, Self::Filtered | Self::Source) => (3, 13),
            (false, Self::NoRoute) => (1, 0),
            (false, Self::NotConnected) => (1, 3),
            (false, Self::Filtered) => (1, 1),
            (false, Self::Source) => (1, 5),
        }
    }
}

/// Writes into `out` the ICMP message, without IP header, that tells the source of `offending` why it was dropped.
/// [`MAX_LEN_V6`] octets of room are always enough. `view` was read from `offending`.
///
/// Returns the length of the message. `None` if there must be none: for an ICMP error, a later fragment, a source or a
/// destination that is not one host, or if `out` is too small.
#[must_use]
pub fn unreachable(
    offending: &[u8],
    view: &View,
    why: Unreachable,
    out: &mut [u8],
) -> Option<usize> {
    let packet = offending.get(..view.total_len)?;
    let answered = view.fragment != Fragment::Later
        && !is_icmp_error(view)
        && is_one_host(view.source)
        && is_one_host(view.destination);
    if !answered {
        return None;
    }
    let is_v4 = matches!(view.source, IpAddr::V4(_));
    let most = if is_v4 { MAX_LEN_V4 - V4_HEADER_LEN } else { MAX_LEN_V6 - V6_HEADER_LEN };
    let quote = packet.get(..most - ICMP_HEADER_LEN).unwrap_or(packet);
    let len = ICMP_HEADER_LEN + quote.len();
    let (front, body) = out.get_mut(..len)?.split_first_chunk_mut::<ICMP_HEADER_LEN>()?;
    let (kind, code) = why.numbers(is_v4);
    *front = [kind, code, 0, 0, 0, 0, 0, 0];
    body.copy_from_slice(quote);
    if is_v4 {
        let sum = Sum::of(front) + Sum::of(quote);
        [front[2], front[3]] = sum.finish().to_be_bytes();
    }
    Some(len)
}

#[cfg(test)]
mod tests {
    use etherparse::{Icmpv4Slice, Icmpv4Type, PacketBuilder, icmpv4};

    use super::*;

    fn udp(from: [u8; 4], to: [u8; 4], len: usize) -> Vec<u8> {
        let mut octets = Vec::new();
        PacketBuilder::ipv4(from, to, 64).udp(7, 9).write(&mut octets, &vec![0xa5; len]).unwrap();
        octets
    }

    fn answer(packet: &[u8], why: Unreachable) -> Option<Vec<u8>> {
        let mut out = vec![0xee; MAX_LEN_V6];
        let view = View::parse(packet).unwrap();
        let len = unreachable(packet, &view, why, &mut out)?;
        assert!(out[len..].iter().all(|octet| *octet == 0xee), "nothing behind it is written");
        out.truncate(len);
        Some(out)
    }

    #[test]
    fn ipv4_answers_read_back() {
        let packet = udp([10, 1, 0, 1], [10, 9, 0, 1], 1000);
        for (why, code) in [
            (Unreachable::NoRoute, 0),
            (Unreachable::NotConnected, 1),
            (Unreachable::Filtered, 13),
            (Unreachable::Source, 13),
        ] {
            let message = answer(&packet, why).expect("an answer");
            let icmp = Icmpv4Slice::from_slice(&message).expect("ICMP");
            assert_eq!(message[..2], [3, code], "{why:?}");
            assert!(matches!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(_)), "{why:?}");
            assert_eq!(message.len(), 576 - 20);
            assert_eq!(icmp.payload(), &packet[..548]);
            assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
        }
        let host = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Host);
        let message = answer(&packet, Unreachable::NotConnected).expect("an answer");
        assert_eq!(Icmpv4Slice::from_slice(&message).expect("ICMP").icmp_type(), host);
    }

    #[test]
    fn ipv6_answers_have_their_own_codes_and_no_checksum_yet() {
        let mut packet = Vec::new();
        let (from, to) = ([0x20, 1, 0xd, 0xb8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0x20; 16]);
        PacketBuilder::ipv6(from, to, 64).udp(7, 9).write(&mut packet, &[0; 1400]).unwrap();
        let codes = Unreachable::ALL.map(|why| {
            let message = answer(&packet, why).expect("an answer");
            assert_eq!((message.len(), message[0]), (1280 - 40, 1));
            assert_eq!(message[2..8], [0; 6]);
            message[1]
        });
        assert_eq!(codes, [0, 3, 1, 5]);
    }

    #[test]
    fn nobody_answers_errors_groups_or_later_fragments() {
        let good = udp([10, 1, 0, 1], [10, 9, 0, 1], 8);
        assert!(answer(&good, Unreachable::NoRoute).is_some());
        let mut later = good.clone();
        later[7] = 1;
        assert_eq!(answer(&later, Unreachable::NoRoute), None);
        for (from, to) in [
            ([0; 4], [10, 9, 0, 1]),
            ([10, 1, 0, 1], [224, 0, 0, 1]),
            ([127, 0, 0, 1], [10, 9, 0, 1]),
        ] {
            assert_eq!(answer(&udp(from, to, 8), Unreachable::NoRoute), None, "{from:?} {to:?}");
        }
        let mut error = Vec::new();
        let host = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Host);
        PacketBuilder::ipv4([10, 1, 0, 1], [10, 9, 0, 1], 64)
            .icmpv4(host)
            .write(&mut error, &good)
            .unwrap();
        assert_eq!(answer(&error, Unreachable::NoRoute), None);
        let view = View::parse(&good).unwrap();
        assert_eq!(unreachable(&good, &view, Unreachable::NoRoute, &mut [0; 40]), None, "no room");
    }
}
