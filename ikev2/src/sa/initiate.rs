//! IKE_SA_INIT as initiator (RFC 7296 §1.2).
//!
//! ```text
//!   InitSent ── HDR, [N(COOKIE)], SAi1, KEi, Ni, N(NAT_DETECTION_*) ──►
//!            ◄── HDR, SAr1, KEr, Nr, N(NAT_DETECTION_*)                     or N(COOKIE), N(INVALID_KE_PAYLOAD): once more
//!   Begun    (IKE_INTERMEDIATE for each further key exchange: intermediate.rs, then IKE_AUTH: authenticate.rs)
//! ```
//!
//! Nothing in an IKE_SA_INIT response is authenticated: an error in it is a hint that shortens the attempt, and a real
//! answer that follows still counts (RFC 7296 §2.21.1).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::channel::{Channel, backoff};
use super::extensions::{self, Announced};
use super::intermediate::{Begun, Intermediate};
use super::{Attempt, Cx, Origin, State, early, fragments, nat, negotiate, redirect};
use crate::config::{Encap, PeerConfig};
use crate::crypto::ke::KeSecret;
use crate::crypto::keymat::IkeKeys;
use crate::crypto::suite::IkeSuite;
use crate::error::{CloseReason, DropReason, PpkProblem};
use crate::event::{Deadline, Disposition, Path, PeerId};
use crate::registry::{ExchangeType, KeMethod, NotifyType, PayloadType, ProtocolId};
use crate::shared::News;
use crate::wire::header::{Flags, Header, IkeSpi, MessageId};
use crate::wire::message::{Body, Chain, Notify, message};
use crate::wire::redirect::GatewayId;

/// How long one attempt knocks. With the gaps of [`backoff`] a peer that returns is found within five seconds.
pub(super) const ATTEMPT: Duration = Duration::from_secs(15);
/// How long an attempt goes on after an unauthenticated error, in case the error was forged.
const AFTER_HINT: Duration = Duration::from_secs(2);
/// How often an attempt may be sent back with COOKIE or INVALID_KE_PAYLOAD before it is somebody's game.
const MAX_RESTARTS: u8 = 5;

/// What becomes of an attempt without children that are configured, where the peer wants one (RFC 6023 §3).
const NEEDS_A_CHILD: &str = "no child is configured, and the peer has no IKE SAs without one";

/// IKE_SA_INIT is sent.
pub(super) struct InitSent {
    peer: PeerId,
    path: Path,
    ours: IkeSpi,
    nonce: Vec<u8>,
    ke: KeSecret,
    cookie: Option<Vec<u8>>,
    request: Arc<[u8]>,
    sent: u32,
    next_at: Instant,
    give_up_at: Instant,
    restarts: u8,
    hint: Option<CloseReason>,
    attempt: Attempt,
}

/// What the answer to IKE_SA_INIT leaves us with.
struct Agreed {
    channel: Channel,
    nonce_r: Vec<u8>,
    announced: Announced,
}

impl InitSent {
    /// Sends the first IKE_SA_INIT; `None` if no proposal names a key exchange that we know.
    pub(super) fn start(
        ours: IkeSpi,
        peer: PeerId,
        path: Path,
        attempt: Attempt,
        cx: &mut Cx<'_>,
    ) -> Option<Self> {
        let config = cx.peer(peer);
        let method = negotiate::first_ke(&config.proposals)?;
        let ke = KeSecret::generate(method, &mut cx.shared.rng)?;
        let nonce = cx.nonce();
        let give_up_at = cx.now + ATTEMPT;
        let mut state = Self {
            peer,
            path,
            ours,
            nonce,
            ke,
            cookie: None,
            request: Arc::from([]),
            sent: 0,
            next_at: cx.now,
            give_up_at,
            restarts: 0,
            hint: None,
            attempt,
        };
        state.send(&config, cx);
        Some(state)
    }

    fn send(&mut self, config: &PeerConfig, cx: &mut Cx<'_>) {
        let mut chain = Chain::new();
        if let Some(cookie) = &self.cookie {
            chain.notify(NotifyType::COOKIE, cookie);
        }
        chain.sa(&negotiate::offer(&config.proposals, &[]));
        chain.ke(self.ke.method(), self.ke.public());
        chain.nonce(&self.nonce);
        nat::announce(&mut chain, (self.ours, IkeSpi::ZERO), self.path, config.encap);
        fragments::announce(&mut chain, config.fragmentation);
        extensions::announce_in_init(&mut chain, Origin::Local, config);
        if let Some(address) = self.attempt.redirected_from {
            let from = GatewayId::Address(address).emit(&[]);
            chain.notify(NotifyType::REDIRECTED_FROM, &from);
        }
        let header = Header {
            spi_i: self.ours,
            spi_r: IkeSpi::ZERO,
            next_payload: PayloadType::NONE,
            version: Header::VERSION,
            exchange: ExchangeType::IKE_SA_INIT,
            flags: Flags { initiator: true, ..Flags::default() },
            message_id: MessageId(0),
            len: 0,
        };
        self.request = Arc::from(message(header, &chain));
        self.sent = 0;
        self.transmit(cx);
    }

    fn transmit(&mut self, cx: &mut Cx<'_>) {
        cx.transmit(self.path, Arc::clone(&self.request));
        self.next_at = cx.now + backoff(self.sent, cx);
        self.sent = self.sent.saturating_add(1);
    }

    /// Takes a response; noise leaves the state as it is.
    pub(super) fn on_response(
        mut self: Box<Self>,
        header: &Header,
        path: Path,
        datagram: &[u8],
        cx: &mut Cx<'_>,
    ) -> (State, Disposition) {
        let body = datagram.get(Header::LEN..).map(|rest| Body::parse(header.next_payload, rest));
        let Some(Ok(body)) = body else {
            return (State::InitSent(self), Disposition::Dropped(DropReason::Malformed));
        };
        if header.message_id != MessageId(0) {
            return (State::InitSent(self), Disposition::Dropped(DropReason::Unsolicited));
        }
        if body.unsupported_critical.is_some() {
            // RFC 7296 §2.5; nothing in it is authenticated, so the attempt goes on.
            return (State::InitSent(self), Disposition::Dropped(DropReason::Unprotected));
        }
        let config = cx.peer(self.peer);
        if let Some(notify) = body.notify(NotifyType::COOKIE) {
            let disposition = self.on_cookie(notify.data, &config, cx);
            return (State::InitSent(self), disposition);
        }
        if let Some(notify) = body.error_notify() {
            let disposition = self.on_error(notify, &config, cx);
            return (State::InitSent(self), disposition);
        }
        if let Some(to) = redirect::hinted(&body, &self.nonce, &config) {
            self.shorten(CloseReason::Redirected { to }, cx);
            return (State::InitSent(self), Disposition::Accepted);
        }
        match self.agree(header, path, &body, &config, cx) {
            Ok(agreed) => {
                if config.live_children().next().is_none() && !agreed.announced.childless {
                    let reason = CloseReason::Protocol(NEEDS_A_CHILD);
                    return (self.abandon(reason, cx), Disposition::Accepted);
                }
                let none = !agreed.announced.ppk && !agreed.announced.ppk_early;
                if none && config.ppk.as_ref().is_some_and(|ppk| ppk.required) {
                    // RFC 8784 §6: anybody may have sent this, so another answer has a moment left to come.
                    self.shorten(CloseReason::Ppk(PpkProblem::Absent), cx);
                    return (State::InitSent(self), Disposition::Accepted);
                }
                let begun = self.begin(agreed, datagram, &config, cx);
                (begun.go_on(ATTEMPT, cx), Disposition::Accepted)
            }
            Err(reason) => (State::InitSent(self), Disposition::Dropped(reason)),
        }
    }

    /// The responder wants to see that we receive at our address (RFC 7296 §2.6).
    fn on_cookie(&mut self, cookie: &[u8], config: &PeerConfig, cx: &mut Cx<'_>) -> Disposition {
        let acceptable = (1..=64).contains(&cookie.len()) && self.cookie.as_deref() != Some(cookie);
        if !acceptable || self.restarts >= MAX_RESTARTS {
            return Disposition::Dropped(DropReason::Unprotected);
        }
        self.restarts += 1;
        self.cookie = Some(cookie.to_vec());
        self.send(config, cx);
        Disposition::Accepted
    }

    fn on_error(
        &mut self,
        notify: &Notify<'_>,
        config: &PeerConfig,
        cx: &mut Cx<'_>,
    ) -> Disposition {
        if notify.kind == NotifyType::INVALID_KE_PAYLOAD {
            return self.on_invalid_ke(notify.data, config, cx);
        }
        let hint = match notify.kind {
            NotifyType::NO_PROPOSAL_CHOSEN => CloseReason::IkeProposalMismatch {
                ours: config.proposals.clone(),
                theirs: Vec::new(),
            },
            kind => CloseReason::Notified(kind),
        };
        self.shorten(hint, cx);
        Disposition::Accepted
    }

    /// Something that anybody may have sent says how the attempt will end: a better answer has a moment left to come.
    fn shorten(&mut self, hint: CloseReason, cx: &Cx<'_>) {
        if self.hint.is_none() {
            self.give_up_at = self.give_up_at.min(cx.now + AFTER_HINT);
        }
        self.hint = Some(hint);
    }

    /// The responder wants another group (RFC 7296 §1.2). The cookie stays valid (§2.6.1).
    fn on_invalid_ke(&mut self, data: &[u8], config: &PeerConfig, cx: &mut Cx<'_>) -> Disposition {
        let wanted = <[u8; 2]>::try_from(data).map(|octets| KeMethod(u16::from_be_bytes(octets)));
        let offered =
            |method: &KeMethod| negotiate::ke_methods(&config.proposals).any(|m| m == *method);
        let wanted = wanted.ok().filter(|method| *method != self.ke.method() && offered(method));
        let Some(method) = wanted.filter(|_| self.restarts < MAX_RESTARTS) else {
            return Disposition::Dropped(DropReason::Unprotected);
        };
        let Some(ke) = KeSecret::generate(method, &mut cx.shared.rng) else {
            return Disposition::Dropped(DropReason::Unprotected);
        };
        self.restarts += 1;
        self.ke = ke;
        self.send(config, cx);
        Disposition::Accepted
    }

    /// Checks the answer and derives the keys. An unusable answer is noise, for it may be forged.
    fn agree(
        &self,
        header: &Header,
        path: Path,
        body: &Body<'_>,
        config: &PeerConfig,
        cx: &Cx<'_>,
    ) -> Result<Agreed, DropReason> {
        let (Some(sa), Some(ke), Some(nonce_r)) = (&body.sa, &body.ke, body.nonce) else {
            return Err(DropReason::Malformed);
        };
        let offered = negotiate::offer(&config.proposals, &[]);
        let chosen = negotiate::accept(&offered, sa).filter(|p| p.protocol == ProtocolId::IKE);
        let suite = chosen.and_then(|proposal| IkeSuite::from_transforms(&proposal.transforms));
        let suite = suite.filter(|suite| suite.ke == self.ke.method() && ke.method == suite.ke);
        let suite = suite.ok_or(DropReason::Unprotected)?;
        if header.spi_r == IkeSpi::ZERO {
            return Err(DropReason::Malformed);
        }
        let g_ir = self.ke.agree(ke.data).map_err(|_| DropReason::Unprotected)?;
        let keys = IkeKeys::initial(&suite, &g_ir, &self.nonce, nonce_r, self.ours, header.spi_r);
        let spis = (self.ours, header.spi_r);
        let mut channel = Channel::new(spis, Origin::Local, self.path, suite, &keys, 1);
        channel.expose(&keys, cx);
        let found = nat::detect(body, spis, path);
        channel.nat_traversal = found.traversal;
        channel.nat_local = found.local;
        channel.nat_remote = found.remote;
        channel.fragments.agree(config.fragmentation, body);
        let announced = early::agreed(Announced::in_init(body), config);
        if !channel.suite.additional.is_empty() && !announced.intermediate {
            // RFC 9370 §2.2.1: it could not make the exchanges that it chose.
            return Err(DropReason::Unprotected);
        }
        Ok(Agreed { channel, nonce_r: nonce_r.to_vec(), announced })
    }

    /// What follows goes from port 4500 if a NAT was found or encapsulation is forced.
    fn begin(
        self: Box<Self>,
        agreed: Agreed,
        init_response: &[u8],
        config: &PeerConfig,
        cx: &Cx<'_>,
    ) -> Begun {
        let Agreed { mut channel, nonce_r, announced } = agreed;
        let encapsulate = channel.nat_local || channel.nat_remote || config.encap == Encap::Force;
        // RFC 4555 §3.3: with MOBIKE the port is changed at once, for a NAT may be on the next way.
        if channel.nat_traversal && (encapsulate || config.mobike) {
            let ports = &cx.shared.config;
            channel.path = nat::float(self.path, ports.ike_port, ports.nat_port);
        }
        Begun {
            intermediate: Intermediate::of(&channel.suite, announced.ppk_early),
            channel,
            announced,
            early_ppk: None,
            peer: self.peer,
            attempt: self.attempt,
            init_request: self.request,
            init_response: init_response.to_vec(),
            nonce_i: self.nonce,
            nonce_r,
        }
    }

    pub(super) fn on_timeout(mut self: Box<Self>, cx: &mut Cx<'_>) -> State {
        if self.give_up_at <= cx.now {
            let reason = self.hint.take().unwrap_or(CloseReason::NoAnswer);
            return self.abandon(reason, cx);
        }
        if self.next_at <= cx.now {
            cx.shared.out.retransmits += 1;
            self.transmit(cx);
        }
        State::InitSent(self)
    }

    /// Ends the attempt: nothing is there that the peer would have to hear of.
    pub(super) fn abandon(self: Box<Self>, reason: CloseReason, cx: &mut Cx<'_>) -> State {
        tell_detour(self.peer, self.path, &reason, cx);
        cx.news(News::Lost { spi: self.ours, peer: self.peer, reason });
        State::Closed
    }

    pub(super) fn deadline(&self) -> Deadline {
        if self.next_at < self.give_up_at {
            Deadline { at: self.next_at, why: "retransmit IKE_SA_INIT" }
        } else {
            Deadline { at: self.give_up_at, why: "give up on IKE_SA_INIT" }
        }
    }
}

/// Where an attempt goes on, if it ends because it was sent elsewhere.
pub(super) fn tell_detour(peer: PeerId, here: Path, reason: &CloseReason, cx: &mut Cx<'_>) {
    if let CloseReason::Redirected { to } = reason {
        cx.news(News::SentElsewhere { peer, here, to: to.clone() });
    }
}
