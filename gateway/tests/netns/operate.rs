//! What somebody who operates the gateway relies on: events, levels of the log, who may do what, and that no key is told.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use testkit::gateway::Ours;
use testkit::peer::wait_for;

use crate::List;
use crate::case::{Case, KEY, Pair, program};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    let pair = Pair::OursToOurs;
    list.tunnel("operate/events", gcm(pair), events);
    list.tunnel("operate/log-level", gcm(pair), log_level);
    list.tunnel("operate/rights", gcm(pair), rights);
    list.tunnel("operate/secrets", gcm(pair), secrets);
}

fn ours(case: &Case) -> Result<&Ours> {
    case.left.as_ours().context("the left one is ours")
}

/// The control socket of the left gateway.
fn socket(case: &Case) -> PathBuf {
    case.dir.path().join("left.sock")
}

/// A running `s2s-gw events -f --json`, ended with the test.
struct Follower {
    process: Child,
    lines: Receiver<String>,
}

impl Follower {
    fn start(case: &Case) -> Result<Self> {
        let mut process = Command::new(program())
            .args(["events", "-f", "--json", "--control"])
            .arg(socket(case))
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = BufReader::new(process.stdout.take().context("its stdout")?);
        let (sender, lines) = channel();
        // It ends with the process.
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Ok(Self { process, lines })
    }

    /// Reads until an event of this name comes.
    fn until(&self, event: &str) -> Result<Value> {
        for _ in 0..1000 {
            let line = self.lines.recv_timeout(Duration::from_secs(10));
            let line = line.with_context(|| format!("waiting for {event}"))?;
            let value: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
            if has(&value, "event", event) {
                return Ok(value);
            }
        }
        bail!("a thousand events and none is {event}")
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn has(event: &Value, key: &str, word: &str) -> bool {
    event.get(key).is_some_and(|value| value == word)
}

/// What happened is told to who comes later, and what happens to who waits.
fn events(case: &mut Case) -> Result<()> {
    case.up()?;
    let follower = Follower::start(case)?;
    let up = follower.until("up")?;
    ensure!(has(&up, "connection", "site") && has(&up, "schema", "s2s-gw/event/1"), "{up}");
    // Another one is beside it and takes nothing from us.
    let _idle = Follower::start(case)?;
    ours(case)?.tell(&["down", "site"])?;
    let down = follower.until("down-requested")?;
    ensure!(has(&down, "connection", "site"), "{down}");
    ours(case)?.tell(&["up", "site"])?;
    case.wait_up(Duration::from_secs(5))?;
    let text = ours(case)?.tell(&["events", "site"])?;
    ensure!(text.lines().all(|line| line.contains(" conn=site")), "{text}");
    for name in ["event=connecting", "event=up", "event=down-requested"] {
        ensure!(text.contains(name), "no {name} in\n{text}");
    }
    ensure!(!text.contains(" DEBUG "), "{text}");
    let unknown = case_command(case, &["events", "nobody"])?.output()?;
    ensure!(unknown.status.code() == Some(4), "{unknown:?}");
    case.ping_all()
}

/// More is logged for a while, and then as before.
fn log_level(case: &mut Case) -> Result<()> {
    case.up()?;
    let ours = ours(case)?;
    let said = ours.tell(&["logs", "level", "error", "--for", "1s"])?;
    ensure!(said.contains("error, for 1.0s"), "{said}");
    let written = case.left.log();
    ours.tell(&["up", "site"])?;
    wait_for("the log to return", Duration::from_secs(4), || {
        Ok(case.left.log().contains("event=log-level filter=debug\n").then_some(()))
    })?;
    let log = case.left.log();
    let new = log.strip_prefix(&written).context("the log grew")?;
    ensure!(!new.contains("up-requested"), "it was to be kept quiet: {new}");
    ensure!(ours.tell(&["events"])?.contains("up-requested"), "but it is an event");
    let refused = case_command(case, &["logs", "level", "ike=loud"])?.output()?;
    let words = String::from_utf8_lossy(&refused.stderr);
    ensure!(refused.status.code() == Some(1) && words.contains("no level `loud`"), "{words}");
    Ok(())
}

/// A stranger who can open the socket may look and not touch; one who cannot is told which group to join.
fn rights(case: &mut Case) -> Result<()> {
    case.up()?;
    // The build directory may be closed to nobody, so it runs a copy.
    let copy = case.dir.path().join("s2s-gw");
    fs::copy(program(), &copy)?;
    fs::set_permissions(case.dir.path(), fs::Permissions::from_mode(0o755))?;
    let socket = socket(case);
    let nobody = |args: &[&str]| -> Result<(Option<i32>, String)> {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).args(args);
        let output = command.arg("--control").arg(&socket).output()?;
        let words = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&words).into_owned()))
    };
    let (code, words) = nobody(&["status"])?;
    ensure!(code == Some(1) && words.contains("no permission"), "{code:?} {words}");
    ensure!(words.contains("group `s2s-gw`"), "{words}");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
    for look in [&["status"][..], &["events"], &["logs"]] {
        let (code, words) = nobody(look)?;
        ensure!(code == Some(0) && words.contains("site"), "{look:?}: {code:?} {words}");
    }
    for touch in [&["down", "site"][..], &["rekey", "site"], &["logs", "level", "trace"]] {
        let (code, words) = nobody(touch)?;
        ensure!(code == Some(1) && words.contains("group `s2s-gw`"), "{touch:?}: {code:?} {words}");
        ensure!(words.lines().count() == 1, "{words}");
    }
    case.ping_all()
}

/// The key is nowhere: log at its loudest, status, events, and what the system shows of the process (T10).
fn secrets(case: &mut Case) -> Result<()> {
    case.right.start()?;
    case.left.start()?;
    let ours = ours(case)?;
    ours.tell(&["logs", "level", "trace"])?;
    ours.tell(&["restart", "site"])?;
    case.wait_up(Duration::from_secs(10))?;
    let ours = self::ours(case)?;
    ours.tell(&["rekey", "site", "--ike"])?;
    ours.tell(&["rekey", "site"])?;
    ours.tell(&["down", "site"])?;
    let mut told = vec![("the log", case.left.log())];
    for args in [
        &["status"][..],
        &["status", "site"],
        &["status", "--json"],
        &["events", "--json"],
        &["logs"],
    ] {
        told.push(("an answer", ours.tell(args)?));
    }
    for pid in daemons(case)? {
        for file in ["cmdline", "environ"] {
            let text = fs::read(format!("/proc/{pid}/{file}"))?;
            told.push((file, String::from_utf8_lossy(&text).into_owned()));
        }
    }
    ensure!(told.len() >= 8, "the process was not found");
    for (what, text) in told {
        ensure!(!text.is_empty() && !text.contains(KEY), "{what} tells the key:\n{text}");
    }
    Ok(())
}

/// The processes of the left gateway.
pub(crate) fn daemons(case: &Case) -> Result<Vec<u32>> {
    let config = case.dir.path().join("left.toml").display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse() else { continue };
        // A process may end while we look.
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(" run ") && line.contains(&config) {
            found.push(pid);
        }
    }
    Ok(found)
}

fn case_command(case: &Case, args: &[&str]) -> Result<Command> {
    let mut command = ours(case)?.command(args);
    command.arg("--control").arg(socket(case));
    Ok(command)
}
