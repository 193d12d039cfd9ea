//! One hub, many honest spokes and any number of strangers, on a virtual clock with 10 ms from end to end.
//!
//! ```text
//!   spokes[0..n] ── Nat? ──┐ 10 ms              addresses: 10.x.y.1 each, or one for all with a port each
//!                          ├──────► hub         strangers: `say` gives a datagram to the hub at once and takes its answers,
//!   strangers, spoofed ────┘                               which go nowhere but into `received`
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::*;

pub(super) const HUB: &str = "192.0.2.1:500";
/// From end to end.
const DELAY: Duration = Duration::from_millis(10);

pub(super) struct Crowd {
    pub(super) now: Instant,
    pub(super) hub: Endpoint,
    spokes: Vec<Spoke>,
    /// Which spoke, and which address of it, an address that the hub sees belongs to.
    seen_as: HashMap<SocketAddr, (usize, SocketAddr)>,
    due: BTreeSet<(Instant, usize)>,
    wire: BTreeMap<(Instant, u64), Packet>,
    serial: u64,
    /// How many peers the hub has up.
    pub(super) up: usize,
    /// The most half-open SAs at any time.
    pub(super) most_half_open: usize,
    /// Octets from and to strangers.
    pub(super) heard: usize,
    pub(super) said: usize,
    /// What strangers received last.
    pub(super) received: Vec<Vec<u8>>,
}

struct Spoke {
    endpoint: Endpoint,
    nat: bool,
    index: usize,
    due: Option<Instant>,
}

struct Packet {
    to_hub: bool,
    spoke: usize,
    path: Path,
    payload: Arc<[u8]>,
}

/// A spoke's own address.
fn inside(index: usize) -> SocketAddr {
    let [_, _, high, low] = u32::try_from(index).unwrap().to_be_bytes();
    SocketAddr::from(([10, high, low, 1], 500))
}

impl Spoke {
    /// What the hub sees of one of its addresses.
    fn outside(&self, own: SocketAddr) -> SocketAddr {
        if !self.nat {
            return own;
        }
        let port = 10_000 + 2 * u16::try_from(self.index).unwrap();
        SocketAddr::from(([203, 0, 113, 7], port + u16::from(own.port() == 4500)))
    }
}

fn spoke_name(index: usize) -> Identity {
    Identity::Fqdn(format!("spoke{index}.test"))
}

impl Crowd {
    /// A hub that anybody may talk to, as `stranger.test`.
    pub(super) fn new(settings: EndpointConfig) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an origin; the clock is not read again")]
        let now = Instant::now();
        let mut hub = Endpoint::new(settings, [1; 32]);
        let mut anybody = config(B);
        anybody.paths.clear();
        anybody.any_address = true;
        anybody.remote_id = RemoteId::Exact(Identity::Fqdn("stranger.test".into()));
        hub.add_peer(now, anybody);
        Self {
            now,
            hub,
            spokes: Vec::new(),
            seen_as: HashMap::new(),
            due: BTreeSet::new(),
            wire: BTreeMap::new(),
            serial: 0,
            up: 0,
            most_half_open: 0,
            heard: 0,
            said: 0,
            received: Vec::new(),
        }
    }

    /// One more spoke, which begins to connect at once.
    pub(super) fn add_spoke(&mut self, nat: bool) {
        let index = self.spokes.len();
        let seed = [u8::try_from(index % 251).unwrap(), u8::try_from(index / 251).unwrap()];
        let endpoint = Endpoint::new(
            EndpointConfig::default(),
            [seed, [2; 2]].concat().repeat(8).try_into().unwrap(),
        );
        let mut spoke = Spoke { endpoint, nat, index, due: None };
        for port in [500, 4500] {
            let own = SocketAddr::new(inside(index).ip(), port);
            self.seen_as.insert(spoke.outside(own), (index, own));
        }
        let hub = HUB.parse().unwrap();
        let mut theirs = config(B);
        theirs.paths = vec![Path { local: hub, remote: spoke.outside(inside(index)) }];
        theirs.remote_id = RemoteId::Exact(spoke_name(index));
        self.hub.add_peer(self.now, theirs);
        let mut ours = config(A);
        ours.paths = vec![Path { local: inside(index), remote: hub }];
        ours.local_id = Some(spoke_name(index));
        spoke.endpoint.add_peer(self.now, ours);
        self.spokes.push(spoke);
        self.drain_spoke(index);
    }

    fn send(&mut self, to_hub: bool, spoke: usize, path: Path, payload: Arc<[u8]>) {
        self.serial += 1;
        let packet = Packet { to_hub, spoke, path, payload };
        self.wire.insert((self.now + DELAY, self.serial), packet);
    }

    fn drain_spoke(&mut self, index: usize) {
        let spoke = &mut self.spokes[index];
        while spoke.endpoint.poll_event().is_some() {}
        let mut sent = Vec::new();
        while let Some(Transmit { path, payload }) = spoke.endpoint.poll_transmit() {
            let path = Path { local: path.remote, remote: spoke.outside(path.local) };
            sent.push((path, payload));
        }
        if let Some(old) = spoke.due.take() {
            self.due.remove(&(old, index));
        }
        spoke.due = spoke.endpoint.poll_timeout().map(|deadline| deadline.at);
        self.due.extend(spoke.due.map(|at| (at, index)));
        for (path, payload) in sent {
            self.send(true, index, path, payload);
        }
    }

    /// Answers to spokes go on the wire, all others to the strangers.
    fn drain_hub(&mut self) {
        while let Some(event) = self.hub.poll_event() {
            self.up += usize::from(matches!(event, Event::PeerUp { .. }));
            self.up -= usize::from(matches!(event, Event::PeerDown { .. }));
        }
        while let Some(Transmit { path, payload }) = self.hub.poll_transmit() {
            if let Some((spoke, own)) = self.seen_as.get(&path.remote).copied() {
                let path = Path { local: own, remote: path.local };
                self.send(false, spoke, path, payload);
            } else {
                self.said += payload.len();
                self.received.push(payload.to_vec());
            }
        }
        self.most_half_open = self.most_half_open.max(self.hub.admission.len());
    }

    /// Whatever a stranger says; the answers are in `received`.
    pub(super) fn say(&mut self, from: SocketAddr, payload: &[u8]) -> Disposition {
        self.heard += payload.len();
        self.received.clear();
        let path = Path { local: HUB.parse().unwrap(), remote: from };
        let disposition = self.hub.handle_datagram(self.now, path, &mut payload.to_vec());
        self.drain_hub();
        disposition
    }

    /// Octets to strangers for each octet from them.
    pub(super) fn amplification(&self) -> f64 {
        let octets = |number: usize| f64::from(u32::try_from(number).unwrap());
        octets(self.said) / octets(self.heard)
    }

    fn next_at(&self) -> Option<Instant> {
        let hub = self.hub.poll_timeout().map(|deadline| deadline.at);
        let wire = self.wire.first_key_value().map(|((at, _), _)| *at);
        let spokes = self.due.first().map(|(at, _)| *at);
        hub.into_iter().chain(wire).chain(spokes).min()
    }

    fn step(&mut self, at: Instant) {
        self.now = self.now.max(at);
        if self.hub.poll_timeout().is_some_and(|deadline| deadline.at <= self.now) {
            self.hub.handle_timeout(self.now);
            self.drain_hub();
        }
        while let Some((_, index)) = self.due.first().copied().filter(|(at, _)| *at <= self.now) {
            self.spokes[index].endpoint.handle_timeout(self.now);
            self.drain_spoke(index);
        }
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let Packet { to_hub, spoke, path, payload } = entry.remove();
            let mut payload = payload.to_vec();
            if to_hub {
                let _dropped_or_not = self.hub.handle_datagram(self.now, path, &mut payload);
                self.drain_hub();
            } else {
                let endpoint = &mut self.spokes[spoke].endpoint;
                let _dropped_or_not = endpoint.handle_datagram(self.now, path, &mut payload);
                self.drain_spoke(spoke);
            }
        }
    }

    /// Lets this much time pass.
    pub(super) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.next_at().filter(|at| *at <= end) {
            self.step(at);
        }
        self.now = end;
    }

    /// Runs until so many peers are up and says how long that took.
    #[track_caller]
    pub(super) fn run_until_up(&mut self, wanted: usize, limit: Duration) -> Duration {
        let began = self.now;
        while self.up < wanted {
            assert!(self.now - began <= limit, "{} of {wanted} after {limit:?}", self.up);
            let at = self.next_at().expect("something is left to happen");
            self.step(at);
        }
        self.now - began
    }
}
