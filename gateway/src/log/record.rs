//! One event, apart from how it is written.
//!
//! ```text
//!   {"time":"2026-11-20T08:01:09.412Z","level":"warn","area":"ike","event":"down","connection":"berlin","code":"E1005",
//!    "fields":{"reason":"dpd-timeout","retry_in":"12s"}}
//! ```
//!
//! What peers put into an event is cut: nobody can make a record longer than [`MAX_VALUE`] for each of its fields.

use std::fmt;

use jiff::Timestamp;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::clock;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, to the millisecond.
    pub time: Timestamp,
    /// How bad it is.
    pub level: Severity,
    /// The part of the program: `ike`, `child` ..
    pub area: String,
    /// Its fixed name; empty for what libraries tell.
    pub event: String,
    /// The connection that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// What `s2s-gw error` explains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The rest, in the order in which it is told.
    #[serde(default, serialize_with = "in_order", deserialize_with = "as_ordered")]
    pub fields: Vec<(String, Value)>,
}

/// How bad an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something that the gateway must do cannot be done.
    Error,
    /// Something that should be looked at.
    Warn,
    /// What happened.
    Info,
    /// How it came about.
    Debug,
    /// Every step.
    Trace,
}

impl Severity {
    /// As in the lines of the log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        }
    }
}

impl From<Level> for Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warn,
            Level::INFO => Self::Info,
            Level::DEBUG => Self::Debug,
            Level::TRACE => Self::Trace,
        }
    }
}

impl Record {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let now = clock::wall();
        let mut record = Self {
            time: Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now),
            level: (*metadata.level()).into(),
            area: metadata.target().to_owned(),
            event: String::new(),
            connection: None,
            code: None,
            fields: Vec::new(),
        };
        event.record(&mut Collector(&mut record));
        record
    }

    fn put_text(&mut self, name: &str, text: &str) {
        let end = text.char_indices().nth(MAX_VALUE).map(|(at, _)| at);
        let text = match end.and_then(|end| text.get(..end)) {
            Some(cut) => format!("{cut}.."),
            None => text.to_owned(),
        };
        match name {
            "event" => self.event = text,
            "conn" => self.connection = Some(text),
            "code" => self.code = Some(text),
            _ => self.put(name, Value::String(text)),
        }
    }

    fn put(&mut self, name: &str, value: Value) {
        let name = if name == "message" { "msg" } else { name };
        self.fields.push((name.to_owned(), value));
    }
}

struct Collector<'r>(&'r mut Record);

impl Visit for Collector<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.put(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.put(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.put(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.put_text(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.put_text(field.name(), &format!("{value:?}"));
    }
}

fn in_order<S: Serializer>(fields: &[(String, Value)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(fields.iter().map(|(name, value)| (name, value)))
}

fn as_ordered<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, Value)>, D::Error> {
    struct Ordered;
    impl<'de> Visitor<'de> for Ordered {
        type Value = Vec<(String, Value)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the fields of an event")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut fields = Vec::new();
            while let Some(entry) = map.next_entry()? {
                fields.push(entry);
            }
            Ok(fields)
        }
    }
    from.deserialize_map(Ordered)
}

/// Characters of one value.
const MAX_VALUE: usize = 512;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::log) fn sample() -> Record {
        Record {
            time: "2026-11-20T08:01:09.412Z".parse().expect("a time"),
            level: Severity::Warn,
            area: "ike".into(),
            event: "down".into(),
            connection: Some("berlin".into()),
            code: Some("E1005".into()),
            fields: vec![
                ("reason".into(), "dpd-timeout".into()),
                ("attempt".into(), 3.into()),
                ("msg".into(), "two\nlines \"x\"".into()),
            ],
        }
    }

    #[test]
    fn what_was_written_is_read_again_in_order() {
        let text = serde_json::to_string(&sample()).expect("serializes");
        let expected = r#"{"time":"2026-11-20T08:01:09.412Z","level":"warn","area":"ike","event":"down","connection":"berlin","code":"E1005","fields":{"reason":"dpd-timeout","attempt":3,"msg":"two\nlines \"x\""}}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Record>(&text).expect("parses"), sample());
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let mut record = sample();
        record.put_text("peer", &"ü".repeat(MAX_VALUE + 1));
        let Some((_, Value::String(value))) = record.fields.last() else { panic!("{record:?}") };
        assert_eq!(value.chars().count(), MAX_VALUE + 2);
        assert!(value.ends_with("ü.."), "{value}");
    }
}
