//! What was merged splits again into the packets that were pushed, in their order within each flow.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    segment::{Segments, TCP_FIN},
    tests::packets::{Shape, super_packet},
};

const ALL: Mergeable = Mergeable { tcp_v4: true, tcp_v6: true, udp: true };

/// A written packet: its owner, what it stands for, and its octets behind the header.
struct Written {
    owner: u32,
    packets: usize,
    vnet: VnetHeader,
    octets: Vec<u8>,
}

/// Pushes packets, a few octets apart as in a receive buffer, and drains.
fn coalesce(mergeable: Mergeable, packets: &[(u32, Vec<u8>)]) -> Vec<Written> {
    let mut coalescer = Coalescer::new(mergeable);
    let mut buffer = Vec::new();
    for (owner, packet) in packets {
        buffer.extend([0xaa; 16]);
        let place = buffer.len()..buffer.len() + packet.len();
        buffer.extend(packet);
        let view = View::parse(packet).unwrap();
        assert!(coalescer.push(&buffer, place, &view, *owner));
    }
    let mut all = Vec::new();
    coalescer.drain(&mut buffer, |one| {
        let octets: Vec<u8> = one.parts().flatten().copied().collect();
        assert!(one.parts().count() <= Gathered::PARTS_MAX);
        let (vnet, packet) = octets.split_first_chunk().unwrap();
        let (owner, packets) = (one.owner, one.packets);
        let vnet = VnetHeader::parse(vnet).unwrap();
        assert_eq!(one.octets, split(&vnet, packet).iter().map(Vec::len).sum::<usize>());
        all.push(Written { owner, packets, vnet, octets: packet.to_vec() });
    });
    assert!(coalescer.is_empty());
    all
}

fn split(vnet: &VnetHeader, packet: &[u8]) -> Vec<Vec<u8>> {
    let mut segments = Segments::new(vnet, packet).unwrap();
    std::iter::from_fn(|| {
        let mut out = vec![0; segments.next_len()?];
        segments.write_next(&mut out).then_some(out)
    })
    .collect()
}

/// The packets that a sender makes of `payload`.
fn stream(shape: &Shape, payload: &[u8], size: u16) -> Vec<Vec<u8>> {
    let (vnet, packet) = super_packet(shape, payload, size);
    split(&vnet, &packet)
}

fn owned(packets: Vec<Vec<u8>>) -> Vec<(u32, Vec<u8>)> {
    packets.into_iter().map(|packet| (1, packet)).collect()
}

#[test]
fn a_super_packet_comes_together_again() {
    for (v6, udp) in [(false, false), (false, true), (true, false), (true, true)] {
        let shape = Shape { v6, udp, psh: !udp, ..Shape::default() };
        let payload: Vec<u8> = (0..40_000_u32).map(|n| n.to_be_bytes()[3]).collect();
        let (vnet, whole) = super_packet(&shape, &payload, 1398);
        let all = coalesce(ALL, &owned(split(&vnet, &whole)));
        assert_eq!((all.len(), all[0].packets, all[0].owner), (1, 29, 1));
        assert_eq!(all[0].vnet, VnetHeader { header_len: all[0].vnet.header_len, ..vnet });
        let mut expected = whole;
        if !v6 {
            // A device leaves that to whoever splits.
            put(&mut expected, V4_CHECKSUM, [0, 0]);
            let sum = Sum::of(&expected[..20]).finish();
            put(&mut expected, V4_CHECKSUM, sum.to_be_bytes());
        }
        assert_eq!(all[0].octets, expected, "v6 {v6}, udp {udp}");
    }
}

#[test]
fn what_the_device_does_not_take_is_not_merged() {
    for (v6, udp) in [(false, false), (true, false), (false, true)] {
        let shape = Shape { v6, udp, ..Shape::default() };
        let packets = owned(stream(&shape, &[5; 300], 100));
        assert_eq!(coalesce(Mergeable::default(), &packets).len(), 3);
        let mergeable = Mergeable { tcp_v4: v6 || udp, tcp_v6: !v6 || udp, udp: !udp };
        assert_eq!(coalesce(mergeable, &packets).len(), 3);
    }
}

type Change = Box<dyn Fn(&mut Vec<u8>)>;

/// One difference each, in the second of three packets: the first is written alone, then what the other two make.
#[test]
fn headers_that_differ_end_a_super_packet() {
    let flip = |at: usize, by: u8| move |packet: &mut Vec<u8>| packet[at] ^= by;
    let changes: [(&str, Change); 13] = [
        ("TOS", Box::new(flip(1, 1))),
        ("identification", Box::new(flip(4, 1))),
        ("DF", Box::new(flip(6, 0x40))),
        ("TTL", Box::new(flip(8, 1))),
        ("source", Box::new(flip(15, 1))),
        ("port", Box::new(flip(21, 1))),
        ("sequence", Box::new(flip(27, 1))),
        ("acknowledgment", Box::new(flip(31, 1))),
        ("AE", Box::new(flip(32, 0x01))),
        ("ECE", Box::new(flip(33, 0x40))),
        ("SYN", Box::new(flip(33, 0x02))),
        ("FIN", Box::new(flip(33, TCP_FIN))),
        ("window", Box::new(flip(35, 1))),
    ];
    for (what, change) in changes {
        let mut packets = stream(&Shape::default(), &[5; 300], 100);
        change(&mut packets[1]);
        sum_up(&mut packets[1]);
        let all = coalesce(ALL, &owned(packets.clone()));
        assert_eq!(all[0].packets, 1, "{what}");
        let again: Vec<_> = all.iter().flat_map(|one| split(&one.vnet, &one.octets)).collect();
        assert_eq!(again, packets, "{what}");
    }
}

#[test]
fn a_wrong_checksum_is_passed_on_as_it_is() {
    for wrong in 0..3 {
        let mut packets = stream(&Shape::default(), &[5; 300], 100);
        packets[wrong][60] ^= 1;
        let all = coalesce(ALL, &owned(packets.clone()));
        let again: Vec<_> = all.iter().flat_map(|one| split(&one.vnet, &one.octets)).collect();
        assert_eq!(again, packets, "{wrong}");
        assert!(all.iter().any(|one| one.packets == 1 && one.octets == packets[wrong]));
    }
}

/// The host that receives them drops such packets (RFC 1122 §3.2.1.2): a header that is made anew would be right.
#[test]
fn a_wrong_header_checksum_is_passed_on_as_it_is() {
    for udp in [false, true] {
        let shape = Shape { udp, ..Shape::default() };
        // The checksum itself, and what the upper layer does not cover.
        for (at, by) in [(10, 0x80), (11, 1), (8, 1), (1, 4), (6, 0x80)] {
            for wrong in [0..1, 1..2, 2..3, 0..2, 1..3, 0..3] {
                let mut packets = stream(&shape, &[5; 300], 100);
                packets[wrong.clone()].iter_mut().for_each(|packet| packet[at] ^= by);
                let all = coalesce(ALL, &owned(packets.clone()));
                for packet in &packets[wrong.clone()] {
                    let alone = |one: &Written| {
                        one.packets == 1
                            && one.octets == *packet
                            && one.vnet == VnetHeader::default()
                    };
                    assert!(all.iter().any(alone), "octet {at} of {wrong:?}, udp {udp}");
                }
                let again: Vec<_> =
                    all.iter().flat_map(|one| split(&one.vnet, &one.octets)).collect();
                assert_eq!(again, packets, "octet {at} of {wrong:?}, udp {udp}");
            }
        }
    }
}

#[test]
fn packets_of_different_owners_stay_apart() {
    let mut packets = owned(stream(&Shape::default(), &[5; 400], 100));
    packets[2].0 = 2;
    packets[3].0 = 2;
    let all = coalesce(ALL, &packets);
    let counted: Vec<_> = all.iter().map(|one| (one.owner, one.packets)).collect();
    assert_eq!(counted, [(1, 2), (2, 2)]);
}

/// macOS and others send identification 0 with DF (RFC 6864 §4.1).
#[test]
fn identifications_may_stand_still_where_they_mean_nothing() {
    let mut packets = stream(&Shape::default(), &[5; 300], 100);
    for packet in &mut packets {
        put(packet, V4_ID, [0, 0]);
        sum_up(packet);
    }
    assert_eq!(coalesce(ALL, &owned(packets.clone())).len(), 1);
    for packet in &mut packets {
        packet[6] &= !0x40;
        sum_up(packet);
    }
    assert_eq!(coalesce(ALL, &owned(packets)).len(), 3, "without DF they mean something");
}

#[test]
fn what_it_holds_is_bounded() {
    let packet = stream(&Shape::default(), &[5; 10], 10).remove(0);
    let view = View::parse(&packet).unwrap();
    let mut coalescer = Coalescer::new(ALL);
    let taken = (0..2 * Coalescer::CAPACITY)
        .take_while(|_| coalescer.push(&packet, 0..packet.len(), &view, 0))
        .count();
    assert_eq!(taken, Coalescer::CAPACITY);
    assert!(coalescer.is_full());
    let mut written = 0;
    coalescer.drain(&mut packet.clone(), |one| written += one.packets);
    assert_eq!(written, taken);
    assert!(coalescer.push(&packet, 0..packet.len(), &view, 0));
}

#[test]
fn super_packets_end_where_an_ip_packet_does() {
    let mut packets = stream(&Shape::default(), &vec![5; 60_000], 1000);
    let more = Shape { sequence: 0xffff_ff00_u32.wrapping_add(60_000), ..Shape::default() };
    for (number, mut packet) in (60..).zip(stream(&more, &vec![5; 60_000], 1000)) {
        put(&mut packet, V4_ID, 0xfffe_u16.wrapping_add(number).to_be_bytes());
        sum_up(&mut packet);
        packets.push(packet);
    }
    let all = coalesce(ALL, &owned(packets.clone()));
    assert_eq!(all.iter().map(|one| one.packets).collect::<Vec<_>>(), [65, 55]);
    assert!(all.iter().all(|one| one.octets.len() <= 65_535));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Several flows, cut into pieces and shuffled together, some of it damaged or strange.
    #[test]
    fn every_flow_comes_out_as_it_went_in(
        shapes in prop::collection::vec(Shape::any(), 1..5),
        sizes in prop::collection::vec((1..1500_u16, 1..6000_usize), 5),
        order in prop::collection::vec((0..5_usize, 1..6_usize, any::<u32>()), 1..40),
    ) {
        let mut streams: Vec<_> = shapes
            .iter()
            .zip(1_u16..)
            .zip(&sizes)
            .map(|((shape, port), (size, len))| {
                let shape = Shape { port, ..shape.clone() };
                let payload: Vec<u8> = (0..*len).map(|n| n.to_be_bytes()[7]).collect();
                stream(&shape, &payload, *size).into_iter().collect::<std::collections::VecDeque<_>>()
            })
            .collect();
        let mut packets = Vec::new();
        for (which, run, chance) in order {
            let count = streams.len();
            let stream = &mut streams[which % count];
            for _ in 0..run {
                let Some(mut packet) = stream.pop_front() else { break };
                match chance % 16 {
                    0 => *packet.last_mut().unwrap() ^= 1,
                    1 => drop(stream.pop_front()),
                    2 if packet.len() > 33 => packet[33] ^= 0x20,
                    // TTL and checksum of an IPv4 header; another source of IPv6.
                    3 => packet[8] ^= 1,
                    4 => packet[10] ^= 1,
                    _ => {}
                }
                packets.push((chance % 64 / 63, packet));
            }
        }
        let flow = |packet: &Vec<u8>| {
            let view = View::parse(packet).unwrap();
            (view.source, view.destination, view.protocol, view.ports())
        };
        let mut expected: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (_, packet) in &packets {
            expected.entry(flow(packet)).or_default().push(packet.clone());
        }
        let mut got: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for one in coalesce(ALL, &packets) {
            for packet in split(&one.vnet, &one.octets) {
                got.entry(flow(&packet)).or_default().push(packet);
            }
        }
        prop_assert_eq!(got, expected);
    }
}

/// Makes the checksums right again.
fn sum_up(packet: &mut [u8]) {
    put(packet, V4_CHECKSUM, [0, 0]);
    let sum = Sum::of(&packet[..20]).finish();
    put(packet, V4_CHECKSUM, sum.to_be_bytes());
    put(packet, 20 + TCP_CHECKSUM, [0, 0]);
    let addresses = Sum::of(&packet[12..20]);
    let len = truncate_u16(packet.len() - 20);
    let sum = addresses.add_word(6).add_word(len) + Sum::of(&packet[20..]);
    put(packet, 20 + TCP_CHECKSUM, sum.finish().to_be_bytes());
}
