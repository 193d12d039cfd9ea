//! Commands that the daemon carries out: up, down, restart, rekey, redirect; and how any command asks it.
//!
//! ```text
//!   up berlin --wait 10s ──► Request::Up ──► Done: berlin is connecting
//!                        ──► Request::Status, again and again, until it is up or the time is over (exit 5)
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::output::{json_line, print};
use super::{Code, Failure, Outcome, ssh};
use crate::clock;
use crate::status::client;
use crate::status::protocol::{RefusalKind, Request, Response, Target};
use crate::status::{Snapshot, State};

/// Which daemon to talk to.
#[derive(Debug, clap::Args)]
pub(super) struct Daemon {
    /// Its control socket, by default $S2S_GW_CONTROL or /run/s2s-gw/control.sock
    #[arg(
        long,
        value_name = "PATH",
        env = "S2S_GW_CONTROL",
        default_value = DEFAULT_CONTROL,
        hide_env = true,
        hide_default_value = true,
        help = "Its control socket, from $S2S_GW_CONTROL or\n/run/s2s-gw/control.sock"
    )]
    pub(super) control: PathBuf,
}

/// One connection to switch.
#[derive(Debug, clap::Args)]
struct Toggle {
    /// The connection, or one child of it
    #[arg(value_name = "NAME[/CHILD]")]
    name: String,
    /// Wait until that is so, for this long: 10s, 1m
    #[arg(long, value_name = "TIME", value_parser = span)]
    wait: Option<Duration>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// Bring a connection up
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  s2s-gw up berlin --wait 10s")]
pub(super) struct Up {
    #[command(flatten)]
    one: Toggle,
}

impl Up {
    pub(super) fn run(self) -> Outcome {
        toggle(&self.one, &Request::Up { name: self.one.name.clone() }, State::Up)
    }
}

/// Take a connection down and keep it down
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  s2s-gw down berlin\n  s2s-gw down berlin --yes")]
pub(super) struct Down {
    #[command(flatten)]
    one: Toggle,
    /// Do not ask, even if this SSH session goes through it
    #[arg(short, long)]
    yes: bool,
}

impl Down {
    pub(super) fn run(self) -> Outcome {
        if !self.yes {
            let snapshot = snapshot(&self.one.daemon.control)?;
            let connection = Target::of(&self.one.name).connection;
            let found = snapshot.connections.iter().find(|c| c.name == connection);
            found.map_or(Ok(()), ssh::ask_before_down)?;
        }
        toggle(&self.one, &Request::Down { name: self.one.name.clone() }, State::Disabled)
    }
}

/// Take a connection down and bring it up again
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  s2s-gw restart berlin --wait 10s")]
pub(super) struct Restart {
    #[command(flatten)]
    one: Toggle,
}

impl Restart {
    pub(super) fn run(self) -> Outcome {
        toggle(&self.one, &Request::Restart { name: self.one.name.clone() }, State::Up)
    }
}

/// Replace the SAs of a connection without losing a packet
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw rekey berlin\n  s2s-gw rekey berlin/lan-2\n  s2s-gw rekey berlin --ike --wait 10s"
)]
pub(super) struct Rekey {
    /// The connection, or one child of it
    #[arg(value_name = "NAME[/CHILD]")]
    name: String,
    /// The IKE SA instead of its child SAs
    #[arg(long)]
    ike: bool,
    /// Wait until they are replaced, for this long: 10s, 1m
    #[arg(long, value_name = "TIME", value_parser = span)]
    wait: Option<Duration>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Rekey {
    pub(super) fn run(self) -> Outcome {
        let (socket, name) = (&self.daemon.control, &self.name);
        let request = Request::Rekey { name: name.clone(), ike: self.ike };
        let Some(patience) = self.wait else { return command(socket, &request, self.json) };
        let count = |snapshot: &Snapshot| rekeys(snapshot, Target::of(name), self.ike);
        let before = count(&snapshot(socket)?);
        let outcome = command(socket, &request, self.json)?;
        wait(socket, patience, |snapshot| {
            let now = count(snapshot);
            let is_done = now.len() == before.len() && now.iter().zip(&before).all(|(a, b)| a > b);
            if is_done { Ok(()) } else { Err(standing(snapshot, Target::of(name).connection)) }
        })
        .map(|()| outcome)
    }
}

/// How often each of the SAs that are meant was replaced.
fn rekeys(snapshot: &Snapshot, target: Target<'_>, ike: bool) -> Vec<u64> {
    let named = snapshot.connections.iter().filter(|c| c.name == target.connection);
    if ike {
        return named.filter_map(|c| c.ike.as_ref()).map(|ike| ike.rekeys).collect();
    }
    let children = named.flat_map(|c| &c.children).filter(|child| child.sa.is_some());
    let meant = children.filter(|child| target.child.is_none_or(|name| name == child.name));
    meant.map(|child| child.rekeys).collect()
}

/// Send peers that called us to another gateway
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw redirect --to 198.51.100.20\n  s2s-gw redirect berlin --to gw-b.example.com\n  s2s-gw redirect --stay"
)]
pub(super) struct Redirect {
    /// The connections; all if none is named
    names: Vec<String>,
    /// Address or name of the other gateway
    #[arg(long, value_name = "GATEWAY", required_unless_present = "stay")]
    to: Option<String>,
    /// Let peers stay again
    #[arg(long, conflicts_with = "to")]
    stay: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Redirect {
    pub(super) fn run(self) -> Outcome {
        let request = Request::Redirect { to: self.to, names: self.names };
        command(&self.daemon.control, &request, self.json)
    }
}

fn toggle(one: &Toggle, request: &Request, goal: State) -> Outcome {
    let socket = &one.daemon.control;
    let outcome = command(socket, request, one.json)?;
    let Some(patience) = one.wait else { return Ok(outcome) };
    wait(socket, patience, |snapshot| {
        let target = Target::of(&one.name);
        let found = snapshot.connections.iter().find(|c| c.name == target.connection);
        let Some(connection) = found else { return Err(unknown(target.connection, snapshot)) };
        let state = match target.child {
            None => connection.state,
            Some(name) => {
                let child = connection.children.iter().find(|child| child.name == name);
                child.map_or(connection.state, |child| child.state)
            }
        };
        if state == goal { Ok(()) } else { Err(standing(snapshot, target.connection)) }
    })
    .map(|()| outcome)
}

/// Asks again and again until it is so, for at most so long.
///
/// # Errors
/// What `is_so` said last, or at once if that is not a matter of time.
fn wait(
    socket: &Path,
    patience: Duration,
    is_so: impl Fn(&Snapshot) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let until = clock::now() + patience;
    loop {
        let Err(failure) = is_so(&snapshot(socket)?) else { return Ok(()) };
        let left = until.saturating_duration_since(clock::now());
        if left.is_zero() || failure.code != Code::NotInTime {
            return Err(failure);
        }
        // Waking early does no harm here.
        std::thread::park_timeout(left.min(POLL));
    }
}

/// How it stands with what was not reached in time.
fn standing(snapshot: &Snapshot, name: &str) -> Failure {
    let Some(connection) = snapshot.connections.iter().find(|c| c.name == name) else {
        return unknown(name, snapshot);
    };
    let state = connection.state.word();
    let why = connection.reason.as_ref();
    let why = why.map(|r| format!(": {} {}: {}", r.code, r.alert, r.message));
    Failure::new(Code::NotInTime, format!("{name} is {state}{}", why.unwrap_or_default()))
}

/// Sends a command and prints what the daemon says to it.
pub(super) fn command(socket: &Path, request: &Request, json: bool) -> Outcome {
    match client::ask(socket, request)? {
        Response::Done { message } if json => print(&json_line(&Said::done(&message))?),
        Response::Done { message } => print(&format!("{message}\n")),
        Response::Refused { kind, message } => {
            if json {
                print(&json_line(&Said::refused(kind, &message))?)?;
            }
            Err(refused(kind, message))
        }
        Response::Status { .. }
        | Response::Shown { .. }
        | Response::Explained { .. }
        | Response::Events { .. }
        | Response::Capturing { .. }
        | Response::Packets { .. }
        | Response::Keys { .. }
        | Response::Reload { .. } => Err(strange()),
    }
}

/// What the daemon said to a command, for programs.
#[derive(serde::Serialize)]
struct Said<'m> {
    schema: &'static str,
    ok: bool,
    /// Of a refusal.
    kind: Option<RefusalKind>,
    message: &'m str,
}

impl<'m> Said<'m> {
    const fn done(message: &'m str) -> Self {
        Self { schema: SAID, ok: true, kind: None, message }
    }

    const fn refused(kind: RefusalKind, message: &'m str) -> Self {
        Self { schema: SAID, ok: false, kind: Some(kind), message }
    }
}

const SAID: &str = "s2s-gw/command/1";

/// The answer to a question; a refusal is a failure.
pub(super) fn answer(socket: &Path, request: &Request) -> Result<Response, Failure> {
    match client::ask(socket, request)? {
        Response::Refused { kind, message } => Err(refused(kind, message)),
        answer @ (Response::Status { .. }
        | Response::Shown { .. }
        | Response::Explained { .. }
        | Response::Done { .. }) => Ok(answer),
        Response::Events { .. }
        | Response::Capturing { .. }
        | Response::Packets { .. }
        | Response::Keys { .. }
        | Response::Reload { .. } => Err(strange()),
    }
}

/// What is, of everything.
pub(super) fn snapshot(socket: &Path) -> Result<Snapshot, Failure> {
    match answer(socket, &Request::Status)? {
        Response::Status { snapshot } => Ok(*snapshot),
        Response::Shown { .. }
        | Response::Explained { .. }
        | Response::Done { .. }
        | Response::Events { .. }
        | Response::Capturing { .. }
        | Response::Packets { .. }
        | Response::Keys { .. }
        | Response::Reload { .. }
        | Response::Refused { .. } => Err(strange()),
    }
}

pub(super) fn refused(kind: RefusalKind, message: String) -> Failure {
    let code = match kind {
        RefusalKind::UnknownName => Code::Unknown,
        RefusalKind::NotNow
        | RefusalKind::BadRequest
        | RefusalKind::UnknownRequest
        | RefusalKind::NotSupported
        | RefusalKind::Permission
        | RefusalKind::Other => Code::Failed,
    };
    Failure::new(code, message)
}

pub(super) fn strange() -> Failure {
    Failure::new(
        Code::Failed,
        "the daemon gave an answer to another question; are its version and this one the same?",
    )
}

/// No connection has this name; these have one.
pub(super) fn unknown(name: &str, snapshot: &Snapshot) -> Failure {
    let names: Vec<&str> = snapshot.connections.iter().map(|c| c.name.as_str()).collect();
    let known = if names.is_empty() { "none at all".to_owned() } else { names.join(", ") };
    Failure::new(Code::Unknown, format!("no connection `{name}`; there is {known}"))
}

/// `10s`, `500ms`, `2m`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "write a number and a unit: 10s".to_owned())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err("the unit is ms, s or m: 10s".to_owned()),
    }
}

pub(super) const DEFAULT_CONTROL: &str = "/run/s2s-gw/control.sock";

/// How often the daemon is asked while we wait for a state.
const POLL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit() {
        assert_eq!(span("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(span("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(span("2m"), Ok(Duration::from_mins(2)));
        for wrong in ["", "10", "s", "10h", "-1s", "1.5s"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
