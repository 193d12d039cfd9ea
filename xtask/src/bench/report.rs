//! What was measured, as it is kept: every sample, and the median of each metric.
//!
//! ```text
//!   { "schema": "s2s-gw/bench-peers/1", "machine": {..}, "rounds": 5, "seconds": 8,
//!     "products": [ { "product": "s2s-gw", "version": "0.1.0", "error": null,
//!                     "measured": { "tcp1_out_gbit": { "median": 7.2, "samples": [7.1, 7.2, 7.3, ..] }, .. } }, .. ],
//!     "left_out": [ { "product": "gotatun", "remedy": "cargo install .." } ] }
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Error, Result, ensure};
use serde::{Deserialize, Serialize};

use super::keep::{self, Better, Kept, Median};
use super::load::Samples;
use super::machine::Machine;
use super::product::Product;

/// A number that a measurement finds; its unit is in its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    Tcp1OutGbit,
    Tcp1BackGbit,
    Tcp4OutGbit,
    Tcp4BackGbit,
    /// User and system time of both gateway processes while one TCP stream runs.
    GatewaysCpuSPerGb,
    /// Time that all processors worked meanwhile, sender and receiver included.
    MachineCpuSPerGb,
    Udp64Kpps,
    Udp1300Kpps,
    PingIdleMs,
    PingLoadedMs,
    PingLoadedP99Ms,
    PingLoadedLostPercent,
    /// Of the gateway process that needed more.
    MemoryMb,
    Tcp1Retransmits,
}

impl Metric {
    pub(crate) const fn better(self) -> Better {
        match self {
            Self::Tcp1OutGbit
            | Self::Tcp1BackGbit
            | Self::Tcp4OutGbit
            | Self::Tcp4BackGbit
            | Self::Udp64Kpps
            | Self::Udp1300Kpps => Better::More,
            Self::GatewaysCpuSPerGb
            | Self::MachineCpuSPerGb
            | Self::PingIdleMs
            | Self::PingLoadedMs
            | Self::PingLoadedP99Ms
            | Self::MemoryMb => Better::Less,
            Self::PingLoadedLostPercent | Self::Tcp1Retransmits => Better::Neither,
        }
    }

    /// For a line of progress.
    pub(crate) const fn short(self) -> &'static str {
        match self {
            Self::Tcp1OutGbit => "tcp1 >",
            Self::Tcp1BackGbit | Self::Tcp4BackGbit => "<",
            Self::Tcp4OutGbit => "tcp4 >",
            Self::GatewaysCpuSPerGb => "cpu",
            Self::MachineCpuSPerGb => "machine",
            Self::Udp64Kpps => "udp 64",
            Self::Udp1300Kpps => "1300",
            Self::PingIdleMs => "idle",
            Self::PingLoadedMs => "loaded",
            Self::PingLoadedP99Ms => "p99",
            Self::PingLoadedLostPercent => "lost",
            Self::MemoryMb => "MB",
            Self::Tcp1Retransmits => "again",
        }
    }

    /// The name that the JSON has.
    pub(crate) fn key(self) -> String {
        let value = serde_json::to_value(self).ok();
        value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    schema: String,
    pub(crate) machine: Machine,
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
    pub(crate) products: Vec<Entry>,
    pub(crate) left_out: Vec<LeftOut>,
}

/// A product that was measured, or should have been.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) product: Product,
    pub(crate) version: String,
    pub(crate) measured: BTreeMap<Metric, Series>,
    /// Why a measurement failed; what was measured before is kept.
    pub(crate) error: Option<String>,
}

/// One metric of one product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) median: f64,
    /// In the order of the rounds.
    pub(crate) samples: Vec<f64>,
}

/// A product that is not installed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    pub(crate) product: Product,
    pub(crate) remedy: String,
}

impl Report {
    pub(crate) fn new(machine: Machine, rounds: u32, seconds: u32) -> Self {
        let (products, left_out) = (Vec::new(), Vec::new());
        Self { schema: SCHEMA.into(), machine, rounds, seconds, products, left_out }
    }

    /// Reads what [`Report::json`] wrote.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let name = file.display();
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        let report: Self =
            serde_json::from_str(&text).with_context(|| format!("{name} is not such a report"))?;
        ensure!(report.schema == SCHEMA, "{name} is of another kind: {}", report.schema);
        Ok(report)
    }

    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Makes a line for a product.
    pub(crate) fn enter(&mut self, product: Product) {
        let (version, measured) = (product.version(), BTreeMap::new());
        self.products.push(Entry { product, version, measured, error: None });
    }

    pub(crate) fn leave_out(&mut self, product: Product) {
        self.left_out.push(LeftOut { product, remedy: product.remedy() });
    }

    pub(crate) fn add(&mut self, product: Product, samples: &Samples) {
        for entry in self.products.iter_mut().filter(|entry| entry.product == product) {
            entry.add(samples);
        }
    }

    pub(crate) fn fail(&mut self, product: Product, error: &Error) {
        for entry in self.products.iter_mut().filter(|entry| entry.product == product) {
            entry.error = Some(format!("{error:#}"));
        }
    }

    pub(crate) fn failed(&self, product: Product) -> bool {
        self.products.iter().any(|entry| entry.product == product && entry.error.is_some())
    }

    /// The median of one metric of one product.
    pub(crate) fn median(&self, product: Product, metric: Metric) -> Option<f64> {
        self.products.iter().find(|entry| entry.product == product)?.median(metric)
    }
}

impl keep::Report for Report {
    fn kept(&self) -> Kept {
        let of_entry = |entry: &Entry| {
            let name = entry.product.name();
            let median = |(metric, series): (&Metric, &Series)| Median {
                name: format!("{name:13} {}", metric.key()),
                better: metric.better(),
                value: series.median,
            };
            entry.measured.iter().map(median).collect::<Vec<_>>()
        };
        let medians = self.products.iter().flat_map(of_entry).collect();
        Kept { machine: self.machine.clone(), seconds: self.seconds, medians }
    }
}

impl Entry {
    pub(crate) fn median(&self, metric: Metric) -> Option<f64> {
        self.measured.get(&metric).map(|series| series.median)
    }

    fn add(&mut self, samples: &Samples) {
        for (metric, value) in samples {
            let series = self.measured.entry(*metric);
            let series = series.or_insert_with(|| Series { median: 0.0, samples: Vec::new() });
            series.samples.push(*value);
            series.median = median(series.samples.clone()).unwrap_or_default();
        }
    }
}

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(values: Vec<f64>) -> Option<f64> {
    let values = sorted(values);
    let upper = values.len() / 2;
    let lower = values.len().checked_sub(1)? / 2;
    Some(f64::midpoint(*values.get(lower)?, *values.get(upper)?))
}

/// In rising order.
pub(crate) fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

const SCHEMA: &str = "s2s-gw/bench-peers/1";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A report with one sample of some metrics of each product.
    pub(crate) fn report(products: &[(Product, &[(Metric, f64)])]) -> Report {
        let machine = Machine { processor: "Abacus".into(), cores: 2, kernel: "6.18".into() };
        let mut report = Report::new(machine, 1, 2);
        for (product, samples) in products {
            let measured = BTreeMap::new();
            let version = String::from("1.0");
            report.products.push(Entry { product: *product, version, measured, error: None });
            report.add(*product, &samples.iter().copied().collect());
        }
        report
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 20.0]), Some(3.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 30.0]), Some(3.0));
        assert_eq!(median(vec![7.0]), Some(7.0));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn rounds_add_up_to_a_median() {
        let mut report = report(&[(Product::Relay, &[(Metric::Tcp1OutGbit, 8.0)])]);
        for value in [2.0, 3.0] {
            report.add(Product::Relay, &Samples::from([(Metric::Tcp1OutGbit, value)]));
        }
        assert_eq!(report.median(Product::Relay, Metric::Tcp1OutGbit), Some(3.0));
        assert_eq!(report.median(Product::Relay, Metric::MemoryMb), None);
        assert_eq!(report.median(Product::Gotatun, Metric::Tcp1OutGbit), None);
    }

    #[test]
    fn medians_are_compared_by_product_and_metric() {
        let report = report(&[(Product::Gateway, &[(Metric::Tcp1OutGbit, 8.0)])]);
        let name = "s2s-gw        tcp1_out_gbit".to_owned();
        let median = Median { name, better: Better::More, value: 8.0 };
        assert_eq!(keep::Report::kept(&report).medians, [median]);
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let mut report = report(&[(Product::Gateway, &[(Metric::GatewaysCpuSPerGb, 1.25)])]);
        report.leave_out(Product::Relay);
        report.fail(Product::Gateway, &anyhow::anyhow!("why"));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("peers.json");
        fs::write(&file, report.json().unwrap()).unwrap();
        assert_eq!(Report::read(&file).unwrap(), report);
        assert!(report.failed(Product::Gateway));
        fs::write(&file, report.json().unwrap().replace("peers/1", "peers/9")).unwrap();
        assert!(Report::read(&file).unwrap_err().to_string().contains("another kind"));
    }

    #[test]
    fn keys_name_metric_and_unit() {
        assert_eq!(Metric::Tcp1OutGbit.key(), "tcp1_out_gbit");
        assert_eq!(Metric::GatewaysCpuSPerGb.key(), "gateways_cpu_s_per_gb");
    }
}
