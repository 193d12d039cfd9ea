//! What RFC 7296 demands word for word and no scenario shows: fields and the order of payloads here, who waits for whom
//! when exchanges cross in `exchanges`. Cited by `docs/conformance.md`.
//!
//! ```text
//!   begin(): a request of one end, held back      answer_to(): a request handed over, and its answer     read(): opened
//! ```

mod endings;
mod exchanges;
mod keys;
mod limits;
mod others;

use super::*;
use crate::registry::{CertEncoding, KeMethod, ProtocolId};
use crate::wire::message::Payloads;
use crate::wire::proposal::Transform;

const INFORMATIONAL: ExchangeType = ExchangeType::INFORMATIONAL;
const CREATE_CHILD_SA: ExchangeType = ExchangeType::CREATE_CHILD_SA;

/// What `end` reads in a protected message.
pub(super) fn read<T>(
    pair: &mut Pair,
    end: usize,
    payload: &[u8],
    look: impl FnOnce(&Body<'_>) -> T,
) -> T {
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

/// The children that `end` was given, oldest first.
pub(super) fn children(
    pair: &Pair,
    end: usize,
) -> impl DoubleEndedIterator<Item = &crate::event::ChildSa> {
    pair.events[end].iter().filter_map(|event| {
        if let Event::ChildUp { child, .. } = event { Some(&**child) } else { None }
    })
}

/// The SPI on which `end` receives, of its newest child.
fn spi_in(pair: &Pair, end: usize) -> u32 {
    children(pair, end).next_back().expect("a child").spi_in.0.get()
}

pub(super) fn newest_child(pair: &Pair, end: usize) -> ChildId {
    children(pair, end).next_back().expect("a child").id
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
pub(super) fn rebuilt(
    octets: &[u8],
    change: impl FnOnce(&mut Vec<(PayloadType, u8, Vec<u8>)>),
) -> Vec<u8> {
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

/// RFC 7296 §2.5: payloads leave in the order of the figures, notifications apart, which have no place of their own.
/// §2.4: INITIAL_CONTACT is in IKE_AUTH.
#[test]
fn payloads_are_sent_in_the_order_of_the_figures() {
    use PayloadType as P;
    let mut pair = Pair::new();
    let in_clear = |octets: &[u8]| -> Vec<PayloadType> {
        let first = Header::parse(octets).unwrap().next_payload;
        let payloads = Payloads::new(first, &octets[Header::LEN..]);
        payloads.map(|payload| payload.unwrap().kind).filter(|kind| *kind != P::NOTIFY).collect()
    };
    let kinds = |pair: &mut Pair, end: usize, octets: &[u8]| -> Vec<PayloadType> {
        let (sa, _) = pair.sa(end);
        let mut octets = octets.to_vec();
        let authentic = sa.peek(&mut octets);
        let payloads = Payloads::new(authentic.first, authentic.plain);
        payloads.map(|payload| payload.unwrap().kind).filter(|kind| *kind != P::NOTIFY).collect()
    };
    let first = [P::SA, P::KE, P::NONCE];
    for _ in [A, B] {
        assert_eq!(in_clear(&pair.wire[0].1.payload), first);
        pair.pass();
    }
    let (_, auth) = pair.wire[0].clone();
    let expected = [P::ID_I, P::ID_R, P::AUTH, P::SA, P::TS_I, P::TS_R];
    assert_eq!(kinds(&mut pair, B, &auth.payload), expected);
    assert!(pair.open(B, &auth.payload).contains(&NotifyType::INITIAL_CONTACT));
    pair.pass();
    let (_, answer) = pair.wire[0].clone();
    let expected = [P::ID_R, P::AUTH, P::SA, P::TS_I, P::TS_R];
    assert_eq!(kinds(&mut pair, A, &answer.payload), expected);
    pair.pass();
    let child = newest_child(&pair, A);
    let request = begin(&mut pair, A, |end, now| end.rekey_child(now, child).unwrap());
    let expected = [P::SA, P::NONCE, P::TS_I, P::TS_R];
    assert_eq!(kinds(&mut pair, B, &request), expected);
    let answer = answer_to(&mut pair, A, &request);
    assert_eq!(kinds(&mut pair, A, &answer), expected);
    pair.deliver(B, &answer);
    pair.settle();
    let request = begin(&mut pair, A, |end, now| end.rekey_ike(now, PeerId(0)).unwrap());
    assert_eq!(kinds(&mut pair, B, &request), [P::SA, P::NONCE, P::KE]);
}

/// RFC 7296 §3.12: Vendor IDs that say nothing to us.
#[test]
fn vendor_ids_are_passed_over() {
    let mut pair = Pair::new();
    let (_, request) = pair.wire.pop_front().unwrap();
    let vendor = (PayloadType::VENDOR_ID, 0, b"somebody".to_vec());
    let request = rebuilt(&request.payload, |payloads| payloads.insert(0, vendor));
    let answer = answer_to(&mut pair, A, &request);
    assert!(notifies(&answer).iter().all(|kind| !kind.is_error()));
}

/// RFC 7296 §3.2, §2.20, §4: types of the RFC that are of no use to us are skipped, critical bit or not. A question in
/// a CP payload gets an answer without one.
#[test]
fn known_payloads_that_are_not_used_are_passed_over() {
    let mut pair = Pair::up();
    let mut chains = [Chain::new(), Chain::new(), Chain::new(), Chain::new()];
    chains[0].unknown_critical(PayloadType::CP);
    chains[1].unknown_critical(PayloadType::EAP);
    chains[2].cert(CertEncoding::X509_SIGNATURE, b"no certificate");
    chains[3].cert_request(CertEncoding(200), &[[7; 20]]);
    for (id, chain) in (2..).zip(chains) {
        let kind = chain.first();
        let request = pair.forge(A, INFORMATIONAL, (id, false), &chain);
        let answer = answer_to(&mut pair, A, &request);
        let (sa, _) = pair.sa(A);
        let mut octets = answer.clone();
        assert_eq!(sa.peek(&mut octets).first, PayloadType::NONE, "{kind}: an empty answer");
    }
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

/// RFC 7296 §3.10.1: an unknown error refuses a request, but in a request it says nothing; unknown remarks never do.
#[test]
fn unknown_errors_count_in_answers_only() {
    let (error, remark) = (NotifyType(8000), NotifyType(40_000));
    let mut pair = Pair::up();
    let mut chain = Chain::new();
    chain.notify(error, &[]).notify(remark, &[]);
    // RFC 7296 §2.21.4: nor do complaints about what came from somewhere change anything.
    chain.notify(NotifyType::INVALID_SPI, &[1, 2, 3, 4]).notify(NotifyType::INVALID_IKE_SPI, &[]);
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
        let child = children(&pair, A).next().unwrap();
        times.push(child.rekey_at.duration_since(pair.now));
    }
    let hour = Duration::from_hours(1);
    assert!(times.iter().all(|time| (hour * 9 / 10..=hour).contains(time)), "{times:?}");
    let (first, last) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
    assert!(last > first + hour / 40, "{first:?} to {last:?}");
}

/// RFC 7296 §2.23: a peer that stays on port 500 though a NAT was found gets no ESP in UDP there.
#[test]
fn esp_is_not_put_in_udp_on_port_500() {
    let pair = Pair::up();
    let found = |end: usize| {
        let child = children(&pair, end).next().unwrap();
        (child.path.local.port(), child.udp_encap)
    };
    assert_eq!(found(A), (4500, true), "who found a NAT moves");
    assert_eq!(found(B), (500, false), "this wire brings everything to port 500");
}

/// RFC 7296 §2.23: whoever is behind a NAT does not follow a peer that seems to be elsewhere.
#[test]
fn whoever_is_behind_a_nat_follows_nobody() {
    for behind_nat in [false, true] {
        let mut pair = Pair::empty();
        for end in [B, A] {
            let mut config = config(end);
            config.mobike = false;
            pair.ends[end].add_peer(pair.now, config);
        }
        pair.drain();
        let (_, request) = pair.wire.pop_front().unwrap();
        let mut local = address(B);
        if behind_nat {
            local.set_ip(std::net::IpAddr::from([10, 0, 0, 9]));
        }
        let path = Path { local, remote: address(A) };
        pair.ends[B].handle_datagram(pair.now, path, &mut request.payload.to_vec());
        pair.drain();
        pair.settle();
        let child = newest_child(&pair, B);
        let mut elsewhere = address(A);
        elsewhere.set_port(40_000);
        let request = pair.forge(A, INFORMATIONAL, (2, false), &Chain::new());
        let path = Path { local: address(B), remote: elsewhere };
        pair.ends[B].handle_datagram(pair.now, path, &mut request.clone());
        elsewhere.set_port(40_001);
        pair.ends[B].heard_from(pair.now, child, elsewhere);
        pair.drain();
        let moves = count(&pair.events[B], |e| matches!(e, Event::PeerMoved { .. }));
        assert_eq!(moves, if behind_nat { 0 } else { 2 });
    }
}
