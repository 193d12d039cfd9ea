//! Runs what was planned: a line for each test as it ends, and what the tests say that they measured.
//!
//! ```text
//!   [2/4] esp ..                                                   stderr, so that stdout is the table or the JSON
//!     1.3s  test tests::damage::no_flipped_bit .. ok   ─► results by name
//!   ROBUST_MEASURED=FILE ── {"id":"T19","what":..,"value":..,"bar":..} a line (testkit/src/measured.rs) ─► measurements
//! ```

#![expect(clippy::disallowed_methods, reason = "shows how long real things take")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::page::Cited;
use super::plan::{Named, Run};
use crate::step::{cargo_command, workspace, worth_showing};

/// How a test went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum How {
    Passed,
    /// It could not run here: no root, a program that is missing.
    Skipped,
    Failed,
}

/// What a test found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Measured {
    #[serde(skip_serializing)]
    pub(super) id: String,
    pub(super) what: String,
    pub(super) value: String,
    pub(super) bar: String,
}

/// Of all runs together.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Tests that were not found are missing here.
    pub(super) tests: BTreeMap<Cited, How>,
    pub(super) measured: Vec<Measured>,
}

pub(super) fn all(runs: &[Run]) -> Result<Outcome> {
    let file = tempfile::NamedTempFile::new()?;
    let mut outcome = Outcome::default();
    for (number, run) in (1..).zip(runs) {
        let (title, count) = (&run.title, run.tests.len());
        let noun = if count == 1 { "test" } else { "tests" };
        eprintln!("[{number}/{}] {title}: {count} {noun} ..", runs.len());
        let mut command = cargo_command();
        command.args(&run.args).current_dir(workspace()).envs(run.env.iter().cloned());
        command.env("ROBUST_MEASURED", file.path());
        let (results, good) = watch(&mut command)?;
        for (cited, named) in &run.tests {
            let how = match named {
                Named::All => Some(if good { How::Passed } else { How::Failed }),
                Named::Exactly(_) | Named::Below(_) => {
                    let hows: Vec<How> = results
                        .iter()
                        .filter(|(name, _)| named.is(name))
                        .map(|(_, how)| *how)
                        .collect();
                    // One that is not there is as bad as none.
                    hows.iter().max().copied().filter(|_| hows.len() >= named.count())
                }
            };
            outcome.tests.extend(how.map(|how| (cited.clone(), how)));
        }
    }
    let text = std::fs::read_to_string(file.path())?;
    outcome.measured = text
        .lines()
        .map(|line| {
            serde_json::from_str(line).with_context(|| format!("not a measurement: {line}"))
        })
        .collect::<Result<_>>()?;
    Ok(outcome)
}

/// Runs a command and shows its tests; says how each went, and whether the command was content.
fn watch(command: &mut Command) -> Result<(Vec<(String, How)>, bool)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let stdout = child.stdout.take().context("no stdout")?;
    let (mut start, mut results) = (Instant::now(), Vec::new());
    for line in BufReader::new(stdout).lines() {
        // A test may print anything; what is not UTF-8 is not a result line.
        let Ok(line) = line else { continue };
        if line.starts_with("running ") {
            // What was compiled before is not the tests' time.
            start = Instant::now();
        }
        if let Some((name, how)) = result(&line) {
            eprintln!("  {:>6.1}s  {line}", start.elapsed().as_secs_f32());
            results.push((name.to_owned(), how));
        } else if worth_showing(&line) {
            eprintln!("  {line}");
        }
    }
    Ok((results, child.wait()?.success()))
}

/// `test tests::damage::no_flipped_bit ... ok`
pub(super) fn result(line: &str) -> Option<(&str, How)> {
    let (name, how) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let how = match how {
        "ok" => How::Passed,
        "FAILED" => How::Failed,
        how if how.starts_with("ignored") || how.starts_with("[ignored") => How::Skipped,
        _ => return None,
    };
    Some((name.trim_end(), how))
}
