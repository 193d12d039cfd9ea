//! Random values that go over the wire. The generator is the endpoint's, seeded once, so a seed decides every octet.
//!
//! ```text
//!   seed, 32 octets ──► ChaCha20Rng ──► IKE SPIs, ESP SPIs, nonces, private keys, CBC IVs
//! ```

use std::num::NonZeroU32;

use rand_core::CryptoRng;

use crate::event::EspSpi;
use crate::wire::header::IkeSpi;

/// Octets of our nonces. RFC 7296 §2.10 demands 16 to 256, and at least half the key length of the PRF, which is 32 for
/// HMAC-SHA2-512.
pub(crate) const NONCE_LEN: usize = 32;

/// A new SPI for an IKE SA, never zero (RFC 7296 §3.1).
pub(crate) fn ike_spi(rng: &mut impl CryptoRng) -> IkeSpi {
    loop {
        let spi = rng.next_u64();
        if spi != 0 {
            return IkeSpi(spi);
        }
    }
}

/// A new SPI for an inbound ESP SA. Zero and 1 to 255 are reserved (RFC 4303 §2.1). Whether another SA of ours has it
/// already is for the caller to see.
pub(crate) fn esp_spi(rng: &mut impl CryptoRng) -> EspSpi {
    loop {
        let spi = rng.next_u32();
        if let Some(spi) = NonZeroU32::new(spi).filter(|spi| spi.get() > 255) {
            return EspSpi(spi);
        }
    }
}

/// A new nonce.
pub(crate) fn nonce(rng: &mut impl CryptoRng) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    rng.fill_bytes(&mut nonce);
    nonce
}
