//! What `export` and `init` write, in use: real strongSwan loads it as it is, and packets go through.
//!
//! ```text
//!   left: s2s-gw ── export strongswan ──► right: swanctl --load-all, charon-systemd
//!                └─ export ipsec ───────► right: /etc/ipsec.conf, /etc/ipsec.secrets, starter and charon (stroke)
//!   init --pair ──► both: s2s-gw                        init --peer strongswan ──► right: charon-systemd
//! ```
//!
//! starter reads fixed paths, so it runs in a mount namespace of its own where ours are bound over them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::netns::{Between, Family, Sites, succeed};
use testkit::peer::{Daemon, wait_for};

use crate::List;
use crate::case::{Case, Pair, Tunnel, program};

pub(crate) fn list(list: &mut List) {
    let pair = Pair::OursToSwan;
    list.tunnel("port/strongswan", Tunnel::new(pair), swanctl);
    let many = Tunnel { inner: vec![Family::V4, Family::V6], subnets: 2, ..Tunnel::new(pair) };
    let many = Tunnel { edit: |left, _| left.built_in = Some("default".into()), ..many };
    list.tunnel("port/strongswan-default", many.clone(), swanctl);
    if Path::new(STARTER).exists() && Path::new("/usr/lib/ipsec/charon").exists() {
        list.tunnel("port/ipsec", Tunnel::new(pair), ipsec);
        list.tunnel("port/ipsec-default", many, ipsec);
    } else {
        for name in ["port/ipsec/ours-to-swan", "port/ipsec-default/ours-to-swan"] {
            list.missing(name, "strongswan-starter, strongswan-charon");
        }
    }
    list.add("port/init-pair", false, || init(&["--pair"]).map_err(|error| format!("{error:#}")));
}

/// What the left gateway exports for its connection.
fn exported(case: &Case, kind: &str) -> Result<String> {
    let ours = case.left.as_ours().context("the left one is ours")?;
    let config = ours.config().display().to_string();
    let mut command = ours.command(&["export", kind, "site", "-c", &config, "--with-psk"]);
    Ok(String::from_utf8(succeed(&mut command)?.stdout)?)
}

/// The tunnel stands and carries.
fn carries(case: &Case) -> Result<()> {
    wait_for("the left gateway to say that the tunnel is up", Duration::from_secs(15), || {
        Ok(case.left.facts("site")?.up.then_some(()))
    })?;
    case.wait_ping(Duration::from_secs(5))?;
    case.ping_all()?;
    case.exchange()
}

fn swanctl(case: &mut Case) -> Result<()> {
    let text = exported(case, "strongswan")?;
    std::fs::write(case.dir.path().join("right.swanctl/swanctl.conf"), text)?;
    case.start()?;
    carries(case)?;
    // Nothing but what was exported is there.
    let swan = case.right.as_swan().context("the right one is strongSwan")?;
    let loaded = swan.swanctl(&["--list-conns"])?;
    ensure!(loaded.starts_with("left: IKEv2"), "{loaded}");
    Ok(())
}

const STARTER: &str = "/usr/lib/ipsec/starter";

fn ipsec(case: &mut Case) -> Result<()> {
    let text = exported(case, "ipsec")?;
    let (conf, secrets) = text.split_once("# ---- /etc/ipsec.secrets").context("both parts")?;
    let dir = case.dir.path();
    let file = |name: &str| dir.join(name);
    std::fs::write(file("ipsec.conf"), conf)?;
    std::fs::write(file("ipsec.secrets"), format!("#{secrets}"))?;
    std::fs::write(file("stroke.conf"), strongswan_conf(&file("stroke.log")))?;
    let bound = [
        ("ipsec.conf", "/etc/ipsec.conf"),
        ("ipsec.secrets", "/etc/ipsec.secrets"),
        ("stroke.conf", "/etc/strongswan.conf"),
    ];
    let bind =
        bound.map(|(ours, theirs)| format!("mount --bind {} {theirs}\n", file(ours).display()));
    let script =
        format!("set -e\n{}mount -t tmpfs none /run\nexec {STARTER} --nofork\n", bind.concat());
    let mut command = case.sites.right.gateway.command("unshare");
    // When it is killed, all that it started goes with it.
    command.args([
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
        &script,
    ]);
    let mut starter = Daemon::new(file("starter.out"));
    starter.spawn(command)?;
    case.left.start()?;
    let outcome = carries(case);
    let ended = starter.kill();
    let log = std::fs::read_to_string(file("stroke.log")).unwrap_or_default();
    outcome.with_context(|| format!("{}\n{}", starter.output(), crate::case::tail(&log, 60)))?;
    ended
}

/// Named one by one, so that neither bypass rules nor a software GCM get in the way.
fn strongswan_conf(log: &Path) -> String {
    format!(
        "starter {{\n  load_warning = no\n}}\ncharon {{\n  load = openssl aesni random nonce aes sha1 sha2 hmac kdf pem pkcs1 x509 pubkey gcm curve25519 \
         chapoly ccm cmac ctr xcbc pkcs8 kernel-libipsec kernel-netlink socket-default stroke updown\n  filelog {{\n    log {{\n      path = {}\n      \
         flush_line = yes\n      default = 2\n    }}\n  }}\n}}\n",
        log.display()
    )
}

/// What `init` writes for two sites brings them together.
fn init(more: &[&str]) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("s2st").tempdir()?;
    let sites = Sites::new(Between::Wire)?;
    let outer = [&sites.left, &sites.right].map(|site| site.outer(Family::V4));
    let nets = [&sites.left, &sites.right].map(|site| site.subnet(Family::V4, 0));
    let [ours, theirs] = &outer;
    let [here, there] = &nets;
    let mut command = Command::new(program());
    command.args([
        "init",
        "--name",
        "berlin",
        "--our-name",
        "fra1",
        "--our-address",
        ours,
        "--peer-address",
        theirs,
    ]);
    command
        .args(["--our-networks", here, "--peer-networks", there])
        .args(more)
        .arg("--dir")
        .arg(dir.path().join("vpn"));
    succeed(&mut command)?;
    let files = [dir.path().join("vpn/s2s-gw.toml"), dir.path().join("vpn/for-berlin/s2s-gw.toml")];
    let mut daemons = Vec::new();
    for (file, site) in files.iter().zip([&sites.left, &sites.right]) {
        apart(file)?;
        let mut command = site.gateway.command(program());
        command.args(["run", "-c"]).arg(file);
        let mut daemon = Daemon::new(file.with_extension("out"));
        daemon.spawn(command)?;
        daemons.push(daemon);
    }
    let to = sites.right.host_address(Family::V4, 0);
    let answered = wait_for(&format!("a ping to {to}"), Duration::from_secs(15), || {
        Ok((sites.left.host.ping(to, 1, Duration::from_millis(100))? == 1).then_some(()))
    });
    answered.with_context(|| daemons.iter().map(Daemon::output).collect::<String>())?;
    for site in [&sites.left, &sites.right] {
        let (esp, readable) = site.counted()?;
        ensure!(esp > 0 && readable == 0, "{esp} ESP packets, {readable} readable");
    }
    for daemon in &mut daemons {
        daemon.kill()?;
    }
    Ok(())
}

/// Two on one machine need sockets and state of their own.
fn apart(file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(file)?;
    let own = format!(
        "[gateway]\ncontrol = {:?}\nstate = \"off\"\n",
        file.with_extension("sock").display().to_string()
    );
    ensure!(text.contains("[gateway]\n"), "{text}");
    Ok(std::fs::write(file, text.replacen("[gateway]\n", &own, 1))?)
}
