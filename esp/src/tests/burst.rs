//! Whole super-packets through a pair of SAs: the same octets on the wire as packet by packet, the same packets at the end.
//!
//! ```text
//!   super-packet ─► encap_segments ─► trains ─┐  equal  ┌─ encap, one segment at a time
//!                                             ▼         ▼
//!    damaged before they are sealed; damaged, doubled, cut, swapped, of a foreign SPI
//!                                             │
//!             decap_viewed ─► Coalescer ─► split again  =  decap, one packet at a time
//! ```

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::packets::{Shape, is_summed, super_packet};
use crate::{
    Aead, AesKey, Coalescer, DropReason, Gathered, InboundSa, Mergeable, OutboundSa, Segments,
    Selector, Selectors, Suite, Train, TrainLimits, VnetHeader, ip::View,
};

const LIMITS: TrainLimits = TrainLimits { octets: 65_507, packets: 64 };

fn selectors(remote: bool) -> Selectors {
    let net = |v4: [[u8; 4]; 2], v6: [&str; 2]| {
        vec![
            Selector::addresses(v4[0].into(), v4[1].into()),
            Selector::addresses(v6[0].parse().unwrap(), v6[1].parse().unwrap()),
        ]
    };
    let left = net([[10, 1, 0, 0], [10, 1, 255, 255]], ["fd01::", "fd01::ffff"]);
    let right = net([[10, 2, 0, 0], [10, 2, 255, 255]], ["fd02::", "fd02::ffff"]);
    let (local, remote) = if remote { (right, left) } else { (left, right) };
    Selectors { local, remote }
}

fn outbound(suite: Suite) -> OutboundSa {
    OutboundSa::new(super::params(suite, true, selectors(false))).unwrap()
}

fn inbound(suite: Suite) -> InboundSa {
    InboundSa::new(super::params(suite, true, selectors(true))).unwrap()
}

/// The trains of a super-packet, one behind the other: octets and the length of each packet.
fn trains(
    sa: &mut OutboundSa,
    vnet: &VnetHeader,
    packet: &[u8],
    limits: TrainLimits,
) -> Vec<Vec<u8>> {
    let mut segments = Segments::new(vnet, packet).unwrap();
    let (count, mut buffer, mut packets) = (segments.count(), vec![0; 1_000_000], Vec::new());
    let mut train = Train::at(3);
    while segments.next_len().is_some() {
        sa.encap_segments(&mut segments, &mut buffer, &mut train, limits).unwrap();
        assert!(train.range().len() <= limits.octets && train.packets() <= limits.packets);
        packets.extend(buffer[train.range()].chunks(train.stride()).map(<[u8]>::to_vec));
        train = Train::at(train.range().end);
    }
    assert_eq!(packets.len(), count);
    packets
}

fn segments(vnet: &VnetHeader, packet: &[u8]) -> Vec<Vec<u8>> {
    let mut segments = Segments::new(vnet, packet).unwrap();
    std::iter::from_fn(|| {
        let mut out = vec![0; segments.next_len()?];
        segments.write_next(&mut out).then_some(out)
    })
    .collect()
}

/// The packets that a written one stands for.
fn resplit(one: &Gathered<'_>) -> Vec<Vec<u8>> {
    let octets: Vec<u8> = one.parts().flatten().copied().collect();
    let (vnet, packet) = octets.split_first_chunk().unwrap();
    segments(&VnetHeader::parse(vnet).unwrap(), packet)
}

/// What happens to a packet on its way.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    Flipped(usize),
    Twice,
    Foreign,
    Cut(usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Arrives),
        1 => any::<usize>().prop_map(Fate::Flipped),
        1 => Just(Fate::Twice),
        1 => Just(Fate::Foreign),
        1 => any::<usize>().prop_map(Fate::Cut),
    ]
}

/// What a stream met before it came to the sender: its packets are sealed as they are, from one of them on.
#[derive(Clone, Copy, Debug)]
struct Before {
    /// An octet of the packet and the bits of it that are wrong.
    at: usize,
    bits: u8,
    /// The first packet concerned, and the one behind the last.
    from: usize,
    to: usize,
}

/// Of IPv4: type of service, flags, TTL and header checksum, which is wrong then; of IPv6: traffic class; of both: payload.
fn before() -> impl Strategy<Value = Option<Before>> {
    let place = prop_oneof![Just(1), Just(6), 8..9_usize, 10..12_usize, 60..70_usize];
    let one = (place, 0..8_u32, 0..8_usize, 1..8_usize).prop_map(|(at, bit, from, count)| {
        Some(Before { at, bits: 1 << bit, from, to: from + count })
    });
    prop_oneof![1 => Just(None), 1 => one]
}

impl Before {
    /// Unless another flow, or a fragment, came of it.
    fn damage(self, v6: bool, index: usize, packet: &mut [u8]) {
        let another =
            if v6 { (4..40).contains(&self.at) } else { self.at == 6 && self.bits < 0x40 };
        if !another
            && (self.from..self.to).contains(&index)
            && let Some(octet) = packet.get_mut(self.at)
        {
            *octet ^= self.bits;
        }
    }
}

type FlowKey = (std::net::IpAddr, std::net::IpAddr, u8, Option<(u16, u16)>);

fn by_flow(packets: impl IntoIterator<Item = Vec<u8>>) -> BTreeMap<FlowKey, Vec<Vec<u8>>> {
    let mut flows: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for packet in packets {
        let view = View::parse(&packet).unwrap();
        let key = (view.source, view.destination, view.protocol, view.ports());
        flows.entry(key).or_default().push(packet);
    }
    flows
}

fn counted(drops: &[DropReason]) -> BTreeMap<DropReason, usize> {
    let mut counts = BTreeMap::new();
    for drop in drops {
        *counts.entry(*drop).or_default() += 1;
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: batches(), ..ProptestConfig::default() })]

    #[test]
    fn bursts_are_what_single_packets_are(
        suite in prop::sample::select(&super::FAMILIES[..]),
        shapes in prop::collection::vec((Shape::any(), 1..1500_u16, 1..8000_usize, before()), 1..4),
        fates in prop::collection::vec(fate(), 64),
        swaps in prop::collection::vec((0..64_usize, 0..64_usize), 0..6),
        most in 1..64_usize,
    ) {
        let limits = TrainLimits { packets: most, ..LIMITS };
        let (mut burst, mut single, mut damaged) = (outbound(suite), outbound(suite), outbound(suite));
        let mut wire = Vec::new();
        for ((shape, size, len, before), port) in shapes.iter().zip(1..) {
            let shape = Shape { port, ..shape.clone() };
            let payload: Vec<u8> = (0..*len).map(|n| n.to_be_bytes()[7] ^ 0x5a).collect();
            let (vnet, packet) = super_packet(&shape, &payload, *size);
            let sent = trains(&mut burst, &vnet, &packet, limits);
            let whole = segments(&vnet, &packet);
            prop_assert!(whole.iter().all(|inner| is_summed(&shape, inner)), "a wrong checksum");
            let expected: Vec<_> = whole.iter().map(|inner| super::seal(&mut single, inner)).collect();
            prop_assert_eq!(&sent, &expected);
            wire.extend(whole.into_iter().enumerate().map(|(index, mut inner)| {
                if let Some(before) = before {
                    before.damage(shape.v6, index, &mut inner);
                }
                super::seal(&mut damaged, &inner)
            }));
        }
        let mut arrived = Vec::new();
        for (mut packet, fate) in wire.into_iter().zip(fates.into_iter().chain(std::iter::repeat(Fate::Arrives))) {
            match fate {
                Fate::Arrives => {}
                Fate::Flipped(at) => {
                    let at = at % packet.len();
                    packet[at] ^= 1;
                }
                Fate::Twice => arrived.push(packet.clone()),
                Fate::Foreign => packet[0] ^= 0x80,
                Fate::Cut(to) => packet.truncate(to % packet.len()),
            }
            arrived.push(packet);
        }
        for (one, other) in swaps {
            if one.max(other) < arrived.len() {
                arrived.swap(one, other);
            }
        }

        let mut reference = inbound(suite);
        let (mut expected, mut lost) = (Vec::new(), Vec::new());
        for packet in &arrived {
            let mut packet = packet.clone();
            match reference.decap(&mut packet) {
                Ok(place) => expected.push(packet[place].to_vec()),
                Err(reason) => lost.push(reason),
            }
        }

        let mut sa = inbound(suite);
        let mut coalescer = Coalescer::new(Mergeable { tcp_v4: true, tcp_v6: true, udp: true });
        let (mut slab, mut drops, mut got) = (arrived.concat(), Vec::new(), Vec::new());
        let mut start = 0;
        for len in arrived.iter().map(Vec::len) {
            match sa.decap_viewed(&mut slab[start..start + len]) {
                Ok((place, view)) => {
                    let place = start + place.start..start + place.end;
                    if coalescer.is_full() {
                        coalescer.drain(&mut slab, |one| got.extend(resplit(one)));
                    }
                    prop_assert!(coalescer.push(&slab, place, &view, 1));
                }
                Err(reason) => drops.push(reason),
            }
            start += len;
        }
        coalescer.drain(&mut slab, |one| got.extend(resplit(one)));
        prop_assert_eq!(counted(&drops), counted(&lost));
        prop_assert_eq!(by_flow(got), by_flow(expected));
    }
}

/// `BURST_BATCHES=100000 cargo test --release -p esp bursts` takes longer and tries more.
fn batches() -> u32 {
    std::env::var("BURST_BATCHES").ok().and_then(|count| count.parse().ok()).unwrap_or(1000)
}

#[test]
fn what_no_train_takes_is_too_big_and_uses_no_number() {
    let mut sa = outbound(Suite::Combined(Aead::AesGcm16(AesKey::Bits256)));
    let (vnet, packet) = super_packet(&Shape::default(), &[7; 3000], 1400);
    let mut all = Segments::new(&vnet, &packet).unwrap();
    let (mut buffer, mut train) = (vec![0; 10_000], Train::at(0));
    let small = TrainLimits { octets: 1400, packets: 64 };
    let result = sa.encap_segments(&mut all, &mut buffer, &mut train, small);
    assert_eq!((result, sa.sequence()), (Err(DropReason::TooBig), 0));
    let result = sa.encap_segments(&mut all, &mut buffer[..2000], &mut train, LIMITS);
    assert_eq!((result, sa.sequence(), train.packets()), (Err(DropReason::NoRoom), 1, 1));
}

#[test]
fn a_super_packet_outside_the_selectors_is_refused_as_a_whole() {
    let mut sa = outbound(Suite::Combined(Aead::AesGcm16(AesKey::Bits256)));
    let (vnet, mut packet) = super_packet(&Shape::default(), &[7; 3000], 1400);
    packet[17] = 3;
    let mut all = Segments::new(&vnet, &packet).unwrap();
    let (mut buffer, mut train) = (vec![0; 10_000], Train::at(0));
    let result = sa.encap_segments(&mut all, &mut buffer, &mut train, LIMITS);
    assert_eq!((result, sa.sequence()), (Err(DropReason::SelectorMismatch), 0));
}

#[test]
fn an_sa_that_ends_within_a_super_packet_leaves_what_is_sealed() {
    for suite in super::FAMILIES {
        let mut sa = OutboundSa::new(super::params(suite, false, selectors(false))).unwrap();
        let mut receiver = InboundSa::new(super::params(suite, false, selectors(true))).unwrap();
        sa.skip_to(u64::from(u32::MAX) - 2);
        receiver.skip_to(u64::from(u32::MAX) - 2);
        let (vnet, packet) = super_packet(&Shape::default(), &[7; 3000], 1000);
        let mut all = Segments::new(&vnet, &packet).unwrap();
        let (mut buffer, mut train) = (vec![0; 10_000], Train::at(0));
        let result = sa.encap_segments(&mut all, &mut buffer, &mut train, LIMITS);
        assert_eq!((result, train.packets()), (Err(DropReason::SequenceExhausted), 2));
        for packet in buffer[train.range()].chunks_mut(train.stride()) {
            assert!(receiver.decap(packet).is_ok(), "{suite:?}");
        }
    }
}
