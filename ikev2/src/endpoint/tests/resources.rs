//! A child for each resource (RFC 9611), letter by letter: what SA_RESOURCE_INFO looks like and where it is said, and what
//! any refusal of a further child, or an odd answer, comes to.

use super::letter::{children, newest_child, read};
use super::*;
use crate::registry::ProtocolId;
use crate::wire::selector::TrafficSelector;

/// A has so many resources, B one; both know of RFC 9611.
fn begun(resources: u32) -> Pair {
    let mut pair = Pair::empty();
    for end in [B, A] {
        let mut peer = config(end);
        peer.children[0].resources = if end == A { resources } else { 1 };
        pair.ends[end].add_peer(pair.now, peer);
    }
    pair.drain();
    pair
}

/// The same after IKE_AUTH: A's request for the next child is on the wire, and comes back.
fn asking(resources: u32) -> (Pair, Vec<u8>) {
    let mut pair = begun(resources);
    for _ in 0..4 {
        assert_eq!(pair.pass(), Disposition::Accepted);
    }
    let (from, request) = pair.wire.pop_front().expect("a request");
    assert_eq!((from, pair.wire.len()), (A, 0));
    (pair, request.payload.to_vec())
}

fn info(body: &Body<'_>) -> Option<(ProtocolId, Vec<u8>, Vec<u8>)> {
    let notify = body.notify(NotifyType::SA_RESOURCE_INFO)?;
    Some((notify.protocol, notify.spi.to_vec(), notify.data.to_vec()))
}

/// RFC 9611 §5.1: no protocol, no SPI, and what follows is up to the sender; it is 16444, or 0x403c. §3: the first child
/// says it in IKE_AUTH, both ways.
#[test]
fn the_notification_is_as_it_should_be() {
    let mut pair = begun(3);
    let nothing = Some((ProtocolId::NONE, Vec::new(), Vec::new()));
    for _ in 0..2 {
        assert_eq!(pair.pass(), Disposition::Accepted);
    }
    for reader in [B, A] {
        let (_, sent) = pair.wire.front().expect("IKE_AUTH").clone();
        assert_eq!(read(&mut pair, reader, &sent.payload, info), nothing);
        assert_eq!(pair.pass(), Disposition::Accepted);
    }
    let (mut pair, request) = asking(3);
    let wire = read(&mut pair, B, &request, |body| {
        let notify = info(body);
        assert!(body.notify(NotifyType::REKEY_SA).is_none());
        assert_eq!(body.ts_i.as_deref(), Some(&[subnet(A)][..]), "as the first (RFC 9611 §3)");
        assert_eq!(body.ts_r.as_deref(), Some(&[subnet(B)][..]));
        notify
    });
    let (protocol, spi, data) = wire.expect("SA_RESOURCE_INFO");
    assert_eq!((protocol, spi.len(), data.len()), (ProtocolId::NONE, 0, 4));
    let mut chain = Chain::new();
    chain.notify(NotifyType::SA_RESOURCE_INFO, &[0, 0, 0, 2]);
    chain.notify(NotifyType::TS_MAX_QUEUE, &[]);
    let octets = message(Header::parse(&request).unwrap(), &chain);
    let expected = [41, 0, 0, 12, 0, 0, 0x40, 0x3c, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0, 0, 48];
    assert_eq!(octets[Header::LEN..], expected);
}

/// A cluster whose other member takes over (RFC 6311) is asked for the same again, not for an ordinary child.
#[test]
fn a_failover_of_the_peer_does_not_cost_a_child_for_a_resource() {
    let (mut pair, _lost) = asking(3);
    let mut chain = Chain::new();
    chain.notify(NotifyType::IKEV2_MESSAGE_ID_SYNC, &[9, 9, 9, 9, 0, 0, 0, 7, 0, 0, 0, 9]);
    let sync = pair.forge(B, ExchangeType::INFORMATIONAL, (0, false), &chain);
    assert_eq!(pair.deliver(B, &sync), Disposition::Accepted);
    let (_, answer) = pair.wire.pop_front().expect("the answer");
    assert!(Header::parse(&answer.payload).unwrap().flags.response);
    let (_, delete) = pair.wire.pop_front().expect("a DELETE of what may have been granted");
    let spis = |body: &Body<'_>| body.deletes.iter().map(|delete| delete.spis.len()).sum::<usize>();
    assert_eq!(read(&mut pair, B, &delete.payload, spis), 1);
    let answer = pair.forge(B, ExchangeType::INFORMATIONAL, (9, true), &Chain::new());
    assert_eq!(pair.deliver(B, &answer), Disposition::Accepted);
    let (_, again) = pair.wire.pop_back().expect("the request once more");
    assert_eq!(Header::parse(&again.payload).unwrap().message_id, MessageId(10));
    assert!(read(&mut pair, B, &again.payload, info).is_some());
}

/// A's request is answered with `chain` instead of what B would say.
fn answered(chain: &Chain) -> Pair {
    let (mut pair, _request) = asking(3);
    // Another request of that number takes its place at B, which then knows what comes next.
    pair.ask(A, ExchangeType::INFORMATIONAL, 2, &Chain::new());
    let answer = pair.forge(B, ExchangeType::CREATE_CHILD_SA, (2, true), chain);
    assert_eq!(pair.deliver(B, &answer), Disposition::Accepted);
    pair
}

fn enough(pair: &Pair) -> Vec<(usize, u32, CloseReason)> {
    let told = pair.events[A].iter().filter_map(|event| {
        let Event::EnoughChildren { children, wanted, reason, .. } = event else { return None };
        Some((*children, *wanted, reason.clone()))
    });
    told.collect()
}

fn ups(pair: &Pair) -> usize {
    count(&pair.events[A], |event| matches!(event, Event::ChildUp { .. }))
}

#[test]
fn whatever_the_refusal_is_no_more_is_asked_and_nothing_ends() {
    for notify in [
        NotifyType::TS_MAX_QUEUE,
        NotifyType::NO_ADDITIONAL_SAS,
        NotifyType::TS_UNACCEPTABLE,
        NotifyType::NO_PROPOSAL_CHOSEN,
        NotifyType::SINGLE_PAIR_REQUIRED,
        NotifyType::CHILD_SA_NOT_FOUND,
        NotifyType(8191),
    ] {
        let mut chain = Chain::new();
        chain.notify(notify, &[]);
        let mut pair = answered(&chain);
        assert!(pair.wire.is_empty(), "{notify}");
        pair.run_for(30 * MINUTE);
        let told = enough(&pair);
        assert_eq!(told.len(), 1, "{notify}");
        assert_eq!((told[0].0, told[0].1), (1, 3), "{notify}");
        assert_eq!((ups(&pair), pair.ends[A].children.len()), (1, 1), "{notify}");
        assert_eq!(pair.ends[A].shared.esp_spis.len(), 1, "{notify}");
        let ends = |event: &Event| {
            matches!(
                event,
                Event::PeerDown { .. }
                    | Event::ChildDown { .. }
                    | Event::ChildFailed { .. }
                    | Event::Connecting { attempt: 2.., .. }
            )
        };
        assert_eq!(count(&pair.events[A], ends), 0, "{notify}");
    }
}

/// RFC 7296 §2.25: later, and without giving the IKE SA up if that goes on for long.
#[test]
fn a_peer_that_is_busy_is_asked_again() {
    let mut chain = Chain::new();
    chain.notify(NotifyType::TEMPORARY_FAILURE, &[]);
    let mut pair = answered(&chain);
    assert!(pair.wire.is_empty(), "not at once");
    pair.run_for(MINUTE);
    assert_eq!((ups(&pair), pair.ends[A].children.len()), (3, 3));
    assert!(enough(&pair).is_empty());
}

/// An offer for a further child, as an answer or as a request.
fn further(spi: u32, esp: &str, ts: (&[TrafficSelector], &[TrafficSelector])) -> Chain {
    let mut proposal = Proposal::esp_from_keywords(esp).unwrap();
    proposal.spi = spi.to_be_bytes().to_vec();
    proposal.number = 1;
    let mut chain = Chain::new();
    chain.sa(&[proposal]).nonce(&[7; 32]).ts_i(ts.0).ts_r(ts.1);
    chain
}

/// A peer that takes an ordinary child for it: it serves as well. One that cuts selectors off is not what was agreed (RFC
/// 9611 §3): it is deleted, and no more is asked.
#[test]
fn an_answer_without_the_notification_will_do_but_not_one_with_less() {
    let pair = answered(&further(4711, ESP, (&[subnet(A)], &[subnet(B)])));
    let child = children(&pair, A).next_back().unwrap();
    assert_eq!((child.spi_out.0.get(), child.resource), (4711, true));
    let (_, next) = pair.wire.front().expect("the next one is asked for");
    assert_eq!(Header::parse(&next.payload).unwrap().exchange, ExchangeType::CREATE_CHILD_SA);
    let less = TrafficSelector::subnet(subnet(A).start, 24);
    let mut pair = answered(&further(4711, ESP, (&[less], &[subnet(B)])));
    assert_eq!(ups(&pair), 1);
    let (_, next) = pair.wire.front().expect("a DELETE").clone();
    assert!(read(&mut pair, B, &next.payload, |body| !body.deletes.is_empty()));
    assert_eq!(enough(&pair).len(), 1);
}

/// The peer's request for a further child at A, with a notification or without.
fn asked(pair: &mut Pair, id: u32, spi: u32, (esp, noted): (&str, bool)) -> Vec<NotifyType> {
    let mut chain = further(spi, esp, (&[subnet(A)], &[subnet(B)]));
    if noted {
        chain.notify(NotifyType::SA_RESOURCE_INFO, b"whatever");
    }
    pair.ask(A, ExchangeType::CREATE_CHILD_SA, id, &chain)
}

/// RFC 9611 §6: MUST NOT be NO_ADDITIONAL_SAS, which would be said of other selectors too.
#[test]
fn more_than_allowed_is_refused_with_ts_max_queue() {
    for most in [1, 2, 5] {
        let mut pair = Pair::empty();
        for end in [B, A] {
            let mut peer = config(end);
            peer.children[0].most_for_resources = most;
            pair.ends[end].add_peer(pair.now, peer);
        }
        pair.drain();
        pair.settle();
        for id in 0..10 {
            let said = asked(&mut pair, 2 + id, 1000 + id, (ESP, true));
            let expected = if id + 1 < most {
                vec![NotifyType::SA_RESOURCE_INFO]
            } else {
                vec![NotifyType::TS_MAX_QUEUE]
            };
            assert_eq!(said, expected, "{most} {id}");
        }
        assert_eq!(pair.ends[B].children.len(), usize::try_from(most).unwrap());
        let refused = |event: &Event| matches!(event, Event::Refused { .. });
        assert_eq!(count(&pair.events[B], refused), 0, "that is no trouble");
        // Without the notification it is an ordinary child, of which there may be eight.
        assert_eq!(asked(&mut pair, 12, 2000, (ESP, false)), []);
    }
}

/// RFC 9611 §3: what is asked for is the suite of the first one alone, though more is configured.
#[test]
fn no_other_algorithms_than_those_of_the_first_are_offered() {
    let mut pair = Pair::empty();
    for end in [B, A] {
        let mut peer = config(end);
        let words = if end == A { "aes128gcm16-aes256gcm16-esn-noesn" } else { ESP };
        peer.children[0].proposals = vec![Proposal::esp_from_keywords(words).unwrap()];
        peer.children[0].resources = if end == A { 2 } else { 1 };
        pair.ends[end].add_peer(pair.now, peer);
    }
    pair.drain();
    for _ in 0..4 {
        assert_eq!(pair.pass(), Disposition::Accepted);
    }
    let first = children(&pair, A).next().unwrap().suite;
    let (_, request) = pair.wire.pop_front().expect("a request");
    let offered = read(&mut pair, B, &request.payload, |body| body.sa.clone().unwrap());
    assert_eq!(offered.len(), 1);
    let suite = crate::crypto::suite::ChildSuite::from_transforms(&offered[0].transforms);
    assert_eq!(suite, Some(first), "one transform of each type, and those");
}

/// RFC 9611 §3: all of them have the algorithms of the first one.
#[test]
fn other_algorithms_than_those_of_the_first_are_refused() {
    let mut pair = Pair::empty();
    for end in [B, A] {
        let mut peer = config(end);
        peer.children[0].proposals =
            vec![Proposal::esp_from_keywords("aes256gcm16-aes128gcm16-noesn").unwrap()];
        pair.ends[end].add_peer(pair.now, peer);
    }
    pair.drain();
    pair.settle();
    let mut said = |id, esp| asked(&mut pair, id, 1000 + id, (esp, true));
    assert_eq!(said(2, "aes128gcm16-noesn"), [NotifyType::NO_PROPOSAL_CHOSEN]);
    assert_eq!(said(3, "aes128gcm16-aes256gcm16-noesn"), [NotifyType::SA_RESOURCE_INFO]);
    let suites: Vec<u16> = children(&pair, B).map(|child| child.suite.key_bits).collect();
    assert_eq!(suites, [256, 256]);
}

/// The peer deletes them as fast as it can: each is gone at once, and none is asked for again before the fallback is replaced.
#[test]
fn what_the_peer_deletes_does_not_come_back_at_once() {
    let mut pair = begun(3);
    pair.settle();
    assert_eq!(pair.ends[A].children.len(), 3);
    let further: Vec<ChildId> =
        children(&pair, B).filter(|child| child.resource).map(|child| child.id).collect();
    for child in further {
        pair.ends[B].expire_child(pair.now, child).unwrap();
        pair.drain();
        pair.settle();
    }
    assert_eq!((pair.ends[A].children.len(), ups(&pair)), (1, 3));
    pair.run_for(20 * MINUTE);
    assert_eq!((pair.ends[A].children.len(), ups(&pair)), (1, 3));
    let fallback = newest_child(&pair, B);
    assert!(!pair.ends[B].children.contains_key(&fallback));
    let fallback = *pair.ends[B].children.keys().next().unwrap();
    pair.ends[B].rekey_child(pair.now, fallback).unwrap();
    pair.drain();
    pair.settle();
    assert_eq!((pair.ends[A].children.len(), ups(&pair)), (3, 6));
}
