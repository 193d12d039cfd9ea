//! Negotiated algorithms.

use crate::registry::{EncrId, IntegId, KeMethod, PrfId};

/// The algorithms of an IKE SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IkeSuite {
    /// Cipher.
    pub encr: EncrId,
    /// Cipher key length.
    pub key_bits: u16,
    /// PRF.
    pub prf: PrfId,
    /// Integrity; `None` for AEAD ciphers.
    pub integ: Option<IntegId>,
    /// Key exchange.
    pub ke: KeMethod,
}

/// The algorithms of a child SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildSuite {
    /// Cipher.
    pub encr: EncrId,
    /// Cipher key length.
    pub key_bits: u16,
    /// Integrity; `None` for AEAD ciphers.
    pub integ: Option<IntegId>,
    /// Extended sequence numbers.
    pub esn: bool,
    /// The key exchange of this child; `None` if its keys come from SK_d alone.
    pub ke: Option<KeMethod>,
}
