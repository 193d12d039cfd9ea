//! The configuration read again while the gateway runs, and the difference put in force.
//!
//! ```text
//!   SIGHUP, s2s-gw reload ──► helper thread: Config::load, keys and all ──► control, woken by its mio::Waker
//!                                                                             │
//!     errors ──► nothing changes, W0603 until the next good reload ◄──────────┤
//!     [gateway] listen .. differ ──► nothing changes, "needs restart" ◄───────┤
//!     diff.rs ──► removed: DELETE, routes gone    changed: as the matrix says ┴ added: routes, policy, SAs
//! ```
//!
//! What is read is valid as a whole before anything changes, and every step leaves what it does not name alone: the SPIs
//! of other connections are those of before. `apply.rs` does it, `replace.rs` has what takes longer than a moment.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mio::Token;

use super::commands::refuse;
use super::connection::Connection;
use super::diff::{self, Side};
use super::{Control, Run};
use crate::config::{self, Config, Report, Severity};
use crate::dataplane::SlotId;
use crate::status::protocol::{RefusalKind, Response};
use crate::status::reload::{Outcome, Reload};
use crate::status::{Code, ConfigStatus, Warning};
use crate::sys::wipe;
use crate::{clock, log};

/// Where the configuration comes from, and the reading of it that is under way.
#[derive(Debug)]
pub(super) struct Reloading {
    path: PathBuf,
    waker: Arc<mio::Waker>,
    job: Option<Job>,
    /// A signal came while a reading was under way: its end may have been too early for what changed.
    again: bool,
    /// The last one was refused.
    failed: bool,
    /// When what runs was read.
    loaded: Timestamp,
    /// What was read, as it was then.
    stamps: BTreeMap<PathBuf, Option<Stamp>>,
    /// What was included: a file that fits and was not read is a difference, too.
    patterns: Vec<PathBuf>,
    /// Since when files differ from that.
    differs_since: Option<Instant>,
}

/// A reading that is under way.
#[derive(Debug)]
struct Job {
    result: Receiver<Loaded>,
    /// The client that waits for the answer; `None` after a signal.
    client: Option<Token>,
    dry_run: bool,
    /// Also what could wait for the next rekey.
    at_once: bool,
}

/// What a helper thread has read.
struct Loaded {
    config: Result<Config, Report>,
    stamps: BTreeMap<PathBuf, Option<Stamp>>,
}

/// Tells one state of a file from another: inode, length, seconds and nanoseconds of its last change.
type Stamp = (u64, u64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    let data = fs::metadata(path).ok()?;
    Some((data.ino(), data.len(), data.mtime(), data.mtime_nsec()))
}

fn stamps<'p>(files: impl Iterator<Item = &'p PathBuf>) -> BTreeMap<PathBuf, Option<Stamp>> {
    files.map(|file| (file.clone(), stamp(file))).collect()
}

/// Everything that was read for it: also keys and certificates.
fn of_config(config: &Config) -> impl Iterator<Item = &PathBuf> {
    config.files.iter().chain(&config.left_out_files).chain(&config.material)
}

impl Reloading {
    /// `config` is what runs from now on.
    pub(super) fn new(config: &Config, waker: Arc<mio::Waker>, now: Instant) -> Self {
        let path = config.files.first().cloned().unwrap_or_default();
        let stamps = stamps(of_config(config));
        let (job, again, failed, differs_since) = (None, false, false, None);
        let patterns = config.patterns.clone();
        let mut this = Self {
            path,
            waker,
            job,
            again,
            failed,
            loaded: clock::wall(),
            stamps,
            patterns,
            differs_since,
        };
        this.look(now);
        this
    }

    /// Begins to read.
    ///
    /// # Errors
    /// The refusal, if a reading is under way already or there is no thread for it.
    fn begin(
        &mut self,
        client: Option<Token>,
        dry_run: bool,
        at_once: bool,
    ) -> Result<(), Response> {
        if self.job.is_some() {
            let message = "a reload is under way; try again in a moment".to_owned();
            return Err(refuse(RefusalKind::NotNow, message));
        }
        let (path, waker) = (self.path.clone(), Arc::clone(&self.waker));
        let known: Vec<PathBuf> = self.stamps.keys().cloned().collect();
        let (sender, result) = channel();
        let read = move || {
            crate::fault::point("reload");
            // Before it is read: a change in the midst of it is one that was not read.
            let before = stamps(known.iter());
            let config = Config::load(&path);
            wipe::stack();
            let files: Vec<&PathBuf> = match &config {
                Ok(config) => of_config(config).collect(),
                Err(report) => report.files.iter().collect(),
            };
            let of = |file: &PathBuf| before.get(file).copied().unwrap_or_else(|| stamp(file));
            let stamps = files.into_iter().map(|file| (file.clone(), of(file))).collect();
            let _ = sender.send(Loaded { config, stamps });
            // Should it fail, the next second wakes control as well.
            let _ = waker.wake();
        };
        match thread::Builder::new().name("reload".to_owned()).spawn(read) {
            Ok(_) => {
                self.job = Some(Job { result, client, dry_run, at_once });
                Ok(())
            }
            Err(error) => {
                let message = format!("cannot start a thread to read the configuration: {error}");
                Err(refuse(RefusalKind::NotNow, message))
            }
        }
    }

    /// Looks whether files are others than those that were read.
    pub(super) fn look(&mut self, now: Instant) {
        let differs = self.stamps.iter().any(|(file, then)| stamp(file) != *then)
            || Config::matching(&self.patterns).iter().any(|file| !self.stamps.contains_key(file));
        self.differs_since = differs.then(|| self.differs_since.unwrap_or(now));
    }

    /// What runs, and whether something else was to.
    pub(super) fn status(&self) -> ConfigStatus {
        let loaded = self.loaded.round(jiff::Unit::Millisecond).unwrap_or(self.loaded);
        ConfigStatus { loaded: Some(loaded), refused: self.failed }
    }

    /// Codes of what is wrong with the files.
    fn warnings(&self, now: Instant) -> impl Iterator<Item = Code> {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= FILE_NEWER_AFTER;
        let newer = self.differs_since.is_some_and(is_old).then_some(Code::FileNewer);
        newer.into_iter().chain(self.failed.then_some(Code::ReloadFailed))
    }
}

impl Control {
    /// SIGHUP: reload, and the log is told how it went.
    pub(super) fn on_hangup(&mut self) {
        if self.reloading.job.is_some() {
            self.reloading.again = true;
            return;
        }
        self.manager.reloading();
        if let Err(Response::Refused { message, .. }) = self.reloading.begin(None, false, false) {
            tracing::error!(target: "gateway", event = "reload-failed", msg = message);
            self.manager.ready();
        }
    }

    /// A client asks for a reload; it is answered when the files are read.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn begin_reload(
        &mut self,
        client: Token,
        dry_run: bool,
        at_once: bool,
    ) -> Result<(), Response> {
        if self.run != Run::On {
            return Err(refuse(RefusalKind::NotNow, "the gateway is stopping".to_owned()));
        }
        self.reloading.begin(Some(client), dry_run, at_once)
    }

    /// Takes what the helper thread has read, if it is done.
    pub(super) fn on_reload(&mut self, now: Instant) {
        let Some(job) = &self.reloading.job else { return };
        let loaded = match job.result.try_recv() {
            Err(TryRecvError::Empty) => return,
            Ok(loaded) if self.run == Run::On => Ok(loaded),
            Ok(_) => Err("the gateway is stopping"),
            Err(TryRecvError::Disconnected) => Err("reading the configuration broke off"),
        };
        let Some(Job { client, dry_run, at_once, .. }) = self.reloading.job.take() else { return };
        let response = match loaded {
            Ok(loaded) => {
                let report = Box::new(self.reload(now, loaded, dry_run, at_once));
                Response::Reload { report }
            }
            Err(why) => refuse(RefusalKind::NotNow, why.to_owned()),
        };
        match client {
            Some(client) => self.devices.server.reply(client, &response, now),
            None => self.manager.ready(),
        }
        if std::mem::take(&mut self.reloading.again) {
            self.on_hangup();
        }
    }

    /// What `status` warns of.
    pub(super) fn all_warnings(&self, now: Instant) -> Vec<Warning> {
        let of_files = self.reloading.warnings(now).map(Warning::of);
        let known = self.warnings.iter().chain(&self.host_warnings).cloned();
        let of_state = self.memory.warning().map(Warning::of);
        let of_device = self.device.warning();
        known.chain(of_device).chain(self.host.warnings()).chain(of_files).chain(of_state).collect()
    }

    fn reload(&mut self, now: Instant, loaded: Loaded, dry_run: bool, at_once: bool) -> Reload {
        let file = self.reloading.path.display().to_string();
        let Loaded { config, stamps } = loaded;
        let config = match config {
            Ok(config) => config,
            Err(report) => {
                let mut answer = Reload::new(Outcome::Invalid, file);
                answer.check = Some(report.to_json());
                answer.findings = report.render(false);
                self.refuse_reload(&answer, dry_run, Some(&report));
                return answer;
            }
        };
        let old = Side {
            gateway: &self.gateway,
            log: &self.log,
            log_is_pinned: log::is_pinned(),
            security: &self.security,
            connections: self.connections.iter().map(|c| &c.config).collect(),
        };
        let new = Side {
            gateway: &config.gateway,
            log: &config.log,
            log_is_pinned: log::is_pinned(),
            security: &config.security,
            connections: config.connections.iter().collect(),
        };
        let slots: usize = config.connections.iter().map(|c| c.children.len()).sum();
        let plan = match diff::diff(&old, &new, at_once) {
            Ok(plan) if self.has_room(slots) => plan,
            other => {
                let mut answer = Reload::new(Outcome::NeedsRestart, file);
                let too_many = || vec![format!("{slots} children, which is more than possible")];
                answer.needs_restart = other.err().unwrap_or_else(too_many);
                self.refuse_reload(&answer, dry_run, None);
                return answer;
            }
        };
        let outcome = if dry_run { Outcome::Planned } else { Outcome::Applied };
        let mut answer = Reload::new(outcome, file);
        answer.gateway.clone_from(&plan.gateway);
        answer.connections = plan.connections(&config.connections);
        let kept = |c: &&config::Connection| !plan.differences.contains_key(&c.name);
        answer.unchanged = config.connections.iter().filter(kept).count();
        answer.check = Some(config.check_json());
        answer.findings = config.render_warnings(false);
        if !dry_run {
            log_plan(&answer);
            self.reloading.failed = false;
            self.reloading.loaded = clock::wall();
            self.reloading.stamps = stamps;
            self.reloading.patterns.clone_from(&config.patterns);
            self.reloading.look(now);
            self.put_in_force(now, config, &plan, at_once);
        }
        answer
    }

    /// Whether so many children have slots, beside those that are leaving. While they change, both need one.
    fn has_room(&self, wanted: usize) -> bool {
        let there = |c: &Connection| c.children.len() + c.leaving.len();
        let there: usize = self.connections.iter().map(there).sum();
        u32::try_from(wanted + there).is_ok_and(|all| all <= SlotId::MAX.0)
    }

    fn refuse_reload(&mut self, answer: &Reload, dry_run: bool, report: Option<&Report>) {
        if dry_run {
            return;
        }
        self.reloading.failed = true;
        let errors = report.into_iter().flat_map(|report| &report.diagnostics);
        for error in errors.filter(|one| one.severity() == Severity::Error).take(ERRORS_LOGGED) {
            let file = error.path().map(|path| path.display().to_string());
            let line = error.line_column().map(|(line, _)| line);
            tracing::error!(
                target: "gateway", event = "config-error", code = %error.code, file, line,
                msg = error.message
            );
        }
        tracing::error!(
            target: "gateway", event = "reload-failed", code = Code::ReloadFailed.id(),
            msg = answer.sentence(), fix = "s2s-gw reload --dry-run says more"
        );
    }
}

/// What changes, for the log.
fn log_plan(answer: &Reload) {
    let (changed, unchanged) = (answer.connections.len(), answer.unchanged);
    tracing::info!(
        target: "gateway", event = "reloaded", file = answer.file, changed, unchanged
    );
    for step in &answer.gateway {
        let keys = step.keys.join(", ");
        tracing::info!(target: "gateway", event = "reload-step", keys, action = step.words);
    }
    for connection in &answer.connections {
        let (conn, change) = (&connection.name, connection.change.word());
        for step in &connection.steps {
            let keys = step.keys.join(", ");
            tracing::info!(
                target: "gateway", event = "reload-step", %conn, change, keys, action = step.words
            );
        }
    }
}

/// An editor at work is no reason to warn.
const FILE_NEWER_AFTER: Duration = Duration::from_mins(1);

/// Errors of a file that are logged.
const ERRORS_LOGGED: usize = 20;

#[cfg(test)]
mod tests;
