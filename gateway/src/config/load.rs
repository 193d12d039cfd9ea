//! Reads the files: the main one, then what it includes, each to its form, then all of them to their meaning.
//!
//! ```text
//!   s2s-gw.toml ──► read_file ──► Document ──► Raw ◄──┐
//!       │ include = ["conf.d/*.toml"]                 │ one Raw for all files
//!       └──► expand ──► conf.d/a.toml, conf.d/b.toml ─┘ ──► validate ──► Config, or Report
//! ```
//!
//! Strictly, or as the gateway starts: without the included files that have errors, until what is left has none.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::codes::Code;
use super::document::Document;
use super::model::Config;
use super::raw::Raw;
use super::report::{Diagnostic, Report, Severity};
use super::secret::plain_error;
use super::section::Findings;
use super::source::At;
use super::validate::validate;
use crate::clock;
use crate::sys::netlink::{MAIN_TABLE, Netlink};

impl Config {
    /// Reads and checks a configuration file and everything that it names: included files and key files.
    ///
    /// # Errors
    /// Everything that is wrong in all of the files, in their order. Nothing of it is secret.
    pub fn load(path: &Path) -> Result<Self, Report> {
        Self::load_in(path, &Surroundings::of_process())
    }

    /// The same with the surroundings given, for tests and for checking the configuration of another machine.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_in(path: &Path, surroundings: &Surroundings) -> Result<Self, Report> {
        attempt(path, None, surroundings, &[]).map_err(Failed::into_report)
    }

    /// The same for a text that comes from elsewhere; `name` is what messages call it, and what it names by relative paths
    /// is looked for beside it.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_text(name: &Path, text: &str) -> Result<Self, Report> {
        Self::load_text_in(name, text, &Surroundings::of_process())
    }

    /// The same with the surroundings given.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_text_in(
        name: &Path,
        text: &str,
        surroundings: &Surroundings,
    ) -> Result<Self, Report> {
        attempt(name, Some(text), surroundings, &[]).map_err(Failed::into_report)
    }

    /// Reads a configuration as the gateway does when it starts: included files with errors are left out, so that one
    /// broken file keeps only its own tunnels down. [`Config::left_out`] has their errors, and W0305 is among the warnings
    /// for each of them.
    ///
    /// # Errors
    /// As [`Config::load`], if the main file has errors, by itself or without what was left out.
    pub fn load_to_run(path: &Path) -> Result<Self, Report> {
        Self::load_to_run_in(path, &Surroundings::of_process())
    }

    /// The same with the surroundings given.
    ///
    /// # Errors
    /// As [`Config::load_to_run`].
    pub fn load_to_run_in(path: &Path, surroundings: &Surroundings) -> Result<Self, Report> {
        let (mut left_out_files, mut left_out) = (Vec::new(), Vec::new());
        loop {
            let failed = match attempt(path, None, surroundings, &left_out_files) {
                Ok(config) if left_out_files.is_empty() => return Ok(config),
                Ok(mut config) => {
                    config.warnings.extend(left_out_files.iter().map(|file| is_left_out(file)));
                    return Ok(Self { left_out_files, left_out, ..config });
                }
                Err(failed) => failed,
            };
            let broken = failed.broken_files();
            if broken.is_empty() || broken.iter().any(|file| file == path) {
                let mut report = failed.into_report();
                report.diagnostics.splice(0..0, left_out);
                return Err(report);
            }
            left_out.extend(failed.into_errors());
            left_out_files.extend(broken);
        }
    }
}

/// W0305.
fn is_left_out(file: &Path) -> Diagnostic {
    let message =
        format!("`{}` has errors and is left out: its tunnels do not exist", file.display());
    Diagnostic::of_file(Code::FileLeftOut, file, message)
        .why("one broken file must not keep all other tunnels down")
        .fix("mend it (s2s-gw check), then s2s-gw reload")
}

/// Reads all files but `left_out`. `text`: that of the main file, if it is not to be read.
fn attempt(
    path: &Path,
    text: Option<&str>,
    surroundings: &Surroundings,
    left_out: &[PathBuf],
) -> Result<Config, Failed> {
    let mut reading = Reading { left_out, ..Reading::default() };
    reading.main_file(path, text);
    let Reading { raw, files, patterns, mut findings, unreadable, .. } = reading;
    let meaning = validate(&raw, surroundings, &mut findings);
    if surroundings.accept_unserved {
        findings.accept_unserved();
    }
    let material = findings.take_material();
    let has_errors = findings.has_errors() || !unreadable.is_empty();
    match meaning {
        Some(meaning) if !has_errors => Ok(Config {
            gateway: meaning.gateway,
            log: meaning.log,
            security: meaning.security,
            connections: meaning.connections,
            warnings: in_order(findings.into_diagnostics(), &files),
            files,
            patterns,
            material,
            left_out_files: Vec::new(),
            left_out: Vec::new(),
        }),
        _ => Err(Failed { diagnostics: findings.into_diagnostics(), files, unreadable }),
    }
}

/// An attempt that found errors.
struct Failed {
    diagnostics: Vec<Diagnostic>,
    files: Vec<PathBuf>,
    /// Included files that could not be read, each with what is said about it where it is included.
    unreadable: Vec<(PathBuf, Diagnostic)>,
}

impl Failed {
    fn into_report(self) -> Report {
        let unreadable = self.unreadable.into_iter().map(|(_, diagnostic)| diagnostic);
        let diagnostics = self.diagnostics.into_iter().chain(unreadable).collect();
        Report { diagnostics: in_order(diagnostics, &self.files), files: self.files }
    }

    fn into_errors(self) -> Vec<Diagnostic> {
        let mut diagnostics = self.into_report().diagnostics;
        diagnostics.retain(|one| one.severity() == Severity::Error);
        diagnostics
    }

    /// The files that errors are in, each once.
    fn broken_files(&self) -> Vec<PathBuf> {
        let errors = self.diagnostics.iter().filter(|one| one.severity() == Severity::Error);
        let errors = errors.filter_map(Diagnostic::path).map(Path::to_path_buf);
        let mut files: Vec<_> =
            errors.chain(self.unreadable.iter().map(|(path, _)| path.clone())).collect();
        files.sort_unstable();
        files.dedup();
        files
    }
}

/// What a configuration depends on besides its files.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Directory of the systemd credentials.
    pub credentials: Option<PathBuf>,
    /// The default of `[gateway] name`.
    pub host_name: String,
    /// Directory below which absolute paths of key files are looked up; `None`: `/`.
    pub root: Option<PathBuf>,
    /// Networks that this host is connected to (E0310).
    pub connected: Vec<Connected>,
    /// What time it is; `None`: nothing is said about certificates that end.
    pub now: Option<u64>,
    /// Accept keys that this version checks but cannot serve yet (E0103): for tests of such keys.
    #[doc(hidden)]
    pub accept_unserved: bool,
}

/// A network that this host is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// Name of the device.
    pub device: String,
    /// The network.
    pub network: IpNet,
}

/// What the kernel says; nothing where it says nothing.
fn connected() -> Vec<Connected> {
    let found = || {
        let mut netlink = Netlink::open().ok()?;
        let links = netlink.links().ok()?;
        let name = |index| links.iter().find(|link| link.index == index).map(|link| &link.name);
        let routes = netlink.routes(Some(BY_KERNEL)).ok()?;
        let routes = routes.iter().filter(|r| r.table == MAIN_TABLE && r.gateway.is_none());
        let networks = routes.filter_map(|route| {
            Some(Connected { device: name(route.device?)?.clone(), network: route.destination })
        });
        Some(networks.collect())
    };
    found().unwrap_or_default()
}

/// The protocol number of routes that come with an address (`RTPROT_KERNEL`).
const BY_KERNEL: u8 = 2;

impl Surroundings {
    /// Those of this process: `$CREDENTIALS_DIRECTORY`, the host name, `/`.
    #[must_use]
    pub fn of_process() -> Self {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let now = Some(clock::unix());
        Self { credentials, host_name, connected: connected(), now, ..Self::default() }
    }

    /// Where a key file is that `config` names as `key`.
    pub(super) fn key_path(&self, config: &Path, key: &Path) -> PathBuf {
        match (&self.root, key.strip_prefix("/")) {
            (Some(root), Ok(below)) => root.join(below),
            _ => config.parent().unwrap_or(Path::new("")).join(key),
        }
    }
}

/// The files as far as they are read.
#[derive(Default)]
struct Reading<'l> {
    raw: Raw,
    files: Vec<PathBuf>,
    patterns: Vec<PathBuf>,
    findings: Findings,
    unreadable: Vec<(PathBuf, Diagnostic)>,
    /// Files not to read.
    left_out: &'l [PathBuf],
}

impl Reading<'_> {
    fn main_file(&mut self, path: &Path, text: Option<&str>) {
        self.files.push(path.to_path_buf());
        let read = text.map_or_else(|| read_file(path), |text| Ok(Zeroizing::new(text.to_owned())));
        let text = match read {
            Ok(text) => text,
            Err(error) => {
                let message =
                    format!("`{}` cannot be read: {}", path.display(), plain_error(&error));
                let said = Diagnostic::of_file(Code::FileUnreadable, path, message);
                self.findings.add(if error.kind() == std::io::ErrorKind::NotFound {
                    said.fix("make one with `s2s-gw init`, or name the file with -c")
                } else {
                    with_remedy(said, &error)
                });
                return;
            }
        };
        self.parse(path, &text);
        let directory = path.parent().unwrap_or(Path::new(""));
        for pattern in std::mem::take(&mut self.raw.include) {
            self.included(directory, &pattern);
        }
    }

    fn included(&mut self, directory: &Path, pattern: &At<String>) {
        let complaint = |path: &Path, error: &std::io::Error| {
            let message = format!("`{}` cannot be included", path.display());
            let said = Diagnostic::at(Code::FileUnreadable, &pattern.place, message);
            with_remedy(said.label(plain_error(error)), error)
        };
        let whole = directory.join(&pattern.value);
        self.patterns.push(whole.clone());
        let paths = match expand(&whole) {
            Ok(paths) => paths,
            Err(error) => return self.findings.add(complaint(&whole, &error)),
        };
        for path in paths {
            if self.files.contains(&path) || self.left_out.contains(&path) {
                continue;
            }
            self.files.push(path.clone());
            match read_file(&path) {
                Ok(text) => self.parse(&path, &text),
                Err(error) => {
                    let said = complaint(&path, &error);
                    self.unreadable.push((path, said));
                }
            }
        }
    }

    fn parse(&mut self, path: &Path, text: &str) {
        let document = Document::parse(path.to_path_buf(), text, &mut self.findings);
        if document.readable {
            let is_main = self.files.len() == 1;
            self.raw.read(&document, is_main, &mut self.findings);
        }
    }
}

/// A running gateway may read less than it could when it started.
fn with_remedy(said: Diagnostic, error: &std::io::Error) -> Diagnostic {
    if error.kind() == std::io::ErrorKind::PermissionDenied && crate::sandbox::is_on() {
        said.fix(crate::sandbox::REMEDY)
    } else {
        said
    }
}

/// The text of a file, which may have a key in it.
fn read_file(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let kind = std::fs::metadata(path)?.file_type();
    // Somebody may never write to a FIFO, and a device may never end; a directory says of itself that it is one.
    if !kind.is_file() && !kind.is_dir() {
        return Err(std::io::Error::other("not a regular file"));
    }
    let mut octets = Zeroizing::new(Vec::new());
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > FILE_MAX {
        return Err(std::io::Error::other("larger than 4 MiB"));
    }
    let text = std::str::from_utf8(&octets).map_err(|error| {
        let line =
            octets.iter().take(error.valid_up_to()).filter(|&&octet| octet == b'\n').count() + 1;
        std::io::Error::other(format!("not text in UTF-8, line {line}"))
    })?;
    Ok(Zeroizing::new(text.to_owned()))
}

const FILE_MAX: u64 = 4 << 20;

/// The files that a pattern names, in the order of their names. `*` stands for any part of a file name, in the last
/// component only; names that begin with a dot are left out. A pattern may match nothing, a plain path must exist.
pub(super) fn expand(pattern: &Path) -> std::io::Result<Vec<PathBuf>> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !name.contains('*') {
        return Ok(vec![pattern.to_path_buf()]);
    }
    let directory = pattern.parent().unwrap_or(Path::new(""));
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let found = entry?.file_name();
        let found_text = found.to_string_lossy();
        if !found_text.starts_with('.') && matches_pattern(&name, &found_text) {
            paths.push(directory.join(&found));
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

fn matches_pattern(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            let starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            starts
                .into_iter()
                .any(|at| rest.get(at..).is_some_and(|tail| matches_pattern(after, tail)))
        }),
    }
}

/// By file, place and code; what concerns a file as a whole first.
fn in_order(mut diagnostics: Vec<Diagnostic>, files: &[PathBuf]) -> Vec<Diagnostic> {
    diagnostics.sort_by_key(|one| {
        let file = files.iter().position(|file| Some(file.as_path()) == one.path());
        (file, one.line_column(), one.code)
    });
    diagnostics.dedup();
    diagnostics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_parts_of_names() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", "a.toml~", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("*", "", true),
        ] {
            assert_eq!(matches_pattern(pattern, name), expected, "{pattern} {name}");
        }
    }
}
