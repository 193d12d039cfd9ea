//! The two gateways of the demo: configuration files as a user would write them, and the daemon that reads them.
//!
//! ```text
//!   Gateway::start   DIR/gw-a.toml, DIR/demo.psk ─► s2s-gw run -c DIR/gw-a.toml, inside gw-a, log to DIR/gw-a.log
//!   until_up         status over DIR/gw-a.sock, again and again ─► the connection, up
//!   drop             SIGTERM (deletes leave, routes go), a moment, SIGKILL
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::launch::inside_namespace;
use super::topology::Site;
use super::{DemoError, During as _};
use crate::clock;
use crate::config::genpsk;
use crate::status::protocol::{Request, Response};
use crate::status::{ConnectionStatus, Snapshot, State, client};
use crate::sys::netns::Netns;

/// Writes a new key, readable for nobody else.
pub(super) fn write_key(directory: &Path, name: &str) -> Result<(), DemoError> {
    let path = directory.join(name);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| writeln!(file, "{}", genpsk(KEY_LEN)))
        .during(format!("write {}", path.display()))
}

/// The table of the one connection of a gateway: what a user has to write, and all of it.
pub(super) fn connection(ours: &Site, theirs: &Site) -> String {
    format!(
        "[connection.{name}]\n\
         peer           = \"{peer}\"\n\
         psk            = {{ file = \"{KEY}\" }}\n\
         local_subnets  = [\"{local}\"]\n\
         remote_subnets = [\"{remote}\"]\n",
        name = theirs.name,
        peer = theirs.wan,
        local = ours.network(),
        remote = theirs.network(),
    )
}

fn write_config(
    name: &str,
    config: &Path,
    control: &Path,
    connection: &str,
) -> Result<(), DemoError> {
    let text = format!(
        "# {name}, written by s2s-gw demo\n\n\
         [gateway]\n\
         name    = \"{name}\"\n\
         control = \"{}\"\n\
         state   = \"off\"\n\n\
         {connection}",
        control.display(),
    );
    fs::write(config, text).during(format!("write {}", config.display()))
}

/// A running daemon; it is stopped when this is dropped.
#[derive(Debug)]
pub(super) struct Gateway {
    name: &'static str,
    child: Child,
    config: PathBuf,
    control: PathBuf,
    log: PathBuf,
}

impl Gateway {
    /// Writes `connection` and the paths of this demo into a file and starts the daemon with it.
    pub(super) fn start(
        site: &Site,
        connection: &str,
        namespace: &Netns,
        directory: &Path,
    ) -> Result<Self, DemoError> {
        let name = site.gateway;
        let file = |extension| directory.join(name).with_extension(extension);
        let (config, control, log) = (file("toml"), file("sock"), file("log"));
        write_config(name, &config, &control, connection)?;
        let log_file = File::create(&log).during(format!("write {}", log.display()))?;
        let same_file = log_file.try_clone().during("copy a descriptor")?;
        let child = inside_namespace(namespace.number())
            .arg("run")
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log_file)
            .stderr(same_file)
            .spawn()
            .during(format!("start {name}"))?;
        Ok(Self { name, child, config, control, log })
    }

    /// What the user calls it.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Its control socket.
    pub(super) fn control(&self) -> &Path {
        &self.control
    }

    /// Puts another `connection` into its file; `s2s-gw reload` makes it true.
    pub(super) fn edit(&self, connection: &str) -> Result<(), DemoError> {
        write_config(self.name, &self.config, &self.control, connection)
    }

    /// What it has logged.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it without a word to anybody.
    pub(super) fn kill(&mut self) -> Result<(), DemoError> {
        let what = format!("kill {}", self.name);
        self.child.kill().during(&*what)?;
        self.child.wait().during(what).map(drop)
    }

    /// Waits until the daemon answers on its control socket.
    pub(super) fn until_ready(&mut self) -> Result<(), DemoError> {
        self.until("it does not answer on its control socket", |_| Some(()))
    }

    /// Waits until its one connection is up.
    pub(super) fn until_up(&mut self) -> Result<ConnectionStatus, DemoError> {
        self.until("the peer does not answer", |snapshot| {
            let only = snapshot.connections.first();
            only.filter(|connection| connection.state == State::Up).cloned()
        })
    }

    /// Waits until its one connection is as it should be, or as it should not.
    pub(super) fn until_seen<T>(
        &mut self,
        otherwise: &str,
        ready: impl Fn(&ConnectionStatus) -> Option<T>,
    ) -> Result<T, DemoError> {
        self.until(otherwise, |snapshot| ready(snapshot.connections.first()?))
    }

    /// The routes and devices are there some time after the answer of the peer, so status is asked until it fits.
    fn until<T>(
        &mut self,
        otherwise: &str,
        ready: impl Fn(&Snapshot) -> Option<T>,
    ) -> Result<T, DemoError> {
        let started = clock::now();
        let mut reason = otherwise.to_owned();
        while clock::now() - started < PATIENCE {
            if let Some(snapshot) = self.status() {
                if let Some(found) = ready(&snapshot) {
                    return Ok(found);
                }
                let why = snapshot.connections.into_iter().find_map(|one| one.reason);
                reason = why.map_or(reason, |why| format!("{}; {}", why.message, why.fix));
            }
            if self.ended_within(GLANCE)? {
                return Err(DemoError::GatewayEnded { name: self.name, log: self.last_words() });
            }
        }
        let seconds = PATIENCE.as_secs();
        let (name, log) = (self.name, self.last_words());
        Err(DemoError::NotUp { seconds, reason, name, log })
    }

    pub(super) fn status(&self) -> Option<Snapshot> {
        match client::ask(&self.control, &Request::Status) {
            Ok(Response::Status { snapshot }) => Some(*snapshot),
            Ok(
                Response::Events { .. }
                | Response::Done { .. }
                | Response::Reload { .. }
                | Response::Shown { .. }
                | Response::Explained { .. }
                | Response::Capturing { .. }
                | Response::Packets { .. }
                | Response::Keys { .. }
                | Response::Refused { .. },
            )
            | Err(_) => None,
        }
    }

    /// Waits for the end of the process, at most `patience`.
    fn ended_within(&mut self, patience: Duration) -> Result<bool, DemoError> {
        let what = "wait for a gateway";
        let patience = Timespec::try_from(patience).unwrap_or_default();
        let process = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty());
        let process = process.during(what)?;
        poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience)).during(what)?;
        Ok(self.child.try_wait().during(what)?.is_some())
    }

    /// The end of its log.
    fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let start = lines.len().saturating_sub(LAST_LINES);
        lines.get(start..).unwrap_or_default().join("\n")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // A process that is gone cannot be told so, which is fine.
        if let Ok(process) = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()) {
            let _ = pidfd_send_signal(process, Signal::TERM);
        }
        if !self.ended_within(FAREWELL).unwrap_or(false) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The file with the key that both gateways share, beside the configuration.
pub(super) const KEY: &str = "demo.psk";

/// Octets of randomness in the key.
const KEY_LEN: usize = 32;

/// A tunnel on one machine is up in a tenth of a second; the rest is for the slowest.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at the status.
const GLANCE: Duration = Duration::from_millis(5);

/// For the deletes to leave.
const FAREWELL: Duration = Duration::from_secs(2);

/// Lines of a log that are worth showing.
const LAST_LINES: usize = 6;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::topology::{SITE_A, SITE_B};
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_daemon_understands_what_we_write() {
        let directory = tempfile::tempdir().unwrap();
        write_key(directory.path(), KEY).unwrap();
        let key = directory.path().join(KEY);
        assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
        let file = directory.path().join("gw-a.toml");
        fs::write(&file, connection(&SITE_A, &SITE_B)).unwrap();
        let config = Config::load(&file).unwrap();
        let connection = &config.connections[0];
        assert_eq!(connection.name, "site-b");
        assert_eq!(connection.children[0].local, [SITE_A.network().into()]);
        assert_eq!(connection.children[0].remote, [SITE_B.network().into()]);
        assert_eq!(config.warnings.len(), 0, "an example without warnings");
    }
}
