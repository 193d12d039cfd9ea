//! Keys by the identities that they are for: ipsec.secrets, and how a connection finds its own.
//!
//! ```text
//!   fra1.example.com berlin.example.com : PSK "the text itself"
//!   192.0.2.1 %any : PSK 0sAAAA..       base64        0x..  hexadecimal
//!   : PSK "for all others"
//!
//!   both identities fit ─► one fits ─► for all        the best of these, as strongSwan chooses
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::text::{hidden, place, syntax};
use super::{Files, Input, Note, Secret};
use crate::config::{Diagnostic, Place};

/// A pre-shared key.
#[derive(Debug)]
pub(super) struct Key {
    /// The identities that it is for; none: all.
    pub(super) ids: Vec<String>,
    pub(super) secret: Secret,
}

/// The key for a tunnel between one of `ours` and one of `theirs`: identities and addresses.
pub(super) fn find<'k>(keys: &'k [Key], ours: &[&str], theirs: &[&str]) -> Option<&'k Key> {
    let names = |ids: &[String], wanted: &[&str]| {
        let of =
            |id: &String| wanted.iter().any(|wanted| plain(id).eq_ignore_ascii_case(plain(wanted)));
        ids.iter().any(of)
    };
    let score = |Key { ids, .. }: &Key| -> i32 {
        let (here, there) = (names(ids, ours), names(ids, theirs));
        let anybody = ids.iter().filter(|id| is_any(id)).count();
        match ids.len() {
            0 => 1,
            _ if here && there => 4,
            // It may be for the peer alone, as in swanctl.conf.
            _ if (here || there) && (anybody > 0 || ids.len() == 1) => 3,
            all if all == anybody => 2,
            // One of two is somebody else.
            _ => 0,
        }
    };
    let scored = keys.iter().map(|key| (score(key), key)).filter(|(score, _)| *score > 0);
    // Of equals the first.
    scored.rev().max_by_key(|(score, _)| *score).map(|(_, key)| key)
}

fn is_any(id: &str) -> bool {
    ["%any", "%any6", "0.0.0.0", "::", "0.0.0.0/0", "::/0", "%any4"].contains(&id)
}

/// `@name` and `name` are one.
fn plain(id: &str) -> &str {
    let id = id.strip_prefix("fqdn:").or_else(|| id.strip_prefix("keyid:")).unwrap_or(id);
    if id.starts_with("@#") { id } else { id.trim_start_matches('@') }
}

/// What a text means: `0x` hexadecimal, `0s` base64, anything else itself. The error says what does not fit.
pub(super) fn decode(text: &str) -> Result<Secret, &'static str> {
    if let Some(digits) = text.strip_prefix("0x") {
        let digits = Zeroizing::new(digits.replace('_', ""));
        let octets = (0..digits.len()).step_by(2).map(|at| {
            let pair = digits.get(at..at + 2)?;
            // No sign.
            let plain = pair.bytes().all(|octet| octet.is_ascii_hexdigit());
            u8::from_str_radix(pair, 16).ok().filter(|_| plain)
        });
        let octets: Option<Vec<u8>> = octets.collect();
        let octets = octets.ok_or("`0x` must be followed by hexadecimal digits, two per octet")?;
        return Ok(Secret(Zeroizing::new(octets)));
    }
    if let Some(encoded) = text.strip_prefix("0s") {
        let octets = STANDARD.decode(encoded).map_err(|_| "`0s` must be followed by base64")?;
        return Ok(Secret(Zeroizing::new(octets)));
    }
    Ok(Secret::of(text))
}

/// Reads an ipsec.secrets: the keys that both sides have, and how many of other kinds there are.
pub(super) fn parse(
    inputs: &[Input],
    files: &mut dyn Files,
) -> Result<(Vec<Key>, Vec<Note>), Box<Diagnostic>> {
    let (mut keys, mut notes) = (Vec::new(), Vec::new());
    for input in inputs {
        read_file(input, files, (&mut keys, &mut notes), 0)?;
    }
    Ok((keys, notes))
}

/// Included files within included files.
const DEPTH_MAX: usize = 16;

fn read_file(
    input: &Input,
    files: &mut dyn Files,
    (keys, notes): (&mut Vec<Key>, &mut Vec<Note>),
    depth: usize,
) -> Result<(), Box<Diagnostic>> {
    let source = hidden(input);
    for (start, entry) in entries(&input.text) {
        let whole = place(&source, &input.text, start..start + entry.trim_end().len());
        let words = words(entry).map_err(|message| syntax(&whole, message, "in this line"))?;
        let Some(first) = words.first() else { continue };
        if first.as_str() == "include" && words.iter().all(|word| word.as_str() != ":") {
            if depth >= DEPTH_MAX {
                return Err(syntax(&whole, "files include each other in a circle", "once more"));
            }
            let pattern = words.get(1).map_or("", |word| word.as_str());
            match files.included(pattern, &input.name) {
                Ok(inputs) => {
                    for input in inputs {
                        read_file(&input, files, (keys, notes), depth + 1)?;
                    }
                }
                Err(why) => {
                    let what = format!("an `include` is not followed: {why}");
                    let note = Note::new(Some(&whole), what);
                    notes.push(note.fix("give that file to import, too"));
                }
            }
            continue;
        }
        match entry_of(&words, &whole)? {
            Some(key) => keys.push(key),
            None => notes.push(
                Note::new(Some(&whole), "a key of another kind than PSK is not imported")
                    .fix("copy its file, and write `cert` and `key` (docs/certificates.md)"),
            ),
        }
    }
    Ok(())
}

/// What may stand in place of `PSK`.
pub(super) const OTHER_KINDS: [&str; 10] =
    ["RSA", "ECDSA", "BLISS", "PKCS8", "P12", "PIN", "EAP", "XAUTH", "NTLM", "PUBKEY"];

/// `None`: a key of another kind.
fn entry_of(words: &[Zeroizing<String>], whole: &Place) -> Result<Option<Key>, Box<Diagnostic>> {
    let Some(colon) = words.iter().position(|word| word.as_str() == ":") else {
        return Err(syntax(whole, "a line without ` : `", "IDENTITIES : PSK \"KEY\" is expected"));
    };
    let kind = words.get(colon + 1).map_or("", |word| word.as_str());
    if !kind.eq_ignore_ascii_case("psk") {
        let known = OTHER_KINDS.iter().any(|known| kind.eq_ignore_ascii_case(known));
        let fault = || syntax(whole, "a key without a kind", "PSK has to follow the colon");
        return if known { Ok(None) } else { Err(fault()) };
    }
    let Some(text) = words.get(colon + 2) else {
        return Err(syntax(whole, "a key is missing", "PSK has to be followed by the key"));
    };
    let secret = decode(text).map_err(|why| syntax(whole, why, "in the key of this line"))?;
    let ids = words.iter().take(colon).map(|word| word.to_string()).collect();
    Ok(Some(Key { ids, secret }))
}

/// Lines with those that continue them, and where they begin.
fn entries(text: &str) -> Vec<(usize, &str)> {
    let mut entries: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let (start, end) = (at, at + line.len());
        at = end;
        let is_empty = line.trim().is_empty() || line.trim_start().starts_with('#');
        match entries.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) && !is_empty && last.1 == start => {
                // A line of its own may be indented, too.
                if line.trim_start().starts_with(": ") && contains_colon(text, *last) {
                    entries.push((start, end));
                } else {
                    last.1 = end;
                }
            }
            _ if is_empty => {}
            _ => entries.push((start, end)),
        }
    }
    entries.into_iter().map(|(start, end)| (start, text.get(start..end).unwrap_or(""))).collect()
}

fn contains_colon(text: &str, (start, end): (usize, usize)) -> bool {
    text.get(start..end).is_some_and(|entry| entry.split_whitespace().any(|word| word == ":"))
}

/// The words of an entry; a colon with white space on one side is a word.
fn words(entry: &str) -> Result<Vec<Zeroizing<String>>, &'static str> {
    let mut words = Vec::new();
    let mut rest = entry;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Ok(words) };
        match first {
            '#' => rest = rest.split_once('\n').map_or("", |(_, after)| after),
            '"' | '\'' => {
                let inner = rest.get(1..).unwrap_or("");
                let (word, after) = inner.split_once(first).ok_or("a quote is not closed")?;
                words.push(Zeroizing::new(word.to_owned()));
                rest = after;
            }
            ':' => {
                words.push(Zeroizing::new(":".to_owned()));
                rest = rest.get(1..).unwrap_or("");
            }
            _ => {
                let end = rest.find(|c: char| c.is_whitespace()).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                // `name: PSK`, as Libreswan has it.
                if let Some(name) = word.strip_suffix(':').filter(|name| !name.ends_with(':')) {
                    words.push(Zeroizing::new(name.to_owned()));
                    words.push(Zeroizing::new(":".to_owned()));
                } else {
                    words.push(Zeroizing::new(word.to_owned()));
                }
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::NoFiles;

    fn read(text: &str) -> Result<Vec<Key>, String> {
        let input = Input { name: "ipsec.secrets".into(), text: text.into() };
        parse(&[input], &mut NoFiles).map(|(keys, _)| keys).map_err(|fault| fault.render(false))
    }

    #[test]
    fn keys_are_found_by_their_identities() {
        let keys = read(
            "# no\n@fra1 @berlin : PSK \"one\"\n192.0.2.1 %any : PSK 0x74776f\n: PSK 0sdGhyZWU=\n\
             @fra1 : RSA fra1.key\n@x\n  @y: PSK 'four'\n",
        )
        .unwrap();
        let found = |ours: &str, theirs: &str| {
            let key = find(&keys, &[ours], &[theirs])?;
            String::from_utf8(key.secret.0.to_vec()).ok()
        };
        assert_eq!(found("fra1", "berlin").as_deref(), Some("one"));
        assert_eq!(found("berlin", "@FRA1").as_deref(), Some("one"));
        assert_eq!(found("192.0.2.1", "198.51.100.7").as_deref(), Some("two"));
        assert_eq!(found("fra1", "paris").as_deref(), Some("three"));
        assert_eq!(found("x", "y").as_deref(), Some("four"));
    }

    #[test]
    fn damaged_files_are_refused_and_nothing_of_them_is_shown() {
        for text in
            ["@a : PSK \"hunter2", "@a hunter2\n", "@a : PSK 0xhunter2\n", ": \"hunter2\"\n"]
        {
            let shown = read(text).unwrap_err();
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
