//! What the kernel would do with a packet: asked of the kernel (`RTM_GETROUTE`), which sends nothing.
//!
//! ```text
//!   LAN ─► lan0 ── forwarding? ── route ─► s2s0        route()              does it give us the packet?
//!   s2s0 ── rp_filter? forwarding? ── route ─► lan0    forward_from_tun()   does it take ours to the host?
//!   s2s-gw ── route ─► eth0                            outer()              does the packet leave, and not into our own TUN?
//! ```

use std::fs;
use std::net::IpAddr;

use crate::io::is_ours;
use crate::status::Code;
use crate::status::diagnosis::Finding;
use crate::sys::netlink::{Link, Netlink, NetlinkError, Route};

/// The kernel of this network namespace.
pub(super) struct Kernel {
    netlink: Netlink,
    links: Vec<Link>,
    tun: u32,
}

impl Kernel {
    /// # Errors
    /// What the kernel says about a question of this kind at all.
    pub(super) fn open(tun: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let mut netlink = Netlink::open()?;
        let links = netlink.links()?;
        let is_tun = |link: &&Link| link.name == tun;
        let tun = links.iter().find(is_tun).map_or(0, |link| link.index);
        Ok(Self { netlink, links, tun })
    }

    /// Whether the kernel would send a packet of this host to this address into our TUN.
    pub(super) fn leads_into_tun(&mut self, destination: IpAddr) -> bool {
        let way = self.netlink.route_to(destination);
        !is_ours(destination) && way.is_ok_and(|way| way.device == Some(self.tun))
    }

    /// Whether a packet from `source`, a host of ours or this host itself, gets to us.
    pub(super) fn route(&mut self, source: IpAddr, destination: IpAddr) -> Finding {
        let stage = "route";
        let Ok(from) = self.netlink.route_to(source) else {
            let message = format!("this host has no route back to {source}");
            let fix = format!("ip route add {source} via the router of that network");
            return Finding::failed(stage, message).fix(fix);
        };
        let (way, by) = if is_ours(source) {
            (self.netlink.route_to(destination), "this host itself sends".to_owned())
        } else {
            let device = from.device.unwrap_or(0);
            let name = self.name(device);
            if !forwards(&name, source.is_ipv4()) {
                return not_forwarding(stage, &name);
            }
            if device == self.tun {
                (self.netlink.route_to(destination), format!("from {name}"))
            } else {
                (self.netlink.route_of((source, device), destination), format!("from {name}"))
            }
        };
        match way {
            Ok(way) if way.device == Some(self.tun) => {
                Finding::passed(stage, format!("{by}: {}", self.shown(&way)))
            }
            Ok(_) if is_ours(destination) => {
                Finding::failed(stage, format!("{by}: {destination} is an address of this host"))
            }
            Ok(way) => {
                let message = format!(
                    "{by}: the kernel does not give it to us but takes the route {}",
                    self.shown(&way)
                );
                Finding::failed(stage, message)
            }
            Err(error) => refused(stage, &by, destination, &error),
        }
    }

    /// Whether a packet that came out of the tunnel gets to its host.
    pub(super) fn forward_from_tun(&mut self, source: IpAddr, destination: IpAddr) -> Finding {
        let stage = "route in";
        let name = self.name(self.tun);
        let by = format!("from {name}");
        let ours = is_ours(destination);
        if !ours && !forwards(&name, source.is_ipv4()) {
            return not_forwarding(stage, &name);
        }
        match self.netlink.route_of((source, self.tun), destination) {
            Ok(_) if ours => Finding::passed(stage, format!("{by}: to this host itself")),
            Ok(way) => Finding::passed(stage, format!("{by}: {}", self.shown(&way))),
            Err(error) => refused(stage, &by, destination, &error),
        }
    }

    /// How a packet to the peer leaves.
    pub(super) fn outer(&mut self, peer: IpAddr) -> Finding {
        let stage = "outer";
        match self.netlink.route_to(peer) {
            Ok(way) if way.device == Some(self.tun) => {
                let message =
                    format!("the way to the peer leads into the tunnel: {}", self.shown(&way));
                Finding::failed(stage, message)
                    .fix(format!("ip route add {peer} via the router of this host"))
            }
            Ok(way) => Finding::passed(stage, format!("by {}", self.shown(&way))),
            Err(error) => Finding::failed(stage, format!("no way to the peer: {error}"))
                .code(Code::NoPath.id())
                .fix(format!("ip route get {peer}")),
        }
    }

    /// `10.2.0.0/16 dev s2s0 metric 100`.
    fn shown(&self, way: &Route) -> String {
        let gateway = way.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
        let device = way.device.map(|index| format!(" dev {}", self.name(index)));
        let metric =
            if way.metric == 0 { String::new() } else { format!(" metric {}", way.metric) };
        let table = match way.table {
            crate::sys::netlink::MAIN_TABLE => String::new(),
            other => format!(" table {other}"),
        };
        format!("{}{gateway}{}{metric}{table}", way.destination, device.unwrap_or_default())
    }

    fn name(&self, index: u32) -> String {
        let link = self.links.iter().find(|link| link.index == index);
        link.map_or_else(|| format!("device {index}"), |link| link.name.clone())
    }
}

/// Whether the kernel passes on what comes in by this device.
fn forwards(device: &str, is_v4: bool) -> bool {
    let path = if is_v4 {
        format!("/proc/sys/net/ipv4/conf/{device}/forwarding")
    } else {
        format!("/proc/sys/net/ipv6/conf/{device}/forwarding")
    };
    fs::read_to_string(path).map_or(true, |text| text.trim() != "0")
}

fn not_forwarding(stage: &str, device: &str) -> Finding {
    let code = Code::NotForwarding;
    let message = format!("{}: what comes in by {device} goes nowhere", code.title());
    Finding::failed(stage, message).code(code.id()).fix(code.fix())
}

fn refused(stage: &str, by: &str, destination: IpAddr, error: &NetlinkError) -> Finding {
    if error.is_filtered() {
        let message = format!(
            "{by}: the kernel drops it, for its way back does not lead there (rp_filter), or an address of it is none"
        );
        return Finding::failed(stage, message)
            .fix("sysctl net.ipv4.conf.all.rp_filter=2 and the same of the device, or mend the route back");
    }
    if error.is_unreachable() {
        return Finding::failed(stage, format!("{by}: the kernel has no route to {destination}"));
    }
    Finding::failed(stage, format!("{by}: {error}"))
}
