//! The traffic, from host to host through the gateways, and what is measured meanwhile.
//!
//! ```text
//!   ping idle │ TCP 1 ► │ TCP 1 ◄ │ TCP 4 ► │ TCP 4 ◄ │ UDP 64 B ► │ UDP 1300 B ► │ ping beside 8 TCP ► │ memory
//!               └ CPU time of the gateways and of the machine, for each GB that arrives
//! ```
//!
//! Several TCP streams are several iperf3 processes, since one has only one thread. iperf3's servers listen in the right
//! host all the time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use testkit::flood::flood;
use testkit::netns::{Family, Netns, Sites};
use testkit::peer::{Daemon, now, pause, text, wait_for};
use testkit::ping::round_trips;

use super::iperf::{self, Transfer};
use super::machine::{CpuTime, peak_memory};
use super::report::Metric;
use super::tunnel::Tunnel;

/// One sample of each metric that applies.
pub(crate) type Samples = BTreeMap<Metric, f64>;

/// How much traffic there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load<'a> {
    /// For each measurement.
    pub(crate) seconds: u32,
    /// Somebody wants us to end.
    pub(crate) stop: &'a AtomicBool,
}

/// A signal ended the measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "interrupted; the namespaces and programs of the measurement are gone")
    }
}

impl std::error::Error for Interrupted {}

/// Which way the payload goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From the left host to the right one.
    Out,
    Back,
}

/// A measurement in its namespaces.
struct Run<'a> {
    load: &'a Load<'a>,
    sites: &'a Sites,
    directory: &'a Path,
    to: IpAddr,
    samples: Samples,
}

impl Load<'_> {
    /// Measures everything once; `place` begins the line of progress.
    pub(crate) fn measure(
        &self,
        sites: &Sites,
        tunnel: &mut Tunnel,
        directory: &Path,
        place: &str,
    ) -> Result<Samples> {
        eprint!("{place}");
        let to = sites.right.host_address(Family::V4, 0);
        let mut run = Run { load: self, sites, directory, to, samples: Samples::new() };
        let done = run.all(&tunnel.pids());
        eprintln!();
        done.map(|()| run.samples)
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    fn go_on(&self) -> Result<()> {
        ensure!(!self.stop.load(Ordering::Relaxed), Interrupted);
        Ok(())
    }
}

impl Run<'_> {
    fn all(&mut self, gateways: &[u32]) -> Result<()> {
        let host = &self.sites.left.host;
        wait_for("an answer to a ping from host to host", Duration::from_secs(20), || {
            self.load.go_on()?;
            Ok((host.ping(self.to, 1, GAP)? > 0).then_some(()))
        })?;
        let _servers = self.servers()?;
        self.ping(Metric::PingIdleMs, None, self.load.duration().min(IDLE))?;
        self.tcp_with_cpu_time(gateways)?;
        for (metric, streams, way) in [
            (Metric::Tcp1BackGbit, 1, Way::Back),
            (Metric::Tcp4OutGbit, 4, Way::Out),
            (Metric::Tcp4BackGbit, 4, Way::Back),
        ] {
            let transfer = self.tcp(streams, way)?;
            self.note(metric, transfer.rate * 1e-9);
        }
        for (metric, payload) in [(Metric::Udp64Kpps, 64), (Metric::Udp1300Kpps, 1300)] {
            let (from, into) = (&self.sites.left.host, &self.sites.right.host);
            let (to, stop) = (self.to, self.load.stop);
            let flood = flood(from, (into, to), payload, self.load.duration(), stop)?;
            self.load.go_on()?;
            ensure!(flood.received > 0, "no datagram of {payload} octets arrived");
            self.note(metric, flood.rate() * 1e-3);
        }
        self.ping_beside_tcp()?;
        // Of the two, the one that needed more.
        let memory = gateways.iter().map(|pid| peak_memory(*pid));
        let memory = memory.collect::<Result<Vec<f64>>>()?.into_iter().reduce(f64::max);
        if let Some(memory) = memory {
            self.note(Metric::MemoryMb, memory);
        }
        Ok(())
    }

    fn note(&mut self, metric: Metric, value: f64) {
        eprint!(" {} {value:.2}", metric.short());
        self.samples.insert(metric, value);
    }

    fn tcp_with_cpu_time(&mut self, gateways: &[u32]) -> Result<()> {
        let before = CpuTime::now(gateways)?;
        let transfer = self.tcp(1, Way::Out)?;
        let after = CpuTime::now(gateways)?;
        let gigabytes = transfer.octets * 1e-9;
        self.note(Metric::Tcp1OutGbit, transfer.rate * 1e-9);
        if !gateways.is_empty() {
            let seconds = after.processes - before.processes;
            self.note(Metric::GatewaysCpuSPerGb, seconds / gigabytes);
        }
        let seconds = after.machine - before.machine;
        self.note(Metric::MachineCpuSPerGb, seconds / gigabytes);
        self.samples.insert(Metric::Tcp1Retransmits, transfer.retransmits);
        Ok(())
    }

    /// So many streams at once, all of the same length.
    fn tcp(&self, streams: u16, way: Way) -> Result<Transfer> {
        let mut clients = self.clients(streams, way, self.load.seconds)?;
        let start = now();
        let mut sum = Transfer::default();
        for (client, file) in &mut clients {
            // Its last words and a slow start come on top.
            let patience = self.load.duration() + Duration::from_secs(20);
            wait_for("iperf3's end", patience.saturating_sub(start.elapsed()), || {
                self.load.go_on()?;
                client.ended()
            })?;
            sum += iperf::parse(&text(Path::new(file)))?;
        }
        Ok(sum)
    }

    fn clients(&self, streams: u16, way: Way, seconds: u32) -> Result<Vec<(Daemon, String)>> {
        let mut clients = Vec::new();
        for port in PORT..PORT + streams {
            let file = self.directory.join(format!("client-{port}.json"));
            // A daemon's output is appended.
            let _ = std::fs::remove_file(&file);
            let mut client = Daemon::new(file.clone());
            let mut command = self.sites.left.host.command("iperf3");
            command.args(["-J", "--connect-timeout", "5000", "-c", &self.to.to_string()]);
            command.args(["-p", &port.to_string(), "-t", &seconds.to_string()]);
            command.args((way == Way::Back).then_some("-R"));
            client.spawn(command)?;
            clients.push((client, file.display().to_string()));
        }
        Ok(clients)
    }

    fn servers(&self) -> Result<Vec<Daemon>> {
        let host = &self.sites.right.host;
        let mut servers = Vec::new();
        for port in PORT..PORT + LOADED_STREAMS {
            let mut server = Daemon::new(self.directory.join(format!("server-{port}.out")));
            let mut command = host.command("iperf3");
            command.args(["-s", "-p", &port.to_string()]);
            server.spawn(command)?;
            servers.push(server);
        }
        wait_for("iperf3's servers", Duration::from_secs(10), || {
            self.load.go_on()?;
            Ok((listeners(host)? >= LOADED_STREAMS.into()).then_some(()))
        })?;
        Ok(servers)
    }

    fn ping_beside_tcp(&mut self) -> Result<()> {
        // They begin before the first ping, and are ended after the last.
        let clients = self.clients(LOADED_STREAMS, Way::Out, self.load.seconds + 30)?;
        pause(Duration::from_secs(1));
        let (average, p99) = (Metric::PingLoadedMs, Metric::PingLoadedP99Ms);
        self.ping(average, Some(p99), self.load.duration())?;
        for (mut client, file) in clients {
            let ended = client.ended()?;
            ensure!(ended.is_none(), "a stream beside the ping ended: {}", text(Path::new(&file)));
        }
        Ok(())
    }

    fn ping(&mut self, average: Metric, p99: Option<Metric>, time: Duration) -> Result<()> {
        let mut trips = Vec::new();
        let start = now();
        while start.elapsed() < time {
            self.load.go_on()?;
            let host = &self.sites.left.host;
            trips.extend(host.inside(|| round_trips(self.to, BURST, GAP, PATIENCE))?);
        }
        let milliseconds = trips.iter().flatten().map(|trip| trip.as_secs_f64() * 1e3);
        let sorted = super::report::sorted(milliseconds.collect());
        if sorted.is_empty() {
            bail!("no ping of {} was answered", trips.len());
        }
        self.note(average, mean(&sorted));
        if let Some(metric) = p99 {
            self.note(metric, percentile_99(&sorted).context("no pings")?);
            let lost = trips.iter().filter(|trip| trip.is_none()).count();
            self.samples.insert(Metric::PingLoadedLostPercent, percent(lost, trips.len()));
        }
        Ok(())
    }
}

/// TCP sockets that listen in a namespace.
fn listeners(netns: &Netns) -> Result<usize> {
    // /proc/net would show the namespace of the first thread.
    let files = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    netns.inside(|| Ok(files.iter().map(|file| listening(&text(Path::new(file)))).sum()))
}

/// Lines `0: ADDRESS:PORT ADDRESS:PORT STATE ..` with state 0A (TCP_LISTEN).
fn listening(table: &str) -> usize {
    table.lines().filter(|line| line.split_whitespace().nth(3) == Some("0A")).count()
}

#[expect(clippy::cast_precision_loss, reason = "few pings")]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The smallest value that 99 % do not exceed.
fn percentile_99(sorted: &[f64]) -> Option<f64> {
    let rank = (sorted.len() * 99).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[expect(clippy::cast_precision_loss, reason = "few pings")]
fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole as f64
}

const PORT: u16 = 5201;
const LOADED_STREAMS: u16 = 8;
/// Between pings.
const GAP: Duration = Duration::from_millis(20);
/// Pings between two looks at the wish to end.
const BURST: u16 = 25;
/// What takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// More pings would tell nothing new.
const IDLE: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_hundred_pings_may_be_slower_than_the_99th_percentile() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert!((percentile_99(&values).unwrap() - 198.0).abs() < 1e-9);
        assert!((percentile_99(&values[..1]).unwrap() - 1.0).abs() < 1e-9);
        assert_eq!(percentile_99(&[]), None);
        assert!((mean(&values) - 100.5).abs() < 1e-9);
        assert!((percent(1, 8) - 12.5).abs() < 1e-9);
    }

    #[test]
    fn only_sockets_that_listen_are_counted() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n   \
                     0: 00000000:1451 00000000:0000 0A 00000000:00000000\n   \
                     1: 0200020A:1451 0200010A:8000 01 00000000:00000000\n   \
                     2: 0200020A:1451 0200010A:8002 01 00000000:00000000\n";
        assert_eq!(listening(table), 1);
    }
}
