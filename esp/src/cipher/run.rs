//! Packets that are sealed together, as they lie in a train.
//!
//! ```text
//! packets   | stride | stride | stride | shorter |        ESP packets behind one another, only the last one may be shorter
//! highs     |  high  |  high  |  high  |  high   |        of each, the high half of its sequence number, with ESN
//! ```
//!
//! Ciphers whose blocks hang on one another, such as CBC, take the blocks of several packets at once. Eight are as many as
//! a core works on at the same time, and still lie in its nearest cache when the integrity algorithm comes.

/// Packets of the longest run.
pub(crate) const RUN: usize = 8;

/// At least one packet, none of them empty.
pub(crate) struct Run<'p> {
    packets: &'p mut [u8],
    stride: usize,
    highs: &'p [Option<u32>],
}

impl<'p> Run<'p> {
    /// `highs` has an entry for each packet.
    pub(crate) fn new(packets: &'p mut [u8], stride: usize, highs: &'p [Option<u32>]) -> Self {
        debug_assert_eq!(packets.len().div_ceil(stride.max(1)), highs.len());
        Self { packets, stride: stride.max(1), highs }
    }

    /// Of one packet.
    pub(crate) fn one(packet: &'p mut [u8], high: &'p [Option<u32>; 1]) -> Self {
        let stride = packet.len();
        Self::new(packet, stride, high)
    }

    /// Each packet with the high half of its number.
    pub(crate) fn iter(&mut self) -> impl Iterator<Item = (&mut [u8], Option<u32>)> {
        self.packets.chunks_mut(self.stride).zip(self.highs.iter().copied())
    }

    /// Each packet, in groups of at most [`RUN`] in a row.
    pub(crate) fn groups(&mut self) -> impl Iterator<Item = impl Iterator<Item = &mut [u8]>> {
        let stride = self.stride;
        self.packets.chunks_mut(stride * RUN).map(move |group| group.chunks_mut(stride))
    }
}
