//! Tells that links, addresses or routes of the host changed; what changed is looked up afterwards (rtnetlink(7)).
//!
//! ```text
//!   kernel ── RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, .. ──► Changes ── readable ──► the control loop looks at routes again
//! ```

use std::fmt;
use std::io;
use std::os::fd::AsRawFd as _;

use crate::route::{GUARD_PROTOCOL, PROTOCOL};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// A subscription to the changes in the network namespace of the thread that opened it.
pub(crate) struct Changes {
    socket: Socket,
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("fd", &self.socket.as_raw_fd()).finish()
    }
}

impl Changes {
    /// Subscribes; `token` is readable when something changed.
    ///
    /// # Errors
    /// Only if the kernel has no rtnetlink or the process no descriptor left.
    pub(crate) fn open(registry: &Registry, token: Token) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        socket.set_non_blocking(true)?;
        registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { socket })
    }

    /// Reads everything that waits and says what it was; `None` if there was nothing. So many changes at once that the
    /// kernel could not keep them (`ENOBUFS`) may be any.
    #[must_use]
    pub(crate) fn drain(&self) -> Option<News> {
        let mut news: Option<News> = None;
        let mut buffer = Vec::with_capacity(DATAGRAM);
        for _ in 0..MOST {
            buffer.clear();
            match self.socket.recv_from(&mut buffer, 0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(_) => news.get_or_insert_default().lost_ours |= is_loss(&buffer),
                Err(_) => news.get_or_insert_default().lost_ours = true,
            }
        }
        news
    }
}

/// What changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// A route of ours was removed, perhaps by ourselves.
    pub(crate) lost_ours: bool,
}

/// Whether a datagram, which has one message here, says that a route with a number of ours is gone.
///
/// ```text
///   struct nlmsghdr (16 octets): length 4, type 2, ..      struct rtmsg: family, dst_len, src_len, tos, table, protocol, ..
/// ```
fn is_loss(datagram: &[u8]) -> bool {
    let kind = datagram.get(4..6).and_then(|octets| octets.first_chunk());
    let protocol = datagram.get(PROTOCOL_AT);
    kind.is_some_and(|kind| u16::from_ne_bytes(*kind) == libc::RTM_DELROUTE)
        && protocol.is_some_and(|protocol| [PROTOCOL, GUARD_PROTOCOL].contains(protocol))
}

/// Where the protocol number of a route is.
const PROTOCOL_AT: usize = 16 + 5;

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR`, `RTMGRP_IPV6_ROUTE`.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// Octets of a message that are read; the rest is of no interest.
const DATAGRAM: usize = 4096;

/// Messages read at a time, so that a storm of them does not stop everything else.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;
    use crate::sys::netlink::{Netlink, Route};
    use crate::sys::netns::Netns;

    #[test]
    fn an_address_and_a_link_that_come_are_changes_and_silence_is_none() {
        let Ok(netns) = Netns::new() else {
            println!("skipped: no right to make a network namespace");
            return;
        };
        netns
            .run(|| {
                let mut poll = Poll::new().unwrap();
                let changes = Changes::open(poll.registry(), Token(7)).unwrap();
                assert!(changes.drain().is_none());
                let mut netlink = Netlink::open().unwrap();
                let mut seen = || {
                    let mut events = Events::with_capacity(4);
                    poll.poll(&mut events, Some(Duration::from_secs(1))).unwrap();
                    events
                        .iter()
                        .any(|event| event.token() == Token(7))
                        .then(|| changes.drain())
                        .flatten()
                };
                netlink.add_veth("left", "right").unwrap();
                assert_eq!(seen(), Some(News::default()), "a link came");
                let left = netlink.link_index("left").unwrap();
                assert!(changes.drain().is_none(), "a question is no change");
                netlink.add_address(left, "192.0.2.1/24".parse().unwrap()).unwrap();
                assert_eq!(seen(), Some(News::default()), "an address came");
                for (protocol, lost_ours) in [(PROTOCOL, true), (GUARD_PROTOCOL, true), (4, false)]
                {
                    let route = Route::nowhere("10.2.0.0/16".parse().unwrap(), 7, protocol);
                    netlink.add_route(&route).unwrap();
                    assert_eq!(seen(), Some(News { lost_ours: false }), "a route came: {protocol}");
                    netlink.del_route(&route).unwrap();
                    assert_eq!(seen(), Some(News { lost_ours }), "a route went: {protocol}");
                }
            })
            .unwrap();
    }
}
