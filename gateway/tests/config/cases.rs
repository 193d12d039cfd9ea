//! The cases of `cases.txt`: whole files, with everything that is reported for them.

use std::fs;

use gateway::config::{Code, Connected, Surroundings};

use super::fixture::{Fixture, compare, diagnostics, head, load_in};
use super::lines::all_lines;

#[test]
fn tables_that_do_not_fit_together_are_reported() {
    all_cases();
}

#[test]
fn every_code_has_a_case() {
    let mut seen = all_lines();
    seen.extend(all_cases());
    seen.extend(odd_surroundings());
    // What is said of other programs' files has its cases in tests/port.rs.
    seen.extend([Code::ForeignSyntax, Code::ForeignEmpty]);
    let unseen: Vec<_> = Code::ALL.iter().filter(|code| !seen.contains(code)).collect();
    assert!(unseen.is_empty(), "no case for {unseen:?}");
}

/// The codes that were seen.
fn all_cases() -> Vec<Code> {
    let text = include_str!("cases.txt");
    let mut seen = Vec::new();
    for case in text.split("\n=== ").skip(1) {
        let fixture = Fixture::new();
        let mut parts = case.split("\n--- ");
        let (name, files) = parts.next().unwrap().split_once('\n').unwrap();
        let mut files = files.split("\n>>> ");
        let main = files.next().unwrap();
        for other in files {
            let (path, text) = other.split_once('\n').unwrap();
            fixture.write(path, text, 0o600);
        }
        let expected: Vec<_> = parts
            .map(|part| {
                let mut lines = part.lines().map(str::to_owned);
                (lines.next().unwrap(), lines.filter(|line| !line.is_empty()).collect())
            })
            .collect();
        seen.extend(compare(name, &diagnostics(fixture.load(main)), &expected));
    }
    assert!(seen.len() > 30, "the cases are read");
    seen
}

#[test]
fn what_lies_outside_the_file_is_reported() {
    odd_surroundings();
}

/// What no text can show: files that are not there, are not text, or are open to others.
fn odd_surroundings() -> Vec<Code> {
    let fixture = Fixture::new();
    let main = fixture.path("s2s-gw.toml");
    let mut seen = Vec::new();
    let mut expect = |expected: &str, phrase: &str, surroundings: Option<&Surroundings>| {
        let found = diagnostics(match surroundings {
            Some(surroundings) => load_in(&main, surroundings),
            None => fixture.load_path(&main),
        });
        let heads: Vec<_> = found.iter().map(head).collect();
        assert_eq!(heads, [expected]);
        assert!(found[0].render(false).contains(phrase), "{}", found[0].render(false));
        seen.push(found[0].code);
    };
    expect("E0102 -", "no such file", None);
    fs::write(&main, b"# \xff\n").unwrap();
    expect("E0102 -", "not text in UTF-8, line 1", None);
    fs::write(&main, "#".repeat(5 << 20)).unwrap();
    expect("E0102 -", "larger than 4 MiB", None);

    let connection = |psk: &str| {
        format!(
            "[connection.berlin]\npeer = '198.51.100.20'\npsk = {{ {psk} }}\n\
             local_subnets = ['10.1.0.0/16']\nremote_subnets = ['10.2.0.0/16']\n"
        )
    };
    fixture.write("s2s-gw.toml", &connection("credential = 'paris.psk'"), 0o644);
    let plain = Surroundings { host_name: "host".into(), ..Surroundings::default() };
    expect("E0147 3:22", "$CREDENTIALS_DIRECTORY is not set", Some(&plain));
    let inline = connection("inline = 'hunter2 hunter2 hunter2 hunter2 hunter2'");
    fixture.write("s2s-gw.toml", &inline, 0o640);
    expect("E0104 3:18", "its mode is 0640", None);
    fixture.write("s2s-gw.toml", &connection("file = 'good.psk'"), 0o644);
    let connected = Connected { device: "eth0".into(), network: "10.2.0.0/16".parse().unwrap() };
    let host = Surroundings { connected: vec![connected], ..fixture.surroundings() };
    expect("E0310 5:19", "connected to it by `eth0`", Some(&host));
    fixture.write("broken.toml", "colour = 1\n", 0o600);
    let config = fixture.load_to_run("include = ['broken.toml']\n").unwrap();
    assert_eq!(config.warnings.len(), 1);
    seen.push(config.warnings[0].code);
    seen
}
