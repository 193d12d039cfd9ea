//! The replay window (RFC 4303 §3.4.3, App. A2), as a ring of words that is never shifted (RFC 6479).
//!
//! ```text
//!        bottom                                     top
//!   too old |<-------------- window ---------------->|  ahead: always new
//!   --------+----------------------------------------+----------------> sequence number
//!           one bit each: received or not
//!
//!   number n is bit n % 64 of word (n / 64) % words; moving ahead clears the words between, at most all of them
//! ```
//!
//! Check, open, commit: [`ReplayWindow::check`] looks without touching and makes a [`Candidate`];
//! [`ReplayWindow::commit`] takes it back after the ICV was found right. Nothing else can make one, so a number
//! that is not authentic cannot move the window.

use crate::{params::KeyError, reason::DropReason};

/// Which sequence numbers of one inbound SA were received.
#[derive(Debug)]
pub struct ReplayWindow {
    /// Highest authentic number; 0 before the first packet.
    top: u64,
    /// Packets that the window spans.
    window: u64,
    esn: bool,
    /// A power of two, at least one word more than the window: the word of `top` is partly ahead of it.
    words: Box<[u64]>,
}

/// A sequence number that [`ReplayWindow::check`] found new. Whole: with ESN its high half is inferred.
#[must_use = "a number that is not committed can be replayed"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate(u64);

impl ReplayWindow {
    /// A window of `packets` packets, rounded up to a multiple of 64.
    ///
    /// # Errors
    /// [`KeyError::ReplayWindow`] unless `packets` is 32 to 65536.
    pub fn new(packets: u32, esn: bool) -> Result<Self, KeyError> {
        if !(MIN_PACKETS..=MAX_PACKETS).contains(&packets) {
            return Err(KeyError::ReplayWindow { packets });
        }
        let window_words = packets.div_ceil(u64::BITS);
        let mut words = vec![0; (window_words as usize + 1).next_power_of_two()];
        // Number 0 is never sent (RFC 4303 §2.2): marked as if it had been received.
        if let Some(first) = words.first_mut() {
            *first = 1;
        }
        Ok(Self {
            top: 0,
            window: u64::from(window_words * u64::BITS),
            esn,
            words: words.into_boxed_slice(),
        })
    }

    /// Packets that the window spans.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.window
    }

    /// Highest number committed; 0 before the first.
    #[must_use]
    pub const fn top(&self) -> u64 {
        self.top
    }

    /// Whether a packet with the low half `sequence_low` may be new. Changes nothing.
    ///
    /// With ESN the number is the one with this low half in the 2^32 numbers from the bottom of the window on
    /// (RFC 4303 §A2.2), so that it is never too old: a stale packet is taken for one far ahead, and its ICV fails.
    ///
    /// # Errors
    /// `Replayed` if it was received, or is 0; `TooOld` if it lies before the window or past 2^64.
    pub fn check(&self, sequence_low: u32) -> Result<Candidate, DropReason> {
        let low = u64::from(sequence_low);
        let number = if self.esn { self.infer(low)? } else { low };
        self.check_number(number)?;
        Ok(Candidate(number))
    }

    /// Marks an authentic number as received and moves the window up to it.
    ///
    /// # Errors
    /// `Replayed` or `TooOld` if that has become true since [`check`](Self::check): another packet of a batch had
    /// the same number or moved the window past it. The packet must then be dropped.
    pub fn commit(&mut self, Candidate(number): Candidate) -> Result<(), DropReason> {
        self.check_number(number)?;
        if number > self.top {
            let (old, new) = (self.top / BITS, number / BITS);
            // At most every word once, however far the number is ahead.
            for word in old + 1..=new.min(old + self.words.len() as u64) {
                *self.word_mut(word) = 0;
            }
            self.top = number;
        }
        *self.word_mut(number / BITS) |= 1 << (number % BITS);
        Ok(())
    }

    /// The number with the low half `low` that is not before the window.
    fn infer(&self, low: u64) -> Result<u64, DropReason> {
        let bottom = self.top.saturating_sub(self.window - 1);
        let number = (bottom & !LOW_HALF) | low;
        if number >= bottom {
            return Ok(number);
        }
        // Past the last number of the SA: the peer must have stopped before (RFC 4303 §3.3.3).
        number.checked_add(1 << 32).ok_or(DropReason::TooOld)
    }

    fn check_number(&self, number: u64) -> Result<(), DropReason> {
        if number > self.top {
            Ok(())
        } else if self.top - number >= self.window {
            Err(DropReason::TooOld)
        } else if self.word(number / BITS) >> (number % BITS) & 1 == 1 {
            Err(DropReason::Replayed)
        } else {
            Ok(())
        }
    }

    #[expect(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "masked by the length, a power of two of at most 2048"
    )]
    const fn word(&self, word: u64) -> u64 {
        self.words[word as usize & (self.words.len() - 1)]
    }

    #[expect(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "masked by the length, a power of two of at most 2048"
    )]
    const fn word_mut(&mut self, word: u64) -> &mut u64 {
        &mut self.words[word as usize & (self.words.len() - 1)]
    }
}

impl Candidate {
    /// The whole sequence number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
impl ReplayWindow {
    /// Receives `number`, however far ahead it is.
    pub(crate) fn skip_to(&mut self, number: u64) {
        self.commit(Candidate(number)).unwrap();
    }
}

const BITS: u64 = 64;
const LOW_HALF: u64 = 0xffff_ffff;
const MIN_PACKETS: u32 = 32;
const MAX_PACKETS: u32 = 65536;

#[cfg(test)]
mod tests;
