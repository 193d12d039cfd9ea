//! AES-GCM with a 16-octet ICV (RFC 4106), by `ring`.
//!
//! ```text
//! nonce   | salt 4, from IKE | IV 8, on the wire: the 64-bit sequence number |              (§4)
//! AAD     | SPI 4 | seq 4 |    or with ESN    | SPI 4 | seq high 4 | seq low 4 |            (§5)
//! ```
//!
//! The IV only has to be unique under its key (§3.1). Both directions have keys of their own, and the number of an
//! SA never repeats.

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use zeroize::Zeroizing;

use crate::{
    header::{ESP_HEADER_LEN, Parts},
    reason::DropReason,
    suite::GCM_SALT_LEN,
};

/// Expanded key and salt; the same for both directions.
pub(crate) struct GcmKey {
    key: LessSafeKey,
    salt: Zeroizing<[u8; GCM_SALT_LEN]>,
}

impl GcmKey {
    /// From key and salt as IKE derives them; `None` if the key has neither 16 nor 32 octets.
    pub(crate) fn new(key_and_salt: &[u8]) -> Option<Self> {
        let (key, salt) = key_and_salt.split_last_chunk::<GCM_SALT_LEN>()?;
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            32 => &AES_256_GCM,
            _ => return None,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
        Some(Self { key, salt: Zeroizing::new(*salt) })
    }

    pub(crate) fn seal(&self, parts: &mut Parts<'_>, high: Option<u32>) -> Result<(), DropReason> {
        let nonce = self.nonce(parts.iv).ok_or(DropReason::TooShort)?;
        let aad = AadOctets::new(*parts.header, high);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(aad.octets()), parts.body)
            .map_err(|_| DropReason::TooBig)?;
        parts.icv.copy_from_slice(tag.as_ref());
        Ok(())
    }

    pub(crate) fn open(&self, parts: &mut Parts<'_>, high: Option<u32>) -> Result<(), DropReason> {
        let nonce = self.nonce(parts.iv).ok_or(DropReason::TooShort)?;
        let aad = AadOctets::new(*parts.header, high);
        let tag = Tag::try_from(&*parts.icv).map_err(|_| DropReason::TooShort)?;
        self.key
            .open_in_place_separate_tag(nonce, Aad::from(aad.octets()), tag, parts.body, 0..)
            .map(|_| ())
            .map_err(|_| DropReason::BadIcv)
    }

    fn nonce(&self, iv: &[u8]) -> Option<Nonce> {
        let mut nonce = [0; GCM_SALT_LEN + IV_LEN];
        let (salt, rest) = nonce.split_at_mut(GCM_SALT_LEN);
        salt.copy_from_slice(&*self.salt);
        rest.copy_from_slice(iv.first_chunk::<IV_LEN>()?);
        Some(Nonce::assume_unique_for_key(nonce))
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
