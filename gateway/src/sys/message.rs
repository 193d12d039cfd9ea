//! One datagram a call, with its local address: `sendmsg` and `recvmsg` with packet information (ip(7), ipv6(7)).
//!
//! ```text
//!            msghdr
//!   name     sockaddr_in / sockaddr_in6        to whom, from whom
//!   iov      [marker]? payload                 gathered, never copied together
//!   control  in_pktinfo / in6_pktinfo, ..      from which of our addresses, to which of our addresses: label.rs
//! ```
//!
//! The part that is the same for every packet of an SA, name and control, is made once: an [`Envelope`].

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::sys::label::{self, LabelRoom, Labels, in_addr, in6_addr};

/// Where a datagram goes and which of our addresses it leaves from, in the kernel's own form.
#[derive(Clone)]
pub(crate) struct Envelope {
    name: Name,
    labels: Labels,
    /// For whoever looks on.
    from: Option<IpAddr>,
}

impl Envelope {
    /// `from`: which of our addresses to leave from; `None` or unspecified lets the kernel choose by route.
    /// Its family has to be that of `to`, otherwise it is not used.
    pub(crate) fn new(from: Option<IpAddr>, to: SocketAddr) -> Self {
        let mut labels = Labels::NONE;
        let fits = |from: &IpAddr| !from.is_unspecified() && from.is_ipv4() == to.is_ipv4();
        if let Some(from) = from.filter(fits) {
            labels.source(from);
        }
        Self { name: Name::of(to), labels, from }
    }

    /// Which of our addresses it leaves from, as far as that was said, and where it goes to.
    pub(crate) fn ends(&self) -> (Option<IpAddr>, Option<SocketAddr>) {
        (self.from, self.name.address(self.name.len()))
    }

    /// Where it goes to is an IPv6 address.
    pub(super) fn is_v6(&self) -> bool {
        self.name.0.sin6_family == AF_INET6
    }

    pub(super) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// A header with this name and these labels, to be read only, and no payload.
    pub(super) fn header(&self) -> libc::msghdr {
        let mut header = message_header();
        header.msg_name = ptr::from_ref(&self.name.0).cast_mut().cast();
        header.msg_namelen = self.name.len();
        if self.labels.len() > 0 {
            header.msg_control = self.labels.as_ptr();
            header.msg_controllen = self.labels.len();
        }
        header
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({:?})", self.name.address(self.name.len()))
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
    let mut header = envelope.header();
    header.msg_iov = parts.as_ptr().cast::<libc::iovec>().cast_mut();
    header.msg_iovlen = parts.len();
    // SAFETY: every pointer in `header` is to something borrowed for the whole call, with its true length; sendmsg only
    // reads through them. IoSlice is promised to have the layout of iovec.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Whether an error of sending is not this datagram's: an earlier one left it behind (ICMP port unreachable), or a signal came.
/// Then the same call once more is not in vain.
pub(crate) fn is_stale(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::Interrupted)
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
    let mut name = Name::NONE;
    let mut labels = LabelRoom::EMPTY;
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut header = message_header();
    header.msg_name = name.as_mut_ptr();
    header.msg_namelen = NAME_LEN;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = labels.as_mut_ptr();
    header.msg_controllen = LabelRoom::LEN;
    // SAFETY: every pointer in `header` is to something mutably borrowed for the whole call, with its true length.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, 0) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    let remote = name.address(header.msg_namelen);
    Ok(Arrival {
        len,
        remote: remote.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?,
        // SAFETY: recvmsg filled `header`, and `labels` is still there.
        local: unsafe { label::read(&header) }.local,
        truncated: header.msg_flags & libc::MSG_TRUNC != 0,
    })
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
    set_option_words(socket, level, option, [value.cast_unsigned()])
}

/// Sets a socket option whose value is one or several words of 32 bits.
///
/// # Errors
/// What the system says.
pub(crate) fn set_option_words<const N: usize>(
    socket: BorrowedFd<'_>,
    level: i32,
    option: i32,
    value: [u32; N],
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<[u32; N]>()).expect("invariant: few words");
    // SAFETY: the pointer and length describe `value`, which outlives the call; setsockopt only reads it.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), len)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A socket address as the kernel has it. A sockaddr_in is the shorter and lies at the beginning of the storage.
#[derive(Clone, Copy)]
pub(super) struct Name(libc::sockaddr_in6);

impl Name {
    /// Room for one.
    pub(super) const NONE: Self = Self(libc::sockaddr_in6 {
        sin6_family: 0,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
        sin6_scope_id: 0,
    });

    fn of(address: SocketAddr) -> Self {
        let mut name = Self::NONE;
        match address {
            SocketAddr::V4(address) => {
                let short = libc::sockaddr_in {
                    sin_family: AF_INET,
                    sin_port: address.port().to_be(),
                    sin_addr: in_addr(*address.ip()),
                    sin_zero: [0; 8],
                };
                // SAFETY: a sockaddr_in fits a sockaddr_in6 in size and alignment (asserted below).
                unsafe { ptr::from_mut(&mut name.0).cast::<libc::sockaddr_in>().write(short) }
            }
            SocketAddr::V6(address) => {
                name.0.sin6_family = AF_INET6;
                name.0.sin6_port = address.port().to_be();
                name.0.sin6_addr = in6_addr(*address.ip());
                name.0.sin6_scope_id = address.scope_id();
            }
        }
        name
    }

    fn len(&self) -> libc::socklen_t {
        if self.0.sin6_family == AF_INET { NAME_V4_LEN } else { NAME_LEN }
    }

    /// [`NAME_LEN`] octets for the kernel to write to.
    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        ptr::from_mut(&mut self.0).cast()
    }

    /// Of a name of so many octets; `None` if it is neither IPv4 nor IPv6.
    pub(super) fn address(&self, len: libc::socklen_t) -> Option<SocketAddr> {
        if self.0.sin6_family == AF_INET && len >= NAME_V4_LEN {
            // SAFETY: a sockaddr_in fits a sockaddr_in6 in size and alignment (asserted below), any octets are a valid
            // one, and the family says that it is one.
            let name = unsafe { ptr::from_ref(&self.0).cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
            return Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into());
        }
        if self.0.sin6_family == AF_INET6 && len >= NAME_LEN {
            let ip = Ipv6Addr::from(self.0.sin6_addr.s6_addr);
            let port = u16::from_be(self.0.sin6_port);
            return Some(SocketAddrV6::new(ip, port, 0, self.0.sin6_scope_id).into());
        }
        None
    }
}

pub(super) fn message_header() -> libc::msghdr {
    // SAFETY: zeroes are a valid msghdr: null pointers with zero lengths.
    unsafe { MaybeUninit::<libc::msghdr>::zeroed().assume_init() }
}

const AF_INET: libc::sa_family_t = 2;
const AF_INET6: libc::sa_family_t = 10;
const NAME_V4_LEN: libc::socklen_t = 16;
pub(super) const NAME_LEN: libc::socklen_t = 28;

const _: () = {
    assert!(AF_INET as i32 == libc::AF_INET && AF_INET6 as i32 == libc::AF_INET6);
    assert!(NAME_V4_LEN as usize == size_of::<libc::sockaddr_in>());
    assert!(NAME_LEN as usize == size_of::<libc::sockaddr_in6>());
    assert!(align_of::<libc::sockaddr_in>() <= align_of::<libc::sockaddr_in6>());
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_way_through_the_kernel_form() {
        for address in ["192.0.2.1:4500", "[2001:db8::1]:500", "[fe80::1%7]:4500", "0.0.0.0:0"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(Name::of(address).address(Name::of(address).len()), Some(address));
        }
    }

    #[test]
    fn a_name_of_another_family_is_none() {
        let mut name = Name::of("192.0.2.1:1".parse().unwrap());
        name.0.sin6_family = 1;
        assert_eq!(name.address(NAME_LEN), None);
        let name = Name::of("[::1]:1".parse().unwrap());
        assert_eq!(name.address(NAME_V4_LEN), None);
        assert_eq!(Name::NONE.address(NAME_LEN), None);
    }

    #[test]
    fn an_envelope_has_a_source_only_where_it_makes_sense() {
        let v4: SocketAddr = "192.0.2.1:4500".parse().unwrap();
        let v6: SocketAddr = "[2001:db8::1]:4500".parse().unwrap();
        assert_eq!(Envelope::new(None, v4).labels.len(), 0);
        assert_eq!(Envelope::new(Some("0.0.0.0".parse().unwrap()), v4).labels.len(), 0);
        assert_eq!(Envelope::new(Some("::1".parse().unwrap()), v4).labels.len(), 0);
        assert_eq!(Envelope::new(Some("192.0.2.9".parse().unwrap()), v4).labels.len(), 32);
        assert_eq!(Envelope::new(Some("2001:db8::9".parse().unwrap()), v6).labels.len(), 40);
    }
}
