//! Which child it becomes (RFC 7296 §2.9): the best of those that are configured, and the one that a packet waits for.

use std::net::IpAddr;

use ikev2::{Event, PacketSelectors, PeerConfig, Start, TrafficSelector};
use testkit::world::{LEFT, World, child_of, psk_pair, subnet};

use crate::{MINUTE, up};

const ESP: &str = "aes256gcm16-noesn";

fn eight() -> TrafficSelector {
    TrafficSelector::subnet(IpAddr::from([10, 0, 0, 0]), 8)
}

/// The left host asks for everything in 10/8; the right one has a child for each of three networks.
fn wide_and_narrow() -> [PeerConfig; 2] {
    let [mut left, mut right] = psk_pair();
    (left.children[0].local, left.children[0].remote) = (vec![eight()], vec![eight()]);
    right.children = vec![
        child_of("first", 2, 1, ESP),
        child_of("second", 4, 3, ESP),
        child_of("third", 6, 5, ESP),
    ];
    [left, right]
}

fn packet(own: u8, other: u8) -> PacketSelectors {
    PacketSelectors {
        protocol: 17,
        local: IpAddr::from([10, own, 0, 9]),
        remote: IpAddr::from([10, other, 0, 9]),
        ports: Some((4444, 53)),
    }
}

/// One, of the several that the right host has configured.
fn one_child(world: &World) -> bool {
    (world.left().child_count(), world.right().child_count()) == (1, 1)
}

#[test]
fn the_exact_child_comes_before_the_first_that_meets() {
    let [left, mut right] = psk_pair();
    let mut wide = child_of("wide", 2, 1, ESP);
    (wide.local, wide.remote) = (vec![eight()], vec![eight()]);
    right.children.insert(0, wide);
    let mut world = World::new(1).peers([left, right]);
    world.run_until(one_child, MINUTE);
    assert_eq!(world.right().children().next().unwrap().config, 1);
}

#[test]
fn a_packet_gets_the_child_that_it_waits_for() {
    for (own, other, config) in [(1, 2, 0), (3, 4, 1), (5, 6, 2)] {
        let [mut left, right] = wide_and_narrow();
        left.start = Start::OnDemand;
        let mut world = World::new(1).peers([left, right]);
        let peer = world.left().peers[0];
        let packet = packet(own, other);
        world.command(LEFT, |e, now| e.connect_for(now, peer, packet)).unwrap();
        world.run_until(one_child, MINUTE);
        world.run_until_quiet(MINUTE);
        world.assert_mirrored();
        let child = world.right().children().next().unwrap();
        assert_eq!(child.config, config);
        assert_eq!(child.remote_ts, [subnet(own)], "more than the packet, and it");
        let child = world.left().children().next().unwrap();
        assert!(child.more_possible, "the others would have been acceptable, too");
    }
}

/// The IKE SA is up; a packet comes for which there is no child.
#[test]
fn a_packet_gets_a_child_of_its_own_while_others_are_up() {
    let [left, right] = wide_and_narrow();
    let mut world = World::new(1).peers([left, right]);
    world.run_until(one_child, MINUTE);
    world.run_until_quiet(MINUTE);
    let peer = world.left().peers[0];
    let carried = packet(1, 2);
    let sent = world.sent().len();
    world.command(LEFT, |e, now| e.connect_for(now, peer, carried)).unwrap();
    world.run_until_quiet(MINUTE);
    assert_eq!(world.left().child_count(), 1, "there is one for it");
    assert!(world.sent().len() <= sent + 2, "nothing but a look whether the peer lives");
    let waiting = packet(5, 6);
    world.command(LEFT, |e, now| e.connect_for(now, peer, waiting)).unwrap();
    world.run_until(|world| world.left().child_count() == 2, MINUTE);
    world.run_until_quiet(MINUTE);
    world.assert_mirrored();
    let mut configs: Vec<_> = world.right().children().map(|child| child.config).collect();
    configs.sort_unstable();
    assert_eq!(configs, [0, 2]);
    // A rekey speaks of no packet and leaves both as they are (RFC 7296 §2.9.2).
    let before: Vec<_> = world.left().children().map(|child| child.id).collect();
    for child in before {
        world.command(LEFT, |e, now| e.rekey_child(now, child)).unwrap();
    }
    world.run_until_quiet(MINUTE);
    world.assert_mirrored();
    let mut ours: Vec<_> = world.left().children().map(|c| c.local_ts.clone()).collect();
    ours.sort();
    assert_eq!(ours, [vec![subnet(1)], vec![subnet(5)]], "{}", world.report());
}

#[test]
fn a_packet_that_no_child_is_configured_for_asks_for_nothing() {
    let mut world = up(World::new(1).peers(psk_pair()));
    let peer = world.left().peers[0];
    let strange = packet(9, 9);
    world.command(LEFT, |e, now| e.connect_for(now, peer, strange)).unwrap();
    world.run_until_quiet(MINUTE);
    assert_eq!(world.left().child_count(), 1);
    assert_eq!(world.left().count(|event| matches!(event, Event::ChildFailed { .. })), 0);
    let nobody = ikev2::PeerId(9);
    assert!(world.command(LEFT, |e, now| e.connect_for(now, nobody, strange)).is_err());
}
