//! A line for each connection, and below it why it is not up.
//!
//! ```text
//!   fra1 0.1.0  up 3d04h  203.0.113.10 · 2001:db8::10   2 connections: 1 up, 1 down
//!   NAME    STATE   PEER               NETWORKS                   SINCE  LAST RX  RX/s       TX/s
//!   berlin  ● up    198.51.100.20      10.1/16,10.9.0/24 ⇄ 10.2/16  1d02h  0.2s     12.1 MB/s  890 kB/s
//!   paris   ○ down  paris.example.com  ..                         12s    -
//!           └ E1003 proposal-mismatch-ike: .. Retry in 12s. Fix: .. Try: s2s-gw error E1003
//!
//!   too wide: one network on a side ─► no name of the peer ─► no rates ─► no LAST RX ─► NETWORKS, NAME, PEER cut with `…`
//! ```

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::super::words;
use super::super::{ConnectionStatus, Drops, PeerStatus, Reason, Refusal, Snapshot, State};
use super::{Look, fold, painted, warning, width};

/// The table of all connections.
#[must_use]
pub fn overview(snapshot: &Snapshot, look: Look) -> String {
    let mut text = String::new();
    push(&mut text, &headline(snapshot), 4, look);
    let table = Table::fitting(&snapshot.connections, look.columns);
    table.line(&mut text, &table.headings(), None);
    // Below the state; on a narrow terminal that would leave no room for words.
    let narrow = look.columns.is_some_and(|columns| columns < WIDE);
    let indent = if narrow { 2 } else { table.widths.first().map_or(0, |name| name + 2) };
    for (connection, row) in snapshot.connections.iter().zip(&table.rows) {
        table.line(&mut text, row, painted(connection.state, look.colour));
        if let Some(reason) = &connection.reason {
            let said = format!("{:indent$}└ {}", "", sentence(reason, connection));
            let more = format!("{said} Try: s2s-gw error {}", reason.code);
            // The way to more words is worth the rest of a line, not a line.
            let height = |text: &str| {
                look.columns.map(|columns| fold::hanging(text, columns, indent + 2).lines().count())
            };
            let said = if height(&more) == height(&said) { more } else { said };
            push(&mut text, &said, indent + 2, look);
        }
    }
    tail(&mut text, snapshot, look);
    text
}

/// A line, folded if it has to be.
fn push(text: &mut String, line: &str, indent: usize, look: Look) {
    match look.columns {
        Some(columns) => text.push_str(&fold::hanging(line, columns, indent)),
        None => text.push_str(line),
    }
    text.push('\n');
}

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
    let _ = write!(text, "   {}", counts(snapshot));
    text
}

/// `2 connections: 1 up, 1 down`
pub(crate) fn counts(snapshot: &Snapshot) -> String {
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
    let colon = if parts.is_empty() { "" } else { ": " };
    format!("{count} connection{plural}{colon}{}", parts.join(", "))
}

/// A column that a table may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Name,
    State,
    Peer,
    Networks,
    Since,
    LastRx,
    Rx,
    Tx,
}

impl Column {
    const fn heading(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::State => "STATE",
            Self::Peer => "PEER",
            Self::Networks => "NETWORKS",
            Self::Since => "SINCE",
            Self::LastRx => "LAST RX",
            Self::Rx => "RX/s",
            Self::Tx => "TX/s",
        }
    }
}

/// How much a table says.
#[derive(Debug, Clone, Copy)]
struct Detail {
    columns: &'static [Column],
    /// Networks on each side.
    networks: usize,
    /// The name of the peer beside its address.
    named: bool,
}

use Column::{LastRx, Name, Networks, Peer, Rx, Since, State as Is, Tx};

/// From most to least.
const DETAILS: [Detail; 5] = {
    const ALL: &[Column] = &[Name, Is, Peer, Networks, Since, LastRx, Rx, Tx];
    const NO_RATES: &[Column] = &[Name, Is, Peer, Networks, Since, LastRx];
    const LEAST: &[Column] = &[Name, Is, Peer, Networks, Since];
    [
        Detail { columns: ALL, networks: 2, named: true },
        Detail { columns: ALL, networks: 1, named: true },
        Detail { columns: ALL, networks: 1, named: false },
        Detail { columns: NO_RATES, networks: 1, named: false },
        Detail { columns: LEAST, networks: 1, named: false },
    ]
};

/// What is cut where even the least is too much, in this order, and to how many columns.
const CUT: [(Column, usize); 4] = [(Networks, 17), (Peer, 15), (Name, 8), (Networks, 8)];

struct Table {
    columns: &'static [Column],
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
}

impl Table {
    /// The one that says most of those that fit.
    fn fitting(connections: &[ConnectionStatus], room: Option<usize>) -> Self {
        let mut table = None;
        for detail in DETAILS {
            let tried = Self::of(connections, detail);
            let fits = room.is_none_or(|room| tried.width() <= room);
            table = Some(tried);
            if fits {
                break;
            }
        }
        let mut table = table.unwrap_or_else(|| Self::of(connections, DETAILS[0]));
        for (column, least) in CUT {
            let excess = table.width().saturating_sub(room.unwrap_or(usize::MAX));
            table.cut(column, excess, least);
        }
        table
    }

    fn of(connections: &[ConnectionStatus], detail: Detail) -> Self {
        let columns = detail.columns;
        let row = |connection: &ConnectionStatus| -> Vec<String> {
            columns.iter().map(|column| cell(connection, *column, detail)).collect()
        };
        let rows: Vec<Vec<String>> = connections.iter().map(row).collect();
        let mut table = Self { columns, rows, widths: Vec::new() };
        table.measure();
        table
    }

    fn measure(&mut self) {
        let widest = |(index, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(index));
            cells.map(|cell| width(cell)).max().unwrap_or(0).max(width(column.heading()))
        };
        self.widths = self.columns.iter().enumerate().map(widest).collect();
    }

    fn width(&self) -> usize {
        self.widths.iter().sum::<usize>() + 2 * self.widths.len().saturating_sub(1)
    }

    /// Takes so many columns off a column, but leaves it `least`.
    fn cut(&mut self, column: Column, excess: usize, least: usize) {
        let Some(index) = self.columns.iter().position(|it| *it == column) else { return };
        let Some(wide) = self.widths.get(index).copied() else { return };
        let room = wide.saturating_sub(excess).max(least);
        if excess == 0 || room >= wide {
            return;
        }
        for cell in self.rows.iter_mut().filter_map(|row| row.get_mut(index)) {
            if width(cell) > room {
                *cell = cell.chars().take(room - 1).chain(['…']).collect();
            }
        }
        self.measure();
    }

    fn headings(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.heading().to_owned()).collect()
    }

    /// One row; `paint` colours the state.
    fn line(&self, text: &mut String, row: &[String], paint: Option<&str>) {
        let mut line = String::new();
        for ((column, cell), wide) in self.columns.iter().zip(row).zip(&self.widths) {
            match paint {
                Some(code) if *column == Is => {
                    let _ = write!(line, "{code}{cell}\x1b[0m");
                }
                Some(_) | None => line.push_str(cell),
            }
            let padding = wide.saturating_sub(width(cell)) + 2;
            line.extend(std::iter::repeat_n(' ', padding));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn cell(connection: &ConnectionStatus, column: Column, detail: Detail) -> String {
    let children = &connection.children;
    let carries = matches!(connection.state, State::Up | State::Degraded);
    let rate = |octets| if carries { words::rate(octets) } else { String::new() };
    match column {
        Name => connection.name.clone(),
        Is => format!("{} {}", glyph(connection.state), connection.state.word()),
        Peer => peer(&connection.peer, detail.named),
        Networks => {
            let local = children.iter().flat_map(|child| &child.local);
            let remote = children.iter().flat_map(|child| &child.remote);
            let most = detail.networks;
            format!("{} ⇄ {}", networks(local, most), networks(remote, most))
        }
        Since => words::seconds(connection.since_seconds),
        LastRx => {
            let latest = children.iter().filter_map(|child| child.last_rx_seconds);
            let latest = latest.reduce(f64::min).map(words::span);
            latest.map_or_else(|| "-".to_owned(), words::duration)
        }
        Rx => rate(children.iter().map(|child| child.rx_bytes_per_second).sum()),
        Tx => rate(children.iter().map(|child| child.tx_bytes_per_second).sum()),
    }
}

pub(crate) const fn glyph(state: State) -> &'static str {
    match state {
        State::Up => "●",
        State::Degraded | State::Connecting => "◐",
        State::Down | State::Waiting => "○",
        State::Disabled => "-",
        State::Error => "✗",
    }
}

/// `ber-a 198.51.100.20 (NAT)`: the beginning of its name and its address; a port that is none of IKE's; the configured names
/// while nobody answered.
pub(crate) fn peer(peer: &PeerStatus, named: bool) -> String {
    let Some(active) = &peer.active else { return peer.configured.join(", ") };
    let mut text = String::new();
    if let ([name], true) = (peer.configured.as_slice(), named)
        && name != "any"
        && name.parse::<IpAddr>().is_err()
        && name.parse::<SocketAddr>().is_err()
    {
        text = format!("{} ", name.split('.').next().unwrap_or(name));
    }
    match active.parse::<SocketAddr>() {
        Ok(address) if [500, 4500].contains(&address.port()) => text += &address.ip().to_string(),
        _ => text += active,
    }
    if peer.nat {
        text.push_str(" (NAT)");
    }
    text
}

/// At most so many networks, then how many more; each once.
fn networks<'s>(all: impl Iterator<Item = &'s String>, most: usize) -> String {
    let mut distinct: Vec<String> = Vec::new();
    for network in all.map(|network| short(network)) {
        if !distinct.contains(&network) {
            distinct.push(network);
        }
    }
    let shown = distinct.get(..most).unwrap_or(&distinct).join(",");
    match distinct.len() {
        0 => "-".to_owned(),
        many if many > most => format!("{shown} +{}", many - most),
        _ => shown,
    }
}

/// `10.1/16` for `10.1.0.0/16`: octets that the prefix does not reach are zero anyway.
fn short(network: &str) -> String {
    match network.parse() {
        Ok(IpNet::V4(net)) if net.prefix_len() < 32 => {
            let octets = net.addr().octets();
            let told = usize::from(net.prefix_len()).div_ceil(8).max(1);
            let told: Vec<String> = octets.iter().take(told).map(ToString::to_string).collect();
            format!("{}/{}", told.join("."), net.prefix_len())
        }
        Ok(net @ IpNet::V4(_)) => net.addr().to_string(),
        Ok(IpNet::V6(_)) | Err(_) => network.to_owned(),
    }
}

/// `alert: message. Retry in 12s. Fix: ..`
pub(crate) fn sentence(reason: &Reason, connection: &ConnectionStatus) -> String {
    let mut text = format!("{} {}: {}.", reason.code, reason.alert, reason.message);
    if let Some(seconds) = connection.retry_in_seconds {
        let _ = write!(text, " Retry in {}.", words::seconds(seconds));
    }
    let _ = write!(text, " Fix: {}.", reason.fix);
    text
}

fn tail(text: &mut String, snapshot: &Snapshot, look: Look) {
    let Drops { esp, ike, told, tun_queue } = &snapshot.drops;
    let all = [("dropped packets", esp), ("dropped IKE datagrams", ike), ("told hosts why", told)];
    for (what, drops) in all {
        if !drops.is_empty() {
            let each: Vec<String> = drops.iter().map(|(word, n)| format!("{word} {n}")).collect();
            push(text, &format!("{what}: {}", each.join(", ")), 2, look);
        }
    }
    if *tun_queue > 0 {
        let name = &snapshot.tun.name;
        push(text, &format!("dropped by the kernel before {name} was read: {tun_queue}"), 2, look);
    }
    for line in refusals(&snapshot.refused) {
        push(text, &line, 2, look);
    }
    let of_connections = snapshot.connections.iter().flat_map(|c| &c.warning_details);
    for one in snapshot.warning_details.iter().chain(of_connections) {
        push(text, &format!("warning: {}", warning(one)), 2, look);
    }
    // An older daemon has their codes alone.
    if snapshot.warning_details.is_empty() && !snapshot.warnings.is_empty() {
        push(text, &format!("warnings: {}", snapshot.warnings.join(", ")), 2, look);
    }
}

/// The last few that were turned away, each address and reason once.
fn refusals(all: &[Refusal]) -> Vec<String> {
    let address = |refusal: &Refusal| refusal.from.rsplit_once(':').map(|(ip, _)| ip.to_owned());
    let mut told: Vec<&Refusal> = Vec::new();
    let mut lines = Vec::new();
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
        let (from, message) = (&refusal.from, &refusal.reason.message);
        lines.push(format!("refused {from} at {time}{times}: {message}"));
    }
    lines
}

/// Refusals in the overview; the JSON has more.
const SHOWN_REFUSALS: usize = 3;

/// Terminals from here on have room for words below the state.
const WIDE: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_short_and_each_is_told_once() {
        for (long, expected) in [
            ("10.1.0.0/16", "10.1/16"),
            ("10.9.0.0/24", "10.9.0/24"),
            ("10.64.0.0/10", "10.64/10"),
            ("0.0.0.0/0", "0/0"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(short(long), expected);
        }
        let all = ["10.1.0.0/16", "10.2.0.0/16", "10.1.0.0/16", "10.3.0.0/16"].map(String::from);
        assert_eq!(networks(all.iter(), 2), "10.1/16,10.2/16 +1");
        assert_eq!(networks(all.iter(), 1), "10.1/16 +2");
        assert_eq!(networks(std::iter::empty(), 2), "-");
    }

    #[test]
    fn a_peer_is_its_name_and_its_address() {
        let status = |configured: &[&str], active: Option<&str>| PeerStatus {
            configured: configured.iter().map(|it| (*it).to_owned()).collect(),
            active: active.map(str::to_owned),
            ..PeerStatus::default()
        };
        let told = |configured: &[&str], active| peer(&status(configured, active), true);
        assert_eq!(told(&["ber-a.example.com"], Some("192.0.2.1:4500")), "ber-a 192.0.2.1");
        assert_eq!(told(&["192.0.2.1"], Some("192.0.2.1:500")), "192.0.2.1");
        assert_eq!(told(&["any"], Some("192.0.2.1:61000")), "192.0.2.1:61000");
        assert_eq!(told(&["any"], Some("[2001:db8::1]:4500")), "2001:db8::1");
        assert_eq!(told(&["a.test", "b.test"], Some("192.0.2.1:500")), "192.0.2.1");
        assert_eq!(told(&["a.test", "b.test"], None), "a.test, b.test");
        let nat = PeerStatus { nat: true, ..status(&["a.test"], Some("192.0.2.1:500")) };
        assert_eq!(peer(&nat, false), "192.0.2.1 (NAT)");
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
        let lines = refusals(&[refusal(500, "a"), refusal(4500, "b"), refusal(4501, "a")]);
        let expected = [
            "refused 192.0.2.9:4501 at 08:01:21Z, 2 times of late: a",
            "refused 192.0.2.9:4500 at 08:01:21Z: b",
        ];
        assert_eq!(lines, expected);
    }
}
