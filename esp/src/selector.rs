//! Traffic selectors of an SA: which inner packets may use it (RFC 4301 §4.4.1.1, §5.1, §5.2).
//!
//! ```text
//!             source         destination
//! outbound    in local       in remote        before sealing
//! inbound     in remote      in local         after opening
//! ```
//!
//! A packet belongs to an SA if one selector of the source side and one of the destination side match it.
//! Ports of each side are compared with that side's selector. A type (ICMP, Mobility Header) belongs to the
//! sender, so only the source side's selector looks at it (RFC 4301 §4.4.1.3). A packet without ports, for
//! example a later fragment, matches selectors for all ports or for "opaque" (start 65535, end 0) only.

use std::net::IpAddr;

use crate::ip::{Upper, View};

/// The selectors of an SA, seen from this side. An SA with an empty list carries nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    /// Addresses behind us.
    pub local: Vec<Selector>,
    /// Addresses behind the peer.
    pub remote: Vec<Selector>,
}

/// One traffic selector (RFC 7296 §3.13.1): all bounds are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Next layer protocol; 0 is any.
    pub protocol: u8,
    /// First and last port, or type and code. (0, 65535) is any; (65535, 0) is opaque: packets without ports.
    pub ports: (u16, u16),
    /// First address.
    pub start: IpAddr,
    /// Last address, of the same family.
    pub end: IpAddr,
}

impl Selectors {
    /// Whether a packet that leaves through the SA may: source local, destination remote.
    #[must_use]
    pub fn admit_outbound(&self, packet: &View) -> bool {
        admit(&self.local, &self.remote, packet)
    }

    /// Whether a packet that came through the SA may: source remote, destination local.
    #[must_use]
    pub fn admit_inbound(&self, packet: &View) -> bool {
        admit(&self.remote, &self.local, packet)
    }
}

impl Selector {
    /// Any protocol and port from `start` to `end`, both included.
    #[must_use]
    pub const fn addresses(start: IpAddr, end: IpAddr) -> Self {
        Self { protocol: 0, ports: ANY_PORT, start, end }
    }

    /// Whether the sender's side of a packet matches: its source address, protocol, and source port or type.
    #[must_use]
    pub fn matches_source(&self, packet: &View) -> bool {
        let port = match packet.upper {
            Upper::Ports { source, .. } => Some(source),
            Upper::Type(kind) => Some(kind),
            Upper::Opaque => None,
        };
        self.contains(packet.source) && self.has_protocol(packet.protocol) && self.has_port(port)
    }

    /// Whether the receiver's side of a packet matches: its destination address, protocol and destination port.
    #[must_use]
    pub fn matches_destination(&self, packet: &View) -> bool {
        let port_matches = match packet.upper {
            Upper::Ports { destination, .. } => self.has_port(Some(destination)),
            Upper::Type(_) => true,
            Upper::Opaque => self.has_port(None),
        };
        self.contains(packet.destination) && self.has_protocol(packet.protocol) && port_matches
    }

    /// Whether `address` lies in the range; never across families.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.start, self.end, address) {
            (IpAddr::V4(start), IpAddr::V4(end), IpAddr::V4(address)) => {
                (start.to_bits()..=end.to_bits()).contains(&address.to_bits())
            }
            (IpAddr::V6(start), IpAddr::V6(end), IpAddr::V6(address)) => {
                (start.to_bits()..=end.to_bits()).contains(&address.to_bits())
            }
            _ => false,
        }
    }

    const fn has_protocol(&self, protocol: u8) -> bool {
        self.protocol == 0 || self.protocol == protocol
    }

    fn has_port(&self, port: Option<u16>) -> bool {
        match port {
            Some(port) => (self.ports.0..=self.ports.1).contains(&port),
            None => self.ports == ANY_PORT || self.ports == OPAQUE_PORT,
        }
    }
}

fn admit(source: &[Selector], destination: &[Selector], packet: &View) -> bool {
    source.iter().any(|selector| selector.matches_source(packet))
        && destination.iter().any(|selector| selector.matches_destination(packet))
}

/// Every port, and packets without one.
pub const ANY_PORT: (u16, u16) = (0, u16::MAX);

/// Packets without a port only (RFC 7296 §3.13.1).
pub const OPAQUE_PORT: (u16, u16) = (u16::MAX, 0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::Fragment;

    fn packet(protocol: u8, upper: Upper) -> View {
        View {
            total_len: 100,
            header_len: 20,
            traffic_class: 0,
            source: [10, 1, 0, 5].into(),
            destination: [10, 2, 0, 5].into(),
            protocol,
            upper,
            fragment: Fragment::Whole,
            dont_fragment: false,
        }
    }

    fn selector(protocol: u8, ports: (u16, u16), network: u8) -> Selector {
        let (start, end) = ([10, network, 0, 0].into(), [10, network, 0, 255].into());
        Selector { protocol, ports, start, end }
    }

    fn pair(local: (u8, (u16, u16)), remote: (u8, (u16, u16))) -> Selectors {
        Selectors {
            local: vec![selector(local.0, local.1, 1)],
            remote: vec![selector(remote.0, remote.1, 2)],
        }
    }

    const ANY: (u8, (u16, u16)) = (0, ANY_PORT);

    #[test]
    fn addresses_are_ranges_of_one_family() {
        let range = selector(0, ANY_PORT, 1);
        for (address, inside) in [
            ([10, 1, 0, 0], true),
            ([10, 1, 0, 255], true),
            ([10, 1, 1, 0], false),
            ([10, 0, 255, 255], false),
        ] {
            assert_eq!(range.contains(address.into()), inside, "{address:?}");
        }
        let mapped = std::net::Ipv4Addr::new(10, 1, 0, 5).to_ipv6_mapped();
        assert!(!range.contains(mapped.into()));
        let v6 = Selector::addresses("fd00::10".parse().unwrap(), "fd00::1f".parse().unwrap());
        for (address, inside) in [
            ("fd00::10", true),
            ("fd00::1f", true),
            ("fd00::f", false),
            ("fd00::20", false),
            ("10.1.0.5", false),
        ] {
            assert_eq!(v6.contains(address.parse().unwrap()), inside, "{address}");
        }
    }

    #[test]
    fn each_direction_has_its_own_sides() {
        let mut packet = packet(17, Upper::Ports { source: 1, destination: 2 });
        let selectors = pair(ANY, ANY);
        assert!(selectors.admit_outbound(&packet) && !selectors.admit_inbound(&packet));
        std::mem::swap(&mut packet.source, &mut packet.destination);
        assert!(!selectors.admit_outbound(&packet) && selectors.admit_inbound(&packet));
        assert!(!Selectors::default().admit_outbound(&packet));
        assert!(!Selectors::default().admit_inbound(&packet));
    }

    #[test]
    fn any_of_several_selectors_will_do() {
        let packet = packet(17, Upper::Ports { source: 1, destination: 2 });
        let mut selectors = pair(ANY, ANY);
        selectors.local.insert(0, selector(0, ANY_PORT, 9));
        selectors.remote.insert(0, selector(6, ANY_PORT, 2));
        assert!(selectors.admit_outbound(&packet));
        selectors.remote.pop();
        assert!(!selectors.admit_outbound(&packet));
    }

    #[test]
    fn protocol_and_ports_of_each_side() {
        let packet = packet(17, Upper::Ports { source: 5000, destination: 53 });
        for (local, remote, admitted) in [
            (ANY, (17, (53, 53)), true),
            (ANY, (17, (50, 60)), true),
            (ANY, (17, (54, 60)), false),
            (ANY, (6, (53, 53)), false),
            (ANY, (17, (5000, 5000)), false),
            ((17, (5000, 5000)), (17, (53, 53)), true),
            ((17, (53, 53)), ANY, false),
            ((6, ANY_PORT), ANY, false),
            ((17, OPAQUE_PORT), ANY, false),
        ] {
            assert_eq!(
                pair(local, remote).admit_outbound(&packet),
                admitted,
                "{local:?} {remote:?}"
            );
        }
    }

    /// RFC 4301 §4.4.1.3: the sender's selector says which types may be sent.
    #[test]
    fn a_type_is_matched_on_the_side_of_the_sender() {
        let echo = packet(1, Upper::Type(0x0800));
        for (local, remote, admitted) in [
            ((1, (0x0800, 0x08ff)), (1, OPAQUE_PORT), true),
            ((1, (0x0800, 0x08ff)), (1, (0x0800, 0x08ff)), true),
            ((1, OPAQUE_PORT), (1, (0x0800, 0x08ff)), false),
            ((1, (0, 0x00ff)), ANY, false),
            (ANY, ANY, true),
            (ANY, (58, ANY_PORT), false),
        ] {
            assert_eq!(pair(local, remote).admit_outbound(&echo), admitted, "{local:?} {remote:?}");
        }
    }

    /// RFC 4301 §4.4.1.1: a later fragment cannot match a port selector other than any and opaque.
    #[test]
    fn packets_without_ports_match_any_and_opaque_only() {
        let later = packet(17, Upper::Opaque);
        for (local, remote, admitted) in [
            (ANY, ANY, true),
            ((17, ANY_PORT), (17, ANY_PORT), true),
            ((17, OPAQUE_PORT), (17, OPAQUE_PORT), true),
            ((17, (0, 65534)), ANY, false),
            (ANY, (17, (1, 65535)), false),
            (ANY, (17, (53, 53)), false),
            (ANY, (6, ANY_PORT), false),
        ] {
            assert_eq!(
                pair(local, remote).admit_outbound(&later),
                admitted,
                "{local:?} {remote:?}"
            );
        }
    }
}
