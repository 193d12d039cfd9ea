//! `s2s-gw` as a peer: the program itself, in a namespace, with a configuration as a user writes it.
//!
//! ```text
//!   dir/NAME.toml   dir/NAME-CONNECTION.psk (mode 0600)   dir/NAME.sock   dir/NAME.out
//!   s2s-gw run -c FILE        s2s-gw status --json | rekey NAME [--ike] | restart NAME | up NAME | down NAME
//! ```

#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value answers null, it does not panic"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::netns::{Netns, succeed};
use crate::peer::{
    ChildSa, ConnectionSpec, Daemon, Facts, GatewaySpec, Peer, PpkSpec, Sa, wait_for,
};

/// An `s2s-gw run` in a namespace.
#[derive(Debug)]
pub struct Ours {
    program: PathBuf,
    netns: String,
    spec: GatewaySpec,
    dir: PathBuf,
    daemon: Daemon,
    log: &'static str,
}

impl Ours {
    /// Writes the configuration and the key files; nothing runs yet. `program` is the `s2s-gw` to test.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn new(program: &Path, netns: &Netns, spec: GatewaySpec, dir: &Path) -> Result<Self> {
        let this = Self {
            program: program.into(),
            netns: netns.name().into(),
            daemon: Daemon::new(dir.join(format!("{}.out", spec.name))),
            dir: dir.into(),
            spec,
            log: "debug",
        };
        // The user that it becomes removes its socket, which takes the right to write here.
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777))?;
        std::fs::write(this.config(), this.toml()?)?;
        for connection in &this.spec.connections {
            write_key(&this.psk_file(connection), &connection.psk)?;
            if let Some(ppk) = &connection.ppk {
                write_key(&this.ppk_file(connection), &ppk.key)?;
            }
        }
        Ok(this)
    }

    /// Logs as it does for a user, where speed is what matters.
    #[must_use]
    pub fn quiet(self) -> Self {
        Self { log: "info", ..self }
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.file("toml")
    }

    /// The program with arguments, inside the namespace.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns]).arg(&self.program).args(args);
        command.env("RUST_BACKTRACE", "1");
        command
    }

    /// A command to the running daemon, not yet run.
    #[must_use]
    pub fn asking(&self, args: &[&str]) -> Command {
        let mut command = self.command(args);
        command.arg("--control").arg(self.file("sock"));
        command
    }

    /// A command to the running daemon; returns what it printed.
    ///
    /// # Errors
    /// If it does not exit with 0; the message has its words.
    pub fn tell(&self, args: &[&str]) -> Result<String> {
        let output = succeed(&mut self.asking(args))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `status --json`, parsed.
    ///
    /// # Errors
    /// If the daemon does not answer, or not in JSON.
    pub fn json(&self) -> Result<Value> {
        let told = self.tell(&["status", "--json"])?;
        serde_json::from_str(&told).with_context(|| format!("not JSON: {told}"))
    }

    /// What it dropped since it started, by reason, whether it belonged to a connection or not; IKE datagrams too.
    ///
    /// # Errors
    /// As [`json`](Self::json).
    pub fn drops(&self) -> Result<BTreeMap<String, u64>> {
        let status = self.json()?;
        let connections = status["connections"].as_array().into_iter().flatten();
        let children = connections.filter_map(|one| one["children"].as_array()).flatten();
        let tables = children.map(|child| &child["drops"]);
        let tables = tables.chain([&status["drops"]["esp"], &status["drops"]["ike"]]);
        let mut drops = BTreeMap::new();
        for (reason, count) in tables.filter_map(Value::as_object).flatten() {
            *drops.entry(reason.clone()).or_default() += count.as_u64().unwrap_or(0);
        }
        Ok(drops)
    }

    /// How many packets crossed its device, super-packets counted once: (out of the tunnel, into it).
    ///
    /// # Errors
    /// If the device cannot be asked.
    pub fn device_packets(&self) -> Result<(u64, u64)> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.netns, "-s", "-j", "link", "show", "s2s0"]);
        let links: Value = serde_json::from_slice(&succeed(&mut command)?.stdout)?;
        let packets = |way: &str| links[0]["stats64"][way]["packets"].as_u64();
        packets("rx").zip(packets("tx")).with_context(|| format!("no counters: {links}"))
    }

    fn file(&self, what: &str) -> PathBuf {
        self.dir.join(format!("{}.{what}", self.spec.name))
    }

    fn psk_file(&self, connection: &ConnectionSpec) -> PathBuf {
        self.dir.join(format!("{}-{}.psk", self.spec.name, connection.name))
    }

    fn ppk_file(&self, connection: &ConnectionSpec) -> PathBuf {
        self.dir.join(format!("{}-{}.ppk", self.spec.name, connection.name))
    }

    fn toml(&self) -> Result<String> {
        let GatewaySpec { name, listen, connections } = &self.spec;
        let sock = self.file("sock").display().to_string();
        let state = self.file("state.json").display().to_string();
        let mut toml =
            format!("[gateway]\nname = \"{name}\"\ncontrol = {sock:?}\nstate = {state:?}\n");
        if !listen.is_empty() {
            writeln!(toml, "listen = {listen:?}")?;
        }
        for connection in connections {
            let ConnectionSpec { name, ike, esp, local_id, remote_id, .. } = connection;
            let ConnectionSpec { local_subnets, remote_subnets, .. } = connection;
            let (interval, timeout) = connection.dpd;
            let psk = self.psk_file(connection).display().to_string();
            let psk = format!("psk = {{ file = {psk:?} }}\n");
            let proofs = match &connection.proofs {
                None => psk,
                Some(proofs) if proofs.with_psk => psk + &proofs.ours,
                Some(proofs) => proofs.ours.clone(),
            };
            // Several endpoints are given with commas.
            let peer: Vec<_> =
                connection.remote.as_deref().unwrap_or("any").split(',').map(str::trim).collect();
            let ppk = connection.ppk.as_ref().map(|PpkSpec { id, required, .. }| {
                let file = self.ppk_file(connection).display().to_string();
                format!("ppk = {{ file = {file:?}, id = {id:?}, required = {required} }}\n")
            });
            let ppk = ppk.unwrap_or_default();
            let algorithms = match &connection.built_in {
                Some(name) => format!("extends = {name:?}"),
                None => format!("ike = [{ike:?}]\nesp = [{esp:?}]"),
            };
            let start = if connection.initiate { "always" } else { "respond-only" };
            let selectors = if connection.split { "split" } else { "combined" };
            write!(
                toml,
                "
[policy.{name}]
{algorithms}
allow_legacy = true
allow_unencrypted = true
dpd = {{ interval = \"{}s\", timeout = \"{}s\", action = \"restart\" }}

[connection.{name}]
peer = {peer:?}
peer_id = {remote_id:?}
local_id = {local_id:?}
{proofs}
{ppk}policy = {name:?}
local_subnets = {local_subnets:?}
remote_subnets = {remote_subnets:?}
start = {start:?}
selectors = {selectors:?}
{}
",
                interval.as_secs(),
                timeout.as_secs(),
                connection.ours_extra
            )?;
        }
        Ok(toml)
    }
}

fn write_key(path: &Path, key: &str) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(std::io::Write::write_all(&mut file, key.as_bytes())?)
}

impl Peer for Ours {
    fn kind(&self) -> &'static str {
        "ours"
    }

    fn start(&mut self) -> Result<()> {
        let config = self.config().display().to_string();
        let mut command = self.command(&["run", "-c", &config]);
        command.env("S2S_GW_LOG", std::env::var("S2S_GW_LOG").unwrap_or_else(|_| self.log.into()));
        self.daemon.spawn(command)?;
        let what = format!("s2s-gw {}'s control socket", self.spec.name);
        wait_for(&what, Duration::from_secs(10), || {
            if let Some(status) = self.daemon.ended()? {
                bail!("s2s-gw ended: {status}\n{}", self.daemon.output());
            }
            Ok(self.json().ok().map(drop))
        })
    }

    fn facts(&self, connection: &str) -> Result<Facts> {
        let status = self.json()?;
        let wanted = status["connections"].as_array().context("no connections")?.iter();
        let wanted = wanted.clone().find(|wanted| wanted["name"] == connection);
        Ok(facts(wanted.with_context(|| format!("no connection {connection}: {status}"))?))
    }

    fn sas(&self) -> Result<Vec<Sa>> {
        let status = self.json()?;
        let up = status["connections"].as_array().context("no connections")?.iter();
        Ok(up.filter(|connection| connection["ike"].is_object()).map(sa).collect())
    }

    fn rekey_child(&self, connection: &str) -> Result<()> {
        self.tell(&["rekey", connection]).map(drop)
    }

    fn rekey_ike(&self, connection: &str) -> Result<()> {
        self.tell(&["rekey", connection, "--ike"]).map(drop)
    }

    fn restart(&self, connection: &str) -> Result<()> {
        self.tell(&["restart", connection]).map(drop)
    }

    fn as_ours(&self) -> Option<&Ours> {
        Some(self)
    }

    fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    fn log(&self) -> String {
        self.daemon.output()
    }

    fn status(&self) -> String {
        let told = self.tell(&["status"]).unwrap_or_else(|error| error.to_string());
        format!("{told}\n{}", self.tell(&["status", "--json"]).unwrap_or_default())
    }
}

fn sa(connection: &Value) -> Sa {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ike = &connection["ike"];
    let children = connection["children"].as_array().into_iter().flatten();
    let installed = children.filter(|child| child["spi_in"].is_string()).map(|child| ChildSa {
        name: text(&child["name"]),
        spis: (text(&child["spi_in"]), text(&child["spi_out"])),
        installed: true,
    });
    Sa {
        connection: text(&connection["name"]),
        spis: format!("{}_{}", text(&ike["spi_i"]), text(&ike["spi_r"])),
        established: true,
        children: installed.collect(),
    }
}

fn facts(connection: &Value) -> Facts {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ike = &connection["ike"];
    let mut facts = Facts {
        up: connection["state"] == "up",
        ike_spi: format!("{}_{}", text(&ike["spi_i"]), text(&ike["spi_r"])),
        reason: text(&connection["reason"]["alert"]),
        suites: text(&ike["suite"]),
        child_spis: Vec::new(),
    };
    for child in connection["children"].as_array().into_iter().flatten() {
        facts.child_spis.push(text(&child["spi_in"]));
        facts.suites = format!("{} {}", facts.suites, text(&child["suite"]));
    }
    facts.child_spis.sort();
    facts
}
