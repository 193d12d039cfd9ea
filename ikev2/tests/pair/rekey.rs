//! Replacing children (RFC 7296 §1.3.3) and IKE SAs (§1.3.2), make before break, from either side and from both at once.

use std::time::Duration;

use ikev2::{ChildId, ChildUsage, CloseReason, Event, Lifetime, SendWhen};
use testkit::link::Link;
use testkit::world::{Host, LEFT, RIGHT, World, for_each_seed, pair_of, psk_pair};

use crate::{MINUTE, assert_healthy, assert_no_interruption, up};

fn rekey_child(world: &mut World, host: usize) {
    let child = world.host(host).children().next().unwrap().id;
    world.command(host, |endpoint, now| endpoint.rekey_child(now, child)).unwrap();
}

fn rekey_ike(world: &mut World, host: usize) {
    let peer = world.host(host).peers[0];
    world.command(host, |endpoint, now| endpoint.rekey_ike(now, peer)).unwrap();
}

fn spi_in(host: &Host) -> u32 {
    host.children().next().unwrap().spi_in.0.get()
}

/// From the first child on there was always one; what was there before the rekey went because of it.
#[track_caller]
fn assert_made_before_broken(world: &World, host: &Host) {
    let mut installed = Vec::new();
    for (at, event) in &host.events {
        match event {
            Event::ChildUp { child, replaces } => {
                let known = replaces.is_none_or(|old| installed.contains(&old));
                assert!(known, "{:?} replaces what is not there\n{}", child.id, world.report());
                installed.push(child.id);
            }
            Event::ChildDown { child, reason } => {
                installed.retain(|id| id != child);
                assert!(!installed.is_empty(), "no child at {at:?}\n{}", world.report());
                let first = child.0 == 1;
                assert!(!first || *reason == CloseReason::Rekeyed, "{}", world.report());
            }
            _ => {}
        }
    }
}

/// From when to when one side sends on an SA, and the other side receives on one. `None`: to this day.
type Span = (Duration, Option<Duration>);

/// What a data plane that follows the events would send on: the newest child, but a held one (`AfterInbound`) only when
/// the one that it replaces is gone, which is the latest moment that it may choose.
fn sending(host: &Host) -> Vec<(u32, Span)> {
    let mut spans: Vec<(u32, Span)> = Vec::new();
    let mut installed: Vec<(ChildId, u32, bool)> = Vec::new();
    for (at, event) in &host.events {
        match event {
            Event::ChildUp { child, replaces } => {
                let held = child.send == SendWhen::AfterInbound && replaces.is_some();
                installed.push((child.id, child.spi_out.0.get(), held));
            }
            Event::ChildDown { child, .. } => installed.retain(|(id, ..)| id != child),
            _ => continue,
        }
        if installed.iter().all(|(_, _, held)| *held)
            && let Some((_, _, held)) = installed.last_mut()
        {
            *held = false;
        }
        let now = installed.iter().rfind(|(_, _, held)| !held).map(|(_, spi, _)| *spi);
        let before = spans.last_mut().filter(|(_, (_, end))| end.is_none());
        if before.as_ref().map(|(spi, _)| *spi) == now {
            continue;
        }
        if let Some((_, (_, end))) = before {
            *end = Some(*at);
        }
        spans.extend(now.map(|spi| (spi, (*at, None))));
    }
    spans
}

/// When a host receives on an SPI.
fn receiving(host: &Host, spi: u32) -> Option<Span> {
    let (up, id) = host.events.iter().find_map(|(at, event)| match event {
        Event::ChildUp { child, .. } if child.spi_in.0.get() == spi => Some((*at, child.id)),
        _ => None,
    })?;
    let down = host.events.iter().find_map(|(at, event)| match event {
        Event::ChildDown { child, .. } if *child == id => Some(*at),
        _ => None,
    });
    Some((up, down))
}

/// No packet sent after both were up meets a receiver that does not know its SA. A receiver keeps a replaced SA for a
/// few seconds, here two.
#[track_caller]
fn assert_no_black_hole(world: &World) {
    let grace = Duration::from_secs(2);
    for (sender, receiver) in [(world.left(), world.right()), (world.right(), world.left())] {
        for (spi, (from, to)) in sending(sender).into_iter().skip(1) {
            let Some((up, down)) = receiving(receiver, spi) else {
                panic!(
                    "{} sends on 0x{spi:08x}, which nobody knows\n{}",
                    sender.name,
                    world.report()
                )
            };
            assert!(up <= from, "0x{spi:08x} used before it is known\n{}", world.report());
            let kept = match (to, down) {
                (Some(to), Some(down)) => to <= down + grace,
                (None, Some(_)) => false,
                (_, None) => true,
            };
            assert!(kept, "0x{spi:08x} used after it is forgotten\n{}", world.report());
        }
    }
}

#[test]
fn a_child_is_replaced_by_either_side() {
    for esp in ["aes256gcm16-noesn", "aes256gcm16-ecp384-esn", "aes256-sha256-modp2048"] {
        for host in [LEFT, RIGHT] {
            let pair = pair_of("aes256gcm16-prfsha256-curve25519", esp);
            let mut world = up(World::new(1).peers(pair));
            let before = (spi_in(world.left()), spi_in(world.right()));
            rekey_child(&mut world, host);
            world.run_until_quiet(MINUTE);
            assert_healthy(&world, 1);
            let after = (spi_in(world.left()), spi_in(world.right()));
            assert!(before.0 != after.0 && before.1 != after.1, "{esp}");
            assert_made_before_broken(&world, world.left());
            assert_made_before_broken(&world, world.right());
            assert_no_black_hole(&world);
            let suite = world.left().children().next().unwrap().suite;
            assert_eq!(suite.ke.is_some(), esp.matches('-').count() == 2, "{esp}: {suite:?}");
        }
    }
}

#[test]
fn an_ike_sa_is_replaced_by_either_side_and_keeps_its_children() {
    for host in [LEFT, RIGHT] {
        let mut world = up(World::new(1).peers(psk_pair()));
        let before = (spi_in(world.left()), world.left().up.values().next().unwrap().spis);
        rekey_ike(&mut world, host);
        world.run_until_quiet(MINUTE);
        assert_healthy(&world, 1);
        let (left, right) = (world.left().up.values(), world.right().up.values());
        let spis: Vec<_> = left.chain(right).map(|info| info.spis).collect();
        assert_eq!(spis[0], spis[1]);
        assert_ne!(spis[0], before.1);
        assert_eq!(spi_in(world.left()), before.0, "the child stays as it is");
        let rekeyed = |event: &Event| matches!(event, Event::PeerRekeyed { .. });
        assert_eq!((world.left().count(rekeyed), world.right().count(rekeyed)), (1, 1));
        for host in [LEFT, RIGHT] {
            rekey_child(&mut world, host);
            world.run_until_quiet(MINUTE);
            rekey_ike(&mut world, host);
            world.run_until_quiet(MINUTE);
            assert_healthy(&world, 1);
        }
        assert_no_interruption(&world);
    }
}

#[test]
fn both_replace_the_child_at_once() {
    for_each_seed(200, |seed| {
        let link = Link::default().delay_ms(5..80).loss(200).reorder(50);
        let mut world = World::new(seed).link(link).peers(psk_pair());
        world.run_until(World::both_up, 2 * MINUTE);
        world.run_until_quiet(10 * MINUTE);
        let before = spi_in(world.left());
        rekey_child(&mut world, LEFT);
        world.run_for(Duration::from_millis(seed % 100));
        // Refused if the left one was faster and the child is being replaced already.
        let child = world.right().children().next().unwrap().id;
        let _ = world.command(RIGHT, |endpoint, now| endpoint.rekey_child(now, child));
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, 1);
        assert_ne!(spi_in(world.left()), before, "{}", world.report());
        assert_no_interruption(&world);
        assert_made_before_broken(&world, world.left());
        assert_made_before_broken(&world, world.right());
        assert_no_black_hole(&world);
    });
}

#[test]
fn both_replace_the_ike_sa_at_once() {
    for_each_seed(200, |seed| {
        let link = Link::default().delay_ms(5..80).loss(200).reorder(50);
        let mut world = World::new(seed).link(link).peers(psk_pair());
        world.run_until(World::both_up, 2 * MINUTE);
        world.run_until_quiet(10 * MINUTE);
        rekey_ike(&mut world, LEFT);
        world.run_for(Duration::from_millis(seed % 100));
        rekey_ike(&mut world, RIGHT);
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, 1);
        let spis = |host: &Host| host.up.values().next().unwrap().spis;
        assert_eq!(spis(world.left()), spis(world.right()), "{}", world.report());
        assert_no_interruption(&world);
        rekey_child(&mut world, RIGHT);
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, 1);
    });
}

#[test]
fn a_child_and_the_ike_sa_at_once_from_both_sides() {
    for_each_seed(200, |seed| {
        let link = Link::default().delay_ms(5..80).loss(100);
        let mut world = World::new(seed).link(link).peers(psk_pair());
        world.run_until(World::both_up, 2 * MINUTE);
        world.run_until_quiet(10 * MINUTE);
        rekey_child(&mut world, LEFT);
        rekey_ike(&mut world, RIGHT);
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, 1);
        rekey_ike(&mut world, LEFT);
        rekey_child(&mut world, RIGHT);
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, 1);
        assert_no_interruption(&world);
    });
}

/// The side that answers has the new SA at once; the other one has it when an answer arrives, however late that is.
#[test]
fn answers_that_are_lost_for_long_interrupt_nothing() {
    for seconds in [1, 9, 15, 40, 80] {
        for (asks, answers) in [(LEFT, RIGHT), (RIGHT, LEFT)] {
            for rekey in [rekey_child, rekey_ike] {
                let mut world = up(World::new(seconds).peers(psk_pair()));
                let silenced = world.host(answers).address;
                world.attack(move |datagram, _| {
                    if datagram.source.ip() == silenced { Vec::new() } else { vec![datagram] }
                });
                rekey(&mut world, asks);
                world.run_for(Duration::from_secs(seconds));
                world.relent();
                world.run_until_quiet(10 * MINUTE);
                assert_healthy(&world, 1);
                assert_no_interruption(&world);
                assert_no_black_hole(&world);
            }
        }
    }
}

/// The old child is of use to the peer until the peer has our answer: it may grow older than its lifetime meanwhile.
#[test]
fn a_replaced_child_is_not_deleted_for_its_age_while_the_answer_is_lost() {
    for seconds in [8, 12, 70] {
        let [left, mut right] = psk_pair();
        right.children[0].lifetime = Lifetime::of(Duration::from_secs(30));
        let mut world = up(World::new(seconds).peers([left, right]));
        world.run_for(Duration::from_secs(16));
        let silenced = world.host(RIGHT).address;
        world.attack(move |datagram, _| {
            // Its answers are long, its requests and acknowledgements are not.
            let answer = datagram.source.ip() == silenced && datagram.payload.len() > 150;
            if answer { Vec::new() } else { vec![datagram] }
        });
        rekey_child(&mut world, LEFT);
        world.run_for(Duration::from_secs(seconds));
        world.relent();
        world.run_for(Duration::from_secs(5));
        assert_healthy(&world, 1);
        assert_no_interruption(&world);
        assert_no_black_hole(&world);
    }
}

#[test]
fn age_and_traffic_end_a_child_before_its_lifetime() {
    let [mut left, right] = psk_pair();
    left.children[0].lifetime = Lifetime::of(10 * MINUTE);
    left.children[0].lifetime.octets = Some(1_000_000);
    let mut world = up(World::new(1).peers([left, right]));
    let first = spi_in(world.left());
    world.run_for(10 * MINUTE);
    world.run_until_quiet(MINUTE);
    let second = spi_in(world.left());
    assert_ne!(first, second, "by age");
    let child = world.left().children().next().unwrap().id;
    let usage = ChildUsage { octets: 1_000_001, packets: 900, last_inbound: None };
    world.command(LEFT, |endpoint, now| endpoint.report_usage(now, child, usage));
    world.run_until_quiet(MINUTE);
    assert_ne!(second, spi_in(world.left()), "by traffic");
    assert_healthy(&world, 1);
}

/// Both ends count the same traffic and have the same limits: they draw different shares of them, so that one of them is
/// first, and never before 80 % or after 90 %.
#[test]
fn both_ends_do_not_reach_their_limits_together() {
    let mut shares = [0_u64; 2];
    let mut together = 0;
    for seed in 0..40 {
        let mut pair = psk_pair();
        for peer in &mut pair {
            peer.children[0].lifetime.packets = Some(100_000);
        }
        let mut world = up(World::new(seed).peers(pair));
        let before = spi_in(world.left());
        let mut rekeyed = [None, None];
        for packets in (79_000..=90_000).step_by(100) {
            for host in [LEFT, RIGHT] {
                let child = world.host(host).children().next().unwrap();
                assert_eq!(child.hard.packets, Some(100_000));
                let (id, sent) = (child.id, world.sent().len());
                let usage = ChildUsage { octets: 0, packets, last_inbound: None };
                world.command(host, |endpoint, now| endpoint.report_usage(now, id, usage));
                if world.sent().len() > sent {
                    rekeyed[host].get_or_insert(packets);
                }
            }
            if rekeyed != [None, None] {
                break;
            }
        }
        for host in [LEFT, RIGHT] {
            if let Some(packets) = rekeyed[host] {
                assert!((80_000..=90_000).contains(&packets), "{packets}");
                shares[host] += 1;
            }
        }
        together += u32::from(rekeyed[LEFT].is_some() && rekeyed[RIGHT].is_some());
        assert_ne!(rekeyed, [None, None]);
        world.run_until_quiet(MINUTE);
        assert_healthy(&world, 1);
        assert_ne!(spi_in(world.left()), before);
    }
    assert!(shares[LEFT] > 5 && shares[RIGHT] > 5 && together < 5, "{shares:?}, {together}");
}

#[test]
fn unknown_children_cannot_be_rekeyed() {
    let mut world = up(World::new(1).peers(psk_pair()));
    let id = ChildId(4711);
    assert!(world.command(LEFT, |endpoint, now| endpoint.rekey_child(now, id)).is_err());
    let peer = ikev2::PeerId(1);
    assert!(world.command(LEFT, |endpoint, now| endpoint.rekey_ike(now, peer)).is_err());
}
