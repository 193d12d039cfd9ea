//! What makes one direction of a child SA, as IKE hands it over.
//!
//! ```text
//! SaParams   SPI | suite | keys, borrowed | ESN | selectors | window     ->  OutboundSa::new, InboundSa::new
//! ```

use std::{num::NonZeroU32, sync::Arc};

use crate::{selector::Selectors, suite::Suite};

/// Everything one direction of a child SA needs. Keys are borrowed and expanded once by
/// [`OutboundSa::new`](crate::OutboundSa::new) and [`InboundSa::new`](crate::InboundSa::new);
/// wiping the originals is up to the caller. No `Debug`: it holds keys.
#[derive(Clone)]
pub struct SaParams<'k> {
    /// SPI on the wire: chosen by the receiver of the packets.
    pub spi: NonZeroU32,
    /// Algorithms.
    pub suite: Suite,
    /// Encryption key, and behind it the salt of those suites that have one, as IKE derives them (RFC 4106 §8.1).
    /// [`Suite::encr_key_len`] octets.
    pub encr_key: &'k [u8],
    /// Integrity key, [`Suite::integ_key_len`] octets; empty for a combined mode.
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

impl Suite {
    /// Checks that the keys have the sizes of the suite.
    pub(crate) fn check_keys(self, encr_key: &[u8], integ_key: &[u8]) -> Result<(), KeyError> {
        let (expected, actual) = (self.encr_key_len(), encr_key.len());
        if expected != actual {
            return Err(KeyError::EncrKeyLen { expected, actual });
        }
        let (expected, actual) = (self.integ_key_len(), integ_key.len());
        if expected != actual {
            return Err(KeyError::IntegKeyLen { expected, actual });
        }
        Ok(())
    }
}

/// Why an SA could not be made: the caller's mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The library that computes the cipher refuses the key. None does, if the key has its size.
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
