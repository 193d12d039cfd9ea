//! The file in its form: the tables and keys that are there, each value of its type, nothing resolved yet.
//!
//! ```text
//!   [networks]           ─► RawNetwork      name, networks or names
//!   [policy.strong]      ─► RawPolicy       proposals as text, lifetimes
//!   [connection.berlin]  ─► RawConnection   raw_connection.rs: names of policy and networks as text
//! ```
//!
//! Every value keeps its place, because what is wrong with it may only turn out when it meets the others.

use std::ops::RangeInclusive;
use std::time::Duration;

use ikev2::DpdAction;
use toml::de::DeValue;

use super::codes::Code;
use super::document::Document;
use super::http::RawHttp;
use super::keys;
use super::model::{LeakProtection, LogFormat};
use super::raw_auth::RawAuth;
use super::raw_connection::RawConnection;
use super::report::Diagnostic;
use super::section::{Field, Findings, Section, WHOLE_FILE, texts_of, word_of, wrong_type};
use super::source::{At, Place};
use super::value::{duration, size};

/// All files together.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) include: Vec<At<String>>,
    /// `[gateway]`, of every file that has one.
    pub(super) gateways: Vec<RawGateway>,
    /// There may be one under another spelling, or that is no table.
    pub(super) lost_gateway: bool,
    /// `[log]`, the same.
    pub(super) logs: Vec<RawLog>,
    /// `[security]`, the same.
    pub(super) securities: Vec<RawSecurity>,
    pub(super) limits: Vec<RawLimits>,
    /// `[http]`, the same.
    pub(super) https: Vec<RawHttp>,
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
    pub(super) state: Field<String>,
    pub(super) user: Field<String>,
    pub(super) sandbox: Field<bool>,
    pub(super) workers: Field<u64>,
    pub(super) cookie_threshold: Field<u64>,
    pub(super) max_half_open: Field<u64>,
    pub(super) leak_protection: Field<LeakProtection>,
    pub(super) allow_key_export: Field<bool>,
    pub(super) management_ip: Field<String>,
    pub(super) public_addresses: Field<Vec<At<String>>>,
    pub(super) auth: RawAuth,
}

/// `[log]`.
#[derive(Debug)]
pub(super) struct RawLog {
    pub(super) place: Place,
    pub(super) level: Field<String>,
    pub(super) format: Field<LogFormat>,
}

/// `[limits]`.
#[derive(Debug)]
pub(super) struct RawLimits {
    pub(super) place: Place,
    pub(super) half_open_time: Field<Duration>,
    pub(super) max_init_octets: Field<u64>,
    pub(super) max_half_open_octets: Field<u64>,
    pub(super) max_message_octets: Field<u64>,
    pub(super) max_refusals: Field<u64>,
    pub(super) max_children: Field<u64>,
    pub(super) max_ike_sas: Field<u64>,
    pub(super) max_exchanges: Field<u64>,
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
    pub(super) allow_legacy: Field<bool>,
    pub(super) allow_unencrypted: Field<bool>,
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

impl Raw {
    /// Adds one file. `version` and `include` belong into the main file only.
    pub(super) fn read(&mut self, document: &Document<'_>, is_main: bool, findings: &mut Findings) {
        let start = Place { source: document.source.clone(), span: 0..0 };
        let file = Section::open(&document.table, WHOLE_FILE.into(), start, keys::FILE, findings);
        read_version(&file, findings);
        if let Field::Given(patterns) = file.texts("include", findings) {
            if is_main {
                self.include = patterns.value;
            } else {
                findings.add(nested_include(&patterns.place));
            }
        }
        let gateway = file.raw("gateway");
        self.lost_gateway |= matches!(gateway, Field::Wrong);
        if let Field::Given(value) = gateway
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
        if let Field::Given(value) = file.raw("limits")
            && let Some(section) = titled(&value, "limits", "[limits]", keys::LIMITS, findings)
        {
            self.limits.push(RawLimits::read(&section, findings));
        }
        if let Field::Given(value) = file.raw("http")
            && let Some(section) = titled(&value, "http", "[http]", keys::HTTP, findings)
        {
            self.https.push(RawHttp::read(&section, findings));
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
            state: section.text("state", findings),
            user: section.text("user", findings),
            sandbox: section.word("sandbox", &SANDBOX, findings),
            workers: section.integer("workers", 1..=64, findings),
            cookie_threshold: section.integer("cookie_threshold", 0..=HALF_OPEN_MAX, findings),
            max_half_open: section.integer("max_half_open", 1..=HALF_OPEN_MAX, findings),
            leak_protection: section.word("leak_protection", &LEAK_PROTECTION, findings),
            allow_key_export: section.boolean("allow_key_export", findings),
            management_ip: section.text("management_ip", findings),
            public_addresses: section.texts("public_addresses", findings),
            auth: RawAuth::of_gateway(section, findings),
        }
    }
}

const SANDBOX: [(&str, bool); 2] = [("on", true), ("off", false)];

impl RawLog {
    fn read(section: &Section<'_>, findings: &mut Findings) -> Self {
        Self {
            place: section.place().clone(),
            level: section.text("level", findings),
            format: section.word("format", &LOG_FORMAT, findings),
        }
    }
}

impl RawLimits {
    fn read(section: &Section<'_>, findings: &mut Findings) -> Self {
        let waiting = HALF_OPEN_TIME_MIN..=HALF_OPEN_TIME_MAX;
        Self {
            place: section.place().clone(),
            half_open_time: duration(section, "half_open_time", waiting, findings),
            max_init_octets: section.integer("max_init_octets", 1024..=65535, findings),
            max_half_open_octets: section.integer("max_half_open_octets", 1024..=65536, findings),
            max_message_octets: section.integer("max_message_octets", 4096..=65536, findings),
            max_refusals: section.integer("max_refusals", 1..=10_000, findings),
            max_children: section.integer("max_children", 3..=1000, findings),
            max_ike_sas: section.integer("max_ike_sas", 2..=1000, findings),
            max_exchanges: section.integer("max_exchanges", 1..=10_000, findings),
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
/// Shorter than that an honest peer on a slow path does not come through.
const HALF_OPEN_TIME_MIN: Duration = Duration::from_secs(3);
const HALF_OPEN_TIME_MAX: Duration = Duration::from_mins(10);

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
            allow_legacy: section.boolean("allow_legacy", findings),
            allow_unencrypted: section.boolean("allow_unencrypted", findings),
        }
    }
}

/// Short enough for tests; W0304 warns below a minute.
const LIFE_MIN: Duration = Duration::from_secs(1);
const LIFE_MAX: Duration = Duration::from_hours(30 * 24);

const DPD_ACTION: [(&str, Death); 4] = [
    ("restart", Death::Of(DpdAction::Restart)),
    ("clear", Death::Of(DpdAction::Clear)),
    ("trap", Death::Of(DpdAction::Trap)),
    (keys::RESTART_PEER.name, Death::RestartPeer),
];
const LEAK_PROTECTION: [(&str, LeakProtection); 3] = [
    ("always", LeakProtection::Always),
    ("running", LeakProtection::Running),
    ("off", LeakProtection::Off),
];
const LOG_FORMAT: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
/// `dpd = { .. }`, `false` or `"off"`.
pub(super) fn read_dpd(section: &Section<'_>, findings: &mut Findings) -> Field<RawDpd> {
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

/// From what every IPv4 host takes (RFC 791 §3.1) to the longest packet, octets.
const MTU: RangeInclusive<u64> = 576..=65535;

/// What a key wants that takes a number of octets.
pub(super) fn octets(range: &RangeInclusive<u64>) -> String {
    format!("a number of octets without quotes, {} to {}", range.start(), range.end())
}

/// `"auto"` (None) or octets.
pub(super) fn read_mtu(section: &Section<'_>, findings: &mut Findings) -> Field<Option<u64>> {
    section.raw("mtu").and_then(|at| {
        if at.value.as_integer().is_none() {
            let wanted = format!("\"auto\" or {}", octets(&MTU));
            return word_of("mtu", &at, &[("auto", None)], &wanted, findings);
        }
        match section.integer("mtu", MTU, findings) {
            Field::Given(octets) => Some(octets.map(Some)),
            Field::Absent | Field::Wrong => None,
        }
    })
}
