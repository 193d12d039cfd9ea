//! Which suite of the data plane the numbers of a negotiation stand for.
//!
//! ```text
//!   ENCR, bits of the key, no INTEG     ─►  Suite::Combined(Aead)
//!   ENCR, bits of the key, INTEG        ─►  Suite::Separate(Cipher, Integrity)
//! ```

use esp::{Aead, AesKey, Cipher, Integrity, Suite};
use ikev2::ChildSuite;
use ikev2::registry::{EncrId, IntegId};

/// The data plane's word for negotiated algorithms; `None` if it has none.
pub(super) fn of(suite: &ChildSuite) -> Option<Suite> {
    known(suite.encr, suite.key_bits, suite.integ)
}

/// The same. Ciphers with keys of one length do without `key_bits`.
fn known(encr: EncrId, key_bits: u16, integ: Option<IntegId>) -> Option<Suite> {
    let aes = AesKey::from_bits(key_bits);
    let combined = |aead| integ.is_none().then_some(Suite::Combined(aead));
    let separate = |cipher| Some(Suite::Separate(cipher, integrity(integ?)?));
    match encr {
        EncrId::AES_GCM_8 => combined(Aead::AesGcm8(aes?)),
        EncrId::AES_GCM_12 => combined(Aead::AesGcm12(aes?)),
        EncrId::AES_GCM_16 => combined(Aead::AesGcm16(aes?)),
        EncrId::AES_GCM_16_IIV => combined(Aead::AesGcm16Iiv(aes?)),
        EncrId::AES_CCM_8 => combined(Aead::AesCcm8(aes?)),
        EncrId::AES_CCM_12 => combined(Aead::AesCcm12(aes?)),
        EncrId::AES_CCM_16 => combined(Aead::AesCcm16(aes?)),
        EncrId::AES_CCM_8_IIV => combined(Aead::AesCcm8Iiv(aes?)),
        EncrId::NULL_AUTH_AES_GMAC => combined(Aead::AesGmac(aes?)),
        EncrId::CHACHA20_POLY1305 => combined(Aead::ChaCha20Poly1305),
        EncrId::CHACHA20_POLY1305_IIV => combined(Aead::ChaCha20Poly1305Iiv),
        EncrId::AES_CBC => separate(Cipher::AesCbc(aes?)),
        EncrId::AES_CTR => separate(Cipher::AesCtr(aes?)),
        EncrId::TRIPLE_DES => separate(Cipher::TripleDesCbc),
        EncrId::NULL => separate(Cipher::Null),
        _ => None,
    }
}

fn integrity(id: IntegId) -> Option<Integrity> {
    match id {
        IntegId::HMAC_SHA1_96 => Some(Integrity::HmacSha1_96),
        IntegId::AES_XCBC_96 => Some(Integrity::AesXcbc96),
        IntegId::AES_CMAC_96 => Some(Integrity::AesCmac96),
        IntegId::HMAC_SHA2_256_128 => Some(Integrity::HmacSha2_256_128),
        IntegId::HMAC_SHA2_384_192 => Some(Integrity::HmacSha2_384_192),
        IntegId::HMAC_SHA2_512_256 => Some(Integrity::HmacSha2_512_256),
        _ => None,
    }
}

/// The data plane's word for every suite that a configured ESP proposal can end in; for sizes.
pub(in crate::control) fn possible_suites(proposal: &ikev2::Proposal) -> Vec<Suite> {
    let mut suites = Vec::new();
    for transform in &proposal.transforms {
        let ikev2::Transform::Encr(encr, key_bits) = *transform else { continue };
        let integs = proposal.transforms.iter().filter_map(|transform| {
            let ikev2::Transform::Integ(id) = *transform else { return None };
            (id != IntegId::NONE).then_some(Some(id))
        });
        for integ in integs.chain([None]) {
            suites.extend(known(encr, key_bits.unwrap_or(0), integ));
        }
    }
    suites
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use ikev2::registry::{KeMethod, ProtocolId, SnId};
    use ikev2::{Proposal, Transform};

    fn child(encr: EncrId, key_bits: u16, integ: Option<IntegId>) -> ChildSuite {
        ChildSuite {
            encr,
            key_bits,
            integ,
            esn: true,
            ke: None,
            additional: ikev2::AdditionalKe::NONE,
        }
    }

    #[test]
    fn every_suite_of_the_data_plane_has_its_numbers() {
        let mut named = HashSet::new();
        for (encr, _) in EncrId::ALL {
            for key_bits in [0, 128, 192, 256] {
                let integs = IntegId::ALL.iter().map(|(id, _)| Some(*id));
                let with = |integ| known(*encr, key_bits, integ);
                named.extend(integs.chain([None]).filter_map(with));
            }
        }
        assert_eq!(named, Suite::all().collect());
    }

    #[test]
    fn numbers_become_suites() {
        let cbc = |with| Suite::Separate(Cipher::AesCbc(AesKey::Bits256), with);
        let sha1 = Some(IntegId::HMAC_SHA1_96);
        let with_sha1 = |cipher| Suite::Separate(cipher, Integrity::HmacSha1_96);
        let cases = [
            (
                child(EncrId::AES_GCM_16, 128, None),
                Suite::Combined(Aead::AesGcm16(AesKey::Bits128)),
            ),
            (child(EncrId::AES_GCM_8, 192, None), Suite::Combined(Aead::AesGcm8(AesKey::Bits192))),
            (child(EncrId(16), 256, None), Suite::Combined(Aead::AesCcm16(AesKey::Bits256))),
            (child(EncrId(21), 256, None), Suite::Combined(Aead::AesGmac(AesKey::Bits256))),
            (child(EncrId(28), 256, None), Suite::Combined(Aead::ChaCha20Poly1305)),
            (child(EncrId(29), 128, None), Suite::Combined(Aead::AesCcm8Iiv(AesKey::Bits128))),
            (child(EncrId(30), 256, None), Suite::Combined(Aead::AesGcm16Iiv(AesKey::Bits256))),
            (child(EncrId(31), 256, None), Suite::Combined(Aead::ChaCha20Poly1305Iiv)),
            (child(EncrId::AES_CBC, 256, Some(IntegId(5))), cbc(Integrity::AesXcbc96)),
            (child(EncrId::AES_CBC, 256, Some(IntegId(8))), cbc(Integrity::AesCmac96)),
            (child(EncrId::AES_CBC, 256, Some(IntegId(12))), cbc(Integrity::HmacSha2_256_128)),
            (child(EncrId::AES_CBC, 256, Some(IntegId(13))), cbc(Integrity::HmacSha2_384_192)),
            (child(EncrId::AES_CBC, 256, Some(IntegId(14))), cbc(Integrity::HmacSha2_512_256)),
            (child(EncrId(13), 192, sha1), with_sha1(Cipher::AesCtr(AesKey::Bits192))),
            (child(EncrId(11), 0, sha1), with_sha1(Cipher::Null)),
            (child(EncrId(3), 192, sha1), with_sha1(Cipher::TripleDesCbc)),
        ];
        for (negotiated, expected) in cases {
            assert_eq!(of(&negotiated), Some(expected));
        }
        for unknown in [
            child(EncrId::AES_CBC, 256, None),
            child(EncrId::AES_CTR, 256, None),
            child(EncrId::NULL, 0, None),
            child(EncrId::AES_GCM_16, 256, Some(IntegId::HMAC_SHA2_256_128)),
            child(EncrId::AES_GCM_16, 0, None),
            child(EncrId::CAMELLIA_CBC, 256, Some(IntegId::HMAC_SHA2_256_128)),
            child(EncrId::AES_CBC, 128, Some(IntegId::HMAC_MD5_96)),
        ] {
            assert_eq!(of(&unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn a_proposal_lists_every_suite_that_it_can_end_in() {
        let proposal = Proposal {
            number: 1,
            protocol: ProtocolId::ESP,
            spi: Vec::new(),
            transforms: vec![
                Transform::Encr(EncrId::AES_CBC, Some(128)),
                Transform::Encr(EncrId::AES_CBC, Some(256)),
                Transform::Integ(IntegId::HMAC_SHA2_256_128),
                Transform::Integ(IntegId::HMAC_SHA2_512_256),
                Transform::Ke(KeMethod::ECP_256),
                Transform::Sn(SnId::EXTENDED),
            ],
        };
        assert_eq!(possible_suites(&proposal).len(), 4);
    }
}
