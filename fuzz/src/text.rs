//! What people write and programs say: the configuration file, the lines of the control socket, and the configurations of
//! other programs.

use std::path::Path;

use gateway::config::{Config, Diagnostic, Surroundings};
use gateway::port::{self, Kind, NoFiles, Options, Written};
use gateway::status::protocol::{Request, Response};

/// A configuration file. Whatever is wrong with it is said, at a place in it, without what a terminal obeys.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Other files would make the outcome depend on the machine, and waiting for a device or a pipe is no hang.
    if ["include", "/dev", "/proc", ".."].iter().any(|elsewhere| text.contains(elsewhere)) {
        return;
    }
    let name = Path::new("/nowhere/s2s-gw.toml");
    match Config::load_text_in(name, text, &Surroundings::default()) {
        Ok(config) => {
            let _shown = (config.warnings.len(), format!("{config:?}"));
            toml::from_str::<toml::Table>(text).expect("what is accepted is TOML");
        }
        Err(report) => {
            assert!(!report.diagnostics.is_empty(), "nothing is refused without a reason");
            fit_for_a_terminal(&report.render(false));
            let _others = (report.render(true), report.to_json(), report.summary());
            for found in &report.diagnostics {
                is_within(found, text);
            }
        }
    }
}

/// Nothing that a terminal would obey.
fn fit_for_a_terminal(text: &str) {
    let obeyed = |it: char| it.is_control() && it != '\n';
    assert!(!text.chars().any(obeyed), "{text:?}");
}

fn is_within(found: &Diagnostic, text: &str) {
    if let Some((line, column)) = found.line_column() {
        assert!(line >= 1 && column >= 1 && line <= text.lines().count() + 1, "{line}:{column}");
    }
}

/// A configuration of another program: its kind, how to read it, and the text. Whatever is made of it is in force as it is.
pub(crate) fn import(data: &[u8]) {
    let [kind, flags, text @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let kind = match kind % 5 {
        0 => Kind::Swanctl,
        1 => Kind::Ipsec,
        2 => Kind::Vpnaas,
        3 => Kind::Cloudstack,
        _ => Kind::Aws,
    };
    let is_set = |bit: u8| flags & bit != 0;
    let local = if is_set(4) { vec!["10.1.0.0/16".to_owned()] } else { Vec::new() };
    let options = Options {
        mirror: is_set(1),
        allow_legacy: is_set(2),
        local,
        inline: true,
        ..Options::default()
    };
    let input = port::Input { name: "text".into(), text: text.to_owned() };
    match port::parse(kind, &[input], &mut NoFiles, &options) {
        Ok(parsed) => is_in_force(&port::write(kind, parsed, &options)),
        Err(refused) => {
            fit_for_a_terminal(&refused.render(false));
            is_within(&refused, text);
        }
    }
}

fn is_in_force(written: &Written) {
    for note in &written.notes {
        fit_for_a_terminal(&note.to_string());
    }
    assert!(written.keys.is_empty(), "they stand in the configuration");
    toml::from_str::<toml::Table>(&written.toml)
        .unwrap_or_else(|error| panic!("{error}\n{}", written.toml));
    // One without connections is no configuration yet.
    if written.connections > 0 {
        let name = Path::new("/nowhere/s2s-gw.toml");
        if let Err(report) = Config::load_text_in(name, &written.toml, &Surroundings::default()) {
            panic!("{}\n{}", report.render(false), written.toml);
        }
    }
}

/// A line that somebody sent to the control socket, or that a daemon answered.
pub(crate) fn control(data: &[u8]) {
    match Request::parse(data) {
        Ok(request) => {
            let _right = request.only_looks();
            let line = serde_json::to_vec(&request).expect("a request is JSON");
            assert_eq!(Request::parse(&line).as_ref(), Ok(&request));
        }
        Err(refusal) => one_line(&refusal),
    }
    if let Ok(response) = serde_json::from_slice::<Response>(data) {
        one_line(&response);
    }
}

fn one_line(response: &Response) {
    let line = response.to_line();
    assert_eq!(line.iter().position(|octet| *octet == b'\n'), Some(line.len() - 1));
    let again: Response = serde_json::from_slice(&line).expect("what is answered can be read");
    assert_eq!(serde_json::to_string(&again).ok(), serde_json::to_string(response).ok());
}
