//! What has to be looked at now and then: usage, rates, keepalives, paths, routes.
//!
//! ```text
//!   every second      usage ─► endpoint (lifetimes, liveness); rates; states; NAT keepalives; silent clients
//!   every 10 seconds  routes to peers and our addresses, which may have changed; sooner if the kernel says so
//!   on an answer      names of peers
//! ```

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use ikev2::{DpdAction, PacketSelectors, Start};

use super::connection::Phase;
use super::events::hex;
use super::paths::{self, Paths};
use super::{Connection, Control, Run, diff};
use crate::clock;
use crate::config::{HostName, Peer};
use crate::dataplane::SlotId;
use crate::status::{State, reason};

impl Control {
    /// Once a second.
    pub(super) fn on_tick(&mut self, now: Instant) {
        self.look_at_sleep(now, clock::since_boot());
        let usages: Vec<_> = self.installer.usages().collect();
        for (child, usage) in usages {
            self.endpoint.report_usage(now, child, usage);
            self.drain(now);
        }
        self.look_at_narrowing(now);
        self.look_at_device(now);
        self.look_at_sending(now);
        let wall = clock::wall();
        for connection in &mut self.connections {
            for child in &mut connection.children {
                child.measure(now);
                child.refresh(now, wall);
            }
            if let Some(state) = connection.refresh(now, wall) {
                let conn = &connection.config.name;
                let reason = connection.reason(now).map(|reason| reason.alert);
                tracing::info!(target: "ike", event = "state", %conn, state = state.word(), reason);
            }
        }
        self.check_pfs(now);
        self.look_at_host(now);
        self.watch_certificates(now);
        self.watch_endpoints(now);
        self.watch_monitors();
        self.see_off_leaving(now);
        self.supersede_again(now);
        self.send_keepalives(now);
        self.forget_path_mtus(now);
        self.devices.server.handle_timeout(now);
        self.follow_names(now);
        self.resolver.handle_timeout(now);
        self.tell_manager(now);
        self.remember_changes();
        if self.refused_this_second > 0 {
            let count = std::mem::take(&mut self.refused_this_second);
            tracing::debug!(target: "ike", event = "refused-last-second", count);
        }
    }

    /// Shows the service manager that we are alive, and how well.
    fn tell_manager(&mut self, now: Instant) {
        let wanted = || self.connections.iter().filter(|connection| connection.desired_up());
        let up = wanted().filter(|connection| connection.state(now) == State::Up).count();
        let wanted = wanted().count();
        self.manager.tick(up, wanted);
    }

    /// Looks at routes and addresses again. What changes while it looks is looked at later.
    pub(super) fn upkeep(&mut self, now: Instant) {
        if self.devices.changes.drain().is_some_and(|news| news.lost_ours) {
            self.tunnel.restore();
        }
        self.tunnel.complete(&self.connections, self.gateway.leak_protection);
        self.upkeep_at = now + UPKEEP;
        self.upkept_at = now;
        self.reloading.look(now);
        self.refresh_paths(now);
        self.look_at_egress();
    }

    /// Links, addresses or routes changed, perhaps by our own doing.
    pub(super) fn on_changes(&mut self, now: Instant) {
        if let Some(news) = self.devices.changes.drain() {
            self.look_at_device(now);
            if news.lost_ours {
                self.tunnel.restore();
            }
            self.upkeep_at = upkeep_after_change(self.upkeep_at, self.upkept_at, now);
        }
    }

    /// Keeps the binding of a NAT before us alive (RFC 3948 §4). Sent whether or not the tunnel was idle: it is one octet.
    fn send_keepalives(&mut self, now: Instant) {
        for connection in &mut self.connections {
            let Phase::Up { info } = &connection.phase else { continue };
            if info.nat_local && connection.keepalive_at.is_some_and(|at| at <= now) {
                connection.keepalive_at = Some(now + connection.config.nat_keepalive);
                if let Err(error) = self.devices.sockets.send_keepalive(&info.path) {
                    let conn = &connection.config.name;
                    tracing::debug!(target: "ike", event = "keepalive-failed", %conn, %error);
                }
            }
        }
    }

    /// Makes an enabled connection known to the endpoint and to the kernel's routing; done once for each.
    pub(super) fn enable(&mut self, now: Instant, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if !connection.wanted || connection.peer.is_some() {
            return;
        }
        self.tunnel.make_way(connection, &self.resolver);
        let found = Paths::find(&self.gateway, &connection.config, &self.resolver);
        // Routes first: from here on nothing for the protected networks leaves in clear.
        self.tunnel.install(connection, &found.usable);
        connection.lacks_route = self.tunnel.is_incomplete(&connection.config);
        connection.on_paths(found);
        let workers = self.dataplane.workers();
        let config = paths::peer_config(&connection.config, Vec::new(), workers);
        let peer = self.endpoint.add_peer(now, config);
        connection.peer = Some(peer);
        for (index, child) in connection.children.iter_mut().enumerate() {
            child.index = Some(index);
        }
        self.places.insert(peer, index);
        self.set_first_paths(now, index);
        self.drain(now);
    }

    /// Looks up routes and names again and tells the endpoint what changed.
    pub(super) fn refresh_paths(&mut self, now: Instant) {
        if self.run != Run::On {
            return;
        }
        for index in 0..self.connections.len() {
            let Some(connection) = self.connections.get_mut(index) else { continue };
            let Some(peer) = connection.peer else { continue };
            if connection.paths.is_empty() || connection.no_path.is_some() {
                self.tunnel.make_way(connection, &self.resolver);
            }
            let found = Paths::find(&self.gateway, &connection.config, &self.resolver);
            self.tunnel.install(connection, &found.usable);
            connection.lacks_route = self.tunnel.is_incomplete(&connection.config);
            let was_known = connection.is_at_a_configured_address();
            let had_none = connection.paths.is_empty();
            let was_cut_off = connection.no_path.is_some();
            if !connection.on_paths(found) {
                if was_cut_off && connection.no_path.is_none() {
                    self.call_again(now, index);
                }
                continue;
            }
            let conn = &connection.config.name;
            let paths = connection.paths.clone();
            tracing::info!(target: "ike", event = "paths", %conn, paths = %listed(&paths));
            // It knows the peer: `enable` made it. If it is wanted it is called now.
            if connection.superseding.is_some() {
                // The SA that is up stays where it is: these may lead to another host.
                let workers = self.dataplane.workers();
                let config = paths::peer_config(&connection.config, paths, workers);
                let _ = self.endpoint.reconfigure(now, peer, config);
            } else if had_none {
                self.set_first_paths(now, index);
            } else {
                let _ = self.endpoint.set_paths(now, peer, &paths);
                // Its name leads elsewhere now, where perhaps another machine is: make before break.
                let left = was_known && !connection.is_at_a_configured_address();
                if let Some(first) = paths.first().filter(|_| left) {
                    let _ = self.endpoint.switch_to(now, peer, *first);
                }
            }
            self.drain(now);
        }
    }

    /// The way is there again that a connection had before: who knocked into the void meanwhile knocks now.
    fn call_again(&mut self, now: Instant, index: usize) {
        let Some(connection) = self.connections.get(index) else { return };
        let is_up = matches!(connection.phase, Phase::Up { .. });
        let (Some(peer), Some(first)) = (connection.peer, connection.paths.first()) else { return };
        if !is_up && diff::calls(&connection.config) {
            let _ = self.endpoint.supersede(now, peer, *first);
            self.drain(now);
        }
    }

    /// Goes where peers sent us by name, as soon as the address is known; until then the resolver is asked. If there is none
    /// we stay with the configured addresses.
    pub(super) fn follow_names(&mut self, now: Instant) {
        for connection in &mut self.connections {
            let (Some(peer), Some(name)) = (connection.peer, connection.unresolved()) else {
                continue;
            };
            let name = name.to_owned();
            let addresses = self.resolver.addresses(&name);
            let failure = self.resolver.failure(&name).map(str::to_owned);
            if addresses.is_empty() && failure.is_none() {
                continue;
            }
            let endpoint = &mut self.endpoint;
            let goes = |address: &IpAddr| endpoint.follow_redirect(now, peer, *address) == Ok(true);
            if addresses.iter().any(goes) {
                if let Some(redirect) = &mut connection.redirect {
                    redirect.unresolved = false;
                }
            } else {
                let conn = &connection.config.name;
                let why = failure.unwrap_or_else(|| "no address of it can be used".to_owned());
                tracing::warn!(target: "ike", event = "redirect-failed", %conn, to = name, why);
                connection.redirect = None;
            }
        }
        let names = self.connections.iter().filter_map(Connection::unresolved);
        self.resolver.ask_for(names, now);
    }

    /// A peer did not answer: perhaps its name leads elsewhere by now.
    pub(super) fn hurry_names(&mut self, index: usize, now: Instant) {
        let Some(connection) = self.connections.get(index) else { return };
        let Peer::Hosts(hosts) = &connection.config.peer else { return };
        for host in hosts {
            if let HostName::Dns(name) = &host.name {
                self.resolver.hurry(name, now);
            }
        }
    }

    /// A packet wants a child that is not up: bring it up, with that packet's addresses before all others.
    pub(super) fn on_acquire(&mut self, now: Instant, slot: SlotId, packet: PacketSelectors) {
        let has_slot = |c: &&mut Connection| c.children.iter().any(|child| child.slot == slot);
        let Some(connection) = self.connections.iter_mut().find(has_slot) else { return };
        let may = connection.wanted
            && may_wake(
                connection.config.start,
                connection.config.policy.dpd.map(|dpd| dpd.action),
            );
        if !may || !connection.may_acquire(slot, now) || self.run != Run::On {
            return;
        }
        let Some(peer) = connection.peer else { return };
        let conn = &connection.config.name;
        let (from, to) = (packet.local, packet.remote);
        tracing::debug!(target: "ike", event = "acquire", %conn, %from, %to);
        let _ = self.endpoint.connect_for(now, peer, packet);
        self.drain(now);
    }

    /// An SA has carried all that it may: it goes, and the next one is asked for.
    pub(super) fn on_worn(&mut self, now: Instant, slot: SlotId, spi: NonZeroU32) {
        let Some(child) = self.installer.sender(slot, spi) else { return };
        let has_slot = |c: &&Connection| c.children.iter().any(|child| child.slot == slot);
        let conn = self.connections.iter().find(has_slot).map(|c| c.config.name.as_str());
        let what = format!("{} worn", conn.unwrap_or_default());
        if let Some(folded) = self.folding.tell(what, now) {
            tracing::warn!(
                target: "child", event = "worn", conn, spi_out = hex(spi.get()),
                msg = "an SA has carried all that its lifetime allows before it was replaced; it is deleted",
                fix = "raise esp_lifebytes and esp_lifepackets: traffic reaches them within seconds",
                folded = (folded > 0).then_some(folded)
            );
        }
        // Unknown if it is on its way out already.
        let _ = self.endpoint.expire_child(now, child);
        self.drain(now);
    }
}

impl Connection {
    /// Takes what was found; true if the paths are others than before. Paths that worked once are kept when all fail.
    pub(super) fn on_paths(&mut self, found: Paths) -> bool {
        let failed = found.usable.is_empty() && !found.failures.is_empty();
        self.no_path = failed.then(|| reason::peer_address_failed(&found.failures.join("; ")));
        if !found.usable.is_empty() {
            self.endpoints.ranks = found.ranks;
        }
        if found.usable.is_empty() || found.usable == self.paths {
            return false;
        }
        self.paths = found.usable;
        true
    }
}

/// Whether a packet may call the peer. Of those that are always up it is the dead whose SAs `trap` took away; `clear` waits
/// for the peer or for a command.
const fn may_wake(start: Start, dpd: Option<DpdAction>) -> bool {
    match start {
        Start::OnDemand => true,
        Start::Always => !matches!(dpd, Some(DpdAction::Clear)),
        Start::RespondOnly | Start::Manual => false,
    }
}

fn listed(paths: &[ikev2::Path]) -> String {
    paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Soon, when what belongs together has happened; but not all the time, on a router whose routes never rest.
fn upkeep_after_change(due: Instant, last: Instant, now: Instant) -> Instant {
    due.min((now + SETTLE).max(last + BREATH))
}

/// An address goes, another comes, the route follows: one change in three steps.
const SETTLE: Duration = Duration::from_millis(100);

/// Between two looks at the routes, whatever changes.
const BREATH: Duration = Duration::from_secs(1);

/// Routes and addresses of the host are looked at this often, in case that we were not told of a change.
const UPKEEP: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_looked_at_soon_but_not_all_the_time() {
        let start = clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        // Long after the last look: as soon as it has settled. A second change does not put it off.
        let due = upkeep_after_change(at(15_000), at(5_000), at(9_000));
        assert_eq!(due, at(9_100));
        assert_eq!(upkeep_after_change(due, at(5_000), at(9_050)), at(9_100));
        // Just after it: later.
        assert_eq!(upkeep_after_change(at(15_000), at(5_000), at(5_010)), at(6_000));
    }

    #[test]
    fn a_packet_does_not_wake_what_was_cleared() {
        let dead = |start, action| may_wake(start, Some(action));
        assert!(dead(Start::Always, DpdAction::Trap));
        assert!(!dead(Start::Always, DpdAction::Clear));
        assert!(dead(Start::OnDemand, DpdAction::Clear));
        assert!(may_wake(Start::Always, None));
        assert!(
            !dead(Start::Manual, DpdAction::Trap) && !dead(Start::RespondOnly, DpdAction::Trap)
        );
    }
}
