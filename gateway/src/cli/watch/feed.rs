//! The thread that asks the daemon, so that keys are answered at once while a daemon is slow or away.
//!
//! ```text
//!   every pause, or when another connection is opened:  Status, Events{connection} ──► channel, and an octet into `wake`
//! ```

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock;
use crate::log::Record;
use crate::status::Snapshot;
use crate::status::client;
use crate::status::protocol::{Request, Response};

/// One answer of the daemon, or why there is none.
#[derive(Debug, Clone)]
pub(super) struct Update {
    /// When it was asked.
    pub(super) at: Timestamp,
    /// What it said, or a sentence.
    pub(super) said: Result<Box<Snapshot>, String>,
    /// Events of the connection that was open, oldest first.
    pub(super) events: Option<(String, Vec<Record>)>,
}

/// The near end of the thread.
pub(super) struct Feed {
    /// Readable when there is something to take.
    pub(super) wake: UnixStream,
    updates: Receiver<Update>,
    open: Arc<Mutex<Option<String>>>,
    thread: Thread,
}

impl Feed {
    /// Begins to ask.
    ///
    /// # Errors
    /// What the system says of a pair of sockets and a thread.
    pub(super) fn start(socket: &Path, pause: Duration, open: Option<&str>) -> io::Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let (sender, updates) = channel();
        let open = Arc::new(Mutex::new(open.map(str::to_owned)));
        let asker =
            Asker { socket: socket.to_owned(), pause, open: Arc::clone(&open), sender, waker };
        let thread = thread::Builder::new().name("feed".to_owned()).spawn(move || asker.run())?;
        Ok(Self { wake, updates, open, thread: thread.thread().clone() })
    }

    /// Hands over all that came.
    pub(super) fn take(&self, mut update: impl FnMut(Update)) {
        // Full or empty, the next one wakes us again.
        let _ = (&self.wake).read(&mut [0; 64]);
        while let Ok(next) = self.updates.try_recv() {
            update(next);
        }
    }

    /// From now on the events of this connection are asked for, too.
    pub(super) fn look_at(&self, name: Option<&str>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.as_deref() != name {
            *open = name.map(str::to_owned);
            drop(open);
            self.thread.unpark();
        }
    }
}

struct Asker {
    socket: PathBuf,
    pause: Duration,
    open: Arc<Mutex<Option<String>>>,
    sender: Sender<Update>,
    waker: UnixStream,
}

impl Asker {
    fn run(mut self) {
        loop {
            let update = self.ask();
            if self.sender.send(update).is_err() {
                return;
            }
            // Full: it will be woken anyway.
            let _ = self.waker.write(&[1]);
            thread::park_timeout(self.pause);
        }
    }

    fn ask(&self) -> Update {
        let at = clock::wall();
        let said = match client::ask(&self.socket, &Request::Status) {
            Ok(Response::Status { snapshot }) => Ok(snapshot),
            Ok(_) => Err("the daemon answered something else than was asked".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let events = open.filter(|_| said.is_ok()).and_then(|name| {
            let request = Request::Events { follow: false, connection: Some(name.clone()) };
            match client::ask(&self.socket, &request) {
                Ok(Response::Events { events, .. }) => Some((name, events)),
                Ok(_) | Err(_) => None,
            }
        });
        Update { at, said, events }
    }
}
