//! strongSwan's `charon-systemd` with kernel-libipsec as a peer: userspace ESP, one instance per namespace.
//!
//! ```text
//!   dir/NAME.strongswan.conf   which plugins, where the log and the control socket are
//!   dir/NAME.swanctl.conf      the connections
//!   dir/NAME.vici              control socket        swanctl --load-all | --list-sas --raw | --rekey | --terminate
//!   dir/NAME.log               what charon logs
//! ```
//!
//! Each instance runs its own copies of the programs: Debian confines `/usr/sbin/charon-systemd` to `/etc` by an
//! AppArmor profile that goes by path, and a test has its files elsewhere. What kernel-libipsec cannot do (ESN, raw ESP
//! without UDP) cannot be tested against it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::netns::{Netns, succeed};
use crate::peer::{
    ChildSa, ConnectionSpec, Daemon, Facts, GatewaySpec, Peer, PpkSpec, Sa, text, wait_for,
};

/// A charon in a namespace.
#[derive(Debug)]
pub struct StrongSwan {
    netns: String,
    spec: GatewaySpec,
    dir: PathBuf,
    daemon: Daemon,
}

impl StrongSwan {
    /// Writes the configuration; nothing runs yet.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn new(netns: &Netns, spec: GatewaySpec, dir: &Path) -> Result<Self> {
        let this = Self {
            netns: netns.name().into(),
            daemon: Daemon::new(dir.join(format!("{}.out", spec.name))),
            dir: dir.into(),
            spec,
        };
        std::fs::create_dir(this.programs())?;
        // By another process: a file that we have open for writing is one that a fork on another thread keeps open, and
        // then it cannot be run ("Text file busy").
        succeed(Command::new("cp").args([CHARON, SWANCTL]).arg(this.programs()))?;
        std::fs::write(this.file("strongswan.conf"), this.strongswan_conf()?)?;
        std::fs::write(this.file("swanctl.conf"), swanctl_conf(&this.spec)?)?;
        Ok(this)
    }

    /// Runs `swanctl` and returns what it printed.
    ///
    /// # Errors
    /// If it fails; the message has its words.
    pub fn swanctl(&self, args: &[&str]) -> Result<String> {
        let output = succeed(self.program("swanctl").args(args))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn program(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns]).arg(self.programs().join(program));
        command.env("STRONGSWAN_CONF", self.file("strongswan.conf"));
        command
    }

    /// The directory with this instance's copies of the programs.
    fn programs(&self) -> PathBuf {
        self.file("bin")
    }

    fn file(&self, what: &str) -> PathBuf {
        self.dir.join(format!("{}.{what}", self.spec.name))
    }

    fn strongswan_conf(&self) -> Result<String> {
        let (vici, log) = (self.file("vici"), self.file("log"));
        let (vici, log) = (vici.display(), log.display());
        let level = std::env::var("S2S_CHARON_LOG").unwrap_or_else(|_| "2".into());
        let first = self.spec.connections.first().context("a charon without connections")?;
        let (extra, (interval, timeout)) = (&first.swan_extra, first.dpd);
        // Four transmissions, evenly spaced, fill what is left of the timeout after the interval.
        let gap = (timeout.saturating_sub(interval) / 4).as_secs_f64();
        Ok(format!(
            "charon-systemd {{
  load = {PLUGINS}
  retransmit_timeout = {gap}
  retransmit_base = 1
  retransmit_tries = 3
  plugins {{
    vici {{
      socket = unix://{vici}
    }}
  }}
  filelog {{
    log {{
      path = {log}
      flush_line = yes
      time_format = %H:%M:%S
      time_add_ms = yes
      default = {level}
      asn = 1
      lib = 1
      esp = 1
      net = 1
    }}
  }}
  {extra}
}}
swanctl {{
  plugins {{
    vici {{
      socket = unix://{vici}
    }}
  }}
}}
"
        ))
    }
}

impl Peer for StrongSwan {
    fn kind(&self) -> &'static str {
        "swan"
    }

    fn start(&mut self) -> Result<()> {
        let vici = self.file("vici");
        let _ = std::fs::remove_file(&vici);
        let command = self.program("charon-systemd");
        self.daemon.spawn(command)?;
        wait_for("charon's control socket", Duration::from_secs(10), || {
            if let Some(status) = self.daemon.ended()? {
                bail!("charon ended: {status}\n{}\n{}", self.daemon.output(), self.log());
            }
            Ok(vici.exists().then_some(()))
        })?;
        let file = self.file("swanctl.conf").display().to_string();
        let loaded = self.swanctl(&["--load-all", "--file", &file])?;
        let wanted = format!("successfully loaded {} connections", self.spec.connections.len());
        ensure!(loaded.contains(&wanted), "swanctl --load-all: {loaded}");
        Ok(())
    }

    fn facts(&self, connection: &str) -> Result<Facts> {
        let wanted = self.spec.connections.iter().find(|wanted| wanted.name == connection);
        let children = children(wanted.context("no such connection")?).len();
        Ok(parse_sas(&self.swanctl(&["--list-sas", "--raw"])?, connection, children))
    }

    fn sas(&self) -> Result<Vec<Sa>> {
        Ok(list_sas(&self.swanctl(&["--list-sas", "--raw"])?))
    }

    fn rekey_child(&self, connection: &str) -> Result<()> {
        let wanted = self.spec.connections.iter().find(|wanted| wanted.name == connection);
        for (child, _, _) in children(wanted.context("no such connection")?) {
            self.swanctl(&["--rekey", "--child", &child])?;
        }
        Ok(())
    }

    fn rekey_ike(&self, connection: &str) -> Result<()> {
        self.swanctl(&["--rekey", "--ike", connection]).map(drop)
    }

    fn restart(&self, connection: &str) -> Result<()> {
        self.swanctl(&["--terminate", "--ike", connection])?;
        let wanted = self.spec.connections.iter().find(|wanted| wanted.name == connection);
        let wanted = wanted.context("no such connection")?;
        if wanted.initiate {
            for (child, _, _) in children(wanted) {
                self.swanctl(&["--initiate", "--child", &child, "--timeout", "10"])?;
            }
        }
        Ok(())
    }

    fn as_swan(&self) -> Option<&StrongSwan> {
        Some(self)
    }

    fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    fn log(&self) -> String {
        text(&self.file("log"))
    }

    fn status(&self) -> String {
        let told = self.swanctl(&["--list-sas"]).unwrap_or_else(|error| error.to_string());
        format!("{told}\n{}", self.swanctl(&["--counters"]).unwrap_or_default())
    }
}

/// What Debian has to have installed, by the program that we look for.
#[must_use]
pub fn missing() -> Vec<&'static str> {
    let wanted = [
        (CHARON, "charon-systemd"),
        (SWANCTL, "strongswan-swanctl"),
        ("/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so", "libcharon-extra-plugins"),
        ("/usr/lib/ipsec/plugins/libstrongswan-openssl.so", "libstrongswan-standard-plugins"),
        ("/usr/lib/ipsec/plugins/libstrongswan-curve25519.so", "libstrongswan-extra-plugins"),
    ];
    wanted
        .into_iter()
        .filter(|(file, _)| !Path::new(file).exists())
        .map(|(_, package)| package)
        .collect()
}

fn swanctl_conf(spec: &GatewaySpec) -> Result<String> {
    let mut conf = String::from("connections {\n");
    for connection in &spec.connections {
        let ConnectionSpec { name, local, ike, esp, local_id, remote_id, .. } = connection;
        let remote = connection.remote.as_deref().unwrap_or("%any");
        let (delay, extra) = (connection.dpd.0.as_secs(), &connection.swan_connection);
        let ppk = connection.ppk.as_ref().map(|PpkSpec { id, required, .. }| {
            let required = if *required { "yes" } else { "no" };
            format!("ppk_id = {id:?}\n    ppk_required = {required}")
        });
        let ppk = ppk.unwrap_or_default();
        let (start, again) =
            if connection.initiate { ("start", "restart") } else { ("none", "clear") };
        write!(
            conf,
            "  {name} {{
    version = 2
    local_addrs = {local}
    remote_addrs = {remote}
    proposals = {ike}
    keyingtries = 0
    dpd_delay = {delay}s
    rekey_time = 1h
    {extra}
    {ppk}
    local {{
      auth = psk
      id = {local_id:?}
    }}
    remote {{
      auth = psk
      id = {remote_id:?}
    }}
    children {{
"
        )?;
        for (child, local, remote) in children(connection) {
            write!(
                conf,
                "      {child} {{
        local_ts = {}
        remote_ts = {}
        esp_proposals = {esp}
        rekey_time = 1h
        start_action = {start}
        close_action = {start}
        dpd_action = {again}
        {}
      }}
",
                local.join(","),
                remote.join(","),
                connection.swan_child
            )?;
        }
        conf.push_str("    }\n  }\n");
    }
    conf.push_str("}\nsecrets {\n");
    for ConnectionSpec { name, local_id, remote_id, psk, .. } in &spec.connections {
        write!(
            conf,
            "  ike-{name} {{
    id-local = {local_id:?}
    id-remote = {remote_id:?}
    secret = \"{psk}\"
  }}
"
        )?;
    }
    for ConnectionSpec { name, ppk, .. } in &spec.connections {
        if let Some(PpkSpec { id, key, .. }) = ppk {
            write!(conf, "  ppk-{name} {{\n    id = {id:?}\n    secret = {key:?}\n  }}\n")?;
        }
    }
    conf.push_str("}\n");
    Ok(conf)
}

/// One child per address family, or per pair: (name, local subnets, remote subnets).
fn children(connection: &ConnectionSpec) -> Vec<(String, Vec<String>, Vec<String>)> {
    let of = |subnets: &[String], v6: bool| -> Vec<String> {
        subnets.iter().filter(|subnet| subnet.contains(':') == v6).cloned().collect()
    };
    if connection.split {
        return pairs(connection);
    }
    [false, true]
        .into_iter()
        .map(|v6| {
            let name = format!("{}-v{}", connection.name, if v6 { 6 } else { 4 });
            (name, of(&connection.local_subnets, v6), of(&connection.remote_subnets, v6))
        })
        .filter(|(_, local, remote)| !local.is_empty() && !remote.is_empty())
        .collect()
}

fn pairs(connection: &ConnectionSpec) -> Vec<(String, Vec<String>, Vec<String>)> {
    let mut pairs = Vec::new();
    for (at, local) in connection.local_subnets.iter().enumerate() {
        for (there, remote) in connection.remote_subnets.iter().enumerate() {
            if local.contains(':') == remote.contains(':') {
                let name = format!("{}-{at}-{there}", connection.name);
                pairs.push((name, vec![local.clone()], vec![remote.clone()]));
            }
        }
    }
    pairs
}

/// Every SA of the same list.
fn list_sas(raw: &str) -> Vec<Sa> {
    let events = raw.lines().filter_map(|line| line.split_once("list-sa event {"));
    let sas = events.map(|(_, event)| {
        let (name, sa) = event.split_once(" {").unwrap_or((event, ""));
        let (ike, nets) = sa.split_once("child-sas {").unwrap_or((sa, ""));
        let children = nets.split("} ").filter(|child| child.contains("state=")).map(|child| {
            let spis = (value(child, "spi-in").into(), value(child, "spi-out").into());
            let installed = value(child, "state") == "INSTALLED";
            ChildSa { name: value(child, "name").into(), spis, installed }
        });
        Sa {
            connection: name.into(),
            spis: format!("{}_{}", value(ike, "initiator-spi"), value(ike, "responder-spi")),
            established: value(ike, "state") == "ESTABLISHED",
            children: children.collect(),
        }
    });
    sas.collect()
}

/// Reads `list-sa event {s2s {uniqueid=1 .. state=ESTABLISHED .. child-sas {net-1 {name=net .. state=INSTALLED ..}}}}`.
fn parse_sas(raw: &str, connection: &str, children: usize) -> Facts {
    let mut facts = Facts::default();
    for line in raw.lines() {
        let Some((_, sa)) = line.split_once(&format!("list-sa event {{{connection} {{")) else {
            continue;
        };
        let (ike, nets) = sa.split_once("child-sas {").unwrap_or((sa, ""));
        if value(ike, "state") != "ESTABLISHED" {
            continue;
        }
        let initiator = value(ike, "initiator-spi");
        facts.ike_spi = format!("{initiator}_{}", value(ike, "responder-spi"));
        let words = ["encr-alg", "encr-keysize", "integ-alg", "prf-alg", "dh-group"];
        facts.suites = words.map(|word| value(ike, word)).join("/");
        for child in nets.split("} ") {
            if value(child, "state") == "INSTALLED" {
                facts.child_spis.push(value(child, "spi-in").into());
                let suite = words.map(|word| value(child, word)).join("/");
                facts.suites = format!("{} {suite}", facts.suites);
            }
        }
    }
    facts.child_spis.sort();
    facts.up = facts.child_spis.len() >= children;
    facts
}

fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let mut words = text.split([' ', '{', '}']);
    words.find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).unwrap_or("")
}

const CHARON: &str = "/usr/sbin/charon-systemd";
const SWANCTL: &str = "/usr/sbin/swanctl";
/// Named one by one, so that neither bypass rules nor a software GCM get in the way.
const PLUGINS: &str = "openssl aesni random nonce aes sha1 sha2 hmac kdf pem pkcs1 x509 pubkey gcm curve25519 chapoly \
                       kernel-libipsec kernel-netlink socket-default vici updown";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_sas_are_read() {
        let raw = "list-sa event {site {uniqueid=1 version=2 state=ESTABLISHED local-host=192.0.2.1 \
                   initiator-spi=a1 responder-spi=b2 encr-alg=AES_CBC encr-keysize=256 child-sas {net-1 {name=net \
                   state=REKEYED spi-in=c1 spi-out=d1 encr-alg=AES_CBC} net-2 {name=net state=INSTALLED \
                   spi-in=c2 spi-out=d2 encr-alg=AES_CBC local-ts=[10.1.0.0/24] remote-ts=[10.2.0.0/24]}}}}\n\
                   list-sas reply {}\n";
        let facts = parse_sas(raw, "site", 1);
        assert!(facts.up);
        assert_eq!(facts.ike_spi, "a1_b2");
        assert_eq!(facts.child_spis, ["c2"]);
        let sas = list_sas(raw);
        assert_eq!((sas.len(), sas[0].spis.as_str(), sas[0].established), (1, "a1_b2", true));
        let states: Vec<bool> = sas[0].children.iter().map(|child| child.installed).collect();
        assert_eq!(states, [false, true]);
        assert!(!parse_sas(raw, "other", 1).up);
        assert!(!parse_sas(raw, "site", 2).up);
    }
}
