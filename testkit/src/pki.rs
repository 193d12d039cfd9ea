//! Certification authorities for tests: certificates good and bad, and lists of those that were taken back.
//!
//! ```text
//!   Authority::root("Example CA")  ──issue──►  certificate of a Key, with whatever the test changes in it
//!        └─under──► Authority      ──crl────►  list of serial numbers
//! ```
//!
//! All is DER octets, so that whoever tests decides what reads them. Everything is valid from 2026-01-01 to 2027-01-01; [`TODAY`]
//! is in between. RSA keys come from files: `ring` makes none.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RevokedCertParams, SerialNumber,
    date_time_ymd,
};

pub use rcgen;

/// What time it is when a [`World`](crate::world::World) begins, since 1970: 2026-07-01T00:00:00Z.
pub const TODAY: Duration = Duration::from_hours(495_240);

/// A private key.
pub struct Key {
    /// Its DER, PKCS#8.
    pub pkcs8: Vec<u8>,
    pair: KeyPair,
}

impl Key {
    /// A new key on P-256.
    #[must_use]
    pub fn p256() -> Self {
        Self::generate(&PKCS_ECDSA_P256_SHA256)
    }

    /// A new key on P-384.
    #[must_use]
    pub fn p384() -> Self {
        Self::generate(&PKCS_ECDSA_P384_SHA384)
    }

    /// A new Ed25519 key.
    #[must_use]
    pub fn ed25519() -> Self {
        Self::generate(&PKCS_ED25519)
    }

    /// The RSA key of 2048, 3072 or 4096 bits; always the same.
    ///
    /// # Panics
    /// For any other length.
    #[must_use]
    pub fn rsa(bits: usize) -> Self {
        let pkcs8: &[u8] = match bits {
            2048 => include_bytes!("pki/rsa-2048.der"),
            3072 => include_bytes!("pki/rsa-3072.der"),
            4096 => include_bytes!("pki/rsa-4096.der"),
            _ => panic!("no RSA key of {bits} bits"),
        };
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.into(), &PKCS_RSA_SHA256);
        Self { pkcs8: pkcs8.to_vec(), pair: pair.expect("an RSA key") }
    }

    fn generate(algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        let pair = KeyPair::generate_for(algorithm).expect("a key");
        Self { pkcs8: pair.serialize_der(), pair }
    }
}

/// A certified key on P-521 and what belongs to it, made by OpenSSL: `ring` has no P-521.
pub struct P521;

impl P521 {
    /// The private key, PKCS#8: for left.test.
    pub const KEY: &'static [u8] = include_bytes!("pki/p521-key.der");
    /// Its certificate, for `left.test`, issued by [`P521::CA`], which has a P-521 key too. Valid from 2026 to 2126.
    pub const CERTIFICATE: &'static [u8] = include_bytes!("pki/p521-cert.der");
    /// The certificate of the CA.
    pub const CA: &'static [u8] = include_bytes!("pki/p521-ca.der");
}

/// Somebody who issues certificates.
pub struct Authority {
    name: String,
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

impl Authority {
    /// A root with an Ed25519 key and this common name.
    #[must_use]
    pub fn root(name: &str) -> Self {
        Self::root_with(name, Key::ed25519())
    }

    /// A root with that key.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn root_with(name: &str, key: Key) -> Self {
        let params = ca_params(name);
        let der = params.self_signed(&key.pair).expect("a root").der().to_vec();
        Self { name: name.into(), issuer: Issuer::new(params, key.pair), der }
    }

    /// A root that is not as usual.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn odd_root(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = Key::p256();
        let mut params = ca_params(name);
        change(&mut params);
        let der = params.self_signed(&key.pair).expect("a root").der().to_vec();
        Self { name: name.into(), issuer: Issuer::new(params, key.pair), der }
    }

    /// An authority that this one makes.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn under(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = Key::p256();
        let mut params = ca_params(name);
        change(&mut params);
        let der = params.signed_by(&key.pair, &self.issuer).expect("a CA").der().to_vec();
        Self { name: name.into(), issuer: Issuer::new(params, key.pair), der }
    }

    /// A certificate for this authority by another one, beside its own.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn certified_by(&self, other: &Self) -> Vec<u8> {
        let params = ca_params(&self.name);
        params.signed_by(self.issuer.key(), &other.issuer).expect("a CA").der().to_vec()
    }

    /// Its own certificate.
    #[must_use]
    pub fn der(&self) -> Vec<u8> {
        self.der.clone()
    }

    /// A certificate for `key`, with the common name and the DNS name `name` and what `change` makes of it.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn issue(
        &self,
        key: &Key,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Vec<u8> {
        let mut params = leaf_params(name);
        change(&mut params);
        params.signed_by(&key.pair, &self.issuer).expect("a certificate").der().to_vec()
    }

    /// A list of revoked serial numbers, made on 2026-06-01, the next due at the given day of 2026.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn crl(&self, serials: &[u64], next: (u8, u8)) -> Vec<u8> {
        self.crl_of(6, serials, next)
    }

    /// The same, made on the first day of another month.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn crl_of(&self, month: u8, serials: &[u64], (next_month, next_day): (u8, u8)) -> Vec<u8> {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, 5, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, month, 1),
            next_update: date_time_ymd(2026, next_month, next_day),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("a list").der().to_vec()
    }
}

/// A certificate for `key` that it signs itself, as one pins it.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn self_signed(key: &Key, name: &str) -> Vec<u8> {
    leaf_params(name).self_signed(&key.pair).expect("a certificate").der().to_vec()
}

/// The subject `O=Test, CN=name`.
#[must_use]
pub fn subject(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "Test");
    subject.push(DnType::CommonName, name);
    subject
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    let name = name.try_into().expect("a name in ASCII");
    params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.serial_number = Some(SerialNumber::from(7u64));
    params
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}
