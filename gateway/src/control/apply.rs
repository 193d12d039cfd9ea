//! The difference between two configurations, put in force: connection by connection, child by child.
//!
//! ```text
//!   put_in_force ─► take_down   removed, disabled                     DELETE, peer forgotten
//!                ─► rearrange   in the order of the new file ─► change   child by child; what stays keeps slot, SAs, counters
//!                               │                             renew    new SAs where the difference asks for them
//!                               └► new ones: Connection::new
//!                ─► policy, routes, `enable`, then routes that nobody needs any more are removed
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::certificates;
use super::connection::{Connection, Departure, Leaving, Phase, Superseding};
use super::diff::{self, Changed, Difference, Plan};
use super::paths::{self, Paths};
use super::{Child, Control, start};
use crate::clock;
use crate::config::{self, Config};
use crate::dataplane::SlotId;

impl Control {
    /// The difference, connection by connection. From here on nothing fails as a whole.
    pub(super) fn put_in_force(
        &mut self,
        now: Instant,
        config: Config,
        plan: &Plan,
        at_once: bool,
    ) {
        let keeps_others = !config.left_out_files.is_empty();
        self.memory.reconfigure(config.gateway.state.as_deref(), keeps_others);
        self.devices.server.reconfigure_page(config.gateway.http.as_ref());
        self.gateway = config.gateway;
        let other = self.log != config.log;
        self.log = config.log;
        self.relog(other, &config.connections);
        self.security = config.security;
        self.warnings = certificates::lasting(&config.warnings);
        self.resolver.reconfigure(start::names(&config.connections), now);
        for (name, difference) in &plan.differences {
            if matches!(difference, Difference::Removed | Difference::Disabled) {
                self.take_down(now, name);
            }
        }
        self.rearrange(now, config.connections, plan, at_once);
        self.tunnel.guard(&self.connections, self.gateway.leak_protection);
        self.host.protect(&self.gateway.tun, self.gateway.leak_protection);
        // A packet finds a policy before it finds a route, and a new route before the old one is gone.
        self.publish_policy();
        for index in 0..self.connections.len() {
            let Some(connection) = self.connections.get_mut(index) else { continue };
            if connection.peer.is_some() && plan.differences.contains_key(&connection.config.name) {
                self.tunnel.install(connection, &connection.paths);
                connection.lacks_route = self.tunnel.is_incomplete(&connection.config);
            }
            self.enable(now, index);
        }
        self.tunnel.retain(&self.connections);
        self.tunnel.unguard(&self.connections, self.gateway.leak_protection);
        let wall = clock::wall();
        for connection in &mut self.connections {
            // Whoever reloads wants to know now.
            if let Some(superseding) = &mut connection.superseding
                && superseding.retry_at.is_some()
            {
                superseding.retry_at = Some(now);
            }
            connection.refresh(now, wall);
        }
        self.supersede_again(now);
    }

    /// A connection is gone, or switched off: its SAs are deleted with a word to the peer.
    fn take_down(&mut self, now: Instant, name: &str) {
        let Some(index) = self.connections.iter().position(|c| c.config.name == name) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.wanted = false;
        connection.decision = None;
        connection.forgive();
        if let Some(peer) = connection.peer {
            // Its SAs end in events that need to know whose they are.
            let _ = self.endpoint.remove_peer(now, peer);
            self.drain(now);
            self.places.remove(&peer);
        }
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.peer = None;
        connection.phase = Phase::Idle;
        connection.paths.clear();
        connection.no_path = None;
        connection.leaving.clear();
        connection.redirect = None;
        for child in &mut connection.children {
            child.down = false;
            child.index = None;
        }
    }

    /// The connections in the order of the new configuration: those that there are keep all that they are.
    fn rearrange(
        &mut self,
        now: Instant,
        configured: Vec<config::Connection>,
        plan: &Plan,
        at_once: bool,
    ) {
        let old = std::mem::take(&mut self.connections);
        let mut known: BTreeMap<String, Connection> =
            old.into_iter().map(|c| (c.config.name.clone(), c)).collect();
        let kept: BTreeSet<&str> = configured.iter().map(|c| c.name.as_str()).collect();
        known.retain(|name, _| kept.contains(name.as_str()));
        let mut slots = Slots::beside(known.values());
        let wall = clock::wall();
        let mut known_again = Vec::new();
        for config in configured {
            let index = self.connections.len();
            let connection = if let Some(connection) = known.remove(&config.name) {
                known_again.push((index, config));
                connection
            } else {
                let count = config.children.len();
                let mut fresh = Connection::new(config, slots.by_ref().take(count), now, wall);
                if let Some(kept) = self.memory.of(&fresh.config.name) {
                    // Its file was left out when the gateway started.
                    fresh.recall(kept);
                }
                fresh
            };
            self.connections.push(connection);
        }
        self.places = self.connections.iter().enumerate().filter_map(place).collect();
        for (index, config) in known_again {
            match plan.differences.get(&config.name) {
                None | Some(Difference::Added | Difference::Removed) => {}
                Some(Difference::Disabled) => self.exchange(index, config, None, &mut slots, now),
                Some(Difference::Enabled(changed)) => {
                    self.change(now, index, config, changed, &mut slots);
                    if let Some(connection) = self.connections.get_mut(index) {
                        connection.wanted = true;
                        connection.decision = None;
                    }
                }
                Some(Difference::Changed(changed)) => {
                    self.change(now, index, config, changed, &mut slots);
                    self.renew(now, index, changed, at_once);
                }
            }
        }
    }

    /// Another configuration for a connection that has no peer in the endpoint.
    fn exchange(
        &mut self,
        index: usize,
        config: config::Connection,
        changed: Option<&Changed>,
        slots: &mut Slots,
        now: Instant,
    ) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let kept = changed.map_or_else(Vec::new, |changed| changed.kept.clone());
        let mut old: Vec<Option<Child>> = connection.children.drain(..).map(Some).collect();
        for place in 0..config.children.len() {
            let known = kept.get(place).copied().flatten();
            let known = known.and_then(|place| old.get_mut(place)?.take());
            let child = known.or_else(|| Some(Child::new(slots.next()?, None, now, clock::wall())));
            connection.children.extend(child);
        }
        connection.path_mtu.limit(config.mtu);
        connection.config = config;
    }

    /// Another configuration for a connection of the same name: what is of the same networks goes on as it is.
    fn change(
        &mut self,
        now: Instant,
        index: usize,
        config: config::Connection,
        changed: &Changed,
        slots: &mut Slots,
    ) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let Some(peer) = connection.peer else {
            return self.exchange(index, config, Some(changed), slots, now);
        };
        let mut old: Vec<Option<(config::Child, Child)>> = connection
            .config
            .children
            .drain(..)
            .zip(connection.children.drain(..))
            .map(Some)
            .collect();
        let mut added = Vec::new();
        for (place, kept) in changed.kept.iter().enumerate() {
            let known = kept.and_then(|place| old.get_mut(place)?.take()).map(|(_, child)| child);
            if known.is_none() {
                added.push(place);
            }
            let child = known.or_else(|| Some(Child::new(slots.next()?, None, now, clock::wall())));
            connection.children.extend(child);
        }
        connection.path_mtu.limit(config.mtu);
        connection.config = config;
        // What is missed of it may depend on the routes.
        connection.children.iter_mut().for_each(|child| child.narrowing.changed(now));
        let mut gone = Vec::new();
        // Those of an earlier change wait for successors that are new, too.
        connection.leaving.iter_mut().for_each(|one| one.ask_at = Some(now + PATIENCE));
        for (config, child) in old.into_iter().flatten() {
            let new = |place: &usize| connection.config.children.get(*place);
            let replaced = added.iter().filter_map(new).any(|new| diff::overlap(&config, new));
            if replaced && !child.live.is_empty() {
                let (stage, ask_at) = (Departure::InUse, Some(now + PATIENCE));
                connection.leaving.push(Leaving { config, child, stage, ask_at });
            } else {
                gone.push(child);
            }
        }
        let found = Paths::find(&self.gateway, &connection.config, &self.resolver);
        if changed.supersede && found.usable.is_empty() {
            // Those that are known may lead to where the peer is not any more.
            connection.paths.clear();
        }
        connection.on_paths(found);
        let workers = self.dataplane.workers();
        let paths = connection.paths.clone();
        let config = paths::peer_config(&connection.config, paths, workers);
        let mss_clamp = connection.config.mss_clamp;
        let children = config.children.clone();
        // The peer is known: it was looked up above. The same goes for its children.
        let _ = self.endpoint.reconfigure(now, peer, config);
        self.drain(now);
        for (place, config) in children.into_iter().enumerate() {
            let Some(connection) = self.connections.get_mut(index) else { return };
            let Some(child) = connection.children.get_mut(place) else { continue };
            match child.index {
                Some(number) => {
                    let _ = self.endpoint.reconfigure_child(now, peer, number, config);
                }
                None if child.down => {}
                None => child.index = self.endpoint.add_child(now, peer, config).ok(),
            }
            self.drain(now);
        }
        for child in gone {
            self.remove_child(now, peer, &child);
        }
        self.installer.clamp(&self.dataplane, peer, mss_clamp);
        self.apply_path_mtu(index);
        self.reschedule(index);
    }

    /// The moments of the next rekeys, which a new lifetime has changed.
    fn reschedule(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let Some(peer) = connection.peer else { return };
        if let (Phase::Up { info }, Some(now)) = (&mut connection.phase, self.endpoint.ike_sa(peer))
        {
            info.rekey_at = now.rekey_at;
        }
        for child in self.installer.of_peer(peer, None) {
            if let Some(at) = self.endpoint.child_rekey_at(child) {
                self.installer.reschedule(child, at);
            }
        }
    }

    /// New SAs where the changes ask for them.
    fn renew(&mut self, now: Instant, index: usize, changed: &Changed, at_once: bool) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let Some(peer) = connection.peer else { return };
        if !matches!(connection.phase, Phase::Up { .. }) {
            // What failed may work now; an attempt that runs has begun with what is not true any more.
            if changed.supersede || changed.ike_proposals {
                connection.forgive();
                if let Some(path) = connection.paths.first().copied() {
                    let _ = self.endpoint.supersede(now, peer, path);
                    self.drain(now);
                }
            }
            return;
        }
        if changed.supersede && diff::calls(&connection.config) {
            connection.superseding = Some(Superseding { failures: 0, retry_at: Some(now) });
            return self.supersede_again(now);
        }
        if changed.ike_proposals && at_once {
            let _ = self.endpoint.rekey_ike(now, peer);
            self.drain(now);
        }
        if changed.rekey_children {
            let Some(connection) = self.connections.get(index) else { return };
            let slots = connection.children.iter().map(|child| child.slot);
            let children: Vec<ikev2::ChildId> =
                slots.flat_map(|slot| self.installer.of_peer(peer, Some(slot))).collect();
            for child in children {
                // Of two SA pairs of one child the older is on its way out already; the endpoint knows.
                let _ = self.endpoint.rekey_child(now, child);
                self.drain(now);
            }
        }
    }
}

/// How long the peer has to ask for a child that was changed here: it may be told of the change a moment later.
const PATIENCE: Duration = Duration::from_secs(5);

fn place((index, connection): (usize, &Connection)) -> Option<(ikev2::PeerId, usize)> {
    Some((connection.peer?, index))
}

/// Slots that no child has, the lowest first.
struct Slots {
    taken: BTreeSet<SlotId>,
    next: u32,
}

impl Slots {
    fn beside<'c>(connections: impl Iterator<Item = &'c Connection>) -> Self {
        let of = |c: &'c Connection| {
            c.children.iter().chain(c.leaving.iter().map(|leaving| &leaving.child))
        };
        Self { taken: connections.flat_map(of).map(|child| child.slot).collect(), next: 0 }
    }
}

impl Iterator for Slots {
    type Item = SlotId;

    fn next(&mut self) -> Option<SlotId> {
        while self.taken.contains(&SlotId(self.next)) {
            self.next += 1;
        }
        let slot = SlotId(self.next);
        self.next += 1;
        (slot <= SlotId::MAX).then_some(slot)
    }
}

#[cfg(test)]
mod tests;
