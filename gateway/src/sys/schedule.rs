//! The place of a thread among those that want to run: sched_setattr(2).
//!
//! ```text
//!   nice    how large its part of a core is where there are not enough of them, -20 the largest
//!   slice   how long it wants to run at a time: whoever asks for little gets it soon (EEVDF; kernels before 6.12 do not ask)
//! ```

use std::io;
use std::time::Duration;

/// Sets both for the calling thread: nice from -20 to 19, the slice from 0.1 to 100 ms, which the kernel rounds to.
///
/// # Errors
/// `PermissionDenied` for less nice than it has without CAP_SYS_NICE, with nothing changed.
pub(crate) fn take_turns(nice: i32, slice: Duration) -> io::Result<()> {
    let wanted = libc::sched_attr {
        size: SIZE,
        sched_policy: libc::SCHED_OTHER.cast_unsigned(),
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX),
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads as many octets through the pointer as `size` says, which `wanted` has; 0 is this thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Octets of a `sched_attr`.
const SIZE: u32 = 48;

const _: () = assert!(size_of::<libc::sched_attr>() == SIZE as usize);

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says of this thread, in nanoseconds; `None` from one that does not say it.
    fn slice() -> Option<u64> {
        let about = std::fs::read_to_string("/proc/thread-self/sched").ok()?;
        let line = about.lines().find(|line| line.starts_with("se.slice"))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    #[test]
    fn a_thread_gets_the_slice_that_it_asks_for_and_keeps_it_to_itself() {
        let before = slice();
        let asked = std::thread::spawn(|| {
            take_turns(1, Duration::from_micros(200)).expect("anybody may be nicer");
            slice()
        });
        let asked = asked.join().expect("no panic");
        assert!(asked.is_none_or(|asked| asked == 200_000), "{asked:?}");
        assert_eq!(slice(), before);
    }
}
