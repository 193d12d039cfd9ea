//! `status`, and what happens when nothing at all is typed.

use std::io;
use std::path::{Path, PathBuf};

use super::client::{DEFAULT_CONTROL, Daemon, snapshot, unknown};
use super::output::{DONE, has_colour, print};
use super::{Code, Failure, Outcome};
use crate::status::State;
use crate::status::client::{self, ClientError};
use crate::status::protocol::Request;
use crate::status::text::{self, Colour};

/// Show the state of all connections, or everything about one
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw status\n  s2s-gw status berlin\n  s2s-gw status --quiet berlin && echo up"
)]
pub(super) struct Status {
    /// Only this connection
    name: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print nothing; exit 0 only if what should be up is up
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Status {
    pub(super) fn run(self) -> Outcome {
        show(&self.daemon.control, self.name.as_deref(), self.json, self.quiet)
    }
}

fn show(socket: &Path, name: Option<&str>, json: bool, quiet: bool) -> Outcome {
    let snapshot = snapshot(socket)?;
    let one = match name {
        None => None,
        Some(name) => {
            let found = snapshot.connections.iter().find(|connection| connection.name == name);
            Some(found.ok_or_else(|| unknown(name, &snapshot))?)
        }
    };
    if quiet {
        let is_good = match one {
            Some(connection) => connection.state == State::Up,
            None => snapshot.connections.iter().all(|c| !c.desired_up || c.state == State::Up),
        };
        return if is_good { DONE } else { Err(Failure::silent(Code::Failed)) };
    }
    if json {
        let mut snapshot = snapshot.clone();
        if let Some(name) = name {
            snapshot.connections.retain(|connection| connection.name == name);
        }
        let line =
            serde_json::to_string(&snapshot).map_err(|error| Failure::new(Code::Failed, error))?;
        return print(&format!("{line}\n"));
    }
    let colour = if has_colour(&io::stdout()) { Colour::On } else { Colour::Off };
    print(&match one {
        Some(connection) => text::detail(&snapshot, connection, colour),
        None => text::overview(&snapshot, colour),
    })
}

/// No arguments: what is up if a daemon runs, otherwise what there is to type.
pub(super) fn bare(mut whole: clap::Command) -> Outcome {
    let socket = std::env::var_os("S2S_GW_CONTROL").map(PathBuf::from);
    let socket = socket.unwrap_or_else(|| DEFAULT_CONTROL.into());
    match client::ask(&socket, &Request::Status) {
        Err(ClientError::NotRunning { .. }) => {
            let help = whole.render_help();
            let is_colourful = has_colour(&io::stdout());
            print(&if is_colourful { help.ansi().to_string() } else { help.to_string() })
        }
        _ => show(&socket, None, false, false),
    }
}
