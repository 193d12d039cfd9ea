//! Two ways to compute the same: other libraries, and the same construction written down plainly.

use aes_gcm::{
    Aes128Gcm, Aes256Gcm, AesGcm, KeyInit,
    aead::{Aead as _, Payload, consts::U12},
};
use cmac::{Cmac, Mac};
use proptest::prelude::*;

use super::{octets, open, seal};
use crate::{
    cipher::{
        RUN, Run, SealingKey,
        aead::{InPlace, fast, rust},
    },
    header::Layout,
    suite::{Aead, AesKey, Cipher, Integrity, Suite},
    tests::{FAMILIES, suites},
};

/// The default library and RustCrypto, octet by octet, for every length up to 2048; each opens what the other sealed.
#[test]
fn the_two_backends_make_the_same_octets() {
    let (mut compared, nonce) = (0, octets(12, 3));
    for aead in [
        Aead::AesGcm16(AesKey::Bits128),
        Aead::AesGcm16(AesKey::Bits192),
        Aead::AesGcm16(AesKey::Bits256),
        Aead::ChaCha20Poly1305,
    ] {
        let suite = Suite::Combined(aead);
        let key = octets(suite.encr_key_len() - suite.salt_len(), 1);
        let Some(fast) = fast::Key::new(aead, &key) else { continue };
        let rust = rust::key(aead, &key).unwrap();
        for len in 0..=2048 {
            let (plain, aad) = (octets(len, 5), octets(8 + len % 2 * 4, 7));
            let (mut one, mut other) = (plain.clone(), plain.clone());
            let (mut icv, mut other_icv) = ([0; 16], [0; 16]);
            fast.seal(&nonce, &aad, &mut one, &mut icv).unwrap();
            rust.seal(&nonce, &aad, &mut other, &mut other_icv).unwrap();
            assert_eq!((&one, icv), (&other, other_icv), "{aead:?} {len}");
            assert_eq!(fast.open(&nonce, &aad, &mut other, &icv), Ok(()));
            assert_eq!(rust.open(&nonce, &aad, &mut one, &icv), Ok(()));
            assert_eq!((&one, &other), (&plain, &plain), "{aead:?} {len}");
            icv[len % 16] ^= 1;
            assert!(fast.open(&nonce, &aad, &mut one, &icv).is_err());
            assert!(rust.open(&nonce, &aad, &mut other, &icv).is_err());
            compared += 1;
        }
    }
    let expected = match (cfg!(feature = "aws-lc"), cfg!(feature = "ring")) {
        (true, _) => 4,
        (false, true) => 3,
        (false, false) => 0,
    };
    assert_eq!(compared, expected * 2049);
}

proptest! {
    /// RFC 4106 §4, §5: nonce and AAD put together by hand, sealed by the `aes-gcm` crate.
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
        let (size, key) = if wide { (AesKey::Bits256, &key[..]) } else { (AesKey::Bits128, &key[..20]) };
        let plain = octets(words * 4, seed);
        let front = [header, iv].concat();
        let sealed = seal(Suite::Combined(Aead::AesGcm16(size)), (key, &[]), high, &front, &plain);

        let (key, salt) = key.split_at(key.len() - 4);
        let nonce: [u8; 12] = [salt, &iv].concat().try_into().unwrap();
        let payload = Payload { msg: &plain, aad: &with_high(&header, high) };
        let expected = if wide {
            Aes256Gcm::new_from_slice(key).unwrap().encrypt(&nonce.into(), payload)
        } else {
            Aes128Gcm::new_from_slice(key).unwrap().encrypt(&nonce.into(), payload)
        };
        prop_assert_eq!(&sealed[16..], expected.unwrap());
    }

    /// RFC 4543 §3: the same of nothing, with the packet as AAD.
    #[test]
    fn gmac_is_gcm_of_nothing(front: [u8; 16], high: Option<u32>, words in 1..400_usize) {
        let key = octets(28, 9);
        let suite = Suite::Combined(Aead::AesGmac(AesKey::Bits192));
        let sealed = seal(suite, (&key, &[]), high, &front, &octets(words * 4, 2));
        prop_assert_eq!(&sealed[..16], front);
        let (covered, icv) = sealed.split_at(sealed.len() - 16);
        prop_assert_eq!(&covered[16..], octets(words * 4, 2));

        let nonce: [u8; 12] = [&key[24..], &front[8..]].concat().try_into().unwrap();
        let payload = Payload { msg: &[], aad: &with_high(covered, high) };
        let gcm = AesGcm::<aes::Aes192, U12>::new_from_slice(&key[..24]).unwrap();
        prop_assert_eq!(icv, gcm.encrypt(&nonce.into(), payload).unwrap());
    }

    /// RFC 8750 §4: what the form with an IV makes, without the IV.
    #[test]
    fn an_implicit_iv_is_the_sequence_number(spi: u32, low: u32, high: Option<u32>, words in 1..100_usize) {
        for (implicit, explicit) in [
            (Aead::AesGcm16Iiv(AesKey::Bits128), Aead::AesGcm16(AesKey::Bits128)),
            (Aead::AesGcm16Iiv(AesKey::Bits192), Aead::AesGcm16(AesKey::Bits192)),
            (Aead::AesCcm8Iiv(AesKey::Bits256), Aead::AesCcm8(AesKey::Bits256)),
            (Aead::ChaCha20Poly1305Iiv, Aead::ChaCha20Poly1305),
        ] {
            let (implicit, explicit) = (Suite::Combined(implicit), Suite::Combined(explicit));
            let (key, plain) = (octets(implicit.encr_key_len(), 8), octets(words * 4, 1));
            let header = [spi.to_be_bytes(), low.to_be_bytes()].concat();
            let iv = u64::from(high.unwrap_or(0)) << 32 | u64::from(low);
            let sealed = seal(implicit, (&key, &[]), high, &header, &plain);
            let front = [&header[..], &iv.to_be_bytes()].concat();
            let expected = seal(explicit, (&key, &[]), high, &front, &plain);
            prop_assert_eq!(&sealed[8..], &expected[16..]);
            prop_assert_eq!(open(implicit, (&key, &[]), high, &sealed).unwrap(), plain);
        }
    }

    /// RFC 4303 §2.2.1, §3.3.2.1: the MAC over header, IV, ciphertext and high half, by `ring`, or written down plainly.
    #[test]
    fn the_icv_covers_everything_once(
        suite in prop::sample::select(suites()),
        front: [u8; 24],
        high: Option<u32>,
        blocks in 1..100_usize,
    ) {
        let Suite::Separate(_, integrity) = suite else { return Ok(()) };
        let (encr, integ) = (octets(suite.encr_key_len(), 4), octets(suite.integ_key_len(), 6));
        let front = &front[..Layout::of(suite).front_len()];
        let sealed = seal(suite, (&encr, &integ), high, front, &vec![7; blocks * 16]);
        let (covered, icv) = sealed.split_at(sealed.len() - suite.icv_len());
        let mut message = covered.to_vec();
        message.extend(high.into_iter().flat_map(u32::to_be_bytes));
        let hmac = |algorithm| {
            let key = ring::hmac::Key::new(algorithm, &integ);
            ring::hmac::sign(&key, &message).as_ref().to_vec()
        };
        let whole = match integrity {
            Integrity::HmacSha1_96 => hmac(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
            Integrity::HmacSha2_256_128 => hmac(ring::hmac::HMAC_SHA256),
            Integrity::HmacSha2_384_192 => hmac(ring::hmac::HMAC_SHA384),
            Integrity::HmacSha2_512_256 => hmac(ring::hmac::HMAC_SHA512),
            Integrity::AesXcbc96 => xcbc(&integ, &message).to_vec(),
            Integrity::AesCmac96 => {
                let mut mac = Cmac::<aes::Aes128>::new_from_slice(&integ).unwrap();
                mac.update(&message);
                mac.finalize().into_bytes().to_vec()
            }
        };
        prop_assert_eq!(icv, &whole[..suite.icv_len()]);
    }

    /// Side by side, with a shorter one at the end, packets become what they become alone.
    #[test]
    fn a_run_of_packets_is_what_single_packets_are(
        suite in prop::sample::select(&FAMILIES[..]),
        count in 1..=2 * RUN + 1,
        blocks in 1..20_usize,
        fewer in 0..20_usize,
        esn: bool,
    ) {
        let (encr, integ) = (octets(suite.encr_key_len(), 4), octets(suite.integ_key_len(), 6));
        let key = SealingKey::new(suite, &encr, &integ).unwrap();
        let last = blocks.saturating_sub(fewer).max(1);
        let around = Layout::of(suite).front_len() + suite.icv_len();
        let stride = around + blocks * 16;
        let mut run = octets(stride * (count - 1) + around + last * 16, 11);
        let highs: Vec<_> = (0..).map(|high| esn.then_some(high)).take(count).collect();
        let mut alone = run.clone();
        for (packet, high) in alone.chunks_mut(stride).zip(&highs) {
            key.seal(&mut Run::one(packet, &[*high])).unwrap();
        }
        key.seal(&mut Run::new(&mut run, stride, &highs)).unwrap();
        prop_assert_eq!(run, alone);
    }

    /// RFC 3686 §4: body xor AES(salt | IV | 1), AES(salt | IV | 2) ..
    #[test]
    fn ctr_counts_from_one(front: [u8; 16], words in 1..400_usize) {
        use aes::cipher::BlockCipherEncrypt;
        let suite = Suite::Separate(Cipher::AesCtr(AesKey::Bits256), Integrity::HmacSha1_96);
        let (key, mut expected) = (octets(36, 3), octets(words * 4, 1));
        let sealed = seal(suite, (&key, &[1; 20]), None, &front, &expected);
        let aes = aes::Aes256::new_from_slice(&key[..32]).unwrap();
        for (number, block) in (1_u32..).zip(expected.chunks_mut(16)) {
            let counter = [&key[32..], &front[8..], &number.to_be_bytes()].concat();
            let mut stream = counter.as_slice().try_into().unwrap();
            aes.encrypt_block(&mut stream);
            block.iter_mut().zip(stream).for_each(|(octet, key)| *octet ^= key);
        }
        prop_assert_eq!(&sealed[16..sealed.len() - 12], expected);
    }
}

/// `octets` with the high half of the sequence number before the low one.
fn with_high(octets: &[u8], high: Option<u32>) -> Vec<u8> {
    let (spi, rest) = octets.split_at(4);
    match high {
        Some(high) => [spi, &high.to_be_bytes(), rest].concat(),
        None => octets.to_vec(),
    }
}

/// RFC 3566 §4, step by step.
fn xcbc(key: &[u8], message: &[u8]) -> [u8; 16] {
    use aes::cipher::BlockCipherEncrypt;
    let encrypt = |key: &[u8], block: [u8; 16]| -> [u8; 16] {
        let mut block = block.into();
        aes::Aes128::new_from_slice(key).unwrap().encrypt_block(&mut block);
        block.into()
    };
    let xor = |mut one: [u8; 16], other: &[u8]| {
        one.iter_mut().zip(other).for_each(|(one, other)| *one ^= other);
        one
    };
    let [first, whole, filled] = [1, 2, 3].map(|octet| encrypt(key, [octet; 16]));
    let mut blocks: Vec<Vec<u8>> = message.chunks(16).map(<[u8]>::to_vec).collect();
    let mut last = blocks.pop().unwrap_or_default();
    let chain = blocks.iter().fold([0; 16], |chain, block| encrypt(&first, xor(chain, block)));
    let key = if last.len() == 16 { whole } else { filled };
    if last.len() < 16 {
        last.push(0x80);
    }
    encrypt(&first, xor(xor(chain, &last), &key))
}
