//! What is measured of a product in one round: the traffic, and what happens meanwhile.
//!
//! ```text
//!   ping idle │ TCP 1 ► │ TCP 1 ◄ │ TCP 4 ► │ TCP 4 ◄ │ UDP 64 B ► │ UDP 1300 B ► │ ping beside 8 TCP ► │ memory
//!               └ CPU time of the gateways and of the machine, for each GB that arrives
//! ```
//!
//! The servers listen in the right host all the time.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use testkit::peer::{now, pause, text};
use testkit::ping::round_trips;

use super::machine::{CpuTime, peak_memory_of};
use super::report::Metric;
use super::traffic::{STREAMS, Traffic, Way};
use super::tunnel::Tunnel;

/// One sample of each metric that applies.
pub(crate) type Samples = BTreeMap<Metric, f64>;

/// A measurement in its namespaces.
struct Run<'a> {
    traffic: Traffic<'a>,
    samples: Samples,
}

/// Measures everything once; `place` begins the line of progress.
pub(crate) fn measure(traffic: Traffic<'_>, tunnel: &mut Tunnel, place: &str) -> Result<Samples> {
    eprint!("{place}");
    let mut run = Run { traffic, samples: Samples::new() };
    let done = run.all(&tunnel.pids());
    eprintln!();
    done.map(|()| run.samples)
}

impl Run<'_> {
    fn all(&mut self, gateways: &[u32]) -> Result<()> {
        self.traffic.ready()?;
        let _servers = self.traffic.servers()?;
        self.ping(Metric::PingIdleMs, None, self.traffic.load.duration().min(IDLE))?;
        self.tcp_with_cpu_time(gateways)?;
        for (metric, streams, way) in [
            (Metric::Tcp1BackGbit, 1, Way::Back),
            (Metric::Tcp4OutGbit, 4, Way::Out),
            (Metric::Tcp4BackGbit, 4, Way::Back),
        ] {
            let transfer = self.traffic.tcp(streams, way)?;
            self.note(metric, transfer.rate * 1e-9);
        }
        for (metric, payload) in [(Metric::Udp64Kpps, 64), (Metric::Udp1300Kpps, 1300)] {
            let rate = self.traffic.udp(payload)?;
            self.note(metric, rate * 1e-3);
        }
        self.ping_beside_tcp()?;
        if !gateways.is_empty() {
            self.note(Metric::MemoryMb, peak_memory_of(gateways)?);
        }
        Ok(())
    }

    fn note(&mut self, metric: Metric, value: f64) {
        eprint!(" {} {value:.2}", metric.short());
        self.samples.insert(metric, value);
    }

    fn tcp_with_cpu_time(&mut self, gateways: &[u32]) -> Result<()> {
        let before = CpuTime::now(gateways)?;
        let transfer = self.traffic.tcp(1, Way::Out)?;
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

    fn ping_beside_tcp(&mut self) -> Result<()> {
        // They begin before the first ping, and are ended after the last.
        let clients = self.traffic.clients(STREAMS, Way::Out, self.traffic.load.seconds + 30)?;
        pause(Duration::from_secs(1));
        let (average, p99) = (Metric::PingLoadedMs, Metric::PingLoadedP99Ms);
        self.ping(average, Some(p99), self.traffic.load.duration())?;
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
            self.traffic.load.go_on()?;
            let host = &self.traffic.sites.left.host;
            trips.extend(host.inside(|| round_trips(self.traffic.to, BURST, GAP, PATIENCE))?);
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
}
