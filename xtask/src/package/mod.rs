//! `cargo xtask package`: the Debian package, and whether it installs, runs and goes again.
//!
//! ```text
//!   program ─► man, completions ─┐
//!   packaging/, docs/ ───────────┴─► tree.rs ─► deb.rs ─► target/package/s2s-gw_0.1.0-1_amd64.deb
//!                                       │         │
//!   --check, in namespaces (inside.rs)  │         └─► install.rs    dpkg on a copy of this machine's system that is thrown away
//!                                       └───────────► container.rs  an OCI bundle as packaging/Containerfile makes it, with crun
//! ```

#![expect(clippy::print_stdout, reason = "a command line tool talks on stdout")]

mod container;
mod deb;
mod inside;
mod install;
mod tree;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::step::{self, Counts, Show, workspace};

pub(crate) use self::inside::{Inside, run as run_inside};

/// What to build.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where to put the package
    #[arg(long, value_name = "DIR", default_value = "target/package")]
    out: PathBuf,
    /// Pack this program and do not build one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Name and address of whoever answers for the package; else $DEBFULLNAME and $DEBEMAIL
    #[arg(long, value_name = "NAME <MAIL>")]
    maintainer: Option<String>,
    /// Pack a debug build, and install, upgrade, run, remove and purge it where nothing of it stays; needs root
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let done = if options.check {
        checked().map(|(counts, note)| format!("{counts}\n{note}"))
    } else {
        build(options)
    };
    match done {
        Ok(said) => {
            println!("{}", said.trim_end());
            if said.contains(" 0 failed") || !options.check {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn build(options: &Options) -> Result<String> {
    let program = match &options.program {
        Some(program) => program.clone(),
        None => program("release")?,
    };
    let place = tempfile::tempdir()?;
    let tree = tree::Tree::assemble(place.path(), &program)?;
    let maintainer = options.maintainer.clone().map_or_else(deb::maintainer, Ok)?;
    let out = workspace().join(&options.out);
    let package = deb::build(&tree, &deb::Wanted { revision: 1, maintainer, quick: false }, &out)?;
    Ok(package.display().to_string())
}

/// The gateway, built in `profile`.
fn program(profile: &str) -> Result<PathBuf> {
    let profile_name = if profile == "debug" { "dev" } else { profile };
    let args = ["build", "--locked", "-p", "gateway", "--bin", "s2s-gw", "--profile", profile_name];
    let counts = step::cargo(&args, &[], Show::Failures)?;
    ensure!(counts.failed == 0, "the gateway cannot be built");
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from);
    Ok(target.join(profile).join("s2s-gw"))
}

/// The checks, as a step of `cargo xtask test`.
pub(crate) fn checked() -> Result<(Counts, String)> {
    if let Some(missing) = inside::missing() {
        return Ok((Counts { skipped: 1, ..Counts::default() }, missing));
    }
    let place = tempfile::tempdir()?;
    let program = program("debug")?;
    let tree = tree::Tree::assemble(&place.path().join("tree"), &program)?;
    for revision in 1..=2 {
        let maintainer = "The s2s-gw authors <s2s-gw@example.org>".to_owned();
        if revision == 2 {
            tree.append_to_the_configuration("# new\n")?;
        }
        deb::build(&tree, &deb::Wanted { revision, maintainer, quick: true }, place.path())?;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.arg(std::env::current_exe()?).arg("package-inside").arg(place.path());
    let output = command.output().context("cannot run unshare")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut counts = Counts::default();
    for line in said.lines() {
        println!("  {line}");
        match line
            .split_once("... ")
            .map(|(_, result)| result.split(':').next().unwrap_or_default())
        {
            Some("ok") => counts.passed += 1,
            Some("skipped") => counts.skipped += 1,
            Some("FAILED") => counts.failed += 1,
            _ => {}
        }
    }
    if !output.status.success() && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok((counts, String::from_utf8_lossy(&output.stderr).into_owned()))
}
