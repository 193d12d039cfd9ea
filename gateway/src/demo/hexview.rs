//! Two packets side by side in hexadecimal: what a host has sent, and what the internet has seen of it.
//!
//! ```text
//!   45 00 00 54 1f 3a 40 00 E..T.:@.   c1 a2 00 01 00 00 00 01 ........ SPI, seq
//!   40 01 05 6b 0a 01 00 02 @..k....   00 00 00 00 00 00 00 01 ........ IV
//! ```
//!
//! Eight octets a row make the rows of ESP speak for themselves (RFC 4303 §2, RFC 4106 §3): header, IV, the rest.

use std::fmt::Write as _;

/// Rows of at most `rows` times 8 octets of both packets, ESP on the right, each at most 76 columns.
pub(super) fn side_by_side(clear: &[u8], esp: &[u8], rows: usize) -> Vec<String> {
    let mut clear = clear.chunks(OCTETS);
    let mut esp = esp.chunks(OCTETS);
    let mut lines = Vec::new();
    while lines.len() < rows {
        let (left, right) = (clear.next(), esp.next());
        if left.is_none() && right.is_none() {
            break;
        }
        let note = NOTES.get(lines.len()).filter(|_| right.is_some()).copied().unwrap_or_default();
        let (left, right) = (row(left.unwrap_or_default()), row(right.unwrap_or_default()));
        lines.push(format!("{left}   {right} {note}").trim_end().to_owned());
    }
    lines
}

/// What the rows of an ESP packet with an 8 octet IV are.
const NOTES: [&str; 3] = ["SPI, seq", "IV", "sealed"];

fn row(octets: &[u8]) -> String {
    let mut hex = String::new();
    let mut text = String::new();
    for octet in octets {
        let _ = write!(hex, "{octet:02x} "); // writing to a string cannot fail
        let printable = octet.is_ascii_graphic() || *octet == b' ';
        text.push(if printable { char::from(*octet) } else { '.' });
    }
    format!("{hex:<24}{text:<8}")
}

const OCTETS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_aligned_and_end_with_the_longer_packet() {
        let lines = side_by_side(b"Hi there, all", &[0xff; 25], 9);
        assert_eq!(
            lines,
            [
                "48 69 20 74 68 65 72 65 Hi there   ff ff ff ff ff ff ff ff ........ SPI, seq",
                "2c 20 61 6c 6c          , all      ff ff ff ff ff ff ff ff ........ IV",
                "                                   ff ff ff ff ff ff ff ff ........ sealed",
                "                                   ff                      .",
            ]
        );
        assert_eq!(
            side_by_side(b"Hi", &[], 2),
            ["48 69                   Hi"],
            "no notes on nothing"
        );
        assert_eq!(side_by_side(&[0; 80], &[0; 80], 2).len(), 2);
        assert_eq!(side_by_side(&[], &[], 2), [""; 0]);
    }
}
