//! Fragmentation of one IKE SA's messages (RFC 7383): what was agreed, how large, and both directions of it.
//!
//! ```text
//!   out:  chain ─► fits into `room`?  yes ─► SK                                     Parcel: sent and repeated as it is,
//!                                     no  ─► SKF 1/n, SKF 2/n, ... SKF n/n                  until it is cut smaller
//!         a request without answer after three tries ─► cut anew for the smallest size (§2.5.2), tries begin again; from the
//!                                                        second of them on beside the pieces of before
//!         an answer whose request comes again in smaller fragments ─► cut to their size
//!
//!   in:   SKF ─► collect: numbers (§2.6) ─► ICV ─► Incoming ─► whole? ─► the message, as if it had come in one piece
//! ```
//!
//! The window is one, so that no more than one request and one response can be on their way to us: two [`Incoming`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::Cx;
use super::window::Ticket;
use crate::config::{EndpointConfig, FragmentSizes, Fragmentation};
use crate::crypto::auth::PeerAuthenticated;
use crate::crypto::intauth::Associated;
use crate::crypto::sk::{Added, Authentic, Fragment, Protection, Reassembly};
use crate::error::DropReason;
use crate::event::Path;
use crate::registry::{ExchangeType, NotifyType, PayloadType};
use crate::shared::Shared;
use crate::wire::header::Header;
use crate::wire::message::{Body, Chain};

/// How long fragments are kept while others are missing (RFC 7383 §2.6): as long as other stacks repeat a request.
const PATIENCE: Duration = Duration::from_secs(165);
/// How often a request is sent in one size before it is cut into smaller fragments: for three and a half seconds.
pub(super) const TRIES: u32 = 3;

/// Adds our willingness to an IKE_SA_INIT message.
pub(super) fn announce(chain: &mut Chain, fragmentation: Fragmentation) {
    if fragmentation != Fragmentation::Off {
        chain.notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, &[]);
    }
}

/// What an IKE SA knows of fragments.
pub(super) struct Fragments {
    /// The sizes of ours; `None` if not both sides announced that they know fragments.
    agreed: Option<FragmentSizes>,
    /// A request was answered only after it was cut for the least size.
    narrow: bool,
    authenticated: bool,
    requests: Incoming,
    responses: Incoming,
}

/// A message that comes to us in pieces.
struct Incoming {
    pieces: Reassembly,
    /// All of one message have the same.
    exchange: ExchangeType,
    /// What identifies fragment 1, once it is here.
    first: Option<[u8; 32]>,
    /// Octets of the longest IKE message among them.
    longest: usize,
    /// As in [`Ticket::associated`], once fragment 1 is here.
    associated: Option<Associated>,
    since: Option<Instant>,
}

/// How long a message may be on a path, in octets of IKE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// What we begin with.
    usual: usize,
    /// What we go down to.
    least: usize,
}

/// A message of ours as it is sent, and sent again: the same octets each time (RFC 7296 §2.1), until it is cut anew.
pub(super) struct Parcel {
    datagram: Arc<[u8]>,
    /// The fragments after the first.
    rest: Vec<Arc<[u8]>>,
    /// What it was before it was cut smaller.
    earlier: Vec<Arc<[u8]>>,
    /// What may have to be cut smaller; `None` if it cannot, or passes everywhere as it is.
    content: Option<Box<Content>>,
}

struct Content {
    header: Header,
    first: PayloadType,
    plain: Vec<u8>,
    /// What it is cut for now.
    room: usize,
}

/// What became of an authentic fragment.
pub(super) enum Collected<'m> {
    /// Others are missing.
    Waiting,
    /// The message is whole.
    Whole(Authentic<'m>),
    /// The message is longer than we take: nothing of it is held any more.
    Excess,
}

impl Fragments {
    /// Nothing agreed, as at the beginning of every SA.
    pub(super) const fn none() -> Self {
        Self {
            agreed: None,
            narrow: false,
            authenticated: false,
            requests: Incoming::new(),
            responses: Incoming::new(),
        }
    }

    /// Notes what both sides announced in IKE_SA_INIT (RFC 7383 §2.3).
    pub(super) fn agree(&mut self, ours: Fragmentation, theirs: &Body<'_>) {
        let announced = theirs.notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED).is_some();
        self.agreed = match ours {
            Fragmentation::On(sizes) if announced => Some(sizes),
            Fragmentation::On(_) | Fragmentation::Off => None,
        };
    }

    /// What holds for the SA that takes the place of this one.
    pub(super) fn successor(&self) -> Self {
        Self {
            agreed: self.agreed,
            narrow: self.narrow,
            authenticated: self.authenticated,
            ..Self::none()
        }
    }

    /// The peer has proved who it is: it may send longer messages.
    pub(super) const fn trust(&mut self, _proof: &PeerAuthenticated) {
        self.authenticated = true;
    }

    /// Whether both sides know fragments.
    pub(super) const fn are_agreed(&self) -> bool {
        self.agreed.is_some()
    }

    /// How long our messages may be on `path`; `None` if they cannot be cut. The sizes are those of IP datagrams.
    pub(super) fn room(&self, path: Path, shared: &Shared) -> Option<Room> {
        let sizes = self.agreed?;
        let (size, least, ip_header) = if path.remote.is_ipv4() {
            (sizes.v4, FragmentSizes::LEAST.v4, 20)
        } else {
            (sizes.v6, FragmentSizes::LEAST.v6, 40)
        };
        let non_esp_marker = if path.local.port() == shared.config.nat_port { 4 } else { 0 };
        let inside =
            |size: u16| usize::from(size).saturating_sub(ip_header + UDP_HEADER + non_esp_marker);
        let least = inside(size.min(least));
        Some(Room { usual: if self.narrow { least } else { inside(size) }, least })
    }

    /// The most octets of an incomplete message that are held. Before the peer is authenticated whoever knows no more than
    /// how to begin can make us hold this much for each half-open SA (RFC 7383 §5); long chains of certificates fit. Never more
    /// then than an Encrypted payload can have, since AUTH covers its length as if the message had come whole (RFC 9242 §3.3.2).
    pub(super) fn cap(&self, config: &EndpointConfig) -> usize {
        if self.authenticated {
            config.max_message_octets
        } else {
            config.max_half_open_octets.min(ENCRYPTED_MAX)
        }
    }

    /// Whether the peer has proved who it is.
    pub(super) const fn are_trusted(&self) -> bool {
        self.authenticated
    }

    /// A request of ours passed only after it was cut smaller: what follows begins so (RFC 7383 §2.5.2).
    pub(super) const fn stay_narrow(&mut self) {
        self.narrow = true;
    }

    /// How many fragments of the answer to us are here.
    pub(super) const fn answer_pieces(&self) -> usize {
        self.responses.pieces.filled()
    }

    /// Takes a fragment that the window let pass. On `Err` nothing has changed. When the message is whole, or too long,
    /// `ticket` becomes that of its first fragment.
    pub(super) fn collect<'m>(
        &mut self,
        claimed: Fragment,
        (header, ticket): (&Header, &mut Ticket),
        (protection, cap, now): (&Protection, usize, Instant),
        datagram: &mut [u8],
        whole: &'m mut Vec<u8>,
    ) -> Result<Collected<'m>, DropReason> {
        let incoming = if header.flags.response { &mut self.responses } else { &mut self.requests };
        let begins = incoming.pieces.would_restart(claimed);
        let other = !begins && incoming.exchange != header.exchange;
        if !incoming.pieces.wants(claimed) || other {
            return Err(DropReason::Fragment);
        }
        let len = datagram.len();
        let piece = protection.open_fragment(datagram)?;
        if begins {
            *incoming = Incoming { since: Some(now), exchange: header.exchange, ..Incoming::new() };
        }
        incoming.longest = incoming.longest.max(len);
        if claimed.number == 1 {
            incoming.first = ticket.digest;
            incoming.associated = ticket.associated.take();
        }
        let collected = match incoming.pieces.add(&piece, cap, whole) {
            Added::Waiting => return Ok(Collected::Waiting),
            Added::Whole(authentic) => Collected::Whole(authentic),
            Added::Excess => Collected::Excess,
        };
        ticket.digest = incoming.first;
        ticket.longest_fragment = Some(incoming.longest);
        ticket.associated = incoming.associated.take();
        *incoming = Incoming::new();
        Ok(collected)
    }

    /// The window moved on: what is incomplete will never be complete.
    pub(super) fn forget(&mut self, response: bool) {
        let incoming = if response { &mut self.responses } else { &mut self.requests };
        *incoming = Incoming::new();
    }

    /// Forgets what was incomplete for too long (RFC 7383 §2.6).
    pub(super) fn expire(&mut self, now: Instant) {
        for incoming in [&mut self.requests, &mut self.responses] {
            if incoming.expires_at().is_some_and(|at| at <= now) {
                *incoming = Incoming::new();
            }
        }
    }

    /// When [`Self::expire`] is wanted.
    pub(super) fn expires_at(&self) -> Option<Instant> {
        [&self.requests, &self.responses].into_iter().filter_map(Incoming::expires_at).min()
    }

    /// Octets of incomplete messages.
    #[cfg(any(test, feature = "fuzz"))]
    pub(super) const fn held(&self) -> usize {
        self.requests.pieces.held() + self.responses.pieces.held()
    }
}

impl Incoming {
    const fn new() -> Self {
        Self {
            pieces: Reassembly::new(),
            exchange: ExchangeType::INFORMATIONAL,
            first: None,
            longest: 0,
            associated: None,
            since: None,
        }
    }

    fn expires_at(&self) -> Option<Instant> {
        self.since.map(|since| since + PATIENCE)
    }
}

impl Room {
    /// What to begin with.
    pub(super) const fn usual(self) -> usize {
        self.usual
    }

    /// What to go down to.
    pub(super) const fn least(self) -> usize {
        self.least
    }

    /// Room for the answer to a request whose longest fragment had `longest` octets of IKE: the path bears that, and the
    /// sender may know that it bears no more (RFC 7383 §2.5.1).
    pub(super) fn for_answer(self, longest: Option<usize>) -> Self {
        let usual = longest.map_or(self.usual, |longest| self.usual.min(longest.max(self.least)));
        Self { usual, ..self }
    }
}

impl Parcel {
    /// Seals a message, in fragments if it is longer than `room`.
    pub(super) fn seal(
        header: Header,
        chain: &Chain,
        room: Option<Room>,
        protection: &mut Protection,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let (first, plain) = (chain.first(), chain.octets());
        let len = protection.sealed_len(plain.len());
        if let Some(Room { usual, least }) = room.filter(|room| len > room.least) {
            let content = Content { header, first, plain: plain.to_vec(), room: usual };
            let mut pieces = if len > usual {
                content.cut(protection, rng)
            } else {
                vec![Arc::from(protection.seal(header, first, plain, rng))]
            };
            let content = (least < usual).then(|| Box::new(content));
            let datagram = pieces.remove(0);
            return Self { datagram, rest: pieces, earlier: Vec::new(), content };
        }
        let datagram = Arc::from(protection.seal(header, first, plain, rng));
        Self { datagram, rest: Vec::new(), earlier: Vec::new(), content: None }
    }

    /// Sends it.
    pub(super) fn transmit(&self, path: Path, cx: &mut Cx<'_>) {
        for datagram in std::iter::once(&self.datagram).chain(&self.rest) {
            cx.transmit(path, Arc::clone(datagram));
        }
    }

    /// Sends it as it was before it was cut smaller, if it was. A peer that has answered may take only the octets that it knows
    /// for a repeat (strongSwan), and its answer may be what was lost.
    pub(super) fn transmit_earlier(&self, path: Path, cx: &mut Cx<'_>) {
        for datagram in &self.earlier {
            cx.transmit(path, Arc::clone(datagram));
        }
    }

    /// An answer of these octets.
    #[cfg(test)]
    pub(super) fn of(octets: &[u8]) -> Self {
        Self { datagram: Arc::from(octets), rest: Vec::new(), earlier: Vec::new(), content: None }
    }

    /// Its datagrams, in order.
    #[cfg(test)]
    pub(super) fn datagrams(&self) -> Vec<Arc<[u8]>> {
        std::iter::once(&self.datagram).chain(&self.rest).cloned().collect()
    }

    /// Cuts it into more fragments than before, of `room` octets at most; false if that makes no more of them.
    pub(super) fn shrink(
        &mut self,
        room: usize,
        protection: &mut Protection,
        rng: &mut impl CryptoRng,
    ) -> bool {
        let Some(content) = &mut self.content else { return false };
        // The receiver takes a set for a newer one only if its total is greater (RFC 7383 §2.5.2).
        let more = content.pieces(room, protection) > 1 + self.rest.len();
        if room >= content.room || !more {
            return false;
        }
        content.room = room;
        let mut pieces = content.cut(protection, rng);
        let first = std::mem::replace(&mut self.datagram, pieces.remove(0));
        let rest = std::mem::replace(&mut self.rest, pieces);
        self.earlier = std::iter::once(first).chain(rest).collect();
        true
    }
}

impl Content {
    /// How many fragments of `room` octets it makes.
    fn pieces(&self, room: usize, protection: &Protection) -> usize {
        self.plain.len().div_ceil(protection.piece_len(room))
    }

    /// At least one.
    fn cut(&self, protection: &mut Protection, rng: &mut impl CryptoRng) -> Vec<Arc<[u8]>> {
        let len = protection.piece_len(self.room);
        let total = u16::try_from(self.pieces(self.room, protection))
            .expect("invariant: our messages have far fewer than 65536 pieces");
        (1..=total)
            .zip(self.plain.chunks(len))
            .map(|(number, piece)| {
                let first = if number == 1 { self.first } else { PayloadType::NONE };
                let fragment = Fragment { number, total };
                Arc::from(protection.seal_fragment(self.header, fragment, first, piece, rng))
            })
            .collect()
    }
}

const UDP_HEADER: usize = 8;

/// Octets in an Encrypted payload, whose length has 16 bits and counts its own header (RFC 7296 §3.14).
const ENCRYPTED_MAX: usize = 65_535 - 4;

#[cfg(test)]
mod tests;
