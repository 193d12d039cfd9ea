//! The end of a program that must not go on: a panic anywhere, or a system call that its sandbox refuses.
//!
//! ```text
//!   panic in any thread ──► hook ────┐
//!   refused call ──► SIGSYS ─────────┴──► one line to stderr, at once ──► _exit(101): all threads, nothing is unwound
//! ```
//!
//! A gateway without one of its threads would look alive and carry nothing, or carry and never rekey: whoever started it
//! shall start it again. The kernel takes the device and its routes with the process.

use std::ffi::{c_int, c_void};
use std::fmt::Write as _;
use std::io;
use std::panic::PanicHookInfo;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// As Rust's own programs end after a panic.
const STATUS: c_int = 101;

/// From now on a panic in any thread ends the program.
pub(crate) fn on_panic() {
    std::panic::set_hook(Box::new(|panic| end(&words(panic))));
}

fn words(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("without a name").to_owned();
    let place = panic.location().map_or_else(|| "somewhere".to_owned(), ToString::to_string);
    let said = panic.payload_as_str().unwrap_or("no words");
    format!(
        "s2s-gw: error: the thread `{thread}` broke at {place}: {}; this is a bug of ours, please report it; the gateway ended, start it again\n",
        said.escape_debug()
    )
}

/// Says it and is gone.
pub(crate) fn end(line: &str) -> ! {
    say(line.as_bytes());
    // SAFETY: `_exit` takes any number and does not return; it runs no code of ours.
    unsafe { libc::_exit(STATUS) }
}

/// Writes past the lock of stderr, which somebody may hold for ever, and not into a full pipe, which would wait.
fn say(line: &[u8]) {
    let stderr = rustix::stdio::stderr();
    let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
    let patience = Timespec::try_from(Duration::from_millis(50)).ok();
    if poll(&mut ready, patience.as_ref()).is_ok_and(|count| count == 1) {
        let _ = rustix::io::write(stderr, line);
    }
}

/// From now on a system call that a filter traps ends the program.
///
/// # Errors
/// What the system says.
pub(crate) fn on_refused_call() -> io::Result<()> {
    // SAFETY: all zeros is a valid `sigaction`: no flags, an empty mask, the default handler.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(c_int, *const libc::siginfo_t, *const c_void) = refused;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: `action` is whole, and its handler has the type that SA_SIGINFO asks for and does only what is allowed in one
    // (signal-safety(7)): it writes to its own stack, polls, writes and exits.
    let result = unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What the kernel says of a refused call (sigaction(2)), on processors of 64 bits.
#[repr(C)]
struct Refused {
    signal: c_int,
    error: c_int,
    code: c_int,
    _gap: c_int,
    address: *const c_void,
    call: c_int,
    architecture: u32,
}

const _: () = assert!(size_of::<Refused>() <= size_of::<libc::siginfo_t>());

extern "C" fn refused(_: c_int, info: *const libc::siginfo_t, _: *const c_void) {
    // SAFETY: the kernel hands the handler a whole `siginfo_t`, which is at least as large as this part of it and aligned
    // like it; for SIGSYS it has these fields, and for one that somebody sent they are numbers all the same.
    let call = unsafe { (*info.cast::<Refused>()).call };
    let mut name = [0_u8; 16];
    // SAFETY: PR_GET_NAME writes at most 16 octets with a NUL at the end.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    let name = name.split(|octet| *octet == 0).next().unwrap_or_default();
    let mut line = Line::default();
    // It cannot fail: what does not fit is cut.
    let _ = writeln!(
        line,
        "s2s-gw: error: the sandbox refused the system call {call} to the thread `{}`; the gateway ended; please report it, and until then write sandbox = \"off\" in [gateway]",
        std::str::from_utf8(name).unwrap_or("?")
    );
    say(line.text.get(..line.len).unwrap_or_default());
    // SAFETY: as in `end`.
    unsafe { libc::_exit(STATUS) }
}

/// Text that needs no allocator, which may be in the midst of something.
struct Line {
    text: [u8; 320],
    len: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self { text: [0; 320], len: 0 }
    }
}

impl std::fmt::Write for Line {
    fn write_str(&mut self, more: &str) -> std::fmt::Result {
        for (place, octet) in self.text.iter_mut().skip(self.len).zip(more.bytes()) {
            *place = octet;
            self.len += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_its_room_ends() {
        let mut line = Line::default();
        for _ in 0..100 {
            write!(line, "{:>4}", 7).expect("cuts");
        }
        assert_eq!(line.len, 320);
        assert!(line.text.starts_with(b"   7   7"));
    }
}
