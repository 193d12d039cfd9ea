//! Between the thread of the page and control: what clients of the control socket may ask, without a socket.
//!
//! ```text
//!   page   Asker ── (number, Request) ──► Line   control, which is woken
//!          words ◄── (number, Response) ──       and wakes the page
//! ```

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};

use mio::{Registry, Token, Waker};

use super::Access;
use crate::status::protocol::{Request, Response};

/// The end that asks.
#[derive(Debug)]
pub(crate) struct Asker {
    requests: SyncSender<(usize, Request)>,
    control: Arc<Waker>,
    words: Receiver<Word>,
    next: usize,
}

/// The end that answers. When it is dropped the page ends.
#[derive(Debug)]
pub(crate) struct Line {
    requests: Receiver<(usize, Request)>,
    words: Option<Sender<Word>>,
    page: Waker,
}

/// What control says.
#[derive(Debug)]
pub(crate) enum Word {
    /// The answer to the request of this number.
    Answer(usize, Response),
    /// Other rules from now on.
    Access(Access),
}

/// Both ends. `token` is what wakes the page.
pub(crate) fn line(
    control: Arc<Waker>,
    page: &Registry,
    token: Token,
) -> io::Result<(Asker, Line)> {
    let (requests_in, requests) = sync_channel(PENDING);
    let (words_in, words) = channel();
    let page = Waker::new(page, token)?;
    let asker = Asker { requests: requests_in, control, words, next: 0 };
    Ok((asker, Line { requests, words: Some(words_in), page }))
}

impl Asker {
    /// Asks; the number of the answer to come. `None` if control is far behind.
    pub(crate) fn ask(&mut self, request: Request) -> Option<usize> {
        let number = self.next;
        self.requests.try_send((number, request)).ok()?;
        self.next += 1;
        // It looks once a second in any case.
        let _ = self.control.wake();
        Some(number)
    }

    /// What was said meanwhile; `Err`: there is nobody any more.
    pub(super) fn heard(&self) -> Result<Option<Word>, ()> {
        match self.words.try_recv() {
            Ok(word) => Ok(Some(word)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(()),
        }
    }
}

impl Line {
    /// The next request and its number.
    pub(crate) fn next(&self) -> Option<(usize, Request)> {
        self.requests.try_recv().ok()
    }

    /// Says something; a page that has broken down hears nothing.
    pub(crate) fn say(&self, word: Word) {
        if let Some(words) = &self.words {
            let _ = words.send(word);
            let _ = self.page.wake();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.words = None;
        let _ = self.page.wake();
    }
}

/// Requests that wait for control. It takes a few of them in each round of its loop.
const PENDING: usize = 64;
