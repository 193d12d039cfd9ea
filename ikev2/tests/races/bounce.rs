//! A link that goes away in the middle of a rekey and comes back (strongSwan #3042: the new SA was deleted), at each
//! moment and for as long as dead peer detection allows.
//!
//! ```text
//!   rekey ── n messages pass ── everything in flight is lost ── 1 s .. 80 s of silence ── the link is back
//! ```

use std::time::Duration;

use ikev2::Event;
use testkit::link::Link;
use testkit::world::{LEFT, RIGHT, World, psk_pair};

const MINUTE: Duration = Duration::from_mins(1);

fn rekey(world: &mut World, host: usize, ike: bool) {
    let peer = world.host(host).peers[0];
    let child = world.host(host).children().last().unwrap().id;
    let asked = world.command(host, |endpoint, now| {
        if ike { endpoint.rekey_ike(now, peer) } else { endpoint.rekey_child(now, child) }
    });
    asked.unwrap();
}

/// Rekeys on the hosts at once, cuts the link when `passed` messages have arrived, and joins it again.
fn bounce(hosts: &[usize], ike: bool, passed: usize, silence: Duration) {
    let mut world = World::new(7).link(Link::default()).peers(psk_pair());
    world.run_until(World::both_up, MINUTE);
    world.run_until_quiet(MINUTE);
    for host in hosts {
        rekey(&mut world, *host, ike);
    }
    for _ in 0..passed {
        world.advance_to_next();
    }
    world.cut(true);
    world.run_for(silence);
    world.cut(false);
    world.run_for(10 * MINUTE);
    world.run_until_quiet(MINUTE);
    assert!(world.both_up(), "{}", world.report());
    assert_eq!(world.left().child_count(), 1, "{}", world.report());
    world.assert_mirrored();
    let spis = |host: usize| world.host(host).up.values().next().unwrap().spis;
    assert_eq!(spis(LEFT), spis(RIGHT), "{}", world.report());
    let is_down = |event: &Event| matches!(event, Event::PeerDown { .. });
    let downs = world.left().count(is_down) + world.right().count(is_down);
    assert_eq!(downs, 0, "{}", world.report());
}

#[test]
fn a_link_that_bounces_in_a_rekey_costs_no_sa() {
    for ike in [true, false] {
        for hosts in [&[LEFT][..], &[RIGHT], &[LEFT, RIGHT]] {
            for passed in 0..8 {
                for seconds in [1, 3, 4, 6, 12, 30, 80] {
                    bounce(hosts, ike, passed, Duration::from_secs(seconds));
                }
            }
        }
    }
}
