//! AES-XCBC-MAC (RFC 3566 §4): CBC-MAC whose last block is masked with a key that says whether it was padded.
//!
//! ```text
//!   K1, K2, K3 = E(K, 01..01), E(K, 02..02), E(K, 03..03)
//!
//!   M[1] ──⊕──► E(K1) ──⊕──► E(K1) ── ... ──⊕──► E(K1) ──► 16 octets
//!          0           M[2]                 M[n] ⊕ K2           if M[n] is whole
//!                                           M[n] | 80 00.. ⊕ K3 if it is not
//! ```
//!
//! RustCrypto has CMAC, which is the same with other K2 and K3, and no XCBC.

use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use zeroize::Zeroizing;

/// The MAC of the concatenated parts, 16 octets.
pub(super) fn xcbc(key: &[u8; BLOCK], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let cipher = Aes128::new(&Array(*key));
    let derived = |constant| encrypted(&cipher, [constant; BLOCK]);
    let k1 = Aes128::new(&Array(*derived(1)));
    let (k2, k3) = (derived(2), derived(3));

    let mut state = Zeroizing::new([0; BLOCK]);
    let mut last = Zeroizing::new([0; BLOCK]);
    let mut len = 0;
    for octet in parts.iter().copied().flatten() {
        // A block is worked in when another one follows: the last is treated otherwise.
        if len == BLOCK {
            xor(&mut state, &last);
            state = encrypted(&k1, *state);
            len = 0;
        }
        if let Some(place) = last.get_mut(len) {
            *place = *octet;
        }
        len += 1;
    }
    for (place, padding) in last.iter_mut().skip(len).zip([0x80].into_iter().chain(ZEROS)) {
        *place = padding;
    }
    xor(&mut state, &last);
    xor(&mut state, if len == BLOCK { &k2 } else { &k3 });
    Zeroizing::new(encrypted(&k1, *state).to_vec())
}

fn encrypted(cipher: &Aes128, block: [u8; BLOCK]) -> Zeroizing<[u8; BLOCK]> {
    let mut block = Array(block);
    cipher.encrypt_block(&mut block);
    Zeroizing::new(block.0)
}

fn xor(into: &mut [u8; BLOCK], other: &[u8; BLOCK]) {
    for (octet, other) in into.iter_mut().zip(other) {
        *octet ^= other;
    }
}

/// Octets of an AES block.
const BLOCK: usize = 16;

const ZEROS: [u8; BLOCK] = [0; BLOCK];

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::*;

    #[test]
    fn computes_the_answers_of_rfc3566() {
        for case in vectors::committed("rfc3566.txt") {
            let key = case.octets("key").try_into().unwrap();
            let data = case.octets("data");
            assert_eq!(xcbc(key, &[data]).as_slice(), case.octets("mac"), "{}", case.name);
            for at in 0..data.len() {
                let (one, two) = data.split_at(at);
                assert_eq!(xcbc(key, &[one, &[], two]).as_slice(), case.octets("mac"));
            }
        }
    }
}
