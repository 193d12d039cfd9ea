//! The programs that the namespace tests run, by Debian package, and how they get here.
//!
//! strongSwan is wanted as a program that a test starts, never as a service of this machine: while `apt-get` works,
//! `policy-rc.d` forbids services to start (Debian Policy §9.3.3), and afterwards the unit is disabled.

#![expect(clippy::print_stdout, reason = "a command line tool talks on stdout")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// What is not here.
#[derive(Debug)]
pub(crate) struct Missing {
    /// Debian packages.
    pub(crate) packages: Vec<&'static str>,
    /// What no package brings.
    pub(crate) others: Vec<&'static str>,
}

/// Looks for one file of each package.
pub(crate) fn missing() -> Missing {
    let absent = |files: &str| !files.split(' ').any(|file| Path::new(file).exists());
    let packages = PACKAGES.iter().filter(|(files, _)| absent(files)).map(|(_, package)| *package);
    let mut others = Vec::new();
    if !is_root() {
        others.push("root");
    }
    if absent("/dev/net/tun") {
        others.push("/dev/net/tun");
    }
    Missing { packages: packages.collect(), others }
}

/// Whether this is a machine on which we install packages unasked: Debian (or a child of it), as root.
pub(crate) fn may_install() -> bool {
    is_root() && Path::new("/etc/debian_version").exists() && Path::new("/usr/bin/apt-get").exists()
}

/// Installs packages, and leaves no service of theirs running or enabled.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    println!("  installing from Debian, as root: {}", packages.join(" "));
    let before = charons();
    let forbidden = NoServices::new()?;
    let args = [&["install", "-y", "--no-install-recommends"], packages].concat();
    if apt(&args).is_err() {
        println!("  not in the package lists here; updating them");
        apt(&["update"])?;
        apt(&args)?;
    }
    drop(forbidden);
    for (package, unit) in [
        ("charon-systemd", "strongswan.service"),
        ("strongswan-starter", "strongswan-starter.service"),
    ] {
        if packages.contains(&package) && Path::new("/run/systemd/system").exists() {
            let quiet = Command::new("systemctl")
                .args(["disable", "--now", unit])
                .stderr(Stdio::null())
                .status();
            ensure!(quiet?.success(), "cannot disable {unit}, please do");
        }
    }
    let left: Vec<u32> = charons().into_iter().filter(|pid| !before.contains(pid)).collect();
    ensure!(left.is_empty(), "the packages started charon (pid {left:?}); please stop it");
    let mut still = missing().packages;
    still.retain(|package| packages.contains(package));
    ensure!(still.is_empty(), "still missing after the installation: {}", still.join(" "));
    Ok(())
}

/// While it lives, `invoke-rc.d` starts nothing.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn new() -> Result<Self> {
        let policy = Path::new(POLICY);
        if policy.exists() {
            // Somebody decided already; the check for a running charon comes later.
            return Ok(Self { ours: false });
        }
        fs::write(policy, "#!/bin/sh\nexit 101\n").context("cannot forbid services to start")?;
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            // It was there a moment ago; if it is gone, that is what we want.
            let _ = fs::remove_file(POLICY);
        }
    }
}

fn apt(args: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(["-q", "-o", "Dpkg::Use-Pty=0"]).args(args);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    let output = command.output().context("cannot run apt-get")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("apt-get {}: {}\n{said}", args.join(" "), output.status);
    }
    Ok(())
}

/// Processes of strongSwan that run now.
fn charons() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim_end() == "charon" || name.trim_end() == "charon-systemd"
    })
    .collect()
}

/// Whether we may do everything.
pub(crate) fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uid.and_then(|uids| uids.split_whitespace().nth(1)) == Some("0")
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Where one of the files is (any of those separated by a space), and the package that brings it.
const PACKAGES: [(&str, &str); 19] = [
    ("/usr/sbin/swanctl", "strongswan-swanctl"),
    ("/usr/sbin/charon-systemd", "charon-systemd"),
    ("/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so", "libcharon-extra-plugins"),
    ("/usr/lib/ipsec/plugins/libstrongswan-openssl.so", "libstrongswan-standard-plugins"),
    ("/usr/lib/ipsec/plugins/libstrongswan-curve25519.so", "libstrongswan-extra-plugins"),
    ("/usr/lib/ipsec/starter", "strongswan-starter"),
    ("/usr/lib/ipsec/charon", "strongswan-charon"),
    ("/usr/bin/pki", "strongswan-pki"),
    ("/usr/sbin/nft /sbin/nft", "nftables"),
    ("/usr/bin/ip /sbin/ip /bin/ip", "iproute2"),
    ("/usr/bin/ping /bin/ping", "iputils-ping"),
    ("/usr/bin/setpriv", "util-linux"),
    ("/usr/bin/promtool", "prometheus"),
    ("/usr/bin/tshark", "tshark"),
    ("/usr/bin/tmux", "tmux"),
    ("/usr/bin/dpkg-shlibdeps", "dpkg-dev"),
    ("/usr/bin/crun", "crun"),
    ("/usr/bin/chromium", "chromium"),
    ("/usr/bin/chromedriver", "chromium-driver"),
];
