//! A snapshot for tests, and what JSON makes of it.

use super::*;

/// A snapshot with one connection up and one down.
pub(crate) fn sample() -> Snapshot {
    let time: Timestamp = "2026-11-20T08:01:21Z".parse().expect("a time");
    Snapshot {
        schema: SCHEMA.into(),
        gateway: "fra1".into(),
        version: "0.1.0".into(),
        pid: 4711,
        time,
        uptime_seconds: 273_600,
        external: vec!["203.0.113.10".into(), "2001:db8::10".into()],
        tun: TunStatus { name: "s2s0".into(), mtu: 1422 },
        connections: vec![up(time), down(time)],
        drops: Drops {
            esp: BTreeMap::from([("unknown-spi".to_owned(), 3)]),
            ike: BTreeMap::from([("malformed".to_owned(), 2)]),
            told: BTreeMap::from([("no-route".to_owned(), 4)]),
            tun_queue: 5,
        },
        refused: Vec::new(),
        started: Some(time - jiff::SignedDuration::from_secs(273_600)),
        config: ConfigStatus { loaded: Some(time), refused: false },
        ike_retransmits: 3,
        warnings: vec!["W0501".into()],
        warning_details: vec![Warning::of(Code::NotForwarding)],
    }
}

fn up(time: Timestamp) -> ConnectionStatus {
    ConnectionStatus {
        name: "berlin".into(),
        description: Some("Berlin office".into()),
        state: State::Up,
        since: time,
        since_seconds: 93_600,
        desired_up: true,
        awaits: None,
        vpnaas_status: State::Up.vpnaas().into(),
        cloudstack_state: State::Up.cloudstack().into(),
        aws_status: State::Up.aws().into(),
        reason: None,
        attempt: None,
        retry_in_seconds: None,
        policy: "default".into(),
        peer: PeerStatus {
            configured: vec!["198.51.100.20".into()],
            active: Some("198.51.100.20:4500".into()),
            local: Some("203.0.113.10:4500".into()),
            nat: false,
            nat_local: false,
            nat_remote: false,
            rtt_seconds: Some(0.011),
            redirected_to: None,
            endpoints: Vec::new(),
        },
        auth: Some(auth(time)),
        ike: Some(IkeStatus {
            suite: "AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384".into(),
            started_by: "us".into(),
            local_id: "fra1.example.com".into(),
            remote_id: "berlin.example.com".into(),
            established: Some(time),
            spi_i: "0011223344556677".into(),
            spi_r: "8899aabbccddeeff".into(),
            rekey_in_seconds: 13_260,
            rekeys: 3,
            extensions: vec!["mobike".into(), "fragmentation".into()],
            ppk: None,
        }),
        children: vec![ChildStatus {
            name: "lan".into(),
            local: vec!["10.1.0.0/16".into(), "10.9.0.0/24".into()],
            remote: vec!["10.2.0.0/16".into()],
            state: State::Up,
            since: Some(time),
            since_seconds: Some(93_600),
            reason: None,
            pfs: Some("verified".into()),
            mss: Some(1382),
            pairs: Vec::new(),
            sa: Some(SaStatus {
                suite: "AES_GCM_16_256/ESN".into(),
                encapsulation: "udp".into(),
                spi_in: "c1a20001".into(),
                spi_out: "9f0e0002".into(),
                narrowed_local: vec!["10.1.0.0/16".into(), "10.9.0.0/24".into()],
                narrowed_remote: vec!["10.2.0.0/16".into()],
                more_possible: false,
                rekey_in_seconds: 1320,
            }),
            of_workers: Vec::new(),
            rekeys: 26,
            rx_bytes: 100_873_012,
            tx_bytes: 52_428_800,
            rx_packets: 100_000,
            tx_packets: 60_000,
            rx_bytes_per_second: 12_100_000,
            tx_bytes_per_second: 890_000,
            last_rx_seconds: Some(0.2),
            last_tx_seconds: Some(0.1),
            drops: BTreeMap::from([("replayed".to_owned(), 1)]),
        }],
        path_mtu: None,
        monitors: Vec::new(),
        totals: totals(),
        routes: vec!["10.2.0.0/16 dev s2s0 metric 100".into()],
        warnings: Vec::new(),
        warning_details: Vec::new(),
    }
}

fn totals() -> Totals {
    let mut totals = Totals {
        initiated: Outcomes { ok: 2, failed: 1 },
        ike_rekeys: Outcomes { ok: 3, failed: 0 },
        child_rekeys: Outcomes { ok: 26, failed: 1 },
        failures: BTreeMap::from([("dpd-timeout".to_owned(), 1)]),
        dpd_timeouts: 1,
        ..Totals::default()
    };
    totals.handshake_seconds.note(std::time::Duration::from_millis(12));
    totals.handshake_seconds.note(std::time::Duration::from_millis(700));
    totals
}

fn auth(time: Timestamp) -> AuthStatus {
    AuthStatus {
        local: "certificate".into(),
        remote: "certificate".into(),
        local_method: Some("ECDSA with SHA2-256".into()),
        remote_method: Some("RSASSA-PSS with SHA2-256".into()),
        local_certificate: Some(certificate("fra1", time)),
        remote_certificate: Some(certificate("berlin", time)),
    }
}

fn certificate(name: &str, time: Timestamp) -> CertificateStatus {
    CertificateStatus {
        subject: format!("CN={name}.example.com"),
        names: vec![format!("{name}.example.com")],
        issuer: "CN=Sites".into(),
        not_before: time,
        not_after: time + jiff::SignedDuration::from_hours(365 * 24),
        expires_in_seconds: 365 * 86_400,
        key: "ECDSA P-256".into(),
        authority: false,
        serial: "41".repeat(16),
        fingerprint: "ab".repeat(32),
        key_fingerprint: "cd".repeat(32),
    }
}

fn down(time: Timestamp) -> ConnectionStatus {
    let mut connection = up(time);
    connection.name = "paris".into();
    connection.description = None;
    connection.state = State::Down;
    connection.since_seconds = 12;
    connection.vpnaas_status = State::Down.vpnaas().into();
    connection.cloudstack_state = State::Down.cloudstack().into();
    connection.aws_status = State::Down.aws().into();
    connection.peer.rtt_seconds = None;
    connection.peer.active = None;
    connection.reason = Some(Reason {
        code: "E1003".into(),
        alert: "proposal-mismatch-ike".into(),
        message: "no IKE proposal suits both sides; the peer offered aes256-sha256-modp1024".into(),
        fix: "add one of ours on the peer".into(),
        detail: vec!["ours    1: aes256-sha256-modp2048".into()],
    });
    connection.retry_in_seconds = Some(12);
    connection.peer.configured = vec!["paris.example.com".into()];
    connection.ike = None;
    for child in &mut connection.children {
        child.state = State::Down;
        child.sa = None;
        child.last_rx_seconds = None;
        child.last_tx_seconds = None;
        child.pfs = None;
        child.mss = None;
    }
    connection
}

#[test]
fn the_json_has_the_promised_shape() {
    let json = serde_json::to_value(sample()).expect("serializes");
    assert_eq!(json["schema"], "s2s-gw/status/1");
    assert_eq!(json["uptime_seconds"], 273_600);
    assert_eq!(json["external"][1], "2001:db8::10");
    let paris = &json["connections"][1];
    assert_eq!(paris["state"], "down");
    assert_eq!(paris["since"], "2026-11-20T08:01:21Z");
    assert_eq!(paris["desired_up"], true);
    assert_eq!(paris["vpnaas_status"], "DOWN");
    assert_eq!(paris["cloudstack_state"], "Disconnected");
    assert_eq!(paris["aws_status"], "DOWN");
    assert_eq!(json["warning_details"][0]["severity"], "warning");
    assert_eq!(paris["reason"]["code"], "E1003");
    assert_eq!(paris["reason"]["alert"], "proposal-mismatch-ike");
    assert_eq!(paris["retry_in_seconds"], 12);
    assert_eq!(paris["peer"]["configured"][0], "paris.example.com");
    assert_eq!(paris["peer"]["nat"], false);
    assert!(paris["peer"]["rtt_seconds"].is_null());
    let lan = &json["connections"][0]["children"][0];
    assert_eq!(lan["name"], "lan");
    assert_eq!(lan["rx_bytes"], 100_873_012);
    assert_eq!(lan["spi_in"], "c1a20001");
    assert_eq!(json["connections"][0]["ike"]["extensions"][0], "mobike");
    assert!(lan.get("pairs").is_none(), "only where the peer wants it so");
    assert!(paris["children"][0]["spi_in"].is_null());
    assert_eq!(lan["drops"]["replayed"], 1);
    assert_eq!(json["drops"]["ike"]["malformed"], 2);
}

#[test]
fn what_was_written_is_read_again() {
    let line = serde_json::to_string(&sample()).expect("serializes");
    let back: Snapshot = serde_json::from_str(&line).expect("parses");
    assert_eq!(back, sample());
}

#[test]
fn the_word_of_a_state_is_its_json() {
    for state in State::ALL {
        assert_eq!(serde_json::to_value(state).expect("serializes"), state.word());
    }
}

#[test]
fn the_schema_describes_what_is_sent() {
    let schema = schema();
    let mut sample = serde_json::to_value(sample()).expect("serializes");
    assert_eq!(conforms::faults(&sample, &schema, &schema, ""), [""; 0]);
    sample["connections"][0]["state"] = "sleepy".into();
    sample["pid"] = "4711".into();
    let faults = conforms::faults(&sample, &schema, &schema, "");
    assert_eq!(faults.len(), 2, "{faults:?}");
}

/// Everything that the schema of before promised is promised still: programs that read it go on working.
#[test]
fn fields_are_only_ever_added() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/status/golden/status.schema.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = serde_json::to_string_pretty(&schema()).expect("serializes");
        std::fs::write(path, text + "\n").expect("writes");
    }
    let before = std::fs::read_to_string(path).expect("there is such a file");
    let before: serde_json::Value = serde_json::from_str(&before).expect("JSON");
    kept(&before, &schema(), "");
    assert_eq!(before, schema(), "{path} is behind; UPDATE_GOLDEN=1 writes it anew");
}

/// Fails if a property, a word or a promise of `before` is not in `now`.
fn kept(before: &serde_json::Value, now: &serde_json::Value, at: &str) {
    use serde_json::Value;
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            for (key, value) in before.iter().filter(|(key, _)| *key != "description") {
                let found = now.get(key).unwrap_or_else(|| panic!("{at}/{key} is gone"));
                kept(value, found, &format!("{at}/{key}"));
            }
        }
        (Value::Array(before), Value::Array(now)) => {
            for value in before {
                assert!(now.contains(value), "{at}: {value} is gone");
            }
        }
        (before, now) => assert_eq!(before, now, "{at} is something else"),
    }
}

#[test]
#[should_panic(expected = "/properties/pid is gone")]
fn a_field_that_goes_is_noticed() {
    let mut less = schema();
    less["properties"].as_object_mut().expect("properties").remove("pid");
    kept(&schema(), &less, "");
}
