//! A responder that demands cookies (RFC 7296 §2.6), alone and together with another group (§2.6.1).
//!
//! ```text
//!   left ── HDR, SA, KE, Ni ──►             ◄── HDR, N(COOKIE)
//!        ── HDR, N(COOKIE), SA, KE, Ni ──►  ◄── HDR, N(INVALID_KE_PAYLOAD)      only if the group is not right
//!        ── HDR, N(COOKIE), SA, KE', Ni ──► ◄── HDR, SA, KE, Nr                 the same cookie
//! ```

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ikev2::registry::{ExchangeType, KeMethod, NotifyType};
use ikev2::wire::header::{Flags, Header};
use ikev2::wire::message::{Body, Chain, message};
use ikev2::{EndpointConfig, Event, PeerConfig, Start};
use testkit::link::{Link, Nat};
use testkit::world::{
    Datagram, LEFT, RIGHT, RIGHT_ADDRESS, Sent, World, for_each_seed, pair_of, path, psk_pair,
};

use crate::{MINUTE, assert_healthy, header};

/// Both hosts demand cookies of everybody.
fn strict(seed: u64) -> World {
    let mut settings = EndpointConfig::default();
    settings.cookie_threshold = 0;
    World::new(seed).settings(settings)
}

/// The initiator guesses a group that the responder does not want.
fn other_group() -> [PeerConfig; 2] {
    let [left, _] = pair_of("aes256gcm16-prfsha256-ecp384-curve25519", "aes256gcm16-noesn");
    let [_, right] = pair_of("aes256gcm16-prfsha256-curve25519", "aes256gcm16-noesn");
    [left, right]
}

/// What an IKE_SA_INIT message says: its notifications that matter here, and its cookie.
fn said(sent: &Sent) -> Option<(usize, Option<NotifyType>, Option<Vec<u8>>)> {
    let header = header(sent);
    if header.exchange != ExchangeType::IKE_SA_INIT {
        return None;
    }
    let body = Body::parse(header.next_payload, &sent.payload[Header::LEN..]).unwrap();
    let cookie = body.notify(NotifyType::COOKIE).map(|notify| notify.data.to_vec());
    Some((sent.host, body.error_notify().map(|notify| notify.kind), cookie))
}

#[test]
fn a_cookie_costs_one_round_trip() {
    let mut world = strict(1).peers(psk_pair());
    world.run_until(World::both_up, MINUTE);
    world.assert_mirrored();
    let init: Vec<_> = world.sent().iter().filter_map(said).collect();
    let [
        (LEFT, None, None),
        (RIGHT, None, Some(baked)),
        (LEFT, None, Some(shown)),
        (RIGHT, None, None),
    ] = &*init
    else {
        panic!("{init:?}")
    };
    assert!(baked == shown && (1..=64).contains(&baked.len()));
    assert_eq!(world.sent().len(), 6);
    assert!(world.sent()[1].payload.len() <= world.sent()[0].payload.len());
}

/// The shorter exchange: one cookie for both groups.
#[test]
fn the_cookie_stays_good_when_another_group_is_wanted() {
    let mut world = strict(1).peers(other_group());
    world.run_until(World::both_up, MINUTE);
    world.assert_mirrored();
    assert_eq!(world.left().up.values().next().unwrap().suite.ke, KeMethod::CURVE25519);
    let init: Vec<_> = world.sent().iter().filter_map(said).collect();
    let [
        (LEFT, None, None),
        (RIGHT, None, Some(baked)),
        (LEFT, None, Some(first)),
        (RIGHT, Some(NotifyType::INVALID_KE_PAYLOAD), None),
        (LEFT, None, Some(second)),
        (RIGHT, None, None),
    ] = &*init
    else {
        panic!("{init:?}")
    };
    assert!(baked == first && baked == second);
}

/// Other initiators show the cookie in the next request only, and get another one.
#[test]
fn an_initiator_that_forgets_its_cookie_gets_another() {
    let mut world = strict(1);
    // What comes after INVALID_KE_PAYLOAD loses its cookie the first time.
    let asked = Rc::new(Cell::new(0));
    let seen = Rc::clone(&asked);
    world.attack(move |mut datagram: Datagram, _| {
        let header = Header::parse(&datagram.payload).unwrap();
        if header.exchange == ExchangeType::IKE_SA_INIT {
            let body = Body::parse(header.next_payload, &datagram.payload[Header::LEN..]).unwrap();
            let cookie = body.notify(NotifyType::COOKIE).map(|notify| 8 + notify.data.len());
            if body.notify(NotifyType::INVALID_KE_PAYLOAD).is_some() {
                seen.set(1);
            } else if let (1, Some(len)) = (seen.get(), cookie) {
                seen.set(2);
                let octets = &mut datagram.payload;
                octets[16] = octets[Header::LEN];
                octets.drain(Header::LEN..Header::LEN + len);
                let total = u32::try_from(octets.len()).unwrap();
                octets[24..28].copy_from_slice(&total.to_be_bytes());
            }
        }
        vec![datagram]
    });
    let mut world = world.peers(other_group());
    let took = world.run_until(World::both_up, MINUTE);
    assert_eq!(asked.get(), 2);
    assert!(took < Duration::from_secs(2), "{took:?}");
    world.assert_mirrored();
}

/// Loss, reordering and duplicates, at every step of the longer exchange; who begins, and from behind what.
#[test]
fn cookies_survive_a_bad_network() {
    for_each_seed(150, |seed| {
        let [mut left, mut right] = if seed % 2 == 0 { psk_pair() } else { other_group() };
        if seed % 3 == 0 {
            right.start = Start::Always;
        }
        let link = Link::default().delay_ms(5..120).loss(150).duplicate(100).reorder(100);
        let mut world = strict(seed).link(link);
        if seed % 5 == 0 {
            let public = "203.0.113.9".parse().unwrap();
            let inside = "10.99.0.1".parse().unwrap();
            world = world.nat(Nat::new(inside, public));
            left.paths = vec![path(inside, RIGHT_ADDRESS)];
            right.paths = vec![path(RIGHT_ADDRESS, public)];
            right.start = Start::RespondOnly;
        }
        let mut world = world.peers([left, right]);
        world.run_until(World::both_up, 2 * MINUTE);
        world.set_link(Link::default());
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, 1);
    });
}

/// The responder goes from trust to demand and back while copies of every request are under way: a late copy of the
/// request without the cookie must not lead to an SA that nobody can authenticate.
#[test]
fn late_copies_do_not_break_an_attempt_when_the_guard_comes_and_goes() {
    for_each_seed(100, |seed| {
        let mut settings = EndpointConfig::default();
        settings.cookie_threshold = 1;
        let link = Link::default().delay_ms(1..300).loss(50).duplicate(500).reorder(300);
        let mut world = World::new(seed).settings(settings).link(link).peers(psk_pair());
        world.run_until(World::both_up, 2 * MINUTE);
        world.set_link(Link::default());
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, 1);
        let refused = |event: &Event| matches!(event, Event::Refused { .. });
        assert_eq!(world.right().count(refused), 0, "{}", world.report());
    });
}

/// The secret changes between the answer and the request that shows the cookie.
#[test]
fn a_cookie_that_is_too_old_is_replaced() {
    let mut world = strict(1).link(Link::default().delay_ms(70_000..70_001));
    let [mut left, right] = psk_pair();
    left.start = Start::Manual;
    world = world.peers([left, right]);
    let peer = world.left().peers[0];
    world.command(LEFT, |endpoint, now| endpoint.connect(now, peer)).unwrap();
    // The attempt is over before anything arrives; but the responder's answers are cookies, and nothing is half open.
    world.run_for(5 * MINUTE);
    let cookies: std::collections::BTreeSet<_> = world
        .sent()
        .iter()
        .filter_map(said)
        .filter(|(host, _, _)| *host == RIGHT)
        .map(|(_, error, cookie)| (error.is_none(), cookie.expect("a cookie and nothing else")))
        .collect();
    assert!(cookies.len() > 4, "{}", cookies.len());
    world.set_link(Link::default());
    world.run_for(MINUTE);
    world.run_until(World::both_up, MINUTE);
    world.assert_mirrored();
}

/// Somebody answers every request with another cookie (robustness T44): each attempt goes along five times at most.
#[test]
fn endless_cookies_are_not_followed_for_ever() {
    let mut world = World::new(1);
    let mut number = 0u32;
    world.attack(move |datagram, _| {
        let header = Header::parse(&datagram.payload).unwrap();
        if header.exchange != ExchangeType::IKE_SA_INIT || header.flags.response {
            return vec![datagram];
        }
        number += 1;
        let mut chain = Chain::new();
        chain.notify(NotifyType::COOKIE, &number.to_be_bytes());
        let flags = Flags { response: true, ..Flags::default() };
        vec![Datagram {
            source: datagram.destination,
            destination: datagram.source,
            payload: message(Header { flags, ..header }, &chain),
        }]
    });
    let mut world = world.peers(psk_pair());
    world.run_for(Duration::from_secs(10));
    let different: std::collections::BTreeSet<_> =
        world.sent().iter().map(|sent| sent.payload.clone()).collect();
    assert_eq!(different.len(), 1 + 5);
    world.relent();
    let took = world.run_until(World::both_up, MINUTE);
    assert!(took < Duration::from_secs(6), "{took:?}");
}

/// After a power cut the responder has other secrets, and an initiator in the middle of it all its old cookie.
#[test]
fn a_restarted_responder_bakes_anew() {
    for_each_seed(40, |seed| {
        let [left, right] = psk_pair();
        let link = Link::default().delay_ms(100..200);
        let mut world = strict(seed).link(link).peers([left, right.clone()]);
        world.run_for(Duration::from_millis(10 * seed));
        world.restart(RIGHT, vec![right]);
        world.run_for(MINUTE);
        world.run_until(World::both_up, 4 * MINUTE);
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, 1);
    });
}
