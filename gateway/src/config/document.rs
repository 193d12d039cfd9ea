//! One file as a TOML document: syntax errors, and the text with its secrets masked.
//!
//! ```text
//!   text ─► toml parser ─► DeTable (values with spans) ─► sections
//!                │
//!                ├─► E0100, E0109 for every syntax error; for the first, if the file is another program's
//!                └─► spans of inline keys ─► Source (masked)
//! ```

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::codes::Code;
use super::foreign;
use super::keys::{PATHS_OF_KEYS, may_hold_secret, names_a_file};
use super::report::Diagnostic;
use super::section::Findings;
use super::source::{Place, Source};

/// A parsed file.
pub(super) struct Document<'t> {
    pub(super) table: DeTable<'t>,
    pub(super) source: Arc<Source>,
    /// Whether the syntax was good enough for the values to mean what they say.
    pub(super) readable: bool,
}

impl<'t> Document<'t> {
    pub(super) fn parse(path: PathBuf, text: &'t str, findings: &mut Findings) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let table = table.into_inner();
        let mut secrets = Vec::new();
        collect_secrets(&table, &mut secrets);
        if !errors.is_empty() {
            suspect_secrets(text, &mut secrets);
        }
        let source = Arc::new(Source::new(path, text, &secrets));
        let is_syntax = |error: &&toml::de::Error| !is_duplicate(error);
        let remedy = || foreign::remedy(text, source.path());
        if let Some(first) = errors.iter().find(is_syntax)
            && let Some(remedy) = remedy()
        {
            // What is wrong with the rest of a file of another program tells nobody anything.
            let place = Place { source: Arc::clone(&source), span: shown_span(text, first.span()) };
            findings.add(syntax_error(&place, first.message()).fix(remedy));
            return Self { table, source, readable: false };
        }
        let mut readable = true;
        for error in &errors {
            let place = Place { source: Arc::clone(&source), span: shown_span(text, error.span()) };
            let duplicate = is_duplicate(error);
            readable &= duplicate;
            findings.add(if duplicate {
                duplicate_key(&place)
            } else {
                syntax_error(&place, error.message())
            });
        }
        Self { table, source, readable }
    }
}

/// The text of a file with everything masked that is or may be a secret, also where it is no TOML. A string stays one: where it
/// was TOML it still is.
pub(crate) fn without_secrets(text: &str) -> String {
    let document = Document::parse(PathBuf::new(), text, &mut Findings::default());
    let masked = document.source.text();
    let mut result = String::with_capacity(masked.len());
    let mut pairs = text.chars().zip(masked.chars()).peekable();
    let mut was_masked = false;
    while let Some((original, shown)) = pairs.next() {
        let is_masked = original != shown;
        let ends = pairs.peek().is_none_or(|(original, shown)| original == shown);
        let is_quote = matches!(original, '"' | '\'');
        let is_kept = is_masked && is_quote && (ends || !was_masked);
        result.push(if is_kept { original } else { shown });
        was_masked = is_masked;
    }
    result
}

fn is_duplicate(error: &toml::de::Error) -> bool {
    error.message().contains("duplicate key")
}

fn duplicate_key(place: &Place) -> Diagnostic {
    let key = place.source.text().get(place.span.clone()).unwrap_or("").to_owned();
    Diagnostic::at(Code::Duplicate, place, format!("`{key}` is defined twice"))
        .label("defined before")
        .why("only one of the two could be used, and the file does not say which")
        .fix("delete or rename one; entries of one table have to stand together")
}

fn syntax_error(place: &Place, message: &str) -> Diagnostic {
    Diagnostic::at(Code::Syntax, place, format!("this is not TOML: {message}"))
        .label("reading stopped making sense here")
        .why("nothing in the file is used before all of it can be read")
}

/// A span that can be shown: inside the text, on character boundaries, not empty unless at the end of a line.
fn shown_span(text: &str, span: Option<Range<usize>>) -> Range<usize> {
    let Range { mut start, mut end } = span.unwrap_or(0..0);
    start = start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    end = end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

/// The spans of everything in the document that is or may be a secret.
fn collect_secrets(table: &DeTable<'_>, secrets: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        let named = PATHS_OF_KEYS.contains(&key.get_ref().as_ref())
            && value.get_ref().as_str().is_some_and(names_a_file);
        if named {
            continue;
        }
        if key.get_ref() == "ppk" {
            collect_scalars(value, OPEN_OF_PPK, secrets);
        } else if may_hold_secret(key.get_ref()) {
            collect_scalars(value, &[], secrets);
        } else {
            each_table(value.get_ref(), &mut |inner| collect_secrets(inner, secrets));
        }
    }
}

fn each_table(value: &DeValue<'_>, visit: &mut impl FnMut(&DeTable<'_>)) {
    if let Some(table) = value.as_table() {
        visit(table);
    }
    for item in value.as_array().into_iter().flat_map(|array| array.iter()) {
        each_table(item.get_ref(), visit);
    }
}

/// What is said about a key in the tables of `ppk`, whose name is near to `psk`.
const OPEN_OF_PPK: &[&str] = &["id", "required", "mix"];

fn is_scalar(value: &DeValue<'_>) -> bool {
    !value.is_table() && !value.is_array()
}

/// `open`: keys of tables whose values are shown besides the names of files and credentials.
fn collect_scalars(
    value: &toml::Spanned<DeValue<'_>>,
    open: &[&str],
    secrets: &mut Vec<Range<usize>>,
) {
    let inner = value.get_ref();
    if let Some(table) = inner.as_table() {
        for (key, item) in table {
            let (key, is_scalar) = (key.get_ref().as_ref(), is_scalar(item.get_ref()));
            let is_open = matches!(key, "file" | "credential") || is_scalar && open.contains(&key);
            if !is_open {
                let open = if key == "others" { open } else { &[] };
                collect_scalars(item, open, secrets);
            }
        }
    } else if let Some(array) = inner.as_array() {
        array.iter().for_each(|item| collect_scalars(item, open, secrets));
    } else {
        secrets.push(value.span());
    }
}

/// The same for text that the parser could not follow: the rest of the line after a word that may name a secret, except
/// `file = ..` and `credential = ..`, and on to the closing quotes of a text of several lines.
fn suspect_secrets(text: &str, secrets: &mut Vec<Range<usize>>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let word_len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(word_len);
        if word.is_empty() || !may_hold_secret(word) {
            at += word_len.max(rest.chars().next().map_or(1, char::len_utf8));
            continue;
        }
        let line_len = after.find('\n').unwrap_or(after.len());
        let (line, below) = after.split_at(line_len);
        let mut piece_start = at + word_len;
        for piece in line.split_inclusive([',', '{']) {
            let named = piece.trim_start();
            let harmless = named.starts_with("file") || named.starts_with("credential");
            if !harmless {
                secrets.push(piece_start..piece_start + piece.len());
            }
            piece_start += piece.len();
        }
        let opened = ["\"\"\"", "'''"].into_iter().find(|q| line.matches(q).count() % 2 == 1);
        let below_len = opened.map_or(0, |quotes| below.find(quotes).unwrap_or(below.len()));
        secrets.push(piece_start..piece_start + below_len);
        at = piece_start + below_len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let document = Document::parse("f".into(), text, &mut Findings::default());
        document.source.text().to_owned()
    }

    #[test]
    fn a_file_without_its_secrets_is_still_one() {
        let text = "[gateway]\nname = \"x\"\n[http]\nadmin_token = { inline = \"s3cr\\\"et\" }\n[connection.a]\npsk = { inline = 'other' }\n";
        let shown = without_secrets(text);
        assert!(
            !shown.contains("s3cr") && !shown.contains("et\\") && !shown.contains("other"),
            "{shown}"
        );
        assert!(shown.contains("inline = '*****'"), "{shown}");
        assert!(shown.parse::<toml::Table>().is_ok(), "{shown}");
        assert!(!without_secrets("[http\nadmin_token = { inline = \"s3cret\"").contains("s3cret"));
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        for (text, secret) in [
            ("[connection.a]\npsk = { inline = 'hunter2hunter2' }\n", "hunter2"),
            ("[connection.a]\npsk = { inlin = \"hunter2\" }\n", "hunter2"),
            ("[connection.a]\npsk = 'hunter2'\n", "hunter2"),
            ("[connection.a]\npks = [\"hunter2\"]\n", "hunter2"),
            ("[connection.a]\npsk = { inline = 8675309 }\n", "8675309"),
            ("[connection.a]\npsk.inline = 'hunter2'\n", "hunter2"),
            ("inline = 'hunter2'\n", "hunter2"),
            // not TOML
            ("psk = { inline = 'hunter2'\nx = 1\n", "hunter2"),
            ("psk = { 'hunter2' }\n", "hunter2"),
            ("psk = hunter2\n", "hunter2"),
            ("psk 'hunter2'\n", "hunter2"),
            ("psk = { inline = \"\"\"one\nhunter2\nx", "hunter2"),
            ("psk = { file = '/x', inline = hunter2 }\n", "hunter2"),
        ] {
            let shown = shown(text);
            assert!(!shown.contains(secret), "{text} is shown as {shown}");
            assert_eq!(shown.len(), text.len());
        }
    }

    #[test]
    fn what_is_said_about_a_post_quantum_key_stays_visible() {
        for text in [
            "ppk = { inline = 'hunter2', id = 'visible', mix = 'visible', required = 'visible' }\n",
            "ppk = { file = 'a', id = 'visible', others = [{ id = 'visible', inline = 'hunter2' }] }\n",
            "[connection.a.ppk]\nid = 'visible'\ninline = 'hunter2'\nmixx = 'hunter2'\n",
            "[[connection.a.ppk.others]]\nid = 'visible'\nsecret = 'hunter2'\nmix = ['hunter2']\n",
            "[connection.a]\nppk = { id = { inline = 'hunter2' }, others = 'hunter2' }\n",
            "[connection.a]\npsk = { id = 'hunter2', mix = 'hunter2', required = 'hunter2' }\n",
            "[connection.a]\npks = { id = 'hunter2' }\nppk.secret = { id = 'hunter2' }\n",
        ] {
            let shown = shown(text);
            assert!(!shown.contains("hunter2"), "{text} is shown as {shown}");
            let count = |text: &str| text.matches("visible").count();
            assert_eq!(count(&shown), count(text), "{text} is shown as {shown}");
        }
    }

    #[test]
    fn paths_of_keys_stay_visible() {
        for text in ["psk = { file = '/etc/a.psk' }\n", "psk = { file = '/etc/a.psk'\n"] {
            assert!(shown(text).contains("/etc/a"), "{}", shown(text));
        }
    }
}
