//! IKE_AUTH as initiator (RFC 7296 §1.2).
//!
//! ```text
//!   Begun      (IKE_SA_INIT is answered, and IKE_INTERMEDIATE as often as was agreed on)
//!   AuthSent ── HDR, SK { IDi, [N(INITIAL_CONTACT)], [CERT..], [CERTREQ], [IDr], AUTH, SAi2, TSi, TSr } ──►
//!            ◄── HDR, SK { IDr, [CERT..], AUTH, SAr2, TSi, TSr }            ─► Established
//! ```
//!
//! What comes back is sealed with the keys of IKE_SA_INIT, but nobody is known before AUTH fits.

use std::time::Instant;

use super::channel::Channel;
use super::child::ChildOffer;
use super::closing::Closing;
use super::established::{Established, UNSUPPORTED_CRITICAL};
use super::extensions::{self, Announced, Extensions};
use super::initiate::{ATTEMPT, tell_detour};
use super::intermediate::Begun;
use super::proof::{self, Ends, Shown, expected_identity, is_expected, local_identity};
use super::tasks::Task;
use super::{Cx, Message, Origin, State, redirect};
use crate::config::{Childless, PeerConfig, Ppk, RemoteId};
use crate::crypto::auth::{PeerAuthenticated, SignedOctets};
use crate::crypto::ppk::mixed;
use crate::error::{CloseReason, PpkProblem};
use crate::event::{Deadline, PeerId};
use crate::registry::{ExchangeType, NotifyType};
use crate::shared::News;
use crate::wire::identity::Identity;
use crate::wire::message::{Body, Chain};
use crate::wire::ppk::PpkId;

/// IKE_AUTH is sent.
pub(super) struct AuthSent {
    pub(super) channel: Channel,
    announced: Announced,
    peer: PeerId,
    local_id: Identity,
    local_auth: &'static str,
    init_response: Vec<u8>,
    nonce_i: Vec<u8>,
    nonce_r: Vec<u8>,
    /// The end of the signed octets (RFC 9242 §3.3.2).
    int_auth: Vec<u8>,
    /// The post-quantum key that we named; not mixed in before the peer has taken it.
    ppk: Option<Ppk>,
    /// The one that is mixed in already (RFC 9867).
    early_ppk: Option<PpkId>,
    offer: Option<ChildOffer>,
    /// There is an SA with this peer already, which it is to replace.
    beside: bool,
    give_up_at: Instant,
}

impl Begun {
    /// Sends IKE_AUTH. Gives up if our key makes no signature that the peer can check.
    pub(super) fn authenticate(mut self, cx: &mut Cx<'_>) -> State {
        let config = cx.peer(self.peer);
        let config = &*config;
        let announced = self.announced;
        let local_id = local_identity(config, self.channel.path);
        let int_auth = self.intermediate.octets();
        let (prf, id_body) = (self.channel.prf(), local_id.emit());
        let prove = |sk_p: &[u8]| {
            let signed = SignedOctets {
                message: &self.init_request,
                peer_nonce: &self.nonce_r,
                sk_p,
                id_body: &id_body,
                int_auth: &int_auth,
            };
            proof::data(&config.local_auth, announced, prf, signed)
        };
        let plain = &self.channel.sk_p_ours;
        let ppk = config.ppk.clone().filter(|_| announced.ppk);
        let proved = match &ppk {
            Some(ppk) => prove(&mixed(prf, ppk.key.octets(), plain)),
            None => prove(plain),
        };
        let without = ppk.as_ref().filter(|ppk| !ppk.required).map(|_| prove(plain)).transpose();
        let (auth, without) = match proved.and_then(|auth| Ok((auth, without?))) {
            Ok(both) => both,
            Err(reason) => return self.fail(reason, cx),
        };
        let mut chain = Chain::new();
        chain.id_i(&local_id);
        if self.attempt.supersedes.is_none() {
            chain.notify(NotifyType::INITIAL_CONTACT, &[]);
        }
        proof::show(&mut chain, &config.local_auth, announced);
        proof::wish(&mut chain, std::iter::once(config));
        if let RemoteId::Exact(remote_id) = &config.remote_id {
            chain.id_r(remote_id);
        }
        chain.auth(auth.method, &auth.octets);
        if let Some(ppk) = &ppk {
            chain.notify(NotifyType::PPK_IDENTITY, &ppk.id.emit());
        }
        if let Some(without) = without {
            chain.notify(NotifyType::NO_PPK_AUTH, &without.octets);
        }
        let childless = config.childless == Childless::Prefer && announced.childless;
        let offer = if childless { None } else { first_offer(self.peer, config, cx) };
        if let Some(offer) = &offer {
            offer.write(&mut chain);
        }
        extensions::ask_in_auth(&mut chain, self.channel.path, config);
        self.channel.request(ExchangeType::IKE_AUTH, &chain, cx);
        State::AuthSent(Box::new(AuthSent {
            channel: self.channel,
            announced,
            peer: self.peer,
            local_id,
            local_auth: auth.name,
            init_response: self.init_response,
            nonce_i: self.nonce_i,
            nonce_r: self.nonce_r,
            int_auth,
            ppk,
            early_ppk: self.early_ppk,
            offer,
            beside: self.attempt.supersedes.is_some(),
            give_up_at: cx.now + ATTEMPT,
        }))
    }
}

impl AuthSent {
    pub(super) fn on_auth_response(
        mut self: Box<Self>,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        let config = cx.peer(self.peer);
        let body = &message.body;
        if body.unsupported_critical.is_some() {
            return self.delete(CloseReason::Protocol(UNSUPPORTED_CRITICAL), cx);
        }
        if body.auth.is_none() {
            let reason = self.refusal(body, &config);
            return self.fail(reason, cx);
        }
        if let Err(reason) = self.settle_ppk(body) {
            return self.reject(reason, cx);
        }
        match self.verify(body, &config, cx) {
            Ok(proved) => match redirect::target(body, &config) {
                Some(to) => self.delete(CloseReason::Redirected { to }, cx),
                None => self.establish(proved, body, &config, cx),
            },
            Err(reason) => self.reject(reason, cx),
        }
    }

    /// The peer names the post-quantum key if it has taken ours (RFC 8784 §3). What it says is believed when its AUTH fits.
    fn settle_ppk(&mut self, body: &Body<'_>) -> Result<(), CloseReason> {
        let taken = body.notify(NotifyType::PPK_IDENTITY).is_some();
        match self.ppk.take() {
            Some(ppk) if taken => {
                self.channel.mix(ppk.key.octets());
                self.ppk = Some(ppk);
                Ok(())
            }
            Some(ppk) if ppk.required => Err(CloseReason::Ppk(PpkProblem::Declined)),
            Some(_) | None => Ok(()),
        }
    }

    /// What the peer's refusal means; it is authenticated by the keys, though not by an identity.
    fn refusal(&self, body: &Body<'_>, config: &PeerConfig) -> CloseReason {
        let expected = match &config.remote_id {
            RemoteId::Exact(identity) => Some(identity.clone()),
            RemoteId::PeerAddress => Some(Identity::from(self.channel.path.remote.ip())),
        };
        match body.error_notify().map(|notify| notify.kind) {
            Some(NotifyType::AUTHENTICATION_FAILED) => {
                CloseReason::AuthRefusedByPeer { sent: self.local_id.clone(), expected }
            }
            Some(kind) => CloseReason::Notified(kind),
            None => CloseReason::Protocol("the peer's IKE_AUTH answer has no AUTH payload"),
        }
    }

    fn verify(
        &self,
        body: &Body<'_>,
        config: &PeerConfig,
        cx: &Cx<'_>,
    ) -> Result<(PeerAuthenticated, Identity, Shown), CloseReason> {
        let (Some(id), Some(auth)) = (&body.id_r, &body.auth) else {
            return Err(CloseReason::Protocol("the peer's IKE_AUTH answer has no identity"));
        };
        let claimed = id.identity.clone();
        if !is_expected(&config.remote_id, &claimed, self.channel.path) {
            let expected = vec![expected_identity(config, self.channel.path)];
            return Err(CloseReason::WrongIdentity { claimed, expected });
        }
        let signed = SignedOctets {
            message: &self.init_response,
            peer_nonce: &self.nonce_i,
            sk_p: &self.channel.sk_p_theirs,
            id_body: id.raw,
            int_auth: &self.int_auth,
        };
        let shown = (&claimed, auth);
        let (wanted, prf) = (&config.remote_auth, self.channel.prf());
        let (proof, shown) = proof::check(wanted, body, shown, prf, signed, cx.wall_clock())?;
        Ok((proof, claimed, shown))
    }

    fn establish(
        self,
        (proof, remote_id, remote): (PeerAuthenticated, Identity, Shown),
        body: &Body<'_>,
        config: &PeerConfig,
        cx: &mut Cx<'_>,
    ) -> State {
        let nonces = (self.nonce_i, self.nonce_r);
        let (local_id, local_auth) = (self.local_id, self.local_auth);
        let ends = Ends { local_id, remote_id, local_auth, remote };
        let (origin, path) = (Origin::Local, self.channel.path);
        let mut extensions = Extensions::agreed(origin, self.announced, body, path, config, cx);
        extensions.ppk_early = self.early_ppk.is_some();
        extensions.ppk = self.early_ppk.or(self.ppk.map(|ppk| ppk.id));
        let agreed = (ends, extensions);
        let mut state = Established::begin(self.channel, self.peer, agreed, &nonces, proof, cx);
        if let Some(offer) = self.offer {
            let (spi, slot) = (offer.spi_in, offer.slot);
            let draft = offer.complete(body, (&nonces.0, &nonces.1), config, cx);
            let child = draft.map(|draft| state.finished(draft, cx));
            if child.is_err() && body.error_notify().is_none() {
                // The peer believes in a pair that we cannot use.
                state.want(Task::DeleteSpi(spi));
            }
            state.first_child(child.map_err(|reason| (Some(slot), reason)), cx);
        }
        state.ask_for_missing_children(cx);
        State::Established(Box::new(state))
    }

    /// The peer is not who it should be: tell it so in an exchange of its own (RFC 7296 §2.21.2).
    fn reject(mut self: Box<Self>, reason: CloseReason, cx: &mut Cx<'_>) -> State {
        let mut chain = Chain::new();
        chain.notify(NotifyType::AUTHENTICATION_FAILED, &[]);
        self.channel.request(ExchangeType::INFORMATIONAL, &chain, cx);
        self.lost(reason, cx);
        State::Closing(Box::new(Closing::waiting(self.channel, cx)))
    }

    /// Ends the attempt though the peer may believe in the SA: it was told to end, or the answer is of no use. If
    /// IKE_AUTH still waits, the DELETE goes out after its answer.
    pub(super) fn delete(mut self: Box<Self>, reason: CloseReason, cx: &mut Cx<'_>) -> State {
        self.lost(reason, cx);
        State::Closing(Box::new(Closing::abandoning(self.channel, cx)))
    }

    /// Ends the attempt.
    fn fail(self: Box<Self>, reason: CloseReason, cx: &mut Cx<'_>) -> State {
        let mut this = self;
        this.lost(reason, cx);
        State::Closed
    }

    fn lost(&mut self, reason: CloseReason, cx: &mut Cx<'_>) {
        self.release(cx);
        tell_detour(self.peer, self.channel.path, &reason, cx);
        cx.news(News::Lost { spi: self.channel.ours, peer: self.peer, reason });
    }

    fn release(&mut self, cx: &mut Cx<'_>) {
        if let Some(offer) = self.offer.take() {
            cx.release_esp_spi(offer.spi_in);
        }
    }

    pub(super) fn on_timeout(mut self: Box<Self>, cx: &mut Cx<'_>) -> State {
        if self.give_up_at <= cx.now {
            // The peer may believe in it. What it has of an attempt that stands alone the next one ends (INITIAL_CONTACT).
            return if self.beside {
                self.delete(CloseReason::NoAnswer, cx)
            } else {
                self.fail(CloseReason::NoAnswer, cx)
            };
        }
        self.channel.retransmit(cx);
        State::AuthSent(self)
    }

    pub(super) fn deadline(&self) -> Deadline {
        match self.channel.retransmit_at() {
            Some(at) if at < self.give_up_at => Deadline { at, why: "retransmit IKE_AUTH" },
            _ => Deadline { at: self.give_up_at, why: "give up on IKE_AUTH" },
        }
    }
}

/// The child to ask for in IKE_AUTH: the one that a packet waits for, else the first one.
fn first_offer(peer: PeerId, config: &PeerConfig, cx: &mut Cx<'_>) -> Option<ChildOffer> {
    let waiting = cx.slot_of_packet(peer);
    let slot = waiting.or_else(|| Established::first_slot(config))?;
    let child = config.child(slot.config)?;
    let traffic = cx.led_by_packet(peer, slot.traffic(child));
    Some(ChildOffer::first(child, slot, traffic, cx))
}
