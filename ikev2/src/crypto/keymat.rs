//! Keying material (RFC 7296 §2.14, §2.17, §2.18).
//!
//! ```text
//!   initial    SKEYSEED = prf(Ni | Nr, g^ir)                                  of each nonce 8 octets with an AES PRF
//!   rekeyed    SKEYSEED = prf(SK_d of the old SA, g^ir | Ni | Nr | SK(1) ..) with the PRF of the old SA
//!   updated    SKEYSEED = prf(SK_d so far, SK(n) | Ni | Nr)                  after the n-th IKE_INTERMEDIATE
//!   with a PPK SKEYSEED = prf+(PPK, SK_d so far)                             after the last one (RFC 9867), as long as SK_d
//!
//!   { SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr } = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr)
//!
//!   child      KEYMAT = prf+(SK_d, [g^ir |] Ni | Nr | SK(1) ..)
//!   { encr, integ of initiator to responder | encr, integ of responder to initiator }
//! ```
//!
//! SK(1) and so on are the shared secrets of further key exchanges, in their order (RFC 9370 §2.2.2, §2.2.4); none, if
//! there is only the first.
//!
//! Initiator and responder are those of the exchange that makes the SA. An AEAD cipher has no SK_a, and a salt of three or
//! four octets after each of its keys (RFC 5282 §7.1).

use zeroize::Zeroizing;

use super::ppk;
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
        further: &[u8],
        spi_i: IkeSpi,
        spi_r: IkeSpi,
    ) -> Self {
        let skeyseed = rekeyed_skeyseed(old_prf, old_sk_d, g_ir, ni, nr, further);
        Self::expand(suite, &skeyseed, &[ni, nr, &spi_i.octets(), &spi_r.octets()])
    }

    /// The keys after a further key exchange of an SA that is not authenticated yet (RFC 9370 §2.2.2): `sk_d` is of the keys
    /// so far, `secret` what was agreed on, and all else as in [`Self::initial`].
    #[expect(clippy::too_many_arguments, reason = "the inputs of RFC 9370 §2.2.2, each used once")]
    pub(crate) fn updated(
        suite: &IkeSuite,
        sk_d: &[u8],
        secret: &[u8],
        ni: &[u8],
        nr: &[u8],
        spi_i: IkeSpi,
        spi_r: IkeSpi,
    ) -> Self {
        Self::rekeyed(suite, suite.prf(), sk_d, secret, ni, nr, &[], spi_i, spi_r)
    }

    /// The keys after a post-quantum pre-shared key was agreed on before IKE_AUTH (RFC 9867): `sk_d` is of the keys so far, and
    /// all else as in [`Self::initial`].
    pub(crate) fn with_ppk(
        suite: &IkeSuite,
        sk_d: &[u8],
        ppk: &[u8],
        (ni, nr): (&[u8], &[u8]),
        (spi_i, spi_r): (IkeSpi, IkeSpi),
    ) -> Self {
        let skeyseed = ppk::mixed(suite.prf(), ppk, sk_d);
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
#[expect(clippy::too_many_arguments, reason = "the inputs of RFC 7296 §2.17, each used once")]
pub(crate) fn child_keys(
    prf: Prf,
    sk_d: &[u8],
    g_ir: Option<&[u8]>,
    ni: &[u8],
    nr: &[u8],
    further: &[u8],
    suite: &ChildSuite,
) -> (ChildKeys, ChildKeys) {
    let (e, a) = (suite.encr_key_len(), suite.integ_key_len());
    let stream = prf_plus(prf, sk_d, &[g_ir.unwrap_or_default(), ni, nr, further], 2 * (e + a));
    let mut rest = stream.as_slice();
    let to_responder = ChildKeys { encr: take(&mut rest, e), integ: take(&mut rest, a) };
    let to_initiator = ChildKeys { encr: take(&mut rest, e), integ: take(&mut rest, a) };
    (to_responder, to_initiator)
}

fn initial_skeyseed(prf: Prf, g_ir: &[u8], ni: &[u8], nr: &[u8]) -> Zeroizing<Vec<u8>> {
    let key = Zeroizing::new([key_share(prf, ni), key_share(prf, nr)].concat());
    prf.compute(&key, &[g_ir])
}

/// What a nonce gives to the key of the first SKEYSEED. None is shorter than that (RFC 7296 §2.10).
fn key_share(prf: Prf, nonce: &[u8]) -> &[u8] {
    prf.nonce_len_in_key().and_then(|len| nonce.get(..len)).unwrap_or(nonce)
}

fn rekeyed_skeyseed(
    old_prf: Prf,
    old_sk_d: &[u8],
    g_ir: &[u8],
    ni: &[u8],
    nr: &[u8],
    further: &[u8],
) -> Zeroizing<Vec<u8>> {
    old_prf.compute(old_sk_d, &[g_ir, ni, nr, further])
}

/// Cuts the first `len` octets off `rest`.
fn take(rest: &mut &[u8], len: usize) -> Zeroizing<Vec<u8>> {
    let (key, tail) =
        rest.split_at_checked(len).expect("invariant: prf+ was asked for the sum of all lengths");
    *rest = tail;
    Zeroizing::new(key.to_vec())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::additional::AdditionalKe;
    use super::super::vectors;
    use super::*;
    use crate::registry::{EncrId, IntegId, KeMethod, PrfId};

    /// NIST's DKM is the stream before it is cut; a suite whose keys are shorter or longer sees a part of it.
    const DKM_LEN: usize = 1056 / 8;

    #[test]
    fn computes_the_answers_of_nist() {
        let file = "nist/cavs17.3_ikev2_kdf_part1_200cases.fax.gz";
        let Some(text) = vectors::external(file) else { return };
        let (mut prf, mut tested) = (None, 0);
        for block in String::from_utf8(text).unwrap().replace("\r\n", "\n").split("\n\n") {
            if block.contains("[SHA-256]") {
                prf = Some((Prf::HmacSha2_256, PrfId::HMAC_SHA2_256));
            } else if block.contains("[SHA-512]") {
                prf = Some((Prf::HmacSha2_512, PrfId::HMAC_SHA2_512));
            } else if block.contains("COUNT") {
                check(prf.unwrap(), block);
                tested += 1;
            }
        }
        assert_eq!(tested, 200);
    }

    fn check((prf, prf_id): (Prf, PrfId), block: &str) {
        let lines = block.lines().filter_map(|line| line.split_once(" = "));
        let fields: HashMap<&str, &str> = lines.collect();
        let name = format!("{prf:?} {}", fields["COUNT"]);
        let field = |name: &str| hex::decode(fields[name]).unwrap();
        let spi = |name| IkeSpi(u64::from_str_radix(fields[name], 16).unwrap());
        let (ni, nr, g_ir, g_ir_new) =
            (field("Ni"), field("Nr"), field("g^ir"), field("g^ir (new)"));
        let dkm = field("DKM");
        let sk_d = &dkm[..prf.output_len()];

        let skeyseed = initial_skeyseed(prf, &g_ir, &ni, &nr);
        assert_eq!(skeyseed.as_slice(), field("SKEYSEED"), "{name}");
        let skeyseed = rekeyed_skeyseed(prf, sk_d, &g_ir_new, &ni, &nr, &[]);
        assert_eq!(skeyseed.as_slice(), field("SKEYSEED(Rekey)"), "{name}");

        for (encr, bits, integ) in [
            (EncrId::AES_GCM_16, 256, None),
            (EncrId::AES_CBC, 128, Some(IntegId::HMAC_SHA2_256_128)),
            (EncrId::AES_CBC, 192, Some(IntegId::HMAC_SHA2_512_256)),
        ] {
            let suite = IkeSuite {
                encr,
                key_bits: bits,
                prf: prf_id,
                integ,
                ke: KeMethod::MODP_2048,
                additional: AdditionalKe::NONE,
            };
            let keys = IkeKeys::initial(&suite, &g_ir, &ni, &nr, spi("SPIi"), spi("SPIr"));
            let stream = concatenated(&keys);
            let known = DKM_LEN.min(stream.len());
            assert_eq!(stream[..known], dkm[..known], "{name}");

            let child = ChildSuite {
                encr,
                key_bits: bits,
                integ,
                esn: true,
                ke: None,
                additional: AdditionalKe::NONE,
            };
            for (g_ir, answer) in [(None, "DKM(Child SA)"), (Some(&g_ir_new), "DKM(Child SA D-H)")]
            {
                let g_ir = g_ir.map(Vec::as_slice);
                let (first, second) = child_keys(prf, sk_d, g_ir, &ni, &nr, &[], &child);
                let stream =
                    [first.encr, first.integ, second.encr, second.integ].map(|key| key.to_vec());
                let stream = stream.concat();
                let known = DKM_LEN.min(stream.len());
                assert_eq!(stream[..known], field(answer)[..known], "{name} {answer}");
            }
        }
    }

    /// RFC 7296 §2.14: of an AES PRF the key of the first SKEYSEED is 8 octets of each nonce; the nonces are whole everywhere
    /// else, and so is the key of the next SKEYSEED.
    #[test]
    fn an_aes_prf_takes_half_a_key_of_each_nonce_and_only_there() {
        let (ni, nr) = ([0xa1; 32], [0xb2; 24]);
        for prf in [Prf::Aes128Xcbc, Prf::Aes128Cmac] {
            let skeyseed = initial_skeyseed(prf, b"g", &ni, &nr);
            let halves = [[0xa1; 8], [0xb2; 8]].concat();
            assert_eq!(skeyseed, prf.compute(&halves, &[b"g"]), "{prf:?}");
            assert_ne!(skeyseed, prf.compute(&[&ni[..], &nr[..]].concat(), &[b"g"]), "{prf:?}");
            let rekeyed = rekeyed_skeyseed(prf, &skeyseed, b"g", &ni, &nr, b"");
            assert_eq!(rekeyed, prf.compute(&skeyseed, &[b"g", &ni, &nr]), "{prf:?}");
        }
        for prf in [Prf::HmacSha1, Prf::HmacSha2_256, Prf::HmacSha2_384, Prf::HmacSha2_512] {
            let whole = [&ni[..], &nr[..]].concat();
            assert_eq!(initial_skeyseed(prf, b"g", &ni, &nr), prf.compute(&whole, &[b"g"]));
        }
    }

    #[test]
    fn every_key_has_its_length_and_is_another() {
        let suite = IkeSuite {
            encr: EncrId::AES_GCM_16,
            key_bits: 128,
            prf: PrfId::HMAC_SHA2_512,
            integ: None,
            ke: KeMethod::ECP_256,
            additional: AdditionalKe::NONE,
        };
        let keys = IkeKeys::initial(&suite, b"g", b"i", b"r", IkeSpi(1), IkeSpi(2));
        let lens =
            [&keys.sk_d, &keys.sk_ai, &keys.sk_ar, &keys.sk_ei, &keys.sk_er].map(|k| k.len());
        assert_eq!(lens, [64, 0, 0, 20, 20]);
        assert_eq!([keys.sk_pi.len(), keys.sk_pr.len()], [64, 64]);
        assert!(keys.sk_ei != keys.sk_er && keys.sk_pi != keys.sk_pr);

        let rekeyed = |prf| {
            let spis = (IkeSpi(1), IkeSpi(2));
            IkeKeys::rekeyed(&suite, prf, &keys.sk_d, b"g", b"i", b"r", b"", spis.0, spis.1).sk_d
        };
        // SKEYSEED is made with the PRF of the old SA, so that one matters (RFC 7296 §2.18).
        assert_ne!(rekeyed(Prf::HmacSha2_512), rekeyed(Prf::HmacSha2_256));
        assert_ne!(rekeyed(Prf::HmacSha2_512), keys.sk_d);
    }

    /// The formulas of RFC 9370 §2.2.2 and §2.2.4 written out.
    #[test]
    fn further_secrets_go_where_the_rfc_puts_them() {
        let prf = Prf::HmacSha2_256;
        let suite = IkeSuite {
            encr: EncrId::AES_GCM_16,
            key_bits: 256,
            prf: PrfId::HMAC_SHA2_256,
            integ: None,
            ke: KeMethod::CURVE25519,
            additional: AdditionalKe::NONE,
        };
        let (spi_i, spi_r) = (IkeSpi(1), IkeSpi(2));
        let seed: [&[u8]; 4] = [b"ni", b"nr", &spi_i.octets(), &spi_r.octets()];
        let expected = |skeyseed: &[u8]| prf_plus(prf, skeyseed, &seed, 32 * 3 + 36 * 2).to_vec();
        let keys = IkeKeys::updated(&suite, b"SK_d", b"SK(n)", b"ni", b"nr", spi_i, spi_r);
        assert_eq!(concatenated(&keys), expected(&prf.compute(b"SK_d", &[b"SK(n)ninr"])));

        let sk_d = [9; 32];
        let keys = IkeKeys::with_ppk(&suite, &sk_d, b"PPK", (b"ni", b"nr"), (spi_i, spi_r));
        assert_eq!(concatenated(&keys), expected(&prf.compute(b"PPK", &[&sk_d, &[1]])));

        let secrets = (b"SK(0)", b"SK(1)SK(2)");
        let keys = IkeKeys::rekeyed(
            &suite, prf, b"SK_d", secrets.0, b"ni", b"nr", secrets.1, spi_i, spi_r,
        );
        let skeyseed = prf.compute(b"SK_d", &[b"SK(0)ninrSK(1)SK(2)"]);
        assert_eq!(concatenated(&keys), expected(&skeyseed));

        let child = ChildSuite {
            encr: EncrId::AES_GCM_16,
            key_bits: 256,
            integ: None,
            esn: true,
            ke: Some(KeMethod::CURVE25519),
            additional: AdditionalKe::NONE,
        };
        let (out, back) =
            child_keys(prf, b"SK_d", Some(b"SK(0)"), b"ni", b"nr", b"SK(1)SK(2)", &child);
        let keymat = prf_plus(prf, b"SK_d", &[b"SK(0)ninrSK(1)SK(2)"], 72);
        assert_eq!([out.encr.to_vec(), back.encr.to_vec()].concat(), keymat.to_vec());
    }

    fn concatenated(keys: &IkeKeys) -> Vec<u8> {
        let IkeKeys { sk_d, sk_ai, sk_ar, sk_ei, sk_er, sk_pi, sk_pr } = keys;
        [sk_d, sk_ai, sk_ar, sk_ei, sk_er, sk_pi, sk_pr].map(|key| key.to_vec()).concat()
    }
}
