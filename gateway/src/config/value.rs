//! Durations, sizes and names: text to value, with errors that say what to write instead.
//!
//! ```text
//!   "1h 30m" ─► 5400 s      3600   ─► E0110, "3600s" or "1h"
//!   "500GiB" ─► 536870912000 octets
//! ```

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::SpanRelativeTo;
use jiff::fmt::friendly::SpanParser;
use toml::de::DeValue;

use super::codes::Code;
use super::keys::did_you_mean;
use super::report::Diagnostic;
use super::section::{Field, Findings, Section, empty, text_of, wrong_type};
use super::source::At;

/// Reads a duration out of a section, such as `"1h 30m"`.
pub(super) fn duration(
    section: &Section<'_>,
    key: &'static str,
    range: RangeInclusive<Duration>,
    findings: &mut Findings,
) -> Field<Duration> {
    section.raw(key).and_then(|at| {
        let text = unit_text(key, &at, "a duration", duration_examples, findings)?;
        let Some(value) = parse_duration(&text.value) else {
            findings.add(
                Diagnostic::at(Code::BadDuration, &text.place, format!("`{}` is not a duration", text.value))
                    .label(format!("`{key}` wants a duration"))
                    .fix("write a number and a unit (d, h, m, s, ms), such as \"90s\", \"8h\" or \"1h 30m\""),
            );
            return None;
        };
        if range.contains(&value) {
            return Some(At::new(value, text.place));
        }
        let (low, high) = (shown_duration(*range.start()), shown_duration(*range.end()));
        findings.add(
            Diagnostic::at(Code::OutOfRange, &text.place, format!("`{key}` is out of range"))
                .label(format!("must be {low} to {high}"))
                .fix(format!("write a duration from \"{low}\" to \"{high}\"")),
        );
        None
    })
}

/// Reads a number of octets out of a section, such as `"500GiB"`.
pub(super) fn size(
    section: &Section<'_>,
    key: &'static str,
    at_least: u64,
    findings: &mut Findings,
) -> Field<u64> {
    section.raw(key).and_then(|at| {
        let text = unit_text(key, &at, "a size", size_examples, findings)?;
        match parse_size(&text.value) {
            Ok(value) if value >= at_least => Some(At::new(value, text.place)),
            Ok(_) => {
                findings.add(
                    Diagnostic::at(
                        Code::OutOfRange,
                        &text.place,
                        format!("`{key}` is out of range"),
                    )
                    .label(format!("must be {at_least} octets or more"))
                    .fix(format!("write \"{at_least}B\" or more")),
                );
                None
            }
            Err(help) => {
                findings.add(
                    Diagnostic::at(
                        Code::BadSize,
                        &text.place,
                        format!("`{}` is not a size", text.value),
                    )
                    .label(format!("`{key}` wants a size"))
                    .fix("write a number and a unit, such as \"512MiB\" or \"500GiB\"")
                    .help(help),
                );
                None
            }
        }
    })
}

/// A text that must carry a unit: numbers without one are E0110.
fn unit_text(
    key: &str,
    at: &At<&DeValue<'_>>,
    what: &str,
    examples: fn(u64) -> Vec<String>,
    findings: &mut Findings,
) -> Option<At<String>> {
    let bare = match at.value {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        DeValue::String(text) => text.parse().ok(),
        DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    };
    if let Some(number) = bare {
        let examples: Vec<_> = examples(number).iter().map(|one| format!("\"{one}\"")).collect();
        findings.add(
            Diagnostic::at(
                Code::BareNumber,
                &at.place,
                format!("`{key}` is a number without unit"),
            )
            .label(format!("{number} of what?"))
            .why("other programs count this in other units, so a bare number is easily misread")
            .fix(format!("write {}", examples.join(" or "))),
        );
        return None;
    }
    if !at.value.is_str() {
        return wrong_type(key, at, &format!("{what} in quotes"), findings);
    }
    text_of(key, at, findings)
}

fn duration_examples(seconds: u64) -> Vec<String> {
    let mut examples = vec![format!("{seconds}s")];
    match seconds {
        0 => {}
        _ if seconds.is_multiple_of(3600) => examples.push(format!("{}h", seconds / 3600)),
        _ if seconds.is_multiple_of(60) => examples.push(format!("{}m", seconds / 60)),
        _ => {}
    }
    examples
}

fn size_examples(number: u64) -> Vec<String> {
    vec![format!("{number}B"), format!("{number}GiB")]
}

fn parse_duration(text: &str) -> Option<Duration> {
    let span = SpanParser::new().parse_span(text).ok()?;
    let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(signed).ok()
}

/// Seconds as people write them: the largest unit that divides.
pub(crate) fn shown_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        _ if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

/// The error is a guess what was meant, if there is one.
fn parse_size(text: &str) -> Result<u64, Option<String>> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let number: u64 = number.parse().map_err(|_| None)?;
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let names = UNITS.iter().map(|(name, _)| *name);
        let same = names.clone().find(|name| name.eq_ignore_ascii_case(unit));
        return Err(match same {
            Some(name) => Some(format!("did you mean `{number}{name}`?")),
            None => did_you_mean(unit, names),
        });
    };
    number.checked_mul(*factor).ok_or(None)
}

const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Checks the name of a connection, policy or network: `[a-z0-9-]{1,32}`.
pub(super) fn check_name(what: &str, name: &At<String>, findings: &mut Findings) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.value.is_empty() {
        findings.add(empty(&format!("name of a {what}"), &name.place, "text"));
        return false;
    }
    if name.value.len() <= 32 && name.value.chars().all(allowed) {
        return true;
    }
    let plain: String = name
        .value
        .to_lowercase()
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(32)
        .collect();
    findings.add(
        Diagnostic::at(
            Code::BadName,
            &name.place,
            format!("`{}` cannot name a {what}", name.value),
        )
        .label("only a-z, 0-9 and `-`, at most 32 characters")
        .why("names become parts of commands, metrics and file names")
        .fix(format!("call it `{plain}`")),
    );
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("8h", 28_800),
            ("1h 30m", 5_400),
            ("90s", 90),
            ("2d", 172_800),
            ("10m", 600),
            ("1 hour", 3_600),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_duration("1500ms"), Some(Duration::from_millis(1500)));
        for text in ["", "h", "8", "8 parsecs", "-5s", "5s ago", "1 month", "1e3s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_in_both_systems() {
        assert_eq!(parse_size("500GiB"), Ok(500 << 30));
        assert_eq!(parse_size("10 MB"), Ok(10_000_000));
        assert_eq!(parse_size("1B"), Ok(1));
        assert_eq!(parse_size("500gib"), Err(Some("did you mean `500GiB`?".into())));
        assert_eq!(parse_size("500GiBs"), Err(Some("did you mean `GiB`?".into())));
        assert_eq!(parse_size("-1B"), Err(None));
        assert_eq!(parse_size("99999999TiB"), Err(None), "more than 64 bits");
    }
}
