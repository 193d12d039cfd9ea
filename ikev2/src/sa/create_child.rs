//! CREATE_CHILD_SA for children (RFC 7296 §1.3.1, §1.3.3), both roles, with the races of §2.8.1 and §2.25.1.
//!
//! ```text
//!   new     SK { SA, Ni, [KEi], TSi, TSr } ──►                        ◄── SK { SA, Nr, [KEr], TSi, TSr }
//!   rekey   SK { N(REKEY_SA), SA, Ni, [KEi], TSi, TSr } ──►           then whoever asked deletes the old pair
//! ```
//!
//! Both sides rekey the same child at once: both exchanges run, then the pair with the lowest nonce is deleted by whoever
//! made it, and the maker of the other deletes the old pair. With further key exchanges: followup.rs.

use super::child::{
    Agreed, Asked, BAD_PUBLIC_VALUE, Child, ChildOffer, Phase, Refusal, answer, is_for_ike,
};
use super::closing::REPLACED;
use super::collision::ours_goes;
use super::draft::{Crossing, Draft};
use super::established::{Doom, Established};
use super::followup::{PassiveWork, Work};
use super::resources::announced;
use super::slot::Slot;
use super::tasks::{Pending, Task};
use super::{Cx, Message, Origin, State};
use crate::error::CloseReason;
use crate::event::{ChildId, SendWhen};
use crate::registry::{ExchangeType, KeMethod, NotifyType, ProtocolId};
use crate::wire::message::{Body, Chain, Notify};

impl Established {
    pub(super) fn ask_new_child(&mut self, slot: Slot, ke: Option<KeMethod>, cx: &mut Cx<'_>) {
        let wanted = !self.has_up(slot, cx) || self.packet_waits_for(slot, cx);
        if !wanted || self.is_taken_apart(slot, cx) {
            return;
        }
        let peer = cx.peer(self.peer);
        let Some(child) = peer.child(slot.config) else { return };
        let traffic = cx.led_by_packet(self.peer, slot.traffic(child));
        let spi_in = cx.fresh_esp_spi(None);
        let offered = (slot, traffic);
        let mut offer = ChildOffer::further(&child.proposals, offered, (ke, None), spi_in, cx);
        offer.resource_info = announced(child);
        let mut chain = Chain::new();
        offer.write(&mut chain);
        self.pending = Some(Pending::NewChild(offer));
        self.channel.request(ExchangeType::CREATE_CHILD_SA, &chain, cx);
    }

    pub(super) fn ask_rekey_child(&mut self, id: ChildId, ke: Option<KeMethod>, cx: &mut Cx<'_>) {
        let old = self.children.iter().find(|child| child.id == id && child.phase == Phase::Up);
        let Some(old) = old else { return };
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

    pub(super) fn on_create_child_request(
        mut self: Box<Self>,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        if self.asks_too_fast(cx) {
            self.refuse(message, NotifyType::TEMPORARY_FAILURE, &[], cx);
            return self.pump(cx);
        }
        if is_for_ike(&message.body) {
            return self.on_rekey_ike_request(message, cx);
        }
        // RFC 7296 §2.25.2: no new children while the IKE SA is being replaced.
        let replaced = match &self.pending {
            Some(Pending::RekeyIke(_)) => true,
            Some(Pending::FollowUp(ours)) => ours.is_for_ike(),
            _ => false,
        };
        if replaced || self.has_many_drafts() {
            self.refuse(message, NotifyType::TEMPORARY_FAILURE, &[], cx);
            return self.pump(cx);
        }
        if self.is_full(cx) {
            self.refuse(message, NotifyType::NO_ADDITIONAL_SAS, &[], cx);
            return self.pump(cx);
        }
        match message.body.notify(NotifyType::REKEY_SA) {
            Some(notify) => self.on_rekey_child_request(notify, message, cx),
            None => self.on_new_child_request(message, cx),
        }
        self.pump(cx)
    }

    fn on_new_child_request(&mut self, message: &Message<'_>, cx: &mut Cx<'_>) {
        // Both sides ask for the same child at once: the original initiator's request stands.
        let except = match &self.pending {
            Some(Pending::NewChild(ours)) if !ours.resource => Some(ours.slot),
            Some(Pending::FollowUp(ours)) => match ours.work {
                Work::Child(Asking::New { slot, resource: false }, _) => Some(slot),
                Work::Child(..) | Work::Ike(_) => None,
            },
            _ => None,
        };
        let except = except.filter(|_| self.origin() == Origin::Local);
        let beside = self.siblings(&message.body, cx);
        let asked = Asked::Further { except, beside };
        if let Some(draft) = self.answer_child(message, &asked, PassiveWork::NewChild, cx) {
            let agreed = self.finished(draft, cx);
            self.install_further(agreed, cx);
        }
    }

    fn on_rekey_child_request(
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

    /// Answers a request for a child; `None` if it was refused, or if further key exchanges are to come: the draft then waits
    /// for them, as the `work` that it is.
    fn answer_child(
        &mut self,
        message: &Message<'_>,
        asked: &Asked,
        work: impl FnOnce(Draft) -> PassiveWork,
        cx: &mut Cx<'_>,
    ) -> Option<Draft> {
        let Some(nonce_i) = message.body.nonce else {
            self.refuse_incomplete(message, cx);
            return None;
        };
        let mut chain = Chain::new();
        match answer(&message.body, &cx.peer(self.peer), asked, (nonce_i, &[]), cx) {
            Ok(answer) => {
                answer.write(&mut chain);
                let over = answer.draft.rounds.are_over();
                let mut finished = Some(answer.draft);
                if let Some(draft) = finished.take_if(|_| !over) {
                    let link = self.await_followup(work(draft), cx);
                    chain.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE, &link);
                }
                self.respond(message, &chain, cx);
                finished
            }
            Err(refusal) => {
                refusal.write(&mut chain);
                self.respond(message, &chain, cx);
                if refusal.notify == NotifyType::INVALID_SYNTAX {
                    self.doom = Some(Doom::Told(refusal.reason));
                } else {
                    self.report(refusal, message, cx);
                }
                None
            }
        }
    }

    /// The request lacks a payload that it has to have: fatal to both (RFC 7296 §2.21.3).
    pub(super) fn refuse_incomplete(&mut self, message: &Message<'_>, cx: &mut Cx<'_>) {
        self.refuse_syntax(message, cx);
        self.doom = Some(Doom::Told(CloseReason::Protocol("the peer's request is incomplete")));
    }

    fn report(&self, refusal: Refusal, message: &Message<'_>, cx: &mut Cx<'_>) {
        let passing = [
            NotifyType::INVALID_KE_PAYLOAD,
            NotifyType::TEMPORARY_FAILURE,
            NotifyType::TS_MAX_QUEUE,
        ];
        if !passing.contains(&refusal.notify) {
            let (peer, path, reason) = (Some(self.peer), message.path, refusal.reason);
            cx.event(crate::event::Event::Refused { peer, path, reason });
        }
    }

    pub(super) fn refuse(
        &mut self,
        message: &Message<'_>,
        kind: NotifyType,
        data: &[u8],
        cx: &mut Cx<'_>,
    ) {
        let mut chain = Chain::new();
        chain.notify(kind, data);
        self.respond(message, &chain, cx);
    }

    pub(super) fn on_new_child_response(
        mut self: Box<Self>,
        offer: ChildOffer,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        let asking = Asking::New { slot: offer.slot, resource: offer.resource };
        let draft = self.complete(offer, &message.body, cx);
        self.on_drafted(asking, draft, message, cx)
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

    /// The first answer is here.
    fn on_drafted(
        mut self: Box<Self>,
        asking: Asking,
        draft: Result<Draft, Refused>,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        match draft {
            Ok(draft) if !draft.rounds.are_over() => {
                let asking = match asking {
                    Asking::Rekey { old, slot, rival: Some(rival) } => {
                        if ours_goes(draft.lowest_nonce(), &rival.lowest_nonce) {
                            // There is nothing that would have to be deleted (RFC 9370): we do not go on.
                            cx.release_esp_spi(draft.spi_in());
                            if rival.made.is_some() {
                                self.set_phase(old, Phase::Replaced);
                            }
                            return self.pump(cx);
                        }
                        self.outdo(old, &rival, cx);
                        Asking::Rekey { old, slot, rival: None }
                    }
                    asking @ (Asking::New { .. } | Asking::Rekey { .. }) => asking,
                };
                return self.follow_up(Work::Child(asking, draft), &message.body, cx);
            }
            Ok(draft) => {
                let agreed = self.conclude(draft, cx);
                self.on_child_agreed(asking, agreed, cx);
            }
            Err(refused) => self.on_child_agreed(asking, Err(refused), cx),
        }
        self.pump(cx)
    }

    /// The peer's exchange to replace the same child has lost: the peer deletes what it made, or does not go on.
    fn outdo(&mut self, old: ChildId, rival: &Crossing, cx: &mut Cx<'_>) {
        match rival.made {
            Some(made) => self.set_phase(made, Phase::Replaced),
            None => self.drop_drafts_of(old, cx),
        }
    }

    /// Nothing is left to be exchanged for what we asked for.
    pub(super) fn on_child_agreed(
        &mut self,
        asking: Asking,
        agreed: Result<Agreed, Refused>,
        cx: &mut Cx<'_>,
    ) {
        match asking {
            Asking::New { slot, resource: true } => self.on_resource_agreed(slot, agreed, cx),
            Asking::New { slot, resource: false } => self.on_new_child_agreed(slot, agreed, cx),
            Asking::Rekey { old, slot, rival } => {
                self.on_rekey_child_agreed((old, slot), rival.as_ref(), agreed, cx);
            }
        }
    }

    fn on_new_child_agreed(
        &mut self,
        slot: Slot,
        agreed: Result<Agreed, Refused>,
        cx: &mut Cx<'_>,
    ) {
        match agreed {
            // The peer's request for it crossed ours and was granted.
            Ok(agreed) if self.has_up(slot, cx) && !self.packet_waits_for(slot, cx) => {
                self.queue.push_front(Task::DeleteSpi(agreed.child.spi_in));
            }
            Ok(agreed) => {
                self.install(agreed, SendWhen::Now, None, cx);
                self.ask_for_rest(slot, cx);
            }
            Err(refused) => match refused.next {
                Next::OtherGroup(method) => {
                    self.queue.push_front(Task::NewChild(slot, Some(method)));
                }
                Next::Later => {
                    self.pause(cx);
                    self.queue.push_front(Task::NewChild(slot, None));
                }
                Next::Gone | Next::Full | Next::GiveUp | Next::Deleted => {
                    self.child_failed(slot, refused.reason, cx);
                }
            },
        }
    }

    fn on_rekey_child_agreed(
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
            // Only the peer's rekey came to something, or is still to.
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
                let resource = self.is_resource(old);
                self.remove(old, CloseReason::PeerDeleted, cx);
                if !resource && !self.appoint_fallback(slot) {
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
    fn yield_child(&mut self, old: ChildId) {
        if self.has_living_successor(old) {
            self.set_phase(old, Phase::Replaced);
        }
    }

    fn set_phase(&mut self, id: ChildId, phase: Phase) {
        for child in self.children.iter_mut().filter(|child| child.id == id) {
            child.phase = phase;
        }
    }

    /// The peer replaces a child: it deletes the old one when it has our answer, which may be lost for long.
    fn keep(&mut self, id: ChildId, cx: &mut Cx<'_>) {
        for child in self.children.iter_mut().filter(|child| child.id == id) {
            child.expires_at = child.expires_at.max(cx.now + REPLACED);
        }
    }

    /// Whether a newer child has taken the place of this one.
    pub(super) fn has_successor(&self, id: ChildId) -> bool {
        self.children.iter().any(|child| child.replaces == Some(id))
    }

    /// The same, and that one does not go itself.
    pub(super) fn has_living_successor(&self, id: ChildId) -> bool {
        let lives = |child: &Child| child.replaces == Some(id) && child.phase != Phase::Deleting;
        self.children.iter().any(lives)
    }

    fn complete(
        &mut self,
        offer: ChildOffer,
        body: &Body<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<Draft, Refused> {
        let config = cx.peer(self.peer);
        let spi = offer.spi_in;
        let nonce_i = offer.nonce.clone();
        let mut next = next_step(body, |method| offer.offers(method));
        if matches!(next, Next::Gone) && offer.premature {
            // Not yet there, rather: our answer that makes it was on its way.
            next = Next::Later;
        }
        let nonces = (nonce_i.as_slice(), body.nonce.unwrap_or_default());
        let draft = match (body.nonce, body.error_notify()) {
            (None, None) => Err(CloseReason::Protocol("the peer's answer has no nonce")),
            _ => offer.complete(body, nonces, &config, cx),
        };
        let made = body.error_notify().is_none();
        if let Err(CloseReason::Protocol(BAD_PUBLIC_VALUE)) = &draft {
            // RFC 6989 §2.5: the IKE SA goes, with a DELETE.
            self.doom = Some(Doom::Untold(CloseReason::Protocol(BAD_PUBLIC_VALUE)));
        }
        draft.map_err(|reason| {
            self.deleted_early.clear();
            if made {
                // The peer believes in a pair that we cannot use.
                self.queue.push_back(Task::DeleteSpi(spi));
            }
            Refused { next, reason }
        })
    }

    /// The last answer is here: the keys, unless the peer has deleted the pair already.
    pub(super) fn conclude(&mut self, draft: Draft, cx: &mut Cx<'_>) -> Result<Agreed, Refused> {
        let early = std::mem::take(&mut self.deleted_early);
        if early.contains(&draft.spi_out().0.get()) {
            cx.release_esp_spi(draft.spi_in());
            return Err(Refused { next: Next::Deleted, reason: CloseReason::PeerDeleted });
        }
        Ok(self.finished(draft, cx))
    }

    /// The keys of a child whose key exchanges are all made.
    pub(super) fn finished(&self, draft: Draft, cx: &mut Cx<'_>) -> Agreed {
        let config = cx.peer(self.peer);
        draft.finish(self.channel.prf(), &self.channel.sk_d, &config, cx)
    }
}

/// What we asked for in CREATE_CHILD_SA.
pub(super) enum Asking {
    New {
        slot: Slot,
        /// Beside the fallback (RFC 9611).
        resource: bool,
    },
    Rekey {
        old: ChildId,
        slot: Slot,
        rival: Option<Crossing>,
    },
}

/// What a refusal means for us.
pub(super) struct Refused {
    pub(super) next: Next,
    pub(super) reason: CloseReason,
}

pub(super) enum Next {
    /// INVALID_KE_PAYLOAD with a group that we offered.
    OtherGroup(KeMethod),
    /// TEMPORARY_FAILURE (RFC 7296 §2.25).
    Later,
    /// CHILD_SA_NOT_FOUND.
    Gone,
    /// NO_ADDITIONAL_SAS: there are peers that know no CREATE_CHILD_SA (RFC 7296 §4).
    Full,
    /// None: it was granted, and deleted before the answer came.
    Deleted,
    /// Anything else.
    GiveUp,
}

fn next_step(body: &Body<'_>, offered: impl Fn(KeMethod) -> bool) -> Next {
    let Some(notify) = body.error_notify() else { return Next::GiveUp };
    match notify.kind {
        NotifyType::INVALID_KE_PAYLOAD => match <[u8; 2]>::try_from(notify.data) {
            Ok(octets) if offered(KeMethod(u16::from_be_bytes(octets))) => {
                Next::OtherGroup(KeMethod(u16::from_be_bytes(octets)))
            }
            _ => Next::GiveUp,
        },
        NotifyType::TEMPORARY_FAILURE => Next::Later,
        NotifyType::CHILD_SA_NOT_FOUND => Next::Gone,
        NotifyType::NO_ADDITIONAL_SAS => Next::Full,
        _ => Next::GiveUp,
    }
}
