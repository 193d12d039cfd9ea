//! What is in a PEM file, whoever made it.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ikev2::pki::{Certificate, Credential, Crl, PublicKey};
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use serde_json::{Value, json};

use super::files::{self, FileError};
use crate::config::validity::moment;
use crate::status::CertificateStatus;
use crate::status::certificate::{hex, printable, time_left};

/// What is in a file.
#[derive(Debug)]
pub struct Shown {
    file: String,
    items: Vec<Item>,
}

#[derive(Debug)]
enum Item {
    Certificate {
        facts: Box<CertificateStatus>,
        unfit: Option<String>,
    },
    List {
        issuer: String,
        from: u64,
        to: Option<u64>,
        revoked: usize,
        now: u64,
    },
    Key {
        private: bool,
        kind: String,
        fingerprint: String,
        mode: Option<u32>,
    },
    /// What it is called and what is wrong with it.
    Unusable {
        what: &'static str,
        why: String,
    },
}

/// Reads a file; `now` is seconds since 1970.
///
/// # Errors
/// If it cannot be read, or has nothing in it that belongs here.
pub fn show(path: &Path, now: u64) -> Result<Shown, ShowError> {
    let text = files::read(path)?;
    let mode = std::fs::metadata(path).ok().map(|data| data.permissions().mode() & 0o777);
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes());
    let items =
        sections.filter_map(Result::ok).filter_map(|(kind, der)| item(kind, der, mode, now));
    let mut items: Vec<Item> = items.collect();
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        let why =
            "it is encrypted, and the gateway has nobody to ask for the passphrase".to_owned();
        items.push(Item::Unusable { what: "private key", why });
    }
    let file = path.display().to_string();
    if items.is_empty() { Err(ShowError::Nothing { file }) } else { Ok(Shown { file, items }) }
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It has nothing in it that belongs here.
    #[error("{file} has no certificate, key or revocation list in PEM in it")]
    Nothing {
        /// Its path.
        file: String,
    },
}

fn item(kind: SectionKind, der: Vec<u8>, mode: Option<u32>, now: u64) -> Option<Item> {
    let der = zeroize::Zeroizing::new(der);
    let key = |key: &PublicKey, private| Item::Key {
        private,
        kind: key.kind().to_string(),
        fingerprint: hex(&key.fingerprint()),
        mode: mode.filter(|_| private),
    };
    let is_private =
        [SectionKind::PrivateKey, SectionKind::RsaPrivateKey, SectionKind::EcPrivateKey];
    let (what, found) = if kind == SectionKind::Certificate {
        let found = Certificate::from_der(&der).map(|certificate| Item::Certificate {
            facts: Box::new(CertificateStatus::of(&certificate, now)),
            unfit: certificate.check_use(now).err().map(|problem| problem.to_string()),
        });
        ("certificate", found)
    } else if kind == SectionKind::Crl {
        ("revocation list", Crl::from_der(&der).map(|list| of_list(&list, now)))
    } else if kind == SectionKind::PublicKey {
        ("public key", PublicKey::from_spki_der(&der).map(|found| key(&found, false)))
    } else if is_private.contains(&kind) {
        ("private key", Credential::raw(&der).map(|found| key(found.public_key(), true)))
    } else {
        return None;
    };
    let unusable = |error: ikev2::pki::PkiError| Item::Unusable { what, why: error.to_string() };
    Some(found.unwrap_or_else(unusable))
}

fn of_list(list: &Crl, now: u64) -> Item {
    Item::List {
        issuer: printable(&list.issuer().to_string()),
        from: list.this_update(),
        to: list.next_update(),
        revoked: list.revoked(),
        now,
    }
}

impl Shown {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.file);
        for item in &self.items {
            text += &item.text();
        }
        text
    }

    /// For programs: `{"schema": "s2s-gw/pki/1", "files": [{"file": .., "items": [..]}]}`.
    #[must_use]
    pub fn json(all: &[Self]) -> Value {
        let file = |one: &Self| {
            let items: Vec<Value> = one.items.iter().map(Item::json).collect();
            json!({ "file": one.file, "items": items })
        };
        json!({ "schema": "s2s-gw/pki/1", "files": all.iter().map(file).collect::<Vec<_>>() })
    }
}

impl Item {
    fn text(&self) -> String {
        let mut text = String::new();
        match self {
            Self::Certificate { facts, unfit } => {
                let CertificateStatus {
                    subject, issuer, key, fingerprint, key_fingerprint, ..
                } = facts.as_ref();
                let authority = if facts.authority { " of an authority" } else { "" };
                let _ = writeln!(text, "  certificate{authority}");
                let _ = writeln!(text, "    subject:      {subject}");
                let _ = writeln!(text, "    names:        {}", list(&facts.names));
                let _ = writeln!(text, "    issuer:       {issuer}");
                let (from, to) = (facts.not_before, facts.not_after);
                let from = from.strftime("%Y-%m-%d %H:%M");
                let to = to.strftime("%Y-%m-%d %H:%M UTC");
                let _ = writeln!(text, "    valid:        {from} to {to}, {}", left(facts));
                let _ = writeln!(text, "    key:          {key}, SHA-256 {key_fingerprint}");
                let _ = writeln!(text, "    serial:       {}", facts.serial);
                let _ = writeln!(text, "    fingerprint:  SHA-256 {fingerprint}");
                if let Some(unfit) = unfit.as_ref().filter(|_| !facts.authority) {
                    let _ = writeln!(text, "    not usable:   {unfit}");
                }
            }
            Self::List { issuer, from, to, revoked, now } => {
                let _ = writeln!(text, "  revocation list");
                let _ = writeln!(text, "    issuer:       {issuer}");
                let until = to.map_or_else(|| "the next one".to_owned(), moment);
                let old = to.is_some_and(|to| to < *now);
                let late = if old { ", OUT OF DATE" } else { "" };
                let _ = writeln!(text, "    made:         {}, until {until}{late}", moment(*from));
                let _ = writeln!(text, "    revoked:      {revoked}");
            }
            Self::Key { private, kind, fingerprint, mode } => {
                let what = if *private { "private" } else { "public" };
                let _ = writeln!(text, "  {what} key");
                let _ = writeln!(
                    text,
                    "    key:          {kind}, SHA-256 of the public half {fingerprint}"
                );
                if let Some(mode) = mode.filter(|mode| mode & 0o077 != 0) {
                    let _ = writeln!(
                        text,
                        "    open:         mode {mode:04o}, others can read it; chmod 600"
                    );
                }
            }
            Self::Unusable { what, why } => {
                let _ = writeln!(text, "  {what}\n    not usable:   {why}");
            }
        }
        text
    }

    fn json(&self) -> Value {
        match self {
            Self::Certificate { facts, unfit } => {
                let mut value = serde_json::to_value(facts).unwrap_or_default();
                if let Some(object) = value.as_object_mut() {
                    object.insert("kind".into(), "certificate".into());
                    object.insert("usable".into(), unfit.is_none().into());
                }
                value
            }
            Self::List { issuer, from, to, revoked, now } => {
                let left = to.and_then(|to| i64::try_from(to).ok());
                let left = left.zip(i64::try_from(*now).ok()).map(|(to, now)| to - now);
                json!({
                    "kind": "revocation-list", "issuer": issuer, "this_update": rfc3339(*from),
                    "next_update": to.map(rfc3339), "expires_in_seconds": left, "revoked": revoked,
                })
            }
            Self::Key { private, kind, fingerprint, mode } => json!({
                "kind": if *private { "private-key" } else { "public-key" },
                "key": kind, "key_fingerprint": fingerprint,
                "open_to_others": mode.map(|mode| mode & 0o077 != 0),
            }),
            Self::Unusable { what, why } => json!({
                "kind": what.replace(' ', "-"), "usable": false, "problem": why,
            }),
        }
    }
}

fn rfc3339(unix: u64) -> Option<String> {
    let time = jiff::Timestamp::from_second(i64::try_from(unix).ok()?).ok()?;
    Some(time.to_string())
}

fn left(facts: &CertificateStatus) -> String {
    match u64::try_from(facts.expires_in_seconds) {
        Ok(left) => format!("{} left", time_left(left)),
        Err(_) => "EXPIRED".to_owned(),
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::super::make::tests::{now, site, wanted};
    use super::super::make::{make, unix};
    use super::super::revoke::revoke;
    use super::*;

    #[test]
    fn each_kind_of_file_is_told_for_people_and_programs() {
        let dir = tempfile::tempdir().expect("a directory");
        make(dir.path(), &[site("fra1.example.com")], &wanted(), now()).expect("made");
        revoke(dir.path(), &["fra1.example.com".to_owned()], 30, now()).expect("revoked");
        let at = unix(now()) + 86_400;
        let read = |file: &str| show(&dir.path().join(file), at).expect("read");
        let pem = read("fra1.example.com.pem");
        let text = pem.text();
        for words in [
            "subject:      CN=fra1.example.com",
            "names:        fra1.example.com, ",
            "issuer:       CN=Site-to-site CA ",
            "valid:        2026-11-27 07:00 to 2027-11-27 08:00 UTC, 364 days left",
            "key:          ECDSA P-256, SHA-256 ",
        ] {
            assert!(text.contains(words), "{words} in {text}");
        }
        assert!(!text.contains("not usable"), "{text}");
        let all = [pem, read("fra1.example.com.key"), read("crl.pem"), read("ca.pem")];
        let json = Shown::json(&all);
        assert_eq!(json["schema"], "s2s-gw/pki/1");
        let item = |at: usize| &json["files"][at]["items"][0];
        assert_eq!(item(0)["kind"], "certificate");
        assert_eq!(item(0)["names"][0], "fra1.example.com");
        assert_eq!(item(0)["not_after"], "2027-11-27T08:00:00Z");
        assert_eq!(item(1)["kind"], "private-key");
        assert_eq!(item(1)["key_fingerprint"], item(0)["key_fingerprint"]);
        assert_eq!(item(1)["open_to_others"], false);
        assert_eq!((&item(2)["kind"], &item(2)["revoked"]), (&json!("revocation-list"), &json!(1)));
        assert!(!json.to_string().contains("PRIVATE"));
        assert_eq!(item(3)["authority"], true);
        let late = show(&dir.path().join("fra1.example.com.pem"), at + 400 * 86_400);
        let late = late.expect("read").text();
        assert!(late.contains("EXPIRED") && late.contains("not usable:"), "{late}");
        std::fs::write(dir.path().join("x"), "hello").expect("writes");
        let nothing = show(&dir.path().join("x"), at);
        assert!(nothing.is_err_and(|error| error.to_string().contains("no certificate")));
    }
}
