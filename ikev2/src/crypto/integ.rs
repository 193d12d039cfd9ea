//! Integrity algorithms of the SK payload (RFC 4868 §2.1): HMAC-SHA-2 with a key as long as the hash, cut to half.
//!
//! ```text
//!                        key   ICV   octets
//!   HMAC_SHA2_256_128     32    16
//!   HMAC_SHA2_384_192     48    24
//!   HMAC_SHA2_512_256     64    32
//! ```

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::prf::Prf;
use crate::registry::IntegId;

/// An integrity algorithm that we can compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Integ {
    HmacSha2_256_128,
    HmacSha2_384_192,
    HmacSha2_512_256,
}

impl Integ {
    /// The algorithm of this number; `None` if we do not have it, and for NONE.
    pub(super) const fn from_id(id: IntegId) -> Option<Self> {
        match id {
            IntegId::HMAC_SHA2_256_128 => Some(Self::HmacSha2_256_128),
            IntegId::HMAC_SHA2_384_192 => Some(Self::HmacSha2_384_192),
            IntegId::HMAC_SHA2_512_256 => Some(Self::HmacSha2_512_256),
            _ => None,
        }
    }

    /// Octets of the key.
    pub(super) const fn key_len(self) -> usize {
        self.hmac().output_len()
    }

    /// Octets of the integrity check value.
    pub(super) const fn icv_len(self) -> usize {
        self.hmac().output_len() / 2
    }

    /// The integrity check value over the concatenated parts.
    pub(super) fn icv(self, key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        let mut icv = self.hmac().compute(key, parts);
        icv.truncate(self.icv_len());
        icv
    }

    /// Whether `received` is that value, in time that depends on lengths alone.
    pub(super) fn verify(self, key: &[u8], parts: &[&[u8]], received: &[u8]) -> bool {
        self.icv(key, parts).ct_eq(received).into()
    }

    /// RFC 4868 defines the PRFs and the integrity algorithms as one HMAC each, without and with truncation.
    const fn hmac(self) -> Prf {
        match self {
            Self::HmacSha2_256_128 => Prf::HmacSha2_256,
            Self::HmacSha2_384_192 => Prf::HmacSha2_384,
            Self::HmacSha2_512_256 => Prf::HmacSha2_512,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::*;

    const ALL: [(IntegId, usize, usize, &str); 3] = [
        (IntegId::HMAC_SHA2_256_128, 32, 16, "hmac-sha-256"),
        (IntegId::HMAC_SHA2_384_192, 48, 24, "hmac-sha-384"),
        (IntegId::HMAC_SHA2_512_256, 64, 32, "hmac-sha-512"),
    ];

    /// Lengths of RFC 4868 §2.1 and §2.6, answers of RFC 4231 cut to them.
    #[test]
    fn lengths_and_answers_are_those_of_the_rfcs() {
        for (id, key_len, icv_len, field) in ALL {
            let integ = Integ::from_id(id).unwrap();
            assert_eq!((integ.key_len(), integ.icv_len()), (key_len, icv_len), "{id}");
            for case in vectors::committed("rfc4231.txt") {
                let icv = integ.icv(case.octets("key"), &[case.octets("data")]);
                assert_eq!(icv.len(), icv_len);
                let expected = case.octets(field);
                let known = expected.len().min(icv_len);
                assert_eq!(icv[..known], expected[..known], "{id} {}", case.name);
            }
        }
    }

    #[test]
    fn one_wrong_bit_or_octet_does_not_verify() {
        for (id, ..) in ALL {
            let integ = Integ::from_id(id).unwrap();
            let icv = integ.icv(b"key", &[b"message"]);
            assert!(integ.verify(b"key", &[b"mess", b"age"], &icv));
            for at in 0..icv.len() {
                let mut wrong = icv.to_vec();
                wrong[at] ^= 1;
                assert!(!integ.verify(b"key", &[b"message"], &wrong), "{id} {at}");
                assert!(!integ.verify(b"key", &[b"message"], &icv[..at]), "{id} {at}");
            }
            assert!(!integ.verify(b"key", &[b"message"], &[icv.as_slice(), &[0]].concat()));
        }
    }

    #[test]
    fn none_and_unknown_are_not_algorithms() {
        assert_eq!(Integ::from_id(IntegId::NONE), None);
        // AUTH_HMAC_SHA1_96.
        assert_eq!(Integ::from_id(IntegId(2)), None);
    }
}
