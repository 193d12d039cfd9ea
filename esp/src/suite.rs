//! What IKE negotiates for a child SA, in the terms of this crate: algorithms and their sizes.
//!
//! ```text
//! combined     AES-GCM, AES-CCM, AES-GMAC, ChaCha20-Poly1305     one algorithm, one key, one pass (RFC 4303 §3.2.3)
//! separate     NULL, 3DES-CBC, AES-CBC, AES-CTR   x   HMAC-SHA1, HMAC-SHA2, AES-XCBC, AES-CMAC      encrypt, then authenticate
//!
//! key material of a cipher, as IKE derives it:    | key | salt |         (RFC 4106 §8.1, RFC 4309 §7.1, RFC 3686 §5.1)
//! ```
//!
//! Sizes stand in one table for each kind: [`Aead::sizes`], [`Cipher::sizes`] and [`Integrity::sizes`].
//! A suite that no RFC allows, such as AES-CTR without integrity, cannot be written down.

use self::{Aead as A, Cipher as C, Integrity as I};

/// Encryption and integrity algorithms of an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// An algorithm that does both.
    Combined(Aead),
    /// A cipher, and an integrity algorithm over what it makes.
    Separate(Cipher, Integrity),
}

/// A combined mode algorithm (RFC 4303 §3.2.3). The number is that of octets of the ICV; `Iiv` means that the IV is the
/// sequence number and is not sent (RFC 8750).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "named as in the registry; the table of sizes tells the RFC")]
pub enum Aead {
    AesGcm8(AesKey),
    AesGcm12(AesKey),
    AesGcm16(AesKey),
    AesGcm16Iiv(AesKey),
    AesCcm8(AesKey),
    AesCcm12(AesKey),
    AesCcm16(AesKey),
    AesCcm8Iiv(AesKey),
    /// Authenticates and does not encrypt: ENCR_NULL_AUTH_AES_GMAC.
    AesGmac(AesKey),
    ChaCha20Poly1305,
    ChaCha20Poly1305Iiv,
}

/// A cipher that only encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// Does not encrypt (RFC 2410).
    Null,
    /// Three DES keys of 64 bits, parity included (RFC 2451). Slow, and for old peers only: with blocks of 8 octets, some
    /// ten gigabytes under one key begin to tell about their content.
    TripleDesCbc,
    /// RFC 3602.
    AesCbc(AesKey),
    /// RFC 3686.
    AesCtr(AesKey),
}

/// An integrity algorithm; the last number is that of bits of the ICV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "named as in the registry; the table of sizes tells the RFC")]
pub enum Integrity {
    HmacSha1_96,
    AesXcbc96,
    AesCmac96,
    HmacSha2_256_128,
    HmacSha2_384_192,
    HmacSha2_512_256,
}

/// Size of an AES key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum AesKey {
    Bits128,
    Bits192,
    Bits256,
}

/// Sizes of a combined mode or a cipher, in octets.
struct Sizes {
    key: usize,
    salt: usize,
    iv: usize,
    /// The encrypted part is a multiple of it: the cipher block, at least 4 (RFC 4303 §2.4).
    block: usize,
    icv: usize,
}

#[rustfmt::skip]
impl Aead {
    #[expect(clippy::match_same_arms, reason = "a table, with a line for each")]
    const fn sizes(self) -> Sizes {
        let (key, salt, iv, icv) = match self {
            //                             key, salt, IV, ICV
            A::AesGcm8(key) =>            (key.octets(), 4, 8, 8),   // RFC 4106 §3.1, §4, §6, §8.1
            A::AesGcm12(key) =>           (key.octets(), 4, 8, 12),
            A::AesGcm16(key) =>           (key.octets(), 4, 8, 16),
            A::AesGcm16Iiv(key) =>        (key.octets(), 4, 0, 16),  // RFC 8750 §4
            A::AesCcm8(key) =>            (key.octets(), 3, 8, 8),   // RFC 4309 §3.1, §4, §6, §7.1
            A::AesCcm12(key) =>           (key.octets(), 3, 8, 12),
            A::AesCcm16(key) =>           (key.octets(), 3, 8, 16),
            A::AesCcm8Iiv(key) =>         (key.octets(), 3, 0, 8),   // RFC 8750 §4
            A::AesGmac(key) =>            (key.octets(), 4, 8, 16),  // RFC 4543 §3.1, §3.2, §3.4, §5.4
            A::ChaCha20Poly1305 =>        (32, 4, 8, 16),            // RFC 7634 §2, §4
            A::ChaCha20Poly1305Iiv =>     (32, 4, 0, 16),            // RFC 8750 §4
        };
        Sizes { key, salt, iv, block: 4, icv }
    }
}

#[rustfmt::skip]
impl Cipher {
    const fn sizes(self) -> Sizes {
        let (key, salt, iv, block) = match self {
            //                             key, salt, IV, block
            C::Null =>                    (0, 0, 0, 4),              // RFC 2410 §2
            C::TripleDesCbc =>            (24, 0, 8, 8),             // RFC 2451 §2.2, §2.4, §3
            C::AesCbc(key) =>             (key.octets(), 0, 16, 16), // RFC 3602 §2, §3
            C::AesCtr(key) =>             (key.octets(), 4, 8, 4),   // RFC 3686 §3, §5.1
        };
        Sizes { key, salt, iv, block, icv: 0 }
    }
}

#[rustfmt::skip]
impl Integrity {
    /// Octets of the key and of the ICV.
    #[expect(clippy::match_same_arms, reason = "a table, with a line for each")]
    const fn sizes(self) -> (usize, usize) {
        match self {
            //                             key, ICV
            I::HmacSha1_96 =>             (20, 12),                  // RFC 2404 §2, §3
            I::AesXcbc96 =>               (16, 12),                  // RFC 3566 §4
            I::AesCmac96 =>               (16, 12),                  // RFC 4494 §2, §3
            I::HmacSha2_256_128 =>        (32, 16),                  // RFC 4868 §2.1, §2.3
            I::HmacSha2_384_192 =>        (48, 24),
            I::HmacSha2_512_256 =>        (64, 32),
        }
    }
}

impl Suite {
    /// Octets of the encryption key, salt included.
    #[must_use]
    pub const fn encr_key_len(self) -> usize {
        let sizes = self.cipher_sizes();
        sizes.key + sizes.salt
    }

    /// Octets of the salt, the end of the encryption key.
    pub(crate) const fn salt_len(self) -> usize {
        self.cipher_sizes().salt
    }

    /// Octets of the integrity key; 0 for a combined mode.
    #[must_use]
    pub const fn integ_key_len(self) -> usize {
        match self {
            Self::Combined(_) => 0,
            Self::Separate(_, integrity) => integrity.sizes().0,
        }
    }

    /// Octets of the IV on the wire.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        self.cipher_sizes().iv
    }

    /// Octets of the ICV on the wire.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match self {
            Self::Combined(aead) => aead.sizes().icv,
            Self::Separate(_, integrity) => integrity.sizes().1,
        }
    }

    /// The encrypted part is a multiple of this many octets: the cipher block, at least 4 (RFC 4303 §2.4).
    #[must_use]
    pub const fn block_len(self) -> usize {
        self.cipher_sizes().block
    }

    const fn cipher_sizes(self) -> Sizes {
        match self {
            Self::Combined(aead) => aead.sizes(),
            Self::Separate(cipher, _) => cipher.sizes(),
        }
    }

    /// Every suite: combined modes first, those of the strongest default in front.
    pub fn all() -> impl Iterator<Item = Self> {
        let ciphers = [C::AesCbc, C::AesCtr].into_iter().flat_map(|mode| AesKey::ALL.map(mode));
        let separate = ciphers.chain([C::Null, C::TripleDesCbc]);
        let separate =
            separate.flat_map(|one| Integrity::ALL.map(|with| Self::Separate(one, with)));
        Aead::all().map(Self::Combined).chain(separate)
    }
}

impl Aead {
    fn all() -> impl Iterator<Item = Self> {
        let gcm = [A::AesGcm16, A::AesGcm16Iiv, A::AesGcm12, A::AesGcm8];
        let ccm = [A::AesCcm16, A::AesCcm12, A::AesCcm8, A::AesCcm8Iiv, A::AesGmac];
        let aes = gcm.into_iter().chain(ccm).flat_map(|mode| AesKey::ALL.map(mode));
        aes.chain([A::ChaCha20Poly1305, A::ChaCha20Poly1305Iiv])
    }
}

impl Integrity {
    /// Every one, the default of many peers first.
    pub const ALL: [Self; 6] = [
        I::HmacSha2_256_128,
        I::HmacSha2_384_192,
        I::HmacSha2_512_256,
        I::HmacSha1_96,
        I::AesXcbc96,
        I::AesCmac96,
    ];
}

impl AesKey {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Bits256, Self::Bits192, Self::Bits128];

    /// The size with this many bits, if AES has it.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Option<Self> {
        match bits {
            128 => Some(Self::Bits128),
            192 => Some(Self::Bits192),
            256 => Some(Self::Bits256),
            _ => None,
        }
    }

    /// Octets of the key.
    const fn octets(self) -> usize {
        match self {
            Self::Bits128 => 16,
            Self::Bits192 => 24,
            Self::Bits256 => 32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        header::{HEADROOM, Layout, TAILROOM},
        params::KeyError,
    };

    const GCM: Suite = Suite::Combined(Aead::AesGcm16(AesKey::Bits256));

    /// What the RFCs say, written down a second time.
    #[test]
    fn sizes_are_those_of_the_rfcs() {
        let aes = |octets| match octets {
            16 => AesKey::Bits128,
            24 => AesKey::Bits192,
            _ => AesKey::Bits256,
        };
        // (suite, key + salt, integrity key, IV, block, ICV)
        let mut table = vec![
            (Suite::Combined(Aead::ChaCha20Poly1305), 36, 0, 8, 4, 16),
            (Suite::Combined(Aead::ChaCha20Poly1305Iiv), 36, 0, 0, 4, 16),
        ];
        for key in [16, 24, 32] {
            let gcm = [(A::AesGcm8(aes(key)), 8), (A::AesGcm12(aes(key)), 12)];
            let gcm = gcm.into_iter().chain([(A::AesGcm16(aes(key)), 16)]);
            table.extend(gcm.map(|(one, icv)| (Suite::Combined(one), key + 4, 0, 8, 4, icv)));
            let ccm = [(A::AesCcm8(aes(key)), 8), (A::AesCcm12(aes(key)), 12)];
            let ccm = ccm.into_iter().chain([(A::AesCcm16(aes(key)), 16)]);
            table.extend(ccm.map(|(one, icv)| (Suite::Combined(one), key + 3, 0, 8, 4, icv)));
            table.extend([
                (Suite::Combined(A::AesGmac(aes(key))), key + 4, 0, 8, 4, 16),
                (Suite::Combined(A::AesGcm16Iiv(aes(key))), key + 4, 0, 0, 4, 16),
                (Suite::Combined(A::AesCcm8Iiv(aes(key))), key + 3, 0, 0, 4, 8),
            ]);
        }
        for (integrity, integ, icv) in [
            (I::HmacSha1_96, 20, 12),
            (I::AesXcbc96, 16, 12),
            (I::AesCmac96, 16, 12),
            (I::HmacSha2_256_128, 32, 16),
            (I::HmacSha2_384_192, 48, 24),
            (I::HmacSha2_512_256, 64, 32),
        ] {
            let row = |cipher, key, iv, block| {
                (Suite::Separate(cipher, integrity), key, integ, iv, block, icv)
            };
            table.extend([row(C::Null, 0, 0, 4), row(C::TripleDesCbc, 24, 8, 8)]);
            table.extend([16, 24, 32].map(|key| row(C::AesCbc(aes(key)), key, 16, 16)));
            table.extend([16, 24, 32].map(|key| row(C::AesCtr(aes(key)), key + 4, 8, 4)));
        }
        for &(suite, encr, integ, iv, block, icv) in &table {
            assert_eq!((suite.encr_key_len(), suite.integ_key_len()), (encr, integ), "{suite:?}");
            let sizes = (suite.iv_len(), suite.block_len(), suite.icv_len());
            assert_eq!(sizes, (iv, block, icv), "{suite:?}");
        }
        let all: std::collections::HashSet<_> = Suite::all().collect();
        assert_eq!((all.len(), Suite::all().count(), table.len()), (77, 77, 77));
        assert!(table.iter().all(|row| all.contains(&row.0)));
    }

    #[test]
    fn keys_of_other_sizes_are_refused() {
        for suite in Suite::all() {
            let (encr, integ) = (suite.encr_key_len(), suite.integ_key_len());
            let check = |encr, integ| suite.check_keys(&vec![0; encr], &vec![0; integ]);
            assert_eq!(check(encr, integ), Ok(()));
            let wrong = KeyError::EncrKeyLen { expected: encr, actual: encr + 1 };
            assert_eq!(check(encr + 1, integ), Err(wrong));
            let wrong = KeyError::IntegKeyLen { expected: integ, actual: integ + 1 };
            assert_eq!(check(encr, integ + 1), Err(wrong));
        }
        assert_eq!(
            GCM.check_keys(&[0; 32], &[]),
            Err(KeyError::EncrKeyLen { expected: 36, actual: 32 })
        );
    }

    #[test]
    fn room_suffices_for_every_suite_and_no_less_would() {
        let layouts = || Suite::all().map(Layout::of);
        let back = |layout: Layout| (0..16).map(move |len| layout.back_len(len)).max();
        assert_eq!(layouts().map(Layout::front_len).max(), Some(HEADROOM));
        assert_eq!(layouts().filter_map(back).max(), Some(TAILROOM));
    }

    #[test]
    fn aes_has_three_sizes_of_keys() {
        let known = (0..=u16::MAX).filter(|&bits| AesKey::from_bits(bits).is_some());
        assert_eq!(known.collect::<Vec<_>>(), [128, 192, 256]);
    }
}
