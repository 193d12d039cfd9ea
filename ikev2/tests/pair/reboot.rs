//! Hosts that lose their memory (RFC 7296 §2.4; robustness T30): alone or together, in the middle of a rekey or not, calling
//! again or waiting. There is one tunnel again, and nothing else stays behind.
//!
//! ```text
//!   up ─► [rekeys under way] ─► restart(left | right | both) ─► one IKE SA, one child ─► shutdown ─► no timer on either side
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use ikev2::{CloseReason, Endpoint, Event, PeerConfig, Start};
use testkit::link::Link;
use testkit::world::{LEFT, RIGHT, World, child_of, for_each_seed_on_all_cores, psk_pair};

use crate::chaos::draw;
use crate::{MINUTE, assert_healthy, up};

const SECOND: Duration = Duration::from_secs(1);

/// Three children, so that a restart finds something half done.
fn pair(starts: [Start; 2]) -> [PeerConfig; 2] {
    let mut pair = psk_pair();
    for (side, ((own, other), start)) in
        pair.iter_mut().zip([(1, 2), (2, 1)].into_iter().zip(starts))
    {
        side.start = start;
        for number in [10, 20] {
            let child = child_of("more", own + number, other + number, "aes256gcm16-ecp256-noesn");
            side.children.push(child);
        }
    }
    pair
}

/// One IKE SA carries everything, each child is there once, and after a shutdown no SA waits for anything.
#[track_caller]
fn assert_nothing_is_left_over(world: &mut World) {
    // As long as the longest wait of an SA that was replaced.
    world.run_for(3 * MINUTE);
    world.run_until_quiet(10 * MINUTE);
    assert_healthy(world, 3);
    let mut configs: Vec<_> = world.left().children().map(|child| child.config).collect();
    configs.sort_unstable();
    assert_eq!(configs, [0, 1, 2], "{}", world.report());
    let before = world.sent().len();
    world.run_for(2 * MINUTE);
    let said = world.sent()[before..].iter().map(crate::header);
    let spis: BTreeSet<_> = said.map(|header| (header.spi_i.0, header.spi_r.0)).collect();
    assert_eq!(spis.len(), 1, "one IKE SA\n{}", world.report());
    for host in [LEFT, RIGHT] {
        world.command(host, Endpoint::shutdown);
    }
    world.run_for(4 * MINUTE);
    assert!(world.all_down(), "{}", world.report());
    for host in [world.left(), world.right()] {
        assert!(host.endpoint.is_idle());
        assert!(host.endpoint.poll_timeout().is_none(), "an SA is left\n{}", world.report());
    }
}

fn restart(world: &mut World, hosts: &[usize], configs: &[PeerConfig; 2]) {
    for host in hosts {
        world.restart(*host, vec![configs[*host].clone()]);
    }
}

/// Whoever calls after a restart says INITIAL_CONTACT: the tunnel is back within two seconds, whatever was under way.
#[test]
fn a_caller_that_restarts_is_back_in_two_seconds() {
    for starts in [[Start::Always, Start::RespondOnly], [Start::Always, Start::Always]] {
        for_each_seed_on_all_cores(60, |seed| {
            let mut state = seed;
            let configs = pair(starts);
            let link = Link::default().delay_ms(5..60);
            let mut world = up(World::new(seed).link(link).peers(configs.clone()));
            for _ in 0..3 {
                for _ in 0..draw(&mut state, 4) {
                    crate::chaos::command(&mut world, draw(&mut state, 8));
                    world.run_for(Duration::from_millis(draw(&mut state, 120)));
                }
                let host = if starts[RIGHT] == Start::Always && draw(&mut state, 2) == 0 {
                    RIGHT
                } else {
                    LEFT
                };
                restart(&mut world, &[host], &configs);
                let is_back = |world: &World| {
                    world.both_up() && world.left().child_count() == world.right().child_count()
                };
                let took = world.run_until(is_back, MINUTE);
                assert!(took <= 2 * SECOND, "{took:?}\n{}", world.report());
            }
            assert_nothing_is_left_over(&mut world);
        });
    }
}

/// Whoever waits after a restart is missed: dead peer detection finds out, and calls.
#[test]
fn a_host_that_waits_after_a_restart_is_missed_and_called() {
    for_each_seed_on_all_cores(60, |seed| {
        let mut state = seed;
        let configs = pair([Start::Always, Start::RespondOnly]);
        let link = Link::default().delay_ms(5..60);
        let mut world = up(World::new(seed).link(link).peers(configs.clone()));
        for _ in 0..draw(&mut state, 4) {
            crate::chaos::command(&mut world, draw(&mut state, 8));
            world.run_for(Duration::from_millis(draw(&mut state, 120)));
        }
        restart(&mut world, &[RIGHT], &configs);
        let down = world.run_until(|world| world.left().up.is_empty(), 5 * MINUTE);
        assert!(
            down <= Duration::from_secs(132),
            "the timeout is 120 s: {down:?}\n{}",
            world.report()
        );
        let took = world.run_until(World::both_up, MINUTE);
        assert!(took <= 2 * SECOND, "{took:?}\n{}", world.report());
        let dead = |event: &Event| {
            matches!(event, Event::PeerDown { reason: CloseReason::DpdTimeout, .. })
        };
        assert_eq!(world.left().count(dead), 1, "{}", world.report());
        assert_nothing_is_left_over(&mut world);
    });
}

/// Both at once, or one a little after the other, while the first is still calling.
#[test]
fn both_restart() {
    for starts in [[Start::Always, Start::RespondOnly], [Start::Always, Start::Always]] {
        for_each_seed_on_all_cores(100, |seed| {
            let mut state = seed;
            let configs = pair(starts);
            let link = Link::default().delay_ms(5..60).loss(50);
            let mut world = World::new(seed).link(link).peers(configs.clone());
            world.run_until(World::both_up, MINUTE);
            for _ in 0..draw(&mut state, 4) {
                crate::chaos::command(&mut world, draw(&mut state, 8));
                world.run_for(Duration::from_millis(draw(&mut state, 120)));
            }
            let order = if draw(&mut state, 2) == 0 { [LEFT, RIGHT] } else { [RIGHT, LEFT] };
            restart(&mut world, &order[..1], &configs);
            world.run_for(Duration::from_millis(draw(&mut state, 3) * draw(&mut state, 200)));
            restart(&mut world, &order[1..], &configs);
            world.set_link(Link::default().delay_ms(5..60));
            world.run_until(World::both_up, 4 * MINUTE);
            assert_nothing_is_left_over(&mut world);
        });
    }
}

/// Again and again, at any time, on a bad wire, with rekeys among it.
#[test]
fn restarts_at_any_time_leave_nothing() {
    for_each_seed_on_all_cores(150, |seed| {
        let mut state = seed;
        let starts = if seed % 2 == 0 {
            [Start::Always, Start::RespondOnly]
        } else {
            [Start::Always, Start::Always]
        };
        let configs = pair(starts);
        let link = Link::default().delay_ms(5..80).loss(150).reorder(100).duplicate(50);
        let mut world = World::new(seed).link(link).peers(configs.clone());
        for _ in 0..10 {
            world.run_for(Duration::from_millis(draw(&mut state, 2) * draw(&mut state, 3000)));
            match draw(&mut state, 4) {
                0 => restart(&mut world, &[LEFT], &configs),
                1 => restart(&mut world, &[RIGHT], &configs),
                _ => crate::chaos::command(&mut world, draw(&mut state, 8)),
            }
            world.run_for(Duration::from_millis(draw(&mut state, 200)));
        }
        world.set_link(Link::default().delay_ms(5..20));
        world.run_for(10 * MINUTE);
        assert_nothing_is_left_over(&mut world);
    });
}
