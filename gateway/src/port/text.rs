//! A foreign file as it is shown in messages: with everything masked that may be a key.
//!
//! ```text
//!   secret = "hunter2"            secret = *********
//!   "psk": "hunter2", "mtu": 1    "psk*********************
//!   @a @b : PSK "hunter2"         @a @b :**************        of ipsec.secrets, which is nothing but keys
//! ```
//!
//! The rest of a line is masked rather than a value: what a damaged file calls a value is not known.

use std::ops::Range;
use std::sync::Arc;

use super::Input;
use crate::config::{Code, Diagnostic, Place, Source};

/// The text, fit to be shown.
pub(super) fn source(input: &Input) -> Arc<Source> {
    Arc::new(Source::new(input.name.clone(), &input.text, &suspects(input)))
}

/// The same for a file that is nothing but keys: no character of it.
pub(super) fn hidden(input: &Input) -> Arc<Source> {
    let all = 0..input.text.len();
    Arc::new(Source::new(input.name.clone(), &input.text, std::slice::from_ref(&all)))
}

/// What follows a word that says that a key is coming, up to the end of the line, and the next line if that is empty.
fn suspects(input: &Input) -> Vec<Range<usize>> {
    let all_secret = input.name.to_string_lossy().ends_with("secrets");
    let mut found = Vec::new();
    let (mut at, mut carried) = (0, false);
    for line in input.text.split_inclusive('\n') {
        let lower = line.to_ascii_lowercase();
        let word = WORDS.iter().filter_map(|word| Some(lower.find(word)? + word.len())).min();
        let colon = (all_secret || lower.contains(": psk")).then(|| line.find(':').unwrap_or(0));
        let from = if carried { Some(0) } else { word.into_iter().chain(colon).min() };
        if let Some(from) = from {
            found.push(at + from..at + line.len());
            let rest = line.get(from..).unwrap_or("");
            carried = !rest.chars().any(char::is_alphanumeric);
        }
        at += line.len();
    }
    found
}

const WORDS: [&str; 6] =
    ["secret", "psk", "pre_shared_key", "presharedkey", "pre-shared key", "pre_shared"];

/// E0701.
pub(super) fn syntax(place: &Place, message: &str, label: &str) -> Box<Diagnostic> {
    let diagnostic = Diagnostic::at(Code::ForeignSyntax, place, message.to_owned());
    Box::new(diagnostic.label(label.to_owned()).why(NOTHING_USED))
}

pub(super) const NOTHING_USED: &str =
    "nothing of the file is used before all of it can be read, and nothing was written";

/// The octets from `start` to `end`, on character boundaries and inside the text.
pub(super) fn place(source: &Arc<Source>, text: &str, span: Range<usize>) -> Place {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    Place::new(source, start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_key_is_not_shown() {
        for (name, text) in [
            ("swanctl.conf", "x = 1\nsecret = \"hunter2\" }\ny {"),
            ("c.json", "{\"PSK\": \"hunter2\", \"mtu\": }"),
            ("c.json", "{\"psk\":\n  \"hunter2\"\n \"mtu\""),
            ("ipsec.secrets", "@a @b\n : PSK \"hunter2\n"),
            ("a.conf", "@a @b : PSK hunter2\n"),
            ("a.xml", "<pre_shared_key>hunter2</pre"),
        ] {
            let input = Input { name: name.into(), text: text.into() };
            let place = place(&source(&input), text, 0..text.len());
            let shown = syntax(&place, "no", "here").render(false);
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
