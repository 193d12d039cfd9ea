//! Certificates that are not good, each with its name (RFC 5280 §6, RFC 4945 §5.1.3).

use std::time::Duration;

use ikev2::pki::{AuthProblem, Crl, CrlPolicy};
use testkit::pki::rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyUsagePurpose, NameConstraints, SerialNumber, date_time_ymd,
};

use super::*;

/// What becomes of the left peer with this chain, the last of which the right one trusts.
fn with_chain(key: &Key, chain: &[Vec<u8>], trust: CertificateTrust) -> [PeerConfig; 2] {
    let [mut left, mut right] = certified(&Key::p256(), &Key::p256());
    let chain = chain.iter().map(|der| read(der)).collect();
    left.local_auth = by(Credential::certified(&key.pkcs8, chain).unwrap());
    right.remote_auth = believing(trust);
    [left, right]
}

/// The left peer with a certificate that a root issued, changed so.
fn with_leaf(change: impl FnOnce(&mut CertificateParams)) -> [PeerConfig; 2] {
    let (ca, key) = (Authority::root("CA"), Key::p256());
    let leaf = ca.issue(&key, "left.test", change);
    with_chain(&key, &[leaf], trust(&ca.der()))
}

/// The left peer with a certificate of a CA below the root, both changed so.
fn with_middle(
    root: &Authority,
    middle: impl FnOnce(&mut CertificateParams),
    leaf: impl FnOnce(&mut CertificateParams),
) -> [PeerConfig; 2] {
    let (middle, key) = (root.under("Middle", middle), Key::p256());
    let leaf = middle.issue(&key, "left.test", leaf);
    with_chain(&key, &[leaf, middle.der()], trust(&root.der()))
}

fn purpose(oid: &[u64]) -> ExtendedKeyUsagePurpose {
    ExtendedKeyUsagePurpose::Other(oid.to_vec())
}

#[test]
fn a_ca_between_root_and_leaf_is_found_by_its_certificate() {
    up(World::new(1).peers(with_middle(&Authority::root("Root"), |_| {}, |_| {})));
    // Without it the issuer is missing.
    let (root, key) = (Authority::root("Root"), Key::p256());
    let middle = root.under("Middle", |_| {});
    let leaf = middle.issue(&key, "left.test", |_| {});
    let problem = problem_on_the_right(with_chain(&key, &[leaf], trust(&root.der())));
    let AuthProblem::UnknownIssuer { issuer, trusted, .. } = &problem else { panic!("{problem}") };
    assert_eq!(issuer.to_string(), "O=Test, CN=Middle");
    assert_eq!(trusted[0].to_string(), "O=Test, CN=Root");
    assert_eq!(
        problem.to_string(),
        "the certificate of O=Test, CN=left.test was issued by O=Test, CN=Middle; trusted for this peer: O=Test, CN=Root"
    );
}

#[test]
fn expired_and_future_certificates_are_refused() {
    let problem = problem_on_the_right(with_leaf(|leaf| {
        leaf.not_after = date_time_ymd(2026, 6, 30);
    }));
    assert_eq!(
        problem.to_string(),
        "the certificate of O=Test, CN=left.test expired at 2026-06-30T00:00:00Z"
    );
    let problem = problem_on_the_right(with_leaf(|leaf| {
        leaf.not_before = date_time_ymd(2026, 7, 2);
    }));
    let AuthProblem::NotYetValid { from, now, .. } = problem else { panic!("{problem}") };
    assert!(from - now <= 24 * 3600 && now >= TODAY.as_secs());
    let expired = |ca: &mut CertificateParams| ca.not_after = date_time_ymd(2026, 6, 30);
    let problem = problem_on_the_right(with_middle(&Authority::root("Root"), expired, |_| {}));
    let AuthProblem::Expired { subject, .. } = problem else { panic!("{problem}") };
    assert_eq!(subject.to_string(), "O=Test, CN=Middle");
}

/// The very seconds: the world begins at [`TODAY`], and IKE_AUTH comes within its first second.
#[test]
fn validity_includes_its_first_and_last_second() {
    let (today, second) = (date_time_ymd(2026, 7, 1), Duration::from_secs(1));
    up(World::new(1).peers(with_leaf(|leaf| leaf.not_after = today)));
    up(World::new(1).peers(with_leaf(|leaf| leaf.not_before = today)));
    let problem = problem_on_the_right(with_leaf(|leaf| leaf.not_after = today - second));
    assert!(matches!(problem, AuthProblem::Expired { .. }), "{problem}");
    // It becomes valid while the peer tries.
    let mut world = World::new(1).peers(with_leaf(|leaf| leaf.not_before = today + second));
    world.run_for(Duration::from_millis(900));
    assert!(world.all_down(), "{}", world.report());
    world.run_until(World::both_up, 2 * MINUTE);
}

#[test]
fn a_ca_of_the_same_name_with_another_key_is_another_ca() {
    let (ca, twin, key) = (Authority::root("CA"), Authority::root("CA"), Key::p256());
    let leaf = ca.issue(&key, "left.test", |_| {});
    let problem = problem_on_the_right(with_chain(&key, &[leaf], trust(&twin.der())));
    let by_signature =
        matches!(problem, AuthProblem::Chain { .. } | AuthProblem::UnknownIssuer { .. });
    assert!(by_signature, "{problem}");
}

#[test]
fn certificates_of_others_issue_nothing() {
    // basicConstraints: the issuer is no CA.
    let no_ca = |ca: &mut CertificateParams| ca.is_ca = IsCa::ExplicitNoCa;
    let problem = problem_on_the_right(with_middle(&Authority::root("Root"), no_ca, |_| {}));
    assert!(problem.to_string().contains("basicConstraints"), "{problem}");
    // keyUsage of the CA without keyCertSign is left to basicConstraints by webpki; a CA as a leaf is not.
    let ca = |leaf: &mut CertificateParams| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let problem = problem_on_the_right(with_leaf(ca));
    assert!(problem.to_string().contains("its certificate is that of a CA"), "{problem}");
    // pathLenConstraint 0 allows no CA below.
    let root = Authority::root("Root");
    let short = root.under("Short", |ca| ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let below = short.under("Below", |_| {});
    let key = Key::p256();
    let chain = [below.issue(&key, "left.test", |_| {}), below.der(), short.der()];
    let problem = problem_on_the_right(with_chain(&key, &chain, trust(&root.der())));
    assert!(problem.to_string().contains("pathLenConstraint"), "{problem}");
    let allowed =
        |ca: &mut CertificateParams| ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    up(World::new(1).peers(with_middle(&Authority::root("Root"), allowed, |_| {})));
}

#[test]
fn name_constraints_hold_of_anchors_and_of_cas_below() {
    let only = |name: &str| {
        let subtree = GeneralSubtree::DnsName(name.into());
        Some(NameConstraints { permitted_subtrees: vec![subtree], excluded_subtrees: Vec::new() })
    };
    let root = Authority::odd_root("Root", |ca| ca.name_constraints = only("right.test"));
    let key = Key::p256();
    let leaf = root.issue(&key, "left.test", |_| {});
    let problem = problem_on_the_right(with_chain(&key, &[leaf], trust(&root.der())));
    assert!(problem.to_string().contains("nameConstraints"), "{problem}");
    let root = Authority::root("Root");
    let narrow = |ca: &mut CertificateParams| ca.name_constraints = only("right.test");
    let problem = problem_on_the_right(with_middle(&root, narrow, |_| {}));
    assert!(problem.to_string().contains("nameConstraints"), "{problem}");
    let fitting = |ca: &mut CertificateParams| ca.name_constraints = only("left.test");
    up(World::new(1).peers(with_middle(&root, fitting, |_| {})));
}

#[test]
fn key_usage_has_to_allow_signatures() {
    use KeyUsagePurpose::{ContentCommitment, DigitalSignature, KeyAgreement, KeyEncipherment};
    let usage = |usage: &[KeyUsagePurpose]| {
        let usage = usage.to_vec();
        with_leaf(move |leaf| leaf.key_usages = usage)
    };
    for good in
        [&[DigitalSignature][..], &[ContentCommitment], &[KeyAgreement, DigitalSignature], &[]]
    {
        up(World::new(1).peers(usage(good)));
    }
    let problem = problem_on_the_right(usage(&[KeyEncipherment, KeyAgreement]));
    let AuthProblem::Purpose { what, .. } = problem else { panic!("{problem}") };
    assert!(what.contains("digitalSignature"), "{what}");
}

#[test]
fn extended_key_usage_has_to_name_ike_or_any_or_tls() {
    let good: [&[u64]; 5] = [
        &[1, 3, 6, 1, 5, 5, 7, 3, 17],
        &[2, 5, 29, 37, 0],
        &[1, 3, 6, 1, 5, 5, 7, 3, 1],
        &[1, 3, 6, 1, 5, 5, 7, 3, 2],
        &[1, 3, 6, 1, 5, 5, 7, 3, 5],
    ];
    for oid in good {
        let both = move |params: &mut CertificateParams| {
            params.extended_key_usages = vec![purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 4]), purpose(oid)];
        };
        up(World::new(1).peers(with_leaf(both)));
        up(World::new(1).peers(with_middle(&Authority::root("Root"), both, both)));
    }
    let mail = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 4])];
    };
    let problem = problem_on_the_right(with_leaf(mail));
    assert!(matches!(problem, AuthProblem::Purpose { .. }), "{problem}");
    let problem = problem_on_the_right(with_middle(&Authority::root("Root"), mail, |_| {}));
    assert!(problem.to_string().contains("extendedKeyUsage"), "{problem}");
}

fn with_crls(
    lists: impl FnOnce(&Authority, &Authority) -> Vec<Vec<u8>>,
    policy: CrlPolicy,
) -> [PeerConfig; 2] {
    let (root, key) = (Authority::root("Root"), Key::p256());
    let middle = root.under("Middle", |ca| ca.serial_number = Some(SerialNumber::from(3u64)));
    let leaf = middle.issue(&key, "left.test", |leaf| {
        leaf.serial_number = Some(SerialNumber::from(7u64));
    });
    let mut trust = trust(&root.der());
    let lists = lists(&root, &middle);
    trust.crls = lists.iter().map(|der| Crl::from_der(der).unwrap()).collect();
    trust.crl_policy = policy;
    with_chain(&key, &[leaf, middle.der()], trust)
}

const NEXT: (u8, u8) = (8, 1);
const PAST: (u8, u8) = (6, 30);

#[test]
fn what_a_list_names_is_refused() {
    use CrlPolicy::{IfPresent, Require};
    let leaf_revoked = |root: &Authority, middle: &Authority| {
        vec![root.crl(&[1], NEXT), middle.crl(&[6, 7], NEXT)]
    };
    let middle_revoked =
        |root: &Authority, middle: &Authority| vec![root.crl(&[3], NEXT), middle.crl(&[], NEXT)];
    for policy in [IfPresent, Require] {
        let problem = problem_on_the_right(with_crls(leaf_revoked, policy));
        assert!(matches!(problem, AuthProblem::Revoked { .. }), "{problem}");
        let problem = problem_on_the_right(with_crls(middle_revoked, policy));
        assert!(matches!(problem, AuthProblem::Revoked { .. }), "{problem}");
        // 8 is somebody else; 3 of the root's and 7 of the other's list are not these.
        let others = |root: &Authority, middle: &Authority| {
            vec![root.crl(&[7, 8], NEXT), middle.crl(&[3, 8], NEXT)]
        };
        up(World::new(1).peers(with_crls(others, policy)));
    }
    // Of two lists the newest counts, whatever their order.
    let both = |_: &Authority, middle: &Authority| {
        vec![middle.crl(&[7], NEXT), middle.crl_of(1, &[], NEXT)]
    };
    let problem = problem_on_the_right(with_crls(both, IfPresent));
    assert!(matches!(problem, AuthProblem::Revoked { .. }), "{problem}");
    let both = |_: &Authority, middle: &Authority| {
        vec![middle.crl_of(1, &[], NEXT), middle.crl(&[7], NEXT)]
    };
    let problem = problem_on_the_right(with_crls(both, IfPresent));
    assert!(matches!(problem, AuthProblem::Revoked { .. }), "{problem}");
    // An old list still tells who was revoked.
    let old = |_: &Authority, middle: &Authority| vec![middle.crl(&[7], PAST)];
    let problem = problem_on_the_right(with_crls(old, IfPresent));
    assert!(matches!(problem, AuthProblem::Revoked { .. }), "{problem}");
}

#[test]
fn where_lists_are_required_they_have_to_be_there_and_in_time() {
    use CrlPolicy::{IfPresent, Require};
    let none = |_: &Authority, _: &Authority| Vec::new();
    let one = |_: &Authority, middle: &Authority| vec![middle.crl(&[], NEXT)];
    let old =
        |root: &Authority, middle: &Authority| vec![root.crl(&[], NEXT), middle.crl(&[], PAST)];
    for lists in [none as fn(&_, &_) -> _, one, old] {
        up(World::new(1).peers(with_crls(lists, IfPresent)));
    }
    for lists in [none as fn(&_, &_) -> _, one] {
        let problem = problem_on_the_right(with_crls(lists, Require));
        assert!(matches!(problem, AuthProblem::RevocationUnknown { .. }), "{problem}");
    }
    let problem = problem_on_the_right(with_crls(old, Require));
    assert!(matches!(problem, AuthProblem::CrlExpired { .. }), "{problem}");
    // A list that another CA of that name signed tells nothing that is believed.
    let forged = |root: &Authority, _: &Authority| {
        vec![root.crl(&[], NEXT), Authority::root("Middle").crl(&[7], NEXT)]
    };
    let mut world = World::new(1).peers(with_crls(forged, Require));
    world.run_for(MINUTE);
    assert!(world.all_down(), "{}", world.report());
}
