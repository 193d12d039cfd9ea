//! Keys and certificates that nobody should have to read, and what is told of good ones.

use testkit::pki::{Authority, Key, P521, TODAY, self_signed};

use super::chain::leaves;
use super::*;
use crate::wire::identity::Identity;

const NOW: Option<u64> = Some(TODAY.as_secs());

fn left() -> Identity {
    Identity::Fqdn("left.test".into())
}

fn trusting(anchor: &[u8]) -> CertificateTrust {
    CertificateTrust {
        anchors: vec![Certificate::from_der(anchor).unwrap()],
        ..CertificateTrust::default()
    }
}

/// DER of any length.
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[tag, 0x82, len[0], len[1]], value].concat()
}

/// Lengths as short as DER wants them.
fn strict(tag: u8, value: &[u8]) -> Vec<u8> {
    match value.len() {
        0..128 => [&[tag, u8::try_from(value.len()).unwrap()], value].concat(),
        128..256 => [&[tag, 0x81, u8::try_from(value.len()).unwrap()], value].concat(),
        _ => tlv(tag, value),
    }
}

/// A SubjectPublicKeyInfo of RSA with these numbers.
fn rsa(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let numbers = [strict(2, modulus), strict(2, exponent)].concat();
    let key = [&[0], strict(0x30, &numbers).as_slice()].concat();
    let algorithm = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    strict(0x30, &[algorithm.as_slice(), &strict(3, &key)].concat())
}

fn modulus(bits: usize) -> Vec<u8> {
    let octets = bits.div_ceil(8);
    let mut modulus = vec![0xff; octets];
    modulus[0] = u8::try_from((1u16 << ((bits - 1) % 8 + 1)) - 1).unwrap();
    if modulus[0] >= 0x80 {
        modulus.insert(0, 0);
    }
    modulus
}

#[test]
fn rsa_keys_have_2048_to_8192_bits_and_an_exponent_that_is_one() {
    let kind = |spki: Vec<u8>| PublicKey::from_spki_der(&spki).map(|key| key.kind());
    for bits in [2048, 2049, 3072, 4096, 8191, 8192] {
        assert_eq!(kind(rsa(&modulus(bits), &[3])), Ok(KeyKind::Rsa { bits }));
    }
    for bits in [1, 512, 1024, 2047, 8193, 16384, 65536] {
        let told = kind(rsa(&modulus(bits), &[1, 0, 1])).unwrap_err().to_string();
        assert!(told.contains(&format!("an RSA key of {bits} bits")), "{told}");
    }
    for exponent in [&[0][..], &[1], &[2], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
        let told = kind(rsa(&modulus(2048), exponent)).unwrap_err().to_string();
        assert!(told.contains("exponent"), "{told}");
    }
    // Negative numbers, none, and octets behind the key.
    for numbers in [(&[0x80; 256][..], &[3][..]), (&modulus(2048), &[0xff]), (&[], &[3])] {
        assert!(kind(rsa(numbers.0, numbers.1)).is_err());
    }
    let long = [rsa(&modulus(2048), &[3]), vec![0]].concat();
    assert!(matches!(kind(long), Err(PkiError::PublicKey(_))));
}

#[test]
fn no_spki_makes_it_panic() {
    let spki = rsa(&modulus(2048), &[1, 0, 1]);
    let point = Credential::raw(&Key::p384().pkcs8).unwrap().public_key().spki().to_vec();
    for good in [spki, point] {
        for at in 0..good.len() {
            assert!(PublicKey::from_spki_der(&good[..at]).is_err());
            let mut bad = good.clone();
            bad[at] ^= 0x81;
            let _any = PublicKey::from_spki_der(&bad);
        }
    }
}

#[test]
fn compressed_points_and_unknown_curves_are_told() {
    let spki = Credential::raw(&Key::p256().pkcs8).unwrap().public_key().spki().to_vec();
    let unknown: Vec<u8> = {
        // secp256k1, 1.3.132.0.10
        let algorithm = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x0a";
        strict(0x30, &[algorithm.as_slice(), &spki[23..]].concat())
    };
    let told = PublicKey::from_spki_der(&unknown).unwrap_err().to_string();
    assert!(told.starts_with("the curve 1.3.132.0.10 is not supported"), "{told}");
    let short =
        strict(0x30, &[&spki[2..23], &strict(3, &[&[0, 2], &spki[27..59]].concat())].concat());
    let told = PublicKey::from_spki_der(&short).unwrap_err().to_string();
    assert!(told.starts_with("a compressed ECDSA P-256 key is not supported"), "{told}");
}

#[test]
fn a_certificate_says_what_openssl_says() {
    let certificate = Certificate::from_der(P521::CERTIFICATE).unwrap();
    assert_eq!(certificate.subject().to_string(), "C=CH, O=Test, CN=left.test");
    assert_eq!(certificate.issuer().to_string(), "C=CH, O=Test, CN=P521 CA");
    assert_eq!(certificate.identities()[0], left());
    assert_eq!(certificate.public_key().kind(), KeyKind::EcdsaP521);
    assert!(!certificate.is_ca());
    assert!(Certificate::from_der(P521::CA).unwrap().is_ca());
    assert!(certificate.not_before() < TODAY.as_secs() && certificate.not_after() > 4_000_000_000);
    for at in 0..P521::CERTIFICATE.len() {
        assert!(Certificate::from_der(&P521::CERTIFICATE[..at]).is_err());
        let mut bad = P521::CERTIFICATE.to_vec();
        bad[at] ^= 0x55;
        let _any = Certificate::from_der(&bad);
    }
}

#[test]
fn a_credential_is_checked_when_it_is_made() {
    let (root, key) = (Authority::root("Root"), Key::p256());
    let middle = root.under("Middle", |_| {});
    let [leaf, middle, root] = [middle.issue(&key, "left.test", |_| {}), middle.der(), root.der()]
        .map(|der| Certificate::from_der(&der).unwrap());
    let chain = vec![leaf.clone(), middle.clone(), root.clone()];
    let good = Credential::certified(&key.pkcs8, chain.clone()).unwrap();
    assert_eq!((good.certificate(), good.chain().len()), (Some(&leaf), 3));
    assert!(!format!("{good:?}").contains(&hex::encode(&key.pkcs8[40..60])));
    let told = |key: &[u8], chain: Vec<Certificate>| {
        Credential::certified(key, chain).unwrap_err().to_string()
    };
    assert_eq!(told(&key.pkcs8, Vec::new()), "there is no certificate");
    assert_eq!(
        told(&Key::p256().pkcs8, chain.clone()),
        "the private key does not fit the certificate of O=Test, CN=left.test: that is for ECDSA P-256, the key is \
         ECDSA P-256, but another one"
    );
    assert_eq!(
        told(&Key::ed25519().pkcs8, chain.clone()),
        "the private key does not fit the certificate of O=Test, CN=left.test: that is for ECDSA P-256, the key is Ed25519"
    );
    assert_eq!(
        told(&key.pkcs8, vec![leaf.clone(), root]),
        "the chain is not in order: the certificate of O=Test, CN=left.test was issued by O=Test, CN=Middle, but the next \
         one is that of O=Test, CN=Root"
    );
    assert!(told(&key.pkcs8, [vec![leaf], vec![middle; 8]].concat()).starts_with("9 certificates"));
    // What `openssl pkcs8 -topk8` writes.
    let encrypted = b"\x30\x14\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d\x04\x05abcde";
    assert_eq!(Credential::raw(encrypted).unwrap_err(), PkiError::Encrypted);
}

#[test]
fn more_certificates_or_octets_than_anybody_needs_are_not_looked_at() {
    let (ca, key) = (Authority::root("CA"), Key::p256());
    let leaf = ca.issue(&key, "left.test", |_| {});
    let trust = trusting(&ca.der());
    assert_eq!(leaves(&trust, &[&leaf], &left(), NOW).map(|all| all.len()), Ok(1));
    let many = vec![leaf.as_slice(); 100];
    let told = leaves(&trust, &many, &left(), NOW).unwrap_err().to_string();
    assert_eq!(
        told,
        "it sent 100 certificates, which is too much: at most 8 certificates of 16 KiB together"
    );
    let long = ca.issue(&key, "left.test", |params| {
        let extension = testkit::pki::rcgen::CustomExtension::from_oid_content(
            &[1, 3, 6, 1, 4, 1, 99999, 1],
            vec![4; 60_000],
        );
        params.custom_extensions.push(extension);
    });
    let refused = leaves(&trust, &[&long], &left(), NOW).unwrap_err();
    assert!(matches!(refused, AuthProblem::TooMuch(_)), "{refused}");
    assert_eq!(leaves(&trust, &[&leaf], &left(), None), Err(AuthProblem::NoClock));
}

#[test]
fn a_critical_extension_that_nobody_knows_is_refused() {
    let (ca, key) = (Authority::root("CA"), Key::p256());
    for critical in [false, true] {
        let leaf = ca.issue(&key, "left.test", |params| {
            let mut extension = testkit::pki::rcgen::CustomExtension::from_oid_content(
                &[1, 3, 6, 1, 4, 1, 99999, 1],
                vec![5, 0],
            );
            extension.set_criticality(critical);
            params.custom_extensions.push(extension);
        });
        let found = leaves(&trusting(&ca.der()), &[&leaf], &left(), NOW);
        assert_eq!(found.is_err(), critical, "{found:?}");
    }
}

/// Two CAs that certify each other, and neither is trusted: the search ends.
#[test]
fn a_loop_of_issuers_ends() {
    let key = Key::p256();
    let [one, two] = ["One", "Two"].map(Authority::root);
    let [one_by_two, two_by_one] = [one.certified_by(&two), two.certified_by(&one)];
    let leaf = one.issue(&key, "left.test", |_| {});
    let sent: Vec<&[u8]> = [leaf.as_slice()]
        .into_iter()
        .chain([one_by_two.as_slice(), &two_by_one].into_iter().cycle().take(7))
        .collect();
    let trust = trusting(&Authority::root("Three").der());
    let refused = leaves(&trust, &sent, &left(), NOW).unwrap_err();
    assert!(
        matches!(refused, AuthProblem::UnknownIssuer { .. } | AuthProblem::Chain { .. }),
        "{refused}"
    );
    // And with the anchor in the loop it is found.
    assert!(leaves(&trusting(&two.der()), &sent, &left(), NOW).is_ok());
}

#[test]
fn octets_that_are_no_certificate_are_told() {
    let ca = Authority::root("CA");
    for sent in [&b""[..], b"\x30\x00", &ca.der()[1..], &[0x30; 4000]] {
        let refused = leaves(&trusting(&ca.der()), &[sent], &left(), NOW).unwrap_err();
        assert!(matches!(refused, AuthProblem::Unreadable(_)), "{refused}");
    }
}

#[test]
fn a_pin_does_not_extend_to_what_it_issues_or_to_other_names() {
    let (key, other) = (Key::p256(), Key::p256());
    let pinned = Certificate::from_der(&self_signed(&key, "left.test")).unwrap();
    let trust = CertificateTrust { pinned: vec![pinned.clone()], ..CertificateTrust::default() };
    assert_eq!(leaves(&trust, &[], &left(), NOW), Ok(vec![pinned.clone()]));
    let name = Identity::Fqdn("right.test".into());
    let refused = leaves(&trust, &[], &name, NOW).unwrap_err();
    assert!(matches!(refused, AuthProblem::Identity { .. }), "{refused}");
    let late = Some(pinned.not_after() + 1);
    let refused = leaves(&trust, &[], &left(), late).unwrap_err();
    assert!(matches!(refused, AuthProblem::Expired { .. }), "{refused}");
    let twin = self_signed(&other, "left.test");
    assert!(leaves(&trust, &[&twin], &left(), NOW).is_err());
}

#[test]
fn lists_say_whose_and_when() {
    let ca = Authority::root("CA");
    let list = Crl::from_der(&ca.crl(&[7, 9], (8, 1))).unwrap();
    assert_eq!(list.issuer().to_string(), "O=Test, CN=CA");
    assert_eq!(list.revoked(), 2);
    assert_eq!(list.next_update(), Some(list.this_update() + 61 * 24 * 3600));
    for bad in [&b""[..], &ca.der(), &ca.crl(&[], (8, 1))[..50]] {
        assert!(matches!(Crl::from_der(bad), Err(PkiError::Crl(_))));
    }
}
