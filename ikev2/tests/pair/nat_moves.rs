//! A NAT box that changes under an SA that is up: another port after a power cut, another address after a new lease
//! (RFC 7296 §2.23, RFC 4555 §3.8; robustness T33). Whoever is outside follows what proves itself, once for each change, and
//! nothing else.
//!
//! ```text
//!   left 10.0.0.2 ── Nat 203.0.113.1:20001 ══════ right 198.51.100.1        left may be the initiator or the responder
//!                        reboot ► :20003
//!                        renumber ► 203.0.113.2:20005
//! ```

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ikev2::registry::ExchangeType;
use ikev2::{Encap, Event, PeerConfig, Start};
use testkit::link::Nat;
use testkit::world::{LEFT, RIGHT, RIGHT_ADDRESS, World, path, psk_pair};

use crate::{MINUTE, assert_healthy, assert_no_interruption, header, up};

const INSIDE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const PUBLIC: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));
const SECOND: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 2));

/// Who began the SA that runs through the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Initiator,
    Responder,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Port,
    Address(IpAddr),
}

fn world(behind: Behind, mobike: bool) -> World {
    let [mut left, mut right]: [PeerConfig; 2] = psk_pair().map(|mut config| {
        config.encap = Encap::Auto;
        config.mobike = mobike;
        config
    });
    left.paths = vec![path(INSIDE, RIGHT_ADDRESS)];
    let mut nat = Nat::new(INSIDE, PUBLIC);
    if behind == Behind::Initiator {
        right.paths = Vec::new();
        right.any_address = true;
    } else {
        left.start = Start::RespondOnly;
        right.start = Start::Always;
        right.paths = vec![path(RIGHT_ADDRESS, PUBLIC)];
        nat = nat.forward(500).forward(4500);
    }
    up(World::new(1).nat(nat).peers([left, right]))
}

fn change(world: &mut World, change: Change) {
    let nat = world.nat_mut().unwrap();
    match change {
        Change::Port => nat.reboot(),
        Change::Address(address) => nat.renumber(address),
    }
}

/// Where the world sees the left host's port 4500 now.
fn mapped(world: &mut World) -> SocketAddr {
    world.nat_mut().unwrap().outward(SocketAddr::new(INSIDE, 4500))
}

/// A packet of the left host's newest child arrives at the right one, whose data plane tells where from.
fn esp_arrives(world: &mut World) {
    let source = mapped(world);
    let child = world.right().children().last().unwrap().id;
    world.command(RIGHT, |endpoint, now| endpoint.heard_from(now, child, source));
}

/// The addresses to which the right host took its children, one after the other. It may say twice where they are: with the
/// first packet, and when MOBIKE has come to the same.
fn moves(world: &World) -> Vec<SocketAddr> {
    let events = world.right().events.iter();
    let all = events.filter_map(|(_, event)| match event {
        Event::PeerMoved { path, .. } => Some(path.remote),
        _ => None,
    });
    let mut followed: Vec<SocketAddr> = all.collect();
    followed.dedup();
    followed
}

const CHANGES: [Change; 4] =
    [Change::Port, Change::Address(SECOND), Change::Port, Change::Address(PUBLIC)];

/// Each change is followed by one move to where the left host is now, and nothing is interrupted.
fn follow(behind: Behind, mobike: bool, esp: bool) {
    let mut world = world(behind, mobike);
    for kind in CHANGES {
        let what = format!("{behind:?}, MOBIKE {mobike}, ESP {esp}, {kind:?}");
        let before = moves(&world).len();
        change(&mut world, kind);
        if esp {
            esp_arrives(&mut world);
            let now = mapped(&mut world);
            assert_eq!(moves(&world)[before..], [now], "{what}: with the first packet");
            esp_arrives(&mut world);
        }
        let took = world.run_until(|world| moves(world).len() > before, 2 * MINUTE);
        assert!(took <= Duration::from_secs(40), "{what}: {took:?}");
        for _ in 0..10 {
            world.run_for(MINUTE);
            if esp {
                esp_arrives(&mut world);
            }
        }
        let now = mapped(&mut world);
        assert_eq!(moves(&world)[before..], [now], "{what}\n{}", world.report());
        assert_healthy(&world, 1);
        assert_no_interruption(&world);
        // Both can ask, and are answered at once.
        for host in [LEFT, RIGHT] {
            let sent = world.sent().len();
            let child = world.host(host).children().last().unwrap().id;
            world.command(host, |endpoint, now| endpoint.rekey_child(now, child)).unwrap();
            world.run_for(Duration::from_secs(2));
            let repeated = world.sent()[sent..].len();
            assert_eq!(repeated, 4, "{what}: host {host}\n{}", world.report());
            assert_healthy(&world, 1);
        }
        let peer = world.right().children().last().unwrap().path.remote;
        assert_eq!(peer, now, "{what}: a new child goes there too");
    }
}

#[test]
fn an_initiator_behind_a_nat_is_followed() {
    for mobike in [false, true] {
        for esp in [false, true] {
            follow(Behind::Initiator, mobike, esp);
        }
    }
}

#[test]
fn a_responder_behind_a_nat_is_followed_without_mobike() {
    for esp in [false, true] {
        follow(Behind::Responder, false, esp);
    }
}

/// With MOBIKE only the initiator says where the SAs run (RFC 4555 §3.8), and no message tells it where the responder went.
/// It tries the way on which the responder's own messages come when its requests stay without an answer.
#[test]
fn a_responder_behind_a_nat_is_found_again_with_mobike() {
    for esp in [false, true] {
        let mut world = world(Behind::Responder, true);
        for kind in CHANGES {
            let before = moves(&world).len();
            change(&mut world, kind);
            let now = mapped(&mut world);
            if esp {
                esp_arrives(&mut world);
                assert_eq!(moves(&world)[before..], [now], "with the first packet");
                esp_arrives(&mut world);
                assert_eq!(moves(&world).len(), before + 1, "once");
            }
            world.run_for(3 * MINUTE);
            assert_eq!(moves(&world)[before..], [now], "{kind:?}\n{}", world.report());
            // Both can ask, and are answered at once.
            for host in [LEFT, RIGHT] {
                let sent = world.sent().len();
                let child = world.host(host).children().last().unwrap().id;
                world.command(host, |endpoint, now| endpoint.rekey_child(now, child)).unwrap();
                world.run_for(Duration::from_secs(2));
                assert_eq!(world.sent()[sent..].len(), 4, "{kind:?}\n{}", world.report());
            }
            assert_healthy(&world, 1);
            assert_no_interruption(&world);
        }
    }
}

/// What does not prove itself, or is old, moves nothing, wherever it comes from.
#[test]
fn forgeries_from_elsewhere_move_nothing() {
    for behind in [Behind::Initiator, Behind::Responder] {
        for mobike in [false, true] {
            let mut world = world(behind, mobike);
            world.run_for(2 * MINUTE);
            change(&mut world, Change::Port);
            world.run_for(3 * MINUTE);
            let before = moves(&world);
            let elsewhere: [SocketAddr; 3] = [
                "203.0.113.66:4500".parse().unwrap(),
                SocketAddr::new(PUBLIC, 4500),
                SocketAddr::new(PUBLIC, 19_999),
            ];
            let said: Vec<_> = world.sent().iter().map(|sent| sent.payload.clone()).collect();
            let sealed =
                |payload: &&std::sync::Arc<[u8]>| payload[18] != ExchangeType::IKE_SA_INIT.0;
            for payload in said.iter().filter(sealed) {
                for source in elsewhere {
                    let _dropped = world.inject(RIGHT, source, 4500, payload);
                    // As if it were the next one.
                    for next in 0..3 {
                        let mut forged = payload.to_vec();
                        forged[23] = forged[23].wrapping_add(next);
                        forged[30] ^= 1;
                        let _dropped = world.inject(RIGHT, source, 4500, &forged);
                    }
                }
            }
            assert_eq!(moves(&world), before, "{behind:?} {mobike}\n{}", world.report());
            world.run_for(10 * MINUTE);
            assert_eq!(moves(&world), before, "{behind:?} {mobike}\n{}", world.report());
            assert_healthy(&world, 1);
            assert_no_interruption(&world);
        }
    }
}

/// Who is in front of the NAT and not behind one does not believe ESP from elsewhere.
#[test]
fn without_a_nat_nobody_is_followed() {
    for mobike in [false, true] {
        let pair = psk_pair().map(|mut config| {
            config.encap = Encap::Auto;
            config.mobike = mobike;
            config
        });
        let mut world = up(World::new(1).peers(pair));
        let child = world.right().children().last().unwrap().id;
        let elsewhere = "203.0.113.66:4500".parse().unwrap();
        world.command(RIGHT, |endpoint, now| endpoint.heard_from(now, child, elsewhere));
        world.run_for(5 * MINUTE);
        assert_eq!(moves(&world), []);
        let exchanges = world.sent().iter().map(header).filter(|header| header.message_id.0 > 1);
        assert!(exchanges.count() > 0, "they talked meanwhile");
        assert_healthy(&world, 1);
    }
}
