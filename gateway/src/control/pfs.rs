//! Whether both sides agree on perfect forward secrecy, found out early.
//!
//! The child SA of IKE_AUTH has no key exchange of its own (RFC 7296 §1.2): that the two sides want different groups would show
//! only when it is replaced, an hour later, and then take the tunnel down. So it is replaced soon after its start, once.
//!
//! ```text
//!   ChildUp of IKE_AUTH ─► Due ──30 s and some──► rekey ─► ChildUp, with a key exchange    Verified
//!                                                   └────► ChildFailed, no proposal        Differs: degraded, E1011
//!   ChildUp of CREATE_CHILD_SA, with a key exchange ─────────────────────────────────────► Verified
//! ```
//!
//! What the check finds is the same that any other rekey would find, so that those are believed, too.

use std::time::{Duration, Instant};

use ikev2::registry::KeMethod;
use ikev2::{CloseReason, Proposal, Transform};

use super::Control;
use super::connection::{Child, Phase};
use crate::config::Policy;
use crate::status::reason::{self, Reason};

/// What is known of one child.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Pfs {
    /// Nothing, and nothing is to be found out.
    #[default]
    Unknown,
    /// It is replaced at that moment, to see.
    Due(Instant),
    /// That was asked for.
    Asked,
    /// Both sides made a fresh key exchange.
    Verified,
    /// They cannot: it lives until its lifetime is over.
    Differs,
}

/// A pair of SAs that was just installed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fresh {
    /// It has a key exchange of its own.
    pub(super) own_keys: bool,
    /// It came with IKE_AUTH, and whether the sides agree is to be found out.
    pub(super) first: bool,
    /// It takes the place of another.
    pub(super) replaces: bool,
    /// A number that is another for each.
    pub(super) spi: u32,
}

impl Pfs {
    /// After that.
    pub(super) fn after(self, sa: Fresh, now: Instant) -> Self {
        if sa.own_keys || self == Self::Verified {
            return Self::Verified;
        }
        if sa.first && !sa.replaces {
            let spread = Duration::from_millis(u64::from(sa.spi % SPREAD_MS));
            return Self::Due(now + CHECK_AFTER + spread);
        }
        Self::Unknown
    }

    /// Its word in the status; `None` where there is nothing to say.
    pub(super) const fn word(self) -> Option<&'static str> {
        match self {
            Self::Unknown => None,
            Self::Due(_) | Self::Asked => Some("pending"),
            Self::Verified => Some("verified"),
            Self::Differs => Some("mismatch"),
        }
    }
}

impl Child {
    /// Why it could not be made or replaced, in words. Where the first SA stands and its successor is refused for its algorithms,
    /// the key exchange is all that is new in it.
    pub(super) fn explained(&mut self, why: &CloseReason, policy: &Policy, conn: &str) -> Reason {
        let no_proposal = matches!(why, CloseReason::ChildProposalMismatch { .. });
        let stands = !self.live.is_empty() && self.pfs != Pfs::Verified;
        if no_proposal && (stands || self.pfs == Pfs::Differs) {
            self.pfs = Pfs::Differs;
            return reason::pfs_mismatch(why, &policy.name);
        }
        reason::explain_for(why, conn, &policy.forbidden)
    }
}

impl Control {
    /// Replaces the children whose time has come, a few at once: a thousand tunnels that came up together are not asked together.
    pub(super) fn check_pfs(&mut self, now: Instant) {
        let is_due = |child: &Child| matches!(child.pfs, Pfs::Due(at) if at <= now);
        let up = self.connections.iter_mut().filter(|c| matches!(c.phase, Phase::Up { .. }));
        let due = up.flat_map(|c| &mut c.children).filter(|child| is_due(child));
        let mut slots = Vec::new();
        for child in due.take(AT_ONCE) {
            child.pfs = Pfs::Asked;
            slots.push(child.slot);
        }
        for slot in slots {
            let of_all = self.installer.of_slot(slot).filter(|(_, sa)| sa.worker.is_none());
            if let Some(child) = of_all.map(|(id, _)| id).last() {
                tracing::debug!(target: "child", event = "pfs-check", slot = slot.0);
                // Unknown if it goes at this moment; its successor is looked at anew.
                let _ = self.endpoint.rekey_child(now, child);
                self.drain(now);
            }
        }
    }
}

/// Whether children of this policy are to be checked: where it wants a key exchange, unless somebody wants no check.
pub(super) fn is_checked(policy: &Policy) -> bool {
    policy.pfs_check && policy.esp.iter().any(has_key_exchange)
}

fn has_key_exchange(proposal: &Proposal) -> bool {
    let is_one = |t: &Transform| matches!(t, Transform::Ke(method) if *method != KeMethod::NONE);
    proposal.transforms.iter().any(is_one)
}

/// From the start of a child to its check: short enough that whoever set it up still looks at it.
const CHECK_AFTER: Duration = Duration::from_secs(30);

/// Both sides may check, and one is enough.
const SPREAD_MS: u32 = 4000;

/// Checks that begin in one second.
const AT_ONCE: usize = 16;
