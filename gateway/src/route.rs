//! The daemon's own routes: which packets of the kernel go into the TUN, and the way around it for the peers themselves.
//!
//! ```text
//!   10.2.0.0/16 dev s2s0 metric 100 proto 77           remote subnets, into the tunnel       Routes::add
//!   198.51.100.20 via 203.0.113.1 dev eth0 proto 77    a peer that one of them contains      Routes::protect_peer
//!   blackhole 10.2.0.0/16 metric 4294967295 proto 78   below the first: what has no tunnel    Routes::guard
//! ```
//!
//! All carry [`PROTOCOL`] or [`GUARD_PROTOCOL`], so that the leftovers of a crash are found. A route of anybody else is never
//! touched: the kernel is asked to add, never to replace, and removal names protocol and device. Dropping [`Routes`] removes
//! all but the guards: the device takes the routes into the tunnel along when the process dies, and what is for a protected
//! network has to find something else then than the way to the Internet.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, UdpSocket};

use ipnet::IpNet;

use crate::sys::netlink::{MAIN_TABLE, Netlink, NetlinkError, Route};

/// The number in the protocol field of our routes (rtnetlink(7)); `ip route show proto 77` lists them. Chosen from the
/// numbers above 4 that no routing program has claimed in the kernel's `rtnetlink.h` or iproute2's `rt_protos`.
pub const PROTOCOL: u8 = 77;

/// The number of those that lead nowhere; `ip route flush proto 78` gives up what they protect.
pub const GUARD_PROTOCOL: u8 = 78;

/// The metric of a guard: every route to the same network goes before it.
const GUARD_METRIC: u32 = u32::MAX;

/// The metric of host routes to peers; nothing competes with it, since they are added only where there is none.
const PEER_METRIC: u32 = 0x4d;

/// Why a route is not there.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// Somebody else has a route with this destination and metric.
    #[error(
        "cannot add route {wanted}: {owner} has set {theirs} with the same metric {}; \
         remove that route or give the connection another metric", .theirs.metric
    )]
    Taken {
        /// The route that we wanted.
        wanted: Box<Route>,
        /// The route that is there.
        theirs: Box<Route>,
        /// Who has set it, in words.
        owner: String,
    },
    /// The tunnel would have to carry its own packets.
    #[error(
        "cannot add route {wanted}: {peer} is the address of the peer itself, so the tunnel would swallow its own packets"
    )]
    PeerItself {
        /// The route that we wanted.
        wanted: Box<Route>,
        /// The peer's address.
        peer: IpAddr,
    },
    /// Nothing but the tunnel leads to the peer.
    #[error("no route leads to the peer {peer} outside of the tunnel")]
    NoWayToPeer {
        /// The peer's address.
        peer: IpAddr,
    },
}

/// The routes of one daemon through one TUN.
#[derive(Debug)]
pub struct Routes {
    netlink: Netlink,
    tun: u32,
    into_tunnel: BTreeMap<(IpNet, u32), Route>,
    to_peers: BTreeMap<IpAddr, Route>,
    guards: BTreeMap<IpNet, Route>,
    /// What a predecessor left and may be of use: none of it has to be asked for again.
    left: BTreeMap<(IpNet, u32), Route>,
}

impl Routes {
    /// Starts with no routes; `tun` is the index of the TUN in the calling thread's network namespace.
    ///
    /// # Errors
    /// Only if the kernel gives no netlink socket.
    pub fn open(tun: u32) -> io::Result<Self> {
        let netlink = Netlink::open()?;
        let left = BTreeMap::new();
        Ok(Self {
            netlink,
            tun,
            into_tunnel: BTreeMap::new(),
            to_peers: BTreeMap::new(),
            guards: BTreeMap::new(),
            left,
        })
    }

    /// The TUN was made anew and has this index now: its routes went with it, see [`restore`](Self::restore).
    pub fn moved(&mut self, tun: u32) {
        self.tun = tun;
        for route in self.into_tunnel.values_mut() {
            route.device = Some(tun);
        }
    }

    /// Adds again whatever is not there any more: the kernel removes the routes of a device that is switched off, and so may
    /// whoever tidies up. What cannot be added now is tried with the next call.
    ///
    /// # Errors
    /// The first refusal; the others are tried all the same.
    pub fn restore(&mut self) -> Result<(), RouteError> {
        let Self { netlink, into_tunnel, to_peers, guards, .. } = self;
        let mut result = Ok(());
        // Those that lead nowhere first: until the others are back they are all that there is.
        for route in guards.values().chain(into_tunnel.values()).chain(to_peers.values()) {
            match netlink.add_route(route) {
                Err(error) if !error.is_exists() => result = result.and(Err(error.into())),
                _ => {}
            }
        }
        result
    }

    /// Lets packets to `destination` go nowhere where no route into the tunnel takes them: before it is there, and after
    /// a crash has taken it away. More specific routes are not affected, nor are others to the same network. With a prefix of
    /// no length the guard is one worse than `metric`, the highest of the connections: there always is a default route.
    ///
    /// # Errors
    /// [`RouteError::Taken`] if somebody else has a route with this destination and metric.
    pub fn guard(&mut self, destination: IpNet, metric: u32) -> Result<(), RouteError> {
        let metric = if destination.prefix_len() == 0 {
            place(destination, metric).1.saturating_add(1)
        } else {
            GUARD_METRIC
        };
        let route = Route::nowhere(destination.trunc(), metric, GUARD_PROTOCOL);
        if self.guards.get(&route.destination) == Some(&route) {
            return Ok(());
        }
        self.install(&route)?;
        if let Some(before) = self.guards.insert(route.destination, route) {
            self.uninstall(&before)?;
        }
        Ok(())
    }

    /// Takes a guard away; unknown ones are no error.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn unguard(&mut self, destination: IpNet) -> Result<(), RouteError> {
        match self.guards.remove(&destination.trunc()) {
            Some(route) => self.uninstall(&route),
            None => Ok(()),
        }
    }

    /// The networks that have a guard.
    pub fn guarded(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.guards.keys().copied()
    }

    /// Routes packets to `destination` into the tunnel; among routes to the same destination the least `metric` wins.
    /// Packets of more than `mtu` octets are too big for it, in the kernel's eyes; those of IPv6 at 1280 at least.
    /// Adding a route that is there already changes its preferred source and its MTU, without a moment in which it is not.
    ///
    /// # Errors
    /// [`RouteError::Taken`] if somebody else has a route with this destination and metric, [`RouteError::PeerItself`]
    /// if the destination is exactly a protected peer.
    pub fn add(
        &mut self,
        destination: IpNet,
        metric: u32,
        preferred_source: Option<IpAddr>,
        mtu: Option<u16>,
    ) -> Result<(), RouteError> {
        let (destination, metric) = place(destination, metric);
        let mtu = mtu.map(u32::from);
        let way = Route::through(self.tun, destination, metric, PROTOCOL);
        let route = Route { preferred_source, mtu, ..way };
        if let Some(peer) = self.to_peers.keys().find(|peer| IpNet::from(**peer) == destination) {
            return Err(RouteError::PeerItself { peer: *peer, wanted: Box::new(route) });
        }
        self.install(&route)?;
        self.into_tunnel.insert((destination, metric), route);
        Ok(())
    }

    /// Removes a route that [`add`](Self::add) made; unknown ones are no error, nor is one that is gone already.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn remove(&mut self, destination: IpNet, metric: u32) -> Result<(), RouteError> {
        match self.into_tunnel.remove(&place(destination, metric)) {
            Some(route) => self.uninstall(&route),
            None => Ok(()),
        }
    }

    /// Keeps the outer packets to `peer` out of the tunnel, if one of the subnets `into_tunnel` would capture them
    /// (0.0.0.0/0, for one): adds a host route along the way that leads to the peer without us. Call it before
    /// [`add`](Self::add), and again when the network below has changed. Returns whether a host route was needed.
    ///
    /// # Errors
    /// [`RouteError::NoWayToPeer`] if nothing leads to the peer, [`RouteError::Taken`] as for `add`.
    pub fn protect_peer(
        &mut self,
        peer: IpAddr,
        into_tunnel: &[IpNet],
    ) -> Result<bool, RouteError> {
        let Some(captured) =
            into_tunnel.iter().filter(|net| net.contains(&peer)).map(IpNet::prefix_len).max()
        else {
            self.release_peer(peer)?;
            return Ok(false);
        };
        let way = self.way_around(peer)?;
        if way.destination.prefix_len() > captured {
            self.release_peer(peer)?; // more specific than the tunnel's route, so the kernel prefers it anyway
            return Ok(false);
        }
        let route = Route {
            destination: peer.into(),
            metric: PEER_METRIC,
            protocol: PROTOCOL,
            table: MAIN_TABLE,
            ..way
        };
        self.install(&route)?;
        self.to_peers.insert(peer, route);
        Ok(true)
    }

    /// Removes the host route to a peer, if there is one.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn release_peer(&mut self, peer: IpAddr) -> Result<(), RouteError> {
        match self.to_peers.remove(&peer) {
            Some(route) => self.uninstall(&route),
            None => Ok(()),
        }
    }

    /// The peers that have a host route of ours.
    pub fn protected_peers(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.to_peers.keys().copied()
    }

    /// How large packets to each of these addresses may be on the way out of this host, in octets: the MTU of the device, or
    /// of the route if that is less. Addresses to which nothing leads, or only the tunnel, are left out.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn egress_mtus(
        &mut self,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<BTreeMap<IpAddr, u16>, RouteError> {
        let mut addresses = addresses.into_iter().peekable();
        if addresses.peek().is_none() {
            return Ok(BTreeMap::new());
        }
        let links = self.netlink.links()?;
        let of_link = |index| links.iter().find(|link| link.index == index).map(|link| link.mtu);
        let mut mtus = BTreeMap::new();
        for address in addresses {
            if mtus.contains_key(&address) {
                continue;
            }
            let Ok(way) = self.netlink.route_to(address) else { continue };
            let device = way.device.filter(|device| *device != self.tun);
            let least = device.and_then(of_link).into_iter().chain(way.mtu).min();
            if let Some(mtu) = least.filter(|_| device.is_some()) {
                mtus.insert(address, u16::try_from(mtu).unwrap_or(u16::MAX));
            }
        }
        Ok(mtus)
    }

    /// Removes routes into the tunnel that a predecessor which crashed has left: those with our number through our TUN or a
    /// device that is gone. Its guards and its host routes to peers stay, since they are needed until we have our own; see
    /// [`purge_strangers`](Self::purge_strangers). Returns what was removed. Call it once, before the first `add`.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn purge_leftovers(&mut self) -> Result<Vec<Route>, RouteError> {
        let routes = self.netlink.routes(Some(PROTOCOL))?;
        let links = self.links()?;
        let in_the_way = |route: &Route, tun| {
            route.device == Some(tun) || route.device.is_none_or(|device| !links.contains(&device))
        };
        let (gone, stay): (Vec<_>, Vec<_>) =
            routes.into_iter().partition(|route| in_the_way(route, self.tun));
        gone.iter().try_for_each(|route| self.uninstall(route))?;
        let stay = stay.into_iter().chain(self.netlink.routes(Some(GUARD_PROTOCOL))?);
        let here = stay.filter(|route| route.table == MAIN_TABLE);
        self.left = here.map(|route| ((route.destination, route.metric), route)).collect();
        Ok(gone)
    }

    /// Removes host routes and guards of a predecessor that we do not need, unless another gateway is running on this machine
    /// (its TUN has routes with our number, so they may be its). Returns what was removed. Call it when all of ours are there.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn purge_strangers(&mut self) -> Result<Vec<Route>, RouteError> {
        self.left.clear();
        let mut routes = self.netlink.routes(Some(PROTOCOL))?;
        let links = self.links()?;
        let another = routes.iter().any(|route| {
            let device = route.device.filter(|device| links.contains(device));
            device.is_some_and(|device| device != self.tun) && !is_host(route)
        });
        if another {
            return Ok(Vec::new());
        }
        routes.retain(is_host);
        routes.extend(self.netlink.routes(Some(GUARD_PROTOCOL))?);
        let ours: Vec<Route> = self.installed().chain(self.guards.values()).cloned().collect();
        let place = |route: &Route| (route.destination, route.metric, route.table);
        let ours: BTreeSet<_> = ours.iter().map(place).collect();
        routes.retain(|route| !ours.contains(&place(route)));
        routes.iter().try_for_each(|route| self.uninstall(route))?;
        Ok(routes)
    }

    fn links(&mut self) -> Result<Vec<u32>, RouteError> {
        Ok(self.netlink.links()?.into_iter().map(|link| link.index).collect())
    }

    /// The routes that are installed, into the tunnel first.
    pub fn installed(&self) -> impl Iterator<Item = &Route> {
        self.into_tunnel.values().chain(self.to_peers.values())
    }

    /// Removes every route but the guards; what cannot be removed is reported and forgotten. Dropping does the same in silence.
    pub fn clear(&mut self) -> Vec<RouteError> {
        let into_tunnel = std::mem::take(&mut self.into_tunnel).into_values();
        let to_peers = std::mem::take(&mut self.to_peers).into_values();
        into_tunnel.chain(to_peers).filter_map(|route| self.uninstall(&route).err()).collect()
    }

    fn install(&mut self, route: &Route) -> Result<(), RouteError> {
        if self.left.remove(&(route.destination, route.metric)).as_ref() == Some(route) {
            return Ok(());
        }
        match self.netlink.add_route(route) {
            Err(error) if error.is_exists() => {}
            other => return Ok(other?),
        }
        // Ours (from before, or with another source address) may be replaced, anybody else's may not; nor may a guard take
        // the place of a route into the tunnel.
        let may_go =
            |there: &Route| there.protocol == route.protocol || there.protocol == GUARD_PROTOCOL;
        let same_place = |there: &Route| {
            there.destination == route.destination
                && there.metric == route.metric
                && there.table == route.table
        };
        match self.netlink.routes(None)?.into_iter().find(same_place) {
            Some(theirs) if !may_go(&theirs) => Err(RouteError::Taken {
                wanted: Box::new(route.clone()),
                owner: owner(theirs.protocol),
                theirs: Box::new(theirs),
            }),
            Some(ours) => {
                if ours != *route {
                    // In one step: between two, packets for a protected network would find another way.
                    self.netlink.replace_route(route)?;
                }
                Ok(())
            }
            None => Ok(self.netlink.add_route(route)?),
        }
    }

    fn uninstall(&mut self, route: &Route) -> Result<(), RouteError> {
        match self.netlink.del_route(route) {
            Err(error) if error.is_absent() => Ok(()), // the device took it along
            other => Ok(other?),
        }
    }

    /// The route that leads to the peer apart from ours. The kernel knows best, with its rules and tables; only when
    /// its answer is a route of ours, the main table is searched here.
    fn way_around(&mut self, peer: IpAddr) -> Result<Route, RouteError> {
        match self.netlink.route_to(peer) {
            Ok(way) if !is_ours(&way) && !way.blackhole && way.device != Some(self.tun) => {
                return Ok(way);
            }
            Ok(_) => {}
            // Perhaps a guard of ours, which is no answer.
            Err(error) if error.is_blackhole() => {}
            Err(error) if error.is_unreachable() => return Err(RouteError::NoWayToPeer { peer }),
            Err(error) => return Err(error.into()),
        }
        let leads_there = |way: &Route| {
            !is_ours(way)
                && way.table == MAIN_TABLE
                && way.device.is_some_and(|device| device != self.tun)
                && way.destination.contains(&peer)
        };
        let ways = self.netlink.routes(None)?.into_iter().filter(leads_there);
        ways.min_by_key(|way| (u8::MAX - way.destination.prefix_len(), way.metric))
            .ok_or(RouteError::NoWayToPeer { peer })
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        self.clear();
    }
}

const fn is_ours(route: &Route) -> bool {
    matches!(route.protocol, PROTOCOL | GUARD_PROTOCOL)
}

fn is_host(route: &Route) -> bool {
    route.destination.prefix_len() == route.destination.max_prefix_len()
}

/// Destination and metric as the kernel keeps them: no host bits, and 1024 for the metric 0 of IPv6 (`IP6_RT_PRIO_USER`).
fn place(destination: IpNet, metric: u32) -> (IpNet, u32) {
    match (destination, metric) {
        (IpNet::V6(_), 0) => (destination.trunc(), 1024),
        _ => (destination.trunc(), metric),
    }
}

/// The local address that the kernel would use for packets to `remote`, or `None` if no route leads there. Asks by
/// connecting a UDP socket, which sends nothing and needs no right.
#[must_use]
pub fn route_source(remote: IpAddr) -> Option<IpAddr> {
    let unspecified = match remote {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    };
    let socket = UdpSocket::bind((unspecified, 0)).ok()?;
    socket.connect((remote, ANY_PORT)).ok()?;
    let source = socket.local_addr().ok()?.ip();
    (!source.is_unspecified()).then_some(source)
}

/// The kernel wants some port that is not 0; nothing is sent to it.
const ANY_PORT: u16 = 500;

/// Who sets routes with this protocol number, in words (`rtnetlink.h`).
fn owner(protocol: u8) -> String {
    match protocol {
        PROTOCOL | GUARD_PROTOCOL => "a gateway like this".to_owned(),
        2 => "the kernel".to_owned(),
        3 | 4 => "the administrator".to_owned(),
        9 => "a router advertisement".to_owned(),
        16 => "the DHCP client".to_owned(),
        _ => format!("another program (protocol {protocol})"),
    }
}

#[cfg(test)]
mod tests;
