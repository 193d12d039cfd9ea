//! Every deadline of an endpoint in one ordered set: setting one and finding the next cost O(log n) for n SAs.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use crate::event::{Deadline, PeerId};
use crate::wire::header::IkeSpi;

/// Whose deadline it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Timer {
    Sa(IkeSpi),
    Peer(PeerId),
    /// Of a question whether somebody answers.
    Probe(IkeSpi),
}

/// At most one deadline for each owner.
#[derive(Default)]
pub(crate) struct Timers {
    ordered: BTreeMap<(Instant, Timer), &'static str>,
    by_owner: HashMap<Timer, Instant>,
}

impl Timers {
    /// Replaces the deadline of `timer`.
    pub(crate) fn set(&mut self, timer: Timer, deadline: Option<Deadline>) {
        self.clear(timer);
        if let Some(Deadline { at, why }) = deadline {
            self.ordered.insert((at, timer), why);
            self.by_owner.insert(timer, at);
        }
    }

    pub(crate) fn clear(&mut self, timer: Timer) {
        if let Some(at) = self.by_owner.remove(&timer) {
            self.ordered.remove(&(at, timer));
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Deadline> {
        self.ordered.first_key_value().map(|((at, _), why)| Deadline { at: *at, why })
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.ordered.len().max(self.by_owner.len())
    }

    /// Takes out all that are due, earliest first.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Timer> {
        let mut due = Vec::new();
        while let Some(((at, timer), _)) = self.ordered.first_key_value()
            && *at <= now
        {
            let timer = *timer;
            self.clear(timer);
            due.push(timer);
        }
        due
    }
}
