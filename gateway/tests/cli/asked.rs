//! What a daemon is asked: its answer as a table, as JSON, as tabs, and as an exit code.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::process::Output;

use gateway::status::protocol::Response;
use serde_json::Value;

use crate::fake::{FakeDaemon, parrot, snapshot};
use crate::{Place, run, stderr, stdout, text};

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
fn tables_are_text_or_json_with_a_schema() {
    let daemon = FakeDaemon::start();
    assert_eq!(stdout(&daemon.ask(&["show", "sas"])), "no SA\n");
    let json: Value =
        serde_json::from_str(&stdout(&daemon.ask(&["show", "sas", "--json"]))).expect("JSON");
    assert_eq!(json["schema"], "s2s-gw/show-sas/1");
    let config = |more: &[&str]| stdout(&daemon.ask(&[&["show", "config"], more].concat()));
    assert_eq!(config(&[]), "[gateway]\nname = \"fra1\"\n");
    assert!(config(&["--effective"]).contains("ike_port = 500"), "{}", config(&["--effective"]));
    assert_eq!(daemon.ask(&["show", "sas", "--effective"]).status.code(), Some(2));
    assert_eq!(daemon.ask(&["show", "moon"]).status.code(), Some(2));
    let output = daemon.ask(&["reset", "counters", "paris"]);
    assert_eq!(stdout(&output), "the counters of Some(\"paris\") begin anew\n");
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
