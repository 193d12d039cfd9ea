//! What each connection carried in the last ten minutes, second by second, and in the last day; and the lines drawn of it.
//!
//! ```text
//!   counters, once a second ──► difference / time ──► [ .. 600 .. ] ──► 120 points of 5 s each ──► "M0,24L1,17.3L2,.."
//!                                     └─► means of 5 minutes ──► [ .. 288 .. ] ──► as they are
//! ```
//!
//! Both rings of a connection are 14 KiB, and grow no further ([`SECONDS`], [`DAY`]); they begin anew with the program.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use crate::status::{ConnectionStatus, Snapshot};

/// Of all connections, by name.
#[derive(Debug, Default)]
pub(crate) struct History(BTreeMap<String, Ring>);

/// Of one connection.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// Octets per second, received and sent; the newest last.
    seconds: VecDeque<[u64; 2]>,
    /// The same, of five minutes each.
    day: VecDeque<[u64; 2]>,
    /// Octets and seconds that are no five minutes yet.
    begun: ([u64; 2], u64),
    last: Option<(i64, [u64; 2])>,
}

/// What was carried, ready to be drawn: octets per second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Flow {
    /// [`POINTS`] means, the newest last; zeroes where nothing is known.
    pub(super) received: Vec<u64>,
    /// The same.
    pub(super) sent: Vec<u64>,
    /// In the last second.
    pub(super) now: [u64; 2],
}

impl History {
    /// Takes what was counted up to this snapshot.
    pub(crate) fn note(&mut self, snapshot: &Snapshot) {
        let millis = snapshot.time.as_millisecond();
        self.0.retain(|name, _| snapshot.connections.iter().any(|one| one.name == *name));
        for connection in &snapshot.connections {
            let ring = self.0.entry(connection.name.clone()).or_default();
            ring.note(millis, carried(connection));
        }
    }

    pub(super) fn of(&self, name: &str) -> Flow {
        self.0.get(name).map(Ring::flow).unwrap_or_default()
    }

    /// The last so many means of so many seconds each, received and sent, the newest last; none for what is not known yet.
    #[cfg(feature = "watch")]
    pub(crate) fn recent(&self, name: &str, points: usize, each: usize) -> Vec<[u64; 2]> {
        let Some(ring) = self.0.get(name) else { return Vec::new() };
        let newest: Vec<[u64; 2]> =
            ring.seconds.iter().rev().take(points.saturating_mul(each)).copied().collect();
        let mean = |some: &[[u64; 2]]| {
            let [received, sent] = some
                .iter()
                .fold([0_u64; 2], |[a, b], [c, d]| [a.saturating_add(*c), b.saturating_add(*d)]);
            let count = some.len().max(1) as u64;
            [received / count, sent / count]
        };
        let mut means: Vec<[u64; 2]> = newest.chunks(each.max(1)).map(mean).collect();
        means.reverse();
        means
    }

    /// The last 24 hours: [`DAY`] points.
    pub(super) fn day_of(&self, name: &str) -> Flow {
        self.0.get(name).map(Ring::day).unwrap_or_default()
    }
}

/// Octets received and sent, of all children.
fn carried(connection: &ConnectionStatus) -> [u64; 2] {
    let sum = |of: fn(&crate::status::ChildStatus) -> u64| connection.children.iter().map(of).sum();
    [sum(|child| child.rx_bytes), sum(|child| child.tx_bytes)]
}

impl Ring {
    fn note(&mut self, millis: i64, total: [u64; 2]) {
        if let Some((then, before)) = self.last {
            let Ok(passed @ 1..) = u64::try_from(millis - then) else { return };
            let rate = |place: usize| {
                let of = |of: [u64; 2]| of.get(place).copied().unwrap_or(0);
                of(total).saturating_sub(of(before)).saturating_mul(1000) / passed
            };
            // Where control was late the seconds between had the same rate, as far as anybody knows.
            let seconds = (passed + 500) / 1000;
            self.note_day([rate(0), rate(1)], seconds.max(1));
            for _ in 0..seconds.clamp(1, SECONDS as u64) {
                if self.seconds.len() >= SECONDS {
                    self.seconds.pop_front();
                }
                self.seconds.push_back([rate(0), rate(1)]);
            }
        }
        self.last = Some((millis, total));
    }

    /// So many seconds at that rate: what fills five minutes becomes a point.
    fn note_day(&mut self, rate: [u64; 2], seconds: u64) {
        let mut left = seconds.min(DAY as u64 * FIVE_MINUTES);
        while left > 0 {
            let (sum, have) = &mut self.begun;
            let some = left.min(FIVE_MINUTES - *have);
            for (sum, rate) in sum.iter_mut().zip(rate) {
                *sum = sum.saturating_add(rate.saturating_mul(some));
            }
            *have += some;
            left -= some;
            if *have == FIVE_MINUTES {
                let point = sum.map(|octets| octets / FIVE_MINUTES);
                self.begun = ([0; 2], 0);
                if self.day.len() >= DAY {
                    self.day.pop_front();
                }
                self.day.push_back(point);
            }
        }
    }

    fn day(&self) -> Flow {
        let of = |place: usize| {
            let mut points = vec![0; DAY.saturating_sub(self.day.len())];
            points.extend(self.day.iter().map(|pair| pair.get(place).copied().unwrap_or(0)));
            points
        };
        let now = self.day.back().copied().unwrap_or_default();
        Flow { received: of(0), sent: of(1), now }
    }

    fn flow(&self) -> Flow {
        let of = |place: usize| {
            let rates = self.seconds.iter().map(|pair| pair.get(place).copied().unwrap_or(0));
            means(rates.rev())
        };
        let now = self.seconds.back().copied().unwrap_or_default();
        Flow { received: of(0), sent: of(1), now }
    }
}

/// The means of five seconds each. The newest first in, last out.
fn means(newest_first: impl Iterator<Item = u64>) -> Vec<u64> {
    let all: Vec<u64> = newest_first.collect();
    let mut points: Vec<u64> =
        all.chunks(EACH).map(|some| some.iter().sum::<u64>() / EACH as u64).collect();
    points.resize(POINTS, 0);
    points.reverse();
    points
}

/// A line through the points in a box of [`POINTS`] - 1 by `height`, `top` at its upper edge; closed at the bottom if `filled`.
pub(super) fn line(points: &[u64], top: u64, height: u32, filled: bool) -> String {
    let top = u128::from(top.max(1));
    let mut path = String::new();
    for (place, point) in points.iter().enumerate() {
        // In tenths, without floating point: the same text everywhere.
        let up = u128::from((*point).min(u64::MAX / 2)) * u128::from(height) * 10 / top;
        let down = (u128::from(height) * 10).saturating_sub(up);
        let first = if place == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{first}{place},{}.{}", down / 10, down % 10);
    }
    if filled && !points.is_empty() {
        let _ = write!(path, "V{height}H0Z");
    }
    path
}

/// Kept for each connection.
const SECONDS: usize = 600;
/// Points of a day, of [`FIVE_MINUTES`] each.
const DAY: usize = 288;
/// In seconds.
const FIVE_MINUTES: u64 = 300;
/// Seconds in one point of a line.
const EACH: usize = 5;
/// Points in a line.
pub(super) const POINTS: usize = SECONDS / EACH;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_become_rates() {
        let mut ring = Ring::default();
        ring.note(1_000, [100, 50]);
        assert_eq!(ring.flow().now, [0, 0], "what went before is not of this second");
        ring.note(2_000, [1_100, 50]);
        assert_eq!(ring.flow().now, [1_000, 0]);
        ring.note(2_500, [1_600, 100]);
        assert_eq!(ring.flow().now, [1_000, 100]);
        ring.note(2_600, [0, 0]);
        assert_eq!(ring.flow().now, [0, 0], "a counter that begins anew is no negative rate");
    }

    #[test]
    fn ten_minutes_are_kept_and_no_more() {
        let mut ring = Ring::default();
        for second in 0..2_000_u64 {
            ring.note(i64::try_from(second * 1000).expect("small"), [second * 10, 0]);
        }
        let flow = ring.flow();
        assert_eq!((ring.seconds.len(), flow.received.len()), (SECONDS, POINTS));
        assert!(flow.received.iter().all(|rate| *rate == 10), "{flow:?}");
        ring.note(10_000_000, [20_000, 0]);
        assert_eq!(ring.seconds.len(), SECONDS, "after a long sleep, too");
    }

    #[test]
    #[cfg(feature = "watch")]
    fn the_last_points_are_means_of_what_is_known() {
        let mut history = History::default();
        assert!(history.recent("berlin", 4, 2).is_empty());
        let mut ring = Ring::default();
        for (second, total) in [(0_i64, 0_u64), (1, 10), (2, 30), (3, 60), (4, 100)] {
            ring.note(second * 1000, [total, 2 * total]);
        }
        history.0.insert("berlin".to_owned(), ring);
        assert_eq!(history.recent("berlin", 8, 1), [[10, 20], [20, 40], [30, 60], [40, 80]]);
        assert_eq!(history.recent("berlin", 1, 1), [[40, 80]], "the newest");
        assert_eq!(
            history.recent("berlin", 8, 3),
            [[10, 20], [30, 60]],
            "the oldest of one second"
        );
    }

    #[test]
    fn a_day_is_kept_and_no_more() {
        let mut ring = Ring::default();
        let mut total = 0;
        for second in 0..2 * 86_400_u64 {
            // The second day carries twice as much.
            total += if second < 86_400 { 10 } else { 20 };
            ring.note(i64::try_from(second * 1000).expect("small"), [total, second]);
        }
        let day = ring.day();
        assert_eq!(
            (day.received.len(), ring.day.len(), ring.day.capacity() < 1024),
            (DAY, DAY, true)
        );
        // The first second has nothing before it, so that the points are one second late.
        assert!(day.received.iter().skip(1).all(|rate| *rate == 20), "{day:?}");
        assert!(day.sent.iter().all(|rate| *rate == 1), "{day:?}");
        ring.note(10_000_000_000, [total + 5, 0]);
        assert_eq!(ring.day.len(), DAY, "after a long sleep, too");
        assert_eq!(Ring::default().day().received, vec![0; DAY]);
    }

    #[test]
    fn a_line_stays_in_its_box() {
        assert_eq!(line(&[0, 5, 10], 10, 24, false), "M0,24.0L1,12.0L2,0.0");
        assert_eq!(line(&[0, 20], 10, 24, true), "M0,24.0L1,0.0V24H0Z");
        assert_eq!(line(&[0, 0], 0, 24, false), "M0,24.0L1,24.0");
        assert_eq!(line(&[u64::MAX], u64::MAX, 24, false).get(..4), Some("M0,1"));
    }
}
