//! What the system knows of the daemon, as far as it lets us see it.

use std::fs;

use super::exposition::{Exposition, Kind};

/// Numbers of one process, from `/proc` (proc(5)). What cannot be read is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    /// Processor time that it has used, seconds.
    cpu_seconds: Option<f64>,
    /// Octets of address space.
    virtual_bytes: Option<u64>,
    /// Octets of memory that are really there.
    resident_bytes: Option<u64>,
    /// Threads.
    threads: Option<u64>,
    /// Open descriptors.
    open_fds: Option<usize>,
    /// The most that it may have.
    max_fds: Option<u64>,
}

impl Process {
    /// Of the process with this id.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        let mut process = read("stat").map(|stat| Self::of_stat(&stat)).unwrap_or_default();
        let entries = fs::read_dir(format!("/proc/{pid}/fd"));
        process.open_fds = entries.map(Iterator::count).ok();
        let limits = read("limits").unwrap_or_default();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        process.max_fds = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        process
    }

    /// The fields behind the name, which may have blanks and brackets in it.
    fn of_stat(stat: &str) -> Self {
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // proc(5) counts from 1 and the state is the third.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let ticks = number(14).zip(number(15)).map(|(user, system)| user + system);
        #[expect(clippy::cast_precision_loss, reason = "a thousand years have fewer ticks")]
        let cpu = ticks.map(|ticks| ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
        Self {
            cpu_seconds: cpu,
            threads: number(20),
            virtual_bytes: number(23),
            resident_bytes: number(24).map(|pages| pages * rustix::param::page_size() as u64),
            ..Self::default()
        }
    }

    pub(super) fn write(&self, all: &mut Exposition) {
        let mut gauge = |name, help, value: Option<u64>| {
            if let Some(value) = value {
                all.family(Kind::Gauge, name, help).put(&[], value);
            }
        };
        gauge("process_virtual_memory_bytes", "Address space of the daemon.", self.virtual_bytes);
        gauge("process_resident_memory_bytes", "Memory of the daemon.", self.resident_bytes);
        gauge("process_threads", "Threads of the daemon.", self.threads);
        let open = self.open_fds.map(|open| open as u64);
        gauge("process_open_fds", "Descriptors that the daemon has open.", open);
        gauge("process_max_fds", "Descriptors that it may have open.", self.max_fds);
        if let Some(seconds) = self.cpu_seconds {
            let help = "Processor time that the daemon has used.";
            all.family(Kind::Counter, "process_cpu_seconds_total", help).put(&[], seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_moves_no_field() {
        let stat = "4711 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9 0 77 4096000 25 18446744073709551615";
        let process = Process::of_stat(stat);
        assert_eq!(process.threads, Some(9));
        assert_eq!(process.virtual_bytes, Some(4_096_000));
        assert_eq!(process.resident_bytes, Some(25 * rustix::param::page_size() as u64));
        assert!(process.cpu_seconds.is_some_and(|seconds| seconds > 0.0));
    }

    #[test]
    fn this_process_has_memory_and_nobody_has_none() {
        let process = Process::of(std::process::id());
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 1 << 20), "{process:?}");
        assert!(process.open_fds.is_some() && process.max_fds.is_some(), "{process:?}");
        assert_eq!(Process::of(u32::MAX), Process::default());
    }
}
