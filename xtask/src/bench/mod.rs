//! `cargo xtask bench peers`: how fast we are, next to others, in one run on one machine.
//!
//! ```text
//!   client ───── gateway A ══ 1500 ══ gateway B ───── server          four namespaces, made anew for each product and round
//!                    └── product ──┘
//!
//!   round 1   forward relay s2s-gw .. wireguard-go        each: TCP, UDP, ping       ──► samples
//!   round 2   wireguard-go .. s2s-gw relay forward        (turned round, against drift)
//!   ..                                                     medians ──► table, JSON, SVG, what got worse
//! ```
//!
//! Absolute numbers are those of the machine; what counts is the ratio to `relay`, the same tunnel without cryptography,
//! and the CPU time for each gigabyte.

mod chart;
mod iperf;
mod load;
mod machine;
mod product;
mod report;
mod table;
mod tunnel;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use testkit::netns::{Between, Sites, sweep};

use self::load::{Interrupted, Load};
use self::product::Product;
use self::report::Report;
use self::tunnel::Tunnel;
use crate::peers;
use crate::step::workspace;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Speed, CPU time, latency and memory of s2s-gw, its ceiling and other tunnels in user space. Needs root.
    Peers(Options),
}

/// How to measure it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often each product is measured; the table has the medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// A smoke test: one round of two seconds.
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// Only these products.
    #[arg(long, value_delimiter = ',', value_name = "NAME,..")]
    only: Vec<Product>,
    /// Installs the products that are missing: Debian packages, and the Rust ones into target/bench-peers.
    #[arg(long)]
    install: bool,
    /// Where the samples go [default: target/bench/peers.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws a chart for the README.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Names what got worse by more than 10 % against the JSON of an earlier run, and fails if something did.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Measures nothing: table, chart and comparison of an earlier run's JSON.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "install", "quick", "rounds", "seconds"])]
    show: Option<PathBuf>,
}

/// The relay's end, which the measurement starts inside the gateways.
#[derive(Debug, Args)]
pub(crate) struct Relay {
    device: String,
    local: SocketAddr,
    peer: SocketAddr,
}

pub(crate) fn run(bench: &Bench) -> ExitCode {
    let Bench::Peers(options) = bench;
    peers(options).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        if error.is::<Interrupted>() { ExitCode::from(130) } else { ExitCode::FAILURE }
    })
}

pub(crate) fn relay(relay: &Relay) -> ExitCode {
    match testkit::relay::run(&relay.device, relay.local, relay.peer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn peers(options: &Options) -> Result<ExitCode> {
    let earlier = options.against.as_deref().map(Report::read).transpose()?;
    let report = match &options.show {
        Some(file) => Report::read(file)?,
        None => measure(options)?,
    };
    print(&table::speed(&report));
    print(&table::ratios(&report));
    if let Some(file) = &options.svg {
        write(file, &chart::svg(&report))?;
    }
    let worse = earlier.map(|earlier| table::worse(&earlier, &report)).unwrap_or_default();
    if options.against.is_some() {
        let none = "nothing got worse by more than 10 %\n".to_owned();
        print(&if worse.is_empty() { none } else { worse.concat() });
    }
    let bad = !worse.is_empty() || report.products.iter().any(|entry| entry.error.is_some());
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn measure(options: &Options) -> Result<Report> {
    ensure!(peers::is_root(), "namespaces and TUN devices in them need root");
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let (rounds, seconds) = if options.quick { (1, 2) } else { (options.rounds, options.seconds) };
    let mut wanted = Product::all();
    wanted.retain(|product| options.only.is_empty() || options.only.contains(product));
    product::prepare(&wanted, options.install)?;
    let swept = sweep()?;
    if swept > 0 {
        eprintln!("removed {swept} namespaces that a run left which was killed");
    }
    let mut report = Report::new(machine::describe()?, rounds, seconds);
    let (ready, left_out): (Vec<_>, Vec<_>) =
        wanted.into_iter().partition(|product| product.missing().is_empty());
    for product in left_out {
        eprintln!("left out: {:13} {}", product.name(), product.remedy());
        report.leave_out(product);
    }
    ensure!(!ready.is_empty(), "there is no product to measure");
    for product in &ready {
        report.enter(*product);
    }
    let json = options.json.clone().unwrap_or_else(|| workspace().join("target/bench/peers.json"));
    let load = Load { seconds, stop: &stop };
    for round in 1..=rounds {
        let mut order = ready.clone();
        if round % 2 == 0 {
            order.reverse();
        }
        order.retain(|product| !report.failed(*product));
        for product in order {
            let place = format!("round {round}/{rounds}  {:13}", product.name());
            let measured = one(product, &load, &place);
            ensure!(!stop.load(Ordering::Relaxed), Interrupted);
            match measured {
                Ok(samples) => report.add(product, &samples),
                Err(error) => {
                    eprintln!("{place} FAILED: {error:#}");
                    report.fail(product, &error);
                }
            }
            // What is measured is kept, whatever comes after.
            write(&json, &report.json()?)?;
        }
    }
    eprintln!("samples: {}\n", json.display());
    Ok(report)
}

/// One product in namespaces of its own.
fn one(product: Product, load: &Load<'_>, place: &str) -> Result<load::Samples> {
    let directory = tempfile::tempdir()?;
    // Dropped in the opposite order: the programs end before their namespaces go.
    let sites = Sites::uncounted(Between::Wire)?;
    let mut tunnel = Tunnel::start(product, &sites, directory.path())?;
    let samples = load.measure(&sites, &mut tunnel, directory.path(), place);
    // The last words of a program may say why a measurement went wrong.
    let samples = samples.map_err(|error| match tunnel.last_words() {
        words if words.is_empty() => error,
        words => error.context(words),
    })?;
    tunnel.stop()?;
    Ok(samples)
}

fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

#[expect(clippy::print_stdout, reason = "a command line tool talks on stdout")]
fn print(text: &str) {
    println!("{text}");
}
