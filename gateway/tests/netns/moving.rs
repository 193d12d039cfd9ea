//! The outer addresses change under the tunnel: a gateway that moves to another network (MOBIKE, RFC 4555), and a NAT that
//! forgets (RFC 7296 §2.23).
//!
//! ```text
//!   left 192.0.2.1 ══ 192.0.2.2 right      ─►      left 198.51.100.11 ══ 192.0.2.2 right      the same SAs
//!   left ── NAT, port 4500 ══ right        ─►      left ── NAT, port 30000 ══ right
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::netns::{Between, Family};
use testkit::peer::{ConnectionSpec, now, wait_for};

use crate::List;
use crate::case::{Case, GAP, Pair, Tunnel, measured};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    for pair in Pair::all() {
        match pair {
            Pair::OursToOurs => list.tunnel("mobike/moves-in-place", roaming(pair), in_place),
            Pair::OursToSwan | Pair::SwanToOurs | Pair::SwanToSwan => {
                list.tunnel("mobike/moves", roaming(pair), moves);
            }
        }
    }
    list.every_pair("nat/rebinds-mobike", behind_nat, rebinds);
    let fixed = |pair| Tunnel {
        edit: |left, right| {
            for side in [left, right] {
                side.ours_extra = "mobike = false".into();
                side.swan_connection = "mobike = no".into();
            }
        },
        ..behind_nat(pair)
    };
    list.every_pair("nat/rebinds-no-mobike", fixed, rebinds);
}

/// The left one has whichever address its routes say, and the right one takes it from anywhere.
fn roaming(pair: Pair) -> Tunnel {
    let edit = |left: &mut ConnectionSpec, right: &mut ConnectionSpec| {
        left.local = "%any".into();
        right.remote = None;
    };
    Tunnel { edit, ..gcm(pair) }
}

fn behind_nat(pair: Pair) -> Tunnel {
    Tunnel { between: Between::Nat, ..gcm(pair) }
}

/// Gives the left gateway an address in another network and takes the old one away; the right one has a way there.
fn change_address(case: &Case) -> Result<()> {
    case.sites.right.gateway.ip("route add 198.51.100.0/24 dev out\n")?;
    case.sites.left.gateway.ip(
        "addr add 198.51.100.11/24 dev out\naddr del 192.0.2.1/24 dev out\nroute add 192.0.2.0/24 dev out\n",
    )
}

/// Between two of ours nothing but the address changes, and a flow hardly notices.
fn in_place(case: &mut Case) -> Result<()> {
    case.up()?;
    let before = case.facts()?;
    let reports = case.while_flowing(change_address_and_see)?;
    let stall = reports.iter().map(|report| report.longest_stall).max();
    measured(&format!("mobike, ours to ours: longest stall {stall:?}"));
    ensure!(case.facts()? == before, "the SAs changed: {before:?} {:?}", case.facts()?);
    case.ping_all()
}

fn change_address_and_see(case: &mut Case) -> Result<()> {
    change_address(case)?;
    for peer in [&case.left, &case.right] {
        wait_for("the move to be known", Duration::from_secs(3), || {
            Ok(peer.status().contains("198.51.100.11").then_some(()))
        })?;
    }
    Ok(())
}

/// With strongSwan, whose kernel-libipsec cannot move a child: the IKE SA stays, the traffic comes back.
fn moves(case: &mut Case) -> Result<()> {
    case.up()?;
    let before = case.facts()?;
    change_address(case)?;
    let moved = now();
    case.wait_ping(Duration::from_secs(5))?;
    measured(&format!(
        "mobike, {}: traffic back after {:.1?}",
        case.tunnel.pair.name(),
        moved.elapsed()
    ));
    case.wait_up(Duration::from_secs(5))?;
    case.ping_all()?;
    let after = case.facts()?;
    ensure!(
        before[0].ike_spi == after[0].ike_spi && before[1].ike_spi == after[1].ike_spi,
        "the IKE SA changed: {before:?} {after:?}"
    );
    ensure!(after[0].ike_spi == after[1].ike_spi, "two IKE SAs: {after:?}");
    Ok(())
}

/// The NAT forgets its mapping and makes another, with another port, from the next packet of the left one on.
fn rebinds(case: &mut Case) -> Result<()> {
    case.up()?;
    case.ping_all()?;
    let before = case.facts()?;
    case.sites.right.gateway.nft(
        "add table inet rebound
         add chain inet rebound in { type filter hook prerouting priority -200; }
         add rule inet rebound in udp sport 30000-30999 counter\n",
    )?;
    let nat = case.sites.nat.as_ref().context("there is a NAT")?;
    // A masquerading NAT forgets the mappings of a device that goes down.
    nat.nft(
        "flush chain ip nat post
         add rule ip nat post oifname \"outside\" meta l4proto udp masquerade to :30000-30999\n",
    )?;
    nat.ip("link set outside down\nlink set outside up\n")?;
    let rebound = now();
    case.wait_ping(Duration::from_secs(8))?;
    measured(&format!(
        "rebinding, {}: traffic back after {:.1?}",
        case.tunnel.pair.name(),
        rebound.elapsed()
    ));
    let took = format!("{:.1?}", rebound.elapsed());
    let pair = case.tunnel.pair.name();
    testkit::measured::measured(
        "T33",
        &format!("traffic back after the NAT gave another port, {pair}"),
        took,
        "the first packet after",
    );
    case.ping_all()?;
    case.wait_up(Duration::from_secs(5))?;
    let to = case.sites.left.host_address(Family::V4, 0);
    ensure!(case.sites.right.host.ping(to, 20, GAP)? == 20, "pings towards the NAT lost");
    let after = case.facts()?;
    ensure!(
        before[0].ike_spi == after[0].ike_spi && before[1].ike_spi == after[1].ike_spi,
        "the IKE SA changed: {before:?} {after:?}"
    );
    let counted = case.sites.right.gateway.run("nft", &["list", "table", "inet", "rebound"])?;
    ensure!(!counted.contains("packets 0 "), "nothing came from another port: {counted}");
    Ok(())
}
