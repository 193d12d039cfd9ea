//! The control socket: accepts clients, cuts their octets into requests, sends answers; never waits for any of them.
//!
//! ```text
//!   accept ──► Client { inbox <= 4 KiB, outbox } ──line──► requests ──► control ──► reply ──► outbox ──► client
//!                 a client with an unsent answer is not read: one answer per client is the most that we hold
//! ```
//!
//! Bounds: [`MAX_CLIENTS`] clients, [`MAX_LOOKING`] of those who may only look, [`MAX_OF_ONE`] of one such user; one request of [`MAX_REQUEST_LEN`] and one answer
//! each; [`PATIENCE`] for a whole request, and of silence. This is the thread of IKE: those who may only look, and the page, have
//! [`AT_ONCE`] answers in one round of it.

mod follow;
mod inside;
mod rights;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

use self::rights::{Places, Rights};
use crate::io::SocketError;
use crate::io::at_path::{self, SocketFile};
use crate::status::protocol::{MAX_REQUEST_LEN, RefusalKind, Request, Response};
use crate::web::Line;

pub(super) use self::follow::{Follow, retain};

/// The listening socket and all its clients. Dropping it removes the socket file.
#[derive(Debug)]
pub(super) struct Server {
    listener: UnixListener,
    file: SocketFile,
    listener_token: Token,
    /// Who started the daemon.
    owner: u32,
    clients: BTreeMap<Token, Client>,
    next_client: usize,
    /// Of those who may do everything.
    requests: VecDeque<Asked>,
    /// Of those who may only look: one of each, so that they have their turns one after the other.
    looks: VecDeque<Asked>,
    /// How many of `looks`, and of the page's requests, this round still answers.
    looks_left: usize,
    page_left: usize,
    /// More newcomers wait.
    crowded: bool,
    /// The thread of the status page, if there is one.
    page: Option<Line>,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    rights: Rights,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// A request of this client waits for its answer.
    asked: bool,
    /// It is told of what happens.
    follow: Option<Follow>,
    /// It is sent packets.
    captures: bool,
    /// Closed once `outbox` is sent.
    last_answer: bool,
    active_at: Instant,
}

/// A request and who asked; `Err` is the answer to what is none.
type Asked = (Token, Result<Request, Response>);

/// What became of a client's octets.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing more to do until the client moves.
    Waiting,
    /// A whole line.
    Line(Vec<u8>),
    /// The client asks for more than it may.
    TooLong,
    /// It is gone.
    Gone,
}

impl Server {
    /// Listens on `path`. The socket of a dead daemon is replaced. `token` is the listener's; clients get the numbers
    /// above it.
    ///
    /// # Errors
    /// [`SocketError`].
    pub(super) fn bind(
        path: &Path,
        registry: &Registry,
        token: Token,
    ) -> Result<Self, SocketError> {
        let (listener, file) = at_path::listen(path, KEY)?;
        let listener = UnixListener::from_std(listener);
        Self::serve(listener, file, registry, token)
    }

    /// Takes a socket that somebody else has made, who says by its mode who may open it, and removes it.
    ///
    /// # Errors
    /// [`SocketError::Io`].
    pub(super) fn adopt(
        listener: std::os::unix::net::UnixListener,
        path: &Path,
        registry: &Registry,
        token: Token,
    ) -> Result<Self, SocketError> {
        let file = SocketFile::of_another(path);
        Self::serve(UnixListener::from_std(listener), file, registry, token)
    }

    fn serve(
        mut listener: UnixListener,
        file: SocketFile,
        registry: &Registry,
        token: Token,
    ) -> Result<Self, SocketError> {
        registry.register(&mut listener, token, Interest::READABLE).map_err(|source| {
            let path = file.path().to_owned();
            SocketError::Io { what: "watch", path, key: KEY, source }
        })?;
        let next_client = token.0 + 1;
        Ok(Self {
            listener,
            file,
            listener_token: token,
            owner: rustix::process::geteuid().as_raw(),
            clients: BTreeMap::new(),
            next_client,
            requests: VecDeque::new(),
            looks: VecDeque::new(),
            looks_left: AT_ONCE,
            page_left: AT_ONCE,
            crowded: false,
            page: None,
        })
    }

    /// Where it listens.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Whether somebody waits, or may: the page's requests cannot be counted.
    pub(super) fn has_requests(&self) -> bool {
        let page = self.page.is_some() && self.page_left == 0;
        self.crowded || page || !self.requests.is_empty() || !self.looks.is_empty()
    }

    /// The listener or a client has something for us.
    pub(super) fn on_event(&mut self, registry: &Registry, token: Token, now: Instant) {
        if token == self.listener_token {
            self.accept(registry, now);
        } else {
            self.advance(token, now);
        }
    }

    /// A round of the loop: what was left by the last one is looked at again.
    pub(super) fn begin_round(&mut self, registry: &Registry, now: Instant) {
        (self.looks_left, self.page_left) = (AT_ONCE, AT_ONCE);
        if std::mem::take(&mut self.crowded) {
            self.accept(registry, now);
        }
    }

    /// The next request that this round answers.
    pub(super) fn next_request(&mut self) -> Option<Asked> {
        if let Some(first) = self.requests.pop_front() {
            return Some(first);
        }
        if self.looks_left > 0
            && let Some(look) = self.looks.pop_front()
        {
            self.looks_left -= 1;
            return Some(look);
        }
        if self.page_left == 0 {
            return None;
        }
        let asked = self.asked_inside()?;
        self.page_left -= 1;
        Some(asked)
    }

    /// Answers the request of a client; a client that left meanwhile is no error.
    pub(super) fn reply(&mut self, token: Token, response: &Response, now: Instant) {
        if self.reply_inside(token, response) {
            return;
        }
        let Some(client) = self.clients.get_mut(&token) else { return };
        client.outbox = response.to_line();
        client.asked = false;
        client.active_at = now;
        self.advance(token, now);
    }

    /// Drops clients that neither ask nor read.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.clients.retain(|_, client| {
            // Nothing to tell is not the client's fault.
            let listens = client.only_listens() && client.outbox.is_empty();
            let patience = if client.captures { CAPTURE_PATIENCE } else { PATIENCE };
            listens || now.saturating_duration_since(client.active_at) < patience
        });
    }

    fn accept(&mut self, registry: &Registry, now: Instant) {
        // A crowd at the door keeps no peer waiting for long.
        for _ in 0..CROWD {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::warn!(target: "status", event = "accept-failed", %error);
                    return;
                }
            };
            let rights = Rights::of(&stream, self.owner);
            self.admit(registry, stream, rights, now);
        }
        self.crowded = true;
    }

    /// Those who may only look never take the last places, nor one of them all of theirs: whoever may mend things always comes in.
    fn has_room(&self, rights: Rights) -> bool {
        Places { all: MAX_CLIENTS, looking: MAX_LOOKING, of_one: MAX_OF_ONE }
            .has_room(rights, self.clients.values().map(|client| client.rights))
    }

    fn admit(&mut self, registry: &Registry, mut stream: UnixStream, rights: Rights, now: Instant) {
        if !self.has_room(rights) {
            tracing::debug!(target: "status", event = "too-many-clients");
            let message = "too many clients of the control socket; try again in a moment".into();
            let refusal = Response::Refused { kind: RefusalKind::NotNow, message };
            // There is room for it in a new socket; and if not, it is closed as well.
            let _ = stream.write(&refusal.to_line());
            return;
        }
        let token = Token(self.next_client);
        self.next_client += 1;
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = registry.register(&mut stream, token, both) {
            tracing::warn!(target: "status", event = "accept-failed", %error);
            return;
        }
        let client = Client {
            stream,
            rights,
            inbox: Vec::new(),
            outbox: Vec::new(),
            asked: false,
            follow: None,
            captures: false,
            last_answer: false,
            active_at: now,
        };
        self.clients.insert(token, client);
        self.advance(token, now);
    }

    /// Sends what is to be sent, then reads up to the next whole request.
    fn advance(&mut self, token: Token, now: Instant) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        match client.progress(now) {
            Progress::Waiting => {}
            Progress::Line(line) => {
                client.asked = true;
                client.active_at = now;
                let request = Request::parse(&line).and_then(|asked| client.rights.check(asked));
                match client.rights {
                    Rights::All => self.requests.push_back((token, request)),
                    Rights::Look { .. } => self.looks.push_back((token, request)),
                }
            }
            Progress::TooLong => {
                client.last_answer = true;
                let kind = RefusalKind::BadRequest;
                let message = format!("a request has at most {MAX_REQUEST_LEN} octets");
                self.reply(token, &Response::Refused { kind, message }, now);
            }
            Progress::Gone => {
                self.clients.remove(&token);
            }
        }
    }
}

impl Client {
    /// It has asked all that it can.
    const fn only_listens(&self) -> bool {
        self.follow.is_some() || self.captures
    }

    fn progress(&mut self, now: Instant) -> Progress {
        if let Err(error) = self.flush(now) {
            return if error.kind() == io::ErrorKind::WouldBlock {
                Progress::Waiting
            } else {
                Progress::Gone
            };
        }
        if self.last_answer {
            return Progress::Gone;
        }
        if self.asked {
            return Progress::Waiting;
        }
        if self.only_listens() {
            self.inbox.clear();
        }
        let mut overheard = 0;
        loop {
            if let Some(end) = self.inbox.iter().position(|octet| *octet == b'\n') {
                let rest = self.inbox.split_off(end + 1);
                return Progress::Line(std::mem::replace(&mut self.inbox, rest));
            }
            if self.inbox.len() >= MAX_REQUEST_LEN {
                return Progress::TooLong;
            }
            let mut buffer = [0; 512];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Progress::Gone,
                // Who follows has asked all that it can; we only look whether it is still there.
                Ok(len) if self.only_listens() => {
                    overheard += len;
                    if overheard > MAX_OVERHEARD {
                        return Progress::Gone;
                    }
                }
                Ok(len) => {
                    // From its first octet to its end a request has `PATIENCE`, whatever trickles in.
                    if self.inbox.is_empty() {
                        self.active_at = now;
                    }
                    self.inbox.extend(buffer.iter().take(len));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Progress::Waiting;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Progress::Gone,
            }
        }
    }

    fn flush(&mut self, now: Instant) -> io::Result<()> {
        while !self.outbox.is_empty() {
            match self.stream.write(&self.outbox) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    self.active_at = now;
                    self.outbox.drain(..len);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.outbox = Vec::new();
        Ok(())
    }
}

/// What names the path.
const KEY: &str = "`control` in [gateway]";

/// Clients at a time; more are turned away at once.
const MAX_CLIENTS: usize = 64;

/// Of those, the ones that may only look.
const MAX_LOOKING: usize = 48;

/// Of those, the ones of one user.
const MAX_OF_ONE: usize = 16;

/// Requests in one round of those who may only look, and as many of the page.
const AT_ONCE: usize = 4;

/// Newcomers in one round.
const CROWD: usize = 64;

/// What one who only listens may say at once before it is hung up on, in octets: it would keep us reading.
const MAX_OVERHEARD: usize = 32 * 1024;

/// A client that sends no whole request, or takes no octet, for this long is dropped.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same for one who is sent packets: it may be a pager, or a terminal that somebody stopped.
const CAPTURE_PATIENCE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests;
