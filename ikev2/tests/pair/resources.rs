//! A child SA for each resource (RFC 9611): as many as each side wants, whoever begins, however few the other one allows.

use std::collections::BTreeMap;
use std::time::Duration;

use ikev2::registry::NotifyType;
use ikev2::{ChildId, ChildSa, CloseReason, Event, PeerConfig, SendWhen, Start};
use testkit::link::Link;
use testkit::world::{
    Host, LEFT, RIGHT, World, child_of, for_each_seed, for_each_seed_on_all_cores, pair_of,
    psk_pair,
};

use crate::{MINUTE, assert_no_interruption, interruptions};

/// So many resources on each side.
fn pair(left: u32, right: u32) -> [PeerConfig; 2] {
    let mut pair = psk_pair();
    for (side, resources) in pair.iter_mut().zip([left, right]) {
        side.children[0].resources = resources;
    }
    pair
}

/// Everything is up that anybody wants, and nothing more happens.
fn settled(mut world: World) -> World {
    world.run_until(World::both_up, 10 * MINUTE);
    world.run_for(20 * Duration::from_secs(1));
    world.run_until_quiet(5 * MINUTE);
    world
}

/// How many children each of `of` resources of a host has.
fn loads(host: &Host, of: u32) -> Vec<usize> {
    let mut loads = vec![0; of as usize];
    for child in host.children() {
        loads[child.spi_in.resource(of) as usize] += 1;
    }
    loads
}

/// Every resource of each side has a child; all are alike, and one of them is for everything.
#[track_caller]
fn assert_served(world: &World, counts: [u32; 2]) {
    world.assert_mirrored();
    for (host, of) in [world.left(), world.right()].into_iter().zip(counts) {
        assert!(loads(host, of).iter().all(|load| *load > 0), "{}", world.report());
        // None if it went, and another one took its part.
        assert!(fallbacks(host) <= 1, "{}", world.report());
        let first = host.children().next().unwrap();
        for child in host.children() {
            assert_eq!((&child.local_ts, &child.remote_ts), (&first.local_ts, &first.remote_ts));
            let alike =
                (child.suite.encr, child.suite.key_bits, child.suite.integ, child.suite.esn);
            let suite = &first.suite;
            assert_eq!(alike, (suite.encr, suite.key_bits, suite.integ, suite.esn));
        }
    }
}

fn fallbacks(host: &Host) -> usize {
    host.children().filter(|child| !child.resource).count()
}

#[test]
fn each_resource_of_both_sides_gets_a_child() {
    for (left, right) in [(3, 3), (2, 4), (4, 2), (1, 3), (3, 1), (64, 64)] {
        let world = settled(World::new(1).peers(pair(left, right)));
        assert_served(&world, [left, right]);
        let most = usize::try_from(left.max(right)).unwrap();
        assert_eq!(world.left().child_count(), most, "and none too many: {}", world.report());
        assert_eq!((fallbacks(world.left()), fallbacks(world.right())), (1, 1));
        assert_no_interruption(&world);
    }
}

#[test]
fn one_resource_asks_for_nothing() {
    let world = settled(World::new(1).peers(pair(1, 1)));
    assert_eq!(world.left().child_count(), 1);
    let again = psk_pair();
    assert_eq!((again[0].children[0].resources, again[0].children[0].most_for_resources), (1, 64));
}

#[test]
fn over_a_bad_path_too_and_when_both_ask_at_once() {
    for_each_seed(100, |seed| {
        let (left, right) = (2 + u32::try_from(seed % 3).unwrap(), 3);
        let mut both = pair(left, right);
        both[RIGHT].start = if seed % 2 == 0 { Start::Always } else { Start::RespondOnly };
        let link = Link::default().delay_ms(5..400).loss(150).reorder(50).duplicate(50);
        let world = settled(World::new(seed).link(link).peers(both));
        assert_served(&world, [left, right]);
        let at_most = usize::try_from(left + right - 1).unwrap();
        assert!(world.left().child_count() <= at_most, "{}", world.report());
    });
}

/// All algorithms that one of them could have are offered no more; a key exchange is made if the first one would have one.
#[test]
fn further_ones_have_the_algorithms_of_the_first() {
    let mut both =
        pair_of("aes256gcm16-prfsha256-curve25519", "aes256gcm16-aes128gcm16-curve25519-esn-noesn");
    both[RIGHT].children = vec![child_of("net", 2, 1, "aes128gcm16-aes256gcm16-curve25519-noesn")];
    for side in &mut both {
        side.children[0].resources = 3;
    }
    let world = settled(World::new(1).peers(both));
    assert_served(&world, [3, 3]);
    let fresh = |child: &&ChildSa| child.suite.ke.is_some();
    assert_eq!(world.left().children().filter(fresh).count(), 2, "all but that of IKE_AUTH");
}

fn enough(host: &Host) -> Vec<(usize, u32, CloseReason)> {
    let told = host.events.iter().filter_map(|(_, event)| match event {
        Event::EnoughChildren { children, wanted, reason, .. } => {
            Some((*children, *wanted, reason.clone()))
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn who_allows_fewer_says_so_and_is_asked_no_more() {
    for (host, most) in [(LEFT, 2), (RIGHT, 2), (RIGHT, 3)] {
        let mut both = pair(5, 5);
        both[host].children[0].most_for_resources = most;
        both[host].children[0].resources = most;
        let mut world = settled(World::new(1).peers(both));
        let most_allowed = usize::try_from(most).unwrap();
        assert_eq!(world.left().child_count(), most_allowed, "{}", world.report());
        let said = CloseReason::Notified(NotifyType::TS_MAX_QUEUE);
        assert_eq!(enough(world.host(1 - host)), [(most_allowed, 5, said)]);
        assert_eq!(enough(world.host(host)), []);
        // Neither a new IKE SA nor new children change that.
        let peer = world.host(host).peers[0];
        world.command(host, |endpoint, now| endpoint.rekey_ike(now, peer)).unwrap();
        world.run_for(3 * 60 * MINUTE);
        world.run_until_quiet(5 * MINUTE);
        assert_eq!(world.left().child_count(), most_allowed);
        assert_eq!(enough(world.host(1 - host)).len(), 1, "{}", world.report());
        let refused =
            |event: &Event| matches!(event, Event::Refused { .. } | Event::ChildFailed { .. });
        assert_eq!(world.left().count(refused) + world.right().count(refused), 0);
        assert_no_interruption(&world);
    }
}

/// A peer that does not answer SA_RESOURCE_INFO knows nothing of it, and is not asked (RFC 9611 §3).
#[test]
fn a_peer_that_does_not_know_of_it_is_not_asked() {
    for host in [LEFT, RIGHT] {
        let mut both = pair(3, 3);
        both[host].children[0].most_for_resources = 1;
        let mut world = settled(World::new(1).peers(both));
        world.run_for(3 * 60 * MINUTE);
        world.run_until_quiet(5 * MINUTE);
        assert_eq!(world.left().child_count(), 1, "{}", world.report());
        assert!(enough(world.left()).is_empty() && enough(world.right()).is_empty());
    }
}

fn children(host: &Host) -> BTreeMap<ChildId, (bool, u32)> {
    host.children().map(|child| (child.id, (child.resource, child.spi_in.resource(3)))).collect()
}

/// One is replaced, and the others do not notice; the new one is for the same resource, and the fallback stays the fallback.
#[test]
fn each_keeps_its_resource_when_it_is_replaced() {
    for_each_seed(30, |seed| {
        let link = Link::default().delay_ms(5..60).loss(if seed < 10 { 0 } else { 150 });
        let mut world = settled(World::new(seed).link(link).peers(pair(3, 3)));
        for round in 0..6 {
            let host = if round % 2 == 0 { LEFT } else { RIGHT };
            let before = [children(world.left()), children(world.right())];
            let nth = usize::try_from(seed).unwrap() + round;
            let old = *before[host].keys().nth(nth % 3).unwrap();
            world.command(host, |endpoint, now| endpoint.rekey_child(now, old)).unwrap();
            // Both at once, now and then.
            if seed % 3 == 0 {
                let other = *before[1 - host].keys().nth(nth % 3).unwrap();
                world.command(1 - host, |endpoint, now| endpoint.rekey_child(now, other)).unwrap();
            }
            world.run_for(MINUTE);
            world.run_until_quiet(5 * MINUTE);
            for (host, before) in [world.left(), world.right()].into_iter().zip(before) {
                let kinds = |all: &BTreeMap<_, _>| {
                    let mut kinds: Vec<(bool, u32)> = all.values().copied().collect();
                    kinds.sort_unstable();
                    kinds
                };
                let after = children(host);
                assert_eq!(kinds(&before), kinds(&after), "{}", world.report());
                assert_ne!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
            }
            assert_served(&world, [3, 3]);
        }
        assert_no_interruption(&world);
    });
}

/// A day of lifetimes that end: all are replaced, by whoever is first, and a new IKE SA takes them over.
#[test]
fn a_day_leaves_as_many_as_there_were() {
    let mut world = settled(World::new(1).peers(pair(3, 3)));
    for _ in 0..24 {
        world.run_for(60 * MINUTE);
        let up = world.left().child_count();
        assert!((3..=6).contains(&up), "{}", world.report());
    }
    world.run_until_quiet(MINUTE);
    assert_eq!(world.left().child_count(), 3);
    assert_served(&world, [3, 3]);
    assert_eq!((fallbacks(world.left()), fallbacks(world.right())), (1, 1));
    assert_no_interruption(&world);
    let replaced = |event: &Event| matches!(event, Event::ChildUp { replaces: Some(_), .. });
    assert!(world.left().count(replaced) >= 3 * 24);
    let downs = world.left().count(
        |event| matches!(event, Event::ChildDown { reason, .. } if *reason != CloseReason::Rekeyed),
    );
    assert_eq!(downs, 0, "{}", world.report());
}

/// The left side lets a child come to its end. The other side does not ask for it again at once; the one that is missing
/// comes back when the fallback is replaced.
fn deleted(fallback: bool) {
    let mut world = settled(World::new(1).peers(pair(3, 3)));
    let peer = world.left().peers[0];
    let old = world.left().children().find(|child| child.resource != fallback).unwrap().id;
    let events = world.right().events.len();
    world.command(LEFT, |endpoint, now| endpoint.expire_child(now, old)).unwrap();
    world.run_for(Duration::from_secs(5));
    world.run_until_quiet(MINUTE);
    let failed = world.right().events[events..]
        .iter()
        .filter(|(_, event)| matches!(event, Event::ChildFailed { .. } | Event::PeerDown { .. }));
    assert_eq!(failed.count(), 0);
    // Whoever ended it wants it anew.
    assert_served(&world, [3, 3]);
    assert_eq!(world.left().child_count(), 3, "{}", world.report());
    world.command(LEFT, |endpoint, now| endpoint.rekey_ike(now, peer)).unwrap();
    world.run_for(3 * 60 * MINUTE);
    world.run_until_quiet(MINUTE);
    assert_eq!(world.left().child_count(), 3);
    assert_served(&world, [3, 3]);
    assert_eq!((fallbacks(world.left()), fallbacks(world.right())), (1, 1));
}

#[test]
fn one_that_ends_comes_again() {
    deleted(false);
}

#[test]
fn another_takes_the_part_of_the_fallback_when_that_ends() {
    deleted(true);
}

/// A child that the peer asked for is not used before the peer is known to have it; then that is told.
#[test]
fn a_granted_child_waits_until_the_peer_has_it() {
    let world = settled(World::new(1).peers(pair(4, 4)));
    let mut waiting: Vec<ChildId> = Vec::new();
    let mut granted = 0;
    for (_, event) in &world.right().events {
        match event {
            Event::ChildUp { child, .. } if child.resource => {
                assert_eq!(child.send, SendWhen::AfterInbound);
                waiting.push(child.id);
                granted += 1;
            }
            Event::ChildConfirmed { child } => {
                let before = waiting.len();
                waiting.retain(|id| id != child);
                assert_eq!(waiting.len() + 1, before, "once, and after it came");
            }
            _ => {}
        }
    }
    assert_eq!((granted, waiting), (3, Vec::new()), "{}", world.report());
    let on_the_left = |event: &Event| matches!(event, Event::ChildConfirmed { .. });
    assert_eq!(world.left().count(on_the_left), 0, "whoever asked knows by the answer");
}

/// Children and IKE SA come and go on both sides among all this; in the end there is what each side wants.
#[test]
fn among_rekeys_of_everything() {
    for_each_seed_on_all_cores(400, |seed| {
        let link = Link::default().delay_ms(5..60).loss(if seed % 2 == 0 { 0 } else { 150 });
        let mut world = World::new(seed).link(link).peers(pair(3, 2));
        world.run_until(World::both_up, 5 * MINUTE);
        let before = interruptions(&world);
        let mut draw = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |bound: u64| {
            draw ^= draw << 13;
            draw ^= draw >> 7;
            draw ^= draw << 17;
            draw % bound
        };
        for _ in 0..20 {
            let host = if next(2) == 0 { LEFT } else { RIGHT };
            let peer = world.host(host).peers[0];
            let count = world.host(host).child_count().max(1);
            let nth = usize::try_from(next(u64::try_from(count).unwrap())).unwrap();
            let child = world.host(host).children().nth(nth).map(|child| child.id);
            match (next(3), child) {
                // Refused if it is not up, or is being replaced already.
                (0, _) => {
                    let _ = world.command(host, |endpoint, now| endpoint.rekey_ike(now, peer));
                }
                (1, Some(child)) => {
                    let _ = world.command(host, |endpoint, now| endpoint.rekey_child(now, child));
                }
                (_, Some(child)) => {
                    let _ = world.command(host, |endpoint, now| endpoint.expire_child(now, child));
                }
                (_, None) => {}
            }
            world.run_for(Duration::from_millis(next(200)));
        }
        world.set_link(Link::default().delay_ms(5..20));
        // Longer than a child lives: what the peer deleted comes again when the fallback is replaced.
        world.run_for(130 * MINUTE);
        world.run_until_quiet(5 * MINUTE);
        assert_served(&world, [3, 2]);
        assert_eq!(interruptions(&world), before, "{}", world.report());
    });
}
