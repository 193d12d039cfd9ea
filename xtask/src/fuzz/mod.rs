//! `cargo xtask fuzz`: every target of the crate `fuzz` under libFuzzer, on stable Rust, and a table of what came of it.
//!
//! ```text
//!   fuzz/libfuzzer ──build──► one program, compiled with coverage, overflow checks and debug assertions
//!                                │ FUZZ_TARGET=message, ..          run.rs: so many at a time, each for so many minutes
//!   target/fuzz/corpus/TARGET ◄──┼──► target/fuzz/found/TARGET      what brought it down: crash-.., timeout-.., oom-..
//!                                ▼
//!                           table, target/fuzz/report.json
//! ```
//!
//! No nightly and no cargo-fuzz: the flags below are what it would set. Without AddressSanitizer, which needs nightly; there
//! is no `unsafe` in what is fuzzed.

#![expect(clippy::print_stdout, reason = "a command line tool talks on stdout")]

mod run;

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde::Serialize;

use self::run::{Outcome, fuzz};
use crate::step::workspace;

/// What to fuzz.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The targets; all of them if none is named.
    targets: Vec<String>,
    /// How long each target runs.
    #[arg(long, value_name = "N", default_value_t = 20.0)]
    minutes: f64,
    /// How many run at the same time.
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Runs one input through one target, and nothing else.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Prints JSON instead of the table.
    #[arg(long)]
    json: bool,
    /// Names the targets and ends.
    #[arg(long)]
    list: bool,
}

/// The report, as `target/fuzz/report.json` has it.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    minutes: f64,
    targets: Vec<Outcome>,
}

/// Where one target keeps its things.
struct Place {
    target: String,
    program: PathBuf,
    seeds: PathBuf,
    corpus: PathBuf,
    found: PathBuf,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    match all(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn all(options: &Options) -> Result<bool> {
    let program = build()?;
    let known = names(&program)?;
    if options.list {
        println!("{}", known.join("\n"));
        return Ok(true);
    }
    for target in &options.targets {
        ensure!(known.contains(target), "no target `{target}`; there are: {}", known.join(", "));
    }
    let wanted = if options.targets.is_empty() { known } else { options.targets.clone() };
    if let Some(input) = &options.replay {
        let [target] = wanted.as_slice() else {
            bail!("--replay takes one target: cargo xtask fuzz TARGET --replay FILE");
        };
        let status = Command::new(&program).env("FUZZ_TARGET", target).arg(input).status()?;
        return Ok(status.success());
    }
    ensure!(options.minutes > 0.0 && options.minutes < 1e6, "--minutes says for how long");
    let time = Duration::from_secs_f64(options.minutes * 60.0);
    let places = wanted.iter().map(|target| Place::new(target, &program));
    let places = places.collect::<Result<VecDeque<_>>>()?;
    let targets = side_by_side(places, options.jobs.max(1), time);
    let report = Report { schema: "s2s-gw/fuzz/1", minutes: options.minutes, targets };
    let json = serde_json::to_string_pretty(&report)?;
    fs::write(workspace().join("target/fuzz/report.json"), &json)?;
    println!("{}", if options.json { json } else { table(&report) });
    Ok(report.targets.iter().all(|it| it.found.is_empty() && it.error.is_none()))
}

/// What cargo-fuzz tells the compiler, less the sanitizer.
const FLAGS: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
];

/// Compiles the program. A target is named, so that build scripts and macros are compiled without coverage.
fn build() -> Result<PathBuf> {
    let host = host()?;
    let root = workspace();
    let out = root.join("target/fuzz");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release", "--target", &host, "--manifest-path"]);
    command.arg(root.join("fuzz/libfuzzer/Cargo.toml")).arg("--target-dir").arg(&out);
    command.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f")).stdin(Stdio::null());
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "the fuzzers do not compile; libFuzzer itself needs a C++ compiler");
    Ok(out.join(host).join("release/libfuzzer"))
}

fn host() -> Result<String> {
    let said = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

/// The targets that the program has: it tells them to whoever names none.
fn names(program: &Path) -> Result<Vec<String>> {
    let said = Command::new(program).env("FUZZ_TARGET", "?").stderr(Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let list = said.lines().find_map(|line| line.split_once("they are: ")).map(|(_, list)| list);
    let list = list.context("the fuzzers do not name their targets")?;
    Ok(list.split(", ").map(str::to_owned).collect())
}

impl Place {
    /// Makes the directories and fills that of the seeds.
    fn new(target: &str, program: &Path) -> Result<Self> {
        let below = |what: &str| workspace().join("target/fuzz").join(what).join(target);
        let [seeds, corpus, found] = ["seeds", "corpus", "found"].map(below);
        if seeds.exists() {
            fs::remove_dir_all(&seeds)?;
        }
        for dir in [&seeds, &corpus, &found] {
            fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        }
        let mut export = Command::new(program);
        export.env("FUZZ_TARGET", target).env("FUZZ_SEEDS", &seeds).stdout(Stdio::null());
        ensure!(export.status()?.success(), "{target} does not write its seeds");
        Ok(Self { target: target.into(), program: program.into(), seeds, corpus, found })
    }
}

fn side_by_side(places: VecDeque<Place>, jobs: usize, time: Duration) -> Vec<Outcome> {
    let order: Vec<String> = places.iter().map(|place| place.target.clone()).collect();
    let queue = Mutex::new(places);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(place) = next() {
                    let outcome = fuzz(&place, time);
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|outcome| order.iter().position(|name| *name == outcome.target));
    outcomes
}

fn table(report: &Report) -> String {
    let title = ["target", "minutes", "executions", "exec/s", "edges", "corpus", "found"];
    let mut lines = vec![row(title.map(str::to_owned))];
    for it in &report.targets {
        let found = if it.error.is_some() { "ERROR".into() } else { it.found.len().to_string() };
        let minutes = format!("{:.1}", it.seconds / 60.0);
        let numbers = [it.executions, it.per_second(), it.edges, it.corpus].map(|n| n.to_string());
        let [executions, per_second, edges, corpus] = numbers;
        lines.push(row([it.target.clone(), minutes, executions, per_second, edges, corpus, found]));
    }
    let total: u64 = report.targets.iter().map(|it| it.executions).sum();
    lines.push(format!("{total} executions"));
    for it in &report.targets {
        lines.extend(it.error.iter().map(|error| format!("{}: {error}", it.target)));
        for found in &it.found {
            let (target, kind, input) = (&it.target, found.kind, found.input.display());
            lines.push(format!("{target}: {kind}: {}", found.message));
            lines.push(format!("    again: cargo xtask fuzz {target} --replay {input}"));
        }
    }
    lines.join("\n")
}

fn row([target, rest @ ..]: [String; 7]) -> String {
    let cells: Vec<_> = rest.iter().map(|cell| format!("{cell:>12}")).collect();
    format!("{target:12}{}", cells.concat())
}
