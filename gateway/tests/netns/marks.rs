//! The traffic class: DSCP goes out with the packet, congestion met on the way comes in with it (RFC 2983, RFC 6040).
//!
//! ```text
//!   host ── 0xb8 + ECT(0) ──► gateway ── outer 0xb8 + ECT(0) ──► nft sets CE ──► gateway ── CE ──► host
//!                             not ECT                            nft sets CE     dropped, "congested"
//! ```

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use socket2::SockRef;
use testkit::netns::{Family, Netns};
use testkit::peer::wait_for;

use crate::List;
use crate::case::{Case, Pair, STALL, Tunnel};
use crate::speed::{carry, megabytes};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    if !Pair::all().contains(&Pair::OursToOurs) {
        return;
    }
    for (name, outer) in [("speed/marks/over-v4", Family::V4), ("speed/marks/over-v6", Family::V6)]
    {
        let inner = vec![Family::V4, Family::V6];
        list.tunnel(name, Tunnel { outer, inner, ..gcm(Pair::OursToOurs) }, marks);
    }
    list.tunnel("speed/marks/tcp-with-ecn", gcm(Pair::OursToOurs), tcp_with_ecn);
}

fn marks(case: &mut Case) -> Result<()> {
    let outer = ip(case.tunnel.outer);
    case.sites.right.gateway.nft(&format!(
        "table inet marks {{
           counter same {{}}
           counter plain {{}}
           chain in {{ type filter hook prerouting priority -300;
             iifname \"out\" udp dport 4500 {outer} dscp ef {outer} ecn ect0 counter name same
             iifname \"out\" udp dport 4500 {outer} dscp ef {outer} ecn not-ect counter name plain
           }}
           chain jam {{ type filter hook prerouting priority -200; }}
         }}\n"
    ))?;
    case.sites.right.host.nft(
        "table inet marks {
           counter ect {}
           counter ce {}
           counter plain {}
           chain in { type filter hook prerouting priority -300;
             ip dscp ef ip ecn ect0 counter name ect
             ip6 dscp ef ip6 ecn ect0 counter name ect
             ip dscp ef ip ecn ce counter name ce
             ip6 dscp ef ip6 ecn ce counter name ce
             ip dscp ef ip ecn not-ect counter name plain
             ip6 dscp ef ip6 ecn not-ect counter name plain
           }
         }\n",
    )?;
    case.up()?;
    let (gateway, host) = (&case.sites.right.gateway, &case.sites.right.host);
    for traffic_class in [EF | ECT0, EF] {
        send(case, traffic_class)?;
    }
    arrives(gateway, "same", SENT)?;
    arrives(gateway, "plain", SENT)?;
    arrives(host, "ect", SENT)?;
    arrives(host, "plain", SENT)?;
    case.dropped_only(&[])?;

    // A router on the way that is congested; it marks what it should have dropped, too.
    gateway.nft(&format!(
        "add rule inet marks jam iifname \"out\" udp dport 4500 {outer} ecn set ce\n"
    ))?;
    for traffic_class in [EF | ECT0, EF] {
        send(case, traffic_class)?;
    }
    arrives(host, "ce", SENT)?;
    let right = case.right.as_ours().context("ours")?;
    wait_for("the others to be counted as congested", PATIENCE, || {
        Ok((right.drops()?.get("congested") == Some(&SENT)).then_some(()))
    })?;
    for (name, before) in [("ect", SENT), ("plain", SENT)] {
        ensure!(host.counted(name)? == before, "{name}: an unmarked packet came through");
    }
    case.dropped_only(&["congested"])
}

/// Datagrams of both families from the left host to the right one.
fn send(case: &Case, traffic_class: u32) -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let to = SocketAddr::new(case.sites.right.host_address(family, 0), 7296);
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = case.sites.left.host.inside(|| Ok(UdpSocket::bind(any)?))?;
        match family {
            Family::V4 => SockRef::from(&socket).set_tos_v4(traffic_class)?,
            Family::V6 => SockRef::from(&socket).set_tclass_v6(traffic_class)?,
        }
        // What becomes longer and longer is not merged, so that rules count every one.
        for number in 1..=SENT / 2 {
            socket.send_to(&vec![0; usize::try_from(number)? * 16], to)?;
        }
    }
    Ok(())
}

fn arrives(netns: &Netns, counter: &str, count: u64) -> Result<()> {
    let mut last = 0;
    wait_for(&format!("{count} packets to be counted as {counter}"), PATIENCE, || {
        last = netns.counted(counter)?;
        Ok((last == count).then_some(()))
    })
    .with_context(|| format!("it was {last}"))
}

/// TCP that negotiated ECN hears of congestion by marks alone (RFC 3168): they arrive, and senders slow down for them.
fn tcp_with_ecn(case: &mut Case) -> Result<()> {
    for site in [&case.sites.left, &case.sites.right] {
        site.host.sysctl(&[("ipv4/tcp_ecn", "1")])?;
        site.gateway.nft(
            "table inet marks {
               counter jammed {}
               chain in { type filter hook prerouting priority -200;
                 iifname \"out\" udp dport 4500 ip ecn ect0 numgen random mod 100 < 2 counter name jammed ip ecn set ce
               }
             }\n",
        )?;
        site.host.nft(
            "table inet marks {
               counter ce {}
               counter ece {}
               counter cwr {}
               chain in { type filter hook prerouting priority -300;
                 ip ecn ce counter name ce
                 tcp flags & (syn | ecn) == ecn counter name ece
                 tcp flags & (syn | cwr) == cwr counter name cwr
               }
             }\n",
        )?;
    }
    case.up()?;
    carry(case, Family::V4, megabytes(20), STALL)?;
    for (site, far) in
        [(&case.sites.left, &case.sites.right), (&case.sites.right, &case.sites.left)]
    {
        let marked = site.gateway.counted("jammed")?;
        let counts = ["ce", "ece", "cwr"].map(|name| site.host.counted(name));
        let [ce, ece, cwr] = counts;
        let (ce, ece, cwr) = (ce?, ece?, cwr?);
        let heard = marked > 0 && ce > 0 && ece > 0 && cwr > 0;
        ensure!(heard, "{marked} marked; {ce} CE, {ece} ECE, {cwr} CWR, {:?}", far.host.name());
    }
    case.dropped_only(&[])
}

const fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// Expedited forwarding (RFC 3246), and ECN-capable (RFC 3168 §5).
const EF: u32 = 0xb8;
const ECT0: u32 = 2;
/// A neighbour may have to be asked for twice, a second apart (RFC 4861 §7.2.2).
const PATIENCE: Duration = Duration::from_secs(5);
/// Datagrams each time.
const SENT: u64 = 20;
