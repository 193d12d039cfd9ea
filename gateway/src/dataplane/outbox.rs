//! What the tx pump has sealed and not sent yet: trains in one buffer, handed to the kernel by one call.
//!
//! ```text
//!   lane    | train | train | train |  room  |        bulk, and apart from it what is urgent, acknowledgments of TCP
//!           ^ message                 ^ end            above all: between packets of 1400 octets each would end a train
//!
//!   seal        an SA's packets, behind those of its open train if the message takes more
//!   send_full   all but what a full train left over: it waits for what is read next
//!   send        all of it; sender.rs has how
//! ```

mod sender;

use std::sync::Arc;

use esp::{DropReason, Segments, Train, TrainLimits};

use self::sender::Sender;
use crate::dataplane::sad::{Slots, Way};
use crate::dataplane::tap::Taps;
use crate::dataplane::{Counters, SlotId};
use crate::io::{RawEsp, UdpSockets};

/// Trains that wait to be sent. Allocates when it is made and never again.
pub(super) struct Outbox {
    udp: Arc<UdpSockets>,
    raw: Arc<Vec<RawEsp>>,
    lanes: [Lane; 2],
    may_wait: bool,
    /// Who looks on.
    pub(super) taps: Taps,
}

/// Trains behind one another in a buffer of their own.
struct Lane {
    buffer: Box<[u8]>,
    waiting: Vec<Waiting>,
}

/// A train, whose it is and how it is marked.
#[derive(Clone, Copy)]
struct Waiting {
    train: Train,
    slot: SlotId,
    /// Position of the SA in its slot; no command moves it while anything waits.
    position: usize,
    traffic_class: u8,
}

/// Which lane a packet takes. Packets of one flow keep their order only within a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anything.
    Bulk,
    /// What others wait for: acknowledgments of TCP above all.
    Urgent,
}

impl Outbox {
    pub(super) fn new(udp: Arc<UdpSockets>, raw: Arc<Vec<RawEsp>>) -> Self {
        let lanes = [Lane::new(), Lane::new()];
        Self { udp, raw, lanes, may_wait: true, taps: Taps::default() }
    }

    /// Where packets of this destination leave.
    pub(super) fn way(&self, to: &crate::dataplane::Destination) -> Way {
        Way::to(to, &self.udp, &self.raw)
    }

    /// A new batch begins: it may wait for a full socket once.
    pub(super) fn begin(&mut self) {
        self.may_wait = true;
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.waiting.is_empty())
    }

    /// Octets that wait.
    pub(super) fn octets(&self) -> usize {
        self.lanes.iter().map(Lane::end).sum()
    }

    /// Seals all of `segments` with the SA at `position` of `slot`, sending what waits where room is needed.
    ///
    /// # Errors
    /// As [`esp::OutboundSa::encap_segments`]; what was sealed before is sent all the same.
    pub(super) fn seal(
        &mut self,
        (slots, slot, position): (&mut Slots, SlotId, usize),
        segments: &mut Segments<'_>,
        (kind, traffic_class): (Kind, u8),
        counters: &Counters,
    ) -> Result<(), DropReason> {
        if kind == Kind::Urgent && self.overtaken() >= OVERTAKEN_MAX {
            self.send(slots, counters);
        }
        while segments.next_len().is_some() {
            if !self.lane(kind).has_room() {
                self.send(slots, counters);
            }
            let Some(out) = slots.of(slot).get_mut(position) else { return Ok(()) };
            let limits = self.limits(&out.way);
            let lane = self.lane(kind);
            let like = |one: &&mut Waiting| {
                (one.slot, one.position, one.traffic_class) == (slot, position, traffic_class)
            };
            let next = segments.next_len().map_or(0, |len| out.sa.packet_len(len));
            let end = lane.end();
            let open = lane.waiting.last_mut().filter(like);
            if open.is_none_or(|open| !open.train.admits(next, limits)) {
                lane.waiting.push(Waiting { train: Train::at(end), slot, position, traffic_class });
            }
            let Some(last) = lane.waiting.last_mut() else { return Ok(()) };
            let sealed = out.sa.encap_segments(segments, &mut lane.buffer, &mut last.train, limits);
            out.usage.numbered(out.sa.sequence());
            if last.train.packets() == 0 {
                lane.waiting.pop();
            }
            sealed?;
        }
        Ok(())
    }

    /// How many sequence numbers something urgent would leave behind, at most, to be sent after it.
    fn overtaken(&self) -> usize {
        let [bulk, acks] = self.lanes.each_ref().map(Lane::packets);
        if bulk == 0 { 0 } else { bulk + acks }
    }

    /// Sends all that waits, what is urgent first: it is little, and others wait for it.
    pub(super) fn send(&mut self, slots: &Slots, counters: &Counters) {
        let [bulk, acks] = &self.lanes;
        let sender = Sender { udp: &self.udp, raw: &self.raw, slots, counters };
        if !self.taps.is_empty() {
            for lane in [acks, bulk] {
                sender.show(lane, &self.taps);
            }
        }
        for lane in [acks, bulk] {
            let mut at = 0;
            while at < lane.waiting.len() {
                at += sender.send_some(lane, at, &mut self.may_wait);
            }
        }
        for lane in &mut self.lanes {
            lane.waiting.clear();
        }
    }

    /// Whether the last train of bulk is what a full one before it left over, and takes more: of the 47 packets of a super-packet a
    /// message takes 44, and three would go in a message of their own.
    pub(super) fn leaves_over(&self, slots: &Slots) -> bool {
        let [bulk, _] = &self.lanes;
        let [.., before, last] = bulk.waiting.as_slice() else { return false };
        let Some(out) = slots.get(last.slot, last.position) else { return false };
        let limits = self.limits(&out.way);
        (before.slot, before.position) == (last.slot, last.position)
            && before.train.is_full(limits)
            && last.train.admits(last.train.stride(), limits)
    }

    /// Sends what waits but for what is [left over](Self::leaves_over): that waits for what is read next. Only where
    /// [`send`](Self::send) follows in the same batch.
    pub(super) fn send_full(&mut self, slots: &Slots, counters: &Counters) {
        let leaves_over = self.leaves_over(slots);
        let kept = leaves_over.then(|| self.lane(Kind::Bulk).waiting.pop()).flatten();
        self.send(slots, counters);
        if let Some(kept) = kept {
            self.lane(Kind::Bulk).keep(kept);
        }
    }

    fn lane(&mut self, kind: Kind) -> &mut Lane {
        let [bulk, acks] = &mut self.lanes;
        match kind {
            Kind::Bulk => bulk,
            Kind::Urgent => acks,
        }
    }

    /// What one message takes on this way.
    fn limits(&self, way: &Way) -> TrainLimits {
        let socket = match way {
            Way::Udp(socket, _) => self.udp.0.get(*socket),
            Way::Raw(..) | Way::Nowhere => None,
        };
        socket.map_or(TrainLimits { octets: MESSAGE_MAX, packets: 64 }, |socket| TrainLimits {
            octets: socket.message_max(),
            packets: socket.segments_max(),
        })
    }
}

impl Lane {
    fn new() -> Self {
        Self {
            buffer: vec![0; LANE_LEN].into_boxed_slice(),
            waiting: Vec::with_capacity(TRAINS_MAX),
        }
    }

    fn end(&self) -> usize {
        self.waiting.last().map_or(0, |last| last.train.range().end)
    }

    /// Puts a train that was taken away back, as the first one.
    fn keep(&mut self, one: Waiting) {
        self.buffer.copy_within(one.train.range(), 0);
        self.waiting.push(Waiting { train: one.train.moved_to(0), ..one });
    }

    fn packets(&self) -> usize {
        self.waiting.iter().map(|one| one.train.packets()).sum()
    }

    /// Whether one more train fits, however long it becomes.
    fn has_room(&self) -> bool {
        self.waiting.len() < TRAINS_MAX && self.end() + MESSAGE_MAX <= LANE_LEN
    }
}

/// Sequence numbers that may be overtaken on the way out. The peer's replay window may have no more than 32
/// (RFC 4303 §3.4.3), and the network overtakes, too; what leaves the window is lost.
const OVERTAKEN_MAX: usize = 16;

/// Octets of one message at most, and of one packet.
const MESSAGE_MAX: usize = 65_535 + esp::HEADROOM + esp::TAILROOM;

/// Octets of a lane: what is enough to be sent, a super-packet that became two trains, and one more.
const LANE_LEN: usize = 5 * MESSAGE_MAX;

/// Trains of a lane; many small packets of several sizes make many.
const TRAINS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as Plain;
    use std::num::NonZeroU32;
    use std::time::Duration;

    use esp::{OutboundSa, SaParams, Selector, Selectors, Suite, VnetHeader};
    use ikev2::Limits;

    use super::*;
    use crate::dataplane::sad::Outbound;
    use crate::dataplane::{ChildCounters, Destination, Transport};
    use crate::io::{Port, UdpSocket};

    const SLOT: SlotId = SlotId(0);

    /// An outbox with an SA to a plain socket on this host.
    fn outbox() -> (Outbox, Slots, Plain) {
        let peer = Plain::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0".parse().unwrap(), Port::Nat).unwrap();
        let (local, remote) = (socket.local(), peer.local_addr().unwrap());
        let outbox = Outbox::new(Arc::new(UdpSockets(vec![socket])), Arc::default());
        let way = outbox.way(&Destination {
            local: local.ip(),
            remote,
            local_port: local.port(),
            transport: Transport::Udp,
        });
        let all = || vec![Selector::addresses([0; 4].into(), [255; 4].into())];
        let sa = OutboundSa::new(SaParams {
            spi: NonZeroU32::new(0x101).unwrap(),
            suite: Suite::Combined(esp::Aead::AesGcm16(esp::AesKey::Bits256)),
            encr_key: &[0x5a; 36],
            integ_key: &[],
            esn: true,
            selectors: Arc::new(Selectors { local: all(), remote: all() }),
            replay_window: 32,
        });
        let out = Outbound {
            sa: Box::new(sa.unwrap()),
            owner: None,
            held: false,
            way,
            mtu: 1400,
            whole: true,
            counters: Arc::new(ChildCounters::new(crate::clock::now())),
            usage: Arc::default(),
            hard: Limits { octets: None, packets: None },
            told: false,
        };
        let mut slots = Slots::default();
        slots.install(SLOT, out);
        (outbox, slots, peer)
    }

    /// Seals so many packets of 1000 octets.
    fn seal(outbox: &mut Outbox, slots: &mut Slots, many: usize, kind: Kind) {
        let mut packet = vec![0; 1000];
        packet[..4].copy_from_slice(&[0x45, 0, 3, 232]);
        packet[8..10].copy_from_slice(&[64, 17]);
        for _ in 0..many {
            let mut segments = Segments::new(&VnetHeader::default(), &packet).unwrap();
            outbox.seal((slots, SLOT, 0), &mut segments, (kind, 0), &Counters::new()).unwrap();
        }
    }

    /// The sequence number of the next packet, and its length.
    fn come(peer: &Plain) -> (u32, usize) {
        let mut datagram = [0; 2048];
        let len = peer.recv(&mut datagram).unwrap();
        (u32::from_be_bytes(*datagram[4..].first_chunk().unwrap()), len)
    }

    /// Ten packets, to learn how long they are; then as many as a message takes, and three more.
    fn with_leftover() -> (Outbox, Slots, Plain, usize) {
        let (mut outbox, mut slots, peer) = outbox();
        let counters = Counters::new();
        outbox.begin();
        seal(&mut outbox, &mut slots, 10, Kind::Bulk);
        assert!(!outbox.leaves_over(&slots));
        outbox.send_full(&slots, &counters);
        assert!(outbox.is_empty(), "one train alone does not wait");
        let full = outbox.limits(&slots.get(SLOT, 0).unwrap().way).octets / come(&peer).1;
        (2..=10).for_each(|number| assert_eq!(come(&peer).0, number));
        seal(&mut outbox, &mut slots, full + 3, Kind::Bulk);
        assert!(outbox.leaves_over(&slots));
        outbox.send_full(&slots, &counters);
        let sent = 10 + u32::try_from(full).unwrap();
        (11..=sent).for_each(|number| assert_eq!(come(&peer).0, number));
        assert_eq!(outbox.lane(Kind::Bulk).packets(), 3);
        (outbox, slots, peer, full)
    }

    #[test]
    fn what_a_full_train_leaves_over_goes_with_what_is_read_next() {
        let (mut outbox, mut slots, peer, full) = with_leftover();
        seal(&mut outbox, &mut slots, full, Kind::Bulk);
        assert_eq!(outbox.lane(Kind::Bulk).waiting.len(), 2, "it went on where there was room");
        outbox.send(&slots, &Counters::new());
        assert!(outbox.is_empty());
        let first = u32::try_from(11 + full).unwrap();
        let all = u32::try_from(10 + full + 3 + full).unwrap();
        (first..=all).for_each(|number| assert_eq!(come(&peer).0, number));
        assert_eq!(slots.get(SLOT, 0).unwrap().counters.packets_out(), u64::from(all));
    }

    #[test]
    fn what_is_left_over_is_not_overtaken_by_more_than_the_narrowest_window() {
        let (mut outbox, mut slots, peer, full) = with_leftover();
        seal(&mut outbox, &mut slots, 40, Kind::Urgent);
        outbox.send(&slots, &Counters::new());
        let first = u32::try_from(11 + full).unwrap();
        let came: Vec<u32> = (0..43).map(|_| come(&peer).0).collect();
        let late = came.iter().position(|number| *number == first).unwrap();
        assert!((1..=OVERTAKEN_MAX).contains(&late), "{came:?}");
    }

    /// Short packets of several lengths make a train each, and a second call would gain nothing.
    #[test]
    fn a_train_that_none_overflowed_into_does_not_wait() {
        let (mut outbox, mut slots, _peer) = outbox();
        let counters = Counters::new();
        outbox.begin();
        for len in [40_u8, 80, 120] {
            let mut packet = vec![0; usize::from(len)];
            packet[..4].copy_from_slice(&[0x45, 0, 0, len]);
            packet[8..10].copy_from_slice(&[64, 17]);
            let mut segments = Segments::new(&VnetHeader::default(), &packet).unwrap();
            outbox.seal((&mut slots, SLOT, 0), &mut segments, (Kind::Bulk, 0), &counters).unwrap();
        }
        assert!(outbox.lane(Kind::Bulk).waiting.len() > 1 && !outbox.leaves_over(&slots));
        outbox.send_full(&slots, &counters);
        assert!(outbox.is_empty());
    }

    /// What the pump may read in one batch: short packets of several lengths, and acknowledgments among them.
    #[test]
    fn what_an_acknowledgment_overtakes_stays_in_the_narrowest_window() {
        let (mut outbox, mut slots, peer) = outbox();
        let counters = Counters::new();
        outbox.begin();
        for number in 0_u8..64 {
            let kind = if number < 40 && number % 8 != 7 { Kind::Bulk } else { Kind::Urgent };
            let mut packet = vec![0; 40 + usize::from(number % 3) * 16];
            packet[..4].copy_from_slice(&[0x45, 0, 0, 40 + number % 3 * 16]);
            packet[8..10].copy_from_slice(&[64, 6]);
            let mut segments = Segments::new(&VnetHeader::default(), &packet).unwrap();
            let place = (&mut slots, SLOT, 0);
            outbox.seal(place, &mut segments, (kind, 0), &counters).unwrap();
        }
        outbox.send(&slots, &counters);
        let (mut newest, mut first) = (0, None);
        for _ in 0..64 {
            let mut datagram = [0; 256];
            assert!(peer.recv(&mut datagram).unwrap() > 8);
            let sequence = u32::from_be_bytes(*datagram[4..].first_chunk().unwrap());
            newest = sequence.max(newest);
            first.get_or_insert(sequence);
            assert!(sequence + 32 > newest, "{sequence} after {newest}");
        }
        assert!(newest == 64 && first > Some(1), "nothing was overtaken");
    }
}
