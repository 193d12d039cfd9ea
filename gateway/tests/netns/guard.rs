//! What the running gateway may do, seen from outside, and that it ends at once when it is broken from inside.
//!
//! ```text
//!   S2S_GW_FAULT=rx:packet s2s-gw run ─► tunnel up ─► SIGUSR2 ─► the rx pump asks for a packet socket
//!                                                               refused and told, or refused and the end: never done
//! ```

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use testkit::measured::measured;
use testkit::netns::Family;
use testkit::peer::{Daemon, now, wait_for};

use crate::List;
use crate::case::{Case, GAP, Pair};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    list.tunnel("guard/threads", gcm(Pair::OursToOurs), threads);
    list.tunnel("guard/acts", gcm(Pair::OursToOurs), acts);
    list.tunnel("guard/panics", gcm(Pair::OursToOurs), panics);
    list.tunnel("guard/elsewhere", gcm(Pair::OursToOurs), elsewhere);
}

/// Every thread, by its name: (name, lines of /proc/PID/task/TID/status).
pub(crate) fn statuses(pid: u32) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        found.push((field(&status, "Name")?.to_owned(), status));
    }
    Ok(found)
}

pub(crate) fn field<'s>(status: &'s str, name: &str) -> Result<&'s str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(str::trim).with_context(|| format!("no {name} in {status}"))
}

/// T47: nobody is root, nobody may gain anything, everybody has a filter; only the control thread has capabilities.
fn threads(case: &mut Case) -> Result<()> {
    case.up()?;
    let pid = case.left.daemon().pid().context("it runs")?;
    let all = statuses(pid)?;
    ensure!(all.len() >= 4, "control, tx, rx, resolver: {:?}", names(&all));
    let mut as_wanted = 0;
    for (name, status) in &all {
        for ids in ["Uid", "Gid"] {
            let ids = field(status, ids)?;
            ensure!(ids.split_whitespace().all(|id| id != "0"), "{name} is root: {ids}");
        }
        ensure!(field(status, "Seccomp")? == "2", "{name} has no filter");
        ensure!(field(status, "NoNewPrivs")? == "1", "{name} may gain privileges");
        let capabilities = u64::from_str_radix(field(status, "CapEff")?, 16)?;
        let allowed = if name == "s2s-gw" { CONTROL } else { 0 };
        ensure!(capabilities & !allowed == 0, "{name} has {capabilities:x}");
        for other in ["CapInh", "CapAmb"] {
            ensure!(field(status, other)?.chars().all(|c| c == '0'), "{name}: {status}");
        }
        as_wanted += 1;
    }
    measured("T47", "threads without root, with a filter", as_wanted, "all of them");
    case.ping_all()
}

fn names(all: &[(String, String)]) -> Vec<&str> {
    all.iter().map(|(name, _)| name.as_str()).collect()
}

/// CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_NET_RAW (capabilities(7)).
const CONTROL: u64 = 1 << 2 | 1 << 12 | 1 << 13;

/// The left gateway with a fault that waits, and the tunnel up.
fn with_fault(case: &mut Case, fault: &str) -> Result<Daemon> {
    let ours = case.left.as_ours().context("the left one is ours")?;
    let config = ours.config().display().to_string();
    let mut command = ours.command(&["run", "-c", &config]);
    command.env("S2S_GW_FAULT", fault);
    let name = format!("left-{}.out", fault.replace(':', "-"));
    let mut daemon = Daemon::new(case.dir.path().join(name));
    daemon.spawn(command)?;
    wait_for("the tunnel", Duration::from_secs(10), || {
        if let Some(status) = daemon.ended()? {
            bail!("it ended: {status}\n{}", daemon.output());
        }
        Ok(case.left.facts("site").ok().filter(|facts| facts.up))
    })?;
    Ok(daemon)
}

/// Makes every kind of thread take its turn.
fn stir(case: &Case) -> Result<()> {
    let to = case.sites.right.host_address(Family::V4, 0);
    case.sites.left.host.ping(to, 1, GAP).map(drop)
}

/// Lets the left gateway have something to do for each of its threads: a host to ask, a name to look up.
fn watchful(case: &Case) -> Result<()> {
    let ours = case.left.as_ours().context("the left one is ours")?;
    let watched = case.sites.right.host_address(Family::V4, 0);
    crate::reload::rewrite(ours, &|text| {
        let asked = format!(
            "\n[[connection.site.monitor]]\nkind = \"icmp\"\ntarget = \"{watched}\"\ninterval = \"1s\"\n"
        );
        text.replace("peer = [\"192.0.2.2\"]", "peer = [\"192.0.2.2\", \"nobody.invalid\"]")
            + &asked
    })
}

/// T47: no program is run, no secret of the host read, no other process looked into, no link listened on.
fn acts(case: &mut Case) -> Result<()> {
    case.right.start()?;
    watchful(case)?;
    let (mut refused, mut done) = (0, Vec::new());
    for thread in ["control", "rx", "resolver"] {
        for act in ["run", "shadow", "trace", "packet"] {
            let fault = format!("{thread}:{act}");
            let mut daemon = with_fault(case, &fault)?;
            daemon.signal(Signal::USR2)?;
            let outcome = wait_for(&format!("what became of {fault}"), WAIT, || {
                // Nobody answers when it has ended.
                let _ = stir(case);
                let said = daemon.output();
                let told =
                    said.lines().find(|line| line.contains("event=fault")).map(str::to_owned);
                let ended = daemon.ended()?.map(|status| format!("{status}\n{said}"));
                Ok(told.or(ended))
            })?;
            let is_refused = outcome.contains("the sandbox refused the system call")
                || outcome.contains("ermission denied")
                || outcome.contains("not permitted");
            if is_refused {
                refused += 1;
            } else {
                done.push(format!("{fault}: {outcome}"));
            }
            if daemon.ended()?.is_none() {
                daemon.kill()?;
            }
        }
    }
    measured("T47", "forbidden acts that were refused", format!("{refused} of 12"), "12 of 12");
    ensure!(done.is_empty(), "done, or not known: {done:?}");
    Ok(())
}

/// The resolver asks every few seconds at most.
const WAIT: Duration = Duration::from_secs(20);

/// T40 and P10: whichever thread panics, the process is gone within a second with one line that says which; a new one is up
/// within three.
fn panics(case: &mut Case) -> Result<()> {
    case.right.start()?;
    watchful(case)?;
    let (mut slowest_end, mut slowest_start) = (Duration::ZERO, Duration::ZERO);
    for (thread, name) in THREADS {
        let mut daemon = with_fault(case, &format!("{thread}:panic"))?;
        daemon.signal(Signal::USR2)?;
        if thread == "reload" {
            daemon.signal(Signal::HUP)?;
        }
        let told = |daemon: &Daemon| {
            let said = daemon.output();
            said.lines().find(|line| line.contains("broke at")).map(str::to_owned)
        };
        let line = wait_for(&format!("the panic of {thread}"), WAIT, || {
            let _ = stir(case);
            Ok(told(&daemon))
        })?;
        let begun = now();
        let status = wait_for("its end", Duration::from_secs(5), || daemon.ended())?;
        slowest_end = slowest_end.max(begun.elapsed());
        ensure!(status.code() == Some(101), "{thread}: {status}");
        ensure!(line.contains(&format!("`{name}`")), "{thread}: {line}");
        ensure!(line.contains("fault.rs"), "where: {line}");
        ensure!(daemon.output().matches("broke at").count() == 1, "{}", daemon.output());
        let begun = now();
        let mut again = with_fault(case, "none:none")?;
        slowest_start = slowest_start.max(begun.elapsed());
        again.kill()?;
    }
    let value = format!("{} ms", slowest_end.as_millis());
    measured("T40", "process with a dead thread", &value, "<= 1 s");
    let value = format!("{} ms", slowest_start.as_millis());
    measured("T40", "up again after a panic", &value, "<= 3 s");
    ensure!(slowest_end <= Duration::from_secs(1), "{slowest_end:?}");
    Ok(())
}

/// As in the fault, and as the thread is called.
const THREADS: [(&str, &str); 6] = [
    ("control", "main"),
    ("tx", "s2s-tx0"),
    ("rx", "s2s-rx0"),
    ("resolver", "resolver"),
    ("monitors", "monitors"),
    ("reload", "reload"),
];

/// A reload that needs a file elsewhere changes nothing and says what to do; one that replaces the files it has works.
fn elsewhere(case: &mut Case) -> Result<()> {
    case.up()?;
    let other = tempfile::tempdir()?;
    let key = other.path().join("site.psk");
    fs::copy(case.dir.path().join("left-site.psk"), &key)?;
    let ours = case.left.as_ours().context("the left one is ours")?;
    let before = fs::read_to_string(ours.config())?;
    let inside = case.dir.path().join("left-site.psk").display().to_string();
    crate::reload::rewrite(ours, &|text| text.replace(&inside, &key.display().to_string()))?;
    let refused = ours.tell(&["reload"]).err().context("it was taken")?;
    let said = format!("{refused:#}");
    ensure!(said.contains("E0") && said.contains("restart the gateway"), "{said}");
    case.ping_all()?;
    // As an editor does it: another file of the same name.
    let ours = case.left.as_ours().context("the left one is ours")?;
    let fresh = case.dir.path().join("left.toml~");
    fs::write(&fresh, before.replace("dpd = {", "esp_lifetime = \"50m\"\ndpd = {"))?;
    fs::rename(&fresh, ours.config())?;
    ours.tell(&["reload"])?;
    case.ping_all()
}
