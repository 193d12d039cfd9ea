//! A system call that is not on the list (calls.rs) was not made, and ends the program with a line that says which one.

use std::io;

use crate::sys::ending;

/// To be called before the first filter.
///
/// # Errors
/// What the system says.
pub(super) fn listen() -> io::Result<()> {
    ending::on_refused_call()
}
