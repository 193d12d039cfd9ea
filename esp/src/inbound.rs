//! Inbound SA: from an ESP packet to its inner IP packet, in place (RFC 4303 §3.4, RFC 4301 §5.2).
//!
//! ```text
//! packet before   | SPI | seq | IV | ..... encrypted ..... | ICV |
//! packet after    | SPI | seq | IV | inner packet | .....  | ICV |      returned: where the inner packet lies
//!
//! length, SPI -> replay check -> open -> replay commit -> trailer -> inner packet -> selectors
//!    free             free       costly   | the window has moved, whatever comes after
//! ```

use std::{fmt, num::NonZeroU32, ops::Range, sync::Arc};

use crate::{
    cipher::OpeningKey,
    header::{self, ESP_HEADER_LEN, Layout},
    ip::View,
    params::{KeyError, SaParams},
    reason::DropReason,
    replay::ReplayWindow,
    selector::Selectors,
    sequence,
    suite::Suite,
};

/// Opens packets of one inbound SA. Owned by one worker.
pub struct InboundSa {
    key: OpeningKey,
    window: ReplayWindow,
    layout: Layout,
    spi: NonZeroU32,
    esn: bool,
    selectors: Arc<Selectors>,
    suite: Suite,
}

impl InboundSa {
    /// Expands the keys and makes an empty replay window.
    ///
    /// # Errors
    /// [`KeyError`] if the suite is not supported, a key has the wrong size, or the window is out of bounds.
    pub fn new(params: SaParams<'_>) -> Result<Self, KeyError> {
        Ok(Self {
            key: OpeningKey::new(params.suite, params.encr_key, params.integ_key)?,
            window: ReplayWindow::new(params.replay_window, params.esn)?,
            layout: Layout::of(params.suite),
            spi: params.spi,
            esn: params.esn,
            selectors: params.selectors,
            suite: params.suite,
        })
    }

    /// Opens one ESP packet in place.
    ///
    /// `packet` is the UDP payload or the payload of IP protocol 50, from the SPI to the end of the ICV. Returns
    /// where the inner IP packet lies in it; TFC padding behind the inner packet is left out. On failure the
    /// octets of `packet` are unspecified.
    ///
    /// # Errors
    /// Before any cryptography, nothing has changed: `TooShort`, `BadLength`, `UnknownSpi`, `Replayed`, `TooOld`.
    /// From the cipher, nothing has changed: `BadIcv`.
    /// Authentic, so that the replay window has moved (RFC 4303 §3.4.3): `BadPadding`, `BadNextHeader`, `Dummy`,
    /// `NotIp`, `SelectorMismatch`.
    pub fn decap(&mut self, packet: &mut [u8]) -> Result<Range<usize>, DropReason> {
        self.decap_viewed(packet).map(|(place, _)| place)
    }

    /// The same, and what was read of the inner packet on the way.
    ///
    /// # Errors
    /// As [`decap`](Self::decap).
    pub fn decap_viewed(&mut self, packet: &mut [u8]) -> Result<(Range<usize>, View), DropReason> {
        let (spi, sequence_low) = header::read_header(packet).ok_or(DropReason::TooShort)?;
        if spi != self.spi.get() {
            return Err(DropReason::UnknownSpi);
        }
        self.layout.check_len(packet.len())?;
        let candidate = self.window.check(sequence_low)?;

        self.key.open(packet, self.esn.then_some(sequence::high(candidate.number())))?;
        self.window.commit(candidate)?;

        let start = ESP_HEADER_LEN + self.layout.iv_len;
        let body = packet.get(start..packet.len() - self.layout.icv_len).unwrap_or_default();
        let view = self.admit(body)?;
        Ok((start..start + view.total_len, view))
    }

    /// Checks trailer, inner packet and selectors of an authentic `body`; tells what the inner packet is.
    fn admit(&self, body: &[u8]) -> Result<View, DropReason> {
        let (payload_len, version) = header::read_trailer(body)?;
        let payload = body.get(..payload_len).unwrap_or_default();
        let view = View::parse(payload).ok_or(DropReason::NotIp)?;
        if view.version() != version {
            return Err(DropReason::BadNextHeader);
        }
        if !self.selectors.admit_inbound(&view) {
            return Err(DropReason::SelectorMismatch);
        }
        Ok(view)
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

    /// The highest authentic sequence number received; 0 before the first packet.
    #[must_use]
    pub const fn highest_sequence(&self) -> u64 {
        self.window.top()
    }
}

/// Without keys.
impl fmt::Debug for InboundSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundSa")
            .field("spi", &self.spi)
            .field("suite", &self.suite)
            .field("esn", &self.esn)
            .field("highest_sequence", &self.highest_sequence())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
impl InboundSa {
    /// All that a packet can change: what the window holds, to be compared.
    pub(crate) fn window(&self) -> String {
        format!("{:?}", self.window)
    }

    /// Receives `number`, however far ahead it is.
    pub(crate) fn skip_to(&mut self, number: u64) {
        self.window.skip_to(number);
    }
}
