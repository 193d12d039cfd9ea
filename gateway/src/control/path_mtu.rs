//! How large packets to a peer may be, and who is told (RFC 4301 §8.2): path MTU discovery for each connection.
//!
//! ```text
//!   ICMP "too big" ─► names a packet that an SA of ours sent just now?  no: forged, nothing changes
//!                      └─ yes ─► learned, for ten minutes ─┐
//!   route and device of the way out ─────────► egress ─────┴─► the less of both ─► Room of each SA:
//!                                                                mtu    ─► MSS of TCP, both pumps
//!                                                                v4, v6 ─► MTU of the kernel routes: the kernel tells hosts,
//!                                                                          and fragments what has no DF
//!                                                                whole  ─► false: 1280 octets of IPv6 do not fit, IP fragments
//! ```
//!
//! `mtu` of a connection bounds all three of its own SAs and routes, whatever the path and the device take.
//!
//! ICMP is not authenticated: `esp::Quote` says what makes a message believable, and it only ever lowers what is known, not
//! below 576 or 1280 octets. A path that carries more again is found by forgetting (RFC 1191 §6.3, RFC 8201 §4), a device
//! that does by looking.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use esp::Suite;
use esp::ip::Version;
use mio::{Interest, Registry};

use super::connection::Phase;
use super::start::ICMP;
use super::{Control, ROUND};
use crate::io::icmp::{IcmpSocket, TooBig};
use crate::status::PathMtuStatus;

/// What is known of the path of a connection. Nothing, at first.
#[derive(Debug, Default)]
pub(super) struct PathMtu {
    /// `mtu` of the connection: longer inner packets are not wanted, octets.
    limit: Option<u16>,
    /// Our address and the peer's.
    path: Option<(IpAddr, IpAddr)>,
    /// What the way out of this host takes, octets.
    egress: Option<u16>,
    /// What routers said, and when it is forgotten.
    learned: Option<(u16, Instant)>,
    /// What that leaves for inner packets, once an SA was installed.
    room: Option<Room>,
}

impl PathMtu {
    /// Nothing is known yet but what the configuration wants.
    pub(super) fn limited(limit: Option<u16>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// The configuration wants something else.
    pub(super) fn limit(&mut self, limit: Option<u16>) {
        self.limit = limit;
    }

    /// The longest inner packets, octets, whatever the path takes; `tun`: the MTU of the device.
    pub(super) fn ceiling(&self, tun: u16) -> u16 {
        self.limit.map_or(tun, |limit| limit.min(tun))
    }

    /// Packets take this path from now on. What was known of another is of no use.
    fn follow(&mut self, local: IpAddr, remote: IpAddr) {
        if self.path != Some((local, remote)) {
            let (limit, room) = (self.limit, self.room);
            *self = Self { path: Some((local, remote)), limit, room, ..Self::default() };
        }
    }

    /// What the way out takes; `None` if there is none at the moment, which says nothing about its size.
    fn on_egress(&mut self, mtu: Option<u16>) {
        self.egress = mtu.or(self.egress);
    }

    /// A believable message says that packets to `remote` may have `reported` octets. True if that is news.
    fn on_report(&mut self, now: Instant, remote: IpAddr, reported: u32) -> bool {
        if self.path.is_none_or(|(_, peer)| peer != remote) {
            return false;
        }
        let current = self.outer().unwrap_or(u16::MAX);
        let lowered = esp::lowered_path_mtu(current, reported, version_of(remote));
        if let Some(mtu) = lowered {
            self.learned = Some((mtu, now + MEMORY));
        }
        lowered.is_some()
    }

    /// Forgets what was learned too long ago; true if there was something.
    fn forget(&mut self, now: Instant) -> bool {
        self.learned.take_if(|(_, until)| *until <= now).is_some()
    }

    /// The same for people.
    pub(super) fn outer_mtu(&self) -> Option<u16> {
        self.outer()
    }

    /// Octets of the largest outer packet, as far as anything is known.
    fn outer(&self) -> Option<u16> {
        self.egress.into_iter().chain(self.learned.map(|(mtu, _)| mtu)).min()
    }

    /// The peer's address, and the largest outer packet to it.
    fn known(&self) -> Option<(IpAddr, u16)> {
        Some((self.path?.1, self.outer()?))
    }

    /// The MTU of the connection's routes of that version, where it is less than `tun`, that of the device.
    pub(super) fn of_routes(&self, version: Version, tun: u16) -> Option<u16> {
        let room = self.room.unwrap_or(Room::all(self.ceiling(tun)));
        let mtu = match version {
            Version::V4 => room.v4,
            Version::V6 => room.v6,
        };
        (mtu < tun).then_some(mtu)
    }

    /// For people, where the path takes less than the device.
    pub(super) fn status(&self, tun: u16) -> Option<PathMtuStatus> {
        let inner = self.room?.mtu;
        let outer = self.outer()?;
        (inner < tun).then_some(PathMtuStatus { outer, inner })
    }
}

/// What a path leaves for the inner packets of an SA, octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// The largest that fits, but for the floor of IPv4.
    pub(super) mtu: u16,
    /// The largest that has to pass, IPv4.
    pub(super) v4: u16,
    /// As before, IPv6.
    pub(super) v6: u16,
    /// Whether all that have to pass fit.
    pub(super) whole: bool,
}

impl Room {
    /// All inner packets of up to `ceiling` octets, and of IPv6 what has to pass (RFC 8200 §5).
    pub(super) fn all(ceiling: u16) -> Self {
        let v6 = ceiling.max(esp::min_mtu(Version::V6));
        Self { mtu: ceiling, v4: ceiling, v6, whole: true }
    }

    /// What is left where outer packets of version `outer` may have `path_mtu` octets. `carries_v6`: IPv6 is inside.
    fn of(
        (path_mtu, outer): (u16, Version),
        (suite, udp_encap, carries_v6): (Suite, bool, bool),
        ceiling: u16,
    ) -> Self {
        let of = |inner| esp::inner_mtu_of_path(path_mtu, outer, udp_encap, suite, inner);
        let all = Self::all(ceiling);
        let (v4, v6) = (of(Version::V4).min(all.v4), of(Version::V6).min(all.v6));
        let longest = usize::from(if carries_v6 { v6 } else { v4 });
        let longest = esp::outer_len(longest, outer == Version::V6, udp_encap, suite);
        let whole = longest <= usize::from(path_mtu.max(esp::min_mtu(outer)));
        Self { mtu: v4, v4, v6, whole }
    }

    /// What suits both.
    fn and(self, other: Self) -> Self {
        Self {
            mtu: self.mtu.min(other.mtu),
            v4: self.v4.min(other.v4),
            v6: self.v6.min(other.v6),
            whole: self.whole && other.whole,
        }
    }
}

/// The sockets that messages come from. Between two looks at them they rest, so that a flood costs little.
#[derive(Debug)]
pub(super) struct Listener {
    sockets: Vec<IcmpSocket>,
    /// Until then they are not listened to.
    rests_until: Option<Instant>,
}

impl Listener {
    /// Opens what this host lets us open; says in the log what that means for path MTUs.
    pub(super) fn open(registry: &Registry) -> io::Result<Self> {
        let mut listener = Self { sockets: Vec::new(), rests_until: None };
        for version in [Version::V4, Version::V6] {
            match IcmpSocket::open(version) {
                Ok(socket) => listener.sockets.push(socket),
                Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
                Err(error) => tracing::warn!(
                    target: "gateway", event = "path-mtu-off", ?version, %error,
                    msg = "what routers say about packets that are too big is not heard",
                    fix = "grant CAP_NET_RAW"
                ),
            }
        }
        listener.listen(registry)?;
        Ok(listener)
    }

    fn listen(&mut self, registry: &Registry) -> io::Result<()> {
        self.rests_until = None;
        self.sockets
            .iter()
            .try_for_each(|mut socket| registry.register(&mut socket, ICMP, Interest::READABLE))
    }

    /// Reads what waits, [`ROUND`] messages at most of each version, and rests.
    fn hear(&mut self, registry: &Registry, now: Instant) -> Vec<TooBig> {
        if self.rests_until.is_some() {
            return Vec::new();
        }
        let mut heard = Vec::new();
        for mut socket in &self.sockets {
            for _ in 0..ROUND {
                match socket.receive() {
                    Ok(message) => heard.extend(message),
                    Err(_) => break,
                }
            }
            if let Err(error) = registry.deregister(&mut socket) {
                tracing::error!(target: "gateway", event = "path-mtu-off", %error);
            }
        }
        self.rests_until = Some(now + REST);
        heard
    }

    /// Listens again when the rest is over.
    pub(super) fn handle_timeout(&mut self, registry: &Registry, now: Instant) {
        if self.rests_until.is_some_and(|until| until <= now)
            && let Err(error) = self.listen(registry)
        {
            tracing::error!(target: "gateway", event = "path-mtu-off", %error);
        }
    }

    /// When `handle_timeout` has something to do.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.rests_until
    }
}

impl Control {
    /// Routers said something about packets that were too big.
    pub(super) fn on_icmp(&mut self, now: Instant) {
        for heard in self.devices.icmp.hear(self.devices.poll.registry(), now) {
            let senders: Vec<_> = self.installer.senders(heard.quote).collect();
            for peer in senders {
                let Some(index) = self.place_of(peer) else { continue };
                let Some(connection) = self.connections.get_mut(index) else { continue };
                if connection.path_mtu.on_report(now, heard.remote, heard.mtu) {
                    self.apply_path_mtu(index);
                }
            }
        }
    }

    /// A connection has a path, perhaps a new one.
    pub(super) fn follow_path(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let Phase::Up { info } = &connection.phase else { return };
        let (local, remote) = (info.path.local.ip(), info.path.remote.ip());
        connection.path_mtu.follow(local, remote);
        connection.path_mtu.on_egress(self.tunnel.egress_mtus([remote]).get(&remote).copied());
        self.apply_path_mtu(index);
    }

    /// Looks at the ways out of this host again.
    pub(super) fn look_at_egress(&mut self) {
        let up = |connection: &super::Connection| match &connection.phase {
            Phase::Up { info } => Some(info.path.remote.ip()),
            Phase::Idle | Phase::Connecting { .. } | Phase::Failed { .. } => None,
        };
        let mtus = self.tunnel.egress_mtus(self.connections.iter().filter_map(up));
        for index in 0..self.connections.len() {
            let Some(connection) = self.connections.get_mut(index) else { continue };
            let before = connection.path_mtu.outer();
            if let Some(remote) = up(connection) {
                connection.path_mtu.on_egress(mtus.get(&remote).copied());
            }
            if connection.path_mtu.outer() != before {
                self.apply_path_mtu(index);
            }
        }
    }

    /// What was learned long ago may be wrong by now.
    pub(super) fn forget_path_mtus(&mut self, now: Instant) {
        for index in 0..self.connections.len() {
            let Some(connection) = self.connections.get_mut(index) else { continue };
            if connection.path_mtu.forget(now) {
                self.apply_path_mtu(index);
            }
        }
    }

    /// Tells everybody what is known of a connection's path; says nothing to those that know.
    pub(super) fn apply_path_mtu(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let Some(peer) = connection.peer else { return };
        let ceiling = connection.path_mtu.ceiling(self.mtu);
        let known = connection.path_mtu.known();
        let path = known.map(|(remote, mtu)| (mtu, version_of(remote)));
        let rooms = self.installer.resize(&self.dataplane, peer, |sa| {
            path.map_or(Room::all(ceiling), |path| {
                Room::of(path, (sa.algorithms, sa.udp_encap, sa.carries_v6()), ceiling)
            })
        });
        let Some(room) = rooms.into_iter().reduce(Room::and) else { return };
        let before = connection.path_mtu.room.replace(room);
        if before.unwrap_or(Room::all(ceiling)) == room {
            return;
        }
        let (conn, inner) = (&connection.config.name, room.mtu);
        let mtu = known.map(|(_, mtu)| mtu);
        tracing::info!(target: "gateway", event = "path-mtu", %conn, mtu, inner);
        self.tunnel.resize(connection);
    }
}

const fn version_of(address: IpAddr) -> Version {
    match address {
        IpAddr::V4(_) => Version::V4,
        IpAddr::V6(_) => Version::V6,
    }
}

/// How long what was learned is believed (RFC 8201 §4, RFC 1191 §6.3: ten minutes).
const MEMORY: Duration = Duration::from_mins(10);

/// Between two looks at what routers say. The first message is looked at at once.
const REST: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    const GCM: Suite = Suite::Combined(esp::Aead::AesGcm16(esp::AesKey::Bits256));

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn known(remote: &str, egress: u16) -> PathMtu {
        let mut known = PathMtu::default();
        known.follow(ip("192.0.2.1"), ip(remote));
        known.on_egress(Some(egress));
        known
    }

    #[test]
    fn a_report_lowers_and_nothing_but_time_raises() {
        let now = crate::clock::now();
        let peer = ip("192.0.2.2");
        let mut path = known("192.0.2.2", 1500);
        assert!(path.on_report(now, peer, 1400));
        assert_eq!(path.outer(), Some(1400));
        for forged in [0, 68, 575, 1400, 1500, 65_535, u32::MAX] {
            assert!(!path.on_report(now, peer, forged), "{forged}");
        }
        assert!(path.on_report(now + Duration::from_mins(1), peer, 576));
        assert!(!path.forget(now + MEMORY), "the later one counts");
        assert_eq!(path.outer(), Some(576));
        assert!(path.forget(now + MEMORY + Duration::from_mins(1)));
        assert_eq!(path.outer(), Some(1500));
        assert!(!path.forget(now + MEMORY * 9));
    }

    #[test]
    fn ipv6_is_not_believed_to_carry_less_than_1280() {
        let now = crate::clock::now();
        let peer = ip("2001:db8::2");
        let mut path = known("2001:db8::2", 1500);
        assert!(!path.on_report(now, peer, 1279));
        assert!(path.on_report(now, peer, 1280));
    }

    #[test]
    fn another_path_is_learned_anew() {
        let now = crate::clock::now();
        let mut path = known("192.0.2.2", 1500);
        assert!(!path.on_report(now, ip("192.0.2.3"), 1400), "of another peer");
        assert!(path.on_report(now, ip("192.0.2.2"), 1400));
        path.follow(ip("192.0.2.1"), ip("192.0.2.2"));
        assert_eq!(path.outer(), Some(1400), "the same path");
        path.follow(ip("198.51.100.1"), ip("192.0.2.2"));
        assert_eq!(path.outer(), None);
    }

    #[test]
    fn the_way_out_may_shrink_and_grow() {
        let mut path = known("192.0.2.2", 1500);
        path.on_egress(Some(1400));
        assert_eq!(path.outer(), Some(1400));
        path.on_egress(None);
        assert_eq!(path.outer(), Some(1400), "no route is no MTU");
        path.on_egress(Some(9000));
        assert_eq!(path.outer(), Some(9000));
    }

    #[test]
    fn a_path_as_wide_as_assumed_changes_nothing() {
        for tun in [1422, 1438] {
            for v6 in [false, true] {
                let room = Room::of((1500, Version::V4), (GCM, true, v6), tun);
                assert_eq!(room, Room::all(tun));
            }
        }
        assert_eq!(Room::of((9000, Version::V4), (GCM, true, true), 8900), Room::all(8900));
    }

    #[test]
    fn what_has_to_pass_and_does_not_fit_is_fragmented() {
        let room = |path, outer, carries_v6| Room::of((path, outer), (GCM, true, carries_v6), 1438);
        let (v4, v6) = (Version::V4, Version::V6);
        assert_eq!(room(1400, v4, true), Room { mtu: 1338, v4: 1338, v6: 1338, whole: true });
        assert_eq!(room(1344, v4, true), Room { mtu: 1282, v4: 1282, v6: 1282, whole: true });
        assert_eq!(room(1340, v4, true), Room { mtu: 1278, v4: 1278, v6: 1280, whole: false });
        assert_eq!(room(1280, v4, true), Room { mtu: 1218, v4: 1218, v6: 1280, whole: false });
        assert_eq!(room(1280, v4, false), Room { mtu: 1218, v4: 1218, v6: 1280, whole: true });
        assert_eq!(room(1280, v6, true), Room { mtu: 1198, v4: 1198, v6: 1280, whole: false });
        assert_eq!(room(576, v4, false), Room { mtu: 576, v4: 576, v6: 1280, whole: false });
    }

    #[test]
    fn routes_have_an_mtu_where_the_path_is_narrower_than_the_device() {
        let mut path = known("192.0.2.2", 1280);
        assert_eq!(path.of_routes(Version::V4, 1438), None, "no SA yet");
        path.room = Some(Room::of((1280, Version::V4), (GCM, true, true), 1438));
        assert_eq!(path.of_routes(Version::V4, 1438), Some(1218));
        assert_eq!(path.of_routes(Version::V6, 1438), Some(1280));
        assert_eq!(path.status(1438), Some(PathMtuStatus { outer: 1280, inner: 1218 }));
        path.room = Some(Room::all(1438));
        assert_eq!(path.of_routes(Version::V4, 1438), None);
        assert_eq!(path.status(1438), None);
    }

    #[test]
    fn a_connection_may_want_less_than_its_path_takes() {
        let limited = |limit| PathMtu { limit: Some(limit), ..known("192.0.2.2", 1500) };
        let (v4, v6) = (Version::V4, Version::V6);
        let mut path = limited(1300);
        assert_eq!(path.ceiling(1438), 1300);
        assert_eq!(path.ceiling(1290), 1290, "the device takes no more");
        let routes = |path: &PathMtu| (path.of_routes(v4, 1438), path.of_routes(v6, 1438));
        assert_eq!(routes(&path), (Some(1300), Some(1300)), "before there is an SA");
        path.room = Some(Room::of((1500, v4), (GCM, true, true), path.ceiling(1438)));
        assert_eq!(path.room, Some(Room::all(1300)));
        assert_eq!(routes(&path), (Some(1300), Some(1300)));
        path.follow(ip("198.51.100.1"), ip("192.0.2.2"));
        assert_eq!(path.ceiling(1438), 1300, "it is no matter of the path");
        assert_eq!(Room::of((1280, v4), (GCM, true, false), 1300).v4, 1218, "nor is it a promise");
        assert_eq!(routes(&limited(1000)), (Some(1000), Some(1280)), "IPv6 needs 1280 octets");
        assert_eq!(routes(&limited(1500)), (None, None), "the device bounds it");
    }
}
