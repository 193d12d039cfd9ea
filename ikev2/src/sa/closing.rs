//! The end of an IKE SA: the last request of ours, the last answers to the peer's, then nothing.
//!
//! ```text
//!   deleting   our DELETE waits for its answer           ─► answered, or CLOSING passed ─► Closed
//!   waiting    another last request waits for its answer ─► the same
//!   replaced   the peer's DELETE is awaited             ─► it came, or REPLACED passed     ─► lingering, Closed
//!   silent     the peer counts as dead                   ─► it is heard again           ─► deleting
//!                                                        └► LINGER passed               ─► Closed
//!   lingering  only repeats answers that may be lost     ─► LINGER passed               ─► Closed
//! ```

use std::time::{Duration, Instant};

use super::channel::Channel;
use super::mobike::Farewell;
use super::{Cx, Message, State};
use crate::event::{Deadline, Path};
use crate::registry::{ExchangeType, NotifyType};
use crate::wire::message::Chain;
use crate::wire::payload::Delete;

/// How long a DELETE may take. Short: the SAs are down already, and a program that ends waits for it.
const CLOSING: Duration = Duration::from_secs(5);
/// How long the last answer is kept for repeats of its request.
const LINGER: Duration = Duration::from_secs(10);

/// How long an SA, or a child, that the peer replaced is kept: until then its maker may still ask for our answer, which was lost. As
/// long as other stacks repeat a request.
pub(super) const REPLACED: Duration = Duration::from_secs(165);

/// An IKE SA that is no longer of use.
pub(super) struct Closing {
    pub(super) channel: Channel,
    delete: LastWord,
    until: Instant,
    /// What to say if we move before the peer has our answer.
    farewell: Option<Farewell>,
    /// We have moved, and it is not said yet.
    moved: bool,
}

#[derive(PartialEq, Eq)]
enum LastWord {
    /// Goes out as soon as no request waits.
    Wanted,
    /// The same, and the request that waits is IKE_AUTH: the peer does not know yet whether the SA is up.
    AfterAuth,
    /// The same, and IKE_AUTH is not repeated any more.
    Hushed,
    /// The same, and the peer has the SA: it asks for something there.
    Asked,
    /// Goes out when the peer is heard: it counts as dead, and if it is not it does not know that the SA is gone.
    Owed,
    /// Is out, or another last request is.
    Sent,
    /// There is nothing to say.
    None,
}

impl Closing {
    const fn new(channel: Channel, delete: LastWord, until: Instant) -> Self {
        Self { channel, delete, until, farewell: None, moved: false }
    }

    /// Sends a DELETE for the IKE SA.
    pub(super) fn deleting(channel: Channel, cx: &mut Cx<'_>) -> Self {
        let mut this = Self::new(channel, LastWord::Wanted, cx.now + CLOSING);
        this.send_delete(cx);
        this
    }

    /// Sends a DELETE for an IKE SA of which the peer does not know yet whether it is up, once it has answered.
    pub(super) fn abandoning(channel: Channel, cx: &mut Cx<'_>) -> Self {
        let mut this = Self::new(channel, LastWord::AfterAuth, cx.now + CLOSING);
        this.send_delete(cx);
        this
    }

    /// Another SA with the peer begins. IKE_AUTH is not repeated any more: the peer would take it for the newer one, and might
    /// end the SA that begins, for its INITIAL_CONTACT or because it keeps one only. Who answers all the same, or asks for something,
    /// gets a DELETE.
    pub(super) fn hush(&mut self) {
        if self.delete == LastWord::AfterAuth {
            self.delete = LastWord::Hushed;
        }
    }

    /// A last request is outstanding.
    pub(super) fn waiting(channel: Channel, cx: &mut Cx<'_>) -> Self {
        Self::new(channel, LastWord::Sent, cx.now + CLOSING)
    }

    /// The peer made a new SA in its place and will delete it (RFC 7296 §2.8). If it does not know yet that we `moved`, and did not
    /// get our last answer, it asks where we were.
    pub(super) fn replaced(
        channel: Channel,
        farewell: Farewell,
        moved: bool,
        cx: &mut Cx<'_>,
    ) -> Self {
        let until = cx.now + REPLACED;
        let new = Self::new(channel, LastWord::None, until);
        let mut this = Self { farewell: Some(farewell), moved, ..new };
        this.send_farewell(cx);
        this
    }

    /// Nothing is sent to a peer that counts as dead. One that only could not be heard takes any answer for a sign that the SA
    /// stands, and would go on for as long as there are answers: so it gets a DELETE with the first one.
    pub(super) fn silent(channel: Channel, cx: &mut Cx<'_>) -> Self {
        Self::new(channel, LastWord::Owed, cx.now + LINGER)
    }

    /// Only answers repeats.
    pub(super) fn lingering(channel: Channel, cx: &mut Cx<'_>) -> Self {
        Self::new(channel, LastWord::None, cx.now + LINGER)
    }

    /// Whether nothing is left to say that would be worth waiting for.
    pub(super) fn is_lingering(&self) -> bool {
        matches!(self.delete, LastWord::None | LastWord::Owed)
    }

    /// The peer is reached by another path. Whoever waits for our answer to its rekey has to hear of that here.
    pub(super) fn follow(&mut self, path: Path, cx: &mut Cx<'_>) {
        if path == self.channel.path {
            return;
        }
        self.channel.move_to(path, cx);
        self.moved = true;
        self.send_farewell(cx);
    }

    fn send_farewell(&mut self, cx: &mut Cx<'_>) {
        if let Some(farewell) = self.farewell.filter(|_| self.moved && !self.channel.is_busy()) {
            self.moved = false;
            let chain = farewell.write(&self.channel, cx);
            self.channel.request(ExchangeType::INFORMATIONAL, &chain, cx);
        }
    }

    /// Whether our outstanding request is worth repeating.
    const fn is_asking(&self) -> bool {
        let asks = matches!(
            self.delete,
            LastWord::Wanted | LastWord::AfterAuth | LastWord::Asked | LastWord::Sent
        );
        asks || self.farewell.is_some()
    }

    fn send_delete(&mut self, cx: &mut Cx<'_>) {
        let wanted = !matches!(self.delete, LastWord::Owed | LastWord::Sent | LastWord::None);
        if wanted && !self.channel.is_busy() {
            let mut chain = Chain::new();
            chain.delete_ike();
            self.channel.request(ExchangeType::INFORMATIONAL, &chain, cx);
            self.delete = LastWord::Sent;
        }
    }

    pub(super) fn on_message(
        mut self: Box<Self>,
        message: &Message<'_>,
        response: bool,
        cx: &mut Cx<'_>,
    ) -> State {
        if self.delete == LastWord::Owed {
            self.delete = LastWord::Wanted;
            self.until = cx.now + CLOSING;
        }
        if response {
            if self.delete == LastWord::Sent {
                return State::Closed;
            }
            self.send_delete(cx);
            self.send_farewell(cx);
            return State::Closing(self);
        }
        let deleted = message.body.deletes.iter().any(Delete::is_ike);
        if !deleted && self.delete == LastWord::Asked {
            return State::Closing(self);
        }
        if !deleted && matches!(self.delete, LastWord::AfterAuth | LastWord::Hushed) {
            // It has taken IKE_AUTH, and its answer was lost: to repeat that can only bring the answer, and then the DELETE. To
            // answer would say that the SA stands.
            self.delete = LastWord::Asked;
            self.until = cx.now + CLOSING;
            self.channel.move_to(self.channel.path, cx);
            return State::Closing(self);
        }
        let mut chain = Chain::new();
        let rejected = message.body.unsupported_critical;
        match (rejected, message.exchange) {
            (Some(kind), _) => {
                chain.notify(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[kind.0]);
            }
            (None, ExchangeType::CREATE_CHILD_SA) => {
                chain.notify(NotifyType::TEMPORARY_FAILURE, &[]);
            }
            (None, ExchangeType::IKE_FOLLOWUP_KE) => {
                chain.notify(NotifyType::STATE_NOT_FOUND, &[]);
            }
            (None, _) => {}
        }
        self.channel.respond(message, &chain, cx);
        if message.path != self.channel.path {
            // It moved: the last word has to find it there.
            self.channel.move_to(message.path, cx);
        }
        if deleted && rejected.is_none() {
            let linger = cx.now + LINGER;
            // Never longer than before: the peer may be one that was refused.
            self.until = if self.is_lingering() { self.until.min(linger) } else { linger };
            self.delete = LastWord::None;
            self.farewell = None;
        }
        self.send_delete(cx);
        State::Closing(self)
    }

    pub(super) fn on_timeout(mut self: Box<Self>, cx: &mut Cx<'_>) -> State {
        if self.until <= cx.now {
            return State::Closed;
        }
        if self.is_asking() {
            let detour = self.farewell.and_then(|farewell| farewell.detour(&self.channel, cx));
            self.channel.retransmit_by(detour.unwrap_or(self.channel.path), cx);
        }
        State::Closing(self)
    }

    pub(super) fn deadline(&self) -> Deadline {
        match self.channel.retransmit_at() {
            Some(at) if at < self.until && self.is_asking() => {
                Deadline { at, why: "retransmit the last word" }
            }
            _ => Deadline { at: self.until, why: "forget the closed SA" },
        }
    }
}
