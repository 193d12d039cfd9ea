//! The time of day jumps, by hours and by years: certificates are held against it at each authentication, and nothing else
//! knows that it exists.
//!
//! ```text
//!   up ─ +1 h ─ -1 h ─ +10 years ─ 1970 ─►    rekeys, checks whether the peer lives: octet for octet as without
//!                       └─ authenticates anew: refused, until the clock is right
//! ```

use std::time::Duration;

use testkit::measured::measured;

use super::*;

const YEAR: Duration = Duration::from_hours(24 * 365);
const HOUR: Duration = Duration::from_hours(1);

/// What the time of day is said to be, one after the other.
const JUMPS: [Duration; 6] = [
    TODAY.saturating_add(HOUR),
    TODAY.saturating_sub(HOUR),
    TODAY.saturating_add(YEAR.saturating_mul(10)),
    Duration::ZERO,
    TODAY.saturating_sub(YEAR.saturating_mul(10)),
    TODAY,
];

fn set(world: &mut World, time: Duration) {
    for host in [LEFT, RIGHT] {
        world.command(host, |endpoint, now| endpoint.set_wall_clock(now, time));
    }
}

/// Nine hours of these peers with six jumps, or with the clock set to what it is.
fn nine_hours(peers: [PeerConfig; 2], jumps: bool) -> World {
    let mut world = up(World::new(36).peers(peers));
    for jump in JUMPS {
        let right = TODAY + world.elapsed();
        set(&mut world, if jumps { jump } else { right });
        world.run_for(90 * MINUTE);
        crate::assert_no_interruption(&world);
    }
    world
}

/// T36.
#[test]
fn no_timer_goes_by_the_time_of_day() {
    let sent = |world: &World| -> Vec<(Duration, usize, Vec<u8>)> {
        world.sent().iter().map(|sent| (sent.at, sent.host, sent.payload.to_vec())).collect()
    };
    let (jumped, steady) = (nine_hours(psk_pair(), true), nine_hours(psk_pair(), false));
    let different =
        sent(&jumped).iter().zip(sent(&steady)).filter(|(one, other)| **one != *other).count();
    measured("T36", "messages that differ after six jumps of the clock", different, "0");
    assert!(sent(&jumped).len() > 100, "{}", jumped.report());
    assert_eq!((jumped.sent().len(), different), (steady.sent().len(), 0));
}

/// T36: what stands goes on while its certificate is out of date, and is rekeyed.
#[test]
fn certificates_are_judged_by_the_time_of_the_authentication() {
    let peers = certified(&Key::p256(), &Key::p256());
    let mut world = nine_hours(peers, true);
    measured("T36", "SAs with certificates that six jumps of the clock cost", 0, "0");
    for wrong in [TODAY + 10 * YEAR, Duration::ZERO] {
        set(&mut world, wrong);
        let peer = world.left().peers[0];
        world.command(LEFT, |endpoint, now| endpoint.disconnect(now, peer)).unwrap();
        world.run_until(World::all_down, MINUTE);
        world.command(LEFT, |endpoint, now| endpoint.connect(now, peer)).unwrap();
        world.run_for(10 * MINUTE);
        assert!(world.all_down(), "{}", world.report());
        set(&mut world, TODAY);
        world.run_until(World::both_up, 5 * MINUTE);
    }
    world.assert_mirrored();
}
