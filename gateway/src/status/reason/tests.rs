//! Every reason has its code, word, sentence and remedy; the proposal diff names the one wrong word.

use super::*;
use ikev2::registry::{EncrId, IntegId, KeMethod, NotifyType, PrfId, ProtocolId};
use ikev2::{Identity, TrafficSelector};

fn aes256_sha256(group: u16) -> Proposal {
    Proposal {
        number: 1,
        protocol: ProtocolId::IKE,
        spi: Vec::new(),
        transforms: vec![
            Transform::Encr(EncrId::AES_CBC, Some(256)),
            Transform::Prf(PrfId::HMAC_SHA2_256),
            Transform::Integ(IntegId::HMAC_SHA2_256_128),
            Transform::Ke(KeMethod(group)),
        ],
    }
}

fn every_reason() -> Vec<CloseReason> {
    let id = || Identity::Fqdn("berlin.example.com".into());
    vec![
        CloseReason::Local,
        CloseReason::PeerDeleted,
        CloseReason::Rekeyed,
        CloseReason::DpdTimeout,
        CloseReason::NoAnswer,
        CloseReason::InitialContact,
        CloseReason::IkeProposalMismatch { ours: vec![aes256_sha256(14)], theirs: Vec::new() },
        CloseReason::IkeProposalMismatch {
            ours: vec![aes256_sha256(14)],
            theirs: vec![aes256_sha256(2)],
        },
        CloseReason::ChildProposalMismatch { ours: Vec::new(), theirs: Vec::new() },
        CloseReason::SelectorMismatch { ours: Box::default(), theirs: Box::default() },
        CloseReason::AuthRefusedByPeer { sent: id(), expected: None },
        CloseReason::WrongKey { claimed: id() },
        CloseReason::WrongIdentity { claimed: id(), expected: Vec::new() },
        CloseReason::Notified(NotifyType::TEMPORARY_FAILURE),
        CloseReason::Protocol("a delete for an SA of another peer"),
    ]
}

#[test]
fn every_reason_is_explained() {
    for reason in every_reason() {
        let explained = explain(&reason, "berlin");
        let number = explained.code.strip_prefix('E').and_then(|n| n.parse::<u16>().ok());
        assert!(
            number.is_some_and(|n| (1000..1100).contains(&n)),
            "{reason:?}: {}",
            explained.code
        );
        for (what, text) in
            [("alert", &explained.alert), ("message", &explained.message), ("fix", &explained.fix)]
        {
            assert!(!text.is_empty(), "{reason:?} has no {what}");
            assert!(!text.ends_with('.'), "{reason:?}: {what} is composed into sentences");
        }
        assert!(
            explained.alert.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
            "{reason:?}: {}",
            explained.alert
        );
    }
}

#[test]
fn codes_are_told_apart() {
    let mut seen = std::collections::BTreeMap::new();
    for reason in every_reason() {
        let code = code(&reason);
        if code.gravity == Gravity::Wanted {
            continue;
        }
        let before = seen.insert(code.code, std::mem::discriminant(&reason));
        assert!(before.is_none_or(|b| b == std::mem::discriminant(&reason)), "{} twice", code.code);
    }
}

#[test]
fn the_difference_names_the_one_wrong_word() {
    let reason = CloseReason::IkeProposalMismatch {
        ours: vec![aes256_sha256(14)],
        theirs: vec![aes256_sha256(2), aes256_sha256(5)],
    };
    let explained = explain(&reason, "paris");
    assert_eq!(explained.code, "E1003");
    assert!(
        explained.message.ends_with(
            "; closest their #1 differs only in key exchange group: modp1024 vs modp2048"
        ),
        "{}",
        explained.message
    );
    assert_eq!(
        explained.detail,
        [
            "ours    1: aes256-sha256-modp2048",
            "theirs  1: aes256-sha256-modp1024   2: aes256-sha256-modp1536",
            "closest their #1 differs only in key exchange group: modp1024 vs modp2048",
        ]
    );
}

#[test]
fn networks_that_do_not_meet_are_named() {
    let side = |second: u8| TrafficSelector::subnet(IpAddr::from([10, second, 0, 0]), 16);
    let ours = || Box::new(Traffic::new(vec![side(1)], vec![side(2), side(4)]));
    let told = CloseReason::SelectorMismatch { ours: ours(), theirs: Box::default() };
    let explained = explain(&told, "paris");
    assert_eq!(explained.code, "E1005");
    assert_eq!(
        explained.message,
        "the peer has no networks in common with 10.1.0.0/16 <-> 10.2.0.0/16, 10.4.0.0/16 (TS_UNACCEPTABLE)"
    );
    let theirs = Box::new(Traffic::new(vec![side(1)], vec![side(3)]));
    let seen = CloseReason::SelectorMismatch { ours: ours(), theirs };
    assert!(trouble(&seen).first_hand && !trouble(&told).first_hand);
    let explained = explain(&seen, "paris");
    assert_eq!(
        explained.message,
        "no networks in common: the peer wants 10.1.0.0/16 <-> 10.3.0.0/16 (TS_UNACCEPTABLE)"
    );
    assert_eq!(
        explained.detail,
        ["ours    10.1.0.0/16 <-> 10.2.0.0/16, 10.4.0.0/16", "theirs  10.1.0.0/16 <-> 10.3.0.0/16"]
    );
}

#[test]
fn proposals_that_differ_in_nothing_have_no_closest_line() {
    let same = [aes256_sha256(14)];
    assert_eq!(closest(&same, &same), None);
}

#[test]
fn what_is_forbidden_is_not_offered_as_a_remedy() {
    let theirs = |groups: &[u16]| CloseReason::IkeProposalMismatch {
        ours: vec![aes256_sha256(14)],
        theirs: groups.iter().map(|group| aes256_sha256(*group)).collect(),
    };
    let forbidden = ["modp1024".to_owned(), "modp768".to_owned()];
    let fix = |groups: &[u16]| explain_for(&theirs(groups), "berlin", &forbidden).fix;
    assert!(
        fix(&[2]).contains("`modp1024` is forbidden by `forbid` in [security]"),
        "{}",
        fix(&[2])
    );
    assert!(fix(&[2, 1]).contains("`modp1024` and `modp768` are forbidden"), "{}", fix(&[2, 1]));
    assert!(!fix(&[2, 5]).contains("forbidden"), "modp1536 could be allowed: {}", fix(&[2, 5]));
    assert!(!fix(&[]).contains("forbidden"), "we do not know what the peer has");
    let other = explain_for(&CloseReason::NoAnswer, "berlin", &forbidden);
    assert_eq!(other, explain(&CloseReason::NoAnswer, "berlin"));
}
