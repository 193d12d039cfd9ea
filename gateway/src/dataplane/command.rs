//! What control and the pumps say to each other: commands down, upcalls up, both bounded.
//!
//! ```text
//!   control ──TxCommand──► mailbox ──► tx pump        a mailbox is a bounded queue, a flag that the pump looks at once per
//!           ──RxCommand──► mailbox ──► rx pump        batch (no lock, no system call), and a waker for a pump that sleeps
//!
//!   tx pump, rx pump ──Upcall──► bounded queue ──► control, woken by its own mio::Waker
//! ```
//!
//! A full command queue makes control wait, which is safe because no pump ever waits for control. A full upcall queue loses
//! IKE datagrams (they are retransmitted, RFC 7296 §2.1) and acquires (they are repeated), each counted or retried;
//! `FirstInbound` is tried again with the next packet, and `Broken` has a place of its own that is always free.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::dataplane::counters::{ChildCounters, SaUsage};
use crate::dataplane::policy::Policy;
use crate::dataplane::tap::Taps;
use crate::dataplane::{Destination, SlotId};
use crate::io::Tun;

/// Tells the tx pump (TUN to network) what to do.
#[derive(Debug)]
pub enum TxCommand {
    /// Classify by this from the next batch on.
    Policy(Arc<Policy>),
    /// Add an outbound SA to a slot.
    Install {
        /// The configured child it serves.
        slot: SlotId,
        /// The SA with its keys.
        sa: Box<esp::OutboundSa>,
        /// The worker that sends on it (RFC 9611); `None`: whichever has none of its own.
        owner: Option<usize>,
        /// Where its packets go.
        to: Destination,
        /// Octets of the longest inner packet that fits the way there: TCP is told so.
        mtu: u16,
        /// False: send on it from the next batch on. True: wait for `Activate`, or for the `Remove` of the SA in use
        /// (`SendWhen::AfterInbound`, RFC 7296 §2.8); if the slot has no SA in use it is used at once.
        hold: bool,
        /// Where its packets are counted.
        counters: Arc<ChildCounters>,
        /// Where what it has carried is counted.
        usage: Arc<SaUsage>,
        /// How much that may be: then it sends nothing more, and control is told.
        hard: ikev2::Limits,
    },
    /// Send on this SA from the next batch on; the one in use stays until it is removed.
    Activate {
        /// The slot it was installed in.
        slot: SlotId,
        /// The SA's SPI (chosen by the peer).
        spi: NonZeroU32,
    },
    /// Drop this SA and its keys. If it was in use, the newest of those that are left takes over.
    Remove {
        /// The slot it was installed in.
        slot: SlotId,
        /// The SA's SPI (chosen by the peer).
        spi: NonZeroU32,
    },
    /// Send this SA's packets elsewhere.
    Move {
        /// The slot it was installed in.
        slot: SlotId,
        /// The SA's SPI (chosen by the peer).
        spi: NonZeroU32,
        /// The new place.
        to: Destination,
        /// Octets of the longest inner packet that fits the way there.
        mtu: u16,
    },
    /// The way of this SA's packets carries more or less now.
    Mtu {
        /// The slot it was installed in.
        slot: SlotId,
        /// The SA's SPI (chosen by the peer).
        spi: NonZeroU32,
        /// Octets of the longest inner packet that fits: TCP is told so.
        mtu: u16,
        /// Whether all leave whole, with DF. False where packets have to pass that do not fit, and IP fragments them.
        whole: bool,
    },
    /// Read from these queues from the next batch on: the device was made anew.
    Device {
        /// The queue for everything.
        bulk: Arc<Tun>,
        /// That to be read first.
        urgent: Option<Arc<Tun>>,
    },
    /// Show packets to these captures from the next batch on.
    Watch(Taps),
    /// End the thread.
    Stop,
}

impl TxCommand {
    /// The same for another tx pump.
    pub(crate) fn share(&mut self) -> Self {
        match self {
            Self::Policy(policy) => Self::Policy(Arc::clone(policy)),
            Self::Install { slot, sa, owner, to, mtu, hold, counters, usage, hard } => {
                Self::Install {
                    slot: *slot,
                    sa: Box::new(sa.share()),
                    owner: *owner,
                    to: *to,
                    mtu: *mtu,
                    hold: *hold,
                    counters: Arc::clone(counters),
                    usage: Arc::clone(usage),
                    hard: *hard,
                }
            }
            Self::Activate { slot, spi } => Self::Activate { slot: *slot, spi: *spi },
            Self::Remove { slot, spi } => Self::Remove { slot: *slot, spi: *spi },
            Self::Move { slot, spi, to, mtu } => {
                Self::Move { slot: *slot, spi: *spi, to: *to, mtu: *mtu }
            }
            Self::Mtu { slot, spi, mtu, whole } => {
                Self::Mtu { slot: *slot, spi: *spi, mtu: *mtu, whole: *whole }
            }
            Self::Device { bulk, urgent } => {
                Self::Device { bulk: Arc::clone(bulk), urgent: urgent.as_ref().map(Arc::clone) }
            }
            Self::Watch(taps) => Self::Watch(taps.clone()),
            Self::Stop => Self::Stop,
        }
    }
}

/// Tells the rx pump (network to TUN) what to do.
#[derive(Debug)]
pub enum RxCommand {
    /// Accept packets of this SA.
    Install {
        /// The configured child it serves.
        slot: SlotId,
        /// The SA with its keys.
        sa: Box<esp::InboundSa>,
        /// Octets of the longest inner packet that fits the way back: TCP is told so.
        mtu: u16,
        /// Where its packets are counted.
        counters: Arc<ChildCounters>,
        /// Where what it has carried is counted, together with its outbound half.
        usage: Arc<SaUsage>,
    },
    /// Drop this SA and its keys.
    Remove {
        /// The SA's SPI (chosen by us).
        spi: NonZeroU32,
    },
    /// Inner packets of this length fit the way back now.
    Mtu {
        /// The SA's SPI (chosen by us).
        spi: NonZeroU32,
        /// Octets.
        mtu: u16,
    },
    /// Write into this queue from now on: the device was made anew.
    Device {
        /// The queue.
        tun: Arc<Tun>,
    },
    /// Show packets to these captures from the next batch on.
    Watch(Taps),
    /// End the thread.
    Stop,
}

impl RxCommand {
    /// The SA that it is about.
    pub(crate) fn spi(&self) -> Option<NonZeroU32> {
        match self {
            Self::Install { sa, .. } => Some(sa.spi()),
            Self::Remove { spi } | Self::Mtu { spi, .. } => Some(*spi),
            Self::Device { .. } | Self::Watch(_) | Self::Stop => None,
        }
    }
}

/// What a pump has to tell control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upcall {
    /// An IKE message arrived on the NAT port; the non-ESP marker is gone.
    Ike {
        /// Local: the address it was sent to. Remote: the sender.
        path: ikev2::Path,
        /// The IKE message.
        payload: Vec<u8>,
    },
    /// The first authentic packet on an inbound SA; said once per SA.
    FirstInbound {
        /// The slot it was installed in.
        slot: SlotId,
        /// The SA's SPI (chosen by us).
        spi: NonZeroU32,
        /// The sender, if it came in UDP.
        remote: Option<SocketAddr>,
    },
    /// An authentic packet, newer than all before, came from another address than the last such one (RFC 7296 §2.23).
    Elsewhere {
        /// The SA's SPI (chosen by us).
        spi: NonZeroU32,
        /// The sender.
        remote: SocketAddr,
    },
    /// A packet wanted this slot and found no SA; said at most once a second per slot.
    Acquire {
        /// The slot.
        slot: SlotId,
        /// The packet: whoever has to choose an SA for it wants to know (RFC 7296 §2.9).
        packet: ikev2::PacketSelectors,
    },
    /// An outbound SA has carried all that it may; said once per SA.
    Worn {
        /// The slot it was installed in.
        slot: SlotId,
        /// The SA's SPI (chosen by the peer).
        spi: NonZeroU32,
    },
    /// A pump ended; no packets flow any more in its direction.
    Broken {
        /// One sentence for the operator.
        what: String,
    },
}

/// Makes the queue from the pumps to control. `waker` belongs to control's own `mio::Poll`.
#[must_use]
pub fn upcalls(waker: Arc<mio::Waker>) -> (UpcallSender, UpcallReceiver) {
    let (queue_in, queue_out) = sync_channel(UPCALL_QUEUE_LEN);
    let broken = Arc::new(Mutex::new(None));
    let sender = UpcallSender { queue: queue_in, broken: Arc::clone(&broken), waker };
    (sender, UpcallReceiver { queue: queue_out, broken })
}

/// The pumps' end of the upcall queue; never blocks.
#[derive(Clone)]
pub struct UpcallSender {
    queue: SyncSender<Upcall>,
    broken: Arc<Mutex<Option<String>>>,
    waker: Arc<mio::Waker>,
}

impl UpcallSender {
    /// Hands `upcall` to control; false if the queue is full or control is gone.
    pub(crate) fn try_send(&self, upcall: Upcall) -> bool {
        match self.queue.try_send(upcall) {
            Ok(()) => {
                self.wake();
                true
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Reports that a pump ended; if both end, the first sentence is kept since it is the cause.
    pub(crate) fn broken(&self, what: String) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
        self.wake();
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake the control thread");
        }
    }
}

impl fmt::Debug for UpcallSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpcallSender")
    }
}

/// Control's end of the upcall queue.
#[derive(Debug)]
pub struct UpcallReceiver {
    queue: Receiver<Upcall>,
    broken: Arc<Mutex<Option<String>>>,
}

impl UpcallReceiver {
    /// The next upcall, or `None` if there is none at the moment. Call it until `None` after each wake-up.
    #[must_use]
    pub fn try_recv(&self) -> Option<Upcall> {
        if let Ok(upcall) = self.queue.try_recv() {
            return Some(upcall);
        }
        let what = self.broken.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Upcall::Broken { what })
    }
}

/// Makes one command queue; `poll` is the one that the receiving pump sleeps in, and `token` its waker's token there.
pub(crate) fn mailbox<C>(
    poll: &mio::Poll,
    token: mio::Token,
) -> io::Result<(MailboxSender<C>, Mailbox<C>)> {
    let (queue_in, queue_out) = sync_channel(COMMAND_QUEUE_LEN);
    let filled = Arc::new(AtomicBool::new(false));
    let waker = mio::Waker::new(poll.registry(), token)?;
    let sender = MailboxSender { queue: queue_in, filled: Arc::clone(&filled), waker };
    Ok((sender, Mailbox { queue: queue_out, filled }))
}

/// What lies in a mailbox.
enum Letter<C> {
    /// Do this.
    Command(C),
    /// Say when you have done what came before.
    Receipt(SyncSender<()>),
}

/// Control's end of a command queue.
pub(crate) struct MailboxSender<C> {
    queue: SyncSender<Letter<C>>,
    filled: Arc<AtomicBool>,
    waker: mio::Waker,
}

impl<C> MailboxSender<C> {
    /// Queues `command`, waiting if the queue is full. A pump that ended has said so by `Upcall::Broken`; what is sent to
    /// it afterwards is dropped, keys and all.
    pub(crate) fn send(&self, command: C) {
        self.post(Letter::Command(command));
    }

    /// Asks for a receipt: it arrives when everything sent before has been done, and fails if the pump has ended.
    pub(crate) fn receipt(&self) -> Receiver<()> {
        let (done, receipt) = sync_channel(1);
        self.post(Letter::Receipt(done));
        receipt
    }

    fn post(&self, letter: Letter<C>) {
        if self.queue.send(letter).is_err() {
            return;
        }
        self.filled.store(true, Ordering::Release);
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake a data-plane thread");
        }
    }
}

/// A pump's end of a command queue.
pub(crate) struct Mailbox<C> {
    queue: Receiver<Letter<C>>,
    filled: Arc<AtomicBool>,
}

impl<C> Mailbox<C> {
    /// True if commands may wait: one atomic load, meant for once per batch.
    pub(crate) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Relaxed)
    }

    /// Begins to empty the mailbox; call [`next`](Self::next) until `None` afterwards.
    ///
    /// The flag falls before the queue is read, and the sender raises it after it has queued: a command is never left behind.
    pub(crate) fn open(&self) {
        self.filled.swap(false, Ordering::Acquire);
    }

    /// The next command. `Err` if control dropped its end.
    pub(crate) fn next(&self) -> Result<Option<C>, Abandoned> {
        loop {
            match self.queue.try_recv() {
                Ok(Letter::Command(command)) => return Ok(Some(command)),
                // Nobody may be waiting for it any more, which is no concern of a pump.
                Ok(Letter::Receipt(done)) => drop(done.try_send(())),
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Disconnected) => return Err(Abandoned),
            }
        }
    }
}

/// Control is gone without a `Stop`; the pump ends all the same.
#[derive(Debug)]
pub(crate) struct Abandoned;

/// Upcalls that may wait; chosen so that a burst of IKE_SA_INIT fills at most some 2 MB.
const UPCALL_QUEUE_LEN: usize = 512;

/// Commands that may wait; chosen so that some hundred children can be installed without waiting.
const COMMAND_QUEUE_LEN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn control() -> (UpcallSender, UpcallReceiver, mio::Poll) {
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        let (sender, receiver) = upcalls(Arc::new(waker));
        (sender, receiver, poll)
    }

    #[test]
    fn a_receipt_comes_after_what_was_sent_before() {
        let poll = mio::Poll::new().unwrap();
        let (sender, mailbox) = mailbox::<u32>(&poll, mio::Token(0)).unwrap();
        assert!(!mailbox.is_filled());
        sender.send(1);
        sender.send(2);
        let receipt = sender.receipt();
        assert!(mailbox.is_filled());
        mailbox.open();
        assert!(!mailbox.is_filled());
        assert_eq!((mailbox.next().unwrap(), mailbox.next().unwrap()), (Some(1), Some(2)));
        assert_eq!(receipt.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(mailbox.next().unwrap(), None);
        assert_eq!(receipt.try_recv(), Ok(()));
    }

    /// On a busy machine the rx pump of the one who rekeyed slept while its tx pump already used the new SA; the peer answered
    /// on its other direction, and the packets were dropped for an unknown SPI.
    #[test]
    fn the_second_command_of_two_in_order_is_not_sent_before_the_first_is_done() {
        let polls = [mio::Poll::new().unwrap(), mio::Poll::new().unwrap()];
        let [rx, tx] = polls.each_ref().map(|poll| mailbox::<u32>(poll, mio::Token(0)).unwrap());
        let ((to_rx, rx), (to_tx, tx)) = (rx, tx);
        std::thread::scope(|scope| {
            // Both senders outlive the thread: an abandoned mailbox is another test.
            scope.spawn(|| super::super::in_order(&to_rx, 1, || to_tx.send(2)));
            while rx.next().unwrap() != Some(1) {
                std::thread::yield_now();
            }
            let (_never_sent, never) = sync_channel::<()>(1);
            assert!(never.recv_timeout(std::time::Duration::from_millis(20)).is_err());
            assert!(!tx.is_filled(), "the first one is not done yet");
            while !tx.is_filled() {
                assert_eq!(rx.next().unwrap(), None);
                std::thread::yield_now();
            }
            assert_eq!(tx.next().unwrap(), Some(2));
        });
    }

    #[test]
    fn neither_end_waits_for_one_that_is_gone() {
        let poll = mio::Poll::new().unwrap();
        let (sender, mailbox) = mailbox::<u32>(&poll, mio::Token(0)).unwrap();
        drop(mailbox);
        for number in 0..2 * COMMAND_QUEUE_LEN {
            sender.send(u32::try_from(number).unwrap());
        }
        assert_eq!(sender.receipt().try_recv(), Err(TryRecvError::Disconnected));
        let poll = mio::Poll::new().unwrap();
        let (sender, mailbox) = super::mailbox::<u32>(&poll, mio::Token(0)).unwrap();
        drop(sender);
        assert!(mailbox.next().is_err());
    }

    #[test]
    fn a_full_upcall_queue_refuses_but_never_loses_that_a_pump_broke() {
        let (sender, receiver, _poll) = control();
        let spi = NonZeroU32::MIN;
        let worn = |slot| Upcall::Worn { slot: SlotId(slot), spi };
        let taken = (0..1000).take_while(|&slot| sender.try_send(worn(slot))).count();
        assert_eq!(taken, UPCALL_QUEUE_LEN);
        sender.broken("first".to_owned());
        sender.broken("second".to_owned());
        for slot in 0..u32::try_from(taken).unwrap() {
            assert_eq!(receiver.try_recv(), Some(worn(slot)));
        }
        assert_eq!(receiver.try_recv(), Some(Upcall::Broken { what: "first".to_owned() }));
        assert_eq!(receiver.try_recv(), None);
    }
}
