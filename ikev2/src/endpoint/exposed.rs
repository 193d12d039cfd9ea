//! The keys of IKE SAs as octets, for programs that look into recorded messages; only where the embedder asked for it.
//!
//! ```text
//!   EndpointConfig::expose_keys = false   the ciphers have their keys, nobody else does           (the default)
//!                                 true    each SA keeps a copy of SK_e and SK_a until it is gone
//!   Endpoint::exposed_keys(peer)  ──►     [ SPIs, suite, SK_ei, SK_er, SK_ai, SK_ar ]              empty without it
//! ```
//!
//! SK_d and SK_p are not among them: with these keys recorded messages can be read, and nothing more be derived from them but
//! what an exchange itself says.

use zeroize::Zeroizing;

use super::Endpoint;
use crate::crypto::keymat::IkeKeys;
use crate::crypto::suite::IkeSuite;
use crate::event::PeerId;
use crate::wire::header::IkeSpi;

/// What protects the messages of one IKE SA (RFC 7296 §2.14). Wiped on drop, never printed.
pub struct ExposedKeys {
    /// SPIs as every header has them: of the original initiator, of the original responder.
    pub spis: (u64, u64),
    /// The algorithms.
    pub suite: IkeSuite,
    /// Encryption, original initiator to responder; for AEAD ciphers with the salt behind the key (RFC 5282 §7.1).
    pub sk_ei: Zeroizing<Vec<u8>>,
    /// Encryption, original responder to initiator.
    pub sk_er: Zeroizing<Vec<u8>>,
    /// Integrity, original initiator to responder; empty for AEAD ciphers.
    pub sk_ai: Zeroizing<Vec<u8>>,
    /// Integrity, original responder to initiator; empty for AEAD ciphers.
    pub sk_ar: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ExposedKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ExposedKeys(hidden)")
    }
}

/// The copy that an SA keeps.
#[expect(clippy::struct_field_names, reason = "the names of RFC 7296 §2.14")]
pub(crate) struct Kept {
    sk_ei: Zeroizing<Vec<u8>>,
    sk_er: Zeroizing<Vec<u8>>,
    sk_ai: Zeroizing<Vec<u8>>,
    sk_ar: Zeroizing<Vec<u8>>,
}

impl Kept {
    pub(crate) fn of(keys: &IkeKeys) -> Self {
        let IkeKeys { sk_ei, sk_er, sk_ai, sk_ar, .. } = keys;
        Self {
            sk_ei: sk_ei.clone(),
            sk_er: sk_er.clone(),
            sk_ai: sk_ai.clone(),
            sk_ar: sk_ar.clone(),
        }
    }

    /// A copy of the copy, with what it belongs to.
    pub(crate) fn exposed(&self, spis: (IkeSpi, IkeSpi), suite: IkeSuite) -> ExposedKeys {
        ExposedKeys {
            spis: (spis.0.0, spis.1.0),
            suite,
            sk_ei: self.sk_ei.clone(),
            sk_er: self.sk_er.clone(),
            sk_ai: self.sk_ai.clone(),
            sk_ar: self.sk_ar.clone(),
        }
    }
}

impl Endpoint {
    /// The keys of the IKE SAs with this peer that have any, the oldest first: those in use, half open, or replaced and not
    /// gone yet. Empty unless [`EndpointConfig::expose_keys`](crate::EndpointConfig::expose_keys) was set from the start, and
    /// where there is no such peer.
    ///
    /// Whoever has them reads what was said on these SAs. They make no SA and prove no identity.
    #[must_use]
    pub fn exposed_keys(&self, peer: PeerId) -> Vec<ExposedKeys> {
        let Some(state) = self.peers.get(peer) else { return Vec::new() };
        state.sas.iter().filter_map(|spi| self.sas.get(spi)?.exposed()).collect()
    }

    /// Whose the IKE SA is that has this SPI of ours; `None` while that is not known, and where there is none. For names beside
    /// recorded messages.
    #[must_use]
    pub fn peer_of_spi(&self, ours: u64) -> Option<PeerId> {
        self.peers.owner(IkeSpi(ours))
    }
}
