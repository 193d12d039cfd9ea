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

/// A new COOKIE2, which the peer cannot guess (RFC 4555 §4.2.5 wants 8 to 64 octets).
pub(crate) fn cookie(rng: &mut impl CryptoRng) -> [u8; 16] {
    let mut cookie = [0; 16];
    rng.fill_bytes(&mut cookie);
    cookie
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn a_seed_decides_everything_and_seeds_differ() {
        let draw = |seed| {
            let mut rng = ChaCha20Rng::from_seed([seed; 32]);
            (ike_spi(&mut rng), esp_spi(&mut rng), nonce(&mut rng))
        };
        assert_eq!(draw(1), draw(1));
        let (one, other) = (draw(1), draw(2));
        assert!(one.0 != other.0 && one.1 != other.1 && one.2 != other.2);
    }

    /// A generator that counts up, so that the reserved SPIs come first.
    struct Counting(u64);

    impl rand_core::TryRng for Counting {
        type Error = std::convert::Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            self.try_next_u64().map(|n| u32::try_from(n).unwrap())
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            self.0 += 1;
            Ok(self.0 - 1)
        }

        fn try_fill_bytes(&mut self, octets: &mut [u8]) -> Result<(), Self::Error> {
            octets.fill(0);
            Ok(())
        }
    }

    impl rand_core::TryCryptoRng for Counting {}

    #[test]
    fn reserved_spis_are_drawn_again() {
        assert_eq!(ike_spi(&mut Counting(0)), IkeSpi(1));
        assert_eq!(esp_spi(&mut Counting(0)).0.get(), 256);
    }
}
