//! What the cipher alone costs: each datagram's worth of a message sealed where it lies, and opened where it came.
//!
//! ```text
//!   message   header | piece of frames, sealed by the 1448 octets ..   | tag of each, 16 octets ..
//! ```
//!
//! ESP has a tag at the end of each packet; here they are at the end of the message, so that nothing has to be moved.

use anyhow::{Context as _, Result, ensure};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};

/// Seals and opens. The key is a constant, as only time is measured.
#[derive(Debug)]
pub(super) struct Seals {
    key: LessSafeKey,
    /// Who seals: the two ends number their messages alike.
    here: u8,
    there: u8,
}

impl Seals {
    /// For an end, of which there are two.
    pub(super) fn new(is_first: bool) -> Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).ok().context("no key for AES-256-GCM")?;
        let here = u8::from(is_first);
        Ok(Self { key: LessSafeKey::new(key), here, there: 1 - here })
    }

    /// Seals the piece of a message; the tags go into `tags`.
    pub(super) fn seal(&self, sequence: u32, piece: &mut [u8], tags: &mut Vec<u8>) -> Result<()> {
        tags.clear();
        for (octets, index) in piece.chunks_mut(EACH).zip(0..) {
            let (nonce, about) = of(self.here, sequence, index);
            let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(about), octets);
            tags.extend_from_slice(tag.ok().context("cannot seal")?.as_ref());
        }
        Ok(())
    }

    /// Opens what came behind the header of a message, a piece of `length` and its tags.
    pub(super) fn open(&self, sequence: u32, length: usize, came: &mut [u8]) -> Result<()> {
        ensure!(came.len() == length + tags_of(length), "a message of another length");
        let (piece, tags) = came.split_at_mut(length);
        let tags = tags.as_chunks().0.iter();
        for ((octets, tag), index) in piece.chunks_mut(EACH).zip(tags).zip(0..) {
            let (nonce, about) = of(self.there, sequence, index);
            let (about, tag) = (Aad::from(about), Tag::from(*tag));
            let opened = self.key.open_in_place_separate_tag(nonce, about, tag, octets, 0..);
            opened.ok().context("a message that was not sealed there")?;
        }
        Ok(())
    }
}

/// Octets of the tags of a piece.
pub(super) const fn tags_of(length: usize) -> usize {
    length.div_ceil(EACH) * TAG
}

/// Nonce and associated data of one part: of the lengths that ESP has, too.
fn of(who: u8, sequence: u32, index: u16) -> (Nonce, [u8; 8]) {
    let ([a, b, c, d], [high, low]) = (sequence.to_be_bytes(), index.to_be_bytes());
    let mut nonce = [0; NONCE_LEN];
    nonce[4..].copy_from_slice(&[who, 0, a, b, c, d, high, low]);
    (Nonce::assume_unique_for_key(nonce), [who, 0, high, low, a, b, c, d])
}

/// A datagram of 1472 octets without SPI, sequence number and tag; about what ESP has in it.
const EACH: usize = 1448;
const TAG: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_end_seals_the_other_opens_and_nobody_else() {
        let (first, second) = (Seals::new(true).unwrap(), Seals::new(false).unwrap());
        let clear: Vec<u8> = (0..4000).map(|at: u32| at.to_le_bytes()[0]).collect();
        let (mut message, mut tags) = (clear.clone(), Vec::new());
        first.seal(9, &mut message, &mut tags).unwrap();
        assert_eq!(tags.len(), tags_of(clear.len()));
        assert_ne!(message, clear);
        message.extend(&tags);

        let open = |who: &Seals, sequence: u32, damage: usize| {
            let mut came = message.clone();
            came[damage] ^= u8::from(damage > 0);
            let opened = who.open(sequence, clear.len(), &mut came);
            came.truncate(clear.len());
            opened.is_ok_and(|()| came == clear)
        };
        assert!(open(&second, 9, 0));
        assert!(!open(&second, 8, 0), "another number");
        assert!(!open(&first, 9, 0), "its own");
        assert!(!open(&second, 9, 3000), "damaged");
        assert!(!open(&second, 9, message.len() - 1), "a damaged tag");
    }
}
