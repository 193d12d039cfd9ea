//! `reload`: put the configuration file in force while the gateway runs, or only say what that would do.
//!
//! ```text
//!   Request::Reload ──► the daemon reads its files, every one ──► the plan, on stdout      exit 0
//!                                                             └─► errors, on stderr        exit 2, nothing was changed
//!                                                             └─► "needs restart: .."      exit 1, nothing was changed
//! ```

use super::client::{Daemon, refused, strange};
use super::output::{complain, print, say};
use super::{Code, Failure, Outcome};
use crate::status::client;
use crate::status::protocol::{Request, Response};
use crate::status::reload::Outcome as Ended;

/// Put the configuration file in force; only what differs changes
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw reload --dry-run\n  s2s-gw reload\n\nA file with errors changes nothing (exit 2)."
)]
pub(super) struct Reload {
    /// Only say what would be done, and what packets it costs
    #[arg(long)]
    dry_run: bool,
    /// Also do what could wait for the next rekey
    #[arg(long)]
    now: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Reload {
    pub(super) fn run(self) -> Outcome {
        let request = Request::Reload { dry_run: self.dry_run, now: self.now };
        let report = match client::ask(&self.daemon.control, &request)? {
            Response::Reload { report } => report,
            Response::Refused { kind, message } => return Err(refused(kind, message)),
            Response::Status { .. }
            | Response::Shown { .. }
            | Response::Explained { .. }
            | Response::Done { .. }
            | Response::Events { .. }
            | Response::Capturing { .. }
            | Response::Packets { .. }
            | Response::Keys { .. } => return Err(strange()),
        };
        let failed = match report.outcome {
            Ended::Applied | Ended::Planned => None,
            Ended::Invalid => Some(Code::Usage),
            Ended::NeedsRestart => Some(Code::Failed),
        };
        let printed = if self.json {
            let json = serde_json::to_string_pretty(&report);
            let json = json.map_err(|error| Failure::new(Code::Failed, error))?;
            print(&format!("{json}\n"))
        } else {
            say(&report.findings);
            match failed {
                Some(_) => {
                    complain(&report.sentence());
                    super::output::DONE
                }
                None => print(&report.text()),
            }
        };
        failed.map_or(printed, |code| Err(Failure::silent(code)))
    }
}
