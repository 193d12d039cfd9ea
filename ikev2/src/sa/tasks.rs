//! What we want to ask of the peer, one request at a time (RFC 7296 §2.3).
//!
//! ```text
//!   want(Task) ─► queue ─► ask(): addresses, then DELETEs; while paused nothing else ─► Pending, until its answer is here
//! ```

use std::time::{Duration, Instant};

use super::child::ChildOffer;
use super::established::{Doom, Established};
use super::followup::{FollowUp, Work};
use super::mobike::Probe;
use super::rekey_ike::IkeOffer;
use super::slot::Slot;
use super::{Cx, State};
use crate::error::CloseReason;
use crate::event::{ChildId, EspSpi};
use crate::registry::{KeMethod, NotifyType};

/// How long to wait after TEMPORARY_FAILURE (RFC 7296 §2.25) before asking again.
const AFTER_TEMPORARY_FAILURE: Duration = Duration::from_secs(2);

/// How long a peer may put us off: "several minutes" (RFC 7296 §2.25).
const LONGEST_PUT_OFF: Duration = Duration::from_mins(5);
/// How long after it put us off the next time counts as a new beginning: what was asked came about otherwise.
const NO_MORE_PUT_OFF: Duration = Duration::from_secs(30);

/// Something that we want to ask of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    DeleteChild(ChildId),
    /// Of a pair that we never installed.
    DeleteSpi(EspSpi),
    RekeyChild(ChildId, Option<KeMethod>),
    NewChild(Slot, Option<KeMethod>),
    /// A further child beside the fallback of this slot (RFC 9611).
    NewResource(Slot, Option<KeMethod>),
    RekeyIke(Option<KeMethod>),
    Liveness,
    UpdateAddresses,
    AnnounceAddresses,
    VerifyPath,
    Redirect,
}

/// The request that waits for its answer.
pub(super) enum Pending {
    DeleteChild(ChildId),
    DeleteSpis(Vec<EspSpi>),
    RekeyChild(ChildId, ChildOffer),
    NewChild(ChildOffer),
    RekeyIke(IkeOffer),
    /// A further key exchange of one of those (RFC 9370).
    FollowUp(Box<FollowUp>),
    Liveness,
    UpdateAddresses(Probe),
    AnnounceAddresses,
    VerifyPath(Probe),
    Redirect,
}

impl Established {
    /// Queues a task unless the same is queued or under way.
    pub(super) fn want(&mut self, task: Task) {
        let same = |queued: &Task| match (queued, &task) {
            (Task::RekeyChild(a, _), Task::RekeyChild(b, _)) => a == b,
            (Task::NewResource(a, _), Task::NewResource(b, _)) => a == b,
            (Task::RekeyIke(_), Task::RekeyIke(_)) => true,
            (a, b) => *a == *b,
        };
        let under_way = match (&self.pending, &task) {
            (Some(Pending::RekeyChild(a, _)), Task::RekeyChild(b, _)) => a == b,
            (Some(Pending::NewChild(ours)), Task::NewResource(b, _)) => {
                ours.resource && ours.slot == *b
            }
            (Some(Pending::RekeyIke(_)), Task::RekeyIke(_)) => true,
            (Some(Pending::FollowUp(ours)), task) => same(&ours.task()) || ours.task() == *task,
            _ => false,
        };
        if !under_way && !self.queue.iter().any(same) {
            self.queue.push_back(task);
        }
    }

    /// Sends the next request, if none is outstanding and there is one.
    pub(super) fn ask(&mut self, cx: &mut Cx<'_>) {
        while self.pending.is_none() && !self.channel.is_busy() {
            let Some(task) = self.next_task(cx.now) else { return };
            match task {
                Task::DeleteChild(child) => self.ask_delete(child, cx),
                Task::DeleteSpi(spi) => self.ask_delete_spis(spi, cx),
                Task::RekeyChild(child, ke) => self.ask_rekey_child(child, ke, cx),
                Task::NewChild(slot, ke) => self.ask_new_child(slot, ke, cx),
                Task::NewResource(slot, ke) => self.ask_resource(slot, ke, cx),
                Task::RekeyIke(ke) => self.ask_rekey_ike(ke, cx),
                Task::Liveness => self.ask_liveness(cx),
                Task::UpdateAddresses => self.ask_update_addresses(cx),
                Task::AnnounceAddresses => self.ask_announce_addresses(cx),
                Task::VerifyPath => self.ask_verify_path(cx),
                Task::Redirect => self.ask_redirect(cx),
            }
        }
    }

    /// Where the peer and we are comes before everything else: what the peer asks of us may be on its way to where we were. Then comes
    /// what we delete, paused or not: the peer may be put off until it is gone, and put us off for the like reason.
    /// What merely makes it faster comes last.
    fn next_task(&mut self, now: Instant) -> Option<Task> {
        let first = |is: fn(Task) -> bool| self.queue.iter().position(|task| is(*task));
        if let Some(urgent) = first(Task::is_about_addresses).or_else(|| first(Task::is_delete)) {
            return self.queue.remove(urgent);
        }
        let paused = self.paused_until.is_some_and(|until| until > now);
        if paused {
            return None;
        }
        let needed = self.queue.iter().position(|task| !matches!(task, Task::NewResource(..)));
        self.queue.remove(needed.unwrap_or(0))
    }

    /// `ask`, as the end of a handler.
    pub(super) fn pump(mut self: Box<Self>, cx: &mut Cx<'_>) -> State {
        match self.doom.take() {
            Some(Doom::Told(reason)) => return self.fail(reason, cx),
            Some(Doom::Untold(reason)) => return self.close(reason, cx),
            None => {}
        }
        self.ask(cx);
        self.watch_children(cx);
        State::Established(self)
    }

    /// Waits before the next request of ours (RFC 7296 §2.25).
    /// If that goes on for minutes without a rest, the SA is given up: the two sides see it differently.
    pub(super) fn pause(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now;
        let goes_on = self.put_off.filter(|(_, last)| now < *last + NO_MORE_PUT_OFF);
        let since = goes_on.map_or(now, |(since, _)| since);
        self.put_off = Some((since, now));
        if now >= since + LONGEST_PUT_OFF {
            self.doom = Some(Doom::Untold(CloseReason::Notified(NotifyType::TEMPORARY_FAILURE)));
        }
        self.paused_until = Some(cx.now + cx.jitter(AFTER_TEMPORARY_FAILURE));
    }
}

impl Task {
    pub(super) const fn is_about_addresses(self) -> bool {
        matches!(self, Self::UpdateAddresses | Self::AnnounceAddresses | Self::VerifyPath)
    }

    const fn is_delete(self) -> bool {
        matches!(self, Self::DeleteChild(_) | Self::DeleteSpi(_))
    }
}

impl Pending {
    /// The same on an IKE SA that knows nothing of it. Whoever had the first request may have granted it: what that made goes.
    pub(super) fn again(&self) -> Vec<Task> {
        let task = match self {
            Self::DeleteSpis(spis) => return spis.iter().copied().map(Task::DeleteSpi).collect(),
            Self::DeleteChild(child) => Task::DeleteChild(*child),
            Self::RekeyChild(child, _) => Task::RekeyChild(*child, None),
            Self::NewChild(offer) if offer.resource => Task::NewResource(offer.slot, None),
            Self::NewChild(offer) => Task::NewChild(offer.slot, None),
            Self::RekeyIke(_) => Task::RekeyIke(None),
            Self::FollowUp(followup) => followup.task(),
            Self::Liveness => Task::Liveness,
            Self::UpdateAddresses(_) => Task::UpdateAddresses,
            Self::AnnounceAddresses => Task::AnnounceAddresses,
            Self::VerifyPath(_) => Task::VerifyPath,
            Self::Redirect => Task::Redirect,
        };
        let granted = self.spi_in().map(Task::DeleteSpi);
        granted.into_iter().chain([task]).collect()
    }

    /// The SPI of a child that is not yet there.
    pub(super) fn spi_in(&self) -> Option<EspSpi> {
        match self {
            Self::RekeyChild(_, offer) | Self::NewChild(offer) => Some(offer.spi_in),
            Self::FollowUp(followup) => match &followup.work {
                Work::Child(_, draft) => Some(draft.spi_in()),
                Work::Ike(_) => None,
            },
            Self::DeleteChild(_)
            | Self::DeleteSpis(_)
            | Self::RekeyIke(_)
            | Self::Liveness
            | Self::UpdateAddresses(_)
            | Self::AnnounceAddresses
            | Self::VerifyPath(_)
            | Self::Redirect => None,
        }
    }
}
