//! `events` and `logs`: what happened lately, and with `-f` what happens.
//!
//! ```text
//!   Request::Events ──► Response::Events, one after the other ──► a line each; as JSON for programs
//!   events: what happened (info and above)      logs: all that the log takes, so also what `logs level ike=debug` brought
//! ```

use std::ops::ControlFlow;
use std::time::Duration;

use super::client::{Daemon, command, refused, span, strange};
use super::output::{DONE, print_some, say};
use super::{Failure, Outcome};
use crate::log::{self, Record, Severity};
use crate::status::client;
use crate::status::protocol::{Request, Response};

/// Show what happened lately, and what happens
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw events berlin\n  s2s-gw events -f --json\n\nThe names of all events: docs/events.md"
)]
pub(super) struct Events {
    /// Only of this connection
    name: Option<String>,
    /// And what happens from now on
    #[arg(short, long)]
    follow: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Events {
    pub(super) fn run(self) -> Outcome {
        let Self { name, follow, json, daemon } = self;
        let request = Request::Events { follow, connection: name };
        show(&daemon, &request, follow, json, |event| event.level <= Severity::Info)
    }
}

/// Show the end of the log, or choose what it takes
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  s2s-gw logs -f berlin\n  s2s-gw logs level ike=debug --for 5m"
)]
pub(super) struct Logs {
    #[command(subcommand)]
    level: Option<Switch>,
    /// Only of this connection
    name: Option<String>,
    /// And what is logged from now on
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, clap::Subcommand)]
enum Switch {
    /// Log more, or less, from now on
    Level(Level),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw logs level ike=debug --for 5m\n  s2s-gw logs level info"
)]
struct Level {
    /// A level, or areas with a level: ike=debug,child=trace
    filter: String,
    /// So long, then as before: 30s, 5m
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    lasting: Option<Duration>,
    #[command(flatten)]
    daemon: Daemon,
}

impl Logs {
    pub(super) fn run(self) -> Outcome {
        let Self { level, name, follow, daemon } = self;
        if let Some(Switch::Level(Level { filter, lasting, daemon })) = level {
            // Less than a second is more than nothing.
            let seconds = lasting.map(|span| span.as_millis().div_ceil(1000));
            let seconds = seconds.map(|span| u64::try_from(span).unwrap_or(u64::MAX));
            return command(&daemon.control, &Request::LogLevel { filter, seconds }, false);
        }
        show(&daemon, &Request::Events { follow, connection: name }, follow, false, |_| true)
    }
}

fn show(
    daemon: &Daemon,
    request: &Request,
    follow: bool,
    json: bool,
    wanted: impl Fn(&Record) -> bool,
) -> Outcome {
    let more = |response| match response {
        Response::Events { events, lost } => {
            let mut text = String::new();
            if lost > 0 && json {
                text = format!("{{\"schema\":\"s2s-gw/lost/1\",\"lost\":{lost}}}\n");
            } else if lost > 0 {
                say(&format!("{lost} events went by unread: this reader is too slow\n"));
            }
            for event in events.iter().filter(|event| wanted(event)) {
                text += &if json { log::to_json(event) } else { log::to_text(event) };
                text.push('\n');
            }
            match print_some(&text) {
                Ok(true) if follow => ControlFlow::Continue(()),
                Ok(_) => ControlFlow::Break(DONE),
                Err(failure) => ControlFlow::Break(Err(failure)),
            }
        }
        Response::Refused { kind, message } => ControlFlow::Break(Err(refused(kind, message))),
        Response::Status { .. }
        | Response::Shown { .. }
        | Response::Explained { .. }
        | Response::Done { .. }
        | Response::Capturing { .. }
        | Response::Packets { .. }
        | Response::Keys { .. }
        | Response::Reload { .. } => ControlFlow::Break(Err(strange())),
    };
    if follow {
        return client::follow(&daemon.control, request, more).map_err(Failure::from)?;
    }
    match more(client::ask(&daemon.control, request)?) {
        ControlFlow::Break(outcome) => outcome,
        ControlFlow::Continue(()) => DONE,
    }
}
