//! Dead peers (RFC 7296 §2.4): found in time, missed when they come back, and known again when they forgot everything.

use std::time::Duration;

use ikev2::{ChildUsage, CloseReason, DpdAction, Event, PeerConfig, Start};
use testkit::world::{LEFT, RIGHT, World, psk_pair};

use crate::{MINUTE, assert_healthy, assert_no_interruption, header, up};

const SECOND: Duration = Duration::from_secs(1);

fn down_reason(event: &Event) -> Option<&CloseReason> {
    match event {
        Event::PeerDown { reason, .. } => Some(reason),
        _ => None,
    }
}

#[test]
fn a_silent_peer_is_asked_and_an_answer_is_enough() {
    let mut world = up(World::new(1).peers(psk_pair()));
    let before = world.sent().len();
    world.run_for(10 * MINUTE);
    let sent = world.sent().len() - before;
    assert!((20..90).contains(&sent), "about one exchange in 30 s from either side: {sent}");
    assert_healthy(&world, 1);
    assert_no_interruption(&world);
}

#[test]
fn traffic_from_the_peer_is_life() {
    let mut world = up(World::new(1).peers(psk_pair()));
    let before = world.sent().len();
    for second in 0..600 {
        world.run_for(SECOND);
        for host in [LEFT, RIGHT] {
            let child = world.host(host).children().next().unwrap().id;
            let last_inbound = Some(world.now());
            let usage = ChildUsage { octets: 100 * second, packets: second, last_inbound };
            world.command(host, |endpoint, now| endpoint.report_usage(now, child, usage));
        }
    }
    assert_eq!(world.sent().len(), before, "{}", world.report());
}

#[test]
fn a_dead_peer_is_noticed_in_time_and_comes_back() {
    let mut world = up(World::new(1).peers(psk_pair()));
    world.cut(true);
    let took = world
        .run_until(|world| world.left().up.is_empty() && world.right().up.is_empty(), 3 * MINUTE);
    assert!((90..=121).contains(&took.as_secs()), "the timeout is 120 s, it took {took:?}");
    let reasons = |world: &World, host| {
        let events = world.host(host).events.iter();
        events.filter_map(|(_, event)| down_reason(event).cloned()).collect::<Vec<_>>()
    };
    assert_eq!(reasons(&world, LEFT), [CloseReason::DpdTimeout]);
    assert_eq!(reasons(&world, RIGHT), [CloseReason::DpdTimeout]);
    assert!(world.all_down(), "the children are gone too");
    world.run_for(10 * MINUTE);
    world.cut(false);
    let took = world.run_until(World::both_up, MINUTE);
    assert!(took <= 6 * SECOND, "back after {took:?}");
    world.run_until_quiet(MINUTE);
    assert_healthy(&world, 1);
}

/// Who was given up, since its packets were lost for a while, or it slept, and then speaks on the SA that is gone is told so
/// at once: any answer would be a sign of life.
#[test]
fn a_peer_that_was_not_dead_learns_that_the_sa_is_gone() {
    let [left, mut right] = psk_pair();
    let dpd = right.dpd.as_mut().unwrap();
    (dpd.interval, dpd.timeout) = (10 * SECOND, 40 * SECOND);
    right.start = Start::RespondOnly;
    let mut world = up(World::new(1).peers([left, right]));
    let source = world.left().address;
    world.attack(
        move |datagram, _| {
            if datagram.source.ip() == source { Vec::new() } else { vec![datagram] }
        },
    );
    world.run_until(|world| world.right().up.is_empty(), MINUTE);
    assert!(!world.left().up.is_empty(), "it waits longer");
    world.relent();
    let took = world.run_until(World::both_up, MINUTE);
    assert!(took <= 6 * SECOND, "back after {took:?}\n{}", world.report());
    world.run_until_quiet(MINUTE);
    assert_healthy(&world, 1);
}

#[test]
fn without_restart_a_dead_peer_is_waited_for() {
    let [mut left, right] = psk_pair();
    left.dpd.as_mut().unwrap().action = DpdAction::Clear;
    let mut world = up(World::new(1).peers([left, right]));
    world.cut(true);
    world.run_until(World::all_down, 3 * MINUTE);
    let before = world.sent().len();
    world.run_for(10 * MINUTE);
    assert_eq!(world.sent().len(), before, "{}", world.report());
}

#[test]
fn a_short_outage_changes_nothing() {
    let mut world = up(World::new(1).peers(psk_pair()));
    for _ in 0..5 {
        world.cut(true);
        world.run_for(80 * SECOND);
        world.cut(false);
        world.run_for(45 * SECOND);
    }
    assert_healthy(&world, 1);
    assert_no_interruption(&world);
}

#[test]
fn an_initiator_that_lost_its_memory_is_taken_back_at_once() {
    let mut world = up(World::new(1).peers(psk_pair()));
    let [left, _] = psk_pair();
    world.restart(LEFT, vec![left]);
    world.run_until(|world| world.left().is_up(), 10 * SECOND);
    world.run_until_quiet(MINUTE);
    assert_healthy(&world, 1);
    let is_initial_contact = |event: &Event| match event {
        Event::ChildDown { reason, .. } => *reason == CloseReason::InitialContact,
        _ => false,
    };
    assert_eq!(world.right().count(is_initial_contact), 1, "{}", world.report());
}

#[test]
fn a_responder_that_lost_its_memory_is_missed_and_called_again() {
    let mut world = up(World::new(1).peers(psk_pair()));
    let [_, right] = psk_pair();
    world.restart(RIGHT, vec![right]);
    world.run_until(|world| !world.left().is_up(), 3 * MINUTE);
    world.run_until(World::both_up, 10 * SECOND);
    world.run_until_quiet(MINUTE);
    assert_healthy(&world, 1);
}

#[test]
fn without_dpd_nobody_asks() {
    let quiet = |config: PeerConfig| {
        let mut config = config;
        config.dpd = None;
        config
    };
    let mut world = up(World::new(1).peers(psk_pair().map(quiet)));
    let before = world.sent().len();
    world.run_for(30 * MINUTE);
    assert_eq!(world.sent().len(), before);
}

#[test]
fn a_peer_that_never_answers_is_told_about_and_tried_for_ever() {
    let [left, mut right] = psk_pair();
    right.start = Start::Manual;
    let mut world = World::new(1);
    world.cut(true);
    let mut world = world.peers([left, right]);
    world.run_for(30 * MINUTE);
    let no_answer = |event: &Event| down_reason(event) == Some(&CloseReason::NoAnswer);
    assert!(world.left().count(no_answer) > 10, "{}", world.report());
    let attempts: Vec<_> = world
        .left()
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::Connecting { attempt, .. } => Some(*attempt),
            _ => None,
        })
        .collect();
    assert!(attempts.iter().copied().eq(1..=u32::try_from(attempts.len()).unwrap()));
    assert!(world.sent().iter().all(|sent| header(sent).message_id.0 == 0));
}
