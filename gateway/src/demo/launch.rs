//! The processes of the demo: who starts whom, and how all of them end.
//!
//! ```text
//!   run()        outer   the user's process: owns the directory, waits, forwards signals, removes the directory
//!   run_inner()  demo-inside PARENT DIR OPTION..       in new namespaces, tells the story
//!                demo-enter PARENT FD PROGRAM ARG..    steps into a namespace and becomes `PROGRAM ARG..`
//! ```
//!
//! The two hidden words do nothing that their caller could not do; they exist because a user namespace can only be
//! entered by a process with one thread. `PR_SET_PDEATHSIG` lets each process die with its parent, Ctrl-C or not.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::thread;
use std::{io, iter};

use clap::{Parser as _, ValueEnum as _};
use rustix::process::{
    Pid, Signal, WaitOptions, geteuid, getpid, getppid, kill_process, set_child_subreaper,
    set_parent_process_death_signal, wait,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::page::Page;
use super::stage::Stage;
use super::story::Setting;
use super::{Against, DemoArgs, DemoError, During as _, keep, story, swan};
use crate::clock;
use crate::sys::netlink::plain;
use crate::sys::netns::{become_root, enter};

/// Runs the demo and tells the story on stdout, errors on stderr.
///
/// The exit code is success only if packets crossed the tunnel encrypted and came back; 128 plus the number of the
/// signal that ended it.
#[must_use]
pub fn run(args: &DemoArgs) -> ExitCode {
    let outcome = possible(args).and_then(|()| Directory::new()).and_then(|directory| {
        let status = tell(args, &directory.path)?;
        // Also after a story that was interrupted or failed: then it is wanted most.
        args.keep.iter().try_for_each(|into| keep::keep(&directory.path, into, args))?;
        Ok(status)
    });
    match outcome {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
            (None, signal) => ExitCode::from(u8::try_from(128 + signal.unwrap_or(0)).unwrap_or(1)),
        },
        Err(error) => Stage::new(args.json).fail(&error),
    }
}

/// What can be known before anything begins.
fn possible(args: &DemoArgs) -> Result<(), DemoError> {
    if args.against == Some(Against::Strongswan) {
        swan::possible()?;
    }
    args.keep.as_ref().map_or(Ok(()), |into| keep::prepare(into))
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
    another_inside(descriptor, Path::new(OURSELVES))
}

/// The same with another program.
pub(super) fn another_inside(descriptor: i32, program: &Path) -> Command {
    let mut command = Command::new(OURSELVES);
    command.arg0(NAME).args([ENTER, &own_pid(), &descriptor.to_string()]).arg(program);
    command
}

fn tell(args: &DemoArgs, directory: &Path) -> Result<ExitStatus, DemoError> {
    // Grandchildren that outlive their parent by a moment become ours, so that we can wait for them, too.
    set_child_subreaper(Some(getpid())).during("adopt grandchildren")?;
    // From here on a signal ends the inner process, and we live on to remove the directory.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).during("watch for signals")?;
    let mut command = Command::new(OURSELVES);
    command.arg0(NAME).args([INSIDE, &own_pid()]).arg(directory).args(options(args));
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
    let Some(directory) = die_with(parent).and(directory) else { return misused(INSIDE) };
    let told = Inside::try_parse_from(iter::once(OsString::from(NAME)).chain(arguments));
    let Ok(Inside { args }) = told else { return misused(INSIDE) };
    let stage = Stage::new(args.json);
    // A socket belongs to the namespace that it was opened in: the last moment for one that a browser reaches.
    let page = match args.web.then(Page::open).transpose() {
        Ok(page) => page,
        Err(error) => return stage.fail(&error),
    };
    let user_namespace = match become_root() {
        Ok(needed) => needed,
        Err(error) => return stage.fail(&blocked(&error)),
    };
    let setting =
        Setting { stage: &stage, directory: &directory, args: &args, page: page.as_ref() };
    match story::tell(&setting, user_namespace, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => stage.fail(&error),
    }
}

/// The options of the user, as the inner process gets them.
#[derive(clap::Parser)]
struct Inside {
    #[command(flatten)]
    args: DemoArgs,
}

/// The same as words; what is kept and how is the outer process's own, but captures have to be made.
fn options(args: &DemoArgs) -> Vec<OsString> {
    let DemoArgs { fault, failover, against, web, seconds, keep, json } = args;
    let mut words = Vec::new();
    let mut add = |given: bool, word: String| {
        if given {
            words.push(OsString::from(word));
        }
    };
    let of = |value: Option<clap::builder::PossibleValue>| {
        value.map_or(String::new(), |value| value.get_name().to_owned())
    };
    add(fault.is_some(), format!("--break={}", of(fault.and_then(|it| it.to_possible_value()))));
    add(*failover, "--failover".to_owned());
    let program = of(against.and_then(|it| it.to_possible_value()));
    add(against.is_some(), format!("--against={program}"));
    add(*web, "--web".to_owned());
    add(seconds.is_some(), format!("--seconds={}", seconds.unwrap_or(0)));
    add(keep.is_some(), "--keep=.".to_owned());
    add(*json, "--json".to_owned());
    words
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
        Ok(()) => turn_into(arguments),
        Err(error) => error,
    };
    let error = DemoError::Io { what: format!("enter {}", namespace.display()), source: error };
    Stage::new(false).fail(&error)
}

/// Becomes another program, or this one again; returns only why not.
fn turn_into(mut arguments: impl Iterator<Item = OsString>) -> io::Error {
    let Some(program) = arguments.next() else { return io::ErrorKind::InvalidInput.into() };
    let mut command = Command::new(&program);
    if program == OURSELVES {
        command.arg0(NAME);
    }
    command.args(arguments).exec()
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
const NAME: &str = "s2s-gw";

/// The running program, even if its file has been replaced or removed.
const OURSELVES: &str = "/proc/self/exe";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::Fault;

    #[test]
    fn the_inner_process_is_told_what_the_user_wants() {
        let all = [
            DemoArgs::default(),
            DemoArgs { fault: Some(Fault::Pfs), json: true, ..DemoArgs::default() },
            DemoArgs { failover: true, web: true, seconds: Some(7), ..DemoArgs::default() },
            DemoArgs {
                against: Some(Against::Strongswan),
                keep: Some(PathBuf::from(".")),
                ..DemoArgs::default()
            },
        ];
        for args in all {
            let words = iter::once(OsString::from(NAME)).chain(options(&args));
            assert_eq!(Inside::try_parse_from(words).unwrap().args, args);
        }
    }
}
