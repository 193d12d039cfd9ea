//! One connection: the path to its peer, what was negotiated, and whether packets pass.
//!
//! ```text
//!   path         peer name ─► route ─► IKE_SA_INIT on 500 and on 4500 ─► ESP comes back ─► MTU
//!   negotiation  state, reason of the last failure; each child: narrowing, PFS
//!   traffic      drops; `explain` of a sample packet each way; an echo to a host behind the peer
//! ```
//!
//! What the daemon knows is taken from its status, in its words and with its codes.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use ipnet::IpNet;

use super::super::client::{Daemon, snapshot};
use super::super::explain;
use super::super::ping::source_for;
use super::in_layer;
use super::longest::{self, Hole};
use crate::io::echo::{COOKIE_LEN, Echo, Heard};
use crate::status::client;
use crate::status::diagnosis::{Finding, Level};
use crate::status::protocol::{Packet, RefusalKind, Request, Response};
use crate::status::{ChildStatus, Code, ConnectionStatus, Snapshot, State, words};
use crate::sys::netlink::Netlink;

/// All three layers of it.
pub(super) fn look(
    daemon: &Daemon,
    snapshot: &Snapshot,
    connection: &ConnectionStatus,
) -> Vec<Finding> {
    let name = &connection.name;
    if connection.state == State::Disabled {
        let finding = Finding::skipped("state", "switched off").fix(format!("s2s-gw up {name}"));
        return named(name, in_layer("negotiation", vec![finding]));
    }
    let trial = Trial::make(daemon, snapshot, connection);
    let mut path = peer(snapshot, connection);
    path.extend(probes(daemon, connection));
    path.extend(esp(connection, trial.as_ref()));
    path.extend(mtu(snapshot, connection, trial.as_ref()));
    let mut traffic = drops(snapshot, connection);
    traffic.extend(samples(daemon, connection, trial.as_ref()));
    traffic.extend(trial.map(|trial| trial.echo()));
    let mut all = in_layer("path", path);
    all.extend(in_layer("negotiation", negotiation(connection)));
    all.extend(in_layer("traffic", traffic));
    named(name, all)
}

fn named(name: &str, findings: Vec<Finding>) -> Vec<Finding> {
    findings
        .into_iter()
        .map(|finding| Finding { connection: Some(name.to_owned()), ..finding })
        .collect()
}

/// The names of the peer, and the routes to where they lead.
fn peer(snapshot: &Snapshot, connection: &ConnectionStatus) -> Vec<Finding> {
    let code = Code::NoPath.id();
    let mut all = Vec::new();
    for host in connection.peer.configured.iter().filter(|host| *host != "any") {
        let addresses = addresses(host);
        if addresses.is_empty() {
            let message = format!("the name {host} cannot be resolved");
            all.push(
                Finding::failed("name", message)
                    .code(code)
                    .fix(format!("getent hosts {host}; correct `peer` or the resolver")),
            );
            continue;
        }
        all.extend(addresses.into_iter().map(|address| way_to(snapshot, address)));
    }
    if all.is_empty() {
        let message = match &connection.peer.active {
            Some(active) => format!("calls us from anywhere, at present from {active}"),
            None => "calls us from anywhere, and is not there".to_owned(),
        };
        all.push(Finding::passed("peer", message));
    }
    all
}

/// Where `HOST`, `ADDRESS`, either with `:PORT`, leads.
fn addresses(host: &str) -> Vec<IpAddr> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return vec![address];
    }
    if let Ok(address) = host.parse::<SocketAddr>() {
        return vec![address.ip()];
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let found = (name, 500).to_socket_addrs();
    let mut found: Vec<IpAddr> = found.into_iter().flatten().map(|address| address.ip()).collect();
    found.dedup();
    found
}

fn way_to(snapshot: &Snapshot, peer: IpAddr) -> Finding {
    let stage = "route";
    let Ok(mut netlink) = Netlink::open() else {
        return Finding::skipped(stage, "the kernel does not tell its routes");
    };
    let tun = netlink.link_index(&snapshot.tun.name).ok();
    match netlink.route_to(peer) {
        Ok(way) if way.device.is_some() && way.device == tun => {
            let message = format!("the way to the peer {peer} leads into our own tunnel: {way}");
            Finding::failed(stage, message)
                .fix(format!("ip route add {peer} via the router of this host"))
        }
        Ok(way) => Finding::passed(stage, format!("to {peer}: {way}")),
        Err(error) => {
            let code = Code::NoPath.id();
            Finding::failed(stage, error.to_string()).code(code).fix(format!("ip route get {peer}"))
        }
    }
}

/// Asks the peer by IKE_SA_INIT on both ports, both at the same time, for silence takes four seconds.
fn probes(daemon: &Daemon, connection: &ConnectionStatus) -> Vec<Finding> {
    if connection.peer.configured.iter().any(|host| host == "any") {
        return vec![Finding::skipped("ike", "we know no address to call this peer at")];
    }
    let endpoint = connection.peer.active.as_ref().and_then(|active| active.parse().ok());
    let configured = || {
        let host = connection.peer.configured.first()?;
        let port = host.parse::<SocketAddr>().map_or(IKE_PORT, |address| address.port());
        Some(SocketAddr::new(*addresses(host).first()?, port))
    };
    let Some(endpoint): Option<SocketAddr> = endpoint.or_else(configured) else {
        return vec![Finding::skipped("ike", "we know no address to call this peer at")];
    };
    let ports = match endpoint.port() {
        IKE_PORT | NAT_PORT => vec![IKE_PORT, NAT_PORT],
        other => vec![other],
    };
    let up = matches!(connection.state, State::Up | State::Degraded);
    let ask = |port: u16| {
        let to = SocketAddr::new(endpoint.ip(), port);
        let request = Request::Failover {
            connection: connection.name.clone(),
            to: Some(to.to_string()),
            probe: true,
        };
        let stage = format!("ike {port}");
        match client::ask(&daemon.control, &request) {
            Ok(Response::Done { message }) => Finding::passed(&stage, message),
            Ok(Response::Refused { kind: RefusalKind::Permission, .. }) => Finding::skipped(
                &stage,
                "only who may change the gateway may ask the peer; run this as root",
            ),
            Ok(Response::Refused { kind: RefusalKind::NotNow, .. }) => silent(&stage, to, up),
            Ok(Response::Refused { message, .. }) => Finding::skipped(&stage, message),
            Ok(_) => Finding::skipped(&stage, "the daemon gave another answer"),
            Err(error) => Finding::skipped(&stage, error.to_string()),
        }
    };
    let ask = &ask;
    std::thread::scope(|scope| {
        let asked: Vec<_> = ports.iter().map(|port| scope.spawn(move || ask(*port))).collect();
        asked.into_iter().filter_map(|one| one.join().ok()).collect()
    })
}

/// While an IKE SA stands, the port that it does not use need not be open.
fn silent(stage: &str, to: SocketAddr, up: bool) -> Finding {
    let message = format!("{to} does not answer IKE_SA_INIT");
    let fix = format!(
        "check that the address is right, that the peer runs, and that UDP {} passes every firewall",
        to.port()
    );
    let finding = if up {
        Finding::warned(stage, message)
    } else {
        Finding::failed(stage, message).code(Code::NoAnswer.id())
    };
    finding.fix(fix)
}

/// Whether ESP comes back.
fn esp(connection: &ConnectionStatus, trial: Option<&Trial>) -> Vec<Finding> {
    let up = |child: &&ChildStatus| child.sa.is_some();
    let each = connection.children.iter().filter(up).map(|child| {
        let stage = "esp";
        let (sent, received) = (child.tx_packets, child.rx_packets);
        let name = &child.name;
        let counted = format!("{name}: {sent} packets sent, {received} received");
        let encapsulation = child.sa.as_ref().map_or("esp", |sa| sa.encapsulation.as_str());
        let what = if encapsulation == "udp" { "UDP 4500" } else { "IP protocol 50" };
        let one_way = connection.reason.as_ref().filter(|reason| reason.code == Code::OneWay.id());
        let came_back = trial.and_then(|trial| trial.came_back(name));
        let fix = format!(
            "let {what} pass every firewall on the way, and check the peer's packet counters and the route back on its hosts"
        );
        let code = Code::OneWay.id();
        let nothing = received == 0 && sent >= ENOUGH;
        match (one_way, came_back) {
            (_, Some(true)) => Finding::passed(stage, counted),
            (Some(reason), _) => {
                let message = format!("{name}: {}", reason.message);
                Finding::failed(stage, message).code(code).fix(fix)
            }
            (None, _) if nothing => {
                let message = format!("{counted}: nothing comes back");
                Finding::failed(stage, message).code(code).fix(fix)
            }
            (None, Some(false)) => {
                let message = format!("{counted}; to our echoes nothing came back");
                Finding::warned(stage, message).fix(fix)
            }
            (None, None) => Finding::passed(stage, counted),
        }
    });
    each.collect()
}

fn mtu(
    snapshot: &Snapshot,
    connection: &ConnectionStatus,
    trial: Option<&Trial>,
) -> Option<Finding> {
    connection.ike.as_ref()?;
    if let Some(hole) = trial.and_then(|trial| trial.long) {
        return Some(black_hole(hole));
    }
    let tun = snapshot.tun.mtu;
    Some(match connection.path_mtu {
        Some(path) => Finding::passed(
            "mtu",
            format!(
                "packets of up to {} octets fit the path of {}; {tun} fit the device",
                path.inner, path.outer
            ),
        ),
        None => Finding::passed("mtu", format!("packets of up to {tun} octets")),
    })
}

/// Long packets vanish, and nobody tells their sender (RFC 2923 §2.1).
fn black_hole(Hole { passes, vanishes, allowed }: Hole) -> Finding {
    let message = format!(
        "packets of {passes} octets come back, those of {vanishes} to {allowed} are lost: a link on the way is narrower, \
         and nobody says so"
    );
    let fix = format!(
        "set `mtu = {passes}` of the connection on both gateways, or let ICMP \"fragmentation needed\" pass every \
         firewall on the way"
    );
    Finding::failed("mtu", message).code(Code::BlackHole.id()).fix(fix)
}

/// What was agreed on, or why nothing was.
fn negotiation(connection: &ConnectionStatus) -> Vec<Finding> {
    let ConnectionStatus { name, state, reason, .. } = connection;
    let mut all = Vec::new();
    match (state, reason, &connection.ike) {
        (State::Down | State::Error | State::Connecting, Some(reason), None) => {
            let told = std::iter::once(&reason.message).chain(&reason.detail);
            let told = told.map(String::as_str).collect::<Vec<_>>().join("; ");
            let message = format!("{}: {told}", reason.alert);
            all.push(Finding::failed("ike sa", message).code(&*reason.code).fix(&*reason.fix));
        }
        (_, _, Some(ike)) => all.push(Finding::passed("ike sa", ike.suite.clone())),
        (State::Waiting, ..) => {
            let awaits = connection.awaits.as_deref().unwrap_or("a command");
            all.push(
                Finding::warned("ike sa", format!("not up: it waits for {awaits}"))
                    .fix(format!("s2s-gw up {name}")),
            );
        }
        (_, _, None) => {
            let message = format!("{name} is {}", state.word());
            all.push(
                Finding::failed("ike sa", message)
                    .fix(format!("s2s-gw status {name}, in a moment")),
            );
        }
    }
    if connection.ike.is_some() {
        all.extend(connection.children.iter().flat_map(negotiated));
    }
    let warnings = connection.warning_details.iter().map(|warning| {
        let message = warning.message.clone().unwrap_or_else(|| warning.title.clone());
        Finding::warned("warning", message).code(warning.code.clone()).fix(warning.fix.clone())
    });
    all.extend(warnings);
    all
}

fn negotiated(child: &ChildStatus) -> Vec<Finding> {
    let name = &child.name;
    let stage = "child";
    let mut all = Vec::new();
    let explained = |level| {
        child.reason.as_ref().map(|reason| {
            let message = format!("{name}: {}", reason.message);
            Finding::new(level, stage, message).code(&*reason.code).fix(&*reason.fix)
        })
    };
    match (&child.sa, child.state) {
        (_, State::Disabled) => {
            all.push(Finding::skipped(stage, format!("{name} is switched off")));
        }
        (Some(sa), _) => {
            let rekey = words::seconds(sa.rekey_in_seconds);
            let pfs = child.pfs.as_ref().map(|pfs| format!(", pfs {pfs}")).unwrap_or_default();
            all.push(Finding::passed(
                stage,
                format!("{name}: {}{pfs}, rekey in {rekey}", sa.suite),
            ));
            all.extend(explained(Level::Warned));
        }
        (None, _) => {
            let unknown = || Finding::failed(stage, format!("{name} has no SA"));
            all.push(explained(Level::Failed).unwrap_or_else(unknown));
        }
    }
    all
}

/// What was dropped, where that says something.
fn drops(snapshot: &Snapshot, connection: &ConnectionStatus) -> Vec<Finding> {
    let own = connection.children.iter().flat_map(|child| &child.drops);
    let all = own.chain(&snapshot.drops.esp);
    let mut found: Vec<Finding> = Vec::new();
    for (word, count) in all {
        let Some((_, what, fix)) = TELLING.iter().find(|(known, ..)| known == word) else {
            continue;
        };
        found.push(Finding::warned("drops", format!("{word} {count}: {what}")).fix(*fix));
    }
    if found.is_empty() {
        found.push(Finding::passed("drops", "nothing that says something is wrong"));
    }
    found
}

/// Reasons of drops that are no accident, what they mean, and what to do.
const TELLING: [(&str, &str, &str); 9] = [
    (
        "no-policy",
        "packets came that no connection is for",
        "s2s-gw explain SRC DST, for such a packet",
    ),
    ("no-sa", "packets came while the tunnel was not up", "nothing, if it is up now"),
    (
        "selector-mismatch",
        "packets that the two sides did not agree on",
        "s2s-gw explain SRC DST; make the subnets of both sides the same",
    ),
    (
        "bad-icv",
        "packets were damaged, forged, or sealed with other keys",
        "look for a device that changes packets on the way",
    ),
    ("too-old", "packets came later than the replay window allows", "raise `replay_window`"),
    (
        "too-big",
        "packets did not fit the path",
        "set `mtu` of the connection to what the path takes",
    ),
    (
        "send-failed",
        "this host would not send packets",
        "look for a firewall of this host, and at its routes",
    ),
    (
        "queue-full",
        "the send queue of this host was full",
        "nothing, unless it grows; then the link is too slow",
    ),
    ("device", "the TUN device refused packets", "ip link show; it has to be up"),
];

/// The way of a packet from a host of ours to one behind the peer, and back.
fn samples(daemon: &Daemon, connection: &ConnectionStatus, trial: Option<&Trial>) -> Vec<Finding> {
    let Some(child) = connection.children.first() else { return Vec::new() };
    let (Some(ours), Some(theirs)) = (sample(&child.local), sample(&child.remote)) else {
        return Vec::new();
    };
    let ours = trial.map_or(ours, |trial| trial.source);
    let each = [("way out", ours, theirs), ("way in", theirs, ours)];
    let each = each.into_iter().map(|(stage, source, destination)| {
        let packet = Packet {
            source,
            destination,
            protocol: None,
            source_port: None,
            destination_port: None,
        };
        match explain::ask(daemon, packet) {
            Ok(walk) => {
                let message =
                    format!("{source} -> {destination}: {}", walk.verdict.trim_end_matches('.'));
                let level = if walk.passes { Level::Passed } else { Level::Failed };
                Finding::new(level, stage, message)
            }
            Err(failure) => Finding::skipped(stage, failure.sentence.unwrap_or_default()),
        }
    });
    each.collect()
}

/// The first host of the first network.
pub(in crate::cli) fn sample(networks: &[String]) -> Option<IpAddr> {
    networks.iter().find_map(|text| text.parse::<IpNet>().ok()?.hosts().next())
}

/// Echoes to a host behind the peer, and what the counters say of them.
struct Trial {
    source: IpAddr,
    target: IpAddr,
    heard: Option<Heard>,
    /// Where long packets are lost, if the short echo came back.
    long: Option<Hole>,
    /// By child, whether anything came in since; only where something went out.
    came_back: Vec<(String, bool)>,
}

impl Trial {
    /// `None` if the connection is not up, or this host has no address that its tunnel takes, or may not send echoes.
    fn make(daemon: &Daemon, before: &Snapshot, connection: &ConnectionStatus) -> Option<Self> {
        let child = connection.children.iter().find(|child| child.sa.is_some())?;
        let target = sample(&child.remote)?;
        let source = source_for(daemon, before, target).ok()?;
        let echo = Echo::open(source, target).ok()?;
        let (mut heard, mut long) = (None, None);
        for seq in 1..=ECHOES {
            match echo.ask(seq, COOKIE_LEN, Duration::from_secs(1)).ok()? {
                Heard::Nothing => {}
                other @ (Heard::Reply(_) | Heard::Error(_)) => {
                    heard = Some(other);
                    break;
                }
            }
        }
        if let Some(Heard::Reply(took)) = heard {
            let found = longest::search(&echo, target, ECHOES, took, before.tun.mtu.into());
            long = found.ok().flatten();
        }
        let after = snapshot(&daemon.control).ok()?;
        let after = after.connections.iter().find(|one| one.name == connection.name)?;
        let came_back = connection.children.iter().filter_map(|before| {
            let after = after.children.iter().find(|child| child.name == before.name)?;
            let sent = after.tx_packets > before.tx_packets;
            // The counters follow the packets, so that the answer itself may be ahead of them.
            let answered = before.name == child.name && matches!(heard, Some(Heard::Reply(_)));
            let came = answered || after.rx_packets > before.rx_packets;
            (sent || answered).then(|| (before.name.clone(), came))
        });
        Some(Self { source, target, heard, long, came_back: came_back.collect() })
    }

    fn came_back(&self, child: &str) -> Option<bool> {
        self.came_back.iter().find(|(name, _)| name == child).map(|(_, came)| *came)
    }

    fn echo(&self) -> Finding {
        let Self { source, target, .. } = self;
        let stage = "ping";
        match self.heard {
            Some(Heard::Reply(took)) => {
                let took = words::round_trip(took);
                Finding::passed(stage, format!("{target} answers {source}, {took}"))
            }
            Some(Heard::Error(error)) => {
                let from =
                    error.from.map_or_else(|| "this host".to_owned(), |from| from.to_string());
                let message =
                    format!("{target}: {from} says {}", error.sentence(error.from.is_none()));
                Finding::warned(stage, message)
                    .fix(format!("s2s-gw ping HOST, with one that is there (source {source})"))
            }
            Some(Heard::Nothing) | None => {
                let message =
                    format!("{target} does not answer {source}; perhaps there is no such host");
                Finding::warned(stage, message).fix("s2s-gw ping HOST, with one that is there")
            }
        }
    }
}

const IKE_PORT: u16 = 500;
const NAT_PORT: u16 = 4500;

/// So many echoes; a router needs three seconds to say that there is no such host.
const ECHOES: u16 = 4;

/// So many packets without one back are no accident, as for the daemon.
const ENOUGH: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_have_a_port() {
        let one = IpAddr::from([192, 0, 2, 9]);
        assert_eq!(addresses("192.0.2.9"), [one]);
        assert_eq!(addresses("192.0.2.9:4500"), [one]);
        assert_eq!(
            addresses("2001:db8::9"),
            ["2001:db8::9".parse::<IpAddr>().expect("an address")]
        );
    }

    #[test]
    fn a_sample_is_a_host() {
        let networks = ["10.2.0.0/16".to_owned()];
        assert_eq!(sample(&networks), Some([10, 2, 0, 1].into()));
    }

    #[test]
    fn silence_on_the_other_port_is_no_fault_of_a_tunnel_that_is_up() {
        let to = "192.0.2.9:500".parse().expect("an address");
        assert_eq!(silent("ike 500", to, true).level, Level::Warned);
        let down = silent("ike 500", to, false);
        assert_eq!((down.level, down.code.as_deref()), (Level::Failed, Some("E1001")));
    }

    #[test]
    fn telling_drops_are_drops() {
        for (word, ..) in TELLING {
            let known = esp::DropReason::ALL.iter().any(|reason| reason.word() == word)
                || crate::dataplane::IoLoss::ALL.iter().any(|loss| loss.word() == word);
            assert!(known, "{word}");
        }
    }
}
