//! What there is to know about a certificate: in `status`, and in `s2s-gw pki show` for files.

use std::fmt::Write as _;

use ikev2::pki::Certificate;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::words;

/// How both sides of a connection prove who they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuthStatus {
    /// How we do: `psk`, `certificate` or `public-key`.
    pub local: String,
    /// How the peer has to.
    pub remote: String,
    /// The algorithm by which we did, while the connection is up: `PSK`, or that of a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_method: Option<String>,
    /// The algorithm by which the peer did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_method: Option<String>,
    /// Our certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_certificate: Option<CertificateStatus>,
    /// The one that the peer proved its identity with, while the connection is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_certificate: Option<CertificateStatus>,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateStatus {
    /// Whom it is about.
    pub subject: String,
    /// Whom it is for: the identities that its owner may claim.
    pub names: Vec<String>,
    /// Who issued it.
    pub issuer: String,
    /// The first moment in which it is valid.
    pub not_before: Timestamp,
    /// The last one.
    pub not_after: Timestamp,
    /// Until then; negative afterwards.
    pub expires_in_seconds: i64,
    /// Its key: `ECDSA P-256`, `RSA-2048`.
    pub key: String,
    /// Whether it may issue others.
    pub authority: bool,
    /// Its serial number, hexadecimal.
    pub serial: String,
    /// SHA-256 of it, hexadecimal.
    pub fingerprint: String,
    /// SHA-256 of its public key, hexadecimal.
    pub key_fingerprint: String,
}

impl CertificateStatus {
    /// What it says, and how long it lasts from `now` on, seconds since 1970.
    #[must_use]
    pub fn of(certificate: &Certificate, now: u64) -> Self {
        let moment = |unix: u64| {
            let seconds = i64::try_from(unix).unwrap_or(i64::MAX);
            Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
        };
        let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        Self {
            subject: printable(&certificate.subject().to_string()),
            names: certificate.identities().iter().map(words::identity).collect(),
            issuer: printable(&certificate.issuer().to_string()),
            not_before: moment(certificate.not_before()),
            not_after: moment(certificate.not_after()),
            expires_in_seconds: signed(certificate.not_after()).saturating_sub(signed(now)),
            key: certificate.public_key().kind().to_string(),
            authority: certificate.is_ca(),
            serial: hex(certificate.serial()),
            fingerprint: hex(&certificate.fingerprint()),
            key_fingerprint: hex(&certificate.public_key().fingerprint()),
        }
    }

    /// `expires 2027-11-27 (364 days)`, or that it did.
    #[must_use]
    pub fn expiry(&self) -> String {
        let day = self.not_after.strftime("%Y-%m-%d");
        match u64::try_from(self.expires_in_seconds) {
            Ok(left) => format!("expires {day} ({})", time_left(left)),
            Err(_) => format!("EXPIRED {day}"),
        }
    }
}

/// `12 days`, `5 hours`, `1 minute`.
#[must_use]
pub fn time_left(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..7200 => (seconds / 60, "minute"),
        7200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// Octets as hexadecimal digits.
#[must_use]
pub fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// The names are a stranger's: no control characters, and not for ever.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(256).collect()
}
