//! Everything at any time (RFC 7296 §2.8, §2.25): whatever the two sides do and whatever the wire does to it, in the end
//! there is one IKE SA and one child, and both sides have the same.

use std::time::Duration;

use ikev2::{Lifetime, PeerConfig, Start};
use testkit::link::Link;
use testkit::world::{
    LEFT, RIGHT, World, child_of, for_each_seed, for_each_seed_on_all_cores, pair_of, psk_pair,
};

use crate::{MINUTE, assert_healthy, interruptions};

/// A number below `bound` that the seed decides.
pub(crate) fn draw(state: &mut u64, bound: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % bound
}

/// One of twelve things that a side may do.
pub(crate) fn command(world: &mut World, what: u64) {
    let host = if what & 1 == 0 { LEFT } else { RIGHT };
    let peer = world.host(host).peers[0];
    let child = world.host(host).children().next().map(|child| child.id);
    match what >> 1 {
        0 | 1 => {
            if let Some(child) = child {
                // Refused if it is being replaced already.
                let _ = world.command(host, |endpoint, now| endpoint.rekey_child(now, child));
            }
        }
        2 | 3 => {
            // Refused if it is not up.
            let _ = world.command(host, |endpoint, now| endpoint.rekey_ike(now, peer));
        }
        4 => {
            world.command(host, |endpoint, now| endpoint.disconnect(now, peer)).unwrap();
            world.run_for(Duration::from_millis(30));
            world.command(host, |endpoint, now| endpoint.connect(now, peer)).unwrap();
        }
        _ => world.command(host, |endpoint, now| endpoint.connect(now, peer)).unwrap(),
    }
}

fn chaos(seeds: u64, starts: [Start; 2], kinds: u64, link: &Link) {
    chaos_among(&psk_pair(), seeds, starts, kinds, link);
}

/// Every pair of endpoints comes to rest with each child that the configurations name, once.
fn chaos_among(pair: &[PeerConfig; 2], seeds: u64, starts: [Start; 2], kinds: u64, link: &Link) {
    let children = pair[LEFT].children.len();
    for_each_seed(seeds, |seed| {
        let mut state = seed;
        let [mut left, mut right] = pair.clone();
        [left.start, right.start] = starts;
        let mut world = World::new(seed).link(link.clone()).peers([left, right]);
        world.run_until(World::both_up, 5 * MINUTE);
        for _ in 0..12 {
            command(&mut world, draw(&mut state, kinds));
            world.run_for(Duration::from_millis(draw(&mut state, 150)));
        }
        world.set_link(Link::default().delay_ms(5..20));
        // Longer than dead peer detection takes.
        world.run_for(10 * MINUTE);
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, children);
        let mut configs: Vec<_> = world.left().children().map(|child| child.config).collect();
        configs.sort_unstable();
        assert!(configs.into_iter().eq(0..children), "{}", world.report());
    });
}

#[test]
fn rekeys_of_everything_from_both_sides() {
    let link = Link::default().delay_ms(5..60).reorder(100);
    chaos(200, [Start::Always, Start::RespondOnly], 8, &link);
    chaos(200, [Start::Always, Start::Always], 8, &link);
}

#[test]
fn rekeys_of_everything_on_a_bad_link() {
    let link = Link::default().delay_ms(5..60).reorder(100).loss(300);
    chaos(150, [Start::Always, Start::RespondOnly], 8, &link);
    chaos(150, [Start::Always, Start::Always], 8, &link);
}

#[test]
fn ends_and_beginnings_among_rekeys() {
    let link = Link::default().delay_ms(5..60).reorder(100).loss(200);
    chaos(150, [Start::Always, Start::RespondOnly], 12, &link);
    chaos(150, [Start::Always, Start::Always], 12, &link);
}

/// Three children whose short lives end on both sides at about the same time, again and again.
#[test]
fn many_children_with_short_lives() {
    let mut pair = psk_pair();
    for (host, (own, other)) in [(1, 2), (2, 1)].into_iter().enumerate() {
        for number in [10, 20] {
            let name = format!("net{number}");
            let child = child_of(&name, own + number, other + number, "aes256gcm16-ecp256-noesn");
            pair[host].children.push(child);
        }
        pair[host].lifetime = Lifetime::of(3 * MINUTE);
        for child in &mut pair[host].children {
            child.lifetime = Lifetime::of(2 * MINUTE);
        }
    }
    let link = Link::default().delay_ms(5..60).reorder(100).loss(200);
    for_each_seed(40, |seed| {
        let [mut left, mut right] = pair.clone();
        [left.start, right.start] = [Start::Always, Start::Always];
        let mut world = World::new(seed).link(link.clone()).peers([left, right]);
        world.run_until(World::both_up, 5 * MINUTE);
        world.run_for(20 * MINUTE);
        // Between two rekeys there is a moment of rest.
        let at_rest = |world: &World| world.both_up() && world.left().child_count() == 3;
        world.set_link(Link::default().delay_ms(5..20));
        world.run_for(3 * MINUTE);
        world.run_until(at_rest, MINUTE);
        assert_eq!(world.right().child_count(), 3, "{}", world.report());
    });
    for child in pair.iter_mut().flat_map(|peer| &mut peer.children) {
        child.lifetime = Lifetime::of(120 * MINUTE);
    }
    for peer in &mut pair {
        peer.lifetime = Lifetime::of(120 * MINUTE);
    }
    chaos_among(&pair, 100, [Start::Always, Start::Always], 12, &link);
}

/// Two that answer each other need never give up: whatever they replace and end at once, the IKE SA stays. One that is put off is put
/// off by something that comes to its end.
#[test]
fn nothing_that_is_replaced_or_ended_at_once_costs_the_ike_sa() {
    let suites = [
        ("aes256gcm16-prfsha256-curve25519", "aes256gcm16-noesn"),
        ("aes256gcm16-prfsha256-curve25519-ke1_mlkem512", "aes256gcm16-ecp256-ke1_mlkem512-noesn"),
    ];
    for_each_seed_on_all_cores(600, |seed| {
        let mut state = seed;
        let (ike, esp) = suites[usize::from(seed % 3 == 0)];
        let mut pair = pair_of(ike, esp);
        for (host, (own, other)) in [(1, 2), (2, 1)].into_iter().enumerate() {
            for number in [10, 20] {
                let name = format!("net{number}");
                pair[host].children.push(child_of(&name, own + number, other + number, esp));
            }
            pair[host].start = Start::Always;
        }
        let loss = if seed % 2 == 0 { 0 } else { 100 };
        let link = Link::default().delay_ms(5..60).reorder(100).loss(loss);
        let mut world = World::new(seed).link(link).peers(pair);
        world.run_until(World::both_up, 5 * MINUTE);
        world.run_until_quiet(5 * MINUTE);
        let before = interruptions(&world);
        for _ in 0..20 {
            replace_or_end(&mut world, &mut state);
            world.run_for(Duration::from_millis(draw(&mut state, 100)));
        }
        world.set_link(Link::default().delay_ms(5..20));
        world.run_for(10 * MINUTE);
        world.run_until_quiet(5 * MINUTE);
        assert_healthy(&world, 3);
        assert_eq!(interruptions(&world), before, "{}", world.report());
    });
}

/// One side replaces or ends one of its children, or replaces the IKE SA. What is not up, or is being replaced, refuses.
pub(crate) fn replace_or_end(world: &mut World, state: &mut u64) {
    let host = if draw(state, 2) == 0 { LEFT } else { RIGHT };
    let peer = world.host(host).peers[0];
    let children: Vec<_> = world.host(host).children().map(|child| child.id).collect();
    let which = usize::try_from(draw(state, 3)).unwrap();
    match (draw(state, 5), children.get(which)) {
        (0, _) => {
            let _ = world.command(host, |endpoint, now| endpoint.rekey_ike(now, peer));
        }
        (1 | 2, Some(child)) => {
            let _ = world.command(host, |endpoint, now| endpoint.rekey_child(now, *child));
        }
        (_, Some(child)) => {
            let _ = world.command(host, |endpoint, now| endpoint.expire_child(now, *child));
        }
        (_, None) => {}
    }
}
