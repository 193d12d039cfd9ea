//! `--against strongswan`: charon of this machine as gw-b, with files and sockets of its own.
//!
//! ```text
//!   s2s-gw export strongswan site-b ─► DIR/swanctl.conf
//!   DIR/bin/charon-systemd, swanctl    copies: AppArmor confines those in /usr/sbin to /etc
//!   DIR/strongswan.conf                which plugins; log and control socket in DIR
//!   swanctl --load-all, --list-sas     what charon says, in its own words
//! ```
//!
//! ESP is done by kernel-libipsec, in user space as ours is: the kernel's own may be what this machine does not have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::gateways::Gateway;
use super::launch::another_inside;
use super::shell::Shell;
use super::stage::Stage;
use super::topology::{SITE_A, SITE_B, Topology};
use super::{DemoError, During as _, pause};
use crate::clock;
use crate::sys::netns::Netns;

/// Whether all that is needed is there.
pub(super) fn possible() -> Result<(), DemoError> {
    let missing: Vec<_> = NEEDED
        .into_iter()
        .filter(|(file, _)| !Path::new(file).exists())
        .map(|(_, package)| package)
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(DemoError::NoStrongSwan(missing)) }
}

/// A charon that runs; it is stopped when this is dropped.
#[derive(Debug)]
pub(super) struct Swan {
    directory: PathBuf,
    namespace: i32,
    child: Child,
}

impl Swan {
    /// Has our own program write the configuration, and starts charon with it.
    pub(super) fn start(
        stage: &Stage,
        topology: &Topology,
        directory: &Path,
        a: &Gateway,
    ) -> Result<Self, DemoError> {
        let shell = Shell { stage, namespace: &topology.gateway_a, directory };
        let (site, ours) = (SITE_B.name, SITE_A.wan.to_string());
        let words = ["export", "strongswan", site, "-c", "gw-a.toml", "--address", &ours];
        let words = [&words[..], &["--with-psk", "-o", SWANCTL_CONF]].concat();
        if shell.types(a, &words)? != 0 {
            let what = "export the configuration for strongSwan".to_owned();
            return Err(DemoError::Said { what, said: "see above".to_owned() });
        }
        prepare(directory)?;
        let mut swan = Self::spawn(&topology.gateway_b, directory)?;
        swan.until_ready()?;
        Ok(swan)
    }

    fn spawn(namespace: &Netns, directory: &Path) -> Result<Self, DemoError> {
        let namespace = namespace.number();
        let child = program(namespace, directory, "charon-systemd").spawn();
        let child = child.during("start charon")?;
        Ok(Self { directory: directory.to_owned(), namespace, child })
    }

    fn until_ready(&mut self) -> Result<(), DemoError> {
        let socket = self.directory.join(VICI);
        self.until("start charon", |_| socket.exists())
    }

    /// Waits until charon has the SAs, too.
    pub(super) fn until_up(&mut self) -> Result<(), DemoError> {
        self.until("wait for charon's SAs", |log| log.contains(ESTABLISHED))
    }

    fn until(&mut self, what: &str, reached: impl Fn(&str) -> bool) -> Result<(), DemoError> {
        let begun = clock::now();
        loop {
            let log = fs::read_to_string(self.directory.join(LOG)).unwrap_or_default();
            if reached(&log) {
                return Ok(());
            }
            let ended = self.child.try_wait().during("wait for charon")?;
            if ended.is_some() || clock::now() - begun > PATIENCE {
                let said = format!("the last it said:\n{log}");
                return Err(DemoError::Said { what: what.to_owned(), said });
            }
            pause(GLANCE)?;
        }
    }

    /// Types `swanctl ..` on gw-b and shows what it says.
    pub(super) fn types(&self, stage: &Stage, arguments: &[&str]) -> Result<(), DemoError> {
        stage.prompt(SITE_B.gateway, &format!("swanctl {}", arguments.join(" ")));
        let output = program(self.namespace, &self.directory, "swanctl")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .during("run swanctl")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let failed = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            let what = format!("run swanctl {}", arguments.join(" "));
            return Err(DemoError::Said { what, said: failed });
        }
        // Of plugins that are not there it speaks on stderr.
        stage.say(said.trim_end());
        Ok(())
    }
}

impl Drop for Swan {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn prepare(directory: &Path) -> Result<(), DemoError> {
    let programs = directory.join("bin");
    fs::create_dir(&programs).during("make a directory for charon")?;
    for program in [CHARON, SWANCTL] {
        // By another process: a file that we have open for writing, and a child of another thread with us, cannot be run.
        let copied = Command::new("cp").arg(program).arg(&programs).status();
        copied.during(format!("copy {program}"))?;
    }
    let text = strongswan_conf(directory);
    fs::write(directory.join(STRONGSWAN_CONF), text).during("write strongswan.conf")
}

fn program(namespace: i32, directory: &Path, name: &str) -> Command {
    let mut command = another_inside(namespace, &directory.join("bin").join(name));
    command.env("STRONGSWAN_CONF", directory.join(STRONGSWAN_CONF));
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn strongswan_conf(directory: &Path) -> String {
    let file = |name| directory.join(name).display().to_string();
    let vici =
        format!("plugins {{\n    vici {{\n      socket = unix://{}\n    }}\n  }}", file(VICI));
    format!(
        "charon-systemd {{\n  load = {PLUGINS}\n  {vici}\n  filelog {{\n    log {{\n      path = {}\n      \
         flush_line = yes\n      default = 1\n    }}\n  }}\n}}\nswanctl {{\n  load = pem pkcs1 x509 pkcs8 openssl random \
         nonce vici\n  {vici}\n}}\n",
        file(LOG),
    )
}

/// What it has to load.
pub(super) const SWANCTL_CONF: &str = "swanctl.conf";
const STRONGSWAN_CONF: &str = "strongswan.conf";
const VICI: &str = "charon.vici";
const LOG: &str = "gw-b.log";

/// What it logs when a child is installed.
const ESTABLISHED: &str = "established with SPIs";

const CHARON: &str = "/usr/sbin/charon-systemd";
const SWANCTL: &str = "/usr/sbin/swanctl";

/// Files, and the package of Debian that has each.
const NEEDED: [(&str, &str); 4] = [
    (CHARON, "charon-systemd"),
    (SWANCTL, "strongswan-swanctl"),
    ("/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so", "libcharon-extra-plugins"),
    ("/usr/lib/ipsec/plugins/libstrongswan-openssl.so", "libstrongswan-standard-plugins"),
];

const PLUGINS: &str = "openssl aesni random nonce aes sha1 sha2 hmac kdf pem pkcs1 x509 pubkey gcm curve25519 pkcs8 \
                       kernel-libipsec kernel-netlink socket-default vici updown";

/// For charon to open its socket.
const PATIENCE: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_files_are_its_own() {
        let text = strongswan_conf(Path::new("/tmp/x"));
        assert!(text.contains("socket = unix:///tmp/x/charon.vici"), "{text}");
        assert!(text.contains("path = /tmp/x/gw-b.log"), "{text}");
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
