//! Further key exchanges of an SA that CREATE_CHILD_SA makes (RFC 9370 §2.2.4), both roles, for children and the IKE SA alike.
//!
//! ```text
//!   CREATE_CHILD_SA   SK { SA, Ni, KEi .. } ──►                  ◄── SK { SA, Nr, KEr .., N(ADDITIONAL_KEY_EXCHANGE: link 1) }
//!   IKE_FOLLOWUP_KE   SK { KEi(1), N(link 1) } ──►               ◄── SK { KEr(1), N(link 2) }
//!   IKE_FOLLOWUP_KE   SK { KEi(2), N(link 2) } ──►               ◄── SK { KEr(2) }                     the SA is there
//! ```
//!
//! Before the last answer there is no SA on either side, only a draft: `Pending::FollowUp` of whoever asked, [`Passive`] of
//! the other, which forgets it after [`PATIENCE`] and then answers STATE_NOT_FOUND. What is replaced stays in use until then.
//!
//! Both ask for a replacement of the same SA at once: as soon as the first answer is here both know all four nonces. Whoever
//! made the exchange with the lowest does not go on with it, and nothing has to be deleted. Somebody who asks when the
//! other is past that point gets TEMPORARY_FAILURE.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand_core::Rng;
use zeroize::Zeroizing;

use super::child::BAD_PUBLIC_VALUE;
use super::create_child::{Asking, Next, Refused};
use super::draft::Draft;
use super::established::{Doom, Established};
use super::rekey_ike::IkeDraft;
use super::tasks::{Pending, Task};
use super::{Cx, Message, State};
use crate::crypto::additional::AdditionalKe;
use crate::crypto::ke::{self, KeSecret};
use crate::error::CloseReason;
use crate::event::ChildId;
use crate::registry::{ExchangeType, KeMethod, NotifyType};
use crate::wire::message::{Body, Chain};

/// How long a draft is kept for the next request (RFC 9370 §2.2.4: 5 to 20 seconds).
const PATIENCE: Duration = Duration::from_secs(20);

/// The most drafts of the peer that are kept. An honest peer with a window of one has one, and for a while one that it gave up.
pub(super) const MOST_DRAFTS: usize = 4;

const NO_LINK: &str = "the peer's answer does not say how its key exchange goes on";
const NO_KEY_EXCHANGE: &str = "the peer's IKE_FOLLOWUP_KE lacks the key exchange agreed on";

/// The exchanges that are still to come, and the shared secrets of those that were made, SK(1) | SK(2) ...
pub(super) struct Rounds {
    left: VecDeque<KeMethod>,
    secrets: Zeroizing<Vec<u8>>,
}

impl Rounds {
    pub(super) fn of(additional: &AdditionalKe) -> Self {
        let left = additional.iter().map(|(_, method)| method).collect();
        // Reserved at once: growth would leave copies of the secrets behind.
        Self { left, secrets: Zeroizing::new(Vec::with_capacity(SECRETS)) }
    }

    /// Whether all were made.
    pub(super) fn are_over(&self) -> bool {
        self.left.is_empty()
    }

    /// SK(1) | SK(2) ...
    pub(super) fn secrets(&self) -> &[u8] {
        &self.secrets
    }

    fn next(&self) -> Option<KeMethod> {
        self.left.front().copied()
    }

    fn add(&mut self, secret: &[u8]) {
        self.left.pop_front();
        self.secrets.extend_from_slice(secret);
    }
}

/// Room for seven secrets of the longest kind, MODP 8192.
const SECRETS: usize = 7 * 1024;

/// What an exchange of ours is about that waits for its next answer.
pub(super) struct FollowUp {
    pub(super) work: Work,
    ke: KeSecret,
}

/// A draft that we made.
pub(super) enum Work {
    Child(Asking, Draft),
    Ike(IkeDraft),
}

/// A draft that the peer made, until its next request.
pub(super) struct Passive {
    link: [u8; 8],
    pub(super) work: PassiveWork,
    expires_at: Instant,
}

pub(super) enum PassiveWork {
    NewChild(Draft),
    /// In place of this one; whether that is for a resource, and whether the peer knows of such.
    RekeyChild(ChildId, (bool, bool), Draft),
    Ike(IkeDraft),
}

impl Work {
    fn rounds(&mut self) -> &mut Rounds {
        match self {
            Self::Child(_, draft) => &mut draft.rounds,
            Self::Ike(draft) => &mut draft.rounds,
        }
    }
}

impl PassiveWork {
    fn rounds(&mut self) -> &mut Rounds {
        match self {
            Self::NewChild(draft) | Self::RekeyChild(_, _, draft) => &mut draft.rounds,
            Self::Ike(draft) => &mut draft.rounds,
        }
    }

    fn child(&self) -> Option<&Draft> {
        match self {
            Self::NewChild(draft) | Self::RekeyChild(_, _, draft) => Some(draft),
            Self::Ike(_) => None,
        }
    }
}

impl FollowUp {
    /// The child that is to be replaced.
    pub(super) const fn rekeys(&self) -> Option<ChildId> {
        match &self.work {
            Work::Child(Asking::Rekey { old, .. }, _) => Some(*old),
            Work::Child(..) | Work::Ike(_) => None,
        }
    }

    pub(super) const fn is_for_ike(&self) -> bool {
        matches!(self.work, Work::Ike(_))
    }

    /// What has to be asked again if nothing comes of it.
    pub(super) const fn task(&self) -> Task {
        match &self.work {
            Work::Child(Asking::New { slot, resource: false }, _) => Task::NewChild(*slot, None),
            Work::Child(Asking::New { slot, resource: true }, _) => Task::NewResource(*slot, None),
            Work::Child(Asking::Rekey { old, .. }, _) => Task::RekeyChild(*old, None),
            Work::Ike(_) => Task::RekeyIke(None),
        }
    }
}

impl Established {
    /// Goes on with a draft of ours after an answer of the peer.
    pub(super) fn follow_up(
        mut self: Box<Self>,
        mut work: Work,
        body: &Body<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        let link = body.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE).map(|notify| notify.data);
        let Some((link, method)) = link.zip(work.rounds().next()) else {
            return self.give_up(work, Next::GiveUp, CloseReason::Protocol(NO_LINK), cx);
        };
        let Some(ke) = KeSecret::generate(method, &mut cx.shared.rng) else {
            return self.give_up(work, Next::GiveUp, CloseReason::Protocol(NO_KEY_EXCHANGE), cx);
        };
        let mut chain = Chain::new();
        chain.ke(method, ke.public());
        chain.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE, link);
        self.pending = Some(Pending::FollowUp(Box::new(FollowUp { work, ke })));
        self.channel.request(ExchangeType::IKE_FOLLOWUP_KE, &chain, cx);
        State::Established(self)
    }

    pub(super) fn on_followup_response(
        mut self: Box<Self>,
        followup: FollowUp,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        let FollowUp { mut work, ke } = followup;
        let body = &message.body;
        if let Some(notify) = body.error_notify() {
            let again = [NotifyType::STATE_NOT_FOUND, NotifyType::TEMPORARY_FAILURE];
            let next = if again.contains(&notify.kind) { Next::Later } else { Next::GiveUp };
            return self.give_up(work, next, CloseReason::Notified(notify.kind), cx);
        }
        let theirs = body.ke.as_ref().filter(|theirs| theirs.method == ke.method());
        let secret = theirs.map(|theirs| ke.agree(theirs.data));
        let Some(Ok(secret)) = secret else {
            let bad = secret.is_some();
            let why = if bad { BAD_PUBLIC_VALUE } else { NO_KEY_EXCHANGE };
            // RFC 6989 §2.5, and otherwise the two sides differ on whether there is an SA.
            self.doom = Some(Doom::Untold(CloseReason::Protocol(why)));
            return self.give_up(work, Next::GiveUp, CloseReason::Protocol(why), cx);
        };
        work.rounds().add(&secret);
        if !work.rounds().are_over() {
            return self.follow_up(work, body, cx);
        }
        match work {
            Work::Child(asking, draft) => {
                let agreed = self.conclude(draft, cx);
                self.on_child_agreed(asking, agreed, cx);
                self.pump(cx)
            }
            Work::Ike(draft) => {
                let ours = self.made_of(draft);
                self.on_rekeyed(ours, cx)
            }
        }
    }

    /// Nothing comes of a draft of ours.
    fn give_up(
        mut self: Box<Self>,
        work: Work,
        next: Next,
        reason: CloseReason,
        cx: &mut Cx<'_>,
    ) -> State {
        match work {
            Work::Child(asking, draft) => {
                cx.release_esp_spi(draft.spi_in());
                self.deleted_early.clear();
                self.on_child_agreed(asking, Err(Refused { next, reason }), cx);
            }
            Work::Ike(_) => {
                tracing::warn!(?reason, "the peer did not finish the rekey of the IKE SA");
                if matches!(next, Next::Later) {
                    self.pause(cx);
                    self.queue.push_front(Task::RekeyIke(None));
                }
            }
        }
        self.pump(cx)
    }

    /// Keeps a draft of the peer, and gives the link that our answer has to carry.
    pub(super) fn await_followup(&mut self, work: PassiveWork, cx: &mut Cx<'_>) -> [u8; 8] {
        let mut link = [0; 8];
        cx.shared.rng.fill_bytes(&mut link);
        self.passives.push(Passive { link, work, expires_at: cx.now + PATIENCE });
        link
    }

    /// Whether the peer has as many drafts here as it may have.
    pub(super) fn has_many_drafts(&self) -> bool {
        self.passives.len() >= MOST_DRAFTS
    }

    pub(super) fn on_followup_request(
        mut self: Box<Self>,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        let body = &message.body;
        let (Some(notify), Some(ke)) = (body.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE), &body.ke)
        else {
            self.refuse_incomplete(message, cx);
            return self.pump(cx);
        };
        let Some(at) = self.passives.iter().position(|passive| passive.link == *notify.data) else {
            self.refuse(message, NotifyType::STATE_NOT_FOUND, &[], cx);
            return self.pump(cx);
        };
        let Passive { mut work, .. } = self.passives.swap_remove(at);
        let answered = work.rounds().next().filter(|method| *method == ke.method);
        let answered = answered.map(|method| ke::answer(method, ke.data, &mut cx.shared.rng));
        let Some(Ok((public, secret))) = answered else {
            release(&work, cx);
            self.refuse_syntax(message, cx);
            let why = if answered.is_some() { BAD_PUBLIC_VALUE } else { NO_KEY_EXCHANGE };
            self.doom = Some(Doom::Told(CloseReason::Protocol(why)));
            return self.pump(cx);
        };
        work.rounds().add(&secret);
        let mut chain = Chain::new();
        chain.ke(ke.method, &public);
        if !work.rounds().are_over() {
            let link = self.await_followup(work, cx);
            chain.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE, &link);
            self.respond(message, &chain, cx);
            return self.pump(cx);
        }
        self.respond(message, &chain, cx);
        match work {
            PassiveWork::NewChild(draft) => {
                let agreed = self.finished(draft, cx);
                self.install_further(agreed, cx);
                self.pump(cx)
            }
            PassiveWork::RekeyChild(old, kind, draft) => {
                let agreed = self.finished(draft, cx);
                self.put_in_place(old, kind, agreed, cx);
                self.pump(cx)
            }
            PassiveWork::Ike(draft) => {
                let theirs = self.made_of(draft);
                self.on_peer_rekeyed(theirs, cx)
            }
        }
    }

    /// Forgets the drafts of the peer that are given up, those to replace this child: it goes, or the peer began anew.
    pub(super) fn drop_drafts_of(&mut self, old: ChildId, cx: &mut Cx<'_>) {
        let of = |work: &PassiveWork| matches!(work, PassiveWork::RekeyChild(id, ..) if *id == old);
        self.drop_drafts(of, cx);
    }

    /// Forgets the drafts of the peer for which that holds.
    pub(super) fn drop_drafts(&mut self, given_up: impl Fn(&PassiveWork) -> bool, cx: &mut Cx<'_>) {
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.passives).into_iter().partition(|p| given_up(&p.work));
        self.passives = kept;
        for passive in gone {
            release(&passive.work, cx);
        }
    }

    /// Forgets drafts of which nothing was heard for long.
    pub(super) fn expire_drafts(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now;
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.passives).into_iter().partition(|p| p.expires_at <= now);
        self.passives = kept;
        for passive in gone {
            release(&passive.work, cx);
        }
    }

    /// When `expire_drafts` is wanted.
    pub(super) fn drafts_expire_at(&self) -> Option<Instant> {
        self.passives.iter().map(|passive| passive.expires_at).min()
    }

    /// The draft of a new IKE SA that the peer is about to finish: its lowest nonce.
    pub(super) fn rival_in_the_making(&self) -> Option<&[u8]> {
        self.passives.iter().find_map(|passive| match &passive.work {
            PassiveWork::Ike(draft) => Some(draft.lowest_nonce()),
            PassiveWork::NewChild(_) | PassiveWork::RekeyChild(..) => None,
        })
    }
}

/// Gives back what a draft of the peer holds.
fn release(work: &PassiveWork, cx: &mut Cx<'_>) {
    if let Some(draft) = work.child() {
        cx.release_esp_spi(draft.spi_in());
    }
}
