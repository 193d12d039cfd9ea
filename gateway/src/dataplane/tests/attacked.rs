//! A data plane and a stranger who has packets of its peer: what he sends in one batch with them, at once to all workers, or
//! forged, harms no other packet and passes never twice.
//!
//! ```text
//!   stranger ── one message: ok, damaged, again, other SPI, ok .. short ──► right   the same packets as one by one
//!            ── the same packets from five sockets at once ───────────────►         each of them once
//!            ── forged, from elsewhere ───────────────────────────────────►         counted, and nobody moves
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Barrier;

use testkit::measured::measured;

use super::*;
use crate::io::udp::{Envelope, Outgoing};

/// The peer's SA towards the right side, in the hands of whoever wants to do harm.
fn sealer(local: &[&str], remote: &[&str]) -> OutboundSa {
    let selectors = Arc::new(Selectors { local: ranges(local), remote: ranges(remote) });
    OutboundSa::new(params(SPI_IN, &selectors)).unwrap()
}

const SPI_IN: u32 = 0x202;

/// Octets of the payload of [`inner`].
const PAYLOAD: usize = 200;

/// A datagram from 10.1.0.1:7 to 10.2.0.1:7 that begins with a number.
fn inner(number: u32, payload: usize) -> Vec<u8> {
    inner_from([10, 1, 0, 1], [10, 2, 0, 1], number, payload)
}

fn inner_from(source: [u8; 4], destination: [u8; 4], number: u32, payload: usize) -> Vec<u8> {
    let mut octets = number.to_be_bytes().to_vec();
    octets.resize(payload, 0x5a);
    let mut packet = Vec::new();
    let builder = etherparse::PacketBuilder::ipv4(source, destination, 64).udp(7, 7);
    builder.write(&mut packet, &octets).unwrap();
    packet
}

fn seal(sa: &mut OutboundSa, inner: &[u8]) -> Vec<u8> {
    let mut out = vec![0; sa.packet_len(inner.len())];
    sa.encap_into(inner, &mut out).unwrap();
    out
}

/// The right side with the SA of [`sealer`], and a socket beside the left side.
fn prey(left: &Side, right: &Side) -> UdpSocket {
    right.install(SPI_IN, 0x101, (RIGHT, LEFT), towards("192.0.2.2", "192.0.2.1", Transport::Udp));
    stranger(left)
}

fn stranger(left: &Side) -> UdpSocket {
    left.netns.run(|| UdpSocket::bind("192.0.2.1:0".parse().unwrap(), Port::Nat)).unwrap().unwrap()
}

/// One message of datagrams of this length.
fn send(socket: &UdpSocket, payload: &[u8], segment: usize) {
    let envelope = Envelope::new(None, "192.0.2.2:4500".parse().unwrap());
    let segment = u16::try_from(segment).unwrap();
    let message = Outgoing { payload, segment, envelope: &envelope, traffic_class: 0 };
    loop {
        match socket.send_batch([message]) {
            (_, Ok(())) => return,
            (_, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            (_, Err(error)) => panic!("{error}"),
        }
    }
}

/// The numbers that came to the application within what is left of its patience, `wanted` at most.
fn numbers(app: &Plain, wanted: usize) -> Vec<u32> {
    let mut datagram = [0; 2000];
    let mut got = Vec::new();
    while got.len() < wanted {
        let Ok(len) = app.recv(&mut datagram) else { break };
        got.push(u32::from_be_bytes(*datagram[..len].first_chunk().unwrap()));
    }
    got
}

/// Chance that is the same each time.
fn dice(state: &mut u64, bound: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state % u64::try_from(bound).unwrap()).unwrap()
}

const FAULTS: [DropReason; 3] = [DropReason::BadIcv, DropReason::Replayed, DropReason::UnknownSpi];

/// What of a batch the right side has to deliver and drop, by an SA that is handed its packets one by one.
fn reference(sa: &mut InboundSa, batch: &[Vec<u8>]) -> (Vec<u32>, BTreeMap<DropReason, u64>) {
    let (mut numbers, mut drops) = (Vec::new(), BTreeMap::new());
    for packet in batch {
        let mut packet = packet.clone();
        match sa.decap(&mut packet) {
            Ok(place) => {
                let number = &packet[place.start + 28..][..4];
                numbers.push(u32::from_be_bytes(*number.first_chunk().unwrap()));
            }
            Err(reason) => *drops.entry(reason).or_default() += 1,
        }
    }
    (numbers, drops)
}

#[test]
fn faults_in_a_batch_harm_no_neighbour() {
    const BATCHES: u32 = 300;
    with_world("attacked::faults_in_a_batch_harm_no_neighbour", |left, right| {
        let socket = prey(&left, &right);
        let app = right.app("10.2.0.1");
        let selectors = Arc::new(Selectors { local: ranges(RIGHT), remote: ranges(LEFT) });
        let mut single = InboundSa::new(params(SPI_IN, &selectors)).unwrap();
        let (mut sa, mut state) = (sealer(LEFT, RIGHT), 0x4303_6479);
        let (mut number, mut lost) = (0, BTreeMap::new());
        for turn in 0..BATCHES {
            let mut batch: Vec<Vec<u8>> = Vec::new();
            for place in 0..44_usize {
                let is_end = place == 43;
                let len = if is_end { PAYLOAD - 150 } else { PAYLOAD };
                let mut packet = seal(&mut sa, &inner(number, len));
                number += 1;
                // The first batch has one of each, where the list of faults has it; the others what chance has.
                let fate = if turn == 0 { place } else { dice(&mut state, 12) };
                match fate {
                    1 => {
                        let at = 8 + dice(&mut state, packet.len() - 8);
                        packet[at] ^= 1 << dice(&mut state, 8);
                    }
                    2 if !is_end => {
                        let mut earlier = batch.iter().filter(|other| other.len() == packet.len());
                        packet = earlier.next_back().cloned().unwrap_or(packet);
                    }
                    3 => packet[3] ^= 0x40,
                    _ => {}
                }
                batch.push(packet);
            }
            let (wanted, drops) = reference(&mut single, &batch);
            for (reason, count) in drops {
                *lost.entry(reason).or_insert(0) += count;
            }
            let stride = batch[0].len();
            send(&socket, &batch.concat(), stride);
            // In the same call of the receiver, most likely.
            send(&socket, &[1, 2, 3], 0);
            let got = numbers(&app, wanted.len());
            assert_eq!(got, wanted, "batch {turn}: {right:?}");
        }
        let foreign = lost.remove(&DropReason::UnknownSpi).unwrap();
        let common = |reason| move |side: &Side| side.dataplane().counters().dropped(reason);
        right.settles(foreign, common(DropReason::UnknownSpi));
        right.settles(BATCHES.into(), common(DropReason::Runt));
        for (reason, count) in &lost {
            right.settles(*count, |side| side.counters.dropped(*reason));
        }
        let kinds: Vec<_> = lost.into_keys().collect();
        assert_eq!(kinds, [FAULTS[1], FAULTS[0]], "not every fault was tried");
        app.set_nonblocking(true).unwrap();
        assert!(app.recv(&mut [0; 4]).is_err(), "more than was sent");
        measured("T53", "batches through a socket that differ from packet by packet", 0, "0");
    });
}

/// RFC 4303 §3.4.3, with the packets of one SA on all sockets of four workers and on a raw one, at the same instant.
#[test]
fn twins_on_all_workers_at_once_pass_once() {
    const PACKETS: u32 = 2000;
    with_workers("attacked::twins_on_all_workers_at_once_pass_once", 4, |left, right| {
        drop(prey(&left, &right));
        let app = right.app("10.2.0.1");
        let mut sa = sealer(LEFT, RIGHT);
        let packets: Vec<_> = (0..PACKETS).map(|number| seal(&mut sa, &inner(number, 4))).collect();
        let sockets: Vec<_> = (0..4).map(|_| stranger(&left)).collect();
        let raw = left.netns.run(|| RawEsp::bind("192.0.2.1".parse().unwrap()).unwrap()).unwrap();
        let to = Envelope::new(None, "192.0.2.2:0".parse().unwrap());
        let start = Barrier::new(sockets.len() + 1);
        let (sent, got) = std::thread::scope(|scope| {
            let bare = scope.spawn(|| {
                start.wait();
                let one =
                    |payload| Outgoing { payload, segment: 0, envelope: &to, traffic_class: 0 };
                packets.iter().filter(|packet| raw.send_batch([one(packet)]).1.is_ok()).count()
            });
            let threads: Vec<_> = sockets
                .iter()
                .map(|socket| {
                    scope.spawn(|| {
                        start.wait();
                        for packet in &packets {
                            send(socket, packet, 0);
                        }
                        packets.len()
                    })
                })
                .collect();
            let reader = scope.spawn(|| numbers(&app, packets.len()));
            let sent: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            (sent + bare.join().unwrap(), reader.join().unwrap())
        });
        right.settles(PACKETS.into(), |side| side.counters.packets_in());
        let sent = u64::try_from(sent).unwrap();
        right
            .settles(sent - u64::from(PACKETS), |side| side.counters.drops().map(|(_, n)| n).sum());
        let twice = got.len() - got.iter().collect::<BTreeSet<_>>().len();
        measured("T20", "packets sent to four workers at once, five times each", sent, "10000");
        measured("T20", "of them delivered twice", twice, "0");
        assert_eq!(twice, 0);
        app.set_nonblocking(true).unwrap();
        assert!(numbers(&app, 1).is_empty() || got.len() < packets.len(), "delivered twice");
    });
}

/// Forged, or authentic and outside the selectors: counted, each of them, and nothing else moves: neither the peer's address nor
/// what is known of its life, unless it was authentic.
#[test]
fn what_is_forged_or_foreign_is_counted_and_nothing_else() {
    const SENT: u64 = 500;
    let name = "attacked::what_is_forged_or_foreign_is_counted_and_nothing_else";
    with_world(name, |mut left, mut right| {
        talk(&mut left, &mut right, ("192.0.2.1", "192.0.2.2"), Transport::Udp);
        let socket = stranger(&left);
        let everything = &["0.0.0.0/0"][..];
        let mut sa = sealer(everything, everything);
        // The peer has used these numbers up; the stranger begins behind them.
        for _ in 0..20 {
            drop(seal(&mut sa, &inner(0, 4)));
        }
        let (alive, packets) = (right.counters.last_inbound(), right.counters.packets_in());
        for number in 0..SENT {
            let mut packet = seal(&mut sa, &inner(0, 100));
            let bit = usize::try_from(number).unwrap() * 37 % (packet.len() * 8 - 64) + 64;
            packet[bit / 8] ^= 1 << (bit % 8);
            send(&socket, &packet, 0);
        }
        right.settles(SENT, |side| side.counters.dropped(DropReason::BadIcv));
        assert_eq!((right.counters.last_inbound(), right.upcall(Duration::ZERO)), (alive, None));

        let app = right.app("10.2.0.1");
        let foreign = [
            ([10, 2, 0, 1], [10, 2, 0, 1]),
            ([10, 1, 0, 1], [10, 1, 0, 1]),
            ([192, 0, 2, 1], [10, 2, 0, 1]),
            ([10, 1, 0, 1], [192, 0, 2, 2]),
            ([10, 1, 0, 1], [10, 3, 0, 1]),
            ([127, 0, 0, 1], [10, 2, 0, 1]),
            ([10, 1, 0, 1], [255; 4]),
        ];
        for pair in foreign.iter().cycle().take(usize::try_from(SENT).unwrap()) {
            send(&socket, &seal(&mut sa, &inner_from(pair.0, pair.1, 0, 10)), 0);
        }
        right.settles(SENT, |side| side.counters.dropped(DropReason::SelectorMismatch));
        app.set_nonblocking(true).unwrap();
        let delivered = right.counters.packets_in() - packets;
        measured("T19", "forged packets counted as bad-icv", SENT, "as many as were sent");
        measured("T21", "authentic packets outside the selectors, delivered", delivered, "0");
        assert_eq!((delivered, numbers(&app, 1)), (0, vec![]));
    });
}
