//! ESP header and trailer layout (RFC 4303 §2) for the suites of this crate.
//!
//! ```text
//! 0       4          8      8+iv                                           len-icv     len
//! +-------+----------+------+---------------------------------------------+-----------+
//! | SPI   | Seq, low | IV   | inner packet | TFC pad | 1 2 3 .. | pl | nh |    ICV    |
//! +-------+----------+------+---------------------------------------------+-----------+
//!                           |<---- encrypted, a multiple of `block` ----->|
//!                                          pl: pad length, nh: next header
//! ```
//!
//! Pad rule (§2.4): the least padding that makes inner packet + 2 octets a multiple of the block, octets 1, 2, 3 ..
//! We send no TFC padding (§2.7) and skip what a peer sends: the total length of the inner packet says where it ends.

use std::ops::Range;

use crate::{ip::Version, reason::DropReason, suite::Suite};

/// Room that sealing needs before an inner packet: SPI, sequence number and the longest IV, 24 octets.
pub const HEADROOM: usize = ESP_HEADER_LEN + 16;

/// Room that sealing needs behind an inner packet: padding, pad length, next header and the longest ICV, 49 octets.
pub const TAILROOM: usize = 15 + TRAILER_LEN + 32;

/// SPI and sequence number.
pub(crate) const ESP_HEADER_LEN: usize = 8;

/// Pad length and next header.
pub(crate) const TRAILER_LEN: usize = 2;

/// Lengths of the parts around an inner packet, in octets; fixed for an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "`_len` is the unit: octets")]
pub(crate) struct Layout {
    pub(crate) iv_len: usize,
    pub(crate) icv_len: usize,
    pub(crate) block_len: usize,
}

impl Layout {
    pub(crate) const fn of(suite: Suite) -> Self {
        Self { iv_len: suite.iv_len(), icv_len: suite.icv_len(), block_len: suite.block_len() }
    }

    /// Octets before the inner packet.
    pub(crate) const fn front_len(self) -> usize {
        ESP_HEADER_LEN + self.iv_len
    }

    /// Octets of padding behind an inner packet of `inner_len` octets.
    pub(crate) const fn pad_len(self, inner_len: usize) -> usize {
        (inner_len + TRAILER_LEN).next_multiple_of(self.block_len) - inner_len - TRAILER_LEN
    }

    /// Octets behind an inner packet of `inner_len` octets: padding, trailer, ICV.
    pub(crate) const fn back_len(self, inner_len: usize) -> usize {
        self.pad_len(inner_len) + TRAILER_LEN + self.icv_len
    }

    /// Octets of the whole ESP packet around an inner packet of `inner_len` octets.
    pub(crate) const fn packet_len(self, inner_len: usize) -> usize {
        self.front_len() + inner_len + self.back_len(inner_len)
    }

    /// Checks that `packet_len` leaves a whole number of blocks, at least one, between IV and ICV.
    pub(crate) const fn check_len(self, packet_len: usize) -> Result<(), DropReason> {
        let Some(body_len) = packet_len.checked_sub(self.front_len() + self.icv_len) else {
            return Err(DropReason::TooShort);
        };
        match body_len {
            0 => Err(DropReason::TooShort),
            _ if body_len.is_multiple_of(self.block_len) => Ok(()),
            _ => Err(DropReason::BadLength),
        }
    }
}

/// The parts of one ESP packet; borrowed from the packet, one behind the other.
pub(crate) struct Parts<'p> {
    /// SPI and the low half of the sequence number.
    pub(crate) header: &'p mut [u8; ESP_HEADER_LEN],
    pub(crate) iv: &'p mut [u8],
    /// What is encrypted: inner packet, padding, trailer.
    pub(crate) body: &'p mut [u8],
    pub(crate) icv: &'p mut [u8],
}

impl<'p> Parts<'p> {
    /// Splits a packet. `None` if it is shorter than header, IV and ICV.
    pub(crate) fn split(packet: &'p mut [u8], layout: Layout) -> Option<Self> {
        let (header, rest) = packet.split_first_chunk_mut()?;
        let (iv, rest) = rest.split_at_mut_checked(layout.iv_len)?;
        let body_len = rest.len().checked_sub(layout.icv_len)?;
        let (body, icv) = rest.split_at_mut_checked(body_len)?;
        Some(Self { header, iv, body, icv })
    }
}

/// Reads SPI and sequence number. `None` if the packet is shorter than they are.
pub(crate) fn read_header(packet: &[u8]) -> Option<(u32, u32)> {
    let (spi, rest) = packet.split_first_chunk()?;
    let sequence_low = rest.first_chunk()?;
    Some((u32::from_be_bytes(*spi), u32::from_be_bytes(*sequence_low)))
}

/// Writes SPI and the low half of the sequence number.
pub(crate) fn write_header(header: &mut [u8; ESP_HEADER_LEN], spi: u32, sequence_low: u32) {
    let (spi_octets, sequence_octets) = header.split_at_mut(4);
    spi_octets.copy_from_slice(&spi.to_be_bytes());
    sequence_octets.copy_from_slice(&sequence_low.to_be_bytes());
}

/// Fills `trailer`, the octets from the end of the inner packet to the ICV: at least 2, at most 257.
pub(crate) fn write_trailer(trailer: &mut [u8], version: Version) {
    let Some((padding, [pad_len, next_header])) = trailer.split_last_chunk_mut() else { return };
    *pad_len = 0;
    for (octet, number) in padding.iter_mut().zip(1..=u8::MAX) {
        *octet = number;
        *pad_len = number;
    }
    *next_header = version.next_header();
}

/// Checks the trailer of an opened `body` and tells how many octets come before its padding, and the version
/// that the next header announces.
pub(crate) fn read_trailer(body: &[u8]) -> Result<(usize, Version), DropReason> {
    let (rest, &[pad_len, next_header]) = body.split_last_chunk().ok_or(DropReason::TooShort)?;
    let payload_len = rest.len().checked_sub(usize::from(pad_len)).ok_or(DropReason::BadPadding)?;
    // §2.4: the receiver SHOULD inspect the padding. It is authentic, so this finds faulty peers, not attackers.
    let padding = rest.get(payload_len..).unwrap_or_default();
    if !padding.iter().copied().eq(1..=pad_len) {
        return Err(DropReason::BadPadding);
    }
    match next_header {
        NEXT_HEADER_V4 => Ok((payload_len, Version::V4)),
        NEXT_HEADER_V6 => Ok((payload_len, Version::V6)),
        NEXT_HEADER_NONE => Err(DropReason::Dummy),
        _ => Err(DropReason::BadNextHeader),
    }
}

impl Version {
    const fn next_header(self) -> u8 {
        match self {
            Self::V4 => NEXT_HEADER_V4,
            Self::V6 => NEXT_HEADER_V6,
        }
    }
}

/// Range of an ESP packet around `inner` in a buffer of `buffer_len` octets, or `NoRoom`.
pub(crate) fn packet_range(
    layout: Layout,
    inner: &Range<usize>,
    buffer_len: usize,
) -> Result<Range<usize>, DropReason> {
    let start = inner.start.checked_sub(layout.front_len()).ok_or(DropReason::NoRoom)?;
    let end = start + layout.packet_len(inner.len());
    if end > buffer_len { Err(DropReason::NoRoom) } else { Ok(start..end) }
}

/// IPv4 in tunnel mode (IANA protocol number 4).
const NEXT_HEADER_V4: u8 = 4;
/// IPv6 in tunnel mode.
const NEXT_HEADER_V6: u8 = 41;
/// Dummy packet (RFC 4303 §2.6).
const NEXT_HEADER_NONE: u8 = 59;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{Aead, AesKey, Cipher, Integrity};

    const GCM: Layout = Layout::of(Suite::Combined(Aead::AesGcm16(AesKey::Bits128)));
    const CBC: Layout =
        Layout::of(Suite::Separate(Cipher::AesCbc(AesKey::Bits128), Integrity::HmacSha2_512_256));

    #[test]
    fn padding_is_the_least_that_fills_a_block() {
        for layout in [GCM, CBC] {
            for inner_len in 0..100 {
                let pad_len = layout.pad_len(inner_len);
                assert!(pad_len < layout.block_len);
                assert_eq!((inner_len + pad_len + 2) % layout.block_len, 0, "{inner_len}");
                assert_eq!(layout.check_len(layout.packet_len(inner_len)), Ok(()));
                assert!(layout.front_len() <= HEADROOM && layout.back_len(inner_len) <= TAILROOM);
            }
        }
        assert_eq!(CBC.back_len(15), TAILROOM);
        assert_eq!(CBC.front_len(), HEADROOM);
    }

    #[test]
    fn lengths_that_no_sender_makes_are_refused() {
        assert_eq!(GCM.check_len(0), Err(DropReason::TooShort));
        assert_eq!(GCM.check_len(32), Err(DropReason::TooShort));
        assert_eq!(GCM.check_len(33), Err(DropReason::BadLength));
        assert_eq!(GCM.check_len(36), Ok(()));
        assert_eq!(CBC.check_len(24 + 32), Err(DropReason::TooShort));
        assert_eq!(CBC.check_len(24 + 32 + 4), Err(DropReason::BadLength));
        assert_eq!(CBC.check_len(24 + 32 + 16), Ok(()));
    }

    #[test]
    fn trailer_reads_back() {
        for pad in 0..=255_usize {
            let mut body = vec![0xaa; 7 + pad + 2];
            write_trailer(&mut body[7..], Version::V6);
            assert_eq!(read_trailer(&body), Ok((7, Version::V6)), "{pad}");
            assert_eq!(body.last(), Some(&41), "IPv6, as IANA numbers it");
        }
    }

    #[test]
    fn faulty_trailers_are_refused() {
        assert_eq!(read_trailer(&[]), Err(DropReason::TooShort));
        assert_eq!(read_trailer(&[4]), Err(DropReason::TooShort));
        assert_eq!(read_trailer(&[0, 4]), Ok((0, Version::V4)));
        assert_eq!(read_trailer(&[0, 41]), Ok((0, Version::V6)));
        assert_eq!(read_trailer(&[1, 4]), Err(DropReason::BadPadding));
        assert_eq!(read_trailer(&[1, 2, 3, 4, 4]), Err(DropReason::BadPadding));
        assert_eq!(read_trailer(&[1, 3, 2, 4]), Err(DropReason::BadPadding));
        assert_eq!(read_trailer(&[0, 1, 2, 4]), Err(DropReason::BadPadding));
        assert_eq!(read_trailer(&[1, 2, 2, 59]), Err(DropReason::Dummy));
        assert_eq!(read_trailer(&[1, 2, 2, 6]), Err(DropReason::BadNextHeader));
    }
}
