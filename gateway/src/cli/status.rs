//! `status`, and what happens when nothing at all is typed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::client::{DEFAULT_CONTROL, Daemon, snapshot, unknown};
use super::output::{DONE, has_colour, json_line, print};
use super::{Code, Failure, Outcome, screen};
use crate::status::client::{self, ClientError};
use crate::status::protocol::Request;
use crate::status::text::{self, Colour, Look};
use crate::status::{ConnectionStatus, Snapshot, State};

/// Show the state of all connections, or everything about one
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw status\n  s2s-gw status berlin\n  s2s-gw status --watch=5\n  s2s-gw status --plain | cut -f 1,2\n  s2s-gw status --quiet berlin && echo up\n\nOn a terminal --watch takes the whole screen, with charts; `?` shows its keys."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(super) struct Status {
    /// Only this connection
    name: Option<String>,
    /// Print one JSON object
    #[arg(long, conflicts_with_all = ["plain", "quiet"])]
    json: bool,
    /// Print a line for each connection, with tabs between
    #[arg(long, conflicts_with = "quiet")]
    plain: bool,
    /// Again and again; every second or so many
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1",
        value_parser = clap::value_parser!(u16).range(1..=3600),
        conflicts_with = "quiet"
    )]
    watch: Option<u16>,
    /// Print nothing; exit 0 only if what should be up is up
    #[arg(short, long)]
    quiet: bool,
    /// All connections, as without NAME
    #[arg(long, conflicts_with = "name")]
    all: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Plain,
}

impl Status {
    pub(super) fn run(self) -> Outcome {
        let (socket, name) = (&self.daemon.control, self.name.as_deref());
        let form = match (self.json, self.plain) {
            (true, _) => Form::Json,
            (_, true) => Form::Plain,
            (false, false) => Form::Text,
        };
        if self.quiet {
            return judge(socket, name);
        }
        match self.watch {
            None => print(&shown(socket, name, form)?),
            Some(seconds) => {
                let pause = Duration::from_secs(seconds.into());
                #[cfg(feature = "watch")]
                if form == Form::Text && super::watch::is_possible() {
                    return super::watch::run(socket, name, pause);
                }
                screen::watch(pause, form != Form::Text, || shown(socket, name, form))
            }
        }
    }
}

/// 0 only if what should be up is up.
fn judge(socket: &Path, name: Option<&str>) -> Outcome {
    let snapshot = snapshot(socket)?;
    let is_good = match name {
        Some(name) => one(&snapshot, name)?.state == State::Up,
        None => snapshot.connections.iter().all(|c| !c.desired_up || c.state == State::Up),
    };
    if is_good { DONE } else { Err(Failure::silent(Code::Failed)) }
}

fn one<'s>(snapshot: &'s Snapshot, name: &str) -> Result<&'s ConnectionStatus, Failure> {
    let found = snapshot.connections.iter().find(|connection| connection.name == name);
    found.ok_or_else(|| unknown(name, snapshot))
}

/// What there is to print.
fn shown(socket: &Path, name: Option<&str>, form: Form) -> Result<String, Failure> {
    let mut snapshot = snapshot(socket)?;
    let only = name.map(|name| one(&snapshot, name)).transpose()?;
    Ok(match (form, only) {
        (Form::Text, Some(connection)) => text::detail(&snapshot, connection, look()),
        (Form::Text, None) => text::overview(&snapshot, look()),
        (Form::Plain, Some(connection)) => text::plain([connection]),
        (Form::Plain, None) => text::plain(&snapshot.connections),
        (Form::Json, _) => {
            if let Some(name) = name {
                snapshot.connections.retain(|connection| connection.name == name);
            }
            json_line(&snapshot)?
        }
    })
}

/// What stdout can show.
fn look() -> Look {
    let colour = if has_colour(&io::stdout()) { Colour::On } else { Colour::Off };
    Look { colour, columns: screen::size().map(|size| size.columns) }
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
        _ => print(&shown(&socket, None, Form::Text)?),
    }
}
