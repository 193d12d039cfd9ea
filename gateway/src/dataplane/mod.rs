//! The data plane: pump threads between the TUN device and the sockets, and the handle that control has on them.
//!
//! ```text
//!   control ── tx(TxCommand) ──► tx pump   egress.rs    read ─► classify ─► translate ─► encap ─► send
//!           ── rx(RxCommand) ──► rx pump   ingress.rs   receive ─► demux ─► decap ─► translate ─► write
//!           ◄──── Upcall ─────── both      command.rs
//!
//!   policy.rs    which configured child an inner packet belongs to (SPD, RFC 4301 §4.4.1)
//!   sad.rs       the SAs of each pump, by slot and by SPI (SAD, RFC 4301 §4.4.2)
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
mod sad;
pub mod tap;
#[cfg(test)]
mod tests;

use std::io;
use std::iter::once;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use answers::Answers;
pub use command::{RxCommand, TxCommand, Upcall, UpcallReceiver, UpcallSender, upcalls};
pub use counters::{ChildCounters, Counters, IoLoss, SaUsage};
pub use policy::{Policy, Rank, Rule, Standing};

use crate::clock;
use crate::dataplane::command::MailboxSender;
use crate::dataplane::egress::Egress;
use crate::dataplane::ingress::Ingress;
use crate::dataplane::tap::Taps;
use crate::io::{Lanes, OpenError, RawEsp, UdpSocket, UdpSockets};
use crate::sandbox;
use crate::sys::privileges;
use crate::sys::schedule::take_turns;

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
        let tx = Role { name: "tx", number, nice: TX_NICE, slice: TX_SLICE };
        let rx = Role { name: "rx", number, nice: RX_NICE, slice: RX_SLICE };
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

/// What a pump is for.
#[derive(Debug, Clone, Copy)]
struct Role {
    name: &'static str,
    number: usize,
    /// How willingly it lets others run (nice(2)).
    nice: i32,
    /// How long it wants to run at a time.
    slice: Duration,
}

impl Role {
    /// Takes its place among the threads of this machine. Without the right to a better one (CAP_SYS_NICE) it takes its turn
    /// as all do, and soon all the same.
    fn begin(self) {
        let Self { name, number, nice, slice } = self;
        if let Err(error) = take_turns(nice, slice).or_else(|_| take_turns(0, slice)) {
            tracing::debug!(target: "gateway", event = "no-priority", name, number, %error);
        }
        // Its descriptors are open; packets give it nothing to ask the system for.
        if let Err(error) = privileges::drop_all() {
            tracing::warn!(target: "gateway", event = "privileges-kept", %error);
        }
        if let Err(error) = sandbox::confine_pump() {
            tracing::warn!(target: "gateway", event = "privileges-kept", error);
        }
    }
}

/// A pump's thread and the way to its mailbox.
struct Pump<C> {
    commands: MailboxSender<C>,
    thread: Option<JoinHandle<()>>,
}

impl<C> Pump<C> {
    /// Runs `body` on a thread of its own; an error or a panic of it becomes [`Upcall::Broken`].
    fn spawn(
        role: Role,
        commands: MailboxSender<C>,
        upcall: UpcallSender,
        body: impl FnOnce() -> Result<(), Broken> + Send + 'static,
    ) -> io::Result<Self> {
        let Role { name, number, .. } = role;
        let thread = std::thread::Builder::new().name(format!("s2s-{name}{number}"));
        let begun = move || {
            role.begin();
            body()
        };
        let guarded = move || match catch_unwind(AssertUnwindSafe(begun)) {
            Ok(Ok(())) => {}
            Ok(Err(Broken { what, cause })) => {
                upcall.broken(format!("the {name} pump ended: cannot {what}: {cause}"));
            }
            Err(panic) => {
                let words = panic_words(panic.as_ref());
                upcall.broken(format!(
                    "the {name} pump ended by a bug of ours, please report it: {words}"
                ));
            }
        };
        Ok(Self { commands, thread: Some(thread.spawn(guarded)?) })
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // The thread catches its own panics, so that there is nothing to learn from the result.
            drop(thread.join());
        }
    }
}

impl<C> std::fmt::Debug for Pump<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pump")
    }
}

/// Why a pump cannot go on.
#[derive(Debug)]
struct Broken {
    /// What it tried.
    what: &'static str,
    /// What the system said.
    cause: io::Error,
}

/// What became of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Batch {
    /// There was nothing: time to sleep.
    Empty,
    /// There was something, and nothing more behind it.
    Drained,
    /// The budget was used up; there may be more.
    Full,
}

/// What a pump does before it sleeps: after something came it lets others run and looks again first.
///
/// Where there are more threads to run than cores, those others bring the next packets: what has gathered meanwhile is handled
/// at once, without a sleep of the pump and a wake-up by each of them. Where there are none it is a system call a sleep. But
/// where others only compute, who lets them run gets no core for a tick of the kernel, and the queue of the device overflows:
/// so a pump that waited long sleeps at once for a while. Who is woken goes before them.
#[derive(Debug, Default)]
struct Rest {
    wary_until: Option<Instant>,
}

impl Rest {
    /// Says whether to sleep now.
    fn is_due(&mut self, batch: Batch) -> bool {
        match batch {
            Batch::Full => false,
            Batch::Empty => true,
            Batch::Drained => {
                let began = clock::now();
                if self.is_wary(began) {
                    return true;
                }
                std::thread::yield_now();
                self.note(began, clock::now());
                false
            }
        }
    }

    fn is_wary(&self, now: Instant) -> bool {
        self.wary_until.is_some_and(|until| now < until)
    }

    /// Others ran for so long.
    fn note(&mut self, began: Instant, ended: Instant) {
        if ended.saturating_duration_since(began) > LONG {
            self.wary_until = Some(ended + WARY);
        }
    }
}

fn panic_words(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no words")
}

/// A kernel forwards packets before any thread runs; a gateway in user space has to be let run to do as well. What came over the
/// network goes first: it was let in already, and it waits in a long queue, in which what is urgent waits, too. What has not been
/// sent yet waits in a short one, and whoever sends it slows down.
const RX_NICE: i32 = -15;
const TX_NICE: i32 = -10;

/// A pump wants its turn soon rather than long: with this, one that let others run is back in time for what is urgent (pings
/// beside eight streams: 2.1 ms, and 3.6 ms with the slices of all other threads).
const RX_SLICE: Duration = Duration::from_micros(100);

/// Who is woken goes before whoever has a longer slice, here the program that sends: a tx pump with a short one would be there for
/// each datagram by itself, at four switches each, instead of for what has gathered. A millisecond costs the pings nothing and
/// carries a sixth more datagrams; the slices of all other threads carry half as many again, and pings wait two milliseconds more.
const TX_SLICE: Duration = Duration::from_millis(1);

/// How long others may run while a pump waits for its core, before it becomes wary: at 100 000 packets a second the queue of the
/// device holds 2.5 ms.
const LONG: Duration = Duration::from_micros(1500);

/// For how long it is.
const WARY: Duration = Duration::from_millis(50);

/// How long one pump is waited for.
const SETTLE_WAIT: Duration = Duration::from_millis(500);
