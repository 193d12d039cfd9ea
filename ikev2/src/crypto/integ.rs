//! Integrity algorithms of the SK payload: a PRF with a key as long as its output, cut off.
//!
//! ```text
//!                        key   ICV   octets    RFC
//!   HMAC_SHA1_96          20    12             2404   legacy
//!   HMAC_SHA2_256_128     32    16             4868 §2.1
//!   HMAC_SHA2_384_192     48    24
//!   HMAC_SHA2_512_256     64    32
//!   AES_XCBC_96           16    12             3566
//!   AES_CMAC_96           16    12             4494
//! ```

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::prf::Prf;
use crate::registry::IntegId;

/// An integrity algorithm that we can compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Integ {
    HmacSha1_96,
    AesXcbc96,
    AesCmac96,
    HmacSha2_256_128,
    HmacSha2_384_192,
    HmacSha2_512_256,
}

impl Integ {
    /// The algorithm of this number; `None` if we do not have it, and for NONE.
    pub(super) const fn from_id(id: IntegId) -> Option<Self> {
        match id {
            IntegId::HMAC_SHA1_96 => Some(Self::HmacSha1_96),
            IntegId::AES_XCBC_96 => Some(Self::AesXcbc96),
            IntegId::AES_CMAC_96 => Some(Self::AesCmac96),
            IntegId::HMAC_SHA2_256_128 => Some(Self::HmacSha2_256_128),
            IntegId::HMAC_SHA2_384_192 => Some(Self::HmacSha2_384_192),
            IntegId::HMAC_SHA2_512_256 => Some(Self::HmacSha2_512_256),
            _ => None,
        }
    }

    /// Octets of the key.
    pub(super) const fn key_len(self) -> usize {
        self.prf().output_len()
    }

    /// Octets of the integrity check value.
    pub(super) const fn icv_len(self) -> usize {
        match self {
            Self::HmacSha1_96 | Self::AesXcbc96 | Self::AesCmac96 => 12,
            Self::HmacSha2_256_128 | Self::HmacSha2_384_192 | Self::HmacSha2_512_256 => {
                self.prf().output_len() / 2
            }
        }
    }

    /// The integrity check value over the concatenated parts.
    pub(super) fn icv(self, key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        let mut icv = self.prf().compute(key, parts);
        icv.truncate(self.icv_len());
        icv
    }

    /// Whether `received` is that value, in time that depends on lengths alone.
    pub(super) fn verify(self, key: &[u8], parts: &[&[u8]], received: &[u8]) -> bool {
        self.icv(key, parts).ct_eq(received).into()
    }

    /// The RFCs define the PRFs and the integrity algorithms as one function each, without and with truncation. What an AES
    /// PRF does with keys of other lengths does not matter here: all keys have 16 octets.
    const fn prf(self) -> Prf {
        match self {
            Self::HmacSha1_96 => Prf::HmacSha1,
            Self::AesXcbc96 => Prf::Aes128Xcbc,
            Self::AesCmac96 => Prf::Aes128Cmac,
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

    const ALL: [(IntegId, usize, usize, &str, &str); 6] = [
        (IntegId::HMAC_SHA1_96, 20, 12, "rfc2202.txt", "prf"),
        (IntegId::AES_XCBC_96, 16, 12, "rfc3566.txt", "mac"),
        (IntegId::AES_CMAC_96, 16, 12, "rfc4494.txt", "icv"),
        (IntegId::HMAC_SHA2_256_128, 32, 16, "rfc4231.txt", "hmac-sha-256"),
        (IntegId::HMAC_SHA2_384_192, 48, 24, "rfc4231.txt", "hmac-sha-384"),
        (IntegId::HMAC_SHA2_512_256, 64, 32, "rfc4231.txt", "hmac-sha-512"),
    ];

    /// Lengths of RFC 4868 §2.1 and §2.6, RFC 2404 §3, RFC 3566 §4, RFC 4494 §3; answers cut to them.
    #[test]
    fn lengths_and_answers_are_those_of_the_rfcs() {
        for (id, key_len, icv_len, file, field) in ALL {
            let integ = Integ::from_id(id).unwrap();
            assert_eq!((integ.key_len(), integ.icv_len()), (key_len, icv_len), "{id}");
            for case in vectors::committed(file) {
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
        assert_eq!(Integ::from_id(IntegId::HMAC_MD5_96), None);
        // AUTH_DES_MAC, AUTH_HMAC_SHA1_160, AUTH_AES_128_GMAC.
        assert!([3, 7, 9].iter().all(|&id| Integ::from_id(IntegId(id)).is_none()));
    }
}
