//! Inbound SAs that were replaced and still take what is in flight.
//!
//! ```text
//!   ChildDown(Rekeyed) ──► retiring ──LINGER──► RxCommand::Remove       the peer sent on the old SA until it had the new one
//!   any other reason   ──────────────────────► RxCommand::Remove       and with the last one of a child what retires of it
//! ```

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use ikev2::CloseReason;

use crate::dataplane::SlotId;

/// The SPIs of retiring SAs with the end of their time, the earliest first: all have the same time to live.
#[derive(Debug, Default)]
pub(super) struct Retiring(VecDeque<(Instant, SlotId, NonZeroU32)>);

impl Retiring {
    /// An inbound SA of this child is given up; gives back its SPI if it has to be removed at once.
    pub(super) fn leave(
        &mut self,
        now: Instant,
        (slot, spi): (SlotId, NonZeroU32),
        reason: &CloseReason,
    ) -> Option<NonZeroU32> {
        if *reason != CloseReason::Rekeyed {
            return Some(spi);
        }
        self.0.push_back((now + LINGER, slot, spi));
        None
    }

    /// A new SA has this SPI: a retiring one that happened to have it would be removed under its feet.
    pub(super) fn reuse(&mut self, spi: NonZeroU32) {
        self.0.retain(|(_, _, retiring)| *retiring != spi);
    }

    /// The child is down: nothing in flight is for it any more, and its keys have no reason to stay.
    pub(super) fn close(&mut self, slot: SlotId) -> Vec<NonZeroU32> {
        let of_it = self.0.iter().filter(|(_, retiring, _)| *retiring == slot);
        let spis = of_it.map(|(_, _, spi)| *spi).collect();
        self.0.retain(|(_, retiring, _)| *retiring != slot);
        spis
    }

    /// The next SPI whose time is over.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<NonZeroU32> {
        self.0.pop_front_if(|(until, ..)| *until <= now).map(|(_, _, spi)| spi)
    }

    /// When `take_due` has something to give.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.front().map(|(until, ..)| *until)
    }
}

/// How long a replaced inbound SA still takes packets: longer than any that is in flight stays in flight.
const LINGER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const SPI: NonZeroU32 = NonZeroU32::new(0x1234_5678).expect("not zero");
    const SLOT: SlotId = SlotId(7);

    #[test]
    fn a_replaced_sa_takes_packets_for_as_long_as_they_are_in_flight() {
        let (mut retiring, now) = (Retiring::default(), clock::now());
        assert_eq!(retiring.leave(now, (SLOT, SPI), &CloseReason::Rekeyed), None);
        assert_eq!(retiring.deadline(), Some(now + LINGER));
        assert_eq!(retiring.take_due(now + LINGER / 2), None);
        assert_eq!(retiring.take_due(now + LINGER), Some(SPI));
        assert_eq!(retiring.take_due(now + LINGER), None, "once");
        assert_eq!(retiring.deadline(), None);
        assert!(LINGER >= Duration::from_secs(2), "a packet may be that late on a bad path");
    }

    #[test]
    fn an_sa_that_nothing_replaced_goes_at_once() {
        let (mut retiring, now) = (Retiring::default(), clock::now());
        for reason in [CloseReason::PeerDeleted, CloseReason::Local, CloseReason::DpdTimeout] {
            assert_eq!(retiring.leave(now, (SLOT, SPI), &reason), Some(SPI), "{reason:?}");
        }
        assert_eq!(retiring.deadline(), None);
    }

    #[test]
    fn a_new_sa_with_an_old_spi_is_not_removed_in_place_of_the_old_one() {
        let (mut retiring, now) = (Retiring::default(), clock::now());
        assert_eq!(retiring.leave(now, (SLOT, SPI), &CloseReason::Rekeyed), None);
        retiring.reuse(SPI);
        assert_eq!(retiring.take_due(now + LINGER), None);
    }

    #[test]
    fn nothing_of_a_child_that_is_down_stays() {
        let (mut retiring, now) = (Retiring::default(), clock::now());
        let other = NonZeroU32::new(SPI.get() + 1).expect("not 0");
        assert_eq!(retiring.leave(now, (SLOT, SPI), &CloseReason::Rekeyed), None);
        assert_eq!(retiring.leave(now, (SlotId(8), other), &CloseReason::Rekeyed), None);
        assert_eq!(retiring.close(SLOT), [SPI]);
        assert_eq!(retiring.close(SLOT), []);
        assert_eq!(retiring.take_due(now + LINGER), Some(other), "of another child");
    }
}
