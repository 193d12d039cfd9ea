//! The path between the gateways becomes narrower, and somebody pretends that it did (RFC 4301 §8).
//!
//! ```text
//!   left ══ 1500 ══ router ══ 1500, 1400, 1280 ══ right
//!           ◄── ICMP "too big"            the device itself
//! ```
//!
//! The left gateway has to learn it from the router, the right one from its device; hosts on both sides are told what
//! remains.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, ip_mtu, ipv6_mtu, set_ip_mtu_discover,
    set_ipv6_mtu_discover,
};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use testkit::flow::{Flow, Plan};
use testkit::netns::{Between, Family, Netns, Site};
use testkit::peer::{ConnectionSpec, Peer, now, pause, wait_for};

use crate::List;
use crate::case::{Case, GAP, Pair, Tunnel, measured};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    if !Pair::all().contains(&Pair::OursToOurs) {
        return;
    }
    let raw = |left: &mut ConnectionSpec, right: &mut ConnectionSpec| {
        for side in [left, right] {
            side.ours_extra = "encap = \"auto\"".into();
        }
    };
    list.tunnel("path-mtu/udp-v4", dual(Family::V4), |case| {
        shrinks(case, [(1400, 1338, 1338), (1280, 1218, 1280)])
    });
    list.tunnel("path-mtu/raw-v4", Tunnel { edit: raw, ..dual(Family::V4) }, |case| {
        shrinks(case, [(1400, 1346, 1346), (1280, 1226, 1280)])
    });
    list.tunnel("path-mtu/udp-v6", dual(Family::V6), |case| {
        shrinks(case, [(1400, 1318, 1318), (1280, 1198, 1280)])
    });
    list.tunnel("path-mtu/forged", dual(Family::V4), forged);
}

/// Both families inside, a router between.
fn dual(outer: Family) -> Tunnel {
    let inner = vec![Family::V4, Family::V6];
    Tunnel { between: Between::Router, outer, inner, ..gcm(Pair::OursToOurs) }
}

/// At each width TCP goes on that was there before, hosts of both sides are told, and what they send passes.
fn shrinks(case: &mut Case, widths: [(u16, u32, u32); 2]) -> Result<()> {
    case.up()?;
    let mut flows = Vec::new();
    for family in [Family::V4, Family::V6] {
        let to = case.sites.right.host_address(family, 0);
        let plan = Plan { octets: u64::MAX, pace: Some(PACE) };
        flows.push(Flow::start(&case.sites.left.host, &case.sites.right.host, to, plan)?);
    }
    pause(Duration::from_millis(700));
    for (path, of_v4, of_v6) in widths {
        set_width(case, path)?;
        let narrowed = now();
        for flow in &flows {
            let before = flow.progress();
            wait_for(&format!("TCP to go on over {path}"), PATIENCE, || {
                let moved =
                    flow.progress().iter().zip(before).all(|(now, was)| *now > was + ENOUGH);
                Ok(moved.then_some(()))
            })?;
        }
        let name = format!("{:?} at {path}", case.tunnel.outer);
        measured(&format!("path MTU, {name}: TCP goes on after {:.1?}", narrowed.elapsed()));
        let took = format!("{:.1?}", narrowed.elapsed());
        testkit::measured::measured("T35", &format!("TCP goes on, outer {name}"), took, "<= 5 s");
        for side in [&case.left, &case.right] {
            wait_for(&format!("{path} in the status"), Duration::from_secs(3), || {
                let expected = (path.into(), of_v4.into());
                Ok((path_mtu(&**side)? == Some(expected)).then_some(()))
            })?;
        }
        let (left, right) = (&case.sites.left, &case.sites.right);
        for (from, to) in [(left, right), (right, left)] {
            for (family, expected) in [(Family::V4, of_v4), (Family::V6, of_v6)] {
                let to_host = to.host_address(family, 0);
                let told = told(&from.host, to_host)?;
                ensure!(told == expected, "{to_host} over {path}: told {told}, not {expected}");
                passes(from, to, family)?;
            }
        }
    }
    for flow in flows {
        let reports = flow.finish()?;
        let stalls = reports.each_ref().map(|report| report.longest_stall);
        measured(&format!("path MTU, {:?}: longest stalls {stalls:.1?}", case.tunnel.outer));
        reports.iter().try_for_each(|report| report.check(PATIENCE))?;
    }
    case.exchange()?;
    // Devices are looked at; what the router said is believed for ten minutes.
    set_width(case, 1500)?;
    wait_for("the right one to have its device back", Duration::from_secs(3), || {
        Ok(path_mtu(&*case.right)?.is_none().then_some(()))
    })?;
    let left = path_mtu(&*case.left)?;
    ensure!(left.is_some_and(|(outer, _)| outer == 1280), "the left one forgot: {left:?}");
    Ok(())
}

fn set_width(case: &Case, mtu: u16) -> Result<()> {
    case.sites.right.gateway.ip(&format!("link set out mtu {mtu}\n"))?;
    let router = case.sites.router.as_ref().context("there is a router")?;
    router.ip(&format!("link set outside mtu {mtu}\n"))
}

/// What the status says of the connection's path, outer and inner packets.
fn path_mtu(peer: &dyn Peer) -> Result<Option<(u64, u64)>> {
    let status = peer.as_ours().context("ours")?.json()?;
    let of = |what| status.pointer(&format!("/connections/0/path_mtu/{what}"))?.as_u64();
    Ok(of("outer").zip(of("inner")))
}

/// What a host learns of the way to `to`, after packets of 1400 octets with DF.
fn told(host: &Netns, to: IpAddr) -> Result<u32> {
    host.inside(|| {
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((to, DISCARD))?;
        if to.is_ipv4() {
            set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DO)?;
        } else {
            set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::DO)?;
        }
        for _ in 0..5 {
            // Refused, once the host knows better, or because nobody listens there.
            let _ = socket.send(&[0; 1400 - 48]);
            pause(Duration::from_millis(20));
        }
        Ok(if to.is_ipv4() { ip_mtu(&socket)? } else { ipv6_mtu(&socket)? })
    })
}

/// A datagram of exactly 1280 octets that may be fragmented arrives.
fn passes(from: &Site, to: &Site, family: Family) -> Result<()> {
    let address = to.host_address(family, 0);
    let payload = vec![7; if family == Family::V4 { 1252 } else { 1232 }];
    let receiver = to.host.inside(|| Ok(UdpSocket::bind((address, 0))?))?;
    receiver.set_read_timeout(Some(Duration::from_secs(2)))?;
    let at: SocketAddr = receiver.local_addr()?;
    from.host.inside(|| {
        let socket = UdpSocket::bind((from.host_address(family, 0), 0))?;
        if family == Family::V4 {
            set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DONT)?;
        }
        socket.send_to(&payload, at)?;
        Ok(())
    })?;
    let mut buffer = vec![0; 2000];
    let (len, _) = receiver.recv_from(&mut buffer).context("1280 octets did not pass")?;
    ensure!(buffer.get(..len) == Some(&payload), "{len} octets of another kind");
    Ok(())
}

/// The router says to the left gateway what it must not believe, and at last what it may.
fn forged(case: &mut Case) -> Result<()> {
    case.up()?;
    case.ping_all()?;
    let status = case.left.as_ours().context("ours")?.json()?;
    let spi = status.pointer("/connections/0/children/0/spi_out").and_then(Value::as_str);
    let spi = u32::from_str_radix(spi.context("an SPI")?, 16)?;
    let router = case.sites.router.as_ref().context("there is a router")?;
    let socket = router.inside(|| {
        Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).context("a raw socket")
    })?;
    let to = SocketAddr::from(([192, 0, 2, 1], 0)).into();
    let sent_last = 1;
    for (what, message) in [
        ("another SPI", too_big([192, 0, 2, 2], spi ^ 1, sent_last, 1300)),
        ("the number of no packet", too_big([192, 0, 2, 2], spi, 0, 1300)),
        ("a number that was not used yet", too_big([192, 0, 2, 2], spi, 0x7fff_ffff, 1300)),
        ("one above the last 65536", too_big([192, 0, 2, 2], spi, 0xffff_0000, 1300)),
        ("a packet to another peer", too_big([192, 0, 2, 3], spi, sent_last, 1300)),
        ("MTU 68", too_big([192, 0, 2, 2], spi, sent_last, 68)),
        ("MTU 0", too_big([192, 0, 2, 2], spi, sent_last, 0)),
        ("MTU 575", too_big([192, 0, 2, 2], spi, sent_last, 575)),
        ("MTU 65535", too_big([192, 0, 2, 2], spi, sent_last, 65_535)),
    ] {
        socket.send_to(&message, &to)?;
        pause(Duration::from_millis(150));
        ensure!(path_mtu(&*case.left)?.is_none(), "{what} was believed");
    }
    testkit::measured::measured(
        "T35",
        "forged messages believed (MTU 0, 68, 575, 65535, other packets)",
        0,
        "0",
    );
    flood(case, &socket, spi)?;
    testkit::measured::measured("T35", "pings lost in 10 000 forged messages a second", 0, "0");
    socket.send_to(&too_big([192, 0, 2, 2], spi, sent_last, 1300), &to)?;
    wait_for("a true message to be believed", Duration::from_secs(2), || {
        Ok((path_mtu(&*case.left)? == Some((1300, 1238))).then_some(()))
    })?;
    let lines = case.left.log().matches("event=path-mtu").count();
    ensure!(lines == 1, "{lines} lines of log");
    case.ping_all()
}

/// Ten thousand forged messages a second for two seconds cost no packet.
fn flood(case: &Case, socket: &Socket, spi: u32) -> Result<()> {
    let to = SocketAddr::from(([192, 0, 2, 1], 0)).into();
    let status = case.left.as_ours().context("ours")?.json()?;
    let pid = status.get("pid").and_then(Value::as_u64).context("a pid")?;
    let (begun, used) = (now(), ticks(pid)?);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| -> Result<()> {
            for number in 0..20_000_u32 {
                let due = Duration::from_micros(u64::from(number) * 100);
                pause(due.saturating_sub(begun.elapsed()));
                socket.send_to(&too_big([192, 0, 2, 2], spi ^ (number | 1), 1, 1300), &to)?;
            }
            Ok(())
        });
        let host = case.sites.right.host_address(Family::V4, 0);
        let answered = case.sites.left.host.ping(host, 40, GAP)?;
        flood.join().map_err(|_| anyhow::anyhow!("the flood broke"))??;
        ensure!(answered == 40, "{answered} of 40 pings answered in the flood");
        Ok(())
    })?;
    measured(&format!(
        "path MTU: 20000 forged messages in {:.1?} cost {} ms of the processor",
        begun.elapsed(),
        (ticks(pid)? - used) * 10
    ));
    ensure!(path_mtu(&*case.left)?.is_none(), "one of many was believed");
    Ok(())
}

/// Processor time of a process in hundredths of a second (proc_pid_stat(5)).
fn ticks(pid: u64) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("a name")?;
    let numbers = rest.split_whitespace().skip(11).take(2);
    numbers.map(|number| Ok(number.parse::<u64>()?)).sum()
}

/// "Fragmentation needed", with the beginning of an ESP packet in UDP from 192.0.2.1.
fn too_big(remote: [u8; 4], spi: u32, sequence: u32, mtu: u16) -> Vec<u8> {
    let mut message = vec![3, 4, 0, 0, 0, 0];
    message.extend(mtu.to_be_bytes());
    message.extend([0x45, 0, 5, 0xdc, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1]);
    message.extend(remote);
    message.extend([0x11, 0x94, 0x11, 0x94, 5, 0xc8, 0, 0]);
    message.extend(spi.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    let words = message.as_chunks().0.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = u16::try_from(sum).map_or(0, |sum| !sum);
    message.splice(2..4, sum.to_be_bytes());
    message
}

/// A device is looked at within a second, and by then TCP waits a few times as long before it tries again.
const PATIENCE: Duration = Duration::from_secs(8);

/// Octets a second each way and family.
const PACE: u64 = 1_000_000;

/// Octets that show that a flow goes on.
const ENOUGH: u64 = 500_000;

/// Nobody listens there.
const DISCARD: u16 = 9;
