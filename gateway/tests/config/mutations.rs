//! The good files, made worse in every way that fingers do it.
//!
//! ```text
//!   metric = 100  ─►  metrc = 100   letter dropped    ─┐
//!                     mettric = 100 letter doubled     ├─► E0101 at the key, "did you mean `metric`?"
//!                     mertic = 100  letters swapped   ─┘
//!   metric = 100  ─►  metric = 1.5  another type      ───► E0106 or its like, at the value
//! ```

use gateway::config::Code;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

use super::fixture::{Fixture, diagnostics};
use super::good::GOOD;

#[test]
fn every_key_misspelled_is_found_at_its_place() {
    let fixture = Fixture::new();
    let mut count = 0;
    for (name, text) in GOOD {
        for (key, span) in spots(text).keys {
            for wrong in misspellings(&key) {
                let (bad, place) = replaced(text, &span, &wrong);
                let found = diagnostics(fixture.load(&bad));
                let report = found
                    .iter()
                    .find(|one| one.code == Code::UnknownKey && one.line_column() == Some(place));
                let report =
                    report.unwrap_or_else(|| panic!("{name}: `{wrong}` at {place:?}: {found:#?}"));
                let help = report.help.as_deref().unwrap_or("");
                assert!(
                    help.starts_with("did you mean") && help.contains(&format!("`{key}`")),
                    "{name}: `{wrong}` for `{key}`: {help}"
                );
                // Of `[connection.x]` and `[connection.x.failover]` only the first is misspelled.
                assert!(
                    key == "connection" || !found.iter().any(|one| one.code == Code::MissingKey),
                    "{name}: {found:#?}"
                );
                count += 1;
            }
        }
    }
    assert!(count > 1000, "only {count} misspellings tried");
}

#[test]
fn every_value_of_a_wrong_type_is_found_at_its_place() {
    let fixture = Fixture::new();
    let expected = [Code::WrongType, Code::BareNumber, Code::KeySource];
    let mut count = 0;
    for (name, text) in GOOD {
        for (kind, span) in spots(text).values {
            for wrong in ["1.5", "1979-05-27", "true", "42", "[[]]", "{ x = 1 }", "\"x y\""] {
                if kind.may_be(wrong) {
                    continue;
                }
                let (bad, place) = replaced(text, &span, wrong);
                let found = diagnostics(fixture.load(&bad));
                // In a list it is the element that is wrong.
                let (line, column) = place;
                let inner = (line, column + usize::from(wrong == "[[]]"));
                let hit = found.iter().any(|one| {
                    expected.contains(&one.code)
                        && [Some(place), Some(inner)].contains(&one.line_column())
                });
                assert!(hit, "{name}: `{wrong}` at {place:?} in\n{bad}\n{found:#?}");
                count += 1;
            }
        }
    }
    assert!(count > 400, "only {count} values tried");
}

/// Types as far as the mutations tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Boolean,
    List,
    Table,
    /// `dpd = false` or `"off"`, `mtu = "auto"`: several types are right.
    Several,
}

impl Kind {
    /// Whether the value may be of the right type, or reported as a wrong value rather than a wrong type.
    fn may_be(self, value: &str) -> bool {
        match self {
            Self::Text | Self::List => value.starts_with('"'),
            Self::Integer => value == "42",
            Self::Boolean => value == "true",
            Self::Table => value.starts_with('{'),
            Self::Several => !matches!(value, "1.5" | "1979-05-27"),
        }
    }
}

/// The places of a file that can be made worse.
#[derive(Default)]
struct Spots {
    keys: Vec<(String, Range<usize>)>,
    values: Vec<(Kind, Range<usize>)>,
}

fn spots(text: &str) -> Spots {
    let mut spots = Spots::default();
    let root = DeTable::parse(text).unwrap();
    collect(text, root.get_ref(), "", &mut spots);
    spots
}

fn collect(text: &str, table: &DeTable<'_>, parent: &str, spots: &mut Spots) {
    for (key, value) in table {
        // Connections, policies and networks have names of their own.
        if !matches!(parent, "connection" | "policy" | "networks") {
            spots.keys.push((key.get_ref().to_string(), key.span()));
        }
        let written_in_place = !text[value.span()].starts_with('[') || value.get_ref().is_array();
        match value.get_ref() {
            DeValue::Table(inner) => {
                if written_in_place && text[value.span()].starts_with('{') {
                    let several = matches!(key.get_ref().as_ref(), "dpd" | "key");
                    let kind = if several { Kind::Several } else { Kind::Table };
                    spots.values.push((kind, value.span()));
                }
                collect(text, inner, key.get_ref(), spots);
            }
            DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
                let tables = items.iter().filter_map(|item| item.get_ref().as_table());
                tables.for_each(|inner| collect(text, inner, key.get_ref(), spots));
            }
            DeValue::Array(items) => {
                spots.values.push((Kind::List, value.span()));
                spots.values.extend(items.iter().map(|item| (Kind::Text, item.span())));
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Boolean(_)
            | DeValue::Float(_)
            | DeValue::Datetime(_) => {
                spots.values.push((kind(key.get_ref(), value.get_ref()), value.span()));
            }
        }
    }
}

fn kind(key: &str, value: &DeValue<'_>) -> Kind {
    match (key, value) {
        (
            "dpd" | "key" | "mtu" | "mss_clamp" | "routes" | "peer" | "guests" | "fragmentation",
            _,
        ) => Kind::Several,
        (_, DeValue::String(_)) => Kind::Text,
        (_, DeValue::Integer(_)) => Kind::Integer,
        (_, DeValue::Boolean(_)) => Kind::Boolean,
        (key, _) => panic!("`{key}` has a type that the good files did not have"),
    }
}

/// The text with a span replaced, and line and column of it.
fn replaced(text: &str, span: &Range<usize>, by: &str) -> (String, (usize, usize)) {
    let (before, after) = (&text[..span.start], &text[span.end..]);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    (format!("{before}{by}{after}"), (line, column))
}

/// One letter dropped, doubled, or swapped with the next.
fn misspellings(key: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for at in 0..key.len() {
        let (before, from) = key.split_at(at);
        let (letter, after) = from.split_at(1);
        wrong.push(format!("{before}{after}"));
        wrong.push(format!("{before}{letter}{letter}{after}"));
        if let Some(next) = after.get(..1) {
            wrong.push(format!("{before}{next}{letter}{}", &after[1..]));
        }
    }
    wrong.retain(|word| word != key && !word.is_empty());
    wrong.sort_unstable();
    wrong.dedup();
    wrong
}
