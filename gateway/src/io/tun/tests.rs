//! A device in a namespace of its own; the test is the host behind it.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::ops::Range;
use std::time::Duration;

use etherparse::PacketBuilder;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::*;
use crate::sys::netlink::Netlink;
use crate::sys::netns::Netns;

const NEAR: [u8; 4] = [10, 9, 0, 1];
const FAR: [u8; 4] = [10, 9, 0, 2];
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Runs `test` in a new namespace, if that is permitted.
fn inside(test: impl FnOnce() + Send) {
    match Netns::new() {
        Ok(netns) => netns.run(test).unwrap(),
        Err(_) => println!("skipped: no right to make a network namespace"),
    }
}

fn with_address(tun: &Tun) {
    let mut netlink = Netlink::open().unwrap();
    netlink.add_address(tun.index(), "10.9.0.1/24".parse().unwrap()).unwrap();
}

/// Reads until there is a packet of IP protocol `protocol` over IPv4.
fn read(tun: &Tun, protocol: u8) -> Vec<u8> {
    let mut buffer = vec![0; Tun::HEADER_LEN + 65_535];
    loop {
        match tun.read(&mut buffer) {
            Ok(len) if buffer[10] >> 4 == 4 && buffer[19] == protocol => {
                return buffer[..len].to_vec();
            }
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                let mut fds = [PollFd::new(tun, PollFlags::IN)];
                assert_eq!(rustix::event::poll(&mut fds, Some(&PATIENCE)).unwrap(), 1, "silence");
            }
        }
    }
}

fn write_plain(tun: &Tun, packet: &[u8]) {
    tun.write(&[IoSlice::new(&[0; Tun::HEADER_LEN]), IoSlice::new(packet)]).unwrap();
}

/// The header of a super-packet whose transport header is at `start`: flags NEEDS_CSUM.
fn header(kind: u8, len: u16, size: u16, start: u16, offset: u16) -> [u8; Tun::HEADER_LEN] {
    let mut header = [0; Tun::HEADER_LEN];
    header[0] = 1;
    header[1] = kind;
    for (at, number) in [len, size, start, offset].into_iter().enumerate() {
        header[2 + 2 * at..4 + 2 * at].copy_from_slice(&number.to_ne_bytes());
    }
    header
}

fn number(octets: &[u8], place: Range<usize>) -> u32 {
    u32::from_be_bytes(octets[place].try_into().unwrap())
}

/// The sum of the pseudo-header, folded and not inverted, as a packet has it whose checksum is left to the kernel.
fn pseudo(protocol: u8, len: usize) -> [u8; 2] {
    let halves = [NEAR, FAR].concat();
    let halves = halves.chunks(2).map(|half| usize::from(half[0]) << 8 | usize::from(half[1]));
    let mut sum: usize = halves.sum::<usize>() + usize::from(protocol) + len;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap().to_be_bytes()
}

fn ipv4(protocol: u8, payload: usize) -> Vec<u8> {
    let ip = etherparse::Ipv4Header::new(
        u16::try_from(payload).unwrap(),
        64,
        etherparse::IpNumber(protocol),
        FAR,
        NEAR,
    );
    let mut octets = Vec::new();
    ip.unwrap().write(&mut octets).unwrap();
    octets
}

/// Octets that are different wherever one looks.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n: usize| n.wrapping_mul(0x9e37_79b9).to_le_bytes()[3]).collect()
}

/// Opens a TCP connection from the far host to a listener here: the stream, and the far host's ports and next numbers.
fn connected(tun: &Tun) -> (TcpStream, [u16; 2], u32, u32) {
    let listener = TcpListener::bind((std::net::Ipv4Addr::from(NEAR), 0)).unwrap();
    let ports = [4000, listener.local_addr().unwrap().port()];
    let mut syn = Vec::new();
    let packet = PacketBuilder::ipv4(FAR, NEAR, 64).tcp(ports[0], ports[1], 999, 65_535).syn();
    packet.write(&mut syn, &[]).unwrap();
    write_plain(tun, &syn);
    let answer = read(tun, 6);
    let theirs = number(&answer, 34..38) + 1;
    assert_eq!(number(&answer, 38..42), 1000, "our SYN is acknowledged");
    let mut ack = Vec::new();
    let packet = PacketBuilder::ipv4(FAR, NEAR, 64).tcp(ports[0], ports[1], 1000, 65_535);
    packet.ack(theirs).write(&mut ack, &[]).unwrap();
    write_plain(tun, &ack);
    let stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    (stream, ports, 1000, theirs)
}

#[test]
fn a_super_packet_written_in_pieces_comes_out_as_the_same_tcp_octets_and_one_comes_back() {
    inside(|| {
        let tun = Tun::open("s2s0", 1438).unwrap();
        with_address(&tun);
        let (mut stream, ports, sequence, ack) = connected(&tun);
        let payload = pattern(44 * 1400 + 77);
        let mut tcp = etherparse::TcpHeader::new(ports[0], ports[1], sequence, 65_535);
        (tcp.ack, tcp.acknowledgment_number) = (true, ack);
        let mut front = ipv4(6, 20 + payload.len());
        tcp.write(&mut front).unwrap();
        front[36..38].copy_from_slice(&pseudo(6, 20 + payload.len()));
        let header = header(GSO_TCPV4, 40, 1400, 20, 16);
        // The window of a fresh connection is 64 KiB in any case, so that all of it is accepted.
        let mut pieces = vec![IoSlice::new(&header), IoSlice::new(&front)];
        pieces.extend(payload.chunks(1400).map(IoSlice::new));
        tun.write(&pieces).unwrap();
        let mut got = vec![0; payload.len()];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(got, payload);

        // Acknowledgements come first; then one packet of several segments. We promised nothing, so a segment has 536 octets.
        stream.write_all(&payload[..5000]).unwrap();
        let answer = loop {
            let answer = read(&tun, 6);
            if answer.len() > 10 + 40 {
                break answer;
            }
        };
        assert_eq!((answer[0] & 1, answer[1]), (1, GSO_TCPV4), "NEEDS_CSUM and TCPv4");
        assert_eq!(u16::from_ne_bytes([answer[4], answer[5]]), 536);
        assert_eq!(answer[50..], payload[..answer.len() - 50]);
        assert!(answer.len() > 50 + 2 * 536, "{}", answer.len());
    });
}

#[test]
fn a_super_packet_of_udp_becomes_datagrams() {
    inside(|| {
        let tun = Tun::open("s2s0", 1438).unwrap();
        with_address(&tun);
        if !tun.offloads().has(Offloads::UDP) {
            println!("skipped: this kernel knows no super-packets of UDP");
            return;
        }
        let socket = UdpSocket::bind((std::net::Ipv4Addr::from(NEAR), 7)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let payload = pattern(3 * 1200 + 5);
        let len = 8 + payload.len();
        let mut front = ipv4(17, len);
        front.extend(4000_u16.to_be_bytes().into_iter().chain(7_u16.to_be_bytes()));
        front.extend(u16::try_from(len).unwrap().to_be_bytes().into_iter().chain(pseudo(17, len)));
        let header = header(GSO_UDP, 28, 1200, 20, 6);
        tun.write(&[IoSlice::new(&header), IoSlice::new(&front), IoSlice::new(&payload)]).unwrap();
        let mut buffer = [0; 2000];
        for wanted in payload.chunks(1200) {
            let got = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..got], wanted);
        }
    });
}

#[test]
fn without_offloads_packets_are_whole() {
    inside(|| {
        let tun = Tun::open("s2s0", 1438).unwrap();
        with_address(&tun);
        assert_eq!(tun.set_offloads(Offloads::NONE).unwrap(), Offloads::NONE);
        let (mut stream, ..) = connected(&tun);
        stream.write_all(&pattern(5000)).unwrap();
        let answer = read(&tun, 6);
        assert_eq!(answer[..10], [0; 10], "nothing is left to do");
        assert_eq!(answer.len(), 10 + 40 + 536);
    });
}

#[test]
fn offloads_are_taken_as_far_as_the_others_allow() {
    inside(|| {
        let tun = Tun::open("s2s0", 1438).unwrap();
        let all = tun.offloads();
        assert!(all.has(Offloads::CHECKSUM) && all.has(Offloads::TCP_V6), "{all}");
        let wanted = Offloads::ALL.without(Offloads::TCP_V4).without(Offloads::TCP_V6);
        let on = tun.set_offloads(wanted).unwrap();
        assert_eq!(
            on,
            all.without(Offloads::TCP_V4).without(Offloads::TCP_V6).without(Offloads::TCP_ECN)
        );
        assert_eq!(tun.offloads(), on);
        assert_eq!(
            tun.set_offloads(Offloads::ALL.without(Offloads::CHECKSUM)).unwrap(),
            Offloads::NONE
        );
        assert_eq!(tun.set_offloads(Offloads::ALL).unwrap(), all);
    });
}

#[test]
fn offloads_are_listed_in_words() {
    assert_eq!(Offloads::ALL.to_string(), "csum tso4 tso6 tso-ecn uso");
    assert_eq!(Offloads::ALL.without(Offloads::TCP_V4).to_string(), "csum tso6 tso-ecn uso");
    assert_eq!(format!("{:?}", Offloads::NONE), "Offloads(none)");
}

#[test]
fn what_was_set_is_what_the_device_has() {
    inside(|| {
        let tun = Tun::open("s2s0", 1438).unwrap();
        tun.set_queue_len(77).unwrap();
        // From another namespace as well.
        std::thread::scope(|scope| {
            let elsewhere = || Netns::new().unwrap().run(|| tun.set_mtu(1300).unwrap()).unwrap();
            scope.spawn(elsewhere);
        });
        let link = Netlink::open().unwrap().link("s2s0").unwrap().unwrap();
        assert_eq!((link.index, link.mtu), (tun.index(), 1300));
        assert_eq!(tun.queue_len().unwrap(), 77);
        assert!(tun.set_mtu(60).is_err());
    });
}

#[test]
fn queues_share_one_device_that_nobody_else_joins() {
    inside(|| {
        let tuns = Tun::open_queues("s2s0", 1438, 3).unwrap();
        assert_eq!(tuns.len(), 3);
        assert!(tuns.iter().all(|tun| tun.index() == tuns[0].index()));
        with_address(&tuns[0]);
        let socket = UdpSocket::bind((std::net::Ipv4Addr::from(NEAR), 7)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for tun in &tuns {
            let mut packet = Vec::new();
            PacketBuilder::ipv4(FAR, NEAR, 64).udp(4000, 7).write(&mut packet, b"hello").unwrap();
            write_plain(tun, &packet);
            assert_eq!(socket.recv(&mut [0; 9]).unwrap(), 5);
        }
        for queues in [1, 2] {
            let error = Tun::open_queues("s2s0", 1438, queues).unwrap_err();
            assert!(matches!(error, OpenError::TunBusy { .. }), "{error}");
        }
        drop(tuns);
        let tun = Tun::open("s2s0", 1438).unwrap();
        let error = Tun::open("s2s0", 1438).unwrap_err();
        assert!(matches!(error, OpenError::TunBusy { .. }), "{error}");
        drop(tun);
    });
}

/// `VIRTIO_NET_HDR_GSO_TCPV4`.
const GSO_TCPV4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`.
const GSO_UDP: u8 = 5;
