//! The text format of Prometheus (version 0.0.4), which Prometheus and the textfile collector of node_exporter read.
//!
//! ```text
//!   # HELP s2sgw_connection_up Whether packets pass.
//!   # TYPE s2sgw_connection_up gauge
//!   s2sgw_connection_up{connection="berlin"} 1
//! ```

use std::fmt::{self, Write as _};

/// A text that grows, family by family.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

/// What a family counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Classes of durations.
    Histogram,
}

/// The samples of one family.
pub(super) struct Family<'e> {
    text: &'e mut String,
    name: &'static str,
}

/// Names and values of labels.
pub(super) type Labels<'l> = &'l [(&'l str, &'l str)];

impl Exposition {
    /// Begins a family. `help` is one line without backslashes.
    pub(super) fn family(&mut self, kind: Kind, name: &'static str, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { text: &mut self.text, name }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// One sample.
    pub(super) fn put(&mut self, labels: Labels<'_>, value: impl fmt::Display) {
        self.sample("", labels, None, value);
    }

    /// A histogram: how many were in each class alone, the last of which has no bound, and the sum of all.
    pub(super) fn classes(&mut self, labels: Labels<'_>, bounds: &[f64], counts: &[u64], sum: f64) {
        let mut total = 0;
        for (place, bound) in bounds.iter().enumerate() {
            total += counts.get(place).copied().unwrap_or(0);
            self.sample("_bucket", labels, Some(&bound.to_string()), total);
        }
        total += counts.get(bounds.len()).copied().unwrap_or(0);
        self.sample("_bucket", labels, Some("+Inf"), total);
        self.sample("_sum", labels, None, sum);
        self.sample("_count", labels, None, total);
    }

    fn sample(
        &mut self,
        suffix: &str,
        labels: Labels<'_>,
        bound: Option<&str>,
        value: impl fmt::Display,
    ) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        let mut open = '{';
        for (name, value) in labels.iter().copied().chain(bound.map(|bound| ("le", bound))) {
            let _ = write!(self.text, "{open}{name}=\"{}\"", Escaped(value));
            open = ',';
        }
        let _ = writeln!(self.text, "{} {value}", if open == ',' { "}" } else { "" });
    }
}

/// As a value of a label.
struct Escaped<'t>(&'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c if c.is_control() => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_end_its_line() {
        let mut all = Exposition::default();
        all.family(Kind::Gauge, "x", "X.").put(&[("id", "a\"b\\c\nd\re"), ("n", "1")], 7);
        all.family(Kind::Counter, "y_total", "Y.").put(&[], 0);
        let expected = "# HELP x X.\n# TYPE x gauge\nx{id=\"a\\\"b\\\\c\\nd\u{fffd}e\",n=\"1\"} 7\n# HELP y_total Y.\n# TYPE y_total counter\ny_total 0\n";
        assert_eq!(all.into_text(), expected);
    }

    #[test]
    fn the_classes_of_a_histogram_add_up() {
        let mut all = Exposition::default();
        let mut family = all.family(Kind::Histogram, "h", "H.");
        family.classes(&[("c", "a")], &[0.5, 1.0], &[2, 0, 1], 4.5);
        family.classes(&[], &[0.5], &[], 0.0);
        let text = all.into_text();
        let samples: Vec<&str> = text.lines().skip(2).collect();
        let expected = [
            "h_bucket{c=\"a\",le=\"0.5\"} 2",
            "h_bucket{c=\"a\",le=\"1\"} 2",
            "h_bucket{c=\"a\",le=\"+Inf\"} 3",
            "h_sum{c=\"a\"} 4.5",
            "h_count{c=\"a\"} 3",
            "h_bucket{le=\"0.5\"} 0",
            "h_bucket{le=\"+Inf\"} 0",
            "h_sum 0",
            "h_count 0",
        ];
        assert_eq!(samples, expected);
    }
}
