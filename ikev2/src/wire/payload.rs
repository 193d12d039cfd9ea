//! The small payloads: KE (RFC 7296 §3.4), ID (§3.5), AUTH (§3.8), Nonce (§3.9), Notify (§3.10) and Delete (§3.11).
//!
//! ```text
//! KE:      | group, 2 octets       | RESERVED, 2           | public value ...
//! AUTH:    | method, 1 | RESERVED, 3                       | authentication data ...
//! Nonce:   | 16 to 256 octets ...
//! Notify:  | protocol, 1 | SPI size, 1 | type, 2           | SPI | data ...
//! Delete:  | protocol, 1 | SPI size, 1 | number of SPIs, 2 | SPI, SPI, ...
//! ```

use super::Error;
use super::cursor::Reader;
use super::identity::Identity;
use crate::registry::{AuthMethod, KeMethod, NotifyType, ProtocolId};

/// A public value of a key exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyExchange<'m> {
    /// The group that it belongs to.
    pub method: KeMethod,
    /// The value; its length is not checked here.
    pub data: &'m [u8],
}

impl<'m> KeyExchange<'m> {
    pub(super) fn parse(body: &'m [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("key exchange payload", body);
        let method = KeMethod(reader.u16()?);
        let _reserved = reader.u16()?;
        Ok(Self { method, data: reader.rest() })
    }
}

/// Who the sender claims to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPayload<'m> {
    /// The identity.
    pub identity: Identity,
    /// The whole payload body, type and reserved octets included: AUTH covers it as it was sent (RFC 7296 §2.15).
    pub raw: &'m [u8],
}

impl<'m> IdPayload<'m> {
    pub(super) fn parse(body: &'m [u8]) -> Result<Self, Error> {
        Identity::parse(body).map(|identity| Self { identity, raw: body })
    }
}

/// The proof of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth<'m> {
    /// How it is proved.
    pub method: AuthMethod,
    /// The MAC or signature.
    pub data: &'m [u8],
}

impl<'m> Auth<'m> {
    pub(super) fn parse(body: &'m [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("authentication payload", body);
        let method = AuthMethod(reader.u8()?);
        let _reserved = reader.take(3)?;
        Ok(Self { method, data: reader.rest() })
    }
}

/// The nonce of a Nonce payload: 16 to 256 octets (RFC 7296 §3.9).
pub(super) fn parse_nonce(body: &[u8]) -> Result<&[u8], Error> {
    if (16..=256).contains(&body.len()) { Ok(body) } else { Err(Error::Length("nonce payload")) }
}

/// An error or a remark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notify<'m> {
    /// The protocol of `spi`; without meaning if that is empty.
    pub protocol: ProtocolId,
    /// The SA that it is about; mostly empty.
    pub spi: &'m [u8],
    /// What it says.
    pub kind: NotifyType,
    /// Details, in a form that depends on `kind`.
    pub data: &'m [u8],
}

impl<'m> Notify<'m> {
    pub(crate) fn parse(body: &'m [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("notify payload", body);
        let protocol = ProtocolId(reader.u8()?);
        let spi_len = reader.u8()?;
        let kind = NotifyType(reader.u16()?);
        let spi = reader.take(spi_len.into())?;
        Ok(Self { protocol, spi, kind, data: reader.rest() })
    }

    /// The SPI of an ESP SA, if it is about one.
    #[must_use]
    pub fn esp_spi(&self) -> Option<u32> {
        let spi = self.spi.try_into().ok()?;
        (self.protocol == ProtocolId::ESP).then_some(u32::from_be_bytes(spi))
    }
}

/// SAs that the sender has deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// IKE: the SA that carries the message. Otherwise those in `spis`.
    pub protocol: ProtocolId,
    /// The SPIs on which the sender received; empty for IKE, and for protocols whose SPIs are not of 4 octets.
    pub spis: Vec<u32>,
}

impl Delete {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("delete payload", body);
        let protocol = ProtocolId(reader.u8()?);
        let spi_len = usize::from(reader.u8()?);
        let count = usize::from(reader.u16()?);
        if reader.len() != spi_len * count {
            return Err(Error::Length("delete payload"));
        }
        match protocol {
            ProtocolId::IKE if spi_len != 0 => Err(Error::Value("deletion of an IKE SA by SPI")),
            ProtocolId::ESP | ProtocolId::AH if spi_len != 4 => {
                Err(Error::Value("deletion by an SPI that is not of 4 octets"))
            }
            _ if spi_len == 4 => {
                let spis = (0..count).map(|_| reader.u32()).collect::<Result<_, _>>()?;
                Ok(Self { protocol, spis })
            }
            _ => Ok(Self { protocol, spis: Vec::new() }),
        }
    }

    /// Whether it deletes the IKE SA that carries it.
    #[must_use]
    pub fn is_ike(&self) -> bool {
        self.protocol == ProtocolId::IKE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_says_when_it_is_cut_short() {
        for len in 0..4 {
            let body = &[0; 4][..len];
            assert_eq!(KeyExchange::parse(body), Err(Error::Truncated("key exchange payload")));
            assert_eq!(Auth::parse(body), Err(Error::Truncated("authentication payload")));
            assert_eq!(Notify::parse(body), Err(Error::Truncated("notify payload")));
            assert_eq!(Delete::parse(body), Err(Error::Truncated("delete payload")));
            assert!(IdPayload::parse(body).is_err());
        }
    }

    #[test]
    fn nonces_have_16_to_256_octets() {
        for (len, good) in [(0, false), (15, false), (16, true), (256, true), (257, false)] {
            assert_eq!(parse_nonce(&vec![7; len]).is_ok(), good, "{len}");
        }
    }

    #[test]
    fn notifications_carry_spi_and_data() {
        let rekey = Notify::parse(b"\x03\x04\x40\x09\x38\x71\x69\xa4data").unwrap();
        assert_eq!(rekey.kind, NotifyType::REKEY_SA);
        assert_eq!(rekey.esp_spi(), Some(0x3871_69a4));
        assert_eq!(rekey.data, b"data");
        let cookie = Notify::parse(b"\x00\x00\x40\x06cookie").unwrap();
        assert_eq!(
            (cookie.kind, cookie.spi, cookie.esp_spi()),
            (NotifyType::COOKIE, [].as_slice(), None)
        );
        assert_eq!(cookie.data, b"cookie");
        assert!(Notify::parse(b"\x03\x04\x40\x09\x38\x71\x69").is_err());
        assert_eq!(Notify::parse(b"\x03\x03\x40\x09\x38\x71\x69").unwrap().esp_spi(), None);
        assert_eq!(Notify::parse(b"\x01\x04\x40\x09\x38\x71\x69\xa4").unwrap().esp_spi(), None);
    }

    #[test]
    fn deletions_count_their_spis() {
        let ike = Delete::parse(b"\x01\0\0\0").unwrap();
        assert!(ike.is_ike() && ike.spis.is_empty());
        let esp = Delete::parse(b"\x03\x04\0\x02\0\0\x01\0\0\0\x02\0").unwrap();
        assert_eq!(esp.spis, [0x100, 0x200]);
        assert!(!esp.is_ike());
        for bad in [
            b"\x03\x04\0\x03\0\0\x01\0\0\0\x02\0".as_slice(),
            b"\x03\x04\0\x01\0\0\x01\0\0\0\x02\0",
            b"\x03\x08\0\x01\0\0\x01\0\0\0\x02\0",
            b"\x01\x08\0\x01\0\0\x01\0\0\0\x02\0",
            b"\x03\x04\xff\xff",
        ] {
            assert!(Delete::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Delete::parse(b"\x09\x02\0\x02abcd").unwrap().spis, [0; 0]);
    }
}
