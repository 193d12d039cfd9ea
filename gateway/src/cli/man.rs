//! `s2s-gw man`: the manual pages, made from what the program itself knows.
//!
//! ```text
//!   Cli (clap) ─────────────► s2s-gw(8)          the commands, each with its options and examples
//!   docs/configuration.md ──► s2s-gw.toml(5)     the keys; schema and tests hold that file against the program
//! ```

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use roff::{Inline, Roff, bold, italic, roman};

use super::output::print;
use super::{Cli, Code, Failure, Outcome};

/// Print a manual page
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw man | man -l -\n  s2s-gw man 8 > /usr/local/share/man/man8/s2s-gw.8\n  s2s-gw man 5 > /usr/local/share/man/man5/s2s-gw.toml.5"
)]
pub(super) struct ManPage {
    /// 8: the program, 5: its configuration
    #[arg(default_value_t = 8, value_parser = clap::value_parser!(u8).range(..=8))]
    section: u8,
}

impl ManPage {
    pub(super) fn run(self) -> Outcome {
        match self.section {
            8 => {
                let page = program().map_err(|error| Failure::new(Code::Failed, error))?;
                print(&page)
            }
            5 => print(&configuration()),
            other => Err(Failure::new(Code::Usage, format!("no page in section {other}: 8 or 5"))),
        }
    }
}

/// s2s-gw(8)
fn program() -> std::io::Result<String> {
    let mut all = Cli::command();
    all.build();
    let subcommands: Vec<Command> = all.get_subcommands().cloned().collect();
    let page = Man::new(all).title("S2S-GW").section("8").manual("System administration");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    let mut text = String::from_utf8_lossy(&text).into_owned();
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for command in subcommands.iter().filter(|one| one.get_name() != "help") {
        of_command(command, &mut roff);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT {
        item(&mut roff, vec![bold(*code)], vec![roman(*meaning)]);
    }
    roff.control("SH", ["FILES"]);
    for (file, meaning) in FILES {
        item(&mut roff, vec![italic(*file)], vec![roman(*meaning)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("s2s-gw.toml"), roman("(5)")]);
    text.push_str(&roff.to_roff());
    Ok(text)
}

const EXIT: &[(&str, &str)] = &[
    ("0", "All is well."),
    ("1", "It failed."),
    ("2", "Wrong usage, or a configuration with errors."),
    ("3", "No daemon runs."),
    ("4", "There is no such connection or code."),
    ("5", "The connection was not up in time."),
];

const FILES: &[(&str, &str)] = &[
    ("/etc/s2s-gw/s2s-gw.toml", "The configuration."),
    ("/run/s2s-gw/control.sock", "The control socket."),
    ("/var/lib/s2s-gw/state.json", "What commands decided, kept over a restart."),
];

/// One command: its usage, what it does, its options, its own commands, its examples.
fn of_command(command: &Command, roff: &mut Roff) {
    let usage = command.clone().render_usage().to_string();
    let usage =
        usage.trim_start_matches("Usage: ").split_whitespace().collect::<Vec<_>>().join(" ");
    roff.control("SS", [usage.as_str()]);
    if let Some(about) = command.get_about() {
        roff.text([roman(format!("{about}."))]);
    }
    for argument in
        command.get_arguments().filter(|one| !one.is_hide_set() && one.get_id() != "help")
    {
        let mut head = Vec::new();
        let names = [
            argument.get_short().map(|c| format!("-{c}")),
            argument.get_long().map(|long| format!("--{long}")),
        ];
        for name in names.into_iter().flatten() {
            if !head.is_empty() {
                head.push(roman(", "));
            }
            head.push(bold(name));
        }
        if argument.get_action().takes_values() {
            let values =
                argument.get_value_names().map(|names| names.join(" ")).unwrap_or_default();
            if !head.is_empty() {
                head.push(roman(" "));
            }
            head.push(italic(values));
        }
        let help = argument.get_help().map(|help| help.to_string().replace('\n', " "));
        let mut body = help.unwrap_or_default();
        if !body.is_empty() && !body.ends_with(['.', '?']) {
            body.push('.');
        }
        let choices: Vec<String> = argument
            .get_possible_values()
            .iter()
            .filter(|one| !one.is_hide_set())
            .map(|one| one.get_name().to_owned())
            .collect();
        if argument.get_action().takes_values() && !choices.is_empty() {
            let _ = write!(body, " One of {}.", choices.join(", "));
        }
        let defaults: Vec<_> = argument
            .get_default_values()
            .iter()
            .map(|one| one.to_string_lossy().into_owned())
            .collect();
        if !defaults.is_empty()
            && argument.get_action().takes_values()
            && !argument.is_hide_default_value_set()
        {
            let _ = write!(body, " By default {}.", defaults.join(", "));
        }
        item(roff, head, vec![roman(body)]);
    }
    for inner in command.get_subcommands().filter(|one| one.get_name() != "help") {
        of_command(inner, roff);
    }
    if let Some(after) = command.get_after_help() {
        roff.control("PP", []);
        roff.control("nf", []);
        roff.text([roman(after.to_string())]);
        roff.control("fi", []);
    }
}

fn item(roff: &mut Roff, head: Vec<Inline>, body: Vec<Inline>) {
    roff.control("TP", []);
    roff.text(head);
    roff.text(body);
}

/// s2s-gw.toml(5)
fn configuration() -> String {
    let mut roff = Roff::new();
    let version = format!("s2s-gw {}", env!("CARGO_PKG_VERSION"));
    roff.control("TH", ["S2S-GW.TOML", "5", "", version.as_str(), "File formats"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("s2s-gw.toml - configuration of s2s-gw")]);
    let mut fenced = false;
    let mut paragraph: Vec<&str> = Vec::new();
    for line in TEXT.lines() {
        if line.starts_with("```") {
            flush(&mut paragraph, &mut roff);
            roff.control(if fenced { "fi" } else { "nf" }, []);
            fenced = !fenced;
        } else if fenced {
            roff.text([roman(line)]);
        } else if let Some(title) = line.strip_prefix("# ").or_else(|| line.strip_prefix("## ")) {
            flush(&mut paragraph, &mut roff);
            let title = title.replace('`', "");
            let title = if line.starts_with("# ") {
                "DESCRIPTION".to_owned()
            } else {
                title.to_uppercase()
            };
            roff.control("SH", [title.as_str()]);
        } else if line.starts_with('|') {
            flush(&mut paragraph, &mut roff);
            row(line, &mut roff);
        } else if line.trim().is_empty() {
            flush(&mut paragraph, &mut roff);
        } else {
            paragraph.push(line);
        }
    }
    flush(&mut paragraph, &mut roff);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("s2s-gw"), roman("(8)")]);
    roff.to_roff()
}

const TEXT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md"));

fn flush(paragraph: &mut Vec<&str>, roff: &mut Roff) {
    if !paragraph.is_empty() {
        roff.control("PP", []);
        roff.text(spans(&paragraph.join(" ")));
        paragraph.clear();
    }
}

/// A row of a table as an item: what it is about, then the rest.
fn row(line: &str, roff: &mut Roff) {
    let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").map(str::trim).collect();
    let rule = line.chars().all(|c| "|-: ".contains(c));
    let Some((first, rest)) = cells.split_first() else { return };
    if rule || ["key", "change"].contains(first) {
        return;
    }
    let mut body = Vec::new();
    match rest {
        [default, said] if !default.is_empty() => {
            body.extend(spans(said));
            body.push(roman(". By default "));
            body.extend(spans(default));
            body.push(roman("."));
        }
        others => {
            for said in others.iter().filter(|said| !said.is_empty()) {
                body.extend(spans(said));
                body.push(roman(". "));
            }
        }
    }
    item(roff, spans(first), body);
}

/// Code in bold, links by their words.
fn spans(text: &str) -> Vec<Inline> {
    let mut plain = String::new();
    let mut rest = text;
    // `[words](target)` is `words`.
    while let Some((before, after)) = rest.split_once("](") {
        let (lead, words) = before.rsplit_once('[').unwrap_or(("", before));
        plain.push_str(lead);
        plain.push_str(words);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    let parts = plain.split('`').enumerate();
    let inline = |(at, part): (usize, &str)| if at % 2 == 1 { bold(part) } else { roman(part) };
    parts.filter(|(_, part)| !part.is_empty()).map(inline).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_every_command_and_every_key() {
        let page = program().unwrap().replace("\\-", "-");
        for command in Cli::command().get_subcommands() {
            assert!(
                page.contains(&format!("s2s-gw {}", command.get_name())),
                "{}",
                command.get_name()
            );
        }
        let page = configuration().replace("\\-", "-");
        for key in ["local_subnets", "monitor.max_latency", "dpd.interval", "crl_policy"] {
            assert!(page.contains(key), "{key}");
        }
    }
}
