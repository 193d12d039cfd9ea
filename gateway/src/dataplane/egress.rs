//! The tx pump: inner packets from the TUN device leave protected, or not at all.
//!
//! ```text
//!   1 read        TUN, first the queue of what others wait for ─► buffer
//!                                    | vnet header | IP | TCP | up to 64 KiB of payload, a super-packet |
//!   2 classify    inner addresses ─► slot                                    policy.rs, once per super-packet
//!   3 translate   MSS of a SYN
//!   4 encap       slot ─► SA; split and sealed in the outbox     | SPI seq IV | segment, pad | ICV | SPI seq IV | ..
//!   5 send        all that waits in one call                     outbox.rs, drained: all; much: full trains
//! ```
//!
//! A packet that no SA protects is dropped and counted: no path leads from the device to a socket but through
//! [`esp::OutboundSa`].

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use esp::ip::{Upper, View};
use esp::mss::{TcpChecksum, clamp_mss};
use esp::unreachable::Unreachable;
use esp::{DropReason, Segments, VNET_HEADER_LEN, VnetHeader, ecn};
use mio::{Events, Interest, Poll, Token};

use crate::clock;
use crate::dataplane::command::{Abandoned, Mailbox, MailboxSender, mailbox};
use crate::dataplane::outbox::{Kind, Outbox};
use crate::dataplane::pump::{Batch, Broken, Rest};
use crate::dataplane::sad::{Outbound, Slots};
use crate::dataplane::tap::{Seen, Whose};
use crate::dataplane::{Answers, Counters, Policy, SlotId, TxCommand, Upcall, UpcallSender};
use crate::io::{RawEsp, Tun, UdpSockets, is_device_gone};
use crate::status::capture::{Direction, Side};
use crate::sys::wipe;

/// The tx pump's state; lives on its thread.
pub(super) struct Egress {
    poll: Poll,
    mailbox: Mailbox<TxCommand>,
    tun: Arc<Tun>,
    urgent: Option<Arc<Tun>>,
    buffer: Box<[u8]>,
    sealer: Sealer,
}

/// What happens to a packet once it is in the buffer, which stays borrowed meanwhile.
struct Sealer {
    outbox: Outbox,
    upcall: UpcallSender,
    counters: Arc<Counters>,
    answers: Answers,
    policy: Arc<Policy>,
    slots: Slots,
    /// Read at most once per batch, and only by a batch that needs it.
    now: Option<Instant>,
}

impl Egress {
    pub(super) fn new(
        (tun, urgent): (Arc<Tun>, Option<Arc<Tun>>),
        udp: Arc<UdpSockets>,
        raw: Arc<Vec<RawEsp>>,
        upcall: UpcallSender,
        (counters, answers): (Arc<Counters>, Answers),
        worker: usize,
    ) -> io::Result<(MailboxSender<TxCommand>, Self)> {
        let poll = Poll::new()?;
        let (sender, mailbox) = mailbox(&poll, WAKER)?;
        listen(&poll, &tun, urgent.as_deref())?;
        let sealer = Sealer {
            outbox: Outbox::new(udp, raw),
            upcall,
            counters,
            answers,
            policy: Arc::new(Policy::default()),
            slots: Slots::of_worker(worker),
            now: None,
        };
        let buffer = vec![0; VNET_HEADER_LEN + PACKET_MAX].into_boxed_slice();
        Ok((sender, Self { poll, mailbox, tun, urgent, buffer, sealer }))
    }

    /// Pumps until it is told to stop.
    pub(super) fn run(&mut self) -> Result<(), Broken> {
        let mut rest = Rest::default();
        let mut events = Events::with_capacity(4);
        loop {
            crate::fault::point("tx");
            if self.mailbox.is_filled() {
                match self.obey() {
                    Ok(()) => {}
                    Err(End::Abandoned) => return Ok(()),
                    Err(End::Broken(broken)) => return Err(broken),
                }
                wipe::stack();
            }
            let batch = if self.sealer.outbox.taps.is_empty() {
                self.batch::<false>()?
            } else {
                self.batch::<true>()?
            };
            if !rest.is_due(batch) {
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

    /// Handles packets until the device is drained or the budget is used up. When it ends nothing waits to be sent.
    /// `WATCHED` if a capture runs: otherwise nothing of it is even in the code.
    fn batch<const WATCHED: bool>(&mut self) -> Result<Batch, Broken> {
        self.sealer.begin();
        let (mut result, mut was_sent) = (Batch::Empty, true);
        for _ in 0..READS {
            // What is urgent comes before what has not been read yet.
            if (was_sent || self.sealer.outbox.is_empty()) && self.read_urgent::<WATCHED>()? > 0 {
                result = Batch::Drained;
            }
            let Self { tun, urgent, buffer, sealer, .. } = self;
            let Some(len) = read(tun, buffer)? else {
                // While full trains are sent, which takes long, more may come for what they left over.
                if sealer.outbox.leaves_over(&sealer.slots) {
                    sealer.send_full();
                    was_sent = true;
                    continue;
                }
                sealer.send();
                return Ok(result);
            };
            result = Batch::Drained;
            let kind = urgent.is_some().then_some(Kind::Bulk);
            sealer.protect::<WATCHED>(buffer.get_mut(..len).unwrap_or_default(), kind);
            was_sent = sealer.outbox.octets() >= ENOUGH;
            if was_sent {
                sealer.send_full();
            }
        }
        self.sealer.send();
        Ok(Batch::Full)
    }

    /// Handles what waits in the urgent queue, up to the budget; says how many packets that were.
    fn read_urgent<const WATCHED: bool>(&mut self) -> Result<usize, Broken> {
        let Self { urgent: Some(urgent), buffer, sealer, .. } = self else { return Ok(0) };
        for packets in 0..READS {
            let Some(len) = read(urgent, buffer)? else { return Ok(packets) };
            let octets = buffer.get_mut(..len).unwrap_or_default();
            sealer.protect::<WATCHED>(octets, Some(Kind::Urgent));
        }
        Ok(READS)
    }

    /// Does what control said. `Err` means to end.
    fn obey(&mut self) -> Result<(), End> {
        self.mailbox.open();
        let Sealer { slots, outbox, policy: current, .. } = &mut self.sealer;
        while let Some(command) = self.mailbox.next()? {
            match command {
                TxCommand::Policy(policy) => *current = policy,
                TxCommand::Install { slot, sa, owner, to, mtu, hold, counters, usage, hard } => {
                    let (way, held) = (outbox.way(&to), hold);
                    let (whole, told) = (true, false);
                    let out =
                        Outbound { sa, owner, held, way, mtu, whole, counters, usage, hard, told };
                    slots.install(slot, out);
                }
                TxCommand::Activate { slot, spi } => slots.activate(slot, spi),
                TxCommand::Remove { slot, spi } => slots.remove(slot, spi),
                TxCommand::Move { slot, spi, to, mtu } => {
                    slots.redirect(slot, spi, outbox.way(&to), mtu);
                }
                TxCommand::Mtu { slot, spi, mtu, whole } => slots.resize(slot, spi, mtu, whole),
                TxCommand::Device { bulk, urgent } => {
                    listen(&self.poll, &bulk, urgent.as_deref())
                        .map_err(|cause| Broken { what: "watch the new TUN device", cause })?;
                    // What is closed is watched no more.
                    (self.tun, self.urgent) = (bulk, urgent);
                }
                TxCommand::Watch(taps) => outbox.taps = taps,
                TxCommand::Stop => return Err(End::Abandoned),
            }
        }
        Ok(())
    }
}

/// What became of a packet.
#[derive(Clone, Copy)]
enum Fate {
    /// It waits to be sent.
    Sealed,
    /// It is gone, and its source is told so, if anything.
    Dropped(Option<Unreachable>),
}

/// What lies before each packet of the device.
type Vnet = [u8; VNET_HEADER_LEN];

/// Why a pump does not go on.
enum End {
    /// It was told to, or nobody is there any more.
    Abandoned,
    Broken(Broken),
}

impl From<Abandoned> for End {
    fn from(_: Abandoned) -> Self {
        Self::Abandoned
    }
}

impl From<Broken> for End {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// Wakes the pump for what comes out of the device.
fn listen(poll: &Poll, bulk: &Tun, urgent: Option<&Tun>) -> io::Result<()> {
    poll.registry().register(&mut &*bulk, TUN, Interest::READABLE)?;
    match urgent {
        Some(mut urgent) => poll.registry().register(&mut urgent, URGENT, Interest::READABLE),
        None => Ok(()),
    }
}

impl Sealer {
    fn begin(&mut self) {
        self.now = None;
        self.outbox.begin();
    }

    fn send(&mut self) {
        self.outbox.send(&self.slots, &self.counters);
    }

    fn send_full(&mut self) {
        self.outbox.send_full(&self.slots, &self.counters);
    }

    /// Steps 2 to 4 for one packet or super-packet, and the header before it. `kind` if the queue tells.
    fn protect<const WATCHED: bool>(&mut self, octets: &mut [u8], kind: Option<Kind>) {
        let Some((vnet, packet)) = octets.split_first_chunk_mut::<VNET_HEADER_LEN>() else {
            return;
        };
        let Some(view) = View::parse(packet) else {
            return self.counters.drop_one(DropReason::NotIp);
        };
        let Some(slot) = self.classify(&view) else {
            if WATCHED {
                self.show(Side::Lan, vnet, packet, (Whose::Nobody, Some(NO_CHILD)));
            }
            return self.tell_why(packet, &view);
        };
        let came = if WATCHED { (*vnet, packet.to_vec()) } else { ([0; _], Vec::new()) };
        let vnet = VnetHeader::parse(vnet);
        if let Ok(vnet) = &vnet {
            self.translate(slot, vnet, packet, &view);
        }
        let fate = match vnet.and_then(|vnet| Segments::new(&vnet, packet)) {
            Ok(mut segments) => {
                let kind = kind.unwrap_or_else(|| kind_of(&view, packet));
                self.encap(slot, &mut segments, kind)
            }
            Err(reason) => return self.counters.drop_one(reason),
        };
        if WATCHED {
            self.show_both(slot, (&came.0, &came.1), packet, fate);
        }
        if let Fate::Dropped(Some(why)) = fate {
            self.tell(packet, &view, why);
        }
    }

    /// Shows a packet as it came and, if it was sealed, as it was then.
    fn show_both(&self, slot: SlotId, came: (&Vnet, &[u8]), sealed: &[u8], fate: Fate) {
        let note = match fate {
            Fate::Sealed => None,
            Fate::Dropped(_) => Some(UNSEALED),
        };
        let whose = Whose::Child(slot);
        self.show(Side::Lan, came.0, came.1, (whose, note));
        if note.is_none() {
            self.show(Side::Tunnel, came.0, sealed, (whose, None));
        }
    }

    fn show(&self, side: Side, vnet: &Vnet, octets: &[u8], about: (Whose, Option<&'static str>)) {
        let (whose, note) = about;
        let seen = Seen { side, direction: Direction::Out, whose, outer: None, note, octets };
        match VnetHeader::parse(vnet) {
            Ok(vnet) => self.outbox.taps.see_each(seen, &vnet),
            Err(_) => self.outbox.taps.see(seen),
        }
    }

    /// No child has the packet: its source is told whether that is for the one end of it or the other.
    fn tell_why(&mut self, packet: &[u8], view: &View) {
        if !is_to_many(view.destination) {
            let leads_there = self.policy.leads_to(view.destination);
            let why = if leads_there { Unreachable::Source } else { Unreachable::NoRoute };
            self.tell(packet, view, why);
        }
    }

    fn tell(&mut self, packet: &[u8], view: &View, why: Unreachable) {
        let now = *self.now.get_or_insert_with(clock::now);
        self.answers.tell((packet, view), why, &self.policy, now, &self.counters);
    }

    /// Step 2: finds the child that has to protect the packet.
    fn classify(&self, view: &View) -> Option<SlotId> {
        let slot = self.policy.classify(view);
        // Every host talks to its neighbours on every device (RFC 4861, RFC 3376): that no tunnel takes it is no news.
        if slot.is_none() && !is_to_many(view.destination) {
            self.counters.drop_one(DropReason::NoPolicy);
        }
        slot
    }

    /// Step 3: a connection that begins is told how much the tunnel carries. Its SYN is a packet of its own.
    fn translate(&mut self, slot: SlotId, vnet: &VnetHeader, packet: &mut [u8], view: &View) {
        if vnet.gso.is_some() {
            return;
        }
        let Some(out) = self.slots.of(slot).last() else { return };
        let checksum = match vnet.checksum {
            Some(_) => TcpChecksum::Partial,
            None => TcpChecksum::Complete,
        };
        clamp_mss(packet, view, out.mtu, checksum);
    }

    /// Step 4: seals the packet by the slot's SA; without one asks control for one. Of several, each for a part of the child's
    /// networks, the last one that admits it. One that has carried all that it may is passed over: where it is being replaced
    /// its successor is there already.
    fn encap(&mut self, slot: SlotId, segments: &mut Segments<'_>, kind: Kind) -> Fate {
        let view = *segments.view();
        let (count, octets) = (segments.count(), segments.octets());
        let mark = (kind, ecn::outer_for(view.traffic_class, true));
        let mut worn = None;
        for position in (0..self.slots.of(slot).len()).rev() {
            let Some(out) = self.slots.of(slot).get_mut(position) else { continue };
            if out.told || out.usage.is_full(&out.hard, count, octets) {
                worn = worn.or(Some((position, DropReason::SaExpired)));
                continue;
            }
            let place = (&mut self.slots, slot, position);
            match self.outbox.seal(place, segments, mark, &self.counters) {
                Ok(()) => {
                    self.tell_worn(slot, worn);
                    return Fate::Sealed;
                }
                Err(DropReason::SelectorMismatch) => {}
                Err(DropReason::SequenceExhausted) => {
                    worn = worn.or(Some((position, DropReason::SequenceExhausted)));
                }
                Err(reason) => {
                    if let Some(out) = self.slots.of(slot).get_mut(position) {
                        out.counters.drop_one(reason);
                    }
                    return Fate::Dropped(None);
                }
            }
        }
        Fate::Dropped(self.unprotected(slot, &view, worn))
    }

    /// The worker's own SA has carried all that it may, and the one for all took the packet.
    fn tell_worn(&mut self, slot: SlotId, worn: Option<(usize, DropReason)>) {
        let Some((position, _)) = worn else { return };
        let out = self.slots.of(slot).get_mut(position).filter(|out| out.owner.is_some());
        if let Some(out) = out.filter(|out| !out.told) {
            let spi = out.sa.spi();
            out.told = self.upcall.try_send(Upcall::Worn { slot, spi });
        }
    }

    /// No SA took the packet: it is dropped, and control is told what that is for.
    fn unprotected(
        &mut self,
        slot: SlotId,
        view: &View,
        worn: Option<(usize, DropReason)>,
    ) -> Option<Unreachable> {
        let sas = self.slots.of(slot);
        if let Some((out, reason)) = worn.and_then(|(at, reason)| Some((sas.get_mut(at)?, reason)))
        {
            out.counters.drop_one(reason);
            let spi = out.sa.spi();
            // If control is too busy to be told, it is told by the next packet.
            out.told = out.told || self.upcall.try_send(Upcall::Worn { slot, spi });
            None
        } else if let Some(out) = sas.last() {
            out.counters.drop_one(DropReason::SelectorMismatch);
            Some(Unreachable::Filtered)
        } else {
            self.counters.drop_one(DropReason::NoSa);
            let now = *self.now.get_or_insert_with(clock::now);
            if self.slots.may_acquire(slot, now) {
                // If control is too busy to be asked, the slot asks again with the first packet a second later.
                self.upcall.try_send(Upcall::Acquire { slot, packet: selectors_of(view) });
            }
            self.slots.is_vain(slot, now).then_some(Unreachable::NotConnected)
        }
    }
}

/// Step 1: says how many octets of the buffer are header and packet, or `None` if there is no packet.
fn read(tun: &Tun, buffer: &mut [u8]) -> Result<Option<usize>, Broken> {
    loop {
        return match tun.read(buffer) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Somebody removed the device; control makes another one.
            Err(error) if is_device_gone(&error) => Ok(None),
            Err(cause) => Err(Broken { what: "read from the TUN device", cause }),
        };
    }
}

/// TCP without payload that only acknowledges: not the end of a connection, which must not overtake its data.
fn kind_of(view: &View, packet: &[u8]) -> Kind {
    let Some([offset, flags]) = (view.protocol == TCP && !view.is_fragment())
        .then(|| packet.get(view.header_len + 12..view.header_len + 14)?.first_chunk().copied())
        .flatten()
    else {
        return Kind::Bulk;
    };
    let payload = view.total_len.saturating_sub(view.header_len + usize::from(offset >> 4) * 4);
    if payload == 0 && flags & !(TCP_ECE | TCP_CWR) == TCP_ACK { Kind::Urgent } else { Kind::Bulk }
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

const TUN: Token = Token(0);
const WAKER: Token = Token(1);
const URGENT: Token = Token(2);

/// The longest IP packet, in octets.
const PACKET_MAX: usize = 65_535;

/// Packets or super-packets that are read before the commands are looked at again: well under ten milliseconds.
const READS: usize = 64;

/// Octets that are not kept waiting for more: two super-packets, if they are there already, wake the peer once. With 32 KiB it was
/// 5 % less, with 256 KiB no more.
const ENOUGH: usize = 128 << 10;

/// What a capture says beside packets that go no further.
const NO_CHILD: &str = "dropped: no connection is for it";
const UNSEALED: &str = "dropped: no SA that may take it";

// RFC 9293 §3.1, RFC 3168 §6.1.
const TCP: u8 = 6;
const TCP_ACK: u8 = 0x10;
const TCP_ECE: u8 = 0x40;
const TCP_CWR: u8 = 0x80;

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

    #[test]
    fn only_bare_acknowledgments_may_overtake() {
        let mut packet = vec![
            0x45, 0, 0, 41, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 1, 0, 1, 10, 2, 0, 1, 0, 7, 0, 7, 0, 0,
            0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0, 9,
        ];
        let kind = |packet: &[u8]| kind_of(&View::parse(packet).expect("a packet"), packet);
        assert_eq!(kind(&packet), Kind::Bulk, "with payload");
        packet[3] = 40;
        assert_eq!(kind(&packet), Kind::Urgent);
        packet[33] = 0x50;
        assert_eq!(kind(&packet), Kind::Urgent, "with ECE");
        for flags in [0x11, 0x12, 0x14, 0x18, 0x00] {
            packet[33] = flags;
            assert_eq!(kind(&packet), Kind::Bulk, "{flags:x}");
        }
        packet[33] = 0x10;
        packet[9] = 17;
        assert_eq!(kind(&packet), Kind::Bulk, "no TCP");
        packet[9] = 6;
        packet[3] = 30;
        assert_eq!(kind(&packet[..30]), Kind::Bulk, "cut off");
    }
}
