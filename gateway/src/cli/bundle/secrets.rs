//! That no secret is in a bundle, even if something that was asked has one in what it says.
//!
//! ```text
//!   Config ─► its keys and tokens, as text, hexadecimal, base64 ─► (hidden) wherever they stand
//!   any text ─► -----BEGIN .. PRIVATE KEY-----  to its end ─► (hidden)
//! ```
//!
//! Nothing that is asked tells secrets: this is the second lock.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::Entry;
use crate::config::{Config, OurProof, PresharedKey, TheirProof};

/// Every pre-shared key and token that the configuration has, in every notation that a file may have it in.
pub(super) fn of(config: &Config) -> Vec<Zeroizing<String>> {
    let mut all: Vec<&PresharedKey> = Vec::new();
    for connection in &config.connections {
        if let OurProof::Psk(key) = &connection.auth.ours {
            all.push(key);
        }
        if let TheirProof::Psk(key) = &connection.auth.theirs {
            all.push(key);
        }
    }
    if let Some(http) = &config.gateway.http {
        all.extend(http.read_token.iter().chain(&http.admin_token));
    }
    all.into_iter().flat_map(|key| notations(key.octets())).collect()
}

fn notations(octets: &[u8]) -> Vec<Zeroizing<String>> {
    let mut hex = String::with_capacity(2 * octets.len());
    for octet in octets {
        let _ = write!(hex, "{octet:02x}");
    }
    let mut all = vec![
        Zeroizing::new(hex.to_uppercase()),
        Zeroizing::new(hex),
        Zeroizing::new(STANDARD.encode(octets)),
    ];
    if let Ok(text) = std::str::from_utf8(octets) {
        all.push(Zeroizing::new(text.to_owned()));
    }
    all
}

/// Takes them out.
pub(super) fn remove(entries: &mut [Entry], secrets: &[Zeroizing<String>]) {
    for entry in entries {
        let (Ok(text) | Err(text)) = &mut entry.text;
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            if text.contains(secret.as_str()) {
                *text = text.replace(secret.as_str(), HIDDEN);
            }
        }
        while let Some(found) = private_key(text) {
            text.replace_range(found, HIDDEN);
        }
    }
}

/// Where a private key in PEM (RFC 7468) stands, to its end or that of the text.
fn private_key(text: &str) -> Option<std::ops::Range<usize>> {
    let label = text.find("PRIVATE KEY-----")?;
    let start = text.get(..label)?.rfind("-----BEGIN ").unwrap_or(label);
    let rest = text.get(label + 1..)?;
    let end = rest.find("PRIVATE KEY-----").map_or(text.len(), |at| label + 1 + at + 16);
    Some(start..end)
}

const HIDDEN: &str = "(hidden)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_out_in_every_notation() {
        let secrets = notations(b"a key of more than sixteen octets");
        let said = "psk a key of more than sixteen octets, YSBrZXkgb2YgbW9yZSB0aGFuIHNpeHRlZW4gb2N0ZXRz, \
                    61206b6579206f66206d6f7265207468616e207369787465656e206f6374657473.";
        let pem = "x\n-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\ny";
        let mut entries = [
            Entry::new("a", "", Ok(said.to_owned())),
            Entry::new("b", "", Err(said.to_owned())),
            Entry::new("c", "", Ok(pem.to_owned())),
        ];
        remove(&mut entries, &secrets);
        for entry in entries.iter().take(2) {
            let (Ok(text) | Err(text)) = &entry.text;
            assert_eq!(text, "psk (hidden), (hidden), (hidden).");
        }
        assert_eq!(entries[2].text.as_deref(), Ok("x\n(hidden)\ny"));
    }
}
