//! Pre-shared keys of every length and of any octets (RFC 7296 §2.15).
//!
//! ```text
//!   key of A == key of B         both are up
//!   one octet of it differs      nobody is, wherever the octet stands
//! ```

use sha2::{Digest, Sha256};

use super::super::*;

/// One octet, the block of HMAC-SHA2-256 and one more, and as much as anybody types or generates.
const LENGTHS: [usize; 5] = [1, 64, 65, 255, 1024];

/// Octets that can be typed, and octets that cannot: zero, high bits, text in UTF-8.
const ALPHABETS: [&[u8]; 3] = [
    b"Gateways do not type; people copy & paste, 64 characters and more.",
    b"\x00\xff\x80\x7f\n\r\x01",
    "Schlüssel, ключ, 鍵".as_bytes(),
];

fn key(alphabet: &[u8], len: usize) -> Vec<u8> {
    alphabet.iter().copied().cycle().take(len).collect()
}

/// Whether A and B come up with these keys.
fn agree(keys: [&[u8]; 2]) -> bool {
    let mut pair = Pair::empty();
    for end in [B, A] {
        let mut config = config(end);
        config.set_psk(Psk::new(keys[end].to_vec()));
        pair.ends[end].add_peer(pair.now, config);
    }
    pair.drain();
    pair.settle();
    let children = [A, B].map(|end| pair.ends[end].children.len());
    assert!(children == [0, 0] || children == [1, 1], "both or none");
    children == [1, 1]
}

#[test]
fn a_key_has_any_length_and_any_octets() {
    for alphabet in ALPHABETS {
        for len in LENGTHS {
            let key = key(alphabet, len);
            assert!(agree([&key, &key]), "{len} octets");
        }
    }
}

#[test]
fn every_octet_of_a_key_counts() {
    for alphabet in ALPHABETS {
        for len in LENGTHS {
            let key = key(alphabet, len);
            for at in [0, len / 2, len - 1] {
                let mut other = key.clone();
                other[at] ^= 0x80;
                assert!(!agree([&key, &other]), "octet {at} of {len}");
            }
        }
    }
}

/// RFC 7296 §2.13: the PRF is an HMAC, which takes the hash of a key that is longer than its block of 64 octets
/// (RFC 2104 §3), and neither cuts it nor ends it with a zero.
#[test]
fn a_long_key_is_the_same_as_its_hash() {
    for alphabet in ALPHABETS {
        for len in LENGTHS {
            let key = key(alphabet, len);
            assert_eq!(agree([&key, &Sha256::digest(&key)]), len > 64, "{len} octets");
            let ended = [key.as_slice(), &[0]].concat();
            // Of a shorter one HMAC cannot tell: it fills the block with zeros itself.
            assert_eq!(agree([&key, &ended]), len < 64, "{len} octets and a zero");
        }
    }
}
