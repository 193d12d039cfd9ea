//! Whatever happened, `handle_timeout` leaves no deadline in the past for long, and when nothing more happens, both ends
//! come to rest with one IKE SA and one child (RFC 7296 §2.25).

use proptest::prelude::*;

use super::*;

/// What may happen to a pair of endpoints.
#[derive(Debug, Clone, Copy)]
enum Step {
    Pass,
    Lose,
    Wait(u32),
    Connect(usize),
    Disconnect(usize),
    NoPaths(usize),
    Paths(usize),
    RekeyIke(usize),
    RekeyChild(usize),
    ExpireChild(usize),
    Usage(usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let end = || 0..2usize;
    prop_oneof![
        8 => Just(Step::Pass),
        2 => Just(Step::Lose),
        8 => (0..100_000u32).prop_map(Step::Wait),
        1 => end().prop_map(Step::Connect),
        1 => end().prop_map(Step::Disconnect),
        1 => end().prop_map(Step::NoPaths),
        1 => end().prop_map(Step::Paths),
        2 => end().prop_map(Step::RekeyIke),
        2 => end().prop_map(Step::RekeyChild),
        2 => end().prop_map(Step::ExpireChild),
        1 => (end(), any::<u64>()).prop_map(|(end, used)| Step::Usage(end, used)),
    ]
}

fn take(pair: &mut Pair, step: Step) {
    let (now, peer) = (pair.now, PeerId(0));
    let child = |pair: &Pair, end: usize| pair.ends[end].children.keys().copied().min();
    match step {
        Step::Pass if !pair.wire.is_empty() => {
            let _dropped_or_not = pair.pass();
        }
        Step::Pass => {}
        Step::Lose => drop(pair.wire.pop_front()),
        Step::Wait(milliseconds) => pair.now += Duration::from_millis(milliseconds.into()),
        Step::Connect(end) => pair.ends[end].connect(now, peer).unwrap(),
        Step::Disconnect(end) => pair.ends[end].disconnect(now, peer).unwrap(),
        Step::NoPaths(end) => pair.ends[end].set_paths(now, peer, &[]).unwrap(),
        Step::Paths(end) => pair.ends[end].set_paths(now, peer, &config(end).paths).unwrap(),
        Step::RekeyIke(end) => {
            let _refused_if_down = pair.ends[end].rekey_ike(now, peer);
        }
        Step::RekeyChild(end) => {
            if let Some(child) = child(pair, end) {
                let _refused_if_replaced = pair.ends[end].rekey_child(now, child);
            }
        }
        Step::ExpireChild(end) => {
            if let Some(child) = child(pair, end) {
                let spi = pair.ends[end].children[&child];
                let Endpoint { sas, shared, .. } = &mut pair.ends[end];
                let sa = sas.get_mut(&spi).expect("the SA of a child");
                sa.expire_child(child, &mut Cx { now, shared });
                pair.ends[end].settle(now, spi);
            }
        }
        Step::Usage(end, octets) => {
            let usage = ChildUsage { octets, packets: octets, last_inbound: Some(now) };
            let child = child(pair, end).unwrap_or(ChildId(4711));
            pair.ends[end].report_usage(now, child, usage);
        }
    }
    pair.drain();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_served_deadline_moves(steps in proptest::collection::vec(step(), 1..60)) {
        let mut pair = Pair::new();
        for step in steps {
            take(&mut pair, step);
            for end in [A, B] {
                for calls in 0.. {
                    let due = pair.ends[end].poll_timeout().filter(|d| d.at <= pair.now);
                    let Some(due) = due else { break };
                    prop_assert!(calls < 4, "{due:?} does not move");
                    pair.ends[end].handle_timeout(pair.now);
                    pair.drain();
                }
            }
        }
    }

    #[test]
    fn both_ends_come_to_rest(steps in proptest::collection::vec(step(), 1..60)) {
        let mut pair = Pair::new();
        for step in steps {
            take(&mut pair, step);
            for end in [A, B] {
                pair.ends[end].handle_timeout(pair.now);
            }
            pair.drain();
        }
        for end in [A, B] {
            take(&mut pair, Step::Paths(end));
            take(&mut pair, Step::Connect(end));
        }
        pair.run_for(20 * MINUTE);
        for end in [A, B] {
            prop_assert_eq!(pair.ends[end].children.len(), 1, "end {}", end);
            prop_assert_eq!(pair.ends[end].shared.esp_spis.len(), 1, "end {}", end);
        }
        let (spis_a, spis_b) = (child_spis(&pair, A), child_spis(&pair, B));
        prop_assert_eq!(spis_a, (spis_b.1, spis_b.0));
    }
}

/// The SPIs of the one child that is up: to us, to the peer.
fn child_spis(pair: &Pair, end: usize) -> (u32, u32) {
    let id = pair.ends[end].children.keys().next().expect("a child");
    let spis = pair.events[end].iter().find_map(|event| {
        let Event::ChildUp { child, .. } = event else { return None };
        (child.id == *id).then(|| (child.spi_in.0.get(), child.spi_out.0.get()))
    });
    spis.expect("every child came up")
}
