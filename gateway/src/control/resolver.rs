//! Resolves the names of peers in a thread of its own: the system's resolver may take half a minute, control never waits.
//!
//! ```text
//!   control ──name──► queue ──► resolver thread ──getaddrinfo──► answer queue ──► control, woken by its mio::Waker
//! ```
//!
//! A name is in the queue at most once, so both queues are as long as there are names in the configuration, and a few more:
//! those that peers send us to (RFC 5685), one for each connection, while they are wanted. Peers choose them as they like,
//! so only so many of them are asked for at a time ([`ASKED_MAX`]).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::sys::privileges;

/// The names of all peers and what is known of each.
#[derive(Debug)]
pub(super) struct Resolver {
    names: BTreeMap<String, Name>,
    /// Those in the queue or with the thread.
    asked: BTreeSet<String>,
    queries: Sender<String>,
    answers: Receiver<Answer>,
    /// Where names led before this start, of those that have had no answer since.
    former: BTreeMap<String, IpAddr>,
    /// When those are used without one.
    patient_until: Instant,
    /// What the thread will need; it is started when there is the first name to ask for.
    idle: Option<Idle>,
}

struct Idle {
    queries: Receiver<String>,
    answers: Sender<Answer>,
    waker: Arc<mio::Waker>,
}

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Idle")
    }
}

/// What is known of one name.
#[derive(Debug)]
struct Name {
    /// The last good answer; kept while later ones fail.
    addresses: Vec<IpAddr>,
    /// Why the last query failed.
    failure: Option<String>,
    /// When to ask next; `None` while a query is under way.
    ask_at: Option<Instant>,
    /// A peer sent us there; the configuration does not know it.
    is_passing: bool,
}

impl Name {
    const fn unknown(now: Instant, is_passing: bool) -> Self {
        Self { addresses: Vec::new(), failure: None, ask_at: Some(now), is_passing }
    }
}

struct Answer {
    name: String,
    result: io::Result<Vec<IpAddr>>,
}

impl Resolver {
    /// Starts the thread if there are names at all, and asks for each of them.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn start(
        names: impl Iterator<Item = String>,
        waker: Arc<mio::Waker>,
        now: Instant,
    ) -> io::Result<Self> {
        let names: BTreeMap<String, Name> =
            names.map(|name| (name, Name::unknown(now, false))).collect();
        let (queries, queries_out) = channel::<String>();
        let (answers_in, answers) = channel();
        let idle = Some(Idle { queries: queries_out, answers: answers_in, waker });
        let (former, patient_until) = (BTreeMap::new(), now + PATIENCE);
        let asked = BTreeSet::new();
        let mut resolver = Self { names, asked, queries, answers, former, patient_until, idle };
        // Also without names: started later it would have the files of the control thread alone, and not those of DNS.
        resolver.run()?;
        Ok(resolver)
    }

    /// Where a name led before this start: it is used when nobody can say, or says it soon, where it leads now.
    pub(super) fn recall(&mut self, name: &str, address: IpAddr) {
        self.former.insert(name.to_owned(), address);
    }

    /// Uses what was known before where there is nothing better; true if there was such a name.
    fn fall_back(&mut self, now: Instant) -> bool {
        let mut used = false;
        let late = now >= self.patient_until;
        self.former.retain(|name, address| {
            let Some(state) = self.names.get_mut(name) else { return false };
            if !state.addresses.is_empty() || !late && state.failure.is_none() {
                return state.addresses.is_empty();
            }
            tracing::warn!(
                target: "gateway", event = "former-address", name, %address,
                msg = "a name has no address at this start; the last one at which the peer was is used"
            );
            state.addresses = vec![*address];
            used = true;
            false
        });
        used
    }

    /// Starts the thread, unless it runs.
    fn run(&mut self) -> io::Result<()> {
        let Some(Idle { queries, answers, waker }) = self.idle.take() else { return Ok(()) };
        // It is not joined: it ends when `queries` is dropped, or with the process in the midst of a query.
        let thread = thread::Builder::new().name("resolver".to_owned());
        thread.spawn(move || {
            if let Err(error) = privileges::drop_all() {
                tracing::warn!(target: "gateway", event = "privileges-kept", %error);
            }
            for name in queries {
                crate::fault::point("resolver");
                let result = look_up(&name);
                if answers.send(Answer { name, result }).is_err() || waker.wake().is_err() {
                    return;
                }
            }
        })?;
        Ok(())
    }

    /// These are the names of the configuration now, and no others any more.
    pub(super) fn reconfigure(&mut self, wanted: impl Iterator<Item = String>, now: Instant) {
        let wanted: BTreeSet<String> = wanted.collect();
        self.names.retain(|name, state| state.is_passing || wanted.contains(name));
        for name in wanted {
            let unknown = Name::unknown(now, false);
            self.names.entry(name).or_insert(unknown).is_passing = false;
        }
        self.ask_now(now);
    }

    /// These names, beside those of the configuration, are wanted now, and no others any more.
    pub(super) fn ask_for<'n>(&mut self, wanted: impl Iterator<Item = &'n str>, now: Instant) {
        let wanted: BTreeSet<&str> = wanted.collect();
        self.names.retain(|name, state| !state.is_passing || wanted.contains(name.as_str()));
        if wanted.is_empty() {
            return;
        }
        for name in wanted {
            if !self.names.contains_key(name) {
                self.names.insert(name.to_owned(), Name::unknown(now, true));
            }
        }
        self.ask_now(now);
    }

    fn ask_now(&mut self, now: Instant) {
        if self.names.is_empty() {
            return;
        }
        if let Err(error) = self.run() {
            tracing::warn!(target: "gateway", event = "resolve-failed", %error);
        }
        self.handle_timeout(now);
    }

    /// Asks for every name that is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let configured = self.names.values().filter(|state| !state.is_passing).count();
        for (name, state) in &mut self.names {
            let is_due = state.ask_at.is_some_and(|at| at <= now) && !self.asked.contains(name);
            let has_room = !state.is_passing || self.asked.len() < configured + ASKED_MAX;
            if is_due && has_room && self.queries.send(name.clone()).is_ok() {
                self.asked.insert(name.clone());
                state.ask_at = None;
            }
        }
    }

    /// Takes the answers that came; true if any name has other addresses than before, or failed for the first time.
    pub(super) fn take_answers(&mut self, now: Instant) -> bool {
        let mut changed = false;
        while let Ok(Answer { name, result }) = self.answers.try_recv() {
            self.asked.remove(&name);
            let Some(state) = self.names.get_mut(&name) else { continue };
            match result {
                Ok(addresses) => {
                    if state.addresses != addresses {
                        tracing::info!(target: "gateway", event = "resolved", name, ?addresses);
                        changed = true;
                    }
                    state.addresses = addresses;
                    state.failure = None;
                    state.ask_at = Some(now + REFRESH);
                }
                Err(error) => {
                    let why = format!("cannot resolve {name}: {error}");
                    if state.failure.is_none() {
                        tracing::warn!(
                            target: "gateway", event = "resolve-failed", name, %error,
                            kept = state.addresses.len()
                        );
                        changed = true;
                    }
                    state.failure = Some(why);
                    state.ask_at = Some(now + RETRY);
                }
            }
        }
        self.fall_back(now) || changed
    }

    /// Asks soon, because the address that we have does not answer.
    pub(super) fn hurry(&mut self, name: &str, now: Instant) {
        if let Some(Name { ask_at: Some(at), .. }) = self.names.get_mut(name) {
            *at = (*at).min(now + HURRY);
        }
    }

    /// The last good addresses of a name; empty if there never was an answer.
    pub(super) fn addresses(&self, name: &str) -> &[IpAddr] {
        self.names.get(name).map_or(&[], |state| &state.addresses)
    }

    /// Why the name has no addresses, if a query failed.
    pub(super) fn failure(&self, name: &str) -> Option<&str> {
        self.names.get(name)?.failure.as_deref()
    }
}

/// At most four addresses, each once, in the resolver's order.
fn look_up(name: &str) -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in (name, 0).to_socket_addrs()?.map(|address| address.ip()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.truncate(MAX_ADDRESSES);
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

/// A peer that moves to another address is followed within a minute.
const REFRESH: Duration = Duration::from_secs(30);

/// After the start: so long the last known addresses wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// After a failure: soon enough for a resolver that starts after us, rare enough for one that is broken.
const RETRY: Duration = Duration::from_secs(5);

/// Attempts that fail in quick succession ask at this pace at most.
const HURRY: Duration = Duration::from_secs(2);

/// So many names that peers chose wait for the thread at most.
const ASKED_MAX: usize = 16;

/// More than this many addresses of one peer are not tried.
const MAX_ADDRESSES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_name_is_resolved_and_a_failure_keeps_the_last_good_address() {
        let mut poll = mio::Poll::new().expect("a poll");
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker"));
        let now = clock::now();
        let mut resolver =
            Resolver::start(std::iter::once("localhost".to_owned()), waker, now).expect("starts");
        assert_eq!(resolver.addresses("localhost"), &[] as &[IpAddr]);
        resolver.handle_timeout(now);
        let mut events = mio::Events::with_capacity(4);
        while resolver.addresses("localhost").is_empty() {
            poll.poll(&mut events, Some(Duration::from_secs(10))).expect("polls");
            assert!(!events.is_empty(), "no answer in ten seconds");
            resolver.take_answers(now);
        }
        assert!(resolver.addresses("localhost").iter().all(IpAddr::is_loopback));

        let (failing, answers) = channel();
        resolver.answers = answers;
        let error = io::Error::other("the resolver is down");
        failing.send(Answer { name: "localhost".into(), result: Err(error) }).expect("sends");
        assert!(resolver.take_answers(now));
        assert!(!resolver.addresses("localhost").is_empty(), "the last good address is gone");
        assert!(resolver.failure("localhost").is_some_and(|why| why.contains("is down")));
    }

    #[test]
    fn a_name_without_an_answer_leads_where_it_led_before() {
        let poll = mio::Poll::new().expect("a poll");
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker"));
        let now = clock::now();
        let mut resolver = Resolver::start(std::iter::empty(), waker, now).expect("starts");
        let (queries, _asked) = channel();
        let (answering, answers) = channel();
        (resolver.queries, resolver.answers, resolver.idle) = (queries, answers, None);
        let names = ["good.test", "late.test", "lost.test", "new.test"].map(str::to_owned);
        resolver.reconfigure(names.into_iter(), now);
        let [former, fresh]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        for name in ["good.test", "late.test", "lost.test", "stranger.test"] {
            resolver.recall(name, former);
        }
        let answer = |name: &str, result| Answer { name: name.to_owned(), result };
        answering.send(answer("good.test", Ok(vec![fresh]))).expect("sends");
        answering.send(answer("lost.test", Err(io::Error::other("no")))).expect("sends");
        assert!(resolver.take_answers(now));
        assert_eq!(resolver.addresses("good.test"), [fresh]);
        assert_eq!(resolver.addresses("lost.test"), [former], "nobody knows better");
        assert_eq!(resolver.addresses("late.test"), [] as [IpAddr; 0], "an answer may come");
        assert!(!resolver.take_answers(now + PATIENCE / 2));
        assert!(resolver.take_answers(now + PATIENCE));
        assert_eq!(resolver.addresses("late.test"), [former]);
        assert_eq!(resolver.addresses("new.test"), [] as [IpAddr; 0]);
        answering.send(answer("late.test", Ok(vec![fresh]))).expect("sends");
        assert!(resolver.take_answers(now + PATIENCE));
        assert_eq!(resolver.addresses("late.test"), [fresh], "what is true now goes before");
        assert!(resolver.former.is_empty());
    }

    #[test]
    fn names_of_the_configuration_come_and_go() {
        let poll = mio::Poll::new().expect("a poll");
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker"));
        let now = clock::now();
        let mut resolver = Resolver::start(std::iter::empty(), waker, now).expect("starts");
        let (queries, asked) = channel();
        (resolver.queries, resolver.idle) = (queries, None);
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        resolver.ask_for(std::iter::once("c.test"), now);
        resolver.reconfigure(names(&["a.test", "b.test", "b.test", "c.test"]).into_iter(), now);
        assert_eq!(asked.try_iter().collect::<Vec<_>>(), names(&["c.test", "a.test", "b.test"]));
        resolver.names.get_mut("a.test").expect("known").addresses = vec![[192, 0, 2, 1].into()];
        resolver.reconfigure(names(&["a.test", "c.test"]).into_iter(), now);
        assert_eq!(asked.try_iter().count(), 0, "they were asked for already");
        assert_eq!(resolver.addresses("a.test").len(), 1, "what is known stays");
        assert!(!resolver.names.contains_key("b.test"));
        resolver.ask_for(std::iter::empty(), now);
        assert!(resolver.names.contains_key("c.test"), "it is in the configuration now");
    }

    #[test]
    fn names_that_peers_choose_are_few_and_forgotten() {
        let poll = mio::Poll::new().expect("a poll");
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker"));
        let now = clock::now();
        let mut resolver = Resolver::start(std::iter::empty(), waker, now).expect("starts");
        assert!(resolver.idle.is_none(), "later its thread would lack the files of DNS");
        // Nobody takes what is asked: the queue shows how long it becomes.
        let (queries, asked) = channel();
        (resolver.queries, resolver.idle) = (queries, None);
        for number in 0..100 {
            resolver.ask_for(std::iter::once(format!("gw-{number}.test").as_str()), now);
            assert_eq!(resolver.names.len(), 1);
        }
        assert_eq!(asked.try_iter().count(), ASKED_MAX);
        assert_eq!(resolver.asked.len(), ASKED_MAX);
        resolver.ask_for(["gw-3.test", "gw-3.test"].into_iter(), now);
        assert_eq!(asked.try_iter().count(), 0, "it is in the queue already");
        resolver.ask_for(std::iter::empty(), now);
        assert!(resolver.names.is_empty());
    }
}
