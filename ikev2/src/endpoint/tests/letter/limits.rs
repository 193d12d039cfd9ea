//! Ends that an answer or the clock brings: INVALID_SYNTAX from the peer (RFC 7296 §2.21.3), public values that are none
//! (RFC 6989 §2.5), children that are too old (RFC 7296 §2.8); and the SPI that no initiator has (§3.1).

use super::super::*;
use super::endings::{long_lived_b, refuse_all};
use super::{begin, child_offer, ike_offer, newest_child};
use crate::registry::KeMethod;

const INFORMATIONAL: ExchangeType = ExchangeType::INFORMATIONAL;
const CREATE_CHILD_SA: ExchangeType = ExchangeType::CREATE_CHILD_SA;

/// What A has sent that is not delivered: exchange, and whether it is an answer.
fn sent_by_a(pair: &Pair) -> Vec<(ExchangeType, bool)> {
    let of_a = pair.wire.iter().filter(|(from, _)| *from == A);
    let headers = of_a.map(|(_, sent)| Header::parse(&sent.payload).unwrap());
    headers.map(|header| (header.exchange, header.flags.response)).collect()
}

fn downs(pair: &Pair) -> usize {
    count(&pair.events[A], |event| matches!(event, Event::PeerDown { .. }))
}

/// RFC 7296 §2.21.3: INVALID_SYNTAX has ended the SA at the peer, so there is nobody to tell with a DELETE.
#[test]
fn an_answer_of_invalid_syntax_ends_the_sa_without_a_word() {
    type Act = fn(&mut Endpoint, Instant, ChildId);
    let acts: [(ExchangeType, Act); 3] = [
        (CREATE_CHILD_SA, |end, now, child| end.rekey_child(now, child).unwrap()),
        (CREATE_CHILD_SA, |end, now, _| end.rekey_ike(now, PeerId(0)).unwrap()),
        (INFORMATIONAL, |end, _, _| end.handle_timeout(end.poll_timeout().unwrap().at)),
    ];
    for (exchange, act) in acts {
        let mut pair = Pair::up();
        let child = newest_child(&pair, A);
        let request = begin(&mut pair, A, |end, now| act(end, now, child));
        assert_eq!(Header::parse(&request).unwrap().exchange, exchange);
        let mut chain = Chain::new();
        chain.notify(NotifyType::INVALID_SYNTAX, &[]);
        let answer = pair.forge(B, exchange, (2, true), &chain);
        pair.deliver(B, &answer);
        assert_eq!((downs(&pair), sent_by_a(&pair)), (1, vec![]), "{exchange}");
        assert!(pair.ends[A].children.is_empty());
    }
}

/// RFC 6989 §2.5: whoever gets a public value that is none in an answer deletes the IKE SA.
#[test]
fn an_answer_with_a_public_value_that_is_none_ends_the_sa_with_a_delete() {
    let values: [&[u8]; 3] = [&[0; 32], &[9; 31], &[]];
    for value in values {
        for ike in [false, true] {
            let mut pair = Pair::empty();
            for end in [B, A] {
                let mut config = config(end);
                let words = "aes256gcm16-curve25519-noesn";
                config.children[0].proposals = vec![Proposal::esp_from_keywords(words).unwrap()];
                pair.ends[end].add_peer(pair.now, config);
            }
            pair.drain();
            pair.settle();
            let child = newest_child(&pair, A);
            let _request = begin(&mut pair, A, |end, now| {
                if ike { end.rekey_ike(now, PeerId(0)) } else { end.rekey_child(now, child) }
                    .unwrap();
            });
            // Another request of that number takes its place at B, which then knows what comes next.
            pair.ask(A, INFORMATIONAL, 2, &Chain::new());
            let mut chain = Chain::new();
            if ike {
                chain = ike_offer(IKE);
            } else {
                let esp = "aes256gcm16-curve25519-noesn";
                child_offer(&mut chain, esp, (&[subnet(A)], &[subnet(B)]));
            }
            chain.ke(KeMethod::CURVE25519, value);
            let answer = pair.forge(B, CREATE_CHILD_SA, (2, true), &chain);
            pair.deliver(B, &answer);
            assert_eq!(sent_by_a(&pair), [(INFORMATIONAL, false)], "a DELETE, {ike} {value:?}");
            assert_eq!(downs(&pair), 1);
            pair.settle();
            assert!(pair.ends[A].children.is_empty() && pair.ends[B].children.is_empty());
        }
    }
}

/// RFC 7296 §2.8: a child that could not be replaced goes at its age, before the peer has answered the DELETE. Its IKE SA
/// stays, and another child is asked for.
#[test]
fn a_child_that_is_too_old_is_not_used_while_its_delete_waits() {
    let mut pair = long_lived_b();
    let child = newest_child(&pair, A);
    let gone = |pair: &Pair| {
        count(
            &pair.events[A],
            |event| matches!(event, Event::ChildDown { child: down, .. } if *down == child),
        )
    };
    // An hour and a tenth, less half a minute.
    let close = Duration::from_secs(30);
    let nearly = Duration::from_mins(65) + close;
    let refused = NotifyType::NO_PROPOSAL_CHOSEN;
    // A's IKE SA has a longer life.
    let tried = refuse_all(&mut pair, refused, nearly);
    assert!(tried.iter().filter(|exchange| **exchange == CREATE_CHILD_SA).count() > 1);
    assert_eq!((gone(&pair), downs(&pair)), (0, 0), "not before its time");
    let end = pair.now + close;
    while gone(&pair) == 0 {
        let at = pair.ends[A].poll_timeout().expect("a deadline").at;
        assert!(at <= end, "late");
        pair.now = pair.now.max(at);
        pair.ends[A].handle_timeout(pair.now);
        pair.drain();
    }
    assert!(!sent_by_a(&pair).is_empty(), "the DELETE, or a request that it waits for");
    assert_eq!(downs(&pair), 0);
    pair.wire.clear();
    pair.run_for(MINUTE);
    assert_eq!((pair.ends[A].children.len(), downs(&pair)), (1, 0), "another one");
}

/// RFC 7296 §3.1: no initiator has the SPI zero.
#[test]
fn a_request_with_the_spi_zero_begins_nothing() {
    let mut pair = Pair::new();
    let (_, request) = pair.wire.pop_front().unwrap();
    let mut zero = request.payload.to_vec();
    zero[..8].fill(0);
    assert_eq!(pair.deliver(A, &zero), Disposition::Dropped(DropReason::Malformed));
    assert!(pair.wire.is_empty() && pair.ends[B].sas.is_empty());
}
