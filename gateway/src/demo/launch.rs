//! The processes of the demo: who starts whom, and how all of them end.
//!
//! ```text
//!   run()        outer   the user's process: owns the directory, waits, forwards signals, removes the directory
//!   run_inner()  demo-inside PARENT DIR [--json]       in new namespaces, tells the story
//!                demo-enter PARENT FD ARGUMENT..       steps into a namespace and becomes `s2s-gw ARGUMENT..`
//! ```
//!
//! The two hidden words do nothing that their caller could not do; they exist because a user namespace can only be
//! entered by a process with one thread. `PR_SET_PDEATHSIG` lets each process die with its parent, Ctrl-C or not.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::thread;

use rustix::process::{
    Pid, Signal, WaitOptions, geteuid, getpid, getppid, kill_process, set_child_subreaper,
    set_parent_process_death_signal, wait,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::stage::Stage;
use super::{DemoArgs, DemoError, During as _, story};
use crate::clock;
use crate::sys::netlink::plain;
use crate::sys::netns::{become_root, enter};

/// Runs the demo and tells the story on stdout, errors on stderr.
///
/// The exit code is success only if packets crossed the tunnel encrypted and came back; 128 plus the number of the
/// signal that ended it.
#[must_use]
pub fn run(args: &DemoArgs) -> ExitCode {
    let outcome = Directory::new().and_then(|directory| tell(args, &directory.path));
    match outcome {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
            (None, signal) => ExitCode::from(u8::try_from(128 + signal.unwrap_or(0)).unwrap_or(1)),
        },
        Err(error) => Stage::new(args.json).fail(&error),
    }
}

/// Plays one of the hidden parts of the demo, if the program was started for that; `None` means that the command line
/// is a user's. Call it first in `main`: a process with more than one thread cannot enter a user namespace.
#[must_use]
pub fn run_inner() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next()?.to_str()? {
        INSIDE => Some(inside(arguments)),
        ENTER => Some(step_in(arguments)),
        _ => None,
    }
}

/// Starts a program of ours inside a namespace; it dies with us. `descriptor` is the namespace's number among our
/// descriptors.
pub(super) fn inside_namespace(descriptor: i32) -> Command {
    let mut command = Command::new(OURSELVES);
    command.arg0(NAME).args([ENTER, &own_pid(), &descriptor.to_string()]);
    command
}

fn tell(args: &DemoArgs, directory: &Path) -> Result<ExitStatus, DemoError> {
    // Grandchildren that outlive their parent by a moment become ours, so that we can wait for them, too.
    set_child_subreaper(Some(getpid())).during("adopt grandchildren")?;
    // From here on a signal ends the inner process, and we live on to remove the directory.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).during("watch for signals")?;
    let mut command = Command::new(OURSELVES);
    command.arg0(NAME).args([INSIDE, &own_pid()]).arg(directory);
    if args.json {
        command.arg(JSON);
    }
    let mut child = command.spawn().during("start a second process of this program")?;
    let pid = Pid::from_child(&child);
    let handle = signals.handle();
    let forwarder = thread::spawn(move || {
        for _ in signals.forever() {
            // It may be gone already; then `wait` below tells.
            let _ = kill_process(pid, Signal::TERM);
        }
    });
    let status = child.wait().during("wait for the inner process");
    while let Ok(Some(_)) = wait(WaitOptions::empty()) {} // until there is no child left
    handle.close();
    let _ = forwarder.join();
    status
}

/// The part of the process that lives in its own namespaces.
fn inside(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let started = clock::now();
    let (parent, directory) = (arguments.next(), arguments.next().map(PathBuf::from));
    let stage = Stage::new(arguments.next().is_some_and(|word| word == JSON));
    let Some(directory) = die_with(parent).and(directory) else { return misused(INSIDE) };
    let user_namespace = match become_root() {
        Ok(needed) => needed,
        Err(error) => return stage.fail(&blocked(&error)),
    };
    match story::tell(&stage, &directory, user_namespace, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => stage.fail(&error),
    }
}

/// Steps into the namespace that is number `FD` among the parent's descriptors and becomes the rest of the arguments.
fn step_in(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (parent, descriptor) = (arguments.next(), arguments.next());
    let Some((parent, descriptor)) = die_with(parent).zip(descriptor) else {
        return misused(ENTER);
    };
    let namespace = Path::new("/proc").join(parent.to_string()).join("fd").join(descriptor);
    let entered = File::open(&namespace).and_then(|file| enter(file.as_fd()));
    let error = match entered {
        Ok(()) => Command::new(OURSELVES).arg0(NAME).args(arguments).exec(),
        Err(error) => error,
    };
    let error = DemoError::Io { what: format!("enter {}", namespace.display()), source: error };
    Stage::new(false).fail(&error)
}

/// Arranges that we are killed when the parent ends; `None` if that has happened already, or there never was one.
fn die_with(parent: Option<OsString>) -> Option<i32> {
    let parent = parent?.to_str()?.parse().ok()?;
    set_parent_process_death_signal(Some(Signal::KILL)).ok()?;
    (getppid().map(Pid::as_raw_nonzero).map(Into::into) == Some(parent)).then_some(parent)
}

fn misused(word: &str) -> ExitCode {
    let why = "this word is for the demo's own processes; try: s2s-gw demo";
    let source = io::Error::new(io::ErrorKind::InvalidInput, why);
    Stage::new(false).fail(&DemoError::Io { what: format!("run {word}"), source })
}

/// Why there are no namespaces for us, with the setting that is to blame where one is known.
fn blocked(error: &io::Error) -> DemoError {
    let culprit = CULPRITS.iter().find(|(file, culprit, _)| {
        fs::read_to_string(file).is_ok_and(|value| value.trim() == *culprit)
    });
    let why = match culprit {
        Some((_, _, name)) => (*name).to_owned(),
        // The kernel's ENOSPC is about the number of namespaces here (namespaces(7)).
        None if error.kind() == io::ErrorKind::StorageFull => {
            "there are too many already".to_owned()
        }
        None => plain(error),
    };
    if geteuid().is_root() { DemoError::Caged { why } } else { DemoError::NeedsRoot { why } }
}

/// The settings that forbid user namespaces: file, value, and how to name it.
const CULPRITS: [(&str, &str, &str); 3] = [
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "kernel.apparmor_restrict_unprivileged_userns = 1",
    ),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone = 0"),
    ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces = 0"),
];

fn own_pid() -> String {
    getpid().as_raw_nonzero().to_string()
}

/// A directory that only we can read, removed when dropped.
struct Directory {
    path: PathBuf,
}

impl Directory {
    fn new() -> Result<Self, DemoError> {
        let wanted =
            Some(std::env::temp_dir()).filter(|path| path.as_os_str().len() <= MAX_TMP_LEN);
        let parent = wanted.unwrap_or_else(|| PathBuf::from("/tmp"));
        let path = parent.join(format!("s2s-gw-demo-{}", own_pid()));
        // Fails if the name exists, so nobody can have put a link or a directory of his own there.
        DirBuilder::new().mode(0o700).create(&path).during(format!("make {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left is empty or not ours; there is nobody to tell.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Octets of a directory's path that leave room for the name of a control socket, 107 octets in all (unix(7)).
const MAX_TMP_LEN: usize = 72;

const INSIDE: &str = "demo-inside";
const ENTER: &str = "demo-enter";
const JSON: &str = "--json";
const NAME: &str = "s2s-gw";

/// The running program, even if its file has been replaced or removed.
const OURSELVES: &str = "/proc/self/exe";
