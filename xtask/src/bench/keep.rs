//! What stays of a measurement: its samples in a file, and what got worse against such a file.
//!
//! ```text
//!   cargo xtask bench WHAT --json base.json        before a change
//!   cargo xtask bench WHAT --against base.json     after it: a line for each median that is worse by more than 10 %
//! ```
//!
//! Machines differ, so that a baseline is worth something only on the machine that made it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::print;
use super::table::number;
use crate::step::workspace;

/// Where results go to and what they are compared with.
#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// Where the samples go [default: target/bench/WHAT.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Names what got worse by more than 10 % against the JSON of an earlier run, and fails if something did.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

/// Whether more is better; `Neither` is only for the curious.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Better {
    More,
    Less,
    Neither,
}

/// The medians of a report and where they come from, as far as reports are compared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept {
    pub(crate) machine: Machine,
    pub(crate) seconds: u32,
    pub(crate) medians: Vec<Median>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Median {
    /// Whose it is and what it is: the same in both reports.
    pub(crate) name: String,
    pub(crate) better: Better,
    pub(crate) value: f64,
}

impl Keep {
    /// Reads what to compare with, before anything is measured: a mistake in the name should not cost an hour.
    pub(crate) fn earlier<R: Report>(
        &self,
        read: impl FnOnce(&Path) -> Result<R>,
    ) -> Result<Option<Kept>> {
        Ok(self.against.as_deref().map(read).transpose()?.map(|report| report.kept()))
    }

    /// Writes the samples of the measurement `what`.
    pub(crate) fn write(&self, what: &str, json: &str) -> Result<()> {
        let file = self.json.clone();
        let file = file.unwrap_or_else(|| workspace().join(format!("target/bench/{what}.json")));
        write(&file, json)
    }
}

/// What can be compared with an earlier one of its kind.
pub(crate) trait Report {
    /// Its medians.
    fn kept(&self) -> Kept;
}

impl Kept {
    /// Whether something in `now` is worse; tells what, or that nothing is.
    pub(crate) fn is_beaten_by(&self, now: &Self) -> bool {
        if (&self.machine, self.seconds) != (&now.machine, now.seconds) {
            eprintln!(
                "the earlier run was on another machine or of another length; read the difference with care"
            );
        }
        let worse = self.worse(now);
        let none = "nothing got worse by more than 10 %\n".to_owned();
        print(&if worse.is_empty() { none } else { worse.concat() });
        !worse.is_empty()
    }

    /// A line for each median that is worse by more than 10 % than here.
    pub(crate) fn worse(&self, now: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for Median { name, better, value: new } in &now.medians {
            let earlier = self.medians.iter().find(|earlier| earlier.name == *name);
            let Some(Median { value: old, .. }) = earlier else { continue };
            let loss = match better {
                Better::More => (old - new) / old,
                Better::Less => (new - old) / old,
                Better::Neither => continue,
            };
            if loss > TOLERANCE {
                let (old, new, percent) = (number(*old), number(*new), loss * 100.0);
                lines.push(format!("worse: {name:44} {old:>7} -> {new:>7}  {percent:.0} %\n"));
            }
        }
        lines
    }
}

/// Writes a file, and its directory if there is none.
pub(crate) fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

const TOLERANCE: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(medians: &[(&str, Better, f64)]) -> Kept {
        let machine = Machine { processor: "Abacus".into(), cores: 2, kernel: "6.18".into() };
        let median = |(name, better, value): &(&str, Better, f64)| Median {
            name: (*name).into(),
            better: *better,
            value: *value,
        };
        Kept { machine, seconds: 2, medians: medians.iter().map(median).collect() }
    }

    #[test]
    fn only_what_is_worse_by_a_tenth_is_told() {
        let with = |rate, cpu| kept(&[("rate", Better::More, rate), ("cpu", Better::Less, cpu)]);
        assert!(with(8.0, 1.0).worse(&with(7.3, 1.09)).is_empty());
        assert!(with(8.0, 1.0).worse(&with(16.0, 0.5)).is_empty(), "better is not worse");
        let slower = with(8.0, 1.0).worse(&with(7.1, 1.0)).concat();
        assert!(slower.contains("rate") && slower.contains("11 %"), "{slower}");
        assert!(with(8.0, 1.0).worse(&with(8.0, 1.2)).concat().contains("cpu"));
        let unknown = kept(&[("other", Better::More, 1.0)]);
        assert!(unknown.worse(&with(1.0, 1.0)).is_empty(), "nothing to compare with");
        let curious = |value| kept(&[("lost", Better::Neither, value)]);
        assert!(curious(1.0).worse(&curious(9.0)).is_empty());
    }
}
