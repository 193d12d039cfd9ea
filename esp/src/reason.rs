//! Why a packet was not passed on: one word for each cause, in the order in which the checks meet it.
//!
//! ```text
//! inbound   length - SPI - replay window -| ICV |- replay window - trailer - inner packet - selectors
//! outbound  policy - SA - inner packet - selectors - room - sequence number -| seal |- device
//! ```
//!
//! A [`DropReason`] carries nothing, so that a drop costs one counter and no memory. Counters are
//! arrays of [`DropReason::COUNT`], addressed with [`DropReason::index`] and printed with
//! [`DropReason::word`].

use std::fmt;

/// Makes the enum, the list of its values and their words from one table.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $word:literal,)+) => {
        /// Why one packet was dropped. Counted, never logged one by one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DropReason {
            $($(#[$doc])* $name,)+
        }

        impl DropReason {
            /// Every reason, ordered by [`index`](Self::index).
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// How many reasons there are: the length of an array of counters.
            pub const COUNT: usize = Self::ALL.len();

            /// Name for counters, status output and metrics: lower case with hyphens, and
            /// unchanged between releases.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }

            /// Place in an array of [`COUNT`](Self::COUNT) counters.
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

reasons! {
    /// Shorter than the ESP header, IV, one trailer and ICV of its SA.
    TooShort => "too-short",
    /// The encrypted part is not a whole number of cipher blocks or 4-octet words (RFC 4303 §2.4).
    BadLength => "bad-length",
    /// No inbound SA has this SPI, or a packet was handed to an SA with another SPI.
    UnknownSpi => "unknown-spi",
    /// The sequence number was received before (RFC 4303 §3.4.3).
    Replayed => "replayed",
    /// The sequence number lies before the replay window.
    TooOld => "too-old",
    /// The integrity check value is wrong: forged, damaged, or sealed with other keys.
    BadIcv => "bad-icv",
    /// Authentic, but the padding is not 1, 2, 3, .. or is longer than the plaintext (RFC 4303 §2.4).
    BadPadding => "bad-padding",
    /// Authentic, but the next header is neither 4 nor 41, or contradicts the version of the inner packet.
    BadNextHeader => "bad-next-header",
    /// A dummy packet, next header 59: made to be dropped (RFC 4303 §2.6).
    Dummy => "dummy",
    /// The inner octets are not one whole IPv4 or IPv6 packet.
    NotIp => "not-ip",
    /// The inner packet is not within the traffic selectors of its SA (RFC 4301 §5.2).
    SelectorMismatch => "selector-mismatch",
    /// The SA has used its last sequence number and sends nothing more (RFC 4303 §3.3.3).
    SequenceExhausted => "sequence-exhausted",
    /// The buffer has too little room before or after the packet.
    NoRoom => "no-room",
    /// No policy covers the packet.
    NoPolicy => "no-policy",
    /// A policy covers the packet, but its SA is not up.
    NoSa => "no-sa",
    /// The packet is larger than the path or the device takes.
    TooBig => "too-big",
    /// The socket or the device did not take the packet.
    SendFailed => "send-failed",
    /// A UDP datagram on the NAT traversal port that is neither IKE, ESP nor a keepalive.
    Runt => "runt",
    /// Authentic, but met congestion that only its loss can tell to its sender (RFC 6040 §4.2).
    Congested => "congested",
    /// The offload header before an inner packet contradicts the packet: a fault of the device.
    BadOffload => "bad-offload",
    /// The SA has carried as much as its lifetime allows (RFC 4301 §4.4.2.1); another one has to take its place.
    SaExpired => "sa-expired",
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl std::error::Error for DropReason {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_place_and_word() {
        let words: BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), DropReason::COUNT);
        for (place, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), place, "{reason}");
            assert!(reason.word().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{reason}");
        }
    }
}
