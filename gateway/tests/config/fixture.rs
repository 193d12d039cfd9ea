//! A directory with keys of every kind and a way to load a configuration from it.
//!
//! ```text
//!   DIR/s2s-gw.toml, conf.d/*.toml     DIR/*.psk             keys, good and bad
//!   DIR/root/etc/s2s-gw/*.psk          absolute paths        DIR/credentials/paris.psk
//!   DIR/*.pem, *.key                   material.rs
//! ```
//!
//! Every key has [`MARK`] in it, and nothing that comes out of a load may have it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use gateway::config::{Code, Config, Diagnostic, Report, Surroundings};
use tempfile::TempDir;

use super::material;

/// Part of every key.
pub(crate) const MARK: &str = "hunter2";

/// `MARK` in the encodings that a key may have.
const MARKS: [&str; 5] = [MARK, "68756e74657232", "aHVudGVyM", "h u n t e r", "PRIVATE KEY-----\n"];

pub(crate) struct Fixture {
    directory: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let fixture = Self { directory: TempDir::new().unwrap() };
        let good = format!("{MARK} {MARK} {MARK} {MARK} {MARK}");
        for name in ["berlin", "paris", "vpnaas", "aws-1", "aws-2"] {
            fixture.write(
                &format!("root/etc/s2s-gw/{name}.psk"),
                &format!("{good} {name}\n"),
                0o600,
            );
        }
        fixture.write("credentials/paris.psk", &format!("{good} credential"), 0o440);
        fixture.write("credentials/berlin.psk", &format!("{good} berlin credential"), 0o440);
        for (name, text, mode) in [
            ("good.psk", good.clone() + "\n", 0o600),
            ("other.psk", good.clone() + " other\r\n", 0o400),
            ("hex.psk", format!("0x{}", "68756e74657232".repeat(3)), 0o600),
            ("base64.psk", "0saHVudGVyMmh1bnRlcjJodW50ZXIy\n".into(), 0o600),
            ("open.psk", good.clone(), 0o644),
            ("empty.psk", "\n".into(), 0o600),
            ("short.psk", format!("{MARK}{MARK}\n"), 0o600),
            ("weak.psk", format!("{MARK} {MARK} {MARK}\n"), 0o600),
            ("lines.psk", format!("{good}\n{good}\n"), 0o600),
            ("nul.psk", format!("{good}\0"), 0o600),
            ("space.psk", format!("{good} \n"), 0o600),
            ("bad-hex.psk", format!("0x{MARK}{MARK}{MARK}"), 0o600),
            ("bad-base64.psk", format!("0s{MARK}!{MARK}"), 0o600),
            ("huge.psk", good.repeat(1000), 0o600),
        ] {
            fixture.write(name, &text, mode);
        }
        for (name, (octets, mode)) in material::all() {
            fixture.write(name, octets, *mode);
        }
        let (key, _) = &material::all()["fra1.key"];
        fixture.write("credentials/fra1.key", key, 0o440);
        fixture
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &(impl AsRef<[u8]> + ?Sized), mode: u32) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Loads a text as `DIR/s2s-gw.toml`, open to its owner only.
    pub(crate) fn load(&self, text: &str) -> Result<Config, Report> {
        self.write("s2s-gw.toml", text, 0o600);
        self.load_path(&self.path("s2s-gw.toml"))
    }

    pub(crate) fn load_path(&self, path: &Path) -> Result<Config, Report> {
        load_in(path, &self.surroundings())
    }

    pub(crate) fn surroundings(&self) -> Surroundings {
        Surroundings {
            credentials: Some(self.path("credentials")),
            host_name: "host".into(),
            root: Some(self.path("root")),
            now: Some(material::now()),
            ..Surroundings::default()
        }
    }

    /// Loads a text with keys that are not served yet.
    pub(crate) fn load_unserved(&self, text: &str) -> Result<Config, Report> {
        self.write("s2s-gw.toml", text, 0o600);
        let surroundings = Surroundings { accept_unserved: true, ..self.surroundings() };
        load_in(&self.path("s2s-gw.toml"), &surroundings)
    }

    /// Loads a text as the gateway does when it starts.
    pub(crate) fn load_to_run(&self, text: &str) -> Result<Config, Report> {
        self.write("s2s-gw.toml", text, 0o600);
        let path = self.path("s2s-gw.toml");
        without_keys(Config::load_to_run_in(&path, &self.surroundings()))
    }
}

/// Loads, and looks for keys in everything that comes out.
pub(crate) fn load_in(path: &Path, surroundings: &Surroundings) -> Result<Config, Report> {
    without_keys(Config::load_in(path, surroundings))
}

fn without_keys(result: Result<Config, Report>) -> Result<Config, Report> {
    let outputs = match &result {
        Ok(config) => vec![
            format!("{config:?}"),
            config.render_warnings(false),
            config.render_left_out(false),
            config.check_json().to_string(),
        ],
        Err(report) => vec![
            format!("{report:?}"),
            report.render(false),
            report.render(true),
            report.to_json().to_string(),
        ],
    };
    for output in outputs {
        for mark in MARKS {
            assert!(!output.contains(mark), "a key is in {output}");
        }
    }
    result
}

/// Errors and warnings of a load.
pub(crate) fn diagnostics(result: Result<Config, Report>) -> Vec<Diagnostic> {
    match result {
        Ok(config) => config.warnings,
        Err(report) => report.diagnostics,
    }
}

/// Code and place of a diagnostic as the cases write them: `E0101 4:1`, or `E0102 -` without a place.
pub(crate) fn head(diagnostic: &Diagnostic) -> String {
    match diagnostic.line_column() {
        Some((line, column)) => format!("{} {line}:{column}", diagnostic.code),
        None => format!("{} -", diagnostic.code),
    }
}

/// All that a diagnostic says, for looking up words.
pub(crate) fn words(diagnostic: &Diagnostic) -> String {
    let mut text = diagnostic.message.clone();
    for label in &diagnostic.labels {
        text = text + "\n" + &label.text;
    }
    for note in [&diagnostic.why, &diagnostic.fix, &diagnostic.help].into_iter().flatten() {
        text = text + "\n" + note;
    }
    text
}

/// Compares what was found with what a case expects: the same codes at the same places in this order, and the words.
pub(crate) fn compare(
    case: &str,
    found: &[Diagnostic],
    expected: &[(String, Vec<String>)],
) -> Vec<Code> {
    let heads: Vec<_> = found.iter().map(head).collect();
    let expected_heads: Vec<_> = expected.iter().map(|(head, _)| head.clone()).collect();
    let all: Vec<_> = found.iter().map(|one| one.render(false)).collect();
    assert_eq!(heads, expected_heads, "case `{case}` gave\n{}", all.join("\n"));
    for (diagnostic, (head, phrases)) in found.iter().zip(expected) {
        let text = words(diagnostic);
        for phrase in phrases {
            assert!(
                text.contains(phrase.as_str()),
                "case `{case}`, {head}: no `{phrase}` in\n{text}"
            );
        }
    }
    found.iter().map(|one| one.code).collect()
}
