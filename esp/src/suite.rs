//! What IKE negotiates for a child SA, in the terms of this crate: algorithms, keys and their sizes.
//!
//! ```text
//!                              key           salt  integ key  IV  block  ICV   RFC
//! AES-GCM-16                   16, 32        4     -          8   4      16    4106
//! AES-CBC + HMAC-SHA2-256-128  16, 24, 32    -     32         16  16     16    3602, 4868
//! AES-CBC + HMAC-SHA2-384-192                      48                    24
//! AES-CBC + HMAC-SHA2-512-256                      64                    32    (octets)
//! ```

use std::{num::NonZeroU32, sync::Arc};

use crate::selector::Selectors;

/// Everything one direction of a child SA needs. Keys are borrowed and expanded once by
/// [`OutboundSa::new`](crate::OutboundSa::new) and [`InboundSa::new`](crate::InboundSa::new);
/// wiping the originals is up to the caller. No `Debug`: it holds keys.
#[derive(Clone)]
pub struct SaParams<'k> {
    /// SPI on the wire: chosen by the receiver of the packets.
    pub spi: NonZeroU32,
    /// Algorithms.
    pub suite: Suite,
    /// Encryption key; for GCM the key and then the 4-octet salt, as IKE derives them (RFC 4106 §8.1).
    /// [`Suite::encr_key_len`] octets.
    pub encr_key: &'k [u8],
    /// Integrity key, [`Suite::integ_key_len`] octets; empty for GCM.
    pub integ_key: &'k [u8],
    /// Whether sequence numbers have 64 bits (RFC 4303 §2.2.1).
    pub esn: bool,
    /// Which inner packets belong to the SA.
    pub selectors: Arc<Selectors>,
    /// Packets in the replay window, 32 to 65536, rounded up to a multiple of 64. Inbound only.
    /// [`DEFAULT_REPLAY_WINDOW`] suits most links.
    pub replay_window: u32,
}

/// Replay window for links that reorder little: 4096 packets, 3.7 ms at 1.1 million packets a second.
pub const DEFAULT_REPLAY_WINDOW: u32 = 4096;

/// Encryption and integrity algorithms of an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// AES-GCM with a 16-octet ICV (RFC 4106).
    AesGcm16 {
        /// 128 or 256. The backend has no 192-bit GCM.
        key_bits: u16,
    },
    /// AES-CBC (RFC 3602), then HMAC-SHA2 (RFC 4868) over the result.
    AesCbcHmacSha2 {
        /// 128, 192 or 256.
        key_bits: u16,
        /// Hash of the HMAC.
        hash: Sha2,
    },
}

/// Hash of an HMAC; the ICV is the left half of its output (RFC 4868 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sha2 {
    /// HMAC-SHA2-256-128: ICV of 16 octets.
    Sha256,
    /// HMAC-SHA2-384-192: ICV of 24 octets.
    Sha384,
    /// HMAC-SHA2-512-256: ICV of 32 octets.
    Sha512,
}

impl Suite {
    /// Octets of the encryption key, salt included.
    #[must_use]
    pub const fn encr_key_len(self) -> usize {
        match self {
            Self::AesGcm16 { key_bits } => key_bits as usize / 8 + GCM_SALT_LEN,
            Self::AesCbcHmacSha2 { key_bits, .. } => key_bits as usize / 8,
        }
    }

    /// Octets of the integrity key; 0 for GCM.
    #[must_use]
    pub const fn integ_key_len(self) -> usize {
        match self {
            Self::AesGcm16 { .. } => 0,
            Self::AesCbcHmacSha2 { hash, .. } => 2 * hash.icv_len(),
        }
    }

    /// Octets of the IV on the wire.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        match self {
            Self::AesGcm16 { .. } => 8,
            Self::AesCbcHmacSha2 { .. } => 16,
        }
    }

    /// Octets of the ICV on the wire.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match self {
            Self::AesGcm16 { .. } => 16,
            Self::AesCbcHmacSha2 { hash, .. } => hash.icv_len(),
        }
    }

    /// The encrypted part is a multiple of this many octets: the cipher block, at least 4 (RFC 4303 §2.4).
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self {
            Self::AesGcm16 { .. } => 4,
            Self::AesCbcHmacSha2 { .. } => 16,
        }
    }

    /// Checks that the suite exists and that the keys have its sizes.
    pub(crate) fn check_keys(self, encr_key: &[u8], integ_key: &[u8]) -> Result<(), KeyError> {
        match self {
            Self::AesGcm16 { key_bits: 128 | 256 }
            | Self::AesCbcHmacSha2 { key_bits: 128 | 192 | 256, .. } => {}
            Self::AesGcm16 { .. } | Self::AesCbcHmacSha2 { .. } => {
                return Err(KeyError::Unsupported { suite: self });
            }
        }
        if encr_key.len() != self.encr_key_len() {
            return Err(KeyError::EncrKeyLen {
                expected: self.encr_key_len(),
                actual: encr_key.len(),
            });
        }
        if integ_key.len() != self.integ_key_len() {
            return Err(KeyError::IntegKeyLen {
                expected: self.integ_key_len(),
                actual: integ_key.len(),
            });
        }
        Ok(())
    }
}

impl Sha2 {
    /// Octets of the ICV: half of the hash.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match self {
            Self::Sha256 => 16,
            Self::Sha384 => 24,
            Self::Sha512 => 32,
        }
    }
}

/// Why an SA could not be made. The caller's mistake, or a suite that should not have been offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// This crate cannot run the suite.
    #[error("{suite:?} is not supported")]
    Unsupported {
        /// The suite.
        suite: Suite,
    },
    /// The encryption key has the wrong size.
    #[error("the encryption key has {actual} octets; with its salt it must have {expected}")]
    EncrKeyLen {
        /// Octets that the suite needs, salt included.
        expected: usize,
        /// Octets given.
        actual: usize,
    },
    /// The integrity key has the wrong size.
    #[error("the integrity key has {actual} octets, must have {expected}")]
    IntegKeyLen {
        /// Octets that the suite needs.
        expected: usize,
        /// Octets given.
        actual: usize,
    },
    /// The replay window is too small or too large.
    #[error("a replay window of {packets} packets is outside 32..=65536")]
    ReplayWindow {
        /// Packets asked for.
        packets: u32,
    },
}

pub(crate) const GCM_SALT_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_rfcs() {
        let cbc = |key_bits, hash| Suite::AesCbcHmacSha2 { key_bits, hash };
        // (suite, key + salt, integrity key, IV, ICV):
        // RFC 4106 §3, §4, §8.1; RFC 3602 §2, §3; RFC 4868 §2.1, §2.3.
        let table = [
            (Suite::AesGcm16 { key_bits: 128 }, 20, 0, 8, 16),
            (Suite::AesGcm16 { key_bits: 256 }, 36, 0, 8, 16),
            (cbc(128, Sha2::Sha256), 16, 32, 16, 16),
            (cbc(192, Sha2::Sha384), 24, 48, 16, 24),
            (cbc(256, Sha2::Sha512), 32, 64, 16, 32),
        ];
        for (suite, encr, integ, iv, icv) in table {
            assert_eq!(suite.encr_key_len(), encr, "{suite:?}");
            assert_eq!(suite.integ_key_len(), integ, "{suite:?}");
            assert_eq!(suite.iv_len(), iv, "{suite:?}");
            assert_eq!(suite.icv_len(), icv, "{suite:?}");
            assert_eq!(suite.check_keys(&vec![0; encr], &vec![0; integ]), Ok(()));
            assert_eq!(
                suite.check_keys(&vec![0; encr + 1], &vec![0; integ]),
                Err(KeyError::EncrKeyLen { expected: encr, actual: encr + 1 })
            );
            assert_eq!(
                suite.check_keys(&vec![0; encr], &vec![0; integ + 1]),
                Err(KeyError::IntegKeyLen { expected: integ, actual: integ + 1 })
            );
        }
    }

    #[test]
    fn suites_that_do_not_exist_are_refused() {
        for suite in [
            Suite::AesGcm16 { key_bits: 192 },
            Suite::AesGcm16 { key_bits: 0 },
            Suite::AesCbcHmacSha2 { key_bits: 64, hash: Sha2::Sha256 },
        ] {
            let keys = (vec![0; suite.encr_key_len()], vec![0; suite.integ_key_len()]);
            assert_eq!(suite.check_keys(&keys.0, &keys.1), Err(KeyError::Unsupported { suite }));
        }
    }
}
