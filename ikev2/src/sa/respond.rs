//! The initial exchanges as responder (RFC 7296 §1.2).
//!
//! ```text
//!                ──► HDR, SAi1, KEi, Ni, N(NAT_DETECTION_*)          no common proposal: N(NO_PROPOSAL_CHOSEN), nothing kept
//!   AuthAwaited  ◄── HDR, SAr1, KEr, Nr, N(NAT_DETECTION_*), [CERTREQ]   another group:  N(INVALID_KE_PAYLOAD), nothing kept
//!                ──► HDR, SK { IDi, [CERT..], [IDr], AUTH, SAi2, TSi, TSr }   wrong identity or key: N(AUTHENTICATION_FAILED)
//!   Established  ◄── HDR, SK { IDr, [CERT..], AUTH, SAr2, TSi, TSr }
//! ```
//!
//! Until IKE_AUTH the peer is any of those configured for the address; its identity then decides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::channel::Channel;
use super::child::{Asked, ChildAnswer, Keying, Refusal, answer};
use super::closing::Closing;
use super::established::{Established, UNSUPPORTED_CRITICAL};
use super::extensions::{self, Announced, Extensions};
use super::initiate::{expected_identity, is_expected};
use super::proof::{self, Ends, Shown, local_identity};
use super::{Cx, IkeSa, Message, Origin, State, fragments, nat, negotiate};
use crate::candidates::Candidates;
use crate::config::{Childless, Encap, Fragmentation, PeerConfig, RemoteAuth};
use crate::crypto::auth::{PeerAuthenticated, SignedOctets};
use crate::crypto::ke::KeSecret;
use crate::crypto::keymat::IkeKeys;
use crate::error::{CloseReason, DropReason};
use crate::event::{Deadline, Event, Path, PeerId};
use crate::pki::AuthProblem;
use crate::registry::{ExchangeType, KeMethod, NotifyType, PayloadType};
use crate::shared::News;
use crate::wire::header::{Flags, Header, IkeSpi, MessageId};
use crate::wire::identity::Identity;
use crate::wire::message::{Body, Chain, message};
use crate::wire::proposal::Proposal;

/// Of how many peers the proposals or identities are told when somebody was refused that may be any of them.
const MOST_NAMED: usize = 16;

/// For how many peers that somebody may be certificates are asked for: a CERTREQ is a hint, and nobody has so many CAs.
const MOST_ASKED_FOR: usize = 256;

/// A first IKE_SA_INIT request.
pub(crate) struct InitRequest<'a> {
    pub(crate) header: &'a Header,
    pub(crate) path: Path,
    pub(crate) datagram: &'a [u8],
    /// The peers that are configured for its address; not empty.
    pub(crate) candidates: Candidates,
    /// How long to wait for IKE_AUTH.
    pub(crate) retention: Duration,
}

/// IKE_SA_INIT is answered, IKE_AUTH not yet here.
pub(super) struct AuthAwaited {
    pub(super) channel: Channel,
    announced: Announced,
    candidates: Candidates,
    /// The one proposal that we chose. Peers that do not take it are out.
    chosen: Proposal,
    init_request: Vec<u8>,
    init_response: Arc<[u8]>,
    nonce_i: Vec<u8>,
    nonce_r: Vec<u8>,
    expires_at: Instant,
}

/// Answers a first IKE_SA_INIT; the SA that it begins and the octets of the answer, for repeats of the request.
pub(crate) fn respond_to_init(
    request: &InitRequest<'_>,
    cx: &mut Cx<'_>,
) -> Result<(IkeSa, Arc<[u8]>), DropReason> {
    let rest = request.datagram.get(Header::LEN..).ok_or(DropReason::Malformed)?;
    let body = Body::parse(request.header.next_payload, rest).map_err(|_| DropReason::Malformed)?;
    if let Some(kind) = body.unsupported_critical {
        let mut chain = Chain::new();
        chain.notify(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[kind.0]);
        respond_in_clear(request, IkeSpi::ZERO, &chain, cx);
        return Err(DropReason::Unexpected);
    }
    let (Some(sa), Some(ke), Some(nonce_i)) = (&body.sa, &body.ke, body.nonce) else {
        return Err(DropReason::Malformed);
    };
    let mut peers = request.candidates.iter().map(|id| cx.peer_ref(id));
    // By our order, whatever the KE payload is: see `negotiate`.
    let best = peers.find_map(|peer| negotiate::choose_ike(&peer.proposals, sa, None));
    let Some((chosen, suite)) = best else {
        return Err(refuse_proposal(request, sa, cx));
    };
    let mut peers = request.candidates.iter().map(|id| cx.peer_ref(id));
    let force = peers.any(|peer| peer.encap == Encap::Force);
    if ke.method != suite.ke {
        return Err(ask_for_group(request, suite.ke, cx));
    }
    #[cfg(test)]
    {
        cx.shared.key_exchanges += 1;
    }
    let ours = KeSecret::generate(suite.ke, &mut cx.shared.rng).ok_or(DropReason::Unexpected)?;
    let g_ir = ours.agree(ke.data).map_err(|_| DropReason::Malformed)?;
    let spi = cx.fresh_ike_spi();
    let spis = (request.header.spi_i, spi);
    let nonce_r = cx.nonce();
    let keys = IkeKeys::initial(&suite, &g_ir, nonce_i, &nonce_r, spis.0, spis.1);
    let mut channel = Channel::new((spi, spis.0), Origin::Remote, request.path, suite, &keys, 1);
    let found = nat::detect(&body, (spis.0, IkeSpi::ZERO), request.path);
    channel.nat_traversal = found.traversal;
    channel.nat_local = found.local;
    channel.nat_remote = found.remote;
    let peers = request.candidates.iter().map(|id| cx.peer_ref(id));
    let fragmentation = Fragmentation::common(peers.map(|peer| peer.fragmentation));
    channel.fragments.agree(fragmentation, &body);
    let announced = Announced::in_init(&body);

    let mut chain = Chain::new();
    let chosen = Proposal { spi: Vec::new(), ..chosen };
    chain.sa(std::slice::from_ref(&chosen));
    chain.ke(suite.ke, ours.public());
    chain.nonce(&nonce_r);
    if found.traversal {
        let encap = if force { Encap::Force } else { Encap::Auto };
        nat::announce(&mut chain, spis, request.path, encap);
    }
    if channel.fragments.are_agreed() {
        fragments::announce(&mut chain, fragmentation);
    }
    let some = request.candidates.iter().take(MOST_ASKED_FOR);
    proof::wish(&mut chain, some.map(|id| cx.peer_ref(id).as_ref()));
    if let Some(first) = request.candidates.iter().next() {
        extensions::announce_in_init(&mut chain, Origin::Remote, cx.peer_ref(first));
    }
    let init_response = respond_in_clear(request, spi, &chain, cx);
    let state = AuthAwaited {
        channel,
        announced,
        candidates: request.candidates.clone(),
        chosen,
        init_request: request.datagram.to_vec(),
        init_response: Arc::clone(&init_response),
        nonce_i: nonce_i.to_vec(),
        nonce_r,
        expires_at: cx.now + request.retention,
    };
    Ok((IkeSa::new(spi, State::AuthAwaited(Box::new(state)), cx.now), init_response))
}

fn refuse_proposal(request: &InitRequest<'_>, theirs: &[Proposal], cx: &mut Cx<'_>) -> DropReason {
    let mut chain = Chain::new();
    chain.notify(NotifyType::NO_PROPOSAL_CHOSEN, &[]);
    respond_in_clear(request, IkeSpi::ZERO, &chain, cx);
    let named = request.candidates.iter().take(MOST_NAMED);
    let ours = named.flat_map(|id| cx.peer_ref(id).proposals.clone()).collect();
    let peer = only(request.candidates.iter());
    let reason = CloseReason::IkeProposalMismatch { ours, theirs: theirs.to_vec() };
    cx.event(Event::Refused { peer, path: request.path, reason });
    DropReason::Unexpected
}

/// The first of them if there is no second.
fn only(mut peers: impl Iterator<Item = PeerId>) -> Option<PeerId> {
    let first = peers.next();
    first.filter(|_| peers.next().is_none())
}

fn ask_for_group(request: &InitRequest<'_>, method: KeMethod, cx: &mut Cx<'_>) -> DropReason {
    let mut chain = Chain::new();
    chain.notify(NotifyType::INVALID_KE_PAYLOAD, &method.0.to_be_bytes());
    respond_in_clear(request, IkeSpi::ZERO, &chain, cx);
    DropReason::Unexpected
}

fn respond_in_clear(
    request: &InitRequest<'_>,
    spi_r: IkeSpi,
    chain: &Chain,
    cx: &mut Cx<'_>,
) -> Arc<[u8]> {
    let header = Header {
        spi_i: request.header.spi_i,
        spi_r,
        next_payload: PayloadType::NONE,
        version: Header::VERSION,
        exchange: ExchangeType::IKE_SA_INIT,
        flags: Flags { response: true, ..Flags::default() },
        message_id: MessageId(0),
        len: 0,
    };
    let octets: Arc<[u8]> = Arc::from(message(header, chain));
    cx.transmit(request.path, Arc::clone(&octets));
    octets
}

/// The peer, proved.
struct Proved {
    peer: PeerId,
    config: Arc<PeerConfig>,
    remote_id: Identity,
    shown: Shown,
    proof: PeerAuthenticated,
}

impl AuthAwaited {
    pub(super) fn on_auth_request(
        mut self: Box<Self>,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        // IKE_AUTH comes from port 4500 if a NAT was found (RFC 7296 §2.23); it is authentic, so its path counts.
        self.channel.path = message.path;
        if message.exchange != ExchangeType::IKE_AUTH {
            return self.refuse(message, NotifyType::INVALID_SYNTAX, &[], cx);
        }
        if let Some(kind) = message.body.unsupported_critical {
            self.report(None, CloseReason::Protocol(UNSUPPORTED_CRITICAL), message, cx);
            return self.refuse(message, NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[kind.0], cx);
        }
        match self.verify(&message.body, cx) {
            Ok(proved) if lacks_child(&proved.config, &message.body) => {
                let reason = CloseReason::Protocol("the peer's IKE_AUTH asks for no child");
                self.report(Some(proved.peer), reason, message, cx);
                self.refuse(message, NotifyType::INVALID_SYNTAX, &[], cx)
            }
            Ok(proved) => self.establish(proved, message, cx),
            Err((peer, reason)) => {
                self.report(peer, reason, message, cx);
                self.refuse(message, NotifyType::AUTHENTICATION_FAILED, &[], cx)
            }
        }
    }

    /// Its payloads do not add up (RFC 7296 §2.21.2).
    pub(super) fn refuse_syntax(
        mut self: Box<Self>,
        reason: CloseReason,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        self.channel.path = message.path;
        self.report(None, reason, message, cx);
        self.refuse(message, NotifyType::INVALID_SYNTAX, &[], cx)
    }

    /// Tells whom we refused: `peer`, or the only one that it can have been.
    fn report(
        &self,
        peer: Option<PeerId>,
        reason: CloseReason,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) {
        let peer = peer.or_else(|| only(self.peers(cx).map(|(id, _)| id)));
        cx.event(Event::Refused { peer, path: message.path, reason });
    }

    /// Answers with an error and stays only to repeat that answer.
    fn refuse(
        mut self: Box<Self>,
        message: &Message<'_>,
        kind: NotifyType,
        data: &[u8],
        cx: &mut Cx<'_>,
    ) -> State {
        let mut chain = Chain::new();
        chain.notify(kind, data);
        self.channel.respond(message, &chain, cx);
        State::Closing(Box::new(Closing::lingering(self.channel, cx)))
    }

    /// Whether a peer takes the suite that was chosen.
    fn takes(&self, peer: &PeerConfig) -> bool {
        let chosen = std::slice::from_ref(&self.chosen);
        negotiate::choose_ike(&peer.proposals, chosen, None).is_some()
    }

    /// Those that it can be. There may be thousands: whoever has no key should not make us look at all of them.
    fn peers<'a>(&'a self, cx: &'a Cx<'_>) -> impl Iterator<Item = (PeerId, &'a Arc<PeerConfig>)> {
        let all = self.candidates.iter().map(|id| (id, cx.peer_ref(id)));
        all.filter(|(_, peer)| self.takes(peer))
    }

    fn verify(
        &self,
        body: &Body<'_>,
        cx: &Cx<'_>,
    ) -> Result<Proved, (Option<PeerId>, CloseReason)> {
        let (Some(id), Some(auth)) = (&body.id_i, &body.auth) else {
            return Err((None, CloseReason::Protocol("the peer's IKE_AUTH lacks IDi or AUTH")));
        };
        let claimed = id.identity.clone();
        let path = self.channel.path;
        let all = self.candidates.iter().map(|id| (id, cx.peer_ref(id)));
        let named = all.filter(|(_, peer)| is_expected(&peer.remote_id, &claimed, path));
        let mut known: Vec<_> = named.filter(|(_, peer)| self.takes(peer)).collect();
        // Several may have this identity. Then IDr tells which of us is meant (RFC 7296 §1.2), and the key decides.
        let meant = |peer: &PeerConfig| {
            body.id_r.as_ref().is_some_and(|id| id.identity == local_identity(peer, path))
        };
        known.sort_by_key(|(_, peer)| !meant(peer));
        let Some(first) = known.first().map(|(peer, _)| *peer) else {
            let some = self.peers(cx).take(MOST_NAMED);
            let expected = some.map(|(_, peer)| expected_identity(peer, path)).collect();
            return Err((None, CloseReason::WrongIdentity { claimed, expected }));
        };
        let signed = || SignedOctets {
            message: &self.init_request,
            peer_nonce: &self.nonce_r,
            sk_p: &self.channel.sk_p_theirs,
            id_body: id.raw,
        };
        let mut reason = None;
        let mut left = proof::MOST_TRIED;
        for (peer, config) in known {
            if !matches!(config.remote_auth, RemoteAuth::Psk(_)) {
                if left == 0 {
                    continue;
                }
                left -= 1;
            }
            let (wanted, shown, prf) = (&config.remote_auth, (&claimed, auth), self.channel.prf());
            match proof::check(wanted, body, shown, prf, signed(), cx.wall_clock()) {
                Ok((proof, shown)) => {
                    let config = Arc::clone(config);
                    return Ok(Proved { peer, config, remote_id: claimed, shown, proof });
                }
                // What is wrong with what it shows says more than that another configuration wants something else.
                Err(why) if reason.as_ref().is_none_or(is_other_method) => reason = Some(why),
                Err(_) => {}
            }
        }
        Err((Some(first), reason.unwrap_or(CloseReason::WrongKey { claimed })))
    }

    /// Installs first, answers after (RFC 7296 §2.8).
    fn establish(self: Box<Self>, proved: Proved, message: &Message<'_>, cx: &mut Cx<'_>) -> State {
        let Proved { peer, config, remote_id, shown, proof } = proved;
        let local_id = local_identity(&config, self.channel.path);
        let mut chain = Chain::new();
        chain.id_r(&local_id);
        let signed = SignedOctets {
            message: &self.init_response,
            peer_nonce: &self.nonce_i,
            sk_p: &self.channel.sk_p_ours,
            id_body: &local_id.emit(),
        };
        let asked =
            Announced { wants_raw_key: proof::wants_raw_key(&message.body), ..self.announced };
        proof::show(&mut chain, &config.local_auth, asked);
        let prf = self.channel.prf();
        let local_auth = match proof::prove(&mut chain, &config.local_auth, asked, prf, signed) {
            Ok(name) => name,
            Err(reason) => {
                self.report(Some(peer), reason, message, cx);
                return self.refuse(message, NotifyType::AUTHENTICATION_FAILED, &[], cx);
            }
        };
        let this = *self;
        let nonces = (this.nonce_i, this.nonce_r);
        let ends = Ends { local_id, remote_id, local_auth, remote: shown };
        let (origin, path) = (Origin::Remote, this.channel.path);
        let extensions =
            Extensions::agreed(origin, this.announced, &message.body, path, &config, cx);
        let agreed = (ends, extensions);
        let mut state = Established::begin(this.channel, peer, agreed, &nonces, proof, cx);
        if message.body.notify(NotifyType::INITIAL_CONTACT).is_some() {
            cx.news(News::InitialContact { spi: state.channel.ours, peer });
        }
        let elsewhere = config.redirect_to.as_ref().filter(|_| this.announced.redirect);
        if let Some(to) = elsewhere {
            // RFC 5685 §6: instead of a child; the peer deletes the SA.
            chain.notify(NotifyType::REDIRECT, &to.emit(&[]));
        } else if message.body.sa.is_some() {
            let answer = first_answer(&state, &message.body, &config, &nonces, cx);
            match &answer {
                Ok(answer) => answer.write(&mut chain),
                Err(refusal) => refusal.write(&mut chain),
            }
            state.first_child(answer.map(|a| a.agreed).map_err(|r| (r.slot, r.reason)), cx);
        }
        extensions::answer_in_auth(&mut chain, &message.body, path, &config);
        state.respond(message, &chain, cx);
        State::Established(Box::new(state))
    }

    pub(super) fn on_timeout(self: Box<Self>, cx: &mut Cx<'_>) -> State {
        if self.expires_at <= cx.now { State::Closed } else { State::AuthAwaited(self) }
    }

    pub(super) fn deadline(&self) -> Deadline {
        Deadline { at: self.expires_at, why: "give up waiting for IKE_AUTH" }
    }
}

fn is_other_method(reason: &CloseReason) -> bool {
    let CloseReason::NotProved { problem, .. } = reason else { return false };
    matches!(**problem, AuthProblem::Method { .. })
}

/// Whether a peer without a child is none that we want (RFC 6023).
fn lacks_child(config: &PeerConfig, body: &Body<'_>) -> bool {
    config.childless == Childless::Never && body.sa.is_none()
}

fn first_answer(
    state: &Established,
    body: &Body<'_>,
    config: &PeerConfig,
    nonces: &(Vec<u8>, Vec<u8>),
    cx: &mut Cx<'_>,
) -> Result<ChildAnswer, Refusal> {
    let prf = state.channel.prf();
    let keying = Keying { prf, sk_d: &state.channel.sk_d, nonces: (&nonces.0, &nonces.1) };
    answer(body, config, &Asked::First, &keying, cx)
}
