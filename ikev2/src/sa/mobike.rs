//! MOBIKE (RFC 4555): an established SA moves to other addresses, in place, with all its children.
//!
//! ```text
//!   initiator: its address is gone, or requests are not answered      responder
//!     IKE moves ──► SK { N(UPDATE_SA_ADDRESSES), N(NAT_DETECTION_*), N(COOKIE2), N(ADDITIONAL_*) } ──► IKE moves
//!     ESP moves ◄── SK { N(NAT_DETECTION_*), N(COOKIE2) }
//!                                      SK { } ◄── SK { N(COOKIE2) }   to the new address: only who receives there can answer
//!                                      SK { N(COOKIE2) } ──►          ESP moves
//!
//!   responder: its address is gone     SK { N(ADDITIONAL_*) or N(NO_ADDITIONAL_ADDRESSES) }, from the new one
//!     picks it as above ◄──            ESP moves: it cannot go on as it was
//! ```
//!
//! "Initiator" is whoever made the first IKE SA, however often it was rekeyed since (RFC 4555 §1.3): it alone decides where
//! the SAs run. Requests that are not answered it repeats on every other way in turn (§3.10); the way on which an answer
//! comes is taken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use subtle::ConstantTimeEq;

use super::channel::Channel;
use super::established::Established;
use super::tasks::{Pending, Task};
use super::{Cx, Message, Origin, State, nat};
use crate::config::PeerConfig;
use crate::crypto::rng;
use crate::error::CloseReason;
use crate::event::{Event, Path, PeerId};
use crate::registry::{ExchangeType, NotifyType};
use crate::wire::header::IkeSpi;
use crate::wire::message::{Body, Chain};

/// The most additional addresses that are announced, and remembered of those that the peer announces.
const MOST_ADDRESSES: usize = 8;
/// How often a refused update is tried again, on another way where there is one.
const MOST_REFUSALS: u8 = 5;
/// After how many transmissions of a request other ways are tried, too: after about 3.5 s.
const PATIENCE: u32 = 3;

/// What an SA that can move knows of other ways to the peer.
#[derive(Debug, Clone)]
pub(super) struct Mobility {
    /// Our ways, in order of preference.
    ways: Vec<Path>,
    /// The peer's addresses beside the one in use.
    theirs: Vec<IpAddr>,
    /// What the peer's NAT_DETECTION_DESTINATION_IP said last: how it sees us (RFC 4555 §3.8).
    seen_as: Option<Vec<u8>>,
    /// Where the peer's last message came from, if it was not the way in use: its NAT may have changed.
    heard_on: Option<Path>,
    /// Whether a request went there.
    asked_there: bool,
    turn: usize,
    refusals: u8,
}

/// A request whose answer proves that the peer receives where it was sent (RFC 4555 §3.7).
pub(super) struct Probe {
    cookie: [u8; 16],
    path: Path,
}

impl Mobility {
    /// What the peer's IKE_AUTH message says.
    pub(super) fn new(body: &Body<'_>, path: Path, config: &PeerConfig, cx: &Cx<'_>) -> Self {
        let ports = &cx.shared.config;
        let float = |way: &Path| nat::float(*way, ports.ike_port, ports.nat_port);
        Self {
            ways: config.paths.iter().map(float).collect(),
            theirs: additional(body).filter(|address| *address != path.remote.ip()).collect(),
            seen_as: None,
            heard_on: None,
            asked_there: false,
            turn: 0,
            refusals: 0,
        }
    }

    /// Every way but the one in use.
    fn others(&self, current: Path) -> Vec<Path> {
        let alike = |address: &&IpAddr| address.is_ipv4() == current.local.is_ipv4();
        let to = |address: &IpAddr| {
            let remote = SocketAddr::new(*address, current.remote.port());
            Path { local: current.local, remote }
        };
        let known = self.ways.iter().copied().chain(self.theirs.iter().filter(alike).map(to));
        known.filter(|way| !same_addresses(*way, current)).collect()
    }

    /// The next of them, in turn.
    fn other(&mut self, current: Path) -> Option<Path> {
        let mut others = self.others(current);
        let heard_on = self.heard_on.filter(|way| *way != current);
        others.extend(heard_on);
        self.turn = self.turn.wrapping_add(1);
        let next = others.get(self.turn % others.len().max(1)).copied();
        self.asked_there |= next.is_some() && next == heard_on;
        next
    }
}

/// Adds our addresses but the one in `path` (RFC 4555 §3.4). `complete`: the peer is to forget those that it knows.
pub(super) fn announce(chain: &mut Chain, path: Path, ways: &[Path], complete: bool) {
    let mut ours: Vec<IpAddr> = ways.iter().map(|way| way.local.ip()).collect();
    ours.sort_unstable();
    ours.dedup();
    ours.retain(|address| *address != path.local.ip() && !address.is_unspecified());
    ours.truncate(MOST_ADDRESSES);
    if ours.is_empty() && complete {
        chain.notify(NotifyType::NO_ADDITIONAL_ADDRESSES, &[]);
    }
    for address in ours {
        match address {
            IpAddr::V4(v4) => chain.notify(NotifyType::ADDITIONAL_IP4_ADDRESS, &v4.octets()),
            IpAddr::V6(v6) => chain.notify(NotifyType::ADDITIONAL_IP6_ADDRESS, &v6.octets()),
        };
    }
}

fn additional(body: &Body<'_>) -> impl Iterator<Item = IpAddr> {
    let addresses = body.notifies.iter().filter_map(|notify| match notify.kind {
        NotifyType::ADDITIONAL_IP4_ADDRESS => {
            <[u8; 4]>::try_from(notify.data).ok().map(|octets| Ipv4Addr::from(octets).into())
        }
        NotifyType::ADDITIONAL_IP6_ADDRESS => {
            <[u8; 16]>::try_from(notify.data).ok().map(|octets| Ipv6Addr::from(octets).into())
        }
        _ => None,
    });
    addresses.filter(|address| is_usable(*address)).take(MOST_ADDRESSES)
}

fn is_usable(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}

fn same_addresses(a: Path, b: Path) -> bool {
    (a.local.ip(), a.remote.ip()) == (b.local.ip(), b.remote.ip())
}

/// The data of NO_NATS_ALLOWED for a datagram from `source` (RFC 4555 §4.2.6).
fn no_nats(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut data = Vec::new();
    for address in [source.ip(), destination.ip()] {
        match address {
            IpAddr::V4(v4) => data.extend(v4.octets()),
            IpAddr::V6(v6) => data.extend(v6.octets()),
        }
    }
    data.extend(source.port().to_be_bytes());
    data.extend(destination.port().to_be_bytes());
    data
}

/// What to say on an IKE SA that was replaced, if we move.
#[derive(Debug, Clone, Copy)]
pub(super) struct Farewell {
    peer: PeerId,
    mobile: bool,
    updates: bool,
}

impl Farewell {
    /// Whatever tells the peer where we are now.
    pub(super) fn write(self, channel: &Channel, cx: &Cx<'_>) -> Chain {
        let mut chain = Chain::new();
        if self.updates {
            chain.notify(NotifyType::UPDATE_SA_ADDRESSES, &[]);
        }
        if self.mobile {
            tell_addresses(&mut chain, channel, self.peer, cx);
        }
        chain
    }

    /// The way to the peer's other addresses, now and then, when the answer is long in coming: the peer may have moved, too.
    pub(super) fn detour(self, channel: &Channel, cx: &Cx<'_>) -> Option<Path> {
        let sent = channel.transmissions();
        let due = self.updates && sent >= PATIENCE && !sent.is_multiple_of(2);
        let (peer, ports) = (cx.peer_ref(self.peer), &cx.shared.config);
        let float = |way: &Path| nat::float(*way, ports.ike_port, ports.nat_port);
        let others = peer.paths.iter().map(float).filter(|way| !same_addresses(*way, channel.path));
        let others: Vec<Path> = others.filter(|_| due).collect();
        let turn = usize::try_from(sent / 2).unwrap_or(0);
        others.get(turn % others.len().max(1)).copied()
    }
}

/// Where we are, and where else we could be.
fn tell_addresses(chain: &mut Chain, channel: &Channel, peer: PeerId, cx: &Cx<'_>) {
    let (path, config) = (channel.path, cx.peer(peer));
    if channel.nat_traversal {
        nat::announce(chain, channel.header_spis(), path, config.encap);
    } else {
        chain.notify(NotifyType::NO_NATS_ALLOWED, &no_nats(path.local, path.remote));
    }
    announce(chain, path, &config.paths, true);
}

impl Established {
    /// The caller knows other ways now than those `before`. Stays where it is if it can. Where the peer called us is its
    /// own choice, and no reason to move as long as it was none of our ways.
    pub(super) fn on_ways(&mut self, before: &[Path], paths: &[Path], cx: &mut Cx<'_>) {
        let here = self.channel.path.local.ip();
        let chosen_by_us =
            self.first().origin == Origin::Local || before.iter().any(|way| way.local.ip() == here);
        let ports = &cx.shared.config;
        let (ike, nat) = (ports.ike_port, ports.nat_port);
        let floats = self.channel.path.local.port() == nat;
        let float = |way: &Path| if floats { nat::float(*way, ike, nat) } else { *way };
        let ways: Vec<Path> = paths.iter().map(float).collect();
        let before = self.channel.path;
        let next = better_way(before, &ways).filter(|_| chosen_by_us);
        if let Some(mobility) = &mut self.extensions.mobility {
            mobility.ways = ways;
        }
        let Some(next) = next else { return };
        if self.steers() {
            return self.steer(next, cx);
        }
        // Our own address is all that we may change; from there we send at once, for the old one is gone.
        if next.local.is_ipv4() == before.remote.is_ipv4() {
            self.channel.move_to(Path { local: next.local, remote: before.remote }, cx);
            self.move_children(self.channel.path, cx);
            let mobile = self.extensions.mobility.is_some();
            self.want(if mobile { Task::AnnounceAddresses } else { Task::Liveness });
            self.ask(cx);
        }
    }

    /// Whether it is ours to decide where the SAs run.
    fn steers(&self) -> bool {
        self.extensions.mobility.is_some() && self.first().origin == Origin::Local
    }

    /// Takes another way and tells the peer. ESP follows at once if the peer's address is the one that it goes to: then nobody has
    /// to prove anything to us.
    fn steer(&mut self, path: Path, cx: &mut Cx<'_>) {
        self.channel.move_to(path, cx);
        if path.remote.ip() == self.esp_path.remote.ip() {
            self.move_children(path, cx);
        }
        self.update_addresses(cx);
    }

    fn update_addresses(&mut self, cx: &mut Cx<'_>) {
        self.queue.retain(|task| *task != Task::UpdateAddresses);
        self.queue.push_front(Task::UpdateAddresses);
        self.ask(cx);
    }

    /// Tells the data plane where the children run, if that is news.
    pub(super) fn move_children(&mut self, path: Path, cx: &mut Cx<'_>) {
        let (nat_local, nat_remote) = (self.channel.nat_local, self.channel.nat_remote);
        if (self.esp_path, self.esp_nat) == (path, (nat_local, nat_remote)) {
            return;
        }
        self.esp_path = path;
        self.esp_nat = (nat_local, nat_remote);
        let udp_encap = self.encapsulates(&cx.peer(self.peer), cx);
        let (peer, up) = (self.peer, self.children.iter().filter(|child| !child.down));
        let children = up.map(|child| child.id).collect();
        cx.event(Event::PeerMoved { peer, children, path, udp_encap, nat_local, nat_remote });
    }

    /// The other ways on which the outstanding request is tried, now that it has waited for long.
    pub(super) fn detour(&mut self) -> Option<Path> {
        let sent = self.channel.transmissions();
        let due = self.steers() && sent >= PATIENCE && !sent.is_multiple_of(2);
        let current = self.channel.path;
        self.extensions.mobility.as_mut().filter(|_| due)?.other(current)
    }

    /// An authentic, new message came on another way than the one in use.
    pub(super) fn on_other_way(&mut self, message: &Message<'_>, cx: &mut Cx<'_>) {
        let Some(mobility) = &self.extensions.mobility else {
            // RFC 7296 §2.23: followed unless we are the one behind the NAT.
            if self.channel.nat_remote && !self.channel.nat_local {
                self.channel.path = message.path;
                self.move_children(message.path, cx);
            }
            return;
        };
        // RFC 4555 §3.8: nothing but UPDATE_SA_ADDRESSES moves the IKE SA, so that any other exchange can test a way.
        let known = mobility.others(self.channel.path).contains(&message.path);
        let tried = known || (mobility.asked_there && mobility.heard_on == Some(message.path));
        if message.response && tried && self.steers() {
            self.steer(message.path, cx);
        } else if self.channel.nat_remote
            && let Some(mobility) = &mut self.extensions.mobility
        {
            // A responder behind a NAT cannot say where it is now; when it is not reached otherwise, it is tried there.
            mobility.asked_there &= mobility.heard_on == Some(message.path);
            mobility.heard_on = Some(message.path);
        }
    }

    /// An authentic ESP packet, newer than all before, came from elsewhere: ESP is sent there (RFC 7296 §2.23), and
    /// without MOBIKE so is IKE (RFC 4555 §3.8).
    pub(super) fn on_esp_from(&mut self, remote: SocketAddr, cx: &mut Cx<'_>) {
        let behind_nat = self.channel.nat_remote && !self.channel.nat_local;
        if !behind_nat || remote == self.esp_path.remote {
            return;
        }
        let path = Path { remote, ..self.esp_path };
        if self.extensions.mobility.is_none() {
            self.channel.path = path;
        }
        self.move_children(path, cx);
    }

    pub(super) fn ask_update_addresses(&mut self, cx: &mut Cx<'_>) {
        let mut chain = Chain::new();
        chain.notify(NotifyType::UPDATE_SA_ADDRESSES, &[]);
        let probe = self.write_addresses(&mut chain, cx);
        self.pending = Some(Pending::UpdateAddresses(probe));
        self.channel.request(ExchangeType::INFORMATIONAL, &chain, cx);
    }

    pub(super) fn ask_announce_addresses(&mut self, cx: &mut Cx<'_>) {
        let mut chain = Chain::new();
        let _unasked = self.write_addresses(&mut chain, cx);
        self.pending = Some(Pending::AnnounceAddresses);
        self.channel.request(ExchangeType::INFORMATIONAL, &chain, cx);
    }

    pub(super) fn ask_verify_path(&mut self, cx: &mut Cx<'_>) {
        let probe = Probe::new(self.channel.path, cx);
        let mut chain = Chain::new();
        chain.notify(NotifyType::COOKIE2, &probe.cookie);
        self.pending = Some(Pending::VerifyPath(probe));
        self.channel.request(ExchangeType::INFORMATIONAL, &chain, cx);
    }

    /// What makes a liveness check tell whether a NAT gave us another address (RFC 4555 §3.8).
    pub(super) fn write_nat_check(&self, chain: &mut Chain, cx: &Cx<'_>) {
        if self.steers() && self.channel.nat_local {
            let encap = cx.peer(self.peer).encap;
            nat::announce(chain, self.header_spis(), self.channel.path, encap);
        }
    }

    /// Compares how the peer sees us with how it saw us before. The first time, and after each IKE rekey, whose SPIs are in
    /// the hash, they differ: then one update too many is sent, which the RFC expects.
    pub(super) fn on_nat_check(&mut self, body: &Body<'_>, cx: &mut Cx<'_>) {
        if !self.steers() || !self.channel.nat_local {
            return;
        }
        let seen = body.notify(NotifyType::NAT_DETECTION_DESTINATION_IP).map(|n| n.data.to_vec());
        let Some(mobility) = self.extensions.mobility.as_mut() else { return };
        if seen.is_some() && mobility.seen_as != seen {
            mobility.seen_as = seen;
            self.update_addresses(cx);
        }
    }

    fn write_addresses(&self, chain: &mut Chain, cx: &mut Cx<'_>) -> Probe {
        tell_addresses(chain, &self.channel, self.peer, cx);
        let probe = Probe::new(self.channel.path, cx);
        chain.notify(NotifyType::COOKIE2, &probe.cookie);
        probe
    }

    /// The SPIs as every header of this IKE SA has them.
    fn header_spis(&self) -> (IkeSpi, IkeSpi) {
        self.channel.header_spis()
    }

    /// What is left to say on the IKE SA that another takes the place of, should we move before the peer has our answer:
    /// the peer knows none but that one, and asks for the answer where we were.
    pub(super) fn farewell(&self) -> Farewell {
        let mobile = self.extensions.mobility.is_some();
        Farewell { peer: self.peer, mobile, updates: self.steers() }
    }

    /// What a request says about addresses; the answer to that.
    pub(super) fn on_addresses(
        &mut self,
        message: &Message<'_>,
        chain: &mut Chain,
        cx: &mut Cx<'_>,
    ) {
        let body = &message.body;
        let cookie = body.notify(NotifyType::COOKIE2);
        if let Some(cookie) = cookie.filter(|cookie| COOKIE2_LEN.contains(&cookie.data.len())) {
            chain.notify(NotifyType::COOKIE2, cookie.data);
        }
        if self.extensions.mobility.is_none() {
            return;
        }
        if self.channel.nat_traversal && body.notify(NotifyType::NAT_DETECTION_SOURCE_IP).is_some()
        {
            let encap = cx.peer(self.peer).encap;
            nat::announce(chain, self.header_spis(), message.path, encap);
        }
        let says = |kind| body.notify(kind).is_some();
        let update = says(NotifyType::UPDATE_SA_ADDRESSES);
        let listed = says(NotifyType::ADDITIONAL_IP4_ADDRESS)
            || says(NotifyType::ADDITIONAL_IP6_ADDRESS)
            || says(NotifyType::NO_ADDITIONAL_ADDRESSES);
        let sent = no_nats(message.path.remote, message.path.local);
        let changed = |data: &[u8]| data != sent;
        if (update || listed)
            && body.notify(NotifyType::NO_NATS_ALLOWED).is_some_and(|n| changed(n.data))
        {
            chain.notify(NotifyType::UNEXPECTED_NAT_DETECTED, &[]);
            return;
        }
        if update && self.first().origin == Origin::Remote {
            if !is_usable(message.path.remote.ip()) {
                chain.notify(NotifyType::UNACCEPTABLE_ADDRESSES, &[]);
                return;
            }
            self.on_update(message, cx);
        }
        if listed {
            self.on_listed(message, cx);
        }
    }

    /// The initiator moved: IKE goes there at once, ESP after a proof that it receives there (RFC 4555 §3.5, §3.7).
    fn on_update(&mut self, message: &Message<'_>, cx: &mut Cx<'_>) {
        let before = self.esp_path;
        self.channel.path = message.path;
        self.detect_nat(message);
        if before.remote.ip() == message.path.remote.ip() {
            self.move_children(message.path, cx);
        } else {
            self.want(Task::VerifyPath);
        }
    }

    fn detect_nat(&mut self, message: &Message<'_>) {
        let found = nat::detect(&message.body, self.header_spis(), message.path);
        if found.traversal {
            self.channel.nat_local = found.local;
            self.channel.nat_remote = found.remote;
        }
    }

    /// The peer's addresses: that of the header and those listed (RFC 4555 §3.6).
    fn on_listed(&mut self, message: &Message<'_>, cx: &mut Cx<'_>) {
        let source = message.path.remote.ip();
        let current = self.channel.path.remote.ip();
        let theirs: Vec<IpAddr> = additional(&message.body).collect();
        let gone = source != current && !theirs.contains(&current);
        if let Some(mobility) = &mut self.extensions.mobility {
            mobility.theirs = theirs;
            mobility.theirs.push(source);
        }
        if gone && self.steers() && is_usable(source) {
            self.steer(message.path, cx);
        }
    }

    pub(super) fn on_addresses_updated(
        mut self: Box<Self>,
        probe: &Probe,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        if probe.is_foreign(&message.body) {
            return self.close(CloseReason::Protocol(OTHER_COOKIE), cx);
        }
        if probe.path != self.channel.path {
            // It moved again meanwhile; the next update is queued.
            return self.pump(cx);
        }
        let says = |kind| message.body.notify(kind).is_some();
        // To another address of the peer ESP goes only if somebody there has seen the cookie (RFC 4555 §3.7).
        let unproven =
            probe.path.remote.ip() != self.esp_path.remote.ip() && !probe.is_proof(&message.body);
        let refused = unproven
            || says(NotifyType::UNACCEPTABLE_ADDRESSES)
            || says(NotifyType::UNEXPECTED_NAT_DETECTED);
        if refused {
            self.on_update_refused(cx);
        } else {
            self.detect_nat(message);
            let seen = message.body.notify(NotifyType::NAT_DETECTION_DESTINATION_IP);
            if let Some(mobility) = &mut self.extensions.mobility {
                mobility.refusals = 0;
                mobility.seen_as = seen.map(|notify| notify.data.to_vec());
            }
            self.move_children(probe.path, cx);
        }
        self.pump(cx)
    }

    /// Tries the next way, or the same again: one forged packet must not make a way useless (RFC 4555 §3.9).
    fn on_update_refused(&mut self, cx: &mut Cx<'_>) {
        let current = self.channel.path;
        let Some(mobility) = &mut self.extensions.mobility else { return };
        mobility.refusals += 1;
        if mobility.refusals > MOST_REFUSALS {
            mobility.refusals = 0;
            tracing::warn!("the peer refuses every address that we move to");
            return;
        }
        if let Some(other) = mobility.other(current) {
            self.channel.move_to(other, cx);
        }
        self.update_addresses(cx);
    }

    pub(super) fn on_path_verified(
        mut self: Box<Self>,
        probe: &Probe,
        message: &Message<'_>,
        cx: &mut Cx<'_>,
    ) -> State {
        if probe.is_foreign(&message.body) {
            return self.close(CloseReason::Protocol(OTHER_COOKIE), cx);
        }
        if probe.path == self.channel.path && probe.is_proof(&message.body) {
            self.move_children(probe.path, cx);
        }
        self.pump(cx)
    }
}

impl Probe {
    fn new(path: Path, cx: &mut Cx<'_>) -> Self {
        Self { cookie: rng::cookie(&mut cx.shared.rng), path }
    }

    fn is_proof(&self, body: &Body<'_>) -> bool {
        body.notify(NotifyType::COOKIE2).is_some_and(|cookie| self.fits(cookie.data))
    }

    /// Whether the answer has another cookie than the request: then the SA must be closed (RFC 4555 §3.7).
    fn is_foreign(&self, body: &Body<'_>) -> bool {
        body.notify(NotifyType::COOKIE2).is_some_and(|cookie| !self.fits(cookie.data))
    }

    fn fits(&self, data: &[u8]) -> bool {
        self.cookie.ct_eq(data).into()
    }
}

/// The way to take instead of `current`; `None` if it can stay: one to the same address of the peer from another of ours,
/// or, if our own address is gone, the first of all.
fn better_way(current: Path, ways: &[Path]) -> Option<Path> {
    let mut same_peer = ways.iter().filter(|way| way.remote.ip() == current.remote.ip()).peekable();
    if same_peer.peek().is_some() {
        let all: Vec<&Path> = same_peer.collect();
        let stays = all.iter().any(|way| same_addresses(**way, current));
        let remote = current.remote;
        return all.first().filter(|_| !stays).map(|way| Path { local: way.local, remote });
    }
    let ours = ways.iter().any(|way| way.local.ip() == current.local.ip());
    ways.first().filter(|_| !ours).copied()
}

/// Octets of a COOKIE2 (RFC 4555 §4.2.5).
const COOKIE2_LEN: RangeInclusive<usize> = 8..=64;

const OTHER_COOKIE: &str = "the peer answered with another COOKIE2 than it was sent";
