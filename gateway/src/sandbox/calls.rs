//! The system calls that are left to the threads (seccomp(2)). Whatever else one asks for ends the program (trap.rs).
//!
//! ```text
//!   all threads   COMMON + WIDE, socket() only of UNIX, INET, INET6, NETLINK; clone() only of threads; no memory that is
//!                 both written and run
//!   pumps         COMMON + PACKETS, beside that
//!   POLITE        what a library may try is refused with an error that it knows, and the program goes on
//! ```
//!
//! A thread of another kind (a web server, say) is one of "all threads" and needs nothing here as long as WIDE has what it
//! asks for; a stricter list for it is one more constant and one more call of [`restrict`]. If a call is missing, the line
//! that the program ends with has its number: `ausyscall NUMBER`.
//!
//! Calls that only look, that wait or that concern the memory of the process itself are listed freely: a missing one ends
//! the gateway.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// Whether there are lists for this processor.
pub(super) fn is_possible() -> bool {
    cfg!(any(target_arch = "x86_64", target_arch = "aarch64"))
        && TargetArch::try_from(std::env::consts::ARCH).is_ok()
}

/// This thread and those that it starts.
///
/// # Errors
/// What the kernel says.
pub(super) fn restrict_all() -> Result<(), String> {
    restrict(&[COMMON, WIDE, OLD_WIDE], &wide_rules()?, &POLITE)
}

/// A thread that moves packets.
///
/// # Errors
/// What the kernel says.
pub(super) fn restrict_pump() -> Result<(), String> {
    restrict(&[COMMON, PACKETS, OLD_PACKETS], &common_rules()?, &POLITE_TO_PUMPS)
}

type Rules = Vec<(c_long, Vec<SeccompRule>)>;

/// `lists` are allowed whatever their arguments, `rules` where they fit, `polite` are refused with the error beside them.
fn restrict(lists: &[&[c_long]], rules: &Rules, polite: &[(c_long, i32)]) -> Result<(), String> {
    let whole = lists.iter().copied().flatten().map(|call| (*call, Vec::new()));
    let mut allowed: BTreeMap<c_long, Vec<SeccompRule>> = whole.collect();
    allowed.extend(rules.iter().cloned());
    allowed.extend(polite.iter().map(|(call, _)| (*call, Vec::new())));
    let mut errors: Vec<i32> = polite.iter().map(|(_, error)| *error).collect();
    errors.sort_unstable();
    errors.dedup();
    for error in errors {
        let refused = polite.iter().filter(|(_, with)| *with == error);
        let refused = refused.map(|(call, _)| (*call, Vec::new())).collect();
        apply(refused, SeccompAction::Allow, SeccompAction::Errno(error.unsigned_abs()))?;
    }
    // Last, for a pump may install nothing after it.
    apply(allowed, SeccompAction::Trap, SeccompAction::Allow)
}

fn apply(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    if_listed: SeccompAction,
) -> Result<(), String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    let filter = SeccompFilter::new(rules, otherwise, if_listed, arch);
    let program = filter.and_then(BpfProgram::try_from).map_err(|error| error.to_string())?;
    apply_filter(&program).map_err(|error| error.to_string())
}

/// One way in which a call is allowed: all of the conditions hold.
fn when(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, String> {
    let each = conditions.iter().map(|(argument, operator, value)| {
        SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, operator.clone(), *value)
    });
    let each: Result<Vec<_>, _> = each.collect();
    each.and_then(SeccompRule::new).map_err(|error| error.to_string())
}

/// Memory is not written and run.
fn common_rules() -> Result<Rules, String> {
    let memory = |call: c_long| {
        let without = |right: i32| {
            let right = u64::from(right.unsigned_abs());
            when(&[(2, SeccompCmpOp::MaskedEq(right), 0)])
        };
        Ok::<_, String>((call, vec![without(libc::PROT_WRITE)?, without(libc::PROT_EXEC)?]))
    };
    let option = |option: i32| (0, SeccompCmpOp::Ne, u64::from(option.unsigned_abs()));
    let options = [libc::PR_SET_DUMPABLE, libc::PR_SET_PTRACER, libc::PR_SET_MM].map(option);
    Ok(vec![
        memory(libc::SYS_mmap)?,
        memory(libc::SYS_mprotect)?,
        (libc::SYS_prctl, vec![when(&options)?]),
    ])
}

fn wide_rules() -> Result<Rules, String> {
    let family = |family: i32| when(&[(0, SeccompCmpOp::Eq, u64::from(family.unsigned_abs()))]);
    let families: Result<Vec<_>, _> =
        [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK]
            .map(family)
            .into_iter()
            .collect();
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let thread = when(&[(0, SeccompCmpOp::MaskedEq(thread), thread)])?;
    // Nobody types into the terminal that it was started from.
    let typing = [libc::TIOCSTI, libc::TIOCLINUX].map(|request| (1, SeccompCmpOp::Ne, request));
    let mut rules = common_rules()?;
    rules.extend([
        (libc::SYS_socket, families?),
        (libc::SYS_socketpair, vec![family(libc::AF_UNIX)?]),
        (libc::SYS_clone, vec![thread]),
        (libc::SYS_ioctl, vec![when(&typing)?]),
    ]);
    Ok(rules)
}

/// Memory, time, waiting, ending, and what concerns the thread itself.
const COMMON: &[c_long] = &[
    // memory
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    libc::SYS_membarrier,
    libc::SYS_getrandom,
    // threads and time
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getattr,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_getpriority,
    libc::SYS_getcpu,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    // signals
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    // To itself: abort().
    libc::SYS_tgkill,
    // open descriptors
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_create1,
    libc::SYS_eventfd2,
    // open sockets
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
];

/// Of the pumps alone: the device and its queues.
const PACKETS: &[c_long] = &[libc::SYS_ioctl];

/// Of the control thread, the resolver, readers of a configuration and other helpers: files, sockets, threads.
const WIDE: &[c_long] = &[
    // files
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_fadvise64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_flock,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_umask,
    libc::SYS_pipe2,
    libc::SYS_close_range,
    // sockets
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    // threads, and what they give up
    libc::SYS_sched_setattr,
    libc::SYS_sched_setaffinity,
    libc::SYS_setpriority,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_seccomp,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
    libc::SYS_prlimit64,
    // what is to be known
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
];

/// The same by names that younger processors never had.
#[cfg(target_arch = "x86_64")]
const OLD_PACKETS: &[c_long] =
    &[libc::SYS_poll, libc::SYS_select, libc::SYS_epoll_wait, libc::SYS_dup2, libc::SYS_time];

#[cfg(not(target_arch = "x86_64"))]
const OLD_PACKETS: &[c_long] = &[];

#[cfg(target_arch = "x86_64")]
const OLD_WIDE: &[c_long] = &[
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_create,
    libc::SYS_dup2,
    libc::SYS_time,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_getdents,
    libc::SYS_mkdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_getrlimit,
    libc::SYS_pipe,
    libc::SYS_eventfd,
    libc::SYS_arch_prctl,
];

/// renameat() and getrlimit(), which the kernel has there and the crate `libc` does not name.
#[cfg(target_arch = "aarch64")]
const OLD_WIDE: &[c_long] = &[38, 163];

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLD_WIDE: &[c_long] = &[];

/// glibc starts threads with clone() where there is no clone3(), whose arguments no filter sees; what needs a privilege that
/// is gone is answered as if there were no filter.
const POLITE: [(c_long, i32); 6] = [
    (libc::SYS_clone3, libc::ENOSYS),
    (libc::SYS_io_uring_setup, libc::ENOSYS),
    (libc::SYS_bpf, libc::EPERM),
    (libc::SYS_setns, libc::EPERM),
    (libc::SYS_fchmodat, libc::EPERM),
    (libc::SYS_fchownat, libc::EPERM),
];

/// An allocator asks how many processors there are; whoever panics asks for the program's own file.
const POLITE_TO_PUMPS: [(c_long, i32); 7] = [
    (libc::SYS_openat, libc::EACCES),
    (libc::SYS_newfstatat, libc::EACCES),
    (libc::SYS_statx, libc::EACCES),
    (libc::SYS_readlinkat, libc::EACCES),
    (libc::SYS_getcwd, libc::EACCES),
    (libc::SYS_clone3, libc::ENOSYS),
    (libc::SYS_bpf, libc::EPERM),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// In threads of their own: a filter stays. What is refused politely can be tried without an end.
    #[test]
    fn a_pump_computes_sends_and_opens_nothing() {
        let (one, other) = std::os::unix::net::UnixDatagram::pair().expect("a pair");
        std::thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).expect("may be given up");
            restrict_all().expect("the wide list");
            restrict_pump().expect("the strict list");
            one.send(b"x").expect("an open socket");
            let large = vec![1_u8; 8 << 20];
            assert_eq!(large.iter().map(|octet| usize::from(*octet)).sum::<usize>(), 8 << 20);
            let denied = std::fs::read("/proc/self/status").expect_err("no files");
            assert_eq!(denied.raw_os_error(), Some(libc::EACCES));
        })
        .join()
        .expect("no panic");
        let mut buffer = [0; 1];
        assert_eq!(other.recv(&mut buffer).expect("arrives"), 1);
    }

    #[test]
    fn helpers_start_threads_look_up_names_and_read() {
        std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).expect("may be given up");
            restrict_all().expect("the wide list");
            let found = std::thread::spawn(|| {
                std::net::ToSocketAddrs::to_socket_addrs("localhost:1").map(Iterator::count)
            });
            assert!(found.join().expect("no panic").expect("resolves") > 0);
            assert!(std::fs::read("/proc/self/status").is_ok());
        })
        .join()
        .expect("no panic");
    }
}
