//! The project's chores: `cargo xtask test` runs everything that decides whether a change is good.
//!
//! ```text
//!   test ──► [1] format  [2] lint  [3] tests  [4] docs  [5] conformance  [6] peers (Debian packages)  [7] namespace tests ──► table, counts
//!   conformance ──► docs/conformance.md against the sources and the RFCs
//!   fuzz ──► libFuzzer on every parser, on both roles of IKE and on ESP
//!   interop ──► the matrix with strongSwan, as a table
//!   soak ──► two tunnels that are never left alone, and whether anything grows
//!   bench peers ──► the speed table: us, our ceiling and others in namespaces
//!   bench scale, flood, rekey ──► figures beside their goals: many SAs, garbage, rekeys at full speed
//! ```

mod bench;
mod conformance;
mod fuzz;
mod interop;
mod peers;
mod soak;
mod step;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "The project's chores")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Format check, lints, unit tests, known answers, documentation, and the namespace tests against real peers.
    ///
    /// As root on Debian it installs the peers (strongSwan and a few tools) that are missing; elsewhere it names them
    /// and skips their tests. With CI=true a skipped test is a failure.
    Test(test::Options),
    /// Checks docs/conformance.md: that what it cites exists, and that no demand of the RFCs is left out.
    Conformance(conformance::Options),
    /// Lets libFuzzer at everything that strangers can send, on stable Rust.
    Fuzz(fuzz::Options),
    /// Two tunnels under loss, outages, reloads and constant rekeys: does anything grow? Needs root.
    Soak(soak::Options),
    /// The matrix of interoperation with strongSwan: suites, address families, NAT, loss, both roles. Needs root.
    Interop(interop::Options),
    /// Measures how fast things are.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// One end of the tunnel without cryptography; `bench peers` starts it inside its namespaces.
    #[command(hide = true)]
    Relay(bench::Relay),
}

fn main() -> ExitCode {
    match Arguments::parse().chore {
        Chore::Test(options) => test::run(&options),
        Chore::Conformance(options) => conformance::run(options),
        Chore::Fuzz(options) => fuzz::run(&options),
        Chore::Soak(options) => soak::run(&options),
        Chore::Interop(options) => interop::run(&options),
        Chore::Bench(bench) => bench::run(&bench),
        Chore::Relay(relay) => bench::relay(&relay),
    }
}
