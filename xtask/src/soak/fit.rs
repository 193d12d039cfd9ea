//! Whether something grows: the line through a series, and how steep it may be.
//!
//! ```text
//!   the first fifth is warm-up │  . .  .  .. . .     slope: the median of the slopes of all pairs of points (Theil and Sen),
//!                              │ .  . .. .  .  .     which a few outliers do not move, as an outage makes them
//! ```
//!
//! A line through half an hour says little about a day: memory comes and goes in pages, so a slope below what one such step
//! makes of it is none. The bar is 1 MiB an hour, or 512 KiB over the length of the run if that is more.

use std::fmt::Write as _;

use serde::Serialize;

use super::sample::{Sample, Series};

/// Something that was measured, and whether it is as it should be.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    pub(super) what: String,
    pub(super) value: String,
    pub(super) bar: String,
    pub(super) good: bool,
}

/// Something of a sample.
type Quantity = fn(&Sample) -> f64;

/// A mebibyte an hour, in KiB.
const PER_HOUR: f64 = 1024.0;
/// What one step of the allocator may make, in KiB.
const STEP: f64 = 512.0;

/// Everything that can be said about the gateways.
pub(super) fn judge(all: &[Series]) -> Vec<Finding> {
    all.iter().flat_map(of).collect()
}

fn of(series: &Series) -> Vec<Finding> {
    let name = &series.gateway;
    let warm = |of: Quantity| warm(&series.points(of));
    let memory = warm(|it| it.rss_kib);
    let (Some((first, _)), Some((last, _))) = (memory.first(), memory.last()) else {
        let (value, bar) = ("no samples".into(), "some".into());
        return vec![Finding { what: name.clone(), value, bar, good: false }];
    };
    let hours = (last - first).max(1.0) / 3600.0;
    let bar = PER_HOUR.max(STEP / hours);
    let slope = slope(&memory) * 3600.0;
    let mut findings = vec![Finding {
        what: format!("{name} memory"),
        value: format!("{:+.2} MiB/h", slope / 1024.0),
        bar: format!("<= {:.2} MiB/h", bar / 1024.0),
        good: slope <= bar,
    }];
    let named: [(&str, Quantity, f64); 3] = [
        ("descriptors", |it| it.descriptors, 1.0),
        ("threads", |it| it.threads, 0.0),
        ("children", |it| it.children, 1.0),
    ];
    for (what, of, more) in named {
        let (early, late) = halves(&warm(of));
        findings.push(Finding {
            what: format!("{name} {what}"),
            value: format!("{early} then {late}"),
            bar: format!("the second half at most {more} more, by the median"),
            good: late <= early + more,
        });
    }
    let (early, late) = halves(&busy(series));
    findings.push(Finding {
        what: format!("{name} CPU"),
        value: format!("{early:.2} % then {late:.2} %"),
        bar: "the second half at most half as much again and 1 % more".into(),
        good: late <= early * 1.5 + 1.0,
    });
    let (asked, answered) = series.samples.iter().fold((0, 0), |(asked, answered), it| {
        (asked + u32::from(it.asked), answered + u32::from(it.answered))
    });
    let share = 100.0 * f64::from(answered) / f64::from(asked.max(1));
    findings.push(Finding {
        what: format!("{name} pings"),
        value: format!("{share:.1} % of {asked}"),
        bar: ">= 80 % outside of outages; 90 % is what the loss leaves".into(),
        good: share >= 80.0,
    });
    findings
}

/// Without the first fifth.
fn warm(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points.get(points.len() / 5..).unwrap_or_default().to_vec()
}

/// Percent of a processor between each two samples.
fn busy(series: &Series) -> Vec<(f64, f64)> {
    let points = warm(&series.points(|it| it.cpu));
    let pairs = points.iter().zip(points.iter().skip(1));
    pairs.map(|((t0, c0), (t1, c1))| (*t1, 100.0 * (c1 - c0) / (t1 - t0).max(0.001))).collect()
}

/// The medians of the two halves.
fn halves(points: &[(f64, f64)]) -> (f64, f64) {
    let (early, late) = points.split_at(points.len() / 2);
    let of = |half: &[(f64, f64)]| median(half.iter().map(|(_, value)| *value).collect());
    (of(early), of(late))
}

/// The median of the slopes of all pairs, per second; 0 of fewer than two points.
fn slope(points: &[(f64, f64)]) -> f64 {
    let mut slopes = Vec::new();
    for (index, (t0, v0)) in points.iter().enumerate() {
        let later = points.iter().skip(index + 1).filter(|(t1, _)| t1 > t0);
        slopes.extend(later.map(|(t1, v1)| (v1 - v0) / (t1 - t0)));
    }
    median(slopes)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// The series as pictures, and the findings.
pub(super) fn table(all: &[Series], findings: &[Finding]) -> String {
    let mut text = String::new();
    for series in all {
        let [ike, children] = series.seen;
        let _ = writeln!(text, "{}: {ike} IKE SAs and {children} children seen", series.gateway);
        let memory: Vec<_> = series.points(|it| it.rss_kib / 1024.0);
        let busy = busy(series);
        for (what, points) in [("MiB", &memory), ("CPU %", &busy)] {
            let values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
            let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(least, most), value| {
                (least.min(*value), most.max(*value))
            });
            let _ = writeln!(text, "  {what:6} {least:6.2} {} {most:.2}", sparkline(&values));
        }
    }
    let width = findings.iter().map(|it| it.what.len()).max().unwrap_or(0);
    for Finding { what, value, bar, good } in findings {
        let verdict = if *good { "ok    " } else { "FAILED" };
        let _ = writeln!(text, "{verdict} {what:width$}  {value} (bar: {bar})");
    }
    text
}

/// At most 60 bars, each the mean of what it stands for.
fn sparkline(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let each = values.len().div_ceil(60).max(1);
    let count = |len: usize| f64::from(u32::try_from(len).unwrap_or(u32::MAX));
    let means: Vec<f64> =
        values.chunks(each).map(|part| part.iter().sum::<f64>() / count(part.len())).collect();
    let least = means.iter().copied().fold(f64::MAX, f64::min);
    let most = means.iter().copied().fold(f64::MIN, f64::max);
    let bar = |mean: &f64| {
        let height = (mean - least) / (most - least).max(1e-9) * 7.0;
        let index = (0..7_u8).find(|index| f64::from(*index) >= height.round()).unwrap_or(7);
        BARS.get(usize::from(index)).copied().unwrap_or('█')
    };
    means.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_that_of_most_points() {
        let mut points: Vec<_> =
            (0..50).map(|n| (f64::from(n), 7.0 + 2.0 * f64::from(n))).collect();
        assert!((slope(&points) - 2.0).abs() < 1e-9);
        // A tenth of the points anywhere changes next to nothing.
        (0..50).step_by(10).for_each(|n| points[n].1 = 1e6);
        assert!((slope(&points) - 2.0).abs() < 0.1, "{}", slope(&points));
        assert!(slope(&[(1.0, 5.0)]).abs() < 1e-9);
    }

    #[test]
    fn what_grows_is_found() {
        let series = |kib_per_sample: f64| {
            let mut series = Series::new("a".into());
            for n in 0..180 {
                let rss_kib = 9000.0 + kib_per_sample * f64::from(n);
                let sample = Sample { rss_kib, ..Sample::default() };
                series.push(sample.at(10.0 * f64::from(n)).pings(10, 9));
            }
            judge(&[series]).iter().all(|finding| finding.good)
        };
        assert!(series(0.0) && series(2.0));
        // 10 KiB every 10 seconds are 3.5 MiB an hour.
        assert!(!series(10.0));
    }

    #[test]
    fn a_picture_has_the_shape_of_its_numbers() {
        assert_eq!(sparkline(&[1.0, 2.0, 3.0, 8.0]), "▁▂▃█");
        assert_eq!(sparkline(&vec![5.0; 600]).chars().count(), 60);
    }
}
