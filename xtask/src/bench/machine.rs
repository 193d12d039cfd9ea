//! What the kernel tells about this machine and about processes: /proc.
//!
//! ```text
//!   /proc/PID/stat     PID (NAME) S .. utime stime ..       ticks of all threads, those that ended as well
//!   /proc/PID/status   VmHWM:    3120 kB                     the most memory that it ever had
//!   /proc/stat         cpu  user nice system idle iowait irq softirq steal ..     ticks of all processors
//! ```
//!
//! The kernel's work for a veth packet is charged to whoever sent it, a gateway or a host. So the machine's time is
//! measured besides the gateways'.

use std::fs;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// Where the numbers come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
}

pub(crate) fn describe() -> Result<Machine> {
    let read = |file: &str| fs::read_to_string(file).with_context(|| format!("cannot read {file}"));
    let processors = read("/proc/cpuinfo")?;
    let name = processors.lines().find_map(|line| line.strip_prefix("model name"));
    let name = name.and_then(|rest| rest.split_once(": ")).map_or("unknown", |(_, name)| name);
    Ok(Machine {
        processor: name.into(),
        cores: std::thread::available_parallelism()?.get(),
        kernel: read("/proc/sys/kernel/osrelease")?.trim().into(),
    })
}

/// CPU time so far, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuTime {
    /// Of the processes that were asked for, user and system.
    pub(crate) processes: f64,
    /// Of all that the machine does.
    pub(crate) machine: f64,
}

impl CpuTime {
    pub(crate) fn now(pids: &[u32]) -> Result<Self> {
        let mut processes = 0;
        for pid in pids {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
                .with_context(|| format!("process {pid} has ended"))?;
            processes += process_ticks(&stat).with_context(|| format!("not a stat: {stat}"))?;
        }
        let stat = fs::read_to_string("/proc/stat")?;
        let machine = busy_ticks(&stat).context("/proc/stat has no line for all processors")?;
        Ok(Self { processes: seconds(processes), machine: seconds(machine) })
    }
}

/// The most memory that a process ever had, in MB.
fn peak_memory(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} has ended"))?;
    let kilobytes = peak_kilobytes(&status).context("no VmHWM")?;
    Ok(f64::from(kilobytes) * 1.024e-3)
}

/// The same of the one of several that needed most.
pub(crate) fn peak_memory_of(pids: &[u32]) -> Result<f64> {
    let peaks = pids.iter().map(|pid| peak_memory(*pid)).collect::<Result<Vec<f64>>>()?;
    peaks.into_iter().reduce(f64::max).context("no process")
}

fn process_ticks(stat: &str) -> Option<u64> {
    // The name may contain anything, blanks and parentheses too.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else { return None };
    Some(user + nice + system + irq + softirq)
}

fn peak_kilobytes(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "2^53 ticks are three million years")]
fn seconds(ticks: u64) -> f64 {
    // USER_HZ: 100 wherever this runs (time(7)).
    ticks as f64 / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 700 30 0 0 20 0 3 0 99 1 2";
        assert_eq!(process_ticks(stat), Some(730));
        assert_eq!(process_ticks("42 (a) S 1"), None);
    }

    #[test]
    fn waiting_and_stolen_time_is_not_work() {
        let stat = "cpu  1 2 4 1000 2000 8 16 4000 0 0\ncpu0 9 9 9 9 9 9 9 9 0 0\n";
        assert_eq!(busy_ticks(stat), Some(31));
        assert_eq!(busy_ticks("intr 1"), None);
    }

    #[test]
    fn peak_memory_is_read() {
        assert_eq!(peak_kilobytes("VmPeak:  9 kB\nVmHWM:\t    3120 kB\n"), Some(3120));
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let pid = std::process::id();
        let before = CpuTime::now(&[pid]).unwrap();
        let after = CpuTime::now(&[pid]).unwrap();
        assert!(after.processes >= before.processes && after.machine > 0.0);
        assert!(peak_memory(pid).unwrap() > 0.1);
    }
}
