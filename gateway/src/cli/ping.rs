//! `ping` and `traceroute` through a tunnel, from an address that the tunnel takes.
//!
//! ```text
//!   DST ─► which connection has it (status) ─► source: management_ip, or an address of ours in its local networks
//!       ─► echoes (io/echo.rs) ─► answers, and ICMP errors as sentences ─► none at all: what `explain` says
//! ```

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;
use serde_json::Value;

use super::client::{Daemon, answer, snapshot, span, strange};
use super::explain;
use super::output::{json_line, print, print_some};
use super::{Code, Failure, Outcome};
use crate::clock;
use crate::io::echo::{COOKIE_LEN, Echo, Heard, IcmpError};
use crate::io::is_ours;
use crate::route::route_source;
use crate::status::protocol::{Packet, Request, Response, Topic};
use crate::status::show::Table;
use crate::status::{Snapshot, words};

/// Where packets go, and from where.
#[derive(Debug, clap::Args)]
struct Target {
    /// The address to ask, behind a peer
    #[arg(value_name = "DST")]
    destination: IpAddr,
    /// Our address; by default `management_ip`, or one
    /// in the local networks of the connection
    #[arg(short, long, value_name = "ADDRESS", verbatim_doc_comment)]
    source: Option<IpAddr>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// Ask a host behind a peer whether it is there, through the tunnel
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw ping 10.2.0.7\n  s2s-gw ping 10.2.0.7 --size 1394 --df --count 1\n\nExit code 0 if there was an answer, 1 if not."
)]
pub(super) struct Ping {
    #[command(flatten)]
    target: Target,
    /// How often
    #[arg(short, long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    count: u16,
    /// Octets of payload, without headers
    #[arg(long, default_value_t = 56, value_parser = clap::value_parser!(u16).range(16..=65_000))]
    size: u16,
    /// No router, and not this host, may cut it in pieces
    #[arg(long)]
    df: bool,
    /// Time between two: 1s, 200ms
    #[arg(short, long, default_value = "1s", value_parser = span)]
    interval: Duration,
}

/// Say which routers a packet to a host behind a peer passes
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  s2s-gw traceroute 10.2.0.7")]
pub(super) struct Traceroute {
    #[command(flatten)]
    target: Target,
    /// At most so many routers
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u8).range(1..))]
    hops: u8,
}

/// One echo and what came of it, for programs.
#[derive(Serialize)]
struct Row {
    /// The number of the echo, or that of the router.
    seq: u16,
    /// Who answered.
    from: Option<IpAddr>,
    rtt_seconds: Option<f64>,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
    message: Option<String>,
}

impl Ping {
    pub(super) fn run(self) -> Outcome {
        let Target { destination, json, .. } = self.target;
        let (source, by, echo) = self.target.open()?;
        echo.set_df(self.df).map_err(cannot("set DF"))?;
        if !json {
            let size = self.size;
            print_some(&format!("{destination} from {source} by {by}, {size} octets\n"))?;
        }
        let mut rows = Vec::new();
        let mut times = Vec::new();
        for seq in 1..=self.count {
            // The answers to earlier ones that come late are theirs.
            let patience = self.interval.max(PATIENCE);
            let heard = echo.ask(seq, self.size.into(), patience).map_err(cannot("ask"))?;
            let row = row(seq, heard, destination);
            times.extend(row.rtt_seconds.filter(|_| matches!(heard, Heard::Reply(_))));
            if !json && !print_some(&line(&row))? {
                break;
            }
            rows.push(row);
            if let (Heard::Reply(took), true) = (heard, seq < self.count) {
                pause(self.interval.saturating_sub(took));
            } else if matches!(heard, Heard::Error(_)) && seq < self.count {
                pause(self.interval);
            }
        }
        let (sent, received) = (rows.len(), times.len());
        let why = if received == 0 { self.target.why(source) } else { None };
        let span = spread(&times);
        if json {
            let said = Said {
                schema: "s2s-gw/ping/1",
                source,
                destination,
                by: &by,
                sent,
                received,
                rtt_seconds: span,
                echoes: &rows,
                explained: why.as_deref(),
            };
            print(&json_line(&said)?)?;
        } else {
            let mut text =
                format!("{sent} sent, {received} received, {}% lost", lost(sent, received));
            if let Some([min, mean, max]) = span {
                let [min, mean, max] =
                    [min, mean, max].map(|s| words::round_trip(Duration::from_secs_f64(s)));
                let _ = write!(text, "; least {min}, mean {mean}, most {max}");
            }
            text.push('\n');
            if let Some(why) = why {
                let _ = writeln!(text, "explain: {why}");
            }
            print_some(&text)?;
        }
        if received == 0 { Err(Failure::silent(Code::Failed)) } else { print("") }
    }
}

impl Traceroute {
    pub(super) fn run(self) -> Outcome {
        let Target { destination, json, .. } = self.target;
        let (source, by, echo) = self.target.open()?;
        if !json {
            print_some(&format!("{destination} from {source} by {by}\n"))?;
        }
        let mut rows = Vec::new();
        let mut arrived = false;
        for hops in 1..=self.hops {
            echo.set_hops(hops).map_err(cannot("set the hop limit"))?;
            let mut heard = Heard::Nothing;
            for attempt in 0..TRIES {
                let seq = u16::from(hops) * TRIES + attempt;
                heard = echo.ask(seq, COOKIE_LEN, PATIENCE).map_err(cannot("ask"))?;
                if heard != Heard::Nothing {
                    break;
                }
            }
            let mut row = row(hops.into(), heard, destination);
            let passed_on = matches!(heard, Heard::Error(error) if error.is_hops());
            if passed_on {
                row.message = None;
            }
            if !json && !print_some(&hop(&row))? {
                break;
            }
            rows.push(row);
            arrived = matches!(heard, Heard::Reply(_));
            if arrived || (heard != Heard::Nothing && !passed_on) {
                break;
            }
        }
        let why = if arrived { None } else { self.target.why(source) };
        if json {
            let schema = "s2s-gw/traceroute/1";
            print(&json_line(&serde_json::json!({
                "schema": schema, "source": source, "destination": destination, "by": by,
                "arrived": arrived, "hops": rows, "explained": why,
            }))?)?;
        } else if let Some(why) = why {
            print_some(&format!("explain: {why}\n"))?;
        }
        if arrived { print("") } else { Err(Failure::silent(Code::Failed)) }
    }
}

#[derive(Serialize)]
struct Said<'s> {
    schema: &'static str,
    source: IpAddr,
    destination: IpAddr,
    by: &'s str,
    sent: usize,
    received: usize,
    /// Least, mean, most.
    rtt_seconds: Option<[f64; 3]>,
    echoes: &'s [Row],
    /// What `explain` says, if nothing came back.
    explained: Option<&'s str>,
}

impl Target {
    /// The source, the connection by name, and the socket.
    fn open(&self) -> Result<(IpAddr, String, Echo), Failure> {
        let snapshot = snapshot(&self.daemon.control)?;
        let by = carrier(&snapshot, self.destination);
        let source = match self.source {
            Some(source) => source,
            None => source_for(&self.daemon, &snapshot, self.destination)?,
        };
        if source.is_ipv4() != self.destination.is_ipv4() {
            let sentence = format!("{source} and {} are of different families", self.destination);
            return Err(Failure::new(Code::Usage, sentence));
        }
        let echo =
            Echo::open(source, self.destination).map_err(cannot("open a socket for ICMP"))?;
        Ok((source, by.unwrap_or_else(|| "no connection".to_owned()), echo))
    }

    /// Why nothing came back, as far as this gateway knows.
    fn why(&self, source: IpAddr) -> Option<String> {
        let protocol = if source.is_ipv4() { 1 } else { 58 };
        let packet = Packet {
            source,
            destination: self.destination,
            protocol: Some(protocol),
            source_port: None,
            destination_port: None,
        };
        let walk = explain::ask(&self.daemon, packet).ok()?;
        Some(if walk.passes {
            format!(
                "{} It leaves this gateway; the peer, its firewall or the host behind it does not answer. Try: s2s-gw doctor {}",
                walk.verdict,
                walk.connection.unwrap_or_default()
            )
        } else {
            walk.verdict
        })
    }
}

/// The connection that has the address behind its peer, `berlin/lan-1`: that with the smallest such network.
fn carrier(snapshot: &Snapshot, destination: IpAddr) -> Option<String> {
    let children = snapshot
        .connections
        .iter()
        .flat_map(|connection| connection.children.iter().map(move |child| (connection, child)));
    let best = children
        .filter_map(|(connection, child)| {
            Some((narrowest(&child.remote, destination)?, connection, child))
        })
        .max_by_key(|(network, ..)| network.prefix_len());
    best.map(|(_, connection, child)| format!("{}/{}", connection.name, child.name))
}

/// An address of ours that a tunnel to `destination` takes: `management_ip`, what its route says, or what the kernel takes.
///
/// # Errors
/// A sentence with what to do, if there is none.
pub(super) fn source_for(
    daemon: &Daemon,
    snapshot: &Snapshot,
    destination: IpAddr,
) -> Result<IpAddr, Failure> {
    if let Some(managed) = managed(daemon, snapshot, destination)? {
        return Ok(managed);
    }
    let Response::Shown { table } =
        answer(&daemon.control, &Request::Show { what: Topic::Routes })?
    else {
        return Err(strange());
    };
    if let Table::Routes { routes } = *table {
        let fitting = routes.iter().filter_map(|route| {
            let network: IpNet = route.destination.parse().ok()?;
            let source: IpAddr = route.source.as_ref()?.parse().ok()?;
            network.contains(&destination).then_some((network.prefix_len(), source))
        });
        if let Some((_, source)) = fitting.max_by_key(|(size, _)| *size) {
            return Ok(source);
        }
    }
    let locals = || snapshot.connections.iter().flat_map(|c| &c.children);
    let fits = |source: &IpAddr| locals().any(|child| narrowest(&child.local, *source).is_some());
    route_source(destination).filter(fits).ok_or_else(|| {
        Failure::new(
            Code::Failed,
            format!(
                "this host has no address that a tunnel to {destination} takes: write `management_ip` with an address of this host inside `local_subnets` into [gateway], or give one with --source"
            ),
        )
    })
}

/// `management_ip` of the connection that has the destination, or of the gateway, where it is of that family.
fn managed(
    daemon: &Daemon,
    snapshot: &Snapshot,
    destination: IpAddr,
) -> Result<Option<IpAddr>, Failure> {
    let Response::Shown { table } =
        answer(&daemon.control, &Request::Show { what: Topic::Config })?
    else {
        return Err(strange());
    };
    let Table::Config { effective, .. } = *table else { return Err(strange()) };
    let by = carrier(snapshot, destination);
    let by = by.as_deref().and_then(|by| by.split('/').next()).unwrap_or_default();
    let of = |place: Option<&Value>| -> Option<IpAddr> {
        let address = place?.get("management_ip")?.as_str()?.parse().ok()?;
        Some(address).filter(|address: &IpAddr| address.is_ipv4() == destination.is_ipv4())
    };
    let connection = effective.get("connection").and_then(|all| all.get(by));
    Ok(of(connection).or_else(|| of(effective.get("gateway"))))
}

fn narrowest(networks: &[String], ip: IpAddr) -> Option<IpNet> {
    let networks = networks.iter().filter_map(|text| text.parse::<IpNet>().ok());
    networks.filter(|network| network.contains(&ip)).max_by_key(IpNet::prefix_len)
}

fn row(seq: u16, heard: Heard, destination: IpAddr) -> Row {
    let none =
        Row { seq, from: None, rtt_seconds: None, icmp_type: None, icmp_code: None, message: None };
    match heard {
        Heard::Reply(took) => {
            Row { from: Some(destination), rtt_seconds: Some(took.as_secs_f64()), ..none }
        }
        Heard::Nothing => Row { message: Some("no answer".to_owned()), ..none },
        Heard::Error(error) => {
            let IcmpError { from, kind, code, .. } = error;
            // What this host itself refuses has no sender; what has one of our addresses comes from here, too.
            let ours = from.is_none_or(is_ours);
            Row {
                from,
                icmp_type: Some(kind),
                icmp_code: Some(code),
                message: Some(error.sentence(ours)),
                ..none
            }
        }
    }
}

fn line(row: &Row) -> String {
    let from = row.from.map_or_else(|| "this host".to_owned(), |from| from.to_string());
    let seq = row.seq;
    match (&row.message, row.rtt_seconds) {
        (None, Some(took)) => {
            format!("{seq}: {from} answers, {}\n", words::round_trip(Duration::from_secs_f64(took)))
        }
        (Some(message), _) => match (row.icmp_type, row.icmp_code) {
            (Some(kind), Some(code)) => format!("{seq}: {from}: {message} (ICMP {kind}/{code})\n"),
            _ => format!("{seq}: {message}\n"),
        },
        (None, None) => format!("{seq}: ?\n"),
    }
}

/// A line of a trace.
fn hop(row: &Row) -> String {
    match (row.from, &row.message) {
        (Some(from), None) => format!("{:2}  {from}\n", row.seq),
        (None, Some(_)) if row.icmp_type.is_none() => format!("{:2}  *\n", row.seq),
        _ => format!("{:2}  {}", row.seq, line(row).split_once(": ").map_or("", |(_, rest)| rest)),
    }
}

/// Nothing is waited for but time.
fn pause(time: Duration) {
    let until = clock::now() + time;
    loop {
        let left = until.saturating_duration_since(clock::now());
        if left.is_zero() {
            return;
        }
        // It may wake early.
        std::thread::park_timeout(left);
    }
}

/// Least, mean, most.
fn spread(times: &[f64]) -> Option<[f64; 3]> {
    let count = u32::try_from(times.len()).ok().filter(|count| *count > 0)?;
    let least = times.iter().copied().fold(f64::INFINITY, f64::min);
    let most = times.iter().copied().fold(0.0, f64::max);
    Some([least, times.iter().sum::<f64>() / f64::from(count), most])
}

fn lost(sent: usize, received: usize) -> usize {
    (sent - received) * 100 / sent.max(1)
}

fn cannot(what: &str) -> impl Fn(std::io::Error) -> Failure {
    move |error| {
        let advice = match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                "; run this as root, or let your group send echoes: sysctl net.ipv4.ping_group_range"
            }
            Some(libc::EADDRNOTAVAIL) => "; this host does not have that source address",
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => "; no route leads there",
            _ => "",
        };
        Failure::new(Code::Failed, format!("cannot {what}: {error}{advice}"))
    }
}

/// An answer is waited for so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Echoes for each router.
const TRIES: u16 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_summed_up() {
        assert_eq!(
            spread(&[0.2, 0.4, 0.3]).map(|[least, _, most]| (least, most)),
            Some((0.2, 0.4))
        );
        assert_eq!(spread(&[]), None);
        assert_eq!((lost(4, 1), lost(4, 4), lost(0, 0)), (75, 0, 0));
    }

    #[test]
    fn each_echo_has_a_line() {
        let to = IpAddr::from([10, 2, 0, 7]);
        let reply = row(1, Heard::Reply(Duration::from_micros(420)), to);
        assert!(line(&reply).starts_with("1: 10.2.0.7 answers, "), "{}", line(&reply));
        assert_eq!(line(&row(2, Heard::Nothing, to)), "2: no answer\n");
        assert_eq!(hop(&row(2, Heard::Nothing, to)), " 2  *\n");
        let error = IcmpError { from: None, is_v6: false, kind: 3, code: 4, mtu: 1422 };
        let said = line(&row(3, Heard::Error(error), to));
        assert_eq!(
            said,
            "3: this host: too long for the path, which takes 1422 octets (ICMP 3/4)\n"
        );
    }
}
