//! Known answers for the ciphers, and a comparison with independent implementations.

use aes_gcm::{
    Aes128Gcm, Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use proptest::prelude::*;

use super::{OpeningKey, SealingKey};
use crate::{
    header::{Layout, Parts},
    reason::DropReason,
    suite::{Sha2, Suite},
    tests::{SUITES, vectors},
};

/// draft-mcgrew-gcm-test-01. Case 7 has a 192-bit key, which the backend does not have.
#[test]
fn gcm_packets_of_the_draft() {
    let Some(file) = vectors::external("rfc/mcgrew_gcm_esp.json") else { return };
    let mut run = 0;
    for case in file["cases"].as_array().unwrap() {
        let key = [vectors::octets(&case["key"]), vectors::octets(&case["salt"])].concat();
        let suite = match key.len() {
            20 => Suite::AesGcm16 { key_bits: 128 },
            36 => Suite::AesGcm16 { key_bits: 256 },
            _ => continue,
        };
        let high = case["seq_hi"].as_str().map(|high| u32::from_str_radix(high, 16).unwrap());
        let packet = vectors::octets(&case["packet"]);
        let plain = vectors::octets(&case["pt"]);
        let sealed = seal(suite, (&key, &[]), high, &packet[..16], &plain);
        assert_eq!(sealed, packet, "case {}", case["id"]);
        assert_eq!(open(suite, (&key, &[]), high, &packet), Ok(plain), "case {}", case["id"]);
        run += 1;
    }
    assert_eq!(run, 13);
}

/// RFC 3602 §4 and NIST SP 800-38A App. F.2: the ciphertext; the ICV is checked elsewhere.
#[test]
fn cbc_blocks_of_rfc_3602_and_sp_800_38a() {
    for (file, count) in [("rfc3602.txt", 8), ("sp800-38a.txt", 3)] {
        let cases = vectors::load(file);
        assert_eq!(cases.len(), count);
        for case in cases {
            let (key, iv) = (case.field("key"), case.field("iv"));
            let key_bits = u16::try_from(key.len() * 8).unwrap();
            let suite = Suite::AesCbcHmacSha2 { key_bits, hash: Sha2::Sha256 };
            let keys = (key, &[9; 32][..]);
            let front = [&[0; 8], iv].concat();
            let sealed = seal(suite, keys, None, &front, case.field("plaintext"));
            let ciphertext = &sealed[front.len()..sealed.len() - 16];
            assert_eq!(ciphertext, case.field("ciphertext"), "{file} {}", case.name);
            let opened = open(suite, keys, None, &sealed).unwrap();
            assert_eq!(opened, case.field("plaintext"), "{file} {}", case.name);
        }
    }
}

/// NIST SP 800-38A App. C: the IV is the enciphered nonce. With a zero IV, one block of CBC is one block of AES.
#[test]
fn cbc_iv_is_the_enciphered_sequence_number() {
    for key_bits in [128, 192, 256] {
        let suite = Suite::AesCbcHmacSha2 { key_bits, hash: Sha2::Sha256 };
        let keys = (&[0x42; 32][..usize::from(key_bits / 8)], &[9; 32][..]);
        let number: u64 = 0x0102_0304_0506_0708;
        let mut iv = [0; 16];
        SealingKey::new(suite, keys.0, keys.1).unwrap().write_iv(&mut iv, number);
        let nonce = u128::from(number).to_be_bytes();
        let sealed = seal(suite, keys, None, &[0; 24], &nonce);
        assert_eq!(sealed[24..40], iv);
    }
}

#[test]
fn gcm_iv_is_the_sequence_number() {
    let suite = Suite::AesGcm16 { key_bits: 128 };
    let mut iv = [0; 8];
    let key = SealingKey::new(suite, &[1; 20], &[]).unwrap();
    key.write_iv(&mut iv, 0x0102_0304_0506_0708);
    assert_eq!(iv, [1, 2, 3, 4, 5, 6, 7, 8]);
}

proptest! {
    /// RFC 4106 §4, §5, computed by the `aes-gcm` crate.
    #[test]
    fn gcm_equals_another_implementation(
        key: [u8; 36],
        wide: bool,
        header: [u8; 8],
        iv: [u8; 8],
        high: Option<u32>,
        words in 1..400_usize,
        seed: u8,
    ) {
        let (suite, key) = if wide {
            (Suite::AesGcm16 { key_bits: 256 }, &key[..])
        } else {
            (Suite::AesGcm16 { key_bits: 128 }, &key[..20])
        };
        let plain: Vec<u8> = (0..=255).cycle().take(words * 4).map(|octet: u8| octet ^ seed).collect();
        let front = [header, iv].concat();
        let sealed = seal(suite, (key, &[]), high, &front, &plain);

        let (key, salt) = key.split_at(key.len() - 4);
        let nonce: [u8; 12] = [salt, &iv].concat().try_into().unwrap();
        let (spi, low) = header.split_at(4);
        let aad = match high {
            Some(high) => [spi, &high.to_be_bytes(), low].concat(),
            None => header.to_vec(),
        };
        let payload = Payload { msg: &plain, aad: &aad };
        let expected = if wide {
            Aes256Gcm::new_from_slice(key).unwrap().encrypt(&nonce.into(), payload)
        } else {
            Aes128Gcm::new_from_slice(key).unwrap().encrypt(&nonce.into(), payload)
        };
        prop_assert_eq!(&sealed[16..], expected.unwrap());
    }

    /// RFC 4303 §2.2.1, §3.3.2.1: HMAC over header, IV, ciphertext and high half, computed by `ring`.
    #[test]
    fn cbc_icv_equals_another_implementation(
        suite in prop::sample::select(&SUITES[2..]),
        keys: ([u8; 32], [u8; 32]),
        front: [u8; 24],
        high: Option<u32>,
        blocks in 1..100_usize,
    ) {
        let Suite::AesCbcHmacSha2 { hash, .. } = suite else { unreachable!() };
        let algorithm = match hash {
            Sha2::Sha256 => ring::hmac::HMAC_SHA256,
            Sha2::Sha384 => ring::hmac::HMAC_SHA384,
            Sha2::Sha512 => ring::hmac::HMAC_SHA512,
        };
        let encr = &keys.0[..suite.encr_key_len()];
        let integ = &[keys.1, keys.0].concat()[..suite.integ_key_len()];
        let sealed = seal(suite, (encr, integ), high, &front, &vec![7; blocks * 16]);
        let (covered, icv) = sealed.split_at(sealed.len() - suite.icv_len());
        let mut mac = ring::hmac::Context::with_key(&ring::hmac::Key::new(algorithm, integ));
        mac.update(covered);
        if let Some(high) = high {
            mac.update(&high.to_be_bytes());
        }
        let whole = mac.sign();
        prop_assert_eq!(icv, &whole.as_ref()[..suite.icv_len()]);
    }
}

#[test]
fn a_body_that_is_not_blocks_is_refused() {
    let suite = Suite::AesCbcHmacSha2 { key_bits: 128, hash: Sha2::Sha256 };
    let key = SealingKey::new(suite, &[1; 16], &[2; 32]).unwrap();
    let mut packet = vec![0; 24 + 17 + 16];
    let mut parts = Parts::split(&mut packet, Layout::of(suite)).unwrap();
    assert_eq!(key.seal(&mut parts, None), Err(DropReason::BadLength));
}

/// Seals `plain` behind `front` (header and IV).
fn seal(
    suite: Suite,
    keys: (&[u8], &[u8]),
    high: Option<u32>,
    front: &[u8],
    plain: &[u8],
) -> Vec<u8> {
    let mut packet = [front, plain, &vec![0; suite.icv_len()]].concat();
    let mut parts = Parts::split(&mut packet, Layout::of(suite)).unwrap();
    SealingKey::new(suite, keys.0, keys.1).unwrap().seal(&mut parts, high).unwrap();
    packet
}

fn open(
    suite: Suite,
    keys: (&[u8], &[u8]),
    high: Option<u32>,
    packet: &[u8],
) -> Result<Vec<u8>, DropReason> {
    let mut packet = packet.to_vec();
    let mut parts = Parts::split(&mut packet, Layout::of(suite)).unwrap();
    OpeningKey::new(suite, keys.0, keys.1).unwrap().open(&mut parts, high)?;
    Ok(parts.body.to_vec())
}
