//! Trains: ESP packets of one length behind one another in a send buffer, as one `UDP_SEGMENT` call takes them.
//!
//! ```text
//! buffer    | 1472 | 1472 | 1472 | .. | 1472 | 604 |           a shorter one may come last, and closes the train
//!           ^ start                                ^ end
//!
//! encap_segments    super-packet ─► segments ─► copied to their places ─► sealed there, until all are in or the train is full
//!                                   └──────────── a run of at most 8 ───────────┘
//! ```
//!
//! The packets of a super-packet have equal lengths but for the last, and so have the ESP packets around them: a super-packet
//! becomes one train, or two where the call takes no more.

use std::ops::Range;

use crate::{cipher::RUN, outbound::OutboundSa, reason::DropReason, segment::Segments};

/// Where in a send buffer the packets of one train lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Train {
    start: usize,
    end: usize,
    stride: usize,
    packets: usize,
    octets: usize,
    closed: bool,
}

/// What one call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainLimits {
    /// Octets of all packets together.
    pub octets: usize,
    /// Packets.
    pub packets: usize,
}

impl Train {
    /// An empty train that begins `start` octets into the buffer.
    #[must_use]
    pub const fn at(start: usize) -> Self {
        Self { start, end: start, stride: 0, packets: 0, octets: 0, closed: false }
    }

    /// Where its packets lie in the buffer.
    #[must_use]
    pub const fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Octets of each packet but the last; 0 if there is none.
    #[must_use]
    pub const fn stride(&self) -> usize {
        self.stride
    }

    /// How many packets it has.
    #[must_use]
    pub const fn packets(&self) -> usize {
        self.packets
    }

    /// Octets of their inner packets.
    #[must_use]
    pub const fn inner_octets(&self) -> usize {
        self.octets
    }

    /// Whether a packet of `len` octets may be its next.
    #[must_use]
    pub const fn admits(&self, len: usize, limits: TrainLimits) -> bool {
        let fits = self.end - self.start + len <= limits.octets && self.packets < limits.packets;
        fits && !self.closed && (self.packets == 0 || len <= self.stride)
    }

    /// Whether it ends where its call does, and not with a shorter packet.
    #[must_use]
    pub const fn is_full(&self, limits: TrainLimits) -> bool {
        !self.closed && self.packets > 0 && !self.admits(self.stride, limits)
    }

    /// The same, its packets moved to where they begin `start` octets into the buffer.
    #[must_use]
    pub const fn moved_to(self, start: usize) -> Self {
        Self { start, end: start + self.end - self.start, ..self }
    }

    const fn push(&mut self, len: usize, inner_len: usize) {
        if self.packets == 0 {
            self.stride = len;
        }
        self.closed = len < self.stride;
        self.end += len;
        self.packets += 1;
        self.octets += inner_len;
    }
}

impl OutboundSa {
    /// Encapsulates segments into `train`, which lies in `buffer`, until all are in or the train is full: then
    /// [`Segments::next_len`] tells that some are left, for the next train.
    ///
    /// # Errors
    /// `SelectorMismatch`, with nothing done; `TooBig` if not even an empty train takes the packet, `NoRoom` if the buffer ends
    /// before the train does, and `SequenceExhausted`: what the train holds by then is good.
    pub fn encap_segments(
        &mut self,
        segments: &mut Segments<'_>,
        buffer: &mut [u8],
        train: &mut Train,
        limits: TrainLimits,
    ) -> Result<(), DropReason> {
        self.admit(segments.view())?;
        self.reserve(segments.left());
        loop {
            let (before, mut highs) = (*train, [None; RUN]);
            let mut stop = None;
            for high in &mut highs {
                match self.write_segment(segments, buffer, train, limits) {
                    Ok(number) => *high = number,
                    Err(why) => {
                        stop = Some(why);
                        break;
                    }
                }
            }
            // Whatever ends the train, what is in it is good.
            let count = train.packets - before.packets;
            let run = buffer.get_mut(before.end..train.end).unwrap_or_default();
            let highs = highs.get(..count).unwrap_or_default();
            let sealed = if count > 0 { self.seal_run(run, train.stride, highs) } else { Ok(()) };
            if let Err(reason) = sealed {
                *train = before;
                return Err(reason);
            }
            match stop {
                Some(Stop::Done) => return Ok(()),
                Some(Stop::Failed(reason)) => return Err(reason),
                None => {}
            }
        }
    }

    /// Writes the next segment behind the train, with a number and not sealed yet.
    fn write_segment(
        &mut self,
        segments: &mut Segments<'_>,
        buffer: &mut [u8],
        train: &mut Train,
        limits: TrainLimits,
    ) -> Result<Option<u32>, Stop> {
        let inner_len = segments.next_len().ok_or(Stop::Done)?;
        let len = self.packet_len(inner_len);
        if !train.admits(len, limits) {
            let full = train.packets > 0;
            return Err(if full { Stop::Done } else { Stop::Failed(DropReason::TooBig) });
        }
        let packet = buffer.get_mut(train.end..train.end + len).ok_or(DropReason::NoRoom)?;
        let inner = packet.get_mut(self.inner_place(inner_len)).ok_or(DropReason::NoRoom)?;
        if !segments.write_next(inner) {
            return Err(Stop::Failed(DropReason::BadOffload));
        }
        let high = self.number(packet, inner_len, segments.view().version())?;
        train.push(len, inner_len);
        Ok(high)
    }
}

/// Why a train takes no further segment.
enum Stop {
    /// All are in, or it is full.
    Done,
    Failed(DropReason),
}

impl From<DropReason> for Stop {
    fn from(reason: DropReason) -> Self {
        Self::Failed(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TrainLimits = TrainLimits { octets: 1000, packets: 4 };

    #[test]
    fn a_train_takes_equal_packets_and_one_shorter_one() {
        let mut train = Train::at(7);
        assert!(train.range().is_empty() && !train.admits(1001, LIMITS));
        for len in [300, 300] {
            assert!(train.admits(len, LIMITS));
            train.push(len, len - 40);
        }
        assert!(!train.admits(301, LIMITS), "a longer one");
        assert!(train.admits(100, LIMITS));
        assert!(!train.is_full(LIMITS), "one more fits");
        train.push(100, 60);
        assert!(!train.admits(100, LIMITS) && !train.is_full(LIMITS), "after a shorter one");
        assert_eq!((train.range(), train.stride()), (7..707, 300));
        assert_eq!((train.packets(), train.inner_octets()), (3, 580));
        let moved = train.moved_to(2);
        assert_eq!((moved.range(), moved.stride(), moved.packets()), (2..702, 300, 3));
    }

    #[test]
    fn a_train_ends_where_its_call_does() {
        let mut train = Train::at(0);
        for _ in 0..4 {
            assert!(train.admits(100, LIMITS));
            train.push(100, 60);
        }
        assert!(!train.admits(100, LIMITS) && train.is_full(LIMITS), "packets");
        let mut train = Train::at(0);
        train.push(600, 500);
        assert!(!train.admits(401, LIMITS), "octets");
        assert!(train.admits(400, LIMITS));
    }
}
