//! Raw sockets of IP protocol 50: ESP without UDP (RFC 4303 §3.1.2), for peers that refuse the UDP encapsulation.
//!
//! ```text
//!   send      | SPI | sequence | ...            the kernel adds the IP header, both families
//!   receive   | IPv4 header | SPI | ...         IPv4 gives the header as well: raw(7)
//!             | SPI | ...                       IPv6 does not: RFC 3542 §3
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::io::OpenError;
use crate::io::udp::{Inbox, Outgoing, prepare, set_df};
use crate::sys::batch;
use crate::sys::steering;

/// A non-blocking raw socket for ESP.
#[derive(Debug)]
pub struct RawEsp {
    socket: Socket,
    local: IpAddr,
    overflowed: AtomicU32,
}

impl RawEsp {
    /// Opens it on one of our addresses, or on all of a family if `local` is unspecified.
    ///
    /// # Errors
    /// [`OpenError`], one of the raw kinds.
    pub fn bind(local: IpAddr) -> Result<Self, OpenError> {
        let other = |what| move |cause| OpenError::Raw { what, address: local, cause };
        let address = SocketAddr::new(local, 0);
        let kind = Type::RAW.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::from(ESP)))
            .map_err(|cause| match cause.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => OpenError::RawDenied { address: local },
                _ => OpenError::Raw { what: "create", address: local, cause },
            })?;
        prepare(&socket, local.is_ipv6()).map_err(other("prepare"))?;
        socket.bind(&SockAddr::from(address)).map_err(|cause| match cause.raw_os_error() {
            Some(libc::EADDRNOTAVAIL) => OpenError::NoSuchAddress { address: local },
            _ => OpenError::Raw { what: "bind", address: local, cause },
        })?;
        Ok(Self { socket, local, overflowed: AtomicU32::new(0) })
    }

    /// Further sockets on the same address, one for each further worker, each of which takes the SPIs that are its own, as this
    /// one does from now on.
    ///
    /// # Errors
    /// [`OpenError`], one of the raw kinds.
    pub fn join(&self, workers: usize) -> Result<Vec<Self>, OpenError> {
        let local = self.local;
        let further = (1..workers).map(|_| Self::bind(local)).collect::<Result<Vec<_>, _>>()?;
        let count = u32::try_from(workers).unwrap_or(1);
        if count > 1 {
            for (socket, worker) in std::iter::once(self).chain(&further).zip(0..) {
                steering::steer_raw(socket.as_fd(), local.is_ipv4(), worker, count)
                    .map_err(|cause| OpenError::Raw { what: "steer", address: local, cause })?;
            }
        }
        Ok(further)
    }

    /// The address it is bound to.
    #[must_use]
    pub const fn local(&self) -> IpAddr {
        self.local
    }

    /// How many packets were dropped for want of room in the receive queue since the socket was made, as the last packet said
    /// that was received. It wraps around.
    #[must_use]
    pub fn overflowed(&self) -> u32 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Sends ESP packets in order until one is refused. Says how many were taken, and why the next one was not: `WouldBlock` if
    /// there is no room, EMSGSIZE if it is longer than the MTU. Nothing is cut here: segments have to be zero.
    pub(crate) fn send_batch<'a>(
        &self,
        packets: impl IntoIterator<Item = Outgoing<'a>>,
    ) -> (usize, io::Result<()>) {
        batch::send(self.socket.as_fd(), packets)
    }

    /// As [`UdpSocket::set_df`](crate::io::UdpSocket::set_df).
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn set_df(&self, on: bool) -> io::Result<()> {
        set_df(&self.socket, self.local.is_ipv6(), on)
    }

    /// Receives as many packets as wait and `inbox` has room for; says how many. The range of each is its ESP part, which is
    /// empty if it has none.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; otherwise see [`is_transient`](crate::io::is_transient).
    pub(crate) fn receive_batch(&self, inbox: &mut Inbox) -> io::Result<usize> {
        let received = batch::receive(self.socket.as_fd(), inbox);
        if let Some(count) = inbox.overflowed() {
            self.overflowed.store(count, Ordering::Relaxed);
        }
        if self.local.is_ipv4() {
            let (octets, packets) = inbox.parts_mut();
            for packet in packets {
                // Our kernel checked the header, so that it is there as a whole.
                let first = octets.get(packet.range.start).copied().unwrap_or_default();
                let header_len = usize::from(first & 0x0f) * 4;
                packet.range.start = packet.range.end.min(packet.range.start + header_len);
                packet.stride = packet.range.len().max(1);
            }
        }
        received
    }

    /// Position of the socket to send on from `local`, by the rule of [`UdpSockets::position`](crate::io::UdpSockets::position).
    pub(crate) fn position(sockets: &[Self], local: IpAddr) -> Option<usize> {
        let any = |socket: &Self| socket.local.is_unspecified() || local.is_unspecified();
        let exact = sockets.iter().position(|socket| socket.local == local);
        exact.or_else(|| {
            sockets
                .iter()
                .position(|socket| socket.local.is_ipv4() == local.is_ipv4() && any(socket))
        })
    }
}

impl AsFd for RawEsp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl event::Source for &RawEsp {
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

/// The IP protocol number of ESP (RFC 4303 §2).
const ESP: i32 = 50;

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec};

    use super::*;
    use crate::io::udp::Envelope;
    use crate::sys::netlink::Netlink;
    use crate::sys::netns::Netns;

    const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

    /// Both families; the packets have to be longer than what comes before them to be told from it.
    #[test]
    fn packets_of_one_call_arrive_with_their_traffic_class_and_without_the_ip_header() {
        let Ok(netns) = Netns::new() else {
            println!("skipped: no right to make a network namespace");
            return;
        };
        netns
            .run(|| {
                let mut netlink = Netlink::open().unwrap();
                let index = netlink.link_index("lo").unwrap();
                netlink.link_up(index).unwrap();
                netlink.add_address(index, "192.0.2.1/32".parse().unwrap()).unwrap();
                for (any, to, from) in [("0.0.0.0", "127.0.0.1", "192.0.2.1"), ("::", "::1", "::1")]
                {
                    there_and_back(
                        any.parse().unwrap(),
                        to.parse().unwrap(),
                        from.parse().unwrap(),
                    );
                }
            })
            .unwrap();
    }

    fn there_and_back(any: IpAddr, to: IpAddr, from: IpAddr) {
        let socket = RawEsp::bind(any).unwrap();
        let envelope = Envelope::new(Some(from), SocketAddr::new(to, 0));
        let payloads: Vec<Vec<u8>> = (0..100).map(|n: u8| vec![n; 40 + usize::from(n)]).collect();
        let packet = |payload, traffic_class| {
            let envelope = &envelope;
            Outgoing { payload, segment: 0, envelope, traffic_class }
        };
        let packets = payloads.iter().zip(0..).map(|(payload, class)| packet(payload, class));
        let (taken, result) = socket.send_batch(packets);
        result.unwrap();
        assert_eq!(taken, 100);
        let too_long = vec![0; 70_000];
        let (taken, result) = socket.send_batch([packet(&payloads[0], 0), packet(&too_long, 0)]);
        assert_eq!((taken, result.unwrap_err().raw_os_error()), (1, Some(libc::EMSGSIZE)));

        let mut inbox = Inbox::new(16);
        let mut seen = Vec::new();
        while seen.len() < 101 {
            let mut fds = [PollFd::new(&socket, PollFlags::IN)];
            assert_eq!(rustix::event::poll(&mut fds, Some(&PATIENCE)).unwrap(), 1, "nothing came");
            let count = socket.receive_batch(&mut inbox).unwrap();
            let messages: Vec<_> = (0..count).filter_map(|at| inbox.message(at)).collect();
            for message in messages {
                assert_eq!((message.remote.ip(), message.local), (from, Some(to)));
                assert_eq!((message.datagrams().count(), message.truncated), (1, false));
                let octets = inbox.buffer_mut()[message.range.clone()].to_vec();
                seen.push((octets, message.traffic_class));
            }
        }
        let mut wanted: Vec<_> = payloads.clone().into_iter().zip(0..).collect();
        wanted.push((payloads[0].clone(), 0));
        assert_eq!(seen, wanted);
        assert_eq!(socket.overflowed(), 0);
    }
}
