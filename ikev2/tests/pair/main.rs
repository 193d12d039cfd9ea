//! Two endpoints in a world of their own (`testkit::world`): one file per behaviour, most scenarios under many seeds.
//!
//! ```text
//!   cargo test -p ikev2 --test pair                        all of them
//!   WORLD_SEED=17 cargo test -p ikev2 --test pair rekey    one seed again, after a failure named it
//! ```
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one event among all")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic, in helpers too"
)]

mod auth_failure;
mod certificates;
mod chaos;
mod cookies;
mod delete;
mod dpd;
mod failover;
mod fragments;
mod garbage;
mod handshake;
mod hostile;
mod letter;
mod lifetime;
mod loss;
mod medley;
mod mobike;
mod nat;
mod nat_moves;
mod negotiation;
mod pairs;
mod post_quantum;
mod ppk;
mod ppk_early;
mod reboot;
mod reconfigure;
mod redirect;
mod rekey;
mod resources;
mod retransmit;
mod runtime;
mod selectors;
mod spread;
mod storm;

use std::time::Duration;

use ikev2::Event;
use ikev2::wire::header::Header;
use testkit::world::{Sent, World};

const MINUTE: Duration = Duration::from_mins(1);

/// A world of these peers with everything up and nothing more to say.
fn up(mut world: World) -> World {
    world.run_until(World::both_up, MINUTE);
    world.run_until_quiet(MINUTE);
    world.assert_mirrored();
    world
}

fn header(sent: &Sent) -> Header {
    Header::parse(&sent.payload).expect("we send messages")
}

/// Neither side lost its peer at any time.
#[track_caller]
fn assert_no_interruption(world: &World) {
    assert_eq!(interruptions(world), 0, "{}", world.report());
}

/// How often a side lost its peer, or did not get it: an attempt may be lost on a poor link.
fn interruptions(world: &World) -> usize {
    let is_down = |event: &Event| matches!(event, Event::PeerDown { .. });
    world.left().count(is_down) + world.right().count(is_down)
}

/// Whatever happened, the world must be in order now: both up, one pair of every child, the same keys.
#[track_caller]
fn assert_healthy(world: &World, children: usize) {
    assert!(world.both_up(), "{}", world.report());
    assert_eq!(world.left().child_count(), children, "{}", world.report());
    world.assert_mirrored();
}
