//! Clients that follow: they asked once and are told whatever happens, until they hang up.
//!
//! ```text
//!   ring of records ──next()──► one answer of at most 128 records ──► outbox ──► client
//!        a client whose outbox is not empty gets no more; what the ring loses meanwhile is counted and told
//! ```
//!
//! A follower that reads slowly, or never, holds one answer and a number: the rest of it is in the ring, which is there anyway.

use std::time::Instant;

use super::Server;
use super::rights::Places;
use crate::log::{Cursor, Record};
use crate::status::protocol::Response;

/// What a client follows.
#[derive(Debug, Clone)]
pub(in crate::control) struct Follow {
    pub(in crate::control) cursor: Cursor,
    /// Only records of this connection.
    pub(in crate::control) connection: Option<String>,
}

impl Follow {
    /// Records from `source` that this client wants, at most [`AT_ONCE`]; `None` if there is nothing to tell.
    fn next(
        &mut self,
        source: impl Fn(&mut Cursor, usize) -> (Vec<Record>, u64),
    ) -> Option<Response> {
        let (mut events, lost) = source(&mut self.cursor, AT_ONCE);
        retain(&mut events, self.connection.as_deref());
        if lost > 0 {
            tracing::debug!(target: "status", event = "follower-slow", lost);
        }
        (lost > 0 || !events.is_empty()).then_some(Response::Events { events, lost })
    }
}

/// Keeps the records of one connection, if one is given.
pub(in crate::control) fn retain(events: &mut Vec<Record>, connection: Option<&str>) {
    if connection.is_some() {
        events.retain(|event| event.connection.as_deref() == connection);
    }
}

impl Server {
    /// Whether this client may follow, too; others need room to ask, and root to follow.
    pub(in crate::control) fn has_room_to_follow(&self, token: mio::Token) -> bool {
        let Some(client) = self.clients.get(&token) else { return false };
        let followers = self.clients.values().filter(|client| client.follow.is_some());
        FOLLOWERS.has_room(client.rights, followers.map(|client| client.rights))
    }

    /// From its next answer on the client is told of everything.
    pub(in crate::control) fn follow(&mut self, token: mio::Token, follow: Follow) {
        if let Some(client) = self.clients.get_mut(&token) {
            client.follow = Some(follow);
        }
    }

    /// From its next answer on the client is sent packets.
    pub(in crate::control) fn send_packets(&mut self, token: mio::Token) {
        if let Some(client) = self.clients.get_mut(&token) {
            client.captures = true;
        }
    }

    /// Whether a client has read what it was sent before; `None` if it is gone.
    pub(in crate::control) fn is_ready(&self, token: mio::Token) -> Option<bool> {
        self.clients.get(&token).map(|client| client.outbox.is_empty() && !client.asked)
    }

    /// Tells those that follow and have read what they were told before.
    pub(in crate::control) fn feed(
        &mut self,
        now: Instant,
        source: impl Fn(&mut Cursor, usize) -> (Vec<Record>, u64),
    ) {
        let tokens: Vec<mio::Token> = self.clients.keys().copied().collect();
        for token in tokens {
            let Some(client) = self.clients.get_mut(&token) else { continue };
            if !client.outbox.is_empty() || client.asked {
                continue;
            }
            if let Some(response) = client.follow.as_mut().and_then(|follow| follow.next(&source)) {
                self.reply(token, &response, now);
            }
        }
    }
}

/// Clients that follow at a time.
const FOLLOWERS: Places = Places { all: 16, looking: 12, of_one: 6 };

/// Records in one answer.
const AT_ONCE: usize = 128;
