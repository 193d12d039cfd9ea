//! How the demo looks: one line per step, rewritten in place on a terminal while the step runs; or one JSON object.
//!
//! ```text
//!   a terminal        "  … ping      3 of 10"  becomes  "  ✓ ping      10 of 10 came back, 0 % lost"
//!   a pipe, a file    only the finished lines
//!   --json            nothing, and the object at the end
//! ```
//!
//! Colour only on a terminal, and not if `NO_COLOR` is set (no-color.org).

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use super::DemoError;
use super::evidence::SCHEMA;
use crate::status::text::hanging;

/// Where the story is told.
#[derive(Debug)]
pub(super) struct Stage {
    json: bool,
    /// Lines can be rewritten.
    terminal: bool,
    colour: bool,
}

impl Stage {
    /// Looks at stdout and the environment.
    pub(super) fn new(json: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let terminal = io::stdout().is_terminal() && !dumb;
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { json, terminal, colour: terminal && !no_colour }
    }

    /// Lines of the story that belong to no step.
    pub(super) fn say(&self, text: &str) {
        self.print(format_args!("{text}\n"));
    }

    /// A step has begun, or has come so far.
    pub(super) fn working(&self, title: &str, text: &str) {
        if self.terminal {
            let mark = self.paint(Paint::Dim, "…");
            self.print(format_args!("\r\x1b[K  {mark} {title:<9} {text}"));
        }
    }

    /// Takes the line of a step back that has nothing to say.
    pub(super) fn erase(&self) {
        if self.terminal {
            self.print(format_args!("\r\x1b[K"));
        }
    }

    /// A step has ended well; further lines of `text` are put below the first.
    pub(super) fn done(&self, title: &str, text: &str) {
        self.found(true, title, text);
    }

    /// A step has ended, and what it found is `good` or not.
    pub(super) fn found(&self, good: bool, title: &str, text: &str) {
        let erase = if self.terminal { "\r\x1b[K" } else { "" };
        let mark =
            if good { self.paint(Paint::Green, "✓") } else { self.paint(Paint::Red, "✗") };
        let title = self.paint(Paint::Bold, &format!("{title:<9}"));
        let text = text.replace('\n', &format!("\n{:14}", ""));
        self.print(format_args!("{erase}  {mark} {title} {text}\n"));
    }

    /// The story has ended, and what it has found out leaves no doubt.
    pub(super) fn succeed(&self, evidence: &impl serde::Serialize) {
        if self.json {
            #[derive(serde::Serialize)]
            struct Report<'a, T> {
                schema: &'static str,
                ok: bool,
                #[serde(flatten)]
                evidence: &'a T,
            }
            let report = Report { schema: SCHEMA, ok: true, evidence };
            print_json(&report);
        }
    }

    /// The story has ended badly. Returns the exit code for it.
    pub(super) fn fail(&self, error: &DemoError) -> ExitCode {
        if self.json {
            print_json(
                &serde_json::json!({ "schema": SCHEMA, "ok": false, "error": error.to_string() }),
            );
        } else {
            let erase = if self.terminal { "\r\x1b[K" } else { "" };
            let mark = self.paint(Paint::Red, "✗");
            // If stderr is gone, so is the reader.
            let _ = writeln!(io::stderr(), "{erase}  {mark} {error}");
        }
        ExitCode::FAILURE
    }

    /// A command that somebody types on a gateway; what it says follows, from the program itself.
    pub(super) fn prompt(&self, gateway: &str, command: &str) {
        let erase = if self.terminal { "\r\x1b[K" } else { "" };
        let prompt = self.paint(Paint::Dim, &format!("{gateway}$"));
        self.print(format_args!("{erase}\n{prompt} {}\n", self.paint(Paint::Cyan, command)));
    }

    /// A line of another's, put below a step, folded where the terminal or 80 columns end.
    pub(super) fn quote(&self, line: &str) {
        let columns = if self.terminal { columns() } else { COLUMNS };
        let folded = hanging(line, columns.saturating_sub(INDENT + 1), 2);
        let gap = " ".repeat(INDENT);
        let text = folded.replace('\n', &format!("\n{gap}"));
        self.print(format_args!("{gap}{text}\n"));
    }

    /// Lines that go, and those that come in their place.
    pub(super) fn difference(&self, file: &str, before: &str, after: &str) {
        self.say(&format!("\n{:INDENT$}{}", "", self.paint(Paint::Bold, file)));
        let lines = |a: &str, b: &str| -> Vec<String> {
            let other: Vec<&str> = b.lines().collect();
            a.lines().filter(|line| !other.contains(line)).map(str::to_owned).collect()
        };
        for line in lines(before, after) {
            self.say(&format!("{:INDENT$}{}", "", self.paint(Paint::Red, &format!("- {line}"))));
        }
        for line in lines(after, before) {
            self.say(&format!("{:INDENT$}{}", "", self.paint(Paint::Green, &format!("+ {line}"))));
        }
    }

    /// Whether only the object at the end is printed.
    pub(super) fn is_silent(&self) -> bool {
        self.json
    }

    /// Text that is worth a colour.
    pub(super) fn paint(&self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Bold => 1,
            Paint::Dim => 2,
            Paint::Red => 31,
            Paint::Green => 32,
            Paint::Cyan => 36,
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn print(&self, text: fmt::Arguments<'_>) {
        if !self.json {
            // If stdout is gone (a pager was left), the demo goes on for its exit code.
            let mut stdout = io::stdout().lock();
            let _ = stdout.write_fmt(text).and_then(|()| stdout.flush());
        }
    }
}

/// What text can look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Bold,
    Dim,
    Red,
    Green,
    Cyan,
}

/// Of the terminal at stdout; a serial line does not know its own.
fn columns() -> usize {
    let told = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_col);
    if told == 0 { COLUMNS } else { told.into() }
}

const COLUMNS: usize = 80;

/// Where the text of a step begins.
const INDENT: usize = 14;

fn print_json(value: &impl serde::Serialize) {
    let mut stdout = io::stdout().lock();
    // As above: nobody reads, nobody is told.
    let _ = serde_json::to_writer(&mut stdout, value).map(|()| writeln!(stdout));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_there_is_no_colour() {
        let plain = Stage { json: false, terminal: false, colour: false };
        assert_eq!(plain.paint(Paint::Red, "x"), "x");
        let colourful = Stage { json: false, terminal: true, colour: true };
        assert_eq!(colourful.paint(Paint::Red, "x"), "\x1b[31mx\x1b[0m");
    }
}
