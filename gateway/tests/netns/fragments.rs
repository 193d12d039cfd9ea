//! IKE messages that are too long for one datagram (RFC 7383): eighty networks make IKE_AUTH long, strongSwan's own
//! messages are cut very small.
//!
//! ```text
//!   left ── SKF 1/2, SKF 2/2 ──► right      IKE_AUTH, CREATE_CHILD_SA: two lists of networks
//!   left ◄── SKF 1/5 .. 5/5 ── right        and IP fragments nothing
//! ```

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use testkit::netns::Netns;
use testkit::peer::ConnectionSpec;

use crate::List;
use crate::case::{Case, Pair, Tunnel};
use crate::collide::at_rest;
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    list.every_pair("fragments", many_networks, in_fragments);
    for pair in Pair::all().into_iter().filter(|pair| pair.has_swan()) {
        list.tunnel("fragments/small-ones", small(pair), small_ones);
    }
}

fn many_networks(pair: Pair) -> Tunnel {
    let edit = |left: &mut ConnectionSpec, right: &mut ConnectionSpec| {
        let more = (1..=NETWORKS).map(|number| format!("10.101.{number}.0/24"));
        left.local_subnets.extend(more);
        right.remote_subnets.clone_from(&left.local_subnets);
    };
    Tunnel { edit, ..gcm(pair) }
}

fn small(pair: Pair) -> Tunnel {
    let edit = |left: &mut ConnectionSpec, right: &mut ConnectionSpec| {
        for side in [left, right] {
            side.swan_extra = "fragment_size = 256".into();
            side.swan_connection = "fragmentation = force".into();
        }
    };
    // A group with large public values, so that the rekeys of the IKE SA are long.
    Tunnel { edit, ..Tunnel::new(pair) }
}

/// Both sides send fragments in IKE_AUTH and in each rekey of the child.
fn in_fragments(case: &mut Case) -> Result<()> {
    // strongSwan wants an address of its own in every network.
    let mut addresses = String::new();
    for number in 1..=NETWORKS {
        writeln!(addresses, "addr add 10.101.{number}.1/32 dev lo")?;
    }
    case.sites.left.gateway.ip(&addresses)?;
    watch(case)?;
    case.up()?;
    let after_auth = [seen(&case.sites.left.gateway)?, seen(&case.sites.right.gateway)?];
    ensure!(after_auth.iter().all(|seen| *seen >= 2), "IKE_AUTH was whole: {after_auth:?}");
    case.ping_all()?;
    for left in [true, false] {
        crate::rekey::child_now(case, left)?;
    }
    let after = [seen(&case.sites.left.gateway)?, seen(&case.sites.right.gateway)?];
    ensure!(
        after.iter().zip(&after_auth).all(|(after, before)| *after >= before + 4),
        "the rekeys were whole: {after_auth:?} {after:?}"
    );
    at_rest(case, 1)?;
    case.ping_all()
}

/// What strongSwan cuts as small as it can we put together.
fn small_ones(case: &mut Case) -> Result<()> {
    watch(case)?;
    case.up()?;
    let ours = if case.left.kind() == "ours" { &case.sites.left } else { &case.sites.right };
    let of_auth = seen(&ours.gateway)?;
    ensure!(of_auth >= 2, "IKE_AUTH was whole: {of_auth}");
    for left in [true, false] {
        crate::rekey::ike_now(case, left)?;
        crate::rekey::child_now(case, left)?;
    }
    let ours = if case.left.kind() == "ours" { &case.sites.left } else { &case.sites.right };
    let of_rekeys = seen(&ours.gateway)? - of_auth;
    ensure!(of_rekeys >= 4, "the rekeys were whole: {of_rekeys}");
    at_rest(case, 1)?;
    case.ping_all()
}

/// Counts IKE messages whose first payload is SKF (53), behind the marker on port 4500, and takes every IP fragment away.
fn watch(case: &Case) -> Result<()> {
    for site in [&case.sites.left, &case.sites.right] {
        site.gateway.nft(
            "add table inet fragments
             add chain inet fragments in { type filter hook prerouting priority -450; }
             add rule inet fragments in iifname \"out\" ip frag-off & 0x3fff != 0 drop
             add rule inet fragments in iifname \"out\" udp dport 4500 @th,64,32 0 @th,224,8 53 counter\n",
        )?;
    }
    Ok(())
}

fn seen(netns: &Netns) -> Result<u64> {
    let table = netns.run("nft", &["list", "table", "inet", "fragments"])?;
    let packets = table.split_once("packets ").and_then(|(_, rest)| rest.split_once(' '));
    Ok(packets.context("a counter")?.0.parse()?)
}

const NETWORKS: u8 = 80;
