//! What one more IKE SA costs the others: one endpoint with 10, 1000 and 10 000 established SAs.
//!
//! ```text
//!   cargo bench -p ikev2 --bench scale                      times, and last a table with their ratio to 10 SAs
//!   SCALE_MEMORY=10000 cargo bench -p ikev2 --bench scale   resident memory per SA instead (Linux)
//! ```
//!
//! Every SA has a peer with an address and an identity of its own, and one child. The peers are endpoints of their own,
//! so that the numbers are those of the hub alone. What grows with the number grows with the logarithm (timers), and
//! where SAs are touched at random, with the misses of the processor's caches.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::Criterion;
use ikev2::registry::ExchangeType;
use ikev2::wire::header::Header;
use ikev2::{
    ChildConfig, ChildId, ChildUsage, Disposition, Dpd, DpdAction, DropReason, Endpoint,
    EndpointConfig, Event, Identity, Path, PeerConfig, Proposal, Psk, RemoteId, Start,
    TrafficSelector, Transmit,
};

const SIZES: [usize; 3] = [10, 1000, 10_000];

/// Least time of one operation in nanoseconds, by name and number of SAs.
type Times = BTreeMap<(&'static str, usize), f64>;

fn hub_address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 500))
}

fn address(index: usize) -> SocketAddr {
    let [_, b, c, d] = u32::try_from(index).unwrap().to_be_bytes();
    SocketAddr::from(([10, b, c, d], 500))
}

fn config(ids: (String, String), way: Path, start: Start) -> PeerConfig {
    let ike = Proposal::ike_from_keywords("aes256gcm16-prfsha256-curve25519").unwrap();
    let esp = Proposal::esp_from_keywords("aes256gcm16-noesn").unwrap();
    let mut config = PeerConfig::new(ids.1.clone(), Psk::new(b"scale".to_vec()), vec![ike]);
    config.paths = vec![way];
    config.local_id = Some(Identity::Fqdn(ids.0));
    config.remote_id = RemoteId::Exact(Identity::Fqdn(ids.1));
    let any = vec![TrafficSelector::any_v4()];
    config.children = vec![ChildConfig::new("net", any.clone(), any, vec![esp])];
    config.start = start;
    // The spokes ask, the hub does not; nobody dies.
    let interval = Duration::from_secs(if start == Start::Always { 30 } else { 1 << 30 });
    config.dpd = Some(Dpd { interval, timeout: interval * 4, action: DpdAction::Restart });
    config
}

struct Hub {
    now: Instant,
    endpoint: Endpoint,
    spokes: Vec<Endpoint>,
    children: Vec<ChildId>,
    /// Each peer's IKE_AUTH request, and the path on which the hub received it.
    auths: Vec<(Path, Vec<u8>)>,
    /// Drives the choice of an SA.
    dice: u64,
}

impl Hub {
    fn new(size: usize, keep_spokes: bool) -> Self {
        let now = Instant::now();
        let mut this = Self {
            now,
            endpoint: Endpoint::new(EndpointConfig::default(), [1; 32]),
            spokes: Vec::new(),
            children: Vec::new(),
            auths: Vec::new(),
            dice: 1,
        };
        for index in 0..size {
            let (name, hub) = (format!("spoke{index}.test"), "hub.test".to_string());
            let way = Path { local: hub_address(), remote: address(index) };
            let theirs = config((hub.clone(), name.clone()), way, Start::RespondOnly);
            this.endpoint.add_peer(now, theirs);
            let way = Path { local: address(index), remote: hub_address() };
            let mut seed = [2; 32];
            seed[..8].copy_from_slice(&u64::try_from(index).unwrap().to_be_bytes());
            let mut spoke = Endpoint::new(EndpointConfig::default(), seed);
            spoke.add_peer(now, config((name, hub), way, Start::Always));
            this.converse(&mut spoke, keep_spokes);
            if keep_spokes {
                this.spokes.push(spoke);
            }
        }
        assert!(!keep_spokes || this.children.len() == size);
        this
    }

    /// Carries messages until both are silent.
    fn converse(&mut self, spoke: &mut Endpoint, record: bool) {
        loop {
            while spoke.poll_event().is_some() {}
            let Some(Transmit { path, payload }) = spoke.poll_transmit() else { return };
            let way = Path { local: path.remote, remote: path.local };
            let header = Header::parse(&payload).unwrap();
            if record && header.exchange == ExchangeType::IKE_AUTH {
                self.auths.push((way, payload.to_vec()));
            }
            self.endpoint.handle_datagram(self.now, way, &mut payload.to_vec());
            while let Some(event) = self.endpoint.poll_event() {
                if let Event::ChildUp { child, .. } = event {
                    self.children.push(child.id);
                }
            }
            while let Some(Transmit { path, payload }) = self.endpoint.poll_transmit() {
                let way = Path { local: path.remote, remote: path.local };
                spoke.handle_datagram(self.now, way, &mut payload.to_vec());
            }
        }
    }

    /// Some SA.
    fn any(&mut self) -> usize {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let size = u64::try_from(self.auths.len()).unwrap();
        usize::try_from((self.dice >> 33) % size).unwrap()
    }

    /// A request of a random SA that was answered before.
    fn repeat(&mut self) {
        let index = self.any();
        let (way, payload) = &self.auths[index];
        let got = self.endpoint.handle_datagram(self.now, *way, &mut payload.clone());
        assert_eq!(got, Disposition::Dropped(DropReason::Retransmit));
        assert!(self.endpoint.poll_transmit().is_some());
    }

    /// A liveness request of a random peer; only the hub's part is timed.
    fn liveness(&mut self) -> Duration {
        let index = self.any();
        let mut spoke = self.spokes.swap_remove(index);
        self.now = self.now.max(spoke.poll_timeout().unwrap().at);
        spoke.handle_timeout(self.now);
        while spoke.poll_event().is_some() {}
        let mut spent = Duration::ZERO;
        while let Some(Transmit { path, payload }) = spoke.poll_transmit() {
            let way = Path { local: path.remote, remote: path.local };
            let mut payload = payload.to_vec();
            let began = Instant::now();
            let got = self.endpoint.handle_datagram(self.now, way, &mut payload);
            let answer = self.endpoint.poll_transmit();
            spent += began.elapsed();
            assert_eq!(got, Disposition::Accepted);
            if let Some(Transmit { path, payload }) = answer {
                let way = Path { local: path.remote, remote: path.local };
                spoke.handle_datagram(self.now, way, &mut payload.to_vec());
            }
        }
        let last = self.spokes.len();
        self.spokes.push(spoke);
        self.spokes.swap(index, last);
        spent
    }

    fn unknown_spi(&mut self) {
        let (way, payload) = &self.auths[0];
        let mut payload = payload.clone();
        payload[8..16].copy_from_slice(&self.dice.to_be_bytes());
        self.dice = self.dice.wrapping_add(1);
        let got = self.endpoint.handle_datagram(self.now, *way, &mut payload);
        assert_eq!(got, Disposition::Dropped(DropReason::UnknownSpi));
    }

    fn usage(&mut self) {
        let index = self.any();
        let usage = ChildUsage { octets: 1, packets: 1, last_inbound: Some(self.now) };
        self.endpoint.report_usage(self.now, self.children[index], usage);
    }
}

/// The first message of a stranger.
fn first_message() -> Vec<u8> {
    let way = Path { local: address(1), remote: hub_address() };
    let mut stranger = Endpoint::new(EndpointConfig::default(), [9; 32]);
    let names = ("stranger.test".to_string(), "hub.test".to_string());
    stranger.add_peer(Instant::now(), config(names, way, Start::Always));
    stranger.poll_transmit().unwrap().payload.to_vec()
}

/// The mean of so many.
fn nanoseconds(spent: Duration, number: u64) -> f64 {
    spent.as_secs_f64() * 1e9 / f64::from(u32::try_from(number).unwrap())
}

/// Times `operation` under criterion and remembers the best of its samples.
fn time(
    criterion: &mut Criterion,
    times: &mut Times,
    (name, size): (&'static str, usize),
    mut operation: impl FnMut() -> Option<Duration>,
) {
    criterion.bench_function(&format!("{name}/{size}"), |bencher| {
        bencher.iter_custom(|iterations| {
            let mut inner = None;
            let began = Instant::now();
            for _ in 0..iterations {
                if let Some(spent) = operation() {
                    *inner.get_or_insert(Duration::ZERO) += spent;
                }
            }
            let spent = inner.unwrap_or_else(|| began.elapsed());
            let each = nanoseconds(spent, iterations);
            let best = times.entry((name, size)).or_insert(each);
            *best = each.min(*best);
            spent
        });
    });
}

fn with_sas(criterion: &mut Criterion, times: &mut Times, size: usize) {
    let mut hub = Hub::new(size, true);
    let stranger = Path { local: hub_address(), remote: SocketAddr::from(([203, 0, 113, 1], 500)) };
    let first = first_message();
    time(criterion, times, ("repeated request", size), || {
        hub.repeat();
        None
    });
    time(criterion, times, ("unknown SPI", size), || {
        hub.unknown_spi();
        None
    });
    time(criterion, times, ("unknown address", size), || {
        let got = hub.endpoint.handle_datagram(hub.now, stranger, &mut first.clone());
        assert_eq!(got, Disposition::Dropped(DropReason::UnknownPeer));
        None
    });
    time(criterion, times, ("poll_timeout", size), || {
        black_box(hub.endpoint.poll_timeout());
        None
    });
    time(criterion, times, ("handle_timeout, nothing due", size), || {
        hub.endpoint.handle_timeout(hub.now);
        None
    });
    time(criterion, times, ("report_usage", size), || {
        hub.usage();
        None
    });
    time(criterion, times, ("is_idle", size), || {
        black_box(hub.endpoint.is_idle());
        None
    });
    // Last, for it moves the clock.
    time(criterion, times, ("liveness request", size), || Some(hub.liveness()));
    let began = Instant::now();
    hub.endpoint.shutdown(hub.now);
    let each = nanoseconds(began.elapsed(), u64::try_from(size).unwrap());
    times.insert(("shutdown, for each SA", size), each);
}

/// Peers that may be anywhere, and a stranger's first message.
fn with_peers_anywhere(criterion: &mut Criterion, times: &mut Times, size: usize) {
    let now = Instant::now();
    let first = first_message();
    let mut way = Path { local: hub_address(), remote: SocketAddr::from(([203, 0, 113, 1], 500)) };
    let hub = |cookie_threshold| {
        let mut settings = EndpointConfig::default();
        settings.cookie_threshold = cookie_threshold;
        settings.max_half_open = usize::MAX;
        let mut hub = Endpoint::new(settings, [1; 32]);
        for index in 0..size {
            let names = ("hub.test".to_string(), format!("spoke{index}.test"));
            let mut peer = config(names, way, Start::RespondOnly);
            peer.paths.clear();
            peer.any_address = true;
            hub.add_peer(now, peer);
        }
        hub
    };
    let mut strict = hub(0);
    time(criterion, times, ("peers anywhere: cookie asked", size), || {
        let got = strict.handle_datagram(now, way, &mut first.clone());
        assert_eq!(got, Disposition::Dropped(DropReason::CookieAsked));
        assert!(strict.poll_transmit().is_some());
        None
    });
    let mut trusting = hub(usize::MAX);
    let mut number = 0u64;
    time(criterion, times, ("peers anywhere: half-open SA", size), || {
        number += 1;
        let mut request = first.clone();
        request[..8].copy_from_slice(&number.to_be_bytes());
        way.remote.set_port(1024 + u16::try_from(number % 60_000).unwrap());
        let got = trusting.handle_datagram(now, way, &mut request);
        assert_eq!(got, Disposition::Accepted);
        assert!(trusting.poll_transmit().is_some());
        None
    });
}

/// Octets of this process in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn memory(size: usize) {
    let warm = Hub::new(100, false);
    let before = resident();
    let hub = Hub::new(size, false);
    let each = (resident() - before) / size;
    eprintln!("{size} SAs, a child each, with their peers' configuration: {each} octets each");
    drop((warm, hub));
}

fn main() {
    if let Ok(size) = std::env::var("SCALE_MEMORY") {
        return memory(size.parse().expect("SCALE_MEMORY is a number of SAs"));
    }
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .configure_from_args();
    let mut times = Times::new();
    for size in SIZES {
        with_sas(&mut criterion, &mut times, size);
        with_peers_anywhere(&mut criterion, &mut times, size);
    }
    criterion.final_summary();
    eprintln!("\n{:30} {:>6} {:>12} {:>8}", "operation", "SAs", "best", "ratio");
    for ((name, size), each) in &times {
        let ratio = each / times[&(*name, SIZES[0])];
        eprintln!("{name:30} {size:>6} {each:>10.1}ns {ratio:>8.2}");
    }
}
