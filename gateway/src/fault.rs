//! Faults on demand, for tests of what holds when a thread breaks or is taken over. A release build has none of this.
//!
//! ```text
//!   S2S_GW_FAULT=rx:panic s2s-gw run ..        kill -USR2 ──► the next turn of an rx pump panics
//!                 │   └── panic, run, shadow, trace, packet          each thread asks `point` once a turn
//!                 └── control, tx, rx, resolver, monitors, reload
//! ```
//!
//! What was attempted and refused is told as `event=fault`; what the sandbox does not even refuse ends the program.

#[cfg(not(debug_assertions))]
mod inner {
    pub(crate) const fn arm() {}
    pub(crate) const fn point(_: &str) {}
}

#[cfg(debug_assertions)]
mod inner {
    use std::io;
    use std::os::unix::process::CommandExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, OnceLock};

    use rustix::net::{AddressFamily, SocketType, socket};

    struct Fault {
        thread: String,
        act: String,
        now: Arc<AtomicBool>,
    }

    static FAULT: OnceLock<Fault> = OnceLock::new();

    /// Reads the variable and waits for the signal.
    pub(crate) fn arm() {
        let Ok(wanted) = std::env::var("S2S_GW_FAULT") else { return };
        let Some((thread, act)) = wanted.split_once(':') else { return };
        let now = Arc::new(AtomicBool::new(false));
        let registered =
            signal_hook::flag::register(signal_hook::consts::SIGUSR2, Arc::clone(&now));
        if registered.is_ok() {
            let _ = FAULT.set(Fault { thread: thread.to_owned(), act: act.to_owned(), now });
        }
    }

    /// Here a thread of this kind does what was asked for, once.
    pub(crate) fn point(thread: &str) {
        let Some(fault) = FAULT.get() else { return };
        if fault.thread != thread || !fault.now.swap(false, Ordering::Relaxed) {
            return;
        }
        let outcome = act(&fault.act);
        let outcome = outcome.map_or_else(|error| error.to_string(), |()| "done".to_owned());
        tracing::error!(target: "gateway", event = "fault", thread, act = fault.act, outcome);
    }

    fn act(act: &str) -> io::Result<()> {
        match act {
            "panic" => panic!("asked to"),
            "run" => Err(std::process::Command::new("/bin/true").exec()),
            "shadow" => std::fs::File::open("/etc/shadow").map(drop),
            "trace" => crate::sys::attempt::trace_parent(),
            "packet" => socket(AddressFamily::PACKET, SocketType::RAW, None)
                .map(drop)
                .map_err(io::Error::from),
            _ => Err(io::Error::other("an unknown act")),
        }
    }
}

pub(crate) use self::inner::{arm, point};
