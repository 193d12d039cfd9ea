//! The SK payload: what is sealed opens, and nothing else does.

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::super::integ::Integ;
use super::*;
use crate::registry::{EncrId, ExchangeType, IntegId, KeMethod, PrfId};
use crate::wire::header::{Flags, IkeSpi, MessageId};

/// Every cipher with every key length, and every integrity algorithm.
pub(super) fn suites() -> Vec<IkeSuite> {
    let gcm = [128, 192, 256].map(|bits| (EncrId::AES_GCM_16, bits, None));
    let cbc = [
        (EncrId::AES_CBC, 128, Some(IntegId::HMAC_SHA2_256_128)),
        (EncrId::AES_CBC, 192, Some(IntegId::HMAC_SHA2_384_192)),
        (EncrId::AES_CBC, 256, Some(IntegId::HMAC_SHA2_512_256)),
    ];
    let suite = |(encr, key_bits, integ)| IkeSuite {
        encr,
        key_bits,
        prf: PrfId::HMAC_SHA2_256,
        integ,
        ke: KeMethod::CURVE25519,
        additional: crate::AdditionalKe::NONE,
    };
    gcm.into_iter().chain(cbc).map(suite).collect()
}

fn keys(suite: &IkeSuite) -> IkeKeys {
    IkeKeys::initial(suite, b"shared secret", b"nonce i", b"nonce r", IkeSpi(1), IkeSpi(2))
}

/// The two ends of an IKE SA: the original initiator and the original responder.
pub(super) fn ends(suite: &IkeSuite) -> (Protection, Protection) {
    let keys = keys(suite);
    (Protection::new(suite, &keys, true), Protection::new(suite, &keys, false))
}

pub(super) fn header() -> Header {
    Header {
        spi_i: IkeSpi(0x0102_0304_0506_0708),
        spi_r: IkeSpi(0x1112_1314_1516_1718),
        next_payload: PayloadType::NONE,
        version: Header::VERSION,
        exchange: ExchangeType::INFORMATIONAL,
        flags: Flags { initiator: true, ..Flags::default() },
        message_id: MessageId(3),
        len: 0,
    }
}

pub(super) fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([9; 32])
}

fn sealed(protection: &mut Protection, plain: &[u8]) -> Vec<u8> {
    protection.seal(header(), PayloadType::NOTIFY, plain, &mut rng())
}

fn outcome(protection: &Protection, message: &[u8]) -> Result<(PayloadType, Vec<u8>), DropReason> {
    let mut message = message.to_vec();
    protection.open(&mut message).map(|opened| (opened.first, opened.plain.to_vec()))
}

/// A message around a body of the test's choice (padding included), with payloads before SK, and a good ICV.
fn crafted(protection: &mut Protection, before: &[u8], first_before: u8, body: &[u8]) -> Vec<u8> {
    let cipher = &mut protection.outbound;
    let iv = cipher.next_iv(&mut rng());
    let sk_len = 4 + iv.len() + body.len() + cipher.icv_len();
    let header = Header {
        next_payload: PayloadType(first_before),
        len: u32::try_from(Header::LEN + before.len() + sk_len).unwrap(),
        ..header()
    };
    let mut aad = header.emit().to_vec();
    aad.extend(before);
    aad.extend([PayloadType::NOTIFY.0, 0]);
    aad.extend(u16::try_from(sk_len).unwrap().to_be_bytes());
    let mut body = body.to_vec();
    let icv = cipher.seal(&aad, &iv, &mut body);
    [aad, iv, body, icv].concat()
}

proptest! {
    #[test]
    fn what_one_end_seals_the_other_opens(
        plain in prop::collection::vec(any::<u8>(), 0..700),
        first: u8,
        response: bool,
        message_id: u32,
        seed: [u8; 32],
    ) {
        for suite in suites() {
            let (mut initiator, mut responder) = ends(&suite);
            let rng = &mut ChaCha20Rng::from_seed(seed);
            let flags = Flags { response, initiator: true, higher_version: false };
            let header = Header { flags, message_id: MessageId(message_id), ..header() };
            let first = PayloadType(first);

            let message = initiator.seal(header, first, &plain, rng);
            let sent = Header::parse(&message).unwrap();
            let len = u32::try_from(message.len()).unwrap();
            prop_assert_eq!(sent, Header { next_payload: PayloadType::SK, len, ..header });
            prop_assert_eq!(outcome(&responder, &message), Ok((first, plain.clone())), "{}", suite);

            let message = responder.seal(header, first, &plain, rng);
            prop_assert_eq!(outcome(&initiator, &message), Ok((first, plain.clone())), "{}", suite);
        }
    }

    /// Octets that nobody sealed, behind a header that is right, so that more than the header is tried.
    #[test]
    fn noise_never_opens_and_never_panics(
        next in prop_oneof![Just(46u8), any::<u8>()],
        chain in prop::collection::vec(prop_oneof![Just(0u8), Just(46), any::<u8>()], 0..200),
    ) {
        let len = u32::try_from(Header::LEN + chain.len()).unwrap();
        let header = Header { next_payload: PayloadType(next), len, ..header() };
        let message = [header.emit().as_slice(), &chain].concat();
        for suite in suites() {
            prop_assert!(outcome(&ends(&suite).1, &message).is_err());
        }
    }
}

#[test]
fn lengths_are_those_of_the_rfcs() {
    // IV, then body with pad length octet, then ICV (RFC 7296 §3.14, RFC 5282 §3, RFC 4868 §2.1).
    for (suite, around) in
        suites().into_iter().zip([8 + 16, 8 + 16, 8 + 16, 16 + 16, 16 + 24, 16 + 32])
    {
        for len in 0..50 {
            let message = sealed(&mut ends(&suite).0, &vec![0; len]);
            let block = if suite.integ.is_some() { 16 } else { 1 };
            let body = (len + 1).next_multiple_of(block);
            assert_eq!(message.len(), 28 + 4 + around + body, "{suite} {len}");
        }
    }
}

#[test]
fn a_message_that_is_cut_anywhere_does_not_open() {
    for suite in suites() {
        let (mut initiator, responder) = ends(&suite);
        let message = sealed(&mut initiator, &[0x5a; 40]);
        assert!(outcome(&responder, &message).is_ok());
        for len in 0..message.len() {
            let cut = &message[..len];
            assert_eq!(outcome(&responder, cut), Err(DropReason::Malformed), "{suite} {len}");
            // Once more with lengths that fit, so that the ICV has to find out.
            if let Some(cut) = with_right_lengths(cut) {
                assert!(outcome(&responder, &cut).is_err(), "{suite} {len}");
            }
        }
    }
}

#[test]
fn a_message_with_one_changed_bit_does_not_open() {
    for suite in suites() {
        let (mut initiator, responder) = ends(&suite);
        let message = sealed(&mut initiator, &[0x5a; 40]);
        for bit in 0..8 * message.len() {
            let mut changed = message.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let outcome = outcome(&responder, &changed);
            // Next payload, message length and SK length steer the search for the ICV; all else is for the ICV to judge.
            let structure = [16, 24, 25, 26, 27, 30, 31].contains(&(bit / 8));
            let reason = if structure { DropReason::Malformed } else { DropReason::BadIcv };
            // The header parser drops reserved flag bits, but the ICV covers the octets as they came.
            assert_eq!(outcome, Err(reason), "{suite} octet {} bit {}", bit / 8, bit % 8);
        }
    }
}

#[test]
fn a_message_does_not_open_at_its_sender_or_in_another_sa() {
    for suite in suites() {
        let (mut initiator, mut responder) = ends(&suite);
        let message = sealed(&mut initiator, b"payloads");
        assert_eq!(outcome(&initiator, &message), Err(DropReason::BadIcv), "{suite}");
        let message = sealed(&mut responder, b"payloads");
        assert_eq!(outcome(&responder, &message), Err(DropReason::BadIcv), "{suite}");

        let other = IkeKeys::initial(&suite, b"other", b"i", b"r", IkeSpi(1), IkeSpi(2));
        let other = Protection::new(&suite, &other, true);
        assert_eq!(outcome(&other, &message), Err(DropReason::BadIcv), "{suite}");
    }
}

#[test]
fn padding_has_any_content_and_any_length_that_fits() {
    for suite in suites() {
        let (mut initiator, responder) = ends(&suite);
        for (body_len, pad_len) in [(16, 0), (16, 15), (32, 31), (256, 255), (272, 255)] {
            let mut body: Vec<u8> = (0..body_len).map(|n| u8::try_from(n % 251).unwrap()).collect();
            *body.last_mut().unwrap() = pad_len;
            let message = crafted(&mut initiator, &[], 46, &body);
            let plain = &body[..body_len - 1 - usize::from(pad_len)];
            let expected = Ok((PayloadType::NOTIFY, plain.to_vec()));
            assert_eq!(outcome(&responder, &message), expected, "{suite} {pad_len}");
        }
        for (body_len, pad_len) in [(16, 16), (16, 255), (32, 32), (0, 0)] {
            let mut body = vec![0; body_len];
            if let Some(last) = body.last_mut() {
                *last = pad_len;
            }
            let message = crafted(&mut initiator, &[], 46, &body);
            assert_eq!(outcome(&responder, &message), Err(DropReason::Malformed), "{suite}");
        }
    }
}

#[test]
fn half_a_block_is_malformed_even_with_a_good_icv() {
    for suite in suites().into_iter().filter(|suite| suite.integ.is_some()) {
        let (_, responder) = ends(&suite);
        let integ = Integ::from_id(suite.integ.unwrap()).unwrap();
        for body_len in [1, 15, 17] {
            let sk_len = 4 + 16 + body_len + integ.icv_len();
            let len = u32::try_from(Header::LEN + sk_len).unwrap();
            let header = Header { next_payload: PayloadType::SK, len, ..header() };
            let mut message = header.emit().to_vec();
            message.extend([PayloadType::NOTIFY.0, 0]);
            message.extend(u16::try_from(sk_len).unwrap().to_be_bytes());
            message.extend(vec![0; 16 + body_len]);
            let icv = integ.icv(&keys(&suite).sk_ai, &[&message]);
            message.extend(icv.iter());
            let outcome = outcome(&responder, &message);
            assert_eq!(outcome, Err(DropReason::Malformed), "{suite} {body_len}");
        }
    }
}

#[test]
fn payloads_before_sk_are_covered_and_skipped() {
    // A vendor ID and an empty payload of a private type, then SK.
    let before = [200, 0, 0, 7, b'x', b'y', b'z', 46, 0, 0, 4];
    for suite in suites() {
        let (mut initiator, responder) = ends(&suite);
        let body = [[0x11; 15].as_slice(), &[0]].concat();
        let message = crafted(&mut initiator, &before, 43, &body);
        let expected = Ok((PayloadType::NOTIFY, vec![0x11; 15]));
        assert_eq!(outcome(&responder, &message), expected, "{suite}");
        let mut changed = message.clone();
        changed[Header::LEN + 4] ^= 1;
        assert_eq!(outcome(&responder, &changed), Err(DropReason::BadIcv), "{suite}");
    }
}

#[test]
fn a_chain_without_sk_or_with_more_after_it_is_malformed() {
    let responder = ends(&suites()[0]).1;
    let chains: [(u8, &[u8]); 8] = [
        (0, &[]),
        (46, &[]),
        (0, &[41, 0, 0, 4]),
        (43, &[0, 0, 0, 4]),
        (43, &[46, 0, 0, 3]),
        (43, &[46, 0, 0, 9]),
        (46, &[0, 0, 0, 4, 0, 0, 0, 4]),
        (53, &[0, 0, 0, 8, 0, 1, 0, 2]),
    ];
    for (case, (next, chain)) in chains.into_iter().enumerate() {
        let len = u32::try_from(Header::LEN + chain.len()).unwrap();
        let header = Header { next_payload: PayloadType(next), len, ..header() };
        let message = [header.emit().as_slice(), chain].concat();
        assert_eq!(outcome(&responder, &message), Err(DropReason::Malformed), "{case}");
    }
}

#[test]
fn a_seed_decides_the_octets() {
    for suite in suites() {
        let seal = || sealed(&mut ends(&suite).0, b"payloads");
        assert_eq!(seal(), seal(), "{suite}");
        let mut initiator = ends(&suite).0;
        let mut rng = rng();
        let mut seal = || initiator.seal(header(), PayloadType::NONE, &[], &mut rng);
        assert_ne!(seal(), seal(), "{suite}: each has an IV of its own");
    }
}

/// Repairs the lengths of header and SK payload after a cut; `None` if the SK header itself is cut.
fn with_right_lengths(cut: &[u8]) -> Option<Vec<u8>> {
    let sk_len = u16::try_from(cut.len().checked_sub(Header::LEN)?).unwrap();
    let mut message = cut.to_vec();
    message[24..28].copy_from_slice(&u32::try_from(cut.len()).unwrap().to_be_bytes());
    message.get_mut(30..32)?.copy_from_slice(&sk_len.to_be_bytes());
    Some(message)
}
