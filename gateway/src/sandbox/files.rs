//! The files that are left to the gateway (landlock(7)). What it has opened stays open.
//!
//! ```text
//!                 all threads                                       control thread, and what it starts later
//!   read          directories of the configuration, its keys,       the same
//!                 credentials, state; /proc, /sys, /dev/net
//!                 /etc, /usr, /run/systemd/resolve ..  (names)       no: it may read what root may
//!   write         directories of state and control socket           the same
//!                 /dev/net/tun, /proc/sys/net                        the same
//!   run           nothing                                           nothing
//! ```
//!
//! A directory that holds more than ours (`/etc`, `/root`) is not opened for the sake of one file in it: that file alone is.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};

use crate::config::{Config, HttpListen};

/// What a configuration reaches.
#[derive(Debug)]
pub(crate) struct Reach {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

/// The kernel has no landlock, or not switched on.
pub(super) const NOT_THERE: &str = "not in this kernel";

impl Reach {
    pub(crate) fn of(config: &Config) -> Self {
        let of_config = config.files.iter().chain(&config.left_out_files);
        let named = of_config.chain(&config.patterns).chain(&config.material);
        let mut read: Vec<PathBuf> = named.map(|file| around(file)).collect();
        read.extend(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from));
        let gateway = &config.gateway;
        let pages = gateway.http.iter().flat_map(|http| &http.listen);
        let pages = pages.filter_map(|place| match place {
            HttpListen::Unix(path) => Some(path),
            HttpListen::Tcp(_) => None,
        });
        let write = gateway.state.iter().chain([&gateway.control]).chain(pages);
        let write: Vec<PathBuf> = write.map(|file| around(file)).collect();
        for list in [&mut read, &mut write.clone()] {
            list.sort_unstable();
            list.dedup();
        }
        Self { read, write }
    }

    /// For this thread and those that it starts.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn close_for_all(&self) -> Result<&'static str, String> {
        self.close(&NAMES).map_err(|error| error.to_string())
    }

    /// The same, without what looking up names needs.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn close_for_control(&self) -> Result<&'static str, String> {
        self.close(&[]).map_err(|error| error.to_string())
    }

    fn close(&self, others: &[&str]) -> Result<&'static str, RulesetError> {
        let all = AccessFs::from_all(NEWEST) & !AccessFs::IoctlDev;
        let look = AccessFs::ReadFile | AccessFs::ReadDir;
        let keep = look
            | AccessFs::WriteFile
            | AccessFs::MakeReg
            | AccessFs::MakeSock
            | AccessFs::RemoveFile
            | AccessFs::Truncate;
        let paths = |list: &[PathBuf]| list.to_vec();
        let system = SYSTEM.iter().chain(others).map(PathBuf::from);
        let targets = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"];
        // Where links lead: /etc/resolv.conf is one on many systems.
        let targets = targets.iter().filter(|_| !others.is_empty());
        let targets = targets.filter_map(|file| std::fs::canonicalize(file).ok());
        let targets = targets.map(|file| around(&file));
        let mut ruleset = Ruleset::default()
            .handle_access(all)?
            .scope(Scope::Signal)?
            .create()?
            .add_rules(rules(paths(&self.read), look))?
            .add_rules(rules(system, look))?
            .add_rules(rules(targets, look))?
            .add_rules(rules(paths(&self.write), keep))?;
        let device = look | AccessFs::WriteFile | AccessFs::Truncate;
        ruleset = ruleset.add_rules(rules(WRITTEN.iter().map(PathBuf::from), device))?;
        let status = ruleset.restrict_self()?;
        Ok(match status.ruleset {
            RulesetStatus::FullyEnforced => "restricted",
            RulesetStatus::PartiallyEnforced => "restricted as this kernel can",
            RulesetStatus::NotEnforced => NOT_THERE,
        })
    }
}

/// Of what is there.
fn rules(
    paths: impl IntoIterator<Item = PathBuf>,
    access: BitFlags<AccessFs>,
) -> impl Iterator<Item = Result<PathBeneath<PathFd>, RulesetError>> {
    paths.into_iter().filter_map(move |path| {
        let is_dir = path.is_dir();
        let opened = PathFd::new(&path).ok()?;
        let access = if is_dir { access } else { access & AccessFs::from_file(NEWEST) };
        Some(Ok(PathBeneath::new(opened, access)))
    })
}

/// The directory of a file, so that it may be replaced; where that holds more than ours, the file alone.
fn around(file: &Path) -> PathBuf {
    let directory = match file.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return file.to_owned(),
    };
    if is_shared(directory) { file.to_owned() } else { directory.to_owned() }
}

/// Whether a directory holds what is nobody's business.
pub(super) fn is_shared(directory: &Path) -> bool {
    let whole = std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    SHARED.iter().any(|shared| whole == Path::new(shared))
}

const SHARED: [&str; 14] = [
    "/", "/bin", "/dev", "/etc", "/home", "/lib", "/root", "/run", "/sbin", "/srv", "/usr", "/var",
    "/var/lib", "/var/run",
];

/// What every thread may look at: the kernel's own tables, devices, time zones.
const SYSTEM: [&str; 5] = ["/proc", "/sys", "/dev/net", "/dev/null", "/dev/urandom"];

/// What glibc reads to look up a name, the modules that it loads for that, and what answers in their place.
const NAMES: [&str; 14] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/connman",
    "/run/nscd",
    "/run/avahi-daemon",
    "/var/run/nscd",
    "/var/db",
];

/// What is written beside the state: a device that is made anew, switches of the kernel for it.
const WRITTEN: [&str; 3] = ["/dev/net/tun", "/dev/null", "/proc/sys/net"];

/// What this program was tried with; older kernels do what they can of it.
const NEWEST: ABI = ABI::V6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_among_others_is_reached_alone() {
        assert_eq!(around(Path::new("/etc/s2s-gw/s2s-gw.toml")), Path::new("/etc/s2s-gw"));
        assert_eq!(around(Path::new("/etc/site.psk")), Path::new("/etc/site.psk"));
        assert_eq!(around(Path::new("here.toml")), Path::new("."));
    }

    /// In a thread of its own: it cannot have it back.
    #[test]
    fn what_is_not_named_cannot_be_opened() {
        let directory = tempfile::tempdir().expect("a directory");
        let other = tempfile::tempdir().expect("another");
        let (ours, theirs) = (directory.path().join("one"), other.path().join("two"));
        std::fs::write(&ours, "1").expect("writes");
        std::fs::write(&theirs, "2").expect("writes");
        let reach = Reach { read: vec![directory.path().into()], write: Vec::new() };
        std::thread::spawn(move || {
            let Ok(status) = reach.close_for_control() else { panic!("refused") };
            if status == NOT_THERE {
                return;
            }
            assert!(std::fs::read(&ours).is_ok());
            let denied = |result: std::io::Result<()>| {
                result.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
            };
            assert!(denied(std::fs::read(&theirs).map(drop)), "another directory");
            assert!(denied(std::fs::write(&ours, "3")), "it was to be read");
            assert!(denied(std::fs::read("/etc/passwd").map(drop)), "/etc");
        })
        .join()
        .expect("no panic");
    }
}
