//! The header that a TUN device puts before each packet when it does offloads (virtio 1.2 §5.1.6, `virtio_net_hdr`).
//!
//! ```text
//! 0       1          2         4          6            8             10
//! +-------+----------+---------+----------+------------+-------------+
//! | flags | GSO type | hdr len | GSO size | csum start | csum offset | IP packet, up to 64 KiB ..
//! +-------+----------+---------+----------+------------+-------------+
//!   1: checksum not filled in                |<- from here on, ^ and to here: what is left to sum up
//!            1, 4: TCP over IPv4, IPv6; 5: UDP; and 0x80: TCP with ECN
//!                                GSO size: octets of payload of each segment but the last
//! ```
//!
//! The numbers are in the order of the host: the device never says otherwise.

use crate::reason::DropReason;

/// Octets of the header.
pub const VNET_HEADER_LEN: usize = 10;

/// What the header says about the packet behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// Octets before the payload, as a hint: a receiver derives them from the packet itself.
    pub header_len: u16,
    /// A checksum that is not filled in yet.
    pub checksum: Option<PartialChecksum>,
    /// A packet of several segments.
    pub gso: Option<Gso>,
}

/// A checksum whose field holds the sum of the pseudo-header only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Where the summed octets begin: the upper-layer header. They end with the packet.
    pub start: u16,
    /// Where the field is, from there.
    pub offset: u16,
}

/// Generic segmentation offload: one large packet stands for many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// What is segmented.
    pub kind: GsoKind,
    /// Octets of payload of each segment but the last, which may be shorter; not 0.
    pub size: u16,
    /// TCP with ECN (RFC 3168 §6.1): CWR belongs to the first segment only.
    pub ecn: bool,
}

/// What is segmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GsoKind {
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP over either (USO): each segment is a datagram of its own.
    Udp,
}

impl VnetHeader {
    /// Reads a header.
    ///
    /// # Errors
    /// `BadOffload` for a kind of segmentation that was not asked for, or one without a size.
    pub fn parse(octets: &[u8; VNET_HEADER_LEN]) -> Result<Self, DropReason> {
        let [flags, kind, l0, l1, s0, s1, c0, c1, o0, o1] = *octets;
        let checksum = (flags & NEEDS_CSUM != 0).then_some(PartialChecksum {
            start: u16::from_ne_bytes([c0, c1]),
            offset: u16::from_ne_bytes([o0, o1]),
        });
        let gso_kind = match kind & !GSO_ECN {
            GSO_NONE => None,
            GSO_TCP_V4 => Some(GsoKind::TcpV4),
            GSO_TCP_V6 => Some(GsoKind::TcpV6),
            GSO_UDP_L4 => Some(GsoKind::Udp),
            _ => return Err(DropReason::BadOffload),
        };
        let size = u16::from_ne_bytes([s0, s1]);
        let gso = gso_kind.map(|kind_of| Gso { kind: kind_of, size, ecn: kind & GSO_ECN != 0 });
        if gso.is_some() && (size == 0 || checksum.is_none()) {
            return Err(DropReason::BadOffload);
        }
        Ok(Self { header_len: u16::from_ne_bytes([l0, l1]), checksum, gso })
    }

    /// The header's octets.
    #[must_use]
    pub fn emit(&self) -> [u8; VNET_HEADER_LEN] {
        let (flags, start, offset) = match self.checksum {
            None => (0, 0, 0),
            Some(PartialChecksum { start, offset }) => (NEEDS_CSUM, start, offset),
        };
        let (kind, size) = match self.gso {
            None => (GSO_NONE, 0),
            Some(Gso { kind, size, ecn }) => {
                let number = match kind {
                    GsoKind::TcpV4 => GSO_TCP_V4,
                    GsoKind::TcpV6 => GSO_TCP_V6,
                    GsoKind::Udp => GSO_UDP_L4,
                };
                (number | if ecn { GSO_ECN } else { 0 }, size)
            }
        };
        let [l0, l1] = self.header_len.to_ne_bytes();
        let [s0, s1] = size.to_ne_bytes();
        let [c0, c1] = start.to_ne_bytes();
        let [o0, o1] = offset.to_ne_bytes();
        [flags, kind, l0, l1, s0, s1, c0, c1, o0, o1]
    }
}

// virtio 1.2 §5.1.6.
const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCP_V4: u8 = 1;
const GSO_TCP_V6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_emitted_is_read_back() {
        let checksum = Some(PartialChecksum { start: 40, offset: 16 });
        for kind in [GsoKind::TcpV4, GsoKind::TcpV6, GsoKind::Udp] {
            for ecn in [false, true] {
                let gso = Some(Gso { kind, size: 1398, ecn });
                let header = VnetHeader { header_len: 72, checksum, gso };
                assert_eq!(VnetHeader::parse(&header.emit()), Ok(header));
            }
        }
        assert_eq!(VnetHeader::parse(&[0; VNET_HEADER_LEN]), Ok(VnetHeader::default()));
        assert_eq!(VnetHeader::default().emit(), [0; VNET_HEADER_LEN]);
    }

    #[test]
    fn what_nobody_asked_for_is_refused() {
        // 3 is UDP fragmentation offload, 6 does not exist; TCP without a size, and without a checksum to fill in.
        for (flags, kind, size) in [(1, 3, 100), (1, 6, 100), (1, 1, 0), (0, 1, 100_u8)] {
            let mut octets = [flags, kind, 0, 0, 0, 0, 20, 0, 16, 0];
            octets[4..6].copy_from_slice(&u16::from(size).to_ne_bytes());
            assert_eq!(VnetHeader::parse(&octets), Err(DropReason::BadOffload), "{kind} {size}");
        }
    }
}
