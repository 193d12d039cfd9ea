//! How proposals, identities, sizes and times are written for people; one spelling for status, logs and messages.
//!
//! ```text
//!   Proposal    aes256-sha256-modp2048                         the keywords of the configuration file
//!   Identity    fra1.example.com                               and its type, for messages
//!   Duration    0.2s  12s  4m  3h41m  1d02h                    two units at most
//!   octets      512 B  96.2 MiB       rate  890 kB/s
//! ```

use std::time::Duration;

use ikev2::registry::{IntegId, KeMethod, SnId, TransformType};
use ikev2::{Identity, Proposal, Transform, keyword};

/// A proposal in the keywords of the configuration: ciphers, integrity, PRF, key exchange, sequence numbers.
/// A PRF with the hash of the integrity algorithm is left out, as it is when configured.
#[must_use]
pub fn proposal(proposal: &Proposal) -> String {
    let mut words: Vec<String> = Vec::new();
    for kind in Kind::ALL {
        for transform in proposal.transforms.iter().filter(|t| Kind::of(t) == kind) {
            if implied(*transform, proposal) {
                continue;
            }
            words.push(self::transform(*transform));
        }
    }
    words.join("-")
}

/// One transform in the keywords of the configuration, or with its number where there is none.
#[must_use]
pub fn transform(transform: Transform) -> String {
    if let Some(algorithm) = keyword::of(&transform) {
        return algorithm.word().to_owned();
    }
    match transform {
        Transform::Encr(id, Some(bits)) => format!("cipher{}_{bits}", id.0),
        Transform::Encr(id, None) => format!("cipher{}", id.0),
        Transform::Prf(id) => format!("prf{}", id.0),
        Transform::Integ(id) => format!("integ{}", id.0),
        Transform::Ke(id) => format!("group{}", id.0),
        Transform::Sn(id) => format!("sn{}", id.0),
        Transform::AddKe(place, KeMethod::NONE) => format!("ke{place}_none"),
        Transform::AddKe(place, id) => format!("ke{place}_{}", self::transform(Transform::Ke(id))),
        Transform::Unknown { kind, id } => format!("transform{kind}:{id}"),
    }
}

/// What a transform decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Cipher.
    Encr,
    /// Integrity.
    Integ,
    /// Pseudorandom function.
    Prf,
    /// Key exchange.
    Ke,
    /// The key exchanges after the first.
    AddKe,
    /// Sequence numbers.
    Sn,
    /// A transform type that we do not know.
    Unknown,
}

impl Kind {
    /// In the order in which they are written.
    pub const ALL: [Self; 7] =
        [Self::Encr, Self::Integ, Self::Prf, Self::Ke, Self::AddKe, Self::Sn, Self::Unknown];

    /// The kind of a transform.
    #[must_use]
    pub const fn of(transform: &Transform) -> Self {
        match transform {
            Transform::Encr(..) => Self::Encr,
            Transform::Prf(_) => Self::Prf,
            Transform::Integ(_) => Self::Integ,
            Transform::Ke(_) => Self::Ke,
            Transform::AddKe(..) => Self::AddKe,
            Transform::Sn(_) => Self::Sn,
            Transform::Unknown { .. } => Self::Unknown,
        }
    }

    /// The kind of a transform type.
    #[must_use]
    pub const fn of_type(kind: TransformType) -> Self {
        match kind {
            TransformType::ENCR => Self::Encr,
            TransformType::INTEG => Self::Integ,
            TransformType::PRF => Self::Prf,
            TransformType::KE => Self::Ke,
            TransformType::SN => Self::Sn,
            kind if kind.additional_ke().is_some() => Self::AddKe,
            _ => Self::Unknown,
        }
    }

    /// For sentences.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Encr => "cipher",
            Self::Integ => "integrity",
            Self::Prf => "PRF",
            Self::Ke => "key exchange group",
            Self::AddKe => "further key exchange",
            Self::Sn => "sequence numbers",
            Self::Unknown => "an unknown transform",
        }
    }
}

/// Whether a transform goes without saying: the PRF of the integrity algorithm, "no integrity" beside an AEAD cipher, and
/// 32-bit sequence numbers.
fn implied(transform: Transform, proposal: &Proposal) -> bool {
    match transform {
        Transform::Prf(_) => {
            let prf = self::transform(transform);
            let integrity =
                proposal.transforms.iter().filter(|other| Kind::of(other) == Kind::Integ);
            integrity.map(|other| self::transform(*other)).any(|word| prf == format!("prf{word}"))
        }
        Transform::Integ(id) => id == IntegId::NONE,
        Transform::Sn(id) => id == SnId::SHORT,
        Transform::Encr(..)
        | Transform::Ke(_)
        | Transform::AddKe(..)
        | Transform::Unknown { .. } => false,
    }
}

/// An identity as the configuration writes it, in at most 256 characters.
#[must_use]
pub fn identity(identity: &Identity) -> String {
    // The octets came from a peer and end in terminals and logs: control characters must not.
    let text = identity.to_string();
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(256).collect()
}

/// The type of an identity, for messages.
#[must_use]
pub const fn identity_type(identity: &Identity) -> &'static str {
    match identity {
        Identity::Ipv4(_) => "IPv4 address",
        Identity::Ipv6(_) => "IPv6 address",
        Identity::Fqdn(_) => "FQDN",
        Identity::Email(_) => "e-mail",
        Identity::KeyId(_) => "key id",
        Identity::Dn(_) => "distinguished name",
        Identity::Other(..) => "other type",
    }
}

/// Seconds as JSON has them, where a number may be anything.
#[must_use]
pub fn span(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

/// How long ago something was: `4m ago`, `never`.
#[must_use]
pub fn ago(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "never".to_owned(), |s| format!("{} ago", duration(span(s))))
}

/// A duration with two units at most: `0.2s`, `12s`, `4m`, `3h41m`, `1d02h`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{}.{}s", seconds, duration.subsec_millis() / 100),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

/// Whole seconds in the same way: `7s`, `4m`.
#[must_use]
pub fn seconds(seconds: u64) -> String {
    if seconds < 10 { format!("{seconds}s") } else { duration(Duration::from_secs(seconds)) }
}

/// A round trip: `0.4 ms`, `11 ms`, `1.2s`.
#[must_use]
pub fn round_trip(time: Duration) -> String {
    match time.as_micros() {
        micros @ 0..10_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        micros @ 10_000..1_000_000 => format!("{} ms", micros / 1000),
        _ => duration(time),
    }
}

/// An amount of octets in binary units: `512 B`, `96.2 MiB`.
#[must_use]
pub fn octets(octets: u64) -> String {
    scaled(octets, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

/// A rate in decimal units, as interfaces are rated: `0`, `890 kB/s`, `12.1 MB/s`.
#[must_use]
pub fn rate(octets_per_second: u64) -> String {
    if octets_per_second == 0 {
        return "0".to_owned();
    }
    scaled(octets_per_second, 1000, ["B/s", "kB/s", "MB/s", "GB/s", "TB/s", "PB/s"])
}

/// One decimal below 100, none above; integers only, so that the text is the same everywhere.
fn scaled(amount: u64, base: u64, units: [&str; 6]) -> String {
    let mut divisor = 1_u64;
    let mut unit = units[0];
    for next in &units[1..] {
        if amount / divisor < base {
            break;
        }
        divisor = divisor.saturating_mul(base);
        unit = next;
    }
    let whole = amount / divisor;
    if divisor == 1 || whole >= 100 {
        format!("{whole} {unit}")
    } else {
        format!("{whole}.{} {unit}", amount % divisor * 10 / divisor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ikev2::registry::{EncrId, KeMethod, PrfId, ProtocolId};

    #[test]
    fn a_proposal_reads_like_the_configuration() {
        let cases: [(&[Transform], &str); 3] = [
            (
                &[
                    Transform::Encr(EncrId::AES_CBC, Some(256)),
                    Transform::Prf(PrfId::HMAC_SHA2_256),
                    Transform::Integ(IntegId::HMAC_SHA2_256_128),
                    Transform::Ke(KeMethod::MODP_2048),
                ],
                "aes256-sha256-modp2048",
            ),
            (
                &[
                    Transform::Encr(EncrId::AES_GCM_16, Some(256)),
                    Transform::Prf(PrfId::HMAC_SHA2_384),
                    Transform::Ke(KeMethod::ECP_384),
                ],
                "aes256gcm16-prfsha384-ecp384",
            ),
            (
                &[
                    Transform::Sn(SnId::EXTENDED),
                    Transform::Sn(SnId::SHORT),
                    Transform::Encr(EncrId(3), None),
                    Transform::Integ(IntegId(2)),
                    Transform::Ke(KeMethod(2)),
                    Transform::Unknown { kind: 9, id: 7 },
                ],
                "3des-sha1-modp1024-esn-transform9:7",
            ),
        ];
        for (transforms, expected) in cases {
            let proposal = Proposal {
                number: 1,
                protocol: ProtocolId::IKE,
                spi: Vec::new(),
                transforms: transforms.to_vec(),
            };
            assert_eq!(self::proposal(&proposal), expected);
        }
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let cases = [
            (200, "0.2s"),
            (12_000, "12s"),
            (59_999, "59s"),
            (240_000, "4m"),
            (13_260_000, "3h41m"),
            (93_600_000, "1d02h"),
        ];
        for (millis, expected) in cases {
            assert_eq!(duration(Duration::from_millis(millis)), expected);
        }
        assert_eq!((seconds(7), seconds(240)), ("7s".to_owned(), "4m".to_owned()));
    }

    #[test]
    fn amounts_are_scaled() {
        assert_eq!(octets(0), "0 B");
        assert_eq!(octets(1023), "1023 B");
        assert_eq!(octets(1024), "1.0 KiB");
        assert_eq!(octets(100_873_012), "96.2 MiB");
        assert_eq!(octets(u64::MAX), "16383 PiB", "rounded down, like everything here");
        assert_eq!(rate(0), "0");
        assert_eq!(rate(890_000), "890 kB/s");
        assert_eq!(rate(12_100_000), "12.1 MB/s");
    }

    #[test]
    fn an_identity_cannot_drive_a_terminal() {
        let identity = Identity::Fqdn("a\u{1b}[2Jb\nc".to_owned());
        assert!(self::identity(&identity).chars().all(|c| !c.is_control()));
    }
}
