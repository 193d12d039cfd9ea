//! Control messages: what goes with a datagram beside its octets and its address (cmsg(3), ip(7), ipv6(7), udp(7)).
//!
//! ```text
//!   | cmsg_len | level | type | data .. | padding |  | cmsg_len | ..
//!
//!   to the kernel     IP_PKTINFO / IPV6_PKTINFO   which of our addresses it leaves from
//!                     IP_TOS     / IPV6_TCLASS    int: traffic class
//!                     UDP_SEGMENT                 u16: octets of each datagram that the payload is cut into
//!   from the kernel   IP_PKTINFO / IPV6_PKTINFO   which of our addresses was asked
//!                     IP_TOS u8  / IPV6_TCLASS int
//!                     UDP_GRO                     int: octets of each datagram that the payload was put together of; not there
//!                                                 if it is one
//!                     SO_RXQ_OVFL                 u32: datagrams dropped since the socket is there; not there if it is none
//! ```

use std::ffi::c_int;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

/// Control messages for the kernel, one after the other.
#[derive(Clone)]
#[repr(C, align(8))]
pub(super) struct Labels {
    octets: [u8; LABELS_LEN],
    len: usize,
}

impl Labels {
    pub(super) const NONE: Self = Self { octets: [0; LABELS_LEN], len: 0 };

    /// Leave from the address `from`.
    pub(super) fn source(&mut self, from: IpAddr) {
        match from {
            IpAddr::V4(from) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: in_addr(from),
                    ipi_addr: in_addr(Ipv4Addr::UNSPECIFIED),
                };
                // SAFETY: a pktinfo is three ints long and has no padding; there are at most three messages.
                unsafe { self.put(libc::IPPROTO_IP, libc::IP_PKTINFO, info) }
            }
            IpAddr::V6(from) => {
                let info = libc::in6_pktinfo { ipi6_addr: in6_addr(from), ipi6_ifindex: 0 };
                // SAFETY: an address and an int without padding; there are at most three messages.
                unsafe { self.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info) }
            }
        }
    }

    /// DSCP and ECN of the outer header.
    pub(super) fn traffic_class(&mut self, class: u8, v6: bool) {
        let (level, kind) = if v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        } else {
            (libc::IPPROTO_IP, libc::IP_TOS)
        };
        // SAFETY: an int has no padding; there are at most three messages.
        unsafe { self.put(level, kind, c_int::from(class)) }
    }

    /// Cut the payload into datagrams of so many octets.
    pub(super) fn segment(&mut self, octets: u16) {
        // SAFETY: a number has no padding; there are at most three messages.
        unsafe { self.put(libc::SOL_UDP, libc::UDP_SEGMENT, octets) }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// To be read only.
    pub(super) fn as_ptr(&self) -> *mut libc::c_void {
        self.octets.as_ptr().cast_mut().cast()
    }

    /// Writes one more.
    ///
    /// # Safety
    /// `T` is plain data without padding and of at most 20 octets, and at most two were put before.
    unsafe fn put<T: Copy>(&mut self, level: c_int, kind: c_int, data: T) {
        const { assert!(size_of::<T>() <= size_of::<libc::in6_pktinfo>()) }
        let (header_len, space) = (len_of::<()>(), space_of::<T>());
        debug_assert!(self.len + space <= LABELS_LEN);
        let header = libc::cmsghdr { cmsg_len: len_of::<T>(), cmsg_level: level, cmsg_type: kind };
        // SAFETY: three messages of the longest data fit, as the constant assertion below proves, so that header and data lie
        // inside of `octets`.
        unsafe {
            let place = self.octets.as_mut_ptr().add(self.len);
            ptr::write_unaligned(place.cast(), header);
            ptr::write_unaligned(place.add(header_len).cast(), data);
        }
        self.len += space;
    }
}

/// Room for the control messages of a received datagram.
#[derive(Clone)]
#[repr(C, align(8))]
pub(super) struct LabelRoom([u8; LABEL_ROOM_LEN]);

impl LabelRoom {
    pub(super) const EMPTY: Self = Self([0; LABEL_ROOM_LEN]);
    pub(super) const LEN: usize = LABEL_ROOM_LEN;

    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().cast()
    }
}

/// What the kernel said of a received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Read {
    /// Which of our addresses it was sent to.
    pub(super) local: Option<IpAddr>,
    /// DSCP and ECN of the outer header; zero if not said.
    pub(super) traffic_class: u8,
    /// Octets of each datagram, the last may be shorter. `None` if it is one.
    pub(super) stride: Option<usize>,
    /// Datagrams dropped since the socket is there. `None` if not said.
    pub(super) overflowed: Option<u32>,
}

/// Reads the control messages.
///
/// # Safety
/// `header` was filled by recvmsg or recvmmsg, and its buffer for control messages is still there.
pub(super) unsafe fn read(header: &libc::msghdr) -> Read {
    let mut found = Read::default();
    // SAFETY: msg_controllen octets of msg_control are a list of well-formed control messages, says the caller.
    // CMSG_FIRSTHDR and CMSG_NXTHDR return null or a pointer to a whole header inside it, and `data` looks at its length.
    unsafe {
        let mut cmsg = libc::CMSG_FIRSTHDR(header);
        while let Some(this) = cmsg.as_ref() {
            match (this.cmsg_level, this.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let address = |info: libc::in_pktinfo| info.ipi_spec_dst.s_addr.to_ne_bytes();
                    found.local = data(cmsg).map(|info| Ipv4Addr::from(address(info)).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let address = |info: libc::in6_pktinfo| info.ipi6_addr.s6_addr;
                    found.local = data(cmsg).map(|info| Ipv6Addr::from(address(info)).into());
                }
                (libc::IPPROTO_IP, libc::IP_TOS) => {
                    found.traffic_class = data(cmsg).unwrap_or_default();
                }
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    let class = data::<c_int>(cmsg).and_then(|class| u8::try_from(class).ok());
                    found.traffic_class = class.unwrap_or_default();
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let octets = data::<c_int>(cmsg).and_then(|len| usize::try_from(len).ok());
                    found.stride = octets.filter(|octets| *octets > 0);
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => found.overflowed = data(cmsg),
                _ => {}
            }
            cmsg = libc::CMSG_NXTHDR(header, cmsg);
        }
    }
    found
}

/// The data of a control message, `None` if they are shorter than `T`.
///
/// # Safety
/// `cmsg` is a whole control message from the kernel, and any octets are a valid `T`.
unsafe fn data<T: Copy>(cmsg: *const libc::cmsghdr) -> Option<T> {
    // SAFETY: the message is whole, says the caller, so that its data have the length that its header says.
    unsafe {
        let is_whole = (*cmsg).cmsg_len >= len_of::<T>();
        is_whole.then(|| ptr::read_unaligned(libc::CMSG_DATA(cmsg).cast::<T>()))
    }
}

/// `CMSG_LEN`: header and data.
const fn len_of<T>() -> usize {
    size_of::<libc::cmsghdr>().next_multiple_of(size_of::<usize>()) + size_of::<T>()
}

/// `CMSG_SPACE`: header, data and padding.
const fn space_of<T>() -> usize {
    len_of::<T>().next_multiple_of(size_of::<usize>())
}

pub(super) fn in_addr(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) }
}

pub(super) fn in6_addr(ip: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr { s6_addr: ip.octets() }
}

/// Source, traffic class and segment.
const LABELS_LEN: usize = 120;

/// Destination, traffic class, stride and overflow, and as much again, so that what the kernel may add later cuts nothing.
const LABEL_ROOM_LEN: usize = 256;

const _: () = {
    assert!(3 * space_of::<libc::in6_pktinfo>() <= LABELS_LEN);
    assert!(size_of::<libc::in_pktinfo>() <= size_of::<libc::in6_pktinfo>());
    assert!(align_of::<libc::cmsghdr>() <= align_of::<Labels>());
    assert!(align_of::<libc::cmsghdr>() <= size_of::<usize>());
    assert!(align_of::<libc::cmsghdr>() <= align_of::<LabelRoom>());
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_system() {
        // SAFETY: these compute numbers only.
        let theirs = unsafe { [libc::CMSG_LEN(20), libc::CMSG_SPACE(20), libc::CMSG_SPACE(2)] };
        let ours = [len_of::<[u8; 20]>(), space_of::<[u8; 20]>(), space_of::<u16>()];
        assert_eq!(ours, theirs.map(|len| len as usize));
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut labels = Labels::NONE;
        labels.source("2001:db8::9".parse().unwrap());
        labels.traffic_class(0xb9, true);
        labels.segment(1400);
        let mut header = super::super::message::message_header();
        header.msg_control = labels.as_ptr();
        header.msg_controllen = labels.len();
        // SAFETY: a list of control messages just like the kernel's, in a buffer that is there.
        let found = unsafe { read(&header) };
        let local = Some("2001:db8::9".parse().unwrap());
        assert_eq!(found, Read { local, traffic_class: 0xb9, ..Read::default() });
    }
}
