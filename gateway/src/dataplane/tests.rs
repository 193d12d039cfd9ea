//! Two data planes, hand-made SAs and real packets: two network namespaces on one cable, made by the test.
//!
//! ```text
//!   left  10.1.0.1, 2001:db8:1::1 on s2s0 ── pumps ── 192.0.2.1 ═══ veth ═══ 192.0.2.2 ── pumps ── s2s0 on 10.2.0.1  right
//!                                                 2001:db8::1             2001:db8::2, 192.0.2.3
//! ```
//!
//! Without the right to make a namespace the tests run themselves again under `unshare -Urn`; where that is forbidden, too,
//! they say so and pass.

use std::net::UdpSocket as Plain;
use std::num::NonZeroU32;
use std::process::Command;

use esp::{DropReason, InboundSa, OutboundSa, Selectors};
use ikev2::{Limits, PacketSelectors};

use super::*;
use crate::io::{OpenError, Port, Tun};
use crate::sys::netlink::Netlink;

mod attacked;
mod workers;
mod world;
mod worn;

use world::*;

#[test]
fn packets_pass_both_ways_in_udp() {
    with_world("packets_pass_both_ways_in_udp", |mut left, mut right| {
        talk(&mut left, &mut right, ("192.0.2.1", "192.0.2.2"), Transport::Udp);
    });
}

#[test]
fn packets_pass_both_ways_in_udp_over_ipv6() {
    with_world("packets_pass_both_ways_in_udp_over_ipv6", |mut left, mut right| {
        talk(&mut left, &mut right, ("2001:db8::1", "2001:db8::2"), Transport::Udp);
    });
}

#[test]
fn packets_pass_both_ways_in_raw_esp() {
    with_world("packets_pass_both_ways_in_raw_esp", |mut left, mut right| {
        talk(&mut left, &mut right, ("192.0.2.1", "192.0.2.2"), Transport::Raw);
    });
}

#[test]
fn packets_pass_both_ways_in_raw_esp_over_ipv6() {
    with_world("packets_pass_both_ways_in_raw_esp_over_ipv6", |mut left, mut right| {
        talk(&mut left, &mut right, ("2001:db8::1", "2001:db8::2"), Transport::Raw);
    });
}

/// The right side has two addresses and its sockets are bound to none: what is asked at the second answers from it.
#[test]
fn ike_goes_up_and_answers_leave_from_the_address_that_was_asked() {
    with_world(
        "ike_goes_up_and_answers_leave_from_the_address_that_was_asked",
        |mut left, mut right| {
            let ask = |near: &str, far: &str| ikev2::Path {
                local: near.parse().unwrap(),
                remote: far.parse().unwrap(),
            };
            let paths = [
                ask("192.0.2.1:4500", "192.0.2.3:4500"),
                ask("192.0.2.1:4500", "192.0.2.2:4500"),
                ask("[2001:db8::1]:4500", "[2001:db8::2]:4500"),
            ];
            for path in paths {
                // 2500 octets do not fit the cable: an IKE message may be fragmented by IP.
                for payload in [vec![1, 2, 3], vec![7; 2500], Vec::new()] {
                    left.ike.send_ike(&path, &payload).unwrap();
                    let back = ikev2::Path { local: path.remote, remote: path.local };
                    let wanted = Upcall::Ike { path: back, payload: payload.clone() };
                    assert_eq!(right.upcall(PATIENCE), Some(wanted));
                    right.ike.send_ike(&back, &payload).unwrap();
                    assert_eq!(left.upcall(PATIENCE), Some(Upcall::Ike { path, payload }));
                }
            }
            right.settles(9, |side| side.dataplane().counters().ike());
            let nobody = ask("192.0.2.1:4501", "192.0.2.2:4500");
            let error = left.ike.send_ike(&nobody, &[1]).unwrap_err();
            assert_eq!(error.to_string(), "no UDP socket is bound to 192.0.2.1:4501");
        },
    );
}

#[test]
fn plain_ike_has_no_marker() {
    with_world("plain_ike_has_no_marker", |left, right| {
        let path = ikev2::Path {
            local: "192.0.2.1:500".parse().unwrap(),
            remote: "192.0.2.3:500".parse().unwrap(),
        };
        left.ike.send_ike(&path, &[9; 28]).unwrap();
        let socket = right.ike.0.get(2).expect("the IPv4 socket of port 500");
        let mut poll = mio::Poll::new().unwrap();
        let mut source = socket;
        poll.registry().register(&mut source, mio::Token(0), mio::Interest::READABLE).unwrap();
        poll.poll(&mut mio::Events::with_capacity(1), Some(PATIENCE)).unwrap();
        let mut buffer = [0; 64];
        let received = socket.receive(&mut buffer).unwrap();
        assert_eq!((received.path.local, received.path.remote), (path.remote, path.local));
        assert_eq!(&buffer[..received.len], &[9; 28]);
    });
}

#[test]
fn noise_is_counted_by_reason_and_passed_nowhere() {
    with_world("noise_is_counted_by_reason_and_passed_nowhere", |mut left, mut right| {
        let path = ikev2::Path {
            local: "192.0.2.1:4500".parse().unwrap(),
            remote: "192.0.2.2:4500".parse().unwrap(),
        };
        left.ike.send_keepalive(&path).unwrap();
        let noise = left.netns.run(|| Plain::bind("192.0.2.1:0")).unwrap().unwrap();
        for datagram in [&[][..], &[0, 0, 0], &[0, 0, 0, 9, 1, 2], &[0xff; 100]] {
            noise.send_to(datagram, "192.0.2.2:4500").unwrap();
        }
        right.settles(1, |side| side.dataplane().counters().keepalives());
        right.settles(2, |side| side.dataplane().counters().dropped(DropReason::UnknownSpi));
        right.settles(2, |side| side.dataplane().counters().dropped(DropReason::Runt));

        // A known SPI with a forged body, and the wrong SA's selectors.
        talk(&mut left, &mut right, ("192.0.2.1", "192.0.2.2"), Transport::Udp);
        let mut forged = vec![0; 80];
        forged[..8].copy_from_slice(&[0, 0, 2, 2, 0, 0, 1, 0]);
        noise.send_to(&forged, "192.0.2.2:4500").unwrap();
        right.settles(1, |side| side.counters.dropped(DropReason::BadIcv));
        assert_eq!(right.upcall(Duration::ZERO), None);
    });
}

#[test]
fn what_no_sa_protects_is_dropped_and_asked_for() {
    with_world("what_no_sa_protects_is_dropped_and_asked_for", |mut left, mut right| {
        talk(&mut left, &mut right, ("192.0.2.1", "192.0.2.2"), Transport::Udp);
        let (client, unheard) = (left.app("10.1.0.1"), right.app("10.3.0.1"));
        unheard.set_nonblocking(true).unwrap();
        let counters = Arc::clone(left.dataplane().counters());
        let before = counters.dropped(DropReason::NoPolicy);
        for neighbours in ["239.0.0.22:7", "239.255.255.250:1900"] {
            client.send_to(b"of no interest", neighbours).unwrap();
        }
        client.send_to(b"no policy", "10.3.0.1:7").unwrap();
        // The packets to groups went first, so they would be counted by now.
        left.settles(before + 1, |side| side.dataplane().counters().dropped(DropReason::NoPolicy));

        let spi = NonZeroU32::new(0x202).unwrap();
        left.dataplane().tx(TxCommand::Remove { slot: SLOT, spi });
        left.dataplane().settle();
        for _ in 0..3 {
            client.send_to(b"no sa", "10.2.0.1:7").unwrap();
        }
        let packet = PacketSelectors {
            protocol: 17,
            local: "10.1.0.1".parse().unwrap(),
            remote: "10.2.0.1".parse().unwrap(),
            ports: Some((7, 7)),
        };
        assert_eq!(left.upcall(PATIENCE), Some(Upcall::Acquire { slot: SLOT, packet }));
        left.settles(3, |side| side.dataplane().counters().dropped(DropReason::NoSa));
        assert_eq!(left.upcall(Duration::ZERO), None, "once a second at most");

        let spi = NonZeroU32::new(0x202).unwrap();
        right.dataplane().rx(RxCommand::Remove { spi });
        assert!(unheard.recv(&mut [0; 9]).is_err());
    });
}

/// A peer that keeps one pair of networks in each child SA: the slot has one SA for each, and each packet takes its own.
#[test]
fn the_parts_of_a_child_have_sas_of_their_own() {
    with_world("the_parts_of_a_child_have_sas_of_their_own", |left, right| {
        let mut usages = Vec::new();
        for (part, there, back) in [(0, 0x101, 0x202), (1, 0x103, 0x204)] {
            let (own, other) = (&LEFT[part..=part], &RIGHT[part..=part]);
            let udp = |from, to| towards(from, to, Transport::Udp);
            left.install(there, back, (own, other), udp("192.0.2.1", "192.0.2.2"));
            let (to, no_end) =
                (udp("192.0.2.2", "192.0.2.1"), Limits { octets: None, packets: None });
            usages.push(right.install_of((back, there), (other, own), to, (no_end, None)));
        }
        for (side, own, other) in [(&left, LEFT, RIGHT), (&right, RIGHT, LEFT)] {
            let selectors = Arc::new(Selectors { local: ranges(own), remote: ranges(other) });
            let rule = Rule { slot: SLOT, selectors, rank: Rank::default() };
            side.dataplane().tx(TxCommand::Policy(Arc::new(Policy::new(&[rule]))));
            side.dataplane().settle();
        }
        let ends = [("10.1.0.1", "10.2.0.1"), ("2001:db8:1::1", "2001:db8:2::1")];
        for (part, (near, far)) in ends.into_iter().enumerate() {
            let (client, server) = (left.app(near), right.app(far));
            let mut buffer = [0; 100];
            client.send_to(b"there", (far, 7)).unwrap();
            let (got, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&buffer[..got], from).unwrap();
            assert_eq!(client.recv(&mut buffer).unwrap(), b"there".len());
            let alive: Vec<_> = usages.iter().map(|usage| usage.was_alive()).collect();
            assert_eq!(alive, [part == 0, part == 1], "a packet shows the life of its own SA");
        }
        for side in [&left, &right] {
            side.settles(2, |side| side.counters.packets_out());
            assert_eq!(side.counters.drops().count(), 0);
        }
    });
}

/// RFC 7296 §2.23: the newest authentic packet tells where the peer is.
#[test]
fn a_peer_that_sends_from_elsewhere_is_noticed_once() {
    with_world("a_peer_that_sends_from_elsewhere_is_noticed_once", |mut left, mut right| {
        talk(&mut left, &mut right, ("192.0.2.1", "192.0.2.2"), Transport::Udp);
        let (client, server) = (left.app("10.1.0.1"), right.app("10.2.0.1"));
        let spi = NonZeroU32::new(0x101).unwrap();
        for (from, noticed) in [("192.0.2.3", true), ("192.0.2.3", false), ("192.0.2.2", true)] {
            let to = towards(from, "192.0.2.1", Transport::Udp);
            right.dataplane().tx(TxCommand::Move { slot: SLOT, spi, to, mtu: TUN_MTU });
            right.dataplane().settle();
            server.send_to(b"hello", client.local_addr().unwrap()).unwrap();
            assert_eq!(client.recv(&mut [0; 9]).unwrap(), 5);
            let remote = SocketAddr::new(from.parse().unwrap(), 4500);
            let upcall = Some(Upcall::Elsewhere { spi, remote }).filter(|_| noticed);
            let patience = if noticed { PATIENCE } else { Duration::ZERO };
            assert_eq!(left.upcall(patience), upcall, "{from}");
        }
    });
}

#[test]
fn losses_on_the_way_out_are_counted() {
    with_world("losses_on_the_way_out_are_counted", |mut left, mut right| {
        talk(&mut left, &mut right, ("192.0.2.1", "192.0.2.2"), Transport::Udp);
        let client = left.app("10.1.0.1");
        let spi = NonZeroU32::new(0x202).unwrap();
        let send = |left: &Side, to: Destination, len: usize| {
            left.dataplane().tx(TxCommand::Move { slot: SLOT, spi, to, mtu: TUN_MTU });
            left.dataplane().settle();
            client.send_to(&vec![0; len], "10.2.0.1:7").unwrap();
        };
        // The largest packet that the TUN takes is one that the cable takes; four octets of MTU more are too many.
        let there = towards("192.0.2.1", "192.0.2.2", Transport::Udp);
        send(&left, there, 1438 - 28);
        left.settles(11, |side| side.counters.packets_out());
        left.netns.run(|| Netlink::open().unwrap().set_mtu(left.tun_index, 1442).unwrap()).unwrap();
        send(&left, there, 1442 - 28);
        left.settles(1, |side| side.counters.dropped(DropReason::TooBig));
        send(&left, towards("192.0.2.1", "198.51.100.1", Transport::Udp), 10);
        left.settles(1, |side| side.dataplane().counters().lost(IoLoss::Unreachable));
        send(&left, Destination { local_port: 4501, ..there }, 10);
        left.settles(1, |side| side.dataplane().counters().lost(IoLoss::NoSocket));
        left.settles(2, |side| side.counters.dropped(DropReason::SendFailed));
        assert_eq!(left.counters.refused(), 2);
        send(&left, there, 10);
        left.settles(12, |side| side.counters.packets_out());
    });
}

#[test]
fn a_second_device_or_socket_says_who_has_the_first() {
    with_world("a_second_device_or_socket_says_who_has_the_first", |left, _right| {
        let messages = left
            .netns
            .run(|| {
                let any = |port| (IpAddr::from([0, 0, 0, 0]), port).into();
                let elsewhere = "192.0.2.99:4500".parse().unwrap();
                let words = |error: OpenError| error.to_string();
                [
                    Tun::open("s2s0", 1400).map(drop).unwrap_err(),
                    Tun::open("wan", 1400).map(drop).unwrap_err(),
                    Tun::open("a/b", 1400).map(drop).unwrap_err(),
                    UdpSocket::bind(any(4500), Port::Nat).map(drop).unwrap_err(),
                    UdpSocket::bind(elsewhere, Port::Nat).map(drop).unwrap_err(),
                ]
                .map(words)
            })
            .unwrap();
        let name = std::fs::read_to_string("/proc/self/comm").unwrap();
        let port = format!(
            "UDP port 4500 on 0.0.0.0 is in use by {} (pid {}); stop it, or give both other addresses to `listen` on (ss -lunp | grep :4500)",
            name.trim_end(),
            std::process::id(),
        );
        let wanted = [
            "cannot create TUN device s2s0: the name is in use; is another s2s-gw running? (ip -d link show s2s0)",
            "cannot create TUN device wan: the name is in use; is another s2s-gw running? (ip -d link show wan)",
            "cannot create TUN device \"a/b\": an interface name has 1 to 15 letters or digits",
            port.as_str(),
            "cannot bind 192.0.2.99: no interface of this host has that address; check `listen` (ip address show)",
        ];
        assert_eq!(messages, wanted);
    });
}

#[test]
fn stopping_ends_the_threads_and_takes_the_device_away() {
    with_world("stopping_ends_the_threads_and_takes_the_device_away", |mut left, _right| {
        left.dataplane.take().unwrap().stop();
        let link = left.netns.run(|| Netlink::open().unwrap().link("s2s0").unwrap()).unwrap();
        assert_eq!(link, None);
        assert_eq!(left.upcall(Duration::ZERO), None);
    });
}

#[test]
fn a_device_that_goes_is_waited_for_and_another_takes_its_place() {
    let name = "a_device_that_goes_is_waited_for_and_another_takes_its_place";
    with_world(name, |mut left, _right| {
        let delete = || Command::new("ip").args(["link", "del", "s2s0"]).status();
        assert!(left.netns.run(delete).unwrap().unwrap().success());
        // The pumps live, and do what they are told.
        left.dataplane().settle();
        assert_eq!(left.upcall(Duration::from_millis(50)), None);
        let another = || {
            let lanes = Tun::open_for("s2s0", TUN_MTU, 1).unwrap();
            let index = lanes[0].bulk.index();
            let mut netlink = Netlink::open().unwrap();
            netlink.add_address(index, "10.77.0.1/24".parse().unwrap()).unwrap();
            lanes
        };
        let lanes = left.netns.run(another).unwrap();
        left.dataplane().equip(lanes);
        left.dataplane().settle();
        let say = || {
            let socket = std::net::UdpSocket::bind("10.77.0.1:0").unwrap();
            socket.send_to(b"for nobody", "10.77.0.2:9").unwrap();
        };
        left.netns.run(say).unwrap();
        left.settles(1, |side| side.dataplane().counters().drops().map(|(_, count)| count).sum());
    });
}
