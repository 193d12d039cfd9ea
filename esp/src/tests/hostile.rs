//! Packets that must not pass: damaged, repeated, stale, foreign, and authentic ones with the wrong content.

use proptest::prelude::*;

use super::{SPI, pair, params, seal, suites, udp_packet, v4_packet, v6_packet};
use crate::{
    Aead, AesKey, DropReason, HEADROOM, InboundSa, OutboundSa, Selectors, Suite, TAILROOM,
    cipher::{Run, SealingKey},
    header::{self, Layout, Parts},
    ip::Version,
    sequence,
};

const GCM: Suite = Suite::Combined(Aead::AesGcm16(AesKey::Bits256));

#[test]
fn any_flipped_bit_is_found() {
    for suite in suites() {
        for esn in [false, true] {
            let (mut left, mut right) = pair(suite, esn);
            left.skip_to(4); // so that no flipped bit makes number 0
            let packet = seal(&mut left, &v4_packet(20));
            for bit in 0..packet.len() * 8 {
                let mut damaged = packet.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let expected = if bit < 32 { DropReason::UnknownSpi } else { DropReason::BadIcv };
                assert_eq!(right.decap(&mut damaged), Err(expected), "{suite:?} {esn} bit {bit}");
            }
            assert_eq!(right.highest_sequence(), 0);
            assert!(right.decap(&mut packet.clone()).is_ok());
        }
    }
}

#[test]
fn any_other_length_is_refused() {
    for suite in suites() {
        let (mut left, mut right) = pair(suite, true);
        let packet = seal(&mut left, &v6_packet(64));
        let mut longer = packet.clone();
        longer.extend_from_slice(&[0; 40]);
        for len in (0..longer.len()).filter(|&len| len != packet.len()) {
            let reason = right.decap(&mut longer[..len].to_vec()).unwrap_err();
            let body_len = len.checked_sub(8 + suite.iv_len() + suite.icv_len());
            let expected = match body_len {
                None | Some(0) => DropReason::TooShort,
                Some(body_len) if body_len % suite.block_len() != 0 => DropReason::BadLength,
                Some(_) => DropReason::BadIcv,
            };
            assert_eq!(reason, expected, "{suite:?} {len}");
        }
        assert_eq!(right.highest_sequence(), 0);
        assert!(right.decap(&mut packet.clone()).is_ok());
    }
}

proptest! {
    #[test]
    fn garbage_never_panics_and_never_passes(
        suite in prop::sample::select(suites()),
        esn: bool,
        known_spi: bool,
        mut octets in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if let (true, Some(spi)) = (known_spi, octets.first_chunk_mut()) {
            *spi = SPI.get().to_be_bytes();
        }
        let (mut left, mut right) = pair(suite, esn);
        prop_assert!(right.decap(&mut octets).is_err());
        prop_assert_eq!(right.highest_sequence(), 0);

        let mut out = [0; 300];
        let packed = left.encap_into(&octets, &mut out);
        prop_assert!(packed.is_err(), "addresses are not random enough for that");
        prop_assert_eq!(left.sequence(), 0);
    }

    #[test]
    fn authentic_garbage_never_panics(
        suite in prop::sample::select(suites()),
        octets in prop::collection::vec(any::<u8>(), 16..200),
        version in prop::sample::select(&[0x45_u8, 0x4f, 0x60, 0x00][..]),
        trailer in prop::sample::select(&[4_u8, 41, 59, 6][..]),
    ) {
        let mut body = octets;
        body.truncate(body.len() / 16 * 16);
        body[0] = version;
        let [.., pad_len, next_header] = &mut body[..] else { unreachable!() };
        (*pad_len, *next_header) = (*pad_len % 2, trailer);
        let (_, mut right) = pair(suite, true);
        let _ = right.decap(&mut forge(suite, 1, &body));
        prop_assert_eq!(right.highest_sequence(), 1);
    }
}

#[test]
fn a_packet_passes_once() {
    for suite in suites() {
        for esn in [false, true] {
            let (mut left, mut right) = pair(suite, esn);
            let packet = seal(&mut left, &v4_packet(1));
            assert!(right.decap(&mut packet.clone()).is_ok());
            assert_eq!(right.decap(&mut packet.clone()), Err(DropReason::Replayed));
        }
    }
}

#[test]
fn a_packet_from_before_the_window_is_refused() {
    let (mut left, mut right) = pair(GCM, false);
    let old = seal(&mut left, &v4_packet(1));
    left.skip_to(64);
    let new = seal(&mut left, &v4_packet(1));
    assert!(right.decap(&mut new.clone()).is_ok());
    assert_eq!(right.decap(&mut old.clone()), Err(DropReason::TooOld));

    // With ESN the same packet is taken for one of the next 2^32, which its ICV denies.
    let (mut left, mut right) = pair(GCM, true);
    let old = seal(&mut left, &v4_packet(1));
    left.skip_to(64);
    let new = seal(&mut left, &v4_packet(1));
    assert!(right.decap(&mut new.clone()).is_ok());
    assert_eq!(right.decap(&mut old.clone()), Err(DropReason::BadIcv));
    assert_eq!(right.highest_sequence(), 65);
}

#[test]
fn number_0_is_never_new() {
    let (_, mut right) = pair(GCM, false);
    let mut packet = forge_with(GCM, None, 0, &trailed(&v4_packet(2), Version::V4, 4));
    assert_eq!(right.decap(&mut packet), Err(DropReason::Replayed));
}

#[test]
fn another_spi_is_refused() {
    let (mut left, mut right) = pair(GCM, false);
    assert_eq!((left.spi(), right.spi()), (SPI, SPI));
    let mut packet = seal(&mut left, &v4_packet(1));
    packet[3] ^= 1;
    assert_eq!(right.decap(&mut packet), Err(DropReason::UnknownSpi));
}

#[test]
fn authentic_packets_with_the_wrong_content_are_refused_and_move_the_window() {
    let v4 = v4_packet(17);
    let patched = |place: usize, value: u8| {
        let mut packet = v4_packet(17);
        packet[place] = value;
        trailed(&packet, Version::V4, 16)
    };
    let with_trailer = |offset_from_end: usize, value: u8| {
        let mut body = trailed(&v4, Version::V4, 16);
        let place = body.len() - offset_from_end;
        body[place] = value;
        body
    };
    let foreign =
        |source, destination| trailed(&udp_packet(source, destination, 3), Version::V4, 16);
    let table = [
        ("next header 59", with_trailer(1, 59), DropReason::Dummy),
        ("next header 6", with_trailer(1, 6), DropReason::BadNextHeader),
        ("next header 41 and IPv4", with_trailer(1, 41), DropReason::BadNextHeader),
        (
            "next header 4 and IPv6",
            trailed(&v6_packet(0), Version::V4, 16),
            DropReason::BadNextHeader,
        ),
        ("pad length beyond the packet", with_trailer(2, 255), DropReason::BadPadding),
        ("padding not 1, 2, 3", with_trailer(3, 0xff), DropReason::BadPadding),
        ("version 5", patched(0, 0x55), DropReason::NotIp),
        ("header of 16 octets", patched(0, 0x44), DropReason::NotIp),
        ("total length beyond the payload", patched(3, 200), DropReason::NotIp),
        ("total length that ends in the padding", patched(3, 46), DropReason::NotIp),
        ("nothing but a trailer", trailed(&[], Version::V4, 16), DropReason::NotIp),
        ("source outside", foreign("10.3.0.1", "10.2.0.1"), DropReason::SelectorMismatch),
        ("destination outside", foreign("10.1.0.1", "10.3.0.1"), DropReason::SelectorMismatch),
        ("both sides swapped", foreign("10.2.0.1", "10.1.0.1"), DropReason::SelectorMismatch),
    ];
    for suite in suites() {
        let (_, mut right) = pair(suite, true);
        for (number, (what, body, expected)) in (1..).zip(&table) {
            let packet = forge(suite, number, body);
            let reason = right.decap(&mut packet.clone()).unwrap_err();
            assert_eq!(reason, *expected, "{what}, {suite:?}");
            assert_eq!(right.highest_sequence(), number, "{what}: the window must have moved");
            assert_eq!(right.decap(&mut packet.clone()), Err(DropReason::Replayed), "{what}");
        }
    }
}

#[test]
fn traffic_flow_padding_is_cut_off() {
    for suite in suites() {
        for (inner, version) in [(v4_packet(9), Version::V4), (v6_packet(9), Version::V6)] {
            for filler in [1, 16, 100] {
                let mut payload = inner.clone();
                payload.resize(inner.len() + filler, 0xf1);
                let mut packet = forge(suite, 1, &trailed(&payload, version, 16));
                let opened = pair(suite, true).1.decap(&mut packet).unwrap();
                assert_eq!(packet[opened], inner, "{suite:?} {filler}");
            }
        }
    }
}

#[test]
fn what_may_not_leave_changes_nothing() {
    let (mut left, _) = pair(GCM, false);
    let cases = [
        (udp_packet("10.2.0.1", "10.2.0.2", 4), DropReason::SelectorMismatch),
        (udp_packet("10.1.0.1", "10.1.0.2", 4), DropReason::SelectorMismatch),
        (udp_packet("fd01::1", "fd03::1", 4), DropReason::SelectorMismatch),
        (Vec::new(), DropReason::NotIp),
        (vec![0x45; 19], DropReason::NotIp),
    ];
    for (inner, expected) in cases {
        let mut buffer = vec![0; HEADROOM];
        buffer.extend_from_slice(&inner);
        buffer.resize(buffer.len() + TAILROOM, 0);
        let before = buffer.clone();
        let place = HEADROOM..HEADROOM + inner.len();
        assert_eq!(left.encap(&mut buffer, place), Err(expected));
        assert_eq!((buffer, left.sequence()), (before, 0));
    }
}

#[test]
fn too_little_room_is_refused_and_just_enough_is_not() {
    for suite in suites() {
        let (mut left, _) = pair(suite, false);
        let inner = v4_packet(30);
        let len = left.packet_len(inner.len());
        let front = 8 + suite.iv_len();
        let mut encap = |start: usize, buffer_len: usize| {
            let mut buffer = vec![0; buffer_len];
            buffer[start..start + inner.len()].copy_from_slice(&inner);
            left.encap(&mut buffer, start..start + inner.len())
        };
        assert_eq!(encap(front, len), Ok(0..len), "{suite:?}");
        assert_eq!(encap(front, len - 1), Err(DropReason::NoRoom), "{suite:?}");
        assert_eq!(encap(front - 1, len + 10), Err(DropReason::NoRoom), "{suite:?}");
        let mut out = vec![0; len];
        assert_eq!(left.encap_into(&inner, &mut out), Ok(len));
        assert_eq!(left.encap_into(&inner, &mut out[..len - 1]), Err(DropReason::NoRoom));
        assert_eq!(left.encap_into(&inner, &mut []), Err(DropReason::NoRoom));
        #[expect(clippy::reversed_empty_ranges, reason = "a caller's mistake that must not panic")]
        let reversed = 30..20;
        assert_eq!(left.encap(&mut out, reversed), Err(DropReason::NoRoom));
        assert_eq!(left.encap(&mut out, 0..len + 1), Err(DropReason::NoRoom));
        assert_eq!(left.sequence(), 2);
    }
}

#[test]
fn an_sa_that_has_used_its_numbers_sends_nothing_more() {
    for (esn, limit) in [(false, u64::from(u32::MAX)), (true, u64::MAX)] {
        let (mut left, mut right) = pair(GCM, esn);
        left.skip_to(limit - 1);
        right.skip_to(limit - 1);
        let mut packet = seal(&mut left, &v4_packet(8));
        assert!(right.decap(&mut packet).is_ok());
        assert_eq!(right.highest_sequence(), limit);
        let mut out = [0; 200];
        for _ in 0..3 {
            let refused = left.encap_into(&v4_packet(8), &mut out);
            assert_eq!(refused, Err(DropReason::SequenceExhausted), "ESN {esn}");
        }
    }
}

#[test]
fn the_window_is_bounded_by_the_parameters() {
    let with = |replay_window| {
        let params = params(GCM, false, Selectors::default());
        InboundSa::new(crate::SaParams { replay_window, ..params }).map(|_| ())
    };
    for packets in [0, 31, 65537, u32::MAX] {
        assert_eq!(with(packets), Err(crate::KeyError::ReplayWindow { packets }));
    }
    assert_eq!((with(32), with(65536)), (Ok(()), Ok(())));
}

#[test]
fn debug_output_has_no_key() {
    let (left, right) = pair(GCM, true);
    assert_eq!(
        format!("{left:?}"),
        "OutboundSa { spi: 3235826430, suite: Combined(AesGcm16(Bits256)), esn: true, sequence: 0, .. }"
    );
    assert_eq!(
        format!("{right:?}"),
        "InboundSa { spi: 3235826430, suite: Combined(AesGcm16(Bits256)), esn: true, highest_sequence: 0, .. }"
    );
}

/// A body: `payload`, padding to a multiple of `block`, trailer.
pub(super) fn trailed(payload: &[u8], version: Version, block: usize) -> Vec<u8> {
    let mut body = payload.to_vec();
    // At least one octet of padding, so that there is padding to damage.
    body.resize((payload.len() + 3).next_multiple_of(block), 0);
    header::write_trailer(&mut body[payload.len()..], version);
    body
}

/// An authentic packet for the right SA of a pair with ESN, with any body.
pub(super) fn forge(suite: Suite, number: u64, body: &[u8]) -> Vec<u8> {
    forge_with(suite, Some(sequence::high(number)), number, body)
}

fn forge_with(suite: Suite, high: Option<u32>, number: u64, body: &[u8]) -> Vec<u8> {
    let layout = Layout::of(suite);
    let params = params(suite, high.is_some(), Selectors::default());
    let key = SealingKey::new(suite, params.encr_key, params.integ_key).unwrap();
    let mut packet = vec![0; layout.front_len() + body.len() + layout.icv_len];
    let parts = Parts::split(&mut packet, layout).unwrap();
    header::write_header(parts.header, SPI.get(), sequence::low(number));
    key.write_iv(parts.iv, number);
    parts.body.copy_from_slice(body);
    key.seal(&mut Run::one(&mut packet, &[high])).unwrap();
    packet
}

/// The two kinds of SA can be moved to the thread that owns them.
#[test]
fn an_sa_can_be_sent_to_its_worker() {
    fn assert_send<T: Send + 'static>() {}
    assert_send::<OutboundSa>();
    assert_send::<InboundSa>();
}
