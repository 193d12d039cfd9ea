//! MOBIKE (RFC 4555): SAs that move with their children, without a new key.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ikev2::registry::ExchangeType;
use ikev2::{Event, Path};
use testkit::link::Link;
use testkit::world::{
    Host, LEFT, LEFT_ADDRESS, RIGHT, RIGHT_ADDRESS, World, for_each_seed, path, psk_pair,
};

use crate::{MINUTE, assert_healthy, assert_no_interruption, header, up};

const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2));

/// Where a host sends ESP to and from.
fn esp_path(host: &Host) -> Path {
    host.esp_path().expect("a child")
}

fn spis(host: &Host) -> (u32, u32) {
    let child = host.children().next().expect("a child");
    (child.spi_in.0.get(), child.spi_out.0.get())
}

/// The left host gets another address and says so to its endpoint.
fn move_left(world: &mut World, to: IpAddr) {
    world.readdress(LEFT, to);
    let peer = world.left().peers[0];
    world.command(LEFT, |endpoint, now| endpoint.set_paths(now, peer, &[])).unwrap();
    let ways = [path(to, RIGHT_ADDRESS)];
    world.command(LEFT, |endpoint, now| endpoint.set_paths(now, peer, &ways)).unwrap();
}

/// Both ends send ESP to where the other one is, with the SAs that they had.
#[track_caller]
fn assert_moved(world: &World, before: [(u32, u32); 2], left: IpAddr, right: IpAddr) {
    assert_healthy(world, 1);
    assert_eq!([spis(world.left()), spis(world.right())], before, "{}", world.report());
    let (mine, theirs) = (esp_path(world.left()), esp_path(world.right()));
    assert_eq!((mine.local.ip(), mine.remote.ip()), (left, right), "{}", world.report());
    assert_eq!((theirs.local.ip(), theirs.remote.ip()), (right, left), "{}", world.report());
    assert_no_interruption(world);
}

#[test]
fn an_initiator_with_another_address_takes_its_sas_along() {
    for_each_seed(50, |seed| {
        let link = Link::default().delay_ms(5..80).loss(200).reorder(50);
        let mut world = World::new(seed).link(link).peers(psk_pair());
        world.run_until(World::both_up, 2 * MINUTE);
        world.run_until_quiet(10 * MINUTE);
        let before = [spis(world.left()), spis(world.right())];
        move_left(&mut world, ELSEWHERE);
        world.run_until_quiet(10 * MINUTE);
        assert_moved(&world, before, ELSEWHERE, RIGHT_ADDRESS);
        move_left(&mut world, LEFT_ADDRESS);
        world.run_until_quiet(10 * MINUTE);
        assert_moved(&world, before, LEFT_ADDRESS, RIGHT_ADDRESS);
    });
}

/// Without loss: one exchange for the move, one that proves the address to the responder, which sends ESP only after it.
#[test]
fn the_responder_sends_no_esp_to_an_address_before_it_is_proved() {
    let mut world = up(World::new(1).peers(psk_pair()));
    let sent = world.sent().len();
    let began = world.elapsed();
    move_left(&mut world, ELSEWHERE);
    world.run_until_quiet(MINUTE);
    let exchanges: Vec<_> =
        world.sent()[sent..].iter().map(|sent| (sent.host, header(sent).flags.response)).collect();
    assert_eq!(exchanges, [(LEFT, false), (RIGHT, true), (RIGHT, false), (LEFT, true)]);
    let moves = |host: &Host| {
        let moved = |(at, event): &(Duration, Event)| {
            matches!(event, Event::PeerMoved { .. }).then(|| at.saturating_sub(began))
        };
        host.events.iter().filter_map(moved).collect::<Vec<_>>()
    };
    let way = Duration::from_millis(10);
    assert_eq!(moves(world.left()), [Duration::ZERO], "its own address: at once");
    assert_eq!(moves(world.right()), [3 * way], "after the way there and back");
}

#[test]
fn a_move_while_the_wire_is_cut_and_rekeys_wait_is_made_good() {
    for_each_seed(50, |seed| {
        let link = Link::default().delay_ms(5..80).loss(100);
        let mut world = World::new(seed).link(link).peers(psk_pair());
        world.run_until(World::both_up, 2 * MINUTE);
        world.run_until_quiet(10 * MINUTE);
        world.cut(true);
        let child = world.left().children().next().unwrap().id;
        world.command(LEFT, |endpoint, now| endpoint.rekey_child(now, child)).unwrap();
        if seed % 2 == 0 {
            let peer = world.right().peers[0];
            world.command(RIGHT, |endpoint, now| endpoint.rekey_ike(now, peer)).unwrap();
        }
        move_left(&mut world, ELSEWHERE);
        world.run_for(Duration::from_secs(seed % 20));
        move_left(&mut world, SECOND);
        world.run_for(Duration::from_secs(3));
        world.cut(false);
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, 1);
        assert_eq!(esp_path(world.right()).remote.ip(), SECOND, "{}", world.report());
        assert_no_interruption(&world);
    });
}

#[test]
fn a_responder_with_another_address_is_followed_there() {
    for_each_seed(20, |seed| {
        let mut world = up(World::new(seed).peers(psk_pair()));
        let before = [spis(world.left()), spis(world.right())];
        world.readdress(RIGHT, ELSEWHERE);
        let peer = world.right().peers[0];
        // For a while it may have no address at all.
        if seed % 2 == 0 {
            world.command(RIGHT, |endpoint, now| endpoint.set_paths(now, peer, &[])).unwrap();
            world.run_for(Duration::from_secs(3));
        }
        let ways = [path(ELSEWHERE, LEFT_ADDRESS)];
        world.command(RIGHT, |endpoint, now| endpoint.set_paths(now, peer, &ways)).unwrap();
        world.run_until_quiet(MINUTE);
        assert_moved(&world, before, LEFT_ADDRESS, ELSEWHERE);
    });
}

/// The way is dead, another one lives: found without an order from outside, long before dead peer detection gives up.
#[test]
fn another_way_is_found_when_requests_are_not_answered() {
    let [mut left, right] = psk_pair();
    left.paths.push(path(ELSEWHERE, RIGHT_ADDRESS));
    let mut world = up(World::new(3).peers([left, right]));
    let before = [spis(world.left()), spis(world.right())];
    world.readdress(LEFT, ELSEWHERE);
    let child = world.left().children().next().unwrap().id;
    world.command(LEFT, |endpoint, now| endpoint.rekey_child(now, child)).unwrap();
    let moved = |world: &World| esp_path(world.right()).remote.ip() == ELSEWHERE;
    let took = world.run_until(moved, MINUTE);
    assert!(took < Duration::from_secs(20), "{took:?}\n{}", world.report());
    world.run_until_quiet(MINUTE);
    assert_healthy(&world, 1);
    assert_ne!([spis(world.left()), spis(world.right())], before, "it was a rekey");
    assert_no_interruption(&world);
}

/// The responder's second address, which it announced, is tried when the first one is dead.
#[test]
fn an_announced_address_is_a_way() {
    let [left, mut right] = psk_pair();
    right.paths.push(path(SECOND, LEFT_ADDRESS));
    let mut world = up(World::new(4).peers([left, right]));
    let before = [spis(world.left()), spis(world.right())];
    world.readdress(RIGHT, SECOND);
    let moved = |world: &World| esp_path(world.left()).remote.ip() == SECOND;
    world.run_until(moved, 2 * MINUTE);
    world.run_until_quiet(MINUTE);
    assert_moved(&world, before, LEFT_ADDRESS, SECOND);
}

#[test]
fn without_mobike_on_one_side_nobody_speaks_of_it() {
    for side in [LEFT, RIGHT] {
        let mut pair = psk_pair();
        pair[side].mobike = false;
        let mut world = up(World::new(1).peers(pair));
        let sent = world.sent().len();
        move_left(&mut world, ELSEWHERE);
        world.run_until_quiet(MINUTE);
        // The peer sees a NAT (encapsulation is forced), so it follows the first message from there (RFC 7296 §2.23).
        assert_healthy(&world, 1);
        assert_eq!(esp_path(world.right()).remote.ip(), ELSEWHERE, "{}", world.report());
        let exchanges = world.sent()[sent..].iter().map(|sent| header(sent).exchange);
        assert_eq!(exchanges.collect::<Vec<_>>(), [ExchangeType::INFORMATIONAL; 2]);
    }
}

#[test]
fn an_ike_rekey_leaves_the_first_initiator_in_charge() {
    let mut world = up(World::new(1).peers(psk_pair()));
    let peer = world.right().peers[0];
    world.command(RIGHT, |endpoint, now| endpoint.rekey_ike(now, peer)).unwrap();
    world.run_until_quiet(MINUTE);
    let before = [spis(world.left()), spis(world.right())];
    move_left(&mut world, ELSEWHERE);
    world.run_until_quiet(MINUTE);
    assert_moved(&world, before, ELSEWHERE, RIGHT_ADDRESS);
}

/// A peer that calls us at an address that is none of our ways is left there, whatever becomes of the ways.
#[test]
fn a_responder_stays_where_it_was_called() {
    let [mut left, mut right] = psk_pair();
    left.paths = vec![path(LEFT_ADDRESS, SECOND)];
    right.any_address = true;
    let mut world = World::new(5).peers([left, right]);
    world.readdress(RIGHT, SECOND);
    let mut world = up(world);
    let before = [spis(world.left()), spis(world.right())];
    let peer = world.right().peers[0];
    for address in [ELSEWHERE, RIGHT_ADDRESS] {
        let ways = [path(address, LEFT_ADDRESS)];
        world.command(RIGHT, |endpoint, now| endpoint.set_paths(now, peer, &ways)).unwrap();
        world.run_until_quiet(MINUTE);
    }
    assert_moved(&world, before, LEFT_ADDRESS, SECOND);
    assert_eq!(world.right().count(|event| matches!(event, Event::PeerMoved { .. })), 0);
}
