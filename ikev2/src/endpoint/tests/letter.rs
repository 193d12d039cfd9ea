//! What RFC 7296 demands word for word and no scenario shows: fields, order of payloads, and who waits for whom when
//! exchanges cross (§2.25). Cited by `docs/conformance.md`.

use super::*;
use crate::registry::{KeMethod, ProtocolId};
use crate::wire::message::Payloads;
use crate::wire::proposal::Transform;

const INFORMATIONAL: ExchangeType = ExchangeType::INFORMATIONAL;
const CREATE_CHILD_SA: ExchangeType = ExchangeType::CREATE_CHILD_SA;

/// What `end` reads in a protected message.
fn read<T>(pair: &mut Pair, end: usize, payload: &[u8], look: impl FnOnce(&Body<'_>) -> T) -> T {
    let (sa, _) = pair.sa(end);
    let mut octets = payload.to_vec();
    let authentic = sa.peek(&mut octets);
    look(&Body::parse(authentic.first, authentic.plain).unwrap())
}

/// An offer for a child, in any case of CREATE_CHILD_SA.
fn child_offer(chain: &mut Chain, esp: &str, ts: (&[TrafficSelector], &[TrafficSelector])) {
    let mut proposal = Proposal::esp_from_keywords(esp).unwrap();
    proposal.spi = vec![0, 0, 0x12, 0x34];
    proposal.number = 1;
    chain.sa(&[proposal]).nonce(&[7; 32]).ts_i(ts.0).ts_r(ts.1);
}

fn ike_offer(ike: &str) -> Chain {
    let mut proposal = Proposal::ike_from_keywords(ike).unwrap();
    proposal.spi = vec![7; 8];
    proposal.number = 1;
    let mut chain = Chain::new();
    chain.sa(&[proposal]).nonce(&[7; 32]);
    chain
}

/// The SPI on which `end` receives, of its newest child.
fn spi_in(pair: &Pair, end: usize) -> u32 {
    let up = |event: &Event| match event {
        Event::ChildUp { child, .. } => Some(child.spi_in.0.get()),
        _ => None,
    };
    pair.events[end].iter().rev().find_map(up).expect("a child")
}

fn newest_child(pair: &Pair, end: usize) -> ChildId {
    let up = |event: &Event| match event {
        Event::ChildUp { child, .. } => Some(child.id),
        _ => None,
    };
    pair.events[end].iter().rev().find_map(up).expect("a child")
}

/// Begins something at `end` and gives the request that it sends, without delivering it.
fn begin(pair: &mut Pair, end: usize, act: impl FnOnce(&mut Endpoint, Instant)) -> Vec<u8> {
    pair.wire.clear();
    act(&mut pair.ends[end], pair.now);
    pair.drain();
    let (from, request) = pair.wire.pop_front().expect("a request");
    assert_eq!(from, end);
    request.payload.to_vec()
}

/// Hands a request of `from` over and gives the answer.
fn answer_to(pair: &mut Pair, from: usize, request: &[u8]) -> Vec<u8> {
    pair.wire.clear();
    assert_eq!(pair.deliver(from, request), Disposition::Accepted);
    let (_, answer) = pair.wire.pop_front().expect("an answer");
    answer.payload.to_vec()
}

/// An IKE_SA_INIT message with its payloads changed.
fn rebuilt(octets: &[u8], change: impl FnOnce(&mut Vec<(PayloadType, u8, Vec<u8>)>)) -> Vec<u8> {
    let header = Header::parse(octets).unwrap();
    let mut payloads: Vec<_> = Payloads::new(header.next_payload, &octets[Header::LEN..])
        .map(|payload| payload.map(|p| (p.kind, 0, p.body.to_vec())).unwrap())
        .collect();
    change(&mut payloads);
    let mut body = Vec::new();
    for (index, (_, flags, content)) in payloads.iter().enumerate() {
        let next = payloads.get(index + 1).map_or(PayloadType::NONE, |next| next.0);
        let len = u16::try_from(content.len() + 4).unwrap().to_be_bytes();
        body.extend_from_slice(&[next.0, *flags, len[0], len[1]]);
        body.extend_from_slice(content);
    }
    let len = u32::try_from(Header::LEN + body.len()).unwrap();
    let header = Header { next_payload: payloads[0].0, len, ..header };
    [header.emit().to_vec(), body].concat()
}

/// An answer of B in the clear to a request of A.
fn clear_answer(request: &[u8], chain: &Chain) -> Vec<u8> {
    let header = Header::parse(request).unwrap();
    message(Header { flags: Flags { response: true, ..Flags::default() }, ..header }, chain)
}

/// RFC 7296 §2.6.1: the cookie is kept when another group is asked for, and a responder that wants a new one gets it.
#[test]
fn a_cookie_stays_with_another_group_and_gives_way_to_a_new_one() {
    let mut pair = Pair::empty();
    let mut both = config(A);
    let words = "aes256gcm16-prfsha256-curve25519-ecp256";
    both.proposals = vec![Proposal::ike_from_keywords(words).unwrap()];
    pair.ends[A].add_peer(pair.now, both);
    pair.drain();
    let mut cookie = Chain::new();
    cookie.notify(NotifyType::COOKIE, b"first");
    let mut group = Chain::new();
    group.notify(NotifyType::INVALID_KE_PAYLOAD, &KeMethod::ECP_256.0.to_be_bytes());
    let mut again = Chain::new();
    again.notify(NotifyType::COOKIE, b"second");
    let mut seen = Vec::new();
    for answer in [&cookie, &group, &again] {
        let (_, request) = pair.wire.pop_front().expect("a request");
        pair.deliver(B, &clear_answer(&request.payload, answer));
        let (_, next) = pair.wire.back().expect("another request");
        let header = Header::parse(&next.payload).unwrap();
        let body = Body::parse(header.next_payload, &next.payload[Header::LEN..]).unwrap();
        assert_eq!(header.next_payload, PayloadType::NOTIFY, "the cookie comes first");
        assert_eq!(body.notifies[0].kind, NotifyType::COOKIE);
        assert_eq!(body.sa.as_ref().unwrap()[0].transforms.len(), 4, "the whole offer");
        seen.push((body.notifies[0].data.to_vec(), body.ke.unwrap().method));
    }
    let expected = [
        (b"first".to_vec(), KeMethod::CURVE25519),
        (b"first".to_vec(), KeMethod::ECP_256),
        (b"second".to_vec(), KeMethod::ECP_256),
    ];
    assert_eq!(seen, expected);
}

/// RFC 7296 §2.5: no message is refused for the order of its payloads.
#[test]
fn payloads_are_taken_in_any_order() {
    let mut pair = Pair::new();
    let (_, request) = pair.wire.pop_front().unwrap();
    let reversed = rebuilt(&request.payload, |payloads| payloads.reverse());
    let answer = answer_to(&mut pair, A, &reversed);
    assert!(notifies(&answer).iter().all(|kind| !kind.is_error()));
    let mut pair = Pair::up();
    let mut proposal = Proposal::esp_from_keywords(ESP).unwrap();
    (proposal.spi, proposal.number) = (vec![0, 0, 0x12, 0x34], 1);
    let mut chain = Chain::new();
    chain.ts_r(&[subnet(B)]).ts_i(&[subnet(A)]).nonce(&[7; 32]).sa(&[proposal]);
    assert_eq!(pair.ask(A, CREATE_CHILD_SA, 2, &chain), []);
    assert_eq!(pair.ends[B].children.len(), 2);
}

/// RFC 7296 §2.5, §3.1 to §3.4: a receiver looks at no reserved field and not at the minor version.
#[test]
fn reserved_fields_and_the_minor_version_are_not_looked_at() {
    let mut pair = Pair::new();
    let (_, request) = pair.wire.pop_front().unwrap();
    let mut request = rebuilt(&request.payload, |payloads| {
        for (kind, flags, body) in payloads {
            *flags = 0x7f;
            match *kind {
                // A proposal; its first transform, behind eight octets: reserved octets at 1 and 5.
                PayloadType::SA => [1, 8 + 1, 8 + 5].into_iter().for_each(|at| body[at] = 0xff),
                PayloadType::KE => body[2..4].fill(0xff),
                _ => {}
            }
        }
    });
    request[17] |= 0x0f;
    request[19] |= 0xc7;
    let answer = answer_to(&mut pair, A, &request);
    assert!(notifies(&answer).iter().all(|kind| !kind.is_error()));
    assert_eq!(pair.ends[B].sas.len(), 1);
    assert_eq!(answer[17], 0x20, "we answer with our own version");
}

/// The same within IKE_AUTH (RFC 7296 §3.5, §3.8, §3.13), where the octets are read by the same functions.
#[test]
fn reserved_fields_of_protected_payloads_are_not_looked_at() {
    let mut clean = Chain::new();
    clean.id_i(&name(A)).auth(crate::registry::AuthMethod::SHARED_KEY, &[7; 32]).ts_i(&[subnet(A)]);
    let mut octets = clean.octets().to_vec();
    let mut at = 0;
    let mut kind = clean.first();
    while kind != PayloadType::NONE {
        let (next, len) = (octets[at], u16::from_be_bytes([octets[at + 2], octets[at + 3]]));
        assert_eq!(octets[at + 1], 0, "critical bit and reserved bits are sent as zero");
        assert_eq!(octets[at + 5..at + 8], [0; 3], "{kind}: reserved octets are sent as zero");
        octets[at + 1] = 0x7f;
        octets[at + 5..at + 8].fill(0xff);
        kind = PayloadType(next);
        at += usize::from(len);
    }
    let body = Body::parse(clean.first(), &octets).unwrap();
    assert_eq!(body.id_i.unwrap().identity, name(A));
    assert_eq!(body.auth.unwrap().data, [7; 32]);
    assert_eq!(body.ts_i.unwrap(), [subnet(A)]);
}

/// RFC 7296 §3.1, §3.2, §3.3: what is reserved leaves as zero, proposals are numbered from 1.
#[test]
fn what_is_reserved_is_sent_as_zero() {
    let mut pair = Pair::empty();
    let mut two = config(A);
    let words = ["aes256gcm16-prfsha256-curve25519", "aes256-sha256-modp2048"];
    two.proposals = words.iter().map(|words| Proposal::ike_from_keywords(words).unwrap()).collect();
    pair.ends[A].add_peer(pair.now, two);
    pair.drain();
    let (_, request) = pair.wire.pop_front().unwrap();
    let octets = &request.payload;
    assert_eq!((octets[17], octets[19]), (0x20, 0x08), "version 2.0, I and nothing else");
    let mut at = Header::LEN;
    let mut kind = PayloadType(octets[16]);
    while kind != PayloadType::NONE {
        assert_eq!(octets[at + 1], 0, "{kind}: not critical, reserved bits zero");
        let body = &octets[at + 4..];
        match kind {
            PayloadType::SA => {
                assert_eq!((body[1], body[4], body[6]), (0, 1, 0), "reserved, number, SPI size");
                assert_eq!((body[8 + 1], body[8 + 5]), (0, 0), "reserved of a transform");
                let second = usize::from(u16::from_be_bytes([body[2], body[3]]));
                assert_eq!((body[second + 1], body[second + 4]), (0, 2));
            }
            PayloadType::KE => assert_eq!(body[2..4], [0, 0]),
            PayloadType::NOTIFY => assert_eq!(body[..2], [0, 0], "no protocol, no SPI"),
            _ => {}
        }
        kind = PayloadType(octets[at]);
        at += usize::from(u16::from_be_bytes([octets[at + 2], octets[at + 3]]));
    }
    assert_eq!(at, octets.len());
}

/// RFC 7296 §2.8.2, §2.25.2: A has replaced the IKE SA before B's own request for that reaches it.
#[test]
fn a_rekey_of_an_ike_sa_that_is_replaced_already_is_put_off() {
    let mut pair = Pair::up();
    for end in [A, B] {
        pair.ends[end].rekey_ike(pair.now, PeerId(0)).unwrap();
    }
    pair.drain();
    let (_, ours) = pair.wire.pop_front().unwrap();
    let (_, late) = pair.wire.pop_front().unwrap();
    let answer = answer_to(&mut pair, A, &ours.payload);
    pair.deliver(B, &answer);
    let refusal = answer_to(&mut pair, B, &late.payload);
    assert_eq!(pair.open(B, &refusal), [NotifyType::TEMPORARY_FAILURE]);
    pair.deliver(A, &refusal);
    pair.settle();
    pair.run_for(MINUTE);
    assert_eq!((pair.ends[A].children.len(), pair.ends[B].children.len()), (1, 1));
    let downs = |end: usize| count(&pair.events[end], |e| matches!(e, Event::PeerDown { .. }));
    assert_eq!((downs(A), downs(B)), (0, 0));
}

/// RFC 7296 §2.25: whoever hears CHILD_SA_NOT_FOUND takes its half out without a word and asks for a new child.
#[test]
fn a_child_that_the_peer_does_not_know_is_made_anew() {
    let mut pair = Pair::up();
    let (child, spi) = (newest_child(&pair, A), spi_in(&pair, A));
    let request = begin(&mut pair, A, |end, now| end.rekey_child(now, child).unwrap());
    let named = read(&mut pair, B, &request, |body| {
        let rekey = body.notify(NotifyType::REKEY_SA).expect("RFC 7296 §1.3.3");
        (rekey.protocol, rekey.spi.to_vec())
    });
    assert_eq!(named, (ProtocolId::ESP, spi.to_be_bytes().to_vec()));
    // Another request of that number takes its place at B, which then knows what comes next.
    pair.ask(A, INFORMATIONAL, 2, &Chain::new());
    let mut chain = Chain::new();
    chain.notify_spi(ProtocolId::ESP, &named.1, NotifyType::CHILD_SA_NOT_FOUND, &[]);
    let answer = pair.forge(B, CREATE_CHILD_SA, (2, true), &chain);
    pair.deliver(B, &answer);
    let gone = |e: &Event| matches!(e, Event::ChildDown { child: gone, .. } if *gone == child);
    assert_eq!(count(&pair.events[A], gone), 1);
    let (_, next) = pair.wire.pop_front().expect("a request for a new one");
    let fresh = read(&mut pair, B, &next.payload, |body| {
        body.deletes.is_empty() && body.sa.is_some() && body.notify(NotifyType::REKEY_SA).is_none()
    });
    assert!(fresh, "no DELETE, no REKEY_SA");
    pair.deliver(A, &next.payload);
    pair.settle();
    assert_eq!(pair.ends[A].children.len(), 1);
}

/// RFC 7296 §2.25: TEMPORARY_FAILURE is not answered by asking again at once.
#[test]
fn a_refused_request_waits_after_temporary_failure() {
    let mut pair = Pair::up();
    let child = newest_child(&pair, A);
    let _request = begin(&mut pair, A, |end, now| end.rekey_child(now, child).unwrap());
    pair.ask(A, INFORMATIONAL, 2, &Chain::new());
    let mut chain = Chain::new();
    chain.notify(NotifyType::TEMPORARY_FAILURE, &[]);
    let answer = pair.forge(B, CREATE_CHILD_SA, (2, true), &chain);
    pair.deliver(B, &answer);
    assert!(pair.wire.is_empty(), "not at once");
    pair.run_for(Duration::from_secs(1));
    assert_eq!(newest_child(&pair, A), child, "nor within a second");
    pair.run_for(Duration::from_secs(5));
    assert_ne!(newest_child(&pair, A), child, "but a little later");
}

/// RFC 7296 §1.4.1, §2.25.1: of crossing deletes neither answer names the SA again.
#[test]
fn crossing_deletes_of_a_child_are_answered_without_delete() {
    let mut pair = Pair::up();
    let spis = [A, B].map(|end| spi_in(&pair, end));
    let deletes = [A, B].map(|end| {
        let child = newest_child(&pair, end);
        begin(&mut pair, end, |endpoint, now| {
            let spi = *endpoint.children.get(&child).unwrap();
            let Endpoint { sas, shared, .. } = endpoint;
            sas.get_mut(&spi).unwrap().expire_child(child, &mut Cx { now, shared });
        })
    });
    for (end, spi) in [A, B].into_iter().zip(spis) {
        let deleted = read(&mut pair, B - end, &deletes[end], |body| body.deletes[0].spis.clone());
        assert_eq!(deleted, [spi], "each names the SA on which it receives");
    }
    for end in [A, B] {
        let answer = answer_to(&mut pair, end, &deletes[end]);
        assert!(read(&mut pair, end, &answer, |body| body.deletes.is_empty()));
    }
}

/// RFC 7296 §1.4.1, §2.25.1, §2.25.2: a delete is answered with our half of the pair, whatever of it we are replacing.
#[test]
fn a_child_can_be_deleted_while_it_or_the_ike_sa_is_replaced() {
    for ike in [false, true] {
        let mut pair = Pair::up();
        let child = newest_child(&pair, B);
        let _request = begin(&mut pair, B, |end, now| {
            if ike { end.rekey_ike(now, PeerId(0)) } else { end.rekey_child(now, child) }.unwrap();
        });
        let (theirs, ours) = (spi_in(&pair, A), spi_in(&pair, B));
        let mut chain = Chain::new();
        chain.delete_esp(&[theirs]);
        let request = pair.forge(A, INFORMATIONAL, (2, false), &chain);
        let answer = answer_to(&mut pair, A, &request);
        let deleted = read(&mut pair, A, &answer, |body| body.deletes[0].spis.clone());
        assert_eq!(deleted, [ours]);
        assert_eq!(count(&pair.events[B], |e| matches!(e, Event::ChildDown { .. })), 1);
        chain = Chain::new();
        chain.delete_esp(&[theirs]);
        let request = pair.forge(A, INFORMATIONAL, (3, false), &chain);
        let answer = answer_to(&mut pair, A, &request);
        assert!(read(&mut pair, A, &answer, |body| body.deletes.is_empty()), "not there any more");
    }
}

/// RFC 7296 §2.25.1: the IKE SA is not replaced while a child of it is being made, replaced or deleted.
#[test]
fn an_ike_rekey_waits_for_exchanges_about_children() {
    type Act = fn(&mut Endpoint, Instant, ChildId);
    let acts: [Act; 2] = [
        |end, now, child| end.rekey_child(now, child).unwrap(),
        |end, now, child| {
            let spi = *end.children.get(&child).unwrap();
            let Endpoint { sas, shared, .. } = end;
            sas.get_mut(&spi).unwrap().expire_child(child, &mut Cx { now, shared });
        },
    ];
    for act in acts {
        let mut pair = Pair::up();
        let child = newest_child(&pair, B);
        let _request = begin(&mut pair, B, |end, now| act(end, now, child));
        let mut chain = ike_offer(IKE);
        chain.ke(KeMethod::CURVE25519, &[9; 32]);
        assert_eq!(pair.ask(A, CREATE_CHILD_SA, 2, &chain), [NotifyType::TEMPORARY_FAILURE]);
    }
}

/// RFC 7296 §2.25.2: no child is made or replaced while the IKE SA is being replaced.
#[test]
fn new_children_wait_for_the_ike_rekey() {
    for rekey in [false, true] {
        let mut pair = Pair::up();
        let _request = begin(&mut pair, B, |end, now| end.rekey_ike(now, PeerId(0)).unwrap());
        let mut chain = Chain::new();
        if rekey {
            let spi = spi_in(&pair, A).to_be_bytes();
            chain.notify_spi(ProtocolId::ESP, &spi, NotifyType::REKEY_SA, &[]);
        }
        child_offer(&mut chain, ESP, (&[subnet(A)], &[subnet(B)]));
        assert_eq!(pair.ask(A, CREATE_CHILD_SA, 2, &chain), [NotifyType::TEMPORARY_FAILURE]);
        assert_eq!(pair.ends[B].children.len(), 1);
    }
}

/// RFC 7296 §2.25.1: a child that we are deleting is not replaced.
#[test]
fn a_child_that_is_being_deleted_is_not_replaced() {
    let mut pair = Pair::up();
    let child = newest_child(&pair, B);
    let _request = begin(&mut pair, B, |endpoint, now| {
        let spi = *endpoint.children.get(&child).unwrap();
        let Endpoint { sas, shared, .. } = endpoint;
        sas.get_mut(&spi).unwrap().expire_child(child, &mut Cx { now, shared });
    });
    let mut chain = Chain::new();
    let spi = spi_in(&pair, A).to_be_bytes();
    chain.notify_spi(ProtocolId::ESP, &spi, NotifyType::REKEY_SA, &[]);
    child_offer(&mut chain, ESP, (&[subnet(A)], &[subnet(B)]));
    assert_eq!(pair.ask(A, CREATE_CHILD_SA, 2, &chain), [NotifyType::TEMPORARY_FAILURE]);
}

/// RFC 7296 §2.25.1: the answer to a rekey of a child that is not there copies the SPI.
#[test]
fn the_child_that_is_not_there_is_named_in_the_refusal() {
    let mut pair = Pair::up();
    let mut chain = Chain::new();
    chain.notify_spi(ProtocolId::ESP, &[9, 8, 7, 6], NotifyType::REKEY_SA, &[]);
    child_offer(&mut chain, ESP, (&[subnet(A)], &[subnet(B)]));
    let request = pair.forge(A, CREATE_CHILD_SA, (2, false), &chain);
    let answer = answer_to(&mut pair, A, &request);
    let named = read(&mut pair, A, &answer, |body| {
        let notify = body.notify(NotifyType::CHILD_SA_NOT_FOUND).unwrap();
        (notify.protocol, notify.spi.to_vec())
    });
    assert_eq!(named, (ProtocolId::ESP, vec![9, 8, 7, 6]));
}

/// RFC 7296 §2.25.2: a DELETE of the IKE SA is answered while we replace or delete it, and our own request is forgotten.
#[test]
fn the_ike_sa_can_be_deleted_while_we_replace_or_delete_it() {
    for delete in [false, true] {
        let mut pair = Pair::up();
        let mut chain = Chain::new();
        chain.delete_ike();
        let request = pair.forge(A, INFORMATIONAL, (2, false), &chain);
        let _request = begin(&mut pair, B, |end, now| {
            if delete { end.disconnect(now, PeerId(0)) } else { end.rekey_ike(now, PeerId(0)) }
                .unwrap();
        });
        let answer = answer_to(&mut pair, A, &request);
        assert!(read(&mut pair, A, &answer, |body| body.deletes.is_empty()));
        assert_eq!(count(&pair.events[B], |e| matches!(e, Event::PeerDown { .. })), 1);
        for _ in 0..20 {
            pair.now += Duration::from_millis(500);
            pair.ends[B].handle_timeout(pair.now);
        }
        pair.drain();
        assert!(pair.wire.iter().all(|(from, _)| *from != B), "our request is not repeated");
    }
}

/// RFC 7296 §3.10.1: an unknown error refuses a request, but in a request it says nothing; unknown remarks never do.
#[test]
fn unknown_errors_count_in_answers_only() {
    let (error, remark) = (NotifyType(8000), NotifyType(40_000));
    let mut pair = Pair::up();
    let mut chain = Chain::new();
    chain.notify(error, &[]).notify(remark, &[]);
    assert_eq!(pair.ask(A, INFORMATIONAL, 2, &chain), []);
    child_offer(&mut chain, ESP, (&[subnet(A)], &[subnet(B)]));
    assert_eq!(pair.ask(A, CREATE_CHILD_SA, 3, &chain), []);
    assert_eq!(pair.ends[B].children.len(), 2);
    let mut pair = Pair::up();
    let child = newest_child(&pair, A);
    let _request = begin(&mut pair, A, |end, now| end.rekey_child(now, child).unwrap());
    let mut chain = Chain::new();
    chain.notify(error, &[]);
    child_offer(&mut chain, ESP, (&[subnet(A)], &[subnet(B)]));
    let answer = pair.forge(B, CREATE_CHILD_SA, (2, true), &chain);
    pair.deliver(B, &answer);
    let failed = |e: &Event| matches!(e, Event::ChildFailed { reason: CloseReason::Notified(kind), .. } if *kind == error);
    assert_eq!(count(&pair.events[A], failed), 1, "{:?}", pair.events[A]);
    assert_eq!(newest_child(&pair, A), child);
}

/// RFC 7296 §3.3.6, §3.4: where no group is chosen the KE payload is passed over, and none is sent back.
#[test]
fn a_public_value_without_a_group_is_passed_over() {
    let mut pair = Pair::up();
    let mut chain = Chain::new();
    child_offer(&mut chain, ESP, (&[subnet(A)], &[subnet(B)]));
    chain.ke(KeMethod::ECP_256, &[9; 64]);
    let request = pair.forge(A, CREATE_CHILD_SA, (2, false), &chain);
    let answer = answer_to(&mut pair, A, &request);
    assert!(read(&mut pair, A, &answer, |body| body.ke.is_none() && body.sa.is_some()));
    assert_eq!(pair.ends[B].children.len(), 2);
}

/// RFC 7296 §1.3.2, §2.18: an IKE SA is not replaced without a key exchange.
#[test]
fn an_ike_rekey_without_key_exchange_is_refused() {
    let mut pair = Pair::up();
    let mut proposal = Proposal::ike_from_keywords(IKE).unwrap();
    (proposal.spi, proposal.number) = (vec![7; 8], 1);
    for (id, none) in [(2, None), (3, Some(Transform::Ke(KeMethod::NONE)))] {
        let mut proposal = proposal.clone();
        proposal.transforms.retain(|transform| !matches!(transform, Transform::Ke(_)));
        proposal.transforms.extend(none);
        let mut chain = Chain::new();
        chain.sa(&[proposal]).nonce(&[7; 32]).ke(KeMethod::CURVE25519, &[9; 32]);
        let answer = pair.ask(A, CREATE_CHILD_SA, id, &chain);
        assert_eq!(answer, [NotifyType::NO_PROPOSAL_CHOSEN], "{none:?}");
    }
    assert_eq!(pair.ask(A, CREATE_CHILD_SA, 4, &ike_offer(IKE)), [NotifyType::INVALID_SYNTAX]);
}

/// RFC 7296 §2.9.2: a rekey that asks for more gets no less than what is in use.
#[test]
fn a_rekey_is_not_narrowed_below_what_is_in_use() {
    let mut pair = Pair::up();
    let all = TrafficSelector::subnet(std::net::IpAddr::from([0, 0, 0, 0]), 0);
    let mut chain = Chain::new();
    let spi = spi_in(&pair, A).to_be_bytes();
    chain.notify_spi(ProtocolId::ESP, &spi, NotifyType::REKEY_SA, &[]);
    child_offer(&mut chain, ESP, (&[all], &[all]));
    let request = pair.forge(A, CREATE_CHILD_SA, (2, false), &chain);
    let answer = answer_to(&mut pair, A, &request);
    let granted = read(&mut pair, A, &answer, |body| (body.ts_i.clone(), body.ts_r.clone()));
    assert_eq!(granted, (Some(vec![subnet(A)]), Some(vec![subnet(B)])));
}

/// RFC 7296 §2.8.1: the moments of rekeying are scattered, and never late.
#[test]
fn rekey_times_are_scattered() {
    let mut times = Vec::new();
    for seed in 0..20 {
        let mut pair = Pair::empty();
        pair.ends[A] = Endpoint::new(EndpointConfig::default(), [100 + seed; 32]);
        pair.ends[B].add_peer(pair.now, config(B));
        pair.ends[A].add_peer(pair.now, config(A));
        pair.drain();
        pair.settle();
        let up = |event: &Event| match event {
            Event::ChildUp { child, .. } => Some(child.rekey_at.duration_since(pair.now)),
            _ => None,
        };
        times.push(pair.events[A].iter().find_map(up).unwrap());
    }
    let hour = Duration::from_hours(1);
    assert!(times.iter().all(|time| (hour * 9 / 10..=hour).contains(time)), "{times:?}");
    let spread = *times.iter().max().unwrap() - *times.iter().min().unwrap();
    assert!(spread > hour / 40, "{spread:?}");
}
