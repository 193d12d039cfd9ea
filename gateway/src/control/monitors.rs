//! Hosts behind peers that have to answer, or the connection counts as degraded.
//!
//! ```text
//!   control ──connections that are up, their monitors──► thread ── ICMP echo, TCP connect ──► kernel ──► TUN ──► peer
//!           ◄── Verdict: has failed, or answers again ───────┘
//!
//!   count   0 ─no─► 1 ─no─► 2 ─no─► 3 = fail_after: failed          every answer in time takes one away; at 0 it is well
//!                   1 ◄yes─ 2 ◄yes─ 3
//! ```
//!
//! In a thread of its own, so that what is measured is the tunnel and not what control does meanwhile; its questions are
//! packets like any other. Each monitor has at most one question under way, so at most one socket. A reset of TCP, an
//! ICMP error and an answer that comes too late count as none.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use super::Control;
use super::connection::{Connection, Phase};
use super::tunnel::inner_source;
use crate::clock;
use crate::config::{Monitor, MonitorKind};
use crate::dataplane::SlotId;
use crate::io::question::{Answer, Question};
use crate::status::reason;

/// Names a monitor for as long as its connection keeps its children: the first child of the connection, and its place there.
type MonitorId = (SlotId, usize);

/// The thread, as control sees it.
#[derive(Debug)]
pub(super) struct Monitors {
    /// Wakes control.
    waker: Arc<Waker>,
    /// Once there was something to watch.
    thread: Option<Thread>,
    /// What the thread was told last.
    told: BTreeMap<MonitorId, Watch>,
}

#[derive(Debug)]
struct Thread {
    orders: Sender<BTreeMap<MonitorId, Watch>>,
    verdicts: Receiver<Verdict>,
    waker: Waker,
}

/// What to watch, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Watch {
    monitor: Monitor,
    source: Option<IpAddr>,
}

/// A monitor has failed, or is well again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    id: MonitorId,
    failed: bool,
    latency: Option<Duration>,
}

/// What control knows of one monitor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) failed: bool,
}

impl Monitors {
    pub(super) const fn new(waker: Arc<Waker>) -> Self {
        Self { waker, thread: None, told: BTreeMap::new() }
    }

    /// Tells the thread what to watch, if that has changed.
    fn watch(&mut self, watches: BTreeMap<MonitorId, Watch>) {
        if watches == self.told {
            return;
        }
        if self.thread.is_none() {
            match start(Arc::clone(&self.waker)) {
                Ok(thread) => self.thread = Some(thread),
                Err(error) => {
                    tracing::error!(target: "gateway", event = "no-monitors", %error);
                    return;
                }
            }
        }
        if let Some(thread) = &self.thread {
            // It ends only with us.
            let _ = thread.orders.send(watches.clone());
            let _ = thread.waker.wake();
        }
        self.told = watches;
    }

    fn next_verdict(&self) -> Option<Verdict> {
        self.thread.as_ref()?.verdicts.try_recv().ok()
    }
}

impl Control {
    /// Once a second: watches the hosts behind the connections that are up.
    pub(super) fn watch_monitors(&mut self) {
        let mut watches = BTreeMap::new();
        for connection in &mut self.connections {
            let Some(slot) = connection.children.first().map(|child| child.slot) else { continue };
            let carries = matches!(connection.phase, Phase::Up { .. })
                && connection.children.iter().any(|child| !child.live.is_empty());
            if !carries {
                connection.monitors.fill(Health::default());
                continue;
            }
            connection.monitors.resize(connection.config.monitors.len(), Health::default());
            for (place, monitor) in connection.config.monitors.iter().enumerate() {
                let source = monitor_source(connection, monitor.target);
                watches.insert((slot, place), Watch { monitor: monitor.clone(), source });
            }
        }
        self.monitors.watch(watches);
    }

    /// What the thread found out.
    pub(super) fn take_verdicts(&mut self, now: Instant) {
        while let Some(Verdict { id: (slot, place), failed, latency }) =
            self.monitors.next_verdict()
        {
            let is_it = |c: &Connection| c.children.first().is_some_and(|child| child.slot == slot);
            let Some(index) = self.connections.iter().position(is_it) else { continue };
            let Some(connection) = self.connections.get_mut(index) else { continue };
            let (Some(health), Some(monitor)) =
                (connection.monitors.get_mut(place), connection.config.monitors.get(place))
            else {
                continue;
            };
            if health.failed == failed {
                continue;
            }
            health.failed = failed;
            let (conn, target) = (&connection.config.name, monitor.target);
            let millis = latency.map(|latency| latency.as_millis());
            if failed {
                let explained = reason::monitor_failed(&described(monitor));
                tracing::warn!(
                    target: "ike", event = "monitor-failed", %conn, monitor = %target,
                    code = explained.code, msg = explained.message, fix = explained.fix
                );
            } else {
                tracing::info!(target: "ike", event = "monitor-ok", %conn, monitor = %target, millis);
            }
            connection.refresh(now, clock::wall());
            self.on_standing(index, now);
        }
    }
}

impl Connection {
    /// The first monitor that has failed.
    pub(super) fn failed_monitor(&self) -> Option<&Monitor> {
        let place = self.monitors.iter().position(|health| health.failed)?;
        self.config.monitors.get(place)
    }
}

/// The address to ask from: the management address, or one of ours inside the local networks.
pub(super) fn monitor_source(connection: &Connection, target: IpAddr) -> Option<IpAddr> {
    let managed = connection.config.management_ip.filter(|ours| ours.is_ipv4() == target.is_ipv4());
    managed.or_else(|| inner_source(&connection.config, target.into()))
}

/// `10.2.0.1`, `10.2.0.1 port 443`.
pub(super) fn described(monitor: &Monitor) -> String {
    match monitor.kind {
        MonitorKind::Icmp => monitor.target.to_string(),
        MonitorKind::Tcp(port) => format!("{} port {port}", monitor.target),
    }
}

fn start(control: Arc<Waker>) -> io::Result<Thread> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKER)?;
    let (orders, orders_out) = channel();
    let (verdicts_in, verdicts) = channel();
    let watcher = Watcher { poll, tokens: 0, watched: BTreeMap::new() };
    // It is not joined: it ends when `orders` is dropped, or with the process.
    thread::Builder::new().name("monitors".to_owned()).spawn(move || {
        watcher.run(&orders_out, |verdict| {
            verdicts_in.send(verdict).is_ok() && control.wake().is_ok()
        });
    })?;
    Ok(Thread { orders, verdicts, waker })
}

/// What the thread has.
struct Watcher {
    poll: Poll,
    tokens: usize,
    watched: BTreeMap<MonitorId, Watched>,
}

struct Watched {
    watch: Watch,
    counter: Counter,
    next_at: Instant,
    /// Under way: the question, its token, and when it was asked.
    asked: Option<(Question, Token, Instant)>,
    /// It could not be asked, which is no answer.
    unasked: bool,
}

/// There was no answer in time.
struct NoAnswer;

impl Watcher {
    fn run(
        mut self,
        orders: &Receiver<BTreeMap<MonitorId, Watch>>,
        tell: impl Fn(Verdict) -> bool,
    ) {
        use std::sync::mpsc::TryRecvError;
        let mut events = Events::with_capacity(64);
        loop {
            crate::fault::point("monitors");
            let now = clock::now();
            let timeout = self.watched.values().map(Watched::deadline).min();
            let timeout =
                timeout.map(|at| at.saturating_duration_since(now) + Duration::from_millis(1));
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
                Ok(()) | Err(_) => {}
            }
            match orders.try_recv() {
                Ok(watches) => self.take(watches),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
            let ready: Vec<Token> = events.iter().map(mio::event::Event::token).collect();
            if !self.go_on(&ready, &tell) {
                return;
            }
        }
    }

    /// Those that are watched already go on.
    fn take(&mut self, mut watches: BTreeMap<MonitorId, Watch>) {
        self.watched.retain(|id, watched| watches.get(id) == Some(&watched.watch));
        watches.retain(|id, _| !self.watched.contains_key(id));
        for (id, watch) in watches {
            let counter = Counter::default();
            let (next_at, asked, unasked) = (clock::now(), None, false);
            self.watched.insert(id, Watched { watch, counter, next_at, asked, unasked });
        }
    }

    /// Looks at the questions that may have been answered, gives up on those that are late, asks anew.
    fn go_on(&mut self, ready: &[Token], tell: &impl Fn(Verdict) -> bool) -> bool {
        let now = clock::now();
        for (id, watched) in &mut self.watched {
            let unasked = std::mem::take(&mut watched.unasked);
            let answer = watched.answer(ready, now).or(unasked.then_some(Err(NoAnswer)));
            if let Some(answer) = answer {
                let latency = answer.ok();
                watched.asked = None;
                let verdict =
                    watched.counter.take(latency.is_some(), watched.watch.monitor.fail_after);
                if let Some(failed) = verdict
                    && !tell(Verdict { id: *id, failed, latency })
                {
                    return false;
                }
            }
            if watched.asked.is_none() && watched.next_at <= now {
                self.tokens += 1;
                let token = Token(self.tokens);
                watched.ask(self.poll.registry(), token, now);
            }
        }
        true
    }
}

impl Watched {
    /// When there is something to do.
    fn deadline(&self) -> Instant {
        match &self.asked {
            Some((_, _, at)) => *at + self.watch.monitor.max_latency,
            None => self.next_at,
        }
    }

    /// How long the answer took, or that there was none; nothing while there may be one.
    fn answer(&self, ready: &[Token], now: Instant) -> Option<Result<Duration, NoAnswer>> {
        let (question, token, at) = self.asked.as_ref()?;
        let took = now.saturating_duration_since(*at);
        let is_late = took > self.watch.monitor.max_latency;
        if !is_late && !ready.contains(token) {
            return None;
        }
        match question.look() {
            Answer::Yes if !is_late => Some(Ok(took)),
            Answer::None if !is_late => None,
            Answer::Yes | Answer::None | Answer::No => Some(Err(NoAnswer)),
        }
    }

    fn ask(&mut self, registry: &mio::Registry, token: Token, now: Instant) {
        let Watch { monitor, source } = &self.watch;
        self.next_at = now + monitor.interval;
        let question = match monitor.kind {
            MonitorKind::Icmp => Question::echo(*source, monitor.target),
            MonitorKind::Tcp(port) => {
                Question::connect(*source, SocketAddr::new(monitor.target, port))
            }
        };
        let asked = question.and_then(|question| {
            question.register(registry, token)?;
            Ok(question)
        });
        match asked {
            Ok(question) => self.asked = Some((question, token, now)),
            Err(error) => {
                let target = monitor.target;
                tracing::debug!(target: "ike", event = "monitor-cannot-ask", monitor = %target, %error);
                self.unasked = true;
            }
        }
    }
}

/// The leaky counter of one monitor.
#[derive(Debug, Default)]
struct Counter {
    count: u32,
    failed: bool,
}

impl Counter {
    /// Counts an answer, or that there was none; says so if that changes what is thought of the host.
    fn take(&mut self, answered: bool, fail_after: u32) -> Option<bool> {
        self.count = if answered {
            self.count.saturating_sub(1)
        } else {
            self.count.saturating_add(1).min(fail_after)
        };
        let failed = self.count >= fail_after || (self.failed && self.count > 0);
        let changed = failed != self.failed;
        self.failed = failed;
        changed.then_some(failed)
    }
}

const WAKER: Token = Token(0);

#[cfg(test)]
mod tests {
    use super::*;

    fn after(answers: &str, fail_after: u32) -> Vec<bool> {
        let mut counter = Counter::default();
        answers.chars().filter_map(|c| counter.take(c == 'y', fail_after)).collect()
    }

    #[test]
    fn answers_take_away_what_their_absence_added() {
        assert_eq!(after("nnn", 3), [true]);
        assert_eq!(after("nnynyn", 3), [] as [bool; 0]);
        assert_eq!(after("nnynn", 3), [true], "every second one lost is two of three at last");
        assert_eq!(after("nnnyy", 3), [true]);
        assert_eq!(after("nnnnnnyyy", 3), [true, false], "a long outage does not count for longer");
        assert_eq!(after("nnnyynyyn", 3), [true, false]);
        assert_eq!(after("nyn", 1), [true, false, true]);
    }

    #[test]
    fn a_host_that_stops_to_answer_is_told_of_once_and_so_is_its_return() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
        let there = listener.local_addr().expect("an address");
        let poll = Poll::new().expect("a poll");
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).expect("a waker"));
        let mut monitors = Monitors::new(waker);
        let monitor = Monitor {
            kind: MonitorKind::Tcp(there.port()),
            target: there.ip(),
            interval: Duration::from_millis(20),
            fail_after: 3,
            max_latency: Duration::from_secs(1),
        };
        let id = (SlotId(7), 0);
        monitors.watch(BTreeMap::from([(id, Watch { monitor, source: None })]));
        let thread = monitors.thread.as_ref().expect("runs");
        let verdict = || thread.verdicts.recv_timeout(Duration::from_secs(10)).expect("a verdict");
        drop(listener);
        let Verdict { id: about, failed, latency } = verdict();
        assert_eq!((about, failed, latency), (id, true, None));
        let _listener = std::net::TcpListener::bind(there).expect("listens again");
        let back = verdict();
        assert!(!back.failed && back.latency.is_some(), "{back:?}");
        monitors.watch(BTreeMap::new());
    }
}
