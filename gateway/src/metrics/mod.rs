//! The snapshot as metrics for Prometheus: the same facts as `status`, in its words.
//!
//! ```text
//!   status::Snapshot ──► text()  ──► GET /metrics          web/
//!                                └─► s2s-gw metrics        a file for node_exporter
//! ```
//!
//! `exposition.rs` has the format, `process.rs` what the system knows of the daemon. Labels are names that the operator chose, and words of fixed lists: no SPI, no address of a packet, nothing that a peer
//! can make up. So the number of series is known from the configuration, and none goes when a tunnel does. docs/monitoring.md
//! lists them.

mod exposition;
mod process;

use jiff::Timestamp;

use self::exposition::{Exposition, Family, Kind};
use crate::status::{ChildStatus, ConnectionStatus, Histogram, Outcomes, Snapshot, State};

pub use self::process::Process;

/// All metrics.
#[must_use]
pub fn text(snapshot: &Snapshot, process: &Process) -> String {
    let mut all = Exposition::default();
    of_gateway(snapshot, &mut all);
    of_connections(snapshot, &mut all);
    of_children(snapshot, &mut all);
    process.write(&mut all);
    all.into_text()
}

fn of_gateway(snapshot: &Snapshot, all: &mut Exposition) {
    all.family(Kind::Gauge, "s2sgw_build_info", "Which program this is; always 1.")
        .put(&[("version", &snapshot.version), ("gateway", &snapshot.gateway)], 1);
    if let Some(started) = snapshot.started {
        let help = "When the daemon started.";
        let start = seconds(started);
        all.family(Kind::Gauge, "process_start_time_seconds", help).put(&[], start);
    }
    let help = "Whether the last reload of the configuration was put in force.";
    all.family(Kind::Gauge, "s2sgw_config_last_reload_successful", help)
        .put(&[], u8::from(!snapshot.config.refused));
    if let Some(loaded) = snapshot.config.loaded {
        let name = "s2sgw_config_last_reload_success_timestamp_seconds";
        let help = "When the configuration that runs was read.";
        all.family(Kind::Gauge, name, help).put(&[], seconds(loaded));
    }
    let help = "Warnings about configuration, host and connections, by code.";
    let mut family = all.family(Kind::Gauge, "s2sgw_warnings", help);
    let of_connections = snapshot.connections.iter().flat_map(|c| &c.warnings);
    let mut codes: Vec<&String> = snapshot.warnings.iter().chain(of_connections).collect();
    codes.sort_unstable();
    for same in codes.chunk_by(|one, other| one == other) {
        if let Some(code) = same.first() {
            family.put(&[("code", code)], same.len());
        }
    }
    let help = "IKE requests that were sent once more because no answer came.";
    all.family(Kind::Counter, "s2sgw_ike_retransmits_total", help)
        .put(&[], snapshot.ike_retransmits);
    let help = "Packets that were dropped and belong to no connection, by reason.";
    let mut family = all.family(Kind::Counter, "s2sgw_unassigned_dropped_packets_total", help);
    for (protocol, drops) in [("esp", &snapshot.drops.esp), ("ike", &snapshot.drops.ike)] {
        for (reason, count) in drops {
            family.put(&[("protocol", protocol), ("reason", reason)], count);
        }
    }
}

fn of_connections(snapshot: &Snapshot, all: &mut Exposition) {
    let each = |family: &mut Family<'_>, value: &dyn Fn(&ConnectionStatus) -> Option<f64>| {
        for connection in &snapshot.connections {
            if let Some(value) = value(connection) {
                family.put(&[("connection", &connection.name)], value);
            }
        }
    };
    let help = "What a connection is; always 1.";
    let mut family = all.family(Kind::Gauge, "s2sgw_connection_info", help);
    for connection in &snapshot.connections {
        let peer = connection.peer.configured.join(",");
        let name = connection.name.as_str();
        family.put(&[("connection", name), ("peer", &peer), ("policy", &connection.policy)], 1);
    }
    let help = "Whether a connection should be up.";
    each(&mut all.family(Kind::Gauge, "s2sgw_connection_desired_up", help), &|c| {
        Some(flag(c.desired_up))
    });
    let help = "Whether packets pass: state up or degraded.";
    each(&mut all.family(Kind::Gauge, "s2sgw_connection_up", help), &|c| {
        Some(flag(matches!(c.state, State::Up | State::Degraded)))
    });
    let help = "The state of a connection: 1 for the one that it is in.";
    let mut family = all.family(Kind::Gauge, "s2sgw_connection_state", help);
    for connection in &snapshot.connections {
        for state in State::ALL {
            let labels = [("connection", connection.name.as_str()), ("state", state.word())];
            family.put(&labels, u8::from(connection.state == state));
        }
    }
    let help = "When the IKE SA of a connection came up, while it is; rekeys do not count.";
    let name = "s2sgw_connection_established_timestamp_seconds";
    each(&mut all.family(Kind::Gauge, name, help), &|c| {
        Some(seconds(c.ike.as_ref()?.established?))
    });
    let help = "When a packet last came in, to about a second.";
    let name = "s2sgw_connection_last_receive_timestamp_seconds";
    let now = seconds(snapshot.time);
    each(&mut all.family(Kind::Gauge, name, help), &|c| {
        let silent = c.children.iter().filter_map(|child| child.last_rx_seconds);
        silent.reduce(f64::min).map(|silent| (now - silent).round())
    });
    let help = "Round trip time of IKE requests, smoothed, where it is known.";
    each(&mut all.family(Kind::Gauge, "s2sgw_peer_rtt_seconds", help), &|c| c.peer.rtt_seconds);
    of_certificates(snapshot, all);
    of_endpoints(snapshot, all);
    of_totals(snapshot, all);
}

fn of_certificates(snapshot: &Snapshot, all: &mut Exposition) {
    let help = "When a certificate ends: ours, and that of the peer while it is up.";
    let mut family = all.family(Kind::Gauge, "s2sgw_certificate_expiry_timestamp_seconds", help);
    for connection in &snapshot.connections {
        let Some(auth) = &connection.auth else { continue };
        let both = [("local", &auth.local_certificate), ("remote", &auth.remote_certificate)];
        for (side, certificate) in both {
            if let Some(certificate) = certificate {
                let labels = [("connection", connection.name.as_str()), ("side", side)];
                family.put(&labels, seconds(certificate.not_after));
            }
        }
    }
}

fn of_endpoints(snapshot: &Snapshot, all: &mut Exposition) {
    let help = "Whether the SAs are with this endpoint, where a peer has several.";
    let mut family = all.family(Kind::Gauge, "s2sgw_endpoint_active", help);
    for connection in &snapshot.connections {
        for endpoint in &connection.peer.endpoints {
            let name = connection.name.as_str();
            let labels = [("connection", name), ("endpoint", endpoint.address.as_str())];
            family.put(&labels, u8::from(endpoint.active));
        }
    }
    let help = "Whether a monitored host behind the peer answers.";
    let mut family = all.family(Kind::Gauge, "s2sgw_monitor_up", help);
    for connection in &snapshot.connections {
        for monitor in &connection.monitors {
            let name = connection.name.as_str();
            let labels = [("connection", name), ("monitor", monitor.target.as_str())];
            family.put(&labels, u8::from(!monitor.failed));
        }
    }
}

fn of_totals(snapshot: &Snapshot, all: &mut Exposition) {
    let help = "IKE SAs that were asked for, by who asked and how it ended.";
    let mut family = all.family(Kind::Counter, "s2sgw_ike_handshakes_total", help);
    for connection in &snapshot.connections {
        let totals = &connection.totals;
        outcomes(&mut family, &connection.name, ("role", "initiator"), totals.initiated);
        outcomes(&mut family, &connection.name, ("role", "responder"), totals.responded);
    }
    let help = "How long IKE SAs took that we asked for and got.";
    let mut family = all.family(Kind::Histogram, "s2sgw_ike_handshake_duration_seconds", help);
    for connection in &snapshot.connections {
        let took = &connection.totals.handshake_seconds;
        let labels = [("connection", connection.name.as_str())];
        family.classes(&labels, &Histogram::BOUNDS, &took.counts, took.sum);
    }
    let help = "What went wrong with a connection, by the word of its reason.";
    let mut family = all.family(Kind::Counter, "s2sgw_ike_failures_total", help);
    for connection in &snapshot.connections {
        for (reason, count) in &connection.totals.failures {
            family.put(&[("connection", &connection.name), ("reason", reason)], count);
        }
    }
    let help = "Replacements of SAs, by what was replaced and how it ended.";
    let mut family = all.family(Kind::Counter, "s2sgw_rekeys_total", help);
    for connection in &snapshot.connections {
        let totals = &connection.totals;
        outcomes(&mut family, &connection.name, ("kind", "ike"), totals.ike_rekeys);
        outcomes(&mut family, &connection.name, ("kind", "child"), totals.child_rekeys);
    }
    let help = "How often a peer was found dead.";
    let mut family = all.family(Kind::Counter, "s2sgw_dpd_timeouts_total", help);
    for connection in &snapshot.connections {
        family.put(&[("connection", &connection.name)], connection.totals.dpd_timeouts);
    }
    let help = "How often a connection went to another endpoint of its peer, and to a later or an earlier one.";
    let mut family = all.family(Kind::Counter, "s2sgw_failovers_total", help);
    for connection in &snapshot.connections {
        for trigger in ["failover", "failback"] {
            let count = connection.totals.failovers.get(trigger).unwrap_or(&0);
            family.put(&[("connection", &connection.name), ("trigger", trigger)], count);
        }
    }
}

fn outcomes(family: &mut Family<'_>, connection: &str, what: (&str, &str), counts: Outcomes) {
    for (result, count) in [("ok", counts.ok), ("failed", counts.failed)] {
        family.put(&[("connection", connection), what, ("result", result)], count);
    }
}

fn of_children(snapshot: &Snapshot, all: &mut Exposition) {
    let mut each = |kind, name, help, value: fn(&ChildStatus) -> u64| {
        let mut family = all.family(kind, name, help);
        for (connection, child) in children(snapshot) {
            family.put(&[("connection", connection), ("child", &child.name)], value(child));
        }
    };
    let help = "Whether packets of a child pass.";
    each(Kind::Gauge, "s2sgw_child_up", help, |child| {
        u64::from(matches!(child.state, State::Up | State::Degraded))
    });
    let help = "Octets of inner packets that came in; rekeys do not reset them.";
    each(Kind::Counter, "s2sgw_receive_bytes_total", help, |child| child.rx_bytes);
    let help = "Octets of inner packets that were sent.";
    each(Kind::Counter, "s2sgw_transmit_bytes_total", help, |child| child.tx_bytes);
    let help = "Inner packets that came in.";
    each(Kind::Counter, "s2sgw_receive_packets_total", help, |child| child.rx_packets);
    let help = "Inner packets that were sent.";
    each(Kind::Counter, "s2sgw_transmit_packets_total", help, |child| child.tx_packets);
    let help = "Packets of a child that were dropped, by reason.";
    let mut family = all.family(Kind::Counter, "s2sgw_dropped_packets_total", help);
    for (connection, child) in children(snapshot) {
        let count = |reason: &str| child.drops.get(reason).copied().unwrap_or(0);
        let rest = child.drops.keys().map(String::as_str).filter(|word| !ALWAYS.contains(word));
        for reason in ALWAYS.into_iter().chain(rest) {
            let labels = [("connection", connection), ("child", &child.name), ("reason", reason)];
            family.put(&labels, count(reason));
        }
    }
}

fn children(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &ChildStatus)> {
    snapshot.connections.iter().flat_map(|connection| {
        connection.children.iter().map(|child| (connection.name.as_str(), child))
    })
}

const fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

/// Seconds since 1970.
fn seconds(time: Timestamp) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds until the year 287 000")]
    let millis = time.as_millisecond() as f64;
    millis / 1000.0
}

/// The reasons that alerts ask for: they are there before the first packet is dropped, so that the first one is seen.
const ALWAYS: [&str; 6] =
    ["bad-icv", "no-sa", "replayed", "selector-mismatch", "send-failed", "too-old"];

#[cfg(test)]
mod tests;
