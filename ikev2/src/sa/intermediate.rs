//! IKE_INTERMEDIATE between IKE_SA_INIT and IKE_AUTH (RFC 9242), one for each further key exchange (RFC 9370 §2.2.2).
//!
//! ```text
//!   IntermediateSent  ── HDR(43, ID n), SK(keys n) { KEi(n) } ──►            AuthAwaited
//!                     ◄── HDR(43, ID n), SK(keys n) { KEr(n) } ──
//!        both: IntAuth takes the two messages in, then the keys n+1 are made of SK_d(n) and SK(n)
//!
//!   the last one done ─► IKE_AUTH, whose signed octets end with IntAuth
//! ```
//!
//! How many there are was settled in IKE_SA_INIT, so one too many, one too few or another method ends the attempt. Before
//! IKE_AUTH nobody is authenticated: what is held is bounded as for IKE_AUTH itself, and its time is the same.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::channel::Channel;
use super::child::BAD_PUBLIC_VALUE;
use super::established::UNSUPPORTED_CRITICAL;
use super::extensions::Announced;
use super::respond::AuthAwaited;
use super::{Attempt, Cx, Message, State};
use crate::crypto::intauth::IntAuth;
use crate::crypto::ke::{self, KeSecret};
use crate::crypto::suite::IkeSuite;
use crate::error::CloseReason;
use crate::event::{Deadline, PeerId};
use crate::registry::{ExchangeType, KeMethod};
use crate::shared::News;
use crate::wire::header::MessageId;
use crate::wire::message::Chain;

const NOT_AGREED: &str = "the peer made an IKE_INTERMEDIATE exchange that was not agreed on";
const NO_KEY_EXCHANGE: &str = "the peer's IKE_INTERMEDIATE lacks the key exchange agreed on";

/// The exchanges that are still to come, and what those that took place leave for AUTH.
pub(super) struct Intermediate {
    rounds: VecDeque<KeMethod>,
    done: u32,
    int_auth: IntAuth,
}

impl Intermediate {
    /// Those that a suite wants.
    pub(super) fn of(suite: &IkeSuite) -> Self {
        let rounds = suite.additional.iter().map(|(_, method)| method).collect();
        Self { rounds, done: 0, int_auth: IntAuth::default() }
    }

    /// The method of the next one; `None` if IKE_AUTH is next.
    pub(super) fn next(&self) -> Option<KeMethod> {
        self.rounds.front().copied()
    }

    /// The end of the signed octets (RFC 9242 §3.3.2): IKE_AUTH follows the last exchange.
    pub(super) fn octets(&self) -> Vec<u8> {
        self.int_auth.octets(self.next_id())
    }

    /// The message ID of the next exchange. IKE_SA_INIT had 0 (RFC 9242 §3.2).
    const fn next_id(&self) -> MessageId {
        MessageId(self.done + 1)
    }

    fn finish_one(&mut self) {
        self.rounds.pop_front();
        self.done += 1;
    }
}

/// An attempt of ours between the answer to IKE_SA_INIT and IKE_AUTH.
pub(super) struct Begun {
    pub(super) channel: Channel,
    pub(super) announced: Announced,
    pub(super) peer: PeerId,
    pub(super) attempt: Attempt,
    pub(super) init_request: Arc<[u8]>,
    pub(super) init_response: Vec<u8>,
    pub(super) nonce_i: Vec<u8>,
    pub(super) nonce_r: Vec<u8>,
    pub(super) intermediate: Intermediate,
}

/// IKE_INTERMEDIATE is sent.
pub(super) struct IntermediateSent {
    pub(super) begun: Begun,
    ke: KeSecret,
    give_up_at: Instant,
}

impl Begun {
    /// Sends the next IKE_INTERMEDIATE, or IKE_AUTH if there is none.
    pub(super) fn go_on(mut self, patience: Duration, cx: &mut Cx<'_>) -> State {
        let Some(method) = self.intermediate.next() else {
            return State::AuthSent(Box::new(self.authenticate(cx)));
        };
        let Some(ke) = KeSecret::generate(method, &mut cx.shared.rng) else {
            return self.fail(CloseReason::Protocol(NO_KEY_EXCHANGE), cx);
        };
        let mut chain = Chain::new();
        chain.ke(method, ke.public());
        let (exchange, id) = (ExchangeType::IKE_INTERMEDIATE, self.intermediate.next_id());
        let associated = self.channel.associated(exchange, id, false, &chain);
        let (prf, sk_pi) = (self.channel.prf(), &self.channel.sk_p_ours);
        self.intermediate.int_auth.add_request(prf, sk_pi, &associated, chain.octets());
        self.channel.request(exchange, &chain, cx);
        let give_up_at = cx.now + patience;
        State::IntermediateSent(Box::new(IntermediateSent { begun: self, ke, give_up_at }))
    }

    fn fail(self, reason: CloseReason, cx: &mut Cx<'_>) -> State {
        cx.news(News::Lost { spi: self.channel.ours, peer: self.peer, reason });
        State::Closed
    }
}

impl IntermediateSent {
    pub(super) fn on_response(
        mut self: Box<Self>,
        message: &Message<'_>,
        patience: Duration,
        cx: &mut Cx<'_>,
    ) -> State {
        let body = &message.body;
        if body.unsupported_critical.is_some() {
            return self.fail(CloseReason::Protocol(UNSUPPORTED_CRITICAL), cx);
        }
        if let Some(notify) = body.error_notify() {
            return self.fail(CloseReason::Notified(notify.kind), cx);
        }
        let ke = body.ke.as_ref().filter(|ke| ke.method == self.ke.method());
        let (Some(ke), Some(associated)) = (ke, &message.ticket.associated) else {
            return self.fail(CloseReason::Protocol(NO_KEY_EXCHANGE), cx);
        };
        let Ok(secret) = self.ke.agree(ke.data) else {
            return self.fail(CloseReason::Protocol(BAD_PUBLIC_VALUE), cx);
        };
        let Begun { channel, intermediate, nonce_i, nonce_r, .. } = &mut self.begun;
        let (prf, sk_pr) = (channel.prf(), &channel.sk_p_theirs);
        intermediate.int_auth.add_response(prf, sk_pr, associated, message.plain);
        intermediate.finish_one();
        channel.update(&secret, (nonce_i, nonce_r));
        self.begun.go_on(patience, cx)
    }

    /// Ends the attempt: nothing is there that the peer would have to hear of.
    pub(super) fn fail(self: Box<Self>, reason: CloseReason, cx: &mut Cx<'_>) -> State {
        self.begun.fail(reason, cx)
    }

    pub(super) fn on_timeout(mut self: Box<Self>, cx: &mut Cx<'_>) -> State {
        if self.give_up_at <= cx.now {
            return self.fail(CloseReason::NoAnswer, cx);
        }
        self.begun.channel.retransmit(cx);
        State::IntermediateSent(self)
    }

    pub(super) fn deadline(&self) -> Deadline {
        match self.begun.channel.retransmit_at() {
            Some(at) if at < self.give_up_at => Deadline { at, why: "retransmit IKE_INTERMEDIATE" },
            _ => Deadline { at: self.give_up_at, why: "give up on IKE_INTERMEDIATE" },
        }
    }
}

impl AuthAwaited {
    /// Answers one, if it is the one that was agreed on.
    pub(super) fn on_intermediate(
        mut self: Box<Self>,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        let Some(method) = self.intermediate.next() else {
            return self.refuse_syntax(CloseReason::Protocol(NOT_AGREED), message, cx);
        };
        let ke = message.body.ke.as_ref().filter(|ke| ke.method == method);
        let (Some(ke), Some(associated)) = (ke, &message.ticket.associated) else {
            return self.refuse_syntax(CloseReason::Protocol(NO_KEY_EXCHANGE), message, cx);
        };
        #[cfg(test)]
        {
            cx.shared.key_exchanges += 1;
        }
        let Ok((public, secret)) = ke::answer(method, ke.data, &mut cx.shared.rng) else {
            return self.refuse_syntax(CloseReason::Protocol(BAD_PUBLIC_VALUE), message, cx);
        };
        let mut chain = Chain::new();
        chain.ke(method, &public);
        let sent = self.channel.associated(message.exchange, message.id, true, &chain);
        let (prf, channel) = (self.channel.prf(), &self.channel);
        let int_auth = &mut self.intermediate.int_auth;
        int_auth.add_request(prf, &channel.sk_p_theirs, associated, message.plain);
        int_auth.add_response(prf, &channel.sk_p_ours, &sent, chain.octets());
        self.channel.respond(message, &chain, cx);
        self.intermediate.finish_one();
        self.channel.update(&secret, (&self.nonce_i, &self.nonce_r));
        State::AuthAwaited(self)
    }
}
