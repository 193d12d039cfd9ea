//! `cargo xtask bench peers`: how fast we are, next to others, in one run on one machine.
//!
//! ```text
//!   round 1   forward relay s2s-gw .. wireguard-go        each: TCP, UDP, ping       ──► samples
//!   round 2   wireguard-go .. s2s-gw relay forward        (turned round, against drift)
//!   ..                                                     medians ──► table, JSON, SVG, what got worse
//! ```
//!
//! Absolute numbers are those of the machine; what counts is the ratio to `relay`, the same tunnel without cryptography,
//! and the CPU time for each gigabyte.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::{Result, ensure};
use clap::Args;
use testkit::netns::{Between, Sites};

use super::keep::{Keep, Report as _, write};
use super::load::{self, Samples};
use super::product::Product;
use super::report::Report;
use super::traffic::{Interrupted, Load, Traffic};
use super::tunnel::Tunnel;
use super::{begin, chart, machine, print, table};

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
    /// Draws a chart for the README.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Measures nothing: table, chart and comparison of an earlier run's JSON.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "install", "quick", "rounds", "seconds"])]
    show: Option<PathBuf>,
    #[command(flatten)]
    keep: Keep,
}

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let earlier = options.keep.earlier(Report::read)?;
    let report = match &options.show {
        Some(file) => Report::read(file)?,
        None => measure(options)?,
    };
    print(&table::speed(&report));
    print(&table::ratios(&report));
    if let Some(file) = &options.svg {
        write(file, &chart::svg(&report))?;
    }
    let worse = earlier.is_some_and(|earlier| earlier.is_beaten_by(&report.kept()));
    let bad = worse || report.products.iter().any(|entry| entry.error.is_some());
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn measure(options: &Options) -> Result<Report> {
    let (rounds, seconds) = if options.quick { (1, 2) } else { (options.rounds, options.seconds) };
    let mut wanted = Product::all();
    wanted.retain(|product| options.only.is_empty() || options.only.contains(product));
    let stop = begin(&wanted, options.install)?;
    let mut report = Report::new(machine::describe()?, rounds, seconds);
    let (ready, left_out): (Vec<_>, Vec<_>) =
        wanted.into_iter().partition(|product| product.missing().is_empty());
    for product in left_out {
        eprintln!("left out: {:17} {}", product.name(), product.remedy());
        report.leave_out(product);
    }
    ensure!(!ready.is_empty(), "there is no product to measure");
    for product in &ready {
        report.enter(*product);
    }
    let load = Load { seconds, stop: &stop };
    for round in 1..=rounds {
        let mut order = ready.clone();
        if round % 2 == 0 {
            order.reverse();
        }
        order.retain(|product| !report.failed(*product));
        for product in order {
            let place = format!("round {round}/{rounds}  {:17}", product.name());
            let measured = one(product, load, &place);
            ensure!(!stop.load(Ordering::Relaxed), Interrupted);
            match measured {
                Ok(samples) => report.add(product, &samples),
                Err(error) => {
                    eprintln!("{place} FAILED: {error:#}");
                    report.fail(product, &error);
                }
            }
            // What is measured is kept, whatever comes after.
            options.keep.write("peers", &report.json()?)?;
        }
    }
    Ok(report)
}

/// One product in namespaces of its own.
fn one(product: Product, load: Load<'_>, place: &str) -> Result<Samples> {
    let directory = tempfile::tempdir()?;
    // Dropped in the opposite order: the programs end before their namespaces go.
    let sites = Sites::uncounted(Between::Wire)?;
    let mut tunnel = Tunnel::start(product, &sites, directory.path())?;
    let traffic = Traffic::new(load, &sites, directory.path());
    let samples = load::measure(traffic, &mut tunnel, place);
    // The last words of a program may say why a measurement went wrong.
    let samples = samples.map_err(|error| match tunnel.last_words() {
        words if words.is_empty() => error,
        words => error.context(words),
    })?;
    tunnel.stop()?;
    Ok(samples)
}
