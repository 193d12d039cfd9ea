//! A small certificate authority for a first try, in a directory of files: what `s2s-gw pki` does.
//!
//! ```text
//!   DIR/ca.pem  ca.key          authority.rs    made once; signs, and revokes
//!   DIR/SITE.pem  SITE.key      one for each gateway; the name of the site is the identity in its certificate
//!   DIR/crl.pem                 what was revoked, once something was
//!                               files.rs        keys with mode 0600; nothing is overwritten unless that is asked for
//!   PEM of any origin           facts.rs        subject, names, validity, issuer, key, fingerprint
//! ```
//!
//! Who has a certificate authority already needs none of this: every PEM file will do.

mod authority;
mod files;

pub use authority::{Authority, Issued, KeyKind, PkiError, Validity};
pub use files::{Directory, FileError};
