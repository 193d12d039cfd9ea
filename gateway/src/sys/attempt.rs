//! What an intruder would try and no safe crate offers; for tests of the sandbox (fault.rs) alone.

use std::io;

/// Asks to look into the process that started this one.
///
/// # Errors
/// What the system says.
pub(crate) fn trace_parent() -> io::Result<()> {
    let parent = rustix::process::getppid().map_or(1, |parent| parent.as_raw_nonzero().get());
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_SEIZE takes a process, no address and no options, and touches no memory of ours.
    let result = unsafe { libc::ptrace(libc::PTRACE_SEIZE, parent, nothing, nothing) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
