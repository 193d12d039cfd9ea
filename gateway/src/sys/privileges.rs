//! What this process may do once everything is open: as little as it needs.
//!
//! ```text
//!   first             what the file of the program permits is taken (`setcap ..=p`: containers with a user of their own)
//!   before anything   no core dumps, no ptrace by its own user (it has keys); no new privileges by running a program
//!   everything open   root becomes `s2s-gw`, with the capabilities that are needed from here on
//!   control thread    CAP_NET_ADMIN (routes), CAP_NET_RAW (probes), CAP_DAC_READ_SEARCH (a new configuration, its keys)
//!   other threads     nothing; the pumps after they have taken their priority, before they see a packet
//! ```
//!
//! Only what was there is kept: a service with two capabilities has two afterwards.

use std::io;

use nix::unistd::{Gid, Uid, User};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, parent_process_death_signal,
    set_dumpable_behavior, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities,
};

/// Who a gateway becomes that was started as root, unless the configuration says otherwise.
pub(crate) const USER: &str = "s2s-gw";

/// The user with no rights of its own on Linux, whether it has a name here or not.
const NOBODY: u32 = 65_534;

/// Keeps keys out of core dumps, the swap and other programs' hands, and this process and its threads from gaining
/// privileges. To be called before there are threads.
///
/// # Errors
/// What the system says.
pub(crate) fn close_up() -> io::Result<()> {
    take_permitted()?;
    hide()?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // It is the second lock on the same door.
    let _ = setrlimit(Resource::Core, none);
    stay_in_memory();
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// What is permitted becomes effective. A program whose file permits capabilities (setcap(8), `=p`) begins without one; with
/// `=ep` it would not even begin where the container has less (execve(2), EPERM).
fn take_permitted() -> io::Result<()> {
    let CapabilitySets { permitted, inheritable, .. } = capabilities(None)?;
    Ok(set_capabilities(None, CapabilitySets { effective: permitted, permitted, inheritable })?)
}

fn hide() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Keeps every page that is used out of the swap. Only where there is no limit to that: behind one, memory would run out.
fn stay_in_memory() {
    use rustix::mm::{MlockAllFlags, mlockall};
    let boundless = Rlimit { current: None, maximum: None };
    let raised = setrlimit(Resource::Memlock, boundless).is_ok();
    if !raised && getrlimit(Resource::Memlock).current.is_some() {
        return;
    }
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    if let Err(error) = mlockall(flags) {
        tracing::debug!(target: "gateway", event = "swappable", %error);
    }
}

/// Another user than root, to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Other {
    /// As the system calls it; its number where it has no name.
    pub(crate) name: String,
    user: Uid,
    group: Gid,
}

/// Who the process is from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    /// Who it was.
    Same,
    /// Root, as it was told.
    Root,
    /// Root that is to become somebody else.
    Becomes(Other),
}

/// Finds out who to become; `wanted` is `user` in `[gateway]`.
///
/// # Errors
/// A sentence, where a user is named that is not there or that only root can become.
pub(crate) fn who(wanted: Option<&str>) -> Result<Who, String> {
    if !rustix::process::geteuid().is_root() {
        return somebody(wanted).map(|()| Who::Same);
    }
    if wanted == Some("root") {
        return Ok(Who::Root);
    }
    let name = wanted.unwrap_or(USER);
    match User::from_name(name) {
        Ok(Some(user)) if user.uid.is_root() => Ok(Who::Root),
        Ok(Some(user)) => {
            Ok(Who::Becomes(Other { name: user.name, user: user.uid, group: user.gid }))
        }
        Ok(None) | Err(_) if wanted.is_none() => Ok(Who::Becomes(nobody())),
        Ok(None) => Err(format!(
            "there is no user `{name}` as `user` in [gateway] wants it; make it (useradd --system {name}), or leave `user` out"
        )),
        Err(error) => Err(format!("cannot look up the user `{name}` of [gateway]: {error}")),
    }
}

/// Whoever is not root is who `wanted` names, or nobody is named.
fn somebody(wanted: Option<&str>) -> Result<(), String> {
    let Some(name) = wanted else { return Ok(()) };
    let own = rustix::process::geteuid().as_raw();
    match User::from_name(name) {
        Ok(Some(user)) if user.uid.as_raw() == own => Ok(()),
        _ => Err(format!(
            "`user` in [gateway] is `{name}`, but this was started by the user {own}, and only root becomes another one; leave `user` out"
        )),
    }
}

fn nobody() -> Other {
    let user = Uid::from_raw(NOBODY);
    let known = User::from_uid(user).ok().flatten();
    let group = known.as_ref().map_or(Gid::from_raw(NOBODY), |known| known.gid);
    Other { name: known.map_or_else(|| NOBODY.to_string(), |known| known.name), user, group }
}

impl Other {
    /// Whether it is a user that many programs share.
    pub(crate) fn is_nobody(&self) -> bool {
        self.user.as_raw() == NOBODY
    }

    pub(crate) const fn ids(&self) -> (u32, u32) {
        (self.user.as_raw(), self.group.as_raw())
    }

    /// Becomes it, for good. To be called while there is one thread: it is the calling one that changes, and those that it
    /// starts.
    ///
    /// # Errors
    /// What the system says; then this is root still, or the process must not go on.
    pub(crate) fn become_it(&self) -> io::Result<()> {
        let before = capabilities(None)?.permitted;
        let last_word = parent_process_death_signal()?;
        set_keep_capabilities(true)?;
        let became = self.change();
        set_keep_capabilities(false)?;
        if let Err(error) = became {
            let restored = CapabilitySets {
                effective: before,
                permitted: before,
                inheritable: CapabilitySet::empty(),
            };
            set_capabilities(None, restored)?;
            return Err(error);
        }
        // Whoever wanted to be outlived by nobody still does; a change of the user forgets it (prctl(2)).
        set_parent_process_death_signal(last_word)?;
        keep(for_control() | CapabilitySet::SYS_NICE)?;
        // A change of the user makes a process as dumpable as the system wants it (fs.suid_dumpable).
        hide()
    }

    /// The user last: as another one it may not change its groups.
    fn change(&self) -> io::Result<()> {
        let was = nix::unistd::getgroups()?;
        let groups = std::ffi::CString::new(self.name.as_str())?;
        nix::unistd::initgroups(&groups, self.group).or_else(|_| nix::unistd::setgroups(&[]))?;
        let changed = nix::unistd::setresgid(self.group, self.group, self.group)
            .and_then(|()| nix::unistd::setresuid(self.user, self.user, self.user));
        if let Err(error) = changed {
            let root = Gid::from_raw(0);
            nix::unistd::setresgid(root, root, root)?;
            nix::unistd::setgroups(&was)?;
            return Err(error.into());
        }
        Ok(())
    }
}

/// Drops what the control thread does not need any more.
///
/// # Errors
/// What the system says.
pub(crate) fn keep_for_control() -> io::Result<()> {
    keep(for_control())
}

fn for_control() -> CapabilitySet {
    CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW | CapabilitySet::DAC_READ_SEARCH
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
        assert_eq!(control.permitted, before & for_control());
        assert_eq!(control.effective, control.permitted);
        assert!(control.inheritable.is_empty());
        assert!(pump.permitted.is_empty() && pump.effective.is_empty());
        assert_eq!(capabilities(None).expect("capget").permitted, before, "only that thread");
    }

    #[test]
    fn what_is_permitted_is_taken() {
        let before = capabilities(None).expect("capget");
        let taken = std::thread::spawn(move || {
            set_capabilities(None, CapabilitySets { effective: CapabilitySet::empty(), ..before })
                .expect("lays down");
            take_permitted().expect("takes");
            capabilities(None).expect("capget")
        });
        let taken = taken.join().expect("no panic");
        assert_eq!((taken.effective, taken.permitted), (before.permitted, before.permitted));
    }

    #[test]
    fn who_to_become_is_found_or_said() {
        let own = rustix::process::geteuid();
        if own.is_root() {
            assert_eq!(who(Some("root")), Ok(Who::Root));
            let Ok(Who::Becomes(other)) = who(None) else { panic!("{:?}", who(None)) };
            assert_ne!(other.ids().0, 0);
            let said = who(Some("no-such-user")).expect_err("there is none");
            assert!(said.contains("useradd --system no-such-user"), "{said}");
        } else {
            assert_eq!(who(None), Ok(Who::Same));
            let said = who(Some("root")).expect_err("it is not root");
            assert!(said.contains(&own.as_raw().to_string()), "{said}");
        }
    }
}
