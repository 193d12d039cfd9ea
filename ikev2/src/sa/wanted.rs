//! Children that we want: the one of IKE_AUTH, those that were refused and are asked for again, those that are worn.
//!
//! ```text
//!   refused         4 s, 8 s ... 1 min later again, for ever           CHILD_RETRY
//!   deleted         1 s later, so that the peer may come first
//!   lost            30 s later: there is none that should always be, and nothing is under way
//!   octets, packets between 80 and 90 % of the limit: rekey            each child draws its own share
//! ```

use std::time::{Duration, Instant};

use super::child::Agreed;
use super::established::Established;
use super::slot::Slot;
use super::{Cx, Origin};
use crate::config::Start;
use crate::error::CloseReason;
use crate::event::{ChildId, ChildUsage, Limits, SendWhen};

/// How long to wait before a refused child is asked for again; doubled up to a minute.
const CHILD_RETRY: Duration = Duration::from_secs(2);

/// How long a child may be missing before we look whether it got lost among exchanges that crossed in a way that nobody thought of.
const LOOK: Duration = Duration::from_secs(30);

/// A child that is asked for again.
pub(super) struct Retry {
    pub(super) slot: Slot,
    pub(super) at: Instant,
    failures: u32,
}

impl Established {
    /// The child of IKE_AUTH, or why there is none, and of which one that is said.
    pub(super) fn first_child(
        &mut self,
        child: Result<Agreed, (Option<Slot>, CloseReason)>,
        cx: &mut Cx<'_>,
    ) {
        match child {
            Ok(agreed) => {
                let slot = agreed.child.slot;
                self.install(agreed, SendWhen::Now, None, cx);
                if self.origin() == Origin::Local {
                    self.ask_for_rest(slot, cx);
                }
            }
            Err((slot, reason)) => {
                if let Some(slot) = slot.or_else(|| Self::first_slot(&cx.peer(self.peer))) {
                    self.child_failed(slot, reason, cx);
                }
            }
        }
    }

    /// Notes that a child could not be had and, unless it is the peer's to ask, when we ask again: for ever.
    pub(super) fn child_failed(&mut self, slot: Slot, reason: CloseReason, cx: &mut Cx<'_>) {
        if cx.peer(self.peer).child(slot.config).is_none() || self.falls_back(slot, &reason, cx) {
            return;
        }
        let failures = match self.retries.iter().position(|retry| retry.slot == slot) {
            Some(index) => self.retries.swap_remove(index).failures + 1,
            None => 1,
        };
        let peer = self.peer;
        if self.first().origin == Origin::Remote && cx.peer(peer).start != Start::Always {
            return self.tell_failed(slot, reason, None, cx);
        }
        let delay = CHILD_RETRY.saturating_mul(1 << failures.min(5)).min(Duration::from_mins(1));
        let at = cx.now + cx.jitter(delay);
        self.retries.push(Retry { slot, at, failures });
        self.tell_failed(slot, reason, Some(at), cx);
    }

    /// The peer deleted a child that we want: ask for it again, but let the peer come first.
    pub(super) fn ask_again_soon(&mut self, slot: Slot, cx: &mut Cx<'_>) {
        if !self.waits_for(slot) {
            let at = cx.now + cx.jitter(Duration::from_secs(1));
            self.retries.push(Retry { slot, at, failures: 0 });
        }
    }

    /// Whether a child is asked for again after a while.
    pub(super) fn waits_for(&self, slot: Slot) -> bool {
        self.retries.iter().any(|retry| retry.slot == slot)
    }

    pub(super) fn postpone_retry(&mut self, slot: Slot, cx: &mut Cx<'_>) {
        let at = cx.now + cx.jitter(Duration::from_mins(1));
        for retry in self.retries.iter_mut().filter(|retry| retry.slot == slot) {
            retry.at = at;
        }
    }

    /// Looks in a while for what is missing now, if it is to be there always.
    pub(super) fn watch_children(&mut self, cx: &Cx<'_>) {
        if self.look_at.is_none() && self.keeps_children(cx) && self.lacks_children(cx) {
            self.look_at = Some(cx.now + LOOK);
        }
    }

    /// Whether children are to be there always. Not on an SA whose place another took, nor for a peer that we send elsewhere.
    fn keeps_children(&self, cx: &Cx<'_>) -> bool {
        let peer = cx.peer_ref(self.peer);
        let elsewhere = peer.redirect_to.is_some() && self.extensions.redirect;
        peer.start == Start::Always && self.retires_at.is_none() && !elsewhere
    }

    /// What is still missing, and nobody is about to ask for, is asked for.
    pub(super) fn look_for_children(&mut self, cx: &Cx<'_>) {
        if self.look_at.take_if(|at| *at <= cx.now).is_none() {
            return;
        }
        let at_rest = self.pending.is_none() && self.queue.is_empty() && self.passives.is_empty();
        if at_rest && self.keeps_children(cx) {
            let peer = cx.peer(self.peer);
            for (config, _) in peer.live_children() {
                self.want_missing(config, cx);
            }
        }
    }

    /// The data plane counted: a child that has carried nearly as much as it may is replaced.
    pub(super) fn on_usage(&mut self, id: ChildId, usage: ChildUsage, cx: &mut Cx<'_>) {
        if let Some(heard) = usage.last_inbound {
            self.last_inbound = self.last_inbound.max(heard.min(cx.now));
        }
        let Some(child) = self.children.iter_mut().find(|child| child.id == id) else { return };
        if !child.worn && child.soft.is_reached_by(&usage) {
            child.worn = true;
            child.rekey_at = cx.now;
            self.renew_children(cx);
            self.ask(cx);
        }
    }
}

impl Limits {
    fn is_reached_by(&self, usage: &ChildUsage) -> bool {
        let reached = |used: u64, limit: Option<u64>| limit.is_some_and(|limit| used >= limit);
        reached(usage.octets, self.octets) || reached(usage.packets, self.packets)
    }

    /// Where a child is rekeyed that may carry this much: between 80 and 90 % of it, at random, so that two ends that
    /// count the same packets do not begin at once. The rest leaves room for the exchange.
    pub(super) fn soft(&self, cx: &mut Cx<'_>) -> Self {
        let mut share = |limit: Option<u64>| limit.map(|limit| cx.most_of(limit));
        Self { octets: share(self.octets), packets: share(self.packets) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Lifetime;

    #[test]
    fn sequence_numbers_bound_the_packets() {
        let mut lifetime = Lifetime::of(Duration::from_hours(1));
        let numbers = Some(u64::from(u32::MAX));
        assert_eq!(Limits::of(&lifetime, false), Limits { octets: None, packets: numbers });
        assert_eq!(Limits::of(&lifetime, true), Limits { octets: None, packets: None });
        lifetime.packets = Some(1 << 40);
        assert_eq!(Limits::of(&lifetime, false).packets, numbers);
        assert_eq!(Limits::of(&lifetime, true).packets, Some(1 << 40));
        lifetime.packets = Some(1000);
        assert_eq!(Limits::of(&lifetime, false).packets, Some(1000));
    }

    #[test]
    fn either_limit_is_enough() {
        let limits = Limits { octets: Some(1000), packets: Some(10) };
        let reached = |octets, packets| {
            limits.is_reached_by(&ChildUsage { octets, packets, last_inbound: None })
        };
        assert!(!reached(999, 9) && reached(1000, 0) && reached(0, 10));
        let none = Limits { octets: None, packets: None };
        let much = ChildUsage { octets: u64::MAX, packets: u64::MAX, last_inbound: None };
        assert!(!none.is_reached_by(&much));
    }
}
