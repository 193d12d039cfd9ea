//! A product between two gateways: started, asked for its processes, stopped.
//!
//! ```text
//!   Tunnel ── ends ─┬─ Peer        s2s-gw, strongSwan: testkit's drivers
//!                   ├─ WireGuard   testkit's driver for three programs
//!                   └─ Relay       this program, under another word
//!          (none for plain forwarding: two routes)
//! ```

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use testkit::gateway::Ours;
use testkit::netns::{Family, Netns, Site, Sites};
use testkit::peer::{ConnectionSpec, Daemon, GatewaySpec, Peer, wait_for};
use testkit::strongswan::StrongSwan;
use testkit::wireguard::{End as WireGuardEnd, Keys, WireGuard};

use super::product::Product;

/// A running product.
pub(crate) struct Tunnel {
    ends: Vec<End>,
}

enum End {
    Peer(Box<dyn Peer>),
    WireGuard(WireGuard),
    Relay(Daemon),
}

impl Tunnel {
    /// Starts both ends; whether packets cross has to be tried.
    pub(crate) fn start(product: Product, sites: &Sites, directory: &Path) -> Result<Self> {
        Self::start_with(product, sites, directory, "")
    }

    /// The same, with more in the configuration of gateways that are ours.
    pub(crate) fn start_with(
        product: Product,
        sites: &Sites,
        directory: &Path,
        more: &str,
    ) -> Result<Self> {
        let ends = match product {
            Product::Forward => forward(sites)?,
            Product::Relay => relay(sites, directory, &[])?,
            Product::RelaySealed => relay(sites, directory, &["--sealed"])?,
            Product::Gateway
            | Product::GatewayRaw
            | Product::GatewayChacha
            | Product::GatewayCbc
            | Product::StrongSwan
            | Product::StrongSwanChacha
            | Product::StrongSwanCbc => negotiated(product, sites, directory, more)?,
            Product::WireguardGo | Product::Gotatun | Product::Boringtun => {
                wireguard(product, sites, directory)?
            }
        };
        Ok(Self { ends })
    }

    /// The processes through which packets go.
    pub(crate) fn pids(&mut self) -> Vec<u32> {
        self.daemons().filter_map(|daemon| daemon.pid()).collect()
    }

    /// The gateways that are ours, the one that calls last.
    pub(crate) fn ours(&self) -> Vec<&Ours> {
        let ours = self.ends.iter().filter_map(|end| match end {
            End::Peer(peer) => peer.as_ours(),
            End::WireGuard(_) | End::Relay(_) => None,
        });
        ours.collect()
    }

    /// What programs said that have ended by themselves.
    pub(crate) fn last_words(&mut self) -> String {
        let ended = self.daemons().filter_map(|daemon| match daemon.ended() {
            Ok(Some(status)) => Some(format!("a gateway ended: {status}\n{}", daemon.output())),
            Ok(None) | Err(_) => None,
        });
        ended.collect()
    }

    /// Lets both ends say goodbye.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.daemons().try_for_each(|daemon| daemon.stop(Signal::TERM).map(drop))
    }

    fn daemons(&mut self) -> impl Iterator<Item = &mut Daemon> {
        self.ends.iter_mut().map(|end| match end {
            End::Peer(peer) => peer.daemon(),
            End::WireGuard(wireguard) => &mut wireguard.daemon,
            End::Relay(daemon) => daemon,
        })
    }
}

fn forward(sites: &Sites) -> Result<Vec<End>> {
    for (here, there) in [(&sites.left, &sites.right), (&sites.right, &sites.left)] {
        let route = format!("route add {} via {}\n", lan(there), there.outer(Family::V4));
        here.gateway.ip(&route)?;
    }
    Ok(Vec::new())
}

fn relay(sites: &Sites, directory: &Path, more: &[&str]) -> Result<Vec<End>> {
    let mut ends = Vec::new();
    for (here, there) in [(&sites.left, &sites.right), (&sites.right, &sites.left)] {
        let [own, peer] = [here, there].map(|site| format!("{}:4510", site.outer(Family::V4)));
        let mut command = here.gateway.command(std::env::current_exe()?);
        command.args(["relay", RELAY_DEVICE, &own, &peer]).args(more);
        let mut daemon = Daemon::new(directory.join(format!("relay-{}.out", here.gateway.name())));
        daemon.spawn(command)?;
        route_when_up(&mut daemon, &here.gateway, &lan(there))?;
        ends.push(End::Relay(daemon));
    }
    Ok(ends)
}

/// The relay makes its device and brings it up; then a route can lead there.
fn route_when_up(daemon: &mut Daemon, netns: &Netns, to: &str) -> Result<()> {
    wait_for("the relay's device", Duration::from_secs(10), || {
        if let Some(status) = daemon.ended()? {
            bail!("the relay ended: {status}\n{}", daemon.output());
        }
        Ok(netns.ip(&format!("route replace {to} dev {RELAY_DEVICE}\n")).ok())
    })
}

fn negotiated(product: Product, sites: &Sites, directory: &Path, more: &str) -> Result<Vec<End>> {
    let (left, right) = (&sites.left, &sites.right);
    let encap = if product == Product::GatewayRaw { "auto" } else { "force" };
    let connection = ConnectionSpec {
        name: CONNECTION.into(),
        local: left.outer(Family::V4),
        remote: Some(right.outer(Family::V4)),
        local_id: "left.example.org".into(),
        remote_id: "right.example.org".into(),
        psk: "a key for a measurement, in namespaces".into(),
        ppk: None,
        built_in: None,
        ike: "aes256gcm16-prfsha384-ecp384".into(),
        esp: product.esp().unwrap_or_default().into(),
        local_subnets: vec![lan(left)],
        remote_subnets: vec![lan(right)],
        initiate: true,
        dpd: (Duration::from_secs(30), Duration::from_mins(2)),
        ours_extra: format!("encap = {encap:?}"),
        // As little as a log can have: charon writes each line at once.
        swan_extra:
            "filelog {\n log {\n default = 0\n asn = 0\n lib = 0\n esp = 0\n net = 0\n }\n }".into(),
        swan_connection: String::new(),
        swan_child: String::new(),
        proofs: None,
        split: false,
    };
    // The one that answers first, so that the other need not try again.
    let mut ends = Vec::new();
    for (name, site, connection) in
        [("right", right, connection.mirrored()), ("left", left, connection)]
    {
        let connections = vec![connection];
        let spec = GatewaySpec { name: name.into(), listen: Vec::new(), connections };
        let mut peer: Box<dyn Peer> = if product.strongswan() {
            Box::new(StrongSwan::new(&site.gateway, spec, directory)?)
        } else {
            let program = product.program();
            let ours = Ours::new(Path::new(&program), &site.gateway, spec, directory)?.quiet();
            let mut file = std::fs::OpenOptions::new().append(true).open(ours.config())?;
            file.write_all(more.as_bytes())?;
            Box::new(ours)
        };
        peer.start()?;
        ends.push(End::Peer(peer));
    }
    Ok(ends)
}

fn wireguard(product: Product, sites: &Sites, directory: &Path) -> Result<Vec<End>> {
    let keys = [Keys::generate(directory)?, Keys::generate(directory)?];
    let [first, second] = &keys;
    let (left, right) = (&sites.left, &sites.right);
    let mut ends = Vec::new();
    for (letter, here, there, keys, peer) in
        [("a", left, right, first, second), ("b", right, left, second, first)]
    {
        // The name is also one on the machine's file system: the pid makes it ours alone.
        let device = format!("s2sb{}{letter}", std::process::id());
        let (endpoint, subnet) = (there.outer(Family::V4), lan(there));
        let end = WireGuardEnd { keys, peer, endpoint: &endpoint, subnet: &subnet };
        let program = product.program();
        let command = [&program, "--foreground"];
        let command = if product == Product::WireguardGo { [&program, "-f"] } else { command };
        let started = WireGuard::start(&command, &here.gateway, &device, end, directory);
        ends.push(End::WireGuard(started.with_context(|| format!("cannot start {program}"))?));
    }
    Ok(ends)
}

fn lan(site: &Site) -> String {
    site.subnet(Family::V4, 0)
}

const RELAY_DEVICE: &str = "relay0";
/// What the connection between two gateways of ours is called.
pub(crate) const CONNECTION: &str = "site";
