//! ICMP echoes one after the other, and what routers say instead of an answer: `ping` and `traceroute` of the command line.
//!
//! ```text
//!   ask ──► socket: bound to the source, connected to the target ──► an echo reply                      Heard::Reply
//!                    └─ error queue (IP_RECVERR, ip(7)) ───────────► type, code, who says it            Heard::Error
//!                                                                    nothing in time                    Heard::Nothing
//! ```
//!
//! The kernel's ping sockets need no privilege where it lets us have them (`net.ipv4.ping_group_range`), else raw ones do
//! (CAP_NET_RAW). Both hear errors about their own packets alone.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::clock;
use crate::sys::message::set_option;

/// A socket for echoes to one host.
#[derive(Debug)]
pub(crate) struct Echo {
    socket: Socket,
    target: IpAddr,
    /// Tells our replies from others'; a ping socket has an id of its own, so that it is in the payload, too.
    cookie: [u8; COOKIE_LEN],
}

/// What came of one echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// An answer.
    Reply(Duration),
    /// Somebody says why there is none.
    Error(IcmpError),
    /// Nothing in time.
    Nothing,
}

/// An ICMP error about a packet of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IcmpError {
    /// Who sent it; `None`: this host itself, without sending anything.
    pub(crate) from: Option<IpAddr>,
    /// Whether of ICMPv6.
    pub(crate) is_v6: bool,
    /// Type.
    pub(crate) kind: u8,
    /// Code.
    pub(crate) code: u8,
    /// Of a packet that was too big the MTU, octets.
    pub(crate) mtu: u32,
}

impl Echo {
    /// Opens it.
    ///
    /// # Errors
    /// EPERM or EACCES without the right to send ICMP, EADDRNOTAVAIL for a source that is not ours, no route.
    pub(crate) fn open(source: IpAddr, target: IpAddr) -> io::Result<Self> {
        let mut cookie = [0; COOKIE_LEN];
        getrandom::fill(&mut cookie).map_err(io::Error::other)?;
        let (domain, protocol) = match target {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let open = |kind: Type| Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol));
        let socket = open(Type::DGRAM).or_else(|_| open(Type::RAW))?;
        let (level, option) = match target {
            IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVERR),
            IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
        };
        set_option(socket.as_fd(), level, option, 1)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect(&SocketAddr::new(target, 0).into())?;
        Ok(Self { socket, target, cookie })
    }

    /// Forbids fragments, or lets routers and this host make them.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn set_df(&self, on: bool) -> io::Result<()> {
        let (level, option) = match self.target {
            IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
            IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
        };
        // IP_PMTUDISC_DO and IP_PMTUDISC_DONT; those of IPv6 have the same numbers.
        let value = if on { libc::IP_PMTUDISC_DO } else { libc::IP_PMTUDISC_DONT };
        set_option(self.socket.as_fd(), level, option, value)
    }

    /// How many routers may pass the next ones on.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn set_hops(&self, hops: u8) -> io::Result<()> {
        match self.target {
            IpAddr::V4(_) => self.socket.set_ttl_v4(hops.into()),
            IpAddr::V6(_) => self.socket.set_unicast_hops_v6(hops.into()),
        }
    }

    /// Sends one with so many octets of payload, at least [`COOKIE_LEN`], and waits for what comes of it.
    ///
    /// # Errors
    /// What the system says, where that is no news about the path.
    pub(crate) fn ask(&self, seq: u16, size: usize, patience: Duration) -> io::Result<Heard> {
        let begun = clock::now();
        let until = begun + patience;
        if let Err(error) = self.socket.send(&self.request(seq, size)) {
            return match self.complaint(None) {
                Some(complaint) => Ok(Heard::Error(complaint)),
                None => Err(error),
            };
        }
        loop {
            if let Some(complaint) = self.complaint(Some(seq)) {
                return Ok(Heard::Error(complaint));
            }
            if self.is_answered(seq) {
                return Ok(Heard::Reply(clock::now().saturating_duration_since(begun)));
            }
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Ok(Heard::Nothing);
            }
            self.wait(left)?;
        }
    }

    fn wait(&self, left: Duration) -> io::Result<()> {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut fds, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether what came in has the answer.
    fn is_answered(&self, seq: u16) -> bool {
        let mut buffer = vec![0; BUFFER];
        for _ in 0..MOST {
            let (len, _) =
                match rustix::net::recv(&self.socket, &mut buffer, rustix::net::RecvFlags::empty())
                {
                    Ok(received) => received,
                    Err(rustix::io::Errno::AGAIN) => return false,
                    // An error of an earlier packet; the queue has more about it.
                    Err(_) => continue,
                };
            if self.is_reply(buffer.get(..len).unwrap_or_default(), seq) {
                return true;
            }
        }
        false
    }

    fn is_reply(&self, message: &[u8], seq: u16) -> bool {
        // A raw IPv4 socket gives the IP header, too.
        let icmp = match message.first() {
            Some(first) if first >> 4 == 4 => message.get(usize::from(first & 15) * 4..),
            _ => Some(message),
        };
        let Some((&[kind, _, _, _, _, _, high, low], payload)) =
            icmp.and_then(|icmp| icmp.split_first_chunk())
        else {
            return false;
        };
        [V4_ECHO_REPLY, V6_ECHO_REPLY].contains(&kind)
            && u16::from_be_bytes([high, low]) == seq
            && payload.starts_with(&self.cookie)
    }

    /// What the error queue has about the packet of this number, or about any.
    fn complaint(&self, seq: Option<u16>) -> Option<IcmpError> {
        for _ in 0..MOST {
            let mut quoted = [0; 64];
            let mut control = nix::cmsg_space!([u8; 128]);
            let mut parts = [IoSliceMut::new(&mut quoted)];
            let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
            let fd = self.socket.as_raw_fd();
            let message =
                recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), flags).ok()?;
            let len = message.bytes;
            let found = message.cmsgs().ok()?.find_map(|part| read(&part));
            let about = quoted.get(..len).unwrap_or_default().get(6..8);
            let is_it = seq.is_none_or(|seq| about == Some(&seq.to_be_bytes()));
            if let Some(found) = found.filter(|_| is_it) {
                return Some(found);
            }
        }
        None
    }

    /// An echo request; of IPv6 the kernel fills in the checksum (RFC 3542 §3.1).
    fn request(&self, seq: u16, size: usize) -> Vec<u8> {
        let mut payload = self.cookie.to_vec();
        payload.extend((0..=u8::MAX).cycle().take(size.saturating_sub(COOKIE_LEN)));
        let id = u16::from_be_bytes([self.cookie[0], self.cookie[1]]);
        let header = match self.target {
            IpAddr::V4(_) => {
                let echo = Icmpv4Type::EchoRequest(IcmpEchoHeader { id, seq });
                Icmpv4Header::with_checksum(echo, &payload).to_bytes().to_vec()
            }
            IpAddr::V6(_) => {
                let [id, seq] = [id, seq].map(u16::to_be_bytes);
                vec![V6_ECHO_REQUEST, 0, 0, 0, id[0], id[1], seq[0], seq[1]]
            }
        };
        [header, payload].concat()
    }
}

/// One entry of the error queue, if it is about ICMP or about our own MTU.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library knows dozens of control messages")]
fn read(part: &ControlMessageOwned) -> Option<IcmpError> {
    let (error, from) = match part {
        ControlMessageOwned::Ipv4RecvErr(error, from) => {
            let from = from.map(|from| Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr)));
            (error, from.map(IpAddr::V4))
        }
        ControlMessageOwned::Ipv6RecvErr(error, from) => {
            let from = from.map(|from| Ipv6Addr::from(from.sin6_addr.s6_addr));
            (error, from.map(IpAddr::V6))
        }
        _ => return None,
    };
    let is_v6 = matches!(part, ControlMessageOwned::Ipv6RecvErr(..));
    let (kind, code, from) = match error.ee_origin {
        libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => (error.ee_type, error.ee_code, from),
        _ if error.ee_errno == libc::EMSGSIZE.unsigned_abs() => {
            let (kind, code) = if is_v6 { (2, 0) } else { (3, 4) };
            (kind, code, None)
        }
        _ => return None,
    };
    Some(IcmpError { from, is_v6, kind, code, mtu: error.ee_info })
}

impl IcmpError {
    /// Whether it says that the packet has gone through all the routers that it might.
    pub(crate) const fn is_hops(&self) -> bool {
        self.kind == if self.is_v6 { 3 } else { 11 }
    }

    /// What it means where a tunnel is on the way, without full stop. `ours`: this gateway says it.
    pub(crate) fn sentence(&self, ours: bool) -> String {
        let sentence = match (self.is_v6, self.kind, self.code) {
            (false, 3, 4) | (true, 2, _) => {
                return format!("too long for the path, which takes {} octets", self.mtu);
            }
            (false, 3, 0) | (true, 1, 0) if ours => {
                "network unreachable: no connection has it behind its peer"
            }
            (false, 3, 0) | (true, 1, 0) => "network unreachable: that router has no route to it",
            (false, 3, 1) | (true, 1, 3) if ours => "host unreachable: its peer is not connected",
            (false, 3, 1) | (true, 1, 3) => {
                "host unreachable: it does not answer on its link, or the next gateway is not connected"
            }
            (false, 3, 2) => "the host does not know ICMP echo",
            (false, 3, 3) | (true, 1, 4) => "port unreachable",
            (false, 3, 6) => "network unknown: no NAT rule of that gateway matches",
            (false, 3, 7) => "host unknown: the far gateway has no NAT rule for it",
            (true, 1, 5) => "source address refused: it is in no local network of that connection",
            (false, 3, 13) if ours => {
                "filtered: the policy leaves this source or destination out of the tunnel"
            }
            (false, 3, 9 | 10 | 13) | (true, 1, 1 | 6) => {
                "filtered: a policy or a firewall there forbids it"
            }
            (false, 11, _) | (true, 3, _) => "too many routers on the way, perhaps in a circle",
            _ => return format!("ICMP type {} code {}", self.kind, self.code),
        };
        sentence.to_owned()
    }
}

/// So many octets of payload tell our echoes from others.
pub(crate) const COOKIE_LEN: usize = 16;

/// Messages that are read at a time.
const MOST: usize = 64;
const BUFFER: usize = 65_535;
const V4_ECHO_REPLY: u8 = 0;
const V6_ECHO_REQUEST: u8 = 128;
const V6_ECHO_REPLY: u8 = 129;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_answers_itself() {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let Ok(echo) = Echo::open(local, local) else { return };
        let heard = echo.ask(1, 56, Duration::from_secs(5)).expect("asks");
        assert!(matches!(heard, Heard::Reply(_)), "{heard:?}");
        let id = echo.request(7, 20);
        assert_eq!(id.len(), 28);
        assert_eq!(&id[6..8], &[0, 7]);
    }

    #[test]
    fn what_an_error_means_depends_on_who_says_it() {
        let error = |kind, code| IcmpError { from: None, is_v6: false, kind, code, mtu: 1422 };
        assert_eq!(error(3, 1).sentence(true), "host unreachable: its peer is not connected");
        assert!(error(3, 1).sentence(false).contains("does not answer on its link"));
        assert_eq!(error(3, 4).sentence(false), "too long for the path, which takes 1422 octets");
        assert_eq!(error(3, 14).sentence(false), "ICMP type 3 code 14");
        assert!(error(11, 0).is_hops() && !error(3, 0).is_hops());
    }
}
