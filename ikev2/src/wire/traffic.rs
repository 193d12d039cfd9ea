//! What travels in a child SA, as a whole: two lists of selectors (RFC 7296 §2.9), and the packet that asks for one.
//!
//! ```text
//!   local    10.1.0.0/16, 10.3.0.0/16 ┐
//!                                     ├─ any of the one side with any of the other: four pairs
//!   remote   10.2.0.0/16, 10.4.0.0/16 ┘
//!
//!   with a packet before them:  local 10.1.0.5/32[tcp/40000], 10.1.0.0/16, ..    the first one stands for the packet
//! ```

use std::fmt;
use std::net::IpAddr;

use super::selector::{MAX_SELECTORS, TrafficSelector};

/// Two lists of selectors, seen from this side: any selector of the one with any of the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Our side.
    pub local: Vec<TrafficSelector>,
    /// The peer's side.
    pub remote: Vec<TrafficSelector>,
}

impl Traffic {
    /// These lists.
    #[must_use]
    pub const fn new(local: Vec<TrafficSelector>, remote: Vec<TrafficSelector>) -> Self {
        Self { local, remote }
    }

    /// Whether nothing is said: a side is empty, so that no packet fits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.local.is_empty() || self.remote.is_empty()
    }

    /// Whether every packet of `other` may travel here too. What only several selectors together contain does not count.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        contains(&self.local, &other.local) && contains(&self.remote, &other.remote)
    }

    /// Whether this packet may travel here.
    #[must_use]
    pub fn holds(&self, packet: &PacketSelectors) -> bool {
        let (local, remote) = packet.selectors();
        contains(&self.local, &[local]) && contains(&self.remote, &[remote])
    }

    /// The same with the selectors of the packet at hand before all others (RFC 7296 §2.9); unchanged if the packet does
    /// not belong to it, or if a list is full.
    #[must_use]
    pub(crate) fn led_by(mut self, packet: &PacketSelectors) -> Self {
        let (local, remote) = packet.selectors();
        if self.holds(packet) && self.local.len().max(self.remote.len()) < MAX_SELECTORS {
            put_first(&mut self.local, local);
            put_first(&mut self.remote, remote);
        }
        self
    }
}

/// Whether each of `inner` lies within one of `outer`.
pub(crate) fn contains(outer: &[TrafficSelector], inner: &[TrafficSelector]) -> bool {
    inner.iter().all(|inner| outer.iter().any(|outer| outer.contains(inner)))
}

fn put_first(list: &mut Vec<TrafficSelector>, first: TrafficSelector) {
    list.retain(|other| *other != first);
    list.insert(0, first);
}

/// `10.1.0.0/16, 10.3.0.0/16 <-> 10.2.0.0/16`.
impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(&self.local, f)?;
        f.write_str(" <-> ")?;
        list(&self.remote, f)
    }
}

fn list(selectors: &[TrafficSelector], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if selectors.is_empty() {
        return f.write_str("nothing");
    }
    for (index, selector) in selectors.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{selector}")?;
    }
    Ok(())
}

/// The packet for which a child SA is asked: its addresses, and what else selectors look at (RFC 7296 §2.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketSelectors {
    /// IP protocol.
    pub protocol: u8,
    /// The address on our side.
    pub local: IpAddr,
    /// The address on the peer's side, of the same family.
    pub remote: IpAddr,
    /// The ports on our side and on the peer's; `None` where there are none or they cannot be seen.
    pub ports: Option<(u16, u16)>,
}

impl PacketSelectors {
    /// The narrowest selectors that the packet fits: ours, the peer's.
    #[must_use]
    pub fn selectors(&self) -> (TrafficSelector, TrafficSelector) {
        let of = |address, port: Option<u16>| {
            let host = TrafficSelector::host(address);
            let ports = port.map_or(host.ports, |port| (port, port));
            TrafficSelector { protocol: self.protocol, ports, ..host }
        };
        let (local, remote) = self.ports.unzip();
        (of(self.local, local), of(self.remote, remote))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(second: u8) -> TrafficSelector {
        TrafficSelector::subnet(IpAddr::from([10, second, 0, 0]), 16)
    }

    fn packet() -> PacketSelectors {
        let (local, remote) = (IpAddr::from([10, 1, 0, 5]), IpAddr::from([10, 2, 0, 7]));
        PacketSelectors { protocol: 6, local, remote, ports: Some((40000, 443)) }
    }

    #[test]
    fn a_packet_goes_before_the_selectors_that_hold_it() {
        let wide = Traffic::new(vec![net(1), net(3)], vec![net(2)]);
        let led = wide.clone().led_by(&packet());
        assert_eq!(
            led.to_string(),
            "10.1.0.5/32[tcp/40000], 10.1.0.0/16, 10.3.0.0/16 <-> 10.2.0.7/32[tcp/443], 10.2.0.0/16"
        );
        assert!(wide.contains(&led) && led.contains(&wide));
        assert_eq!(led.clone().led_by(&packet()), led, "once");
    }

    #[test]
    fn a_packet_of_other_traffic_changes_nothing() {
        for other in [
            Traffic::new(vec![net(9)], vec![net(2)]),
            Traffic::new(vec![net(1)], vec![net(9)]),
            Traffic::new(vec![net(1); MAX_SELECTORS], vec![net(2)]),
        ] {
            assert_eq!(other.clone().led_by(&packet()), other);
        }
    }

    #[test]
    fn a_packet_without_ports_is_any_port() {
        let (local, _) = PacketSelectors { protocol: 1, ports: None, ..packet() }.selectors();
        assert_eq!(local.to_string(), "10.1.0.5/32[icmp]");
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        let silent = Traffic::default();
        assert!(silent.is_empty());
        assert_eq!(silent.to_string(), "nothing <-> nothing");
        assert!(Traffic::new(vec![net(1)], Vec::new()).is_empty());
        assert!(!Traffic::new(vec![net(1)], vec![net(2)]).is_empty());
    }

    #[test]
    fn both_sides_have_to_be_contained() {
        let all = Traffic::new(vec![net(1), net(3)], vec![net(2)]);
        assert!(all.contains(&Traffic::new(vec![net(3)], vec![net(2)])));
        assert!(!all.contains(&Traffic::new(vec![net(4)], vec![net(2)])));
        assert!(!all.contains(&Traffic::new(vec![net(1)], vec![net(4)])));
    }
}
