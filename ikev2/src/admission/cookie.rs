//! Cookies that need no memory (RFC 7296 §2.6): proof that the initiator receives at the address that it sends from.
//!
//! ```text
//!   cookie = version of the secret, 1 octet | first 16 octets of HMAC-SHA2-256(secret, 4 or 6 | address | SPIi | Ni)
//!
//!   secret n    |── bakes, 30 s ──|── still accepted, 30 s ──|
//!   secret n+1                    |── bakes, 30 s ───────────|── still accepted ...
//! ```
//!
//! - Ni and SPIi are in it, so that who sees only our answer cannot use it, and one cookie begins one SA.
//! - The KE and SA payloads are not: a cookie stays good when the initiator comes back with another group (§2.6.1).
//! - The port is not: a NAT may map the second request to another port, and an initiator may go on from port 4500. To
//!   leave it out costs little, for whoever can use another port of the address can get a cookie there as well; the share
//!   of its network bounds what it begins.
//! - A secret is drawn when the first cookie after its predecessor's time is baked: no timer, nothing while all is quiet.

use std::net::IpAddr;
use std::ops::Deref;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::claim::Claim;
use crate::crypto::prf::Prf;

/// How long a secret bakes cookies. As long again they are accepted, which is longer than any attempt of ours; whoever
/// is slower gets a fresh one.
pub(super) const PERIOD: Duration = Duration::from_secs(30);
/// Octets of a cookie; RFC 7296 §2.6 allows 64.
pub(super) const LEN: usize = 1 + MAC_LEN;
/// No forger tries 2^64 of them within a minute.
const MAC_LEN: usize = 16;

/// A cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cookie([u8; LEN]);

impl Deref for Cookie {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The secrets in use.
#[derive(Default)]
pub(super) struct Jar {
    current: Option<Secret>,
    previous: Option<Secret>,
}

struct Secret {
    version: u8,
    key: Zeroizing<[u8; 32]>,
    born: Instant,
}

impl Jar {
    /// The cookie for this request.
    pub(super) fn bake(
        &mut self,
        now: Instant,
        claim: &Claim<'_>,
        rng: &mut impl CryptoRng,
    ) -> Cookie {
        let version = match self.current.take() {
            Some(current) if now < current.born + PERIOD => {
                return self.current.insert(current).bake(claim);
            }
            worn_out => {
                let version = worn_out.as_ref().map_or(0, |old| old.version.wrapping_add(1));
                self.previous = worn_out;
                version
            }
        };
        let mut key = Zeroizing::new([0; 32]);
        rng.fill_bytes(key.as_mut());
        self.current.insert(Secret { version, key, born: now }).bake(claim)
    }

    /// Whether the request carries a cookie that we baked for its sender, its SPI and its nonce, not too long ago.
    pub(super) fn accepts(&self, now: Instant, claim: &Claim<'_>) -> bool {
        let Some(shown) = claim.cookie else { return false };
        [&self.current, &self.previous].into_iter().flatten().any(|secret| {
            // `ct_eq` of slices compares their lengths first, and those are no secret.
            now < secret.born + 2 * PERIOD && bool::from(secret.bake(claim).ct_eq(shown))
        })
    }
}

impl Secret {
    fn bake(&self, claim: &Claim<'_>) -> Cookie {
        let (family, address) = match claim.remote.ip() {
            IpAddr::V4(address) => ([4], address.octets().to_vec()),
            IpAddr::V6(address) => ([6], address.octets().to_vec()),
        };
        let parts: [&[u8]; 4] = [&family, &address, &claim.spi_i().octets(), claim.nonce];
        let mac = Prf::HmacSha2_256.compute(self.key.as_ref(), &parts);
        let mut cookie = [self.version; LEN];
        for (octet, mac) in cookie.iter_mut().skip(1).zip(mac.iter()) {
            *octet = *mac;
        }
        Cookie(cookie)
    }
}
