//! WireGuard in user space as a peer: `wireguard-go`, `gotatun` or `boringtun`, configured by wireguard-tools' `wg`.
//!
//! ```text
//!   PROGRAM [-f] NAME     makes the TUN device NAME in its namespace
//!                         and the socket /run/wireguard/NAME.sock, which all namespaces share: NAME is unique
//!   wg set NAME ..        key, port, peer
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::netns::{Netns, succeed};
use crate::peer::{Daemon, wait_for};

/// One end of a tunnel; its process and its socket go when it is dropped.
#[derive(Debug)]
pub struct WireGuard {
    /// The running program.
    pub daemon: Daemon,
    device: String,
}

/// What one end has to know.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Own key pair.
    pub keys: &'a Keys,
    /// The peer's key pair, of which only the public half is used.
    pub peer: &'a Keys,
    /// The peer's outer address, without a port.
    pub endpoint: &'a str,
    /// What is behind the peer, in CIDR notation.
    pub subnet: &'a str,
}

/// A key pair in base64.
#[derive(Debug, Clone)]
pub struct Keys {
    private: String,
    public: String,
}

impl Keys {
    /// A new pair, made by `wg`.
    ///
    /// # Errors
    /// If `wg` fails.
    pub fn generate(dir: &Path) -> Result<Self> {
        let private = text(Command::new("wg").arg("genkey"))?;
        let file = dir.join("wg-key");
        std::fs::write(&file, &private)?;
        let public = text(Command::new("wg").arg("pubkey").stdin(std::fs::File::open(&file)?))?;
        Ok(Self { private, public })
    }
}

impl WireGuard {
    /// Starts a program in a namespace and configures it; `device` has up to 15 characters and is nobody else's on this
    /// machine. Its MTU is 1420, as everybody's.
    ///
    /// # Errors
    /// If the program ends or does not make its device within ten seconds; the message has its last words.
    pub fn start(
        command: &[&str],
        netns: &Netns,
        device: &str,
        end: End<'_>,
        dir: &Path,
    ) -> Result<Self> {
        let [program, args @ ..] = command else { bail!("no program") };
        let daemon = Daemon::new(dir.join(format!("{device}.out")));
        let mut this = Self { daemon, device: device.into() };
        let mut command = netns.command(program);
        // WG_SUDO: stay root. Two of them look for the user who logged in, and a build machine has none.
        command.args(args).arg(device).env("WG_SUDO", "true").env("LOG_LEVEL", "error");
        this.daemon.spawn(command)?;
        wait_for(device, Duration::from_secs(10), || {
            if let Some(status) = this.daemon.ended()? {
                bail!("{program} ended: {status}\n{}", this.daemon.output());
            }
            let there = netns.run("wg", &["show", device, "listen-port"]).is_ok();
            Ok(there.then_some(()))
        })?;
        let key = dir.join(format!("{device}.key"));
        std::fs::write(&key, &end.keys.private)?;
        let (key, endpoint) = (key.display().to_string(), format!("{}:{PORT}", end.endpoint));
        let own = ["set", device, "listen-port", PORT, "private-key", &key];
        let peer = ["peer", &end.peer.public, "endpoint", &endpoint, "allowed-ips", end.subnet];
        netns.run("wg", &[&own[..], &peer].concat())?;
        netns.ip(&format!("link set {device} mtu 1420 up\n"))?;
        netns.ip(&format!("route add {} dev {device}\n", end.subnet))?;
        Ok(this)
    }
}

impl Drop for WireGuard {
    fn drop(&mut self) {
        // Usually it is stopped already.
        let _ = self.daemon.kill();
        let directory = PathBuf::from("/run/wireguard");
        for end in ["sock", "lock"] {
            // A program that ended as it should has removed it.
            let _ = std::fs::remove_file(directory.join(format!("{}.{end}", self.device)));
        }
    }
}

fn text(command: &mut Command) -> Result<String> {
    let output = succeed(command)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

const PORT: &str = "51820";
