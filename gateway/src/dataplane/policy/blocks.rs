//! Ranges of addresses as blocks that a hash table can hold.
//!
//! ```text
//!   range                      size   blocks of its size
//!   10.2.0.0  - 10.2.255.255   /16    10.2.0.0/16                      a prefix is its own block
//!   10.0.0.1  - 10.0.0.3       /30    10.0.0.0/30                      no prefix: the block holds more than the range
//!   10.0.0.3  - 10.0.0.5       /30    10.0.0.0/30, 10.0.0.4/30         or it takes two, never more
//! ```
//!
//! The size of a range is that of the smallest prefix that holds as many addresses. Such a range has at most as many addresses
//! as a block of its size, and so touches at most two that lie side by side, wherever it starts. What is entered under
//! its blocks is found from each of its addresses by one look per size, and then compared with the range itself: the
//! exact prefixes that make up a range, up to 62 for IPv4 and 254 for IPv6, are never needed.

use std::net::IpAddr;

use esp::Selector;

/// A range of addresses of one family, not empty. Addresses are numbers; those of IPv4 fill the lower 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    start: u128,
    end: u128,
    width: u32,
}

impl Span {
    /// The addresses of `selector`. `None` if it holds none: its end lies before its start, or is of another family.
    pub(super) fn of(selector: &Selector) -> Option<Self> {
        let (start, end, width) = match (selector.start, selector.end) {
            (IpAddr::V4(start), IpAddr::V4(end)) => {
                (start.to_bits().into(), end.to_bits().into(), u32::BITS)
            }
            (IpAddr::V6(start), IpAddr::V6(end)) => (start.to_bits(), end.to_bits(), u128::BITS),
            _ => return None,
        };
        (start <= end).then_some(Self { start, end, width })
    }

    /// Whether these are IPv4 addresses.
    pub(super) const fn is_v4(&self) -> bool {
        self.width == u32::BITS
    }

    /// The logarithm of the number of addresses, rounded up: 0 for one address, 8 for an IPv4 /24, 128 for all of IPv6.
    pub(super) const fn magnitude(&self) -> u32 {
        u128::BITS - (self.end - self.start).leading_zeros()
    }

    /// The blocks of 2^[`magnitude`](Self::magnitude) addresses that the range touches: one, or two side by side.
    pub(super) fn blocks(&self) -> impl Iterator<Item = u128> + use<> {
        let magnitude = self.magnitude();
        let (first, last) = (block(self.start, magnitude), block(self.end, magnitude));
        std::iter::once(first).chain((last != first).then_some(last))
    }
}

/// The number of the block of 2^`magnitude` addresses that `address` lies in.
pub(super) const fn block(address: u128, magnitude: u32) -> u128 {
    // All of IPv6 is one block, and a shift by the whole width is none.
    match address.checked_shr(magnitude) {
        Some(block) => block,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span(start: &str, end: &str) -> Option<Span> {
        Span::of(&Selector::addresses(start.parse().unwrap(), end.parse().unwrap()))
    }

    #[test]
    fn the_size_of_a_range_is_a_prefix_length() {
        let cases = [
            ("0.0.0.0", "255.255.255.255", Some(0)),
            ("10.0.0.0", "10.255.255.255", Some(8)),
            ("10.0.0.0", "10.0.0.0", Some(32)),
            ("10.0.0.1", "10.0.0.3", Some(30)),
            ("10.0.0.0", "10.0.0.4", Some(29)),
            ("10.0.0.1", "10.0.0.0", None),
            ("10.0.0.1", "::2", None),
            ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(0)),
            ("2001:db8::", "2001:db8:0:ffff:ffff:ffff:ffff:ffff", Some(48)),
            ("::1", "::1", Some(128)),
        ];
        for (start, end, bits) in cases {
            let span = span(start, end);
            let length = span.map(|span| if span.is_v4() { 32 } else { 128 } - span.magnitude());
            assert_eq!(length, bits, "{start} - {end}");
        }
    }

    #[test]
    fn a_prefix_is_one_block_and_any_other_range_is_one_or_two() {
        for (start, end, blocks) in [
            ("10.2.0.0", "10.2.255.255", vec![0x0a02]),
            ("10.0.0.1", "10.0.0.3", vec![0x0a00_0000 >> 2]),
            ("10.0.0.3", "10.0.0.5", vec![0x0a00_0000 >> 2, 0x0a00_0004 >> 2]),
            ("10.0.127.255", "10.0.128.0", vec![0x0a00_7fff >> 1, 0x0a00_8000 >> 1]),
            ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", vec![0]),
            ("::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", vec![0]),
            ("7fff::", "8000::", vec![0x3fff, 0x4000]),
        ] {
            assert_eq!(
                span(start, end).unwrap().blocks().collect::<Vec<_>>(),
                blocks,
                "{start} - {end}"
            );
        }
    }

    proptest! {
        /// Else a packet would not find what its address lies in.
        #[test]
        fn every_address_of_a_range_lies_in_one_of_its_blocks(
            start: u128, steps: u128, shift in 0_u32..128, at: u128, v4: bool,
        ) {
            let width = if v4 { u32::BITS } else { u128::BITS };
            let top = u128::MAX >> (u128::BITS - width);
            let start = start & top;
            let end = start.saturating_add(steps >> shift).min(top);
            let span = Span { start, end, width };
            let inside = start + (end - start).checked_add(1).map_or(at, |count| at % count);
            let blocks: Vec<u128> = span.blocks().collect();
            for address in [start, inside, end] {
                prop_assert!(blocks.contains(&block(address, span.magnitude())));
            }
        }
    }
}
