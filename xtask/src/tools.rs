//! Chores that need a tool which is not part of the toolchain: they name what is missing and how to get it.
//!
//! ```text
//!   supply    cargo-deny (licences, bans, sources, advisories), cargo-machete (dependencies that nobody uses)
//!   miri      the safe cores under Miri: replay window, packets, wire formats; no system call, no foreign code
//!   mutants   cargo-mutants: changes the code in small ways and says which changes no test notices
//! ```

#![expect(clippy::print_stdout, reason = "a command line tool talks on stdout")]

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::step::workspace;

/// What of the code is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Area {
    /// The replay window of `esp`.
    Replay,
    /// Sequence numbers of `esp`.
    Sequence,
    /// ESP headers, trailers and selectors.
    Packets,
    /// Which proposal is chosen.
    Negotiate,
    /// Whose rekey wins.
    Collision,
    /// Wire formats of IKE.
    Wire,
}

/// What to mutate.
#[derive(Debug, Args)]
pub(crate) struct Mutants {
    /// One part; all of them by default, which takes hours.
    area: Option<Area>,
    /// One of so many shares of it, as `0/8` is the first of eight.
    #[arg(long)]
    shard: Option<String>,
}

/// What to interpret.
#[derive(Debug, Args)]
pub(crate) struct Miri {
    /// Only tests whose name contains it.
    filter: Option<String>,
}

pub(crate) fn supply() -> ExitCode {
    exit(supplied())
}

pub(crate) fn miri(options: &Miri) -> ExitCode {
    exit(interpreted(options))
}

pub(crate) fn mutants(options: &Mutants) -> ExitCode {
    exit(mutated(options))
}

fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn supplied() -> Result<()> {
    needs(&["deny", "--version"], "cargo install --locked cargo-deny")?;
    needs(&["machete", "--version"], "cargo install --locked cargo-machete")?;
    cargo(&["deny", "check", "bans", "licenses", "sources"])?;
    cargo(&["machete"])?;
    // The advisories are a git repository: nothing is known where that cannot be reached, which is no fault of ours.
    let fetched =
        Command::new("cargo").args(["deny", "fetch", "db"]).current_dir(workspace()).status()?;
    if fetched.success() {
        return cargo(&["deny", "check", "advisories"]);
    }
    println!("advisories: not checked, github.com/rustsec/advisory-db cannot be reached from here");
    Ok(())
}

/// The modules that are all computation, and what of their tests Miri can do in minutes: each interpreted instruction costs
/// a hundred native ones.
const INTERPRETED: [(&str, &[&str]); 2] = [
    (
        "esp",
        &[
            "ecn::",
            "header::",
            "ip::",
            "mss::",
            "reason::",
            "replay::",
            "selector::",
            "sequence::",
            "too_big::",
            "train::",
            "udp::",
            "unreachable::",
            "vnet::",
        ],
    ),
    (
        "ikev2",
        &[
            "keyword::",
            "sa::collision::",
            "sa::window::tests",
            "wire::certificate::",
            "wire::cursor::",
            "wire::header::",
            "wire::identity::",
            "wire::name::",
            "wire::payload::",
            "wire::ppk::",
            "wire::proposal::",
            "wire::redirect::",
            "wire::selector::",
            "wire::traffic::",
        ],
    ),
];

fn interpreted(options: &Miri) -> Result<()> {
    needs(
        &["+nightly", "miri", "--version"],
        "rustup component add miri rust-src --toolchain nightly",
    )?;
    for (package, modules) in INTERPRETED {
        let filters: Vec<&str> =
            options.filter.as_deref().map_or(modules.to_vec(), |one| vec![one]);
        let args =
            [&["+nightly", "miri", "test", "-p", package, "--lib", "--"], &filters[..]].concat();
        // Property tests look for failures that they kept, which is a file, and are satisfied with less here.
        let env = [("MIRIFLAGS", "-Zmiri-disable-isolation"), ("PROPTEST_CASES", "8")];
        cargo_with(&args, &env)?;
    }
    println!(
        "not interpreted: cryptography (ring is assembler), checksums, bursts, whole messages, the tables of negotiation, and all of `gateway`"
    );
    Ok(())
}

impl Area {
    /// Package, files, and words of the tests that ought to notice.
    const fn parts(self) -> (&'static str, &'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Replay => ("esp", &["esp/src/replay.rs"], &["replay"]),
            Self::Sequence => ("esp", &["esp/src/sequence.rs"], &["sequence"]),
            Self::Packets => {
                ("esp", &["esp/src/header.rs", "esp/src/selector.rs", "esp/src/inbound.rs"], &[])
            }
            Self::Negotiate => ("ikev2", &["ikev2/src/sa/negotiate.rs"], &["negotiat"]),
            Self::Collision => {
                ("ikev2", &["ikev2/src/sa/collision.rs"], &["collision", "crossing"])
            }
            Self::Wire => ("ikev2", &["ikev2/src/wire/**/*.rs"], &["wire"]),
        }
    }
}

fn mutated(options: &Mutants) -> Result<()> {
    needs(&["mutants", "--version"], "cargo install --locked cargo-mutants")?;
    for area in options.area.map_or(Area::value_variants().to_vec(), |area| vec![area]) {
        let (package, files, words) = area.parts();
        let mut args = vec!["mutants", "--package", package, "--no-shuffle", "--output", "target"];
        args.extend(files.iter().flat_map(|file| ["--file", file]));
        args.extend(options.shard.iter().flat_map(|shard| ["--shard", shard]));
        // Compiled a hundred times and run once each. What does not end is noticed too, but not sooner where others compile.
        let plain = ["opt-level", "debug"]
            .map(|key| format!("-C=--config=profile.dev.package.{package}.{key}=0"));
        args.extend(plain.iter().map(String::as_str));
        args.extend(["--minimum-test-timeout", "60", "--", "--lib", "--"]);
        args.extend(words);
        let status = command(&args, &[]).status()?;
        // 3: some did not end, and no other was missed.
        if !matches!(status.code(), Some(0 | 3)) {
            bail!("a change that no test notices, or none could be tried: target/mutants.out");
        }
    }
    Ok(())
}

/// Whether cargo has a command.
fn needs(args: &[&str], remedy: &str) -> Result<()> {
    let mut probe = Command::new("cargo");
    probe.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    if !probe.status()?.success() {
        bail!(
            "cargo {} does not work here: {remedy}",
            args.split_last().map_or(&[][..], |(_, a)| a).join(" ")
        );
    }
    Ok(())
}

fn cargo(args: &[&str]) -> Result<()> {
    cargo_with(args, &[])
}

fn cargo_with(args: &[&str], env: &[(&str, &str)]) -> Result<()> {
    let status = command(args, env).status()?;
    if !status.success() {
        bail!("cargo {} failed", args.join(" "));
    }
    Ok(())
}

fn command(args: &[&str], env: &[(&str, &str)]) -> Command {
    // Not $CARGO: that names one toolchain, and `+nightly` is for rustup's cargo.
    let mut command = Command::new("cargo");
    command.args(args).envs(env.iter().copied()).env_remove("CARGO").current_dir(workspace());
    command
}
