//! What hosts of ours are told when a packet of theirs gets into no tunnel: ICMP "unreachable" with the code that names the
//! fault. Only where a packet is dropped anyway.
//!
//! ```text
//!   dropped ─► may be told? a token is left?  ─► esp::unreachable ─► raw ICMP socket ─► kernel: source, IP header, route
//!                └─ not an error, a group, a fragment; not to who is behind a peer
//! ```
//!
//! Through a socket rather than back into the TUN device: there the kernel would take a packet with a source of its own for
//! a martian, or filter it (rp_filter), and it knows best which of its addresses the host knows it by (RFC 1812 §4.3.2.4).
//! Without CAP_NET_RAW when it starts the gateway tells nobody.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use esp::ip::View;
use esp::too_big::MAX_LEN_V6;
use esp::unreachable::{Unreachable, unreachable};
use socket2::{Domain, Protocol, Socket, Type};

use crate::dataplane::{Counters, Policy};
use crate::sys::message::{set_option, set_option_words};

/// The way to tell hosts; each worker has one, and all have one allowance.
#[derive(Debug)]
pub struct Answers {
    v4: Option<Socket>,
    v6: Option<Socket>,
    allowance: Arc<Mutex<Allowance>>,
}

/// How many messages may still be sent (RFC 4443 §2.4 (f)).
#[derive(Debug)]
struct Allowance {
    left: u32,
    /// Up to when time was counted.
    counted: Option<Instant>,
}

impl Answers {
    /// Opens what this host lets us open.
    #[must_use]
    pub fn open() -> Self {
        let allowance = Arc::new(Mutex::new(Allowance { left: BURST, counted: None }));
        Self { v4: socket(Domain::IPV4).ok(), v6: socket(Domain::IPV6).ok(), allowance }
    }

    /// The same for another worker.
    #[must_use]
    pub fn share(&self) -> Self {
        let again = |socket: &Option<Socket>| socket.as_ref()?.try_clone().ok();
        Self { v4: again(&self.v4), v6: again(&self.v6), allowance: Arc::clone(&self.allowance) }
    }

    /// Tells the source of `packet` why it was dropped, if it may be told, and counts it.
    pub(super) fn tell(
        &self,
        (packet, view): (&[u8], &View),
        why: Unreachable,
        policy: &Policy,
        now: Instant,
        counters: &Counters,
    ) {
        let socket = match view.source {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        };
        let Some(socket) = socket else { return };
        // Whoever writes at this moment has one for us as well; if not, the next packet asks again.
        if !self.allowance.try_lock().is_ok_and(|mut allowance| allowance.take(now)) {
            return;
        }
        if policy.is_beyond(view.source) {
            return;
        }
        let mut message = [0; MAX_LEN_V6];
        let Some(len) = unreachable(packet, view, why, &mut message) else { return };
        let to = SocketAddr::new(view.source, 0);
        let flags = rustix::net::SendFlags::DONTWAIT;
        let message = message.get(..len).unwrap_or_default();
        if rustix::net::sendto(socket, message, flags, &to).is_ok() {
            counters.told(why);
        }
    }
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        let counted = *self.counted.get_or_insert(now);
        let passed = now.saturating_duration_since(counted);
        let earned = u32::try_from(passed.as_millis() / EACH.as_millis()).unwrap_or(BURST);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(BURST);
            self.counted = Some(now);
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

/// One that only sends: of what comes in it wants nothing.
fn socket(domain: Domain) -> io::Result<Socket> {
    let is_v4 = domain == Domain::IPV4;
    let protocol = if is_v4 { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    let socket = Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(protocol))?;
    // A bit for each type that is not wanted (icmp(7), RFC 3542 §3.2).
    if is_v4 {
        set_option(socket.as_fd(), SOL_RAW, ICMP_FILTER, -1)?;
    } else {
        let all = [u32::MAX; 8];
        set_option_words(socket.as_fd(), libc::IPPROTO_ICMPV6, ICMPV6_FILTER, all)?;
    }
    Ok(socket)
}

/// At once.
const BURST: u32 = 50;

/// Then one in so long: a hundred a second for the whole gateway.
const EACH: Duration = Duration::from_millis(10);

// icmp(7), linux/icmp.h, linux/icmpv6.h.
const SOL_RAW: i32 = 255;
const ICMP_FILTER: i32 = 1;
const ICMPV6_FILTER: i32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_then_so_many_a_second() {
        let start = crate::clock::now();
        let mut allowance = Allowance { left: BURST, counted: None };
        let granted = |allowance: &mut Allowance, at: Instant| {
            (0..1000).filter(|_| allowance.take(at)).count()
        };
        assert_eq!(granted(&mut allowance, start), 50);
        assert_eq!(granted(&mut allowance, start + Duration::from_millis(9)), 0);
        assert_eq!(granted(&mut allowance, start + Duration::from_millis(100)), 10);
        assert_eq!(granted(&mut allowance, start + Duration::from_mins(1)), 50);
    }

    #[test]
    fn a_trickle_is_not_forgotten() {
        let start = crate::clock::now();
        let mut allowance = Allowance { left: 0, counted: Some(start) };
        let granted = (1..=100).filter(|ms| allowance.take(start + Duration::from_millis(*ms)));
        assert_eq!(granted.count(), 10);
    }
}
