//! What an established SA does by itself when its time has come: repeat, rekey, look whether the peer lives, expire.
//!
//! ```text
//!   deadline() ─► the earliest of all moments, and why ─► caller ─► on_timeout(): everything that is due, once
//! ```

use std::time::{Duration, Instant};

use super::child::{Child, Phase};
use super::established::Established;
use super::slot::Slot;
use super::tasks::Task;
use super::{Cx, State, sooner};
use crate::error::CloseReason;
use crate::event::{ChildId, Deadline};

/// How long a request of a peer without dead peer detection is repeated before the peer counts as gone. RFC 7296 §2.4
/// leaves the number to us; this is what strongSwan's default schedule adds up to.
const PATIENCE_WITHOUT_DPD: Duration = Duration::from_secs(165);

impl Established {
    pub(super) fn on_timeout(mut self: Box<Self>, cx: &mut Cx<'_>) -> State {
        if self.dead_at().is_some_and(|at| at <= cx.now) {
            return self.bury(cx);
        }
        if self.expires_at <= cx.now {
            return self
                .close(CloseReason::Protocol("the IKE SA could not be rekeyed in time"), cx);
        }
        if self.retires_at.is_some_and(|at| at <= cx.now) {
            return self.close(CloseReason::Rekeyed, cx);
        }
        if self.is_auth_expired(cx.now) {
            return self.close(CloseReason::AuthExpired, cx);
        }
        self.reauthenticate(cx);
        self.repeat(cx);
        self.channel.fragments.expire(cx.now);
        self.expire_drafts(cx);
        if self.rekey_at <= cx.now || self.channel.is_worn_out() {
            // Should the rekey fail, it is tried again well before the SA expires.
            self.rekey_at = cx.now + cx.jitter(Duration::from_mins(1));
            self.want(Task::RekeyIke(None));
        }
        self.renew_children(cx);
        self.resume_resources(cx);
        let due: Vec<Slot> =
            self.retries.iter().filter(|r| r.at <= cx.now).map(|r| r.slot).collect();
        for slot in due {
            self.postpone_retry(slot, cx);
            self.want(Task::NewChild(slot, None));
        }
        self.look_for_children(cx);
        if self.liveness_at().is_some_and(|at| at <= cx.now) {
            self.want(Task::Liveness);
        }
        self.paused_until = self.paused_until.filter(|until| *until > cx.now);
        self.pump(cx)
    }

    /// Sends the outstanding request again, now and then by another way.
    fn repeat(&mut self, cx: &mut Cx<'_>) {
        if self.channel.is_due(cx.now) {
            let path = self.detour().unwrap_or(self.channel.path);
            self.channel.retransmit_by(path, cx);
        }
    }

    /// Rekeys children that are due, and takes out those whose rekey failed for too long: an expired SA is not used
    /// (RFC 7296 §2.8), so it goes before the peer has answered the DELETE.
    pub(super) fn renew_children(&mut self, cx: &mut Cx<'_>) {
        let expired = |child: &&Child| child.expires_at <= cx.now && child.phase != Phase::Deleting;
        let expired: Vec<_> =
            self.children.iter().filter(expired).map(|c| (c.id, c.phase)).collect();
        for (id, phase) in expired {
            self.expire(id, phase, cx);
        }
        let retry = cx.now + cx.jitter(Duration::from_secs(20));
        let mut wanted = Vec::new();
        for child in self.children.iter_mut().filter(|child| child.phase == Phase::Up) {
            if child.rekey_at <= cx.now {
                child.rekey_at = retry;
                wanted.push(Task::RekeyChild(child.id, None));
            }
        }
        for task in wanted {
            self.want(task);
        }
    }

    /// It is gone for the data plane; for the peer it is one that is being deleted (RFC 7296 §2.25.1).
    fn expire(&mut self, id: ChildId, phase: Phase, cx: &mut Cx<'_>) {
        let Some(child) = self.children.iter_mut().find(|child| child.id == id) else { return };
        let (slot, resource) = (child.slot, child.resource);
        child.phase = Phase::Deleting;
        let reason = if phase == Phase::Up {
            CloseReason::Protocol("the child SA could not be rekeyed in time")
        } else {
            CloseReason::Rekeyed
        };
        child.take_down(reason, cx);
        self.drop_drafts_of(id, cx);
        self.want(Task::DeleteChild(id));
        match phase {
            Phase::Up if resource => self.want_resources(slot, cx),
            Phase::Up if self.appoint_fallback(slot) => self.want_resources(slot, cx),
            Phase::Up => self.want(Task::NewChild(slot, None)),
            Phase::Replaced | Phase::Deleting => {}
        }
    }

    /// Lets a child come to the end of its life.
    pub(super) fn expire_child(&mut self, id: ChildId, cx: &mut Cx<'_>) {
        for child in self.children.iter_mut().filter(|child| child.id == id) {
            child.expires_at = cx.now;
        }
        self.renew_children(cx);
        self.ask(cx);
    }

    /// When to ask whether the peer lives: `interval` after it was last heard, unless a request waits anyway.
    fn liveness_at(&self) -> Option<Instant> {
        let dpd = self.dpd?;
        let at = self.last_inbound + dpd.interval;
        (!self.channel.is_busy()).then(|| self.paused_until.map_or(at, |until| at.max(until)))
    }

    /// When the peer counts as dead: a request waits, and nothing was heard for the whole timeout.
    fn dead_at(&self) -> Option<Instant> {
        let waiting_since = self.channel.waiting_since()?;
        Some(match self.dpd {
            Some(dpd) => {
                let patience = dpd.timeout.saturating_sub(dpd.interval);
                (self.last_inbound + dpd.timeout).max(waiting_since + patience)
            }
            None => waiting_since.max(self.last_inbound) + PATIENCE_WITHOUT_DPD,
        })
    }

    /// When `on_timeout` is wanted.
    pub(super) fn deadline(&self) -> Option<Deadline> {
        let children = self.children.iter();
        let up = |child: &&Child| child.phase == Phase::Up;
        let kept = |child: &&Child| child.phase != Phase::Deleting;
        let rekey = children.clone().filter(up).map(|child| child.rekey_at).min();
        let candidates = [
            (self.channel.retransmit_at(), "retransmit"),
            (self.dead_at(), "dead peer"),
            (self.liveness_at(), "liveness"),
            (self.reauth_at(), "authenticate anew"),
            (self.retires_at, "another IKE SA took its place"),
            (Some(self.rekey_at), "rekey IKE SA"),
            (Some(self.expires_at), "IKE SA expires"),
            (rekey, "rekey child"),
            (children.filter(kept).map(|child| child.expires_at).min(), "child expires"),
            (self.retries.iter().map(|retry| retry.at).min(), "ask for a child again"),
            (self.look_at, "look for a child that is missing"),
            (self.resources_at, "ask for a child for a resource"),
            (self.paused_until, "go on after TEMPORARY_FAILURE"),
            (self.channel.fragments.expires_at(), "forget fragments"),
            (self.drafts_expire_at(), "forget a draft"),
        ];
        candidates.into_iter().fold(None, |sum, (at, why)| sooner(sum, at.map(|at| (at, why))))
    }
}
