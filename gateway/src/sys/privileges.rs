//! What this process may do once everything is open: as little as it needs.
//!
//! ```text
//!   before anything   no core dumps, no ptrace by its own user (it has keys); no new privileges by running a program
//!   control thread    CAP_NET_ADMIN (routes), CAP_NET_RAW (probes), CAP_DAC_READ_SEARCH (a new configuration, its keys)
//!   other threads     nothing; the pumps after they have taken their priority, before they see a packet
//! ```
//!
//! Only what was there is kept: a service with two capabilities has two afterwards. The user stays the same; it is for the
//! service manager to choose another one.

use std::io;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// Keeps keys out of core dumps and other programs' hands, and this process and its threads from gaining privileges.
/// To be called before there are threads.
///
/// # Errors
/// What the system says.
pub(crate) fn close_up() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Drops what the control thread does not need any more.
///
/// # Errors
/// What the system says.
pub(crate) fn keep_for_control() -> io::Result<()> {
    let needed = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW | CapabilitySet::DAC_READ_SEARCH;
    keep(needed)
}

/// Drops everything that this thread may do beyond others.
///
/// # Errors
/// What the system says.
pub(crate) fn drop_all() -> io::Result<()> {
    keep(CapabilitySet::empty())
}

/// Of this thread. What is neither permitted nor inheritable leaves the ambient set by itself (capabilities(7)).
fn keep(needed: CapabilitySet) -> io::Result<()> {
    let permitted = capabilities(None)?.permitted & needed;
    let inheritable = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: permitted, permitted, inheritable })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a thread of its own: it cannot have it back.
    #[test]
    fn what_is_not_needed_goes_and_what_was_not_there_does_not_come() {
        let before = capabilities(None).expect("capget").permitted;
        let (control, pump) = std::thread::spawn(|| {
            keep_for_control().expect("drops");
            let control = capabilities(None).expect("capget");
            drop_all().expect("drops");
            (control, capabilities(None).expect("capget"))
        })
        .join()
        .expect("no panic");
        let needed =
            CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW | CapabilitySet::DAC_READ_SEARCH;
        assert_eq!(control.permitted, before & needed);
        assert_eq!(control.effective, control.permitted);
        assert!(control.inheritable.is_empty());
        assert!(pump.permitted.is_empty() && pump.effective.is_empty());
        assert_eq!(capabilities(None).expect("capget").permitted, before, "only that thread");
    }
}
