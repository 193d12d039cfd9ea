//! IKEV2_MESSAGE_ID_SYNC (RFC 6311): a cluster's newly active member tells with which message IDs it goes on.
//!
//! ```text
//!   member ── SK { N(IKEV2_MESSAGE_ID_SYNC: nonce, M1, P1) }, message ID 0 ──►  peer (we)
//!          ◄── SK { N(IKEV2_MESSAGE_ID_SYNC: nonce, P2, M2) }, message ID 0 ──
//!
//!   M1: next ID of the member's requests, higher than any that we saw; M2 = M1
//!   P1: next ID that it expects of ours; P2 = the higher of P1 and our next one
//! ```
//!
//! The request stands outside the window, so what protects it from being replayed is M1 alone (§5.1): it has to exceed
//! every ID seen before, in requests and in earlier synchronisations. We answer as the peer of a cluster; we are no
//! cluster ourselves, so we send none. Counters of ESP are not synchronised: we do not announce that.

use super::established::Established;
use super::tasks::{Pending, Task};
use super::{Cx, Message, State};
use crate::registry::NotifyType;
use crate::wire::cursor::Reader;
use crate::wire::message::{Body, Chain};

/// The data of the notification.
struct Sync {
    nonce: [u8; 4],
    send: u32,
    receive: u32,
}

impl Sync {
    /// `None` unless it is all that the message says (RFC 6311 §5.1).
    fn of(body: &Body<'_>) -> Option<Self> {
        let allowed = |kind| {
            [NotifyType::IKEV2_MESSAGE_ID_SYNC, NotifyType::IPSEC_REPLAY_COUNTER_SYNC]
                .contains(&kind)
        };
        let alone = body.notifies.iter().all(|notify| allowed(notify.kind))
            && body.sa.is_none()
            && body.deletes.is_empty();
        let notify = body.notify(NotifyType::IKEV2_MESSAGE_ID_SYNC).filter(|_| alone)?;
        let mut reader = Reader::new("message ID sync", notify.data);
        let (nonce, send, receive) = (reader.array().ok()?, reader.u32().ok()?, reader.u32().ok()?);
        reader.rest().is_empty().then_some(Self { nonce, send, receive })
    }

    fn emit(&self) -> Vec<u8> {
        [self.nonce, self.send.to_be_bytes(), self.receive.to_be_bytes()].concat()
    }
}

impl Established {
    /// Whether a request with the ID 0 may be a synchronisation rather than a repeat.
    pub(super) fn may_synchronise(&self) -> bool {
        self.extensions.message_id_sync
    }

    /// Takes a synchronisation; anything else with that ID is old, and changes nothing.
    pub(super) fn on_synchronise(
        mut self: Box<Self>,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        let Some(theirs) = Sync::of(&message.body) else { return State::Established(self) };
        let Some((receive, send)) = self.channel.synchronise(theirs.send, theirs.receive) else {
            return State::Established(self);
        };
        self.last_inbound = cx.now;
        let mut chain = Chain::new();
        let ours = Sync { nonce: theirs.nonce, send, receive };
        chain.notify(NotifyType::IKEV2_MESSAGE_ID_SYNC, &ours.emit());
        self.channel.respond_outside_window(message, &chain, cx);
        self.ask_once_more(cx);
        self.pump(cx)
    }

    /// The request that waited has an ID that nobody will answer any more.
    fn ask_once_more(&mut self, cx: &mut Cx<'_>) {
        let Some(pending) = self.pending.take() else { return };
        let task = match &pending {
            Pending::DeleteChild(child) => Some(Task::DeleteChild(*child)),
            Pending::RekeyChild(child, _) => Some(Task::RekeyChild(*child, None)),
            Pending::NewChild(offer) => Some(Task::NewChild(offer.slot, None)),
            Pending::RekeyIke(_) => Some(Task::RekeyIke(None)),
            Pending::FollowUp(followup) => Some(followup.task()),
            Pending::UpdateAddresses(_) => Some(Task::UpdateAddresses),
            Pending::VerifyPath(_) => Some(Task::VerifyPath),
            Pending::Liveness => Some(Task::Liveness),
            // The member that was told of it is gone.
            Pending::DeleteSpi | Pending::Redirect => None,
        };
        if let Some(spi) = pending.spi_in() {
            cx.release_esp_spi(spi);
        }
        if let Some(task) = task {
            self.queue.push_front(task);
        }
    }
}
