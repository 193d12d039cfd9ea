//! Every algorithm that has a keyword: its words, whether we have it, and what the RFCs say of it.
//!
//! ```text
//!   words                   transform                       standing      IKE       ESP
//!   3des                    ENCR_3DES                       Legacy        MAY       SHOULD NOT
//!   aes256gcm16, aes256gcm  ENCR_AES_GCM_16, 256 bits       Offered       SHOULD    MUST
//!   aes256gmac              ENCR_NULL_AUTH_AES_GMAC, 256    Unencrypted   -         MAY
//!   md5                     AUTH_HMAC_MD5_96                Unsupported   MUST NOT  MUST NOT
//! ```
//!
//! The words are those of strongSwan, but for the ciphers with implicit IV (RFC 8750), which it does not have: `iiv` at the
//! end of the word of the cipher is ours. Levels are those of RFC 8247 for IKE and of RFC 8221 for ESP; what these do not
//! mention is MAY (RFC 8247 §2.5). Key exchanges of ESP have the level of IKE, since RFC 8221 leaves them to RFC 8247.

use std::fmt;

use crate::registry::{EncrId, IntegId, KeMethod, PrfId, SnId};
use crate::wire::proposal::Transform;

/// One algorithm, with the length of its key.
#[derive(Debug)]
pub struct Algorithm {
    /// Its words, lower case, never none: the one that is printed, then its aliases.
    pub words: &'static [&'static str],
    /// What they stand for.
    pub transform: Transform,
    /// Whether a configuration may ask for it.
    pub standing: Standing,
    /// What RFC 8247 says; `None` if it has no place in an IKE proposal.
    pub ike: Option<Level>,
    /// What RFC 8221 says; `None` if it has no place in an ESP proposal.
    pub esp: Option<Level>,
}

/// Whether a configuration may ask for an algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Yes.
    Offered,
    /// For an old peer alone, by [`Allow::legacy`](super::Allow::legacy).
    Legacy {
        /// The word of what is better and nearly as common.
        instead: &'static str,
    },
    /// Only by [`Allow::unencrypted`](super::Allow::unencrypted): it authenticates packets and leaves them readable.
    Unencrypted,
    /// We do not have it.
    Unsupported,
}

/// How much an implementation has to have an algorithm (RFC 8247 §1.2); the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the words of RFC 2119 and RFC 8247 §1.2")]
pub enum Level {
    MustNot,
    ShouldNot,
    May,
    Should,
    ShouldPlus,
    MustMinus,
    Must,
}

impl Algorithm {
    /// The word that is printed.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.words.first().copied().unwrap_or_default()
    }

    const fn legacy(self, instead: &'static str) -> Self {
        Self { standing: Standing::Legacy { instead }, ..self }
    }

    const fn unencrypted(self) -> Self {
        Self { standing: Standing::Unencrypted, ..self }
    }

    const fn unsupported(self) -> Self {
        Self { standing: Standing::Unsupported, ..self }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MustNot => "MUST NOT",
            Self::ShouldNot => "SHOULD NOT",
            Self::May => "MAY",
            Self::Should => "SHOULD",
            Self::ShouldPlus => "SHOULD+",
            Self::MustMinus => "MUST-",
            Self::Must => "MUST",
        })
    }
}

type Words = &'static [&'static str];

/// For IKE and ESP, each with its level.
const fn both(words: Words, transform: Transform, ike: Level, esp: Level) -> Algorithm {
    Algorithm { words, transform, standing: Standing::Offered, ike: Some(ike), esp: Some(esp) }
}

const fn ike(words: Words, id: PrfId, level: Level) -> Algorithm {
    let transform = Transform::Prf(id);
    Algorithm { words, transform, standing: Standing::Offered, ike: Some(level), esp: None }
}

const fn esp(words: Words, transform: Transform, level: Level) -> Algorithm {
    Algorithm { words, transform, standing: Standing::Offered, ike: None, esp: Some(level) }
}

const fn ke(words: Words, method: KeMethod, level: Level) -> Algorithm {
    both(words, Transform::Ke(method), level, level)
}

/// All of them, in the order in which they are suggested.
pub static TABLE: &[Algorithm] = &{
    use Level::{May, Must, MustMinus, MustNot, Should, ShouldNot, ShouldPlus};
    use Transform::{Encr, Integ, Sn};
    [
        both(
            &["aes256gcm16", "aes256gcm128", "aes256gcm"],
            Encr(EncrId::AES_GCM_16, Some(256)),
            Should,
            Must,
        ),
        both(
            &["aes192gcm16", "aes192gcm128", "aes192gcm"],
            Encr(EncrId::AES_GCM_16, Some(192)),
            May,
            May,
        ),
        both(
            &["aes128gcm16", "aes128gcm128", "aes128gcm"],
            Encr(EncrId::AES_GCM_16, Some(128)),
            Should,
            Must,
        ),
        both(&["chacha20poly1305"], Encr(EncrId::CHACHA20_POLY1305, None), Should, Should),
        both(&["aes256"], Encr(EncrId::AES_CBC, Some(256)), Must, Must),
        both(&["aes192"], Encr(EncrId::AES_CBC, Some(192)), May, May),
        both(&["aes128", "aes"], Encr(EncrId::AES_CBC, Some(128)), Must, Must),
        both(&["aes256ctr"], Encr(EncrId::AES_CTR, Some(256)), May, May),
        both(&["aes192ctr"], Encr(EncrId::AES_CTR, Some(192)), May, May),
        both(&["aes128ctr"], Encr(EncrId::AES_CTR, Some(128)), May, May),
        both(
            &["aes256ccm16", "aes256ccm128", "aes256ccm"],
            Encr(EncrId::AES_CCM_16, Some(256)),
            May,
            May,
        ),
        both(
            &["aes192ccm16", "aes192ccm128", "aes192ccm"],
            Encr(EncrId::AES_CCM_16, Some(192)),
            May,
            May,
        ),
        both(
            &["aes128ccm16", "aes128ccm128", "aes128ccm"],
            Encr(EncrId::AES_CCM_16, Some(128)),
            May,
            May,
        ),
        both(&["aes256ccm12", "aes256ccm96"], Encr(EncrId::AES_CCM_12, Some(256)), May, May),
        both(&["aes192ccm12", "aes192ccm96"], Encr(EncrId::AES_CCM_12, Some(192)), May, May),
        both(&["aes128ccm12", "aes128ccm96"], Encr(EncrId::AES_CCM_12, Some(128)), May, May),
        both(&["aes256ccm8", "aes256ccm64"], Encr(EncrId::AES_CCM_8, Some(256)), May, May),
        both(&["aes192ccm8", "aes192ccm64"], Encr(EncrId::AES_CCM_8, Some(192)), May, May),
        both(&["aes128ccm8", "aes128ccm64"], Encr(EncrId::AES_CCM_8, Some(128)), Should, Should),
        both(&["aes256gcm12", "aes256gcm96"], Encr(EncrId::AES_GCM_12, Some(256)), May, May),
        both(&["aes192gcm12", "aes192gcm96"], Encr(EncrId::AES_GCM_12, Some(192)), May, May),
        both(&["aes128gcm12", "aes128gcm96"], Encr(EncrId::AES_GCM_12, Some(128)), May, May),
        both(&["aes256gcm8", "aes256gcm64"], Encr(EncrId::AES_GCM_8, Some(256)), May, May),
        both(&["aes192gcm8", "aes192gcm64"], Encr(EncrId::AES_GCM_8, Some(192)), May, May),
        both(&["aes128gcm8", "aes128gcm64"], Encr(EncrId::AES_GCM_8, Some(128)), May, May),
        esp(&["aes256gcm16iiv"], Encr(EncrId::AES_GCM_16_IIV, Some(256)), May),
        esp(&["aes192gcm16iiv"], Encr(EncrId::AES_GCM_16_IIV, Some(192)), May),
        esp(&["aes128gcm16iiv"], Encr(EncrId::AES_GCM_16_IIV, Some(128)), May),
        esp(&["aes256ccm8iiv"], Encr(EncrId::AES_CCM_8_IIV, Some(256)), May),
        esp(&["aes192ccm8iiv"], Encr(EncrId::AES_CCM_8_IIV, Some(192)), May),
        esp(&["aes128ccm8iiv"], Encr(EncrId::AES_CCM_8_IIV, Some(128)), May),
        esp(&["chacha20poly1305iiv"], Encr(EncrId::CHACHA20_POLY1305_IIV, None), May),
        esp(&["aes256gmac"], Encr(EncrId::NULL_AUTH_AES_GMAC, Some(256)), May).unencrypted(),
        esp(&["aes192gmac"], Encr(EncrId::NULL_AUTH_AES_GMAC, Some(192)), May).unencrypted(),
        esp(&["aes128gmac"], Encr(EncrId::NULL_AUTH_AES_GMAC, Some(128)), May).unencrypted(),
        esp(&["null"], Encr(EncrId::NULL, None), Must).unencrypted(),
        both(&["3des"], Encr(EncrId::TRIPLE_DES, None), May, ShouldNot).legacy("aes256"),
        both(&["camellia256"], Encr(EncrId::CAMELLIA_CBC, Some(256)), May, May).unsupported(),
        both(&["camellia192"], Encr(EncrId::CAMELLIA_CBC, Some(192)), May, May).unsupported(),
        both(&["camellia128", "camellia"], Encr(EncrId::CAMELLIA_CBC, Some(128)), May, May)
            .unsupported(),
        both(&["sha256", "sha2_256"], Integ(IntegId::HMAC_SHA2_256_128), Must, Must),
        both(&["sha384", "sha2_384"], Integ(IntegId::HMAC_SHA2_384_192), May, May),
        both(&["sha512", "sha2_512"], Integ(IntegId::HMAC_SHA2_512_256), Should, Should),
        both(&["aesxcbc"], Integ(IntegId::AES_XCBC_96), Should, May),
        both(&["aescmac"], Integ(IntegId::AES_CMAC_96), May, May),
        both(&["sha1", "sha"], Integ(IntegId::HMAC_SHA1_96), MustMinus, MustMinus).legacy("sha256"),
        both(&["md5"], Integ(IntegId::HMAC_MD5_96), MustNot, MustNot).unsupported(),
        ike(&["prfsha256", "prfsha2_256"], PrfId::HMAC_SHA2_256, Must),
        ike(&["prfsha384", "prfsha2_384"], PrfId::HMAC_SHA2_384, May),
        ike(&["prfsha512", "prfsha2_512"], PrfId::HMAC_SHA2_512, ShouldPlus),
        ike(&["prfaesxcbc"], PrfId::AES128_XCBC, Should),
        ike(&["prfaescmac"], PrfId::AES128_CMAC, May),
        ike(&["prfsha1", "prfsha"], PrfId::HMAC_SHA1, MustMinus).legacy("prfsha256"),
        ike(&["prfmd5"], PrfId::HMAC_MD5, MustNot).unsupported(),
        ke(&["curve25519", "x25519"], KeMethod::CURVE25519, May),
        ke(&["mlkem1024"], KeMethod::ML_KEM_1024, May),
        ke(&["mlkem768"], KeMethod::ML_KEM_768, May),
        ke(&["mlkem512"], KeMethod::ML_KEM_512, May),
        ke(&["ecp384"], KeMethod::ECP_384, May),
        ke(&["ecp256"], KeMethod::ECP_256, Should),
        ke(&["ecp521"], KeMethod::ECP_521, May),
        ke(&["modp4096"], KeMethod::MODP_4096, May),
        ke(&["modp3072"], KeMethod::MODP_3072, May),
        ke(&["modp2048"], KeMethod::MODP_2048, Must),
        ke(&["modp6144"], KeMethod::MODP_6144, May),
        ke(&["modp8192"], KeMethod::MODP_8192, May),
        ke(&["modp1536"], KeMethod::MODP_1536, ShouldNot).legacy("modp2048"),
        ke(&["modp1024"], KeMethod::MODP_1024, ShouldNot).legacy("modp2048"),
        ke(&["modp768"], KeMethod::MODP_768, MustNot).unsupported(),
        ke(&["modp1024s160"], KeMethod::MODP_1024_160, MustNot).unsupported(),
        ke(&["modp2048s224"], KeMethod::MODP_2048_224, ShouldNot).unsupported(),
        ke(&["modp2048s256"], KeMethod::MODP_2048_256, ShouldNot).unsupported(),
        ke(&["ecp192"], KeMethod::ECP_192, May).unsupported(),
        ke(&["ecp224"], KeMethod::ECP_224, May).unsupported(),
        ke(&["ecp224bp"], KeMethod::BRAINPOOL_224, May).unsupported(),
        ke(&["ecp256bp"], KeMethod::BRAINPOOL_256, May).unsupported(),
        ke(&["ecp384bp"], KeMethod::BRAINPOOL_384, May).unsupported(),
        ke(&["ecp512bp"], KeMethod::BRAINPOOL_512, May).unsupported(),
        ke(&["curve448", "x448"], KeMethod::CURVE448, May).unsupported(),
        ke(&["modpnone", "none"], KeMethod::NONE, May).unsupported(),
        esp(&["esn"], Sn(SnId::EXTENDED), Should),
        esp(&["noesn"], Sn(SnId::SHORT), Must),
    ]
};

#[cfg(test)]
mod tests {
    use super::super::{find, keywords, of};
    use super::*;
    use crate::crypto::suite::{ChildSuite, IkeSuite};

    #[test]
    fn every_word_is_lower_case_and_there_once() {
        let words: Vec<&str> = TABLE.iter().flat_map(|row| row.words).copied().collect();
        for (position, word) in words.iter().enumerate() {
            assert_eq!(*word, word.to_ascii_lowercase());
            assert!(!words[position + 1..].contains(word), "{word}");
            assert!(find(&word.to_ascii_uppercase()).is_some_and(|row| row.words.contains(word)));
        }
        for (position, row) in TABLE.iter().enumerate() {
            assert!(!row.word().is_empty());
            let again = TABLE[position + 1..].iter().any(|other| other.transform == row.transform);
            assert!(!again, "{}", row.word());
            assert_eq!(of(&row.transform).map(Algorithm::word), Some(row.word()));
        }
        assert!(keywords().any(|word| word == "aes256gcm16"));
        assert!(keywords().all(|word| !matches!(word, "3des" | "null" | "md5")));
    }

    /// The table and what can be computed are two lists: neither may promise what the other does not have.
    #[test]
    fn what_may_be_asked_for_can_be_computed_and_nothing_else() {
        let gcm = Transform::Encr(EncrId::AES_GCM_16, Some(256));
        let cbc = Transform::Encr(EncrId::AES_CBC, Some(256));
        let prf = Transform::Prf(PrfId::HMAC_SHA2_256);
        let integ = Transform::Integ(IntegId::HMAC_SHA2_256_128);
        let ke = Transform::Ke(KeMethod::CURVE25519);
        for row in TABLE.iter().filter(|row| row.transform != Transform::Ke(KeMethod::NONE)) {
            let one = row.transform;
            let ike = [
                vec![one, prf, ke],
                vec![one, prf, integ, ke],
                vec![gcm, one, ke],
                vec![cbc, prf, one, ke],
                vec![gcm, prf, one],
            ];
            let esp = [vec![one], vec![one, integ], vec![cbc, one], vec![gcm, one]];
            let ike = ike.iter().any(|all| IkeSuite::from_transforms(all).is_some());
            let esp = esp.iter().any(|all| ChildSuite::from_transforms(all).is_some());
            let have = row.standing != Standing::Unsupported;
            assert_eq!(ike, have && row.ike.is_some(), "{} in IKE", row.word());
            assert_eq!(esp, have && row.esp.is_some(), "{} in ESP", row.word());
        }
    }

    /// RFC 8247 §2.1 to §2.4 and RFC 8221 §5 and §6, those with a level above or below MAY.
    #[test]
    fn levels_are_those_of_the_rfcs() {
        let rated = |level: fn(&Algorithm) -> Option<Level>, wanted: Level| -> Vec<&str> {
            TABLE.iter().filter(|row| level(row) == Some(wanted)).map(Algorithm::word).collect()
        };
        let ike = |wanted| rated(|row| row.ike, wanted);
        let esp = |wanted| rated(|row| row.esp, wanted);
        assert_eq!(ike(Level::Must), ["aes256", "aes128", "sha256", "prfsha256", "modp2048"]);
        assert_eq!(ike(Level::MustMinus), ["sha1", "prfsha1"]);
        assert_eq!(ike(Level::ShouldPlus), ["prfsha512"]);
        assert_eq!(
            ike(Level::Should),
            [
                "aes256gcm16",
                "aes128gcm16",
                "chacha20poly1305",
                "aes128ccm8",
                "sha512",
                "aesxcbc",
                "prfaesxcbc",
                "ecp256"
            ]
        );
        let should_not = ["modp1536", "modp1024", "modp2048s224", "modp2048s256"];
        assert_eq!(ike(Level::ShouldNot), should_not);
        assert_eq!(ike(Level::MustNot), ["md5", "prfmd5", "modp768", "modp1024s160"]);
        let must = [
            "aes256gcm16",
            "aes128gcm16",
            "aes256",
            "aes128",
            "null",
            "sha256",
            "modp2048",
            "noesn",
        ];
        assert_eq!(esp(Level::Must), must);
        assert_eq!(esp(Level::MustMinus), ["sha1"]);
        assert_eq!(
            esp(Level::Should),
            ["chacha20poly1305", "aes128ccm8", "sha512", "ecp256", "esn"]
        );
        assert_eq!(esp(Level::ShouldNot), [&["3des"], &should_not[..]].concat());
    }

    /// Whatever should not be used has to be asked for in so many words.
    #[test]
    fn what_should_not_be_used_is_not_offered() {
        for row in TABLE {
            let worst = row.ike.into_iter().chain(row.esp).min();
            let bad = worst.is_some_and(|level| level < Level::May || level == Level::MustMinus);
            assert!(!bad || row.standing != Standing::Offered, "{}", row.word());
        }
    }
}
