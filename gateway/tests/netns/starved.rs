//! A host that has nothing left: a full disk, a log that nobody reads, no descriptors, no threads. The tunnel stays.
//!
//! ```text
//!   sh -c 'mount tmpfs of 64 KiB on the state; fill it; exec s2s-gw run'      a mount namespace of its own (ip netns exec)
//!   s2s-gw run 2>pipe                                                         not read, closed
//! ```

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use testkit::measured::measured;
use testkit::peer::{Daemon, pause, wait_for};

use crate::List;
use crate::case::{Case, Pair};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    list.tunnel("starved/state", gcm(Pair::OursToOurs), state);
    list.tunnel("starved/log-not-read", gcm(Pair::OursToOurs), log_not_read);
    list.tunnel("starved/log-closed", gcm(Pair::OursToOurs), log_closed);
    list.tunnel("starved/descriptors", gcm(Pair::OursToOurs), descriptors);
    list.tunnel("starved/threads", gcm(Pair::OursToOurs), threads);
}

/// The left gateway through a shell, so that something can be done to it first: `$0` is the program.
fn through_shell(case: &Case, before: &str) -> Result<Command> {
    let ours = case.left.as_ours().context("the left one is ours")?;
    let program = crate::case::program().display().to_string();
    let mut command = Command::new("ip");
    command.args(["netns", "exec", case.sites.left.gateway.name(), "sh", "-c"]);
    command.arg(format!("{before}exec \"$0\" run --log debug -c \"$1\""));
    command.arg(program).arg(ours.config());
    Ok(command)
}

fn wait_up(case: &Case, mut ended: impl FnMut() -> Result<Option<String>>) -> Result<()> {
    wait_for("the tunnel", Duration::from_secs(10), || {
        if let Some(how) = ended()? {
            bail!("it ended: {how}");
        }
        Ok(case.left.facts("site").ok().filter(|facts| facts.up).map(drop))
    })
}

/// T37: while nothing can be kept there is one warning, and what is decided is kept once there is room.
fn state(case: &mut Case) -> Result<()> {
    case.right.start()?;
    let place = case.dir.path().join("kept");
    std::fs::create_dir(&place)?;
    let place = place.display().to_string();
    let ours = case.left.as_ours().context("the left one is ours")?;
    let was = case.dir.path().join("left.state.json").display().to_string();
    crate::reload::rewrite(ours, &|text| text.replace(&was, &format!("{place}/state.json")))?;
    let fill = format!(
        "mount -t tmpfs -o size=64k,mode=755 none {place} && dd if=/dev/zero of={place}/fill bs=4k 2>/dev/null; "
    );
    let mut daemon = Daemon::new(case.dir.path().join("left-full.out"));
    daemon.spawn(through_shell(case, &fill)?)?;
    wait_up(case, || Ok(daemon.ended()?.map(|status| format!("{status}\n{}", daemon.output()))))?;
    case.wait_ping(Duration::from_secs(5))?;
    let pid = daemon.pid().context("it runs")?.to_string();
    let inside = |line: &str| -> Result<()> {
        let done = Command::new("nsenter").args(["-t", &pid, "-m", "sh", "-c", line]).output()?;
        ensure!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    };
    let ours = case.left.as_ours().context("the left one is ours")?;
    let warnings = |daemon: &Daemon| daemon.output().matches(" event=state-").count();
    ours.tell(&["down", "site"])?;
    ours.tell(&["up", "site"])?;
    ours.tell(&["down", "site"])?;
    ensure!(warnings(&daemon) == 1, "{} warnings of a full disk", warnings(&daemon));
    ensure!(ours.tell(&["status"])?.contains("W0604"), "status does not say it");
    inside(&format!("mount -o remount,ro {place}"))?;
    ours.tell(&["up", "site"])?;
    ensure!(warnings(&daemon) == 1, "{} warnings", warnings(&daemon));
    inside(&format!("mount -o remount,rw {place} && rm {place}/fill"))?;
    ours.tell(&["down", "site"])?;
    ensure!(!ours.tell(&["status"])?.contains("W0604"), "it does not know that it is well");
    inside(&format!("grep -q down {place}/state.json"))?;
    measured("T37", "lines about a state that cannot be written", warnings(&daemon), "1");
    ensure!(warnings(&daemon) == 1, "{} warnings", warnings(&daemon));
    inside(&format!("rm -f {place}/*"))?;
    ours.tell(&["up", "site"])?;
    wait_up(case, || Ok(None))?;
    case.ping_all()
}

fn piped(case: &Case, log: &str, stderr: Stdio) -> Result<Running> {
    let ours = case.left.as_ours().context("the left one is ours")?;
    let config = ours.config().display().to_string();
    let mut command = ours.command(&["run", "--log", log, "-c", &config]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    Ok(Running(command.spawn()?))
}

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// T37: a pipe that is full holds up nothing; what was lost is said when there is room.
fn log_not_read(case: &mut Case) -> Result<()> {
    case.right.start()?;
    // Nearly full from the start: 64 KiB are a pipe, and more would take many events.
    let (reader, mut writer) = std::io::pipe()?;
    writer.write_all(&b"old line\n".repeat(7000))?;
    let mut running = piped(case, "debug", writer.into())?;
    wait_up(case, || Ok(running.0.try_wait()?.map(|status| status.to_string())))?;
    let ours = case.left.as_ours().context("the left one is ours")?;
    for _ in 0..30 {
        ours.tell(&["rekey", "site"])?;
    }
    case.wait_ping(Duration::from_secs(5))?;
    case.ping_all()?;
    let mut lines = BufReader::new(reader).lines();
    let teller = std::thread::spawn(move || {
        lines.find_map(|line| line.ok().filter(|line| line.contains("event=log-lost")))
    });
    let ours = case.left.as_ours().context("the left one is ours")?;
    wait_for("the line on what was lost", Duration::from_secs(10), || {
        ours.tell(&["rekey", "site"])?;
        Ok(teller.is_finished().then_some(()))
    })?;
    let line = teller.join().ok().flatten().context("no such line")?;
    ensure!(!line.contains("lines=0"), "{line}");
    measured("T37", "lines on what a full pipe lost", 1, "1");
    Ok(())
}

/// T37: a reader that went.
fn log_closed(case: &mut Case) -> Result<()> {
    case.right.start()?;
    let mut running = piped(case, "debug", Stdio::piped())?;
    wait_up(case, || Ok(running.0.try_wait()?.map(|status| status.to_string())))?;
    drop(running.0.stderr.take());
    let ours = case.left.as_ours().context("the left one is ours")?;
    ours.tell(&["restart", "site"])?;
    case.wait_up(Duration::from_secs(5))?;
    case.ping_all()?;
    let pid = Pid::from_raw(i32::try_from(running.0.id())?).context("pid 0")?;
    kill_process(pid, Signal::TERM)?;
    let status = wait_for("its end", Duration::from_secs(5), || Ok(running.0.try_wait()?))?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// T40: with 40 descriptors it runs; clients beyond them wait or are turned away, and the tunnel does not notice.
fn descriptors(case: &mut Case) -> Result<()> {
    case.right.start()?;
    let mut daemon = Daemon::new(case.dir.path().join("left-few.out"));
    daemon.spawn(through_shell(case, "ulimit -n 40; ")?)?;
    wait_up(case, || Ok(daemon.ended()?.map(|status| format!("{status}\n{}", daemon.output()))))?;
    let socket = case.dir.path().join("left.sock");
    let many: Vec<_> = (0..60).filter_map(|_| UnixStream::connect(&socket).ok()).collect();
    ensure!(many.len() > 40, "only {} clients", many.len());
    case.wait_ping(Duration::from_secs(5))?;
    case.ping_all()?;
    drop(many);
    let ours = case.left.as_ours().context("the left one is ours")?;
    wait_for("an answer to a new client", Duration::from_secs(5), || {
        Ok(ours.json().ok().map(drop))
    })?;
    ours.tell(&["restart", "site"])?;
    case.wait_up(Duration::from_secs(5))?;
    case.ping_all()?;
    ensure!(daemon.ended()?.is_none(), "{}", daemon.output());
    measured("T40", "tunnel with 40 descriptors and 60 clients", "up", "up");
    Ok(())
}

/// T40: where no thread can be started it says so and ends; it never runs without one of them.
fn threads(case: &mut Case) -> Result<()> {
    case.right.start()?;
    // Of the user that it becomes; root is not counted.
    let mut command = through_shell(case, "prlimit --pid $$ --nproc=1; ")?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = Running(command.spawn()?);
    let ended = wait_for("its end", Duration::from_secs(5), || Ok(running.0.try_wait()?))?;
    let mut said = String::new();
    running.0.stderr.take().context("piped")?.read_to_string(&mut said)?;
    ensure!(ended.code() == Some(1), "{ended}: {said}");
    ensure!(said.contains("cannot start the data plane"), "{said}");
    pause(Duration::from_millis(10));
    measured("T40", "exit code without threads", 1, "not 0, with a sentence");
    Ok(())
}
