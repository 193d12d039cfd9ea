//! Negotiated algorithms: what is left of a proposal once one transform of each type was chosen (RFC 7296 §2.7, §3.3).
//!
//! ```text
//!            ENCR                    PRF          INTEG                       KE            SN
//!   IKE      AES-CBC-128/192/256     HMAC-SHA-2   HMAC-SHA-2                  one of ke::supported
//!            AES-GCM-16-128/192/256  HMAC-SHA-2   absent or NONE (RFC 5282 §8)  "
//!   ESP      as for IKE                           as for IKE                  none, or "    with or without ESN
//! ```
//!
//! A suite that `from_transforms` made can be computed; there is no other way to make one inside this crate.

use std::fmt;

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
}

impl IkeSuite {
    /// The suite of these transforms, one of each type. `None` if a type is missing, occurs twice or does not belong to
    /// IKE, or if we cannot compute one of them.
    pub(crate) fn from_transforms(transforms: &[Transform]) -> Option<Self> {
        let chosen = Chosen::sort(transforms)?;
        let (encr, key_bits, integ) = chosen.protection()?;
        let prf = chosen.prf.filter(|&id| Prf::from_id(id).is_some())?;
        let ke = chosen.ke.filter(|&method| ke::supported(method))?;
        chosen.sn.is_none().then_some(Self { encr, key_bits, prf, integ, ke })
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
    /// ESP, or if we cannot compute one of them. No key exchange, or the method NONE, means keys from SK_d alone.
    pub(crate) fn from_transforms(transforms: &[Transform]) -> Option<Self> {
        let chosen = Chosen::sort(transforms)?;
        let (encr, key_bits, integ) = chosen.protection()?;
        let esn = match chosen.sn? {
            SnId::SHORT => false,
            SnId::EXTENDED => true,
            _ => return None,
        };
        let ke = chosen.ke.filter(|&method| method != KeMethod::NONE);
        if chosen.prf.is_some() || ke.is_some_and(|method| !ke::supported(method)) {
            return None;
        }
        Some(Self { encr, key_bits, integ, esn, ke })
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
                Transform::Unknown { .. } => true,
            };
            if repeated {
                return None;
            }
        }
        Some(chosen)
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
        write!(f, "/PRF_{}/{}", self.prf, ke_name(self.ke))
    }
}

impl fmt::Display for ChildSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.encr, self.key_bits)?;
        if let Some(integ) = self.integ {
            write!(f, "/{integ}")?;
        }
        if let Some(ke) = self.ke {
            write!(f, "/{}", ke_name(ke))?;
        }
        if self.esn { f.write_str("/ESN") } else { Ok(()) }
    }
}

/// The name that operators know from strongSwan, which differs from ours for one method.
fn ke_name(method: KeMethod) -> String {
    if method == KeMethod::CURVE25519 { "CURVE_25519".into() } else { method.to_string() }
}

/// Octets of the salt that follows an AES-GCM key in the keying material (RFC 4106 §8.1, RFC 5282 §7.1).
pub(super) const GCM_SALT_LEN: usize = 4;
