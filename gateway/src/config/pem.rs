//! Files with keys and certificates: read, taken out of their PEM, checked for what they should be.
//!
//! ```text
//!   -----BEGIN CERTIFICATE-----      cert, ca, peer_cert    ─► Certificate, several in one file in their order
//!   -----BEGIN X509 CRL-----         crl                    ─► Crl
//!   -----BEGIN PUBLIC KEY-----       peer_key               ─► PublicKey; a certificate will do, too
//!   -----BEGIN PRIVATE KEY-----      key                    ─► Credential, with the mode that a secret has (E0104)
//! ```

use std::path::{Path, PathBuf};

use ikev2::pki::{Certificate, Crl, PkiError, PublicKey};
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, SubjectPublicKeyInfoDer};
use zeroize::Zeroizing;

use super::codes::Code;
use super::load::Surroundings;
use super::report::Diagnostic;
use super::secret::{KeySource, Modes, credential_path, plain_error, read_key, try_read};
use super::section::Findings;
use super::source::{At, Place};

/// The content of a file that is no secret.
pub(super) struct Read {
    pub(super) path: PathBuf,
    octets: Vec<u8>,
}

/// Reads the file that `key` names.
pub(super) fn read(
    key: &str,
    name: &At<String>,
    surroundings: &Surroundings,
    findings: &mut Findings,
) -> Option<Read> {
    let path = surroundings.key_path(name.place.path(), Path::new(&name.value));
    findings.note_file(&path);
    match try_read(&path, FILE_MAX) {
        Ok((octets, _)) => Some(Read { path, octets: octets.to_vec() }),
        Err(error) => {
            let message = format!("`{key}`: `{}` cannot be read", name.value);
            findings.add(
                Diagnostic::at(Code::CertFile, &name.place, message)
                    .label(plain_error(&error))
                    .fix(unreadable_fix(error.kind())),
            );
            None
        }
    }
}

fn unreadable_fix(kind: std::io::ErrorKind) -> &'static str {
    if kind == std::io::ErrorKind::NotFound {
        "correct the path, or make certificates: s2s-gw pki DIR --site NAME"
    } else if kind == std::io::ErrorKind::PermissionDenied && crate::sandbox::is_on() {
        crate::sandbox::REMEDY
    } else if kind == std::io::ErrorKind::PermissionDenied {
        "run this as the user that the gateway runs as, or give that user the file"
    } else {
        "name a PEM file"
    }
}

/// Octets; a bundle of the authorities of a whole country fits.
const FILE_MAX: usize = 1 << 20;

/// The certificates of a file, at least one.
pub(super) fn certificates(
    key: &str,
    name: &At<String>,
    surroundings: &Surroundings,
    findings: &mut Findings,
) -> Option<(PathBuf, Vec<Certificate>)> {
    let read = read(key, name, surroundings, findings)?;
    let der: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read.octets).collect();
    let der = der.ok().filter(|der| !der.is_empty());
    let Some(der) = der else {
        findings.add(not_pem(key, name, &read.octets, "certificate", "CERTIFICATE"));
        return None;
    };
    let mut found = Vec::new();
    for der in der {
        match Certificate::from_der(&der) {
            Ok(certificate) => found.push(certificate),
            Err(error) => {
                findings.add(unusable(key, name, &error));
                return None;
            }
        }
    }
    Some((read.path, found))
}

/// The revocation lists of a file.
pub(super) struct Lists {
    pub(super) path: PathBuf,
    /// Each with its DER; at least one.
    pub(super) lists: Vec<(Crl, Vec<u8>)>,
}

/// The revocation lists of a file.
pub(super) fn lists(
    name: &At<String>,
    surroundings: &Surroundings,
    findings: &mut Findings,
) -> Option<Lists> {
    let read = read("crl", name, surroundings, findings)?;
    let der: Result<Vec<_>, _> =
        CertificateRevocationListDer::pem_slice_iter(&read.octets).collect();
    let der = der.ok().filter(|der| !der.is_empty());
    let Some(der) = der else {
        findings.add(not_pem("crl", name, &read.octets, "revocation list", "X509 CRL"));
        return None;
    };
    let mut found = Vec::new();
    for der in der {
        match Crl::from_der(&der) {
            Ok(list) => found.push((list, der.to_vec())),
            Err(error) => {
                findings.add(unusable("crl", name, &error));
                return None;
            }
        }
    }
    Some(Lists { path: read.path, lists: found })
}

/// The public key of a file, bare or in a certificate.
pub(super) fn public_key(
    name: &At<String>,
    surroundings: &Surroundings,
    findings: &mut Findings,
) -> Option<PublicKey> {
    let read = read("peer_key", name, surroundings, findings)?;
    let key = if let Ok(spki) = SubjectPublicKeyInfoDer::from_pem_slice(&read.octets) {
        PublicKey::from_spki_der(&spki)
    } else if let Ok(der) = CertificateDer::from_pem_slice(&read.octets) {
        Certificate::from_der(&der).map(|certificate| certificate.public_key().clone())
    } else {
        findings.add(not_pem("peer_key", name, &read.octets, "public key", "PUBLIC KEY"));
        return None;
    };
    key.inspect_err(|error| findings.add(unusable("peer_key", name, error))).ok()
}

/// The DER of a private key, and what to call it in messages.
pub(super) fn private_key(
    source: &KeySource,
    surroundings: &Surroundings,
    findings: &mut Findings,
) -> Option<Zeroizing<Vec<u8>>> {
    let (name, path, modes) = match source {
        KeySource::File(name) => {
            let path = surroundings.key_path(name.place.path(), Path::new(&name.value));
            (name, path, Modes::Strict)
        }
        KeySource::Credential(name) => {
            (name, credential_path(name, surroundings, findings)?, Modes::Systemd)
        }
        // The form of `key` has no such thing.
        KeySource::Inline(_) => return None,
    };
    findings.note_file(&path);
    let fix =
        "make one: openssl genpkey -algorithm ED25519 -out FILE, or s2s-gw pki DIR --site NAME";
    let text = read_key(&path, &name.value, &name.place, modes, fix, findings)?;
    for (kind, der) in sections(&text) {
        if matches!(
            kind,
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey
        ) {
            return Some(der);
        }
    }
    findings.add(no_private_key(&name.value, &name.place, &text));
    None
}

/// Every PEM section that can be read.
fn sections(text: &[u8]) -> impl Iterator<Item = (SectionKind, Zeroizing<Vec<u8>>)> {
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text).filter_map(Result::ok);
    sections.map(|(kind, der)| (kind, Zeroizing::new(der)))
}

fn no_private_key(shown: &str, place: &Place, text: &[u8]) -> Diagnostic {
    let has = |words: &str| text.windows(words.len()).any(|part| part == words.as_bytes());
    let message = format!("`{shown}` has no private key that can be used");
    let found = Diagnostic::at(Code::PrivateKey, place, message);
    if has("-----BEGIN ENCRYPTED") || has("Proc-Type: 4,ENCRYPTED") {
        return found
            .label("the key is encrypted")
            .why("the gateway starts by itself: there is nobody to ask for a passphrase")
            .fix(format!("openssl pkey -in {shown} -out NEW.key, with umask 077"));
    }
    let label = if has("-----BEGIN CERTIFICATE-----") {
        "a certificate is in it, and no key"
    } else if has("-----BEGIN ") {
        "PEM, but no `PRIVATE KEY`"
    } else {
        "this is not PEM"
    };
    found.label(label).fix("name a PEM file that has `-----BEGIN PRIVATE KEY-----` in it")
}

/// E0160: the file has not what `key` wants.
fn not_pem(key: &str, name: &At<String>, octets: &[u8], what: &str, section: &str) -> Diagnostic {
    let has = |words: &[u8]| octets.windows(words.len()).any(|part| part == words);
    let label = if has(format!("-----BEGIN {section}-----").as_bytes()) {
        "its base64 is damaged"
    } else if has(b"-----BEGIN ") {
        "PEM of something else"
    } else {
        "this is not PEM"
    };
    let message = format!("`{key}`: `{}` has no {what} in it", name.value);
    let found = Diagnostic::at(Code::CertFile, &name.place, message).label(label);
    if octets.first() == Some(&0x30) && !has(b"-----BEGIN ") {
        return found.fix(match what {
            "certificate" => "it looks like DER: openssl x509 -inform DER -in FILE -out FILE.pem",
            "revocation list" => {
                "it looks like DER: openssl crl -inform DER -in FILE -out FILE.pem"
            }
            _ => "it looks like DER: openssl pkey -pubin -inform DER -in FILE -out FILE.pem",
        });
    }
    found.fix(format!("name a PEM file that has `-----BEGIN {section}-----` in it"))
}

/// What the library has against it, in its own words.
fn unusable(key: &str, name: &At<String>, error: &PkiError) -> Diagnostic {
    let weak = matches!(error, PkiError::Unsupported(_) | PkiError::RsaPrivateKey { .. });
    let code = if weak { Code::WeakCertificate } else { Code::CertFile };
    Diagnostic::at(code, &name.place, format!("`{key}`: `{}` cannot be used", name.value))
        .label(error.to_string())
        .fix("make another one, or name another file")
}
