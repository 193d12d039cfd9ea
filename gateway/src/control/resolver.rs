//! Resolves the names of peers in a thread of its own: the system's resolver may take half a minute, control never waits.
//!
//! ```text
//!   control ──name──► queue ──► resolver thread ──getaddrinfo──► answer queue ──► control, woken by its mio::Waker
//! ```
//!
//! A name is in the queue at most once, so both queues are as long as there are names in the configuration.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The names of all peers and what is known of each.
#[derive(Debug)]
pub(super) struct Resolver {
    names: BTreeMap<String, Name>,
    queries: Sender<String>,
    answers: Receiver<Answer>,
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
        let unknown = || Name { addresses: Vec::new(), failure: None, ask_at: Some(now) };
        let names: BTreeMap<String, Name> = names.map(|name| (name, unknown())).collect();
        let (queries, queries_out) = channel::<String>();
        let (answers_in, answers) = channel();
        if !names.is_empty() {
            // It is not joined: it ends when `queries` is dropped, or with the process in the midst of a query.
            thread::Builder::new().name("resolver".to_owned()).spawn(move || {
                for name in queries_out {
                    let result = look_up(&name);
                    if answers_in.send(Answer { name, result }).is_err() || waker.wake().is_err() {
                        return;
                    }
                }
            })?;
        }
        Ok(Self { names, queries, answers })
    }

    /// Asks for every name that is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for (name, state) in &mut self.names {
            if state.ask_at.is_some_and(|at| at <= now) && self.queries.send(name.clone()).is_ok() {
                state.ask_at = None;
            }
        }
    }

    /// Takes the answers that came; true if any name has other addresses than before, or failed for the first time.
    pub(super) fn take_answers(&mut self, now: Instant) -> bool {
        let mut changed = false;
        while let Ok(Answer { name, result }) = self.answers.try_recv() {
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
        changed
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

/// After a failure: soon enough for a resolver that starts after us, rare enough for one that is broken.
const RETRY: Duration = Duration::from_secs(5);

/// Attempts that fail in quick succession ask at this pace at most.
const HURRY: Duration = Duration::from_secs(2);

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
}
