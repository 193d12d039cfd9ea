//! The endpoints of a peer: which answer, when to go to another one, and when to come back.
//!
//! ```text
//!   peer = ["ber-a", "ber-b"]      ber-a  preferred           in use ══ SA
//!                                  ber-b  standby  ──probe──► answered 3 s ago, 18 ms
//!
//!   ber-a dies          ikev2 calls ber-b           event=failover    degraded, W0702
//!   ber-a answers       failback: auto | 10m | manual
//!        └─► switch_to: make before break           event=failback
//!   failover NAME       probe ─► an answer ─► switch_to, and there we stay
//!                             └► none: refused, nothing has changed
//! ```
//!
//! Going elsewhere when an endpoint dies needs none of this: `ikev2` knows all the paths. This is about the others.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ikev2::{CloseReason, IkeSaInfo, Path, PeerId, ProbeId};
use mio::Token;

use super::Control;
use super::connection::{Connection, Phase};
use super::memory::Decision;
use crate::config::{self, Failback};
use crate::status::protocol::{RefusalKind, Response};
use crate::status::reason;
use crate::status::{EndpointStatus, Reason, words};

/// What is known of the endpoints of one connection.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    /// For each path which of the configured hosts it leads to, 0 for the one that is preferred.
    pub(super) ranks: Vec<usize>,
    /// What probes said of each path, by where it leads.
    answers: BTreeMap<SocketAddr, Answers>,
    /// When the standbys are asked next.
    probe_at: Option<Instant>,
    /// An attempt to go elsewhere failed, or runs: no other before this, unless somebody commands it.
    rest_until: Option<Instant>,
    /// The host that somebody wants, as the configuration writes it, if it is not the preferred one.
    pub(super) held: Option<String>,
    /// The host that was in use last, and where it was.
    last: Option<(usize, SocketAddr)>,
}

/// The answers of one endpoint.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Answers {
    /// When it last answered, and how long that took.
    last: Option<(Instant, Duration)>,
    /// Since when it has answered every time; `None` if it did not the last time.
    well_since: Option<Instant>,
}

impl Answers {
    fn take(&mut self, rtt: Option<Duration>, now: Instant) {
        match rtt {
            Some(rtt) => {
                self.last = Some((now, rtt));
                self.well_since = self.well_since.or(Some(now));
            }
            None => self.well_since = None,
        }
    }

    /// Whether it has answered for long enough to go back to it.
    fn is_trusted(&self, failback: Failback, now: Instant) -> bool {
        let Some(since) = self.well_since else { return false };
        match failback {
            Failback::Auto => true,
            Failback::Manual => false,
            Failback::After(time) => now.saturating_duration_since(since) >= time,
        }
    }
}

/// A probe that has not ended.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) peer: PeerId,
    path: Path,
    /// Who asked, and whether to go there if it answers.
    client: Option<(Token, bool)>,
}

impl Control {
    /// Asks the standbys that are due, and goes back to those that answer again.
    pub(super) fn watch_endpoints(&mut self, now: Instant) {
        for index in 0..self.connections.len() {
            let Some(connection) = self.connections.get_mut(index) else { continue };
            let (Some(peer), Some(failover)) = (connection.peer, connection.config.failover) else {
                continue;
            };
            let endpoints = &mut connection.endpoints;
            if endpoints.probe_at.is_some_and(|at| now < at) {
                continue;
            }
            endpoints.probe_at = Some(now + failover.probe);
            for path in connection.standbys() {
                let is_asked = |question: &Question| question.path == path && question.peer == peer;
                if !self.questions.values().any(is_asked) {
                    self.ask(now, Question { peer, path, client: None });
                }
            }
            self.drain(now);
        }
    }

    fn ask(&mut self, now: Instant, question: Question) {
        if let Ok(probe) = self.endpoint.probe(now, question.peer, question.path) {
            self.questions.insert(probe, question);
        }
    }

    /// A probe has ended.
    pub(super) fn on_probed(&mut self, now: Instant, probe: ProbeId, rtt: Option<Duration>) {
        let Some(Question { peer, path, client }) = self.questions.remove(&probe) else { return };
        let Some(index) = self.place_of(peer) else { return };
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.endpoints.answers.entry(path.remote).or_default().take(rtt, now);
        let conn = &connection.config.name;
        let millis = rtt.map(|rtt| rtt.as_millis());
        tracing::debug!(target: "ike", event = "probed", %conn, peer = %path.remote, millis);
        match client {
            Some((client, goes)) => {
                let answer = self.answer_failover(now, index, path, (rtt, goes));
                self.devices.server.reply(client, &answer, now);
            }
            None => self.fail_back(now, index),
        }
    }

    /// Goes back to a preferred endpoint, if it is time.
    fn fail_back(&mut self, now: Instant, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let (Some(peer), Some(path)) = (connection.peer, connection.better(now)) else { return };
        connection.endpoints.rest_until = Some(now + REST);
        let conn = &connection.config.name;
        tracing::info!(target: "ike", event = "failing-back", %conn, to = %path.remote);
        // The drain that told of the answer goes on with what this leaves.
        let _ = self.endpoint.switch_to(now, peer, path);
    }

    /// Tells the endpoint the first paths of a connection that is not up. They are tried in their order, but begun with the one
    /// that somebody wanted before this start, or called at all if somebody did.
    pub(super) fn set_first_paths(&mut self, now: Instant, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let (Some(peer), paths) = (connection.peer, connection.paths.clone()) else { return };
        let calls = !paths.is_empty() && connection.decision == Some(Decision::Up);
        if let Some(held) = connection.held_path() {
            // With these it sets out at once, for the first of them.
            let others = paths.iter().copied().filter(|path| *path != held);
            let first: Vec<Path> = std::iter::once(held).chain(others).collect();
            let _ = self.endpoint.set_paths(now, peer, &first);
            let _ = self.endpoint.set_paths(now, peer, &paths);
            let _ = self.endpoint.switch_to(now, peer, held);
        } else {
            let _ = self.endpoint.set_paths(now, peer, &paths);
        }
        if calls {
            let _ = self.endpoint.connect(now, peer);
        }
    }

    /// `failover NAME`: asks the endpoint first, so the answer comes later, unless there is nothing to ask.
    pub(super) fn begin_failover(
        &mut self,
        now: Instant,
        client: Token,
        (name, to, probe): (&str, Option<&str>, bool),
    ) {
        let begun = self.whole(name, "failover").and_then(|index| {
            let beside = to.filter(|_| probe).and_then(|to| self.beside(index, to));
            beside.map_or_else(|| self.target(index, to), Ok)
        });
        match begun {
            Ok((peer, path)) => {
                self.ask(now, Question { peer, path, client: Some((client, !probe)) });
                self.drain(now);
            }
            Err(refusal) => self.devices.server.reply(client, &refusal, now),
        }
    }

    /// The path to the endpoint that `to` names, or to the one after that in use.
    fn target(&self, index: usize, to: Option<&str>) -> Result<(PeerId, Path), Response> {
        let refuse = |kind, message| Response::Refused { kind, message };
        let Some(connection) = self.connections.get(index) else {
            return Err(refuse(RefusalKind::UnknownName, "no such connection".to_owned()));
        };
        let name = &connection.config.name;
        let Some(peer) = connection.peer.filter(|_| connection.wanted) else {
            let message = format!("{name} is switched off; `s2s-gw up {name}` first");
            return Err(refuse(RefusalKind::NotNow, message));
        };
        let hosts = match &connection.config.peer {
            config::Peer::Any => &[],
            config::Peer::Hosts(hosts) => hosts.as_slice(),
        };
        let path = match to {
            Some(to) => connection.named(to, hosts),
            None => connection.next(),
        };
        path.map(|path| (peer, path)).ok_or_else(|| {
            let known: Vec<String> = hosts.iter().map(ToString::to_string).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let message = match to {
                Some(to) => {
                    format!("{name} has no endpoint {to} that we can call; there is {known}")
                }
                None => format!("{name} has no other endpoint that we can call; there is {known}"),
            };
            refuse(RefusalKind::BadRequest, message)
        })
    }

    /// The path to the NAT port of an endpoint, which may be asked beside the one that is called: a firewall may let only one of
    /// the two pass.
    fn beside(&self, index: usize, to: &str) -> Option<(PeerId, Path)> {
        let connection = self.connections.get(index).filter(|connection| connection.wanted)?;
        let remote: SocketAddr = to.parse().ok()?;
        let known = connection.paths.iter().find(|path| path.remote.ip() == remote.ip())?;
        let local = SocketAddr::new(known.local.ip(), self.gateway.nat_port);
        let is_it = remote.port() == NAT_PORT && known.remote != remote;
        is_it.then_some((connection.peer?, Path { local, remote }))
    }

    /// After the probe of a command.
    fn answer_failover(
        &mut self,
        now: Instant,
        index: usize,
        path: Path,
        (rtt, goes): (Option<Duration>, bool),
    ) -> Response {
        let Some(connection) = self.connections.get_mut(index) else {
            return Response::Done { message: String::new() };
        };
        let (name, remote) = (connection.config.name.clone(), path.remote);
        let Some(rtt) = rtt else {
            let stays = match connection.active() {
                Some(active) => format!("{name} stays at {active}"),
                None => format!("{name} is not up either"),
            };
            let message = format!("{remote} does not answer IKE_SA_INIT; {stays}");
            return Response::Refused { kind: RefusalKind::NotNow, message };
        };
        let took = words::round_trip(rtt);
        if !goes {
            return Response::Done { message: format!("{remote} answers, {took}") };
        }
        if connection.active().is_some_and(|active| active.ip() == remote.ip()) {
            connection.hold(path);
            self.remember();
            return Response::Done { message: format!("{name} is at {remote} already") };
        }
        connection.hold(path);
        connection.endpoints.rest_until = Some(now + REST);
        tracing::info!(target: "ike", event = "failover-requested", conn = %name, to = %remote);
        let message = format!("{name} goes to {remote}, which answered in {took}");
        if let Some(peer) = connection.peer {
            let _ = self.endpoint.switch_to(now, peer, path);
        }
        self.remember();
        Response::Done { message }
    }

    /// The SA that was to take the place of the one in use has failed; that one stays.
    pub(super) fn on_switch_failed(&mut self, now: Instant, peer: PeerId, why: &CloseReason) {
        let Some(index) = self.place_of(peer) else { return };
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.superseding.is_some() {
            // What a reload wanted, not an endpoint.
            return self.on_not_superseded(now, peer, why);
        }
        let conn = &connection.config.name;
        let explained = reason::explain_for(why, conn, &connection.config.policy.forbidden);
        tracing::warn!(
            target: "ike", event = "switch-failed", %conn, reason = explained.alert,
            code = explained.code, msg = explained.message, fix = explained.fix,
            stays = connection.active().map(tracing::field::display)
        );
        connection.endpoints.rest_until = Some(now + REST);
        connection.endpoints.held = None;
        self.memory.stale = true;
    }
}

impl Connection {
    /// Where the peer is, while it is up.
    pub(super) fn active(&self) -> Option<SocketAddr> {
        match &self.phase {
            Phase::Up { info } => Some(info.path.remote),
            Phase::Idle | Phase::Connecting { .. } | Phase::Failed { .. } => None,
        }
    }

    /// Whether we called the peer at an address that the configuration, by name or number, has for it.
    pub(super) fn is_at_a_configured_address(&self) -> bool {
        match &self.phase {
            Phase::Up { info } => info.initiator && self.rank(info.path.remote.ip()).is_some(),
            Phase::Idle | Phase::Connecting { .. } | Phase::Failed { .. } => false,
        }
    }

    /// The place in the configuration of the host with this address.
    fn rank(&self, address: IpAddr) -> Option<usize> {
        let mut ranked = self.paths.iter().zip(&self.endpoints.ranks);
        ranked.find(|(path, _)| path.remote.ip() == address).map(|(_, rank)| *rank)
    }

    /// The place of the host in use, if it is not the preferred one.
    pub(super) fn standby(&self) -> Option<usize> {
        self.rank(self.active()?.ip()).filter(|rank| *rank > 0)
    }

    /// Why that is worth a word.
    pub(super) fn standby_reason(&self) -> Option<Reason> {
        self.standby()?;
        let config::Peer::Hosts(hosts) = &self.config.peer else { return None };
        let answers = self.paths.first().and_then(|path| self.endpoints.answers.get(&path.remote));
        let well = answers.is_some_and(|answers| answers.well_since.is_some());
        Some(reason::on_standby(
            &self.active()?.to_string(),
            &hosts.first()?.to_string(),
            &self.config.name,
            well,
        ))
    }

    /// Stays at the host of this path, unless it is the preferred one, where it stays anyway.
    fn hold(&mut self, path: Path) {
        let config::Peer::Hosts(hosts) = &self.config.peer else { return };
        let rank = self.rank(path.remote.ip()).filter(|rank| *rank > 0);
        self.endpoints.held = rank.and_then(|rank| hosts.get(rank)).map(ToString::to_string);
    }

    /// The first path to the host that somebody wants, if it is not the preferred one.
    fn held_path(&self) -> Option<Path> {
        let config::Peer::Hosts(hosts) = &self.config.peer else { return None };
        self.named(self.endpoints.held.as_ref()?, hosts)
    }

    /// The place in the configuration of the host that somebody wants.
    fn held_rank(&self) -> Option<usize> {
        self.rank(self.held_path()?.remote.ip())
    }

    /// Notes where the name of the host in use leads; true if that is news.
    pub(super) fn note_good(&mut self, info: &IkeSaInfo) -> bool {
        let config::Peer::Hosts(hosts) = &self.config.peer else { return false };
        let address = info.path.remote.ip();
        let host = self.rank(address).filter(|_| info.initiator).and_then(|rank| hosts.get(rank));
        let Some(config::HostName::Dns(name)) = host.map(|host| &host.name) else { return false };
        self.good.insert(name.clone(), address) != Some(address)
    }

    /// The paths to hosts that are not in use, while one is.
    fn standbys(&self) -> Vec<Path> {
        let Some(active) = self.active().and_then(|active| self.rank(active.ip())) else {
            return Vec::new();
        };
        let ranked = self.paths.iter().zip(&self.endpoints.ranks);
        ranked.filter(|(_, rank)| **rank != active).map(|(path, _)| *path).collect()
    }

    /// The way back to a host that is preferred to the one in use, if it may be taken now.
    fn better(&self, now: Instant) -> Option<Path> {
        let failback = self.config.failover.as_ref()?.failback;
        let endpoints = &self.endpoints;
        let active = self.standby()?;
        if endpoints.held.is_some() || endpoints.rest_until.is_some_and(|until| now < until) {
            return None;
        }
        let ranked = self.paths.iter().zip(&endpoints.ranks);
        let mut preferred = ranked.filter(|(_, rank)| **rank < active).map(|(path, _)| *path);
        preferred.find(|path| {
            let answers = endpoints.answers.get(&path.remote);
            answers.is_some_and(|answers| answers.is_trusted(failback, now))
        })
    }

    /// The path to the endpoint that people call so: its name, its address, its address and port.
    fn named(&self, text: &str, hosts: &[config::Host]) -> Option<Path> {
        let called = |rank: usize| {
            hosts
                .get(rank)
                .is_some_and(|host| host.to_string() == text || host.name.to_string() == text)
        };
        let ranked = self.paths.iter().zip(&self.endpoints.ranks);
        let mut fitting = ranked.filter(|(path, rank)| {
            let remote = path.remote;
            called(**rank) || remote.ip().to_string() == text || remote.to_string() == text
        });
        fitting.next().map(|(path, _)| *path)
    }

    /// The path to the host after the one in use, in a circle.
    fn next(&self) -> Option<Path> {
        let ranked = || self.paths.iter().zip(&self.endpoints.ranks);
        let active = match &self.phase {
            Phase::Up { info } => self.rank(info.path.remote.ip()),
            Phase::Connecting { path, .. } => self.rank(path.remote.ip()),
            Phase::Idle | Phase::Failed { .. } => None,
        };
        let Some(active) = active else { return self.paths.first().copied() };
        let later = ranked().find(|(_, rank)| **rank > active);
        let other = later.or_else(|| ranked().find(|(_, rank)| **rank != active));
        other.map(|(path, _)| *path)
    }

    /// The IKE SA stands, perhaps at another endpoint than the last one.
    pub(super) fn arrive_at(&mut self, info: &IkeSaInfo) {
        let remote = info.path.remote;
        let Some(rank) = self.rank(remote.ip()) else { return };
        let left = self.endpoints.last.and_then(|(_, from)| self.rank(from.ip()));
        if left.is_some_and(|left| left != rank) && left == self.held_rank() {
            // Where it was held is gone, and an SA elsewhere was still there.
            self.endpoints.held = None;
        }
        let conn = &self.config.name;
        match self.endpoints.last {
            Some((last, from)) if rank < last => {
                self.tally.moved("failback");
                tracing::info!(target: "ike", event = "failback", %conn, %from, to = %remote);
            }
            Some((last, from)) if rank > last => {
                let code = reason::STANDBY;
                self.tally.moved("failover");
                tracing::warn!(target: "ike", event = "failover", %conn, %from, to = %remote, code);
            }
            None if rank > 0 => {
                let code = reason::STANDBY;
                self.tally.moved("failover");
                tracing::warn!(target: "ike", event = "failover", %conn, to = %remote, code);
            }
            Some(_) | None => {}
        }
        self.endpoints.last = Some((rank, remote));
    }

    /// The peer is gone: where it was is no place to stay at.
    pub(super) fn release_endpoint(&mut self, why: &CloseReason) {
        if *why != CloseReason::Local {
            self.endpoints.held = None;
        }
    }

    /// Every endpoint, where there are several.
    pub(super) fn endpoints_status(&self, now: Instant) -> Vec<EndpointStatus> {
        if self.paths.len() < 2 {
            return Vec::new();
        }
        let active = self.active();
        let each = self.paths.iter().map(|path| {
            let answers = self.endpoints.answers.get(&path.remote);
            let last = answers.and_then(|answers| answers.last);
            let word =
                |answers: &Answers| if answers.well_since.is_some() { "ok" } else { "failed" };
            EndpointStatus {
                address: path.remote.to_string(),
                active: active.is_some_and(|active| active.ip() == path.remote.ip()),
                probe: answers.map(|answers| word(answers).to_owned()),
                rtt_seconds: last.map(|(_, rtt)| rtt.as_secs_f64()),
                last_answer_seconds: last
                    .map(|(at, _)| now.saturating_duration_since(at).as_secs_f64()),
            }
        });
        each.collect()
    }
}

/// Of IKE and ESP behind NAT (RFC 7296 §2.23).
const NAT_PORT: u16 = 4500;

/// After an attempt to go elsewhere, whose end may take a quarter of a minute.
const REST: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn an_endpoint_is_trusted_when_it_has_answered_for_long_enough() {
        let start = clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let ten = Failback::After(Duration::from_secs(10));
        let rtt = Some(Duration::from_millis(18));
        let mut answers = Answers::default();
        assert!(!answers.is_trusted(Failback::Auto, at(0)), "never asked");
        answers.take(rtt, at(0));
        assert!(answers.is_trusted(Failback::Auto, at(0)));
        assert!(!answers.is_trusted(Failback::Manual, at(1000)));
        answers.take(rtt, at(9));
        assert!(!answers.is_trusted(ten, at(9)) && answers.is_trusted(ten, at(10)));
        answers.take(None, at(11));
        assert!(!answers.is_trusted(Failback::Auto, at(11)));
        answers.take(rtt, at(12));
        assert!(!answers.is_trusted(ten, at(21)) && answers.is_trusted(ten, at(22)));
    }

    fn two_hosts(now: Instant) -> Connection {
        let mut one = super::super::connection::tests::connection(ikev2::Start::Always, now);
        let path = |remote: &str| Path {
            local: "192.0.2.1:500".parse().expect("an address"),
            remote: remote.parse().expect("an address"),
        };
        one.paths = vec![path("192.0.2.2:500"), path("192.0.2.9:500"), path("198.51.100.3:500")];
        // The first host has two addresses.
        one.endpoints.ranks = vec![0, 0, 1];
        one
    }

    #[test]
    fn the_next_endpoint_is_another_host_and_names_find_theirs() {
        let one = two_hosts(clock::now());
        let host =
            |text: &str| config::Host { name: config::HostName::Dns(text.to_owned()), port: None };
        let hosts = [host("ber-a.example.com"), host("ber-b.example.com")];
        let to = |text: &str| one.named(text, &hosts).map(|path| path.remote.to_string());
        assert_eq!(to("ber-b.example.com").as_deref(), Some("198.51.100.3:500"));
        assert_eq!(to("192.0.2.9").as_deref(), Some("192.0.2.9:500"));
        assert_eq!(to("192.0.2.7"), None);
        assert_eq!(
            one.next().map(|path| path.remote.to_string()).as_deref(),
            Some("192.0.2.2:500")
        );
        let mut connecting = two_hosts(clock::now());
        for (from, expected) in [(0, 2), (1, 2), (2, 0)] {
            let path = connecting.paths[from];
            connecting.phase = Phase::Connecting { attempt: 1, path };
            assert_eq!(connecting.next(), Some(connecting.paths[expected]), "{from}");
        }
    }

    /// The IKE SA at the endpoint that a command went to dies while the one before it is still there.
    #[test]
    fn an_endpoint_that_it_falls_back_from_is_not_held_any_more() {
        let now = clock::now();
        let mut one = two_hosts(now);
        let host =
            |text: &str| config::Host { name: config::HostName::Dns(text.to_owned()), port: None };
        one.config.peer = config::Peer::Hosts(vec![host("ber-a.test"), host("ber-b.test")]);
        let [first, other, held] = [0, 1, 2].map(|place| {
            let path = one.paths[place];
            Box::new(IkeSaInfo { path, ..*super::super::connection::tests::info(now) })
        });
        one.on_up(first.clone(), now);
        one.hold(held.path);
        // Replaced on the way.
        one.on_rekeyed(first.clone());
        assert!(one.endpoints.held.is_some());
        one.on_rekeyed(held.clone());
        one.on_rekeyed(held);
        assert!(one.endpoints.held.is_some());
        one.on_rekeyed(other);
        assert_eq!(one.endpoints.held, None);
    }
}
