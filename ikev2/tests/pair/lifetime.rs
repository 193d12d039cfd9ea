//! SAs without a child at first (RFC 6023), and authentications that end (RFC 4478).

use std::time::Duration;

use ikev2::registry::ExchangeType;
use ikev2::{Childless, CloseReason, Event};
use testkit::link::Link;
use testkit::world::{LEFT, World, for_each_seed, psk_pair};

use crate::{MINUTE, assert_healthy, assert_no_interruption, header, up};

#[test]
fn the_first_child_may_come_after_the_ike_sa() {
    let [mut left, right] = psk_pair();
    left.childless = Childless::Prefer;
    let world = up(World::new(1).peers([left, right]));
    assert_healthy(&world, 1);
    let asked = world
        .sent()
        .iter()
        .filter(|sent| sent.host == LEFT && header(sent).exchange == ExchangeType::CREATE_CHILD_SA);
    assert_eq!(asked.count(), 1, "{}", world.report());
}

#[test]
fn a_peer_that_wants_a_child_at_once_gets_one() {
    let [mut left, mut right] = psk_pair();
    left.childless = Childless::Prefer;
    right.childless = Childless::Never;
    let world = up(World::new(1).peers([left, right]));
    assert_healthy(&world, 1);
    let exchanges = world.sent().iter().map(|sent| header(sent).exchange);
    assert!(exchanges.clone().all(|e| e != ExchangeType::CREATE_CHILD_SA), "{}", world.report());
}

#[test]
fn an_ike_sa_without_any_child_stands_where_the_peer_allows_it() {
    let [mut left, mut right] = psk_pair();
    left.children.clear();
    right.children.clear();
    let world = up(World::new(1).peers([left.clone(), right.clone()]));
    assert_healthy(&world, 0);
    right.childless = Childless::Never;
    let mut world = World::new(1).peers([left, right]);
    let refused = |event: &Event| {
        matches!(event, Event::PeerDown { reason: CloseReason::Protocol(why), .. }
            if why.contains("no child is configured"))
    };
    world.run_until(|world| world.left().count(refused) > 0, MINUTE);
    let exchanges = world.sent().iter().map(|sent| header(sent).exchange);
    assert!(exchanges.clone().all(|e| e == ExchangeType::IKE_SA_INIT), "RFC 6023: not even asked");
}

/// What the data plane says of an SA that has carried all that it may: there is another one, and the old one is gone at both
/// ends.
#[test]
fn a_child_that_is_worn_out_is_replaced_by_another() {
    let mut world = up(World::new(3).peers(psk_pair()));
    let worn = world.left().children().next().unwrap().id;
    world.command(LEFT, |endpoint, now| endpoint.expire_child(now, worn)).unwrap();
    world.run_for(MINUTE);
    assert_healthy(&world, 1);
    let rekeyed = |event: &Event| matches!(event, Event::ChildUp { replaces: Some(_), .. });
    assert_eq!(world.left().count(rekeyed), 0, "{}", world.report());
    assert!(world.left().children().all(|child| child.id != worn), "{}", world.report());
    assert!(world.command(LEFT, |endpoint, now| endpoint.expire_child(now, worn)).is_err());
}

/// Again and again a new SA takes the place of the old one, and at no time there is no child.
#[test]
fn whoever_is_told_a_lifetime_authenticates_anew_in_time() {
    for_each_seed(20, |seed| {
        let [left, mut right] = psk_pair();
        right.auth_lifetime = Some(5 * MINUTE);
        let link = Link::default().delay_ms(5..80).loss(100);
        let mut world = World::new(seed).link(link).peers([left, right]);
        world.run_until(World::both_up, 2 * MINUTE);
        world.run_for(30 * MINUTE);
        world.set_link(Link::default());
        world.run_for(MINUTE);
        world.run_until(|world| world.left().child_count() == 1, MINUTE);
        assert_no_interruption(&world);
        let ups = world.left().count(|event| matches!(event, Event::PeerUp { .. }));
        assert!((6..16).contains(&ups), "{ups} SAs in half an hour\n{}", world.report());
        let mut children = 0;
        for (at, event) in &world.left().events {
            match event {
                Event::ChildUp { .. } => children += 1,
                Event::ChildDown { .. } => children -= 1,
                _ => continue,
            }
            assert!(children > 0, "no child at {at:?}\n{}", world.report());
        }
    });
}

/// A peer that is silent about it to the end loses its SAs, however often they were rekeyed meanwhile.
#[test]
fn whoever_does_not_authenticate_anew_is_out() {
    let [left, mut right] = psk_pair();
    right.auth_lifetime = Some(5 * MINUTE);
    let mut world = up(World::new(1).peers([left, right]));
    // Its first messages are lost, so that no new SA comes up; what is protected passes.
    world.attack(|datagram, _| {
        let header = ikev2::wire::header::Header::parse(&datagram.payload).unwrap();
        let first = header.exchange == ExchangeType::IKE_SA_INIT;
        if first { Vec::new() } else { vec![datagram] }
    });
    let peer = world.left().peers[0];
    world.command(LEFT, |endpoint, now| endpoint.rekey_ike(now, peer)).unwrap();
    let expired =
        |event: &Event| matches!(event, Event::PeerDown { reason: CloseReason::AuthExpired, .. });
    let took = world.run_until(|world| world.right().count(expired) == 1, 6 * MINUTE);
    assert!(took > 4 * MINUTE, "{took:?}");
    world.relent();
    world.run_until(World::both_up, 2 * MINUTE);
    world.run_for(Duration::from_secs(30));
    assert_healthy(&world, 1);
}

/// The SA whose place is to be taken is itself rekeyed while the new one is being made: its successor goes instead.
#[test]
fn a_rekey_in_the_midst_of_authenticating_anew_leaves_one_sa() {
    for_each_seed(30, |seed| {
        let [left, mut right] = psk_pair();
        right.auth_lifetime = Some(5 * MINUTE);
        let link = Link::default().delay_ms(5..80);
        let mut world = World::new(seed).link(link).peers([left, right]);
        world.run_until(World::both_up, MINUTE);
        let begun = |world: &World| {
            let inits = world.sent().iter().filter(|sent| {
                sent.host == LEFT && header(sent).exchange == ExchangeType::IKE_SA_INIT
            });
            inits.count() > 1
        };
        world.run_until(begun, 6 * MINUTE);
        let host = usize::from(seed % 2 == 0);
        let peer = world.host(host).peers[0];
        let asked = world.command(host, |endpoint, now| endpoint.rekey_ike(now, peer));
        asked.unwrap();
        world.run_for(Duration::from_secs(30));
        assert_healthy(&world, 1);
        assert_no_interruption(&world);
    });
}
