//! From form to meaning: names to what they name, defaults filled in, everything compared with everything.
//!
//! ```text
//!   Raw ─┬─ gateways ──────► Gateway ──┐
//!        ├─ networks ──────► Networks ─┼─► Draft of each connection ─► compare ─► [Connection]
//!        ├─ policies ──────► Policies ─┘
//!        └─ connections ────────────────┘
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::address::{address, network};
use super::codes::Code;
use super::connection::{Context, Draft, Networks, repeated};
use super::credentials::Defaults;
use super::identities::identity;
use super::load::Surroundings;
use super::model::{Connection, Gateway, LeakProtection, Limits, Log, Security};
use super::monitor::{check_inside, management_ip};
use super::overlap::compare;
use super::policy::{Policies, twice};
use super::raw::{Raw, RawGateway, RawLimits, RawLog, RawNetwork};
use super::raw_connection::RawConnection;
use super::relay;
use super::report::Diagnostic;
use super::section::{Field, Findings};
use super::source::{At, Place};
use super::value::check_name;

/// What all files together mean.
pub(super) struct Meaning {
    pub(super) gateway: Gateway,
    pub(super) log: Log,
    pub(super) security: Security,
    pub(super) connections: Vec<Connection>,
}

/// Checks the meaning of all files together. `None` only after an error.
pub(super) fn validate(
    raw: &Raw,
    surroundings: &Surroundings,
    findings: &mut Findings,
) -> Option<Meaning> {
    let mut gateway = gateway(&raw.gateways, surroundings, findings);
    gateway.limits = limits(&raw.limits, findings);
    let http = only(&raw.https, "http", |one| &one.place, findings);
    gateway.http = http.map(|one| one.resolve(surroundings, findings));
    let log = log(&raw.logs, findings);
    let security = only(&raw.securities, "security", |one| &one.place, findings);
    let security = security.map(|one| Security::read(one, findings)).unwrap_or_default();
    let networks = resolve_networks(&raw.networks, findings);
    let policies = Policies::resolve(&raw.policies, &security, findings);
    let auth = Defaults::read(raw, surroundings, findings);
    for connection in &raw.connections {
        auth.check_any(connection, findings);
    }
    let context = Context {
        gateway: &gateway,
        networks: &networks,
        policies: &policies,
        security: &security,
        auth: &auth,
        surroundings,
    };
    let mut drafts: Vec<_> = unique(&raw.connections, findings)
        .into_iter()
        .map(|connection| Draft::read(connection, &context, findings))
        .collect();
    compare(&drafts, findings);
    check_management_ip(raw, &gateway, &drafts, findings);
    relay::join(&mut drafts);
    let connections: Option<Vec<_>> = drafts.into_iter().map(Draft::into_connection).collect();
    let connections = connections?;
    Some(Meaning { gateway, log, security, connections })
}

/// E0402: the address of the gateway fits no connection at all.
fn check_management_ip(raw: &Raw, gateway: &Gateway, drafts: &[Draft], findings: &mut Findings) {
    let Some(at) = raw.gateways.first().and_then(|first| first.management_ip.given()) else {
        return;
    };
    let Some(ours) = gateway.management_ip else { return };
    let mut networks = drafts.iter().flat_map(|draft| &draft.local).map(|at| &at.value).peekable();
    if networks.peek().is_some() {
        check_inside(&at.clone().map(|_| ours), networks, "every connection", findings);
    }
}

/// The one table of its kind; of several the first.
fn only<'r, T>(
    tables: &'r [T],
    name: &str,
    place: fn(&T) -> &Place,
    findings: &mut Findings,
) -> Option<&'r T> {
    let (first, others) = tables.split_first()?;
    for other in others {
        let second = At::new(name.to_owned(), place(other).clone());
        findings.add(twice("table", &second, place(first)));
    }
    Some(first)
}

fn log(raw: &[RawLog], findings: &mut Findings) -> Log {
    let mut log = Log::default();
    let Some(raw) = only(raw, "log", |one| &one.place, findings) else { return log };
    if let Some(at) = raw.level.given() {
        match crate::log::check(&at.value) {
            Ok(()) => log.level.clone_from(&at.value),
            Err(why) => findings.add(
                Diagnostic::at(
                    Code::UnknownWord,
                    &at.place,
                    format!("`{}` says not what to log", at.value),
                )
                .label(why)
                .fix(
                    "write error, warn, info, debug or trace, or a list such as \"info,ike=debug\"",
                ),
            ),
        }
    }
    log.format = raw.format.value().copied().unwrap_or(log.format);
    log
}

/// The connections in the order of the files; of those with one name only the first.
fn unique<'r>(raw: &'r [RawConnection], findings: &mut Findings) -> Vec<&'r RawConnection> {
    let mut places = BTreeMap::new();
    let mut connections = Vec::new();
    for connection in raw {
        let name = &connection.name;
        if let Some(first) = places.get(&name.value) {
            findings.add(twice("connection", name, first));
            continue;
        }
        places.insert(name.value.clone(), name.place.clone());
        connections.push(connection);
    }
    connections
}

fn resolve_networks(raw: &[RawNetwork], findings: &mut Findings) -> Networks {
    let mut groups = BTreeMap::new();
    let mut places = BTreeMap::new();
    for group in raw {
        let name = &group.name;
        check_name("network", name, findings);
        if let Some(first) = places.insert(name.value.clone(), name.place.clone()) {
            findings.add(twice("network", name, &first));
            continue;
        }
        let members = group.members.value().and_then(|list| {
            let members: Vec<_> = list.iter().map(|member| network(member, findings)).collect();
            members.into_iter().map(|member| member.map(|at| at.value)).collect::<Option<Vec<_>>>()
        });
        groups.insert(name.value.clone(), members);
    }
    Networks(groups)
}

fn gateway(raw: &[RawGateway], surroundings: &Surroundings, findings: &mut Findings) -> Gateway {
    let defaults = ikev2::EndpointConfig::default();
    let mut gateway = Gateway {
        name: surroundings.host_name.clone(),
        id: None,
        listen: Vec::new(),
        ike_port: 500,
        nat_port: 4500,
        tun: "s2s0".into(),
        mtu: None,
        control: PathBuf::from("/run/s2s-gw/control.sock"),
        state: Some(PathBuf::from("/var/lib/s2s-gw/state.json")),
        user: None,
        sandbox: true,
        workers: 1,
        cookie_threshold: defaults.cookie_threshold,
        max_half_open: defaults.max_half_open,
        leak_protection: LeakProtection::Running,
        allow_key_export: false,
        limits: Limits::default(),
        management_ip: None,
        public_addresses: Vec::new(),
        http: None,
    };
    let Some(first) = only(raw, "gateway", |one| &one.place, findings) else { return gateway };
    if let Some(name) = checked(&first.name, gateway_name_fault, findings) {
        gateway.name = name;
    }
    if let Some(tun) = checked(&first.tun, interface_fault, findings) {
        gateway.tun = tun;
    }
    if let Some(control) = checked(&first.control, socket_fault, findings) {
        gateway.control = control.into();
    }
    if let Some(state) = checked(&first.state, state_fault, findings) {
        gateway.state = (state != STATE_OFF).then(|| state.into());
    }
    gateway.user = checked(&first.user, user_fault, findings);
    gateway.sandbox = first.sandbox.value().copied().unwrap_or(true);
    gateway.id = identity(&first.id, findings);
    gateway.listen = addresses("listen", &first.listen, findings);
    gateway.management_ip = management_ip(&first.management_ip, findings).map(|at| at.value);
    gateway.public_addresses = addresses("public_addresses", &first.public_addresses, findings);
    gateway.mtu = first.mtu.value().copied().flatten().and_then(|mtu| u16::try_from(mtu).ok());
    gateway.ike_port = port(&first.ike_port, gateway.ike_port);
    gateway.nat_port = port(&first.nat_port, gateway.nat_port);
    gateway.workers = count(&first.workers, gateway.workers);
    gateway.cookie_threshold = count(&first.cookie_threshold, gateway.cookie_threshold);
    gateway.max_half_open = count(&first.max_half_open, gateway.max_half_open);
    if let Some(protection) = first.leak_protection.value() {
        gateway.leak_protection = *protection;
    }
    if let Some(allowed) = first.allow_key_export.given().filter(|at| at.value) {
        gateway.allow_key_export = true;
        findings.add(gives_keys_away(&allowed.place));
    }
    if gateway.ike_port == gateway.nat_port {
        findings.add(same_ports(first));
    }
    gateway
}

fn limits(raw: &[RawLimits], findings: &mut Findings) -> Limits {
    let usual = Limits::default();
    let Some(raw) = only(raw, "limits", |one| &one.place, findings) else { return usual };
    let rate = |field: &Field<u64>, default: u32| {
        field.value().and_then(|&value| u32::try_from(value).ok()).unwrap_or(default)
    };
    Limits {
        half_open_time: raw.half_open_time.value().copied().unwrap_or(usual.half_open_time),
        max_init_octets: count(&raw.max_init_octets, usual.max_init_octets),
        max_half_open_octets: count(&raw.max_half_open_octets, usual.max_half_open_octets),
        max_message_octets: count(&raw.max_message_octets, usual.max_message_octets),
        max_refusals: rate(&raw.max_refusals, usual.max_refusals),
        max_children: count(&raw.max_children, usual.max_children),
        max_ike_sas: count(&raw.max_ike_sas, usual.max_ike_sas),
        max_exchanges: rate(&raw.max_exchanges, usual.max_exchanges),
    }
}

/// The form has checked the range already.
fn port(field: &Field<u64>, default: u16) -> u16 {
    field.value().and_then(|&value| u16::try_from(value).ok()).unwrap_or(default)
}

/// The same.
fn count(field: &Field<u64>, default: usize) -> usize {
    field.value().and_then(|&value| usize::try_from(value).ok()).unwrap_or(default)
}

fn gives_keys_away(place: &Place) -> Diagnostic {
    Diagnostic::at(Code::KeyExport, place, "the keys of SAs can be asked for")
        .label("`s2s-gw keys` gives them to root and the user of the daemon")
        .why("whoever has them reads what the SAs carry, and what was recorded of it")
        .fix("take it out when you are done, and start the gateway again")
}

fn same_ports(raw: &RawGateway) -> Diagnostic {
    let place = raw.nat_port.given().or(raw.ike_port.given()).map_or(&raw.place, |at| &at.place);
    Diagnostic::at(Code::OutOfRange, place, "`nat_port` and `ike_port` are the same")
        .label("both sockets would have this port")
        .why("datagrams have a marker in front of IKE on one port and none on the other (RFC 3948 §2.2)")
        .fix("leave both out to get 500 and 4500")
}

fn addresses(key: &str, field: &Field<Vec<At<String>>>, findings: &mut Findings) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for text in field.value().into_iter().flatten() {
        let Some(at) = address(key, text, findings) else { continue };
        if addresses.contains(&at.value) {
            findings.add(repeated(&at.place, format!("{} is listed already", at.value)));
        } else {
            addresses.push(at.value);
        }
    }
    addresses
}

/// A text that `fault` has nothing against.
fn checked(
    field: &Field<String>,
    fault: fn(&str) -> Option<Fault>,
    findings: &mut Findings,
) -> Option<String> {
    let at = field.given()?;
    let Some(Fault { code, message, fix }) = fault(&at.value) else {
        return Some(at.value.clone());
    };
    findings.add(Diagnostic::at(code, &at.place, message).label("this one").fix(fix));
    None
}

/// What is wrong with a text of `[gateway]`.
struct Fault {
    code: Code,
    message: &'static str,
    fix: &'static str,
}

fn gateway_name_fault(name: &str) -> Option<Fault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (name.len() > 64 || !name.chars().all(allowed)).then_some(Fault {
        code: Code::BadName,
        message: "this cannot name a gateway",
        fix: "write at most 64 letters, digits, `.`, `-` and `_`, such as \"fra1\"",
    })
}

/// What the kernel accepts as the name of an interface, and no pattern (`%d`).
fn interface_fault(name: &str) -> Option<Fault> {
    let bad = |c: char| matches!(c, '/' | ':' | '%') || c.is_whitespace() || c.is_control();
    (name.len() > 15 || matches!(name, "." | "..") || name.chars().any(bad)).then_some(Fault {
        code: Code::BadName,
        message: "this cannot name an interface",
        fix: "write 1 to 15 letters and digits, such as \"s2s0\"",
    })
}

fn socket_fault(path: &str) -> Option<Fault> {
    (path.len() > SOCKET_PATH_MAX).then_some(Fault {
        code: Code::OutOfRange,
        message: "the path of a socket has at most 107 octets",
        fix: "choose a shorter path, such as \"/run/s2s-gw/control.sock\"",
    })
}

/// What no system has as the name of a user; whether this one has it is seen at the start.
fn user_fault(name: &str) -> Option<Fault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '$');
    let is_name = name.len() <= 32 && !name.is_empty() && name.chars().all(allowed);
    (!is_name || name.starts_with('-')).then_some(Fault {
        code: Code::BadName,
        message: "this cannot name a user",
        fix: "write the name of a user of this host, or \"root\" to stay root; leave it out for \"s2s-gw\"",
    })
}

/// What runs elsewhere than it was started would look for it elsewhere.
fn state_fault(path: &str) -> Option<Fault> {
    (path != STATE_OFF && !path.starts_with('/')).then_some(Fault {
        code: Code::OutOfRange,
        message: "this is neither a path from the root nor \"off\"",
        fix: "write a whole path, such as \"/var/lib/s2s-gw/state.json\", or \"off\" to keep nothing over a restart",
    })
}

/// In the place of a path: nothing is kept.
const STATE_OFF: &str = "off";

/// `sun_path` without its closing NUL.
const SOCKET_PATH_MAX: usize = 107;
