//! Events and the log, on request: what happened, and how much of it is written down.
//!
//! ```text
//!   events [-f] [NAME]             the ring of log/ring.rs; with -f the client becomes a follower (server/follow.rs)
//!   logs level ike=debug --for 5m  another filter; at `log_until` the old one returns by itself
//! ```

use std::time::{Duration, Instant};

use mio::Token;

use super::Control;
use super::commands::refuse;
use super::server::{Follow, retain};
use crate::config;
use crate::log::{self, Cursor};
use crate::status::protocol::{RefusalKind, Response};
use crate::status::words;

impl Control {
    /// What happened lately, and from now on if the client follows.
    ///
    /// # Errors
    /// The refusal, if there is no such connection or too many follow.
    pub(super) fn events(
        &mut self,
        client: Token,
        follows: bool,
        connection: Option<String>,
    ) -> Result<Response, Response> {
        if let Some(name) = &connection {
            self.whole(name, "events")?;
        }
        let mut cursor = Cursor::default();
        // What went before this client asked is not lost to it.
        let (mut events, _) = log::since(&mut cursor, usize::MAX);
        retain(&mut events, connection.as_deref());
        if follows {
            if !self.devices.server.has_room_to_follow(client) {
                let message = "too many clients follow events already; end one of them".to_owned();
                return Err(refuse(RefusalKind::NotNow, message));
            }
            self.devices.server.follow(client, Follow { cursor, connection });
        }
        Ok(Response::Events { events, lost: 0 })
    }

    /// Another filter for the log, for a time or until the end.
    ///
    /// # Errors
    /// The refusal of what is no filter.
    pub(super) fn log_level(
        &mut self,
        now: Instant,
        filter: &str,
        seconds: Option<u64>,
    ) -> Result<Response, Response> {
        let filter = log::change(filter)
            .map_err(|error| refuse(RefusalKind::BadRequest, error.to_string()))?;
        let span = seconds.map(Duration::from_secs).map(|span| span.min(LONGEST));
        self.log_until = span.map(|span| now + span);
        if span.is_none() {
            log::keep();
        }
        let lasting = span.map(words::duration);
        tracing::info!(target: "gateway", event = "log-level", filter, lasting);
        let lasting =
            lasting.map_or_else(|| "until the daemon ends".into(), |span| format!("for {span}"));
        Ok(Response::Done { message: format!("the log takes {filter}, {lasting}") })
    }

    /// Logs as another configuration says. Whatever somebody has asked for with `logs level` goes on, unless what the file
    /// says of that differs from before; what was asked for a time goes on in any case.
    pub(super) fn relog(&mut self, other: bool, connections: &[config::Connection]) {
        log::set_connections(log::levels(connections));
        if !other {
            return;
        }
        log::set_format(self.log.format);
        // The loader has looked at it.
        if let Ok(Some(filter)) = log::rebase(&self.log.level, self.log_until.is_some()) {
            tracing::info!(target: "gateway", event = "log-level", filter);
        }
    }

    /// Returns to the old filter when its time has come.
    pub(super) fn on_log_time(&mut self, now: Instant) {
        if self.log_until.is_some_and(|until| until <= now) {
            self.log_until = None;
            let filter = log::restore();
            tracing::info!(target: "gateway", event = "log-level", filter);
        }
    }
}

/// Whoever wants it longer writes it into the configuration.
const LONGEST: Duration = Duration::from_hours(24);
