//! A small certificate authority for a first try, in a directory of files: what `s2s-gw pki` does.
//!
//! ```text
//!   DIR/ca.pem  ca.key          authority.rs    made once; signs, and revokes
//!   DIR/SITE.pem  SITE.key      make.rs         one for each gateway; the name of the site is the identity in its certificate
//!   DIR/revoked  crl.pem        revoke.rs       what was revoked, once something was
//!                               advice.rs       what to put where, and the lines of the configuration of each site
//!                               files.rs        keys with mode 0600; nothing is overwritten unless that is asked for
//!   PEM of any origin           show.rs         subject, names, validity, issuer, key, fingerprints
//! ```
//!
//! Who has a certificate authority already needs none of this: every PEM file will do.

mod advice;
mod authority;
mod files;
mod make;
mod revoke;
mod show;

pub use authority::KeyKind;
pub use make::{Made, MakeError, Site, Wanted, make};
pub use revoke::{Revoked, revoke};
pub use show::{Shown, show};
