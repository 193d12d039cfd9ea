//! What we prove our identity with: a private key, and the certificates that go with it.
//!
//! ```text
//!   PKCS#8    { rsaEncryption, RSAPrivateKey }  ┐
//!             { id-ecPublicKey, ECPrivateKey }  │
//!             { id-Ed25519, OCTET STRING }      ├─► SigningKey ─── its public half has to be that of the first certificate
//!   PKCS#1      RSAPrivateKey                   │
//!   SEC1        ECPrivateKey with its curve     ┘
//! ```
//!
//! A copy of the octets that are made here is wiped. What `ring` keeps of an RSA or Ed25519 key is not.

use std::fmt;

use super::{Certificate, PkiError, PublicKey};
use crate::crypto::signature::SigningKey;

/// A private key, with the certificates that say whose it is, or bare (RFC 7670). Never printed.
pub struct Credential {
    key: SigningKey,
    public: PublicKey,
    chain: Vec<Certificate>,
    rsa_padding: RsaPadding,
}

/// How an RSA key signs for a peer that knows RFC 7427. It cannot be negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RsaPadding {
    /// RSASSA-PSS, as RFC 8247 §3.2 wants.
    #[default]
    Pss,
    /// RSASSA-PKCS1-v1_5, for peers that do not know the other.
    Pkcs1,
}

impl Credential {
    /// The longest chain that we send, and take.
    pub const MAX_CHAIN: usize = 8;

    /// A certified key: DER of the private key (PKCS#8, PKCS#1 or SEC1), and the certificates, that of the key first, each
    /// followed by that of its issuer. The root need not be there, for the peer has it.
    ///
    /// # Errors
    /// If the key cannot be read or used, does not fit the first certificate, or the chain is not one.
    pub fn certified(key: &[u8], chain: Vec<Certificate>) -> Result<Self, PkiError> {
        let leaf = chain.first().ok_or(PkiError::NoCertificate)?;
        if chain.len() > Self::MAX_CHAIN {
            return Err(PkiError::TooManyCertificates(chain.len()));
        }
        for (one, next) in chain.iter().zip(chain.iter().skip(1)) {
            if one.issuer() != next.subject() {
                return Err(PkiError::ChainOrder {
                    subject: one.subject().clone(),
                    issuer: one.issuer().clone(),
                    next: next.subject().clone(),
                });
            }
        }
        let (signing, public) = SigningKey::from_der(key)?;
        if *leaf.public_key() != public {
            return Err(PkiError::KeyDoesNotFit {
                subject: leaf.subject().clone(),
                certified: leaf.public_key().kind(),
                key: public.kind(),
            });
        }
        Ok(Self { key: signing, public, chain, rsa_padding: RsaPadding::default() })
    }

    /// A bare key, which the peer has to know.
    ///
    /// # Errors
    /// If it cannot be read or used.
    pub fn raw(key: &[u8]) -> Result<Self, PkiError> {
        let (key, public) = SigningKey::from_der(key)?;
        Ok(Self { key, public, chain: Vec::new(), rsa_padding: RsaPadding::default() })
    }

    /// The same with another padding; without effect on keys that are not RSA.
    #[must_use]
    pub fn with_rsa_padding(mut self, padding: RsaPadding) -> Self {
        self.rsa_padding = padding;
        self
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The certificate of the key; `None` if it is bare.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        self.chain.first()
    }

    /// All certificates, that of the key first.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    pub(crate) fn key(&self) -> &SigningKey {
        &self.key
    }

    pub(crate) fn rsa_padding(&self) -> RsaPadding {
        self.rsa_padding
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({:?}, {} certificates)", self.public, self.chain.len())
    }
}
