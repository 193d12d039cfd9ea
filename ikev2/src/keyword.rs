//! Proposals as text, in the words of strongSwan: `aes256-sha256-modp2048`, `aes256gcm16-prfsha384-ecp384`.
//!
//! ```text
//!   "aes256gcm16-aes128gcm16-ecp384-esn"          words of one type are alternatives, the favourite first
//!      │           │           │      └ SN        ESP only; neither esn nor noesn: both, esn preferred
//!      └─ ENCR ────┘           └ KE               IKE must have one; in ESP it asks for a fresh exchange on rekey
//!   + ADDKE1 to ADDKE7 ("ke1_mlkem768", "ke2_none")  further exchanges after the first (RFC 9370); `none`: may be left out
//!
//!   + INTEG ("sha256") with AES-CBC, never with AES-GCM (RFC 7296 §3.3: those go into separate proposals)
//!   + PRF ("prfsha256") in IKE; without one it follows INTEG, so AES-GCM has to say it
//! ```
//!
//! One [`table`] serves both directions, so what is printed can be pasted into a configuration. It names algorithms that
//! we do not offer too: a peer's offer is printed in the same words, and a configuration that asks for one is told so.
//!
//! Not everything that we can compute is let into a proposal just so. What is broken or worn out, and ESP that leaves
//! its packets readable, has to be let in by [`Allow`], so that nobody gets it by a word that an old guide gave him.

mod error;
pub mod table;

use std::fmt;

pub use self::error::KeywordError;
pub use self::table::{Algorithm, Level, Standing, TABLE};
use crate::registry::{EncrId, IntegId, KeMethod, PrfId, ProtocolId, SnId, TransformType};
use crate::wire::proposal::{Proposal, Transform};

/// What a proposal may have beyond what is good enough for everybody. By default nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allow {
    /// Algorithms of [`Standing::Legacy`].
    pub legacy: bool,
    /// Algorithms of [`Standing::Unencrypted`].
    pub unencrypted: bool,
}

impl Allow {
    /// Everything that we can compute.
    pub const ALL: Self = Self { legacy: true, unencrypted: true };
}

/// Every word that a configuration may use, for suggestions: aliases included, and without what only [`Allow`] lets in.
pub fn keywords() -> impl Iterator<Item = &'static str> {
    let offered = TABLE.iter().filter(|row| row.standing == Standing::Offered);
    offered.flat_map(|row| row.words.iter().copied())
}

/// The algorithm of a word, in either case; also of one that we do not have.
#[must_use]
pub fn find(word: &str) -> Option<&'static Algorithm> {
    TABLE.iter().find(|row| row.words.iter().any(|known| known.eq_ignore_ascii_case(word)))
}

/// What the table says about a transform; `None` if it has no word.
#[must_use]
pub fn of(transform: &Transform) -> Option<&'static Algorithm> {
    TABLE.iter().find(|row| row.transform == *transform)
}

/// The name of an algorithm in the registry of IANA, with the bits of its key.
#[must_use]
pub fn iana_name(transform: &Transform) -> String {
    match transform {
        Transform::Encr(id, Some(bits)) => format!("{id}_{bits}"),
        Transform::Encr(id, None) => id.to_string(),
        Transform::Prf(id) => format!("PRF_{id}"),
        Transform::Integ(id) => id.to_string(),
        Transform::Ke(id) => id.to_string(),
        Transform::Sn(id) => id.to_string(),
        Transform::AddKe(place, id) => format!("KE{place}_{id}"),
        Transform::Unknown { kind, id } => format!("{kind}:{id}"),
    }
}

impl Proposal {
    /// Reads an IKE proposal of what is good enough for everybody.
    ///
    /// # Errors
    /// [`KeywordError`], with the place of the bad word or what is missing.
    pub fn ike_from_keywords(text: &str) -> Result<Self, KeywordError> {
        Self::ike_from_keywords_allowing(text, Allow::default())
    }

    /// The same, with what else is allowed.
    ///
    /// # Errors
    /// [`KeywordError`], with the place of the bad word or what is missing.
    pub fn ike_from_keywords_allowing(text: &str, allow: Allow) -> Result<Self, KeywordError> {
        let mut words = Words::parse(text, ProtocolId::IKE, allow)?;
        let aead = words.is_aead()?;
        if !words.has(TransformType::PRF) {
            if aead {
                return Err(KeywordError::NoPrf);
            }
            words.transforms.extend(prfs_of(&words.transforms));
        }
        if !words.has(TransformType::KE) {
            return Err(KeywordError::NoKeyExchange);
        }
        Ok(words.into_proposal(ProtocolId::IKE))
    }

    /// Reads an ESP proposal of what is good enough for everybody.
    ///
    /// # Errors
    /// [`KeywordError`], with the place of the bad word or what is missing.
    pub fn esp_from_keywords(text: &str) -> Result<Self, KeywordError> {
        Self::esp_from_keywords_allowing(text, Allow::default())
    }

    /// The same, with what else is allowed.
    ///
    /// # Errors
    /// [`KeywordError`], with the place of the bad word or what is missing.
    pub fn esp_from_keywords_allowing(text: &str, allow: Allow) -> Result<Self, KeywordError> {
        let mut words = Words::parse(text, ProtocolId::ESP, allow)?;
        words.is_aead()?;
        if !words.has(TransformType::KE) && words.has_further_ke() {
            return Err(KeywordError::NoKeyExchange);
        }
        if !words.has(TransformType::SN) {
            words.transforms.extend(BOTH_SN);
        }
        Ok(words.into_proposal(ProtocolId::ESP))
    }
}

/// What the words stand for, in the order of the text.
struct Words<'t> {
    transforms: Vec<Transform>,
    /// The first integrity algorithm and where it begins.
    integrity: Option<(&'t str, usize)>,
}

impl Algorithm {
    /// Whether the word may stand in a proposal.
    fn admit(
        &self,
        word: &str,
        offset: usize,
        protocol: ProtocolId,
        allow: Allow,
    ) -> Result<(), KeywordError> {
        let word = || word.to_string();
        let level = if protocol == ProtocolId::IKE { self.ike } else { self.esp };
        match self.standing {
            Standing::Unsupported => Err(KeywordError::Unsupported { word: word(), offset }),
            _ if level.is_none() => Err(KeywordError::Misplaced { word: word(), offset, protocol }),
            Standing::Legacy { instead } if !allow.legacy => {
                Err(KeywordError::Legacy { word: word(), offset, instead })
            }
            Standing::Unencrypted if !allow.unencrypted => {
                Err(KeywordError::Unencrypted { word: word(), offset })
            }
            Standing::Offered | Standing::Legacy { .. } | Standing::Unencrypted => Ok(()),
        }
    }
}

impl<'t> Words<'t> {
    fn parse(text: &'t str, protocol: ProtocolId, allow: Allow) -> Result<Self, KeywordError> {
        if text.is_empty() {
            return Err(KeywordError::Empty);
        }
        let mut words = Self { transforms: Vec::new(), integrity: None };
        let mut offset = 0;
        for word in text.split('-') {
            let at = offset;
            offset += word.len() + 1;
            let owned = || word.to_string();
            let (row, transform) =
                meaning(word).ok_or_else(|| KeywordError::Unknown { word: owned(), offset: at })?;
            if let Some(row) = row {
                row.admit(word, at, protocol, allow)?;
            }
            if words.transforms.contains(&transform) {
                return Err(KeywordError::Repeated { word: owned(), offset: at });
            }
            if transform.kind() == TransformType::INTEG {
                words.integrity.get_or_insert((word, at));
            }
            words.transforms.push(transform);
        }
        Ok(words)
    }

    fn has(&self, kind: TransformType) -> bool {
        self.transforms.iter().any(|transform| transform.kind() == kind)
    }

    fn has_further_ke(&self) -> bool {
        self.transforms.iter().any(|transform| matches!(transform, Transform::AddKe(..)))
    }

    /// Whether the ciphers are AEAD, after making sure that they and the integrity algorithms go together.
    fn is_aead(&self) -> Result<bool, KeywordError> {
        let ciphers = self.transforms.iter().filter(|t| t.kind() == TransformType::ENCR);
        let mut ciphers = ciphers.map(|cipher| EncrId(cipher.id()).is_aead());
        let aead = ciphers.next().ok_or(KeywordError::NoCipher)?;
        if ciphers.any(|other| other != aead) {
            return Err(KeywordError::MixedCiphers);
        }
        match self.integrity {
            Some((word, offset)) if aead => {
                Err(KeywordError::AeadWithIntegrity { word: word.to_string(), offset })
            }
            None if !aead => Err(KeywordError::NoIntegrity),
            _ => Ok(aead),
        }
    }

    fn into_proposal(self, protocol: ProtocolId) -> Proposal {
        let mut transforms = self.transforms;
        transforms.sort_by_key(|transform| transform.kind());
        Proposal { number: 0, protocol, spi: Vec::new(), transforms }
    }
}

/// What a word stands for, and its row in the table. `ke1_mlkem768` is the method of `mlkem768` in the place ADDKE1;
/// `ke1_none`, which has no row, says that the place may stay empty (RFC 9370 §2.2.1).
fn meaning(word: &str) -> Option<(Option<&'static Algorithm>, Transform)> {
    let lower = word.to_ascii_lowercase();
    let further = lower.strip_prefix("ke").and_then(|rest| rest.split_once('_'));
    let place = further.and_then(|(place, method)| Some((place.parse::<u8>().ok()?, method)));
    match place {
        Some((place @ 1..=7, NONE)) => Some((None, Transform::AddKe(place, KeMethod::NONE))),
        Some((place @ 1..=7, method)) => {
            let row = find(method)?;
            let Transform::Ke(id) = row.transform else { return None };
            Some((Some(row), Transform::AddKe(place, id)))
        }
        _ => find(word).map(|row| (Some(row), row.transform)),
    }
}

/// The method of a further key exchange that may be left out.
const NONE: &str = "none";

/// The PRFs that go with the integrity algorithms when none are named.
fn prfs_of(transforms: &[Transform]) -> Vec<Transform> {
    let prf = |transform: &Transform| match IntegId(transform.id()) {
        IntegId::HMAC_MD5_96 => Some(PrfId::HMAC_MD5),
        IntegId::HMAC_SHA1_96 => Some(PrfId::HMAC_SHA1),
        IntegId::AES_XCBC_96 => Some(PrfId::AES128_XCBC),
        IntegId::AES_CMAC_96 => Some(PrfId::AES128_CMAC),
        IntegId::HMAC_SHA2_256_128 => Some(PrfId::HMAC_SHA2_256),
        IntegId::HMAC_SHA2_384_192 => Some(PrfId::HMAC_SHA2_384),
        IntegId::HMAC_SHA2_512_256 => Some(PrfId::HMAC_SHA2_512),
        _ => None,
    };
    let integrity = transforms.iter().filter(|t| t.kind() == TransformType::INTEG);
    integrity.filter_map(prf).map(Transform::Prf).collect()
}

/// As it would be written in a configuration: a PRF that follows from the integrity algorithm is left out, and so is
/// the offer of both kinds of sequence numbers. What has no word is printed by its name or number in the registry.
impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |kind| self.transforms.iter().copied().filter(move |t| t.kind() == kind);
        let implied = prfs_of(&self.transforms);
        let prf_implied = of(TransformType::PRF).eq(implied);
        let sn_implied = of(TransformType::SN).eq(BOTH_SN);
        let mut sorted = self.transforms.clone();
        sorted.sort_by_key(|transform| SHOWN.iter().position(|kind| *kind == transform.kind()));
        let shown = sorted.into_iter().filter(|transform| match transform.kind() {
            TransformType::PRF => !prf_implied,
            TransformType::SN => !sn_implied,
            TransformType::INTEG => *transform != Transform::Integ(IntegId::NONE),
            _ => true,
        });
        for (position, transform) in shown.enumerate() {
            let dash = if position == 0 { "" } else { "-" };
            write!(f, "{dash}{transform}")?;
        }
        Ok(())
    }
}

/// The keyword, or the name or number in the registry where there is none.
impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(row) = of(self) {
            return f.write_str(row.word());
        }
        match self {
            Self::AddKe(place, KeMethod::NONE) => write!(f, "ke{place}_{NONE}"),
            Self::AddKe(place, id) => write!(f, "ke{place}_{}", Self::Ke(*id)),
            Self::Encr(id, Some(bits)) => write!(f, "{id}_{bits}"),
            Self::Encr(id, None) => write!(f, "{id}"),
            Self::Prf(id) => write!(f, "PRF_{id}"),
            Self::Integ(id) => write!(f, "{id}"),
            Self::Ke(id) => write!(f, "{id}"),
            Self::Sn(id) => write!(f, "{id}"),
            Self::Unknown { kind, id } => write!(f, "{}#{id}", TransformType(*kind)),
        }
    }
}

/// The order in which types are shown; unknown types come first, `None` before `Some`, where they are noticed.
const SHOWN: [TransformType; 12] = [
    TransformType::ENCR,
    TransformType::INTEG,
    TransformType::PRF,
    TransformType::KE,
    TransformType::ADDKE1,
    TransformType::ADDKE2,
    TransformType::ADDKE3,
    TransformType::ADDKE4,
    TransformType::ADDKE5,
    TransformType::ADDKE6,
    TransformType::ADDKE7,
    TransformType::SN,
];

/// ESP without a word about it: strongSwan's userspace ESP takes SHORT alone, so EXTENDED may be offered first.
const BOTH_SN: [Transform; 2] = [Transform::Sn(SnId::EXTENDED), Transform::Sn(SnId::SHORT)];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::KeMethod;

    #[test]
    fn ike_proposals() {
        use Transform::{Encr, Integ, Ke, Prf};
        let cbc = Proposal::ike_from_keywords("aes256-sha256-modp2048").unwrap();
        assert_eq!(cbc.protocol, ProtocolId::IKE);
        assert_eq!(cbc.number, 0);
        assert_eq!(
            cbc.transforms,
            [
                Encr(EncrId::AES_CBC, Some(256)),
                Prf(PrfId::HMAC_SHA2_256),
                Integ(IntegId::HMAC_SHA2_256_128),
                Ke(KeMethod::MODP_2048),
            ]
        );
        let gcm = Proposal::ike_from_keywords("AES256GCM-prfsha2_384-ecp384-x25519").unwrap();
        assert_eq!(
            gcm.transforms,
            [
                Encr(EncrId::AES_GCM_16, Some(256)),
                Prf(PrfId::HMAC_SHA2_384),
                Ke(KeMethod::ECP_384),
                Ke(KeMethod::CURVE25519),
            ]
        );
    }

    #[test]
    fn esp_proposals_offer_both_kinds_of_sequence_numbers() {
        use Transform::{Encr, Ke, Sn};
        let gcm = Proposal::esp_from_keywords("aes128gcm16-ecp384").unwrap();
        let both = [Sn(SnId::EXTENDED), Sn(SnId::SHORT)];
        let start = [Encr(EncrId::AES_GCM_16, Some(128)), Ke(KeMethod::ECP_384)];
        assert_eq!(gcm.transforms, [start, both].concat());
        let esn = Proposal::esp_from_keywords("aes128gcm16-ecp384-esn").unwrap();
        assert_eq!(esn.transforms, [start.as_slice(), &both[..1]].concat());
        let short = Proposal::esp_from_keywords("noesn-aes128gcm16-ecp384").unwrap();
        assert_eq!(short.transforms, [start.as_slice(), &both[1..]].concat());
    }

    #[test]
    fn errors_name_the_word_its_place_and_what_is_missing() {
        let at = |error: &KeywordError| error.span();
        let ike = |text| Proposal::ike_from_keywords(text).unwrap_err();
        let esp = |text| Proposal::esp_from_keywords(text).unwrap_err();
        let error = ike("aes256-shaa256-modp2048");
        assert_eq!(error, KeywordError::Unknown { word: "shaa256".into(), offset: 7 });
        assert_eq!(at(&error), Some(7..14));
        assert_eq!(error.to_string(), "`shaa256` is not an algorithm");
        let error = ike("aes256--modp2048");
        assert_eq!(error, KeywordError::Unknown { word: String::new(), offset: 7 });
        let error = ike("3des-sha1-modp1024");
        let instead = "aes256";
        assert_eq!(error, KeywordError::Legacy { word: "3des".into(), offset: 0, instead });
        let error = ike("aes256-sha256-sha2_256-modp2048");
        assert_eq!(error, KeywordError::Repeated { word: "sha2_256".into(), offset: 14 });
        let error = ike("aes256-sha256-modp2048-esn");
        assert_eq!(at(&error), Some(23..26));
        assert_eq!(error.to_string(), "`esn` has no place in an IKE proposal");
        assert_eq!(
            esp("aes256-sha256-prfsha256").to_string(),
            "`prfsha256` has no place in an ESP proposal"
        );
        let error = ike("aes256gcm16-sha256-modp2048");
        assert_eq!(error, KeywordError::AeadWithIntegrity { word: "sha256".into(), offset: 12 });
        assert!(error.to_string().contains("`prfsha256`"), "{error}");
        assert_eq!(esp("aes256gcm16-aes256-sha256"), KeywordError::MixedCiphers);
        assert_eq!(ike(""), KeywordError::Empty);
        assert_eq!(ike("sha256-modp2048"), KeywordError::NoCipher);
        assert_eq!(ike("aes256-modp2048"), KeywordError::NoIntegrity);
        assert_eq!(esp("aes256"), KeywordError::NoIntegrity);
        assert_eq!(ike("aes256gcm16-ecp384"), KeywordError::NoPrf);
        assert_eq!(ike("aes256-sha256"), KeywordError::NoKeyExchange);
        assert_eq!(ike("aes256gcm16-prfsha256"), KeywordError::NoKeyExchange);
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for text in [
            "aes256-sha256-modp2048",
            "aes256-aes128-sha384-sha256-modp3072-modp4096",
            "aes256-sha256-prfsha512-curve25519",
            "aes256gcm16-aes128gcm16-prfsha384-ecp384-ecp256",
            "chacha20poly1305-aes256ccm16-aes128gcm8-prfaesxcbc-prfaescmac-ecp521-modp8192",
            "aes256ctr-aes128-aesxcbc-aescmac-modp6144",
            "aes256gcm16-prfsha384-curve25519-ke1_mlkem768-ke1_none-ke3_ecp384-ke7_mlkem512",
            "aes256gcm16-prfsha384-mlkem1024",
        ] {
            let proposal = Proposal::ike_from_keywords(text).unwrap();
            assert_eq!(proposal.to_string(), text);
            assert_eq!(Proposal::ike_from_keywords(&proposal.to_string()), Ok(proposal));
        }
        for text in [
            "aes256gcm16",
            "aes192-sha512-noesn",
            "aes256gcm16-ecp384-esn",
            "aes256gcm16-noesn-esn",
            "aes256gcm16-ecp384-ke1_mlkem1024-esn",
        ] {
            let proposal = Proposal::esp_from_keywords(text).unwrap();
            assert_eq!(proposal.to_string(), text);
            assert_eq!(Proposal::esp_from_keywords(&proposal.to_string()), Ok(proposal));
        }
    }

    #[test]
    fn further_key_exchanges_have_a_place_and_a_method() {
        let proposal = Proposal::ike_from_keywords("aes256-sha256-x25519-KE1_MLKEM768-ke2_none");
        let all = proposal.unwrap().transforms;
        assert!(all.ends_with(&[
            Transform::AddKe(1, KeMethod::ML_KEM_768),
            Transform::AddKe(2, KeMethod::NONE)
        ]));
        let error = |word: &str| {
            Proposal::ike_from_keywords(&format!("aes256-sha256-x25519-{word}")).unwrap_err()
        };
        for word in ["ke0_mlkem768", "ke8_mlkem768", "ke1_sha256", "ke1_", "ke1", "ke_mlkem768"] {
            assert!(matches!(error(word), KeywordError::Unknown { .. }), "{word}");
        }
        assert!(matches!(error("ke1_modp1024"), KeywordError::Legacy { .. }));
        assert!(matches!(error("ke1_curve448"), KeywordError::Unsupported { .. }));
        assert!(matches!(error("ke1_mlkem768-ke1_mlkem768"), KeywordError::Repeated { .. }));
        let alone = Proposal::ike_from_keywords("aes256-sha256-ke1_mlkem768");
        assert_eq!(alone, Err(KeywordError::NoKeyExchange));
        let alone = Proposal::esp_from_keywords("aes256-sha256-ke1_mlkem768");
        assert_eq!(alone, Err(KeywordError::NoKeyExchange));
    }

    #[test]
    fn a_foreign_offer_can_be_shown() {
        let offer = Proposal {
            number: 1,
            protocol: ProtocolId::IKE,
            spi: Vec::new(),
            transforms: vec![
                Transform::Encr(EncrId::TRIPLE_DES, None),
                Transform::Encr(EncrId::CAMELLIA_CBC, Some(192)),
                Transform::Encr(EncrId::CAMELLIA_CBC, Some(64)),
                Transform::Integ(IntegId::HMAC_SHA1_96),
                Transform::Prf(PrfId::HMAC_SHA1),
                Transform::Ke(KeMethod::MODP_1024),
                Transform::Ke(KeMethod(99)),
                Transform::AddKe(2, KeMethod(99)),
                Transform::AddKe(3, KeMethod::ML_KEM_768),
                Transform::Unknown { kind: 13, id: 37 },
            ],
        };
        assert_eq!(
            offer.to_string(),
            "TransformType(13)#37-3des-camellia192-CAMELLIA_CBC_64-sha1-modp1024-KeMethod(99)-ke2_KeMethod(99)-ke3_mlkem768"
        );
    }

    #[test]
    fn what_is_weak_needs_to_be_allowed_and_says_what_is_better() {
        let weak = Allow { legacy: true, ..Allow::default() };
        let text = "3des-sha1-modp1024";
        let proposal = Proposal::ike_from_keywords_allowing(text, weak).unwrap();
        assert_eq!(proposal.to_string(), text);
        assert!(proposal.transforms.contains(&Transform::Prf(PrfId::HMAC_SHA1)));
        for (text, word, instead) in [
            ("3des-sha256-modp2048", "3des", "aes256"),
            ("aes256-sha1-modp2048", "sha1", "sha256"),
            ("aes256gcm16-prfsha1-modp2048", "prfsha1", "prfsha256"),
            ("aes256-sha256-modp1536", "modp1536", "modp2048"),
        ] {
            let error = Proposal::ike_from_keywords(text).unwrap_err();
            let offset = text.find(word).unwrap();
            let expected = KeywordError::Legacy { word: word.into(), offset, instead };
            assert_eq!(error, expected);
            assert!(error.to_string().contains(instead), "{error}");
            assert!(Proposal::ike_from_keywords_allowing(text, weak).is_ok(), "{text}");
        }
        // Nobody gets these.
        for word in ["md5", "modp768", "camellia256"] {
            let text = format!("{word}-aes256-sha256-modp2048");
            let error = Proposal::ike_from_keywords_allowing(&text, Allow::ALL).unwrap_err();
            assert_eq!(error, KeywordError::Unsupported { word: word.into(), offset: 0 });
        }
    }

    #[test]
    fn readable_packets_need_to_be_allowed_and_are_for_esp() {
        let readable = Allow { unencrypted: true, ..Allow::default() };
        for text in ["null-sha256", "aes256gmac"] {
            let word = text.split('-').next().unwrap();
            let error = Proposal::esp_from_keywords(text).unwrap_err();
            assert_eq!(error, KeywordError::Unencrypted { word: word.into(), offset: 0 });
            let proposal = Proposal::esp_from_keywords_allowing(text, readable).unwrap();
            assert_eq!(proposal.to_string(), text);
            let ike = format!("{text}-prfsha256-modp2048");
            let error = Proposal::ike_from_keywords_allowing(&ike, Allow::ALL).unwrap_err();
            let protocol = ProtocolId::IKE;
            assert_eq!(error, KeywordError::Misplaced { word: word.into(), offset: 0, protocol });
        }
        assert_eq!(
            Proposal::esp_from_keywords_allowing("null", readable),
            Err(KeywordError::NoIntegrity)
        );
        let iiv = Proposal::esp_from_keywords("aes256gcm16iiv-chacha20poly1305iiv").unwrap();
        assert!(iiv.transforms.contains(&Transform::Encr(EncrId::AES_GCM_16_IIV, Some(256))));
        assert!(iiv.transforms.contains(&Transform::Encr(EncrId::CHACHA20_POLY1305_IIV, None)));
        let error = Proposal::ike_from_keywords("aes256gcm16iiv-prfsha256-modp2048").unwrap_err();
        assert_eq!(error.to_string(), "`aes256gcm16iiv` has no place in an IKE proposal");
    }
}
