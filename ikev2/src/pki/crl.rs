//! A certificate revocation list (RFC 5280 §5), given as a file and checked against its issuer's key when a chain is.

use std::fmt;
use std::sync::Arc;

use der::{Decode, Encode};
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_cert::crl::CertificateList;

use super::PkiError;
use crate::wire::name::DistinguishedName;

/// A list of certificates that their issuer took back. A copy is cheap.
#[derive(Clone)]
pub struct Crl(Arc<Inner>);

struct Inner {
    list: CertRevocationList<'static>,
    issuer: DistinguishedName,
    this_update: u64,
    next_update: Option<u64>,
    revoked: usize,
}

impl Crl {
    /// Reads the DER of a list of version 2. Delta lists are refused.
    ///
    /// # Errors
    /// If it is none that can be used.
    pub fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        let bad = |error: der::Error| PkiError::Crl(error.to_string());
        let read: CertificateList = CertificateList::from_der(der).map_err(bad)?;
        let list = OwnedCertRevocationList::from_der(der)
            .map_err(|error| PkiError::Crl(error.to_string()))?;
        let issuer = read.tbs_cert_list.issuer.to_der().map_err(bad)?;
        let issuer = DistinguishedName::from_der(&issuer)
            .ok_or_else(|| PkiError::Crl("its issuer is malformed".into()))?;
        let tbs = &read.tbs_cert_list;
        Ok(Self(Arc::new(Inner {
            list: list.into(),
            issuer,
            this_update: tbs.this_update.to_unix_duration().as_secs(),
            next_update: tbs.next_update.map(|time| time.to_unix_duration().as_secs()),
            revoked: tbs.revoked_certificates.as_ref().map_or(0, Vec::len),
        })))
    }

    /// Whose certificates it is about.
    #[must_use]
    pub fn issuer(&self) -> &DistinguishedName {
        &self.0.issuer
    }

    /// When it was made, in seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn this_update(&self) -> u64 {
        self.0.this_update
    }

    /// When a newer one will be there at the latest, in seconds since 1970; it is out of date from then on.
    #[must_use]
    pub fn next_update(&self) -> Option<u64> {
        self.0.next_update
    }

    /// How many certificates it names.
    #[must_use]
    pub fn revoked(&self) -> usize {
        self.0.revoked
    }

    pub(super) fn list(&self) -> &CertRevocationList<'static> {
        &self.0.list
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crl(of {}, {} revoked)", self.issuer(), self.revoked())
    }
}
