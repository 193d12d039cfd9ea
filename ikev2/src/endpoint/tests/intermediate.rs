//! IKE_INTERMEDIATE and IKE_FOLLOWUP_KE as they should not come (RFC 9242 §3.2, RFC 9370 §2.2): before authentication whatever was
//! not agreed on ends the attempt, after it a broken key exchange ends the SA.

use super::*;
use crate::crypto::sk::Fragment;
use crate::registry::KeMethod;

const HYBRID: &str = "aes256gcm16-prfsha256-curve25519-ke1_mlkem768";
const ESP_HYBRID: &str = "aes256gcm16-curve25519-ke1_mlkem512-noesn";

/// Both want a further key exchange; A has sent its first message.
fn hybrid() -> Pair {
    let mut pair = Pair::empty();
    for end in [B, A] {
        let mut config = config(end);
        config.proposals = vec![Proposal::ike_from_keywords(HYBRID).unwrap()];
        config.children[0].proposals = vec![Proposal::esp_from_keywords(ESP_HYBRID).unwrap()];
        pair.ends[end].add_peer(pair.now, config);
    }
    pair.drain();
    pair
}

/// IKE_SA_INIT is answered, and A's IKE_INTERMEDIATE is on the way.
fn begun() -> Pair {
    let mut pair = hybrid();
    assert_eq!([pair.pass(), pair.pass()], [Disposition::Accepted; 2]);
    pair
}

fn ke(method: KeMethod, len: usize) -> Chain {
    let mut chain = Chain::new();
    chain.ke(method, &vec![0; len]);
    chain
}

fn refused(pair: &Pair) -> usize {
    count(&pair.events[B], |event| matches!(event, Event::Refused { .. }))
}

#[test]
fn whatever_was_not_agreed_on_ends_the_attempt() {
    let mut reduced = vec![0xff; 1184];
    reduced[1150] = 0;
    let mut not_reduced = Chain::new();
    not_reduced.ke(KeMethod::ML_KEM_768, &reduced);
    for (what, exchange, chain) in [
        ("no payload", ExchangeType::IKE_INTERMEDIATE, Chain::new()),
        ("another method", ExchangeType::IKE_INTERMEDIATE, ke(KeMethod::ML_KEM_512, 800)),
        ("too short", ExchangeType::IKE_INTERMEDIATE, ke(KeMethod::ML_KEM_768, 1183)),
        ("too long", ExchangeType::IKE_INTERMEDIATE, ke(KeMethod::ML_KEM_768, 1185)),
        ("empty", ExchangeType::IKE_INTERMEDIATE, ke(KeMethod::ML_KEM_768, 0)),
        ("coefficients that are not reduced", ExchangeType::IKE_INTERMEDIATE, not_reduced),
        ("IKE_AUTH before its time", ExchangeType::IKE_AUTH, Chain::new()),
    ] {
        let mut pair = begun();
        assert_eq!(pair.ask(A, exchange, 1, &chain), [NotifyType::INVALID_SYNTAX], "{what}");
        assert_eq!(refused(&pair), 1, "{what}");
        // The true one comes too late: it asks for that answer again.
        let sent = pair.ends[A].poll_timeout().unwrap().at;
        pair.ends[A].handle_timeout(sent);
        pair.drain();
        assert_eq!(pair.pass(), Disposition::Dropped(DropReason::Retransmit), "{what}");
        assert!(pair.ends.iter().all(|end| end.children.is_empty()), "{what}");
    }
}

/// RFC 7296 §2.5, as in every other request.
#[test]
fn a_critical_payload_that_nobody_knows_is_named() {
    let mut pair = begun();
    let answer = pair.ask(A, ExchangeType::IKE_INTERMEDIATE, 1, &critical());
    assert_eq!((answer, refused(&pair)), (vec![NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD], 1));
}

#[test]
fn one_exchange_more_than_agreed_is_refused() {
    let mut pair = begun();
    // Two fragments there, one datagram back.
    assert_eq!([pair.pass(), pair.pass(), pair.pass()], [Disposition::Accepted; 3]);
    let more = ke(KeMethod::ML_KEM_768, 1184);
    let answer = pair.ask(A, ExchangeType::IKE_INTERMEDIATE, 2, &more);
    assert_eq!((answer, refused(&pair)), (vec![NotifyType::INVALID_SYNTAX], 1));
    let mut pair = Pair::new();
    assert_eq!([pair.pass(), pair.pass()], [Disposition::Accepted; 2]);
    let answer = pair.ask(A, ExchangeType::IKE_INTERMEDIATE, 1, &more);
    assert_eq!((answer, refused(&pair)), (vec![NotifyType::INVALID_SYNTAX], 1));
}

/// What a responder with our keys may answer; nothing of it brings the SA up, and the attempt ends.
#[test]
fn a_bad_answer_ends_the_attempt() {
    let mut syntax = Chain::new();
    syntax.notify(NotifyType::INVALID_SYNTAX, &[]);
    for (what, chain) in [
        ("no payload", Chain::new()),
        ("another method", ke(KeMethod::ML_KEM_512, 768)),
        ("too short", ke(KeMethod::ML_KEM_768, 1087)),
        ("the length of a key", ke(KeMethod::ML_KEM_768, 1184)),
        ("an error", syntax),
        ("a critical payload", critical()),
    ] {
        let mut pair = begun();
        pair.wire.clear();
        let forged = pair.forge(B, ExchangeType::IKE_INTERMEDIATE, (1, true), &chain);
        assert_eq!(pair.deliver(B, &forged), Disposition::Accepted, "{what}");
        let down = |event: &Event| matches!(event, Event::PeerDown { .. });
        assert_eq!(count(&pair.events[A], down), 1, "{what}");
        assert_eq!(count(&pair.events[A], |event| matches!(event, Event::PeerUp { .. })), 0);
    }
}

/// A ciphertext that was made for another key is no error (FIPS 203 §6.3): the keys of the two sides differ from there on.
#[test]
fn a_ciphertext_for_another_key_leads_to_keys_that_fit_nothing() {
    let mut pair = begun();
    pair.wire.clear();
    let ciphertext = ke(KeMethod::ML_KEM_768, 1088);
    let forged = pair.forge(B, ExchangeType::IKE_INTERMEDIATE, (1, true), &ciphertext);
    assert_eq!(pair.deliver(B, &forged), Disposition::Accepted);
    let (_, auth) = pair.wire.pop_front().unwrap();
    let disposition = pair.deliver(A, &auth.payload);
    assert!(matches!(disposition, Disposition::Dropped(_)), "{disposition:?}");
}

/// The limits of half-open SAs hold for it as for IKE_AUTH: at most 16 KiB are held, one request at a time.
#[test]
fn strangers_cost_no_more_than_before() {
    let mut pair = begun();
    let before = pair.ends[B].shared.key_exchanges;
    let request: Vec<_> = pair.wire.drain(..).map(|(_, transmit)| transmit.payload).collect();
    assert_eq!(request.len(), 2, "in fragments");
    for fragment in &request {
        assert_eq!(pair.deliver(A, fragment), Disposition::Accepted);
    }
    let made = pair.ends[B].shared.key_exchanges;
    assert_eq!(made, before + 1);
    let repeat = pair.deliver(A, &request[0]);
    assert_eq!(repeat, Disposition::Dropped(DropReason::Retransmit));
    assert_eq!(pair.ends[B].shared.key_exchanges, made, "a repeat is not computed again");
    let (sa, _) = pair.sa(B);
    assert_eq!(sa.held(), 0);
}

/// What stands in clear before an encrypted payload would be kept for AUTH (RFC 9242 §3.3.2), beside what fragments may hold: more
/// than a little is dropped before its ICV is looked at.
#[test]
fn long_payloads_in_clear_before_a_fragment_are_not_taken() {
    let mut pair = begun();
    pair.wire.clear();
    let (sa, mut cx) = pair.sa(A);
    let what = (ExchangeType::IKE_INTERMEDIATE, MessageId(1), false);
    let fragment = Fragment { number: 1, total: 2 };
    let whole = sa.forge_fragment(what, fragment, PayloadType::KE, &[0], &mut cx);
    let header = Header::parse(&whole).unwrap();
    for (clear, reason) in [
        (4_u16, DropReason::BadIcv),
        (256, DropReason::BadIcv),
        (257, DropReason::Malformed),
        (65_000, DropReason::Malformed),
    ] {
        let len = header.len + u32::from(clear);
        let mut behind = Header { next_payload: PayloadType(200), len, ..header }.emit().to_vec();
        behind.extend_from_slice(&[header.next_payload.0, 0]);
        behind.extend_from_slice(&clear.to_be_bytes());
        behind.resize(Header::LEN + usize::from(clear), 7);
        behind.extend_from_slice(&whole[Header::LEN..]);
        assert_eq!(pair.deliver(A, &behind), Disposition::Dropped(reason), "{clear}");
    }
}

/// The lengths that AUTH covers have 16 bits (RFC 9242 §3.3.2): whatever the configuration allows, no more is taken.
#[test]
fn a_request_longer_than_an_encrypted_payload_can_be_is_refused() {
    for len in [65_531, 65_532, 65_536] {
        let mut pair = Pair::empty();
        let settings =
            EndpointConfig { max_half_open_octets: 1 << 20, ..EndpointConfig::default() };
        pair.ends[B] = Endpoint::new(settings, [2; 32]);
        for end in [B, A] {
            let mut config = config(end);
            config.proposals = vec![Proposal::ike_from_keywords(HYBRID).unwrap()];
            pair.ends[end].add_peer(pair.now, config);
        }
        pair.drain();
        assert_eq!([pair.pass(), pair.pass()], [Disposition::Accepted; 2]);
        pair.wire.clear();
        let mut chain = ke(KeMethod::ML_KEM_768, 1184);
        while chain.octets().len() < len {
            let left = len - chain.octets().len();
            let piece = if left < 2008 { left - 8 } else { 1000 };
            chain.notify(NotifyType(40_000), &vec![7; piece]);
        }
        assert_eq!(chain.octets().len(), len);
        let (first, total) = (chain.first(), 64);
        let what = (ExchangeType::IKE_INTERMEDIATE, MessageId(1), false);
        for (number, piece) in (1..).zip(chain.octets().chunks(len.div_ceil(64))) {
            let (sa, mut cx) = pair.sa(A);
            let first = if number == 1 { first } else { PayloadType::NONE };
            let fragment = Fragment { number, total };
            let fragment = sa.forge_fragment(what, fragment, first, piece, &mut cx);
            pair.deliver(A, &fragment);
        }
        assert_eq!(refused(&pair), usize::from(len > 65_531), "{len}");
    }
}

/// Robustness T43: whoever begins an SA has the keys of its first exchanges, and can forge senders. Only the address that began it
/// hears an answer again, and not for ever.
#[test]
fn an_answer_before_authentication_is_repeated_sixteen_times_to_who_began() {
    let mut pair = begun();
    let request: Vec<_> = pair.wire.drain(..).map(|(_, transmit)| transmit.payload).collect();
    for fragment in &request {
        assert_eq!(pair.deliver(A, fragment), Disposition::Accepted);
    }
    pair.wire.clear();
    let repeat = Disposition::Dropped(DropReason::Retransmit);
    let elsewhere = Path { local: address(B), remote: "203.0.113.9:500".parse().unwrap() };
    for _ in 0..100 {
        let mut datagram = request[0].to_vec();
        let disposition = pair.ends[B].handle_datagram(pair.now, elsewhere, &mut datagram);
        assert_eq!(disposition, repeat);
    }
    pair.drain();
    assert_eq!(pair.wire.len(), 0, "to somebody who asked for nothing");
    for _ in 0..100 {
        assert_eq!(pair.deliver(A, &request[0]), repeat);
    }
    assert_eq!(pair.wire.len(), 16);
    // The request itself from elsewhere: what it asks for goes there once.
    let mut pair = begun();
    let request: Vec<_> = pair.wire.drain(..).map(|(_, transmit)| transmit.payload).collect();
    for datagram in request.iter().chain([&request[0]; 20]) {
        let _ = pair.ends[B].handle_datagram(pair.now, elsewhere, &mut datagram.to_vec());
    }
    pair.drain();
    let sent: usize = pair.wire.iter().map(|(_, sent)| sent.payload.len()).sum();
    assert!(sent < request.iter().map(|one| one.len()).sum(), "{sent} octets");
    // Cut anew, in octets that were not seen before.
    let mut pair = begun();
    pair.wire.clear();
    let chain = ke(KeMethod::ML_KEM_768, 1184);
    let cut = |pair: &mut Pair, number| {
        let (sa, mut cx) = pair.sa(A);
        let piece = chain.octets().chunks(600).nth(usize::from(number) - 1).unwrap();
        let first = if number == 1 { chain.first() } else { PayloadType::NONE };
        let what = (ExchangeType::IKE_INTERMEDIATE, MessageId(1), false);
        sa.forge_fragment(what, Fragment { number, total: 2 }, first, piece, &mut cx)
    };
    for number in [1, 2] {
        let fragment = cut(&mut pair, number);
        pair.deliver(A, &fragment);
    }
    pair.wire.clear();
    for _ in 0..100 {
        let anew = cut(&mut pair, 1);
        pair.deliver(A, &anew);
    }
    assert!(pair.wire.len() <= 16 * 4, "{}", pair.wire.len());
}

/// Both are up, and A has asked B to replace the child: B has its draft.
fn drafted() -> Pair {
    let mut pair = hybrid();
    pair.settle();
    let child = *pair.ends[A].children.keys().max().unwrap();
    pair.ends[A].rekey_child(pair.now, child).unwrap();
    pair.drain();
    assert_eq!([pair.pass(), pair.pass()], [Disposition::Accepted; 2]);
    pair
}

fn next_id(pair: &Pair) -> u32 {
    Header::parse(&pair.wire.front().unwrap().1.payload).unwrap().message_id.0
}

fn up(pair: &Pair) -> bool {
    !pair.ends[B].children.is_empty()
}

#[test]
fn a_link_that_leads_nowhere_is_told_so() {
    let mut pair = drafted();
    let id = next_id(&pair);
    let mut chain = ke(KeMethod::ML_KEM_512, 800);
    chain.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE, b"nowhere");
    let answer = pair.ask(A, ExchangeType::IKE_FOLLOWUP_KE, id, &chain);
    assert_eq!(answer, [NotifyType::STATE_NOT_FOUND]);
    assert!(up(&pair), "that is no reason to end anything");
}

#[test]
fn a_follow_up_that_is_broken_ends_the_sa() {
    let with_link = |chain: fn() -> Chain| {
        let mut pair = drafted();
        let id = next_id(&pair);
        let (_, request) = pair.wire.front().unwrap().clone();
        let (sa, _) = pair.sa(B);
        let mut octets = request.payload.to_vec();
        let authentic = sa.peek(&mut octets);
        let body = Body::parse(authentic.first, authentic.plain).unwrap();
        let link = body.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE).unwrap().data.to_vec();
        let mut chain = chain();
        chain.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE, &link);
        let answer = pair.ask(A, ExchangeType::IKE_FOLLOWUP_KE, id, &chain);
        (answer, up(&pair))
    };
    let syntax = (vec![NotifyType::INVALID_SYNTAX], false);
    assert_eq!(with_link(|| ke(KeMethod::ML_KEM_512, 799)), syntax);
    assert_eq!(with_link(|| ke(KeMethod::ML_KEM_768, 1184)), syntax);
    assert_eq!(with_link(Chain::new), syntax);
    let mut pair = drafted();
    let id = next_id(&pair);
    let answer = pair.ask(A, ExchangeType::IKE_FOLLOWUP_KE, id, &ke(KeMethod::ML_KEM_512, 800));
    assert_eq!((answer, up(&pair)), syntax, "no link");
}

/// Whoever is authenticated may begin more than it finishes, but not without end, and what it leaves is given back.
#[test]
fn drafts_are_bounded_and_forgotten() {
    let mut pair = hybrid();
    pair.settle();
    let spis = pair.ends[B].shared.esp_spis.len();
    let (mut granted, mut put_off) = (0, 0);
    for id in 3..13 {
        let mut proposal = Proposal::esp_from_keywords(ESP_HYBRID).unwrap();
        proposal.spi = vec![0, 0, 9, u8::try_from(id).unwrap()];
        let key = crate::crypto::ke::KeSecret::generate(
            KeMethod::CURVE25519,
            &mut pair.ends[A].shared.rng,
        );
        let mut chain = Chain::new();
        chain.sa(&[proposal]).nonce(&[7; 32]).ke(KeMethod::CURVE25519, key.unwrap().public());
        chain.ts_i(&[subnet(A)]).ts_r(&[subnet(B)]);
        let answer = pair.ask(A, ExchangeType::CREATE_CHILD_SA, id, &chain);
        granted += usize::from(answer.contains(&NotifyType::ADDITIONAL_KEY_EXCHANGE));
        put_off += usize::from(answer.contains(&NotifyType::TEMPORARY_FAILURE));
    }
    assert_eq!((granted, put_off), (4, 6));
    assert_eq!(pair.ends[B].shared.esp_spis.len(), spis + 4);
    assert_eq!(pair.ends[B].children.len(), 1, "none of them is there");
    pair.now += Duration::from_secs(20);
    let end = pair.now;
    pair.ends[B].handle_timeout(end);
    pair.drain();
    assert_eq!(pair.ends[B].shared.esp_spis.len(), spis);
}
