//! How a pump's thread lives: it takes its place among the threads of this machine, gives its rights away, works, and rests.
//!
//! ```text
//!   spawn ─► begin: nice and slice, no privileges, few system calls
//!        ─► batch ─► Full ──────────────────────► batch
//!                    Drained ─► lets others run ► batch      unless they kept its core for long: then it is wary, and sleeps
//!                    Empty ─► sleeps in mio::Poll ► batch
//!        ─► told to stop, or Broken, which control hears of
//! ```

use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock;
use crate::dataplane::command::{MailboxSender, UpcallSender};
use crate::sandbox;
use crate::sys::privileges;
use crate::sys::schedule::take_turns;

/// What a pump is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Role {
    name: &'static str,
    number: usize,
    /// How willingly it lets others run (nice(2)).
    nice: i32,
    /// How long it wants to run at a time.
    slice: Duration,
}

impl Role {
    /// Reads from the TUN device, and seals.
    pub(super) const fn tx(number: usize) -> Self {
        Self { name: "tx", number, nice: TX_NICE, slice: TX_SLICE }
    }

    /// Receives, and opens.
    pub(super) const fn rx(number: usize) -> Self {
        Self { name: "rx", number, nice: RX_NICE, slice: RX_SLICE }
    }

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
pub(super) struct Pump<C> {
    pub(super) commands: MailboxSender<C>,
    thread: Option<JoinHandle<()>>,
}

impl<C> Pump<C> {
    /// Runs `body` on a thread of its own; an error of it becomes an upcall, `Broken`, and a panic ends the process
    /// (`sys/ending.rs`).
    pub(super) fn spawn(
        role: Role,
        commands: MailboxSender<C>,
        upcall: UpcallSender,
        body: impl FnOnce() -> Result<(), Broken> + Send + 'static,
    ) -> io::Result<Self> {
        let Role { name, number, .. } = role;
        let thread = std::thread::Builder::new().name(format!("s2s-{name}{number}"));
        let life = move || {
            role.begin();
            if let Err(Broken { what, cause }) = body() {
                upcall.broken(format!("the {name} pump ended: cannot {what}: {cause}"));
            }
        };
        Ok(Self { commands, thread: Some(thread.spawn(life)?) })
    }

    pub(super) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Whatever it had to say it said as an upcall.
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
pub(super) struct Broken {
    /// What it tried.
    pub(super) what: &'static str,
    /// What the system said.
    pub(super) cause: io::Error,
}

/// What became of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Batch {
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
pub(super) struct Rest {
    wary_until: Option<Instant>,
}

impl Rest {
    /// Says whether to sleep now.
    pub(super) fn is_due(&mut self, batch: Batch) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pump_that_waited_long_for_its_core_sleeps_at_once_for_a_while() {
        let start = clock::now();
        let at = |micros| start + Duration::from_micros(micros);
        let mut rest = Rest::default();
        rest.note(at(0), at(1_000));
        assert!(!rest.is_wary(at(1_000)), "that was short");
        rest.note(at(2_000), at(4_000));
        assert!(rest.is_wary(at(4_000)) && rest.is_wary(at(53_999)));
        assert!(!rest.is_wary(at(54_000)), "for ever");
        assert!(rest.is_due(Batch::Empty) && !rest.is_due(Batch::Full));
    }
}
