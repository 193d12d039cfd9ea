//! What somebody has to know about an import: what was changed or cannot be mapped, where it stands, and what to do.
//!
//! A note quotes what a stranger wrote, and goes to a terminal and into comments: it is one line, and nothing in it moves a
//! cursor.

use std::fmt;

use crate::config::{Place, printable};

/// One thing that is not in the new configuration as it was in the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Where it stands in the source.
    pub place: Option<Place>,
    /// What and why.
    pub what: String,
    /// What to do about it; empty if nothing.
    pub fix: String,
    /// Whether the tunnel does not work as it did before somebody did that.
    pub grave: bool,
}

impl Note {
    pub(super) fn new(place: Option<&Place>, what: impl Into<String>) -> Self {
        Self {
            place: place.cloned(),
            what: one_line(&what.into()),
            fix: String::new(),
            grave: false,
        }
    }

    pub(super) fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: one_line(&fix.into()), ..self }
    }

    pub(super) fn grave(self) -> Self {
        Self { grave: true, ..self }
    }
}

/// `berlin.conf:12: what; what to do`
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{}:{}: ", place.path().display(), place.line_column().0)?;
        }
        f.write_str(&self.what)?;
        if !self.fix.is_empty() {
            write!(f, "; {}", self.fix)?;
        }
        Ok(())
    }
}

pub(super) fn one_line(text: &str) -> String {
    printable(text).replace(['\n', '\t'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_note_moves_a_cursor() {
        let note =
            Note::new(None, "`a\u{1b}[2J\n\r\0b\u{202e}` is left out").fix("see \u{7}\u{9b}");
        assert_eq!(
            note.to_string(),
            "`a\u{241b}[2J \u{240d}\u{2400}b\u{fffd}` is left out; see \u{2407}\u{fffd}"
        );
    }
}
