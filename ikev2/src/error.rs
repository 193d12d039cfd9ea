//! Why something was dropped, refused or closed. Three families that never mix:
//!
//! - [`DropReason`]: noise from the network. To be counted, never an error; no SA changes by it.
//! - [`CloseReason`]: why an SA or an attempt at one ended. Carries what an operator needs to know.
//! - [`Unknown`]: the caller named something that does not exist.

use crate::pki::{AuthProblem, KeyKind};
use crate::registry::NotifyType;
use crate::wire::identity::Identity;
use crate::wire::ppk::PpkId;
use crate::wire::proposal::Proposal;
use crate::wire::redirect::GatewayId;
use crate::wire::traffic::Traffic;

/// Why a datagram was ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DropReason {
    /// Shorter than its headers say, or its payload chain does not add up.
    Malformed,
    /// Another major version of IKE (RFC 7296 §2.5).
    Version,
    /// No SA has these SPIs.
    UnknownSpi,
    /// The integrity check failed (RFC 7296 §3.14).
    BadIcv,
    /// A message ID outside the window (RFC 7296 §2.3).
    OutsideWindow,
    /// A repeat of a message that was answered before; the cached answer was sent again.
    Retransmit,
    /// An answer to nothing that we asked.
    Unsolicited,
    /// No configured peer has this address.
    UnknownPeer,
    /// Too many half-open SAs.
    Overload,
    /// An IKE_SA_INIT without a valid cookie while cookies are demanded (RFC 7296 §2.6); it was answered with one.
    CookieAsked,
    /// An unprotected message that cannot be trusted in this state (RFC 7296 §2.21).
    Unprotected,
    /// An exchange type that does not fit the state.
    Unexpected,
    /// A fragment that is of no use (RFC 7383 §2.6): fragmentation was not agreed on, its numbers make no sense or belong to
    /// an older set, or it is here already.
    Fragment,
}

impl DropReason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 13] = [
        Self::Malformed,
        Self::Version,
        Self::UnknownSpi,
        Self::BadIcv,
        Self::OutsideWindow,
        Self::Retransmit,
        Self::Unsolicited,
        Self::UnknownPeer,
        Self::Overload,
        Self::CookieAsked,
        Self::Unprotected,
        Self::Unexpected,
        Self::Fragment,
    ];

    /// A stable word for counters and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::UnknownSpi => "unknown-spi",
            Self::BadIcv => "bad-icv",
            Self::OutsideWindow => "outside-window",
            Self::Retransmit => "retransmit",
            Self::Unsolicited => "unsolicited",
            Self::UnknownPeer => "unknown-peer",
            Self::Overload => "overload",
            Self::CookieAsked => "cookie-asked",
            Self::Unprotected => "unprotected",
            Self::Unexpected => "unexpected",
            Self::Fragment => "fragment",
        }
    }
}

/// Why an SA, a child or an attempt at one ended. Exhaustive: whoever explains these to people has to explain them all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// We were told to.
    Local,
    /// The peer deleted it.
    PeerDeleted,
    /// A newer one took its place.
    Rekeyed,
    /// Nothing authenticated came from the peer for the whole DPD timeout.
    DpdTimeout,
    /// The peer never answered.
    NoAnswer,
    /// The peer came back and said that it has no other SA with us (INITIAL_CONTACT).
    InitialContact,
    /// No IKE proposal suits both sides.
    IkeProposalMismatch {
        /// What we accept or offered.
        ours: Vec<Proposal>,
        /// What the peer offered; empty if the peer refused without saying.
        theirs: Vec<Proposal>,
    },
    /// No ESP proposal suits both sides.
    ChildProposalMismatch {
        /// What we accept or offered.
        ours: Vec<Proposal>,
        /// What the peer offered; empty if the peer refused without saying.
        theirs: Vec<Proposal>,
    },
    /// No common traffic selectors.
    SelectorMismatch {
        /// What we accept or offered.
        ours: Box<Traffic>,
        /// What the peer wanted, as seen from our side; empty if the peer refused without saying.
        theirs: Box<Traffic>,
    },
    /// The peer refused our AUTH or our identity (AUTHENTICATION_FAILED).
    AuthRefusedByPeer {
        /// The identity that we sent.
        sent: Identity,
        /// The identity that we expected of the peer, where we could tell.
        expected: Option<Identity>,
    },
    /// The peer's AUTH does not fit our key: the identity is known, the key differs.
    WrongKey {
        /// The identity that the peer sent.
        claimed: Identity,
    },
    /// The identity is known, but its certificate, public key or signature does not prove it, or another method is used than is
    /// configured.
    NotProved {
        /// The identity that the peer sent.
        claimed: Identity,
        /// What is wrong; a sentence about "it", the peer.
        problem: Box<AuthProblem>,
    },
    /// Our key makes no signature that the peer can check: it did not announce the hash for it (RFC 7427 §4).
    CannotSign {
        /// Our key.
        key: KeyKind,
        /// The hashes that the peer announced, by their numbers at IANA.
        hashes: Vec<u16>,
    },
    /// The post-quantum pre-shared keys (RFC 8784) of the two sides do not go together.
    Ppk(PpkProblem),
    /// The peer is not who it should be.
    WrongIdentity {
        /// The identity that the peer sent.
        claimed: Identity,
        /// Those that we would have accepted from there.
        expected: Vec<Identity>,
    },
    /// The peer sent us to another gateway (RFC 5685), where we go.
    Redirected {
        /// That gateway.
        to: GatewayId,
    },
    /// The peer did not authenticate anew in the time that it was told (RFC 4478).
    AuthExpired,
    /// The peer answered with an error notification that has no variant of its own.
    Notified(NotifyType),
    /// The peer broke the protocol after it was authenticated.
    Protocol(&'static str),
}

/// Why there is no SA with a post-quantum pre-shared key (RFC 8784).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PpkProblem {
    /// We require one, and the peer does not use any.
    Absent,
    /// The peer said that it uses one, and named none.
    Unnamed,
    /// The peer named one that we do not have for it; `None` if the name was empty.
    Unknown(Option<PpkId>),
    /// We require ours, and the peer answered without.
    Declined,
    /// The peer requires one, and has none of those that we named.
    Refused,
    /// Both have one of this name, and they differ.
    Differs(PpkId),
    /// Both have one of this name, and it or the other key differs; the peer gave no way to tell which.
    DiffersOrOther(PpkId),
}

/// The caller named a peer or child that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such peer or child")]
pub struct Unknown;
