//! Merging: from the packets of one receive buffer to the super-packets that a TUN device takes in one write.
//!
//! ```text
//! buffer    | ESP | IP TCP payload 0 | ICV | ESP | IP TCP payload 1 | ICV | ESP | IP TCP payload 2 | ..      opened where they lie
//!                   ^--------------^                      ^-------^                      ^-------^
//! gathered  vnet  + head, with its payload   +            piece    +                     piece                no octet is moved
//! ```
//!
//! Merged is what the kernel's own GRO would merge, and what splits into the same packets again: neighbours of one TCP
//! connection or of one UDP flow whose headers differ in nothing but numbers that count on, with right checksums, of the IPv4
//! header, too (a wrong one would come out right: such a packet goes on alone, as it is, and who receives it drops it). Order
//! within a flow is kept: a packet is merged into the newest super-packet of its flow or begins one, and they are written in the
//! order of their heads.

use std::{net::IpAddr, ops::Range};

use crate::{
    checksum::Sum,
    ip::{Fragment, View},
    segment::{
        IPV4_MIN_LEN, IPV6_LEN, TCP, TCP_ACK, TCP_CHECKSUM, TCP_DATA_OFFSET, TCP_FLAGS,
        TCP_MIN_LEN, TCP_PSH, TCP_SEQUENCE, UDP, UDP_CHECKSUM, UDP_LEN, UDP_LENGTH, V4_CHECKSUM,
        V4_ID, V4_LENGTH, V6_LENGTH, put, truncate_u16, word,
    },
    vnet::{Gso, GsoKind, PartialChecksum, VNET_HEADER_LEN, VnetHeader},
};

/// What the device takes as super-packets; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mergeable {
    /// TCP over IPv4.
    pub tcp_v4: bool,
    /// TCP over IPv6.
    pub tcp_v6: bool,
    /// UDP over either.
    pub udp: bool,
}

/// Collects the packets of one buffer. Allocates when it is made and never again.
#[derive(Debug)]
pub struct Coalescer {
    mergeable: Mergeable,
    supers: Vec<Super>,
    pieces: Vec<Piece>,
    /// The newest super-packet of each flow, by a hash of it: position plus one. A flow that lost its place to another one
    /// begins a new super-packet, no more.
    newest: [u16; FLOWS],
}

/// One packet, or several that became one.
#[derive(Clone, Copy, Debug)]
struct Super {
    /// Whose they are, in the caller's terms.
    owner: u32,
    /// The first packet in the buffer, headers and payload.
    start: usize,
    len: usize,
    /// What a further packet has to be like; `None` if there can be none.
    flow: Option<Flow>,
    /// The first and the last of the payloads behind the head, plus one.
    first: u16,
    last: u16,
    /// Packets, and octets of all of them with their headers.
    packets: u16,
    octets: usize,
    /// Octets of the whole.
    total: usize,
}

/// What the packets of a super-packet have in common, and where they are.
#[derive(Clone, Copy, Debug)]
struct Flow {
    kind: GsoKind,
    /// Where the upper-layer header and where the payload begin.
    upper: usize,
    header_len: usize,
    /// Octets of payload of each packet but the last.
    size: usize,
    /// The next TCP sequence number.
    sequence: u32,
    /// What IPv4 identifications count by; not known yet with one packet.
    id_step: Option<u16>,
    /// The head's checksums were found right.
    summed: bool,
    /// The last packet has PSH.
    push: bool,
    /// Nothing may follow: the last packet was shorter, or has PSH.
    closed: bool,
}

/// A payload, and the one behind it, plus one.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: usize,
    len: usize,
    next: u16,
}

/// One packet to be written, gathered.
#[derive(Debug)]
pub struct Gathered<'b> {
    /// What [`Coalescer::push`] was told.
    pub owner: u32,
    /// How many packets it stands for.
    pub packets: usize,
    /// Octets of these packets.
    pub octets: usize,
    vnet: [u8; VNET_HEADER_LEN],
    head: &'b [u8],
    buffer: &'b [u8],
    pieces: &'b [Piece],
    first: u16,
}

impl Coalescer {
    /// Takes [`CAPACITY`](Self::CAPACITY) packets at a time.
    #[must_use]
    pub fn new(mergeable: Mergeable) -> Self {
        let (supers, pieces) =
            (Vec::with_capacity(Self::CAPACITY), Vec::with_capacity(Self::CAPACITY));
        Self { mergeable, supers, pieces, newest: [0; FLOWS] }
    }

    /// Packets between two [`drain`](Self::drain)s.
    pub const CAPACITY: usize = 1024;

    /// Whether it holds as many packets as it can.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.supers.len() + self.pieces.len() >= Self::CAPACITY
    }

    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.supers.is_empty()
    }

    /// Takes the packet at `place` in `buffer`, of which `view` was made; `owner` comes back with it, and packets of different
    /// owners are never merged. Packets have to be pushed in the order in which they lie in the buffer and were received.
    /// False if it [is full](Self::is_full): drain first.
    pub fn push(&mut self, buffer: &[u8], place: Range<usize>, view: &View, owner: u32) -> bool {
        if self.is_full() {
            return false;
        }
        let Some(packet) = buffer.get(place.clone()) else { return true };
        if view.is_fragment() {
            // It may belong to any flow between these hosts, and none may overtake it.
            self.newest = [0; FLOWS];
        }
        let slot = flow_slot(view);
        let flow = self.flow(packet, view);
        if let (Some(flow), Some(newest)) = (&flow, self.newest(slot))
            && self.merge(newest, (buffer, packet, place.start), flow, owner)
        {
            return true;
        }
        let (start, len) = (place.start, packet.len());
        let (packets, octets, total) = (1, len, len);
        self.supers.push(Super {
            owner,
            start,
            len,
            flow,
            first: 0,
            last: 0,
            packets,
            octets,
            total,
        });
        if let Some(newest) = self.newest.get_mut(slot) {
            *newest = truncate_u16(self.supers.len());
        }
        true
    }

    /// Finishes all that was pushed, gives it to `write` in order, and begins anew. `buffer` is the one of the pushes.
    pub fn drain(&mut self, buffer: &mut [u8], mut write: impl FnMut(&Gathered<'_>)) {
        for one in &self.supers {
            let vnet = match &one.flow {
                Some(flow) if one.packets > 1 => finish(buffer, one, flow).emit(),
                _ => [0; VNET_HEADER_LEN],
            };
            let buffer = &*buffer;
            let Some(head) = buffer.get(one.start..one.start + one.len) else { continue };
            let (owner, packets, octets) = (one.owner, usize::from(one.packets), one.octets);
            let (pieces, first) = (self.pieces.as_slice(), one.first);
            write(&Gathered { owner, packets, octets, vnet, head, buffer, pieces, first });
        }
        self.supers.clear();
        self.pieces.clear();
        self.newest = [0; FLOWS];
    }

    fn newest(&self, slot: usize) -> Option<usize> {
        usize::from(*self.newest.get(slot)?).checked_sub(1)
    }

    /// What this packet could be the head of, or a part of.
    fn flow(&self, packet: &[u8], view: &View) -> Option<Flow> {
        let v4 = view.source.is_ipv4();
        let upper = if v4 { IPV4_MIN_LEN } else { IPV6_LEN };
        let plain = view.header_len == upper && view.fragment == Fragment::Whole;
        let Mergeable { tcp_v4, tcp_v6, udp } = self.mergeable;
        let kind = match view.protocol {
            TCP if v4 && tcp_v4 => GsoKind::TcpV4,
            TCP if !v4 && tcp_v6 => GsoKind::TcpV6,
            UDP if udp => GsoKind::Udp,
            _ => return None,
        };
        if !plain {
            return None;
        }
        let (header_len, sequence, push) = if kind == GsoKind::Udp {
            let len = u16::from_be_bytes(word(packet, upper + UDP_LENGTH)?);
            let sum = u16::from_be_bytes(word(packet, upper + UDP_CHECKSUM)?);
            if sum == 0 || usize::from(len) != packet.len() - upper {
                return None;
            }
            (upper + UDP_LEN, 0, false)
        } else {
            let [data, flags] = word(packet, upper + TCP_DATA_OFFSET)?;
            // Beside the length of the header are flags, too: AE of accurate ECN (RFC 9768 §3.1), and what is reserved.
            let more_flags = data & 0x0f;
            let (data, push) = (usize::from(data >> 4) * 4, flags & TCP_PSH != 0);
            if flags & !TCP_PSH != TCP_ACK || more_flags != 0 || data < TCP_MIN_LEN {
                return None;
            }
            (upper + data, u32::from_be_bytes(word(packet, upper + TCP_SEQUENCE)?), push)
        };
        let size = packet.len().checked_sub(header_len).filter(|size| *size > 0)?;
        let sequence = sequence.wrapping_add(u32::from(truncate_u16(size)));
        Some(Flow {
            kind,
            upper,
            header_len,
            size,
            sequence,
            id_step: None,
            summed: false,
            push,
            closed: push,
        })
    }

    /// Adds `packet` to the super-packet at `position`, if it goes on there.
    fn merge(
        &mut self,
        position: usize,
        (buffer, packet, start): (&[u8], &[u8], usize),
        new: &Flow,
        owner: u32,
    ) -> bool {
        let Some(one) = self.supers.get_mut(position) else { return false };
        let Some(flow) = &mut one.flow else { return false };
        let Some(head) = buffer.get(one.start..one.start + one.len) else { return false };
        let most = if flow.kind == GsoKind::Udp { MOST_UDP } else { MOST_TCP };
        let fits = one.owner == owner && one.packets < most && one.total + new.size <= PACKET_MAX;
        if !fits || flow.closed || new.size > flow.size || !is_next(head, packet, flow, new) {
            return false;
        }
        let Some(step) = id_step(head, packet, one.packets, flow) else { return false };
        if !(flow.summed || is_summed(head, flow)) || !is_summed(packet, new) {
            return false;
        }
        flow.summed = true;
        flow.id_step = Some(step);
        flow.sequence = new.sequence;
        flow.push = new.push;
        flow.closed = new.push || new.size < flow.size;
        self.pieces.push(Piece { start: start + new.header_len, len: new.size, next: 0 });
        let piece = truncate_u16(self.pieces.len());
        match usize::from(one.last).checked_sub(1).and_then(|last| self.pieces.get_mut(last)) {
            Some(last) => last.next = piece,
            None => one.first = piece,
        }
        one.last = piece;
        one.packets += 1;
        one.octets += packet.len();
        one.total += new.size;
        true
    }
}

impl Gathered<'_> {
    /// The octets to be written, one behind the other: the [`VnetHeader`], the head, the payloads behind it. At most
    /// [`PARTS_MAX`](Self::PARTS_MAX).
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let mut next = self.first;
        let pieces = std::iter::from_fn(move || {
            let piece = self.pieces.get(usize::from(next).checked_sub(1)?)?;
            next = piece.next;
            self.buffer.get(piece.start..piece.start + piece.len)
        });
        [self.vnet.as_slice(), self.head].into_iter().chain(pieces)
    }

    /// How many parts there are at most.
    pub const PARTS_MAX: usize = MOST_TCP as usize + 1;
}

/// Whether the headers of `packet` are those of `head` but for what counts on.
fn is_next(head: &[u8], packet: &[u8], flow: &Flow, new: &Flow) -> bool {
    let upper = flow.upper;
    // Version, header length, traffic class; fragment field, TTL, protocol; flow label, hop limit; addresses.
    let ip = if flow.is_v4() {
        masked(head, V4_STAYS) == masked(packet, V4_STAYS) && same::<4>(head, packet, 16)
    } else {
        masked(head, V6_STAYS) == masked(packet, V6_STAYS) && same::<24>(head, packet, 16)
    };
    let kind = flow.kind == new.kind && flow.header_len == new.header_len;
    if !(kind && ip && same::<4>(head, packet, upper)) {
        return false;
    }
    if flow.kind == GsoKind::Udp {
        return true;
    }
    let begins = new.sequence.wrapping_sub(u32::from(truncate_u16(new.size)));
    let (urgent, end) = (upper + TCP_CHECKSUM + 2, flow.header_len);
    // Nearly always there are no options, or timestamps only.
    let rest = match end - urgent {
        2 => same::<2>(head, packet, urgent),
        14 => same::<8>(head, packet, urgent) && same::<8>(head, packet, end - 8),
        _ => head.get(urgent..end) == packet.get(urgent..end),
    };
    // Acknowledgment; window; urgent pointer and options. The flags were looked at already.
    flow.sequence == begins
        && same::<4>(head, packet, upper + 8)
        && same::<2>(head, packet, upper + 14)
        && rest
}

/// Whether two headers have the same octets at a place. The length is known when this is compiled, so that nothing is called.
fn same<const N: usize>(head: &[u8], packet: &[u8], at: usize) -> bool {
    word::<N>(head, at) == word::<N>(packet, at)
}

/// Of the first 16 octets those that count.
fn masked(header: &[u8], mask: u128) -> Option<u128> {
    word(header, 0).map(|octets| u128::from_be_bytes(octets) & mask)
}

/// All but total length, identification and checksum.
const V4_STAYS: u128 = 0xffff_0000_0000_ffff_ffff_0000_ffff_ffff;
/// All but the payload length.
const V6_STAYS: u128 = 0xffff_ffff_0000_ffff_ffff_ffff_ffff_ffff;

/// What the IPv4 identifications count by, 1 or 0, if they go on so; splitting makes such again (RFC 6864 §4).
fn id_step(head: &[u8], packet: &[u8], packets: u16, flow: &Flow) -> Option<u16> {
    if !flow.is_v4() {
        return Some(0);
    }
    let first = u16::from_be_bytes(word(head, V4_ID)?);
    let ahead = u16::from_be_bytes(word(packet, V4_ID)?).wrapping_sub(first);
    let dont_fragment = head.get(6)? & 0x40 != 0;
    let step = match flow.id_step {
        Some(step) => step,
        None if ahead == 0 && dont_fragment => 0,
        None => 1,
    };
    (ahead == step * packets).then_some(step)
}

/// Whether the checksums are right: of the upper layer, and of an IPv4 header.
fn is_summed(packet: &[u8], flow: &Flow) -> bool {
    let right = |header: [u8; IPV4_MIN_LEN]| Sum::of(&header).folded() == u16::MAX;
    if flow.is_v4() && !word::<IPV4_MIN_LEN>(packet, 0).is_some_and(right) {
        return false;
    }
    // The upper layer follows the addresses: one pass sums up both.
    let (addresses, _) = flow.places();
    let summed =
        packet.get(addresses..).map(|octets| Sum::of(octets) + rest_of_pseudo(flow, packet.len()));
    summed.is_some_and(|sum| sum.folded() == u16::MAX)
}

/// The sum of the pseudo-header of a packet of `total` octets.
fn pseudo(packet: &[u8], flow: &Flow, total: usize) -> Option<Sum> {
    let (addresses, upper) = flow.places();
    Some(Sum::of(packet.get(addresses..upper)?) + rest_of_pseudo(flow, total))
}

/// The same without the addresses.
fn rest_of_pseudo(flow: &Flow, total: usize) -> Sum {
    let protocol = if flow.kind == GsoKind::Udp { UDP } else { TCP };
    Sum::ZERO.add_word(u16::from(protocol)).add_word(truncate_u16(total - flow.upper))
}

/// Makes the head the header of the whole, whose checksum is left to the device, and says so.
fn finish(buffer: &mut [u8], one: &Super, flow: &Flow) -> VnetHeader {
    let Some(head) = buffer.get_mut(one.start..one.start + one.len) else {
        return VnetHeader::default();
    };
    if flow.is_v4() {
        put(head, V4_LENGTH, truncate_u16(one.total).to_be_bytes());
        put(head, V4_CHECKSUM, [0, 0]);
        let sum = head.get(..IPV4_MIN_LEN).map_or(Sum::ZERO, Sum::of);
        put(head, V4_CHECKSUM, sum.finish().to_be_bytes());
    } else {
        put(head, V6_LENGTH, truncate_u16(one.total - IPV6_LEN).to_be_bytes());
    }
    let sum = pseudo(head, flow, one.total).unwrap_or_default().folded();
    let offset = if flow.kind == GsoKind::Udp {
        put(head, flow.upper + UDP_LENGTH, truncate_u16(one.total - flow.upper).to_be_bytes());
        UDP_CHECKSUM
    } else {
        if let Some(flags) = head.get_mut(flow.upper + TCP_FLAGS).filter(|_| flow.push) {
            *flags |= TCP_PSH;
        }
        TCP_CHECKSUM
    };
    put(head, flow.upper + offset, sum.to_be_bytes());
    let (start, offset) = (truncate_u16(flow.upper), truncate_u16(offset));
    VnetHeader {
        header_len: truncate_u16(flow.header_len),
        checksum: Some(PartialChecksum { start, offset }),
        gso: Some(Gso { kind: flow.kind, size: truncate_u16(flow.size), ecn: false }),
    }
}

impl Flow {
    const fn is_v4(&self) -> bool {
        self.upper == IPV4_MIN_LEN
    }

    /// Where the addresses begin and where they end: the upper layer follows them.
    const fn places(&self) -> (usize, usize) {
        if self.is_v4() { (12, IPV4_MIN_LEN) } else { (8, IPV6_LEN) }
    }
}

/// A place for the flow of a packet: addresses and ports, mixed.
fn flow_slot(view: &View) -> usize {
    let fold = |address: IpAddr| match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let [high, low] = [address.to_bits() >> 64, address.to_bits()];
            #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
            let mixed = (high as u64) ^ (low as u64);
            mixed
        }
    };
    let (source, destination) = view.ports().unwrap_or_default();
    let ports = u64::from(source) << 16 | u64::from(destination);
    let mixed = (fold(view.source).rotate_left(32) ^ fold(view.destination)).wrapping_add(ports);
    #[expect(clippy::cast_possible_truncation, reason = "a place among the flows")]
    let slot = (mixed.wrapping_mul(ODD) >> (u64::BITS - FLOWS.ilog2())) as usize;
    slot
}

/// Flows that are told apart.
const FLOWS: usize = 64;
/// Any odd number with well mixed bits: 2^64 divided by the golden ratio.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Packets in one super-packet: what every kernel takes.
const MOST_UDP: u16 = 64;
/// Here the length of an IP packet is the limit, unless segments are tiny.
const MOST_TCP: u16 = 128;
/// Octets of the longest super-packet: behind the header of Ethernet and two VLAN tags it stays below 64 KiB, where the kernel
/// would cut it again in software.
const PACKET_MAX: usize = 65_535 - 14 - 2 * 4;

#[cfg(test)]
mod tests;
