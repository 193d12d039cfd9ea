//! One IKE SA, from the first message to the last.
//!
//! ```text
//!   initiate.rs   InitSent ──IKE_SA_INIT──► [IntermediateSent ─►] AuthSent ──IKE_AUTH──┐   (authenticate.rs)
//!                                                                                      ├─► Established ─► Closing ─► Closed
//!   respond.rs    (new) ────IKE_SA_INIT───► AuthAwaited ─────────────────────IKE_AUTH──┘        │
//!   intermediate.rs                           IKE_INTERMEDIATE, as often as was agreed on       └─ create_child, rekey_child,
//!                                                                                                  rekey_ike, inform: one file per exchange
//! ```
//!
//! A protected message passes three gates: `window` (message ID), `sk::open` (integrity), then [`State::handle`]. The
//! first two change nothing if they refuse. A handler consumes the state and returns the next one.
//!
//! ```text
//!   coming up     initiate, respond, intermediate, authenticate, proof     an exchange, or what IKE_AUTH rests on, each
//!                 early, ppk      a post-quantum pre-shared key, before IKE_AUTH or in it
//!                 extensions      what both can do beyond RFC 7296
//!   up            established     what it is and does with each message;  upkeep  what it does when its time has come
//!                 inform, create_child, rekey_child, rekey_ike, followup    an exchange each, both roles
//!                 reauth, redirect, mobike, nat, sync             authentication that ends, other gateways, other addresses, clusters
//!                 runtime, reconfigure                            what the caller changes while it stands
//!   going         closing
//!   all the time  channel         keys, message IDs, path, the one request that is outstanding
//!                 window, fragments, tasks, pace    message IDs, long messages, what is asked next, how much a peer may ask
//!   children      child, draft    negotiated, and not yet complete;  slot, wanted, resources  which, which are missing, how many alike
//!   as functions  negotiate, choice, collision      which proposal, which selectors, whose SA stays
//!   in tests      forge           whatever a peer that has the keys may send
//! ```

mod authenticate;
mod channel;
mod child;
mod choice;
mod closing;
pub(crate) mod collision;
mod create_child;
mod draft;
mod early;
mod established;
mod extensions;
mod followup;
#[cfg(any(test, feature = "fuzz"))]
mod forge;
mod fragments;
mod inform;
mod initiate;
mod intermediate;
mod mobike;
mod nat;
mod negotiate;
mod pace;
mod ppk;
mod proof;
mod reauth;
mod reconfigure;
mod redirect;
mod rekey_child;
mod rekey_ike;
mod resources;
mod respond;
mod runtime;
mod slot;
mod sync;
mod tasks;
mod upkeep;
mod wanted;
mod window;

use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use self::authenticate::AuthSent;
use self::channel::{Channel, Passed};
use self::closing::Closing;
use self::established::Established;
use self::initiate::{ATTEMPT, InitSent};
use self::intermediate::IntermediateSent;
use self::respond::AuthAwaited;
use self::sync::Sync;
use self::tasks::Task;
use self::window::Ticket;
use crate::crypto::sk::Authentic;
use crate::endpoint::exposed::ExposedKeys;
use crate::error::{CloseReason, DropReason, Unknown};
use crate::event::{ChildId, ChildUsage, Deadline, Disposition, IkeSaInfo, Path, PeerId};
use crate::registry::ExchangeType;
use crate::shared::Cx;
use crate::wire::header::{Header, IkeSpi, MessageId};
use crate::wire::message::Body;

pub(crate) use self::respond::{Declined, InitRequest, respond_to_init};

/// Who created the IKE SA (RFC 7296 §2.2, "original initiator"): picks the direction of the keys. Never the same thing
/// as who sent the request at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// We did.
    Local,
    /// The peer did.
    Remote,
}

/// One IKE SA.
pub(crate) struct IkeSa {
    /// Our SPI: the key under which the endpoint keeps the SA.
    pub(crate) spi: IkeSpi,
    state: State,
    born: Instant,
    up_since: Option<Instant>,
    /// The SA whose place this one takes once it is up: we authenticate anew, or were sent elsewhere.
    pub(crate) supersedes: Option<IkeSpi>,
}

/// How an attempt of ours comes about.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attempt {
    /// The SA that it is to replace; `None` if there is none with this peer.
    pub(crate) supersedes: Option<IkeSpi>,
    /// The gateway that sent us there (RFC 5685).
    pub(crate) redirected_from: Option<IpAddr>,
}

enum State {
    InitSent(Box<InitSent>),
    IntermediateSent(Box<IntermediateSent>),
    AuthSent(Box<AuthSent>),
    AuthAwaited(Box<AuthAwaited>),
    Established(Box<Established>),
    Closing(Box<Closing>),
    Closed,
}

/// How far an SA is, for its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// We began it and the peer has not answered IKE_SA_INIT.
    Knocking,
    /// IKE_AUTH is on its way.
    HalfOpen,
    /// Established.
    Up,
    /// Only waits for the last messages.
    Closing,
    /// To be forgotten.
    Closed,
}

/// An authentic message with its payloads.
struct Message<'m> {
    exchange: ExchangeType,
    response: bool,
    id: MessageId,
    ticket: Ticket,
    path: Path,
    /// The payloads as they lie in the message.
    plain: &'m [u8],
    body: Body<'m>,
}

impl IkeSa {
    fn new(spi: IkeSpi, state: State, now: Instant) -> Self {
        let up_since = matches!(state, State::Established(_)).then_some(now);
        Self { spi, state, born: now, up_since, supersedes: None }
    }

    /// Begins an SA with `peer` on `path`: sends IKE_SA_INIT.
    pub(crate) fn initiate(
        peer: PeerId,
        path: Path,
        attempt: Attempt,
        cx: &mut Cx<'_>,
    ) -> Option<Self> {
        let spi = cx.fresh_ike_spi();
        let state = State::InitSent(Box::new(InitSent::start(spi, peer, path, attempt, cx)?));
        let supersedes = attempt.supersedes;
        Some(Self { supersedes, ..Self::new(spi, state, cx.now) })
    }

    /// Takes a datagram whose SPIs belong to this SA.
    pub(crate) fn on_datagram(
        &mut self,
        header: &Header,
        path: Path,
        datagram: &mut [u8],
        cx: &mut Cx<'_>,
    ) -> Disposition {
        if header.exchange == ExchangeType::IKE_SA_INIT {
            return self.on_init(header, path, datagram, cx);
        }
        if matches!(self.state, State::AuthSent(_) | State::IntermediateSent(_))
            && !header.flags.response
        {
            // It overtook the answer to IKE_AUTH. To take it now would be to lose it: its repetition finds us ready.
            return Disposition::Dropped(DropReason::Unexpected);
        }
        if self.synchronise(header, path, datagram, cx) {
            return Disposition::Accepted;
        }
        let Some(channel) = self.state.channel() else {
            return Disposition::Dropped(DropReason::Unexpected);
        };
        let mut whole = Vec::new();
        let (ticket, plain, body) = match channel.open(header, path, datagram, &mut whole, cx) {
            Ok(Passed::Message(ticket, authentic)) => {
                let Authentic { first, plain, .. } = authentic;
                (ticket, plain, Body::parse(first, plain).ok())
            }
            Ok(Passed::Excess(ticket)) => (ticket, [].as_slice(), None),
            Ok(Passed::Fragment) => return Disposition::Accepted,
            Ok(Passed::Repeat) => return Disposition::Dropped(DropReason::Retransmit),
            Err(reason) => return Disposition::Dropped(reason),
        };
        let (exchange, id, response) = (header.exchange, header.message_id, header.flags.response);
        let state = mem::replace(&mut self.state, State::Closed);
        let well_formed = body.is_some();
        let message =
            Message { exchange, response, id, ticket, path, plain, body: body.unwrap_or_default() };
        self.state = if well_formed {
            state.handle(&message, cx)
        } else {
            state.on_syntax_error(&message, cx)
        };
        if self.stage() == Stage::Up {
            self.up_since = self.up_since.or(Some(cx.now));
        }
        Disposition::Accepted
    }

    /// Takes a synchronisation of message IDs (RFC 6311). It has the ID 0, like the first ordinary request after an IKE rekey: only
    /// what is in it tells them apart. `false` if it is none, and nothing has changed.
    fn synchronise(
        &mut self,
        header: &Header,
        path: Path,
        datagram: &[u8],
        cx: &mut Cx<'_>,
    ) -> bool {
        let State::Established(state) = &mut self.state else { return false };
        if !state.may_synchronise(header) {
            return false;
        }
        let mut copy = datagram.to_vec();
        let Ok(Authentic { first, plain, .. }) =
            state.channel.open_outside_window(header, &mut copy)
        else {
            return false;
        };
        let Ok(body) = Body::parse(first, plain) else { return false };
        let Some(theirs) = Sync::of(&body) else { return false };
        let (ticket, exchange, id) = (Ticket::outside(), header.exchange, header.message_id);
        let message = Message { exchange, response: false, id, ticket, path, plain: &[], body };
        state.on_synchronise(&theirs, &message, cx);
        true
    }

    /// An unprotected IKE_SA_INIT message for this SA.
    fn on_init(
        &mut self,
        header: &Header,
        path: Path,
        datagram: &[u8],
        cx: &mut Cx<'_>,
    ) -> Disposition {
        match mem::replace(&mut self.state, State::Closed) {
            State::InitSent(init) if header.flags.response => {
                let (state, disposition) = init.on_response(header, path, datagram, cx);
                self.state = state;
                disposition
            }
            other @ (State::InitSent(_)
            | State::IntermediateSent(_)
            | State::AuthSent(_)
            | State::AuthAwaited(_)
            | State::Established(_)
            | State::Closing(_)
            | State::Closed) => {
                self.state = other;
                Disposition::Dropped(DropReason::Unprotected)
            }
        }
    }

    /// Does what is due.
    pub(crate) fn on_timeout(&mut self, cx: &mut Cx<'_>) {
        self.state = match mem::replace(&mut self.state, State::Closed) {
            State::InitSent(state) => state.on_timeout(cx),
            State::IntermediateSent(state) => state.on_timeout(cx),
            State::AuthSent(state) => state.on_timeout(cx),
            State::AuthAwaited(state) => state.on_timeout(cx),
            State::Established(state) => state.on_timeout(cx),
            State::Closing(state) => state.on_timeout(cx),
            State::Closed => State::Closed,
        };
    }

    /// When `on_timeout` is wanted next.
    pub(crate) fn deadline(&self) -> Option<Deadline> {
        match &self.state {
            State::InitSent(state) => Some(state.deadline()),
            State::IntermediateSent(state) => Some(state.deadline()),
            State::AuthSent(state) => Some(state.deadline()),
            State::AuthAwaited(state) => Some(state.deadline()),
            State::Established(state) => state.deadline(),
            State::Closing(state) => Some(state.deadline()),
            State::Closed => None,
        }
    }

    /// How far it is.
    pub(crate) const fn stage(&self) -> Stage {
        match &self.state {
            State::InitSent(_) => Stage::Knocking,
            State::IntermediateSent(_) | State::AuthSent(_) | State::AuthAwaited(_) => {
                Stage::HalfOpen
            }
            State::Established(_) => Stage::Up,
            State::Closing(_) => Stage::Closing,
            State::Closed => Stage::Closed,
        }
    }

    /// What it is, for people; `None` unless it is up.
    pub(crate) fn info(&self) -> Option<IkeSaInfo> {
        let State::Established(state) = &self.state else { return None };
        Some(state.info())
    }

    /// When its first message was sent or received.
    pub(crate) const fn born(&self) -> Instant {
        self.born
    }

    /// When it was established.
    pub(crate) const fn up_since(&self) -> Option<Instant> {
        self.up_since
    }

    /// Whether it waits for nothing but repeats of messages that it has answered.
    pub(crate) fn is_finished(&self) -> bool {
        match &self.state {
            State::Closing(closing) => closing.is_lingering(),
            State::Closed => true,
            State::InitSent(_)
            | State::IntermediateSent(_)
            | State::AuthSent(_)
            | State::AuthAwaited(_)
            | State::Established(_) => false,
        }
    }

    /// Ends it: with a DELETE if the peer knows of it, at once otherwise.
    pub(crate) fn close(&mut self, reason: CloseReason, cx: &mut Cx<'_>) {
        self.state = match mem::replace(&mut self.state, State::Closed) {
            State::Established(state) => state.close(reason, cx),
            State::Closing(state) => State::Closing(state),
            State::AuthSent(state) => state.delete(reason, cx),
            State::IntermediateSent(state) => state.fail(reason, cx),
            State::InitSent(state) => state.abandon(reason, cx),
            State::AuthAwaited(_) | State::Closed => State::Closed,
        };
    }

    /// Ends it without a word, because the peer has forgotten it (INITIAL_CONTACT).
    pub(crate) fn forget(&mut self, reason: &CloseReason, cx: &mut Cx<'_>) {
        if let State::Established(state) = &mut self.state {
            state.take_children_down(reason, cx);
            state.release(cx);
        }
        self.state = State::Closed;
    }

    /// Its keys, if they are kept for the embedder.
    pub(crate) fn exposed(&self) -> Option<ExposedKeys> {
        match &self.state {
            State::IntermediateSent(state) => state.begun.channel.exposed(),
            State::AuthSent(state) => state.channel.exposed(),
            State::AuthAwaited(state) => state.channel.exposed(),
            State::Established(state) => state.channel.exposed(),
            State::Closing(state) => state.channel.exposed(),
            State::InitSent(_) | State::Closed => None,
        }
    }

    /// How long the peer takes to answer, where that is known.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        match &self.state {
            State::Established(state) => state.rtt(),
            State::InitSent(_)
            | State::IntermediateSent(_)
            | State::AuthSent(_)
            | State::AuthAwaited(_)
            | State::Closing(_)
            | State::Closed => None,
        }
    }

    /// Asks for a rekey of one of its children.
    pub(crate) fn rekey_child(&mut self, child: ChildId, cx: &mut Cx<'_>) -> Result<(), Unknown> {
        self.established()?.rekey_child(child, cx)
    }

    /// Asks for a rekey of the SA itself.
    pub(crate) fn rekey(&mut self, cx: &mut Cx<'_>) -> Result<(), Unknown> {
        self.established()?.rekey_self(cx);
        Ok(())
    }

    /// Takes what the data plane counted for a child of it.
    pub(crate) fn report_usage(&mut self, child: ChildId, usage: ChildUsage, cx: &mut Cx<'_>) {
        if let Ok(state) = self.established() {
            state.on_usage(child, usage, cx);
        }
    }

    /// The caller knows other ways to the peer.
    pub(crate) fn on_ways(&mut self, before: &[Path], ways: &[Path], cx: &mut Cx<'_>) {
        if let Ok(state) = self.established() {
            state.on_ways(before, ways, cx);
        }
    }

    /// The peer's SA in use takes this path now.
    pub(crate) fn follow(&mut self, path: Path, cx: &mut Cx<'_>) {
        if let State::Closing(closing) = &mut self.state {
            closing.follow(path, cx);
        }
    }

    /// ESP from the peer comes from this address now.
    pub(crate) fn on_esp_from(&mut self, remote: SocketAddr, cx: &mut Cx<'_>) {
        if let Ok(state) = self.established() {
            state.on_esp_from(remote, cx);
        }
    }

    /// Sends the peer to the gateway of its configuration, if it follows.
    pub(crate) fn redirect(&mut self, cx: &mut Cx<'_>) -> Result<(), Unknown> {
        let state = self.established()?;
        state.check_redirectable()?;
        state.want(Task::Redirect);
        state.ask(cx);
        Ok(())
    }

    /// Another SA with the same peer begins, with INITIAL_CONTACT.
    pub(crate) fn hush(&mut self) {
        if let State::Closing(closing) = &mut self.state {
            closing.hush();
        }
    }

    /// Another SA took its place: it ends in a moment, so that what is under way comes to its end.
    pub(crate) fn retire(&mut self, cx: &Cx<'_>) {
        if let Ok(state) = self.established() {
            state.retire(cx);
        }
    }

    /// Whether an SA that the peer made waits for the end of a rekey of ours.
    pub(crate) fn has_rival(&self) -> bool {
        matches!(&self.state, State::Established(state) if state.rival.is_some())
    }

    /// A message on that SA: if it is the peer's, the children live on there.
    pub(crate) fn follow_rival(&mut self, header: &Header, datagram: &[u8], cx: &mut Cx<'_>) {
        if !self.established().is_ok_and(|state| state.is_of_rival(header, datagram)) {
            return;
        }
        if let State::Established(mut state) = mem::replace(&mut self.state, State::Closed)
            && let Some(rival) = state.rival.take()
        {
            self.state = state.live_on(*rival, cx);
        }
    }

    /// Whether the peer is known to have it; see [`Established::known_or_ask`].
    pub(crate) fn known_or_ask(&mut self, cx: &mut Cx<'_>) -> bool {
        self.established().is_ok_and(|state| state.known_or_ask(cx))
    }

    /// Whether it is up, and another SA took its place.
    pub(crate) fn is_retiring(&self) -> bool {
        matches!(&self.state, State::Established(state) if state.retires_at.is_some())
    }

    /// What took its place is gone already: it stays.
    pub(crate) fn stay(&mut self) {
        if let Ok(state) = self.established() {
            state.stay();
        }
    }

    /// Whether it is an attempt, not up yet, to take the place of another one.
    pub(crate) fn is_wish(&self) -> bool {
        self.supersedes.is_some() && matches!(self.stage(), Stage::Knocking | Stage::HalfOpen)
    }

    /// Where the peer is, if the SA is up.
    pub(crate) fn path(&self) -> Option<Path> {
        let State::Established(state) = &self.state else { return None };
        Some(state.channel.path)
    }

    /// Takes the place of `old` in a rekey: its history goes on.
    pub(crate) fn continues(&mut self, old: &Self) {
        self.born = old.born;
        self.up_since = old.up_since;
    }

    /// The lowest nonce and the maker of its IKE_SA_INIT exchange, once up: settles which of two crossing SAs stays.
    pub(crate) fn lowest_nonce(&self) -> Option<(&[u8], Origin)> {
        let State::Established(state) = &self.state else { return None };
        let first = state.first();
        Some((&first.lowest_nonce, first.origin))
    }

    /// Lets a child come to the end of its life.
    pub(crate) fn expire_child(&mut self, child: ChildId, cx: &mut Cx<'_>) {
        if let Ok(state) = self.established() {
            state.expire_child(child, cx);
        }
    }

    fn established(&mut self) -> Result<&mut Established, Unknown> {
        let State::Established(state) = &mut self.state else { return Err(Unknown) };
        Ok(state)
    }
}

impl State {
    /// Gate 3: the one place where a protected message meets a state.
    fn handle(self, message: &Message<'_>, cx: &mut Cx<'_>) -> Self {
        match (self, message.response) {
            (Self::IntermediateSent(state), true) => state.on_response(message, ATTEMPT, cx),
            (Self::AuthSent(state), true) => state.on_auth_response(message, cx),
            (Self::AuthAwaited(state), false) => state.on_auth_request(message, cx),
            (Self::Established(state), false) => state.on_request(message, cx),
            (Self::Established(state), true) => state.on_response(message, cx),
            (Self::Closing(state), response) => state.on_message(message, response, cx),
            (state, _) => state,
        }
    }

    /// An authentic message whose payloads do not add up, or are too long: the peer is broken (RFC 7296 §2.21.3).
    /// `message` comes without its payloads. After a request INVALID_SYNTAX tells the peer, after a response a DELETE.
    fn on_syntax_error(self, message: &Message<'_>, cx: &mut Cx<'_>) -> Self {
        let reason = CloseReason::Protocol("the peer sent a message that does not parse");
        match self {
            Self::Established(state) if message.response => state.close(reason, cx),
            Self::Established(mut state) => {
                state.refuse_syntax(message, cx);
                state.fail(reason, cx)
            }
            Self::IntermediateSent(state) => state.fail(reason, cx),
            Self::AuthSent(state) => state.delete(reason, cx),
            Self::AuthAwaited(state) => state.refuse_syntax(reason, message, cx),
            Self::InitSent(_) | Self::Closing(_) | Self::Closed => Self::Closed,
        }
    }

    fn channel(&mut self) -> Option<&mut Channel> {
        match self {
            Self::IntermediateSent(state) => Some(&mut state.begun.channel),
            Self::AuthSent(state) => Some(&mut state.channel),
            Self::AuthAwaited(state) => Some(&mut state.channel),
            Self::Established(state) => Some(&mut state.channel),
            Self::Closing(state) => Some(&mut state.channel),
            Self::InitSent(_) | Self::Closed => None,
        }
    }
}

/// The earlier of two deadlines.
fn sooner(a: Option<Deadline>, b: Option<(Instant, &'static str)>) -> Option<Deadline> {
    let b = b.map(|(at, why)| Deadline { at, why });
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.at < a.at { b } else { a }),
        (one, other) => one.or(other),
    }
}
