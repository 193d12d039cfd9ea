//! The kernel routes of all connections: there from start to stop, whether the tunnel is up or not.
//!
//! So nothing for a protected network ever leaves in clear: while the tunnel is down its packets still go into the TUN,
//! where the data plane drops them and asks for an SA.
//!
//! ```text
//!   routes = auto            ──► one route per remote network      10.2.0.0/16 dev s2s0 metric 100 src 10.1.0.1
//!   narrow path              ──► mtu 1338 on them              the kernel tells hosts, for this connection alone
//!   the peer's own addresses ──► kept out of them                  198.51.100.20 via 203.0.113.1
//!   leak_protection          ──► and below them a guard            blackhole 10.2.0.0/16 metric 4294967295
//! ```
//!
//! A guard holds where the others do not: before they are there, when somebody switches the device off, and when the process
//! dies and takes the device along. It stays until the next start, which takes it over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, SocketAddr};

use esp::ip::Version;
use ikev2::Path;
use ipnet::IpNet;

use super::connection::{Connection, Phase};
use super::resolver::Resolver;
use crate::config::{self, LeakProtection};
use crate::io::source_for;
use crate::route::{RouteError, Routes};
use crate::status::show::RouteRow;
use crate::sys::netlink::Route;

/// The routes into the tunnel and around it.
#[derive(Debug)]
pub(super) struct Tunnel {
    routes: Routes,
    device: String,
    /// Of the device, octets.
    mtu: u16,
    /// Every route that was tried, or `Err` if the kernel refused it.
    tried: BTreeMap<(IpNet, u32), Result<Tried, ()>>,
    /// Guards that the kernel refused.
    unguarded: BTreeSet<IpNet>,
    /// Somebody removed a route of ours, and the kernel refused it when it was added again.
    lacks: bool,
}

/// What may change of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tried {
    /// The preferred source.
    source: Option<IpAddr>,
    /// Octets, if less than the device takes.
    mtu: Option<u16>,
}

impl Tunnel {
    /// No routes yet; `device`, of so many octets, is the TUN that `routes` leads into.
    pub(super) fn new(routes: Routes, device: &str, mtu: u16) -> Self {
        Self {
            routes,
            device: device.to_owned(),
            mtu,
            tried: BTreeMap::new(),
            unguarded: BTreeSet::new(),
            lacks: false,
        }
    }

    /// Removes what a crash has left and is in the way.
    pub(super) fn begin(&mut self) {
        let removed = self.routes.purge_leftovers();
        told_removed(removed);
    }

    /// The routes of all connections are there: what else a predecessor has left is of no use.
    pub(super) fn begun(&mut self) {
        let removed = self.routes.purge_strangers();
        told_removed(removed);
    }

    /// Adds the guards that these connections need. Those that they do not need any more stay until
    /// [`unguard`](Self::unguard): the routes above them are still there.
    pub(super) fn guard(&mut self, connections: &[Connection], protection: LeakProtection) {
        for (destination, metric) in guarded(connections, protection) {
            match self.routes.guard(destination, metric) {
                Ok(()) => {
                    self.unguarded.remove(&destination);
                }
                Err(error) => {
                    if self.unguarded.insert(destination) {
                        tracing::warn!(target: "gateway", event = "guard-failed", %destination, %error);
                    }
                }
            }
        }
    }

    /// Removes the guards that none of these connections needs.
    pub(super) fn unguard(&mut self, connections: &[Connection], protection: LeakProtection) {
        let needed = guarded(connections, protection);
        let unneeded: Vec<IpNet> =
            self.routes.guarded().filter(|network| !needed.contains_key(network)).collect();
        for destination in unneeded {
            if let Err(error) = self.routes.unguard(destination) {
                tracing::warn!(target: "gateway", event = "route-failed", %error);
            }
        }
        self.unguarded.retain(|network| needed.contains_key(network));
    }

    /// How many networks lead nowhere when the tunnel is gone.
    pub(super) fn guards(&self) -> usize {
        self.routes.guarded().count()
    }

    /// The device was made anew and has this index now.
    pub(super) fn moved(&mut self, index: u32) {
        self.routes.moved(index);
    }

    /// Adds again what somebody removed.
    pub(super) fn restore(&mut self) {
        let restored = self.routes.restore();
        self.lacks = restored.is_err();
        if let Err(error) = restored {
            tracing::debug!(target: "gateway", event = "route-failed", %error);
        }
    }

    /// Tries again what the kernel refused: whatever was in the way may be gone.
    pub(super) fn complete(&mut self, connections: &[Connection], protection: LeakProtection) {
        if !self.unguarded.is_empty() {
            self.guard(connections, protection);
        }
        if self.lacks {
            self.restore();
        }
    }

    /// Keeps the ways to the addresses of a connection's peer out of its tunnel, as far as they are known without asking
    /// for a way: a guard that a predecessor left may be all that leads there.
    pub(super) fn make_way(&mut self, connection: &Connection, resolver: &Resolver) {
        let config::Peer::Hosts(hosts) = &connection.config.peer else { return };
        let destinations = destinations(&connection.config);
        let addresses = hosts.iter().flat_map(|host| match &host.name {
            config::HostName::Address(address) => vec![*address],
            config::HostName::Dns(name) => resolver.addresses(name).to_vec(),
        });
        for address in addresses {
            if let Err(error) = self.routes.protect_peer(address, &destinations) {
                let conn = &connection.config.name;
                tracing::debug!(target: "gateway", event = "route-failed", %conn, %error);
            }
        }
    }

    /// Makes the routes of a connection what they should be; nothing is done for those that are. Called again and again,
    /// since addresses of ours and the way to the peer may change.
    pub(super) fn install(&mut self, connection: &Connection, paths: &[Path]) {
        let destinations = destinations(&connection.config);
        for path in paths {
            if let Err(error) = self.routes.protect_peer(path.remote.ip(), &destinations) {
                let conn = &connection.config.name;
                tracing::warn!(target: "gateway", event = "route-failed", %conn, %error);
            }
        }
        for destination in destinations {
            let source = inner_source(&connection.config, destination);
            self.install_one(connection, destination, source);
        }
    }

    /// Gives the routes of a connection the MTU that its path leaves.
    pub(super) fn resize(&mut self, connection: &Connection) {
        for destination in destinations(&connection.config) {
            let key = (destination, connection.config.metric);
            if let Some(Ok(Tried { source, .. })) = self.tried.get(&key) {
                self.install_one(connection, destination, *source);
            }
        }
    }

    /// The largest packet that the way out to each of these addresses takes, octets.
    pub(super) fn egress_mtus(
        &mut self,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> BTreeMap<IpAddr, u16> {
        self.routes.egress_mtus(addresses).unwrap_or_else(|error| {
            tracing::debug!(target: "gateway", event = "route-failed", %error);
            BTreeMap::new()
        })
    }

    fn install_one(&mut self, connection: &Connection, destination: IpNet, source: Option<IpAddr>) {
        let version = if destination.addr().is_ipv4() { Version::V4 } else { Version::V6 };
        let mtu = connection.path_mtu.of_routes(version, self.mtu);
        let wanted = Tried { source, mtu };
        let connection = &connection.config;
        let key = (destination, connection.metric);
        let before = self.tried.get(&key).copied();
        if before == Some(Ok(wanted)) {
            return;
        }
        let conn = &connection.name;
        match self.routes.add(destination, connection.metric, source, mtu) {
            Ok(()) if before.is_some_and(|before| before.is_ok_and(|is| is.source == source)) => {
                tracing::debug!(target: "gateway", event = "route-mtu", %conn, %destination, mtu);
                self.tried.insert(key, Ok(wanted));
            }
            Ok(()) => {
                let device = &self.device;
                tracing::info!(
                    target: "gateway", event = "route-added", %conn, %destination, %device,
                    metric = connection.metric, source = source.map(tracing::field::display)
                );
                self.tried.insert(key, Ok(wanted));
            }
            Err(error) => {
                // It is tried again and again, but said once.
                if before != Some(Err(())) {
                    tracing::error!(target: "gateway", event = "route-failed", %conn, %error);
                }
                self.tried.insert(key, Err(()));
            }
        }
    }

    /// Removes the routes that none of these connections needs, and those around the tunnel to peers of none of them.
    pub(super) fn retain(&mut self, connections: &[Connection]) {
        let enabled = || connections.iter().filter(|connection| connection.peer.is_some());
        let needed: BTreeSet<(IpNet, u32)> = enabled()
            .flat_map(|c| destinations(&c.config).into_iter().map(|to| (to, c.config.metric)))
            .collect();
        let unneeded: Vec<(IpNet, u32)> =
            self.tried.keys().filter(|key| !needed.contains(key)).copied().collect();
        for (destination, metric) in unneeded {
            self.tried.remove(&(destination, metric));
            match self.routes.remove(destination, metric) {
                Ok(()) => tracing::info!(
                    target: "gateway", event = "route-removed", %destination, metric
                ),
                Err(error) => tracing::warn!(target: "gateway", event = "route-failed", %error),
            }
        }
        let in_use = enabled().filter_map(|connection| match &connection.phase {
            Phase::Up { info } => Some(&info.path),
            Phase::Idle | Phase::Connecting { .. } | Phase::Failed { .. } => None,
        });
        let paths = enabled().flat_map(|c| &c.paths).chain(in_use);
        let peers: BTreeSet<IpAddr> = paths.map(|path| path.remote.ip()).collect();
        let protected: Vec<IpAddr> = self.routes.protected_peers().collect();
        for peer in protected.into_iter().filter(|peer| !peers.contains(peer)) {
            if let Err(error) = self.routes.release_peer(peer) {
                tracing::warn!(target: "gateway", event = "route-failed", %error);
            }
        }
    }

    /// The routes of a connection, for people.
    pub(super) fn of(&self, connection: &config::Connection) -> Vec<String> {
        let metric = connection.metric;
        let mut lines = Vec::new();
        for destination in destinations(connection) {
            match self.tried.get(&(destination, metric)) {
                Some(Ok(Tried { source, mtu })) => {
                    let source = source.map(|ip| format!(" src {ip}")).unwrap_or_default();
                    let mtu = mtu.map(|mtu| format!(" mtu {mtu}")).unwrap_or_default();
                    let device = &self.device;
                    lines.push(format!("{destination} dev {device} metric {metric}{source}{mtu}"));
                }
                Some(Err(())) => lines.push(format!("{destination} (the kernel refused it)")),
                None => {}
            }
        }
        lines
    }

    /// The same for programs.
    pub(super) fn rows(&self, connection: &config::Connection) -> Vec<RouteRow> {
        let metric = connection.metric;
        let row = |destination: IpNet| {
            let tried = self.tried.get(&(destination, metric))?;
            Some(RouteRow {
                connection: connection.name.clone(),
                destination: destination.to_string(),
                device: self.device.clone(),
                metric,
                source: tried.ok().and_then(|way| way.source).map(|ip| ip.to_string()),
                mtu: tried.ok().and_then(|way| way.mtu),
                state: if tried.is_ok() { "installed" } else { "refused" }.to_owned(),
            })
        };
        destinations(connection).into_iter().filter_map(row).collect()
    }

    /// Whether the kernel refused a route of this connection.
    pub(super) fn is_incomplete(&self, connection: &config::Connection) -> bool {
        destinations(connection)
            .into_iter()
            .any(|destination| self.tried.get(&(destination, connection.metric)) == Some(&Err(())))
    }

    /// Removes every route but the guards.
    pub(super) fn clear(&mut self) {
        for error in self.routes.clear() {
            tracing::warn!(target: "gateway", event = "route-failed", %error);
        }
        self.tried.clear();
    }
}

/// Says what was removed.
fn told_removed(removed: Result<Vec<Route>, RouteError>) {
    match removed {
        Ok(removed) => {
            for route in removed {
                tracing::info!(target: "gateway", event = "leftover-removed", %route);
            }
        }
        Err(error) => tracing::warn!(target: "gateway", event = "route-failed", %error),
    }
}

/// The networks that need a guard, each with the highest metric of a route into the tunnel. Also of a connection that a command
/// took down: only the configuration says that a network is not protected any more.
fn guarded(connections: &[Connection], protection: LeakProtection) -> BTreeMap<IpNet, u32> {
    let mut all = BTreeMap::new();
    if protection == LeakProtection::Off {
        return all;
    }
    for connection in connections.iter().filter(|one| one.config.enabled || one.wanted) {
        for destination in destinations(&connection.config) {
            let metric = all.entry(destination.trunc()).or_default();
            *metric = connection.config.metric.max(*metric);
        }
    }
    all
}

/// Where the routes of a connection lead, each once.
fn destinations(connection: &config::Connection) -> Vec<IpNet> {
    let mut all: Vec<IpNet> = match &connection.routes {
        config::Routes::None => Vec::new(),
        config::Routes::List(list) => list.clone(),
        config::Routes::Auto => {
            connection.children.iter().flat_map(|child| child.remote.iter().copied()).collect()
        }
    };
    all.sort_unstable();
    all.dedup();
    all
}

/// An address of ours inside the local networks, so that what this host itself sends into the tunnel fits the selectors.
pub(super) fn inner_source(connection: &config::Connection, destination: IpNet) -> Option<IpAddr> {
    let is_v4 = matches!(destination, IpNet::V4(_));
    let networks = connection.children.iter().flat_map(|child| &child.local);
    networks
        .filter(|network| matches!(network, IpNet::V4(_)) == is_v4 && network.prefix_len() > 0)
        .find_map(|network| {
            let neighbour = SocketAddr::new(network.hosts().next()?, DISCARD_PORT);
            source_for(neighbour).ok().filter(|source| network.contains(source))
        })
}

/// What comes out of a tunnel and goes into another one goes back through the device that it came from: the kernel need not
/// tell anybody that there is a shorter way.
pub(super) fn quiet_redirects(device: &str) {
    let path = format!("/proc/sys/net/ipv4/conf/{device}/send_redirects");
    if let Err(error) = fs::write(&path, "0") {
        tracing::debug!(target: "gateway", event = "no-redirects", path, %error);
    }
    // That of all devices counts beside that of this one.
    let all = fs::read_to_string("/proc/sys/net/ipv4/conf/all/send_redirects");
    if all.is_ok_and(|text| text.trim() != "0") {
        tracing::info!(
            target: "gateway", event = "redirects-on",
            msg = "the kernel may send ICMP redirects to hosts whose packets are relayed between tunnels",
            fix = "sysctl net.ipv4.conf.all.send_redirects=0"
        );
    }
}

/// Any port does: nothing is sent.
const DISCARD_PORT: u16 = 9;
