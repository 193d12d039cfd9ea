//! Fragments put together again (RFC 7383 §2.6), with bounded memory and in time that is linear in their number and octets,
//! whatever their order.
//!
//! ```text
//!   wants(number, total)  before the ICV is checked: sane, not held already, not of an older set     else dropped
//!   add(authentic)        total greater than before ─► all that is held goes, a new set begins
//!                         slots  [ 1 | - | 3 | - ]     the last one filled ─► Whole, in order of the numbers
//!                         more octets than the cap  ─► Excess: all that is held goes
//! ```
//!
//! Only what [`open_fragment`](super::Protection::open_fragment) made comes in, so a forged fragment changes nothing, and
//! only this and [`open`](super::Protection::open) make an [`Authentic`].

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

use super::{Authentic, AuthenticFragment};
use crate::registry::PayloadType;

/// The two numbers of an SKF payload (RFC 7383 §2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// From 1.
    pub(crate) number: u16,
    /// Of how many. Grows when the sender cuts the same message into smaller pieces (§2.5.2).
    pub(crate) total: u16,
}

impl Fragment {
    /// Octets on the wire.
    pub(super) const LEN: usize = 4;

    /// The most fragments of one message. With the smallest size that RFC 7383 §2.5.1 recommends, 576 octets, the longest
    /// possible message makes some 140.
    pub(crate) const MOST: u16 = 255;

    pub(super) fn octets(self) -> [u8; Self::LEN] {
        let ([a, b], [c, d]) = (self.number.to_be_bytes(), self.total.to_be_bytes());
        [a, b, c, d]
    }

    const fn is_sane(self) -> bool {
        1 <= self.number && self.number <= self.total && self.total <= Self::MOST
    }
}

/// The pieces of one message that are here.
///
/// Holds at most the octets that [`Self::add`] is told as its cap, and a slot of 16 octets for each of at most
/// [`Fragment::MOST`] fragments.
pub(crate) struct Reassembly {
    /// One for each fragment of the set; none before the first has come.
    slots: Vec<Option<Box<[u8]>>>,
    filled: usize,
    held: usize,
    first: PayloadType,
    /// Slots and octets that were touched: what the time is linear in.
    #[cfg(test)]
    work: usize,
}

/// What became of a fragment.
pub(crate) enum Added<'m> {
    /// Others are missing.
    Waiting,
    /// It was the last one: the whole message.
    Whole(Authentic<'m>),
    /// The message is too long. Nothing is held any more.
    Excess,
}

impl Reassembly {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            filled: 0,
            held: 0,
            first: PayloadType::NONE,
            #[cfg(test)]
            work: 0,
        }
    }

    /// Whether a fragment with these numbers could be of use: the checks of RFC 7383 §2.6 that come before the ICV.
    pub(crate) fn wants(&self, fragment: Fragment) -> bool {
        let free = || self.slot(fragment).is_some_and(Option::is_none);
        let same_set = usize::from(fragment.total) == self.slots.len();
        fragment.is_sane() && (self.would_restart(fragment) || (same_set && free()))
    }

    /// Whether it would begin a message, or a newer set of fragments of it.
    pub(crate) fn would_restart(&self, fragment: Fragment) -> bool {
        usize::from(fragment.total) > self.slots.len()
    }

    /// Takes a fragment; one that is not [wanted](Self::wants) is ignored. The octets of all that are held are at most
    /// `cap`. Once all are here they are moved to `whole`.
    pub(crate) fn add<'m>(
        &mut self,
        piece: &AuthenticFragment<'_>,
        cap: usize,
        whole: &'m mut Vec<u8>,
    ) -> Added<'m> {
        let AuthenticFragment { fragment, first, plain } = *piece;
        if !self.wants(fragment) {
            return Added::Waiting;
        }
        if self.would_restart(fragment) {
            self.restart(fragment.total);
        }
        if self.held + plain.len() > cap {
            self.clear();
            return Added::Excess;
        }
        let index = usize::from(fragment.number).checked_sub(1);
        let Some(slot) = index.and_then(|index| self.slots.get_mut(index)) else {
            return Added::Waiting;
        };
        *slot = Some(Box::from(plain));
        self.filled += 1;
        self.held += plain.len();
        if fragment.number == 1 {
            self.first = first;
        }
        #[cfg(test)]
        {
            self.work += 1 + plain.len();
        }
        if self.filled < self.slots.len() {
            return Added::Waiting;
        }
        self.join(whole)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.slots = Vec::new();
        self.filled = 0;
        self.held = 0;
        self.first = PayloadType::NONE;
    }

    /// How many fragments are held.
    pub(crate) const fn filled(&self) -> usize {
        self.filled
    }

    /// Of how many octets.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    fn slot(&self, fragment: Fragment) -> Option<&Option<Box<[u8]>>> {
        self.slots.get(usize::from(fragment.number).checked_sub(1)?)
    }

    fn restart(&mut self, total: u16) {
        self.clear();
        self.slots.resize(total.into(), None);
        #[cfg(test)]
        {
            self.work += self.slots.len();
        }
    }

    fn join<'m>(&mut self, whole: &'m mut Vec<u8>) -> Added<'m> {
        #[cfg(test)]
        {
            self.work += self.slots.len() + self.held;
        }
        let first = self.first;
        whole.clear();
        whole.reserve_exact(self.held);
        for piece in std::mem::take(&mut self.slots).into_iter().flatten() {
            whole.extend_from_slice(&piece);
        }
        self.clear();
        Added::Whole(Authentic { first, plain: whole, _opened: () })
    }
}
