//! Echo requests that are all accounted for (RFC 792, RFC 4443 §4).
//!
//! ```text
//!   0      1      2          4           6            8
//!   +------+------+----------+-----------+------------+---------------+
//!   | type | code | checksum | ident.    | sequence   | 56 octets     |   type 8 -> 0 (ICMP), 128 -> 129 (ICMPv6)
//!   +------+------+----------+-----------+------------+---------------+
//!                  \_ the kernel's, on a "ping socket" _/
//! ```
//!
//! Not ping(8): once it has an answer it waits for the last ones for two round trip times only, and on a busy machine
//! takes a late answer for a loss.

#![expect(clippy::disallowed_methods, reason = "waits for real answers in real time")]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::fd::OwnedFd;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketType, bind, connect, ipproto, recv, send, socket,
};

/// Sends `count` echo requests to `to` from the calling thread's namespace, `gap` apart, and returns how many were
/// answered within `patience` after the last. A request that cannot even be sent is one that was not answered.
///
/// # Errors
/// If there can be no ping socket here (see `net.ipv4.ping_group_range`).
pub fn ping(to: IpAddr, count: u16, gap: Duration, patience: Duration) -> Result<u16> {
    ping_from(None, to, count, gap, patience)
}

/// The same from one of several addresses.
///
/// # Errors
/// Also if the address is not here.
pub fn ping_from(
    from: Option<IpAddr>,
    to: IpAddr,
    count: u16,
    gap: Duration,
    patience: Duration,
) -> Result<u16> {
    let trips = trips(from, to, count, gap, patience)?;
    Ok(trips.iter().map(|trip| u16::from(trip.is_some())).sum())
}

/// The round trip time of each request; `None` for one that was not answered.
///
/// # Errors
/// If there can be no ping socket here.
pub fn round_trips(
    to: IpAddr,
    count: u16,
    gap: Duration,
    patience: Duration,
) -> Result<Vec<Option<Duration>>> {
    trips(None, to, count, gap, patience)
}

fn trips(
    from: Option<IpAddr>,
    to: IpAddr,
    count: u16,
    gap: Duration,
    patience: Duration,
) -> Result<Vec<Option<Duration>>> {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let socket = socket(family, SocketType::DGRAM, Some(protocol)).context("no ping socket")?;
    if let Some(from) = from {
        bind(&socket, &SocketAddr::new(from, 0)).context("no such address to ping from")?;
    }
    let mut echoes = vec![Echo::default(); usize::from(count)];
    let start = Instant::now();
    if connect(&socket, &SocketAddr::new(to, 0)).is_err() {
        // No route yet.
        return Ok(vec![None; usize::from(count)]);
    }
    for number in 0..count {
        if let Some(echo) = echoes.get_mut(usize::from(number)) {
            echo.sent = Some(Instant::now());
        }
        // Whatever went wrong (an ICMP error of the one before, no route): it will not be answered.
        let _ = send(&socket, &request(to, number), SendFlags::empty());
        listen(&socket, to, start + gap * u32::from(number + 1), &mut echoes);
    }
    listen(&socket, to, start + gap * u32::from(count) + patience, &mut echoes);
    Ok(echoes.iter().map(|echo| echo.took).collect())
}

/// One request.
#[derive(Debug, Clone, Copy, Default)]
struct Echo {
    sent: Option<Instant>,
    /// From there to the answer.
    took: Option<Duration>,
}

/// Takes answers until `until`, or until there is none left to wait for.
fn listen(socket: &OwnedFd, to: IpAddr, until: Instant, echoes: &mut [Echo]) {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || echoes.iter().all(|echo| echo.took.is_some()) {
            return;
        }
        // The kernel takes a timeout of zero for none at all.
        let left = left.max(Duration::from_millis(1));
        let mut message = [0; 128];
        let received = set_socket_timeout(socket, Timeout::Recv, Some(left))
            .and_then(|()| recv(socket, &mut message[..], RecvFlags::empty()));
        let answer = received.ok().and_then(|(len, _)| message.get(..len));
        let number = answer.and_then(|answer| number(to, answer));
        if let Some(slot) = number.and_then(|number| echoes.get_mut(usize::from(number))) {
            slot.took = slot.took.or(slot.sent.map(|sent| sent.elapsed()));
        }
    }
}

fn request(to: IpAddr, number: u16) -> Vec<u8> {
    let kind = if to.is_ipv4() { 8 } else { 128 };
    let [high, low] = number.to_be_bytes();
    let mut message = vec![kind, 0, 0, 0, 0, 0, high, low];
    message.extend([0x42; PAYLOAD]);
    message
}

/// The sequence number of a whole and unchanged answer.
fn number(to: IpAddr, answer: &[u8]) -> Option<u16> {
    let kind = if to.is_ipv4() { 0 } else { 129 };
    let (&[got, _, _, _, _, _, high, low], payload) = answer.split_first_chunk()?;
    (got == kind && payload == [0x42; PAYLOAD]).then(|| u16::from_be_bytes([high, low]))
}

const PAYLOAD: usize = 56;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_echo_reply_counts() {
        let to = IpAddr::from([192, 0, 2, 1]);
        let mut answer = request(to, 259);
        assert_eq!(number(to, &answer), None);
        answer[0] = 0;
        assert_eq!(number(to, &answer), Some(259));
        answer[20] ^= 1;
        assert_eq!(number(to, &answer), None);
        assert_eq!(number(to, &answer[..7]), None);
    }
}
