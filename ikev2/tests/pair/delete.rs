//! Ending things (RFC 7296 §1.4.1), from either side.

use std::time::Duration;

use ikev2::registry::ExchangeType;
use ikev2::wire::header::Header;
use ikev2::{CloseReason, Endpoint, Event, Start};
use testkit::link::Link;
use testkit::world::{LEFT, RIGHT, Sent, World, for_each_seed, psk_pair};

use crate::{MINUTE, assert_healthy, header, up};

fn disconnect(world: &mut World, host: usize) {
    let peer = world.host(host).peers[0];
    world.command(host, |endpoint, now| endpoint.disconnect(now, peer)).unwrap();
}

fn last_reason(world: &World, host: usize) -> Option<CloseReason> {
    world.host(host).events.iter().rev().find_map(|(_, event)| match event {
        Event::PeerDown { reason, .. } => Some(reason.clone()),
        _ => None,
    })
}

#[test]
fn the_initiator_ends_it_and_it_stays_down() {
    let mut world = up(World::new(1).peers(psk_pair()));
    disconnect(&mut world, LEFT);
    let took = world.run_until(World::all_down, MINUTE);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(last_reason(&world, LEFT), Some(CloseReason::Local));
    assert_eq!(last_reason(&world, RIGHT), Some(CloseReason::PeerDeleted));
    world.run_for(30 * MINUTE);
    assert!(world.all_down());
    let peer = world.left().peers[0];
    world.command(LEFT, |endpoint, now| endpoint.connect(now, peer)).unwrap();
    world.run_until(World::both_up, MINUTE);
    world.assert_mirrored();
}

#[test]
fn the_responder_ends_it_and_turns_the_initiator_away_until_it_is_wanted_again() {
    let mut world = up(World::new(1).peers(psk_pair()));
    disconnect(&mut world, RIGHT);
    world.run_until(World::all_down, MINUTE);
    assert_eq!(last_reason(&world, LEFT), Some(CloseReason::PeerDeleted));
    assert_eq!(last_reason(&world, RIGHT), Some(CloseReason::Local));
    world.run_for(5 * MINUTE);
    assert!(world.all_down(), "{}", world.report());
    let peer = world.right().peers[0];
    world.command(RIGHT, |endpoint, now| endpoint.connect(now, peer)).unwrap();
    world.run_until(World::both_up, MINUTE);
    world.run_until_quiet(MINUTE);
    assert_healthy(&world, 1);
}

/// IKE_AUTH has INITIAL_CONTACT in it: repeated by an attempt that was given up, it would end the one that came after it.
#[test]
fn an_attempt_that_was_given_up_does_not_come_after_the_next() {
    for_each_seed(50, |seed| {
        let auth = |sent: &&Sent| {
            let header = header(sent);
            sent.host == LEFT && header.exchange == ExchangeType::IKE_AUTH
        };
        let [left, mut right] = psk_pair();
        right.start = Start::RespondOnly;
        let mut world = World::new(seed).peers([left, right]);
        // Every IKE_AUTH is lost until both attempts wait to repeat theirs.
        world.attack(|datagram, _| {
            let exchange = Header::parse(&datagram.payload).map(|header| header.exchange);
            let lost = exchange.is_ok_and(|exchange| exchange == ExchangeType::IKE_AUTH);
            if lost { Vec::new() } else { vec![datagram] }
        });
        world.run_until(|world| world.sent().iter().any(|sent| auth(&sent)), MINUTE);
        let first = world.sent().iter().find(auth).map(|sent| header(sent).spi_i).unwrap();
        disconnect(&mut world, LEFT);
        let peer = world.left().peers[0];
        let before = world.sent().len();
        world.command(LEFT, |endpoint, now| endpoint.connect(now, peer)).unwrap();
        world.run_for(Duration::from_millis(200));
        world.relent();
        world.run_until(World::both_up, MINUTE);
        world.run_for(MINUTE);
        let late = world.sent()[before..].iter().filter(auth);
        let of_first = late.filter(|sent| header(sent).spi_i == first).count();
        assert_eq!(of_first, 0, "{}", world.report());
        assert_healthy(&world, 1);
    });
}

/// The peer's answer to the first IKE_AUTH is lost and the attempt given up: the second one's INITIAL_CONTACT says so,
/// though it was begun before the first was up on this side.
#[test]
fn the_second_attempt_of_a_peer_ends_what_is_left_of_the_first() {
    for_each_seed(50, |seed| {
        let mut world = World::new(seed).peers(psk_pair());
        let answers = world.right().address;
        // Its IKE_AUTH arrives late, and the answer never.
        world.attack(move |datagram, _| {
            let exchange = Header::parse(&datagram.payload).map(|header| header.exchange);
            let auth = exchange.is_ok_and(|exchange| exchange == ExchangeType::IKE_AUTH);
            if auth && datagram.source.ip() == answers { Vec::new() } else { vec![datagram] }
        });
        let is_auth = |sent: &Sent| header(sent).exchange == ExchangeType::IKE_AUTH;
        world.run_until(|world| world.sent().iter().any(is_auth), MINUTE);
        disconnect(&mut world, LEFT);
        let peer = world.left().peers[0];
        world.command(LEFT, |endpoint, now| endpoint.connect(now, peer)).unwrap();
        world.run_until(|world| world.right().child_count() > 0, MINUTE);
        world.relent();
        world.run_until(World::both_up, MINUTE);
        world.run_for(Duration::from_secs(seed % 20));
        assert_healthy(&world, 1);
    });
}

#[test]
fn both_end_it_at_once_on_a_bad_link() {
    for_each_seed(100, |seed| {
        let link = Link::default().delay_ms(5..80).loss(300);
        let mut world = World::new(seed).link(link).peers(psk_pair());
        world.run_until(World::both_up, 5 * MINUTE);
        disconnect(&mut world, LEFT);
        disconnect(&mut world, RIGHT);
        world.run_until(World::all_down, MINUTE);
        world.run_for(MINUTE);
        assert!(world.all_down(), "{}", world.report());
    });
}

#[test]
fn a_shutdown_is_done_when_the_peer_has_answered() {
    let mut world = up(World::new(1).peers(psk_pair()));
    assert!(!world.left().endpoint.is_idle());
    world.command(LEFT, Endpoint::shutdown);
    let took = world.run_until(|world| world.left().endpoint.is_idle(), MINUTE);
    assert!(took < Duration::from_millis(100), "{took:?}");
    world.run_until(World::all_down, MINUTE);
}

#[test]
fn a_shutdown_does_not_wait_for_a_dead_peer() {
    let mut world = up(World::new(1).peers(psk_pair()));
    world.cut(true);
    world.command(LEFT, Endpoint::shutdown);
    let took = world.run_until(|world| world.left().endpoint.is_idle(), MINUTE);
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[test]
fn a_connection_that_was_not_yet_up_can_be_ended() {
    for_each_seed(50, |seed| {
        let mut world = World::new(seed).link(Link::default().delay_ms(10..60)).peers(psk_pair());
        world.run_for(Duration::from_millis(seed * 5));
        disconnect(&mut world, LEFT);
        world.run_for(5 * MINUTE);
        assert!(world.all_down(), "{}", world.report());
        assert!(world.left().endpoint.is_idle());
    });
}

/// Whoever ends an attempt hears that it is over, and the responder, which may be up already, hears it at once.
#[test]
fn an_attempt_that_is_ended_ends_once_and_on_both_sides() {
    for_each_seed(100, |seed| {
        let link = Link::default().delay_ms(10..60).loss(100);
        let mut world = World::new(seed).link(link).peers(psk_pair());
        world.run_for(Duration::from_millis(seed * 5));
        disconnect(&mut world, LEFT);
        let downs =
            |world: &World| world.left().count(|event| matches!(event, Event::PeerDown { .. }));
        assert_eq!(downs(&world), 1, "{}", world.report());
        world.run_for(Duration::from_secs(20));
        assert!(world.all_down(), "{}", world.report());
        assert_eq!(downs(&world), 1, "{}", world.report());
    });
}

/// The same by the side that was called, at any moment of the handshake: then nobody comes up until it is wanted again.
#[test]
fn a_responder_that_is_told_to_end_in_the_middle_of_a_handshake_stays_down() {
    for_each_seed(60, |seed| {
        let link = Link::default().delay_ms(10..60).loss(100);
        let mut world = World::new(seed).link(link).peers(psk_pair());
        world.run_for(Duration::from_millis(seed * 5));
        disconnect(&mut world, RIGHT);
        world.run_for(MINUTE);
        assert!(world.all_down(), "{}", world.report());
        assert!(world.right().endpoint.is_idle());
        let peer = world.right().peers[0];
        world.command(RIGHT, |endpoint, now| endpoint.connect(now, peer)).unwrap();
        world.run_until(World::both_up, MINUTE);
        world.run_until_quiet(5 * MINUTE);
        assert_healthy(&world, 1);
    });
}

/// A peer whose name resolves to nothing for a while is called again when it does.
#[test]
fn a_peer_without_paths_is_waited_for() {
    let mut world = up(World::new(1).peers(psk_pair()));
    let peer = world.left().peers[0];
    let paths = psk_pair()[LEFT].paths.clone();
    world.command(LEFT, |endpoint, now| endpoint.set_paths(now, peer, &[])).unwrap();
    assert_healthy(&world, 1);
    world.cut(true);
    world.run_for(5 * MINUTE);
    assert!(world.all_down(), "{}", world.report());
    let sent = world.sent().len();
    world.cut(false);
    world.run_for(5 * MINUTE);
    assert_eq!(world.sent().len(), sent, "{}", world.report());
    world.command(LEFT, |endpoint, now| endpoint.set_paths(now, peer, &paths)).unwrap();
    world.run_until(World::both_up, MINUTE);
}
