//! What is written, what is read again, and what becomes of a file that is broken, foreign or not to be written.

use std::os::unix::fs::PermissionsExt as _;

use ikev2::Start;

use super::*;
use crate::clock;
use crate::config::Host;
use crate::control::connection::tests::connection;

fn host(name: &str) -> Host {
    Host { name: HostName::Dns(name.to_owned()), port: None }
}

/// Two endpoints by name, and decided upon.
fn decided() -> Connection {
    let mut one = connection(Start::Always, clock::now());
    one.config.peer = Peer::Hosts(vec![host("a.test"), host("b.test")]);
    one.decision = Some(Decision::Down);
    one.endpoints.held = Some("b.test".into());
    one.good.insert("b.test".into(), [192, 0, 2, 9].into());
    one.good.insert("gone.test".into(), [192, 0, 2, 7].into());
    one
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("the file is there")
}

#[test]
fn what_was_decided_is_known_after_the_next_start() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("new/state.json");
    let mut memory = Memory::open(Some(&path), false);
    assert_eq!(memory.warning(), None, "no file is no fault");
    let before = decided();
    memory.keep(std::iter::once(&before));
    assert_eq!(memory.warning(), None);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&place.path().join("new"))), (0o600, 0o700));
    assert!(!text(&path).contains("sixteen octets"), "the key of the tests");
    assert!(!text(&path).contains("gone.test"), "the configuration has it no more");

    let again = Memory::open(Some(&path), false);
    let mut after = connection(Start::Always, clock::now());
    after.config.peer = before.config.peer.clone();
    after.recall(again.of(&before.config.name).expect("it is known"));
    assert!(!after.wanted);
    assert_eq!(after.kept(), before.kept());
    assert_eq!(after.good["b.test"], IpAddr::from([192, 0, 2, 9]));
}

#[test]
fn a_file_is_written_only_when_something_differs() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("state.json");
    let mut memory = Memory::open(Some(&path), false);
    let mut one = connection(Start::Always, clock::now());
    memory.keep(std::iter::once(&one));
    assert!(!path.exists(), "there is nothing to keep");
    one.decision = Some(Decision::Down);
    memory.keep(std::iter::once(&one));
    assert!(path.exists());
    fs::remove_file(&path).expect("removes");
    memory.keep(std::iter::once(&one));
    assert!(!path.exists(), "nothing differs");
    one.decision = None;
    memory.keep(std::iter::once(&one));
    assert!(!text(&path).contains(&one.config.name));
    let mut off = Memory::open(None, false);
    off.keep(std::iter::once(&decided()));
    assert_eq!(off.warning(), None);
}

#[test]
fn connections_that_are_gone_are_forgotten_unless_their_file_was_left_out() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("state.json");
    let mut memory = Memory::open(Some(&path), false);
    let one = decided();
    memory.keep(std::iter::once(&one));
    memory.reconfigure(Some(&path), true);
    memory.keep(std::iter::empty());
    assert!(memory.of(&one.config.name).is_some(), "it may come back");
    memory.reconfigure(Some(&path), false);
    assert!(memory.stale);
    memory.keep(std::iter::empty());
    assert!(memory.of(&one.config.name).is_none());
    assert!(!text(&path).contains(&one.config.name));
}

#[test]
fn a_broken_file_is_ignored_and_written_anew() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("state.json");
    for broken in [
        "",
        "{",
        "[]",
        "{\"version\": 2}",
        "{\"connections\": {}}",
        "{\"version\": 1, \"connections\": {\"x\": {\"decision\": \"sideways\"}}}",
        "{\"version\": 1, \"connections\": {\"x\": {\"addresses\": {\"a.test\": \"nowhere\"}}}}",
    ] {
        fs::write(&path, broken).expect("writes");
        let mut memory = Memory::open(Some(&path), false);
        assert_eq!(memory.warning(), Some(Code::NoState), "{broken}");
        assert!(memory.of("x").is_none(), "{broken}");
        memory.keep(std::iter::once(&decided()));
        assert_eq!(memory.warning(), None, "it is whole again");
        assert!(text(&path).contains("b.test"));
    }
    fs::write(&path, vec![b' '; usize::try_from(LONGEST).expect("fits") + 1]).expect("writes");
    assert_eq!(Memory::open(Some(&path), false).warning(), Some(Code::NoState));
}

#[test]
fn what_cannot_be_written_is_said_and_tried_again() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("state.json");
    // Nobody, not even root, writes into a file that is a directory.
    fs::create_dir(&path).expect("makes it");
    let mut memory = Memory::open(Some(&path), false);
    assert_eq!(memory.warning(), Some(Code::NoState));
    let one = decided();
    memory.keep(std::iter::once(&one));
    assert_eq!(memory.warning(), Some(Code::NoState));
    fs::remove_dir(&path).expect("removes it");
    memory.keep(std::iter::once(&one));
    assert_eq!(memory.warning(), None);
    assert!(text(&path).contains("b.test"));
}

#[test]
fn a_decision_that_the_configuration_has_taken_over_is_none() {
    let down = Kept { decision: Some(Decision::Down), ..Kept::default() };
    let up = Kept { decision: Some(Decision::Up), ..Kept::default() };
    let mut one = connection(Start::Manual, clock::now());
    one.config.enabled = false;
    one.wanted = false;
    one.recall(&down);
    assert_eq!((one.wanted, one.kept().decision), (false, None));
    one.recall(&up);
    assert!(one.wanted);
    assert_eq!(one.kept().decision, Some(Decision::Up));
}
