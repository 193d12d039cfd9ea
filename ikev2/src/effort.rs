//! What was done, counted in steps: what bounds of work are asserted on, since a clock says something else on every machine.
//!
//! ```text
//!   count("compare")  in the code, with cfg(test)        done("compare")  in a test of the same thread, since the last forget()
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    static DONE: RefCell<BTreeMap<&'static str, usize>> = const { RefCell::new(BTreeMap::new()) };
}

/// One more step of this kind.
pub(crate) fn count(what: &'static str) {
    DONE.with_borrow_mut(|done| *done.entry(what).or_default() += 1);
}

/// How many steps of this kind there were.
pub(crate) fn done(what: &'static str) -> usize {
    DONE.with_borrow(|done| done.get(what).copied().unwrap_or(0))
}

/// Begins to count anew.
pub(crate) fn forget() {
    DONE.with_borrow_mut(BTreeMap::clear);
}
