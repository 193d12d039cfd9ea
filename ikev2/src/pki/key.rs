//! Public keys: SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), which a certificate certifies and a raw public key is (RFC 7670).
//!
//! ```text
//!   SEQUENCE { AlgorithmIdentifier, BIT STRING }       kind                                    fingerprint = SHA-256 of all of it
//!     rsaEncryption                                    RSA, by the length of its modulus
//!     id-ecPublicKey, secp256r1 | 384r1 | 521r1        ECDSA
//!     id-Ed25519                                       Ed25519
//! ```

use std::fmt;
use std::sync::Arc;

use der::asn1::{Any, BitString, UintRef};
use der::{Decode, Encode, Sequence};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use x509_cert::spki::{
    AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef,
};

use super::PkiError;
use crate::wire::identity::Hex;

/// A public key that signatures can be held against. Compares by the key, not by how its DER names the algorithm.
#[derive(Clone)]
pub struct PublicKey(Arc<Inner>);

struct Inner {
    spki: Vec<u8>,
    /// Where the key itself lies in it: what the BIT STRING holds.
    key: Vec<u8>,
    kind: KeyKind,
}

/// What sort of key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyKind {
    /// RSA.
    Rsa {
        /// Length of the modulus.
        bits: usize,
    },
    /// ECDSA on NIST's curve P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// ECDSA on P-521.
    EcdsaP521,
    /// Ed25519.
    Ed25519,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(f, "RSA-{bits}"),
            Self::EcdsaP256 => f.write_str("ECDSA P-256"),
            Self::EcdsaP384 => f.write_str("ECDSA P-384"),
            Self::EcdsaP521 => f.write_str("ECDSA P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// RFC 8017 appendix A.1.1.
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

impl PublicKey {
    /// Reads the DER of a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// If it is none, or of a kind or size that we have no signatures for.
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, PkiError> {
        let read = SubjectPublicKeyInfoRef::from_der(spki);
        let read = read.map_err(|error| PkiError::PublicKey(error.to_string()))?;
        let unused = || PkiError::PublicKey("its bits are not whole octets".into());
        let key = read.subject_public_key.as_bytes().ok_or_else(unused)?;
        let kind = match read.algorithm.oid {
            oid::RSA_ENCRYPTION => rsa_kind(key)?,
            oid::EC_PUBLIC_KEY => {
                let curve = read.algorithm.parameters_oid().map_err(|_| {
                    PkiError::Unsupported("a key on an elliptic curve without a name".into())
                })?;
                let (kind, len) = match curve {
                    oid::SECP256R1 => (KeyKind::EcdsaP256, 65),
                    oid::SECP384R1 => (KeyKind::EcdsaP384, 97),
                    oid::SECP521R1 => (KeyKind::EcdsaP521, 133),
                    other => return Err(PkiError::Unsupported(format!("the curve {other}"))),
                };
                // Uncompressed points alone: what every library writes, and all that they agree on (RFC 5480 §2.2).
                if key.len() != len || key.first() != Some(&4) {
                    return Err(PkiError::Unsupported(format!("a compressed {kind} key")));
                }
                kind
            }
            oid::ED25519 if key.len() == 32 && read.algorithm.parameters.is_none() => {
                KeyKind::Ed25519
            }
            oid::ED25519 => return Err(PkiError::PublicKey("an Ed25519 key has 32 octets".into())),
            other => return Err(PkiError::Unsupported(format!("a key of the type {other}"))),
        };
        Ok(Self(Arc::new(Inner { spki: spki.to_vec(), key: key.to_vec(), kind })))
    }

    /// The key of this kind whose BIT STRING holds `octets`.
    pub(crate) fn of(kind: KeyKind, octets: &[u8]) -> Result<Self, PkiError> {
        let (named, parameters) = match kind {
            KeyKind::Rsa { .. } => (oid::RSA_ENCRYPTION, Some(Any::null())),
            KeyKind::EcdsaP256 => (oid::EC_PUBLIC_KEY, Some(Any::from(oid::SECP256R1))),
            KeyKind::EcdsaP384 => (oid::EC_PUBLIC_KEY, Some(Any::from(oid::SECP384R1))),
            KeyKind::EcdsaP521 => (oid::EC_PUBLIC_KEY, Some(Any::from(oid::SECP521R1))),
            KeyKind::Ed25519 => (oid::ED25519, None),
        };
        let bad = |error: der::Error| PkiError::PublicKey(error.to_string());
        let spki = SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned { oid: named, parameters },
            subject_public_key: BitString::from_bytes(octets).map_err(bad)?,
        };
        Self::from_spki_der(&spki.to_der().map_err(bad)?)
    }

    /// What sort of key it is.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.0.kind
    }

    /// Its DER, a SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.0.spki
    }

    /// SHA-256 of [`spki`](Self::spki): what `openssl pkey -pubin -outform DER | sha256sum` prints.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(self.spki()).into()
    }

    /// The same in hexadecimal digits.
    pub(crate) fn shown(&self) -> String {
        Hex(&self.fingerprint()).to_string()
    }

    /// SHA-1 of [`spki`](Self::spki), by which a CERTREQ names a CA (RFC 7296 §3.7).
    pub(crate) fn certreq_hash(&self) -> [u8; 20] {
        Sha1::digest(self.spki()).into()
    }

    /// What the BIT STRING holds: a point, or PKCS#1's RSAPublicKey.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.0.key
    }
}

/// Modulus and exponent of a size that is verified in reasonable time, and that does not give itself away.
fn rsa_kind(key: &[u8]) -> Result<KeyKind, PkiError> {
    let key =
        RsaPublicKey::from_der(key).map_err(|error| PkiError::PublicKey(error.to_string()))?;
    let bits = bits(key.modulus.as_bytes());
    if !(2048..=8192).contains(&bits) {
        return Err(PkiError::Unsupported(format!("an RSA key of {bits} bits")));
    }
    let exponent = key.exponent.as_bytes();
    let odd = exponent.last().is_some_and(|last| last % 2 == 1);
    if !odd || exponent == [1] || exponent.len() > 4 {
        return Err(PkiError::Unsupported("an RSA key with such an exponent".into()));
    }
    Ok(KeyKind::Rsa { bits })
}

/// The length of a number without leading zero octets.
pub(crate) fn bits(number: &[u8]) -> usize {
    let zeros = number.first().map_or(0, |first| first.leading_zeros() as usize);
    number.len() * 8 - zeros
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.kind(), self.shown())
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self.octets() == other.octets()
    }
}

impl Eq for PublicKey {}

/// The names of keys.
pub(crate) mod oid {
    use der::asn1::ObjectIdentifier;

    pub(crate) const RSA_ENCRYPTION: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    pub(crate) const EC_PUBLIC_KEY: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
    pub(crate) const SECP256R1: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
    pub(crate) const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
    pub(crate) const SECP521R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
    pub(crate) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
}
