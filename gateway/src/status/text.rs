//! The snapshot for people: a table of all connections, or everything about one.
//!
//! ```text
//!   fra1 0.1.0  up 3d04h  203.0.113.10 · 2001:db8::10   2 connections: 1 up, 1 down
//!   NAME    STATE   PEER                NETWORKS                    SINCE  LAST RX  RX/s       TX/s
//!   berlin  ● up    198.51.100.20:4500  10.1.0.0/16 ⇄ 10.2.0.0/16   1d02h  0.2s     12.1 MB/s  890 kB/s
//!   paris   ○ down  paris.example.com   ..                          12s    -
//!           └ proposal-mismatch-ike: .. Retry in 12s. Fix: ..
//! ```

use std::fmt::Write as _;
use std::time::Duration;

use super::words;
use super::{
    ChildStatus, ConnectionStatus, EndpointStatus, PairStatus, PeerStatus, Reason, Refusal,
    SaStatus, Snapshot, State, WorkerSaStatus,
};

/// Whether to colour the state words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// ANSI colours.
    On,
    /// Plain.
    Off,
}

/// The table of all connections.
#[must_use]
pub fn overview(snapshot: &Snapshot, colour: Colour) -> String {
    let mut text = headline(snapshot);
    let headings = HEADINGS.map(str::to_owned);
    let rows: Vec<_> = snapshot.connections.iter().map(row).collect();
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        let cells = rows.iter().chain([&headings]).filter_map(|row| row.get(column));
        cells.map(|cell| width(cell)).max().unwrap_or(0)
    });
    let [indent, ..] = widths.map(|width| width + 2);
    line(&mut text, &headings, &widths, None);
    for (connection, row) in snapshot.connections.iter().zip(&rows) {
        line(&mut text, row, &widths, painted(connection.state, colour));
        if let Some(reason) = &connection.reason {
            let _ = writeln!(text, "{:indent$}└ {}", "", sentence(reason, connection));
        }
    }
    tail(&mut text, snapshot);
    text
}

const COLUMNS: usize = 8;
const HEADINGS: [&str; COLUMNS] =
    ["NAME", "STATE", "PEER", "NETWORKS", "SINCE", "LAST RX", "RX/s", "TX/s"];

fn headline(snapshot: &Snapshot) -> String {
    let mut text = format!(
        "{} {}  up {}",
        snapshot.gateway,
        snapshot.version,
        words::seconds(snapshot.uptime_seconds)
    );
    if !snapshot.external.is_empty() {
        let _ = write!(text, "  {}", snapshot.external.join(" · "));
    }
    let count = snapshot.connections.len();
    let mut parts = Vec::new();
    for state in [
        State::Up,
        State::Degraded,
        State::Connecting,
        State::Down,
        State::Error,
        State::Waiting,
        State::Disabled,
    ] {
        let number = snapshot.connections.iter().filter(|c| c.state == state).count();
        if number > 0 {
            parts.push(format!("{number} {}", state.word()));
        }
    }
    let plural = if count == 1 { "" } else { "s" };
    let _ = writeln!(text, "   {count} connection{plural}: {}", parts.join(", "));
    text
}

fn row(connection: &ConnectionStatus) -> [String; COLUMNS] {
    let local = connection.children.iter().flat_map(|child| &child.local);
    let remote = connection.children.iter().flat_map(|child| &child.remote);
    let rx = connection.children.iter().map(|child| child.rx_bytes_per_second).sum();
    let tx = connection.children.iter().map(|child| child.tx_bytes_per_second).sum();
    let carries = matches!(connection.state, State::Up | State::Degraded);
    let rate = |octets| if carries { words::rate(octets) } else { String::new() };
    [
        connection.name.clone(),
        format!("{} {}", glyph(connection.state), connection.state.word()),
        peer(&connection.peer),
        format!("{} ⇄ {}", networks(local), networks(remote)),
        words::seconds(connection.since_seconds),
        last_rx(connection.children.iter().filter_map(|child| child.last_rx_seconds)),
        rate(rx),
        rate(tx),
    ]
}

const fn glyph(state: State) -> &'static str {
    match state {
        State::Up => "●",
        State::Degraded | State::Connecting => "◐",
        State::Down | State::Waiting => "○",
        State::Disabled => "-",
        State::Error => "✗",
    }
}

/// `198.51.100.20:4500 (NAT)`; the configured names while nobody answered.
fn peer(peer: &PeerStatus) -> String {
    let mut text = peer.active.clone().unwrap_or_else(|| peer.configured.join(", "));
    if peer.nat {
        text.push_str(" (NAT)");
    }
    text
}

/// At most two networks, then how many more; each once.
fn networks<'s>(all: impl Iterator<Item = &'s String>) -> String {
    let mut distinct: Vec<&str> = Vec::new();
    for network in all {
        if !distinct.contains(&network.as_str()) {
            distinct.push(network);
        }
    }
    let shown = distinct.get(..2).unwrap_or(&distinct).join(",");
    match distinct.len() {
        0 => "-".to_owned(),
        1 | 2 => shown,
        many => format!("{shown} +{}", many - 2),
    }
}

fn last_rx(all: impl Iterator<Item = f64>) -> String {
    let latest = all.reduce(f64::min);
    latest.map_or_else(|| "-".to_owned(), |seconds| words::duration(span(seconds)))
}

/// A number from JSON may be anything.
fn span(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

/// One row; `paint` colours the second cell after it was padded.
fn line(text: &mut String, row: &[String], widths: &[usize], paint: Option<&str>) {
    let mut line = String::new();
    for (column, (cell, wide)) in row.iter().zip(widths).enumerate() {
        let padding = wide.saturating_sub(width(cell)) + 2;
        match paint {
            Some(code) if column == 1 => {
                let _ = write!(line, "{code}{cell}\x1b[0m");
            }
            Some(_) | None => line.push_str(cell),
        }
        line.extend(std::iter::repeat_n(' ', padding));
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

const fn painted(state: State, colour: Colour) -> Option<&'static str> {
    match (colour, state) {
        (Colour::Off, _) => None,
        (Colour::On, State::Up) => Some("\x1b[32m"),
        (Colour::On, State::Degraded | State::Connecting) => Some("\x1b[33m"),
        (Colour::On, State::Down | State::Error) => Some("\x1b[31m"),
        (Colour::On, State::Waiting | State::Disabled) => Some("\x1b[2m"),
    }
}

/// Every character that we print is one column wide.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// `alert: message. Retry in 12s. Fix: ..`
fn sentence(reason: &Reason, connection: &ConnectionStatus) -> String {
    let mut text = format!("{} {}: {}.", reason.code, reason.alert, reason.message);
    if let Some(seconds) = connection.retry_in_seconds {
        let _ = write!(text, " Retry in {}.", words::seconds(seconds));
    }
    let _ = write!(text, " Fix: {}.", reason.fix);
    text
}

fn tail(text: &mut String, snapshot: &Snapshot) {
    for (what, drops) in [("packets", &snapshot.drops.esp), ("IKE datagrams", &snapshot.drops.ike)]
    {
        if !drops.is_empty() {
            let each: Vec<String> = drops.iter().map(|(word, n)| format!("{word} {n}")).collect();
            let _ = writeln!(text, "dropped {what}: {}", each.join(", "));
        }
    }
    refusals(text, &snapshot.refused);
    if !snapshot.warnings.is_empty() {
        let _ = writeln!(
            text,
            "warnings: {} (more: s2s-gw error {})",
            snapshot.warnings.join(", "),
            snapshot.warnings.last().map_or("CODE", String::as_str)
        );
    }
}

/// The last few that were turned away, each address and reason once.
fn refusals(text: &mut String, all: &[Refusal]) {
    let address = |refusal: &Refusal| refusal.from.rsplit_once(':').map(|(ip, _)| ip.to_owned());
    let mut told: Vec<&Refusal> = Vec::new();
    for refusal in all.iter().rev() {
        let alike = |other: &&&Refusal| {
            address(other) == address(refusal) && other.reason.message == refusal.reason.message
        };
        if told.len() == SHOWN_REFUSALS || told.iter().any(|other| alike(&other)) {
            continue;
        }
        told.push(refusal);
        let times = all.iter().filter(|other| alike(&other)).count();
        let times = if times > 1 { format!(", {times} times of late") } else { String::new() };
        let time = refusal.time.strftime("%H:%M:%SZ");
        let _ =
            writeln!(text, "refused {} at {time}{times}: {}", refusal.from, refusal.reason.message);
    }
}

/// Refusals in the overview; the JSON has more.
const SHOWN_REFUSALS: usize = 3;

/// Everything about one connection.
#[must_use]
pub fn detail(snapshot: &Snapshot, connection: &ConnectionStatus, colour: Colour) -> String {
    let mut text = title(connection, colour);
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
    let _ = match connection.path_mtu {
        Some(mtu) => write!(text, "  mtu:       {} inner, path {}", mtu.inner, mtu.outer),
        None => write!(text, "  mtu:       {} inner", snapshot.tun.mtu),
    };
    match connection.routes.as_slice() {
        [] => text.push('\n'),
        [first, more @ ..] => {
            let _ = writeln!(text, "          routes: {first}");
            for route in more {
                let _ = writeln!(text, "                                 {route}");
            }
        }
    }
    text
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
    if let Some(ike) = &connection.ike {
        let _ = writeln!(
            text,
            "  ids:       {} <-> {}   auth: psk (hidden)",
            ike.local_id, ike.remote_id
        );
        let _ = writeln!(
            text,
            "  ike:       {}   rekey in {}   spis {} {}",
            ike.suite,
            words::seconds(ike.rekey_in_seconds),
            ike.spi_i,
            ike.spi_r
        );
        if !ike.extensions.is_empty() {
            let _ = writeln!(text, "  agreed on: {}", ike.extensions.join(", "));
        }
    }
}

/// ` (probe ok 3s ago, 18ms)`, if it was ever asked.
fn probed(endpoint: &EndpointStatus) -> String {
    let ago = endpoint.last_answer_seconds.map(|seconds| words::duration(span(seconds)));
    match (endpoint.probe.as_deref(), ago, endpoint.rtt_seconds) {
        (None, _, _) => String::new(),
        (Some("ok"), Some(ago), Some(rtt)) => {
            format!(" (probe ok {ago} ago, {} ms)", (rtt * 1000.0).ceil())
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
        sa(text, child.sa.as_ref(), child.state);
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
        "    received {} ({} packets), sent {} ({} packets), last in {}, dropped {dropped}",
        words::octets(child.rx_bytes),
        child.rx_packets,
        words::octets(child.tx_bytes),
        child.tx_packets,
        child
            .last_rx_seconds
            .map_or_else(|| "never".to_owned(), |s| format!("{} ago", words::duration(span(s)))),
    );
    if dropped > 0 {
        let each: Vec<String> = child.drops.iter().map(|(word, n)| format!("{word} {n}")).collect();
        let _ = write!(text, " ({})", each.join(", "));
    }
    text.push('\n');
}

/// The rest of the line of what has this SA pair, or none.
fn sa(text: &mut String, sa: Option<&SaStatus>, state: State) {
    match sa {
        Some(SaStatus { suite, encapsulation, spi_in, spi_out, rekey_in_seconds, .. }) => {
            let _ = writeln!(
                text,
                "   {suite} in {encapsulation}   rekey in {}   spi in {spi_in} out {spi_out}",
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
        (Some(_), _) => sa(text, pair.sa.as_ref(), pair.state),
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

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn the_overview_is_aligned_and_says_why() {
        let text = overview(&sample(), Colour::Off);
        let expected = "\
fra1 0.1.0  up 3d04h  203.0.113.10 · 2001:db8::10   2 connections: 1 up, 1 down
NAME    STATE   PEER                NETWORKS                               SINCE  LAST RX  RX/s       TX/s
berlin  ● up    198.51.100.20:4500  10.1.0.0/16,10.9.0.0/24 ⇄ 10.2.0.0/16  1d02h  0.2s     12.1 MB/s  890 kB/s
paris   ○ down  198.51.100.20:4500  10.1.0.0/16,10.9.0.0/24 ⇄ 10.2.0.0/16  12s    -
        └ E1003 proposal-mismatch-ike: no IKE proposal suits both sides; the peer offered aes256-sha256-modp1024. Retry in 12s. Fix: add one of ours on the peer.
dropped packets: unknown-spi 3
dropped IKE datagrams: malformed 2
warnings: W0302 (more: s2s-gw error W0302)
";
        assert_eq!(text, expected);
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
        let text = detail(&snapshot, &snapshot.connections[0], Colour::Off);
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
    fn one_who_knocks_again_and_again_has_one_line() {
        let refusal = |port: u16, message: &str| Refusal {
            time: "2026-11-20T08:01:21Z".parse().expect("a time"),
            connection: None,
            from: format!("192.0.2.9:{port}"),
            reason: Reason {
                code: "E1008".into(),
                alert: "local-auth-failed".into(),
                message: message.into(),
                fix: "x".into(),
                detail: Vec::new(),
            },
        };
        let mut text = String::new();
        refusals(&mut text, &[refusal(500, "a"), refusal(4500, "b"), refusal(4501, "a")]);
        let expected = "refused 192.0.2.9:4501 at 08:01:21Z, 2 times of late: a\n\
                        refused 192.0.2.9:4500 at 08:01:21Z: b\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn colour_changes_no_width() {
        let plain = overview(&sample(), Colour::Off);
        let coloured = overview(&sample(), Colour::On);
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
        let text = detail(&snapshot, &snapshot.connections[0], Colour::Off);
        for part in [
            "connection: berlin (Berlin office)    state: up for 1d02h, policy default, started by us",
            "AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384   rekey in 3h41m",
            "child lan: 10.1.0.0/16,10.9.0.0/24 ⇄ 10.2.0.0/16   AES_GCM_16_256/ESN in udp   rekey in 22m   spi in c1a20001 out 9f0e0002",
            "received 96.2 MiB (100000 packets), sent 50.0 MiB (60000 packets), last in 0.2s ago, dropped 1 (replayed 1)",
            "mtu:       1422 inner          routes: 10.2.0.0/16 dev s2s0 metric 100",
        ] {
            assert!(text.contains(part), "{part}\n--- is not in ---\n{text}");
        }
        let mut narrow = snapshot.connections[0].clone();
        narrow.path_mtu = Some(crate::status::PathMtuStatus { outer: 1400, inner: 1338 });
        let text = detail(&snapshot, &narrow, Colour::Off);
        assert!(text.contains("  mtu:       1338 inner, path 1400"), "{text}");
        let mut narrowed = snapshot.connections[0].clone();
        narrowed.children[0].sa.as_mut().expect("it is up").more_possible = true;
        let text = detail(&snapshot, &narrowed, Colour::Off);
        assert!(text.contains("out 9f0e0002\n    the peer takes the other networks"), "{text}");
        let text = detail(&snapshot, &snapshot.connections[1], Colour::Off);
        assert!(text.contains("  fix:       add one of ours on the peer"), "{text}");
        assert!(text.contains("ours    1: aes256-sha256-modp2048"), "{text}");
    }
}
