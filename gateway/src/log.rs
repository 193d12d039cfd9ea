//! Logs: one line per event on stderr, logfmt, made from `tracing` events.
//!
//! ```text
//!   tracing::info!(target: "ike", event = "up", conn = %name, peer = %path.remote)
//!     ──► 2026-11-20T08:01:09.412Z INFO ike event=up conn=berlin peer=198.51.100.20:4500
//! ```
//!
//! The target is the area: `gateway`, `ike`, `child`, `dataplane`, `status`. Event names are fixed. No event carries a key.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock;

/// Sends the process's logs to stderr. `filter` is a level or a list like `info,ike=debug`.
///
/// # Errors
/// If `filter` cannot be understood.
pub fn start(filter: &str) -> Result<(), BadFilter> {
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|error| BadFilter { filter: filter.to_owned(), why: error.to_string() })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .event_format(Logfmt)
        .finish();
    // It fails only if the process logs already, which is as good.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// Whether a filter of the configuration can be understood: levels, and areas with a level, behind commas.
///
/// # Errors
/// What is wrong with it. It is stricter than [`start`], which takes every word for an area that may exist.
pub(crate) fn check(filter: &str) -> Result<(), String> {
    for part in filter.split(',') {
        let (area, level) = match part.split_once('=') {
            Some((area, level)) => (Some(area), level),
            None => (None, part),
        };
        if let Some(area) = area.filter(|area| !AREAS.contains(area)) {
            return Err(format!("no area `{area}`; there is {}", AREAS.join(", ")));
        }
        if !LEVELS.contains(&level) {
            return Err(format!("no level `{level}`; there is {}", LEVELS.join(", ")));
        }
    }
    Ok(())
}

/// The targets of all events.
const AREAS: [&str; 5] = ["gateway", "ike", "child", "dataplane", "status"];

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The filter of the logs is not one.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot understand the log filter `{filter}`: {why}; write a level or a list like info,ike=debug"
)]
pub struct BadFilter {
    filter: String,
    why: String,
}

/// `time LEVEL area key=value key="two words"`.
struct Logfmt;

impl<S, N> FormatEvent<S, N> for Logfmt
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let time = clock::wall().strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
        write!(writer, "{time} {} {}", metadata.level(), metadata.target())?;
        let mut line = String::new();
        event.record(&mut Fields { line: &mut line });
        writer.write_str(&line)?;
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<tracing_subscriber::fmt::FormattedFields<N>>()
                && !fields.is_empty()
            {
                write!(writer, " {fields}")?;
            }
        }
        writeln!(writer)
    }
}

/// Writes ` key=value` for each field; the message has the key `msg`.
struct Fields<'l> {
    line: &'l mut String,
}

impl Fields<'_> {
    fn push(&mut self, field: &Field, value: &str) {
        self.line.push(' ');
        self.line.push_str(if field.name() == "message" { "msg" } else { field.name() });
        self.line.push('=');
        push_value(self.line, value);
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, &format!("{value:?}"));
    }
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_filter_is_made_of_levels_and_areas() {
        for good in ["info", "off", "info,ike=debug", "warn,child=trace,status=off"] {
            assert_eq!(check(good), Ok(()), "{good}");
            assert!(EnvFilter::builder().parse(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("lout", "no level `lout`"),
            ("", "no level ``"),
            ("info,kie=debug", "no area `kie`; there is gateway, ike"),
            ("ike=loud", "no level `loud`"),
            ("ike", "no level `ike`"),
        ] {
            let said = check(bad).expect_err(bad);
            assert!(said.starts_with(why), "{said}");
        }
    }

    #[test]
    fn an_event_is_one_line_of_logfmt() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .event_format(Logfmt)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(
                target: "ike", event = "down", conn = %"berlin", why = "two\nlines \"x\"", n = 3
            );
        });
        let text = String::from_utf8(sink.0.lock().expect("no panic").clone()).expect("UTF-8");
        let (time, rest) = text.split_once(' ').expect("a time");
        assert_eq!(time.len(), "2026-11-20T08:01:09.412Z".len(), "{time}");
        assert_eq!(rest, "WARN ike event=down conn=berlin why=\"two\\nlines \\\"x\\\"\" n=3\n");
    }
}
