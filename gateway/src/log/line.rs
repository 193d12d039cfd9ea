//! A record as one line: logfmt for people, JSON for programs.
//!
//! ```text
//!   2026-11-20T08:01:09.412Z WARN ike event=down conn=berlin reason=dpd-timeout msg="two words" code=E1005
//!   {"schema":"s2s-gw/event/1","time":"2026-11-20T08:01:09.412Z","level":"warn", ..}
//! ```

use serde::Serialize;

use super::Record;

/// A line of logfmt with its end.
pub(super) fn text(record: &Record) -> String {
    to_text(record) + "\n"
}

/// The record as people read it, without a line end.
#[must_use]
pub fn to_text(record: &Record) -> String {
    let time = record.time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
    format!("{time} {} {}{}", record.level.word(), record.area, pairs(record))
}

/// ` key=value` for each field.
pub(super) fn pairs(record: &Record) -> String {
    let mut line = String::new();
    let mut push = |name: &str, value: &str| {
        line.push(' ');
        line.push_str(name);
        line.push('=');
        push_value(&mut line, value);
    };
    if !record.event.is_empty() {
        push("event", &record.event);
    }
    if let Some(connection) = &record.connection {
        push("conn", connection);
    }
    for (name, value) in &record.fields {
        match value.as_str() {
            Some(text) => push(name, text),
            None => push(name, &value.to_string()),
        }
    }
    if let Some(code) = &record.code {
        push("code", code);
    }
    line
}

/// A line of JSON with its end.
pub(super) fn json(record: &Record) -> String {
    to_json(record) + "\n"
}

/// The record as programs read it, without a line end.
#[must_use]
pub fn to_json(record: &Record) -> String {
    #[derive(Serialize)]
    struct Line<'r> {
        schema: &'static str,
        #[serde(flatten)]
        record: &'r Record,
    }
    // Nothing in a record has a form that JSON lacks.
    let line = serde_json::to_string(&Line { schema: SCHEMA, record });
    line.unwrap_or_default()
}

/// A value in quotes where it has blanks, quotes or nothing; control characters are escaped, so that one event is one line.
fn push_value(line: &mut String, value: &str) {
    let plain = !value.is_empty()
        && value.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=');
    if plain {
        line.push_str(value);
        return;
    }
    line.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            '\n' => line.push_str("\\n"),
            c if c.is_control() => line.extend(c.escape_unicode()),
            c => line.push(c),
        }
    }
    line.push('"');
}

/// Of each line of JSON; fields are added, none changes its meaning.
const SCHEMA: &str = "s2s-gw/event/1";

#[cfg(test)]
mod tests {
    use super::super::record::tests::sample;
    use super::*;

    #[test]
    fn a_record_is_one_line_of_logfmt() {
        let expected = "2026-11-20T08:01:09.412Z WARN ike event=down conn=berlin reason=dpd-timeout attempt=3 \
                        msg=\"two\\nlines \\\"x\\\"\" code=E1005\n";
        assert_eq!(text(&sample()), expected);
        let mut hostile = sample();
        hostile.fields = vec![("id".into(), "\u{1b}[2J".into())];
        assert!(!text(&hostile).contains('\u{1b}'), "it would drive a terminal");
    }

    #[test]
    fn a_record_is_one_line_of_json() {
        let line = json(&sample());
        assert_eq!(line.matches('\n').count(), 1);
        assert!(
            line.starts_with(
                "{\"schema\":\"s2s-gw/event/1\",\"time\":\"2026-11-20T08:01:09.412Z\","
            )
        );
        assert_eq!(serde_json::from_str::<Record>(&line).expect("parses"), sample());
    }
}
