//! What people write who come from somewhere else, or for the first time, and the words that they read then.
//!
//! ```text
//!   text ─► said(..) ─► [(code and place, everything that it says)]
//!   fix: (umask 077; s2s-gw genpsk > '/a b/c.psk')  ─► sh ─► loads
//! ```

use std::process::Command;

use super::fixture::{Fixture, MARK, diagnostics, head, words};

/// Code and place of everything that is reported, each with all of its words.
fn said(text: &str) -> Vec<(String, String)> {
    let found = diagnostics(Fixture::new().load(text));
    found.iter().map(|one| (head(one), words(one))).collect()
}

/// The same for one line in a good connection, which has to be the only thing that is reported.
fn said_of(line: &str) -> (String, String) {
    let key = line.split(' ').next().unwrap();
    let rest = [
        "peer = \"198.51.100.20\"",
        "psk = { file = \"good.psk\" }",
        "local_subnets = [\"10.1.0.0/16\"]",
        "remote_subnets = [\"10.2.0.0/16\"]",
    ];
    let rest = rest.into_iter().filter(|other| !other.starts_with(&format!("{key} ")));
    let rest: Vec<_> = rest.collect();
    only(&format!("[connection.berlin]\n{line}\n{}\n", rest.join("\n")))
}

fn only(text: &str) -> (String, String) {
    let mut all = said(text);
    assert_eq!(all.len(), 1, "{text}: {all:#?}");
    all.remove(0)
}

/// Looks for all phrases.
fn has(said: &(String, String), head: &str, phrases: &[&str]) {
    assert_eq!(said.0, head, "{}", said.1);
    for phrase in phrases {
        assert!(said.1.contains(phrase), "no `{phrase}` in\n{}", said.1);
    }
}

/// Loads what lies in a directory whose name needs quotes, does in another directory what the fix says, and loads again.
fn mend(file: &str, mode: Option<u32>, command: impl Fn(&str) -> String, text: &str) {
    let fixture = Fixture::new();
    let good = MARK.repeat(5);
    fixture.write("our 'first' site/s2s-gw.toml", text, 0o600);
    if let Some(mode) = mode {
        fixture.write(&format!("our 'first' site/{file}"), &good, mode);
    }
    let main = fixture.path("our 'first' site/s2s-gw.toml");
    let found = diagnostics(fixture.load_path(&main));
    let fix = found.first().and_then(|one| one.fix.clone()).unwrap();
    let command =
        command(&fix).replace("s2s-gw genpsk", "echo 0123456789abcdef0123456789abcdef0123");
    let sh = Command::new("sh")
        .args(["-c", &command])
        .current_dir(fixture.path("root"))
        .output()
        .unwrap();
    assert!(sh.status.success(), "{command}: {sh:?}");
    let left = diagnostics(fixture.load_path(&main));
    assert!(left.is_empty(), "after {command}: {left:#?}");
}

#[test]
fn what_mends_a_key_file_can_be_typed_in_any_directory() {
    let connection = |psk: &str| {
        format!(
            "[connection.berlin]\npeer = '198.51.100.20'\npsk = {{ file = '{psk}' }}\n\
             local_subnets = ['10.1.0.0/16']\nremote_subnets = ['10.2.0.0/16']\n"
        )
    };
    let in_parentheses = |fix: &str| {
        let (start, end) = (fix.find('(').unwrap(), fix.rfind(')').unwrap());
        fix[start..=end].to_owned()
    };
    mend("new.psk", None, in_parentheses, &connection("new.psk"));
    mend("open.psk", Some(0o644), str::to_owned, &connection("open.psk"));
    mend("token", None, in_parentheses, "[http]\nread_token = { file = 'token' }\n");
    mend("token", Some(0o640), str::to_owned, "[http]\nread_token = { file = 'token' }\n");
}

#[test]
fn a_path_from_home_has_to_be_written_out() {
    let said = said_of("psk = { file = \"~/berlin.psk\" }");
    has(&said, "E0142 2:16", &["`~` is not expanded", "whole path"]);
    assert!(!said.1.contains("genpsk"), "{}", said.1);
    let said = said_of("psk = { credential = \"none\" }");
    has(&said, "E0142 2:22", &["LoadCredential=none:"]);
}
