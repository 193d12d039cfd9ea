//! `s2s-gw completions SHELL`: what makes a shell complete commands, options and the names of connections.
//!
//! ```text
//!   eval "$(s2s-gw completions bash)"     the shell asks this program, with $COMPLETE set, what may follow
//!                                            └─► names: the daemon's status ─► else those in the configuration file
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use super::client::DEFAULT_CONTROL;
use super::output::print;
use super::{Cli, Code, DEFAULT_CONFIG, Failure, Outcome};
use crate::config::Config;
use crate::status::client;
use crate::status::protocol::{Request, Response};

/// Print what makes a shell complete commands and connections
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw completions bash > /etc/bash_completion.d/s2s-gw\n  s2s-gw completions zsh > /usr/local/share/zsh/site-functions/_s2s-gw\n  s2s-gw completions fish > ~/.config/fish/completions/s2s-gw.fish"
)]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(super) fn run(self) -> Outcome {
        let shell: &dyn EnvCompleter = match self.shell {
            Shell::Bash => &Bash,
            Shell::Zsh => &Zsh,
            Shell::Fish => &Fish,
        };
        let mut text = Vec::new();
        let written = shell.write_registration(VARIABLE, "s2s_gw", PROGRAM, PROGRAM, &mut text);
        written.map_err(|error| Failure::new(Code::Failed, error))?;
        print(&String::from_utf8_lossy(&text))
    }
}

/// With this in the environment the program is asked by a shell.
const VARIABLE: &str = "COMPLETE";
const PROGRAM: &str = "s2s-gw";

/// Answers a shell and ends, if one asks.
pub(super) fn answer() {
    if std::env::var_os(VARIABLE).is_some() {
        CompleteEnv::with_factory(command).var(VARIABLE).complete();
    }
}

/// The commands, with the connections for those that take one.
fn command() -> Command {
    let mut all = Cli::command();
    let names: Vec<String> = all.get_subcommands().map(|one| one.get_name().to_owned()).collect();
    for name in names.iter().filter(|name| TAKE_NAMES.contains(&name.as_str())) {
        all = all.mut_subcommand(name, |one| {
            let has_name = one.get_arguments().any(|argument| argument.get_id() == "name");
            let add = |argument: clap::Arg| argument.add(ArgValueCandidates::new(candidates));
            if has_name { one.mut_arg("name", add) } else { one }
        });
    }
    all
}

/// The commands whose `name` is that of a connection.
const TAKE_NAMES: [&str; 13] = [
    "status", "up", "down", "restart", "rekey", "failover", "export", "events", "logs", "reset",
    "doctor", "capture", "keys",
];

fn candidates() -> Vec<CompletionCandidate> {
    names().into_iter().map(CompletionCandidate::new).collect()
}

/// Those that the daemon has, or, without one, those in the file.
fn names() -> BTreeSet<String> {
    let control = std::env::var_os("S2S_GW_CONTROL").map(PathBuf::from);
    let control = control.unwrap_or_else(|| DEFAULT_CONTROL.into());
    if let Ok(Response::Status { snapshot }) = client::ask(&control, &Request::Status) {
        return snapshot.connections.into_iter().map(|one| one.name).collect();
    }
    in_file(Path::new(DEFAULT_CONFIG))
}

/// The names alone: a file with mistakes has names, too, and its keys need not be readable for us.
fn in_file(path: &Path) -> BTreeSet<String> {
    let read =
        |path: &Path| -> Option<toml::Table> { std::fs::read_to_string(path).ok()?.parse().ok() };
    let Some(main) = read(path) else { return BTreeSet::new() };
    let texts = |value: &toml::Value| -> Vec<String> {
        let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        list.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let directory = path.parent().unwrap_or(Path::new(""));
    let included = main.get("include").map(texts).unwrap_or_default();
    let patterns: Vec<PathBuf> = included.iter().map(|one| directory.join(one)).collect();
    let included = Config::matching(&patterns).into_iter().filter_map(|file| read(&file));
    let tables: Vec<toml::Table> = included.chain([main]).collect();
    let connections = tables.iter().filter_map(|table| table.get("connection")?.as_table());
    connections.flat_map(|table| table.keys().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_takes_a_connection_offers_them() {
        let all = command();
        for one in all.get_subcommands() {
            let takes = one.get_arguments().any(|argument| argument.get_id() == "name");
            // `pki --name` is that of an authority, and `init --name` that of a site to be.
            if takes && !["pki", "init"].contains(&one.get_name()) {
                assert!(TAKE_NAMES.contains(&one.get_name()), "{}", one.get_name());
            }
        }
    }

    #[test]
    fn names_come_from_the_file_and_what_it_includes() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("conf.d")).unwrap();
        let main = dir.path().join("s2s-gw.toml");
        std::fs::write(&main, "include = [\"conf.d/*.toml\"]\n[connection.berlin]\nx = 1\n")
            .unwrap();
        std::fs::write(dir.path().join("conf.d/p.toml"), "[connection.paris]\n").unwrap();
        assert_eq!(in_file(&main).into_iter().collect::<Vec<_>>(), ["berlin", "paris"]);
        assert!(in_file(&dir.path().join("none")).is_empty());
    }
}
