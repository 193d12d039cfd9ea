//! AES-GCM with a 16-octet ICV (RFC 4106), by `ring`, or by AWS-LC with the feature `aws-lc`.
//!
//! ```text
//! nonce   | salt 4, from IKE | IV 8, on the wire: the 64-bit sequence number |              (§4)
//! AAD     | SPI 4 | seq 4 |    or with ESN    | SPI 4 | seq high 4 | seq low 4 |            (§5)
//!
//! backend::Key    new(key)    seal(nonce, AAD, body, ICV)    open(nonce, AAD, body, ICV)    knows nothing of ESP
//! ```
//!
//! The IV only has to be unique under its key (§3.1). Both directions have keys of their own, and the number of an
//! SA never repeats.

#[cfg(feature = "aws-lc")]
#[path = "aws_lc.rs"]
mod backend;
#[cfg(not(feature = "aws-lc"))]
#[path = "ring.rs"]
mod backend;

use zeroize::Zeroizing;

use crate::{
    header::{ESP_HEADER_LEN, Parts},
    reason::DropReason,
    suite::GCM_SALT_LEN,
};

/// Expanded key and salt; the same for both directions.
pub(crate) struct GcmKey {
    key: backend::Key,
    salt: Zeroizing<[u8; GCM_SALT_LEN]>,
}

impl GcmKey {
    /// From key and salt as IKE derives them; `None` if the key has neither 16 nor 32 octets.
    pub(crate) fn new(key_and_salt: &[u8]) -> Option<Self> {
        let (key, salt) = key_and_salt.split_last_chunk::<GCM_SALT_LEN>()?;
        Some(Self { key: backend::Key::new(key)?, salt: Zeroizing::new(*salt) })
    }

    pub(crate) fn seal(&self, parts: &mut Parts<'_>, high: Option<u32>) -> Result<(), DropReason> {
        let nonce = self.nonce(parts.iv).ok_or(DropReason::TooShort)?;
        let aad = AadOctets::new(*parts.header, high);
        let icv = parts.icv.as_mut_array().ok_or(DropReason::TooShort)?;
        self.key.seal(nonce, aad.octets(), parts.body, icv)
    }

    pub(crate) fn open(&self, parts: &mut Parts<'_>, high: Option<u32>) -> Result<(), DropReason> {
        let nonce = self.nonce(parts.iv).ok_or(DropReason::TooShort)?;
        let aad = AadOctets::new(*parts.header, high);
        let icv = parts.icv.as_array().ok_or(DropReason::TooShort)?;
        self.key.open(nonce, aad.octets(), parts.body, icv)
    }

    fn nonce(&self, iv: &[u8]) -> Option<[u8; NONCE_LEN]> {
        let mut nonce = [0; NONCE_LEN];
        let (salt, rest) = nonce.split_at_mut(GCM_SALT_LEN);
        salt.copy_from_slice(&*self.salt);
        rest.copy_from_slice(iv.first_chunk::<IV_LEN>()?);
        Some(nonce)
    }
}

/// The sequence number, big-endian; `iv` has 8 octets.
pub(crate) fn write_iv(iv: &mut [u8], sequence: u64) {
    iv.copy_from_slice(&sequence.to_be_bytes());
}

/// AAD of one packet: 8 octets, or 12 with ESN.
struct AadOctets {
    octets: [u8; ESP_HEADER_LEN + 4],
    len: usize,
}

impl AadOctets {
    fn new(header: [u8; ESP_HEADER_LEN], high: Option<u32>) -> Self {
        let [s0, s1, s2, s3, l0, l1, l2, l3] = header;
        match high {
            None => {
                Self { octets: [s0, s1, s2, s3, l0, l1, l2, l3, 0, 0, 0, 0], len: ESP_HEADER_LEN }
            }
            Some(high) => {
                let [h0, h1, h2, h3] = high.to_be_bytes();
                Self {
                    octets: [s0, s1, s2, s3, h0, h1, h2, h3, l0, l1, l2, l3],
                    len: ESP_HEADER_LEN + 4,
                }
            }
        }
    }

    fn octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }
}

const IV_LEN: usize = 8;
const NONCE_LEN: usize = GCM_SALT_LEN + IV_LEN;
const ICV_LEN: usize = 16;
