//! `up`, `down` and `restart` of one child of a connection, while the others go on as they are.
//!
//! ```text
//!   down berlin/lan-2      DELETE of its SAs; the peer is refused with TS_UNACCEPTABLE; its packets are dropped
//!   up berlin/lan-2        CREATE_CHILD_SA, and the peer may ask for it
//!   restart berlin/lan-2   one after the other
//! ```
//!
//! The last child is not taken down by itself: that would be a connection without a purpose. What a child was told is
//! forgotten when its connection is brought up as a whole, and when the gateway ends.

use std::time::Instant;

use ikev2::Start;

use super::Control;
use super::commands::refuse;
use super::connection::{Connection, Phase};
use super::paths;
use crate::status::protocol::{RefusalKind, Response};

impl Control {
    pub(super) fn up_child(
        &mut self,
        now: Instant,
        index: usize,
        place: usize,
    ) -> Result<Response, Response> {
        let (connection, name) = self.one_child(index, place)?;
        let Some(child) = connection.children.get_mut(place) else { return Err(gone()) };
        if !child.live.is_empty() {
            return Ok(Response::Done { message: format!("{name} is up already") });
        }
        child.failures.clear();
        self.take_out(now, index, place);
        self.put_in(now, index, place);
        tracing::info!(target: "ike", event = "up-requested", conn = self.name_of(index), child = name);
        Ok(Response::Done { message: format!("{name} {}", self.what_comes(index)) })
    }

    pub(super) fn down_child(
        &mut self,
        now: Instant,
        index: usize,
        place: usize,
    ) -> Result<Response, Response> {
        let (connection, name) = self.one_child(index, place)?;
        let mut others = connection.children.iter().enumerate().filter(|(at, _)| *at != place);
        if !others.any(|(_, other)| !other.down) {
            let whole = &connection.config.name;
            let message = format!(
                "{name} is all that {whole} has; `s2s-gw down {whole}` takes the connection down"
            );
            return Err(refuse(RefusalKind::NotNow, message));
        }
        self.take_out(now, index, place);
        let Some(child) = self.connections.get_mut(index).and_then(|c| c.children.get_mut(place))
        else {
            return Err(gone());
        };
        child.down = true;
        child.failures.clear();
        tracing::info!(target: "ike", event = "down-requested", conn = self.name_of(index), child = name);
        let message = format!(
            "{name} is down until `s2s-gw up {name}`, or until the whole connection is brought up or the gateway starts again"
        );
        Ok(Response::Done { message })
    }

    pub(super) fn restart_child(
        &mut self,
        now: Instant,
        index: usize,
        place: usize,
    ) -> Result<Response, Response> {
        let (connection, name) = self.one_child(index, place)?;
        if !matches!(connection.phase, Phase::Up { .. }) {
            let whole = &connection.config.name;
            let message = format!("{whole} is not up; {name} comes up with it");
            return Err(refuse(RefusalKind::NotNow, message));
        }
        self.take_out(now, index, place);
        self.put_in(now, index, place);
        tracing::info!(target: "ike", event = "up-requested", conn = self.name_of(index), child = name);
        Ok(Response::Done { message: format!("{name} is deleted and {}", self.what_comes(index)) })
    }

    /// Brings back every child of a connection that was taken down by itself.
    pub(super) fn lift_children(&mut self, now: Instant, index: usize) {
        let children = self.connections.get(index).map_or(&[][..], |c| c.children.as_slice());
        let down: Vec<usize> =
            children.iter().enumerate().filter(|(_, child)| child.down).map(|(at, _)| at).collect();
        for place in down {
            self.put_in(now, index, place);
        }
    }

    /// A connection that is not switched off, and the whole name of a child of it.
    fn one_child(
        &mut self,
        index: usize,
        place: usize,
    ) -> Result<(&mut Connection, String), Response> {
        let Some(connection) = self.connections.get_mut(index) else { return Err(gone()) };
        let whole = &connection.config.name;
        if !connection.wanted || connection.peer.is_none() {
            let message = format!("{whole} is switched off; `s2s-gw up {whole}` first");
            return Err(refuse(RefusalKind::NotNow, message));
        }
        let child = connection.config.children.get(place).map(|child| child.name.as_str());
        let name = format!("{whole}/{}", child.unwrap_or_default());
        Ok((connection, name))
    }

    fn name_of(&self, index: usize) -> Option<&str> {
        self.connections.get(index).map(|connection| connection.config.name.as_str())
    }

    /// Out of the endpoint, with its SAs.
    fn take_out(&mut self, now: Instant, index: usize, place: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let (Some(peer), Some(child)) = (connection.peer, connection.children.get_mut(place))
        else {
            return;
        };
        if let Some(number) = child.index {
            // It is known: its number came from there. Its SAs end in events that still find it by its slot.
            let _ = self.endpoint.remove_child(now, peer, number);
            self.drain(now);
        }
        if let Some(child) = self.connections.get_mut(index).and_then(|c| c.children.get_mut(place))
        {
            child.index = None;
        }
    }

    /// Into the endpoint, which asks for it if it is ours to ask.
    fn put_in(&mut self, now: Instant, index: usize, place: usize) {
        let workers = self.dataplane.workers();
        let Some(connection) = self.connections.get_mut(index) else { return };
        let Some(peer) = connection.peer else { return };
        let Some(configured) = connection.config.children.get(place) else { return };
        let config = paths::child_config(&connection.config, configured, workers);
        let number = self.endpoint.add_child(now, peer, config).ok();
        if let Some(child) = connection.children.get_mut(place) {
            child.index = number;
            child.down = false;
        }
        self.drain(now);
    }

    /// What happens to a child that was put in.
    fn what_comes(&self, index: usize) -> &'static str {
        let Some(connection) = self.connections.get(index) else { return "is gone" };
        match &connection.phase {
            Phase::Up { info } if info.initiator || connection.config.start == Start::Always => {
                "is asked for"
            }
            Phase::Up { .. } => "waits for the peer to ask for it",
            Phase::Idle | Phase::Connecting { .. } | Phase::Failed { .. } => {
                "comes up with its connection"
            }
        }
    }
}

/// A place that was just looked up is there; this is for the compiler.
fn gone() -> Response {
    refuse(RefusalKind::UnknownName, "no such child".to_owned())
}
