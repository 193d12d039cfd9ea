//! What is said once and then rarely: a peer that is down for a week must not fill a disk.
//!
//! ```text
//!   refused berlin 192.0.2.9 E1008   09:00:00  told
//!   refused berlin 192.0.2.9 E1008   09:00:04  quiet ..
//!   refused berlin 192.0.2.9 E1008   09:10:03  told, folded=150
//!   refused berlin 192.0.2.9 E1003   09:10:05  told: it is another thing
//! ```
//!
//! Strangers have a hand in the keys, so there are at most [`CAPACITY`] of them; the one told longest ago goes first.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What was told, and how often it happened again since.
#[derive(Debug, Default)]
pub(super) struct Folding {
    told: BTreeMap<String, (Instant, u64)>,
}

impl Folding {
    /// Whether to tell of `what` now; if so, how often it was kept quiet since it was last told.
    pub(super) fn tell(&mut self, what: String, now: Instant) -> Option<u64> {
        if let Some((at, folded)) = self.told.get_mut(&what) {
            if now.saturating_duration_since(*at) < PAUSE {
                *folded += 1;
                return None;
            }
            *at = now;
            return Some(std::mem::take(folded));
        }
        if self.told.len() >= CAPACITY {
            let oldest = self.told.iter().min_by_key(|(_, (at, _))| *at);
            if let Some(oldest) = oldest.map(|(what, _)| what.clone()) {
                self.told.remove(&oldest);
            }
        }
        self.told.insert(what, (now, 0));
        Some(0)
    }

    /// Forgets everything that begins with `start`: when it happens again it is news.
    pub(super) fn forget(&mut self, start: &str) {
        self.told.retain(|what, _| !what.starts_with(start));
    }
}

/// The same thing is told again after so long.
const PAUSE: Duration = Duration::from_mins(10);

/// Different things that are remembered.
const CAPACITY: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_and_then_rarely() {
        let (mut folding, start) = (Folding::default(), crate::clock::now());
        let mut told = Vec::new();
        for seconds in (0..1300).step_by(4) {
            if let Some(folded) =
                folding.tell("berlin".into(), start + Duration::from_secs(seconds))
            {
                told.push((seconds, folded));
            }
        }
        assert_eq!(told, [(0, 0), (600, 149), (1200, 149)]);
        assert_eq!(folding.tell("paris".into(), start), Some(0), "another thing is news");
        folding.forget("ber");
        assert_eq!(folding.tell("berlin".into(), start), Some(0), "and so is one that was over");
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let (mut folding, start) = (Folding::default(), crate::clock::now());
        for number in 0..10_000 {
            folding.tell(number.to_string(), start + Duration::from_millis(number));
        }
        assert_eq!(folding.told.len(), CAPACITY);
        assert_eq!(folding.tell("9999".into(), start + Duration::from_secs(11)), None);
    }
}
