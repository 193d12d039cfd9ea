//! Outbound SA: from an inner IP packet to an ESP packet, in place (RFC 4303 §3.3, RFC 4301 §5.1).
//!
//! ```text
//! buffer before   | .. at least HEADROOM .. | inner packet | .. at least TAILROOM ..        |
//! buffer after    | .. | SPI | seq | IV     | inner packet | pad | pad len | nh | ICV | ..  |
//!                      |<----------------------- returned ------------------------->|
//! ```
//!
//! Five steps: view, selectors, room, number, seal. What can refuse a packet comes before the number is taken, so that
//! dropped packets leave no gap in the sequence.

use std::{fmt, num::NonZeroU32, ops::Range, sync::Arc};

use crate::{
    cipher::{Run, SealingKey},
    header::{self, Layout, Parts},
    ip::{Version, View},
    params::{KeyError, SaParams},
    reason::DropReason,
    selector::Selectors,
    sequence::{self, Sequence},
    suite::Suite,
};

/// Seals packets of one outbound SA. Owned by one worker; there is no way to copy it, for a copy would repeat nonces.
/// Several workers each own a [`share`](Self::share).
pub struct OutboundSa {
    key: Arc<SealingKey>,
    sequence: Sequence,
    layout: Layout,
    spi: NonZeroU32,
    esn: bool,
    selectors: Arc<Selectors>,
    suite: Suite,
}

impl OutboundSa {
    /// Expands the keys. The sequence starts at 1. `params.replay_window` is not used.
    ///
    /// # Errors
    /// [`KeyError`] if the suite is not supported or a key has the wrong size.
    pub fn new(params: SaParams<'_>) -> Result<Self, KeyError> {
        Ok(Self {
            key: Arc::new(SealingKey::new(params.suite, params.encr_key, params.integ_key)?),
            sequence: Sequence::new(params.esn),
            layout: Layout::of(params.suite),
            spi: params.spi,
            esn: params.esn,
            selectors: params.selectors,
            suite: params.suite,
        })
    }

    /// The same SA for another worker: it takes its numbers from the same counter, so that none is used twice. Packets of
    /// different workers may overtake one another, by a super-packet each; the receiver's replay window has to span that.
    #[must_use]
    pub fn share(&mut self) -> Self {
        Self {
            key: Arc::clone(&self.key),
            sequence: self.sequence.share(),
            layout: self.layout,
            spi: self.spi,
            esn: self.esn,
            selectors: Arc::clone(&self.selectors),
            suite: self.suite,
        }
    }

    /// Encapsulates one inner packet in place.
    ///
    /// `inner` is where the IP packet lies in `buffer`; octets of `inner` behind the packet's total length are not
    /// sent. [`HEADROOM`](crate::HEADROOM) octets before and [`TAILROOM`](crate::TAILROOM) octets behind it
    /// always suffice, and only as many as the suite needs are written. Returns where the ESP packet lies, from
    /// the SPI to the end of the ICV.
    ///
    /// # Errors
    /// `NotIp` or `SelectorMismatch` for the inner packet, `NoRoom`, `SequenceExhausted`. In all of these `buffer` is
    /// untouched and no sequence number is used up.
    pub fn encap(
        &mut self,
        buffer: &mut [u8],
        inner: Range<usize>,
    ) -> Result<Range<usize>, DropReason> {
        let octets = buffer.get(inner.clone()).ok_or(DropReason::NoRoom)?;
        let view = View::parse(octets).ok_or(DropReason::NotIp)?;
        self.admit(&view)?;
        let inner = inner.start..inner.start + view.total_len;
        let range = header::packet_range(self.layout, &inner, buffer.len())?;
        let packet = buffer.get_mut(range.clone()).ok_or(DropReason::NoRoom)?;
        let high = self.number(packet, view.total_len, view.version())?;
        self.key.seal(&mut Run::one(packet, &[high]))?;
        Ok(range)
    }

    /// Whether the packet may use the SA.
    pub(crate) fn admit(&self, view: &View) -> Result<(), DropReason> {
        if self.selectors.admit_outbound(view) { Ok(()) } else { Err(DropReason::SelectorMismatch) }
    }

    /// Where in its ESP packet an inner packet of `inner_len` octets lies.
    pub(crate) const fn inner_place(&self, inner_len: usize) -> Range<usize> {
        self.layout.front_len()..self.layout.front_len() + inner_len
    }

    /// Sees to it that the next `count` packets are numbered without a look at the other shares.
    pub(crate) fn reserve(&mut self, count: usize) {
        self.sequence.reserve(count as u64);
    }

    /// Numbers `packet`, of [`packet_len`](Self::packet_len) octets, in whose middle the inner packet lies already, and writes
    /// what is around it but the ICV. Returns what [`seal_run`](Self::seal_run) has to know of it.
    pub(crate) fn number(
        &mut self,
        packet: &mut [u8],
        inner_len: usize,
        version: Version,
    ) -> Result<Option<u32>, DropReason> {
        let parts = Parts::split(packet, self.layout).ok_or(DropReason::NoRoom)?;
        let number = self.sequence.advance()?;
        header::write_header(parts.header, self.spi.get(), sequence::low(number));
        self.key.write_iv(parts.iv, number);
        if let Some(trailer) = parts.body.get_mut(inner_len..) {
            header::write_trailer(trailer, version);
        }
        Ok(self.esn.then_some(sequence::high(number)))
    }

    /// Seals numbered packets behind one another, of `stride` octets each but the last.
    pub(crate) fn seal_run(
        &self,
        packets: &mut [u8],
        stride: usize,
        highs: &[Option<u32>],
    ) -> Result<(), DropReason> {
        self.key.seal(&mut Run::new(packets, stride, highs))
    }

    /// Encapsulates a copy of `inner` at the start of `out`, which needs [`packet_len`](Self::packet_len) octets.
    /// Returns the length of the ESP packet.
    ///
    /// # Errors
    /// As [`encap`](Self::encap). After an error the content of `out` is unspecified.
    pub fn encap_into(&mut self, inner: &[u8], out: &mut [u8]) -> Result<usize, DropReason> {
        let start = self.layout.front_len();
        let range = start..start + inner.len();
        out.get_mut(range.clone()).ok_or(DropReason::NoRoom)?.copy_from_slice(inner);
        self.encap(out, range).map(|packet| packet.len())
    }

    /// Octets of the ESP packet around an inner packet of `inner_len` octets.
    #[must_use]
    pub const fn packet_len(&self, inner_len: usize) -> usize {
        self.layout.packet_len(inner_len)
    }

    /// SPI on the wire.
    #[must_use]
    pub const fn spi(&self) -> NonZeroU32 {
        self.spi
    }

    /// Algorithms.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The last sequence number used, by any share; 0 before the first packet.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence.last()
    }
}

/// Without keys.
impl fmt::Debug for OutboundSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundSa")
            .field("spi", &self.spi)
            .field("suite", &self.suite)
            .field("esn", &self.esn)
            .field("sequence", &self.sequence())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
impl OutboundSa {
    /// Goes on after `last`, to reach the ends of the number space.
    pub(crate) fn skip_to(&mut self, last: u64) {
        self.sequence = Sequence::starting_after(last, self.esn);
    }
}
