//! The search, pair by pair, and its count. One fault on a path: a loss, a copy, or an arrival that comes after the next
//! timer; the order is free everywhere.

use std::sync::Mutex;

use testkit::explore::{Budget, Op, Race, Tally, again, explore, follow};
use testkit::measured::measured;

/// One fault of each kind.
const ONE: [Budget; 3] = [
    Budget { losses: 1, ..Budget::NONE },
    Budget { late: 1, ..Budget::NONE },
    Budget { copies: 1, ..Budget::NONE },
];
/// Two faults, together with the above all pairs of them.
const TWO: [Budget; 6] = [
    Budget { losses: 2, ..Budget::NONE },
    Budget { late: 2, ..Budget::NONE },
    Budget { copies: 2, ..Budget::NONE },
    Budget { losses: 1, late: 1, ..Budget::NONE },
    Budget { losses: 1, copies: 1, ..Budget::NONE },
    Budget { late: 1, copies: 1, ..Budget::NONE },
];

/// Searches these races on two threads and prints how many paths each has.
#[expect(clippy::print_stdout, reason = "the counts are what a search is for")]
fn search(races: Vec<Race>) -> Tally {
    let races = Mutex::new(races);
    let total = Mutex::new(Tally::default());
    let work = || {
        loop {
            let next = races.lock().unwrap().pop();
            let Some(race) = next else { return };
            let tally = explore(&race);
            let Budget { losses, late, copies } = race.budget;
            println!(
                "{race}, {losses} lost, {late} late, {copies} copied: {} paths, {} states, {} runs",
                tally.paths, tally.states, tally.runs
            );
            *total.lock().unwrap() += tally;
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        work();
        other.join().expect("a race that ends well");
    });
    total.into_inner().unwrap()
}

/// Whether it is for every day. A child that ended is asked for again and again, and a restart is a handshake more: these
/// have many paths, of which late arrivals and copies are left to the deep search. So do a move and an IKE rekey, for
/// what is sent to where nobody is any more is sent again and again.
fn is_small(race: &Race) -> bool {
    let moves = race.has(Op::Move) && race.has(Op::RekeyIke);
    race.budget.losses == 1 || !(race.has(Op::EndChild) || race.has(Op::Restart) || moves)
}

#[test]
fn every_pair_of_operations_with_one_fault() {
    let pairs = Race::all_pairs().into_iter();
    let races = pairs.flat_map(|(left, right)| ONE.map(|b| Race::new(left, right, 1).budget(b)));
    let total = search(races.filter(is_small).collect());
    println!("{total:?}");
    measured(
        "T29",
        "timelines of two operations that cross, one fault in each",
        total.paths,
        "each ends with equal SPIs on both sides",
    );
    assert!(total.paths > 50_000, "{total:?}");
}

/// The same where CREATE_CHILD_SA is followed by IKE_FOLLOWUP_KE (RFC 9370): what replaces an SA is a draft for a while.
#[test]
fn every_pair_of_operations_with_further_key_exchanges() {
    let ops = [Op::Nothing, Op::RekeyChild, Op::RekeyIke, Op::NewChild, Op::Disconnect];
    let pairs = Race::all_pairs().into_iter();
    let pairs = pairs.filter(|(left, right)| ops.contains(left) && ops.contains(right));
    let losses = |seed| move |(l, r)| Race::new(l, r, seed).further().budget(ONE[0]);
    let mut races: Vec<Race> = pairs.clone().map(losses(1)).collect();
    let both = |pair: &(Op, Op)| {
        matches!(pair, (Op::RekeyChild, Op::RekeyChild) | (Op::RekeyIke, Op::RekeyIke))
    };
    for seed in 2..=4 {
        races.extend(pairs.clone().filter(both).map(losses(seed)));
    }
    let total = search(races);
    println!("{total:?}");
    assert!(total.paths > 10_000, "{total:?}");
}

/// Some minutes. Seeds decide whose nonces are the lower ones and so who wins.
#[test]
fn every_pair_of_operations_with_two_faults() {
    if std::env::var_os("RACES").is_none_or(|what| what != "deep") {
        return;
    }
    let pairs = Race::all_pairs().into_iter();
    let races = pairs.flat_map(|(left, right)| {
        let twice = TWO.map(|budget| Race::new(left, right, 1).budget(budget));
        let large = ONE.map(|budget| Race::new(left, right, 1).budget(budget));
        let seeds =
            (2..=4).flat_map(move |seed| ONE.map(|b| Race::new(left, right, seed).budget(b)));
        let large = large.into_iter().filter(|race| !is_small(race));
        twice.into_iter().chain(large).chain(seeds)
    });
    println!("{:?}", search(races.collect()));
}

/// Both sides rekey the same at once: with other seeds the other one wins.
#[test]
fn either_side_may_have_the_lower_nonces() {
    for op in [Op::RekeyChild, Op::RekeyIke] {
        let races = (1..=4).map(|seed| Race::new(op, op, seed));
        let mut winners: Vec<bool> = races
            .clone()
            .map(|race| {
                let run = follow(&race, "L R a1 a2");
                let left = run.world().left();
                match op {
                    Op::RekeyIke => left.up.values().all(|info| info.initiator),
                    _ => left.children().all(|child| child.send == ikev2::SendWhen::Now),
                }
            })
            .collect();
        winners.sort_unstable();
        winners.dedup();
        assert_eq!(winners, [false, true], "{op}");
        let _tally = search(races.map(|race| race.budget(ONE[0])).collect());
    }
}

/// The path that `RACE` names, for whoever looks for the cause of a failure.
#[test]
fn one_race_again() {
    if let Some(timeline) = again() {
        println!("{timeline}");
    }
}
