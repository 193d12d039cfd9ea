//! The ciphers of the SK payload, without its framing: one key, one direction, octets in place.
//!
//! ```text
//!                      aad            IV   body                  ICV
//!   aead   AES-GCM     authenticated  8    encrypted             8, 12, 16   nonce = salt, 4 octets | IV   (RFC 5282 §4)
//!          AES-CCM     authenticated  8    encrypted             8, 12, 16   nonce = salt, 3 octets | IV   (RFC 5282 §4)
//!          ChaCha20    authenticated  8    encrypted             16          nonce = salt, 4 octets | IV   (RFC 7634 §2)
//!   plain  AES-CBC     authenticated  16   encrypted, n * 16     12 to 32    MAC over aad | IV | encrypted body
//!          3DES        authenticated  8    encrypted, n * 8      "           (RFC 7296 §3.14)
//!          AES-CTR     authenticated  8    encrypted             "           counter = nonce, 4 | IV | 1   (RFC 5930 §2)
//! ```
//!
//! The framing (which octets are `aad`, what the body ends with) is the business of [`super::sk`], so that the fragments
//! of RFC 7383 can share this file.

mod aead;
mod plain;

use rand_core::CryptoRng;

use self::aead::Aead;
use self::plain::Plain;
use super::integ::Integ;
use super::suite::IkeSuite;
use crate::error::DropReason;
use crate::registry::EncrId;

/// A keyed cipher for one direction of one IKE SA.
pub(super) enum Cipher {
    Aead(Aead),
    /// A cipher and a MAC.
    Plain(Plain),
}

/// Whether a cipher can be negotiated: for IKE we compute it here, for ESP its keys are all that we make.
pub(super) const fn is_known(encr: EncrId) -> bool {
    match encr {
        EncrId::AES_CBC | EncrId::AES_CTR | EncrId::TRIPLE_DES | EncrId::NULL => true,
        _ => encr.is_aead(),
    }
}

impl Cipher {
    /// Keys the cipher of `suite` with SK_e (salt included) and SK_a of one direction.
    pub(super) fn new(suite: &IkeSuite, sk_e: &[u8], sk_a: &[u8]) -> Self {
        debug_assert_eq!((sk_e.len(), sk_a.len()), (suite.encr_key_len(), suite.integ_key_len()));
        let (key, salt) = sk_e
            .split_at_checked(sk_e.len() - suite.encr.salt_len())
            .expect("invariant: the length of SK_e counts the salt in");
        match suite.integ.and_then(Integ::from_id) {
            None => Self::Aead(Aead::new(suite.encr, key, salt)),
            Some(integ) => Self::Plain(Plain::new(suite.encr, key, salt, integ, sk_a)),
        }
    }

    /// Octets of the IV before each body.
    pub(super) const fn iv_len(&self) -> usize {
        match self {
            Self::Aead(_) => Aead::IV_LEN,
            Self::Plain(cipher) => cipher.iv_len(),
        }
    }

    /// Bodies are a multiple of this many octets.
    pub(super) const fn block_len(&self) -> usize {
        match self {
            Self::Aead(_) => 1,
            Self::Plain(cipher) => cipher.block_len(),
        }
    }

    /// Octets of the integrity check value.
    pub(super) const fn icv_len(&self) -> usize {
        match self {
            Self::Aead(cipher) => cipher.icv_len(),
            Self::Plain(cipher) => cipher.icv_len(),
        }
    }

    /// The IV for the next body, [`Self::iv_len`] octets: unpredictable for CBC, a counter for all others.
    pub(super) fn next_iv(&mut self, rng: &mut impl CryptoRng) -> Vec<u8> {
        match self {
            Self::Aead(cipher) => cipher.next_iv(),
            Self::Plain(cipher) => cipher.next_iv(rng),
        }
    }

    /// Encrypts `body` in place and returns the integrity check value. `iv` is from [`Self::next_iv`] and used once,
    /// `body` is a multiple of [`Self::block_len`].
    pub(super) fn seal(&self, aad: &[u8], iv: &[u8], body: &mut [u8]) -> Vec<u8> {
        match self {
            Self::Aead(cipher) => cipher.seal(aad, iv, body),
            Self::Plain(cipher) => cipher.seal(aad, iv, body),
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
            Self::Aead(cipher) => cipher.open(aad, iv, body, icv),
            Self::Plain(cipher) => cipher.open(aad, iv, body, icv),
        }
    }
}

/// IVs that never repeat under one key, since a repeated one would give the key stream away (RFC 5282 §4, RFC 5930 §2).
struct Counter(u64);

impl Counter {
    fn next(&mut self) -> Vec<u8> {
        let iv = self.0;
        self.0 = iv
            .checked_add(1)
            .expect("invariant: 2^32 message IDs of 2^16 fragments are fewer than 2^64");
        iv.to_be_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::super::sk::tests::suites;
    use super::*;

    /// RFC 5282 §3, RFC 5930 §2, RFC 3602 §3: how the ciphers use their IVs.
    #[test]
    fn a_counter_never_repeats_an_iv_and_cbc_never_predicts_one() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        for suite in suites() {
            let (sk_e, sk_a) = (vec![1; suite.encr_key_len()], vec![2; suite.integ_key_len()]);
            let mut cipher = Cipher::new(&suite, &sk_e, &sk_a);
            let ivs: Vec<Vec<u8>> = (0..1000).map(|_| cipher.next_iv(&mut rng)).collect();
            assert!(ivs.iter().all(|iv| iv.len() == cipher.iv_len()), "{suite}");
            let counted = (0..1000_u64).map(|n| n.to_be_bytes().to_vec()).eq(ivs.iter().cloned());
            assert_ne!(counted, cipher.block_len() > 1, "{suite}");
            let different: std::collections::BTreeSet<_> = ivs.iter().collect();
            assert_eq!(different.len(), 1000, "{suite}");
        }
    }
}
