//! What packets meet at two gateways that is neither speed nor rekey: hops that run out, fragments, garbage from strangers, and
//! numbers that must not come again after a restart.
//!
//! ```text
//!   hops      host ─ TTL 1 ─ gateway            time exceeded, from the LAN side of the first gateway
//!             host ─ TTL 2 ─ gateway ══ gateway   and of the second, through the tunnel (RFC 4301 §5.1.2.1: not by the tunnel itself)
//!   garbage   stranger ── 20 000 of an unknown SPI, 20 000 of a known one and forged ─► counted, each; no log, no memory
//!   new-spis  kill -9, start, kill -9, start ..   no pair of SPIs again, so no (SPI, IV) again
//! ```

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use socket2::SockRef;
use testkit::flood::{Pour, pour};
use testkit::gateway::Ours;
use testkit::measured::measured;
use testkit::netns::Family;
use testkit::peer::wait_for;

use crate::List;
use crate::case::{Case, GAP, Pair, Tunnel};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    if !Pair::all().contains(&Pair::OursToOurs) {
        return;
    }
    let both = Tunnel { inner: vec![Family::V4, Family::V6], ..gcm(Pair::OursToOurs) };
    list.tunnel("packets/hops", both.clone(), hops);
    list.tunnel("packets/fragments", both, fragments);
    list.tunnel("packets/garbage", gcm(Pair::OursToOurs), garbage);
    list.tunnel("packets/new-spis", gcm(Pair::OursToOurs), new_spis);
}

/// Both gateways are routers, the tunnel is a link between them.
fn hops(case: &mut Case) -> Result<()> {
    case.sites.left.host.nft(
        "table inet hops {
           counter first4 {}
           counter second4 {}
           counter first6 {}
           counter second6 {}
           chain in { type filter hook input priority 0;
             icmp type time-exceeded ip saddr 10.1.0.1 counter name first4
             icmp type time-exceeded ip saddr 10.2.0.1 counter name second4
             icmpv6 type time-exceeded ip6 saddr 2001:db8:1::1 counter name first6
             icmpv6 type time-exceeded ip6 saddr 2001:db8:2::1 counter name second6
           }
         }\n",
    )?;
    case.sites.right.host.nft(
        "table inet hops {
           counter last {}
           chain in { type filter hook input priority 0;
             udp dport 7296 ip ttl 1 counter name last
             udp dport 7296 ip6 hoplimit 1 counter name last
           }
         }\n",
    )?;
    case.up()?;
    for family in [Family::V4, Family::V6] {
        for hops in 1..=3 {
            send(case, family, hops, 100)?;
        }
    }
    let left = &case.sites.left.host;
    for counter in ["first4", "second4", "first6", "second6"] {
        wait_for(&format!("time exceeded, {counter}"), PATIENCE, || {
            Ok((left.counted(counter)? == 1).then_some(()))
        })?;
    }
    wait_for("the packets with one hop left", PATIENCE, || {
        Ok((case.sites.right.host.counted("last")? == 2).then_some(()))
    })?;
    measured("T52", "time exceeded from the LAN side of each gateway, both families", 4, "4");
    case.dropped_only(&[])
}

fn send(case: &Case, family: Family, hops: u32, octets: usize) -> Result<()> {
    let to = SocketAddr::new(case.sites.right.host_address(family, 0), 7296);
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = case.sites.left.host.inside(|| Ok(UdpSocket::bind(any)?))?;
    match family {
        Family::V4 => SockRef::from(&socket).set_ttl_v4(hops)?,
        Family::V6 => SockRef::from(&socket).set_unicast_hops_v6(hops)?,
    }
    socket.send_to(&vec![0x5a; octets], to)?;
    Ok(())
}

/// Datagrams that hosts have cut cross in their pieces, and are put together by the host that they are for, not on the way.
fn fragments(case: &mut Case) -> Result<()> {
    case.up()?;
    for family in [Family::V4, Family::V6] {
        let to = SocketAddr::new(case.sites.right.host_address(family, 0), 7297);
        let server = case.sites.right.host.inside(|| Ok(UdpSocket::bind(to)?))?;
        server.set_read_timeout(Some(GAP))?;
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let client = case.sites.left.host.inside(|| Ok(UdpSocket::bind(any)?))?;
        for octets in [1500, 4000, 20_000, 60_000] {
            let payload: Vec<u8> = (0..octets).map(|n: u32| n.to_le_bytes()[0] ^ 0x33).collect();
            let mut datagram = vec![0; 65_536];
            // The first may tell the host the MTU of the tunnel instead of arriving.
            wait_for(&format!("{octets} octets in pieces to {to}"), PATIENCE, || {
                client.send_to(&payload, to)?;
                // One of those before may have been sent twice.
                let is_it = server.recv(&mut datagram).is_ok_and(|len| len == payload.len());
                Ok(is_it.then_some(()))
            })?;
            ensure!(datagram.starts_with(&payload), "{octets} octets to {to} came out otherwise");
        }
    }
    case.encrypted()
}

/// Packets that open nothing are counted, one by one, and cost neither lines of the log nor memory.
fn garbage(case: &mut Case) -> Result<()> {
    case.up()?;
    let spi = case.right.facts("site")?.child_spis.first().cloned().context("no SPI")?;
    let spi = u32::from_str_radix(spi.trim_start_matches("0x"), 16)?;
    let pid = case.right.daemon().pid().context("no pid")?;
    let right = case.right.as_ours().context("ours")?;
    let (memory, lines) = (resident(pid)?, case.right.log().lines().count());
    let before = right.drops()?;
    let count = |right: &Ours, reason: &str| -> Result<u64> {
        let now = right.drops()?.get(reason).copied().unwrap_or(0);
        Ok(now - before.get(reason).copied().unwrap_or(0))
    };
    let to: SocketAddr = format!("{}:4500", case.sites.right.outer(Family::V4)).parse()?;
    for (reason, spi) in [("unknown-spi", spi ^ 0x40), ("bad-icv", spi)] {
        let datagram = [&spi.to_be_bytes()[..], &[0, 1, 0, 0], &[0x5a; 72]].concat();
        let stop = AtomicBool::new(false);
        let flood = Pour { rate: 10_000, duration: Duration::from_secs(2) };
        let sent = pour(&case.sites.left.gateway, to, &datagram, flood, &stop)?;
        // What found no room in the socket's buffer is counted as such.
        wait_for(&format!("{sent} packets counted as {reason}"), PATIENCE, || {
            Ok((count(right, reason)? + lost(right)? >= sent).then_some(()))
        })?;
        measured("T54", &format!("counted as {reason}, of {sent}"), count(right, reason)?, "all");
        ensure!(
            case.sites.left.host.ping(case.sites.right.host_address(Family::V4, 0), 5, GAP)? == 5
        );
    }
    let grown = resident(pid)?.saturating_sub(memory);
    let lines = case.right.log().lines().count() - lines;
    measured("T54", "growth of memory, KiB", grown, "<= 1024");
    measured("T54", "lines of the log in four seconds", lines, "<= 40");
    ensure!(grown <= 1024, "{grown} KiB more");
    ensure!(lines <= 40, "{lines} lines in the log");
    Ok(())
}

/// What the sockets of a gateway had no room for.
fn lost(gateway: &Ours) -> Result<u64> {
    let status = gateway.json()?;
    Ok(status.pointer("/drops/io/overflow").and_then(serde_json::Value::as_u64).unwrap_or(0))
}

/// KiB of memory that a process has.
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no VmRSS")?.parse()?)
}

/// Keys come from what is drawn at each start; an SPI that came again with its numbers from 1 would be a nonce used twice if
/// the keys were the same. Neither is.
fn new_spis(case: &mut Case) -> Result<()> {
    const STARTS: usize = 10;
    let (mut ike, mut esp) = (BTreeSet::new(), BTreeSet::new());
    case.up()?;
    for start in 0..STARTS {
        if start > 0 {
            case.left.daemon().kill()?;
            case.left.start()?;
            wait_for("another IKE SA", Duration::from_secs(10), || {
                let facts = case.facts()?;
                let both = facts.iter().all(|side| side.up && !ike.contains(&side.ike_spi));
                Ok(both.then_some(()))
            })?;
        }
        let facts = case.facts()?;
        ike.insert(facts[0].ike_spi.clone());
        esp.extend(facts.into_iter().enumerate().map(|(side, facts)| (side, facts.child_spis)));
        case.wait_ping(Duration::from_secs(3))?;
    }
    measured("T25", "different IKE SAs and pairs of SPIs of 10 starts", ike.len(), "10");
    ensure!(ike.len() == STARTS && esp.len() == 2 * STARTS, "{ike:?} {esp:?}");
    case.encrypted()
}

const PATIENCE: Duration = Duration::from_secs(5);
