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
//! The request stands outside the window: its ID 0 is long past, or that of an ordinary request that is still to come, or of the one
//! before (appendix A.1 of the RFC). So what protects it from being replayed is M1 alone (§5.1): it has to exceed
//! every ID seen before, in requests and in earlier synchronisations. We answer as the peer of a cluster; we are no
//! cluster ourselves, so we send none. Counters of ESP are not synchronised: we do not announce that.

use super::established::Established;
use super::{Cx, Message};
use crate::registry::{ExchangeType, NotifyType};
use crate::wire::cursor::Reader;
use crate::wire::header::{Header, MessageId};
use crate::wire::message::{Body, Chain};

/// The data of the notification.
pub(super) struct Sync {
    nonce: [u8; 4],
    send: u32,
    receive: u32,
}

impl Sync {
    /// `None` unless it is all that the message says (RFC 6311 §5.1).
    pub(super) fn of(body: &Body<'_>) -> Option<Self> {
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
    /// Whether a message has the header of a synchronisation.
    pub(super) fn may_synchronise(&self, header: &Header) -> bool {
        self.extensions.message_id_sync
            && header.exchange == ExchangeType::INFORMATIONAL
            && header.message_id == MessageId(0)
            && !header.flags.response
    }

    /// Takes a synchronisation; one that is old changes nothing.
    pub(super) fn on_synchronise(&mut self, theirs: &Sync, message: &Message<'_>, cx: &mut Cx<'_>) {
        let Some((receive, send)) = self.channel.synchronise(theirs.send, theirs.receive) else {
            return;
        };
        self.last_inbound = cx.now;
        let mut chain = Chain::new();
        let ours = Sync { nonce: theirs.nonce, send, receive };
        chain.notify(NotifyType::IKEV2_MESSAGE_ID_SYNC, &ours.emit());
        self.channel.respond_outside_window(message, &chain, cx);
        self.ask_once_more();
        self.ask(cx);
    }

    /// The request that waited has an ID that nobody will answer any more.
    fn ask_once_more(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        for task in pending.again().into_iter().rev() {
            self.queue.push_front(task);
        }
    }
}
