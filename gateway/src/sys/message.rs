//! One datagram a call, with its local address: `sendmsg` and `recvmsg` with packet information (ip(7), ipv6(7)).
//!
//! ```text
//!            msghdr
//!   name     sockaddr_in / sockaddr_in6        to whom, from whom
//!   iov      [marker]? payload                 gathered, never copied together
//!   control  cmsghdr | in_pktinfo / in6_pktinfo     from which of our addresses, to which of our addresses
//! ```
//!
//! The part that is the same for every packet of an SA, name and control, is made once: an [`Envelope`].

use std::io::{self, IoSlice};
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Where a datagram goes and which of our addresses it leaves from, in the kernel's own form.
#[derive(Clone)]
pub(crate) struct Envelope {
    name: Name,
    control: Control,
    control_len: usize,
}

impl Envelope {
    /// `from`: which of our addresses to leave from; `None` or unspecified lets the kernel choose by route.
    /// Its family has to be that of `to`, otherwise it is not used.
    pub(crate) fn new(from: Option<IpAddr>, to: SocketAddr) -> Self {
        let mut envelope =
            Self { name: Name::of(to), control: Control([0; CONTROL_LEN]), control_len: 0 };
        match (from, to) {
            (Some(IpAddr::V4(from)), SocketAddr::V4(_)) if !from.is_unspecified() => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: in_addr(from),
                    ipi_addr: in_addr(Ipv4Addr::UNSPECIFIED),
                };
                envelope.put(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            (Some(IpAddr::V6(from)), SocketAddr::V6(_)) if !from.is_unspecified() => {
                let info = libc::in6_pktinfo { ipi6_addr: in6_addr(from), ipi6_ifindex: 0 };
                envelope.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
            _ => {}
        }
        envelope
    }

    /// Writes the one control message.
    fn put<T: Copy>(&mut self, level: i32, kind: i32, info: T) {
        let info_len = u32::try_from(size_of::<T>()).expect("invariant: a pktinfo has 20 octets");
        let mut header = message_header();
        header.msg_control = self.control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_LEN;
        // SAFETY: `header` describes `self.control`, which is aligned for cmsghdr and, as the constant assertion below
        // proves, has room for one header and the larger pktinfo; CMSG_FIRSTHDR and CMSG_DATA stay inside it. The data
        // is written unaligned because CMSG_DATA promises no alignment.
        unsafe {
            let cmsg = libc::CMSG_FIRSTHDR(&raw const header);
            (*cmsg).cmsg_level = level;
            (*cmsg).cmsg_type = kind;
            (*cmsg).cmsg_len = libc::CMSG_LEN(info_len) as usize;
            ptr::write_unaligned(libc::CMSG_DATA(cmsg).cast::<T>(), info);
            self.control_len = libc::CMSG_SPACE(info_len) as usize;
        }
    }
}

/// Sends one datagram gathered from `parts`.
///
/// # Errors
/// What the system says: `WouldBlock`, EMSGSIZE, ENOBUFS, ENETUNREACH, ...
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    envelope: &Envelope,
) -> io::Result<usize> {
    let mut header = message_header();
    header.msg_name = ptr::from_ref(&envelope.name.storage).cast_mut().cast();
    header.msg_namelen = envelope.name.len;
    header.msg_iov = parts.as_ptr().cast::<libc::iovec>().cast_mut();
    header.msg_iovlen = parts.len();
    if envelope.control_len > 0 {
        header.msg_control = envelope.control.0.as_ptr().cast_mut().cast();
        header.msg_controllen = envelope.control_len;
    }
    // SAFETY: every pointer in `header` is to something borrowed for the whole call, with its true length; sendmsg only
    // reads through them. IoSlice is promised to have the layout of iovec.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// One received datagram, beside its octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Octets in the buffer.
    pub(crate) len: usize,
    /// The sender.
    pub(crate) remote: SocketAddr,
    /// Which of our addresses it was sent to, if the socket was asked to say so.
    pub(crate) local: Option<IpAddr>,
    /// It was longer than the buffer.
    pub(crate) truncated: bool,
}

/// Receives one datagram into `buffer`.
///
/// # Errors
/// `WouldBlock` if there is none; otherwise what the system says.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Arrival> {
    let mut storage = MaybeUninit::<libc::sockaddr_in6>::zeroed();
    let mut control = Control([0; CONTROL_LEN]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut header = message_header();
    header.msg_name = storage.as_mut_ptr().cast();
    header.msg_namelen = NAME_LEN;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_LEN;
    // SAFETY: every pointer in `header` is to something mutably borrowed for the whole call, with its true length.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, 0) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the storage was zeroed, which is a valid sockaddr_in6, and the kernel wrote a sockaddr over it.
    let storage = unsafe { storage.assume_init() };
    let name = Name { storage, len: header.msg_namelen };
    Ok(Arrival {
        len,
        remote: name.address().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?,
        local: local_address(&header),
        truncated: header.msg_flags & libc::MSG_TRUNC != 0,
    })
}

/// Finds the packet information among the control messages of a received message.
fn local_address(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: `header` was filled by recvmsg, so that msg_controllen octets of msg_control are a list of well-formed
    // control messages; the caller keeps that buffer alive. CMSG_FIRSTHDR and CMSG_NXTHDR return null or a pointer to a
    // whole header inside it, and the kernel gives IP_PKTINFO and IPV6_PKTINFO the data that are read here, unaligned.
    unsafe {
        let mut cmsg = libc::CMSG_FIRSTHDR(header);
        while let Some(this) = cmsg.as_ref() {
            match (this.cmsg_level, this.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = ptr::read_unaligned(libc::CMSG_DATA(cmsg).cast());
                    return Some(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = ptr::read_unaligned(libc::CMSG_DATA(cmsg).cast());
                    return Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                _ => cmsg = libc::CMSG_NXTHDR(header, cmsg),
            }
        }
    }
    None
}

/// Sets a socket option whose value is an int.
///
/// # Errors
/// What the system says.
pub(crate) fn set_option(
    socket: BorrowedFd<'_>,
    level: i32,
    option: i32,
    value: i32,
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<i32>()).expect("invariant: an int is 4 octets");
    // SAFETY: the pointer and length describe `value`, which outlives the call; setsockopt only reads it.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), len)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A socket address as the kernel has it. A sockaddr_in is the shorter and lies at the beginning of the storage.
#[derive(Clone, Copy)]
struct Name {
    storage: libc::sockaddr_in6,
    len: libc::socklen_t,
}

impl Name {
    fn of(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => {
                let name = libc::sockaddr_in {
                    sin_family: AF_INET,
                    sin_port: address.port().to_be(),
                    sin_addr: in_addr(*address.ip()),
                    sin_zero: [0; 8],
                };
                let mut storage = MaybeUninit::<libc::sockaddr_in6>::zeroed();
                // SAFETY: a sockaddr_in fits a sockaddr_in6 in size and alignment (asserted below), and zeroes make the
                // rest of it valid.
                let storage = unsafe {
                    storage.as_mut_ptr().cast::<libc::sockaddr_in>().write(name);
                    storage.assume_init()
                };
                Self { storage, len: NAME_V4_LEN }
            }
            SocketAddr::V6(address) => Self {
                storage: libc::sockaddr_in6 {
                    sin6_family: AF_INET6,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: in6_addr(*address.ip()),
                    sin6_scope_id: address.scope_id(),
                },
                len: NAME_LEN,
            },
        }
    }

    /// `None` if it is neither IPv4 nor IPv6.
    fn address(&self) -> Option<SocketAddr> {
        if self.storage.sin6_family == AF_INET && self.len >= NAME_V4_LEN {
            // SAFETY: a sockaddr_in fits a sockaddr_in6 in size and alignment (asserted below), any octets are a valid
            // one, and the family says that it is one.
            let name = unsafe { ptr::from_ref(&self.storage).cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
            return Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into());
        }
        if self.storage.sin6_family == AF_INET6 && self.len >= NAME_LEN {
            let name = &self.storage;
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            return Some(SocketAddrV6::new(ip, port, 0, name.sin6_scope_id).into());
        }
        None
    }
}

/// Room for one control message, aligned as cmsghdr.
#[derive(Clone)]
#[repr(align(8))]
struct Control([u8; CONTROL_LEN]);

fn message_header() -> libc::msghdr {
    // SAFETY: zeroes are a valid msghdr: null pointers with zero lengths.
    unsafe { MaybeUninit::<libc::msghdr>::zeroed().assume_init() }
}

fn in_addr(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) }
}

fn in6_addr(ip: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr { s6_addr: ip.octets() }
}

const CONTROL_LEN: usize = 64;
const AF_INET: libc::sa_family_t = 2;
const AF_INET6: libc::sa_family_t = 10;
const NAME_V4_LEN: libc::socklen_t = 16;
const NAME_LEN: libc::socklen_t = 28;

const _: () = {
    assert!(AF_INET as i32 == libc::AF_INET && AF_INET6 as i32 == libc::AF_INET6);
    assert!(NAME_V4_LEN as usize == size_of::<libc::sockaddr_in>());
    assert!(NAME_LEN as usize == size_of::<libc::sockaddr_in6>());
    assert!(align_of::<libc::sockaddr_in>() <= align_of::<libc::sockaddr_in6>());
    assert!(align_of::<libc::cmsghdr>() <= align_of::<Control>());
    assert!(size_of::<libc::cmsghdr>() + size_of::<libc::in6_pktinfo>() + 8 <= CONTROL_LEN);
    assert!(size_of::<libc::in_pktinfo>() <= size_of::<libc::in6_pktinfo>());
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_way_through_the_kernel_form() {
        for address in ["192.0.2.1:4500", "[2001:db8::1]:500", "[fe80::1%7]:4500", "0.0.0.0:0"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(Name::of(address).address(), Some(address));
        }
    }

    #[test]
    fn a_name_of_another_family_is_none() {
        let mut name = Name::of("192.0.2.1:1".parse().unwrap());
        name.storage.sin6_family = 1;
        assert_eq!(name.address(), None);
        let mut short = Name::of("[::1]:1".parse().unwrap());
        short.len = 16;
        assert_eq!(short.address(), None);
    }

    #[test]
    fn an_envelope_has_a_source_only_where_it_makes_sense() {
        let v4: SocketAddr = "192.0.2.1:4500".parse().unwrap();
        let v6: SocketAddr = "[2001:db8::1]:4500".parse().unwrap();
        assert_eq!(Envelope::new(None, v4).control_len, 0);
        assert_eq!(Envelope::new(Some("0.0.0.0".parse().unwrap()), v4).control_len, 0);
        assert_eq!(Envelope::new(Some("::1".parse().unwrap()), v4).control_len, 0);
        assert_eq!(Envelope::new(Some("192.0.2.9".parse().unwrap()), v4).control_len, 32);
        assert_eq!(Envelope::new(Some("2001:db8::9".parse().unwrap()), v6).control_len, 40);
    }
}
