//! Outbound sequence numbers (RFC 4303 §2.2, §3.3.3): 1, 2, 3 .., never twice, never round.
//!
//! ```text
//! 32 bits    1 .. 2^32-1   then SequenceExhausted
//! ESN        1 .. 2^64-1   then SequenceExhausted; the low half is on the wire, the high half in the ICV
//! ```
//!
//! The number is also the IV of GCM and the input to the IV of CBC, so that a repeated number would be a repeated
//! nonce: there is no way to set the counter back.

use crate::reason::DropReason;

/// The counter of one outbound SA.
#[derive(Debug)]
pub(crate) struct Sequence {
    last: u64,
    limit: u64,
}

impl Sequence {
    pub(crate) const fn new(esn: bool) -> Self {
        Self { last: 0, limit: if esn { u64::MAX } else { u32::MAX as u64 } }
    }

    /// Takes the next number, which is then used up, sent or not.
    pub(crate) const fn advance(&mut self) -> Result<u64, DropReason> {
        if self.last == self.limit {
            return Err(DropReason::SequenceExhausted);
        }
        self.last += 1;
        Ok(self.last)
    }

    /// The last number taken; 0 before the first.
    pub(crate) const fn last(&self) -> u64 {
        self.last
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
    pub(crate) const fn starting_after(last: u64, esn: bool) -> Self {
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
    fn esn_goes_on_past_32_bits() {
        let mut sequence = Sequence::starting_after(u64::from(u32::MAX), true);
        let number = sequence.advance().unwrap();
        assert_eq!((high(number), low(number)), (1, 0));
    }
}
