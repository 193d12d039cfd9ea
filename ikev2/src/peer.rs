//! What we want of one peer: up or not, where to knock next, and how long to wait before that.
//!
//! ```text
//!   silence          knock again at once, next path        a peer that returns is found within five seconds, for ever
//!   refused          1 s, 2 s, 4 s ... 60 s, with jitter   asking faster would not change its mind
//!   sent elsewhere   there, at once                        five times in five minutes; then as if refused
//!   deleted by peer  1 s                                   so that the peer may come first
//!   dead             by dpd.action: at once | not at all   Restart | Clear, Trap; the dead path comes last
//! ```

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::config::{DpdAction, PeerConfig, Start};
use crate::error::CloseReason;
use crate::event::{Path, PeerId};
use crate::shared::Cx;
use crate::wire::header::IkeSpi;
use crate::wire::redirect::GatewayId;

/// The longest wait between attempts that the peer refuses.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// How often we let ourselves be sent elsewhere in `REDIRECT_PERIOD` (RFC 5685 §7).
const MAX_REDIRECTS: usize = 5;
/// REDIRECT_LOOP_DETECT_PERIOD (RFC 5685 §7).
const REDIRECT_PERIOD: Duration = Duration::from_mins(5);

/// A configured peer.
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) paths: Vec<Path>,
    /// The last other paths that it had.
    pub(crate) former_paths: Vec<Path>,
    /// Every IKE SA with it, oldest first.
    pub(crate) sas: Vec<IkeSpi>,
    /// Whether we bring it up by ourselves.
    pub(crate) wanted: bool,
    pub(crate) retry_at: Option<Instant>,
    /// Whether it was taken down by command: then it may not come by itself either. Set by `Peers::bar` alone.
    pub(crate) barred: bool,
    attempt: u32,
    refusals: u32,
    next_path: usize,
    /// Where the peer was when it was up last.
    up_at: Option<IpAddr>,
    /// Where a gateway sent us: the way there, and that gateway.
    detour: Option<(Path, IpAddr)>,
    /// A gateway sent us to a name: the way to that gateway, until the name has an address.
    pub(crate) named: Option<Path>,
    /// When we were sent elsewhere lately.
    redirects: Vec<Instant>,
}

/// The next attempt.
pub(crate) struct Knock {
    /// Where.
    pub(crate) path: Path,
    /// The how-manieth since the peer was last up, from 1.
    pub(crate) number: u32,
    /// The gateway that sent us there.
    pub(crate) redirected_from: Option<IpAddr>,
}

impl Peer {
    pub(crate) fn new(id: PeerId, config: &PeerConfig) -> Self {
        Self {
            id,
            paths: config.paths.clone(),
            former_paths: Vec::new(),
            sas: Vec::new(),
            wanted: config.start == Start::Always,
            retry_at: None,
            barred: false,
            attempt: 0,
            refusals: 0,
            next_path: 0,
            up_at: None,
            detour: None,
            named: None,
            redirects: Vec::new(),
        }
    }

    /// Where to knock now: where a gateway sent us, once, then the configured paths in turn. `None` if there is none.
    pub(crate) fn next_attempt(&mut self) -> Option<Knock> {
        let (path, redirected_from) = match self.detour.take() {
            Some((path, from)) => (path, Some(from)),
            None => (*self.paths.get(self.next_path % self.paths.len().max(1))?, None),
        };
        self.attempt = self.attempt.saturating_add(1);
        self.retry_at = None;
        Some(Knock { path, number: self.attempt, redirected_from })
    }

    /// The gateway at the end of `here` sends us to another; the way there, unless we are sent to and fro (RFC 5685 §7),
    /// or it has but a name, or an address that we cannot send to from here.
    pub(crate) fn redirected(
        &mut self,
        now: Instant,
        here: Path,
        to: &GatewayId,
        port: u16,
    ) -> Option<Path> {
        self.redirects.retain(|at| now < *at + REDIRECT_PERIOD);
        let GatewayId::Address(address) = *to else {
            self.named = Some(here);
            return None;
        };
        let usable = address.is_ipv4() == here.local.is_ipv4() && !address.is_unspecified();
        if self.redirects.len() >= MAX_REDIRECTS || !usable {
            return None;
        }
        self.redirects.push(now);
        self.named = None;
        let local = SocketAddr::new(here.local.ip(), port);
        let path = Path { local, remote: SocketAddr::new(address, port) };
        self.detour = Some((path, here.remote.ip()));
        Some(path)
    }

    /// Where to knock first when it is not up.
    pub(crate) fn prefer(&mut self, path: Path) {
        self.next_path = self.paths.iter().position(|known| *known == path).unwrap_or(0);
    }

    /// The number of the path after all that lead to where the peer was last.
    fn past_the_dead(&self) -> usize {
        let is_dead = |path: &Path| self.up_at == Some(path.remote.ip());
        self.paths.iter().rposition(is_dead).map_or(0, |dead| dead + 1)
    }

    /// It is up, there: the next trouble starts counting anew, from the first path.
    pub(crate) fn is_up(&mut self, there: Option<IpAddr>) {
        self.up_at = there;
        self.attempt = 0;
        self.refusals = 0;
        self.next_path = 0;
        self.retry_at = None;
        self.detour = None;
        self.named = None;
    }

    /// It is down: whether and when to try again.
    pub(crate) fn on_down(&mut self, reason: &CloseReason, config: &PeerConfig, cx: &mut Cx<'_>) {
        let goes_on = matches!(reason, CloseReason::NoAnswer | CloseReason::Redirected { .. });
        if config.start == Start::OnDemand && !goes_on {
            self.wanted = false;
        }
        let wait = match reason {
            CloseReason::Local => None,
            CloseReason::DpdTimeout => {
                self.next_path = self.past_the_dead();
                match config.dpd.map(|dpd| dpd.action) {
                    Some(DpdAction::Clear | DpdAction::Trap) => {
                        self.wanted = false;
                        None
                    }
                    Some(DpdAction::Restart) | None => Some(Duration::ZERO),
                }
            }
            CloseReason::NoAnswer => {
                self.next_path = self.next_path.wrapping_add(1);
                Some(Duration::from_millis(250))
            }
            CloseReason::Redirected { .. } if self.detour.is_some() => Some(Duration::ZERO),
            CloseReason::PeerDeleted | CloseReason::InitialContact | CloseReason::Rekeyed => {
                Some(Duration::from_secs(1))
            }
            CloseReason::IkeProposalMismatch { .. }
            | CloseReason::ChildProposalMismatch { .. }
            | CloseReason::SelectorMismatch { .. }
            | CloseReason::AuthRefusedByPeer { .. }
            | CloseReason::WrongKey { .. }
            | CloseReason::Ppk(_)
            | CloseReason::WrongIdentity { .. }
            | CloseReason::Notified(_)
            | CloseReason::Redirected { .. }
            | CloseReason::AuthExpired
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
