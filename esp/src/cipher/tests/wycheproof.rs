//! Wycheproof: edge cases of every algorithm that has a set there, with both backends.
//!
//! ```text
//! valid      sealed alike, and opened          invalid    refused
//! ```

use wycheproof::{TestResult, aead, mac, mac_with_nonce};

use super::aes;
use crate::{
    cipher::{
        Run,
        aead::{InPlace, fast, rust},
        mac::MacKey,
    },
    suite::{Aead, Integrity},
};

/// One case for one library.
fn check(key: &(impl InPlace + ?Sized), case: &aead::Test) {
    let (mut body, mut icv) = (case.ct.to_vec(), vec![0; case.tag.len()]);
    let opened = key.open(&case.nonce, &case.aad, &mut body, &case.tag);
    if case.result == TestResult::Invalid {
        assert!(opened.is_err(), "case {}", case.tc_id);
        return;
    }
    assert_eq!((opened, &body), (Ok(()), &case.pt.to_vec()), "case {}", case.tc_id);
    key.seal(&case.nonce, &case.aad, &mut body, &mut icv).unwrap();
    assert_eq!((body, icv), (case.ct.to_vec(), case.tag.to_vec()), "case {}", case.tc_id);
}

/// Runs the groups that `which` names an algorithm for, by key, nonce and ICV length in octets; tells how many cases those are.
fn run(name: aead::TestName, which: impl Fn(usize, usize, usize) -> Option<Aead>) -> usize {
    let (set, mut count) = (aead::TestSet::load(name).unwrap(), 0);
    for group in &set.test_groups {
        let sizes = (group.key_size / 8, group.nonce_size / 8, group.tag_size / 8);
        let Some(aead) = which(sizes.0, sizes.1, sizes.2) else { continue };
        for case in &group.tests {
            check(&*rust::key(aead, &case.key).unwrap(), case);
            if let Some(key) = fast::Key::new(aead, &case.key) {
                check(&key, case);
            }
            count += 1;
        }
    }
    count
}

#[test]
fn gcm() {
    let count = run(aead::TestName::AesGcm, |key, nonce, icv| match (nonce, icv) {
        (12, 16) => Some(Aead::AesGcm16(aes(key))),
        _ => None,
    });
    assert_eq!(count, 197);
}

#[test]
fn ccm() {
    let count = run(aead::TestName::AesCcm, |key, nonce, icv| match (nonce, icv) {
        (11, 8) => Some(Aead::AesCcm8(aes(key))),
        (11, 12) => Some(Aead::AesCcm12(aes(key))),
        (11, 16) => Some(Aead::AesCcm16(aes(key))),
        _ => None,
    });
    assert_eq!(count, 18);
}

#[test]
fn chacha20_poly1305() {
    let count = run(aead::TestName::ChaCha20Poly1305, |_, nonce, icv| match (nonce, icv) {
        (12, 16) => Some(Aead::ChaCha20Poly1305),
        _ => None,
    });
    assert_eq!(count, 316);
}

#[test]
fn gmac() {
    let (set, mut count) =
        (mac_with_nonce::TestSet::load(mac_with_nonce::TestName::Gmac).unwrap(), 0);
    for group in
        set.test_groups.iter().filter(|group| (group.nonce_size, group.tag_size) == (96, 128))
    {
        for case in &group.tests {
            let key = rust::key(Aead::AesGmac(aes(case.key.len())), &case.key).unwrap();
            let opened = key.open(&case.nonce, &case.msg, &mut [], &case.tag);
            assert_eq!(opened.is_ok(), case.result == TestResult::Valid, "case {}", case.tc_id);
            count += 1;
        }
    }
    assert_eq!(count, 207);
}

#[test]
fn macs() {
    use mac::TestName;
    let mut counts = Vec::new();
    for (name, integrity) in [
        (TestName::HmacSha1, Integrity::HmacSha1_96),
        (TestName::HmacSha256, Integrity::HmacSha2_256_128),
        (TestName::HmacSha384, Integrity::HmacSha2_384_192),
        (TestName::HmacSha512, Integrity::HmacSha2_512_256),
        (TestName::AesCmac, Integrity::AesCmac96),
    ] {
        let (set, mut count) = (mac::TestSet::load(name).unwrap(), 0);
        for case in set.test_groups.iter().flat_map(|group| &group.tests) {
            let of_aes = integrity == Integrity::AesCmac96;
            let Some(key) = MacKey::new(integrity, &case.key) else { continue };
            assert!(!of_aes || case.key.len() == 16);
            let (mut packet, icv_len) = ([&case.msg[..], &case.tag].concat(), case.tag.len());
            let verified = key.verify(&packet, None, icv_len).is_ok();
            assert_eq!(verified, case.result == TestResult::Valid, "{name:?} {}", case.tc_id);
            key.write(&mut Run::one(&mut packet, &[None]), icv_len).unwrap();
            let same = packet.ends_with(&case.tag);
            assert_eq!(same, case.result == TestResult::Valid, "{name:?} {}", case.tc_id);
            count += 1;
        }
        counts.push(count);
    }
    assert_eq!(counts, [170, 174, 174, 174, 102]);
}
