//! Scenarios under many seeds, on every core.
//!
//! ```text
//!   WORLD_SEED=17       only this one, after a failure named it
//!   WORLD_SEEDS=10000   as many as this instead of as many as the test asks for
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Runs a scenario with the seeds 0, 1, ... up to `count`, or `WORLD_SEEDS`, on as many threads as there are cores.
///
/// # Panics
/// If the scenario does; its seed is printed first.
pub fn for_each_seed_on_all_cores(count: u64, scenario: impl Fn(u64) + Sync) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(only) = number("WORLD_SEED") {
        return scenario(only);
    }
    let count = number("WORLD_SEEDS").unwrap_or(count);
    let test = std::thread::current().name().unwrap_or("?").to_string();
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= count {
                return;
            }
            if let Err(cause) = catch_unwind(AssertUnwindSafe(|| scenario(seed))) {
                eprintln!("again: WORLD_SEED={seed} cargo test {test}");
                failed.store(true, Ordering::Relaxed);
                resume_unwind(cause);
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 1..cores {
            scope.spawn(work);
        }
        work();
    });
}
