//! The half-open SAs that others began: found by request, counted by network, ordered by age.
//!
//! ```text
//!   (SPIi, address and port) ─► known: same octets                      ─► the same answer again
//!                               known: an older copy, without a cookie  ─► the same answer again
//!                               known: other octets                     ─► a new SA beside the old one; one of the two will never be used
//!   SPI of the SA            ─► its place ─► by_age, by_prefix, by_share
//! ```
//!
//! Finding, adding, removing and choosing who yields cost O(log n).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::claim::Claim;
use crate::wire::header::IkeSpi;

/// How long a place is safe from newcomers of networks that hold no fewer: time for a round trip across the world and a slow
/// key exchange (RFC 8019 §4.1 thinks of two seconds). It also bounds the key exchanges that proven newcomers can make
/// us compute while the table is full: `max_half_open` in this time.
pub(super) const GRACE: Duration = Duration::from_secs(2);

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

/// The half-open SAs.
#[derive(Default)]
pub(super) struct Table {
    by_request: HashMap<(IkeSpi, SocketAddr), Entry>,
    by_sa: HashMap<IkeSpi, Place>,
    by_age: BTreeMap<u64, IkeSpi>,
    by_prefix: BTreeMap<Prefix, BTreeSet<u64>>,
    /// How many places each prefix holds, the greediest last.
    by_share: BTreeSet<(usize, Prefix)>,
    serial: u64,
}

struct Entry {
    sa: IkeSpi,
    digest: [u8; 32],
    nonce: Vec<u8>,
    cookie: bool,
    answer: Arc<[u8]>,
}

struct Place {
    request: (IkeSpi, SocketAddr),
    prefix: Prefix,
    serial: u64,
    since: Instant,
}

impl Table {
    /// The answer that this request had already.
    ///
    /// A copy of the request that was sent before the cookie was known may come late, when we are no longer on guard. Its
    /// sender has gone on to the request with the cookie, whose octets it will sign (RFC 7296 §2.15), so it needs that
    /// one's answer.
    pub(super) fn answer_to(&self, claim: &Claim<'_>) -> Option<Arc<[u8]>> {
        let entry = self.by_request.get(&(claim.spi_i(), claim.remote))?;
        let older = entry.cookie && claim.cookie.is_none() && entry.nonce == claim.nonce;
        let known = older || entry.digest == digest(claim);
        known.then(|| Arc::clone(&entry.answer))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_sa.len()
    }

    /// How many of them this network holds.
    pub(super) fn held(&self, prefix: Prefix) -> usize {
        self.by_prefix.get(&prefix).map_or(0, BTreeSet::len)
    }

    /// Which SA goes if a newcomer of this network, with its cookie, finds the table full.
    ///
    /// An honest half-open SA is there for a round trip, one of an attacker until it expires: so the oldest goes rather
    /// than the newest being refused, which would let 100 requests a second keep a table of 1000 places shut. But not
    /// at once, or an attacker that is quicker than a round trip would push out the honest ones; and an honest newcomer
    /// repeats its request until a place is free.
    ///
    /// - A network that holds two places more than the newcomer's yields its oldest at once: nobody can fill the table
    ///   against the others, and the shares become equal.
    /// - Else the oldest of the newcomer's own network goes, if it had its [`GRACE`]: whoever holds most takes from itself.
    /// - If that network holds none, then all hold one at most, and the oldest of all goes on the same condition.
    pub(super) fn who_yields(&self, now: Instant, newcomer: Prefix) -> Option<IkeSpi> {
        let (most, greediest) = *self.by_share.last()?;
        let held = self.held(newcomer);
        if most > held + 1 {
            return self.oldest_of(greediest);
        }
        let sa = if held > 0 {
            self.oldest_of(newcomer)?
        } else {
            *self.by_age.first_key_value()?.1
        };
        let place = self.by_sa.get(&sa)?;
        (now >= place.since + GRACE).then_some(sa)
    }

    fn oldest_of(&self, prefix: Prefix) -> Option<IkeSpi> {
        let serial = self.by_prefix.get(&prefix)?.first()?;
        self.by_age.get(serial).copied()
    }

    /// Adds an SA that began with this request, and the answer to it.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        claim: &Claim<'_>,
        sa: IkeSpi,
        answer: Arc<[u8]>,
    ) {
        self.serial += 1;
        let serial = self.serial;
        let request = (claim.spi_i(), claim.remote);
        let prefix = Prefix::of(claim.remote.ip());
        let (digest, cookie) = (digest(claim), claim.cookie.is_some());
        let entry = Entry { sa, digest, nonce: claim.nonce.to_vec(), cookie, answer };
        self.by_request.insert(request, entry);
        self.by_sa.insert(sa, Place { request, prefix, serial, since: now });
        self.by_age.insert(serial, sa);
        self.by_share.remove(&(self.held(prefix), prefix));
        self.by_prefix.entry(prefix).or_default().insert(serial);
        self.by_share.insert((self.held(prefix), prefix));
    }

    /// Takes an SA out, if it is there.
    pub(super) fn remove(&mut self, sa: IkeSpi) {
        let Some(Place { request, prefix, serial, .. }) = self.by_sa.remove(&sa) else { return };
        if self.by_request.get(&request).is_some_and(|entry| entry.sa == sa) {
            self.by_request.remove(&request);
        }
        self.by_age.remove(&serial);
        self.by_share.remove(&(self.held(prefix), prefix));
        if let Some(there) = self.by_prefix.get_mut(&prefix) {
            there.remove(&serial);
            if there.is_empty() {
                self.by_prefix.remove(&prefix);
            } else {
                self.by_share.insert((there.len(), prefix));
            }
        }
    }

    /// The size of the largest part, so that nothing can stay behind unseen.
    #[cfg(test)]
    pub(super) fn footprint(&self) -> usize {
        let sizes = [
            self.by_request.len(),
            self.by_sa.len(),
            self.by_age.len(),
            self.by_prefix.values().map(BTreeSet::len).sum(),
            self.by_prefix.len(),
            self.by_share.len(),
        ];
        sizes.into_iter().max().unwrap_or(0)
    }
}

fn digest(claim: &Claim<'_>) -> [u8; 32] {
    Sha256::digest(claim.datagram).into()
}
