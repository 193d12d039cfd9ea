//! Tells that links, addresses or routes of the host changed; what changed is looked up afterwards (rtnetlink(7)).
//!
//! ```text
//!   kernel ── RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, .. ──► Changes ── readable ──► the control loop looks at routes again
//! ```

use std::fmt;
use std::io;
use std::os::fd::AsRawFd as _;

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

    /// Reads everything that waits and says whether there was anything. So many changes at once that the kernel could not
    /// keep them (`ENOBUFS`) are changes, too.
    #[must_use]
    pub(crate) fn drain(&self) -> bool {
        let mut changed = false;
        let mut buffer = Vec::with_capacity(DATAGRAM);
        for _ in 0..MOST {
            buffer.clear();
            match self.socket.recv_from(&mut buffer, 0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => changed = true,
            }
        }
        changed
    }
}

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
    use crate::sys::netlink::Netlink;
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
                assert!(!changes.drain());
                let mut netlink = Netlink::open().unwrap();
                let mut seen = || {
                    let mut events = Events::with_capacity(4);
                    poll.poll(&mut events, Some(Duration::from_secs(1))).unwrap();
                    events.iter().any(|event| event.token() == Token(7)) && changes.drain()
                };
                netlink.add_veth("left", "right").unwrap();
                assert!(seen(), "a link came");
                let left = netlink.link_index("left").unwrap();
                assert!(!changes.drain(), "a question is no change");
                netlink.add_address(left, "192.0.2.1/24".parse().unwrap()).unwrap();
                assert!(seen(), "an address came");
            })
            .unwrap();
    }
}
