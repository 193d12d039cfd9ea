//! Children that are added and removed while the IKE SA stands, at any moment of whatever else goes on.

use std::time::Duration;

use ikev2::registry::ExchangeType;
use ikev2::wire::header::Header;
use ikev2::{ChildId, CloseReason, Event, PeerConfig, Start};
use testkit::link::Link;
use testkit::world::{LEFT, LEFT_ADDRESS, RIGHT, World, child_of, for_each_seed, psk_pair};

use crate::{MINUTE, assert_healthy, assert_no_interruption, up};

const ESP: &str = "aes256gcm16-curve25519-noesn";

fn add(world: &mut World, host: usize) -> usize {
    let peer = world.host(host).peers[0];
    let (own, other) = if host == LEFT { (11, 12) } else { (12, 11) };
    let child = child_of("more", own, other, ESP);
    world.command(host, |endpoint, now| endpoint.add_child(now, peer, child)).unwrap()
}

fn remove(world: &mut World, host: usize, index: usize) {
    let peer = world.host(host).peers[0];
    world.command(host, |endpoint, now| endpoint.remove_child(now, peer, index)).unwrap();
}

fn configs(world: &World, host: usize) -> Vec<usize> {
    let mut all: Vec<usize> = world.host(host).children().map(|child| child.config).collect();
    all.sort_unstable();
    all
}

fn both_always() -> [PeerConfig; 2] {
    let mut pair = psk_pair();
    pair[RIGHT].start = Start::Always;
    pair
}

#[test]
fn a_child_is_added_and_asked_for_at_once() {
    let mut world = up(World::new(1).peers(psk_pair()));
    assert_eq!(add(&mut world, RIGHT), 1);
    world.run_until_quiet(MINUTE);
    assert_eq!(configs(&world, RIGHT), [0], "the responder waits to be asked");
    assert_eq!(add(&mut world, LEFT), 1);
    let took = world.run_until(|world| world.left().child_count() == 2, MINUTE);
    assert!(took < Duration::from_secs(1), "{took:?}");
    world.run_until_quiet(MINUTE);
    assert_healthy(&world, 2);
    assert_eq!((configs(&world, LEFT), configs(&world, RIGHT)), (vec![0, 1], vec![0, 1]));
    assert_no_interruption(&world);
}

/// Added on the side that asks before the other side knows it: refused, and there within two minutes of the other's.
#[test]
fn a_child_that_only_one_side_has_waits_for_the_other() {
    let mut world = up(World::new(1).peers(psk_pair()));
    add(&mut world, LEFT);
    world.run_for(10 * MINUTE);
    assert_healthy(&world, 1);
    add(&mut world, RIGHT);
    world.run_until(|world| world.left().child_count() == 2, 2 * MINUTE);
    world.run_until_quiet(MINUTE);
    assert_healthy(&world, 2);
}

#[test]
fn a_child_is_removed_with_a_word_and_may_not_come_back() {
    for host in [LEFT, RIGHT] {
        let mut world = up(World::new(1).peers(both_always()));
        add(&mut world, LEFT);
        add(&mut world, RIGHT);
        world.run_until_quiet(MINUTE);
        assert_healthy(&world, 2);
        let at = world.elapsed();
        remove(&mut world, host, 1);
        assert_eq!(configs(&world, host), [0], "here at once");
        world.run_for(Duration::from_secs(1));
        assert_eq!(configs(&world, 1 - host), [0], "there by DELETE");
        let downs = |host: usize| -> Vec<CloseReason> {
            let events = world.host(host).events.iter().filter(|(when, _)| *when >= at);
            events
                .filter_map(|(_, event)| match event {
                    Event::ChildDown { reason, .. } => Some(reason.clone()),
                    _ => None,
                })
                .collect()
        };
        assert_eq!(downs(host), [CloseReason::Local]);
        assert_eq!(downs(1 - host), [CloseReason::PeerDeleted]);
        // The other side still wants it, and is told no.
        world.run_for(10 * MINUTE);
        assert_healthy(&world, 1);
        let refused = |event: &Event| {
            matches!(event, Event::Refused { reason: CloseReason::SelectorMismatch { .. }, .. })
        };
        assert!(world.host(host).count(refused) > 0, "{}", world.report());
        assert_no_interruption(&world);
        // Its index is gone for good; the same networks may come again with another.
        let peer = world.host(host).peers[0];
        let again = world.command(host, |endpoint, now| endpoint.remove_child(now, peer, 1));
        assert!(again.is_err());
        assert_eq!(add(&mut world, host), 2);
        world.run_for(3 * MINUTE);
        assert_healthy(&world, 2);
        assert_eq!(configs(&world, host), [0, 2]);
    }
}

#[test]
fn the_last_child_goes_and_the_ike_sa_stays() {
    let mut world = up(World::new(1).peers(psk_pair()));
    remove(&mut world, LEFT, 0);
    remove(&mut world, RIGHT, 0);
    world.run_until_quiet(MINUTE);
    assert!(world.left().up.len() == 1 && world.right().up.len() == 1, "{}", world.report());
    assert_eq!((world.left().child_count(), world.right().child_count()), (0, 0));
    assert_eq!((add(&mut world, RIGHT), add(&mut world, LEFT)), (1, 1));
    world.run_until_quiet(MINUTE);
    assert_healthy(&world, 1);
    assert_no_interruption(&world);
}

#[test]
fn what_does_not_exist_cannot_be_changed() {
    let mut world = up(World::new(1).peers(psk_pair()));
    let (peer, nobody) = (world.left().peers[0], ikev2::PeerId(9));
    let child = || child_of("more", 11, 12, ESP);
    assert!(world.command(LEFT, |e, now| e.add_child(now, nobody, child())).is_err());
    assert!(world.command(LEFT, |e, now| e.remove_child(now, nobody, 0)).is_err());
    assert!(world.command(LEFT, |e, now| e.remove_child(now, peer, 1)).is_err());
    assert_healthy(&world, 1);
}

fn rekey_child(world: &mut World, host: usize, child: Option<ChildId>) {
    if let Some(child) = child {
        // Refused if it is being replaced already.
        let _ = world.command(host, |endpoint, now| endpoint.rekey_child(now, child));
    }
}

/// Added and removed while the IKE SA and the children are being replaced from both sides, at any moment of that. In the
/// end there is what is configured, once, and no SPI of what came to nothing is left on either side.
#[test]
fn among_rekeys_of_everything() {
    for_each_seed(300, |seed| {
        let link = Link::default().delay_ms(5..60).loss(if seed % 2 == 0 { 0 } else { 150 });
        let mut world = World::new(seed).link(link).peers(both_always());
        world.run_until(World::both_up, 5 * MINUTE);
        let mut draw = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |bound: u64| {
            draw ^= draw << 13;
            draw ^= draw >> 7;
            draw ^= draw << 17;
            draw % bound
        };
        // What each side added last and has not removed.
        let mut added = [None, None];
        for _ in 0..14 {
            let host = if next(2) == 0 { LEFT } else { RIGHT };
            let peer = world.host(host).peers[0];
            match next(4) {
                0 => {
                    // Refused if it is not up.
                    let _ = world.command(host, |endpoint, now| endpoint.rekey_ike(now, peer));
                }
                1 => {
                    let child = world.host(host).children().last().map(|child| child.id);
                    rekey_child(&mut world, host, child);
                }
                _ => match added[host].take() {
                    Some(index) => remove(&mut world, host, index),
                    None => added[host] = Some(add(&mut world, host)),
                },
            }
            world.run_for(Duration::from_millis(next(120)));
        }
        let both = added[LEFT].is_some() && added[RIGHT].is_some();
        world.set_link(Link::default().delay_ms(5..20));
        world.run_for(5 * MINUTE);
        let wanted = if both { 2 } else { 1 };
        assert_eq!(world.left().child_count(), wanted, "{}", world.report());
        assert!(world.left().up.len() == 1 && world.right().up.len() == 1);
        world.assert_mirrored();
        for host in [LEFT, RIGHT] {
            let mut expected = vec![0];
            expected.extend(added[host].filter(|_| both));
            assert_eq!(configs(&world, host), expected, "{}", world.report());
        }
        assert_no_interruption(&world);
    });
}

/// A child is removed while the request for it, or the answer, is on its way; and while IKE_AUTH is.
#[test]
fn removed_while_it_is_on_its_way() {
    for_each_seed(120, |seed| {
        let link = Link::default().delay_ms(20..40);
        let mut world = World::new(seed).link(link).peers(both_always());
        if seed % 3 == 0 {
            // In the middle of the handshake.
            world.run_for(Duration::from_millis(seed));
            remove(&mut world, LEFT, 0);
            world.run_for(10 * MINUTE);
            let up = (world.left().up.len(), world.right().up.len());
            assert_eq!(up, (1, 1), "{}", world.report());
            assert_eq!((world.left().child_count(), world.right().child_count()), (0, 0));
            return;
        }
        world.run_until(World::both_up, MINUTE);
        world.run_until_quiet(MINUTE);
        add(&mut world, RIGHT);
        add(&mut world, LEFT);
        world.run_for(Duration::from_millis(seed));
        let host = if seed % 2 == 0 { LEFT } else { RIGHT };
        remove(&mut world, host, 1);
        world.run_for(3 * MINUTE);
        assert_eq!(
            (configs(&world, LEFT), configs(&world, RIGHT)),
            (vec![0], vec![0]),
            "{}",
            world.report()
        );
        assert_no_interruption(&world);
    });
}

/// Drops the left host's answers to CREATE_CHILD_SA; everything else passes.
fn lose_answers_of_the_left(world: &mut World) {
    world.attack(|datagram, _| {
        let header = Header::parse(&datagram.payload).unwrap();
        let answer = header.exchange == ExchangeType::CREATE_CHILD_SA && header.flags.response;
        let lost = answer && datagram.source.ip() == LEFT_ADDRESS;
        if lost { Vec::new() } else { vec![datagram] }
    });
}

fn newest(world: &World, host: usize) -> Option<ChildId> {
    world.host(host).children().last().map(|child| child.id)
}

/// The right host's rekey is granted, but it does not know that yet; the left host replaces what it granted.
#[test]
fn a_child_is_replaced_that_the_peer_does_not_know_of_yet() {
    for (crossing, millis) in [(false, 300), (false, 3000), (true, 300), (true, 3000)] {
        let mut world = up(World::new(1).peers(psk_pair()));
        lose_answers_of_the_left(&mut world);
        let (left, right) = (newest(&world, LEFT), newest(&world, RIGHT));
        rekey_child(&mut world, RIGHT, right);
        if crossing {
            rekey_child(&mut world, LEFT, left);
        }
        world.run_for(Duration::from_millis(100));
        let left = newest(&world, LEFT);
        rekey_child(&mut world, LEFT, left);
        world.run_for(Duration::from_millis(millis));
        world.relent();
        world.run_until_quiet(MINUTE);
        assert_healthy(&world, 1);
        let lost = |event: &Event| matches!(event, Event::ChildDown { reason, .. } if *reason != CloseReason::Rekeyed);
        assert_eq!(world.left().count(lost) + world.right().count(lost), 0, "{}", world.report());
    }
}

/// The DELETE for a child overtakes the answer that makes it.
#[test]
fn a_child_is_removed_before_the_peer_knows_that_it_has_it() {
    let mut pair = psk_pair();
    // The left host never asks by itself, so that nothing of its own is outstanding.
    (pair[LEFT].start, pair[RIGHT].start) = (Start::RespondOnly, Start::Always);
    let mut world = up(World::new(1).peers(pair));
    add(&mut world, LEFT);
    world.run_until_quiet(MINUTE);
    lose_answers_of_the_left(&mut world);
    add(&mut world, RIGHT);
    world.run_for(Duration::from_millis(100));
    remove(&mut world, LEFT, 1);
    world.run_for(Duration::from_secs(3));
    world.relent();
    world.run_for(MINUTE);
    assert_eq!(
        (configs(&world, LEFT), configs(&world, RIGHT)),
        (vec![0], vec![0]),
        "{}",
        world.report()
    );
    assert_no_interruption(&world);
}
