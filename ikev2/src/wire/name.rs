//! Distinguished names (RFC 5280 §4.1.2.4): whom a certificate is about, and what ID_DER_ASN1_DN holds.
//!
//! ```text
//!   DER    SEQUENCE of SET of { type, value }           as it came; this is what goes out again
//!   text   C=CH, O=Example, CN=gw.example.com           in the order of the DER, as strongSwan and OpenSSL write it
//!   folded what two are compared by (RFC 5280 §7.1): the types, and of the values the text, in lower case, with single spaces
//! ```
//!
//! The encodings of text do not count: a PrintableString equals a UTF8String of the same letters. Values that are no text
//! count by their octets.

use std::fmt::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

use der::asn1::Any;
use der::{Decode, Encode, Tag, Tagged};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::{RdnSequence, RelativeDistinguishedName};

/// The name of somebody or something in a directory. Compares as RFC 5280 §7.1 says.
///
/// It may be empty, as the subject of a certificate with alternative names may; that is no identity.
#[derive(Clone)]
pub struct DistinguishedName(Arc<Inner>);

struct Inner {
    der: Vec<u8>,
    folded: Vec<u8>,
    text: String,
}

/// Text that is no distinguished name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a distinguished name such as `C=CH, O=Example, CN=gw.example.com`")]
pub struct NameError(pub String);

impl DistinguishedName {
    /// Reads DER. `None` if it is malformed or has octets behind it.
    #[must_use]
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let name = RdnSequence::from_der(der).ok()?;
        let folded = folded(&name);
        let text = shown(&name);
        Some(Self(Arc::new(Inner { der: der.to_vec(), folded, text })))
    }

    /// Its DER, as it came.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// Whether it names nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.folded.is_empty()
    }

    /// What comparison looks at.
    pub(crate) fn folded(&self) -> &[u8] {
        &self.0.folded
    }
}

/// Each value with its length before it, so that no two names fold to the same octets.
fn folded(name: &RdnSequence) -> Vec<u8> {
    let mut all = Vec::new();
    for part in name.iter() {
        let mut values: Vec<Vec<u8>> = part.iter().map(folded_value).collect();
        values.sort();
        put(&mut all, &values.concat());
    }
    all
}

fn folded_value(one: &AttributeTypeAndValue) -> Vec<u8> {
    let mut octets = Vec::new();
    put(&mut octets, one.oid.as_bytes());
    if let Some(text) = text_of(&one.value) {
        octets.push(1);
        let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
        put(&mut octets, words.join(" ").as_bytes());
    } else {
        octets.push(0);
        put(&mut octets, &one.value.to_der().unwrap_or_default());
    }
    octets
}

fn put(octets: &mut Vec<u8>, value: &[u8]) {
    octets.extend_from_slice(&value.len().to_be_bytes());
    octets.extend_from_slice(value);
}

/// The characters of a string, whatever its encoding. Of a TeletexString only what is ASCII: people disagree on the rest.
#[expect(clippy::wildcard_enum_match_arm, reason = "DER has thirty tags, few of them text")]
fn text_of(value: &Any) -> Option<String> {
    let octets = value.value();
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            String::from_utf8(octets.to_vec()).ok()
        }
        Tag::TeletexString if octets.is_ascii() => String::from_utf8(octets.to_vec()).ok(),
        Tag::BmpString => {
            let (pairs, []) = octets.as_chunks::<2>() else { return None };
            let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
            String::from_utf16(&units).ok()
        }
        _ => None,
    }
}

/// Control characters of any kind become `\` and hexadecimal digits, so that the text is one line of print.
fn shown(name: &RdnSequence) -> String {
    let mut text = String::new();
    for part in name.iter() {
        if !text.is_empty() {
            text.push_str(", ");
        }
        for c in part.to_string().chars() {
            if c.is_control() {
                let mut utf8 = [0; 4];
                for octet in c.encode_utf8(&mut utf8).bytes() {
                    let _infallible = write!(text, "\\{octet:02x}");
                }
            } else {
                text.push(c);
            }
        }
    }
    text
}

impl FromStr for DistinguishedName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = || NameError(text.into());
        let parts = parts(text).iter().map(|part| relative(part)).collect::<Option<Vec<_>>>();
        let name = RdnSequence::from(parts.ok_or_else(bad)?);
        let der = name.to_der().map_err(|_| bad())?;
        Self::from_der(&der).ok_or_else(bad)
    }
}

/// What stands between commas that have no `\` before them.
fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        if c == ',' && !escaped {
            parts.push(String::new());
            continue;
        }
        escaped = c == '\\' && !escaped;
        if let Some(part) = parts.last_mut()
            && !(part.is_empty() && c == ' ')
        {
            part.push(c);
        }
    }
    parts
}

fn relative(part: &str) -> Option<RelativeDistinguishedName> {
    let (kind, value) = part.split_once('=')?;
    let kind = match kind.trim() {
        kind if kind.eq_ignore_ascii_case("E") || kind.eq_ignore_ascii_case("email") => {
            "emailAddress"
        }
        kind => kind,
    };
    format!("{kind}={}", value.trim_start()).parse().ok()
}

impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "(no name)" } else { &self.0.text })
    }
}

impl fmt::Debug for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for DistinguishedName {
    fn eq(&self, other: &Self) -> bool {
        self.folded() == other.folded()
    }
}

impl Eq for DistinguishedName {}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DistinguishedName {
        text.parse().unwrap()
    }

    /// C=CH, O=Example, CN=gw, with these tags on the strings.
    fn der(tags: [u8; 3], texts: [&[u8]; 3]) -> Vec<u8> {
        let tlv =
            |tag: u8, value: &[u8]| [&[tag, u8::try_from(value.len()).unwrap()], value].concat();
        let parts = [6, 10, 3].into_iter().zip(tags).zip(texts).map(|((kind, tag), text)| {
            let value = [vec![6, 3, 0x55, 4, kind], tlv(tag, text)].concat();
            tlv(0x31, &tlv(0x30, &value))
        });
        tlv(0x30, &parts.collect::<Vec<_>>().concat())
    }

    #[test]
    fn text_and_der_say_the_same() {
        let read =
            DistinguishedName::from_der(&der([0x13, 0x0c, 0x0c], [b"CH", b"Example", b"gw"]));
        let read = read.unwrap();
        assert_eq!(read.to_string(), "C=CH, O=Example, CN=gw");
        assert_eq!(read, name("C=CH, O=Example, CN=gw"));
        assert_eq!(read.der(), name("C=CH,O=Example,CN=gw").der(), "as OpenSSL encodes it");
        assert_eq!(read.der(), der([0x13, 0x0c, 0x0c], [b"CH", b"Example", b"gw"]));
        assert_eq!(format!("{read:?}"), read.to_string());
        let teletex =
            |text| DistinguishedName::from_der(&der([0x13, 0x14, 0x0c], [b"CH", text, b"gw"]));
        assert_eq!(teletex(b"Example"), Some(read), "of that only ASCII is sure");
        let unsure = teletex("Exämple".as_bytes()).unwrap();
        assert_ne!(unsure, name("C=CH, O=Exämple, CN=gw"), "{unsure}");
        for text in ["E=ops@example.com", "CN=a\\, b", "OU=a+CN=b", "1.2.3.4=#0c0161", "CN=\u{fc}"]
        {
            assert_eq!(name(&name(text).to_string()), name(text), "{text}");
        }
        assert_eq!(name("E=ops@example.com"), name("emailAddress=ops@example.com"));
    }

    #[test]
    fn names_compare_as_people_read_them() {
        let [utf8, printable, ia5, bmp] = [
            der([0x0c; 3], [b"CH", b"Ex  ample ", b"gw"]),
            der([0x13; 3], [b"ch", b"ex ample", b"GW"]),
            der([0x16; 3], [b"CH", b" EX ample", b"gw"]),
            der([0x1e; 3], [b"\0C\0H", b"\0E\0x\0 \0a\0m\0p\0l\0e", b"\0g\0w"]),
        ]
        .map(|der| DistinguishedName::from_der(&der).unwrap());
        assert!(utf8 == printable && printable == ia5 && ia5 == bmp);
        for other in [
            "C=CH, CN=gw, O=Ex ample",
            "C=CH, O=Ex ample",
            "C=CH, O=Ex ample, CN=gw, CN=gw",
            "C=CH, O=Example, CN=gw",
            "C=CH, O=Ex ample+CN=gw",
            "C=CH, OU=Ex ample, CN=gw",
        ] {
            assert_ne!(utf8, name(other), "{other}");
        }
        assert_eq!(name("OU=a+CN=b"), name("CN=b+OU=a"), "a set has no order");
        // An octet string is no text, even if it has its letters.
        let raw = DistinguishedName::from_der(&der([4; 3], [b"CH", b"Ex ample", b"gw"])).unwrap();
        assert_ne!(raw, utf8);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let good = der([0x0c; 3], [b"CH", b"Example", b"gw"]);
        for at in 0..good.len() {
            assert!(DistinguishedName::from_der(&good[..at]).is_none());
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            let _any = DistinguishedName::from_der(&bad);
        }
        assert!(DistinguishedName::from_der(&[good, vec![0]].concat()).is_none());
        assert!(DistinguishedName::from_der(&[0x30, 0]).is_some_and(|name| name.is_empty()));
        for text in ["", "CN", "gw.example.com", "CN=a,,O=b", "nonsense=a", "CN=a, ="] {
            assert_eq!(text.parse::<DistinguishedName>(), Err(NameError(text.into())), "{text}");
        }
    }

    #[test]
    fn a_name_is_one_line_of_print() {
        let odd = der([0x0c; 3], ["\n\u{1b}[2J".as_bytes(), "\u{85}".as_bytes(), b"a, O=b"]);
        let shown = DistinguishedName::from_der(&odd).unwrap().to_string();
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        assert!(shown.ends_with("CN=a\\, O=b"), "{shown}");
    }
}
