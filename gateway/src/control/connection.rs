//! What we know of one configured connection: where it stands, why, since when, and what its children carry.
//!
//! ```text
//!            ┌────────── Connecting ─► PeerUp ──────────┐
//!   Idle ────┤                                          ├─► Up ──PeerDown──► Idle (told to) or Failed (why, retry at)
//!            └─ Failed ◄── PeerDown (attempt failed) ◄──┘
//! ```
//!
//! The state that people see is computed from this, from the children and from what the operator wants; it is stored
//! nowhere, only the moment when it last changed is.

mod child;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ikev2::{CloseReason, GatewayId, IkeSaInfo, Path, PeerId, Start};
use jiff::Timestamp;

pub(super) use child::{Child, Failed};

use super::failover::Endpoints;
use super::memory::Decision;
use super::monitors::{self, Health};
use super::path_mtu::PathMtu;
use super::tally::Tally;
use crate::config;
use crate::dataplane::SlotId;
use crate::status::reason::{self, Gravity, Trouble};
use crate::status::{Reason, State};

/// One configured connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) config: config::Connection,
    /// Its name in `ikev2`; `None` until it is enabled for the first time.
    pub(super) peer: Option<PeerId>,
    /// Whether the operator lets it live: `enabled` in the configuration, then `up` and `down`.
    pub(super) wanted: bool,
    /// What a command said, where the configuration says something else.
    pub(super) decision: Option<Decision>,
    /// Where each name of the peer led when the peer was last up there.
    pub(super) good: BTreeMap<String, IpAddr>,
    pub(super) phase: Phase,
    /// Why the last attempt failed; forgotten when one succeeds.
    failure: Option<Failure>,
    /// The paths by which the peer may be reached, in order of preference.
    pub(super) paths: Vec<Path>,
    /// Why there is no path to the peer, if there is none.
    pub(super) no_path: Option<Reason>,
    pub(super) children: Vec<Child>,
    /// What the peer offered for a child and we refused: more than its own refusal of ours says.
    refused_offer: Option<Reason>,
    /// How often the IKE SA was replaced since the connection came up.
    pub(super) rekeys: u64,
    /// Whether another connection wants the same packets, so that it matters who is up.
    pub(super) has_rival: bool,
    /// What is known of the endpoints of the peer.
    pub(super) endpoints: Endpoints,
    /// What is known of each of its monitors, in the order of the configuration.
    pub(super) monitors: Vec<Health>,
    /// How large its packets may be.
    pub(super) path_mtu: PathMtu,
    /// Where the peer sent us, while that is where we are or want to go.
    pub(super) redirect: Option<Redirect>,
    /// The kernel refused a route of it.
    pub(super) lacks_route: bool,
    /// What of this host keeps its packets back.
    pub(super) host_trouble: Option<Reason>,
    /// Packets of its children that the kernel refused to send, by the last look.
    pub(super) unsent: u64,
    /// When its IKE SA came up, while it is.
    pub(super) up_at: Option<Instant>,
    /// When the next NAT keepalive is due.
    pub(super) keepalive_at: Option<Instant>,
    /// Children that a reload took out of the configuration and that carry packets until others do.
    pub(super) leaving: Vec<Leaving>,
    /// A reload wants a new IKE SA in the place of the one that is up.
    pub(super) superseding: Option<Superseding>,
    /// What happened to it.
    pub(super) tally: Tally,
    shown: State,
    pub(super) since: Instant,
    pub(super) since_wall: Timestamp,
}

/// Where a connection stands. What is valid only there is only there.
#[derive(Debug)]
pub(super) enum Phase {
    /// Nothing was tried, or it was closed on purpose.
    Idle,
    /// An attempt runs.
    Connecting { attempt: u32, path: Path },
    /// The IKE SA stands.
    Up { info: Box<IkeSaInfo> },
    /// The last attempt failed, or the SA broke.
    Failed { retry_at: Option<Instant> },
}

/// The peer sent us to another gateway.
#[derive(Debug)]
pub(super) struct Redirect {
    pub(super) to: GatewayId,
    /// It is a name, and its address is not known yet.
    pub(super) unresolved: bool,
}

/// A child that is to go when what took its place in the configuration carries its packets.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) config: config::Child,
    pub(super) child: Child,
    pub(super) stage: Departure,
    /// When what takes its place is asked for by us, though it is the peer's to ask; once.
    pub(super) ask_at: Option<Instant>,
}

/// How far it is on its way out. Each look at it, once a second, is a step: what is in flight arrives between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Departure {
    /// Packets still go into it.
    InUse,
    /// Its successors are up, here and with the peer.
    Succeeded,
    /// No packet goes into it any more.
    Unused,
    /// What was in flight has arrived.
    Gone,
}

impl Departure {
    /// Whether packets go into it.
    pub(super) const fn is_used(self) -> bool {
        matches!(self, Self::InUse | Self::Succeeded)
    }
}

/// An IKE SA that is to be made beside the one that is up.
#[derive(Debug, Default)]
pub(super) struct Superseding {
    /// How often it could not be had.
    pub(super) failures: usize,
    /// When to try again; `None` while an attempt runs.
    pub(super) retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Failure {
    reason: Reason,
    gravity: Gravity,
    trouble: Trouble,
    at: Instant,
    /// How often in a row it was the same trouble, seen from either end.
    times: u32,
}

impl Connection {
    /// A connection in which nothing has happened. `slots` are its children's.
    pub(super) fn new(
        config: config::Connection,
        slots: impl Iterator<Item = SlotId>,
        now: Instant,
        wall: Timestamp,
    ) -> Self {
        let mut connection = Self {
            peer: None,
            wanted: config.enabled,
            decision: None,
            good: BTreeMap::new(),
            phase: Phase::Idle,
            failure: None,
            paths: Vec::new(),
            no_path: None,
            children: slots
                .zip(0..)
                .map(|(slot, index)| Child::new(slot, Some(index), now, wall))
                .collect(),
            refused_offer: None,
            rekeys: 0,
            has_rival: false,
            endpoints: Endpoints::default(),
            monitors: Vec::new(),
            path_mtu: PathMtu::limited(config.mtu),
            redirect: None,
            lacks_route: false,
            host_trouble: None,
            unsent: 0,
            up_at: None,
            keepalive_at: None,
            leaving: Vec::new(),
            superseding: None,
            tally: Tally::default(),
            shown: State::Disabled,
            since: now,
            since_wall: wall,
            config,
        };
        connection.shown = connection.state(now);
        connection
    }

    /// The state of its packets at this moment.
    pub(super) fn state(&self, now: Instant) -> State {
        if !self.wanted {
            return State::Disabled;
        }
        match &self.phase {
            Phase::Up { .. } => {
                let wanted = || self.children.iter().filter(|child| !child.down);
                let installed = wanted().filter(|child| !child.live.is_empty()).count();
                let failed = self.children.iter().any(|child| !child.failures.is_empty());
                match installed {
                    // No packet passes, whatever the IKE SA says.
                    0 if failed => State::Down,
                    0 => State::Connecting,
                    // What is wrong has a reason; what is not tried yet has none, and is missing nevertheless.
                    _ if installed == wanted().count() && self.reason(now).is_none() => State::Up,
                    _ => State::Degraded,
                }
            }
            Phase::Connecting { .. } | Phase::Failed { .. } if self.needs_edit() => State::Error,
            // Between one failed attempt and the next nothing has become better.
            Phase::Connecting { .. } if self.fails_again() => State::Down,
            Phase::Connecting { .. } => State::Connecting,
            Phase::Failed { .. } => State::Down,
            Phase::Idle if self.no_path.is_some() => State::Down,
            Phase::Idle if self.failure.is_some() => State::Down,
            Phase::Idle if self.config.start == Start::Always => State::Connecting,
            Phase::Idle => State::Waiting,
        }
    }

    /// Whether it should be up now, whoever begins.
    pub(super) fn desired_up(&self) -> bool {
        self.wanted && (self.config.start == Start::Always || !matches!(self.phase, Phase::Idle))
    }

    /// What has to happen before it comes up, where nothing is wrong.
    pub(super) fn awaits(&self, now: Instant) -> Option<String> {
        let name = &self.config.name;
        match (self.state(now), self.config.start) {
            (State::Waiting, Start::RespondOnly) => Some("the peer to call".to_owned()),
            (State::Waiting, Start::OnDemand) => Some("a packet that needs it".to_owned()),
            (State::Waiting, Start::Always | Start::Manual) => Some(format!("`s2s-gw up {name}`")),
            _ => None,
        }
    }

    /// Why it is not up, or not fully.
    pub(super) fn reason(&self, now: Instant) -> Option<Reason> {
        if !self.wanted {
            return None;
        }
        match &self.phase {
            Phase::Up { .. } => {
                let of_any =
                    |which: fn(&Child) -> Option<&Failed>| self.children.iter().find_map(which);
                let failed =
                    of_any(|child| child.missing().next()).or_else(|| of_any(Child::worst));
                let failed = failed.map(|failed| failed.reason.clone());
                let one_way = || {
                    let mut one_way = self.children.iter().filter_map(|child| child.one_way(now));
                    let (sent, silence) = one_way.next()?;
                    Some(reason::no_return_traffic(sent, silence))
                };
                let narrowed =
                    || self.children.iter().find_map(|child| child.narrowing.reason()).cloned();
                let monitor = || {
                    let monitor = self.failed_monitor()?;
                    Some(reason::monitor_failed(&monitors::described(monitor)))
                };
                failed
                    .or_else(|| self.host_trouble.clone())
                    .or_else(|| self.lacks_route.then(reason::route_refused))
                    .or_else(one_way)
                    .or_else(narrowed)
                    .or_else(monitor)
                    .or_else(|| self.standby_reason())
            }
            Phase::Idle | Phase::Connecting { .. } | Phase::Failed { .. } => {
                let failure = self.failure.as_ref().map(|failure| failure.reason.clone());
                self.no_path.clone().or_else(|| self.host_trouble.clone()).or(failure)
            }
        }
    }

    /// When the endpoint tries again what failed.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Failed { retry_at } => *retry_at,
            Phase::Up { .. } => {
                let failures = self.children.iter().flat_map(|child| &child.failures);
                failures.filter_map(|failed| failed.retry_at).min()
            }
            Phase::Idle | Phase::Connecting { .. } => None,
        }
    }

    /// Notes when the state changed; returns the new state if it did.
    pub(super) fn refresh(&mut self, now: Instant, wall: Timestamp) -> Option<State> {
        let state = self.state(now);
        if state == self.shown {
            return None;
        }
        self.shown = state;
        self.since = now;
        self.since_wall = wall;
        Some(state)
    }

    /// An attempt begins.
    pub(super) fn on_connecting(&mut self, path: Path, attempt: u32) {
        self.phase = Phase::Connecting { attempt, path };
    }

    /// The IKE SA stands.
    pub(super) fn on_up(&mut self, info: Box<IkeSaInfo>, now: Instant) {
        self.keepalive_at = Some(now + self.config.nat_keepalive);
        self.up_at = Some(now);
        self.arrive(&info);
        self.phase = Phase::Up { info };
        self.failure = None;
        self.rekeys = 0;
        // Whoever began it, both sides have authenticated with what is configured now.
        self.superseding = None;
    }

    /// The IKE SA was replaced.
    pub(super) fn on_rekeyed(&mut self, info: Box<IkeSaInfo>) {
        self.arrive(&info);
        self.phase = Phase::Up { info };
        self.rekeys += 1;
    }

    /// Forgets a redirect once we are back where the configuration says.
    fn arrive(&mut self, info: &IkeSaInfo) {
        self.arrive_at(info);
        if self.is_configured(&info.path) {
            self.redirect = None;
        }
    }

    /// Whether a path leads to an address that the configuration names.
    fn is_configured(&self, path: &Path) -> bool {
        self.paths.iter().any(|configured| configured.remote.ip() == path.remote.ip())
    }

    /// The gateway that the peer sent us to, if we are there.
    pub(super) fn redirected_to(&self) -> Option<&GatewayId> {
        let Phase::Up { info } = &self.phase else { return None };
        let redirect = self.redirect.as_ref().filter(|_| !self.is_configured(&info.path))?;
        Some(&redirect.to)
    }

    /// The name that the peer sent us to, while its address is not known.
    pub(super) fn unresolved(&self) -> Option<&str> {
        match &self.redirect {
            Some(Redirect { to: GatewayId::Name(name), unresolved: true }) => Some(name),
            _ => None,
        }
    }

    /// The child that has this number in `ikev2`, and what is configured for it; one that is leaving too.
    pub(super) fn child_mut(&mut self, index: usize) -> Option<(&config::Child, &mut Child)> {
        let configured = self.config.children.iter().zip(&mut self.children);
        let leaving = self.leaving.iter_mut().map(|leaving| (&leaving.config, &mut leaving.child));
        configured.chain(leaving).find(|(_, child)| child.index == Some(index))
    }

    /// The same by its slot.
    pub(super) fn child_of_slot(&mut self, slot: SlotId) -> Option<(&config::Child, &mut Child)> {
        let configured = self.config.children.iter().zip(&mut self.children);
        let leaving = self.leaving.iter_mut().map(|leaving| (&leaving.config, &mut leaving.child));
        configured.chain(leaving).find(|(_, child)| child.slot == slot)
    }

    /// Whether a packet may ask for the child of this slot. What the endpoint tries by itself, with its own pauses, is not
    /// hurried by packets.
    pub(super) fn may_acquire(&mut self, slot: SlotId, now: Instant) -> bool {
        match &self.phase {
            Phase::Idle | Phase::Failed { retry_at: None } => true,
            Phase::Connecting { .. } | Phase::Failed { retry_at: Some(_) } => false,
            Phase::Up { .. } => {
                let child = self.children.iter_mut().find(|child| child.slot == slot);
                child.is_some_and(|child| child.may_acquire(now))
            }
        }
    }

    /// The peer is elsewhere.
    pub(super) fn on_moved(&mut self, to: Path, (nat_local, nat_remote): (bool, bool)) {
        if let Phase::Up { info } = &mut self.phase {
            info.path = to;
            info.nat_local = nat_local;
            info.nat_remote = nat_remote;
        }
    }

    /// The IKE SA is gone, or the attempt to make one failed.
    pub(super) fn on_down(&mut self, why: &CloseReason, retry_at: Option<Instant>, now: Instant) {
        self.keepalive_at = None;
        self.up_at = None;
        self.release_endpoint(why);
        let gravity = reason::code(why).gravity;
        if gravity == Gravity::Wanted {
            self.phase = Phase::Idle;
            self.failure = None;
        } else {
            self.phase = Phase::Failed { retry_at };
            self.blame(why, now);
        }
        self.refused_offer = None;
        self.superseding = None;
        self.children.iter_mut().for_each(Child::forget);
    }

    /// We turned away somebody who seems to be this peer; of interest while it is not up.
    pub(super) fn on_refused(&mut self, why: &CloseReason, now: Instant) {
        let trouble = reason::trouble(why);
        if trouble.family == ESP_PROPOSAL && trouble.first_hand {
            let offer = reason::explain_for(why, &self.config.name, &self.config.policy.forbidden);
            let failures = self.children.iter_mut().flat_map(|child| &mut child.failures);
            for failed in failures {
                failed.reason.learn(&offer);
            }
            self.refused_offer = Some(offer);
        }
        if !matches!(self.phase, Phase::Up { .. }) {
            self.blame(why, now);
        }
    }

    /// A child could not be made. What the peer offered itself, if it did, tells more than its refusal.
    pub(super) fn on_child_failed(&mut self, index: usize, failed: Failed) {
        let mut failed = failed;
        if let Some(offer) = &self.refused_offer {
            failed.reason.learn(offer);
        }
        if let Some((_, child)) = self.child_mut(index) {
            child.on_failed(failed);
        }
    }

    /// Remembers why it failed. Of one trouble that both ends report, what was seen first-hand is kept for a while: "the
    /// keys differ" says more than "the peer refused us".
    fn blame(&mut self, why: &CloseReason, now: Instant) {
        let reason = reason::explain_for(why, &self.config.name, &self.config.policy.forbidden);
        let gravity = reason::code(why).gravity;
        let trouble = reason::trouble(why);
        let fresh = Failure { reason, gravity, trouble, at: now, times: 1 };
        self.failure = Some(match self.failure.take() {
            Some(before) if before.trouble.family == trouble.family => {
                let times = before.times.saturating_add(1);
                let tells_more = before.trouble.first_hand && !trouble.first_hand;
                let is_recent = now.saturating_duration_since(before.at) < RECENT;
                let kept = if tells_more && is_recent { before } else { fresh };
                Failure { times, ..kept }
            }
            _ => fresh,
        });
    }

    /// Forgets why it failed, because somebody wants it tried afresh.
    pub(super) fn forgive(&mut self) {
        self.failure = None;
    }

    fn fails_again(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| failure.times > 1)
    }

    fn needs_edit(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| {
            failure.gravity == Gravity::NeedsEdit && failure.times >= PATIENCE
        })
    }
}

/// The family of troubles about the algorithms of a child.
const ESP_PROPOSAL: &str = "esp-proposal";

/// So many failures of one kind that somebody has to edit, and we call it an error.
const PATIENCE: u32 = 3;

/// What was seen first-hand outweighs what the peer says for this long.
const RECENT: Duration = Duration::from_mins(3);

#[cfg(test)]
pub(super) mod tests;
