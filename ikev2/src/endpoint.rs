//! `Endpoint`: owns every IKE SA and turns datagrams, time and commands into events, datagrams and a deadline.
//!
//! ```text
//!   handle_datagram ─► header ─► first IKE_SA_INIT?  strangers.rs: peers.rs, admission.rs ─► respond.rs
//!                            └─► SA by our SPI       sa/mod.rs: three gates ─► state
//!   every input ends in settle(): news of the SAs ─► peer.rs decides what we want ─► timers
//! ```

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use self::probe::Probes;
use crate::admission::Admission;
use crate::config::{EndpointConfig, PeerConfig};
use crate::error::{CloseReason, DropReason, Unknown};
use crate::event::{ChildId, ChildUsage, Deadline, Disposition, Event, Path, PeerId, Transmit};
use crate::peer::Knock;
use crate::peers::Peers;
use crate::registry::ExchangeType;
use crate::sa::{Attempt, IkeSa, Stage};
use crate::shared::{Cx, News, Outbox, Shared};
use crate::timers::{Timer, Timers};
use crate::wire::header::{Header, IkeSpi};

/// Every IKE SA of this host, for both roles. See the crate's drain contract.
pub struct Endpoint {
    shared: Shared,
    peers: Peers,
    sas: HashMap<IkeSpi, IkeSa>,
    children: HashMap<ChildId, IkeSpi>,
    admission: Admission,
    timers: Timers,
    probes: Probes,
    /// Attempts, not up yet, to take the place of another SA.
    beside: HashSet<IkeSpi>,
    /// Those that a peer made while our own rekey of another is under way, by our SPI, and which other that is.
    rivals: HashMap<IkeSpi, IkeSpi>,
    /// When somebody was last told that we do not speak its version.
    version_told: Option<Instant>,
}

impl Endpoint {
    /// An endpoint without peers. All its randomness comes from `seed`, which must be secret and fresh.
    #[must_use]
    pub fn new(config: EndpointConfig, seed: [u8; 32]) -> Self {
        let admission = Admission::new(&config);
        let shared = Shared {
            config,
            peers: Vec::new(),
            rng: ChaCha20Rng::from_seed(seed),
            wall_clock: None,
            out: Outbox::default(),
            next_child: 0,
            esp_spis: HashSet::new(),
            #[cfg(test)]
            key_exchanges: 0,
            packets: HashMap::new(),
            paces: HashMap::new(),
            #[cfg(test)]
            picky: None,
        };
        Self {
            shared,
            peers: Peers::default(),
            sas: HashMap::new(),
            children: HashMap::new(),
            admission,
            timers: Timers::default(),
            probes: Probes::default(),
            beside: HashSet::new(),
            rivals: HashMap::new(),
            version_told: None,
        }
    }

    /// Tells what time of day it is: `unix` since 1970-01-01T00:00:00Z, as
    /// `SystemTime::now().duration_since(UNIX_EPOCH)` says. From there on it goes on with `now`. To be called before a peer
    /// with a certificate is added, and again when the clock of the host may have been set, once a minute say.
    ///
    /// Only the validity of certificates depends on it, and without it none is valid.
    pub fn set_wall_clock(&mut self, now: Instant, unix: Duration) {
        self.shared.wall_clock = Some((now, unix));
    }

    /// Adds a peer and, if it starts always, begins to connect.
    ///
    /// # Panics
    /// With more than 2³² peers.
    pub fn add_peer(&mut self, now: Instant, config: PeerConfig) -> PeerId {
        let id = self.peers.add(&config);
        self.shared.peers.push(Arc::new(config.bounded()));
        self.pursue(now, id);
        id
    }

    /// Replaces the paths by which a peer may be reached (its name was resolved anew, or a route changed).
    ///
    /// # Errors
    /// `Unknown` if there is no such peer.
    pub fn set_paths(&mut self, now: Instant, peer: PeerId, paths: &[Path]) -> Result<(), Unknown> {
        self.configure(peer, |config| config.paths = paths.to_vec())?;
        let before = self.peers.set_paths(peer, paths.to_vec())?;
        let spis = self.peers.one(peer)?.sas.clone();
        for spi in &spis {
            if let Some(sa) = self.sas.get_mut(spi) {
                sa.on_ways(&before, paths, &mut Cx { now, shared: &mut self.shared });
            }
            self.settle(now, *spi);
        }
        if let Some(path) = self.in_use(peer).and_then(|spi| self.sas.get(&spi)?.path()) {
            for spi in spis {
                if let Some(sa) = self.sas.get_mut(&spi) {
                    sa.follow(path, &mut Cx { now, shared: &mut self.shared });
                }
                self.settle(now, spi);
            }
        }
        self.pursue(now, peer);
        Ok(())
    }

    /// Changes the configuration of a peer from here on.
    fn configure(
        &mut self,
        peer: PeerId,
        change: impl FnOnce(&mut PeerConfig),
    ) -> Result<(), Unknown> {
        let index = usize::try_from(peer.0).map_err(|_| Unknown)?;
        change(Arc::make_mut(self.shared.peers.get_mut(index).ok_or(Unknown)?));
        Ok(())
    }

    /// An authentic ESP packet of this child, with a higher sequence number than all before, came from another address
    /// than the last: if a NAT stands before the peer, it gave it that one, and ESP is sent there from now on
    /// (RFC 7296 §2.23). Unknown children are ignored.
    pub fn heard_from(&mut self, now: Instant, child: ChildId, remote: SocketAddr) {
        let Some(spi) = self.children.get(&child).copied() else { return };
        let Some(sa) = self.sas.get_mut(&spi) else { return };
        sa.on_esp_from(remote, &mut Cx { now, shared: &mut self.shared });
        self.settle(now, spi);
    }

    /// Takes one UDP payload, non-ESP marker removed. It is decrypted in place. Noise is `Dropped`, never an error.
    pub fn handle_datagram(&mut self, now: Instant, path: Path, payload: &mut [u8]) -> Disposition {
        let Ok(header) = Header::parse(payload) else {
            return Disposition::Dropped(DropReason::Malformed);
        };
        if path.remote.port() == 0 {
            // Whoever names no port hears no answer (RFC 768), and the attempt to send one would look like a fault of the host.
            return Disposition::Dropped(DropReason::Malformed);
        }
        if header.major() != 2 {
            self.on_other_version(now, &header, path);
            return Disposition::Dropped(DropReason::Version);
        }
        let first = header.exchange == ExchangeType::IKE_SA_INIT && !header.flags.response;
        if first && header.spi_r == IkeSpi::ZERO {
            return self.on_first(now, &header, path, payload);
        }
        // The flag says whether the sender is the original initiator; then the responder's SPI is ours (§2.6).
        let ours = if header.flags.initiator { header.spi_r } else { header.spi_i };
        if self.is_answer_to_probe(now, &header, path) {
            return Disposition::Accepted;
        }
        if !self.sas.contains_key(&ours) {
            self.follow_rival(now, ours, &header, payload);
        }
        let Some(sa) = self.sas.get_mut(&ours) else {
            return Disposition::Dropped(DropReason::UnknownSpi);
        };
        let mut cx = Cx { now, shared: &mut self.shared };
        let disposition = sa.on_datagram(&header, path, payload, &mut cx);
        self.settle(now, ours);
        disposition
    }

    /// Does what is due. Spurious calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        // Each once: whatever is due again at the same moment waits for the next call.
        for timer in self.timers.take_due(now) {
            match timer {
                Timer::Sa(spi) => {
                    if let Some(sa) = self.sas.get_mut(&spi) {
                        sa.on_timeout(&mut Cx { now, shared: &mut self.shared });
                    }
                    self.settle(now, spi);
                }
                Timer::Peer(id) => self.pursue(now, id),
                Timer::Probe(spi) => self.on_probe_timeout(now, spi),
            }
        }
    }

    /// Wants the peer up: connects unless it is up or on its way.
    ///
    /// # Errors
    /// `Unknown` if there is no such peer.
    pub fn connect(&mut self, now: Instant, peer: PeerId) -> Result<(), Unknown> {
        let state = self.peers.bar(peer, false)?;
        state.wanted = true;
        state.retry_at = None;
        self.pursue(now, peer);
        Ok(())
    }

    /// Deletes every SA with the peer and stays down until `connect`: until then the peer may not begin one either.
    ///
    /// # Errors
    /// `Unknown` if there is no such peer.
    pub fn disconnect(&mut self, now: Instant, peer: PeerId) -> Result<(), Unknown> {
        let state = self.peers.bar(peer, true)?;
        state.wanted = false;
        state.retry_at = None;
        for spi in state.sas.clone() {
            self.close(now, spi, CloseReason::Local);
        }
        self.pursue(now, peer);
        Ok(())
    }

    /// Deletes every SA with everybody; [`is_idle`](Self::is_idle) turns true when the peers have answered.
    pub fn shutdown(&mut self, now: Instant) {
        let all: Vec<PeerId> = self.peers.iter().map(|peer| peer.id).collect();
        for id in all {
            let _known = self.disconnect(now, id);
        }
    }

    /// Whether no IKE SA is left that waits for anything but repeats.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let mut spis = self.peers.iter().flat_map(|peer| &peer.sas);
        spis.all(|spi| self.sas.get(spi).is_none_or(IkeSa::is_finished))
    }

    /// Rekeys the IKE SA with this peer now.
    ///
    /// # Errors
    /// `Unknown` if the peer is not up.
    pub fn rekey_ike(&mut self, now: Instant, peer: PeerId) -> Result<(), Unknown> {
        let spi = self.in_use(peer).ok_or(Unknown)?;
        let sa = self.sas.get_mut(&spi).ok_or(Unknown)?;
        sa.rekey(&mut Cx { now, shared: &mut self.shared })?;
        self.settle(now, spi);
        Ok(())
    }

    /// How long a peer takes to answer a request: the way there and back and what it computes, smoothed. `None` while it is not
    /// up or has answered none of ours at the first try.
    #[must_use]
    pub fn rtt(&self, peer: PeerId) -> Option<Duration> {
        let spis = &self.peers.get(peer)?.sas;
        spis.iter().rev().find_map(|spi| self.sas.get(spi)?.rtt())
    }

    /// How often a request was sent once more because no answer came (RFC 7296 §2.1), over all SAs that there ever were.
    #[must_use]
    pub const fn retransmits(&self) -> u64 {
        self.shared.out.retransmits
    }

    /// Tells what the data plane counted for a child; drives lifetimes and liveness. Call it about once a second for
    /// each child that had traffic. Unknown children are ignored.
    pub fn report_usage(&mut self, now: Instant, child: ChildId, usage: ChildUsage) {
        let Some(spi) = self.children.get(&child).copied() else { return };
        let Some(sa) = self.sas.get_mut(&spi) else { return };
        sa.report_usage(child, usage, &mut Cx { now, shared: &mut self.shared });
        self.settle(now, spi);
    }

    /// The next event, if any.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.shared.out.events.pop_front()
    }

    /// The next datagram to send, if any.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.shared.out.transmits.pop_front()
    }

    /// When `handle_timeout` wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        self.timers.next()
    }

    fn close(&mut self, now: Instant, spi: IkeSpi, reason: CloseReason) {
        if let Some(sa) = self.sas.get_mut(&spi) {
            sa.close(reason, &mut Cx { now, shared: &mut self.shared });
        }
        self.settle(now, spi);
    }

    /// After every input to an SA: acts on its news, forgets it if it is closed, sets its timer.
    fn settle(&mut self, now: Instant, spi: IkeSpi) {
        self.refresh(spi);
        while let Some(news) = self.shared.out.news.pop_front() {
            match news {
                News::Up { spi, peer } => self.on_up(now, spi, peer),
                News::Known { spi, peer } => self.on_known(now, spi, peer),
                News::Rival { spi, of } => drop(self.rivals.insert(spi, of)),
                News::InitialContact { spi, peer } => self.on_initial_contact(now, spi, peer),
                News::Lost { spi, peer, reason } => self.on_lost(now, spi, peer, reason),
                News::Born { sa, peer, replaces } => self.on_born(now, *sa, peer, replaces),
                News::Redirected { spi, peer, to } => self.on_redirected(now, spi, peer, to),
                News::SentElsewhere { peer, here, to } => {
                    let _later = self.detour(now, peer, here, to);
                }
                News::Reauthenticate { spi, peer } => self.on_reauthenticate(now, spi, peer),
                News::ChildOf { child, spi } => drop(self.children.insert(child, spi)),
                News::ChildGone { child } => drop(self.children.remove(&child)),
            }
        }
        let sas = &self.sas;
        self.beside.retain(|spi| sas.contains_key(spi));
        self.rivals.retain(|_, of| sas.get(of).is_some_and(IkeSa::has_rival));
    }

    /// Sets the timer of an SA, or forgets it.
    fn refresh(&mut self, spi: IkeSpi) {
        let Some(sa) = self.sas.get(&spi) else { return };
        // One that was refused counts until it is forgotten: whoever has no key must not fill us with those either.
        if sa.stage() == Stage::Up {
            self.admission.up(spi);
        }
        if sa.stage() == Stage::Closed {
            self.forget(spi);
        } else {
            self.timers.set(Timer::Sa(spi), sa.deadline());
        }
    }

    fn forget(&mut self, spi: IkeSpi) {
        self.admission.end(spi);
        self.sas.remove(&spi);
        self.timers.clear(Timer::Sa(spi));
        self.peers.disown(spi);
    }

    /// Begins an SA; `false` if none of the proposals can be begun with.
    fn begin(&mut self, now: Instant, id: PeerId, path: Path, attempt: Attempt) -> bool {
        let mut cx = Cx { now, shared: &mut self.shared };
        let Some(sa) = IkeSa::initiate(id, path, attempt, &mut cx) else { return false };
        let spi = sa.spi;
        // Those that end do not repeat how they began: they would be the newer ones for the peer, which may keep only one.
        let ending = self.peers.one(id).map_or_else(|_| Vec::new(), |peer| peer.sas.clone());
        for old in ending {
            self.sas.get_mut(&old).map(IkeSa::hush);
            self.refresh(old);
        }
        if attempt.supersedes.is_some() {
            self.beside.insert(spi);
        }
        self.peers.own(id, spi);
        self.sas.insert(spi, sa);
        self.refresh(spi);
        true
    }

    fn on_born(&mut self, now: Instant, mut sa: IkeSa, id: PeerId, replaces: IkeSpi) {
        let spi = sa.spi;
        if let Some(old) = self.sas.get(&replaces) {
            sa.continues(old);
        }
        let is_up = sa.stage() == Stage::Up;
        self.sas.insert(spi, sa);
        self.peers.own(id, spi);
        self.refresh(spi);
        self.refresh(replaces);
        if is_up {
            // What is to take the place of the old one takes that of its successor.
            let attempts = self.peers.one(id).map_or_else(|_| Vec::new(), |peer| peer.sas.clone());
            for attempt in attempts {
                if let Some(sa) = self.sas.get_mut(&attempt) {
                    sa.supersedes =
                        sa.supersedes.map(|old| if old == replaces { spi } else { old });
                }
            }
            // The rekey may be the answer that showed that the peer has it.
            self.on_known(now, spi, id);
        }
        let Ok(peer) = self.peers.one(id) else { return };
        let closing =
            |spi: &&IkeSpi| self.sas.get(spi).is_some_and(|sa| sa.stage() == Stage::Closing);
        let mut closing: Vec<IkeSpi> = peer.sas.iter().filter(closing).copied().collect();
        // What is born next may take the place of the same one.
        closing.retain(|spi| *spi != replaces);
        // It may rekey as fast as it likes.
        let too_many = closing.len().saturating_sub(self.shared.config.max_ike_sas.max(8));
        for spi in closing.into_iter().take(too_many) {
            self.forget(spi);
        }
    }

    /// Begins an attempt if the peer is wanted, is not up or on its way, and its time has come; else sets the timer.
    fn pursue(&mut self, now: Instant, id: PeerId) {
        self.timers.clear(Timer::Peer(id));
        let Ok(peer) = self.peers.one(id) else { return };
        let live = |spi: &IkeSpi| {
            self.sas
                .get(spi)
                .is_some_and(|sa| !matches!(sa.stage(), Stage::Closing | Stage::Closed))
        };
        if !peer.wanted || peer.sas.iter().any(live) {
            return;
        }
        if let Some(at) = peer.retry_at.filter(|at| *at > now) {
            let deadline = Deadline { at, why: "connect again" };
            return self.timers.set(Timer::Peer(id), Some(deadline));
        }
        let Some(Knock { path, number, redirected_from }) = peer.next_attempt() else { return };
        self.shared.out.events.push_back(Event::Connecting { peer: id, path, attempt: number });
        if !self.begin(now, id, path, Attempt { supersedes: None, redirected_from }) {
            let reason = CloseReason::Protocol("no proposal names a key exchange that we know");
            self.peers.one(id).map(|peer| peer.wanted = false).ok();
            self.shared.out.events.push_back(Event::PeerDown { peer: id, reason, retry_at: None });
        }
    }
}

mod children;
pub(crate) mod exposed;
mod follow;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod probe;
mod reconfigure;
mod several;
mod strangers;
mod switch;

#[cfg(test)]
mod tests;
