//! A hundred thousand IKE_SA_INIT requests from addresses that nobody has (T01, T43): ten tunnels go on, an eleventh comes up in
//! the midst of it, memory does not grow, and no more octets leave than came.
//!
//! ```text
//!   right gateway ── raw socket, 198.18.0.0/15 ──► left gateway, port 500        20 000 a second, five seconds
//!   right, site-1 .. site-10 ═══════ up ═══════ left                             pinged meanwhile
//!   right, site-11 ──────── comes up ─────────► left, which knows no address of it
//! ```

use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use testkit::flood::{Pour, spoof};
use testkit::gateway::Ours;
use testkit::measured::measured;
use testkit::netns::{Between, Netns, Sites};
use testkit::peer::{Daemon, GatewaySpec, Peer, now, pause, wait_for};

use crate::List;
use crate::case::{keep, program};
use crate::many::{more_networks, side};

const TUNNELS: u8 = 10;
const LATE: &str = "site-11";
/// Five seconds' worth, for longer where the machine is busy.
const FLOOD: (u64, Pour) = (100_000, Pour { rate: 20_000, duration: Duration::from_secs(20) });

pub(crate) fn list(list: &mut List) {
    list.add("strangers/flood", false, || flood(None).map_err(|error| format!("{error:#}")));
    list.add("strangers/flood-in-little-memory", false, || {
        flood(Some(SPARE)).map_err(|error| format!("{error:#}"))
    });
}

/// Octets of memory beyond what ten tunnels take that the flooded gateway may have (T40): what T01 lets it grow by.
const SPARE: u64 = 16 << 20;

fn flood(spare: Option<u64>) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("s2st").tempdir()?;
    let sites = Sites::new(Between::Wire)?;
    for site in [&sites.left, &sites.right] {
        more_networks(site)?;
    }
    // The answers to nobody find a way out, so that they can be counted, and an end.
    let right = sites.right.outer(testkit::netns::Family::V4);
    sites.left.gateway.ip(&format!("route add 198.18.0.0/15 via {right}\n"))?;
    sites.right.gateway.ip("route add blackhole 198.18.0.0/15\n")?;
    let mut spec = side("left", &sites.left, &sites.right, false);
    few(&mut spec);
    for late in spec.connections.iter_mut().filter(|one| one.name == LATE) {
        late.remote = None;
    }
    let mut left = Ours::new(program(), &sites.left.gateway, spec, dir.path())?.quiet();
    let mut spec = side("right", &sites.right, &sites.left, true);
    few(&mut spec);
    for late in spec.connections.iter_mut().filter(|one| one.name == LATE) {
        late.initiate = false;
    }
    let mut right = Ours::new(program(), &sites.right.gateway, spec, dir.path())?.quiet();
    run(&sites, &mut left, &mut right, spare).map_err(|error| {
        let said = [left.status(), right.status(), left.log(), error.to_string()].join("\n==\n");
        let kept = std::fs::write(dir.path().join("report.txt"), said)
            .map_err(anyhow::Error::from)
            .and_then(|()| keep(&dir, "strangers-flood"));
        error.context(format!("everything is in {kept:?}"))
    })
}

fn few(spec: &mut GatewaySpec) {
    spec.connections.truncate(usize::from(TUNNELS) + 1);
}

fn run(sites: &Sites, left: &mut Ours, right: &mut Ours, spare: Option<u64>) -> Result<()> {
    left.start()?;
    right.start()?;
    all_up(left, right)?;
    let mut confined = Daemon::new(left.config().with_extension("confined.out"));
    if let Some(spare) = spare {
        confine(sites, left, spare, &mut confined)?;
        all_up(left, right).with_context(|| confined.output())?;
    }
    let pid = confined.pid().or_else(|| left.daemon().pid()).context("not running")?;
    pause(Duration::from_secs(1));
    let before = (memory(pid)?, octets(&sites.left.gateway)?, left.sas()?);
    let stop = AtomicBool::new(false);
    let (sent, answered, late, most) = std::thread::scope(|scope| {
        let flood =
            scope.spawn(|| spoof(&sites.right.gateway, [192, 0, 2, 1].into(), FLOOD, &stop));
        let pings = scope.spawn(|| pings(sites));
        pause(Duration::from_secs(1));
        let late = come_up(left, right);
        let mut most = before.0;
        while !flood.is_finished() {
            most = most.max(memory(pid)?);
            pause(Duration::from_millis(100));
        }
        let panicked = |_| anyhow::anyhow!("a thread panicked");
        let sent = flood.join().map_err(panicked)??;
        let answered = pings.join().map_err(panicked)??;
        Ok::<_, anyhow::Error>((sent, answered, late?, most))
    })?;
    let grown = (most.max(memory(pid)?)).saturating_sub(before.0);
    let (heard, said) = octets(&sites.left.gateway)?;
    let ratio = ratio(said - before.1.1, heard - before.1.0);
    let asked = left.drops()?.get("cookie-asked").copied().unwrap_or(0);
    measured(
        "T01",
        "spoofed IKE_SA_INIT sent, and asked for a cookie",
        format!("{sent}, {asked}"),
        "100 000",
    );
    measured("T01", "growth of memory", format!("{grown} KiB"), "<= 16 MiB");
    measured("T01", "a new peer is up after", format!("{late:.2?}"), "<= 3 s");
    measured(
        "T01",
        "pings answered on ten tunnels",
        format!("{} of {}", answered.0, answered.1),
        "all",
    );
    measured("T43", "octets out for octets in, on the wire", format!("{ratio:.2}"), "<= 1.2");
    ensure!(asked > 10_000, "the flood did not arrive: {asked} of {sent}");
    ensure!(grown <= 16 * 1024, "memory grew by {grown} KiB");
    ensure!(late <= Duration::from_secs(3), "a new peer took {late:?}");
    ensure!(answered.0 == answered.1, "{answered:?} pings");
    ensure!(ratio <= 1.2, "{ratio} octets out for each in");
    if let Some(spare) = spare {
        ensure!(confined.ended()?.is_none(), "it ended: {}", confined.output());
        measured("T40", "octets it may take beyond those of ten tunnels", spare, "enough");
    }
    for sa in &before.2 {
        let after = left.sas()?;
        ensure!(after.iter().any(|one| one.spis == sa.spis), "{} was lost", sa.connection);
    }
    Ok(())
}

/// Waits for the ten.
fn all_up(left: &Ours, right: &Ours) -> Result<()> {
    let all = usize::from(TUNNELS);
    wait_for("ten tunnels", Duration::from_secs(20), || {
        // The left one may be about to start.
        let up = left.sas().is_ok_and(|sas| sas.len() >= all) && right.sas()?.len() >= all;
        Ok(up.then_some(()))
    })
}

/// Brings the late one up and says how long it took.
fn come_up(left: &Ours, right: &Ours) -> Result<Duration> {
    let begun: Instant = now();
    right.tell(&["up", LATE])?;
    wait_for("a new peer to be up", Duration::from_secs(10), || {
        Ok(left.facts(LATE)?.up.then_some(()))
    })?;
    Ok(begun.elapsed())
}

/// How many of how many pings over the ten tunnels are answered, in some five seconds.
fn pings(sites: &Sites) -> Result<(u16, u16)> {
    let (mut answered, mut sent) = (0, 0);
    for round in 0..TUNNELS * 2 {
        let number = 1 + round % TUNNELS;
        let [from, to] = [1, 2].map(|site| IpAddr::from([10, site, number, 2]));
        let gap = Duration::from_millis(20);
        answered += sites
            .left
            .host
            .inside(|| testkit::ping::ping_from(Some(from), to, 12, gap, Duration::from_secs(2)))?;
        sent += 12;
    }
    Ok((answered, sent))
}

/// Starts it again with so many octets of memory to write to (RLIMIT_DATA, setrlimit(2)) more than it has now: an allocation
/// beyond fails, and ends the process.
fn confine(sites: &Sites, left: &mut Ours, spare: u64, confined: &mut Daemon) -> Result<()> {
    let pid = left.daemon().pid().context("not running")?;
    let limit = format!("--data={}", (in_kib(pid, "VmData:")? << 10) + spare);
    left.daemon().stop(Signal::TERM)?;
    let mut command = Command::new("ip");
    command.args(["netns", "exec", sites.left.gateway.name(), "prlimit", &limit]);
    command.arg(program()).args(["run", "--log", "info", "-c"]).arg(left.config());
    confined.spawn(command)
}

/// Resident memory in KiB.
fn memory(pid: u32) -> Result<u64> {
    in_kib(pid, "VmRSS:")
}

/// A line of /proc/PID/status in KiB.
fn in_kib(pid: u32, what: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(what)).context("no such line")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
}

/// Octets that its outer device received and sent.
fn octets(netns: &Netns) -> Result<(u64, u64)> {
    let links: Value =
        serde_json::from_str(&netns.run("ip", &["-s", "-j", "link", "show", "out"])?)?;
    let of = |way: &str| {
        let counter = links.pointer(&format!("/0/stats64/{way}/bytes"));
        counter.and_then(Value::as_u64).context("no counter")
    };
    Ok((of("rx")?, of("tx")?))
}

#[expect(clippy::cast_precision_loss, reason = "2^53 octets take a while")]
fn ratio(out: u64, into: u64) -> f64 {
    out as f64 / into.max(1) as f64
}
