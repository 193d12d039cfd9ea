//! Splitting: from one super-packet of a TUN device to the packets that it stands for.
//!
//! ```text
//! given     | IP | TCP, UDP |  payload of up to 64 KiB                        |    checksum not filled in
//!                           |<-- size -->|<-- size -->|<-- size -->|<- rest ->|
//! written   | IP | TCP |  0 |   | IP | TCP |  1 |   | IP | TCP |  2 |   ..         each whole, one after the other,
//!                                                                                  into the buffer that is sent
//! IPv4  total length, identification + n, header checksum      TCP  sequence number + n * size, no FIN and PSH but in the
//! IPv6  payload length                                              last one, CWR in the first one only, checksum
//!                                                              UDP  length, checksum
//! ```
//!
//! What the kernel does when a device cannot (RFC 9293, RFC 3168 §6.1 for CWR); here it is one pass over the payload on its
//! way into the send buffer. A packet that is no super-packet is one segment, whose checksum is filled in where it is left out.
//!
//! The addresses of the pseudo-header are never looked up: the checksum field holds their sum already, and they need not be those of
//! the IP header. The destination is the end of a Routing header (RFC 8200 §8.1) or source route (RFC 791 §3.1), the source may be a
//! home address (RFC 6275 §11.3.1). So does the kernel, too: it replaces the length alone.

use std::net::IpAddr;

use crate::{
    checksum::Sum,
    ip::{Fragment, View},
    reason::DropReason,
    vnet::{Gso, GsoKind, PartialChecksum, VnetHeader},
};

/// The segments of one packet, written out one by one.
#[derive(Debug)]
pub struct Segments<'p> {
    packet: &'p [u8],
    view: View,
    form: Form,
    /// Octets that are repeated before each payload.
    header_len: usize,
    /// Octets of payload of each segment but the last.
    step: usize,
    /// Where the payload of the next segment begins.
    at: usize,
    /// How many were written.
    index: usize,
}

/// What has to be done to a segment.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// Nothing: the packet is its only segment.
    Whole,
    /// The packet is its only segment and lacks a checksum.
    Unsummed(PartialChecksum),
    /// Headers of its own.
    Tcp(Fixed),
    /// The same.
    Udp(Fixed),
}

/// What the checksums of all segments have in common, so that each is a few additions and one pass over the payload: a header
/// that was just patched octet by octet is slow to be read again as words.
#[derive(Clone, Copy, Debug)]
struct Fixed {
    /// The IPv4 header but for total length, identification and checksum.
    ip: Sum,
    /// Pseudo-header and upper-layer header but for lengths, sequence number and flags.
    upper: Sum,
}

impl<'p> Segments<'p> {
    /// Looks at a packet and what its device says about it. Octets behind the packet's total length are ignored.
    ///
    /// # Errors
    /// `NotIp`, or `BadOffload` if the two contradict each other.
    pub fn new(vnet: &VnetHeader, packet: &'p [u8]) -> Result<Self, DropReason> {
        let view = View::parse(packet).ok_or(DropReason::NotIp)?;
        let packet = packet.get(..view.total_len).ok_or(DropReason::NotIp)?;
        let whole =
            |form| Self { packet, view, form, header_len: 0, step: packet.len(), at: 0, index: 0 };
        let Some(checksum) = vnet.checksum else { return Ok(whole(Form::Whole)) };
        let field = usize::from(checksum.start) + usize::from(checksum.offset);
        if usize::from(checksum.start) < IPV4_MIN_LEN || field + 2 > packet.len() {
            return Err(DropReason::BadOffload);
        }
        let Some(gso) = vnet.gso else { return Ok(whole(Form::Unsummed(checksum))) };
        let (form, header_len) = segmented(packet, &view, gso, checksum)?;
        if packet.len() <= header_len {
            return Ok(whole(Form::Unsummed(checksum)));
        }
        let step = usize::from(gso.size);
        Ok(Self { packet, view, form, header_len, step, at: header_len, index: 0 })
    }

    /// The packet as a whole; all segments share what selectors and policies look at.
    #[must_use]
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// How many segments there are in all, at least 1.
    #[must_use]
    pub const fn count(&self) -> usize {
        (self.packet.len() - self.header_len).div_ceil(self.step)
    }

    /// How many were not written yet.
    #[must_use]
    pub const fn left(&self) -> usize {
        (self.packet.len() - self.at).div_ceil(self.step)
    }

    /// Octets of all segments together, headers repeated.
    #[must_use]
    pub const fn octets(&self) -> usize {
        self.packet.len() + self.header_len * (self.count() - 1)
    }

    /// Octets of the next segment; `None` if all were written.
    #[must_use]
    pub fn next_len(&self) -> Option<usize> {
        let payload = self.packet.len() - self.at;
        (payload > 0).then(|| self.header_len + payload.min(self.step))
    }

    /// Writes the next segment into `out`, which has [`next_len`](Self::next_len) octets. False, and `out` is unspecified, if
    /// it has not, or if there is none.
    pub fn write_next(&mut self, out: &mut [u8]) -> bool {
        if self.next_len() != Some(out.len()) {
            return false;
        }
        let end = self.at + out.len() - self.header_len;
        let payload = self.packet.get(self.at..end);
        let (Some(header), Some(payload)) = (self.packet.get(..self.header_len), payload) else {
            return false;
        };
        let (head, body) = out.split_at_mut(self.header_len);
        head.copy_from_slice(header);
        match self.form {
            Form::Whole => body.copy_from_slice(payload),
            Form::Unsummed(checksum) => {
                body.copy_from_slice(payload);
                fill_in(out, checksum, self.view.protocol == UDP);
            }
            Form::Tcp(fixed) => {
                let sum = fixed.upper + Sum::copy(payload, body);
                self.patch_ip(head, payload.len(), fixed);
                self.patch_tcp(head, payload.len(), sum, end == self.packet.len());
            }
            Form::Udp(fixed) => {
                let sum = fixed.upper + Sum::copy(payload, body);
                self.patch_ip(head, payload.len(), fixed);
                self.patch_udp(head, payload.len(), sum);
            }
        }
        self.at = end;
        self.index += 1;
        true
    }

    /// `head` are the headers, before `payload_len` octets; `sum` is that of all octets but those that are written here.
    fn patch_tcp(&self, head: &mut [u8], payload_len: usize, sum: Sum, last: bool) {
        let Some(tcp) = head.get_mut(self.view.header_len..) else { return };
        let ahead = truncate_u32(self.index * self.step);
        let sequence = word(tcp, TCP_SEQUENCE).map_or(0, u32::from_be_bytes).wrapping_add(ahead);
        put(tcp, TCP_SEQUENCE, sequence.to_be_bytes());
        let [data, mut flags] = word(tcp, TCP_DATA_OFFSET).unwrap_or_default();
        if !last {
            flags &= !(TCP_FIN | TCP_PSH);
        }
        if self.index > 0 {
            flags &= !TCP_CWR;
        }
        put(tcp, TCP_FLAGS, [flags]);
        let len = truncate_u16(tcp.len() + payload_len);
        let sum = sum.add_word(len).add_words(sequence).add_word(u16::from_be_bytes([data, flags]));
        put(tcp, TCP_CHECKSUM, sum.finish().to_be_bytes());
    }

    /// The same.
    fn patch_udp(&self, head: &mut [u8], payload_len: usize, sum: Sum) {
        let Some(udp) = head.get_mut(self.view.header_len..) else { return };
        let len = truncate_u16(udp.len() + payload_len);
        put(udp, UDP_LENGTH, len.to_be_bytes());
        // Once of the header and once of the pseudo-header.
        let sum = sum.add_word(len).add_word(len);
        put(udp, UDP_CHECKSUM, sum.finish_udp().to_be_bytes());
    }

    fn patch_ip(&self, head: &mut [u8], payload_len: usize, fixed: Fixed) {
        let total = head.len() + payload_len;
        match self.view.source {
            IpAddr::V4(_) => {
                let len = truncate_u16(total);
                let first = word(head, V4_ID).map_or(0, u16::from_be_bytes);
                let id = first.wrapping_add(truncate_u16(self.index));
                put(head, V4_LENGTH, len.to_be_bytes());
                put(head, V4_ID, id.to_be_bytes());
                let sum = fixed.ip.add_word(len).add_word(id);
                put(head, V4_CHECKSUM, sum.finish().to_be_bytes());
            }
            IpAddr::V6(_) => {
                let payload = total.saturating_sub(IPV6_LEN);
                put(head, V6_LENGTH, truncate_u16(payload).to_be_bytes());
            }
        }
    }
}

/// Checks that a super-packet is what its device says; tells its form and how many octets its headers have.
fn segmented(
    packet: &[u8],
    view: &View,
    gso: Gso,
    checksum: PartialChecksum,
) -> Result<(Form, usize), DropReason> {
    let upper = view.header_len;
    let v4 = view.source.is_ipv4();
    let (protocol, family, offset) = match gso.kind {
        GsoKind::TcpV4 => (TCP, v4, TCP_CHECKSUM),
        GsoKind::TcpV6 => (TCP, !v4, TCP_CHECKSUM),
        GsoKind::Udp => (UDP, true, UDP_CHECKSUM),
    };
    let agrees = gso.size > 0
        && family
        && view.protocol == protocol
        && view.fragment == Fragment::Whole
        && usize::from(checksum.start) == upper
        && usize::from(checksum.offset) == offset;
    if !agrees {
        return Err(DropReason::BadOffload);
    }
    let header_len = if protocol == UDP {
        upper + UDP_LEN
    } else {
        let data =
            packet.get(upper + TCP_DATA_OFFSET).map_or(0, |octet| usize::from(octet >> 4) * 4);
        if data < TCP_MIN_LEN {
            return Err(DropReason::BadOffload);
        }
        upper + data
    };
    let fixed = packet.get(..header_len).and_then(|headers| Fixed::of(headers, packet.len(), view));
    let fixed = fixed.ok_or(DropReason::BadOffload)?;
    Ok((if protocol == UDP { Form::Udp(fixed) } else { Form::Tcp(fixed) }, header_len))
}

impl Fixed {
    /// Of the headers of a super-packet of `total` octets.
    fn of(headers: &[u8], total: usize, view: &View) -> Option<Self> {
        let (ip, upper) = headers.split_at_checked(view.header_len)?;
        let without = |octets: &[u8], places: &[usize]| {
            places.iter().try_fold(Sum::of(octets), |sum, place| {
                Some(sum - Sum::of(&word::<2>(octets, *place)?))
            })
        };
        let counts_on: &[usize] = if view.protocol == UDP {
            &[UDP_LENGTH]
        } else {
            &[TCP_SEQUENCE, TCP_SEQUENCE + 2, TCP_DATA_OFFSET]
        };
        // What the checksum field holds, the pseudo-header, has the length of the whole.
        let whole = Sum::ZERO.add_word(truncate_u16(total - view.header_len));
        Some(Self {
            ip: without(ip, &[V4_LENGTH, V4_ID, V4_CHECKSUM])?,
            upper: without(upper, counts_on)? - whole,
        })
    }
}

/// Completes a checksum whose field holds the sum of the pseudo-header.
fn fill_in(packet: &mut [u8], checksum: PartialChecksum, udp: bool) {
    let Some(upper) = packet.get_mut(usize::from(checksum.start)..) else { return };
    let sum = Sum::of(upper);
    let sum = if udp { sum.finish_udp() } else { sum.finish() };
    put(upper, usize::from(checksum.offset), sum.to_be_bytes());
}

pub(crate) fn put<const N: usize>(octets: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = octets.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<N>()) {
        *place = value;
    }
}

pub(crate) fn word<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..)?.first_chunk::<N>().copied()
}

#[expect(clippy::cast_possible_truncation, reason = "a packet has at most 65535 octets")]
pub(crate) const fn truncate_u16(number: usize) -> u16 {
    number as u16
}

#[expect(clippy::cast_possible_truncation, reason = "a place in a packet of 65535 octets")]
const fn truncate_u32(number: usize) -> u32 {
    number as u32
}

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const IPV4_MIN_LEN: usize = 20;
pub(crate) const IPV6_LEN: usize = 40;
pub(crate) const UDP_LEN: usize = 8;
pub(crate) const TCP_MIN_LEN: usize = 20;
// Places of fields, from the start of their header: RFC 791 §3.1, RFC 8200 §3, RFC 9293 §3.1, RFC 768.
pub(crate) const V4_LENGTH: usize = 2;
pub(crate) const V4_ID: usize = 4;
pub(crate) const V4_CHECKSUM: usize = 10;
pub(crate) const V6_LENGTH: usize = 4;
pub(crate) const TCP_SEQUENCE: usize = 4;
pub(crate) const TCP_DATA_OFFSET: usize = 12;
pub(crate) const TCP_FLAGS: usize = 13;
pub(crate) const TCP_CHECKSUM: usize = 16;
pub(crate) const UDP_LENGTH: usize = 4;
pub(crate) const UDP_CHECKSUM: usize = 6;
pub(crate) const TCP_FIN: u8 = 0x01;
pub(crate) const TCP_PSH: u8 = 0x08;
pub(crate) const TCP_ACK: u8 = 0x10;
pub(crate) const TCP_CWR: u8 = 0x80;

#[cfg(test)]
mod tests;
