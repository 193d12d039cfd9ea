//! AES-GCM and ChaCha20-Poly1305 by AWS-LC: C and assembler that use AVX-512, compiled by `cc`.
//!
//! ```text
//! body, in place    plain <-> encrypted        ICV    written by seal, compared in constant time by open
//! ```

use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};

use super::InPlace;
use crate::{
    reason::DropReason,
    suite::{Aead, AesKey},
};

/// An expanded key.
pub(in crate::cipher) struct Key(LessSafeKey);

impl Key {
    /// `None` for what AWS-LC has not, and for keys of another length.
    pub(in crate::cipher) fn new(aead: Aead, key: &[u8]) -> Option<Self> {
        let algorithm = match aead {
            Aead::AesGcm16(AesKey::Bits128) | Aead::AesGcm16Iiv(AesKey::Bits128) => &AES_128_GCM,
            Aead::AesGcm16(AesKey::Bits192) | Aead::AesGcm16Iiv(AesKey::Bits192) => &AES_192_GCM,
            Aead::AesGcm16(AesKey::Bits256) | Aead::AesGcm16Iiv(AesKey::Bits256) => &AES_256_GCM,
            Aead::ChaCha20Poly1305 | Aead::ChaCha20Poly1305Iiv => &CHACHA20_POLY1305,
            Aead::AesGcm8(_)
            | Aead::AesGcm12(_)
            | Aead::AesCcm8(_)
            | Aead::AesCcm12(_)
            | Aead::AesCcm16(_)
            | Aead::AesCcm8Iiv(_)
            | Aead::AesGmac(_) => return None,
        };
        Some(Self(LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?)))
    }
}

impl InPlace for Key {
    fn seal(
        &self,
        nonce: &[u8],
        aad: &[u8],
        body: &mut [u8],
        icv: &mut [u8],
    ) -> Result<(), DropReason> {
        let icv: &mut [u8; 16] = icv.as_mut_array().ok_or(DropReason::TooShort)?;
        let nonce: &[u8; 12] = nonce.as_array().ok_or(DropReason::TooShort)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), body)
            .map_err(|_| DropReason::TooBig)?;
        icv.copy_from_slice(tag.as_ref());
        Ok(())
    }

    fn open(
        &self,
        nonce: &[u8],
        aad: &[u8],
        body: &mut [u8],
        icv: &[u8],
    ) -> Result<(), DropReason> {
        let icv: &[u8; 16] = icv.as_array().ok_or(DropReason::TooShort)?;
        let nonce: &[u8; 12] = nonce.as_array().ok_or(DropReason::TooShort)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_in_place_separate_tag(nonce, Aad::from(aad), icv, body)
            .map(|_| ())
            .map_err(|_| DropReason::BadIcv)
    }
}
