//! Where the output goes: a terminal with colours and columns, a pipe that nobody reads, a disk that is full.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::fake::FakeDaemon;
use crate::{Place, program, stderr, text};

/// Without a terminal: a block at each interval, until the reader has seen enough.
#[test]
fn watching_without_a_terminal_gives_block_after_block() {
    let daemon = FakeDaemon::start();
    let mut child = Command::new(program())
        .args(["status", "--watch", "--control", text(&daemon.place.path("fake.sock"))])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut heads = 0;
    while heads < 2 {
        let line = lines.next().expect("it goes on").expect("UTF-8");
        assert!(!line.contains('\u{1b}'), "{line}");
        heads += usize::from(line.starts_with("fra1 "));
    }
    drop(lines);
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "nobody reads any more");
}

/// `| head -c 1`, and a disk that is full.
#[test]
fn readers_that_go_and_disks_that_are_full() {
    let daemon = FakeDaemon::start();
    let place = Place::new();
    let config = place.config();
    let socket = daemon.place.path("fake.sock");
    let (socket, config) = (text(&socket), text(&config));
    for command in [
        &["status", "--control", socket][..],
        &["status", "paris", "--control", socket],
        &["status", "--json", "--control", socket],
        &["status", "--plain", "--control", socket],
        &["show", "sas", "--control", socket],
        &["show", "algorithms"],
        &["reset", "counters", "--control", socket],
        &["up", "paris", "--control", socket],
        &["error"],
        &["error", "E1003"],
        &["genpsk"],
        &["version"],
        &["check", config],
    ] {
        let ended = |stdout: Stdio| {
            let child = Command::new(program())
                .args(command)
                .stdout(stdout)
                .stderr(Stdio::piped())
                .spawn()
                .expect("the program runs");
            child.wait_with_output().expect("it ends")
        };
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = ended(writer.into());
        assert_eq!(output.status.code(), Some(0), "{command:?}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{command:?}");
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let output = ended(full.into());
        assert_eq!(output.status.code(), Some(1), "{command:?}: {}", stderr(&output));
        let said = stderr(&output);
        assert!(said.starts_with("error: cannot write to stdout: "), "{command:?}: {said}");
    }
    for help in [&["help"][..], &["--help"], &["status", "--help"], &["--version"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let output = Command::new(program()).args(help).stdout(full).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{help:?}");
        assert!(stderr(&output).starts_with("error: cannot write to stdout: "), "{help:?}");
    }
}

/// What a terminal gets, by the terminal of `script`: colours or none, as many columns as it has.
#[test]
fn terminals_get_what_they_can_show() {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("skipped: no `script`");
        return;
    }
    let daemon = FakeDaemon::start();
    let socket = daemon.place.path("fake.sock");
    let typed = |before: &str, command: &str| {
        let line = format!("{before}{} {command} --control {}", text(program()), text(&socket));
        let output = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env_remove("NO_COLOR")
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .output()
            .expect("script runs");
        String::from_utf8_lossy(&output.stdout).replace('\r', "")
    };
    let colourful = typed("", "status");
    assert!(colourful.contains("\u{1b}[31m○ down"), "{colourful}");
    for plain in [typed("NO_COLOR=1 ", "status"), typed("TERM=dumb ", "status")] {
        assert!(!plain.contains('\u{1b}') && plain.contains("○ down"), "{plain}");
    }
    let narrow = typed("stty cols 60; ", "status");
    assert!(
        narrow.lines().all(|line| line
            .replace("\u{1b}[31m", "")
            .replace("\u{1b}[0m", "")
            .chars()
            .count()
            <= 60),
        "{narrow}"
    );
    // This terminal does not know its size, as a serial line: no whole screen.
    let watched = typed("timeout -s INT 1.5 ", "status --watch");
    assert!(
        watched.starts_with("\u{1b}[2J\u{1b}[H") && watched.contains("\u{1b}[K"),
        "{watched:?}"
    );
    let watched = typed("TERM=dumb timeout -s INT 1.5 ", "status --watch");
    assert!(!watched.contains('\u{1b}'), "{watched:?}");
}
