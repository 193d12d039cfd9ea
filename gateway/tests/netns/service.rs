//! The daemon as a service: what it tells its manager, and what it may do once it runs.

use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use testkit::peer::{Daemon, now};

use crate::List;
use crate::case::{Case, Pair};
use crate::operate::daemons;
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    list.tunnel("service/notify", gcm(Pair::OursToOurs), notify);
    list.tunnel("service/privileges", gcm(Pair::OursToOurs), privileges);
}

/// A service manager that only listens.
struct Manager {
    socket: UnixDatagram,
    told: Vec<String>,
}

impl Manager {
    /// Reads until something begins with `word`.
    fn until(&mut self, word: &str) -> Result<String> {
        let begun = now();
        let mut buffer = [0; 1024];
        while begun.elapsed() < Duration::from_secs(10) {
            let len = match self.socket.recv(&mut buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            };
            let text = String::from_utf8_lossy(buffer.get(..len).unwrap_or_default()).into_owned();
            self.told.push(text.clone());
            if text.starts_with(word) {
                return Ok(text);
            }
        }
        Err(anyhow::anyhow!("it did not tell {word}, but {:?}", self.told))
    }
}

/// READY, then STATUS and WATCHDOG with every tick; RELOADING and READY on SIGHUP; STOPPING.
fn notify(case: &mut Case) -> Result<()> {
    case.right.start()?;
    let path = case.dir.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut manager = Manager { socket, told: Vec::new() };
    let ours = case.left.as_ours().context("the left one is ours")?;
    let config = ours.config().display().to_string();
    let mut command = ours.command(&["run", "-c", &config]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "3000000");
    let mut daemon = Daemon::new(case.dir.path().join("left.out"));
    daemon.spawn(command)?;

    manager.until("READY=1")?;
    ensure!(manager.told.len() == 1, "it was to be ready first: {:?}", manager.told);
    ensure!(case.left.facts("site").is_ok(), "it was not ready");
    manager.until("STATUS=1/1 up")?;
    manager.until("WATCHDOG=1")?;
    manager.until("WATCHDOG=1")?;
    manager.told.clear();
    daemon.signal(Signal::HUP)?;
    let reloading = manager.until("RELOADING=1")?;
    let since = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    ensure!(since.is_some_and(|time| time.parse::<u64>().is_ok()), "{reloading}");
    manager.until("READY=1")?;
    let ours = case.left.as_ours().context("the left one is ours")?;
    ours.tell(&["down", "site"])?;
    manager.until("STATUS=0/0 up")?;
    let (status, _) = daemon.stop(Signal::TERM)?;
    ensure!(status.success(), "{status}");
    manager.until("STOPPING=1").map(drop)
}

/// The control thread keeps what routes and probes need, the others nothing; all still works.
fn privileges(case: &mut Case) -> Result<()> {
    case.up()?;
    let [pid] = daemons(case)?[..] else { anyhow::bail!("not one daemon") };
    let mut names = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        let status = fs::read_to_string(task.join("status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim_start_matches(':').trim().to_owned())
                .with_context(|| format!("no {name} in {status}"))
        };
        let capabilities = |name| -> Result<u64> { Ok(u64::from_str_radix(&field(name)?, 16)?) };
        let name = field("Name")?;
        let is_control = task.ends_with(pid.to_string());
        let allowed = if is_control { CONTROL } else { 0 };
        for set in ["CapEff", "CapPrm"] {
            ensure!(capabilities(set)? == allowed, "{name} has {set} {:x}", capabilities(set)?);
        }
        ensure!(capabilities("CapInh")? == 0 && capabilities("CapAmb")? == 0, "{status}");
        ensure!(field("NoNewPrivs")? == "1", "{name} may gain privileges");
        names.push(name);
    }
    ensure!(names.iter().any(|name| name == "s2s-rx0"), "{names:?}");
    ensure!(names.iter().any(|name| name == "s2s-tx0"), "{names:?}");
    case.ping_all()?;
    let ours = case.left.as_ours().context("the left one is ours")?;
    ours.tell(&["restart", "site"])?;
    case.wait_up(Duration::from_secs(5))?;
    case.ping_all()
}

/// CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_NET_RAW (capabilities(7)).
const CONTROL: u64 = 1 << 2 | 1 << 12 | 1 << 13;
