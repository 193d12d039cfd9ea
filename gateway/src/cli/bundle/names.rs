//! Which words are somebody's: names, identities, hosts, descriptions, files; found by where they stand.
//!
//! ```text
//!   configuration: names of tables, and each text that is no word of the language ─┐
//!   status: name, ids, subjects, peers ..                                          ├─► (kind, word) ─► conn-1, id-2, host-3 ..
//!   any text: what looks like a host or an e-mail address, and identities of peers  ─┘
//! ```
//!
//! When in doubt a word is somebody's: a bundle that reads badly is better than one that tells.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use ipnet::IpNet;
use serde_json::Value;

/// Words, each with what stands for it.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// In the order in which they were found; lower case.
    all: Vec<(&'static str, String)>,
    known: BTreeSet<String>,
}

impl Names {
    /// Takes the texts of a configuration.
    pub(super) fn configured(&mut self, whole: &Value) {
        for (table, inner) in whole.as_object().into_iter().flatten() {
            if !TABLES_OF_KEYS.contains(&table.as_str()) {
                let kind = match table.as_str() {
                    "connection" => "conn",
                    "policy" => "policy",
                    _ => "name",
                };
                let names = inner.as_object().into_iter().flatten();
                names.for_each(|(name, _)| self.name(kind, name));
            }
            self.texts(inner, "");
        }
    }

    fn texts(&mut self, value: &Value, key: &str) {
        match value {
            Value::Object(inner) => inner.iter().for_each(|(key, value)| self.texts(value, key)),
            Value::Array(inner) => inner.iter().for_each(|value| self.texts(value, key)),
            Value::String(text) if !VOCABULARY_KEYS.contains(&key) => self.text(text),
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Takes what the daemon says of itself, at the places where somebody's words stand.
    pub(super) fn told(&mut self, value: &Value, key: &str) {
        match value {
            Value::Object(inner) => {
                for (key, value) in inner {
                    self.told(value, key);
                }
            }
            Value::Array(inner) => inner.iter().for_each(|value| self.told(value, key)),
            Value::String(text) if PLACES.contains(&key) => self.text(text),
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Takes a name as it is, unless it is one that everybody has.
    pub(super) fn name(&mut self, kind: &'static str, name: &str) {
        let is_usual = name.strip_prefix("lan-").is_some_and(|rest| rest.parse::<u32>().is_ok());
        if !is_usual && !USUAL.contains(&name) {
            self.add(kind, name);
        }
    }

    /// Takes a text and what is in it: of an identity, a host or a path also its parts.
    pub(super) fn text(&mut self, text: &str) {
        let host = text
            .rsplit_once(':')
            .map_or(text, |(host, port)| if port.parse::<u16>().is_ok() { host } else { text });
        if is_word(text) || is_address(host) {
            return;
        }
        if text.contains('=') {
            self.add("id", text);
            text.split([',', '+', '/']).filter_map(|part| part.split_once('=')).for_each(
                |(_, value)| {
                    if value.trim().len() > 2 {
                        self.text(value.trim());
                    }
                },
            );
        } else if let Some((_, domain)) = text.rsplit_once('@') {
            self.add("id", text);
            if !domain.is_empty() {
                self.text(domain);
            }
        } else if text.contains('/') {
            self.add("file", text);
            if let Some((_, file)) = text.rsplit_once('/') {
                // `berlin.psk` of the connection `berlin` is masked by that name, and is also what TOML calls a key.
                let stem = file.split('.').next().unwrap_or_default();
                if !self.known.contains(&stem.to_lowercase()) {
                    self.add("file", file);
                }
            }
        } else if let Some((first, rest)) = host.trim_start_matches("*.").split_once('.')
            && !host.contains(' ')
        {
            self.add("host", host);
            self.add("host", first);
            if rest.contains('.') {
                self.add("domain", rest);
            }
        } else {
            self.name("name", text);
        }
    }

    /// Takes what looks like a host or an e-mail address anywhere in a text, and what is called an identity there.
    pub(super) fn scan(&mut self, text: &str) {
        for place in hosts(text) {
            if let Some(host) = text.get(place) {
                self.add(if host.contains('@') { "id" } else { "host" }, host);
            }
        }
        for claimed in claimed(text) {
            if !is_address(claimed) {
                self.add("id", claimed);
            }
        }
    }

    fn add(&mut self, kind: &'static str, word: &str) {
        let word = word.trim().to_lowercase();
        // What has no letter in it, `-` or `2`, says nothing.
        if word.chars().any(char::is_alphabetic) && self.known.insert(word.clone()) {
            self.all.push((kind, word));
        }
    }

    /// Each word, as it may stand in a text, with what stands for it; none of these is one of the words.
    pub(super) fn replacements(&self) -> BTreeMap<String, String> {
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        // It stays whatever is called `gw` or `s2s`.
        let mut map: BTreeMap<String, String> =
            BTreeMap::from([(PROGRAM.to_owned(), PROGRAM.to_owned())]);
        for (kind, word) in self.all.iter().filter(|(_, word)| word != PROGRAM) {
            let number = numbers.entry(kind).or_default();
            let replacement = loop {
                *number += 1;
                let one = format!("{kind}-{number}");
                if !self.known.contains(&one) {
                    break one;
                }
            };
            // As JSON, TOML and metrics write what has quotes in it.
            let escaped = Value::from(word.as_str()).to_string();
            map.insert(escaped.trim_matches('"').to_owned(), replacement.clone());
            map.insert(word.clone(), replacement);
        }
        map
    }
}

/// What looks like `berlin.example.com` or `admin@example.com`, and is no file, key or number.
fn hosts(text: &str) -> Vec<Range<usize>> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.@/+".contains(c);
    let mut found = Vec::new();
    let mut at = 0;
    for token in text.split_inclusive(|c: char| !is_part(c)) {
        let start = at;
        at += token.len();
        let token = token.trim_end_matches(|c: char| !is_part(c) || c == '.');
        let host = token.rsplit_once('@').map_or(token, |(_, host)| host);
        if is_host(host) {
            found.push(start..start + token.len());
        }
    }
    found
}

/// What messages and events call an identity: `eve (FQDN)`, `remote_id=eve`. A peer may claim to be anybody.
fn claimed(text: &str) -> impl Iterator<Item = &str> {
    let named = IDENTITY_TYPES.iter().flat_map(|ending| {
        let before = text.match_indices(ending).filter_map(|(at, _)| text.get(..at));
        before.filter_map(|before| before.rsplit([' ', '"', '`', '\'', '\n', '=']).next())
    });
    let fields = IDENTITY_FIELDS.iter().flat_map(|field| {
        let after = text.match_indices(field).filter_map(|(at, _)| text.get(at + field.len()..));
        after.filter_map(|after| {
            let (is_json, value) = match after.strip_prefix("\":") {
                Some(value) => (true, value.trim_start()),
                None => (false, after.strip_prefix('=')?),
            };
            match value.strip_prefix('"') {
                Some(quoted) => quoted.split('"').next(),
                None => value.split([' ', '\n']).next().filter(|_| !is_json),
            }
        })
    });
    named.chain(fields)
}

fn is_host(text: &str) -> bool {
    let mut labels = text.split('.');
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let first = labels.clone().next().unwrap_or_default();
    text.contains('.')
        && labels.all(is_label)
        && (2..=24).contains(&last.len())
        && last.chars().all(|c| c.is_ascii_alphabetic())
        && !SUFFIXES.contains(&last)
        && !TABLES_OF_KEYS.contains(&first)
        && !["net", "connection", "policy"].contains(&first)
}

fn is_address(text: &str) -> bool {
    let inner = text.trim_start_matches('[').trim_end_matches(']');
    let range = text
        .split_once('-')
        .is_some_and(|(from, to)| from.parse::<IpAddr>().is_ok() && to.parse::<IpAddr>().is_ok());
    inner.parse::<IpAddr>().is_ok()
        || text.parse::<IpNet>().is_ok()
        || text.parse::<SocketAddr>().is_ok()
        || range
}

/// `50GiB`, `8h`, `4500`; and what the language of the configuration has.
fn is_word(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_amount = unit.len() < text.len() && unit.len() <= 3;
    is_amount || USUAL.contains(&text)
}

const PROGRAM: &str = "s2s-gw";

/// Tables with keys of ours in them, not with names.
const TABLES_OF_KEYS: [&str; 6] = ["gateway", "log", "security", "limits", "http", "include"];

/// Keys whose values are words of the language and nobody's.
const VOCABULARY_KEYS: [&str; 14] = [
    "ike",
    "esp",
    "warn",
    "forbid",
    "level",
    "format",
    "start",
    "encap",
    "selectors",
    "action",
    "childless",
    "failback",
    "kind",
    "leak_protection",
];

/// Where somebody's words stand in the status.
const PLACES: [&str; 13] = [
    "gateway",
    "name",
    "description",
    "local_id",
    "remote_id",
    "subject",
    "names",
    "issuer",
    "serial",
    "fingerprint",
    "key_fingerprint",
    "configured",
    "redirected_to",
];

/// What follows an identity in messages (`status::words::identity_type`).
const IDENTITY_TYPES: [&str; 5] =
    [" (FQDN)", " (e-mail)", " (key id)", " (distinguished name)", " (other type)"];

/// What stands before one in lines of the log, and in JSON.
const IDENTITY_FIELDS: [&str; 2] = ["local_id", "remote_id"];

/// Words that anybody's configuration has.
const USUAL: [&str; 24] = [
    "default",
    "lan",
    "any",
    "auto",
    "none",
    "on",
    "off",
    "self",
    "info",
    "warn",
    "debug",
    "always",
    "manual",
    "force",
    "psk",
    "true",
    "false",
    "if-present",
    "require",
    "pss",
    "pkcs1",
    "running",
    "(hidden)",
    "s2s0",
];

/// What is behind the last dot of files.
const SUFFIXES: [&str; 26] = [
    "toml", "json", "jsonl", "md", "sock", "psk", "pem", "txt", "conf", "rs", "service", "key",
    "crt", "crl", "der", "gz", "tar", "so", "ko", "html", "prom", "xml", "cer", "slice", "scope",
    "new",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn words(names: &Names) -> Vec<&str> {
        names.all.iter().map(|(_, word)| word.as_str()).collect()
    }

    #[test]
    fn texts_of_a_configuration_are_somebodys_unless_they_are_of_the_language() {
        let mut names = Names::default();
        names.configured(&serde_json::json!({
            "gateway": { "name": "Fra1", "listen": ["203.0.113.10"], "tun": "s2s0" },
            "networks": { "servers": ["10.1.0.0/16"] },
            "policy": { "strong": { "ike": ["aes256gcm16-prfsha384-ecp384"], "ike_lifetime": "8h" } },
            "connection": { "berlin": {
                "peer": ["vpn.berlin.example.com", "198.51.100.20:500"], "local_subnets": ["servers"],
                "local_id": "admin@fra.example.com", "peer_id": "CN=Berlin GW, O=Sites", "start": "always",
                "psk": { "file": "/etc/s2s-gw/b.psk" }, "description": "the \"old\" office",
            } },
        }));
        let mut found = words(&names);
        found.sort_unstable();
        let expected = [
            "/etc/s2s-gw/b.psk",
            "admin@fra.example.com",
            "b.psk",
            "berlin",
            "berlin gw",
            "berlin.example.com",
            "cn=berlin gw, o=sites",
            "example.com",
            "fra",
            "fra.example.com",
            "fra1",
            "servers",
            "sites",
            "strong",
            "the \"old\" office",
            "vpn",
            "vpn.berlin.example.com",
        ];
        assert_eq!(found, expected);
        let map = names.replacements();
        assert_eq!(map.get("the \\\"old\\\" office"), map.get("the \"old\" office"));
        assert_eq!(map.get("s2s-gw").map(String::as_str), Some("s2s-gw"));
    }

    #[test]
    fn a_key_file_called_like_its_connection_is_masked_by_that_name() {
        let mut names = Names::default();
        names.configured(&serde_json::json!({ "connection": {
            "berlin": { "psk": { "file": "/keys/berlin.psk" } },
            "paris": { "psk": { "file": "/keys/secret.psk" } },
        } }));
        assert!(!words(&names).contains(&"berlin.psk"), "{names:?}");
        assert!(words(&names).contains(&"secret.psk"), "{names:?}");
    }

    #[test]
    fn identities_that_strangers_claim_are_somebodys() {
        let mut names = Names::default();
        names.scan("the peer is eve (FQDN), not `mallory (key id)` or 10.0.0.1 (IPv4 address)\n");
        names.scan("event=up remote_id=trent suite=x local_id=\"CN=Walter W\" and\n");
        names.scan(r#"{"remote_id":"peggy","local_id": null,"remote_id":"192.0.2.1"}"#);
        assert_eq!(words(&names), ["eve", "mallory", "cn=walter w", "trent", "peggy"]);
    }

    #[test]
    fn what_stands_for_a_word_is_none_of_the_words() {
        let mut names = Names::default();
        names.configured(&serde_json::json!({ "connection": { "conn-1": {}, "x": {} } }));
        let map = names.replacements();
        let (one, x) = (map["conn-1"].as_str(), map["x"].as_str());
        assert_eq!((one, x), ("conn-2", "conn-3"));
    }

    #[test]
    fn hosts_of_strangers_are_found_by_their_shape() {
        let text = "the peer claims to be evil.example.org (FQDN), or eve@x.example. See docs/errors.md, \
                    net.ipv4.ip_forward, s2s-gw.toml, v0.1.0, connection.berlin.peer and 10.1.0.5";
        let found: Vec<&str> = hosts(text).into_iter().filter_map(|at| text.get(at)).collect();
        assert_eq!(found, ["evil.example.org", "eve@x.example"]);
    }
}
