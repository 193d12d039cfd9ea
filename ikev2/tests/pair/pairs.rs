//! Several selectors with peers that keep one pair of them in a child (RFC 7296 §2.9): one child for each pair, asked for,
//! replaced, deleted and refused each by itself.
//!
//! How a refusal in IKE_AUTH and the error SINGLE_PAIR_REQUIRED are met is tested from inside, in `endpoint/tests`.

use std::time::Duration;

use ikev2::{CloseReason, Event, Lifetime, Pairing, PeerConfig, Start, Traffic};
use testkit::link::Link;
use testkit::world::{Host, LEFT, RIGHT, World, child_of, for_each_seed, psk_pair, subnet};

use crate::{MINUTE, assert_no_interruption};

/// Two networks on the left, three on the right, in one configuration on both sides.
fn many(left: Pairing, right: Pairing) -> [PeerConfig; 2] {
    let mut pair = psk_pair();
    let sides = [vec![subnet(1), subnet(3)], vec![subnet(2), subnet(4), subnet(6)]];
    for (host, (own, other)) in [(0, 1), (1, 0)].into_iter().enumerate() {
        let child = &mut pair[host].children[0];
        (child.local, child.remote) = (sides[own].clone(), sides[other].clone());
    }
    pair[LEFT].children[0].pairing = left;
    pair[RIGHT].children[0].pairing = right;
    pair
}

/// What each child carries, in order.
fn carried(host: &Host) -> Vec<String> {
    let each = host.children();
    let traffic = |sa: &ikev2::ChildSa| Traffic::new(sa.local_ts.clone(), sa.remote_ts.clone());
    let mut all: Vec<String> = each.map(|sa| traffic(sa).to_string()).collect();
    all.sort();
    all
}

/// All pairs of [`many`], seen from the left.
fn all_pairs() -> Vec<String> {
    let pair = |(own, other)| format!("10.{own}.0.0/16 <-> 10.{other}.0.0/16");
    [(1, 2), (1, 4), (1, 6), (3, 2), (3, 4), (3, 6)].map(pair).into()
}

#[track_caller]
fn assert_every_pair_once(world: &World) {
    assert!(world.both_up(), "{}", world.report());
    assert_eq!(carried(world.left()), all_pairs(), "{}", world.report());
    world.assert_mirrored();
}

#[test]
fn one_child_for_all_where_both_want_that() {
    for pairing in [Pairing::Auto, Pairing::Combined] {
        let mut world = World::new(1).peers(many(pairing, pairing));
        world.run_until(World::both_up, MINUTE);
        world.run_until_quiet(MINUTE);
        let all = "10.1.0.0/16, 10.3.0.0/16 <-> 10.2.0.0/16, 10.4.0.0/16, 10.6.0.0/16";
        assert_eq!(carried(world.left()), [all]);
        assert!(world.left().children().all(|child| !child.more_possible));
    }
}

#[test]
fn a_child_for_each_pair_where_either_side_wants_that() {
    for (left, right) in [
        (Pairing::Single, Pairing::Single),
        (Pairing::Single, Pairing::Auto),
        (Pairing::Single, Pairing::Combined),
        (Pairing::Auto, Pairing::Single),
    ] {
        for_each_seed(20, |seed| {
            let link = Link::default().delay_ms(5..60).loss(200).reorder(50);
            let mut world = World::new(seed).link(link).peers(many(left, right));
            world.run_until(|world| world.left().child_count() >= 6, 10 * MINUTE);
            world.run_until_quiet(10 * MINUTE);
            assert_every_pair_once(&world);
            assert_no_interruption(&world);
        });
    }
}

#[test]
fn a_peer_that_takes_one_pair_says_that_there_could_be_more() {
    let mut world = World::new(1).peers(many(Pairing::Combined, Pairing::Single));
    world.run_until(World::both_up, MINUTE);
    world.run_until_quiet(MINUTE);
    assert_eq!(carried(world.left()), all_pairs()[..1], "combined: whatever the peer leaves of it");
    assert!(world.left().children().all(|child| child.more_possible));
    assert!(world.right().children().all(|child| !child.more_possible));
}

/// Only one of the networks is known to the peer: the rest is asked for and refused, pair by pair and by name.
#[test]
fn what_a_peer_cuts_off_is_told_by_its_name() {
    let [left, mut right] = many(Pairing::Auto, Pairing::Auto);
    right.children[0].remote = vec![subnet(1)];
    let mut world = World::new(1).peers([left, right]);
    world.run_for(MINUTE);
    assert_eq!(
        carried(world.left()),
        ["10.1.0.0/16 <-> 10.2.0.0/16, 10.4.0.0/16, 10.6.0.0/16"],
        "{}",
        world.report()
    );
    let mut refused: Vec<String> = Vec::new();
    for (_, event) in &world.left().events {
        if let Event::ChildFailed { selectors, reason, retry_at, config: 0, .. } = event {
            assert!(matches!(reason, CloseReason::SelectorMismatch { .. }), "{reason:?}");
            assert!(retry_at.is_some(), "asked for again");
            refused.push(selectors.to_string());
        }
    }
    refused.sort();
    refused.dedup();
    assert_eq!(refused, all_pairs()[3..], "{}", world.report());
    let seen = world.right().events.iter().find_map(|(_, event)| match event {
        Event::Refused { reason: CloseReason::SelectorMismatch { ours, theirs }, .. } => {
            Some((ours.to_string(), theirs.to_string()))
        }
        _ => None,
    });
    let (ours, theirs) = seen.unwrap();
    assert_eq!(ours, "10.2.0.0/16, 10.4.0.0/16, 10.6.0.0/16 <-> 10.1.0.0/16");
    assert_eq!(theirs, "10.2.0.0/16 <-> 10.3.0.0/16");
}

#[test]
fn each_pair_is_replaced_by_itself_and_keeps_what_it_carries() {
    for (left, right) in [(Pairing::Single, Pairing::Combined), (Pairing::Auto, Pairing::Single)] {
        for host in [LEFT, RIGHT] {
            let mut world = World::new(1).peers(many(left, right));
            world.run_until(|world| world.left().child_count() == 6, MINUTE);
            world.run_until_quiet(MINUTE);
            let before: Vec<_> = world.host(host).children().map(|child| child.id).collect();
            for child in &before {
                world.command(host, |endpoint, now| endpoint.rekey_child(now, *child)).unwrap();
            }
            world.run_until_quiet(MINUTE);
            assert_every_pair_once(&world);
            assert!(world.host(host).children().all(|child| !before.contains(&child.id)));
            let peer = world.host(host).peers[0];
            world.command(host, |endpoint, now| endpoint.rekey_ike(now, peer)).unwrap();
            world.run_until_quiet(MINUTE);
            assert_every_pair_once(&world);
            assert_no_interruption(&world);
        }
    }
}

/// Short lives on both sides, rekeys that cross, on a bad link.
#[test]
fn pairs_with_short_lives_stay_complete() {
    for_each_seed(30, |seed| {
        let modes = [Pairing::Auto, Pairing::Single];
        let mut pair = many(modes[usize::from(seed % 3 == 0)], Pairing::Single);
        for peer in &mut pair {
            peer.start = Start::Always;
            peer.lifetime = Lifetime::of(3 * MINUTE);
            peer.children[0].lifetime = Lifetime::of(2 * MINUTE);
        }
        let link = Link::default().delay_ms(5..60).reorder(100).loss(150);
        let mut world = World::new(seed).link(link).peers(pair);
        world.run_until(World::both_up, 5 * MINUTE);
        world.run_for(20 * MINUTE);
        world.set_link(Link::default().delay_ms(5..20));
        world.run_for(4 * MINUTE);
        // Between two rekeys there is a moment of rest.
        let at_rest = |world: &World| {
            world.both_up()
                && carried(world.left()) == all_pairs()
                && world.right().child_count() == 6
        };
        world.run_until(at_rest, 2 * MINUTE);
        world.assert_mirrored();
    });
}

/// A whole configuration beside one that goes by pairs: neither is taken for the other.
#[test]
fn configurations_do_not_mix() {
    let mut pair = many(Pairing::Single, Pairing::Single);
    pair[LEFT].children.push(child_of("other", 11, 12, "aes256gcm16-noesn"));
    pair[RIGHT].children.push(child_of("other", 12, 11, "aes256gcm16-noesn"));
    let mut world = World::new(1).peers(pair);
    world.run_until(|world| world.left().child_count() == 7, MINUTE);
    world.run_until_quiet(MINUTE);
    let of = |config| world.right().children().filter(|child| child.config == config).count();
    assert_eq!((of(0), of(1)), (6, 1));
    world.assert_mirrored();
}

/// The peer deletes one pair, by losing it in a rekey that fails: here by command of its operator.
#[test]
fn a_pair_that_the_peer_takes_away_comes_back() {
    let mut world = World::new(1).peers(many(Pairing::Single, Pairing::Single));
    world.run_until(|world| world.left().child_count() == 6, MINUTE);
    world.run_until_quiet(MINUTE);
    let peer = world.right().peers[0];
    world.command(RIGHT, |endpoint, now| endpoint.remove_child(now, peer, 0)).unwrap();
    world.run_for(Duration::from_secs(30));
    assert_eq!((world.left().child_count(), world.right().child_count()), (0, 0));
    let child = many(Pairing::Single, Pairing::Single)[RIGHT].children[0].clone();
    world.command(RIGHT, |endpoint, now| endpoint.add_child(now, peer, child)).unwrap();
    world.run_for(3 * MINUTE);
    assert_every_pair_once(&world);
}
