//! INFORMATIONAL exchanges (RFC 7296 §1.4): deletes, liveness, error notifications.
//!
//! ```text
//!   D(IKE)  in ─► answer, everything down                     D(ESP spis) in ─► answer D(our spis), those children down
//!   empty   in ─► empty answer                                Task::DeleteChild ─► D(ESP) out;  Task::Liveness ─► empty out
//! ```

use std::collections::HashSet;

use super::child::Phase;
use super::established::Established;
use super::slot::Slot;
use super::tasks::{Pending, Task};
use super::{Cx, Message, State};
use crate::config::Start;
use crate::error::CloseReason;
use crate::event::{ChildId, EspSpi};
use crate::registry::{ExchangeType, NotifyType, ProtocolId};
use crate::wire::message::Chain;
use crate::wire::payload::Delete;

/// The most pairs that one DELETE names: a kilobyte, which no path cuts.
const MOST_AT_ONCE: usize = 256;

/// The most unknown SPIs that are remembered until the answer comes: those of a DELETE or two, of which we may have deleted all but
/// one ourselves.
const MOST_EARLY: usize = 2 * MOST_AT_ONCE;

impl Established {
    pub(super) fn on_informational_request(
        mut self: Box<Self>,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        let body = &message.body;
        if body.deletes.iter().any(Delete::is_ike) {
            self.respond(message, &Chain::new(), cx);
            return self.on_deleted(cx);
        }
        if body.notify(NotifyType::AUTHENTICATION_FAILED).is_some() {
            self.respond(message, &Chain::new(), cx);
            let expected = Some(self.ends.remote_id.clone());
            let reason =
                CloseReason::AuthRefusedByPeer { sent: self.ends.local_id.clone(), expected };
            return self.fail(reason, cx);
        }
        self.on_redirect(message, cx);
        self.on_auth_lifetime(message, cx);
        let mut chain = Chain::new();
        self.on_addresses(message, &mut chain, cx);
        let mut ours = Vec::new();
        let esp = body.deletes.iter().filter(|d| d.protocol == ProtocolId::ESP);
        // A message names 16 000 SPIs; for those that are none of ours no child is looked at.
        let known: HashSet<u32> = self.children.iter().map(|c| c.spi_out.0.get()).collect();
        for spi in esp.flat_map(|d| &d.spis) {
            if known.contains(spi) {
                ours.extend(self.on_child_delete(*spi, cx));
            } else {
                self.on_early_delete(*spi);
            }
        }
        if !ours.is_empty() {
            chain.delete_esp(&ours);
        }
        self.respond(message, &chain, cx);
        self.pump(cx)
    }

    /// The peer deleted the IKE SA. If its own rekey crossed ours and won, the children live on in that one.
    fn on_deleted(mut self: Box<Self>, cx: &mut Cx<'_>) -> State {
        match self.rival.take() {
            Some(rival) => self.live_on(*rival, cx),
            None => self.fail(CloseReason::PeerDeleted, cx),
        }
    }

    /// The peer deletes the child that it receives on with `spi`; gives our SPI of the pair for the answer, unless our
    /// own delete of it is on its way (RFC 7296 §1.4.1).
    fn on_child_delete(&mut self, spi: u32, cx: &mut Cx<'_>) -> Option<u32> {
        let Some(child) = self.children.iter().find(|child| child.spi_out.0.get() == spi) else {
            self.on_early_delete(spi);
            return None;
        };
        let (id, spi_in, phase, slot) = (child.id, child.spi_in, child.phase, child.slot);
        let resource = child.resource;
        let crossing = matches!(&self.pending, Some(Pending::DeleteChild(ours)) if *ours == id);
        // Of two that crossed, the peer deletes the one that it made if that is the one to go.
        let rival = matches!(
            &self.pending,
            Some(Pending::RekeyChild(_, ours)) if ours.rival.as_ref().is_some_and(|r| r.made == Some(id))
        );
        let replaced = rival || phase != Phase::Up || self.has_living_successor(id);
        let reason = if replaced { CloseReason::Rekeyed } else { CloseReason::PeerDeleted };
        self.remove(id, reason, cx);
        if !replaced {
            self.on_deleted_by_peer(slot, resource, cx);
        }
        (!crossing).then_some(spi_in.0.get())
    }

    /// The peer has deleted a child of ours that nothing replaces: it is asked for again if it is to be there always.
    pub(super) fn on_deleted_by_peer(&mut self, slot: Slot, resource: bool, cx: &mut Cx<'_>) {
        // To ask for one that was for a resource again at once might go on for ever (RFC 9611 §6).
        let served = resource || self.has_up(slot, cx) || self.appoint_fallback(slot);
        if !served && cx.peer(self.peer).start == Start::Always {
            self.ask_again_soon(slot, cx);
        }
    }

    /// The peer deletes what we do not know. If it is the pair that we are asking for, the DELETE has overtaken the
    /// answer, which must not bring the pair up when it comes.
    fn on_early_delete(&mut self, spi: u32) {
        let asking = matches!(
            self.pending,
            Some(Pending::NewChild(_) | Pending::RekeyChild(..) | Pending::FollowUp(_))
        );
        if asking && self.deleted_early.len() < MOST_EARLY {
            self.deleted_early.push(spi);
        }
    }

    pub(super) fn ask_delete(&mut self, id: ChildId, cx: &mut Cx<'_>) {
        let Some(child) = self.children.iter_mut().find(|child| child.id == id) else { return };
        if child.phase == Phase::Up {
            child.phase = Phase::Deleting;
        }
        let mut chain = Chain::new();
        chain.delete_esp(&[child.spi_in.0.get()]);
        self.pending = Some(Pending::DeleteChild(id));
        self.channel.request(ExchangeType::INFORMATIONAL, &chain, cx);
    }

    /// Deletes pairs that are taken out here already, as many at once as there are: a configuration may have a thousand.
    pub(super) fn ask_delete_spis(&mut self, first: EspSpi, cx: &mut Cx<'_>) {
        let mut spis = vec![first];
        self.queue.retain(|task| {
            let Task::DeleteSpi(spi) = task else { return true };
            let fits = spis.len() < MOST_AT_ONCE;
            spis.extend(fits.then_some(*spi));
            !fits
        });
        let mut chain = Chain::new();
        let octets: Vec<u32> = spis.iter().map(|spi| spi.0.get()).collect();
        chain.delete_esp(&octets);
        self.pending = Some(Pending::DeleteSpis(spis));
        self.channel.request(ExchangeType::INFORMATIONAL, &chain, cx);
    }

    pub(super) fn on_child_deleted(mut self: Box<Self>, id: ChildId, cx: &mut Cx<'_>) -> State {
        let replaced = self.children.iter().any(|c| c.id == id && c.phase == Phase::Replaced);
        let reason = if replaced { CloseReason::Rekeyed } else { CloseReason::Local };
        self.remove(id, reason, cx);
        self.pump(cx)
    }

    pub(super) fn ask_liveness(&mut self, cx: &mut Cx<'_>) {
        let mut chain = Chain::new();
        self.write_nat_check(&mut chain, cx);
        self.pending = Some(Pending::Liveness);
        self.channel.request(ExchangeType::INFORMATIONAL, &chain, cx);
    }
}
