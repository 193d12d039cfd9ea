//! Proposals and transforms of the SA payload (RFC 7296 §3.3).

use crate::registry::{EncrId, IntegId, KeMethod, PrfId, ProtocolId, SnId};

/// One set of algorithms that may be combined freely, one of each type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// IKE or ESP.
    pub protocol: ProtocolId,
    /// SPI of the SA to be made: empty in a first IKE_SA_INIT, 8 octets on IKE rekey, 4 for ESP.
    pub spi: Vec<u8>,
    /// The algorithms; the order within one type is the preference.
    pub transforms: Vec<Transform>,
}

/// One algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transform {
    /// Cipher, with its key length in bits where the cipher has several.
    Encr(EncrId, Option<u16>),
    /// Pseudorandom function (IKE only).
    Prf(PrfId),
    /// Integrity.
    Integ(IntegId),
    /// Key exchange.
    Ke(KeMethod),
    /// Sequence numbers (ESP only).
    Sn(SnId),
    /// A type or attribute that we do not know: never chosen (RFC 7296 §3.3.6).
    Unknown {
        /// Transform type.
        kind: u8,
        /// Transform ID.
        id: u16,
    },
}
