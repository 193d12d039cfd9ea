//! What the data plane counts: per child, and what belongs to no child, by reason.
//!
//! ```text
//!   ChildCounters   one per configured child, shared by all its SAs over rekeys
//!     outbound  packets, octets                 written by the tx pumps       (a cache line of its own)
//!     inbound   packets, octets, last_inbound   written by the rx pumps       (a cache line of its own)
//!     drops     by esp::DropReason              written by both
//!   SaUsage         one per pair of SAs: packets and octets of both directions, which wear it out; the last number used
//!   Counters        one per data plane: drops by esp::DropReason, losses by IoLoss, IKE messages, keepalives
//! ```
//!
//! All are relaxed atomics: a reader sees each number current, but not all from the same instant. They are written once for a
//! train or a super-packet, not for each packet.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use esp::DropReason;
use esp::unreachable::Unreachable;

/// Packets and octets of one direction of one child. Octets are of the inner IP packets.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Direction {
    packets: AtomicU64,
    octets: AtomicU64,
    /// Of a child: milliseconds since the owner's epoch, plus one; zero is never. Of an SA: one if control has not yet heard of it.
    last: AtomicU64,
}

impl Direction {
    /// Counts packets, of so many octets together.
    fn count(&self, packets: usize, octets: usize) {
        bump(&self.packets, packets as u64);
        bump(&self.octets, octets as u64);
    }
}

/// What one configured child carried and lost.
#[derive(Debug)]
pub struct ChildCounters {
    outbound: Direction,
    inbound: Direction,
    drops: [AtomicU64; DropReason::COUNT],
    /// Of those, what a socket did not take on the way out.
    refused: AtomicU64,
    epoch: Instant,
}

impl ChildCounters {
    /// Zeroes. `epoch` is any moment not after the first packet; the time of the last packet is kept relative to it.
    #[must_use]
    pub fn new(epoch: Instant) -> Self {
        Self {
            outbound: Direction::default(),
            inbound: Direction::default(),
            drops: zeroes(),
            refused: AtomicU64::new(0),
            epoch,
        }
    }

    /// Packets protected and handed to a socket.
    #[must_use]
    pub fn packets_out(&self) -> u64 {
        self.outbound.packets.load(Ordering::Relaxed)
    }

    /// Octets of the inner packets among [`packets_out`](Self::packets_out).
    #[must_use]
    pub fn octets_out(&self) -> u64 {
        self.outbound.octets.load(Ordering::Relaxed)
    }

    /// Authentic packets written to the TUN device.
    #[must_use]
    pub fn packets_in(&self) -> u64 {
        self.inbound.packets.load(Ordering::Relaxed)
    }

    /// Octets of the inner packets among [`packets_in`](Self::packets_in).
    #[must_use]
    pub fn octets_in(&self) -> u64 {
        self.inbound.octets.load(Ordering::Relaxed)
    }

    /// When the last authentic packet came in, to the millisecond and to one batch; dummy packets (RFC 4303 §2.6) are such.
    #[must_use]
    pub fn last_inbound(&self) -> Option<Instant> {
        let since = self.inbound.last.load(Ordering::Relaxed).checked_sub(1)?;
        self.epoch.checked_add(Duration::from_millis(since))
    }

    /// How many packets were dropped for `reason`.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        load(&self.drops, reason.index())
    }

    /// The reasons that dropped anything, with their numbers, in the order of [`DropReason::ALL`].
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason, self.dropped(reason))).filter(|(_, n)| *n > 0)
    }

    /// How many of the packets dropped as [`DropReason::SendFailed`] a socket did not take; the TUN device did not take the others.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// A socket did not take so many packets.
    pub(crate) fn refuse(&self, packets: usize) {
        self.drop_some(DropReason::SendFailed, packets);
        self.refused.fetch_add(packets as u64, Ordering::Relaxed);
    }

    /// Packets left, of so many octets together.
    pub(crate) fn sent(&self, packets: usize, octets: usize) {
        self.outbound.count(packets, octets);
    }

    /// Packets arrived, of so many octets together.
    pub(crate) fn delivered(&self, packets: usize, octets: usize) {
        self.inbound.count(packets, octets);
    }

    /// The peer proved to be alive.
    pub(crate) fn alive(&self, now: Instant) {
        let since = now.saturating_duration_since(self.epoch).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX - 1);
        self.inbound.last.store(since.saturating_add(1), Ordering::Relaxed);
    }

    /// One packet was lost.
    pub(crate) fn drop_one(&self, reason: DropReason) {
        self.drop_some(reason, 1);
    }

    /// So many packets were lost.
    pub(crate) fn drop_some(&self, reason: DropReason, packets: usize) {
        add(&self.drops, reason.index(), packets);
    }
}

/// What one pair of SAs has carried, in the same two ways: its lifetime counts from its own beginning, and while it is being
/// replaced, or has a part of the child's networks, it is not the only one of the child.
#[derive(Debug, Default)]
pub struct SaUsage {
    outbound: Direction,
    inbound: Direction,
    /// Written where `outbound` is, for every packet that was numbered, whether or not it left.
    sequence: AtomicU64,
}

impl SaUsage {
    /// Octets of inner packets, both directions summed.
    #[must_use]
    pub fn octets(&self) -> u64 {
        let of = |direction: &Direction| direction.octets.load(Ordering::Relaxed);
        of(&self.outbound).wrapping_add(of(&self.inbound))
    }

    /// Packets, both directions summed.
    #[must_use]
    pub fn packets(&self) -> u64 {
        let of = |direction: &Direction| direction.packets.load(Ordering::Relaxed);
        of(&self.outbound).wrapping_add(of(&self.inbound))
    }

    /// Whether the peer proved to be alive by this SA since that was last asked. (A child's other SAs may be of another IKE SA,
    /// whose peer is alive while this one's is not: RFC 7296 §2.4.)
    #[must_use]
    pub fn was_alive(&self) -> bool {
        self.inbound.last.swap(0, Ordering::Relaxed) != 0
    }

    /// The peer proved to be alive.
    pub(crate) fn alive(&self) {
        self.inbound.last.store(1, Ordering::Relaxed);
    }

    /// The last sequence number that the outbound SA used; 0 before the first.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Relaxed)
    }

    /// Packets were numbered up to `sequence`, and are not sent yet: whoever has seen one finds its number here. Tx pumps only;
    /// where several share the SA, one may set it back by a moment, until the next packet.
    pub(crate) fn numbered(&self, sequence: u64) {
        self.sequence.store(sequence, Ordering::Relaxed);
    }

    /// Whether `limits` leave no room for so many packets, of so many octets together.
    #[must_use]
    pub fn is_full(&self, limits: &ikev2::Limits, packets: usize, octets: usize) -> bool {
        let after = self.packets().saturating_add(packets as u64);
        let packets = limits.packets.is_some_and(|most| after > most);
        let next = |most| self.octets().saturating_add(octets as u64) > most;
        packets || limits.octets.is_some_and(next)
    }

    /// Packets left, of so many octets together.
    pub(crate) fn sent(&self, packets: usize, octets: usize) {
        self.outbound.count(packets, octets);
    }

    /// Packets arrived, of so many octets together.
    pub(crate) fn delivered(&self, packets: usize, octets: usize) {
        self.inbound.count(packets, octets);
    }
}

/// Why a packet was lost that no SA is to blame for: the operating system, or control, would not take it. A lost packet of a
/// child is counted there too, as [`DropReason::SendFailed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IoLoss {
    /// The socket's send buffer or the device queue was full.
    QueueFull,
    /// No route, a firewall, or our own address is gone.
    Unreachable,
    /// No socket has the local address and port that the SA wants.
    NoSocket,
    /// The TUN device refused the packet, for instance because somebody took it down.
    Device,
    /// The socket's receive buffer was full: packets came faster than they were handled.
    Overflow,
    /// Longer than the receive buffer.
    Truncated,
    /// An IKE message while control had not yet taken the earlier ones.
    ControlBusy,
}

impl IoLoss {
    /// All of them, in declaration order.
    pub const ALL: [Self; 7] = [
        Self::QueueFull,
        Self::Unreachable,
        Self::NoSocket,
        Self::Device,
        Self::Overflow,
        Self::Truncated,
        Self::ControlBusy,
    ];

    /// A stable word for status and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::Unreachable => "unreachable",
            Self::NoSocket => "no-socket",
            Self::Device => "device",
            Self::Overflow => "overflow",
            Self::Truncated => "truncated",
            Self::ControlBusy => "control-busy",
        }
    }

    /// Position in [`ALL`](Self::ALL).
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What the data plane counts that belongs to no child.
#[derive(Debug)]
pub struct Counters {
    drops: [AtomicU64; DropReason::COUNT],
    losses: [AtomicU64; IoLoss::ALL.len()],
    ike: AtomicU64,
    keepalives: AtomicU64,
    told: [AtomicU64; Unreachable::ALL.len()],
}

impl Counters {
    /// Zeroes.
    #[must_use]
    pub fn new() -> Self {
        Self {
            drops: zeroes(),
            losses: zeroes(),
            ike: AtomicU64::new(0),
            keepalives: AtomicU64::new(0),
            told: zeroes(),
        }
    }

    /// How many packets were dropped for `reason` before a child was known (unknown SPI, no policy, ...).
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        load(&self.drops, reason.index())
    }

    /// The reasons that dropped anything, with their numbers, in the order of [`DropReason::ALL`].
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason, self.dropped(reason))).filter(|(_, n)| *n > 0)
    }

    /// How many packets the operating system would not take or give, of all children together.
    #[must_use]
    pub fn lost(&self, loss: IoLoss) -> u64 {
        load(&self.losses, loss.index())
    }

    /// The losses that happened, with their numbers, in the order of [`IoLoss::ALL`].
    pub fn losses(&self) -> impl Iterator<Item = (IoLoss, u64)> + '_ {
        IoLoss::ALL.iter().map(|&loss| (loss, self.lost(loss))).filter(|(_, n)| *n > 0)
    }

    /// IKE messages handed to control.
    #[must_use]
    pub fn ike(&self) -> u64 {
        self.ike.load(Ordering::Relaxed)
    }

    /// NAT keepalives received (RFC 3948 §4).
    #[must_use]
    pub fn keepalives(&self) -> u64 {
        self.keepalives.load(Ordering::Relaxed)
    }

    /// How many hosts were told why a packet of theirs was dropped, where any were, in the order of [`Unreachable::ALL`].
    pub fn answers(&self) -> impl Iterator<Item = (Unreachable, u64)> + '_ {
        let all = Unreachable::ALL.iter().map(|&why| (why, load(&self.told, why as usize)));
        all.filter(|(_, count)| *count > 0)
    }

    pub(crate) fn told(&self, why: Unreachable) {
        add(&self.told, why as usize, 1);
    }

    pub(crate) fn drop_one(&self, reason: DropReason) {
        add(&self.drops, reason.index(), 1);
    }

    pub(crate) fn lose_some(&self, loss: IoLoss, packets: usize) {
        add(&self.losses, loss.index(), packets);
    }

    pub(crate) fn ike_passed(&self) {
        bump(&self.ike, 1);
    }

    pub(crate) fn keepalive_seen(&self) {
        bump(&self.keepalives, 1);
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

/// Adds to a number that several threads write.
fn bump(number: &AtomicU64, by: u64) {
    number.fetch_add(by, Ordering::Relaxed);
}

/// The same for one number of an array.
fn add(numbers: &[AtomicU64], index: usize, by: usize) {
    if let Some(number) = numbers.get(index) {
        bump(number, by as u64);
    }
}

fn load(numbers: &[AtomicU64], index: usize) -> u64 {
    numbers.get(index).map_or(0, |number| number.load(Ordering::Relaxed))
}

fn zeroes<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_has_its_own_index_and_word() {
        for (position, loss) in IoLoss::ALL.into_iter().enumerate() {
            assert_eq!(loss.index(), position);
            assert_eq!(IoLoss::ALL.iter().filter(|other| other.word() == loss.word()).count(), 1);
            assert!(loss.word().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{loss:?}");
        }
    }

    #[test]
    fn the_last_packet_in_is_known_to_the_millisecond() {
        let epoch = crate::clock::now();
        let counters = ChildCounters::new(epoch);
        assert_eq!(counters.last_inbound(), None);
        counters.alive(epoch + Duration::from_micros(1_700));
        assert_eq!(counters.last_inbound(), Some(epoch + Duration::from_millis(1)));
    }

    #[test]
    fn an_sa_is_full_when_the_next_packet_would_be_too_much() {
        let usage = SaUsage::default();
        let full =
            |octets, packets, next| usage.is_full(&ikev2::Limits { octets, packets }, 1, next);
        usage.sent(1, 600);
        usage.delivered(1, 300);
        assert!(!full(Some(1000), Some(3), 100), "the last one that fits");
        assert!(full(Some(1000), Some(3), 101));
        assert!(full(None, Some(2), 0), "both directions count");
        assert!(!full(None, None, usize::MAX));
    }

    #[test]
    fn a_sign_of_life_is_told_once() {
        let (one, other) = (SaUsage::default(), SaUsage::default());
        one.alive();
        assert!(!other.was_alive() && one.was_alive());
        assert!(!one.was_alive(), "it was told");
    }

    #[test]
    fn the_epoch_itself_is_not_never() {
        let epoch = crate::clock::now();
        let counters = ChildCounters::new(epoch);
        counters.alive(epoch);
        assert_eq!(counters.last_inbound(), Some(epoch));
    }

    #[test]
    fn drops_list_only_what_happened() {
        let counters = Counters::new();
        counters.drop_one(DropReason::UnknownSpi);
        counters.drop_one(DropReason::UnknownSpi);
        counters.lose_some(IoLoss::Device, 1);
        assert_eq!(counters.drops().collect::<Vec<_>>(), [(DropReason::UnknownSpi, 2)]);
        assert_eq!(counters.losses().collect::<Vec<_>>(), [(IoLoss::Device, 1)]);
    }
}
