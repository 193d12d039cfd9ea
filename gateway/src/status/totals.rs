//! What happened to a connection since the daemon started. These numbers only ever grow, through `down` and `up` and rekeys.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counters of one connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Totals {
    /// IKE SAs that we asked for.
    pub initiated: Outcomes,
    /// IKE SAs that the peer asked for.
    pub responded: Outcomes,
    /// How long those took that we asked for and got, from the first message on.
    pub handshake_seconds: Histogram,
    /// Why something failed: by the word of `reason.alert`.
    pub failures: BTreeMap<String, u64>,
    /// Replacements of the IKE SA.
    pub ike_rekeys: Outcomes,
    /// Replacements of child SAs.
    pub child_rekeys: Outcomes,
    /// How often the peer was found dead.
    pub dpd_timeouts: u64,
    /// How often it moved to another endpoint of the peer: `failover` to a later one, `failback` to an earlier one.
    pub failovers: BTreeMap<String, u64>,
}

/// How often something ended well, and how often not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Outcomes {
    /// Well.
    pub ok: u64,
    /// Not so.
    pub failed: u64,
}

/// How long something took, by classes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Histogram {
    /// How many took at most [`Histogram::BOUNDS`] at the same place and more than the one before; the last, more than any.
    pub counts: Vec<u64>,
    /// All together, seconds.
    pub sum: f64,
}

impl Histogram {
    /// The classes, seconds.
    pub const BOUNDS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

    /// Counts one.
    pub fn note(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.counts.resize(Self::BOUNDS.len() + 1, 0);
        let class = Self::BOUNDS.iter().position(|bound| took <= *bound);
        if let Some(count) = self.counts.get_mut(class.unwrap_or(Self::BOUNDS.len())) {
            *count += 1;
        }
        self.sum += took;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_class_that_holds_it() {
        let mut histogram = Histogram::default();
        for millis in [10, 11, 60_000] {
            histogram.note(Duration::from_millis(millis));
        }
        assert_eq!(histogram.counts, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!((histogram.sum - 60.021).abs() < 1e-9, "{}", histogram.sum);
    }
}
