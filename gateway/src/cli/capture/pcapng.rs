//! Packets as pcapng (draft-ietf-opsawg-pcapng): a file that says which side each packet was seen at, and whose it is.
//!
//! ```text
//!   section header | interface "s2s0" | interface "s2s0-wire" | packet, comment "berlin/lan-1" | packet, ..
//!                    LINKTYPE_RAW: each begins with an IP header; on the wire we put IP and UDP headers like those that the
//!                    kernel made around what we saw, which is what they carry (identification and TTL are not what they were)
//! ```

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use etherparse::{IpDscp, IpEcn, IpNumber, Ipv4Header, Ipv6Header, UdpHeader};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};

use crate::cli::client::strange;
use crate::cli::{Code, Failure};
use crate::status::capture::{Captured, Direction, Outer, Side};

/// Writes into memory, block by block.
pub(super) struct Pcapng {
    writer: PcapNgWriter<Vec<u8>>,
    /// The number of an interface is its place here.
    sides: Vec<Side>,
}

impl Pcapng {
    /// A section and an interface for each side.
    ///
    /// # Errors
    /// None; the crate has some.
    pub(super) fn new(sides: &[Side], tun: &str) -> Result<Self, Failure> {
        let program = concat!("s2s-gw ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            endianness: Endianness::native(),
            options: vec![SectionHeaderOption::UserApplication(program.into())],
            ..SectionHeaderBlock::default()
        };
        let mut writer =
            PcapNgWriter::with_section_header(Vec::new(), section).map_err(|e| failed(&e))?;
        for side in sides {
            let name = match side {
                Side::Lan => tun.to_owned(),
                Side::Tunnel | Side::Wire => format!("{tun}-{}", side.word()),
            };
            let interface = InterfaceDescriptionBlock {
                linktype: DataLink::RAW,
                snaplen: 0,
                options: vec![
                    InterfaceDescriptionOption::IfName(name.into()),
                    InterfaceDescriptionOption::IfDescription(describe(*side).into()),
                    InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
                ],
            };
            writer.write_pcapng_block(interface).map_err(|e| failed(&e))?;
        }
        Ok(Self { writer, sides: sides.to_vec() })
    }

    /// A packet more.
    ///
    /// # Errors
    /// If the daemon sent what is no packet.
    pub(super) fn add(&mut self, packet: &Captured) -> Result<(), Failure> {
        let octets = STANDARD_NO_PAD.decode(&packet.octets).map_err(|_| strange())?;
        let number = self.sides.iter().position(|side| *side == packet.side);
        let interface_id = number.and_then(|number| u32::try_from(number).ok());
        let headers =
            packet.outer.map(|outer| headers(&outer, &octets, packet.len)).unwrap_or_default();
        let original_len = packet.len.saturating_add(u32::try_from(headers.len()).unwrap_or(0));
        let flags = match packet.direction {
            Direction::In => INBOUND,
            Direction::Out => OUTBOUND,
        };
        let mut options = vec![EnhancedPacketOption::Flags(flags)];
        if let Some(comment) = comment(packet) {
            options.push(EnhancedPacketOption::Comment(comment.into()));
        }
        let block = EnhancedPacketBlock {
            interface_id: interface_id.ok_or_else(strange)?,
            timestamp: Duration::from_nanos(packet.at_ns),
            original_len,
            data: [headers, octets].concat().into(),
            options,
        };
        self.writer.write_pcapng_block(block).map_err(|e| failed(&e))?;
        Ok(())
    }

    /// What was made since the last time.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.get_mut())
    }
}

fn failed(error: &PcapError) -> Failure {
    Failure::new(Code::Failed, format!("cannot make a capture: {error}"))
}

const fn describe(side: Side) -> &'static str {
    match side {
        Side::Lan => "clear packets at the TUN device of s2s-gw",
        Side::Tunnel => "clear packets inside the tunnel",
        Side::Wire => "ESP and IKE of s2s-gw",
    }
}

/// Whose it is and what became of it.
fn comment(packet: &Captured) -> Option<String> {
    let whose = match (&packet.connection, &packet.child) {
        (Some(connection), Some(child)) => Some(format!("{connection}/{child}")),
        (connection, _) => connection.clone(),
    };
    let words: Vec<String> = whose.into_iter().chain(packet.note.clone()).collect();
    (!words.is_empty()).then(|| words.join(": "))
}

/// IP and UDP headers of a payload that had `len` octets, of which `octets` are the first.
fn headers(outer: &Outer, octets: &[u8], len: u32) -> Vec<u8> {
    let len = u16::try_from(len).unwrap_or(u16::MAX);
    let (number, udp_len) = if outer.udp {
        (IpNumber::UDP, UDP_HEADER_LEN)
    } else {
        (IpNumber::ENCAPSULATING_SECURITY_PAYLOAD, 0)
    };
    let inner = len.saturating_add(udp_len).min(u16::MAX - IPV4_HEADER_LEN);
    let (from, to) = (outer.source.port(), outer.destination.port());
    let plain = UdpHeader { source_port: from, destination_port: to, length: inner, checksum: 0 };
    let class = outer.traffic_class;
    let (mut headers, udp) = match (outer.source.ip(), outer.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let ip = Ipv4Header::new(inner, TTL, number, source.octets(), destination.octets());
            let Ok(mut ip) = ip else { return Vec::new() };
            ip.dscp = IpDscp::try_new(class >> 2).unwrap_or_default();
            ip.ecn = IpEcn::try_new(class & 3).unwrap_or_default();
            ip.header_checksum = ip.calc_header_checksum();
            // A UDP checksum of zero says that there is none.
            (ip.to_bytes().to_vec(), plain)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let ip = Ipv6Header {
                traffic_class: class,
                payload_length: inner,
                next_header: number,
                hop_limit: TTL,
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv6Header::default()
            };
            let summed = UdpHeader::with_ipv6_checksum(from, to, &ip, octets);
            (ip.to_bytes().to_vec(), UdpHeader { length: inner, ..summed.unwrap_or(plain) })
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return Vec::new(),
    };
    if outer.udp {
        headers.extend(udp.to_bytes());
    }
    headers
}

/// if_tsresol: 10 to the minus ninth.
const NANOSECONDS: u8 = 9;

// epb_flags, bits 0 and 1.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

const IPV4_HEADER_LEN: u16 = 20;
const UDP_HEADER_LEN: u16 = 8;

/// What Linux begins with; the true one is not known.
const TTL: u8 = 64;

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::{Block, PcapNgReader};

    use super::*;

    fn wire(source: &str, destination: &str, udp: bool) -> Captured {
        let outer = Outer {
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            udp,
            traffic_class: 0xba,
        };
        Captured {
            at_ns: 1_700_000_000_123_456_789,
            side: Side::Wire,
            direction: Direction::In,
            connection: Some("berlin".into()),
            child: Some("lan-1".into()),
            outer: Some(outer),
            note: Some("replay".into()),
            len: 6,
            octets: STANDARD_NO_PAD.encode(b"sealed"),
        }
    }

    /// A packet as a reader of the file finds it.
    struct Found {
        interface: u32,
        time: Duration,
        comments: Vec<String>,
        octets: Vec<u8>,
    }

    /// Names of the interfaces, and packets.
    fn read(octets: &[u8]) -> (Vec<String>, Vec<Found>) {
        let mut reader = PcapNgReader::new(octets).expect("a section");
        let (mut names, mut packets) = (Vec::new(), Vec::new());
        while let Some(block) = reader.next_block() {
            let block = block.expect("a block");
            if let Block::InterfaceDescription(one) = &block {
                assert_eq!(one.linktype, DataLink::RAW);
                for option in &one.options {
                    if let InterfaceDescriptionOption::IfName(name) = option {
                        names.push(name.to_string());
                    }
                }
            } else if let Block::EnhancedPacket(one) = &block {
                let mut comments = Vec::new();
                for option in &one.options {
                    if let EnhancedPacketOption::Comment(comment) = option {
                        comments.push(comment.to_string());
                    }
                }
                let (interface, time) = (one.interface_id, one.timestamp);
                packets.push(Found { interface, time, comments, octets: one.data.to_vec() });
            } else {
                panic!("{block:?}");
            }
        }
        (names, packets)
    }

    #[test]
    fn a_reader_finds_interface_time_comment_and_packet() {
        let mut pcapng = Pcapng::new(&[Side::Lan, Side::Wire], "s2s0").expect("begins");
        let clear = Captured {
            side: Side::Lan,
            outer: None,
            child: None,
            note: None,
            len: 20,
            octets: STANDARD_NO_PAD.encode([0x45; 20]),
            ..wire("192.0.2.1:4500", "192.0.2.2:4500", true)
        };
        pcapng.add(&clear).expect("adds");
        pcapng.add(&wire("192.0.2.1:4500", "192.0.2.2:4500", true)).expect("adds");
        let (names, packets) = read(&pcapng.take());
        assert_eq!(names, ["s2s0", "s2s0-wire"]);
        let [first, second] = packets.as_slice() else { panic!("{} packets", packets.len()) };
        assert_eq!((first.interface, &first.octets), (0, &vec![0x45; 20]));
        assert_eq!(
            (first.comments.join("|").as_str(), second.comments.join("|").as_str()),
            ("berlin", "berlin/lan-1: replay",)
        );
        let time = Duration::from_nanos(clear.at_ns);
        assert_eq!((second.interface, second.time), (1, time));
        assert!(pcapng.take().is_empty());
    }

    #[test]
    fn what_crossed_the_wire_gets_headers_that_fit_it() {
        for (from, to, udp) in [
            ("192.0.2.1:4500", "192.0.2.2:4501", true),
            ("192.0.2.1:0", "192.0.2.2:0", false),
            ("[2001:db8::1]:500", "[2001:db8::2]:500", true),
            ("[2001:db8::1]:0", "[2001:db8::2]:0", false),
        ] {
            let packet = wire(from, to, udp);
            let mut pcapng = Pcapng::new(&[Side::Wire], "s2s0").expect("begins");
            pcapng.add(&packet).expect("adds");
            let (_, packets) = read(&pcapng.take());
            let octets = &packets[0].octets;
            let parsed = etherparse::SlicedPacket::from_ip(octets).expect(from);
            let outer = packet.outer.expect("on the wire");
            let view = esp::ip::View::parse(octets).expect(from);
            assert_eq!(view.total_len, octets.len(), "{from}");
            assert_eq!(
                (view.source, view.destination),
                (outer.source.ip(), outer.destination.ip())
            );
            assert_eq!(view.traffic_class, 0xba, "{from}");
            assert_eq!(view.protocol, if udp { 17 } else { 50 }, "{from}");
            assert!(octets.ends_with(b"sealed"), "{from}");
            let ports = udp.then_some((outer.source.port(), outer.destination.port()));
            assert_eq!(view.ports(), ports, "{from}");
            if let (true, Some(etherparse::TransportSlice::Udp(slice))) = (udp, parsed.transport) {
                assert_eq!(slice.payload(), b"sealed", "{from}");
            }
        }
    }
}
