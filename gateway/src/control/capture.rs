//! Captures: packets that pass, sent to whoever asked for them, as fast as they are read and no faster.
//!
//! ```text
//!   Request::Capture ─► Tap ──► pumps: lan, tunnel, ESP ──┐
//!                        └────► here: IKE, with its peer ─┴─► queue ─► Response::Packets ─► outbox ─► client
//!                                                                 a client that has not read what it was sent gets no more;
//!                                                                 the queue fills, and what finds no room is counted
//!   client gone ─► Tap taken away
//! ```

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ikev2::wire::header::Header;
use ikev2::{Disposition, Path, Transmit};
use mio::{Token, Waker};

use super::Control;
use super::commands::refuse;
use super::connection::Connection;
use crate::dataplane::tap::{Catch, Frame, Only, Seen, Tap, Taps, Wanted, Whose};
use crate::status::capture::{Captured, Direction, Filter, Outer, Side};
use crate::status::protocol::{RefusalKind, Response};

/// All captures that run.
pub(super) struct Captures {
    running: Vec<Running>,
    /// Those with a place for IKE messages, to be looked at where they pass.
    taps: Taps,
    waker: Arc<Waker>,
}

struct Running {
    client: Token,
    /// The name of the only connection that is wanted.
    connection: Option<String>,
    sides: Vec<Side>,
    filter: Filter,
    snap: usize,
    tap: Tap,
    catch: Catch,
    /// What the client was told of what went by.
    told_lost: u64,
}

impl Captures {
    /// None yet.
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        Self { running: Vec::new(), taps: Taps::default(), waker }
    }

    /// The octets of a message that will be opened where it lies, if anybody looks on.
    pub(super) fn copy(&self, payload: &[u8]) -> Option<Vec<u8>> {
        (!self.taps.is_empty()).then(|| payload.to_vec())
    }
}

impl Control {
    /// Packets for a client from now on.
    ///
    /// # Errors
    /// The refusal, if there is no such connection, no side is named or too many look on already.
    pub(super) fn begin_capture(
        &mut self,
        client: Token,
        connection: Option<String>,
        (sides, filter, snap): (Vec<Side>, Filter, Option<usize>),
    ) -> Result<Response, Response> {
        if let Some(name) = &connection {
            self.whole(name, "capture")?;
        }
        if sides.is_empty() {
            let message = "a capture needs a side to look at: lan, tunnel, wire".to_owned();
            return Err(refuse(RefusalKind::BadRequest, message));
        }
        if self.captures.running.len() >= MOST {
            let message = format!("{MOST} captures run already; end one of them");
            return Err(refuse(RefusalKind::NotNow, message));
        }
        let snap = snap.unwrap_or(usize::MAX);
        let wanted = wanted(&self.connections, connection.as_deref(), (&sides, &filter, snap));
        let (tap, catch) = Tap::open(wanted, Arc::clone(&self.captures.waker));
        let words: Vec<&str> = sides.iter().map(|side| side.word()).collect();
        let side = words.join(",");
        tracing::info!(target: "gateway", event = "capture-began", side, conn = connection);
        let running = Running { client, connection, sides, filter, snap, tap, catch, told_lost: 0 };
        self.captures.running.push(running);
        self.devices.server.send_packets(client);
        self.publish_captures();
        Ok(Response::Capturing { tun: self.gateway.tun.clone() })
    }

    /// The configuration is another one: connections may have other places and children.
    pub(super) fn renew_captures(&mut self) {
        if self.captures.running.is_empty() {
            return;
        }
        for one in &mut self.captures.running {
            let what = (one.sides.as_slice(), &one.filter, one.snap);
            one.tap = one.tap.of(wanted(&self.connections, one.connection.as_deref(), what));
        }
        self.publish_captures();
    }

    fn publish_captures(&mut self) {
        let taps = self.captures.running.iter().map(|one| one.tap.clone());
        self.captures.taps = Taps::new(taps.collect());
        self.dataplane.watch(&self.captures.taps);
    }

    /// Sends what was seen to those that have read what they were sent before, and forgets those that are gone.
    pub(super) fn feed_captures(&mut self, now: Instant) {
        if self.captures.running.is_empty() {
            return;
        }
        let mut running = mem::take(&mut self.captures.running);
        let before = running.len();
        running.retain_mut(|one| self.feed_capture(now, one));
        let ended = before - running.len();
        self.captures.running = running;
        if ended > 0 {
            self.publish_captures();
            tracing::info!(target: "gateway", event = "capture-ended", captures = ended);
        }
    }

    /// False if its client is gone.
    fn feed_capture(&mut self, now: Instant, one: &mut Running) -> bool {
        for _ in 0..BATCHES {
            match self.devices.server.is_ready(one.client) {
                None => return false,
                // Its socket wakes us, and packets need not.
                Some(false) => return true,
                Some(true) => one.catch.begin(),
            }
            let packets = self.batch(&one.catch);
            let lost = one.catch.lost();
            if packets.is_empty() && lost == one.told_lost {
                return true;
            }
            one.told_lost = lost;
            self.devices.server.reply(one.client, &Response::Packets { packets, lost }, now);
        }
        self.busy = true;
        true
    }

    /// Some packets of those that wait.
    fn batch(&self, catch: &Catch) -> Vec<Captured> {
        let (mut packets, mut octets) = (Vec::new(), 0);
        while packets.len() < AT_ONCE
            && octets < OCTETS_AT_ONCE
            && let Some(frame) = catch.next()
        {
            octets += frame.octets.len();
            packets.push(self.captured(frame));
        }
        packets
    }

    /// A packet with the names of those whose it is.
    fn captured(&self, frame: Frame) -> Captured {
        let Frame { at_ns, side, direction, whose, outer, note, len, octets } = frame;
        let (connection, child) = match whose {
            Whose::Child(slot) => {
                let found = self.connections.iter().find_map(|connection| {
                    let at = connection.children.iter().position(|child| child.slot == slot)?;
                    Some((connection, connection.config.children.get(at)))
                });
                let child = found.and_then(|(_, child)| Some(child?.name.clone()));
                (found.map(|(connection, _)| connection.config.name.clone()), child)
            }
            Whose::Connection(index) => {
                (self.connections.get(index).map(|one| one.config.name.clone()), None)
            }
            Whose::Nobody => (None, None),
        };
        Captured {
            at_ns,
            side,
            direction,
            connection,
            child,
            outer,
            note: note.map(str::to_owned),
            len: u32::try_from(len).unwrap_or(u32::MAX),
            octets: STANDARD_NO_PAD.encode(octets),
        }
    }

    /// Shows an IKE message that came.
    pub(super) fn show_received(&self, path: Path, message: &[u8], disposition: Disposition) {
        let note = match disposition {
            Disposition::Accepted => None,
            Disposition::Dropped(reason) => Some(reason.word()),
        };
        self.show_ike(Direction::In, (path.remote, path.local), &path, message, note);
    }

    /// Shows an IKE message that is about to be sent.
    pub(super) fn show_sent(&self, transmit: &Transmit) {
        let Transmit { path, payload } = transmit;
        if !self.captures.taps.is_empty() {
            self.show_ike(Direction::Out, (path.local, path.remote), path, payload, None);
        }
    }

    fn show_ike(
        &self,
        direction: Direction,
        (source, destination): (std::net::SocketAddr, std::net::SocketAddr),
        path: &Path,
        message: &[u8],
        note: Option<&'static str>,
    ) {
        let whose = self.connection_of(direction, path, message);
        let whose = whose.map_or(Whose::Nobody, Whose::Connection);
        let outer = Outer { source, destination, udp: true, traffic_class: 0 };
        let side = Side::Wire;
        // RFC 3948 §2.2.
        let marked = [esp::udp::NON_ESP_MARKER.as_slice(), message].concat();
        let has_marker = path.local.port() == self.gateway.nat_port;
        let octets = if has_marker { marked.as_slice() } else { message };
        self.captures.taps.see(Seen { side, direction, whose, outer: Some(outer), note, octets });
    }

    /// The connection that an IKE message belongs to: by the SPI of ours in its header, and while no SA has that, as before
    /// IKE_AUTH, by the only connection with this peer.
    fn connection_of(&self, direction: Direction, path: &Path, message: &[u8]) -> Option<usize> {
        let header = Header::parse(message).ok()?;
        // The flag says whether the sender is the original initiator.
        let ours_is_first = header.flags.initiator == (direction == Direction::Out);
        let ours = if ours_is_first { header.spi_i } else { header.spi_r };
        let by_spi = self.endpoint.peer_of_spi(ours.0).and_then(|peer| self.place_of(peer));
        by_spi.or_else(|| {
            let address = path.remote.ip();
            let is_there =
                |one: &Connection| one.paths.iter().any(|path| path.remote.ip() == address);
            let mut there = self.connections.iter().enumerate().filter(|(_, one)| is_there(one));
            let (index, _) = there.next()?;
            there.next().is_none().then_some(index)
        })
    }
}

/// What the pumps have to know of a capture. A name that nobody has any more stands for nothing.
fn wanted(
    connections: &[Connection],
    name: Option<&str>,
    (sides, filter, snap): (&[Side], &Filter, usize),
) -> Wanted {
    let only = name.map(|name| {
        let index = connections.iter().position(|one| one.config.name == name);
        let children = index.and_then(|index| connections.get(index)).map(|one| &one.children);
        Only {
            connection: index.unwrap_or(usize::MAX),
            slots: children.into_iter().flatten().map(|child| child.slot).collect(),
        }
    });
    Wanted { sides: sides.to_vec(), only, filter: filter.clone(), snap }
}

/// Captures at a time: each costs the pumps a look at every packet.
const MOST: usize = 4;

/// Packets in one answer, and octets of them.
const AT_ONCE: usize = 256;
const OCTETS_AT_ONCE: usize = 256 << 10;

/// Answers to one client in one round, so that IKE has its turn.
const BATCHES: usize = 4;
