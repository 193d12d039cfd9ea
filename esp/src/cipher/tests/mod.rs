//! Ciphers against what others computed: known answers, and independent implementations.
//!
//! ```text
//! known        RFCs, and packets that the Linux kernel sealed
//! wycheproof   edge cases by the thousand
//! agree        other libraries, and a second way to write the same thing down
//! ```

mod agree;
mod known;
mod wycheproof;

use super::{OpeningKey, Run, SealingKey};
use crate::{
    header::Layout,
    reason::DropReason,
    suite::{AesKey, Cipher, Integrity, Suite},
};

/// Seals `plain` behind `front` (header and IV).
fn seal(
    suite: Suite,
    keys: (&[u8], &[u8]),
    high: Option<u32>,
    front: &[u8],
    plain: &[u8],
) -> Vec<u8> {
    let mut packet = [front, plain, &vec![0; suite.icv_len()]].concat();
    let key = SealingKey::new(suite, keys.0, keys.1).unwrap();
    key.seal(&mut Run::one(&mut packet, &[high])).unwrap();
    packet
}

/// Opens `packet`: the body.
fn open(
    suite: Suite,
    keys: (&[u8], &[u8]),
    high: Option<u32>,
    packet: &[u8],
) -> Result<Vec<u8>, DropReason> {
    let mut packet = packet.to_vec();
    OpeningKey::new(suite, keys.0, keys.1).unwrap().open(&mut packet, high)?;
    let body = Layout::of(suite).front_len()..packet.len() - suite.icv_len();
    Ok(packet[body].to_vec())
}

fn aes(key_len: usize) -> AesKey {
    AesKey::from_bits(u16::try_from(key_len * 8).unwrap()).unwrap()
}

/// Octets that differ from place to place.
fn octets(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|place| u8::try_from(place * 7 % 251).unwrap() ^ seed).collect()
}

const CBC: Suite = Suite::Separate(Cipher::AesCbc(AesKey::Bits128), Integrity::HmacSha2_256_128);

#[test]
fn a_body_that_is_not_blocks_is_refused() {
    for (suite, block) in
        [(CBC, 16), (Suite::Separate(Cipher::TripleDesCbc, Integrity::HmacSha2_256_128), 8)]
    {
        let key = SealingKey::new(suite, &vec![1; suite.encr_key_len()], &[2; 32]).unwrap();
        let mut packet = vec![0; 8 + block + block + 1 + 16];
        assert_eq!(key.seal(&mut Run::one(&mut packet, &[None])), Err(DropReason::BadLength));
    }
}

#[test]
fn what_is_no_packet_is_refused_and_does_not_panic() {
    for suite in Suite::all() {
        let keys = (vec![1; suite.encr_key_len()], vec![2; suite.integ_key_len()]);
        let key = OpeningKey::new(suite, &keys.0, &keys.1).unwrap();
        for len in 0..Layout::of(suite).packet_len(0) {
            for high in [None, Some(7)] {
                assert!(key.open(&mut vec![0; len], high).is_err(), "{suite:?} {len}");
            }
        }
    }
}

/// RFC 4106 §3.1 and its kin: any IV that is unique. GMAC and CTR send it, the implicit forms and NULL do not.
#[test]
fn the_iv_is_the_sequence_number_but_for_cbc() {
    for suite in Suite::all() {
        let keys = (vec![1; suite.encr_key_len()], vec![2; suite.integ_key_len()]);
        let mut iv = vec![0; suite.iv_len()];
        let key = SealingKey::new(suite, &keys.0, &keys.1).unwrap();
        key.write_iv(&mut iv, 0x0102_0304_0506_0708);
        match suite {
            Suite::Separate(Cipher::AesCbc(_) | Cipher::TripleDesCbc, _) => {}
            Suite::Combined(_) | Suite::Separate(Cipher::AesCtr(_) | Cipher::Null, _) => {
                assert_eq!(iv, [1, 2, 3, 4, 5, 6, 7, 8][..iv.len()], "{suite:?}");
            }
        }
    }
}

/// NIST SP 800-38A App. C: the IV is the enciphered nonce. With a zero IV, one block of CBC is one block of the cipher.
#[test]
fn cbc_iv_is_the_enciphered_sequence_number() {
    let aes = AesKey::ALL.map(Cipher::AesCbc);
    for cipher in aes.into_iter().chain([Cipher::TripleDesCbc]) {
        let suite = Suite::Separate(cipher, Integrity::HmacSha2_256_128);
        let encr = octets(suite.encr_key_len(), 0x42);
        let keys = (&encr[..], &[9; 32][..]);
        let number: u64 = 0x0102_0304_0506_0708;
        let mut iv = vec![0; suite.iv_len()];
        SealingKey::new(suite, keys.0, keys.1).unwrap().write_iv(&mut iv, number);
        let nonce = &u128::from(number).to_be_bytes()[16 - iv.len()..];
        let sealed = seal(suite, keys, None, &vec![0; 8 + iv.len()], nonce);
        assert_eq!(sealed[8 + iv.len()..8 + 2 * iv.len()], iv);
    }
}
