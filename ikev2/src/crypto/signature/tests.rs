//! Every scheme signs and verifies, nothing else does, and Wycheproof's forgeries are refused.

use testkit::pki::{Key, P521};

use super::*;
use crate::crypto::vectors;
use crate::pki::RsaPadding;

const OCTETS: &[u8] = b"what RFC 7296 2.15 says";

const ALL_HASHES: Hashes = Hashes(1 << 2 | 1 << 3 | 1 << 4 | 1 << 5);

fn keys() -> Vec<(SigningKey, PublicKey)> {
    let ders = [Key::rsa(2048), Key::rsa(3072), Key::rsa(4096), Key::p256(), Key::p384()];
    let ders = ders.into_iter().map(|key| key.pkcs8);
    let others = [P521::KEY.to_vec(), Key::ed25519().pkcs8];
    ders.chain(others).map(|der| SigningKey::from_der(&der).unwrap()).collect()
}

fn schemes() -> Vec<Scheme> {
    let mut all = vec![Scheme::Ed25519];
    all.extend([Curve::P256, Curve::P384, Curve::P521].map(Scheme::EcdsaAlone));
    for hash in Hash::ALL {
        let of_hash = [Scheme::RsaAlone, Scheme::RsaPkcs1, Scheme::RsaPss, Scheme::Ecdsa];
        all.extend(of_hash.map(|scheme| scheme(hash)));
    }
    all
}

fn fits(scheme: Scheme, kind: KeyKind) -> bool {
    match scheme {
        Scheme::RsaAlone(_) | Scheme::RsaPkcs1(_) | Scheme::RsaPss(_) => {
            matches!(kind, KeyKind::Rsa { .. })
        }
        Scheme::EcdsaAlone(curve) => Curve::of(kind) == Some(curve),
        Scheme::Ecdsa(_) => Curve::of(kind).is_some(),
        Scheme::Ed25519 => kind == KeyKind::Ed25519,
    }
}

#[test]
fn every_scheme_of_a_key_verifies_and_no_other() {
    for (key, public) in keys() {
        for scheme in schemes() {
            let signed = key.sign(scheme, OCTETS);
            assert_eq!(signed.is_some(), fits(scheme, public.kind()), "{scheme:?} {public:?}");
            let Some((method, data)) = signed else { continue };
            assert_eq!(verify(&public, method, &data, OCTETS), Ok(scheme));
            let bad = verify(&public, method, &data, b"the other side's octets");
            assert!(matches!(bad, Err(AuthProblem::Signature { .. })), "{scheme:?}");
        }
    }
}

#[test]
fn every_octet_of_a_signature_counts() {
    let (key, public) = SigningKey::from_der(&Key::p256().pkcs8).unwrap();
    let (rsa, rsa_public) = SigningKey::from_der(&Key::rsa(2048).pkcs8).unwrap();
    let (ed, ed_public) = SigningKey::from_der(&Key::ed25519().pkcs8).unwrap();
    for (key, public, scheme) in [
        (&key, &public, Scheme::Ecdsa(Hash::Sha256)),
        (&key, &public, Scheme::EcdsaAlone(Curve::P256)),
        (&rsa, &rsa_public, Scheme::RsaPss(Hash::Sha256)),
        (&rsa, &rsa_public, Scheme::RsaPkcs1(Hash::Sha384)),
        (&ed, &ed_public, Scheme::Ed25519),
    ] {
        let (method, data) = key.sign(scheme, OCTETS).unwrap();
        for at in 0..data.len() {
            let mut wrong = data.clone();
            wrong[at] ^= 1;
            assert!(verify(public, method, &wrong, OCTETS).is_err(), "{scheme:?} octet {at}");
            assert!(verify(public, method, &data[..at], OCTETS).is_err(), "{scheme:?} cut at {at}");
        }
        let longer = [data.as_slice(), &[0]].concat();
        assert!(verify(public, method, &longer, OCTETS).is_err(), "{scheme:?} and an octet more");
    }
}

#[test]
fn a_signature_of_one_key_is_none_of_another() {
    for ((key, public), (_, other)) in keys().into_iter().zip(keys().into_iter().rev()) {
        let scheme = key.scheme(Some(ALL_HASHES), RsaPadding::Pss).unwrap();
        let (method, data) = key.sign(scheme, OCTETS).unwrap();
        if public != other {
            assert!(verify(&other, method, &data, OCTETS).is_err(), "{public:?} {other:?}");
        }
    }
}

#[test]
fn the_peers_hashes_decide_how_we_sign() {
    let set = |data: &[u8]| Some(Hashes::parse(data));
    let sha2 = set(&[0, 2, 0, 3, 0, 4]);
    for (der, hashes, padding, scheme) in [
        (Key::rsa(2048).pkcs8, sha2, RsaPadding::Pss, Some(Scheme::RsaPss(Hash::Sha256))),
        (Key::rsa(2048).pkcs8, sha2, RsaPadding::Pkcs1, Some(Scheme::RsaPkcs1(Hash::Sha256))),
        (Key::rsa(2048).pkcs8, set(&[0, 4]), RsaPadding::Pss, Some(Scheme::RsaPss(Hash::Sha512))),
        (Key::rsa(2048).pkcs8, None, RsaPadding::Pss, Some(Scheme::RsaAlone(Hash::Sha256))),
        (Key::rsa(2048).pkcs8, set(&[0, 1, 0, 5, 9, 9, 0]), RsaPadding::Pss, None),
        (Key::p256().pkcs8, sha2, RsaPadding::Pss, Some(Scheme::Ecdsa(Hash::Sha256))),
        (Key::p384().pkcs8, sha2, RsaPadding::Pss, Some(Scheme::Ecdsa(Hash::Sha384))),
        (Key::p384().pkcs8, set(&[0, 2]), RsaPadding::Pss, Some(Scheme::Ecdsa(Hash::Sha256))),
        (P521::KEY.to_vec(), sha2, RsaPadding::Pss, Some(Scheme::Ecdsa(Hash::Sha512))),
        (P521::KEY.to_vec(), None, RsaPadding::Pss, Some(Scheme::EcdsaAlone(Curve::P521))),
        (Key::p384().pkcs8, None, RsaPadding::Pss, Some(Scheme::EcdsaAlone(Curve::P384))),
        (Key::ed25519().pkcs8, set(&[0, 2, 0, 5]), RsaPadding::Pss, Some(Scheme::Ed25519)),
        (Key::ed25519().pkcs8, sha2, RsaPadding::Pss, None),
        (Key::ed25519().pkcs8, None, RsaPadding::Pss, None),
    ] {
        let (key, public) = SigningKey::from_der(&der).unwrap();
        assert_eq!(key.scheme(hashes, padding), scheme, "{public:?} {hashes:?}");
    }
    assert_eq!(ALL_HASHES, Hashes::parse(&Hashes::OURS));
    assert_eq!(ALL_HASHES.numbers(), [2, 3, 4, 5]);
}

/// RFC 7427 appendix A and RFC 8420 appendix A, copied from there.
#[test]
fn algorithms_are_named_as_the_rfcs_print_them() {
    for (scheme, printed) in [
        (Scheme::RsaPkcs1(Hash::Sha256), "300d06092a864886f70d01010b0500"),
        (Scheme::RsaPkcs1(Hash::Sha384), "300d06092a864886f70d01010c0500"),
        (Scheme::RsaPkcs1(Hash::Sha512), "300d06092a864886f70d01010d0500"),
        (Scheme::Ecdsa(Hash::Sha256), "300a06082a8648ce3d040302"),
        (Scheme::Ecdsa(Hash::Sha384), "300a06082a8648ce3d040303"),
        (Scheme::Ecdsa(Hash::Sha512), "300a06082a8648ce3d040304"),
        (Scheme::Ed25519, "300506032b6570"),
    ] {
        assert_eq!(hex::encode(scheme.identifier()), printed);
        assert_eq!(Scheme::identified(&hex::decode(printed).unwrap()), Some(scheme));
    }
    // A.4.3, with the trailerField that RFC 4055 §3.1 wants left out.
    let printed = "304606092a864886f70d01010a3039a00f300d06096086480165030402010500a11c301a0\
                   6092a864886f70d010108300d06096086480165030402010500a203020120a303020101";
    let printed = hex::decode(printed).unwrap();
    assert_eq!(Scheme::identified(&printed), Some(Scheme::RsaPss(Hash::Sha256)));
    let ours = Scheme::RsaPss(Hash::Sha256).identifier();
    assert_eq!(hex::encode(&ours[17..]), hex::encode(&printed[17..printed.len() - 5]));
    for hash in Hash::ALL {
        let ours = Scheme::RsaPss(hash).identifier();
        assert_eq!(Scheme::identified(&ours), Some(Scheme::RsaPss(hash)));
    }
}

#[test]
fn sha1_and_parameters_by_default_are_refused_by_name() {
    let (_, public) = SigningKey::from_der(&Key::rsa(2048).pkcs8).unwrap();
    for (algorithm, told) in [
        ("300d06092a864886f70d0101050500", "RSA with SHA-1"),
        ("300906072a8648ce3d0401", "ECDSA with SHA-1"),
        ("300d06092a864886f70d01010a3000", "RSASSA-PSS with other parameters"),
        (
            "303e06092a864886f70d01010a3031a00b300906052b0e03021a0500a118301606092a864886f70d\
             010108300906052b0e03021a0500a203020114a303020101",
            "RSASSA-PSS with other parameters",
        ),
        // A salt of 0 and of 64 octets with SHA2-256.
        (
            "304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70\
             d010108300d06096086480165030402010500a203020100",
            "RSASSA-PSS with other parameters",
        ),
        (
            "304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70\
             d010108300d06096086480165030402010500a203020140",
            "RSASSA-PSS with other parameters",
        ),
        ("300b0609608648016503040302", "the algorithm 300b06"),
        ("", "the algorithm "),
    ] {
        let algorithm = hex::decode(algorithm).unwrap();
        let len = u8::try_from(algorithm.len()).unwrap();
        let data = [&[len], algorithm.as_slice(), &[7; 256]].concat();
        let refused = verify(&public, AuthMethod::DIGITAL_SIGNATURE, &data, OCTETS);
        let Err(AuthProblem::Algorithm(name)) = refused else { panic!("{refused:?}") };
        assert!(name.starts_with(told), "{name}");
    }
    for data in [b"".as_slice(), &[12], &[12, 0x30]] {
        let refused = verify(&public, AuthMethod::DIGITAL_SIGNATURE, data, OCTETS);
        assert!(matches!(refused, Err(AuthProblem::Algorithm(_))), "{refused:?}");
    }
    for method in [AuthMethod::NULL, AuthMethod::DSS, AuthMethod::SHARED_KEY, AuthMethod(200)] {
        let refused = verify(&public, method, &[7; 256], OCTETS);
        assert!(matches!(refused, Err(AuthProblem::Method { .. })), "{refused:?}");
    }
}

/// ECDSA with r or s of zero, of the order, or above it (CVE-2022-21449).
#[test]
fn numbers_out_of_range_are_no_signature() {
    let (_, public) = SigningKey::from_der(&Key::p256().pkcs8).unwrap();
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order = hex::decode(order).unwrap();
    for number in [vec![0; 32], order, vec![255; 32]] {
        for one in
            [[number.clone(), number.clone()], [vec![1; 32], number.clone()], [number, vec![1; 32]]]
        {
            let data = one.concat();
            let refused = verify(&public, AuthMethod::ECDSA_SHA_256_P256, &data, OCTETS);
            assert!(matches!(refused, Err(AuthProblem::Signature { .. })), "{refused:?}");
        }
    }
}

#[test]
fn private_keys_are_read_in_three_forms() {
    let rsa = Key::rsa(2048).pkcs8;
    let inner = pkcs8::PrivateKeyInfoRef::try_from(rsa.as_slice()).unwrap();
    let (_, bare) = SigningKey::from_der(inner.private_key.as_bytes()).unwrap();
    assert_eq!(bare, SigningKey::from_der(&rsa).unwrap().1);
    // `openssl ecparam -name prime256v1 -genkey -noout -outform DER`
    let sec1 = "30770201010420a15ae13bb6cc0a4ef41dbc7f3eb2a5f8ce6ba8c8cb2a7e5d5f5d3a6f0b1b2c3da00a06082a8648ce3d030107";
    let mut sec1 = hex::decode(sec1).unwrap();
    sec1[1] = u8::try_from(sec1.len() - 2).unwrap();
    let (_, public) = SigningKey::from_der(&sec1).unwrap();
    assert_eq!(public.kind(), KeyKind::EcdsaP256);
    for bad in [b"".as_slice(), b"-----BEGIN PRIVATE KEY-----", &[0x30, 0], &rsa[..100]] {
        let refused = SigningKey::from_der(bad).map(|(_, public)| public);
        assert!(matches!(refused, Err(crate::pki::PkiError::PrivateKey(_))), "{refused:?}");
    }
}

/// A key of Wycheproof's, in SubjectPublicKeyInfo or as it says it.
fn key_of(group: &serde_json::Value) -> Option<PublicKey> {
    let spki = ["publicKeyDer", "publicKeyAsn"].iter().find_map(|name| group[*name].as_str())?;
    PublicKey::from_spki_der(&hex::decode(spki).unwrap()).ok()
}

/// Each answer of a Wycheproof file to our `verify`, and how many were valid and invalid.
fn hold_against_wycheproof(file: &str, scheme: Scheme) -> Option<[usize; 2]> {
    let mut seen = [0; 2];
    for (group, test) in vectors::wycheproof(file)? {
        let [message, signature] = ["msg", "sig"].map(|field| vectors::octets(&test[field]));
        let algorithm = scheme.identifier();
        let len = u8::try_from(algorithm.len()).unwrap();
        let data = [&[len], algorithm.as_slice(), &signature].concat();
        let key = key_of(&group);
        let good = key.is_some_and(|key| {
            verify(&key, AuthMethod::DIGITAL_SIGNATURE, &data, &message).is_ok()
        });
        match test["result"].as_str().unwrap() {
            "valid" => assert!(good, "{file} {}", test["tcId"]),
            // "acceptable" is PKCS#1 without the NULL in DigestInfo: either is right, we refuse.
            _ => assert!(!good, "{file} {} {}", test["tcId"], test["comment"]),
        }
        seen[usize::from(good)] += 1;
    }
    Some(seen)
}

#[test]
fn refuses_and_takes_what_wycheproof_does() {
    let (p256, p384) = (Scheme::Ecdsa(Hash::Sha256), Scheme::Ecdsa(Hash::Sha384));
    let (pss, rsa) = (Scheme::RsaPss(Hash::Sha256), Scheme::RsaPkcs1(Hash::Sha256));
    for (file, scheme) in [
        ("ecdsa_secp256r1_sha256", p256),
        ("ecdsa_secp384r1_sha384", p384),
        ("ed25519", Scheme::Ed25519),
        ("rsa_pss_2048_sha256_mgf1_32", pss),
        ("rsa_signature_2048_sha256", rsa),
        ("rsa_signature_3072_sha256", rsa),
    ] {
        if let Some([refused, taken]) = hold_against_wycheproof(file, scheme) {
            assert!(refused > 20 && taken > 5, "{file}: {refused} refused, {taken} taken");
        }
    }
}
