//! What RFCs beside RFC 7296 demand word for word: public values that are none in IKE_SA_INIT (RFC 6989 §2.5), NAT
//! detection in any INFORMATIONAL exchange (RFC 4555 §3.8).

use super::super::*;
use super::{INFORMATIONAL, answer_to, begin, read, rebuilt};

/// An IKE_SA_INIT message whose public value is none: on Curve25519, zero has small order.
fn with_bad_value(octets: &[u8]) -> Vec<u8> {
    rebuilt(octets, |payloads| {
        for (_, _, body) in payloads.iter_mut().filter(|(kind, ..)| *kind == PayloadType::KE) {
            // Group and reserved octets come first.
            body[4..].fill(0);
        }
    })
}

/// RFC 6989 §2.5: the message is dropped and nothing made of it; the real one counts when it comes.
#[test]
fn a_public_value_that_is_none_in_ike_sa_init_is_dropped() {
    let mut pair = Pair::new();
    let (_, request) = pair.wire.pop_front().unwrap();
    let bad = with_bad_value(&request.payload);
    assert_eq!(pair.deliver(A, &bad), Disposition::Dropped(DropReason::Malformed));
    assert!(pair.wire.is_empty() && pair.ends[B].sas.is_empty());
    let answer = answer_to(&mut pair, A, &request.payload);
    let bad = with_bad_value(&answer);
    assert_eq!(pair.deliver(B, &bad), Disposition::Dropped(DropReason::Unprotected));
    assert!(pair.wire.is_empty(), "no IKE_AUTH");
    assert_eq!(pair.deliver(B, &answer), Disposition::Accepted);
    pair.settle();
    assert_eq!((pair.ends[A].children.len(), pair.ends[B].children.len()), (1, 1));
}

/// RFC 4555 §3.8: whoever is told of NAT detection tells it in turn, and does nothing else.
#[test]
fn nat_detection_in_a_request_is_answered_in_kind() {
    let both = [NotifyType::NAT_DETECTION_SOURCE_IP, NotifyType::NAT_DETECTION_DESTINATION_IP];
    for mobike in [true, false] {
        let mut pair = Pair::empty();
        for end in [B, A] {
            let mut config = config(end);
            config.mobike = mobike;
            pair.ends[end].add_peer(pair.now, config);
        }
        pair.drain();
        pair.settle();
        let mut chain = Chain::new();
        for kind in both {
            chain.notify(kind, &[7; 20]);
        }
        let told = pair.ask(A, INFORMATIONAL, 2, &chain);
        assert_eq!(told, if mobike { both.to_vec() } else { vec![] });
        assert_eq!(count(&pair.events[B], |e| matches!(e, Event::PeerMoved { .. })), 0);
        assert_eq!(pair.ask(A, INFORMATIONAL, 3, &Chain::new()), [], "unasked");
    }
}

/// Delivers a message through a NAT before A that maps it to this port.
fn through_nat(pair: &mut Pair, port: u16, from: usize, payload: &[u8]) {
    let inside = SocketAddr::from(([10, 0, 0, 9], 500));
    let outside = SocketAddr::new(address(A).ip(), port);
    let path = if from == A {
        Path { local: address(B), remote: outside }
    } else {
        Path { local: inside, remote: address(B) }
    };
    pair.ends[B - from].handle_datagram(pair.now, path, &mut payload.to_vec());
    pair.drain();
}

/// RFC 4555 §3.8: an initiator behind a NAT asks with every look for life how the peer sees it, and sends an update when
/// that has changed.
#[test]
fn another_nat_mapping_is_noticed_and_told() {
    let mut pair = Pair::new();
    while let Some((from, sent)) = pair.wire.pop_front() {
        through_nat(&mut pair, 500, from, &sent.payload);
    }
    let detection = NotifyType::NAT_DETECTION_DESTINATION_IP;
    // The first time there is nothing to compare with.
    for (port, changed) in
        [(500, true), (500, false), (500, false), (40_000, true), (40_000, false)]
    {
        pair.now += Duration::from_secs(31);
        let look = begin(&mut pair, A, Endpoint::handle_timeout);
        assert!(read(&mut pair, B, &look, |body| body.notify(detection).is_some()));
        through_nat(&mut pair, port, A, &look);
        let mut updates = 0;
        while let Some((from, sent)) = pair.wire.pop_front() {
            updates += usize::from(
                from == A && {
                    let kind = NotifyType::UPDATE_SA_ADDRESSES;
                    read(&mut pair, B, &sent.payload, |body| body.notify(kind).is_some())
                },
            );
            through_nat(&mut pair, port, from, &sent.payload);
        }
        assert_eq!(updates, usize::from(changed), "from port {port}");
    }
}
