//! What people write and programs say: the configuration file, and the lines of the control socket.

use std::path::Path;

use gateway::config::{Config, Surroundings};
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
            let plain = report.render(false);
            let obeyed = |it: char| it.is_control() && it != '\n';
            assert!(!plain.chars().any(obeyed), "{plain:?}");
            let _others = (report.render(true), report.to_json(), report.summary());
            for found in &report.diagnostics {
                if let Some((line, column)) = found.line_column() {
                    assert!(line >= 1 && column >= 1 && line <= text.lines().count() + 1);
                }
            }
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
