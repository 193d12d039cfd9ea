//! A cipher, then an integrity algorithm over header, IV and what the cipher made (RFC 4303 §3.3.2.1).
//!
//! ```text
//! body  = encrypt(key, IV, body)                                     cbc.rs, ctr.rs, or nothing at all
//! ICV   = MAC(SPI | seq low | IV | body [| seq high, with ESN])      mac.rs
//! ```
//!
//! The octets from SPI to body are authenticated as they lie there, in one piece.

use aes::{Aes128Dec, Aes128Enc, Aes192Dec, Aes192Enc, Aes256Dec, Aes256Enc, cipher::KeyInit};
use des::TdesEde3;

use super::{Run, aead::Salt, cbc, ctr, mac::MacKey, write_counter};
use crate::{
    header::{Layout, Parts},
    reason::DropReason,
    suite::{AesKey, Cipher, Suite},
};

/// Expanded keys of an outbound SA.
pub(crate) struct SeparateSealingKey {
    cipher: Encrypting,
    mac: MacKey,
    layout: Layout,
}

/// Expanded keys of an inbound SA.
pub(crate) struct SeparateOpeningKey {
    cipher: Decrypting,
    mac: MacKey,
    layout: Layout,
}

impl SeparateSealingKey {
    /// `None` if a key has another length, or for a combined mode.
    pub(crate) fn new(suite: Suite, encr: &[u8], integ: &[u8]) -> Option<Self> {
        let Suite::Separate(cipher, integrity) = suite else { return None };
        let cipher = match cipher {
            Cipher::Null => Encrypting::Null,
            Cipher::TripleDesCbc => Encrypting::TripleDesCbc(TdesEde3::new_from_slice(encr).ok()?),
            Cipher::AesCbc(size) => Encrypting::AesCbc(AesEnc::new(size, encr)?),
            Cipher::AesCtr(size) => Encrypting::AesCtr(CtrKey::new(size, encr, suite.salt_len())?),
        };
        Some(Self { cipher, mac: MacKey::new(integrity, integ)?, layout: Layout::of(suite) })
    }

    pub(crate) fn write_iv(&self, iv: &mut [u8], sequence: u64) {
        match &self.cipher {
            Encrypting::Null => {}
            Encrypting::TripleDesCbc(des) => cbc::write_iv(des, iv, sequence),
            Encrypting::AesCbc(AesEnc::Bits128(aes)) => cbc::write_iv(aes, iv, sequence),
            Encrypting::AesCbc(AesEnc::Bits192(aes)) => cbc::write_iv(aes, iv, sequence),
            Encrypting::AesCbc(AesEnc::Bits256(aes)) => cbc::write_iv(aes, iv, sequence),
            Encrypting::AesCtr(_) => write_counter(iv, sequence),
        }
    }

    pub(crate) fn seal(&self, run: &mut Run<'_>) -> Result<(), DropReason> {
        let layout = self.layout;
        match &self.cipher {
            Encrypting::Null => Ok(()),
            Encrypting::TripleDesCbc(des) => cbc::encrypt(des, run, layout),
            Encrypting::AesCbc(AesEnc::Bits128(aes)) => cbc::encrypt(aes, run, layout),
            Encrypting::AesCbc(AesEnc::Bits192(aes)) => cbc::encrypt(aes, run, layout),
            Encrypting::AesCbc(AesEnc::Bits256(aes)) => cbc::encrypt(aes, run, layout),
            Encrypting::AesCtr(key) => run.iter().try_for_each(|(packet, _)| {
                key.apply(&mut Parts::split(packet, layout).ok_or(DropReason::TooShort)?)
            }),
        }?;
        self.mac.write(run, layout.icv_len)
    }
}

impl SeparateOpeningKey {
    /// `None` if a key has another length, or for a combined mode.
    pub(crate) fn new(suite: Suite, encr: &[u8], integ: &[u8]) -> Option<Self> {
        let Suite::Separate(cipher, integrity) = suite else { return None };
        let cipher = match cipher {
            Cipher::Null => Decrypting::Null,
            Cipher::TripleDesCbc => Decrypting::TripleDesCbc(TdesEde3::new_from_slice(encr).ok()?),
            Cipher::AesCbc(size) => Decrypting::AesCbc(AesDec::new(size, encr)?),
            Cipher::AesCtr(size) => Decrypting::AesCtr(CtrKey::new(size, encr, suite.salt_len())?),
        };
        Some(Self { cipher, mac: MacKey::new(integrity, integ)?, layout: Layout::of(suite) })
    }

    pub(crate) fn open(&self, packet: &mut [u8], high: Option<u32>) -> Result<(), DropReason> {
        self.mac.verify(packet, high, self.layout.icv_len)?;
        let mut parts = Parts::split(packet, self.layout).ok_or(DropReason::TooShort)?;
        match &self.cipher {
            Decrypting::Null => Ok(()),
            Decrypting::TripleDesCbc(des) => cbc::decrypt(des, &mut parts),
            Decrypting::AesCbc(AesDec::Bits128(aes)) => cbc::decrypt(aes, &mut parts),
            Decrypting::AesCbc(AesDec::Bits192(aes)) => cbc::decrypt(aes, &mut parts),
            Decrypting::AesCbc(AesDec::Bits256(aes)) => cbc::decrypt(aes, &mut parts),
            Decrypting::AesCtr(key) => key.apply(&mut parts),
        }
    }
}

enum Encrypting {
    Null,
    TripleDesCbc(TdesEde3),
    AesCbc(AesEnc),
    AesCtr(CtrKey),
}

enum Decrypting {
    Null,
    TripleDesCbc(TdesEde3),
    AesCbc(AesDec),
    AesCtr(CtrKey),
}

enum AesEnc {
    Bits128(Aes128Enc),
    Bits192(Aes192Enc),
    Bits256(Aes256Enc),
}

impl AesEnc {
    fn new(size: AesKey, key: &[u8]) -> Option<Self> {
        match size {
            AesKey::Bits128 => Aes128Enc::new_from_slice(key).ok().map(Self::Bits128),
            AesKey::Bits192 => Aes192Enc::new_from_slice(key).ok().map(Self::Bits192),
            AesKey::Bits256 => Aes256Enc::new_from_slice(key).ok().map(Self::Bits256),
        }
    }
}

enum AesDec {
    Bits128(Aes128Dec),
    Bits192(Aes192Dec),
    Bits256(Aes256Dec),
}

impl AesDec {
    fn new(size: AesKey, key: &[u8]) -> Option<Self> {
        match size {
            AesKey::Bits128 => Aes128Dec::new_from_slice(key).ok().map(Self::Bits128),
            AesKey::Bits192 => Aes192Dec::new_from_slice(key).ok().map(Self::Bits192),
            AesKey::Bits256 => Aes256Dec::new_from_slice(key).ok().map(Self::Bits256),
        }
    }
}

/// Key and salt of counter mode, which encrypts in both directions.
struct CtrKey {
    aes: AesEnc,
    salt: Salt,
}

impl CtrKey {
    fn new(size: AesKey, key_and_salt: &[u8], salt_len: usize) -> Option<Self> {
        let (key, salt) = Salt::split(key_and_salt, salt_len)?;
        Some(Self { aes: AesEnc::new(size, key)?, salt })
    }

    fn apply(&self, parts: &mut Parts<'_>) -> Result<(), DropReason> {
        let nonce = self.salt.nonce(*parts.iv.as_array().ok_or(DropReason::TooShort)?);
        match &self.aes {
            AesEnc::Bits128(aes) => ctr::apply(aes, nonce.octets(), parts.body),
            AesEnc::Bits192(aes) => ctr::apply(aes, nonce.octets(), parts.body),
            AesEnc::Bits256(aes) => ctr::apply(aes, nonce.octets(), parts.body),
        }
    }
}
