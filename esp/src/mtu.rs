//! How much an inner packet may measure so that the outer packet fits a link, and what the network says about that.
//!
//! ```text
//! outer MTU
//! |<-------------------------------------------------------------------->|
//! | IPv4 20 / IPv6 40 | UDP 8 | SPI, seq 8 | IV | inner .. pad | 2 | ICV |
//!                                               |<-- a multiple of the block -->|  less 2 is the inner MTU
//! ```
//!
//! ```text
//! ICMP "too big" -> MTU, quote --+--> Quote::read: SPI, seq --> one of our last packets?  no: forged, nothing changes
//!                                +--> lowered_path_mtu ------> inner_mtu_of_path -------> TUN device, MSS, too_big
//! ```
//!
//! An ICMP message is not authenticated (RFC 4301 §8.2.1; RFC 5927 for what can be done with that). Who is not on the
//! path cannot know SPI and sequence number, so a quote of a packet just sent is what makes it believable; who is on
//! the path may drop packets anyway, and the floors bound what else he does: nothing is ever made smaller than what
//! each host can take as a whole.

use std::num::NonZeroU32;

use crate::{
    header::{Layout, TRAILER_LEN, read_header},
    ip::Version,
    suite::Suite,
};

/// What each IPv4 host can take as a whole (RFC 791 §3.1 "Total Length"), in octets. Links may be narrower, down to 68;
/// there the outer packet is fragmented.
pub const MIN_MTU_V4: u16 = 576;

/// What each IPv6 link carries (RFC 8200 §5), in octets.
pub const MIN_MTU_V6: u16 = 1280;

/// The least MTU that is believed or told, in octets, for packets of `version`.
#[must_use]
pub const fn min_mtu(version: Version) -> u16 {
    match version {
        Version::V4 => MIN_MTU_V4,
        Version::V6 => MIN_MTU_V6,
    }
}

/// Largest inner packet, in octets, whose ESP packet fits into an outer packet of `outer_mtu` octets;
/// 0 if none does. `outer_v6`: the outer header is IPv6, without extension headers. `udp_encap`: ESP in UDP.
#[must_use]
pub fn inner_mtu(outer_mtu: u16, outer_v6: bool, udp_encap: bool, suite: Suite) -> u16 {
    let layout = Layout::of(suite);
    let around = outside_len(outer_v6, udp_encap) + layout.front_len() + layout.icv_len;
    let body_len =
        usize::from(outer_mtu).saturating_sub(around) / layout.block_len * layout.block_len;
    u16::try_from(body_len.saturating_sub(TRAILER_LEN)).unwrap_or(u16::MAX)
}

/// Octets that ESP adds to an inner packet of `inner_len` octets: header, IV, padding, trailer and ICV, without the
/// outer IP and UDP headers.
#[must_use]
pub const fn overhead(inner_len: usize, suite: Suite) -> usize {
    Layout::of(suite).packet_len(inner_len) - inner_len
}

/// Octets of the outer packet around an inner packet of `inner_len` octets, its IP header included: the inverse of
/// [`inner_mtu`], with the same arguments.
#[must_use]
pub const fn outer_len(inner_len: usize, outer_v6: bool, udp_encap: bool, suite: Suite) -> usize {
    outside_len(outer_v6, udp_encap) + Layout::of(suite).packet_len(inner_len)
}

/// What inner packets may measure where the path carries outer ones of `path_mtu` octets: [`inner_mtu`], but neither
/// taken for less than [`min_mtu`] of the outer version nor less itself than that of `inner`, the largest version that
/// has to pass. Where the floor wins, [`outer_len`] of it may exceed the path MTU, and the outer packet is to be
/// fragmented (RFC 4301 §8.1); a network of IPv6 inside would otherwise stand still.
#[must_use]
pub fn inner_mtu_of_path(
    path_mtu: u16,
    outer: Version,
    udp_encap: bool,
    suite: Suite,
    inner: Version,
) -> u16 {
    let path_mtu = path_mtu.max(min_mtu(outer));
    inner_mtu(path_mtu, outer == Version::V6, udp_encap, suite).max(min_mtu(inner))
}

/// The path MTU after an ICMP message reported `reported` octets for outer packets of version `outer`. `None` if
/// nothing changes: such messages never raise it (RFC 8201 §4), and what is below [`min_mtu`] is noise or an attack.
/// RFC 8201 §4 demands that for IPv6. For IPv4 it keeps forged messages from making us fragment to shreds, at the price
/// that narrower links are found by nobody. Only for a message whose [`Quote`] was checked.
#[must_use]
pub fn lowered_path_mtu(current: u16, reported: u32, outer: Version) -> Option<u16> {
    let reported = u16::try_from(reported).ok()?;
    (min_mtu(outer)..current).contains(&reported).then_some(reported)
}

/// Which of our ESP packets an ICMP message talks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// SPI of the packet: an outbound SA of ours, if the message is genuine.
    pub spi: NonZeroU32,
    /// The lower 32 bits of its sequence number.
    pub sequence_low: u32,
}

impl Quote {
    /// Reads what an ICMP message quotes of a packet of ours, as the error queue of a socket gives it: from the ESP
    /// header on, that is the payload of a UDP datagram or of an IP packet. `None` if less than 8 octets are there (a
    /// router may quote no more than the UDP header: RFC 792), or if it is IKE, whose marker is SPI 0.
    #[must_use]
    pub fn read(quoted: &[u8]) -> Option<Self> {
        let (spi, sequence_low) = read_header(quoted)?;
        Some(Self { spi: NonZeroU32::new(spi)?, sequence_low })
    }

    /// Whether the SA sent this packet among its last `window`. `last`: the sequence number of the last packet it sent,
    /// of 64 bits with extended sequence numbers; 0 before the first (RFC 4303 §3.3.3). Numbers were never used twice,
    /// so this is exact. A guess is right once in 2^32 / `window`, the SPI not counted.
    #[must_use]
    pub fn is_recent(self, last: u64, window: u32) -> bool {
        let [_, _, _, _, low @ ..] = last.to_be_bytes();
        let age = u32::from_be_bytes(low).wrapping_sub(self.sequence_low);
        age < window && u64::from(age) < last
    }
}

/// Octets before the ESP header.
const fn outside_len(outer_v6: bool, udp_encap: bool) -> usize {
    (if outer_v6 { V6_HEADER_LEN } else { V4_HEADER_LEN })
        + (if udp_encap { UDP_HEADER_LEN } else { 0 })
}

const V4_HEADER_LEN: usize = 20;
const V6_HEADER_LEN: usize = 40;
const UDP_HEADER_LEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{Aead, AesKey, Cipher, Integrity};

    const GCM: Suite = Suite::Combined(Aead::AesGcm16(AesKey::Bits256));
    const CBC: Suite =
        Suite::Separate(Cipher::AesCbc(AesKey::Bits128), Integrity::HmacSha2_256_128);

    #[test]
    fn ethernet() {
        assert_eq!(inner_mtu(1500, false, true, GCM), 1438);
        assert_eq!(inner_mtu(1500, false, false, GCM), 1446);
        assert_eq!(inner_mtu(1500, true, true, GCM), 1418);
        assert_eq!(inner_mtu(1500, true, false, GCM), 1426);
        assert_eq!(inner_mtu(1500, false, true, CBC), 1422);
        // What IIV saves, the IV, and NULL.
        let implicit = Suite::Combined(Aead::AesGcm16Iiv(AesKey::Bits256));
        assert_eq!(inner_mtu(1500, false, true, implicit), 1446);
        let null = Suite::Separate(Cipher::Null, Integrity::HmacSha1_96);
        assert_eq!(inner_mtu(1500, false, true, null), 1450);
    }

    #[test]
    fn largest_that_fits_and_no_larger() {
        for suite in Suite::all() {
            for outer_mtu in (0..3000).chain([9000, u16::MAX]) {
                for (v6, udp) in [(false, false), (false, true), (true, false), (true, true)] {
                    let headers = if v6 { 40 } else { 20 } + if udp { 8 } else { 0 };
                    let inner = usize::from(inner_mtu(outer_mtu, v6, udp, suite));
                    let outer = |inner| headers + inner + overhead(inner, suite);
                    let fits = outer(inner) <= usize::from(outer_mtu);
                    assert!(fits || inner == 0, "{suite:?} {outer_mtu} {inner}");
                    assert!(
                        outer(inner + 1) > usize::from(outer_mtu),
                        "{suite:?} {outer_mtu} {inner}"
                    );
                }
            }
        }
    }

    #[test]
    fn outer_len_is_the_inverse() {
        assert_eq!(outer_len(1438, false, true, GCM), 1500);
        assert_eq!(outer_len(1439, false, true, GCM), 1504);
        assert_eq!(outer_len(1426, true, false, GCM), 1500);
        for suite in Suite::all() {
            for (v6, udp) in [(false, false), (false, true), (true, false), (true, true)] {
                for outer_mtu in 200..3000 {
                    let inner = usize::from(inner_mtu(outer_mtu, v6, udp, suite));
                    let mtu = usize::from(outer_mtu);
                    assert!(outer_len(inner, v6, udp, suite) <= mtu);
                    assert!(outer_len(inner + 1, v6, udp, suite) > mtu);
                }
            }
        }
    }

    #[test]
    fn a_shrinking_path_never_takes_the_inner_mtu_below_its_floor() {
        use Version::{V4, V6};
        let inner = |path, outer, inner| inner_mtu_of_path(path, outer, true, GCM, inner);
        assert_eq!(inner(1500, V4, V6), 1438);
        assert_eq!(inner(1400, V4, V6), 1338);
        assert_eq!(inner(1280, V4, V6), 1280);
        assert_eq!(inner(1280, V4, V4), 1218);
        assert_eq!(inner(1280, V6, V4), 1198);
        assert_eq!(inner(576, V6, V4), 1198);
        for path in [0, 68, 576] {
            assert_eq!(inner(path, V4, V4), 576);
            assert_eq!(inner(path, V4, V6), 1280);
        }
        assert_eq!(inner(700, V4, V4), 638);
    }

    #[test]
    fn a_report_only_lowers_and_not_below_the_floor() {
        use Version::{V4, V6};
        assert_eq!(lowered_path_mtu(1500, 1400, V4), Some(1400));
        assert_eq!(lowered_path_mtu(1500, 576, V4), Some(576));
        assert_eq!(lowered_path_mtu(1500, 1280, V6), Some(1280));
        for (reported, version) in [(0, V4), (68, V4), (575, V4), (0, V6), (576, V6), (1279, V6)] {
            assert_eq!(lowered_path_mtu(1500, reported, version), None, "{reported}");
        }
        for reported in [1500, 1501, 9000, 65_535, 65_536 + 1400, u32::MAX] {
            assert_eq!(lowered_path_mtu(1500, reported, V4), None, "{reported}");
        }
    }

    #[test]
    fn a_quote_tells_spi_and_sequence_number() {
        let quote = Quote { spi: NonZeroU32::new(0x1234_5678).unwrap(), sequence_low: 0x9abc_def0 };
        let octets = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0xff];
        assert_eq!(Quote::read(&octets), Some(quote));
        assert_eq!(Quote::read(&octets[..8]), Some(quote));
        for len in 0..8 {
            assert_eq!(Quote::read(&octets[..len]), None);
        }
        assert_eq!(Quote::read(&[0, 0, 0, 0, 1, 2, 3, 4, 5]), None, "IKE on port 4500");
        assert_eq!(Quote::read(&[0xff]), None, "a keepalive");
    }

    #[test]
    fn only_the_last_packets_are_recent() {
        let recent = |sequence_low, last, window| {
            Quote { spi: NonZeroU32::MIN, sequence_low }.is_recent(last, window)
        };
        for (sequence_low, expected) in
            [(0, false), (899, false), (900, false), (901, true), (1000, true), (1001, false)]
        {
            assert_eq!(recent(sequence_low, 1000, 100), expected, "{sequence_low}");
        }
        assert!(!recent(u32::MAX, 1000, 100));
        // Before the first packet, and soon after: no number before 1 was sent, and 0 never.
        assert!(!recent(0, 0, 100));
        assert!(recent(1, 1, 100));
        assert!(!recent(0, 1, 100));
        assert!(!recent(u32::MAX, 1, 100));
        assert!(recent(1, 50, u32::MAX));
        // Extended numbers carry into the upper half.
        let last = (7 << 32) + 10;
        assert!(recent(10, last, 100));
        assert!(recent(0, last, 100));
        assert!(recent(0_u32.wrapping_sub(89), last, 100));
        assert!(!recent(0_u32.wrapping_sub(90), last, 100));
        assert!(!recent(11, last, 100));
        assert!(!recent(10, last, 0));
    }
}
