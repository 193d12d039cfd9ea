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
    /// A header of its own; `pseudo` is the sum of addresses and protocol.
    Tcp { pseudo: Sum },
    /// The same.
    Udp { pseudo: Sum },
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
        body.copy_from_slice(payload);
        let last = end == self.packet.len();
        match self.form {
            Form::Whole => {}
            Form::Unsummed(checksum) => fill_in(out, checksum, self.view.protocol == UDP),
            Form::Tcp { pseudo } => self.patch_tcp(out, pseudo, last),
            Form::Udp { pseudo } => self.patch_udp(out, pseudo),
        }
        self.at = end;
        self.index += 1;
        true
    }

    fn patch_tcp(&self, out: &mut [u8], pseudo: Sum, last: bool) {
        self.patch_ip(out);
        let Some(tcp) = out.get_mut(self.view.header_len..) else { return };
        let ahead = truncate_u32(self.index * self.step);
        let sequence = word(tcp, TCP_SEQUENCE).map_or(0, u32::from_be_bytes);
        put(tcp, TCP_SEQUENCE, sequence.wrapping_add(ahead).to_be_bytes());
        if let Some(flags) = tcp.get_mut(TCP_FLAGS) {
            if !last {
                *flags &= !(TCP_FIN | TCP_PSH);
            }
            if self.index > 0 {
                *flags &= !TCP_CWR;
            }
        }
        put(tcp, TCP_CHECKSUM, [0, 0]);
        let sum = pseudo.add_word(truncate_u16(tcp.len())) + Sum::of(tcp);
        put(tcp, TCP_CHECKSUM, sum.finish().to_be_bytes());
    }

    fn patch_udp(&self, out: &mut [u8], pseudo: Sum) {
        self.patch_ip(out);
        let Some(udp) = out.get_mut(self.view.header_len..) else { return };
        let len = truncate_u16(udp.len());
        put(udp, UDP_LENGTH, len.to_be_bytes());
        put(udp, UDP_CHECKSUM, [0, 0]);
        let sum = pseudo.add_word(len) + Sum::of(udp);
        put(udp, UDP_CHECKSUM, sum.finish_udp().to_be_bytes());
    }

    fn patch_ip(&self, out: &mut [u8]) {
        let total = out.len();
        match self.view.source {
            IpAddr::V4(_) => {
                let ip_len = out.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
                let Some(ip) = out.get_mut(..ip_len) else { return };
                put(ip, V4_LENGTH, truncate_u16(total).to_be_bytes());
                let first = word(ip, V4_ID).map_or(0, u16::from_be_bytes);
                let id = first.wrapping_add(truncate_u16(self.index));
                put(ip, V4_ID, id.to_be_bytes());
                put(ip, V4_CHECKSUM, [0, 0]);
                let sum = Sum::of(ip).finish();
                put(ip, V4_CHECKSUM, sum.to_be_bytes());
            }
            IpAddr::V6(_) => {
                let payload = total.saturating_sub(IPV6_LEN);
                put(out, V6_LENGTH, truncate_u16(payload).to_be_bytes());
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
    let agrees = family
        && view.protocol == protocol
        && view.fragment == Fragment::Whole
        && usize::from(checksum.start) == upper
        && usize::from(checksum.offset) == offset;
    if !agrees {
        return Err(DropReason::BadOffload);
    }
    let pseudo = pseudo(view, protocol);
    if protocol == UDP {
        return Ok((Form::Udp { pseudo }, upper + UDP_LEN));
    }
    let data = packet.get(upper + TCP_DATA_OFFSET).map_or(0, |octet| usize::from(octet >> 4) * 4);
    if data < TCP_MIN_LEN || upper + data > packet.len() {
        return Err(DropReason::BadOffload);
    }
    Ok((Form::Tcp { pseudo }, upper + data))
}

/// Completes a checksum whose field holds the sum of the pseudo-header.
fn fill_in(packet: &mut [u8], checksum: PartialChecksum, udp: bool) {
    let Some(upper) = packet.get_mut(usize::from(checksum.start)..) else { return };
    let sum = Sum::of(upper);
    let sum = if udp { sum.finish_udp() } else { sum.finish() };
    put(upper, usize::from(checksum.offset), sum.to_be_bytes());
}

/// The sum of the pseudo-header without the length.
fn pseudo(view: &View, protocol: u8) -> Sum {
    match (view.source, view.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            Sum::pseudo_v4(source.octets(), destination.octets(), protocol, 0)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Sum::pseudo_v6(source.octets(), destination.octets(), protocol, 0)
        }
        // A view has addresses of one family.
        _ => Sum::ZERO,
    }
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
