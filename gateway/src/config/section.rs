//! Reads one table of the file: every key known, every value of the type that its key wants.
//!
//! ```text
//!   [connection.berlin]            Section::open     E0101 unknown key, E0103 not supported yet
//!   peer = "198.51.100.20"   ───►  .text("peer")     Field::Given(value and place)
//!   metric = "low"           ───►  .integer(..)      Field::Wrong, after E0106
//!   (nothing)                ───►  .text("psk")      Field::Absent
//! ```
//!
//! A key that is misspelled counts as given but wrong, so that its absence is not reported on top.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::codes::Code;
use super::foreign::recognised;
use super::keys::{Key, Support, did_you_mean, nearest};
use super::report::{Diagnostic, Severity};
use super::source::{At, Place, Source};

/// Everything that was found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    all: Vec<Diagnostic>,
    /// Files with keys and certificates that were looked at.
    material: BTreeSet<PathBuf>,
}

impl Findings {
    pub(super) fn add(&mut self, diagnostic: Diagnostic) {
        self.all.push(diagnostic);
    }

    pub(super) fn has_errors(&self) -> bool {
        self.all.iter().any(|one| one.severity() == Severity::Error)
    }

    /// Takes back what was said about keys that are not served yet.
    pub(super) fn accept_unserved(&mut self) {
        self.all.retain(|one| one.code != Code::NotSupported);
    }

    /// A file with a key or certificate is looked at.
    pub(super) fn note_file(&mut self, path: &Path) {
        self.material.insert(path.to_owned());
    }

    /// Those files.
    pub(super) fn take_material(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.material).into_iter().collect()
    }

    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.all
    }
}

/// What a table says about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field<T> {
    Absent,
    /// There, but an error was reported.
    Wrong,
    Given(At<T>),
}

impl<T> Field<T> {
    pub(super) fn given(&self) -> Option<&At<T>> {
        match self {
            Self::Given(at) => Some(at),
            Self::Absent | Self::Wrong => None,
        }
    }

    pub(super) fn value(&self) -> Option<&T> {
        self.given().map(|at| &at.value)
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub(super) fn and_then<U>(self, change: impl FnOnce(At<T>) -> Option<At<U>>) -> Field<U> {
        match self {
            Self::Absent => Field::Absent,
            Self::Wrong => Field::Wrong,
            Self::Given(at) => change(at).map_or(Field::Wrong, Field::Given),
        }
    }
}

/// What messages call the table around all others.
pub(super) const WHOLE_FILE: &str = "this file";

/// One table with its keys checked.
pub(super) struct Section<'t> {
    table: &'t DeTable<'t>,
    /// As in messages: `[connection.berlin]`.
    title: String,
    /// Its name in the header, or all of an inline table.
    place: Place,
    /// Keys that are there under another spelling.
    misspelled: Vec<&'static str>,
}

impl<'t> Section<'t> {
    pub(super) fn open(
        table: &'t DeTable<'t>,
        title: String,
        place: Place,
        keys: &'static [Key],
        findings: &mut Findings,
    ) -> Self {
        let mut section = Self { table, title, place, misspelled: Vec::new() };
        for (name, _) in section.in_order() {
            let place = section.at(name.span());
            match keys.iter().find(|key| key.name == name.get_ref().as_ref()) {
                Some(key) => section.check_support(key, &place, findings),
                None if section.is_foreign(name.get_ref(), keys, &place, findings) => {}
                None => {
                    let names = || keys.iter().map(|key| key.name);
                    section.misspelled.extend(nearest(name.get_ref(), names()));
                    findings.add(section.unknown(name.get_ref(), keys, &place));
                }
            }
        }
        section
    }

    /// A table whose keys are names that the operator chooses.
    pub(super) fn of_names(table: &'t DeTable<'t>, title: String, place: Place) -> Self {
        Self { table, title, place, misspelled: Vec::new() }
    }

    /// Reports E0103 for what this version cannot do yet.
    pub(super) fn check_support(&self, key: &Key, place: &Place, findings: &mut Findings) {
        match key.support {
            Support::Yes => {}
            Support::Later(purpose) => {
                findings.add(self.not_supported(key.name, purpose, place));
            }
        }
    }

    /// Reports a key that people know from other programs.
    fn is_foreign(
        &mut self,
        name: &str,
        keys: &'static [Key],
        place: &Place,
        findings: &mut Findings,
    ) -> bool {
        // Libreswan's `ikelifetime` in a policy is our `ike_lifetime` here, in the right place already.
        let is_policy = self.title.starts_with("[policy.");
        if is_policy && !nearest(name, keys.iter().map(|key| key.name)).is_empty() {
            return false;
        }
        let Some(value) = self.table.get(name) else { return false };
        let found = recognised(name, value.get_ref(), &self.title, place);
        let Some((diagnostic, ours)) = found else { return false };
        self.misspelled.extend(ours.filter(|ours| keys.iter().any(|key| key.name == *ours)));
        findings.add(diagnostic);
        true
    }

    fn not_supported(&self, name: &str, purpose: &str, place: &Place) -> Diagnostic {
        let message = format!("`{name}` in {} is not supported yet", self.title);
        Diagnostic::at(Code::NotSupported, place, message)
            .label("this version would have to ignore it")
            .why(format!("it sets {purpose}, which would look as if it were in force"))
            .fix(format!("take `{name}` out, or use a version that supports it"))
    }

    fn unknown(&self, name: &str, keys: &'static [Key], place: &Place) -> Diagnostic {
        // A key that is yet to come may be meant, but is nothing to offer.
        let served = || keys.iter().filter(|key| !matches!(key.support, Support::Later(_)));
        let list = || served().map(|key| key.name).collect::<Vec<_>>().join(", ");
        let help = did_you_mean(name, keys.iter().map(|key| key.name))
            .unwrap_or_else(|| format!("known keys: {}", list()));
        Diagnostic::at(Code::UnknownKey, place, format!("unknown key `{name}` in {}", self.title))
            .label(format!("not a key of {}", self.title))
            .help(Some(help))
    }

    /// Keys and values in the order of the file.
    pub(super) fn in_order(
        &self,
    ) -> Vec<(&'t Spanned<toml::de::DeString<'t>>, &'t Spanned<DeValue<'t>>)> {
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
    }

    pub(super) fn title(&self) -> &str {
        &self.title
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn at(&self, span: std::ops::Range<usize>) -> Place {
        Place { source: Arc::clone(&self.place.source), span }
    }

    pub(super) fn source(&self) -> &Arc<Source> {
        &self.place.source
    }

    /// The value of a key before its type is known.
    pub(super) fn raw(&self, key: &'static str) -> Field<&'t DeValue<'t>> {
        match self.table.get(key) {
            Some(value) => Field::Given(At::new(value.get_ref(), self.value_place(key, value))),
            None if self.misspelled.contains(&key) => Field::Wrong,
            None => Field::Absent,
        }
    }

    /// The value in place; a table with a header of its own is shown by its name there.
    fn value_place(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Place {
        let text = self.source().text();
        let in_braces = text.get(value.span()).is_some_and(|text| text.starts_with('{'));
        match (value.get_ref().is_table() && !in_braces, self.table.get_key_value(key)) {
            (true, Some((name, _))) => self.at(name.span()),
            _ => self.at(value.span()),
        }
    }

    pub(super) fn text(&self, key: &'static str, findings: &mut Findings) -> Field<String> {
        self.raw(key).and_then(|at| text_of(key, &at, findings))
    }

    /// A text or a list of texts.
    pub(super) fn texts(
        &self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Field<Vec<At<String>>> {
        self.raw(key).and_then(|at| texts_of(key, &at, self.source(), findings))
    }

    pub(super) fn boolean(&self, key: &'static str, findings: &mut Findings) -> Field<bool> {
        self.raw(key).and_then(|at| match at.value.as_bool() {
            Some(value) => Some(At::new(value, at.place)),
            None => wrong_type(key, &at, "`true` or `false`", findings),
        })
    }

    pub(super) fn integer(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
        findings: &mut Findings,
    ) -> Field<u64> {
        self.raw(key).and_then(|at| integer_of(key, &at, range, findings))
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &self,
        key: &'static str,
        words: &[(&'static str, T)],
        findings: &mut Findings,
    ) -> Field<T> {
        self.raw(key).and_then(|at| word_of(key, &at, words, &one_of(words), findings))
    }

    /// An inline or headed table as a section of its own.
    pub(super) fn inner(
        &self,
        key: &'static str,
        value: At<&'t DeValue<'t>>,
        keys: &'static [Key],
        findings: &mut Findings,
    ) -> Option<Section<'t>> {
        let table = value.value.as_table()?;
        let title = format!("`{key}` of {}", self.title);
        Some(Section::open(table, title, value.place, keys, findings))
    }

    /// The tables of an array of tables, `[[title.key]]`; those that are none are reported.
    pub(super) fn tables(
        &self,
        key: &'static str,
        keys: &'static [Key],
        findings: &mut Findings,
    ) -> Vec<Section<'t>> {
        let Field::Given(at) = self.raw(key) else { return Vec::new() };
        let wanted =
            format!("tables, each under a line [[{}.{key}]]", self.title.trim_matches(['[', ']']));
        let Some(array) = at.value.as_array() else {
            let _: Option<()> = wrong_type(key, &at, &wanted, findings);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in array {
            let place = self.at(item.span());
            if let Some(table) = item.get_ref().as_table() {
                let title = format!("`{key}` of {}", self.title);
                sections.push(Section::open(table, title, place, keys, findings));
            } else {
                let item = At::new(item.get_ref(), place);
                let _: Option<()> = wrong_type(key, &item, &wanted, findings);
            }
        }
        sections
    }

    /// Reports E0107 if a key is not there at all.
    pub(super) fn require<T>(
        &self,
        key: &str,
        field: &Field<T>,
        fix: &str,
        findings: &mut Findings,
    ) {
        if field.is_absent() {
            let message = format!("{} has no `{key}`", self.title);
            let label = format!("`{key}` is missing here");
            findings
                .add(Diagnostic::at(Code::MissingKey, &self.place, message).label(label).fix(fix));
        }
    }
}

const TEXT: &str = "text in quotes";

pub(super) fn text_of(
    key: &str,
    at: &At<&DeValue<'_>>,
    findings: &mut Findings,
) -> Option<At<String>> {
    let Some(text) = at.value.as_str() else {
        return wrong_type(key, at, TEXT, findings);
    };
    if text.is_empty() {
        findings.add(empty(key, &at.place, "text"));
        return None;
    }
    Some(At::new(text.to_owned(), at.place.clone()))
}

pub(super) fn texts_of(
    key: &str,
    at: &At<&DeValue<'_>>,
    source: &Arc<Source>,
    findings: &mut Findings,
) -> Option<At<Vec<At<String>>>> {
    let Some(array) = at.value.as_array() else {
        if at.value.is_str() {
            return Some(text_of(key, at, findings)?).map(|one| {
                let place = one.place.clone();
                At::new(vec![one], place)
            });
        }
        return wrong_type(key, at, "text in quotes or a list of texts", findings);
    };
    if array.is_empty() {
        findings.add(empty(key, &at.place, "list"));
        return None;
    }
    let texts: Vec<_> = array
        .iter()
        .map(|item| {
            let place = Place { source: Arc::clone(source), span: item.span() };
            text_of(key, &At::new(item.get_ref(), place), findings)
        })
        .collect();
    let texts: Option<Vec<_>> = texts.into_iter().collect();
    Some(At::new(texts?, at.place.clone()))
}

fn integer_of(
    key: &str,
    at: &At<&DeValue<'_>>,
    range: RangeInclusive<u64>,
    findings: &mut Findings,
) -> Option<At<u64>> {
    let Some(number) = at.value.as_integer() else {
        return wrong_type(key, at, "a whole number without quotes", findings);
    };
    let digits = number.as_str().replace('_', "");
    match u64::from_str_radix(digits.trim_start_matches('+'), number.radix()) {
        Ok(value) if range.contains(&value) => Some(At::new(value, at.place.clone())),
        _ => {
            let (low, high) = (range.start(), range.end());
            let message = format!("`{key}` is out of range");
            findings.add(
                Diagnostic::at(Code::OutOfRange, &at.place, message)
                    .label(format!("must be {low} to {high}"))
                    .fix(format!("write a number from {low} to {high}")),
            );
            None
        }
    }
}

/// One of the words that a key accepts; `wanted` says all that it accepts, words and others.
pub(super) fn word_of<T: Copy>(
    key: &str,
    at: &At<&DeValue<'_>>,
    words: &[(&'static str, T)],
    wanted: &str,
    findings: &mut Findings,
) -> Option<At<T>> {
    if !at.value.is_str() {
        return wrong_type(key, at, wanted, findings);
    }
    let at = text_of(key, at, findings)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == at.value) {
        return Some(at.map(|_| *value));
    }
    let names = words.iter().map(|(word, _)| *word);
    findings.add(
        Diagnostic::at(Code::UnknownWord, &at.place, format!("unknown {key} `{}`", at.value))
            .label("not one of the words that it accepts")
            .fix(format!("write {wanted}"))
            .help(did_you_mean(&at.value, names)),
    );
    None
}

/// `"on" or "off"`, `one of "a", "b", "c"`.
fn one_of<T>(words: &[(&'static str, T)]) -> String {
    let quoted: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    match quoted.as_slice() {
        [one, other] => format!("{one} or {other}"),
        all => format!("one of {}", all.join(", ")),
    }
}

/// Reports E0106; always `None`, so that it can end a branch.
pub(super) fn wrong_type<T>(
    key: &str,
    at: &At<&DeValue<'_>>,
    wanted: &str,
    findings: &mut Findings,
) -> Option<T> {
    let found = kind(at.value);
    findings.add(
        Diagnostic::at(Code::WrongType, &at.place, format!("`{key}` wants {wanted}"))
            .label(format!("this is {found}"))
            .fix(format!("write {wanted}")),
    );
    None
}

pub(super) fn empty(key: &str, place: &Place, what: &str) -> Diagnostic {
    Diagnostic::at(Code::Empty, place, format!("`{key}` is an empty {what}"))
        .label("nothing in it")
        .fix(format!("fill it, or delete `{key}`"))
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "`true` or `false`",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
