//! Signatures in AUTH payloads: RSA, ECDSA and Ed25519, made and verified.
//!
//! ```text
//!   method 14 (RFC 7427)   | length, 1 | AlgorithmIdentifier, DER | signature |       any of them; ECDSA as DER { r, s }
//!   method 1  (RFC 7296)   | PKCS#1 v1.5 signature |                                  RSA
//!   method 9, 10, 11       | r | s |  (RFC 4754)                                      ECDSA P-256, P-384, P-521, each with its hash
//! ```
//!
//! What is signed are the octets of RFC 7296 §2.15 (`auth.rs`). SHA-1 is neither made nor taken, in any of these.

mod identifier;
mod key;

use ecdsa::signature::hazmat::PrehashVerifier;
use ring::signature::{
    ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    UnparsedPublicKey,
};
use sha2::{Digest, Sha256, Sha384, Sha512};

pub(crate) use self::key::SigningKey;
use crate::pki::{AuthProblem, KeyKind, PublicKey};
use crate::registry::AuthMethod;
use crate::wire::identity::Hex;

/// A hash that is taken before signing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its number at IANA, "IKEv2 Hash Algorithms".
    const fn number(self) -> u16 {
        match self {
            Self::Sha256 => 2,
            Self::Sha384 => 3,
            Self::Sha512 => 4,
        }
    }

    fn digest(self, octets: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(octets).to_vec(),
            Self::Sha384 => Sha384::digest(octets).to_vec(),
            Self::Sha512 => Sha512::digest(octets).to_vec(),
        }
    }
}

/// "Identity": no hash before signing (RFC 8420 §2).
const IDENTITY: u16 = 5;

/// The hashes of a SIGNATURE_HASH_ALGORITHMS notification that we know (RFC 7427 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Hashes(u8);

impl Hashes {
    /// What we announce: all that we verify.
    pub(crate) const OURS: [u8; 8] = [0, 2, 0, 3, 0, 4, 0, 5];

    /// Reads the data of the notification. Numbers that we do not know are passed over.
    pub(crate) fn parse(data: &[u8]) -> Self {
        let (numbers, _odd) = data.as_chunks::<2>();
        let known = numbers.iter().map(|number| u16::from_be_bytes(*number)).filter(|n| *n < 8);
        Self(known.fold(0, |set, number| set | 1 << number))
    }

    const fn has(self, number: u16) -> bool {
        self.0 & 1 << number != 0
    }

    /// Their numbers.
    pub(crate) fn numbers(self) -> Vec<u16> {
        (0..8).filter(|number| self.has(*number)).collect()
    }

    /// `best` if it is there, else the first that is.
    fn choose(self, best: Hash) -> Option<Hash> {
        [best].into_iter().chain(Hash::ALL).find(|hash| self.has(hash.number()))
    }
}

/// How a signature is made, and how it is written into the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Method 1; the signature itself says which hash.
    RsaAlone(Hash),
    /// Method 9, 10 or 11.
    EcdsaAlone(Curve),
    /// Method 14.
    RsaPkcs1(Hash),
    /// Method 14.
    RsaPss(Hash),
    /// Method 14.
    Ecdsa(Hash),
    /// Method 14.
    Ed25519,
}

/// A curve of ECDSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    /// The hash of its size: that of its own method (RFC 4754 §3), and our first choice.
    const fn hash(self) -> Hash {
        match self {
            Self::P256 => Hash::Sha256,
            Self::P384 => Hash::Sha384,
            Self::P521 => Hash::Sha512,
        }
    }

    fn of(kind: KeyKind) -> Option<Self> {
        match kind {
            KeyKind::EcdsaP256 => Some(Self::P256),
            KeyKind::EcdsaP384 => Some(Self::P384),
            KeyKind::EcdsaP521 => Some(Self::P521),
            KeyKind::Rsa { .. } | KeyKind::Ed25519 => None,
        }
    }
}

impl Scheme {
    /// For people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RsaAlone(Hash::Sha256) => "RSA (method 1) with SHA2-256",
            Self::RsaAlone(Hash::Sha384) => "RSA (method 1) with SHA2-384",
            Self::RsaAlone(Hash::Sha512) => "RSA (method 1) with SHA2-512",
            Self::EcdsaAlone(Curve::P256) => "ECDSA P-256 (method 9)",
            Self::EcdsaAlone(Curve::P384) => "ECDSA P-384 (method 10)",
            Self::EcdsaAlone(Curve::P521) => "ECDSA P-521 (method 11)",
            Self::RsaPkcs1(Hash::Sha256) => "RSASSA-PKCS1-v1_5 with SHA2-256",
            Self::RsaPkcs1(Hash::Sha384) => "RSASSA-PKCS1-v1_5 with SHA2-384",
            Self::RsaPkcs1(Hash::Sha512) => "RSASSA-PKCS1-v1_5 with SHA2-512",
            Self::RsaPss(Hash::Sha256) => "RSASSA-PSS with SHA2-256",
            Self::RsaPss(Hash::Sha384) => "RSASSA-PSS with SHA2-384",
            Self::RsaPss(Hash::Sha512) => "RSASSA-PSS with SHA2-512",
            Self::Ecdsa(Hash::Sha256) => "ECDSA with SHA2-256",
            Self::Ecdsa(Hash::Sha384) => "ECDSA with SHA2-384",
            Self::Ecdsa(Hash::Sha512) => "ECDSA with SHA2-512",
            Self::Ed25519 => "Ed25519",
        }
    }

    const fn method(self) -> AuthMethod {
        match self {
            Self::RsaAlone(_) => AuthMethod::RSA,
            Self::EcdsaAlone(Curve::P256) => AuthMethod::ECDSA_SHA_256_P256,
            Self::EcdsaAlone(Curve::P384) => AuthMethod::ECDSA_SHA_384_P384,
            Self::EcdsaAlone(Curve::P521) => AuthMethod::ECDSA_SHA_512_P521,
            Self::RsaPkcs1(_) | Self::RsaPss(_) | Self::Ecdsa(_) | Self::Ed25519 => {
                AuthMethod::DIGITAL_SIGNATURE
            }
        }
    }
}

/// The hash of a scheme of ECDSA. RustCrypto wants half the length of the curve's numbers at least: a zero before it does not
/// change its value.
fn digest(curve: Curve, scheme: Scheme, octets: &[u8]) -> Option<Vec<u8>> {
    let hash = match scheme {
        Scheme::EcdsaAlone(curve) => curve.hash(),
        Scheme::Ecdsa(hash) => hash,
        Scheme::RsaAlone(_) | Scheme::RsaPkcs1(_) | Scheme::RsaPss(_) | Scheme::Ed25519 => {
            return None;
        }
    };
    let mut digest = hash.digest(octets);
    if curve == Curve::P521 && hash == Hash::Sha256 {
        digest.insert(0, 0);
    }
    Some(digest)
}

/// Holds the AUTH payload of a peer against its key and the octets that it has to have signed. The scheme, if it is good.
pub(crate) fn verify(
    key: &PublicKey,
    method: AuthMethod,
    data: &[u8],
    octets: &[u8],
) -> Result<Scheme, AuthProblem> {
    let (scheme, signature) = read(method, data)?;
    let kind = key.kind();
    let good = match (scheme, kind, Curve::of(kind)) {
        (Scheme::RsaAlone(_), KeyKind::Rsa { .. }, _) => Hash::ALL
            .map(Scheme::RsaAlone)
            .into_iter()
            .find(|scheme| is_rsa(*scheme, key, octets, signature)),
        (Scheme::RsaPkcs1(_) | Scheme::RsaPss(_), KeyKind::Rsa { .. }, _) => {
            is_rsa(scheme, key, octets, signature).then_some(scheme)
        }
        (Scheme::Ed25519, KeyKind::Ed25519, _) => {
            let key = UnparsedPublicKey::new(&ED25519, key.octets());
            key.verify(octets, signature).is_ok().then_some(scheme)
        }
        (Scheme::EcdsaAlone(named), _, Some(curve)) if named == curve => {
            is_ecdsa(curve, scheme, key, octets, signature).then_some(scheme)
        }
        (Scheme::Ecdsa(_), _, Some(curve)) => {
            is_ecdsa(curve, scheme, key, octets, signature).then_some(scheme)
        }
        _ => return Err(AuthProblem::KeyKind { algorithm: scheme.name().into(), key: kind }),
    };
    good.ok_or_else(|| AuthProblem::Signature { key: kind, fingerprint: key.shown() })
}

/// Which scheme an AUTH payload says, and its signature.
fn read(method: AuthMethod, data: &[u8]) -> Result<(Scheme, &[u8]), AuthProblem> {
    let scheme = match method {
        AuthMethod::RSA => Scheme::RsaAlone(Hash::Sha256),
        AuthMethod::ECDSA_SHA_256_P256 => Scheme::EcdsaAlone(Curve::P256),
        AuthMethod::ECDSA_SHA_384_P384 => Scheme::EcdsaAlone(Curve::P384),
        AuthMethod::ECDSA_SHA_512_P521 => Scheme::EcdsaAlone(Curve::P521),
        AuthMethod::DIGITAL_SIGNATURE => {
            let cut = || AuthProblem::Algorithm("an algorithm whose name is cut short".into());
            let (len, rest) = data.split_first().ok_or_else(cut)?;
            let (algorithm, signature) =
                rest.split_at_checked(usize::from(*len)).ok_or_else(cut)?;
            let scheme = Scheme::identified(algorithm)
                .ok_or_else(|| AuthProblem::Algorithm(told(algorithm)))?;
            return Ok((scheme, signature));
        }
        used => return Err(AuthProblem::Method { used, wanted: "a signature" }),
    };
    Ok((scheme, data))
}

/// An AlgorithmIdentifier for people: the ones that we know and refuse by name, others in hexadecimal.
fn told(algorithm: &[u8]) -> String {
    let refused: [(&[u8], &str); 3] = [
        (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05", "RSA with SHA-1"),
        (b"\x2a\x86\x48\xce\x3d\x04\x01", "ECDSA with SHA-1"),
        (
            identifier::PSS_OID,
            "RSASSA-PSS with other parameters than one SHA-2 and a salt of its length",
        ),
    ];
    let names = |oid: &[u8]| algorithm.windows(oid.len().max(1)).any(|window| window == oid);
    if let Some((_, name)) = refused.iter().find(|(oid, _)| names(oid)) {
        return (*name).into();
    }
    let (start, _) = algorithm.split_at(algorithm.len().min(80));
    format!("the algorithm {}", Hex(start))
}

fn is_rsa(scheme: Scheme, key: &PublicKey, octets: &[u8], signature: &[u8]) -> bool {
    let parameters: &'static RsaParameters = match scheme {
        Scheme::RsaAlone(Hash::Sha256) | Scheme::RsaPkcs1(Hash::Sha256) => {
            &RSA_PKCS1_2048_8192_SHA256
        }
        Scheme::RsaAlone(Hash::Sha384) | Scheme::RsaPkcs1(Hash::Sha384) => {
            &RSA_PKCS1_2048_8192_SHA384
        }
        Scheme::RsaAlone(Hash::Sha512) | Scheme::RsaPkcs1(Hash::Sha512) => {
            &RSA_PKCS1_2048_8192_SHA512
        }
        Scheme::RsaPss(Hash::Sha256) => &RSA_PSS_2048_8192_SHA256,
        Scheme::RsaPss(Hash::Sha384) => &RSA_PSS_2048_8192_SHA384,
        Scheme::RsaPss(Hash::Sha512) => &RSA_PSS_2048_8192_SHA512,
        Scheme::Ecdsa(_) | Scheme::EcdsaAlone(_) | Scheme::Ed25519 => return false,
    };
    UnparsedPublicKey::new(parameters, key.octets()).verify(octets, signature).is_ok()
}

fn is_ecdsa(
    curve: Curve,
    scheme: Scheme,
    key: &PublicKey,
    octets: &[u8],
    signature: &[u8],
) -> bool {
    macro_rules! holds {
        ($curve:ident) => {{
            let fixed = matches!(scheme, Scheme::EcdsaAlone(_));
            let signature = if fixed {
                $curve::ecdsa::Signature::from_slice(signature)
            } else {
                $curve::ecdsa::Signature::from_der(signature)
            };
            let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(key.octets());
            let (Ok(signature), Ok(key)) = (signature, key) else { return false };
            digest(curve, scheme, octets)
                .is_some_and(|digest| key.verify_prehash(&digest, &signature).is_ok())
        }};
    }
    match curve {
        Curve::P256 => holds!(p256),
        Curve::P384 => holds!(p384),
        Curve::P521 => holds!(p521),
    }
}

#[cfg(test)]
mod tests;
