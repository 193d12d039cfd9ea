//! The IKE header (RFC 7296 §3.1), 28 octets before every message.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------------------------------------------------------+
//! |             SPI of the original initiator, 8 octets           |
//! +---------------------------------------------------------------+
//! |    SPI of the original responder, 8 octets; 0 at the outset   |
//! +---------------+---------------+---------------+---------------+
//! | next payload  | version 0x20  | exchange type | 0 0 R V I 0 0 0 |
//! +---------------+---------------+---------------+---------------+
//! |                          message ID                           |
//! +---------------------------------------------------------------+
//! |           length of the whole message, this included          |
//! +---------------------------------------------------------------+
//! ```
//!
//! Nothing in it is authenticated before the SK payload was opened.

use super::Error;
use super::cursor::{Reader, Writer};
use crate::registry::{ExchangeType, PayloadType};

/// The header, field by field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// SPI of the original initiator; never zero in a valid message.
    pub spi_i: IkeSpi,
    /// SPI of the original responder; zero in a first IKE_SA_INIT request.
    pub spi_r: IkeSpi,
    /// The first payload.
    pub next_payload: PayloadType,
    /// Major version in the high, minor in the low four bits; ours is [`Self::VERSION`].
    pub version: u8,
    /// What the message is part of.
    pub exchange: ExchangeType,
    /// Direction bits.
    pub flags: Flags,
    /// Which request it is, or which it answers.
    pub message_id: MessageId,
    /// Octets of the whole message, header included.
    pub len: u32,
}

impl Header {
    /// Octets on the wire.
    pub const LEN: usize = 28;

    /// IKE 2.0, the only version that we speak.
    pub const VERSION: u8 = 0x20;

    /// Reads the header of `datagram`, a whole IKE message without non-ESP marker.
    ///
    /// The version is not judged, since a message of another major version may deserve an answer (RFC 7296 §2.5).
    ///
    /// # Errors
    /// [`Error::Truncated`] below 28 octets, [`Error::Length`] if the length field is not `datagram.len()`.
    pub fn parse(datagram: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("IKE header", datagram);
        let header = Self {
            spi_i: IkeSpi(reader.u64()?),
            spi_r: IkeSpi(reader.u64()?),
            next_payload: PayloadType(reader.u8()?),
            version: reader.u8()?,
            exchange: ExchangeType(reader.u8()?),
            flags: Flags::from_octet(reader.u8()?),
            message_id: MessageId(reader.u32()?),
            len: reader.u32()?,
        };
        if usize::try_from(header.len) == Ok(datagram.len()) {
            Ok(header)
        } else {
            Err(Error::Length("IKE message"))
        }
    }

    /// The octets of the header. Reserved flag bits are sent as zero.
    #[must_use]
    pub fn emit(&self) -> [u8; Self::LEN] {
        let mut writer = Writer::new();
        writer.u64(self.spi_i.0);
        writer.u64(self.spi_r.0);
        writer.u8(self.next_payload.0);
        writer.u8(self.version);
        writer.u8(self.exchange.0);
        writer.u8(self.flags.octet());
        writer.u32(self.message_id.0);
        writer.u32(self.len);
        let mut octets = [0; Self::LEN];
        octets.copy_from_slice(writer.octets());
        octets
    }

    /// The major version, 2 for IKEv2.
    #[must_use]
    pub const fn major(&self) -> u8 {
        self.version >> 4
    }
}

/// SPI of an IKE SA, chosen by the side that it is sent to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct IkeSpi(pub u64);

impl IkeSpi {
    /// "Not chosen yet": the responder's SPI in a first IKE_SA_INIT request.
    pub const ZERO: Self = Self(0);

    /// The eight octets on the wire.
    #[must_use]
    pub const fn octets(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl std::fmt::Display for IkeSpi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::fmt::Debug for IkeSpi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Number of a request within its direction, from 0 (RFC 7296 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct MessageId(pub u32);

impl std::fmt::Display for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The flag bits of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// I: sent by the original initiator of the IKE SA, in requests and responses alike.
    pub initiator: bool,
    /// R: a response.
    pub response: bool,
    /// V: the sender could speak a higher major version. We never set it and ignore it.
    pub higher_version: bool,
}

impl Flags {
    const INITIATOR: u8 = 0x08;
    const HIGHER_VERSION: u8 = 0x10;
    const RESPONSE: u8 = 0x20;

    const fn from_octet(octet: u8) -> Self {
        Self {
            initiator: octet & Self::INITIATOR != 0,
            response: octet & Self::RESPONSE != 0,
            higher_version: octet & Self::HIGHER_VERSION != 0,
        }
    }

    const fn octet(self) -> u8 {
        let initiator = if self.initiator { Self::INITIATOR } else { 0 };
        let response = if self.response { Self::RESPONSE } else { 0 };
        let higher_version = if self.higher_version { Self::HIGHER_VERSION } else { 0 };
        initiator | response | higher_version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first 28 octets of a strongSwan IKE_SA_INIT request of 296 octets.
    const REQUEST: &str = "6c09526f6f40fb040000000000000000212022080000000000000128";

    fn request() -> Vec<u8> {
        let mut datagram = hex::decode(REQUEST).unwrap();
        datagram.resize(0x128, 0);
        datagram
    }

    #[test]
    fn parses_and_emits_a_real_header() {
        let header = Header::parse(&request()).unwrap();
        let expected = Header {
            spi_i: IkeSpi(0x6c09_526f_6f40_fb04),
            spi_r: IkeSpi::ZERO,
            next_payload: PayloadType::SA,
            version: Header::VERSION,
            exchange: ExchangeType::IKE_SA_INIT,
            flags: Flags { initiator: true, ..Flags::default() },
            message_id: MessageId(0),
            len: 0x128,
        };
        assert_eq!(header, expected);
        assert_eq!(header.emit(), request()[..Header::LEN]);
        assert_eq!(header.major(), 2);
        assert_eq!(header.spi_i.to_string(), "6c09526f6f40fb04");
        assert_eq!(format!("{:?}", header.spi_i), "6c09526f6f40fb04");
    }

    #[test]
    fn the_length_is_that_of_the_datagram() {
        let mut datagram = request();
        datagram.push(0);
        assert_eq!(Header::parse(&datagram), Err(Error::Length("IKE message")));
        for len in 0..request().len() {
            datagram.truncate(len);
            datagram.resize(len, 0);
            assert!(Header::parse(&datagram).is_err(), "{len}");
        }
    }

    #[test]
    fn a_header_alone_is_a_message() {
        let mut datagram = request();
        datagram.truncate(Header::LEN);
        datagram[24..].copy_from_slice(&28u32.to_be_bytes());
        assert_eq!(Header::parse(&datagram).map(|header| header.len), Ok(28));
    }

    #[test]
    fn every_flag_octet_is_understood() {
        for octet in 0..=u8::MAX {
            let flags = Flags::from_octet(octet);
            assert_eq!(flags.octet(), octet & 0x38);
            assert_eq!(flags.initiator, octet & 0x08 != 0);
            assert_eq!(flags.response, octet & 0x20 != 0);
        }
    }
    #[test]
    fn an_spi_is_its_eight_octets_and_a_message_id_a_number() {
        assert_eq!(MessageId(4711).to_string(), "4711");
        assert_eq!(
            IkeSpi(0x6c09_526f_6f40_fb04).octets()[..],
            hex::decode(&REQUEST[..16]).unwrap()
        );
    }
}
