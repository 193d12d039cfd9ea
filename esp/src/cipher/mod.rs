//! The ciphers of an SA: sealing and opening packets in place.
//!
//! ```text
//!                  IV                      covered by the ICV
//! combined   AEAD  the sequence number     SPI | [seq high |] seq low as AAD, and the body             aead/
//!            GMAC  the sequence number     SPI | [seq high |] seq low | IV | body, which stays clear   gmac.rs
//! separate   CBC   cipher(sequence number) SPI | seq low | IV | body [| seq high]                      separate.rs, cbc.rs
//!            CTR   the sequence number     the same                                                    ctr.rs
//!            NULL  none                    the same
//!                                          by HMAC, CMAC or XCBC                                       mac.rs, xcbc.rs
//! ```
//!
//! Keys are scheduled once, when the SA is made. The enums are matched once for a [`Run`] of packets (run.rs).
//! Everything is encrypt-then-authenticate; opening verifies first.

mod aead;
mod cbc;
mod ctr;
mod gmac;
mod mac;
mod run;
mod separate;
mod xcbc;

pub(crate) use self::run::{RUN, Run};
use self::{
    aead::AeadKey, gmac::GmacKey, separate::SeparateOpeningKey, separate::SeparateSealingKey,
};
use crate::{
    params::KeyError,
    reason::DropReason,
    suite::{Aead, Suite},
};

/// Key of an outbound SA.
pub(crate) enum SealingKey {
    Aead(AeadKey),
    Gmac(GmacKey),
    Separate(Box<SeparateSealingKey>),
}

/// Key of an inbound SA.
pub(crate) enum OpeningKey {
    Aead(AeadKey),
    Gmac(GmacKey),
    Separate(Box<SeparateOpeningKey>),
}

impl SealingKey {
    pub(crate) fn new(suite: Suite, encr: &[u8], integ: &[u8]) -> Result<Self, KeyError> {
        suite.check_keys(encr, integ)?;
        let key = match suite {
            Suite::Combined(Aead::AesGmac(size)) => GmacKey::new(size, encr).map(Self::Gmac),
            Suite::Combined(aead) => AeadKey::new(aead, encr).map(Self::Aead),
            Suite::Separate(..) => {
                SeparateSealingKey::new(suite, encr, integ).map(|key| Self::Separate(Box::new(key)))
            }
        };
        key.ok_or(KeyError::Unsupported { suite })
    }

    /// Fills `iv`, of the suite's length, for the packet with this number: unique for each number, and for CBC not
    /// to be predicted (RFC 3602 §3).
    pub(crate) fn write_iv(&self, iv: &mut [u8], sequence: u64) {
        match self {
            Self::Aead(_) | Self::Gmac(_) => write_counter(iv, sequence),
            Self::Separate(key) => key.write_iv(iv, sequence),
        }
    }

    /// Encrypts the bodies and fills in the ICVs; headers and IVs are written.
    ///
    /// # Errors
    /// `TooBig` for a body beyond what the cipher takes, far larger than any IP packet; `TooShort` and `BadLength` for
    /// packets that no [`Layout`](crate::header::Layout) makes. Then none of the packets may be sent.
    pub(crate) fn seal(&self, run: &mut Run<'_>) -> Result<(), DropReason> {
        match self {
            Self::Aead(key) => key.seal(run),
            Self::Gmac(key) => key.seal(run),
            Self::Separate(key) => key.seal(run),
        }
    }
}

impl OpeningKey {
    pub(crate) fn new(suite: Suite, encr: &[u8], integ: &[u8]) -> Result<Self, KeyError> {
        suite.check_keys(encr, integ)?;
        let key = match suite {
            Suite::Combined(Aead::AesGmac(size)) => GmacKey::new(size, encr).map(Self::Gmac),
            Suite::Combined(aead) => AeadKey::new(aead, encr).map(Self::Aead),
            Suite::Separate(..) => {
                SeparateOpeningKey::new(suite, encr, integ).map(|key| Self::Separate(Box::new(key)))
            }
        };
        key.ok_or(KeyError::Unsupported { suite })
    }

    /// Verifies the ICV and decrypts the body. `high` is the high half of the sequence number of an SA with ESN. After a
    /// failure the body is unspecified.
    ///
    /// # Errors
    /// `BadIcv`; `TooShort` and `BadLength` for what [`Layout::check_len`](crate::header::Layout::check_len) refuses.
    pub(crate) fn open(&self, packet: &mut [u8], high: Option<u32>) -> Result<(), DropReason> {
        match self {
            Self::Aead(key) => key.open(packet, high),
            Self::Gmac(key) => key.open(packet, high),
            Self::Separate(key) => key.open(packet, high),
        }
    }
}

/// The sequence number, big-endian; `iv` has 8 octets, or none where it is not sent.
fn write_counter(iv: &mut [u8], sequence: u64) {
    if let Some(place) = iv.as_mut_array() {
        *place = sequence.to_be_bytes();
    }
}

#[cfg(test)]
mod tests;
