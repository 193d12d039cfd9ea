//! Pre-shared keys: where they come from and what a file of one may look like.
//!
//! ```text
//!   psk = { file = "/etc/s2s-gw/berlin.psk" }   mode 0600, E0104        "0x4f.."  hexadecimal
//!   psk = { credential = "berlin.psk" }         $CREDENTIALS_DIRECTORY  "0s.."    base64
//!   psk = { inline = ".." }                     config mode 0600        else      the characters themselves
//!              │
//!              └─► one newline at the end is cut ─► decode ─► 16 octets or more
//! ```
//!
//! The octets go nowhere but into [`PresharedKey`] and [`ikev2::Psk`]; no message has any of them.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::codes::Code;
use super::load::Surroundings;
use super::report::{Diagnostic, for_shell};
use super::section::Findings;
use super::source::{At, Place};

/// Where a key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeySource {
    /// Path, relative to the directory of the configuration file.
    File(At<String>),
    /// Name of a systemd credential.
    Credential(At<String>),
    /// The text itself.
    Inline(At<InlineKey>),
}

/// The text of an inline key, which no `Debug` may print.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct InlineKey(pub(super) Zeroizing<String>);

impl std::fmt::Debug for InlineKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InlineKey(hidden)")
    }
}

/// A pre-shared key, which no `Debug` prints. Equal are those of the same octets, which says nothing to anybody else: both
/// are ours.
#[derive(Clone, PartialEq, Eq)]
pub struct PresharedKey(Zeroizing<Vec<u8>>);

impl PresharedKey {
    pub(crate) const fn new(octets: Zeroizing<Vec<u8>>) -> Self {
        Self(octets)
    }

    /// The octets, for the configuration of the other side.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is what somebody shows; how long the answer takes says nothing about where they differ.
    #[must_use]
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        self.0.ct_eq(shown).into()
    }

    /// For the negotiation.
    #[must_use]
    pub fn psk(&self) -> ikev2::Psk {
        ikev2::Psk::new(self.0.to_vec())
    }
}

impl std::fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PresharedKey(hidden)")
    }
}

/// Fetches, checks and decodes a key.
pub(super) fn fetch(
    source: &KeySource,
    surroundings: &Surroundings,
    findings: &mut Findings,
) -> Option<Zeroizing<Vec<u8>>> {
    match source {
        KeySource::File(name) => {
            let path = surroundings.key_path(name.place.path(), Path::new(&name.value));
            findings.note_file(&path);
            let text = read_key(&path, &name.value, &name.place, Modes::Strict, MAKE, findings)?;
            decode(&text, &name.place, findings)
        }
        KeySource::Credential(name) => {
            let path = credential_path(name, surroundings, findings)?;
            findings.note_file(&path);
            let text = read_key(&path, &name.value, &name.place, Modes::Systemd, MAKE, findings)?;
            decode(&text, &name.place, findings)
        }
        KeySource::Inline(text) => {
            check_config_mode(&text.place, findings);
            decode(text.value.0.as_bytes(), &text.place, findings)
        }
    }
}

/// How to make a pre-shared key; `FILE` is where, as [`for_shell`] writes it.
const MAKE: &str = "make one: (umask 077; s2s-gw genpsk > FILE), and give the peer the same key";

/// Who answers for the mode of a key file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Modes {
    /// Nobody but the owner may read it.
    Strict,
    /// systemd keeps credentials from other users by the directory.
    Systemd,
}

pub(super) fn credential_path(
    name: &At<String>,
    surroundings: &Surroundings,
    findings: &mut Findings,
) -> Option<PathBuf> {
    if name.value.contains('/') || matches!(name.value.as_str(), "." | "..") {
        findings.add(
            Diagnostic::at(Code::KeyFile, &name.place, "a credential is a name, not a path")
                .label("`/` has no place in it")
                .fix("write the name that LoadCredential= gives it, or use `file`"),
        );
        return None;
    }
    if surroundings.credentials.is_none() {
        findings.add(
            Diagnostic::at(
                Code::NoCredentials,
                &name.place,
                format!("credential `{}` cannot be found", name.value),
            )
            .label("$CREDENTIALS_DIRECTORY is not set")
            .why("systemd sets it for a service with LoadCredential=, and this is not run as one")
            .fix("run it as the service, or use `file` with a path"),
        );
    }
    surroundings.credentials.as_ref().map(|directory| directory.join(&name.value))
}

/// The text of a file with a key; `make` says how to make one.
pub(super) fn read_key(
    path: &Path,
    shown: &str,
    place: &Place,
    modes: Modes,
    make: &str,
    findings: &mut Findings,
) -> Option<Zeroizing<Vec<u8>>> {
    match try_read(path, KEY_FILE_MAX) {
        Ok((_, mode)) if modes == Modes::Strict && mode & 0o077 != 0 => {
            findings.add(too_open(
                Diagnostic::at(
                    Code::FileMode,
                    place,
                    format!("key file `{shown}` is open to other users"),
                ),
                mode,
                path,
            ));
            None
        }
        Ok((text, _)) => Some(text),
        Err(error) => {
            let message = format!("key file `{shown}` cannot be read");
            findings.add(
                Diagnostic::at(Code::KeyFile, place, message)
                    .label(plain_error(&error))
                    .fix(unreadable_fix(error.kind(), path, shown, modes, make)),
            );
            None
        }
    }
}

/// Commands name `path`, which is right in the directory that this was started in, as what stands in the file need not be.
fn unreadable_fix(
    kind: std::io::ErrorKind,
    path: &Path,
    shown: &str,
    modes: Modes,
    make: &str,
) -> String {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    if kind == NotFound && modes == Modes::Systemd {
        format!("write LoadCredential={shown}:PATH into the unit, or correct the name")
    } else if kind == NotFound && shown.starts_with('~') {
        "write the whole path, from / on: `~` is not expanded here".to_owned()
    } else if kind == NotFound {
        make.replace("FILE", &for_shell(path))
    } else if kind == PermissionDenied && crate::sandbox::is_on() {
        crate::sandbox::REMEDY.to_owned()
    } else if kind == PermissionDenied {
        let path = path.display();
        format!("run this as the user that the gateway runs as, or give {path} to that user")
    } else {
        "name a file with the key in it".to_owned()
    }
}

/// The content, less than `max` octets, and the mode bits of the very file that was read.
pub(super) fn try_read(path: &Path, max: usize) -> std::io::Result<(Zeroizing<Vec<u8>>, u32)> {
    // A FIFO would block for ever, so look before opening; what counts is the open file.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    // As large as the file, so that no copy of a key is left where it grew.
    let len = usize::try_from(file.metadata()?.len()).unwrap_or(max).min(max) + 1;
    let mut text = Zeroizing::new(Vec::with_capacity(len));
    file.take(max as u64).read_to_end(&mut text)?;
    if text.len() == max {
        return Err(std::io::Error::other("too large for a key"));
    }
    Ok((text, mode))
}

const KEY_FILE_MAX: usize = 16 * 1024;

/// The text of an operating system error without its number.
pub(super) fn plain_error(error: &std::io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or(&text);
    let mut rest = plain.chars();
    rest.next()
        .map_or_else(String::new, |first| first.to_lowercase().collect::<String>() + rest.as_str())
}

fn too_open(diagnostic: Diagnostic, mode: u32, path: &Path) -> Diagnostic {
    diagnostic
        .label(format!("its mode is {mode:04o}"))
        .why("whoever reads the key can impersonate this gateway and its peer")
        .fix(format!("chmod 600 {}", for_shell(path)))
}

/// A configuration with a key in it is a secret itself.
fn check_config_mode(place: &Place, findings: &mut Findings) {
    let Ok(metadata) = std::fs::metadata(place.path()) else {
        return;
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let path = place.path();
        let message = format!("`{}` has a key in it and is open to other users", path.display());
        findings.add(too_open(Diagnostic::at(Code::FileMode, place, message), mode, path));
    }
}

/// Text of a key file to the octets of the key.
fn decode(text: &[u8], place: &Place, findings: &mut Findings) -> Option<Zeroizing<Vec<u8>>> {
    let text = text.strip_suffix(b"\n").map_or(text, |cut| cut.strip_suffix(b"\r").unwrap_or(cut));
    let key = if let Some(digits) = text.strip_prefix(b"0x") {
        let key = hexadecimal(digits);
        encoded(key, place, "0x", "hexadecimal digits, two per octet", findings)
    } else if let Some(text) = text.strip_prefix(b"0s") {
        let key = STANDARD.decode(text).ok().map(Zeroizing::new);
        encoded(key, place, "0s", "base64", findings)
    } else {
        plain_text(text, place, findings)
    }?;
    match key.len() {
        0 => findings.add(
            Diagnostic::at(Code::KeyEmpty, place, "the pre-shared key is empty")
                .label("nothing in it")
                .why("an empty key would let everybody in")
                .fix("make one with `s2s-gw genpsk`, and give the peer the same key"),
        ),
        1..KEY_MIN => findings.add(
            Diagnostic::at(Code::KeyShort, place, "the pre-shared key is too short")
                .label(format!("fewer than {KEY_MIN} octets"))
                .why("whoever records one handshake can try all short keys offline")
                .fix("make one with `s2s-gw genpsk`, and give the peer the same key"),
        ),
        _ => return Some(key),
    }
    None
}

/// Octets that a key has at least: 128 bits if they are random.
const KEY_MIN: usize = 16;

/// Octets below which text is suspected to be thought up by a person.
const TEXT_ADVISED: usize = 32;

fn plain_text(text: &[u8], place: &Place, findings: &mut Findings) -> Option<Zeroizing<Vec<u8>>> {
    if text.iter().any(|octet| matches!(octet, 0 | b'\n' | b'\r')) {
        findings.add(
            Diagnostic::at(Code::KeyLines, place, "the pre-shared key has a line break or NUL in it")
                .label("a key is one line of text")
                .why("one newline at the end is cut off; any other would be part of the key, and hardly of the peer's")
                .fix("write the key on one line, or as `0x` and hexadecimal digits"),
        );
        return None;
    }
    if text.first().is_some_and(u8::is_ascii_whitespace)
        || text.last().is_some_and(u8::is_ascii_whitespace)
    {
        findings.add(
            Diagnostic::at(
                Code::KeySpace,
                place,
                "the pre-shared key begins or ends with white space",
            )
            .label("it is part of the key")
            .fix("remove it on both gateways, unless it is meant"),
        );
    }
    if (KEY_MIN..TEXT_ADVISED).contains(&text.len()) {
        findings.add(
            Diagnostic::at(Code::WeakKey, place, "the pre-shared key may be weak")
                .label(format!("text of fewer than {TEXT_ADVISED} octets"))
                .why("text that people choose can be guessed offline from one recorded handshake")
                .fix("make one with `s2s-gw genpsk`, and give the peer the same key"),
        );
    }
    Some(Zeroizing::new(text.to_vec()))
}

/// Reports E0145 if decoding has failed.
fn encoded(
    key: Option<Zeroizing<Vec<u8>>>,
    place: &Place,
    prefix: &str,
    encoding: &str,
    findings: &mut Findings,
) -> Option<Zeroizing<Vec<u8>>> {
    if key.is_none() {
        let message = format!("the pre-shared key is not what `{prefix}` says");
        findings.add(
            Diagnostic::at(Code::KeyEncoding, place, message)
                .label(format!("`{prefix}` must be followed by {encoding}"))
                .fix(format!("correct it; a key that really starts with `{prefix}` has to be encoded as a whole")),
        );
    }
    key
}

fn hexadecimal(digits: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let value =
        |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut octets = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.chunks(2) {
        let &[high, low] = pair else { return None };
        octets.push(value(high)? << 4 | value(low)?);
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::source::Source;

    fn decoded(text: &[u8]) -> Option<Vec<u8>> {
        let place = Place { source: Arc::new(Source::new("f".into(), "", &[])), span: 0..0 };
        decode(text, &place, &mut Findings::default()).map(|key| key.to_vec())
    }

    #[test]
    fn one_line_ending_is_cut_and_no_more() {
        let key = b"0123456789abcdef".to_vec();
        for end in ["", "\n", "\r\n"] {
            assert_eq!(decoded(format!("0123456789abcdef{end}").as_bytes()), Some(key.clone()));
        }
        for end in ["\n\n", "\r", "\n\r\n", "\0"] {
            assert_eq!(decoded(format!("0123456789abcdef{end}").as_bytes()), None, "{end:?}");
        }
        assert_eq!(decoded(b"0123456789abcdef "), Some(b"0123456789abcdef ".to_vec()));
    }

    #[test]
    fn prefixes_give_the_octets_that_they_encode() {
        let key: Vec<u8> = (0xf8..=0xff).chain(0..8).collect();
        assert_eq!(decoded(b"0xF8f9FafbFCfdfeff0001020304050607\n"), Some(key.clone()));
        assert_eq!(decoded(b"0s+Pn6+/z9/v8AAQIDBAUGBw==\n"), Some(key));
        for bad in
            ["0xf8f9fafbfcfdfeff000102030405060", "0x+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1", "0s+Pn6"]
        {
            assert_eq!(decoded(bad.as_bytes()), None, "{bad}");
        }
    }
}
