//! The ciphers of the SK payload, without its framing: one key, one direction, octets in place.
//!
//! ```text
//!                aad            IV        body              ICV
//!   AES-GCM      authenticated  8         encrypted         16         nonce = salt, 4 octets | IV   (RFC 5282 §4)
//!   AES-CBC      authenticated  16        encrypted,        16 to 32   HMAC over aad | IV | encrypted body
//!                                         n * 16 octets                (RFC 7296 §3.14)
//! ```
//!
//! The framing (which octets are `aad`, what the body ends with) is the business of [`super::sk`], so that the fragments
//! of RFC 7383 can share this file.

use aes_gcm::aead::array::Array;
use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm};
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::integ::Integ;
use super::suite::{GCM_SALT_LEN, IkeSuite};
use crate::error::DropReason;
use crate::registry::EncrId;

/// A keyed cipher for one direction of one IKE SA.
pub(super) enum Cipher {
    Gcm(Gcm),
    CbcHmac(CbcHmac),
}

/// AES-GCM with a 16-octet ICV (RFC 5282).
pub(super) struct Gcm {
    key: Zeroizing<Vec<u8>>,
    salt: [u8; GCM_SALT_LEN],
    /// The IV of the next message. A counter, since a repeated IV would give the key away (RFC 5282 §4).
    next_iv: u64,
}

/// AES-CBC, then HMAC over the result.
pub(super) struct CbcHmac {
    key: Zeroizing<Vec<u8>>,
    integ: Integ,
    integ_key: Zeroizing<Vec<u8>>,
}

impl Cipher {
    /// Keys the cipher of `suite` with SK_e (salt included) and SK_a of one direction.
    pub(super) fn new(suite: &IkeSuite, sk_e: &[u8], sk_a: &[u8]) -> Self {
        debug_assert_eq!((sk_e.len(), sk_a.len()), (suite.encr_key_len(), suite.integ_key_len()));
        match suite.integ.and_then(Integ::from_id) {
            None => {
                debug_assert_eq!(suite.encr, EncrId::AES_GCM_16, "the AEAD cipher that we have");
                let (key, salt) = sk_e
                    .split_last_chunk()
                    .expect("invariant: the length of SK_e counts the salt in");
                Self::Gcm(Gcm { key: secret(key), salt: *salt, next_iv: 0 })
            }
            Some(integ) => {
                Self::CbcHmac(CbcHmac { key: secret(sk_e), integ, integ_key: secret(sk_a) })
            }
        }
    }

    /// Octets of the IV before each body.
    pub(super) const fn iv_len(&self) -> usize {
        match self {
            Self::Gcm(_) => GCM_IV_LEN,
            Self::CbcHmac(_) => BLOCK_LEN,
        }
    }

    /// Bodies are a multiple of this many octets.
    pub(super) const fn block_len(&self) -> usize {
        match self {
            Self::Gcm(_) => 1,
            Self::CbcHmac(_) => BLOCK_LEN,
        }
    }

    /// Octets of the integrity check value.
    pub(super) const fn icv_len(&self) -> usize {
        match self {
            Self::Gcm(_) => GCM_ICV_LEN,
            Self::CbcHmac(cipher) => cipher.integ.icv_len(),
        }
    }

    /// The IV for the next body, [`Self::iv_len`] octets: a counter for AES-GCM, unpredictable for AES-CBC.
    pub(super) fn next_iv(&mut self, rng: &mut impl CryptoRng) -> Vec<u8> {
        match self {
            Self::Gcm(cipher) => {
                let iv = cipher.next_iv;
                cipher.next_iv = iv
                    .checked_add(1)
                    .expect("invariant: 2^32 message IDs of 2^16 fragments are fewer than 2^64");
                iv.to_be_bytes().to_vec()
            }
            Self::CbcHmac(_) => {
                let mut iv = vec![0; BLOCK_LEN];
                rng.fill_bytes(&mut iv);
                iv
            }
        }
    }

    /// Encrypts `body` in place and returns the integrity check value. `iv` is from [`Self::next_iv`] and used once,
    /// `body` is a multiple of [`Self::block_len`].
    pub(super) fn seal(&self, aad: &[u8], iv: &[u8], body: &mut [u8]) -> Vec<u8> {
        match self {
            Self::Gcm(cipher) => cipher.seal(aad, iv, body),
            Self::CbcHmac(cipher) => cipher.seal(aad, iv, body),
        }
    }

    /// Checks the integrity check value, in constant time and before all else, and decrypts `body` in place.
    ///
    /// # Errors
    /// `BadIcv` if it is not ours; then `body` is unspecified. `Malformed` if it is but `body` is no multiple of
    /// [`Self::block_len`], or `iv` and `icv` do not have their lengths.
    pub(super) fn open(
        &self,
        aad: &[u8],
        iv: &[u8],
        body: &mut [u8],
        icv: &[u8],
    ) -> Result<(), DropReason> {
        match self {
            Self::Gcm(cipher) => cipher.open(aad, iv, body, icv),
            Self::CbcHmac(cipher) => cipher.open(aad, iv, body, icv),
        }
    }
}

impl Gcm {
    fn seal(&self, aad: &[u8], iv: &[u8], body: &mut [u8]) -> Vec<u8> {
        let nonce = self.nonce(iv).expect("invariant: next_iv gives eight octets");
        match self.key.len() {
            16 => gcm_seal::<Aes128Gcm>(&self.key, nonce, aad, body),
            24 => gcm_seal::<AesGcm<Aes192, U12>>(&self.key, nonce, aad, body),
            _ => gcm_seal::<Aes256Gcm>(&self.key, nonce, aad, body),
        }
    }

    fn open(&self, aad: &[u8], iv: &[u8], body: &mut [u8], icv: &[u8]) -> Result<(), DropReason> {
        let nonce = self.nonce(iv).ok_or(DropReason::Malformed)?;
        let icv = icv.try_into().map_err(|_| DropReason::Malformed)?;
        let good = match self.key.len() {
            16 => gcm_open::<Aes128Gcm>(&self.key, nonce, aad, body, icv),
            24 => gcm_open::<AesGcm<Aes192, U12>>(&self.key, nonce, aad, body, icv),
            _ => gcm_open::<Aes256Gcm>(&self.key, nonce, aad, body, icv),
        };
        if good { Ok(()) } else { Err(DropReason::BadIcv) }
    }

    /// salt | IV (RFC 5282 §4); `None` if the IV does not have eight octets.
    fn nonce(&self, iv: &[u8]) -> Option<[u8; GCM_SALT_LEN + GCM_IV_LEN]> {
        [&self.salt, iv].concat().try_into().ok()
    }
}

impl CbcHmac {
    fn seal(&self, aad: &[u8], iv: &[u8], body: &mut [u8]) -> Vec<u8> {
        let len = body.len();
        let done = match self.key.len() {
            16 => cbc_encrypt::<cbc::Encryptor<Aes128>>(&self.key, iv, body),
            24 => cbc_encrypt::<cbc::Encryptor<Aes192>>(&self.key, iv, body),
            _ => cbc_encrypt::<cbc::Encryptor<Aes256>>(&self.key, iv, body),
        };
        assert!(done, "invariant: {len} octets are padded to blocks, and next_iv gives one block");
        self.integ.icv(&self.integ_key, &[aad, iv, body]).to_vec()
    }

    fn open(&self, aad: &[u8], iv: &[u8], body: &mut [u8], icv: &[u8]) -> Result<(), DropReason> {
        if !self.integ.verify(&self.integ_key, &[aad, iv, body], icv) {
            return Err(DropReason::BadIcv);
        }
        let done = match self.key.len() {
            16 => cbc_decrypt::<cbc::Decryptor<Aes128>>(&self.key, iv, body),
            24 => cbc_decrypt::<cbc::Decryptor<Aes192>>(&self.key, iv, body),
            _ => cbc_decrypt::<cbc::Decryptor<Aes256>>(&self.key, iv, body),
        };
        if done { Ok(()) } else { Err(DropReason::Malformed) }
    }
}

fn gcm_seal<A>(key: &[u8], nonce: [u8; 12], aad: &[u8], body: &mut [u8]) -> Vec<u8>
where
    A: AeadInOut<NonceSize = U12, TagSize = U16> + KeyInit,
{
    A::new_from_slice(key)
        .expect("invariant: the length of SK_e fits the cipher")
        .encrypt_inout_detached(&Array(nonce), aad, body.into())
        .expect("invariant: an IKE message is far below 2^36 octets")
        .to_vec()
}

fn gcm_open<A>(key: &[u8], nonce: [u8; 12], aad: &[u8], body: &mut [u8], icv: [u8; 16]) -> bool
where
    A: AeadInOut<NonceSize = U12, TagSize = U16> + KeyInit,
{
    A::new_from_slice(key)
        .expect("invariant: the length of SK_e fits the cipher")
        .decrypt_inout_detached(&Array(nonce), aad, body.into(), &Array(icv))
        .is_ok()
}

/// Encrypts whole blocks; false if `iv` or `body` is no multiple of a block.
fn cbc_encrypt<C: BlockModeEncrypt + KeyIvInit>(key: &[u8], iv: &[u8], body: &mut [u8]) -> bool {
    let len = body.len();
    C::new_from_slices(key, iv)
        .is_ok_and(|cipher| cipher.encrypt_padded::<NoPadding>(body, len).is_ok())
}

/// The reverse.
fn cbc_decrypt<C: BlockModeDecrypt + KeyIvInit>(key: &[u8], iv: &[u8], body: &mut [u8]) -> bool {
    C::new_from_slices(key, iv).is_ok_and(|cipher| cipher.decrypt_padded::<NoPadding>(body).is_ok())
}

fn secret(key: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(key.to_vec())
}

/// Octets of the explicit IV (RFC 5282 §3.1).
const GCM_IV_LEN: usize = 8;

/// Octets of the ICV of ENCR_AES_GCM_16 (RFC 5282 §3.2).
const GCM_ICV_LEN: usize = 16;

/// Octets of an AES block, and of the IV of AES-CBC.
const BLOCK_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;
    use ring::aead;

    use super::super::vectors;
    use super::*;

    fn gcm(key: &[u8], salt: [u8; GCM_SALT_LEN]) -> Cipher {
        Cipher::Gcm(Gcm { key: secret(key), salt, next_iv: 0 })
    }

    #[test]
    fn computes_the_answers_of_wycheproof_for_gcm() {
        for (group, test) in vectors::wycheproof("aes_gcm").unwrap_or_default() {
            if group["ivSize"] != 96 || group["tagSize"] != 128 {
                continue;
            }
            let [key, nonce, aad, message, sealed, tag] =
                ["key", "iv", "aad", "msg", "ct", "tag"].map(|field| vectors::octets(&test[field]));
            let (salt, iv) = nonce.split_first_chunk().unwrap();
            let cipher = gcm(&key, *salt);
            let mut body = sealed.clone();
            let opened = cipher.open(&aad, iv, &mut body, &tag);
            if test["result"] == "valid" {
                assert_eq!((opened, &body), (Ok(()), &message), "{}", test["tcId"]);
                let icv = cipher.seal(&aad, iv, &mut body);
                assert_eq!((icv, body), (tag, sealed), "{}", test["tcId"]);
            } else {
                assert_eq!(opened, Err(DropReason::BadIcv), "{}", test["tcId"]);
            }
        }
    }

    #[test]
    fn computes_the_answers_of_wycheproof_for_cbc() {
        for (_, test) in vectors::wycheproof("aes_cbc_pkcs5").unwrap_or_default() {
            if test["result"] != "valid" {
                continue;
            }
            let [key, iv, mut message, sealed] =
                ["key", "iv", "msg", "ct"].map(|field| vectors::octets(&test[field]));
            // The padding of PKCS #5, by hand, since that of IKEv2 is another.
            let pad = u8::try_from(16 - message.len() % 16).unwrap();
            message.resize(message.len() + usize::from(pad), pad);
            let integ = Integ::HmacSha2_256_128;
            let integ_key = secret(&[7; 32]);
            let cipher = CbcHmac { key: secret(&key), integ, integ_key: integ_key.clone() };
            let mut body = message.clone();
            let icv = cipher.seal(b"aad", &iv, &mut body);
            assert_eq!(body, sealed, "{}", test["tcId"]);
            assert_eq!(icv, *integ.icv(&integ_key, &[b"aad", &iv, &sealed]), "{}", test["tcId"]);
            assert_eq!(cipher.open(b"aad", &iv, &mut body, &icv), Ok(()));
            assert_eq!(body, message, "{}", test["tcId"]);
        }
    }

    #[test]
    fn ring_opens_what_gcm_seals() {
        for (key_len, algorithm) in [(16, &aead::AES_128_GCM), (32, &aead::AES_256_GCM)] {
            let key: Vec<u8> = (0..key_len).collect();
            let cipher = gcm(&key, *b"salt");
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

    #[test]
    fn gcm_never_repeats_an_iv_and_cbc_never_predicts_one() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut cipher = gcm(&[1; 16], *b"salt");
        for expected in 0..1000_u64 {
            assert_eq!(cipher.next_iv(&mut rng), expected.to_be_bytes());
        }
        let (integ, key) = (Integ::HmacSha2_256_128, secret(&[1; 32]));
        let mut cipher = Cipher::CbcHmac(CbcHmac { key: key.clone(), integ, integ_key: key });
        let ivs: std::collections::BTreeSet<_> =
            (0..1000).map(|_| cipher.next_iv(&mut rng)).collect();
        assert_eq!(ivs.len(), 1000);
        assert!(ivs.iter().all(|iv| iv.len() == 16));
    }
}
