//! What ends an IKE SA though both sides live (RFC 7296 §2.21.3, §2.25, §4), and what an answer lists (§2.7).

use super::super::*;
use crate::registry::{IntegId, KeMethod};
use crate::wire::proposal::Transform;

const INFORMATIONAL: ExchangeType = ExchangeType::INFORMATIONAL;
const CREATE_CHILD_SA: ExchangeType = ExchangeType::CREATE_CHILD_SA;

/// Lets time pass while B refuses every CREATE_CHILD_SA with `kind`; what A sent of exchange types.
pub(super) fn refuse_all(
    pair: &mut Pair,
    kind: NotifyType,
    duration: Duration,
) -> Vec<ExchangeType> {
    let end = pair.now + duration;
    let mut sent = Vec::new();
    loop {
        while let Some((from, transmit)) = pair.wire.pop_front() {
            let header = Header::parse(&transmit.payload).unwrap();
            if from == A && !header.flags.response {
                sent.push(header.exchange);
            }
            if from == A && header.exchange == CREATE_CHILD_SA && !header.flags.response {
                let id = header.message_id.0;
                let rest = std::mem::take(&mut pair.wire);
                let filler = pair.forge(A, INFORMATIONAL, (id, false), &Chain::new());
                pair.deliver(A, &filler);
                pair.wire = rest;
                let mut chain = Chain::new();
                chain.notify(kind, &[]);
                let answer = pair.forge(B, CREATE_CHILD_SA, (id, true), &chain);
                pair.deliver(B, &answer);
            } else {
                pair.deliver(from, &transmit.payload);
            }
        }
        let next = pair.ends.iter().filter_map(Endpoint::poll_timeout).map(|d| d.at).min();
        let Some(at) = next.filter(|at| *at <= end) else { break };
        pair.now = pair.now.max(at);
        for side in [A, B] {
            pair.ends[side].handle_timeout(pair.now);
        }
        pair.drain();
    }
    pair.now = end;
    sent
}

pub(super) fn long_lived_b() -> Pair {
    let mut pair = Pair::empty();
    let mut b = config(B);
    b.children[0].lifetime.time = Duration::from_hours(100);
    b.lifetime.time = Duration::from_hours(100);
    b.dpd = None;
    pair.ends[B].add_peer(pair.now, b);
    pair.ends[A].add_peer(pair.now, config(A));
    pair.drain();
    pair.settle();
    pair
}

#[test]
fn a_peer_that_grants_no_child_is_called_anew() {
    let mut pair = long_lived_b();
    let sent = refuse_all(&mut pair, NotifyType::NO_ADDITIONAL_SAS, Duration::from_hours(2));
    let inits = sent.iter().filter(|e| **e == ExchangeType::IKE_SA_INIT).count();
    let creates = sent.iter().filter(|e| **e == CREATE_CHILD_SA).count();
    let (a, b) = (pair.ends[A].children.len(), pair.ends[B].children.len());
    assert!(
        inits >= 1 && a == 1,
        "{inits} IKE_SA_INIT, {creates} CREATE_CHILD_SA, children {a} {b}"
    );
}

#[test]
fn whoever_says_invalid_syntax_ends_the_sa() {
    let mut pair = Pair::up();
    let mut proposal = Proposal::esp_from_keywords(ESP).unwrap();
    (proposal.spi, proposal.number) = (vec![0, 0, 0x12, 0x34], 1);
    let mut chain = Chain::new();
    chain.sa(&[proposal]).ts_i(&[subnet(A)]).ts_r(&[subnet(B)]);
    assert_eq!(pair.ask(A, CREATE_CHILD_SA, 2, &chain), [NotifyType::INVALID_SYNTAX]);
    assert_eq!(count(&pair.events[B], |e| matches!(e, Event::PeerDown { .. })), 1);
}

#[test]
fn temporary_failure_for_ever_ends_the_sa() {
    let mut pair = long_lived_b();
    let child = *pair.ends[A].children.keys().next().unwrap();
    pair.ends[A].rekey_child(pair.now, child).unwrap();
    pair.drain();
    let sent = refuse_all(&mut pair, NotifyType::TEMPORARY_FAILURE, Duration::from_mins(30));
    let asked = sent.iter().filter(|e| **e == CREATE_CHILD_SA).count();
    let downs = count(&pair.events[A], |e| matches!(e, Event::PeerDown { .. }));
    assert!(downs >= 1, "asked {asked} times in half an hour");
}

#[test]
fn a_type_that_is_offered_as_none_is_in_the_answer() {
    let mut pair = Pair::up();
    let mut proposal = Proposal::ike_from_keywords(IKE).unwrap();
    (proposal.spi, proposal.number) = (vec![7; 8], 1);
    proposal.transforms.push(Transform::Integ(IntegId::NONE));
    let mut point = [0; 32];
    point[0] = 9;
    let mut chain = Chain::new();
    chain.sa(&[proposal]).nonce(&[7; 32]).ke(KeMethod::CURVE25519, &point);
    let request = pair.forge(A, CREATE_CHILD_SA, (2, false), &chain);
    pair.wire.clear();
    pair.deliver(A, &request);
    let (_, answer) = pair.wire.pop_front().unwrap();
    let (sa, _) = pair.sa(A);
    let mut octets = answer.payload.to_vec();
    let authentic = sa.peek(&mut octets);
    let body = Body::parse(authentic.first, authentic.plain).unwrap();
    let transforms = &body.sa.unwrap()[0].transforms;
    assert!(transforms.contains(&Transform::Integ(IntegId::NONE)), "{transforms:?}");
}

/// RFC 7296 §2.25: put off now and then over hours, by a peer that otherwise does what we ask, is no reason to part.
#[test]
fn being_put_off_now_and_then_ends_nothing() {
    let mut pair = long_lived_b();
    for hour in 0..3 {
        let child = *pair.ends[A].children.keys().max().unwrap();
        pair.ends[A].rekey_child(pair.now, child).unwrap();
        pair.drain();
        let sent = refuse_all(&mut pair, NotifyType::TEMPORARY_FAILURE, Duration::from_secs(1));
        assert!(sent.contains(&CREATE_CHILD_SA), "{hour}");
        // The peer does it itself.
        let child = *pair.ends[B].children.keys().max().unwrap();
        pair.ends[B].rekey_child(pair.now, child).unwrap();
        pair.drain();
        pair.settle();
        pair.now += 10 * MINUTE;
        pair.settle();
    }
    assert_eq!(count(&pair.events[A], |e| matches!(e, Event::PeerDown { .. })), 0);
}
