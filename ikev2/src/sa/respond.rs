//! The initial exchanges as responder (RFC 7296 §1.2).
//!
//! ```text
//!                ──► HDR, SAi1, KEi, Ni, N(NAT_DETECTION_*)          no common proposal: N(NO_PROPOSAL_CHOSEN), nothing kept
//!   AuthAwaited  ◄── HDR, SAr1, KEr, Nr, N(NAT_DETECTION_*), [CERTREQ]   another group:  N(INVALID_KE_PAYLOAD), nothing kept
//!                (IKE_INTERMEDIATE for each further key exchange: intermediate.rs)
//!                ──► HDR, SK { IDi, [CERT..], [IDr], AUTH, SAi2, TSi, TSr }   wrong identity or key: N(AUTHENTICATION_FAILED)
//!   Established  ◄── HDR, SK { IDr, [CERT..], AUTH, SAr2, TSi, TSr }
//! ```
//!
//! Until IKE_AUTH the peer is any of those configured for the address; its identity then decides.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::channel::Channel;
use super::child::{Asked, answer};
use super::closing::Closing;
use super::early::{self, Use};
use super::established::{Established, UNSUPPORTED_CRITICAL};
use super::extensions::{self, Announced, Extensions};
use super::intermediate::Intermediate;
use super::ppk::{self, Choice};
use super::proof::{self, Ends, Shown, expected_identity, is_expected, local_identity};
use super::{Cx, IkeSa, Message, Origin, State, fragments, nat, negotiate};
use crate::candidates::Candidates;
use crate::config::{Childless, Encap, Fragmentation, PeerConfig, Ppk, Psk, RemoteAuth};
use crate::crypto::auth::{PeerAuthenticated, SignedOctets};
use crate::crypto::ke;
use crate::crypto::keymat::IkeKeys;
use crate::crypto::ppk::mixed;
use crate::crypto::suite::IkeSuite;
use crate::error::{CloseReason, DropReason, PpkProblem};
use crate::event::{Deadline, Event, Path, PeerId};
use crate::pki::AuthProblem;
use crate::registry::{AuthMethod, ExchangeType, KeMethod, NotifyType, PayloadType};
use crate::shared::News;
use crate::wire::header::{Flags, Header, IkeSpi, MessageId};
use crate::wire::identity::Identity;
use crate::wire::message::{Auth, Body, Chain, IdPayload, message};
use crate::wire::ppk::PpkId;
use crate::wire::proposal::Proposal;

/// Of how many peers the proposals or identities are told when somebody was refused that may be any of them.
const MOST_NAMED: usize = 16;

/// How many of those that somebody may be are looked at for that.
const MOST_LOOKED_AT: usize = 1024;

/// For how many peers that somebody may be certificates are asked for: a CERTREQ is a hint, and nobody has so many CAs.
const MOST_ASKED_FOR: usize = 256;
const TOO_EARLY: &str = "the peer's IKE_AUTH came before the key exchanges that were agreed on";

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
    pub(super) nonce_i: Vec<u8>,
    pub(super) nonce_r: Vec<u8>,
    /// The exchanges before IKE_AUTH.
    pub(super) intermediate: Intermediate,
    /// How post-quantum pre-shared keys come in, and what came of it so far.
    pub(super) ppk: Use,
    expires_at: Instant,
}

/// A first IKE_SA_INIT request began nothing.
pub(crate) struct Declined {
    pub(crate) reason: DropReason,
    /// It cost a key exchange to find that out.
    pub(crate) computed: bool,
}

impl From<DropReason> for Declined {
    fn from(reason: DropReason) -> Self {
        Self { reason, computed: false }
    }
}

/// Answers a first IKE_SA_INIT; the SA that it begins and the octets of the answer, for repeats of the request.
pub(crate) fn respond_to_init(
    request: &InitRequest<'_>,
    cx: &mut Cx<'_>,
) -> Result<(IkeSa, Arc<[u8]>), Declined> {
    let rest = request.datagram.get(Header::LEN..).ok_or(DropReason::Malformed)?;
    let body = Body::parse(request.header.next_payload, rest).map_err(|_| DropReason::Malformed)?;
    if let Some(kind) = body.unsupported_critical {
        let mut chain = Chain::new();
        chain.notify(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[kind.0]);
        respond_in_clear(request, IkeSpi::ZERO, &chain, cx);
        return Err(DropReason::Unexpected.into());
    }
    let (Some(sa), Some(ke), Some(nonce_i)) = (&body.sa, &body.ke, body.nonce) else {
        return Err(DropReason::Malformed.into());
    };
    let announced = Announced::in_init(&body);
    let usable = if announced.intermediate { sa } else { &negotiate::without_additional(sa) };
    let Some((chosen, suite)) = choose(request, usable, cx) else {
        return Err(refuse_proposal(request, sa, cx).into());
    };
    let mut peers = request.candidates.iter().map(|id| cx.peer_ref(id));
    let force = peers.any(|peer| peer.encap == Encap::Force);
    if ke.method != suite.ke {
        return Err(ask_for_group(request, suite.ke, cx).into());
    }
    #[cfg(test)]
    {
        cx.shared.key_exchanges += 1;
    }
    let answered = ke::answer(suite.ke, ke.data, &mut cx.shared.rng);
    let (public, g_ir) =
        answered.map_err(|_| Declined { reason: DropReason::Malformed, computed: true })?;
    let spi = cx.fresh_ike_spi();
    let spis = (request.header.spi_i, spi);
    let nonce_r = cx.nonce();
    let keys = IkeKeys::initial(&suite, &g_ir, nonce_i, &nonce_r, spis.0, spis.1);
    let mut channel = Channel::new((spi, spis.0), Origin::Remote, request.path, suite, &keys, 1);
    channel.expose(&keys, cx);
    let found = nat::detect(&body, (spis.0, IkeSpi::ZERO), request.path);
    channel.nat_traversal = found.traversal;
    channel.nat_local = found.local;
    channel.nat_remote = found.remote;
    let peers = request.candidates.iter().map(|id| cx.peer_ref(id));
    let fragmentation = Fragmentation::common(peers.map(|peer| peer.fragmentation));
    channel.fragments.agree(fragmentation, &body);
    let ppk = early::answer(announced, |by| {
        request.candidates.iter().any(|id| cx.peer_ref(id).ppk.as_ref().is_some_and(by))
    });

    let mut chain = Chain::new();
    let chosen = Proposal { spi: Vec::new(), ..chosen };
    chain.sa(std::slice::from_ref(&chosen));
    chain.ke(suite.ke, &public);
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
    extensions::answer_in_init(&mut chain, announced, &ppk);
    let init_response = respond_in_clear(request, spi, &chain, cx);
    let state = AuthAwaited {
        intermediate: Intermediate::of(&suite, matches!(ppk, Use::Early(_))),
        channel,
        announced,
        ppk,
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

/// What the first of the candidates takes that takes any of it. There may be thousands of them, with the same proposals:
/// those are compared once.
fn choose(
    request: &InitRequest<'_>,
    theirs: &[Proposal],
    cx: &Cx<'_>,
) -> Option<(Proposal, IkeSuite)> {
    let mut tried: Vec<&[Proposal]> = Vec::new();
    request.candidates.iter().find_map(|id| {
        let ours = cx.peer_ref(id).proposals.as_slice();
        if tried.contains(&ours) {
            return None;
        }
        tried.push(ours);
        // By our order, whatever the KE payload is: see `negotiate`.
        negotiate::choose_ike(ours, theirs, None)
    })
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

/// A proof, how it was given, and the post-quantum key that is in use.
type Held = ((PeerAuthenticated, Shown), Option<InUse>);

/// A post-quantum key in use.
struct InUse {
    id: PpkId,
    /// The key, if it is still to be mixed in: AUTH has it in it (RFC 8784). Else the IKE SA has it already (RFC 9867).
    to_mix: Option<Psk>,
}

/// How many more signatures a stranger's IKE_AUTH is worth.
struct Effort {
    left: Cell<usize>,
}

impl Effort {
    /// A key costs nothing worth counting; a chain and a signature do.
    fn spend(&self, on: &RemoteAuth) -> Option<()> {
        if !matches!(on, RemoteAuth::Psk(_)) {
            self.left.set(self.left.get().checked_sub(1)?);
        }
        Some(())
    }
}

/// The peer, proved.
struct Proved {
    peer: PeerId,
    config: Arc<PeerConfig>,
    remote_id: Identity,
    shown: Shown,
    proof: PeerAuthenticated,
    ppk: Option<InUse>,
}

impl AuthAwaited {
    pub(super) fn on_auth_request(
        mut self: Box<Self>,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        // IKE_AUTH comes from port 4500 if a NAT was found (RFC 7296 §2.23); it is authentic, so its path counts.
        self.channel.path = message.path;
        if let Some(kind) = message.body.unsupported_critical {
            self.report(None, CloseReason::Protocol(UNSUPPORTED_CRITICAL), message, cx);
            return self.refuse(message, NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[kind.0], cx);
        }
        if message.exchange == ExchangeType::IKE_INTERMEDIATE {
            return self.on_intermediate(message, cx);
        }
        if message.exchange == ExchangeType::IKE_AUTH && self.intermediate.is_missing() {
            return self.refuse_syntax(CloseReason::Protocol(TOO_EARLY), message, cx);
        }
        if message.exchange != ExchangeType::IKE_AUTH {
            return self.refuse(message, NotifyType::INVALID_SYNTAX, &[], cx);
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

    /// It is nobody whom we let in.
    pub(super) fn refuse_peer(
        mut self: Box<Self>,
        reason: CloseReason,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        self.channel.path = message.path;
        self.report(None, reason, message, cx);
        self.refuse(message, NotifyType::AUTHENTICATION_FAILED, &[], cx)
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
        let some = self.candidates.iter().take(MOST_LOOKED_AT).map(|id| (id, cx.peer_ref(id)));
        some.filter(|(_, peer)| self.takes(peer))
    }

    /// The post-quantum keys of all that it can be.
    pub(super) fn all_keys<'a>(&self, cx: &'a Cx<'_>) -> impl Iterator<Item = &'a Ppk> {
        self.candidates.iter().filter_map(|id| cx.peer_ref(id).ppk.as_ref())
    }

    /// Whether nobody that it can be is let in without a post-quantum key.
    pub(super) fn all_insist(&self, cx: &Cx<'_>) -> bool {
        let insists = |peer: &PeerConfig| peer.ppk.as_ref().is_some_and(|ppk| ppk.required);
        self.peers(cx).all(|(_, peer)| insists(peer))
    }

    fn verify(
        &self,
        body: &Body<'_>,
        cx: &Cx<'_>,
    ) -> Result<Proved, (Option<PeerId>, CloseReason)> {
        let (Some(id), Some(auth)) = (&body.id_i, &body.auth) else {
            return Err((None, CloseReason::Protocol("the peer's IKE_AUTH lacks IDi or AUTH")));
        };
        let claimed = &id.identity;
        let path = self.channel.path;
        let all = self.candidates.iter().map(|id| (id, cx.peer_ref(id)));
        let named = all.filter(|(_, peer)| is_expected(&peer.remote_id, claimed, path));
        let mut known: Vec<_> = named.filter(|(_, peer)| self.takes(peer)).collect();
        // Several may have this identity. Then IDr tells which of us is meant (RFC 7296 §1.2), and the key decides.
        let meant = |peer: &PeerConfig| {
            body.id_r.as_ref().is_some_and(|id| id.identity == local_identity(peer, path))
        };
        known.sort_by_key(|(_, peer)| !meant(peer));
        let effort = Effort { left: Cell::new(proof::MOST_TRIED) };
        let mut reason = None;
        for (peer, config) in &known {
            match self.hold(config, body, (id, auth), &effort, cx) {
                Some(Ok(((proof, shown), ppk))) => {
                    let (config, remote_id) = (Arc::clone(config), claimed.clone());
                    return Ok(Proved { peer: *peer, config, remote_id, shown, proof, ppk });
                }
                Some(Err(why)) if reason.as_ref().is_none_or(|said| is_vaguer(said, &why)) => {
                    reason = Some(why);
                }
                Some(Err(_)) | None => {}
            }
        }
        if reason.as_ref().is_none_or(is_other_method) {
            self.pretend(body, (id, auth), cx);
        }
        let claimed = claimed.clone();
        let Some(first) = known.first().map(|(peer, _)| *peer) else {
            let some = self.peers(cx).take(MOST_NAMED);
            let expected = some.map(|(_, peer)| expected_identity(peer, path)).collect();
            return Err((None, CloseReason::WrongIdentity { claimed, expected }));
        };
        Err((Some(first), reason.unwrap_or(CloseReason::WrongKey { claimed })))
    }

    /// Holds what the peer shows against one configuration; `None` if the effort that it is worth is spent.
    fn hold(
        &self,
        config: &PeerConfig,
        body: &Body<'_>,
        (id, auth): (&IdPayload<'_>, &Auth<'_>),
        effort: &Effort,
        cx: &Cx<'_>,
    ) -> Option<Result<Held, CloseReason>> {
        let (prf, int_auth) = (self.channel.prf(), self.intermediate.octets());
        let plain = self.channel.sk_p_theirs.as_slice();
        let check = |sk_p: &[u8], data: &[u8]| {
            let signed = SignedOctets {
                message: &self.init_request,
                peer_nonce: &self.nonce_r,
                sk_p,
                id_body: id.raw,
                int_auth: &int_auth,
            };
            let (wanted, auth) = (&config.remote_auth, Auth { method: auth.method, data });
            let shown = (&id.identity, &auth);
            effort.spend(wanted)?;
            Some(proof::check(wanted, body, shown, prf, signed, cx.wall_clock()))
        };
        if let Use::Early(outcome) = &self.ppk {
            return match early::settle(config.ppk.as_ref(), outcome) {
                Err(problem) => Some(Err(CloseReason::Ppk(problem))),
                Ok(id) => {
                    let in_use = id.map(|id| InUse { id, to_mix: None });
                    Some(check(plain, auth.data)?.map(|proved| (proved, in_use)))
                }
            };
        }
        let used = matches!(self.ppk, Use::InAuth);
        match ppk::choose(config.ppk.as_ref(), used, body, auth.data) {
            Choice::Refused(problem) => Some(Err(CloseReason::Ppk(problem))),
            Choice::Without(data) => Some(check(plain, data)?.map(|proved| (proved, None))),
            Choice::With(id, key) => {
                let with = check(&mixed(prf, key.octets(), plain), auth.data)?;
                let in_use = InUse { id: id.clone(), to_mix: Some(key.clone()) };
                Some(with.map(|proved| (proved, Some(in_use))).map_err(|why| {
                    // What comes along without the key tells which of the two it is.
                    let without = body.notify(NotifyType::NO_PPK_AUTH);
                    let without = without.and_then(|notify| check(plain, notify.data));
                    told_apart(why, without.map(|outcome| outcome.is_ok()), id)
                }))
            }
        }
    }

    /// Does for an identity that nobody has what is done for one that somebody has, so that the time of the refusal, which
    /// looks the same, does not tell which identities there are. Whatever comes of it, it is of no use.
    fn pretend(&self, body: &Body<'_>, shown: (&IdPayload<'_>, &Auth<'_>), cx: &Cx<'_>) {
        let by_key = shown.1.method == AuthMethod::SHARED_KEY;
        let alike = |peer: &PeerConfig| matches!(peer.remote_auth, RemoteAuth::Psk(_)) == by_key;
        let stand_in = self.peers(cx).take(MOST_NAMED).find(|(_, peer)| alike(peer));
        if let Some((_, config)) = stand_in {
            let effort = Effort { left: Cell::new(proof::MOST_TRIED) };
            drop(self.hold(config, body, shown, &effort, cx));
        }
    }

    /// Installs first, answers after (RFC 7296 §2.8).
    fn establish(self: Box<Self>, proved: Proved, message: &Message<'_>, cx: &mut Cx<'_>) -> State {
        let Proved { peer, config, remote_id, shown, proof, ppk } = proved;
        let mut this = self;
        let late = ppk.as_ref().and_then(|ppk| ppk.to_mix.as_ref());
        if let Some(key) = late {
            this.channel.mix(key.octets());
        }
        let local_id = local_identity(&config, this.channel.path);
        let mut chain = Chain::new();
        chain.id_r(&local_id);
        let signed = SignedOctets {
            message: &this.init_response,
            peer_nonce: &this.nonce_i,
            sk_p: &this.channel.sk_p_ours,
            id_body: &local_id.emit(),
            int_auth: &this.intermediate.octets(),
        };
        let asked =
            Announced { wants_raw_key: proof::wants_raw_key(&message.body), ..this.announced };
        proof::show(&mut chain, &config.local_auth, asked);
        let prf = this.channel.prf();
        let local_auth = match proof::prove(&mut chain, &config.local_auth, asked, prf, signed) {
            Ok(name) => name,
            Err(reason) => {
                this.report(Some(peer), reason, message, cx);
                return this.refuse(message, NotifyType::AUTHENTICATION_FAILED, &[], cx);
            }
        };
        if late.is_some() {
            chain.notify(NotifyType::PPK_IDENTITY, &[]);
        }
        let this = *this;
        let nonces = (this.nonce_i, this.nonce_r);
        let ends = Ends { local_id, remote_id, local_auth, remote: shown };
        let (origin, path) = (Origin::Remote, this.channel.path);
        let mut extensions =
            Extensions::agreed(origin, this.announced, &message.body, path, &config, cx);
        extensions.ppk_early = ppk.as_ref().is_some_and(|ppk| ppk.to_mix.is_none());
        extensions.ppk = ppk.map(|ppk| ppk.id);
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
            let nonces = (nonces.0.as_slice(), nonces.1.as_slice());
            let answer = answer(&message.body, &config, &Asked::First, nonces, cx);
            match &answer {
                Ok(answer) => answer.write(&mut chain),
                Err(refusal) => refusal.write(&mut chain),
            }
            let child = answer.map(|answer| state.finished(answer.draft, cx));
            state.first_child(child.map_err(|r| (r.slot, r.reason)), cx);
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

/// Whether `why`, of a later configuration, says more of what is wrong than what was `said`: that another configuration wants
/// something else says least, and what a post-quantum key has to do with it most.
fn is_vaguer(said: &CloseReason, why: &CloseReason) -> bool {
    let of_ppk = |reason: &CloseReason| matches!(reason, CloseReason::Ppk(_));
    let rank = |reason: &CloseReason| (of_ppk(reason), !is_other_method(reason));
    rank(said) < rank(why)
}

fn is_other_method(reason: &CloseReason) -> bool {
    let CloseReason::NotProved { problem, .. } = reason else { return false };
    matches!(**problem, AuthProblem::Method { .. })
}

/// Whether the post-quantum key of this name is at fault, if AUTH with it is not right and the one without it is, is not, or did
/// not come along.
fn told_apart(why: CloseReason, without: Option<bool>, id: &PpkId) -> CloseReason {
    let bad_signature = |problem: &AuthProblem| matches!(problem, AuthProblem::Signature { .. });
    let octets_differ = matches!(why, CloseReason::WrongKey { .. })
        || matches!(&why, CloseReason::NotProved { problem, .. } if bad_signature(problem));
    match without {
        Some(true) => CloseReason::Ppk(PpkProblem::Differs(id.clone())),
        None if octets_differ => CloseReason::Ppk(PpkProblem::DiffersOrOther(id.clone())),
        Some(false) | None => why,
    }
}

/// Whether a peer without a child is none that we want (RFC 6023).
fn lacks_child(config: &PeerConfig, body: &Body<'_>) -> bool {
    config.childless == Childless::Never && body.sa.is_none()
}
