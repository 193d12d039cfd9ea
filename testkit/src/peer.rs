//! What a namespace test says to a gateway, whoever wrote it: ours ([`crate::gateway`]) or strongSwan
//! ([`crate::strongswan`]). One description of a connection renders as TOML and as swanctl.conf.
//!
//! ```text
//!   GatewaySpec ──► Ours       s2s-gw.toml  + s2s-gw run      + s2s-gw status --json
//!              └──► StrongSwan swanctl.conf + charon-systemd  + swanctl --list-sas --raw
//! ```

#![expect(clippy::disallowed_methods, reason = "waits for real daemons in real time")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::gateway::Ours;
use crate::strongswan::StrongSwan;

/// One gateway and its connections.
#[derive(Debug, Clone)]
pub struct GatewaySpec {
    /// Name of the gateway, also of its files.
    pub name: String,
    /// Own addresses that it binds; none is all of them.
    pub listen: Vec<String>,
    /// Its connections.
    pub connections: Vec<ConnectionSpec>,
}

/// A post-quantum pre-shared key.
#[derive(Debug, Clone)]
pub struct PpkSpec {
    /// Its name.
    pub id: String,
    /// The key, ASCII.
    pub key: String,
    /// Whether a peer without it is refused.
    pub required: bool,
}

/// One connection, seen from one side.
#[derive(Debug, Clone)]
pub struct ConnectionSpec {
    /// `[a-z0-9-]{1,32}`.
    pub name: String,
    /// Own outer address; `%any` if it is whichever the routes say.
    pub local: String,
    /// The peer's outer address; `None` when it may be any (a peer behind a NAT).
    pub remote: Option<String>,
    /// Own identity, in strongSwan's and our common notation.
    pub local_id: String,
    /// The identity that the peer has to prove.
    pub remote_id: String,
    /// The pre-shared key, ASCII.
    pub psk: String,
    /// The post-quantum pre-shared key beside it (RFC 8784).
    pub ppk: Option<PpkSpec>,
    /// A built-in policy that ours uses instead of the two that follow.
    pub built_in: Option<String>,
    /// IKE proposal, strongSwan keywords.
    pub ike: String,
    /// ESP proposal, strongSwan keywords.
    pub esp: String,
    /// Own subnets, of one or both families.
    pub local_subnets: Vec<String>,
    /// The peer's subnets.
    pub remote_subnets: Vec<String>,
    /// Whether it connects by itself, for ever; otherwise it only answers.
    pub initiate: bool,
    /// Dead peer detection: ask after so long a silence, give up after so long.
    pub dpd: (Duration, Duration),
    /// More lines for `[connection.NAME]` of ours.
    pub ours_extra: String,
    /// More lines for strongSwan's daemon.
    pub swan_extra: String,
    /// More lines for the connection in swanctl.conf; a key that is there already takes the later value.
    pub swan_connection: String,
    /// More lines for each of its children there.
    pub swan_child: String,
    /// One child for each pair of a local and a remote subnet, on either kind of gateway.
    pub split: bool,
}

impl ConnectionSpec {
    /// The connection as the other side has it.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        Self {
            local: self.remote.clone().unwrap_or_default(),
            remote: Some(self.local.clone()),
            local_id: self.remote_id.clone(),
            remote_id: self.local_id.clone(),
            local_subnets: self.remote_subnets.clone(),
            remote_subnets: self.local_subnets.clone(),
            initiate: !self.initiate,
            ..self.clone()
        }
    }
}

/// What a gateway says about one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The IKE SA and every child stand.
    pub up: bool,
    /// SPI of the IKE SA, as the gateway writes it; changes with a rekey.
    pub ike_spi: String,
    /// Inbound SPIs of the children in use, sorted.
    pub child_spis: Vec<String>,
    /// Algorithms of the IKE SA and the children, in the gateway's words.
    pub suites: String,
    /// Reason code of a failure, if the gateway names one.
    pub reason: String,
}

/// An IKE SA as a gateway lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sa {
    /// The connection that it belongs to.
    pub connection: String,
    /// SPIs of initiator and responder, 16 digits each.
    pub spis: String,
    /// Whether it is established and nothing else.
    pub established: bool,
    /// Its children.
    pub children: Vec<ChildSa>,
}

/// A CHILD_SA as a gateway lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChildSa {
    /// Name in the configuration of that gateway.
    pub name: String,
    /// Inbound and outbound SPI, 8 digits each.
    pub spis: (String, String),
    /// Whether it is installed and neither replaced nor on its way out.
    pub installed: bool,
}

/// A gateway under test.
pub trait Peer: Send + Sync {
    /// `ours` or `swan`.
    fn kind(&self) -> &'static str;
    /// Starts the daemon and loads its configuration.
    ///
    /// # Errors
    /// If it does not come to life within a few seconds; the message has its last words.
    fn start(&mut self) -> Result<()>;
    /// What it says about a connection.
    ///
    /// # Errors
    /// If it cannot be asked.
    fn facts(&self, connection: &str) -> Result<Facts>;
    /// Every IKE SA that it has, with its children.
    ///
    /// # Errors
    /// If it cannot be asked.
    fn sas(&self) -> Result<Vec<Sa>>;
    /// Asks it to replace the child SAs of a connection.
    ///
    /// # Errors
    /// If it refuses.
    fn rekey_child(&self, connection: &str) -> Result<()>;
    /// Asks it to replace the IKE SA of a connection.
    ///
    /// # Errors
    /// If it refuses.
    fn rekey_ike(&self, connection: &str) -> Result<()>;
    /// Asks it to delete the IKE SA of a connection, and to connect again if that is its job.
    ///
    /// # Errors
    /// If it refuses.
    fn restart(&self, connection: &str) -> Result<()>;
    /// Ours, if it is.
    fn as_ours(&self) -> Option<&Ours> {
        None
    }
    /// strongSwan, if it is.
    fn as_swan(&self) -> Option<&StrongSwan> {
        None
    }
    /// The running daemon.
    fn daemon(&mut self) -> &mut Daemon;
    /// Everything that it logged.
    fn log(&self) -> String;
    /// Its status, for people.
    fn status(&self) -> String;
}

/// A child process with its output in a file; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Option<Child>,
    output: PathBuf,
}

impl Daemon {
    /// No process yet; its output will be appended to `output`.
    #[must_use]
    pub fn new(output: PathBuf) -> Self {
        Self { child: None, output }
    }

    /// Starts the process.
    ///
    /// # Errors
    /// If it cannot be started, or runs already: nobody would end the first one.
    pub fn spawn(&mut self, mut command: Command) -> Result<()> {
        if self.child.is_some() && self.ended()?.is_none() {
            bail!("it runs already: {command:?}");
        }
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&self.output)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        self.child = Some(command.spawn().with_context(|| format!("cannot run {command:?}"))?);
        Ok(())
    }

    /// What it printed.
    #[must_use]
    pub fn output(&self) -> String {
        text(&self.output)
    }

    /// Whether it has ended, and how.
    ///
    /// # Errors
    /// If it was never started.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.as_mut().context("not started")?.try_wait()?)
    }

    /// Its process ID, if it was started and not yet waited for.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.child.as_ref().context("not started")?.id();
        let pid = Pid::from_raw(i32::try_from(pid)?).context("pid 0")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Kills it without warning and waits until it is gone.
    ///
    /// # Errors
    /// If it was never started.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("not started")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Sends a signal and waits for the end: the status, and how long it took.
    ///
    /// # Errors
    /// If it has not ended after ten seconds.
    pub fn stop(&mut self, signal: Signal) -> Result<(ExitStatus, Duration)> {
        let start = Instant::now();
        self.signal(signal)?;
        let status = wait_for("the daemon's end", Duration::from_secs(10), || self.ended())?;
        self.child = None;
        Ok((status, start.elapsed()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Asks every 50 ms until there is an answer.
///
/// # Errors
/// The first error of `ask`, or a sentence that names `what` when `patience` is over.
pub fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if start.elapsed() > patience {
            bail!("waited {patience:?} for {what}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Lets real time pass.
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// The present moment.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// A file's content, or nothing.
#[must_use]
pub fn text(path: &Path) -> String {
    std::fs::read(path)
        .map(|octets| String::from_utf8_lossy(&octets).into_owned())
        .unwrap_or_default()
}
