//! The SAs of the two pumps (SAD, RFC 4301 §4.4.2): outbound by slot, inbound by SPI.
//!
//! ```text
//!   outbound   slot ─► [ held, .., older, in use ]     the last one sends; RFC 7296 §2.8 decides the order:
//!                 install, hold = false   becomes the last
//!                 install, hold = true    becomes the first: it waits for activate, or for the others to be removed
//!                 activate                becomes the last
//!                 remove                  goes; the one before the last takes over if it was the last
//!              several children of one slot, a pair of networks each: the last one that admits the packet
//!              several alike, one for each worker (RFC 9611): each tx pump has its own at the end, before it the one that is
//!              for all, and those of the others only for the case that nothing else is left:
//!                 [ held, .., another worker's, .., for all, .., its own ]
//!
//!   inbound    SPI ─► SA                               all receive until they are removed
//! ```
//!
//! A replaced SA stays behind the one in use, so that losing a simultaneous rekey (RFC 7296 §2.8.1) never leaves a slot
//! without an SA while one is installed.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dataplane::counters::{ChildCounters, SaUsage};
use crate::dataplane::{Destination, SlotId};
use crate::io::udp::Envelope;
use crate::io::{RawEsp, UdpSockets};

/// The outbound SAs, by slot. Owned by the tx pump.
#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// Whose they are.
    worker: usize,
}

#[derive(Default)]
struct Slot {
    /// The last one is in use; where each has a part of the child's networks, the last one of each part.
    sas: Vec<Outbound>,
    /// When control was last asked for an SA.
    acquired: Option<Instant>,
    /// Since when it is asked again and again.
    in_vain: Option<Instant>,
}

impl Slots {
    /// Those of a worker.
    pub(super) const fn of_worker(worker: usize) -> Self {
        Self { slots: Vec::new(), worker }
    }

    /// The SAs of `slot`: a packet is protected by the last one whose selectors admit it.
    pub(super) fn of(&mut self, slot: SlotId) -> &mut [Outbound] {
        self.slots.get_mut(index(slot)).map_or(&mut [], |slot| &mut slot.sas)
    }

    /// One of them.
    pub(super) fn get(&self, slot: SlotId, position: usize) -> Option<&Outbound> {
        self.slots.get(index(slot))?.sas.get(position)
    }

    /// Adds an SA; see the picture for where. Slots above [`SlotId::MAX`] are not there: a bug of control.
    pub(super) fn install(&mut self, slot: SlotId, sa: Outbound) {
        let worker = self.worker;
        let Some(slot) = self.slot(slot) else { return };
        slot.in_vain = None;
        if sa.held {
            slot.sas.insert(0, sa);
        } else {
            slot.put(sa, worker);
        }
    }

    /// Puts an SA to use.
    pub(super) fn activate(&mut self, slot: SlotId, spi: NonZeroU32) {
        let worker = self.worker;
        let Some(slot) = self.slot(slot) else { return };
        if let Some(position) = slot.position(spi) {
            slot.release(position, worker);
        }
    }

    /// Drops an SA.
    pub(super) fn remove(&mut self, slot: SlotId, spi: NonZeroU32) {
        let worker = self.worker;
        let Some(slot) = self.slot(slot) else { return };
        let Some(position) = slot.position(spi) else { return };
        let owner = slot.sas.remove(position).owner;
        // One that was held to take its place does so, lest another worker's, or the one for all, comes before it.
        let in_use = slot.sas.iter().any(|sa| sa.owner == owner && !sa.held);
        if let Some(next) = slot.sas.iter().rposition(|sa| sa.owner == owner)
            && !in_use
        {
            slot.release(next, worker);
        }
    }

    /// Sends an SA's packets elsewhere, where inner packets may have `mtu` octets.
    pub(super) fn redirect(&mut self, slot: SlotId, spi: NonZeroU32, way: Way, mtu: u16) {
        let Some(slot) = self.slot(slot) else { return };
        if let Some(sa) = slot.sas.iter_mut().find(|sa| sa.sa.spi() == spi) {
            (sa.way, sa.mtu, sa.whole) = (way, mtu, true);
        }
    }

    /// Notes what the way of an SA's packets carries; see [`TxCommand::Mtu`](crate::dataplane::TxCommand::Mtu).
    pub(super) fn resize(&mut self, slot: SlotId, spi: NonZeroU32, mtu: u16, whole: bool) {
        let Some(slot) = self.slot(slot) else { return };
        if let Some(sa) = slot.sas.iter_mut().find(|sa| sa.sa.spi() == spi) {
            (sa.mtu, sa.whole) = (mtu, whole);
        }
    }

    /// Whether it is time to ask control for an SA: true at most once per [`ACQUIRE_PAUSE`] and slot.
    pub(super) fn may_acquire(&mut self, slot: SlotId, now: Instant) -> bool {
        let Some(slot) = self.slot(slot) else { return false };
        let due =
            slot.acquired.is_none_or(|last| now.saturating_duration_since(last) >= ACQUIRE_PAUSE);
        if due {
            let after_silence =
                slot.acquired.is_none_or(|last| now.saturating_duration_since(last) >= SILENCE);
            if after_silence || slot.in_vain.is_none() {
                slot.in_vain = Some(now);
            }
            slot.acquired = Some(now);
        }
        due
    }

    /// Whether control was asked for an SA of this slot for so long that hosts are told: what comes up at the first packet
    /// has the second one, and a connection of TCP that begins does not fail for it.
    pub(super) fn is_vain(&self, slot: SlotId, now: Instant) -> bool {
        let since = self.slots.get(index(slot)).and_then(|slot| slot.in_vain);
        since.is_some_and(|since| now.saturating_duration_since(since) >= HOPE)
    }

    /// Finds a slot, making it if need be.
    fn slot(&mut self, slot: SlotId) -> Option<&mut Slot> {
        debug_assert!(slot <= SlotId::MAX, "control numbers its slots from zero");
        if slot > SlotId::MAX {
            return None;
        }
        let index = index(slot);
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, Slot::default);
        }
        self.slots.get_mut(index)
    }
}

impl Slot {
    fn position(&self, spi: NonZeroU32) -> Option<usize> {
        self.sas.iter().position(|sa| sa.sa.spi() == spi)
    }

    /// Puts the SA at `position` to use.
    fn release(&mut self, position: usize, worker: usize) {
        let mut sa = self.sas.remove(position);
        sa.held = false;
        self.put(sa, worker);
    }

    /// Puts an SA where this worker uses it before all others of its kind.
    fn put(&mut self, sa: Outbound, worker: usize) {
        let rank = sa.rank(worker);
        let before = self.sas.iter().rposition(|other| other.rank(worker) <= rank);
        self.sas.insert(before.map_or(0, |before| before + 1), sa);
    }
}

/// One outbound SA and its way out.
pub(super) struct Outbound {
    pub(super) sa: Box<esp::OutboundSa>,
    /// The worker that it is for; `None`: all of them.
    pub(super) owner: Option<usize>,
    /// It waits for a word that the peer is ready.
    pub(super) held: bool,
    pub(super) way: Way,
    /// Octets of the longest inner packet that the way takes.
    pub(super) mtu: u16,
    /// Its packets leave with DF. False where some may be longer than the path takes: IP fragments them.
    pub(super) whole: bool,
    pub(super) counters: Arc<ChildCounters>,
    pub(super) usage: Arc<SaUsage>,
    /// What it may carry.
    pub(super) hard: ikev2::Limits,
    /// Control knows that it has carried all of it, or used its last sequence number.
    pub(super) told: bool,
}

impl Outbound {
    /// How much a worker prefers it to others.
    fn rank(&self, worker: usize) -> u8 {
        match self.owner {
            _ if self.held => 0,
            Some(owner) if owner != worker => 1,
            None => 2,
            Some(_) => 3,
        }
    }
}

/// A destination, looked up once.
pub(super) enum Way {
    /// Position among the UDP sockets.
    Udp(usize, Envelope),
    /// Position among the raw sockets.
    Raw(usize, Envelope),
    /// No socket has that local address.
    Nowhere,
}

impl Way {
    /// Finds the socket to send on.
    pub(super) fn to(to: &Destination, udp: &UdpSockets, raw: &[RawEsp]) -> Self {
        use crate::dataplane::Transport;
        let mut remote = to.remote;
        let found = match to.transport {
            Transport::Udp => udp.position((to.local, to.local_port).into()),
            Transport::Raw => RawEsp::position(raw, to.local),
        };
        match (to.transport, found) {
            (_, None) => Self::Nowhere,
            (Transport::Udp, Some(socket)) => {
                Self::Udp(socket, Envelope::new(Some(to.local), remote))
            }
            (Transport::Raw, Some(socket)) => {
                // A raw IPv6 socket takes a port for a protocol number: raw(7).
                remote.set_port(0);
                Self::Raw(socket, Envelope::new(Some(to.local), remote))
            }
        }
    }
}

/// The inbound SAs, by SPI. Owned by the rx pump.
pub(super) struct InboundTable {
    by_spi: HashMap<NonZeroU32, Inbound, SpiHash>,
}

impl InboundTable {
    pub(super) fn new() -> Self {
        // Whoever sends us packets knows no SPI but those that we chose; the seed is for the case that it does.
        let seed = RandomState::new().hash_one(0_u32);
        Self { by_spi: HashMap::with_hasher(SpiHash(seed)) }
    }

    /// The SA that packets with this SPI belong to.
    pub(super) fn by_spi(&mut self, spi: NonZeroU32) -> Option<&mut Inbound> {
        self.by_spi.get_mut(&spi)
    }

    pub(super) fn install(&mut self, inbound: Inbound) {
        self.by_spi.insert(inbound.sa.spi(), inbound);
    }

    pub(super) fn remove(&mut self, spi: NonZeroU32) {
        self.by_spi.remove(&spi);
    }
}

/// One inbound SA.
pub(super) struct Inbound {
    pub(super) slot: SlotId,
    pub(super) sa: Box<esp::InboundSa>,
    /// Octets of the longest inner packet that the way back takes.
    pub(super) mtu: u16,
    pub(super) counters: Arc<ChildCounters>,
    pub(super) usage: Arc<SaUsage>,
    /// Control knows that a packet came.
    pub(super) announced: bool,
    /// Where the newest packet came from, as control knows.
    pub(super) from: Option<SocketAddr>,
}

/// Hashes one u32: a multiplication, and the better half of its result.
struct SpiHash(u64);

impl BuildHasher for SpiHash {
    type Hasher = SpiHasher;

    fn build_hasher(&self) -> SpiHasher {
        SpiHasher(self.0)
    }
}

struct SpiHasher(u64);

impl Hasher for SpiHasher {
    fn write_u32(&mut self, spi: u32) {
        let mixed = (self.0 ^ u64::from(spi)).wrapping_mul(ODD);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn write(&mut self, octets: &[u8]) {
        for &octet in octets {
            self.write_u32(u32::from(octet));
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn index(slot: SlotId) -> usize {
    slot.0 as usize
}

/// Nobody has asked for so long: the next one begins anew.
const SILENCE: Duration = Duration::from_secs(10);

/// So long hosts are told nothing.
const HOPE: Duration = Duration::from_secs(3);

/// Control is not asked again for an SA of the same slot before this has passed.
const ACQUIRE_PAUSE: Duration = Duration::from_secs(1);

/// Any odd number with well mixed bits; this one is 2^64 divided by the golden ratio.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use esp::{SaParams, Selectors, Suite};

    use super::*;

    const SLOT: SlotId = SlotId(2);

    fn spi(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn params(number: u32) -> SaParams<'static> {
        SaParams {
            spi: spi(number),
            suite: Suite::Combined(esp::Aead::AesGcm16(esp::AesKey::Bits128)),
            encr_key: &[7; 20],
            integ_key: &[],
            esn: false,
            selectors: Arc::new(Selectors::default()),
            replay_window: 64,
        }
    }

    fn counters() -> Arc<ChildCounters> {
        Arc::new(ChildCounters::new(crate::clock::now()))
    }

    fn install(slots: &mut Slots, number: u32, held: bool) {
        install_for(slots, number, None, held);
    }

    fn install_for(slots: &mut Slots, number: u32, owner: Option<usize>, held: bool) {
        let sa = Box::new(esp::OutboundSa::new(params(number)).unwrap());
        let out = Outbound {
            sa,
            owner,
            held,
            way: Way::Nowhere,
            mtu: 1438,
            whole: true,
            counters: counters(),
            usage: Arc::default(),
            hard: ikev2::Limits { octets: None, packets: None },
            told: false,
        };
        slots.install(SLOT, out);
    }

    fn in_use(slots: &mut Slots) -> Option<u32> {
        slots.of(SLOT).last().map(|out| out.sa.spi().get())
    }

    #[test]
    fn a_new_sa_is_used_at_once_and_the_old_one_can_be_removed() {
        let mut slots = Slots::default();
        assert_eq!(in_use(&mut slots), None);
        install(&mut slots, 1, false);
        install(&mut slots, 2, false);
        assert_eq!(in_use(&mut slots), Some(2));
        slots.remove(SLOT, spi(1));
        assert_eq!(in_use(&mut slots), Some(2));
        slots.remove(SLOT, spi(1));
        slots.remove(SLOT, spi(2));
        assert_eq!(in_use(&mut slots), None);
    }

    #[test]
    fn a_held_sa_waits_for_activate() {
        let mut slots = Slots::default();
        install(&mut slots, 1, false);
        install(&mut slots, 2, true);
        assert_eq!(in_use(&mut slots), Some(1));
        slots.activate(SLOT, spi(9));
        assert_eq!(in_use(&mut slots), Some(1));
        slots.activate(SLOT, spi(2));
        assert_eq!(in_use(&mut slots), Some(2));
        slots.remove(SLOT, spi(1));
        assert_eq!(in_use(&mut slots), Some(2));
    }

    #[test]
    fn a_held_sa_takes_over_when_the_one_in_use_goes() {
        let mut slots = Slots::default();
        install(&mut slots, 1, false);
        install(&mut slots, 2, true);
        slots.remove(SLOT, spi(1));
        assert_eq!(in_use(&mut slots), Some(2));
    }

    #[test]
    fn a_held_sa_without_any_other_is_used() {
        let mut slots = Slots::default();
        install(&mut slots, 1, true);
        assert_eq!(in_use(&mut slots), Some(1));
    }

    /// RFC 7296 §2.8.1: both sides rekeyed at once; ours (3) is in use when the peer's (2) is activated by a packet, and then
    /// one of them loses.
    #[test]
    fn losing_a_simultaneous_rekey_leaves_the_winner_in_use() {
        for (loser, winner) in [(2, 3), (3, 2)] {
            let mut slots = Slots::default();
            install(&mut slots, 1, false);
            install(&mut slots, 2, true);
            install(&mut slots, 3, false);
            slots.activate(SLOT, spi(2));
            slots.remove(SLOT, spi(loser));
            slots.remove(SLOT, spi(1));
            assert_eq!(in_use(&mut slots), Some(winner));
        }
    }

    /// Three workers: SA 1 is for all, 10, 11 and 12 are for workers 0, 1 and 2.
    #[test]
    fn each_worker_uses_its_own_then_the_one_for_all_then_any() {
        for order in [[1, 10, 11, 12], [12, 11, 10, 1], [11, 1, 12, 10]] {
            for worker in 0..3 {
                let mut slots = Slots::of_worker(worker);
                for number in order {
                    let owner = usize::try_from(number).unwrap().checked_sub(10);
                    install_for(&mut slots, number, owner, false);
                }
                let own = 10 + u32::try_from(worker).unwrap();
                assert_eq!(in_use(&mut slots), Some(own), "{order:?}");
                slots.remove(SLOT, spi(own));
                assert_eq!(in_use(&mut slots), Some(1), "{order:?}");
                slots.remove(SLOT, spi(1));
                assert!(in_use(&mut slots).is_some_and(|left| left >= 10 && left != own));
            }
        }
    }

    #[test]
    fn an_own_sa_is_replaced_by_its_own_successor_alone() {
        let mut slots = Slots::of_worker(1);
        install(&mut slots, 1, false);
        install_for(&mut slots, 11, Some(1), true);
        assert_eq!(in_use(&mut slots), Some(1), "the peer may not have it yet");
        slots.activate(SLOT, spi(11));
        assert_eq!(in_use(&mut slots), Some(11));
        install_for(&mut slots, 21, Some(1), true);
        install(&mut slots, 2, true);
        slots.remove(SLOT, spi(11));
        assert_eq!(in_use(&mut slots), Some(21), "not the one for all");
        slots.remove(SLOT, spi(1));
        assert_eq!(in_use(&mut slots), Some(21), "the one for all is another matter");
        slots.remove(SLOT, spi(21));
        assert_eq!(in_use(&mut slots), Some(2));
    }

    #[test]
    fn an_own_sa_that_waits_is_not_used_because_another_goes() {
        let mut slots = Slots::of_worker(1);
        install(&mut slots, 1, false);
        install_for(&mut slots, 12, Some(2), false);
        install_for(&mut slots, 11, Some(1), true);
        slots.remove(SLOT, spi(12));
        assert_eq!(in_use(&mut slots), Some(1));
        slots.remove(SLOT, spi(1));
        assert_eq!(in_use(&mut slots), Some(11), "there is nothing else");
    }

    #[test]
    fn a_new_way_is_not_narrow_before_anybody_says_so() {
        let mut slots = Slots::default();
        install(&mut slots, 1, false);
        slots.resize(SLOT, spi(9), 1000, false);
        let of = |slots: &Slots| slots.get(SLOT, 0).map(|out| (out.mtu, out.whole));
        assert_eq!(of(&slots), Some((1438, true)), "another SA");
        slots.resize(SLOT, spi(1), 1218, false);
        assert_eq!(of(&slots), Some((1218, false)));
        slots.redirect(SLOT, spi(1), Way::Nowhere, 1438);
        assert_eq!(of(&slots), Some((1438, true)));
    }

    #[test]
    fn control_is_asked_once_a_second_and_slot() {
        let mut slots = Slots::default();
        let now = crate::clock::now();
        assert!(slots.may_acquire(SLOT, now));
        assert!(!slots.may_acquire(SLOT, now + Duration::from_millis(999)));
        assert!(slots.may_acquire(SlotId(0), now + Duration::from_millis(999)));
        assert!(slots.may_acquire(SLOT, now + Duration::from_secs(1)));
        assert!(!slots.may_acquire(SLOT, now + Duration::from_millis(1999)));
    }

    #[test]
    fn hosts_are_told_when_control_was_asked_for_a_while() {
        let mut slots = Slots::default();
        let start = crate::clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!slots.is_vain(SLOT, start));
        for second in 0..3 {
            slots.may_acquire(SLOT, at(second));
            assert!(!slots.is_vain(SLOT, at(second)), "{second}");
        }
        assert!(slots.may_acquire(SLOT, at(3)) && slots.is_vain(SLOT, at(3)));
        assert!(slots.may_acquire(SLOT, at(60)) && !slots.is_vain(SLOT, at(60)), "anew");
        slots.may_acquire(SLOT, at(63));
        assert!(slots.is_vain(SLOT, at(63)));
        install(&mut slots, 1, false);
        assert!(!slots.is_vain(SLOT, at(63)), "it has an SA");
    }

    #[test]
    fn a_slot_of_another_number_is_untouched() {
        let mut slots = Slots::default();
        install(&mut slots, 1, false);
        assert!(slots.of(SlotId(0)).is_empty());
        assert!(slots.of(SlotId(3)).is_empty());
        assert!(slots.of(SlotId(u32::MAX)).is_empty());
    }

    #[test]
    fn inbound_sas_are_found_by_spi_until_removed() {
        let mut table = InboundTable::new();
        for number in [1, 256, 0x0100_0000, u32::MAX] {
            let sa = Box::new(esp::InboundSa::new(params(number)).unwrap());
            table.install(Inbound {
                slot: SLOT,
                sa,
                mtu: 1438,
                counters: counters(),
                usage: Arc::default(),
                announced: false,
                from: None,
            });
        }
        assert!(table.by_spi(spi(256)).is_some_and(|inbound| inbound.sa.spi() == spi(256)));
        assert!(table.by_spi(spi(2)).is_none());
        table.remove(spi(256));
        assert!(table.by_spi(spi(256)).is_none());
        assert!(table.by_spi(spi(u32::MAX)).is_some());
    }

    #[test]
    fn neighbouring_spis_spread_over_the_buckets() {
        let hash = SpiHash(RandomState::new().hash_one(0_u32));
        let mut low_bits = std::collections::BTreeSet::new();
        for number in 1..=256_u32 {
            low_bits.insert(hash.hash_one(spi(number)) & 0xff);
        }
        assert!(low_bits.len() > 100, "{} of 256", low_bits.len());
    }
}
