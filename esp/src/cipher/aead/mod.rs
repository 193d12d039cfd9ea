//! Combined modes that encrypt: AES-GCM (RFC 4106), AES-CCM (RFC 4309), ChaCha20-Poly1305 (RFC 7634), and their forms with
//! an implicit IV (RFC 8750).
//!
//! ```text
//! nonce   | salt 4, CCM 3 | IV 8: the 64-bit sequence number, sent, or known to both |
//! AAD     | SPI 4 | seq 4 |    or with ESN    | SPI 4 | seq high 4 | seq low 4 |
//!
//! InPlace   seal(nonce, AAD, body, ICV)    open(nonce, AAD, body, ICV)    a library's key; knows nothing of ESP
//!    fast::Key       ring, or AWS-LC with the feature `aws-lc`: GCM-16 with 128 and 256 bits, ChaCha20-Poly1305
//!    rust::key       RustCrypto: all of them, and those two where neither feature is on
//! ```
//!
//! The IV only has to be unique under its key. Both directions have keys of their own, and the number of an SA never
//! repeats.

#[cfg(feature = "aws-lc")]
#[path = "aws_lc.rs"]
pub(super) mod fast;
#[cfg(all(feature = "ring", not(feature = "aws-lc")))]
#[path = "ring.rs"]
pub(super) mod fast;
#[cfg(not(any(feature = "ring", feature = "aws-lc")))]
#[path = "none.rs"]
pub(super) mod fast;
pub(super) mod rust;

use zeroize::Zeroizing;

use super::Run;
use crate::{
    header::{ESP_HEADER_LEN, Layout, Parts},
    reason::DropReason,
    suite::{Aead, Suite},
};

/// An expanded key of an algorithm that seals a body in place, and authenticates what comes before it.
pub(super) trait InPlace {
    /// Encrypts `body`. `nonce` must never have been used with this key.
    fn seal(
        &self,
        nonce: &[u8],
        aad: &[u8],
        body: &mut [u8],
        icv: &mut [u8],
    ) -> Result<(), DropReason>;

    /// Decrypts `body`, which is unspecified if the ICV is wrong.
    fn open(&self, nonce: &[u8], aad: &[u8], body: &mut [u8], icv: &[u8])
    -> Result<(), DropReason>;
}

/// Expanded key and salt; the same for both directions.
pub(crate) struct AeadKey {
    backend: Backend,
    salt: Salt,
    layout: Layout,
}

enum Backend {
    Fast(Box<fast::Key>),
    Rust(Box<rust::Key>),
}

impl AeadKey {
    /// From key and salt as IKE derives them; `None` if their length is wrong.
    pub(crate) fn new(aead: Aead, key_and_salt: &[u8]) -> Option<Self> {
        let suite = Suite::Combined(aead);
        let (key, salt) = Salt::split(key_and_salt, suite.salt_len())?;
        let backend = match fast::Key::new(aead, key) {
            Some(key) => Backend::Fast(Box::new(key)),
            None => Backend::Rust(rust::key(aead, key)?),
        };
        Some(Self { backend, salt, layout: Layout::of(suite) })
    }

    pub(crate) fn seal(&self, run: &mut Run<'_>) -> Result<(), DropReason> {
        match &self.backend {
            Backend::Fast(key) => self.seal_by(&**key, run),
            Backend::Rust(key) => self.seal_by(&**key, run),
        }
    }

    pub(crate) fn open(&self, packet: &mut [u8], high: Option<u32>) -> Result<(), DropReason> {
        match &self.backend {
            Backend::Fast(key) => self.open_by(&**key, packet, high),
            Backend::Rust(key) => self.open_by(&**key, packet, high),
        }
    }

    fn seal_by(&self, key: &(impl InPlace + ?Sized), run: &mut Run<'_>) -> Result<(), DropReason> {
        for (packet, high) in run.iter() {
            let parts = Parts::split(packet, self.layout).ok_or(DropReason::TooShort)?;
            let (nonce, aad) = (self.nonce(&parts, high), aad(*parts.header, high));
            key.seal(nonce.octets(), aad.octets(), parts.body, parts.icv)?;
        }
        Ok(())
    }

    fn open_by(
        &self,
        key: &(impl InPlace + ?Sized),
        packet: &mut [u8],
        high: Option<u32>,
    ) -> Result<(), DropReason> {
        let parts = Parts::split(packet, self.layout).ok_or(DropReason::TooShort)?;
        let (nonce, aad) = (self.nonce(&parts, high), aad(*parts.header, high));
        key.open(nonce.octets(), aad.octets(), parts.body, parts.icv)
    }

    fn nonce(&self, parts: &Parts<'_>, high: Option<u32>) -> Octets {
        let iv = parts.iv.as_array().copied();
        self.salt.nonce(iv.unwrap_or_else(|| implicit_iv(*parts.header, high)))
    }
}

/// The sequence number with zeros before it, or the extended one (RFC 8750 §4).
fn implicit_iv(header: [u8; ESP_HEADER_LEN], high: Option<u32>) -> [u8; IV_LEN] {
    let [_, _, _, _, l0, l1, l2, l3] = header;
    let [h0, h1, h2, h3] = high.unwrap_or(0).to_be_bytes();
    [h0, h1, h2, h3, l0, l1, l2, l3]
}

/// What comes before the IV in a nonce; three or four octets, the first one lowest.
///
/// Nonce and AAD are put together in registers, as numbers, and stored whole: what is stored in pieces and read at once
/// by the cipher waits until the pieces have reached the cache, which costs as much as the smallest of packets.
pub(super) struct Salt {
    number: Zeroizing<u128>,
    len: usize,
}

impl Salt {
    /// Cuts the salt, of `len` octets, off the end of a key.
    pub(super) fn split(key_and_salt: &[u8], len: usize) -> Option<(&[u8], Self)> {
        let (key, salt) = key_and_salt.split_at_checked(key_and_salt.len().checked_sub(len)?)?;
        let number = salt.iter().rev().fold(0, |number, &octet| number << 8 | u128::from(octet));
        Some((key, Self { number: Zeroizing::new(number), len }))
    }

    #[inline]
    pub(super) fn nonce(&self, iv: [u8; IV_LEN]) -> Octets {
        let iv = u128::from(u64::from_le_bytes(iv)) << (8 * self.len);
        Octets { octets: (*self.number | iv).to_le_bytes(), len: self.len + IV_LEN }
    }
}

/// AAD of one packet: 8 octets, or 12 with ESN.
#[inline]
fn aad(header: [u8; ESP_HEADER_LEN], high: Option<u32>) -> Octets {
    let header = u64::from_le_bytes(header);
    let (number, len) = match high {
        None => (u128::from(header), ESP_HEADER_LEN),
        Some(high) => {
            let (spi, low) = (header & u64::from(u32::MAX), header >> 32);
            let spi_and_high = spi | u64::from(high.to_be()) << 32;
            (u128::from(low) << 64 | u128::from(spi_and_high), ESP_HEADER_LEN + 4)
        }
    };
    Octets { octets: number.to_le_bytes(), len }
}

/// At most 16 octets.
pub(super) struct Octets {
    octets: [u8; 16],
    len: usize,
}

impl Octets {
    #[inline]
    pub(super) fn octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }
}

pub(super) const IV_LEN: usize = 8;
