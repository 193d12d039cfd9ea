//! The AlgorithmIdentifiers of method 14, octet by octet (RFC 7427 appendix A, RFC 4055, RFC 8420 appendix A).
//!
//! ```text
//!   PKCS#1 v1.5     SEQUENCE { sha256WithRSAEncryption, NULL }               the NULL may be missing (RFC 4055 §5)
//!   RSASSA-PSS      SEQUENCE { id-RSASSA-PSS, SEQUENCE {
//!                     [0] { sha256, NULL }                                   the NULL may be missing (RFC 4055 §2.1)
//!                     [1] { id-mgf1, { sha256, NULL } }                      likewise; the same hash
//!                     [2] 32                                                 the length of the hash
//!                     [3] 1 } }                                              may be missing
//!   ECDSA           SEQUENCE { ecdsa-with-SHA256 }
//!   Ed25519         SEQUENCE { id-Ed25519 }
//! ```
//!
//! These are compared as octets: what is not among them is refused, SHA-1 and parameters left to their defaults with it.

use super::{Hash, Scheme};

impl Hash {
    /// Contents of the OBJECT IDENTIFIERs 1.2.840.113549.1.1.{11,12,13}.
    const fn rsa_oid(self) -> &'static [u8] {
        match self {
            Self::Sha256 => b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b",
            Self::Sha384 => b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c",
            Self::Sha512 => b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d",
        }
    }

    /// 1.2.840.10045.4.3.{2,3,4}
    const fn ecdsa_oid(self) -> &'static [u8] {
        match self {
            Self::Sha256 => b"\x2a\x86\x48\xce\x3d\x04\x03\x02",
            Self::Sha384 => b"\x2a\x86\x48\xce\x3d\x04\x03\x03",
            Self::Sha512 => b"\x2a\x86\x48\xce\x3d\x04\x03\x04",
        }
    }

    /// 2.16.840.1.101.3.4.2.{1,2,3}
    const fn oid(self) -> &'static [u8] {
        match self {
            Self::Sha256 => b"\x60\x86\x48\x01\x65\x03\x04\x02\x01",
            Self::Sha384 => b"\x60\x86\x48\x01\x65\x03\x04\x02\x02",
            Self::Sha512 => b"\x60\x86\x48\x01\x65\x03\x04\x02\x03",
        }
    }
}

impl Scheme {
    /// The AlgorithmIdentifier of method 14.
    pub(super) fn identifier(self) -> Vec<u8> {
        match self {
            Self::RsaPkcs1(hash) | Self::RsaAlone(hash) => identifier(hash.rsa_oid(), &[NULL]),
            Self::RsaPss(hash) => pss(hash, &PSS_WRITTEN),
            Self::Ecdsa(hash) => identifier(hash.ecdsa_oid(), &[]),
            Self::EcdsaAlone(curve) => identifier(curve.hash().ecdsa_oid(), &[]),
            Self::Ed25519 => identifier(ED25519_OID, &[]),
        }
    }

    /// Which scheme of method 14 an AlgorithmIdentifier names, of those that we announce.
    pub(super) fn identified(algorithm: &[u8]) -> Option<Self> {
        let of_hash = |hash| {
            let plain = [Self::RsaPkcs1(hash), Self::Ecdsa(hash)];
            let found = plain.into_iter().find(|scheme| scheme.identifier() == algorithm);
            // RFC 4055 §5: the NULL may be missing.
            let bare = || identifier(hash.rsa_oid(), &[]) == algorithm;
            let is_pss = || PSS_READ.iter().any(|form| pss(hash, form) == algorithm);
            found
                .or_else(|| bare().then_some(Self::RsaPkcs1(hash)))
                .or_else(|| is_pss().then_some(Self::RsaPss(hash)))
        };
        let is_ed25519 = Self::Ed25519.identifier() == algorithm;
        Hash::ALL.into_iter().find_map(of_hash).or(is_ed25519.then_some(Self::Ed25519))
    }
}

/// 1.2.840.113549.1.1.10
pub(super) const PSS_OID: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";
/// 1.2.840.113549.1.1.8
const MGF1_OID: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08";
/// 1.3.101.112
const ED25519_OID: &[u8] = b"\x2b\x65\x70";
/// NULL, tag and length.
const NULL: &[u8] = &[5, 0];

/// What RFC 4055 leaves open in the parameters of RSASSA-PSS.
struct PssForm {
    /// NULL behind the hash.
    hash_null: bool,
    /// NULL behind the hash of MGF1.
    mask_null: bool,
    /// trailerField, though it has its default.
    trailer: bool,
}

/// RFC 4055 §3.1 wants trailerField left out by whoever signs, though appendix A of RFC 7427 shows it.
const PSS_WRITTEN: PssForm = PssForm { hash_null: true, mask_null: true, trailer: false };

/// RFC 4055 §2.1, §3.1: NULL and nothing are equivalent, trailerField may be there.
const PSS_READ: [PssForm; 8] = {
    const fn form(bits: u8) -> PssForm {
        PssForm { hash_null: bits & 1 != 0, mask_null: bits & 2 != 0, trailer: bits & 4 != 0 }
    }
    [form(0), form(1), form(2), form(3), form(4), form(5), form(6), form(7)]
};

/// RSASSA-PSS-params with the same hash in MGF1 and a salt of its length: the only ones that are in use, and that we take.
fn pss(hash: Hash, form: &PssForm) -> Vec<u8> {
    let of_hash = |null| identifier(hash.oid(), if null { &[NULL] } else { &[] });
    let salt = u8::try_from(hash.digest(&[]).len()).unwrap_or(u8::MAX);
    let mut parameters = vec![
        tlv(0xa0, &of_hash(form.hash_null)),
        tlv(0xa1, &identifier(MGF1_OID, &[&of_hash(form.mask_null)])),
        tlv(0xa2, &[2, 1, salt]),
    ];
    if form.trailer {
        parameters.push(tlv(0xa3, &[2, 1, 1]));
    }
    identifier(PSS_OID, &[&tlv(SEQUENCE, &parameters.concat())])
}

fn identifier(oid: &[u8], parameters: &[&[u8]]) -> Vec<u8> {
    tlv(SEQUENCE, &[tlv(6, oid).as_slice(), &parameters.concat()].concat())
}

const SEQUENCE: u8 = 0x30;

/// DER of fewer than 128 octets.
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let len = u8::try_from(value.len()).unwrap_or(u8::MAX);
    [&[tag, len], value].concat()
}
