//! Links and routes as this program sees them, and their shape as messages of rtnetlink(7).
//!
//! ```text
//!   struct ifinfomsg | IFLA_IFNAME, IFLA_ADDRESS, IFLA_MTU, IFLA_OPERSTATE                                 ◄─► Link
//!   struct rtmsg     | RTA_DST, RTA_OIF, RTA_GATEWAY or RTA_VIA, RTA_PREFSRC, RTA_PRIORITY, RTA_TABLE,     ◄─► Route
//!                    | RTA_METRICS { RTAX_MTU, RTAX_LOCK }
//! ```

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::Nla as _;
use netlink_packet_route::link::{InfoData, LinkAttribute, LinkInfo, LinkMessage, State};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number of it, unique in its namespace, never 0.
    pub index: u32,
    /// Its name, at most 15 octets.
    pub name: String,
    /// Its hardware address: 6 octets for Ethernet, none for a TUN.
    pub address: Vec<u8>,
    /// The largest packet that it takes, in octets without the link header.
    pub mtu: u32,
    /// Whether packets pass: switched on, plugged in, and the kernel has taken notice of both.
    pub operational: bool,
    /// Of a TUN device: a protocol number precedes each packet (it was made without `IFF_NO_PI`).
    pub numbers_protocols: bool,
}

/// A route, as far as this program sets and shows routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it leads to.
    pub destination: IpNet,
    /// The next hop; `None` if the destination is on the link. Its family may differ from the destination's (RFC 8950).
    pub gateway: Option<IpAddr>,
    /// The device, by index; `None` for blackhole and multipath routes of others.
    pub device: Option<u32>,
    /// The source address for our own packets that leave every choice to the kernel.
    pub preferred_source: Option<IpAddr>,
    /// The largest packet that it takes, in octets, if less than its device takes.
    pub mtu: Option<u32>,
    /// Less wins among routes to the same destination. The kernel turns 0 into 1024 for IPv6.
    pub metric: u32,
    /// Who made it: 2 the kernel, 3 or 4 an administrator, other numbers a routing program.
    pub protocol: u8,
    /// The routing table; 254 is the main one.
    pub table: u32,
    /// Packets that take it are thrown away, without a word (`RTN_BLACKHOLE`). IPv6 has such routes on the loopback device.
    pub blackhole: bool,
}

/// The main routing table.
pub const MAIN_TABLE: u32 = RouteHeader::RT_TABLE_MAIN as u32;

impl Route {
    /// A route of the main table through a device, without a next hop.
    #[must_use]
    pub fn through(device: u32, destination: IpNet, metric: u32, protocol: u8) -> Self {
        Self {
            destination,
            gateway: None,
            device: Some(device),
            preferred_source: None,
            mtu: None,
            metric,
            protocol,
            table: MAIN_TABLE,
            blackhole: false,
        }
    }

    /// A route of the main table that leads nowhere.
    #[must_use]
    pub fn nowhere(destination: IpNet, metric: u32, protocol: u8) -> Self {
        Self {
            destination,
            gateway: None,
            device: None,
            preferred_source: None,
            mtu: None,
            metric,
            protocol,
            table: MAIN_TABLE,
            blackhole: true,
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.blackhole {
            return write!(f, "blackhole {}", self.destination);
        }
        write!(f, "{}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        match self.device {
            Some(index) => write!(f, " dev {}", name_of(index)),
            None => Ok(()),
        }
    }
}

/// The name of a device in the calling thread's namespace, for messages; its number if it is not there (any more).
pub(super) fn name_of(index: u32) -> String {
    let name = rustix::net::netdevice::index_to_name_inlined;
    let any_socket =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::DGRAM, None);
    any_socket
        .and_then(|socket| name(socket, index))
        .map_or_else(|_| format!("#{index}"), |name| name.as_str().to_owned())
}

pub(super) fn family_of(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

pub(super) fn link_message(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = attributes;
    message
}

pub(super) fn route_message(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family_of(route.destination.addr());
    message.header.destination_prefix_length = route.destination.prefix_len();
    message.header.table = u8::try_from(route.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    message.header.protocol = RouteProtocol::from(route.protocol);
    message.header.kind = if route.blackhole { RouteType::BlackHole } else { RouteType::Unicast };
    message.header.scope = match route.gateway {
        None if route.destination.addr().is_ipv4() && !route.blackhole => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    let network = route.destination.network();
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Destination(network.into()));
    attributes.push(RouteAttribute::Table(route.table));
    attributes.push(RouteAttribute::Priority(route.metric));
    attributes.extend(route.device.map(RouteAttribute::Oif));
    attributes.extend(route.preferred_source.map(|a| RouteAttribute::PrefSource(a.into())));
    attributes.extend(route.gateway.map(|gateway| {
        if gateway.is_ipv4() == network.is_ipv4() {
            RouteAttribute::Gateway(gateway.into())
        } else {
            RouteAttribute::Via(RouteVia::from(gateway))
        }
    }));
    attributes.extend(route.mtu.map(|mtu| {
        let mut metrics = vec![RouteMetric::Mtu(mtu)];
        if network.is_ipv6() {
            // Older kernels forward IPv6 by the device's MTU, but for a route whose MTU is locked. In IPv4 a lock would take DF
            // away from what this host itself sends.
            metrics.push(RouteMetric::Lock(LOCK_MTU));
        }
        RouteAttribute::Metrics(metrics)
    }));
    message
}

/// The bit of `RTAX_MTU` (rtnetlink.h).
const LOCK_MTU: u32 = 1 << 2;

#[expect(clippy::wildcard_enum_match_arm, reason = "the parser knows hundreds of attributes")]
pub(super) fn link_from(answer: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = answer else { return None };
    let index = message.header.index;
    let mut link = Link {
        index,
        name: String::new(),
        address: Vec::new(),
        mtu: 0,
        operational: false,
        numbers_protocols: false,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(address) => link.address = address,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            // A loopback has no state to speak of (RFC 2863 §3.1.12 calls it unknown).
            LinkAttribute::OperState(State::Up | State::Unknown) => link.operational = true,
            LinkAttribute::LinkInfo(infos) => link.numbers_protocols = numbers_protocols(&infos),
            _ => {}
        }
    }
    Some(link)
}

fn numbers_protocols(infos: &[LinkInfo]) -> bool {
    let of_tun = infos.iter().filter_map(|info| {
        if let LinkInfo::Data(InfoData::Tun(attributes)) = info { Some(attributes) } else { None }
    });
    of_tun.flatten().any(|attribute| {
        let mut value = vec![0; attribute.value_len()];
        attribute.emit_value(&mut value);
        attribute.kind() == IFLA_TUN_PI && value == [1]
    })
}

/// linux/if_link.h.
const IFLA_TUN_PI: u16 = 4;

#[expect(clippy::wildcard_enum_match_arm, reason = "the parser knows dozens of attributes")]
pub(super) fn route_from(answer: RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = answer else { return None };
    let unspecified = match message.header.address_family {
        AddressFamily::Inet => IpAddr::from([0; 4]),
        AddressFamily::Inet6 => IpAddr::from([0; 16]),
        _ => return None,
    };
    let prefix_len = message.header.destination_prefix_length;
    let mut route = Route {
        destination: IpNet::new(unspecified, prefix_len).ok()?,
        gateway: None,
        device: None,
        preferred_source: None,
        mtu: None,
        metric: 0,
        protocol: u8::from(message.header.protocol),
        table: u32::from(message.header.table),
        blackhole: message.header.kind == RouteType::BlackHole,
    };
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => {
                route.destination = IpNet::new(address_from(&address)?, prefix_len).ok()?;
            }
            RouteAttribute::Gateway(address) => route.gateway = address_from(&address),
            RouteAttribute::Via(RouteVia::Inet(address)) => route.gateway = Some(address.into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => route.gateway = Some(address.into()),
            RouteAttribute::PrefSource(address) => route.preferred_source = address_from(&address),
            RouteAttribute::Oif(index) => route.device = Some(index),
            RouteAttribute::Priority(metric) => route.metric = metric,
            RouteAttribute::Table(table) => route.table = table,
            RouteAttribute::Metrics(metrics) => route.mtu = mtu_from(&metrics),
            _ => {}
        }
    }
    if route.blackhole {
        // IPv6 names the loopback device.
        route.device = None;
    }
    Some(route)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the parser knows a dozen metrics")]
fn mtu_from(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

fn address_from(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        RouteAddress::Mpls(_) | RouteAddress::Other(_) | _ => None,
    }
}
