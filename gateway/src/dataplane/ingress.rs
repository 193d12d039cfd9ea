//! The rx pump: ESP from the network is opened and written to the TUN device; IKE goes up to control.
//!
//! ```text
//!   1 receive     UDP 4500 or raw socket ─► inbox             several messages a call, each of many packets (UDP_GRO)
//!   2 demux       00000000 ─► control    FF ─► counted        SPI ─► SA, or dropped before any cryptography
//!   3 decap       replay window, open in place, trailer, inner selectors (RFC 4301 §5.2)
//!   4 translate   ECN of the outer header (RFC 6040), MSS of a SYN
//!   5 write       deliver.rs: neighbours of one flow become one super-packet, gathered from where they lie
//! ```
//!
//! An ESP packet is accepted by its SPI alone, whatever address it comes from and whether UDP carried it or not
//! (RFC 7296 §2.23); where a peer is reached is for IKE to say.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use esp::ip::View;
use esp::mss::{TcpChecksum, clamp_mss};
use esp::udp::{Datagram, classify};
use esp::{DropReason, ecn};
use mio::{Events, Interest, Poll, Token};

use crate::clock;
use crate::dataplane::command::{Abandoned, Mailbox, MailboxSender, mailbox};
use crate::dataplane::deliver::Delivery;
use crate::dataplane::pump::{Batch, Broken, Rest};
use crate::dataplane::sad::{Inbound, InboundTable};
use crate::dataplane::tap::{Seen, Taps, Whose};
use crate::dataplane::{Counters, IoLoss, RxCommand, Upcall, UpcallSender};
use crate::io::udp::{Inbox, Message};
use crate::io::{RawEsp, Tun, UdpSockets, is_transient};
use crate::status::capture::{Direction, Outer, Side};
use crate::sys::wipe;

/// The rx pump's state; lives on its thread.
pub(super) struct Ingress {
    poll: Poll,
    mailbox: Mailbox<RxCommand>,
    udp: Arc<UdpSockets>,
    raw: Arc<Vec<RawEsp>>,
    /// Whether a socket may have something to read, until it was found empty: the UDP sockets, then the raw ones. Tokens are positions in it.
    ready: Vec<bool>,
    /// How many packets each of them had lost for want of room when that was last counted.
    overflowed: Vec<u32>,
    /// What UDP sockets gave: a few long messages. Raw sockets give many short ones.
    inbox: Inbox,
    raw_inbox: Inbox,
    opener: Opener,
}

/// What happens to a packet once it is in an inbox, which stays borrowed meanwhile.
struct Opener {
    upcall: UpcallSender,
    counters: Arc<Counters>,
    sas: InboundTable,
    delivery: Delivery,
    /// Read at most once per batch, and only by a batch that needs it.
    now: Option<Instant>,
    /// Whose life this batch noted already.
    alive: Option<NonZeroU32>,
    /// Who looks on.
    taps: Taps,
}

/// What all datagrams of one message share.
#[derive(Clone, Copy)]
struct Origin {
    /// `None` if no UDP carried it.
    path: Option<ikev2::Path>,
    traffic_class: u8,
}

impl Ingress {
    pub(super) fn new(
        tun: Arc<Tun>,
        udp: Arc<UdpSockets>,
        raw: Arc<Vec<RawEsp>>,
        upcall: UpcallSender,
        counters: Arc<Counters>,
    ) -> io::Result<(MailboxSender<RxCommand>, Self)> {
        let poll = Poll::new()?;
        let (sender, mailbox) = mailbox(&poll, WAKER)?;
        for (position, mut socket) in udp.0.iter().enumerate() {
            poll.registry().register(&mut socket, Token(position), Interest::READABLE)?;
        }
        for (position, mut socket) in raw.iter().enumerate() {
            let token = Token(udp.0.len() + position);
            poll.registry().register(&mut socket, token, Interest::READABLE)?;
        }
        let opener = Opener {
            upcall,
            delivery: Delivery::new(tun, Arc::clone(&counters)),
            counters,
            sas: InboundTable::new(),
            now: None,
            alive: None,
            taps: Taps::default(),
        };
        let ingress = Self {
            poll,
            mailbox,
            ready: vec![true; udp.0.len() + raw.len()],
            overflowed: vec![0; udp.0.len() + raw.len()],
            inbox: Inbox::new(MESSAGES),
            raw_inbox: Inbox::new(if raw.is_empty() { 1 } else { Inbox::MOST }),
            udp,
            raw,
            opener,
        };
        Ok((sender, ingress))
    }

    /// Pumps until it is told to stop.
    pub(super) fn run(&mut self) -> Result<(), Broken> {
        let mut rest = Rest::default();
        let mut events = Events::with_capacity(16);
        loop {
            crate::fault::point("rx");
            if self.mailbox.is_filled() {
                if self.obey().is_err() {
                    return Ok(());
                }
                wipe::stack();
            }
            let watched = !self.opener.taps.is_empty();
            let batch = if watched { self.turn::<true>()? } else { self.turn::<false>()? };
            if !rest.is_due(batch) {
                continue;
            }
            match self.poll.poll(&mut events, None) {
                Err(cause) if cause.kind() != io::ErrorKind::Interrupted => {
                    return Err(Broken { what: "wait for packets", cause });
                }
                _ => {}
            }
            for event in &events {
                if let Some(ready) = self.ready.get_mut(event.token().0) {
                    *ready = true;
                }
            }
        }
    }

    /// One batch from each socket that may have something. `WATCHED` if a capture runs: otherwise nothing of it is even in the
    /// code.
    fn turn<const WATCHED: bool>(&mut self) -> Result<Batch, Broken> {
        let mut result = Batch::Empty;
        for socket in 0..self.ready.len() {
            if self.ready.get(socket) != Some(&true) {
                continue;
            }
            let batch = self.batch::<WATCHED>(socket)?;
            if let (Batch::Empty, Some(ready)) = (batch, self.ready.get_mut(socket)) {
                *ready = false;
            }
            result = result.max(batch);
        }
        Ok(result)
    }

    /// Handles the messages of one call, if there are any. When it ends nothing waits to be written.
    fn batch<const WATCHED: bool>(&mut self, socket: usize) -> Result<Batch, Broken> {
        let (udp, raw) =
            (self.udp.0.get(socket), self.raw.get(socket.wrapping_sub(self.udp.0.len())));
        // Step 1.
        let inbox = if udp.is_some() { &mut self.inbox } else { &mut self.raw_inbox };
        let received = match (udp, raw) {
            (Some(udp), _) => udp.receive_batch(inbox),
            (None, Some(raw)) => raw.receive_batch(inbox),
            (None, None) => return Ok(Batch::Empty),
        };
        let messages = match received {
            Ok(messages) => messages,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Batch::Empty),
            // What ICMP said about an earlier datagram of ours, or a signal: the next call tells more.
            Err(error) if is_transient(&error) => return Ok(Batch::Full),
            Err(cause) => return Err(Broken { what: "receive from a socket", cause }),
        };
        if let (Some(now), Some(before)) = (inbox.overflowed(), self.overflowed.get_mut(socket))
            && now != *before
        {
            let lost = now.wrapping_sub(*before) as usize;
            self.opener.counters.lose_some(IoLoss::Overflow, lost);
            *before = now;
        }
        self.opener.begin();
        for position in 0..messages {
            let Some(message) = inbox.message(position) else { continue };
            if message.truncated {
                self.opener.counters.lose_some(IoLoss::Truncated, 1);
                continue;
            }
            let path = udp.map(|udp| udp.path_of(&message));
            let origin = Origin { path, traffic_class: message.traffic_class };
            let outer = if WATCHED { Some(outer_of(path, &message, raw)) } else { None };
            for datagram in message.datagrams() {
                self.opener.take::<WATCHED>(inbox.buffer_mut(), datagram, origin, outer)?;
            }
        }
        self.opener.delivery.write(inbox.buffer_mut(), &mut self.opener.sas)?;
        // Fewer than there was room for: the kernel found no more.
        Ok(if messages < inbox.capacity() { Batch::Drained } else { Batch::Full })
    }

    /// Does what control said. `Err` means to end.
    fn obey(&mut self) -> Result<(), Abandoned> {
        self.mailbox.open();
        while let Some(command) = self.mailbox.next()? {
            let sas = &mut self.opener.sas;
            match command {
                RxCommand::Install { slot, sa, mtu, counters, usage } => {
                    let (announced, from) = (false, None);
                    sas.install(Inbound { slot, sa, mtu, counters, usage, announced, from });
                }
                RxCommand::Remove { spi } => sas.remove(spi),
                RxCommand::Mtu { spi, mtu } => {
                    if let Some(inbound) = sas.by_spi(spi) {
                        inbound.mtu = mtu;
                    }
                }
                RxCommand::Device { tun } => {
                    let counters = Arc::clone(&self.opener.counters);
                    self.opener.delivery = Delivery::new(tun, counters);
                }
                RxCommand::Watch(taps) => self.opener.taps = taps,
                RxCommand::Stop => return Err(Abandoned),
            }
        }
        Ok(())
    }
}

impl Opener {
    fn begin(&mut self) {
        self.now = None;
        self.alive = None;
    }

    /// Steps 2 to 4 for one datagram, which then waits to be written.
    fn take<const WATCHED: bool>(
        &mut self,
        buffer: &mut [u8],
        datagram: Range<usize>,
        origin: Origin,
        outer: Option<Outer>,
    ) -> Result<(), Broken> {
        let Some(octets) = buffer.get(datagram.clone()) else { return Ok(()) };
        let Some(spi) = self.demux(octets, origin.path) else {
            if WATCHED {
                self.show_other(octets, outer);
            }
            return Ok(());
        };
        let opened = self.decap::<WATCHED>(buffer, spi, datagram, origin, outer);
        let Some((place, view)) = opened else { return Ok(()) };
        if WATCHED {
            let octets = buffer.get(place.clone()).unwrap_or_default();
            self.show(Side::Lan, (spi, outer, None), octets);
        }
        if self.delivery.is_full() {
            self.delivery.write(buffer, &mut self.sas)?;
        }
        self.delivery.push(buffer, place, &view, spi);
        Ok(())
    }

    /// Shows a packet of an SA, or of none that we have.
    fn show(
        &mut self,
        side: Side,
        (spi, outer, note): (NonZeroU32, Option<Outer>, Option<&'static str>),
        octets: &[u8],
    ) {
        let slot = self.sas.by_spi(spi).map(|inbound| inbound.slot);
        let whose = slot.map_or(Whose::Nobody, Whose::Child);
        let outer = outer.filter(|_| side == Side::Wire);
        self.taps.see(Seen { side, direction: Direction::In, whose, outer, note, octets });
    }

    /// Shows what came and is no ESP packet, but for IKE, which control shows: it knows whose it is.
    #[cold]
    fn show_other(&self, octets: &[u8], outer: Option<Outer>) {
        let is_udp = outer.is_some_and(|outer| outer.udp);
        if is_udp && matches!(classify(octets), Datagram::Ike(_)) {
            return;
        }
        let (side, direction, whose) = (Side::Wire, Direction::In, Whose::Nobody);
        self.taps.see(Seen { side, direction, whose, outer, note: None, octets });
    }

    /// Step 2: hands IKE to control, drops keepalives, and finds the SPI of an ESP packet. A path is that of a UDP payload.
    fn demux(&self, octets: &[u8], path: Option<ikev2::Path>) -> Option<NonZeroU32> {
        let datagram = if path.is_some() { classify(octets) } else { Datagram::Esp(octets) };
        match (datagram, path) {
            (Datagram::Esp(packet), _) => {
                let spi = spi_of(packet);
                if spi.is_none() {
                    self.counters.drop_one(DropReason::UnknownSpi);
                }
                return spi;
            }
            (Datagram::Ike(message), Some(path)) => self.pass_up(path, message),
            (Datagram::Keepalive, _) => self.counters.keepalive_seen(),
            (Datagram::Runt | Datagram::Ike(_), _) => self.counters.drop_one(DropReason::Runt),
        }
        None
    }

    /// Copies an IKE message for control; the only allocation here, and not for data.
    fn pass_up(&self, path: ikev2::Path, message: &[u8]) {
        if self.upcall.try_send(Upcall::Ike { path, payload: message.to_vec() }) {
            self.counters.ike_passed();
        } else {
            self.counters.lose_some(IoLoss::ControlBusy, 1);
        }
    }

    /// Steps 3 and 4: opens the packet where it lies; says where the inner packet is, and what.
    fn decap<const WATCHED: bool>(
        &mut self,
        buffer: &mut [u8],
        spi: NonZeroU32,
        datagram: Range<usize>,
        origin: Origin,
        outer: Option<Outer>,
    ) -> Option<(Range<usize>, View)> {
        let packet = buffer.get_mut(datagram.clone())?;
        let came = if WATCHED { packet.to_vec() } else { Vec::new() };
        let Some(inbound) = self.sas.by_spi(spi) else {
            self.counters.drop_one(DropReason::UnknownSpi);
            if WATCHED {
                let note = Some(DropReason::UnknownSpi.word());
                self.show(Side::Wire, (spi, outer, note), &came);
            }
            return None;
        };
        let newest = inbound.sa.highest_sequence();
        let opened = inbound.sa.decap_viewed(packet);
        if WATCHED {
            let (direction, whose) = (Direction::In, Whose::Child(inbound.slot));
            let note = opened.as_ref().err().map(|reason| reason.word());
            let seen = Seen { side: Side::Wire, direction, whose, outer, note, octets: &came };
            self.taps.see(seen);
            if let Ok((place, _)) = &opened {
                let octets = packet.get(place.clone()).unwrap_or_default();
                self.taps.see(Seen { side: Side::Tunnel, outer: None, octets, ..seen });
            }
        }
        if opened.as_ref().err().is_none_or(|&reason| is_authentic(reason)) {
            if self.alive != Some(spi) {
                self.alive = Some(spi);
                inbound.counters.alive(*self.now.get_or_insert_with(clock::now));
                inbound.usage.alive();
            }
            // Older packets may have been delayed on the way from where the peer was before.
            let newest = inbound.sa.highest_sequence() > newest;
            inbound.heard(&self.upcall, origin.path.map(|path| path.remote), newest);
        }
        let opened = opened.and_then(|(place, view)| {
            let inner = packet.get_mut(place.clone()).ok_or(DropReason::NotIp)?;
            translate(inner, &view, origin.traffic_class, inbound.mtu)?;
            Ok((place, view))
        });
        match opened {
            Ok((place, view)) => {
                Some((datagram.start + place.start..datagram.start + place.end, view))
            }
            Err(reason) => {
                inbound.counters.drop_one(reason);
                None
            }
        }
    }
}

impl Inbound {
    /// An authentic packet came from `remote`; `newest` if newer than all before. Tells control what it does not know yet.
    fn heard(&mut self, upcall: &UpcallSender, remote: Option<SocketAddr>, newest: bool) {
        let spi = self.sa.spi();
        if !self.announced {
            self.announced = upcall.try_send(Upcall::FirstInbound { slot: self.slot, spi, remote });
            self.from = remote;
        } else if let Some(remote) = remote.filter(|_| newest && self.from != remote)
            && upcall.try_send(Upcall::Elsewhere { spi, remote })
        {
            self.from = Some(remote);
        }
    }
}

/// Step 4: congestion that the outer packet met is told to the inner one (RFC 6040 §4.2), and a connection that begins is told
/// how much the tunnel carries.
fn translate(inner: &mut [u8], view: &View, outer: u8, mtu: u16) -> Result<(), DropReason> {
    match ecn::combine(outer, view.traffic_class) {
        ecn::Combine::Keep => {}
        ecn::Combine::Set(mark) => ecn::set_ecn(inner, mark),
        ecn::Combine::Drop => return Err(DropReason::Congested),
    }
    clamp_mss(inner, view, mtu, TcpChecksum::Complete);
    Ok(())
}

/// The headers around what a message carries.
#[cold]
fn outer_of(path: Option<ikev2::Path>, message: &Message, raw: Option<&RawEsp>) -> Outer {
    let bound = raw.map_or(message.remote.ip(), RawEsp::local);
    let local = message.local.unwrap_or(bound);
    Outer {
        source: message.remote,
        destination: path.map_or_else(|| (local, 0).into(), |path| path.local),
        udp: path.is_some(),
        traffic_class: message.traffic_class,
    }
}

/// The first four octets of an ESP packet; zero is reserved (RFC 4303 §2.1).
fn spi_of(packet: &[u8]) -> Option<NonZeroU32> {
    packet.first_chunk().and_then(|octets| NonZeroU32::new(u32::from_be_bytes(*octets)))
}

/// Whether a packet that was dropped for `reason` had been authenticated, so that it proves that the peer lives
/// (RFC 7296 §2.4).
fn is_authentic(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::Dummy
            | DropReason::BadPadding
            | DropReason::BadNextHeader
            | DropReason::NotIp
            | DropReason::SelectorMismatch
    )
}

const WAKER: Token = Token(usize::MAX);

/// Messages that are received at a time, each of up to 64 KiB.
const MESSAGES: usize = 8;
