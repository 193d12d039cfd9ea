//! The only place that reads a clock; everything else takes `now` as an argument.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The monotonic clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one source of time")]
pub fn now() -> Instant {
    Instant::now()
}

/// The time since the machine was booted, that in which it was suspended included, as `now` does not.
#[must_use]
pub fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The wall clock in seconds since 1970, for what ends at a certain moment; 0 before that.
#[must_use]
pub fn unix() -> u64 {
    u64::try_from(wall().as_second()).unwrap_or(0)
}

/// The wall clock, for logs, status and certificates only.
#[must_use]
pub fn wall() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
