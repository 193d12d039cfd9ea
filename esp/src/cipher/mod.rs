//! The ciphers of an SA: sealing and opening the parts of one packet in place.
//!
//! ```text
//!              IV                        covered by the ICV
//! GCM          the sequence number       SPI | [seq high |] seq low   as AAD, and the body
//! CBC + HMAC   AES(sequence number)      SPI | seq low | IV | body [| seq high]
//! ```
//!
//! Keys are scheduled once, when the SA is made. The enums are matched once per call, so that a burst can match once
//! and run the arm for each of its packets. Everything is encrypt-then-authenticate; opening verifies first.

mod cbc;
mod gcm;

use self::{
    cbc::{CbcOpeningKey, CbcSealingKey},
    gcm::GcmKey,
};
use crate::{
    header::Parts,
    reason::DropReason,
    suite::{KeyError, Suite},
};

/// Key of an outbound SA.
#[cfg_attr(
    feature = "aws-lc",
    expect(
        clippy::large_enum_variant,
        reason = "one in each SA, never moved; the smaller one is a pointer to C"
    )
)]
pub(crate) enum SealingKey {
    Gcm(GcmKey),
    Cbc(CbcSealingKey),
}

/// Key of an inbound SA.
#[cfg_attr(
    feature = "aws-lc",
    expect(
        clippy::large_enum_variant,
        reason = "one in each SA, never moved; the smaller one is a pointer to C"
    )
)]
pub(crate) enum OpeningKey {
    Gcm(GcmKey),
    Cbc(CbcOpeningKey),
}

impl SealingKey {
    pub(crate) fn new(suite: Suite, encr: &[u8], integ: &[u8]) -> Result<Self, KeyError> {
        suite.check_keys(encr, integ)?;
        let unsupported = KeyError::Unsupported { suite };
        Ok(match suite {
            Suite::AesGcm16 { .. } => Self::Gcm(GcmKey::new(encr).ok_or(unsupported)?),
            Suite::AesCbcHmacSha2 { hash, .. } => {
                Self::Cbc(CbcSealingKey::new(encr, hash, integ).ok_or(unsupported)?)
            }
        })
    }

    /// Fills `iv`, of the suite's length, for the packet with this number: unique for each number, and for CBC not
    /// to be predicted (RFC 3602 §3).
    pub(crate) fn write_iv(&self, iv: &mut [u8], sequence: u64) {
        match self {
            Self::Gcm(_) => gcm::write_iv(iv, sequence),
            Self::Cbc(key) => key.write_iv(iv, sequence),
        }
    }

    /// Encrypts the body and fills in the ICV; header and IV are written. `high` is the high half of the sequence
    /// number of an SA with ESN.
    ///
    /// # Errors
    /// `TooBig` for a body beyond what the cipher takes, far larger than any IP packet.
    pub(crate) fn seal(&self, parts: &mut Parts<'_>, high: Option<u32>) -> Result<(), DropReason> {
        match self {
            Self::Gcm(key) => key.seal(parts, high),
            Self::Cbc(key) => key.seal(parts, high),
        }
    }
}

impl OpeningKey {
    pub(crate) fn new(suite: Suite, encr: &[u8], integ: &[u8]) -> Result<Self, KeyError> {
        suite.check_keys(encr, integ)?;
        let unsupported = KeyError::Unsupported { suite };
        Ok(match suite {
            Suite::AesGcm16 { .. } => Self::Gcm(GcmKey::new(encr).ok_or(unsupported)?),
            Suite::AesCbcHmacSha2 { hash, .. } => {
                Self::Cbc(CbcOpeningKey::new(encr, hash, integ).ok_or(unsupported)?)
            }
        })
    }

    /// Verifies the ICV and decrypts the body. After a failure the body is unspecified.
    ///
    /// # Errors
    /// `BadIcv`.
    pub(crate) fn open(&self, parts: &mut Parts<'_>, high: Option<u32>) -> Result<(), DropReason> {
        match self {
            Self::Gcm(key) => key.open(parts, high),
            Self::Cbc(key) => key.open(parts, high),
        }
    }
}

#[cfg(test)]
mod tests;
