//! Every segment is read by an independent parser; together they are what the super-packet says.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;
use crate::tests::packets::{Shape, super_packet};

/// All segments of a packet.
fn split(vnet: &VnetHeader, packet: &[u8]) -> Vec<Vec<u8>> {
    let mut segments = Segments::new(vnet, packet).unwrap();
    let (count, octets) = (segments.count(), segments.octets());
    let mut all = Vec::new();
    while let Some(len) = segments.next_len() {
        let mut out = vec![0xee; len];
        assert!(!segments.write_next(&mut out[1..]), "a place that is too small");
        assert!(segments.write_next(&mut out));
        all.push(out);
    }
    assert!(!segments.write_next(&mut []));
    assert_eq!((count, octets), (all.len(), all.iter().map(Vec::len).sum()));
    all
}

fn check(shape: &Shape, payload: &[u8], size: u16) {
    let (vnet, packet) = super_packet(shape, payload, size);
    let all = split(&vnet, &packet);
    let mut joined: Vec<u8> = Vec::new();
    for (index, octets) in all.iter().enumerate() {
        let (first, last) = (index == 0, index + 1 == all.len());
        let parsed = SlicedPacket::from_ip(octets).unwrap();
        let (mut v4, mut v6) = match parsed.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => (Some(ip.header().to_header()), None),
            NetSlice::Ipv6(ip) => (None, Some(ip.header().to_header())),
            NetSlice::Arp(_) => unreachable!(),
        };
        if let Some(ip) = &v4 {
            assert_eq!(usize::from(ip.total_len), octets.len());
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            assert_eq!(ip.identification, 0xfffe_u16.wrapping_add(u16::try_from(index).unwrap()));
        }
        // The pseudo-header has the end of a route (RFC 8200 §8.1).
        if let Some(ip) = &mut v4 {
            ip.destination = shape.final_v4();
        }
        if let Some(ip) = &mut v6 {
            ip.destination = shape.final_v6();
        }
        match parsed.transport.unwrap() {
            TransportSlice::Tcp(tcp) => {
                let header = tcp.to_header();
                let sum = match (&v4, &v6) {
                    (Some(ip), _) => header.calc_checksum_ipv4(ip, tcp.payload()),
                    (_, Some(ip)) => header.calc_checksum_ipv6(ip, tcp.payload()),
                    _ => unreachable!(),
                };
                assert_eq!(header.checksum, sum.unwrap());
                let ahead = u32::try_from(index * usize::from(size)).unwrap();
                assert_eq!(header.sequence_number, 0xffff_ff00_u32.wrapping_add(ahead));
                assert_eq!((header.fin, header.psh), (last && shape.fin, last && shape.psh));
                assert_eq!(header.cwr, first && shape.cwr);
                assert!(header.ack);
                joined.extend(tcp.payload());
            }
            TransportSlice::Udp(udp) => {
                let sum = match (&v4, &v6) {
                    (Some(ip), _) => udp.to_header().calc_checksum_ipv4(ip, udp.payload()),
                    (_, Some(ip)) => udp.to_header().calc_checksum_ipv6(ip, udp.payload()),
                    _ => unreachable!(),
                };
                assert_eq!(udp.checksum(), sum.unwrap());
                joined.extend(udp.payload());
            }
            TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_) => {
                panic!("neither TCP nor UDP")
            }
        }
        assert!(last || joined.len() == (index + 1) * usize::from(size));
    }
    assert_eq!(joined, payload);
}

proptest! {
    #[test]
    fn segments_are_whole_packets_that_carry_all_of_the_payload(
        shape in Shape::any(),
        payload in prop::collection::vec(any::<u8>(), 1..5000),
        size in 1..2000_u16,
    ) {
        check(&shape, &payload, size);
    }

    #[test]
    fn no_octets_make_it_panic(
        vnet: [u8; 10],
        packet in prop::collection::vec(any::<u8>(), 0..200),
        version in prop::sample::select(vec![0x45_u8, 0x46, 0x60]),
    ) {
        let mut packet = packet;
        if let Some(first) = packet.first_mut() {
            *first = version;
        }
        if let (2.., 0x45..) = (packet.len(), version) {
            let len = u16::try_from(packet.len()).unwrap().to_be_bytes();
            put(&mut packet, 2, len);
        }
        if let Ok(mut segments) = VnetHeader::parse(&vnet).and_then(|vnet| Segments::new(&vnet, &packet)) {
            let mut written = 0;
            while let Some(len) = segments.next_len() {
                prop_assert!(segments.write_next(&mut vec![0; len]));
                written += len;
                prop_assert!(written <= segments.octets());
            }
        }
    }
}

#[test]
fn the_largest_super_packets_split() {
    let payload = vec![0x5a; 65_535 - 40];
    for size in [1, 7, 536, 1398, u16::MAX] {
        let shape = Shape { psh: true, ..Shape::default() };
        check(&shape, &payload, size);
    }
}

#[test]
fn segments_of_every_size_carry_all_of_the_payload() {
    let long: Vec<u8> = (0..65_535_u32 - 60).map(|n| n.to_be_bytes()[3] ^ 0x5a).collect();
    let kinds = [(false, false), (false, true), (true, false), (true, true)];
    for (v6, udp) in kinds {
        let shape = Shape { v6, udp, ..Shape::default() };
        for size in 1..=1500 {
            check(&shape, &long[..1499], size);
        }
        for size in (1..=u16::MAX).step_by(251).chain([u16::MAX]) {
            check(&shape, &long, size);
        }
    }
}

#[test]
fn a_packet_that_lacks_nothing_is_written_as_it_is() {
    let (vnet, packet) = super_packet(&Shape::default(), &[1, 2, 3], 9);
    let whole = split(&vnet, &packet).remove(0);
    assert_eq!(split(&VnetHeader::default(), &whole), std::slice::from_ref(&whole));
}

#[test]
fn a_single_packet_gets_its_checksum() {
    for udp in [false, true] {
        let shape = Shape { udp, ..Shape::default() };
        let (vnet, packet) = super_packet(&shape, &[1, 2, 3], 9);
        let expected = split(&vnet, &packet);
        let vnet = VnetHeader { gso: None, ..vnet };
        assert_eq!(split(&vnet, &packet), expected);
    }
}

/// Linux gives such packets for sockets with `IPV6_RTHDR` and for routes with `encap seg6 mode inline`: the field has the end of the
/// route, the IP header the next stop.
#[test]
fn checksums_are_those_of_the_final_destination() {
    for (v6, udp) in [(false, false), (false, true), (true, false), (true, true)] {
        let shape = Shape { v6, udp, routed: true, ..Shape::default() };
        check(&shape, &[7; 3000], 1000);
        check(&shape, &[7; 300], 1000);
        let (vnet, packet) = super_packet(&shape, &[7; 300], 1000);
        let single = VnetHeader { gso: None, ..vnet };
        assert_eq!(split(&single, &packet), split(&vnet, &packet), "v6 {v6}, udp {udp}");
    }
}

#[test]
fn a_udp_checksum_of_zero_is_sent_as_ffff() {
    let shape = Shape { udp: true, ..Shape::default() };
    let (vnet, mut packet) = super_packet(&shape, &[0, 0], 9);
    // The payload that makes the sum ffff.
    let sum = u16::from_be_bytes(word(&split(&vnet, &packet)[0], 20 + UDP_CHECKSUM).unwrap());
    put(&mut packet, 28, sum.to_be_bytes());
    for gso in [vnet.gso, None] {
        let packet = split(&VnetHeader { gso, ..vnet }, &packet).remove(0);
        assert_eq!(word(&packet, 20 + UDP_CHECKSUM), Some([0xff, 0xff]));
    }
}

#[test]
fn a_device_that_contradicts_the_packet_is_not_believed() {
    let refused = |vnet: &VnetHeader, packet: &[u8]| {
        assert_eq!(Segments::new(vnet, packet).err(), Some(DropReason::BadOffload), "{vnet:?}");
    };
    let (vnet, packet) = super_packet(&Shape::default(), &[7; 100], 40);
    let (gso, sum) = (vnet.gso.unwrap(), vnet.checksum.unwrap());
    for kind in [GsoKind::TcpV6, GsoKind::Udp] {
        refused(&VnetHeader { gso: Some(Gso { kind, ..gso }), ..vnet }, &packet);
    }
    refused(&VnetHeader { gso: Some(Gso { size: 0, ..gso }), ..vnet }, &packet);
    for (start, offset) in [(24, 16), (20, 6), (0, 10), (139, 0), (u16::MAX, u16::MAX)] {
        let checksum = Some(PartialChecksum { start, offset });
        refused(&VnetHeader { checksum, ..vnet }, &packet);
    }
    refused(
        &VnetHeader { checksum: Some(PartialChecksum { offset: 119, ..sum }), gso: None, ..vnet },
        &packet,
    );
    let mut fragment = packet.clone();
    fragment[6] |= 0x20;
    refused(&vnet, &fragment);
    for data in [0x40, 0xf0] {
        let (vnet, mut short) = super_packet(&Shape::default(), &[7; 20], 40);
        short[20 + TCP_DATA_OFFSET] = data;
        refused(&vnet, &short);
    }
}
