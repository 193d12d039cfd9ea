//! `cargo xtask test`: every step, whatever the others did, then a table and one line of counts.

#![expect(clippy::print_stdout, reason = "a command line tool talks on stdout")]

use std::process::{Command, ExitCode, Stdio};

use anyhow::Result;
use clap::Args;

use crate::peers::{self, Missing};
use crate::step::{self, Counts, Done, Show, cargo, workspace};
use crate::{conformance, house, inventory, package, robust};

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Leave the namespace tests out (they count as skipped).
    #[arg(long)]
    no_netns: bool,
    /// Only tests whose name contains WORD, and no format check, lints or documentation.
    #[arg(long, value_name = "WORD")]
    filter: Option<String>,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let word: Vec<&str> = options.filter.as_deref().into_iter().collect();
    let mut steps: Vec<(&'static str, Body<'_>)> = Vec::new();
    if word.is_empty() {
        steps.push(("format", Box::new(|| with("rustfmt", &["fmt", "--all", "--check"]))));
        let lint = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        steps.push(("lint", Box::new(move || with("clippy", &lint))));
    }
    steps.push(("unit tests, known answers, two-endpoint world", Box::new(|| unit(&word))));
    if word.is_empty() {
        steps.push(("documentation", Box::new(documentation)));
        steps.push(("conformance table", Box::new(conformance::step)));
        steps.push(("robustness page", Box::new(robust::step)));
        steps.push(("list of unsafe code", Box::new(inventory::step)));
        steps.push(("rules of the house", Box::new(house::step)));
    }
    if !options.no_netns {
        steps.push(("peers for the namespace tests", Box::new(peers)));
    }
    if word.is_empty() && !options.no_netns {
        steps.push(("Debian package and container", Box::new(package::checked)));
    }
    steps.push(("namespace tests", Box::new(|| netns(options, &word))));
    let of = steps.len();
    let numbered = steps.into_iter().zip(1..);
    let done: Vec<Done> =
        numbered.map(|((title, body), number)| step::run(title, (number, of), body)).collect();
    summary(&done)
}

type Body<'a> = Box<dyn FnOnce() -> Result<(Counts, String)> + 'a>;

/// A cargo command that comes with a component of the toolchain, which may not be there.
fn with(component: &str, args: &[&str]) -> Result<(Counts, String)> {
    let mut probe = Command::new("cargo");
    probe.args([args.first().copied().unwrap_or_default(), "--version"]);
    let there = probe.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success();
    if !there {
        let note = format!("no {component} here: rustup component add {component}");
        return Ok((Counts { skipped: 1, ..Counts::default() }, note));
    }
    Ok((cargo(args, &[], Show::Failures)?, String::new()))
}

fn unit(word: &[&str]) -> Result<(Counts, String)> {
    let args = [&["test", "--workspace", "--no-fail-fast", "--"], word].concat();
    // The namespace tests have a step of their own.
    let counts = cargo(&args, &[("S2S_NETNS", "off")], Show::Failures)?;
    let vectors = std::env::var_os("IPSEC_VECTORS")
        .map_or_else(|| workspace().join("../shared/vectors"), Into::into);
    let note = if vectors.is_dir() { "" } else { "without the external vectors (IPSEC_VECTORS)" };
    Ok((counts, note.into()))
}

fn documentation() -> Result<(Counts, String)> {
    let args = ["doc", "--workspace", "--no-deps", "--quiet", "--document-private-items"];
    Ok((cargo(&args, &[("RUSTDOCFLAGS", "-D warnings")], Show::Failures)?, String::new()))
}

/// Installs what is missing where it may; what is then still missing shows in the counts of the tests that need it.
fn peers() -> Result<(Counts, String)> {
    let note = match peers::missing() {
        Missing { packages, .. } if packages.is_empty() => "all here".to_owned(),
        missing if peers::may_install() => {
            peers::install(&missing.packages)?;
            format!("installed {}", missing.packages.join(" "))
        }
        missing => format!(
            "not installed, because this is not root on Debian; please install: {}",
            missing.packages.join(" ")
        ),
    };
    Ok((Counts { passed: 1, ..Counts::default() }, note))
}

fn netns(options: &Options, word: &[&str]) -> Result<(Counts, String)> {
    let args = [&["test", "-p", "gateway", "--test", "netns", "--"], word].concat();
    if options.no_netns {
        // Every test then says that it was ignored, so that the count is seen.
        let counts = cargo(&args, &[("S2S_NETNS", "0")], Show::Failures)?;
        return Ok((counts, "left out by --no-netns".into()));
    }
    let Missing { packages, others } = peers::missing();
    let missing = [packages, others].concat();
    let note =
        if missing.is_empty() { String::new() } else { format!("missing: {}", missing.join(", ")) };
    Ok((cargo(&args, &[("S2S_NETNS", "1")], Show::EveryTest)?, note))
}

fn summary(done: &[Done]) -> ExitCode {
    let width = done.iter().map(|step| step.name.len()).max().unwrap_or(0);
    let mut total = Counts::default();
    println!("{:width$}  {:7}  {:>8}  passed  failed  skipped", "step", "result", "time");
    for step in done {
        let Counts { passed, failed, skipped } = step.counts;
        let time = format!("{:.1}s", step.took.as_secs_f32());
        let (name, result) = (step.name, step.result());
        println!("{name:width$}  {result:7}  {time:>8}  {passed:>6}  {failed:>6}  {skipped:>7}");
        total += step.counts;
    }
    for step in done.iter().filter(|step| !step.note.is_empty()) {
        println!("{}: {}", step.name, step.note);
    }
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    if ci && total.skipped > 0 {
        println!("CI=true: a skipped test is a failure");
    }
    println!("{total}");
    let good = total.failed == 0 && !(ci && total.skipped > 0);
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
