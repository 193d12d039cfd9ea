//! The chart of the README: two bars for each product.
//!
//! ```text
//!   TCP, one stream, Gbit/s               CPU seconds for each GB
//!   relay     ████████████████ 8.31       █ 1.10
//!   s2s-gw    █████████████ 7.02          █▌ 1.42
//!   gotatun   █ 0.76                      ███████ 15.5
//! ```
//!
//! The picture has no background and only colours that can be read on white and on black alike: what a reader's page
//! looks like is not what his system prefers. No font but the reader's own.

use std::fmt::Write as _;

use super::product::Product;
use super::report::{Metric, Report};
use super::table::number;

/// Draws the medians; products without a TCP rate have no bars.
pub(crate) fn svg(report: &Report) -> String {
    let rows: Vec<Row> =
        report.products.iter().filter_map(|entry| Row::new(report, entry.product)).collect();
    let height = TOP + ROW * rows.len() + FOOT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif\" \
         font-size=\"13\" fill=\"{TEXT}\">\n<title>Speed and CPU time of tunnels in user space</title>\n"
    );
    for (x, title) in
        [(LEFT, "TCP, one stream: Gbit/s"), (RIGHT, "CPU of both gateways: seconds per GB")]
    {
        text(&mut svg, (x, 22), "font-weight=\"600\"", title);
    }
    for (x, hint) in [(LEFT, "longer is better"), (RIGHT, "shorter is better")] {
        text(&mut svg, (x, 38), "font-size=\"11\"", hint);
    }
    let fastest = rows.iter().map(|row| row.rate).fold(0.0, f64::max);
    let dearest = rows.iter().filter_map(|row| row.cpu).fold(0.0, f64::max);
    for (row, y) in rows.iter().zip((TOP..).step_by(ROW)) {
        let (colour, weight) = if row.product.ours() {
            (OURS, "font-weight=\"700\"")
        } else if matches!(row.product, Product::Forward | Product::Relay | Product::RelaySealed) {
            (CEILING, "")
        } else {
            (OTHERS, "")
        };
        let end = format!("text-anchor=\"end\" {weight}");
        text(&mut svg, (LEFT - 10, y + 16), end.trim_end(), row.product.name());
        bar(&mut svg, (LEFT, y), colour, row.rate / fastest, &number(row.rate));
        match row.cpu {
            Some(cpu) => bar(&mut svg, (RIGHT, y), colour, cpu / dearest, &number(cpu)),
            None => text(&mut svg, (RIGHT, y + 16), "", "no gateway process"),
        }
    }
    let machine = &report.machine;
    let processor = escape(&machine.processor);
    let about = format!(
        "{processor}, {} cores, Linux {}. Medians of {} x {} s, namespaces, MTU 1500: cargo xtask bench peers",
        machine.cores, machine.kernel, report.rounds, report.seconds
    );
    let below = TOP + ROW * rows.len();
    text(
        &mut svg,
        (10, below + 22),
        "font-size=\"11\"",
        "forward: no tunnel. relay: the same tunnel without cryptography; relay-sealed: with the cipher and nothing else.",
    );
    text(&mut svg, (10, below + 38), "font-size=\"11\"", &about);
    svg.push_str("</svg>\n");
    svg
}

struct Row {
    product: Product,
    rate: f64,
    cpu: Option<f64>,
}

impl Row {
    fn new(report: &Report, product: Product) -> Option<Self> {
        let rate = report.median(product, Metric::Tcp1OutGbit)?;
        Some(Self { product, rate, cpu: report.median(product, Metric::GatewaysCpuSPerGb) })
    }
}

/// A bar of a share of the longest, and its value behind it.
fn bar(svg: &mut String, (x, y): (usize, usize), colour: &str, share: f64, value: &str) {
    let length = (share * BAR).max(1.0);
    writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{length:.1}\" height=\"{THICK}\" rx=\"2\" fill=\"{colour}\"/>\
         <text x=\"{behind:.1}\" y=\"{base}\">{value}</text>",
        // Bars are drawn at whole numbers that fit any integer.
        behind = f64::from(u32::try_from(x).unwrap_or(0)) + length + 6.0,
        base = y + 16
    )
    .ok();
}

fn text(svg: &mut String, (x, y): (usize, usize), attributes: &str, text: &str) {
    let blank = if attributes.is_empty() { "" } else { " " };
    writeln!(svg, "<text x=\"{x}\" y=\"{y}\"{blank}{attributes}>{text}</text>").ok();
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

const WIDTH: usize = 860;
/// Where the two columns of bars begin.
const LEFT: usize = 120;
const RIGHT: usize = 500;
/// The longest bar.
const BAR: f64 = 290.0;
const TOP: usize = 52;
const ROW: usize = 30;
const THICK: usize = 22;
const FOOT: usize = 50;
/// As far from white as from black: 4.3:1 both ways, the most that one colour can have.
const TEXT: &str = "#757b84";
const OURS: &str = "#1f9d55";
const OTHERS: &str = "#5b8fc7";
const CEILING: &str = "#a0a6ad";

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    fn drawn() -> String {
        let mut report = report(&[
            (Product::Forward, &[(Metric::Tcp1OutGbit, 16.0)]),
            (Product::Gateway, &[(Metric::Tcp1OutGbit, 8.0), (Metric::GatewaysCpuSPerGb, 1.5)]),
            (Product::Gotatun, &[]),
        ]);
        report.machine.processor = "A & B <C>".into();
        svg(&report)
    }

    #[test]
    fn bars_are_as_long_as_what_they_show() {
        let svg = drawn();
        assert!(svg.contains("width=\"290.0\" height=\"22\" rx=\"2\" fill=\"#a0a6ad\""), "{svg}");
        assert!(svg.contains("width=\"145.0\" height=\"22\" rx=\"2\" fill=\"#1f9d55\""), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 3, "the kernel has no gateway process: {svg}");
        assert!(!svg.contains("gotatun"), "nothing was measured");
    }

    #[test]
    fn what_the_machine_says_of_itself_is_text() {
        let svg = drawn();
        assert!(svg.contains("A &amp; B &lt;C>, 2 cores"), "{svg}");
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }
}
