//! The further key exchanges of a suite (RFC 9370 §2.2.1): at most seven, made one after the other in the order of their places.
//!
//! ```text
//!   chosen   KE curve25519   ADDKE1 mlkem768   ADDKE2 NONE   ADDKE4 mlkem1024
//!   run      0: curve25519   1: mlkem768                     2: mlkem1024
//! ```

use std::fmt;

use crate::registry::KeMethod;

/// Methods by place; NONE where nothing was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdditionalKe([KeMethod; Self::PLACES]);

impl AdditionalKe {
    const PLACES: usize = 7;

    /// No further exchange.
    pub const NONE: Self = Self([KeMethod::NONE; Self::PLACES]);

    /// The methods that are used, each with its place, 1 to 7.
    pub fn iter(&self) -> impl Iterator<Item = (u8, KeMethod)> + '_ {
        let used = |(_, method): &(u8, KeMethod)| *method != KeMethod::NONE;
        (1..).zip(self.0).filter(used)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// Puts a method in its place; false if there is no such place.
    pub(super) fn put(&mut self, place: u8, method: KeMethod) -> bool {
        let index = usize::from(place).checked_sub(1);
        let slot = index.and_then(|index| self.0.get_mut(index));
        slot.map(|slot| *slot = method).is_some()
    }

    /// Whether a method is used twice, `first` counted in, which the responder must not choose (RFC 9370 §2.2.1).
    pub(super) fn repeats(&self, first: Option<KeMethod>) -> bool {
        let all: Vec<KeMethod> = first.into_iter().chain(self.iter().map(|(_, m)| m)).collect();
        all.iter().enumerate().any(|(at, method)| all.iter().take(at).any(|other| other == method))
    }
}

impl Default for AdditionalKe {
    fn default() -> Self {
        Self::NONE
    }
}

/// `/KE1_ML_KEM_768` for each, as operators know it from strongSwan; nothing if there is none.
impl fmt::Display for AdditionalKe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, method) in self.iter() {
            write!(f, "/KE{place}_{}", super::suite::ke_name(method))?;
        }
        Ok(())
    }
}
