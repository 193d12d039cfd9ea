//! What can be wrong with keys and certificates, as sentences: [`PkiError`] when they are loaded, [`AuthProblem`] when a
//! peer shows its own.

use super::KeyKind;
use crate::registry::AuthMethod;
use crate::wire::identity::Identity;
use crate::wire::name::DistinguishedName;

/// Why octets are no key, certificate or list that we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// The DER of an X.509 certificate is wanted.
    #[error("this is not an X.509 certificate: {0}")]
    Certificate(String),
    /// The DER of a private key is wanted.
    #[error("this is not a private key in PKCS#8, PKCS#1 (RSA) or SEC1 (elliptic curve) form: {0}")]
    PrivateKey(String),
    /// PKCS#8 under a password.
    #[error(
        "the private key is encrypted; decrypt it with `openssl pkey -in KEY -out KEY.plain` and keep that file from others"
    )]
    Encrypted,
    /// The DER of a SubjectPublicKeyInfo is wanted.
    #[error("this is not a public key (SubjectPublicKeyInfo): {0}")]
    PublicKey(String),
    /// The DER of a certificate revocation list is wanted.
    #[error("this is not a certificate revocation list that can be used: {0}")]
    Crl(String),
    /// A kind of key that we have no signatures for.
    #[error(
        "{0} is not supported: use RSA of 2048 to 8192 bits, ECDSA P-256, P-384 or P-521, or Ed25519"
    )]
    Unsupported(String),
    /// RSA keys that are too short to be safe or too long to sign with.
    #[error(
        "an RSA private key of {bits} bits cannot be used: it needs 2048 to 4096, in steps of 8, and an exponent of 65537 or more"
    )]
    RsaPrivateKey {
        /// Length of the modulus.
        bits: usize,
    },
    /// The first certificate is of another key.
    #[error(
        "the private key does not fit the certificate of {subject}: that is for {certified}, the key is {key}{}",
        if .certified == .key { ", but another one" } else { "" }
    )]
    KeyDoesNotFit {
        /// Whose certificate.
        subject: DistinguishedName,
        /// The kind of key in the certificate.
        certified: KeyKind,
        /// The kind of the private key.
        key: KeyKind,
    },
    /// A chain without a first certificate.
    #[error("there is no certificate")]
    NoCertificate,
    /// A chain that is longer than peers accept.
    #[error("{0} certificates are too many for a chain: at most 8")]
    TooManyCertificates(usize),
    /// A certificate of the chain was not issued by the next.
    #[error(
        "the chain is not in order: the certificate of {subject} was issued by {issuer}, but the next one is that of {next}"
    )]
    ChainOrder {
        /// Whose certificate.
        subject: DistinguishedName,
        /// By whom it was issued.
        issuer: DistinguishedName,
        /// Whose certificate follows.
        next: DistinguishedName,
    },
}

/// Why a peer that identified itself did not prove that identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthProblem {
    /// It uses another method than is configured for it.
    #[error("it authenticates by {used}, but {wanted} is configured for it")]
    Method {
        /// The method of its AUTH payload.
        used: AuthMethod,
        /// What we have to hold against it.
        wanted: &'static str,
    },
    /// Its signature is made by an algorithm that we did not announce.
    #[error("it signed by {0}, which is not accepted")]
    Algorithm(String),
    /// Its key cannot make such a signature.
    #[error("it signed by {algorithm}, but its key is {key}")]
    KeyKind {
        /// The algorithm of the AUTH payload.
        algorithm: String,
        /// The key that is certified or configured.
        key: KeyKind,
    },
    /// The signature is not by this key over this negotiation.
    #[error("its signature does not fit the {key} key {fingerprint}")]
    Signature {
        /// The key that is certified or configured.
        key: KeyKind,
        /// SHA-256 of the SubjectPublicKeyInfo, in hexadecimal.
        fingerprint: String,
    },
    /// There is nothing to hold the signature against.
    #[error("it sent no certificate, and none is pinned for it")]
    NoCertificate,
    /// More certificates than we look at.
    #[error("it sent {0}, which is too much: at most 8 certificates of 16 KiB together")]
    TooMuch(String),
    /// One that does not parse, or has critical parts that we do not know.
    #[error("it sent a certificate that cannot be used: {0}")]
    Unreadable(String),
    /// Its certificate is for somebody else.
    #[error("its certificate is not for {claimed}, but for {}", list(.certified))]
    Identity {
        /// The identity that it claims.
        claimed: Identity,
        /// Those that its certificate is for: alternative names, then the subject.
        certified: Vec<Identity>,
    },
    /// A certificate is not valid any more.
    #[error("the certificate of {subject} expired at {}", moment(*.since))]
    Expired {
        /// Whose certificate.
        subject: DistinguishedName,
        /// Its `notAfter`, seconds since 1970.
        since: u64,
    },
    /// A certificate is not valid yet; mostly a clock is wrong.
    #[error("the certificate of {subject} is not valid before {}, and it is {} here", moment(*.from), moment(*.now))]
    NotYetValid {
        /// Whose certificate.
        subject: DistinguishedName,
        /// Its `notBefore`, seconds since 1970.
        from: u64,
        /// Our clock.
        now: u64,
    },
    /// No CA that is configured for this peer issued the certificate.
    #[error("the certificate of {subject} was issued by {issuer}; trusted for this peer: {}", authorities(.trusted))]
    UnknownIssuer {
        /// Whose certificate.
        subject: DistinguishedName,
        /// By whom it says that it was issued.
        issuer: DistinguishedName,
        /// The CAs that are configured.
        trusted: Vec<DistinguishedName>,
    },
    /// Its issuer took it back.
    #[error("the certificate of {subject}, or one above it, was revoked by its issuer")]
    Revoked {
        /// Whose certificate.
        subject: DistinguishedName,
    },
    /// [`CrlPolicy::Require`](super::CrlPolicy::Require) and no list tells.
    #[error(
        "no revocation list tells about the certificate of {subject} or one above it, and one that does is required"
    )]
    RevocationUnknown {
        /// Whose certificate.
        subject: DistinguishedName,
    },
    /// [`CrlPolicy::Require`](super::CrlPolicy::Require) and the list is out of date.
    #[error("the revocation list for the certificate of {subject} is out of date")]
    CrlExpired {
        /// Whose certificate.
        subject: DistinguishedName,
    },
    /// Neither the key usage nor the purposes let it sign for IKE (RFC 4945 §5.1.3).
    #[error("the certificate of {subject} is not for this use: {what}")]
    Purpose {
        /// Whose certificate.
        subject: DistinguishedName,
        /// What is missing.
        what: &'static str,
    },
    /// The chain to the CA breaks a rule of RFC 5280 §6.
    #[error("the chain from {subject} to its CA breaks a rule: {rule}")]
    Chain {
        /// Whose certificate.
        subject: DistinguishedName,
        /// Which rule.
        rule: String,
    },
    /// The caller never told what time it is.
    #[error("nothing here knows the time, so that no certificate can be found valid")]
    NoClock,
}

fn list<T: std::fmt::Display>(all: &[T]) -> String {
    let all: Vec<_> = all.iter().map(ToString::to_string).collect();
    if all.is_empty() { "nobody".into() } else { all.join(" or ") }
}

fn authorities(all: &[DistinguishedName]) -> String {
    // Then it is trusted by its certificate or key alone, which the one that was shown is not.
    if all.is_empty() { "no authority".into() } else { list(all) }
}

/// A moment as people write it, in UTC.
fn moment(unix: u64) -> String {
    let time = der::DateTime::from_unix_duration(std::time::Duration::from_secs(unix));
    time.map_or_else(|_| format!("{unix} s after 1970"), |time| time.to_string())
}
