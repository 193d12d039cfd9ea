//! Post-quantum pre-shared keys mixed into an IKE SA: whoever breaks the key exchange one day still lacks SK_d.
//!
//! ```text
//!   RFC 8784   SK_d = prf+(PPK, SK_d')     SK_pi = prf+(PPK, SK_pi')     SK_pr = prf+(PPK, SK_pr')
//!   RFC 9867   SKEYSEED' = prf+(PPK, SK_d), and all seven keys anew from that (keymat.rs)
//!              PPK Confirmation = prf(PPK, Ni | Nr | SPIi | SPIr), of which 8 octets go over the wire
//! ```
//!
//! With RFC 8784 SK_e and SK_a stay, since IKE_AUTH, which names the key, is protected by them.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::prf::{Prf, prf_plus};
use crate::wire::header::IkeSpi;
use crate::wire::ppk::CONFIRMATION_LEN;

/// What tells two keys of one name apart before either is used (RFC 9867): made of the key and of what is new in each IKE SA.
#[derive(Clone, Copy)]
pub(crate) struct Confirmation<'a> {
    /// The PRF of the IKE SA.
    pub(crate) prf: Prf,
    /// The nonces of IKE_SA_INIT: of the initiator, of the responder.
    pub(crate) nonces: (&'a [u8], &'a [u8]),
    /// The SPIs of the IKE SA: of the initiator, of the responder.
    pub(crate) spis: (IkeSpi, IkeSpi),
}

impl Confirmation<'_> {
    /// That of this key.
    pub(crate) fn of(&self, ppk: &[u8]) -> [u8; CONFIRMATION_LEN] {
        let ((ni, nr), (spi_i, spi_r)) = (self.nonces, self.spis);
        let whole = self.prf.compute(ppk, &[ni, nr, &spi_i.octets(), &spi_r.octets()]);
        let first = whole.first_chunk().copied();
        first.expect("invariant: no PRF has fewer than 16 octets")
    }

    /// Whether the peer has this key, in constant time.
    pub(crate) fn is_of(&self, ppk: &[u8], shown: [u8; CONFIRMATION_LEN]) -> bool {
        self.of(ppk).ct_eq(&shown).into()
    }
}

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

    /// The formula of RFC 9867 written out, and that everything in it counts.
    #[test]
    fn the_confirmation_is_of_the_key_and_of_this_sa() {
        let spis = (IkeSpi(1), IkeSpi(2));
        let (prf, nonces) = (Prf::HmacSha2_256, (b"ni".as_slice(), b"nr".as_slice()));
        let ours = Confirmation { prf, nonces, spis };
        let input = [b"ninr".as_slice(), &[0, 0, 0, 0, 0, 0, 0, 1], &[0, 0, 0, 0, 0, 0, 0, 2]];
        let whole = prf.compute(b"ppk", &[&input.concat()]);
        assert_eq!(ours.of(b"ppk"), whole[..8]);
        let shown = ours.of(b"ppk");
        assert!(ours.is_of(b"ppk", shown));
        assert!(!ours.is_of(b"PPK", shown));
        for other in [
            Confirmation { prf: Prf::HmacSha2_384, ..ours },
            Confirmation { nonces: (b"nr", b"ni"), ..ours },
            Confirmation { spis: (spis.1, spis.0), ..ours },
        ] {
            assert!(!other.is_of(b"ppk", shown));
        }
    }
}
