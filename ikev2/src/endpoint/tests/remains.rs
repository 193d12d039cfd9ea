//! What stays behind: nothing. Everything that is kept for an SA, a child or an attempt goes with it.

use super::*;

/// Everything that an endpoint keeps besides its peers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Kept {
    sas: usize,
    children: usize,
    esp_spis: usize,
    half_open: usize,
    peer_sas: usize,
    timers: usize,
}

fn kept(endpoint: &Endpoint) -> Kept {
    assert!(endpoint.shared.out.events.is_empty());
    assert!(endpoint.shared.out.news.is_empty());
    assert!(endpoint.shared.out.transmits.is_empty());
    assert!(endpoint.admission.remembered() <= endpoint.sas.len());
    Kept {
        sas: endpoint.sas.len(),
        children: endpoint.children.len(),
        esp_spis: endpoint.shared.esp_spis.len(),
        half_open: endpoint.admission.len(),
        peer_sas: endpoint.peers.owned(),
        timers: endpoint.timers.len(),
    }
}

/// One IKE SA with one child.
const ONE: Kept = Kept { sas: 1, children: 1, esp_spis: 1, half_open: 0, peer_sas: 1, timers: 1 };

#[track_caller]
fn assert_kept(pair: &mut Pair, wanted: &Kept) {
    // Longer than any SA lingers.
    pair.run_for(4 * MINUTE);
    for end in [A, B] {
        assert_eq!(kept(&pair.ends[end]), *wanted, "end {end}");
    }
}

fn take_down(pair: &mut Pair) {
    for end in [A, B] {
        pair.ends[end].disconnect(pair.now, PeerId(0)).unwrap();
    }
    pair.drain();
}

/// Delivers at most this many messages.
fn pass_some(pair: &mut Pair, number: usize) {
    for _ in 0..number {
        if !pair.wire.is_empty() {
            let _dropped_or_not = pair.pass();
        }
    }
}

#[test]
fn after_a_thousand_connections_nothing_is_left() {
    let mut pair = Pair::up();
    for _ in 0..1000 {
        pair.ends[A].disconnect(pair.now, PeerId(0)).unwrap();
        pair.drain();
        pair.settle();
        pair.ends[A].connect(pair.now, PeerId(0)).unwrap();
        pair.drain();
        pair.settle();
    }
    assert_kept(&mut pair, &ONE);
    take_down(&mut pair);
    assert_kept(&mut pair, &Kept::default());
}

#[test]
fn after_two_thousand_rekeys_nothing_is_left() {
    let mut pair = Pair::up();
    for round in 0..2000 {
        let end = round % 2;
        if round % 4 < 2 {
            let child = pair.ends[end].children.keys().copied().max().unwrap();
            pair.ends[end].rekey_child(pair.now, child).unwrap();
        } else {
            pair.ends[end].rekey_ike(pair.now, PeerId(0)).unwrap();
        }
        pair.drain();
        pair.settle();
    }
    assert_kept(&mut pair, &ONE);
    take_down(&mut pair);
    assert_kept(&mut pair, &Kept::default());
}

/// Both sides rekey at once, and it all ends in the middle.
#[test]
fn crossing_rekeys_that_are_cut_short_leave_nothing() {
    for cut in 0..12 {
        let mut pair = Pair::up();
        for end in [A, B] {
            let child = pair.ends[end].children.keys().copied().max().unwrap();
            pair.ends[end].rekey_child(pair.now, child).unwrap();
            pair.ends[end].rekey_ike(pair.now, PeerId(0)).unwrap();
        }
        pair.drain();
        pass_some(&mut pair, cut);
        take_down(&mut pair);
        assert_kept(&mut pair, &Kept::default());
    }
}

/// The peer forgot us in the middle of a rekey and comes back (INITIAL_CONTACT, RFC 7296 §2.4).
#[test]
fn a_forgotten_sa_leaves_no_spi_behind() {
    for cut in 0..6 {
        let mut pair = Pair::up();
        let child = pair.ends[B].children.keys().copied().max().unwrap();
        pair.ends[B].rekey_child(pair.now, child).unwrap();
        pair.drain();
        pass_some(&mut pair, cut);
        pair.wire.clear();
        pair.now += Duration::from_millis(1);
        pair.ends[A] = Endpoint::new(EndpointConfig::default(), [9; 32]);
        pair.ends[A].add_peer(pair.now, config(A));
        pair.drain();
        assert_kept(&mut pair, &ONE);
    }
}

#[test]
fn refused_and_unfinished_attempts_leave_nothing() {
    let mut pair = Pair::empty();
    let mut wrong = config(B);
    wrong.set_psk(Psk::new(b"another".to_vec()));
    pair.ends[B].add_peer(pair.now, wrong);
    pair.ends[A].add_peer(pair.now, config(A));
    pair.drain();
    for round in 0..500 {
        pair.ends[A].connect(pair.now, PeerId(0)).unwrap();
        pair.drain();
        pass_some(&mut pair, round % 5);
        pair.wire.clear();
        pair.ends[A].disconnect(pair.now, PeerId(0)).unwrap();
        pair.drain();
        pair.wire.clear();
        pair.now += Duration::from_secs(1);
        for end in [A, B] {
            pair.ends[end].handle_timeout(pair.now);
        }
        pair.drain();
        pair.wire.clear();
    }
    take_down(&mut pair);
    assert_kept(&mut pair, &Kept::default());
}

/// An authenticated peer that takes and takes: children without number, and IKE SAs faster than they are forgotten.
#[test]
fn a_greedy_peer_is_told_that_it_has_enough() {
    let mut pair = Pair::up();
    let mut refused = 0;
    for id in 2..100u32 {
        let mut proposals = vec![Proposal::esp_from_keywords(ESP).unwrap()];
        proposals[0].spi = (1000 + id).to_be_bytes().to_vec();
        proposals[0].number = 1;
        let mut chain = Chain::new();
        chain.sa(&proposals).nonce(&[7; 32]).ts_i(&[subnet(A)]).ts_r(&[subnet(B)]);
        let answer = pair.ask(A, ExchangeType::CREATE_CHILD_SA, id, &chain);
        refused += usize::from(answer == [NotifyType::NO_ADDITIONAL_SAS]);
    }
    assert_eq!(refused, 91);
    assert_eq!(pair.ends[B].children.len(), 8);

    let mut pair = Pair::up();
    for _ in 0..100 {
        pair.ends[A].rekey_ike(pair.now, PeerId(0)).unwrap();
        pair.drain();
        pair.pass();
        pair.pass();
        // The DELETE of the old one never comes.
        pair.wire.clear();
    }
    assert!(pair.ends[B].sas.len() <= 18, "{}", pair.ends[B].sas.len());
}

/// Whoever has no key cannot make us keep more refused SAs than half-open ones.
#[test]
fn refused_attempts_count_as_half_open() {
    let mut pair = Pair::empty();
    let few = EndpointConfig { max_half_open: 5, ..EndpointConfig::default() };
    pair.ends[B] = Endpoint::new(few, [2; 32]);
    pair.ends[B].add_peer(pair.now, config(B));
    let mut wrong = config(A);
    wrong.set_psk(Psk::new(b"another".to_vec()));
    pair.ends[A].add_peer(pair.now, wrong);
    for _ in 0..20 {
        pair.drain();
        pair.settle();
        pair.ends[A].disconnect(pair.now, PeerId(0)).unwrap();
        pair.ends[A].connect(pair.now, PeerId(0)).unwrap();
    }
    pair.drain();
    assert_eq!(pair.ends[B].sas.len(), 5);
    pair.ends[A].disconnect(pair.now, PeerId(0)).unwrap();
    pair.drain();
    assert_kept(&mut pair, &Kept::default());
}

/// A peer that begins one SA after the other beside those that it has keeps the newest of them.
#[test]
fn a_peer_has_no_more_ike_sas_than_it_can_use() {
    let mut pair = Pair::up();
    for _ in 0..40 {
        let old = *pair.ends[A].sas.keys().next().unwrap();
        let path = Path { local: address(A), remote: address(B) };
        let attempt = Attempt { supersedes: Some(old), redirected_from: None };
        assert!(pair.ends[A].begin(pair.now, PeerId(0), path, attempt));
        pair.drain();
        pair.settle();
    }
    let up = |end: &Endpoint| end.sas.values().filter(|sa| sa.stage() == Stage::Up).count();
    assert!(up(&pair.ends[B]) <= 16, "{}", up(&pair.ends[B]));
    pair.run_for(MINUTE);
    assert!(up(&pair.ends[A]) >= 1 && up(&pair.ends[A]) == up(&pair.ends[B]));
}
