//! The project's chores: `cargo xtask test` runs everything that decides whether a change is good.
//!
//! ```text
//!   test ──► format, lint, tests, docs, pages, peers (Debian packages), namespace tests ──► table, counts
//!   conformance ──► docs/conformance.md against the sources and the RFCs
//!   robust ──► the tests that docs/robustness.md cites ──► what each fault or attack did, beside its bar
//!   unsafe, supply, miri, mutants ──► what of the code and of what it depends on has to be looked at twice
//!   package ──► a Debian package; --check: installed, used, upgraded, purged, and a container, where nothing of it stays
//!   fuzz ──► libFuzzer on every parser, on both roles of IKE and on ESP
//!   interop ──► the matrix with strongSwan, as a table
//!   soak ──► two tunnels that are never left alone, and whether anything grows
//!   bench peers ──► the speed table: us, our ceiling and others in namespaces
//!   bench scale, flood, rekey ──► figures beside their goals: many SAs, garbage, rekeys at full speed
//! ```

mod bench;
mod cited;
mod conformance;
mod fuzz;
mod house;
mod interop;
mod inventory;
mod package;
mod peers;
mod robust;
mod soak;
mod step;
mod test;
mod tools;

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
    /// Runs the tests of faults and attacks of docs/robustness.md, and shows what each did beside its bar.
    Robust(robust::Options),
    /// Checks docs/unsafe.md, the list of all `unsafe` code with its proofs, or writes it anew.
    Unsafe(inventory::Options),
    /// Checks what we depend on: licences, sources, bans, advisories, and whether all of it is used.
    Supply,
    /// Runs tests of the safe cores under Miri.
    Miri(tools::Miri),
    /// Changes the code in small ways and says which changes no test notices.
    Mutants(tools::Mutants),
    /// Lets libFuzzer at everything that strangers can send, on stable Rust.
    Fuzz(fuzz::Options),
    /// Two tunnels under loss, outages, reloads and constant rekeys: does anything grow? Needs root.
    Soak(soak::Options),
    /// The matrix of interoperation with strongSwan: suites, address families, NAT, loss, both roles. Needs root.
    Interop(interop::Options),
    /// Builds the Debian package; with --check installs, upgrades and purges it in a copy of this system.
    Package(package::Options),
    /// The checks of the package, inside the namespaces that `package --check` makes.
    #[command(hide = true)]
    PackageInside(package::Inside),
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
        Chore::Robust(options) => robust::run(&options),
        Chore::Unsafe(options) => inventory::run(&options),
        Chore::Supply => tools::supply(),
        Chore::Miri(options) => tools::miri(&options),
        Chore::Mutants(options) => tools::mutants(&options),
        Chore::Fuzz(options) => fuzz::run(&options),
        Chore::Soak(options) => soak::run(&options),
        Chore::Interop(options) => interop::run(&options),
        Chore::Package(options) => package::run(&options),
        Chore::PackageInside(options) => package::run_inside(&options),
        Chore::Bench(bench) => bench::run(&bench),
        Chore::Relay(relay) => bench::relay(&relay),
    }
}
