//! `cargo xtask soak`: hours in minutes. Two tunnels whose keys, paths and configuration change all the time, and whether
//! anything grows.
//!
//! ```text
//!   ours ══ loss 5 % ══ strongSwan          children replaced every 10 s, IKE SAs every 40 s, by whichever end is first
//!   ours ══ loss 5 % ══ ours                each minute a reload, every other minute an outage of 3 or 9 s (DPD: 6 s)
//!
//!   every 10 s: memory, descriptors, threads, SAs, CPU time of each s2s-gw, and pings through each tunnel   sample.rs
//!   at the end: peace; does everything agree?  then a line through each series, and how far it may rise      fit.rs
//! ```
//!
//! The gateway is compiled with overflow checks and debug assertions, as tests are.

#![expect(clippy::print_stdout, reason = "a command line tool talks on stdout")]
#![expect(clippy::print_stderr, reason = "shows progress")]
#![expect(clippy::disallowed_methods, reason = "watches real programs in real time")]

mod fit;
mod sample;
mod tunnel;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use testkit::peer::pause;

use self::fit::{Finding, judge, table};
use self::sample::Series;
use self::tunnel::Tunnel;
use crate::peers::is_root;
use crate::step::workspace;

/// How long, and where the figures go.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long it lasts; below 10 the lines mean little.
    #[arg(long, value_name = "N", default_value_t = 30)]
    minutes: u64,
    /// Prints JSON instead of the table.
    #[arg(long)]
    json: bool,
    /// Leaves the tunnel to strongSwan out.
    #[arg(long)]
    alone: bool,
}

/// Everything, as `target/soak.json` has it.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    minutes: f64,
    /// What was done to the tunnels.
    outages: u32,
    reloads: u32,
    series: Vec<Series>,
    findings: Vec<Finding>,
}

/// Between two samples.
const TICK: Duration = Duration::from_secs(10);

pub(crate) fn run(options: &Options) -> ExitCode {
    match soak(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn soak(options: &Options) -> Result<bool> {
    ensure!(is_root(), "namespaces and TUN devices in them need root");
    ensure!(options.minutes > 0, "--minutes says for how long");
    let swan = !options.alone;
    let missing = testkit::strongswan::missing();
    ensure!(!swan || missing.is_empty(), "missing: {}; or --alone", missing.join(", "));
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let program = build()?;
    let dir = tempfile::Builder::new().prefix("s2soak").tempdir()?;
    let mut tunnels = Vec::new();
    for (name, with_swan) in [("ours-to-swan", true), ("ours-to-ours", false)] {
        if swan || !with_swan {
            let own = dir.path().join(name);
            std::fs::create_dir(&own)?;
            tunnels.push(Tunnel::start(name, with_swan, &program, &own)?);
        }
    }
    let mut report = Report {
        schema: "s2s-gw/soak/1",
        minutes: 0.0,
        outages: 0,
        reloads: 0,
        series: tunnels.iter().flat_map(Tunnel::series).collect(),
        findings: Vec::new(),
    };
    let begun = Instant::now();
    let time = Duration::from_secs(60 * options.minutes);
    for tick in 1.. {
        let over = begun.elapsed() + TICK > time;
        if over || stop.load(Ordering::Relaxed) {
            break;
        }
        self::tick(tick, begun, &mut tunnels, &mut report)?;
    }
    report.minutes = begun.elapsed().as_secs_f64() / 60.0;
    for tunnel in &mut tunnels {
        report.findings.push(peace(tunnel));
    }
    report.findings.extend(judge(&report.series));
    show(options, &report)
}

fn show(options: &Options, report: &Report) -> Result<bool> {
    let json = serde_json::to_string_pretty(report)?;
    let file = workspace().join("target/soak.json");
    std::fs::write(&file, &json).with_context(|| file.display().to_string())?;
    if options.json {
        println!("{json}");
    } else {
        println!(
            "{:.1} minutes, {} outages, {} reloads of each\n{}",
            report.minutes,
            report.outages,
            report.reloads,
            table(&report.series, &report.findings)
        );
    }
    // The table has said it all to people.
    let kept = std::env::var_os("ROBUST_MEASURED").is_some();
    for Finding { what, value, bar, .. } in report.findings.iter().filter(|_| kept) {
        testkit::measured::measured("T50", what, value, bar);
    }
    Ok(report.findings.iter().all(|finding| finding.good))
}

/// Ten seconds: whatever is due happens, pings go on, then everything is looked at.
fn tick(number: u32, begun: Instant, tunnels: &mut [Tunnel], report: &mut Report) -> Result<()> {
    let until = begun + TICK * number;
    let left = until.saturating_duration_since(Instant::now());
    let outage = (number % 12 == 6).then_some(if number % 24 == 6 { 3 } else { 9 });
    let reload = number % 6 == 3;
    report.outages += u32::from(outage.is_some());
    report.reloads += u32::from(reload);
    let answered = std::thread::scope(|scope| {
        let working = tunnels.iter_mut().map(|tunnel| {
            scope.spawn(move || -> Result<(u16, u16)> {
                if reload {
                    tunnel.reload(number)?;
                }
                if let Some(seconds) = outage {
                    tunnel.cut(Duration::from_secs(seconds))?;
                }
                tunnel.ping(left.saturating_sub(Duration::from_secs(outage.unwrap_or(0))))
            })
        });
        let working: Vec<_> = working.collect();
        let done = working.into_iter().map(|thread| match thread.join() {
            Ok(done) => done,
            Err(_) => bail!("a thread panicked"),
        });
        done.collect::<Result<Vec<_>>>()
    })?;
    pause(until.saturating_duration_since(Instant::now()));
    let at = begun.elapsed().as_secs_f64();
    let mut series = report.series.iter_mut();
    for (tunnel, pings) in tunnels.iter_mut().zip(&answered) {
        let (asked, answered) = if outage.is_some() { (0, 0) } else { *pings };
        for (sample, series) in tunnel.samples()?.into_iter().zip(&mut series) {
            series.push(sample.at(at).pings(asked, answered));
        }
    }
    if number.is_multiple_of(6) {
        let now: Vec<_> = report.series.iter().map(Series::line).collect();
        eprintln!("{:5.1} min  {}", at / 60.0, now.join("   "));
    }
    Ok(())
}

/// No loss any more: after a while both ends have the same SAs, one of each kind, and packets pass.
fn peace(tunnel: &mut Tunnel) -> Finding {
    let what = format!("{} at peace", tunnel.name);
    let bar = "within 60 s the same one child at both ends, all pings answered".to_owned();
    let outcome = tunnel.end_loss().and_then(|()| tunnel.agreed(Duration::from_mins(1)));
    let (good, value) = match outcome {
        Ok(after) => (true, format!("after {:.0} s", after.as_secs_f64())),
        Err(error) => (false, format!("{error:#}")),
    };
    Finding { what, value, bar, good }
}

/// The gateway as tests compile it.
fn build() -> Result<PathBuf> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // With the features that the tests have, so that it is compiled once for both.
    let packages = ["--package", "gateway", "--package", "testkit"];
    command.arg("build").args(packages).args(["--bin", "s2s-gw"]).current_dir(workspace());
    ensure!(command.status()?.success(), "the gateway does not compile");
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| workspace().join("target"));
    Ok(target.join("debug/s2s-gw"))
}
