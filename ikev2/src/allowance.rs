//! How often something may be done that costs us work: a leaky bucket with one number.
//!
//! ```text
//!   full_at:  now ──────────────── full_at ─────────────── now + burst * interval
//!             each time moves full_at one interval ahead; beyond the right end the allowance is spent
//! ```

use std::time::{Duration, Instant};

/// So often in the long run, and so many at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// From one to the next.
    pub(crate) interval: Duration,
    /// This many at once.
    pub(crate) burst: u32,
}

impl Rate {
    /// So many a second, at least one, with a burst of `burst`.
    pub(crate) fn per_second(number: u32, burst: u32) -> Self {
        Self { interval: Duration::from_secs(1) / number.max(1), burst: burst.max(1) }
    }
}

/// What is left of an allowance.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Allowance {
    /// When nothing will be owed any more.
    full_at: Option<Instant>,
}

impl Allowance {
    /// Whether nothing is left.
    pub(crate) fn is_spent(&self, now: Instant, rate: Rate) -> bool {
        self.full_at.is_some_and(|at| at > now + rate.interval * (rate.burst - 1))
    }

    /// Takes one out.
    pub(crate) fn spend(&mut self, now: Instant, rate: Rate) {
        let from = self.full_at.map_or(now, |at| at.max(now));
        self.full_at = Some(from + rate.interval);
    }

    /// Whether nothing is owed, so that it may be forgotten.
    pub(crate) fn is_whole(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
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
        let rate = Rate::per_second(50, 50);
        let mut spend_all = |now| {
            let mut spent = 0;
            while !allowance.is_spent(now, rate) {
                allowance.spend(now, rate);
                spent += 1;
            }
            spent
        };
        assert_eq!(spend_all(start), 50);
        assert_eq!(spend_all(start + Duration::from_millis(19)), 0);
        assert_eq!(spend_all(start + Duration::from_millis(20)), 1);
        assert_eq!(spend_all(start + Duration::from_millis(520)), 25);
        assert_eq!(spend_all(start + Duration::from_hours(1)), 50);
        assert!(!allowance.is_whole(start + Duration::from_hours(1)));
        assert!(allowance.is_whole(start + Duration::from_hours(2)));
    }
}
