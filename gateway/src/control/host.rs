//! What of this host keeps tunnels from working: forwarding that is switched off (W0501), looked at every second, and IPsec of
//! the kernel itself (W0502), every minute. And what it lets in beside them: clear packets from remote networks, if neither a
//! rule of ours nor `rp_filter` stops them (W0507).
//!
//! ```text
//!   off ──5 s──► warned ──on──► nothing to say       an interface manager that rewrites sysctls for a moment is not worth a word
//! ```

use std::fs;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::Control;
use super::connection::Connection;
use crate::config::LeakProtection;
use crate::status::{Code, Warning};
use crate::sys::inbound::Inbound;
use crate::sys::xfrm;

/// What was seen of the host.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// Since when packets are not forwarded.
    off_since: Option<Instant>,
    /// Whether that was said.
    told: bool,
    /// Keeps out what comes in clear from the other end of a tunnel.
    inbound: Option<Inbound>,
    /// Nothing does.
    is_open: bool,
    /// Whether the kernel has IPsec policies.
    foreign: bool,
    /// When that was looked at.
    foreign_at: Option<Instant>,
}

/// What is to be said now.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Off,
    On,
}

impl Host {
    fn look(&mut self, is_off: bool, now: Instant) -> Option<News> {
        if !is_off {
            self.off_since = None;
            return std::mem::take(&mut self.told).then_some(News::On);
        }
        let since = *self.off_since.get_or_insert(now);
        let tells = !self.told && now.saturating_duration_since(since) >= PATIENCE;
        self.told |= tells;
        tells.then_some(News::Off)
    }

    /// The warnings that hold.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        let warnings = [
            (self.told, Code::NotForwarding),
            (self.foreign, Code::Foreign),
            (self.is_open, Code::InboundOpen),
        ];
        let hold = warnings.into_iter().filter(|(holds, _)| *holds);
        hold.map(|(_, code)| Warning::of(code)).collect()
    }

    /// Keeps out, or lets in, what has `tun` as its way back and did not come from there.
    pub(super) fn protect(&mut self, tun: &str, protection: LeakProtection) {
        self.is_open = false;
        if protection == LeakProtection::Off {
            self.inbound = None;
            return;
        }
        if self.inbound.is_some() {
            return;
        }
        match Inbound::guard(tun) {
            Ok(inbound) => self.inbound = Some(inbound),
            Err(error) => {
                // Whoever runs us without that right has given the host to somebody else.
                let is_denied = error.kind() == std::io::ErrorKind::PermissionDenied;
                self.is_open = !is_denied && !is_strict();
                let code = self.is_open.then(|| Code::InboundOpen.id());
                tracing::info!(
                    target: "gateway", event = "inbound-unfiltered", code, %error,
                    msg = "packets in clear whose sender is in a remote network are not kept out by us",
                    fix = Code::InboundOpen.fix()
                );
            }
        }
    }

    /// Whether the kernel's own policies are to be looked at.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.foreign_at.is_none_or(|at| now.saturating_duration_since(at) >= MINUTE);
        if is_due {
            self.foreign_at = Some(now);
        }
        is_due
    }

    /// Whether they have come or gone.
    fn on_foreign(&mut self, foreign: bool) -> bool {
        std::mem::replace(&mut self.foreign, foreign) != foreign
    }
}

impl Control {
    /// Once a second.
    pub(super) fn look_at_host(&mut self, now: Instant) {
        if self.host.is_due(now) {
            // What cannot be seen is not there.
            let foreign = xfrm::count_policies().is_ok_and(|count| count > 0);
            if self.host.on_foreign(foreign) && foreign {
                let Warning { code, title, fix, .. } = Warning::of(Code::Foreign);
                tracing::warn!(target: "gateway", event = "foreign-ipsec", code, msg = title, fix);
            }
        }
        let is_off = forwarding_is_off(&self.connections);
        match self.host.look(is_off, now) {
            None => {}
            Some(News::On) => tracing::info!(target: "gateway", event = "forwarding-on"),
            Some(News::Off) => {
                let Warning { code, title, fix, .. } = Warning::of(Code::NotForwarding);
                tracing::warn!(target: "gateway", event = "forwarding-off", code, msg = title, fix);
            }
        }
    }
}

/// Whether the kernel drops packets that did not come from where their sender is, on every device.
fn is_strict() -> bool {
    fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter").is_ok_and(|text| text.trim() == "1")
}

/// Whether the kernel passes no packets of a family that some child has.
fn forwarding_is_off(connections: &[Connection]) -> bool {
    let has = |v4: bool| {
        let mut networks =
            connections.iter().flat_map(|c| &c.config.children).flat_map(|c| &c.local);
        networks.any(|network| matches!(network, IpNet::V4(_)) == v4)
    };
    let off = |path: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == "0");
    has(true) && off("/proc/sys/net/ipv4/ip_forward")
        || has(false) && off("/proc/sys/net/ipv6/conf/all/forwarding")
}

/// Between two looks at the policies of the kernel.
const MINUTE: Duration = Duration::from_mins(1);

/// So long it has to be off.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn foreign_policies_are_looked_at_every_minute_and_said_once() {
        let start = clock::now();
        let mut host = Host::default();
        assert!(host.is_due(start) && !host.is_due(start + Duration::from_secs(59)));
        assert!(host.is_due(start + Duration::from_mins(1)));
        assert!(host.on_foreign(true) && !host.on_foreign(true));
        assert_eq!(host.warnings()[0].code, "W0502");
        assert!(host.on_foreign(false) && host.warnings().is_empty());
    }

    #[test]
    fn a_moment_is_not_worth_a_word_and_an_end_is() {
        let start = clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut host = Host::default();
        assert_eq!(host.look(true, at(0)), None);
        assert_eq!(host.look(false, at(4)), None, "it was not told");
        assert_eq!(host.look(true, at(5)), None);
        assert_eq!(host.look(true, at(9)), None);
        assert!(host.warnings().is_empty());
        assert_eq!(host.look(true, at(10)), Some(News::Off));
        assert_eq!(host.look(true, at(11)), None, "once");
        assert_eq!(host.warnings()[0].code, "W0501");
        assert_eq!(host.look(false, at(12)), Some(News::On));
        assert!(host.warnings().is_empty());
    }
}
