//! What we tell systemd, if it started us and wants to know (sd_notify(3)).
//!
//! ```text
//!   started ──► READY=1    once a second ──► STATUS=3/4 up, WATCHDOG=1     stopping ──► STOPPING=1
//!   SIGHUP  ──► RELOADING=1, MONOTONIC_USEC=..  ──► READY=1 when that is over     (Type=notify-reload)
//! ```
//!
//! The watchdog is fed by the tick of the control loop and by nothing else: a loop that hangs is to be noticed.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use sd_notify::NotifyState;

/// The service manager. Without one nothing is said.
#[derive(Debug, Default)]
pub(crate) struct Manager {
    /// Connected before root is given up: the socket of a manager may be its own alone.
    socket: Option<UnixDatagram>,
    has_watchdog: bool,
    status: String,
}

impl Manager {
    /// The one that the environment names: `NOTIFY_SOCKET`, `WATCHDOG_USEC`.
    pub(crate) fn of_process() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET")
            .and_then(|name| connect(&name).inspect_err(failed).ok());
        Self {
            socket,
            has_watchdog: sd_notify::watchdog_enabled().is_some(),
            status: String::new(),
        }
    }

    /// Everything is open, or a new configuration is in force.
    pub(crate) fn ready(&self) {
        self.say(&[NotifyState::Ready]);
    }

    /// A new configuration is being read; `ready` has to follow.
    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.say(&[NotifyState::Reloading, now]),
            Err(error) => failed(&error),
        }
    }

    /// Peers are being told that we go.
    pub(crate) fn stopping(&self) {
        self.say(&[NotifyState::Stopping]);
    }

    /// The control loop goes round, with so many connections up of those that should be.
    pub(crate) fn tick(&mut self, up: usize, wanted: usize) {
        if self.socket.is_none() {
            return;
        }
        let before = std::mem::take(&mut self.status);
        // Writing into a string does not fail.
        let _ = write!(self.status, "{up}/{wanted} up");
        if self.status != before {
            self.say(&[NotifyState::Status(&self.status)]);
        }
        if self.has_watchdog {
            self.say(&[NotifyState::Watchdog]);
        }
    }

    fn say(&self, words: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let mut lines = String::new();
        for word in words {
            // Writing into a string does not fail.
            let _ = writeln!(lines, "{word}");
        }
        if let Err(error) = socket.send(lines.as_bytes()) {
            failed(&error);
        }
    }
}

/// A name that begins with `@` is of no file (unix(7)).
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A manager that is stuck must not stop the gateway.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn failed(error: &io::Error) {
    tracing::debug!(target: "gateway", event = "notify-failed", %error);
}
