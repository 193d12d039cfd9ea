//! TCP and UDP from host to host through the gateways.
//!
//! ```text
//!   left host ── iperf3 -c ──► gateways ──► iperf3 -s ── right host          a process for each stream: one has only one thread
//!             ── flood     ──►          ──► counted
//! ```

use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::flood::flood;
use testkit::netns::{Family, Netns, Sites};
use testkit::peer::{Daemon, now, text, wait_for};

use super::iperf::{self, Transfer};

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
pub(crate) enum Way {
    /// From the left host to the right one.
    Out,
    Back,
}

impl Load<'_> {
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    pub(crate) fn go_on(&self) -> Result<()> {
        ensure!(!self.stop.load(Ordering::Relaxed), Interrupted);
        Ok(())
    }
}

/// The hosts between which it goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traffic<'a> {
    pub(crate) load: Load<'a>,
    pub(crate) sites: &'a Sites,
    /// For what the programs say.
    directory: &'a Path,
    /// The right host.
    pub(crate) to: IpAddr,
}

impl<'a> Traffic<'a> {
    pub(crate) fn new(load: Load<'a>, sites: &'a Sites, directory: &'a Path) -> Self {
        Self { load, sites, directory, to: sites.right.host_address(Family::V4, 0) }
    }

    /// Waits until the hosts reach each other.
    pub(crate) fn ready(&self) -> Result<()> {
        wait_for("an answer to a ping from host to host", Duration::from_secs(20), || {
            self.load.go_on()?;
            let answers = self.sites.left.host.ping(self.to, 1, Duration::from_millis(20))?;
            Ok((answers > 0).then_some(()))
        })
    }

    /// Datagrams of so many octets as fast as one thread sends them; those that arrive, in a second.
    pub(crate) fn udp(&self, payload: usize) -> Result<f64> {
        let (from, into) = (&self.sites.left.host, &self.sites.right.host);
        let (time, stop) = (self.load.duration(), self.load.stop);
        let flood = flood(from, (into, self.to), payload, time, stop)?;
        self.load.go_on()?;
        ensure!(flood.received > 0, "no datagram of {payload} octets arrived");
        Ok(flood.rate())
    }

    /// So many streams at once, all of the same length.
    pub(crate) fn tcp(&self, streams: u16, way: Way) -> Result<Transfer> {
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

    /// The same, begun.
    pub(crate) fn clients(
        &self,
        streams: u16,
        way: Way,
        seconds: u32,
    ) -> Result<Vec<(Daemon, String)>> {
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

    /// Listens for up to eight of them until the result is dropped.
    pub(crate) fn servers(&self) -> Result<Vec<Daemon>> {
        let host = &self.sites.right.host;
        let mut servers = Vec::new();
        for port in PORT..PORT + STREAMS {
            let mut server = Daemon::new(self.directory.join(format!("server-{port}.out")));
            let mut command = host.command("iperf3");
            command.args(["-s", "-p", &port.to_string()]);
            server.spawn(command)?;
            servers.push(server);
        }
        wait_for("iperf3's servers", Duration::from_secs(10), || {
            self.load.go_on()?;
            Ok((listeners(host)? >= STREAMS.into()).then_some(()))
        })?;
        Ok(servers)
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

const PORT: u16 = 5201;
/// Streams that the servers wait for.
pub(crate) const STREAMS: u16 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_that_listen_are_counted() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n   \
                     0: 00000000:1451 00000000:0000 0A 00000000:00000000\n   \
                     1: 0200020A:1451 0200010A:8000 01 00000000:00000000\n   \
                     2: 0200020A:1451 0200010A:8002 01 00000000:00000000\n";
        assert_eq!(listening(table), 1);
    }
}
