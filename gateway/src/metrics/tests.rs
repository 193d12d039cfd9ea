//! The text for a snapshot, and what `promtool` says about it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;
use crate::status::tests::sample;

fn of_sample() -> String {
    text(&sample(), &Process::of(std::process::id()))
}

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(text.lines().any(|one| one == line), "no line {line}\n{text}");
}

#[test]
fn what_status_shows_is_what_is_measured() {
    let text = of_sample();
    for line in [
        "s2sgw_build_info{version=\"0.1.0\",gateway=\"fra1\"} 1",
        "s2sgw_config_last_reload_successful 1",
        "s2sgw_warnings{code=\"W0501\"} 1",
        "s2sgw_ike_retransmits_total 3",
        "s2sgw_unassigned_dropped_packets_total{protocol=\"esp\",reason=\"unknown-spi\"} 3",
        "s2sgw_connection_info{connection=\"paris\",peer=\"paris.example.com\",policy=\"default\"} 1",
        "s2sgw_connection_desired_up{connection=\"paris\"} 1",
        "s2sgw_connection_up{connection=\"berlin\"} 1",
        "s2sgw_connection_up{connection=\"paris\"} 0",
        "s2sgw_connection_state{connection=\"paris\",state=\"down\"} 1",
        "s2sgw_connection_state{connection=\"paris\",state=\"up\"} 0",
        "s2sgw_connection_established_timestamp_seconds{connection=\"berlin\"} 1795161681",
        "s2sgw_peer_rtt_seconds{connection=\"berlin\"} 0.011",
        "s2sgw_ike_handshakes_total{connection=\"berlin\",role=\"initiator\",result=\"failed\"} 1",
        "s2sgw_ike_handshake_duration_seconds_bucket{connection=\"berlin\",le=\"0.025\"} 1",
        "s2sgw_ike_handshake_duration_seconds_count{connection=\"berlin\"} 2",
        "s2sgw_ike_failures_total{connection=\"berlin\",reason=\"dpd-timeout\"} 1",
        "s2sgw_rekeys_total{connection=\"berlin\",kind=\"child\",result=\"ok\"} 26",
        "s2sgw_dpd_timeouts_total{connection=\"berlin\"} 1",
        "s2sgw_failovers_total{connection=\"berlin\",trigger=\"failback\"} 0",
        "s2sgw_child_up{connection=\"paris\",child=\"lan\"} 0",
        "s2sgw_receive_bytes_total{connection=\"berlin\",child=\"lan\"} 100873012",
        "s2sgw_dropped_packets_total{connection=\"berlin\",child=\"lan\",reason=\"replayed\"} 1",
        "s2sgw_dropped_packets_total{connection=\"berlin\",child=\"lan\",reason=\"bad-icv\"} 0",
    ] {
        has(&text, line);
    }
}

/// The names of all series but of those that come with what they tell of.
fn series(snapshot: &Snapshot) -> Vec<String> {
    let comes = ["established_timestamp", "last_receive", "peer_rtt", "_failures_", "certificate"];
    let text = text(snapshot, &Process::default());
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let names = samples.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()));
    names.filter(|name| !comes.iter().any(|one| name.contains(one))).collect()
}

#[test]
fn no_series_goes_when_a_tunnel_does() {
    let up = sample();
    let mut down = sample();
    let paris = down.connections[1].clone();
    for connection in &mut down.connections {
        let name = connection.name.clone();
        *connection = ConnectionStatus { name, peer: connection.peer.clone(), ..paris.clone() };
    }
    assert_eq!(series(&up), series(&down));
}

#[test]
fn no_label_has_an_spi() {
    let text = of_sample();
    for spi in ["c1a20001", "9f0e0002", "0011223344556677", "8899aabbccddeeff"] {
        assert!(!text.contains(spi), "{spi}");
    }
}

#[test]
fn promtool_has_nothing_to_say() {
    let Some(said) = promtool(&["check", "metrics"], &of_sample()) else { return };
    assert_eq!(said, (true, String::new()));
    let wrong = of_sample().replace("# HELP s2sgw_child_up", "# HELP s2sgw_child_down");
    let said = promtool(&["check", "metrics"], &wrong).expect("it was there");
    assert!(!said.0, "it would not see a mistake either");
}

#[test]
fn the_alerts_that_are_shipped_do_what_they_say() {
    let packaging = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging");
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let Ok(output) = Command::new(PROMTOOL).args(arguments).current_dir(packaging).output()
        else {
            return skipped();
        };
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
}

/// Every metric that an alert or the dashboard asks for is one that we have.
#[test]
fn what_is_shipped_asks_for_what_there_is() {
    let text = of_sample();
    let packaging = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging");
    for file in ["alerts.yml", "grafana.json"] {
        let asks = std::fs::read_to_string(format!("{packaging}/{file}")).expect(file);
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let names = asks.split(|c| !word(c)).filter(|name| name.starts_with("s2sgw_"));
        let mut seen = 0;
        for name in names {
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(text.contains(&format!("# TYPE {name} ")), "{file}: no metric {name}");
            seen += 1;
        }
        assert!(seen > 5, "{file}");
    }
    let dashboard = std::fs::read(format!("{packaging}/grafana.json")).expect("reads");
    let dashboard: serde_json::Value = serde_json::from_slice(&dashboard).expect("JSON");
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 5));
}

/// Whether it was content, and what it said; `None` if it is not here.
fn promtool(arguments: &[&str], input: &str) -> Option<(bool, String)> {
    let mut command = Command::new(PROMTOOL);
    let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = command.stderr(Stdio::piped()).spawn() else {
        skipped();
        return None;
    };
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("writes");
    let output = child.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Some((output.status.success(), said.into_owned()))
}

fn skipped() {
    eprintln!("skipped: promtool is not here (Debian package prometheus)");
}

const PROMTOOL: &str = "promtool";
