//! Opens everything that the gateway needs, in an order in which a failure leaves nothing behind.
//!
//! ```text
//!   what was handed over, by name (io/handed.rs), in the place of each of these
//!   control socket     first: it also tells whether another daemon runs
//!   UDP 500 and 4500   raw ESP too, if a connection may do without UDP
//!   TUN                MTU from the configuration or from the narrowest path
//!   sandbox            another user, fewer files and system calls (sandbox/): before there is a second thread
//!   data plane         owns the TUN and receives on 4500
//!   routes             leftovers of a crash first; guards, then routes into the tunnel, then what is left of the leftovers
//! ```

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ikev2::{Encap, Endpoint, EndpointConfig};
use mio::{Interest, Poll, Registry, Token, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use zeroize::Zeroize as _;

use super::connection::Connection;
use super::device::Device;
use super::install::{self, Installer};
use super::memory::Memory;
use super::path_mtu::Listener;
use super::reload::Reloading;
use super::resolver::Resolver;
use super::server::Server;
use super::tunnel::{self, Tunnel};
use super::{Control, Devices, Run};
use crate::clock;
use crate::config::{Config, Gateway, HostName, Http, Peer};
use crate::dataplane::{Dataplane, Equipment, SlotId, UpcallReceiver, upcalls};
use crate::io::{Handed, Lanes, OpenError, Port, RawEsp, SocketError, Tun, UdpSocket, UdpSockets};
use crate::route::Routes;
use crate::sandbox::{ConfineError, Plan};
use crate::status::{Code, Warning};
use crate::sys::changes::Changes;
use crate::sys::netlink::Netlink;
use crate::sys::notify::Manager;
use crate::web::Page;

/// The gateway could not start. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A device or a network socket.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] SocketError),
    /// It could not give up what it must not have.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The status page.
    #[error(transparent)]
    Page(#[from] crate::web::OpenError),
    /// Too many children.
    #[error("{wanted} children are configured, but at most {} are possible; use fewer and larger networks", SlotId::MAX.0 + 1)]
    TooManyChildren {
        /// How many are configured.
        wanted: usize,
    },
    /// The system refused something that it rarely refuses.
    #[error("cannot {what}: {source}")]
    System {
        /// What we tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Tokens of the control loop. IKE sockets and clients are numbered from theirs upwards.
pub(super) const WAKER: Token = Token(0);
pub(super) const SIGNALS: Token = Token(1);
pub(super) const CHANGES: Token = Token(2);
pub(super) const ICMP: Token = Token(3);
pub(super) const IKE_SOCKETS: Token = Token(4);
/// A host has fewer addresses than lie between this and [`IKE_SOCKETS`].
pub(super) const CONTROL_SOCKET: Token = Token(1 << 20);

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

/// Opens everything and brings every enabled connection under way.
pub(super) fn start(
    config: Config,
    mut handed: Handed,
    plan: &Plan,
    now: Instant,
) -> Result<Control, StartError> {
    let manager = Manager::of_process();
    let poll = Poll::new().map_err(failed("make an epoll descriptor"))?;
    let registry = poll.registry();
    let waker = Arc::new(Waker::new(registry, WAKER).map_err(failed("make a waker"))?);
    let reloading = Reloading::new(&config, Arc::clone(&waker), now);
    let signals = signals(registry).map_err(failed("watch for signals"))?;
    let changes = Changes::open(registry, CHANGES).map_err(failed("watch the routes"))?;
    let icmp = Listener::open(registry).map_err(failed("watch for ICMP"))?;
    let gateway = config.gateway;
    let mut server = control_socket(&mut handed, &gateway.control, registry)?;
    let page = page(&mut handed, gateway.http.as_ref())?;
    let Sockets { all: sockets, ike: ike_sockets, nat } = sockets(&mut handed, &gateway, registry)?;
    let raw = raw_sockets(&config.connections, &gateway.listen)?;

    let fits = sizes(&config.connections);
    let mtu = gateway.mtu.unwrap_or_else(|| narrowest(&fits));
    let (lanes, mtu, is_handed) = lanes(&mut handed, &gateway, mtu)?;
    let too_large = too_large(&config.connections, &fits, mtu);
    let equipment = Equipment::share_out(lanes, nat, raw)?;
    let index = equipment.first().map_or(0, |worker| worker.tun.bulk.index());
    let (device, routes) = in_kernel(&gateway.tun, index, is_handed)?;
    plan.confine()?;
    let (dataplane, upcalls) = pumps(equipment, &waker)?;
    serve_page(page, &mut server, &waker)?;
    let monitors = super::monitors::Monitors::new(Arc::clone(&waker));
    let mut resolver = Resolver::start(names(&config.connections), Arc::clone(&waker), now)
        .map_err(failed("start the resolver"))?;
    let memory = Memory::open(gateway.state.as_deref(), !config.left_out_files.is_empty());
    let mut connections = connections(config.connections, now)?;
    recall(&memory, &mut connections, &mut resolver);
    let mut control = Control {
        endpoint: endpoint(&gateway)?,
        devices: Devices { poll, signals, changes, icmp, server, sockets, ike_sockets, upcalls },
        manager,
        device,
        unsendable: super::sending::Unsendable::default(),
        tunnel: Tunnel::new(routes, &gateway.tun, mtu),
        installer: Installer::new(gateway.allow_key_export),
        connections,
        places: std::collections::BTreeMap::new(),
        resolver,
        memory,
        publication: super::competition::Publication::default(),
        questions: std::collections::BTreeMap::new(),
        monitors,
        dataplane,
        gateway,
        mtu,
        log: config.log,
        security: config.security,
        reloading,
        host_warnings: too_large.map(Warning::of).into_iter().collect(),
        host: super::host::Host::default(),
        certificates: super::certificates::Watch::default(),
        warnings: super::certificates::lasting(&config.warnings),
        drops: std::collections::BTreeMap::new(),
        refused: std::collections::VecDeque::new(),
        refused_this_second: 0,
        folding: super::folding::Folding::default(),
        unwanted: Vec::new(),
        captures: super::capture::Captures::new(Arc::clone(&waker)),
        log_until: None,
        started: now,
        started_wall: clock::wall(),
        tick_at: now,
        awake: super::sleep::Awake::since(clock::since_boot()),
        upkeep_at: now,
        upkept_at: now,
        run: Run::On,
        busy: false,
        keyed: true,
    };
    control.set_out(now);
    Ok(control)
}

/// The control socket: the one that was handed over, or one of our own.
fn control_socket(
    handed: &mut Handed,
    path: &Path,
    registry: &Registry,
) -> Result<Server, StartError> {
    Ok(match handed.control(path).map_err(OpenError::from)? {
        Some(listener) => Server::adopt(listener, path, registry, CONTROL_SOCKET)?,
        None => Server::bind(path, registry, CONTROL_SOCKET)?,
    })
}

/// What the status page listens on.
fn page(handed: &mut Handed, http: Option<&Http>) -> Result<Option<Page>, StartError> {
    let listen = http.map(|http| http.listen.as_slice());
    let given = handed.http(listen).map_err(OpenError::from)?;
    Ok(http.map(|http| Page::open(http, given)).transpose()?)
}

/// The threads that carry packets, and what they have to say.
fn pumps(
    equipment: Vec<Equipment>,
    waker: &Arc<Waker>,
) -> Result<(Dataplane, UpcallReceiver), StartError> {
    let (sender, receiver) = upcalls(Arc::clone(waker));
    let dataplane = Dataplane::start(equipment, &sender).map_err(failed("start the data plane"))?;
    Ok((dataplane, receiver))
}

/// Lets the status page, if there is one, be a client of control.
fn serve_page(
    page: Option<Page>,
    server: &mut Server,
    waker: &Arc<Waker>,
) -> Result<(), StartError> {
    if let Some(page) = page {
        server.serve_page(page.serve(Arc::clone(waker)).map_err(failed("start the page"))?);
    }
    Ok(())
}

/// The kernel's side of the TUN device: what it is like, and the routes into it.
fn in_kernel(tun: &str, index: u32, is_handed: bool) -> Result<(Device, Routes), StartError> {
    let device = Device::new(tun, index, is_handed).map_err(failed("watch the TUN device"))?;
    Ok((device, Routes::open(index).map_err(failed("open a netlink socket"))?))
}

/// What is spoken on UDP.
struct Sockets {
    /// Those for plain IKE, then clones of those for the NAT port.
    all: UdpSockets,
    /// How many the first are.
    ike: usize,
    /// For the data plane.
    nat: Vec<UdpSocket>,
}

fn sockets(
    handed: &mut Handed,
    gateway: &Gateway,
    registry: &Registry,
) -> Result<Sockets, StartError> {
    let ike = udp(handed, gateway, Port::Ike)?;
    let nat = udp(handed, gateway, Port::Nat)?;
    watch(registry, &ike)?;
    let number = ike.len();
    let clones: Result<Vec<_>, _> = nat.iter().map(UdpSocket::try_clone).collect();
    let all = ike.into_iter().chain(clones.map_err(failed("share a UDP socket"))?);
    let all = UdpSockets(all.collect());
    for socket in &all.0 {
        tracing::info!(target: "gateway", event = "listening", local = %socket.local());
    }
    Ok(Sockets { all, ike: number, nat })
}

/// What was known before this start.
fn recall(memory: &Memory, connections: &mut [Connection], resolver: &mut Resolver) {
    for connection in connections {
        let Some(kept) = memory.of(&connection.config.name) else { continue };
        connection.recall(kept);
        kept.addresses.iter().for_each(|(name, address)| resolver.recall(name, *address));
    }
}

/// Wakes the loop for what arrives on the sockets for plain IKE.
fn watch(registry: &Registry, ike: &[UdpSocket]) -> Result<(), StartError> {
    for (index, mut socket) in ike.iter().enumerate() {
        registry
            .register(&mut socket, Token(IKE_SOCKETS.0 + index), Interest::READABLE)
            .map_err(failed("watch a UDP socket"))?;
    }
    Ok(())
}

impl Control {
    /// The first steps of a gateway that has everything.
    fn set_out(&mut self, now: Instant) {
        self.watch_certificates(now);
        self.tunnel.begin();
        self.tunnel.guard(&self.connections, self.gateway.leak_protection);
        self.host.protect(&self.gateway.tun, self.gateway.leak_protection);
        if self.connections.iter().any(|connection| connection.config.relay) {
            tunnel::quiet_redirects(&self.gateway.tun);
        }
        self.publish_policy();
        for index in 0..self.connections.len() {
            self.enable(now, index);
        }
        self.tunnel.begun();
    }
}

fn signals(registry: &Registry) -> io::Result<Signals> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    registry.register(&mut signals, SIGNALS, Interest::READABLE)?;
    Ok(signals)
}

/// Numbers every configured child, in the order of the configuration.
fn connections(
    configured: Vec<crate::config::Connection>,
    now: Instant,
) -> Result<Vec<Connection>, StartError> {
    let wanted = configured.iter().map(|connection| connection.children.len()).sum();
    let number = u32::try_from(wanted).ok().filter(|number| *number <= SlotId::MAX.0 + 1);
    let mut slots = (0..number.ok_or(StartError::TooManyChildren { wanted })?).map(SlotId);
    let wall = clock::wall();
    let each = configured.into_iter().map(|config| {
        let count = config.children.len();
        Connection::new(config, slots.by_ref().take(count), now, wall)
    });
    Ok(each.collect())
}

fn endpoint(gateway: &Gateway) -> Result<Endpoint, StartError> {
    let mut config = EndpointConfig::default();
    config.ike_port = gateway.ike_port;
    config.nat_port = gateway.nat_port;
    config.cookie_threshold = gateway.cookie_threshold;
    config.max_half_open = gateway.max_half_open;
    let limits = &gateway.limits;
    config.half_open_time = limits.half_open_time;
    config.max_init_octets = limits.max_init_octets;
    config.max_half_open_octets = limits.max_half_open_octets;
    config.max_message_octets = limits.max_message_octets;
    config.max_refusals = limits.max_refusals;
    config.max_children = limits.max_children;
    config.max_ike_sas = limits.max_ike_sas;
    config.max_exchanges = limits.max_exchanges;
    config.expose_keys = gateway.allow_key_export;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .map_err(|error| failed("get random numbers")(io::Error::other(error)))?;
    let endpoint = Endpoint::new(config, seed);
    seed.zeroize();
    Ok(endpoint)
}

/// IP protocol 50, only where a connection may use it: it needs a privilege that the rest does not.
fn raw_sockets(
    connections: &[crate::config::Connection],
    listen: &[IpAddr],
) -> Result<Vec<RawEsp>, OpenError> {
    if connections.iter().all(|connection| connection.encap == Encap::Force) {
        return Ok(Vec::new());
    }
    if !listen.is_empty() {
        return listen.iter().map(|address| RawEsp::bind(*address)).collect();
    }
    let mut sockets = vec![RawEsp::bind(Ipv4Addr::UNSPECIFIED.into())?];
    match RawEsp::bind(Ipv6Addr::UNSPECIFIED.into()) {
        Ok(socket) => sockets.push(socket),
        // A host without IPv6 has no peers there.
        Err(error) => tracing::debug!(target: "gateway", event = "no-raw-ipv6", %error),
    }
    Ok(sockets)
}

pub(super) fn names(connections: &[crate::config::Connection]) -> impl Iterator<Item = String> {
    let hosts = connections.iter().filter_map(|connection| match &connection.peer {
        Peer::Any => None,
        Peer::Hosts(hosts) => Some(hosts),
    });
    hosts.flatten().filter_map(|host| match &host.name {
        HostName::Dns(name) => Some(name.clone()),
        HostName::Address(_) => None,
    })
}

/// The sockets of a port: those that were handed over, else our own.
fn udp(handed: &mut Handed, gateway: &Gateway, port: Port) -> Result<Vec<UdpSocket>, OpenError> {
    let (number, of_each) = match port {
        Port::Ike => (gateway.ike_port, 1),
        Port::Nat => (gateway.nat_port, gateway.workers),
    };
    match handed.udp(port, number, &gateway.listen, of_each)? {
        Some(sockets) => Ok(sockets),
        None => UdpSocket::bind_all(&gateway.listen, number, port),
    }
}

/// The queues of every worker, and the MTU of what goes into them: those that were handed over, else our own.
/// Says which.
fn lanes(
    handed: &mut Handed,
    gateway: &Gateway,
    mtu: u16,
) -> Result<(Vec<Lanes>, u16, bool), OpenError> {
    let (name, workers) = (&gateway.tun, gateway.workers);
    let queues = handed.queues(name, workers)?;
    let is_handed = queues.is_some();
    let (lanes, mtu) = match queues {
        None => (Tun::open_for(name, mtu, workers)?, mtu),
        Some(files) => {
            let (lanes, have) = Tun::adopt(files, name, (mtu, gateway.mtu.is_some()), workers)?;
            if have > mtu {
                tracing::warn!(
                    target: "gateway", event = "tun-too-large", have, fits = mtu,
                    msg = "the TUN device that was handed over takes larger packets than fit into the tunnels; those are dropped",
                    fix = %format!("ip link set dev {name} mtu {mtu}")
                );
            }
            (lanes, mtu.min(have))
        }
    };
    if let Some(Lanes { bulk, urgent }) = lanes.first() {
        shorten(bulk);
        let (offloads, urgent) = (bulk.offloads(), urgent.is_some());
        tracing::info!(target: "gateway", event = "offloads", %offloads, workers, urgent);
    }
    Ok((lanes, mtu, is_handed))
}

/// Gives the device the queue that we want: where that may not be set the kernel's own is too long, no more.
pub(super) fn shorten(tun: &Tun) {
    if let Err(error) = tun.set_queue_len(QUEUE_LEN) {
        tracing::debug!(target: "gateway", event = "no-queue-length", %error);
    }
}

/// The largest inner packet that fits each configured connection, whatever is negotiated, octets.
fn sizes(connections: &[crate::config::Connection]) -> Vec<u16> {
    let mut netlink = Netlink::open().ok();
    let of_connection = |connection: &crate::config::Connection| -> u16 {
        let suites = || connection.policy.esp.iter().flat_map(install::possible_suites);
        let paths = outer_paths(&connection.peer, netlink.as_mut());
        let sizes = paths
            .into_iter()
            .flat_map(|(mtu, v6)| suites().map(move |suite| esp::inner_mtu(mtu, v6, true, suite)));
        sizes.min().unwrap_or(MIN_MTU)
    };
    connections.iter().map(of_connection).collect()
}

/// What fits all of them.
fn narrowest(sizes: &[u16]) -> u16 {
    sizes.iter().copied().min().unwrap_or(ETHERNET_MTU).max(MIN_MTU)
}

/// W0504 for connections whose `mtu` asks for more than comes out of the device or fits the path; each is named in the log.
fn too_large(
    connections: &[crate::config::Connection],
    sizes: &[u16],
    device: u16,
) -> Option<Code> {
    let code = Code::MtuTooLarge;
    let mut warned = None;
    for (connection, fits) in connections.iter().zip(sizes) {
        // A name or a caller from anywhere may turn out to have more room than was assumed.
        let is_known = match &connection.peer {
            Peer::Any => false,
            Peer::Hosts(hosts) => hosts.iter().all(|h| matches!(h.name, HostName::Address(_))),
        };
        let fits = if is_known { (*fits).min(device) } else { device };
        if let Some(mtu) = connection.mtu.filter(|mtu| *mtu > fits) {
            let conn = &connection.name;
            tracing::warn!(
                target: "gateway", event = "mtu-too-large", %conn, mtu, fits, code = code.id(),
                msg = "`mtu` of the connection is more than fits into its tunnel, which bounds packets instead",
                fix = %format!("write `mtu = {fits}` or less, or leave it out")
            );
            warned = Some(code);
        }
    }
    warned
}

/// The MTU of the interface towards each address of a peer, at most that of Ethernet, and whether it is IPv6.
/// A name may turn out to be either.
fn outer_paths(peer: &Peer, mut netlink: Option<&mut Netlink>) -> Vec<(u16, bool)> {
    let Peer::Hosts(hosts) = peer else { return vec![(ETHERNET_MTU, true)] };
    let each = hosts.iter().map(|host| match host.name {
        HostName::Address(address) => {
            let mtu = netlink.as_mut().and_then(|netlink| egress_mtu(netlink, address));
            (mtu.unwrap_or(ETHERNET_MTU), address.is_ipv6())
        }
        HostName::Dns(_) => (ETHERNET_MTU, true),
    });
    each.collect()
}

fn egress_mtu(netlink: &mut Netlink, address: IpAddr) -> Option<u16> {
    let device = netlink.route_to(address).ok()?.device?;
    let link = netlink.links().ok()?.into_iter().find(|link| link.index == device)?;
    // A jumbo link leads to an ordinary path sooner or later.
    Some(u16::try_from(link.mtu).unwrap_or(ETHERNET_MTU).min(ETHERNET_MTU))
}

/// Packets, each of up to 64 KiB, that wait in a queue of the device. Short ones count like long ones: with 64, fifty short
/// connections at once lost a hundred packets, and a lost SYN costs a second; with 256 none.
const QUEUE_LEN: u32 = 256;

/// Octets; the path that we assume where we know nothing better.
const ETHERNET_MTU: u16 = 1500;

/// Octets; IPv6 needs this much (RFC 8200 §5), and nothing smaller is worth a tunnel.
const MIN_MTU: u16 = 1280;

#[cfg(test)]
mod tests {
    use ikev2::Start;

    use super::*;
    use crate::config::{Connection, Host};

    #[test]
    fn an_mtu_that_does_not_fit_is_said_where_it_is_known() {
        let known = super::super::connection::tests::connection(Start::Always, clock::now()).config;
        let name = Host { name: HostName::Dns("berlin.example.com".into()), port: None };
        let warned = |peer: &Peer, mtu: Option<u16>, fits: u16, device: u16| {
            let one = Connection { mtu, peer: peer.clone(), ..known.clone() };
            too_large(&[one], &[fits], device)
        };
        let (address, name) = (known.peer.clone(), Peer::Hosts(vec![name]));
        assert_eq!(warned(&address, None, 1400, 1400), None);
        assert_eq!(warned(&address, Some(1400), 1400, 1400), None);
        assert_eq!(
            warned(&address, Some(1401), 1400, 1438),
            Some(Code::MtuTooLarge),
            "of the path"
        );
        assert_eq!(
            warned(&address, Some(1401), 1438, 1400),
            Some(Code::MtuTooLarge),
            "of the device"
        );
        assert_eq!(warned(&name, Some(1401), 1400, 1438), None, "it may be IPv4 or IPv6");
        assert_eq!(warned(&name, Some(1439), 1400, 1438), Some(Code::MtuTooLarge));
        assert_eq!(warned(&Peer::Any, Some(1401), 1400, 1438), None);
    }
}
