//! Rekeys that cross, in every order in which their four messages can arrive, against the rules of RFC 7296 §2.8.1 and
//! §2.8.2 written out here.
//!
//! ```text
//!   A ── request a ──►  ◄── answer to a ── B          orders of a a' and b b':
//!   B ── request b ──►  ◄── answer to b ── A            a a' b b'    A had the new SA when b came: b is refused, A's stays
//!                                                       b b' a a'    the other way about
//!                                                       all others   they crossed: the lowest of four nonces decides
//! ```
//!
//! The SA with the lowest nonce is closed by whoever made it; the old one by whoever made the survivor.

use super::*;
use crate::registry::ProtocolId;
use crate::wire::selector::TrafficSelector;

/// One side's exchange: what it asked for and the answer, as they were sent.
#[derive(Debug, Clone, Default)]
struct Exchange {
    request: Vec<u8>,
    answer: Vec<u8>,
    nonces: Vec<Vec<u8>>,
    /// What it proposed, and what it was answered with: SPIs of the requester and of the responder.
    spis: Vec<Vec<u8>>,
}

/// The six orders: whose message is next, each side's request before its answer.
const ORDERS: [[usize; 4]; 6] =
    [[A, A, B, B], [A, B, A, B], [A, B, B, A], [B, A, A, B], [B, A, B, A], [B, B, A, A]];

/// Who makes the SA that stays.
fn survivor(order: [usize; 4], exchanges: &[Exchange; 2]) -> usize {
    match order {
        [A, A, B, B] => A,
        [B, B, A, A] => B,
        _ => {
            let lowest = |end: usize| exchanges[end].nonces.iter().min().unwrap().clone();
            if lowest(A) < lowest(B) { B } else { A }
        }
    }
}

/// Nonce and SPI of a CREATE_CHILD_SA message to `end`, while its SA is the old one.
fn contents(pair: &mut Pair, end: usize, payload: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (sa, _) = pair.sa(end);
    let mut octets = payload.to_vec();
    let authentic = sa.peek(&mut octets);
    let body = Body::parse(authentic.first, authentic.plain).unwrap();
    Some((body.nonce?.to_vec(), body.sa?[0].spi.clone()))
}

/// What a DELETE says, opened by the receiver's SA that it belongs to.
fn deleted(pair: &mut Pair, to: usize, payload: &[u8]) -> Vec<Vec<u8>> {
    let header = Header::parse(payload).unwrap();
    let ours = if header.flags.initiator { header.spi_r } else { header.spi_i };
    let Some(sa) = pair.ends[to].sas.get_mut(&ours) else { return Vec::new() };
    let mut octets = payload.to_vec();
    let authentic = sa.peek(&mut octets);
    let body = Body::parse(authentic.first, authentic.plain).unwrap();
    let mut named = Vec::new();
    for delete in &body.deletes {
        if delete.protocol == ProtocolId::ESP {
            named.extend(delete.spis.iter().map(|spi| spi.to_be_bytes().to_vec()));
        } else {
            let mut both = [header.spi_i.octets().to_vec(), header.spi_r.octets().to_vec()];
            both.sort();
            named.push(both.concat());
        }
    }
    named
}

/// Plays both rekeys in this order, each message as often as `copies` says; who deleted what afterwards, by request.
fn play(
    pair: &mut Pair,
    order: [usize; 4],
    copies: [usize; 4],
) -> ([Exchange; 2], Vec<(usize, Vec<u8>)>) {
    let mut exchanges = [Exchange::default(), Exchange::default()];
    for end in [A, B] {
        let at = pair.wire.iter().position(|(from, _)| *from == end).expect("a request");
        let (_, sent) = pair.wire.remove(at).unwrap();
        exchanges[end].request = sent.payload.to_vec();
        let (nonce, spi) = contents(pair, B - end, &sent.payload).expect("an offer");
        exchanges[end].nonces.push(nonce);
        exchanges[end].spis.push(spi);
    }
    let mut later: VecDeque<(usize, Transmit)> = VecDeque::new();
    for (turn, end) in order.into_iter().enumerate() {
        let is_answer = !exchanges[end].answer.is_empty();
        let (from, octets) = if is_answer {
            (B - end, exchanges[end].answer.clone())
        } else {
            (end, exchanges[end].request.clone())
        };
        for copy in 0..copies[turn] {
            pair.deliver(from, &octets);
            let sent: Vec<_> = std::mem::take(&mut pair.wire).into_iter().collect();
            for (sender, transmit) in sent {
                let header = Header::parse(&transmit.payload).unwrap();
                let answers = header.flags.response
                    && header.exchange == ExchangeType::CREATE_CHILD_SA
                    && sender == B - end;
                if answers && !is_answer && copy == 0 {
                    exchanges[end].answer = transmit.payload.to_vec();
                    if let Some((nonce, spi)) = contents(pair, end, &transmit.payload) {
                        exchanges[end].nonces.push(nonce);
                        exchanges[end].spis.push(spi);
                    }
                } else if !answers {
                    later.push_back((sender, transmit));
                }
            }
        }
    }
    let mut deletes = Vec::new();
    pair.wire = later;
    while let Some((from, sent)) = pair.wire.pop_front() {
        let header = Header::parse(&sent.payload).unwrap();
        if !header.flags.response && header.exchange == ExchangeType::INFORMATIONAL {
            deletes.extend(deleted(pair, B - from, &sent.payload).into_iter().map(|d| (from, d)));
        }
        pair.deliver(from, &sent.payload);
    }
    deletes.sort();
    deletes.dedup();
    (exchanges, deletes)
}

/// Every message once, and each of them twice.
const COPIES: [[usize; 4]; 3] = [[1, 1, 1, 1], [2, 1, 2, 1], [2, 2, 2, 2]];

#[test]
fn crossing_rekeys_of_a_child_end_as_the_rfc_says() {
    let mut survivors = [0, 0];
    for seed in 0..24 {
        for order in ORDERS {
            for copies in COPIES {
                let mut pair = Pair::seeded(seed);
                let old = [A, B].map(|end| requests::children(&pair, end)[0].spi_in);
                for end in [A, B] {
                    let child = *pair.ends[end].children.keys().next().unwrap();
                    pair.ends[end].rekey_child(pair.now, child).unwrap();
                }
                pair.drain();
                let (exchanges, deletes) = play(&mut pair, order, copies);
                let winner = survivor(order, &exchanges);
                survivors[winner] += 1;
                let what = format!("seed {seed}, {order:?}, {copies:?}: {deletes:02x?}");
                // The old pair, by its SPI at the deleter; and the redundant one, if it came to be.
                let mut expected = vec![(winner, old[winner].to_be_bytes().to_vec())];
                let loser = &exchanges[B - winner];
                if loser.spis.len() == 2 {
                    expected.push((B - winner, loser.spis[0].clone()));
                }
                expected.sort();
                assert_eq!(deletes, expected, "{what}");
                for end in [A, B] {
                    let left = requests::children(&pair, end);
                    assert_eq!(left.len(), 1, "{what}");
                    let side = usize::from(end != winner);
                    let spi = left[0].spi_in.to_be_bytes();
                    assert_eq!(exchanges[winner].spis[side], spi, "{what}");
                    assert_eq!(pair.ends[end].shared.esp_spis.len(), 1, "{what}");
                }
            }
        }
    }
    assert!(survivors.iter().all(|count| *count > 100), "{survivors:?}");
}

#[test]
fn crossing_rekeys_of_the_ike_sa_end_as_the_rfc_says() {
    let mut survivors = [0, 0];
    for seed in 0..24 {
        for order in ORDERS {
            for copies in COPIES {
                let mut pair = Pair::seeded(seed);
                let spis = |a: &[u8], b: &[u8]| {
                    let mut both = [a.to_vec(), b.to_vec()];
                    both.sort();
                    both.concat()
                };
                let [ours, theirs] =
                    [A, B].map(|end| pair.ends[end].sas.keys().next().unwrap().octets());
                let old = spis(&ours, &theirs);
                for end in [A, B] {
                    pair.ends[end].rekey_ike(pair.now, PeerId(0)).unwrap();
                }
                pair.drain();
                let (exchanges, deletes) = play(&mut pair, order, copies);
                let winner = survivor(order, &exchanges);
                survivors[winner] += 1;
                let what = format!("seed {seed}, {order:?}, {copies:?}: {deletes:02x?}");
                let mut expected = vec![(winner, old)];
                let loser = &exchanges[B - winner];
                if loser.spis.len() == 2 {
                    expected.push((B - winner, spis(&loser.spis[0], &loser.spis[1])));
                }
                expected.sort();
                assert_eq!(deletes, expected, "{what}");
                pair.run_for(4 * MINUTE);
                for end in [A, B] {
                    let side = usize::from(end != winner);
                    let left: Vec<_> = pair.ends[end].sas.keys().map(|spi| spi.octets()).collect();
                    assert_eq!(left.len(), 1, "{what}");
                    assert_eq!(exchanges[winner].spis[side], left[0], "{what}");
                    assert_eq!(pair.ends[end].children.len(), 1, "{what}");
                    let down = |event: &Event| matches!(event, Event::PeerDown { .. });
                    assert_eq!(count(&pair.events[end], down), 0, "{what}");
                }
            }
        }
    }
    assert!(survivors.iter().all(|count| *count > 100), "{survivors:?}");
}

/// The peer's rekey won and the peer deleted the old SA, before it saw our request: nobody is there any more who would answer it
/// (RFC 7296 §2.25.2).
#[test]
fn what_was_asked_of_an_sa_that_the_peer_deleted_is_not_asked_again() {
    let mut pair = Pair::seeded(1);
    let old = pair.sa(A).0.spi;
    for end in [A, B] {
        pair.ends[end].rekey_ike(pair.now, PeerId(0)).unwrap();
    }
    pair.drain();
    pair.wire.retain(|(from, _)| *from == B);
    pair.settle();
    assert_ne!(pair.sa(A).0.spi, old);
    for _ in 0..180 {
        pair.now += Duration::from_secs(1);
        pair.ends[A].handle_timeout(pair.now);
        pair.drain();
        for (_, sent) in pair.wire.drain(..) {
            let header = Header::parse(&sent.payload).unwrap();
            assert!(![header.spi_i, header.spi_r].contains(&old), "{header:?}");
        }
    }
}

/// The peer's new IKE SA waits for what becomes of our own rekey; meanwhile we move. It is taken over where we are then.
#[test]
fn an_ike_sa_that_waits_for_the_end_of_a_crossing_moves_along() {
    let mut pair = Pair::seeded(1);
    for end in [A, B] {
        pair.ends[end].rekey_ike(pair.now, PeerId(0)).unwrap();
    }
    pair.drain();
    let old = pair.sa(A).0.spi;
    pair.wire.retain(|(from, _)| *from == B);
    assert_eq!(pair.pass(), Disposition::Accepted);
    let local = "10.99.0.1:4500".parse().unwrap();
    let path = Path { local, remote: address(B) };
    pair.ends[A].set_paths(pair.now, PeerId(0), &[path]).unwrap();
    pair.drain();
    pair.wire
        .retain(|(from, sent)| *from == B || Header::parse(&sent.payload).unwrap().flags.response);
    assert_eq!(pair.pass(), Disposition::Accepted, "our answer");
    assert_eq!(pair.pass(), Disposition::Accepted, "the peer's DELETE");
    let (sa, _) = pair.sa(A);
    assert_ne!(sa.spi, old);
    assert_eq!(sa.path().map(|path| path.local), Some(local));
}

/// Each side wants to replace what the other is deleting, and is put off. The DELETEs must not wait for that to end: it ends with
/// them.
#[test]
fn replacing_what_the_other_side_deletes_keeps_no_delete_waiting() {
    let mut pair = Pair::empty();
    for end in [B, A] {
        let mut peer = config(end);
        let mut second = peer.children[0].clone();
        (second.local, second.remote) = (vec![net(end)], vec![net(B - end)]);
        peer.children.push(second);
        pair.ends[end].add_peer(pair.now, peer);
    }
    pair.drain();
    pair.settle();
    let before = [A, B].map(|end| ids(&pair, end));
    for (end, replaced) in [(A, 0), (B, 1)] {
        assert_eq!(before[end].len(), 2);
        pair.ends[end].rekey_child(pair.now, before[end][replaced]).unwrap();
        pair.ends[end].expire_child(pair.now, before[end][1 - replaced]).unwrap();
    }
    pair.drain();
    pair.run_for(MINUTE);
    for end in [A, B] {
        let after = ids(&pair, end);
        assert_eq!(after.len(), 2, "{after:?}");
        assert!(after.iter().all(|id| !before[end].contains(id)), "{after:?}");
    }
}

/// The peer's DELETE of what replaced a child overtakes the answer that makes it. The old one is replaced nevertheless, and would stay
/// with one side as one that cannot be replaced any more.
#[test]
fn a_child_whose_successor_is_deleted_before_it_is_known_goes_too() {
    let mut pair = Pair::up();
    let before = [A, B].map(|end| ids(&pair, end));
    pair.ends[A].rekey_child(pair.now, before[A][0]).unwrap();
    pair.drain();
    assert_eq!(pair.pass(), Disposition::Accepted);
    let answer = pair.wire.pop_front().expect("the answer");
    let successor = *ids(&pair, B).last().unwrap();
    pair.ends[B].expire_child(pair.now, successor).unwrap();
    pair.drain();
    pair.wire.push_back(answer);
    pair.run_for(MINUTE);
    for end in [A, B] {
        let after = ids(&pair, end);
        assert_eq!(after.len(), 1, "{after:?}");
        assert!(!before[end].contains(&after[0]), "{after:?}");
    }
}

/// What the peer put in the place of a child, while our own rekey of that waited, comes to its end before ours is settled: then the old
/// one, which the peer deletes, has no successor.
#[test]
fn a_child_whose_successor_comes_to_its_end_first_is_asked_for_again() {
    let mut pair = called(Start::Always);
    rekey_both(&mut pair);
    // B's request is granted; the answer to it and A's request, which is lost at first, are on their way.
    pair.wire.retain(|(from, _)| *from == B);
    assert_eq!(pair.pass(), Disposition::Accepted);
    let successor = *ids(&pair, A).last().unwrap();
    pair.ends[A].expire_child(pair.now, successor).unwrap();
    pair.drain();
    pair.run_for(MINUTE);
    assert_eq!([A, B].map(|end| ids(&pair, end).len()), [1, 1]);
}

/// The peer replaced a child that we were replacing, too, and ended both before our request came: nothing is left of either rekey.
#[test]
fn when_nothing_is_left_of_two_rekeys_that_crossed_a_child_is_asked_for() {
    let mut pair = called(Start::Always);
    rekey_both(&mut pair);
    let late = pair.wire.iter().position(|(from, _)| *from == A).unwrap();
    let (_, late) = pair.wire.remove(late).unwrap();
    pair.settle();
    let made = ids(&pair, B);
    forget_children(&mut pair);
    assert_eq!((made.len(), ids(&pair, B).len()), (1, 0));
    pair.deliver(A, &late.payload);
    pair.run_for(Duration::from_secs(5));
    assert_eq!([A, B].map(|end| ids(&pair, end).len()), [1, 1]);
}

/// The peer deletes a child that we are replacing; then our request finds none. It stays deleted unless it is to be there always.
#[test]
fn what_the_peer_deletes_while_we_replace_it_comes_back_only_where_it_should() {
    for (start, there) in [(Start::Always, 1), (Start::OnDemand, 0)] {
        let mut pair = called(start);
        let [ours, theirs] = [A, B].map(|end| ids(&pair, end)[0]);
        pair.ends[A].rekey_child(pair.now, ours).unwrap();
        pair.drain();
        let (_, late) = pair.wire.pop_front().unwrap();
        forget_children(&mut pair);
        pair.deliver(A, &late.payload);
        pair.run_for(MINUTE);
        assert_eq!([A, B].map(|end| ids(&pair, end).len()), [there, there], "{theirs:?}");
    }
}

/// A child whose time is over is down while its DELETE waits for the answer. Taken out of the configuration then, it does not go down
/// a second time.
#[test]
fn a_child_that_ends_and_is_taken_out_goes_once() {
    let mut pair = Pair::up();
    let child = ids(&pair, A)[0];
    pair.ends[A].expire_child(pair.now, child).unwrap();
    pair.ends[A].remove_child(pair.now, PeerId(0), 0).unwrap();
    pair.drain();
    pair.run_for(MINUTE);
    let down = |event: &Event| matches!(event, Event::ChildDown { .. });
    assert_eq!([A, B].map(|end| count(&pair.events[end], down)), [1, 1]);
}

/// A calls, B is called.
fn called(start: Start) -> Pair {
    let mut pair = Pair::empty();
    for end in [B, A] {
        let start = if end == A { start } else { Start::RespondOnly };
        pair.ends[end].add_peer(pair.now, PeerConfig { start, ..config(end) });
    }
    pair.ends[A].connect(pair.now, PeerId(0)).unwrap();
    pair.drain();
    pair.settle();
    pair
}

/// B deletes what it has and does not ask for more, but would take it.
fn forget_children(pair: &mut Pair) {
    pair.ends[B].remove_child(pair.now, PeerId(0), 0).unwrap();
    pair.ends[B].add_child(pair.now, PeerId(0), config(B).children[0].clone()).unwrap();
    pair.drain();
    pair.settle();
}

/// Both requests are on their way.
fn rekey_both(pair: &mut Pair) {
    for end in [A, B] {
        let child = ids(pair, end)[0];
        pair.ends[end].rekey_child(pair.now, child).unwrap();
    }
    pair.drain();
}

/// A made its new SA and deleted the old one, of which B has heard nothing: it waits there for an answer that nobody can give any
/// more. What A says on the new one tells.
#[test]
fn who_speaks_on_the_ike_sa_that_it_made_goes_on_with_it() {
    for seed in 0..8 {
        let mut pair = Pair::seeded(seed);
        for end in [A, B] {
            pair.ends[end].rekey_ike(pair.now, PeerId(0)).unwrap();
        }
        pair.drain();
        let ours = pair.wire.pop_front().unwrap();
        pair.wire.clear();
        pair.deliver(A, &ours.1.payload);
        let answer = pair.wire.pop_front().unwrap();
        pair.deliver(B, &answer.1.payload);
        // Longer than A repeats the DELETE.
        for _ in 0..20 {
            pair.wire.clear();
            pair.now += Duration::from_secs(1);
            for end in [A, B] {
                pair.ends[end].handle_timeout(pair.now);
            }
            pair.drain();
        }
        pair.wire.clear();
        pair.run_for(10 * MINUTE);
        let down = |event: &Event| matches!(event, Event::PeerDown { .. });
        assert_eq!([A, B].map(|end| count(&pair.events[end], down)), [0, 0], "seed {seed}");
        assert_eq!([A, B].map(|end| pair.ends[end].sas.len()), [1, 1], "seed {seed}");
        assert_eq!([A, B].map(|end| pair.ends[end].children.len()), [1, 1], "seed {seed}");
    }
}

/// The children of one end, oldest first.
fn ids(pair: &Pair, end: usize) -> Vec<ChildId> {
    let mut ids: Vec<ChildId> = pair.ends[end].children.keys().copied().collect();
    ids.sort_unstable_by_key(|id| id.0);
    ids
}

fn net(end: usize) -> TrafficSelector {
    let third = u8::try_from(end).unwrap();
    TrafficSelector::subnet(std::net::IpAddr::from([10, 77, third, 0]), 24)
}
