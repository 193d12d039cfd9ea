//! What is wrong with the text of a proposal, and where.
//!
//! ```text
//!   "aes256-shaa256-modp1024"
//!           └ Unknown  └ Legacy { instead: "modp2048" }           NoIntegrity, NoPrf ..: something is missing, so no place
//! ```

use std::ops::Range;

use crate::registry::ProtocolId;

/// Why text is not a proposal that we can make. Offsets count octets from the start of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeywordError {
    /// Nothing there.
    #[error("the proposal is empty")]
    Empty,
    /// Not a word of the table; [`keywords`](super::keywords) has those that are.
    #[error("`{word}` is not an algorithm")]
    Unknown {
        /// The word, perhaps empty.
        word: String,
        /// Where it begins.
        offset: usize,
    },
    /// An algorithm that exists and that we do not have: because nobody should use it, or because nobody asks for it.
    #[error("`{word}` is not supported")]
    Unsupported {
        /// The word.
        word: String,
        /// Where it begins.
        offset: usize,
    },
    /// An algorithm that is too weak to be had without [`Allow::legacy`](super::Allow::legacy).
    #[error("`{word}` is too weak; `{instead}` is better")]
    Legacy {
        /// The word.
        word: String,
        /// Where it begins.
        offset: usize,
        /// What to write in its place.
        instead: &'static str,
    },
    /// A cipher that leaves packets readable, without [`Allow::unencrypted`](super::Allow::unencrypted).
    #[error("`{word}` does not encrypt")]
    Unencrypted {
        /// The word.
        word: String,
        /// Where it begins.
        offset: usize,
    },
    /// The same algorithm a second time.
    #[error("`{word}` is there already")]
    Repeated {
        /// The second word.
        word: String,
        /// Where it begins.
        offset: usize,
    },
    /// An algorithm that this protocol does not negotiate.
    #[error("`{word}` has no place in an {protocol} proposal")]
    Misplaced {
        /// The word.
        word: String,
        /// Where it begins.
        offset: usize,
        /// IKE or ESP.
        protocol: ProtocolId,
    },
    /// No cipher.
    #[error("no cipher, such as `aes256gcm16`")]
    NoCipher,
    /// Ciphers with and without their own integrity protection in one proposal.
    #[error(
        "AEAD ciphers such as AES-GCM and others such as AES-CBC cannot share a proposal; write two"
    )]
    MixedCiphers,
    /// An AEAD cipher together with an integrity algorithm.
    #[error("an AEAD cipher protects integrity itself; `{word}` must go{}", prf_hint(word))]
    AeadWithIntegrity {
        /// The integrity algorithm.
        word: String,
        /// Where it begins.
        offset: usize,
    },
    /// A cipher that is not AEAD, without an integrity algorithm.
    #[error("the cipher is not AEAD and needs an integrity algorithm, such as `sha256`")]
    NoIntegrity,
    /// IKE with an AEAD cipher does not say its PRF.
    #[error("an AEAD cipher in IKE needs a pseudorandom function, such as `prfsha256`")]
    NoPrf,
    /// IKE without a key exchange.
    #[error("no key exchange, such as `ecp384`")]
    NoKeyExchange,
}

impl KeywordError {
    /// Which octets of the text are at fault; `None` if something is missing.
    #[must_use]
    pub fn span(&self) -> Option<Range<usize>> {
        match self {
            Self::Unknown { word, offset }
            | Self::Unsupported { word, offset }
            | Self::Legacy { word, offset, .. }
            | Self::Unencrypted { word, offset }
            | Self::Repeated { word, offset }
            | Self::Misplaced { word, offset, .. }
            | Self::AeadWithIntegrity { word, offset } => Some(*offset..*offset + word.len()),
            Self::Empty
            | Self::NoCipher
            | Self::MixedCiphers
            | Self::NoIntegrity
            | Self::NoPrf
            | Self::NoKeyExchange => None,
        }
    }
}

/// In IKE people write `sha256` and mean the PRF.
fn prf_hint(word: &str) -> String {
    format!(" (for the pseudorandom function of IKE write `prf{}`)", word.to_ascii_lowercase())
}
