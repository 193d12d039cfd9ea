//! Lowers the maximum segment size that TCP announces, so that its segments fit into the tunnel (MSS clamping).
//!
//! ```text
//! IP header | TCP header 20: .. offset, flags, window, checksum .. | options, up to 40 octets
//!                                   SYN                              .. | 2 | 4 |  MSS  | ..    2: kind, 4: length
//!                                                                                 lowered to mtu - 40 (IPv4)
//!                                                                                            mtu - 60 (IPv6)
//! ```
//!
//! Path MTU discovery would find the same, if no firewall dropped its ICMP messages and if no sender handed the
//! gateway segments that its network card cut. The MSS counts neither IP options nor TCP options: whoever sends a
//! segment with options takes them off himself (RFC 9293 §3.7.1), therefore the fixed headers alone are subtracted.
//!
//! A SYN without the option means 536 or 1220 octets, which every tunnel carries: it is left as it is.

use crate::{
    checksum::{self, Sum},
    ip::{Fragment, Version, View},
};

/// What stands in the TCP checksum field of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpChecksum {
    /// The checksum, as on the wire: it is updated.
    Complete,
    /// Only the sum of the pseudo header, which does not depend on the MSS: the packet comes from a TUN device with
    /// `VIRTIO_NET_HDR_F_NEEDS_CSUM`, and somebody else fills the checksum in later. It is not touched.
    Partial,
}

/// Lowers the MSS in a SYN or SYN-ACK, in place, to what an inner packet of `mtu` octets carries. Never raises it and
/// changes nothing else but the checksum, by difference: a wrong one stays wrong. Where a damaged SYN has the option
/// twice both are lowered. `packet` begins with the IP header that `view` was read from.
///
/// Returns whether something changed. Fragments, other packets, options that are damaged or cut off, and an `mtu` that
/// is no more than the headers stay as they are.
pub fn clamp_mss(packet: &mut [u8], view: &View, mtu: u16, checksum: TcpChecksum) -> bool {
    if view.protocol != TCP || view.fragment != Fragment::Whole {
        return false;
    }
    let headers_len = match view.version() {
        Version::V4 => 40,
        Version::V6 => 60,
    };
    let limit = mtu.saturating_sub(headers_len);
    match packet.get_mut(view.header_len..view.total_len) {
        Some(segment) if limit > 0 => clamp_segment(segment, limit, checksum).unwrap_or(false),
        _ => false,
    }
}

/// `None` if `segment` is not a SYN or has no header that could be read.
fn clamp_segment(segment: &mut [u8], limit: u16, checksum: TcpChecksum) -> Option<bool> {
    let &[.., offset, flags, _, _, sum_hi, sum_lo, _, _] = segment.first_chunk::<HEADER_LEN>()?;
    if flags & SYN == 0 {
        return None;
    }
    let header = segment.get_mut(..usize::from(offset >> 4) * 4)?;
    let mut sum = u16::from_be_bytes([sum_hi, sum_lo]);
    let mut changed = false;
    let mut at = HEADER_LEN;
    while let Some(option) = header.get_mut(at..) {
        let step = match option {
            [] | [END, ..] => break,
            [NO_OPERATION, ..] => 1,
            // "Length 4" with fewer octets left is no MSS option either.
            [MSS, MSS_LEN, value @ ..] => {
                let Some(value) = value.first_chunk_mut::<2>() else { break };
                if u16::from_be_bytes(*value) > limit {
                    let old = sum_at(at, *value);
                    *value = limit.to_be_bytes();
                    sum = checksum::update(sum, old, sum_at(at, *value));
                    changed = true;
                }
                usize::from(MSS_LEN)
            }
            [_, len, ..] if *len >= 2 => usize::from(*len),
            _ => break, // a length of 0 or 1 would never get on, or there is none
        };
        at += step;
    }
    if changed && checksum == TcpChecksum::Complete {
        *header.get_mut(CHECKSUM_AT..)?.first_chunk_mut()? = sum.to_be_bytes();
    }
    Some(changed)
}

/// Sum of two octets of an option that begins `at` octets into the TCP header.
fn sum_at(at: usize, octets: [u8; 2]) -> Sum {
    let sum = Sum::of(&octets);
    if at.is_multiple_of(2) { sum } else { sum.at_odd_offset() }
}

const TCP: u8 = 6;

/// Octets of a TCP header without options; a smaller data offset is damage.
const HEADER_LEN: usize = 20;
const CHECKSUM_AT: usize = 16;
const SYN: u8 = 0x02;

// Option kinds, RFC 9293 §3.2.
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;
const MSS_LEN: u8 = 4;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    use super::*;

    /// A TCP packet with `options`, whose length is a multiple of four, and right checksums.
    fn packet(v6: bool, flags: u8, options: &[u8]) -> Vec<u8> {
        let builder = if v6 {
            PacketBuilder::ipv6([0x20; 16], [0x3f; 16], 64)
        } else {
            PacketBuilder::ipv4([10, 1, 0, 1], [10, 2, 0, 1], 64)
        };
        let mut tcp = builder.tcp(40_000, 443, 0x1234_5678, 65_535);
        if flags & 0x02 != 0 {
            tcp = tcp.syn();
        }
        if flags & 0x10 != 0 {
            tcp = tcp.ack(99);
        }
        if flags & 0x01 != 0 {
            tcp = tcp.fin();
        }
        let tcp = tcp.options_raw(options).unwrap();
        let mut octets = Vec::new();
        tcp.write(&mut octets, &[]).unwrap();
        octets
    }

    fn clamp(octets: &mut [u8], mtu: u16) -> bool {
        let view = View::parse(octets).unwrap();
        clamp_mss(octets, &view, mtu, TcpChecksum::Complete)
    }

    fn options(octets: &[u8]) -> &[u8] {
        let view = View::parse(octets).unwrap();
        let tcp = &octets[view.header_len..];
        &tcp[20..usize::from(tcp[12] >> 4) * 4]
    }

    /// etherparse's opinion of the TCP checksum.
    fn checksum_is_right(octets: &[u8]) -> bool {
        let sliced = SlicedPacket::from_ip(octets).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("not TCP") };
        let view = View::parse(octets).unwrap();
        let expected = match (view.source, view.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                tcp.calc_checksum_ipv4(from.octets(), to.octets())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                tcp.calc_checksum_ipv6(from.octets(), to.octets())
            }
            _ => panic!("two families"),
        };
        expected.unwrap() == tcp.checksum()
    }

    #[test]
    fn a_syn_and_its_answer_are_lowered_and_their_checksum_stays_right() {
        for (v6, headers) in [(false, 40), (true, 60)] {
            for flags in [0x02, 0x12] {
                let mut octets = packet(v6, flags, &[2, 4, 0x05, 0xb4, 1, 3, 3, 7, 4, 2, 1, 1]);
                let before = octets.clone();
                assert!(clamp(&mut octets, 1438));
                let [hi, lo] = (1438_u16 - headers).to_be_bytes();
                assert_eq!(options(&octets), [2, 4, hi, lo, 1, 3, 3, 7, 4, 2, 1, 1]);
                assert!(checksum_is_right(&octets));
                // MSS and checksum; the upper octet of the MSS happens to stay.
                let at = octets.len() - 12;
                for (index, (old, new)) in before.iter().zip(&octets).enumerate() {
                    let may_differ = [at - 4, at - 3, at + 2, at + 3].contains(&index);
                    assert!(may_differ || old == new, "octet {index}");
                }
                assert!(!clamp(&mut octets, 1438), "once is enough");
            }
        }
    }

    #[test]
    fn an_mss_that_fits_is_not_raised() {
        for mss in [0, 1, 536, 1397, 1398] {
            let [hi, lo] = u16::to_be_bytes(mss);
            let mut octets = packet(false, 0x02, &[2, 4, hi, lo]);
            let before = octets.clone();
            assert!(!clamp(&mut octets, 1438));
            assert_eq!(octets, before);
        }
    }

    #[test]
    fn an_option_at_an_odd_offset_keeps_the_checksum_right() {
        let mut octets = packet(false, 0x02, &[1, 2, 4, 0xff, 0xff, 1, 1, 0]);
        assert!(clamp(&mut octets, 1438));
        assert_eq!(options(&octets), [1, 2, 4, 0x05, 0x76, 1, 1, 0]);
        assert!(checksum_is_right(&octets));
    }

    #[test]
    fn an_option_that_comes_twice_is_lowered_twice() {
        let mut octets = packet(true, 0x02, &[2, 4, 0x23, 0, 1, 2, 4, 0x22, 0x22, 1, 1, 0]);
        assert!(clamp(&mut octets, 1280));
        assert_eq!(options(&octets), [2, 4, 0x04, 0xc4, 1, 2, 4, 0x04, 0xc4, 1, 1, 0]);
        assert!(checksum_is_right(&octets));
    }

    #[test]
    fn damaged_options_are_left_alone() {
        for options in [
            [0, 4, 0, 0, 2, 4, 0xff, 0xff],  // behind the end
            [5, 0, 2, 4, 0xff, 0xff, 0, 0],  // length 0
            [5, 1, 2, 4, 0xff, 0xff, 0, 0],  // length 1
            [2, 3, 0xff, 2, 4, 0, 99, 0],    // an MSS of another length is skipped
            [5, 40, 2, 4, 0xff, 0xff, 0, 0], // longer than the header
            [1, 1, 1, 1, 1, 2, 4, 0xff],     // cut off in the value
            [1, 1, 1, 1, 1, 1, 2, 4],        // cut off before it
            [1, 1, 1, 1, 1, 1, 1, 2],        // cut off before the length
        ] {
            let mut octets = packet(false, 0x02, &options);
            let before = octets.clone();
            assert!(!clamp(&mut octets, 1438), "{options:?}");
            assert_eq!(octets, before, "{options:?}");
        }
    }

    #[test]
    fn only_whole_packets_with_syn_are_touched() {
        let option = [2, 4, 0xff, 0xff];
        for flags in [0x00, 0x10, 0x11] {
            assert!(!clamp(&mut packet(false, flags, &option), 1438));
        }
        let mut fragment = packet(false, 0x02, &option);
        fragment[6] |= 0x20; // more fragments
        assert!(!clamp(&mut fragment, 1438));
        let mut udp = packet(false, 0x02, &option);
        udp[9] = 17;
        assert!(!clamp(&mut udp, 1438));
        let mut short_offset = packet(false, 0x02, &option);
        short_offset[32] = 0x40;
        assert!(!clamp(&mut short_offset, 1438));
        let mut long_offset = packet(false, 0x02, &option);
        long_offset[32] = 0xf0;
        assert!(!clamp(&mut long_offset, 1438));
        assert!(!clamp(&mut packet(false, 0x02, &option), 40), "no room for a segment at all");
        assert!(clamp(&mut packet(false, 0x02, &option), 41));
    }

    #[test]
    fn a_partial_checksum_is_not_touched() {
        let mut octets = packet(false, 0x02, &[2, 4, 0x05, 0xb4]);
        octets[36..38].copy_from_slice(&[0xab, 0xcd]);
        let view = View::parse(&octets).unwrap();
        assert!(clamp_mss(&mut octets, &view, 1438, TcpChecksum::Partial));
        assert_eq!(options(&octets), [2, 4, 0x05, 0x76]);
        assert_eq!(octets[36..38], [0xab, 0xcd]);
    }

    #[test]
    fn a_wrong_checksum_stays_wrong() {
        let mut octets = packet(false, 0x02, &[2, 4, 0x05, 0xb4]);
        octets[36] ^= 0x40;
        assert!(clamp(&mut octets, 1438));
        assert!(!checksum_is_right(&octets));
    }

    #[test]
    fn every_truncation_with_the_view_of_the_whole_is_harmless() {
        let octets = packet(true, 0x02, &[2, 4, 0x05, 0xb4, 1, 3, 3, 7]);
        let view = View::parse(&octets).unwrap();
        for len in 0..octets.len() {
            let mut cut = octets[..len].to_vec();
            assert!(!clamp_mss(&mut cut, &view, 1280, TcpChecksum::Complete));
            assert_eq!(cut, octets[..len]);
        }
    }

    proptest! {
        #[test]
        fn any_options_keep_the_checksum_right_and_all_else(
            words in prop::collection::vec(prop::array::uniform4(prop_oneof![0..6_u8, any::<u8>()]), 0..10),
            v6 in any::<bool>(), mtu in any::<u16>(),
        ) {
            let mut octets = packet(v6, 0x02, &words.concat());
            prop_assume!(checksum_is_right(&octets));
            let before = octets.clone();
            let changed = clamp(&mut octets, mtu);
            prop_assert_eq!(changed, octets != before);
            prop_assert!(checksum_is_right(&octets));
        }

        #[test]
        fn arbitrary_octets_never_panic(
            mut octets in prop::collection::vec(any::<u8>(), 0..100),
            header_len in 0..80_usize, total_len in 0..120_usize, mtu in any::<u16>(),
        ) {
            let view = View {
                total_len,
                header_len,
                traffic_class: 0,
                source: Ipv4Addr::LOCALHOST.into(),
                destination: Ipv6Addr::LOCALHOST.into(),
                protocol: 6,
                upper: crate::ip::Upper::Opaque,
                fragment: Fragment::Whole,
                dont_fragment: false,
            };
            clamp_mss(&mut octets, &view, mtu, TcpChecksum::Complete);
        }
    }
}
