//! What a peer may do to us: without keys, with keys but no identity, and with both (RFC 7296 §2.5, §2.21).

use super::*;

/// RFC 7296 §2.5: "the message MUST be rejected", and a request is told why.
#[test]
fn a_critical_payload_in_ike_sa_init_is_refused() {
    let mut pair = Pair::new();
    let (_, request) = pair.wire.pop_front().unwrap();
    let header = Header::parse(&request.payload).unwrap();
    let disposition = pair.deliver(A, &message(header, &critical()));
    assert_eq!(disposition, Disposition::Dropped(DropReason::Unexpected));
    let (_, answer) = pair.wire.pop_front().unwrap();
    assert_eq!(notifies(&answer.payload), [NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD]);
    assert!(pair.ends[B].sas.is_empty(), "nothing is kept");
    // The same in an answer is noise, for nothing in it is authenticated.
    assert_eq!(pair.deliver(A, &request.payload), Disposition::Accepted);
    let (_, answer) = pair.wire.pop_front().unwrap();
    let mut tainted = answer.payload.to_vec();
    // The unknown payload goes first, so that only the header has to change.
    let first = std::mem::replace(&mut tainted[16], 200);
    tainted.splice(28..28, [first, 0x80, 0, 4]);
    let len = u32::try_from(tainted.len()).unwrap();
    tainted[24..28].copy_from_slice(&len.to_be_bytes());
    assert!(matches!(pair.deliver(B, &tainted), Disposition::Dropped(_)));
    assert_eq!(pair.deliver(B, &answer.payload), Disposition::Accepted);
    pair.settle();
    assert_eq!(pair.ends[B].children.len(), 1);
}

#[test]
fn a_critical_payload_in_ike_auth_ends_the_attempt() {
    let mut pair = Pair::new();
    pair.pass();
    pair.pass();
    let answer = pair.ask(A, ExchangeType::IKE_AUTH, 1, &critical());
    assert_eq!(answer, [NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD]);
    assert_eq!(count(&pair.events[B], |e| matches!(e, Event::Refused { .. })), 1);
    assert_eq!(pair.ends[B].children.len(), 0);
}

/// The responder believes in the SA, so it is told that there is none.
#[test]
fn a_critical_payload_in_the_answer_to_ike_auth_ends_the_sa() {
    let mut pair = Pair::new();
    for _ in 0..3 {
        pair.pass();
    }
    pair.wire.clear();
    let forged = pair.forge(B, ExchangeType::IKE_AUTH, (1, true), &critical());
    pair.deliver(B, &forged);
    pair.settle();
    assert_eq!(count(&pair.events[A], |e| matches!(e, Event::PeerUp { .. })), 0);
    assert_eq!(count(&pair.events[A], |e| matches!(e, Event::PeerDown { .. })), 1);
    let deleted = |e: &Event| matches!(e, Event::PeerDown { reason: CloseReason::PeerDeleted, .. });
    assert_eq!(count(&pair.events[B], deleted), 1, "{:?}", pair.events[B]);
}

/// RFC 7296 §2.5 has no exception for an SA that is on its way out. What is rejected does nothing.
#[test]
fn a_critical_payload_is_named_while_an_sa_ends() {
    let mut pair = Pair::up();
    pair.ends[A].disconnect(pair.now, PeerId(0)).unwrap();
    pair.drain();
    let (_, ours) = pair.wire.pop_front().expect("our DELETE");
    let mut chain = critical();
    chain.delete_ike();
    let answer = pair.ask(B, ExchangeType::INFORMATIONAL, 0, &chain);
    assert_eq!(answer, [NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD]);
    pair.now += Duration::from_secs(1);
    pair.ends[A].handle_timeout(pair.now);
    pair.drain();
    let (_, again) = pair.wire.pop_front().expect("our DELETE is not forgotten");
    assert_eq!(again.payload, ours.payload);
}

#[test]
fn a_request_that_does_not_parse_is_answered_before_authentication_too() {
    let mut pair = Pair::new();
    pair.pass();
    pair.pass();
    let mut twice = Chain::new();
    twice.id_i(&name(A)).id_i(&name(A));
    let answer = pair.ask(A, ExchangeType::IKE_AUTH, 1, &twice);
    assert_eq!(answer, [NotifyType::INVALID_SYNTAX]);
    assert_eq!(count(&pair.events[B], |e| matches!(e, Event::Refused { .. })), 1);
}

/// RFC 7296 §2.5: a higher major version is dropped and told which one we speak, a lower one only dropped.
#[test]
fn a_newer_version_is_told_ours_but_not_too_often() {
    let mut pair = Pair::up();
    let header = Header {
        spi_i: IkeSpi(7),
        spi_r: IkeSpi::ZERO,
        next_payload: PayloadType::NONE,
        version: 0x30,
        exchange: ExchangeType::IKE_SA_INIT,
        flags: Flags { initiator: true, ..Flags::default() },
        message_id: MessageId(0),
        len: 0,
    };
    let version = Disposition::Dropped(DropReason::Version);
    for header in [
        Header { version: 0x10, ..header },
        Header { flags: Flags { response: true, ..Flags::default() }, ..header },
    ] {
        assert_eq!(pair.deliver(A, &message(header, &Chain::new())), version);
        assert!(pair.wire.is_empty(), "{header:?} is not answered");
    }
    for _ in 0..100 {
        assert_eq!(pair.deliver(A, &message(header, &Chain::new())), version);
    }
    assert!((1..=10).contains(&pair.wire.len()), "{} answers", pair.wire.len());
    let (_, answer) = pair.wire.pop_front().unwrap();
    let told = Header::parse(&answer.payload).unwrap();
    assert_eq!(notifies(&answer.payload), [NotifyType::INVALID_MAJOR_VERSION]);
    assert!(told.version == Header::VERSION && told.flags.response && told.spi_i == IkeSpi(7));
    pair.wire.clear();
    pair.now += MINUTE;
    pair.deliver(A, &message(header, &Chain::new()));
    assert_eq!(pair.wire.len(), 1);
}

/// RFC 7296 §1.2: only IKE_AUTH authenticates.
#[test]
fn nothing_but_ike_auth_is_taken_before_authentication() {
    for exchange in [ExchangeType::INFORMATIONAL, ExchangeType::CREATE_CHILD_SA] {
        let mut pair = Pair::new();
        pair.pass();
        pair.pass();
        let mut chain = Chain::new();
        chain.delete_ike();
        assert_eq!(pair.ask(A, exchange, 1, &chain), [NotifyType::INVALID_SYNTAX]);
        assert!(pair.ends[B].children.is_empty());
        assert_eq!(count(&pair.events[B], |e| matches!(e, Event::PeerUp { .. })), 0);
    }
}

/// RFC 7296 §2.21.3: INVALID_SYNTAX is the end of the SA on both sides, whoever says it.
#[test]
fn an_exchange_out_of_place_is_fatal_to_both() {
    for exchange in [ExchangeType::IKE_AUTH, ExchangeType(200)] {
        let mut pair = Pair::up();
        let mut chain = Chain::new();
        chain.id_i(&name(A));
        assert_eq!(pair.ask(A, exchange, 2, &chain), [NotifyType::INVALID_SYNTAX]);
        assert!(pair.ends[B].children.is_empty());
    }
    let mut pair = Pair::up();
    pair.ends[A].rekey_ike(pair.now, PeerId(0)).unwrap();
    pair.drain();
    pair.wire.clear();
    let mut chain = Chain::new();
    chain.notify(NotifyType::INVALID_SYNTAX, &[]);
    let answer = pair.forge(B, ExchangeType::CREATE_CHILD_SA, (2, true), &chain);
    pair.deliver(B, &answer);
    assert!(pair.ends[A].children.is_empty());
    assert!(pair.wire.is_empty(), "without a DELETE");
}

/// The responder's first request overtakes its answer to IKE_AUTH: it is not taken, so that its repetition is.
#[test]
fn a_request_that_overtakes_the_answer_to_ike_auth_is_not_lost() {
    let mut pair = Pair::new();
    for _ in 0..3 {
        pair.pass();
    }
    let (_, auth) = pair.wire.pop_front().unwrap();
    pair.ends[B].disconnect(pair.now, PeerId(0)).unwrap();
    pair.drain();
    let (_, delete) = pair.wire.pop_front().unwrap();
    assert!(matches!(pair.deliver(B, &delete.payload), Disposition::Dropped(_)));
    pair.deliver(B, &auth.payload);
    assert_eq!(pair.deliver(B, &delete.payload), Disposition::Accepted);
    assert!(pair.ends[A].children.is_empty());
}

/// Both sides rekey the IKE SA, and one is told to end everything when it holds the SA that the other made but has no
/// answer to its own request: the other hears of it.
#[test]
fn the_end_in_the_middle_of_crossing_ike_rekeys_reaches_both() {
    let mut pair = Pair::up();
    for end in [A, B] {
        pair.ends[end].rekey_ike(pair.now, PeerId(0)).unwrap();
    }
    pair.drain();
    // A's request reaches B, whose answer moves A; everything else is lost.
    pair.pass();
    pair.wire.pop_front();
    pair.pass();
    pair.wire.clear();
    pair.ends[B].disconnect(pair.now, PeerId(0)).unwrap();
    pair.drain();
    pair.settle();
    let downs = |end: usize| count(&pair.events[end], |e| matches!(e, Event::PeerDown { .. }));
    assert_eq!((downs(A), downs(B)), (1, 1), "{:?}", pair.events[A]);
    assert!(pair.ends[A].children.is_empty());
}

/// Whoever sends our own IKE_SA_INIT back to us would make us talk to ourselves, and where both sides have the same
/// name, believe that this is the peer.
#[test]
fn our_own_request_sent_back_to_us_is_not_answered() {
    let mut pair = Pair::new();
    let (_, request) = pair.wire.pop_front().unwrap();
    let path = Path { local: address(A), remote: address(B) };
    let mut reflected = request.payload.to_vec();
    let disposition = pair.ends[A].handle_datagram(pair.now, path, &mut reflected);
    pair.drain();
    assert_eq!(disposition, Disposition::Dropped(DropReason::Unexpected));
    assert!(pair.wire.is_empty());
}

/// A peer without a key was refused; what it says after that does not keep the SA alive.
#[test]
fn a_refused_peer_cannot_stay() {
    let mut pair = Pair::new();
    pair.pass();
    pair.pass();
    pair.ask(A, ExchangeType::INFORMATIONAL, 1, &Chain::new());
    assert_eq!(pair.ends[B].sas.len(), 1);
    let mut chain = Chain::new();
    chain.delete_ike();
    for id in 2..30 {
        let request = pair.forge(A, ExchangeType::INFORMATIONAL, (id, false), &chain);
        pair.deliver(A, &request);
        pair.now += Duration::from_secs(1);
        pair.ends[B].handle_timeout(pair.now);
        pair.drain();
    }
    assert!(pair.ends[B].sas.is_empty());
}

/// RFC 7296 §2.1: for as long as the SA lives, and no longer; its maker may be made anew from the same seed.
#[test]
fn a_late_ike_sa_init_of_an_sa_that_is_up_is_ignored() {
    let mut pair = Pair::new();
    let (_, request) = pair.wire.front().cloned().unwrap();
    pair.settle();
    assert!(matches!(pair.deliver(A, &request.payload), Disposition::Dropped(_)));
    assert!(pair.wire.is_empty());
    assert_eq!(pair.ends[B].sas.len(), 1);
    pair.ends[B].disconnect(pair.now, PeerId(0)).unwrap();
    pair.drain();
    pair.run_for(MINUTE);
    pair.ends[B].connect(pair.now, PeerId(0)).unwrap();
    pair.drain();
    assert_eq!(pair.deliver(A, &request.payload), Disposition::Accepted);
}
