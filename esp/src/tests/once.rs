//! Exactly once: whatever is sent again is refused, and whatever is only late is not.
//!
//! ```text
//!   1 000 000 packets ─► out of order, each by less than the window ─► all of them, once
//!                    └─► all again: in order, from behind, shuffled  ─► none
//!   forged far ahead   the window stays where it is, what is on its way still arrives
//! ```

use std::num::NonZeroU32;

use super::{FAMILIES, SPI, measured, pair, params, seal, v4_packet};
use crate::{Aead, AesKey, DropReason, InboundSa, OutboundSa, SaParams, Suite};

const GCM: Suite = Suite::Combined(Aead::AesGcm16(AesKey::Bits256));

/// A pair of SAs with a window of so many packets.
fn with_window(esn: bool, replay_window: u32) -> (OutboundSa, InboundSa) {
    let both = || super::sites(1).into_iter().chain(super::sites(2)).collect();
    let selectors = crate::Selectors { local: both(), remote: both() };
    let params = |selectors| SaParams { replay_window, ..params(GCM, esn, selectors) };
    (
        OutboundSa::new(params(selectors.clone())).unwrap(),
        InboundSa::new(params(selectors)).unwrap(),
    )
}

/// Numbers that look like chance and are the same each time: xorshift of George Marsaglia.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }

    fn shuffle(&mut self, order: &mut [usize]) {
        for place in (1..order.len()).rev() {
            order.swap(place, self.below(place + 1));
        }
    }
}

#[test]
fn a_million_packets_out_of_order_arrive_once_and_never_again() {
    const PACKETS: usize = 1_000_000;
    const WINDOW: usize = 4096;
    for esn in [false, true] {
        let (mut left, mut right) = with_window(esn, u32::try_from(WINDOW).unwrap());
        let inner = v4_packet(0);
        let len = left.packet_len(inner.len());
        let mut capture = vec![0; PACKETS * len];
        for packet in capture.chunks_exact_mut(len) {
            left.encap_into(&inner, packet).unwrap();
        }
        let mut scratch = vec![0; len];
        let mut receive = |number: usize| {
            scratch.copy_from_slice(&capture[number * len..(number + 1) * len]);
            right.decap(&mut scratch)
        };
        let mut dice = Dice(0x7296_4303);
        let mut order: Vec<usize> = (0..PACKETS).collect();
        // Two from neighbouring pieces are less than a window apart.
        order.chunks_mut(WINDOW / 2).for_each(|piece| dice.shuffle(piece));
        let lost = order.iter().filter(|number| receive(**number).is_err()).count();
        let mut again = 0;
        for _ in 0..3 {
            again += order.iter().filter(|number| receive(**number).is_ok()).count();
            order.reverse();
            if order[0] < PACKETS / 2 {
                dice.shuffle(&mut order);
            }
        }
        measured("T20", &format!("late packets lost of {PACKETS}, ESN {esn}"), lost, "0");
        measured("T20", "passed when sent again, three times over", again, "0");
        assert_eq!((lost, again), (0, 0), "ESN {esn}");
        assert_eq!(right.highest_sequence(), u64::try_from(PACKETS).unwrap());
    }
}

#[test]
fn a_forged_number_however_far_ahead_moves_nothing() {
    for suite in FAMILIES {
        for esn in [false, true] {
            let (mut left, mut right) = pair(suite, esn);
            let packets: Vec<_> = (0..64).map(|_| seal(&mut left, &v4_packet(9))).collect();
            let (late, first) = packets.split_first().unwrap();
            for packet in first {
                assert!(right.decap(&mut packet.clone()).is_ok());
            }
            let before = right.window();
            // Forged from nothing, and from a packet that is on its way.
            for number in [65, 66, 127, 128, 1 << 16, 1 << 31, u32::MAX - 1, u32::MAX] {
                let mut forged = late.clone();
                forged[4..8].copy_from_slice(&number.to_be_bytes());
                let reason = right.decap(&mut forged);
                assert_eq!(reason, Err(DropReason::BadIcv), "{suite:?} {esn} {number}");
                let mut noise = vec![0x77; late.len()];
                noise[..4].copy_from_slice(&SPI.get().to_be_bytes());
                noise[4..8].copy_from_slice(&number.to_be_bytes());
                assert_eq!(right.decap(&mut noise), Err(DropReason::BadIcv), "{suite:?} {number}");
            }
            assert_eq!(right.window(), before, "{suite:?} {esn}");
            assert!(
                right.decap(&mut late.clone()).is_ok(),
                "{suite:?} {esn}: the one that is late"
            );
        }
    }
}

/// Number 0 on the wire is none without ESN, and with it the first one of each further 2^32.
#[test]
fn number_0_is_none_or_that_of_the_next_turn() {
    for suite in FAMILIES {
        for esn in [false, true] {
            let (mut left, mut right) = pair(suite, esn);
            let mut packet = seal(&mut left, &v4_packet(9));
            packet[4..8].fill(0);
            assert_eq!(right.decap(&mut packet), Err(DropReason::Replayed), "{suite:?} {esn}");
            assert_eq!(right.highest_sequence(), 0);
        }
        let (mut left, mut right) = pair(suite, true);
        left.skip_to(u64::from(u32::MAX));
        right.skip_to(u64::from(u32::MAX));
        let turn = seal(&mut left, &v4_packet(9));
        assert_eq!(turn[4..8], [0; 4]);
        assert!(right.decap(&mut turn.clone()).is_ok(), "{suite:?}");
        assert_eq!(right.decap(&mut turn.clone()), Err(DropReason::Replayed), "{suite:?}");
    }
}

/// The same packet on two SAs of the same keys but another SPI is foreign to the second (FreeBSD-SA-06:11 took it).
#[test]
fn what_one_sa_received_is_nothing_to_another() {
    let (mut left, mut right) = pair(GCM, true);
    let selectors = crate::Selectors { local: super::sites(2), remote: super::sites(1) };
    let spi = NonZeroU32::new(SPI.get() ^ 1).unwrap();
    let mut other = InboundSa::new(SaParams { spi, ..params(GCM, true, selectors) }).unwrap();
    let packet = seal(&mut left, &v4_packet(9));
    assert!(right.decap(&mut packet.clone()).is_ok());
    let mut renamed = packet.clone();
    renamed[..4].copy_from_slice(&spi.get().to_be_bytes());
    assert_eq!(other.decap(&mut renamed), Err(DropReason::BadIcv));
    assert_eq!(other.decap(&mut packet.clone()), Err(DropReason::UnknownSpi));
}
