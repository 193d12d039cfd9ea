//! `cargo xtask interop`: the namespace tests `interop/`, all of them, as a matrix.
//!
//! ```text
//!   cargo test --test netns -- FILTER   with INTEROP=all ──► target/interop.jsonl, a line for each row ──► table
//!
//!                                                   ours-to-swan                     swan-to-ours
//!                                             v4        v6        nat          v4        v6        nat
//!   suite                                   0  5 20   0  5 20   0  5 20      0  5 20   0  5 20   0  5 20      percent lost
//!   aes256gcm16-prfsha256-curve25519+..     5  5  5   5  5  5   5  5  5      5  5  3!  5  5  5   5  5  5      stages passed, of 5
//! ```

#![expect(clippy::print_stdout, reason = "a command line tool talks on stdout")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::peers::is_root;
use crate::step::{Show, cargo, workspace};

/// Which rows.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only rows whose name contains it: `v6/loss-5`, `chacha20`, `swan-to-ours`.
    #[arg(default_value = "")]
    filter: String,
    /// Prints JSON instead of the table.
    #[arg(long)]
    json: bool,
}

/// One row, as the test writes it.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    suite: String,
    way: String,
    loss: u32,
    roles: String,
    passed: Vec<String>,
    error: Option<String>,
    seconds: f32,
}

const STAGES: usize = 5;
const ROLES: [&str; 2] = ["ours-to-swan", "swan-to-ours"];
const WAYS: [&str; 3] = ["v4", "v6", "nat"];
const LOSSES: [u32; 3] = [0, 5, 20];

pub(crate) fn run(options: &Options) -> ExitCode {
    match matrix(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn matrix(options: &Options) -> Result<bool> {
    ensure!(is_root(), "namespaces and TUN devices in them need root");
    let results = workspace().join("target/interop.jsonl");
    if results.exists() {
        fs::remove_file(&results)?;
    }
    let file = results.to_string_lossy().into_owned();
    let env = [("S2S_NETNS", "1"), ("INTEROP", "all"), ("INTEROP_RESULTS", file.as_str())];
    let args = ["test", "-p", "gateway", "--test", "netns", "--", options.filter.as_str()];
    let counts = cargo(&args, &env, Show::EveryTest)?;
    let text = fs::read_to_string(&results).context("no row ran")?;
    let rows = text.lines().map(serde_json::from_str).collect::<Result<Vec<Row>, _>>()?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        println!("{}", table(&rows));
    }
    Ok(counts.failed == 0)
}

fn table(rows: &[Row]) -> String {
    let suites: BTreeSet<&str> = rows.iter().map(|row| row.suite.as_str()).collect();
    let width = suites.iter().map(|suite| suite.len()).max().unwrap_or(0);
    let mut text = format!("{:width$}", "");
    for roles in ROLES {
        let _ = write!(text, "   {roles:^32}");
    }
    let _ = write!(text, "\n{:width$}", "");
    for _ in ROLES {
        text.push_str("   ");
        for way in WAYS {
            let _ = write!(text, "{way:^11}");
        }
    }
    let _ = write!(text, "\n{:width$}", "percent lost");
    for _ in ROLES {
        text.push_str("   ");
        for _ in WAYS {
            for loss in LOSSES {
                let _ = write!(text, "{loss:>3}");
            }
            text.push_str("  ");
        }
    }
    text.push('\n');
    for suite in suites {
        let _ = write!(text, "{suite:width$}");
        for roles in ROLES {
            text.push_str("   ");
            for way in WAYS {
                for loss in LOSSES {
                    let row = rows.iter().find(|row| {
                        let place = (row.suite.as_str(), row.way.as_str(), row.roles.as_str());
                        place == (suite, way, roles) && row.loss == loss
                    });
                    let _ = write!(text, "{:>3}", row.map_or("-".into(), cell));
                }
                text.push_str("  ");
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    let whole = rows.iter().filter(|row| row.error.is_none()).count();
    let seconds: f32 = rows.iter().map(|row| row.seconds).sum();
    let _ = writeln!(
        text,
        "{whole} of {} rows passed all {STAGES} stages: up, child rekeys, IKE rekeys, delete and reconnect, DPD ({:.0} s each)",
        rows.len(),
        f64::from(seconds) / f64::from(u32::try_from(rows.len().max(1)).unwrap_or(u32::MAX))
    );
    for row in rows {
        if let Some(error) = &row.error {
            let (suite, way, loss, roles) = (&row.suite, &row.way, row.loss, &row.roles);
            let _ = writeln!(text, "FAILED {suite}/{way}/loss-{loss}/{roles}: {error}");
        }
    }
    text
}

/// How many stages passed; with a mark if not all.
fn cell(row: &Row) -> String {
    let count = row.passed.len();
    if row.error.is_none() { count.to_string() } else { format!("{count}!") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_cell() {
        let row = |way: &str, loss, roles: &str, passed: usize| Row {
            suite: "aes".into(),
            way: way.into(),
            loss,
            roles: roles.into(),
            passed: vec!["up".into(); passed],
            error: (passed < STAGES).then(|| "waited".into()),
            seconds: 2.0,
        };
        let text = table(&[row("v4", 0, ROLES[0], 5), row("nat", 20, ROLES[1], 2)]);
        let cells: Vec<_> = text.lines().nth(3).unwrap().split_whitespace().skip(1).collect();
        assert_eq!(cells.len(), 18);
        assert_eq!((cells[0], cells[1], cells[17]), ("5", "-", "2!"));
        assert!(text.contains("1 of 2 rows"));
        assert!(text.contains("FAILED aes/nat/loss-20/swan-to-ours: waited"));
    }
}
