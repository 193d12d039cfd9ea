//! Outbound sequence numbers (RFC 4303 §2.2, §3.3.3): 1, 2, 3 .., never twice, never round.
//!
//! ```text
//! 32 bits    1 .. 2^32-1   then SequenceExhausted
//! ESN        1 .. 2^64-1   then SequenceExhausted; the low half is on the wire, the high half in the ICV
//! ```
//!
//! The number is also the IV of GCM and the input to the IV of CBC, so that a repeated number would be a repeated
//! nonce: there is no way to set the counter back, and who shares it takes blocks of it that nobody else gets.
//!
//! ```text
//! shared     | 1 .. 47 | 48 .. 94 | 95 .. 97 | 98 .. ->       a block for each super-packet: one atomic addition for all of it
//!             worker A   worker B   worker A
//! ```

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::reason::DropReason;

/// The counter of one outbound SA, or a share in it.
#[derive(Debug)]
pub(crate) struct Sequence {
    /// The last number taken of our block.
    last: u64,
    /// The last number of our block; alone, we have all of them.
    end: u64,
    limit: u64,
    /// The last number of the last block that somebody took.
    shared: Option<Arc<AtomicU64>>,
}

impl Sequence {
    pub(crate) const fn new(esn: bool) -> Self {
        let limit = if esn { u64::MAX } else { u32::MAX as u64 };
        Self { last: 0, end: limit, limit, shared: None }
    }

    /// Another share in the same numbers.
    pub(crate) fn share(&mut self) -> Self {
        let shared = self.shared.get_or_insert_with(|| {
            self.end = self.last;
            Arc::new(AtomicU64::new(self.last))
        });
        let shared = Arc::clone(shared);
        Self { last: 0, end: 0, limit: self.limit, shared: Some(shared) }
    }

    /// Sees to it that the next `count` numbers come without a look at the other shares, if it can.
    pub(crate) fn reserve(&mut self, count: u64) {
        let Some(shared) = self.shared.as_ref().filter(|_| self.last == self.end) else { return };
        // Up to the limit and never beyond it, so that the counter cannot turn over.
        let limit = self.limit;
        let take = |before: u64| (before < limit).then(|| before.saturating_add(count).min(limit));
        let before = shared.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        if let Ok(before) = before {
            (self.last, self.end) = (before, before.saturating_add(count).min(limit));
        }
    }

    /// Takes the next number, which is then used up, sent or not.
    pub(crate) fn advance(&mut self) -> Result<u64, DropReason> {
        if self.last == self.end {
            self.reserve(1);
        }
        if self.last == self.end {
            return Err(DropReason::SequenceExhausted);
        }
        self.last += 1;
        Ok(self.last)
    }

    /// The last number taken, by any share; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.shared.as_ref().map_or(self.last, |shared| shared.load(Ordering::Relaxed))
    }
}

/// Low half, as it is on the wire.
pub(crate) const fn low(sequence: u64) -> u32 {
    let [_, _, _, _, a, b, c, d] = sequence.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// High half, which only the ICV covers.
pub(crate) const fn high(sequence: u64) -> u32 {
    let [a, b, c, d, _, _, _, _] = sequence.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
impl Sequence {
    /// Skips to just before the end or a turn of the low half.
    pub(crate) fn starting_after(last: u64, esn: bool) -> Self {
        Self { last, ..Self::new(esn) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_number_is_1() {
        assert_eq!(Sequence::new(false).advance(), Ok(1));
        assert_eq!(Sequence::new(true).advance(), Ok(1));
    }

    #[test]
    fn stops_at_the_last_number_and_stays_stopped() {
        for (esn, limit) in [(false, u64::from(u32::MAX)), (true, u64::MAX)] {
            let mut sequence = Sequence::starting_after(limit - 1, esn);
            assert_eq!(sequence.advance(), Ok(limit));
            for _ in 0..3 {
                assert_eq!(sequence.advance(), Err(DropReason::SequenceExhausted));
                assert_eq!(sequence.last(), limit);
            }
        }
    }

    #[test]
    fn shares_never_take_the_same_number() {
        let mut one = Sequence::new(false);
        assert_eq!(one.advance(), Ok(1));
        let mut other = one.share();
        let mut third = other.share();
        other.reserve(3);
        let mut taken = vec![one.advance().unwrap(), other.advance().unwrap()];
        taken.extend([third.advance().unwrap(), other.advance().unwrap()]);
        taken.extend([other.advance().unwrap(), other.advance().unwrap(), one.advance().unwrap()]);
        taken.sort_unstable();
        assert_eq!(taken, [2, 3, 4, 5, 6, 7, 8]);
        assert_eq!((one.last(), other.last()), (8, 8));
    }

    #[test]
    fn threads_never_take_the_same_number() {
        let each = if cfg!(miri) { 50 } else { 10_000 };
        let mut first = Sequence::new(true);
        let shares: Vec<_> = (0..4).map(|_| first.share()).collect();
        let taken = std::thread::scope(|scope| {
            let threads: Vec<_> = shares
                .into_iter()
                .map(|mut share| {
                    scope.spawn(move || {
                        let take = |number: u64| {
                            share.reserve(number % 48);
                            share.advance().unwrap()
                        };
                        (0..each).map(take).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let different: std::collections::BTreeSet<_> = taken.iter().collect();
        assert_eq!((different.len(), taken.len() as u64), (taken.len(), 4 * each));
        assert!(!taken.contains(&0));
    }

    #[test]
    fn shares_stop_together_at_the_last_number() {
        let mut one = Sequence::starting_after(u64::from(u32::MAX) - 3, false);
        let mut other = one.share();
        other.reserve(100);
        assert_eq!(one.advance(), Err(DropReason::SequenceExhausted));
        for number in [u32::MAX - 2, u32::MAX - 1, u32::MAX] {
            assert_eq!(other.advance(), Ok(number.into()));
        }
        for _ in 0..3 {
            assert_eq!(other.advance(), Err(DropReason::SequenceExhausted));
            assert_eq!(one.advance(), Err(DropReason::SequenceExhausted));
        }
    }

    #[test]
    fn each_half_is_its_own() {
        assert_eq!(
            (high(0x1234_5678_9abc_def0), low(0x1234_5678_9abc_def0)),
            (0x1234_5678, 0x9abc_def0)
        );
        assert_eq!((high(7), low(7 << 32)), (0, 0));
    }

    #[test]
    fn esn_goes_on_past_32_bits() {
        let mut sequence = Sequence::starting_after(u64::from(u32::MAX), true);
        let number = sequence.advance().unwrap();
        assert_eq!((high(number), low(number)), (1, 0));
    }
}
