//! ML-KEM (FIPS 203) as a key exchange method of IKEv2 (draft-ietf-ipsecme-ikev2-mlkem).
//!
//! ```text
//!   initiator   generate                          KEi data = encapsulation key ──►
//!   responder               encapsulate(key)      ◄── KEr data = ciphertext
//!   initiator   decapsulate(ciphertext)           both: 32 octets of shared secret
//!
//!                 encapsulation key   ciphertext
//!   ML-KEM-512    800                 768
//!   ML-KEM-768    1184                1088
//!   ML-KEM-1024   1568                1568        octets
//! ```
//!
//! Unlike a Diffie-Hellman exchange the two sides do not do the same: the responder's answer depends on the initiator's key.
//! A ciphertext that was tampered with is not noticed here: decapsulation gives another secret (implicit rejection, FIPS 203
//! §6.3), and the next protected message does not open. Every exchange has a fresh key.

use ml_kem::kem::{Decapsulate, Encapsulate, Kem, Key, KeyExport, TryKeyInit};
use ml_kem::{Ciphertext, DecapsulationKey, MlKem512, MlKem768, MlKem1024, Seed};
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::registry::KeMethod;

/// A private key, boxed since it has up to 20 KiB. Wiped on drop.
pub(super) enum Private {
    MlKem512(Box<<MlKem512 as Kem>::DecapsulationKey>),
    MlKem768(Box<<MlKem768 as Kem>::DecapsulationKey>),
    MlKem1024(Box<<MlKem1024 as Kem>::DecapsulationKey>),
}

/// What a KEM method gives the responder: the ciphertext for its KE payload, and the shared secret.
pub(super) type Encapsulated = (Vec<u8>, Zeroizing<Vec<u8>>);

/// Whether the method is one of these.
pub(super) const fn is_kem(method: KeMethod) -> bool {
    matches!(method, KeMethod::ML_KEM_512 | KeMethod::ML_KEM_768 | KeMethod::ML_KEM_1024)
}

/// Octets of the initiator's key exchange data; `None` if the method is no KEM.
pub(super) const fn key_len(method: KeMethod) -> Option<usize> {
    match method {
        KeMethod::ML_KEM_512 => Some(800),
        KeMethod::ML_KEM_768 => Some(1184),
        KeMethod::ML_KEM_1024 => Some(1568),
        _ => None,
    }
}

/// Octets of the responder's key exchange data; `None` if the method is no KEM.
pub(super) const fn ciphertext_len(method: KeMethod) -> Option<usize> {
    match method {
        KeMethod::ML_KEM_512 => Some(768),
        KeMethod::ML_KEM_768 => Some(1088),
        KeMethod::ML_KEM_1024 => Some(1568),
        _ => None,
    }
}

impl Private {
    /// Draws a key; `None` if the method is no KEM.
    pub(super) fn generate(method: KeMethod, rng: &mut impl CryptoRng) -> Option<Self> {
        let mut seed = Seed::default();
        rng.fill_bytes(&mut seed);
        let private = Self::from_seed(method, seed);
        seed.zeroize();
        private
    }

    /// The key of a seed `d | z` (FIPS 203 §6.1).
    pub(super) fn from_seed(method: KeMethod, seed: Seed) -> Option<Self> {
        Some(match method {
            KeMethod::ML_KEM_512 => Self::MlKem512(Box::new(DecapsulationKey::from_seed(seed))),
            KeMethod::ML_KEM_768 => Self::MlKem768(Box::new(DecapsulationKey::from_seed(seed))),
            KeMethod::ML_KEM_1024 => Self::MlKem1024(Box::new(DecapsulationKey::from_seed(seed))),
            _ => return None,
        })
    }

    /// The encapsulation key.
    pub(super) fn public(&self) -> Vec<u8> {
        match self {
            Self::MlKem512(key) => key.encapsulation_key().to_bytes().to_vec(),
            Self::MlKem768(key) => key.encapsulation_key().to_bytes().to_vec(),
            Self::MlKem1024(key) => key.encapsulation_key().to_bytes().to_vec(),
        }
    }

    /// The shared secret in a ciphertext; `None` if its length is wrong.
    pub(super) fn decapsulate(&self, ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::MlKem512(key) => {
                let ciphertext = Ciphertext::<MlKem512>::try_from(ciphertext).ok()?;
                Some(secret(key.decapsulate(&ciphertext)))
            }
            Self::MlKem768(key) => {
                let ciphertext = Ciphertext::<MlKem768>::try_from(ciphertext).ok()?;
                Some(secret(key.decapsulate(&ciphertext)))
            }
            Self::MlKem1024(key) => {
                let ciphertext = Ciphertext::<MlKem1024>::try_from(ciphertext).ok()?;
                Some(secret(key.decapsulate(&ciphertext)))
            }
        }
    }
}

/// Draws a secret and encapsulates it to the peer's key. `None` if that has the wrong length or coefficients that are not
/// reduced (FIPS 203 §7.2, modulus check), or if the method is no KEM.
pub(super) fn encapsulate(
    method: KeMethod,
    key: &[u8],
    rng: &mut impl CryptoRng,
) -> Option<Encapsulated> {
    match method {
        KeMethod::ML_KEM_512 => encapsulate_to::<MlKem512>(key, rng),
        KeMethod::ML_KEM_768 => encapsulate_to::<MlKem768>(key, rng),
        KeMethod::ML_KEM_1024 => encapsulate_to::<MlKem1024>(key, rng),
        _ => None,
    }
}

fn encapsulate_to<K>(key: &[u8], rng: &mut impl CryptoRng) -> Option<Encapsulated>
where
    K: Kem,
    K::EncapsulationKey: TryKeyInit,
{
    let key = Key::<K::EncapsulationKey>::try_from(key).ok()?;
    let key = <K::EncapsulationKey as TryKeyInit>::new(&key).ok()?;
    let (ciphertext, shared) = key.encapsulate_with_rng(rng);
    Some((ciphertext.to_vec(), secret(shared)))
}

/// Moves a shared secret to where it is wiped on drop.
fn secret(mut shared: impl AsRef<[u8]> + Zeroize) -> Zeroizing<Vec<u8>> {
    let octets = Zeroizing::new(shared.as_ref().to_vec());
    shared.zeroize();
    octets
}

#[cfg(test)]
mod tests;
