//! A certificate (RFC 5280) and what it says, read once.
//!
//! ```text
//!   subject, issuer      DistinguishedName              what a person looks for first
//!   identities           subjectAltName, then subject   what its owner may claim in IDi and IDr (RFC 4945 §3.1)
//!   not_before..after    seconds since 1970             inclusive, both
//!   public_key           what AUTH is held against
//! ```
//!
//! Reading proves nothing: that is `chain.rs`.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use der::{Decode, Encode};
use sha2::{Digest, Sha256};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};

use super::{AuthProblem, PkiError, PublicKey};
use crate::registry::IdType;
use crate::wire::identity::Identity;
use crate::wire::name::DistinguishedName;

/// An X.509 certificate. Compares by its DER; a copy is cheap.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    der: Vec<u8>,
    subject: DistinguishedName,
    issuer: DistinguishedName,
    identities: Vec<Identity>,
    serial: Vec<u8>,
    validity: (u64, u64),
    key: PublicKey,
    is_ca: bool,
    /// What bars it from signing for IKE.
    bar: Option<&'static str>,
}

impl Certificate {
    /// Reads the DER of a certificate.
    ///
    /// # Errors
    /// If it is none, or if its key is one that we have no signatures for.
    pub fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        let bad = |error: der::Error| PkiError::Certificate(error.to_string());
        let read = x509_cert::Certificate::from_der(der).map_err(bad)?;
        let tbs = read.tbs_certificate();
        let name = |name: &x509_cert::name::Name| -> Result<DistinguishedName, PkiError> {
            let der = name.to_der().map_err(bad)?;
            let malformed = || PkiError::Certificate("a name in it is malformed".into());
            DistinguishedName::from_der(&der).ok_or_else(malformed)
        };
        let subject = name(tbs.subject())?;
        let issuer = name(tbs.issuer())?;
        let alternative = tbs.get_extension::<SubjectAltName>().map_err(bad)?;
        let mut identities: Vec<Identity> =
            alternative.iter().flat_map(|(_, names)| names.0.iter().filter_map(identity)).collect();
        if !subject.is_empty() {
            identities.push(Identity::Dn(subject.clone()));
        }
        let constraints = tbs.get_extension::<BasicConstraints>().map_err(bad)?;
        let usage = tbs.get_extension::<KeyUsage>().map_err(bad)?.map(|(_, usage)| usage);
        let purposes = tbs.get_extension::<ExtendedKeyUsage>().map_err(bad)?;
        let key = tbs.subject_public_key_info().to_der().map_err(bad)?;
        let validity = tbs.validity();
        Ok(Self(Arc::new(Inner {
            der: der.to_vec(),
            subject,
            issuer,
            identities,
            serial: tbs.serial_number().as_bytes().to_vec(),
            validity: (
                validity.not_before.to_unix_duration().as_secs(),
                validity.not_after.to_unix_duration().as_secs(),
            ),
            key: PublicKey::from_spki_der(&key)?,
            is_ca: constraints.is_some_and(|(_, constraints)| constraints.ca),
            bar: bar(usage, purposes.map(|(_, purposes)| purposes)),
        })))
    }

    /// Its DER, as it came.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// Whom it is about. May be empty if it has alternative names.
    #[must_use]
    pub fn subject(&self) -> &DistinguishedName {
        &self.0.subject
    }

    /// Who issued it, by its own account.
    #[must_use]
    pub fn issuer(&self) -> &DistinguishedName {
        &self.0.issuer
    }

    /// Whom its owner may claim to be: the alternative names (DNS names, e-mail and IP addresses, directory names), in their order,
    /// then the subject.
    #[must_use]
    pub fn identities(&self) -> &[Identity] {
        &self.0.identities
    }

    /// Whether its owner may claim to be that. A `*` in a name stands for itself.
    #[must_use]
    pub fn covers(&self, identity: &Identity) -> bool {
        self.identities().contains(identity)
    }

    /// Its serial number, most significant octet first.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.0.serial
    }

    /// The first second in which it is valid, counted from 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn not_before(&self) -> u64 {
        self.0.validity.0
    }

    /// The last second in which it is valid.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.0.validity.1
    }

    /// The key that it certifies.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.0.key
    }

    /// Whether it may issue others (basicConstraints).
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.0.is_ca
    }

    /// SHA-256 of its DER: what `openssl x509 -fingerprint -sha256` prints.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(self.der()).into()
    }

    /// Whether it may be used for IKE at this moment, as far as it says so itself: its validity, key usage and purposes.
    ///
    /// # Errors
    /// [`AuthProblem::Expired`], [`AuthProblem::NotYetValid`] or [`AuthProblem::Purpose`].
    pub fn check_use(&self, now: u64) -> Result<(), AuthProblem> {
        let subject = || self.subject().clone();
        if now > self.not_after() {
            return Err(AuthProblem::Expired { subject: subject(), since: self.not_after() });
        }
        if now < self.not_before() {
            let from = self.not_before();
            return Err(AuthProblem::NotYetValid { subject: subject(), from, now });
        }
        match self.0.bar {
            Some(what) => Err(AuthProblem::Purpose { subject: subject(), what }),
            None => Ok(()),
        }
    }
}

/// The identity that an alternative name stands for. URIs and others are none that IKE knows.
fn identity(name: &GeneralName) -> Option<Identity> {
    match name {
        GeneralName::DnsName(name) => Some(Identity::from_data(IdType::FQDN, name.as_bytes())),
        GeneralName::Rfc822Name(name) => {
            Some(Identity::from_data(IdType::RFC822_ADDR, name.as_bytes()))
        }
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(octets).map(IpAddr::from);
            v4.or_else(|_| v6()).ok().map(Identity::from)
        }
        GeneralName::DirectoryName(name) => {
            let name = DistinguishedName::from_der(&name.to_der().ok()?)?;
            (!name.is_empty()).then_some(Identity::Dn(name))
        }
        GeneralName::UniformResourceIdentifier(_)
        | GeneralName::RegisteredId(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::OtherName(_) => None,
    }
}

/// RFC 4945 §5.1.3.2: a key usage, if there is one, has digitalSignature or nonRepudiation. §5.1.3.12: purposes, if there
/// are any, name IKE or any purpose. Those of TLS and the obsolete ones of IPsec are taken for that too: CAs of companies
/// issue little else, and strongSwan, which ignores purposes here, is happy with them.
fn bar(usage: Option<KeyUsage>, purposes: Option<ExtendedKeyUsage>) -> Option<&'static str> {
    if usage.is_some_and(|usage| !usage.digital_signature() && !usage.non_repudiation()) {
        return Some("its key usage has neither digitalSignature nor nonRepudiation");
    }
    let fits = |purposes: &ExtendedKeyUsage| {
        purposes.0.iter().any(|purpose| super::chain::PURPOSES.contains(purpose))
    };
    if purposes.is_some_and(|purposes| !fits(&purposes)) {
        return Some(super::chain::NO_PURPOSE);
    }
    None
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, by {})", self.subject(), self.issuer())
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der() == other.der()
    }
}

impl Eq for Certificate {}
