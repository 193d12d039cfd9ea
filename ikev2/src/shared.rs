//! What every IKE SA of an endpoint shares: configuration, peers, randomness, identifiers, and the way out.
//!
//! ```text
//!   IkeSa ── Cx { now, shared } ──► out.events      for the caller, polled first
//!                                   out.transmits   for the caller, polled second
//!                                   out.news        for the endpoint itself: an SA came up, was lost, was born by a rekey
//! ```

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

use crate::allowance::Allowance;
use crate::config::{EndpointConfig, PeerConfig};
use crate::crypto::rng;
use crate::error::CloseReason;
use crate::event::{ChildId, EspSpi, Event, Path, PeerId, Transmit};
use crate::sa::IkeSa;
use crate::wire::header::IkeSpi;
use crate::wire::redirect::GatewayId;
use crate::wire::traffic::PacketSelectors;

/// State that is not of one SA.
pub(crate) struct Shared {
    pub(crate) config: EndpointConfig,
    pub(crate) peers: Vec<Arc<PeerConfig>>,
    pub(crate) rng: ChaCha20Rng,
    /// A moment and the time of day that it was, since 1970.
    pub(crate) wall_clock: Option<(Instant, Duration)>,
    pub(crate) out: Outbox,
    pub(crate) next_child: u64,
    pub(crate) esp_spis: HashSet<EspSpi>,
    /// How many key pairs were drawn for requests to begin an SA.
    #[cfg(test)]
    pub(crate) key_exchanges: usize,
    /// The last packet of a peer that had no child SA, until it has one.
    pub(crate) packets: HashMap<PeerId, PacketSelectors>,
    /// How fast each peer asks for SAs.
    pub(crate) paces: HashMap<PeerId, Allowance>,
    /// Refuse whatever asks for more than one pair of selectors, with this.
    #[cfg(test)]
    pub(crate) picky: Option<crate::registry::NotifyType>,
}

/// What waits to be polled.
#[derive(Default)]
pub(crate) struct Outbox {
    pub(crate) events: VecDeque<Event>,
    pub(crate) transmits: VecDeque<Transmit>,
    pub(crate) news: VecDeque<News>,
    /// Requests that were sent once more.
    pub(crate) retransmits: u64,
}

/// What an SA tells its endpoint.
pub(crate) enum News {
    /// It is up.
    Up { spi: IkeSpi, peer: PeerId },
    /// The peer is known to have it, which was asked.
    Known { spi: IkeSpi, peer: PeerId },
    /// The peer made one while our own rekey of `of` is under way: it waits there.
    Rival { spi: IkeSpi, of: IkeSpi },
    /// The peer says that it has no other SA with us (RFC 7296 §2.4).
    InitialContact { spi: IkeSpi, peer: PeerId },
    /// It is of no use any more (it may still exchange last messages).
    Lost { spi: IkeSpi, peer: PeerId, reason: CloseReason },
    /// A rekey made this one, which takes the place of `replaces`.
    Born { sa: Box<IkeSa>, peer: PeerId, replaces: IkeSpi },
    /// The peer sends us to another gateway.
    Redirected { spi: IkeSpi, peer: PeerId, to: GatewayId },
    /// An attempt was sent from the gateway at the end of `here` to another; its end is told next.
    SentElsewhere { peer: PeerId, here: Path, to: GatewayId },
    /// The authentication is about to end: a new SA has to take its place.
    Reauthenticate { spi: IkeSpi, peer: PeerId },
    /// A child belongs to this SA from now on.
    ChildOf { child: ChildId, spi: IkeSpi },
    /// A child is gone.
    ChildGone { child: ChildId },
}

/// The shared state at one moment, handed down through every call.
pub(crate) struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) shared: &'a mut Shared,
}

impl Cx<'_> {
    pub(crate) fn event(&mut self, event: Event) {
        self.shared.out.events.push_back(event);
    }

    pub(crate) fn news(&mut self, news: News) {
        self.shared.out.news.push_back(news);
    }

    pub(crate) fn transmit(&mut self, path: Path, payload: Arc<[u8]>) {
        self.shared.out.transmits.push_back(Transmit { path, payload });
    }

    /// The configuration of a peer. `PeerId`s are only made by the endpoint, in order, and never taken back.
    pub(crate) fn peer(&self, peer: PeerId) -> Arc<PeerConfig> {
        Arc::clone(self.peer_ref(peer))
    }

    /// The same, for a look at one of many.
    pub(crate) fn peer_ref(&self, peer: PeerId) -> &Arc<PeerConfig> {
        let index = usize::try_from(peer.0).unwrap_or(usize::MAX);
        self.shared.peers.get(index).expect("invariant: every PeerId names a peer")
    }

    /// Seconds since 1970, if we were told.
    pub(crate) fn wall_clock(&self) -> Option<u64> {
        let (at, time) = self.shared.wall_clock?;
        Some((time + self.now.saturating_duration_since(at)).as_secs())
    }

    pub(crate) fn nonce(&mut self) -> Vec<u8> {
        rng::nonce(&mut self.shared.rng).to_vec()
    }

    /// 64 random bits do not collide.
    pub(crate) fn fresh_ike_spi(&mut self) -> IkeSpi {
        rng::ike_spi(&mut self.shared.rng)
    }

    /// An SPI for packets to us that no other child of ours has, in the [family](EspSpi::family) of the one that it replaces.
    pub(crate) fn fresh_esp_spi(&mut self, replaced: Option<EspSpi>) -> EspSpi {
        self.esp_spi_like(|spi| replaced.map_or(spi, |replaced| spi.akin_to(replaced)))
    }

    /// The same, for one of so many resources.
    pub(crate) fn esp_spi_of_resource(&mut self, resource: u32, of: u32) -> EspSpi {
        self.esp_spi_like(|spi| spi.of_resource(resource, of))
    }

    fn esp_spi_like(&mut self, like: impl Fn(EspSpi) -> EspSpi) -> EspSpi {
        loop {
            let spi = like(rng::esp_spi(&mut self.shared.rng));
            if self.shared.esp_spis.insert(spi) {
                return spi;
            }
        }
    }

    pub(crate) fn release_esp_spi(&mut self, spi: EspSpi) {
        self.shared.esp_spis.remove(&spi);
    }

    pub(crate) fn fresh_child_id(&mut self) -> ChildId {
        self.shared.next_child += 1;
        ChildId(self.shared.next_child)
    }

    /// `base`, at most 10 % more or less.
    pub(crate) fn jitter(&mut self, base: Duration) -> Duration {
        let share = f64::from(self.shared.rng.next_u32()) / f64::from(u32::MAX);
        base.mul_f64(0.9 + 0.2 * share)
    }

    /// Some part of `span`, or all of it.
    pub(crate) fn share_of(&mut self, span: Duration) -> Duration {
        span.mul_f64(f64::from(self.shared.rng.next_u32()) / f64::from(u32::MAX))
    }

    /// Between 80 and 90 % of `limit`.
    pub(crate) fn most_of(&mut self, limit: u64) -> u64 {
        let share = 800 + u128::from(self.shared.rng.next_u32() % 101);
        u64::try_from(u128::from(limit) * share / 1000).unwrap_or(limit)
    }

    /// A moment up to 10 % before `lifetime` has passed, so that not all SAs are rekeyed at once.
    pub(crate) fn rekey_time(&mut self, lifetime: Duration) -> Instant {
        let share = f64::from(self.shared.rng.next_u32()) / f64::from(u32::MAX);
        self.now + lifetime.mul_f64(1.0 - 0.1 * share)
    }
}
