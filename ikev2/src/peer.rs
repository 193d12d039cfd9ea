//! What we want of one peer: up or not, where to knock next, and how long to wait before that.
//!
//! ```text
//!   silence          knock again at once, next path        a peer that returns is found within five seconds, for ever
//!   refused          1 s, 2 s, 4 s ... 60 s, with jitter   asking faster would not change its mind
//!   deleted by peer  1 s                                   so that the peer may come first
//!   dead             by dpd.action: at once | not at all   Restart | Clear, Trap
//! ```

use std::time::{Duration, Instant};

use crate::config::{DpdAction, PeerConfig, Start};
use crate::error::CloseReason;
use crate::event::{Path, PeerId};
use crate::shared::Cx;
use crate::wire::header::IkeSpi;

/// The longest wait between attempts that the peer refuses.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// A configured peer.
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) paths: Vec<Path>,
    /// Every IKE SA with it, oldest first.
    pub(crate) sas: Vec<IkeSpi>,
    /// Whether we bring it up by ourselves.
    pub(crate) wanted: bool,
    pub(crate) retry_at: Option<Instant>,
    /// Whether it was taken down by command: then it may not come by itself either.
    pub(crate) barred: bool,
    attempt: u32,
    refusals: u32,
    next_path: usize,
}

impl Peer {
    pub(crate) fn new(id: PeerId, config: &PeerConfig) -> Self {
        Self {
            id,
            paths: config.paths.clone(),
            sas: Vec::new(),
            wanted: config.start == Start::Always,
            retry_at: None,
            barred: false,
            attempt: 0,
            refusals: 0,
            next_path: 0,
        }
    }

    /// Where to knock now, and the how-manieth time it is; `None` if it has no path.
    pub(crate) fn next_attempt(&mut self) -> Option<(Path, u32)> {
        let path = *self.paths.get(self.next_path % self.paths.len().max(1))?;
        self.attempt = self.attempt.saturating_add(1);
        self.retry_at = None;
        Some((path, self.attempt))
    }

    /// It is up: the next trouble starts counting anew, from the first path.
    pub(crate) fn is_up(&mut self) {
        self.attempt = 0;
        self.refusals = 0;
        self.next_path = 0;
        self.retry_at = None;
    }

    /// It is down: whether and when to try again.
    pub(crate) fn on_down(&mut self, reason: &CloseReason, config: &PeerConfig, cx: &mut Cx<'_>) {
        if config.start == Start::OnDemand && *reason != CloseReason::NoAnswer {
            self.wanted = false;
        }
        let wait = match reason {
            CloseReason::Local => None,
            CloseReason::DpdTimeout => match config.dpd.map(|dpd| dpd.action) {
                Some(DpdAction::Clear | DpdAction::Trap) => {
                    self.wanted = false;
                    None
                }
                Some(DpdAction::Restart) | None => Some(Duration::ZERO),
            },
            CloseReason::NoAnswer => {
                self.next_path = self.next_path.wrapping_add(1);
                Some(Duration::from_millis(250))
            }
            CloseReason::PeerDeleted | CloseReason::InitialContact | CloseReason::Rekeyed => {
                Some(Duration::from_secs(1))
            }
            CloseReason::IkeProposalMismatch { .. }
            | CloseReason::ChildProposalMismatch { .. }
            | CloseReason::SelectorMismatch
            | CloseReason::AuthRefusedByPeer { .. }
            | CloseReason::WrongKey { .. }
            | CloseReason::WrongIdentity { .. }
            | CloseReason::Notified(_)
            | CloseReason::Protocol(_) => {
                let doublings = self.refusals.min(6);
                self.refusals = self.refusals.saturating_add(1);
                Some((Duration::from_secs(1) * (1 << doublings)).min(LONGEST_WAIT))
            }
        };
        let wait = wait.map(|wait| cx.jitter(wait));
        self.retry_at = wait.filter(|_| self.wanted && !self.paths.is_empty()).map(|w| cx.now + w);
    }
}
