//! What leaves the program: data on stdout, words on stderr, lines that fit.
//!
//! ```text
//!   print(data) ─► stdout     a reader that has seen enough (`| head`) is no failure
//!   complain(..) ─► stderr    error: sentence
//! ```

use std::io::{self, Write as _};
use std::process::ExitCode;

use super::{Code, Failure, Outcome};

/// Nothing went wrong.
pub(super) const DONE: Outcome = Ok(ExitCode::SUCCESS);

/// Of help and prose; what every terminal has.
pub(super) const COLUMNS: usize = 80;

/// Writes data to stdout. A reader that has seen enough (`| head`) is no failure.
pub(super) fn print(text: &str) -> Outcome {
    print_some(text).and(DONE)
}

/// Writes a part of the data to stdout; false if the reader has seen enough.
pub(super) fn print_some(text: &str) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(Code::Failed, format!("cannot write to stdout: {error}"))),
    }
}

/// What the parser of the command line has to say: help and version are data, the rest is a mistake.
pub(super) fn usage(said: &clap::Error) -> Outcome {
    match said.print() {
        _ if said.use_stderr() => Err(Failure::silent(Code::Usage)),
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Code::Failed, format!("cannot write to stdout: {error}")))
        }
        _ => DONE,
    }
}

/// One JSON object in a line.
pub(super) fn json_line(value: &impl serde::Serialize) -> Result<String, Failure> {
    let line = serde_json::to_string(value).map_err(|error| Failure::new(Code::Failed, error))?;
    Ok(line + "\n")
}

/// Says what went wrong.
pub(super) fn complain(sentence: &str) {
    say(&format!("error: {sentence}\n"));
}

/// Writes words to stderr, if somebody reads them.
pub(super) fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// <https://no-color.org>: any value but the empty one switches colours off.
pub(super) fn has_colour(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal()
        && !is_dumb()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A terminal that can neither colour nor move its cursor.
pub(super) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Prose in lines of at most [`COLUMNS`] characters.
pub(super) fn wrapped(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes;

    #[test]
    fn prose_is_wrapped() {
        for code in codes::all() {
            let text = wrapped(code.text);
            assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
            assert_eq!(text.split_whitespace().collect::<Vec<_>>().join(" "), code.text);
        }
    }
}
