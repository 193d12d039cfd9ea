//! Answers to packets that do not fit, read back by etherparse; and all those packets that get none.

use etherparse::{
    Icmpv4Type, Icmpv6Type, NetSlice, PacketBuilder, SlicedPacket, TransportSlice, icmpv4,
};
use proptest::prelude::*;

use super::*;

const HOST_V4: [u8; 4] = [10, 1, 0, 1];
const PEER_V4: [u8; 4] = [10, 2, 0, 1];
const US_V4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 254);
const HOST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
const PEER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1);
const US_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0xfe);

/// A UDP packet of `len` octets, DF set.
fn udp_v4(len: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..=u8::MAX).cycle().take(len - 28).collect();
    let mut octets = Vec::new();
    PacketBuilder::ipv4(HOST_V4, PEER_V4, 64).udp(1000, 2000).write(&mut octets, &payload).unwrap();
    assert_eq!(octets[6] & 0x40, 0x40, "etherparse sets DF");
    octets
}

fn udp_v6(len: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..=u8::MAX).cycle().take(len - 48).collect();
    let mut octets = Vec::new();
    let builder = PacketBuilder::ipv6(HOST_V6.octets(), PEER_V6.octets(), 64);
    builder.udp(1000, 2000).write(&mut octets, &payload).unwrap();
    octets
}

fn answer(offending: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let view = View::parse(offending).unwrap();
    let source = match view.source {
        IpAddr::V4(_) => US_V4.into(),
        IpAddr::V6(_) => US_V6.into(),
    };
    let mut out = [0xee; MAX_LEN_V6 + 1];
    let len = too_big(offending, &view, source, mtu, &mut out)?;
    assert!(out[len..].iter().all(|octet| *octet == 0xee), "nothing behind the message is written");
    Some(out[..len].to_vec())
}

#[test]
fn ipv4_answer_read_back() {
    for len in [1439, 1500, 2000, 65_535] {
        let offending = udp_v4(len);
        let answer = answer(&offending, 1438).unwrap();
        assert_eq!(answer.len(), 576);
        let sliced = SlicedPacket::from_ip(&answer).unwrap();
        let Some(NetSlice::Ipv4(ip)) = &sliced.net else { panic!("not IPv4") };
        let header = ip.header().to_header();
        assert_eq!((header.source, header.destination), (US_V4.octets(), HOST_V4));
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert_eq!(usize::from(header.total_len), answer.len());
        assert_eq!(header.ecn.value(), 0);
        let Some(TransportSlice::Icmpv4(icmp)) = &sliced.transport else { panic!("not ICMP") };
        let Icmpv4Type::DestinationUnreachable(
            icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu },
        ) = icmp.icmp_type()
        else {
            panic!("{:?}", icmp.icmp_type())
        };
        assert_eq!(next_hop_mtu, 1438);
        assert_eq!(icmp.payload(), &offending[..548]);
        assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
    }
}

#[test]
fn ipv6_answer_read_back() {
    for len in [1439, 1500, 2000, 65_535] {
        let offending = udp_v6(len);
        let answer = answer(&offending, 1438).unwrap();
        assert_eq!(answer.len(), 1280);
        let sliced = SlicedPacket::from_ip(&answer).unwrap();
        let Some(NetSlice::Ipv6(ip)) = &sliced.net else { panic!("not IPv6") };
        let header = ip.header().to_header();
        assert_eq!((header.source_addr(), header.destination_addr()), (US_V6, HOST_V6));
        let Some(TransportSlice::Icmpv6(icmp)) = &sliced.transport else { panic!("not ICMPv6") };
        assert_eq!(icmp.icmp_type(), Icmpv6Type::PacketTooBig { mtu: 1438 });
        assert_eq!(icmp.payload(), &offending[..1232]);
        assert!(icmp.is_checksum_valid(header.source, header.destination));
    }
}

#[test]
fn a_short_packet_is_quoted_whole() {
    let offending = udp_v4(101); // an odd length as well
    let answer = answer(&offending, 100).unwrap();
    assert_eq!(answer[28..], offending);
    let sliced = SlicedPacket::from_ip(&answer).unwrap();
    let Some(TransportSlice::Icmpv4(icmp)) = sliced.transport else { panic!("not ICMP") };
    assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
}

#[test]
fn octets_behind_the_packet_are_not_quoted() {
    let mut offending = udp_v4(101);
    offending.extend([0xdd; 50]);
    assert_eq!(answer(&offending, 100).unwrap().len(), 28 + 101);
}

#[test]
fn what_fits_gets_no_answer() {
    assert_eq!(answer(&udp_v4(1438), 1438), None);
    assert_eq!(answer(&udp_v6(1438), 1438), None);
}

#[test]
fn an_mtu_that_no_host_would_believe_is_not_told() {
    assert_eq!(answer(&udp_v6(1280), 1000), None);
    assert_eq!(answer(&udp_v6(1281), 1000).unwrap()[44..48], [0, 0, 5, 0]);
    assert_eq!(answer(&udp_v4(68), 0), None);
    assert_eq!(answer(&udp_v4(69), 0).unwrap()[24..28], [0, 0, 0, 68]);
}

#[test]
fn without_df_there_is_no_answer() {
    let mut offending = udp_v4(1500);
    offending[6] = 0;
    assert_eq!(answer(&offending, 1438), None);
}

#[test]
fn a_first_fragment_is_answered_and_a_later_one_not() {
    let mut offending = udp_v4(1500);
    offending[6] = 0x60; // DF, more fragments
    assert!(answer(&offending, 1438).is_some());
    offending[7] = 1;
    assert_eq!(answer(&offending, 1438), None);

    let mut offending = udp_v6(1500);
    offending[6] = 44; // the UDP header is read as a fragment header
    offending[40..48].copy_from_slice(&[17, 0, 0, 1, 0, 0, 0, 1]);
    assert!(answer(&offending, 1438).is_some());
    offending[43] = 9;
    assert_eq!(answer(&offending, 1438), None);
}

#[test]
fn no_icmp_error_is_answered() {
    let mut offending = udp_v4(1500);
    offending[9] = 1;
    // RFC 1122 §3.2.2: destination unreachable, source quench, redirect, time exceeded, parameter problem.
    for kind in [3, 4, 5, 11, 12, 1, 2, 7, 19, 41, 44, 255] {
        offending[20] = kind;
        assert_eq!(answer(&offending, 1438), None, "type {kind}");
    }
    for kind in [0, 8, 13, 14] {
        offending[20] = kind;
        assert!(answer(&offending, 1438).is_some(), "type {kind}");
    }

    let mut offending = udp_v6(1500);
    offending[6] = 58;
    for kind in [0, 1, 2, 3, 4, 100, 127, 137] {
        offending[40] = kind;
        assert_eq!(answer(&offending, 1438), None, "type {kind}");
    }
    for kind in [128, 129, 135, 136, 138, 255] {
        offending[40] = kind;
        assert!(answer(&offending, 1438).is_some(), "type {kind}");
    }
}

#[test]
fn icmp_whose_type_cannot_be_read_is_taken_for_an_error() {
    let mut offending = udp_v6(1400);
    offending[6] = 58;
    let mut view = View::parse(&offending).unwrap();
    view.upper = Upper::Opaque;
    let mut out = [0; MAX_LEN_V6];
    assert_eq!(too_big(&offending, &view, US_V6.into(), 1280, &mut out), None);
}

#[test]
fn only_a_source_that_is_one_host_is_answered() {
    for source in
        [[0, 0, 0, 0], [0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255; 4]]
    {
        let mut offending = udp_v4(1500);
        offending[12..16].copy_from_slice(&source);
        assert_eq!(answer(&offending, 1438), None, "{source:?}");
    }
    for source in ["::", "::1", "ff02::1"] {
        let mut offending = udp_v6(1500);
        offending[8..24].copy_from_slice(&source.parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(answer(&offending, 1438), None, "{source}");
    }
}

#[test]
fn a_destination_that_is_many_hosts_is_answered_for_ipv6_alone() {
    for destination in [[0; 4], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
        let mut offending = udp_v4(1500);
        offending[16..20].copy_from_slice(&destination);
        assert_eq!(answer(&offending, 1438), None, "{destination:?}");
    }
    let mut offending = udp_v6(1500);
    offending[24] = 0xff;
    assert!(answer(&offending, 1438).is_some(), "RFC 4443 §2.4 (e.3), first exception");
}

#[test]
fn the_source_of_the_answer_is_of_the_same_family() {
    let mut out = [0; MAX_LEN_V6];
    let offending = udp_v4(1500);
    let view = View::parse(&offending).unwrap();
    assert_eq!(too_big(&offending, &view, US_V6.into(), 1438, &mut out), None);
    let offending = udp_v6(1500);
    let view = View::parse(&offending).unwrap();
    assert_eq!(too_big(&offending, &view, US_V4.into(), 1438, &mut out), None);
}

#[test]
fn too_little_room_or_a_cut_off_packet_is_no_answer() {
    for (offending, us, message_len) in [
        (udp_v4(1500), IpAddr::V4(US_V4), MAX_LEN_V4),
        (udp_v6(1500), IpAddr::V6(US_V6), MAX_LEN_V6),
    ] {
        let view = View::parse(&offending).unwrap();
        let mut out = [0; MAX_LEN_V6];
        for room in 0..message_len {
            assert_eq!(too_big(&offending, &view, us, 1438, &mut out[..room]), None);
        }
        assert_eq!(
            too_big(&offending, &view, us, 1438, &mut out[..message_len]),
            Some(message_len)
        );
        for len in 0..offending.len() {
            assert_eq!(too_big(&offending[..len], &view, us, 1438, &mut out), None);
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_answered_is_answered_with_a_packet(
        mut octets in prop::collection::vec(any::<u8>(), 20..2000),
        v6 in any::<bool>(), mtu in any::<u16>(), room in 0..1400_usize,
    ) {
        let len = u16::try_from(octets.len()).unwrap();
        octets[0] = if v6 { 0x60 } else { 0x45 };
        if v6 && octets.len() >= 40 {
            octets[4..6].copy_from_slice(&(len - 40).to_be_bytes());
        } else {
            octets[2..4].copy_from_slice(&len.to_be_bytes());
        }
        if let Some(view) = View::parse(&octets) {
            let us = if v6 { US_V6.into() } else { US_V4.into() };
            let mut out = vec![0; room];
            if let Some(len) = too_big(&octets, &view, us, mtu % 1600, &mut out) {
                let read = View::parse(&out[..len]).unwrap();
                prop_assert_eq!(read.total_len, len);
                prop_assert_eq!(read.destination, view.source);
                prop_assert_eq!(read.source, us);
                // Nobody answers the answer.
                prop_assert_eq!(too_big(&out[..len], &read, us, 68, &mut [0; 1280]), None);
            }
        }
    }
}
