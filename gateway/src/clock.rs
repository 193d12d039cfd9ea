//! The only place that reads a clock; everything else takes `now` as an argument.

use std::time::Instant;

/// The monotonic clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one source of time")]
pub fn now() -> Instant {
    Instant::now()
}

/// The same in seconds since 1970, for what ends at a certain moment; 0 before that.
#[must_use]
pub fn unix() -> u64 {
    u64::try_from(wall().as_second()).unwrap_or(0)
}

/// The wall clock, for logs, status and certificates only.
#[must_use]
pub fn wall() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
