//! Key exchange methods (RFC 7296 §3.4): an ephemeral key pair, the public half for the KE payload, and g^ir.
//!
//! ```text
//!   method        public value                          g^ir                      checks (RFC 6989 §2)
//!   MODP 2-18     y, padded to the prime's length       the same, padded          1 < y < p-1
//!   ECP 256-521   x | y, no 0x04 before it (RFC 5903)   x coordinate              on the curve, not infinity
//!   Curve25519    u, 32 octets (RFC 8031)               u coordinate, 32 octets   g^ir is not zero
//!   ML-KEM        encapsulation key ─► ciphertext       32 octets                 length, coefficients reduced
//! ```
//!
//! The initiator draws a [`KeSecret`] and [agrees](KeSecret::agree) with what comes back; the responder [`answer`]s in one
//! step, since with a KEM its value depends on the initiator's.
//!
//! The public value of the peer is the first thing that a stranger makes us compute with: it is checked before.

mod kem;
mod modp;
#[cfg(test)]
mod tests;

use elliptic_curve::Generate;
use elliptic_curve::sec1::ToSec1Point;
use p256::elliptic_curve;
use rand_core::CryptoRng;
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use crate::registry::KeMethod;
use modp::Group;

/// Why there is no shared secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeError {
    /// The public value does not have the length that the method prescribes.
    #[error("the public value has the wrong length for {0}")]
    Length(KeMethod),
    /// The public value is not a safe member of the group (RFC 6989 §2, RFC 7748 §6.1).
    #[error("the public value is not valid for {0}")]
    InvalidPublicValue(KeMethod),
}

/// Our ephemeral key pair. The private half is wiped on drop, never printed.
pub(crate) struct KeSecret {
    method: KeMethod,
    private: Private,
    public: Vec<u8>,
}

enum Private {
    Modp(Group, Zeroizing<Vec<u8>>),
    Ecp256(p256::SecretKey),
    Ecp384(p384::SecretKey),
    Ecp521(p521::SecretKey),
    Curve25519(StaticSecret),
    MlKem(kem::Private),
}

/// Whether [`KeSecret::generate`] knows the method.
pub(crate) const fn supported(method: KeMethod) -> bool {
    Group::of(method).is_some()
        || matches!(
            method,
            KeMethod::ECP_256 | KeMethod::ECP_384 | KeMethod::ECP_521 | KeMethod::CURVE25519
        )
        || kem::is_kem(method)
}

/// A power in a MODP group, for the benchmark of its time; `None` for other methods and for a value that is none.
pub(super) fn power(method: KeMethod, exponent: &[u8], base: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    Group::of(method)?.agree(exponent, base)
}

/// The responder's half: the key exchange data for our KE payload and the shared secret, from that of the peer's KE payload.
///
/// # Errors
/// [`KeError`] if the peer's data is not a public value of this method, or if we do not have the method.
pub(crate) fn answer(
    method: KeMethod,
    peer: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>), KeError> {
    #[cfg(test)]
    crate::effort::count("key exchanges");
    if let Some(len) = kem::key_len(method) {
        if peer.len() != len {
            return Err(KeError::Length(method));
        }
        return kem::encapsulate(method, peer, rng).ok_or(KeError::InvalidPublicValue(method));
    }
    let ours = KeSecret::generate(method, rng).ok_or(KeError::InvalidPublicValue(method))?;
    let shared = ours.agree(peer)?;
    Ok((ours.public, shared))
}

/// The prime of a MODP group, most significant octet first.
#[cfg(test)]
pub(crate) fn modp_prime(method: KeMethod) -> Option<Vec<u8>> {
    Group::of(method).map(Group::prime)
}

impl KeSecret {
    /// Draws a key pair. `None` if we do not have the method.
    pub(crate) fn generate(method: KeMethod, rng: &mut impl CryptoRng) -> Option<Self> {
        let private = match method {
            KeMethod::ECP_256 => Private::Ecp256(p256::SecretKey::generate_from_rng(rng)),
            KeMethod::ECP_384 => Private::Ecp384(p384::SecretKey::generate_from_rng(rng)),
            KeMethod::ECP_521 => Private::Ecp521(p521::SecretKey::generate_from_rng(rng)),
            KeMethod::CURVE25519 => Private::Curve25519(StaticSecret::random_from_rng(rng)),
            _ if kem::is_kem(method) => Private::MlKem(kem::Private::generate(method, rng)?),
            _ => {
                let group = Group::of(method)?;
                Private::Modp(group, group.exponent(rng))
            }
        };
        Some(Self::new(method, private))
    }

    /// The method.
    pub(crate) const fn method(&self) -> KeMethod {
        self.method
    }

    /// The key exchange data for our KE payload.
    pub(crate) fn public(&self) -> &[u8] {
        &self.public
    }

    /// The shared secret g^ir with the key exchange data of the peer's KE payload; for us as initiator of the exchange.
    ///
    /// # Errors
    /// [`KeError`] if the data is not a public value of this method. Nobody honest sends such.
    pub(crate) fn agree(&self, peer: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeError> {
        if peer.len() != kem::ciphertext_len(self.method).unwrap_or(self.public.len()) {
            return Err(KeError::Length(self.method));
        }
        let shared = match &self.private {
            Private::Modp(group, exponent) => group.agree(exponent, peer),
            Private::Ecp256(secret) => uncompressed(peer, p256::PublicKey::from_sec1_bytes)
                .map(|peer| octets(secret.diffie_hellman(&peer).raw_secret_bytes())),
            Private::Ecp384(secret) => uncompressed(peer, p384::PublicKey::from_sec1_bytes)
                .map(|peer| octets(secret.diffie_hellman(&peer).raw_secret_bytes())),
            Private::Ecp521(secret) => uncompressed(peer, p521::PublicKey::from_sec1_bytes)
                .map(|peer| octets(secret.diffie_hellman(&peer).raw_secret_bytes())),
            Private::Curve25519(secret) => curve25519(secret, peer),
            Private::MlKem(key) => key.decapsulate(peer),
        };
        shared.ok_or(KeError::InvalidPublicValue(self.method))
    }

    fn new(method: KeMethod, private: Private) -> Self {
        let public = match &private {
            Private::Modp(group, exponent) => group.public(exponent),
            Private::Ecp256(secret) => {
                without_form(secret.public_key().to_sec1_point(false).as_bytes())
            }
            Private::Ecp384(secret) => {
                without_form(secret.public_key().to_sec1_point(false).as_bytes())
            }
            Private::Ecp521(secret) => {
                without_form(secret.public_key().to_sec1_point(false).as_bytes())
            }
            Private::Curve25519(secret) => x25519_dalek::PublicKey::from(secret).to_bytes().into(),
            Private::MlKem(key) => key.public(),
        };
        Self { method, private, public }
    }
}

/// Reads `x | y` as the uncompressed point `0x04 | x | y`. The parsers of p256, p384 and p521 refuse what is not on the curve;
/// infinity has no such encoding.
fn uncompressed<P, E>(peer: &[u8], parse: impl Fn(&[u8]) -> Result<P, E>) -> Option<P> {
    let mut point = Vec::with_capacity(1 + peer.len());
    point.push(UNCOMPRESSED);
    point.extend_from_slice(peer);
    parse(&point).ok()
}

/// The reverse: `x | y` of `0x04 | x | y` (RFC 5903 §7).
fn without_form(point: &[u8]) -> Vec<u8> {
    point.strip_prefix(&[UNCOMPRESSED]).unwrap_or(point).to_vec()
}

/// X25519, refusing the points of small order that would make g^ir zero whatever our key is (RFC 7748 §6.1).
fn curve25519(secret: &StaticSecret, peer: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let peer: [u8; 32] = peer.try_into().ok()?;
    let shared = secret.diffie_hellman(&peer.into());
    shared.was_contributory().then(|| octets(shared.as_bytes()))
}

fn octets(secret: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(secret.to_vec())
}

/// The form octet of an uncompressed point (SEC 1 §2.3.3).
const UNCOMPRESSED: u8 = 0x04;
