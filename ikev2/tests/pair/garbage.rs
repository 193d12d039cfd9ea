//! What is not authentic changes nothing: no event, no answer worth the name, no damage (RFC 7296 §2.21).

use std::sync::Arc;

use ikev2::registry::{ExchangeType, NotifyType, PayloadType};
use ikev2::wire::header::{Flags, Header, IkeSpi, MessageId};
use ikev2::wire::message::{Chain, message};
use ikev2::{Disposition, DropReason};
use testkit::link::Link;
use testkit::world::{LEFT, RIGHT, World, for_each_seed, psk_pair};

use crate::{MINUTE, assert_healthy, assert_no_interruption, header, up};

/// A world that has said a good deal: handshake, rekeys, liveness.
fn talkative() -> World {
    let mut world = up(World::new(1).peers(psk_pair()));
    let child = world.left().children().next().unwrap().id;
    world.command(LEFT, |endpoint, now| endpoint.rekey_child(now, child)).unwrap();
    world.run_until_quiet(MINUTE);
    world.run_for(MINUTE);
    world.run_until_quiet(2 * MINUTE);
    world
}

/// Everything that was said, as (sender, octets).
fn recorded(world: &World) -> Vec<(usize, Arc<[u8]>)> {
    world.sent().iter().map(|sent| (sent.host, Arc::clone(&sent.payload))).collect()
}

fn other(host: usize) -> usize {
    LEFT + RIGHT - host
}

/// Hands a datagram to the host that did not send it, from the sender's address.
fn inject(world: &mut World, sender: usize, payload: &[u8]) -> Disposition {
    let source = std::net::SocketAddr::new(world.host(sender).address, 4500);
    world.inject(other(sender), source, 4500, payload)
}

/// Runs `mischief`, demands that no event came of it, and that everything still works after.
#[track_caller]
fn assert_nothing_changes(mut world: World, mischief: impl FnOnce(&mut World)) {
    let events = (world.left().events.len(), world.right().events.len());
    mischief(&mut world);
    assert_eq!(
        (world.left().events.len(), world.right().events.len()),
        events,
        "{}",
        world.report()
    );
    assert_healthy(&world, 1);
    for host in [LEFT, RIGHT] {
        let child = world.host(host).children().next().unwrap().id;
        world.command(host, |endpoint, now| endpoint.rekey_child(now, child)).unwrap();
        world.run_until_quiet(MINUTE);
        let peer = world.host(host).peers[0];
        world.command(host, |endpoint, now| endpoint.rekey_ike(now, peer)).unwrap();
        world.run_until_quiet(MINUTE);
    }
    assert_healthy(&world, 1);
    assert_no_interruption(&world);
}

#[test]
fn truncated_messages() {
    assert_nothing_changes(talkative(), |world| {
        for (sender, payload) in recorded(world) {
            for len in 0..payload.len() {
                let disposition = inject(world, sender, &payload[..len]);
                assert_eq!(disposition, Disposition::Dropped(DropReason::Malformed), "{len}");
            }
        }
    });
}

#[test]
fn truncated_messages_with_a_corrected_length() {
    assert_nothing_changes(talkative(), |world| {
        let sent = world.sent().len();
        for (sender, payload) in recorded(world) {
            if header_of(&payload).exchange == ExchangeType::IKE_SA_INIT {
                continue;
            }
            for len in Header::LEN..payload.len() {
                let mut short = payload[..len].to_vec();
                short[24..28].copy_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
                let disposition = inject(world, sender, &short);
                assert!(matches!(disposition, Disposition::Dropped(_)), "{len}");
            }
        }
        assert_eq!(world.sent().len(), sent, "nothing is answered");
    });
}

#[test]
fn another_version() {
    assert_nothing_changes(talkative(), |world| {
        for (sender, payload) in recorded(world) {
            for version in [0x10, 0x30, 0x00, 0xff] {
                let mut payload = payload.to_vec();
                payload[17] = version;
                let disposition = inject(world, sender, &payload);
                assert_eq!(disposition, Disposition::Dropped(DropReason::Version));
            }
        }
    });
}

#[test]
fn unknown_spis() {
    assert_nothing_changes(talkative(), |world| {
        let sent = world.sent().len();
        for (sender, payload) in recorded(world) {
            let header = header_of(&payload);
            if header.exchange == ExchangeType::IKE_SA_INIT {
                continue;
            }
            // The SPI that the receiver chose.
            let at = if header.flags.initiator { 8 } else { 0 };
            let mut payload = payload.to_vec();
            payload[at] ^= 0x40;
            let disposition = inject(world, sender, &payload);
            assert_eq!(disposition, Disposition::Dropped(DropReason::UnknownSpi));
        }
        assert_eq!(world.sent().len(), sent, "nothing is answered");
    });
}

#[test]
fn every_octet_of_protected_messages_flipped() {
    assert_nothing_changes(talkative(), |world| {
        let sent = world.sent().len();
        for (sender, payload) in recorded(world) {
            if header_of(&payload).exchange == ExchangeType::IKE_SA_INIT {
                continue;
            }
            for at in 0..payload.len() {
                let mut payload = payload.to_vec();
                payload[at] ^= 0x01;
                let disposition = inject(world, sender, &payload);
                assert!(matches!(disposition, Disposition::Dropped(_)), "octet {at}");
            }
        }
        assert_eq!(world.sent().len(), sent, "nothing is answered");
    });
}

#[test]
fn a_fresh_message_with_a_bad_icv() {
    assert_nothing_changes(talkative(), |world| {
        // The next requests that the peer would send, which nobody has seen: only the ICV tells.
        for (sender, payload) in recorded(world) {
            let header = header_of(&payload);
            if header.exchange != ExchangeType::INFORMATIONAL || header.flags.response {
                continue;
            }
            let mut forged = payload.to_vec();
            let next = header.message_id.0 + 1;
            let newest = recorded(world)
                .iter()
                .filter(|(host, octets)| *host == sender && !header_of(octets).flags.response)
                .map(|(_, octets)| header_of(octets).message_id.0)
                .max();
            if newest == Some(header.message_id.0) {
                forged[20..24].copy_from_slice(&next.to_be_bytes());
                let disposition = inject(world, sender, &forged);
                assert_eq!(disposition, Disposition::Dropped(DropReason::BadIcv));
            }
        }
    });
}

#[test]
fn everything_replayed() {
    assert_nothing_changes(talkative(), |world| {
        let sent = world.sent().len();
        for (sender, payload) in recorded(world) {
            if header_of(&payload).exchange == ExchangeType::IKE_SA_INIT {
                continue;
            }
            let disposition = inject(world, sender, &payload);
            assert!(matches!(disposition, Disposition::Dropped(_)), "{:?}", header_of(&payload));
        }
        let answers = world.sent()[sent..].to_vec();
        assert!(answers.len() <= 2, "each side repeats its last answer at most: {answers:?}");
        assert!(answers.iter().all(|answer| header(answer).flags.response));
    });
}

#[test]
fn errors_in_the_clear() {
    assert_nothing_changes(talkative(), |world| {
        let spis = world.left().up.values().next().unwrap().spis;
        let sent = world.sent().len();
        for kind in NotifyType::ALL.iter().map(|(kind, _)| *kind) {
            for exchange in ExchangeType::ALL.iter().map(|(exchange, _)| *exchange) {
                for bits in 0..4 {
                    let flags = Flags {
                        initiator: bits & 1 != 0,
                        response: bits & 2 != 0,
                        ..Flags::default()
                    };
                    let header = Header {
                        spi_i: IkeSpi(spis.0),
                        spi_r: IkeSpi(spis.1),
                        next_payload: PayloadType::NONE,
                        version: Header::VERSION,
                        exchange,
                        flags,
                        message_id: MessageId(2),
                        len: 0,
                    };
                    let mut chain = Chain::new();
                    chain.notify(kind, b"").delete_ike();
                    let forged = message(header, &chain);
                    for sender in [LEFT, RIGHT] {
                        let disposition = inject(world, sender, &forged);
                        assert!(
                            matches!(disposition, Disposition::Dropped(_)),
                            "{kind} {exchange}"
                        );
                    }
                }
            }
        }
        assert_eq!(world.sent().len(), sent, "nothing is answered");
    });
}

#[test]
fn a_handshake_in_a_hail_of_damaged_copies() {
    for_each_seed(50, |seed| {
        let mut world = World::new(seed).link(Link::default().delay_ms(5..30));
        world.attack(|datagram, rng| {
            let mut hail = vec![datagram.clone()];
            for _ in 0..5 {
                let mut damaged = datagram.clone();
                let at = rand_below(rng, damaged.payload.len());
                // Not the SPI of the sender in IKE_SA_INIT: that would make it another, equally good request.
                if at >= 24 {
                    damaged.payload[at] ^= 0x10;
                    hail.push(damaged);
                }
            }
            hail.reverse();
            if header_of(&datagram.payload).exchange == ExchangeType::IKE_SA_INIT {
                // Nothing in it is authenticated yet: a damaged one that comes first may be taken for the real one,
                // and is found out by AUTH (RFC 7296 §2.15). Here the real one comes first.
                hail.reverse();
            }
            hail
        });
        let mut world = world.peers(psk_pair());
        world.run_until(World::both_up, MINUTE);
        world.run_until_quiet(5 * MINUTE);
        assert_healthy(&world, 1);
    });
}

#[test]
fn random_octets() {
    for_each_seed(3, |seed| {
        let mut world = up(World::new(seed).peers(psk_pair()));
        let events = world.left().events.len();
        let mut state = seed + 1;
        for _ in 0..5000 {
            let payload: Vec<u8> = (0..200)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    state.to_be_bytes()[0]
                })
                .collect();
            let len = usize::from(payload[0]).min(payload.len());
            let disposition = inject(&mut world, RIGHT, &payload[..len]);
            assert!(matches!(disposition, Disposition::Dropped(_)));
        }
        assert_eq!(world.left().events.len(), events);
    });
}

fn header_of(payload: &[u8]) -> Header {
    Header::parse(payload).unwrap()
}

fn rand_below(rng: &mut impl rand_core::Rng, bound: usize) -> usize {
    usize::try_from(rng.next_u32()).unwrap() % bound
}
