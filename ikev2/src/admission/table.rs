//! The half-open SAs that others began: found by request, placed among the peers or among the strangers.
//!
//! ```text
//!   (SPIi, address and port) ─► known: same octets                      ─► the same answer again
//!                               known: an older copy, without a cookie  ─► the same answer again
//!                               known: other octets                     ─► a new SA beside the old one; one of the two will never be used
//!   octets of a request whose SA is up                                  ─► ignored, for as long as the SA lives
//!   SPI of the SA            ─► its place, at the table of the peers:     with a cookie, from an address that a peer is configured for
//!                                       or at that of the strangers:      everybody else
//! ```

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::claim::Claim;
use super::shares::{Prefix, Shares};
use crate::wire::header::IkeSpi;

/// The half-open SAs.
#[derive(Default)]
pub(super) struct Table {
    by_request: HashMap<(IkeSpi, SocketAddr), Entry>,
    by_sa: HashMap<IkeSpi, Place>,
    peers: Shares,
    strangers: Shares,
    serial: u64,
    /// The requests whose SAs are up: nothing that comes of a copy could ever be used (RFC 7296 §2.1).
    past: HashSet<[u8; 32]>,
    past_of: HashMap<IkeSpi, [u8; 32]>,
}

struct Entry {
    sa: IkeSpi,
    digest: [u8; 32],
    nonce: Vec<u8>,
    cookie: bool,
    answer: Arc<[u8]>,
    /// How often it was given again.
    repeats: u8,
}

/// How often an answer is given again: oftener than any initiator asks in the time of a half-open SA, on a path that doubles
/// what it carries. The address need not be the sender's, and the answer may be longer than the request.
const MOST_REPEATS: u8 = 16;

/// What an IKE_SA_INIT request is to those that are there.
pub(super) enum Known {
    /// One of them began with it and was answered so.
    Answered(Arc<[u8]>),
    /// That, too often.
    TooOften,
}

struct Place {
    request: (IkeSpi, SocketAddr),
    is_peer: bool,
    prefix: Prefix,
    serial: u64,
}

impl Table {
    /// The answer that this request had already.
    ///
    /// A copy of the request that was sent before the cookie was known may come late, when we are no longer on guard. Its
    /// sender has gone on to the request with the cookie, whose octets it will sign (RFC 7296 §2.15), so it needs that
    /// one's answer.
    pub(super) fn answer_to(&mut self, claim: &Claim<'_>) -> Option<Known> {
        let entry = self.by_request.get_mut(&(claim.spi_i(), claim.remote))?;
        let older = entry.cookie && claim.cookie.is_none() && entry.nonce == claim.nonce;
        let known = older || entry.digest == digest(claim);
        known.then(|| {
            if entry.repeats >= MOST_REPEATS {
                return Known::TooOften;
            }
            entry.repeats += 1;
            Known::Answered(Arc::clone(&entry.answer))
        })
    }

    /// Whether this is a copy of a request whose SA is up.
    pub(super) fn is_past(&self, claim: &Claim<'_>) -> bool {
        !self.past.is_empty() && self.past.contains(&digest(claim))
    }

    /// An SA is up: it is none of the half-open ones any more, and its request is remembered for as long as it lives.
    pub(super) fn raise(&mut self, sa: IkeSpi) {
        let Some(place) = self.by_sa.get(&sa) else { return };
        if let Some(entry) = self.by_request.get(&place.request).filter(|entry| entry.sa == sa) {
            self.past.insert(entry.digest);
            self.past_of.insert(sa, entry.digest);
        }
        self.take_out(sa);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_sa.len()
    }

    /// How many of them this network holds.
    pub(super) fn held(&self, prefix: Prefix) -> usize {
        self.peers.held(prefix) + self.strangers.held(prefix)
    }

    /// Which SA goes if a newcomer, with its cookie, finds the table full.
    ///
    /// An honest half-open SA is there for a round trip, one of an attacker until it expires: so the oldest goes rather
    /// than the newest being refused, which would let 100 requests a second keep a table of 1000 places shut. But not
    /// at once (see [`Shares::who_yields`]), or an attacker that is quicker than a round trip would push out the honest
    /// ones; and an honest newcomer repeats its request until a place is free.
    ///
    /// A peer takes a stranger's place at once, a stranger never takes a peer's: against an attacker that receives at
    /// thousands of addresses nothing else helps.
    pub(super) fn who_yields(&self, now: Instant, prefix: Prefix, is_peer: bool) -> Option<IkeSpi> {
        if is_peer {
            self.strangers.oldest_of_most().or_else(|| self.peers.who_yields(now, prefix))
        } else {
            self.strangers.who_yields(now, prefix)
        }
    }

    /// Adds an SA that began with this request, and the answer to it.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        claim: &Claim<'_>,
        is_peer: bool,
        sa: IkeSpi,
        answer: Arc<[u8]>,
    ) {
        self.serial += 1;
        let serial = self.serial;
        let request = (claim.spi_i(), claim.remote);
        let prefix = Prefix::of(claim.remote.ip());
        let (digest, cookie) = (digest(claim), claim.cookie.is_some());
        let entry = Entry { sa, digest, nonce: claim.nonce.to_vec(), cookie, answer, repeats: 0 };
        self.by_request.insert(request, entry);
        self.by_sa.insert(sa, Place { request, is_peer, prefix, serial });
        self.shares(is_peer).insert(serial, prefix, sa, now);
    }

    /// Forgets an SA, if it is there.
    pub(super) fn remove(&mut self, sa: IkeSpi) {
        if let Some(digest) = self.past_of.remove(&sa) {
            self.past.remove(&digest);
        }
        self.take_out(sa);
    }

    fn take_out(&mut self, sa: IkeSpi) {
        let Some(place) = self.by_sa.remove(&sa) else { return };
        if self.by_request.get(&place.request).is_some_and(|entry| entry.sa == sa) {
            self.by_request.remove(&place.request);
        }
        self.shares(place.is_peer).remove(place.serial, place.prefix);
    }

    fn shares(&mut self, is_peer: bool) -> &mut Shares {
        if is_peer { &mut self.peers } else { &mut self.strangers }
    }

    /// How many requests are remembered whose SAs are up.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.past.len().max(self.past_of.len())
    }

    /// The size of the largest part, so that nothing can stay behind unseen.
    #[cfg(test)]
    pub(super) fn footprint(&self) -> usize {
        let places = self.peers.footprint() + self.strangers.footprint();
        self.by_request.len().max(self.by_sa.len()).max(places)
    }
}

fn digest(claim: &Claim<'_>) -> [u8; 32] {
    Sha256::digest(claim.datagram).into()
}
