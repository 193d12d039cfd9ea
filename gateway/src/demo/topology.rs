//! The network of the demo: five namespaces and four cables, made with netlink alone.
//!
//! ```text
//!    host-a            gw-a                      internet                      gw-b            host-b
//!   eth0 ──────── lan      wan ──────────── to-a         to-b ──────────── wan      lan ──────── eth0
//!   10.1.0.2   10.1.0.1    192.0.2.10   192.0.2.1     192.0.2.129   192.0.2.210    10.2.0.1   10.2.0.2
//!          10.1.0.0/16           192.0.2.0/25              192.0.2.128/25                10.2.0.0/16
//! ```
//!
//! The internet is an ordinary router that knows its two links and nothing else: it has no route to the sites, as the
//! real one has none to private addresses. The addresses between the gateways are for documentation (RFC 5737).

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use rustix::event::{Timespec, poll};

use super::{DemoError, During as _};
use crate::clock;
use crate::sys::netlink::{Netlink, Route};
use crate::sys::netns::{Netns, set_sysctl};

/// One side of the demo.
#[derive(Debug)]
pub(super) struct Site {
    /// What the other side calls it.
    pub(super) name: &'static str,
    /// The name of the gateway.
    pub(super) gateway: &'static str,
    /// The address of the host.
    pub(super) host: Ipv4Addr,
    /// The gateway's address on its LAN.
    lan: Ipv4Addr,
    /// The gateway's address on the internet.
    pub(super) wan: Ipv4Addr,
    /// The internet's address towards the gateway.
    router: Ipv4Addr,
    /// The internet's device towards the gateway.
    pub(super) port: &'static str,
    /// The host's device towards the gateway.
    nic: &'static str,
}

impl Site {
    /// The network behind the gateway.
    pub(super) fn network(&self) -> Ipv4Net {
        Ipv4Net::new_assert(self.lan, LAN_PREFIX).trunc()
    }
}

/// The left side, which initiates.
pub(super) const SITE_A: Site = Site {
    name: "site-a",
    gateway: "gw-a",
    host: Ipv4Addr::new(10, 1, 0, 2),
    lan: Ipv4Addr::new(10, 1, 0, 1),
    wan: Ipv4Addr::new(192, 0, 2, 10),
    router: Ipv4Addr::new(192, 0, 2, 1),
    port: "to-a",
    nic: "eth0",
};

/// The right side, which responds.
pub(super) const SITE_B: Site = Site {
    name: "site-b",
    gateway: "gw-b",
    host: Ipv4Addr::new(10, 2, 0, 2),
    lan: Ipv4Addr::new(10, 2, 0, 1),
    wan: Ipv4Addr::new(192, 0, 2, 210),
    router: Ipv4Addr::new(192, 0, 2, 129),
    port: "to-b",
    nic: "eth0",
};

/// A second gateway of the right side, for `--failover`.
pub(super) const SITE_C: Site = Site {
    name: "site-b",
    gateway: "gw-c",
    host: SITE_B.host,
    lan: Ipv4Addr::new(10, 2, 0, 3),
    wan: Ipv4Addr::new(203, 0, 113, 210),
    router: Ipv4Addr::new(203, 0, 113, 129),
    port: "to-c",
    nic: "eth1",
};

/// The namespaces. All vanish with this value and the processes inside.
#[derive(Debug)]
pub(super) struct Topology {
    pub(super) internet: Netns,
    pub(super) gateway_a: Netns,
    pub(super) gateway_b: Netns,
    pub(super) host_a: Netns,
    pub(super) host_b: Netns,
}

impl Topology {
    /// Builds everything, with the calling thread's namespace as the internet.
    pub(super) fn build() -> Result<Self, DemoError> {
        let make = || Netns::new().during("make a network namespace");
        let topology = Self {
            internet: Netns::current().during("find our network namespace")?,
            gateway_a: make()?,
            gateway_b: make()?,
            host_a: make()?,
            host_b: make()?,
        };
        topology.connect(&SITE_A, &topology.gateway_a, &topology.host_a)?;
        topology.connect(&SITE_B, &topology.gateway_b, &topology.host_b)?;
        inside(&topology.internet, || set_forwarding("1"))?;
        let Self { internet, gateway_a, gateway_b, host_a, host_b } = &topology;
        Self::until_operational(&[internet, gateway_a, gateway_b, host_a, host_b])?;
        Ok(topology)
    }

    /// Adds a second gateway of the right side: on the internet by a provider of its own, on host-b by a second card, and
    /// beside gw-b by a cable. What gw-b cannot send through a tunnel of its own it sends along that, as routers do that
    /// tell each other.
    ///
    /// ```text
    ///   internet ══ gw-b ── eth0 host-b eth1 ── gw-c ══ internet
    ///                 └────────── side ──────────┘
    /// ```
    pub(super) fn second_gateway(&self) -> Result<Netns, DemoError> {
        let second = Netns::new().during("make a network namespace")?;
        inside(&second, quiet)?;
        self.cable(&SITE_C, &second, &self.host_b)?;
        inside(&self.host_b, || {
            let mut netlink = Netlink::open().during("open netlink")?;
            let nic = netlink.link_index(SITE_C.nic)?;
            Ok(netlink.link_up(nic)?)
        })?;
        let beside = |last| Ipv4Addr::new(10, 2, 255, last);
        inside(&self.gateway_b, || {
            let mut netlink = Netlink::open().during("open netlink")?;
            netlink.add_veth("side", "far")?;
            let far_end = netlink.link_index("far")?;
            netlink.move_to_netns(far_end, second.as_fd())?;
            plug_in(&mut netlink, "side", beside(1), SIDE_PREFIX)
        })?;
        inside(&second, || {
            let mut netlink = Netlink::open().during("open netlink")?;
            plug_in(&mut netlink, "far", beside(2), SIDE_PREFIX)
        })?;
        inside(&self.gateway_b, || {
            let mut netlink = Netlink::open().during("open netlink")?;
            let device = netlink.link_index("side")?;
            let to = SITE_A.network().into();
            let route = Route::through(device, to, WORSE_THAN_TUNNELS, RTPROT_STATIC);
            Ok(netlink.add_route(&Route { gateway: Some(beside(2).into()), ..route })?)
        })?;
        Self::until_operational(&[&self.gateway_b, &second, &self.host_b])?;
        Ok(second)
    }

    /// The kernel takes notice of a cable at its leisure, at most once a second, and loses packets until then.
    fn until_operational(namespaces: &[&Netns]) -> Result<(), DemoError> {
        let started = clock::now();
        // A kernel with tunnel drivers puts devices of theirs into every namespace, which stay off.
        let ours = |name: &str| {
            let known = ["eth0", "eth1", "lan", "wan", "side", "far"];
            known.contains(&name) || [SITE_A, SITE_B, SITE_C].iter().any(|site| site.port == name)
        };
        for namespace in namespaces {
            inside(namespace, || {
                let mut netlink = Netlink::open().during("open netlink")?;
                while netlink.links()?.iter().any(|link| ours(&link.name) && !link.operational) {
                    if clock::now() - started > PATIENCE {
                        let source = io::ErrorKind::TimedOut.into();
                        return Err(DemoError::Io { what: "plug in the cables".into(), source });
                    }
                    let moment = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
                    poll(&mut [], Some(&moment)).during("wait")?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Lays the two cables of one site, from the gateway outwards, and sets the addresses along them.
    fn connect(&self, site: &Site, gateway: &Netns, host: &Netns) -> Result<(), DemoError> {
        for namespace in [&self.internet, gateway, host] {
            inside(namespace, quiet)?;
        }
        self.cable(site, gateway, host)?;
        inside(host, || {
            let mut netlink = Netlink::open().during("open netlink")?;
            plug_in(&mut netlink, site.nic, site.host, LAN_PREFIX)?;
            default_route(&mut netlink, site.nic, site.lan)
        })
    }

    /// The two cables, with all addresses but the host's.
    fn cable(&self, site: &Site, gateway: &Netns, host: &Netns) -> Result<(), DemoError> {
        inside(gateway, || {
            let mut netlink = Netlink::open().during("open netlink")?;
            netlink.add_veth("lan", site.nic)?;
            netlink.add_veth("wan", site.port)?;
            let far_end = netlink.link_index(site.nic)?;
            netlink.move_to_netns(far_end, host.as_fd())?;
            let far_end = netlink.link_index(site.port)?;
            netlink.move_to_netns(far_end, self.internet.as_fd())?;
            plug_in(&mut netlink, "lan", site.lan, LAN_PREFIX)?;
            plug_in(&mut netlink, "wan", site.wan, WAN_PREFIX)?;
            default_route(&mut netlink, "wan", site.router)?;
            set_forwarding("1")
        })?;
        inside(&self.internet, || {
            let mut netlink = Netlink::open().during("open netlink")?;
            plug_in(&mut netlink, site.port, site.router, WAN_PREFIX)
        })
    }
}

/// Runs one piece of work in a namespace, errors joined.
pub(super) fn inside<T: Send>(
    namespace: &Netns,
    work: impl FnOnce() -> Result<T, DemoError> + Send,
) -> Result<T, DemoError> {
    namespace.run(work).during("enter a network namespace")?
}

/// Loopback on; no IPv6, whose neighbour discovery would only be noise on the wire that is watched.
fn quiet() -> Result<(), DemoError> {
    for setting in ["ipv6/conf/all/disable_ipv6", "ipv6/conf/default/disable_ipv6"] {
        let _ = set_sysctl(setting, "1"); // a kernel without IPv6 has no such file
    }
    for setting in ["ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter"] {
        set_sysctl(setting, "0").during("switch off reverse path filtering")?;
    }
    let mut netlink = Netlink::open().during("open netlink")?;
    let loopback = netlink.link_index("lo")?;
    Ok(netlink.link_up(loopback)?)
}

fn set_forwarding(value: &str) -> Result<(), DemoError> {
    set_sysctl("ipv4/ip_forward", value).during("switch on forwarding")
}

fn plug_in(
    netlink: &mut Netlink,
    device: &str,
    address: Ipv4Addr,
    prefix: u8,
) -> Result<(), DemoError> {
    let index = netlink.link_index(device)?;
    netlink.add_address(index, IpNet::new_assert(address.into(), prefix))?;
    Ok(netlink.link_up(index)?)
}

fn default_route(netlink: &mut Netlink, device: &str, gateway: Ipv4Addr) -> Result<(), DemoError> {
    let everywhere = IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0);
    let device = netlink.link_index(device)?;
    let route = Route::through(device, everywhere, 0, RTPROT_STATIC);
    Ok(netlink.add_route(&Route { gateway: Some(gateway.into()), ..route })?)
}

/// Prefix length of the links between gateways and internet.
const WAN_PREFIX: u8 = 25;

/// Prefix length of the sites' networks.
const LAN_PREFIX: u8 = 16;

/// Of the cable between two gateways of one site.
const SIDE_PREFIX: u8 = 30;

/// A metric above that of our tunnels, below that of the guard which lies under them.
const WORSE_THAN_TUNNELS: u32 = 1000;

/// For the kernel to notice the cables.
const PATIENCE: Duration = Duration::from_secs(5);

/// "Set by the administrator" (rtnetlink(7)).
const RTPROT_STATIC: u8 = 4;

#[cfg(test)]
mod tests {
    use super::super::ping::Pinger;
    use super::*;

    #[test]
    fn every_neighbour_answers_and_the_far_side_does_not() {
        let Ok(internet) = Netns::new() else {
            println!("skipped: no right to make a network namespace");
            return;
        };
        let topology = internet.run(Topology::build).unwrap().unwrap();
        let answers = |from: &Netns, to: Ipv4Addr, patience: Duration| {
            from.run(|| {
                let mut pinger = Pinger::open(to).unwrap();
                pinger.ping(patience).unwrap().is_some()
            })
            .unwrap()
        };
        assert!(answers(&topology.host_a, SITE_A.lan, PATIENCE));
        assert!(answers(&topology.host_b, SITE_B.lan, PATIENCE));
        assert!(answers(&topology.gateway_a, SITE_B.wan, PATIENCE), "the internet forwards");
        assert!(
            !answers(&topology.host_a, SITE_B.host, Duration::from_millis(300)),
            "but not between the sites"
        );
    }
}
