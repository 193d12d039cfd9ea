//! `cargo xtask robust`: the faults and attacks of docs/robustness.md, what each did, and whether that is within its bar.
//!
//! ```text
//!   docs/robustness.md ─► page.rs ─► rows ─► plan.rs ─► few runs of cargo ─► go.rs ─┬─► passed or not, test by test
//!                                                                                  └─► $ROBUST_MEASURED: what was measured
//!                          report.rs: id, result, measured beside its bar  ◄────────┘
//! ```
//!
//! `cargo xtask test` only looks at the page: that all it cites exists. The tests run there anyway.

#![expect(clippy::print_stdout, reason = "a command line tool talks on stdout")]

mod go;
mod page;
mod plan;
mod report;
#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::page::{Page, Row};
use self::report::Report;
use crate::step::{Counts, workspace};

/// Where the page lies in the checkout.
const PAGE: &str = "docs/robustness.md";

/// What to run, and how to say it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these, such as T19; all of them by default.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Also the tests that take long.
    #[arg(long)]
    long: bool,
    /// JSON on stdout, progress on stderr.
    #[arg(long)]
    json: bool,
}

/// The chore: runs what the page cites, then the table.
pub(crate) fn run(options: &Options) -> ExitCode {
    match held(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The step of `cargo xtask test`: whether the page is true of the checkout.
pub(crate) fn step() -> Result<(Counts, String)> {
    let page = read()?;
    let problems = page.problems(&workspace());
    for problem in &problems {
        println!("  {PAGE}:{problem}");
    }
    let failed = u32::try_from(problems.len())?;
    let counts = Counts { passed: u32::from(failed == 0), failed, ..Counts::default() };
    Ok((counts, page.summary()))
}

fn read() -> Result<Page> {
    let path = workspace().join(PAGE);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(page::parse(&text))
}

fn held(options: &Options) -> Result<bool> {
    let page = read()?;
    let rows = chosen(&page.rows, &options.ids)?;
    let problems = page.problems(&workspace());
    // What is wrong elsewhere on the page does not matter to whoever asks for a few.
    let lines = rows.iter().map(|row| format!("{}: ", row.line));
    for line in lines {
        if let Some(problem) = problems.iter().find(|problem| problem.starts_with(&line)) {
            bail!(
                "{PAGE}:{problem} ({} such problems; cargo xtask test shows all)",
                problems.len()
            );
        }
    }
    let runs = plan::runs(&rows, options.long, &workspace())?;
    let outcome = go::all(&runs)?;
    let report = Report::new(&rows, options.long, &outcome);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.table(wants_colour()));
    }
    Ok(report.held)
}

/// The rows of these ids, or all.
fn chosen<'r>(rows: &'r [Row], ids: &[String]) -> Result<Vec<&'r Row>> {
    let known = |id: &String| rows.iter().any(|row| row.id.eq_ignore_ascii_case(id));
    if let Some(id) = ids.iter().find(|id| !known(id)) {
        bail!("no {id} in {PAGE}; they are called T01 to T55");
    }
    let wanted =
        |row: &&Row| ids.is_empty() || ids.iter().any(|id| row.id.eq_ignore_ascii_case(id));
    Ok(rows.iter().filter(wanted).collect())
}

/// For people at a terminal who did not ask for none (no-color.org).
fn wants_colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}
