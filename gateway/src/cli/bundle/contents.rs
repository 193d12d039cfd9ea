//! What goes into a bundle: what the daemon says, what the file says, what the doctor finds.
//!
//! ```text
//!   version.json   config/*   status.json   show/*.json   explain.json   metrics.txt   events.jsonl   log.txt   doctor.json   host/*
//!        └─────────────────────────── each: the text, or why there is none ───────────────────────────┘
//!   status.txt is written last, from status.json as it stands then: masked where that is masked
//! ```

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::super::client::{Daemon, strange};
use super::super::doctor::{Doctor, sample};
use super::super::{Failure, explain};
use super::{Entry, host, secrets};
use crate::config::{self, Config};
use crate::log::{self, Record, Severity};
use crate::metrics::{self, Process};
use crate::status::protocol::{Packet, Request, Response, Topic};
use crate::status::text::{self, Colour, Look};
use crate::status::{Snapshot, client};

/// All of it, and what has to be known to take secrets and names out of it.
pub(super) struct Collected {
    pub(super) entries: Vec<Entry>,
    /// What must not be in it.
    pub(super) secrets: Vec<Zeroizing<String>>,
    /// The configuration files, each as it stands, without secrets.
    pub(super) files: Vec<(PathBuf, String)>,
    /// What the daemon says of itself.
    pub(super) snapshot: Option<Snapshot>,
    /// What of its configuration is not as it is by default.
    pub(super) running: Option<Value>,
}

/// Asks everybody; `progress` is told who.
pub(super) fn collect(file: &Path, daemon: &Daemon, progress: &mut dyn FnMut(&str)) -> Collected {
    progress("daemon");
    let ask = |request: &Request| client::ask(&daemon.control, request);
    let snapshot = match ask(&Request::Status) {
        Ok(Response::Status { snapshot }) => Ok(*snapshot),
        Ok(_) => Err(said(strange())),
        Err(error) => Err(error.to_string()),
    };
    let known = || snapshot.as_ref().map_err(Clone::clone);
    let mut entries = vec![Entry::new(
        "version.json",
        "program, daemon, kernel, host",
        as_json(&host::version(known().ok().map(|snapshot| snapshot.version.as_str()))),
    )];
    let effective = shown(daemon, Topic::Config);
    let running = effective.as_ref().ok().and_then(|table| table.get("config").cloned());
    let about = "the configuration in force";
    entries.push(Entry::new("config/running.json", about, effective.and_then(|it| as_json(&it))));
    let (files, secrets) = configured(file, &mut entries);
    entries.push(Entry::new("status.json", "state of all", known().and_then(as_json)));
    for (topic, path, about) in TABLES {
        entries.push(Entry::new(path, about, shown(daemon, topic).and_then(|it| as_json(&it))));
    }
    let walks = known().and_then(|snapshot| as_json(&walks(daemon, snapshot)));
    entries.push(Entry::new("explain.json", "the way of a packet of each child, both ways", walks));
    let numbers = known().map(|snapshot| metrics::text(snapshot, &Process::of(snapshot.pid)));
    entries.push(Entry::new("metrics.txt", "all counters, for Prometheus", numbers));
    events(daemon, &mut entries);
    progress("doctor (asks the peers)");
    let doctor = Doctor::of_all(file.to_owned(), Daemon { control: daemon.control.clone() });
    let checkup = doctor.checkup().map_err(said).and_then(|found| as_json(&found));
    entries.push(Entry::new("doctor.json", "what `s2s-gw doctor` finds", checkup));
    progress("host");
    let tun = known().map_or("s2s0", |snapshot| snapshot.tun.name.as_str()).to_owned();
    entries.extend(host::facts(&tun));
    Collected { entries, secrets, files, snapshot: snapshot.ok(), running }
}

/// What is made from other entries as they are now.
pub(super) fn derive(entries: &mut Vec<Entry>) {
    let status = entries.iter().find(|entry| entry.path == "status.json");
    let text = status.and_then(|entry| entry.text.as_ref().ok()).map(|json| {
        let snapshot: Snapshot = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let look = Look { colour: Colour::Off, columns: Some(120) };
        let mut text = text::overview(&snapshot, look);
        for connection in &snapshot.connections {
            let _ = write!(text, "\n{}", text::detail(&snapshot, connection, look));
        }
        Ok(text)
    });
    let text = text.unwrap_or_else(|| Err("there is no status.json".to_owned()));
    entries.push(Entry::new("status.txt", "the same as status.json, to be read", text));
}

const TABLES: [(Topic, &str, &str); 5] = [
    (Topic::Sas, "show/sas.json", "every SA"),
    (Topic::Policies, "show/policies.json", "which packet belongs to which child"),
    (Topic::Routes, "show/routes.json", "routes into the tunnels"),
    (Topic::Counters, "show/counters.json", "packets, octets, drops"),
    (Topic::Listeners, "show/listeners.json", "sockets"),
];

fn shown(daemon: &Daemon, what: Topic) -> Result<Value, String> {
    match client::ask(&daemon.control, &Request::Show { what }) {
        Ok(Response::Shown { table }) => serde_json::to_value(&*table).map_err(|it| it.to_string()),
        Ok(Response::Refused { message, .. }) => Err(message),
        Ok(_) => Err(said(strange())),
        Err(error) => Err(error.to_string()),
    }
}

/// The files that are configured, as they stand, and what `check` says of them.
fn configured(
    file: &Path,
    entries: &mut Vec<Entry>,
) -> (Vec<(PathBuf, String)>, Vec<Zeroizing<String>>) {
    let loaded = Config::load(file);
    let check = match &loaded {
        Ok(config) => config.check_json().to_string(),
        Err(report) => report.to_json().to_string(),
    };
    let mut paths = vec![file.to_owned()];
    let mut secrets = Vec::new();
    if let Ok(config) = &loaded {
        paths.extend(config.files.iter().filter(|path| *path != file).cloned());
        secrets = secrets::of(config);
    }
    let mut files = Vec::new();
    for (number, path) in paths.iter().enumerate() {
        let name = format!("config/file-{}.toml", number + 1);
        let text = fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map(|text| config::without_secrets(&text));
        let text = text.map_err(|error| format!("{} cannot be read: {error}", path.display()));
        if let Ok(text) = &text {
            files.push((path.clone(), text.clone()));
        }
        entries.push(Entry::new(&name, "a file of the configuration", text));
    }
    entries.push(Entry::new("config/check.json", "what `s2s-gw check` says of it", Ok(check)));
    (files, secrets)
}

/// The way out and in of each child.
fn walks(daemon: &Daemon, snapshot: &Snapshot) -> Vec<Value> {
    let mut walks = Vec::new();
    let children = snapshot.connections.iter().flat_map(|one| &one.children);
    for child in children.take(MAX_WALKS) {
        let (Some(ours), Some(theirs)) = (sample(&child.local), sample(&child.remote)) else {
            continue;
        };
        for (source, destination) in [(ours, theirs), (theirs, ours)] {
            let packet = Packet {
                source,
                destination,
                protocol: None,
                source_port: None,
                destination_port: None,
            };
            walks.push(match explain::ask(daemon, packet) {
                Ok(walk) => json!(walk),
                Err(failure) => json!({ "packet": packet, "error": said(failure) }),
            });
        }
    }
    walks
}

/// A gateway with thousands of children has its reasons in the first hundreds.
const MAX_WALKS: usize = 500;

fn events(daemon: &Daemon, entries: &mut Vec<Entry>) {
    let request = Request::Events { follow: false, connection: None };
    let events = match client::ask(&daemon.control, &request) {
        Ok(Response::Events { events, .. }) => Ok(events),
        Ok(Response::Refused { message, .. }) => Err(message),
        Ok(_) => Err(said(strange())),
        Err(error) => Err(error.to_string()),
    };
    let lines = |line: &dyn Fn(&Record) -> Option<String>| {
        let events = events.as_ref().map_err(Clone::clone)?;
        Ok(events.iter().filter_map(line).map(|line| line + "\n").collect::<String>())
    };
    let happened = |event: &Record| (event.level <= Severity::Info).then(|| log::to_json(event));
    entries.push(Entry::new("events.jsonl", "what happened lately", lines(&happened)));
    let all = |event: &Record| Some(log::to_text(event));
    entries.push(Entry::new("log.txt", "the end of the log", lines(&all)));
}

fn as_json(value: &impl Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|error| error.to_string())
}

fn said(failure: Failure) -> String {
    failure.sentence.unwrap_or_default()
}
