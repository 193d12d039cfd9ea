//! Eyes on the wire: packet sockets (packet(7)) in the namespaces, and what their frames are.
//!
//! ```text
//!   frame ─► classify ─┬─ Clear      addresses of the sites, or the text of a ping: must never cross the internet
//!                      ├─ Esp        UDP port 4500 with an SPI in front (RFC 3948 §2.1), or protocol 50
//!                      ├─ Ike        UDP port 500, or 4500 behind the non-ESP marker (§2.2)
//!                      ├─ Keepalive  one octet 0xff (§2.3)
//!                      └─ Other      ARP and the like
//! ```
//!
//! There are two kinds of eye. [`Eye::everything`] sees each frame, as long as they are few. [`Eye::alarm`] has a filter
//! in the kernel that lets only packets with a site's address pass: it cannot be flooded, so it misses nothing.

use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::time::Duration;

use esp::udp::Datagram;
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use ipnet::Ipv4Net;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::ping::SECRET;

/// What one frame is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sighting {
    /// Readable for everybody on the way.
    Clear,
    /// An ESP packet, from the SPI on.
    Esp { from: Ipv4Addr, packet: Vec<u8> },
    /// Key exchange, whose content is protected by itself.
    Ike,
    /// Keeps the state of a NAT alive.
    Keepalive,
    /// Nothing of interest.
    Other,
}

/// Says what a frame is; `sites` are the networks whose addresses must not be seen.
pub(super) fn classify(frame: &[u8], sites: &[Ipv4Net]) -> Sighting {
    if frame.windows(GIVEAWAY_LEN).any(|window| SECRET.starts_with(window)) {
        return Sighting::Clear;
    }
    let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else { return Sighting::Other };
    let Some(LaxNetSlice::Ipv4(ip)) = &packet.net else { return Sighting::Other };
    let (from, to) = (ip.header().source_addr(), ip.header().destination_addr());
    if sites.iter().any(|site| site.contains(&from) || site.contains(&to)) {
        return Sighting::Clear;
    }
    let Some(TransportSlice::Udp(udp)) = &packet.transport else {
        return match ip.header().protocol() {
            etherparse::IpNumber::ENCAPSULATING_SECURITY_PAYLOAD => {
                Sighting::Esp { from, packet: ip.payload().payload.to_vec() }
            }
            _ => Sighting::Other,
        };
    };
    match (udp.source_port(), udp.destination_port()) {
        (IKE_PORT, _) | (_, IKE_PORT) => Sighting::Ike,
        (NAT_PORT, _) | (_, NAT_PORT) => match esp::udp::classify(udp.payload()) {
            Datagram::Ike(_) => Sighting::Ike,
            Datagram::Esp(packet) => Sighting::Esp { from, packet: packet.to_vec() },
            Datagram::Keepalive => Sighting::Keepalive,
            Datagram::Runt => Sighting::Other,
        },
        _ => Sighting::Other,
    }
}

/// What was seen crossing, in frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Tally {
    /// ESP packets from gw-a.
    pub(super) esp_from_a: u32,
    /// ESP packets from gw-b.
    pub(super) esp_from_b: u32,
    /// IKE messages of both.
    pub(super) ike: u32,
    /// NAT keepalives.
    pub(super) keepalive: u32,
    /// Readable packets; anything but 0 is a failure.
    pub(super) clear: u32,
    /// ARP and the like.
    pub(super) other: u32,
}

impl Tally {
    /// Counts one frame; `a` is the address of gw-a on the wire.
    pub(super) fn count(&mut self, sighting: &Sighting, a: Ipv4Addr) {
        let counter = match sighting {
            Sighting::Esp { from, .. } if *from == a => &mut self.esp_from_a,
            Sighting::Esp { .. } => &mut self.esp_from_b,
            Sighting::Ike => &mut self.ike,
            Sighting::Keepalive => &mut self.keepalive,
            Sighting::Clear => &mut self.clear,
            Sighting::Other => &mut self.other,
        };
        *counter += 1;
    }
}

/// A packet socket in one namespace.
#[derive(Debug)]
pub(super) struct Eye {
    socket: Socket,
    /// Hardware addresses of the namespace's own devices: what they send has been seen coming in already.
    own: Vec<Vec<u8>>,
}

impl Eye {
    /// Sees every frame that comes into the calling thread's namespace, and with no `own` devices those that leave, too.
    pub(super) fn everything(own: Vec<Vec<u8>>) -> io::Result<Self> {
        let every_protocol = i32::from(ETH_P_ALL.to_be());
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(every_protocol)))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, own })
    }

    /// Sees only IPv4 packets from or to one of the `sites`, however many others there are.
    pub(super) fn alarm(sites: &[Ipv4Net], own: Vec<Vec<u8>>) -> io::Result<Self> {
        let eye = Self::everything(own)?;
        eye.socket.attach_filter(&filter(sites))?;
        Ok(eye)
    }

    /// Waits for a frame, at most `patience`; whether there is one.
    pub(super) fn wait(&self, patience: Duration) -> io::Result<bool> {
        let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
        let mut interest = [PollFd::new(&self.socket, PollFlags::IN)];
        Ok(poll(&mut interest, Some(&patience))? > 0)
    }

    /// Hands each waiting frame to `look` once, and returns when there are no more.
    pub(super) fn drain(&self, mut look: impl FnMut(&[u8])) -> io::Result<()> {
        let mut frame = vec![0; FRAME_LEN];
        loop {
            match (&self.socket).read(&mut frame) {
                Ok(length) => {
                    let frame = frame.get(..length).unwrap_or_default();
                    let source = frame.get(6..12).unwrap_or_default();
                    if !self.own.iter().any(|own| own.as_slice() == source) {
                        look(frame);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A classic BPF program that accepts an Ethernet frame if it holds an IPv4 packet from or to one of the sites.
fn filter(sites: &[Ipv4Net]) -> Vec<SockFilter> {
    let mut program = vec![
        SockFilter::new(LOAD_HALF, 0, 0, 12),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, ETHERTYPE_IPV4),
        SockFilter::new(RETURN, 0, 0, 0),
    ];
    for address_at in [26, 30] {
        for site in sites {
            program.extend([
                SockFilter::new(LOAD_WORD, 0, 0, address_at),
                SockFilter::new(AND, 0, 0, site.netmask().to_bits()),
                SockFilter::new(JUMP_IF_EQUAL, 0, 1, site.network().to_bits()),
                SockFilter::new(RETURN, 0, 0, u32::MAX),
            ]);
        }
    }
    program.push(SockFilter::new(RETURN, 0, 0, 0));
    program
}

// Classic BPF instructions (linux/bpf_common.h): class | size | mode.
const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const LOAD_HALF: u16 = 0x28; // BPF_LD | BPF_H | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const ETHERTYPE_IPV4: u32 = 0x0800;

/// Every protocol (linux/if_ether.h).
const ETH_P_ALL: u16 = 0x0003;

/// RFC 7296 §2.
const IKE_PORT: u16 = 500;

/// RFC 7296 §2.23.
const NAT_PORT: u16 = 4500;

/// So many octets of a ping's text in a frame are no accident (2^-128).
const GIVEAWAY_LEN: usize = 16;

/// The largest frame: 64 KiB of a segmentation offload, and its headers.
const FRAME_LEN: usize = (64 << 10) + 256;

#[cfg(test)]
mod tests;
