//! The authority and the certificates of sites, made where they are not there yet.
//!
//! ```text
//!   is everything that shall be written free to be written?   no ─► nothing is written at all
//!   ca.key, ca.pem            new, or those that are there
//!   SITE.key                  new, or the one that is there, whatever its kind
//!   SITE.pem                  new; with `renew` in the place of the old one
//! ```

use std::path::Path;

use ikev2::Identity;
use ikev2::pki::{Certificate, Credential, PkiError as Unusable};
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::advice;
use super::authority::{Authority, KeyKind, PkiError, Validity};
use super::files::{Directory, FileError};
use crate::config::validity::moment;

/// Why nothing, or not all, was made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Keys and certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A certificate that is there already.
    #[error("{path} exists; `--renew` makes a new certificate for the same key")]
    There {
        /// Its file.
        path: String,
    },
    /// Two sites whose files have one name, or a site that is called as the authority is.
    #[error("the files of `{0}` would have the name of others; call it differently")]
    SameName(String),
    /// A file has something else in it.
    #[error("{path}: {what}")]
    Content {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
}

impl MakeError {
    fn content(directory: &Directory, file: &str, what: &(impl ToString + ?Sized)) -> Self {
        Self::Content { path: directory.path(file).display().to_string(), what: what.to_string() }
    }
}

/// A gateway that a certificate is for.
#[derive(Debug, Clone)]
pub struct Site {
    /// As it was called.
    pub name: String,
    /// The same as IKE has it.
    pub identity: Identity,
}

impl Site {
    /// The name of its files without ending: the identity, and `-` for what does not belong into a file name.
    pub(super) fn stem(&self) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
        self.name.chars().map(|c| if plain(c) { c } else { '-' }).collect()
    }
}

/// How certificates are to be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Days that a site's is valid.
    pub days: u32,
    /// Days that a new authority's is valid.
    pub ca_days: u32,
    /// Kind of new keys.
    pub key: KeyKind,
    /// Name of a new authority.
    pub ca_name: Option<String>,
    /// Whether sites that have a certificate get a new one.
    pub renew: bool,
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// Path of each new file and what it is.
    pub(super) files: Vec<(String, String)>,
    pub(super) sites: Vec<Site>,
    /// Whether the sites only got new certificates for what they have.
    pub(super) renewed: bool,
}

impl Made {
    /// For people: what is where, where it belongs, and the lines of the configurations.
    #[must_use]
    pub fn text(&self) -> String {
        advice::text(self)
    }
}

/// Makes what is not there.
///
/// # Errors
/// [`MakeError`]; what was there before is as it was.
pub fn make(
    path: &Path,
    sites: &[Site],
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Made, MakeError> {
    let directory = Directory::open(path)?;
    check_free(&directory, sites, wanted.renew)?;
    let mut files = Vec::new();
    let mut note = |file: &str, what: String| {
        files.push((directory.path(file).display().to_string(), what));
    };
    let is_new = !directory.has(CA_PEM) && !directory.has(CA_KEY);
    let authority = if is_new {
        let (authority, name, to) = found_authority(&directory, wanted, now)?;
        let until = moment(unix(to));
        note(CA_PEM, format!("the authority \"{name}\", until {until}; every gateway needs it"));
        note(CA_KEY, "its key; keep it away from the gateways".to_owned());
        authority
    } else {
        read_authority(&directory, now)?.0
    };
    for site in sites {
        let (pem, key) = (format!("{}.pem", site.stem()), format!("{}.key", site.stem()));
        let secret = if directory.has(&key) {
            directory.read(&key)?
        } else {
            let secret = wanted.key.new_key()?;
            directory.write_key(&key, &secret)?;
            secret
        };
        let validity = Validity::days(now, wanted.days);
        let issued = authority.issue(&site.identity, &secret, validity)?;
        check_issuer(&directory, &issued.pem)?;
        directory.replace(&pem, &issued.pem)?;
        let until = moment(unix(issued.to));
        note(&pem, format!("the certificate of {}, until {until}", site.name));
        note(&key, "its key; for that gateway only".to_owned());
    }
    Ok(Made { files, sites: sites.to_vec(), renewed: wanted.renew })
}

/// That nothing is in the way.
fn check_free(directory: &Directory, sites: &[Site], renew: bool) -> Result<(), MakeError> {
    let mut stems = std::collections::BTreeSet::from(["ca".to_owned(), "crl".to_owned()]);
    for site in sites {
        let stem = site.stem();
        let pem = format!("{stem}.pem");
        if directory.has(&pem) && !renew {
            let path = directory.path(&pem).display().to_string();
            return Err(MakeError::There { path });
        }
        if !stems.insert(stem) {
            return Err(MakeError::SameName(site.name.clone()));
        }
    }
    Ok(())
}

/// A new authority.
fn found_authority(
    directory: &Directory,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<(Authority, String, Timestamp), MakeError> {
    let name = match &wanted.ca_name {
        Some(name) if is_plain(name) => name.clone(),
        Some(name) => {
            let what = format!("`{name}` cannot name it: letters, digits, blanks and `.-_` can");
            return Err(MakeError::content(directory, CA_PEM, &what));
        }
        None => {
            let mut tail = [0; 3];
            getrandom::fill(&mut tail).map_err(PkiError::Random)?;
            // So that nobody takes two of them for one.
            format!("Site-to-site CA {}", crate::status::certificate::hex(&tail))
        }
    };
    // It outlives what it signs.
    let days = wanted.ca_days.max(wanted.days);
    let key = wanted.key.new_key()?;
    let (authority, issued) = Authority::make(&name, &key, Validity::days(now, days))?;
    directory.write_key(CA_KEY, &key)?;
    directory.write(CA_PEM, &issued.pem)?;
    Ok((authority, name, issued.to))
}

/// What needs no escape in a distinguished name.
fn is_plain(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " .-_".contains(c);
    name.trim() == name && !name.is_empty() && name.len() <= 64 && name.chars().all(allowed)
}

/// The authority that is there, and its certificate.
pub(super) fn read_authority(
    directory: &Directory,
    now: Timestamp,
) -> Result<(Authority, Certificate), MakeError> {
    let content =
        |file, what: &dyn std::fmt::Display| MakeError::content(directory, file, &what.to_string());
    let certificate = read_certificate(directory, CA_PEM)?;
    let key = directory.read(CA_KEY)?;
    let der = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|_| content(CA_KEY, &"there is no private key in it"))?;
    Credential::certified(der.secret_der(), vec![certificate.clone()])
        .map_err(|error| content(CA_KEY, &error))?;
    let subject = certificate.subject().to_string();
    let name = subject.strip_prefix("CN=").filter(|name| is_plain(name));
    let Some(name) = name.filter(|_| certificate.is_ca()) else {
        return Err(content(CA_PEM, &FOREIGN));
    };
    if certificate.not_after() <= unix(now) {
        let what = format!("the authority ended {}", moment(certificate.not_after()));
        return Err(content(CA_PEM, &what));
    }
    let time = |unix: u64| Timestamp::from_second(i64::try_from(unix).unwrap_or(i64::MAX));
    let from = time(certificate.not_before()).unwrap_or(Timestamp::MIN);
    let to = time(certificate.not_after()).unwrap_or(Timestamp::MAX);
    Ok((Authority::of(name, &key, Validity { from, to })?, certificate))
}

/// The first certificate of a file.
pub(super) fn read_certificate(
    directory: &Directory,
    file: &str,
) -> Result<Certificate, MakeError> {
    let text = directory.read(file)?;
    let der = CertificateDer::from_pem_slice(text.as_bytes())
        .map_err(|_| MakeError::content(directory, file, "there is no certificate in it"))?;
    Certificate::from_der(&der)
        .map_err(|error: Unusable| MakeError::content(directory, file, &error))
}

/// What was made names the authority as that calls itself, or nobody would find it.
fn check_issuer(directory: &Directory, pem: &str) -> Result<(), MakeError> {
    let authority = read_certificate(directory, CA_PEM)?;
    let made = CertificateDer::from_pem_slice(pem.as_bytes()).ok();
    let made = made.and_then(|der| Certificate::from_der(&der).ok());
    if made.is_none_or(|made| made.issuer() != authority.subject()) {
        return Err(MakeError::content(directory, CA_PEM, FOREIGN));
    }
    Ok(())
}

pub(super) fn unix(time: Timestamp) -> u64 {
    u64::try_from(time.as_second()).unwrap_or(0)
}

const FOREIGN: &str =
    "this authority was not made by s2s-gw pki; use the program that it comes from";
pub(super) const CA_PEM: &str = "ca.pem";
pub(super) const CA_KEY: &str = "ca.key";

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use ikev2::pki::KeyKind as Kind;

    use super::*;

    pub(in super::super) fn site(name: &str) -> Site {
        Site { name: name.to_owned(), identity: name.parse().expect("an identity") }
    }

    pub(in super::super) fn wanted() -> Wanted {
        let key = KeyKind::EcdsaP256;
        Wanted { days: 365, ca_days: 1826, key, ca_name: None, renew: false }
    }

    pub(in super::super) fn now() -> Timestamp {
        "2026-11-27T08:00:00Z".parse().expect("a time")
    }

    #[test]
    fn a_first_call_makes_an_authority_and_a_second_one_uses_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let sites = [site("fra1.example.com"), site("ops@example.com"), site("2001:db8::1")];
        make(dir.path(), &sites, &wanted(), now()).expect("made");
        let directory = Directory::open(dir.path()).expect("there");
        let ca = read_certificate(&directory, CA_PEM).expect("an authority");
        assert!(ca.is_ca() && ca.subject().to_string().starts_with("CN=Site-to-site CA "));
        for (site, stem) in sites.iter().zip(["fra1.example.com", "ops@example.com", "2001-db8--1"])
        {
            let one = read_certificate(&directory, &format!("{stem}.pem")).expect("a certificate");
            assert_eq!(one.identities().first(), Some(&site.identity));
            assert_eq!(one.issuer(), ca.subject());
            assert!(!one.is_ca() && one.check_use(unix(now())).is_ok());
            let days = (one.not_after() - one.not_before()) / 86_400;
            assert_eq!(days, 365, "no more than was asked for");
            let key = directory.read(&format!("{stem}.key")).expect("a key");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            Credential::certified(key.secret_der(), vec![one]).expect("they fit");
            let file = directory.path(&format!("{stem}.key"));
            let mode = std::fs::metadata(file).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600);
        }
        let later = [site("paris.example.com")];
        make(dir.path(), &later, &Wanted { key: KeyKind::Ed25519, ..wanted() }, now())
            .expect("added");
        let paris = read_certificate(&directory, "paris.example.com.pem").expect("a certificate");
        assert_eq!((paris.issuer(), paris.public_key().kind()), (ca.subject(), Kind::Ed25519));
        assert_eq!(read_certificate(&directory, CA_PEM).expect("the same"), ca);
    }

    #[test]
    fn nothing_is_overwritten_unless_it_is_to_be_renewed() {
        let dir = tempfile::tempdir().expect("a directory");
        let one = [site("fra1.example.com")];
        make(dir.path(), &one, &wanted(), now()).expect("made");
        let directory = Directory::open(dir.path()).expect("there");
        let read = |file: &str| directory.read(file).expect("read").to_string();
        let (pem, key) = (read("fra1.example.com.pem"), read("fra1.example.com.key"));
        let both = [site("new.example.com"), site("fra1.example.com")];
        let refused = make(dir.path(), &both, &wanted(), now());
        assert!(matches!(refused, Err(MakeError::There { .. })), "{refused:?}");
        assert!(!directory.has("new.example.com.key"), "nothing at all is made");
        assert_eq!(read("fra1.example.com.pem"), pem);
        make(dir.path(), &one, &Wanted { renew: true, ..wanted() }, now()).expect("renewed");
        assert_ne!(read("fra1.example.com.pem"), pem);
        assert_eq!(read("fra1.example.com.key"), key);
        let twice = [site("2001:db8::7"), site("2001-db8--7")];
        for same in [&twice[..], &[site("ca")]] {
            let refused = make(dir.path(), same, &wanted(), now());
            assert!(
                matches!(refused, Err(MakeError::SameName(_) | MakeError::There { .. })),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn a_certificate_never_outlives_its_authority() {
        let dir = tempfile::tempdir().expect("a directory");
        let short = Wanted { days: 30, ca_days: 30, ..wanted() };
        make(dir.path(), &[site("a.example.com")], &short, now()).expect("made");
        make(dir.path(), &[site("b.example.com")], &wanted(), now()).expect("made");
        let directory = Directory::open(dir.path()).expect("there");
        let end = |file: &str| read_certificate(&directory, file).expect("read").not_after();
        assert_eq!(end("b.example.com.pem"), end(CA_PEM));
        let late = now() + jiff::SignedDuration::from_hours(24 * 31);
        let refused = make(dir.path(), &[site("c.example.com")], &wanted(), late);
        assert!(refused.is_err_and(|error| error.to_string().contains("ended 2026-12-27")));
    }
}
