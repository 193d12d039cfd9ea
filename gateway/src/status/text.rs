//! The snapshot for people: a table of all connections, or everything about one, in as many columns as there are.
//!
//! ```text
//!   overview.rs   a line for each connection, and why it is not up     columns that do not fit are shortened, then left out
//!   detail.rs     everything about one                                 long lines are folded
//!   table.rs      what `show` shows
//!   plain.rs      a line for each, tabs between, for awk
//! ```

mod detail;
mod fold;
mod overview;
mod plain;
mod table;
#[cfg(test)]
mod tests;

pub use detail::detail;
pub(crate) use fold::hanging;
pub use overview::overview;
#[cfg(feature = "watch")]
pub(crate) use overview::{counts, glyph, peer, sentence};
pub use plain::plain;
pub use table::{table, toml};

use super::{State, Warning};

/// What the text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Whether to colour the state words.
    pub colour: Colour,
    /// How wide the terminal is; `None`: as wide as it takes.
    pub columns: Option<usize>,
}

/// Whether to colour the state words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// ANSI colours.
    On,
    /// Plain.
    Off,
}

const fn painted(state: State, colour: Colour) -> Option<&'static str> {
    match (colour, state) {
        (Colour::Off, _) => None,
        (Colour::On, State::Up) => Some("\x1b[32m"),
        (Colour::On, State::Degraded | State::Connecting) => Some("\x1b[33m"),
        (Colour::On, State::Down | State::Error) => Some("\x1b[31m"),
        (Colour::On, State::Waiting | State::Disabled) => Some("\x1b[2m"),
    }
}

/// Every character that we print is one column wide.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// `W0501 this host does not forward packets. Fix: ..`
fn warning(warning: &Warning) -> String {
    let Warning { code, title, message, fix, .. } = warning;
    format!("{code} {}. Fix: {fix}.", message.as_ref().unwrap_or(title))
}
