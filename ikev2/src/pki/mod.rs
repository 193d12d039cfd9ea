//! Keys and certificates: what the AUTH payload of RFC 7296 §2.15 is signed with, and what a peer's signature is held against.
//!
//! ```text
//!   ours    credential.rs: private key + chain of Certificates (leaf first), or the bare key           ─► crypto/signature.rs signs
//!   theirs  trust.rs: CAs + pinned leaves + lists (crl.rs) + CrlPolicy, or one PublicKey               ─► crypto/signature.rs verifies
//!
//!   CERT payloads ─► chain.rs: readable, names the identity, may sign, valid now, issued by a CA of ours, not revoked
//!                    else AuthProblem, which says what is wrong in a sentence (problem.rs)
//! ```
//!
//! Everything comes in as DER octets: no file is read and nothing is fetched, whatever a certificate names (AIA, CRL
//! distribution points, hash-and-URL). Moments are seconds since 1970-01-01T00:00:00Z; the caller tells the endpoint what
//! time it is by [`set_wall_clock`](crate::Endpoint::set_wall_clock).

mod certificate;
pub(crate) mod chain;
mod credential;
mod crl;
mod key;
mod problem;
mod trust;

pub use self::certificate::Certificate;
pub use self::credential::{Credential, RsaPadding};
pub use self::crl::Crl;
pub use self::key::{KeyKind, PublicKey};
pub(crate) use self::key::{bits, oid};
pub use self::problem::{AuthProblem, PkiError};
pub use self::trust::{CertificateTrust, CrlPolicy};
pub use crate::wire::name::DistinguishedName;

#[cfg(test)]
mod tests;
