//! SPIs that two choose alike, or that nobody may choose (RFC 7296 §2.6, §2.11; RFC 4303 §2.1).
//!
//! ```text
//!   A, C ── IKE_SA_INIT with the same SPIi ──► B        two SAs: B finds them by the SPIs that it chose itself
//!   A    ── ESP SPI that it uses already   ──► B        two children: B finds them by theirs, sends by the packet
//! ```

use super::letter::rebuilt;
use super::requests::children;
use super::*;
use crate::registry::ProtocolId;

fn offer(spi: u32) -> Chain {
    let mut proposal = Proposal::esp_from_keywords(ESP).unwrap();
    (proposal.spi, proposal.number) = (spi.to_be_bytes().to_vec(), 1);
    let mut chain = Chain::new();
    chain.sa(&[proposal]).nonce(&[7; 32]).ts_i(&[subnet(A)]).ts_r(&[subnet(B)]);
    chain
}

/// The request with another nonce, as another initiator with the same SPI would send it.
fn with_nonce(request: &[u8], octet: u8) -> Vec<u8> {
    rebuilt(request, |payloads| {
        let nonce = payloads.iter_mut().find(|payload| payload.0 == PayloadType::NONCE).unwrap();
        nonce.2.fill(octet);
    })
}

/// Two hosts with the same seed choose the same SPI, nonce and key pair.
#[test]
fn two_initiators_with_the_same_spi_get_an_sa_each() {
    let elsewhere = SocketAddr::from(([192, 0, 2, 3], 500));
    let mut pair = Pair::new();
    let mut third = Endpoint::new(EndpointConfig::default(), [1; 32]);
    let mut theirs = config(A);
    theirs.paths = vec![Path { local: elsewhere, remote: address(B) }];
    theirs.local_id = Some(Identity::Fqdn("c.test".into()));
    let mut ours = config(B);
    ours.paths = vec![Path { local: address(B), remote: elsewhere }];
    ours.remote_id = RemoteId::Exact(Identity::Fqdn("c.test".into()));
    pair.ends[B].add_peer(pair.now, ours);
    third.add_peer(pair.now, theirs);
    let (_, first) = pair.wire.front().cloned().unwrap();
    let mut of_third = Vec::new();
    let mut events = Vec::new();
    let mut spis = Vec::new();
    // Message by message, the one of A before the one of C.
    for _ in 0..4 {
        if let Some((from, sent)) = pair.wire.pop_front() {
            pair.deliver(from, &sent.payload);
        }
        while let Some(event) = third.poll_event() {
            events.push(event);
        }
        while let Some(sent) = third.poll_transmit() {
            of_third.push(sent);
        }
        for sent in of_third.drain(..) {
            spis.push(Header::parse(&sent.payload).unwrap().spi_i);
            let path = Path { local: sent.path.remote, remote: sent.path.local };
            let mut octets = sent.payload.to_vec();
            pair.ends[B].handle_datagram(pair.now, path, &mut octets);
        }
        pair.drain();
        let (answers, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut pair.wire)
            .into_iter()
            .partition(|(_, sent)| sent.path.remote.ip() == elsewhere.ip());
        pair.wire.extend(rest);
        for (_, sent) in answers {
            let path = Path { local: sent.path.remote, remote: sent.path.local };
            third.handle_datagram(pair.now, path, &mut sent.payload.to_vec());
        }
    }
    while let Some(event) = third.poll_event() {
        events.push(event);
    }
    assert_eq!(spis[0], Header::parse(&first.payload).unwrap().spi_i, "the same SPI");
    assert_eq!((pair.ends[A].children.len(), third.children.len()), (1, 1), "{events:?}");
    assert_eq!((pair.ends[B].sas.len(), pair.ends[B].children.len()), (2, 2));
    let up = children(&pair, B);
    assert_ne!(up[0].peer, up[1].peer);
    // Each of them lives on its own.
    pair.ends[A].rekey_ike(pair.now, PeerId(0)).unwrap();
    pair.drain();
    pair.settle();
    pair.ends[A].disconnect(pair.now, PeerId(0)).unwrap();
    pair.drain();
    pair.settle();
    let left = children(&pair, B);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].peer, PeerId(1));
}

/// VPP once let the second initiator take the place of the first, which was authenticated (robustness T51).
#[test]
fn an_ike_sa_init_with_the_spi_of_an_sa_that_is_up_leaves_that_alone() {
    let mut pair = Pair::new();
    let (_, request) = pair.wire.front().cloned().unwrap();
    pair.settle();
    let before = children(&pair, B)[0].spi_in;
    for octet in 0..4 {
        let disposition = pair.deliver(A, &with_nonce(&request.payload, octet));
        assert_eq!(disposition, Disposition::Accepted, "another SA begins");
    }
    assert_eq!(pair.ends[B].sas.len(), 5);
    assert_eq!(pair.ask(A, ExchangeType::INFORMATIONAL, 2, &Chain::new()), []);
    assert_eq!(children(&pair, B)[0].spi_in, before);
    pair.wire.clear();
    pair.now += 2 * MINUTE;
    pair.ends[B].handle_timeout(pair.now);
    pair.drain();
    assert_eq!(pair.ends[B].sas.len(), 1, "those that nobody authenticates go");
    assert_eq!(children(&pair, B)[0].spi_in, before);
}

/// The SPI that we chose, in either role, as the SPI of a stranger; and as the responder's SPI in front of nothing.
#[test]
fn an_ike_sa_init_with_an_spi_of_ours_begins_nothing_and_ends_nothing() {
    let mut pair = Pair::new();
    let (_, request) = pair.wire.front().cloned().unwrap();
    pair.settle();
    for end in [A, B] {
        let ours = *pair.ends[end].sas.keys().next().unwrap();
        let header = Header::parse(&request.payload).unwrap();
        for header in [
            Header { spi_i: ours, ..header },
            Header { spi_i: ours, spi_r: ours, ..header },
            Header { spi_r: ours, ..header },
            Header { spi_i: IkeSpi::ZERO, ..header },
            Header { spi_i: IkeSpi::ZERO, spi_r: ours, ..header },
        ] {
            let forged = [&header.emit()[..], &request.payload[Header::LEN..]].concat();
            let disposition = pair.deliver(B - end, &forged);
            assert!(matches!(disposition, Disposition::Dropped(_)), "{header:?}");
            assert!(pair.wire.is_empty(), "no word");
        }
        assert_eq!((pair.ends[end].sas.len(), pair.ends[end].children.len()), (1, 1));
    }
    assert_eq!(pair.ask(A, ExchangeType::INFORMATIONAL, 2, &Chain::new()), []);
}

/// Guesses of the responder's SPI find nothing, and an SPI that is right does not help without keys.
#[test]
fn guesses_of_spis_find_nothing() {
    let mut pair = Pair::up();
    let ours = *pair.ends[B].sas.keys().next().unwrap();
    let header = Header {
        spi_i: IkeSpi(1),
        spi_r: ours,
        next_payload: PayloadType::SK,
        version: Header::VERSION,
        exchange: ExchangeType::INFORMATIONAL,
        flags: Flags { initiator: true, ..Flags::default() },
        message_id: MessageId(2),
        len: 0,
    };
    for bit in 0..64 {
        let guess = Header { spi_r: IkeSpi(ours.0 ^ (1 << bit)), ..header };
        let disposition = pair.deliver(A, &message(guess, &Chain::new()));
        assert_eq!(disposition, Disposition::Dropped(DropReason::UnknownSpi));
    }
    // Ours is right, the peer's is not.
    let disposition = pair.deliver(A, &message(header, &Chain::new()));
    assert_eq!(disposition, Disposition::Dropped(DropReason::UnknownSpi));
    assert!(pair.wire.is_empty());
}

/// RFC 4303 §2.1: 0 to 255 are no SPIs of SAs. Asked for: refused. In an answer: undone.
#[test]
fn esp_spis_up_to_255_are_refused() {
    let mut pair = Pair::up();
    for (id, spi) in (2..).zip([0, 1, 254, 255]) {
        let answer = pair.ask(A, ExchangeType::CREATE_CHILD_SA, id, &offer(spi));
        assert_eq!(answer, [NotifyType::NO_PROPOSAL_CHOSEN], "{spi}");
    }
    assert_eq!(pair.ask(A, ExchangeType::CREATE_CHILD_SA, 6, &offer(256)), []);
    assert_eq!(pair.ends[B].shared.esp_spis.len(), 2);
    for spi in [0, 1, 254, 255] {
        let mut pair = Pair::up();
        let child = *pair.ends[A].children.keys().next().unwrap();
        pair.ends[A].rekey_child(pair.now, child).unwrap();
        pair.drain();
        pair.ask(A, ExchangeType::INFORMATIONAL, 2, &Chain::new());
        let answer = pair.forge(B, ExchangeType::CREATE_CHILD_SA, (2, true), &offer(spi));
        pair.deliver(B, &answer);
        assert_eq!(children(&pair, A).len(), 1, "{spi}");
        assert!(pair.ends[A].children.contains_key(&child));
        pair.settle();
        assert_eq!(pair.ends[A].shared.esp_spis.len(), 1, "{spi}: none is left behind");
    }
}

/// SPIs of other lengths than four octets are none of ESP's: the proposal does not parse, which ends the SA.
#[test]
fn esp_spis_of_other_lengths_are_refused() {
    for len in [0, 1, 3, 5, 8, 255] {
        let mut pair = Pair::up();
        let mut proposal = Proposal::esp_from_keywords(ESP).unwrap();
        (proposal.spi, proposal.number) = (vec![7; len], 1);
        let mut chain = Chain::new();
        chain.sa(&[proposal]).nonce(&[7; 32]).ts_i(&[subnet(A)]).ts_r(&[subnet(B)]);
        let request = pair.forge(A, ExchangeType::CREATE_CHILD_SA, (2, false), &chain);
        pair.wire.clear();
        pair.deliver(A, &request);
        let (_, answer) = pair.wire.pop_front().expect("an answer");
        let answer = pair.open(A, &answer.payload);
        assert_eq!(answer, [NotifyType::INVALID_SYNTAX], "{len}");
        assert!(pair.ends[B].children.is_empty());
    }
}

/// The peer says that it receives two children on one SPI, or on one that is ours: SPIs belong to the receiver, so that is
/// its own affair. Ours differ, and what the peer deletes goes one by one.
#[test]
fn an_esp_spi_that_the_peer_uses_twice_confuses_only_the_peer() {
    let mut pair = Pair::up();
    let first = children(&pair, B)[0].clone();
    for (id, spi) in (2..).zip([first.spi_out, first.spi_in]) {
        let answer = pair.ask(A, ExchangeType::CREATE_CHILD_SA, id, &offer(spi));
        assert_eq!(answer, []);
    }
    let up = children(&pair, B);
    assert_eq!(up.len(), 3);
    let mut ours: Vec<u32> = up.iter().map(|child| child.spi_in).collect();
    ours.sort_unstable();
    ours.dedup();
    assert_eq!(ours.len(), 3, "ours differ");
    assert_eq!(up[0], first, "the first is as it was");
    // Two deletes of the same SPI, two children less.
    for (id, left) in [(4, 2), (5, 1), (6, 1)] {
        let mut chain = Chain::new();
        chain.delete_esp(&[first.spi_out]);
        assert_eq!(pair.ask(A, ExchangeType::INFORMATIONAL, id, &chain), []);
        assert_eq!(children(&pair, B).len(), left);
    }
    assert_eq!(children(&pair, B)[0].spi_out, first.spi_in);
}

/// The same in a rekey: the pair that replaces another has its SPI.
#[test]
fn a_rekey_to_the_spi_that_is_replaced_leaves_one_child() {
    let mut pair = Pair::up();
    let first = children(&pair, B)[0].clone();
    let spi = first.spi_out;
    let mut chain = offer(spi);
    chain.notify_spi(ProtocolId::ESP, &spi.to_be_bytes(), NotifyType::REKEY_SA, &[]);
    assert_eq!(pair.ask(A, ExchangeType::CREATE_CHILD_SA, 2, &chain), []);
    assert_eq!(children(&pair, B).len(), 2);
    let mut chain = Chain::new();
    chain.delete_esp(&[spi]);
    assert_eq!(pair.ask(A, ExchangeType::INFORMATIONAL, 3, &chain), []);
    let left = children(&pair, B);
    assert_eq!(left.len(), 1);
    assert_ne!(left[0].spi_in, first.spi_in, "the old one went");
}
