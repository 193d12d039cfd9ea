//! Descriptors that whoever started this process opened for it (sd_listen_fds(3)): taken once, before anything else is opened.
//!
//! ```text
//!   LISTEN_PID=4711  LISTEN_FDS=3  LISTEN_FDNAMES=ike:nat:tun  ──►  3 "ike"   4 "nat"   5 "tun"
//! ```

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// One of them.
#[derive(Debug)]
pub(crate) struct Descriptor {
    /// Its number when it came, for messages.
    pub(crate) number: RawFd,
    /// What it is called.
    pub(crate) name: String,
    pub(crate) fd: OwnedFd,
}

/// Those for this process, the first time; none later. Programs that it runs do not inherit them.
///
/// # Errors
/// What of the announcement cannot be read, or which descriptor is not there.
pub(crate) fn take() -> io::Result<Vec<Descriptor>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    if sd_notify::listen_fds()?.len() == 0 {
        // Names alone are those of somebody else, whose environment we have.
        return Ok(Vec::new());
    }
    let announced = sd_notify::listen_fds_with_names()?;
    let each = announced.map(|(number, name)| {
        // SAFETY: LISTEN_PID names this process, so its starter gave it these descriptors; they are open, for their flags
        // were just set, and nobody else closes them: they are taken here alone, once, and before this process opens any.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        Descriptor { number, name, fd }
    });
    Ok(each.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_given_none_has_none() {
        assert!(take().expect("nothing is announced").is_empty());
    }
}
