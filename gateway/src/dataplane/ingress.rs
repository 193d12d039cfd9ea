//! The rx pump: ESP from the network is opened and written to the TUN device; IKE goes up to control.
//!
//! ```text
//!   1 receive     UDP 4500 or raw socket ─► inbox             several messages a call, each of several packets
//!   2 demux       00000000 ─► control    FF ─► counted        SPI ─► SA, or dropped before any cryptography
//!   3 decap       replay window, open in place, trailer, inner selectors (RFC 4301 §5.2)
//!   4 translate   nothing: addresses and MSS stay as they are
//!   5 write       inbox ─► TUN, from where it lies
//! ```
//!
//! An ESP packet is accepted by its SPI alone, whatever address it comes from and whether UDP carried it or not
//! (RFC 7296 §2.23); where a peer is reached is for IKE to say.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use esp::DropReason;
use esp::udp::{Datagram, classify};
use mio::{Events, Interest, Poll, Token};

use crate::clock;
use crate::dataplane::command::{Abandoned, Mailbox, MailboxSender, mailbox};
use crate::dataplane::sad::{Inbound, InboundTable};
use crate::dataplane::{Batch, Broken, Counters, IoLoss, RxCommand, Upcall, UpcallSender};
use crate::io::udp::Inbox;
use crate::io::{RawEsp, Tun, UdpSockets, is_transient};

/// The rx pump's state; lives on its thread.
pub(super) struct Ingress {
    poll: Poll,
    mailbox: Mailbox<RxCommand>,
    tun: Arc<Tun>,
    udp: Arc<UdpSockets>,
    raw: Arc<Vec<RawEsp>>,
    /// Whether a socket may have something to read: the UDP sockets, then the raw ones. Tokens are positions in it.
    ready: Vec<bool>,
    upcall: UpcallSender,
    counters: Arc<Counters>,
    sas: InboundTable,
    inbox: Inbox,
    /// Read at most once per batch, and only by a batch that needs it.
    now: Option<Instant>,
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
        let ingress = Self {
            poll,
            mailbox,
            tun,
            ready: vec![true; udp.0.len() + raw.len()],
            udp,
            raw,
            upcall,
            counters,
            sas: InboundTable::new(),
            inbox: Inbox::new(MESSAGES),
            now: None,
        };
        Ok((sender, ingress))
    }

    /// Pumps until it is told to stop.
    pub(super) fn run(&mut self) -> Result<(), Broken> {
        let mut events = Events::with_capacity(16);
        loop {
            if self.mailbox.is_filled() && self.obey().is_err() {
                return Ok(());
            }
            if self.turn()? == Batch::Full {
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

    /// One batch from each socket that may have something.
    fn turn(&mut self) -> Result<Batch, Broken> {
        let mut result = Batch::Drained;
        for socket in 0..self.ready.len() {
            if self.ready.get(socket) != Some(&true) {
                continue;
            }
            match self.batch(socket)? {
                Batch::Full => result = Batch::Full,
                Batch::Drained => {
                    if let Some(ready) = self.ready.get_mut(socket) {
                        *ready = false;
                    }
                }
            }
        }
        Ok(result)
    }

    /// Handles the messages of one call, if there are any.
    fn batch(&mut self, socket: usize) -> Result<Batch, Broken> {
        self.now = None;
        let Some(messages) = self.receive(socket)? else { return Ok(Batch::Drained) };
        for position in 0..messages {
            let Some(message) = self.inbox.message(position) else { continue };
            if message.truncated {
                self.counters.lose_one(IoLoss::Truncated);
                continue;
            }
            let path = self.udp.0.get(socket).map(|udp| udp.path_of(&message));
            for packet in message.datagrams() {
                let Some((spi, packet, remote)) = self.demux(packet, path) else { continue };
                let Some(inner) = self.decap(spi, packet, remote) else { continue };
                self.write(spi, inner)?;
            }
        }
        Ok(Batch::Full)
    }

    /// Step 1: says how many messages there are, or `None` if the socket is drained.
    fn receive(&mut self, socket: usize) -> Result<Option<usize>, Broken> {
        let received = match self.udp.0.get(socket) {
            Some(udp) => udp.receive_batch(&mut self.inbox),
            None => match self.raw.get(socket - self.udp.0.len()) {
                Some(raw) => raw.receive_batch(&mut self.inbox),
                None => return Ok(None),
            },
        };
        match received {
            Ok(messages) => Ok(Some(messages)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // What ICMP said about an earlier datagram of ours, or a signal: the next call tells more.
            Err(error) if is_transient(&error) => Ok(Some(0)),
            Err(cause) => Err(Broken { what: "receive from a socket", cause }),
        }
    }

    /// Step 2: hands IKE to control, drops keepalives, and finds the SPI of an ESP packet. A path is that of a UDP payload.
    fn demux(
        &self,
        range: Range<usize>,
        path: Option<ikev2::Path>,
    ) -> Option<(NonZeroU32, Range<usize>, Option<SocketAddr>)> {
        let octets = self.inbox.buffer().get(range.clone())?;
        let datagram = if path.is_some() { classify(octets) } else { Datagram::Esp(octets) };
        match (datagram, path) {
            (Datagram::Esp(packet), _) => match spi_of(packet) {
                Some(spi) => return Some((spi, range, path.map(|path| path.remote))),
                None => self.counters.drop_one(DropReason::UnknownSpi),
            },
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
            self.counters.lose_one(IoLoss::ControlBusy);
        }
    }

    /// Step 3: opens the packet where it lies and says where the inner packet is.
    fn decap(
        &mut self,
        spi: NonZeroU32,
        packet: Range<usize>,
        remote: Option<SocketAddr>,
    ) -> Option<Range<usize>> {
        let Some(inbound) = self.sas.by_spi(spi) else {
            self.counters.drop_one(DropReason::UnknownSpi);
            return None;
        };
        let start = packet.start;
        let newest = inbound.sa.highest_sequence();
        let opened = inbound.sa.decap(self.inbox.buffer_mut().get_mut(packet)?);
        if opened.as_ref().err().is_none_or(|&reason| is_authentic(reason)) {
            inbound.counters.alive(*self.now.get_or_insert_with(clock::now));
            // Older packets may have been delayed on the way from where the peer was before.
            let newest = inbound.sa.highest_sequence() > newest;
            if !inbound.announced {
                let upcall = Upcall::FirstInbound { slot: inbound.slot, spi, remote };
                inbound.announced = self.upcall.try_send(upcall);
                inbound.from = remote;
            } else if let Some(remote) = remote.filter(|_| newest)
                && inbound.from != Some(remote)
                && self.upcall.try_send(Upcall::Elsewhere { spi, remote })
            {
                inbound.from = Some(remote);
            }
        }
        match opened {
            Ok(inner) => Some(start + inner.start..start + inner.end),
            Err(reason) => {
                inbound.counters.drop_one(reason);
                None
            }
        }
    }

    /// Step 5: gives the inner packet to the kernel and counts what became of it.
    fn write(&mut self, spi: NonZeroU32, inner: Range<usize>) -> Result<(), Broken> {
        let (Some(inbound), Some(inner)) = (self.sas.by_spi(spi), self.inbox.buffer().get(inner))
        else {
            return Ok(());
        };
        match self.tun.write(&[IoSlice::new(&[0; Tun::HEADER_LEN]), IoSlice::new(inner)]) {
            Ok(()) => {
                inbound.counters.delivered(inner.len());
                inbound.usage.delivered(inner.len());
                Ok(())
            }
            Err(error) if is_transient(&error) => {
                inbound.counters.drop_one(DropReason::SendFailed);
                self.counters.lose_one(IoLoss::Device);
                Ok(())
            }
            Err(cause) => Err(Broken { what: "write to the TUN device", cause }),
        }
    }

    /// Does what control said. `Err` means to end.
    fn obey(&mut self) -> Result<(), Abandoned> {
        self.mailbox.open();
        while let Some(command) = self.mailbox.next()? {
            match command {
                RxCommand::Install { slot, sa, counters, usage } => {
                    let (announced, from) = (false, None);
                    self.sas.install(Inbound { slot, sa, counters, usage, announced, from });
                }
                RxCommand::Remove { spi } => self.sas.remove(spi),
                RxCommand::Stop => return Err(Abandoned),
            }
        }
        Ok(())
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

/// Messages that are received at a time.
const MESSAGES: usize = 8;
