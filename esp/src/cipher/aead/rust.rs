//! Every combined mode by the RustCrypto crates: all Rust, with AES-NI, VAES and PCLMULQDQ where the CPU has them.
//!
//! ```text
//! AES x 128, 192, 256     GCM: nonce 12, ICV 8, 12, 16     CCM: nonce 11, ICV 8, 12, 16     GMAC: GCM of nothing
//! ChaCha20-Poly1305
//! ```
//!
//! A key is behind a pointer, so that the many types of these crates are one; it is allocated with its SA, not with a packet.

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::{
    AesGcm,
    aead::{
        AeadInOut, KeyInit,
        consts::{U8, U11, U12, U16},
    },
};
use ccm::Ccm;
use chacha20poly1305::ChaCha20Poly1305;

use super::InPlace;
use crate::{
    reason::DropReason,
    suite::{Aead, AesKey},
};

/// An expanded key of whatever algorithm.
pub(in crate::cipher) type Key = dyn InPlace + Send + Sync;

type Gcm<Aes, Icv> = AesGcm<Aes, U12, Icv>;
type Ccm11<Aes, Icv> = Ccm<Aes, Icv, U11>;

/// The key of `aead`; `None` if it has another length.
pub(in crate::cipher) fn key(aead: Aead, key: &[u8]) -> Option<Box<Key>> {
    macro_rules! aes {
        ($mode:ident, $icv:ty, $size:expr) => {
            match $size {
                AesKey::Bits128 => expand::<$mode<Aes128, $icv>>(key),
                AesKey::Bits192 => expand::<$mode<Aes192, $icv>>(key),
                AesKey::Bits256 => expand::<$mode<Aes256, $icv>>(key),
            }
        };
    }
    match aead {
        Aead::AesGcm8(size) => aes!(Gcm, U8, size),
        Aead::AesGcm12(size) => aes!(Gcm, U12, size),
        Aead::AesGcm16(size) | Aead::AesGcm16Iiv(size) | Aead::AesGmac(size) => {
            aes!(Gcm, U16, size)
        }
        Aead::AesCcm8(size) | Aead::AesCcm8Iiv(size) => aes!(Ccm11, U8, size),
        Aead::AesCcm12(size) => aes!(Ccm11, U12, size),
        Aead::AesCcm16(size) => aes!(Ccm11, U16, size),
        Aead::ChaCha20Poly1305 | Aead::ChaCha20Poly1305Iiv => expand::<ChaCha20Poly1305>(key),
    }
}

fn expand<A: AeadInOut + KeyInit + Send + Sync + 'static>(key: &[u8]) -> Option<Box<Key>> {
    Some(Box::new(A::new_from_slice(key).ok()?))
}

impl<A: AeadInOut> InPlace for A {
    fn seal(
        &self,
        nonce: &[u8],
        aad: &[u8],
        body: &mut [u8],
        icv: &mut [u8],
    ) -> Result<(), DropReason> {
        let nonce = nonce.try_into().map_err(|_| DropReason::TooShort)?;
        let icv = icv.try_into().map_err(|_| DropReason::TooShort)?;
        let tag = self.encrypt_inout_detached(nonce, aad, body.into());
        let icv: &mut aes_gcm::aead::Tag<A> = icv;
        *icv = tag.map_err(|_| DropReason::TooBig)?;
        Ok(())
    }

    fn open(
        &self,
        nonce: &[u8],
        aad: &[u8],
        body: &mut [u8],
        icv: &[u8],
    ) -> Result<(), DropReason> {
        let nonce = nonce.try_into().map_err(|_| DropReason::TooShort)?;
        let icv = icv.try_into().map_err(|_| DropReason::TooShort)?;
        self.decrypt_inout_detached(nonce, aad, body.into(), icv).map_err(|_| DropReason::BadIcv)
    }
}
