//! Where a thing stands: the text of a configuration file and a range in it.
//!
//! ```text
//!   s2s-gw.toml ─► Source { path, text (secrets masked) } ◄── Place { source, span } ◄── At<T> { value, place }
//! ```
//!
//! The text is only for showing, so the octets of inline keys are masked in it, character by character: spans, lines
//! and columns stay what they are in the file, and no message can print a key by accident.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// One configuration file as it is shown in messages.
#[derive(PartialEq, Eq)]
pub struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// `text` with everything inside `secrets` (octet ranges on character boundaries) masked.
    pub(crate) fn new(path: PathBuf, text: &str, secrets: &[Range<usize>]) -> Self {
        Self { path, text: masked(text, secrets) }
    }

    /// Path as it was given, or as an `include` made it.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of an octet offset, both from 1; the column counts characters.
    #[must_use]
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|&octet| octet == b'\n').count() + 1;
        (line, before.chars().count() - before.get(..line_start).unwrap_or("").chars().count() + 1)
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({})", self.path.display())
    }
}

/// Every character in a secret range becomes one of the same length in octets; newlines stay, so lines keep their numbers.
fn masked(text: &str, secrets: &[Range<usize>]) -> String {
    let is_secret = |at: usize| secrets.iter().any(|range| range.contains(&at));
    text.char_indices()
        .map(|(at, character)| match character.len_utf8() {
            _ if character == '\n' || !is_secret(at) => character,
            1 => '*',
            2 => '\u{b7}',
            3 => '\u{2022}',
            _ => '\u{1f512}',
        })
        .collect()
}

/// A range of octets in a [`Source`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub(super) source: Arc<Source>,
    pub(super) span: Range<usize>,
}

impl Place {
    /// These octets of this text.
    pub(crate) fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        Self { source: Arc::clone(source), span }
    }

    /// The part of this place that starts `offset` octets in and is `len` long; this place itself if that is outside.
    fn part(&self, offset: usize, len: usize) -> Self {
        let start = self.span.start + offset;
        if start + len > self.span.end {
            return self.clone();
        }
        Self { source: Arc::clone(&self.source), span: start..start + len }
    }

    /// The part of a text in quotes that `span` of its value is; this place itself if the quoting is not plain.
    pub(super) fn inside_quotes(&self, value: &str, span: Range<usize>) -> Self {
        let shown = self.source.text().get(self.span.clone()).unwrap_or("");
        let plain = shown.get(1..shown.len().saturating_sub(1)) == Some(value);
        if plain && !span.is_empty() { self.part(1 + span.start, span.len()) } else { self.clone() }
    }

    /// Path of the file.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        self.source.path()
    }

    /// Line and column of the first character, both from 1.
    #[must_use]
    pub fn line_column(&self) -> (usize, usize) {
        self.source.line_column(self.span.start)
    }

    /// Line and column just after the last character, both from 1.
    #[must_use]
    pub fn end_line_column(&self) -> (usize, usize) {
        self.source.line_column(self.span.end)
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<T> At<T> {
    pub(super) fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }

    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> At<U> {
        At { value: change(self.value), place: self.place }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masking_keeps_lines_columns_and_offsets() {
        let text = "a = 'sécret€\u{1f600}x'\nb = 1\n";
        let start = text.find('s').unwrap();
        let end = text.find("x'").unwrap() + 1;
        let source = Source::new("f".into(), text, std::slice::from_ref(&(start..end)));
        assert_eq!(source.text().len(), text.len());
        assert_eq!(source.text(), "a = '*\u{b7}****\u{2022}\u{1f512}*'\nb = 1\n");
        let b = text.find('b').unwrap();
        assert_eq!(source.line_column(b), (2, 1));
        assert_eq!(source.line_column(end), (1, 15));
    }
}
