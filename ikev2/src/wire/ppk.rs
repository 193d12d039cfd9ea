//! The name of a post-quantum pre-shared key, as PPK_IDENTITY and PPK_IDENTITY_KEY have it (RFC 8784 §3, §5.1; RFC 9867).
//!
//! ```text
//!   PPK_IDENTITY
//!   +---------------+-------------------------------+
//!   | 1 opaque      |  name ...                     |      a fixed name stands for a key that both sides were given
//!   | 2 fixed       |                               |
//!   +---------------+-------------------------------+
//!   PPK_IDENTITY_KEY
//!   +---------------+-------------------------------+---------------------+
//!   | 1 or 2        |  name ...                     |  confirmation, 8    |      whoever has the key can check that
//!   +---------------+-------------------------------+---------------------+
//! ```

use std::fmt;

use crate::registry::PpkIdType;

/// The name of a PPK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PpkId {
    /// Opaque or fixed.
    pub kind: PpkIdType,
    /// The name; RFC 8784 §5.1 recommends the characters of base64 for fixed ones.
    pub name: Vec<u8>,
}

impl PpkId {
    /// A fixed name.
    #[must_use]
    pub fn fixed(name: impl Into<Vec<u8>>) -> Self {
        Self { kind: PpkIdType::FIXED, name: name.into() }
    }

    /// A name that says nothing to others.
    #[must_use]
    pub fn opaque(name: impl Into<Vec<u8>>) -> Self {
        Self { kind: PpkIdType::OPAQUE, name: name.into() }
    }

    /// Reads notification data; `None` if it is empty.
    #[must_use]
    pub fn parse(data: &[u8]) -> Option<Self> {
        let (kind, name) = data.split_first()?;
        Some(Self { kind: PpkIdType(*kind), name: name.to_vec() })
    }

    /// Notification data.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        [&[self.kind.0], self.name.as_slice()].concat()
    }
}

/// The octets of the confirmation in PPK_IDENTITY_KEY.
pub const CONFIRMATION_LEN: usize = 8;

/// What PPK_IDENTITY_KEY says: the name of a key, and what shows that the sender has it (RFC 9867).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PpkIdentityKey {
    /// The name.
    pub id: PpkId,
    /// The first octets of the PPK Confirmation.
    pub confirmation: [u8; CONFIRMATION_LEN],
}

impl PpkIdentityKey {
    /// Reads notification data; `None` if it is too short for a name before the confirmation.
    #[must_use]
    pub fn parse(data: &[u8]) -> Option<Self> {
        let (id, confirmation) = data.split_last_chunk()?;
        Some(Self { id: PpkId::parse(id)?, confirmation: *confirmation })
    }

    /// Notification data.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        [self.id.emit().as_slice(), &self.confirmation].concat()
    }
}

/// The name as text, or in hexadecimal if it is not all printable ASCII.
impl fmt::Display for PpkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printable = self.name.iter().all(|octet| octet.is_ascii_graphic() || *octet == b' ');
        if printable {
            return f.write_str(&String::from_utf8_lossy(&self.name));
        }
        f.write_str("0x")?;
        self.name.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_octet_is_the_kind() {
        for (id, octets) in [
            (PpkId::opaque("a"), b"\x01a".as_slice()),
            (PpkId::fixed("berlin"), b"\x02berlin"),
            (PpkId::fixed(""), b"\x02"),
            (PpkId { kind: PpkIdType(200), name: vec![0, 255] }, b"\xc8\x00\xff"),
        ] {
            assert_eq!(id.emit(), octets);
            assert_eq!(PpkId::parse(octets), Some(id));
        }
        assert_eq!(PpkId::parse(b""), None);
    }

    #[test]
    fn the_confirmation_is_at_the_end() {
        let octets = b"\x02berlin\x01\x02\x03\x04\x05\x06\x07\x08";
        let both =
            PpkIdentityKey { id: PpkId::fixed("berlin"), confirmation: [1, 2, 3, 4, 5, 6, 7, 8] };
        assert_eq!(both.emit(), octets);
        assert_eq!(PpkIdentityKey::parse(octets), Some(both));
        assert_eq!(PpkIdentityKey::parse(&octets[..8]), None);
        assert_eq!(PpkIdentityKey::parse(b""), None);
        let nameless = PpkIdentityKey::parse(&octets[6..]).unwrap();
        assert_eq!((nameless.id.kind.0, nameless.id.name.len()), (b'n', 0));
    }

    #[test]
    fn what_is_not_printable_is_shown_in_hexadecimal() {
        assert_eq!(PpkId::fixed("berlin 1").to_string(), "berlin 1");
        assert_eq!(PpkId::fixed(vec![b'a', 0x1b]).to_string(), "0x611b");
    }
}
