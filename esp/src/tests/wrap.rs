//! Extended sequence numbers where the low half turns over: the high half, which nobody sends, is inferred (RFC 4303 §A2).
//!
//! ```text
//!          .. 2^32 - 2^19                    2^32                   2^32 + 2^19 ..
//!   sent   ─────●───────── lost: 2^20 ─────────┼─────────────────────────●──────
//!   and again what came before the turn: taken for one of the next 2^32, whose ICV it does not have
//! ```

use super::{FAMILIES, measured, pair, params, seal, suites, v4_packet, v6_packet};
use crate::{Aead, AesKey, DropReason, InboundSa, OutboundSa, SaParams, Suite};

const GCM: Suite = Suite::Combined(Aead::AesGcm16(AesKey::Bits256));
const TURN: u64 = 1 << 32;

fn with_window(replay_window: u32) -> (OutboundSa, InboundSa) {
    let both = || super::sites(1).into_iter().chain(super::sites(2)).collect();
    let selectors = crate::Selectors { local: both(), remote: both() };
    let params = |selectors| SaParams { replay_window, ..params(GCM, true, selectors) };
    (
        OutboundSa::new(params(selectors.clone())).unwrap(),
        InboundSa::new(params(selectors)).unwrap(),
    )
}

/// Seals the packet with that number.
fn number(left: &mut OutboundSa, number: u64) -> Vec<u8> {
    left.skip_to(number - 1);
    seal(left, &v4_packet(5))
}

#[test]
fn a_million_packets_may_be_lost_around_the_turn() {
    let (mut minted, mut opened) = (0_u32, 0);
    for suite in suites() {
        for turn in [TURN, 2 * TURN, 0x8000_0000 * TURN, (TURN - 1) * TURN] {
            for (before, after) in [(1_u64 << 19, 1_u64 << 19), (1, 1 << 20), (1 << 20, 0), (1, 0)]
            {
                let (mut left, mut right) = pair(suite, true);
                right.skip_to(turn - before - 1);
                for wanted in [turn - before, turn + after] {
                    let packet = number(&mut left, wanted);
                    minted += 1;
                    opened += u32::from(right.decap(&mut packet.clone()).is_ok());
                    assert_eq!(right.highest_sequence(), wanted, "{suite:?}");
                    assert_eq!(right.decap(&mut packet.clone()), Err(DropReason::Replayed));
                }
            }
        }
    }
    measured("T26", "packets around the turn that were opened", opened, &minted.to_string());
    assert_eq!(opened, minted);
}

#[test]
fn what_came_before_the_turn_is_refused_after_it() {
    let mut accepted = 0;
    for suite in FAMILIES {
        let (mut left, mut right) = pair(suite, true);
        right.skip_to(TURN - 201);
        left.skip_to(TURN - 201);
        let packets: Vec<_> = (0..400).map(|_| seal(&mut left, &v6_packet(5))).collect();
        for packet in &packets {
            assert!(right.decap(&mut packet.clone()).is_ok());
        }
        assert_eq!(right.highest_sequence(), TURN + 199);
        let before = right.window();
        accepted +=
            packets.iter().filter(|packet| right.decap(&mut (*packet).clone()).is_ok()).count();
        assert_eq!(right.window(), before, "{suite:?}");
        // And a whole turn later, with the same low halves.
        right.skip_to(2 * TURN + 50);
        let before = right.window();
        accepted +=
            packets.iter().filter(|packet| right.decap(&mut (*packet).clone()).is_ok()).count();
        assert_eq!(right.window(), before, "{suite:?}");
    }
    measured("T26", "old packets accepted after the turn", accepted, "0");
    assert_eq!(accepted, 0);
}

/// Any window, wherever it lies around the turn: every number of it that is still missing is inferred, and so is every
/// one ahead of it for 2^32 less the window; beyond that the high half is taken for one less, and the ICV refuses it.
#[test]
fn every_window_is_right_on_both_sides_of_the_turn() {
    for window in [32_u32, 64, 100, 4096, 65_536] {
        let span = u64::from(window.next_multiple_of(64));
        for top in [TURN - 1, TURN, TURN + 1, TURN + span / 2, TURN + span - 1, TURN + span] {
            let (mut left, mut right) = with_window(window);
            right.skip_to(top);
            let bottom = top - span + 1;
            let behind = [bottom, bottom + 1, bottom + span / 2, top - 1];
            let ahead = [1, 2, span, 1 << 20, 1 << 31, TURN - span].map(|more| top + more);
            for wanted in behind {
                let packet = number(&mut left, wanted);
                assert!(right.decap(&mut packet.clone()).is_ok(), "{window} {top} {wanted}");
                let again = right.decap(&mut packet.clone());
                assert_eq!(again, Err(DropReason::Replayed), "{window} {top} {wanted}");
                assert_eq!(right.highest_sequence(), top);
            }
            for wanted in ahead {
                let (_, mut right) = with_window(window);
                right.skip_to(top);
                assert!(right.decap(&mut number(&mut left, wanted)).is_ok(), "{top} {wanted}");
                assert_eq!(right.highest_sequence(), wanted);
            }
            for wanted in [bottom - 1, bottom - span, top + TURN - span + 1, top + TURN] {
                let before = right.window();
                let refused = right.decap(&mut number(&mut left, wanted));
                assert!(refused.is_err(), "{window} {top} {wanted}");
                assert_eq!(right.window(), before);
            }
        }
    }
}

/// Whoever guesses the high half wrong has no ICV: sealed for the turn before or after, a packet is refused in each suite.
#[test]
fn a_packet_of_another_turn_has_no_icv() {
    for suite in suites() {
        let (mut left, mut right) = pair(suite, true);
        right.skip_to(3 * TURN + 1000);
        for turn in [0, 1, 2, 4, 5, 1 << 16, TURN - 1] {
            let mut packet = number(&mut left, turn * TURN + 1001);
            let refused = right.decap(&mut packet);
            assert_eq!(refused, Err(DropReason::BadIcv), "{suite:?} {turn}");
        }
        assert!(right.decap(&mut number(&mut left, 3 * TURN + 1001)).is_ok(), "{suite:?}");
    }
}
