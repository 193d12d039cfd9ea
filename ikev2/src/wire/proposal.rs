//! Proposals and transforms of the SA payload (RFC 7296 §3.3).
//!
//! ```text
//! payload body:  proposal, proposal, ...        alternatives, the sender's favourite first
//!
//! proposal:   +---------------+---------------+-------------------------------+
//!             | last 0/more 2 |   RESERVED    |            length             |
//!             +---------------+---------------+---------------+---------------+
//!             |    number     |   protocol    |   SPI size    |  transforms   |
//!             +---------------+---------------+---------------+---------------+
//!             |  SPI, then that many transforms ...                           |
//!             +---------------------------------------------------------------+
//!
//! transform:  +---------------+---------------+-------------------------------+
//!             | last 0/more 3 |   RESERVED    |            length             |
//!             +---------------+---------------+-------------------------------+
//!             |     type      |   RESERVED    |              ID               |
//!             +---------------+---------------+-------------------------------+
//!             |  attributes: 0x800e, key length in bits, or nothing           |
//!             +---------------------------------------------------------------+
//! ```
//!
//! How proposals are written and printed as text: [`crate::keyword`].

use super::Error;
use super::cursor::{Reader, Writer};
use crate::registry::{EncrId, IntegId, KeMethod, PrfId, ProtocolId, SnId, TransformType};

/// One set of algorithms that may be combined freely, one of each type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Number within its payload, from 1. A response repeats the number of the chosen proposal. 0 in configurations:
    /// it is written as the position in the payload.
    pub number: u8,
    /// IKE or ESP.
    pub protocol: ProtocolId,
    /// SPI of the SA to be made: empty in a first IKE_SA_INIT, 8 octets on IKE rekey, 4 for ESP.
    pub spi: Vec<u8>,
    /// The algorithms; the order within one type is the preference.
    pub transforms: Vec<Transform>,
}

/// One algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transform {
    /// Cipher, with its key length in bits where the cipher has several.
    Encr(EncrId, Option<u16>),
    /// Pseudorandom function (IKE only).
    Prf(PrfId),
    /// Integrity.
    Integ(IntegId),
    /// Key exchange.
    Ke(KeMethod),
    /// Sequence numbers (ESP only).
    Sn(SnId),
    /// A further key exchange (RFC 9370): its place, 1 to 7 as in ADDKE1 to ADDKE7, and its method.
    AddKe(u8, KeMethod),
    /// A type or attribute that we do not know: never chosen (RFC 7296 §3.3.6).
    Unknown {
        /// Transform type.
        kind: u8,
        /// Transform ID.
        id: u16,
    },
}

/// Attribute type 14, "key length", in the two-octet form (RFC 7296 §3.3.5).
const KEY_LENGTH: u16 = 0x8000 | 0x000e;
const LAST: u8 = 0;
const MORE_PROPOSALS: u8 = 2;
const MORE_TRANSFORMS: u8 = 3;

/// Reads the body of an SA payload: at least one proposal.
///
/// # Errors
/// If the octets do not add up, if an SPI has not the size that its protocol has, or for more than 255 proposals: they
/// are numbered from 1 in one octet (RFC 7296 §3.3.1).
pub fn parse(body: &[u8]) -> Result<Vec<Proposal>, Error> {
    let mut reader = Reader::new("SA payload", body);
    let mut proposals = Vec::new();
    loop {
        let more = reader.u8()?;
        let _reserved = reader.u8()?;
        let len = usize::from(reader.u16()?);
        let len = len.checked_sub(4).ok_or(Error::Length("proposal"))?;
        proposals.push(Proposal::parse(reader.part("proposal", len)?)?);
        match more {
            LAST => break,
            MORE_PROPOSALS if proposals.len() < usize::from(u8::MAX) => {}
            MORE_PROPOSALS => return Err(Error::Length("SA payload")),
            _ => return Err(Error::Value("proposal is neither last nor followed by another")),
        }
    }
    reader.finish()?;
    Ok(proposals)
}

/// Writes the body of an SA payload. Proposals with number 0 are numbered by their position.
///
/// # Errors
/// [`Error::Overflow`] for more than 255 proposals or transforms, or a proposal of more than 65535 octets.
pub fn emit(proposals: &[Proposal], writer: &mut Writer) -> Result<(), Error> {
    let mut left = proposals.len();
    for (position, proposal) in (1usize..).zip(proposals) {
        left -= 1;
        let position = u8::try_from(position).map_err(|_| Error::Overflow("SA payload"))?;
        let number = if proposal.number == 0 { position } else { proposal.number };
        proposal.emit(number, if left == 0 { LAST } else { MORE_PROPOSALS }, writer)?;
    }
    Ok(())
}

impl Proposal {
    /// Reads what follows the length field.
    fn parse(mut reader: Reader<'_>) -> Result<Self, Error> {
        let number = reader.u8()?;
        let protocol = ProtocolId(reader.u8()?);
        let spi_len = reader.u8()?;
        let count = reader.u8()?;
        let fits = match protocol {
            ProtocolId::IKE => matches!(spi_len, 0 | 8),
            ProtocolId::ESP | ProtocolId::AH => spi_len == 4,
            _ => true,
        };
        if !fits {
            return Err(Error::Value("SPI has not the size that its protocol has"));
        }
        let spi = reader.take(spi_len.into())?.to_vec();
        let mut transforms = Vec::new();
        for left in (0..count).rev() {
            let more = reader.u8()?;
            if more != if left == 0 { LAST } else { MORE_TRANSFORMS } {
                return Err(Error::Value("transforms are not as many as the proposal says"));
            }
            let _reserved = reader.u8()?;
            let len = usize::from(reader.u16()?);
            let len = len.checked_sub(4).ok_or(Error::Length("transform"))?;
            transforms.push(Transform::parse(reader.part("transform", len)?)?);
        }
        reader.finish()?;
        Ok(Self { number, protocol, spi, transforms })
    }

    fn emit(&self, number: u8, more: u8, writer: &mut Writer) -> Result<(), Error> {
        let overflow = |_| Error::Overflow("proposal");
        let start = writer.len();
        writer.u8(more);
        writer.u8(0);
        let length = writer.length_since(start);
        writer.u8(number);
        writer.u8(self.protocol.0);
        writer.u8(u8::try_from(self.spi.len()).map_err(overflow)?);
        writer.u8(u8::try_from(self.transforms.len()).map_err(overflow)?);
        writer.put(&self.spi);
        let mut left = self.transforms.len();
        for transform in &self.transforms {
            left -= 1;
            transform.emit(if left == 0 { LAST } else { MORE_TRANSFORMS }, writer);
        }
        writer.close(length)
    }
}

impl Transform {
    /// Its type.
    #[must_use]
    pub const fn kind(self) -> TransformType {
        match self {
            Self::Encr(..) => TransformType::ENCR,
            Self::Prf(_) => TransformType::PRF,
            Self::Integ(_) => TransformType::INTEG,
            Self::Ke(_) => TransformType::KE,
            Self::Sn(_) => TransformType::SN,
            Self::AddKe(place, _) => TransformType(TransformType::SN.0.wrapping_add(place)),
            Self::Unknown { kind, .. } => TransformType(kind),
        }
    }

    /// Its number within the registry of its type.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::Encr(EncrId(id), _)
            | Self::Prf(PrfId(id))
            | Self::Integ(IntegId(id))
            | Self::Ke(KeMethod(id))
            | Self::Sn(SnId(id))
            | Self::AddKe(_, KeMethod(id))
            | Self::Unknown { id, .. } => id,
        }
    }

    /// Reads what follows the length field. An attribute that we do not know makes the whole transform unknown, so that
    /// it is not chosen (RFC 7296 §3.3.6).
    fn parse(mut reader: Reader<'_>) -> Result<Self, Error> {
        let kind = reader.u8()?;
        let _reserved = reader.u8()?;
        let id = reader.u16()?;
        let unknown = Self::Unknown { kind, id };
        let mut key_bits = None;
        let mut understood = true;
        while !reader.is_empty() {
            let attribute = reader.u16()?;
            let value_or_len = reader.u16()?;
            if attribute & 0x8000 == 0 {
                let _value = reader.take(value_or_len.into())?;
            }
            understood &= attribute == KEY_LENGTH && key_bits.replace(value_or_len).is_none();
        }
        Ok(match (TransformType(kind), key_bits) {
            _ if !understood => unknown,
            (TransformType::ENCR, key_bits) => Self::Encr(EncrId(id), key_bits),
            (TransformType::PRF, None) => Self::Prf(PrfId(id)),
            (TransformType::INTEG, None) => Self::Integ(IntegId(id)),
            (TransformType::KE, None) => Self::Ke(KeMethod(id)),
            (TransformType::SN, None) => Self::Sn(SnId(id)),
            (kind, None) => match kind.additional_ke() {
                Some(place) => Self::AddKe(place, KeMethod(id)),
                None => unknown,
            },
            _ => unknown,
        })
    }

    fn emit(self, more: u8, writer: &mut Writer) {
        let key_bits = if let Self::Encr(_, key_bits) = self { key_bits } else { None };
        writer.u8(more);
        writer.u8(0);
        writer.u16(if key_bits.is_some() { 12 } else { 8 });
        writer.u8(self.kind().0);
        writer.u8(0);
        writer.u16(self.id());
        if let Some(key_bits) = key_bits {
            writer.u16(KEY_LENGTH);
            writer.u16(key_bits);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// SA payloads of strongSwan 5.9.8, without the generic header.
    const CAPTURED: [(&str, &str); 4] = [
        (
            "00000024010100030300000c01000014800e010003000008020000060000000804000014",
            "aes256gcm16-prfsha384-ecp384",
        ),
        ("0000002001030402387169a40300000c01000014800e01000000000805000000", "aes256gcm16-noesn"),
        (
            "0000003001030404598d6e2a0300000c0100000c800e0100030000080300000c030000080400000e0000000805000000",
            "aes256-sha256-modp2048-noesn",
        ),
        (
            "00000034010108047ccd1cabb3ed9e970300000c0100000c800e0100030000080300000c03000008020000050000000\
             80400000e",
            "aes256-sha256-modp2048",
        ),
    ];

    fn octets(hex: &str) -> Vec<u8> {
        hex::decode(hex.replace(char::is_whitespace, "")).unwrap()
    }

    fn emitted(proposals: &[Proposal]) -> Vec<u8> {
        let mut writer = Writer::new();
        emit(proposals, &mut writer).unwrap();
        writer.into_octets()
    }

    #[test]
    fn reads_and_writes_what_strongswan_sends() {
        for (hex, words) in CAPTURED {
            let proposals = parse(&octets(hex)).unwrap();
            assert_eq!(proposals.len(), 1);
            assert_eq!(proposals[0].number, 1);
            assert_eq!(proposals[0].to_string(), words);
            assert_eq!(emitted(&proposals), octets(hex), "{words}");
        }
        let esp = parse(&octets(CAPTURED[1].0)).unwrap().remove(0);
        assert_eq!(esp.spi, [0x38, 0x71, 0x69, 0xa4]);
        assert_eq!(esp.protocol, ProtocolId::ESP);
        assert_eq!(
            esp.transforms,
            [Transform::Encr(EncrId::AES_GCM_16, Some(256)), Transform::Sn(SnId::SHORT)]
        );
    }

    #[test]
    fn damage_is_found_and_never_panics() {
        for (hex, words) in CAPTURED {
            let good = octets(hex);
            for len in 0..good.len() {
                assert!(parse(&good[..len]).is_err(), "{words} cut to {len}");
            }
            for at in 0..good.len() {
                for bit in 0..8 {
                    let mut bad = good.clone();
                    bad[at] ^= 1 << bit;
                    let _ = parse(&bad);
                }
            }
            let mut longer = good.clone();
            longer.push(0);
            assert_eq!(parse(&longer), Err(Error::Length("SA payload")));
        }
    }

    #[test]
    fn counts_last_flags_and_spi_sizes_must_fit() {
        for (bad, why) in [
            ("02000010010100010000000801000003", "the last proposal says that another follows"),
            ("01000010010100010000000801000003", "neither last nor more"),
            ("00000010010100010300000801000003", "the last transform says that another follows"),
            ("00000010010100020000000801000003", "one transform too few"),
            ("00000010010100000000000801000003", "one transform too many"),
            ("0000001401010401000000000000000801000003", "an IKE SPI of 4 octets"),
            ("00000010010300010000000801000003", "an ESP SPI of 0 octets"),
            ("", "no proposal at all"),
        ] {
            assert!(parse(&octets(bad)).is_err(), "{why}");
        }
        assert!(parse(&octets("00000010010100010000000801000003")).is_ok());
        assert_eq!(parse(&octets("0000000801010000")).unwrap()[0].transforms, []);
    }

    #[test]
    fn what_we_do_not_know_is_marked_and_not_fatal() {
        for (transform, expected) in [
            ("0000000c0100000c800e0080", Transform::Encr(EncrId::AES_CBC, Some(128))),
            ("000000080100000c", Transform::Encr(EncrId::AES_CBC, None)),
            ("000000080600002a", Transform::AddKe(1, KeMethod(42))),
            ("000000080c000024", Transform::AddKe(7, KeMethod::ML_KEM_768)),
            ("000000080d000024", Transform::Unknown { kind: 13, id: 36 }),
            ("0000000c06000024800e0080", Transform::Unknown { kind: 6, id: 36 }),
            ("0000000c0100000c800f0080", Transform::Unknown { kind: 1, id: 12 }),
            ("0000000c0200000c800e0080", Transform::Unknown { kind: 2, id: 12 }),
            ("000000100100000c800e0080800e0100", Transform::Unknown { kind: 1, id: 12 }),
            ("0000000e0100000c000e00020080", Transform::Unknown { kind: 1, id: 12 }),
        ] {
            let transform = octets(transform);
            let mut body = vec![0, 0, 0, u8::try_from(transform.len()).unwrap() + 8, 1, 1, 0, 1];
            body.extend_from_slice(&transform);
            assert_eq!(parse(&body).unwrap()[0].transforms, [expected]);
        }
    }

    #[test]
    fn an_offer_is_numbered_and_a_response_keeps_its_number() {
        let gcm = Proposal::ike_from_keywords("aes256gcm16-prfsha384-ecp384").unwrap();
        let cbc = Proposal::ike_from_keywords("aes256-sha256-modp2048").unwrap();
        let offered = parse(&emitted(&[gcm, cbc])).unwrap();
        assert_eq!(offered.iter().map(|proposal| proposal.number).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(parse(&emitted(&offered[1..])).unwrap()[0].number, 2);
    }

    #[test]
    fn too_much_is_refused_instead_of_cut() {
        let proposal = Proposal::ike_from_keywords("aes256-sha256-modp2048").unwrap();
        let mut writer = Writer::new();
        let many = vec![proposal.clone(); 256];
        assert_eq!(emit(&many, &mut writer), Err(Error::Overflow("SA payload")));
        let long = Proposal { transforms: vec![Transform::Prf(PrfId(1)); 256], ..proposal };
        assert_eq!(emit(&[long], &mut writer), Err(Error::Overflow("proposal")));
    }

    /// RFC 7296 §3.3.1: they are numbered from 1 in one octet.
    #[test]
    fn as_many_are_read_as_there_are_numbers() {
        let one = emitted(&[Proposal::ike_from_keywords("aes256gcm16-prfsha384-ecp384").unwrap()]);
        let followed = [&[MORE_PROPOSALS], &one[1..]].concat();
        for (many, read) in [(2, true), (255, true), (256, false), (1000, false)] {
            let body = [followed.repeat(many - 1), one.clone()].concat();
            let proposals = parse(&body);
            assert_eq!(proposals.is_ok_and(|proposals| proposals.len() == many), read, "{many}");
        }
    }

    fn any_transform() -> impl Strategy<Value = Transform> {
        prop_oneof![
            any::<(u16, Option<u16>)>().prop_map(|(id, bits)| Transform::Encr(EncrId(id), bits)),
            any::<u16>().prop_map(|id| Transform::Prf(PrfId(id))),
            any::<u16>().prop_map(|id| Transform::Integ(IntegId(id))),
            any::<u16>().prop_map(|id| Transform::Ke(KeMethod(id))),
            any::<u16>().prop_map(|id| Transform::Sn(SnId(id))),
            (1..=7_u8, any::<u16>()).prop_map(|(place, id)| Transform::AddKe(place, KeMethod(id))),
            (13..=u8::MAX, any::<u16>()).prop_map(|(kind, id)| Transform::Unknown { kind, id }),
        ]
    }

    fn any_proposal() -> impl Strategy<Value = Proposal> {
        let spi = prop_oneof![
            Just((ProtocolId::IKE, 0)),
            Just((ProtocolId::IKE, 8)),
            Just((ProtocolId::ESP, 4)),
            (4..=u8::MAX, 0..=255usize).prop_map(|(protocol, len)| (ProtocolId(protocol), len)),
        ];
        let transforms = prop::collection::vec(any_transform(), 0..12);
        (1..=u8::MAX, spi, transforms).prop_map(|(number, (protocol, spi_len), transforms)| {
            Proposal { number, protocol, spi: vec![0xa5; spi_len], transforms }
        })
    }

    proptest! {
        #[test]
        fn parse_undoes_emit(proposals in prop::collection::vec(any_proposal(), 1..5)) {
            prop_assert_eq!(parse(&emitted(&proposals)), Ok(proposals));
        }

        #[test]
        fn any_octets_are_survived(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(proposals) = parse(&octets) {
                prop_assert!(proposals.len() * 8 <= octets.len());
            }
        }
    }
}
