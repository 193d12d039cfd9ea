//! `s2s-gw demo` as a user runs it: with root and without, to the end and interrupted.
//!
//! ```text
//!   TMPDIR (ours) ── s2s-gw-demo-PID (the demo's, gone at the end)
//! ```
//!
//! Where the kernel gives no network namespaces, each test says so and is skipped.

#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]
#![expect(clippy::indexing_slicing, reason = "a missing field of the JSON fails the test")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process, kill_process_group};
use serde_json::Value;

/// A directory for the demo's own, and a copy of the program that everybody may run.
struct Place {
    directory: tempfile::TempDir,
    program: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), everybody.clone()).expect("permissions");
        let program = directory.path().join("s2s-gw");
        // By another process: a test that forks on another thread would hold a file that we write open a moment longer,
        // and the program could not run ("Text file busy").
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_s2s-gw")).arg(&program).status();
        assert!(copied.is_ok_and(|status| status.success()), "a copy of the program");
        fs::set_permissions(&program, everybody).expect("permissions");
        fs::create_dir(directory.path().join("tmp")).expect("a directory");
        Self { directory, program }
    }

    fn tmp(&self) -> PathBuf {
        self.directory.path().join("tmp")
    }

    fn demo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("demo").args(arguments).env("TMPDIR", self.tmp()).stdin(Stdio::null());
        command
    }

    /// Nothing is left: no file, and no process that works with one of the demo's.
    fn assert_clean(&self) {
        let left: Vec<_> = fs::read_dir(self.tmp()).expect("a directory").collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        let tmp = self.tmp().display().to_string();
        let processes = fs::read_dir("/proc").expect("/proc");
        for process in processes.flatten() {
            let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).into_owned();
            assert!(!command.contains(&tmp), "still running: {command}");
        }
    }
}

/// Whether the machine gives us what the demo needs; says so if not.
fn impossible(output: &Output) -> bool {
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    !output.status.success() && is_no_fault(&said)
}

/// Whether a demo that ended has said that the machine lacks something; says so.
fn is_no_fault(said: &str) -> bool {
    let reasons = ["make network namespaces", "/dev/net/tun", "strongSwan is not installed"];
    let lacks = reasons.iter().any(|reason| said.contains(reason));
    if lacks {
        println!("skipped: {said}");
    }
    lacks
}

fn assert_proven(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(&said).expect("one JSON object");
    assert_eq!(report["schema"], "s2s-gw/demo/1");
    assert_eq!(report["ok"], true);
    assert_eq!(report["pings"]["received"], 10);
    assert_eq!(report["clear_packets"], 0);
    assert_eq!(report["spi"], report["spi_on_wire"]);
    assert!(report["first_ping_seconds"].as_f64().expect("a number") < 5.0, "{report}");
    assert!(report["throughput"]["bits_per_second"].as_f64().expect("a number") > 1e6);
    report
}

#[test]
fn packets_cross_encrypted_and_come_back() {
    let place = Place::new();
    let output = place.demo(&["--json"]).output().expect("runs");
    if !impossible(&output) {
        assert_proven(&output);
    }
    place.assert_clean();
}

#[test]
fn root_is_not_needed() {
    let place = Place::new();
    let mut command = place.demo(&["--json"]);
    if geteuid().is_root() {
        chown(place.tmp(), Some(NOBODY), Some(NOBODY)).expect("chown");
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().expect("runs");
    if !impossible(&output) {
        assert_eq!(assert_proven(&output)["unprivileged"], true);
    }
    place.assert_clean();
}

#[test]
fn the_story_is_plain_text_of_80_columns_where_there_is_no_terminal() {
    let place = Place::new();
    let output = place.demo(&[]).output().expect("runs");
    if impossible(&output) {
        return;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let story = String::from_utf8(output.stdout).expect("UTF-8");
    for line in story.lines() {
        assert!(line.chars().count() < 80, "too long: {line}");
        assert!(!line.contains(['\x1b', '\r']), "control characters: {line:?}");
    }
    for word in ["network", "before", "gateways", "tunnel", "ping", "wire", "speed"] {
        assert!(story.contains(&format!("✓ {word} ")), "no {word} in {story}");
    }
    assert!(story.contains("10 of 10 came back, 0 % lost"), "{story}");
    assert!(story.contains("Dear"), "the clear packet is shown");
    place.assert_clean();
}

#[test]
fn an_interrupt_ends_everything() {
    let stories: [(&[&str], bool); 5] = [
        (&[], true),
        (&[], false),
        (&["--break", "blackhole"], true),
        (&["--failover"], true),
        (&["--against", "strongswan"], false),
    ];
    for (story, ctrl_c) in stories {
        let place = Place::new();
        let mut demo = place
            .demo(story)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("runs");
        if !until_daemons_run(&mut demo, &place.tmp()) {
            continue;
        }
        let pid = Pid::from_child(&demo);
        // Ctrl-C reaches the whole group, `kill` only the process that the user sees.
        let sent = if ctrl_c {
            kill_process_group(pid, Signal::INT)
        } else {
            kill_process(pid, Signal::TERM)
        };
        sent.expect("a signal");
        let code = demo.wait().expect("ends").code();
        assert_eq!(code, Some(if ctrl_c { 130 } else { 143 }));
        place.assert_clean();
    }
}

#[test]
fn the_hidden_words_are_not_for_users() {
    for word in ["demo-inside", "demo-enter"] {
        let output = Command::new(env!("CARGO_BIN_EXE_s2s-gw")).arg(word).output().expect("runs");
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("try: s2s-gw demo"));
    }
    let output = Place::new().demo(&["--nonsense"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
}

/// One fault: the story names it by code and in words, and packets pass at the end.
fn is_named_and_mended(fault: &str, words: &[&str]) {
    let place = Place::new();
    let output = place.demo(&["--break", fault]).output().expect("runs");
    if impossible(&output) {
        return;
    }
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    let (before, after) = said.split_once("✓ fix ").expect("a fix");
    let (_, doctor) = before.split_once("gw-a$ s2s-gw doctor").expect("a doctor");
    for word in words {
        assert!(doctor.contains(word), "no {word:?} in {doctor}");
    }
    assert!(after.contains("gw-a$ s2s-gw reload"), "{after}");
    assert!(after.contains("✓ ping      host-a to host-b: 5 of 5 came back"), "{after}");
    assert!(after.contains("✓ doctor    nothing is wrong"), "{after}");
    place.assert_clean();
}

#[test]
fn another_key_is_named_and_mended() {
    let words = ["✗ ike sa       E1007 peer-auth-failed", "compare the pre-shared keys"];
    is_named_and_mended("psk", &words);
}

#[test]
fn other_proposals_are_named_and_mended() {
    let words = ["✗ ike sa       E1003 proposal-mismatch-ike", "aes128-sha256-modp2048"];
    is_named_and_mended("proposal", &words);
}

#[test]
fn another_network_is_named_and_mended() {
    let words = ["✗ child        E1005 lan-1", "10.20.0.0/16 (TS_UNACCEPTABLE)", "remote_subnets"];
    is_named_and_mended("subnet", &words);
}

#[test]
fn another_group_is_named_and_mended() {
    let words = ["! child        E1011 lan-1", "PFS by modp3072", "a look, first E1011"];
    is_named_and_mended("pfs", &words);
}

#[test]
fn a_narrow_link_is_named_and_mended() {
    let words = ["✗ mtu          E1022 packets of ", "and nobody says so", "set `mtu = "];
    is_named_and_mended("mtu", &words);
}

#[test]
fn swallowed_packets_are_named_and_mended() {
    let words = ["✗ esp          E1016 lan-1", "nothing comes back", "IP protocol 50"];
    is_named_and_mended("blackhole", &words);
}

#[test]
fn a_program_is_told_the_fault_too() {
    let place = Place::new();
    let output = place.demo(&["--break", "subnet", "--json"]).output().expect("runs");
    if impossible(&output) {
        return;
    }
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!((&report["fault"], &report["code"]), (&"subnet".into(), &"E1005".into()));
    assert_eq!(report["doctor"]["healthy"], false);
    assert_eq!((&report["before"][0], &report["after"][0]), (&0.into(), &5.into()));
    place.assert_clean();
}

#[test]
fn a_fault_that_nobody_knows_is_answered_with_those_that_are() {
    let output = Place::new().demo(&["--break", "everything"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    for word in ["psk", "proposal", "subnet", "pfs", "mtu", "blackhole"] {
        assert!(said.contains(word), "no {word} in {said}");
    }
}

#[test]
fn a_second_gateway_takes_over() {
    let place = Place::new();
    let output = place.demo(&["--failover", "--json"]).output().expect("runs");
    if impossible(&output) {
        return;
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&said).expect("one JSON object");
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!(report["peers"][0], "192.0.2.210:4500");
    assert_eq!(report["peers"][1], "203.0.113.210:4500");
    assert!(report["gap_seconds"].as_f64().expect("a number") > 0.5, "{report}");
    assert!(report["after"][0].as_u64().expect("a number") > 0, "{report}");
    place.assert_clean();
}

#[test]
fn strongswan_can_be_on_the_other_side() {
    let place = Place::new();
    let output = place.demo(&["--against", "strongswan"]).output().expect("runs");
    let failed = String::from_utf8_lossy(&output.stderr);
    if failed.contains("strongSwan is not installed") {
        assert!(failed.contains("sudo apt install ") && failed.lines().count() == 1, "{failed}");
        assert_eq!(output.status.code(), Some(1));
    } else if !impossible(&output) {
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said} {failed}");
        for words in ["loaded connection 'gw-a'", "10 of 10 came back", "TUNNEL-in-UDP"] {
            assert!(said.contains(words), "no {words} in {said}");
        }
    }
    place.assert_clean();
}

#[test]
fn what_is_kept_can_be_read_and_is_not_overwritten() {
    let place = Place::new();
    let kept = place.directory.path().join("kept");
    let into = kept.display().to_string();
    let output = place.demo(&["--break", "subnet", "--keep", &into]).output().expect("runs");
    if impossible(&output) {
        assert!(!kept.exists(), "an empty directory");
        return;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| fs::read(kept.join(name)).expect("a file that is kept");
    let readme = String::from_utf8(read("README.txt")).expect("UTF-8");
    for name in ["gw-a.toml", "gw-b.toml", "gw-a.log", "gw-b.log", "demo.psk"] {
        assert!(!read(name).is_empty() && readme.contains(name), "{name} in {readme}");
    }
    for name in ["internet.pcap", "host-a.pcap"] {
        let capture = read(name);
        assert!(capture.len() > 1000 && capture.starts_with(&[0xd4, 0xc3, 0xb2, 0xa1]), "{name}");
    }
    let key = fs::metadata(kept.join("demo.psk")).expect("a key").permissions();
    assert_eq!(key.mode() & 0o777, 0o600);
    let output = place.demo(&["--keep", &into]).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("is not empty") && said.contains("new directory"), "{said}");
    assert_eq!(readme.as_bytes(), read("README.txt"));
    place.assert_clean();
}

#[test]
fn a_browser_of_the_host_sees_the_page() {
    let place = Place::new();
    let mut demo = place
        .demo(&["--web", "--failover"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("runs");
    let mut said = BufReader::new(demo.stdout.take().expect("a pipe")).lines();
    let stays = said.find_map(|line| {
        let line = line.expect("UTF-8");
        let address = line.split_once("http://")?.1.split_once("/ until Ctrl-C")?.0;
        Some(address.to_owned())
    });
    let Some(address) = stays else {
        let said = words_of(&mut demo);
        assert!(is_no_fault(&said), "it ended: {said}");
        return;
    };
    for path in ["/", "/metrics"] {
        let page = get(&address, path);
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        assert!(page.contains("site-b"), "{page}");
    }
    kill_process_group(Pid::from_child(&demo), Signal::INT).expect("a signal");
    assert_eq!(demo.wait().expect("ends").code(), Some(130));
    place.assert_clean();
}

#[test]
fn the_page_goes_by_itself_when_its_time_is_over() {
    let place = Place::new();
    let output = place.demo(&["--web", "--seconds", "1"]).output().expect("runs");
    if impossible(&output) {
        return;
    }
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("/ until 1 s are over"), "{said}");
    place.assert_clean();
}

/// What the server at `address` says to a GET.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a port that is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("asks");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

fn words_of(demo: &mut Child) -> String {
    let mut said = String::new();
    let _ = demo.stderr.as_mut().map(|stderr| stderr.read_to_string(&mut said));
    said
}

/// Waits until both daemons have been started; `false` if the machine lacks what it takes.
fn until_daemons_run(demo: &mut Child, tmp: &Path) -> bool {
    let log = |name: &str| {
        let directories = fs::read_dir(tmp).expect("a directory").flatten();
        directories.map(|directory| directory.path().join(name)).any(|file| file.exists())
    };
    loop {
        if log("gw-a.log") && log("gw-b.log") {
            return true;
        }
        if demo.try_wait().expect("waits").is_some() {
            let said = words_of(demo);
            assert!(is_no_fault(&said), "it ended: {said}");
            return false;
        }
        #[expect(clippy::disallowed_methods, reason = "there is no event to wait for")]
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// For an answer, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// The user and group that own nothing.
const NOBODY: u32 = 65534;
