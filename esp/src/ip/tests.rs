//! The view against packets built by etherparse, against hand-made extension headers, and against garbage.

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv4Options, Ipv6Extensions,
    Ipv6Header, PacketBuilder,
};
use proptest::prelude::*;

use super::*;
use crate::tests::{v4_packet, v6_packet};

proptest! {
    #[test]
    fn ipv4_reads_what_etherparse_wrote(
        source: [u8; 4],
        destination: [u8; 4],
        option_words in 0..10_usize,
        tos: u8,
        dont_fragment: bool,
        ports: (u16, u16),
        tcp: bool,
        payload in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut header = Ipv4Header::new(0, 64, IpNumber::UDP, source, destination).unwrap();
        header.dscp = (tos >> 2).try_into().unwrap();
        header.ecn = (tos & 3).try_into().unwrap();
        header.dont_fragment = dont_fragment;
        header.options = Ipv4Options::try_from(&vec![1; option_words * 4][..]).unwrap();
        let builder = PacketBuilder::ip(IpHeaders::Ipv4(header, Ipv4Extensions::default()));
        let mut octets = Vec::new();
        if tcp {
            builder.tcp(ports.0, ports.1, 1, 2).write(&mut octets, &payload).unwrap();
        } else {
            builder.udp(ports.0, ports.1).write(&mut octets, &payload).unwrap();
        }
        let expected = View {
            total_len: octets.len(),
            header_len: 20 + option_words * 4,
            traffic_class: tos,
            source: source.into(),
            destination: destination.into(),
            protocol: if tcp { 6 } else { 17 },
            upper: Upper::Ports { source: ports.0, destination: ports.1 },
            fragment: Fragment::Whole,
            dont_fragment,
        };
        prop_assert_eq!(View::parse(&octets), Some(expected));
        for len in 0..octets.len() {
            prop_assert_eq!(View::parse(&octets[..len]), None);
        }
        octets.extend_from_slice(&[0; 9]);
        prop_assert_eq!(View::parse(&octets), Some(expected));
    }

    #[test]
    fn ipv6_reads_what_etherparse_wrote(
        source: [u8; 16],
        destination: [u8; 16],
        traffic_class: u8,
        ports: (u16, u16),
        payload in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let header = Ipv6Header {
            traffic_class,
            source,
            destination,
            ..Default::default()
        };
        let builder = PacketBuilder::ip(IpHeaders::Ipv6(header, Ipv6Extensions::default()));
        let mut octets = Vec::new();
        builder.udp(ports.0, ports.1).write(&mut octets, &payload).unwrap();
        let expected = View {
            total_len: octets.len(),
            header_len: 40,
            traffic_class,
            source: source.into(),
            destination: destination.into(),
            protocol: 17,
            upper: Upper::Ports { source: ports.0, destination: ports.1 },
            fragment: Fragment::Whole,
            dont_fragment: true,
        };
        prop_assert_eq!(View::parse(&octets), Some(expected));
        for len in 0..octets.len() {
            prop_assert_eq!(View::parse(&octets[..len]), None);
        }
    }

    #[test]
    fn garbage_never_panics_nor_reaches_beyond(
        version in prop::sample::select(&[0x45_u8, 0x4f, 0x60, 0x6f, 0x00][..]),
        protocol in prop::sample::select(&[0_u8, 1, 6, 17, 43, 44, 58, 60, 135][..]),
        mut octets in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if let [first, _, length, _, v6_length, _, v6_next, _, _, v4_protocol, ..] = &mut octets[..] {
            (*first, *v6_next, *v4_protocol) = (version, protocol, protocol);
            *if version >> 4 == 4 { length } else { v6_length } = 0;
        }
        if let Some(view) = View::parse(&octets) {
            prop_assert!(view.header_len <= view.total_len && view.total_len <= octets.len());
            prop_assert_eq!(Some(view), View::parse(&octets[..view.total_len]));
        }
    }
}

#[test]
fn ipv4_fragments() {
    let with = |offset: u16, more: bool| {
        let mut header =
            Ipv4Header::new(16, 64, IpNumber::UDP, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
        header.fragment_offset = IpFragOffset::try_new(offset).unwrap();
        header.more_fragments = more;
        let mut octets = header.to_bytes().to_vec();
        octets.extend_from_slice(&[0, 1, 0, 2, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        View::parse(&octets).unwrap()
    };
    assert_eq!((with(0, false).fragment, with(0, false).ports()), (Fragment::Whole, Some((1, 2))));
    assert_eq!((with(0, true).fragment, with(0, true).ports()), (Fragment::First, Some((1, 2))));
    assert_eq!((with(4096, false).fragment, with(4096, false).ports()), (Fragment::Later, None));
    assert_eq!((with(1, true).fragment, with(1, true).ports()), (Fragment::Later, None));
    assert_eq!(
        (with(8191, false).fragment, with(8191, false).upper),
        (Fragment::Later, Upper::Opaque)
    );
    assert!(
        !with(0, false).is_fragment()
            && with(0, true).is_fragment()
            && with(1, false).is_fragment()
    );
}

#[test]
fn damaged_headers_are_no_packets() {
    let v4 = v4_packet(10);
    for (place, value) in [(0, 0x44), (0, 0x35), (0, 0x55), (3, 19), (2, 0xff)] {
        let mut octets = v4.clone();
        octets[place] = value;
        assert_eq!(View::parse(&octets), None, "octet {place} is {value:#x}");
    }
    let mut header_only_by_claim = v4.clone();
    header_only_by_claim[0] = 0x4f; // 60 octets of header in 38 of packet
    assert_eq!(View::parse(&header_only_by_claim), None);
    let mut v6 = v6_packet(10);
    v6[4] = 1;
    assert_eq!(View::parse(&v6), None);
}

#[test]
fn what_the_next_layer_offers() {
    let with = |protocol: u8, upper: &[u8]| v6(protocol, upper).upper;
    assert_eq!(with(58, &[128, 7, 0, 0]), Upper::Type(0x8007));
    assert_eq!(with(1, &[8, 0]), Upper::Type(0x0800));
    assert_eq!(with(58, &[128]), Upper::Opaque);
    assert_eq!(with(135, &[59, 0, 5, 0]), Upper::Type(0x0500)); // RFC 6275 §6.1.1
    assert_eq!(with(47, &[1, 2, 3, 4]), Upper::Opaque);
    assert_eq!(with(50, &[1, 2, 3, 4]), Upper::Opaque);
    assert_eq!(with(51, &[6, 1, 0, 0]), Upper::Opaque); // AH is a next layer (RFC 4301 §4.4.1.1)
    for protocol in [6, 17, 33, 132, 136] {
        let ports = Upper::Ports { source: 0x0102, destination: 0x0304 };
        assert_eq!(with(protocol, &[1, 2, 3, 4]), ports, "{protocol}");
        assert_eq!(with(protocol, &[1, 2, 3]), Upper::Opaque, "{protocol}");
    }
}

#[test]
fn ipv6_extension_headers_are_skipped() {
    let hop_by_hop = [60, 0, 1, 4, 0, 0, 0, 0];
    let destination_options: Vec<u8> = [&[43, 1, 1, 12][..], &[0; 12]].concat();
    let routing = [17, 0, 0, 0, 0, 0, 0, 0];
    let udp = [0, 7, 0, 9, 0, 8, 0, 0];
    let octets = [&hop_by_hop[..], &destination_options, &routing, &udp].concat();
    let view = v6(0, &octets);
    assert_eq!((view.protocol, view.ports(), view.header_len), (17, Some((7, 9)), 40 + 8 + 16 + 8));
    // Cut off within a header: the number of the header that is not all there, and nothing to match.
    let cut = v6(0, &octets[..10]);
    assert_eq!((cut.protocol, cut.upper, cut.header_len), (60, Upper::Opaque, 48));
    // More headers than anyone sends.
    let endless = v6(0, &[0; 800]);
    assert_eq!((endless.protocol, endless.upper), (0, Upper::Opaque));
}

#[test]
fn ipv6_fragments() {
    let with = |next: u8, offset_and_flag: u16| {
        let [hi, lo] = offset_and_flag.to_be_bytes();
        v6(44, &[next, 0, hi, lo, 0, 0, 0, 1, 0, 7, 0, 9, 0, 8, 0, 0])
    };
    let atomic = with(17, 0);
    assert_eq!((atomic.fragment, atomic.ports()), (Fragment::Whole, Some((7, 9))));
    let first = with(17, 1);
    assert_eq!((first.fragment, first.ports()), (Fragment::First, Some((7, 9))));
    let later = with(17, 8 << 3);
    assert_eq!((later.fragment, later.upper, later.protocol), (Fragment::Later, Upper::Opaque, 17));
    // What follows a later fragment header is data, even if it looks like a chain of headers.
    let hidden = v6(44, &[60, 0, 0, 8 << 3 | 1, 0, 0, 0, 1, 17, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((hidden.protocol, hidden.header_len), (60, 48));
}

fn v6(next_header: u8, upper: &[u8]) -> View {
    let mut octets = vec![0x60, 0, 0, 0, 0, 0, next_header, 64];
    octets[4..6].copy_from_slice(&u16::try_from(upper.len()).unwrap().to_be_bytes());
    octets.extend_from_slice(&[0xfd; 32]);
    octets.extend_from_slice(upper);
    View::parse(&octets).unwrap()
}
