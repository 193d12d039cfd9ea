//! `cargo xtask bench scale`: one tunnel next to thousands, all negotiated.
//!
//! ```text
//!   left                                                          right
//!   [connection.t0]   172.16.0.0/28  ═══ IKE SA, two ESP SAs ═══  172.24.0.0/28
//!   [connection.t1]   172.16.0.16/28 ═══ IKE SA, two ESP SAs ═══  172.24.0.16/28
//!   ..
//!   [connection.last] 10.1.0.0/24    ═══ IKE SA, two ESP SAs ═══  10.2.0.0/24      the last one carries the traffic
//! ```
//!
//! 10 000 SAs are 5 000 tunnels with an IKE SA each: the dearest way to have them. A table that is searched from its
//! beginning would find the last one last.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use testkit::gateway::Ours;
use testkit::netns::{Between, Family, Site, Sites};
use testkit::peer::{GatewaySpec, Peer as _, now, pause, wait_for};

use super::begin;
use super::figures::{Figure, Figures, Goal, figure};
use super::keep::{Better, Keep};
use super::machine::{CpuTime, peak_memory_of};
use super::product::Product;
use super::traffic::{Load, Traffic, Way};

/// How much of it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// ESP SAs of each gateway; two for each tunnel.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(20..=40_000))]
    sas: u32,
    /// How often everything is measured; the table has the medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each stream of traffic takes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    #[command(flatten)]
    keep: Keep,
}

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let earlier = options.keep.earlier(|file| Figures::read(file, BENCH))?;
    let stop = begin(&[Product::Gateway], false)?;
    let (rounds, seconds, many) = (options.rounds, options.seconds, options.sas / 2);
    let about = format!(
        "1 tunnel and {many}, {} ESP SAs: an IKE SA and a pair of ESP SAs each; the traffic is in the last one",
        2 * many
    );
    let mut figures = Figures::new(BENCH, about, (rounds, seconds), all_figures(many))?;
    let load = Load { seconds, stop: &stop };
    for round in 1..=rounds {
        let mut order = [Size::One, Size::Tenth, Size::Many];
        if round % 2 == 0 {
            order.reverse();
        }
        for size in order {
            eprint!("round {round}/{rounds}  {:5} tunnels", size.of(many));
            measure(load, size, many, &mut figures)?;
            eprintln!();
        }
        compare(&mut figures, many);
        figures.keep(&options.keep)?;
    }
    Ok(figures.finish(earlier.as_ref()))
}

/// How many tunnels there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    One,
    /// Of many: whether anything grows faster than their number.
    Tenth,
    Many,
}

impl Size {
    fn of(self, many: u32) -> u32 {
        match self {
            Self::One => 1,
            Self::Tenth => many / 10,
            Self::Many => many,
        }
    }
}

fn all_figures(many: u32) -> Vec<Figure> {
    let (more, less, tenth) = (Better::More, Better::Less, many / 10);
    let goal_of_many = Goal::AtMost(128.0 * f64::from(many) / 5000.0);
    vec![
        figure("memory_1", "peak memory, 1 tunnel", "MB", less).goal(Goal::AtMost(16.0)),
        figure("memory_n", format!("peak memory, {many}"), "MB", less).goal(goal_of_many),
        figure("kb_per_tunnel", "  for each tunnel", "kB", less),
        figure("tcp_1", "TCP, one stream, 1 tunnel", "Gbit/s", more),
        figure("tcp_n", format!("TCP, one stream, {many}"), "Gbit/s", more),
        figure("tcp_loss", "  slower by", "%", Better::Neither).goal(Goal::AtMost(10.0)),
        figure("udp_1", "UDP of 64 octets, 1 tunnel", "1000/s", more),
        figure("udp_n", format!("UDP of 64 octets, {many}"), "1000/s", more),
        figure("udp_loss", "  slower by", "%", Better::Neither).goal(Goal::AtMost(10.0)),
        figure("up_seconds", format!("until {many} are up"), "s", less),
        figure("up_cpu_tenth", format!("CPU to bring up one of {tenth}"), "ms", less),
        figure("up_cpu_n", format!("CPU to bring up one of {many}"), "ms", less),
        figure("up_growth", "  grows by the factor", "", Better::Neither).goal(Goal::AtMost(2.0)),
        figure("status_tenth", format!("status --json, {tenth}"), "ms", less),
        figure("status_n", format!("status --json, {many}"), "ms", less),
        figure("idle_cpu", format!("CPU of a gateway, {many} idle"), "%", less),
        figure("stop_seconds", format!("until a gateway with {many} has stopped"), "s", less),
    ]
}

/// What follows from the samples of one round.
fn compare(figures: &mut Figures, many: u32) {
    let ratio = |figures: &Figures, n: &str, one: &str| {
        figures.last(n).zip(figures.last(one)).map(|(n, one)| n / one)
    };
    for (key, n, one) in [("tcp_loss", "tcp_n", "tcp_1"), ("udp_loss", "udp_n", "udp_1")] {
        if let Some(ratio) = ratio(figures, n, one) {
            figures.note(key, 100.0 * (1.0 - ratio));
        }
    }
    if let Some(growth) = ratio(figures, "up_cpu_n", "up_cpu_tenth") {
        figures.note("up_growth", growth);
    }
    if let Some((n, one)) = figures.last("memory_n").zip(figures.last("memory_1")) {
        figures.note("kb_per_tunnel", (n - one) * 1e3 / f64::from(many));
    }
}

/// So many tunnels in namespaces of their own.
fn measure(load: Load<'_>, size: Size, many: u32, figures: &mut Figures) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let sites = Sites::uncounted(Between::Wire)?;
    let tunnels = size.of(many);
    let key = directory.path().join("scale.psk");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&key)?;
    file.write_all(b"a key for a measurement, in namespaces\n")?;
    // The one that answers is there first, so that the other need not try again.
    let mut right = gateway(&sites.right, &sites.left, tunnels, directory.path())?;
    let mut left = gateway(&sites.left, &sites.right, tunnels, directory.path())?;
    right.start()?;
    let pids = |gateways: [&mut Ours; 2]| -> Vec<u32> {
        gateways.into_iter().filter_map(|gateway| gateway.daemon().pid()).collect()
    };
    let begun = now();
    left.start()?;
    let pids = pids([&mut left, &mut right]);
    let mut ups = Ups::open(&directory.path().join("left.out"))?;
    wait_for("all tunnels", UP, || {
        load.go_on()?;
        Ok((ups.count()? >= tunnels).then_some(()))
    })?;
    let (took, cpu) = (begun.elapsed(), CpuTime::now(&pids)?.processes);
    let each = cpu * 1e3 / f64::from(2 * tunnels);
    let traffic = Traffic::new(load, &sites, directory.path());
    traffic.ready()?;
    match size {
        Size::One => {
            stream(traffic, ("tcp_1", "udp_1"), figures)?;
            figures.note("memory_1", peak_memory_of(&pids)?);
        }
        Size::Tenth => {
            figures.note("up_cpu_tenth", each);
            figures.note("status_tenth", status(&left, tunnels)?);
        }
        Size::Many => {
            figures.note("up_seconds", took.as_secs_f64());
            figures.note("up_cpu_n", each);
            stream(traffic, ("tcp_n", "udp_n"), figures)?;
            figures.note("status_n", status(&left, tunnels)?);
            figures.note("idle_cpu", idle(load, &pids)?);
            figures.note("memory_n", peak_memory_of(&pids)?);
            let begun = now();
            left.daemon().stop(rustix::process::Signal::TERM)?;
            figures.note("stop_seconds", begun.elapsed().as_secs_f64());
        }
    }
    Ok(())
}

fn stream(traffic: Traffic<'_>, (tcp, udp): (&str, &str), figures: &mut Figures) -> Result<()> {
    let _servers = traffic.servers()?;
    figures.note(tcp, traffic.tcp(1, Way::Out)?.rate * 1e-9);
    figures.note(udp, traffic.udp(64)? * 1e-3);
    Ok(())
}

/// Milliseconds until the whole status is here, the best of three; everything has to be up.
fn status(gateway: &Ours, tunnels: u32) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let begun = now();
        let told = gateway.tell(&["status", "--json"])?;
        best = best.min(begun.elapsed().as_secs_f64() * 1e3);
        let status: serde_json::Value = serde_json::from_str(&told)?;
        let connections = status.get("connections").and_then(|all| all.as_array());
        let up = |one: &&serde_json::Value| one.get("state").is_some_and(|state| state == "up");
        let up = connections.context("no connections")?.iter().filter(up).count();
        ensure!(up == usize::try_from(tunnels)?, "{up} of {tunnels} are up");
    }
    Ok(best)
}

/// Percent of a core that a gateway takes while nothing happens.
fn idle(load: Load<'_>, pids: &[u32]) -> Result<f64> {
    let before = CpuTime::now(pids)?.processes;
    for _ in 0..IDLE {
        load.go_on()?;
        pause(Duration::from_secs(1));
    }
    let used = (CpuTime::now(pids)?.processes - before) / f64::from(IDLE);
    Ok(100.0 * used / f64::from(u32::try_from(pids.len())?))
}

/// A gateway with all its connections.
fn gateway(here: &Site, there: &Site, tunnels: u32, directory: &Path) -> Result<Ours> {
    let name = name(here);
    let spec = GatewaySpec { name: name.into(), listen: Vec::new(), connections: Vec::new() };
    let program = Product::Gateway.program();
    let ours = Ours::new(Path::new(&program), &here.gateway, spec, directory)?.quiet();
    let mut toml = fs::read_to_string(ours.config())?;
    toml.push_str(
        "\n[policy.scale]\nike = [\"aes256gcm16-prfsha256-curve25519\"]\nesp = [\"aes256gcm16\"]\n",
    );
    let start = if name == "left" { "always" } else { "respond-only" };
    let (peer, remote) = (there.outer(Family::V4), self::name(there));
    for number in 0..tunnels {
        let (own, other) = if number + 1 == tunnels {
            (here.subnet(Family::V4, 0), there.subnet(Family::V4, 0))
        } else {
            (subnet(here, number), subnet(there, number))
        };
        write!(
            toml,
            "\n[connection.t{number}]\npeer = {peer:?}\npeer_id = \"{remote}{number}.example.org\"\n\
             local_id = \"{name}{number}.example.org\"\npsk = {{ file = \"scale.psk\" }}\npolicy = \"scale\"\n\
             local_subnets = [{own:?}]\nremote_subnets = [{other:?}]\nstart = {start:?}\n"
        )?;
    }
    fs::write(ours.config(), toml)?;
    Ok(ours)
}

fn name(site: &Site) -> &'static str {
    if site.outer(Family::V4).ends_with(".1") { "left" } else { "right" }
}

/// 16 addresses of 172.16.0.0/13 or 172.24.0.0/13.
fn subnet(site: &Site, number: u32) -> String {
    let base = if name(site) == "left" { 0xac10_0000 } else { 0xac18_0000 };
    format!("{}/28", std::net::Ipv4Addr::from(base + 16 * number))
}

/// How many children came up, from a log that grows: asking the gateway would keep it from its work.
struct Ups {
    log: File,
    rest: Vec<u8>,
    count: u32,
}

impl Ups {
    fn open(log: &Path) -> Result<Self> {
        let log = File::open(log).with_context(|| format!("cannot read {}", log.display()))?;
        Ok(Self { log, rest: Vec::new(), count: 0 })
    }

    fn count(&mut self) -> Result<u32> {
        self.log.read_to_end(&mut self.rest)?;
        let whole = self.rest.iter().rposition(|octet| *octet == b'\n').map_or(0, |end| end + 1);
        let after = self.rest.split_off(whole);
        let lines = std::mem::replace(&mut self.rest, after);
        let lines = String::from_utf8_lossy(&lines);
        let ups = lines.lines().filter(|line| line.contains(" child event=up ")).count();
        self.count += u32::try_from(ups)?;
        Ok(self.count)
    }
}

const BENCH: &str = "scale";
/// How long tunnels may take to come up, all together.
const UP: Duration = Duration::from_mins(5);
/// Seconds: longer than the gateway's rarest chore is apart.
const IDLE: u32 = 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_come_in_pieces_are_counted_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, "INFO child event=up conn=a\nINFO ike event=up\nINFO child eve").unwrap();
        let mut ups = Ups::open(&path).unwrap();
        assert_eq!(ups.count().unwrap(), 1);
        let mut log = OpenOptions::new().append(true).open(&path).unwrap();
        log.write_all(b"nt=up conn=b\n").unwrap();
        assert_eq!(ups.count().unwrap(), 2);
        assert_eq!(ups.count().unwrap(), 2);
    }
}
