//! What is asked of a capture, and what it brings: the words of [`Request::Capture`](super::protocol::Request::Capture).
//!
//! ```text
//!   host ──► TUN device ──► tunnel ─► ESP ──► socket ──► peer
//!             | lan           | tunnel         | wire, with the IKE messages
//! ```
//!
//! `lan` and `tunnel` are the clear packets on both ends of what happens to them inside the gateway: as hosts send them and get
//! them, and as the peer sends them and gets them.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Where packets are looked at.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Clear, as they cross the TUN device; also those that no tunnel takes.
    Lan,
    /// Clear, as they are inside the tunnel.
    Tunnel,
    /// As they cross the network between the gateways: ESP, IKE, NAT keepalives.
    Wire,
}

impl Side {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lan, Self::Tunnel, Self::Wire];

    /// As people write it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Tunnel => "tunnel",
            Self::Wire => "wire",
        }
    }
}

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Towards the peer.
    Out,
    /// From the peer.
    In,
}

/// Which packets; what is not set admits all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Source or destination is in this network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<IpNet>,
    /// The source is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpNet>,
    /// The destination is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<IpNet>,
    /// Source or destination port of TCP, UDP and their like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// IP protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
}

/// What a filter looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Source.
    pub source: IpAddr,
    /// Destination.
    pub destination: IpAddr,
    /// IP protocol.
    pub protocol: u8,
    /// Source and destination; `None` if it has none.
    pub ports: Option<(u16, u16)>,
}

impl Filter {
    /// Whether a packet passes: all that is set has to fit.
    #[must_use]
    pub fn admits(&self, flow: &Flow) -> bool {
        let Flow { source, destination, protocol, ports } = *flow;
        let is_in =
            |net: &Option<IpNet>, address: &IpAddr| net.is_none_or(|net| net.contains(address));
        let either =
            self.host.is_none_or(|host| host.contains(&source) || host.contains(&destination));
        let port =
            self.port.is_none_or(|port| ports.is_some_and(|(from, to)| port == from || port == to));
        either
            && port
            && is_in(&self.source, &source)
            && is_in(&self.destination, &destination)
            && self.protocol.is_none_or(|wanted| wanted == protocol)
    }

    /// Whether it admits all packets.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }
}

/// A packet that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// When, in nanoseconds since 1970.
    pub at_ns: u64,
    /// Where.
    pub side: Side,
    /// Which way it went.
    pub direction: Direction,
    /// Whose it is, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// Which child of that; IKE belongs to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<String>,
    /// On the wire: what lies around the octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outer: Option<Outer>,
    /// What became of it, if it went no further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How many octets there were.
    pub len: u32,
    /// The first of them, in base64: of an IP packet, or on the wire of what the headers of `outer` carry.
    pub octets: String,
}

/// The headers of a datagram on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outer {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes to.
    pub destination: SocketAddr,
    /// UDP, with the ports of both; or else IP protocol 50, without.
    pub udp: bool,
    /// DSCP and ECN.
    pub traffic_class: u8,
}

impl Outer {
    /// What a filter sees of it.
    #[must_use]
    pub fn flow(&self) -> Flow {
        Flow {
            source: self.source.ip(),
            destination: self.destination.ip(),
            protocol: if self.udp { UDP } else { ESP },
            ports: self.udp.then_some((self.source.port(), self.destination.port())),
        }
    }
}

const UDP: u8 = 17;
const ESP: u8 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_wants_all_that_it_names() {
        let net = |text: &str| Some(text.parse::<IpNet>().expect("a network"));
        let flow = Flow {
            source: [10, 1, 0, 5].into(),
            destination: [10, 2, 0, 9].into(),
            protocol: 6,
            ports: Some((40_000, 443)),
        };
        let open = Filter::default;
        for (filter, expected) in [
            (open(), true),
            (Filter { host: net("10.2.0.0/16"), ..open() }, true),
            (Filter { host: net("10.3.0.0/16"), ..open() }, false),
            (Filter { source: net("10.1.0.5/32"), ..open() }, true),
            (Filter { source: net("10.2.0.0/16"), ..open() }, false),
            (Filter { destination: net("10.2.0.0/16"), ..open() }, true),
            (Filter { destination: net("::/0"), ..open() }, false),
            (Filter { port: Some(443), ..open() }, true),
            (Filter { port: Some(40_000), ..open() }, true),
            (Filter { port: Some(80), ..open() }, false),
            (Filter { protocol: Some(6), port: Some(443), ..open() }, true),
            (Filter { protocol: Some(17), port: Some(443), ..open() }, false),
        ] {
            assert_eq!(filter.admits(&flow), expected, "{filter:?}");
        }
        let without = Flow { ports: None, ..flow };
        assert!(!Filter { port: Some(443), ..open() }.admits(&without));
    }

    #[test]
    fn on_the_wire_the_outer_packet_is_what_a_filter_sees() {
        let outer = Outer {
            source: "192.0.2.1:4500".parse().expect("an address"),
            destination: "192.0.2.2:4500".parse().expect("an address"),
            udp: true,
            traffic_class: 0,
        };
        assert_eq!((outer.flow().protocol, outer.flow().ports), (17, Some((4500, 4500))));
        let raw = Outer { udp: false, ..outer };
        assert_eq!((raw.flow().protocol, raw.flow().ports), (50, None));
    }
}
