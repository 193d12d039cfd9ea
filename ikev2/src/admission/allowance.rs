//! How many unproven requests may be refused before their senders have to show a cookie: a leaky bucket with one number.
//!
//! ```text
//!   full_at:  now ──────────────── full_at ─────────────── now + BURST * INTERVAL
//!             each refusal moves full_at one INTERVAL ahead; beyond the right end the allowance is spent
//! ```

use std::time::{Duration, Instant};

/// One refusal for each of these, in the long run: fifty a second, which is under 2 kB/s of answers.
const INTERVAL: Duration = Duration::from_millis(20);
/// This many at once.
const BURST: u32 = 50;

/// What is left of the allowance.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    /// When nothing will be owed any more.
    full_at: Option<Instant>,
}

impl Allowance {
    /// Whether nothing is left.
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        self.full_at.is_some_and(|at| at > now + INTERVAL * (BURST - 1))
    }

    /// Takes one out.
    pub(super) fn spend(&mut self, now: Instant) {
        let from = self.full_at.map_or(now, |at| at.max(now));
        self.full_at = Some(from + INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_fifty_a_second() {
        #[expect(clippy::disallowed_methods, reason = "an origin; the clock is not read again")]
        let start = Instant::now();
        let mut allowance = Allowance::default();
        let mut spend_all = |now| {
            let mut spent = 0;
            while !allowance.is_spent(now) {
                allowance.spend(now);
                spent += 1;
            }
            spent
        };
        assert_eq!(spend_all(start), 50);
        assert_eq!(spend_all(start + Duration::from_millis(19)), 0);
        assert_eq!(spend_all(start + Duration::from_millis(20)), 1);
        assert_eq!(spend_all(start + Duration::from_millis(520)), 25);
        assert_eq!(spend_all(start + Duration::from_hours(1)), 50);
    }
}
