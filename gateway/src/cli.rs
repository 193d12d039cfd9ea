//! The command line: what people type, and the exit code that scripts get.
//!
//! ```text
//!   run, check, error, genpsk, version        need no daemon
//!   status, up, down, restart, rekey, redirect   ask the daemon over its control socket
//!   nothing at all                            status if a daemon runs, otherwise short help
//!
//!   exit   0 ok   1 failed   2 usage or invalid configuration   3 daemon not running   4 no such connection   5 not up in time
//! ```
//!
//! Data goes to stdout, everything else to stderr. Colour only on a terminal, and not if NO_COLOR is set.

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::{Config, genpsk};
use crate::demo::{self, DemoArgs};
use crate::status::client::{self, ClientError};
use crate::status::protocol::{RefusalKind, Request, Response};
use crate::status::text::{self, Colour};
use crate::status::{Snapshot, State};
use crate::{clock, codes, control, log};

/// Parses the command line, does what it says, and tells how it went.
#[must_use]
pub fn main() -> ExitCode {
    // The demo starts this program again for its inner parts; they come first, while there is one thread.
    if let Some(code) = demo::run_inner() {
        return code;
    }
    let cli = Cli::parse();
    let done = match cli.command {
        Some(command) => command.run(),
        None => bare().map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            if let Some(sentence) = &failure.sentence {
                complain(sentence);
            }
            ExitCode::from(failure.code as u8)
        }
    }
}

/// A site-to-site IPsec gateway in user space.
#[derive(Debug, Parser)]
#[command(name = "s2s-gw", bin_name = "s2s-gw", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway in the foreground
    #[command(
        after_help = "Example:\n  s2s-gw run -c /etc/s2s-gw/s2s-gw.toml --log info,ike=debug"
    )]
    Run {
        /// The configuration file
        #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        /// A level, or a list like `info,ike=debug`
        #[arg(
            long,
            value_name = "FILTER",
            env = "S2S_GW_LOG",
            default_value = "info",
            hide_env = true
        )]
        log: String,
    },
    /// Check a configuration file; needs no daemon and no privileges
    #[command(after_help = "Example:\n  s2s-gw check --json s2s-gw.toml")]
    Check {
        /// The configuration file
        #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show the state of all connections, or everything about one
    #[command(
        after_help = "Examples:\n  s2s-gw status\n  s2s-gw status berlin\n  s2s-gw status --quiet berlin && echo up"
    )]
    Status {
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
    },
    /// Bring a connection up
    #[command(after_help = "Example:\n  s2s-gw up berlin --wait 10s")]
    Up(Toggle),
    /// Take a connection down and keep it down
    #[command(after_help = "Example:\n  s2s-gw down berlin")]
    Down(Toggle),
    /// Take a connection down and bring it up again
    #[command(after_help = "Example:\n  s2s-gw restart berlin --wait 10s")]
    Restart(Toggle),
    /// Replace the SAs of a connection without losing a packet
    #[command(after_help = "Examples:\n  s2s-gw rekey berlin\n  s2s-gw rekey berlin --ike")]
    Rekey {
        /// The connection
        name: String,
        /// The IKE SA instead of its child SAs
        #[arg(long)]
        ike: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Send peers that called us to another gateway
    #[command(
        after_help = "Examples:\n  s2s-gw redirect --to 198.51.100.20\n  s2s-gw redirect berlin --to gw-b.example.com\n  s2s-gw redirect --stay"
    )]
    Redirect {
        /// The connections; all if none is named
        names: Vec<String>,
        /// Address or name of the other gateway
        #[arg(long, value_name = "GATEWAY", required_unless_present = "stay")]
        to: Option<String>,
        /// Let peers stay again
        #[arg(long, conflicts_with = "to")]
        stay: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// See an encrypted tunnel on this machine; needs no root
    Demo(DemoArgs),
    /// Say what a code means and what to do
    #[command(after_help = "Example:\n  s2s-gw error E1003")]
    Error {
        /// As in a message: E0312, W0501; all of them are listed if none is given
        code: Option<String>,
    },
    /// Print a new pre-shared key
    #[command(after_help = "Example:\n  (umask 077; s2s-gw genpsk > /etc/s2s-gw/berlin.psk)")]
    Genpsk {
        /// Random octets in it
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(16..=1024))]
        bytes: u16,
    },
    /// Print the version
    Version,
}

/// One connection to switch.
#[derive(Debug, clap::Args)]
struct Toggle {
    /// The connection
    name: String,
    /// Wait until that is so, for this long: 10s, 1m
    #[arg(long, value_name = "TIME", value_parser = span)]
    wait: Option<Duration>,
    #[command(flatten)]
    daemon: Daemon,
}

/// Which daemon to talk to.
#[derive(Debug, clap::Args)]
struct Daemon {
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
    control: PathBuf,
}

impl Command {
    fn run(self) -> Result<ExitCode, Failure> {
        let done = match self {
            Self::Demo(args) => return Ok(demo::run(&args)),
            Self::Run { config, log } => run(&config, &log),
            Self::Check { file, json } => check(&file, json),
            Self::Status { name, json, quiet, daemon } => {
                status(&daemon.control, name.as_deref(), json, quiet)
            }
            Self::Up(one) => {
                let request = Request::Up { name: one.name.clone() };
                toggle(&one, &request, &[State::Up])
            }
            Self::Down(one) => {
                let request = Request::Down { name: one.name.clone() };
                toggle(&one, &request, &[State::Disabled])
            }
            Self::Restart(one) => {
                let request = Request::Restart { name: one.name.clone() };
                toggle(&one, &request, &[State::Up])
            }
            Self::Rekey { name, ike, daemon } => {
                command(&daemon.control, &Request::Rekey { name, ike })
            }
            Self::Redirect { names, to, stay: _, daemon } => {
                command(&daemon.control, &Request::Redirect { to, names })
            }
            Self::Genpsk { bytes } => print(&format!("{}\n", genpsk(usize::from(bytes)))),
            Self::Error { code } => explain(code.as_deref()),
            Self::Version => print(&format!("s2s-gw {}\n", env!("CARGO_PKG_VERSION"))),
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}

fn run(file: &Path, filter: &str) -> Result<(), Failure> {
    let config = load(file)?;
    log::start(filter).map_err(|error| Failure::new(Code::Usage, error))?;
    let warnings = config.render_warnings(has_colour(&io::stderr()));
    let _ = io::stderr().write_all(warnings.as_bytes());
    control::run(config).map_err(|error| Failure::new(Code::Failed, error))
}

fn load(file: &Path) -> Result<Config, Failure> {
    Config::load(file).map_err(|report| {
        let rendered = report.render(has_colour(&io::stderr()));
        let _ = io::stderr().write_all(rendered.as_bytes());
        Failure { code: Code::Usage, sentence: None }
    })
}

fn check(file: &Path, json: bool) -> Result<(), Failure> {
    if json {
        let (value, done) = match Config::load(file) {
            Ok(config) => (config.check_json(), Ok(())),
            Err(report) => (report.to_json(), Err(Failure { code: Code::Usage, sentence: None })),
        };
        print(&format!("{value}\n"))?;
        return done;
    }
    let config = load(file)?;
    let _ = io::stderr().write_all(config.render_warnings(has_colour(&io::stderr())).as_bytes());
    print(&summary(file, &config))
}

/// A good configuration in a few lines, so that the eye can compare it with what was meant.
fn summary(file: &Path, config: &Config) -> String {
    use fmt::Write as _;
    let count = config.connections.len();
    let plural = if count == 1 { "" } else { "s" };
    let name = &config.gateway.name;
    let mut text = format!("{}: ok, gateway {name}, {count} connection{plural}\n", file.display());
    for connection in &config.connections {
        let peer = match &connection.peer {
            crate::config::Peer::Any => "any".to_owned(),
            crate::config::Peer::Hosts(hosts) => {
                hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            }
        };
        let disabled = if connection.enabled { "" } else { " (disabled)" };
        let (connection_name, policy) = (&connection.name, &connection.policy.name);
        let _ = writeln!(text, "  {connection_name}{disabled}: peer {peer}, policy {policy}");
        for child in &connection.children {
            let list = |networks: &[ipnet::IpNet]| {
                networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            };
            let (local, remote) = (list(&child.local), list(&child.remote));
            let _ = writeln!(text, "    {}: {local} ⇄ {remote}", child.name);
        }
    }
    text
}

fn status(socket: &Path, name: Option<&str>, json: bool, quiet: bool) -> Result<(), Failure> {
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
        return if is_good { Ok(()) } else { Err(Failure { code: Code::Failed, sentence: None }) };
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

fn toggle(one: &Toggle, request: &Request, goal: &[State]) -> Result<(), Failure> {
    let socket = &one.daemon.control;
    command(socket, request)?;
    let Some(patience) = one.wait else { return Ok(()) };
    let until = clock::now() + patience;
    loop {
        let snapshot = snapshot(socket)?;
        let found = snapshot.connections.iter().find(|connection| connection.name == one.name);
        let connection = found.ok_or_else(|| unknown(&one.name, &snapshot))?;
        if goal.contains(&connection.state) {
            return Ok(());
        }
        let left = until.saturating_duration_since(clock::now());
        if left.is_zero() {
            let state = connection.state.word();
            let why = connection.reason.as_ref();
            let why = why.map(|r| format!(": {} {}: {}", r.code, r.alert, r.message));
            let sentence = format!("{} is {state}{}", one.name, why.unwrap_or_default());
            return Err(Failure::new(Code::NotInTime, sentence));
        }
        // Waking early does no harm here.
        std::thread::park_timeout(left.min(POLL));
    }
}

/// Sends a command and prints what the daemon says to it.
fn command(socket: &Path, request: &Request) -> Result<(), Failure> {
    match client::ask(socket, request)? {
        Response::Done { message } => print(&format!("{message}\n")),
        Response::Refused { kind, message } => {
            let code = match kind {
                RefusalKind::UnknownName => Code::Unknown,
                RefusalKind::NotNow | RefusalKind::BadRequest => Code::Failed,
            };
            Err(Failure::new(code, message))
        }
        Response::Status { .. } => Err(strange()),
    }
}

fn snapshot(socket: &Path) -> Result<Snapshot, Failure> {
    match client::ask(socket, &Request::Status)? {
        Response::Status { snapshot } => Ok(*snapshot),
        Response::Refused { message, .. } => Err(Failure::new(Code::Failed, message)),
        Response::Done { .. } => Err(strange()),
    }
}

fn strange() -> Failure {
    Failure::new(
        Code::Failed,
        "the daemon gave an answer to another question; are its version and this one the same?",
    )
}

fn unknown(name: &str, snapshot: &Snapshot) -> Failure {
    let names: Vec<&str> = snapshot.connections.iter().map(|c| c.name.as_str()).collect();
    let known = if names.is_empty() { "none at all".to_owned() } else { names.join(", ") };
    Failure::new(Code::Unknown, format!("no connection `{name}`; there is {known}"))
}

/// Everything there is to say about a code, or the titles of all.
fn explain(code: Option<&str>) -> Result<(), Failure> {
    let Some(code) = code else {
        let lines: Vec<String> =
            codes::all().map(|one| format!("{}  {}\n", one.id, one.title)).collect();
        return print(&lines.concat());
    };
    let Some(found) = codes::explain(code) else {
        let sentence = format!("no code `{code}`; `s2s-gw error` lists all of them");
        return Err(Failure::new(Code::Unknown, sentence));
    };
    print(&format!("{}: {}\n\n{}\n", found.id, found.title, wrapped(found.text)))
}

/// Prose in lines of at most [`COLUMNS`] characters.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > COLUMNS {
            lines.push('\n');
            column = 0;
        } else if column > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines
}

/// Of help and prose; what every terminal has.
const COLUMNS: usize = 80;

/// No arguments: what is up if a daemon runs, otherwise what there is to type.
fn bare() -> Result<(), Failure> {
    let socket = std::env::var_os("S2S_GW_CONTROL").map(PathBuf::from);
    let socket = socket.unwrap_or_else(|| DEFAULT_CONTROL.into());
    match client::ask(&socket, &Request::Status) {
        Err(ClientError::NotRunning { .. }) => {
            let help = Cli::command().render_help();
            let is_colourful = has_colour(&io::stdout());
            print(&if is_colourful { help.ansi().to_string() } else { help.to_string() })
        }
        _ => status(&socket, None, false, false),
    }
}

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
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match error {
            ClientError::NotRunning { .. } => Code::NotRunning,
            ClientError::Permission { .. } | ClientError::Conversation { .. } => Code::Failed,
        };
        Self::new(code, error)
    }
}

fn complain(sentence: &str) {
    let _ = writeln!(io::stderr(), "error: {sentence}");
}

/// Writes data to stdout. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Code::Failed, format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// <https://no-color.org>: any value but the empty one switches colours off.
fn has_colour(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// `10s`, `500ms`, `2m`.
fn span(text: &str) -> Result<Duration, String> {
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

const DEFAULT_CONFIG: &str = "/etc/s2s-gw/s2s-gw.toml";
const DEFAULT_CONTROL: &str = "/run/s2s-gw/control.sock";

/// How often the daemon is asked while we wait for a state.
const POLL: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "Examples:
  s2s-gw demo                  see an encrypted tunnel on this machine, no root
  s2s-gw check s2s-gw.toml     find every mistake in a configuration
  s2s-gw status berlin         what one connection does, and why it does not

Exit codes: 0 ok, 1 failed, 2 usage or invalid configuration,
3 no daemon, 4 no such connection or code, 5 not up in time";

#[cfg(test)]
mod tests {
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
    fn prose_is_wrapped() {
        for code in codes::all() {
            let text = wrapped(code.text);
            assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
            assert_eq!(text.split_whitespace().collect::<Vec<_>>().join(" "), code.text);
        }
    }

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
