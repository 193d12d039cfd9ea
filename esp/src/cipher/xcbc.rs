//! AES-XCBC-MAC (RFC 3566 §4): CBC-MAC whose last block is disguised, so that messages of any length are safe.
//!
//! ```text
//! K1, K2, K3 = AES(K, 0101..01), AES(K, 0202..02), AES(K, 0303..03)
//!
//! | block | block | .. | last |        CBC-MAC under K1; before it, last ^= K2 if it is a whole block,
//!                                      else it is filled up with 80 00 .. 00, and last ^= K3
//! ```
//!
//! No crate has it; `cbc-mac` has all but the last block.

use aes::{
    Aes128, Aes128Enc,
    cipher::{Array, BlockCipherEncrypt, KeyInit, consts::U16},
};
use cbc_mac::{CbcMac, Mac};
use zeroize::Zeroizing;

/// The three keys.
pub(super) struct Xcbc {
    chain: CbcMac<Aes128>,
    whole: Zeroizing<[u8; BLOCK]>,
    filled: Zeroizing<[u8; BLOCK]>,
}

impl Xcbc {
    /// `None` if the key has not 16 octets.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let aes = Aes128Enc::new_from_slice(key).ok()?;
        let derive = |octet| {
            let mut block: Array<u8, U16> = [octet; BLOCK].into();
            aes.encrypt_block(&mut block);
            Zeroizing::new(block.into())
        };
        let first: Zeroizing<[u8; BLOCK]> = derive(1);
        let chain = CbcMac::new_from_slice(&first[..]).ok()?;
        Some(Self { chain, whole: derive(2), filled: derive(3) })
    }

    /// Over `octets` and up to four more, as one message.
    pub(super) fn mac(&self, octets: &[u8], more: &[u8]) -> CbcMac<Aes128> {
        // What is at most a block, and what `more` may add to it.
        let cut = octets.len().saturating_sub(1) / BLOCK * BLOCK;
        let (front, rest) = octets.split_at(cut);
        let mut tail = [0; BLOCK + 4];
        let len = rest.len() + more.len();
        tail.iter_mut().zip(rest.iter().chain(more)).for_each(|(place, octet)| *place = *octet);
        let (first, second) = tail.split_at(BLOCK);

        let mut mac = self.chain.clone();
        mac.update(front);
        if len > BLOCK {
            mac.update(first);
            mac.update(&self.last(second, len - BLOCK));
        } else {
            mac.update(&self.last(first, len));
        }
        mac
    }

    /// The last block, of which `len` octets are the message's.
    fn last(&self, octets: &[u8], len: usize) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block.iter_mut().zip(octets).for_each(|(place, octet)| *place = *octet);
        if let Some(mark) = block.get_mut(len) {
            *mark = 0x80;
        }
        let key = if len == BLOCK { &self.whole } else { &self.filled };
        block.iter_mut().zip(key.iter()).for_each(|(place, octet)| *place ^= octet);
        block
    }
}

const BLOCK: usize = 16;
