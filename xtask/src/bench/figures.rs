//! Figures with goals: what was measured beside what was promised.
//!
//! ```text
//!   { "schema": "s2s-gw/bench-figures/1", "bench": "scale", "about": "..", "machine": {..}, "rounds": 3, "seconds": 5,
//!     "figures": [ { "key": "memory_1", "title": "peak memory, 1 tunnel", "unit": "MB", "better": "less",
//!                    "goal": { "at_most": 16.0 }, "median": 7.1, "samples": [7.1, 7.0, 7.1] }, .. ] }
//!
//!   peak memory, 1 tunnel          7.10 MB     7.00 ..  7.10     <= 16    ok
//! ```

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::keep::{self, Better, Keep, Kept, Median};
use super::machine::{self, Machine};
use super::print;
use super::report::{median, sorted};
use super::table::number;

/// The figures of one measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    schema: String,
    bench: String,
    /// What was done, in a sentence.
    about: String,
    machine: Machine,
    rounds: u32,
    seconds: u32,
    #[serde(rename = "figures")]
    all: Vec<Figure>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    key: String,
    title: String,
    unit: String,
    better: Better,
    goal: Option<Goal>,
    median: f64,
    /// In the order of the rounds.
    samples: Vec<f64>,
}

/// What was promised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "<= {most}"),
            Self::AtLeast(least) => write!(f, ">= {least}"),
        }
    }
}

/// A figure of which nothing is measured yet.
pub(crate) fn figure(key: &str, title: impl Into<String>, unit: &str, better: Better) -> Figure {
    let (key, title, unit) = (key.into(), title.into(), unit.into());
    Figure { key, title, unit, better, goal: None, median: 0.0, samples: Vec::new() }
}

impl Figure {
    /// With something promised.
    pub(crate) fn goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    fn misses(&self) -> bool {
        !self.samples.is_empty() && self.goal.is_some_and(|goal| !goal.is_met(self.median))
    }
}

impl Figures {
    /// Nothing measured yet; the table has the figures in this order.
    pub(crate) fn new(
        bench: &str,
        about: String,
        (rounds, seconds): (u32, u32),
        all: Vec<Figure>,
    ) -> Result<Self> {
        let machine = machine::describe()?;
        let (schema, bench) = (SCHEMA.into(), bench.into());
        Ok(Self { schema, bench, about, machine, rounds, seconds, all })
    }

    /// Reads what [`Figures::finish`] keeps, if it is of the same measurement.
    pub(crate) fn read(file: &Path, bench: &str) -> Result<Self> {
        let name = file.display();
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        let figures: Self =
            serde_json::from_str(&text).with_context(|| format!("{name} is not such a report"))?;
        ensure!(
            figures.schema == SCHEMA && figures.bench == bench,
            "{name} is of another kind: {} {}",
            figures.schema,
            figures.bench
        );
        Ok(figures)
    }

    /// Takes a sample of the figure with this key.
    ///
    /// # Panics
    /// If there is none: a mistake of the measurement that its first run shows.
    pub(crate) fn note(&mut self, key: &str, value: f64) {
        let figure = self.all.iter_mut().find(|figure| figure.key == key);
        let figure = figure.unwrap_or_else(|| panic!("no figure {key}"));
        eprint!("  {key} {}", number(value));
        figure.samples.push(value);
        figure.median = median(figure.samples.clone()).unwrap_or_default();
    }

    /// The newest sample.
    pub(crate) fn last(&self, key: &str) -> Option<f64> {
        self.all.iter().find(|figure| figure.key == key)?.samples.last().copied()
    }

    /// Keeps what is measured so far.
    pub(crate) fn keep(&self, keep: &Keep) -> Result<()> {
        eprintln!();
        keep.write(&self.bench, &(serde_json::to_string_pretty(self)? + "\n"))
    }

    /// Prints the table and what got worse; fails if a goal is missed or something got worse.
    pub(crate) fn finish(&self, earlier: Option<&Kept>) -> ExitCode {
        print(&self.table());
        let worse = earlier.is_some_and(|earlier| earlier.is_beaten_by(&keep::Report::kept(self)));
        let missed = self.all.iter().any(Figure::misses);
        if worse || missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    /// Every figure for people.
    fn table(&self) -> String {
        let Self { about, machine, rounds, seconds, .. } = self;
        let mut text = format!(
            "{about}\n{}, {} cores, Linux {}; medians of {rounds} x {seconds} s\n\n",
            machine.processor, machine.cores, machine.kernel
        );
        let wide = self.all.iter().map(|figure| figure.title.len()).max().unwrap_or(0);
        writeln!(text, "{:wide$}  {:>16}  {:>19}  {:>8}", "", "measured", "of", "goal").ok();
        for figure in &self.all {
            let Figure { title, unit, median, .. } = figure;
            let sorted = sorted(figure.samples.clone());
            let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else {
                writeln!(text, "{title:wide$}  {:>16}", "not measured").ok();
                continue;
            };
            let measured = format!("{} {unit:8}", number(*median));
            let of = format!("{:>7} .. {:>7}", number(*least), number(*most));
            let goal = figure.goal.map(|goal| goal.to_string()).unwrap_or_default();
            let verdict = match (figure.goal, figure.misses()) {
                (None, _) => "",
                (Some(_), false) => "  ok",
                (Some(_), true) => "  MISSED",
            };
            let line = format!("{title:wide$}  {measured:>16}  {of:>19}  {goal:>8}{verdict}");
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

impl keep::Report for Figures {
    fn kept(&self) -> Kept {
        let measured = self.all.iter().filter(|figure| !figure.samples.is_empty());
        let medians = measured.map(|figure| Median {
            name: figure.key.clone(),
            better: figure.better,
            value: figure.median,
        });
        let medians = medians.collect();
        Kept { machine: self.machine.clone(), seconds: self.seconds, medians }
    }
}

const SCHEMA: &str = "s2s-gw/bench-figures/1";

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let all = vec![
            figure("memory", "peak memory", "MB", Better::Less).goal(Goal::AtMost(16.0)),
            figure("rate", "TCP, one stream", "Gbit/s", Better::More),
            figure("share", "what is left", "%", Better::More).goal(Goal::AtLeast(80.0)),
        ];
        Figures::new("scale", "One and many.".into(), (3, 5), all).unwrap()
    }

    #[test]
    fn a_line_has_the_median_and_the_goal_beside_it() {
        let mut figures = figures();
        for value in [9.0, 7.0, 8.0] {
            figures.note("memory", value);
        }
        figures.note("share", 79.0);
        let table = figures.table();
        let line = |title: &str| {
            let line = table.lines().find(|line| line.starts_with(title)).unwrap();
            line[title.len()..].split_whitespace().collect::<Vec<_>>()
        };
        assert_eq!(line("peak memory"), ["8.00", "MB", "7.00", "..", "9.00", "<=", "16", "ok"]);
        assert_eq!(line("TCP, one stream"), ["not", "measured"]);
        assert_eq!(line("what is left").last(), Some(&"MISSED"));
        assert_eq!(figures.last("memory"), Some(8.0));
    }

    #[test]
    fn a_missed_goal_fails_and_one_that_nothing_was_measured_for_does_not() {
        let mut figures = figures();
        assert_eq!(figures.finish(None), ExitCode::SUCCESS);
        figures.note("share", 80.0);
        assert_eq!(figures.finish(None), ExitCode::SUCCESS);
        figures.note("memory", 17.0);
        assert_eq!(figures.finish(None), ExitCode::FAILURE);
    }

    #[test]
    fn only_its_own_kind_is_read_again() {
        let mut figures = figures();
        figures.note("rate", 7.5);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("scale.json");
        fs::write(&file, serde_json::to_string(&figures).unwrap()).unwrap();
        assert_eq!(Figures::read(&file, "scale").unwrap(), figures);
        let told = Figures::read(&file, "flood").unwrap_err().to_string();
        assert!(told.contains("another kind"), "{told}");
        let kept = keep::Report::kept(&figures);
        assert_eq!(kept.medians.len(), 1, "what was not measured is not compared");
    }
}
