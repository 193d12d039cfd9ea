//! Exchanges that cross, and refusals that mean to wait or to begin anew (RFC 7296 §2.8.2, §2.25).
//!
//! ```text
//!   B ── its own request, held back ──►        the state that §2.25 speaks of
//!   A ── request ──►  B ── answer ──►          what that state demands
//! ```

use super::*;

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
        assert!(body.ke.is_none(), "no group in the proposals, no KE (RFC 7296 §3.4)");
        assert_eq!(body.ts_i.as_deref(), Some(&[subnet(A)][..]), "as before (RFC 7296 §2.9.2)");
        assert_eq!(body.ts_r.as_deref(), Some(&[subnet(B)][..]));
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
    let requests = [A, B].map(|end| {
        let child = newest_child(&pair, end);
        begin(&mut pair, end, |endpoint, now| {
            let spi = *endpoint.children.get(&child).unwrap();
            let Endpoint { sas, shared, .. } = endpoint;
            sas.get_mut(&spi).unwrap().expire_child(child, &mut Cx { now, shared });
        })
    });
    for (end, spi) in [A, B].into_iter().zip(spis) {
        let deleted = read(&mut pair, B - end, &requests[end], |body| body.deletes[0].spis.clone());
        assert_eq!(deleted, [spi], "each names the SA on which it receives");
    }
    for end in [A, B] {
        let answer = answer_to(&mut pair, end, &requests[end]);
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

/// RFC 7296 §2.8.1: each side may replace a child once, at the same time; what the peer has replaced it cannot replace
/// again, or a pair would stay that nobody deletes.
#[test]
fn a_peer_replaces_a_child_once_while_we_replace_it() {
    let mut pair = Pair::up();
    let child = newest_child(&pair, B);
    let _request = begin(&mut pair, B, |end, now| end.rekey_child(now, child).unwrap());
    let spi = spi_in(&pair, A).to_be_bytes();
    for (id, answer) in [(2, &[][..]), (3, &[NotifyType::TEMPORARY_FAILURE])] {
        let mut chain = Chain::new();
        chain.notify_spi(ProtocolId::ESP, &spi, NotifyType::REKEY_SA, &[]);
        child_offer(&mut chain, ESP, (&[subnet(A)], &[subnet(B)]));
        assert_eq!(pair.ask(A, CREATE_CHILD_SA, id, &chain), answer);
    }
    assert_eq!(pair.ends[B].children.len(), 2);
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
