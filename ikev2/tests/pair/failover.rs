//! A peer with two endpoints: when one dies the other is called; probes that leave nothing behind; going over on command.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ikev2::registry::ExchangeType;
use ikev2::{CloseReason, Event, Identity, PeerConfig, ProbeId};
use testkit::world::{Datagram, LEFT, LEFT_ADDRESS, RIGHT, RIGHT_ADDRESS, World, path, psk_pair};

use crate::MINUTE;

const OTHER: usize = 2;
const OTHER_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 77));
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 99));
const SECOND: Duration = Duration::from_secs(1);

/// Left calls right, or else the other one, which has the same identity and key.
fn hubs(seed: u64) -> World {
    hubs_with(seed, |_| {})
}

fn hubs_with(seed: u64, edit: fn(&mut PeerConfig)) -> World {
    let [mut left, mut right] = psk_pair();
    let mut world = World::new(seed);
    world.add_host("left", LEFT_ADDRESS);
    world.add_host("right", RIGHT_ADDRESS);
    world.add_host("other", OTHER_ADDRESS);
    let mut twin: PeerConfig = right.clone();
    twin.paths = vec![path(OTHER_ADDRESS, LEFT_ADDRESS)];
    edit(&mut right);
    left.paths = vec![path(LEFT_ADDRESS, RIGHT_ADDRESS), path(LEFT_ADDRESS, OTHER_ADDRESS)];
    world.add_peer(RIGHT, right);
    world.add_peer(OTHER, twin);
    world.add_peer(LEFT, left);
    world
}

/// Nothing gets to these addresses or away from them.
fn kill(world: &mut World, dead: &'static [IpAddr]) {
    let is_dead = |address: SocketAddr| dead.contains(&address.ip());
    world.attack(move |datagram: Datagram, _| {
        let lost = is_dead(datagram.source) || is_dead(datagram.destination);
        if lost { Vec::new() } else { vec![datagram] }
    });
}

fn is_at(world: &World, address: IpAddr) -> bool {
    world.left().up.values().any(|info| info.path.remote.ip() == address)
}

fn probe(world: &mut World, to: IpAddr) -> ProbeId {
    let peer = world.left().peers[0];
    let to = path(LEFT_ADDRESS, to);
    world.command(LEFT, |endpoint, now| endpoint.probe(now, peer, to)).unwrap()
}

fn switch(world: &mut World, to: IpAddr) -> bool {
    let peer = world.left().peers[0];
    let to = path(LEFT_ADDRESS, to);
    world.command(LEFT, |endpoint, now| endpoint.switch_to(now, peer, to)).unwrap()
}

/// How a probe ended, if it has.
fn probed(world: &World, wanted: ProbeId) -> Option<Result<Duration, ()>> {
    world.left().events.iter().find_map(|(_, event)| match event {
        Event::Probed { probe, rtt } if *probe == wanted => Some(rtt.ok_or(())),
        _ => None,
    })
}

/// How often left lost its peer.
fn downs(world: &World) -> usize {
    world.left().count(|event| matches!(event, Event::PeerDown { .. }))
}

fn failures(world: &World) -> Vec<CloseReason> {
    let events = world.left().events.iter();
    let reason = |event: &Event| match event {
        Event::SwitchFailed { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    events.filter_map(|(_, event)| reason(event)).collect()
}

#[test]
fn when_an_endpoint_dies_the_next_one_is_called_and_not_the_dead_one() {
    for seed in 0..10 {
        let mut world = hubs(seed);
        world.run_until(|world| is_at(world, RIGHT_ADDRESS), MINUTE);
        world.run_for(MINUTE);
        kill(&mut world, &[RIGHT_ADDRESS]);
        world.run_until(|world| world.left().up.is_empty(), 3 * MINUTE);
        let took = world.run_until(|world| is_at(world, OTHER_ADDRESS), MINUTE);
        assert!(took <= 2 * SECOND, "{took:?}\n{}", world.report());
        // And in a circle: after the last one comes the first.
        kill(&mut world, &[OTHER_ADDRESS]);
        world.run_until(|world| world.left().up.is_empty(), 4 * MINUTE);
        let took = world.run_until(|world| is_at(world, RIGHT_ADDRESS), MINUTE);
        assert!(took <= 2 * SECOND, "{took:?}\n{}", world.report());
    }
}

/// Its operator stops it, or the connection there: it says so and then is silent, which would cost a quarter of a minute.
#[test]
fn an_endpoint_that_leaves_in_order_is_called_last() {
    for seed in 0..10 {
        let mut world = hubs(seed);
        world.run_until(|world| is_at(world, RIGHT_ADDRESS), MINUTE);
        world.run_for(MINUTE);
        let peer = world.host(RIGHT).peers[0];
        world.command(RIGHT, |endpoint, now| endpoint.disconnect(now, peer)).unwrap();
        world.run_until(|world| world.left().up.is_empty(), MINUTE);
        let took = world.run_until(|world| is_at(world, OTHER_ADDRESS), MINUTE);
        assert!(took <= 2 * SECOND, "{took:?}\n{}", world.report());
    }
}

/// It has a second in which to come by itself: a connection that was restarted there stays there.
#[test]
fn an_endpoint_that_leaves_and_comes_back_at_once_is_not_left_for_another() {
    let mut world = hubs(1);
    world.run_until(|world| is_at(world, RIGHT_ADDRESS), MINUTE);
    world.run_for(MINUTE);
    let peer = world.host(RIGHT).peers[0];
    world.command(RIGHT, |endpoint, now| endpoint.disconnect(now, peer)).unwrap();
    world.command(RIGHT, |endpoint, now| endpoint.connect(now, peer)).unwrap();
    world.run_for(MINUTE);
    assert!(is_at(&world, RIGHT_ADDRESS) && downs(&world) == 1, "{}", world.report());
    assert!(world.host(OTHER).up.is_empty(), "{}", world.report());
}

/// The first has another identity than it should: the second is tried before the first is asked again and again.
#[test]
fn an_endpoint_that_is_refused_does_not_keep_the_other_from_being_called() {
    let mut world = hubs_with(5, |right| right.local_id = Some(Identity::Fqdn("else.test".into())));
    let took = world.run_until(|world| is_at(world, OTHER_ADDRESS), MINUTE);
    assert!(took <= 5 * SECOND, "{took:?}\n{}", world.report());
}

#[test]
fn a_probe_finds_who_answers_and_leaves_nothing_behind() {
    let mut world = hubs(1);
    world.run_until(|world| is_at(world, RIGHT_ADDRESS), MINUTE);
    world.run_for(MINUTE);
    let events = world.left().events.len();
    let there = probe(&mut world, OTHER_ADDRESS);
    let nobody = probe(&mut world, NOBODY);
    assert_ne!(there, nobody);
    world.run_for(5 * SECOND);
    let rtt = probed(&world, there).expect("an end").expect("an answer");
    assert!(rtt < SECOND, "{rtt:?}");
    assert_eq!(probed(&world, nobody), Some(Err(())));
    let asked = world.sent().iter().filter(|sent| sent.path.remote.ip() == NOBODY).count();
    assert_eq!(asked, 3);
    // The only events are those two, and what is half open over there goes by itself.
    assert_eq!(world.left().events.len(), events + 2, "{}", world.report());
    world.run_for(5 * MINUTE);
    assert!(is_at(&world, RIGHT_ADDRESS) && world.host(OTHER).up.is_empty());
    assert_eq!(downs(&world), 0, "{}", world.report());
}

#[test]
fn on_command_the_peer_is_left_for_its_other_endpoint_and_found_there_without_a_gap() {
    let mut world = hubs(2);
    world.run_until(|world| is_at(world, RIGHT_ADDRESS), MINUTE);
    world.run_for(MINUTE);
    for (to, from, left) in
        [(OTHER_ADDRESS, RIGHT_ADDRESS, RIGHT), (RIGHT_ADDRESS, OTHER_ADDRESS, OTHER)]
    {
        assert!(switch(&mut world, to));
        world.run_until(|world| is_at(world, to), MINUTE);
        world.run_for(10 * SECOND);
        assert!(!is_at(&world, from), "{}", world.report());
        assert_eq!((world.left().child_count(), world.host(left).child_count()), (1, 0));
    }
    let mut children = 0;
    for (at, event) in &world.left().events {
        match event {
            Event::ChildUp { .. } => children += 1,
            Event::ChildDown { .. } => children -= 1,
            _ => continue,
        }
        assert!(children > 0, "no child at {at:?}\n{}", world.report());
    }
    assert_eq!(downs(&world), 0, "{}", world.report());
    assert!(failures(&world).is_empty());
}

#[test]
fn a_dead_endpoint_does_not_cost_the_sa_that_there_is() {
    let mut world = hubs(3);
    world.run_until(|world| is_at(world, RIGHT_ADDRESS), MINUTE);
    world.run_for(MINUTE);
    let before: Vec<u64> = world.left().up.values().map(|info| info.spis.0).collect();
    assert!(switch(&mut world, NOBODY));
    // A second wish takes the place of the first without a word.
    assert!(switch(&mut world, NOBODY));
    world.run_for(MINUTE);
    assert_eq!(failures(&world), [CloseReason::NoAnswer], "{}", world.report());
    let after: Vec<u64> = world.left().up.values().map(|info| info.spis.0).collect();
    assert_eq!(before, after);
    assert_eq!(downs(&world), 0, "{}", world.report());
}

#[test]
fn while_nothing_is_up_the_wanted_endpoint_is_called_first() {
    let mut world = hubs(4);
    kill(&mut world, &[RIGHT_ADDRESS]);
    world
        .run_until(|world| world.left().count(|e| matches!(e, Event::PeerDown { .. })) > 0, MINUTE);
    assert!(!switch(&mut world, OTHER_ADDRESS));
    let took = world.run_until(|world| is_at(world, OTHER_ADDRESS), MINUTE);
    assert!(took <= SECOND, "{took:?}");
}

/// Its answer to IKE_AUTH was lost until we gave up: it believes in an SA that we know nothing of, and hears that there is none.
#[test]
fn an_attempt_that_is_given_up_leaves_no_sa_over_there() {
    for seed in 0..10 {
        let mut world = hubs(seed);
        world.run_until(|world| is_at(world, RIGHT_ADDRESS), MINUTE);
        world.run_for(MINUTE);
        world.attack(|datagram: Datagram, _| {
            let lost = datagram.source.ip() == OTHER_ADDRESS
                && datagram.payload[18] == ExchangeType::IKE_AUTH.0;
            if lost { Vec::new() } else { vec![datagram] }
        });
        assert!(switch(&mut world, OTHER_ADDRESS));
        world.run_until(|world| !failures(world).is_empty(), MINUTE);
        assert_eq!(world.host(OTHER).up.len(), 1, "{}", world.report());
        world.relent();
        world.run_for(10 * SECOND);
        assert!(world.host(OTHER).up.is_empty(), "{}", world.report());
        assert!(is_at(&world, RIGHT_ADDRESS) && downs(&world) == 0, "{}", world.report());
    }
}
