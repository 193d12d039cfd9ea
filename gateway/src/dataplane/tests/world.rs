//! The world of these tests: two ends on one cable, and what installs SAs and sends packets there.

use std::io::ErrorKind;
use std::net::UdpSocket as Plain;
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Instant;

use esp::{InboundSa, OutboundSa, SaParams, Selector, Selectors, Suite};
use ikev2::Limits;
use ipnet::IpNet;

use super::super::*;
use crate::clock;
use crate::io::{Port, Tun};
use crate::sys::netlink::{Netlink, Route};
use crate::sys::netns::{Netns, set_sysctl};

pub(super) const SLOT: SlotId = SlotId(0);
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
pub(super) const TUN_MTU: u16 = 1438;

/// One end of the cable.
pub(super) struct Side {
    pub(super) netns: Netns,
    pub(super) dataplane: Option<Dataplane>,
    pub(super) ike: UdpSockets,
    pub(super) upcalls: UpcallReceiver,
    pub(super) poll: mio::Poll,
    pub(super) counters: Arc<ChildCounters>,
    pub(super) tun_index: u32,
}

impl Side {
    pub(super) fn new(netns: Netns, addresses: &[&str], routes: &[&str], workers: usize) -> Self {
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        let (sender, upcalls) = upcalls(Arc::new(waker));
        let (equipment, ike) = netns.run(|| open(addresses, routes, workers)).unwrap();
        let tun_index = equipment[0].tun.bulk.index();
        let dataplane = Some(Dataplane::start(equipment, &sender).unwrap());
        let counters = Arc::new(ChildCounters::new(clock::now()));
        Self { netns, dataplane, ike, upcalls, poll, counters, tun_index }
    }

    pub(super) fn dataplane(&self) -> &Dataplane {
        self.dataplane.as_ref().unwrap()
    }

    /// A socket at port 7. One that is closed may be open a moment longer in a process that another test is about to start.
    pub(super) fn app(&self, address: &str) -> Plain {
        let deadline = clock::now() + PATIENCE;
        let app = loop {
            match self.netns.run(|| Plain::bind((address, 7))).unwrap() {
                Err(error) if error.kind() == ErrorKind::AddrInUse && clock::now() < deadline => {
                    std::thread::yield_now();
                }
                bound => break bound.unwrap(),
            }
        };
        app.set_read_timeout(Some(PATIENCE)).unwrap();
        app
    }

    /// The next upcall, or `None` after `patience`.
    pub(super) fn upcall(&mut self, patience: Duration) -> Option<Upcall> {
        let deadline = clock::now() + patience;
        loop {
            if let Some(upcall) = self.upcalls.try_recv() {
                return Some(upcall);
            }
            let left = deadline.checked_duration_since(clock::now())?;
            self.poll.poll(&mut mio::Events::with_capacity(1), Some(left)).unwrap();
        }
    }

    pub(super) fn install(
        &self,
        spi_in: u32,
        spi_out: u32,
        nets: (&[&str], &[&str]),
        to: Destination,
    ) {
        self.install_for(spi_in, spi_out, nets, to, Limits { octets: None, packets: None });
    }

    pub(super) fn install_for(
        &self,
        spi_in: u32,
        spi_out: u32,
        nets: (&[&str], &[&str]),
        to: Destination,
        hard: Limits,
    ) {
        self.install_of((spi_in, spi_out), nets, to, (hard, None));
    }

    pub(super) fn install_of(
        &self,
        (spi_in, spi_out): (u32, u32),
        nets: (&[&str], &[&str]),
        to: Destination,
        (hard, owner): (Limits, Option<usize>),
    ) -> Arc<SaUsage> {
        let selectors = Arc::new(Selectors { local: ranges(nets.0), remote: ranges(nets.1) });
        let rule = Rule { slot: SLOT, selectors: Arc::clone(&selectors), rank: Rank::default() };
        let inbound = InboundSa::new(params(spi_in, &selectors)).unwrap();
        let outbound = OutboundSa::new(params(spi_out, &selectors)).unwrap();
        let counters = || Arc::clone(&self.counters);
        let (rx, tx) = (Box::new(inbound), Box::new(outbound));
        let usage = Arc::new(SaUsage::default());
        self.dataplane().rx(RxCommand::Install {
            slot: SLOT,
            sa: rx,
            mtu: TUN_MTU,
            counters: counters(),
            usage: Arc::clone(&usage),
        });
        self.dataplane().tx(TxCommand::Policy(Arc::new(Policy::new(&[rule]))));
        self.dataplane().tx(TxCommand::Install {
            slot: SLOT,
            sa: tx,
            owner,
            to,
            mtu: TUN_MTU,
            hold: false,
            counters: counters(),
            usage: Arc::clone(&usage),
            hard,
        });
        self.dataplane().settle();
        usage
    }

    /// Waits until `number` says `wanted`: counters are written after the packet was handed on.
    pub(super) fn settles(&self, wanted: u64, number: impl Fn(&Self) -> u64) {
        let deadline = clock::now() + PATIENCE;
        while number(self) != wanted && clock::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(number(self), wanted);
    }
}

impl std::fmt::Debug for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.counters, self.dataplane.as_ref().map(Dataplane::counters))
    }
}

/// Opens everything inside the namespace of the calling thread.
pub(super) fn open(
    addresses: &[&str],
    routes: &[&str],
    workers: usize,
) -> (Vec<Equipment>, UdpSockets) {
    let lanes = Tun::open_for("s2s0", TUN_MTU, workers).unwrap();
    let tun = &lanes[0].bulk;
    let mut netlink = Netlink::open().unwrap();
    for address in addresses {
        netlink.add_address(tun.index(), address.parse().unwrap()).unwrap();
    }
    local_routes(tun.name());
    for route in routes {
        let route = Route::through(tun.index(), route.parse().unwrap(), 0, 4);
        netlink.add_route(&route).unwrap();
    }
    let nat = UdpSocket::bind_all(&[], 4500, Port::Nat).unwrap();
    let mut ike: Vec<_> = nat.iter().map(|socket| socket.try_clone().unwrap()).collect();
    ike.extend(UdpSocket::bind_all(&[], 500, Port::Ike).unwrap());
    let raw = ["0.0.0.0", "::"].map(|any| RawEsp::bind(any.parse().unwrap()).unwrap());
    (Equipment::share_out(lanes, nat, Vec::from(raw)).unwrap(), UdpSockets(ike))
}

/// Waits until packets to the IPv6 address of `device` are taken for local: the kernel adds that route from a work queue.
pub(super) fn local_routes(device: &str) {
    let is_local = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        matches!(words[..], [to, "80", .., flags, on]
            if on == device && to.starts_with("20010db8") && flags.starts_with('8'))
    };
    let deadline = clock::now() + PATIENCE;
    while clock::now() < deadline {
        let table = std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap();
        if table.lines().any(is_local) {
            return;
        }
        std::thread::yield_now();
    }
    panic!("the kernel does not take the IPv6 address of {device} for its own");
}

/// Both ends; `None` if namespaces are not permitted here.
pub(super) fn world(workers: usize) -> Option<(Side, Side)> {
    let (left, right) = (Netns::new().ok()?, Netns::new().ok()?);
    left.run(|| {
        let mut netlink = Netlink::open().unwrap();
        netlink.add_veth("wan", "wan-r").unwrap();
        let index = netlink.link_index("wan-r").unwrap();
        netlink.move_to_netns(index, right.as_fd()).unwrap();
    })
    .unwrap();
    for (netns, device, addresses) in [
        (&left, "wan", &["192.0.2.1/24", "2001:db8::1/64"][..]),
        (&right, "wan-r", &["192.0.2.2/24", "192.0.2.3/24", "2001:db8::2/64"][..]),
    ] {
        netns
            .run(|| {
                for family in ["ipv4", "ipv6"] {
                    // Not there in every container; the defaults do as well.
                    drop(set_sysctl(&format!("{family}/conf/all/rp_filter"), "0"));
                }
                let mut netlink = Netlink::open().unwrap();
                let index = netlink.link_index(device).unwrap();
                netlink.link_up(index).unwrap();
                for address in addresses {
                    netlink.add_address(index, address.parse().unwrap()).unwrap();
                }
                local_routes(device);
            })
            .unwrap();
    }
    let far = ["10.2.0.0/16", "10.3.0.0/16", "239.0.0.0/8", "2001:db8:2::/48"];
    let left = Side::new(left, &["10.1.0.1/32", "2001:db8:1::1/128"], &far, workers);
    let near = ["10.1.0.0/16", "2001:db8:1::/48"];
    let right =
        Side::new(right, &["10.2.0.1/32", "10.3.0.1/32", "2001:db8:2::1/128"], &near, workers);
    Some((left, right))
}

/// Runs `test` with both ends, here or under `unshare`.
pub(super) fn with_world(name: &str, test: impl FnOnce(Side, Side)) {
    with_workers(name, 1, test);
}

/// The same with so many workers at each end.
pub(super) fn with_workers(name: &str, workers: usize, test: impl FnOnce(Side, Side)) {
    if let Some((left, right)) = world(workers) {
        return test(left, right);
    }
    let inner = std::env::var_os(INNER).is_some();
    let name = format!("dataplane::tests::{name}");
    let run = || {
        let program = std::env::current_exe().unwrap();
        let mut unshare = Command::new("unshare");
        unshare.args(["-Urn"]).arg(program).args(["--exact", &name, "--nocapture"]);
        unshare.env(INNER, "1").output()
    };
    match (inner, if inner { None } else { run().ok() }) {
        (false, Some(output)) if !String::from_utf8_lossy(&output.stderr).contains("unshare:") => {
            let words = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{words}{}", String::from_utf8_lossy(&output.stderr));
            words
                .lines()
                .filter(|line| line.contains("skipped:"))
                .for_each(|line| println!("{line}"));
        }
        _ => println!("skipped: {name} needs the right to make network namespaces"),
    }
}

pub(super) const INNER: &str = "S2S_TEST_INNER";

pub(super) fn ranges(networks: &[&str]) -> Vec<Selector> {
    let range = |text: &&str| {
        let network: IpNet = text.parse().unwrap();
        Selector::addresses(network.network(), network.broadcast())
    };
    networks.iter().map(range).collect()
}

pub(super) fn params<'k>(spi: u32, selectors: &Arc<Selectors>) -> SaParams<'k> {
    SaParams {
        spi: NonZeroU32::new(spi).unwrap(),
        suite: Suite::Combined(esp::Aead::AesGcm16(esp::AesKey::Bits256)),
        encr_key: &[0x5a; 36],
        integ_key: &[],
        esn: true,
        selectors: Arc::clone(selectors),
        replay_window: 4096,
    }
}

pub(super) fn towards(local: &str, remote: &str, transport: Transport) -> Destination {
    let local: IpAddr = local.parse().unwrap();
    let remote: IpAddr = remote.parse().unwrap();
    Destination { local, remote: (remote, 4500).into(), local_port: 4500, transport }
}

pub(super) const LEFT: &[&str] = &["10.1.0.0/16", "2001:db8:1::/48"];
pub(super) const RIGHT: &[&str] = &["10.2.0.0/16", "2001:db8:2::/48"];

/// Installs a pair of SAs over the given outer addresses and lets packets of several sizes go there and back.
pub(super) fn talk(left: &mut Side, right: &mut Side, outer: (&str, &str), transport: Transport) {
    left.install(0x101, 0x202, (LEFT, RIGHT), towards(outer.0, outer.1, transport));
    right.install(0x202, 0x101, (RIGHT, LEFT), towards(outer.1, outer.0, transport));
    for (near, far) in [("10.1.0.1", "10.2.0.1"), ("2001:db8:1::1", "2001:db8:2::1")] {
        let (client, server) = (left.app(near), right.app(far));
        let mut buffer = [0; 2000];
        for len in [0, 1, 17, 512, 1300] {
            let payload: Vec<u8> = (0..len).map(|n: u32| n.to_le_bytes()[0]).collect();
            client.send_to(&payload, (far, 7)).unwrap();
            let Ok((got, from)) = server.recv_from(&mut buffer) else {
                panic!("{len} octets from {near} to {far} are lost: {left:?} {right:?}");
            };
            assert_eq!((&buffer[..got], from.ip()), (&payload[..], near.parse().unwrap()));
            server.send_to(&buffer[..got], from).unwrap();
            let Ok(got) = client.recv(&mut buffer) else {
                panic!("{len} octets from {far} to {near} are lost: {left:?} {right:?}");
            };
            assert_eq!(got, payload.len());
        }
    }
    let spi = |number| NonZeroU32::new(number).unwrap();
    let first = |number, from: &str| {
        let udp = transport == Transport::Udp;
        let remote = udp.then(|| SocketAddr::new(from.parse().unwrap(), 4500));
        Some(Upcall::FirstInbound { slot: SLOT, spi: spi(number), remote })
    };
    assert_eq!(right.upcall(PATIENCE), first(0x202, outer.0));
    assert_eq!(left.upcall(PATIENCE), first(0x101, outer.1));
    assert_eq!(left.upcall(Duration::ZERO), None, "said once");
    for side in [&*left, &*right] {
        side.settles(10, |side| side.counters.packets_in());
        side.settles(10, |side| side.counters.packets_out());
        let octets = 2 * (1 + 17 + 512 + 1300) + 5 * (28 + 48);
        assert_eq!((side.counters.octets_in(), side.counters.octets_out()), (octets, octets));
        assert_eq!(side.counters.drops().count(), 0);
        assert!(side.counters.last_inbound().is_some_and(is_recent));
    }
}

pub(super) fn is_recent(moment: Instant) -> bool {
    clock::now().saturating_duration_since(moment) < PATIENCE
}
