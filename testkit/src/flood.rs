//! UDP as fast as one thread can send it, one datagram per message, counted where it arrives.
//!
//! ```text
//!   from   sendmmsg(64 x payload) again and again until the time is over       into   recv, count
//!            each datagram is a packet of its own: no UDP_SEGMENT                        until nothing has come for 300 ms
//! ```
//!
//! iperf3 sends no more than about 110,000 packets a second here, less than a tunnel may carry. [`pour`] does the same at a steady
//! rate, as a stranger would, and nobody counts what arrives; [`spoof`] as many strangers, each with a request of its own.

#![expect(clippy::disallowed_methods, reason = "measures real time")]

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use ikev2::registry::{ExchangeType, KeMethod, PayloadType};
use ikev2::wire::header::{Flags, Header, IkeSpi, MessageId};
use ikev2::wire::message::{Chain, message};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force};
use rustix::net::{
    AddressFamily, MMsgHdr, SendAncillaryBuffer, SendFlags, SocketType, ipproto, sendmmsg, sendto,
    socket,
};

use crate::netns::Netns;

/// What became of a flood.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flood {
    /// Datagrams that left the sender's socket.
    pub sent: u64,
    /// Datagrams of the right size that arrived.
    pub received: u64,
    /// Seconds from the first arrival to the last; 0 if fewer than two arrived.
    pub seconds: f64,
}

impl Flood {
    /// Datagrams received per second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "2^53 datagrams take a while")]
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.received as f64 / self.seconds } else { 0.0 }
    }
}

/// Sends datagrams of `payload` octets to `to` in another namespace for `duration`, or until `stop`.
///
/// # Errors
/// If a socket cannot be made or used.
pub fn flood(
    from: &Netns,
    (into, to): (&Netns, IpAddr),
    payload: usize,
    duration: Duration,
    stop: &AtomicBool,
) -> Result<Flood> {
    let target = into.inside(|| {
        let socket = UdpSocket::bind((to, 0)).context("nowhere to receive")?;
        set_socket_recv_buffer_size_force(&socket, BUFFER)?;
        socket.set_read_timeout(Some(SILENCE))?;
        Ok(socket)
    })?;
    let to = target.local_addr()?;
    let sending = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let sent = from.inside(|| send(to, payload, duration, stop));
            sending.store(false, Ordering::Relaxed);
            sent
        });
        let arrived = receive(&target, payload, &sending);
        let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        let (received, seconds) = arrived?;
        Ok(Flood { sent, received, seconds })
    })
}

fn send(to: SocketAddr, payload: usize, duration: Duration, stop: &AtomicBool) -> Result<u64> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    set_socket_send_buffer_size_force(&socket, BUFFER)?;
    socket.connect(to)?;
    let octets = vec![0x5a; payload];
    let slices = [IoSlice::new(&octets)];
    let until = Instant::now() + duration;
    let mut sent = 0;
    while Instant::now() < until && !stop.load(Ordering::Relaxed) {
        sent += send_batch(&socket, &slices)?;
    }
    Ok(sent)
}

/// Sends the datagram [`BATCH`] times, if the queues take so many.
fn send_batch(socket: &UdpSocket, slices: &[IoSlice<'_>]) -> Result<u64> {
    let mut control = [(); BATCH].map(|()| SendAncillaryBuffer::default());
    let mut messages = control.each_mut().map(|control| MMsgHdr::new(slices, control));
    match sendmmsg(socket, &mut messages, SendFlags::empty()) {
        Ok(count) => Ok(u64::try_from(count)?),
        Err(Errno::NOBUFS | Errno::CONNREFUSED | Errno::INTR) => Ok(0),
        Err(error) => Err(error).context("cannot send"),
    }
}

/// How much is poured.
#[derive(Debug, Clone, Copy)]
pub struct Pour {
    /// Datagrams per second.
    pub rate: u32,
    /// For so long at most; their number is bounded by both.
    pub duration: Duration,
}

/// Sends one datagram again and again to `to` at a steady rate, for nobody in particular, until `pour` or `stop` ends it.
/// Returns how many left the socket.
///
/// # Errors
/// If a socket cannot be made or used.
pub fn pour(
    from: &Netns,
    to: SocketAddr,
    datagram: &[u8],
    pour: Pour,
    stop: &AtomicBool,
) -> Result<u64> {
    let socket = from.inside(|| Ok(UdpSocket::bind(("0.0.0.0", 0))?))?;
    set_socket_send_buffer_size_force(&socket, BUFFER)?;
    socket.connect(to)?;
    let slices = [IoSlice::new(datagram)];
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < pour.duration && !stop.load(Ordering::Relaxed) {
        let due = due(pour.rate, begun.elapsed()).saturating_sub(sent);
        if due < BATCH as u64 {
            std::thread::sleep(REST);
            continue;
        }
        sent += send_batch(&socket, &slices)?;
    }
    Ok(sent)
}

/// Sends a new IKE_SA_INIT request each time, from addresses of 198.18.0.0/15 that nobody has (RFC 2544), to port 500 of `to`,
/// until there were `number`, or `pour` or `stop` ends it. Returns how many left. The namespace needs no such address: the
/// packets are made here.
///
/// # Errors
/// If there can be no raw socket.
pub fn spoof(
    from: &Netns,
    to: Ipv4Addr,
    (number, pour): (u64, Pour),
    stop: &AtomicBool,
) -> Result<u64> {
    let socket = from.inside(|| {
        // IPPROTO_RAW: the header is ours (raw(7)).
        Ok(socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))?)
    })?;
    let address = SocketAddr::from((to, 0));
    let mut dice = 0x5eed_u64;
    let mut draw = || {
        // Xorshift: nobody has to be surprised, only no two requests are alike.
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice
    };
    let model = first_request();
    let begun = Instant::now();
    let mut sent = 0;
    while sent < number && begun.elapsed() < pour.duration && !stop.load(Ordering::Relaxed) {
        let due = due(pour.rate, begun.elapsed()).min(number).saturating_sub(sent);
        if due == 0 {
            std::thread::sleep(REST);
            continue;
        }
        for _ in 0..due.min(BATCH as u64) {
            let [_, _, _, _, low, c, d, _] = draw().to_be_bytes();
            let source = Ipv4Addr::new(198, 18 + (low & 1), c, d);
            let request = another(&model, &mut draw);
            let packet = udp_packet((source, 500), (to, 500), &request);
            match sendto(&socket, &packet, SendFlags::empty(), &address) {
                Ok(_) => sent += 1,
                Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot send"),
            }
        }
    }
    Ok(sent)
}

/// An IKE_SA_INIT request as an honest initiator begins with it: AES-GCM, Curve25519. Its nonce comes last.
fn first_request() -> Vec<u8> {
    let proposal = ikev2::Proposal::ike_from_keywords("aes256gcm16-prfsha256-curve25519");
    let proposals: Vec<_> = proposal.into_iter().collect();
    let mut chain = Chain::new();
    chain.sa(&proposals).ke(KeMethod::CURVE25519, &[9; 32]).nonce(&[0; NONCE]);
    let header = Header {
        spi_i: IkeSpi(1),
        spi_r: IkeSpi::ZERO,
        next_payload: PayloadType::NONE,
        version: Header::VERSION,
        exchange: ExchangeType::IKE_SA_INIT,
        flags: Flags { initiator: true, ..Flags::default() },
        message_id: MessageId(0),
        len: 0,
    };
    message(header, &chain)
}

/// The same of another initiator: its SPI and its nonce.
fn another(model: &[u8], draw: &mut impl FnMut() -> u64) -> Vec<u8> {
    let mut request = model.to_vec();
    if let Some(spi) = request.first_chunk_mut() {
        *spi = (draw() | 1).to_be_bytes();
    }
    let nonce = request.len().saturating_sub(NONCE);
    for octets in request.split_at_mut(nonce).1.chunks_exact_mut(8) {
        octets.copy_from_slice(&draw().to_be_bytes());
    }
    request
}

/// Octets of a nonce.
const NONCE: usize = 32;

/// An IPv4 packet with a UDP datagram in it; the kernel fills in the checksum of the header, and UDP has none (RFC 768).
fn udp_packet(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let udp = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0x45, 0];
    packet.extend((20 + udp).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.0.octets());
    packet.extend(to.0.octets());
    for field in [from.1, to.1, udp, 0] {
        packet.extend(field.to_be_bytes());
    }
    packet.extend_from_slice(payload);
    packet
}

/// Datagrams that ought to have left after a time.
fn due(rate: u32, elapsed: Duration) -> u64 {
    let due = elapsed.as_nanos() * u128::from(rate) / 1_000_000_000;
    u64::try_from(due).unwrap_or(u64::MAX)
}

/// Counts until nothing has come for a while after the sender has ended.
fn receive(socket: &UdpSocket, payload: usize, sending: &AtomicBool) -> Result<(u64, f64)> {
    let mut datagram = [0; 2048];
    let mut received = 0;
    let mut span: Option<(Instant, Instant)> = None;
    loop {
        match socket.recv(&mut datagram) {
            Ok(octets) if octets == payload => {
                received += 1;
                let now = Instant::now();
                span = Some((span.map_or(now, |(first, _)| first), now));
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if !sending.load(Ordering::Relaxed) {
                    let seconds = span.map_or(0.0, |(first, last)| (last - first).as_secs_f64());
                    return Ok((received, seconds));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot receive"),
        }
    }
}

/// Datagrams per system call.
const BATCH: usize = 64;
/// Between two looks at the clock when nothing is due.
const REST: Duration = Duration::from_micros(200);
/// Octets of socket buffers.
const BUFFER: usize = 4 << 20;
/// Longer than a queue needs to drain.
const SILENCE: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_what_arrived() {
        let flood = Flood { sent: 5000, received: 1000, seconds: 0.5 };
        assert!((flood.rate() - 2000.0).abs() < 1e-9);
        assert!(Flood { seconds: 0.0, ..flood }.rate() < 1e-9, "not infinite");
    }

    #[test]
    fn a_forged_request_is_one_that_can_be_read() {
        let mut number = 6;
        let request = another(&first_request(), &mut || {
            number += 1;
            number
        });
        let header = Header::parse(&request).unwrap();
        assert_eq!((header.spi_i, header.exchange), (IkeSpi(7), ExchangeType::IKE_SA_INIT));
        assert_eq!(request.last(), Some(&11));
        let packet =
            udp_packet((Ipv4Addr::new(198, 18, 1, 2), 500), (Ipv4Addr::LOCALHOST, 500), &request);
        assert_eq!(packet.len(), 28 + request.len());
        assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
    }

    #[test]
    fn as_many_are_due_as_the_rate_says() {
        assert_eq!(due(200_000, Duration::from_millis(5)), 1000);
        assert_eq!(due(200_000, Duration::from_hours(1000)), 720_000_000_000);
    }

    #[test]
    fn every_datagram_is_counted_once() {
        let target = UdpSocket::bind("127.0.0.1:0").unwrap();
        target.set_read_timeout(Some(SILENCE)).unwrap();
        set_socket_recv_buffer_size_force(&target, BUFFER).ok();
        let to = target.local_addr().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for octets in [64, 64, 63, 64] {
            sender.send_to(&vec![0; octets], to).unwrap();
        }
        let (received, _) = receive(&target, 64, &AtomicBool::new(false)).unwrap();
        assert_eq!(received, 3, "the one of another size is not ours");
    }
}
