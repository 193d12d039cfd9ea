//! What routers say about packets of ours that were too big for the path: ICMP "fragmentation needed and DF set"
//! (RFC 792, RFC 1191 §4) and ICMPv6 "packet too big" (RFC 4443 §3.2).
//!
//! ```text
//!   IPv4   | IP header | 3 | 4 | sum | unused | MTU  |  what is quoted: | IP header | UDP? | SPI | sequence | ..
//!   IPv6               | 2 | 0 | sum |      MTU      |
//!                      ^ a raw ICMPv6 socket begins here (RFC 3542 §3)
//! ```
//!
//! Raw sockets of their own, rather than the error queues of those that carry ESP (`IP_RECVERR`). There every ICMP message
//! would leave an error behind that the next packet to any peer finds, would take room from the packets that wait to be
//! received, and could come up on any socket of the port; and anybody can send such messages. Here a flood of them fills a
//! small buffer of nobody else. The price is that raw sockets need CAP_NET_RAW; without it no path MTU is learned.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _};

use esp::Quote;
use esp::ip::Version;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event};
use socket2::{Domain, Protocol, Socket, Type};

use crate::sys::message::{set_option, set_option_words};

/// A router could not send an ESP packet on. Nothing of it is authentic until the quote was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooBig {
    /// Where the packet was going to.
    pub remote: IpAddr,
    /// Which packet it was.
    pub quote: Quote,
    /// Octets of the outer packets that would have passed; zero if the router does not say it (RFC 1191 §5).
    pub mtu: u32,
}

/// A non-blocking socket for these messages of one IP version.
#[derive(Debug)]
pub(crate) struct IcmpSocket {
    socket: Socket,
    version: Version,
}

impl IcmpSocket {
    /// Opens it for all addresses of this host.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW, EAFNOSUPPORT on a host without IPv6.
    pub(crate) fn open(version: Version) -> io::Result<Self> {
        let kind = Type::RAW.nonblocking().cloexec();
        let socket = match version {
            Version::V4 => Socket::new(Domain::IPV4, kind, Some(Protocol::ICMPV4))?,
            Version::V6 => Socket::new(Domain::IPV6, kind, Some(Protocol::ICMPV6))?,
        };
        // The filters have a bit for each type, set where messages are not wanted (icmp(7), RFC 3542 §3.2).
        match version {
            Version::V4 => {
                let blocked = !(1_u32 << V4_UNREACHABLE);
                set_option(socket.as_fd(), SOL_RAW, ICMP_FILTER, blocked.cast_signed())?;
            }
            Version::V6 => {
                let mut blocked = [u32::MAX; 8];
                blocked[0] = !(1 << V6_TOO_BIG);
                set_option_words(socket.as_fd(), libc::IPPROTO_ICMPV6, ICMPV6_FILTER, blocked)?;
            }
        }
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        Ok(Self { socket, version })
    }

    /// Receives one message. `None` if it is about nothing of ours.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub(crate) fn receive(&self) -> io::Result<Option<TooBig>> {
        let mut buffer = [0; MESSAGE_LEN];
        let (len, _) =
            rustix::net::recv(&self.socket, &mut buffer, rustix::net::RecvFlags::empty())?;
        let message = buffer.get(..len).unwrap_or_default();
        Ok(read(self.version, message))
    }
}

impl event::Source for &IcmpSocket {
    fn register(&mut self, to: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).register(to, token, interest)
    }

    fn reregister(&mut self, to: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).reregister(to, token, interest)
    }

    fn deregister(&mut self, from: &Registry) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).deregister(from)
    }
}

/// Reads a message as a raw socket of this version gives it. `None` if it is about nothing of ours.
#[must_use]
pub fn read(version: Version, message: &[u8]) -> Option<TooBig> {
    match version {
        Version::V4 => read_v4(message),
        Version::V6 => read_v6(message),
    }
}

/// Reads an IPv4 packet with ICMP in it.
fn read_v4(packet: &[u8]) -> Option<TooBig> {
    let icmp = packet.get(v4_header_len(packet)?..)?;
    let (&[V4_UNREACHABLE, V4_FRAGMENTATION_NEEDED, _, _, _, _, high, low], quoted) =
        icmp.split_first_chunk()?
    else {
        return None;
    };
    let header = quoted.first_chunk::<V4_HEADER_LEN>()?;
    let &[_, _, _, _, _, _, fragment, _, _, protocol, .., a, b, c, d] = header;
    if header.first()? >> 4 != 4 || fragment & V4_OFFSET_HIGH != 0 || header.get(7) != Some(&0) {
        return None;
    }
    let quote = quote(protocol, quoted.get(v4_header_len(quoted)?..)?)?;
    let mtu = u32::from(u16::from_be_bytes([high, low]));
    Some(TooBig { remote: Ipv4Addr::new(a, b, c, d).into(), quote, mtu })
}

/// Reads an ICMPv6 message. Our packets have no extension headers.
fn read_v6(message: &[u8]) -> Option<TooBig> {
    let (&[V6_TOO_BIG, _, _, _, a, b, c, d], quoted) = message.split_first_chunk()? else {
        return None;
    };
    let (header, payload) = quoted.split_first_chunk::<V6_HEADER_LEN>()?;
    let &[first, _, _, _, _, _, protocol, ..] = header;
    let (_, destination) = header.split_last_chunk::<16>()?;
    if first >> 4 != 6 {
        return None;
    }
    let quote = quote(protocol, payload)?;
    let remote = Ipv6Addr::from(*destination).into();
    Some(TooBig { remote, quote, mtu: u32::from_be_bytes([a, b, c, d]) })
}

/// The ESP header behind an IP header.
fn quote(protocol: u8, payload: &[u8]) -> Option<Quote> {
    match protocol {
        UDP => Quote::read(payload.get(UDP_HEADER_LEN..)?),
        ESP => Quote::read(payload),
        _ => None,
    }
}

fn v4_header_len(packet: &[u8]) -> Option<usize> {
    let len = usize::from(packet.first()? & 0x0f) * 4;
    (len >= V4_HEADER_LEN).then_some(len)
}

const V4_UNREACHABLE: u8 = 3;
const V4_FRAGMENTATION_NEEDED: u8 = 4;
const V6_TOO_BIG: u8 = 2;
const V4_HEADER_LEN: usize = 20;
const V6_HEADER_LEN: usize = 40;
const UDP_HEADER_LEN: usize = 8;
/// The upper five bits of a fragment's offset (RFC 791 §3.1): only the first fragment has an ESP header.
const V4_OFFSET_HIGH: u8 = 0x1f;
const UDP: u8 = 17;
const ESP: u8 = 50;

// icmp(7), linux/icmp.h, linux/icmpv6.h.
const SOL_RAW: i32 = 255;
const ICMP_FILTER: i32 = 1;
const ICMPV6_FILTER: i32 = 1;

/// Octets that are read of a message: two IPv4 headers with all options, ICMP, UDP and the ESP header are 144 together.
const MESSAGE_LEN: usize = 192;

/// Octets, some hundred messages: more at a time say nothing new, or come from an attacker.
const RECEIVE_BUFFER: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::num::NonZeroU32;

    use rustix::event::{PollFd, PollFlags, Timespec};

    use super::*;
    use crate::sys::netlink::Netlink;
    use crate::sys::netns::Netns;

    const HEAD: [u8; 8] = [0x12, 0x34, 0x56, 0x78, 0, 0, 0, 7];

    fn quoted_head() -> Quote {
        Quote { spi: NonZeroU32::new(0x1234_5678).unwrap(), sequence_low: 7 }
    }

    /// An IPv4 header of `words` words, to 192.0.2.9.
    fn v4(words: u8, protocol: u8) -> Vec<u8> {
        let mut header = vec![0; usize::from(words) * 4];
        header[0] = 0x40 | words;
        header[6] = 0x40;
        header[9] = protocol;
        header[16..20].copy_from_slice(&[192, 0, 2, 9]);
        header
    }

    fn v4_message(words: u8, protocol: u8, udp: &[u8]) -> Vec<u8> {
        let icmp = [3, 4, 0, 0, 0, 0, 0x05, 0x78];
        [&v4(6, 1)[..], &icmp, &v4(words, protocol), udp, &HEAD].concat()
    }

    fn v6_message(protocol: u8, udp: &[u8]) -> Vec<u8> {
        let mut header = [0; 40];
        header[0] = 0x60;
        header[6] = protocol;
        header[24..28].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
        header[39] = 9;
        [&[2, 0, 0, 0, 0, 0, 0x05, 0x78][..], &header, udp, &HEAD].concat()
    }

    #[test]
    fn the_quote_is_found_behind_options_and_udp() {
        let remote: IpAddr = "192.0.2.9".parse().unwrap();
        let expected = Some(TooBig { remote, quote: quoted_head(), mtu: 1400 });
        assert_eq!(read_v4(&v4_message(5, UDP, &[0; 8])), expected);
        assert_eq!(read_v4(&v4_message(15, UDP, &[0; 8])), expected);
        assert_eq!(read_v4(&v4_message(5, ESP, &[])), expected);
        let remote: IpAddr = "2001:db8::9".parse().unwrap();
        let expected = Some(TooBig { remote, quote: quoted_head(), mtu: 1400 });
        assert_eq!(read_v6(&v6_message(UDP, &[0; 8])), expected);
        assert_eq!(read_v6(&v6_message(ESP, &[])), expected);
    }

    #[test]
    fn what_is_about_nothing_of_ours_is_nothing() {
        for (at, value) in [(24, 11), (25, 3), (32, 0x65), (32, 0x44), (38, 1), (39, 1), (41, 6)] {
            let mut message = v4_message(5, UDP, &[0; 8]);
            message[at] = value;
            assert_eq!(read_v4(&message), None, "{at} {value}");
        }
        for (at, value) in [(0, 1), (8, 0x40), (14, 6), (14, 44)] {
            let mut message = v6_message(UDP, &[0; 8]);
            message[at] = value;
            assert_eq!(read_v6(&message), None, "{at} {value}");
        }
    }

    #[test]
    fn nothing_that_is_cut_off_is_read() {
        let message = v4_message(15, UDP, &[0; 8]);
        (0..message.len()).for_each(|len| assert_eq!(read_v4(&message[..len]), None, "{len}"));
        let message = v6_message(UDP, &[0; 8]);
        (0..message.len()).for_each(|len| assert_eq!(read_v6(&message[..len]), None, "{len}"));
    }

    /// A packet of protocol 50 to ourselves over a loopback device on which nobody listens, told from a message that is ours
    /// by the filter alone.
    #[test]
    fn only_messages_of_these_types_come() {
        let Ok(netns) = Netns::new() else {
            println!("skipped: no right to make a network namespace");
            return;
        };
        netns
            .run(|| {
                let mut netlink = Netlink::open().unwrap();
                let index = netlink.link_index("lo").unwrap();
                netlink.link_up(index).unwrap();
                for (version, any, ours, wanted) in [
                    (Version::V4, Domain::IPV4, "127.0.0.1", &[3, 4, 0, 0, 0, 0, 5, 0x78][..]),
                    (Version::V6, Domain::IPV6, "::1", &[2, 0, 0, 0, 0, 0, 5, 0x78]),
                ] {
                    let socket = IcmpSocket::open(version).unwrap();
                    let protocol =
                        if version == Version::V4 { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
                    let sender = Socket::new(any, Type::RAW, Some(protocol)).unwrap();
                    let to = SocketAddr::new(ours.parse().unwrap(), 0).into();
                    // An echo request, and its answer by the kernel.
                    let echo = if version == Version::V4 { 8 } else { 128 };
                    sender.send_to(&[echo, 0, 0xf7, 0xff, 0, 0, 0, 0], &to).unwrap();
                    sender.send_to(wanted, &to).unwrap();
                    let mut fds = [PollFd::from_borrowed_fd(socket.socket.as_fd(), PollFlags::IN)];
                    let patience = Timespec { tv_sec: 5, tv_nsec: 0 };
                    assert_eq!(rustix::event::poll(&mut fds, Some(&patience)).unwrap(), 1);
                    assert_eq!(socket.receive().unwrap(), None, "it quotes nothing");
                    let none = socket.receive().unwrap_err();
                    assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
                }
            })
            .unwrap();
    }
}
