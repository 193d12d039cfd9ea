//! Two endpoints, one of which does what the octets of a fuzzer say. It has the keys of its SAs, so that nothing stops at the
//! integrity check.
//!
//! ```text
//!   octets ─► script.rs ─► pass, drop, repeat, flip, edit (edit.rs), forge, let time pass, command ─► Pair ─► what must hold
//!
//!                    hostile end ── edited, sealed again ─► the end that is tested          after each step:
//!                                                           deadlines move, output is bounded,
//!                                                           children are within the configuration, SPIs are not reserved
//!   without keys and commands:  at the end both are left alone, and find each other again
//! ```

mod edit;
mod script;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::Endpoint;
use crate::config::{
    ChildConfig, Encap, EndpointConfig, FragmentSizes, Fragmentation, Pairing, PeerConfig, Psk,
    RemoteId, Start,
};
use crate::event::{ChildId, Event, Path, PeerId, Transmit};
use crate::fuzz::Input;
use crate::sa::{IkeSa, Stage};
use crate::shared::Cx;
use crate::wire::header::IkeSpi;
use crate::wire::identity::Identity;
use crate::wire::proposal::Proposal;
use crate::wire::selector::TrafficSelector;
use crate::wire::traffic::Traffic;

/// A hostile initiator against a responder.
pub(crate) fn responder(data: &[u8]) {
    script::play(Input(data), A);
}

/// A hostile responder against an initiator.
pub(crate) fn initiator(data: &[u8]) {
    script::play(Input(data), B);
}

/// Calls.
const A: usize = 0;
/// Answers.
const B: usize = 1;

/// The most datagrams that one input may make an endpoint send: all fragments of an answer, and a few requests.
const MOST_TRANSMITS: usize = 600;
/// The most calls of `handle_timeout` at one moment.
const MOST_CALLS: usize = 4;
/// The most SAs that an endpoint may hold, by the bounds of its admission and of one peer.
const MOST_SAS: usize = 200;

struct Pair {
    now: Instant,
    ends: [Endpoint; 2],
    /// What each may carry at most.
    allowed: [Traffic; 2],
    /// SPIs of the children of each end: ours and the peer's.
    children: [BTreeMap<ChildId, (u32, u32)>; 2],
    /// Sent and not delivered, with its sender.
    wire: VecDeque<(usize, Transmit)>,
    /// Delivered already.
    past: Vec<(usize, Transmit)>,
}

impl Pair {
    /// Two that know each other, as `flags` say.
    fn new(flags: u8, more: u8) -> Self {
        let settings = EndpointConfig {
            cookie_threshold: if flags & 8 != 0 { 0 } else { 8 },
            max_half_open: 32,
            ..EndpointConfig::default()
        };
        let end = |seed| Endpoint::new(settings.clone(), [seed; 32]);
        let configs = [config(A, flags, more), config(B, flags, more)];
        let allowed = configs.each_ref().map(|config| {
            let child = config.children.first();
            child.map(|child| Traffic::new(child.local.clone(), child.remote.clone()))
        });
        let mut pair = Self {
            now: origin(),
            ends: [end(1), end(2)],
            allowed: allowed.map(Option::unwrap_or_default),
            children: [BTreeMap::new(), BTreeMap::new()],
            wire: VecDeque::new(),
            past: Vec::new(),
        };
        let [to_b, to_a] = configs;
        let _id = pair.tell(B, |end, now| end.add_peer(now, to_a));
        let _id = pair.tell(A, |end, now| end.add_peer(now, to_b));
        pair
    }

    #[expect(clippy::indexing_slicing, reason = "an end is 0 or 1")]
    fn end(&mut self, end: usize) -> &mut Endpoint {
        &mut self.ends[end & 1]
    }

    /// Does something to an end and sees to what comes of it.
    fn tell<T>(&mut self, end: usize, act: impl FnOnce(&mut Endpoint, Instant) -> T) -> T {
        let now = self.now;
        let result = act(self.end(end), now);
        self.drain(end);
        result
    }

    fn drain(&mut self, end: usize) {
        while let Some(event) = self.end(end).poll_event() {
            self.note(end, &event);
        }
        let mut sent = 0;
        while let Some(transmit) = self.end(end).poll_transmit() {
            sent += 1;
            assert!(sent <= MOST_TRANSMITS, "{sent} datagrams for one input");
            assert!(transmit.payload.len() <= 65_507, "no UDP datagram is that long");
            self.wire.push_back((end, transmit));
        }
        let sas = self.end(end).sas.len();
        assert!(sas <= MOST_SAS, "{sas} IKE SAs");
    }

    #[expect(clippy::indexing_slicing, reason = "an end is 0 or 1")]
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is not of interest")]
    fn note(&mut self, end: usize, event: &Event) {
        match event {
            Event::ChildUp { child, .. } => {
                let granted = Traffic::new(child.local_ts.clone(), child.remote_ts.clone());
                let allowed = &self.allowed[end & 1];
                assert!(!granted.is_empty() && allowed.contains(&granted), "{granted:?}");
                let (ours, theirs) = (child.spi_in.0.get(), child.spi_out.0.get());
                assert!(ours > 255, "{ours} is a reserved SPI (RFC 4303 §2.1)");
                assert!(self.children[end & 1].insert(child.id, (ours, theirs)).is_none());
            }
            Event::ChildDown { child, reason } => {
                let _text = format!("{reason:?}");
                assert!(self.children[end & 1].remove(child).is_some(), "{child:?} was not up");
            }
            Event::PeerDown { reason, .. }
            | Event::Refused { reason, .. }
            | Event::ChildFailed { reason, .. } => drop(format!("{reason:?}")),
            _ => {}
        }
    }

    /// Hands octets over, from the sender of `transmit`.
    fn deliver(&mut self, from: usize, path: Path, payload: &[u8]) {
        let path = Path { local: path.remote, remote: path.local };
        self.tell(1 - from, |end, now| {
            let _counted = end.handle_datagram(now, path, &mut payload.to_vec());
        });
    }

    /// Goes to the next deadline of either.
    fn advance(&mut self) {
        let next = self.ends.iter().filter_map(Endpoint::poll_timeout).map(|it| it.at).min();
        let Some(at) = next else { return };
        self.now = self.now.max(at);
        self.timeouts();
    }

    fn timeouts(&mut self) {
        for end in [A, B] {
            let now = self.now;
            let is_due = |end: &Endpoint| end.poll_timeout().filter(|it| it.at <= now);
            // What is done for one SA may make another one due at once, which is for the next call; but not for ever.
            let mut calls = 0;
            while let Some(deadline) = is_due(self.end(end)) {
                calls += 1;
                assert!(calls <= MOST_CALLS, "the deadline `{}` does not move", deadline.why);
                self.tell(end, Endpoint::handle_timeout);
            }
        }
    }

    /// The SA of an end with this SPI of its own; without one, the newest that has keys.
    fn sa(&mut self, end: usize, spi: Option<IkeSpi>) -> Option<(&mut IkeSa, Cx<'_>)> {
        let now = self.now;
        let Endpoint { sas, shared, .. } = self.end(end);
        let spi = match spi {
            Some(spi) => spi,
            None => sas.values_mut().filter_map(newest).max()?.1,
        };
        let sa = sas.get_mut(&spi)?;
        sa.has_keys().then_some((sa, Cx { now, shared }))
    }

    /// Whether both have the same children, at least one, and an SA to carry them.
    fn is_whole(&self) -> bool {
        let [a, b] = &self.children;
        let up = |end: &Endpoint| end.ike_sa(PeerId(0)).is_some();
        let mut a: Vec<_> = a.values().copied().collect();
        let mut b: Vec<_> = b.values().map(|(ours, theirs)| (*theirs, *ours)).collect();
        a.sort_unstable();
        b.sort_unstable();
        !a.is_empty() && a == b && self.ends.iter().all(up)
    }
}

fn newest(sa: &mut IkeSa) -> Option<(Instant, IkeSpi)> {
    (sa.has_keys() && sa.stage() != Stage::Closed).then(|| (sa.born(), sa.spi))
}

/// An origin that is the same for all inputs.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "an origin; the clock is not read again")]
    *ORIGIN.get_or_init(Instant::now)
}

fn address(end: usize) -> IpAddr {
    if end == A { [192, 0, 2, 1].into() } else { [192, 0, 2, 2].into() }
}

fn path(from: usize, port: u16) -> Path {
    let at = |end| SocketAddr::new(address(end), port);
    Path { local: at(from), remote: at(1 - from) }
}

/// How `end` sees the other.
fn config(end: usize, flags: u8, more: u8) -> PeerConfig {
    let ike = match flags & 3 {
        0 => "aes256gcm16-prfsha256-curve25519",
        1 => "aes128-sha256-curve25519",
        2 => "chacha20poly1305-prfsha512-curve25519-ecp256",
        _ => "aes128ctr-sha256-curve25519",
    };
    let esp = if more & 1 != 0 { "aes256gcm16-curve25519" } else { "aes256gcm16" };
    let name = |end| Identity::Fqdn(if end == A { "a.test" } else { "b.test" }.into());
    let net = |end, third: u8| {
        let second = if end == A { 1 } else { 2 };
        TrafficSelector::subnet([10, second, third, 0].into(), 24)
    };
    let nets =
        |end| if flags & 32 != 0 { vec![net(end, 0), net(end, 9)] } else { vec![net(end, 0)] };
    let ike = Proposal::ike_from_keywords(ike).into_iter().collect();
    let mut peer = PeerConfig::new("other", Psk::new(b"a secret of both".to_vec()), ike);
    peer.paths = vec![path(end, 500)];
    peer.local_id = Some(name(end));
    peer.remote_id = RemoteId::Exact(name(1 - end));
    peer.start = if end == A { Start::Always } else { Start::RespondOnly };
    peer.follow_redirects = more & 2 != 0;
    peer.mobike = more & 4 == 0;
    peer.encap = if more & 8 != 0 { Encap::Force } else { Encap::Auto };
    peer.auth_lifetime = (more & 16 != 0).then_some(Duration::from_mins(5));
    peer.fragmentation = match flags & 4 {
        0 => Fragmentation::default(),
        _ => Fragmentation::On(FragmentSizes::LEAST),
    };
    let esp = Proposal::esp_from_keywords(esp).into_iter().collect();
    let mut child = ChildConfig::new("net", nets(end), nets(1 - end), esp);
    if more & 32 != 0 {
        child.pairing = Pairing::Single;
    }
    if more & 64 != 0 {
        (child.resources, child.most_for_resources) = (2, 2);
    }
    peer.children = vec![child];
    peer
}
