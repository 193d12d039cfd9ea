//! Super-packets: split as a TUN device asks for, merged as it takes them, and the two beside each other.
//!
//! ```text
//!   offload    | virtio header | packet |            ─► Segments ─► packets ─► Coalescer ─► Segments ─► the same packets
//!   coalesce   | kind, change .. | kind, .. |        ─► packets of a few flows, some damaged ─► the same
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;

use esp::checksum::Sum;
use esp::ip::View;
use esp::{Coalescer, Gathered, Mergeable, Segments, VNET_HEADER_LEN, VnetHeader};

use crate::input::Input;

const ALL: Mergeable = Mergeable { tcp_v4: true, tcp_v6: true, udp: true };

/// The most packets of one super-packet: more takes time and shows nothing new.
const MOST: usize = 300;

/// What a TUN device gives.
pub(crate) fn offload(data: &[u8]) {
    let Some((header, packet)) = data.split_first_chunk::<VNET_HEADER_LEN>() else { return };
    let Ok(vnet) = VnetHeader::parse(header) else { return };
    assert_eq!(VnetHeader::parse(&vnet.emit()), Ok(vnet));
    let Ok(segments) = Segments::new(&vnet, packet) else { return };
    if segments.count() > MOST {
        return;
    }
    let pieces = split(&vnet, packet).expect("it was split before");
    let same = |piece: &Vec<u8>| {
        View::parse(piece).is_some_and(|view| {
            view.source == segments.view().source && view.total_len == piece.len()
        })
    };
    // A whole packet may be of any kind, also with a checksum filled in over its header.
    assert!(pieces.len() == 1 || pieces.iter().all(same), "{pieces:?}");
    if vnet.gso.is_some() {
        assert!(pieces.iter().all(|piece| is_summed(&vnet, packet, piece)), "{pieces:?}");
    }
    if pieces.iter().all(|piece| View::parse(piece).is_some_and(|it| it.total_len == piece.len())) {
        merged(&pieces.into_iter().map(|piece| (1, piece)).collect::<Vec<_>>());
    }
}

/// Whether the checksum of a segment is that of its octets and of the pseudo-header in the field of the super-packet, of which nothing
/// but the length is another one.
fn is_summed(vnet: &VnetHeader, packet: &[u8], piece: &[u8]) -> bool {
    let Some(checksum) = vnet.checksum else { return false };
    let start = usize::from(checksum.start);
    let field = start + usize::from(checksum.offset);
    let of = |octets: &[u8], range| Sum::of(octets.get(range).unwrap_or_default());
    let len = |octets: &[u8]| {
        let total = View::parse(octets).map_or(0, |view| view.total_len);
        Sum::ZERO.add_word(u16::try_from(total.saturating_sub(start)).unwrap_or(0))
    };
    let pseudo = of(packet, field..field + 2) - len(packet) + len(piece);
    (pseudo + of(piece, start..piece.len())).folded() == u16::MAX
}

/// The packets that a super-packet stands for.
fn split(vnet: &VnetHeader, packet: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut segments = Segments::new(vnet, packet).ok()?;
    let (count, octets) = (segments.count(), segments.octets());
    let mut pieces = Vec::new();
    while let Some(len) = segments.next_len() {
        let left = segments.left();
        let mut out = vec![0; len];
        assert!(segments.write_next(&mut out));
        assert_eq!(segments.left(), left - 1);
        pieces.push(out);
    }
    assert_eq!((pieces.len(), pieces.iter().map(Vec::len).sum::<usize>()), (count, octets));
    Some(pieces)
}

/// Merges packets and demands them all back, in their order within each flow.
fn merged(packets: &[(u32, Vec<u8>)]) {
    let mut coalescer = Coalescer::new(ALL);
    let (mut buffer, mut taken) = (Vec::new(), Vec::new());
    for (owner, packet) in packets {
        let Some(view) = View::parse(packet) else { continue };
        let place = buffer.len()..buffer.len() + view.total_len;
        buffer.extend_from_slice(packet);
        if coalescer.push(&buffer, place, &view, *owner) {
            taken.push((*owner, packet.get(..view.total_len).unwrap_or_default().to_vec()));
        }
    }
    let mut given = Vec::new();
    coalescer.drain(&mut buffer, |one| given.extend(taken_apart(one)));
    assert!(coalescer.is_empty());
    assert_eq!(by_flow(&given), by_flow(&taken));
}

fn taken_apart(one: &Gathered<'_>) -> Vec<(u32, Vec<u8>)> {
    assert!(one.parts().count() <= Gathered::PARTS_MAX);
    let octets: Vec<u8> = one.parts().flatten().copied().collect();
    let (vnet, packet) = octets.split_first_chunk().expect("a header before each");
    let vnet = VnetHeader::parse(vnet).expect("our own header");
    assert!(packet.len() <= 65_535);
    let pieces = match vnet.gso {
        Some(_) => split(&vnet, packet).expect("what was merged can be split"),
        None => vec![packet.to_vec()],
    };
    assert_eq!(pieces.len(), one.packets);
    assert_eq!(pieces.iter().map(Vec::len).sum::<usize>(), one.octets);
    pieces.into_iter().map(|piece| (one.owner, piece)).collect()
}

type Flow = (IpAddr, IpAddr, u8, Option<(u16, u16)>);

/// Without the identification of what has DF, which means nothing (RFC 6864 §4.1): one that stays the same counts on afterwards. In
/// place of the header checksum stands the sum over the header, which is ffff if it was right and says how wrong it was if not.
fn by_flow(packets: &[(u32, Vec<u8>)]) -> BTreeMap<Flow, Vec<(u32, Vec<u8>)>> {
    let mut flows: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (owner, packet) in packets {
        let view = View::parse(packet).expect("a packet");
        let flow = (view.source, view.destination, view.protocol, view.ports());
        let mut packet = packet.clone();
        if view.source.is_ipv4() {
            let sum = Sum::of(packet.get(..view.header_len).unwrap_or_default()).folded();
            put(&mut packet, 10, sum);
            if view.dont_fragment {
                put(&mut packet, 4, 0);
            }
        }
        flows.entry(flow).or_default().push((*owner, packet));
    }
    flows
}

/// What comes out of ESP: streams of packets that go on from one another, with what the input changes of them.
pub(crate) fn coalesce(data: &[u8]) {
    let mut input = Input(data);
    let mut sequences = [0xffff_fd00_u32; 4];
    let mut packets = Vec::new();
    while !input.is_empty() && packets.len() < 64 {
        let kind = input.octet();
        let size = if kind & 4 == 0 { 100 } else { usize::from(input.octet()) };
        let which = usize::from(kind & 3);
        let sequence = sequences.get_mut(which).expect("one of four");
        let mut packet = made(which, kind, *sequence, packets.len(), size);
        *sequence = sequence.wrapping_add(u32::try_from(size).unwrap_or(0));
        let (at, bits) =
            if kind & 8 == 0 { (0, 0) } else { (usize::from(input.octet()), input.octet()) };
        let change = |packet: &mut Vec<u8>| {
            if let Some(octet) = packet.get_mut(at) {
                *octet ^= bits;
            }
        };
        // Before or after its checksums are made: another packet, or a damaged one.
        if kind & 64 == 0 {
            change(&mut packet);
        }
        if kind & 16 == 0 {
            sum_up(&mut packet);
        }
        if kind & 64 != 0 {
            change(&mut packet);
        }
        packets.push((u32::from(kind >> 7), packet));
    }
    merged(&packets);
}

/// 0: TCP over IPv4, 1: UDP over IPv4, 2: TCP over IPv6, 3: UDP over IPv6; their checksums are not filled in.
fn made(which: usize, kind: u8, sequence: u32, id: usize, size: usize) -> Vec<u8> {
    let (v6, udp) = (which & 2 != 0, which & 1 != 0);
    let mut upper = vec![0x9c, 0x40, 1, 187];
    let len = if udp { 8 } else { 20 } + size;
    let len = u16::try_from(len).unwrap_or(0).to_be_bytes();
    if udp {
        upper.extend([len[0], len[1], 0, 0]);
    } else {
        upper.extend(sequence.to_be_bytes());
        upper.extend([0, 0, 0, 9, 0x50, if kind & 32 == 0 { 0x10 } else { 0x18 }]);
        upper.extend([1, 0, 0, 0, 0, 0]);
    }
    upper.resize(upper.len() + size, kind);
    let protocol = if udp { 17 } else { 6 };
    let mut packet = if v6 {
        let six = |network| [[0xfd, network].as_slice(), &[0; 13], &[9]].concat();
        [vec![0x60, 0, 0, 0, len[0], len[1], protocol, 64], six(1), six(2)].concat()
    } else {
        let total = u16::try_from(20 + upper.len()).unwrap_or(0).to_be_bytes();
        let id = u16::try_from(id).unwrap_or(0).wrapping_sub(3).to_be_bytes();
        let [[t0, t1], [i0, i1]] = [total, id];
        vec![0x45, 0, t0, t1, i0, i1, 0x40, 0, 64, protocol, 0, 0, 10, 1, 0, 9, 10, 2, 0, 9]
    };
    packet.append(&mut upper);
    packet
}

/// Fills both checksums in, so that only what was changed differs.
fn sum_up(packet: &mut [u8]) {
    let Some(view) = View::parse(packet) else { return };
    let (upper, total) = (view.header_len, view.total_len);
    let pseudo = |len: usize| match (view.source, view.destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let len = u16::try_from(len).unwrap_or(0);
            Sum::pseudo_v4(from.octets(), to.octets(), view.protocol, len)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let len = u32::try_from(len).unwrap_or(0);
            Sum::pseudo_v6(from.octets(), to.octets(), view.protocol, len)
        }
        _ => Sum::ZERO,
    };
    if view.source.is_ipv4() {
        put(packet, 10, 0);
        let sum = Sum::of(packet.get(..upper).unwrap_or_default()).finish();
        put(packet, 10, sum);
    }
    let at = match view.protocol {
        6 => upper + 16,
        17 => upper + 6,
        _ => return,
    };
    if at + 2 > total {
        return;
    }
    put(packet, at, 0);
    let segment = packet.get(upper..total).unwrap_or_default();
    let sum = pseudo(segment.len()) + Sum::of(segment);
    put(packet, at, if view.protocol == 17 { sum.finish_udp() } else { sum.finish() });
}

fn put(packet: &mut [u8], at: usize, value: u16) {
    if let Some(field) = packet.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}
