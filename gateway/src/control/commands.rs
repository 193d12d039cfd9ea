//! What people ask for over the control socket: status, up, down, restart, rekey, redirect.
//!
//! ```text
//!   server.rs ── Request ──► answer() ──► endpoint command, drained ──► Response ──► server.rs
//! ```
//!
//! An answer says what was begun, not how it ended; `status` tells that.

use std::time::Instant;

use ikev2::GatewayId;

use super::connection::Phase;
use super::{Control, ROUND, Run};
use crate::clock;
use crate::status::protocol::{RefusalKind, Request, Response};

impl Control {
    /// Answers the clients that asked, at most [`ROUND`] of them.
    pub(super) fn answer_clients(&mut self, now: Instant) {
        for _ in 0..ROUND {
            let Some((client, request)) = self.devices.server.next_request() else { return };
            let response = match request {
                Ok(request) => self.answer(now, request),
                Err(why) => refuse(RefusalKind::BadRequest, format!("not a request: {why}")),
            };
            self.devices.server.reply(client, &response, now);
        }
        self.busy |= self.devices.server.has_requests();
    }

    fn answer(&mut self, now: Instant, request: Request) -> Response {
        if let Request::Status = request {
            return Response::Status { snapshot: Box::new(self.snapshot(now, clock::wall())) };
        }
        if self.run != Run::On {
            return refuse(RefusalKind::NotNow, "the gateway is stopping".to_owned());
        }
        let response = match request {
            Request::Status => None,
            Request::Up { name } => self.place(&name).map(|index| self.up(now, index)),
            Request::Down { name } => self.place(&name).map(|index| self.down(now, index)),
            Request::Restart { name } => self.place(&name).map(|index| {
                self.down(now, index);
                self.up(now, index)
            }),
            Request::Rekey { name, ike } => {
                self.place(&name).map(|index| self.rekey(now, index, ike))
            }
            Request::Redirect { to, names } => {
                let places = names.iter().map(|name| self.place(name)).collect();
                let places: Option<Vec<usize>> = places;
                places.map(|places| self.redirect(now, &places, to.as_deref()))
            }
        };
        let wall = clock::wall();
        for connection in &mut self.connections {
            connection.refresh(now, wall);
        }
        response.unwrap_or_else(|| {
            let names: Vec<&str> =
                self.connections.iter().map(|c| c.config.name.as_str()).collect();
            let known = if names.is_empty() { "none at all".to_owned() } else { names.join(", ") };
            refuse(RefusalKind::UnknownName, format!("no such connection; there is {known}"))
        })
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.connections.iter().position(|connection| connection.config.name == name)
    }

    fn up(&mut self, now: Instant, index: usize) -> Response {
        if let Some(connection) = self.connections.get_mut(index) {
            connection.wanted = true;
            connection.forgive();
        }
        self.enable(now, index);
        self.publish_policy();
        let Some(connection) = self.connections.get(index) else { return gone() };
        let Some(peer) = connection.peer else { return gone() };
        let name = connection.config.name.clone();
        tracing::info!(target: "ike", event = "up-requested", conn = name);
        if matches!(connection.phase, Phase::Up { .. }) {
            return Response::Done { message: format!("{name} is up already") };
        }
        if connection.paths.is_empty() {
            let message = format!("{name} waits for its peer: we know no address to call it at");
            return Response::Done { message };
        }
        let _ = self.endpoint.connect(now, peer);
        self.drain(now);
        Response::Done { message: format!("{name} is connecting") }
    }

    fn down(&mut self, now: Instant, index: usize) -> Response {
        let Some(connection) = self.connections.get_mut(index) else { return gone() };
        connection.wanted = false;
        connection.forgive();
        let name = connection.config.name.clone();
        tracing::info!(target: "ike", event = "down-requested", conn = name);
        if let Some(peer) = connection.peer {
            let _ = self.endpoint.disconnect(now, peer);
            self.drain(now);
        }
        if let Some(connection) = self.connections.get_mut(index) {
            connection.phase = Phase::Idle;
        }
        Response::Done {
            message: format!("{name} is down and stays down until `s2s-gw up {name}`"),
        }
    }

    /// Sends the peers of these connections, or of all, to another gateway; those that cannot be sent stay.
    fn redirect(&mut self, now: Instant, places: &[usize], to: Option<&str>) -> Response {
        let to = match to.map(GatewayId::parse).transpose() {
            Ok(to) => to,
            Err(why) => return refuse(RefusalKind::BadRequest, why.to_string()),
        };
        let chosen = |index: &usize| places.is_empty() || places.contains(index);
        let chosen: Vec<usize> = (0..self.connections.len()).filter(chosen).collect();
        let mut told = 0;
        for index in chosen {
            let peer = self.connections.get(index).and_then(|connection| connection.peer);
            if let Some(peer) = peer {
                let followed = self.endpoint.redirect(now, peer, to.clone());
                told += usize::from(followed == Ok(true));
                self.drain(now);
            }
        }
        tracing::info!(target: "ike", event = "redirect-requested", to = to.as_ref().map(tracing::field::display), told);
        let message = match to {
            None => "peers may stay again".to_owned(),
            Some(to) => format!(
                "{told} peer{} told to go to {to}; others are when they call, if they follow redirects",
                if told == 1 { " is" } else { "s are" }
            ),
        };
        Response::Done { message }
    }

    fn rekey(&mut self, now: Instant, index: usize, ike: bool) -> Response {
        let Some(connection) = self.connections.get(index) else { return gone() };
        let name = connection.config.name.clone();
        let Some(peer) = connection.peer else {
            return refuse(RefusalKind::NotNow, format!("{name} is not up"));
        };
        if ike {
            return match self.endpoint.rekey_ike(now, peer) {
                Ok(()) => {
                    self.drain(now);
                    Response::Done { message: format!("{name}: rekeying the IKE SA") }
                }
                Err(ikev2::Unknown) => refuse(RefusalKind::NotNow, format!("{name} is not up")),
            };
        }
        let mut begun = 0;
        for child in self.installer.of_peer(peer) {
            // Of two SA pairs of one child the older is on its way out already; the endpoint knows.
            begun += usize::from(self.endpoint.rekey_child(now, child).is_ok());
            self.drain(now);
        }
        if begun == 0 {
            return refuse(RefusalKind::NotNow, format!("{name} has no child SA"));
        }
        let plural = if begun == 1 { "" } else { "s" };
        Response::Done { message: format!("{name}: rekeying {begun} child SA{plural}") }
    }
}

const fn refuse(kind: RefusalKind, message: String) -> Response {
    Response::Refused { kind, message }
}

/// A place that was just looked up is there; this is for the compiler.
fn gone() -> Response {
    refuse(RefusalKind::UnknownName, "no such connection".to_owned())
}
