//! Everything at any time (RFC 7296 §2.8, §2.25): whatever the two sides do and whatever the wire does to it, in the end
//! there is one IKE SA and one child, and both sides have the same.

use std::time::Duration;

use ikev2::{Start, TrafficSelector};
use testkit::link::Link;
use testkit::world::{LEFT, RIGHT, World, for_each_seed, psk_pair};

use crate::{MINUTE, assert_healthy};

/// A number below `bound` that the seed decides.
fn draw(state: &mut u64, bound: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % bound
}

fn command(world: &mut World, what: u64) {
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
    for_each_seed(seeds, |seed| {
        let mut state = seed;
        let [mut left, mut right] = psk_pair();
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
        assert_healthy(&world, 1);
        let selectors: Vec<&TrafficSelector> =
            world.left().children().flat_map(|child| &child.local_ts).collect();
        assert_eq!(selectors.len(), 1);
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
