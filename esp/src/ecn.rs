//! ECN and DSCP between the inner and the outer header (RFC 6040; RFC 4301 §5.1.2).
//!
//! ```text
//!                in: combine(outer, inner)                                    out: outer_for(inner)
//!            outer  Not-ECT      ECT(0)       ECT(1)         CE               traffic class
//! inner                                                                       +---------------+-----+
//! Not-ECT           Not-ECT   Not-ECT !!!  Not-ECT !!!    drop !!!            |     DSCP      | ECN |
//! ECT(0)            ECT(0)      ECT(0)       ECT(1)         CE                +---------------+-----+
//! ECT(1)            ECT(1)      ECT(1) !     ECT(1)         CE                 copied or 0    copied
//! CE                  CE          CE           CE !!!       CE                                (normal mode)
//! ```
//!
//! The left table is Figure 4 of RFC 6040: `!!!` and `!` are combinations that no tunnel makes today, always or
//! possibly dangerous: [`anomaly`] names them for a counter. The rest is one rule, the more severe of both goes on,
//! unless the sender cannot understand it. CE on a packet whose sender does not know ECN is congestion that only a loss
//! tells him: it is dropped (§4.2).
//!
//! IKEv2 makes sure that the other end knows ECN, so there is no compatibility mode (§4.3; RFC 7296 §2.24).
//! The inner DSCP is never changed on arrival: the outer one is not authenticated.
//!
//! ESP packets that a socket gives or takes as one message (`UDP_GRO`, `UDP_SEGMENT`) share one outer traffic class:
//! the kernel merges only equal ones. One read on arrival serves them all, and a sender begins a new message when the
//! class changes. Inner packets that the kernel merged before are alike, too: it never merges different classes.

use crate::checksum;

/// The sender does not know ECN.
pub const NOT_ECT: u8 = 0b00;
/// ECN-capable transport, codepoint 1; in RFC 6040's order more severe than [`ECT_0`].
pub const ECT_1: u8 = 0b01;
/// ECN-capable transport, codepoint 0.
pub const ECT_0: u8 = 0b10;
/// Congestion experienced.
pub const CE: u8 = 0b11;

/// The ECN bits of a traffic class or type of service.
const MASK: u8 = 0b11;

/// What becomes of the ECN field of an inner packet that leaves the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// It stays.
    Keep,
    /// It becomes this codepoint ([`set_ecn`]): [`ECT_1`] or [`CE`].
    Set(u8),
    /// The packet is dropped, in place of the mark that its sender would not understand.
    Drop,
}

/// A combination of outer and inner ECN field that RFC 6040 §4.2 calls currently unused. Worth counting; the packet
/// goes on as [`combine`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// `(!)`: possibly dangerous.
    Possible,
    /// `(!!!)`: always potentially dangerous.
    Dangerous,
}

/// The outer traffic class for an inner packet: its ECN field (normal mode, RFC 6040 §4.1) and its DSCP or 0. Copying
/// the DSCP lets routers on the way prefer what the inner network prefers, and tells anybody there what that is
/// (RFC 4301 §4.4.2.1 "Bypass DSCP", §5.1.2).
#[must_use]
pub const fn outer_for(inner_traffic_class: u8, copy_dscp: bool) -> u8 {
    if copy_dscp { inner_traffic_class } else { inner_traffic_class & MASK }
}

/// What becomes of the inner ECN field on arrival (RFC 6040 §4.2). Only the lower two bits of each are looked at, so
/// that whole traffic classes will do.
#[must_use]
pub const fn combine(outer: u8, inner: u8) -> Combine {
    match (outer & MASK, inner & MASK) {
        (CE, NOT_ECT) => Combine::Drop,
        (CE, ECT_0 | ECT_1) => Combine::Set(CE),
        (ECT_1, ECT_0) => Combine::Set(ECT_1),
        _ => Combine::Keep,
    }
}

/// Whether outer and inner ECN field are a combination that should not be. Takes what [`combine`] takes; where both
/// fields are equal there is none.
#[must_use]
pub const fn anomaly(outer: u8, inner: u8) -> Option<Anomaly> {
    match (outer & MASK, inner & MASK) {
        (ECT_0 | ECT_1 | CE, NOT_ECT) | (ECT_1, CE) => Some(Anomaly::Dangerous),
        (ECT_0, ECT_1) => Some(Anomaly::Possible),
        _ => None,
    }
}

/// Writes the lower two bits of `ecn` into the IP header at the start of `packet`, in place. The checksum of an IPv4
/// header is updated by difference (RFC 1624): a wrong one stays wrong. What is not an IP header stays as it is.
pub fn set_ecn(packet: &mut [u8], ecn: u8) {
    let ecn = ecn & MASK;
    match packet {
        [first, tos, _, _, _, _, _, _, _, _, sum_hi, sum_lo, ..] if *first >> 4 == 4 => {
            let new = *tos & !MASK | ecn;
            let words = [*tos, new].map(|tos| u16::from_be_bytes([*first, tos]));
            let [old_word, new_word] = words;
            let sum = u16::from_be_bytes([*sum_hi, *sum_lo]);
            [*sum_hi, *sum_lo] = checksum::update_word(sum, old_word, new_word).to_be_bytes();
            *tos = new;
        }
        // The traffic class is the lower half of the first octet and the upper half of the second.
        [first, second, ..] if *first >> 4 == 6 => *second = *second & !(MASK << 4) | ecn << 4,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ip::View;

    /// RFC 6040 Figure 4, row by row: inner, then for outer Not-ECT, ECT(0), ECT(1), CE the outgoing field
    /// (`None`: drop) and the marks.
    type Row = (u8, [(Option<u8>, &'static str); 4]);
    const FIGURE_4: [Row; 4] = [
        (
            NOT_ECT,
            [(Some(NOT_ECT), ""), (Some(NOT_ECT), "!!!"), (Some(NOT_ECT), "!!!"), (None, "!!!")],
        ),
        (ECT_0, [(Some(ECT_0), ""), (Some(ECT_0), ""), (Some(ECT_1), ""), (Some(CE), "")]),
        (ECT_1, [(Some(ECT_1), ""), (Some(ECT_1), "!"), (Some(ECT_1), ""), (Some(CE), "")]),
        (CE, [(Some(CE), ""), (Some(CE), ""), (Some(CE), "!!!"), (Some(CE), "")]),
    ];

    #[test]
    fn the_codepoints_are_those_of_rfc_3168() {
        // RFC 3168 §5, Figure 1.
        assert_eq!([NOT_ECT, ECT_1, ECT_0, CE], [0, 1, 2, 3]);
    }

    #[test]
    fn all_16_combinations_are_those_of_figure_4() {
        for (inner, row) in FIGURE_4 {
            for (outer, (expected, marks)) in [NOT_ECT, ECT_0, ECT_1, CE].into_iter().zip(row) {
                let outgoing = match combine(outer, inner) {
                    Combine::Keep => Some(inner),
                    Combine::Set(ecn) => {
                        assert_ne!(ecn, inner, "a change that is none");
                        Some(ecn)
                    }
                    Combine::Drop => None,
                };
                assert_eq!(outgoing, expected, "outer {outer} inner {inner}");
                let marked = match anomaly(outer, inner) {
                    None => "",
                    Some(Anomaly::Possible) => "!",
                    Some(Anomaly::Dangerous) => "!!!",
                };
                assert_eq!(marked, marks, "outer {outer} inner {inner}");
                // The DSCP of neither matters.
                assert_eq!(combine(outer | 0xb8, inner | 0x28), combine(outer, inner));
                assert_eq!(anomaly(outer | 0xb8, inner | 0x28), anomaly(outer, inner));
            }
        }
    }

    #[test]
    fn the_outer_header_has_the_inner_ecn_and_the_dscp_if_asked_for() {
        for traffic_class in 0..=u8::MAX {
            assert_eq!(outer_for(traffic_class, true), traffic_class);
            assert_eq!(outer_for(traffic_class, false), traffic_class % 4);
        }
    }

    #[test]
    fn a_mark_in_an_ipv4_header_keeps_its_checksum_right() {
        for tos in 0..=u8::MAX {
            for ecn in 0..4 {
                let mut header =
                    [0x45, tos, 0, 20, 1, 2, 0x40, 0, 64, 6, 0, 0, 10, 1, 0, 1, 10, 2, 0, 1];
                let sum = |header: &[u8]| {
                    etherparse::Ipv4Header::from_slice(header).unwrap().0.calc_header_checksum()
                };
                let before = sum(&header).to_be_bytes();
                header[10..12].copy_from_slice(&before);
                set_ecn(&mut header, ecn);
                assert_eq!(View::parse(&header).unwrap().traffic_class, tos & 0xfc | ecn);
                assert_eq!(header[10..12], sum(&header).to_be_bytes());
                assert_eq!(header[0], 0x45);
            }
        }
    }

    #[test]
    fn a_mark_in_an_ipv6_header_changes_only_its_two_bits() {
        for traffic_class in 0..=u8::MAX {
            for ecn in 0..4 {
                let mut header = [0xa5; 40];
                header[..2].copy_from_slice(&[0x60 | traffic_class >> 4, traffic_class << 4 | 0xf]);
                header[4..7].copy_from_slice(&[0, 0, 59]);
                let before = header;
                set_ecn(&mut header, ecn);
                assert_eq!(View::parse(&header).unwrap().traffic_class, traffic_class & 0xfc | ecn);
                assert_eq!(
                    (header[0], header[1] & 0xf, &header[2..]),
                    (before[0], 0xf, &before[2..])
                );
            }
        }
    }

    #[test]
    fn what_is_cut_off_or_no_ip_stays() {
        for len in 0..12 {
            let mut octets = [0x45; 12];
            set_ecn(&mut octets[..len], CE);
            assert_eq!(octets, [0x45; 12]);
        }
        let mut octets = [0x60; 1];
        set_ecn(&mut octets, CE);
        assert_eq!(octets, [0x60]);
        let mut octets = [0x55; 40];
        set_ecn(&mut octets, CE);
        assert_eq!(octets, [0x55; 40]);
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic_and_keep_their_dscp(
            mut octets in prop::collection::vec(any::<u8>(), 0..64),
            ecn in any::<u8>(), first in prop::option::of(prop::sample::select(vec![0x45, 0x60])),
        ) {
            // Most octets are no packet; with a length of 20 for either version many are.
            if let (Some(first), Some(front)) = (first, octets.first_chunk_mut::<6>()) {
                *front = [first, front[1], 0, 20, 0, 0];
            }
            let before = View::parse(&octets);
            set_ecn(&mut octets, ecn);
            let expected = before.map(|view| View { traffic_class: view.traffic_class & 0xfc | ecn & 3, ..view });
            prop_assert_eq!(View::parse(&octets), expected);
        }
    }
}
