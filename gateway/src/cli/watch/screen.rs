//! The terminal while it is ours: raw, its other screen, no cursor; and as it was before, whatever happens.
//!
//! ```text
//!   enter ─► draw ─► wait for keys, an update, a signal ─► draw ─► ..      drop, panic ─► as it was
//! ```
//!
//! Ctrl-C is a key here; SIGINT, SIGTERM and SIGHUP from elsewhere end the loop. SIGWINCH only interrupts the wait: each draw
//! asks how large the terminal is.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::TermionBackend;
use ratatui::termion::event::Key;
use ratatui::termion::input::TermRead as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};

use super::super::output::is_dumb;
use super::frame;
use super::view::View;

/// Whether there is a terminal on both sides that can do it, and that is ours to touch.
pub(in crate::cli) fn is_possible() -> bool {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let is_ours = tcgetpgrp(&stdin).is_ok_and(|group| group == rustix::process::getpgrp());
    // A serial line does not know its size.
    let has_size = tcgetwinsize(&stdout).is_ok_and(|size| size.ws_col > 0 && size.ws_row > 0);
    stdin.is_terminal() && stdout.is_terminal() && !is_dumb() && is_ours && has_size
}

/// The terminal.
pub(super) struct Screen {
    terminal: Terminal<TermionBackend<io::Stdout>>,
    before: Arc<Before>,
    ended: Arc<AtomicBool>,
}

/// What the terminal goes back to, once: after a panic the cursor would be put over what it said.
struct Before {
    termios: Termios,
    is_back: AtomicBool,
}

/// What ended a wait.
pub(super) enum Woken {
    /// Somebody typed.
    Typed(Vec<Key>),
    /// The daemon said something.
    Fed,
    /// Perhaps another size.
    Nothing,
    /// A signal, or the terminal is gone.
    Ended,
}

impl Screen {
    /// Takes the terminal at stdin and stdout.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn enter() -> io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&ended))?;
        }
        // Only so that it interrupts `poll`.
        signal_hook::flag::register(SIGWINCH, Arc::default())?;
        let termios = tcgetattr(io::stdin())?;
        let terminal = Terminal::new(TermionBackend::new(io::stdout()))?;
        let mut raw = termios.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        let before = Arc::new(Before { termios, is_back: AtomicBool::new(false) });
        let screen = Self { terminal, before: Arc::clone(&before), ended };
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            before.restore();
            usual(info);
        }));
        write(ENTER)?;
        Ok(screen)
    }

    /// Draws all of it; what has not changed is not written.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn draw(&mut self, view: &mut View) -> io::Result<()> {
        self.terminal.draw(|area| frame::draw(area, view)).map(|_| ())
    }

    /// Waits for something to do, a few seconds at most.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn wait(&self, wake: &UnixStream) -> io::Result<Woken> {
        let stdin = io::stdin();
        let mut watched = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN),
        ];
        let polled = poll(&mut watched, Some(&PATIENCE));
        if self.ended.load(Ordering::Relaxed) {
            return Ok(Woken::Ended);
        }
        match polled {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Woken::Nothing),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let [typed, _] = watched;
        if typed.revents().is_empty() {
            return Ok(Woken::Fed);
        }
        let mut octets = [0; 256];
        let count = rustix::io::read(&stdin, &mut octets)?;
        if count == 0 {
            return Ok(Woken::Ended);
        }
        Ok(Woken::Typed(keys(octets.get(..count).unwrap_or_default())))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.before.restore();
    }
}

impl Before {
    fn restore(&self) {
        if !self.is_back.swap(true, Ordering::Relaxed) {
            // There is nobody to tell if that fails.
            let _ = write(LEAVE);
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.termios);
        }
    }
}

/// What was typed. An escape with nothing behind it is the key; terminals write the sequences of other keys at once.
pub(super) fn keys(octets: &[u8]) -> Vec<Key> {
    octets.keys().map_while(Result::ok).collect()
}

fn write(sequence: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(sequence.as_bytes())?;
    stdout.flush()
}

/// The other screen, without a cursor (xterm, DECSET 1049 and 25).
const ENTER: &str = "\x1b[?1049h\x1b[2J\x1b[?25l";
/// Back.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// A signal that comes between our look and `poll` is noticed after this.
const PATIENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };
