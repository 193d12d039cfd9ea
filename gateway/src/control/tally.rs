//! Counts what happens to a connection, for `totals` of its status and for the metrics.
//!
//! ```text
//!   Connecting ─► the clock runs     PeerUp ─► how long it took      PeerDown, Refused, ChildFailed ─► why, by word
//! ```

use std::time::Instant;

use ikev2::{CloseReason, IkeSaInfo};
use jiff::Timestamp;

use crate::status::Totals;
use crate::status::reason::{self, Gravity};

/// What was counted, and what is needed to go on.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) totals: Totals,
    /// When the attempt that runs began.
    began: Option<Instant>,
    /// When the IKE SA came up, while there is one.
    pub(super) up_since: Option<Timestamp>,
}

impl Tally {
    pub(super) fn connecting(&mut self, now: Instant) {
        self.began = Some(now);
    }

    pub(super) fn up(&mut self, now: Instant, wall: Timestamp, info: &IkeSaInfo) {
        self.up_since = Some(wall);
        let began = self.began.take();
        if !info.initiator {
            self.totals.responded.ok += 1;
            return;
        }
        self.totals.initiated.ok += 1;
        if let Some(began) = began {
            self.totals.handshake_seconds.note(now.saturating_duration_since(began));
        }
    }

    pub(super) fn ike_rekeyed(&mut self) {
        self.totals.ike_rekeys.ok += 1;
    }

    pub(super) fn child_rekeyed(&mut self) {
        self.totals.child_rekeys.ok += 1;
    }

    /// The IKE SA is gone, or the attempt to get one.
    pub(super) fn down(&mut self, why: &CloseReason) {
        let attempted = self.began.take().is_some();
        self.up_since = None;
        if reason::code(why).gravity == Gravity::Wanted {
            return;
        }
        self.failed(why);
        self.totals.initiated.failed += u64::from(attempted);
        self.totals.dpd_timeouts += u64::from(*why == CloseReason::DpdTimeout);
    }

    /// We turned the peer away.
    pub(super) fn refused(&mut self, why: &CloseReason) {
        self.failed(why);
        self.totals.responded.failed += 1;
    }

    /// A child could not be had, or not be replaced.
    pub(super) fn child_failed(&mut self, why: &CloseReason, is_there: bool) {
        self.failed(why);
        self.totals.child_rekeys.failed += u64::from(is_there);
    }

    /// It is at another endpoint.
    pub(super) fn moved(&mut self, how: &str) {
        *self.totals.failovers.entry(how.to_owned()).or_default() += 1;
    }

    fn failed(&mut self, why: &CloseReason) {
        *self.totals.failures.entry(reason::code(why).alert.to_owned()).or_default() += 1;
    }
}
