//! One question to a host: an ICMP echo (RFC 792, RFC 4443 §4.1) or a TCP connection, each on a socket of its own that
//! waits for nothing.
//!
//! ```text
//!   ask ──► socket: bound to the source, connected to the target ──► readable, writable ──► answer
//!                                          the kernel gives it nobody else's packets
//! ```
//!
//! Echoes go through the kernel's ping sockets where it lets us have them, else through raw ones (CAP_NET_RAW), which
//! hear every ICMP message of the target: the cookie in it tells ours.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// A question that was sent.
#[derive(Debug)]
pub(crate) struct Question {
    socket: Socket,
    /// Of an echo what its reply carries.
    cookie: Option<[u8; COOKIE_LEN]>,
}

/// What has become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing yet.
    None,
    Yes,
    /// A reset, or an ICMP error.
    No,
}

impl Question {
    /// Sends an echo request.
    ///
    /// # Errors
    /// What the system says: no route, no such address of ours, no right to send ICMP.
    pub(crate) fn echo(source: Option<IpAddr>, target: IpAddr) -> io::Result<Self> {
        let mut cookie = [0; COOKIE_LEN];
        getrandom::fill(&mut cookie).map_err(io::Error::other)?;
        let protocol = if target.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
        let open =
            |kind: Type| Socket::new(domain(target), kind.nonblocking().cloexec(), Some(protocol));
        let socket = open(Type::DGRAM).or_else(|_| open(Type::RAW))?;
        connect(&socket, source, SocketAddr::new(target, 0))?;
        socket.send(&request(target, cookie))?;
        Ok(Self { socket, cookie: Some(cookie) })
    }

    /// Begins a TCP connection.
    ///
    /// # Errors
    /// What the system says: no route, no such address of ours.
    pub(crate) fn connect(source: Option<IpAddr>, target: SocketAddr) -> io::Result<Self> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(domain(target.ip()), kind, Some(Protocol::TCP))?;
        match connect(&socket, source, target) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => other?,
        }
        Ok(Self { socket, cookie: None })
    }

    /// Lets `registry` say when there may be an answer.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = if self.cookie.is_some() { Interest::READABLE } else { Interest::WRITABLE };
        registry.register(&mut SourceFd(&self.socket.as_raw_fd()), token, interest)
    }

    /// What has become of it.
    pub(crate) fn look(&self) -> Answer {
        match self.cookie {
            Some(cookie) => self.look_for_reply(cookie),
            None => match (self.socket.take_error(), self.socket.peer_addr()) {
                (Ok(None), Ok(_)) => Answer::Yes,
                (Ok(None), Err(_)) => Answer::None,
                (Ok(Some(_)) | Err(_), _) => Answer::No,
            },
        }
    }

    fn look_for_reply(&self, cookie: [u8; COOKIE_LEN]) -> Answer {
        let mut buffer = [0; 256];
        // As many as the kernel keeps for one socket; then the next event goes on.
        for _ in 0..MOST_REPLIES {
            match (&self.socket).read(&mut buffer) {
                Ok(len) => {
                    if is_reply(buffer.get(..len).unwrap_or_default(), cookie) {
                        return Answer::Yes;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Answer::None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Answer::No,
            }
        }
        Answer::None
    }
}

fn domain(address: IpAddr) -> Domain {
    if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 }
}

fn connect(socket: &Socket, source: Option<IpAddr>, target: SocketAddr) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect(&target.into())
}

/// An echo request; of IPv6 the kernel fills in the checksum (RFC 3542 §3.1).
fn request(target: IpAddr, cookie: [u8; COOKIE_LEN]) -> Vec<u8> {
    let echo = IcmpEchoHeader { id: u16::from_be_bytes([cookie[0], cookie[1]]), seq: 1 };
    let header = if target.is_ipv4() {
        let header = Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), &cookie);
        header.to_bytes().to_vec()
    } else {
        let [id, seq] = [echo.id, echo.seq].map(u16::to_be_bytes);
        vec![V6_ECHO_REQUEST, 0, 0, 0, id[0], id[1], seq[0], seq[1]]
    };
    [header, cookie.to_vec()].concat()
}

/// Whether this is the reply with our cookie. A raw IPv4 socket gives the IP header, too.
fn is_reply(message: &[u8], cookie: [u8; COOKIE_LEN]) -> bool {
    let icmp = match message.first() {
        Some(first) if first >> 4 == 4 => message.get(usize::from(first & 15) * 4..),
        _ => Some(message),
    };
    let Some(icmp) = icmp else { return false };
    let is_type = icmp.first().is_some_and(|kind| [V4_ECHO_REPLY, V6_ECHO_REPLY].contains(kind));
    is_type && icmp.get(HEADER_LEN..) == Some(&cookie)
}

const COOKIE_LEN: usize = 16;
const HEADER_LEN: usize = 8;
const V4_ECHO_REPLY: u8 = 0;
const V6_ECHO_REQUEST: u8 = 128;
const V6_ECHO_REPLY: u8 = 129;
const MOST_REPLIES: usize = 64;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Duration;

    use super::*;

    /// The answer, when there is one.
    fn answer(question: &Question) -> Answer {
        let mut poll = mio::Poll::new().expect("a poll");
        let mut events = mio::Events::with_capacity(4);
        question.register(poll.registry(), Token(0)).expect("registers");
        poll.poll(&mut events, Some(Duration::from_secs(10))).expect("polls");
        question.look()
    }

    #[test]
    fn whoever_listens_says_yes_and_whoever_does_not_says_no() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listens");
        let there = listener.local_addr().expect("an address");
        let source = Some(Ipv4Addr::LOCALHOST.into());
        let question = Question::connect(source, there).expect("asks");
        assert_eq!(answer(&question), Answer::Yes);
        drop((listener, question));
        // The kernel may refuse at once where it is its own peer.
        let refused = Question::connect(source, there).map(|question| answer(&question));
        assert!(matches!(refused, Ok(Answer::No) | Err(_)), "{refused:?}");
    }

    #[test]
    fn a_reply_is_known_by_its_cookie() {
        let cookie = [7; COOKIE_LEN];
        let reply = |kind: u8, cookie: [u8; COOKIE_LEN]| {
            [vec![kind, 0, 1, 2, 3, 4, 0, 1], cookie.to_vec()].concat()
        };
        let with_header = |icmp: Vec<u8>| [[0x45; 20].to_vec(), icmp].concat();
        for good in [reply(0, cookie), reply(129, cookie), with_header(reply(0, cookie))] {
            assert!(is_reply(&good, cookie), "{good:?}");
            assert!((0..good.len()).all(|len| !is_reply(&good[..len], cookie)), "{good:?}");
        }
        for bad in [reply(8, cookie), reply(0, [8; COOKIE_LEN]), with_header(reply(3, cookie))] {
            assert!(!is_reply(&bad, cookie), "{bad:?}");
        }
        let request = request(Ipv4Addr::LOCALHOST.into(), cookie);
        assert!(request.len() == 24 && request[0] == 8 && !is_reply(&request, cookie));
    }
}
