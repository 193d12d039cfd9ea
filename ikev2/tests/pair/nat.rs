//! NAT traversal (RFC 7296 §2.23): found by hashes, moved to port 4500, followed when the mapping changes.

use std::net::IpAddr;

use ikev2::registry::ExchangeType;
use ikev2::{Encap, Event, PeerConfig};
use testkit::link::Nat;
use testkit::world::{LEFT, RIGHT_ADDRESS, World, path, psk_pair};

use crate::{MINUTE, assert_healthy, assert_no_interruption, header, up};

const INSIDE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const PUBLIC: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));

fn auto(pair: [PeerConfig; 2]) -> [PeerConfig; 2] {
    pair.map(|config| {
        let mut config = config;
        config.encap = Encap::Auto;
        config
    })
}

/// The left host sits behind a NAT box; the right one does not know its address.
fn behind_nat() -> World {
    let [mut left, mut right] = auto(psk_pair());
    left.paths = vec![path(INSIDE, RIGHT_ADDRESS)];
    right.paths = Vec::new();
    right.any_address = true;
    World::new(1).nat(Nat::new(INSIDE, PUBLIC)).peers([left, right])
}

#[test]
fn without_nat_esp_goes_bare_and_ike_moves_all_the_same_or_not() {
    let world = up(World::new(1).peers(auto(psk_pair())));
    for host in [world.left(), world.right()] {
        let info = host.up.values().next().unwrap();
        assert!(!info.nat_local && !info.nat_remote);
        assert!(!host.children().next().unwrap().udp_encap);
    }
}

#[test]
fn forced_encapsulation_looks_like_a_nat_to_both() {
    let world = up(World::new(1).peers(psk_pair()));
    for host in [world.left(), world.right()] {
        let child = host.children().next().unwrap();
        assert!(child.udp_encap);
        assert_eq!((child.path.local.port(), child.path.remote.port()), (4500, 4500));
    }
}

#[test]
fn a_nat_is_found_and_ike_moves_to_port_4500() {
    let world = up(behind_nat());
    let (left, right) = (world.left(), world.right());
    let (mine, theirs) = (left.up.values().next().unwrap(), right.up.values().next().unwrap());
    assert!(mine.nat_local && !mine.nat_remote, "{mine:?}");
    assert!(!theirs.nat_local && theirs.nat_remote, "{theirs:?}");
    assert_eq!(theirs.path.remote.ip(), PUBLIC);
    assert!(left.children().next().unwrap().udp_encap);
    for sent in world.sent().iter().filter(|sent| sent.host == LEFT) {
        let port = if header(sent).exchange == ExchangeType::IKE_SA_INIT { 500 } else { 4500 };
        assert_eq!((sent.path.local.port(), sent.path.remote.port()), (port, port));
    }
    assert_eq!(right.children().next().unwrap().path, theirs.path, "ESP goes where IKE goes");
}

#[test]
fn a_new_mapping_is_followed_after_a_message_that_proves_itself() {
    let mut world = up(behind_nat());
    let before = world.right().up.values().next().unwrap().path;
    world.nat_mut().unwrap().reboot();
    let moved = |event: &Event| match event {
        Event::PeerMoved { path, .. } => *path != before,
        _ => false,
    };
    world.run_until(|world| world.right().count(moved) == 1, 2 * MINUTE);
    world.run_for(10 * MINUTE);
    assert_healthy(&world, 1);
    assert_eq!(world.right().count(moved), 1);
    assert_no_interruption(&world);
    let child = world.right().children().next().unwrap().id;
    world.command(testkit::world::RIGHT, |endpoint, now| endpoint.rekey_child(now, child)).unwrap();
    world.run_until_quiet(MINUTE);
    assert_healthy(&world, 1);
    let path = world.right().children().next().unwrap().path;
    assert_ne!(path, before, "a new child uses the new way");
}

#[test]
fn a_repeated_message_from_elsewhere_moves_nothing() {
    let mut world = up(behind_nat());
    let elsewhere = "203.0.113.66:4500".parse().unwrap();
    let recorded: Vec<_> = world.sent().iter().map(|sent| sent.payload.clone()).collect();
    for payload in recorded {
        let _ = world.inject(testkit::world::RIGHT, elsewhere, 4500, &payload);
    }
    let moved = |event: &Event| matches!(event, Event::PeerMoved { .. });
    assert_eq!(world.right().count(moved), 0, "{}", world.report());
    world.run_for(MINUTE);
    assert_healthy(&world, 1);
}
