//! Reads the files: the main one, then what it includes, each to its form, then all of them to their meaning.
//!
//! ```text
//!   s2s-gw.toml ──► read_file ──► Document ──► Raw ◄──┐
//!       │ include = ["conf.d/*.toml"]                 │ one Raw for all files
//!       └──► expand ──► conf.d/a.toml, conf.d/b.toml ─┘ ──► validate ──► Config, or Report
//! ```

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::codes::Code;
use super::document::Document;
use super::model::Config;
use super::raw::Raw;
use super::report::{Diagnostic, Report};
use super::secret::plain_error;
use super::section::Findings;
use super::source::At;
use super::validate::validate;

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
        let mut reading = Reading::default();
        reading.main_file(path);
        let Reading { raw, files, mut findings } = reading;
        let config = validate(&raw, surroundings, &mut findings);
        let has_errors = findings.has_errors();
        let diagnostics = in_order(findings, &files);
        match config {
            Some((gateway, connections)) if !has_errors => {
                Ok(Self { gateway, connections, warnings: diagnostics, files })
            }
            _ => Err(Report { diagnostics, files }),
        }
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
}

impl Surroundings {
    /// Those of this process: `$CREDENTIALS_DIRECTORY`, the host name, `/`.
    #[must_use]
    pub fn of_process() -> Self {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { credentials, host_name, root: None }
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
struct Reading {
    raw: Raw,
    files: Vec<PathBuf>,
    findings: Findings,
}

impl Reading {
    fn main_file(&mut self, path: &Path) {
        self.files.push(path.to_path_buf());
        let text = match read_file(path) {
            Ok(text) => text,
            Err(error) => {
                let message =
                    format!("`{}` cannot be read: {}", path.display(), plain_error(&error));
                self.findings.add(Diagnostic::of_file(Code::FileUnreadable, path, message));
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
            Diagnostic::at(Code::FileUnreadable, &pattern.place, message).label(plain_error(error))
        };
        let whole = directory.join(&pattern.value);
        let paths = match expand(&whole) {
            Ok(paths) => paths,
            Err(error) => return self.findings.add(complaint(&whole, &error)),
        };
        for path in paths {
            if self.files.contains(&path) {
                continue;
            }
            self.files.push(path.clone());
            match read_file(&path) {
                Ok(text) => self.parse(&path, &text),
                Err(error) => self.findings.add(complaint(&path, &error)),
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
fn expand(pattern: &Path) -> std::io::Result<Vec<PathBuf>> {
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
fn in_order(findings: Findings, files: &[PathBuf]) -> Vec<Diagnostic> {
    let mut diagnostics = findings.into_diagnostics();
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
