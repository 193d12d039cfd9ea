//! Private keys: read from DER, and signing.
//!
//! ```text
//!   the peer announced     our key      we sign by
//!   SHA2-x                 RSA          14: RSASSA-PSS (or PKCS#1 v1.5, if configured)
//!   SHA2-x                 ECDSA        14: the hash of the curve's size, if announced, else the first that is
//!   Identity               Ed25519      14                                            without it: not at all (RFC 8420 §2)
//!   nothing                RSA, ECDSA   1 with SHA2-256; 9, 10 or 11
//! ```
//!
//! ECDSA is deterministic (RFC 6979), as PKCS#1 and Ed25519 are: a generator of the operating system is asked for the salt of
//! RSASSA-PSS alone, which `ring` draws by itself.

use der::asn1::{ObjectIdentifier, OctetStringRef, UintRef};
use der::{Decode, Sequence};
use ecdsa::signature::hazmat::PrehashSigner;
use pkcs8::PrivateKeyInfoRef;
use pkcs8::spki::AlgorithmIdentifierRef;
use ring::rand::SystemRandom;
use ring::signature::{
    Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use sec1::EcPrivateKey;

use super::{Curve, Hash, Hashes, IDENTITY, Scheme, digest};
use crate::pki::{KeyKind, PkiError, PublicKey, RsaPadding, oid};
use crate::registry::AuthMethod;

/// A private key, ready to sign.
pub(crate) enum SigningKey {
    Rsa(RsaKeyPair),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(p521::ecdsa::SigningKey),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Reads PKCS#8, PKCS#1 or SEC1; the key and its public half.
    pub(crate) fn from_der(der: &[u8]) -> Result<(Self, PublicKey), PkiError> {
        if let Ok(info) = PrivateKeyInfoRef::from_der(der) {
            let key = info.private_key.as_bytes();
            return match info.algorithm.oid {
                oid::RSA_ENCRYPTION => Self::rsa(key),
                oid::EC_PUBLIC_KEY => Self::on_curve(key, info.algorithm.parameters_oid().ok()),
                oid::ED25519 => Self::ed25519(key),
                other => Err(PkiError::Unsupported(format!("a private key of the type {other}"))),
            };
        }
        if EncryptedPrivateKeyInfo::from_der(der).is_ok() {
            return Err(PkiError::Encrypted);
        }
        if EcPrivateKey::from_der(der).is_ok() {
            return Self::on_curve(der, None);
        }
        Self::rsa(der)
    }

    fn rsa(der: &[u8]) -> Result<(Self, PublicKey), PkiError> {
        let key = RsaKeyPair::from_der(der).map_err(|error| match modulus_bits(der) {
            Some(bits) if !(2048..=4096).contains(&bits) => PkiError::RsaPrivateKey { bits },
            _ => PkiError::PrivateKey(format!("an RSA key that is not good: {error}")),
        })?;
        let bits = key.public().modulus_len() * 8;
        let public = PublicKey::of(KeyKind::Rsa { bits }, key.public().as_ref())?;
        Ok((Self::Rsa(key), public))
    }

    /// `curve`: as PKCS#8 names it; a bare ECPrivateKey names it itself.
    fn on_curve(
        der: &[u8],
        curve: Option<ObjectIdentifier>,
    ) -> Result<(Self, PublicKey), PkiError> {
        let bad = |error: der::Error| PkiError::PrivateKey(error.to_string());
        let read = EcPrivateKey::from_der(der).map_err(bad)?;
        let unnamed = || PkiError::PrivateKey("its elliptic curve is not named".into());
        let named = read.parameters.and_then(sec1::EcParameters::named_curve);
        let curve = curve.or(named).ok_or_else(unnamed)?;
        let scalar = read.private_key;
        macro_rules! of_curve {
            ($curve:ident, $name:ident, $kind:ident) => {{
                let key = $curve::ecdsa::SigningKey::from_slice(scalar).map_err(|_| {
                    PkiError::PrivateKey(format!("its number is none of {}", KeyKind::$kind))
                })?;
                let point = key.verifying_key().to_sec1_point(false);
                let public = PublicKey::of(KeyKind::$kind, point.as_bytes())?;
                Ok((Self::$name(key), public))
            }};
        }
        match curve {
            oid::SECP256R1 => of_curve!(p256, P256, EcdsaP256),
            oid::SECP384R1 => of_curve!(p384, P384, EcdsaP384),
            oid::SECP521R1 => of_curve!(p521, P521, EcdsaP521),
            other => Err(PkiError::Unsupported(format!("the curve {other}"))),
        }
    }

    /// RFC 8410 §7: an OCTET STRING of 32 octets inside that of PKCS#8.
    fn ed25519(der: &[u8]) -> Result<(Self, PublicKey), PkiError> {
        let seed = <&OctetStringRef>::from_der(der);
        let key =
            seed.ok().and_then(|seed| Ed25519KeyPair::from_seed_unchecked(seed.as_bytes()).ok());
        let key = key.ok_or_else(|| PkiError::PrivateKey("an Ed25519 key has 32 octets".into()))?;
        let public = PublicKey::of(KeyKind::Ed25519, key.public_key().as_ref())?;
        Ok((Self::Ed25519(key), public))
    }

    /// How to sign for a peer that announced these hashes (`None`: it does not know RFC 7427); `None` if it cannot check
    /// any signature of ours.
    pub(crate) fn scheme(&self, hashes: Option<Hashes>, padding: RsaPadding) -> Option<Scheme> {
        let curve = match self {
            Self::Ed25519(_) => {
                return hashes.filter(|hashes| hashes.has(IDENTITY)).map(|_| Scheme::Ed25519);
            }
            Self::Rsa(_) => None,
            Self::P256(_) => Some(Curve::P256),
            Self::P384(_) => Some(Curve::P384),
            Self::P521(_) => Some(Curve::P521),
        };
        match (curve, hashes) {
            (Some(curve), Some(hashes)) => hashes.choose(curve.hash()).map(Scheme::Ecdsa),
            (Some(curve), None) => Some(Scheme::EcdsaAlone(curve)),
            (None, Some(hashes)) => hashes.choose(Hash::Sha256).map(|hash| match padding {
                RsaPadding::Pss => Scheme::RsaPss(hash),
                RsaPadding::Pkcs1 => Scheme::RsaPkcs1(hash),
            }),
            (None, None) => Some(Scheme::RsaAlone(Hash::Sha256)),
        }
    }

    /// The method and the data of an AUTH payload. `None` if the key makes no such signatures.
    pub(crate) fn sign(&self, scheme: Scheme, octets: &[u8]) -> Option<(AuthMethod, Vec<u8>)> {
        let signature = match (self, scheme) {
            (Self::Rsa(key), Scheme::RsaAlone(hash) | Scheme::RsaPkcs1(hash)) => {
                let padding: &'static dyn RsaEncoding = match hash {
                    Hash::Sha256 => &RSA_PKCS1_SHA256,
                    Hash::Sha384 => &RSA_PKCS1_SHA384,
                    Hash::Sha512 => &RSA_PKCS1_SHA512,
                };
                sign_rsa(key, padding, octets)?
            }
            (Self::Rsa(key), Scheme::RsaPss(hash)) => {
                let padding: &'static dyn RsaEncoding = match hash {
                    Hash::Sha256 => &RSA_PSS_SHA256,
                    Hash::Sha384 => &RSA_PSS_SHA384,
                    Hash::Sha512 => &RSA_PSS_SHA512,
                };
                sign_rsa(key, padding, octets)?
            }
            (Self::P256(key), Scheme::Ecdsa(_) | Scheme::EcdsaAlone(Curve::P256)) => {
                let digest = digest(Curve::P256, scheme, octets)?;
                let signature: p256::ecdsa::Signature = key.sign_prehash(&digest).ok()?;
                written(scheme, &signature.to_bytes(), signature.to_der().as_bytes())
            }
            (Self::P384(key), Scheme::Ecdsa(_) | Scheme::EcdsaAlone(Curve::P384)) => {
                let digest = digest(Curve::P384, scheme, octets)?;
                let signature: p384::ecdsa::Signature = key.sign_prehash(&digest).ok()?;
                written(scheme, &signature.to_bytes(), signature.to_der().as_bytes())
            }
            (Self::P521(key), Scheme::Ecdsa(_) | Scheme::EcdsaAlone(Curve::P521)) => {
                let digest = digest(Curve::P521, scheme, octets)?;
                let signature: p521::ecdsa::Signature = key.sign_prehash(&digest).ok()?;
                written(scheme, &signature.to_bytes(), signature.to_der().as_bytes())
            }
            (Self::Ed25519(key), Scheme::Ed25519) => key.sign(octets).as_ref().to_vec(),
            _ => return None,
        };
        let method = scheme.method();
        if method != AuthMethod::DIGITAL_SIGNATURE {
            return Some((method, signature));
        }
        let algorithm = scheme.identifier();
        let len = u8::try_from(algorithm.len()).ok()?;
        Some((method, [&[len], algorithm.as_slice(), &signature].concat()))
    }
}

fn sign_rsa(key: &RsaKeyPair, padding: &'static dyn RsaEncoding, octets: &[u8]) -> Option<Vec<u8>> {
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(padding, &SystemRandom::new(), octets, &mut signature).ok()?;
    Some(signature)
}

/// Method 14 has ECDSA-Sig-Value, the others both numbers at full length (RFC 4754 §3).
fn written(scheme: Scheme, fixed: &[u8], der: &[u8]) -> Vec<u8> {
    if matches!(scheme, Scheme::EcdsaAlone(_)) { fixed.to_vec() } else { der.to_vec() }
}

/// RFC 5208 §6: PKCS#8 under a password.
#[derive(Sequence)]
struct EncryptedPrivateKeyInfo<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    data: &'a OctetStringRef,
}

/// The length of the modulus in RFC 8017's RSAPrivateKey: the second of its numbers.
fn modulus_bits(der: &[u8]) -> Option<usize> {
    let numbers = Vec::<UintRef<'_>>::from_der(der).ok()?;
    numbers.get(1).map(|modulus| crate::pki::bits(modulus.as_bytes()))
}
