//! What people ask for over the control socket: status, show, up, down, restart, rekey, redirect ..
//! A request that only has its name yet is refused in `carry_out`.
//!
//! ```text
//!   server.rs ── Request ──► answer() ──► endpoint command, drained ──► Response ──► server.rs
//! ```
//!
//! `failover` is answered when the endpoint was asked, see failover.rs.
//!
//! An answer says what was begun, not how it ended; `status` tells that.

use std::time::Instant;

use ikev2::{GatewayId, Start};

use super::connection::Phase;
use super::memory::Decision;
use super::{Control, ROUND, Run};
use crate::clock;
use crate::port::export;
use crate::status::protocol::{RefusalKind, Request, Response, Target};

impl Control {
    /// Answers the clients that asked, at most [`ROUND`] of them.
    pub(super) fn answer_clients(&mut self, now: Instant) {
        self.devices.server.begin_round(self.devices.poll.registry(), now);
        for _ in 0..ROUND {
            let Some((client, request)) = self.devices.server.next_request() else { return };
            if let Ok(Request::Reload { dry_run, now: at_once }) = request {
                if let Err(refusal) = self.begin_reload(client, dry_run, at_once) {
                    self.devices.server.reply(client, &refusal, now);
                }
                continue;
            }
            let response = match request {
                Ok(Request::Events { follow, connection }) => {
                    self.events(client, follow, connection).unwrap_or_else(|refusal| refusal)
                }
                Ok(Request::Capture { sides, connection, filter, snap }) if self.run == Run::On => {
                    let what = (sides, filter, snap);
                    self.begin_capture(client, connection, what).unwrap_or_else(|refusal| refusal)
                }
                Ok(Request::Failover { connection, to, probe }) if self.run == Run::On => {
                    self.begin_failover(now, client, (&connection, to.as_deref(), probe));
                    continue;
                }
                Ok(request) => self.answer(now, request),
                Err(refusal) => refusal,
            };
            self.devices.server.reply(client, &response, now);
        }
        self.busy |= self.devices.server.has_requests();
    }

    /// What `s2s-gw export` prints, of the configuration in force and without keys.
    ///
    /// # Errors
    /// The refusal: no such connection, or what of it is not known.
    fn export(
        &self,
        name: &str,
        kind: export::Kind,
        (address, guess): (Option<String>, Option<String>),
    ) -> Result<Response, Response> {
        let index = self.whole(name, "export")?;
        let connection = self.connections.get(index);
        let connection =
            connection.ok_or_else(|| refuse(RefusalKind::UnknownName, String::new()))?;
        let wanted = export::Wanted { kind, with_psk: false, address, guess, via: None };
        let made = export::export(&self.gateway, &connection.config, &wanted)
            .map_err(|sentence| refuse(RefusalKind::Other, sentence))?;
        Ok(Response::Done { message: made.text })
    }

    fn answer(&mut self, now: Instant, request: Request) -> Response {
        if let Request::Status = request {
            return self.status(now);
        }
        if self.run != Run::On {
            return refuse(RefusalKind::NotNow, "the gateway is stopping".to_owned());
        }
        let response = self.carry_out(now, request);
        let wall = clock::wall();
        for connection in &mut self.connections {
            connection.refresh(now, wall);
        }
        response.unwrap_or_else(|refusal| refusal)
    }

    /// Each request to its part of the gateway.
    ///
    /// # Errors
    /// The refusal, where a name leads nowhere.
    fn carry_out(&mut self, now: Instant, request: Request) -> Result<Response, Response> {
        Ok(match request {
            Request::Status => self.status(now),
            Request::Up { name } => match self.find(&name)? {
                (index, None) => self.up(now, index),
                (index, Some(place)) => self.up_child(now, index, place)?,
            },
            Request::Down { name } => match self.find(&name)? {
                (index, None) => {
                    let answer = self.down(now, index);
                    self.remember();
                    answer
                }
                (index, Some(place)) => self.down_child(now, index, place)?,
            },
            Request::Restart { name } => match self.find(&name)? {
                (index, None) => {
                    self.down(now, index);
                    self.up(now, index)
                }
                (index, Some(place)) => self.restart_child(now, index, place)?,
            },
            Request::Rekey { name, ike } => {
                let (index, child) = self.find(&name)?;
                self.rekey(now, index, child, ike)
            }
            Request::Redirect { to, names } => {
                let places: Result<Vec<usize>, Response> =
                    names.iter().map(|name| self.whole(name, "redirect")).collect();
                self.redirect(now, &places?, to.as_deref())
            }
            // These need the client and were answered before, see `answer_clients`; but not while the gateway ends.
            Request::Reload { .. }
            | Request::Failover { .. }
            | Request::Events { .. }
            | Request::Capture { .. } => {
                let message = "the gateway is about to end; ask again when it runs".to_owned();
                refuse(RefusalKind::NotNow, message)
            }
            Request::Explain(packet) => self.explain(now, packet),
            Request::Show { what } => self.show(now, what),
            Request::Export { name, kind, address, guess } => {
                self.export(&name, kind, (address, guess))?
            }
            Request::Reset { connection } => {
                let index = connection.map(|name| self.whole(&name, "reset")).transpose()?;
                self.reset_counters(now, index)
            }
            Request::Keys { connection } => self.keys(&connection)?,
            Request::LogLevel { filter, seconds } => self.log_level(now, &filter, seconds)?,
        })
    }

    fn status(&self, now: Instant) -> Response {
        Response::Status { snapshot: Box::new(self.snapshot(now, clock::wall())) }
    }

    /// The place of a connection, and that of the child in it if `NAME/CHILD` names one.
    ///
    /// # Errors
    /// The refusal, with the names that there are.
    fn find(&self, name: &str) -> Result<(usize, Option<usize>), Response> {
        let target = Target::of(name);
        let named = |c: &super::Connection| c.config.name == target.connection;
        let Some(index) = self.connections.iter().position(named) else {
            let known = self.connections.iter().map(|c| c.config.name.as_str());
            return Err(unknown("connection", known));
        };
        let Some(child) = target.child else { return Ok((index, None)) };
        let configured = self.connections.get(index).map(|c| c.config.children.as_slice());
        let configured = configured.unwrap_or_default();
        match configured.iter().position(|one| one.name == child) {
            Some(place) => Ok((index, Some(place))),
            None => Err(unknown("child", configured.iter().map(|one| one.name.as_str()))),
        }
    }

    /// The same for a command that works on whole connections only.
    pub(super) fn whole(&self, name: &str, command: &str) -> Result<usize, Response> {
        match self.find(name)? {
            (index, None) => Ok(index),
            (_, Some(_)) => Err(refuse(
                RefusalKind::NotSupported,
                format!(
                    "`{command}` works on whole connections; leave `/` and what follows out (up, down, restart and rekey take NAME/CHILD)"
                ),
            )),
        }
    }

    fn up(&mut self, now: Instant, index: usize) -> Response {
        if let Some(connection) = self.connections.get_mut(index) {
            connection.wanted = true;
            connection.forgive();
            let is_usual = connection.config.enabled && connection.config.start != Start::Manual;
            connection.decision = (!is_usual).then_some(Decision::Up);
        }
        self.remember();
        self.lift_children(now, index);
        self.tunnel.guard(&self.connections, self.gateway.leak_protection);
        self.enable(now, index);
        self.publish_policy();
        let Some(connection) = self.connections.get(index) else { return gone() };
        let Some(peer) = connection.peer else { return gone() };
        let name = connection.config.name.clone();
        tracing::info!(target: "ike", event = "up-requested", conn = name);
        if matches!(connection.phase, Phase::Up { .. }) {
            return Response::Done { message: format!("{name} is up already") };
        }
        let message = if connection.paths.is_empty() {
            format!("{name} waits for its peer: we know no address to call it at")
        } else {
            format!("{name} is connecting")
        };
        // Also without an address: it is what lets a peer in again that was turned away.
        let _ = self.endpoint.connect(now, peer);
        self.drain(now);
        Response::Done { message }
    }

    fn down(&mut self, now: Instant, index: usize) -> Response {
        let Some(connection) = self.connections.get_mut(index) else { return gone() };
        connection.wanted = false;
        connection.forgive();
        connection.decision = connection.config.enabled.then_some(Decision::Down);
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

    /// Rekeys the IKE SA, or all children, or one of them.
    fn rekey(&mut self, now: Instant, index: usize, child: Option<usize>, ike: bool) -> Response {
        let Some(connection) = self.connections.get(index) else { return gone() };
        let name = connection.config.name.clone();
        let Some(peer) = connection.peer else {
            return refuse(RefusalKind::NotNow, format!("{name} is not up"));
        };
        if ike && child.is_some() {
            let message = "--ike replaces the IKE SA, which belongs to no child".to_owned();
            return refuse(RefusalKind::BadRequest, message);
        }
        let only = child.and_then(|place| connection.children.get(place)).map(|child| child.slot);
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
        for child in self.installer.of_peer(peer, only) {
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

pub(super) const fn refuse(kind: RefusalKind, message: String) -> Response {
    Response::Refused { kind, message }
}

fn unknown<'n>(what: &str, names: impl Iterator<Item = &'n str>) -> Response {
    let names: Vec<&str> = names.collect();
    let known = if names.is_empty() { "none at all".to_owned() } else { names.join(", ") };
    refuse(RefusalKind::UnknownName, format!("no such {what}; there is {known}"))
}

/// A place that was just looked up is there; this is for the compiler.
fn gone() -> Response {
    refuse(RefusalKind::UnknownName, "no such connection".to_owned())
}
