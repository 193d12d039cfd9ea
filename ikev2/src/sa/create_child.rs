//! CREATE_CHILD_SA for children (RFC 7296 §1.3.1), both roles: what a request and its answer say, and children that are new.
//!
//! ```text
//!   new     SK { SA, Ni, [KEi], TSi, TSr } ──►                        ◄── SK { SA, Nr, [KEr], TSi, TSr }
//!   rekey   SK { N(REKEY_SA), .. } ──►                                 rekey_child.rs
//!   either with further key exchanges                                  followup.rs, then `on_child_agreed`
//! ```

use super::child::{Agreed, Asked, BAD_PUBLIC_VALUE, ChildOffer, Refusal, answer, is_for_ike};
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
use crate::registry::{ExchangeType, KeMethod, NotifyType};
use crate::wire::message::{Body, Chain};

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

    /// Answers a request for a child; `None` if it was refused, or if further key exchanges are to come: the draft then waits
    /// for them, as the `work` that it is.
    pub(super) fn answer_child(
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

    /// The first answer is here.
    pub(super) fn on_drafted(
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
                            self.yield_child(old);
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
            Ok(agreed) if self.is_there(slot, &agreed.child.traffic, cx) => {
                self.queue.push_front(Task::DeleteSpi(agreed.child.spi_in));
                // To ask once more would get the same.
                self.retries.retain(|retry| retry.slot != slot);
                self.ask_for_rest(slot, cx);
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

    pub(super) fn complete(
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
