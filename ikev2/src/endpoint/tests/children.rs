//! Children as a gateway of another make sees them: one pair of selectors in each, transport mode, no TFC padding.

use super::*;
use crate::config::Pairing;
use crate::event::ChildSa;
use crate::wire::selector::TrafficSelector;
use crate::wire::traffic::Traffic;

fn net(second: u8) -> TrafficSelector {
    TrafficSelector::subnet(std::net::IpAddr::from([10, second, 0, 0]), 16)
}

/// Who has which networks: A's, and B's.
type Sides = [Vec<TrafficSelector>; 2];

/// Between these networks.
fn divide(config: &mut PeerConfig, sides: &Sides, end: usize) {
    let child = &mut config.children[0];
    (child.local, child.remote) = (sides[end].clone(), sides[B - end].clone());
}

/// Both sides have two networks; B refuses what asks for more than one pair of them with `kind`.
fn picky(kind: NotifyType, change: impl Fn(&mut ChildConfig)) -> Pair {
    let mut pair = Pair::empty();
    pair.ends[B].shared.picky = Some(kind);
    let sides = [vec![net(1), net(3)], vec![net(2), net(4)]];
    pair.add(|end, config| {
        divide(config, &sides, end);
        change(&mut config.children[0]);
    });
    pair
}

fn children(events: &[Event]) -> Vec<&ChildSa> {
    let mut up: Vec<&ChildSa> = Vec::new();
    for event in events {
        if let Event::ChildUp { child, .. } = event {
            up.push(child);
        } else if let Event::ChildDown { child, .. } = event {
            up.retain(|known| known.id != *child);
        }
    }
    up
}

fn carried(events: &[Event]) -> Vec<String> {
    let traffic = |sa: &ChildSa| Traffic::new(sa.local_ts.clone(), sa.remote_ts.clone());
    let mut all: Vec<String> =
        children(events).into_iter().map(|sa| traffic(sa).to_string()).collect();
    all.sort();
    all
}

const PAIRS: [&str; 4] = [
    "10.1.0.0/16 <-> 10.2.0.0/16",
    "10.1.0.0/16 <-> 10.4.0.0/16",
    "10.3.0.0/16 <-> 10.2.0.0/16",
    "10.3.0.0/16 <-> 10.4.0.0/16",
];

fn failures(events: &[Event]) -> usize {
    count(events, |event| matches!(event, Event::ChildFailed { .. }))
}

#[test]
fn a_peer_that_wants_single_pairs_gets_them() {
    for kind in [NotifyType::SINGLE_PAIR_REQUIRED, NotifyType::TS_UNACCEPTABLE] {
        let mut pair = picky(kind, |_| {});
        pair.settle();
        assert_eq!(carried(&pair.events[A]), PAIRS, "{kind}");
        assert_eq!(failures(&pair.events[A]), 0, "it was no failure");
        // Rekeys, whoever begins, and a new IKE SA: what was learned is kept.
        pair.run_for(3 * 60 * MINUTE);
        pair.ends[A].rekey_ike(pair.now, PeerId(0)).unwrap();
        pair.drain();
        pair.run_for(3 * 60 * MINUTE);
        assert_eq!(carried(&pair.events[A]), PAIRS, "{kind}");
        assert_eq!(pair.ends[A].shared.esp_spis.len(), 4);
        assert_eq!(pair.ends[B].shared.esp_spis.len(), 4);
        assert_eq!(failures(&pair.events[A]), 0);
    }
}

/// The same for a child after the first, that is in CREATE_CHILD_SA.
#[test]
fn a_further_child_falls_back_too() {
    for kind in [NotifyType::SINGLE_PAIR_REQUIRED, NotifyType::TS_UNACCEPTABLE] {
        let mut pair = Pair::up();
        pair.ends[B].shared.picky = Some(kind);
        let sides = [vec![net(11), net(13)], vec![net(12)]];
        for end in [B, A] {
            let mut child = config(end).children.remove(0);
            (child.local, child.remote) = (sides[end].clone(), sides[B - end].clone());
            let index = pair.ends[end].add_child(pair.now, PeerId(0), child);
            assert_eq!(index, Ok(1));
        }
        pair.drain();
        pair.settle();
        let expected = [
            "10.1.0.0/16 <-> 10.2.0.0/16",
            "10.11.0.0/16 <-> 10.12.0.0/16",
            "10.13.0.0/16 <-> 10.12.0.0/16",
        ];
        assert_eq!(carried(&pair.events[A]), expected, "{kind}");
    }
}

#[test]
fn a_combined_child_stays_combined_and_is_asked_for_again() {
    let mut pair = picky(NotifyType::SINGLE_PAIR_REQUIRED, |child| {
        child.pairing = Pairing::Combined;
    });
    pair.run_for(MINUTE);
    assert!(carried(&pair.events[A]).is_empty());
    assert!(failures(&pair.events[A]) > 1);
    pair.ends[B].shared.picky = None;
    pair.run_for(2 * MINUTE);
    assert_eq!(carried(&pair.events[A]), ["10.1.0.0/16, 10.3.0.0/16 <-> 10.2.0.0/16, 10.4.0.0/16"]);
}

/// B refuses everything at once, and asks for one pair itself. A goes on to ask for the other.
#[test]
fn one_pair_that_the_peer_asks_for_is_not_everything() {
    let sides = [vec![net(1), net(3)], vec![net(2)]];
    let mut pair = Pair::of(|end, config| {
        divide(config, &sides, end);
        if end == B {
            let mut other = config.children[0].clone();
            other.remote = config.children[0].remote.split_off(1);
            other.name = "other".into();
            config.children.push(other);
        }
    });
    pair.ends[B].shared.picky = Some(NotifyType::NO_PROPOSAL_CHOSEN);
    pair.settle();
    assert_eq!(failures(&pair.events[A]), 1);
    pair.ends[B].shared.picky = None;
    pair.ends[B].ask_for_child(pair.now, PeerId(0), 0).unwrap();
    pair.drain();
    pair.settle();
    assert_eq!([A, B].map(|end| pair.ends[end].children.len()), [1, 1]);
    pair.run_for(MINUTE);
    let both = ["10.1.0.0/16 <-> 10.2.0.0/16", "10.3.0.0/16 <-> 10.2.0.0/16"];
    assert_eq!(carried(&pair.events[A]), both);
    assert_eq!([A, B].map(|end| pair.ends[end].children.len()), [2, 2]);
}

/// The same, but A wants everything in one child or not at all: it does not ask again and again for what it gets no more of.
#[test]
fn what_the_peer_narrows_is_asked_for_once() {
    let sides = [vec![net(1), net(3)], vec![net(2)]];
    let mut pair = Pair::of(|end, config| {
        divide(config, &sides, end);
        config.children[0].pairing = Pairing::Combined;
        if end == B {
            config.children[0].remote.truncate(1);
        }
    });
    pair.ends[B].shared.picky = Some(NotifyType::NO_PROPOSAL_CHOSEN);
    pair.settle();
    pair.ends[B].shared.picky = None;
    pair.ends[B].ask_for_child(pair.now, PeerId(0), 0).unwrap();
    pair.drain();
    pair.run_for(20 * MINUTE);
    assert_eq!([A, B].map(|end| pair.ends[end].children.len()), [1, 1]);
    let up = |event: &Event| matches!(event, Event::ChildUp { .. });
    assert!(count(&pair.events[B], up) <= 2);
}

/// A configuration of hundreds of pairs goes with a DELETE or two, so that what is added beside it does not wait for hundreds.
#[test]
fn pairs_are_deleted_together() {
    let many = |from: u8| (from..from + 20).map(net).collect::<Vec<_>>();
    let sides = [many(10), many(40)];
    let mut pair = Pair::of(|end, config| {
        divide(config, &sides, end);
        config.children[0].pairing = Pairing::Single;
    });
    pair.settle();
    assert_eq!([A, B].map(|end| pair.ends[end].children.len()), [400, 400]);
    pair.ends[A].remove_child(pair.now, PeerId(0), 0).unwrap();
    pair.drain();
    let mut requests = 0;
    while let Some((from, sent)) = pair.wire.pop_front() {
        let asks = !Header::parse(&sent.payload).unwrap().flags.response;
        requests += usize::from(from == A && asks);
        assert!(sent.payload.len() < 1200);
        pair.deliver(from, &sent.payload);
    }
    assert_eq!(requests, 2);
    assert_eq!([A, B].map(|end| pair.ends[end].children.len()), [0, 0]);
    assert_eq!(pair.ends[A].shared.esp_spis.len(), 0);
}

/// What else the peer says is not taken for a wish for single pairs.
#[test]
fn other_refusals_are_failures() {
    let mut pair = picky(NotifyType::NO_ADDITIONAL_SAS, |_| {});
    pair.settle();
    assert_eq!(failures(&pair.events[A]), 1);
    let told = pair.events[A].iter().find_map(|event| {
        let Event::ChildFailed { selectors, reason, .. } = event else { return None };
        Some((selectors.to_string(), reason))
    });
    let (selectors, reason) = told.unwrap();
    assert_eq!(selectors, "10.1.0.0/16, 10.3.0.0/16 <-> 10.2.0.0/16, 10.4.0.0/16");
    assert_eq!(*reason, CloseReason::Notified(NotifyType::NO_ADDITIONAL_SAS));
}

/// A peer may have eight children for each pair that is configured, however they are called.
#[test]
fn the_bound_counts_pairs() {
    let mut pair = picky(NotifyType::SINGLE_PAIR_REQUIRED, |_| {});
    pair.settle();
    pair.ends[B].shared.picky = None;
    let mut made = 4;
    for id in 0..100u32 {
        let mut proposals = vec![Proposal::esp_from_keywords(ESP).unwrap()];
        proposals[0].spi = (1000 + id).to_be_bytes().to_vec();
        proposals[0].number = 1;
        let mut chain = Chain::new();
        chain.sa(&proposals).nonce(&[7; 32]).ts_i(&[net(3)]).ts_r(&[net(4)]);
        // IKE_AUTH was 1, then came one for each pair.
        let answer = pair.ask(A, ExchangeType::CREATE_CHILD_SA, 6 + id, &chain);
        made += usize::from(answer.is_empty());
    }
    assert_eq!(made, 32);
}

/// An answer of B to the request for a further child that A has just sent.
fn answer_further(notify: NotifyType) -> Pair {
    let mut pair = Pair::up();
    let mut child = config(A).children.remove(0);
    child.name = "more".into();
    pair.ends[A].add_child(pair.now, PeerId(0), child).unwrap();
    pair.drain();
    pair.wire.clear();
    let mut proposals = vec![Proposal::esp_from_keywords(ESP).unwrap()];
    proposals[0].spi = 4711_u32.to_be_bytes().to_vec();
    proposals[0].number = 1;
    let mut chain = Chain::new();
    chain.sa(&proposals).nonce(&[7; 32]).ts_i(&[subnet(A)]).ts_r(&[subnet(B)]);
    chain.notify(notify, &[]);
    let answer = pair.forge(B, ExchangeType::CREATE_CHILD_SA, (2, true), &chain);
    assert_eq!(pair.deliver(B, &answer), Disposition::Accepted);
    pair
}

#[test]
fn transport_mode_that_nobody_asked_for_is_refused_and_undone() {
    let pair = answer_further(NotifyType::USE_TRANSPORT_MODE);
    assert_eq!(children(&pair.events[A]).len(), 1);
    assert_eq!(failures(&pair.events[A]), 1);
    let (_, delete) = pair.wire.front().expect("a DELETE of what the peer believes in");
    let header = Header::parse(&delete.payload).unwrap();
    assert_eq!((header.exchange, header.flags.response), (ExchangeType::INFORMATIONAL, false));
}

#[test]
fn remarks_of_the_peer_are_passed_on() {
    for (kind, tfc_padding, more_possible) in [
        (NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED, false, false),
        (NotifyType::ADDITIONAL_TS_POSSIBLE, true, true),
        // Understood, and of no consequence: see `child.rs`.
        (NotifyType::NON_FIRST_FRAGMENTS_ALSO, true, false),
        (NotifyType::IPCOMP_SUPPORTED, true, false),
    ] {
        let pair = answer_further(kind);
        let child = *children(&pair.events[A]).last().unwrap();
        assert_eq!(
            (child.tfc_padding, child.more_possible),
            (tfc_padding, more_possible),
            "{kind}"
        );
    }
}

/// What the peer asks for and may do without (RFC 7296 §1.3.1): it gets tunnel mode, no compression, and no fragments
/// without ports.
#[test]
fn wishes_of_the_peer_are_passed_over() {
    let mut pair = Pair::up();
    let mut proposals = vec![Proposal::esp_from_keywords(ESP).unwrap()];
    proposals[0].spi = 4711_u32.to_be_bytes().to_vec();
    proposals[0].number = 1;
    let mut chain = Chain::new();
    for kind in [
        NotifyType::USE_TRANSPORT_MODE,
        NotifyType::IPCOMP_SUPPORTED,
        NotifyType::NON_FIRST_FRAGMENTS_ALSO,
        NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED,
    ] {
        chain.notify(kind, &[]);
    }
    chain.sa(&proposals).nonce(&[7; 32]).ts_i(&[subnet(A)]).ts_r(&[subnet(B)]);
    assert_eq!(pair.ask(A, ExchangeType::CREATE_CHILD_SA, 2, &chain), []);
    let child = *children(&pair.events[B]).last().unwrap();
    assert_eq!(child.spi_out.0.get(), 4711);
    assert!(!child.tfc_padding);
}

#[test]
fn nothing_is_left_of_children_that_come_and_go() {
    let mut pair = Pair::up();
    for round in 0..20 {
        for end in [B, A] {
            let child = config(end).children.remove(0);
            assert_eq!(pair.ends[end].add_child(pair.now, PeerId(0), child), Ok(1 + round));
        }
        pair.drain();
        for _ in 0..round % 7 {
            if !pair.wire.is_empty() {
                let _dropped_or_not = pair.pass();
            }
        }
        for end in if round % 2 == 0 { [A, B] } else { [B, A] } {
            pair.ends[end].remove_child(pair.now, PeerId(0), 1 + round).unwrap();
        }
        pair.drain();
        pair.run_for(MINUTE);
        for end in [A, B] {
            let endpoint = &pair.ends[end];
            assert_eq!(
                (endpoint.children.len(), endpoint.shared.esp_spis.len()),
                (1, 1),
                "{round}"
            );
        }
    }
}

/// However it came about: who is to have a child always has it again, and who is not does not ask.
#[test]
fn children_that_got_lost_come_again() {
    for start in [Start::Always, Start::OnDemand] {
        let mut pair = Pair::empty();
        for end in [B, A] {
            let start = if end == A { start } else { Start::RespondOnly };
            // No liveness check wakes them.
            pair.ends[end].add_peer(pair.now, PeerConfig { start, dpd: None, ..config(end) });
        }
        pair.ends[A].connect(pair.now, PeerId(0)).unwrap();
        pair.drain();
        pair.settle();
        for end in [A, B] {
            let (sa, mut cx) = pair.sa(end);
            sa.lose_children(&mut cx);
            pair.drain();
        }
        assert_eq!(pair.ask(B, ExchangeType::INFORMATIONAL, 0, &Chain::new()), []);
        pair.run_for(MINUTE);
        let there = usize::from(start == Start::Always);
        assert_eq!(pair.ends[A].children.len(), there);
    }
}
