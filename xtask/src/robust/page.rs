//! The page as text: a row is a line that begins with `| T` and a digit; every other line is prose.
//!
//! ```text
//!   | T19 | what is sent or broken | bar | `esp/src/tests/damage.rs::name`, `netns:suite`; long: `N=9 esp/..::name` | what is not tested |
//!     id                                   tests; behind `long:` only with --long; NAME=VALUE before one is its environment
//! ```
//!
//! A test is cited as in docs/conformance.md, or is `xtask:bench flood`, a chore that fails if it misses its goal, or `bench:FILE`, a
//! benchmark that does.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Parser as _;

use crate::Arguments;
use crate::cited::{Sources, cited};

/// The last id, and the one among them that is not given.
const LAST: u8 = 55;
const NOT_GIVEN: u8 = 13;

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) rows: Vec<Row>,
    /// Lines that are no rows though they look like it, as `LINE: what`.
    broken: Vec<String>,
}

/// A fault or an attack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) line: usize,
    pub(super) id: String,
    /// What is sent or broken.
    pub(super) what: String,
    pub(super) bar: String,
    pub(super) tests: Vec<Cited>,
    /// What of it is not tested here, and why; empty if all is.
    pub(super) gap: String,
}

/// A test, as the page names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cited {
    /// Without its environment.
    pub(super) name: String,
    pub(super) env: Vec<(String, String)>,
    pub(super) long: bool,
}

pub(super) fn parse(text: &str) -> Page {
    let mut page = Page::default();
    for (line, content) in (1..).zip(text.lines()) {
        let Some(inner) = content.strip_prefix("| ").and_then(|rest| rest.strip_suffix(" |"))
        else {
            continue;
        };
        if !inner.starts_with('T') || !inner.as_bytes().get(1).is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let cells: Vec<&str> = inner.split(" | ").map(str::trim).collect();
        match cells[..] {
            [id, what, bar, tests, gap] => page.rows.push(Row {
                line,
                id: id.into(),
                what: what.into(),
                bar: bar.into(),
                tests: tests_of(tests),
                gap: gap.trim_matches('-').into(),
            }),
            _ => page.broken.push(format!("{line}: a row has 5 cells, not {}", cells.len())),
        }
    }
    page
}

fn tests_of(cell: &str) -> Vec<Cited> {
    let (quick, long) = cell.split_once("long:").unwrap_or((cell, ""));
    let both = [(quick, false), (long, true)];
    both.iter()
        .flat_map(|(part, long)| cited(part).into_iter().map(|text| cite(&text, *long)))
        .collect()
}

/// `NAME=VALUE NAME=VALUE test`
fn cite(text: &str, long: bool) -> Cited {
    let mut cited = Cited { name: String::new(), env: Vec::new(), long };
    let mut rest = text;
    while let Some((word, behind)) = rest.split_once(' ')
        && let Some((name, value)) = word.split_once('=')
    {
        cited.env.push((name.into(), value.into()));
        rest = behind;
    }
    cited.name = rest.into();
    cited
}

impl Page {
    /// What is wrong with it, seen from a checkout: `LINE: what`.
    pub(super) fn problems(&self, root: &Path) -> Vec<String> {
        let mut problems = self.broken.clone();
        let mut sources = Sources::new(root);
        let mut missing: BTreeSet<String> = (1..=LAST)
            .filter(|number| *number != NOT_GIVEN)
            .map(|number| format!("T{number:02}"))
            .collect();
        for row in &self.rows {
            let Row { line, id, .. } = row;
            if !missing.remove(id) {
                problems.push(format!("{line}: {id} is there twice or not one of T01 to T{LAST}"));
            }
            if row.what.is_empty() || row.bar.is_empty() {
                problems.push(format!("{line}: {id} does not say what it is or its bar"));
            }
            if row.tests.is_empty() && row.gap.is_empty() {
                problems.push(format!("{line}: {id} has neither a test nor a word why not"));
            }
            for test in &row.tests {
                let there = match test.name.strip_prefix("xtask:") {
                    Some(chore) => is_chore(chore),
                    None => match test.name.strip_prefix("bench:") {
                        Some(path) => sources.item(path),
                        None => sources.test(&test.name),
                    },
                };
                problems.extend(there.err().map(|what| format!("{line}: {what}")));
            }
        }
        problems.extend(missing.iter().map(|id| format!("1: no row for {id}")));
        problems
    }

    /// How many are tested.
    pub(super) fn summary(&self) -> String {
        let tested = self.rows.iter().filter(|row| !row.tests.is_empty()).count();
        let whole = self.rows.iter().filter(|row| row.gap.is_empty()).count();
        let tests: BTreeSet<_> = self.rows.iter().flat_map(|row| &row.tests).collect();
        format!(
            "{} faults and attacks, {tested} with tests, {whole} without a gap, {} tests",
            self.rows.len(),
            tests.len()
        )
    }
}

/// Whether `cargo xtask` knows these words.
fn is_chore(words: &str) -> Result<(), String> {
    let words = std::iter::once("xtask").chain(words.split(' '));
    Arguments::try_parse_from(words.clone())
        .map(drop)
        .map_err(|_| format!("cargo {} is no chore", words.collect::<Vec<_>>().join(" ")))
}
