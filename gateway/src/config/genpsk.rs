//! Makes pre-shared keys: octets of the kernel's random source as base64 text.
//!
//! The text is the key: both gateways use its characters as they stand, so it survives every copy and every other
//! implementation (no `0s` prefix that one side may not know).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// A new key out of `octets` random octets, as base64 text without newline; 32 octets (256 bits) give 44 characters.
///
/// # Panics
/// If the kernel has no random source, which leaves nothing to be done.
#[must_use]
pub fn genpsk(octets: usize) -> String {
    let mut random = Zeroizing::new(vec![0; octets]);
    getrandom::fill(&mut random).expect("invariant: the kernel has a random source");
    STANDARD.encode(&*random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_and_differ() {
        let (one, other) = (genpsk(32), genpsk(32));
        assert_eq!(one.len(), 44);
        assert_ne!(one, other);
        assert!(one.is_ascii() && !one.contains('\n'));
    }
}
