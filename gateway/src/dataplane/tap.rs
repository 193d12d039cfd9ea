//! Captures: copies of packets for whoever looks on, taken where they pass and never waited for.
//!
//! ```text
//!   pump ─ see() ─► whose? which side? filter ─► room? ─► Frame ─► bounded queue ─► control, woken once for many
//!                                                 └ no: counted, and the packet goes its way all the same
//! ```
//!
//! Without a capture the pumps run code that has none of this in it: `batch::<false>`, chosen by one comparison a batch.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use esp::ip::View;
use esp::{Segments, VnetHeader};

use crate::clock;
use crate::dataplane::SlotId;
use crate::status::capture::{Direction, Filter, Flow, Outer, Side};

/// Every capture that runs; mostly none.
#[derive(Debug, Clone, Default)]
pub struct Taps(Arc<[Tap]>);

/// What a capture wants, and the way to it.
#[derive(Debug, Clone)]
pub struct Tap {
    wanted: Arc<Wanted>,
    queue: SyncSender<Frame>,
    room: Arc<Room>,
    waker: Arc<mio::Waker>,
}

/// Which packets a capture is of.
#[derive(Debug)]
pub struct Wanted {
    /// Where they are looked at.
    pub sides: Vec<Side>,
    /// Those of one connection; `None`: all.
    pub only: Option<Only>,
    /// And of those.
    pub filter: Filter,
    /// Octets of each that are kept.
    pub snap: usize,
}

/// One connection.
#[derive(Debug)]
pub struct Only {
    /// Its place in the configuration.
    pub connection: usize,
    /// Its children.
    pub slots: BTreeSet<SlotId>,
}

/// Whose a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// A child's.
    Child(SlotId),
    /// A connection's, by its place in the configuration.
    Connection(usize),
    /// Nobody's, or that is not known.
    Nobody,
}

/// A packet as it passes.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'p> {
    /// Where.
    pub side: Side,
    /// Which way.
    pub direction: Direction,
    /// Whose.
    pub whose: Whose,
    /// On the wire: what is around it.
    pub outer: Option<Outer>,
    /// Why it goes no further, if it does not.
    pub note: Option<&'static str>,
    /// An IP packet, or on the wire the payload.
    pub octets: &'p [u8],
}

/// The copy of a packet.
#[derive(Debug)]
pub struct Frame {
    /// When it passed, in nanoseconds since 1970.
    pub at_ns: u64,
    /// As in [`Seen`].
    pub side: Side,
    /// As in [`Seen`].
    pub direction: Direction,
    /// As in [`Seen`].
    pub whose: Whose,
    /// As in [`Seen`].
    pub outer: Option<Outer>,
    /// As in [`Seen`].
    pub note: Option<&'static str>,
    /// Octets that it had.
    pub len: usize,
    /// Those that are kept.
    pub octets: Vec<u8>,
}

/// What all who hold a tap know of the queue.
#[derive(Debug, Default)]
struct Room {
    /// Octets in the queue.
    held: AtomicUsize,
    /// Packets that found no room.
    lost: AtomicU64,
    /// Control was woken and has not looked yet.
    told: AtomicBool,
}

/// Control's end of a capture.
#[derive(Debug)]
pub struct Catch {
    queue: Receiver<Frame>,
    room: Arc<Room>,
}

impl Tap {
    /// A capture and its two ends. `waker` belongs to control's own `mio::Poll`.
    #[must_use]
    pub fn open(wanted: Wanted, waker: Arc<mio::Waker>) -> (Self, Catch) {
        let (queue_in, queue_out) = sync_channel(QUEUE_LEN);
        let room = Arc::new(Room::default());
        let tap =
            Self { wanted: Arc::new(wanted), queue: queue_in, room: Arc::clone(&room), waker };
        (tap, Catch { queue: queue_out, room })
    }

    /// The same capture, of other packets from now on.
    #[must_use]
    pub fn of(&self, wanted: Wanted) -> Self {
        Self { wanted: Arc::new(wanted), ..self.clone() }
    }

    fn see(&self, seen: &Seen<'_>, flow: Option<&Flow>) {
        if !self.wanted.takes(seen, flow) {
            return;
        }
        let octets = seen.octets.get(..self.wanted.snap).unwrap_or(seen.octets);
        // The threads that see packets share this; each gives back what it took in vain.
        let cost = octets.len() + FRAME_COST;
        if self.room.held.fetch_add(cost, Ordering::Relaxed) + cost > HELD_MAX {
            self.room.held.fetch_sub(cost, Ordering::Relaxed);
            self.room.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let at = clock::wall().as_nanosecond();
        let Seen { side, direction, whose, outer, note, .. } = *seen;
        let at_ns = u64::try_from(at).unwrap_or(0);
        let (len, octets) = (seen.octets.len(), octets.to_vec());
        let frame = Frame { at_ns, side, direction, whose, outer, note, len, octets };
        match self.queue.try_send(frame) {
            Ok(()) => self.wake(),
            Err(error) => {
                self.room.held.fetch_sub(cost, Ordering::Relaxed);
                // Nobody looks on any more, and control takes the tap away in a moment.
                if let TrySendError::Full(_) = error {
                    self.room.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn wake(&self) {
        if !self.room.told.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "cannot wake the control thread");
        }
    }
}

impl Wanted {
    fn takes(&self, seen: &Seen<'_>, flow: Option<&Flow>) -> bool {
        let is_whose = self.only.as_ref().is_none_or(|only| match seen.whose {
            Whose::Child(slot) => only.slots.contains(&slot),
            Whose::Connection(connection) => only.connection == connection,
            Whose::Nobody => false,
        });
        let passes = match flow {
            Some(flow) => self.filter.admits(flow),
            None => self.filter.is_open(),
        };
        is_whose && passes && self.sides.contains(&seen.side)
    }
}

impl Taps {
    /// Those.
    #[must_use]
    pub fn new(taps: Vec<Tap>) -> Self {
        Self(taps.into())
    }

    /// Whether nobody looks on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Shows a packet to all who want to see it.
    pub fn see(&self, seen: Seen<'_>) {
        let flow = match seen.outer {
            Some(outer) => Some(outer.flow()),
            None => View::parse(seen.octets).map(|view| Flow {
                source: view.source,
                destination: view.destination,
                protocol: view.protocol,
                ports: view.ports(),
            }),
        };
        for tap in self.0.iter() {
            tap.see(&seen, flow.as_ref());
        }
    }

    /// Shows each of the packets that a super-packet stands for, with the checksums that they leave with.
    pub(super) fn see_each(&self, seen: Seen<'_>, vnet: &VnetHeader) {
        let Ok(mut segments) = Segments::new(vnet, seen.octets) else { return self.see(seen) };
        let mut octets = Vec::new();
        while let Some(len) = segments.next_len() {
            octets.resize(len, 0);
            if !segments.write_next(&mut octets) {
                return;
            }
            self.see(Seen { octets: &octets, ..seen });
        }
    }
}

impl Catch {
    /// The next packet; `None` if there is none at the moment. Whoever empties it says so before, by [`begin`](Self::begin).
    #[must_use]
    pub fn next(&self) -> Option<Frame> {
        let frame = self.queue.try_recv().ok()?;
        self.room.held.fetch_sub(frame.octets.len() + FRAME_COST, Ordering::Relaxed);
        Some(frame)
    }

    /// From here on what comes wakes control again.
    pub fn begin(&self) {
        self.room.told.store(false, Ordering::Release);
    }

    /// How many packets found no room so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.room.lost.load(Ordering::Relaxed)
    }
}

/// Packets that may wait for control.
const QUEUE_LEN: usize = 4096;

/// Octets that may, with what a packet costs beside its own: 20 ms of 1 Gbit/s.
const HELD_MAX: usize = 4 << 20;

/// Octets of a frame beside those of the packet.
const FRAME_COST: usize = size_of::<Frame>();

#[cfg(test)]
mod tests {
    use super::*;

    fn open(wanted: Wanted) -> (Taps, Catch, mio::Poll) {
        let poll = mio::Poll::new().expect("a poll");
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker"));
        let (tap, catch) = Tap::open(wanted, waker);
        (Taps::new(vec![tap]), catch, poll)
    }

    fn all() -> Wanted {
        let filter = Filter::default();
        Wanted { sides: Side::ALL.to_vec(), only: None, filter, snap: usize::MAX }
    }

    /// An empty UDP packet from 10.1.0.1 to 10.2.0.1, port 7 to 9.
    fn packet() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 1, 10, 2, 0, 1];
        packet.extend([0, 7, 0, 9, 0, 8, 0, 0]);
        packet
    }

    fn seen(octets: &[u8]) -> Seen<'_> {
        let (side, direction) = (Side::Lan, Direction::Out);
        let whose = Whose::Child(SlotId(3));
        Seen { side, direction, whose, outer: None, note: None, octets }
    }

    fn count(catch: &Catch) -> usize {
        std::iter::from_fn(|| catch.next()).count()
    }

    #[test]
    fn a_capture_gets_what_it_wants_and_nothing_else() {
        let packet = packet();
        let only = |slot| Some(Only { connection: 5, slots: BTreeSet::from([SlotId(slot)]) });
        let port = |port| Filter { port: Some(port), ..Filter::default() };
        for (wanted, expected) in [
            (all(), 1),
            (Wanted { only: only(3), ..all() }, 1),
            (Wanted { only: only(4), ..all() }, 0),
            (Wanted { sides: vec![Side::Tunnel, Side::Wire], ..all() }, 0),
            (Wanted { filter: port(9), ..all() }, 1),
            (Wanted { filter: port(8), ..all() }, 0),
        ] {
            let words = format!("{wanted:?}");
            let (taps, catch, _poll) = open(wanted);
            taps.see(seen(&packet));
            assert_eq!(count(&catch), expected, "{words}");
        }
        let (taps, catch, _poll) = open(Wanted { only: only(4), ..all() });
        taps.see(Seen { whose: Whose::Connection(5), ..seen(&packet) });
        taps.see(Seen { whose: Whose::Connection(6), ..seen(&packet) });
        taps.see(Seen { whose: Whose::Nobody, ..seen(&packet) });
        assert_eq!(count(&catch), 1);
        let (taps, catch, _poll) = open(Wanted { filter: port(8), ..all() });
        taps.see(seen(b"no packet"));
        assert_eq!(count(&catch), 0);
    }

    #[test]
    fn what_is_kept_of_a_packet_is_told_from_what_it_had() {
        let (taps, catch, _poll) = open(Wanted { snap: 20, ..all() });
        taps.see(seen(&packet()));
        let frame = catch.next().expect("a frame");
        assert_eq!((frame.len, frame.octets.len()), (28, 20));
    }

    /// Nobody empties the queue: the one who shows packets never waits, and what finds no room is counted, by number as by octets.
    #[test]
    fn what_finds_no_room_is_lost_and_counted() {
        let (taps, catch, _poll) = open(all());
        let many = QUEUE_LEN + 100;
        (0..many).for_each(|_| taps.see(seen(&packet())));
        let (lost, kept) = (usize::try_from(catch.lost()).expect("few"), count(&catch));
        assert_eq!(lost + kept, many);
        assert!(lost >= 100 && kept <= QUEUE_LEN && kept > 1000, "{kept} kept");

        taps.see(seen(&packet()));
        assert_eq!(count(&catch), 1, "room again");
        let long = vec![0; 60_000];
        let before = catch.lost();
        (0..100).for_each(|_| taps.see(seen(&long)));
        let (lost, kept) = (catch.lost() - before, count(&catch));
        assert!(lost > 0 && kept * long.len() <= HELD_MAX, "{kept} kept, {lost} lost");
        assert_eq!(catch.room.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_who_left_costs_nothing_and_loses_nothing() {
        let (taps, catch, _poll) = open(all());
        let room = Arc::clone(&catch.room);
        drop(catch);
        (0..10).for_each(|_| taps.see(seen(&packet())));
        let held = room.held.load(Ordering::Relaxed);
        assert_eq!((held, room.lost.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn control_is_woken_once_for_what_it_has_not_looked_at() {
        let (taps, catch, mut poll) = open(all());
        let mut events = mio::Events::with_capacity(4);
        let mut woken = || {
            poll.poll(&mut events, Some(std::time::Duration::ZERO)).expect("polls");
            events.iter().count()
        };
        taps.see(seen(&packet()));
        assert_eq!(woken(), 1);
        taps.see(seen(&packet()));
        assert_eq!(woken(), 0, "it was told");
        catch.begin();
        assert_eq!(count(&catch), 2);
        taps.see(seen(&packet()));
        assert_eq!(woken(), 1);
    }
}
