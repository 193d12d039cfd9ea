//! Packets and keys of a running gateway: what tshark makes of both together, and captures that go wrong.
//!
//! ```text
//!   s2s-gw capture --side wire,tunnel,lan -w F ┐
//!   up, pings, rekeys, down                    ├─► tshark: nothing malformed, IDi of IKE_AUTH readable, ICMP inside of ESP
//!   s2s-gw keys site -o DIR                    ┘
//!
//!   /dev/full, a reader that is gone, one that is asleep, a terminal ─► a sentence or a count; the tunnel notices nothing
//! ```

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use testkit::gateway::Ours;
use testkit::netns::succeed;
use testkit::peer::{pause, wait_for};

use crate::List;
use crate::case::{Case, GAP, Pair, Tunnel, program};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    let pair = Pair::OursToSwan;
    let suite = |ike, esp| Tunnel::new(pair).suite(ike, esp);
    let suites = [
        ("gcm", gcm(pair)),
        ("cbc", suite("aes256-sha256-modp2048", "aes256-sha256")),
        ("cbc-sha512", suite("aes128-sha512-curve25519", "aes128-sha512")),
        ("chacha", suite("aes128gcm16-prfsha256-curve25519", "chacha20poly1305")),
    ];
    for (name, tunnel) in suites {
        let name = format!("capture/decrypts-{name}");
        if !Path::new(TSHARK).exists() {
            list.missing(&name, "tshark");
        } else if name.ends_with("chacha") {
            list.tunnel(&name, tunnel, left_out);
        } else {
            list.tunnel(&name, tunnel, decrypts);
        }
    }
    let pair = Pair::OursToOurs;
    if Path::new(TSHARK).exists() {
        list.tunnel("capture/sides", gcm(pair), sides);
    } else {
        list.missing("capture/sides", "tshark");
    }
    list.tunnel("capture/keys-forbidden", gcm(pair), forbidden);
    list.tunnel("capture/full-disk", gcm(pair), full_disk);
    list.tunnel("capture/slow-reader", gcm(pair), slow_reader);
    list.tunnel("capture/reader-leaves", gcm(pair), reader_leaves);
    list.tunnel("capture/terminal", gcm(pair), terminal);
}

fn ours(case: &Case) -> Result<&Ours> {
    case.left.as_ours().context("the left one is ours")
}

fn socket(case: &Case) -> PathBuf {
    case.dir.path().join("left.sock")
}

/// A running `s2s-gw capture`, ended with the test.
struct Capture(Child);

impl Capture {
    /// Begins one that writes to `stdout`, or to a file that `arguments` name; waits until the daemon runs it.
    fn begin(case: &Case, arguments: &[&str], stdout: Stdio) -> Result<Self> {
        let began = || -> Result<usize> {
            Ok(count(&ours(case)?.tell(&["events"])?, "event=capture-began"))
        };
        let before = began()?;
        let mut command = Command::new(program());
        command.arg("capture").args(arguments).arg("--control").arg(socket(case));
        let child = command.stdout(stdout).stderr(Stdio::piped()).spawn()?;
        let this = Self(child);
        wait_for("the capture to begin", Duration::from_secs(5), || {
            Ok((began()? > before).then_some(()))
        })?;
        Ok(this)
    }

    /// Asks it to end, as Ctrl-C does; its exit code and what it said.
    fn end(mut self) -> Result<(i32, String)> {
        kill_process(Pid::from_child(&self.0), Signal::INT)?;
        self.ended()
    }

    /// Waits until it ends by itself.
    fn ended(&mut self) -> Result<(i32, String)> {
        let status =
            wait_for("the capture to end", Duration::from_secs(10), || Ok(self.0.try_wait()?))?;
        let mut said = String::new();
        self.0.stderr.take().context("its stderr")?.read_to_string(&mut said)?;
        ensure!(!said.contains("panicked"), "{said}");
        Ok((status.code().context("a signal")?, said))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets the left gateway give its keys away; before it starts.
fn allow_keys(case: &Case) -> Result<()> {
    let path = ours(case)?.config();
    let text = fs::read_to_string(&path)?;
    ensure!(text.contains("[gateway]\n"), "{text}");
    Ok(fs::write(&path, text.replacen("[gateway]\n", "[gateway]\nallow_key_export = true\n", 1))?)
}

fn tshark(keys: &Path, file: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(TSHARK);
    command.env("WIRESHARK_CONFIG_DIR", keys).args(["-o", "esp.enable_encryption_decode:TRUE"]);
    command.arg("-n").arg("-r").arg(file).args(arguments);
    Ok(String::from_utf8_lossy(&succeed(&mut command)?.stdout).into_owned())
}

/// A capture of a whole life: negotiated, used, rekeyed twice, deleted; and the keys of all of it.
fn life(case: &mut Case) -> Result<(PathBuf, PathBuf)> {
    allow_keys(case)?;
    case.up()?;
    ours(case)?.tell(&["down", "site"])?;
    let (file, keys) = (case.dir.path().join("life.pcapng"), case.dir.path().join("keys"));
    let (name, place) = (file.display().to_string(), keys.display().to_string());
    let arguments = ["site", "--side", "wire,tunnel,lan", "-w", &name];
    let capture = Capture::begin(case, &arguments, Stdio::null())?;
    ours(case)?.tell(&["up", "site"])?;
    case.wait_up(Duration::from_secs(10))?;
    case.ping_all()?;
    ours(case)?.tell(&["keys", "site", "-o", &place])?;
    case.left.rekey_child("site")?;
    pause(Duration::from_secs(1));
    ours(case)?.tell(&["rekey", "site", "--ike", "--wait", "5s"])?;
    case.ping_all()?;
    ours(case)?.tell(&["keys", "site", "-o", &place])?;
    ours(case)?.tell(&["down", "site"])?;
    pause(Duration::from_millis(500));
    let (code, said) = capture.end()?;
    ensure!(code == 0 && said.contains(" packets") && !said.contains("unseen"), "{code}: {said}");
    Ok((file, keys))
}

/// What is in order whatever the suite is.
fn is_sound(keys: &Path, file: &Path) -> Result<()> {
    for filter in ["_ws.malformed", "_ws.expert.severity >= 8388608"] {
        let found = tshark(keys, file, &["-Y", filter, "-V"])?;
        ensure!(found.is_empty(), "{filter}:\n{found}");
    }
    Ok(())
}

fn decrypts(case: &mut Case) -> Result<()> {
    let (file, keys) = life(case)?;
    is_sound(&keys, &file)?;
    // Both identities, from inside of IKE_AUTH.
    let auth = tshark(&keys, &file, &["-Y", "isakmp.exchangetype == 35", "-V"])?;
    for identity in ["left.example.org", "right.example.org"] {
        ensure!(auth.contains(identity), "{identity} is not readable in\n{auth}");
    }
    // The replaced IKE SA and the new one: every protected message is readable.
    let all = tshark(&keys, &file, &["-Y", "isakmp.exchangetype >= 35"])?;
    let unread = "isakmp.exchangetype >= 35 && !isakmp.enc.decrypted";
    let unread = tshark(&keys, &file, &["-Y", unread])?;
    ensure!(all.lines().count() >= 8 && unread.is_empty(), "{all}\nunread:\n{unread}");
    // Ten pings before the rekeys and ten after them, each with a request and a reply.
    let inside = tshark(&keys, &file, &["-Y", "esp && icmp"])?;
    let (requests, replies) = (count(&inside, "request"), count(&inside, "reply"));
    ensure!(requests >= 20 && replies >= 20, "{requests} requests, {replies} replies\n{inside}");
    let sealed = tshark(&keys, &file, &["-Y", "esp && !icmp"])?;
    ensure!(sealed.is_empty(), "not readable:\n{sealed}");
    let spis = tshark(&keys, &file, &["-Y", "esp && icmp", "-T", "fields", "-e", "esp.spi"])?;
    let spis: std::collections::BTreeSet<&str> = spis.lines().collect();
    ensure!(spis.len() >= 4, "of SAs before and after the rekey: {spis:?}");
    names(&keys, &file)
}

/// Interfaces, and whose the packets are.
fn names(keys: &Path, file: &Path) -> Result<()> {
    let fields = ["-T", "fields", "-e", "frame.interface_name", "-e", "frame.comment"];
    let all = tshark(keys, file, &fields)?;
    for line in ["s2s0\tsite/", "s2s0-tunnel\tsite/", "s2s0-wire\tsite/", "s2s0-wire\tsite"] {
        ensure!(all.lines().any(|one| one.starts_with(line)), "no {line} in\n{all}");
    }
    ensure!(!all.contains("dropped"), "{all}");
    Ok(())
}

fn count(text: &str, word: &str) -> usize {
    text.lines().filter(|line| line.contains(word)).count()
}

/// A suite that the packaged tshark knows nothing of: IKE is readable, ESP is left out, and that is said.
fn left_out(case: &mut Case) -> Result<()> {
    let (file, keys) = life(case)?;
    is_sound(&keys, &file)?;
    let auth = tshark(&keys, &file, &["-Y", "isakmp.exchangetype == 35", "-V"])?;
    ensure!(auth.contains("right.example.org"), "{auth}");
    ensure!(fs::read_to_string(keys.join("esp_sa"))?.is_empty(), "a line for what cannot be read");
    Ok(())
}

/// Each side has what it should, the filters hold, and `--count` ends it.
fn sides(case: &mut Case) -> Result<()> {
    case.up()?;
    let file = case.dir.path().join("some.pcapng");
    let name = file.display().to_string();
    let arguments = ["--side", "lan,tunnel", "--proto", "icmp", "--count", "20", "-w", &name];
    let mut capture = Capture::begin(case, &arguments, Stdio::null())?;
    case.ping_all()?;
    let (code, said) = capture.ended()?;
    ensure!(code == 0 && said.starts_with("20 packets"), "{code}: {said}");
    let all = tshark(case.dir.path(), &file, &[])?;
    ensure!(count(&all, "ICMP") == 20 && all.lines().count() == 20, "{all}");
    ensure!(fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600, "open to others");

    // To where no connection leads: it is seen, with the reason why it goes no further.
    case.sites.left.gateway.ip("route add 10.77.0.0/16 dev s2s0\n")?;
    let arguments = ["--dst", "10.77.0.0/16", "--count", "1", "-w", &name];
    let mut capture = Capture::begin(case, &arguments, Stdio::null())?;
    case.sites.left.host.ping([10, 77, 0, 1].into(), 1, GAP)?;
    capture.ended()?;
    let comment = tshark(case.dir.path(), &file, &["-T", "fields", "-e", "frame.comment"])?;
    ensure!(comment.contains("dropped: no connection is for it"), "{comment}");
    Ok(())
}

/// The keys stay where they are, and it is said how that may be changed.
fn forbidden(case: &mut Case) -> Result<()> {
    case.up()?;
    let place = case.dir.path().join("keys");
    let mut command = Command::new(program());
    command.args(["keys", "site", "-o"]).arg(&place).arg("--control").arg(socket(case));
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && said.contains("allow_key_export = true"), "{said}");
    ensure!(!place.exists(), "a directory for keys that nobody gave");
    Ok(())
}

fn full_disk(case: &mut Case) -> Result<()> {
    case.up()?;
    let mut capture = Capture::begin(case, &["-w", "/dev/full"], Stdio::null())?;
    let (code, said) = capture.ended()?;
    ensure!(code == 1 && said.contains("/dev/full") && said.contains("No space"), "{said}");
    is_forgotten(case)?;
    case.ping_all()
}

/// The daemon has noticed that nobody looks on any more.
fn is_forgotten(case: &Case) -> Result<()> {
    wait_for("the end of the capture", Duration::from_secs(5), || {
        let said = ours(case)?.tell(&["events"])?;
        Ok(said.contains("event=capture-ended").then_some(()))
    })
}

/// 20 MB each way while nobody reads: the flows have every octet in time, and what was not seen is counted.
fn slow_reader(case: &mut Case) -> Result<()> {
    case.up()?;
    let mut capture = Capture::begin(case, &["--side", "lan,tunnel,wire"], Stdio::piped())?;
    let mut stdout = capture.0.stdout.take().context("its stdout")?;
    case.exchange()?;
    let reader = std::thread::spawn(move || {
        let mut octets = Vec::new();
        stdout.read_to_end(&mut octets).map(|_| octets)
    });
    pause(Duration::from_secs(1));
    let (code, said) = capture.end()?;
    ensure!(code == 0 && said.contains("more went by unseen"), "{code}: {said}");
    let octets = reader.join().ok().context("it read")??;
    let file = case.dir.path().join("slow.pcapng");
    fs::write(&file, octets)?;
    if Path::new(TSHARK).exists() {
        let all = tshark(case.dir.path(), &file, &["-T", "fields", "-e", "frame.number"])?;
        let packets = all.lines().count();
        ensure!(said.starts_with(&format!("{packets} packets")), "{packets} in it, and {said}");
    }
    is_forgotten(case)
}

fn reader_leaves(case: &mut Case) -> Result<()> {
    case.up()?;
    let mut capture = Capture::begin(case, &[], Stdio::piped())?;
    drop(capture.0.stdout.take());
    case.ping_all()?;
    let (code, said) = capture.ended()?;
    ensure!(code == 0, "{code}: {said}");
    is_forgotten(case)?;
    case.ping_all()
}

/// Nothing binary goes to a terminal.
fn terminal(case: &mut Case) -> Result<()> {
    case.up()?;
    let capture = format!("{} capture --control {}", program().display(), socket(case).display());
    let mut command = Command::new("script");
    let output = command.args(["-qefc", &capture, "/dev/null"]).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.code() == Some(2) && said.contains("-w FILE"), "{output:?}");
    Ok(())
}

const TSHARK: &str = "/usr/bin/tshark";
