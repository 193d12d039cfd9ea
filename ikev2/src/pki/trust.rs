//! Whom we believe when a peer shows certificates.

use super::{Certificate, Crl};

/// What a peer's certificate is held against. Anchors and pinned certificates may both be there; one of them is enough.
///
/// A certificate of a CA's chain has to be valid at the moment of authentication, be for the peer's identity (RFC 4945
/// §3.1: its alternative names, or its subject for a DN; never the CN alone), be allowed to sign, and not be revoked. A pinned
/// one needs no CA; the rest holds for it too.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CertificateTrust {
    /// The CAs that may have issued the peer's certificate, themselves or through others. They are trusted because they
    /// are here: of an anchor only the name, the key and the name constraints count, not its own validity.
    pub anchors: Vec<Certificate>,
    /// The very certificates that the peer may use. A peer that does not send one is tried with these.
    pub pinned: Vec<Certificate>,
    /// Revocation lists of the CAs, as far as they are at hand.
    pub crls: Vec<Crl>,
    /// What a missing list means.
    pub crl_policy: CrlPolicy,
}

/// What it means that no revocation list tells about a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CrlPolicy {
    /// Nothing; only a certificate that a list names is refused, even if a newer list is due.
    #[default]
    IfPresent,
    /// That it is refused: each certificate below the anchor needs a list of its issuer that is not out of date.
    Require,
}
