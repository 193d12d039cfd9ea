//! Every target with its seeds, with those of others where they are at hand, and with octets of no sense.

use fuzz::{seeds, targets};

#[test]
fn seeds_are_harmless() {
    for target in targets() {
        let ours = seeds::ours(target.name).unwrap();
        assert!(!ours.is_empty(), "{} has no seeds in fuzz/seeds", target.name);
        let others = seeds::others(target.name);
        println!("{}: {} seeds, {} of others", target.name, ours.len(), others.len());
        for seed in ours.iter().chain(&others) {
            println!("{}/{}", target.name, seed.name);
            (target.body)(&seed.octets);
        }
    }
}

/// Cut short and with single octets changed.
#[test]
fn seeds_that_are_damaged_are_harmless() {
    for target in targets() {
        for seed in seeds::ours(target.name).unwrap() {
            let len = seed.octets.len();
            let step = (len / 64).max(1);
            println!("{}/{}", target.name, seed.name);
            for at in (0..len).step_by(step) {
                (target.body)(&seed.octets[..at]);
                for change in [0x01, 0x80, 0xff] {
                    let mut octets = seed.octets.clone();
                    octets[at] ^= change;
                    (target.body)(&octets);
                }
            }
        }
    }
}

#[test]
fn nonsense_is_harmless() {
    for target in targets() {
        (target.body)(&[]);
        for seed in 0..500_u32 {
            let mut state = seed.wrapping_mul(2_654_435_761) | 1;
            let octets: Vec<u8> = (0..seed)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 17;
                    state ^= state << 5;
                    state.to_be_bytes()[0]
                })
                .collect();
            (target.body)(&octets);
        }
    }
}
