//! The real program: exit codes, words on stderr, and that nothing is left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        // `nobody` has to get in.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A configuration that is right, with its key file and its control socket in this place.
    fn config(&self) -> PathBuf {
        let psk = self.path("berlin.psk");
        fs::write(&psk, "a key of more than sixteen octets").expect("writes");
        fs::set_permissions(&psk, fs::Permissions::from_mode(0o600)).expect("chmod");
        let config = self.path("s2s-gw.toml");
        let (psk, socket) = (psk.display(), self.path("control.sock"));
        let text = format!(
            "[gateway]\nname = \"fra1\"\ntun = \"s2scli0\"\ncontrol = \"{}\"\nlisten = [\"127.0.0.1\"]\n\
             ike_port = 20500\nnat_port = 24500\n\n\
             [connection.berlin]\npeer = \"127.0.0.2\"\npsk = {{ file = \"{psk}\" }}\n\
             local_subnets = [\"10.1.0.0/16\"]\nremote_subnets = [\"10.2.0.0/16\"]\n",
            socket.display()
        );
        fs::write(&config, text).expect("writes");
        config
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(program())
        .args(arguments)
        .env_remove("S2S_GW_CONTROL")
        .env_remove("S2S_GW_LOG")
        .output()
        .expect("the program runs")
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_s2s-gw"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
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
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("binds"));
    let output = run(&["status", "--control", text(&socket)]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}

#[test]
fn a_bad_configuration_ends_with_2_and_says_where() {
    let place = Place::new();
    let config = place.config();
    let broken =
        fs::read_to_string(&config).expect("reads").replace("remote_subnets", "remote_subnet");
    fs::write(&config, broken).expect("writes");
    for command in [&["check", text(&config)][..], &["run", "-c", text(&config)]] {
        let output = run(command);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
        assert!(said.contains("remote_subnets") && said.contains("s2s-gw.toml"), "{said}");
    }
    let output = run(&["check", "--json", text(&config)]);
    assert_eq!(output.status.code(), Some(2));
    let report: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(report["ok"], false);
    assert!(!place.path("control.sock").exists());
}

#[test]
fn a_missing_configuration_ends_with_2() {
    let place = Place::new();
    let output = run(&["run", "-c", text(&place.path("absent.toml"))]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("absent.toml"), "{}", stderr(&output));
}

#[test]
fn a_good_configuration_is_summed_up() {
    let place = Place::new();
    let config = place.config();
    let output = run(&["check", text(&config)]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.contains("ok, gateway fra1, 1 connection"), "{said}");
    assert!(said.contains("10.1.0.0/16 ⇄ 10.2.0.0/16"), "{said}");
    let output = run(&["check", "--json", text(&config)]);
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(report["ok"], true);
}

#[test]
fn without_permission_it_ends_with_1_and_leaves_nothing() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: becoming nobody needs root");
        return;
    }
    let place = Place::new();
    let config = place.config();
    let everybody = fs::Permissions::from_mode(0o777);
    fs::set_permissions(place.directory.path(), everybody).expect("chmod");
    // The key file is root's; nobody needs one of its own.
    let chown = Command::new("chown").args(["nobody", text(&place.path("berlin.psk"))]).status();
    assert!(chown.expect("chown runs").success());
    // The build directory may be closed to nobody, so it runs a copy.
    let copy = place.path("s2s-gw");
    fs::copy(program(), &copy).expect("copies");
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"])
        .args([text(&copy), "run", "-c", text(&config)])
        .output()
        .expect("setpriv runs");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    assert!(errors[0].contains("run as root") || errors[0].contains("CAP_NET_ADMIN"), "{said}");
    assert!(!place.path("control.sock").exists(), "the control socket is left behind");
    assert!(!Path::new("/sys/class/net/s2scli0").exists(), "the device is left behind");
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
