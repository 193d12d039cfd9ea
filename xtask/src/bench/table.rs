//! The report for people: all medians, and how they compare.
//!
//! ```text
//!                  TCP 1 Gbit/s    ..   CPU s/GB
//!                  out    back          gateways  machine
//!   relay          8.31   8.20           1.10      1.71
//!   s2s-gw         7.02   6.98           1.42      2.01     ──►  ratios: 0.84x the speed of relay, 1.29x its CPU time
//! ```

use std::fmt::Write as _;

use super::product::Product;
use super::report::{Metric, Report};

/// Every median, and below what the table leaves out.
pub(crate) fn speed(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "{}, {} cores, Linux {}; medians of {} x {} s\n\n{:NAME$}",
        machine.processor, machine.cores, machine.kernel, report.rounds, report.seconds, ""
    );
    let line = |text: &mut String, cell: &dyn Fn(&Column) -> String| {
        for column in &COLUMNS {
            write!(text, "{:>span$}", cell(column), span = column.span()).ok();
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    };
    // A title spans the columns of its group, and ends where they end.
    for group in COLUMNS.chunk_by(|_, next| next.group.is_empty()) {
        let span: usize = group.iter().map(Column::span).sum();
        let title = group.first().map_or("", |first| first.group);
        write!(text, "{title:>span$}").ok();
    }
    write!(text, "\n{:NAME$}", "").ok();
    line(&mut text, &|column| column.title.into());
    for entry in &report.products {
        write!(text, "{:NAME$}", entry.product.name()).ok();
        line(&mut text, &|column| entry.median(column.metric).map_or("-".into(), number));
    }
    text.push('\n');
    for entry in &report.products {
        let version = entry.version.as_str();
        let name = format!("{} {version}", entry.product.name());
        writeln!(text, "{name:WIDE$} {}", entry.product.about()).ok();
    }
    for entry in &report.products {
        if let Some(error) = &entry.error {
            // The rest is in the JSON and was told when it happened.
            let first = error.lines().next().unwrap_or_default();
            writeln!(text, "FAILED:   {:NAME$} {first}", entry.product.name()).ok();
        }
    }
    for left in &report.left_out {
        writeln!(text, "left out: {:NAME$} {}", left.product.name(), left.remedy).ok();
    }
    text
}

/// Speed and CPU time relative to the ceiling and to the others that people know.
pub(crate) fn ratios(report: &Report) -> String {
    let measured = |product: &Product| report.median(*product, Metric::Tcp1OutGbit).is_some();
    let anchors: Vec<Product> = ANCHORS.into_iter().filter(measured).collect();
    if anchors.is_empty() {
        return String::new();
    }
    let mut text = format!("{:NAME$}", "compared with");
    for anchor in &anchors {
        write!(text, "  {:>CELL$}", anchor.name()).ok();
    }
    write!(text, "\n{:NAME$}", "").ok();
    for _ in &anchors {
        write!(text, "  {:>CELL$}", "TCP 1   TCP 4  CPU/GB").ok();
    }
    text.push('\n');
    for entry in &report.products {
        write!(text, "{:NAME$}", entry.product.name()).ok();
        for anchor in &anchors {
            let ratio = |metric| {
                let (own, other) = (entry.median(metric)?, report.median(*anchor, metric)?);
                (other > 0.0).then(|| format!("{}x", number(own / other)))
            };
            let metrics =
                [Metric::Tcp1OutGbit, Metric::Tcp4OutGbit, Metric::GatewaysCpuSPerGb].map(ratio);
            let [one, four, cpu] = metrics.map(|ratio| ratio.unwrap_or_else(|| "-".into()));
            let cell = format!("{one:>5} {four:>7} {cpu:>7}");
            write!(text, "  {cell:>CELL$}").ok();
        }
        text.push('\n');
    }
    text
}

/// Three significant digits.
pub(crate) fn number(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// One metric in the table.
struct Column {
    /// Begins a group of columns, if it is not empty.
    group: &'static str,
    title: &'static str,
    width: usize,
    metric: Metric,
}

impl Column {
    /// With the gap before it.
    const fn span(&self) -> usize {
        self.width + if self.group.is_empty() { 1 } else { 3 }
    }
}

const fn column(group: &'static str, title: &'static str, width: usize, metric: Metric) -> Column {
    Column { group, title, width, metric }
}

const COLUMNS: [Column; 12] = [
    column("TCP 1 Gbit/s", "out", 6, Metric::Tcp1OutGbit),
    column("", "back", 6, Metric::Tcp1BackGbit),
    column("TCP 4 Gbit/s", "out", 6, Metric::Tcp4OutGbit),
    column("", "back", 6, Metric::Tcp4BackGbit),
    column("CPU s/GB", "gws", 5, Metric::GatewaysCpuSPerGb),
    column("", "all", 5, Metric::MachineCpuSPerGb),
    column("UDP 1000/s", "64 B", 6, Metric::Udp64Kpps),
    column("", "1300 B", 6, Metric::Udp1300Kpps),
    column("ping ms", "idle", 5, Metric::PingIdleMs),
    column("", "8 TCP", 6, Metric::PingLoadedMs),
    column("", "p99", 6, Metric::PingLoadedP99Ms),
    column("peak", "MB", 5, Metric::MemoryMb),
];

const ANCHORS: [Product; 4] =
    [Product::Relay, Product::RelaySealed, Product::Gotatun, Product::StrongSwan];
/// Columns for a name.
const NAME: usize = 17;
/// Columns for a name with its version.
const WIDE: usize = 27;
/// Columns for three ratios.
const CELL: usize = 22;

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    const ONE: Metric = Metric::Tcp1OutGbit;
    const CPU: Metric = Metric::GatewaysCpuSPerGb;

    #[test]
    fn numbers_have_three_digits() {
        let written = [0.054, 9.991, 9.999, 99.94, 99.96, 1234.5].map(number);
        assert_eq!(written, ["0.05", "9.99", "10.0", "99.9", "100", "1234"]);
    }

    #[test]
    fn the_table_has_a_line_for_each_product_and_names_what_is_missing() {
        let mut report = report(&[
            (Product::Forward, &[(ONE, 18.0)]),
            (Product::Gateway, &[(ONE, 7.5), (CPU, 1.4)]),
        ]);
        report.leave_out(Product::Relay);
        report.fail(Product::Gateway, &anyhow::anyhow!("it fell over"));
        let text = speed(&report);
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
        let words = |name| line(name).split_whitespace().collect::<Vec<_>>();
        assert_eq!(words("forward")[..6], ["forward", "18.0", "-", "-", "-", "-"]);
        assert_eq!(words("s2s-gw ")[..6], ["s2s-gw", "7.50", "-", "-", "-", "1.40"]);
        assert!(line("left out:").contains("relay"));
        assert!(line("FAILED:").ends_with("it fell over"));
        assert!(text.lines().all(|line| line.trim_end() == line && line.len() < 120));
    }

    #[test]
    fn the_titles_stand_over_their_columns() {
        let text = speed(&report(&[(Product::Relay, &[(ONE, 7.5)])]));
        let lines: Vec<&str> = text.lines().collect();
        let end = |line: usize, word: &str, nth| {
            lines[line].match_indices(word).nth(nth).map(|(start, word)| start + word.len())
        };
        assert_eq!(end(2, "TCP 1 Gbit/s", 0), end(3, "back", 0), "{text}");
        assert_eq!(end(2, "TCP 4 Gbit/s", 0), end(3, "back", 1), "{text}");
        assert_eq!(end(2, "CPU s/GB", 0), end(3, "all", 0), "{text}");
        assert!(lines[2].ends_with("peak") && lines[3].ends_with("MB"), "{text}");
    }

    #[test]
    fn ratios_are_those_to_the_anchors_that_were_measured() {
        let report = report(&[
            (Product::Relay, &[(ONE, 8.0), (CPU, 1.0)]),
            (Product::Gateway, &[(ONE, 6.0), (CPU, 1.5)]),
            (Product::StrongSwan, &[(ONE, 0.3), (CPU, 40.0)]),
        ]);
        let text = ratios(&report);
        assert!(!text.contains("gotatun"));
        let line = text.lines().find(|line| line.starts_with("s2s-gw")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words, ["s2s-gw", "0.75x", "-", "1.50x", "20.0x", "-", "0.04x"]);
    }
}
