//! AES-GMAC (RFC 4543): packets that are authenticated and stay legible.
//!
//! ```text
//! packet            | SPI | seq low | IV | body .... | ICV |
//! AAD, short        | SPI | seq low | IV | body .... |                as it lies there
//! AAD, with ESN     | SPI | seq high | seq low | IV | body .... |     4 octets more: the ICV's place lends them
//! ```
//!
//! GMAC is AES-GCM of nothing, with all of the packet as AAD. The figures of RFC 4543 §3.3 do not show the IV in it; its
//! §3.1 calls the IV a part of the payload, and so does Linux. The high half belongs between SPI and low half: what lies
//! behind moves up for as long as the computation takes, which is cheaper than what it saves, an own GHASH.

use super::{
    Run,
    aead::{Salt, rust},
};
use crate::{
    header::ESP_HEADER_LEN,
    reason::DropReason,
    suite::{Aead, AesKey, Suite},
};

/// Expanded key and salt; the same for both directions.
pub(crate) struct GmacKey {
    key: Box<rust::Key>,
    salt: Salt,
}

impl GmacKey {
    /// From key and salt as IKE derives them; `None` if their length is wrong.
    pub(crate) fn new(size: AesKey, key_and_salt: &[u8]) -> Option<Self> {
        let aead = Aead::AesGmac(size);
        let (key, salt) = Salt::split(key_and_salt, Suite::Combined(aead).salt_len())?;
        Some(Self { key: rust::key(aead, key)?, salt })
    }

    pub(crate) fn seal(&self, run: &mut Run<'_>) -> Result<(), DropReason> {
        for (packet, high) in run.iter() {
            let mut icv = [0; ICV_LEN];
            with_aad(packet, high, |nonce, aad| {
                self.key.seal(self.salt.nonce(nonce).octets(), aad, &mut [], &mut icv)
            })?;
            write_icv(packet, icv);
        }
        Ok(())
    }

    pub(crate) fn open(&self, packet: &mut [u8], high: Option<u32>) -> Result<(), DropReason> {
        let icv: [u8; ICV_LEN] = *packet.last_chunk().ok_or(DropReason::TooShort)?;
        let opened = with_aad(packet, high, |nonce, aad| {
            self.key.open(self.salt.nonce(nonce).octets(), aad, &mut [], &icv)
        });
        write_icv(packet, icv);
        opened
    }
}

fn write_icv(packet: &mut [u8], icv: [u8; ICV_LEN]) {
    if let Some(place) = packet.last_chunk_mut() {
        *place = icv;
    }
}

/// Calls `compute` with the IV and the AAD. The ICV is gone afterwards.
fn with_aad(
    packet: &mut [u8],
    high: Option<u32>,
    compute: impl FnOnce([u8; IV_LEN], &[u8]) -> Result<(), DropReason>,
) -> Result<(), DropReason> {
    let end = packet.len().checked_sub(ICV_LEN).ok_or(DropReason::TooShort)?;
    let iv = packet.get(ESP_HEADER_LEN..end).and_then(|rest| rest.first_chunk().copied());
    let iv = iv.ok_or(DropReason::TooShort)?;
    let Some(high) = high else {
        return compute(iv, packet.get(..end).unwrap_or_default());
    };
    packet.copy_within(SPI_LEN..end, SPI_LEN + HIGH_LEN);
    if let Some(place) = packet.get_mut(SPI_LEN..).and_then(|rest| rest.first_chunk_mut()) {
        *place = high.to_be_bytes();
    }
    let done = compute(iv, packet.get(..end + HIGH_LEN).unwrap_or_default());
    packet.copy_within(SPI_LEN + HIGH_LEN..end + HIGH_LEN, SPI_LEN);
    done
}

const SPI_LEN: usize = 4;
const HIGH_LEN: usize = 4;
const IV_LEN: usize = 8;
const ICV_LEN: usize = 16;
