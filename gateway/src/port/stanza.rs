//! ipsec.conf: stanzas whose lines begin with white space, `also`, `%default`, `include`.
//!
//! ```text
//!   config setup            not ours: it is about the daemon
//!   conn %default           for all that follow, in any file
//!       ike = aes256-..
//!   conn berlin
//!       also = base         what `base` says and `berlin` does not
//! ```

use std::collections::BTreeMap;

use super::secrets::OTHER_KINDS;
use super::text::{place, source, syntax};
use super::{Files, Input, Note};
use crate::config::{Diagnostic, Place};

/// `key = value`
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) value: String,
    pub(super) place: Place,
}

/// One `conn`, with all that it inherits.
#[derive(Debug, Clone)]
pub(super) struct Conn {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) lines: BTreeMap<String, Line>,
    /// Whether another one names it in `also`.
    pub(super) is_base: bool,
}

/// A `conn` as it stands.
struct Raw {
    name: String,
    place: Place,
    lines: Vec<(String, Line)>,
}

/// What was read so far.
#[derive(Default)]
struct Stanzas {
    conns: Vec<Raw>,
    notes: Vec<Note>,
}

/// Every `conn` but `%default`.
pub(super) fn parse(
    inputs: &[Input],
    files: &mut dyn Files,
) -> Result<(Vec<Conn>, Vec<Note>), Box<Diagnostic>> {
    let mut stanzas = Stanzas::default();
    for input in inputs {
        read_file(input, files, &mut stanzas, 0)?;
    }
    let mut conns = Vec::new();
    let mut notes = std::mem::take(&mut stanzas.notes);
    for (at, raw) in stanzas.conns.iter().enumerate() {
        // A second stanza of a name adds to the first.
        let repeated = stanzas.conns.iter().take(at).any(|one| one.name == raw.name);
        if raw.name == "%default" || repeated {
            continue;
        }
        let mut lines = BTreeMap::new();
        collect(&raw.name, &stanzas.conns, &mut Vec::new(), &mut lines, &mut notes);
        collect("%default", &stanzas.conns, &mut Vec::new(), &mut lines, &mut notes);
        let also = stanzas.conns.iter().flat_map(|one| &one.lines).filter(|(key, _)| key == "also");
        let mut named = also.flat_map(|(_, line)| line.value.split_whitespace());
        let is_base = named.any(|name| name == raw.name);
        conns.push(Conn { name: raw.name.clone(), place: raw.place.clone(), lines, is_base });
    }
    Ok((conns, notes))
}

/// Adds what is not said yet: of the stanzas of this name, then of those that they name.
fn collect<'r>(
    name: &'r str,
    all: &'r [Raw],
    path: &mut Vec<&'r str>,
    lines: &mut BTreeMap<String, Line>,
    notes: &mut Vec<Note>,
) {
    if path.contains(&name) {
        return;
    }
    path.push(name);
    let mut further = Vec::new();
    for raw in all.iter().filter(|one| one.name == name) {
        // Of a key that is said twice in one stanza the last counts.
        let mut own = BTreeMap::new();
        for (key, line) in &raw.lines {
            if key == "also" {
                further.extend(line.value.split_whitespace().map(|word| (word, &line.place)));
            } else {
                own.insert(key.clone(), line.clone());
            }
        }
        for (key, line) in own {
            lines.entry(key).or_insert(line);
        }
    }
    for (word, place) in further {
        if all.iter().any(|one| one.name == word) {
            collect(word, all, path, lines, notes);
        } else {
            notes
                .push(Note::new(Some(place), format!("`also` names `{word}`, which is not there")));
        }
    }
}

/// They are compared with each other.
const CONNS_MAX: usize = 5000;
/// Included files within included files.
const DEPTH_MAX: usize = 16;

fn read_file(
    input: &Input,
    files: &mut dyn Files,
    stanzas: &mut Stanzas,
    depth: usize,
) -> Result<(), Box<Diagnostic>> {
    let shown = source(input);
    let mut at = 0;
    // Where the lines that follow belong; `None` after `config` and `ca`.
    let mut open = Open::Nothing;
    for line in input.text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let text = without_comment(line);
        let spot = |from: usize, to: usize| place(&shown, &input.text, start + from..start + to);
        if text.trim().is_empty() {
            continue;
        }
        let indented = text.starts_with([' ', '\t']);
        let from = text.len() - text.trim_start().len();
        let whole = spot(from, text.trim_end().len());
        if indented {
            setting(text, from, &whole, &mut open, stanzas, &spot)?;
            continue;
        }
        let mut words = text.split_whitespace();
        let (kind, name) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        open = match kind {
            "conn" if name.is_empty() => {
                return Err(syntax(&whole, "a `conn` without a name", "its name is missing"));
            }
            "conn" if stanzas.conns.len() >= CONNS_MAX => {
                return Err(syntax(&whole, "too many stanzas", "no gateway has so many tunnels"));
            }
            "conn" => {
                let (name, lines) = (name.to_owned(), Vec::new());
                stanzas.conns.push(Raw { name, place: whole, lines });
                Open::Conn
            }
            "config" | "ca" => Open::Other,
            "version" => Open::Nothing,
            "include" => {
                include((name, &whole), input, files, stanzas, depth)?;
                Open::Nothing
            }
            _ => {
                let message = format!("`{kind}` begins no stanza");
                let label = "`conn NAME`, `config setup`, `include FILE`, or white space before it";
                return Err(syntax(&whole, &message, label));
            }
        };
    }
    Ok(())
}

/// What a line with white space before it belongs to.
enum Open {
    Nothing,
    Other,
    Conn,
}

fn setting(
    text: &str,
    from: usize,
    whole: &Place,
    open: &mut Open,
    stanzas: &mut Stanzas,
    spot: &dyn Fn(usize, usize) -> Place,
) -> Result<(), Box<Diagnostic>> {
    match open {
        Open::Other => return Ok(()),
        Open::Nothing => {
            let label = "`conn NAME` has to come first";
            return Err(syntax(whole, "a setting outside of a stanza", label));
        }
        Open::Conn => {}
    }
    let Some(equals) = text.find('=') else {
        return Err(syntax(whole, "a line without `=`", "`key = value` has to stand here"));
    };
    let key = text.get(from..equals).unwrap_or("").trim();
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err(syntax(whole, "a setting without a name", "`key = value` has to stand here"));
    }
    let raw = text.get(equals + 1..).unwrap_or("");
    let value = raw.trim();
    let start = equals + 1 + (raw.len() - raw.trim_start().len());
    let place = spot(start, start + value.len());
    let unquoted = match value.strip_prefix('"') {
        None => value,
        Some(inner) => inner
            .strip_suffix('"')
            .ok_or_else(|| syntax(&place, "a quote is not closed", "it begins here"))?,
    };
    if let Some(conn) = stanzas.conns.last_mut() {
        let line = Line { value: unquoted.to_owned(), place };
        // Both spellings are in use.
        conn.lines.push((key.replace(['-', '_'], "").to_ascii_lowercase(), line));
    }
    Ok(())
}

fn include(
    (pattern, place): (&str, &Place),
    input: &Input,
    files: &mut dyn Files,
    stanzas: &mut Stanzas,
    depth: usize,
) -> Result<(), Box<Diagnostic>> {
    if depth >= DEPTH_MAX {
        return Err(syntax(place, "files include each other in a circle", "once more here"));
    }
    match files.included(pattern, &input.name) {
        Ok(inputs) => {
            inputs.iter().try_for_each(|input| read_file(input, files, stanzas, depth + 1))
        }
        Err(why) => {
            let what = format!("`{pattern}` is not included: {why}");
            stanzas.notes.push(Note::new(Some(place), what).fix("give that file to import, too"));
            Ok(())
        }
    }
}

/// `#` begins a comment at the start of a line or after white space, and not within quotes.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted && before.is_whitespace() => return line.get(..at).unwrap_or(line),
            _ => {}
        }
        before = c;
    }
    line
}

/// Whether a text looks like an ipsec.secrets rather than an ipsec.conf.
pub(super) fn is_secrets(input: &Input) -> bool {
    let is_conf = |line: &str| {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or("");
        ["conn", "config", "ca"].contains(&first) && words.next() != Some(":")
    };
    let has_kind = |line: &str| {
        let after = without_comment(line).split_once(':').map(|(_, after)| after.trim_start());
        after.is_some_and(|after| {
            ["PSK"].iter().chain(&OTHER_KINDS).any(|kind| after.starts_with(kind))
        })
    };
    input.name.to_string_lossy().ends_with(".secrets")
        || !input.text.lines().any(is_conf) && input.text.lines().any(has_kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::NoFiles;

    fn read(text: &str) -> Result<Vec<Conn>, String> {
        let input = Input { name: "ipsec.conf".into(), text: text.into() };
        parse(&[input], &mut NoFiles).map(|(all, _)| all).map_err(|fault| fault.render(false))
    }

    #[test]
    fn stanzas_inherit() {
        let text = "version 2.0\nconfig setup\n\tcharondebug=\"ike 1\"\n\nconn %default\n  ike=a\n  esp=b # no\n\n\
                    conn base\n  esp=c\n  left=1.2.3.4\n  auto=ignore\nconn berlin\n  also=base\n  auto=start\n  leftid=\"a # b\"\n";
        let conns = read(text).unwrap();
        let berlin = conns.iter().find(|one| one.name == "berlin").unwrap();
        let value = |key: &str| berlin.lines.get(key).map(|line| line.value.as_str());
        assert_eq!(
            ["ike", "esp", "left", "auto", "leftid"].map(value),
            [Some("a"), Some("c"), Some("1.2.3.4"), Some("start"), Some("a # b")]
        );
        assert_eq!(conns.len(), 2);
    }

    #[test]
    fn damaged_files_are_refused_with_a_place() {
        for (text, line, word) in [
            ("conn a\n  left\n", 2, "without `=`"),
            ("  left=1\n", 1, "outside of a stanza"),
            ("conn\n", 1, "without a name"),
            ("conn a\nleft=1\n", 2, "begins no stanza"),
            ("conn a\n  left=\"1\n", 2, "not closed"),
        ] {
            let shown = read(text).unwrap_err();
            assert!(
                shown.contains(word) && shown.contains(&format!("ipsec.conf:{line}:")),
                "{shown}"
            );
        }
    }

    #[test]
    fn circles_of_also_end() {
        let conns = read("conn a\n also=b\n x=1\nconn b\n also=a\n y=2\n").unwrap();
        assert_eq!(conns[0].lines.len(), 2);
    }
}
