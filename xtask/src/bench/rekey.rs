//! `cargo xtask bench rekey`: what a TCP stream at full speed notices of a rekey each second.
//!
//! ```text
//!   one stream, nothing else        ──► Gbit/s, segments sent again ┐
//!   one stream, s2s-gw rekey site   ──► the same, and              ├─► ratio, packets that either gateway dropped
//!     each second                        how many SAs were replaced ┘
//! ```
//!
//! A stream as fast as the machine goes loses segments by itself, where a queue is full. Those losses are the
//! congestion control's way to measure and have counters of their own; any other drop is the rekey's.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use testkit::gateway::Ours;
use testkit::netns::{Between, Sites};
use testkit::peer::{Peer as _, now, pause};

use super::begin;
use super::figures::{Figure, Figures, Goal, figure};
use super::iperf::Transfer;
use super::keep::{Better, Keep};
use super::product::Product;
use super::traffic::{Load, Traffic, Way};
use super::tunnel::{CONNECTION, Tunnel};

/// How much of it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often everything is measured; the table has the medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each stream takes, and how often there is a rekey in it.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=600))]
    seconds: u32,
    #[command(flatten)]
    keep: Keep,
}

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let earlier = options.keep.earlier(|file| Figures::read(file, BENCH))?;
    let stop = begin(&[Product::Gateway], false)?;
    let (rounds, seconds) = (options.rounds, options.seconds);
    let about =
        "one TCP stream, without rekeys and with one of its child SA each second".to_owned();
    let mut figures = Figures::new(BENCH, about, (rounds, seconds), all_figures())?;
    let directory = tempfile::tempdir()?;
    let sites = Sites::uncounted(Between::Wire)?;
    let tunnel = Tunnel::start(Product::Gateway, &sites, directory.path())?;
    let traffic = Traffic::new(Load { seconds, stop: &stop }, &sites, directory.path());
    traffic.ready()?;
    let _servers = traffic.servers()?;
    for round in 1..=rounds {
        eprint!("round {round}/{rounds}");
        // The other way round every second time, against drift.
        for rekeys in [round % 2 == 0, round % 2 == 1] {
            measure(traffic, &tunnel.ours(), rekeys, &mut figures)?;
        }
        if let Some((with, without)) = figures.last("tcp_rekeys").zip(figures.last("tcp")) {
            figures.note("share", 100.0 * with / without);
        }
        figures.keep(&options.keep)?;
    }
    tunnel.stop()?;
    Ok(figures.finish(earlier.as_ref()))
}

fn all_figures() -> Vec<Figure> {
    let (more, less, neither) = (Better::More, Better::Less, Better::Neither);
    vec![
        figure("tcp", "TCP, one stream, no rekey", "Gbit/s", more),
        figure("tcp_rekeys", "TCP, one stream, a rekey each second", "Gbit/s", more),
        figure("share", "  with rekeys, of that without", "%", neither).goal(Goal::AtLeast(95.0)),
        figure("rekeys", "rekeys while it ran", "", neither),
        figure("drops", "packets dropped but for full queues", "", less).goal(Goal::AtMost(0.0)),
        figure("full", "  dropped by full queues, no rekey", "", neither),
        figure("full_rekeys", "  dropped by full queues, rekeys", "", neither),
        figure("again", "segments sent again, no rekey", "", neither),
        figure("again_rekeys", "segments sent again, rekeys", "", neither),
    ]
}

/// One stream, with rekeys or without.
fn measure(
    traffic: Traffic<'_>,
    gateways: &[&Ours],
    rekeys: bool,
    figures: &mut Figures,
) -> Result<()> {
    let before = Dropped::by(gateways)?;
    let replaced = replacements(gateways)?;
    let transfer =
        if rekeys { beside_rekeys(traffic, gateways)? } else { traffic.tcp(1, Way::Out)? };
    let dropped = Dropped::by(gateways)?.since(before);
    let keys = if rekeys {
        let replaced = replacements(gateways)?.saturating_sub(replaced);
        ensure!(
            replaced >= traffic.load.seconds / 2,
            "only {replaced} rekeys while the stream ran"
        );
        figures.note("rekeys", f64::from(replaced));
        figures.note("drops", dropped.otherwise);
        ["tcp_rekeys", "full_rekeys", "again_rekeys"]
    } else {
        ["tcp", "full", "again"]
    };
    let values = [transfer.rate * 1e-9, dropped.by_full_queues, transfer.retransmits];
    for (key, value) in keys.into_iter().zip(values) {
        figures.note(key, value);
    }
    Ok(())
}

/// One stream, and meanwhile each second the initiator is told to rekey.
fn beside_rekeys(traffic: Traffic<'_>, gateways: &[&Ours]) -> Result<Transfer> {
    let initiator = gateways.last().context("no gateway")?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let rekeys = scope.spawn(|| -> Result<()> {
            let begun = now();
            for second in 1..traffic.load.seconds {
                let due = Duration::from_secs(second.into());
                while begun.elapsed() < due && !over.load(Ordering::Relaxed) {
                    pause(Duration::from_millis(10));
                }
                if over.load(Ordering::Relaxed) {
                    break;
                }
                initiator.rekey_child(CONNECTION)?;
            }
            Ok(())
        });
        let transfer = traffic.tcp(1, Way::Out);
        over.store(true, Ordering::Relaxed);
        rekeys.join().map_err(|_| anyhow::anyhow!("the one who rekeys panicked"))??;
        transfer
    })
}

/// How often the child was replaced, as its initiator counts.
fn replacements(gateways: &[&Ours]) -> Result<u32> {
    let status = gateways.last().context("no gateway")?.json()?;
    let rekeys = status.pointer("/connections/0/children/0/rekeys");
    let rekeys = rekeys.and_then(serde_json::Value::as_u64).context("no count of rekeys")?;
    Ok(u32::try_from(rekeys)?)
}

/// Packets that gateways dropped.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Dropped {
    by_full_queues: f64,
    otherwise: f64,
}

impl Dropped {
    fn by(gateways: &[&Ours]) -> Result<Self> {
        let all = gateways.iter().map(|gateway| gateway.drops().map(|drops| Self::of(&drops)));
        let all = all.collect::<Result<Vec<Self>>>()?;
        Ok(Self {
            by_full_queues: all.iter().map(|one| one.by_full_queues).sum(),
            otherwise: all.iter().map(|one| one.otherwise).sum(),
        })
    }

    fn of(drops: &BTreeMap<String, u64>) -> Self {
        let sum = |full: bool| {
            let of = drops.iter().filter(|(reason, _)| FULL.contains(&reason.as_str()) == full);
            // What a full queue costs a child is counted there once more.
            let of = of.filter(|(reason, _)| *reason != "send-failed");
            of.map(|(_, count)| f64::from(u32::try_from(*count).unwrap_or(u32::MAX))).sum()
        };
        Self { by_full_queues: sum(true), otherwise: sum(false) }
    }

    fn since(self, before: Self) -> Self {
        Self {
            by_full_queues: self.by_full_queues - before.by_full_queues,
            otherwise: self.otherwise - before.otherwise,
        }
    }
}

const BENCH: &str = "rekey";
/// The reasons that tell of a queue, not of a packet.
const FULL: [&str; 2] = ["overflow", "queue-full"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_full_queue_lost_is_told_apart() {
        let counts = [("overflow", 3), ("queue-full", 4), ("send-failed", 4), ("unknown-spi", 5)];
        let drops = counts.map(|(reason, count)| (reason.to_owned(), count)).into();
        let dropped = Dropped::of(&drops);
        assert_eq!(dropped, Dropped { by_full_queues: 7.0, otherwise: 5.0 });
        let before = Dropped { by_full_queues: 1.0, otherwise: 5.0 };
        assert_eq!(dropped.since(before), Dropped { by_full_queues: 6.0, otherwise: 0.0 });
    }
}
