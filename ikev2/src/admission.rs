//! Who may begin: bounds the half-open SAs that others began, and asks for cookies when there are many
//! (RFC 7296 §2.1, §2.6; RFC 8019 §4.1 to §4.3).
//!
//! ```text
//!   first IKE_SA_INIT ─► claim.rs: SPIi, address, nonce, cookie; nothing else is read yet
//!     known request (table.rs)                            ─► the same answer again, so often and no more
//!     on guard, and no cookie of ours (cookie.rs) in it   ─► N(COOKIE): no key exchange, nothing kept
//!     no room                                             ─► one that waits too long yields, or it is dropped
//!     its network owes us work (debts.rs)                 ─► dropped
//!     else                                                ─► admitted
//! ```
//!
//! We are on guard while any of these holds:
//!
//! - as many SAs are half open as [`cookie_threshold`](crate::EndpointConfig::cookie_threshold) says;
//! - a quarter as many are half open that began in the newcomer's own network (`Prefix`), so that one network cannot make
//!   the others pay;
//! - requests without a cookie were refused faster than `allowance.rs` likes: those leave no half-open SA behind, but
//!   cost us work and an answer.
//!
//! Every limit gives way to a cookie: whoever proves that it receives at its address is refused for want of room only.
//! So no network is ever locked out, however many peers of ours are behind one address (RFC 8019 §4.2, "soft limit"),
//! and a peer whose address is configured finds a place as long as strangers hold one.
//! A cookie is never larger than the request that it answers.
//!
//! Messages with an unknown SPI are dropped without INVALID_IKE_SPI (RFC 7296 §2.21.4 leaves the choice): a peer that
//! cannot trust it would do what it does anyway, ask whether we live, and every answer to a stranger serves reflection.

mod claim;
mod cookie;
mod debts;
mod shares;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

pub(crate) use self::claim::Claim;
use self::cookie::Jar;
use self::debts::Debts;
use self::shares::Prefix;
use self::table::{Known, Table};
use crate::allowance::{Allowance, Rate};
use crate::config::EndpointConfig;
use crate::wire::header::IkeSpi;

/// One that began while we were on guard waits this part of the usual time (RFC 8019 §4.1): by default 10 s, which is one
/// lost IKE_AUTH of a stack that repeats after 4 s, and four lost ones of ours.
const ON_GUARD: u32 = 3;

/// Decides which IKE_SA_INIT requests are worth a key exchange.
pub(crate) struct Admission {
    limit: usize,
    cookie_threshold: usize,
    jar: Jar,
    table: Table,
    failures: Allowance,
    failure_rate: Rate,
    debts: Debts,
    half_open_time: Duration,
}

/// What to do with a first IKE_SA_INIT.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It was answered with these octets.
    Repeat(Arc<[u8]>),
    /// It began an SA that is up, or was answered often enough; it can begin no other.
    Past,
    /// Answer it with this message and forget it.
    AskForCookie(Vec<u8>),
    /// It is too short to be an honest request, or to be answered without being amplified.
    TooShort,
    /// There is no room for another.
    Full,
    /// Look at what it wants.
    Admit(Pass),
}

/// The terms on which a request is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    /// Its sender receives at its address.
    proven: bool,
    prefix: Prefix,
    /// And that is one that a peer is configured for.
    is_peer: bool,
    /// How long to wait for IKE_AUTH.
    pub(crate) retention: Duration,
    /// The half-open SA to forget if this one begins.
    pub(crate) evict: Option<IkeSpi>,
}

impl Admission {
    pub(crate) fn new(config: &EndpointConfig) -> Self {
        Self {
            limit: config.max_half_open,
            cookie_threshold: config.cookie_threshold,
            jar: Jar::default(),
            table: Table::default(),
            failures: Allowance::default(),
            failure_rate: Rate::per_second(config.max_refusals, config.max_refusals),
            debts: Debts::default(),
            half_open_time: config.half_open_time,
        }
    }

    /// Judges a request; `configured` tells whether a peer is configured for its very address. Changes nothing but the age of the cookies' secret.
    pub(crate) fn judge(
        &mut self,
        now: Instant,
        claim: &Claim<'_>,
        configured: bool,
        rng: &mut impl CryptoRng,
    ) -> Verdict {
        match self.table.answer_to(claim) {
            Some(Known::Answered(answer)) => return Verdict::Repeat(answer),
            Some(Known::TooOften) => return Verdict::Past,
            None => {}
        }
        let prefix = Prefix::of(claim.remote.ip());
        let proven = self.jar.accepts(now, claim);
        let full = self.table.len() >= self.limit;
        let on_guard = full || self.on_guard(now, prefix);
        if on_guard && !proven {
            let answer = claim.ask_for(&self.jar.bake(now, claim, rng));
            let amplified = answer.len() > claim.datagram.len();
            return if amplified { Verdict::TooShort } else { Verdict::AskForCookie(answer) };
        }
        if self.table.is_past(claim) {
            return Verdict::Past;
        }
        let is_peer = proven && configured;
        let evict = if full { self.table.who_yields(now, prefix, is_peer) } else { None };
        if (full && evict.is_none()) || self.debts.are_too_high(now, prefix) {
            return Verdict::Full;
        }
        let usual = self.half_open_time;
        let retention = if on_guard { usual / ON_GUARD } else { usual };
        Verdict::Admit(Pass { proven, prefix, is_peer, retention, evict })
    }

    fn on_guard(&self, now: Instant, prefix: Prefix) -> bool {
        self.table.len() >= self.cookie_threshold
            || self.table.held(prefix) >= (self.cookie_threshold / 4).max(1)
            || self.failures.is_spent(now, self.failure_rate)
    }

    /// An admitted request began this SA and was answered so.
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        claim: &Claim<'_>,
        pass: Pass,
        sa: IkeSpi,
        answer: Arc<[u8]>,
    ) {
        self.table.insert(now, claim, pass.is_peer, sa, answer);
    }

    /// An admitted request began nothing; `computed` tells whether that cost a key exchange. Whoever showed a cookie may ask
    /// as often as it likes: the answer goes to nobody else, and a thousand peers that first guess the wrong group must all
    /// come up. But it may not have us compute as often as it likes.
    pub(crate) fn refused(&mut self, now: Instant, pass: Pass, computed: bool) {
        if !pass.proven {
            self.failures.spend(now, self.failure_rate);
        } else if computed {
            self.debts.owe(now, pass.prefix);
        }
    }

    /// The SA is up: it counts no more, and its request is known for what it is.
    pub(crate) fn up(&mut self, sa: IkeSpi) {
        self.table.raise(sa);
    }

    /// The SA is gone. One that was refused counts until then.
    pub(crate) fn end(&mut self, sa: IkeSpi) {
        self.table.remove(sa);
    }

    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.table.remembered()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.table.footprint()
    }
}
