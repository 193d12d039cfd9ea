//! Inner packets on their way to the TUN device: what belongs together is written at once.
//!
//! ```text
//!   inbox    | ESP | IP TCP payload | ICV | ESP | IP TCP payload | ICV | ..     opened where they lie
//!                    |____________|              |_____|
//!                                \______________ /                          one writev: vnet header, head, payloads
//!   TUN                 | vnet | IP TCP payload payload payload .. |
//! ```
//!
//! Where the kernel refuses a super-packet (some 6.6 kernels do) its packets are written one by one.

use std::io::{self, IoSlice};
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

use esp::ip::View;
use esp::{Coalescer, DropReason, Gathered, Mergeable, Segments, VNET_HEADER_LEN, VnetHeader};

use crate::dataplane::pump::Broken;
use crate::dataplane::sad::InboundTable;
use crate::dataplane::{Counters, IoLoss};
use crate::io::tun::Offloads;
use crate::io::{Tun, is_device_gone, is_transient};

/// Packets that wait to be written. Allocates when it is made and never again.
pub(super) struct Delivery {
    coalescer: Coalescer,
    writer: Writer,
}

/// The device, and room to take a super-packet apart.
struct Writer {
    tun: Arc<Tun>,
    counters: Arc<Counters>,
    whole: Box<[u8]>,
    part: Box<[u8]>,
}

impl Delivery {
    pub(super) fn new(tun: Arc<Tun>, counters: Arc<Counters>) -> Self {
        let offloads = tun.offloads();
        let mergeable = Mergeable {
            tcp_v4: offloads.has(Offloads::TCP_V4),
            tcp_v6: offloads.has(Offloads::TCP_V6),
            udp: offloads.has(Offloads::UDP),
        };
        let room = || vec![0; VNET_HEADER_LEN + PACKET_MAX].into_boxed_slice();
        let writer = Writer { tun, counters, whole: room(), part: room() };
        Self { coalescer: Coalescer::new(mergeable), writer }
    }

    /// Whether it has to be written before more can wait.
    pub(super) const fn is_full(&self) -> bool {
        self.coalescer.is_full()
    }

    /// The packet at `place`, which came on the SA with this SPI.
    pub(super) fn push(
        &mut self,
        buffer: &[u8],
        place: Range<usize>,
        view: &View,
        spi: NonZeroU32,
    ) {
        self.coalescer.push(buffer, place, view, spi.get());
    }

    /// Step 5: gives all that waits to the kernel and counts what became of it.
    pub(super) fn write(
        &mut self,
        buffer: &mut [u8],
        sas: &mut InboundTable,
    ) -> Result<(), Broken> {
        let mut result = Ok(());
        let writer = &mut self.writer;
        self.coalescer.drain(buffer, |one| {
            if result.is_ok() {
                result = writer.write(one, sas);
            }
        });
        result
    }
}

impl Writer {
    fn write(&mut self, one: &Gathered<'_>, sas: &mut InboundTable) -> Result<(), Broken> {
        let written = match self.gather(one) {
            // What fits no device as a whole does in parts.
            Err(error) if one.packets > 1 && error.kind() == io::ErrorKind::InvalidInput => {
                self.write_apart(one)
            }
            written => written,
        };
        let inbound = NonZeroU32::new(one.owner).and_then(|spi| sas.by_spi(spi));
        match written {
            Ok(()) => {
                if let Some(inbound) = inbound {
                    inbound.counters.delivered(one.packets, one.octets);
                    inbound.usage.delivered(one.packets, one.octets);
                }
                Ok(())
            }
            // Of a device that somebody removed, until control has made another one.
            Err(error) if is_transient(&error) || is_device_gone(&error) => {
                if let Some(inbound) = inbound {
                    inbound.counters.drop_some(DropReason::SendFailed, one.packets);
                }
                self.counters.lose_some(IoLoss::Device, one.packets);
                Ok(())
            }
            Err(cause) => Err(Broken { what: "write to the TUN device", cause }),
        }
    }

    /// One call for all parts, copied behind one another where there are many: the kernel takes longer over each piece of a
    /// vector than copying it here does.
    fn gather(&mut self, one: &Gathered<'_>) -> io::Result<()> {
        if one.packets == 1 {
            let mut parts = one.parts().map(IoSlice::new);
            let empty = || IoSlice::new(&[]);
            let pair = [parts.next().unwrap_or_else(empty), parts.next().unwrap_or_else(empty)];
            return self.tun.write(&pair);
        }
        let end = self.put_together(one);
        self.tun.write(&[IoSlice::new(self.whole.get(..end).unwrap_or_default())])
    }

    fn put_together(&mut self, one: &Gathered<'_>) -> usize {
        let mut end = 0;
        for part in one.parts() {
            let Some(place) = self.whole.get_mut(end..end + part.len()) else { break };
            place.copy_from_slice(part);
            end += part.len();
        }
        end
    }

    /// A call for each packet of a super-packet. The first error is the answer, and the others are tried all the same.
    fn write_apart(&mut self, one: &Gathered<'_>) -> io::Result<()> {
        let end = self.put_together(one);
        let bad = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let whole = self.whole.get(..end).unwrap_or_default();
        let (vnet, packet) =
            whole.split_first_chunk::<VNET_HEADER_LEN>().unwrap_or((&[0; 10], &[]));
        let mut segments =
            Segments::new(&VnetHeader::parse(vnet).map_err(bad)?, packet).map_err(bad)?;
        let mut result = Ok(());
        while let Some(part) = segments.next_len().and_then(|len| self.part.get_mut(..len)) {
            if !segments.write_next(part) {
                break;
            }
            let written =
                self.tun.write(&[IoSlice::new(&[0; VNET_HEADER_LEN]), IoSlice::new(part)]);
            result = result.and(written);
        }
        result
    }
}

/// The longest IP packet, in octets.
const PACKET_MAX: usize = 65_535;
