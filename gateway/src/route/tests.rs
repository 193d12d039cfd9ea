//! Routes in namespaces of their own: added, changed, left over by a crash, taken away.

use super::*;
use crate::sys::netns::Netns;

/// The network of the tests: a gateway with an uplink `eth0` 203.0.113.10/24 (default route via 203.0.113.1) and a
/// device `s2s0` in place of the TUN.
struct World {
    netlink: Netlink,
    uplink: u32,
    tun: u32,
}

impl World {
    fn inside(work: impl FnOnce(Self) + Send) {
        match Netns::new() {
            Ok(netns) => netns.run(|| work(Self::new())).unwrap(),
            Err(error) => println!("skipped: no right to make a network namespace ({error})"),
        }
    }

    fn new() -> Self {
        let mut netlink = Netlink::open().unwrap();
        netlink.add_veth("eth0", "eth0-far").unwrap();
        netlink.add_veth("s2s0", "s2s0-far").unwrap();
        for name in ["eth0", "eth0-far", "s2s0", "s2s0-far"] {
            let index = netlink.link_index(name).unwrap();
            netlink.link_up(index).unwrap();
        }
        let uplink = netlink.link_index("eth0").unwrap();
        let tun = netlink.link_index("s2s0").unwrap();
        netlink.add_address(uplink, net("203.0.113.10/24")).unwrap();
        netlink.add_address(uplink, net("2001:db8:f::10/64")).unwrap();
        let mut world = Self { netlink, uplink, tun };
        world.foreign("0.0.0.0/0", Some("203.0.113.1"), 0);
        world.foreign("::/0", Some("2001:db8:f::1"), 1024);
        world
    }

    /// A route that the administrator has set on the uplink.
    fn foreign(&mut self, destination: &str, gateway: Option<&str>, metric: u32) -> Route {
        let gateway = gateway.map(|gateway| gateway.parse().unwrap());
        let route = Route { gateway, ..Route::through(self.uplink, net(destination), metric, 4) };
        self.netlink.add_route(&route).unwrap();
        route
    }

    /// What a predecessor has left.
    fn leftover(&mut self, device: u32, destination: &str) {
        let route = Route::through(device, net(destination), 100, PROTOCOL);
        self.netlink.add_route(&route).unwrap();
    }

    fn routes(&self) -> Routes {
        Routes::open(self.tun).unwrap()
    }

    /// Our routes as text, sorted.
    fn ours(&mut self) -> Vec<String> {
        self.of(PROTOCOL)
    }

    /// Our guards as text, sorted.
    fn guards(&mut self) -> Vec<String> {
        self.of(GUARD_PROTOCOL)
    }

    fn of(&mut self, protocol: u8) -> Vec<String> {
        let routes = self.netlink.routes(Some(protocol)).unwrap();
        let mut texts: Vec<_> = routes.iter().map(Route::to_string).collect();
        texts.sort();
        texts
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn routes_come_go_and_leave_nothing_behind() {
    World::inside(|mut world| {
        let mut routes = world.routes();
        routes.add(net("10.2.0.0/16"), 100, None, None).unwrap();
        routes.add(net("2001:db8:2::/48"), 100, None, None).unwrap();
        routes.add(net("10.3.0.9/16"), 100, Some(ip("203.0.113.10")), None).unwrap();
        assert_eq!(
            world.ours(),
            ["10.2.0.0/16 dev s2s0", "10.3.0.0/16 dev s2s0", "2001:db8:2::/48 dev s2s0"]
        );
        assert_eq!(world.netlink.route_to(ip("10.2.7.7")).unwrap().device, Some(world.tun));
        assert_eq!(route_source(ip("10.3.7.7")), Some(ip("203.0.113.10")));
        routes.remove(net("10.2.0.0/16"), 100).unwrap();
        routes.remove(net("10.2.0.0/16"), 100).unwrap();
        assert_eq!(world.ours().len(), 2);
        drop(routes);
        assert_eq!(world.ours(), [""; 0]);
        assert_eq!(world.netlink.routes(Some(4)).unwrap().len(), 2, "the others are still there");
    });
}

#[test]
fn adding_twice_changes_the_source_only() {
    World::inside(|mut world| {
        let mut routes = world.routes();
        routes.add(net("10.2.0.0/16"), 100, None, None).unwrap();
        routes.add(net("10.2.0.0/16"), 100, None, None).unwrap();
        routes.add(net("10.2.0.0/16"), 100, Some(ip("203.0.113.10")), None).unwrap();
        let found = world.netlink.routes(Some(PROTOCOL)).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].preferred_source, Some(ip("203.0.113.10")));
    });
}

#[test]
fn a_route_of_somebody_else_is_never_touched() {
    World::inside(|mut world| {
        for subnet in ["10.2.0.0/16", "2001:db8:2::/48"] {
            let theirs = world.foreign(subnet, None, 100);
            let mut routes = world.routes();
            let error = routes.add(net(subnet), 100, None, None).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "cannot add route {subnet} dev s2s0: the administrator has set {subnet} dev eth0 with the same \
                     metric 100; remove that route or give the connection another metric"
                )
            );
            routes.purge_leftovers().unwrap();
            drop(routes);
            assert!(world.netlink.routes(Some(4)).unwrap().contains(&theirs));
            // Beside it is fine.
            world.routes().add(net(subnet), 99, None, None).unwrap();
        }
    });
}

#[test]
fn leftovers_of_a_crash_are_purged() {
    World::inside(|mut world| {
        world.leftover(world.tun, "10.2.0.0/16");
        world.leftover(world.tun, "2001:db8:2::/48");
        world.leftover(world.uplink, "198.51.100.20/32");
        let mut routes = world.routes();
        assert_eq!(routes.purge_leftovers().unwrap().len(), 2);
        assert_eq!(world.ours(), ["198.51.100.20/32 dev eth0"], "perhaps it is needed");
        assert_eq!(routes.purge_strangers().unwrap().len(), 1);
        assert_eq!(world.ours(), [""; 0]);
        assert_eq!(world.netlink.routes(Some(4)).unwrap().len(), 2);
    });
}

#[test]
fn guards_outlive_us_and_are_taken_over_or_removed_by_the_next_one() {
    World::inside(|mut world| {
        let subnets = ["10.2.0.0/16", "10.3.0.0/16", "2001:db8:2::/48"];
        let mut first = world.routes();
        for subnet in subnets {
            first.guard(net(subnet), 100).unwrap();
            first.add(net(subnet), 100, None, None).unwrap();
        }
        for (inside, subnet) in [("10.2.7.7", "10.2.0.0/16"), ("2001:db8:2::7", "2001:db8:2::/48")]
        {
            let way = world.netlink.route_to(ip(inside)).unwrap();
            assert_eq!(way.device, Some(world.tun), "while it is there the tunnel goes before");
            first.remove(net(subnet), 100).unwrap();
            leads_nowhere(&mut world, inside);
        }
        drop(first);
        assert_eq!(world.guards().len(), 3);

        let mut second = world.routes();
        second.purge_leftovers().unwrap();
        assert_eq!(world.guards().len(), 3, "not a moment without");
        second.guard(net("10.2.0.0/16"), 100).unwrap();
        second.guard(net("2001:db8:2::/48"), 100).unwrap();
        let removed = second.purge_strangers().unwrap();
        assert_eq!(removed.len(), 1);
        assert_eq!(world.guards(), ["blackhole 10.2.0.0/16", "blackhole 2001:db8:2::/48"]);
        second.unguard(net("10.2.0.0/16")).unwrap();
        second.unguard(net("2001:db8:2::/48")).unwrap();
        assert_eq!(world.guards(), [""; 0]);
    });
}

#[test]
fn a_guard_of_everything_goes_before_the_default_route_but_not_before_what_is_nearer() {
    World::inside(|mut world| {
        world.netlink.del_route(&default_route(&world)).unwrap();
        let usual = Route { metric: 1024, ..default_route(&world) };
        world.netlink.add_route(&usual).unwrap();
        let mut routes = world.routes();
        let everything = net("0.0.0.0/0");
        assert!(routes.protect_peer(ip("198.51.100.20"), &[everything]).unwrap());
        routes.guard(everything, 100).unwrap();
        routes.add(everything, 100, None, None).unwrap();
        routes.remove(everything, 100).unwrap();
        leads_nowhere(&mut world, "192.0.2.9");
        for near in ["198.51.100.20", "203.0.113.7"] {
            let way = world.netlink.route_to(ip(near)).unwrap();
            assert_eq!(way.device, Some(world.uplink), "{near}");
        }
        // The next one finds the way around what the one before left, also to a peer that is new.
        drop(routes);
        let mut next = world.routes();
        assert!(next.protect_peer(ip("198.51.100.30"), &[everything]).unwrap());
        assert_eq!(world.netlink.route_to(ip("198.51.100.30")).unwrap().device, Some(world.uplink));
        // Another metric of the connections, another of the guard, and only one of it.
        next.guard(everything, 200).unwrap();
        next.guard(everything, 100).unwrap();
        next.purge_strangers().unwrap();
        assert_eq!(world.guards(), ["blackhole 0.0.0.0/0"]);
    });
}

#[test]
fn a_guard_takes_no_place_of_others_and_gives_way_to_a_route_into_the_tunnel() {
    World::inside(|mut world| {
        let mut routes = world.routes();
        let theirs = world.foreign("10.2.0.0/16", None, u32::MAX);
        let error = routes.guard(net("10.2.0.0/16"), 100).unwrap_err();
        assert!(matches!(error, RouteError::Taken { .. }), "{error}");
        assert!(world.netlink.routes(Some(4)).unwrap().contains(&theirs));
        routes.guard(net("10.3.0.0/16"), u32::MAX).unwrap();
        routes.add(net("10.3.0.0/16"), u32::MAX, None, None).unwrap();
        assert_eq!(world.netlink.route_to(ip("10.3.0.1")).unwrap().device, Some(world.tun));
        let error = routes.guard(net("10.3.0.0/16"), u32::MAX);
        assert!(error.is_ok(), "it is known already: {error:?}");
        let mut other = world.routes();
        let error = other.guard(net("10.3.0.0/16"), u32::MAX).unwrap_err();
        assert!(matches!(error, RouteError::Taken { .. }), "{error}");
    });
}

#[test]
fn what_others_removed_is_restored() {
    World::inside(|mut world| {
        let mut routes = world.routes();
        routes.protect_peer(ip("198.51.100.20"), &[net("0.0.0.0/0")]).unwrap();
        routes.guard(net("10.2.0.0/16"), 100).unwrap();
        routes.add(net("10.2.0.0/16"), 100, None, None).unwrap();
        let (ours, guards) = (world.ours(), world.guards());
        for protocol in [PROTOCOL, GUARD_PROTOCOL] {
            for route in world.netlink.routes(Some(protocol)).unwrap() {
                world.netlink.del_route(&route).unwrap();
            }
        }
        assert!(world.ours().is_empty() && world.guards().is_empty());
        routes.restore().unwrap();
        assert_eq!((world.ours(), world.guards()), (ours, guards));
        // A device that was made anew has another index.
        let far = world.netlink.link_index("s2s0-far").unwrap();
        routes.remove(net("10.2.0.0/16"), 100).unwrap();
        routes.add(net("10.2.0.0/16"), 100, None, None).unwrap();
        let old = Route::through(world.tun, net("10.2.0.0/16"), 100, PROTOCOL);
        world.netlink.del_route(&old).unwrap();
        routes.moved(far);
        routes.restore().unwrap();
        assert_eq!(world.netlink.route_to(ip("10.2.0.1")).unwrap().device, Some(far));
    });
}

fn default_route(world: &World) -> Route {
    let gateway = Some(ip("203.0.113.1"));
    Route { gateway, ..Route::through(world.uplink, net("0.0.0.0/0"), 0, 4) }
}

fn leads_nowhere(world: &mut World, to: &str) {
    match world.netlink.route_to(ip(to)) {
        Ok(way) => assert!(way.blackhole, "{way}"),
        Err(error) => assert!(error.is_blackhole(), "{error}"),
    }
    assert_eq!(route_source(ip(to)), None);
}

#[test]
fn another_gateway_on_the_machine_keeps_its_routes() {
    World::inside(|mut world| {
        let far = world.netlink.link_index("s2s0-far").unwrap();
        world.leftover(far, "10.9.0.0/16");
        world.leftover(world.uplink, "198.51.100.20/32");
        world.leftover(world.tun, "10.2.0.0/16");
        assert_eq!(world.routes().purge_leftovers().unwrap().len(), 1);
        assert_eq!(world.ours(), ["10.9.0.0/16 dev s2s0-far", "198.51.100.20/32 dev eth0"]);
    });
}

#[test]
fn a_leftover_in_the_way_is_taken_over() {
    World::inside(|mut world| {
        let far = world.netlink.link_index("s2s0-far").unwrap();
        world.leftover(far, "10.2.0.0/16");
        let mut routes = world.routes();
        routes.add(net("10.2.0.0/16"), 100, None, None).unwrap();
        assert_eq!(world.ours(), ["10.2.0.0/16 dev s2s0"]);
    });
}

#[test]
fn a_peer_inside_a_remote_subnet_stays_outside_of_the_tunnel() {
    World::inside(|mut world| {
        let mut routes = world.routes();
        for (peer, everything) in [("198.51.100.20", "0.0.0.0/0"), ("2001:db8:5::20", "::/0")] {
            assert!(routes.protect_peer(ip(peer), &[net("10.2.0.0/16"), net(everything)]).unwrap());
            // The administrator's default route has this metric, and stays.
            let error = routes.add(net(everything), 0, None, None).unwrap_err();
            assert!(matches!(error, RouteError::Taken { .. }), "{error}");
        }
        routes.add(net("128.0.0.0/1"), 100, None, None).unwrap();
        routes.add(net("2000::/3"), 100, None, None).unwrap();
        for (peer, gateway) in
            [("198.51.100.20", "203.0.113.1"), ("2001:db8:5::20", "2001:db8:f::1")]
        {
            let way = world.netlink.route_to(ip(peer)).unwrap();
            assert_eq!((way.device, way.gateway), (Some(world.uplink), Some(ip(gateway))));
        }
        let captured = world.netlink.route_to(ip("198.51.100.21")).unwrap();
        assert_eq!(captured.device, Some(world.tun));

        // Asked again while the tunnel has the default route, it finds the same way.
        assert!(routes.protect_peer(ip("198.51.100.20"), &[net("128.0.0.0/1")]).unwrap());
        assert_eq!(
            world.netlink.route_to(ip("198.51.100.20")).unwrap().gateway,
            Some(ip("203.0.113.1"))
        );
        // A peer that came later is captured already; the way around is found all the same.
        assert!(routes.protect_peer(ip("198.51.100.30"), &[net("128.0.0.0/1")]).unwrap());
        assert_eq!(world.netlink.route_to(ip("198.51.100.30")).unwrap().device, Some(world.uplink));
        drop(routes);
        assert_eq!(world.ours(), [""; 0]);
    });
}

#[test]
fn a_peer_on_the_link_or_outside_of_the_subnets_needs_no_host_route() {
    World::inside(|mut world| {
        let mut routes = world.routes();
        assert!(!routes.protect_peer(ip("198.51.100.20"), &[net("10.2.0.0/16")]).unwrap());
        assert!(!routes.protect_peer(ip("203.0.113.5"), &[net("0.0.0.0/0")]).unwrap());
        assert_eq!(world.ours(), [""; 0]);
        // The same peer in a subnet as specific as the link is captured, and gets a route without next hop.
        assert!(routes.protect_peer(ip("203.0.113.5"), &[net("203.0.113.0/24")]).unwrap());
        assert_eq!(world.ours(), ["203.0.113.5/32 dev eth0"]);
        routes.release_peer(ip("203.0.113.5")).unwrap();
        assert_eq!(world.ours(), [""; 0]);
    });
}

#[test]
fn the_way_to_a_peer_follows_the_network() {
    World::inside(|mut world| {
        let mut routes = world.routes();
        assert!(routes.protect_peer(ip("198.51.100.20"), &[net("0.0.0.0/0")]).unwrap());
        world.foreign("198.51.100.0/25", Some("203.0.113.2"), 0);
        assert!(routes.protect_peer(ip("198.51.100.20"), &[net("198.51.100.0/25")]).unwrap());
        assert_eq!(
            world.netlink.route_to(ip("198.51.100.20")).unwrap().gateway,
            Some(ip("203.0.113.2"))
        );
    });
}

#[test]
fn the_peer_itself_cannot_be_reached_through_its_own_tunnel() {
    World::inside(|world| {
        let mut routes = world.routes();
        assert!(routes.protect_peer(ip("198.51.100.20"), &[net("198.51.100.20/32")]).unwrap());
        let error = routes.add(net("198.51.100.20/32"), 100, None, None).unwrap_err();
        assert!(matches!(error, RouteError::PeerItself { .. }), "{error}");
    });
}

#[test]
fn a_peer_without_a_way_is_said_so() {
    World::inside(|world| {
        let Ok(empty) = Netns::new() else { return };
        drop(world);
        let error = empty
            .run(|| {
                let mut routes = Routes::open(99).unwrap();
                routes.protect_peer(ip("198.51.100.20"), &[net("0.0.0.0/0")]).unwrap_err()
            })
            .unwrap();
        assert_eq!(
            error.to_string(),
            "no route leads to the peer 198.51.100.20 outside of the tunnel"
        );
    });
}

#[test]
fn the_source_address_follows_the_route() {
    assert_eq!(route_source(ip("127.0.0.1")), Some(ip("127.0.0.1")));
    World::inside(|_world| {
        assert_eq!(route_source(ip("198.51.100.20")), Some(ip("203.0.113.10")));
        assert_eq!(route_source(ip("2001:db8:5::1")), Some(ip("2001:db8:f::10")));
    });
}

#[test]
fn a_route_that_changes_its_mtu_is_never_gone() {
    World::inside(|mut world| {
        let mut routes = world.routes();
        for subnet in ["10.2.0.0/16", "2001:db8:2::/48"] {
            for mtu in [None, Some(1338), Some(1300), None] {
                let before = world.ours().len();
                routes.add(net(subnet), 100, None, mtu).unwrap();
                let found = world.netlink.routes(Some(PROTOCOL)).unwrap();
                let found = found.iter().find(|route| route.destination == net(subnet)).unwrap();
                assert_eq!((found.mtu, found.device), (mtu.map(u32::from), Some(world.tun)));
                assert!(world.ours().len() >= before);
            }
        }
    });
}

#[test]
fn the_way_out_has_the_mtu_of_its_device_or_of_its_route() {
    World::inside(|mut world| {
        world.netlink.set_mtu(world.uplink, 1400).unwrap();
        let mut narrow = Route::through(world.uplink, net("198.51.100.0/24"), 0, 4);
        narrow.gateway = Some(ip("203.0.113.1"));
        narrow.mtu = Some(1300);
        world.netlink.add_route(&narrow).unwrap();
        let mut routes = world.routes();
        routes.add(net("10.2.0.0/16"), 100, None, None).unwrap();
        let peers = ["192.0.2.9", "198.51.100.20", "2001:db8:5::1", "10.2.0.1"].map(ip);
        let mtus = routes.egress_mtus(peers).unwrap();
        assert_eq!(
            peers.map(|peer| mtus.get(&peer).copied()),
            [Some(1400), Some(1300), Some(1400), None]
        );
    });
}
