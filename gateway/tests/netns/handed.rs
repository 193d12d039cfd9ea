//! A gateway that may do nothing: who starts it has opened its sockets and its TUN device, and made the routes.
//!
//! ```text
//!   this test ─► ip netns exec ─► this program again (handover.rs): opens, becomes `nobody` ─► s2s-gw run
//! ```

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use testkit::handover::Handover;
use testkit::netns::Family;
use testkit::peer::{Daemon, wait_for};

use crate::List;
use crate::case::{Case, Pair, Tunnel, program};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    let without_routes = |pair| Tunnel {
        edit: |left, _| left.ours_extra.push_str("routes = \"none\"\n"),
        ..gcm(pair)
    };
    list.tunnel("handed/unprivileged", without_routes(Pair::OursToOurs), unprivileged);
    list.tunnel("handed/wrong", without_routes(Pair::OursToOurs), wrong);
}

/// The word that makes this program the starter.
pub(crate) const STARTER: &str = "start-with-descriptors";

/// No root, no capability, and all works: the tunnel, pings, TCP, the control socket, an orderly end.
fn unprivileged(case: &mut Case) -> Result<()> {
    case.right.start()?;
    let (mut daemon, handover) = start(case, "s2s0")?;
    wait_for("the tunnel", Duration::from_secs(10), || {
        if let Some(status) = daemon.ended()? {
            anyhow::bail!("it ended: {status}\n{}", daemon.output());
        }
        Ok(case.left.facts("site").ok().filter(|facts| facts.up))
    })?;
    let to = case.sites.right.subnet(Family::V4, 0);
    case.sites.left.gateway.run("ip", &["route", "add", &to, "dev", "s2s0"])?;

    let pid = daemon.pid().context("it runs")?;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        for (field, wanted) in [
            ("Uid:", "65534\t65534\t65534\t65534"),
            ("Gid:", "65534\t65534\t65534\t65534"),
            ("CapEff:", "0000000000000000"),
            ("CapPrm:", "0000000000000000"),
            ("CapAmb:", "0000000000000000"),
            ("NoNewPrivs:", "1"),
        ] {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            ensure!(line.map(str::trim) == Some(wanted), "{field} is not {wanted} in\n{status}");
        }
    }
    case.wait_ping(Duration::from_secs(2))?;
    case.ping_all()?;
    case.exchange()?;
    let answer = page(&handover)?;
    ensure!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nready\n"), "{answer}");
    let ours = case.left.as_ours().context("the left one is ours")?;
    ours.tell(&["restart", "site"])?;
    case.wait_up(Duration::from_secs(5))?;

    let (status, _) = daemon.stop(Signal::TERM)?;
    ensure!(status.success(), "{status}\n{}", daemon.output());
    ensure!(handover.control.exists(), "the control socket was not its own");
    Ok(())
}

/// What the page says over the socket that it was given.
fn page(handover: &Handover) -> Result<String> {
    let mut stream = UnixStream::connect(&handover.http)?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// What does not fit ends the start with a sentence, and nothing is opened in its place.
fn wrong(case: &mut Case) -> Result<()> {
    let (mut daemon, _) = start(case, "s2s7")?;
    let status = wait_for("its end", Duration::from_secs(10), || daemon.ended())?;
    ensure!(status.code() == Some(1), "{status}");
    let said = daemon.output();
    for word in ["descriptor 5", "`tun`", "belongs to the device s2s7", "write `tun = \"s2s7\"`"] {
        ensure!(said.contains(word), "no {word} in\n{said}");
    }
    Ok(())
}

/// The left gateway, started as `nobody`.
fn start(case: &Case, device: &str) -> Result<(Daemon, Handover)> {
    let dir = case.dir.path();
    // Where this test was built may be a place that nobody may look into.
    let copy = dir.join("s2s-gw");
    fs::copy(program(), &copy)?;
    for path in
        [dir.to_owned(), copy.clone(), in_dir(case, "left.toml"), in_dir(case, "left-site.psk")]
    {
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    let handover = Handover {
        device: device.to_owned(),
        mtu: 1400,
        address: case.sites.left.outer(Family::V4).parse()?,
        control: in_dir(case, "left.sock"),
        http: in_dir(case, "http.sock"),
        user: NOBODY,
    };
    let configuration = in_dir(case, "left.toml");
    let page = format!("\n[http]\nlisten = \"unix:{}\"\n", handover.http.display());
    fs::write(&configuration, fs::read_to_string(&configuration)? + &page)?;
    let mut command = std::process::Command::new("ip");
    command.args(["netns", "exec", case.sites.left.gateway.name()]);
    // Whoever runs the tests may have left something open where the descriptors go.
    command.args(["sh", "-c", "exec \"$@\" 3<&- 4<&- 5<&- 6<&- 7<&-", "sh"]);
    command.arg(std::env::current_exe()?).arg(STARTER).args(handover.arguments());
    command.arg(&copy).args(["run", "--log", "debug", "-c"]).arg(in_dir(case, "left.toml"));
    let mut daemon = Daemon::new(in_dir(case, "left.out"));
    daemon.spawn(command)?;
    Ok((daemon, handover))
}

fn in_dir(case: &Case, name: &str) -> PathBuf {
    case.dir.path().join(name)
}

/// The user of that name, and its group.
const NOBODY: u32 = 65_534;
