//! `explain SRC DST`: the way of one packet through this gateway, stage by stage, as it would be at this moment. Sends nothing.
//!
//! ```text
//!   out    SRC is ours            route ─► policy ─► connection ─► sa ─► size ─► outer
//!   in     SRC is behind a peer   connection ─► sa ─► route
//!   relay  both                   in, then out
//!
//!   all stages are looked at; the first that refuses the packet is the answer
//! ```
//!
//! What the data plane would do is asked of the data plane's own code: [`Policy::classify`], [`esp::Selectors`]. What the kernel
//! would do is asked of the kernel.

mod kernel;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Instant;

use esp::ip::{Fragment, Upper, Version, View};
use ipnet::IpNet;

use self::kernel::Kernel;
use super::Control;
use super::commands::refuse;
use super::connection::{Child, Connection, Phase};
use super::events::hex;
use super::install::{self, Installed};
use crate::config;
use crate::dataplane::{Policy, Rule, SlotId};
use crate::status::diagnosis::{Finding, Level, WALK, Walk};
use crate::status::protocol::{Packet, RefusalKind, Response};
use crate::status::{State, words};

impl Control {
    /// What would become of `packet`.
    pub(super) fn explain(&self, now: Instant, packet: Packet) -> Response {
        if packet.source.is_ipv4() != packet.destination.is_ipv4() {
            let message = "source and destination are of different address families; no packet is";
            return refuse(RefusalKind::BadRequest, message.to_owned());
        }
        let kernel = match Kernel::open(&self.gateway.tun) {
            Ok(kernel) => kernel,
            Err(error) => return refuse(RefusalKind::NotNow, error.to_string()),
        };
        let rules = self.rules();
        let mut walker = Walker { control: self, now, kernel, packet, steps: Vec::new() };
        Response::Explained { walk: Box::new(walker.walk(&rules)) }
    }

    /// The child that has this slot.
    fn of_slot(&self, slot: SlotId) -> Option<Place<'_>> {
        self.connections.iter().find_map(|connection| {
            let children = connection.config.children.iter().zip(&connection.children);
            let leaving = connection.leaving.iter().map(|one| (&one.config, &one.child));
            let (config, child) = children.chain(leaving).find(|(_, child)| child.slot == slot)?;
            Some(Place { connection, config, child })
        })
    }
}

/// A configured child.
#[derive(Clone, Copy)]
struct Place<'c> {
    connection: &'c Connection,
    config: &'c config::Child,
    child: &'c Child,
}

impl Place<'_> {
    /// `berlin/lan-1`.
    fn name(&self) -> String {
        format!("{}/{}", self.connection.config.name, self.config.name)
    }
}

struct Walker<'c> {
    control: &'c Control,
    now: Instant,
    kernel: Kernel,
    packet: Packet,
    steps: Vec<Finding>,
}

impl<'c> Walker<'c> {
    fn walk(&mut self, rules: &[Rule]) -> Walk {
        let Packet { source, destination, protocol, .. } = self.packet;
        let from = self.sender();
        if let Some(from) = from {
            self.arrive(from);
        }
        let leaves = from.is_none() || self.kernel.leads_into_tun(destination);
        let to = if leaves { self.leave(rules, from.is_some()) } else { None };
        let direction = match (from.is_some(), leaves) {
            (true, true) => "relay",
            (true, false) => "in",
            (false, _) => "out",
        };
        let carrier = to.or(from);
        let failed = self.steps.iter().find(|step| step.level == Level::Failed);
        let verdict = match failed {
            None => match carrier {
                Some(place) => format!("it would pass, by {}.", place.name()),
                None => "it would pass.".to_owned(),
            },
            Some(step) => {
                let fix = step.fix.as_ref().map(|fix| format!(". Fix: {fix}"));
                let code = step.code.as_ref().map(|code| format!("{code} ")).unwrap_or_default();
                let (stage, message) = (&step.stage, &step.message);
                format!("it stops at {stage}: {code}{message}{}.", fix.unwrap_or_default())
            }
        };
        Walk {
            schema: WALK.to_owned(),
            source,
            destination,
            protocol,
            direction: direction.to_owned(),
            connection: carrier.map(|place| place.connection.config.name.clone()),
            child: carrier.map(|place| place.config.name.clone()),
            passes: failed.is_none(),
            verdict,
            steps: std::mem::take(&mut self.steps),
        }
    }

    /// The child that the packet comes out of: that whose peer has its source, and where the way back leads into the tunnel.
    fn sender(&mut self) -> Option<Place<'c>> {
        let Packet { source, destination, .. } = self.packet;
        let fits = |networks: &[IpNet], ip: IpAddr| size_of(networks, ip);
        let mut best: Option<(u8, bool, Place<'c>)> = None;
        for connection in &self.control.connections {
            for (config, child) in connection.config.children.iter().zip(&connection.children) {
                let Some(size) = fits(&config.remote, source) else { continue };
                let wants = fits(&config.local, destination).is_some();
                let place = Place { connection, config, child };
                if best.is_none_or(|(than, wanted, _)| (wanted, than) < (wants, size)) {
                    best = Some((size, wants, place));
                }
            }
        }
        let (.., place) = best?;
        self.kernel.leads_into_tun(source).then_some(place)
    }

    /// Out of the tunnel.
    fn arrive(&mut self, from: Place<'c>) {
        let view = self.view();
        self.stand(from);
        let sas: Vec<&Installed> = self.sas(from);
        let admits =
            |sa: &&&Installed| install::selectors(&sa.local_ts, &sa.remote_ts).admit_inbound(&view);
        let finding = match sas.iter().rfind(admits) {
            Some(sa) => Finding::passed(
                "sa in",
                format!("{}, SPI in {}, {}", sa.suite, hex(sa.spi_in.0.get()), networks(sa)),
            ),
            None => no_sa("sa in", from, sas.last().copied()),
        };
        self.steps.push(finding);
        let Packet { source, destination, .. } = self.packet;
        let finding = self.kernel.forward_from_tun(source, destination);
        self.steps.push(finding);
    }

    /// Into the tunnel.
    fn leave(&mut self, rules: &[Rule], relays: bool) -> Option<Place<'c>> {
        let Packet { source, destination, .. } = self.packet;
        let found = self.choose(rules);
        if !relays {
            let finding = self.kernel.route(source, destination);
            let wanted = found.as_ref().ok().map(|(place, _)| *place);
            let finding = self.mend_route(finding, wanted);
            self.steps.push(finding);
        }
        let place = match found {
            Ok((place, message)) => {
                self.steps.push(Finding::passed("policy", message));
                place
            }
            Err(finding) => {
                self.steps.push(*finding);
                return None;
            }
        };
        self.stand(place);
        let sas = self.sas(place);
        let view = self.view();
        let admits = |sa: &&&Installed| {
            install::selectors(&sa.local_ts, &sa.remote_ts).admit_outbound(&view)
        };
        let Some(sa) = sas.iter().rfind(admits) else {
            let finding = no_sa("sa", place, sas.last().copied());
            self.steps.push(finding);
            return Some(place);
        };
        let spi = hex(sa.spi_out.0.get());
        let rekey = words::duration(sa.rekey_at.saturating_duration_since(self.now));
        let message = format!("{}, SPI out {spi}, {}, rekey in {rekey}", sa.suite, networks(sa));
        self.steps.push(Finding::passed("sa", message));
        self.steps.push(self.size(place));
        let finding = self.outer(place, sa);
        self.steps.push(finding);
        Some(place)
    }

    /// Which child the data plane would take, and why not another; or why none.
    fn choose(&self, rules: &[Rule]) -> Result<(Place<'c>, String), Box<Finding>> {
        let view = self.view();
        let to =
            |rule: &&Rule| rule.selectors.remote.iter().any(|one| one.matches_destination(&view));
        let fitting: Vec<Rule> =
            rules.iter().filter(|rule| rule.selectors.admit_outbound(&view)).cloned().collect();
        let winner =
            Policy::new(&fitting).classify(&view).and_then(|slot| self.control.of_slot(slot));
        let Some(winner) = winner else {
            let near = rules.iter().filter(to).find_map(|rule| self.control.of_slot(rule.slot));
            return Err(Box::new(self.no_policy(near)));
        };
        let to = self.packet.destination;
        let network = narrowest(&winner.config.remote, to);
        let shown =
            |network: Option<IpNet>| network.map_or_else(|| to.to_string(), |net| net.to_string());
        let mut message = format!(
            "{} has {} ⇄ {}",
            winner.name(),
            shown(narrowest(&winner.config.local, self.packet.source)),
            shown(network)
        );
        let mut told = vec![winner.child.slot];
        for rule in &fitting {
            let Some(loser) = self.control.of_slot(rule.slot) else { continue };
            if told.contains(&rule.slot) {
                continue;
            }
            told.push(rule.slot);
            let wider = narrowest(&loser.config.remote, to);
            let why = if wider.map(|net| net.prefix_len()) < network.map(|net| net.prefix_len()) {
                format!("{} is wider", shown(wider))
            } else if loser.child.live.is_empty() {
                "has no SA".to_owned()
            } else {
                format!("metric {}", loser.connection.config.metric)
            };
            let _ = write!(message, "; before {} ({why})", loser.name());
        }
        Ok((winner, message))
    }

    /// No child has both ends.
    fn no_policy(&self, near: Option<Place<'_>>) -> Finding {
        let Packet { source, destination, .. } = self.packet;
        let Some(near) = near else {
            let message = format!("no connection has {destination} behind its peer");
            let fix = "add its network to `remote_subnets` of a connection, here and as a local one at the peer";
            return Finding::failed("policy", message).fix(fix);
        };
        let ours: Vec<String> = near.config.local.iter().map(ToString::to_string).collect();
        let message = format!(
            "{} leads to {destination}, but only from {}, and the source is {source}",
            near.name(),
            ours.join(", ")
        );
        let fix = format!(
            "add the network of {source} to `local_subnets` of {} and to the peer's remote ones, or send from an address inside",
            near.connection.config.name
        );
        Finding::failed("policy", message).fix(fix)
    }

    /// Why the kernel does not give us the packet may be that we have not asked for it.
    fn mend_route(&self, finding: Finding, wanted: Option<Place<'_>>) -> Finding {
        if finding.level != Level::Failed || finding.fix.is_some() {
            return finding;
        }
        let destination = self.packet.destination;
        match wanted {
            Some(place) if place.connection.lacks_route => {
                finding.code("W0503").fix("see `ip route show`; delete the route that is in the way or set another `metric`")
            }
            Some(place) if place.connection.config.routes != config::Routes::Auto => {
                let (name, tun) = (&place.connection.config.name, &self.control.gateway.tun);
                finding.fix(format!("`routes` of {name} leaves it out: add {destination}, or `ip route add {destination} dev {tun}`"))
            }
            Some(_) => finding.fix("see `ip route show table all` and `ip rule`; a more specific route, a lower metric or a rule is in the way"),
            None => finding.fix("no connection has this network; add it to `remote_subnets` of one"),
        }
    }

    /// Whether the connection of the child carries anything.
    fn stand(&mut self, place: Place<'_>) {
        let Place { connection, config, child } = place;
        let name = &connection.config.name;
        let state = connection.state(self.now);
        let reason = connection.reason(self.now);
        let message = format!("{name} is {}", state.word());
        let finding = match (state, reason) {
            (State::Up, _) => Finding::passed("connection", message),
            (State::Disabled, _) => {
                Finding::failed("connection", message).fix(format!("s2s-gw up {name}"))
            }
            (State::Waiting, _) => {
                let awaits = connection.awaits(self.now).unwrap_or_default();
                let message = format!("{message}: it waits for {awaits}");
                Finding::failed("connection", message).fix(format!("s2s-gw up {name}"))
            }
            (State::Degraded, reason) => {
                let sound = !child.live.is_empty();
                let level = if sound { Level::Warned } else { Level::Failed };
                let message = reason.as_ref().map_or_else(
                    || message.clone(),
                    |reason| format!("{message}: {}", reason.message),
                );
                with_reason(Finding::new(level, "connection", message), reason)
            }
            (_, Some(reason)) => {
                let message = format!("{message}: {}", reason.message);
                with_reason(Finding::failed("connection", message), Some(reason))
            }
            (_, None) if !child.live.is_empty() => Finding::passed("connection", message),
            (_, None) => Finding::failed("connection", message)
                .fix(format!("wait a moment, then `s2s-gw status {name}`; child {}", config.name)),
        };
        self.steps.push(finding);
    }

    /// The SA pairs of the child, oldest first.
    fn sas(&self, place: Place<'_>) -> Vec<&'c Installed> {
        self.control.installer.of_slot(place.child.slot).map(|(_, sa)| sa).collect()
    }

    /// How long the packet may be.
    fn size(&self, place: Place<'_>) -> Finding {
        let version = if self.packet.source.is_ipv4() { Version::V4 } else { Version::V6 };
        let path_mtu = &place.connection.path_mtu;
        let ceiling = path_mtu.ceiling(self.control.mtu);
        let mtu = path_mtu.of_routes(version, self.control.mtu).unwrap_or(ceiling);
        let longer = match version {
            _ if mtu >= USUAL_PACKET => String::new(),
            Version::V4 => format!(
                "; one of {USUAL_PACKET} is cut in pieces, or with DF answered by ICMP \"fragmentation needed\" with MTU {mtu}"
            ),
            Version::V6 => {
                format!(
                    "; one of {USUAL_PACKET} is answered by ICMPv6 \"packet too big\" with MTU {mtu}"
                )
            }
        };
        Finding::passed("size", format!("up to {mtu} octets{longer}"))
    }

    /// What leaves this host.
    fn outer(&mut self, place: Place<'_>, sa: &Installed) -> Finding {
        let Phase::Up { info } = &place.connection.phase else {
            return Finding::failed("outer", "the IKE SA is gone");
        };
        let (local, remote) = (info.path.local, info.path.remote);
        let packet = if sa.udp_encap {
            format!("ESP in UDP, {local} -> {remote}")
        } else {
            format!("ESP, {} -> {}", local.ip(), remote.ip())
        };
        let path = place.connection.path_mtu.outer_mtu();
        let path = path.map(|mtu| format!(", path MTU {mtu}")).unwrap_or_default();
        let finding = self.kernel.outer(remote.ip());
        Finding { message: format!("{packet}, {}{path}", finding.message), ..finding }
    }

    /// The packet as the data plane would see it.
    fn view(&self) -> View {
        let Packet { source, destination, protocol, source_port, destination_port } = self.packet;
        let is_v4 = source.is_ipv4();
        let protocol = protocol.unwrap_or(0);
        let upper = match protocol {
            ICMP => Upper::Type(8 << 8),
            ICMP_V6 => Upper::Type(128 << 8),
            _ if source_port.or(destination_port).is_some() => Upper::Ports {
                source: source_port.unwrap_or(SOME_PORT),
                destination: destination_port.unwrap_or(SOME_PORT),
            },
            _ => Upper::Opaque,
        };
        View {
            total_len: 84,
            header_len: if is_v4 { 20 } else { 40 },
            traffic_class: 0,
            source,
            destination,
            protocol,
            upper,
            fragment: Fragment::Whole,
            dont_fragment: !is_v4,
        }
    }
}

/// No SA takes the packet.
fn no_sa(stage: &str, place: Place<'_>, other: Option<&Installed>) -> Finding {
    let name = &place.connection.config.name;
    let Some(other) = other else {
        let fault = place.child.fault().cloned();
        let message = match &fault {
            Some(reason) => format!("{} has no SA: {}", place.name(), reason.message),
            None => format!("{} has no SA", place.name()),
        };
        let fix = format!("s2s-gw up {name}; `s2s-gw status {name}` says why it is not up");
        return match fault {
            Some(_) => with_reason(Finding::failed(stage, message), fault),
            None => Finding::failed(stage, message).fix(fix),
        };
    };
    let message = format!("the SA carries {} alone, which leaves this packet out", networks(other));
    let fix = "make local_subnets here the peer's remote subnets, and remote_subnets here the peer's local ones";
    Finding::failed(stage, message).code("E1006").fix(fix)
}

/// The same with code and remedy of the reason.
fn with_reason(finding: Finding, reason: Option<crate::status::Reason>) -> Finding {
    match reason {
        Some(reason) => finding.code(reason.code).fix(reason.fix),
        None => finding,
    }
}

/// `10.1.0.0/16 ⇄ 10.2.0.0/16`, after narrowing.
fn networks(sa: &Installed) -> String {
    let list = |all: &[ikev2::TrafficSelector]| {
        all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    };
    format!("{} ⇄ {}", list(&sa.local_ts), list(&sa.remote_ts))
}

/// The smallest of the networks that has the address.
fn narrowest(networks: &[IpNet], ip: IpAddr) -> Option<IpNet> {
    let fitting = networks.iter().copied().filter(|network| network.contains(&ip));
    fitting.max_by_key(IpNet::prefix_len)
}

fn size_of(networks: &[IpNet], ip: IpAddr) -> Option<u8> {
    narrowest(networks, ip).map(|network| network.prefix_len())
}

const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// Of a packet whose other port alone was given.
const SOME_PORT: u16 = 49_152;

/// Octets of the packets that most hosts send, by their Ethernet.
const USUAL_PACKET: u16 = 1500;
