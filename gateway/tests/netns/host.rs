//! A host that is not fit: no device, no permission, ports or addresses taken. Exit code 1, one sentence, nothing left.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use testkit::gateway::Ours;
use testkit::netns::{Netns, unique_prefix};
use testkit::peer::{ConnectionSpec, Peer as _, pause, wait_for};

use crate::List;
use crate::case::{KEY, program, spec};

pub(crate) fn list(list: &mut List) {
    type Test = fn(&mut Bare) -> Result<()>;
    let tests: [(&str, Test); 8] = [
        ("host/no-tun-device", no_device),
        ("host/tun-name-taken", name_taken),
        ("host/no-permission", no_permission),
        ("host/port-500-taken", |bare| port_taken(bare, 500)),
        ("host/port-4500-taken", |bare| port_taken(bare, 4500)),
        ("host/address-not-here", address_not_here),
        ("host/second-daemon", second_daemon),
        ("host/stop-while-connecting", stop_while_connecting),
    ];
    for (name, test) in tests {
        list.add(name, false, move || {
            Bare::new().and_then(|mut bare| test(&mut bare)).map_err(|error| format!("{error:#}"))
        });
    }
}

/// A namespace with one address and a configuration that would work there.
struct Bare {
    ours: Ours,
    netns: Netns,
    /// Holds the files until the test is over.
    _dir: tempfile::TempDir,
}

impl Bare {
    fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("s2st").tempdir()?;
        let netns = Netns::new(format!("{}-bare", unique_prefix()))?;
        netns.ip("addr add 192.0.2.1/24 dev lo\n")?;
        let ours = Ours::new(program(), &netns, spec("bare", connection()), dir.path())?;
        Ok(Self { ours, netns, _dir: dir })
    }

    /// Runs the daemon through `wrapper` and wants it to refuse with one sentence that has one of the words.
    fn refuses(&self, wrapper: &[&str], words: &[&str]) -> Result<()> {
        let config = self.ours.config();
        let mut command = Command::new("timeout");
        command.args(["5", "ip", "netns", "exec", self.netns.name()]).args(wrapper);
        command.arg(program()).arg("run").arg("-c").arg(config);
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
        ensure!(!said.contains("panicked"), "{said}");
        let sentences: Vec<&str> = said.lines().filter(|line| line.contains("error")).collect();
        ensure!(sentences.len() == 1, "not one sentence: {said}");
        let has_word = words.iter().any(|word| sentences.concat().contains(word));
        ensure!(has_word, "none of {words:?} in: {said}");
        Ok(())
    }
}

/// As in a container that was given no device: not there, and not ours to make.
fn no_device(bare: &mut Bare) -> Result<()> {
    let hide = "mount -t tmpfs none /dev/net && exec setpriv --bounding-set -mknod \"$@\"";
    bare.refuses(&["unshare", "-m", "sh", "-c", hide, "sh"], &["/dev/net/tun"])?;
    nothing_left(&bare.netns, &bare.ours)
}

fn name_taken(bare: &mut Bare) -> Result<()> {
    bare.netns.ip("link add s2s0 type veth peer name other\n")?;
    bare.refuses(&[], &["s2s0"])?;
    bare.netns.ip("link del s2s0\n")?;
    nothing_left(&bare.netns, &bare.ours)
}

fn no_permission(bare: &mut Bare) -> Result<()> {
    bare.refuses(&["setpriv", "--bounding-set", "-net_admin"], &["CAP_NET_ADMIN", "root"])?;
    nothing_left(&bare.netns, &bare.ours)
}

fn port_taken(bare: &mut Bare, port: u16) -> Result<()> {
    let taken = bare.netns.inside(|| Ok(UdpSocket::bind(("192.0.2.1", port))?))?;
    bare.refuses(&[], &[&port.to_string()])?;
    drop(taken);
    nothing_left(&bare.netns, &bare.ours)
}

fn address_not_here(bare: &mut Bare) -> Result<()> {
    bare.netns.ip("addr del 192.0.2.1/24 dev lo\n")?;
    bare.refuses(&[], &["192.0.2.1"])?;
    nothing_left(&bare.netns, &bare.ours)
}

/// The second daemon refuses; the first one does not notice.
fn second_daemon(bare: &mut Bare) -> Result<()> {
    let config = bare.ours.config().display().to_string();
    let first =
        bare.ours.command(&["run", "-c", &config]).stderr(std::process::Stdio::null()).spawn();
    let mut first = first.context("cannot start")?;
    let outcome = wait_for("the first daemon", Duration::from_secs(5), || {
        Ok(bare.ours.json().ok().map(drop))
    })
    .and_then(|()| bare.refuses(&[], &["bare.sock", "500", "running"]))
    .and_then(|()| bare.ours.json().map(drop).context("the first daemon after the second"));
    first.kill()?;
    first.wait()?;
    outcome
}

/// Nobody is at the other end, and never was.
fn stop_while_connecting(bare: &mut Bare) -> Result<()> {
    bare.ours.start()?;
    pause(Duration::from_millis(500));
    let (status, took) = bare.ours.daemon().stop(Signal::TERM)?;
    ensure!(status.code() == Some(0), "exit: {status}");
    ensure!(took <= Duration::from_secs(2), "it took {took:?} to end");
    nothing_left(&bare.netns, &bare.ours)
}

/// No device, no route, no socket of ours is left in the namespace.
pub(crate) fn nothing_left(netns: &Netns, ours: &Ours) -> Result<()> {
    let links = netns.run("ip", &["-o", "link"])?;
    ensure!(!links.contains("s2s0"), "the device is left: {links}");
    for family in ["-4", "-6"] {
        let routes = netns.run("ip", &[family, "route", "show", "table", "all"])?;
        let ours =
            routes.lines().find(|line| line.contains("s2s0") || line.contains(" dev lo proto 1"));
        ensure!(ours.is_none(), "a route is left: {routes}");
    }
    let socket: &Path = &ours.config().with_extension("sock");
    ensure!(!socket.exists(), "{} is left", socket.display());
    Ok(())
}

fn connection() -> ConnectionSpec {
    ConnectionSpec {
        name: "site".into(),
        local: "192.0.2.1".into(),
        remote: Some("192.0.2.2".into()),
        local_id: "left.example.org".into(),
        remote_id: "right.example.org".into(),
        psk: KEY.into(),
        ppk: None,
        built_in: None,
        ike: "aes256-sha256-modp2048".into(),
        esp: "aes256-sha256".into(),
        local_subnets: vec!["10.1.0.0/24".into()],
        remote_subnets: vec!["10.2.0.0/24".into()],
        initiate: true,
        dpd: (Duration::from_secs(1), Duration::from_secs(4)),
        ours_extra: String::new(),
        swan_extra: String::new(),
        swan_connection: String::new(),
        swan_child: String::new(),
        split: false,
    }
}
