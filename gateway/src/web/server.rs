//! The loop: accepts, reads requests, sends answers and news; never waits for any client.
//!
//! ```text
//!   accept ──► Reading ──request──► Answering ──► Reading ..     one request after the other
//!                 │                 Waiting ──────┘              control is asked
//!                 │                 Watching                     news until it hangs up
//!                 └─ too slow, too long, too many ──► Leaving    the answer is sent, what still comes is thrown away
//!
//!   a round:  events ──► ready ──► advance, AT_ONCE requests each ──► ready again: the next round, without an event
//! ```
//!
//! Bounds: [`MAX_CLIENTS`], of which [`MAX_WATCHERS`] may watch; one request and one answer each; [`TO_ASK`] for a whole
//! request, whatever trickles in. When all places are taken a newcomer gets that of the client that has been asking for the
//! longest time: whoever asks at once is always served.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};

use super::access::Access;
use super::api::{self, Answer, Asked};
use super::http::{MAX_BODY, MAX_HEAD, Method, Parsed, Request, Response, STREAM, parse};
use super::hub::{Hub, View};
use super::line::{Asker, Line, Word, line};
use super::stream::STILL;
use crate::clock;
use crate::io::stream::{Listener, Stream};
use crate::status::protocol;
use crate::sys::privileges;

/// Everything that the thread owns.
pub(super) struct Server {
    poll: Poll,
    listeners: Vec<Listener>,
    clients: BTreeMap<Token, Client>,
    next_client: usize,
    asker: Asker,
    access: Access,
    hub: Hub,
    /// The request for a snapshot that is not answered yet, and since when.
    asked: Option<(usize, Instant)>,
    /// Who waits for which answer.
    waiting: BTreeMap<usize, Token>,
    tick_at: Instant,
    /// More newcomers wait.
    crowded: bool,
    /// Who has a turn in the next round, whether or not epoll says more of it: it tells what comes, not what is there.
    ready: BTreeSet<Token>,
}

struct Client {
    stream: Stream,
    inbox: Vec<u8>,
    outbox: VecDeque<Arc<[u8]>>,
    /// How much of the first of `outbox` is sent.
    sent: usize,
    stage: Stage,
    /// When it has to be through with what it does.
    until: Instant,
}

/// What a client does.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// It asks, or is about to.
    Reading,
    /// Control is asked for it.
    Waiting { asked: Asked, head_only: bool, keeps: bool },
    /// It is sent an answer; then it may ask again, or goes.
    Answering { keeps: bool },
    /// It is told what changes; it has everything up to `since`.
    Watching { view: View, since: u64, told: Instant },
    /// It was told why it has to go.
    Leaving,
}

/// What became of a client.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Waiting,
    /// It has had its turn, and may have asked more.
    Later,
    Asks(Box<Request>),
    Refused(u16, &'static str),
    Gone,
}

impl Server {
    pub(super) fn new(
        mut listeners: Vec<Listener>,
        access: Access,
        control: Arc<Waker>,
    ) -> io::Result<(Self, Line)> {
        let poll = Poll::new()?;
        for (index, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(listener, Token(index), Interest::READABLE)?;
        }
        let (asker, line) = line(control, poll.registry(), WAKER)?;
        let next_client = listeners.len();
        let server = Self {
            poll,
            listeners,
            clients: BTreeMap::new(),
            next_client,
            asker,
            access,
            hub: Hub::default(),
            asked: None,
            waiting: BTreeMap::new(),
            tick_at: clock::now(),
            crowded: false,
            ready: BTreeSet::new(),
        };
        Ok((server, line))
    }

    /// Serves until control hangs up.
    pub(super) fn run(mut self) {
        if let Err(error) = privileges::drop_all() {
            tracing::error!(target: "web", event = "broken", what = "cannot drop privileges", %error);
            return;
        }
        let mut events = Events::with_capacity(256);
        while self.round(&mut events) {}
    }

    /// Waits for what happens, and gives everybody a turn; false if control is gone.
    pub(super) fn round(&mut self, events: &mut Events) -> bool {
        // epoll counts whole milliseconds.
        let quiet = self.tick_at.saturating_duration_since(clock::now());
        let busy = self.crowded || !self.ready.is_empty();
        let pause = if busy { Duration::ZERO } else { quiet + Duration::from_millis(1) };
        match self.poll.poll(events, Some(pause)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                tracing::error!(target: "web", event = "broken", what = "cannot wait", %error);
                return false;
            }
            _ => {}
        }
        let now = clock::now();
        for event in &*events {
            match event.token() {
                WAKER => {}
                Token(index) if index < self.listeners.len() => self.accept(now, index),
                token => drop(self.ready.insert(token)),
            }
        }
        for token in std::mem::take(&mut self.ready) {
            self.advance(now, token);
        }
        if std::mem::take(&mut self.crowded) {
            (0..self.listeners.len()).for_each(|index| self.accept(now, index));
        }
        if !self.listen_to_control(now) {
            return false;
        }
        if self.tick_at <= now {
            self.tick_at = now + TICK;
            self.tick(now);
        }
        true
    }

    /// Once a second: asks for a snapshot, sends away who is late. What could not be accepted before is tried again.
    fn tick(&mut self, now: Instant) {
        let given_up =
            self.asked.is_some_and(|(_, at)| now.saturating_duration_since(at) > TO_ANSWER);
        if self.asked.is_none() || given_up {
            self.asked = self.asker.ask(protocol::Request::Status).map(|number| (number, now));
        }
        let late: Vec<Token> = self
            .clients
            .iter()
            .filter(|(_, one)| one.until <= now)
            .map(|(token, _)| *token)
            .collect();
        for token in late {
            self.expire(now, token);
        }
        for index in 0..self.listeners.len() {
            self.accept(now, index);
        }
        let clients = &self.clients;
        let watches = |client: &Client, wanted: &View| matches!(&client.stage, Stage::Watching { view, .. } if view == wanted);
        self.hub.retain(|view| clients.values().any(|client| watches(client, view)));
    }

    /// A client has used up its time.
    fn expire(&mut self, now: Instant, token: Token) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        match client.stage {
            Stage::Reading if !client.inbox.is_empty() => {
                client.refuse(now, 408, "a request has to be complete within ten seconds");
                self.advance(now, token);
            }
            Stage::Waiting { .. } => {
                client.refuse(now, 504, "the gateway does not answer");
                self.advance(now, token);
            }
            Stage::Watching { .. } if client.outbox.is_empty() => client.until = now + TO_TAKE,
            Stage::Reading | Stage::Answering { .. } | Stage::Watching { .. } | Stage::Leaving => {
                self.clients.remove(&token);
            }
        }
    }

    /// Takes what control has said; false if it is gone.
    fn listen_to_control(&mut self, now: Instant) -> bool {
        loop {
            match self.asker.heard() {
                Err(()) => return false,
                Ok(None) => return true,
                Ok(Some(Word::Access(access))) => self.access = access,
                Ok(Some(Word::Answer(number, said))) => {
                    if self.asked.is_some_and(|(asked, _)| asked == number) {
                        self.asked = None;
                        if let protocol::Response::Status { snapshot } = said {
                            self.hub.note(snapshot, now, self.access.can_act());
                            self.tell_watchers(now);
                        }
                    } else if let Some(token) = self.waiting.remove(&number) {
                        self.deliver(now, token, said);
                    }
                }
            }
        }
    }

    /// Hands an answer of control on to the client that asked for it.
    fn deliver(&mut self, now: Instant, token: Token, said: protocol::Response) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let Stage::Waiting { asked, head_only, keeps } = &client.stage else { return };
        let (asked, head_only, keeps) = (asked.clone(), *head_only, *keeps);
        let is_button = matches!(asked, Asked::Done { .. });
        let response = api::answered(said, asked, &self.hub, &self.access, now);
        client.answer(now, &response, head_only, keeps);
        // Not at once: who is answered as fast as it asks would keep us here.
        self.ready.insert(token);
        // Whoever pressed a button wants to see what it does.
        if is_button {
            self.tick_at = now;
        }
    }

    fn tell_watchers(&mut self, now: Instant) {
        let watching = |client: &&mut Client| matches!(client.stage, Stage::Watching { .. });
        let mut told = Vec::new();
        for (token, client) in &mut self.clients {
            if watching(&&mut *client) && client.tell(now, &mut self.hub) {
                told.push(*token);
            }
        }
        for token in told {
            self.advance(now, token);
        }
    }

    fn accept(&mut self, now: Instant, index: usize) {
        // A crowd at the door keeps nobody inside waiting for long.
        for _ in 0..CROWD {
            let Some(listener) = self.listeners.get(index) else { return };
            let mut stream = match listener.accept() {
                Ok(stream) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It went before we came; or there is no descriptor left, then the next second tries again.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    tracing::debug!(target: "web", event = "accept-failed", %error);
                    return;
                }
            };
            let has_room = self.make_room(now);
            let token = Token(self.next_client);
            self.next_client += 1;
            let both = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, token, both).is_err() {
                continue;
            }
            let mut client = Client {
                stream,
                inbox: Vec::new(),
                outbox: VecDeque::new(),
                sent: 0,
                stage: Stage::Reading,
                until: now + TO_ASK,
            };
            if !has_room {
                client.refuse(now, 503, "too many clients; try again in a moment");
            }
            self.clients.insert(token, client);
            self.advance(now, token);
        }
        self.crowded = true;
    }

    /// Makes a place for a newcomer: that of the one who has been asking for the longest time. Those who leave have places of
    /// their own, and not many. False if all have work to do.
    fn make_room(&mut self, now: Instant) -> bool {
        let (mut leaving, mut asking, mut staying) = (Vec::new(), None, 0);
        for (token, client) in &self.clients {
            match client.stage {
                Stage::Leaving => leaving.push(*token),
                Stage::Reading if asking.is_none_or(|(_, until)| client.until < until) => {
                    asking = Some((*token, client.until));
                    staying += 1;
                }
                Stage::Reading
                | Stage::Waiting { .. }
                | Stage::Answering { .. }
                | Stage::Watching { .. } => staying += 1,
            }
        }
        let too_many = (leaving.len() + 1).saturating_sub(MAX_LEAVING);
        for token in leaving.into_iter().take(too_many) {
            self.clients.remove(&token);
        }
        if staying < MAX_CLIENTS {
            return true;
        }
        let Some((token, _)) = asking else { return false };
        if let Some(client) = self.clients.get_mut(&token) {
            client.refuse(now, 503, "too many clients, and this one asked for nothing; try again");
            self.advance(now, token);
        }
        true
    }

    /// Lets a client go on as far as it comes, and for [`AT_ONCE`] requests at most: others have their turn, too.
    fn advance(&mut self, now: Instant, token: Token) {
        let mut left = AT_ONCE;
        loop {
            let Some(client) = self.clients.get_mut(&token) else { return };
            match client.progress(now, left > 0) {
                Progress::Waiting => return,
                Progress::Later => {
                    self.ready.insert(token);
                    return;
                }
                Progress::Gone => {
                    self.clients.remove(&token);
                    return;
                }
                Progress::Refused(status, sentence) => client.refuse(now, status, sentence),
                Progress::Asks(request) => {
                    left -= 1;
                    self.serve(now, token, &request);
                }
            }
        }
    }

    fn serve(&mut self, now: Instant, token: Token, request: &Request) {
        let watchers =
            self.clients.values().filter(|one| matches!(one.stage, Stage::Watching { .. })).count();
        let answer = api::answer(request, &self.hub, &self.access, now);
        let Some(client) = self.clients.get_mut(&token) else { return };
        let head_only = request.method == Method::Head;
        match answer {
            Answer::Now(response) => client.answer(now, &response, head_only, request.keeps),
            Answer::Ask(asked, then) => match self.asker.ask(asked) {
                Some(number) => {
                    client.stage = Stage::Waiting { asked: then, head_only, keeps: request.keeps };
                    client.until = now + TO_ANSWER;
                    self.waiting.insert(number, token);
                }
                None => client.refuse(now, 503, "the gateway is busy; try again in a moment"),
            },
            Answer::Stream(_) if watchers >= MAX_WATCHERS => {
                client.refuse(now, 503, "too many watch already; try again in a moment");
            }
            Answer::Stream(view) => {
                self.hub.watch(&view, self.access.can_act());
                let head = Response::new(200, STREAM, "retry: 2000\n\n");
                client.send(head.stream_octets(clock::wall()).into());
                client.stage = Stage::Watching { view, since: 0, told: now };
                client.until = now + TO_TAKE;
                client.add_news(now, &mut self.hub);
            }
        }
    }
}

impl Client {
    fn send(&mut self, octets: Arc<[u8]>) {
        self.outbox.push_back(octets);
    }

    fn answer(&mut self, now: Instant, response: &Response, head_only: bool, keeps: bool) {
        self.send(response.octets(clock::wall(), head_only, keeps).into());
        self.stage = Stage::Answering { keeps };
        self.until = now + TO_TAKE;
    }

    /// Its last answer.
    fn refuse(&mut self, now: Instant, status: u16, sentence: &str) {
        self.send(Response::say(status, sentence).octets(clock::wall(), false, false).into());
        self.stage = Stage::Leaving;
        self.until = now + TO_LEAVE;
        self.inbox = Vec::new();
    }

    /// Puts in the outbox what has changed, unless something is there still; whether there is something to send now.
    fn tell(&mut self, now: Instant, hub: &mut Hub) -> bool {
        self.outbox.is_empty() && self.add_news(now, hub)
    }

    /// Puts what has changed behind what is in the outbox.
    fn add_news(&mut self, now: Instant, hub: &mut Hub) -> bool {
        let Stage::Watching { view, since, told } = &mut self.stage else { return false };
        let (version, frame) = hub.frame(view, *since);
        *since = version;
        let silent = now.saturating_duration_since(*told) >= STILL_AFTER;
        let octets = frame.or_else(|| silent.then(|| STILL.into()));
        let Some(octets) = octets else { return false };
        *told = now;
        self.until = now + TO_TAKE;
        self.outbox.push_back(octets);
        true
    }

    /// Sends, then reads, if it `may_ask` yet.
    fn progress(&mut self, now: Instant, may_ask: bool) -> Progress {
        match self.flush() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.overhear(),
            Err(_) => return Progress::Gone,
        }
        match &mut self.stage {
            Stage::Answering { keeps: true } => {
                self.stage = Stage::Reading;
                self.until = now + if self.inbox.is_empty() { TO_ASK_AGAIN } else { TO_ASK };
                if may_ask { self.read() } else { Progress::Later }
            }
            Stage::Answering { keeps: false } => {
                self.stage = Stage::Leaving;
                self.until = now + TO_LEAVE;
                self.overhear()
            }
            Stage::Reading => self.read(),
            Stage::Leaving | Stage::Watching { .. } => self.overhear(),
            // A client that hangs up now is noticed when it is answered.
            Stage::Waiting { .. } => Progress::Waiting,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some(first) = self.outbox.front() {
            let rest = first.get(self.sent..).unwrap_or_default();
            if rest.is_empty() {
                self.outbox.pop_front();
                self.sent = 0;
                continue;
            }
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.stage == Stage::Leaving {
            // What it still sends is read for a while: a connection that is closed on unread octets takes the answer along.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    /// Reads up to the next whole request.
    fn read(&mut self) -> Progress {
        let mut buffer = [0; 4096];
        loop {
            if !self.inbox.is_empty() {
                match parse(&self.inbox) {
                    Parsed::More => {}
                    Parsed::Bad(status, sentence) => return Progress::Refused(status, sentence),
                    Parsed::Whole(request, used) => {
                        self.inbox.drain(..used);
                        return Progress::Asks(request);
                    }
                }
            }
            if self.inbox.len() > MAX_HEAD + MAX_BODY {
                return Progress::Refused(431, "a request has at most 8 KiB");
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Progress::Gone,
                Ok(len) => self.inbox.extend(buffer.iter().take(len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Progress::Waiting;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Progress::Gone,
            }
        }
    }

    /// Throws away what comes, and sees when the client hangs up. So much at a time that others have their turn.
    fn overhear(&mut self) -> Progress {
        if matches!(self.stage, Stage::Reading | Stage::Answering { .. } | Stage::Waiting { .. }) {
            return Progress::Waiting;
        }
        let mut buffer = [0; 4096];
        for _ in 0..256 {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Progress::Gone,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Progress::Waiting;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Progress::Gone,
            }
        }
        Progress::Gone
    }
}

/// The first client's token is behind those of the listeners.
const WAKER: Token = Token(usize::MAX - 1);

/// A snapshot is asked for this often.
const TICK: Duration = Duration::from_secs(1);

/// Clients at a time, besides those that leave.
pub(super) const MAX_CLIENTS: usize = 400;

/// Of those, the ones that watch.
pub(super) const MAX_WATCHERS: usize = 300;

/// Those that were told to go and have not gone.
const MAX_LEAVING: usize = 64;

/// Requests of one client in one round.
pub(super) const AT_ONCE: usize = 4;

/// Newcomers in one round.
const CROWD: usize = 64;

/// From the first octet, or from the beginning of the connection, to the end of a request.
const TO_ASK: Duration = Duration::from_secs(10);

/// From one answer to the next request.
const TO_ASK_AGAIN: Duration = Duration::from_secs(30);

/// For control to answer.
const TO_ANSWER: Duration = Duration::from_secs(10);

/// For a client to take what it is sent.
const TO_TAKE: Duration = Duration::from_secs(20);

/// For a client to hang up.
const TO_LEAVE: Duration = Duration::from_secs(2);

/// A watcher hears that much silence before it is told that there is nothing to tell: what is between may close what is idle.
const STILL_AFTER: Duration = Duration::from_secs(15);
