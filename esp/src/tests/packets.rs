//! Super-packets as a TUN device gives them, of any shape.
//!
//! ```text
//!   10.1.0.9 : port ─► 10.2.0.9 : 443     or  fd01::9 ─► fd02::9      sequence ffffff00, identification fffe: both turn over
//!   routed                 └► 10.3.0.9               └► fd03::9      the pseudo-header has this one (RFC 8200 §8.1)
//! ```

use etherparse::{
    IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, TcpOptionElement, UdpHeader,
};
use proptest::prelude::*;

use crate::{
    checksum::Sum,
    ip::View,
    segment::{TCP_CHECKSUM, UDP_CHECKSUM, put},
    vnet::{Gso, GsoKind, PartialChecksum, VnetHeader},
};

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a bit of a header")]
pub(crate) struct Shape {
    pub(crate) v6: bool,
    pub(crate) udp: bool,
    /// The destination is a stop on the way to another one: a Routing header (RFC 8754 §2), a source route (RFC 791 §3.1).
    pub(crate) routed: bool,
    pub(crate) port: u16,
    pub(crate) sequence: u32,
    pub(crate) timestamps: bool,
    pub(crate) psh: bool,
    pub(crate) fin: bool,
    pub(crate) cwr: bool,
    pub(crate) dscp: u8,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            v6: false,
            udp: false,
            routed: false,
            port: 40_000,
            sequence: 0xffff_ff00,
            timestamps: false,
            psh: false,
            fin: false,
            cwr: false,
            dscp: 0,
        }
    }
}

impl Shape {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        (any::<[bool; 6]>(), prop::bool::weighted(0.2), 0..64_u8).prop_map(
            |([v6, udp, timestamps, psh, fin, cwr], routed, dscp)| Self {
                v6,
                udp,
                routed,
                timestamps,
                psh,
                fin,
                cwr,
                dscp,
                ..Self::default()
            },
        )
    }

    /// Where its packets end up.
    pub(crate) fn final_v4(&self) -> [u8; 4] {
        if self.routed { [10, 3, 0, 9] } else { [10, 2, 0, 9] }
    }

    /// The same.
    pub(crate) fn final_v6(&self) -> [u8; 16] {
        address_v6(if self.routed { 3 } else { 2 })
    }
}

/// Whether the checksum of the upper layer of a packet of this shape is right.
pub(crate) fn is_summed(shape: &Shape, packet: &[u8]) -> bool {
    let view = View::parse(packet).unwrap();
    let upper = &packet[view.header_len..];
    let len = u16::try_from(upper.len()).unwrap();
    let pseudo = if shape.v6 {
        Sum::pseudo_v6(address_v6(1), shape.final_v6(), view.protocol, len.into())
    } else {
        Sum::pseudo_v4([10, 1, 0, 9], shape.final_v4(), view.protocol, len)
    };
    (pseudo + Sum::of(upper)).folded() == u16::MAX
}

/// One packet with all of `payload`, to be split by `size`; the checksum field holds the sum of the pseudo-header.
pub(crate) fn super_packet(shape: &Shape, payload: &[u8], size: u16) -> (VnetHeader, Vec<u8>) {
    let upper = upper_header(shape, payload.len());
    let upper_len = upper.len() + payload.len();
    let protocol = if shape.udp { IpNumber::UDP } else { IpNumber::TCP };
    let mut packet = Vec::new();
    let pseudo = if shape.v6 {
        let (source, destination) = (address_v6(1), address_v6(2));
        let routing = routing_header(shape, protocol);
        let header = Ipv6Header {
            traffic_class: shape.dscp << 2,
            flow_label: Ipv6FlowLabel::try_new(0x12345).unwrap(),
            payload_length: u16::try_from(routing.len() + upper_len).unwrap(),
            next_header: if shape.routed { IpNumber::IPV6_ROUTE_HEADER } else { protocol },
            hop_limit: 61,
            source,
            destination,
        };
        header.write(&mut packet).unwrap();
        packet.extend(routing);
        Sum::pseudo_v6(source, shape.final_v6(), protocol.0, u32::try_from(upper_len).unwrap())
    } else {
        let (source, destination) = ([10, 1, 0, 9], [10, 2, 0, 9]);
        let len = u16::try_from(upper_len).unwrap();
        let mut header = Ipv4Header::new(len, 61, protocol, source, destination).unwrap();
        header.identification = 0xfffe;
        header.dscp = shape.dscp.try_into().unwrap();
        header.dont_fragment = true;
        if shape.routed {
            // Loose source route: type, length, place of the next address, it; end of options.
            let [a, b, c, d] = shape.final_v4();
            header.options = [131, 7, 4, a, b, c, d, 0].into();
            header.set_payload_len(upper_len).unwrap();
        }
        header.header_checksum = header.calc_header_checksum();
        header.write(&mut packet).unwrap();
        Sum::pseudo_v4(source, shape.final_v4(), protocol.0, len)
    };
    let start = packet.len();
    packet.extend(&upper);
    packet.extend(payload);
    let offset = if shape.udp { UDP_CHECKSUM } else { TCP_CHECKSUM };
    put(&mut packet, start + offset, pseudo.folded().to_be_bytes());
    let kind = match (shape.udp, shape.v6) {
        (true, _) => GsoKind::Udp,
        (false, true) => GsoKind::TcpV6,
        (false, false) => GsoKind::TcpV4,
    };
    let short = |len: usize| u16::try_from(len).unwrap();
    let vnet = VnetHeader {
        header_len: short(start + upper.len()),
        checksum: Some(PartialChecksum { start: short(start), offset: short(offset) }),
        gso: Some(Gso { kind, size, ecn: false }),
    };
    (vnet, packet)
}

fn address_v6(network: u8) -> [u8; 16] {
    [0xfd, network, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]
}

/// A segment routing header with a stop to go, which the last of its addresses is; empty if there is none.
fn routing_header(shape: &Shape, next_header: IpNumber) -> Vec<u8> {
    if !shape.routed {
        return Vec::new();
    }
    let fixed = [next_header.0, 4, 4, 1, 1, 0, 0, 0];
    [fixed.as_slice(), &shape.final_v6(), &address_v6(2)].concat()
}

fn upper_header(shape: &Shape, payload_len: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    if shape.udp {
        let length = u16::try_from(8 + payload_len).unwrap();
        let header =
            UdpHeader { source_port: shape.port, destination_port: 443, length, checksum: 0 };
        header.write(&mut octets).unwrap();
        return octets;
    }
    let mut header = TcpHeader::new(shape.port, 443, shape.sequence, 5000);
    header.ack = true;
    header.acknowledgment_number = 77;
    (header.psh, header.fin, header.cwr) = (shape.psh, shape.fin, shape.cwr);
    if shape.timestamps {
        let options =
            [TcpOptionElement::Noop, TcpOptionElement::Noop, TcpOptionElement::Timestamp(1, 2)];
        header.set_options(&options).unwrap();
    }
    header.write(&mut octets).unwrap();
    octets
}
