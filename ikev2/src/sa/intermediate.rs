//! IKE_INTERMEDIATE between IKE_SA_INIT and IKE_AUTH (RFC 9242), one for each further key exchange (RFC 9370 §2.2.2); the
//! last one also names post-quantum keys (RFC 9867, see early.rs), or there is one for that alone.
//!
//! ```text
//!   IntermediateSent  ── HDR(43, ID n), SK(keys n) { [KEi(n),] [N(PPK_IDENTITY_KEY)..] } ──►            AuthAwaited
//!                     ◄── HDR(43, ID n), SK(keys n) { [KEr(n),] [N(PPK_IDENTITY)] } ──
//!        both: IntAuth takes the two messages in, then the keys n+1 are made of SK_d(n) and SK(n), and of the named key
//!
//!   the last one done ─► IKE_AUTH, whose signed octets end with IntAuth
//! ```
//!
//! How many there are was settled in IKE_SA_INIT, so one too many, one too few or another method ends the attempt. Before
//! IKE_AUTH nobody is authenticated: what is held is bounded as for IKE_AUTH itself, and its time is the same.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::channel::{Channel, Fresh};
use super::child::BAD_PUBLIC_VALUE;
use super::early::{self, Outcome, Use};
use super::established::UNSUPPORTED_CRITICAL;
use super::extensions::Announced;
use super::respond::AuthAwaited;
use super::{Attempt, Cx, Message, State};
use crate::config::Ppk;
use crate::crypto::intauth::IntAuth;
use crate::crypto::ke::{self, KeSecret};
use crate::crypto::suite::IkeSuite;
use crate::error::{CloseReason, PpkProblem};
use crate::event::{Deadline, PeerId};
use crate::registry::{ExchangeType, KeMethod, NotifyType};
use crate::shared::News;
use crate::wire::header::MessageId;
use crate::wire::message::{Body, Chain};
use crate::wire::ppk::{PpkId, PpkIdentityKey};

type Secret = Zeroizing<Vec<u8>>;

const NOT_AGREED: &str = "the peer made an IKE_INTERMEDIATE exchange that was not agreed on";
const NO_KEY_EXCHANGE: &str = "the peer's IKE_INTERMEDIATE lacks the key exchange agreed on";

/// What one exchange is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Round {
    /// A key exchange by this method.
    ke: Option<KeMethod>,
    /// To agree on a post-quantum key.
    ppk: bool,
}

/// The exchanges that are still to come, and what those that took place leave for AUTH.
pub(super) struct Intermediate {
    rounds: VecDeque<Round>,
    done: u32,
    int_auth: IntAuth,
}

impl Intermediate {
    /// Those that a suite wants, and where keys are named before IKE_AUTH: in the last one (RFC 9867 §3.1).
    pub(super) fn of(suite: &IkeSuite, ppk: bool) -> Self {
        let methods = suite.additional.iter().map(|(_, method)| method);
        let mut rounds: VecDeque<_> =
            methods.map(|method| Round { ke: Some(method), ppk: false }).collect();
        if ppk {
            let last = rounds.pop_back().and_then(|round| round.ke);
            rounds.push_back(Round { ke: last, ppk });
        }
        Self { rounds, done: 0, int_auth: IntAuth::default() }
    }

    /// The next one; `None` if IKE_AUTH is next.
    fn next(&self) -> Option<Round> {
        self.rounds.front().copied()
    }

    /// Whether IKE_AUTH may not come yet: a key exchange is missing that was agreed on.
    pub(super) fn is_missing(&self) -> bool {
        self.rounds.iter().any(|round| round.ke.is_some())
    }

    /// A peer that named no key with its last key exchange may still do so in an exchange for that alone.
    fn expect_keys_alone(&mut self) {
        self.rounds.push_back(Round { ke: None, ppk: true });
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
    /// The post-quantum key that is mixed in (RFC 9867).
    pub(super) early_ppk: Option<PpkId>,
}

/// IKE_INTERMEDIATE is sent.
pub(super) struct IntermediateSent {
    pub(super) begun: Begun,
    ke: Option<KeSecret>,
    /// What of ours was named.
    ppk: Option<Ppk>,
    give_up_at: Instant,
}

impl Begun {
    /// Sends the next IKE_INTERMEDIATE, or IKE_AUTH if there is none.
    pub(super) fn go_on(mut self, patience: Duration, cx: &mut Cx<'_>) -> State {
        let Some(round) = self.intermediate.next() else {
            return self.authenticate(cx);
        };
        let mut chain = Chain::new();
        let ke = round.ke.map(|method| KeSecret::generate(method, &mut cx.shared.rng));
        let Ok(ke) = ke.map(|made| made.ok_or(())).transpose() else {
            return self.fail(CloseReason::Protocol(NO_KEY_EXCHANGE), cx);
        };
        if let Some(ke) = &ke {
            chain.ke(ke.method(), ke.public());
        }
        // A configuration without a key, by now, has no names to tell.
        let ppk = cx.peer(self.peer).ppk.clone().filter(|_| round.ppk);
        if let Some(ppk) = &ppk {
            let nonces = (self.nonce_i.as_slice(), self.nonce_r.as_slice());
            early::offer(&mut chain, ppk, &self.channel.confirmation(nonces));
        }
        let (exchange, id) = (ExchangeType::IKE_INTERMEDIATE, self.intermediate.next_id());
        let associated = self.channel.associated(exchange, id, false, &chain);
        let (prf, sk_pi) = (self.channel.prf(), &self.channel.sk_p_ours);
        self.intermediate.int_auth.add_request(prf, sk_pi, &associated, chain.octets());
        self.channel.request(exchange, &chain, cx);
        let give_up_at = cx.now + patience;
        State::IntermediateSent(Box::new(IntermediateSent { begun: self, ke, ppk, give_up_at }))
    }

    /// Ends the attempt.
    pub(super) fn fail(self, reason: CloseReason, cx: &mut Cx<'_>) -> State {
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
            let refused = notify.kind == NotifyType::AUTHENTICATION_FAILED && self.ppk.is_some();
            let reason = if refused {
                CloseReason::Ppk(PpkProblem::Refused)
            } else {
                CloseReason::Notified(notify.kind)
            };
            return self.fail(reason, cx);
        }
        let Some(associated) = &message.ticket.associated else {
            return self.fail(CloseReason::Protocol(NO_KEY_EXCHANGE), cx);
        };
        let secret = match self.secret(body) {
            Ok(secret) => secret,
            Err(problem) => return self.fail(CloseReason::Protocol(problem), cx),
        };
        let taken = self.ppk.as_ref().map(|ppk| early::taken(ppk, body)).transpose();
        let taken = match taken {
            Ok(taken) => taken.flatten(),
            Err(problem) => return self.fail(CloseReason::Ppk(problem), cx),
        };
        let Begun { channel, intermediate, nonce_i, nonce_r, early_ppk, .. } = &mut self.begun;
        let (prf, sk_pr) = (channel.prf(), &channel.sk_p_theirs);
        intermediate.int_auth.add_response(prf, sk_pr, associated, message.plain);
        intermediate.finish_one();
        let ppk = taken.map(|(_, key)| key.octets());
        channel.update(
            Fresh { secret: secret.as_deref().map(Vec::as_slice), ppk },
            (nonce_i, nonce_r),
        );
        *early_ppk = taken.map(|(id, _)| id.clone());
        self.begun.go_on(patience, cx)
    }

    /// What the key exchange of this round gave, if there is one.
    fn secret(&self, body: &Body<'_>) -> Result<Option<Secret>, &'static str> {
        let Some(ours) = &self.ke else { return Ok(None) };
        let theirs = body.ke.as_ref().filter(|ke| ke.method == ours.method());
        let theirs = theirs.ok_or(NO_KEY_EXCHANGE)?;
        ours.agree(theirs.data).map(Some).map_err(|_| BAD_PUBLIC_VALUE)
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
        let Some(round) = self.intermediate.next() else {
            return self.refuse_syntax(CloseReason::Protocol(NOT_AGREED), message, cx);
        };
        let Some(associated) = &message.ticket.associated else {
            return self.refuse_syntax(CloseReason::Protocol(NO_KEY_EXCHANGE), message, cx);
        };
        let mut chain = Chain::new();
        let exchanged = round.ke.map(|method| exchange(method, &message.body, &mut chain, cx));
        let secret = match exchanged.transpose() {
            Ok(secret) => secret,
            Err(problem) => return self.refuse_syntax(CloseReason::Protocol(problem), message, cx),
        };
        let named = early::named(&message.body).filter(|_| round.ppk);
        if round.ke.is_none() && named.is_none() {
            return self.refuse_syntax(CloseReason::Protocol(NOT_AGREED), message, cx);
        }
        let outcome = named.as_deref().map(|named| self.agree_on_key(named, cx));
        match &outcome {
            Some(Outcome::Mixed(id, _)) => {
                chain.notify(NotifyType::PPK_IDENTITY, &id.emit());
            }
            Some(Outcome::Without(problem)) if self.all_insist(cx) => {
                let reason = CloseReason::Ppk(problem.clone());
                return self.refuse_peer(reason, message, cx);
            }
            Some(Outcome::Without(_) | Outcome::Awaited) | None => {}
        }
        let sent = self.channel.associated(message.exchange, message.id, true, &chain);
        let (prf, channel) = (self.channel.prf(), &self.channel);
        let int_auth = &mut self.intermediate.int_auth;
        int_auth.add_request(prf, &channel.sk_p_theirs, associated, message.plain);
        int_auth.add_response(prf, &channel.sk_p_ours, &sent, chain.octets());
        self.channel.respond(message, &chain, cx);
        self.intermediate.finish_one();
        if round.ppk && outcome.is_none() {
            self.intermediate.expect_keys_alone();
        }
        let ppk = match &outcome {
            Some(Outcome::Mixed(_, key)) => Some(key.octets()),
            Some(Outcome::Without(_) | Outcome::Awaited) | None => None,
        };
        let fresh = Fresh { secret: secret.as_deref().map(Vec::as_slice), ppk };
        self.channel.update(fresh, (&self.nonce_i, &self.nonce_r));
        if let Some(outcome) = outcome {
            self.ppk = Use::Early(outcome);
        }
        State::AuthAwaited(self)
    }

    /// Which of the keys that were named somebody has whom the peer may be. There may be thousands: their names are compared.
    fn agree_on_key(&self, named: &[PpkIdentityKey], cx: &Cx<'_>) -> Outcome {
        let ours = self.all_keys(cx);
        let nonces = (self.nonce_i.as_slice(), self.nonce_r.as_slice());
        early::choose(named, ours, &self.channel.confirmation(nonces))
    }
}

/// Answers a key exchange.
fn exchange(
    method: KeMethod,
    body: &Body<'_>,
    chain: &mut Chain,
    cx: &mut Cx<'_>,
) -> Result<Secret, &'static str> {
    let theirs = body.ke.as_ref().filter(|ke| ke.method == method).ok_or(NO_KEY_EXCHANGE)?;
    #[cfg(test)]
    {
        cx.shared.key_exchanges += 1;
    }
    let answered = ke::answer(method, theirs.data, &mut cx.shared.rng);
    let (public, secret) = answered.map_err(|_| BAD_PUBLIC_VALUE)?;
    chain.ke(method, &public);
    Ok(secret)
}
