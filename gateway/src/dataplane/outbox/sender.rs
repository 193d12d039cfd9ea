//! How trains leave: as messages that the kernel cuts into packets, or packet by packet where it cannot.
//!
//! ```text
//!   message by message in one sendmmsg; UDP_SEGMENT cuts a message into the packets of its train
//!     EAGAIN    wait once for room: the device's queue fills meanwhile, and that is the back-pressure
//!     EIO       the way out cannot cut: the packets go one by one
//!     EMSGSIZE  longer than the MTU of the way out: dropped and counted; control hears of such an MTU by netlink
//! ```
//!
//! The packets of an SA that are not whole (IPv6 inside of a path that carries hardly more than 1280 octets) go one by one
//! without DF, so that IP fragments what does not fit (RFC 4301 §8.1).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use esp::DropReason;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::{Lane, Waiting};
use crate::dataplane::sad::{Outbound, Slots, Way};
use crate::dataplane::tap::{Seen, Taps, Whose};
use crate::dataplane::{Counters, IoLoss};
use crate::io::{RawEsp, UdpSockets};
use crate::status::capture::{Direction, Outer, Side};
use crate::sys::batch::Outgoing;

/// What sending needs, apart from the lane.
pub(super) struct Sender<'s> {
    pub(super) udp: &'s UdpSockets,
    pub(super) raw: &'s [RawEsp],
    pub(super) slots: &'s Slots,
    pub(super) counters: &'s Counters,
}

impl Sender<'_> {
    /// Sends trains from position `at` on that leave by the same socket; says how many are done with, sent or not.
    pub(super) fn send_some(&self, lane: &Lane, at: usize, may_wait: &mut bool) -> usize {
        let rest = lane.waiting.get(at..).unwrap_or_default();
        let Some(first) = rest.first().and_then(|one| self.outbound(one)) else {
            return 1;
        };
        let Way::Udp(socket, _) = first.way else {
            return self.send_apart(lane, rest, may_wait);
        };
        let whole = |one: &Waiting| self.outbound(one).is_some_and(|out| out.whole);
        let Some(udp) = self.udp.0.get(socket).filter(|udp| udp.gso_works() && first.whole) else {
            return self.send_apart(lane, rest, may_wait);
        };
        let same = rest.iter().take_while(|one| whole(one));
        let same =
            same.map_while(|one| self.outgoing(lane, one).filter(|(by, _)| *by == By::Udp(socket)));
        let (taken, result) = udp.send_batch(same.map(|(_, message)| message));
        for one in rest.iter().take(taken) {
            self.sent(one, one.train.packets(), one.train.inner_octets());
        }
        let Err(error) = result else { return taken };
        match error.raw_os_error() {
            Some(libc::EAGAIN) if *may_wait => {
                *may_wait = wait_for_room(udp.as_fd());
                taken
            }
            // EIO: it cannot cut, which the socket remembers. EINVAL: it cannot cut these; alone they tell what is wrong.
            Some(libc::EIO | libc::EINVAL) => {
                let stuck = rest.get(taken..).unwrap_or_default();
                taken + self.send_apart(lane, stuck, may_wait)
            }
            _ => {
                let stuck = rest.get(taken).into_iter();
                stuck.for_each(|one| self.lost(one, one.train.packets(), &error));
                taken + 1
            }
        }
    }

    /// Shows what waits as it is about to cross the wire.
    #[cold]
    pub(super) fn show(&self, lane: &Lane, taps: &Taps) {
        for one in &lane.waiting {
            let Some((by, train)) = self.outgoing(lane, one) else { continue };
            let (Some(from), Some(destination)) = train.envelope.ends() else { continue };
            let port = match by {
                By::Udp(socket) => self.udp.0.get(socket).map(|udp| udp.local().port()),
                By::Raw(_) => None,
            };
            let outer = Outer {
                source: (from, port.unwrap_or(0)).into(),
                destination,
                udp: port.is_some(),
                traffic_class: train.traffic_class,
            };
            for packet in train.apart() {
                taps.see(Seen {
                    side: Side::Wire,
                    direction: Direction::Out,
                    whose: Whose::Child(one.slot),
                    outer: Some(outer),
                    note: None,
                    octets: packet.payload,
                });
            }
        }
    }

    /// Sends the packets of the first train one by one; says 1.
    fn send_apart(&self, lane: &Lane, rest: &[Waiting], may_wait: &mut bool) -> usize {
        let Some(one) = rest.first() else { return 1 };
        let Some((by, message)) = self.outgoing(lane, one) else {
            self.lost(one, one.train.packets(), &io::ErrorKind::AddrNotAvailable.into());
            return 1;
        };
        let whole = self.outbound(one).is_none_or(|out| out.whole);
        if !whole {
            self.set_df(by, false);
        }
        let (mut at, packets) = (0, one.train.packets());
        while at < packets {
            let left = message.apart().skip(at);
            let (taken, result) = match by {
                By::Udp(socket) => match self.udp.0.get(socket) {
                    Some(udp) => udp.send_batch(left),
                    None => (0, Err(io::ErrorKind::AddrNotAvailable.into())),
                },
                By::Raw(socket) => match self.raw.get(socket) {
                    Some(raw) => raw.send_batch(left),
                    None => (0, Err(io::ErrorKind::AddrNotAvailable.into())),
                },
            };
            // All but the last have the same length, so that octets are shared out as packets are.
            self.sent(one, taken, one.train.inner_octets() * taken / packets);
            at += taken;
            match result {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && *may_wait => {
                    *may_wait = self.socket(by).is_some_and(wait_for_room);
                }
                Err(error) => {
                    self.lost(one, 1, &error);
                    at += 1;
                }
            }
        }
        if !whole {
            self.set_df(by, true);
        }
        1
    }

    /// What another thread sends meanwhile on the same socket lacks DF, too, which does no harm.
    fn set_df(&self, by: By, on: bool) {
        let done = match by {
            By::Udp(socket) => self.udp.0.get(socket).map(|udp| udp.set_df(on)),
            By::Raw(socket) => self.raw.get(socket).map(|raw| raw.set_df(on)),
        };
        debug_assert!(done.is_some_and(|done| done.is_ok()), "an option that was set before");
    }

    fn outbound(&self, one: &Waiting) -> Option<&Outbound> {
        self.slots.get(one.slot, one.position)
    }

    /// The message that a train is, and its socket; `None` if there is no socket for it.
    fn outgoing<'a>(&'a self, lane: &'a Lane, one: &Waiting) -> Option<(By, Outgoing<'a>)> {
        let (by, envelope) = match &self.outbound(one)?.way {
            Way::Udp(socket, envelope) => (By::Udp(*socket), envelope),
            Way::Raw(socket, envelope) => (By::Raw(*socket), envelope),
            Way::Nowhere => return None,
        };
        let payload = lane.buffer.get(one.train.range())?;
        let segment = u16::try_from(one.train.stride()).unwrap_or(0);
        Some((by, Outgoing { payload, segment, envelope, traffic_class: one.traffic_class }))
    }

    fn socket(&self, by: By) -> Option<BorrowedFd<'_>> {
        match by {
            By::Udp(socket) => self.udp.0.get(socket).map(AsFd::as_fd),
            By::Raw(socket) => self.raw.get(socket).map(AsFd::as_fd),
        }
    }

    fn sent(&self, one: &Waiting, packets: usize, octets: usize) {
        if let Some(out) = self.outbound(one).filter(|_| packets > 0) {
            out.counters.sent(packets, octets);
            out.usage.sent(packets, octets);
        }
    }

    fn lost(&self, one: &Waiting, packets: usize, error: &io::Error) {
        let Some(out) = self.outbound(one) else { return };
        if error.raw_os_error() == Some(libc::EMSGSIZE) {
            out.counters.drop_some(DropReason::TooBig, packets);
            return;
        }
        out.counters.refuse(packets);
        self.counters.lose_some(loss_of(error), packets);
    }
}

/// A socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Udp(usize),
    Raw(usize),
}

/// True if there is room.
fn wait_for_room(socket: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
    rustix::event::poll(&mut fds, Some(&ROOM_WAIT)).is_ok_and(|ready| ready > 0)
}

/// Sorts an error of a send call other than EMSGSIZE.
fn loss_of(error: &io::Error) -> IoLoss {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => IoLoss::QueueFull,
        None => IoLoss::NoSocket,
        Some(_) => IoLoss::Unreachable,
    }
}

/// How long a batch may wait for room in the socket's send buffer; chosen so that a full buffer of 4 MB drains noticeably
/// at 1 Gbit/s.
const ROOM_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
