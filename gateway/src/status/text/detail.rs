//! Everything about one connection.
//!
//! ```text
//!   connection: berlin (Berlin office)    state: up for 1d02h, policy default, started by us
//!     peer:      198.51.100.20 -> 198.51.100.20:4500   from 203.0.113.10:4500
//!     child lan: 10.1.0.0/16 ⇄ 10.2.0.0/16   AES_GCM_16_256/ESN in udp   rekey in 22m (pfs verified)   spi in .. out ..
//!       received 96.2 MiB (100000 packets), sent 50.0 MiB (60000 packets), last in 0.2s ago, last out 0.1s ago, dropped 0
//! ```

use std::fmt::Write as _;

use super::super::words;
use super::super::{
    AuthStatus, CertificateStatus, ChildStatus, ConnectionStatus, EndpointStatus, PairStatus,
    Reason, SaStatus, Snapshot, State, WorkerSaStatus,
};
use super::{Colour, Look, fold, painted, warning};

/// Everything about one connection.
#[must_use]
pub fn detail(snapshot: &Snapshot, connection: &ConnectionStatus, look: Look) -> String {
    let mut text = title(connection, look.colour);
    if let Some(reason) = &connection.reason {
        let _ = writeln!(text, "  reason:    {} {}: {}", reason.code, reason.alert, reason.message);
        for line in &reason.detail {
            let _ = writeln!(text, "             {line}");
        }
        let _ = writeln!(text, "  fix:       {}", reason.fix);
        let _ = writeln!(text, "  more:      s2s-gw error {}", reason.code);
    }
    if let Some(seconds) = connection.retry_in_seconds {
        let _ = writeln!(text, "  retry:     in {}", words::seconds(seconds));
    }
    ike(&mut text, connection);
    for child in &connection.children {
        self::child(&mut text, child);
    }
    mtu(&mut text, snapshot, connection);
    for one in &connection.warning_details {
        let _ = writeln!(text, "  warning:   {}", warning(one));
    }
    fold::lines(&text, look.columns)
}

fn mtu(text: &mut String, snapshot: &Snapshot, connection: &ConnectionStatus) {
    let _ = match connection.path_mtu {
        Some(mtu) => write!(text, "  mtu:       {} inner, path {}", mtu.inner, mtu.outer),
        None => write!(text, "  mtu:       {} inner", snapshot.tun.mtu),
    };
    if let Some(mss) = connection.children.iter().filter_map(|child| child.mss).min() {
        let _ = write!(text, ", mss {mss}");
    }
    text.push('\n');
    for (index, route) in connection.routes.iter().enumerate() {
        let title = if index == 0 { "routes:" } else { "" };
        // One that the kernel refused says so itself.
        let installed = if route.contains(" dev ") { " (installed)" } else { "" };
        let _ = writeln!(text, "  {title:<10} {route}{installed}");
    }
}

fn title(connection: &ConnectionStatus, colour: Colour) -> String {
    let mut text = format!("connection: {}", connection.name);
    if let Some(description) = &connection.description {
        let _ = write!(text, " ({description})");
    }
    let state = match painted(connection.state, colour) {
        Some(code) => format!("{code}{}\x1b[0m", connection.state.word()),
        None => connection.state.word().to_owned(),
    };
    let since = words::seconds(connection.since_seconds);
    let _ = write!(text, "    state: {state} for {since}, policy {}", connection.policy);
    if let Some(ike) = &connection.ike {
        let _ = write!(text, ", started by {}", ike.started_by);
    }
    if let Some(awaits) = &connection.awaits {
        let _ = write!(text, ", waiting for {awaits}");
    }
    if let Some(attempt) = connection.attempt {
        let _ = write!(text, ", attempt {attempt}");
    }
    text.push('\n');
    text
}

fn ike(text: &mut String, connection: &ConnectionStatus) {
    let configured = connection.peer.configured.join(", ");
    let _ = write!(text, "  peer:      {configured}");
    if let Some(active) = &connection.peer.active {
        let _ = write!(text, " -> {active}");
    }
    if let Some(local) = &connection.peer.local {
        let _ = write!(text, "   from {local}");
    }
    match (connection.peer.nat, connection.peer.nat_local, connection.peer.nat_remote) {
        (false, _, _) => {}
        (true, true, false) => text.push_str("   NAT before us"),
        (true, false, _) => text.push_str("   NAT before the peer"),
        (true, true, true) => text.push_str("   NAT before us, perhaps before the peer"),
    }
    text.push('\n');
    for endpoint in connection.peer.endpoints.iter().filter(|endpoint| !endpoint.active) {
        let _ = writeln!(text, "  standby:   {}{}", endpoint.address, probed(endpoint));
    }
    if let Some(to) = &connection.peer.redirected_to {
        let _ = writeln!(text, "             the peer sent us to {to}");
    }
    certificates(text, connection);
    if let Some(ike) = &connection.ike {
        let _ = writeln!(
            text,
            "  ids:       {} <-> {}   auth: {}{}",
            ike.local_id,
            ike.remote_id,
            connection.auth.as_ref().map_or_else(|| "psk (hidden)".to_owned(), auth),
            ike.ppk.as_ref().map(|name| format!(", ppk {name}")).unwrap_or_default()
        );
        let _ = writeln!(
            text,
            "  ike:       {}   rekey in {}   spis {} {}",
            ike.suite,
            words::seconds(ike.rekey_in_seconds),
            ike.spi_i,
            ike.spi_r
        );
        if let Some(rtt) = connection.peer.rtt_seconds {
            let _ = writeln!(text, "  rtt:       {}", words::round_trip(words::span(rtt)));
        }
        if !ike.extensions.is_empty() {
            let _ = writeln!(text, "  agreed on: {}", ike.extensions.join(", "));
        }
    }
}

/// What both sides prove their identities by; one word if it is the same.
fn auth(auth: &AuthStatus) -> String {
    let shown = |word: &str, method: Option<&String>| match (word, method) {
        ("psk", _) => "psk (hidden)".to_owned(),
        (word, None) => word.to_owned(),
        (word, Some(method)) => format!("{word} ({method})"),
    };
    let ours = shown(&auth.local, auth.local_method.as_ref());
    let theirs = shown(&auth.remote, auth.remote_method.as_ref());
    if ours == theirs { ours } else { format!("{ours} <-> {theirs}") }
}

/// Our certificate, and the one that the peer showed.
fn certificates(text: &mut String, connection: &ConnectionStatus) {
    let Some(auth) = &connection.auth else { return };
    if let Some(ours) = &auth.local_certificate {
        let _ = writeln!(text, "  our cert:  {}, {}", ours.subject, ours.expiry());
    }
    if let Some(theirs) = &auth.remote_certificate {
        let CertificateStatus { subject, issuer, .. } = theirs;
        let _ = writeln!(text, "  its cert:  {subject}, {}, issued by {issuer}", theirs.expiry());
    }
}

/// ` (probe ok 3s ago, 18 ms)`, if it was ever asked.
fn probed(endpoint: &EndpointStatus) -> String {
    let ago = endpoint.last_answer_seconds.map(|seconds| words::duration(words::span(seconds)));
    match (endpoint.probe.as_deref(), ago, endpoint.rtt_seconds) {
        (None, _, _) => String::new(),
        (Some("ok"), Some(ago), Some(rtt)) => {
            format!(" (probe ok {ago} ago, {})", words::round_trip(words::span(rtt)))
        }
        (Some(word), Some(ago), _) => format!(" (probe {word}, last answer {ago} ago)"),
        (Some(word), None, _) => format!(" (probe {word}, no answer yet)"),
    }
}

fn child(text: &mut String, child: &ChildStatus) {
    let (local, remote) = match &child.sa {
        Some(sa) if child.pairs.is_empty() => (&sa.narrowed_local, &sa.narrowed_remote),
        Some(_) | None => (&child.local, &child.remote),
    };
    let _ = write!(text, "  child {}: {} ⇄ {}", child.name, local.join(","), remote.join(","));
    if child.pairs.is_empty() {
        sa(text, child.sa.as_ref(), child.state, child.pfs.as_deref());
        if child.sa.as_ref().is_some_and(|sa| sa.more_possible) {
            text.push_str(MORE_POSSIBLE);
        }
        reason(text, child.reason.as_ref());
    } else {
        let up = child.pairs.iter().filter(|pair| pair.sa.is_some()).count();
        let _ = writeln!(text, "   {up} of {} pairs up", child.pairs.len());
        for pair in &child.pairs {
            self::pair(text, pair);
        }
    }
    for WorkerSaStatus { worker, sa, packets, bytes } in &child.of_workers {
        let SaStatus { spi_in, spi_out, rekey_in_seconds, .. } = sa;
        let _ = writeln!(
            text,
            "    worker {worker}: spi in {spi_in} out {spi_out}   rekey in {}   carried {} ({packets} packets)",
            words::seconds(*rekey_in_seconds),
            words::octets(*bytes),
        );
    }
    let dropped: u64 = child.drops.values().sum();
    let _ = write!(
        text,
        "    received {} ({} packets), sent {} ({} packets), last in {}, last out {}, dropped {dropped}",
        words::octets(child.rx_bytes),
        child.rx_packets,
        words::octets(child.tx_bytes),
        child.tx_packets,
        words::ago(child.last_rx_seconds),
        words::ago(child.last_tx_seconds),
    );
    if dropped > 0 {
        let each: Vec<String> = child.drops.iter().map(|(word, n)| format!("{word} {n}")).collect();
        let _ = write!(text, " ({})", each.join(", "));
    }
    text.push('\n');
}

/// The rest of the line of what has this SA pair, or none.
fn sa(text: &mut String, sa: Option<&SaStatus>, state: State, pfs: Option<&str>) {
    let pfs = pfs.map(|word| format!(" (pfs {word})")).unwrap_or_default();
    match sa {
        Some(SaStatus { suite, encapsulation, spi_in, spi_out, rekey_in_seconds, .. }) => {
            let _ = writeln!(
                text,
                "   {suite} in {encapsulation}   rekey in {}{pfs}   spi in {spi_in} out {spi_out}",
                words::seconds(*rekey_in_seconds),
            );
        }
        None => {
            let _ = writeln!(text, "   {}", state.word());
        }
    }
}

/// With `auto` we ask by ourselves.
const MORE_POSSIBLE: &str = "    the peer takes the other networks in child SAs of their own: selectors = \"auto\" asks for them\n";

fn reason(text: &mut String, reason: Option<&Reason>) {
    if let Some(reason) = reason {
        let _ = writeln!(text, "    {} {}: {}", reason.code, reason.alert, reason.message);
        for line in &reason.detail {
            let _ = writeln!(text, "      {line}");
        }
    }
}

/// One pair of networks. What the other pairs have in common with it is not said again: not its algorithms, which are the
/// child's, and not the remedy, which stands at the top.
fn pair(text: &mut String, pair: &PairStatus) {
    let _ = write!(text, "    {} ⇄ {}", pair.local.join(","), pair.remote.join(","));
    match (&pair.sa, &pair.reason) {
        (Some(_), _) => sa(text, pair.sa.as_ref(), pair.state, None),
        (None, reason) => {
            let _ = write!(text, "   {}", pair.state.word());
            if let Some(reason) = reason {
                let _ = write!(text, ": {} {}", reason.code, reason.message);
            }
            if let Some(seconds) = pair.retry_in_seconds {
                let _ = write!(text, "; again in {}", words::seconds(seconds));
            }
            text.push('\n');
        }
    }
}
