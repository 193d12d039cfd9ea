//! Nothing for a protected network leaves in clear, whatever happens to the tunnel or to the gateway (T24), and nothing that
//! should come through it comes in beside it (T22, RFC 4301 §5.2).
//!
//! ```text
//!   left.host ──── left.gateway ══ 192.0.2.0/24 ══ right.gateway ──── right.host        both hosts never cease to send
//!                       │   default via 192.0.2.254, who is not there and whose MAC address is known: leaks are seen
//!                       └── Watch on "out": 0 packets with inner addresses, phase by phase
//! ```
//!
//! With `leak_protection = "off"` the same watch does see them.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use socket2::{Domain, Protocol, Socket, Type};
use testkit::measured::measured;
use testkit::netns::{Family, Netns};
use testkit::peer::{pause, wait_for};

use crate::List;
use crate::case::{Case, Pair, Tunnel};
use crate::chatter::Chatter;
use crate::reload::rewrite;
use crate::traffic::gcm;
use crate::watch::Watch;

pub(crate) fn list(list: &mut List) {
    list.tunnel("leak/every-phase", both(Pair::OursToOurs), every_phase);
    list.tunnel("leak/every-phase", both(Pair::OursToSwan), with_swan);
    list.tunnel("leak/unprotected-is-seen", both(Pair::OursToOurs), unprotected);
    list.tunnel("leak/running", both(Pair::OursToOurs), running);
    list.tunnel("leak/everything", gcm(Pair::OursToOurs), everything);
    list.tunnel("leak/inbound", both(Pair::OursToOurs), inbound);
    list.tunnel("leak/place-taken", gcm(Pair::OursToOurs), place_taken);
}

/// Both families, since a leak of the one is easily overlooked (CVE-2020-1749).
fn both(pair: Pair) -> Tunnel {
    Tunnel { inner: vec![Family::V4, Family::V6], ..gcm(pair) }
}

/// One hunt: traffic, and an eye on each wire.
struct Hunt {
    eyes: Vec<(&'static str, Watch)>,
    chatter: Chatter,
    worst: u64,
}

impl Hunt {
    /// Ours are watched, each from its start on.
    fn begin(case: &Case) -> Result<Self> {
        open_roads(case)?;
        let chatter = Chatter::start(&case.sites, &case.tunnel.inner)?;
        Ok(Self { eyes: Vec::new(), chatter, worst: 0 })
    }

    fn watch(&mut self, name: &'static str, gateway: &Netns) -> Result<()> {
        self.eyes.push((name, Watch::start(gateway, "out")?));
        Ok(())
    }

    /// What was seen in the phase that is over.
    fn phase(&mut self, what: &str) {
        let seen: u64 = self.eyes.iter().map(|(_, eye)| eye.take()).sum();
        measured("T24", &format!("packets in clear: {what}"), seen, "0");
        self.worst = self.worst.max(seen);
    }

    fn end(self) -> Result<()> {
        drop(self.chatter);
        ensure!(self.worst == 0, "packets for protected networks left in clear");
        Ok(())
    }
}

/// Gives both gateways a default route that takes everything, so that a leak is a frame on the wire.
pub(crate) fn open_roads(case: &Case) -> Result<()> {
    for site in [&case.sites.left, &case.sites.right] {
        site.gateway.ip(
            "neigh add 192.0.2.254 lladdr 02:00:00:00:00:fe dev out nud permanent\n\
             neigh add 2001:db8:ff::fe lladdr 02:00:00:00:00:fe dev out nud permanent\n\
             route add default via 192.0.2.254 metric 1024\n\
             route add default via 2001:db8:ff::fe metric 2048\n",
        )?;
    }
    Ok(())
}

fn every_phase(case: &mut Case) -> Result<()> {
    // An orderly stop is one of them.
    set_protection(case, "always")?;
    let mut hunt = Hunt::begin(case)?;
    case.left.start()?;
    hunt.watch("left", &case.sites.left.gateway)?;
    pause(MOMENT);
    hunt.phase("before the first SA");
    case.right.start()?;
    hunt.watch("right", &case.sites.right.gateway)?;
    case.wait_up(PATIENCE)?;
    pause(MOMENT);
    hunt.phase("established");
    for turn in 0..3 {
        let before = case.facts()?;
        if turn == 1 {
            case.left.rekey_ike("site")?;
        } else {
            case.left.rekey_child("site")?;
        }
        case.wait_changed(&before, "other SAs", |before, after| before != after)?;
    }
    hunt.phase("rekey of child and IKE SA");
    for deleter in [&case.left, &case.right] {
        deleter.restart("site")?;
        pause(MOMENT);
    }
    case.wait_up(PATIENCE)?;
    hunt.phase("DELETE by either side");
    tell(case, &["down", "site"])?;
    pause(MOMENT);
    tell(case, &["up", "site"])?;
    case.wait_up(PATIENCE)?;
    hunt.phase("down and up by command");
    reloads(case)?;
    hunt.phase("reload of a connection that changed");
    case.right.daemon().kill()?;
    wait_for("the left one to notice", PATIENCE, || {
        Ok((!case.left.facts("site")?.up).then_some(()))
    })?;
    pause(MOMENT);
    hunt.phase("DPD death, peer unreachable");
    case.right.start()?;
    case.wait_up(PATIENCE)?;
    hunt.phase("peer back");
    device_phases(case, &mut hunt)?;
    process_phases(case, &mut hunt)?;
    case.ping_all()?;
    hunt.end()
}

/// The device and the routes are taken away under it.
fn device_phases(case: &mut Case, hunt: &mut Hunt) -> Result<()> {
    for (what, lines) in [
        ("TUN deleted", "link del s2s0\n"),
        ("TUN switched off", "link set s2s0 down\n"),
        ("routes into the tunnel flushed", "route flush proto 77\n"),
    ] {
        case.sites.left.gateway.ip(lines)?;
        if lines.contains("flush") {
            case.sites.left.gateway.run("ip", &["-6", "route", "flush", "proto", "77"])?;
        }
        pause(MOMENT);
        case.wait_ping(PATIENCE)?;
        hunt.phase(what);
    }
    Ok(())
}

/// The process ends, in one way or another, and is started again.
fn process_phases(case: &mut Case, hunt: &mut Hunt) -> Result<()> {
    case.left.daemon().kill()?;
    pause(MOMENT);
    hunt.phase("kill -9");
    case.left.start()?;
    case.wait_up(PATIENCE)?;
    hunt.phase("restart after kill -9");
    let (status, _) = case.left.daemon().stop(Signal::TERM)?;
    ensure!(status.code() == Some(0), "exit: {status}");
    pause(MOMENT);
    hunt.phase("SIGTERM");
    case.left.start()?;
    case.wait_up(PATIENCE)?;
    hunt.phase("restart after SIGTERM, upgrade");
    // A configuration that has become bad: it does not start, and still nothing leaves.
    case.left.daemon().kill()?;
    rewrite(case.left.as_ours().context("ours")?, &|text| text + "\n[nonsense\n")?;
    ensure!(case.left.start().is_err(), "it started with nonsense");
    pause(MOMENT);
    hunt.phase("start refused, bad configuration");
    rewrite(case.left.as_ours().context("ours")?, &|text| text.replace("\n[nonsense\n", ""))?;
    case.left.start()?;
    case.wait_up(PATIENCE)
}

/// A network comes and goes, first at the one who is called.
fn reloads(case: &mut Case) -> Result<()> {
    for grow in [true, false] {
        for left in [false, true] {
            let ours = if left { &case.left } else { &case.right };
            let ours = ours.as_ours().context("ours")?;
            let (old, new) =
                [Family::V4, Family::V6].map(|family| case.sites.right.subnet(family, 0)).into();
            let key = if left { "remote_subnets" } else { "local_subnets" };
            let short = format!("{key} = [{old:?}, {new:?}]");
            let long =
                format!("{key} = [{old:?}, {new:?}, {:?}]", case.sites.right.subnet(Family::V4, 1));
            let (from, to) = if grow { (short, long) } else { (long, short) };
            rewrite(ours, &|text| {
                assert!(text.contains(&from), "{from} is not in\n{text}");
                text.replace(&from, &to)
            })?;
            ours.tell(&["reload"])?;
        }
        // What it replaces leaves in steps of a second.
        pause(Duration::from_secs(4));
    }
    case.wait_up(PATIENCE)
}

fn with_swan(case: &mut Case) -> Result<()> {
    let mut hunt = Hunt::begin(case)?;
    case.left.start()?;
    hunt.watch("left", &case.sites.left.gateway)?;
    pause(MOMENT);
    hunt.phase("before the first SA (strongSwan)");
    case.right.start()?;
    case.wait_up(PATIENCE)?;
    case.right.rekey_child("site")?;
    pause(MOMENT);
    hunt.phase("rekey (strongSwan)");
    case.right.daemon().kill()?;
    wait_for("the left one to notice", PATIENCE, || {
        Ok((!case.left.facts("site")?.up).then_some(()))
    })?;
    hunt.phase("DPD death (strongSwan)");
    case.right.start()?;
    case.wait_up(PATIENCE)?;
    case.left.daemon().kill()?;
    pause(MOMENT);
    hunt.phase("kill -9 (strongSwan)");
    case.left.start()?;
    case.wait_up(PATIENCE)?;
    hunt.phase("restart (strongSwan)");
    hunt.end()
}

/// The proof that the eye sees: without protection a dead gateway lets everything out.
fn unprotected(case: &mut Case) -> Result<()> {
    set_protection(case, "off")?;
    open_roads(case)?;
    case.up()?;
    let eye = Watch::start(&case.sites.left.gateway, "out")?;
    let chatter = Chatter::start(&case.sites, &case.tunnel.inner)?;
    pause(MOMENT);
    ensure!(eye.take() == 0, "in clear although the tunnel is up");
    ensure!(guards(&case.sites.left.gateway)?.is_empty(), "a guard although it is off");
    case.left.daemon().kill()?;
    pause(MOMENT);
    let seen = eye.take();
    drop(chatter);
    ensure!(seen > 50, "only {seen} packets seen: the watch is blind");
    Ok(())
}

/// `"running"` keeps guards through a crash and takes them away when it is stopped; a reload changes that at once.
fn running(case: &mut Case) -> Result<()> {
    case.up()?;
    let left = &case.sites.left.gateway;
    ensure!(guards(left)?.len() == 2, "guards: {:?}", guards(left)?);
    case.left.daemon().kill()?;
    ensure!(guards(left)?.len() == 2, "after a crash: {:?}", guards(left)?);
    case.left.start()?;
    case.wait_up(PATIENCE)?;
    set_protection(case, "running")?;
    for (from, to, there) in [("running", "off", 0), ("off", "running", 2)] {
        rewrite(case.left.as_ours().context("ours")?, &|text| {
            text.replace(&format!("= {from:?}"), &format!("= {to:?}"))
        })?;
        tell(case, &["reload"])?;
        let left = &case.sites.left.gateway;
        ensure!(guards(left)?.len() == there, "{to}: {:?}", guards(left)?);
    }
    case.ping_all()?;
    case.left.daemon().stop(Signal::TERM)?;
    let left = &case.sites.left.gateway;
    ensure!(guards(left)?.is_empty(), "after a stop: {:?}", guards(left)?);
    // What was configured once, and is not any more, does not stay for ever.
    case.left.start()?;
    case.left.daemon().kill()?;
    ensure!(guards(&case.sites.left.gateway)?.len() == 2);
    rewrite(case.left.as_ours().context("ours")?, &|text| {
        text.replace("= \"running\"", "= \"off\"")
    })?;
    case.left.start()?;
    let left = &case.sites.left.gateway;
    ensure!(guards(left)?.is_empty(), "those of before: {:?}", guards(left)?);
    Ok(())
}

/// All addresses are for the tunnel: the peer and the own networks are reached all the same, alive and dead, and the next one
/// starts.
fn everything(case: &mut Case) -> Result<()> {
    for (left, key) in [(true, "remote_subnets"), (false, "local_subnets")] {
        let ours = if left { &case.left } else { &case.right };
        let there = case.sites.right.subnet(Family::V4, 0);
        rewrite(ours.as_ours().context("ours")?, &|text| {
            text.replace(&format!("{key} = [{there:?}]"), &format!("{key} = [\"0.0.0.0/0\"]"))
        })?;
    }
    set_protection(case, "always")?;
    open_roads(case)?;
    case.up()?;
    let eye = Watch::start(&case.sites.left.gateway, "out")?;
    let chatter = Chatter::start(&case.sites, &case.tunnel.inner)?;
    for signal in [Signal::KILL, Signal::TERM] {
        case.left.daemon().stop(signal)?;
        pause(MOMENT);
        let to_peer = case.sites.left.gateway.ping(
            case.sites.right.outer(Family::V4).parse()?,
            3,
            crate::case::GAP,
        )?;
        ensure!(to_peer == 3, "{to_peer} of 3 pings to the peer itself after {signal:?}");
        let to_lan = case.sites.left.gateway.ping(
            case.sites.left.host_address(Family::V4, 0),
            3,
            crate::case::GAP,
        )?;
        ensure!(to_lan == 3, "{to_lan} of 3 pings to the own network after {signal:?}");
        case.left.start()?;
        case.wait_up(PATIENCE)?;
    }
    let seen = eye.take();
    measured("T24", "packets in clear: tunnel for 0.0.0.0/0, kill -9, SIGTERM, restart", seen, "0");
    drop(chatter);
    ensure!(seen == 0, "{seen} packets left in clear");
    Ok(())
}

/// Somebody on the wire sends packets that should have come through the tunnel.
fn inbound(case: &mut Case) -> Result<()> {
    case.up()?;
    case.ping_all()?;
    let mut total = 0;
    for down in [false, true] {
        if down {
            case.right.daemon().kill()?;
            wait_for("the left one to notice", PATIENCE, || {
                Ok((!case.left.facts("site")?.up).then_some(()))
            })?;
        }
        let got = forge(case)?;
        let what = if down { "while the peer is dead" } else { "beside an established tunnel" };
        measured("T22", &format!("clear packets let in {what}"), got, "0");
        total += got;
    }
    // The proof that they would be seen.
    case.right.start()?;
    case.left.daemon().stop(Signal::TERM)?;
    set_protection(case, "off")?;
    case.left.start()?;
    case.wait_up(PATIENCE)?;
    case.right.daemon().kill()?;
    let open = forge(case)?;
    ensure!(open > 0, "nothing comes in without protection either: the test is blind");
    ensure!(total == 0, "{total} clear packets of the remote network came in");
    Ok(())
}

/// 20 forged datagrams each to a host behind the left gateway and to its own inner address, in both families; how many arrived.
fn forge(case: &Case) -> Result<u64> {
    let (left, right) = (&case.sites.left, &case.sites.right);
    let mut arrived = 0;
    for family in [Family::V4, Family::V6] {
        let host = left.host_address(family, 0);
        for (netns, to) in [(&left.host, host), (&left.gateway, first_of(host))] {
            let listener = netns.inside(|| Ok(UdpSocket::bind(SocketAddr::new(to, PORT))?))?;
            listener.set_read_timeout(Some(Duration::from_millis(200)))?;
            let (bits, via) = match family {
                Family::V4 => (32, "192.0.2.1"),
                Family::V6 => (128, "2001:db8:ff::1"),
            };
            right.gateway.ip(&format!("route replace {to}/{bits} via {via} dev out metric 1\n"))?;
            let packet = datagram(right.host_address(family, 0), to);
            right.gateway.inside(|| send_raw(&packet, to))?;
            right.gateway.ip(&format!("route del {to}/{bits} via {via} dev out metric 1\n"))?;
            while listener.recv(&mut [0; 64]).is_ok() {
                arrived += 1;
            }
        }
    }
    Ok(arrived)
}

fn send_raw(packet: &[u8], to: IpAddr) -> Result<()> {
    let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    // With IPPROTO_RAW the header is ours, in both families (raw(7), ipv6(7)).
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(IPPROTO_RAW)))?;
    for _ in 0..20 {
        socket.send_to(packet, &SocketAddr::new(to, 0).into())?;
    }
    Ok(())
}

/// A UDP datagram, header and all.
fn datagram(from: IpAddr, to: IpAddr) -> Vec<u8> {
    let (payload, mut packet) = ([0x77; 16], Vec::new());
    let builder = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            etherparse::PacketBuilder::ipv4(from.octets(), to.octets(), 64)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            etherparse::PacketBuilder::ipv6(from.octets(), to.octets(), 64)
        }
        _ => return packet,
    };
    builder.udp(PORT, PORT).write(&mut packet, &payload).expect("a vector takes all");
    packet
}

/// The gateway's own address beside a host's.
fn first_of(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(address) => IpAddr::from((u32::from(address) - 1).to_be_bytes()),
        IpAddr::V6(address) => IpAddr::from((u128::from(address) - 1).to_be_bytes()),
    }
}

fn set_protection(case: &Case, word: &str) -> Result<()> {
    let ours = case.left.as_ours().context("ours")?;
    rewrite(ours, &|text| {
        text.replacen("[gateway]\n", &format!("[gateway]\nleak_protection = {word:?}\n"), 1)
    })
}

/// Somebody else has the place of a guard: it is there as soon as that one is gone.
fn place_taken(case: &mut Case) -> Result<()> {
    let network = case.sites.right.subnet(Family::V4, 0);
    let route = format!("blackhole {network} metric 4294967295");
    case.sites.left.gateway.ip(&format!("route add {route}\n"))?;
    case.up()?;
    let gateway = &case.sites.left.gateway;
    ensure!(!guards(gateway)?.contains(&network), "two in one place");
    gateway.ip(&format!("route del {route}\n"))?;
    wait_for("the guard", 2 * PATIENCE, || Ok(guards(gateway)?.contains(&network).then_some(())))?;
    case.ping_all()
}

fn tell(case: &Case, args: &[&str]) -> Result<()> {
    case.left.as_ours().context("ours")?.tell(args).map(drop)
}

/// The networks that lead nowhere in a namespace.
pub(crate) fn guards(gateway: &Netns) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for family in ["-4", "-6"] {
        let lines =
            gateway.run("ip", &[family, "route", "show", "type", "blackhole", "proto", "78"])?;
        let network = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
        found.extend(lines.lines().filter_map(network));
    }
    Ok(found)
}

const MOMENT: Duration = Duration::from_millis(700);
const PATIENCE: Duration = Duration::from_secs(10);
const PORT: u16 = 7777;
const IPPROTO_RAW: i32 = 255;
