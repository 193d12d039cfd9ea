//! `metrics`: what GET /metrics says, for those who collect files.

use super::Outcome;
use super::client::{Daemon, snapshot};
use super::output::print;
use crate::metrics::{self, Process};

/// Print the state and all counters as metrics for Prometheus
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example, for the textfile collector of node_exporter:\n  s2s-gw metrics > s2s-gw.new && mv s2s-gw.new s2s-gw.prom"
)]
pub(super) struct Metrics {
    #[command(flatten)]
    daemon: Daemon,
}

impl Metrics {
    pub(super) fn run(self) -> Outcome {
        let snapshot = snapshot(&self.daemon.control)?;
        print(&metrics::text(&snapshot, &Process::of(snapshot.pid)))
    }
}
