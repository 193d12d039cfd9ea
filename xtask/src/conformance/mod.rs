//! `cargo xtask conformance`: whether `docs/conformance.md` accounts for every demand of the RFCs and cites what exists.
//!
//! ```text
//!   docs/conformance.md ─► table.rs ─► rows ─┬─► cited.rs   is every path, function and test there, is a test a test
//!                                            └─► rfc.rs     do rows and the rest add up to the keywords of the text
//!   problems: FILE:LINE: what is wrong          counts: per section and in all
//! ```

#![expect(clippy::print_stdout, reason = "a command line tool talks on stdout")]

mod rfc;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use self::rfc::Keywords;
use self::table::{Document, Section, State};
use crate::cited::Sources;
use crate::step::{Counts, workspace};

/// Where the table lies in the checkout.
const TABLE: &str = "docs/conformance.md";

/// How strict to be.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Options {
    /// Refuse rows that are still planned.
    #[arg(long = "final")]
    last: bool,
}

/// Something wrong, at a line of the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// Line of the table, from 1.
    line: usize,
    what: String,
}

impl Problem {
    fn new(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TABLE}:{}: {}", self.line, self.what)
    }
}

/// What became of the demands of one section, or of all of them. In demands, not in keywords.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    done: usize,
    /// Of those done, the ones that no test is cited for.
    untested: usize,
    differs: usize,
    missing: usize,
    not_applicable: usize,
    planned: usize,
}

impl Tally {
    fn add(&mut self, state: State, tested: bool) {
        match state {
            State::Done => {
                self.done += 1;
                self.untested += usize::from(!tested);
            }
            State::Differs => self.differs += 1,
            State::NotImplemented => self.missing += 1,
            State::NotApplicable => self.not_applicable += 1,
            State::Planned => self.planned += 1,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, untested, differs, missing, not_applicable, planned } = self;
        write!(
            f,
            "{done} done ({untested} of them without a test), {differs} differ, {missing} not implemented, \
             {not_applicable} not applicable, {planned} planned"
        )
    }
}

/// What a check found.
pub(crate) struct Findings {
    problems: Vec<Problem>,
    sections: BTreeMap<Section, Tally>,
    total: Tally,
    /// Of the RFCs of which only some demands are listed.
    selected: Tally,
    /// RFCs whose text is not here, so that nothing was counted.
    unread: Vec<u32>,
}

/// The chore: the table of counts, then the problems.
pub(crate) fn run(options: Options) -> ExitCode {
    match look(options) {
        Ok(findings) => {
            findings.print();
            if findings.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The step of `cargo xtask test`: the problems, and the counts as the note.
pub(crate) fn step() -> Result<(Counts, String)> {
    let findings = look(Options { last: true })?;
    for problem in &findings.problems {
        println!("  {problem}");
    }
    let failed = u32::try_from(findings.problems.len())?;
    let counts = Counts { passed: u32::from(failed == 0), failed, ..Counts::default() };
    let unread = findings.unread_note();
    Ok((counts, [findings.total.to_string(), unread].join("")))
}

fn look(options: Options) -> Result<Findings> {
    let path = workspace().join(TABLE);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let rfcs = std::env::var_os("IPSEC_RFCS")
        .map_or_else(|| workspace().join("../shared/rfc"), PathBuf::from);
    let read = |number: u32| {
        std::fs::read(rfcs.join(format!("rfc{number}.txt")))
            .ok()
            .map(|octets| rfc::keywords(&String::from_utf8_lossy(&octets)))
    };
    Ok(check(&text, &workspace(), read, options.last))
}

/// Checks a table against a checkout and the keywords of each RFC, where they are known.
fn check(text: &str, root: &Path, read: impl Fn(u32) -> Option<Keywords>, last: bool) -> Findings {
    let Document { rows, rest, mut problems } = table::parse(text);
    let mut sources = Sources::new(root);
    let mut sections: BTreeMap<Section, Tally> = BTreeMap::new();
    let (mut total, mut selected) = (Tally::default(), Tally::default());
    for row in &rows {
        let tested = !row.tests.is_empty();
        sections.entry(row.section.clone()).or_default().add(row.state, tested);
        let sum = if row.selected { &mut selected } else { &mut total };
        sum.add(row.state, tested);
        if last && row.state == State::Planned {
            problems.push(Problem::new(row.line, "still planned"));
        }
        let code = row.code.iter().filter_map(|cited| sources.item(cited).err());
        problems.extend(code.map(|what| Problem::new(row.line, what)).collect::<Vec<_>>());
        let tests = row.tests.iter().filter_map(|cited| sources.test(cited).err());
        problems.extend(tests.map(|what| Problem::new(row.line, what)).collect::<Vec<_>>());
    }
    let mut accounted: BTreeMap<u32, Keywords> = BTreeMap::new();
    let mut lines: BTreeMap<Section, usize> = BTreeMap::new();
    let demands = rows.iter().filter(|row| !row.selected);
    let demands = demands.map(|row| (&row.section, &row.levels, row.line));
    let others = rest.iter().filter(|r| !r.selected).map(|r| (&r.section, &r.levels, r.line));
    for (section, levels, line) in demands.chain(others) {
        lines.insert(section.clone(), line);
        let known =
            accounted.entry(section.rfc).or_default().entry(section.path.clone()).or_default();
        for (level, count) in levels {
            *known.entry(level.clone()).or_default() += count;
        }
    }
    let mut unread = Vec::new();
    for (number, mine) in &accounted {
        match read(*number) {
            None => unread.push(*number),
            Some(theirs) => {
                for (path, what) in rfc::differences(mine, &theirs) {
                    let section = Section { rfc: *number, path };
                    let line = lines.get(&section).copied().unwrap_or(1);
                    problems.push(Problem::new(line, format!("RFC {section}: {what}")));
                }
            }
        }
    }
    for r in &rest {
        let sum = if r.selected { &mut selected } else { &mut total };
        sum.not_applicable += r.count();
        sections.entry(r.section.clone()).or_default().not_applicable += r.count();
    }
    problems.sort();
    Findings { problems, sections, total, selected, unread }
}

impl Findings {
    fn unread_note(&self) -> String {
        let names: Vec<_> = self.unread.iter().map(|number| format!("rfc{number}.txt")).collect();
        match &*names {
            [] => String::new(),
            names => format!("; keywords not counted, no {} (IPSEC_RFCS)", names.join(", ")),
        }
    }

    fn print(&self) {
        println!(
            "{:14} {:>5} {:>7} {:>8} {:>8} {:>8}",
            "section", "done", "differs", "not impl", "n/a", "planned"
        );
        for (section, tally) in &self.sections {
            let Tally { done, differs, missing, not_applicable, planned, .. } = tally;
            let section = section.to_string();
            println!(
                "{section:14} {done:>5} {differs:>7} {missing:>8} {not_applicable:>8} {planned:>8}"
            );
        }
        println!("{}{}", self.total, self.unread_note());
        if self.selected != Tally::default() {
            println!("of other RFCs: {}", self.selected);
        }
        for problem in &self.problems {
            println!("{problem}");
        }
        println!("{} problems", self.problems.len());
    }
}
