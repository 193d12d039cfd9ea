//! Commands that need neither a daemon nor privileges: check, demo, error, genpsk, version.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::output::{DONE, has_colour, json_line, print, say, wrapped};
use super::{Code, DEFAULT_CONFIG, Failure, Outcome};
use crate::config::{Config, Peer, Report, genpsk};
use crate::{codes, config, demo, status};

/// Check a configuration file; needs no daemon and no privileges
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw check --json s2s-gw.toml\n  sed s/old/new/ s2s-gw.toml | s2s-gw check --strict -"
)]
pub(super) struct Check {
    /// The configuration file, or `-`
    #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
    file: PathBuf,
    /// The same, as other commands take it
    #[arg(short, long, value_name = "FILE", hide = true, conflicts_with = "file")]
    config: Option<PathBuf>,
    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Outcome {
        let file = self.config.as_deref().unwrap_or(&self.file);
        let loaded = load(file)?;
        let colour = has_colour(&io::stderr());
        let is_good = loaded.as_ref().is_ok_and(|c| !self.strict || c.warnings.is_empty());
        let printed = match &loaded {
            Ok(config) if self.json => print(&format!("{}\n", config.check_json())),
            Err(report) if self.json => print(&format!("{}\n", report.to_json())),
            Ok(config) => {
                say(&config.render_warnings(colour));
                if is_good { print(&summary(file, config)) } else { DONE }
            }
            Err(report) => {
                say(&report.render(colour));
                DONE
            }
        };
        if is_good { printed } else { printed.and(Err(Failure::silent(Code::Usage))) }
    }
}

fn load(file: &Path) -> Result<Result<Config, Report>, Failure> {
    if file != Path::new("-") {
        return Ok(Config::load(file));
    }
    let mut text = Zeroizing::new(String::new());
    let read = io::stdin().lock().take(STDIN_MAX).read_to_string(&mut text);
    read.map_err(|error| Failure::new(Code::Failed, format!("cannot read stdin: {error}")))?;
    Ok(Config::load_text(Path::new("-"), &text))
}

/// As long as a configuration file may be, octets.
const STDIN_MAX: u64 = 4 << 20;

/// A good configuration in a few lines, so that the eye can compare it with what was meant.
fn summary(file: &Path, config: &Config) -> String {
    let count = config.connections.len();
    let plural = if count == 1 { "" } else { "s" };
    let name = &config.gateway.name;
    let mut text = format!("{}: ok, gateway {name}, {count} connection{plural}\n", file.display());
    for connection in &config.connections {
        let peer = match &connection.peer {
            Peer::Any => "any".to_owned(),
            Peer::Hosts(hosts) => {
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

/// See an encrypted tunnel on this machine; needs no root
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    #[command(flatten)]
    options: demo::DemoArgs,
}

impl Demo {
    #[expect(clippy::unnecessary_wraps, reason = "all commands end in an `Outcome`")]
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        Ok(demo::run(&self.options))
    }
}

/// Say what a code means and what to do
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  s2s-gw error E1003\n  s2s-gw error --json")]
pub(super) struct Error {
    /// As in a message: E0312, W0501; all of them are listed if none is given
    code: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print all of them as a page of Markdown, as in docs/errors.md
    #[arg(long, conflicts_with_all = ["code", "json"])]
    markdown: bool,
}

impl Error {
    pub(super) fn run(self) -> Outcome {
        if self.markdown {
            return print(&codes::markdown());
        }
        let Some(code) = self.code else {
            if self.json {
                let all: Vec<Value> = codes::all().map(as_json).collect();
                return print(&json_line(&json!({ "schema": "s2s-gw/errors/1", "codes": all }))?);
            }
            let lines: Vec<String> =
                codes::all().map(|one| format!("{}  {}\n", one.id, one.title)).collect();
            return print(&lines.concat());
        };
        let Some(found) = codes::explain(&code) else {
            let meant = codes::near(&code);
            let hint = if meant.is_empty() {
                "`s2s-gw error` lists all of them".to_owned()
            } else {
                format!("did you mean {}?", meant.join(" or "))
            };
            return Err(Failure::new(Code::Unknown, format!("no code `{code}`; {hint}")));
        };
        if self.json {
            return print(&json_line(&as_json(found))?);
        }
        print(&format!("{}: {}\n\n{}\n", found.id, found.title, wrapped(found.text)))
    }
}

fn as_json(code: codes::Explanation) -> Value {
    let severity = if code.id.starts_with('W') { "warning" } else { "error" };
    json!({ "schema": "s2s-gw/error/1", "code": code.id, "severity": severity, "title": code.title, "explanation": code.text })
}

/// Print a new pre-shared key
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  (umask 077; s2s-gw genpsk > /etc/s2s-gw/berlin.psk)")]
pub(super) struct Genpsk {
    /// Random octets in it
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(16..=1024))]
    bytes: u16,
}

impl Genpsk {
    pub(super) fn run(self) -> Outcome {
        print(&format!("{}\n", genpsk(usize::from(self.bytes))))
    }
}

/// Print the JSON Schema of the configuration, or of the status
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw schema > s2s-gw.schema.json\n  s2s-gw schema status\n\nThe first line of a configuration tells an editor where the schema is:\n  #:schema ./s2s-gw.schema.json"
)]
pub(super) struct Schema {
    /// Of what
    #[arg(default_value = "config")]
    of: SchemaOf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum SchemaOf {
    /// The configuration file
    Config,
    /// What `s2s-gw status --json` prints
    Status,
}

impl Schema {
    pub(super) fn run(self) -> Outcome {
        let schema = match self.of {
            SchemaOf::Config => config::schema(),
            SchemaOf::Status => status::schema(),
        };
        print(&format!("{schema:#}\n"))
    }
}

/// Print the version
#[derive(Debug, clap::Args)]
pub(super) struct Version {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Version {
    pub(super) fn run(self) -> Outcome {
        let version = env!("CARGO_PKG_VERSION");
        if self.json {
            let object = json!({ "schema": "s2s-gw/version/1", "version": version });
            return print(&json_line(&object)?);
        }
        print(&format!("s2s-gw {version}\n"))
    }
}
