//! What one s2s-gw is like at one moment, by /proc and by what it says of itself.
//!
//! ```text
//!   /proc/PID/status   VmRSS, Threads       /proc/PID/stat   utime + stime       /proc/PID/fd   one entry each
//! ```

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result};
use serde::Serialize;
use testkit::peer::Sa;

/// One moment.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Sample {
    /// Seconds since the beginning.
    pub(super) at: f64,
    pub(super) rss_kib: f64,
    pub(super) descriptors: f64,
    pub(super) threads: f64,
    /// Child SAs in use.
    pub(super) children: f64,
    /// Seconds of CPU time so far.
    pub(super) cpu: f64,
    pub(super) asked: u16,
    pub(super) answered: u16,
    /// SPIs of the IKE SAs and the children; new ones are counted.
    #[serde(skip)]
    pub(super) spis: [Vec<String>; 2],
}

impl Sample {
    pub(super) fn of(pid: u32, sas: &[Sa]) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let (status, stat) = (read("status")?, read("stat")?);
        let field = |name: &str| line(&status, name).with_context(|| format!("no {name}"));
        let descriptors = u32::try_from(fs::read_dir(format!("/proc/{pid}/fd"))?.count())?;
        let children: Vec<_> = sas.iter().flat_map(|sa| &sa.children).collect();
        Ok(Self {
            rss_kib: field("VmRSS:")?,
            descriptors: descriptors.into(),
            threads: field("Threads:")?,
            children: f64::from(u32::try_from(children.len())?),
            cpu: ticks(&stat).context("no times")? / 100.0,
            spis: [
                sas.iter().map(|sa| sa.spis.clone()).collect(),
                children.iter().map(|child| child.spis.0.clone()).collect(),
            ],
            ..Self::default()
        })
    }

    pub(super) fn at(self, at: f64) -> Self {
        Self { at, ..self }
    }

    pub(super) fn pings(self, asked: u16, answered: u16) -> Self {
        Self { asked, answered, ..self }
    }
}

fn line(status: &str, name: &str) -> Option<f64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// User and system time of all threads. The name may have spaces and parentheses in it.
fn ticks(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some(next()? + next()?)
}

/// One gateway, from the beginning to the end.
#[derive(Debug, Serialize)]
pub(super) struct Series {
    pub(super) gateway: String,
    pub(super) samples: Vec<Sample>,
    /// How many IKE SAs and child SAs were seen; those that lived less than ten seconds are missing.
    pub(super) seen: [usize; 2],
    #[serde(skip)]
    spis: [BTreeSet<String>; 2],
}

impl Series {
    pub(super) fn new(gateway: String) -> Self {
        Self { gateway, samples: Vec::new(), seen: [0; 2], spis: Default::default() }
    }

    pub(super) fn push(&mut self, sample: Sample) {
        let kinds = self.spis.iter_mut().zip(&sample.spis).zip(&mut self.seen);
        for ((all, new), seen) in kinds {
            all.extend(new.iter().cloned());
            *seen = all.len();
        }
        self.samples.push(sample);
    }

    /// Of one quantity: when and how much.
    pub(super) fn points(&self, of: impl Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
        self.samples.iter().map(|sample| (sample.at, of(sample))).collect()
    }

    /// The present, in a few words.
    pub(super) fn line(&self) -> String {
        let Some(last) = self.samples.last() else { return self.gateway.clone() };
        format!(
            "{} {:.1} MiB, {:.0} fds, {} IKE SAs, {} children so far",
            self.gateway,
            last.rss_kib / 1024.0,
            last.descriptors,
            self.seen[0],
            self.seen[1]
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        let status = "Name:\ts2s-gw\nVmHWM:\t  9000 kB\nVmRSS:\t    8764 kB\nThreads:\t5\n";
        assert_eq!((line(status, "VmRSS:"), line(status, "Threads:")), (Some(8764.0), Some(5.0)));
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 120 34 0 0";
        assert_eq!(ticks(stat), Some(154.0));
        assert!(Sample::of(std::process::id(), &[]).unwrap().rss_kib > 0.0);
    }
}
