//! Pseudorandom functions (RFC 7296 §2.13, RFC 4868 §2.1.2): HMAC-SHA-2, and prf+ to make as many octets as are needed.
//!
//! ```text
//!   prf+(K, S) = T1 | T2 | T3 | ...
//!   T1 = prf(K,      S | 0x01)
//!   T2 = prf(K, T1 | S | 0x02)
//!   T3 = prf(K, T2 | S | 0x03)      up to T255
//! ```

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use crate::registry::PrfId;

/// A PRF that we can compute. All of them take a key of any length and prefer one of [`Self::output_len`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prf {
    HmacSha2_256,
    HmacSha2_384,
    HmacSha2_512,
}

impl Prf {
    /// The PRF of this number; `None` if we do not have it.
    pub(crate) const fn from_id(id: PrfId) -> Option<Self> {
        match id {
            PrfId::HMAC_SHA2_256 => Some(Self::HmacSha2_256),
            PrfId::HMAC_SHA2_384 => Some(Self::HmacSha2_384),
            PrfId::HMAC_SHA2_512 => Some(Self::HmacSha2_512),
            _ => None,
        }
    }

    /// Octets that one call gives; also the length of SK_d, SK_pi and SK_pr (RFC 7296 §2.14).
    pub(crate) const fn output_len(self) -> usize {
        match self {
            Self::HmacSha2_256 => 32,
            Self::HmacSha2_384 => 48,
            Self::HmacSha2_512 => 64,
        }
    }

    /// prf(key, parts), where the parts are concatenated.
    pub(crate) fn compute(self, key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        match self {
            Self::HmacSha2_256 => hmac::<Hmac<Sha256>>(key, parts),
            Self::HmacSha2_384 => hmac::<Hmac<Sha384>>(key, parts),
            Self::HmacSha2_512 => hmac::<Hmac<Sha512>>(key, parts),
        }
    }
}

/// The first `len` octets of prf+(key, seed), where the parts of the seed are concatenated.
///
/// The counter of prf+ is one octet, so there is no more than 255 times [`Prf::output_len`]. The longest that IKEv2 asks
/// for, the seven keys of an IKE SA, is shorter than 8 times that.
pub(crate) fn prf_plus(prf: Prf, key: &[u8], seed: &[&[u8]], len: usize) -> Zeroizing<Vec<u8>> {
    debug_assert!(len <= 255 * prf.output_len(), "prf+ ends after T255");
    // Reserved at once: growth would leave copies of the keys behind.
    let mut stream = Zeroizing::new(Vec::with_capacity(len + prf.output_len()));
    let mut block = Zeroizing::new(Vec::new());
    for counter in 1..=u8::MAX {
        if stream.len() >= len {
            break;
        }
        let counter = [counter];
        let mut parts: Vec<&[u8]> = Vec::with_capacity(seed.len() + 2);
        parts.push(&block);
        parts.extend_from_slice(seed);
        parts.push(&counter);
        let next = prf.compute(key, &parts);
        stream.extend_from_slice(&next);
        block = next;
    }
    stream.truncate(len);
    stream
}

fn hmac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut mac =
        <M as KeyInit>::new_from_slice(key).expect("invariant: HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::*;

    const ALL: [(Prf, &str); 3] = [
        (Prf::HmacSha2_256, "hmac-sha-256"),
        (Prf::HmacSha2_384, "hmac-sha-384"),
        (Prf::HmacSha2_512, "hmac-sha-512"),
    ];

    #[test]
    fn computes_the_answers_of_rfc4231() {
        for case in vectors::committed("rfc4231.txt") {
            for (prf, field) in ALL {
                let output = prf.compute(case.octets("key"), &[case.octets("data")]);
                let expected = case.octets(field);
                assert_eq!(output.len(), prf.output_len());
                // Case 5 gives the beginning of each answer only.
                assert_eq!(&output[..expected.len()], expected, "{} {field}", case.name);
            }
        }
    }

    #[test]
    fn computes_the_answers_of_wycheproof() {
        let files = ["hmac_sha256", "hmac_sha384", "hmac_sha512"];
        for ((prf, _), file) in ALL.into_iter().zip(files) {
            for (group, test) in vectors::wycheproof(file).unwrap_or_default() {
                let tag_len = usize::try_from(group["tagSize"].as_u64().unwrap() / 8).unwrap();
                let [key, message, tag] =
                    ["key", "msg", "tag"].map(|field| vectors::octets(&test[field]));
                let output = prf.compute(&key, &[&message]);
                let valid = test["result"] == "valid";
                assert_eq!(output[..tag_len] == tag, valid, "{file} {}", test["tcId"]);
            }
        }
    }

    #[test]
    fn parts_are_concatenated() {
        for (prf, name) in ALL {
            let whole = prf.compute(b"key", &[b"abcdef"]);
            assert_eq!(whole, prf.compute(b"key", &[b"ab", b"", b"cde", b"f"]), "{name}");
            assert_ne!(whole, prf.compute(b"kez", &[b"abcdef"]), "{name}");
        }
    }

    /// prf+ written out by hand for three blocks (RFC 7296 §2.13).
    #[test]
    fn prf_plus_chains_its_blocks() {
        for (prf, name) in ALL {
            let t1 = prf.compute(b"k", &[b"seed", &[1]]);
            let t2 = prf.compute(b"k", &[&t1, b"seed", &[2]]);
            let t3 = prf.compute(b"k", &[&t2, b"seed", &[3]]);
            let stream = [t1.as_slice(), &t2, &t3].concat();
            for len in 0..=stream.len() {
                let output = prf_plus(prf, b"k", &[b"se", b"ed"], len);
                assert_eq!(output.as_slice(), &stream[..len], "{name} {len}");
            }
        }
    }

    #[test]
    fn prf_plus_reaches_its_last_block() {
        let prf = Prf::HmacSha2_256;
        let stream = prf_plus(prf, b"k", &[b"s"], 255 * 32);
        assert_eq!(stream.len(), 255 * 32);
        let last = prf.compute(b"k", &[&stream[253 * 32..254 * 32], b"s", &[255]]);
        assert_eq!(&stream[254 * 32..], last.as_slice());
    }

    #[test]
    fn only_the_prfs_that_we_have_are_found() {
        assert_eq!(Prf::from_id(PrfId::HMAC_SHA2_256), Some(Prf::HmacSha2_256));
        assert_eq!(Prf::from_id(PrfId::HMAC_SHA2_384), Some(Prf::HmacSha2_384));
        assert_eq!(Prf::from_id(PrfId::HMAC_SHA2_512), Some(Prf::HmacSha2_512));
        // PRF_HMAC_SHA1, PRF_AES128_XCBC.
        assert_eq!(Prf::from_id(PrfId(2)), None);
        assert_eq!(Prf::from_id(PrfId(4)), None);
    }
}
