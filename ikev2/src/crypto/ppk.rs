//! Post-quantum pre-shared keys mixed into an IKE SA (RFC 8784 §3): whoever breaks the key exchange one day still lacks SK_d.
//!
//! ```text
//!   SK_d = prf+(PPK, SK_d')     SK_pi = prf+(PPK, SK_pi')     SK_pr = prf+(PPK, SK_pr')
//! ```
//!
//! SK_e and SK_a stay, since IKE_AUTH, which names the key, is protected by them.

use zeroize::Zeroizing;

use super::prf::{Prf, prf_plus};

/// One of SK_d, SK_pi and SK_pr with the key mixed in; its length stays.
pub(crate) fn mixed(prf: Prf, ppk: &[u8], key: &[u8]) -> Zeroizing<Vec<u8>> {
    prf_plus(prf, ppk, &[key], key.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8784 §3: where the PRF's output is as long as its key, one iteration is all.
    #[test]
    fn one_iteration_of_prf_plus_gives_the_key() {
        for prf in [Prf::HmacSha2_256, Prf::HmacSha2_384, Prf::HmacSha2_512] {
            let key = vec![7; prf.output_len()];
            let expected = prf.compute(b"ppk", &[&key, &[1]]);
            assert_eq!(mixed(prf, b"ppk", &key), expected);
        }
        let long = mixed(Prf::HmacSha2_256, b"ppk", &[7; 48]);
        assert_eq!(long.len(), 48);
    }
}
