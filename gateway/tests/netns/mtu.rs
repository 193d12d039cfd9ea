//! `mtu` of a connection bounds that connection and no other.
//!
//! ```text
//!   right, mtu 1300 ◄──── hub (ours) ◄──── third, mtu 1400
//!                      host: DF, 1301 octets to right are refused, to third 1400 pass
//! ```

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, ip_mtu, set_ip_mtu_discover};
use socket2::SockRef;
use testkit::gateway::Ours;
use testkit::netns::{Between, Family, Site, Sites};
use testkit::peer::{ConnectionSpec, GatewaySpec, Peer, pause, wait_for};

use crate::List;
use crate::case::{GAP, Pair, program, spec, tail};
use crate::hub::connection;

pub(crate) fn list(list: &mut List) {
    if !Pair::all().contains(&Pair::OursToOurs) {
        return;
    }
    list.add("mtu/mss-clamp", false, || clamped().map_err(|error| format!("{error:#}")));
    for (name, device) in
        [("mtu/of-connections", ""), ("mtu/of-connections-and-device", "mtu = 1420\n")]
    {
        list.add(name, false, move || {
            two_connections(device).map_err(|error| format!("{error:#}"))
        });
    }
}

/// `device`: a line for `[gateway]`.
fn two_connections(device: &str) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("s2st").tempdir()?;
    let sites = Sites::new(Between::WireAndThird)?;
    let third = sites.third.as_ref().context("a third site")?;
    let limited = |mtu: u16, connection: ConnectionSpec| ConnectionSpec {
        ours_extra: format!("mtu = {mtu}"),
        ..connection
    };
    let narrow = connection("right", &sites.left, "192.0.2.1", &sites.right, true);
    let narrow = limited(1300, narrow);
    let wide = limited(1400, connection("third", &sites.left, "198.51.100.1", third, false));
    let hub = GatewaySpec {
        name: "hub".into(),
        listen: vec!["192.0.2.1".into(), "198.51.100.1".into()],
        connections: vec![narrow.clone(), wide.clone()],
    };
    // The peers have no limit of their own: what they send is bounded by the MSS alone.
    let mirror = |connection: &ConnectionSpec, name: &str| {
        let plain = ConnectionSpec { ours_extra: String::new(), ..connection.mirrored() };
        spec(name, ConnectionSpec { name: "hub".into(), ..plain })
    };
    let mut right =
        Ours::new(program(), &sites.right.gateway, mirror(&narrow, "right"), dir.path())?;
    let mut far = Ours::new(program(), &third.gateway, mirror(&wide, "third"), dir.path())?;
    let mut hub = Ours::new(program(), &sites.left.gateway, hub, dir.path())?;
    let toml = std::fs::read_to_string(hub.config())?;
    std::fs::write(hub.config(), toml.replacen("[gateway]\n", &format!("[gateway]\n{device}"), 1))?;
    right.start()?;
    hub.start()?;
    far.start()?;
    let up = ["right", "third"].iter().try_for_each(|name| {
        wait_for(&format!("{name} to be up"), Duration::from_secs(10), || {
            Ok(hub.facts(name)?.up.then_some(()))
        })
    });
    let checked = up
        .and_then(|()| bounded(&sites.left, &sites.right, 1300))
        .and_then(|()| bounded(&sites.left, third, 1400))
        .and_then(|()| bounded(&sites.left, &sites.right, 1300));
    checked.map_err(|error| {
        let log = tail(&hub.log(), 60);
        let routes = sites.left.gateway.run("ip", &["route", "show"]).unwrap_or_default();
        error.context(format!("hub:\n{}\n{log}\n{routes}", hub.status()))
    })
}

/// TCP is told what `mss_clamp` says, or nothing.
fn clamped() -> Result<()> {
    for (clamp, told) in [("1000", 940..=1000), ("\"off\"", 1440..=1460)] {
        let dir = tempfile::Builder::new().prefix("s2st").tempdir()?;
        let sites = Sites::new(Between::Wire)?;
        let call = connection("right", &sites.left, "192.0.2.1", &sites.right, true);
        let call = ConnectionSpec { ours_extra: format!("mss_clamp = {clamp}"), ..call };
        let back = ConnectionSpec { name: "hub".into(), ..call.mirrored() };
        let mut right =
            Ours::new(program(), &sites.right.gateway, spec("right", back), dir.path())?;
        let mut left = Ours::new(program(), &sites.left.gateway, spec("hub", call), dir.path())?;
        right.start()?;
        left.start()?;
        let host = sites.right.host_address(Family::V4, 0);
        wait_for("the first ping", Duration::from_secs(10), || {
            Ok((sites.left.host.ping(host, 1, GAP)? == 1).then_some(()))
        })?;
        for (from, to) in [(&sites.left, &sites.right), (&sites.right, &sites.left)] {
            for mss in segments(from, to)? {
                ensure!(told.contains(&mss), "mss_clamp = {clamp}: TCP was told {mss}");
            }
        }
    }
    Ok(())
}

/// What both ends of a new TCP connection think fits into a segment, octets.
fn segments(from: &Site, to: &Site) -> Result<[u32; 2]> {
    let listener =
        to.host.inside(|| Ok(TcpListener::bind((to.host_address(Family::V4, 0), 0))?))?;
    let at = listener.local_addr()?;
    let stream = from.host.inside(|| Ok(TcpStream::connect(at)?))?;
    let (accepted, _) = listener.accept()?;
    Ok([SockRef::from(&stream).tcp_mss()?, SockRef::from(&accepted).tcp_mss()?])
}

/// With DF `mtu` octets pass and one more does not; TCP is told so in both directions.
fn bounded(from: &Site, to: &Site, mtu: u16) -> Result<()> {
    let host = to.host_address(Family::V4, 0);
    wait_for("the first ping", Duration::from_secs(2), || {
        Ok((from.host.ping(host, 1, GAP)? == 1).then_some(()))
    })?;
    let receiver = to.host.inside(|| Ok(UdpSocket::bind((host, 0))?))?;
    receiver.set_read_timeout(Some(Duration::from_secs(2)))?;
    let at: SocketAddr = receiver.local_addr()?;
    let known = from.host.inside(|| {
        let socket = UdpSocket::bind((from.host_address(Family::V4, 0), 0))?;
        socket.connect(at)?;
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DO)?;
        for _ in 0..3 {
            // Refused here, once the host knows better.
            let _ = socket.send(&vec![1; usize::from(mtu) + 1 - HEADERS]);
            pause(Duration::from_millis(50));
        }
        let known = ip_mtu(&socket)?;
        // What the gateway said about the last one may still be waiting.
        let _ = socket.take_error()?;
        socket
            .send(&vec![2; usize::from(mtu) - HEADERS])
            .with_context(|| format!("{mtu} octets where {known} are known to pass"))?;
        Ok(known)
    })?;
    ensure!(known == u32::from(mtu), "the host was told {known}, not {mtu}");
    let mut buffer = [0; 2000];
    let (len, _) = receiver.recv_from(&mut buffer).context("the longest packet did not pass")?;
    ensure!(len == usize::from(mtu) - HEADERS && buffer.first() == Some(&2), "{len} octets passed");
    for (one, other) in [(from, to), (to, from)] {
        for mss in segments(one, other)? {
            ensure!(mss <= u32::from(mtu) - 40, "TCP was told {mss} for an MTU of {mtu}");
            ensure!(mss >= u32::from(mtu) - 60, "TCP was told {mss}, which wastes space");
        }
    }
    Ok(())
}

/// Of IPv4 and UDP, octets.
const HEADERS: usize = 28;
