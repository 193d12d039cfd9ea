//! The last few records, for whoever comes later or reads slowly.
//!
//! ```text
//!   info or louder ──► [ .. 1024 .. ] \
//!                                      merged by number ──► since(cursor) ──► a client
//!   debug, trace   ──► [ .. 1024 .. ] /       what was overwritten before the client came for it is counted as lost
//! ```
//!
//! Two, so that a minute of `debug` does not push out what happened last night.

use std::collections::VecDeque;

use super::{Record, Severity};

/// Both rings, and the number of the next record.
#[derive(Debug, Default)]
pub(super) struct Rings {
    lasting: Ring,
    fleeting: Ring,
    next: u64,
}

#[derive(Debug, Default)]
struct Ring {
    /// With its number among all.
    records: VecDeque<(u64, Record)>,
    /// How many were here before the first of `records`.
    gone: u64,
}

/// How far a reader has come: how many records of either ring are behind it. The default is before everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    lasting: u64,
    fleeting: u64,
}

impl Rings {
    pub(super) fn push(&mut self, record: Record) {
        let ring = match record.level {
            Severity::Error | Severity::Warn | Severity::Info => &mut self.lasting,
            Severity::Debug | Severity::Trace => &mut self.fleeting,
        };
        if ring.records.len() >= CAPACITY {
            ring.records.pop_front();
            ring.gone += 1;
        }
        ring.records.push_back((self.next, record));
        self.next += 1;
    }

    pub(super) fn since(&self, cursor: &mut Cursor, max: usize) -> (Vec<Record>, u64) {
        let lost =
            self.lasting.skip(&mut cursor.lasting) + self.fleeting.skip(&mut cursor.fleeting);
        let mut records = Vec::new();
        while records.len() < max {
            let (lasting, fleeting) =
                (self.lasting.at(cursor.lasting), self.fleeting.at(cursor.fleeting));
            let is_lasting = match (lasting, fleeting) {
                (None, None) => break,
                (Some(one), Some(other)) => one.0 < other.0,
                (one, None) => one.is_some(),
                (None, Some(_)) => false,
            };
            let (from, behind) = if is_lasting {
                (lasting, &mut cursor.lasting)
            } else {
                (fleeting, &mut cursor.fleeting)
            };
            *behind += 1;
            records.extend(from.map(|(_, record)| record.clone()));
        }
        (records, lost)
    }
}

impl Ring {
    /// Moves a reader over what is gone; how much that is.
    fn skip(&self, behind: &mut u64) -> u64 {
        let lost = self.gone.saturating_sub(*behind);
        *behind += lost;
        lost
    }

    fn at(&self, behind: u64) -> Option<&(u64, Record)> {
        usize::try_from(behind.checked_sub(self.gone)?)
            .ok()
            .and_then(|index| self.records.get(index))
    }
}

/// Records in either ring.
const CAPACITY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::super::record::tests::sample;
    use super::*;

    fn record(level: Severity, number: usize) -> Record {
        Record { level, event: number.to_string(), ..sample() }
    }

    fn names(records: &[Record]) -> Vec<&str> {
        records.iter().map(|record| record.event.as_str()).collect()
    }

    #[test]
    fn records_come_in_the_order_in_which_they_went() {
        let mut rings = Rings::default();
        let levels = [Severity::Info, Severity::Debug, Severity::Trace, Severity::Warn];
        for (number, level) in levels.into_iter().enumerate() {
            rings.push(record(level, number));
        }
        let mut cursor = Cursor::default();
        let (first, lost) = rings.since(&mut cursor, 3);
        assert_eq!((names(&first), lost), (vec!["0", "1", "2"], 0));
        let (second, _) = rings.since(&mut cursor, 3);
        assert_eq!(names(&second), ["3"]);
        assert_eq!(rings.since(&mut cursor, 3), (Vec::new(), 0));
        rings.push(record(Severity::Error, 4));
        assert_eq!(names(&rings.since(&mut cursor, 3).0), ["4"]);
    }

    #[test]
    fn a_flood_of_details_spares_what_happened() {
        let mut rings = Rings::default();
        rings.push(record(Severity::Info, 7));
        let mut cursor = Cursor::default();
        rings.since(&mut cursor, 10);
        (0..CAPACITY + 5).for_each(|number| rings.push(record(Severity::Debug, number)));
        let (late, lost) = rings.since(&mut cursor, usize::MAX);
        assert_eq!((late.len(), lost), (CAPACITY, 5));
        let (all, lost) = rings.since(&mut Cursor::default(), usize::MAX);
        assert_eq!((names(&all).first(), lost), (Some(&"7"), 5));
    }
}
