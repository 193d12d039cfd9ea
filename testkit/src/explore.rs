//! Every order of events, not a sample of them: two endpoints that are up, one operation of each, and from there on all
//! that a network and a clock may do, to a given number of faults (RFC 7296 §2.8, §2.25).
//!
//! ```text
//!   state ─┬─ begin left          each move leads to another state; a state that was seen before is not
//!          ├─ begin right         searched again: it is told by what each endpoint was given, when, and by
//!          ├─ arrive #1, #2, ..   what is in flight, and endpoints are functions of that
//!          ├─ lose  #1, #2, ..    (as often as the budget says)
//!          ├─ copy  #1, #2, ..
//!          └─ timer               for want of anything else, or before an arrival that is late
//! ```
//!
//! An endpoint cannot be copied, so each path is run from the beginning; the same seed makes the same prefix. A path
//! that fails is printed as a timeline, with the line that runs it alone:
//!
//! ```text
//!   RACE='rekey-ike,rekey-child seed=2 : L a1 R x3 t a5' cargo test -p ikev2 --test races -- --nocapture again
//! ```

mod op;
mod run;
mod verdict;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

pub use self::op::{Op, Race};
pub use self::run::{Move, Run};

/// How much may go wrong on one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Datagrams that are lost.
    pub losses: u8,
    /// Timers that fire though something is in flight.
    pub late: u8,
    /// Datagrams that arrive and stay on the way, to arrive again.
    pub copies: u8,
}

impl Budget {
    /// A network that may reorder but does nothing else.
    pub const NONE: Self = Self { losses: 0, late: 0, copies: 0 };

    /// How many faults these are.
    #[must_use]
    pub const fn sum(self) -> u8 {
        self.losses + self.late + self.copies
    }
}

/// What a search went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Paths from the beginning to rest, all of which are good.
    pub paths: u128,
    /// States on them.
    pub states: usize,
    /// Times that the race was run from the beginning to find them.
    pub runs: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.paths += other.paths;
        self.states += other.states;
        self.runs += other.runs;
    }
}

/// A state on the path that is searched.
struct Fork {
    key: u128,
    moves: Vec<Move>,
    next: usize,
    paths: u128,
}

/// More moves than any path takes that comes to rest.
const TOO_LONG: usize = 400;

/// Runs every path of a race.
///
/// # Panics
/// If one of them ends badly; its timeline is printed first.
#[must_use]
pub fn explore(race: &Race) -> Tally {
    let mut tally = Tally::default();
    let mut known: HashMap<u128, u128> = HashMap::new();
    let mut path: Vec<Fork> = Vec::new();
    loop {
        tally.runs += 1;
        let mut run = Run::start(race);
        let taken = path.iter().filter_map(|fork| fork.moves.get(fork.next).copied());
        let taken: Vec<Move> = taken.collect();
        let found = attempt(&mut run, |run| {
            for step in taken {
                run.take(step);
            }
            descend(run, &known, &mut path)
        });
        if let Some(fork) = path.last_mut() {
            fork.paths += found;
        }
        // Back to the last state that has a move left.
        loop {
            let Some(fork) = path.last_mut() else {
                tally.paths = found.max(tally.paths);
                tally.states = known.len();
                return tally;
            };
            fork.next += 1;
            if fork.next < fork.moves.len() {
                break;
            }
            let (key, paths) = (fork.key, fork.paths);
            known.insert(key, paths);
            path.pop();
            match path.last_mut() {
                Some(parent) => parent.paths += paths,
                None => tally.paths = paths,
            }
        }
    }
}

/// Takes first moves until rest or a state that is known; the number of paths from there.
fn descend(run: &mut Run<'_>, known: &HashMap<u128, u128>, path: &mut Vec<Fork>) -> u128 {
    loop {
        let key = run.key();
        if let Some(paths) = known.get(&key) {
            return *paths;
        }
        run.check();
        let moves = run.moves();
        let Some(first) = moves.first().copied() else {
            run.verdict();
            return 1;
        };
        assert!(path.len() < TOO_LONG, "it never comes to rest");
        path.push(Fork { key, moves, next: 0, paths: 0 });
        run.take(first);
    }
}

/// Runs one path: these moves, then, in the order of sending, whatever is left.
///
/// # Panics
/// If it ends badly, or if a move is not possible; the timeline is printed first.
#[must_use]
pub fn follow<'r>(race: &'r Race, moves: &str) -> Run<'r> {
    let mut run = Run::start(race);
    attempt(&mut run, |run| {
        run.check();
        for word in moves.split_whitespace() {
            let step: Move = word.parse().unwrap_or_else(|()| panic!("no move: {word}"));
            assert!(run.is_possible(step), "{word} is not possible here");
            run.take(step);
            run.check();
        }
        while let Some(first) = run.moves().first().copied() {
            assert!(run.taken().len() < TOO_LONG, "it never comes to rest");
            run.take(first);
            run.check();
        }
        run.verdict();
    });
    run
}

/// Runs the path that the environment variable `RACE` names, if it is set, and prints its timeline.
///
/// # Panics
/// If the path ends badly, or the variable is not understood.
#[must_use]
pub fn again() -> Option<String> {
    let line = std::env::var("RACE").ok()?;
    let (race, moves) = line.split_once(':').expect("RACE='left,right seed=1 : moves'");
    let race: Race = race.parse().expect("RACE='left,right seed=1 : moves'");
    Some(follow(&race, moves).timeline())
}

fn attempt<'r, T>(run: &mut Run<'r>, body: impl FnOnce(&mut Run<'r>) -> T) -> T {
    match catch_unwind(AssertUnwindSafe(|| body(run))) {
        Ok(result) => result,
        Err(cause) => {
            eprintln!("{}", run.timeline());
            resume_unwind(cause)
        }
    }
}
