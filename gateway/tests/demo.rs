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
use std::io::Read as _;
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
    let impossible = !output.status.success()
        && ["make network namespaces", "/dev/net/tun"].iter().any(|reason| said.contains(reason));
    if impossible {
        println!("skipped: {said}");
    }
    impossible
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
    for ctrl_c in [true, false] {
        let place = Place::new();
        let mut demo = place
            .demo(&[])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("runs");
        if !until_daemons_run(&mut demo, &place.tmp()) {
            println!("skipped: the demo does not run here");
            return;
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

/// Waits until both daemons have been started; `false` if the demo ended before.
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
            let mut said = String::new();
            let _ = demo.stderr.as_mut().map(|stderr| stderr.read_to_string(&mut said));
            println!("{said}");
            return false;
        }
        #[expect(clippy::disallowed_methods, reason = "there is no event to wait for")]
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The user and group that own nothing.
const NOBODY: u32 = 65534;
