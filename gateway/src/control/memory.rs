//! What outlives the daemon: where peers were last, and what the operator decided. Never a secret.
//!
//! ```text
//!   /var/lib/s2s-gw/state.json     `state` in [gateway]
//!   { "version": 1,
//!     "connections": { "berlin": { "decision": "down" },
//!                      "paris":  { "endpoint": "par-b.example.com", "addresses": { "par-b.example.com": "192.0.2.9" } } } }
//!
//!   start    read; what is broken is ignored (W0604); names that cannot be resolved get their last good address
//!   change   state.json.new ─ fsync ─► renamed to state.json ─ fsync of the directory: the old one whole, or the new one
//! ```
//!
//! Written only when it differs from what the file has: after a command before that is answered, else with the next tick.
//! A connection that the configuration does not have is forgotten, unless a file of it was left out.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Control;
use super::connection::Connection;
use crate::config::{HostName, Peer};
use crate::status::Code;

/// What a command said, where the configuration says something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Decision {
    Up,
    Down,
}

/// What is kept of one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) decision: Option<Decision>,
    /// The endpoint that a command chose, as the configuration writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) endpoint: Option<String>,
    /// Where each name of its peer led when the peer was last up there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) addresses: BTreeMap<String, IpAddr>,
}

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    version: u32,
    #[serde(default)]
    connections: BTreeMap<String, Kept>,
}

impl Default for State {
    fn default() -> Self {
        Self { version: VERSION, connections: BTreeMap::new() }
    }
}

/// The file and how it is.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// `None`: nothing is kept.
    path: Option<PathBuf>,
    /// What it has.
    known: State,
    /// Connections may be missing in the configuration because a file of it was left out.
    keeps_others: bool,
    /// Something may differ from that.
    pub(super) stale: bool,
    /// It could not be read, or not be written.
    failed: bool,
}

impl Memory {
    /// Reads the file; none is an empty one, and a broken one is said and ignored.
    pub(super) fn open(path: Option<&Path>, keeps_others: bool) -> Self {
        let mut memory = Self { path: path.map(Path::to_owned), keeps_others, ..Self::default() };
        let Some(path) = path else { return memory };
        match read_either(path) {
            Ok(known) => memory.known = known,
            Err(why) => {
                memory.failed = true;
                let (file, code) = (path.display(), Code::NoState.id());
                tracing::warn!(
                    target: "gateway", event = "state-ignored", %file, why, code,
                    msg = "what was decided before this start is not known; the configuration alone counts",
                    fix = "nothing, if it is gone for good: the next change writes a new file"
                );
            }
        }
        memory
    }

    /// What is known of a connection.
    pub(super) fn of(&self, name: &str) -> Option<&Kept> {
        self.known.connections.get(name)
    }

    /// Another configuration is in force.
    pub(super) fn reconfigure(&mut self, path: Option<&Path>, keeps_others: bool) {
        if self.path.as_deref() != path {
            self.path = path.map(Path::to_owned);
            // Whatever is there belongs to another time.
            self.known = State::default();
            self.failed = false;
        }
        self.keeps_others = keeps_others;
        self.stale = true;
    }

    /// W0604, if it holds.
    pub(super) fn warning(&self) -> Option<Code> {
        self.failed.then_some(Code::NoState)
    }

    /// Writes what differs.
    fn keep<'c>(&mut self, connections: impl Iterator<Item = &'c Connection>) {
        self.stale = false;
        let Some(path) = &self.path else { return };
        let mut next = State::default();
        if self.keeps_others {
            next.connections.clone_from(&self.known.connections);
        }
        for connection in connections {
            let kept = connection.kept();
            let name = &connection.config.name;
            if kept == Kept::default() {
                next.connections.remove(name);
            } else {
                next.connections.insert(name.clone(), kept);
            }
        }
        if next == self.known {
            return;
        }
        match write(path, &next) {
            Ok(()) => {
                self.known = next;
                self.failed = false;
            }
            Err(error) => {
                // With the next change it is tried again, but said once.
                if !std::mem::replace(&mut self.failed, true) {
                    let (file, code) = (path.display(), Code::NoState.id());
                    tracing::warn!(
                        target: "gateway", event = "state-unwritten", %file, %error, code,
                        msg = "what commands decide is forgotten when the gateway ends",
                        fix = "let the user of the gateway write there (StateDirectory= of the service), or write another path for `state` in [gateway], or \"off\""
                    );
                }
            }
        }
    }
}

impl Control {
    /// Keeps what has changed, before anybody is told that it has.
    pub(super) fn remember(&mut self) {
        self.memory.keep(self.connections.iter());
    }

    /// The same, if something has.
    pub(super) fn remember_changes(&mut self) {
        if self.memory.stale {
            self.remember();
        }
    }
}

impl Connection {
    /// What is to be known of it after the next start.
    fn kept(&self) -> Kept {
        let hosts = match &self.config.peer {
            Peer::Any => &[],
            Peer::Hosts(hosts) => hosts.as_slice(),
        };
        let is_there = |endpoint: &&String| hosts.iter().any(|host| host.to_string() == **endpoint);
        let is_named = |name: &str| {
            hosts.iter().any(|host| matches!(&host.name, HostName::Dns(known) if known == name))
        };
        let addresses = self.good.iter().filter(|(name, _)| is_named(name));
        Kept {
            decision: self.decision,
            endpoint: self.endpoints.held.as_ref().filter(is_there).cloned(),
            addresses: addresses.map(|(name, address)| (name.clone(), *address)).collect(),
        }
    }

    /// Takes what was known of it before this start.
    pub(super) fn recall(&mut self, kept: &Kept) {
        let Kept { decision, endpoint, addresses } = kept;
        self.good.clone_from(addresses);
        self.endpoints.held.clone_from(endpoint);
        match decision {
            Some(Decision::Down) if self.config.enabled => self.wanted = false,
            Some(Decision::Up) => self.wanted = true,
            // The configuration says so by now.
            Some(Decision::Down) | None => {}
        }
        self.decision =
            decision.filter(|decision| *decision == Decision::Up || self.config.enabled);
        if self.decision.is_some() || endpoint.is_some() {
            let conn = &self.config.name;
            let decision = decision.map(|decision| match decision {
                Decision::Up => "up",
                Decision::Down => "down",
            });
            tracing::info!(target: "gateway", event = "recalled", %conn, decision, endpoint);
        }
    }
}

/// The file, or where that is broken and its successor was written already, that one.
fn read_either(path: &Path) -> Result<State, String> {
    let fresh = fresh(path);
    let is_written = fs::metadata(&fresh).is_ok_and(|there| there.len() > 0);
    read(path).or_else(|why| if is_written { read(&fresh).map_err(|_| why) } else { Err(why) })
}

fn read(path: &Path) -> Result<State, String> {
    let mut text = Vec::new();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
        Err(error) => return Err(error.to_string()),
    };
    let length =
        file.take(LONGEST + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if u64::try_from(length).unwrap_or(u64::MAX) > LONGEST {
        return Err(format!("it has more than {LONGEST} octets"));
    }
    let state: State = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if state.version != VERSION {
        return Err(format!("it has version {}, and this program knows {VERSION}", state.version));
    }
    Ok(state)
}

/// The old file or the new one, whatever happens meanwhile.
fn write(path: &Path, state: &State) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let fresh = fresh(path);
    let mut text = serde_json::to_vec_pretty(state)?;
    text.push(b'\n');
    put(&fresh, &text)?;
    match fs::rename(&fresh, path) {
        // Both files are ours, the directory is not (sandbox/): the fresh one is whole while the other is written.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => put(path, &text),
        renamed => renamed.and_then(|()| File::open(directory)?.sync_all()),
    }
}

/// The other file, in which the next state is before it is that.
pub(crate) fn fresh(path: &Path) -> PathBuf {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    fresh.into()
}

fn put(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// Of the format. A file of another one is not read: what its words mean is not known.
const VERSION: u32 = 1;

/// Octets: some ten thousand connections.
const LONGEST: u64 = 4 << 20;

#[cfg(test)]
mod tests;
