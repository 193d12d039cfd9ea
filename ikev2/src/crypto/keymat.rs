//! Keying material (RFC 7296 §2.14, §2.17, §2.18).
//!
//! ```text
//!   initial    SKEYSEED = prf(Ni | Nr, g^ir)
//!   rekeyed    SKEYSEED = prf(SK_d of the old SA, g^ir | Ni | Nr)            with the PRF of the old SA
//!
//!   { SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr } = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr)
//!
//!   child      KEYMAT = prf+(SK_d, [g^ir |] Ni | Nr)
//!   { encr, integ of initiator to responder | encr, integ of responder to initiator }
//! ```
//!
//! Initiator and responder are those of the exchange that makes the SA. An AEAD cipher has no SK_a, and a salt of four
//! octets after each of its keys (RFC 5282 §7.1).

use zeroize::Zeroizing;

use super::prf::{Prf, prf_plus};
use super::suite::{ChildSuite, IkeSuite};
use crate::event::ChildKeys;
use crate::wire::header::IkeSpi;

/// The seven keys of an IKE SA. Wiped on drop, never printed.
#[expect(clippy::struct_field_names, reason = "the names of RFC 7296 §2.14")]
pub(crate) struct IkeKeys {
    /// Makes the keys of children and of the next IKE SA.
    pub(crate) sk_d: Zeroizing<Vec<u8>>,
    /// Integrity, original initiator to responder; empty for AEAD ciphers.
    pub(crate) sk_ai: Zeroizing<Vec<u8>>,
    /// Integrity, original responder to initiator; empty for AEAD ciphers.
    pub(crate) sk_ar: Zeroizing<Vec<u8>>,
    /// Encryption, original initiator to responder.
    pub(crate) sk_ei: Zeroizing<Vec<u8>>,
    /// Encryption, original responder to initiator.
    pub(crate) sk_er: Zeroizing<Vec<u8>>,
    /// The original initiator's AUTH.
    pub(crate) sk_pi: Zeroizing<Vec<u8>>,
    /// The original responder's AUTH.
    pub(crate) sk_pr: Zeroizing<Vec<u8>>,
}

impl IkeKeys {
    /// The keys after IKE_SA_INIT (RFC 7296 §2.14). `g_ir` is the shared secret of the key exchange, the nonces are
    /// without payload header.
    pub(crate) fn initial(
        suite: &IkeSuite,
        g_ir: &[u8],
        ni: &[u8],
        nr: &[u8],
        spi_i: IkeSpi,
        spi_r: IkeSpi,
    ) -> Self {
        let skeyseed = initial_skeyseed(suite.prf(), g_ir, ni, nr);
        Self::expand(suite, &skeyseed, &[ni, nr, &spi_i.octets(), &spi_r.octets()])
    }

    /// The keys after an IKE SA was rekeyed (RFC 7296 §2.18). Everything but `old_prf` and `old_sk_d` is of the new SA:
    /// its suite, its SPIs, and the nonces and key exchange of the CREATE_CHILD_SA exchange.
    #[expect(clippy::too_many_arguments, reason = "the inputs of RFC 7296 §2.18, each used once")]
    pub(crate) fn rekeyed(
        suite: &IkeSuite,
        old_prf: Prf,
        old_sk_d: &[u8],
        g_ir: &[u8],
        ni: &[u8],
        nr: &[u8],
        spi_i: IkeSpi,
        spi_r: IkeSpi,
    ) -> Self {
        let skeyseed = rekeyed_skeyseed(old_prf, old_sk_d, g_ir, ni, nr);
        Self::expand(suite, &skeyseed, &[ni, nr, &spi_i.octets(), &spi_r.octets()])
    }

    fn expand(suite: &IkeSuite, skeyseed: &[u8], seed: &[&[u8]]) -> Self {
        let (d, a, e) = (suite.prf().output_len(), suite.integ_key_len(), suite.encr_key_len());
        let stream = prf_plus(suite.prf(), skeyseed, seed, 3 * d + 2 * a + 2 * e);
        let mut rest = stream.as_slice();
        Self {
            sk_d: take(&mut rest, d),
            sk_ai: take(&mut rest, a),
            sk_ar: take(&mut rest, a),
            sk_ei: take(&mut rest, e),
            sk_er: take(&mut rest, e),
            sk_pi: take(&mut rest, d),
            sk_pr: take(&mut rest, d),
        }
    }
}

/// The keys of a child (RFC 7296 §2.17): of the SA from the initiator to the responder of the exchange that made it,
/// then of the SA back. `g_ir` if that exchange had a key exchange of its own; in IKE_AUTH it never has, and the nonces
/// are those of IKE_SA_INIT.
pub(crate) fn child_keys(
    prf: Prf,
    sk_d: &[u8],
    g_ir: Option<&[u8]>,
    ni: &[u8],
    nr: &[u8],
    suite: &ChildSuite,
) -> (ChildKeys, ChildKeys) {
    let (e, a) = (suite.encr_key_len(), suite.integ_key_len());
    let stream = prf_plus(prf, sk_d, &[g_ir.unwrap_or_default(), ni, nr], 2 * (e + a));
    let mut rest = stream.as_slice();
    let to_responder = ChildKeys { encr: take(&mut rest, e), integ: take(&mut rest, a) };
    let to_initiator = ChildKeys { encr: take(&mut rest, e), integ: take(&mut rest, a) };
    (to_responder, to_initiator)
}

fn initial_skeyseed(prf: Prf, g_ir: &[u8], ni: &[u8], nr: &[u8]) -> Zeroizing<Vec<u8>> {
    // The rule for PRFs with keys of fixed length (§2.14) does not matter: HMAC takes both nonces whole.
    let key = Zeroizing::new([ni, nr].concat());
    prf.compute(&key, &[g_ir])
}

fn rekeyed_skeyseed(
    old_prf: Prf,
    old_sk_d: &[u8],
    g_ir: &[u8],
    ni: &[u8],
    nr: &[u8],
) -> Zeroizing<Vec<u8>> {
    old_prf.compute(old_sk_d, &[g_ir, ni, nr])
}

/// Cuts the first `len` octets off `rest`.
fn take(rest: &mut &[u8], len: usize) -> Zeroizing<Vec<u8>> {
    let (key, tail) =
        rest.split_at_checked(len).expect("invariant: prf+ was asked for the sum of all lengths");
    *rest = tail;
    Zeroizing::new(key.to_vec())
}
