//! What is left to whoever breaks into the running gateway: the packets that it carries, and little beside.
//!
//! ```text
//!   everything is open, one thread ──► confine        all threads   another user; files (landlock); system calls (seccomp)
//!                                        ├─► resolver               no capability
//!                                        ├─► pumps ──► confine_pump no capability; what moves packets, no file, no socket
//!                                        └─► control ► confine_control  files: configuration, keys, state; not /etc
//! ```
//!
//! What a thread gives up, the threads that it starts never had. `calls.rs` has the lists of system calls, `trap.rs` what
//! becomes of one that is on none, `files.rs` the directories. With `sandbox = "off"` in `[gateway]` only the user changes.

mod calls;
mod files;
mod trap;

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat};

use crate::config::Config;
use crate::sys::privileges::{self, Other, Who};

pub(crate) use self::files::Reach;

/// The sandbox is closed around this process.
static ON: AtomicBool = AtomicBool::new(false);

/// Whether files and system calls are restricted in this process.
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// What to do about a file that is not read any more.
pub(crate) const REMEDY: &str = "restart the gateway: while it runs it reads only the directories that its configuration named when it started (`sandbox` in [gateway]); or put the file into one of those";

/// Why the gateway must not run like this.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// Its user.
    #[error("{0}")]
    User(String),
    /// What the kernel refused.
    #[error("cannot {what}: {why}; see `user` and `sandbox` in [gateway]")]
    Refused {
        /// What we tried.
        what: &'static str,
        /// What the system said.
        why: String,
    },
}

/// What is to be given up, found out before anything is opened.
#[derive(Debug)]
pub(crate) struct Plan {
    who: Who,
    sandbox: bool,
    is_default: bool,
    reach: Reach,
    control: PathBuf,
    state: Option<PathBuf>,
}

impl Plan {
    /// # Errors
    /// [`ConfineError::User`].
    pub(crate) fn of(config: &Config) -> Result<Self, ConfineError> {
        let gateway = &config.gateway;
        let who = privileges::who(gateway.user.as_deref()).map_err(ConfineError::User)?;
        let plan = Self {
            who,
            sandbox: gateway.sandbox,
            is_default: gateway.user.is_none(),
            reach: Reach::of(config),
            control: gateway.control.clone(),
            state: gateway.state.clone(),
        };
        plan.take_back();
        Ok(plan)
    }

    /// Gives up what belongs to root and what no thread needs. To be called while there is one thread.
    ///
    /// # Errors
    /// [`ConfineError`]; the process must not go on.
    pub(crate) fn confine(&self) -> Result<(), ConfineError> {
        self.prepare_state();
        let user = self.become_user()?;
        let (files, calls) = if self.sandbox { self.close()? } else { ("off", "off") };
        tracing::info!(target: "gateway", event = "confined", user, files, calls);
        Ok(())
    }

    /// What the control thread does not need once all other threads run.
    ///
    /// # Errors
    /// [`ConfineError`].
    pub(crate) fn confine_control(&self) -> Result<(), ConfineError> {
        if !is_on() {
            return Ok(());
        }
        let refused = |why| ConfineError::Refused { what: "restrict the control thread", why };
        self.reach.close_for_control().map_err(refused).map(drop)
    }

    fn become_user(&self) -> Result<String, ConfineError> {
        let other = match &self.who {
            Who::Same => return Ok(rustix::process::geteuid().as_raw().to_string()),
            Who::Root => return Ok("root".to_owned()),
            Who::Becomes(other) => other,
        };
        self.hand_over(other);
        match other.become_it() {
            Ok(()) => {
                if other.is_nobody() && self.is_default {
                    let name = privileges::USER;
                    tracing::info!(
                        target: "gateway", event = "shared-user", user = other.name,
                        fix = %format!("useradd --system {name}: then the gateway has a user of its own")
                    );
                }
                Ok(other.name.clone())
            }
            // A user namespace may have nobody but its root, who is none outside; a container may lack CAP_SETUID.
            Err(error) if self.is_default && rustix::process::geteuid().is_root() => {
                tracing::warn!(
                    target: "gateway", event = "stays-root", %error,
                    fix = "let it have CAP_SETUID and CAP_SETGID at the start, start it as another user, or write `user = \"root\"` in [gateway]"
                );
                Ok("root".to_owned())
            }
            Err(error) => {
                let why = error.to_string();
                Err(ConfineError::Refused { what: "become the user of the gateway", why })
            }
        }
    }

    fn close(&self) -> Result<(&'static str, &'static str), ConfineError> {
        let refused = |what| move |why| ConfineError::Refused { what, why };
        let files = self.reach.close_for_all().map_err(refused("restrict the files"))?;
        if files == files::NOT_THERE {
            tracing::warn!(
                target: "gateway", event = "no-landlock",
                msg = "this kernel does not keep the gateway from files that it does not need",
                fix = "use a kernel from 5.13 on with `landlock` among its security modules (lsm=)"
            );
        }
        if !calls::is_possible() {
            tracing::warn!(target: "gateway", event = "no-seccomp", arch = std::env::consts::ARCH);
            ON.store(true, Ordering::Relaxed);
            return Ok((files, "not on this processor"));
        }
        trap::listen().map_err(|e| refused("watch for refused system calls")(e.to_string()))?;
        calls::restrict_all().map_err(refused("restrict the system calls"))?;
        ON.store(true, Ordering::Relaxed);
        Ok((files, "restricted"))
    }

    /// A user that is to write the state has a file to write.
    fn prepare_state(&self) {
        let directory = self.state.as_deref().and_then(Path::parent);
        if let Some(directory) = directory.filter(|directory| !directory.exists()) {
            let mut builder = fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
            // Who cannot make it hears of it when something is to be kept.
            let _ = builder.create(directory);
        }
    }

    /// Directories that a former run gave to its user belong to root again while root works in them.
    fn take_back(&self) {
        if !matches!(self.who, Who::Becomes(_) | Who::Root) {
            return;
        }
        for directory in self.own_directories() {
            let _ = give_directory(&directory, 0, 0);
        }
    }

    /// The directories in which nothing is but ours go to the user; of others the files of the state alone.
    fn hand_over(&self, other: &Other) {
        let (user, group) = other.ids();
        for directory in self.own_directories() {
            if let Err(error) = give_directory(&directory, user, group) {
                tracing::debug!(target: "gateway", event = "not-given", %error, file = %directory.display());
            }
        }
        for file in self.state_files() {
            let directory = file.parent().unwrap_or(Path::new("/"));
            if !file.exists() && may_write(directory, user, group) {
                continue;
            }
            // What is broken is to be found broken.
            let is_new = Some(&file) == self.state.as_ref() && !file.exists();
            let text = if is_new { NOTHING_KEPT } else { &[] };
            if let Err(error) = give_file(&file, text, user, group) {
                tracing::debug!(target: "gateway", event = "not-given", %error, file = %file.display());
            }
        }
    }

    fn state_files(&self) -> Vec<PathBuf> {
        let Some(state) = &self.state else { return Vec::new() };
        let mut fresh = state.as_os_str().to_owned();
        fresh.push(".new");
        vec![state.clone(), fresh.into()]
    }

    fn own_directories(&self) -> Vec<PathBuf> {
        let mut ours = self.state_files();
        ours.push(self.control.clone());
        let mut directories: Vec<PathBuf> =
            ours.iter().filter_map(|file| file.parent().map(Path::to_owned)).collect();
        directories.dedup();
        let has_ours_alone = |directory: &PathBuf| {
            let Ok(entries) = fs::read_dir(directory) else { return false };
            !files::is_shared(directory)
                && entries.flatten().all(|entry| ours.contains(&entry.path()))
        };
        directories.retain(has_ours_alone);
        directories
    }
}

/// Restricts the calling thread to what moves packets.
///
/// # Errors
/// What the kernel says.
pub(crate) fn confine_pump() -> Result<(), String> {
    if is_on() && calls::is_possible() { calls::restrict_pump() } else { Ok(()) }
}

/// Whoever may write in a directory may have put a link in the place of what is expected there; none is followed.
fn give_directory(directory: &Path, user: u32, group: u32) -> io::Result<()> {
    let there = fs::symlink_metadata(directory)?;
    if !there.is_dir() || there.uid() == user {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    Ok(chownat(CWD, directory, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Whether a user makes files there by itself.
fn may_write(directory: &Path, user: u32, group: u32) -> bool {
    let Ok(there) = fs::metadata(directory) else { return false };
    let write = if there.uid() == user {
        0o200
    } else if there.gid() == group {
        0o020
    } else {
        0o002
    };
    there.mode() & write != 0
}

/// A state in which nothing is kept yet.
const NOTHING_KEPT: &[u8] = b"{\"version\": 1}\n";

fn give_file(path: &Path, text: &[u8], user: u32, group: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
    let mut file = options.open(path)?;
    let there = file.metadata()?;
    if !there.is_file() || there.nlink() != 1 {
        return Err(io::Error::other("it is not a file with one name"));
    }
    fchown(&file, Some(user), Some(group))?;
    // Where there is no room now there may be later; until then the file is one that is ignored.
    io::Write::write_all(&mut file, text)
}
