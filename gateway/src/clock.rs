//! The only place that reads a clock; everything else takes `now` as an argument.

use std::time::Instant;

/// The monotonic clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one source of time")]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock, for logs and status only.
#[must_use]
pub fn wall() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
