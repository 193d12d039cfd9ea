//! The tx pump: inner packets from the TUN device leave protected, or not at all.
//!
//! ```text
//!   1 read        TUN ─► buffer, at esp::HEADROOM         | headroom |  inner packet  | tailroom |
//!   2 classify    inner addresses ─► slot                 policy.rs
//!   3 translate   nothing: addresses and MSS stay as they are
//!   4 encap       slot ─► SA; sealed where it lies        | .. | SPI seq IV | inner packet, pad | ICV | .. |
//!   5 send        UDP or raw socket, one packet a call
//! ```
//!
//! A packet that no SA protects is dropped and counted: no path leads from the device to a socket but through
//! [`esp::OutboundSa::encap`].

use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use esp::DropReason;
use esp::ip::{Upper, View};
use mio::{Events, Interest, Poll, Token};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::clock;
use crate::dataplane::command::{Abandoned, Mailbox, MailboxSender, mailbox};
use crate::dataplane::sad::{Outbound, Slots, Way};
use crate::dataplane::{
    BUDGET_PACKETS, Batch, Broken, Counters, IoLoss, Policy, SlotId, TxCommand, Upcall,
    UpcallSender,
};
use crate::io::udp::Outgoing;
use crate::io::{RawEsp, Tun, UdpSockets};

/// The tx pump's state; lives on its thread.
pub(super) struct Egress {
    poll: Poll,
    mailbox: Mailbox<TxCommand>,
    tun: Arc<Tun>,
    ways_out: WaysOut,
    upcall: UpcallSender,
    counters: Arc<Counters>,
    policy: Arc<Policy>,
    slots: Slots,
    buffer: Box<[u8]>,
    /// Read at most once per batch, and only by a batch that needs it.
    now: Option<Instant>,
}

/// The sockets, and whether the current batch may still wait for them.
struct WaysOut {
    udp: Arc<UdpSockets>,
    raw: Arc<Vec<RawEsp>>,
    may_wait: bool,
}

impl Egress {
    pub(super) fn new(
        tun: Arc<Tun>,
        udp: Arc<UdpSockets>,
        raw: Arc<Vec<RawEsp>>,
        upcall: UpcallSender,
        counters: Arc<Counters>,
    ) -> io::Result<(MailboxSender<TxCommand>, Self)> {
        let poll = Poll::new()?;
        let (sender, mailbox) = mailbox(&poll, WAKER)?;
        poll.registry().register(&mut &*tun, TUN, Interest::READABLE)?;
        let egress = Self {
            poll,
            mailbox,
            tun,
            ways_out: WaysOut { udp, raw, may_wait: true },
            upcall,
            counters,
            policy: Arc::new(Policy::default()),
            slots: Slots::default(),
            buffer: vec![0; esp::HEADROOM + PACKET_MAX + esp::TAILROOM].into_boxed_slice(),
            now: None,
        };
        Ok((sender, egress))
    }

    /// Pumps until it is told to stop.
    pub(super) fn run(&mut self) -> Result<(), Broken> {
        let mut events = Events::with_capacity(4);
        loop {
            if self.mailbox.is_filled() && self.obey().is_err() {
                return Ok(());
            }
            if self.batch()? == Batch::Full {
                continue;
            }
            match self.poll.poll(&mut events, None) {
                Err(cause) if cause.kind() != io::ErrorKind::Interrupted => {
                    return Err(Broken { what: "wait for packets", cause });
                }
                _ => {}
            }
        }
    }

    /// Handles packets until the device is drained or the budget is used up.
    fn batch(&mut self) -> Result<Batch, Broken> {
        self.now = None;
        self.ways_out.may_wait = true;
        for _ in 0..BUDGET_PACKETS {
            let Some(inner) = self.read()? else { return Ok(Batch::Drained) };
            let Some(slot) = self.classify(inner.clone()) else { continue };
            let Some((position, packet)) = self.encap(slot, &inner) else { continue };
            self.send(slot, position, packet, inner.len());
        }
        Ok(Batch::Full)
    }

    /// Step 1: says where in the buffer the packet lies, or `None` if there is none.
    fn read(&mut self) -> Result<Option<Range<usize>>, Broken> {
        let room = self.buffer.get_mut(VNET_HEADER..esp::HEADROOM + PACKET_MAX);
        let room = room.expect("invariant: the buffer was made with this room");
        loop {
            return match self.tun.read(room) {
                Ok(len) => Ok(Some(esp::HEADROOM..VNET_HEADER + len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => Err(Broken { what: "read from the TUN device", cause }),
            };
        }
    }

    /// Step 2: finds the child that has to protect the packet.
    fn classify(&self, inner: Range<usize>) -> Option<SlotId> {
        let Some(view) = self.buffer.get(inner).and_then(View::parse) else {
            self.counters.drop_one(DropReason::NotIp);
            return None;
        };
        let slot = self.policy.classify(&view);
        // Every host talks to its neighbours on every device (RFC 4861, RFC 3376): that no tunnel takes it is no news.
        if slot.is_none() && !is_to_many(view.destination) {
            self.counters.drop_one(DropReason::NoPolicy);
        }
        slot
    }

    /// Step 4: seals the packet by the slot's SA and says which one that is and where the ESP packet lies; without an SA
    /// asks control for one. Of several, each for a part of the child's networks, the last one that admits it. One that has
    /// carried all that it may is passed over: where it is being replaced its successor is there already.
    fn encap(&mut self, slot: SlotId, inner: &Range<usize>) -> Option<(usize, Range<usize>)> {
        let sas = self.slots.of(slot);
        let mut worn = None;
        for (position, out) in sas.iter_mut().enumerate().rev() {
            if out.told || out.usage.is_full(&out.hard, inner.len()) {
                worn = worn.or(Some((position, DropReason::SaExpired)));
                continue;
            }
            match out.sa.encap(&mut self.buffer, inner.clone()) {
                Ok(packet) => return Some((position, packet)),
                Err(DropReason::SelectorMismatch) => {}
                Err(DropReason::SequenceExhausted) => {
                    worn = worn.or(Some((position, DropReason::SequenceExhausted)));
                }
                Err(reason) => {
                    out.counters.drop_one(reason);
                    return None;
                }
            }
        }
        if let Some((out, reason)) = worn.and_then(|(at, reason)| Some((sas.get_mut(at)?, reason)))
        {
            out.counters.drop_one(reason);
            let spi = out.sa.spi();
            // If control is too busy to be told, it is told by the next packet.
            out.told = out.told || self.upcall.try_send(Upcall::Worn { slot, spi });
        } else if let Some(out) = sas.last() {
            out.counters.drop_one(DropReason::SelectorMismatch);
        } else {
            self.counters.drop_one(DropReason::NoSa);
            self.acquire(slot, inner);
        }
        None
    }

    /// Step 5: hands the packet to its socket and counts what became of it.
    fn send(&mut self, slot: SlotId, position: usize, packet: Range<usize>, inner_len: usize) {
        let out = self.slots.of(slot).get_mut(position);
        let (Some(out), Some(packet)) = (out, self.buffer.get(packet)) else {
            return;
        };
        let Err(error) = self.ways_out.send(&out.way, packet) else {
            out.counters.sent(inner_len);
            out.usage.sent(inner_len);
            return;
        };
        if error.raw_os_error() == Some(libc::EMSGSIZE) {
            out.counters.drop_one(DropReason::TooBig);
            return;
        }
        out.counters.drop_one(DropReason::SendFailed);
        self.counters.lose_one(loss_of(&error));
    }

    fn acquire(&mut self, slot: SlotId, inner: &Range<usize>) {
        let Some(view) = self.buffer.get(inner.clone()).and_then(View::parse) else { return };
        let packet = selectors_of(&view);
        let now = *self.now.get_or_insert_with(clock::now);
        if self.slots.may_acquire(slot, now) {
            // If control is too busy to be asked, the slot asks again with the first packet a second later.
            self.upcall.try_send(Upcall::Acquire { slot, packet });
        }
    }

    /// Does what control said. `Err` means to end.
    fn obey(&mut self) -> Result<(), Abandoned> {
        self.mailbox.open();
        while let Some(command) = self.mailbox.next()? {
            match command {
                TxCommand::Policy(policy) => self.policy = policy,
                TxCommand::Install { slot, sa, to, hold, counters, usage, hard } => {
                    let way = Way::to(&to, &self.ways_out.udp, &self.ways_out.raw);
                    let out = Outbound { sa, way, counters, usage, hard, told: false };
                    self.slots.install(slot, out, hold);
                }
                TxCommand::Activate { slot, spi } => self.slots.activate(slot, spi),
                TxCommand::Remove { slot, spi } => self.slots.remove(slot, spi),
                TxCommand::Move { slot, spi, to } => {
                    let way = Way::to(&to, &self.ways_out.udp, &self.ways_out.raw);
                    self.slots.redirect(slot, spi, way);
                }
                TxCommand::Stop => return Err(Abandoned),
            }
        }
        Ok(())
    }
}

impl WaysOut {
    /// Sends, waiting a little if the socket is full: that is the back-pressure which fills the device's queue instead. A
    /// batch waits in vain once at most, so that commands are seen in time.
    fn send(&mut self, way: &Way, packet: &[u8]) -> io::Result<()> {
        match self.send_at_once(way, packet) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.may_wait => {
                self.may_wait = self.wait_for_room(way);
                self.send_at_once(way, packet)
            }
            done => done,
        }
    }

    fn send_at_once(&self, way: &Way, packet: &[u8]) -> io::Result<()> {
        let message =
            |envelope| [Outgoing { payload: packet, segment: 0, envelope, traffic_class: 0 }];
        let sent = match way {
            Way::Udp(socket, envelope) => {
                self.udp.0.get(*socket).map(|socket| socket.send_batch(message(envelope)))
            }
            Way::Raw(socket, envelope) => {
                self.raw.get(*socket).map(|socket| socket.send_batch(message(envelope)))
            }
            Way::Nowhere => None,
        };
        sent.map_or_else(|| Err(io::ErrorKind::AddrNotAvailable.into()), |(_, result)| result)
    }

    /// True if there is room.
    fn wait_for_room(&self, way: &Way) -> bool {
        let socket = match way {
            Way::Udp(socket, _) => self.udp.0.get(*socket).map(AsFd::as_fd),
            Way::Raw(socket, _) => self.raw.get(*socket).map(AsFd::as_fd),
            Way::Nowhere => None,
        };
        let Some(socket) = socket else { return false };
        let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
        rustix::event::poll(&mut fds, Some(&ROOM_WAIT)).is_ok_and(|ready| ready > 0)
    }
}

/// Whether a packet is for a group, or for everybody on the link, rather than for one host.
fn is_to_many(destination: IpAddr) -> bool {
    match destination {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

/// What a peer is told of the packet. Type and code of ICMP are no ports: an SA for one kind of it would be of little use.
fn selectors_of(view: &View) -> ikev2::PacketSelectors {
    let ports = match view.upper {
        Upper::Ports { source, destination } => Some((source, destination)),
        Upper::Type(_) | Upper::Opaque => None,
    };
    let (protocol, local, remote) = (view.protocol, view.source, view.destination);
    ikev2::PacketSelectors { protocol, local, remote, ports }
}

/// Sorts an error of a send call other than EMSGSIZE.
fn loss_of(error: &io::Error) -> IoLoss {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => IoLoss::QueueFull,
        None => IoLoss::NoSocket,
        Some(_) => IoLoss::Unreachable,
    }
}

const TUN: Token = Token(0);
const WAKER: Token = Token(1);

/// The longest IP packet, in octets.
const PACKET_MAX: usize = 65_535;

/// Where the header before the packet begins; without offloads it says nothing.
const VNET_HEADER: usize = esp::HEADROOM - Tun::HEADER_LEN;

/// How long a packet may wait for room in the socket's send buffer; chosen so that a full buffer of 4 MB drains noticeably
/// at 1 Gbit/s.
const ROOM_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_told_from_hosts() {
        for (destination, expected) in [
            ("224.0.0.1", true),
            ("255.255.255.255", true),
            ("ff02::16", true),
            ("10.3.0.1", false),
            ("fe80::1", false),
        ] {
            let destination = destination.parse().expect("an address");
            assert_eq!(is_to_many(destination), expected, "{destination}");
        }
    }
}
