//! New authentications beside an IKE SA that is up (RFC 7296 §2.8.3): which of several stays when two cross, when the newest goes at once,
//! and when one was given up that the other side has.
//!
//! ```text
//!   A ══ old ══ B        both at once        ══ a ══   ══ b ══      one of them goes, and so does the old one
//!                        A gives a up        B has a, whose answer was lost: it is not known at A, so b stays
//! ```

use super::*;
use crate::sa::Origin;

/// Both authenticate anew at once, and of the two new IKE SAs one goes. Before that one side authenticates once more: what it begins
/// takes the place of the one that stays, too.
#[test]
fn a_new_authentication_takes_the_place_of_all_that_there_was() {
    let mut third = 0;
    for seed in 0..8 {
        let mut pair = Pair::seeded(seed);
        pair.now += MOMENT;
        for end in [A, B] {
            assert!(anew(&mut pair, end));
        }
        pair.drain();
        let begun = |pair: &Pair| up(pair, A).len() == 3;
        while !pair.wire.is_empty() && !begun(&pair) {
            let _dropped_or_not = pair.pass();
        }
        third += usize::from(begun(&pair));
        pair.now += MOMENT;
        assert!(anew(&mut pair, A));
        pair.drain();
        pair.run_for(MINUTE);
        for end in [A, B] {
            assert_eq!(up(&pair, end).len(), 1, "seed {seed}");
            let down = |event: &Event| matches!(event, Event::PeerDown { .. });
            assert_eq!(count(&pair.events[end], down), 0, "seed {seed}");
        }
    }
    assert!(third > 0);
}

/// The peer ends the IKE SA that took the place of another before that one went: it stays.
#[test]
fn an_ike_sa_whose_successor_goes_at_once_stays() {
    let mut pair = Pair::up();
    pair.now += MOMENT;
    let old = up(&pair, A);
    assert!(anew(&mut pair, A));
    pair.drain();
    pair.settle();
    let new = *up(&pair, B).last().unwrap();
    pair.ends[B].close(pair.now, new, CloseReason::Local);
    pair.drain();
    pair.run_for(MINUTE);
    assert_eq!(up(&pair, A), old);
    assert_eq!(up(&pair, B).len(), 1);
    let down = |event: &Event| matches!(event, Event::PeerDown { .. });
    assert_eq!([A, B].map(|end| count(&pair.events[end], down)), [0, 0]);
}

/// One that makes two moments different.
const MOMENT: Duration = Duration::from_millis(10);

/// Authenticates anew.
fn anew(pair: &mut Pair, end: usize) -> bool {
    let path = Path { local: address(end), remote: address(B - end) };
    pair.ends[end].supersede(pair.now, PeerId(0), path).unwrap()
}

/// The IKE SAs of one end that are up.
fn up(pair: &Pair, end: usize) -> Vec<IkeSpi> {
    let is_up = |sa: &&IkeSa| sa.stage() == Stage::Up;
    let mut up: Vec<_> = pair.ends[end].sas.values().filter(is_up).collect();
    up.sort_by_key(|sa| sa.up_since());
    up.into_iter().map(|sa| sa.spi).collect()
}

/// A's attempt is up at B, and A has no answer.
fn unanswered(pair: &mut Pair) {
    while let Some((from, sent)) = pair.wire.pop_front() {
        let header = Header::parse(&sent.payload).unwrap();
        let is_answer = from == B && header.flags.response;
        if is_answer && header.exchange == ExchangeType::IKE_AUTH {
            return;
        }
        pair.deliver(from, &sent.payload);
    }
    panic!("B never answers");
}

/// A gives up what it began, and does not repeat it, as when it begins another.
fn give_up(pair: &mut Pair) {
    pair.ends[A].end_wishes(pair.now, PeerId(0));
    pair.ends[A].sas.values_mut().for_each(IkeSa::hush);
    pair.drain();
}

#[track_caller]
fn assert_one_without_a_gap(pair: &Pair, what: &str) {
    for end in [A, B] {
        assert_eq!(up(pair, end).len(), 1, "{what}");
        assert_eq!(pair.ends[end].children.len(), 1, "{what}");
        let down = |event: &Event| matches!(event, Event::PeerDown { .. });
        assert_eq!(count(&pair.events[end], down), 0, "{what}");
    }
}

/// The other side asks for something on an IKE SA that we gave up: it does not know. So IKE_AUTH is repeated for its answer, and then
/// the DELETE can go.
#[test]
fn who_asks_on_an_ike_sa_that_was_given_up_is_told() {
    let mut pair = Pair::up();
    pair.now += MOMENT;
    assert!(anew(&mut pair, A));
    pair.drain();
    unanswered(&mut pair);
    assert_eq!(up(&pair, B).len(), 2);
    give_up(&mut pair);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(up(&pair, B).len(), 2, "A says nothing by itself");
    pair.ends[B].rekey_ike(pair.now, PeerId(0)).unwrap();
    pair.drain();
    pair.run_for(Duration::from_secs(1));
    assert_one_without_a_gap(&pair, "after a second");
}

/// Of two that crossed the one stays that both have.
#[test]
fn an_ike_sa_that_only_one_side_has_does_not_win() {
    for seed in 0..8 {
        let mut pair = Pair::seeded(seed);
        pair.now += MOMENT;
        for end in [A, B] {
            assert!(anew(&mut pair, end));
        }
        pair.drain();
        unanswered(&mut pair);
        give_up(&mut pair);
        pair.run_for(MINUTE);
        assert_one_without_a_gap(&pair, &format!("seed {seed}"));
        let (mine, theirs) = (up(&pair, A)[0], up(&pair, B)[0]);
        assert_eq!(pair.ends[A].sas[&mine].lowest_nonce().unwrap().1, Origin::Remote, "{seed}");
        assert_eq!(pair.ends[B].sas[&theirs].lowest_nonce().unwrap().1, Origin::Local, "{seed}");
    }
}

/// An attempt of ours comes up after all, when another one has: of two of our own the one that was begun later stays.
#[test]
fn of_two_of_our_own_the_later_one_stays() {
    let mut pair = Pair::of(|_, config| config.start = Start::Always);
    // A's IKE_AUTH is on its way for long, while B's attempt comes up.
    let mut late = None;
    while let Some((from, sent)) = pair.wire.pop_front() {
        let header = Header::parse(&sent.payload).unwrap();
        if from == A && header.exchange == ExchangeType::IKE_AUTH && !header.flags.response {
            late = Some(sent);
        } else {
            pair.deliver(from, &sent.payload);
        }
    }
    let late = late.expect("an attempt of A");
    assert_eq!([A, B].map(|end| up(&pair, end).len()), [1, 1]);
    pair.now += MOMENT;
    let path = Path { local: address(A), remote: address(B) };
    assert!(pair.ends[A].switch_to(pair.now, PeerId(0), path).unwrap());
    pair.drain();
    pair.settle();
    let wanted = *up(&pair, A).last().unwrap();
    pair.now += MOMENT;
    pair.deliver(A, &late.payload);
    pair.run_for(MINUTE);
    assert_one_without_a_gap(&pair, "in the end");
    assert_eq!(up(&pair, A), [wanted]);
}

/// Where a peer may have few, those count that have come up last, in whatever order they were begun.
#[test]
fn the_newest_of_few_stays() {
    for seed in 0..8 {
        let mut pair = Pair::empty();
        for (end, seed) in [(A, seed), (B, seed ^ 0x80)] {
            let config = EndpointConfig { max_ike_sas: 1, ..EndpointConfig::default() };
            pair.ends[end] = Endpoint::new(config, [seed; 32]);
        }
        pair.add(|_, _| {});
        pair.settle();
        pair.now += MOMENT;
        assert!(anew(&mut pair, A));
        pair.ends[B].rekey_ike(pair.now, PeerId(0)).unwrap();
        assert!(anew(&mut pair, B));
        pair.drain();
        pair.run_for(MINUTE);
        assert_one_without_a_gap(&pair, &format!("seed {seed}"));
    }
}

/// The old one is replaced while it waits for its end: it is not the one in use for that.
#[test]
fn a_rekey_of_the_one_that_goes_does_not_make_it_the_one_in_use() {
    for end in [A, B] {
        let mut pair = Pair::up();
        pair.now += MOMENT;
        assert!(anew(&mut pair, A));
        pair.drain();
        pair.settle();
        let (old, new) = (up(&pair, end)[0], pair.ends[A].ike_sa(PeerId(0)).unwrap().spis);
        let mut cx = Cx { now: pair.now, shared: &mut pair.ends[end].shared };
        pair.ends[end].sas.get_mut(&old).unwrap().rekey(&mut cx).unwrap();
        pair.ends[end].settle(pair.now, old);
        pair.events[A].clear();
        pair.drain();
        pair.settle();
        assert_eq!(up(&pair, A).len(), 2);
        assert_eq!(pair.ends[A].ike_sa(PeerId(0)).unwrap().spis, new);
        let told = |event: &Event| matches!(event, Event::PeerRekeyed { .. });
        assert_eq!(count(&pair.events[A], told), 0);
        pair.run_for(MINUTE);
        assert_one_without_a_gap(&pair, "in the end");
    }
}
