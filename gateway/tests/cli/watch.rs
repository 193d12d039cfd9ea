//! `status --watch` on a real terminal.

use std::fs;
use std::process::Command;

use super::fake::FakeDaemon;
use super::{Place, program, stderr, stdout, text};

/// The whole screen, on a terminal of tmux: keys, another size, a daemon that goes and comes, and the terminal as it was.
#[test]
fn watching_on_a_terminal_is_a_screen_that_is_left_as_it_was() {
    if Command::new("tmux").arg("-V").output().is_err() {
        eprintln!("skipped: no `tmux`");
        return;
    }
    let mut daemon = FakeDaemon::start();
    let socket = daemon.place.path("fake.sock");
    let tmux = Tmux::start(&daemon.place);
    let watch = format!("{} status --watch --control {}", text(program()), text(&socket));
    tmux.types(&["NO_COLOR=1 ", &watch, "; stty -a | grep -o ' .*icanon'; echo left-$?", "Enter"]);
    let shown = tmux.shows("▶ paris");
    assert!(shown.contains("E1001 peer-init-unreachable") && shown.contains("q quit"), "{shown}");
    tmux.types(&["Enter"]);
    tmux.shows("paris   ○ down for 12s");
    tmux.types(&["?"]);
    tmux.shows("Ctrl-C    end");
    tmux.types(&["x"]);
    tmux.run(&["resize-window", "-t", "t", "-x", "40", "-y", "20"]);
    let narrow = tmux.shows("paris in 0, most 0");
    assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
    let away = daemon.place.path("away.sock");
    fs::rename(&socket, &away).expect("goes");
    tmux.shows("no answer for");
    fs::rename(&away, &socket).expect("comes back");
    tmux.shows_no("no answer for");
    tmux.types(&["C-c"]);
    let left = tmux.shows("left-0");
    assert!(left.contains(" icanon") && !left.contains("q quit"), "{left}");
    daemon.place = Place::new();
}

/// A terminal of its own, with a shell in it.
struct Tmux {
    socket: String,
}

impl Tmux {
    fn start(place: &Place) -> Self {
        let tmux = Self { socket: text(&place.path("tmux")).to_owned() };
        tmux.run(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-s",
            "t",
            "-x",
            "80",
            "-y",
            "24",
            "sh",
        ]);
        tmux
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-u", "-S", &self.socket])
            .args(arguments)
            .env("LC_ALL", "C.UTF-8")
            .output()
            .expect("tmux runs");
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    }

    fn types(&self, keys: &[&str]) {
        self.run(&[&["send-keys", "-t", "t"], keys].concat());
    }

    /// The screen, as soon as this is on it.
    fn shows(&self, part: &str) -> String {
        self.waits(|shown| shown.contains(part), part)
    }

    fn shows_no(&self, part: &str) -> String {
        self.waits(|shown| !shown.contains(part), part)
    }

    fn waits(&self, is_good: impl Fn(&str) -> bool, part: &str) -> String {
        let mut shown = String::new();
        for _ in 0..600 {
            shown = self.run(&["capture-pane", "-p", "-t", "t"]);
            if is_good(&shown) {
                return shown;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(100));
        }
        panic!("{part:?}: {shown}");
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-S", &self.socket, "kill-server"]).output();
    }
}
