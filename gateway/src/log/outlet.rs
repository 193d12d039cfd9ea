//! stderr, written without ever waiting for whoever reads it: a log that is stuck must not stop the gateway.
//!
//! ```text
//!   line ──► is there room? ── yes ──► written              the pipe was full, the disk was, the reader went:
//!                           └─ no ───► counted as lost      "event=log-lost lines=37" follows the next line
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;

/// The end of the log, and what did not get there.
#[derive(Debug, Default)]
pub(super) struct Outlet {
    lost: AtomicU64,
    /// A line at a time. Whoever holds it never waits.
    turn: Mutex<()>,
}

impl Outlet {
    /// A line could not be written.
    pub(super) fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// How many lines were lost since somebody asked.
    pub(super) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    /// Whether the whole line is out. A part of it may be, if there was room for that alone.
    pub(super) fn put(&self, to: BorrowedFd<'_>, line: &str) -> bool {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        line.as_bytes().chunks(ROOM).all(|part| write(to, part))
    }
}

/// At once or not at all.
fn write(to: BorrowedFd<'_>, mut part: &[u8]) -> bool {
    while !part.is_empty() {
        let mut ready = [PollFd::from_borrowed_fd(to, PollFlags::OUT)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let has_room = poll(&mut ready, Some(&at_once)).is_ok_and(|count| count == 1);
        if !has_room {
            return false;
        }
        match rustix::io::write(to, part) {
            Ok(len) if len > 0 => part = part.get(len..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => return false,
        }
    }
    true
}

/// Octets that a pipe takes without waiting once it says that it has room (PIPE_BUF).
const ROOM: usize = 4096;

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_reader_that_does_not_read_stops_nobody_and_what_it_missed_is_counted() {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let outlet = Outlet::default();
        let line = format!("{}\n", "x".repeat(999));
        let mut written = 0;
        // A pipe has 64 KiB.
        for _ in 0..200 {
            if outlet.put(writer.as_fd(), &line) {
                written += 1;
            } else {
                outlet.lose();
            }
        }
        assert!((10..200).contains(&written), "{written}");
        let mut some = vec![0; 32 << 10];
        reader.read_exact(&mut some).expect("reads");
        assert!(outlet.put(writer.as_fd(), &line), "there is room again");
        assert_eq!(outlet.take_lost(), 200 - written);
        assert_eq!(outlet.take_lost(), 0);
    }

    #[test]
    fn a_reader_that_went_is_one_that_gets_nothing() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        assert!(!Outlet::default().put(writer.as_fd(), "lost\n"));
    }
}
