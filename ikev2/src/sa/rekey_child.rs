//! A child takes the place of another (RFC 7296 §1.3.3), both roles, with the races of §2.8.1 and §2.25.1.
//!
//! ```text
//!   we ask     SK { N(REKEY_SA: our SPI), .. } ──►  ◄── granted     ours is up, DELETE of the old one goes out
//!   peer asks  ◄── the same ──►                                      the peer's is up, the old one stays until the peer deletes it
//!
//!   both       both exchanges run; what holds the lowest of the four nonces goes, by a DELETE of whoever made it, and the maker of
//!              the other deletes the old pair
//! ```
//!
//! Whatever comes of it, one side deletes the old pair. One that both take for the other's to delete would be stuck: it can neither
//! be replaced (TEMPORARY_FAILURE) nor go.

use super::child::{Agreed, Asked, Child, ChildOffer, Phase};
use super::closing::REPLACED;
use super::collision::ours_goes;
use super::create_child::{Asking, Next, Refused};
use super::draft::Crossing;
use super::established::Established;
use super::followup::PassiveWork;
use super::resources::announced;
use super::slot::Slot;
use super::tasks::{Pending, Task};
use super::{Cx, Message, State};
use crate::error::CloseReason;
use crate::event::{ChildId, SendWhen};
use crate::registry::{ExchangeType, KeMethod, NotifyType, ProtocolId};
use crate::wire::message::{Chain, Notify};

impl Established {
    pub(super) fn ask_rekey_child(&mut self, id: ChildId, ke: Option<KeMethod>, cx: &mut Cx<'_>) {
        let old = self.children.iter().find(|child| child.id == id && child.phase == Phase::Up);
        let Some(old) = old else { return };
        if self.has_living_successor(id) {
            // Asked again after a failover: the peer's rekey, which crossed ours, is all that stands.
            return self.yield_child(id);
        }
        let (slot, spi_in, used) = (old.slot, old.spi_in, old.suite.ke);
        let (resource, resources) = (old.resource, old.remarks.resources);
        let (scope, premature) = (self.rekey_scope(old, cx), !old.confirmed);
        let peer = cx.peer(self.peer);
        let Some(child) = peer.child(slot.config) else { return };
        let fresh = cx.fresh_esp_spi(Some(spi_in));
        let mut offer = ChildOffer::further(&child.proposals, (slot, scope), (ke, used), fresh, cx);
        offer.premature = premature;
        offer.resource = resource;
        offer.resource_info = announced(child).filter(|_| resources);
        let mut chain = Chain::new();
        let spi = spi_in.0.get().to_be_bytes();
        chain.notify_spi(ProtocolId::ESP, &spi, NotifyType::REKEY_SA, &[]);
        offer.write(&mut chain);
        self.pending = Some(Pending::RekeyChild(id, offer));
        // The peer began before us, and may not have our answer yet: for it the two cross.
        self.note_crossing(id);
        self.channel.request(ExchangeType::CREATE_CHILD_SA, &chain, cx);
    }

    pub(super) fn on_rekey_child_request(
        &mut self,
        notify: &Notify<'_>,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) {
        // The SPI is the one that the peer receives on, with ESP (RFC 7296 §1.3.3).
        let named = |spi: u32| notify.esp_spi() == Some(spi);
        let old = self.children.iter().find(|child| named(child.spi_out.0.get()));
        let Some((id, slot, spi_in, phase, scope, kind)) = old.map(|old| {
            let kind = (old.resource, old.remarks.resources);
            (old.id, old.slot, old.spi_in, old.phase, self.rekey_scope(old, cx), kind)
        }) else {
            let (protocol, kind) = (ProtocolId::ESP, NotifyType::CHILD_SA_NOT_FOUND);
            let mut chain = Chain::new();
            chain.notify_spi(protocol, notify.spi, kind, &[]);
            return self.respond(message, &chain, cx);
        };
        // One that the peer has replaced while our own rekey of it waits cannot be replaced by it once more.
        // One that we are replacing, and are past the first exchange, by us alone.
        let ours =
            matches!(&self.pending, Some(Pending::FollowUp(ours)) if ours.rekeys() == Some(id));
        if phase != Phase::Up || self.has_successor(id) || ours {
            return self.refuse(message, NotifyType::TEMPORARY_FAILURE, &[], cx);
        }
        let asked = Asked::Rekey(slot, scope, spi_in);
        // The peer forgot what it began before.
        self.drop_drafts_of(id, cx);
        let in_place = |draft| PassiveWork::RekeyChild(id, kind, draft);
        match self.answer_child(message, &asked, in_place, cx) {
            Some(draft) => {
                let agreed = self.finished(draft, cx);
                self.put_in_place(id, kind, agreed, cx);
            }
            None => self.note_crossing(id),
        }
    }

    /// The peer's exchange to replace this child goes on with further key exchanges, and crossed ours.
    fn note_crossing(&mut self, id: ChildId) {
        let draft = self.passives.iter().find_map(|passive| match &passive.work {
            PassiveWork::RekeyChild(old, _, draft) if *old == id => Some(draft),
            PassiveWork::RekeyChild(..) | PassiveWork::NewChild(_) | PassiveWork::Ike(_) => None,
        });
        if let (Some(draft), Some(Pending::RekeyChild(ours, offer))) = (draft, &mut self.pending)
            && *ours == id
        {
            let lowest_nonce = draft.lowest_nonce().to_vec();
            offer.rival.get_or_insert(Crossing { made: None, lowest_nonce });
        }
    }

    /// Puts the pair that the peer made in the place of `id`, which the peer deletes.
    pub(super) fn put_in_place(
        &mut self,
        id: ChildId,
        kind: (bool, bool),
        mut agreed: Agreed,
        cx: &mut Cx<'_>,
    ) {
        agreed.child.replaces = Some(id);
        agreed.child.continues(kind);
        if let Some(Pending::RekeyChild(ours, offer)) = &mut self.pending
            && *ours == id
        {
            // It may be replaced in its turn, or deleted, before our own answer comes; the nonce decides all the same.
            let made = Some(agreed.child.id);
            let lowest_nonce = agreed.child.lowest_nonce.clone();
            match &mut offer.rival {
                Some(rival) if rival.made.is_none() => *rival = Crossing { made, lowest_nonce },
                Some(_) => {}
                None => offer.rival = Some(Crossing { made, lowest_nonce }),
            }
        } else {
            self.set_phase(id, Phase::Replaced);
            self.keep(id, cx);
        }
        self.queue.retain(|task| !matches!(task, Task::RekeyChild(queued, _) if *queued == id));
        self.install(agreed, SendWhen::AfterInbound, Some(id), cx);
    }

    pub(super) fn on_rekey_child_response(
        mut self: Box<Self>,
        old: ChildId,
        mut offer: ChildOffer,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        let asking = Asking::Rekey { old, slot: offer.slot, rival: offer.rival.take() };
        let draft = self.complete(offer, &message.body, cx);
        self.on_drafted(asking, draft, message, cx)
    }

    pub(super) fn on_rekey_child_agreed(
        &mut self,
        (old, slot): (ChildId, Slot),
        rival: Option<&Crossing>,
        agreed: Result<Agreed, Refused>,
        cx: &mut Cx<'_>,
    ) {
        match (agreed, rival) {
            (Ok(agreed), None) => self.replace(old, agreed, cx),
            (Ok(agreed), Some(rival)) => {
                if ours_goes(&agreed.child.lowest_nonce, &rival.lowest_nonce) {
                    self.yield_child(old);
                    self.queue.push_front(Task::DeleteSpi(agreed.child.spi_in));
                } else {
                    self.outdo(old, rival, cx);
                    self.replace(old, agreed, cx);
                }
            }
            // The peer's came to something, of which nothing is left.
            (Err(refused), Some(rival))
                if rival.made.is_some() && !self.has_living_successor(old) =>
            {
                if matches!(refused.next, Next::Deleted) {
                    self.on_rekey_refused(old, slot, refused, cx);
                } else if !self.children.iter().any(|child| child.id == old) {
                    self.on_deleted_by_peer(slot, false, cx);
                }
            }
            // It stands, or is still to come.
            (Err(_), Some(_)) => self.yield_child(old),
            (Err(refused), None) => self.on_rekey_refused(old, slot, refused, cx),
        }
    }

    fn on_rekey_refused(&mut self, old: ChildId, slot: Slot, refused: Refused, cx: &mut Cx<'_>) {
        match refused.next {
            Next::OtherGroup(method) => {
                self.queue.push_front(Task::RekeyChild(old, Some(method)));
            }
            Next::Later => {
                self.pause(cx);
                self.queue.push_front(Task::RekeyChild(old, None));
            }
            // The peer has no such child any more: ours is of no use either.
            Next::Gone => {
                let Some(child) = self.children.iter().find(|child| child.id == old) else {
                    // Its DELETE came before this answer, and what follows from that is done.
                    return;
                };
                let resource = child.resource;
                self.remove(old, CloseReason::PeerDeleted, cx);
                if !resource && !self.has_up(slot, cx) && !self.appoint_fallback(slot) {
                    self.queue.push_front(Task::NewChild(slot, None));
                }
            }
            // The fallback carries what it carried when it has expired.
            Next::Full | Next::GiveUp if self.is_resource(old) => {
                tracing::debug!(reason = ?refused.reason, "a child for a resource is not rekeyed");
            }
            Next::Full => {
                let retry_at = self.children.iter().find(|c| c.id == old).map(|c| c.rekey_at);
                self.tell_failed(slot, refused.reason, retry_at, cx);
                self.begin_anew(cx);
            }
            // The old pair goes on until it expires; its rekey is asked for again before that.
            Next::GiveUp => {
                let retry_at = self.children.iter().find(|c| c.id == old).map(|c| c.rekey_at);
                self.tell_failed(slot, refused.reason, retry_at, cx);
            }
            // The old pair is replaced all the same, and nobody but us deletes it.
            Next::Deleted => {
                let resource = self.is_resource(old);
                self.set_phase(old, Phase::Replaced);
                self.queue.push_front(Task::DeleteChild(old));
                self.on_deleted_by_peer(slot, resource, cx);
            }
        }
    }

    /// Puts the pair that we made in the place of `old` and has `old` deleted.
    fn replace(&mut self, old: ChildId, mut agreed: Agreed, cx: &mut Cx<'_>) {
        agreed.child.replaces = Some(old);
        if let Some(old) = self.children.iter().find(|child| child.id == old) {
            agreed.child.continues((old.resource, old.remarks.resources));
        }
        // The peer may have deleted it while it answered.
        let replaces = self.children.iter().any(|child| child.id == old).then_some(old);
        self.install(agreed, SendWhen::Now, replaces, cx);
        self.set_phase(old, Phase::Replaced);
        self.queue.push_front(Task::DeleteChild(old));
    }

    /// The peer's rekey stands: what it made, if that is there by now and still is, has the place of `old`.
    pub(super) fn yield_child(&mut self, old: ChildId) {
        if self.has_living_successor(old) {
            self.set_phase(old, Phase::Replaced);
        }
    }

    /// The peer's exchange to replace the same child has lost: the peer deletes what it made, or does not go on.
    pub(super) fn outdo(&mut self, old: ChildId, rival: &Crossing, cx: &mut Cx<'_>) {
        match rival.made {
            Some(made) => self.set_phase(made, Phase::Replaced),
            None => self.drop_drafts_of(old, cx),
        }
    }

    /// The peer replaces a child: it deletes the old one when it has our answer, which may be lost for long.
    fn keep(&mut self, id: ChildId, cx: &mut Cx<'_>) {
        for child in self.children.iter_mut().filter(|child| child.id == id) {
            child.expires_at = child.expires_at.max(cx.now + REPLACED);
        }
    }

    fn set_phase(&mut self, id: ChildId, phase: Phase) {
        for child in self.children.iter_mut().filter(|child| child.id == id) {
            child.phase = phase;
        }
    }

    /// Whether a newer child has taken the place of this one.
    pub(super) fn has_successor(&self, id: ChildId) -> bool {
        self.children.iter().any(|child| child.replaces == Some(id))
    }

    /// The same, and that one, or what took its own place, does not go itself.
    pub(super) fn has_living_successor(&self, id: ChildId) -> bool {
        let lives = |child: &Child| match child.phase {
            Phase::Up => true,
            Phase::Replaced => self.has_living_successor(child.id),
            Phase::Deleting => false,
        };
        self.children.iter().filter(|child| child.replaces == Some(id)).any(lives)
    }
}
