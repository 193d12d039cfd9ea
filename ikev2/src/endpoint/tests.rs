//! Two endpoints without a wire between them, seen from inside: a hostile peer that has keys, and what stays behind.
//!
//! ```text
//!   ends[A] ── poll_transmit ─► taken by the test ─► handle_datagram ── ends[B]        forge(): anything, sealed with A's keys
//! ```
//!
//! Scenarios that need no look inside are in `tests/pair`.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::*;
use crate::config::{ChildConfig, Psk, RemoteId, Start};
use crate::event::Transmit;
use crate::registry::{NotifyType, PayloadType};
use crate::wire::header::{Flags, MessageId};
use crate::wire::identity::Identity;
use crate::wire::message::{Body, Chain, message};
use crate::wire::proposal::Proposal;
use crate::wire::selector::TrafficSelector;

mod addresses;
mod anew;
mod authenticated;
mod children;
mod corpora;
mod crossing;
mod crowd;
mod deadlines;
mod exposed;
mod flood;
mod fragments;
mod golden;
mod greedy;
mod hostile;
mod intermediate;
mod letter;
mod noise;
mod proofs;
mod remains;
mod requests;
mod resources;
mod spis;
mod strangers;
mod values;

const A: usize = 0;
const B: usize = 1;
const IKE: &str = "aes256gcm16-prfsha256-curve25519";
const ESP: &str = "aes256gcm16-noesn";
const MINUTE: Duration = Duration::from_mins(1);

struct Pair {
    now: Instant,
    ends: [Endpoint; 2],
    events: [Vec<Event>; 2],
    /// Sent and not yet delivered, with its sender.
    wire: VecDeque<(usize, Transmit)>,
}

fn address(end: usize) -> SocketAddr {
    let last = if end == A { 1 } else { 2 };
    SocketAddr::from(([192, 0, 2, last], 500))
}

fn name(end: usize) -> Identity {
    Identity::Fqdn(if end == A { "a.test" } else { "b.test" }.into())
}

fn subnet(end: usize) -> TrafficSelector {
    let second = if end == A { 1 } else { 2 };
    TrafficSelector::subnet(std::net::IpAddr::from([10, second, 0, 0]), 16)
}

/// How `end` sees the other.
fn config(end: usize) -> PeerConfig {
    let proposals = vec![Proposal::ike_from_keywords(IKE).unwrap()];
    let mut peer = PeerConfig::new("other", Psk::new(b"secret".to_vec()), proposals);
    peer.paths = vec![Path { local: address(end), remote: address(B - end) }];
    peer.local_id = Some(name(end));
    peer.remote_id = RemoteId::Exact(name(B - end));
    peer.start = if end == A { Start::Always } else { Start::RespondOnly };
    let esp = vec![Proposal::esp_from_keywords(ESP).unwrap()];
    peer.children = vec![ChildConfig::new("net", vec![subnet(end)], vec![subnet(B - end)], esp)];
    peer
}

impl Pair {
    fn empty() -> Self {
        #[expect(clippy::disallowed_methods, reason = "an origin; the clock is not read again")]
        let now = Instant::now();
        let end = |seed| Endpoint::new(EndpointConfig::default(), [seed; 32]);
        Self { now, ends: [end(1), end(2)], events: [vec![], vec![]], wire: VecDeque::new() }
    }

    /// Both know each other, and A has sent its first message.
    fn new() -> Self {
        Self::of(|_, _| {})
    }

    /// The same, but each configured otherwise.
    fn of(change: impl Fn(usize, &mut PeerConfig)) -> Self {
        let mut pair = Self::empty();
        pair.add(change);
        pair
    }

    fn add(&mut self, change: impl Fn(usize, &mut PeerConfig)) {
        for end in [B, A] {
            let mut config = config(end);
            change(end, &mut config);
            self.ends[end].add_peer(self.now, config);
        }
        self.drain();
    }

    /// Both are up with one child, and nothing is on the way.
    fn up() -> Self {
        let mut pair = Self::new();
        pair.settle();
        assert_eq!((pair.ends[A].children.len(), pair.ends[B].children.len()), (1, 1));
        pair
    }

    /// Both are up, and other seeds make other nonces and SPIs.
    fn seeded(seed: u8) -> Self {
        let mut pair = Self::empty();
        pair.ends = [seed, seed ^ 0x80].map(|seed| {
            let mut long = [seed; 32];
            long[31] = 77;
            Endpoint::new(EndpointConfig::default(), long)
        });
        pair.add(|_, _| {});
        pair.settle();
        pair
    }

    fn drain(&mut self) {
        for end in [A, B] {
            while let Some(event) = self.ends[end].poll_event() {
                self.events[end].push(event);
            }
            while let Some(transmit) = self.ends[end].poll_transmit() {
                self.wire.push_back((end, transmit));
            }
        }
    }

    /// Hands octets of `from` to the other end.
    fn deliver(&mut self, from: usize, payload: &[u8]) -> Disposition {
        let path = Path { local: address(B - from), remote: address(from) };
        let disposition =
            self.ends[B - from].handle_datagram(self.now, path, &mut payload.to_vec());
        self.drain();
        disposition
    }

    /// Delivers the next message.
    fn pass(&mut self) -> Disposition {
        let (from, transmit) = self.wire.pop_front().expect("something was sent");
        self.deliver(from, &transmit.payload)
    }

    /// Delivers everything until both are silent.
    fn settle(&mut self) {
        for _ in 0..1000 {
            if self.wire.is_empty() {
                return;
            }
            let _dropped_or_not = self.pass();
        }
        panic!("they never stop talking");
    }

    /// Lets time pass; every message arrives at once.
    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            self.settle();
            let next = self.ends.iter().filter_map(Endpoint::poll_timeout).map(|d| d.at).min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            for end in [A, B] {
                self.ends[end].handle_timeout(self.now);
            }
            self.drain();
        }
        self.now = end;
    }

    /// The one SA of `end` that is up or on its way.
    fn sa(&mut self, end: usize) -> (&mut IkeSa, Cx<'_>) {
        let Endpoint { sas, shared, .. } = &mut self.ends[end];
        let live = |sa: &&mut IkeSa| !matches!(sa.stage(), Stage::Closing | Stage::Closed);
        let sa = sas.values_mut().find(live).expect("an SA");
        (sa, Cx { now: self.now, shared })
    }

    /// Any message at all, sealed with the keys of `from`.
    fn forge(
        &mut self,
        from: usize,
        exchange: ExchangeType,
        (id, response): (u32, bool),
        chain: &Chain,
    ) -> Vec<u8> {
        let (sa, mut cx) = self.sa(from);
        sa.forge(exchange, MessageId(id), response, chain, &mut cx).to_vec()
    }

    /// A request of `from` with this message ID, and what the other end answers.
    fn ask(
        &mut self,
        from: usize,
        exchange: ExchangeType,
        id: u32,
        chain: &Chain,
    ) -> Vec<NotifyType> {
        self.wire.clear();
        let request = self.forge(from, exchange, (id, false), chain);
        assert_eq!(self.deliver(from, &request), Disposition::Accepted);
        let (_, answer) = self.wire.pop_front().expect("an answer");
        self.open(from, &answer.payload)
    }

    /// The notifications in a message that `end` received, opened with its keys.
    fn open(&mut self, end: usize, payload: &[u8]) -> Vec<NotifyType> {
        let (sa, _) = self.sa(end);
        let mut octets = payload.to_vec();
        let authentic = sa.peek(&mut octets);
        let body = Body::parse(authentic.first, authentic.plain).unwrap();
        body.notifies.iter().map(|notify| notify.kind).collect()
    }
}

/// The notifications of a message in the clear.
fn notifies(payload: &[u8]) -> Vec<NotifyType> {
    let header = Header::parse(payload).unwrap();
    let body = Body::parse(header.next_payload, &payload[Header::LEN..]).unwrap();
    body.notifies.iter().map(|notify| notify.kind).collect()
}

/// A payload of an unknown type that must not be passed over.
fn critical() -> Chain {
    let mut chain = Chain::new();
    chain.unknown_critical(PayloadType(200));
    chain
}

fn count(events: &[Event], wanted: impl Fn(&Event) -> bool) -> usize {
    events.iter().filter(|event| wanted(event)).count()
}
