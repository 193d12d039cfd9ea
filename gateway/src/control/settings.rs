//! The configuration in force as the file would say it: keys and values that `check` accepts, but no secret.
//!
//! ```text
//!   Gateway, Log, .. [Connection] ──► each key with its value and its default ──► effective: all      config: what is not the default
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ikev2::pki::{CrlPolicy, RsaPadding};
use ikev2::{
    Childless, DpdAction, Encap, Fragmentation, Identity, Lifetime, Pairing, PpkMix, Start,
};
use serde_json::{Map, Value, json};

use super::connection::Connection;
use crate::config::{
    Auth, Failback, Failover, Gateway, Http, LeakProtection, Limits, Log, LogFormat, Monitor,
    MonitorKind, MssClamp, OurProof, Part, Peer, Policy, Ppk, PresharedKey, Routes, Security,
    TheirProof,
};
use crate::sys::privileges;

/// What is not as it is by default, and everything.
pub(super) fn of(
    gateway: &Gateway,
    log: &Log,
    security: &Security,
    connections: &[Connection],
) -> (Value, Value) {
    let mut both = Both::default();
    both.table("gateway", gateway_keys(gateway));
    both.table("log", log_keys(log));
    both.table("security", security_keys(security));
    both.table("limits", limits_keys(&gateway.limits));
    if let Some(http) = &gateway.http {
        both.table("http", http_keys(http));
    }
    let apart = apart(connections);
    for connection in connections {
        let policy = &connection.config.policy;
        let is_own = |setting: &Setting| {
            apart.get(policy.name.as_str()).is_some_and(|keys| keys.contains(setting.0))
        };
        let (own, shared): (Vec<_>, Vec<_>) = policy_keys(policy).into_iter().partition(is_own);
        both.inner("policy", &policy.name, shared);
        let mut keys = connection_keys(connection, gateway, connections);
        // One may say what the default is, where the policy says something else.
        keys.extend(own.into_iter().map(|Setting(key, value, _)| always(key, value)));
        both.inner("connection", &connection.config.name, keys);
    }
    (Value::Object(both.changed), Value::Object(both.all))
}

/// The keys of each policy that some of its connections have for themselves: what these say is told with each of them.
fn apart(connections: &[Connection]) -> BTreeMap<&str, BTreeSet<&'static str>> {
    let mut first: BTreeMap<&str, &Policy> = BTreeMap::new();
    let mut apart: BTreeMap<&str, BTreeSet<&'static str>> = BTreeMap::new();
    for Connection { config, .. } in connections {
        let policy = &config.policy;
        let known = first.entry(policy.name.as_str()).or_insert(policy);
        if *known != policy {
            let differing = policy_keys(known).into_iter().zip(policy_keys(policy));
            let differing = differing.filter(|(one, other)| one.1 != other.1);
            let keys = differing.map(|(one, _)| one.0);
            apart.entry(policy.name.as_str()).or_default().extend(keys);
        }
    }
    apart
}

/// A key, its value, and what it would be if nobody set it.
struct Setting(&'static str, Value, Option<Value>);

fn set(key: &'static str, value: impl Into<Value>, default: impl Into<Value>) -> Setting {
    Setting(key, value.into(), Some(default.into()))
}

fn always(key: &'static str, value: impl Into<Value>) -> Setting {
    Setting(key, value.into(), None)
}

#[derive(Default)]
struct Both {
    changed: Map<String, Value>,
    all: Map<String, Value>,
}

impl Both {
    fn table(&mut self, name: &str, settings: Vec<Setting>) {
        let (changed, all) = split(settings);
        if changed.as_object().is_some_and(|changed| !changed.is_empty()) {
            self.changed.insert(name.to_owned(), changed);
        }
        self.all.insert(name.to_owned(), all);
    }

    fn inner(&mut self, table: &str, name: &str, settings: Vec<Setting>) {
        let (changed, all) = split(settings);
        for (whole, part) in [(&mut self.changed, changed), (&mut self.all, all)] {
            let tables = whole.entry(table).or_insert_with(|| json!({}));
            if let Some(tables) = tables.as_object_mut() {
                tables.entry(name).or_insert(part);
            }
        }
    }
}

/// What is null is not there: TOML has no word for it.
fn split(settings: Vec<Setting>) -> (Value, Value) {
    let (mut changed, mut all) = (Map::new(), Map::new());
    for Setting(key, value, default) in settings.into_iter().filter(|one| !one.1.is_null()) {
        if default.as_ref() != Some(&value) {
            changed.insert(key.to_owned(), value.clone());
        }
        all.insert(key.to_owned(), value);
    }
    (Value::Object(changed), Value::Object(all))
}

fn gateway_keys(gateway: &Gateway) -> Vec<Setting> {
    vec![
        always("name", gateway.name.clone()),
        set("id", gateway.id.as_ref().map(Identity::to_string), Value::Null),
        set("listen", texts(&gateway.listen), json!([])),
        set("ike_port", gateway.ike_port, 500),
        set("nat_port", gateway.nat_port, 4500),
        set("tun", gateway.tun.clone(), "s2s0"),
        set("mtu", gateway.mtu.map_or(json!("auto"), |mtu| json!(mtu)), "auto"),
        set("control", gateway.control.display().to_string(), "/run/s2s-gw/control.sock"),
        set(
            "state",
            gateway.state.as_ref().map_or("off".to_owned(), |path| path.display().to_string()),
            "/var/lib/s2s-gw/state.json",
        ),
        set("user", gateway.user.as_deref().unwrap_or(privileges::USER), privileges::USER),
        set("sandbox", if gateway.sandbox { "on" } else { "off" }, "on"),
        set("management_ip", gateway.management_ip.map(|ip| ip.to_string()), Value::Null),
        set("workers", gateway.workers, 1),
        set("cookie_threshold", gateway.cookie_threshold, 64),
        set("max_half_open", gateway.max_half_open, 1000),
        set("leak_protection", leak_protection(gateway.leak_protection), "running"),
        set("allow_key_export", gateway.allow_key_export, false),
    ]
}

const fn leak_protection(protection: LeakProtection) -> &'static str {
    match protection {
        LeakProtection::Always => "always",
        LeakProtection::Running => "running",
        LeakProtection::Off => "off",
    }
}

fn log_keys(log: &Log) -> Vec<Setting> {
    let format = match log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    vec![set("level", log.level.clone(), "info"), set("format", format, "text")]
}

fn limits_keys(limits: &Limits) -> Vec<Setting> {
    let usual = Limits::default();
    vec![
        set("half_open_time", span(limits.half_open_time), span(usual.half_open_time)),
        set("max_init_octets", limits.max_init_octets, usual.max_init_octets),
        set("max_half_open_octets", limits.max_half_open_octets, usual.max_half_open_octets),
        set("max_message_octets", limits.max_message_octets, usual.max_message_octets),
        set("max_refusals", limits.max_refusals, usual.max_refusals),
        set("max_children", limits.max_children, usual.max_children),
        set("max_ike_sas", limits.max_ike_sas, usual.max_ike_sas),
        set("max_exchanges", limits.max_exchanges, usual.max_exchanges),
    ]
}

fn security_keys(security: &Security) -> Vec<Setting> {
    let Security { warn, forbid } = security;
    vec![set("warn", texts(warn), json!([])), set("forbid", texts(forbid), json!([]))]
}

fn http_keys(http: &Http) -> Vec<Setting> {
    let Http { listen, names, read_token, admin_token } = http;
    let hidden = |token: &Option<PresharedKey>| {
        token.as_ref().map_or(Value::Null, |_| json!({ "file": "(hidden)" }))
    };
    vec![
        always("listen", texts(listen)),
        set("names", texts(names), json!([])),
        set("read_token", hidden(read_token), Value::Null),
        set("admin_token", hidden(admin_token), Value::Null),
    ]
}

fn policy_keys(policy: &Policy) -> Vec<Setting> {
    let Policy { ike, esp, ike_lifetime, esp_lifetime, dpd, pfs_check, allow, .. } = policy;
    let action = |action| match action {
        DpdAction::Restart => "restart",
        DpdAction::Clear => "clear",
        DpdAction::Trap => "trap",
    };
    let dpd = dpd.map_or(json!(false), |dpd| {
        json!({ "interval": span(dpd.interval), "timeout": span(dpd.timeout), "action": action(dpd.action) })
    });
    let usual = json!({ "interval": "30s", "timeout": "2m", "action": "restart" });
    vec![
        always("ike", texts(ike)),
        always("esp", texts(esp)),
        set("ike_lifetime", span(ike_lifetime.time), "8h"),
        set("esp_lifetime", span(esp_lifetime.time), "1h"),
        set("esp_lifebytes", octets(esp_lifetime), Value::Null),
        set("esp_lifepackets", esp_lifetime.packets.map_or(Value::Null, |n| json!(n)), Value::Null),
        set("dpd", dpd, usual),
        set("pfs_check", *pfs_check, true),
        set("allow_legacy", allow.legacy, false),
        set("allow_unencrypted", allow.unencrypted, false),
    ]
}

fn connection_keys(
    connection: &Connection,
    gateway: &Gateway,
    connections: &[Connection],
) -> Vec<Setting> {
    let config = &connection.config;
    // `relay` has put there what is behind the others.
    let others = connections
        .iter()
        .filter(|other| config.relay && other.config.relay && other.config.name != config.name);
    let relayed: Vec<&ipnet::IpNet> =
        others.flat_map(|other| &other.config.children).flat_map(|child| &child.remote).collect();
    let peer = match &config.peer {
        Peer::Any => json!("any"),
        Peer::Hosts(hosts) => texts(hosts),
    };
    let side = |side: fn(&crate::config::Child) -> &Vec<ipnet::IpNet>| {
        let own = |network: &&ipnet::IpNet| !relayed.contains(network);
        let mut all: Vec<String> =
            config.children.iter().flat_map(side).filter(own).map(ToString::to_string).collect();
        let mut seen = BTreeSet::new();
        all.retain(|network| seen.insert(network.clone()));
        json!(all)
    };
    let start = start(config.start);
    let usual_start = if config.peer == Peer::Any { "respond-only" } else { "always" };
    // The loader takes one child apart where it is `split`.
    let is_split = config.pairing == Pairing::Combined && config.children.len() > 1;
    let selectors = match config.pairing {
        Pairing::Single => "split",
        Pairing::Combined if is_split => "split",
        Pairing::Combined => "combined",
        Pairing::Auto => "auto",
    };
    let fragmentation = match config.extensions.fragmentation {
        Fragmentation::Off => json!(false),
        on if on == Fragmentation::default() => json!(true),
        Fragmentation::On(sizes) => json!(sizes.v4),
    };
    let childless = match config.extensions.childless {
        Childless::Allow => "allow",
        Childless::Prefer => "prefer",
        Childless::Never => "never",
    };
    let mss_clamp = match config.mss_clamp {
        MssClamp::Auto => json!("auto"),
        MssClamp::AtMost(octets) => json!(octets),
        MssClamp::Off => json!("off"),
    };
    let routes = match &config.routes {
        Routes::Auto => json!("auto"),
        Routes::None => json!("none"),
        Routes::List(list) => texts(list),
    };
    let lifetime = config.extensions.auth_lifetime.map(span);
    let ppk = config.ppk.as_ref();
    let ppk = ppk.map(shown_ppk);
    let mut keys = vec![
        set("description", config.description.clone(), Value::Null),
        set("enabled", config.enabled, true),
        always("peer", peer),
        set("peer_id", config.peer_id.as_ref().map(Identity::to_string), Value::Null),
        set("local_id", config.local_id.as_ref().map(Identity::to_string), Value::Null),
        set("ppk", ppk, Value::Null),
        set("policy", config.policy.name.clone(), "default"),
        always("local_subnets", side(|child| &child.local)),
        always("remote_subnets", side(|child| &child.remote)),
        set("selectors", selectors, "auto"),
        set("start", start, usual_start),
        set("encap", if config.encap == Encap::Force { "force" } else { "auto" }, "force"),
        set("mobike", config.extensions.mobike, true),
        set("follow_redirects", config.extensions.follow_redirects, true),
        set("auth_lifetime", lifetime, Value::Null),
        set("fragmentation", fragmentation, true),
        set("childless", childless, "allow"),
        set("mtu", config.mtu.map_or(json!("auto"), |mtu| json!(mtu)), "auto"),
        set("mss_clamp", mss_clamp, "auto"),
        set("routes", routes, "auto"),
        set("metric", config.metric, 100),
        set("replay_window", config.replay_window, 4096),
        set("nat_keepalive", span(config.nat_keepalive), "20s"),
    ];
    keys.extend(auth_keys(&config.auth));
    keys.extend(availability_keys(config, gateway));
    keys
}

/// How both sides prove who they are, without what proves it.
fn shown_ppk(ppk: &Ppk) -> Value {
    let mix = match ppk.mix {
        PpkMix::Auto => "auto",
        PpkMix::Intermediate => "before-auth",
        PpkMix::Auth => "in-auth",
    };
    let other = |(id, _): &(String, _)| json!({ "file": HIDDEN, "id": id });
    let others: Vec<_> = ppk.others.iter().map(other).collect();
    json!({ "file": HIDDEN, "id": ppk.id, "required": ppk.required, "mix": mix, "others": others })
}

fn auth_keys(auth: &Auth) -> Vec<Setting> {
    let mut keys = Vec::new();
    let psk = || always("psk", json!({ "file": HIDDEN }));
    let files = |part: Part| {
        let files = auth.dated.iter().filter(|one| one.part == part);
        let mut files: Vec<String> = files.map(|one| one.file.display().to_string()).collect();
        files.dedup();
        json!(files)
    };
    let ours = matches!(auth.ours, OurProof::Psk(_));
    if let OurProof::Signature(key) = &auth.ours {
        let cert = files(Part::Ours);
        keys.push(always("cert", cert.get(0).cloned().unwrap_or_default()));
        keys.push(always("key", json!({ "file": HIDDEN })));
        let pkcs1 = key.padding() == RsaPadding::Pkcs1;
        keys.push(set("rsa_padding", if pkcs1 { "pkcs1" } else { "pss" }, "pss"));
    }
    match &auth.theirs {
        TheirProof::Psk(_) => keys.push(psk()),
        TheirProof::PublicKey(_) => keys.push(always("peer_key", HIDDEN)),
        TheirProof::Certificate(trust) => {
            keys.push(set("ca", files(Part::Authority), json!([])));
            keys.push(set("peer_cert", files(Part::Pinned), json!([])));
            keys.push(set("crl", files(Part::List), json!([])));
            let require = trust.trust().crl_policy == CrlPolicy::Require;
            let word = if require { "require" } else { "if-present" };
            keys.push(set("crl_policy", word, "if-present"));
        }
    }
    if ours && !matches!(auth.theirs, TheirProof::Psk(_)) {
        keys.push(psk());
    }
    keys
}

/// What keeps it up, and tells whether it is.
fn availability_keys(config: &crate::config::Connection, gateway: &Gateway) -> Vec<Setting> {
    let log = config.log.map(|level| level.to_string().to_ascii_lowercase());
    let monitors: Vec<Value> = config.monitors.iter().map(monitor).collect();
    let managed = |ip: Option<std::net::IpAddr>| ip.map(|ip| ip.to_string());
    vec![
        set("relay", config.relay, false),
        set("management_ip", managed(config.management_ip), managed(gateway.management_ip)),
        set("log", log, Value::Null),
        set("failover", config.failover.as_ref().map(failover), Value::Null),
        set("monitor", monitors, json!([])),
    ]
}

const fn start(start: Start) -> &'static str {
    match start {
        Start::Always => "always",
        Start::OnDemand => "on-demand",
        Start::RespondOnly => "respond-only",
        Start::Manual => "manual",
    }
}

fn failover(failover: &Failover) -> Value {
    let failback = match failover.failback {
        Failback::Auto => "auto".to_owned(),
        Failback::Manual => "manual".to_owned(),
        Failback::After(time) => span(time),
    };
    json!({ "failback": failback, "probe": span(failover.probe) })
}

fn monitor(monitor: &Monitor) -> Value {
    let mut keys = json!({
        "target": monitor.target.to_string(),
        "interval": span(monitor.interval),
        "fail_after": monitor.fail_after,
        "max_latency": span(monitor.max_latency),
    });
    let (kind, port) = match monitor.kind {
        MonitorKind::Icmp => ("icmp", None),
        MonitorKind::Tcp(port) => ("tcp", Some(port)),
    };
    if let Some(keys) = keys.as_object_mut() {
        keys.insert("kind".into(), kind.into());
        keys.extend(port.map(|port| ("port".to_owned(), port.into())));
    }
    keys
}

fn texts<T: ToString>(list: &[T]) -> Value {
    json!(list.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn octets(lifetime: &Lifetime) -> Value {
    lifetime.octets.map_or(Value::Null, |octets| json!(octets.to_string()))
}

/// As the file has it: `90s`, `2m`, `8h`, `250ms`.
fn span(time: Duration) -> String {
    if time.subsec_millis() > 0 {
        return format!("{}ms", time.as_millis());
    }
    let seconds = time.as_secs();
    match (seconds % 3600, seconds % 60) {
        (0, _) if seconds > 0 => format!("{}h", seconds / 3600),
        (_, 0) if seconds > 0 => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

/// In place of what nobody is to see, also not where it came from.
const HIDDEN: &str = "(hidden)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::control::connection::tests::connection;
    use crate::control::diff::tests::gateway;

    #[test]
    fn what_is_behind_other_spokes_is_not_told_as_ours() {
        let net = |text: &str| text.parse().expect("a network");
        let mut both = ["berlin", "paris"].map(|name| {
            let mut one = connection(Start::Always, clock::now());
            one.config.name = name.into();
            one.config.relay = true;
            one
        });
        both[1].config.children[0].remote = vec![net("10.3.0.0/16")];
        both[0].config.children[0].local.push(net("10.3.0.0/16"));
        let monitor = Monitor {
            kind: MonitorKind::Tcp(443),
            target: [10, 2, 0, 1].into(),
            interval: Duration::from_secs(5),
            fail_after: 3,
            max_latency: Duration::from_millis(250),
        };
        both[0].config.monitors = vec![monitor];
        let (changed, _) = split(connection_keys(&both[0], &gateway(), &both));
        assert_eq!(changed["local_subnets"], json!(["10.1.0.0/16"]));
        assert_eq!(changed["relay"], true);
        let expected = json!([{ "kind": "tcp", "port": 443, "target": "10.2.0.1", "interval": "5s", "fail_after": 3, "max_latency": "250ms" }]);
        assert_eq!(changed["monitor"], expected);
        both[1].config.relay = false;
        let (changed, _) = split(connection_keys(&both[0], &gateway(), &both));
        assert_eq!(changed["local_subnets"], json!(["10.1.0.0/16", "10.3.0.0/16"]));
    }

    #[test]
    fn what_connections_have_apart_from_their_policy_is_told_with_each() {
        let mut all = ["berlin", "paris", "rome"].map(|name| {
            let mut one = connection(Start::Always, clock::now());
            one.config.name = name.into();
            one.config.policy.dpd = Some(ikev2::Dpd::default());
            one
        });
        let told =
            |all: &[Connection]| of(&gateway(), &Log::default(), &Security::default(), all).0;
        let same = told(&all);
        assert!(same["connection"]["berlin"].get("dpd").is_none(), "{same}");
        all[1].config.policy.dpd = None;
        let told = told(&all);
        let name = all[0].config.policy.name.as_str();
        assert!(told["policy"][name].get("dpd").is_none(), "{told}");
        assert!(told["policy"][name].get("ike").is_some(), "what all share stays there: {told}");
        let dpd = |name: &str| told["connection"][name]["dpd"].clone();
        assert_eq!(dpd("paris"), false);
        assert_eq!(
            (&dpd("berlin")["interval"], &dpd("rome")["interval"]),
            (&json!("30s"), &json!("30s"))
        );
        assert!(told["connection"]["rome"].get("pfs_check").is_none(), "{told}");
    }

    #[test]
    fn only_what_was_set_is_told_and_never_a_secret() {
        let mut connection = connection(Start::Always, clock::now());
        connection.config.metric = 200;
        let (changed, all) = split(connection_keys(&connection, &gateway(), &[]));
        assert_eq!(changed["metric"], 200);
        assert!(changed.get("start").is_none() && changed.get("description").is_none());
        assert_eq!((&all["start"], &all["metric"]), (&json!("always"), &json!(200)));
        assert_eq!(all["psk"], json!({ "file": "(hidden)" }));
        assert!(!all.to_string().contains("sixteen octets"), "the key of the tests");
        let text = crate::status::text::toml(&all);
        assert!(text.contains("local_subnets = [\"10.1.0.0/16\"]"), "{text}");
    }

    #[test]
    fn times_are_written_with_the_unit_that_fits() {
        assert_eq!(span(Duration::from_millis(1250)), "1250ms");
        for (seconds, expected) in
            [(0, "0s"), (20, "20s"), (120, "2m"), (90, "90s"), (28_800, "8h")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
    }
}
