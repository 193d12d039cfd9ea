//! The control thread: one event loop over IKE, signals, the control socket and time. It never touches a data packet.
//!
//! ```text
//!   mio::Poll ── UDP 500 ───────┐                         ┌─► poll_event     install.rs, connection.rs, log    1st
//!             ── upcalls (4500) ├─► ikev2::Endpoint ──────┼─► poll_transmit  UDP 500 or 4500                   2nd
//!             ── control socket ┤   (one input, then      └─► poll_timeout   how long to sleep                 3rd
//!             ── time ──────────┘    drained to the end)
//!             ── routes changed ─► upkeep            ── ICMP "too big" ─► path MTU
//!             ── signals ─► shutdown, reload
//!
//!   opening      start         opens everything               paths        configuration ─► ikev2
//!                resolver      names of peers
//!   events       events        what of ikev2's takes effect   install      ikev2 ─► esp
//!                connection    where each stands              retiring     inbound SAs that are replaced
//!                tunnel        kernel routes                  competition  who carries what several want
//!                narrowing     what the peer left of a child  folding      what is said once, then rarely
//!   commands     server        the control socket             commands     up, down, rekey ..
//!                one_child     the same for one child         explain      the way of one packet
//!                show          tables                         snapshot     the state of everything
//!                settings      the configuration in force     logs         events, levels of the log
//!                capture       packets for whoever looks on   keys         for Wireshark, if allowed
//!   reload       reload        reads again                    diff         old and new
//!                apply         puts it in force               replace      what takes time of that
//!   each second  upkeep        usage, rates, keepalives       tally        what is counted for metrics
//!                failover      the endpoints of a peer        monitors     hosts behind it that answer
//!                path_mtu      how large packets may be       pfs          do both sides agree on PFS
//!                certificates  those that end                 memory       what outlives the daemon
//!   the host     host          what of it is in the way       device       others lay hands on the TUN
//!                sending       peers that cannot be sent to   sleep        what was slept through
//! ```
//!
//! The order "events before transmits" is the contract of `ikev2`: a responder must be able to receive on a new SA before
//! its answer leaves (RFC 7296 §2.8).

mod apply;
mod capture;
mod certificates;
mod commands;
mod competition;
mod connection;
mod device;
mod diff;
mod events;
mod explain;
mod failover;
mod folding;
mod host;
mod install;
mod keys;
mod logs;
mod memory;
mod monitors;
mod narrowing;
mod one_child;
mod path_mtu;
mod paths;
mod pfs;
mod reload;
mod replace;
mod resolver;
mod retiring;
mod sending;
mod server;
mod settings;
mod show;
mod sleep;
mod snapshot;
mod start;
mod tally;
mod tunnel;
mod upkeep;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use ikev2::{Disposition, Endpoint, Event, Path, PeerId, ProbeId};
use jiff::Timestamp;
use mio::{Events, Poll, Token};
use signal_hook::consts::SIGHUP;
use signal_hook_mio::v1_0::Signals;

use self::competition::Publication;
use self::connection::{Child, Connection};
use self::device::Device;
use self::failover::Question;
use self::folding::Folding;
use self::install::Installer;
use self::memory::Memory;
use self::monitors::Monitors;
use self::reload::Reloading;
use self::resolver::Resolver;
use self::sending::Unsendable;
use self::server::Server;
use self::sleep::Awake;
use self::start::{CHANGES, CONTROL_SOCKET, ICMP, IKE_SOCKETS, SIGNALS, WAKER};
use self::tunnel::Tunnel;
use crate::config::{Config, Gateway, LeakProtection, Log, Security};
use crate::dataplane::{Dataplane, Upcall, UpcallReceiver};
use crate::io::{Handed, UdpSockets};
use crate::route::GUARD_PROTOCOL;
use crate::sandbox::Plan;
use crate::status::{Refusal, Warning};
use crate::sys::changes::Changes;
use crate::sys::notify::Manager;
use crate::sys::{ending, privileges, wipe};
use crate::{clock, fault, log};

pub use self::start::StartError;
pub use crate::io::SocketError;

/// Why the gateway is not running any more, or never did.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It ran, and something that it cannot do without broke.
    #[error("{0}; the gateway stopped, start it again")]
    Broken(String),
}

/// Runs the gateway in this thread until a signal ends it. Of what it needs it opens what is not `handed` over.
///
/// # Errors
/// [`RunError`]; whatever it says, no device or socket is left behind, nor a route but the guards (`leak_protection`).
pub fn run(config: Config, handed: Handed) -> Result<(), RunError> {
    let now = clock::now();
    tracing::info!(
        target: "gateway", event = "starting", version = env!("CARGO_PKG_VERSION"),
        name = config.gateway.name, connections = config.connections.len()
    );
    let cannot = |what| move |source| StartError::System { what, source };
    ending::on_panic();
    fault::arm();
    privileges::close_up().map_err(cannot("give up what may leak keys"))?;
    let plan = Plan::of(&config).map_err(StartError::from)?;
    let control = start::start(config, handed, &plan, now)?;
    privileges::keep_for_control().map_err(cannot("drop privileges"))?;
    plan.confine_control().map_err(StartError::from)?;
    tracing::info!(
        target: "gateway", event = "started", tun = control.gateway.tun, mtu = control.mtu,
        control = %control.devices.server.path().display()
    );
    control.run()
}

/// Everything that the control thread owns.
struct Control {
    endpoint: Endpoint,
    /// In the order of the configuration; everything else names a connection by its place here.
    connections: Vec<Connection>,
    /// The places of those that were ever enabled.
    places: BTreeMap<PeerId, usize>,
    installer: Installer,
    dataplane: Dataplane,
    tunnel: Tunnel,
    device: Device,
    /// Peers that the kernel refuses to send to.
    unsendable: Unsendable,
    resolver: Resolver,
    memory: Memory,
    publication: Publication,
    /// Probes of endpoints that have not ended.
    questions: BTreeMap<ProbeId, Question>,
    monitors: Monitors,
    devices: Devices,
    manager: Manager,
    gateway: Gateway,
    log: Log,
    security: Security,
    reloading: Reloading,
    /// Of the TUN, octets.
    mtu: u16,
    /// Warnings about the configuration.
    warnings: Vec<Warning>,
    /// Warnings about how the two fit together.
    host_warnings: Vec<Warning>,
    host: host::Host,
    /// Certificates that end.
    certificates: certificates::Watch,
    /// IKE datagrams that were dropped.
    drops: BTreeMap<ikev2::DropReason, u64>,
    /// The last few peers that were turned away.
    refused: VecDeque<Refusal>,
    refused_this_second: u32,
    /// What the log keeps quiet about for a while.
    folding: Folding,
    /// Peers that came up although their connection is switched off, or whose certificate was revoked; sent away when the
    /// endpoint is drained.
    unwanted: Vec<PeerId>,
    /// Who is sent packets.
    captures: capture::Captures,
    /// When the log returns to its old filter.
    log_until: Option<Instant>,
    started: Instant,
    started_wall: Timestamp,
    tick_at: Instant,
    awake: Awake,
    /// When routes and addresses are looked at next.
    upkeep_at: Instant,
    /// When they were last.
    upkept_at: Instant,
    run: Run,
    /// Something was left for the next round, so that one busy source does not starve the others: do not sleep.
    busy: bool,
    /// There may be keys on the stack.
    keyed: bool,
}

/// What the loop listens to.
struct Devices {
    poll: Poll,
    signals: Signals,
    changes: Changes,
    icmp: path_mtu::Listener,
    server: Server,
    /// Those for plain IKE, then clones of those for the NAT port, which are only sent on.
    sockets: UdpSockets,
    ike_sockets: usize,
    upcalls: UpcallReceiver,
}

/// How far the life of the daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Run {
    On,
    /// Peers are being told; at `until` we go, whether they answered or not.
    Stopping {
        until: Instant,
        why: Stop,
    },
    Over(Stop),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stop {
    Signal,
    Broken(String),
}

impl Control {
    fn run(mut self) -> Result<(), RunError> {
        self.manager.ready();
        let mut events = Events::with_capacity(EVENTS);
        let stop = loop {
            let timeout =
                if self.busy { Duration::ZERO } else { self.until_deadline(clock::now()) };
            match self.devices.poll.poll(&mut events, Some(timeout)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => break Stop::Broken(format!("cannot wait for events: {error}")),
            }
            fault::point("control");
            let now = clock::now();
            let unread = std::mem::take(&mut self.busy);
            for event in &events {
                self.on_event(now, event.token());
            }
            if unread {
                (0..self.devices.ike_sockets).for_each(|index| self.on_ike_socket(now, index));
            }
            self.on_upcalls(now);
            self.answer_clients(now);
            self.on_reload(now);
            self.on_time(now);
            if std::mem::take(&mut self.keyed) {
                wipe::stack();
            }
            self.devices.server.feed(now, log::since);
            self.feed_captures(now);
            if let Run::Over(stop) = &self.run {
                break stop.clone();
            }
        };
        self.close(stop)
    }

    /// How long nothing has to be done.
    fn until_deadline(&self, now: Instant) -> Duration {
        let stop = match &self.run {
            Run::Stopping { until, .. } => Some(*until),
            Run::On | Run::Over(_) => None,
        };
        let deadlines = [
            self.endpoint.poll_timeout().map(|deadline| deadline.at),
            self.installer.deadline(),
            self.devices.icmp.deadline(),
            self.publication.deadline(),
            stop,
        ];
        let regular = self.tick_at.min(self.upkeep_at);
        let first = deadlines.into_iter().flatten().fold(regular, Instant::min);
        // epoll counts whole milliseconds; rounding up keeps it from waking a moment too early, again and again.
        first.saturating_duration_since(now) + Duration::from_millis(1)
    }

    fn on_event(&mut self, now: Instant, token: Token) {
        match token {
            WAKER => {} // upcalls and answers of the resolver are looked at in every round
            SIGNALS => self.on_signals(now),
            CHANGES => self.on_changes(now),
            ICMP => self.on_icmp(now),
            token if token < CONTROL_SOCKET => self.on_ike_socket(now, token.0 - IKE_SOCKETS.0),
            token => self.devices.server.on_event(self.devices.poll.registry(), token, now),
        }
    }

    fn on_signals(&mut self, now: Instant) {
        let signals: Vec<i32> = self.devices.signals.pending().collect();
        for signal in signals {
            if signal == SIGHUP {
                self.on_hangup();
                continue;
            }
            match self.run {
                Run::On => self.stop(now, Stop::Signal),
                Run::Stopping { .. } | Run::Over(_) => self.run = Run::Over(Stop::Signal),
            }
        }
    }

    /// Begins to stop: peers are told, for [`FAREWELL`] at most.
    fn stop(&mut self, now: Instant, why: Stop) {
        if self.run != Run::On {
            return;
        }
        tracing::info!(target: "gateway", event = "stopping");
        self.manager.stopping();
        self.run = Run::Stopping { until: now + FAREWELL, why };
        self.endpoint.shutdown(now);
        self.drain(now);
    }

    /// Reads one socket for plain IKE, at most [`ROUND`] datagrams.
    fn on_ike_socket(&mut self, now: Instant, index: usize) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        for _ in 0..ROUND {
            let Some(socket) = self.devices.sockets.0.get(index) else { return };
            match socket.receive(&mut buffer) {
                Ok(received) => {
                    if let Some(payload) = buffer.get_mut(..received.len) {
                        self.on_datagram(now, received.path, payload);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if crate::io::is_transient(&error) => {
                    tracing::debug!(target: "ike", event = "receive-failed", %error);
                }
                Err(error) => {
                    let what = format!("the UDP socket on {} broke: {error}", socket.local());
                    self.run = Run::Over(Stop::Broken(what));
                    return;
                }
            }
        }
        self.busy = true;
    }

    fn on_upcalls(&mut self, now: Instant) {
        for _ in 0..ROUND {
            match self.devices.upcalls.try_recv() {
                None => return,
                Some(Upcall::Ike { path, mut payload }) => {
                    self.on_datagram(now, path, &mut payload);
                }
                Some(Upcall::FirstInbound { slot, spi, remote }) => {
                    self.installer.on_first_inbound(&self.dataplane, slot, spi);
                    self.on_esp_from(now, spi, remote);
                }
                Some(Upcall::Elsewhere { spi, remote }) => {
                    self.on_esp_from(now, spi, Some(remote));
                }
                Some(Upcall::Acquire { slot, packet }) => self.on_acquire(now, slot, packet),
                Some(Upcall::Worn { slot, spi }) => self.on_worn(now, slot, spi),
                Some(Upcall::Broken { what }) => {
                    tracing::error!(target: "dataplane", event = "broken", what);
                    self.stop(now, Stop::Broken(what));
                }
            }
        }
        self.busy = true;
    }

    /// Where the newest packet of an SA came from; the endpoint knows whether that is to be followed.
    fn on_esp_from(&mut self, now: Instant, spi: NonZeroU32, remote: Option<SocketAddr>) {
        if let (Some(child), Some(remote)) = (self.installer.receiver(spi), remote) {
            self.endpoint.heard_from(now, child, remote);
            self.drain(now);
        }
    }

    fn on_datagram(&mut self, now: Instant, path: Path, payload: &mut [u8]) {
        let came = self.captures.copy(payload);
        let disposition = self.endpoint.handle_datagram(now, path, payload);
        if let Some(came) = came {
            self.show_received(path, &came, disposition);
        }
        match disposition {
            Disposition::Accepted => {}
            Disposition::Dropped(reason) => *self.drops.entry(reason).or_default() += 1,
        }
        self.drain(now);
    }

    fn on_time(&mut self, now: Instant) {
        if self.endpoint.poll_timeout().is_some_and(|deadline| deadline.at <= now) {
            self.endpoint.handle_timeout(now);
            self.drain(now);
        }
        self.installer.handle_timeout(&self.dataplane, now);
        self.devices.icmp.handle_timeout(self.devices.poll.registry(), now);
        if self.resolver.take_answers(now) {
            self.refresh_paths(now);
            self.follow_names(now);
            self.drain(now);
        }
        self.on_log_time(now);
        if self.tick_at <= now {
            self.tick_at = now + TICK;
            self.on_tick(now);
            self.keyed = true;
        }
        if self.upkeep_at <= now {
            self.upkeep(now);
        }
        self.take_verdicts(now);
        self.settle_competition(now);
        if let Run::Stopping { until, why } = &self.run
            && (*until <= now || self.endpoint.is_idle())
        {
            self.run = Run::Over(why.clone());
        }
    }

    /// Empties the endpoint after an input: events, then datagrams. The deadline is read before sleeping.
    fn drain(&mut self, now: Instant) {
        loop {
            let mut installed = false;
            while let Some(event) = self.endpoint.poll_event() {
                self.keyed = true;
                installed |= matches!(event, Event::ChildUp { .. });
                self.on_endpoint_event(now, event);
            }
            if installed {
                // The peer may use the SA as soon as it has the datagram that follows (RFC 7296 §2.8).
                self.dataplane.settle();
            }
            while let Some(transmit) = self.endpoint.poll_transmit() {
                self.show_sent(&transmit);
                let sent = self.devices.sockets.send_ike(&transmit.path, &transmit.payload);
                if let Err(error) = sent {
                    // It is sent again when its time is up (RFC 7296 §2.1).
                    let path = &transmit.path;
                    tracing::debug!(target: "ike", event = "send-failed", %path, %error);
                    self.unsendable.refused(path.remote.ip(), &error, now);
                }
            }
            let Some(peer) = self.unwanted.pop() else { return };
            // The peer vanished from under us only if the endpoint forgot it; then there is nothing to close.
            let _ = self.endpoint.disconnect(now, peer);
            let place = self.place_of(peer);
            if place.and_then(|index| self.connections.get(index)).is_some_and(|c| c.wanted) {
                // It was sent away for its certificate, and may prove itself with another one.
                let _ = self.endpoint.connect(now, peer);
            }
        }
    }

    /// Closes everything in the order in which nothing leaks: the data plane first, then the routes into it.
    fn close(mut self, why: Stop) -> Result<(), RunError> {
        self.leave_guards(&why);
        self.dataplane.stop();
        self.tunnel.clear();
        drop(self.devices);
        tracing::info!(target: "gateway", event = "stopped");
        match why {
            Stop::Signal => Ok(()),
            Stop::Broken(what) => Err(RunError::Broken(what)),
        }
    }

    /// What is for a protected network goes nowhere until we are back, unless the operator wants it otherwise. Whoever stops
    /// without having been asked to comes back.
    fn leave_guards(&mut self, why: &Stop) {
        let protection = self.gateway.leak_protection;
        if protection == LeakProtection::Running && *why == Stop::Signal {
            self.tunnel.unguard(&[], protection);
        }
        let networks = self.tunnel.guards();
        if networks > 0 {
            tracing::info!(
                target: "gateway", event = "guarded", networks,
                msg = "packets for the protected networks go nowhere until the gateway runs again",
                fix = %format!("`ip route flush proto {GUARD_PROTOCOL}` gives them up; `leak_protection` in [gateway] decides")
            );
        }
    }
}

/// Rates, usage, keepalives and state changes are looked at this often.
const TICK: Duration = Duration::from_secs(1);

/// How long peers have to answer that we go; the process is gone within two seconds.
const FAREWELL: Duration = Duration::from_millis(1500);

/// What one source may bring in one round.
const ROUND: usize = 256;

/// Readiness events taken in one round; more wait in the kernel.
const EVENTS: usize = 256;

/// The largest UDP payload, octets.
const MAX_DATAGRAM: usize = 65_535;
