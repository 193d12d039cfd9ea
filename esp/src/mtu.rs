//! How much an inner packet may measure so that the outer packet fits a link.
//!
//! ```text
//! outer MTU
//! |<-------------------------------------------------------------------->|
//! | IPv4 20 / IPv6 40 | UDP 8 | SPI, seq 8 | IV | inner .. pad | 2 | ICV |
//!                                               |<-- a multiple of the block -->|  less 2 is the inner MTU
//! ```

use crate::{
    header::{Layout, TRAILER_LEN},
    suite::Suite,
};

/// Largest inner packet, in octets, whose ESP packet fits into an outer packet of `outer_mtu` octets;
/// 0 if none does. `outer_v6`: the outer header is IPv6, without extension headers. `udp_encap`: ESP in UDP.
#[must_use]
pub fn inner_mtu(outer_mtu: u16, outer_v6: bool, udp_encap: bool, suite: Suite) -> u16 {
    let layout = Layout::of(suite);
    let around = if outer_v6 { V6_HEADER_LEN } else { V4_HEADER_LEN }
        + if udp_encap { UDP_HEADER_LEN } else { 0 }
        + layout.front_len()
        + layout.icv_len;
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

const V4_HEADER_LEN: usize = 20;
const V6_HEADER_LEN: usize = 40;
const UDP_HEADER_LEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Sha2;

    const GCM: Suite = Suite::AesGcm16 { key_bits: 256 };
    const CBC: Suite = Suite::AesCbcHmacSha2 { key_bits: 128, hash: Sha2::Sha256 };

    #[test]
    fn ethernet() {
        assert_eq!(inner_mtu(1500, false, true, GCM), 1438);
        assert_eq!(inner_mtu(1500, false, false, GCM), 1446);
        assert_eq!(inner_mtu(1500, true, true, GCM), 1418);
        assert_eq!(inner_mtu(1500, true, false, GCM), 1426);
        assert_eq!(inner_mtu(1500, false, true, CBC), 1422);
    }

    #[test]
    fn largest_that_fits_and_no_larger() {
        let suites = [GCM, CBC, Suite::AesCbcHmacSha2 { key_bits: 256, hash: Sha2::Sha512 }];
        for suite in suites {
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
}
