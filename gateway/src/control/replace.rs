//! What a reload began and time completes: children that go when others carry their packets, and IKE SAs that are to take
//! the place of others.
//!
//! ```text
//!   child   InUse ─── successors carry all of it ──► Succeeded ──1 s──► Unused ──1 s──► DELETE     never a moment without
//!             ├────── the peer deleted it, or the IKE SA ended ───────────────────────► gone
//!             └────── 5 s without a successor: asked for, though it was the peer's to ask
//!   IKE SA  supersede ──► up: done     not: W0601, again in a minute
//! ```
//!
//! The steps are a second apart: the peer has its half of a new SA when we begin to send on it, and what we sent on the
//! old one has arrived when we delete that.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ikev2::pki::AuthProblem;
use ikev2::{CloseReason, PeerId};
use ipnet::IpNet;

use super::connection::{Child, Connection, Departure, Leaving};
use super::{Control, diff, paths};
use crate::config;
use crate::status::{Code, reason};

impl Control {
    /// One step for every child that is leaving.
    pub(super) fn see_off_leaving(&mut self, now: Instant) {
        for index in 0..self.connections.len() {
            let Some(connection) = self.connections.get_mut(index) else { continue };
            if connection.leaving.is_empty() {
                continue;
            }
            let ready: Vec<bool> =
                connection.leaving.iter().map(|one| is_succeeded(one, connection)).collect();
            let mut unused = false;
            for (leaving, ready) in connection.leaving.iter_mut().zip(ready) {
                leaving.stage = match (leaving.stage, ready) {
                    (Departure::InUse, true) => Departure::Succeeded,
                    (Departure::Succeeded, true) => Departure::Unused,
                    (Departure::InUse | Departure::Succeeded, false) => Departure::InUse,
                    (Departure::Unused | Departure::Gone, _) => {
                        unused = true;
                        Departure::Gone
                    }
                };
            }
            if unused {
                self.dismiss(now, index);
            }
            self.ask_instead(now, index);
            self.publish_policy();
        }
    }

    /// Asks for what the peer was to ask for and did not: it may have asked before we knew of the change, and been given
    /// less than it wanted.
    fn ask_instead(&mut self, now: Instant, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let Some(peer) = connection.peer else { return };
        let all = || connection.config.children.iter().zip(&connection.children);
        let mut wanted = BTreeSet::new();
        for leaving in &mut connection.leaving {
            if leaving.stage == Departure::InUse && leaving.ask_at.is_some_and(|at| at <= now) {
                leaving.ask_at = None;
                let successors = all().filter(|(config, _)| diff::overlap(config, &leaving.config));
                let missing = successors.filter(|(_, child)| child.live.is_empty());
                wanted.extend(missing.filter_map(|(_, child)| child.index));
            }
        }
        for number in wanted {
            // The peer is known, and so are its children.
            let _ = self.endpoint.ask_for_child(now, peer, number);
            self.drain(now);
        }
    }

    /// The same at once for those whose SAs have ended by themselves.
    pub(super) fn dismiss_dead(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let dead = connection.leaving.iter_mut().filter(|one| one.child.live.is_empty());
        let dead: Vec<&mut Leaving> = dead.collect();
        if !dead.is_empty() {
            // The endpoint is told with the next step: it is in the midst of telling us.
            for leaving in dead {
                leaving.stage = Departure::Unused;
            }
            self.publish_policy();
        }
    }

    /// Removes those into which no packet has gone since the step before.
    fn dismiss(&mut self, now: Instant, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let goes = |leaving: &mut Leaving| leaving.stage == Departure::Gone;
        let gone: Vec<Leaving> = connection.leaving.extract_if(.., goes).collect();
        let Some(peer) = connection.peer else { return };
        for Leaving { child, .. } in gone {
            for sa in self.installer.of_peer(peer, Some(child.slot)) {
                // What the peer has sent on it may still be on its way, as after a rekey.
                self.installer.remove(&self.dataplane, now, sa, &CloseReason::Rekeyed);
            }
            self.remove_child(now, peer, &child);
        }
    }

    /// Takes a child out of the endpoint, which has it deleted.
    pub(super) fn remove_child(&mut self, now: Instant, peer: PeerId, child: &Child) {
        if let Some(number) = child.index {
            // It is known unless it was removed before.
            let _ = self.endpoint.remove_child(now, peer, number);
            self.drain(now);
        }
    }

    /// Begins, or begins again, what waits for its time.
    pub(super) fn supersede_again(&mut self, now: Instant) {
        for index in 0..self.connections.len() {
            let Some(connection) = self.connections.get_mut(index) else { continue };
            let Some(peer) = connection.peer else { continue };
            let Some(superseding) = &mut connection.superseding else { continue };
            if superseding.retry_at.is_none_or(|at| at > now) {
                continue;
            }
            let turn = superseding.failures % connection.paths.len().max(1);
            let Some(path) = connection.paths.get(turn).copied() else { continue };
            superseding.retry_at = None;
            let conn = &connection.config.name;
            tracing::info!(target: "ike", event = "superseding", %conn, peer = %path.remote);
            let _ = self.endpoint.supersede(now, peer, path);
            self.drain(now);
        }
    }

    /// The new IKE SA could not be had: the tunnel goes on with the old one.
    pub(super) fn on_not_superseded(&mut self, now: Instant, peer: PeerId, why: &CloseReason) {
        let Some(index) = self.place_of(peer) else { return };
        let Some(connection) = self.connections.get_mut(index) else { return };
        let Some(superseding) = &mut connection.superseding else { return };
        superseding.failures += 1;
        superseding.retry_at = Some(now + AGAIN);
        let conn = &connection.config.name;
        let explained = reason::explain_for(why, conn, &connection.config.policy.forbidden);
        tracing::warn!(
            target: "ike", event = "not-superseded", %conn, code = Code::OldCredentials.id(),
            reason = explained.alert, msg = explained.message, fix = explained.fix,
            retry_in = AGAIN.as_secs()
        );
        if let CloseReason::NotProved { problem, .. } = why
            && matches!(**problem, AuthProblem::Revoked { .. })
        {
            // Whoever took its certificate back does not want the old SA to go on either.
            self.unwanted.push(peer);
        }
    }
}

/// Whether every pair of networks that a leaving child carries, and that is still wanted, is carried by another one.
fn is_succeeded(leaving: &Leaving, connection: &Connection) -> bool {
    let successors = || {
        let all = connection.config.children.iter().zip(&connection.children);
        all.filter(|(config, _)| diff::overlap(config, &leaving.config))
    };
    let mut wanted = successors().flat_map(|(config, child)| {
        pairs(config).filter(|pair| meets(&leaving.child, *pair)).map(move |pair| (child, pair))
    });
    wanted.all(|(child, pair)| meets(child, pair))
}

fn pairs(config: &config::Child) -> impl Iterator<Item = (&IpNet, &IpNet)> {
    config.local.iter().flat_map(|local| config.remote.iter().map(move |remote| (local, remote)))
}

/// Whether an SA of the child carries packets between these networks, or what the peer left of them.
fn meets(child: &Child, (local, remote): (&IpNet, &IpNet)) -> bool {
    let (local, remote) = (paths::selector(local), paths::selector(remote));
    let meet = |list: &[ikev2::TrafficSelector], wanted: &ikev2::TrafficSelector| {
        list.iter().any(|ts| ts.contains(wanted) || wanted.contains(ts))
    };
    let carries =
        |traffic: &ikev2::Traffic| meet(&traffic.local, &local) && meet(&traffic.remote, &remote);
    child.live.iter().any(|(_, traffic)| carries(traffic))
}

/// Between two attempts to make a new IKE SA beside the old one.
const AGAIN: Duration = Duration::from_mins(1);
