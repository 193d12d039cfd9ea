//! Logs: every event of the program becomes one record, and goes where it is wanted.
//!
//! ```text
//!   tracing::info!(target: "ike", event = "up", conn = %name, peer = %path.remote)
//!     ──► record.rs ──┬── the filter takes it ──► line.rs     logfmt or JSON, to stderr by outlet.rs, which never waits
//!                     │                       └─► journal.rs  under systemd: fields of its own
//!                     └── info or louder, always ──► ring.rs  the last few, for `s2s-gw events` and `logs`
//!
//!   2026-11-20T08:01:09.412Z INFO ike event=up conn=berlin peer=198.51.100.20:4500
//! ```
//!
//! The target is the area: `gateway`, `ike`, `child`, `dataplane`, `status`, `web`. Event names are fixed (ids.rs, docs/events.md).
//! No event carries a key. The filter can be changed while the program runs.

mod filter;
pub mod ids;
mod journal;
mod line;
mod outlet;
mod record;
mod ring;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use self::filter::Filter;
use self::journal::Journal;
use self::outlet::Outlet;
use self::ring::Rings;
use crate::config::{self, LogFormat};

pub use self::filter::BadFilter;
pub(crate) use self::filter::check;
pub use self::line::{to_json, to_text};
pub use self::record::{Record, Severity};
pub use self::ring::Cursor;

/// Sends what the process logs to stderr, or to the journal if that is where stderr goes. `filter` is a level or a list
/// like `info,ike=debug` that goes before that of the configuration; each of `connections` has a level of its own.
///
/// # Errors
/// If `filter` cannot be understood.
pub fn start(
    filter: Option<&str>,
    config: &config::Log,
    connections: impl IntoIterator<Item = (String, Level)>,
) -> Result<(), BadFilter> {
    let pinned = filter.is_some();
    let filter = Filter::new(filter.unwrap_or(&config.level), connections)?;
    let log = LOG.get_or_init(|| Log::new(filter, Way::of(config.format), pinned));
    // It fails only if the process logs already, which is as good.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(log));
    Ok(())
}

/// Logs by another filter until [`restore`]; levels of areas alone are added to what was there. Answers what is in force.
///
/// # Errors
/// If `filter` cannot be understood.
pub fn change(filter: &str) -> Result<String, BadFilter> {
    switch(|now| now.change(filter))
}

/// Takes the filter in force for the one to return to.
pub fn keep() {
    // Nothing can go wrong, for nothing is read.
    let _ = switch(|now| {
        now.keep();
        Ok(())
    });
}

/// Logs as it did at first. Answers what is in force.
#[must_use]
pub fn restore() -> String {
    switch(|now| {
        now.restore();
        Ok(())
    })
    .unwrap_or_default()
}

/// Takes another filter of the configuration for the one to return to, and puts it in force unless another one is for a time.
/// Answers what is in force then; nothing if the command line goes before it.
///
/// # Errors
/// If `filter` cannot be understood.
pub fn rebase(filter: &str, for_later: bool) -> Result<Option<String>, BadFilter> {
    if is_pinned() {
        return Ok(None);
    }
    switch(|now| now.rebase(filter, for_later)).map(Some)
}

/// Whether the command line said what is logged, whatever the configuration does.
#[must_use]
pub fn is_pinned() -> bool {
    LOG.get().is_some_and(|log| log.pinned)
}

/// Writes lines of this form from now on.
pub fn set_format(format: LogFormat) {
    if let Some(log) = LOG.get() {
        *log.way.write().unwrap_or_else(PoisonError::into_inner) = Way::of(format);
    }
}

/// The connections that have a level of their own.
pub fn levels(connections: &[config::Connection]) -> impl Iterator<Item = (String, Level)> {
    connections.iter().filter_map(|one| Some((one.name.clone(), one.log?)))
}

/// Gives other connections levels of their own, as a new configuration wants it.
pub fn set_connections(levels: impl IntoIterator<Item = (String, Level)>) {
    let _ = switch(|now| {
        now.set_connections(levels);
        Ok(())
    });
}

/// The records after `cursor`, at most `max`, oldest first, and how many are lost because nobody took them in time.
/// Moves the cursor behind them.
pub fn since(cursor: &mut Cursor, max: usize) -> (Vec<Record>, u64) {
    LOG.get().map_or_else(Default::default, |log| log.rings().since(cursor, max))
}

fn switch(how: impl FnOnce(&mut Filter) -> Result<(), BadFilter>) -> Result<String, BadFilter> {
    let Some(log) = LOG.get() else { return Ok(String::new()) };
    let mut now = log.filter.write().unwrap_or_else(PoisonError::into_inner);
    how(&mut now)?;
    let text = now.to_string();
    drop(now);
    // Each place that logs remembers whether anybody listens.
    tracing::callsite::rebuild_interest_cache();
    Ok(text)
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Where all events arrive.
struct Log {
    filter: RwLock<Filter>,
    /// The command line has said it.
    pinned: bool,
    way: RwLock<Way>,
    outlet: Outlet,
    rings: Mutex<Rings>,
}

/// How a line leaves the program.
enum Way {
    Text,
    Json,
    Journal(Journal),
}

impl Way {
    fn of(format: LogFormat) -> Self {
        match format {
            LogFormat::Json => Self::Json,
            LogFormat::Text => Journal::of_stderr().map_or(Self::Text, Self::Journal),
        }
    }
}

impl Log {
    fn new(filter: Filter, way: Way, pinned: bool) -> Self {
        let (filter, way) = (RwLock::new(filter), RwLock::new(way));
        Self { filter, pinned, way, outlet: Outlet::default(), rings: Mutex::default() }
    }

    fn rings(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, record: &Record) {
        let way = self.way.read().unwrap_or_else(PoisonError::into_inner);
        let written = self.put(&way, record);
        drop(way);
        if !written {
            return self.outlet.lose();
        }
        let lines = self.outlet.take_lost();
        if lines > 0 {
            tracing::warn!(
                target: "gateway", event = "log-lost", lines,
                msg = "nobody took them: the pipe was full, or the disk, or the reader was gone"
            );
        }
    }

    /// Whether it is out.
    fn put(&self, way: &Way, record: &Record) -> bool {
        let line = match way {
            Way::Json => line::json(record),
            Way::Journal(journal) if journal.send(record).is_ok() => return true,
            Way::Text | Way::Journal(_) => line::text(record),
        };
        self.outlet.put(rustix::stdio::stderr(), &line)
    }
}

impl<S: Subscriber> Layer<S> for &'static Log {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let filter = self.filter.read().unwrap_or_else(PoisonError::into_inner);
        if filter.may_want(metadata) || is_lasting(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let record = Record::of(event);
        let filter = self.filter.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = filter.wants(metadata, record.connection.as_deref());
        drop(filter);
        if wanted {
            self.write(&record);
        }
        let is_ours = !record.event.is_empty();
        if is_ours && (wanted || is_lasting(metadata)) {
            self.rings().push(record);
        }
    }
}

/// Whether an event is kept for a while whatever the log is told to leave out.
fn is_lasting(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO && filter::AREAS.contains(&metadata.target())
}

#[cfg(test)]
mod tests;
