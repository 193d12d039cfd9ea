//! AES-CBC (RFC 3602) with HMAC-SHA2 over header, IV and ciphertext (RFC 4868, RFC 4303 §3.3.2.1).
//!
//! ```text
//! IV    = AES(key, 0 (8 octets) | sequence number (8 octets))
//! body  = CBC(key, IV, body)
//! ICV   = left half of HMAC(SPI | seq low | IV | body [| seq high, with ESN])
//! ```
//!
//! The IV of CBC must not be predictable (RFC 3602 §3). Enciphering a nonce under the same key is the first method
//! of NIST SP 800-38A App. C; the nonce is the sequence number, so that no packet needs a random number.
//! The two keyed halves of the HMAC are computed once and cloned for each packet.

use aes::{
    Aes128Dec, Aes128Enc, Aes192Dec, Aes192Enc, Aes256Dec, Aes256Enc,
    cipher::{
        Array, Block, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt,
        BlockSizeUser, InnerIvInit, KeyInit, consts::U16,
    },
};
use cbc::{Decryptor, Encryptor};
use hmac::{Hmac, Mac};
use sha2::{Sha256, Sha384, Sha512};

use crate::{header::Parts, reason::DropReason, suite::Sha2};

/// Expanded keys of an outbound SA.
pub(crate) struct CbcSealingKey {
    aes: EncryptingAes,
    mac: MacKey,
}

/// Expanded keys of an inbound SA.
pub(crate) struct CbcOpeningKey {
    aes: DecryptingAes,
    mac: MacKey,
}

impl CbcSealingKey {
    /// `None` if a key has a size that AES or the suite does not have.
    pub(crate) fn new(encr: &[u8], hash: Sha2, integ: &[u8]) -> Option<Self> {
        Some(Self { aes: EncryptingAes::new(encr)?, mac: MacKey::new(hash, integ)? })
    }

    pub(crate) fn write_iv(&self, iv: &mut [u8], sequence: u64) {
        let mut block = Block::<Aes128Enc>::default();
        let (_, number) = block.split_at_mut(8);
        number.copy_from_slice(&sequence.to_be_bytes());
        match &self.aes {
            EncryptingAes::Bits128(aes) => aes.encrypt_block(&mut block),
            EncryptingAes::Bits192(aes) => aes.encrypt_block(&mut block),
            EncryptingAes::Bits256(aes) => aes.encrypt_block(&mut block),
        }
        iv.copy_from_slice(&block);
    }

    pub(crate) fn seal(&self, parts: &mut Parts<'_>, high: Option<u32>) -> Result<(), DropReason> {
        let (iv, body) = (&*parts.iv, &mut *parts.body);
        match &self.aes {
            EncryptingAes::Bits128(aes) => encrypt(aes, iv, body),
            EncryptingAes::Bits192(aes) => encrypt(aes, iv, body),
            EncryptingAes::Bits256(aes) => encrypt(aes, iv, body),
        }?;
        match &self.mac {
            MacKey::Sha256(mac) => write_icv(mac, parts, high),
            MacKey::Sha384(mac) => write_icv(mac, parts, high),
            MacKey::Sha512(mac) => write_icv(mac, parts, high),
        }
    }
}

impl CbcOpeningKey {
    /// `None` if a key has a size that AES or the suite does not have.
    pub(crate) fn new(encr: &[u8], hash: Sha2, integ: &[u8]) -> Option<Self> {
        Some(Self { aes: DecryptingAes::new(encr)?, mac: MacKey::new(hash, integ)? })
    }

    pub(crate) fn open(&self, parts: &mut Parts<'_>, high: Option<u32>) -> Result<(), DropReason> {
        match &self.mac {
            MacKey::Sha256(mac) => verify_icv(mac, parts, high),
            MacKey::Sha384(mac) => verify_icv(mac, parts, high),
            MacKey::Sha512(mac) => verify_icv(mac, parts, high),
        }?;
        match &self.aes {
            DecryptingAes::Bits128(aes) => decrypt(aes, parts.iv, parts.body),
            DecryptingAes::Bits192(aes) => decrypt(aes, parts.iv, parts.body),
            DecryptingAes::Bits256(aes) => decrypt(aes, parts.iv, parts.body),
        }
    }
}

fn encrypt<C>(aes: &C, iv: &[u8], body: &mut [u8]) -> Result<(), DropReason>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let (iv, blocks) = blocks(iv, body)?;
    Encryptor::inner_iv_init(aes, iv).encrypt_blocks(blocks);
    Ok(())
}

fn decrypt<C>(aes: &C, iv: &[u8], body: &mut [u8]) -> Result<(), DropReason>
where
    C: BlockCipherDecrypt + BlockSizeUser<BlockSize = U16>,
{
    let (iv, blocks) = blocks(iv, body)?;
    Decryptor::inner_iv_init(aes, iv).decrypt_blocks(blocks);
    Ok(())
}

type AesBlock = Array<u8, U16>;

/// IV and body as blocks; refuses a body that is not a whole number of them.
fn blocks<'a>(
    iv: &'a [u8],
    body: &'a mut [u8],
) -> Result<(&'a AesBlock, &'a mut [AesBlock]), DropReason> {
    let iv = iv.try_into().map_err(|_| DropReason::TooShort)?;
    match Array::slice_as_chunks_mut(body) {
        (blocks, []) => Ok((iv, blocks)),
        _ => Err(DropReason::BadLength),
    }
}

fn write_icv<M: Mac + Clone>(
    mac: &M,
    parts: &mut Parts<'_>,
    high: Option<u32>,
) -> Result<(), DropReason> {
    let whole = feed(mac, parts, high).finalize().into_bytes();
    let icv = whole.get(..parts.icv.len()).ok_or(DropReason::TooShort)?;
    parts.icv.copy_from_slice(icv);
    Ok(())
}

/// Compares in constant time.
fn verify_icv<M: Mac + Clone>(
    mac: &M,
    parts: &Parts<'_>,
    high: Option<u32>,
) -> Result<(), DropReason> {
    feed(mac, parts, high).verify_truncated_left(parts.icv).map_err(|_| DropReason::BadIcv)
}

fn feed<M: Mac + Clone>(mac: &M, parts: &Parts<'_>, high: Option<u32>) -> M {
    let mut mac = mac.clone();
    mac.update(parts.header);
    mac.update(parts.iv);
    mac.update(parts.body);
    if let Some(high) = high {
        mac.update(&high.to_be_bytes());
    }
    mac
}

enum EncryptingAes {
    Bits128(Aes128Enc),
    Bits192(Aes192Enc),
    Bits256(Aes256Enc),
}

impl EncryptingAes {
    fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128Enc::new_from_slice(key).ok().map(Self::Bits128),
            24 => Aes192Enc::new_from_slice(key).ok().map(Self::Bits192),
            32 => Aes256Enc::new_from_slice(key).ok().map(Self::Bits256),
            _ => None,
        }
    }
}

enum DecryptingAes {
    Bits128(Aes128Dec),
    Bits192(Aes192Dec),
    Bits256(Aes256Dec),
}

impl DecryptingAes {
    fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128Dec::new_from_slice(key).ok().map(Self::Bits128),
            24 => Aes192Dec::new_from_slice(key).ok().map(Self::Bits192),
            32 => Aes256Dec::new_from_slice(key).ok().map(Self::Bits256),
            _ => None,
        }
    }
}

enum MacKey {
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

impl MacKey {
    fn new(hash: Sha2, key: &[u8]) -> Option<Self> {
        match hash {
            Sha2::Sha256 => Hmac::new_from_slice(key).ok().map(Self::Sha256),
            Sha2::Sha384 => Hmac::new_from_slice(key).ok().map(Self::Sha384),
            Sha2::Sha512 => Hmac::new_from_slice(key).ok().map(Self::Sha512),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::vectors;

    /// RFC 4868 §2.7.2. The data is split as a packet would be; HMAC does not see the seams.
    #[test]
    fn icv_of_rfc_4868() {
        let cases = vectors::load("rfc4868.txt");
        assert_eq!(cases.len(), 12);
        for case in cases {
            let (key, icv) = (case.field("key"), case.field("icv"));
            let hash = match icv.len() {
                16 => Sha2::Sha256,
                24 => Sha2::Sha384,
                _ => Sha2::Sha512,
            };
            let mut data = case.field("data").to_vec();
            let (header, rest) = data.split_first_chunk_mut().unwrap();
            let (iv, body) = rest.split_at_mut(rest.len().min(16));
            let mut made = vec![0; hash.icv_len()];
            let mut parts = Parts { header, iv, body, icv: &mut made };
            match MacKey::new(hash, key).unwrap() {
                MacKey::Sha256(mac) => write_icv(&mac, &mut parts, None),
                MacKey::Sha384(mac) => write_icv(&mac, &mut parts, None),
                MacKey::Sha512(mac) => write_icv(&mac, &mut parts, None),
            }
            .unwrap();
            assert_eq!(made, icv, "{}", case.name);
        }
    }
}
