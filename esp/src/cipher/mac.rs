//! Integrity algorithms (RFC 4303 §3.3.2.1): HMAC with SHA-1 (RFC 2404) and SHA-2 (RFC 4868), AES-CMAC (RFC 4494) and
//! AES-XCBC (RFC 3566).
//!
//! ```text
//! packet   | SPI | seq low | IV | body | ICV |        ICV = the left octets of MAC(all before it [| seq high])
//! ```
//!
//! What depends on the key alone, the two keyed halves of an HMAC and the subkeys of the others, is computed once and
//! copied for each packet.

use aes::Aes128;
use cbc_mac::CbcMac;
use cmac::Cmac;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use super::{Run, xcbc::Xcbc};
use crate::{reason::DropReason, suite::Integrity};

/// The expanded key; the same for both directions.
pub(super) enum MacKey {
    HmacSha1(Hmac<Sha1>),
    HmacSha256(Hmac<Sha256>),
    HmacSha384(Hmac<Sha384>),
    HmacSha512(Hmac<Sha512>),
    Cmac(Cmac<Aes128>),
    Xcbc(Xcbc),
}

impl MacKey {
    /// `None` if the key has another length.
    pub(super) fn new(integrity: Integrity, key: &[u8]) -> Option<Self> {
        match integrity {
            Integrity::HmacSha1_96 => Hmac::new_from_slice(key).ok().map(Self::HmacSha1),
            Integrity::HmacSha2_256_128 => Hmac::new_from_slice(key).ok().map(Self::HmacSha256),
            Integrity::HmacSha2_384_192 => Hmac::new_from_slice(key).ok().map(Self::HmacSha384),
            Integrity::HmacSha2_512_256 => Hmac::new_from_slice(key).ok().map(Self::HmacSha512),
            Integrity::AesCmac96 => Cmac::new_from_slice(key).ok().map(Self::Cmac),
            Integrity::AesXcbc96 => Xcbc::new(key).map(Self::Xcbc),
        }
    }

    /// Fills in the ICV of each packet, its last `icv_len` octets.
    pub(super) fn write(&self, run: &mut Run<'_>, icv_len: usize) -> Result<(), DropReason> {
        match self {
            Self::HmacSha1(mac) => write(mac, run, icv_len),
            Self::HmacSha256(mac) => write(mac, run, icv_len),
            Self::HmacSha384(mac) => write(mac, run, icv_len),
            Self::HmacSha512(mac) => write(mac, run, icv_len),
            Self::Cmac(mac) => write(mac, run, icv_len),
            Self::Xcbc(mac) => write(mac, run, icv_len),
        }
    }

    /// Compares the ICV in constant time.
    ///
    /// # Errors
    /// `BadIcv`, or `TooShort` for a packet without ICV.
    pub(super) fn verify(
        &self,
        packet: &[u8],
        high: Option<u32>,
        icv_len: usize,
    ) -> Result<(), DropReason> {
        let end = packet.len().checked_sub(icv_len).ok_or(DropReason::TooShort)?;
        let (covered, icv) = packet.split_at_checked(end).ok_or(DropReason::TooShort)?;
        let right = match self {
            Self::HmacSha1(mac) => is_right(mac, covered, high, icv),
            Self::HmacSha256(mac) => is_right(mac, covered, high, icv),
            Self::HmacSha384(mac) => is_right(mac, covered, high, icv),
            Self::HmacSha512(mac) => is_right(mac, covered, high, icv),
            Self::Cmac(mac) => is_right(mac, covered, high, icv),
            Self::Xcbc(mac) => is_right(mac, covered, high, icv),
        };
        if right { Ok(()) } else { Err(DropReason::BadIcv) }
    }
}

fn write(mac: &impl Fed, run: &mut Run<'_>, icv_len: usize) -> Result<(), DropReason> {
    for (packet, high) in run.iter() {
        let end = packet.len().checked_sub(icv_len).ok_or(DropReason::TooShort)?;
        let (covered, icv) = packet.split_at_mut_checked(end).ok_or(DropReason::TooShort)?;
        let whole = mac.fed(covered, high).finalize().into_bytes();
        icv.copy_from_slice(whole.get(..icv_len).ok_or(DropReason::TooShort)?);
    }
    Ok(())
}

fn is_right(mac: &impl Fed, covered: &[u8], high: Option<u32>, icv: &[u8]) -> bool {
    mac.fed(covered, high).verify_truncated_left(icv).is_ok()
}

/// A key that takes octets and, with ESN, four more that do not lie behind them.
trait Fed {
    type Mac: Mac;

    fn fed(&self, covered: &[u8], high: Option<u32>) -> Self::Mac;
}

impl<M: Mac + Clone> Fed for M {
    type Mac = M;

    fn fed(&self, covered: &[u8], high: Option<u32>) -> M {
        let mut mac = self.clone();
        mac.update(covered);
        if let Some(high) = high {
            mac.update(&high.to_be_bytes());
        }
        mac
    }
}

impl Fed for Xcbc {
    type Mac = CbcMac<Aes128>;

    fn fed(&self, covered: &[u8], high: Option<u32>) -> CbcMac<Aes128> {
        match high {
            None => self.mac(covered, &[]),
            Some(high) => self.mac(covered, &high.to_be_bytes()),
        }
    }
}
