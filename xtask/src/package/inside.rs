//! The place of the checks: namespaces of their own, and in them this machine's system once more, whose changes are thrown away.
//!
//! ```text
//!   unshare --mount --net --pid ─► xtask package-inside DIR
//!       /  (read only) + tmpfs ─► overlay ─► chroot: dpkg and its database, no service, no network, a `systemctl` that only notes
//! ```

#![expect(clippy::print_stdout, reason = "the outer process reads it")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Args;

use super::deb::said;
use super::{container, install};

/// The inner process of `package --check`.
#[derive(Debug, Args)]
pub(crate) struct Inside {
    /// The directory with the packages and their tree
    place: PathBuf,
}

/// A check by its name.
pub(super) type Check<'a> = (&'static str, Box<dyn FnOnce() -> Result<()> + 'a>);

/// What this machine has not and the checks need.
pub(super) fn missing() -> Option<String> {
    let there = |file: &str| Path::new(file).exists();
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    let tools =
        ["/usr/bin/dpkg-deb", "/usr/bin/unshare", "/usr/bin/systemd-sysusers", "/usr/bin/strip"];
    let absent: Vec<&str> = tools.into_iter().filter(|tool| !there(tool)).collect();
    (!absent.is_empty()).then(|| format!("no {} here", absent.join(", ")))
}

pub(crate) fn run(options: &Inside) -> ExitCode {
    let system = match System::mount(&options.place) {
        Ok(system) => system,
        Err(error) => {
            println!("test package/system ... FAILED: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut failed = false;
    let checks = install::checks(&options.place, &system);
    for (name, check) in checks.into_iter().chain(container::checks(&options.place)) {
        match check() {
            Ok(()) => println!("test {name} ... ok"),
            Err(error) => {
                failed = true;
                println!("test {name} ... FAILED: {error:#}");
            }
        }
    }
    if let Some(why) = container::missing() {
        println!("test package/container ... skipped: {why}");
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// A copy of this machine's system.
#[derive(Debug)]
pub(super) struct System {
    pub(super) root: PathBuf,
}

impl System {
    fn mount(place: &Path) -> Result<Self> {
        let layers = place.join("layers");
        let root = layers.join("root");
        fs::create_dir(&layers)?;
        mount(&["-t", "tmpfs", "tmpfs"], &layers)?;
        for dir in ["upper", "work", "root"] {
            fs::create_dir(layers.join(dir))?;
        }
        let (upper, work) = (layers.join("upper"), layers.join("work"));
        let options = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
        mount(&["-t", "overlay", "overlay", "-o", &options], &root)?;
        mount(&["-t", "proc", "proc"], &root.join("proc"))?;
        mount(&["--rbind", "/dev"], &root.join("dev"))?;
        for dir in ["run", "tmp"] {
            mount(&["-t", "tmpfs", "-o", "mode=1777", "tmpfs"], &root.join(dir))?;
        }
        // Where systemd seems to run, maintainer scripts speak to it.
        fs::create_dir_all(root.join("run/systemd/system"))?;
        let system = Self { root };
        system.executable("usr/bin/systemctl", "#!/bin/sh\necho \"$@\" >>/tmp/systemctl\n")?;
        // Where it forbids services to start, systemd would not be asked at all.
        let _ = fs::remove_file(system.root.join("usr/sbin/policy-rc.d"));
        for entry in fs::read_dir(place)? {
            let path = entry?.path();
            if let (Some(name), true) =
                (path.file_name(), path.extension().is_some_and(|end| end == "deb"))
            {
                fs::copy(&path, system.root.join("tmp").join(name))?;
            }
        }
        Ok(system)
    }

    fn executable(&self, path: &str, text: &str) -> Result<()> {
        let path = self.root.join(path);
        // It may be a link out of this root.
        let _ = fs::remove_file(&path);
        fs::write(&path, text)?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?)
    }

    /// Runs a line of shell in it; what it prints.
    pub(super) fn sh(&self, line: &str) -> Result<String> {
        let mut command = Command::new("chroot");
        command.arg(&self.root).args(["/bin/sh", "-c", line]);
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        said(&mut command)
    }

    /// What was asked of systemd since the last time.
    pub(super) fn asked_of_systemd(&self) -> Result<String> {
        let path = self.root.join("tmp/systemctl");
        let text = if path.exists() { fs::read_to_string(&path)? } else { String::new() };
        fs::write(&path, "")?;
        Ok(text)
    }
}

pub(super) fn mount(args: &[&str], at: &Path) -> Result<()> {
    said(Command::new("mount").args(args).arg(at)).map(drop)
}
