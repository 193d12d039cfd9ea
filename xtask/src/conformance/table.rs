//! The table as text. Lines that begin with `| NNNN-` are demands, those that begin with `| NNNN §` account for demands
//! on things that are not there; every other line is prose.
//!
//! ```text
//!   | 7296-2.1-03 | MUST NOT | what is demanded | `path.rs::Type::function` | `path.rs::tests::name` | differs: why |
//!   | 7296 §2.16  | 7 MUST, MUST NOT | EAP | why it does not apply |
//!   ## Other RFCs: a selection                     below a heading with this word the keywords are not counted
//! ```
//!
//! A code or test cell cites between backticks; what is not between backticks is a remark.

use std::collections::BTreeMap;
use std::fmt;

use super::Problem;
use super::rfc::{Levels, is_counted};
use crate::cited::cited;

/// A section of an RFC.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Section {
    pub(super) rfc: u32,
    /// `[2, 25, 1]` for §2.25.1.
    pub(super) path: Vec<u32>,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path: Vec<String> = self.path.iter().map(u32::to_string).collect();
        f.pad(&format!("{} §{}", self.rfc, path.join(".")))
    }
}

/// What became of a demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Done,
    /// Met in another way or in part, on purpose.
    Differs,
    NotImplemented,
    NotApplicable,
    /// Being built.
    Planned,
}

/// A demand.
pub(super) struct Row {
    pub(super) line: usize,
    pub(super) section: Section,
    pub(super) levels: Levels,
    pub(super) code: Vec<String>,
    pub(super) tests: Vec<String>,
    pub(super) state: State,
    /// One of some demands of its RFC, not of all.
    pub(super) selected: bool,
}

/// Demands that do not apply, by section.
pub(super) struct Rest {
    pub(super) line: usize,
    pub(super) section: Section,
    pub(super) levels: Levels,
    /// As in [`Row`].
    pub(super) selected: bool,
}

impl Rest {
    /// How many keywords it accounts for.
    pub(super) fn count(&self) -> usize {
        self.levels.values().sum()
    }
}

/// The whole table.
#[derive(Default)]
pub(super) struct Document {
    pub(super) rows: Vec<Row>,
    pub(super) rest: Vec<Rest>,
    pub(super) problems: Vec<Problem>,
}

/// How the heading of a part ends whose rows are some demands of their RFCs, and not all.
const SELECTION: &str = ": a selection";

pub(super) fn parse(text: &str) -> Document {
    let mut document = Document::default();
    let mut last: BTreeMap<Section, u32> = BTreeMap::new();
    let mut selected = false;
    for (line, content) in (1..).zip(text.lines()) {
        if let Some(heading) = content.strip_prefix("## ") {
            selected = heading.ends_with(SELECTION);
        }
        let Some(inner) = content.strip_prefix("| ").and_then(|rest| rest.strip_suffix(" |"))
        else {
            continue;
        };
        let cells: Vec<&str> = inner.split(" | ").map(str::trim).collect();
        let first = cells.first().copied().unwrap_or_default();
        if !first.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let outcome = if first.contains('§') {
            parse_rest(line, &cells).map(|rest| document.rest.push(Rest { selected, ..rest }))
        } else {
            parse_row(line, &cells, &mut last)
                .map(|row| document.rows.push(Row { selected, ..row }))
        };
        if let Err(what) = outcome {
            document.problems.push(Problem::new(line, what));
        }
    }
    document
}

fn parse_row(
    line: usize,
    cells: &[&str],
    last: &mut BTreeMap<Section, u32>,
) -> Result<Row, String> {
    let &[id, level, demand, code, test, state] = cells else {
        return Err(format!("a demand has 6 cells, not {}", cells.len()));
    };
    let (section, number) = parse_id(id)?;
    let before = last.insert(section.clone(), number).unwrap_or(0);
    if number != before + 1 {
        return Err(format!("`{id}` follows number {before:02} of its section"));
    }
    if demand.is_empty() {
        return Err(format!("`{id}` does not say what is demanded"));
    }
    let (state, why) = parse_state(state)?;
    let (code, tests) = (cited(code), cited(test));
    if state != State::Done && why.is_empty() {
        return Err(format!("`{id}` does not say why"));
    }
    if state == State::Done && code.is_empty() {
        return Err(format!("`{id}` is done, but where?"));
    }
    if state == State::Done && test.trim_matches(['-', ' ']).is_empty() {
        return Err(format!("`{id}` is done, but has neither a test nor a word why not"));
    }
    let levels = parse_levels(level)?;
    Ok(Row { line, section, levels, code, tests, state, selected: false })
}

fn parse_rest(line: usize, cells: &[&str]) -> Result<Rest, String> {
    let &[section, levels, what, why] = cells else {
        return Err(format!("what does not apply has 4 cells, not {}", cells.len()));
    };
    if what.is_empty() || why.is_empty() {
        return Err("what does not apply needs a name and a reason".into());
    }
    let (rfc, path) = section.split_once(" §").ok_or("a section is written `7296 §2.16`")?;
    let (section, levels) = (parse_section(rfc, path)?, parse_levels(levels)?);
    Ok(Rest { line, section, levels, selected: false })
}

/// `7296-2.1-03`
fn parse_id(id: &str) -> Result<(Section, u32), String> {
    let bad = || format!("`{id}` is not an id such as `7296-2.1-03`");
    let [rfc, path, number] = *id.split('-').collect::<Vec<_>>() else { return Err(bad()) };
    let number = number.parse().map_err(|_| bad())?;
    Ok((parse_section(rfc, path)?, number))
}

fn parse_section(rfc: &str, path: &str) -> Result<Section, String> {
    let bad = |_| format!("`{rfc}` §`{path}` is not a section");
    let rfc = rfc.parse().map_err(bad)?;
    let path = path.split('.').map(str::parse).collect::<Result<_, _>>().map_err(bad)?;
    Ok(Section { rfc, path })
}

/// `MUST`, `2 MUST, SHOULD NOT`; `MAY` counts for nothing.
fn parse_levels(text: &str) -> Result<Levels, String> {
    let mut levels = Levels::new();
    for part in text.split(", ") {
        let (count, level) = match part.split_once(' ') {
            Some((number, level)) if number.bytes().all(|b| b.is_ascii_digit()) => {
                (number.parse().map_err(|_| format!("`{number}` is not a number"))?, level)
            }
            _ => (1, part),
        };
        if is_counted(level) {
            *levels.entry(level.to_owned()).or_default() += count;
        } else if level != "MAY" && level != "OPTIONAL" {
            return Err(format!("`{level}` is not a level of RFC 2119"));
        }
    }
    Ok(levels)
}

fn parse_state(text: &str) -> Result<(State, &str), String> {
    let (word, why) = text.split_once(':').map_or((text, ""), |(word, why)| (word, why.trim()));
    let state = match word {
        "done" => State::Done,
        "differs" => State::Differs,
        "not implemented" => State::NotImplemented,
        "not applicable" => State::NotApplicable,
        "planned" => State::Planned,
        _ => return Err(format!("`{word}` is not a state")),
    };
    Ok((state, why))
}
