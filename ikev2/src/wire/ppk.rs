//! The name of a post-quantum pre-shared key, as PPK_IDENTITY has it (RFC 8784 §3, §5.1).
//!
//! ```text
//!   +---------------+-------------------------------+
//!   | 1 opaque      |  name ...                     |      a fixed name stands for a key that both sides were given
//!   | 2 fixed       |                               |
//!   +---------------+-------------------------------+
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
    fn what_is_not_printable_is_shown_in_hexadecimal() {
        assert_eq!(PpkId::fixed("berlin 1").to_string(), "berlin 1");
        assert_eq!(PpkId::fixed(vec![b'a', 0x1b]).to_string(), "0x611b");
    }
}
