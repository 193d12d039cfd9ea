//! UDP sockets for IKE and for ESP in UDP (RFC 7296 §2.23, RFC 3948).
//!
//! ```text
//!   port 500   | IKE message ...                     |      UDP payload
//!   port 4500  | 00 00 00 00 | IKE message ...       |      non-ESP marker, RFC 3948 §2.2
//!              | SPI, not 0  | ESP ...               |      RFC 3948 §2.1
//!              | FF |                                       NAT keepalive, RFC 3948 §2.3
//! ```
//!
//! A socket is bound to one of our addresses or to all of one family; either way a datagram comes with the address that was
//! asked, and an answer leaves from it. Outer packets have DF set and are never fragmented, with one exception: an IKE
//! message that does not fit, which IP has to fragment (RFC 7296 §2).
//!
//! ESP goes many datagrams a message and many messages a call: `UdpSocket::send_batch`, `UdpSocket::receive_batch`. On the
//! NAT port the kernel merges what belongs together (`UDP_GRO`), so a message received there may be many datagrams.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ikev2::Path;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::io::{OpenError, holder};
use crate::sys::batch;
pub(crate) use crate::sys::batch::{Inbox, Message, Outgoing};
pub(crate) use crate::sys::message::Envelope;
use crate::sys::message::{self, Arrival};
use crate::sys::steering;

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Plain IKE (UDP 500).
    Ike,
    /// IKE behind a non-ESP marker, ESP, keepalives (UDP 4500).
    Nat,
}

/// A datagram's addresses and length; its octets are in the buffer that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Octets.
    pub len: usize,
    /// Local: the address it was sent to and our port. Remote: the sender.
    pub path: Path,
    /// It was longer than the buffer; the rest is lost.
    pub truncated: bool,
}

/// A non-blocking UDP socket.
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
    local: SocketAddr,
    port: Port,
    learned: Arc<Learned>,
}

/// What the kernel can do and has said; all descriptors of a socket share it.
#[derive(Debug)]
struct Learned {
    merges: bool,
    gso: AtomicBool,
    segments_max: usize,
    overflowed: AtomicU32,
}

impl Learned {
    /// A kernel before 5.0 knows no merging, one before 4.18 no cutting; setting the length to none asks for nothing else.
    fn of(socket: &Socket, port: Port) -> Self {
        let set = |option, value| {
            message::set_option(socket.as_fd(), libc::SOL_UDP, option, value).is_ok()
        };
        Self {
            merges: port == Port::Nat && set(libc::UDP_GRO, 1),
            gso: AtomicBool::new(set(libc::UDP_SEGMENT, 0)),
            segments_max: segments_max(rustix::system::uname().release().to_bytes()),
            overflowed: AtomicU32::new(0),
        }
    }
}

impl UdpSocket {
    /// Prepares a socket that somebody else has bound to `local`, IPv6 ones to IPv6 alone.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn adopt(socket: Socket, local: SocketAddr, port: Port) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        prepare(&socket, local.is_ipv6())?;
        let learned = Arc::new(Learned::of(&socket, port));
        Ok(Self { socket, local, port, learned })
    }

    /// Binds `local`; an unspecified address means all addresses of that family (IPv6 sockets never take IPv4).
    ///
    /// # Errors
    /// [`OpenError`], one of the UDP kinds.
    pub fn bind(local: SocketAddr, port: Port) -> Result<Self, OpenError> {
        Self::bind_beside(local, port, false)
    }

    /// `beside`: others of ours are bound there.
    fn bind_beside(local: SocketAddr, port: Port, beside: bool) -> Result<Self, OpenError> {
        let other = |what| move |cause| OpenError::Udp { what, local, cause };
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(local), kind, Some(Protocol::UDP))
            .map_err(other("create"))?;
        prepare(&socket, local.is_ipv6()).map_err(other("prepare"))?;
        if local.is_ipv6() {
            socket.set_only_v6(true).map_err(other("prepare"))?;
        }
        if beside {
            socket.set_reuse_port(true).map_err(other("share"))?;
        }
        // Before it is bound, so that not one message comes unmerged.
        let learned = Learned::of(&socket, port);
        socket.bind(&SockAddr::from(local)).map_err(|cause| match cause.raw_os_error() {
            Some(libc::EADDRINUSE) => {
                OpenError::PortInUse { local, holder: holder::of_port(local.port()) }
            }
            Some(libc::EPERM | libc::EACCES) => OpenError::PortDenied { local },
            Some(libc::EADDRNOTAVAIL) => OpenError::NoSuchAddress { address: local.ip() },
            _ => OpenError::Udp { what: "bind", local, cause },
        })?;
        let bound = socket.local_addr().map_err(other("name"))?;
        let local = bound.as_socket().unwrap_or(local);
        Ok(Self { socket, local, port, learned: Arc::new(learned) })
    }

    /// Binds `number` on each address of `listen`; on all addresses of both families if `listen` is empty, where a host
    /// without IPv6 is no error.
    ///
    /// # Errors
    /// The first that failed.
    pub fn bind_all(listen: &[IpAddr], number: u16, port: Port) -> Result<Vec<Self>, OpenError> {
        if !listen.is_empty() {
            return listen.iter().map(|&ip| Self::bind((ip, number).into(), port)).collect();
        }
        let mut sockets = vec![Self::bind((Ipv4Addr::UNSPECIFIED, number).into(), port)?];
        match Self::bind((Ipv6Addr::UNSPECIFIED, number).into(), port) {
            Ok(socket) => sockets.push(socket),
            Err(OpenError::NoSuchAddress { .. }) => {}
            Err(OpenError::Udp { cause, .. })
                if cause.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
            Err(error) => return Err(error),
        }
        Ok(sockets)
    }

    /// Further sockets on the same address and port, one for each further worker: the SPI of a packet decides which socket gets it
    /// (`sys/steering.rs`). The port was bound alone first, so that nobody else's sockets are among them.
    ///
    /// # Errors
    /// [`OpenError`], one of the UDP kinds.
    pub fn join(&self, workers: usize) -> Result<Vec<Self>, OpenError> {
        let local = self.local;
        let other = |what| move |cause| OpenError::Udp { what, local, cause };
        if workers <= 1 {
            return Ok(Vec::new());
        }
        self.socket.set_reuse_port(true).map_err(other("share"))?;
        let further = (1..workers).map(|_| Self::bind_beside(local, self.port, true));
        let further = further.collect::<Result<Vec<_>, _>>()?;
        self.steer(workers)?;
        Ok(further)
    }

    /// Lets so many sockets that share this one's address get each the SPIs of its worker.
    ///
    /// # Errors
    /// [`OpenError::Udp`].
    pub(crate) fn steer(&self, workers: usize) -> Result<(), OpenError> {
        let workers = u32::try_from(workers).unwrap_or(1);
        steering::steer_udp(self.as_fd(), workers).map_err(|cause| OpenError::Udp {
            what: "steer",
            local: self.local,
            cause,
        })
    }

    /// Another descriptor of the same socket, for another thread to send on.
    ///
    /// # Errors
    /// What the system says (too many open files).
    pub fn try_clone(&self) -> io::Result<Self> {
        let (socket, learned) = (self.socket.try_clone()?, Arc::clone(&self.learned));
        Ok(Self { socket, local: self.local, port: self.port, learned })
    }

    /// The address and port it is bound to.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// What is spoken on it.
    #[must_use]
    pub const fn port(&self) -> Port {
        self.port
    }

    /// Whether the kernel merges datagrams that arrive, so that a message may be many of them.
    #[must_use]
    pub fn merges(&self) -> bool {
        self.learned.merges
    }

    /// Whether messages may be sent that the kernel or the network card cuts into datagrams. False where the kernel cannot,
    /// and after the way out refused one (EIO: a card that computes no checksums); `Outgoing::apart` is for then.
    #[must_use]
    pub fn gso_works(&self) -> bool {
        self.learned.gso.load(Ordering::Relaxed)
    }

    /// Says whether the next message may be one to cut: true to try again, for instance after the route changed.
    pub fn set_gso(&self, works: bool) {
        self.learned.gso.store(works, Ordering::Relaxed);
    }

    /// How many datagrams a message may be cut into.
    #[must_use]
    pub fn segments_max(&self) -> usize {
        self.learned.segments_max
    }

    /// How many octets a message that is cut may have, all datagrams together.
    #[must_use]
    pub const fn message_max(&self) -> usize {
        if self.local.is_ipv4() { MESSAGE_MAX_V4 } else { MESSAGE_MAX_V6 }
    }

    /// How many datagrams were dropped for want of room in the receive queue since the socket was made, as the last message
    /// said that was received. It wraps around.
    #[must_use]
    pub fn overflowed(&self) -> u32 {
        self.learned.overflowed.load(Ordering::Relaxed)
    }

    /// Sends messages in order until one is refused. Says how many were taken, and why the next one was not: `WouldBlock` if
    /// there is no room; EMSGSIZE (older kernels: EINVAL) if a datagram is longer than the MTU; EINVAL if there are too many of
    /// them; EIO if the way out cannot cut messages, see [`gso_works`](Self::gso_works). One that is taken is taken whole.
    pub(crate) fn send_batch<'a>(
        &self,
        messages: impl IntoIterator<Item = Outgoing<'a>>,
    ) -> (usize, io::Result<()>) {
        let (taken, result) = batch::send(self.socket.as_fd(), messages);
        if result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EIO)) {
            self.set_gso(false);
        }
        (taken, result)
    }

    /// Whether packets leave with DF and whole (the normal state), or may be fragmented from now on, all that are sent here.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn set_df(&self, on: bool) -> io::Result<()> {
        set_df(&self.socket, self.local.is_ipv6(), on)
    }

    /// Receives as many messages as wait and `inbox` has room for; says how many.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; otherwise see [`is_transient`](crate::io::is_transient).
    pub(crate) fn receive_batch(&self, inbox: &mut Inbox) -> io::Result<usize> {
        let received = batch::receive(self.socket.as_fd(), inbox);
        if let Some(count) = inbox.overflowed() {
            self.learned.overflowed.store(count, Ordering::Relaxed);
        }
        received
    }

    /// Between which addresses a message came that was received here.
    pub(crate) fn path_of(&self, message: &Message) -> Path {
        let ip = message.local.unwrap_or(self.local.ip());
        let local = with_scope(SocketAddr::new(ip, self.local.port()), message.remote);
        Path { local, remote: message.remote }
    }

    /// Receives one datagram into `buffer` (65535 octets take any). Not where the kernel [`merges`](Self::merges) them.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; otherwise see [`is_transient`](crate::io::is_transient).
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let Arrival { len, remote, local, truncated } =
            message::receive(self.socket.as_fd(), buffer)?;
        let ip = local.unwrap_or(self.local.ip());
        let local = with_scope(SocketAddr::new(ip, self.local.port()), remote);
        Ok(Received { len, path: Path { local, remote }, truncated })
    }

    /// Sends one IKE message; adds the non-ESP marker on the NAT port. A message over the MTU is left to IP to fragment.
    ///
    /// # Errors
    /// What the system says.
    pub fn send_ike(&self, path: &Path, payload: &[u8]) -> io::Result<()> {
        let envelope = Envelope::new(Some(path.local.ip()), path.remote);
        let parts = [IoSlice::new(&esp::udp::NON_ESP_MARKER), IoSlice::new(payload)];
        let [_, plain] = &parts;
        let parts: &[IoSlice<'_>] = match self.port {
            Port::Ike => std::slice::from_ref(plain),
            Port::Nat => &parts,
        };
        match self.send(parts, &envelope) {
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                // ESP packets that another thread sends on this socket meanwhile lack DF, which does no harm.
                self.set_df(false)?;
                let sent = self.send(parts, &envelope);
                self.set_df(true)?;
                sent
            }
            done => done,
        }
    }

    /// Sends one NAT keepalive (RFC 3948 §2.3).
    ///
    /// # Errors
    /// What the system says.
    pub fn send_keepalive(&self, path: &Path) -> io::Result<()> {
        let envelope = Envelope::new(Some(path.local.ip()), path.remote);
        self.send(&[IoSlice::new(&esp::udp::KEEPALIVE)], &envelope)
    }

    fn send(&self, parts: &[IoSlice<'_>], envelope: &Envelope) -> io::Result<()> {
        let send = || message::send(self.socket.as_fd(), parts, envelope).map(|_| ());
        send().or_else(|error| if message::is_stale(&error) { send() } else { Err(error) })
    }
}

/// All UDP sockets of one owner; finds the one for a path.
#[derive(Debug, Default)]
pub struct UdpSockets(pub Vec<UdpSocket>);

impl UdpSockets {
    /// Position of the socket to send on from `local`: the one bound to that very address, otherwise the one for all
    /// addresses of its family; the port has to be the same. An unspecified `local` address fits any socket of its family.
    #[must_use]
    pub fn position(&self, local: SocketAddr) -> Option<usize> {
        let fits = |socket: &UdpSocket, exact: bool| {
            let bound = socket.local();
            bound.port() == local.port()
                && bound.is_ipv4() == local.is_ipv4()
                && (bound.ip() == local.ip()
                    || !exact && (bound.ip().is_unspecified() || local.ip().is_unspecified()))
        };
        [true, false]
            .into_iter()
            .find_map(|exact| self.0.iter().position(|socket| fits(socket, exact)))
    }

    /// Sends one IKE message from `path.local` to `path.remote`, with the non-ESP marker where the port wants it.
    ///
    /// # Errors
    /// `AddrNotAvailable` if no socket has that local address and port; otherwise what the system says.
    pub fn send_ike(&self, path: &Path, payload: &[u8]) -> io::Result<()> {
        self.socket_for(path)?.send_ike(path, payload)
    }

    /// Sends one NAT keepalive; the caller decides when (RFC 3948 §4: every 20 s while we are behind a NAT and idle).
    ///
    /// # Errors
    /// As [`send_ike`](Self::send_ike).
    pub fn send_keepalive(&self, path: &Path) -> io::Result<()> {
        self.socket_for(path)?.send_keepalive(path)
    }

    fn socket_for(&self, path: &Path) -> io::Result<&UdpSocket> {
        self.position(path.local).and_then(|position| self.0.get(position)).ok_or_else(|| {
            let what = format!("no UDP socket is bound to {}", path.local);
            io::Error::new(io::ErrorKind::AddrNotAvailable, what)
        })
    }
}

/// Which of our addresses the kernel would use towards `remote`; nothing is sent.
///
/// # Errors
/// What the system says, for instance that there is no route.
pub fn source_for(remote: SocketAddr) -> io::Result<IpAddr> {
    let kind = Type::DGRAM.cloexec();
    let socket = Socket::new(Domain::for_address(remote), kind, Some(Protocol::UDP))?;
    socket.connect(&SockAddr::from(remote))?;
    let local = socket.local_addr()?.as_socket();
    local.map(|local| local.ip()).ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

/// Sets what every socket here needs before it is bound.
pub(crate) fn prepare(socket: &Socket, v6: bool) -> io::Result<()> {
    let switch_on = |level, option| message::set_option(socket.as_fd(), level, option, 1);
    if v6 {
        switch_on(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?;
        switch_on(libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS)?;
    } else {
        switch_on(libc::IPPROTO_IP, libc::IP_PKTINFO)?;
        switch_on(libc::IPPROTO_IP, libc::IP_RECVTOS)?;
    }
    switch_on(libc::SOL_SOCKET, libc::SO_RXQ_OVFL)?;
    set_df(socket, v6, true)?;
    // The forced variants pass net.core.rmem_max and need CAP_NET_ADMIN; the others are cut to it and never fail for it.
    if set_socket_recv_buffer_size_force(socket, RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    if set_socket_send_buffer_size_force(socket, SEND_BUFFER).is_err() {
        socket.set_send_buffer_size(SEND_BUFFER)?;
    }
    Ok(())
}

/// DF, and no fragmenting by ourselves. `PROBE` rather than `DO`: a forged ICMP "too big" must not be able to shrink what
/// we send; the path MTU is the business of those who authenticate. Without DF it is `OMIT` rather than `DONT` for the same
/// reason: we cut for the device, and routers for what is narrower. No IPv6 router does, so that there it has to be what
/// the kernel believes of the path; it never believes less than 1280.
pub(crate) fn set_df(socket: &Socket, v6: bool, on: bool) -> io::Result<()> {
    if v6 {
        let mode = if on { Ipv6PathMtuDiscovery::PROBE } else { Ipv6PathMtuDiscovery::DONT };
        set_ipv6_mtu_discover(socket, mode)?;
        let on = i32::from(on);
        message::set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, on)
    } else {
        let mode = if on { Ipv4PathMtuDiscovery::PROBE } else { Ipv4PathMtuDiscovery::OMIT };
        Ok(set_ip_mtu_discover(socket, mode)?)
    }
}

/// How many datagrams a message may be cut into by a kernel of this release: `UDP_MAX_SEGMENTS` was 64 and became 128 shortly
/// before 6.10; distributions with an older number may have either.
fn segments_max(release: &[u8]) -> usize {
    let mut numbers = release.split(|octet| !octet.is_ascii_digit()).map(|digits| {
        std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u32>().ok())
    });
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) >= (6, 10) => 128,
        _ => 64,
    }
}

/// A link-local address of ours means something on the interface of the sender alone.
fn with_scope(local: SocketAddr, remote: SocketAddr) -> SocketAddr {
    match (local, remote) {
        (SocketAddr::V6(mut local), SocketAddr::V6(remote)) => {
            local.set_scope_id(if local.ip().is_unicast_link_local() {
                remote.scope_id()
            } else {
                0
            });
            local.into()
        }
        (local, _) => local,
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl event::Source for &UdpSocket {
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

/// Octets of a message that is cut, IPv4. A frame of 65536 octets or more is cut by the kernel before the device sees it,
/// which costs many times as much: that leaves 65535 less 22 of an Ethernet header with two VLAN tags, 20 and 8.
const MESSAGE_MAX_V4: usize = 65_535 - 22 - 20 - 8;

/// As before, IPv6.
const MESSAGE_MAX_V6: usize = 65_535 - 22 - 40 - 8;

/// Octets; at 1400 a packet some 3000 packets once the kernel's own overhead is taken off.
pub(crate) const RECEIVE_BUFFER: usize = 8 << 20;

/// Octets.
pub(crate) const SEND_BUFFER: usize = 4 << 20;

#[cfg(test)]
mod tests;
