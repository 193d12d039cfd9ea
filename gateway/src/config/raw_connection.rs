//! `[connection.NAME]` in its form, with the tables inside it.
//!
//! ```text
//!   [connection.berlin]            ─► RawConnection
//!   psk = { file = ".." }             ├─ KeySource
//!   [connection.berlin.failover]      ├─ RawFailover
//!   [[connection.berlin.monitor]]     └─ RawMonitor, one for each
//! ```

use std::ops::RangeInclusive;
use std::time::Duration;

use ikev2::{Childless, Encap, FragmentSizes, Fragmentation, PpkMix, Start};
use toml::de::DeValue;
use zeroize::Zeroizing;

use super::codes::Code;
use super::keys;
use super::model::{Failback, MssClamp};
use super::raw::{RawDpd, octets, read_dpd, read_mtu};
use super::raw_auth::RawAuth;
use super::report::Diagnostic;
use super::secret::{InlineKey, KeySource};
use super::section::{Field, Findings, Section, texts_of, word_of, wrong_type};
use super::source::{At, Place};
use super::value::duration;

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
    pub(super) auth: RawAuth,
    pub(super) ppk: Field<RawPpk>,
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

/// `ppk = { .. }`.
#[derive(Debug)]
pub(super) struct RawPpk {
    pub(super) source: KeySource,
    pub(super) id: At<String>,
    pub(super) required: Field<bool>,
    pub(super) mix: Field<PpkMix>,
    pub(super) others: Vec<(At<String>, KeySource)>,
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

impl RawConnection {
    pub(super) fn read(name: At<String>, section: &Section<'_>, findings: &mut Findings) -> Self {
        let raw = Self {
            name,
            description: section.text("description", findings),
            enabled: section.boolean("enabled", findings),
            peer: section.texts("peer", findings),
            peer_id: section.text("peer_id", findings),
            local_id: section.text("local_id", findings),
            psk: read_psk(section, findings),
            auth: RawAuth::of_connection(section, findings),
            ppk: read_ppk(section, findings),
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
    let is_time = |at: &At<&DeValue<'_>>| {
        let text = at.value.as_str();
        at.value.is_integer()
            || text.is_some_and(|text| text.starts_with(|c: char| c.is_ascii_digit()))
    };
    section.raw("failback").and_then(|at| {
        if !is_time(&at) {
            let wanted = "\"auto\", \"manual\" or a duration such as \"10m\"";
            return word_of("failback", &at, &FAILBACK, wanted, findings);
        }
        match duration(section, "failback", PROBE_MIN..=FAILBACK_MAX, findings) {
            Field::Given(time) => Some(time.map(Failback::After)),
            Field::Wrong | Field::Absent => None,
        }
    })
}

const FAILBACK_MAX: Duration = Duration::from_hours(24);

/// `"auto"`, `"off"` or octets.
fn read_mss_clamp(section: &Section<'_>, findings: &mut Findings) -> Field<MssClamp> {
    section.raw("mss_clamp").and_then(|at| {
        if at.value.as_integer().is_none() {
            let words = [("auto", MssClamp::Auto), ("off", MssClamp::Off)];
            let wanted = format!("\"auto\", \"off\" or {}", octets(&MSS));
            return word_of("mss_clamp", &at, &words, &wanted, findings);
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

/// `psk = { file | credential | inline = ".." }`.
fn read_psk(section: &Section<'_>, findings: &mut Findings) -> Field<KeySource> {
    section.raw("psk").and_then(|at| {
        let place = at.place.clone();
        let inner = key_table("psk", section, at, findings)?;
        read_source("psk", &inner, &place, findings).map(|source| At::new(source, place))
    })
}

/// `ppk = { file | credential | inline = "..", id = "..", required = true, mix = "auto", others = [{ .. }] }`.
fn read_ppk(section: &Section<'_>, findings: &mut Findings) -> Field<RawPpk> {
    section.raw("ppk").and_then(|at| {
        let place = at.place.clone();
        let inner = key_table("ppk", section, at, findings)?;
        let first = read_named_key(&inner, &place, findings);
        let required = inner.boolean("required", findings);
        let mix = inner.word("mix", &PPK_MIX, findings);
        let others = inner.tables("others", keys::PPK_OTHER, findings);
        let others: Vec<_> = others
            .iter()
            .filter_map(|other| read_named_key(other, other.place(), findings))
            .collect();
        let (id, source) = first?;
        let mut names = vec![&id];
        for (other, _) in &others {
            if names.iter().any(|name| name.value == other.value) {
                findings.add(
                    Diagnostic::at(
                        Code::Duplicate,
                        &other.place,
                        "two keys of `ppk` have one name",
                    )
                    .label(format!("`{}` is the name of another", other.value))
                    .why("the peer finds its key by the name")
                    .fix("give each key a name of its own, the same on both sides"),
                );
            }
            names.push(other);
        }
        Some(At::new(RawPpk { source, id, required, mix, others }, place))
    })
}

const PPK_MIX: [(&str, PpkMix); 3] =
    [("auto", PpkMix::Auto), ("before-auth", PpkMix::Intermediate), ("in-auth", PpkMix::Auth)];

/// A source and the name of what is there.
fn read_named_key(
    section: &Section<'_>,
    place: &Place,
    findings: &mut Findings,
) -> Option<(At<String>, KeySource)> {
    let source = read_source("ppk", section, place, findings);
    let id = section.text("id", findings);
    section.require("id", &id, "write `id = \"NAME\"`, the same on both sides", findings);
    let Field::Given(id) = id else { return None };
    if id.value.is_empty() || id.value.len() > PPK_ID_MAX {
        findings.add(
            Diagnostic::at(Code::OutOfRange, &id.place, "`id` of `ppk` has no usable length")
                .label(format!("{} octets", id.value.len()))
                .fix(format!("write a name of 1 to {PPK_ID_MAX} octets")),
        );
        return None;
    }
    Some((id, source?))
}

/// More than anybody needs, and far less than a message holds.
const PPK_ID_MAX: usize = 255;

/// The table that says where a key is.
fn key_table<'s>(
    key: &'static str,
    section: &Section<'s>,
    at: At<&'s DeValue<'s>>,
    findings: &mut Findings,
) -> Option<Section<'s>> {
    if !at.value.is_table() {
        findings.add(
            key_source(key, &at.place, &format!("`{key}` wants a table"))
                .label("the key itself does not stand here")
                .why("a configuration is copied, printed and backed up; a key should not be"),
        );
        return None;
    }
    let known = if key == "ppk" { keys::PPK } else { keys::PSK };
    section.inner(key, at, known, findings)
}

fn read_source(
    key: &str,
    inner: &Section<'_>,
    place: &Place,
    findings: &mut Findings,
) -> Option<KeySource> {
    let file = inner.text("file", findings);
    let credential = inner.text("credential", findings);
    let inline = inner.text("inline", findings);
    let fields = [&file, &credential, &inline];
    match fields.iter().filter(|field| !field.is_absent()).count() {
        0 => findings.add(
            key_source(key, place, &format!("`{key}` names no source")).label("no source here"),
        ),
        1 => {}
        _ => findings.add(
            key_source(key, place, &format!("`{key}` names several sources")).label("which one?"),
        ),
    }
    match (file, credential, inline) {
        (Field::Given(name), Field::Absent, Field::Absent) => Some(KeySource::File(name)),
        (Field::Absent, Field::Given(name), Field::Absent) => Some(KeySource::Credential(name)),
        (Field::Absent, Field::Absent, Field::Given(text)) => {
            Some(KeySource::Inline(text.map(|text| InlineKey(Zeroizing::new(text)))))
        }
        _ => None,
    }
}

fn key_source(key: &str, place: &Place, message: &str) -> Diagnostic {
    Diagnostic::at(Code::KeySource, place, message).fix(format!(
        "write `{key} = {{ file = \"PATH\" }}`, or {{ credential = \"NAME\" }} under systemd"
    ))
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
                &format!("`true`, `false` or {}", octets(&FRAGMENT)),
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
        if at.value.is_array() {
            let list = texts_of("routes", &at, section.source(), findings)?;
            return Some(list.map(RawRoutes::List));
        }
        let wanted = "\"auto\", \"none\" or a list of networks such as [\"10.2.0.0/16\"]";
        let words = [("auto", true), ("none", false)];
        let is_auto = word_of("routes", &at, &words, wanted, findings)?;
        Some(is_auto.map(|is_auto| if is_auto { RawRoutes::Auto } else { RawRoutes::None }))
    })
}
