//! Identification payloads (RFC 7296 §3.5): who somebody claims to be.
//!
//! ```text
//! payload body:  +---------------+-----------------------------------------------+
//!                |   ID type     |                   RESERVED                    |
//!                +---------------+-----------------------------------------------+
//!                |                   identification data ...                     |
//!                +---------------------------------------------------------------+
//!
//! as text:   192.0.2.1   2001:db8::1     addresses        ipv4:..  ipv6:..
//!            gw.example.com  @gw         FQDN             fqdn:..
//!            ops@example.com             e-mail address   email:..
//!            @#6b6579                    KEY_ID in hex    keyid:..   (text)
//!            C=CH, O=Example, CN=gw      distinguished    dn:..
//!            {9}:#3011...                any type by number, data in hex
//! ```
//!
//! Names and e-mail addresses compare without regard to ASCII case, as DNS does (RFC 4343 §3). The comparison does
//! that, not the constructor: the peer may compare octets, so ours leave as they were written.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::Error;
use super::cursor::{Reader, Writer};
use super::name::{DistinguishedName, NameError};
use crate::registry::IdType;

/// Who somebody claims to be.
///
/// `Display` is what `FromStr` reads back to an equal value. The variants are open for matching; to make a value from
/// a peer's octets or from text use [`Identity::parse`] and [`str::parse`], which keep text printable.
#[derive(Clone)]
pub enum Identity {
    /// ID_IPV4_ADDR.
    Ipv4(Ipv4Addr),
    /// ID_IPV6_ADDR.
    Ipv6(Ipv6Addr),
    /// ID_FQDN, without trailing dot.
    Fqdn(String),
    /// ID_RFC822_ADDR.
    Email(String),
    /// ID_KEY_ID: opaque octets.
    KeyId(Vec<u8>),
    /// ID_DER_ASN1_DN, not empty.
    Dn(DistinguishedName),
    /// A type that we know no better form of, or data that its type rules out.
    Other(IdType, Vec<u8>),
}

/// Why text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Nothing there, or nothing after the type.
    #[error("the identity is empty")]
    Empty,
    /// An address was promised by `ipv4:` or `ipv6:`.
    #[error("`{0}` is not an address of that family")]
    Address(String),
    /// Hexadecimal digits were promised by `#`.
    #[error("`{0}` is not a sequence of hexadecimal digit pairs")]
    Hex(String),
    /// Neither address, name, e-mail address nor distinguished name by its shape.
    #[error(
        "`{0}` is neither an address, a host name, an e-mail address nor the subject of a certificate; say the type, as in `keyid:{0}`"
    )]
    Shape(String),
    /// A distinguished name was promised by `dn:` or a `=`.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Control characters, or others that the type rules out.
    #[error("`{0}` has characters that this type of identity cannot hold")]
    Characters(String),
}

impl Identity {
    /// Reads the body of an IDi or IDr payload.
    ///
    /// Data that does not fit its type (a wrong length, control characters in a name) is kept as
    /// [`Identity::Other`]: it equals nothing that can be configured by name.
    ///
    /// # Errors
    /// [`Error::Truncated`] below four octets.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("identification payload", body);
        let kind = IdType(reader.u8()?);
        let _reserved = reader.take(3)?;
        Ok(Self::from_data(kind, reader.rest()))
    }

    pub(crate) fn from_data(kind: IdType, data: &[u8]) -> Self {
        let known = match kind {
            IdType::IPV4_ADDR => data.try_into().ok().map(|data: [u8; 4]| Self::Ipv4(data.into())),
            IdType::IPV6_ADDR => data.try_into().ok().map(|data: [u8; 16]| Self::Ipv6(data.into())),
            IdType::FQDN => text(data).filter(|name| is_fqdn(name)).map(Self::Fqdn),
            IdType::RFC822_ADDR => text(data).filter(|name| is_email(name)).map(Self::Email),
            IdType::KEY_ID if !data.is_empty() => Some(Self::KeyId(data.to_vec())),
            IdType::DER_ASN1_DN => {
                let name = DistinguishedName::from_der(data);
                name.filter(|name| !name.is_empty()).map(Self::Dn)
            }
            _ => None,
        };
        known.unwrap_or_else(|| Self::Other(kind, data.to_vec()))
    }

    /// The body of an IDi or IDr payload.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(self.kind().0);
        writer.put(&[0; 3]);
        match self {
            Self::Ipv4(address) => writer.put(&address.octets()),
            Self::Ipv6(address) => writer.put(&address.octets()),
            Self::Fqdn(name) | Self::Email(name) => writer.put(name.as_bytes()),
            Self::KeyId(data) | Self::Other(_, data) => writer.put(data),
            Self::Dn(name) => writer.put(name.der()),
        }
        writer.into_octets()
    }

    /// Its ID type.
    #[must_use]
    pub const fn kind(&self) -> IdType {
        match self {
            Self::Ipv4(_) => IdType::IPV4_ADDR,
            Self::Ipv6(_) => IdType::IPV6_ADDR,
            Self::Fqdn(_) => IdType::FQDN,
            Self::Email(_) => IdType::RFC822_ADDR,
            Self::KeyId(_) => IdType::KEY_ID,
            Self::Dn(_) => IdType::DER_ASN1_DN,
            Self::Other(kind, _) => *kind,
        }
    }

    /// What comparison looks at: the type and the data, letters of names in lower case.
    fn folded(&self) -> (IdType, Vec<u8>) {
        let data = match self {
            Self::Ipv4(address) => address.octets().to_vec(),
            Self::Ipv6(address) => address.octets().to_vec(),
            Self::Fqdn(name) | Self::Email(name) => name.to_ascii_lowercase().into_bytes(),
            Self::KeyId(data) | Self::Other(_, data) => data.clone(),
            Self::Dn(name) => name.folded().to_vec(),
        };
        (self.kind(), data)
    }

    /// `fqdn:name` and the like; `None` if there is no such prefix.
    fn from_prefixed(text: &str) -> Option<Result<Self, IdentityError>> {
        let (prefix, value) = text.split_once(':')?;
        let parsed = match prefix {
            "ipv4" => {
                let address = value.parse().map(Self::Ipv4);
                address.map_err(|_| IdentityError::Address(value.into()))
            }
            "ipv6" => {
                let address = value.parse().map(Self::Ipv6);
                address.map_err(|_| IdentityError::Address(value.into()))
            }
            "fqdn" | "dns" => fqdn(value, is_fqdn),
            "email" | "rfc822" | "userfqdn" => email(value),
            "keyid" => key_id(value),
            "dn" | "asn1dn" => value.parse().map(Self::Dn).map_err(IdentityError::from),
            _ => {
                let number = prefix.strip_prefix('{')?.strip_suffix('}')?.parse().ok()?;
                let data = value.strip_prefix('#')?;
                unhex(data).map(|data| Self::from_data(IdType(number), &data))
            }
        };
        Some(parsed)
    }

    /// Whatever the shape suggests.
    fn from_shape(text: &str) -> Result<Self, IdentityError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        if let Some(digits) = text.strip_prefix("@#") {
            return unhex(digits).and_then(non_empty).map(Self::KeyId);
        }
        if let Some(address) = text.strip_prefix("@@") {
            return email(address);
        }
        if let Some(name) = text.strip_prefix('@') {
            return fqdn(name, is_host_name);
        }
        if text.contains('=') {
            return text.parse().map(Self::Dn).map_err(IdentityError::from);
        }
        match text.split_once('@') {
            Some((user, host)) if user.is_empty() || !is_host_name(host) => {
                Err(IdentityError::Shape(text.into()))
            }
            Some(_) => email(text),
            None if text.is_empty() => Err(IdentityError::Empty),
            None => fqdn(text, is_host_name).map_err(|_| IdentityError::Shape(text.into())),
        }
    }

    /// The form without a type, whether or not it reads back as the same.
    fn plain(&self) -> Option<String> {
        match self {
            Self::Ipv4(address) => Some(address.to_string()),
            Self::Ipv6(address) => Some(address.to_string()),
            Self::Fqdn(name) | Self::Email(name) => Some(name.clone()),
            Self::Dn(name) => Some(name.to_string()),
            Self::KeyId(_) | Self::Other(..) => None,
        }
    }
}

fn fqdn(name: &str, is_valid: fn(&str) -> bool) -> Result<Identity, IdentityError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    match name {
        "" => Err(IdentityError::Empty),
        name if is_valid(name) => Ok(Identity::Fqdn(name.into())),
        name => Err(IdentityError::Characters(name.into())),
    }
}

fn email(address: &str) -> Result<Identity, IdentityError> {
    match address {
        "" => Err(IdentityError::Empty),
        address if is_email(address) => Ok(Identity::Email(address.into())),
        address => Err(IdentityError::Characters(address.into())),
    }
}

/// `keyid:branch-7` is the text itself; `keyid:#6272` is hex, as strongSwan writes it.
fn key_id(value: &str) -> Result<Identity, IdentityError> {
    let data = match value.strip_prefix('#') {
        Some(digits) => unhex(digits)?,
        None => value.as_bytes().to_vec(),
    };
    non_empty(data).map(Identity::KeyId)
}

fn non_empty(data: Vec<u8>) -> Result<Vec<u8>, IdentityError> {
    if data.is_empty() { Err(IdentityError::Empty) } else { Ok(data) }
}

fn unhex(digits: &str) -> Result<Vec<u8>, IdentityError> {
    let bad = || IdentityError::Hex(digits.into());
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return Err(bad()) };
    pairs
        .iter()
        .map(|pair| pair.iter().try_fold(0, |octet, digit| Some(octet << 4 | hex_digit(*digit)?)))
        .collect::<Option<_>>()
        .ok_or_else(bad)
}

fn hex_digit(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

fn text(data: &[u8]) -> Option<String> {
    String::from_utf8(data.to_vec()).ok()
}

/// What an FQDN may hold on the wire: printable ASCII, no terminator (RFC 7296 §3.5).
fn is_fqdn(name: &str) -> bool {
    !name.is_empty() && !name.ends_with('.') && name.bytes().all(|octet| octet.is_ascii_graphic())
}

/// What we take for a host name without being told so.
fn is_host_name(name: &str) -> bool {
    is_fqdn(name)
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.*".contains(&octet))
}

/// What an e-mail address may hold: UTF-8 without spaces and control characters (RFC 7296 §3.5).
fn is_email(address: &str) -> bool {
    !address.is_empty() && !address.chars().any(|c| c.is_control() || c.is_whitespace())
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        Self::from_prefixed(text).unwrap_or_else(|| Self::from_shape(text))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(plain) = self.plain()
            && plain.parse().as_ref() == Ok(self)
        {
            return f.write_str(&plain);
        }
        match self {
            Self::Ipv4(address) => write!(f, "ipv4:{address}"),
            Self::Ipv6(address) => write!(f, "ipv6:{address}"),
            Self::Fqdn(name) => write!(f, "fqdn:{name}"),
            Self::Email(address) => write!(f, "email:{address}"),
            Self::KeyId(data) => match std::str::from_utf8(data) {
                Ok(text) if is_fqdn(text) && !text.starts_with('#') => write!(f, "keyid:{text}"),
                _ => write!(f, "@#{}", Hex(data)),
            },
            Self::Dn(name) => write!(f, "{{{}}}:#{}", self.kind().0, Hex(name.der())),
            Self::Other(kind, data) => write!(f, "{{{}}}:#{}", kind.0, Hex(data)),
        }
    }
}

/// Octets as hexadecimal digits.
pub(crate) struct Hex<'o>(pub(crate) &'o [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            // What is compared with those of ten thousand peers is not copied first.
            (Self::Fqdn(a), Self::Fqdn(b)) | (Self::Email(a), Self::Email(b)) => {
                a.eq_ignore_ascii_case(b)
            }
            (Self::KeyId(a), Self::KeyId(b)) => a == b,
            (one, other) => one.kind() == other.kind() && one.folded() == other.folded(),
        }
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().hash(state);
    }
}

impl PartialOrd for Identity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Identity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.folded().cmp(&other.folded())
    }
}

impl From<IpAddr> for Identity {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4(address),
            IpAddr::V6(address) => Self::Ipv6(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn fqdn(name: &str) -> Identity {
        Identity::Fqdn(name.into())
    }

    #[test]
    fn reads_and_writes_what_strongswan_sends() {
        let body = hex::decode("02000000612e70736b2e6578616d706c65").unwrap();
        let identity = Identity::parse(&body).unwrap();
        assert_eq!(identity, fqdn("a.psk.example"));
        assert_eq!(identity.emit(), body);
        for len in 0..4 {
            assert!(Identity::parse(&body[..len]).is_err());
        }
    }

    #[test]
    fn text_is_read_by_prefix_or_shape() {
        let email = |text: &str| Identity::Email(text.into());
        let key_id = |octets: &[u8]| Identity::KeyId(octets.into());
        for (text, identity, shown) in [
            ("192.0.2.1", Identity::Ipv4([192, 0, 2, 1].into()), "192.0.2.1"),
            ("ipv4:192.0.2.1", Identity::Ipv4([192, 0, 2, 1].into()), "192.0.2.1"),
            ("2001:db8::1", Identity::Ipv6("2001:db8::1".parse().unwrap()), "2001:db8::1"),
            ("ipv6:2001:DB8::1", Identity::Ipv6("2001:db8::1".parse().unwrap()), "2001:db8::1"),
            ("gw.example.com", fqdn("gw.example.com"), "gw.example.com"),
            ("gw.example.com.", fqdn("gw.example.com"), "gw.example.com"),
            ("@gw", fqdn("gw"), "gw"),
            ("@192.0.2.1", fqdn("192.0.2.1"), "fqdn:192.0.2.1"),
            ("fqdn:10.0.0.1", fqdn("10.0.0.1"), "fqdn:10.0.0.1"),
            ("fqdn:a@b", fqdn("a@b"), "fqdn:a@b"),
            ("fqdn:fqdn:x", fqdn("fqdn:x"), "fqdn:fqdn:x"),
            ("ops@example.com", email("ops@example.com"), "ops@example.com"),
            ("@@ops@example.com", email("ops@example.com"), "ops@example.com"),
            ("email:ops", email("ops"), "email:ops"),
            ("@#00ff", key_id(&[0, 255]), "@#00ff"),
            ("keyid:branch-7", key_id(b"branch-7"), "keyid:branch-7"),
            ("keyid:#6162", key_id(b"ab"), "keyid:ab"),
            ("keyid:a b", key_id(b"a b"), "@#612062"),
            ("@#236162", key_id(b"#ab"), "@#236162"),
            ("{9}:#3000", Identity::Other(IdType::DER_ASN1_DN, vec![0x30, 0]), "{9}:#3000"),
            ("{2}:#6777", fqdn("gw"), "gw"),
        ] {
            let parsed: Identity = text.parse().unwrap();
            assert_eq!(parsed, identity, "{text}");
            assert_eq!(parsed.to_string(), shown, "{text}");
            assert_eq!(format!("{parsed:?}"), shown, "{text}");
        }
    }

    /// RFC 7296 §3.5: what a type does not allow is kept as octets, and fits nothing.
    #[test]
    fn each_type_is_read_and_written() {
        let key_id = |data: &[u8]| Identity::KeyId(data.into());
        let name = "C=CH, CN=gw".parse::<Identity>().unwrap();
        for (kind, data, identity) in [
            (IdType::IPV4_ADDR, vec![192, 0, 2, 1], Identity::Ipv4([192, 0, 2, 1].into())),
            (IdType::IPV6_ADDR, vec![0; 16], Identity::Ipv6([0; 16].into())),
            (IdType::FQDN, b"gw.example".to_vec(), fqdn("gw.example")),
            (IdType::RFC822_ADDR, b"a@b.example".to_vec(), Identity::Email("a@b.example".into())),
            (IdType::KEY_ID, b"branch-7".to_vec(), key_id(b"branch-7")),
            (IdType::DER_ASN1_DN, name.emit()[4..].to_vec(), name),
        ] {
            let body = [&[kind.0, 0, 0, 0], data.as_slice()].concat();
            let read = Identity::parse(&body).unwrap();
            assert!(read == identity && !matches!(read, Identity::Other(..)), "{identity}");
            assert_eq!(identity.emit(), body, "{identity}");
            let wrong = Identity::parse(&[kind.0, 0, 0, 0]).unwrap();
            assert_eq!(wrong, Identity::Other(kind, Vec::new()), "nothing is no {identity}");
        }
    }

    /// What is equal is in one place of every kind of table.
    #[test]
    fn tables_find_what_is_equal() {
        use std::cmp::Ordering;
        use std::hash::{BuildHasher, RandomState};
        let state = RandomState::new();
        let (one, same, other) = (fqdn("gw.example"), fqdn("GW.Example"), fqdn("ag.example"));
        assert_eq!(state.hash_one(&one), state.hash_one(&same));
        assert_ne!(state.hash_one(&one), state.hash_one(&other));
        assert_eq!(one.partial_cmp(&same), Some(Ordering::Equal));
        assert_eq!(one.partial_cmp(&other), Some(Ordering::Greater));
    }

    #[test]
    fn text_that_is_no_identity_is_refused_with_the_reason() {
        use IdentityError::{Address, Characters, Empty, Hex, Name, Shape};
        for (text, error) in [
            ("", Empty),
            ("fqdn:", Empty),
            ("@", Empty),
            ("@#", Empty),
            ("keyid:", Empty),
            ("ipv4:gw", Address("gw".into())),
            ("ipv6:192.0.2.1", Address("192.0.2.1".into())),
            ("@#0", Hex("0".into())),
            ("@#0g", Hex("0g".into())),
            ("@#+1", Hex("+1".into())),
            ("C=CH, example", Name(NameError("C=CH, example".into()))),
            ("dn:", Name(NameError(String::new()))),
            ("user@", Shape("user@".into())),
            ("a@b@c", Shape("a@b@c".into())),
            ("site a", Shape("site a".into())),
            ("fqdn:site a", Characters("site a".into())),
            ("email:a\u{7}", Characters("a\u{7}".into())),
        ] {
            assert_eq!(text.parse::<Identity>(), Err(error), "{text}");
        }
    }

    #[test]
    fn names_compare_without_case_and_types_stay_apart() {
        assert_eq!(fqdn("GW.Example"), fqdn("gw.example"));
        assert_eq!(BTreeSet::from([fqdn("GW"), fqdn("gw")]).len(), 1);
        assert_eq!(std::collections::HashSet::from([fqdn("GW"), fqdn("gw")]).len(), 1);
        assert_ne!(fqdn("gw"), Identity::Email("gw".into()));
        assert_ne!(fqdn("gw"), Identity::KeyId(b"gw".to_vec()));
        // Comparing takes shortcuts; the order has to agree.
        let other = Identity::Other(IdType::FQDN, b"gw".to_vec());
        let key = |octets: &[u8]| Identity::KeyId(octets.to_vec());
        let all = [fqdn("GW"), fqdn("gw"), fqdn("gx"), other, key(b"gw"), key(b"GW")];
        for one in &all {
            for two in &all {
                assert_eq!(one == two, one.cmp(two).is_eq(), "{one} {two}");
            }
        }
        assert_ne!(Identity::KeyId(b"GW".to_vec()), Identity::KeyId(b"gw".to_vec()));
        assert_eq!(fqdn("GW").emit()[4..], *b"GW", "the wire keeps what was written");
    }

    #[test]
    fn data_that_its_type_rules_out_is_kept_apart() {
        for body in [
            b"\x01\0\0\0abc".as_slice(),
            b"\x05\0\0\0abc",
            b"\x02\0\0\0gw\0",
            b"\x02\0\0\0gw\n",
            b"\x02\0\0\0gw.",
            b"\x02\0\0\0",
            b"\x0b\0\0\0",
            b"\x03\0\0\0a b",
            b"\x03\0\0\0\xff",
            b"\xc8\0\0\0abc",
        ] {
            let identity = Identity::parse(body).unwrap();
            assert!(matches!(identity, Identity::Other(..)), "{identity}");
            assert_eq!(identity.emit(), body);
            assert_eq!(identity.to_string().parse(), Ok(identity));
        }
    }

    proptest! {
        #[test]
        fn any_octets_survive_wire_and_text(
            kind in prop_oneof![0u8..12, any::<u8>()],
            data in prop_oneof![prop::collection::vec(any::<u8>(), 0..40), "\\PC{0,20}".prop_map(String::into_bytes)],
        ) {
            let mut body = vec![kind, 0, 0, 0];
            body.extend_from_slice(&data);
            let identity = Identity::parse(&body).unwrap();
            prop_assert_eq!(identity.emit(), body);
            let read_back: Identity = identity.to_string().parse().unwrap();
            prop_assert_eq!(read_back.emit(), identity.emit(), "{}", identity);
        }

        #[test]
        fn any_text_is_survived(text in "\\PC{0,30}") {
            if let Ok(identity) = text.parse::<Identity>() {
                prop_assert_eq!(identity.to_string().parse(), Ok(identity));
            }
        }
    }
}
