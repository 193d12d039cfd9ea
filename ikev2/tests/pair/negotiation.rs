//! Agreeing on algorithms and selectors: other groups (RFC 7296 §1.3), cookies (§2.6), nothing in common (§2.7, §2.9).

use std::net::SocketAddr;
use std::time::Duration;

use ikev2::registry::{ExchangeType, KeMethod, NotifyType};
use ikev2::wire::header::{Flags, Header, IkeSpi};
use ikev2::wire::message::{Body, Chain, message};
use ikev2::{CloseReason, Event};
use testkit::world::{Datagram, LEFT, RIGHT, World, pair_of, psk_pair, subnet};

use crate::{MINUTE, assert_healthy, header, up};

/// An answer in the clear to an IKE_SA_INIT request, as a responder would send it.
fn answer(request: &Datagram, kind: NotifyType, data: &[u8]) -> Datagram {
    let header = Header::parse(&request.payload).unwrap();
    let flags = Flags { response: true, ..Flags::default() };
    let mut chain = Chain::new();
    chain.notify(kind, data);
    Datagram {
        source: request.destination,
        destination: request.source,
        payload: message(Header { flags, ..header }, &chain),
    }
}

fn is_first_request(datagram: &Datagram) -> bool {
    let header = Header::parse(&datagram.payload).unwrap();
    header.exchange == ExchangeType::IKE_SA_INIT && !header.flags.response
}

#[test]
fn another_group_is_tried_when_the_responder_asks_for_it() {
    let [left, _] = pair_of("aes256gcm16-prfsha256-ecp384-curve25519", "aes256gcm16-noesn");
    let [_, right] = pair_of("aes256gcm16-prfsha256-curve25519", "aes256gcm16-noesn");
    let world = up(World::new(1).peers([left, right]));
    let exchanges: Vec<_> = world.sent().iter().map(|sent| header(sent).exchange).collect();
    assert_eq!(exchanges[..4], [ExchangeType::IKE_SA_INIT; 4]);
    assert_eq!(exchanges.len(), 6);
    assert_eq!(world.left().up.values().next().unwrap().suite.ke, KeMethod::CURVE25519);
    let spi = |index: usize| header(&world.sent()[index]).spi_i;
    assert_eq!(spi(0), spi(2), "the initiator keeps its SPI");
}

#[test]
fn another_group_is_tried_for_a_child_too() {
    let [left, _] = pair_of("aes256gcm16-prfsha256-curve25519", "aes256gcm16-ecp384-ecp256-noesn");
    let [_, right] = pair_of("aes256gcm16-prfsha256-curve25519", "aes256gcm16-ecp256-noesn");
    let mut world = up(World::new(1).peers([left, right]));
    let child = world.left().children().next().unwrap().id;
    world.command(LEFT, |endpoint, now| endpoint.rekey_child(now, child)).unwrap();
    world.run_until_quiet(MINUTE);
    assert_healthy(&world, 1);
    assert_eq!(world.left().children().next().unwrap().suite.ke, Some(KeMethod::ECP_256));
}

#[test]
fn a_cookie_is_sent_back_with_everything_else_as_it_was() {
    let mut world = World::new(1);
    world.attack(|datagram, _| {
        if !is_first_request(&datagram) {
            return vec![datagram];
        }
        let header = Header::parse(&datagram.payload).unwrap();
        let body = Body::parse(header.next_payload, &datagram.payload[Header::LEN..]).unwrap();
        match body.notify(NotifyType::COOKIE) {
            Some(cookie) if cookie.data == b"a cookie" => vec![datagram],
            Some(_) => Vec::new(),
            None => vec![answer(&datagram, NotifyType::COOKIE, b"a cookie")],
        }
    });
    let world = up(world.peers(psk_pair()));
    let requests: Vec<_> = world.sent().iter().filter(|sent| sent.host == LEFT).take(2).collect();
    let chain = |index: usize| &requests[index].payload[Header::LEN..];
    let cookie = 8 + b"a cookie".len();
    assert_eq!(chain(1)[cookie..], *chain(0), "the cookie comes first, then the same payloads");
    assert_eq!(header(requests[0]).spi_i, header(requests[1]).spi_i);
}

#[test]
fn forged_answers_in_the_clear_do_not_stop_a_connection() {
    for (kind, data) in [
        (NotifyType::NO_PROPOSAL_CHOSEN, b"".as_slice()),
        (NotifyType::INVALID_KE_PAYLOAD, b"\0\x01"),
        (NotifyType::INVALID_KE_PAYLOAD, b"\0\x1f"),
        (NotifyType::INVALID_KE_PAYLOAD, b"\0"),
        (NotifyType::AUTHENTICATION_FAILED, b""),
        (NotifyType::INVALID_SYNTAX, b""),
        (NotifyType::COOKIE, b""),
    ] {
        let mut world = World::new(1);
        world.attack(move |datagram, _| {
            if is_first_request(&datagram) {
                return vec![answer(&datagram, kind, data), datagram];
            }
            vec![datagram]
        });
        let mut world = world.peers(psk_pair());
        let took = world.run_until(World::both_up, MINUTE);
        assert!(took < Duration::from_secs(3), "{kind} cost {took:?}");
        world.assert_mirrored();
    }
}

/// AUTH covers the request that the responder answered, and after a cookie there are two that it may have answered
/// (RFC 7296 §2.6). A forged cookie therefore costs the attempt, but not the next one.
#[test]
fn a_forged_cookie_costs_one_attempt() {
    let mut world = World::new(1);
    let mut forged = false;
    world.attack(move |datagram, _| {
        if is_first_request(&datagram) && !std::mem::replace(&mut forged, true) {
            return vec![answer(&datagram, NotifyType::COOKIE, b"forged"), datagram];
        }
        vec![datagram]
    });
    let mut world = world.peers(psk_pair());
    let took = world.run_until(World::both_up, MINUTE);
    assert!(took < Duration::from_secs(3), "{took:?}");
    world.assert_mirrored();
}

#[test]
fn no_common_ike_proposal_is_told_on_both_sides() {
    let [left, _] = pair_of("aes256gcm16-prfsha384-ecp384", "aes256gcm16");
    let [_, right] = pair_of("aes128-sha256-modp2048", "aes256gcm16");
    let mut world = World::new(1).peers([left, right]);
    world.run_for(MINUTE);
    assert!(world.all_down());
    let reason = world.left().events.iter().find_map(|(_, event)| match event {
        Event::PeerDown { reason, .. } => Some(reason),
        _ => None,
    });
    assert!(matches!(reason, Some(CloseReason::IkeProposalMismatch { .. })), "{reason:?}");
    let refused = world.right().events.iter().find_map(|(_, event)| match event {
        Event::Refused { reason, path, .. } => Some((reason, path)),
        _ => None,
    });
    let Some((CloseReason::IkeProposalMismatch { ours, theirs }, path)) = refused else {
        panic!("{}", world.report())
    };
    assert_eq!(ours[0].to_string(), "aes128-sha256-modp2048");
    assert_eq!(theirs[0].to_string(), "aes256gcm16-prfsha384-ecp384");
    assert_eq!(path.remote, SocketAddr::new(testkit::world::LEFT_ADDRESS, 500));
}

/// The right host's child has other algorithms or selectors: the IKE SA stands, the child does not.
fn child_failure(change: impl Fn(&mut ikev2::ChildConfig)) -> (CloseReason, World) {
    let [left, mut right] = psk_pair();
    change(&mut right.children[0]);
    let mut world = World::new(1).peers([left, right]);
    world.run_for(MINUTE);
    assert_eq!((world.left().up.len(), world.right().up.len()), (1, 1), "{}", world.report());
    assert_eq!((world.left().child_count(), world.right().child_count()), (0, 0));
    let reason = world.left().events.iter().find_map(|(_, event)| match event {
        Event::ChildFailed { reason, config: 0, .. } => Some(reason.clone()),
        _ => None,
    });
    (reason.unwrap_or_else(|| panic!("{}", world.report())), world)
}

#[test]
fn no_common_esp_proposal_leaves_the_ike_sa_up() {
    let proposals = pair_of("aes256gcm16-prfsha256-curve25519", "aes128-sha512")[0].children[0]
        .proposals
        .clone();
    let (reason, world) = child_failure(|child| child.proposals = proposals.clone());
    assert!(matches!(reason, CloseReason::ChildProposalMismatch { .. }), "{reason:?}");
    assert!(!world.host(RIGHT).up.is_empty());
}

#[test]
fn no_common_selectors_leave_the_ike_sa_up() {
    let (reason, _) = child_failure(|child| child.local = vec![subnet(9)]);
    let CloseReason::SelectorMismatch { ours, theirs } = reason else { panic!("{reason:?}") };
    assert_eq!(ours.to_string(), "10.1.0.0/16 <-> 10.2.0.0/16");
    assert!(theirs.is_empty(), "the peer does not say");
}

#[test]
fn a_responder_keeps_its_spi_to_itself_until_it_takes_part() {
    let [left, _] = pair_of("aes256gcm16-prfsha256-ecp384-curve25519", "aes256gcm16-noesn");
    let [_, right] = pair_of("aes256gcm16-prfsha256-curve25519", "aes256gcm16-noesn");
    let world = up(World::new(1).peers([left, right]));
    assert_eq!(header(&world.sent()[1]).spi_r, IkeSpi::ZERO, "INVALID_KE_PAYLOAD keeps no state");
}

/// An attacker who forges INVALID_KE_PAYLOAD makes the initiator try its weaker group; the responder insists on the one
/// that both prefer (RFC 7296 §1.2).
#[test]
fn a_forged_invalid_ke_payload_does_not_weaken_the_key_exchange() {
    let ike = "aes256gcm16-prfsha256-ecp384-modp2048";
    let mut world = World::new(1);
    let mut forged = false;
    world.attack(move |datagram, _| {
        if is_first_request(&datagram) && !std::mem::replace(&mut forged, true) {
            let weaker = KeMethod::MODP_2048.0.to_be_bytes();
            return vec![answer(&datagram, NotifyType::INVALID_KE_PAYLOAD, &weaker)];
        }
        vec![datagram]
    });
    let world = up(world.peers(pair_of(ike, "aes256gcm16-noesn")));
    assert_eq!(world.left().up.values().next().unwrap().suite.ke, KeMethod::ECP_384);
}
