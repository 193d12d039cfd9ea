//! `doctor`: what is wrong, looked for from the ground up, since what lies above a fault follows from it.
//!
//! ```text
//!   host.rs     host         rights, device, forwarding, others in the way, clock     also without a daemon
//!   (here)      config       all that `check` finds                                    also without a daemon
//!   (here)      daemon       whether it runs, what it warns of
//!   tunnel.rs   path         names, routes, IKE on both ports, ESP, MTU (longest.rs)   for each connection
//!               negotiation  why the last attempt failed, narrowing, PFS
//!               traffic      drops, the way of a sample packet each way, a ping
//!
//!   the first ✗ is the answer; exit 1 if there is one
//! ```

mod host;
mod longest;
mod tunnel;

pub(super) use tunnel::sample;

use std::path::{Path, PathBuf};

use super::client::{Daemon, unknown};
use super::output::{json_line, print};
use super::{Code, DEFAULT_CONFIG, Failure, Outcome, explain};
use crate::config::{Config, Diagnostic, Severity};
use crate::status::client::{self, ClientError};
use crate::status::diagnosis::{Checkup, Finding, Level};
use crate::status::protocol::{Request, Response};
use crate::status::{Snapshot, words};

/// Find out what keeps a tunnel from working, lowest layer first
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw doctor\n  s2s-gw doctor berlin\n  s2s-gw doctor -c s2s-gw.toml --json\n\nSends a few IKE_SA_INIT and echoes. Exit code 0 if nothing fails, 1 if so."
)]
pub(super) struct Doctor {
    /// Only this connection, and what belongs to none
    name: Option<String>,
    /// Configuration file
    #[arg(short, long, value_name = "F", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Doctor {
    pub(super) fn run(self) -> Outcome {
        let found = self.checkup()?;
        let text = if self.json { json_line(&found)? } else { found.text(explain::look()) };
        let printed = print(&text);
        if found.healthy { printed } else { printed.and(Err(Failure::silent(Code::Failed))) }
    }

    /// Of everything that this daemon and this file have.
    pub(super) const fn of_all(config: PathBuf, daemon: Daemon) -> Self {
        Self { name: None, config, json: true, daemon }
    }

    /// All that is found, in order.
    ///
    /// # Errors
    /// No such connection; a daemon of another version.
    pub(super) fn checkup(&self) -> Result<Checkup, Failure> {
        let asked = client::ask(&self.daemon.control, &Request::Status);
        let snapshot = match asked {
            Ok(Response::Status { snapshot }) => Ok(*snapshot),
            Ok(_) => return Err(super::client::strange()),
            Err(error) => Err(error),
        };
        let running = snapshot.as_ref().ok();
        if let (Some(name), Some(snapshot)) = (&self.name, running)
            && !snapshot.connections.iter().any(|connection| connection.name == *name)
        {
            return Err(unknown(name, snapshot));
        }
        let config = Config::load(&self.config);
        let loaded = config.as_ref().ok();
        let mut findings = in_layer("host", host::look(running, loaded));
        findings.extend(in_layer("config", configured(&self.config, &config, running)));
        findings.extend(in_layer("daemon", vec![lives(&snapshot)]));
        if let Some(snapshot) = running {
            findings.extend(in_layer("daemon", warned(snapshot, &findings)));
            let all = &snapshot.connections;
            let chosen = |name: &str| self.name.as_ref().is_none_or(|only| only == name);
            for connection in all.iter().filter(|connection| chosen(&connection.name)) {
                findings.extend(tunnel::look(&self.daemon, snapshot, connection));
            }
        }
        Ok(Checkup::of(ordered(findings), running.is_some()))
    }
}

/// The layers from the ground up.
const LAYERS: [&str; 6] = ["host", "config", "daemon", "path", "negotiation", "traffic"];

/// By connection, each from the ground up; but of several connections the first failure is that of the lowest layer.
fn ordered(mut findings: Vec<Finding>) -> Vec<Finding> {
    let place = |finding: &Finding| {
        let layer = finding.layer.as_deref();
        LAYERS.iter().position(|known| Some(*known) == layer).unwrap_or(LAYERS.len())
    };
    findings.sort_by_key(place);
    findings
}

fn in_layer(layer: &str, findings: Vec<Finding>) -> Vec<Finding> {
    findings
        .into_iter()
        .map(|finding| Finding { layer: Some(layer.to_owned()), ..finding })
        .collect()
}

/// What `check` finds.
fn configured(
    file: &Path,
    config: &Result<Config, crate::config::Report>,
    running: Option<&Snapshot>,
) -> Vec<Finding> {
    let stage = "check";
    let shown = file.display();
    if !file.exists() && running.is_some() {
        let message = format!("there is no {shown}; give the file with `-c FILE`");
        return vec![Finding::skipped(stage, message)];
    }
    let all = match config {
        Ok(config) => &config.warnings,
        Err(report) => &report.diagnostics,
    };
    let mut findings: Vec<Finding> = all.iter().map(|one| found(stage, one)).collect();
    if config.is_ok() {
        let connections = config.as_ref().map_or(0, |config| config.connections.len());
        let plural = if connections == 1 { "" } else { "s" };
        let message = format!("{shown}: no errors, {connections} connection{plural}");
        findings.insert(0, Finding::passed(stage, message));
    }
    findings
}

fn found(stage: &str, one: &Diagnostic) -> Finding {
    let level = match one.severity() {
        Severity::Error => Level::Failed,
        Severity::Warning => Level::Warned,
    };
    let place = one.labels.first().map(|label| {
        let (line, _) = label.place.line_column();
        format!("{}:{line}: ", label.place.path().display())
    });
    let message = format!("{}{}", place.unwrap_or_default(), one.message);
    let id = one.code.id();
    let fix = one.fix.clone().or_else(|| one.help.clone());
    Finding::new(level, stage, message)
        .code(id)
        .fix(fix.unwrap_or_else(|| format!("s2s-gw error {id}")))
}

/// Whether the daemon answers.
fn lives(snapshot: &Result<Snapshot, ClientError>) -> Finding {
    let stage = "daemon";
    match snapshot {
        Ok(snapshot) => {
            let up = words::seconds(snapshot.uptime_seconds);
            let Snapshot { version, pid, gateway, .. } = snapshot;
            Finding::passed(stage, format!("{gateway}, s2s-gw {version}, pid {pid}, up {up}"))
        }
        Err(error @ ClientError::NotRunning { .. }) => {
            let message = format!("{error}; host and configuration alone were looked at");
            Finding::failed(stage, message)
                .fix("systemctl start s2s-gw, or `s2s-gw run`; its log says why it ended")
        }
        Err(error) => Finding::failed(stage, error.to_string()),
    }
}

/// What the daemon warns of, in its own words, unless that was found here already.
fn warned(snapshot: &Snapshot, findings: &[Finding]) -> Vec<Finding> {
    let known = |code: &str| findings.iter().any(|one| one.code.as_deref() == Some(code));
    let all = snapshot.warning_details.iter().filter(|warning| !known(&warning.code));
    all.map(|warning| {
        let message = warning.message.clone().unwrap_or_else(|| warning.title.clone());
        Finding::warned("warning", message).code(warning.code.clone()).fix(warning.fix.clone())
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_in_order_whatever_the_connection() {
        let of = |layer: &str, name: &str| {
            let mut all = in_layer(layer, vec![Finding::failed("x", name)]);
            all.pop().expect("one")
        };
        let all = vec![of("path", "a"), of("traffic", "a"), of("path", "b"), of("host", "h")];
        let names: Vec<String> = ordered(all).into_iter().map(|one| one.message).collect();
        assert_eq!(names, ["h", "a", "b", "a"]);
    }

    #[test]
    fn errors_of_a_file_fail_and_warnings_do_not() {
        let bad = Config::load_text(Path::new("x.toml"), "[gateway]\nnmae = \"x\"\n");
        let here = Path::new("/dev/null");
        let all = configured(here, &bad, None);
        assert!(all.iter().any(|one| one.level == Level::Failed && one.code.is_some()), "{all:?}");
        assert!(all[0].message.contains("x.toml:2"), "{all:?}");
        let good = Config::load_text(Path::new("x.toml"), "");
        let all = configured(here, &good, None);
        assert_eq!(all[0].level, Level::Passed);
    }
}
