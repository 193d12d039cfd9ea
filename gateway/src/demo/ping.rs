//! ICMP echo (RFC 792), written and read here, since there may be no `ping` program.
//!
//! ```text
//! 0    1    2        4            6          8
//! +----+----+--------+------------+----------+--------------------------------------+
//! | 8  | 0  | sum    | identifier | sequence | SECRET, 56 octets, as `ping` has     |
//! +----+----+--------+------------+----------+--------------------------------------+
//! ```
//!
//! The payload is text that anybody recognizes: whoever finds it on the wire has found a packet that is not encrypted.

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Slice, Icmpv4Type, Ipv4Slice};
use socket2::{Domain, Protocol, Socket, Type};

use crate::clock;

/// What is in every ping, and must not be readable outside of the tunnel.
pub(super) const SECRET: &[u8; 56] = b"Dear host-b, nobody but you can read this. Yours, host-a";

/// Sends echo requests to one address and waits for the replies.
#[derive(Debug)]
pub(super) struct Pinger {
    socket: Socket,
    to: Ipv4Addr,
    identifier: u16,
    sequence: u16,
}

impl Pinger {
    /// Opens a raw ICMP socket in the calling thread's namespace.
    pub(super) fn open(to: Ipv4Addr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        let identifier = 0x5325; // a raw socket sees everybody's replies; in this namespace there is nobody else
        Ok(Self { socket, to, identifier, sequence: 0 })
    }

    /// Sends one request and does not wait.
    pub(super) fn send(&mut self) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let echo = IcmpEchoHeader { id: self.identifier, seq: self.sequence };
        let header = Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), SECRET);
        let message = [header.to_bytes().as_slice(), SECRET].concat();
        self.socket.send_to(&message, &SocketAddrV4::new(self.to, 0).into())?;
        Ok(())
    }

    /// Sends one request and waits for its reply: the round trip time, or `None` if nothing came within `patience`.
    pub(super) fn ping(&mut self, patience: Duration) -> io::Result<Option<Duration>> {
        let sent = clock::now();
        self.send()?;
        let mut packet = [0; 256];
        loop {
            let waited = clock::now() - sent;
            let Some(left) = patience.checked_sub(waited).filter(|left| !left.is_zero()) else {
                return Ok(None);
            };
            self.socket.set_read_timeout(Some(left))?;
            match (&self.socket).read(&mut packet) {
                Ok(length) => {
                    let packet = packet.get(..length).unwrap_or_default();
                    if reply_number(packet, self.to, self.identifier) == Some(self.sequence) {
                        return Ok(Some(clock::now() - sent));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The sequence number of an echo reply from `from` to us that carries what we sent, `None` for any other packet.
fn reply_number(packet: &[u8], from: Ipv4Addr, identifier: u16) -> Option<u16> {
    let ip = Ipv4Slice::from_slice(packet).ok()?;
    let icmp = Icmpv4Slice::from_slice(ip.payload().payload).ok()?;
    let Icmpv4Type::EchoReply(echo) = icmp.icmp_type() else { return None };
    let ours = ip.header().source_addr() == from && echo.id == identifier;
    (ours && icmp.payload() == SECRET).then_some(echo.seq)
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn reply(from: [u8; 4], id: u16, seq: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4(from, [10, 1, 0, 2], 64).icmpv4_echo_reply(id, seq);
        builder.write(&mut packet, payload).unwrap();
        packet
    }

    #[test]
    fn only_our_own_reply_counts() {
        let from = Ipv4Addr::new(10, 2, 0, 2);
        let good = reply(from.octets(), 7, 3, SECRET);
        assert_eq!(reply_number(&good, from, 7), Some(3));
        assert_eq!(reply_number(&good, from, 8), None, "another identifier");
        assert_eq!(reply_number(&good, Ipv4Addr::LOCALHOST, 7), None, "from elsewhere");
        assert_eq!(reply_number(&reply(from.octets(), 7, 3, b"x"), from, 7), None, "payload lost");
        for length in 0..good.len() {
            assert_eq!(reply_number(&good[..length], from, 7), None, "cut to {length}");
        }
        let mut request = Vec::new();
        PacketBuilder::ipv4(from.octets(), [10, 1, 0, 2], 64)
            .icmpv4_echo_request(7, 3)
            .write(&mut request, SECRET)
            .unwrap();
        assert_eq!(reply_number(&request, from, 7), None, "a request");
    }
}
