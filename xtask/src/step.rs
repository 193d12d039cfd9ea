//! One step of a chore: runs a command, shows what matters while it runs, counts tests.
//!
//! ```text
//!   cargo's stderr ────────────────────────────► terminal (compiler messages, progress)
//!   cargo's stdout ─► keep or hide each line ──► terminal
//!                  └► "test result: ok. 12 passed; 0 failed; 1 ignored; .." ──► Counts
//! ```

#![expect(clippy::print_stdout, reason = "a command line tool talks on stdout")]
#![expect(clippy::disallowed_methods, reason = "shows how long real things take")]

use std::io::{BufRead as _, BufReader};
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// How many tests went how; a step without tests of its own counts as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// A step that was done.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) name: &'static str,
    pub(crate) counts: Counts,
    pub(crate) took: Duration,
    /// Why something was skipped, or what failed, if that is not plain from the output.
    pub(crate) note: String,
}

impl Done {
    /// `ok`, `FAILED` or `skipped`.
    pub(crate) fn result(&self) -> &'static str {
        match self.counts {
            Counts { failed: 1.., .. } => "FAILED",
            Counts { passed: 0, skipped: 1.., .. } => "skipped",
            _ => "ok",
        }
    }
}

/// What of a command's stdout is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Everything but tests that passed.
    Failures,
    /// A line per test, with the time since the start.
    EveryTest,
}

/// Runs a step and announces it and its end; an error of the machinery is a failure of the step.
pub(crate) fn run(
    title: &'static str,
    place: (usize, usize),
    body: impl FnOnce() -> Result<(Counts, String)>,
) -> Done {
    let (number, of) = place;
    println!("[{number}/{of}] {title} ..");
    let start = Instant::now();
    let (counts, note) = body()
        .unwrap_or_else(|error| (Counts { failed: 1, ..Counts::default() }, format!("{error:#}")));
    let done = Done { name: title, counts, took: start.elapsed(), note };
    let colon = if done.note.is_empty() { "" } else { ": " };
    println!(
        "[{number}/{of}] {title} .. {} in {:.1?}{colon}{}\n",
        done.result(),
        done.took,
        done.note
    );
    done
}

/// Runs cargo in the workspace; one test result line in its output counts as it says, none at all as one check.
pub(crate) fn cargo(args: &[&str], env: &[(&str, &str)], show: Show) -> Result<Counts> {
    let mut command = cargo_command();
    command.args(args).current_dir(workspace()).envs(env.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let mut start = Instant::now();
    let mut counts = None;
    let stdout = child.stdout.take().context("no stdout")?;
    for line in BufReader::new(stdout).lines() {
        // A test may print anything; what is not UTF-8 is not a result line.
        let Ok(line) = line else { continue };
        if let Some(found) = result_line(&line) {
            *counts.get_or_insert_with(Counts::default) += found;
        }
        if line.starts_with("running ") {
            // What was compiled before is not the tests' time.
            start = Instant::now();
        }
        if show == Show::EveryTest && line.starts_with("test ") {
            println!("  {:>6.1}s  {line}", start.elapsed().as_secs_f32());
        } else if worth_showing(&line) {
            println!("  {line}");
        }
    }
    let status = child.wait()?;
    let check = Counts { passed: 1, ..Counts::default() };
    let mut counts = counts.unwrap_or(if status.success() { check } else { Counts::default() });
    if !status.success() && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(counts)
}

/// The cargo that runs us, without what it told us about ourselves: build scripts such as ring's look at the package that
/// they are run for, and would run again, and all that depends on them would be compiled again.
pub(crate) fn cargo_command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let about_us =
        |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|p| name.starts_with(p));
    for (name, _) in std::env::vars().filter(|(name, _)| about_us(name)) {
        command.env_remove(name);
    }
    command
}

/// `test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.1s`
fn result_line(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = Counts::default();
    for part in numbers.split("; ") {
        match part.split_once(' ')? {
            (number, "passed") => counts.passed = number.parse().ok()?,
            (number, "failed") => counts.failed = number.parse().ok()?,
            (number, "ignored") => counts.skipped = number.parse().ok()?,
            _ => {}
        }
    }
    Some(counts)
}

/// Not a test that passed, not a headline, not a result without a test in it.
pub(crate) fn worth_showing(line: &str) -> bool {
    let quiet = ["... ok", "... ignored", "... [ignored]"];
    let nothing = "test result: ok. 0 passed; 0 failed; 0 ignored;";
    !(line.is_empty()
        || quiet.iter().any(|end| line.ends_with(end))
        || line.starts_with("running ")
        || line.starts_with("all doctests ran ")
        || line.starts_with(nothing))
}

/// The root of the checkout.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted() {
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 9 filtered out; finished in 0.10s";
        assert_eq!(result_line(line), Some(Counts { passed: 3, failed: 1, skipped: 2 }));
        assert_eq!(result_line("test a ... ok"), None);
    }

    #[test]
    fn a_step_is_as_good_as_its_worst_test() {
        let done = |passed, failed, skipped| {
            let counts = Counts { passed, failed, skipped };
            Done { name: "x", counts, took: Duration::ZERO, note: String::new() }.result()
        };
        assert_eq!(done(5, 0, 0), "ok");
        assert_eq!(done(5, 0, 2), "ok");
        assert_eq!(done(0, 0, 2), "skipped");
        assert_eq!(done(5, 1, 2), "FAILED");
    }
}
