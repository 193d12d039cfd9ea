//! What came of it, for people and as JSON.
//!
//! ```text
//!   T19  ok       suites                                   77        (all 77)
//!                 of these accepted                        0         (0)
//!   T28  FAILED   ikev2/tests/pair/loss.rs::storm          failed
//!   T45  -        not tested here: ..
//! ```

use std::fmt::Write as _;

use serde::Serialize;

use super::go::{How, Measured, Outcome};
use super::page::Row;

/// The whole.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// No test failed, and all that were to run did.
    pub(super) held: bool,
    pub(super) rows: Vec<Line>,
}

/// One fault or attack.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    id: String,
    what: String,
    bar: String,
    result: Verdict,
    tests: Vec<Ran>,
    measured: Vec<Measured>,
    /// What of it is not tested here, and why.
    not_tested: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    Failed,
    /// Nothing failed, but something could not run.
    Skipped,
    /// Its tests run with --long only.
    Long,
    Untested,
}

#[derive(Debug, Serialize)]
struct Ran {
    test: String,
    /// Nothing if no such test ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<How>,
}

impl Report {
    pub(super) fn new(rows: &[&Row], long: bool, outcome: &Outcome) -> Self {
        let rows: Vec<Line> = rows.iter().map(|row| Line::new(row, long, outcome)).collect();
        Self { held: rows.iter().all(|line| line.result != Verdict::Failed), rows }
    }

    pub(super) fn table(&self, colour: bool) -> String {
        let mut text = String::from("\n");
        let width = self.rows.iter().flat_map(|line| &line.measured).map(|m| m.what.len()).max();
        let width = width.unwrap_or(0).clamp(20, 60);
        for line in &self.rows {
            line.write(&mut text, width, colour);
        }
        let count = |wanted| self.rows.iter().filter(|line| line.result == wanted).count();
        writeln!(
            text,
            "\n{} held, {} failed, {} skipped, {} only with --long, {} not tested here (docs/robustness.md says why)",
            count(Verdict::Ok),
            count(Verdict::Failed),
            count(Verdict::Skipped),
            count(Verdict::Long),
            count(Verdict::Untested),
        )
        .ok();
        text
    }
}

impl Line {
    fn new(row: &Row, long: bool, outcome: &Outcome) -> Self {
        let run = row.tests.iter().filter(|test| long || !test.long);
        let tests: Vec<Ran> = run
            .map(|test| {
                let env = test.env.iter().map(|(name, value)| format!("{name}={value} "));
                let test_name = env.chain([test.name.clone()]).collect();
                Ran { test: test_name, result: outcome.tests.get(test).copied() }
            })
            .collect();
        let result = match &tests[..] {
            [] if row.tests.is_empty() => Verdict::Untested,
            [] => Verdict::Long,
            tests if tests.iter().any(|t| matches!(t.result, None | Some(How::Failed))) => {
                Verdict::Failed
            }
            tests if tests.iter().any(|t| t.result == Some(How::Skipped)) => Verdict::Skipped,
            _ => Verdict::Ok,
        };
        let measured = outcome.measured.iter().filter(|m| m.id == row.id);
        let (id, what, bar) = (row.id.clone(), row.what.clone(), row.bar.clone());
        let not_tested = row.gap.clone();
        Self { id, what, bar, result, tests, measured: together(measured), not_tested }
    }

    fn write(&self, text: &mut String, width: usize, colour: bool) {
        let (word, paint) = self.result.word();
        let word =
            if colour { format!("\x1b[{paint}m{word:8}\x1b[0m") } else { format!("{word:8}") };
        let mut lines: Vec<String> = Vec::new();
        for Measured { what, value, bar, .. } in &self.measured {
            lines.push(format!("{what:width$}  {value:>9}  (bar: {bar})"));
        }
        let passed = self.tests.iter().filter(|t| t.result == Some(How::Passed)).count();
        let noun = if passed == 1 { "test" } else { "tests" };
        if self.measured.is_empty() && passed > 0 {
            let passed = format!("{passed} {noun} passed");
            lines.push(format!("{passed:width$}  {:9}  (bar: {})", "", self.bar));
        }
        for test in self.tests.iter().filter(|test| test.result != Some(How::Passed)) {
            let how = match test.result {
                Some(How::Skipped) => "could not run here",
                Some(_) => "failed",
                None => "did not run: no such test in its program",
            };
            lines.push(format!("{}: {how}", test.test));
        }
        if matches!(self.result, Verdict::Untested) {
            lines.push(format!("not tested here: {}", self.not_tested));
        }
        if lines.is_empty() {
            lines.push(self.what.clone());
        }
        for (place, line) in lines.iter().enumerate() {
            let start = if place == 0 { format!("{:4} {word}", self.id) } else { " ".repeat(13) };
            writeln!(text, "{start} {line}").ok();
        }
    }
}

impl Verdict {
    /// What is written, and in which colour of ECMA-48.
    const fn word(self) -> (&'static str, u8) {
        match self {
            Self::Ok => ("ok", 32),
            Self::Failed => ("FAILED", 31),
            Self::Skipped => ("skipped", 33),
            Self::Long => ("--long", 33),
            Self::Untested => ("-", 2),
        }
    }
}

/// One line for what several tests measured alike: their values side by side.
fn together<'m>(all: impl Iterator<Item = &'m Measured>) -> Vec<Measured> {
    let mut lines: Vec<Measured> = Vec::new();
    for one in all {
        match lines.iter_mut().find(|line| (&line.what, &line.bar) == (&one.what, &one.bar)) {
            None => lines.push(one.clone()),
            Some(line) if line.value.split(", ").any(|value| value == one.value) => {}
            Some(line) => line.value = format!("{}, {}", line.value, one.value),
        }
    }
    lines
}
