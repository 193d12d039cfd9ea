//! Proposals as hostile, old and unusual peers write them, and what is chosen of each (RFC 7296 §2.7, §3.3, RFC 5282 §8).
//!
//! ```text
//!   octets of an SA payload ─► proposal::parse ─► choose_ike, choose_esp ─► the number and the suite, or nothing
//! ```
//!
//! The octets are written here by hand, since what is tested is what our own writer would never write.

use super::*;
use crate::wire::proposal::parse;

/// A transform: type, ID, and attributes as octets.
type Raw = (u8, u16, &'static [u8]);

/// A proposal: number, protocol, transforms.
type Offered<'a> = (u8, u8, &'a [Raw]);

const BITS_256: &[u8] = &[0x80, 0x0e, 0x01, 0x00];
const BITS_128: &[u8] = &[0x80, 0x0e, 0x00, 0x80];
const BITS_0: &[u8] = &[0x80, 0x0e, 0x00, 0x00];
const BITS_1: &[u8] = &[0x80, 0x0e, 0x00, 0x01];
const BITS_65535: &[u8] = &[0x80, 0x0e, 0xff, 0xff];
const STRANGE: &[u8] = &[0x80, 0x63, 0x00, 0x01];
const LONG_FORM: &[u8] = &[0x00, 0x0e, 0x00, 0x02, 0x01, 0x00];

const GCM: Raw = (1, 20, BITS_256);
const CBC: Raw = (1, 12, BITS_256);
const PRF: Raw = (2, 5, &[]);
const SHA256: Raw = (3, 12, &[]);
const NO_INTEG: Raw = (3, 0, &[]);
const MODP: Raw = (4, 14, &[]);
const X25519: Raw = (4, 31, &[]);
const NO_KE: Raw = (4, 0, &[]);
const SHORT: Raw = (5, 0, &[]);
const LONG: Raw = (5, 1, &[]);
const FOREIGN: Raw = (13, 1, &[]);

/// The body of an SA payload: each proposal with its number, protocol and transforms. Of ESP and AH the SPI is 4 octets.
fn payload(proposals: &[Offered<'_>]) -> Vec<u8> {
    let mut octets = Vec::new();
    for (position, (number, protocol, transforms)) in proposals.iter().enumerate() {
        let spi: &[u8] = if matches!(protocol, 2 | 3) { &[0, 0, 0x12, 0x34] } else { &[] };
        let mut body = vec![
            *number,
            *protocol,
            u8::try_from(spi.len()).unwrap(),
            u8::try_from(transforms.len()).unwrap(),
        ];
        body.extend_from_slice(spi);
        for (position, (kind, id, attributes)) in transforms.iter().enumerate() {
            let more = if position + 1 < transforms.len() { 3 } else { 0 };
            body.extend_from_slice(&[more, 0]);
            body.extend_from_slice(&u16::try_from(8 + attributes.len()).unwrap().to_be_bytes());
            body.extend_from_slice(&[*kind, 0]);
            body.extend_from_slice(&id.to_be_bytes());
            body.extend_from_slice(attributes);
        }
        octets.extend_from_slice(&[if position + 1 < proposals.len() { 2 } else { 0 }, 0]);
        octets.extend_from_slice(&u16::try_from(4 + body.len()).unwrap().to_be_bytes());
        octets.extend_from_slice(&body);
    }
    octets
}

fn esp(words: &str) -> Proposal {
    Proposal::esp_from_keywords(words).unwrap()
}

/// What becomes of an ESP offer without key exchange: number and suite.
fn esp_chosen(ours: &[&str], theirs: &[Offered<'_>]) -> String {
    let ours: Vec<Proposal> = ours.iter().map(|words| esp(words)).collect();
    let theirs = parse(&payload(theirs)).unwrap();
    match choose_esp(&ours, &theirs, Fresh::No) {
        Some((chosen, suite)) => format!("{}: {suite}", chosen.number),
        None => "none".into(),
    }
}

fn ike_chosen(theirs: &[Offered<'_>]) -> String {
    let words = ["aes256gcm16-prfsha256-curve25519", "aes256-sha256-modp2048"];
    let ours: Vec<Proposal> =
        words.iter().map(|words| Proposal::ike_from_keywords(words).unwrap()).collect();
    let theirs = parse(&payload(theirs)).unwrap();
    match choose_ike(&ours, &theirs, None) {
        Some((chosen, suite)) => format!("{}: {suite}", chosen.number),
        None => "none".into(),
    }
}

#[test]
fn esp_offers() {
    let ours = ["aes256gcm16", "aes256-sha256-noesn", "chacha20poly1305-noesn"];
    let gcm_esn = "1: AES_GCM_16_256/ESN";
    let gcm = "1: AES_GCM_16_256";
    let cbc = "1: AES_CBC_256/HMAC_SHA2_256_128";
    let table: &[(&[Raw], &str, &str)] = &[
        (&[GCM, LONG], gcm_esn, "as we would write it"),
        (&[GCM, SHORT, LONG], gcm_esn, "our preference"),
        (&[GCM], gcm, "no word of sequence numbers: short ones"),
        (&[GCM, NO_INTEG, SHORT], gcm, "AEAD with integrity NONE"),
        (&[GCM, SHA256, SHORT], "none", "AEAD with integrity"),
        (&[GCM, NO_INTEG, SHA256, SHORT], gcm, "AEAD that leaves the choice"),
        (&[CBC, SHA256, SHORT], cbc, "a cipher with integrity"),
        (&[CBC, SHORT], "none", "a cipher without integrity"),
        (&[CBC, NO_INTEG, SHORT], "none", "a cipher with integrity NONE"),
        (&[CBC, SHA256, LONG], "none", "extended numbers that we do not want"),
        (&[SHA256, SHORT], "none", "no cipher"),
        (&[], "none", "no transforms at all"),
        (&[(1, 11, &[]), SHA256, SHORT], "none", "NULL encryption"),
        (&[(1, 20, &[]), SHORT], "none", "GCM without key length"),
        (&[(1, 20, BITS_0), SHORT], "none", "key length 0"),
        (&[(1, 20, BITS_1), SHORT], "none", "key length 1"),
        (&[(1, 20, BITS_65535), SHORT], "none", "key length 65535"),
        (&[(1, 20, BITS_128), SHORT], "none", "key length that we do not want"),
        (&[(1, 21, BITS_256), SHORT], "none", "GMAC (RFC 4543), which encrypts nothing"),
        (&[(1, 21, BITS_0), GCM, SHORT], gcm, "GMAC beside what we want"),
        (&[(1, 20, BITS_128), GCM, SHORT], gcm, "two key lengths are two transforms"),
        (&[(1, 21, BITS_0), SHORT], "none", "GMAC with key length 0"),
        (&[(1, 28, &[]), SHORT], "1: CHACHA20_POLY1305", "a cipher with one key length"),
        (&[(1, 28, BITS_256), SHORT], "none", "a cipher with one key length that says it"),
        (&[(1, 3, &[]), SHA256, SHORT], "none", "3DES, which we have and do not want"),
        (&[(1, 20, STRANGE), SHORT], "none", "an unknown attribute"),
        (&[(1, 20, STRANGE), GCM, SHORT], gcm, "an unknown attribute, then without"),
        (&[(1, 20, LONG_FORM), SHORT], "none", "the key length in the long form (§3.3.5)"),
        (&[GCM, GCM, SHORT, SHORT], gcm, "everything twice"),
        (&[GCM, SHORT, FOREIGN], "none", "a transform type that we do not know (§3.3.6)"),
        (&[GCM, SHORT, (0, 1, &[])], "none", "the transform type 0, which is nobody's"),
        (&[GCM, SHORT, PRF], "none", "a PRF in ESP"),
        (&[GCM, SHORT, MODP], gcm, "a group in IKE_AUTH, where none is made"),
        (&[GCM, SHORT, NO_KE], gcm, "group NONE"),
        (&[GCM, (5, 7, &[])], "none", "sequence numbers of a kind that we do not know"),
    ];
    for (transforms, chosen, why) in table {
        assert_eq!(esp_chosen(&ours, &[(1, 3, transforms)]), *chosen, "{why}");
    }
}

#[test]
fn ike_offers() {
    let gcm = "1: AES_GCM_16_256/PRF_HMAC_SHA2_256/CURVE_25519";
    let table: &[(&[Raw], &str, &str)] = &[
        (&[GCM, PRF, X25519], gcm, "as we would write it"),
        (&[GCM, PRF, NO_INTEG, X25519], gcm, "AEAD with integrity NONE"),
        (&[GCM, PRF, SHA256, X25519], "none", "AEAD with integrity"),
        (&[GCM, PRF], "none", "no group"),
        (&[GCM, PRF, NO_KE], "none", "group NONE"),
        (&[GCM, X25519], "none", "no PRF"),
        (&[PRF, X25519], "none", "no cipher"),
        (&[CBC, PRF, MODP], "none", "no integrity"),
        (
            &[CBC, PRF, SHA256, MODP],
            "1: AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048",
            "the second of ours",
        ),
        (&[GCM, (2, 4, &[]), X25519], "none", "a PRF that we have and do not want (AES-XCBC)"),
        (&[GCM, (2, 5, BITS_256), X25519], "none", "a PRF with a key length"),
        (&[GCM, PRF, X25519, SHORT], gcm, "sequence numbers, which IKE has not: they may be short"),
        (&[GCM, PRF, X25519, FOREIGN], "none", "a transform type that we do not know"),
        (&[GCM, PRF, (4, 1025, &[]), X25519], gcm, "a private group beside what we want"),
        (
            &[GCM, PRF, X25519, (12, 36, STRANGE), (12, 0, &[])],
            gcm,
            "an unknown attribute in the last type that we know, then NONE",
        ),
    ];
    for (transforms, chosen, why) in table {
        assert_eq!(ike_chosen(&[(1, 1, transforms)]), *chosen, "{why}");
    }
}

/// RFC 7296 §2.7: the answer has one transform of every type in the offer, so that NONE is said where the peer says it; not
/// of sequence numbers, which IKE has not.
#[test]
fn what_is_said_of_types_that_we_do_not_name() {
    let ours = Proposal::ike_from_keywords("aes256gcm16-prfsha256-curve25519").unwrap();
    let plain = ours.transforms.clone();
    let none = Transform::Integ(IntegId::NONE);
    for (transforms, more) in [
        (&[GCM, PRF, X25519][..], None),
        (&[GCM, PRF, NO_INTEG, X25519], Some(none)),
        (&[GCM, PRF, NO_INTEG, X25519, SHORT], Some(none)),
        (&[GCM, PRF, X25519, SHORT], None),
    ] {
        let theirs = parse(&payload(&[(1, 1, transforms)])).unwrap();
        let (chosen, _) = choose_ike(std::slice::from_ref(&ours), &theirs, None).unwrap();
        let mut expected: Vec<_> = plain.iter().copied().chain(more).collect();
        expected.sort_by_key(|transform| transform.kind());
        assert_eq!(chosen.transforms, expected, "{transforms:?}");
    }
}

#[test]
fn several_proposals_of_several_protocols() {
    let good: &[Raw] = &[GCM, SHORT];
    let ours = ["aes256gcm16-noesn"];
    for (theirs, chosen, why) in [
        (vec![(1, 2, &[SHA256, SHORT][..]), (2, 3, good)], "2: AES_GCM_16_256", "AH first"),
        (vec![(1, 2, good)], "none", "AH alone"),
        (vec![(1, 77, good), (2, 3, good)], "2: AES_GCM_16_256", "an unknown protocol first"),
        (vec![(1, 1, good), (2, 3, good)], "2: AES_GCM_16_256", "IKE first"),
        (vec![(5, 3, good)], "5: AES_GCM_16_256", "numbered as the peer likes"),
        (vec![(1, 3, &[CBC][..]), (1, 3, good)], "1: AES_GCM_16_256", "one number for two"),
        (vec![(0, 3, good)], "0: AES_GCM_16_256", "number zero"),
    ] {
        assert_eq!(esp_chosen(&ours, &theirs), chosen, "{why}");
    }
    let many: Vec<Offered<'_>> = (1..=255).map(|n| (n, 3, &[CBC][..])).collect();
    assert_eq!(esp_chosen(&ours, &many), "none");
}

/// What the peer answers to our offer of these two, which are numbered 1 and 2.
#[test]
fn answers() {
    let offered = offer(&[esp("aes256gcm16"), esp("aes256-sha256-noesn")], &[1, 2, 3, 4]);
    let accepted = |answer: &[Offered<'_>]| {
        let answer = parse(&payload(answer)).unwrap();
        let accepted = accept(&offered, &answer)?;
        ChildSuite::from_transforms(&accepted.transforms)
    };
    let cases: &[(&[Offered<'_>], bool, &str)] = &[
        (&[(1, 3, &[GCM, LONG])], true, "one of each type"),
        (&[(2, 3, &[CBC, SHA256, SHORT])], true, "the second"),
        (&[(2, 3, &[GCM, LONG])], false, "the first under the number of the second"),
        (&[(3, 3, &[GCM, LONG])], false, "a number that was not offered"),
        (&[(0, 3, &[GCM, LONG])], false, "no number"),
        (&[(1, 2, &[GCM, LONG])], false, "another protocol"),
        (&[(1, 3, &[GCM, LONG, SHORT])], false, "two of one type"),
        (&[(1, 3, &[GCM, LONG]), (2, 3, &[CBC, SHA256, SHORT])], false, "two proposals"),
        (&[(1, 3, &[GCM, SHA256, LONG])], false, "integrity that was not offered"),
        (&[(1, 3, &[(1, 20, BITS_128), LONG])], false, "a shorter key"),
        (&[(1, 3, &[(1, 20, &[]), LONG])], false, "no key length"),
        (&[(1, 3, &[LONG])], false, "no cipher"),
        (&[(1, 3, &[GCM])], true, "an old peer, which leaves short numbers out"),
        (&[(1, 3, &[GCM, LONG, FOREIGN])], false, "a type that was not offered"),
    ];
    for (answer, good, why) in cases {
        assert_eq!(accepted(answer).is_some(), *good, "{why}");
    }
}

/// 255 proposals of 255 transforms each, none of which fits, are looked through in no time.
#[test]
fn the_largest_offer_costs_little() {
    let nothing: Vec<Raw> = vec![(1, 12, BITS_128); 255];
    let all: Vec<Offered<'_>> = (1..=255).map(|n| (n, 3, &nothing[..])).collect();
    let theirs: Vec<Proposal> =
        all.iter().flat_map(|one| parse(&payload(std::slice::from_ref(one))).unwrap()).collect();
    let ours = [esp("aes256gcm16"), esp("aes256-sha256"), esp("aes256-sha512")];
    assert!(choose_esp(&ours, &theirs, Fresh::No).is_none());
}
