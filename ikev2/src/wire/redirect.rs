//! Where a peer sends us, and from where it was sent (RFC 5685 §9.2, §9.3).
//!
//! ```text
//!   +--------+--------+-------------------+-----------------------------+
//!   |  type  | length |  address or name  |  Ni, only in IKE_SA_INIT    |
//!   +--------+--------+-------------------+-----------------------------+
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Error;
use super::cursor::Reader;

/// A gateway, by its address or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayId {
    /// Its address.
    Address(IpAddr),
    /// Its name in the DNS: 1 to 255 letters, digits, hyphens, underscores and dots.
    Name(String),
}

/// The data of a REDIRECT notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect<'m> {
    /// The other gateway.
    pub to: GatewayId,
    /// In an IKE_SA_INIT response the initiator's nonce, which shows that the sender saw the request; else empty.
    pub nonce: &'m [u8],
}

impl<'m> Redirect<'m> {
    /// Reads the data of a notification.
    ///
    /// # Errors
    /// If the lengths do not add up, the type is unknown, or the name is none.
    pub fn parse(data: &'m [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("redirect", data);
        let kind = reader.u8()?;
        let len = usize::from(reader.u8()?);
        let identity = reader.take(len)?;
        let to = match kind {
            IPV4 => <[u8; 4]>::try_from(identity).map(|a| IpAddr::V4(Ipv4Addr::from(a))).ok(),
            IPV6 => <[u8; 16]>::try_from(identity).map(|a| IpAddr::V6(Ipv6Addr::from(a))).ok(),
            FQDN => return Ok(Self { to: name(identity)?, nonce: reader.rest() }),
            _ => return Err(Error::Value("a gateway of an unknown kind")),
        };
        let to = to.map(GatewayId::Address).ok_or(Error::Length("redirect"))?;
        Ok(Self { to, nonce: reader.rest() })
    }
}

fn name(octets: &[u8]) -> Result<GatewayId, Error> {
    let of_a_name = |octet: &u8| octet.is_ascii_alphanumeric() || b".-_".contains(octet);
    if octets.is_empty() || !octets.iter().all(of_a_name) {
        return Err(Error::Value(
            "a gateway is an address or a name of letters, digits, `.`, `-` and `_`",
        ));
    }
    Ok(GatewayId::Name(String::from_utf8_lossy(octets).into_owned()))
}

impl GatewayId {
    /// Reads what people write: an address, or a name in the DNS.
    ///
    /// # Errors
    /// If it is neither.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text.parse() {
            Ok(address) => Ok(Self::Address(address)),
            Err(_) if text.len() > 255 => Err(Error::Overflow("the name of the gateway")),
            Err(_) => name(text.as_bytes()),
        }
    }

    /// The data of a notification that names this gateway, followed by `nonce`. A name is cut at 255 octets.
    #[must_use]
    pub fn emit(&self, nonce: &[u8]) -> Vec<u8> {
        let (kind, identity) = match self {
            Self::Address(IpAddr::V4(address)) => (IPV4, address.octets().to_vec()),
            Self::Address(IpAddr::V6(address)) => (IPV6, address.octets().to_vec()),
            Self::Name(name) => (FQDN, name.bytes().take(255).collect()),
        };
        let len = u8::try_from(identity.len()).unwrap_or(u8::MAX);
        [&[kind, len], identity.as_slice(), nonce].concat()
    }
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

const IPV4: u8 = 1;
const IPV6: u8 = 2;
const FQDN: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn gateways() -> [GatewayId; 3] {
        [
            GatewayId::Address("192.0.2.7".parse().unwrap()),
            GatewayId::Address("2001:db8::7".parse().unwrap()),
            GatewayId::Name("gw-2.example.com".to_owned()),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for gateway in gateways() {
            for nonce in [&[][..], &[7; 32]] {
                let data = gateway.emit(nonce);
                let expected = Redirect { to: gateway.clone(), nonce };
                assert_eq!(Redirect::parse(&data), Ok(expected));
            }
        }
        // RFC 5685 §9.2: type, length, identity.
        assert_eq!(gateways()[0].emit(&[]), [1, 4, 192, 0, 2, 7]);
    }

    #[test]
    fn nothing_that_is_cut_short_is_read() {
        for gateway in gateways() {
            let data = gateway.emit(&[]);
            for len in 0..data.len() {
                assert!(Redirect::parse(&data[..len]).is_err(), "{gateway} cut to {len}");
            }
        }
    }

    #[test]
    fn a_name_is_letters_and_an_address_has_its_length() {
        for data in [&[3, 0][..], &[3, 3, b'a', b'\n', b'b'], &[3, 2, b'$', b'('], &[9, 1, b'a']] {
            assert!(Redirect::parse(data).is_err(), "{data:?}");
        }
        assert!(Redirect::parse(&[1, 5, 192, 0, 2, 7, 7]).is_err());
        assert!(Redirect::parse(&[2, 4, 192, 0, 2, 7]).is_err());
    }

    #[test]
    fn people_write_an_address_or_a_name() {
        for (text, gateway) in
            ["192.0.2.7", "2001:db8::7", "gw-2.example.com"].iter().zip(gateways())
        {
            assert_eq!(gateway.to_string(), *text);
            assert_eq!(GatewayId::parse(text), Ok(gateway));
        }
        let long = "a".repeat(255);
        assert_eq!(GatewayId::parse(&long), Ok(GatewayId::Name(long.clone())));
        let longer = GatewayId::parse(&(long + "a"));
        assert_eq!(longer, Err(Error::Overflow("the name of the gateway")));
        assert!(GatewayId::parse("").is_err() && GatewayId::parse("gw 2").is_err());
    }
}
