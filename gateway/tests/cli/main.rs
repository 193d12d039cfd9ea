//! The real program: exit codes, words on stderr, and that nothing is left behind.
//!
//! ```text
//!   main.rs      what needs neither daemon nor configuration
//!   started.rs   what is checked and started
//!   asked.rs     what a daemon is asked, by `fake.rs`
//!   shown.rs     terminals, pipes and full disks
//!   watch.rs     the whole screen of `status --watch`
//!   bundle.rs    what goes to those who help
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

mod asked;
mod bundle;
mod fake;
mod shown;
mod started;
#[cfg(feature = "watch")]
mod watch;

pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        // `nobody` has to get in.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        Self { directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A configuration that is right, with its key file and its control socket in this place.
    pub(crate) fn config(&self) -> PathBuf {
        let psk = self.path("berlin.psk");
        fs::write(&psk, "a key of more than sixteen octets").expect("writes");
        fs::set_permissions(&psk, fs::Permissions::from_mode(0o600)).expect("chmod");
        let config = self.path("s2s-gw.toml");
        let (psk, socket) = (psk.display(), self.path("control.sock"));
        let text = format!(
            "[gateway]\nname = \"fra1\"\ntun = \"s2scli0\"\ncontrol = \"{}\"\nstate = \"off\"\nlisten = [\"127.0.0.1\"]\n\
             ike_port = 20500\nnat_port = 24500\n\n\
             [connection.berlin]\npeer = \"127.0.0.2\"\npsk = {{ file = \"{psk}\" }}\n\
             local_subnets = [\"10.1.0.0/16\"]\nremote_subnets = [\"10.2.0.0/16\"]\n",
            socket.display()
        );
        fs::write(&config, text).expect("writes");
        config
    }
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(program())
        .args(arguments)
        .env_remove("S2S_GW_CONTROL")
        .env_remove("S2S_GW_LOG")
        .output()
        .expect("the program runs")
}

pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_s2s-gw"))
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn without_a_daemon_every_client_command_ends_with_3_and_one_sentence() {
    let place = Place::new();
    let socket = place.path("nobody.sock");
    for command in [
        &["status"][..],
        &["status", "berlin"],
        &["status", "--json"],
        &["up", "berlin"],
        &["down", "berlin"],
        &["restart", "berlin"],
        &["rekey", "berlin"],
        &["rekey", "berlin", "--ike"],
        &["rekey", "berlin", "--wait", "1s"],
        &["status", "-q", "--all"],
        &["status", "--plain"],
        &["status", "--watch"],
        &["show", "sas"],
        &["show", "config", "--json"],
        &["reset", "counters"],
        &["events"],
        &["events", "-f", "--json"],
        &["logs", "berlin"],
        &["logs", "level", "ike=debug"],
    ] {
        let output = run(&[command, &["--control", text(&socket)]].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{command:?}: {said}");
        assert!(said.starts_with("error: s2s-gw is not running"), "{command:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{command:?}: {said}");
        assert_eq!(stdout(&output), "", "{command:?}");
    }
}

#[test]
fn the_socket_of_a_dead_daemon_is_no_daemon() {
    let place = Place::new();
    let socket = place.path("dead.sock");
    drop(UnixListener::bind(&socket).expect("binds"));
    let output = run(&["status", "--control", text(&socket)]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}

#[test]
fn a_code_is_explained() {
    let output = run(&["error", "e1003"]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(said.starts_with("E1003: no IKE proposal suits both sides\n\n"), "{said}");
    let all = stdout(&run(&["error"]));
    for code in ["E0100", "W0313", "E1001", "W0501"] {
        assert!(all.lines().any(|line| line.starts_with(code)), "{code}: {all}");
    }
    let output = run(&["error", "E9999"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).starts_with("error: no code `E9999`"), "{}", stderr(&output));
}

#[test]
fn the_version_is_told_by_flag_and_command() {
    assert_eq!(stdout(&run(&["--version"])), stdout(&run(&["version"])));
}

#[test]
fn usage_errors_end_with_2() {
    for arguments in [&["frobnicate"][..], &["up"], &["rekey"], &["genpsk", "--bytes", "1"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn keys_and_versions_go_to_stdout() {
    let output = run(&["genpsk"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stdout(&output).trim_end().len(), 44);
    let output = run(&["version"]);
    assert_eq!(stdout(&output), format!("s2s-gw {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn no_arguments_and_no_daemon_show_help_with_examples() {
    let place = Place::new();
    let output = Command::new(program())
        .env("S2S_GW_CONTROL", place.path("nobody.sock"))
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    assert_eq!(said.matches("\n  s2s-gw ").count(), 3, "{said}");
    assert!(said.contains("status"), "{said}");
}

#[test]
fn algorithms_need_no_daemon() {
    let output = run(&["show", "algorithms"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    for part in ["aes256gcm16", "AES_GCM_16_256", "ecp384", "key exchange group", "prfsha384"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // One line for each algorithm: its words, where it may stand and how it is rated there, and what has to be allowed.
    let line = |word: &str| {
        let found: Vec<_> = said.lines().filter(|line| line.contains(word)).collect();
        let [line] = found.as_slice() else { panic!("{word}: {found:?}") };
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let gcm = "cipher aes256gcm16, aes256gcm128, aes256gcm AES_GCM_16_256 SHOULD MUST";
    assert_eq!(line("aes256gcm128"), gcm);
    assert_eq!(line("3des"), "cipher 3des TRIPLE_DES MAY SHOULD NOT allow_legacy");
    assert_eq!(
        line("aes256gmac"),
        "cipher aes256gmac NULL_AUTH_AES_GMAC_256 - MAY allow_unencrypted"
    );
    assert_eq!(line("prfsha1"), "PRF prfsha1, prfsha PRF_HMAC_SHA1 MUST- - allow_legacy");
    assert!(!said.contains("md5"), "nobody can have it");
    let json: Value =
        serde_json::from_str(&stdout(&run(&["show", "algorithms", "--json"]))).expect("JSON");
    let all = json["algorithms"].as_array().expect("a list");
    let gcm = all.iter().find(|row| row["keyword"] == "aes256gcm16").expect("a row");
    assert_eq!(gcm["aliases"], serde_json::json!(["aes256gcm128", "aes256gcm"]));
    assert_eq!(gcm["levels"], serde_json::json!({ "ike": "SHOULD", "esp": "MUST" }));
    assert_eq!(all.iter().filter(|row| row["needs"] == "allow_legacy").count(), 5, "{json}");
    assert!(
        all.iter().any(|row| row["keyword"] == "esn" && row["proposals"][0] == "esp"),
        "{json}"
    );
}
