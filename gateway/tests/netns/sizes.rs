//! Links of other sizes than usual, inside, outside and in the LANs: connections are told what the tunnel carries, and longer
//! packets come in fragments or tell their sender.
//!
//! ```text
//!   host ── LAN, 1500 or 9000 ── gateway ── inner 1280 .. 8900 in outer 1500 or 9000 ── gateway ── LAN ── host
//!
//!   SYN, MSS 8960  ───────────────►  clamped  ──────────────────────────────►  MSS ≤ inner MTU - 40 (IPv6: 60)
//! ```

use std::ops::RangeInclusive;

use anyhow::{Context as _, Result, ensure};
use testkit::datagrams::{Load, Shape, datagrams};
use testkit::flow::{Flow, Plan};
use testkit::netns::Family;

use crate::List;
use crate::case::{Case, Pair, STALL, Tunnel};
use crate::speed::{carry, in_one_piece, megabytes};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    if !Pair::all().contains(&Pair::OursToOurs) {
        return;
    }
    let usual = Sizes { lan: 9000, outer: 1500, mtu: None, inner: 1400..=1450 };
    let small = Sizes { lan: 1500, mtu: Some(1280), inner: 1280..=1280, ..usual.clone() };
    let jumbo = Sizes { outer: 9000, mtu: Some(8900), inner: 8900..=8900, ..usual.clone() };
    let tests = [
        ("speed/sizes/inner-1280", Family::V4, small),
        ("speed/sizes/jumbo", Family::V4, jumbo),
        ("speed/sizes/lan-9000", Family::V4, usual.clone()),
        ("speed/sizes/lan-9000-over-v6", Family::V6, usual),
    ];
    for (name, outer, sizes) in tests {
        let inner = vec![Family::V4, Family::V6];
        let tunnel = Tunnel { outer, inner, ..gcm(Pair::OursToOurs) };
        list.tunnel(name, tunnel, move |case| of_sizes(case, &sizes));
    }
}

/// MTUs.
#[derive(Clone)]
struct Sizes {
    lan: u64,
    outer: u64,
    /// What is configured.
    mtu: Option<u64>,
    /// What the device has to have.
    inner: RangeInclusive<u64>,
}

fn of_sizes(case: &mut Case, sizes: &Sizes) -> Result<()> {
    let Sizes { lan, outer, mtu, inner } = sizes;
    for site in [&case.sites.left, &case.sites.right] {
        site.gateway.ip(&format!("link set dev lan mtu {lan}\nlink set dev out mtu {outer}\n"))?;
        site.host.ip(&format!("link set dev lan mtu {lan}\n"))?;
    }
    for ours in [&case.left, &case.right].into_iter().filter_map(|peer| peer.as_ours()) {
        let line = mtu.map_or(String::new(), |mtu| format!("[gateway]\nmtu = {mtu}\n"));
        let toml = std::fs::read_to_string(ours.config())?;
        std::fs::write(ours.config(), toml.replacen("[gateway]\n", &line, line.len().min(1)))?;
    }
    case.up()?;
    let ours = case.left.as_ours().context("ours")?;
    let mtu = ours.json()?.pointer("/tun/mtu").and_then(serde_json::Value::as_u64);
    let mtu = mtu.context("an MTU")?;
    ensure!(inner.contains(&mtu), "the inner MTU is {mtu}");
    mss_fits(case, mtu)?;
    for family in [Family::V4, Family::V6] {
        carry(case, family, megabytes(15), STALL)?;
    }
    in_one_piece(case)?;
    for family in [Family::V4, Family::V6] {
        let to = case.sites.right.host_address(family, 0);
        for shape in [Shape::Exactly(4000), Shape::Burst(1200)] {
            let load = Load { flows: 3, bursts: 100, shape, pace: 3_000_000 };
            datagrams(&case.sites.left.host, &case.sites.right.host, to, load)
                .with_context(|| format!("{family:?} {shape:?}"))?;
        }
    }
    case.encrypted()?;
    case.dropped_only(&[])
}

/// Whoever calls, neither end hears of a longer segment than the tunnel carries (RFC 9293 §3.7.1).
fn mss_fits(case: &Case, mtu: u64) -> Result<()> {
    let hosts = [&case.sites.left, &case.sites.right];
    for site in hosts {
        let (most4, most6) = (mtu - 40, mtu - 60);
        site.host.nft(&format!(
            "table inet mss {{
               counter syn {{}}
               counter long {{}}
               chain in {{ type filter hook prerouting priority -300;
                 tcp flags & syn == syn counter name syn
                 meta nfproto ipv4 tcp flags & syn == syn tcp option maxseg size > {most4} counter name long
                 meta nfproto ipv6 tcp flags & syn == syn tcp option maxseg size > {most6} counter name long
               }}
             }}\n"
        ))?;
    }
    let [left, right] = hosts;
    for family in [Family::V4, Family::V6] {
        for (from, to) in [(left, right), (right, left)] {
            let plan = Plan { octets: 100_000, pace: None };
            let to_address = to.host_address(family, 0);
            for report in Flow::start(&from.host, &to.host, to_address, plan)?.wait()? {
                report.check(STALL)?;
            }
        }
    }
    for site in hosts {
        let (syn, long) = (site.host.counted("syn")?, site.host.counted("long")?);
        ensure!(syn == 4 && long == 0, "{long} of {syn} SYNs have a longer MSS than {mtu} allows");
    }
    Ok(())
}
