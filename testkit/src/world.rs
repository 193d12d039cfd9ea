//! Two or more endpoints on a virtual clock, joined by seeded [`Link`]s. A scenario takes milliseconds and repeats
//! octet for octet, since time and chance are arguments of everything in it.
//!
//! ```text
//!            ┌───────────── World: now, rng, everything in flight, in order of arrival ─────────────┐
//!  Host 0    │ drain: poll_event ─► record, install children   poll_transmit ─► Nat ─► attacker ─► Link │   Host 1
//!  Endpoint ─┤                                                                                      ├─ Endpoint
//!            │ step:  the earliest of all arrivals and all poll_timeout ─► handle_datagram / _timeout │
//!            └──────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! ```
//! use std::time::Duration;
//! use testkit::link::Link;
//! use testkit::world::{World, psk_pair};
//!
//! let mut world = World::new(7).link(Link::default().loss(100)).peers(psk_pair());
//! world.run_until(World::both_up, Duration::from_secs(60));
//! world.assert_mirrored();
//! ```

mod attacker;
mod capture;
mod host;
mod report;
mod seeds;
mod setup;
mod steps;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ikev2::{Disposition, Endpoint, EndpointConfig, Path, PeerConfig, PeerId};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

pub use self::attacker::{Adversary, Answer, Trick};
pub use self::host::Host;
pub use self::seeds::for_each_seed_on_all_cores;
pub use self::setup::{
    LEFT, LEFT_ADDRESS, RIGHT, RIGHT_ADDRESS, child_of, pair_of, path, psk_pair, subnet,
};
use crate::link::{Link, Nat};

/// A datagram on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Where it says that it comes from.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// The UDP payload, without non-ESP marker.
    pub payload: Vec<u8>,
}

/// A datagram that a host sent, before links, boxes and attackers saw it.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Since the world began.
    pub at: Duration,
    /// Index of the sender.
    pub host: usize,
    /// As the sender sees it.
    pub path: Path,
    /// The UDP payload.
    pub payload: Arc<[u8]>,
}

/// What an attacker on the path makes of a datagram: nothing (it vanishes), itself, or others.
pub type Attacker = Box<dyn FnMut(Datagram, &mut ChaCha20Rng) -> Vec<Datagram>>;

/// The world. See the module's documentation.
pub struct World {
    seed: u64,
    rng: ChaCha20Rng,
    settings: EndpointConfig,
    start: Instant,
    now: Instant,
    hosts: Vec<Host>,
    link: Link,
    /// When the last datagram from one host to another arrived.
    earliest: BTreeMap<(IpAddr, IpAddr), Instant>,
    nat: Option<Nat>,
    attacker: Option<Attacker>,
    cut: bool,
    in_flight: BTreeMap<(Instant, u64), Datagram>,
    serial: u64,
    sent: Vec<Sent>,
}

impl World {
    /// An empty world with faultless links. Everything that follows is decided by `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an origin; the clock is not read again")]
        let start = Instant::now();
        Self {
            seed,
            rng: ChaCha20Rng::seed_from_u64(seed),
            settings: EndpointConfig::default(),
            start,
            now: start,
            hosts: Vec::new(),
            link: Link::default(),
            earliest: BTreeMap::new(),
            nat: None,
            attacker: None,
            cut: false,
            in_flight: BTreeMap::new(),
            serial: 0,
            sent: Vec::new(),
        }
    }

    /// Makes every way between hosts like this one.
    #[must_use]
    pub fn link(mut self, link: Link) -> Self {
        self.link = link;
        self
    }

    /// Gives every host that is added or restarted from here on these settings.
    #[must_use]
    pub fn settings(mut self, settings: EndpointConfig) -> Self {
        self.settings = settings;
        self
    }

    /// Puts a NAT box before the host with its inside address.
    #[must_use]
    pub fn nat(mut self, nat: Nat) -> Self {
        self.nat = Some(nat);
        self
    }

    /// Adds a left and a right host with one peer each.
    #[must_use]
    pub fn peers(mut self, [left, right]: [PeerConfig; 2]) -> Self {
        let behind_nat = self.nat.as_ref().map(|nat| nat.inside);
        let left_host = self.add_host("left", behind_nat.unwrap_or(LEFT_ADDRESS));
        let right_host = self.add_host("right", RIGHT_ADDRESS);
        self.add_peer(left_host, left);
        self.add_peer(right_host, right);
        self
    }

    /// Adds a host without peers; its index comes back.
    pub fn add_host(&mut self, name: &'static str, address: IpAddr) -> usize {
        let endpoint = self.new_endpoint();
        self.hosts.push(Host::new(name, address, endpoint));
        self.hosts.len() - 1
    }

    fn new_endpoint(&mut self) -> Endpoint {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let mut endpoint = Endpoint::new(self.settings.clone(), seed);
        endpoint.set_wall_clock(self.start, crate::pki::TODAY);
        endpoint
    }

    /// Adds a peer to a host.
    pub fn add_peer(&mut self, host: usize, config: PeerConfig) -> PeerId {
        self.host_mut(host).wanted += config.children.len();
        let id = self.command(host, |endpoint, now| endpoint.add_peer(now, config));
        self.host_mut(host).peers.push(id);
        id
    }

    /// Takes the power from a host and gives it back: its endpoint forgets everything and says nothing.
    pub fn restart(&mut self, host: usize, configs: Vec<PeerConfig>) {
        let endpoint = self.new_endpoint();
        self.host_mut(host).restart(endpoint);
        for config in configs {
            self.add_peer(host, config);
        }
    }

    /// Lets an attacker see and change every datagram from here on.
    pub fn attack(
        &mut self,
        attacker: impl FnMut(Datagram, &mut ChaCha20Rng) -> Vec<Datagram> + 'static,
    ) {
        self.attacker = Some(Box::new(attacker));
    }

    /// Sends the attacker home.
    pub fn relent(&mut self) {
        self.attacker = None;
    }

    /// Cuts every wire, or joins them again. What is in flight is lost.
    pub fn cut(&mut self, cut: bool) {
        self.cut = cut;
        if cut {
            self.in_flight.clear();
        }
    }

    /// Replaces the link from here on.
    pub fn set_link(&mut self, link: Link) {
        self.link = link;
    }

    /// The NAT box.
    pub fn nat_mut(&mut self) -> Option<&mut Nat> {
        self.nat.as_mut()
    }

    /// Gives a command to a host's endpoint, then drains it.
    pub fn command<T>(&mut self, host: usize, run: impl FnOnce(&mut Endpoint, Instant) -> T) -> T {
        let now = self.now;
        let result = run(&mut self.host_mut(host).endpoint, now);
        self.drain(host);
        result
    }

    /// Gives a host another address. What is on its way to the old one is lost.
    pub fn readdress(&mut self, host: usize, address: IpAddr) {
        self.host_mut(host).address = address;
    }

    /// Hands a datagram to a host as if it came from the wire, at once.
    pub fn inject(
        &mut self,
        host: usize,
        source: SocketAddr,
        local_port: u16,
        payload: &[u8],
    ) -> Disposition {
        let local = SocketAddr::new(self.host(host).address, local_port);
        self.deliver(host, Path { local, remote: source }, payload.to_vec())
    }

    /// Runs until `done`, then says how long that took.
    ///
    /// # Panics
    /// If it takes longer than `limit`, or if nothing is left that could happen.
    #[track_caller]
    pub fn run_until(&mut self, done: impl Fn(&Self) -> bool, limit: Duration) -> Duration {
        let began = self.now;
        let deadline = began + limit;
        while !done(self) {
            match self.next_at() {
                Some(at) if at <= deadline => self.step(),
                Some(_) => panic!("not done after {limit:?}\n{}", self.report()),
                None => panic!("not done, and nothing is left to happen\n{}", self.report()),
            }
        }
        self.now - began
    }

    /// Runs for this long, to the moment.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Runs until nobody has sent anything for ten seconds, which is longer than the gap between repetitions.
    ///
    /// # Panics
    /// If that does not happen within `limit`.
    #[track_caller]
    pub fn run_until_quiet(&mut self, limit: Duration) {
        let deadline = self.now + limit;
        loop {
            let before = self.sent.len();
            self.run_for(Duration::from_secs(10));
            if self.sent.len() == before {
                return;
            }
            assert!(self.now <= deadline, "not quiet after {limit:?}\n{}", self.report());
        }
    }

    /// Goes to the next arrival or deadline and lets it happen. Without one, nothing happens.
    ///
    /// # Panics
    /// If an endpoint's deadline does not move when it is served.
    pub fn advance_to_next(&mut self) {
        if self.next_at().is_some() {
            self.step();
        }
    }

    fn next_at(&self) -> Option<Instant> {
        let arrival = self.in_flight.first_key_value().map(|((at, _), _)| *at);
        let deadlines = self.hosts.iter().filter_map(|host| host.endpoint.poll_timeout());
        deadlines.map(|deadline| deadline.at).chain(arrival).min()
    }

    fn step(&mut self) {
        let Some(at) = self.next_at() else { return };
        self.now = self.now.max(at);
        if let Some(entry) = self.in_flight.first_entry().filter(|entry| entry.key().0 <= self.now)
        {
            let datagram = entry.remove();
            self.arrive(datagram);
            return;
        }
        for host in 0..self.hosts.len() {
            let due = |world: &Self| {
                world.host(host).endpoint.poll_timeout().filter(|d| d.at <= world.now)
            };
            if due(self).is_some() {
                self.command(host, Endpoint::handle_timeout);
                if let Some(deadline) = due(self) {
                    panic!("the deadline {:?} does not move\n{}", deadline.why, self.report());
                }
            }
        }
    }

    /// A datagram comes off the wire.
    fn arrive(&mut self, datagram: Datagram) {
        let Datagram { source, destination, payload } = datagram;
        let destination = match &self.nat {
            Some(nat) => nat.inward(destination),
            None => Some(destination),
        };
        let Some(local) = destination else { return };
        let host = self.hosts.iter().position(|host| host.address == local.ip());
        if let Some(host) = host {
            self.deliver(host, Path { local, remote: source }, payload);
        }
    }

    fn deliver(&mut self, host: usize, path: Path, mut payload: Vec<u8>) -> Disposition {
        let at = self.elapsed();
        let disposition =
            self.command(host, |endpoint, now| endpoint.handle_datagram(now, path, &mut payload));
        if let Disposition::Dropped(reason) = disposition {
            self.host_mut(host).drops.push((at, reason));
        }
        disposition
    }

    /// Events first, then datagrams: the endpoint's drain contract.
    fn drain(&mut self, host: usize) {
        let at = self.elapsed();
        while let Some(event) = self.host_mut(host).endpoint.poll_event() {
            self.host_mut(host).record(at, event);
        }
        while let Some(transmit) = self.host_mut(host).endpoint.poll_transmit() {
            let (path, payload) = (transmit.path, transmit.payload);
            self.sent.push(Sent { at, host, path, payload: Arc::clone(&payload) });
            self.send(path, &payload);
        }
    }

    fn send(&mut self, path: Path, payload: &[u8]) {
        let source = match &mut self.nat {
            Some(nat) => nat.outward(path.local),
            None => path.local,
        };
        let datagram = Datagram { source, destination: path.remote, payload: payload.to_vec() };
        let datagrams = match &mut self.attacker {
            Some(attacker) => attacker(datagram, &mut self.rng),
            None => vec![datagram],
        };
        for datagram in datagrams {
            let way = (datagram.source.ip(), datagram.destination.ip());
            let earliest = self.earliest.entry(way).or_insert(self.now);
            let len = datagram.payload.len();
            for at in self.link.carry(self.now, earliest, len, &mut self.rng) {
                if !self.cut {
                    self.serial += 1;
                    self.in_flight.insert((at, self.serial), datagram.clone());
                }
            }
        }
    }

    /// How long the world has existed.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Everything that anybody sent, in order.
    #[must_use]
    pub fn sent(&self) -> &[Sent] {
        &self.sent
    }

    /// A host by its index.
    ///
    /// # Panics
    /// If there is no such host.
    #[must_use]
    pub fn host(&self, host: usize) -> &Host {
        self.hosts.get(host).expect("a host that was added")
    }

    fn host_mut(&mut self, host: usize) -> &mut Host {
        self.hosts.get_mut(host).expect("a host that was added")
    }

    /// The left host.
    #[must_use]
    pub fn left(&self) -> &Host {
        self.host(LEFT)
    }

    /// The right host.
    #[must_use]
    pub fn right(&self) -> &Host {
        self.host(RIGHT)
    }

    /// Whether every host has every peer up with every child.
    #[must_use]
    pub fn both_up(&self) -> bool {
        self.hosts.iter().all(Host::is_up)
    }

    /// Whether nobody has a peer or a child.
    #[must_use]
    pub fn all_down(&self) -> bool {
        self.hosts.iter().all(|host| host.up.is_empty() && host.child_count() == 0)
    }

    /// Demands that the left and the right host have the same children, seen from either side.
    ///
    /// # Panics
    /// If a child of one is not the mirror image of one of the other: SPIs, keys, selectors, algorithms.
    #[track_caller]
    pub fn assert_mirrored(&self) {
        let counts = (self.left().child_count(), self.right().child_count());
        assert!(counts.0 == counts.1, "children: {counts:?}\n{}", self.report());
        for left in self.left().children() {
            let mirrored = self.right().children().find(|right| right.spi_in == left.spi_out);
            let Some(right) = mirrored else {
                panic!("the right host does not receive on {:?}\n{}", left.spi_out, self.report())
            };
            assert_eq!(left.spi_in, right.spi_out, "SPIs");
            assert!(left.keys_in.encr == right.keys_out.encr, "cipher keys, right to left");
            assert!(left.keys_out.encr == right.keys_in.encr, "cipher keys, left to right");
            assert!(left.keys_in.integ == right.keys_out.integ, "integrity keys, right to left");
            assert!(left.keys_out.integ == right.keys_in.integ, "integrity keys, left to right");
            assert!(
                left.keys_in.encr != left.keys_out.encr,
                "the directions have keys of their own"
            );
            assert_eq!(left.local_ts, right.remote_ts, "selectors");
            assert_eq!(left.remote_ts, right.local_ts, "selectors");
            assert_eq!(left.suite, right.suite, "algorithms");
            assert_eq!(left.udp_encap, right.udp_encap, "encapsulation");
        }
    }
}

/// Runs a scenario with the seeds 0, 1, ... `count`; with the environment variable `WORLD_SEED` only with that one.
///
/// # Panics
/// If the scenario does; the seed is printed first.
pub fn for_each_seed(count: u64, scenario: impl Fn(u64)) {
    let only = std::env::var("WORLD_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(0..count, |seed: u64| seed..seed + 1);
    for seed in seeds {
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| scenario(seed))) {
            let test = std::thread::current().name().unwrap_or("?").to_string();
            eprintln!("again: WORLD_SEED={seed} cargo test {test}");
            resume_unwind(cause);
        }
    }
}
