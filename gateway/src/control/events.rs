//! What the endpoint tells, in effect: SAs are installed and removed, connections change, a line is logged.
//!
//! ```text
//!   ChildUp, ChildDown, PeerMoved      ──► install.rs     before any datagram is sent
//!   Connecting, PeerUp, PeerDown, ..   ──► connection.rs
//!   all of them                        ──► one line of log with a fixed event name
//! ```

use std::time::Instant;

use ikev2::{
    ChildId, ChildSa, CloseReason, Event, GatewayId, IkeSaInfo, Path, PeerId, SendWhen, Traffic,
};

use super::Control;
use super::connection::{Failed, Phase, Redirect};
use super::install::Place;
use super::pfs;
use crate::clock;
use crate::status::reason::{self, Gravity};
use crate::status::{Refusal, words};

impl Control {
    pub(super) fn on_endpoint_event(&mut self, now: Instant, event: Event) {
        let about = self.about(&event);
        match event {
            Event::Connecting { peer, path, attempt } => {
                self.on_connecting(now, peer, path, attempt);
            }
            Event::PeerUp { peer, info } => self.on_peer_up(now, peer, info),
            Event::PeerRekeyed { peer, info } => self.on_peer_rekeyed(peer, info),
            Event::PeerMoved { peer, children, path, udp_encap, nat_local, nat_remote } => {
                let ceiling = self.place_of(peer).and_then(|index| self.connections.get(index));
                let ceiling = ceiling.map_or(self.mtu, |c| c.path_mtu.ceiling(self.mtu));
                self.installer.relocate(&self.dataplane, &children, &path, udp_encap, ceiling);
                self.on_peer_moved(peer, path, (nat_local, nat_remote));
            }
            Event::Redirected { peer, to } => self.on_redirected(now, peer, to),
            Event::PeerDown { peer, reason, retry_at } => {
                self.on_peer_down(now, peer, &reason, retry_at);
            }
            Event::Refused { peer, path, reason } => self.on_refused(now, peer, path, &reason),
            Event::ChildUp { child, replaces } => self.on_child_up(now, *child, replaces),
            Event::ChildFailed { peer, config, selectors, reason, retry_at } => {
                self.on_child_failed(now, peer, (config, selectors), &reason, retry_at);
            }
            Event::ChildDown { child, reason } => self.on_child_down(now, child, &reason),
            Event::ChildConfirmed { child } => self.installer.on_confirmed(&self.dataplane, child),
            Event::EnoughChildren { peer, config, children, wanted, reason } => {
                self.on_enough_children(peer, config, (children, wanted), &reason);
            }
            Event::Probed { probe, rtt } => self.on_probed(now, probe, rtt),
            Event::SwitchFailed { peer, reason } => self.on_switch_failed(now, peer, &reason),
            // The enum may grow; an event that we do not know asks nothing of us.
            event => tracing::debug!(target: "ike", event = "unknown", ?event),
        }
        if let Some(connection) = about.and_then(|index| self.connections.get_mut(index)) {
            connection.refresh(now, clock::wall());
        }
    }

    /// The place of the connection whose state an event may change.
    fn about(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Connecting { peer, .. }
            | Event::PeerUp { peer, .. }
            | Event::PeerRekeyed { peer, .. }
            | Event::PeerMoved { peer, .. }
            | Event::Redirected { peer, .. }
            | Event::PeerDown { peer, .. }
            | Event::EnoughChildren { peer, .. }
            | Event::SwitchFailed { peer, .. }
            | Event::ChildFailed { peer, .. } => self.place_of(*peer),
            Event::ChildUp { child, .. } => self.place_of(child.peer),
            Event::ChildDown { child, .. } | Event::ChildConfirmed { child } => {
                self.place_of(self.installer.peer(*child)?)
            }
            Event::Refused { peer, path, .. } => self.refused_place(*peer, path),
            Event::Probed { probe, .. } => self.place_of(self.questions.get(probe)?.peer),
            _unknown => None,
        }
    }

    /// The place of the connection that has this peer.
    pub(super) fn place_of(&self, peer: PeerId) -> Option<usize> {
        self.places.get(&peer).copied()
    }

    fn on_connecting(&mut self, now: Instant, peer: PeerId, path: Path, attempt: u32) {
        let Some(index) = self.place_of(peer) else { return };
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.tally.connecting(now);
        connection.on_connecting(path, attempt);
        let conn = &connection.config.name;
        let (peer, local) = (path.remote, path.local);
        if self.folding.tell(format!("{conn} connecting {path}"), now).is_some() {
            tracing::info!(target: "ike", event = "connecting", %conn, %peer, %local, attempt);
        } else {
            tracing::debug!(target: "ike", event = "connecting", %conn, %peer, %local, attempt);
        }
    }

    fn on_peer_up(&mut self, now: Instant, peer: PeerId, info: Box<IkeSaInfo>) {
        let Some(index) = self.place_of(peer) else { return };
        let Some(connection) = self.connections.get_mut(index) else { return };
        let conn = &connection.config.name;
        tracing::info!(
            target: "ike", event = "up", %conn, peer = %info.path.remote,
            local_id = words::identity(&info.local_id), remote_id = words::identity(&info.remote_id),
            suite = %info.suite, started_by = if info.initiator { "us" } else { "peer" },
            nat_local = info.nat_local, nat_remote = info.nat_remote
        );
        self.folding.forget(&format!("{conn} "));
        self.memory.stale |= connection.note_good(&info) || connection.endpoints.held.is_some();
        connection.tally.up(now, clock::wall(), &info);
        connection.on_up(info, now);
        if !connection.wanted {
            self.unwanted.push(peer);
        }
        self.follow_path(index);
    }

    fn on_peer_rekeyed(&mut self, peer: PeerId, info: Box<IkeSaInfo>) {
        let Some(index) = self.place_of(peer) else { return };
        let Some(connection) = self.connections.get_mut(index) else { return };
        let conn = &connection.config.name;
        tracing::info!(target: "ike", event = "rekeyed", %conn, suite = %info.suite);
        connection.tally.ike_rekeyed();
        self.memory.stale |= connection.endpoints.held.is_some();
        connection.on_rekeyed(info);
    }

    /// To an address the endpoint goes by itself; for a name it needs us.
    fn on_redirected(&mut self, now: Instant, peer: PeerId, to: GatewayId) {
        let Some(index) = self.place_of(peer) else { return };
        let Some(connection) = self.connections.get_mut(index) else { return };
        let conn = &connection.config.name;
        if self.folding.tell(format!("{conn} redirected {to}"), now).is_some() {
            tracing::info!(target: "ike", event = "redirected", %conn, %to);
        }
        let unresolved = matches!(to, GatewayId::Name(_));
        connection.redirect = Some(Redirect { to, unresolved });
        self.follow_names(now);
    }

    fn on_peer_moved(&mut self, peer: PeerId, path: Path, nat: (bool, bool)) {
        let Some(index) = self.place_of(peer) else { return };
        let Some(connection) = self.connections.get_mut(index) else { return };
        let conn = &connection.config.name;
        tracing::info!(target: "ike", event = "moved", %conn, peer = %path.remote);
        connection.on_moved(path, nat);
        self.follow_path(index);
    }

    fn on_peer_down(
        &mut self,
        now: Instant,
        peer: PeerId,
        why: &CloseReason,
        retry_at: Option<Instant>,
    ) {
        // Each child has told of its end already; this is for the one that has not.
        for child in self.installer.of_peer(peer, None) {
            self.on_child_down(now, child, why);
        }
        let Some(index) = self.place_of(peer) else { return };
        let Some(connection) = self.connections.get_mut(index) else { return };
        let conn = connection.config.name.clone();
        let explained = reason::explain_for(why, &conn, &connection.config.policy.forbidden);
        let retry_in = retry_at
            .map(|at| words::duration(at.saturating_duration_since(now)))
            .map(tracing::field::display);
        if reason::code(why).gravity == Gravity::Wanted {
            tracing::info!(target: "ike", event = "down", %conn, reason = explained.alert, retry_in);
        } else {
            if let Some(folded) = self.folding.tell(format!("{conn} down {}", explained.code), now)
            {
                tracing::warn!(
                    target: "ike", event = "down", %conn, reason = explained.alert, retry_in,
                    code = explained.code, msg = explained.message, fix = explained.fix,
                    folded = (folded > 0).then_some(folded)
                );
            } else {
                let code = &explained.code;
                tracing::debug!(target: "ike", event = "down", %conn, code, retry_in);
            }
            for line in &explained.detail {
                tracing::debug!(target: "ike", event = "detail", %conn, code = explained.code, line);
            }
            self.hurry_names(index, now);
        }
        if let Some(connection) = self.connections.get_mut(index) {
            self.memory.stale |= connection.endpoints.held.is_some();
            connection.tally.down(why);
            connection.on_down(why, retry_at, now);
        }
    }

    fn on_refused(&mut self, now: Instant, peer: Option<PeerId>, path: Path, why: &CloseReason) {
        let index = self.refused_place(peer, &path);
        let connection = index.and_then(|index| self.connections.get_mut(index));
        let name = connection.as_ref().map(|connection| connection.config.name.clone());
        let forbidden = connection.as_ref().map(|c| c.config.policy.forbidden.as_slice());
        let named = name.as_deref().unwrap_or("NAME");
        let explained = reason::explain_for(why, named, forbidden.unwrap_or_default());
        if let Some(connection) = connection {
            connection.tally.refused(why);
            connection.on_refused(why, now);
        }
        // Anybody can make us refuse them: the log must not be theirs.
        self.refused_this_second = self.refused_this_second.saturating_add(1);
        let about = name.as_deref().unwrap_or_default();
        let what = format!("{about} refused {} {}", path.remote.ip(), explained.code);
        if self.refused_this_second <= MAX_REFUSED_LOGS
            && let Some(folded) = self.folding.tell(what, now)
        {
            tracing::warn!(
                target: "ike", event = "refused", conn = name, peer = %path.remote,
                reason = explained.alert, code = explained.code, msg = explained.message,
                fix = explained.fix, folded = (folded > 0).then_some(folded)
            );
        }
        if self.refused.len() >= MAX_REFUSED {
            self.refused.pop_front();
        }
        self.refused.push_back(Refusal {
            time: clock::wall(),
            connection: name,
            from: path.remote.to_string(),
            reason: explained,
        });
    }

    fn refused_place(&self, peer: Option<PeerId>, path: &Path) -> Option<usize> {
        peer.and_then(|peer| self.place_of(peer)).or_else(|| self.place_near(path))
    }

    /// The connection that talks to this address, for somebody who did not come so far as to say who it is.
    fn place_near(&self, path: &Path) -> Option<usize> {
        self.connections.iter().position(|connection| {
            connection.paths.iter().any(|known| known.remote.ip() == path.remote.ip())
        })
    }

    fn on_child_up(&mut self, now: Instant, mut child: ChildSa, replaces: Option<ChildId>) {
        let Some(index) = self.place_of(child.peer) else { return };
        let Some(connection) = self.connections.get_mut(index) else { return };
        let conn = &connection.config.name;
        let is_called = matches!(&connection.phase, Phase::Up { info } if !info.initiator)
            && replaces.is_none();
        let (conn, replay_window) = (conn.clone(), connection.config.replay_window);
        let (mtu, mss_clamp) = (connection.path_mtu.ceiling(self.mtu), connection.config.mss_clamp);
        // The child of IKE_AUTH comes in the same breath as its IKE SA.
        let first = connection.up_at == Some(now) && pfs::is_checked(&connection.config.policy);
        let Some((configured, state)) = connection.child_mut(child.config) else { return };
        let name = &configured.name;
        let (spi_in, spi_out) = (hex(child.spi_in.0.get()), hex(child.spi_out.0.get()));
        let (suite, local, remote) = (child.suite, list(&child.local_ts), list(&child.remote_ts));
        let place =
            Place { slot: state.slot, replay_window, mtu, mss_clamp, counters: &state.counters };
        let resource = child.resource;
        let fresh = pfs::Fresh {
            own_keys: child.suite.ke.is_some(),
            first,
            replaces: replaces.is_some(),
            spi: child.spi_in.0.get(),
        };
        let pfs = state.pfs.after(fresh, now);
        if is_called && self.installer.has_twin(state.slot, &child) {
            // The peer made another IKE SA beside the one that is up. It has this child when it has our answer, and shows
            // that by using it; until then the old one carries our packets.
            child.send = SendWhen::AfterInbound;
        }
        let (id, traffic) =
            (child.id, Traffic::new(child.local_ts.clone(), child.remote_ts.clone()));
        match self.installer.install(&self.dataplane, child, &place) {
            Ok(()) => {
                // Of those that are alike the one for all stands for the child.
                state.on_up(id, traffic, replaces.is_some() && !resource, now);
                state.pfs = pfs;
                let worker = self.installer.worker(id);
                tracing::info!(
                    target: "child", event = if replaces.is_some() { "rekeyed" } else { "up" },
                    %conn, child = name, %suite, spi_in, spi_out, local, remote, worker
                );
            }
            Err(error) => {
                tracing::error!(target: "child", event = "install-failed", %conn, child = name, %error);
                let reason = reason::install_failed(&error.to_string());
                state.on_failed(Failed { traffic, reason, retry_at: None });
            }
        }
        if replaces.is_some() && !resource {
            connection.tally.child_rekeyed();
        }
        self.apply_path_mtu(index);
        self.on_standing(index, now);
    }

    fn on_child_failed(
        &mut self,
        now: Instant,
        peer: PeerId,
        (config, selectors): (usize, Traffic),
        why: &CloseReason,
        retry_at: Option<Instant>,
    ) {
        let Some(index) = self.place_of(peer) else { return };
        let Some(connection) = self.connections.get_mut(index) else { return };
        let conn = &connection.config.name;
        let (conn, policy) = (conn.clone(), connection.config.policy.clone());
        let is_there = connection.child_mut(config).is_some_and(|(_, one)| one.carries(&selectors));
        connection.tally.child_failed(why, is_there);
        let known = connection.child_mut(config);
        let child = known.as_ref().map(|(child, _)| child.name.clone());
        let explained = match known {
            Some((_, child)) => child.explained(why, &policy, &conn),
            None => reason::explain_for(why, &conn, &policy.forbidden),
        };
        let retry_in = retry_at
            .map(|at| words::duration(at.saturating_duration_since(now)))
            .map(tracing::field::display);
        let what = format!(
            "{conn} child {} {selectors} {}",
            child.as_deref().unwrap_or("-"),
            explained.code
        );
        if let Some(folded) = self.folding.tell(what, now) {
            tracing::warn!(
                target: "child", event = "failed", %conn, child, %selectors, reason = explained.alert,
                code = explained.code, msg = explained.message, fix = explained.fix, retry_in,
                folded = (folded > 0).then_some(folded)
            );
        }
        let failed = Failed { traffic: selectors, reason: explained, retry_at };
        connection.on_child_failed(config, failed);
    }

    /// The other workers share the SA that is for all.
    fn on_enough_children(
        &mut self,
        peer: PeerId,
        config: usize,
        (sas, workers): (usize, u32),
        why: &CloseReason,
    ) {
        let Some(index) = self.place_of(peer) else { return };
        let Some(connection) = self.connections.get_mut(index) else { return };
        let conn = connection.config.name.clone();
        let child = connection.child_mut(config).map(|(child, _)| child.name.as_str());
        let alert = reason::code(why).alert;
        tracing::info!(
            target: "child", event = "enough", %conn, child, reason = alert, sas, workers,
            msg = "the peer takes no further SA for a worker of ours; the others share one"
        );
    }

    fn on_child_down(&mut self, now: Instant, child: ChildId, why: &CloseReason) {
        let Some(gone) = self.installer.remove(&self.dataplane, now, child, why) else { return };
        let Some(index) = self.place_of(gone.peer) else { return };
        let Some(connection) = self.connections.get_mut(index) else { return };
        let conn = connection.config.name.clone();
        let Some((configured, state)) = connection.child_of_slot(gone.slot) else { return };
        let name = &configured.name;
        if *why == CloseReason::Rekeyed {
            tracing::debug!(
                target: "child", event = "replaced", %conn, child = name,
                spi_in = hex(gone.spi_in.0.get())
            );
        } else {
            let alert = reason::code(why).alert;
            tracing::info!(target: "child", event = "down", %conn, child = name, reason = alert);
        }
        state.on_down(child, now);
        self.on_standing(index, now);
        self.dismiss_dead(index);
    }
}

pub(super) fn hex(spi: u32) -> String {
    format!("{spi:08x}")
}

fn list(selectors: &[ikev2::TrafficSelector]) -> String {
    selectors.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Refusals that status shows.
const MAX_REFUSED: usize = 16;

/// Refusals that are logged in one second; the others are only counted.
const MAX_REFUSED_LOGS: u32 = 5;
