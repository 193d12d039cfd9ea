//! The protected channel of one IKE SA: keys, message IDs, path, and the one request that may be outstanding.
//!
//! ```text
//!   datagram ─► window.admit ─► protection.open ─► window.commit ─► Message        (nothing is recorded before `open` succeeds)
//!   chain    ─► protection.seal ─► transmit; a request is kept and sent again, octet for octet, until it is answered
//! ```
//!
//! Every state after IKE_SA_INIT owns one. What is long comes and goes in fragments, see `fragments`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::fragments::{Collected, Fragments, Parcel, TRIES};
use super::window::{Admit, Ticket, Window};
use super::{Cx, Message, Origin};
use crate::crypto::intauth::Associated;
use crate::crypto::keymat::IkeKeys;
use crate::crypto::ppk;
use crate::crypto::prf::Prf;
use crate::crypto::sk::{Authentic, Fragment, Protection, claimed_fragment};
use crate::crypto::suite::IkeSuite;
use crate::endpoint::exposed::{ExposedKeys, Kept};
use crate::error::DropReason;
use crate::event::Path;
use crate::registry::{ExchangeType, PayloadType};
use crate::wire::header::{Flags, Header, IkeSpi, MessageId};
use crate::wire::message::Chain;

/// Keys, message IDs and path of one IKE SA.
pub(super) struct Channel {
    /// Our SPI.
    pub(super) ours: IkeSpi,
    /// The peer's SPI.
    pub(super) theirs: IkeSpi,
    /// Who sent the first message of this SA (RFC 7296 §2.2, "original initiator").
    pub(super) origin: Origin,
    /// Where the peer is.
    pub(super) path: Path,
    /// A NAT stands before us.
    pub(super) nat_local: bool,
    /// A NAT stands before the peer.
    pub(super) nat_remote: bool,
    /// Whether both sides can do NAT traversal, so that ESP may travel in UDP.
    pub(super) nat_traversal: bool,
    /// The algorithms.
    pub(super) suite: IkeSuite,
    /// Key of child SAs and of the next IKE SA.
    pub(super) sk_d: Zeroizing<Vec<u8>>,
    /// Authenticates our identity (IKE_AUTH only).
    pub(super) sk_p_ours: Zeroizing<Vec<u8>>,
    /// Authenticates the peer's identity (IKE_AUTH only).
    pub(super) sk_p_theirs: Zeroizing<Vec<u8>>,
    /// Whether and how large messages are cut, and what is here of those of the peer.
    pub(super) fragments: Fragments,
    protection: Protection,
    /// Its keys as octets, if the embedder wants to see them.
    exposed: Option<Box<Kept>>,
    /// What protected the last exchange, if that changed the keys: for repeats of it.
    before: Option<Protection>,
    window: Window,
    /// Where the SA was begun from, or is begun with.
    begun_with: IpAddr,
    outstanding: Option<Outstanding>,
    /// How long the peer takes to answer, smoothed; `None` while unknown.
    rtt: Option<Duration>,
}

struct Outstanding {
    exchange: ExchangeType,
    parcel: Parcel,
    first_sent: Instant,
    /// How often.
    sent: u32,
    /// How often in the size that it has now.
    tries: u32,
    next_at: Instant,
    /// It was cut smaller than it was at first.
    narrowed: bool,
    /// How many fragments of the answer were here when it was last sent.
    answer_pieces: usize,
}

/// What an IKE_INTERMEDIATE exchange brought that goes into the keys.
#[derive(Clone, Copy)]
pub(super) struct Fresh<'a> {
    /// The shared secret of its key exchange (RFC 9370 §2.2.2).
    pub(super) secret: Option<&'a [u8]>,
    /// The post-quantum pre-shared key that was agreed on in it (RFC 9867).
    pub(super) ppk: Option<&'a [u8]>,
}

/// What a datagram is after the gates.
pub(super) enum Passed<'m> {
    /// Authentic and new.
    Message(Ticket, Authentic<'m>),
    /// A fragment of a message of which others are missing.
    Fragment,
    /// An authentic message in fragments that is longer than we take: the peer is broken, or worse (RFC 7383 §5).
    Excess(Ticket),
    /// A repeat; its answer was sent again.
    Repeat,
}

impl Channel {
    /// The channel of an SA whose original initiator's first protected request has the ID `first_id`; the other side's
    /// requests are counted apart and begin with 0 (RFC 7296 §2.2).
    pub(super) fn new(
        (ours, theirs): (IkeSpi, IkeSpi),
        origin: Origin,
        path: Path,
        suite: IkeSuite,
        keys: &IkeKeys,
        first_id: u32,
    ) -> Self {
        let (sk_p_ours, sk_p_theirs) = match origin {
            Origin::Local => (keys.sk_pi.clone(), keys.sk_pr.clone()),
            Origin::Remote => (keys.sk_pr.clone(), keys.sk_pi.clone()),
        };
        let window = match origin {
            Origin::Local => Window::starting_at(first_id, 0),
            Origin::Remote => Window::starting_at(0, first_id),
        };
        Self {
            ours,
            theirs,
            origin,
            path,
            nat_local: false,
            nat_remote: false,
            nat_traversal: false,
            suite,
            sk_d: keys.sk_d.clone(),
            sk_p_ours,
            sk_p_theirs,
            fragments: Fragments::none(),
            protection: Protection::new(&suite, keys, origin == Origin::Local),
            exposed: None,
            before: None,
            window,
            begun_with: path.remote.ip(),
            outstanding: None,
            rtt: None,
        }
    }

    /// The channel of the SA that takes the place of this one: same path, new keys, message IDs from 0.
    pub(super) fn successor(
        &self,
        spis: (IkeSpi, IkeSpi),
        origin: Origin,
        suite: IkeSuite,
        keys: &IkeKeys,
    ) -> Self {
        let mut next = Self::new(spis, origin, self.path, suite, keys, 0);
        next.nat_local = self.nat_local;
        next.nat_remote = self.nat_remote;
        next.nat_traversal = self.nat_traversal;
        next.fragments = self.fragments.successor();
        next.rtt = self.rtt;
        next.exposed = self.exposed.is_some().then(|| Box::new(Kept::of(keys)));
        next
    }

    /// Goes to where the one that it succeeds is now: it may have waited for its turn while that moved.
    pub(super) const fn catch_up(&mut self, with: &Self) {
        self.path = with.path;
        (self.nat_local, self.nat_remote) = (with.nat_local, with.nat_remote);
    }

    /// Keeps a copy of the keys if the embedder wants to see them.
    pub(super) fn expose(&mut self, keys: &IkeKeys, cx: &Cx<'_>) {
        self.exposed = cx.shared.config.expose_keys.then(|| Box::new(Kept::of(keys)));
    }

    /// The keys, if they are kept.
    pub(super) fn exposed(&self) -> Option<ExposedKeys> {
        let keys = self.exposed.as_ref()?;
        Some(keys.exposed(self.header_spis(), self.suite))
    }

    /// The SPIs as every header has them: of the original initiator, of the original responder.
    pub(super) const fn header_spis(&self) -> (IkeSpi, IkeSpi) {
        match self.origin {
            Origin::Local => (self.ours, self.theirs),
            Origin::Remote => (self.theirs, self.ours),
        }
    }

    /// The PRF of this SA.
    pub(super) fn prf(&self) -> Prf {
        self.suite.prf()
    }

    /// Gates 1 and 2. On `Err` nothing has changed. A message that came in fragments is put together in `whole`.
    pub(super) fn open<'m>(
        &mut self,
        header: &Header,
        path: Path,
        datagram: &'m mut [u8],
        whole: &'m mut Vec<u8>,
        cx: &mut Cx<'_>,
    ) -> Result<Passed<'m>, DropReason> {
        let theirs = if self.origin == Origin::Local { header.spi_r } else { header.spi_i };
        if theirs != self.theirs {
            return Err(DropReason::UnknownSpi);
        }
        let asked = self.outstanding.as_ref().map(|request| request.exchange);
        if header.flags.response && asked.is_some_and(|asked| asked != header.exchange) {
            // An answer belongs to the exchange of its request (RFC 7296 §3.1).
            return Err(DropReason::Unexpected);
        }
        let fragment = claimed_fragment(datagram);
        if fragment.is_some() && !self.fragments.are_agreed() {
            return Err(DropReason::Fragment);
        }
        let mut ticket = match self.window.admit(header, datagram) {
            Admit::Fresh(ticket) => ticket,
            Admit::Retransmit => {
                let most = self.most_repeats(path);
                if let Some(answer) = self.window.last_answer(most) {
                    answer.transmit(path, cx);
                }
                return Ok(Passed::Repeat);
            }
            Admit::Refuse(reason) => {
                let again = fragment.filter(|_| self.window.is_answered(header)).ok_or(reason)?;
                return self.answer_again(again, path, datagram, cx);
            }
        };
        if header.exchange == ExchangeType::IKE_INTERMEDIATE {
            ticket.associated = Associated::received(datagram);
        }
        let passed = match fragment {
            None => Collected::Whole(self.protection.open(datagram)?),
            Some(fragment) => {
                let cap = self.fragments.cap(&cx.shared.config);
                let how = (&self.protection, cap, cx.now);
                self.fragments.collect(fragment, (header, &mut ticket), how, datagram, whole)?
            }
        };
        let passed = match passed {
            Collected::Waiting => return Ok(Passed::Fragment),
            Collected::Whole(authentic) => Some(authentic),
            Collected::Excess => None,
        };
        self.window.commit(&ticket);
        if !header.flags.response {
            self.before = None;
        }
        self.fragments.forget(header.flags.response);
        if header.flags.response
            && let Some(request) = self.outstanding.take()
        {
            self.rtt = smoothed(self.rtt, &request, cx.now);
            // After the second time either size may have brought the answer.
            if request.narrowed && request.tries == 1 {
                self.fragments.stay_narrow();
            }
        }
        Ok(match passed {
            Some(authentic) => Passed::Message(ticket, authentic),
            None => Passed::Excess(ticket),
        })
    }

    /// A fragment of a request that was answered, in other octets than before: the peer cut it anew, since our answer does
    /// not reach it. The first asks for the answer, in a size like its own (RFC 7383 §2.6.1).
    fn answer_again<'m>(
        &mut self,
        fragment: Fragment,
        path: Path,
        datagram: &mut [u8],
        cx: &mut Cx<'_>,
    ) -> Result<Passed<'m>, DropReason> {
        if fragment.number != 1 {
            return Err(DropReason::Fragment);
        }
        let len = datagram.len();
        let (room, most) = (self.fragments.room(path, cx.shared), self.most_repeats(path));
        let protection = self.before.as_mut().unwrap_or(&mut self.protection);
        let _same_request = protection.open_fragment(datagram)?;
        let Some(answer) = self.window.last_answer(most) else { return Ok(Passed::Repeat) };
        if let Some(room) = room {
            let room = room.for_answer(Some(len)).usual();
            answer.shrink(room, protection, &mut cx.shared.rng);
        }
        answer.transmit(path, cx);
        Ok(Passed::Repeat)
    }

    /// How often an answer may be sent again on `path`. Until the peer has proved who it is anybody may be behind a half-open SA: it
    /// has the keys, and may forge senders. So only the address that began it hears an answer again, and not for ever.
    fn most_repeats(&self, path: Path) -> u32 {
        if self.fragments.are_trusted() {
            u32::MAX
        } else if path.remote.ip() == self.begun_with {
            REPEATS_MAX
        } else {
            0
        }
    }

    /// Whether a request of ours waits for its answer.
    pub(super) const fn is_busy(&self) -> bool {
        self.outstanding.is_some()
    }

    /// How long the peer takes to answer, if a request of ours was answered at the first try.
    pub(super) const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// When the outstanding request was sent first.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.outstanding.as_ref().map(|request| request.first_sent)
    }

    /// Whether the message IDs come to their end (RFC 7296 §2.2).
    pub(super) const fn is_worn_out(&self) -> bool {
        self.window.nearly_exhausted()
    }

    /// Sends a request and keeps it for retransmission. None may be outstanding.
    pub(super) fn request(&mut self, exchange: ExchangeType, chain: &Chain, cx: &mut Cx<'_>) {
        let id = self.window.open_request();
        let header = self.header(exchange, id, false);
        let room = self.fragments.room(self.path, cx.shared);
        let parcel = Parcel::seal(header, chain, room, &mut self.protection, &mut cx.shared.rng);
        parcel.transmit(self.path, cx);
        self.outstanding = Some(Outstanding {
            exchange,
            parcel,
            first_sent: cx.now,
            sent: 1,
            tries: 1,
            next_at: cx.now + backoff(0, cx),
            narrowed: false,
            answer_pieces: 0,
        });
    }

    /// Answers a request, to where it came from (RFC 7296 §2.11), and keeps the answer for repeats.
    pub(super) fn respond(&mut self, request: &Message<'_>, chain: &Chain, cx: &mut Cx<'_>) {
        let header = self.header(request.exchange, request.id, true);
        let room = self.fragments.room(request.path, cx.shared);
        let room = room.map(|room| room.for_answer(request.ticket.longest_fragment));
        let answer = Parcel::seal(header, chain, room, &mut self.protection, &mut cx.shared.rng);
        answer.transmit(request.path, cx);
        self.window.answered(&request.ticket, answer);
    }

    /// Goes on with the keys that a further key exchange leads to (RFC 9370 §2.2.2). What was sent already, and comes again,
    /// keeps its own.
    pub(super) fn update(&mut self, fresh: Fresh<'_>, (ni, nr): (&[u8], &[u8])) {
        let (suite, spis) = (&self.suite, self.header_spis());
        let exchanged = fresh
            .secret
            .map(|secret| IkeKeys::updated(suite, &self.sk_d, secret, ni, nr, spis.0, spis.1));
        let keys = match fresh.ppk {
            None => exchanged,
            Some(ppk) => {
                // RFC 9867: last of all, so of the SK_d that the key exchange has just made.
                let sk_d = exchanged.as_ref().map_or(&self.sk_d, |keys| &keys.sk_d);
                Some(IkeKeys::with_ppk(suite, sk_d, ppk, (ni, nr), spis))
            }
        };
        let Some(keys) = keys else { return };
        let local = self.origin == Origin::Local;
        let next = Protection::new(&self.suite, &keys, local);
        self.before = Some(std::mem::replace(&mut self.protection, next));
        self.exposed = self.exposed.is_some().then(|| Box::new(Kept::of(&keys)));
        let (ours, theirs) =
            if local { (keys.sk_pi, keys.sk_pr) } else { (keys.sk_pr, keys.sk_pi) };
        (self.sk_d, self.sk_p_ours, self.sk_p_theirs) = (keys.sk_d, ours, theirs);
    }

    /// What shows that we have a post-quantum key (RFC 9867), in this SA with these nonces of initiator and responder.
    pub(super) fn confirmation<'a>(&self, nonces: (&'a [u8], &'a [u8])) -> ppk::Confirmation<'a> {
        ppk::Confirmation { prf: self.prf(), nonces, spis: self.header_spis() }
    }

    /// What a message of ours with this content is authenticated by later (RFC 9242 §3.3.2).
    pub(super) fn associated(
        &self,
        exchange: ExchangeType,
        id: MessageId,
        response: bool,
        chain: &Chain,
    ) -> Associated {
        Associated::sent(self.header(exchange, id, response), chain.first())
    }

    /// Mixes a post-quantum pre-shared key into the keys that outlive IKE_AUTH (RFC 8784 §3).
    pub(super) fn mix(&mut self, ppk: &[u8]) {
        let prf = self.prf();
        for key in [&mut self.sk_d, &mut self.sk_p_ours, &mut self.sk_p_theirs] {
            *key = ppk::mixed(prf, ppk, key);
        }
    }

    /// Goes on with other message IDs; the outstanding request is given up. See [`Window::synchronise`].
    pub(super) fn synchronise(&mut self, theirs: u32, ours: u32) -> Option<(u32, u32)> {
        let agreed = self.window.synchronise(theirs, ours)?;
        self.outstanding = None;
        for response in [false, true] {
            self.fragments.forget(response);
        }
        Some(agreed)
    }

    /// Opens a message that is not subject to the window.
    pub(super) fn open_outside_window<'m>(
        &self,
        header: &Header,
        datagram: &'m mut [u8],
    ) -> Result<Authentic<'m>, DropReason> {
        let theirs = if self.origin == Origin::Local { header.spi_r } else { header.spi_i };
        if theirs != self.theirs {
            return Err(DropReason::UnknownSpi);
        }
        self.protection.open(datagram)
    }

    /// Answers such a message, in one piece (RFC 7383 §3). The answer is not kept: its request is never taken twice.
    pub(super) fn respond_outside_window(
        &mut self,
        request: &Message<'_>,
        chain: &Chain,
        cx: &mut Cx<'_>,
    ) {
        let payload = self.seal(request.exchange, request.id, true, chain, cx);
        cx.transmit(request.path, payload);
    }

    /// Reaches the peer by another path from here on; what waits for an answer goes there at once.
    pub(super) fn move_to(&mut self, path: Path, cx: &Cx<'_>) {
        self.path = path;
        if let Some(request) = &mut self.outstanding {
            request.next_at = cx.now;
        }
    }

    /// How often the outstanding request was sent; 0 if there is none.
    pub(super) fn transmissions(&self) -> u32 {
        self.outstanding.as_ref().map_or(0, |request| request.sent)
    }

    /// When the outstanding request is due again.
    pub(super) fn retransmit_at(&self) -> Option<Instant> {
        self.outstanding.as_ref().map(|request| request.next_at)
    }

    /// Sends the outstanding request again if it is due: the same octets, but after a few tries in smaller fragments, unless
    /// more and more of the answer comes (RFC 7383 §2.5.2). If these are not answered either, both go.
    pub(super) fn retransmit(&mut self, cx: &mut Cx<'_>) {
        self.retransmit_by(self.path, cx);
    }

    /// Sends the outstanding request again, by this path, if it is due.
    pub(super) fn retransmit_by(&mut self, path: Path, cx: &mut Cx<'_>) {
        let Some(request) = &mut self.outstanding else { return };
        if request.next_at > cx.now {
            return;
        }
        let answer_pieces = self.fragments.answer_pieces();
        let stuck = request.tries >= TRIES && answer_pieces <= request.answer_pieces;
        request.answer_pieces = answer_pieces;
        if stuck && let Some(room) = self.fragments.room(path, cx.shared) {
            let rng = &mut cx.shared.rng;
            if request.parcel.shrink(room.least(), &mut self.protection, rng) {
                request.narrowed = true;
                request.tries = 0;
            }
        }
        request.next_at = cx.now + backoff(request.tries, cx);
        request.sent = request.sent.saturating_add(1);
        request.tries = request.tries.saturating_add(1);
        cx.shared.out.retransmits += 1;
        request.parcel.transmit(path, cx);
        if request.tries > 1 {
            request.parcel.transmit_earlier(path, cx);
        }
    }

    /// Whether the outstanding request is due again.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.outstanding.as_ref().is_some_and(|request| request.next_at <= now)
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn peek<'m>(&self, datagram: &'m mut [u8]) -> Result<Authentic<'m>, DropReason> {
        self.protection.open(datagram)
    }

    pub(super) fn seal(
        &mut self,
        exchange: ExchangeType,
        message_id: MessageId,
        response: bool,
        chain: &Chain,
        cx: &mut Cx<'_>,
    ) -> Arc<[u8]> {
        let header = self.header(exchange, message_id, response);
        let message =
            self.protection.seal(header, chain.first(), chain.octets(), &mut cx.shared.rng);
        Arc::from(message)
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn seal_fragment(
        &mut self,
        (exchange, message_id, response): (ExchangeType, MessageId, bool),
        fragment: Fragment,
        first: PayloadType,
        piece: &[u8],
        cx: &mut Cx<'_>,
    ) -> Vec<u8> {
        let header = self.header(exchange, message_id, response);
        self.protection.seal_fragment(header, fragment, first, piece, &mut cx.shared.rng)
    }

    fn header(&self, exchange: ExchangeType, message_id: MessageId, response: bool) -> Header {
        let (spi_i, spi_r) = match self.origin {
            Origin::Local => (self.ours, self.theirs),
            Origin::Remote => (self.theirs, self.ours),
        };
        Header {
            spi_i,
            spi_r,
            next_payload: PayloadType::NONE,
            version: Header::VERSION,
            exchange,
            flags: Flags { initiator: self.origin == Origin::Local, response, ..Flags::default() },
            message_id,
            len: 0,
        }
    }
}

/// The round trip time after the answer to a request. An answer to one that was sent twice tells nothing, since nobody knows to
/// which it is (RFC 6298 §3), and one with a key exchange in it tells how fast the peer computes: that is taken for want of
/// better only.
fn smoothed(before: Option<Duration>, request: &Outstanding, now: Instant) -> Option<Duration> {
    if request.sent > 1 {
        return before;
    }
    let sample = now.saturating_duration_since(request.first_sent);
    match before {
        None => Some(sample),
        Some(_) if request.exchange != ExchangeType::INFORMATIONAL => before,
        // RFC 6298 §2: alpha is 1/8. One much lower than all before is believed at once: those had computing in them.
        Some(before) if sample < before / 2 => Some(sample),
        Some(before) => Some((before * 7 + sample) / 8),
    }
}

/// Repeats of one answer to a peer that is not authenticated, as of one to IKE_SA_INIT: honest ones ask some six times.
const REPEATS_MAX: u32 = 16;

/// How long to wait after the `sent`-th repetition: 0.5 s, doubling to 4 s, 10 % either way so that peers that were cut
/// off together do not come back in step. Four seconds at most, so that a peer that returns is found within five.
pub(super) fn backoff(sent: u32, cx: &mut Cx<'_>) -> Duration {
    let base = Duration::from_millis(500) * (1 << sent.min(3));
    cx.jitter(base)
}
