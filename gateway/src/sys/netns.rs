//! Network namespaces: making one, entering it, and becoming root of a user namespace of our own.
//!
//! ```text
//!   become_root()     a single-threaded process without privileges ─► uid 0 in a new user + network namespace
//!   Netns::new()      an empty network namespace, alive as long as its descriptor (user_namespaces(7), network_namespaces(7))
//!   Netns::run(f)     f on a thread of its own that has entered; what it opens (sockets, netlink) stays in there
//! ```
//!
//! A namespace belongs to a thread, a socket to the namespace of the thread that opened it. So nothing here ever moves
//! the caller's own thread, except [`become_root`] and [`enter`], which say so.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::thread;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// One network namespace, kept alive by a descriptor. Everything in it vanishes with the last descriptor and thread.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
}

impl Netns {
    /// Makes an empty namespace that has nothing but a loopback device, which is down.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_SYS_ADMIN` in the user namespace of the process.
    pub fn new() -> io::Result<Self> {
        on_thread(|| {
            leave(UnshareFlags::NEWNET)?;
            Self::current()
        })
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// Whatever the kernel says about `/proc/thread-self/ns/net`.
    pub fn current() -> io::Result<Self> {
        Ok(Self { fd: File::open("/proc/thread-self/ns/net")?.into() })
    }

    /// Runs `work` inside, on a thread of its own, and returns what it returns.
    ///
    /// # Errors
    /// If the thread cannot be made or may not enter.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_thread(|| {
            enter(self.as_fd())?;
            Ok(work())
        })
    }

    /// The number of the descriptor, for a child process that enters through `/proc/<our pid>/fd/<number>`.
    #[must_use]
    pub fn number(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Moves the calling thread (threads and processes started by it later, too) into a network namespace.
///
/// # Errors
/// `PermissionDenied` without `CAP_SYS_ADMIN` in the user namespace that owns it, `InvalidInput` if `namespace` is none.
pub fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?)
}

/// Moves the process into a new network namespace and, unless it has the right to do so already, into a new user
/// namespace where it is root. Returns whether the user namespace was needed.
///
/// Files keep their owner: our uid outside is shown as 0 inside, every other as 65534 (user_namespaces(7)).
/// Has to come first in `main`: the kernel refuses a process that has more than one thread.
///
/// # Errors
/// `PermissionDenied` (or `StorageFull`, the kernel's `ENOSPC`) where unprivileged user namespaces are switched off.
pub fn become_root() -> io::Result<bool> {
    if leave(UnshareFlags::NEWNET).is_ok() {
        return Ok(false);
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    leave(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)?;
    // A process may map its own gid only after it has given up setgroups(2) for good (user_namespaces(7)).
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    Ok(true)
}

/// Switches a setting below `/proc/sys/net` of the calling thread's namespace, such as `ipv4/ip_forward`.
///
/// # Errors
/// If there is no such setting, or no right to change it.
pub fn set_sysctl(name: &str, value: &str) -> io::Result<()> {
    fs::write(Path::new("/proc/sys/net").join(name), value)
}

fn leave(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: unshare(2) is unsafe because of CLONE_FILES only, after which threads see different descriptors under one
    // number; the two callers pass CLONE_NEWNET and CLONE_NEWUSER, which leave the descriptor table shared.
    Ok(unsafe { unshare_unsafe(flags) }?)
}

fn on_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().name("netns".into()).spawn_scoped(scope, work)?;
        worker.join().map_err(|_| io::Error::other("the thread inside the namespace panicked"))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_namespace_is_another_one_and_leaves_ours_alone() {
        let before = fs::read_link("/proc/thread-self/ns/net").unwrap();
        let Ok(netns) = Netns::new() else {
            println!("skipped: no right to make a network namespace");
            return;
        };
        let inside = netns.run(|| fs::read_link("/proc/thread-self/ns/net").unwrap()).unwrap();
        assert_ne!(inside, before);
        assert_eq!(fs::read_link("/proc/thread-self/ns/net").unwrap(), before);
        assert_eq!(
            netns.run(|| fs::read_link("/proc/thread-self/ns/net").unwrap()).unwrap(),
            inside
        );
    }

    #[test]
    fn a_setting_changes_inside_only() {
        let Ok(netns) = Netns::new() else {
            println!("skipped: no right to make a network namespace");
            return;
        };
        let outside = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
        let read = |value: &'static str| {
            netns
                .run(move || {
                    set_sysctl("ipv4/ip_forward", value).unwrap();
                    fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap()
                })
                .unwrap()
        };
        assert_eq!(read("1").trim(), "1");
        assert_eq!(read("0").trim(), "0");
        assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), outside);
    }

    #[test]
    fn a_panic_inside_is_an_error_outside() {
        let Ok(netns) = Netns::new() else {
            println!("skipped: no right to make a network namespace");
            return;
        };
        let error = netns.run(|| assert_eq!(1, 2)).unwrap_err();
        assert!(error.to_string().contains("panicked"));
    }
}
