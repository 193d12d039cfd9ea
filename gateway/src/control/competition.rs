//! Which of several connections for the same networks carries their packets: the best one that is up.
//!
//! ```text
//!   aws-1  10.2.0.0/16  metric 100  no SA   ──┐
//!   aws-2  10.2.0.0/16  metric 200  up      ──┴─► rank (standing, metric): aws-2, until aws-1 has an SA again
//!   berlin 10.3.0.0/16  metric 100          ────► no rival: its coming and going changes no policy
//! ```
//!
//! Rules are made anew as a whole, so only where a rival is touched, and at most ten times a second: with thousands of such
//! pairs coming up at once the policy would be all that this thread does.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::connection::{Child, Connection};
use super::monitors::monitor_source;
use super::{Control, install, paths};
use crate::config;
use crate::dataplane::{Policy, Rank, Rule, Standing, TxCommand};

/// When the data plane is told.
#[derive(Debug, Default)]
pub(super) struct Publication {
    /// It was last.
    last: Option<Instant>,
    /// Something changed since: it is then.
    due: Option<Instant>,
}

impl Publication {
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Something changed: at once, or when the last time is long enough ago.
    fn ask(&mut self, now: Instant) {
        let at = self.last.map_or(now, |last| now.max(last + BREATH));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    fn take_due(&mut self, now: Instant) -> bool {
        self.due.take_if(|at| *at <= now).is_some()
    }
}

impl Control {
    /// Tells the data plane which packets belong to which child: those of every connection that was ever enabled. For after
    /// a change of what is configured.
    pub(super) fn publish_policy(&mut self) {
        let configs: Vec<&config::Connection> =
            self.connections.iter().map(|connection| &connection.config).collect();
        let rivals = rivals(&configs);
        for (connection, has_rival) in self.connections.iter_mut().zip(rivals) {
            connection.has_rival = has_rival;
        }
        self.send_policy();
        self.renew_captures();
    }

    fn send_policy(&self) {
        let rules = self.rules();
        self.dataplane.tx(TxCommand::Policy(Arc::new(Policy::new(&rules))));
    }

    /// Every line of the policy.
    pub(super) fn rules(&self) -> Vec<Rule> {
        let all = self.connections.iter().filter(|c| c.wanted || c.peer.is_some());
        all.flat_map(rules).collect()
    }

    /// A child of this connection came, went, or is doubted.
    pub(super) fn on_standing(&mut self, index: usize, now: Instant) {
        if self.connections.get(index).is_some_and(|connection| connection.has_rival) {
            self.publication.ask(now);
        }
    }

    /// Tells the data plane who carries now, if that may have changed.
    pub(super) fn settle_competition(&mut self, now: Instant) {
        if self.publication.take_due(now) {
            self.publication.last = Some(now);
            self.send_policy();
        }
    }
}

impl Connection {
    /// What a child of it can do. Without a rival it does not matter, and is not followed.
    fn standing(&self, child: &Child) -> Standing {
        match self.has_rival {
            true if child.live.is_empty() => Standing::Down,
            true if self.failed_monitor().is_some() => Standing::Doubtful,
            true | false => Standing::Good,
        }
    }
}

/// The lines of one connection.
fn rules(connection: &Connection) -> Vec<Rule> {
    // What goes when others carry its packets comes before those, of lines that are alike.
    let leaving = || connection.leaving.iter().filter(|one| one.stage.is_used());
    let early = |network: &&IpNet| {
        let mut old = leaving().flat_map(|leaving| &leaving.config.remote);
        !old.any(|old| old.contains(*network) && old != *network)
    };
    let mut rules = Vec::new();
    for one in leaving() {
        rules.push(rule(connection, &one.child, &one.config.local, &one.config.remote));
    }
    for (configured, child) in connection.config.children.iter().zip(&connection.children) {
        // A smaller network would be preferred to that of the child that still carries its packets.
        let remote = configured.remote.iter().filter(early);
        rules.push(rule(connection, child, &configured.local, remote));
        if connection.has_rival {
            rules.extend(questions(connection, configured, child));
        }
    }
    rules
}

fn rule<'n>(
    connection: &Connection,
    child: &Child,
    local: impl IntoIterator<Item = &'n IpNet>,
    remote: impl IntoIterator<Item = &'n IpNet>,
) -> Rule {
    let selector = |network| install::selector(&paths::selector(network));
    let selectors = esp::Selectors {
        local: local.into_iter().map(selector).collect(),
        remote: remote.into_iter().map(selector).collect(),
    };
    let rank = Rank { standing: connection.standing(child), metric: connection.config.metric };
    Rule { slot: child.slot, selectors: Arc::new(selectors), rank }
}

/// The questions of its monitors go through a connection even while a rival of it carries everything else: otherwise they would
/// find that the rival is well. Of rivals that ask the same host from the same address the better one is asked about.
fn questions(connection: &Connection, configured: &config::Child, child: &Child) -> Vec<Rule> {
    let address = |ip: IpAddr| install::selector(&paths::selector(&ip.into()));
    let all = connection.config.monitors.iter();
    let fitting = all.filter(|one| configured.remote.iter().any(|to| to.contains(&one.target)));
    let rules = fitting.filter_map(|one| {
        let source = monitor_source(connection, one.target)?;
        let selectors =
            esp::Selectors { local: vec![address(source)], remote: vec![address(one.target)] };
        let rank = Rank { metric: connection.config.metric, ..Rank::default() };
        Some(Rule { slot: child.slot, selectors: Arc::new(selectors), rank })
    });
    rules.collect()
}

/// Which of these connections want packets that another one of them wants, too: those with a remote network that another one
/// has, and local networks that have addresses in common with its.
fn rivals(connections: &[&config::Connection]) -> Vec<bool> {
    let mut claims: HashMap<IpNet, Vec<Claim>> = HashMap::new();
    for (owner, connection) in connections.iter().enumerate() {
        for child in &connection.children {
            for remote in &child.remote {
                let locals = child.local.iter().map(|local| Claim {
                    start: local.network(),
                    end: local.broadcast(),
                    owner,
                });
                claims.entry(*remote).or_default().extend(locals);
            }
        }
    }
    let mut found = vec![false; connections.len()];
    for mut claims in claims.into_values().filter(|claims| claims.len() > 1) {
        // Networks are nested or have nothing in common, so that the widest of those that overlap begins first.
        claims.sort_unstable_by(|a, b| (a.start, b.end).cmp(&(b.start, a.end)));
        let mut rest = claims.as_slice();
        while let Some(wide) = rest.first() {
            let inside = rest.iter().take_while(|claim| claim.start <= wide.end).count();
            let (overlapping, after) = rest.split_at(inside);
            mark(overlapping, &mut found);
            rest = after;
        }
    }
    found
}

/// The addresses of a local network, and whose.
struct Claim {
    start: IpAddr,
    end: IpAddr,
    owner: usize,
}

/// Marks the owners of claims that overlap, if they are several.
fn mark(overlapping: &[Claim], found: &mut [bool]) {
    let first = overlapping.first().map(|claim| claim.owner);
    if overlapping.iter().all(|claim| Some(claim.owner) == first) {
        return;
    }
    for claim in overlapping {
        if let Some(place) = found.get_mut(claim.owner) {
            *place = true;
        }
    }
}

/// Between two policies, if it is not for a command.
const BREATH: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use ikev2::Start;

    use super::*;
    use crate::clock;

    fn connection(local: &[&str], remote: &[&str]) -> config::Connection {
        let mut one =
            super::super::connection::tests::connection(Start::Always, clock::now()).config;
        let networks =
            |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect();
        one.children.truncate(1);
        for child in &mut one.children {
            child.local = networks(local);
            child.remote = networks(remote);
        }
        one
    }

    #[test]
    fn rivals_are_those_that_want_the_same_packets() {
        let all = [
            connection(&["10.1.0.0/16"], &["10.2.0.0/16"]),
            connection(&["10.1.7.0/24"], &["10.9.0.0/16", "10.2.0.0/16"]),
            connection(&["10.3.0.0/16"], &["10.2.0.0/16"]),
            connection(&["10.1.0.0/16"], &["10.2.0.0/24"]),
            connection(&["0.0.0.0/0"], &["10.8.0.0/16"]),
            connection(&["10.1.0.0/24", "10.1.1.0/24"], &["10.8.0.0/16"]),
            connection(&["10.1.0.0/24", "10.1.0.0/16"], &["10.7.0.0/16"]),
            connection(&["10.1.0.0/16", "10.1.1.0/24"], &["10.6.0.0/16"]),
            connection(&["10.1.9.0/24"], &["10.6.0.0/16"]),
        ];
        let all: Vec<_> = all.iter().collect();
        assert_eq!(rivals(&all), [true, true, false, false, true, true, false, true, true]);
    }

    #[test]
    fn ten_thousand_connections_are_compared_without_comparing_each_with_each() {
        let local = |i: u32| format!("10.{}.{}.0/24", i / 250, i % 250);
        let mut all: Vec<_> =
            (0..10_000).map(|i| connection(&[&local(i)], &["0.0.0.0/0"])).collect();
        all.push(connection(&["10.3.7.0/24"], &["0.0.0.0/0"]));
        let found = rivals(&all.iter().collect::<Vec<_>>());
        let marked: Vec<usize> = (0..found.len()).filter(|i| found[*i]).collect();
        assert_eq!(marked, [3 * 250 + 7, 10_000]);
    }

    #[test]
    fn a_policy_is_published_at_once_and_then_not_again_at_once() {
        let start = clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut publication = Publication::default();
        publication.ask(at(0));
        assert!(publication.take_due(at(0)) && !publication.take_due(at(0)));
        publication.last = Some(at(0));
        publication.ask(at(10));
        publication.ask(at(50));
        assert_eq!(publication.deadline(), Some(at(100)));
        assert!(!publication.take_due(at(99)) && publication.take_due(at(100)));
    }
}
