//! What one SA seals, the other opens: every suite, both IP versions, with and without ESN.

use proptest::prelude::*;

use super::{encrypts, pair, seal, suites, v4_packet, v6_packet};
use crate::{DropReason, HEADROOM, InboundSa, TAILROOM, overhead};

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        suite in prop::sample::select(suites()),
        esn: bool,
        packets in prop::collection::vec((any::<bool>(), 0..1500_usize, 0..32_usize), 1..20),
    ) {
        let (mut left, mut right) = pair(suite, esn);
        for (count, &(v6, payload, slack)) in packets.iter().enumerate() {
            let inner = if v6 { v6_packet(payload) } else { v4_packet(payload) };
            let start = HEADROOM + slack;
            let place = start..start + inner.len();
            let mut buffer = vec![0xee; place.end + TAILROOM];
            buffer[place.clone()].copy_from_slice(&inner);

            let sealed = left.encap(&mut buffer, place).unwrap();
            prop_assert_eq!(sealed.len(), inner.len() + overhead(inner.len(), suite));
            prop_assert!(buffer[..sealed.start].iter().all(|&octet| octet == 0xee));
            prop_assert!(buffer[sealed.end..].iter().all(|&octet| octet == 0xee));
            let number = u64::try_from(count).unwrap() + 1;
            prop_assert_eq!(left.sequence(), number);

            let opened = right.decap(&mut buffer[sealed.clone()]).unwrap();
            prop_assert_eq!(&buffer[sealed][opened], &inner);
            prop_assert_eq!(right.highest_sequence(), number);
        }
    }

    #[test]
    fn in_place_and_into_make_the_same_octets(
        suite in prop::sample::select(suites()),
        esn: bool,
        payload in 0..1500_usize,
    ) {
        let inner = v4_packet(payload);
        let mut buffer = vec![0; HEADROOM];
        buffer.extend_from_slice(&inner);
        buffer.resize(buffer.len() + TAILROOM, 0);
        let sealed = pair(suite, esn).0.encap(&mut buffer, HEADROOM..HEADROOM + inner.len()).unwrap();
        prop_assert_eq!(&buffer[sealed], seal(&mut pair(suite, esn).0, &inner));
    }
}

#[test]
fn no_two_packets_have_the_same_iv_or_ciphertext() {
    for suite in suites() {
        let (mut left, _) = pair(suite, false);
        let inner = v4_packet(40);
        let (first, second) = (seal(&mut left, &inner), seal(&mut left, &inner));
        let (body, icv) = (8 + suite.iv_len(), first.len() - suite.icv_len());
        assert!(suite.iv_len() == 0 || first[8..body] != second[8..body], "{suite:?}");
        let [clear, other] = [&first, &second].map(|packet| packet[body..].starts_with(&inner));
        assert_eq!((clear, other), (!encrypts(suite), !encrypts(suite)), "{suite:?}");
        assert!(!encrypts(suite) || first[body..icv] != second[body..icv], "{suite:?}");
        assert_ne!(first[icv..], second[icv..], "{suite:?}");
    }
}

#[test]
fn octets_behind_the_total_length_are_not_sent() {
    for suite in suites() {
        let (mut left, mut right) = pair(suite, false);
        let inner = v4_packet(10);
        let mut longer = inner.clone();
        longer.extend_from_slice(&[0xdd; 9]);
        let mut out = vec![0; left.packet_len(longer.len())];
        let len = left.encap_into(&longer, &mut out).unwrap();
        assert_eq!(len, left.packet_len(inner.len()));
        let opened = right.decap(&mut out[..len]).unwrap();
        assert_eq!(out[opened], inner);
    }
}

#[test]
fn esn_goes_on_where_the_low_half_turns() {
    for suite in suites() {
        let (mut left, mut right) = pair(suite, true);
        left.skip_to((1 << 32) - 4);
        right.skip_to((1 << 32) - 10);
        let inner = v6_packet(33);
        let mut packets: Vec<_> = (0..8).map(|_| seal(&mut left, &inner)).collect();
        assert_eq!(left.sequence(), (1 << 32) + 4);
        packets.swap(1, 6); // the first packet of the next 2^32 arrives before the last of this one
        packets.swap(3, 4);
        for packet in &packets {
            assert_open(&mut right, packet, &inner);
            assert_eq!(right.decap(&mut packet.clone()), Err(DropReason::Replayed), "{suite:?}");
        }
        assert_eq!(right.highest_sequence(), (1 << 32) + 4);
    }
}

#[test]
fn esn_is_part_of_what_the_icv_covers() {
    for suite in suites() {
        let (mut left, mut right) = pair(suite, true);
        left.skip_to(1 << 32);
        let packet = seal(&mut left, &v4_packet(5));
        // The receiver is in the first 2^32 and takes the number for 1.
        assert_eq!(right.decap(&mut packet.clone()), Err(DropReason::BadIcv), "{suite:?}");
        right.skip_to(1 << 32);
        assert_open(&mut right, &packet, &v4_packet(5));
        // And without ESN on one side nothing fits at all.
        let mut other = pair(suite, false).1;
        assert_eq!(other.decap(&mut packet.clone()), Err(DropReason::BadIcv), "{suite:?}");
    }
}

fn assert_open(sa: &mut InboundSa, packet: &[u8], inner: &[u8]) {
    let mut packet = packet.to_vec();
    let place = sa.decap(&mut packet).unwrap();
    assert_eq!(packet[place], *inner);
}
