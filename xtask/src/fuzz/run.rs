//! One target: started, started again after each input that brings it down, and what it says on the way.
//!
//! ```text
//!   #262144  pulse  cov: 1207 ft: 4711 corp: 503/21Kb lim: 325 exec/s: 87381 rss: 79Mb      a line of libFuzzer
//!   thread 'main' panicked at ikev2/src/..:                                                 ┐ in between, if so
//!   artifact_prefix='..'; Test unit written to target/fuzz/found/message/crash-0123..       ┘
//!   stat::number_of_executed_units: 1048576                                                 at its end
//! ```

#![expect(clippy::print_stderr, reason = "shows progress")]
#![expect(clippy::disallowed_methods, reason = "real programs run for real time")]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::Place;

/// What became of a target.
#[derive(Debug, Default, Serialize)]
pub(super) struct Outcome {
    pub(super) target: String,
    pub(super) seconds: f64,
    pub(super) executions: u64,
    /// Edges of the control flow that were gone along, in the whole program.
    pub(super) edges: u64,
    /// Inputs that each reach something new.
    pub(super) corpus: u64,
    pub(super) found: Vec<Found>,
    /// Why it could not run.
    pub(super) error: Option<String>,
}

/// An input that brought the target down.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    pub(super) kind: &'static str,
    pub(super) input: PathBuf,
    pub(super) message: String,
}

/// The most inputs that are looked for in one target: who has so many has enough to do.
const MOST_FOUND: usize = 8;
/// Between two lines about a target.
const PROGRESS: Duration = Duration::from_secs(20);

impl Outcome {
    pub(super) fn per_second(&self) -> u64 {
        let whole = Duration::try_from_secs_f64(self.seconds).unwrap_or_default().as_secs();
        self.executions / whole.max(1)
    }
}

/// Runs a target for `time`.
pub(super) fn fuzz(place: &Place, time: Duration) -> Outcome {
    let begun = Instant::now();
    let mut outcome = Outcome { target: place.target.clone(), ..Outcome::default() };
    while outcome.found.len() < MOST_FOUND {
        let left = time.saturating_sub(begun.elapsed());
        if left.as_secs() == 0 {
            break;
        }
        let before = outcome.found.len();
        if let Err(error) = once(place, left, &mut outcome) {
            outcome.error = Some(format!("{error:#}"));
            break;
        }
        if outcome.found.len() == before {
            break;
        }
    }
    outcome.seconds = begun.elapsed().as_secs_f64();
    outcome
}

fn once(place: &Place, left: Duration, outcome: &mut Outcome) -> Result<()> {
    let mut command = Command::new(&place.program);
    command.env("FUZZ_TARGET", &place.target).env("RUST_BACKTRACE", "0");
    command.args([&place.corpus, &place.seeds]);
    command.arg(format!("-artifact_prefix={}/", place.found.display()));
    command.arg(format!("-max_total_time={}", left.as_secs().max(1)));
    // An input takes microseconds; half a minute is a hang, also on a busy machine.
    command.args(["-timeout=30", "-rss_limit_mb=2048", "-max_len=4096", "-print_final_stats=1"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let stderr = child.stderr.take().context("no stderr")?;
    let mut watch = Watch { shown: Instant::now(), ..Watch::new() };
    for line in BufReader::new(stderr).split(b'\n') {
        watch.line(&String::from_utf8_lossy(&line?), place, outcome);
    }
    let status = child.wait()?;
    outcome.executions += watch.executions;
    if !status.success() && watch.found == 0 {
        anyhow::bail!("it ended with {status}: {}", watch.last);
    }
    Ok(())
}

/// What one run said.
struct Watch {
    executions: u64,
    found: usize,
    panic: Option<String>,
    last: String,
    shown: Instant,
}

impl Watch {
    fn new() -> Self {
        Self { executions: 0, found: 0, panic: None, last: String::new(), shown: Instant::now() }
    }

    fn line(&mut self, line: &str, place: &Place, outcome: &mut Outcome) {
        if let Some((count, rest)) = progress(line) {
            self.executions = self.executions.max(count);
            outcome.edges = outcome.edges.max(number_after(rest, "cov: "));
            outcome.corpus = number_after(rest, "corp: ");
            if self.shown.elapsed() >= PROGRESS {
                self.shown = Instant::now();
                eprintln!("{:12} {}", place.target, line.trim());
            }
        } else if let Some(count) = line.strip_prefix("stat::number_of_executed_units: ") {
            self.executions = count.trim().parse().unwrap_or(self.executions);
        } else if line.contains("panicked at ") {
            self.panic = Some(line.trim().to_owned());
        } else if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.found += 1;
            let input = PathBuf::from(path.trim());
            let message = self.panic.clone().unwrap_or_else(|| self.last.clone());
            eprintln!("{:12} FOUND {}: {message}", place.target, input.display());
            outcome.found.push(Found { kind: kind(&input), input, message });
        } else if let Some(panic) = self.panic.as_mut().filter(|it| it.ends_with(':')) {
            // The message of a panic is on the line behind its place.
            panic.push(' ');
            panic.push_str(line.trim());
        }
        if !line.trim().is_empty() {
            line.trim().clone_into(&mut self.last);
        }
    }
}

fn kind(input: &std::path::Path) -> &'static str {
    let name = input.file_name().unwrap_or_default().to_string_lossy();
    match name.split('-').next() {
        Some("timeout" | "slow") => "hangs",
        Some("oom") => "takes too much memory",
        Some("leak") => "leaks",
        _ => "crashes",
    }
}

/// `#123  NEW  cov: ..`: how many executions there were, and the rest.
fn progress(line: &str) -> Option<(u64, &str)> {
    let (count, rest) = line.strip_prefix('#')?.split_once('\t')?;
    Some((count.trim().parse().ok()?, rest))
}

fn number_after(text: &str, word: &str) -> u64 {
    let after = text.split_once(word).map_or("", |(_, after)| after);
    let digits = after.split(|it: char| !it.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        let [program, seeds, corpus, found] = [(); 4].map(|()| PathBuf::new());
        Place { target: "t".into(), program, seeds, corpus, found }
    }

    #[test]
    fn what_libfuzzer_says_is_understood() {
        let (mut watch, mut outcome) = (Watch::new(), Outcome::default());
        let said = [
            "#2\tINITED cov: 1207 ft: 99 corp: 3/21Kb exec/s: 0 rss: 79Mb",
            "#262144\tpulse  cov: 1301 ft: 4711 corp: 503/21Kb lim: 325 exec/s: 87381 rss: 79Mb",
            "thread '<unnamed>' panicked at ikev2/src/x.rs:1:2:",
            "index out of bounds",
            "artifact_prefix='f/'; Test unit written to f/crash-01",
            "stat::number_of_executed_units: 300000",
        ];
        for line in said {
            watch.line(line, &place(), &mut outcome);
        }
        assert_eq!((watch.executions, outcome.edges, outcome.corpus), (300_000, 1301, 503));
        let found = outcome.found.first().unwrap();
        assert_eq!((found.kind, found.input.to_str()), ("crashes", Some("f/crash-01")));
        assert!(found.message.ends_with("x.rs:1:2: index out of bounds"), "{}", found.message);
        assert_eq!(kind(std::path::Path::new("f/timeout-7")), "hangs");
    }
}
