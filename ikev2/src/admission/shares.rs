//! Places at a table, counted by network and ordered by age, and who gives one up when there are no more.
//!
//! ```text
//!   serial of a place ─► ages:     serial ─► SA          the smallest is the oldest
//!                        networks: network ─► its serials
//!                        ranking:  (how many, network)   the last holds most
//! ```
//!
//! Every operation costs O(log n).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::wire::header::IkeSpi;

/// How long a place is safe from newcomers of networks that hold no fewer: time for a round trip across the world and a
/// slow key exchange (RFC 8019 §4.1 thinks of two seconds). It also bounds the key exchanges that proven newcomers can
/// make us compute while the table is full: `max_half_open` in this time.
const GRACE: Duration = Duration::from_secs(2);

/// A network whose members count together: /24 of IPv4, /48 of IPv6. These are about what one customer of a provider
/// gets, so that an attacker has to rent many; the limits are soft, so that its neighbours lose one round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prefix(u128);

impl Prefix {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            // Kept where no global IPv6 prefix is.
            IpAddr::V4(address) => Self(u128::from(address.to_bits() >> 8)),
            IpAddr::V6(address) => Self(address.to_bits() >> 80 << 80),
        }
    }
}

/// The places of one class of guests.
#[derive(Default)]
pub(super) struct Shares {
    ages: BTreeMap<u64, (IkeSpi, Instant)>,
    networks: BTreeMap<Prefix, BTreeSet<u64>>,
    ranking: BTreeSet<(usize, Prefix)>,
}

impl Shares {
    /// How many places this network holds.
    pub(super) fn held(&self, prefix: Prefix) -> usize {
        self.networks.get(&prefix).map_or(0, BTreeSet::len)
    }

    /// The oldest of the network that holds most.
    pub(super) fn oldest_of_most(&self) -> Option<IkeSpi> {
        let (_, greediest) = *self.ranking.last()?;
        self.oldest_of(greediest).map(|(sa, _)| sa)
    }

    /// Which SA goes for a newcomer of this network.
    ///
    /// - A network that holds two places more than the newcomer's yields its oldest at once: nobody can fill the table
    ///   against the others, and the shares become equal.
    /// - Else the oldest of the newcomer's own network goes, if it had its [`GRACE`]: whoever holds most takes from itself.
    /// - If that network holds none, then all hold one at most, and the oldest of all goes on the same condition.
    pub(super) fn who_yields(&self, now: Instant, newcomer: Prefix) -> Option<IkeSpi> {
        let (most, _) = *self.ranking.last()?;
        let held = self.held(newcomer);
        if most > held + 1 {
            return self.oldest_of_most();
        }
        let (sa, since) =
            if held > 0 { self.oldest_of(newcomer)? } else { *self.ages.first_key_value()?.1 };
        (now >= since + GRACE).then_some(sa)
    }

    fn oldest_of(&self, prefix: Prefix) -> Option<(IkeSpi, Instant)> {
        let serial = self.networks.get(&prefix)?.first()?;
        self.ages.get(serial).copied()
    }

    /// Gives a place to an SA. Serials grow.
    pub(super) fn insert(&mut self, serial: u64, prefix: Prefix, sa: IkeSpi, since: Instant) {
        self.ages.insert(serial, (sa, since));
        self.ranking.remove(&(self.held(prefix), prefix));
        self.networks.entry(prefix).or_default().insert(serial);
        self.ranking.insert((self.held(prefix), prefix));
    }

    /// Takes a place back, if it was given.
    pub(super) fn remove(&mut self, serial: u64, prefix: Prefix) {
        let Some(there) = self.networks.get_mut(&prefix) else { return };
        let before = there.len();
        there.remove(&serial);
        let after = there.len();
        if after == 0 {
            self.networks.remove(&prefix);
        }
        self.ages.remove(&serial);
        self.ranking.remove(&(before, prefix));
        if after > 0 {
            self.ranking.insert((after, prefix));
        }
    }

    /// The size of the largest part, so that nothing can stay behind unseen.
    #[cfg(test)]
    pub(super) fn footprint(&self) -> usize {
        let places = self.networks.values().map(BTreeSet::len).sum::<usize>();
        self.ages.len().max(places).max(self.ranking.len())
    }
}
