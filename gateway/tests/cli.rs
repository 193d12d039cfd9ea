//! The real program: exit codes, words on stderr, and that nothing is left behind.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gateway::status::Snapshot;
use gateway::status::protocol::{RefusalKind, Request, Response, Topic};
use gateway::status::show::Table;
use serde_json::Value;

#[path = "cli/bundle.rs"]
mod bundle;
#[cfg(feature = "watch")]
#[path = "cli/watch.rs"]
mod watch;

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

/// A daemon that says always the same: one connection, `paris`, that is down.
struct FakeDaemon {
    place: Place,
}

impl FakeDaemon {
    fn start() -> Self {
        let place = Place::new();
        let listener = UnixListener::bind(place.path("fake.sock")).expect("binds");
        // It ends with the process; every client makes a connection of its own.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut line = String::new();
                let _ = BufReader::new(&client).read_line(&mut line);
                let answer = match Request::parse(line.as_bytes()).expect("a request") {
                    Request::Status => Response::Status { snapshot: Box::new(snapshot()) },
                    Request::Up { name } | Request::Restart { name } if name == "paris" => {
                        Response::Done { message: "paris is connecting".into() }
                    }
                    Request::Redirect { to, names } => {
                        Response::Done { message: format!("{to:?} for {names:?}") }
                    }
                    Request::Rekey { name, .. } if name == "paris" => Response::Refused {
                        kind: RefusalKind::NotNow,
                        message: "paris is not up".into(),
                    },
                    Request::Up { .. }
                    | Request::Down { .. }
                    | Request::Restart { .. }
                    | Request::Rekey { .. } => Response::Refused {
                        kind: RefusalKind::UnknownName,
                        message: "no such connection".into(),
                    },
                    Request::Show { what } => Response::Shown { table: Box::new(shown(what)) },
                    Request::Reset { connection } => Response::Done {
                        message: format!("the counters of {connection:?} begin anew"),
                    },
                    Request::Reload { .. }
                    | Request::Explain(_)
                    | Request::Failover { .. }
                    | Request::Events { .. }
                    | Request::Capture { .. }
                    | Request::Keys { .. }
                    | Request::LogLevel { .. } => Response::Refused {
                        kind: RefusalKind::NotSupported,
                        message: "not here".into(),
                    },
                };
                let _ = (&client).write_all(&answer.to_line());
            }
        });
        Self { place }
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        run(&[arguments, &["--control", text(&self.place.path("fake.sock"))]].concat())
    }
}

fn shown(what: Topic) -> Table {
    let json = match what {
        Topic::Sas => serde_json::json!({ "schema": "s2s-gw/show-sas/1", "sas": [] }),
        Topic::Config => serde_json::json!({
            "schema": "s2s-gw/show-config/1", "config": { "gateway": { "name": "fra1" } },
            "effective": { "gateway": { "name": "fra1", "ike_port": 500 } },
        }),
        Topic::Policies | Topic::Routes | Topic::Counters | Topic::Listeners => {
            serde_json::json!({ "schema": "s2s-gw/show-routes/1", "routes": [] })
        }
    };
    serde_json::from_value(json).expect("a table")
}

fn snapshot() -> Snapshot {
    serde_json::from_value(serde_json::json!({
        "schema": "s2s-gw/status/1", "gateway": "fra1", "version": "0.1.0", "pid": 1,
        "time": "2026-11-20T08:01:21Z", "uptime_seconds": 60, "external": [],
        "tun": { "name": "s2s0", "mtu": 1406 }, "drops": { "esp": {}, "ike": {} },
        "connections": [{
            "name": "paris", "description": null, "state": "down", "since": "2026-11-20T08:01:09Z",
            "since_seconds": 12, "desired_up": true, "vpnaas_status": "DOWN",
            "cloudstack_state": "Disconnected", "attempt": null, "retry_in_seconds": 12,
            "reason": { "code": "E1001", "alert": "peer-init-unreachable",
                        "message": "the peer did not answer IKE_SA_INIT", "fix": "check the address" },
            "policy": "default", "ike": null, "routes": [], "children": [],
            "peer": { "configured": ["paris.example.com"], "active": null, "local": null, "nat": false,
                      "nat_local": false, "nat_remote": false, "rtt_seconds": null },
        }],
    }))
    .expect("a snapshot of schema 1")
}

#[test]
fn unknown_names_end_with_4() {
    let daemon = FakeDaemon::start();
    for command in [&["status", "rome"][..], &["up", "rome"], &["rekey", "rome"]] {
        let output = daemon.ask(command);
        assert_eq!(output.status.code(), Some(4), "{command:?}: {}", stderr(&output));
    }
    assert!(stderr(&daemon.ask(&["status", "rome"])).contains("there is paris"));
}

#[test]
fn what_cannot_be_done_now_ends_with_1() {
    let output = FakeDaemon::start().ask(&["rekey", "paris"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "error: paris is not up\n");
}

#[test]
fn waiting_in_vain_ends_with_5_and_says_why() {
    let daemon = FakeDaemon::start();
    assert_eq!(daemon.ask(&["up", "paris"]).status.code(), Some(0));
    let output = daemon.ask(&["up", "paris", "--wait", "150ms"]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("E1001 peer-init-unreachable"), "{said}");
}

#[test]
fn status_is_a_table_or_json_or_just_a_code() {
    let daemon = FakeDaemon::start();
    let output = daemon.ask(&["status"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.contains("paris  ○ down  paris.example.com"), "{said}");
    assert!(said.contains("Retry in 12s. Fix: check the address."), "{said}");
    assert!(!said.contains('\u{1b}'), "colour without a terminal");
    let output = daemon.ask(&["status", "--json"]);
    let json: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(json["connections"][0]["reason"]["code"], "E1001");
    for quiet in [&["status", "-q"][..], &["status", "-q", "paris"]] {
        let output = daemon.ask(quiet);
        assert_eq!(output.status.code(), Some(1), "it should be up and is not");
        assert_eq!((stdout(&output), stderr(&output)), (String::new(), String::new()));
    }
}

/// A daemon that gives this answer to everything.
fn parrot(place: &Place, answer: &'static str) -> PathBuf {
    let socket = place.path("parrot.sock");
    let listener = UnixListener::bind(&socket).expect("binds");
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let _ = BufReader::new(&client).read_line(&mut String::new());
            let _ = writeln!(&client, "{answer}");
        }
    });
    socket
}

#[test]
fn a_daemon_of_another_version_is_said_to_be_one() {
    for (answer, expected) in [
        (
            r#"{"result":"refused","kind":"bad-request","message":"not a request: unknown variant"}"#,
            "error: this daemon is older than the client: restart it",
        ),
        (r#"{"result":"refused","kind":"on-holiday","message":"come back"}"#, "error: come back"),
        (r#"{"result":"song"}"#, "is of another version"),
        (r#"{"result":"#, "does not answer: EOF"),
    ] {
        let place = Place::new();
        let socket = parrot(&place, answer);
        let output = run(&["rekey", "a", "--control", text(&socket)]);
        assert_eq!(output.status.code(), Some(1), "{answer}");
        assert!(stderr(&output).contains(expected), "{answer}: {}", stderr(&output));
    }
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
fn tables_are_text_or_json_with_a_schema() {
    let daemon = FakeDaemon::start();
    assert_eq!(stdout(&daemon.ask(&["show", "sas"])), "no SA\n");
    let json: Value =
        serde_json::from_str(&stdout(&daemon.ask(&["show", "sas", "--json"]))).expect("JSON");
    assert_eq!(json["schema"], "s2s-gw/show-sas/1");
    let config = |more: &[&str]| stdout(&daemon.ask(&[&["show", "config"], more].concat()));
    assert_eq!(config(&[]), "[gateway]\nname = \"fra1\"\n");
    assert!(config(&["--effective"]).contains("ike_port = 500"), "{}", config(&["--effective"]));
    let output = daemon.ask(&["show", "nat"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "error: NAT is not supported yet\n");
    assert_eq!(daemon.ask(&["show", "sas", "--effective"]).status.code(), Some(2));
    assert_eq!(daemon.ask(&["show", "moon"]).status.code(), Some(2));
    let output = daemon.ask(&["reset", "counters", "paris"]);
    assert_eq!(stdout(&output), "the counters of Some(\"paris\") begin anew\n");
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

#[test]
fn commands_answer_in_json_too() {
    let daemon = FakeDaemon::start();
    let said = |output: &Output| -> Value { serde_json::from_str(&stdout(output)).expect("JSON") };
    let output = daemon.ask(&["up", "paris", "--json"]);
    assert_eq!(said(&output)["ok"], true);
    let output = daemon.ask(&["rekey", "paris", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((&said(&output)["ok"], &said(&output)["kind"]), (&false.into(), &"not-now".into()));
    assert_eq!(said(&run(&["version", "--json"]))["version"], env!("CARGO_PKG_VERSION"));
    let error = said(&run(&["error", "e1003", "--json"]));
    assert_eq!((&error["code"], &error["severity"]), (&"E1003".into(), &"error".into()));
    assert!(said(&run(&["error", "--json"]))["codes"].as_array().is_some_and(|all| all.len() > 50));
    let output = run(&["error", "E10003"]);
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(stderr(&output), "error: no code `E10003`; did you mean E1000 or E1003?\n");
}

#[test]
fn plain_is_tabs_and_quiet_is_a_code() {
    let daemon = FakeDaemon::start();
    let said = stdout(&daemon.ask(&["status", "--plain"]));
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert_eq!((lines[0][0], lines[1][0], lines[1][1]), ("name", "paris", "down"));
    assert_eq!(lines[0].len(), lines[1].len());
    assert_eq!(daemon.ask(&["status", "-q", "--all"]).status.code(), Some(1));
    assert_eq!(daemon.ask(&["status", "-q", "rome"]).status.code(), Some(4));
    for wrong in [
        &["status", "--json", "--plain"][..],
        &["status", "--all", "paris"],
        &["status", "--watch=0"],
    ] {
        assert_eq!(daemon.ask(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

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

/// A daemon that dies while it answers, with the answer cut anywhere.
#[test]
fn half_an_answer_is_none() {
    let whole = Response::Status { snapshot: Box::new(snapshot()) }.to_line();
    for length in [0, 1, whole.len() / 2, whole.len() - 2] {
        let place = Place::new();
        let socket = place.path("dying.sock");
        let listener = UnixListener::bind(&socket).expect("binds");
        let half = whole[..length].to_vec();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let _ = BufReader::new(&client).read_line(&mut String::new());
                let _ = (&client).write_all(&half);
            }
        });
        for command in [&["status"][..], &["status", "--json"], &["status", "-q"], &["show", "sas"]]
        {
            let output = run(&[command, &["--control", text(&socket)]].concat());
            let said = stderr(&output);
            assert_eq!(
                (output.status.code(), stdout(&output)),
                (Some(1), String::new()),
                "{command:?}"
            );
            assert!(said.starts_with("error: the daemon at "), "{length} {command:?}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
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
