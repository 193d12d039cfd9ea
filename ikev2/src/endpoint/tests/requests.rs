//! Requests of an authenticated peer that lie, and messages out of order of one that is not: selectors (RFC 7296 §2.9,
//! §3.13), REKEY_SA (§1.3.3, §2.25), DELETE (§1.4.1, §3.11), anything before IKE_AUTH (§2.1, §1.2).
//!
//! ```text
//!   A, with keys ── whatever it likes ──► B        B answers with an error, or ends the SA if it does not parse;
//!                                                  what B has installed lies within its configuration at all times
//! ```

use super::*;
use crate::registry::ProtocolId;
use crate::wire::redirect::GatewayId;

const CREATE: ExchangeType = ExchangeType::CREATE_CHILD_SA;
const INFORM: ExchangeType = ExchangeType::INFORMATIONAL;

/// What a child is, without its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: ChildId,
    pub(super) peer: PeerId,
    pub(super) spi_in: u32,
    pub(super) spi_out: u32,
    pub(super) local_ts: Vec<TrafficSelector>,
    pub(super) remote_ts: Vec<TrafficSelector>,
}

/// The children that `end` has installed, oldest first.
pub(super) fn children(pair: &Pair, end: usize) -> Vec<Known> {
    let mut up: Vec<Known> = Vec::new();
    for event in &pair.events[end] {
        if let Event::ChildUp { child, .. } = event {
            up.push(Known {
                id: child.id,
                peer: child.peer,
                spi_in: child.spi_in.0.get(),
                spi_out: child.spi_out.0.get(),
                local_ts: child.local_ts.clone(),
                remote_ts: child.remote_ts.clone(),
            });
        } else if let Event::ChildDown { child, .. } = event {
            up.retain(|known| known.id != *child);
        }
    }
    up
}

fn net(second: u8, len: u8) -> TrafficSelector {
    TrafficSelector::subnet(std::net::IpAddr::from([10, second, 0, 0]), len)
}

fn offer(ts_i: &[TrafficSelector], ts_r: &[TrafficSelector]) -> Chain {
    let mut proposal = Proposal::esp_from_keywords(ESP).unwrap();
    (proposal.spi, proposal.number) = (vec![0, 0, 0x12, 0x34], 1);
    let mut chain = Chain::new();
    chain.sa(&[proposal]).nonce(&[7; 32]).ts_i(ts_i).ts_r(ts_r);
    chain
}

/// A request whose payloads B reads octet for octet, and what B answers; `None` if the SA ended.
fn ask_raw(pair: &mut Pair, exchange: ExchangeType, id: u32, chain: &Chain) -> Vec<NotifyType> {
    pair.wire.clear();
    let request = pair.forge(A, exchange, (id, false), chain);
    assert_eq!(pair.deliver(A, &request), Disposition::Accepted);
    let (_, answer) = pair.wire.pop_front().expect("an answer");
    pair.open(A, &answer.payload)
}

/// The chain with the body of its payloads of this type made anew.
fn with_body(
    chain: &Chain,
    kind: PayloadType,
    change: impl Fn(&[u8]) -> Vec<u8>,
) -> (PayloadType, Vec<u8>) {
    let payloads: Vec<_> = crate::wire::message::Payloads::new(chain.first(), chain.octets())
        .map(|payload| payload.unwrap())
        .collect();
    let mut octets = Vec::new();
    for (index, payload) in payloads.iter().enumerate() {
        let next = payloads.get(index + 1).map_or(PayloadType::NONE, |next| next.kind);
        let body = if payload.kind == kind { change(payload.body) } else { payload.body.to_vec() };
        let len = u16::try_from(body.len() + 4).unwrap().to_be_bytes();
        octets.extend([next.0, 0, len[0], len[1]]);
        octets.extend(body);
    }
    (chain.first(), octets)
}

/// One selector as octets: type, protocol, length that it claims, ports, addresses.
fn selector(kind: u8, len: u16, ports: (u16, u16), addresses: &[u8]) -> Vec<u8> {
    let mut octets = vec![kind, 0];
    for field in [len, ports.0, ports.1] {
        octets.extend(field.to_be_bytes());
    }
    octets.extend_from_slice(addresses);
    octets
}

fn list(count: u8, selectors: &[Vec<u8>]) -> Vec<u8> {
    [vec![count, 0, 0, 0], selectors.concat()].concat()
}

const ANY: (u16, u16) = (0, 65535);
const NET_A: [u8; 8] = [10, 1, 0, 0, 10, 1, 255, 255];

/// What the peer is told of a list of selectors in its TSi; INVALID_SYNTAX ends the SA.
#[test]
fn lists_of_selectors_that_lie() {
    let good = || selector(7, 16, ANY, &NET_A);
    let foreign = || selector(9, 8, ANY, &[]);
    let v6: Vec<u8> = [[0x20; 16], [0x20; 16]].concat();
    let syntax = Some(NotifyType::INVALID_SYNTAX);
    let unacceptable = Some(NotifyType::TS_UNACCEPTABLE);
    let backwards = [10, 1, 255, 255, 10, 1, 0, 0];
    let cases: Vec<(&str, Vec<u8>, Option<NotifyType>)> = vec![
        ("good", list(1, &[good()]), None),
        ("the same 255 times", list(255, &vec![good(); 255]), None),
        ("an unknown type beside a good one", list(2, &[foreign(), good()]), None),
        ("none", list(0, &[]), unacceptable),
        ("an unknown type alone", list(1, &[foreign()]), unacceptable),
        ("255 of an unknown type", list(255, &vec![foreign(); 255]), unacceptable),
        ("of the other family", list(1, &[selector(8, 40, ANY, &v6)]), unacceptable),
        (
            "disjoint",
            list(1, &[selector(7, 16, ANY, &[172, 16, 0, 0, 172, 16, 0, 9])]),
            unacceptable,
        ),
        ("count too high", list(2, &[good()]), syntax),
        ("count 255 of one", list(255, &[good()]), syntax),
        ("count too low", list(1, &[good(), good()]), syntax),
        ("count 0 of one", list(0, &[good()]), syntax),
        ("start behind the end", list(1, &[selector(7, 16, ANY, &backwards)]), syntax),
        ("ports backwards", list(1, &[selector(7, 16, (2, 1), &NET_A)]), syntax),
        ("an IPv4 length in an IPv6 type", list(1, &[selector(8, 16, ANY, &NET_A)]), syntax),
        ("an IPv6 length in an IPv4 type", list(1, &[selector(7, 40, ANY, &v6)]), syntax),
        ("length 0", list(1, &[selector(7, 0, ANY, &NET_A)]), syntax),
        ("length 7", list(1, &[selector(9, 3, ANY, &[])]), syntax),
        ("length 65535", list(1, &[selector(7, 65535, ANY, &NET_A)]), syntax),
        ("cut", list(1, &[good()[..15].to_vec()]), syntax),
        ("nothing", Vec::new(), syntax),
        ("half a header", vec![1, 0], syntax),
    ];
    for kind in [PayloadType::TS_I, PayloadType::TS_R] {
        for (name, body, expected) in &cases {
            let mut pair = Pair::up();
            // The octets of TSr have to be of B's network.
            let body: Vec<u8> = if kind == PayloadType::TS_R {
                let mut body = body.clone();
                for at in 0..body.len().saturating_sub(1) {
                    if body[at..].starts_with(&[10, 1]) {
                        body[at + 1] = 2;
                    }
                }
                body
            } else {
                body.clone()
            };
            let chain = offer(&[subnet(A)], &[subnet(B)]);
            let (first, octets) = with_body(&chain, kind, |_| body.clone());
            let request = pair.seal_raw(CREATE, 2, first, &octets);
            pair.wire.clear();
            assert_eq!(pair.deliver(A, &request), Disposition::Accepted, "{kind} {name}");
            let (_, answer) = pair.wire.pop_front().expect("an answer");
            let told = pair.open(A, &answer.payload);
            assert_eq!(told.first().copied(), *expected, "{kind} {name}");
            let up = children(&pair, B);
            let left = match expected {
                None => 2,
                Some(NotifyType::INVALID_SYNTAX) => 0,
                Some(_) => 1,
            };
            assert_eq!(up.len(), left, "{kind} {name}");
            for child in up {
                let inside = |ts: &TrafficSelector, whole: TrafficSelector| {
                    whole == *ts || whole.contains(ts)
                };
                assert!(child.local_ts.iter().all(|ts| inside(ts, subnet(B))), "{kind} {name}");
                assert!(child.remote_ts.iter().all(|ts| inside(ts, subnet(A))), "{kind} {name}");
            }
        }
    }
}

/// RFC 7296 §2.9: what is installed is the common part, whatever was asked for.
#[test]
fn what_is_installed_lies_within_the_configuration() {
    let all = net(0, 0);
    let ports = |ts: TrafficSelector, ports| TrafficSelector { protocol: 6, ports, ..ts };
    for (ts_i, ts_r, expected) in [
        (vec![all], vec![all], Some((subnet(A), subnet(B)))),
        (vec![net(0, 8)], vec![net(0, 8)], Some((subnet(A), subnet(B)))),
        (vec![net(1, 24)], vec![net(2, 32)], Some((net(1, 24), net(2, 32)))),
        (vec![net(3, 16), net(1, 20)], vec![all], Some((net(1, 20), subnet(B)))),
        (vec![ports(all, (80, 80))], vec![all], Some((ports(subnet(A), (80, 80)), subnet(B)))),
        (vec![net(3, 16)], vec![all], None),
        (vec![all], vec![net(4, 16)], None),
        // The two sides changed about.
        (vec![subnet(B)], vec![subnet(A)], None),
    ] {
        let mut pair = Pair::up();
        let answer = ask_raw(&mut pair, CREATE, 2, &offer(&ts_i, &ts_r));
        let up = children(&pair, B);
        match expected {
            None => assert_eq!((answer, up.len()), (vec![NotifyType::TS_UNACCEPTABLE], 1)),
            Some((theirs, ours)) => {
                assert_eq!(
                    (&up[1].remote_ts[..], &up[1].local_ts[..]),
                    (&[theirs][..], &[ours][..])
                );
            }
        }
    }
}

/// RFC 7296 §2.9: an answer wider than the offer is not taken, and the peer, which believes in the pair, is told so.
#[test]
fn an_answer_wider_than_the_offer_is_undone() {
    let wider = [
        (vec![net(0, 0)], vec![subnet(B)]),
        (vec![subnet(A)], vec![net(0, 0)]),
        (vec![subnet(A), net(3, 16)], vec![subnet(B)]),
        (vec![net(3, 16)], vec![subnet(B)]),
        (vec![net(0, 15)], vec![net(2, 15)]),
        (vec![subnet(B)], vec![subnet(A)]),
        (vec![TrafficSelector::any_v6()], vec![subnet(B)]),
    ];
    for (ts_i, ts_r) in wider {
        for rekey in [false, true] {
            let mut pair = Pair::up();
            let old = *pair.ends[A].children.keys().next().unwrap();
            if rekey {
                pair.ends[A].rekey_child(pair.now, old).unwrap();
            } else {
                let mut child = config(A).children.remove(0);
                child.name = "more".into();
                pair.ends[A].add_child(pair.now, PeerId(0), child).unwrap();
            }
            pair.drain();
            pair.ask(A, INFORM, 2, &Chain::new());
            let answer = pair.forge(B, CREATE, (2, true), &offer(&ts_i, &ts_r));
            assert_eq!(pair.deliver(B, &answer), Disposition::Accepted);
            assert_eq!(children(&pair, A).len(), 1, "{ts_i:?}");
            assert!(pair.ends[A].children.contains_key(&old), "the old one goes on");
            let mismatch = |e: &Event| {
                matches!(e, Event::ChildFailed { reason: CloseReason::SelectorMismatch { .. }, .. })
            };
            assert_eq!(count(&pair.events[A], mismatch), 1, "{:?}", pair.events[A]);
            let (_, delete) = pair.wire.pop_front().expect("a DELETE");
            let (sa, _) = pair.sa(B);
            let mut octets = delete.payload.to_vec();
            let opened = sa.peek(&mut octets);
            let body = Body::parse(opened.first, opened.plain).unwrap();
            assert_eq!(body.deletes.len(), 1);
            assert_eq!(body.deletes[0].protocol, ProtocolId::ESP);
        }
    }
}

/// RFC 7296 §1.3.3, §2.25: only what the peer receives on, with ESP, names a child of it.
#[test]
fn rekey_sa_that_names_no_child_is_refused() {
    let pair = Pair::up();
    let child = children(&pair, B)[0].clone();
    let (theirs, ours) = (child.spi_out.to_be_bytes(), child.spi_in.to_be_bytes());
    let eight = [theirs, theirs].concat();
    let long = vec![7; 255];
    let cases: Vec<(&str, u8, &[u8])> = vec![
        ("protocol 0", 0, &theirs),
        ("IKE", 1, &theirs),
        ("AH", 2, &theirs),
        ("protocol 255", 255, &theirs),
        ("no SPI", 3, &[]),
        ("no SPI, protocol 0", 0, &[]),
        ("an SPI of eight octets", 3, &eight),
        ("an SPI of eight octets of IKE", 1, &eight),
        ("an SPI of 255 octets", 3, &long),
        ("three octets of it", 3, &theirs[..3]),
        ("SPI 0", 3, &[0; 4]),
        ("an SPI of ours", 3, &ours),
        ("nobody's SPI", 3, &[0, 0, 0x56, 0x78]),
    ];
    for (name, protocol, spi) in cases {
        let mut pair = Pair::up();
        let mut chain = offer(&[subnet(A)], &[subnet(B)]);
        chain.notify_spi(ProtocolId(protocol), spi, NotifyType::REKEY_SA, &[]);
        let answer = ask_raw(&mut pair, CREATE, 2, &chain);
        assert_eq!(answer, [NotifyType::CHILD_SA_NOT_FOUND], "{name}");
        let up = children(&pair, B);
        assert_eq!(up.len(), 1, "{name}");
        assert_eq!(up[0].spi_in, child.spi_in, "{name}: the old child goes on");
        assert_eq!(pair.ends[B].shared.esp_spis.len(), 1, "{name}");
        // And can still be replaced, by its own name.
        let mut chain = offer(&[subnet(A)], &[subnet(B)]);
        chain.notify_spi(ProtocolId::ESP, &theirs, NotifyType::REKEY_SA, &[]);
        assert_eq!(ask_raw(&mut pair, CREATE, 3, &chain), [], "{name}");
    }
}

/// A child that is replaced is not replaced again; its successor is.
#[test]
fn a_child_is_replaced_once() {
    let mut pair = Pair::up();
    let old = children(&pair, B)[0].spi_out;
    let rekey = |spi: u32| {
        let mut chain = offer(&[subnet(A)], &[subnet(B)]);
        chain.notify_spi(ProtocolId::ESP, &spi.to_be_bytes(), NotifyType::REKEY_SA, &[]);
        chain
    };
    assert_eq!(ask_raw(&mut pair, CREATE, 2, &rekey(old)), []);
    for id in 3..6 {
        let answer = ask_raw(&mut pair, CREATE, id, &rekey(old));
        assert_eq!(answer, [NotifyType::TEMPORARY_FAILURE], "replaced, not yet deleted");
    }
    let mut delete = Chain::new();
    delete.delete_esp(&[old]);
    assert_eq!(ask_raw(&mut pair, INFORM, 6, &delete), []);
    let answer = ask_raw(&mut pair, CREATE, 7, &rekey(old));
    assert_eq!(answer, [NotifyType::CHILD_SA_NOT_FOUND], "deleted");
    assert_eq!(children(&pair, B).len(), 1);
    // Twice in one message, the second time another: the first counts.
    let mut chain = rekey(0x1234);
    chain.notify_spi(ProtocolId::ESP, &old.to_be_bytes(), NotifyType::REKEY_SA, &[]);
    assert_eq!(ask_raw(&mut pair, CREATE, 8, &chain), []);
    assert_eq!(children(&pair, B).len(), 2);
}

/// RFC 7296 §3.11: as many SPIs as a payload carries; only those of the peer's children count, each once.
#[test]
fn a_delete_of_everything_that_there_is() {
    let mut pair = Pair::up();
    for id in 2..5u32 {
        let mut chain = Chain::new();
        let mut proposal = Proposal::esp_from_keywords(ESP).unwrap();
        (proposal.spi, proposal.number) = ((0x1000 + id).to_be_bytes().to_vec(), 1);
        chain.sa(&[proposal]).nonce(&[7; 32]).ts_i(&[subnet(A)]).ts_r(&[subnet(B)]);
        assert_eq!(ask_raw(&mut pair, CREATE, id, &chain), []);
    }
    assert_eq!(children(&pair, B).len(), 4);
    // 16 382 SPIs fill a payload; four payloads would not fit a datagram.
    let ours: Vec<u32> = (0x1002..).take(16_370).collect();
    let mut chain = Chain::new();
    chain.delete_esp(&ours);
    assert!(chain.error().is_none());
    let began = pair.events[B].len();
    assert_eq!(ask_raw(&mut pair, INFORM, 5, &chain), []);
    assert_eq!(pair.events[B].len() - began, 3, "three of them exist");
    assert_eq!(children(&pair, B).len(), 1, "the first one is not named");
    // The rest of what one message can name, in 65 535 SPIs as the count says, is a lie about the length.
    let (first, octets) =
        with_body(&chain, PayloadType::DELETE, |body| [&[3, 4, 0xff, 0xff], &body[4..]].concat());
    let request = pair.seal_raw(INFORM, 6, first, &octets);
    pair.wire.clear();
    pair.deliver(A, &request);
    let (_, answer) = pair.wire.pop_front().expect("an answer");
    assert_eq!(pair.open(A, &answer.payload), [NotifyType::INVALID_SYNTAX]);
    assert!(children(&pair, B).is_empty(), "that was the end (RFC 7296 §2.21.3)");
}

#[test]
fn deletes_that_repeat_mix_and_lie() {
    let pair = Pair::up();
    let spi = children(&pair, B)[0].spi_out;
    drop(pair);
    // The same SPI a hundred times, in one payload and in many: gone once, named once in the answer.
    for many in [false, true] {
        let mut pair = Pair::up();
        let mut chain = Chain::new();
        if many {
            for _ in 0..100 {
                chain.delete_esp(&[spi]);
            }
        } else {
            chain.delete_esp(&[spi; 100]);
        }
        pair.wire.clear();
        let request = pair.forge(A, INFORM, (2, false), &chain);
        pair.deliver(A, &request);
        let (_, answer) = pair.wire.pop_front().unwrap();
        let (sa, _) = pair.sa(A);
        let mut octets = answer.payload.to_vec();
        let opened = sa.peek(&mut octets);
        let body = Body::parse(opened.first, opened.plain).unwrap();
        assert_eq!(body.deletes.len(), 1);
        assert_eq!(body.deletes[0].spis.len(), 1);
        assert_eq!(count(&pair.events[B], |e| matches!(e, Event::ChildDown { .. })), 1);
        assert_eq!(count(&pair.events[B], |e| matches!(e, Event::PeerDown { .. })), 0);
    }
    // IKE and child together, in either order, with notifications behind: everything goes, once.
    for ike_first in [false, true] {
        let mut pair = Pair::up();
        let mut chain = Chain::new();
        if ike_first {
            chain.delete_ike().delete_esp(&[spi]);
        } else {
            chain.delete_esp(&[spi]).delete_ike();
        }
        chain.delete_ike().notify(NotifyType::INITIAL_CONTACT, &[]);
        chain.notify(NotifyType::AUTHENTICATION_FAILED, &[]);
        assert_eq!(pair.ask(A, INFORM, 2, &chain), []);
        assert_eq!(count(&pair.events[B], |e| matches!(e, Event::ChildDown { .. })), 1);
        assert_eq!(count(&pair.events[B], |e| matches!(e, Event::PeerDown { .. })), 1);
        assert!(pair.ends[B].children.is_empty());
    }
    // Lies about the size and the number of SPIs.
    let octets = spi.to_be_bytes();
    let dead = [NotifyType::INVALID_SYNTAX];
    for (body, answer, left) in [
        ([&[3, 4, 0, 2], &octets[..]].concat(), &dead[..], 0),
        ([&[3, 8, 0, 1], &octets[..]].concat(), &dead, 0),
        ([&[3, 2, 0, 2], &octets[..]].concat(), &dead, 0),
        ([&[3, 0, 0, 1], &octets[..]].concat(), &dead, 0),
        ([&[3, 0, 0xff, 0xff], &[][..]].concat(), &dead, 0),
        ([&[1, 4, 0, 1], &octets[..]].concat(), &dead, 0),
        ([&[3, 4, 0, 0], &octets[..]].concat(), &dead, 0),
        (vec![3, 4], &dead, 0),
        // Of AH, of nobody: passed over.
        ([&[2, 4, 0, 1], &octets[..]].concat(), &[], 1),
        ([&[0, 4, 0, 1], &octets[..]].concat(), &[], 1),
        ([&[255, 4, 0, 1], &octets[..]].concat(), &[], 1),
        (vec![3, 4, 0, 0], &[], 1),
    ] {
        let mut pair = Pair::up();
        let mut chain = Chain::new();
        chain.delete_esp(&[spi]);
        let (first, octets) = with_body(&chain, PayloadType::DELETE, |_| body.clone());
        let request = pair.seal_raw(INFORM, 2, first, &octets);
        pair.wire.clear();
        pair.deliver(A, &request);
        let (_, sent) = pair.wire.pop_front().expect("an answer");
        assert_eq!(pair.open(A, &sent.payload), answer, "{body:?}");
        assert_eq!(pair.ends[B].children.len(), left, "{body:?}");
    }
}

/// First messages that are none: nothing is kept, nothing is said.
#[test]
fn whatever_comes_first_but_ike_sa_init_begins_nothing() {
    for exchange in (0..=255).map(ExchangeType) {
        for bits in 0..8 {
            let mut pair = Pair::new();
            let (_, request) = pair.wire.pop_front().unwrap();
            let header = Header::parse(&request.payload).unwrap();
            let flags =
                Flags { initiator: bits & 1 != 0, response: bits & 2 != 0, ..Flags::default() };
            let spi_r = if bits & 4 != 0 { IkeSpi(7) } else { IkeSpi::ZERO };
            let is_init = exchange == ExchangeType::IKE_SA_INIT;
            if is_init && !flags.response && spi_r == IkeSpi::ZERO {
                continue;
            }
            let header = Header { spi_r, exchange, flags, ..header };
            let forged = [&header.emit()[..], &request.payload[Header::LEN..]].concat();
            let disposition = pair.deliver(A, &forged);
            assert!(matches!(disposition, Disposition::Dropped(_)), "{header:?}");
            assert!(pair.ends[B].sas.is_empty() && pair.wire.is_empty(), "{header:?}");
            assert!(pair.events[B].is_empty(), "{header:?}");
        }
    }
}

/// Robustness T10, T11: nothing but IKE_AUTH with the ID 1 leads on, and nothing authenticates but AUTH.
#[test]
fn a_half_open_sa_takes_nothing_but_ike_auth() {
    let offer = offer(&[subnet(A)], &[subnet(B)]);
    let mut rekey_ike = Chain::new();
    let mut proposal = Proposal::ike_from_keywords(IKE).unwrap();
    (proposal.spi, proposal.number) = (vec![9; 8], 1);
    let method = crate::registry::KeMethod::CURVE25519;
    rekey_ike.sa(&[proposal]).nonce(&[7; 32]).ke(method, &[9; 32]);
    let mut rekey_child = Chain::new();
    rekey_child.notify_spi(ProtocolId::ESP, &[0, 0, 1, 0], NotifyType::REKEY_SA, &[]);
    let mut delete = Chain::new();
    delete.delete_ike();
    let mut moved = Chain::new();
    moved.notify(NotifyType::UPDATE_SA_ADDRESSES, &[]).notify(NotifyType::COOKIE2, &[7; 16]);
    let mut redirect = Chain::new();
    redirect.notify(NotifyType::REDIRECT, &GatewayId::Address([192, 0, 2, 9].into()).emit(&[]));
    let empty = Chain::new();
    let chains = [&offer, &rekey_ike, &rekey_child, &delete, &moved, &redirect, &empty];
    for chain in chains {
        for (exchange, id) in [(CREATE, 1), (INFORM, 1), (ExchangeType::IKE_AUTH, 1)] {
            let mut pair = Pair::new();
            pair.pass();
            pair.pass();
            pair.wire.clear();
            let answer = pair.ask(A, exchange, id, chain);
            assert!(answer.first().is_some_and(|kind| kind.is_error()), "{exchange}");
            let never = |e: &Event| !matches!(e, Event::Refused { .. });
            assert_eq!(count(&pair.events[B], never), 0, "{exchange} {:?}", pair.events[B]);
            assert!(pair.ends[B].children.is_empty());
            assert!(pair.ends[B].sas.values().all(|sa| sa.stage() != Stage::Up));
        }
        // Of another number: no state is touched, and the handshake goes on.
        for (exchange, id) in [(CREATE, 0), (INFORM, 0), (ExchangeType::IKE_AUTH, 0)]
            .into_iter()
            .chain([(CREATE, 2), (INFORM, 2), (ExchangeType::IKE_AUTH, 2), (INFORM, u32::MAX)])
        {
            for response in [false, true] {
                let mut pair = Pair::new();
                pair.pass();
                pair.pass();
                let (_, auth) = pair.wire.pop_front().unwrap();
                let forged = pair.forge(A, exchange, (id, response), chain);
                let disposition = pair.deliver(A, &forged);
                assert!(matches!(disposition, Disposition::Dropped(_)), "{exchange} {id}");
                assert!(pair.wire.is_empty() && pair.events[B].is_empty());
                pair.deliver(A, &auth.payload);
                pair.settle();
                assert_eq!(pair.ends[B].children.len(), 1);
            }
        }
    }
}

/// Every message of a conversation, sent back to who sent it, with its flags as they were or turned about.
#[test]
fn our_own_messages_sent_back_are_not_taken() {
    let mut pair = Pair::new();
    let mut said: Vec<(usize, Vec<u8>)> = Vec::new();
    for _ in 0..4 {
        let (from, sent) = pair.wire.pop_front().unwrap();
        reflect(&mut pair, from, &sent.payload);
        said.push((from, sent.payload.to_vec()));
        pair.deliver(from, &sent.payload);
    }
    assert!(pair.wire.is_empty());
    for end in [A, B] {
        let child = *pair.ends[end].children.keys().max().unwrap();
        pair.ends[end].rekey_child(pair.now, child).unwrap();
        pair.drain();
        pair.ends[end].rekey_ike(pair.now, PeerId(0)).unwrap();
        pair.drain();
        while let Some((from, sent)) = pair.wire.pop_front() {
            reflect(&mut pair, from, &sent.payload);
            said.push((from, sent.payload.to_vec()));
            pair.deliver(from, &sent.payload);
        }
    }
    // The first message is of an SA that was replaced: by now it is like that of any stranger.
    for (from, payload) in said.into_iter().skip(1) {
        reflect(&mut pair, from, &payload);
    }
    assert_eq!((pair.ends[A].children.len(), pair.ends[B].children.len()), (1, 1));
}

#[track_caller]
fn reflect(pair: &mut Pair, sender: usize, payload: &[u8]) {
    let events = pair.events[sender].len();
    let sent = pair.wire.len();
    for flags in [0, 0x08, 0x20, 0x28] {
        let mut octets = payload.to_vec();
        octets[19] ^= flags;
        let path = Path { local: address(sender), remote: address(B - sender) };
        let header = Header::parse(&octets).unwrap();
        let disposition = pair.ends[sender].handle_datagram(pair.now, path, &mut octets);
        pair.drain();
        assert!(matches!(disposition, Disposition::Dropped(_)), "{header:?}");
    }
    assert_eq!((pair.events[sender].len(), pair.wire.len()), (events, sent));
}

impl Pair {
    /// A request of A with these payloads, octet for octet.
    fn seal_raw(
        &mut self,
        exchange: ExchangeType,
        id: u32,
        first: PayloadType,
        octets: &[u8],
    ) -> Vec<u8> {
        self.forge(A, exchange, (id, false), &Chain::of_octets(first, octets))
    }
}
