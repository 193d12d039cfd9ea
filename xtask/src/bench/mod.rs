//! `cargo xtask bench`: how fast we are, in namespaces, on the machine at hand.
//!
//! ```text
//!   client ───── gateway A ══ 1500 ══ gateway B ───── server          four namespaces, made anew for each measurement
//!                    └── product ──┘
//!
//!   peers   us next to others and to our ceiling       peers.rs, load.rs (traffic, iperf), report.rs, table.rs, chart.rs
//!   scale   one tunnel next to thousands               scale.rs ┐
//!   flood   garbage while a TCP stream runs            flood.rs ├─► figures.rs: measured beside goal
//!   rekey   a rekey each second under full load        rekey.rs ┤
//!   watch   viewers of the page, and a capture         watch.rs ┘
//!
//!   all of them ──► keep.rs: samples in a file, and what got worse against an earlier one
//! ```

mod chart;
mod figures;
mod flood;
mod iperf;
mod keep;
mod load;
mod machine;
mod peers;
mod product;
mod rekey;
mod report;
mod scale;
mod table;
mod traffic;
mod tunnel;
mod watch;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use testkit::netns::sweep;

use self::product::Product;
use self::traffic::Interrupted;
use crate::peers::is_root;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Speed, CPU time, latency and memory of s2s-gw, its ceiling and other tunnels in user space. Needs root.
    Peers(peers::Options),
    /// What thousands of tunnels cost: memory, speed, bringing them up, asking for their status. Needs root.
    Scale(scale::Options),
    /// How much of a TCP stream is left while a stranger sends 200,000 ESP packets a second. Needs root.
    Flood(flood::Options),
    /// What a TCP stream at full speed notices of a rekey each second. Needs root.
    Rekey(rekey::Options),
    /// What a TCP stream at full speed notices of 200 viewers of the page, and of a capture. Needs root.
    Watch(watch::Options),
}

/// The relay's end, which the measurement starts inside the gateways.
#[derive(Debug, Args)]
pub(crate) struct Relay {
    device: String,
    local: SocketAddr,
    peer: SocketAddr,
    /// With AES-256-GCM.
    #[arg(long)]
    sealed: bool,
}

pub(crate) fn run(bench: &Bench) -> ExitCode {
    let done = match bench {
        Bench::Peers(options) => peers::run(options),
        Bench::Scale(options) => scale::run(options),
        Bench::Flood(options) => flood::run(options),
        Bench::Rekey(options) => rekey::run(options),
        Bench::Watch(options) => watch::run(options),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        if error.is::<Interrupted>() { ExitCode::from(130) } else { ExitCode::FAILURE }
    })
}

pub(crate) fn relay(relay: &Relay) -> ExitCode {
    match testkit::relay::run(&relay.device, relay.local, relay.peer, relay.sealed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Makes everything ready to measure `products`; the result turns true when somebody wants us to end.
fn begin(products: &[Product], install: bool) -> Result<Arc<AtomicBool>> {
    ensure!(is_root(), "namespaces and TUN devices in them need root");
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    product::prepare(products, install)?;
    let swept = sweep()?;
    if swept > 0 {
        eprintln!("removed {swept} namespaces that a run left which was killed");
    }
    Ok(stop)
}

#[expect(clippy::print_stdout, reason = "a command line tool talks on stdout")]
fn print(text: &str) {
    println!("{text}");
}
