//! Certificates and the wish for them: CERT (RFC 7296 §3.6) and CERTREQ (§3.7).
//!
//! ```text
//! CERT:     | encoding, 1 | one certificate, or one public key ...                    a chain is several payloads, leaf first
//! CERTREQ:  | encoding, 1 | SHA-1 of the public key of a CA, 20 | 20 | 20 ...         none: whichever
//!
//! encodings:  4  X.509, DER            15  SubjectPublicKeyInfo, DER (RFC 7670)       others are passed over
//! ```
//!
//! Hash-and-URL (12, 13) are among the others: nothing is ever fetched because a message names it.

use super::Error;
use super::cursor::Reader;
use crate::registry::CertEncoding;

/// One CERT payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cert<'m> {
    /// What `data` is.
    pub encoding: CertEncoding,
    /// The certificate or key.
    pub data: &'m [u8],
}

impl<'m> Cert<'m> {
    pub(super) fn parse(body: &'m [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("certificate payload", body);
        let encoding = CertEncoding(reader.u8()?);
        Ok(Self { encoding, data: reader.rest() })
    }
}

/// One CERTREQ payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertRequest<'m> {
    /// What is asked for.
    pub encoding: CertEncoding,
    /// For X.509: the hashes of the CAs, one behind the other.
    pub authorities: &'m [u8],
}

impl<'m> CertRequest<'m> {
    pub(super) fn parse(body: &'m [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("certificate request payload", body);
        let encoding = CertEncoding(reader.u8()?);
        Ok(Self { encoding, authorities: reader.rest() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_comes_first() {
        let cert = Cert::parse(b"\x04\x30\x00").unwrap();
        assert_eq!(
            (cert.encoding, cert.data),
            (CertEncoding::X509_SIGNATURE, [0x30, 0].as_slice())
        );
        let request = CertRequest::parse(b"\x0f").unwrap();
        assert_eq!(request.encoding, CertEncoding::RAW_PUBLIC_KEY);
        assert!(request.authorities.is_empty());
        assert_eq!(Cert::parse(b""), Err(Error::Truncated("certificate payload")));
        assert_eq!(CertRequest::parse(b""), Err(Error::Truncated("certificate request payload")));
    }
}
