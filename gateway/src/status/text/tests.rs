//! What people see, letter by letter.

use std::time::Duration;

use super::super::tests::sample;
use super::super::*;
use super::*;

const WIDE: Look = Look { colour: Colour::Off, columns: None };

fn in_columns(columns: usize) -> Look {
    Look { columns: Some(columns), ..WIDE }
}

/// What a terminal of so many columns has.
fn golden(name: &str, text: &str, columns: usize) {
    let path = format!("{}/src/status/text/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("writes");
    }
    for line in text.lines() {
        assert!(width(line) <= columns, "{} columns: {line}", width(line));
    }
    let expected = std::fs::read_to_string(&path).expect("there is such a file");
    assert_eq!(text, expected, "{path}; UPDATE_GOLDEN=1 writes it anew, for you to review");
}

/// One of each kind: up, degraded behind a NAT, down, waiting.
fn many() -> Snapshot {
    let mut snapshot = sample();
    let up = &mut snapshot.connections[0];
    up.peer.configured = vec!["ber-a.example.com".into()];
    let mut partner = up.clone();
    partner.name = "partner".into();
    partner.state = State::Degraded;
    partner.since_seconds = 240;
    partner.peer.configured = vec!["any".into()];
    partner.peer.active = Some("198.51.100.77:61044".into());
    partner.peer.nat = true;
    partner.children[0].local = vec!["10.50.1.0/24".into()];
    partner.children[0].remote = vec!["10.60.1.0/24".into()];
    partner.children[0].last_rx_seconds = Some(98.0);
    partner.children[0].rx_bytes_per_second = 0;
    partner.reason = Some(reason::no_return_traffic(1204, Duration::from_mins(4)));
    let mut branch = snapshot.connections[1].clone();
    branch.name = "branch-with-a-long-name".into();
    branch.state = State::Waiting;
    branch.reason = None;
    branch.retry_in_seconds = None;
    branch.peer.configured = vec!["any".into()];
    branch.children[0].remote = vec!["2001:db8:7::/48".into()];
    snapshot.connections.insert(1, partner);
    snapshot.connections.push(branch);
    snapshot
}

#[test]
fn the_overview_fits() {
    for columns in [60, 80, 120] {
        golden(
            &format!("overview-{columns}.txt"),
            &overview(&many(), in_columns(columns)),
            columns,
        );
    }
    golden("overview.txt", &overview(&many(), WIDE), usize::MAX);
    // However narrow it is, no line is longer, as far as there is a blank in it.
    let text = overview(&many(), in_columns(45));
    assert!(text.lines().all(|line| width(line) <= 60), "{text}");
}

#[test]
fn the_detail_fits() {
    let snapshot = many();
    for columns in [60, 80, 120] {
        let all: Vec<String> = snapshot
            .connections
            .iter()
            .map(|c| detail(&snapshot, c, in_columns(columns)))
            .collect();
        golden(&format!("detail-{columns}.txt"), &all.join("\n"), columns);
    }
}

#[test]
fn pairs_and_redirects_are_told() {
    let mut snapshot = sample();
    let connection = &mut snapshot.connections[0];
    connection.peer.redirected_to = Some("gw-b.example.com".into());
    let refused = snapshot_reason();
    let child = &mut connection.children[0];
    child.state = State::Degraded;
    let pair = |local: &str, sa: Option<SaStatus>| PairStatus {
        local: vec![local.into()],
        remote: vec!["10.2.0.0/16".into()],
        state: if sa.is_some() { State::Up } else { State::Down },
        reason: sa.is_none().then(|| refused.clone()),
        retry_in_seconds: sa.is_none().then_some(12),
        sa,
    };
    child.pairs = vec![pair("10.1.0.0/16", child.sa.clone()), pair("10.9.0.0/24", None)];
    child.reason = Some(refused.clone());
    let text = detail(&snapshot, &snapshot.connections[0], WIDE);
    let expected = "  child lan: 10.1.0.0/16,10.9.0.0/24 ⇄ 10.2.0.0/16   1 of 2 pairs up
    10.1.0.0/16 ⇄ 10.2.0.0/16   AES_GCM_16_256/ESN in udp   rekey in 22m   spi in c1a20001 out 9f0e0002
    10.9.0.0/24 ⇄ 10.2.0.0/16   down: E1005 the peer wants other networks; again in 12s
    received ";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("             the peer sent us to gw-b.example.com\n"), "{text}");
    assert!(text.contains("  agreed on: mobike, fragmentation\n"), "{text}");
}

fn snapshot_reason() -> Reason {
    Reason {
        code: "E1005".into(),
        alert: "ts-mismatch".into(),
        message: "the peer wants other networks".into(),
        fix: "x".into(),
        detail: Vec::new(),
    }
}

#[test]
fn colour_changes_no_width() {
    let plain = overview(&sample(), WIDE);
    let coloured = overview(&sample(), Look { colour: Colour::On, columns: None });
    assert_ne!(plain, coloured);
    let mut stripped = coloured;
    for code in ["\x1b[32m", "\x1b[31m", "\x1b[0m"] {
        stripped = stripped.replace(code, "");
    }
    assert_eq!(plain, stripped);
}

#[test]
fn the_detail_names_what_was_negotiated() {
    let snapshot = sample();
    let text = detail(&snapshot, &snapshot.connections[0], WIDE);
    for part in [
        "connection: berlin (Berlin office)    state: up for 1d02h, policy default, started by us",
        "AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384   rekey in 3h41m",
        "child lan: 10.1.0.0/16,10.9.0.0/24 ⇄ 10.2.0.0/16   AES_GCM_16_256/ESN in udp   rekey in 22m (pfs verified)   spi in c1a20001 out 9f0e0002",
        "received 96.2 MiB (100000 packets), sent 50.0 MiB (60000 packets), last in 0.2s ago, last out 0.1s ago, dropped 1 (replayed 1)",
        "  mtu:       1422 inner, mss 1382\n  routes:    10.2.0.0/16 dev s2s0 metric 100 (installed)\n",
    ] {
        assert!(text.contains(part), "{part}\n--- is not in ---\n{text}");
    }
    let mut narrow = snapshot.connections[0].clone();
    narrow.path_mtu = Some(PathMtuStatus { outer: 1400, inner: 1338 });
    let text = detail(&snapshot, &narrow, WIDE);
    assert!(text.contains("  mtu:       1338 inner, path 1400"), "{text}");
    let mut narrowed = snapshot.connections[0].clone();
    narrowed.children[0].sa.as_mut().expect("it is up").more_possible = true;
    let text = detail(&snapshot, &narrowed, WIDE);
    assert!(text.contains("out 9f0e0002\n    the peer takes the other networks"), "{text}");
    let text = detail(&snapshot, &snapshot.connections[1], WIDE);
    assert!(text.contains("  fix:       add one of ours on the peer"), "{text}");
    assert!(text.contains("ours    1: aes256-sha256-modp2048"), "{text}");
}
