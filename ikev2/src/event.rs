//! What comes out of an [`Endpoint`](crate::Endpoint): events (install and remove SAs), datagrams, a deadline.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::config::Lifetime;
use crate::crypto::suite::{ChildSuite, IkeSuite};
use crate::error::{CloseReason, DropReason};
use crate::pki::Certificate;
use crate::wire::identity::Identity;
use crate::wire::ppk::PpkId;
use crate::wire::redirect::GatewayId;
use crate::wire::selector::TrafficSelector;
use crate::wire::traffic::Traffic;

/// Which of our addresses and ports talks to which of the peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    /// Our side; its port is `ike_port` or `nat_port`. On `nat_port` the caller adds and removes the four zero octets
    /// of the non-ESP marker (RFC 3948 §2.2).
    pub local: SocketAddr,
    /// The peer's side.
    pub remote: SocketAddr,
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} -> {}", self.local, self.remote)
    }
}

/// Names a configured peer for as long as the endpoint lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u32);

/// Names one [`Endpoint::probe`](crate::Endpoint::probe) for as long as the endpoint lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProbeId(pub u64);

/// Names one child SA (a pair of ESP SAs) for as long as the endpoint lives; a rekeyed child is a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChildId(pub u64);

/// SPI of an ESP SA, chosen by its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EspSpi(pub NonZeroU32);

impl EspSpi {
    /// How many families there are.
    pub const FAMILIES: u32 = 64;

    /// A number below [`FAMILIES`](Self::FAMILIES) that a child keeps over its rekeys, drawn at random for a new one: a
    /// receiver with several threads keeps the packets of one flow on one of them, in their order, if it goes by that.
    #[must_use]
    pub const fn family(self) -> u32 {
        self.0.get() % Self::FAMILIES
    }

    /// Which of so many resources it is for; see [`ChildConfig::resources`](crate::ChildConfig::resources).
    #[must_use]
    pub const fn resource(self, of: u32) -> u32 {
        if of == 0 { 0 } else { self.family() % of }
    }

    /// This one, but of the family of another.
    pub(crate) fn akin_to(self, other: Self) -> Self {
        self.of_family(other.family())
    }

    /// This one, but of one of the families of a resource; `resource` is less than `of`, and that at most [`Self::FAMILIES`].
    pub(crate) fn of_resource(self, resource: u32, of: u32) -> Self {
        let families = (Self::FAMILIES - 1 - resource) / of + 1;
        self.of_family(resource + self.family() % families * of)
    }

    /// It stays above the reserved numbers, which the upper bits decide.
    fn of_family(self, family: u32) -> Self {
        NonZeroU32::new(self.0.get() - self.family() + family).map_or(self, Self)
    }
}

/// One UDP payload to send. Retransmissions carry the same octets (RFC 7296 §2.1).
#[derive(Debug, Clone)]
pub struct Transmit {
    /// From where to where.
    pub path: Path,
    /// The IKE message, without non-ESP marker.
    pub payload: Arc<[u8]>,
}

/// When the endpoint wants [`handle_timeout`](crate::Endpoint::handle_timeout), and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// Not before this moment.
    pub at: Instant,
    /// The timer that is due first, for logs.
    pub why: &'static str,
}

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It belonged to an SA, or began one.
    Accepted,
    /// It was noise, or a repeat; no SA changed. There may be something to transmit all the same (a cookie, the answer to a
    /// repeat, a refusal), so drain as after any other. Counting is the caller's.
    Dropped(DropReason),
}

/// Something the caller has to act upon.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// We began to connect (attempt 1, 2, ...).
    Connecting {
        /// Whom.
        peer: PeerId,
        /// Where.
        path: Path,
        /// 1 for the first since the peer was last up.
        attempt: u32,
    },
    /// The IKE SA stands and the peer is authenticated.
    PeerUp {
        /// Who.
        peer: PeerId,
        /// What was negotiated.
        info: Box<IkeSaInfo>,
    },
    /// Another IKE SA is in use now: a rekey replaced it and the children moved, or of two that crossed this one stays.
    PeerRekeyed {
        /// Who.
        peer: PeerId,
        /// What was negotiated.
        info: Box<IkeSaInfo>,
    },
    /// The peer is reached by another path: these children follow, as they are. (For a while there may be two IKE SAs
    /// with a peer, and the children of one are not those of the other.)
    PeerMoved {
        /// Who.
        peer: PeerId,
        /// The children that move.
        children: Vec<ChildId>,
        /// Where to.
        path: Path,
        /// As in [`ChildSa::udp_encap`]: a NAT may have come or gone.
        udp_encap: bool,
        /// As in [`IkeSaInfo::nat_local`].
        nat_local: bool,
        /// As in [`IkeSaInfo::nat_remote`].
        nat_remote: bool,
    },
    /// The peer sends us to another gateway (RFC 5685), and we may follow. To an address we go by ourselves; a name the
    /// caller has to resolve and hand to [`follow_redirect`](crate::Endpoint::follow_redirect).
    Redirected {
        /// Who.
        peer: PeerId,
        /// Where to.
        to: GatewayId,
    },
    /// The end of a probe.
    Probed {
        /// Which.
        probe: ProbeId,
        /// From the first question to the answer; `None` if there was none.
        rtt: Option<Duration>,
    },
    /// An attempt to take the place of an SA that is up came to nothing: after [`switch_to`](crate::Endpoint::switch_to), a
    /// redirect, or for a new authentication. The SA that was up stays.
    SwitchFailed {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: CloseReason,
    },
    /// The last IKE SA with the peer is gone, or an attempt to make one failed.
    PeerDown {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: CloseReason,
        /// When we try again by ourselves.
        retry_at: Option<Instant>,
    },
    /// We refused somebody who wanted an SA.
    Refused {
        /// The peer it claimed to be, where that is known.
        peer: Option<PeerId>,
        /// Where it came from.
        path: Path,
        /// Why.
        reason: CloseReason,
    },
    /// Install both directions of this child, before any transmit is sent.
    ChildUp {
        /// The SA pair with its keys.
        child: Box<ChildSa>,
        /// The child that it replaces; that one goes by its own `ChildDown`.
        replaces: Option<ChildId>,
    },
    /// The peer is known to have this child, which it asked for: sending on it may begin, if it waits for a packet
    /// ([`SendWhen::AfterInbound`]). Told only of children for the resources of the two sides (RFC 9611).
    ChildConfirmed {
        /// Which.
        child: ChildId,
    },
    /// The peer wants no further child beside these, for resources of ours (RFC 9611): those that are there stay, and no more
    /// are asked for on this IKE SA.
    EnoughChildren {
        /// Who.
        peer: PeerId,
        /// Index in [`PeerConfig::children`](crate::PeerConfig::children).
        config: usize,
        /// How many there are, the fallback among them.
        children: usize,
        /// How many we would have.
        wanted: u32,
        /// What the peer said: [`TS_MAX_QUEUE`](crate::registry::NotifyType::TS_MAX_QUEUE), mostly.
        reason: CloseReason,
    },
    /// A child could not be made while the IKE SA stands.
    ChildFailed {
        /// Who.
        peer: PeerId,
        /// Index in [`PeerConfig::children`](crate::PeerConfig::children).
        config: usize,
        /// What it would have carried: all that is configured, or the pair of it that was asked for by itself.
        selectors: Traffic,
        /// Why.
        reason: CloseReason,
        /// When we try again.
        retry_at: Option<Instant>,
    },
    /// Remove this child. After [`CloseReason::Rekeyed`] keep receiving on it for a few seconds.
    ChildDown {
        /// Which.
        child: ChildId,
        /// Why.
        reason: CloseReason,
    },
}

/// What an established IKE SA agreed on, for people.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct IkeSaInfo {
    /// True if we sent the first IKE_SA_INIT (or the rekey request).
    pub initiator: bool,
    /// Our identity.
    pub local_id: Identity,
    /// The peer's proved identity.
    pub remote_id: Identity,
    /// How we proved ours: `PSK`, or the algorithm of our signature, such as `RSASSA-PSS with SHA2-256`.
    pub local_auth: &'static str,
    /// How the peer proved its own.
    pub remote_auth: &'static str,
    /// The certificate that the peer proved its identity with.
    pub remote_certificate: Option<Certificate>,
    /// The algorithms.
    pub suite: IkeSuite,
    /// The path in use.
    pub path: Path,
    /// A NAT stands before us.
    pub nat_local: bool,
    /// A NAT stands before the peer (or the peer forces encapsulation).
    pub nat_remote: bool,
    /// Both sides announced that they know fragments of IKE messages (RFC 7383).
    pub fragmentation: bool,
    /// The SAs can move to other addresses (RFC 4555).
    pub mobike: bool,
    /// The peer called us and follows redirects (RFC 5685).
    pub redirect: bool,
    /// Message IDs can be set anew (RFC 6311).
    pub message_id_sync: bool,
    /// The post-quantum pre-shared key that is mixed into its keys (RFC 8784), or into those that it was rekeyed from; `None` if there is none.
    pub ppk: Option<PpkId>,
    /// Whether that key was mixed in before IKE_AUTH (RFC 9867), so that it protects the IKE SA and the identities in it too.
    pub ppk_early: bool,
    /// SPIs: of the original initiator, of the original responder.
    pub spis: (u64, u64),
    /// When we will rekey it.
    pub rekey_at: Instant,
}

/// A pair of ESP SAs, ready to install.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct ChildSa {
    /// Its name from here on.
    pub id: ChildId,
    /// Whose it is.
    pub peer: PeerId,
    /// Index in [`PeerConfig::children`](crate::PeerConfig::children). Several children may serve one configuration, each
    /// with a part of its selectors: see [`Pairing`](crate::Pairing).
    pub config: usize,
    /// One of several with the same selectors, for a resource of one of the sides (RFC 9611); false for the fallback, which
    /// is for whatever has no other.
    pub resource: bool,
    /// SPI on packets to us.
    pub spi_in: EspSpi,
    /// SPI on packets to the peer.
    pub spi_out: EspSpi,
    /// The algorithms.
    pub suite: ChildSuite,
    /// Keys for packets to us.
    pub keys_in: ChildKeys,
    /// Keys for packets to the peer.
    pub keys_out: ChildKeys,
    /// Our side's selectors after narrowing.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's.
    pub remote_ts: Vec<TrafficSelector>,
    /// The path of the IKE SA; ESP uses its addresses.
    pub path: Path,
    /// True: ESP in UDP on the ports of `path`. False: IP protocol 50.
    pub udp_encap: bool,
    /// When to start sending on it.
    pub send: SendWhen,
    /// Whether the peer can do without knowing where TFC padding begins: if not (ESP_TFC_PADDING_NOT_SUPPORTED), send
    /// it none (RFC 7296 §1.3.1).
    pub tfc_padding: bool,
    /// Whether the peer would have accepted more of what we offered, in another child (ADDITIONAL_TS_POSSIBLE).
    pub more_possible: bool,
    /// When we will rekey it.
    pub rekey_at: Instant,
    /// What it may carry at most; it is rekeyed well before, if [`ChildUsage`] is reported. Whoever needs the limits to hold
    /// though the peer does not answer stops using the child there. Sequence numbers never wrap, whatever is configured:
    /// the sender stops at the last one (RFC 4303 §3.3.3).
    pub hard: Limits,
}

/// How much a child may carry, summed over both directions; `None`: any amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Inner octets.
    pub octets: Option<u64>,
    /// Packets. Without extended sequence numbers never more than there are numbers.
    pub packets: Option<u64>,
}

impl Limits {
    /// Those of a lifetime, for a child with or without extended sequence numbers.
    pub(crate) fn of(lifetime: &Lifetime, esn: bool) -> Self {
        let numbers = (!esn).then_some(u64::from(u32::MAX));
        let packets = match (lifetime.packets, numbers) {
            (Some(configured), Some(numbers)) => Some(configured.min(numbers)),
            (configured, numbers) => configured.or(numbers),
        };
        Self { octets: lifetime.octets, packets }
    }
}

/// Keying material of one ESP SA (RFC 7296 §2.17).
pub struct ChildKeys {
    /// Cipher key, followed by the salt where the cipher has one: 4 octets with AES-GCM (RFC 4106 §8.1), AES-GMAC (RFC 4543 §5.4),
    /// ChaCha20-Poly1305 (RFC 7634 §2) and AES-CTR (RFC 3686 §5.1), 3 with AES-CCM (RFC 4309 §7.1).
    pub encr: Zeroizing<Vec<u8>>,
    /// Integrity key; empty for AEAD ciphers.
    pub integ: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ChildKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChildKeys(hidden)")
    }
}

/// When the outbound half of a child may be used (RFC 7296 §2.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendWhen {
    /// At once: the peer has it installed.
    Now,
    /// After the first good packet on its inbound half, or when the child that it replaces is removed.
    AfterInbound,
}

/// What the data plane knows about a child; drives lifetimes and liveness.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChildUsage {
    /// Inner octets, both directions summed, since the child was installed.
    pub octets: u64,
    /// Packets, both directions summed.
    pub packets: u64,
    /// When the last authenticated packet came in.
    pub last_inbound: Option<Instant>,
}
