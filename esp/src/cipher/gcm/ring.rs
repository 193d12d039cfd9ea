//! AES-GCM by `ring`: Rust and assembler, nothing to install.
//!
//! ```text
//! body, in place    plain <-> encrypted        ICV    written by seal, compared in constant time by open
//! ```

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};

use super::{ICV_LEN, NONCE_LEN};
use crate::reason::DropReason;

/// An expanded key.
pub(super) struct Key(LessSafeKey);

impl Key {
    /// `None` if the key has neither 16 nor 32 octets.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            32 => &AES_256_GCM,
            _ => return None,
        };
        Some(Self(LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?)))
    }

    /// Encrypts `body`. `nonce` must never have been used with this key.
    pub(super) fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        body: &mut [u8],
        icv: &mut [u8; ICV_LEN],
    ) -> Result<(), DropReason> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), body)
            .map_err(|_| DropReason::TooBig)?;
        icv.copy_from_slice(tag.as_ref());
        Ok(())
    }

    /// Decrypts `body`, which is unspecified if the ICV is wrong.
    pub(super) fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        body: &mut [u8],
        icv: &[u8; ICV_LEN],
    ) -> Result<(), DropReason> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0
            .open_in_place_separate_tag(nonce, Aad::from(aad), Tag::from(*icv), body, 0..)
            .map(|_| ())
            .map_err(|_| DropReason::BadIcv)
    }
}
