//! A packet of full size, damaged in every way that one fault can: nothing passes, and the SA is as it was.
//!
//! ```text
//!   | SPI 32 bits | number 32 bits | ..... IV, body, ICV: some 11 300 bits ..... |    each of them flipped
//!   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^                                     cut to each length
//!   ...................................................................... + 1..=64   and with something behind it
//!      unknown-spi    bad-icv, replayed      bad-icv; for a length too-short, bad-length
//! ```

use std::collections::BTreeMap;

use super::{measured, pair, seal, suites, v4_packet};
use crate::{DropReason, InboundSa, Suite};

/// So that the inner packet has 1400 octets.
const PAYLOAD: usize = 1400 - 28;

/// What became of damaged copies of one packet.
#[derive(Default)]
struct Outcome {
    tried: usize,
    accepted: usize,
    reasons: BTreeMap<DropReason, usize>,
}

impl Outcome {
    /// Hands a damaged packet to the SA, which must be as it was before.
    fn note(&mut self, sa: &mut InboundSa, damaged: &mut [u8]) -> Option<DropReason> {
        self.tried += 1;
        let reason = sa.decap(damaged).err();
        match reason {
            Some(reason) => *self.reasons.entry(reason).or_default() += 1,
            None => self.accepted += 1,
        }
        reason
    }
}

/// An SA that has received some numbers on both sides of a packet that is still to come, and that packet.
fn waiting(suite: Suite) -> (InboundSa, Vec<u8>) {
    let (mut left, mut right) = pair(suite, true);
    left.skip_to(1000);
    let packets: Vec<_> = (0..9).map(|_| seal(&mut left, &v4_packet(PAYLOAD))).collect();
    for packet in packets.iter().enumerate().filter(|(place, _)| *place != 4).map(|(_, p)| p) {
        assert!(right.decap(&mut packet.clone()).is_ok());
    }
    (right, packets[4].clone())
}

#[test]
fn no_flipped_bit_of_a_full_packet_passes() {
    let (mut least, mut accepted) = (usize::MAX, 0);
    for suite in suites() {
        let (mut sa, packet) = waiting(suite);
        let (before, mut outcome) = (sa.window(), Outcome::default());
        let mut damaged = vec![0; packet.len()];
        for bit in 0..packet.len() * 8 {
            damaged.copy_from_slice(&packet);
            damaged[bit / 8] ^= 1 << (bit % 8);
            let reason = outcome.note(&mut sa, &mut damaged);
            let fits = match bit {
                0..32 => reason == Some(DropReason::UnknownSpi),
                32..64 => {
                    matches!(reason, Some(DropReason::BadIcv | DropReason::Replayed))
                }
                _ => reason == Some(DropReason::BadIcv),
            };
            assert!(fits, "{suite:?} bit {bit}: {reason:?}");
        }
        assert_eq!(sa.window(), before, "{suite:?}");
        assert!(sa.decap(&mut packet.clone()).is_ok(), "{suite:?}: the packet itself");
        least = least.min(outcome.tried);
        accepted += outcome.accepted;
    }
    measured("T19", "suites", suites().len(), "all 77");
    measured("T19", "flipped bits of a packet, in each suite at least", least, "> 11 000");
    measured("T19", "of these accepted", accepted, "0");
    assert!(least > 11_000 && suites().len() == 77);
}

#[test]
fn no_other_length_of_a_full_packet_passes() {
    let (mut tried, mut accepted) = (0, 0);
    for suite in suites() {
        let (mut sa, packet) = waiting(suite);
        let (before, mut outcome) = (sa.window(), Outcome::default());
        for len in 0..packet.len() {
            outcome.note(&mut sa, &mut packet[..len].to_vec());
        }
        // What is behind it may be nothing, noise, or the packet again.
        for more in 1..=64 {
            for filler in [vec![0; more], vec![0xa5; more], packet[..more].to_vec()] {
                outcome.note(&mut sa, &mut [&packet[..], &filler].concat());
            }
        }
        assert_eq!(sa.window(), before, "{suite:?}");
        assert_eq!(outcome.accepted, 0, "{suite:?}");
        let known = [DropReason::TooShort, DropReason::BadLength, DropReason::BadIcv];
        assert!(outcome.reasons.keys().all(|reason| known.contains(reason)), "{suite:?}");
        assert!(sa.decap(&mut packet.clone()).is_ok(), "{suite:?}: the packet itself");
        tried += outcome.tried;
        accepted += outcome.accepted;
    }
    measured("T19", "cut and lengthened packets", tried, "each length");
    measured("T19", "of these accepted", accepted, "0");
}

/// Whoever forges does not flip single bits: octets, runs and pieces of other packets of the same SA.
#[test]
fn no_mixture_of_two_packets_passes() {
    for suite in suites() {
        let (mut left, mut right) = pair(suite, true);
        let (one, other) = (seal(&mut left, &v4_packet(200)), seal(&mut left, &v4_packet(200)));
        let before = right.window();
        for cut in 1..one.len() {
            for (head, tail) in [(&one, &other), (&other, &one)] {
                let mut mixed = [&head[..cut], &tail[cut..]].concat();
                if mixed != one && mixed != other {
                    let reason = right.decap(&mut mixed);
                    assert_eq!(reason, Err(DropReason::BadIcv), "{suite:?} {cut}");
                }
            }
        }
        assert_eq!(right.window(), before, "{suite:?}");
    }
}
