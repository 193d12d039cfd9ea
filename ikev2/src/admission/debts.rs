//! Key exchanges that were computed for nothing, for those who had shown a cookie: by network, for as long as one owes.
//!
//! ```text
//!   a bad public value from 198.51.100.7, with a cookie ─► 198.51.100.0/24 owes one      20 at once, 10 a second
//!   a network that owes as much as it may               ─► its newcomers wait, the others do not
//! ```
//!
//! No honest initiator sends one, and whoever sends its neighbours' share delays those as long as it goes on (RFC 8019 §4.2).

use std::collections::BTreeMap;
use std::time::Instant;

use super::shares::Prefix;
use crate::allowance::{Allowance, Rate};

/// Networks that are remembered: with more, an attacker of as many addresses costs a key exchange each.
const MOST: usize = 1024;

/// What networks owe.
#[derive(Default)]
pub(super) struct Debts(BTreeMap<Prefix, Allowance>);

impl Debts {
    fn rate() -> Rate {
        Rate::per_second(10, 20)
    }

    /// Whether this network owes as much as it may.
    pub(super) fn are_too_high(&self, now: Instant, prefix: Prefix) -> bool {
        self.0.get(&prefix).is_some_and(|debt| debt.is_spent(now, Self::rate()))
    }

    /// One more.
    pub(super) fn owe(&mut self, now: Instant, prefix: Prefix) {
        if self.0.len() >= MOST {
            self.0.retain(|_, debt| !debt.is_whole(now));
        }
        if self.0.len() < MOST || self.0.contains_key(&prefix) {
            self.0.entry(prefix).or_default().spend(now, Self::rate());
        }
    }
}
