//! Negotiated algorithms: what is left of a proposal once one transform of each type was chosen (RFC 7296 §2.7, §3.3).
//!
//! ```text
//!            ENCR                             PRF                   INTEG                       KE            SN
//!   IKE      AEAD: AES-GCM, AES-CCM, ChaCha20 HMAC-SHA-1, -SHA-2,   absent or NONE (RFC 5282 §8) one of ke::supported
//!            AES-CBC, AES-CTR, 3DES           AES-XCBC, AES-CMAC    HMAC-SHA-1, -SHA-2,           "
//!                                                                   AES-XCBC, AES-CMAC
//!   ESP      as for IKE, and GMAC, NULL,                            as for IKE                  none, or "    with or without ESN
//!            ciphers with implicit IV
//!
//!   ADDKE1 to ADDKE7 (RFC 9370): each absent, NONE, or one of ke::supported that stands nowhere else in the suite
//! ```
//!
//! A suite that `from_transforms` made can be computed; there is no other way to make one inside this crate.

use std::fmt;

use super::additional::AdditionalKe;
use super::integ::Integ;
use super::prf::Prf;
use super::{cipher, ke};
use crate::registry::{EncrId, IntegId, KeMethod, PrfId, SnId};
use crate::wire::proposal::Transform;

/// The algorithms of an IKE SA.
///
/// Printed as `AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048` or `AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IkeSuite {
    /// Cipher.
    pub encr: EncrId,
    /// Bits of its key, also where the cipher has one length only and the Key Length attribute is absent.
    pub key_bits: u16,
    /// PRF.
    pub prf: PrfId,
    /// Integrity; `None` for AEAD ciphers.
    pub integ: Option<IntegId>,
    /// Key exchange.
    pub ke: KeMethod,
    /// Those that follow it (RFC 9370).
    pub additional: AdditionalKe,
}

/// The algorithms of a child SA.
///
/// Printed as `AES_GCM_16_256/ESN` or `AES_CBC_256/HMAC_SHA2_256_128/MODP_2048`; without ESN nothing stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildSuite {
    /// Cipher.
    pub encr: EncrId,
    /// Bits of its key, also where the cipher has one length only and the Key Length attribute is absent.
    pub key_bits: u16,
    /// Integrity; `None` for AEAD ciphers.
    pub integ: Option<IntegId>,
    /// Extended sequence numbers.
    pub esn: bool,
    /// The key exchange of this child; `None` if its keys come from SK_d alone.
    pub ke: Option<KeMethod>,
    /// Those that follow it (RFC 9370); none if there is no first one.
    pub additional: AdditionalKe,
}

impl IkeSuite {
    /// The suite of these transforms, one of each type. `None` if a type is missing, occurs twice or does not belong to
    /// IKE, or if we cannot compute one of them.
    pub(crate) fn from_transforms(transforms: &[Transform]) -> Option<Self> {
        let chosen = Chosen::sort(transforms)?;
        let (encr, key_bits, integ) = chosen.protection()?;
        if encr.is_for_esp_alone() {
            return None;
        }
        let prf = chosen.prf.filter(|&id| Prf::from_id(id).is_some())?;
        let ke = chosen.ke.filter(|&method| ke::supported(method))?;
        let additional = chosen.further(Some(ke))?;
        chosen.sn.is_none().then_some(Self { encr, key_bits, prf, integ, ke, additional })
    }

    /// Octets of SK_ei and SK_er, with the salt or nonce that follows the key (RFC 5282 §7.1, RFC 5930 §2).
    pub(crate) fn encr_key_len(&self) -> usize {
        usize::from(self.key_bits / 8) + self.encr.salt_len()
    }

    /// Octets of SK_ai and SK_ar; zero for AEAD ciphers.
    pub(crate) fn integ_key_len(&self) -> usize {
        integ_key_len(self.integ)
    }

    /// The PRF.
    pub(crate) fn prf(&self) -> Prf {
        Prf::from_id(self.prf).expect("invariant: from_transforms admits no PRF that we lack")
    }
}

impl ChildSuite {
    /// The suite of these transforms, one of each type. `None` if a type is missing, occurs twice or does not belong to
    /// ESP, or if we cannot compute one of them. No key exchange, or the method NONE, means keys from SK_d alone; no sequence numbers mean short ones.
    pub(crate) fn from_transforms(transforms: &[Transform]) -> Option<Self> {
        let chosen = Chosen::sort(transforms)?;
        let (encr, key_bits, integ) = chosen.protection()?;
        // RFC 7296 §3.3.3 makes the type mandatory, but older peers leave it out and mean the only kind that they know.
        let esn = match chosen.sn.unwrap_or(SnId::SHORT) {
            SnId::SHORT => false,
            SnId::EXTENDED => true,
            _ => return None,
        };
        let ke = chosen.ke.filter(|&method| method != KeMethod::NONE);
        if chosen.prf.is_some() || ke.is_some_and(|method| !ke::supported(method)) {
            return None;
        }
        let additional = chosen.further(ke)?;
        Some(Self { encr, key_bits, integ, esn, ke, additional })
    }

    /// Octets of the cipher key of one direction, with the salt or nonce that follows the key (RFC 4106 §8.1).
    pub(crate) fn encr_key_len(&self) -> usize {
        usize::from(self.key_bits / 8) + self.encr.salt_len()
    }

    /// Octets of the integrity key of one direction; zero for AEAD ciphers.
    pub(crate) fn integ_key_len(&self) -> usize {
        integ_key_len(self.integ)
    }
}

/// Transforms by type, at most one of each.
#[derive(Default)]
struct Chosen {
    encr: Option<(EncrId, Option<u16>)>,
    prf: Option<PrfId>,
    integ: Option<IntegId>,
    ke: Option<KeMethod>,
    sn: Option<SnId>,
    additional: [Option<KeMethod>; 7],
}

impl Chosen {
    fn sort(transforms: &[Transform]) -> Option<Self> {
        let mut chosen = Self::default();
        for transform in transforms {
            let repeated = match *transform {
                Transform::Encr(id, bits) => chosen.encr.replace((id, bits)).is_some(),
                Transform::Prf(id) => chosen.prf.replace(id).is_some(),
                Transform::Integ(id) => chosen.integ.replace(id).is_some(),
                Transform::Ke(id) => chosen.ke.replace(id).is_some(),
                Transform::Sn(id) => chosen.sn.replace(id).is_some(),
                Transform::AddKe(place, id) => {
                    let index = usize::from(place).checked_sub(1)?;
                    chosen.additional.get_mut(index)?.replace(id).is_some()
                }
                Transform::Unknown { .. } => true,
            };
            if repeated {
                return None;
            }
        }
        Some(chosen)
    }

    /// The further key exchanges after `first`; `None` if we lack one, one comes twice, or there is no first one.
    fn further(&self, first: Option<KeMethod>) -> Option<AdditionalKe> {
        let mut additional = AdditionalKe::NONE;
        for (place, method) in (1..).zip(self.additional) {
            let method = method.filter(|method| *method != KeMethod::NONE);
            let Some(method) = method else { continue };
            if first.is_none() || !ke::supported(method) || !additional.put(place, method) {
                return None;
            }
        }
        (!additional.repeats(first)).then_some(additional)
    }

    /// Cipher, bits of its key and integrity, if they make sense together: an AEAD cipher alone or with NONE, any other
    /// with an integrity algorithm (RFC 7296 §3.3.3, RFC 5282 §8).
    fn protection(&self) -> Option<(EncrId, u16, Option<IntegId>)> {
        let (encr, attribute) = self.encr?;
        if !cipher::is_known(encr) {
            return None;
        }
        let key_bits = encr.key_bits(attribute)?;
        match self.integ {
            None | Some(IntegId::NONE) if encr.is_aead() => Some((encr, key_bits, None)),
            Some(id) if !encr.is_aead() && Integ::from_id(id).is_some() => {
                Some((encr, key_bits, Some(id)))
            }
            _ => None,
        }
    }
}

fn integ_key_len(integ: Option<IntegId>) -> usize {
    integ.and_then(Integ::from_id).map_or(0, Integ::key_len)
}

impl fmt::Display for IkeSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_encr(f, self.encr, self.key_bits)?;
        if let Some(integ) = self.integ {
            write!(f, "/{integ}")?;
        }
        write!(f, "/PRF_{}/{}{}", self.prf, ke_name(self.ke), self.additional)
    }
}

impl fmt::Display for ChildSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_encr(f, self.encr, self.key_bits)?;
        if let Some(integ) = self.integ {
            write!(f, "/{integ}")?;
        }
        if let Some(ke) = self.ke {
            write!(f, "/{}{}", ke_name(ke), self.additional)?;
        }
        if self.esn { f.write_str("/ESN") } else { Ok(()) }
    }
}

/// The cipher, with its key length where it has a choice of them.
fn write_encr(f: &mut fmt::Formatter<'_>, encr: EncrId, key_bits: u16) -> fmt::Result {
    match encr.key_length_attribute(key_bits) {
        Some(bits) => write!(f, "{encr}_{bits}"),
        None => write!(f, "{encr}"),
    }
}

/// The name that operators know from strongSwan, which differs from ours for one method.
pub(super) fn ke_name(method: KeMethod) -> String {
    if method == KeMethod::CURVE25519 { "CURVE_25519".into() } else { method.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CBC: Transform = Transform::Encr(EncrId::AES_CBC, Some(256));
    const GCM: Transform = Transform::Encr(EncrId::AES_GCM_16, Some(256));
    const PRF: Transform = Transform::Prf(PrfId::HMAC_SHA2_256);
    const INTEG: Transform = Transform::Integ(IntegId::HMAC_SHA2_256_128);
    const NO_INTEG: Transform = Transform::Integ(IntegId::NONE);
    const KE: Transform = Transform::Ke(KeMethod::MODP_2048);
    const NO_KE: Transform = Transform::Ke(KeMethod::NONE);
    const ESN: Transform = Transform::Sn(SnId::EXTENDED);
    const NO_ESN: Transform = Transform::Sn(SnId::SHORT);
    const UNKNOWN: Transform = Transform::Unknown { kind: 13, id: 1 };

    fn ike(transforms: &[Transform]) -> Option<String> {
        IkeSuite::from_transforms(transforms).map(|suite| suite.to_string())
    }

    fn child(transforms: &[Transform]) -> Option<String> {
        ChildSuite::from_transforms(transforms).map(|suite| suite.to_string())
    }

    #[test]
    fn suites_print_as_operators_know_them() {
        let cbc = "AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048";
        assert_eq!(ike(&[CBC, PRF, INTEG, KE]).as_deref(), Some(cbc));
        let ecp = Transform::Ke(KeMethod::ECP_384);
        let prf = Transform::Prf(PrfId::HMAC_SHA2_384);
        let gcm = "AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384";
        assert_eq!(ike(&[ecp, GCM, prf]).as_deref(), Some(gcm));
        assert_eq!(ike(&[ecp, GCM, prf, NO_INTEG]).as_deref(), Some(gcm));
        let x25519 = Transform::Ke(KeMethod::CURVE25519);
        let gcm = "AES_GCM_16_256/PRF_HMAC_SHA2_256/CURVE_25519";
        assert_eq!(ike(&[GCM, PRF, x25519]).as_deref(), Some(gcm));

        assert_eq!(child(&[GCM, ESN]).as_deref(), Some("AES_GCM_16_256/ESN"));
        assert_eq!(child(&[GCM, NO_INTEG, NO_ESN, NO_KE]).as_deref(), Some("AES_GCM_16_256"));
        assert_eq!(child(&[GCM]).as_deref(), Some("AES_GCM_16_256"), "the peer does not say");
        let cbc = "AES_CBC_256/HMAC_SHA2_256_128/MODP_2048/ESN";
        assert_eq!(child(&[CBC, INTEG, ESN, KE]).as_deref(), Some(cbc));
    }

    #[test]
    fn what_is_missing_repeated_or_out_of_place_makes_no_suite() {
        let ike_cases: [&[Transform]; 11] = [
            &[],
            &[CBC, PRF, INTEG],
            &[CBC, PRF, KE],
            &[CBC, PRF, NO_INTEG, KE],
            &[CBC, INTEG, KE],
            &[PRF, INTEG, KE],
            &[GCM, PRF, INTEG, KE],
            &[CBC, PRF, INTEG, KE, KE],
            &[CBC, PRF, INTEG, KE, NO_ESN],
            &[CBC, PRF, INTEG, NO_KE],
            &[CBC, PRF, INTEG, KE, UNKNOWN],
        ];
        for (case, transforms) in ike_cases.into_iter().enumerate() {
            assert_eq!(ike(transforms), None, "{case}");
        }
        let child_cases: [&[Transform]; 6] = [
            &[CBC, ESN],
            &[GCM, INTEG, ESN],
            &[GCM, ESN, NO_ESN],
            &[GCM, PRF, ESN],
            &[GCM, Transform::Sn(SnId(2))],
            &[GCM, ESN, UNKNOWN],
        ];
        for (case, transforms) in child_cases.into_iter().enumerate() {
            assert_eq!(child(transforms), None, "{case}");
        }
    }

    #[test]
    fn further_key_exchanges_follow_in_the_order_of_their_places() {
        let add = |place, method| Transform::AddKe(place, method);
        let (first, second) = (KeMethod::ML_KEM_768, KeMethod::ML_KEM_1024);
        let (one, none, four) = (add(1, first), add(2, KeMethod::NONE), add(4, second));
        let name = "AES_GCM_16_256/PRF_HMAC_SHA2_256/MODP_2048/KE1_ML_KEM_768/KE4_ML_KEM_1024";
        assert_eq!(ike(&[GCM, PRF, four, KE, none, one]).as_deref(), Some(name));
        let name = "AES_GCM_16_256/MODP_2048/KE1_ML_KEM_768/ESN";
        assert_eq!(child(&[GCM, KE, one, ESN]).as_deref(), Some(name));
        let suite = IkeSuite::from_transforms(&[GCM, PRF, four, KE, one]).unwrap();
        assert_eq!(suite.additional.iter().collect::<Vec<_>>(), [(1, first), (4, second)]);
        for wrong in [
            vec![GCM, PRF, one],
            vec![GCM, PRF, KE, one, one],
            vec![GCM, PRF, KE, one, add(2, first)],
            vec![GCM, PRF, KE, add(1, KeMethod::MODP_2048)],
            vec![GCM, PRF, KE, add(1, KeMethod::CURVE448)],
            vec![GCM, PRF, KE, add(8, first)],
        ] {
            assert_eq!(ike(&wrong), None, "{wrong:?}");
        }
        assert_eq!(child(&[GCM, one, ESN]), None, "the first one is missing");
        assert_eq!(child(&[GCM, NO_KE, one, ESN]), None);
    }

    #[test]
    fn what_we_cannot_compute_makes_no_suite() {
        for encr in [
            Transform::Encr(EncrId::AES_GCM_16, None),
            Transform::Encr(EncrId::AES_GCM_16, Some(512)),
            Transform::Encr(EncrId::CHACHA20_POLY1305, Some(256)),
            // ENCR_DES, ENCR_KUZNYECHIK_MGM_KTREE.
            Transform::Encr(EncrId(2), None),
            Transform::Encr(EncrId(32), None),
            Transform::Encr(EncrId(32), Some(256)),
        ] {
            assert_eq!(ike(&[encr, PRF, KE]), None, "{encr}");
            assert_eq!(child(&[encr, ESN]), None, "{encr}");
        }
        for encr in [
            Transform::Encr(EncrId::TRIPLE_DES, Some(192)),
            Transform::Encr(EncrId::NULL, Some(128)),
            Transform::Encr(EncrId::AES_CTR, None),
            Transform::Encr(EncrId::CAMELLIA_CBC, Some(256)),
        ] {
            assert_eq!(ike(&[encr, PRF, INTEG, KE]), None, "{encr}");
            assert_eq!(child(&[encr, INTEG, ESN]), None, "{encr}");
        }
        // PRF_HMAC_MD5, AUTH_HMAC_MD5_96, 768-bit MODP.
        assert_eq!(ike(&[GCM, Transform::Prf(PrfId(1)), KE]), None);
        assert_eq!(ike(&[CBC, PRF, Transform::Integ(IntegId(1)), KE]), None);
        assert_eq!(ike(&[GCM, PRF, Transform::Ke(KeMethod(1))]), None);
        assert_eq!(child(&[GCM, ESN, Transform::Ke(KeMethod(1))]), None);
    }

    #[test]
    fn what_is_for_esp_alone_makes_no_ike_suite() {
        for (encr, name) in [
            (Transform::Encr(EncrId::NULL_AUTH_AES_GMAC, Some(256)), "NULL_AUTH_AES_GMAC_256"),
            (Transform::Encr(EncrId::AES_GCM_16_IIV, Some(128)), "AES_GCM_16_IIV_128"),
            (Transform::Encr(EncrId::CHACHA20_POLY1305_IIV, None), "CHACHA20_POLY1305_IIV"),
        ] {
            assert_eq!(ike(&[encr, PRF, KE]), None, "{name}");
            assert_eq!(child(&[encr, NO_ESN]).as_deref(), Some(name));
            assert_eq!(child(&[encr, INTEG, NO_ESN]), None, "{name}");
        }
        let null = Transform::Encr(EncrId::NULL, None);
        assert_eq!(ike(&[null, PRF, INTEG, KE]), None);
        assert_eq!(child(&[null, INTEG, NO_ESN]).as_deref(), Some("NULL/HMAC_SHA2_256_128"));
        assert_eq!(child(&[null, NO_ESN]), None, "NULL twice protects nothing (RFC 8221 §6)");
        assert_eq!(child(&[null, NO_INTEG, NO_ESN]), None);
    }

    #[test]
    fn key_lengths_count_the_salt_in() {
        let aead = |encr, bits, len| (Transform::Encr(encr, bits), None, (len, 0));
        let other = |encr, bits, integ, lens| {
            (Transform::Encr(encr, bits), Some(Transform::Integ(integ)), lens)
        };
        for (encr, integ, lens) in [
            aead(EncrId::AES_GCM_16, Some(128), 20),
            aead(EncrId::AES_GCM_12, Some(192), 28),
            aead(EncrId::AES_GCM_8, Some(256), 36),
            aead(EncrId::AES_CCM_16, Some(128), 19),
            aead(EncrId::AES_CCM_8, Some(256), 35),
            aead(EncrId::CHACHA20_POLY1305, None, 36),
            other(EncrId::AES_CBC, Some(128), IntegId::HMAC_SHA2_256_128, (16, 32)),
            other(EncrId::AES_CBC, Some(192), IntegId::HMAC_SHA2_512_256, (24, 64)),
            other(EncrId::AES_CTR, Some(256), IntegId::HMAC_SHA1_96, (36, 20)),
            other(EncrId::AES_CBC, Some(256), IntegId::AES_XCBC_96, (32, 16)),
            other(EncrId::TRIPLE_DES, None, IntegId::AES_CMAC_96, (24, 16)),
        ] {
            let rest = [integ.as_slice(), &[encr]].concat();
            let suite = IkeSuite::from_transforms(&[&rest[..], &[PRF, KE]].concat()).unwrap();
            assert_eq!((suite.encr_key_len(), suite.integ_key_len()), lens, "{suite}");
            let suite = ChildSuite::from_transforms(&[&rest[..], &[ESN]].concat()).unwrap();
            assert_eq!((suite.encr_key_len(), suite.integ_key_len()), lens, "{suite}");
        }
        let null = [Transform::Encr(EncrId::NULL, None), INTEG, ESN];
        let suite = ChildSuite::from_transforms(&null).unwrap();
        assert_eq!((suite.encr_key_len(), suite.integ_key_len()), (0, 32));
        let gmac = [Transform::Encr(EncrId::NULL_AUTH_AES_GMAC, Some(256)), ESN];
        let suite = ChildSuite::from_transforms(&gmac).unwrap();
        assert_eq!((suite.encr_key_len(), suite.integ_key_len()), (36, 0));
    }
}
