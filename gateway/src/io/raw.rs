//! Raw sockets of IP protocol 50: ESP without UDP (RFC 4303 §3.1.2), for peers that refuse the UDP encapsulation.
//!
//! ```text
//!   send      | SPI | sequence | ...            the kernel adds the IP header, both families
//!   receive   | IPv4 header | SPI | ...         IPv4 gives the header as well: raw(7)
//!             | SPI | ...                       IPv6 does not: RFC 3542 §3
//! ```

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::io::OpenError;
use crate::io::udp::{Envelope, prepare, send_once_more};
use crate::sys::message;

/// A non-blocking raw socket for ESP.
#[derive(Debug)]
pub struct RawEsp {
    socket: Socket,
    local: IpAddr,
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
        Ok(Self { socket, local })
    }

    /// The address it is bound to.
    #[must_use]
    pub const fn local(&self) -> IpAddr {
        self.local
    }

    /// Receives one packet into `buffer` and says where its ESP part lies; empty if the packet was cut or has no ESP part.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; otherwise see [`is_transient`](crate::io::is_transient).
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Range<usize>> {
        let arrival = message::receive(self.socket.as_fd(), buffer)?;
        if arrival.truncated {
            return Ok(0..0);
        }
        let start = match (self.local, buffer.first()) {
            (IpAddr::V4(_), Some(first)) => usize::from(first & 0x0f) * 4,
            _ => 0,
        };
        Ok(start.min(arrival.len)..arrival.len)
    }

    /// Sends one ESP packet.
    pub(crate) fn send_esp(&self, packet: &[u8], envelope: &Envelope) -> io::Result<()> {
        send_once_more(self.socket.as_fd(), &[IoSlice::new(packet)], envelope)
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
