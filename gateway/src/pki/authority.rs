//! The authority itself: a key that signs certificates of gateways, and a list of those that it takes back.
//!
//! ```text
//!   CA     CN=NAME                basicConstraints CA:TRUE, pathlen 0      keyUsage keyCertSign, cRLSign
//!    └─ site   CN=IDENTITY        subjectAltName = the identity            keyUsage digitalSignature
//!              serial: random     extendedKeyUsage id-kp-ipsecIKE (RFC 4945 §5.1.3.12)
//! ```
//!
//! A certificate begins an hour ago, since the clock of another gateway may be late, and never ends after its authority.

use std::net::IpAddr;
use std::time::Duration;

use ikev2::Identity;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevocationReason, RevokedCertParams, SanType, SerialNumber,
};
use zeroize::Zeroizing;

/// A moment in the type that `rcgen` takes, of which it tells us no more than how to make one.
macro_rules! date {
    ($time:expr) => {
        rcgen::date_time_ymd(1970, 1, 1) + since_epoch($time)
    };
}

/// What went wrong with a certificate or its key.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The identity is of a kind that no certificate can have.
    #[error("{0} cannot stand in a certificate: an address, a DNS name or a mail address can")]
    Identity(Identity),
    /// The text is no private key that can sign here.
    #[error("no private key in PKCS #8 that can be used here: {0}")]
    Key(rcgen::Error),
    /// Signing failed.
    #[error("cannot make the certificate: {0}")]
    Signing(#[from] rcgen::Error),
    /// There is no randomness.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

/// Kinds of keys that are made here. RSA is not: what makes such keys well is not among what this program is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum KeyKind {
    /// ECDSA on P-256, which every peer knows.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// Ed25519 (RFC 8420).
    Ed25519,
}

impl KeyKind {
    fn generate(self) -> Result<KeyPair, PkiError> {
        let algorithm = match self {
            Self::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        };
        Ok(KeyPair::generate_for(algorithm)?)
    }

    /// A new private key, PEM.
    ///
    /// # Errors
    /// If there are no random numbers.
    pub(super) fn new_key(self) -> Result<Zeroizing<String>, PkiError> {
        Ok(Zeroizing::new(self.generate()?.serialize_pem()))
    }
}

/// From when to when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    /// It is not valid before.
    pub(super) from: Timestamp,
    /// Nor after.
    pub(super) to: Timestamp,
}

impl Validity {
    /// So many days from now, and the last hour.
    #[must_use]
    pub(super) fn days(now: Timestamp, days: u32) -> Self {
        let whole = |time: Timestamp| time.round(jiff::Unit::Second).unwrap_or(time);
        let from = now.saturating_sub(LATE_CLOCKS).unwrap_or(Timestamp::MIN);
        let to = now.saturating_add(DAY * days).unwrap_or(Timestamp::MAX);
        Self { from: whole(from), to: whole(to) }
    }

    /// The part of it in which the authority is valid, too.
    #[must_use]
    pub(super) fn within(self, authority: Self) -> Self {
        Self { from: self.from.max(authority.from), to: self.to.min(authority.to) }
    }
}

/// So late may the clock of another gateway be.
const LATE_CLOCKS: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// A certificate as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Issued {
    /// The certificate.
    pub(super) pem: String,
    /// Until when.
    pub(super) to: Timestamp,
}

/// An authority with its key.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    validity: Validity,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("validity", &self.validity).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one with this name and key (PEM), and its certificate.
    ///
    /// # Errors
    /// If the key cannot be used.
    pub(super) fn make(
        name: &str,
        key: &str,
        validity: Validity,
    ) -> Result<(Self, Issued), PkiError> {
        let key = KeyPair::from_pem(key).map_err(PkiError::Key)?;
        let mut params = params(validity)?;
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        Ok((Self { issuer, validity }, Issued { pem, to: validity.to }))
    }

    /// The one that made its certificate before: by its name, key (PEM) and validity.
    ///
    /// # Errors
    /// If the key cannot be used.
    pub(super) fn of(name: &str, key: &str, validity: Validity) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(key).map_err(PkiError::Key)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self { issuer: Issuer::new(params, key), validity })
    }

    /// A certificate for a gateway of this identity with this key (PEM), at most as long as the authority is valid.
    ///
    /// # Errors
    /// If no certificate can have the identity, or the key cannot be used.
    pub(super) fn issue(
        &self,
        identity: &Identity,
        key: &str,
        validity: Validity,
    ) -> Result<Issued, PkiError> {
        let key = KeyPair::from_pem(key).map_err(PkiError::Key)?;
        let validity = validity.within(self.validity);
        let mut params = params(validity)?;
        // For people alone; more than 64 characters are not allowed there (RFC 5280, appendix A.1).
        let name = crate::status::words::identity(identity);
        params.distinguished_name = common_name(&name.chars().take(64).collect::<String>());
        params.subject_alt_names = vec![alternative_name(identity)?];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(IPSEC_IKE.to_vec())];
        params.use_authority_key_identifier_extension = true;
        let pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { pem, to: validity.to })
    }

    /// The list of what it takes back (RFC 5280 §5): serial numbers and since when. `number` grows with each list.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub(super) fn revoke(
        &self,
        revoked: &[(Vec<u8>, Timestamp)],
        number: u64,
        validity: Validity,
    ) -> Result<Issued, PkiError> {
        let one = |(serial, since): &(Vec<u8>, Timestamp)| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: date!(*since),
            reason_code: Some(RevocationReason::CessationOfOperation),
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date!(validity.from),
            next_update: date!(validity.to),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(one).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let pem = list.signed_by(&self.issuer)?.pem()?;
        Ok(Issued { pem, to: validity.to })
    }
}

/// What every certificate has. The serial number is random, not made from the key: a key may have several certificates.
fn params(validity: Validity) -> Result<CertificateParams, PkiError> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(PkiError::Random)?;
    // Positive, and never shorter (RFC 5280 §4.1.2.2).
    serial[0] = serial[0] & 0x3f | 0x40;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = date!(validity.from);
    params.not_after = date!(validity.to);
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

fn alternative_name(identity: &Identity) -> Result<SanType, PkiError> {
    match identity {
        Identity::Ipv4(address) => Ok(SanType::IpAddress(IpAddr::V4(*address))),
        Identity::Ipv6(address) => Ok(SanType::IpAddress(IpAddr::V6(*address))),
        Identity::Fqdn(name) => Ok(SanType::DnsName(name.as_str().try_into()?)),
        Identity::Email(address) => Ok(SanType::Rfc822Name(address.as_str().try_into()?)),
        Identity::KeyId(_) | Identity::Dn(_) | Identity::Other(..) => {
            Err(PkiError::Identity(identity.clone()))
        }
    }
}

/// id-kp-ipsecIKE (RFC 4945 §5.1.3.12).
const IPSEC_IKE: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 3, 17];

fn since_epoch(time: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0))
}
