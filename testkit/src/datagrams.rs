//! UDP flows between two namespaces: every datagram arrives unchanged, once, and in the order of its flow.
//!
//! ```text
//!   sender, a socket for each flow                                       one receiver
//!     flow 0   | burst | burst | ..    one send call for a burst   ──►   expects datagram n of the flow whose port it is
//!     flow 1   | burst | burst | ..    (UDP_SEGMENT)
//! ```
//!
//! Length and content follow from flow and number, so that the receiver needs no header to know what must come: a datagram of
//! one octet is as good as any.

#![expect(clippy::disallowed_methods, reason = "real sockets in real time")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "lengths below 64 KiB, positions of flows that were just made"
)]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use crate::flow::{content, mix};
use crate::netns::Netns;

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Flows, interleaved.
    pub flows: usize,
    /// Send calls of each.
    pub bursts: u64,
    /// What one call sends.
    pub shape: Shape,
    /// Octets per second, all flows together.
    pub pace: u64,
}

/// What one send call sends.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// A datagram of 1 to so many octets.
    Single(usize),
    /// A datagram of exactly so many octets, up to 16384.
    Exactly(usize),
    /// Up to 60 datagrams of one length, 1 to so many octets, and half of the times a shorter one.
    Burst(usize),
}

/// Sends all of it from `from` to `address` in `to`; says how many datagrams that were.
///
/// # Errors
/// The first datagram that was lost, changed, doubled or late.
pub fn datagrams(from: &Netns, to: &Netns, address: IpAddr, load: Load) -> Result<u64> {
    let receiver = to.inside(|| Ok(UdpSocket::bind(SocketAddr::new(address, 0))?))?;
    // No datagram is lost for want of room here.
    set_socket_recv_buffer_size_force(&receiver, 32 << 20)?;
    let at = receiver.local_addr()?;
    let senders = from.inside(|| {
        let flow = |_| {
            let any: IpAddr = if at.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
            let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
            socket.connect(at)?;
            Ok(socket)
        };
        (0..load.flows).map(flow).collect::<Result<Vec<_>>>()
    })?;
    learn_mtu(&senders, &receiver, load.shape)?;
    let ports = senders.iter().map(|socket| Ok(socket.local_addr()?.port()));
    let ports = ports.collect::<Result<Vec<u16>>>()?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| receive(&receiver, &ports, load));
        let sent = send(&senders, load);
        let outcome = thread.join().map_err(|_| anyhow!("the receiver panicked"))?;
        sent.and(outcome)
    })
}

/// The host learns how much the way takes by a loss (RFC 1191, RFC 8201), which does not count: from a datagram that its own
/// link just takes whole, too, since over IPv4 longer ones may be fragmented on the way.
fn learn_mtu(senders: &[UdpSocket], receiver: &UdpSocket, shape: Shape) -> Result<()> {
    let (Shape::Single(most) | Shape::Exactly(most) | Shape::Burst(most)) = shape;
    let sender = senders.first().context("no flow")?;
    receiver.set_read_timeout(Some(Duration::from_millis(200)))?;
    for len in [most.min(ETHERNET), most] {
        let arrives = || {
            // It tells what ICMP said about the one before.
            let _ = sender.send(&vec![0; len]);
            receiver.recv(&mut [0; 1]).is_ok()
        };
        ensure!((0..10).any(|_| arrives()), "no datagram of {len} octets arrives");
    }
    while receiver.recv(&mut [0; 1]).is_ok() {}
    Ok(())
}

fn send(senders: &[UdpSocket], load: Load) -> Result<()> {
    let (start, mut octets, mut numbers) = (Instant::now(), 0_u64, vec![0; senders.len()]);
    for burst in 0..load.bursts {
        for (flow, sender) in senders.iter().enumerate() {
            let due = start + Duration::from_micros(octets * 1_000_000 / load.pace);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let lens = lengths(flow, burst, load.shape);
            let mut all = Vec::new();
            for len in &lens {
                all.extend_from_slice(datagram(flow, numbers[flow], *len));
                numbers[flow] += 1;
            }
            let segment = if lens.len() > 1 { lens[0] } else { 0 };
            setsockopt(sender, UdpGsoSegment, &i32::try_from(segment)?)?;
            let sent = sender.send(&all);
            ensure!(sent? == all.len(), "flow {flow}, burst {burst} was cut");
            octets += all.len() as u64;
        }
    }
    Ok(())
}

/// Takes everything, until all came or nothing did for a while.
fn receive(receiver: &UdpSocket, ports: &[u16], load: Load) -> Result<u64> {
    let lens = |flow| (0..load.bursts).flat_map(move |burst| lengths(flow, burst, load.shape));
    let mut expected: Vec<_> = (0..load.flows).map(|flow| lens(flow).enumerate()).collect();
    let all: usize = (0..load.flows).map(|flow| lens(flow).count()).sum();
    receiver.set_read_timeout(Some(SILENCE))?;
    let mut buffer = vec![0; 65_536];
    for count in 0..all {
        let (len, peer) = receiver
            .recv_from(&mut buffer)
            .with_context(|| format!("{count} of {all} datagrams came"))?;
        let flow = ports.iter().position(|port| *port == peer.port());
        let flow = flow.with_context(|| format!("a datagram of a stranger, {peer}"))?;
        let (number, want) =
            expected[flow].next().with_context(|| format!("flow {flow} goes on after its end"))?;
        let got = &buffer[..len];
        ensure!(
            got == datagram(flow, number as u64, want),
            "flow {flow}, datagram {number}: another one or changed, {len} octets, not {want}"
        );
    }
    receiver.set_read_timeout(Some(Duration::from_millis(100)))?;
    ensure!(receiver.recv(&mut buffer).is_err(), "a datagram more than were sent");
    Ok(all as u64)
}

/// The lengths of the datagrams of one send call.
fn lengths(flow: usize, burst: u64, shape: Shape) -> Vec<usize> {
    let random = |salt: u64, most: usize| {
        1 + (mix(salt << 48 ^ (flow as u64) << 32 ^ burst) % most as u64) as usize
    };
    match shape {
        Shape::Single(most) => vec![random(1, most)],
        Shape::Exactly(len) => vec![len],
        Shape::Burst(most) => {
            let len = random(1, most);
            let mut lens = vec![len; random(2, (60_000 / len).min(60))];
            if random(3, 2) == 1 {
                lens.push(random(4, len));
            }
            lens
        }
    }
}

fn datagram(flow: usize, number: u64, len: usize) -> &'static [u8] {
    content(1, mix((flow as u64) << 32 ^ number) % (1 << 40), len)
}

/// The longest payload over IPv4 in a frame of Ethernet.
const ETHERNET: usize = 1472;
/// What is not there by then was lost.
const SILENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_have_one_length_and_a_shorter_last_one() {
        let all: Vec<_> = (0..200).map(|burst| lengths(3, burst, Shape::Burst(1400))).collect();
        for lens in &all {
            let (last, rest) = lens.split_last().unwrap();
            assert!(rest.iter().all(|len| *len == lens[0]) && *last <= lens[0], "{lens:?}");
            assert!(lens.iter().sum::<usize>() <= 65_507 && lens.len() <= 61);
        }
        assert!(all.iter().any(|lens| lens.last() < lens.first()));
    }

    #[test]
    fn a_lost_datagram_and_a_changed_one_are_seen() {
        let load = Load { flows: 1, bursts: 3, shape: Shape::Single(100), pace: 1_000_000 };
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        let port = sender.local_addr().unwrap().port();
        let octets = |number| datagram(0, number, lengths(0, number, load.shape)[0]).to_vec();
        let outcome = |datagrams: Vec<Vec<u8>>| {
            for one in datagrams {
                sender.send(&one).unwrap();
            }
            let outcome = receive(&receiver, &[port], load).map_err(|error| format!("{error:#}"));
            receiver.set_nonblocking(true).unwrap();
            while receiver.recv(&mut [0; 1]).is_ok() {}
            receiver.set_nonblocking(false).unwrap();
            outcome
        };
        assert_eq!(outcome(vec![octets(0), octets(1), octets(2)]), Ok(3));
        let swapped = outcome(vec![octets(0), octets(2), octets(1)]);
        assert!(swapped.unwrap_err().contains("datagram 1"));
        let lost = outcome(vec![octets(0), octets(1)]);
        assert!(lost.unwrap_err().contains("2 of 3"));
        let doubled = outcome(vec![octets(0), octets(1), octets(2), octets(2)]);
        assert!(doubled.unwrap_err().contains("more than were sent"));
    }
}
