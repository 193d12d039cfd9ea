//! Ciphers that need a MAC beside them (RFC 7296 §3.14): AES-CBC, 3DES-CBC and AES-CTR, encrypted first, then authenticated.
//!
//! ```text
//!             key          IV                          body
//!   AES-CBC   16, 24, 32   16, from the generator      whole blocks of 16     RFC 3602
//!   3DES-CBC  24           8, from the generator       whole blocks of 8      RFC 2451    legacy
//!   AES-CTR   16, 24, 32   8, a counter                any                    RFC 5930, RFC 3686
//!             + nonce, 4   block of the key stream = nonce | IV | 1, 2, 3 ... in 32 bits
//! ```

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, StreamCipher};
use ctr::Ctr32BE;
use des::TdesEde3;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::super::integ::Integ;
use super::Counter;
use crate::error::DropReason;
use crate::registry::EncrId;

/// A keyed cipher and a keyed MAC.
pub(in crate::crypto) struct Plain {
    mode: Mode,
    key: Zeroizing<Vec<u8>>,
    integ: Integ,
    integ_key: Zeroizing<Vec<u8>>,
}

enum Mode {
    AesCbc,
    TripleDes,
    AesCtr { nonce: Vec<u8>, next_iv: Counter },
}

impl Plain {
    /// `nonce` is empty but for AES-CTR.
    pub(super) fn new(
        encr: EncrId,
        key: &[u8],
        nonce: &[u8],
        integ: Integ,
        integ_key: &[u8],
    ) -> Self {
        let mode = match encr {
            EncrId::AES_CTR => Mode::AesCtr { nonce: nonce.to_vec(), next_iv: Counter(0) },
            EncrId::TRIPLE_DES => Mode::TripleDes,
            _ => Mode::AesCbc,
        };
        let secret = |key: &[u8]| Zeroizing::new(key.to_vec());
        Self { mode, key: secret(key), integ, integ_key: secret(integ_key) }
    }

    pub(super) const fn iv_len(&self) -> usize {
        match self.mode {
            Mode::AesCbc => AES_BLOCK,
            Mode::TripleDes => DES_BLOCK,
            Mode::AesCtr { .. } => 8,
        }
    }

    pub(super) const fn block_len(&self) -> usize {
        match self.mode {
            Mode::AesCbc => AES_BLOCK,
            Mode::TripleDes => DES_BLOCK,
            Mode::AesCtr { .. } => 1,
        }
    }

    pub(super) const fn icv_len(&self) -> usize {
        self.integ.icv_len()
    }

    pub(super) fn next_iv(&mut self, rng: &mut impl CryptoRng) -> Vec<u8> {
        if let Mode::AesCtr { next_iv, .. } = &mut self.mode {
            return next_iv.next();
        }
        let mut iv = vec![0; self.iv_len()];
        rng.fill_bytes(&mut iv);
        iv
    }

    pub(super) fn seal(&self, aad: &[u8], iv: &[u8], body: &mut [u8]) -> Vec<u8> {
        let len = body.len();
        let key = &*self.key;
        let done = match (&self.mode, key.len()) {
            (Mode::AesCbc, 16) => cbc_encrypt::<cbc::Encryptor<Aes128>>(key, iv, body),
            (Mode::AesCbc, 24) => cbc_encrypt::<cbc::Encryptor<Aes192>>(key, iv, body),
            (Mode::AesCbc, _) => cbc_encrypt::<cbc::Encryptor<Aes256>>(key, iv, body),
            (Mode::TripleDes, _) => cbc_encrypt::<cbc::Encryptor<TdesEde3>>(key, iv, body),
            (Mode::AesCtr { nonce, .. }, _) => ctr(key, nonce, iv, body),
        };
        assert!(done, "invariant: {len} octets are padded to blocks, and next_iv fits the cipher");
        self.integ.icv(&self.integ_key, &[aad, iv, body]).to_vec()
    }

    pub(super) fn open(
        &self,
        aad: &[u8],
        iv: &[u8],
        body: &mut [u8],
        icv: &[u8],
    ) -> Result<(), DropReason> {
        if !self.integ.verify(&self.integ_key, &[aad, iv, body], icv) {
            return Err(DropReason::BadIcv);
        }
        let key = &*self.key;
        let done = match (&self.mode, key.len()) {
            (Mode::AesCbc, 16) => cbc_decrypt::<cbc::Decryptor<Aes128>>(key, iv, body),
            (Mode::AesCbc, 24) => cbc_decrypt::<cbc::Decryptor<Aes192>>(key, iv, body),
            (Mode::AesCbc, _) => cbc_decrypt::<cbc::Decryptor<Aes256>>(key, iv, body),
            (Mode::TripleDes, _) => cbc_decrypt::<cbc::Decryptor<TdesEde3>>(key, iv, body),
            (Mode::AesCtr { nonce, .. }, _) => ctr(key, nonce, iv, body),
        };
        if done { Ok(()) } else { Err(DropReason::Malformed) }
    }
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

/// Encrypts or decrypts; false if `iv` does not have eight octets.
fn ctr(key: &[u8], nonce: &[u8], iv: &[u8], body: &mut [u8]) -> bool {
    let block = [nonce, iv, &FIRST_BLOCK].concat();
    match key.len() {
        16 => apply::<Ctr32BE<Aes128>>(key, &block, body),
        24 => apply::<Ctr32BE<Aes192>>(key, &block, body),
        _ => apply::<Ctr32BE<Aes256>>(key, &block, body),
    }
}

fn apply<C: KeyIvInit + StreamCipher>(key: &[u8], block: &[u8], body: &mut [u8]) -> bool {
    C::new_from_slices(key, block).is_ok_and(|mut cipher| cipher.try_apply_keystream(body).is_ok())
}

/// The block counter of the first block (RFC 3686 §4).
const FIRST_BLOCK: [u8; 4] = [0, 0, 0, 1];

/// Octets of an AES block, and of the IV of AES-CBC.
const AES_BLOCK: usize = 16;

/// Octets of a DES block, and of the IV of 3DES-CBC.
const DES_BLOCK: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::super::vectors;
    use super::*;

    const INTEG: Integ = Integ::HmacSha2_256_128;
    const INTEG_KEY: [u8; 32] = [7; 32];

    /// Seals and opens one known answer.
    fn check(cipher: &Plain, iv: &[u8], message: &[u8], sealed: &[u8], name: &str) {
        let mut body = message.to_vec();
        let icv = cipher.seal(b"aad", iv, &mut body);
        assert_eq!(body, sealed, "{name}");
        assert_eq!(icv, *INTEG.icv(&INTEG_KEY, &[b"aad", iv, sealed]), "{name}");
        assert_eq!(cipher.open(b"aad", iv, &mut body, &icv), Ok(()), "{name}");
        assert_eq!(body, message, "{name}");
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
            let cipher = Plain::new(EncrId::AES_CBC, &key, &[], INTEG, &INTEG_KEY);
            check(&cipher, &iv, &message, &sealed, &test["tcId"].to_string());
        }
    }

    #[test]
    fn computes_the_answers_of_rfc3686_for_ctr() {
        for case in vectors::committed("rfc3686.txt") {
            let of = |field| case.octets(field);
            let cipher = Plain::new(EncrId::AES_CTR, of("key"), of("nonce"), INTEG, &INTEG_KEY);
            check(&cipher, of("iv"), of("plain"), of("sealed"), &case.name);
        }
    }

    /// SP 800-67 App. B.1 in CBC: a block at a time is ECB over the block XOR the one before.
    #[test]
    fn computes_the_answers_of_sp800_67_for_3des() {
        for case in vectors::committed("sp800-67.txt") {
            let of = |field| case.octets(field);
            let cipher = Plain::new(EncrId::TRIPLE_DES, of("key"), &[], INTEG, &INTEG_KEY);
            for (plain, sealed) in of("plain").chunks(8).zip(of("sealed").chunks(8)) {
                check(&cipher, &[0; 8], plain, sealed, &case.name);
                let iv: Vec<u8> = plain.iter().map(|octet| octet ^ 0x5a).collect();
                check(&cipher, &iv, &[0x5a; 8], sealed, &case.name);
            }
        }
    }
}
