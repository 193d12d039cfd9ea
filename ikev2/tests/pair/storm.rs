//! Everything at once: three of ten datagrams lost, one of ten doubled, many overtaken, and both sides rekey, end and
//! begin at random; in one world of three they move, too. `WORLD_SEEDS=10000 cargo test --release -p ikev2 --test pair storm` for a night's worth.
//!
//! ```text
//!   up ── twenty commands, up to 300 ms apart, in the storm ── calm ── one IKE SA, each child once, the same on both sides
//! ```

use std::net::IpAddr;
use std::time::Duration;

use ikev2::{Lifetime, Start};
use testkit::link::Link;
use testkit::world::{
    LEFT, LEFT_ADDRESS, RIGHT, RIGHT_ADDRESS, World, child_of, for_each_seed_on_all_cores, path,
    psk_pair,
};

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
            config.any_address = true;
            // None of the children comes to its end by itself while the world comes to rest.
            for child in &mut config.children {
                child.lifetime = Lifetime::of(120 * MINUTE);
            }
        }
        let mut world = World::new(seed).link(storm.clone()).peers([left, right]);
        world.run_until(World::both_up, 10 * MINUTE);
        let moves = draw(&mut state, 3) == 0;
        for _ in 0..COMMANDS {
            match draw(&mut state, if moves { 16 } else { 12 }) {
                12 | 13 => relocate(&mut world, LEFT, draw(&mut state, 2)),
                14 | 15 => relocate(&mut world, RIGHT, draw(&mut state, 2)),
                what => command(&mut world, what),
            }
            world.run_for(Duration::from_millis(draw(&mut state, 300)));
        }
        world.set_link(Link::default().delay_ms(5..20));
        // Longer than dead peer detection takes.
        world.run_for(5 * MINUTE);
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, children);
        let spis = |host: usize| world.host(host).up.values().next().unwrap().spis;
        assert_eq!(spis(LEFT), spis(RIGHT), "{}", world.report());
        for (host, other) in [(LEFT, RIGHT), (RIGHT, LEFT)] {
            let path = world.host(host).esp_path().unwrap();
            let now = (world.host(host).address, world.host(other).address);
            assert_eq!((path.local.ip(), path.remote.ip()), now, "{}", world.report());
        }
    });
}

/// A host gets its other address. It knows at once; its peer's resolver tells the peer as soon.
pub(crate) fn relocate(world: &mut World, host: usize, which: u64) {
    let addresses: [[IpAddr; 2]; 2] =
        [[LEFT_ADDRESS, [203, 0, 113, 9].into()], [RIGHT_ADDRESS, [198, 51, 100, 2].into()]];
    let to = addresses[host][usize::from(which > 0)];
    world.readdress(host, to);
    let other = RIGHT - host;
    for (host, way) in
        [(host, path(to, world.host(other).address)), (other, path(world.host(other).address, to))]
    {
        let peer = world.host(host).peers[0];
        world.command(host, |endpoint, now| endpoint.set_paths(now, peer, &[way])).unwrap();
    }
}
