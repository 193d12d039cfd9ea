//! Everything at once: three of ten datagrams lost, one of ten doubled, many overtaken, and both sides rekey, end and
//! begin at random. `WORLD_SEEDS=10000 cargo test --release -p ikev2 --test pair storm` for a night's worth.
//!
//! ```text
//!   up ── twenty commands, up to 300 ms apart, in the storm ── calm ── one IKE SA, each child once, the same on both sides
//! ```

use std::time::Duration;

use ikev2::{Lifetime, Start};
use testkit::link::Link;
use testkit::world::{LEFT, RIGHT, World, child_of, for_each_seed_on_all_cores, psk_pair};

use crate::chaos::{command, draw};
use crate::{MINUTE, assert_healthy};

const COMMANDS: u64 = 20;

#[test]
fn everything_at_once_comes_to_rest() {
    let storm = Link::default().delay_ms(5..60).reorder(100).loss(300).duplicate(100);
    for_each_seed_on_all_cores(1000, |seed| {
        let mut state = seed;
        let [mut left, mut right] = psk_pair();
        if draw(&mut state, 2) == 0 {
            right.start = Start::Always;
        }
        if draw(&mut state, 3) == 0 {
            left.children.push(child_of("net2", 11, 12, "aes256gcm16-noesn"));
            right.children.push(child_of("net2", 12, 11, "aes256gcm16-noesn"));
        }
        let children = left.children.len();
        for config in [&mut left, &mut right] {
            // None of the children comes to its end by itself while the world comes to rest.
            for child in &mut config.children {
                child.lifetime = Lifetime::of(120 * MINUTE);
            }
        }
        let mut world = World::new(seed).link(storm.clone()).peers([left, right]);
        world.run_until(World::both_up, 10 * MINUTE);
        for _ in 0..COMMANDS {
            command(&mut world, draw(&mut state, 12));
            world.run_for(Duration::from_millis(draw(&mut state, 300)));
        }
        world.set_link(Link::default().delay_ms(5..20));
        // Longer than dead peer detection takes.
        world.run_for(5 * MINUTE);
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, children);
        let spis = |host: usize| world.host(host).up.values().next().unwrap().spis;
        assert_eq!(spis(LEFT), spis(RIGHT), "{}", world.report());
    });
}
