//! What somebody has to know about an import: what was changed or cannot be mapped, where it stands, and what to do.

use std::fmt;

use crate::config::Place;

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
        Self { place: place.cloned(), what: what.into(), fix: String::new(), grave: false }
    }

    pub(super) fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: fix.into(), ..self }
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
