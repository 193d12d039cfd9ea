//! Peers that cannot be sent to, since the kernel of this host refuses: a firewall rule, a route that is missing, no room.
//!
//! ```text
//!   IKE   send_ike ──Err────────────────┐
//!   ESP   packets that a socket refuses ┴─► peer, why, when ──► W0506, the reason of its connections, until 2 s after the last
//! ```
//!
//! Nothing is done about it: whatever was lost is repeated by those whom it matters to (RFC 7296 §2.1).

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Control;
use super::connection::{Connection, Phase};
use crate::status::reason;
use crate::sys::netlink::plain;

/// The addresses that could not be sent to lately, why, and when.
#[derive(Debug, Default)]
pub(super) struct Unsendable(BTreeMap<IpAddr, (String, Instant)>);

impl Unsendable {
    /// The kernel refused a datagram of IKE.
    pub(super) fn refused(&mut self, to: IpAddr, error: &io::Error, now: Instant) {
        self.note(to, plain(error), now);
    }

    /// Strangers' addresses are among them, so there is an end to how many are kept.
    fn note(&mut self, to: IpAddr, why: String, now: Instant) {
        if self.0.len() < ADDRESSES_MAX || self.0.contains_key(&to) {
            self.0.insert(to, (why, now));
        }
    }

    /// Forgets what is over.
    fn forget(&mut self, now: Instant) {
        self.0.retain(|_, (_, at)| now.saturating_duration_since(*at) < MEMORY);
    }

    fn why(&self, to: IpAddr) -> Option<&str> {
        self.0.get(&to).map(|(why, _)| why.as_str())
    }
}

impl Control {
    /// Once a second: tells connections what of this host is in their way.
    pub(super) fn look_at_sending(&mut self, now: Instant) {
        self.unsendable.forget(now);
        for connection in &mut self.connections {
            let peer = connection.called();
            if let Some(to) = peer.filter(|_| connection.has_lost_more()) {
                let why = self.unsendable.why(to).unwrap_or("ESP was refused").to_owned();
                self.unsendable.note(to, why, now);
            }
            let refused = peer.and_then(|to| Some((to, self.unsendable.why(to)?)));
            connection.host_trouble = if self.device.is_lost() {
                Some(reason::device_lost())
            } else {
                refused.map(|(to, why)| reason::cannot_send(to, why))
            };
        }
    }
}

impl Connection {
    /// The address that we send to, or would.
    fn called(&self) -> Option<IpAddr> {
        let path = match &self.phase {
            Phase::Up { info } => Some(info.path),
            Phase::Connecting { path, .. } => Some(*path),
            Phase::Idle | Phase::Failed { .. } => self.paths.first().copied(),
        };
        path.map(|path| path.remote.ip())
    }

    /// Whether packets were refused since the last look.
    fn has_lost_more(&mut self) -> bool {
        let lost = self.children.iter().map(|child| child.counters.refused()).sum();
        std::mem::replace(&mut self.unsent, lost) < lost
    }
}

/// How long after the last refusal it counts: two looks.
const MEMORY: Duration = Duration::from_secs(2);

/// Addresses that are remembered at the same time: more than there are connections, and some 2 MB.
const ADDRESSES_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_refusal_is_forgotten_when_there_is_no_other_for_a_while() {
        let start = clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (peer, mut unsendable) = (IpAddr::from([192, 0, 2, 2]), Unsendable::default());
        let refused = io::Error::from_raw_os_error(libc::EPERM);
        unsendable.refused(peer, &refused, at(0));
        unsendable.forget(at(1));
        assert_eq!(unsendable.why(peer), Some("operation not permitted"));
        unsendable.refused(peer, &refused, at(1));
        unsendable.forget(at(2));
        assert!(unsendable.why(peer).is_some());
        unsendable.forget(at(3));
        assert_eq!(unsendable.why(peer), None);
    }

    /// What the TUN device does not take came in: nothing of this host is in the way of what goes out.
    #[test]
    fn only_what_a_socket_does_not_take_counts() {
        let mut one =
            super::super::connection::tests::connection(ikev2::Start::Always, clock::now());
        let counters = std::sync::Arc::clone(&one.children.first().expect("a child").counters);
        counters.drop_some(esp::DropReason::SendFailed, 39);
        assert!(!one.has_lost_more());
        counters.refuse(2);
        assert!(one.has_lost_more() && !one.has_lost_more());
        assert_eq!(counters.dropped(esp::DropReason::SendFailed), 41);
    }

    #[test]
    fn strangers_fill_no_memory() {
        let (now, mut unsendable) = (clock::now(), Unsendable::default());
        let refused = io::Error::from_raw_os_error(libc::EAGAIN);
        for stranger in 0..20_000_u32 {
            unsendable.refused(IpAddr::from(stranger.to_be_bytes()), &refused, now);
        }
        assert_eq!(unsendable.0.len(), ADDRESSES_MAX);
        let known = IpAddr::from([0; 4]);
        unsendable.refused(known, &refused, now + Duration::from_secs(1));
        unsendable.forget(now + MEMORY);
        assert_eq!(unsendable.0.len(), 1, "one that goes on being refused stays");
    }
}
