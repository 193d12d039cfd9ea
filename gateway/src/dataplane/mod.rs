//! The data plane: pump threads between the TUN device and the sockets, and the handle that control has on them.
//!
//! ```text
//!   control ── tx(TxCommand) ──► tx pump   egress.rs    read ─► classify ─► translate ─► encap ─► send
//!           ── rx(RxCommand) ──► rx pump   ingress.rs   receive ─► demux ─► decap ─► translate ─► write
//!           ◄──── Upcall ─────── both      command.rs
//!
//!   pump.rs      how a pump's thread lives: its place among others, its rest, its end
//!   policy.rs    which configured child an inner packet belongs to (SPD, RFC 4301 §4.4.1)
//!   sad.rs       the SAs of each pump, by slot and by SPI (SAD, RFC 4301 §4.4.2)
//!   outbox.rs    what is sealed and not sent yet, as trains
//!   deliver.rs   what was opened, on its way to the TUN device
//!   counters.rs  numbers that control reads
//!   answers.rs   what hosts are told of packets that no tunnel takes
//!   tap.rs       copies of packets for captures; nothing of it runs without one
//! ```
//!
//! Each pump owns its SAs, its buffer and its tables; nothing is shared but the device, the sockets and the counters. A
//! packet is handled to the end by the thread that read it: no queue, no lock, no allocation and no clock per packet. The
//! pumps never wait for control. They sleep in `mio::Poll` when their descriptors are drained.
//!
//! Several workers are several pairs of pumps. A flow belongs to one queue of the TUN device and so to one tx pump; an inbound SA
//! belongs to one rx pump, by its SPI (`sys/steering.rs`). Each tx pump has a share in each outbound SA, and uses the one that
//! is for it where the peer agreed to one for each worker (RFC 9611).

mod answers;
pub mod command;
pub mod counters;
mod deliver;
mod egress;
mod ingress;
mod outbox;
pub mod policy;
mod pump;
mod sad;
pub mod tap;
#[cfg(test)]
mod tests;

use std::io;
use std::iter::once;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

pub use answers::Answers;
pub use command::{RxCommand, TxCommand, Upcall, UpcallReceiver, UpcallSender, upcalls};
pub use counters::{ChildCounters, Counters, IoLoss, SaUsage};
pub use policy::{Policy, Rank, Rule, Standing};

use crate::dataplane::command::MailboxSender;
use crate::dataplane::egress::Egress;
use crate::dataplane::ingress::Ingress;
use crate::dataplane::pump::{Pump, Role};
use crate::dataplane::tap::Taps;
use crate::io::{Lanes, OpenError, RawEsp, UdpSocket, UdpSockets};

/// One configured (connection, child); stable over rekeys. Small numbers from zero: tables are indexed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(pub u32);

impl SlotId {
    /// The largest number that the data plane accepts.
    pub const MAX: Self = Self(65_535);
}

/// Where the packets of an outbound SA go, and where they leave from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Our address.
    pub local: IpAddr,
    /// The peer's address; its port is not used with [`Transport::Raw`].
    pub remote: SocketAddr,
    /// Our port; not used with [`Transport::Raw`].
    pub local_port: u16,
    /// UDP or IP protocol 50.
    pub transport: Transport,
}

/// What carries ESP packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP (RFC 3948).
    Udp,
    /// IP protocol 50 (RFC 4303).
    Raw,
}

/// What one worker works on.
#[derive(Debug)]
pub struct Equipment {
    /// Its queues of the TUN device.
    pub tun: Lanes,
    /// Its sockets on the NAT port.
    pub nat: Vec<UdpSocket>,
    /// Its raw sockets.
    pub raw: Vec<RawEsp>,
    /// How it tells hosts of dropped packets.
    pub answers: Answers,
}

impl Equipment {
    /// A worker for each of `lanes`: gives the first one these sockets, and the others further ones beside them.
    ///
    /// # Errors
    /// [`OpenError`], one of the UDP or raw kinds.
    pub fn share_out(
        lanes: Vec<Lanes>,
        nat: Vec<UdpSocket>,
        raw: Vec<RawEsp>,
    ) -> Result<Vec<Self>, OpenError> {
        let workers = lanes.len();
        let answers = Answers::open();
        let bare = |tun| Self { tun, nat: Vec::new(), raw: Vec::new(), answers: answers.share() };
        let mut all: Vec<_> = lanes.into_iter().map(bare).collect();
        let mut nat = nat.into_iter().peekable();
        while let Some(socket) = nat.next() {
            let of_same = |other: &UdpSocket| other.local() == socket.local();
            let mut further = Vec::new();
            further.extend(std::iter::from_fn(|| nat.next_if(of_same)));
            if further.is_empty() {
                further = socket.join(workers)?;
            } else {
                socket.steer(workers)?;
            }
            for (worker, socket) in all.iter_mut().zip(once(socket).chain(further)) {
                worker.nat.push(socket);
            }
        }
        for socket in raw {
            let further = socket.join(workers)?;
            for (worker, socket) in all.iter_mut().zip(once(socket).chain(further)) {
                worker.raw.push(socket);
            }
        }
        Ok(all)
    }
}

/// The handle on all pumps. Dropping it stops them.
#[derive(Debug)]
pub struct Dataplane {
    tx: Vec<Pump<TxCommand>>,
    rx: Vec<Pump<RxCommand>>,
    counters: Arc<Counters>,
}

impl Dataplane {
    /// Starts two pumps for each of `workers`, of which there has to be one.
    ///
    /// The rx pump owns receiving on its sockets; the tx pump sends ESP on them. Clone a
    /// socket first ([`UdpSocket::try_clone`]) to send IKE on it elsewhere. All descriptors keep the namespace they were
    /// opened in; the pumps open none.
    ///
    /// # Errors
    /// What the system says about a new thread or an epoll descriptor.
    pub fn start(workers: Vec<Equipment>, upcall: &UpcallSender) -> io::Result<Self> {
        let counters = Arc::new(Counters::new());
        let mut dataplane = Self { tx: Vec::new(), rx: Vec::new(), counters };
        for worker in workers {
            dataplane.hire(worker, upcall)?;
        }
        Ok(dataplane)
    }

    fn hire(&mut self, worker: Equipment, upcall: &UpcallSender) -> io::Result<()> {
        let Equipment { tun: Lanes { bulk, urgent }, nat, raw, answers } = worker;
        let (bulk, udp, raw) = (Arc::new(bulk), Arc::new(UdpSockets(nat)), Arc::new(raw));
        let (tx_sender, mut egress) = Egress::new(
            (Arc::clone(&bulk), urgent.map(Arc::new)),
            Arc::clone(&udp),
            Arc::clone(&raw),
            upcall.clone(),
            (Arc::clone(&self.counters), answers),
            self.tx.len(),
        )?;
        let (rx_sender, mut ingress) =
            Ingress::new(bulk, udp, raw, upcall.clone(), Arc::clone(&self.counters))?;
        let number = self.tx.len();
        let (tx, rx) = (Role::tx(number), Role::rx(number));
        self.tx.push(Pump::spawn(tx, tx_sender, upcall.clone(), move || egress.run())?);
        self.rx.push(Pump::spawn(rx, rx_sender, upcall.clone(), move || ingress.run())?);
        Ok(())
    }

    /// Commands every tx pump; takes effect with its next batch, in order. Waits only while 256 commands are queued.
    pub fn tx(&self, mut command: TxCommand) {
        let Some((first, others)) = self.tx.split_first() else { return };
        for pump in others {
            pump.commands.send(command.share());
        }
        first.commands.send(command);
    }

    /// Commands the rx pump of the SA; takes effect with its next batch, in order. Waits only while 256 commands are queued.
    pub fn rx(&self, command: RxCommand) {
        if let Some(pump) = self.receiver(&command) {
            pump.commands.send(command);
        }
    }

    /// The pump that has the SA which the command is about.
    fn receiver(&self, command: &RxCommand) -> Option<&Pump<RxCommand>> {
        let family = command.spi().map_or(0, |spi| ikev2::EspSpi(spi).family() as usize);
        self.rx.get(family % self.rx.len().max(1))
    }

    /// Installs both directions of a pair of SAs, the inbound one first: `outbound` is told to the tx pumps once the rx pump
    /// has done what `inbound` says.
    ///
    /// The first packet on the outbound SA allows the peer to send on its other direction (RFC 7296 §2.8). The answer could
    /// overtake an rx pump that has not had its turn on a busy machine, and would be dropped for an unknown SPI.
    pub fn install(&self, inbound: RxCommand, outbound: TxCommand) {
        if let Some(pump) = self.receiver(&inbound) {
            in_order(&pump.commands, inbound, || self.tx(outbound));
        }
    }

    /// Waits until all pumps have done what they were told so far: some tens of microseconds, half a second each at most.
    ///
    /// A new inbound SA has to be in place before the message leaves that lets the peer use it (RFC 7296 §2.8), so call this
    /// between installing and sending.
    pub fn settle(&self) {
        let tx = self.tx.iter().map(|pump| pump.commands.receipt());
        let receipts: Vec<_> =
            tx.chain(self.rx.iter().map(|pump| pump.commands.receipt())).collect();
        receipts.iter().for_each(wait_for);
    }

    /// Shows packets to these captures, and to no others, from the next batches on.
    pub fn watch(&self, taps: &Taps) {
        self.tx.iter().for_each(|pump| pump.commands.send(TxCommand::Watch(taps.clone())));
        self.rx.iter().for_each(|pump| pump.commands.send(RxCommand::Watch(taps.clone())));
    }

    /// Gives the pumps the queues of a new device, one of `lanes` for each worker.
    pub fn equip(&self, lanes: Vec<Lanes>) {
        for ((tx, rx), Lanes { bulk, urgent }) in self.tx.iter().zip(&self.rx).zip(lanes) {
            let tun = Arc::new(bulk);
            let bulk = Arc::clone(&tun);
            tx.commands.send(TxCommand::Device { bulk, urgent: urgent.map(Arc::new) });
            rx.commands.send(RxCommand::Device { tun });
        }
    }

    /// Ends all threads and waits for them; the device and the sockets close.
    pub fn stop(self) {
        drop(self);
    }

    /// How many pairs of pumps there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.tx.len()
    }

    /// What belongs to no child.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        self.tx.iter().for_each(|pump| pump.commands.send(TxCommand::Stop));
        self.rx.iter().for_each(|pump| pump.commands.send(RxCommand::Stop));
        self.tx.iter_mut().for_each(Pump::join);
        self.rx.iter_mut().for_each(Pump::join);
    }
}

/// Sends `first`, waits until it is done, then does `second`.
fn in_order<A>(one: &MailboxSender<A>, first: A, second: impl FnOnce()) {
    one.send(first);
    wait_for(&one.receipt());
    second();
}

/// Waits for a receipt. A pump that ended answers by closing; one that is stuck has been waited for long enough.
fn wait_for(receipt: &Receiver<()>) {
    if let Err(RecvTimeoutError::Timeout) = receipt.recv_timeout(SETTLE_WAIT) {
        tracing::error!(target: "dataplane", event = "stuck");
    }
}

/// How long one pump is waited for.
const SETTLE_WAIT: Duration = Duration::from_millis(500);
