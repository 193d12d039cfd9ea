//! What is wrong with a configuration, for people and for programs.
//!
//! ```text
//!   Report ─► [Diagnostic] ─► render   error[E0101]: unknown key `remote_subnet`           what
//!                │                       --> s2s-gw.toml:4:1                                where
//!                │                      4 | remote_subnet = ["10.2.0.0/16"]
//!                │                        | ^^^^^^^^^^^^^ not a key of [connection.berlin]
//!                │                        = help: did you mean `remote_subnets`?            how to go on
//!                └────────► to_json  one object, schema "s2s-gw/check/1"
//! ```

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use annotate_snippets::{
    AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str,
};
use serde_json::{Value, json};

use super::codes::Code;
use super::source::Place;

/// Everything that is wrong with a configuration, at once, in the order of the files.
#[derive(Debug, Clone)]
pub struct Report {
    /// Errors and warnings; at least one error.
    pub diagnostics: Vec<Diagnostic>,
    /// Every file that was read as configuration, the main one first.
    pub files: Vec<PathBuf>,
}

/// One error or warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code; [`Code::explanation`] says more about it.
    pub code: Code,
    /// What is wrong, in one line.
    pub message: String,
    /// Where: the first is the place to look at, the others are related. Empty: the file as a whole.
    pub labels: Vec<Label>,
    /// The file, where there is no position in it (it cannot be read at all).
    pub file: Option<PathBuf>,
    /// Why that is a problem.
    pub why: Option<String>,
    /// What to write or do instead.
    pub fix: Option<String>,
    /// A guess what was meant.
    pub help: Option<String>,
}

/// One place of a [`Diagnostic`] with what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub place: Place,
    /// What is to be seen there; may be empty.
    pub text: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is used.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl Diagnostic {
    /// Something wrong at a place.
    pub(crate) fn at(code: Code, place: &Place, message: impl Into<String>) -> Self {
        let label = Label { place: place.clone(), text: String::new() };
        Self { labels: vec![label], ..Self::bare(code, message.into()) }
    }

    /// Something wrong with a file as a whole.
    pub(crate) fn of_file(
        code: Code,
        file: impl Into<PathBuf>,
        message: impl Into<String>,
    ) -> Self {
        Self { file: Some(file.into()), ..Self::bare(code, message.into()) }
    }

    fn bare(code: Code, message: String) -> Self {
        let (why, fix, help) = (None, None, None);
        Self { code, message, labels: Vec::new(), file: None, why, fix, help }
    }

    /// Says what is to be seen at the main place.
    pub(crate) fn label(mut self, text: impl Into<String>) -> Self {
        if let Some(first) = self.labels.first_mut() {
            first.text = text.into();
        }
        self
    }

    /// Adds a related place.
    pub(super) fn related(mut self, place: &Place, text: impl Into<String>) -> Self {
        self.labels.push(Label { place: place.clone(), text: text.into() });
        self
    }

    pub(crate) fn why(mut self, text: impl Into<String>) -> Self {
        self.why = Some(text.into());
        self
    }

    pub(crate) fn fix(mut self, text: impl Into<String>) -> Self {
        self.fix = Some(text.into());
        self
    }

    pub(crate) fn help(mut self, text: Option<impl Into<String>>) -> Self {
        self.help = text.map(Into::into).or(self.help);
        self
    }

    /// Error or warning, as the code says.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.code.severity()
    }

    /// Line and column of the main place, both from 1.
    #[must_use]
    pub fn line_column(&self) -> Option<(usize, usize)> {
        self.labels.first().map(|label| label.place.line_column())
    }

    /// The file that it is about.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self.labels.first() {
            Some(label) => Some(label.place.path()),
            None => self.file.as_deref(),
        }
    }

    /// The message with its source lines, as rustc prints it. Ends without newline.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let level = match self.severity() {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(printable(&self.message)).id(self.code.id());
        let mut group = Group::with_title(title);
        if let (true, Some(file)) = (self.labels.is_empty(), &self.file) {
            group = group.element(Origin::path(file.display().to_string()));
        }
        group = group.elements(self.snippets());
        let notes = [("why", &self.why), ("fix", &self.fix), ("help", &self.help)];
        for (name, text) in notes {
            if let Some(text) = text {
                group = group.element(Level::NOTE.with_name(name).message(printable(text)));
            }
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        without_c1(&renderer.render(&[group]))
    }

    /// One snippet per file, in the order of the labels, so that two places of one file share it.
    fn snippets(&self) -> Vec<Element<'_>> {
        let mut elements = Vec::new();
        for (index, label) in self.labels.iter().enumerate() {
            let source = &label.place.source;
            let same = |other: &&Label| std::sync::Arc::ptr_eq(&other.place.source, source);
            if self.labels.iter().take(index).any(|earlier| same(&earlier)) {
                continue;
            }
            let annotations = self.labels.iter().enumerate().filter(|(_, label)| same(label)).map(
                |(index, label)| {
                    let kind = match index {
                        0 => AnnotationKind::Primary,
                        _ => AnnotationKind::Context,
                    };
                    let text = (!label.text.is_empty()).then(|| printable(&label.text));
                    kind.span(label.place.span.clone()).label(text)
                },
            );
            let snippet = Snippet::source(source.text())
                .path(source.path().display().to_string())
                .annotations(annotations);
            elements.push(snippet.into());
        }
        elements
    }

    /// As an object: `code`, `severity`, `title`, `message`, `file`, `line`, `column`, `end_line`, `end_column`, `label`,
    /// `why`, `fix`, `help`, `related` (places). What is not known is `null`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut value = json!({
            "code": self.code.id(),
            "severity": self.severity().word(),
            "title": self.code.title(),
            "message": self.message,
            "file": self.path().map(|path| path.display().to_string()),
            "why": self.why,
            "fix": self.fix,
            "help": self.help,
            "related": self.labels.iter().skip(1).map(place_json).collect::<Vec<_>>(),
        });
        let place = self.labels.first().map_or_else(
            || json!({"line": null, "column": null, "end_line": null, "end_column": null, "label": null}),
            place_json,
        );
        if let (Value::Object(all), Value::Object(place)) = (&mut value, place) {
            all.extend(place);
        }
        value
    }
}

fn place_json(label: &Label) -> Value {
    let (line, column) = label.place.line_column();
    let (end_line, end_column) = label.place.end_line_column();
    json!({
        "file": label.place.path().display().to_string(),
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
        "label": label.text,
    })
}

/// A path as it is typed in a shell: in quotes where it needs them.
pub(super) fn for_shell(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@%:,=".contains(c);
    if text.starts_with('-') {
        return for_shell(&Path::new(".").join(path));
    }
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Text from a file must not be able to move the cursor of a terminal.
pub(crate) fn printable(text: &str) -> String {
    without_c1(&normalize_untrusted_str(text))
}

/// Less the control characters above ASCII, which the renderer lets by: to some terminals U+009B is what ESC [ is to all.
fn without_c1(text: &str) -> String {
    text.replace(|it| matches!(it, '\u{80}'..='\u{9f}'), "\u{fffd}")
}

impl Report {
    /// Everything, as rustc prints it, closed by the number of errors and where to read on. Ends with a newline.
    ///
    /// `color` switches the escape sequences for terminals on; the caller knows whether it writes to one.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let mut text = render_all(&self.diagnostics, color);
        text.push_str(&self.summary());
        text.push('\n');
        if let Some(first) = self.diagnostics.first() {
            let _ = writeln!(text, "more: s2s-gw error {}", first.code);
        }
        text
    }

    /// The closing line: `4 errors in 1 file`, with the warnings if there are some.
    #[must_use]
    pub fn summary(&self) -> String {
        let of = |severity| self.diagnostics.iter().filter(move |one| one.severity() == severity);
        let (errors, warnings) = (of(Severity::Error).count(), of(Severity::Warning).count());
        let mut files: Vec<_> = of(Severity::Error).filter_map(Diagnostic::path).collect();
        files.sort_unstable();
        files.dedup();
        let warnings = match warnings {
            0 => String::new(),
            count => format!(", {}", counted(count, "warning")),
        };
        format!("{}{warnings} in {}", counted(errors, "error"), counted(files.len(), "file"))
    }

    /// `{"schema": "s2s-gw/check/1", "ok": false, "files": [..], "diagnostics": [..]}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json_of(false, &self.files, &self.diagnostics)
    }
}

impl super::Config {
    /// The warnings as rustc prints them, closed by their number; empty if there are none.
    #[must_use]
    pub fn render_warnings(&self, color: bool) -> String {
        if self.warnings.is_empty() {
            return String::new();
        }
        let count = counted(self.warnings.len(), "warning");
        format!("{}{count}, no errors\n", render_all(&self.warnings, color))
    }

    /// The errors in the files that were left out, closed by a line that says so; empty if there are none.
    #[must_use]
    pub fn render_left_out(&self, color: bool) -> String {
        if self.left_out_files.is_empty() {
            return String::new();
        }
        let errors = counted(self.left_out.len(), "error");
        let files = counted(self.left_out_files.len(), "included file");
        let rendered = render_all(&self.left_out, color);
        format!(
            "{rendered}{errors} in {files}, LEFT OUT: the gateway runs without what is in there\n\n"
        )
    }

    /// `{"schema": "s2s-gw/check/1", "ok": true, "files": [..], "diagnostics": [..]}`: the answer of `check --json`.
    #[must_use]
    pub fn check_json(&self) -> Value {
        json_of(true, &self.files, &self.warnings)
    }
}

fn render_all(diagnostics: &[Diagnostic], color: bool) -> String {
    diagnostics.iter().map(|one| one.render(color) + "\n\n").collect()
}

fn json_of(ok: bool, files: &[PathBuf], diagnostics: &[Diagnostic]) -> Value {
    json!({
        "schema": "s2s-gw/check/1",
        "ok": ok,
        "files": files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
        "diagnostics": diagnostics.iter().map(Diagnostic::to_json).collect::<Vec<_>>(),
    })
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Report {}
