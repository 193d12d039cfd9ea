//! Which of two SAs stays when both sides made one at the same time (RFC 7296 §2.8.1, §2.8.2), as a pure function.
//!
//! ```text
//!   ours   Ni, Nr  ─► lower of the two ┐
//!                                      ├─► the SA with the lowest of all four nonces goes, deleted by whoever made it
//!   theirs Ni, Nr  ─► lower of the two ┘
//! ```
//!
//! Both sides see the same four nonces, so both come to the same answer.

/// Whether the SA that we made is the one to go. `ours` and `theirs` are the lower nonces of the two exchanges.
pub(crate) fn ours_goes(ours: &[u8], theirs: &[u8]) -> bool {
    ours < theirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree_which_one_goes() {
        let (low, high) = ([1u8; 32], [2u8; 32]);
        assert!(ours_goes(&low, &high));
        assert!(!ours_goes(&high, &low));
    }

    #[test]
    fn nonces_compare_octet_by_octet_from_the_left() {
        // RFC 7296 §2.8.1: "compared octet by octet"; a shorter one that is a prefix is the lower.
        assert!(ours_goes(&[1, 255], &[2, 0]));
        assert!(ours_goes(&[1], &[1, 0]));
    }

    #[test]
    fn a_peer_that_repeats_our_nonces_takes_nothing_away() {
        assert!(!ours_goes(&[7; 32], &[7; 32]));
    }
}
