//! Links, addresses, routes and rules, asked of a real kernel in namespaces of their own.

use std::net::Ipv4Addr;

use super::*;
use crate::sys::netns::Netns;

/// Runs `work` in a namespace of its own, or says that it cannot.
fn inside(work: impl FnOnce(&mut Netlink) + Send) {
    match Netns::new() {
        Ok(netns) => netns.run(|| work(&mut Netlink::open().unwrap())).unwrap(),
        Err(error) => println!("skipped: no right to make a network namespace ({error})"),
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[test]
fn a_cable_has_two_ends_with_addresses_and_an_mtu() {
    inside(|netlink| {
        netlink.add_veth("left", "right").unwrap();
        let left = netlink.link_index("left").unwrap();
        netlink.set_mtu(left, 1300).unwrap();
        netlink.link_up(left).unwrap();
        netlink.add_address(left, net("10.1.0.1/16")).unwrap();
        netlink.add_address(left, net("2001:db8::1/64")).unwrap();
        let link = netlink.link("left").unwrap().unwrap();
        assert_eq!((link.index, link.mtu, link.address.len()), (left, 1300, 6));
        assert!(netlink.link("right").unwrap().is_some());
        // The kernel answers from the new addresses, so they are there.
        let to_ourselves = netlink.route_to("10.1.0.1".parse().unwrap()).unwrap();
        assert_eq!(to_ourselves.destination, net("10.1.0.1/32"));
    });
}

#[test]
fn a_device_moves_to_another_namespace() {
    inside(|netlink| {
        let other = Netns::new().unwrap();
        netlink.add_veth("here", "there").unwrap();
        let index = netlink.link_index("there").unwrap();
        netlink.move_to_netns(index, std::os::fd::AsFd::as_fd(&other)).unwrap();
        assert_eq!(netlink.link("there").unwrap(), None);
        let seen = other.run(|| Netlink::open().unwrap().link("there").unwrap()).unwrap();
        assert!(seen.is_some());
    });
}

#[test]
fn routes_of_both_families_come_back_as_they_were_set() {
    inside(|netlink| {
        netlink.add_veth("left", "right").unwrap();
        for name in ["left", "right"] {
            let index = netlink.link_index(name).unwrap();
            netlink.link_up(index).unwrap();
        }
        let left = netlink.link_index("left").unwrap();
        netlink.add_address(left, net("192.0.2.1/24")).unwrap();
        netlink.add_address(left, net("2001:db8::1/64")).unwrap();
        let wanted = [
            Route::through(left, net("10.2.0.0/16"), 100, 77),
            Route {
                gateway: Some(Ipv4Addr::new(192, 0, 2, 9).into()),
                preferred_source: Some(Ipv4Addr::new(192, 0, 2, 1).into()),
                ..Route::through(left, net("0.0.0.0/0"), 5, 77)
            },
            Route::through(left, net("2001:db8:2::/48"), 100, 77),
            Route {
                gateway: Some("2001:db8::9".parse().unwrap()),
                ..Route::through(left, net("::/0"), 7, 77)
            },
            // An IPv4 route over IPv6 (RFC 8950).
            Route {
                gateway: Some("2001:db8::9".parse().unwrap()),
                ..Route::through(left, net("10.3.0.0/16"), 100, 77)
            },
            Route { mtu: Some(1338), ..Route::through(left, net("10.4.0.0/16"), 100, 77) },
            Route { mtu: Some(1338), ..Route::through(left, net("2001:db8:4::/48"), 100, 77) },
        ];
        for route in &wanted {
            netlink.add_route(route).unwrap();
        }
        let mut found = netlink.routes(Some(77)).unwrap();
        found.sort_by_key(|route| wanted.iter().position(|wanted| wanted == route));
        assert_eq!(found, wanted);

        assert!(netlink.add_route(&wanted[0]).unwrap_err().is_exists());
        for route in &wanted {
            netlink.del_route(route).unwrap();
            assert!(netlink.del_route(route).unwrap_err().is_absent());
        }
        assert_eq!(netlink.routes(Some(77)).unwrap(), []);
    });
}

#[test]
fn another_protocol_protects_a_route_from_removal() {
    inside(|netlink| {
        netlink.add_veth("left", "right").unwrap();
        let left = netlink.link_index("left").unwrap();
        netlink.link_up(left).unwrap();
        let theirs = Route::through(left, net("10.2.0.0/16"), 100, 4);
        netlink.add_route(&theirs).unwrap();
        let ours = Route { protocol: 77, ..theirs.clone() };
        assert!(netlink.del_route(&ours).unwrap_err().is_absent());
        assert_eq!(netlink.routes(Some(4)).unwrap(), [theirs]);
    });
}

#[test]
fn errors_are_sentences() {
    inside(|netlink| {
        let error = netlink.link_index("eth9").unwrap_err();
        assert!(error.is_absent());
        assert_eq!(error.to_string(), "cannot find device eth9: no such device");
        let error = netlink.route_to("192.0.2.1".parse().unwrap()).unwrap_err();
        assert!(error.is_unreachable(), "{error}");
        assert_eq!(error.to_string(), "cannot find the route to 192.0.2.1: network is unreachable");
    });
    let error = NetlinkError {
        action: "add route 10.2.0.0/16 dev s2s0".to_owned(),
        explained: None,
        source: io::Error::from_raw_os_error(libc::EPERM),
    };
    assert_eq!(
        error.to_string(),
        "cannot add route 10.2.0.0/16 dev s2s0: operation not permitted; needs CAP_NET_ADMIN"
    );
}

#[test]
fn the_kernel_says_why() {
    inside(|netlink| {
        netlink.add_veth("left", "right").unwrap();
        let left = netlink.link_index("left").unwrap();
        netlink.link_up(left).unwrap();
        let nowhere = Route {
            gateway: Some(Ipv4Addr::new(203, 0, 113, 1).into()),
            ..Route::through(left, net("10.2.0.0/16"), 100, 77)
        };
        let error = netlink.add_route(&nowhere).unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot add route 10.2.0.0/16 via 203.0.113.1 dev left: network is unreachable (Nexthop has invalid gateway)"
        );
    });
}

#[test]
fn broken_datagrams_end_the_loop() {
    assert_eq!(split_message(&[]), None);
    assert_eq!(split_message(&[16, 0, 0]), None);
    assert_eq!(split_message(&[0; 64]), None, "a length of 0 would never end");
    let mut long = [0; 64];
    long[..4].copy_from_slice(&65_u32.to_ne_bytes());
    assert_eq!(split_message(&long), None, "longer than the datagram");
    long[..4].copy_from_slice(&17_u32.to_ne_bytes());
    let (message, rest) = split_message(&long).unwrap();
    assert_eq!((message.len(), rest.len()), (17, 44));
    long[..4].copy_from_slice(&63_u32.to_ne_bytes());
    let (message, rest) = split_message(&long).unwrap();
    assert_eq!((message.len(), rest.len()), (63, 0));
}

#[test]
fn a_protocol_is_swallowed_and_others_are_not() {
    inside(|netlink| {
        netlink.add_veth("left", "right").unwrap();
        for name in ["left", "right"] {
            let index = netlink.link_index(name).unwrap();
            netlink.link_up(index).unwrap();
        }
        let left = netlink.link_index("left").unwrap();
        netlink.add_address(left, net("192.0.2.1/24")).unwrap();
        let send = |protocol: i32| {
            let protocol = Some(socket2::Protocol::from(protocol));
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::RAW, protocol);
            let to = std::net::SocketAddr::from(([192, 0, 2, 9], 0));
            socket.unwrap().send_to(b"x", &to.into())
        };
        assert!(send(50).is_ok() && send(51).is_ok(), "before");
        netlink.swallow(50).unwrap();
        assert!(netlink.swallow(50).unwrap_err().is_exists());
        assert!(send(50).is_err() && send(51).is_ok(), "after");
    });
}
