//! Known answers: RFCs, drafts, NIST, and what the Linux kernel sealed.

use super::{aes, open, seal};
use crate::{
    cipher::{Run, mac::MacKey},
    suite::{Aead, Cipher, Integrity, Suite},
    tests::vectors,
};

/// draft-mcgrew-gcm-test-01, three sizes of keys, with and without ESN.
#[test]
fn gcm_packets_of_the_draft() {
    let Some(file) = vectors::external("rfc/mcgrew_gcm_esp.json") else { return };
    let mut run = 0;
    for case in file["cases"].as_array().unwrap() {
        let (key, salt) = (vectors::octets(&case["key"]), vectors::octets(&case["salt"]));
        let suite = Suite::Combined(Aead::AesGcm16(aes(key.len())));
        let key = [key, salt].concat();
        let high = case["seq_hi"].as_str().map(|high| u32::from_str_radix(high, 16).unwrap());
        let packet = vectors::octets(&case["packet"]);
        let plain = vectors::octets(&case["pt"]);
        let sealed = seal(suite, (&key, &[]), high, &packet[..16], &plain);
        assert_eq!(sealed, packet, "case {}", case["id"]);
        assert_eq!(open(suite, (&key, &[]), high, &packet), Ok(plain), "case {}", case["id"]);
        run += 1;
    }
    assert_eq!(run, 14);
}

/// RFC 7634 App. A.
#[test]
fn chacha20_poly1305_packet_of_rfc_7634() {
    let Some(file) = vectors::external("rfc/rfc7634_chacha20poly1305_esp_ike.json") else { return };
    let suite = Suite::Combined(Aead::ChaCha20Poly1305);
    let key = [vectors::octets(&file["key"]), vectors::octets(&file["salt"])].concat();
    let packet = vectors::octets(&file["esp"]["packet"]);
    let plain = vectors::octets(&file["esp"]["plaintext_with_trailer"]);
    assert_eq!(seal(suite, (&key, &[]), None, &packet[..16], &plain), packet);
    assert_eq!(open(suite, (&key, &[]), None, &packet), Ok(plain));
}

/// RFC 3602 §4 and NIST SP 800-38A App. F.2: the ciphertext; the ICV is checked elsewhere.
#[test]
fn cbc_blocks_of_rfc_3602_and_sp_800_38a() {
    for (file, count) in [("rfc3602.txt", 8), ("sp800-38a.txt", 3)] {
        let cases = vectors::load(file);
        assert_eq!(cases.len(), count);
        for case in cases {
            let (key, iv) = (case.field("key"), case.field("iv"));
            let cipher = Cipher::AesCbc(aes(key.len()));
            let front = [&[0; 8], iv].concat();
            check_body(cipher, key, &front, case.field("plaintext"), case.field("ciphertext"));
        }
    }
}

/// RFC 3686 §6.
#[test]
fn ctr_of_rfc_3686() {
    let cases = vectors::load("rfc3686.txt");
    assert_eq!(cases.len(), 9);
    for case in cases {
        let (key, nonce) = (case.field("key"), case.field("nonce"));
        let cipher = Cipher::AesCtr(aes(key.len()));
        let front = [&[0; 8], case.field("iv")].concat();
        let key = [key, nonce].concat();
        check_body(cipher, &key, &front, case.field("plain"), case.field("sealed"));
    }
}

/// NIST SP 800-67 App. B.1: blocks by themselves, as they are behind an IV of zeros.
#[test]
fn triple_des_blocks_of_sp_800_67() {
    let cases = vectors::load("sp800-67.txt");
    assert_eq!(cases.len(), 1);
    for case in cases {
        let (plain, sealed) = (case.field("plain").chunks(8), case.field("sealed").chunks(8));
        assert_eq!((plain.len(), sealed.len()), (3, 3));
        for (plain, sealed) in plain.zip(sealed) {
            check_body(Cipher::TripleDesCbc, case.field("key"), &[0; 16], plain, sealed);
        }
    }
}

/// 3DES, AES-CBC and AES-CTR as Linux 4.4 sends them; without ICV, so that only the bodies are compared.
#[test]
fn bodies_of_linux_4_4() {
    let Some(file) = vectors::external("rfc/linux44_xfrm_esp_reference.json") else { return };
    let mut run = 0;
    for case in file["cases"].as_array().unwrap() {
        let key = vectors::octets(&case["key"]);
        let cipher = match case["alg"].as_str().unwrap() {
            "cbc(des3_ede)" => Cipher::TripleDesCbc,
            "cbc(aes)" => Cipher::AesCbc(aes(key.len())),
            "rfc3686(ctr(aes))" => Cipher::AesCtr(aes(key.len() - 4)),
            _ => continue,
        };
        let packet = vectors::octets(&case["packet"]);
        let suite = Suite::Separate(cipher, Integrity::HmacSha2_256_128);
        let (front, body) = packet.split_at(8 + suite.iv_len());
        // Authenticated by us, so that it can be opened.
        let as_null = Suite::Separate(Cipher::Null, Integrity::HmacSha2_256_128);
        let sealed = seal(as_null, (&[], &[9; 32]), None, &packet, &[]);
        let plain = open(suite, (&key, &[9; 32]), None, &sealed).unwrap();
        check_body(cipher, &key, front, &plain, body);
        let (inner_len, version) = crate::header::read_trailer(&plain).unwrap();
        let inner = crate::ip::View::parse(&plain[..inner_len]).unwrap();
        assert_eq!((inner.version(), inner.total_len), (version, inner_len));
        assert_eq!(crate::checksum::Sum::of(&plain[..20]).finish(), 0);
        run += 1;
    }
    assert_eq!(run, 3);
}

/// What the cipher makes of `plain`, whatever the ICV.
fn check_body(cipher: Cipher, key: &[u8], front: &[u8], plain: &[u8], expected: &[u8]) {
    let suite = Suite::Separate(cipher, Integrity::HmacSha2_256_128);
    let keys = (key, &[9; 32][..]);
    let sealed = seal(suite, keys, None, front, plain);
    assert_eq!(&sealed[front.len()..sealed.len() - 16], expected, "{cipher:?}");
    assert_eq!(open(suite, keys, None, &sealed).unwrap(), plain, "{cipher:?}");
}

/// RFC 4868 §2.7.2, RFC 2202 §3, RFC 3566 §4.6, RFC 4494 §5.
#[test]
fn icvs_of_the_rfcs() {
    for (file, count) in
        [("rfc4868.txt", 12), ("rfc2202.txt", 7), ("rfc3566.txt", 7), ("rfc4494.txt", 4)]
    {
        let cases = vectors::load(file);
        assert_eq!(cases.len(), count);
        for case in cases {
            let (key, data) = (case.field("key"), case.field("data"));
            let (integrity, icv) = match file {
                "rfc2202.txt" => (Integrity::HmacSha1_96, &case.field("prf")[..12]),
                "rfc3566.txt" => (Integrity::AesXcbc96, &case.field("mac")[..12]),
                "rfc4494.txt" => (Integrity::AesCmac96, case.field("icv")),
                _ => match case.field("icv") {
                    icv if icv.len() == 16 => (Integrity::HmacSha2_256_128, icv),
                    icv if icv.len() == 24 => (Integrity::HmacSha2_384_192, icv),
                    icv => (Integrity::HmacSha2_512_256, icv),
                },
            };
            let mac = MacKey::new(integrity, key).unwrap();
            // In one piece, and with its end where the high half of the sequence number is.
            let mut made = [data, &vec![0; icv.len()]].concat();
            mac.write(&mut Run::one(&mut made, &[None]), icv.len()).unwrap();
            assert_eq!(&made[data.len()..], icv, "{file} {}", case.name);
            assert_eq!(mac.verify(&made, None, icv.len()), Ok(()));
            let Some((front, high)) = data.split_last_chunk() else { continue };
            let high = Some(u32::from_be_bytes(*high));
            let mut made = [front, &vec![0; icv.len()]].concat();
            mac.write(&mut Run::one(&mut made, &[high]), icv.len()).unwrap();
            assert_eq!(&made[front.len()..], icv, "{file} {}", case.name);
            assert_eq!(mac.verify(&made, high, icv.len()), Ok(()));
        }
    }
}
