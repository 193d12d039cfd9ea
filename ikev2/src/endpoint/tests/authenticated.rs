//! What a peer may do that is who it says it is, and means harm or is broken (RFC 7296 §2.9, §2.21.3, §2.25).

use super::*;
use crate::registry::{KeMethod, ProtocolId};

/// An offer for one more child, with these ESP keywords and selectors.
fn offer(esp: &str, nonce: &[u8], ts: (&[TrafficSelector], &[TrafficSelector])) -> Chain {
    let mut proposal = Proposal::esp_from_keywords(esp).unwrap();
    proposal.spi = vec![0, 0, 0x12, 0x34];
    proposal.number = 1;
    let mut chain = Chain::new();
    chain.sa(&[proposal]).nonce(nonce).ts_i(ts.0).ts_r(ts.1);
    chain
}

#[test]
fn only_its_own_children_can_be_deleted_and_replaced() {
    let mut pair = Pair::up();
    let mut chain = Chain::new();
    chain.delete_esp(&[0x1234, 0x5678]);
    assert_eq!(pair.ask(A, ExchangeType::INFORMATIONAL, 2, &chain), []);
    let mut chain = offer(ESP, &[7; 32], (&[subnet(A)], &[subnet(B)]));
    chain.notify_spi(ProtocolId::ESP, &[0, 0, 0x56, 0x78], NotifyType::REKEY_SA, &[]);
    let answer = pair.ask(A, ExchangeType::CREATE_CHILD_SA, 3, &chain);
    assert_eq!(answer, [NotifyType::CHILD_SA_NOT_FOUND]);
    assert_eq!(pair.ends[B].children.len(), 1);
    assert_eq!(count(&pair.events[B], |e| matches!(e, Event::ChildDown { .. })), 0);
}

#[test]
fn selectors_are_narrowed_to_what_is_configured() {
    let mut pair = Pair::up();
    let all = TrafficSelector::subnet(std::net::IpAddr::from([0, 0, 0, 0]), 0);
    let chain = offer(ESP, &[7; 32], (&[all], &[all]));
    assert_eq!(pair.ask(A, ExchangeType::CREATE_CHILD_SA, 2, &chain), []);
    let Some(Event::ChildUp { child, .. }) = pair.events[B].last() else {
        panic!("{:?}", pair.events[B])
    };
    assert_eq!((&*child.local_ts, &*child.remote_ts), (&[subnet(B)][..], &[subnet(A)][..]));
    let elsewhere = TrafficSelector::subnet(std::net::IpAddr::from([172, 16, 0, 0]), 12);
    let chain = offer(ESP, &[7; 32], (&[elsewhere], &[all]));
    let answer = pair.ask(A, ExchangeType::CREATE_CHILD_SA, 3, &chain);
    assert_eq!(answer, [NotifyType::TS_UNACCEPTABLE]);
}

/// RFC 6989 §2.5: INVALID_SYNTAX, and the IKE SA goes.
#[test]
fn a_public_value_of_the_wrong_size_ends_the_sa() {
    for len in [0, 1, 31, 33, 65, 1000] {
        let mut pair = Pair::up();
        let mut proposal = Proposal::ike_from_keywords(IKE).unwrap();
        proposal.spi = vec![7; 8];
        proposal.number = 1;
        let mut chain = Chain::new();
        chain.sa(&[proposal]).nonce(&[7; 32]).ke(KeMethod::CURVE25519, &vec![9; len]);
        pair.wire.clear();
        let request = pair.forge(A, ExchangeType::CREATE_CHILD_SA, (2, false), &chain);
        pair.deliver(A, &request);
        let (_, answer) = pair.wire.pop_front().unwrap();
        assert_eq!(pair.open(A, &answer.payload), [NotifyType::INVALID_SYNTAX], "{len}");
        assert!(pair.ends[B].children.is_empty() && pair.wire.is_empty(), "{len}");
    }
}

/// RFC 7296 §2.21.3: an authentic message that breaks the syntax ends the SA. §3.9: a nonce has 16 to 256 octets.
#[test]
fn a_nonce_that_is_too_short_ends_the_sa() {
    let mut pair = Pair::up();
    let chain = offer(ESP, &[7; 15], (&[subnet(A)], &[subnet(B)]));
    pair.wire.clear();
    let request = pair.forge(A, ExchangeType::CREATE_CHILD_SA, (2, false), &chain);
    pair.deliver(A, &request);
    let (_, answer) = pair.wire.pop_front().unwrap();
    assert_eq!(pair.open(A, &answer.payload), [NotifyType::INVALID_SYNTAX]);
    assert!(pair.ends[B].children.is_empty());
    assert_eq!(count(&pair.events[B], |e| matches!(e, Event::PeerDown { .. })), 1);
}

#[test]
fn a_thousand_notifications_are_passed_over() {
    let mut pair = Pair::up();
    let mut chain = Chain::new();
    for kind in 0..1000 {
        chain.notify(NotifyType(40_000 + kind), &[7; 20]);
    }
    assert_eq!(pair.ask(A, ExchangeType::INFORMATIONAL, 2, &chain), []);
    assert_eq!(pair.ends[B].children.len(), 1);
}

/// A peer that asks for one group, then for the other, and so on, is not followed for ever.
#[test]
fn invalid_ke_payload_is_followed_once() {
    let mut pair = Pair::empty();
    for end in [B, A] {
        let mut config = config(end);
        let both = "aes256gcm16-prfsha256-curve25519-ecp256";
        config.proposals = vec![Proposal::ike_from_keywords(both).unwrap()];
        pair.ends[end].add_peer(pair.now, config);
    }
    pair.drain();
    pair.settle();
    pair.ends[A].rekey_ike(pair.now, PeerId(0)).unwrap();
    pair.drain();
    for (id, method) in [(2, KeMethod::ECP_256), (3, KeMethod::CURVE25519)] {
        let (_, request) = pair.wire.pop_front().expect("a request");
        assert_eq!(Header::parse(&request.payload).unwrap().message_id, MessageId(id));
        let mut chain = Chain::new();
        chain.notify(NotifyType::INVALID_KE_PAYLOAD, &method.0.to_be_bytes());
        let answer = pair.forge(B, ExchangeType::CREATE_CHILD_SA, (id, true), &chain);
        pair.deliver(B, &answer);
    }
    assert!(pair.wire.is_empty(), "{:?}", pair.wire);
    assert_eq!(pair.ends[A].children.len(), 1);
}

/// RFC 7296 §2.11: an answer goes where its request came from, and so does its repetition.
#[test]
fn an_answer_goes_where_the_request_came_from() {
    let mut pair = Pair::up();
    pair.wire.clear();
    let request = pair.forge(A, ExchangeType::INFORMATIONAL, (2, false), &Chain::new());
    for port in [4500, 4501, 4502] {
        let mut remote = address(A);
        remote.set_port(port);
        let path = Path { local: address(B), remote };
        pair.ends[B].handle_datagram(pair.now, path, &mut request.clone());
        pair.drain();
        let (_, answer) = pair.wire.pop_front().unwrap();
        assert_eq!(answer.path, path);
    }
}
