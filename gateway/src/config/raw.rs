//! The file in its form: the tables and keys that are there, each value of its type, nothing resolved yet.
//!
//! ```text
//!   [networks]           ─► RawNetwork      name, networks or names
//!   [policy.strong]      ─► RawPolicy       proposals as text, lifetimes
//!   [connection.berlin]  ─► RawConnection   names of policy and networks as text
//! ```
//!
//! Every value keeps its place, because what is wrong with it may only turn out when it meets the others.

use std::ops::RangeInclusive;
use std::time::Duration;

use ikev2::{Childless, DpdAction, Encap, FragmentSizes, Fragmentation, Start};
use toml::de::DeValue;
use zeroize::Zeroizing;

use super::codes::Code;
use super::document::Document;
use super::keys;
use super::model::{Failback, LogFormat, MssClamp};
use super::report::Diagnostic;
use super::secret::{InlineKey, KeySource};
use super::section::{Field, Findings, Section, match_word, text_of, texts_of, wrong_type};
use super::source::{At, Place};
use super::value::{duration, size};

/// All files together.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) include: Vec<At<String>>,
    /// `[gateway]`, of every file that has one.
    pub(super) gateways: Vec<RawGateway>,
    /// `[log]`, the same.
    pub(super) logs: Vec<RawLog>,
    /// `[security]`, the same.
    pub(super) securities: Vec<RawSecurity>,
    pub(super) networks: Vec<RawNetwork>,
    pub(super) policies: Vec<RawPolicy>,
    pub(super) connections: Vec<RawConnection>,
}

/// `[gateway]`.
#[derive(Debug)]
pub(super) struct RawGateway {
    pub(super) place: Place,
    pub(super) name: Field<String>,
    pub(super) id: Field<String>,
    pub(super) listen: Field<Vec<At<String>>>,
    pub(super) ike_port: Field<u64>,
    pub(super) nat_port: Field<u64>,
    pub(super) tun: Field<String>,
    pub(super) mtu: Field<Option<u64>>,
    pub(super) control: Field<String>,
    pub(super) workers: Field<u64>,
    pub(super) cookie_threshold: Field<u64>,
    pub(super) max_half_open: Field<u64>,
    pub(super) management_ip: Field<String>,
    pub(super) public_addresses: Field<Vec<At<String>>>,
}

/// `[log]`.
#[derive(Debug)]
pub(super) struct RawLog {
    pub(super) place: Place,
    pub(super) level: Field<String>,
    pub(super) format: Field<LogFormat>,
}

/// `[security]`.
#[derive(Debug)]
pub(super) struct RawSecurity {
    pub(super) place: Place,
    pub(super) warn: Field<Vec<At<String>>>,
    pub(super) forbid: Field<Vec<At<String>>>,
}

/// One entry of `[networks]`.
#[derive(Debug)]
pub(super) struct RawNetwork {
    pub(super) name: At<String>,
    pub(super) members: Field<Vec<At<String>>>,
}

/// `[policy.NAME]`.
#[derive(Debug)]
pub(super) struct RawPolicy {
    pub(super) name: At<String>,
    pub(super) extends: Field<String>,
    pub(super) ike: Field<Vec<At<String>>>,
    pub(super) esp: Field<Vec<At<String>>>,
    pub(super) ike_lifetime: Field<Duration>,
    pub(super) esp_lifetime: Field<Duration>,
    pub(super) esp_lifebytes: Field<u64>,
    pub(super) esp_lifepackets: Field<u64>,
    pub(super) dpd: Field<RawDpd>,
    pub(super) pfs_check: Field<bool>,
}

/// `dpd = ..`.
#[derive(Debug)]
pub(super) enum RawDpd {
    Off,
    On { interval: Field<Duration>, timeout: Field<Duration>, action: Field<Death> },
}

/// `dpd.action`: what happens when a peer died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    /// With this connection alone.
    Of(DpdAction),
    /// Every connection to that peer is restarted.
    RestartPeer,
}

/// `[connection.NAME]`.
#[derive(Debug)]
pub(super) struct RawConnection {
    pub(super) name: At<String>,
    pub(super) description: Field<String>,
    pub(super) enabled: Field<bool>,
    pub(super) peer: Field<Vec<At<String>>>,
    pub(super) peer_id: Field<String>,
    pub(super) local_id: Field<String>,
    pub(super) psk: Field<KeySource>,
    pub(super) policy: Field<String>,
    pub(super) local_subnets: Field<Vec<At<String>>>,
    pub(super) remote_subnets: Field<Vec<At<String>>>,
    pub(super) start: Field<Start>,
    pub(super) encap: Field<Encap>,
    pub(super) mobike: Field<bool>,
    pub(super) follow_redirects: Field<bool>,
    pub(super) auth_lifetime: Field<Duration>,
    pub(super) fragmentation: Field<Fragmentation>,
    pub(super) childless: Field<Childless>,
    pub(super) selectors: Field<Selectors>,
    pub(super) dpd: Field<RawDpd>,
    pub(super) mtu: Field<Option<u64>>,
    pub(super) routes: Field<RawRoutes>,
    pub(super) metric: Field<u64>,
    pub(super) replay_window: Field<u64>,
    pub(super) nat_keepalive: Field<Duration>,
    pub(super) mss_clamp: Field<MssClamp>,
    pub(super) pfs_check: Field<bool>,
    pub(super) relay: Field<bool>,
    pub(super) management_ip: Field<String>,
    pub(super) log: Field<tracing::Level>,
    pub(super) failover: Field<RawFailover>,
    pub(super) monitors: Vec<RawMonitor>,
}

/// `[connection.NAME.failover]`.
#[derive(Debug)]
pub(super) struct RawFailover {
    pub(super) failback: Field<Failback>,
    pub(super) probe: Field<Duration>,
}

/// One `[[connection.NAME.monitor]]`.
#[derive(Debug)]
pub(super) struct RawMonitor {
    pub(super) place: Place,
    pub(super) kind: Field<RawMonitorKind>,
    pub(super) target: Field<String>,
    pub(super) port: Field<u64>,
    pub(super) interval: Field<Duration>,
    pub(super) fail_after: Field<u64>,
    pub(super) max_latency: Field<Duration>,
}

/// `kind` of a monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RawMonitorKind {
    Icmp,
    Tcp,
}

/// How subnets are spread over CHILD_SAs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selectors {
    /// One per address family, until the peer shows that it wants one per pair.
    Auto,
    /// One per address family.
    Combined,
    /// One per pair of a local and a remote subnet.
    Split,
}

/// `routes = ..`.
#[derive(Debug)]
pub(super) enum RawRoutes {
    Auto,
    None,
    List(Vec<At<String>>),
}

impl Raw {
    /// Adds one file. `version` and `include` belong into the main file only.
    pub(super) fn read(&mut self, document: &Document<'_>, is_main: bool, findings: &mut Findings) {
        let start = Place { source: document.source.clone(), span: 0..0 };
        let file = Section::open(&document.table, "this file".into(), start, keys::FILE, findings);
        read_version(&file, findings);
        if let Field::Given(patterns) = file.texts("include", findings) {
            if is_main {
                self.include = patterns.value;
            } else {
                findings.add(nested_include(&patterns.place));
            }
        }
        if let Field::Given(value) = file.raw("gateway")
            && let Some(section) = titled(&value, "gateway", "[gateway]", keys::GATEWAY, findings)
        {
            self.gateways.push(RawGateway::read(&section, findings));
        }
        if let Field::Given(value) = file.raw("log")
            && let Some(section) = titled(&value, "log", "[log]", keys::LOG, findings)
        {
            self.logs.push(RawLog::read(&section, findings));
        }
        if let Field::Given(value) = file.raw("security")
            && let Some(section) =
                titled(&value, "security", "[security]", keys::SECURITY, findings)
        {
            self.securities.push(RawSecurity::read(&section, findings));
        }
        if let Field::Given(value) = file.raw("networks")
            && let Some(section) = names_of(&value, "networks", findings)
        {
            for (name, value) in named(&section) {
                let members = texts_of("networks", &value, section.source(), findings);
                let members = members.map_or(Field::Wrong, Field::Given);
                self.networks.push(RawNetwork { name, members });
            }
        }
        for (name, section) in tables(&file, "policy", keys::POLICY, findings) {
            self.policies.push(RawPolicy::read(name, &section, findings));
        }
        for (name, section) in tables(&file, "connection", keys::CONNECTION, findings) {
            self.connections.push(RawConnection::read(name, &section, findings));
        }
    }
}

fn read_version(file: &Section<'_>, findings: &mut Findings) {
    let version = file.integer("version", 0..=u64::MAX, findings);
    if let Some(at) = version.given().filter(|at| at.value != 1) {
        findings.add(
            Diagnostic::at(
                Code::Version,
                &at.place,
                format!("version {} of the format is unknown", at.value),
            )
            .label("this program knows version 1")
            .fix("write `version = 1`, or use a newer program"),
        );
    }
}

fn nested_include(place: &Place) -> Diagnostic {
    Diagnostic::at(Code::UnknownKey, place, "`include` in an included file")
        .label("only the main file can include others")
        .fix("move it to the main file")
}

fn titled<'t>(
    value: &At<&'t DeValue<'t>>,
    key: &str,
    title: &str,
    keys: &'static [keys::Key],
    findings: &mut Findings,
) -> Option<Section<'t>> {
    match value.value.as_table() {
        Some(table) => {
            Some(Section::open(table, title.into(), value.place.clone(), keys, findings))
        }
        None => wrong_type(key, value, &format!("a table: {title}"), findings),
    }
}

/// A table whose keys are names that the operator chooses.
fn names_of<'t>(
    value: &At<&'t DeValue<'t>>,
    key: &str,
    findings: &mut Findings,
) -> Option<Section<'t>> {
    match value.value.as_table() {
        Some(table) => Some(Section::of_names(table, format!("[{key}]"), value.place.clone())),
        None => wrong_type(key, value, "a table", findings),
    }
}

/// The entries of a table of names, in the order of the file.
fn named<'t>(section: &Section<'t>) -> Vec<(At<String>, At<&'t DeValue<'t>>)> {
    let entry = |(name, value): (
        &toml::Spanned<toml::de::DeString<'t>>,
        &'t toml::Spanned<DeValue<'t>>,
    )| {
        let name = At::new(name.get_ref().to_string(), section.at(name.span()));
        (name, At::new(value.get_ref(), section.at(value.span())))
    };
    section.in_order().into_iter().map(entry).collect()
}

/// The tables `[key.NAME]`.
fn tables<'t>(
    file: &Section<'t>,
    key: &'static str,
    keys: &'static [keys::Key],
    findings: &mut Findings,
) -> Vec<(At<String>, Section<'t>)> {
    let Field::Given(value) = file.raw(key) else { return Vec::new() };
    let Some(section) = names_of(&value, key, findings) else { return Vec::new() };
    let mut found = Vec::new();
    for (name, value) in named(&section) {
        let title = format!("[{key}.{}]", name.value);
        match value.value.as_table() {
            Some(table) => {
                let section = Section::open(table, title, name.place.clone(), keys, findings);
                found.push((name, section));
            }
            None => findings.add(
                Diagnostic::at(
                    Code::WrongType,
                    &name.place,
                    format!("`{}` in [{key}] is not a table", name.value),
                )
                .label(format!("every {key} has a name of its own"))
                .fix(format!("write [{key}.NAME] above the keys of the {key}")),
            ),
        }
    }
    found
}

impl RawGateway {
    fn read(section: &Section<'_>, findings: &mut Findings) -> Self {
        Self {
            place: section.place().clone(),
            name: section.text("name", findings),
            id: section.text("id", findings),
            listen: section.texts("listen", findings),
            ike_port: section.integer("ike_port", 1..=65535, findings),
            nat_port: section.integer("nat_port", 1..=65535, findings),
            tun: section.text("tun", findings),
            mtu: read_mtu(section, findings),
            control: section.text("control", findings),
            workers: section.integer("workers", 1..=64, findings),
            cookie_threshold: section.integer("cookie_threshold", 0..=HALF_OPEN_MAX, findings),
            max_half_open: section.integer("max_half_open", 1..=HALF_OPEN_MAX, findings),
            management_ip: section.text("management_ip", findings),
            public_addresses: section.texts("public_addresses", findings),
        }
    }
}

impl RawLog {
    fn read(section: &Section<'_>, findings: &mut Findings) -> Self {
        Self {
            place: section.place().clone(),
            level: section.text("level", findings),
            format: section.word("format", &LOG_FORMAT, findings),
        }
    }
}

impl RawSecurity {
    fn read(section: &Section<'_>, findings: &mut Findings) -> Self {
        Self {
            place: section.place().clone(),
            warn: section.texts("warn", findings),
            forbid: section.texts("forbid", findings),
        }
    }
}

/// With 16 KiB each that is 1.6 GB under attack, which is more than anybody should give.
const HALF_OPEN_MAX: u64 = 100_000;

impl RawPolicy {
    fn read(name: At<String>, section: &Section<'_>, findings: &mut Findings) -> Self {
        Self {
            name,
            extends: section.text("extends", findings),
            ike: section.texts("ike", findings),
            esp: section.texts("esp", findings),
            ike_lifetime: duration(section, "ike_lifetime", LIFE_MIN..=LIFE_MAX, findings),
            esp_lifetime: duration(section, "esp_lifetime", LIFE_MIN..=LIFE_MAX, findings),
            esp_lifebytes: size(section, "esp_lifebytes", 1 << 16, findings),
            esp_lifepackets: section.integer("esp_lifepackets", 64..=u64::MAX, findings),
            dpd: read_dpd(section, findings),
            pfs_check: section.boolean("pfs_check", findings),
        }
    }
}

/// Short enough for tests; W0304 warns below a minute.
const LIFE_MIN: Duration = Duration::from_secs(1);
const LIFE_MAX: Duration = Duration::from_hours(30 * 24);

impl RawConnection {
    fn read(name: At<String>, section: &Section<'_>, findings: &mut Findings) -> Self {
        let raw = Self {
            name,
            description: section.text("description", findings),
            enabled: section.boolean("enabled", findings),
            peer: section.texts("peer", findings),
            peer_id: section.text("peer_id", findings),
            local_id: section.text("local_id", findings),
            psk: read_psk(section, findings),
            policy: section.text("policy", findings),
            local_subnets: section.texts("local_subnets", findings),
            remote_subnets: section.texts("remote_subnets", findings),
            start: section.word("start", &START, findings),
            encap: section.word("encap", &ENCAP, findings),
            mobike: section.boolean("mobike", findings),
            follow_redirects: section.boolean("follow_redirects", findings),
            auth_lifetime: duration(
                section,
                "auth_lifetime",
                AUTH_LIFETIME_MIN..=AUTH_LIFETIME_MAX,
                findings,
            ),
            fragmentation: read_fragmentation(section, findings),
            childless: section.word("childless", &CHILDLESS, findings),
            selectors: section.word("selectors", &SELECTORS, findings),
            dpd: read_dpd(section, findings),
            mtu: read_mtu(section, findings),
            routes: read_routes(section, findings),
            metric: section.integer("metric", 0..=u64::from(u32::MAX), findings),
            replay_window: section.integer("replay_window", REPLAY_WINDOW, findings),
            nat_keepalive: duration(
                section,
                "nat_keepalive",
                KEEPALIVE_MIN..=KEEPALIVE_MAX,
                findings,
            ),
            mss_clamp: read_mss_clamp(section, findings),
            pfs_check: section.boolean("pfs_check", findings),
            relay: section.boolean("relay", findings),
            management_ip: section.text("management_ip", findings),
            log: section.word("log", &LEVEL, findings),
            failover: read_failover(section, findings),
            monitors: section
                .tables("monitor", keys::MONITOR, findings)
                .iter()
                .map(|monitor| RawMonitor::read(monitor, findings))
                .collect(),
        };
        section.require(
            "peer",
            &raw.peer,
            "write `peer = \"ADDRESS or NAME\"`, or \"any\"",
            findings,
        );
        section.require("psk", &raw.psk, "write `psk = { file = \"PATH\" }`", findings);
        for (key, field) in
            [("local_subnets", &raw.local_subnets), ("remote_subnets", &raw.remote_subnets)]
        {
            // With NAT rules the local side follows from them.
            let from_nat = key == "local_subnets" && !section.raw("nat").is_absent();
            if field.is_absent() && !from_nat {
                findings.add(no_subnets(section, key));
            }
        }
        raw
    }
}

/// The windows that `esp` can keep, packets.
const REPLAY_WINDOW: RangeInclusive<u64> = 32..=65_536;

/// Shorter ones leave the peer no time to try again.
const AUTH_LIFETIME_MIN: Duration = Duration::from_mins(5);
const AUTH_LIFETIME_MAX: Duration = Duration::from_hours(366 * 24);
const KEEPALIVE_MIN: Duration = Duration::from_secs(1);
const KEEPALIVE_MAX: Duration = Duration::from_hours(1);

const START: [(&str, Start); 4] = [
    ("always", Start::Always),
    ("on-demand", Start::OnDemand),
    ("respond-only", Start::RespondOnly),
    ("manual", Start::Manual),
];
const ENCAP: [(&str, Encap); 2] = [("force", Encap::Force), ("auto", Encap::Auto)];
const SELECTORS: [(&str, Selectors); 3] =
    [("auto", Selectors::Auto), ("combined", Selectors::Combined), ("split", Selectors::Split)];
const CHILDLESS: [(&str, Childless); 3] =
    [("allow", Childless::Allow), ("prefer", Childless::Prefer), ("never", Childless::Never)];
const DPD_ACTION: [(&str, Death); 4] = [
    ("restart", Death::Of(DpdAction::Restart)),
    ("clear", Death::Of(DpdAction::Clear)),
    ("trap", Death::Of(DpdAction::Trap)),
    (keys::RESTART_PEER.name, Death::RestartPeer),
];
const LOG_FORMAT: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
const LEVEL: [(&str, tracing::Level); 5] = [
    ("error", tracing::Level::ERROR),
    ("warn", tracing::Level::WARN),
    ("info", tracing::Level::INFO),
    ("debug", tracing::Level::DEBUG),
    ("trace", tracing::Level::TRACE),
];
const FAILBACK: [(&str, Failback); 2] = [("auto", Failback::Auto), ("manual", Failback::Manual)];
const MONITOR_KIND: [(&str, RawMonitorKind); 2] =
    [("icmp", RawMonitorKind::Icmp), ("tcp", RawMonitorKind::Tcp)];

impl RawMonitor {
    fn read(section: &Section<'_>, findings: &mut Findings) -> Self {
        let monitor = Self {
            place: section.place().clone(),
            kind: section.word("kind", &MONITOR_KIND, findings),
            target: section.text("target", findings),
            port: section.integer("port", 1..=65535, findings),
            interval: duration(section, "interval", PROBE_MIN..=PROBE_MAX, findings),
            fail_after: section.integer("fail_after", 1..=100, findings),
            max_latency: duration(section, "max_latency", LATENCY_MIN..=LATENCY_MAX, findings),
        };
        section.require("kind", &monitor.kind, "write `kind = \"icmp\"` or \"tcp\"", findings);
        section.require(
            "target",
            &monitor.target,
            "write `target = \"ADDRESS\"` of a host behind the peer",
            findings,
        );
        monitor
    }
}

/// Between two probes of an endpoint or a monitor.
const PROBE_MIN: Duration = Duration::from_secs(1);
const PROBE_MAX: Duration = Duration::from_hours(1);
const LATENCY_MIN: Duration = Duration::from_millis(1);
const LATENCY_MAX: Duration = Duration::from_mins(1);

/// `[connection.NAME.failover]`.
fn read_failover(section: &Section<'_>, findings: &mut Findings) -> Field<RawFailover> {
    section.raw("failover").and_then(|at| {
        let place = at.place.clone();
        if !at.value.is_table() {
            return wrong_type("failover", &at, "a table such as { failback = \"10m\" }", findings);
        }
        let inner = section.inner("failover", at, keys::FAILOVER, findings)?;
        let failover = RawFailover {
            failback: read_failback(&inner, findings),
            probe: duration(&inner, "probe", PROBE_MIN..=PROBE_MAX, findings),
        };
        Some(At::new(failover, place))
    })
}

/// `"auto"`, `"manual"` or how long the preferred endpoint has to answer before.
fn read_failback(section: &Section<'_>, findings: &mut Findings) -> Field<Failback> {
    let starts_with_digit = |at: &At<&DeValue<'_>>| {
        at.value.as_str().is_some_and(|text| text.starts_with(|c: char| c.is_ascii_digit()))
    };
    match section.raw("failback") {
        Field::Given(at) if at.value.is_str() && !starts_with_digit(&at) => {
            section.word("failback", &FAILBACK, findings)
        }
        Field::Given(_) | Field::Wrong | Field::Absent => {
            let time = duration(section, "failback", PROBE_MIN..=FAILBACK_MAX, findings);
            time.and_then(|at| Some(at.map(Failback::After)))
        }
    }
}

const FAILBACK_MAX: Duration = Duration::from_hours(24);

/// `"auto"`, `"off"` or octets.
fn read_mss_clamp(section: &Section<'_>, findings: &mut Findings) -> Field<MssClamp> {
    section.raw("mss_clamp").and_then(|at| {
        if at.value.is_str() {
            let words = [("auto", MssClamp::Auto), ("off", MssClamp::Off)];
            return match_word("mss_clamp", text_of("mss_clamp", &at, findings)?, &words, findings);
        }
        let Field::Given(octets) = section.integer("mss_clamp", MSS, findings) else { return None };
        let size = u16::try_from(octets.value).ok()?;
        Some(At::new(MssClamp::AtMost(size), octets.place))
    })
}

/// Octets; less than what every IPv4 host takes (RFC 9293 §3.7.1) makes nothing work better.
const MSS: RangeInclusive<u64> = 536..=65_495;

fn no_subnets(section: &Section<'_>, key: &str) -> Diagnostic {
    Diagnostic::at(Code::NoSubnets, section.place(), format!("{} has no `{key}`", section.title()))
        .label(format!("`{key}` is missing here"))
        .why("it says which packets travel in the tunnel; without it there is nothing to protect")
        .fix(format!("write `{key} = [\"10.1.0.0/16\"]` with your networks"))
}

/// `dpd = { .. }`, `false` or `"off"`.
fn read_dpd(section: &Section<'_>, findings: &mut Findings) -> Field<RawDpd> {
    section.raw("dpd").and_then(|at| {
        let place = at.place.clone();
        if at.value.as_bool() == Some(false) || at.value.as_str() == Some("off") {
            return Some(At::new(RawDpd::Off, place));
        }
        if !at.value.is_table() {
            return wrong_type(
                "dpd",
                &at,
                "a table such as { interval = \"30s\" }, or `false`",
                findings,
            );
        }
        let inner = section.inner("dpd", at, keys::DPD, findings)?;
        let dpd = RawDpd::On {
            interval: duration(&inner, "interval", DPD_MIN..=DPD_MAX, findings),
            timeout: duration(&inner, "timeout", DPD_MIN..=DPD_MAX, findings),
            action: inner.word("action", &DPD_ACTION, findings),
        };
        if let RawDpd::On { action: Field::Given(at), .. } = &dpd
            && at.value == Death::RestartPeer
        {
            inner.check_support(&keys::RESTART_PEER, &at.place, findings);
        }
        Some(At::new(dpd, place))
    })
}

const DPD_MIN: Duration = Duration::from_secs(1);
const DPD_MAX: Duration = Duration::from_hours(24);

/// `psk = { file | credential | inline = ".." }`.
fn read_psk(section: &Section<'_>, findings: &mut Findings) -> Field<KeySource> {
    section.raw("psk").and_then(|at| {
        let place = at.place.clone();
        if !at.value.is_table() {
            findings.add(
                key_source(&place, "`psk` wants a table")
                    .label("the key itself does not stand here")
                    .why("a configuration is copied, printed and backed up; a key should not be"),
            );
            return None;
        }
        let inner = section.inner("psk", at, keys::PSK, findings)?;
        let file = inner.text("file", findings);
        let credential = inner.text("credential", findings);
        let inline = inner.text("inline", findings);
        let fields = [&file, &credential, &inline];
        match fields.iter().filter(|field| !field.is_absent()).count() {
            0 => findings.add(key_source(&place, "`psk` names no source").label("no source here")),
            1 => {}
            _ => {
                findings.add(key_source(&place, "`psk` names several sources").label("which one?"));
            }
        }
        match (file, credential, inline) {
            (Field::Given(name), Field::Absent, Field::Absent) => Some(KeySource::File(name)),
            (Field::Absent, Field::Given(name), Field::Absent) => Some(KeySource::Credential(name)),
            (Field::Absent, Field::Absent, Field::Given(text)) => {
                Some(KeySource::Inline(text.map(|text| InlineKey(Zeroizing::new(text)))))
            }
            _ => None,
        }
        .map(|source| At::new(source, place))
    })
}

fn key_source(place: &Place, message: &str) -> Diagnostic {
    Diagnostic::at(Code::KeySource, place, message)
        .fix("write `psk = { file = \"PATH\" }`, or { credential = \"NAME\" } under systemd")
}

/// `"auto"` (None) or octets.
fn read_mtu(section: &Section<'_>, findings: &mut Findings) -> Field<Option<u64>> {
    section.raw("mtu").and_then(|at| {
        if at.value.is_str() {
            return match_word("mtu", text_of("mtu", &at, findings)?, &[("auto", None)], findings);
        }
        match section.integer("mtu", 576..=65535, findings) {
            Field::Given(octets) => Some(octets.map(Some)),
            Field::Absent | Field::Wrong => None,
        }
    })
}

/// `true`, `false` or the largest datagram in octets.
fn read_fragmentation(section: &Section<'_>, findings: &mut Findings) -> Field<Fragmentation> {
    section.raw("fragmentation").and_then(|at| {
        if let Some(wanted) = at.value.as_bool() {
            let value = if wanted { Fragmentation::default() } else { Fragmentation::Off };
            return Some(At::new(value, at.place));
        }
        if at.value.as_integer().is_none() {
            return wrong_type(
                "fragmentation",
                &at,
                "`true`, `false` or a number of octets without quotes",
                findings,
            );
        }
        let Field::Given(octets) = section.integer("fragmentation", FRAGMENT, findings) else {
            return None;
        };
        let size = u16::try_from(octets.value).ok()?;
        Some(At::new(Fragmentation::On(FragmentSizes { v4: size, v6: size }), octets.place))
    })
}

/// From the size that RFC 7383 §2.5.1 recommends for IPv4 to that of jumbo frames, octets.
const FRAGMENT: RangeInclusive<u64> = 576..=9000;

/// `"auto"`, `"none"` or a list of networks.
fn read_routes(section: &Section<'_>, findings: &mut Findings) -> Field<RawRoutes> {
    section.raw("routes").and_then(|at| {
        if !at.value.is_str() {
            let list = texts_of("routes", &at, section.source(), findings)?;
            return Some(list.map(RawRoutes::List));
        }
        let word = text_of("routes", &at, findings)?;
        let is_auto = match_word("routes", word, &[("auto", true), ("none", false)], findings)?;
        Some(is_auto.map(|is_auto| if is_auto { RawRoutes::Auto } else { RawRoutes::None }))
    })
}
