//! Negotiated algorithms: what is left of a proposal once one transform of each type was chosen (RFC 7296 §2.7, §3.3).
//!
//! ```text
//!            ENCR                    PRF          INTEG                       KE            SN
//!   IKE      AES-CBC-128/192/256     HMAC-SHA-2   HMAC-SHA-2                  one of ke::supported
//!            AES-GCM-16-128/192/256  HMAC-SHA-2   absent or NONE (RFC 5282 §8)  "
//!   ESP      as for IKE                           as for IKE                  none, or "    with or without ESN
//!
//!   ADDKE1 to ADDKE7 (RFC 9370): each absent, NONE, or one of ke::supported that stands nowhere else in the suite
//! ```
//!
//! A suite that `from_transforms` made can be computed; there is no other way to make one inside this crate.

use std::fmt;

use super::additional::AdditionalKe;
use super::integ::Integ;
use super::ke;
use super::prf::Prf;
use crate::registry::{EncrId, IntegId, KeMethod, PrfId, SnId};
use crate::wire::proposal::Transform;

/// The algorithms of an IKE SA.
///
/// Printed as `AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048` or `AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IkeSuite {
    /// Cipher.
    pub encr: EncrId,
    /// Cipher key length.
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
    /// Cipher key length.
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
        let prf = chosen.prf.filter(|&id| Prf::from_id(id).is_some())?;
        let ke = chosen.ke.filter(|&method| ke::supported(method))?;
        let additional = chosen.further(Some(ke))?;
        chosen.sn.is_none().then_some(Self { encr, key_bits, prf, integ, ke, additional })
    }

    /// Octets of SK_ei and SK_er; for AES-GCM with the 4-octet salt (RFC 5282 §7.1).
    pub(crate) fn encr_key_len(&self) -> usize {
        encr_key_len(self.encr, self.key_bits)
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

    /// Octets of the cipher key of one direction; for AES-GCM with the 4-octet salt (RFC 4106 §8.1).
    pub(crate) fn encr_key_len(&self) -> usize {
        encr_key_len(self.encr, self.key_bits)
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

    /// Cipher, key length and integrity, if they make sense together: an AEAD cipher alone or with NONE, any other with
    /// an integrity algorithm (RFC 7296 §3.3.3, RFC 5282 §8).
    fn protection(&self) -> Option<(EncrId, u16, Option<IntegId>)> {
        let (encr, key_bits) = self.encr?;
        let key_bits = key_bits.filter(|bits| matches!(bits, 128 | 192 | 256))?;
        match (encr, self.integ) {
            (EncrId::AES_GCM_16, None | Some(IntegId::NONE)) => Some((encr, key_bits, None)),
            (EncrId::AES_CBC, Some(id)) if Integ::from_id(id).is_some() => {
                Some((encr, key_bits, Some(id)))
            }
            _ => None,
        }
    }
}

fn encr_key_len(encr: EncrId, key_bits: u16) -> usize {
    let salt = if encr == EncrId::AES_GCM_16 { GCM_SALT_LEN } else { 0 };
    usize::from(key_bits / 8) + salt
}

fn integ_key_len(integ: Option<IntegId>) -> usize {
    integ.and_then(Integ::from_id).map_or(0, Integ::key_len)
}

impl fmt::Display for IkeSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.encr, self.key_bits)?;
        if let Some(integ) = self.integ {
            write!(f, "/{integ}")?;
        }
        write!(f, "/PRF_{}/{}{}", self.prf, ke_name(self.ke), self.additional)
    }
}

impl fmt::Display for ChildSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.encr, self.key_bits)?;
        if let Some(integ) = self.integ {
            write!(f, "/{integ}")?;
        }
        if let Some(ke) = self.ke {
            write!(f, "/{}{}", ke_name(ke), self.additional)?;
        }
        if self.esn { f.write_str("/ESN") } else { Ok(()) }
    }
}

/// The name that operators know from strongSwan, which differs from ours for one method.
pub(super) fn ke_name(method: KeMethod) -> String {
    if method == KeMethod::CURVE25519 { "CURVE_25519".into() } else { method.to_string() }
}

/// Octets of the salt that follows an AES-GCM key in the keying material (RFC 4106 §8.1, RFC 5282 §7.1).
pub(super) const GCM_SALT_LEN: usize = 4;

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
            vec![GCM, PRF, KE, add(1, KeMethod(2))],
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
            // ENCR_3DES, ENCR_CHACHA20_POLY1305.
            Transform::Encr(EncrId(3), None),
            Transform::Encr(EncrId(28), None),
        ] {
            assert_eq!(ike(&[encr, PRF, KE]), None);
            assert_eq!(child(&[encr, ESN]), None);
        }
        // PRF_HMAC_SHA1, AUTH_HMAC_SHA1_96, 1024-bit MODP.
        assert_eq!(ike(&[GCM, Transform::Prf(PrfId(2)), KE]), None);
        assert_eq!(ike(&[CBC, PRF, Transform::Integ(IntegId(2)), KE]), None);
        assert_eq!(ike(&[GCM, PRF, Transform::Ke(KeMethod(2))]), None);
        assert_eq!(child(&[GCM, ESN, Transform::Ke(KeMethod(2))]), None);
    }

    #[test]
    fn key_lengths_count_the_salt_in() {
        for (bits, len) in [(128, 16), (192, 24), (256, 32)] {
            let gcm = Transform::Encr(EncrId::AES_GCM_16, Some(bits));
            let cbc = Transform::Encr(EncrId::AES_CBC, Some(bits));
            let suite = IkeSuite::from_transforms(&[gcm, PRF, KE]).unwrap();
            assert_eq!((suite.encr_key_len(), suite.integ_key_len()), (len + 4, 0));
            let suite = ChildSuite::from_transforms(&[gcm, ESN]).unwrap();
            assert_eq!((suite.encr_key_len(), suite.integ_key_len()), (len + 4, 0));
            let suite = IkeSuite::from_transforms(&[cbc, PRF, INTEG, KE]).unwrap();
            assert_eq!((suite.encr_key_len(), suite.integ_key_len()), (len, 32));
            let integ = Transform::Integ(IntegId::HMAC_SHA2_512_256);
            let suite = ChildSuite::from_transforms(&[cbc, integ, ESN]).unwrap();
            assert_eq!((suite.encr_key_len(), suite.integ_key_len()), (len, 64));
        }
    }
}
