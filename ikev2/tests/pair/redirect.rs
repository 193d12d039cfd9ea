//! Redirect (RFC 5685): followed before, while and after an SA is made, sent on command, and no way into a loop.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ikev2::registry::{ExchangeType, NotifyType};
use ikev2::wire::header::{Flags, Header};
use ikev2::wire::message::{Body, Chain, message};
use ikev2::{Event, GatewayId, PeerConfig, Start};
use testkit::world::{Datagram, LEFT, RIGHT, RIGHT_ADDRESS, World, path, psk_pair};

use crate::{MINUTE, assert_no_interruption};

const OTHER: usize = 2;
const OTHER_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 77));

/// Left calls right; the third host could stand in for right.
fn cluster(seed: u64) -> World {
    let [left, right] = psk_pair();
    let mut world = World::new(seed);
    let other = world.add_host("left", testkit::world::LEFT_ADDRESS);
    assert_eq!(other, LEFT);
    world.add_host("right", RIGHT_ADDRESS);
    world.add_host("other", OTHER_ADDRESS);
    let mut twin: PeerConfig = right.clone();
    twin.paths = vec![path(OTHER_ADDRESS, testkit::world::LEFT_ADDRESS)];
    world.add_peer(RIGHT, right);
    world.add_peer(OTHER, twin);
    world.add_peer(LEFT, left);
    world
}

fn is_at(world: &World, address: IpAddr) -> bool {
    world.left().up.values().any(|info| info.path.remote.ip() == address)
}

fn redirect(world: &mut World, host: usize, to: Option<GatewayId>) {
    let peer = world.host(host).peers[0];
    world.command(host, |endpoint, now| endpoint.redirect(now, peer, to)).unwrap();
}

fn other() -> GatewayId {
    GatewayId::Address(OTHER_ADDRESS)
}

#[test]
fn a_live_sa_stays_until_the_one_with_the_other_gateway_is_up() {
    let mut world = cluster(1);
    world.run_until(|world| is_at(world, RIGHT_ADDRESS), MINUTE);
    world.run_for(MINUTE);
    redirect(&mut world, RIGHT, Some(other()));
    world.run_until(|world| world.host(OTHER).child_count() == 1, MINUTE);
    world.run_for(MINUTE);
    assert!(is_at(&world, OTHER_ADDRESS), "{}", world.report());
    assert_eq!((world.left().child_count(), world.right().child_count()), (1, 0));
    // Its child was there before the old one went.
    let mut children = 0;
    for (at, event) in &world.left().events {
        match event {
            Event::ChildUp { .. } => children += 1,
            Event::ChildDown { .. } => children -= 1,
            _ => continue,
        }
        assert!(children > 0, "no child at {at:?}\n{}", world.report());
    }
    let down = |event: &Event| matches!(event, Event::PeerDown { .. });
    assert_eq!(world.left().count(down), 0, "{}", world.report());
}

#[test]
fn a_gateway_that_is_taken_out_of_service_sends_newcomers_away() {
    let mut world = cluster(2);
    redirect(&mut world, RIGHT, Some(other()));
    world.run_until(|world| is_at(world, OTHER_ADDRESS), MINUTE);
    world.run_for(MINUTE);
    assert_eq!(world.host(OTHER).child_count(), 1, "{}", world.report());
    assert_eq!(world.right().child_count(), 0);
    redirect(&mut world, RIGHT, None);
    let peer = world.host(OTHER).peers[0];
    world.command(OTHER, |endpoint, now| endpoint.disconnect(now, peer)).unwrap();
    world.run_until(|world| is_at(world, RIGHT_ADDRESS), MINUTE);
}

#[test]
fn whoever_does_not_follow_stays_where_it_is() {
    let [mut left, right] = psk_pair();
    left.follow_redirects = false;
    let mut world = World::new(3).peers([left, right]);
    world.run_until(World::both_up, MINUTE);
    redirect(&mut world, RIGHT, Some(other()));
    world.run_for(MINUTE);
    world.assert_mirrored();
    assert_no_interruption(&world);
}

/// What the caller does who has a resolver: it takes the event and comes back with an address.
fn resolved(world: &mut World, address: IpAddr) -> bool {
    let peer = world.left().peers[0];
    world.command(LEFT, |endpoint, now| endpoint.follow_redirect(now, peer, address)).unwrap()
}

fn by_name() -> GatewayId {
    GatewayId::Name("other.example.com".to_owned())
}

#[test]
fn a_live_sa_stays_until_the_gateway_of_that_name_has_taken_over() {
    let mut world = cluster(8);
    world.run_until(|world| is_at(world, RIGHT_ADDRESS), MINUTE);
    assert!(!resolved(&mut world, OTHER_ADDRESS), "nobody sent us anywhere");
    redirect(&mut world, RIGHT, Some(by_name()));
    let told = |world: &World| world.left().count(|e| matches!(e, Event::Redirected { .. })) > 0;
    world.run_until(told, MINUTE);
    world.run_for(MINUTE);
    assert!(is_at(&world, RIGHT_ADDRESS), "the name is not resolved yet");
    assert!(!resolved(&mut world, "2001:db8::7".parse().unwrap()), "no way there from here");
    assert!(resolved(&mut world, OTHER_ADDRESS));
    world.run_until(|world| world.host(OTHER).child_count() == 1, MINUTE);
    world.run_for(MINUTE);
    assert!(is_at(&world, OTHER_ADDRESS), "{}", world.report());
    assert_eq!((world.left().child_count(), world.right().child_count()), (1, 0));
    assert_eq!(world.left().count(|event| matches!(event, Event::PeerDown { .. })), 0);
    assert!(!resolved(&mut world, RIGHT_ADDRESS), "once");
}

#[test]
fn a_name_in_ike_auth_is_followed_and_one_that_does_not_answer_is_no_goal() {
    let mut world = cluster(9);
    redirect(&mut world, RIGHT, Some(by_name()));
    let told = |world: &World| world.left().count(|e| matches!(e, Event::Redirected { .. })) > 0;
    world.run_until(told, MINUTE);
    let nobody = IpAddr::from([203, 0, 113, 200]);
    assert!(resolved(&mut world, nobody));
    let called = |world: &World, address: IpAddr| {
        world
            .left()
            .count(|e| matches!(e, Event::Connecting { path, .. } if path.remote.ip() == address))
    };
    assert_eq!(called(&world, nobody), 1, "at once");
    let before = called(&world, RIGHT_ADDRESS);
    world.run_until(|world| called(world, RIGHT_ADDRESS) > before, MINUTE);
    world.run_for(Duration::from_secs(5));
    assert!(resolved(&mut world, OTHER_ADDRESS), "{}", world.report());
    world.run_until(|world| is_at(world, OTHER_ADDRESS), MINUTE);
}

/// It was up to the packet to bring it up, not to bring it up twice.
#[test]
fn one_that_was_called_on_demand_goes_where_it_is_sent() {
    let [mut left, mut right] = psk_pair();
    left.start = Start::OnDemand;
    let mut world = World::new(10);
    world.add_host("left", testkit::world::LEFT_ADDRESS);
    world.add_host("right", RIGHT_ADDRESS);
    world.add_host("other", OTHER_ADDRESS);
    let mut twin: PeerConfig = right.clone();
    twin.paths = vec![path(OTHER_ADDRESS, testkit::world::LEFT_ADDRESS)];
    (twin.start, right.start) = (Start::RespondOnly, Start::RespondOnly);
    world.add_peer(RIGHT, right);
    world.add_peer(OTHER, twin);
    world.add_peer(LEFT, left);
    redirect(&mut world, RIGHT, Some(other()));
    let peer = world.left().peers[0];
    world.command(LEFT, |endpoint, now| endpoint.connect(now, peer)).unwrap();
    world.run_until(|world| is_at(world, OTHER_ADDRESS), MINUTE);
}

#[test]
fn two_gateways_that_send_us_to_and_fro_are_left_alone_after_a_while() {
    let mut world = cluster(4);
    redirect(&mut world, RIGHT, Some(other()));
    redirect(&mut world, OTHER, Some(GatewayId::Address(RIGHT_ADDRESS)));
    world.run_for(4 * MINUTE);
    let calls = world.left().count(|event| matches!(event, Event::Connecting { .. }));
    assert!(calls < 20, "{calls} calls\n{}", world.report());
    redirect(&mut world, RIGHT, None);
    redirect(&mut world, OTHER, None);
    world.run_until(|world| world.left().is_up(), 2 * MINUTE);
}

#[test]
fn a_gateway_that_does_not_answer_is_no_goal() {
    let mut world = cluster(5);
    redirect(&mut world, RIGHT, Some(GatewayId::Address([203, 0, 113, 200].into())));
    world.run_for(Duration::from_secs(25));
    redirect(&mut world, RIGHT, None);
    world.run_until(|world| is_at(world, RIGHT_ADDRESS), MINUTE);
}

/// An answer in the clear that claims to be of the gateway: REDIRECT with this nonce.
fn forged(request: &Datagram, nonce: Option<&[u8]>) -> Datagram {
    let header = Header::parse(&request.payload).unwrap();
    let body = Body::parse(header.next_payload, &request.payload[Header::LEN..]).unwrap();
    let nonce = nonce.unwrap_or_else(|| body.nonce.unwrap());
    let mut chain = Chain::new();
    chain.notify(NotifyType::REDIRECT, &other().emit(nonce));
    let flags = Flags { response: true, ..Flags::default() };
    let payload = message(Header { flags, ..header }, &chain);
    Datagram { source: request.destination, destination: request.source, payload }
}

fn is_first(datagram: &Datagram) -> bool {
    let header = Header::parse(&datagram.payload).unwrap();
    header.exchange == ExchangeType::IKE_SA_INIT
        && !header.flags.response
        && datagram.destination.ip() == RIGHT_ADDRESS
}

#[test]
fn a_redirect_in_the_clear_is_followed_if_nothing_better_comes() {
    let mut world = cluster(6);
    let peer = world.left().peers[0];
    world.command(LEFT, |endpoint, now| endpoint.disconnect(now, peer)).unwrap();
    world.run_for(MINUTE);
    world.attack(
        |datagram, _| {
            if is_first(&datagram) { vec![forged(&datagram, None)] } else { vec![datagram] }
        },
    );
    world.command(LEFT, |endpoint, now| endpoint.connect(now, peer)).unwrap();
    world.run_until(|world| is_at(world, OTHER_ADDRESS), MINUTE);
    let named = world.sent().iter().filter(|sent| {
        let header = Header::parse(&sent.payload).unwrap();
        sent.path.remote == SocketAddr::new(OTHER_ADDRESS, 500)
            && Body::parse(header.next_payload, &sent.payload[Header::LEN..])
                .unwrap()
                .notify(NotifyType::REDIRECTED_FROM)
                .is_some()
    });
    assert!(named.count() > 0, "the new gateway is told who sent us");
}

#[test]
fn a_redirect_beside_the_real_answer_or_with_another_nonce_is_nothing() {
    for nonce in [None, Some(&[7; 32][..])] {
        let [mut left, right] = psk_pair();
        left.start = Start::Always;
        let mut world = World::new(7);
        world.add_host("left", testkit::world::LEFT_ADDRESS);
        world.add_host("right", RIGHT_ADDRESS);
        world.attack(move |datagram, _| {
            let forgery = is_first(&datagram).then(|| forged(&datagram, nonce));
            forgery.into_iter().chain([datagram]).collect()
        });
        world.add_peer(RIGHT, right);
        world.add_peer(LEFT, left);
        world.run_until(World::both_up, MINUTE);
        assert!(is_at(&world, RIGHT_ADDRESS), "{}", world.report());
        assert_eq!(world.left().count(|event| matches!(event, Event::Redirected { .. })), 0);
    }
}
