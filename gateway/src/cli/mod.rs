//! The command line: what people type, and the exit code that scripts get.
//!
//! ```text
//!   run.rs       run                        the daemon itself
//!   offline.rs   check, error, schema ..    need no daemon
//!   status.rs    status, or nothing at all  what is; short help if no daemon runs
//!   show.rs      show, reset                tables of what the daemon holds
//!   reload.rs    reload                     put the configuration file in force, or say what that would do
//!   client.rs    up, down, redirect ..      ask the daemon over its control socket
//!   ssh.rs       whether `down` ends the session of the one who types
//!   screen.rs    how large a terminal is, and writing on it again and again
//!   watch/       `status --watch`, the whole screen (feature `watch`)
//!   events.rs    events, logs               what happened, and what happens
//!   failover.rs  failover
//!   init.rs      init                    a first configuration, by five questions
//!   completions.rs, man.rs               for shells, and for man
//!   port.rs      import, export          configurations of other programs
//!   explain.rs   explain                    the way that a packet would take
//!   doctor.rs    doctor                     what is wrong, lowest layer first
//!   capture.rs   capture                    packets, as a file for Wireshark
//!   pki.rs       pki                        certificates for a first try, and what is in others
//!   keys.rs      keys                       what Wireshark needs to decrypt them
//!   bundle/      bundle                     all of it in one file, for those who help
//!   ping.rs      ping, traceroute           through a tunnel
//!   metrics.rs   metrics
//!   output.rs    stdout, stderr, colours, lines of 80 columns
//!
//!   exit   0 ok   1 failed   2 usage or invalid configuration   3 daemon not running   4 no such connection   5 not up in time
//! ```
//!
//! A new command is a file with a struct of its options, whose `run` does it, and one line in `commands!` below.
//! Data goes to stdout, everything else to stderr. Colour only on a terminal, and not if NO_COLOR is set.

mod bundle;
mod capture;
mod client;
mod completions;
mod doctor;
mod events;
mod explain;
mod failover;
mod init;
mod keys;
mod man;
mod metrics;
mod offline;
mod output;
mod ping;
mod pki;
mod port;
mod reload;
mod run;
mod screen;
mod show;
mod ssh;
mod status;
#[cfg(feature = "watch")]
mod watch;

use std::fmt;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::demo;
use crate::status::client::ClientError;

/// Parses the command line, does what it says, and tells how it went.
#[must_use]
pub fn main() -> ExitCode {
    // The demo starts this program again for its inner parts; they come first, while there is one thread.
    if let Some(code) = demo::run_inner() {
        return code;
    }
    completions::answer();
    let outcome = match Cli::try_parse() {
        Ok(Cli { command: Some(command) }) => command.run(),
        Ok(Cli { command: None }) => status::bare(Cli::command()),
        Err(said) => output::usage(&said),
    };
    outcome.unwrap_or_else(|failure| {
        if let Some(sentence) = &failure.sentence {
            output::complain(sentence);
        }
        ExitCode::from(failure.code as u8)
    })
}

/// A site-to-site IPsec gateway in user space.
#[derive(Debug, Parser)]
#[command(name = "s2s-gw", bin_name = "s2s-gw", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

/// Declares the subcommands in the order of the help, each with the struct of its options.
macro_rules! commands {
    ($($name:ident: $options:ty,)*) => {
        #[derive(Debug, Subcommand)]
        enum Command {
            $($name($options),)*
        }

        impl Command {
            fn run(self) -> Outcome {
                match self {
                    $(Self::$name(options) => options.run(),)*
                }
            }
        }
    };
}

commands! {
    Run: run::Run,
    Check: offline::Check,
    Status: status::Status,
    Show: show::Show,
    Metrics: metrics::Metrics,
    Reset: show::Reset,
    Up: client::Up,
    Down: client::Down,
    Restart: client::Restart,
    Rekey: client::Rekey,
    Reload: reload::Reload,
    Redirect: client::Redirect,
    Events: events::Events,
    Logs: events::Logs,
    Failover: failover::Failover,
    Explain: explain::Explain,
    Doctor: doctor::Doctor,
    Capture: capture::Capture,
    Keys: keys::Keys,
    Bundle: bundle::Bundle,
    Ping: ping::Ping,
    Traceroute: ping::Traceroute,
    Demo: offline::Demo,
    Init: init::Init,
    Error: offline::Error,
    Genpsk: offline::Genpsk,
    Import: port::Import,
    Export: port::Export,
    Pki: pki::Pki,
    Schema: offline::Schema,
    Completions: completions::Completions,
    Man: man::ManPage,
    Version: offline::Version,
}

/// How a command ended.
type Outcome = Result<ExitCode, Failure>;

/// What scripts get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Code {
    Failed = 1,
    Usage = 2,
    NotRunning = 3,
    Unknown = 4,
    NotInTime = 5,
}

/// Why the program ends with another code than 0.
#[derive(Debug)]
struct Failure {
    code: Code,
    /// For stderr, behind `error: `; `None` if all was said already.
    sentence: Option<String>,
}

impl Failure {
    fn new(code: Code, sentence: impl fmt::Display) -> Self {
        Self { code, sentence: Some(sentence.to_string()) }
    }

    /// All was said already.
    const fn silent(code: Code) -> Self {
        Self { code, sentence: None }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match error {
            ClientError::NotRunning { .. } => Code::NotRunning,
            ClientError::Permission { .. }
            | ClientError::Conversation { .. }
            | ClientError::OtherVersion { .. } => Code::Failed,
        };
        Self::new(code, error)
    }
}

const DEFAULT_CONFIG: &str = "/etc/s2s-gw/s2s-gw.toml";

const EXAMPLES: &str = "Examples:
  s2s-gw demo                  see an encrypted tunnel on this machine, no root
  s2s-gw check s2s-gw.toml     find every mistake in a configuration
  s2s-gw status berlin         what one connection does, and why it does not

Exit codes: 0 ok, 1 failed, 2 usage or invalid configuration,
3 no daemon, 4 no such connection or code, 5 not up in time";

#[cfg(test)]
mod tests {
    use super::output::COLUMNS;
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_fits_into_80_columns() {
        let mut all = Cli::command();
        all.build();
        let each: Vec<_> = all.get_subcommands().cloned().collect();
        for mut command in each.into_iter().chain([all]) {
            let short = command.render_help().to_string();
            for line in (short + &command.render_long_help().to_string()).lines() {
                assert!(line.chars().count() <= COLUMNS, "{}: {line}", command.get_name());
            }
        }
    }

    #[test]
    fn every_command_says_what_it_does() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }
}
