//! What is checked and started: configurations that are good, bad, missing or from stdin, rights and descriptors.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Place, program, run, stderr, stdout, text};

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
fn what_is_no_file_is_refused_at_once() {
    let place = Place::new();
    let fifo = place.path("fifo.toml");
    let made = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs");
    assert!(made.success());
    let directory = place.path("");
    for (path, why) in [
        (text(&fifo), "not a regular file"),
        ("/dev/zero", "not a regular file"),
        (text(&directory), "is a directory"),
    ] {
        let output = run(&["check", path]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{path}: {said}");
        assert!(said.contains("error[E0102]") && said.contains(why), "{said}");
    }
}

#[test]
fn a_missing_configuration_ends_with_2() {
    let place = Place::new();
    let absent = place.path("absent.toml");
    let absent = text(&absent);
    for command in [
        &["run", "-c", absent][..],
        &["check", absent],
        &["check", "-c", absent],
        &["check", "--config", absent],
        &["export", "s2s-gw", "berlin", "-c", absent],
    ] {
        let output = run(command);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
        assert!(said.contains("absent.toml") && said.contains("E0102"), "{command:?}: {said}");
        assert!(said.contains("`s2s-gw init`") && said.contains("with -c"), "{command:?}: {said}");
    }
}

#[test]
fn a_check_takes_its_file_as_other_commands_do_but_once() {
    let place = Place::new();
    let config = place.config();
    let config = text(&config);
    for option in ["-c", "--config"] {
        let output = run(&["check", option, config]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).starts_with(&format!("{config}: ok")), "{}", stdout(&output));
        assert_eq!(run(&["check", option, config, config]).status.code(), Some(2), "{option}");
    }
    assert!(!stdout(&run(&["check", "--help"])).contains("--config"));
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
fn a_log_for_programs_is_json() {
    let place = Place::new();
    let config = place.config();
    let text_of = fs::read_to_string(&config).expect("reads");
    // Nothing is opened at an address that this host does not have.
    let text_of = text_of.replace("\"127.0.0.1\"", "\"192.0.2.99\"");
    fs::write(&config, text_of + "\n[log]\nformat = \"json\"\n").expect("writes");
    let output = run(&["run", "-c", text(&config)]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let lines = said.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<Value> =
        lines.map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let starting = lines.iter().find(|line| line["event"] == "starting").expect("the first event");
    assert_eq!(starting["schema"], "s2s-gw/event/1");
    assert_eq!((&starting["level"], &starting["area"]), (&"info".into(), &"gateway".into()));
    assert_eq!(starting["fields"]["connections"], 1);
}

#[test]
fn a_strict_check_takes_warnings_for_errors() {
    let place = Place::new();
    let config = place.config();
    let strict = |text: &Path| run(&["check", "--strict", self::text(text)]);
    assert_eq!(strict(&config).status.code(), Some(0), "{}", stderr(&strict(&config)));
    fs::write(place.path("berlin.psk"), "just twenty octets!!").expect("writes");
    let output = strict(&config);
    assert_eq!((output.status.code(), stdout(&output)), (Some(2), String::new()));
    assert!(stderr(&output).contains("W0302"), "{}", stderr(&output));
    assert_eq!(run(&["check", text(&config)]).status.code(), Some(0));
    let output = run(&["check", "--strict", "--json", text(&config)]);
    assert_eq!(output.status.code(), Some(2));
    let json: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(json["diagnostics"][0]["code"], "W0302");
}

#[test]
fn a_broken_included_file_is_said_loudly_and_does_not_keep_the_gateway_down() {
    let place = Place::new();
    let config = place.config();
    let good = fs::read_to_string(&config).expect("reads");
    fs::write(&config, format!("include = [\"broken.toml\"]\n{good}")).expect("writes");
    fs::write(place.path("broken.toml"), "[connection.rome]\ncolour = 1\n").expect("writes");
    assert_eq!(run(&["check", text(&config)]).status.code(), Some(2), "a check is strict");
    // The socket of another daemon stops it just after the configuration was accepted.
    let _other = UnixListener::bind(place.path("control.sock")).expect("binds");
    let output = run(&["run", "-c", text(&config)]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["unknown key `colour`", "LEFT OUT", "warning[W0305]", "event=include-left-out"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_configuration_can_come_from_stdin() {
    let place = Place::new();
    let good = fs::read_to_string(place.config()).expect("reads");
    let check = |text: &str| {
        let mut child = Command::new(program())
            .args(["check", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("writes");
        child.wait_with_output().expect("it ends")
    };
    let output = check(&good);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).starts_with("-: ok, gateway fra1, 1 connection"),
        "{}",
        stdout(&output)
    );
    let output = check(&good.replace("peer =", "pere ="));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean `peer`?"), "{}", stderr(&output));
    assert!(stderr(&output).contains("--> -:11:1"), "{}", stderr(&output));
}

#[test]
fn descriptors_for_somebody_else_are_none_and_a_wrong_announcement_is_said() {
    let started = |pid: &str, number: &str| {
        let mut command = Command::new(program());
        command.args(["run", "-c", "/nowhere/s2s-gw.toml"]);
        command.env("LISTEN_PID", pid).env("LISTEN_FDS", number).env("LISTEN_FDNAMES", "ike:nat");
        command.output().expect("the program runs")
    };
    let output = started("1", "2");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("/nowhere/s2s-gw.toml"), "{}", stderr(&output));
    let output = started("me", "2");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("LISTEN_FDS announces"), "{}", stderr(&output));
}
