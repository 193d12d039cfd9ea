//! Fifty connections between one pair of addresses: they come up together, and again after either side died.
//!
//! ```text
//!   left   site-1  left-1.example.org   10.1.1.0/24 ⇄ 10.2.1.0/24   right-1.example.org   right
//!          ..
//!          site-50 left-50.example.org  10.1.50.0/24 ⇄ 10.2.50.0/24 right-50.example.org
//! ```

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::gateway::Ours;
use testkit::netns::{Between, Family, Site, Sites};
use testkit::peer::{ConnectionSpec, GatewaySpec, Peer, now, wait_for};
use testkit::strongswan::StrongSwan;

use crate::List;
use crate::case::{GAP, KEY, keep, measured, program};

pub(crate) fn list(list: &mut List) {
    list.add("many/ours-to-swan", true, || many(true).map_err(|error| format!("{error:#}")));
    list.add("many/swan-to-ours", true, || many(false).map_err(|error| format!("{error:#}")));
}

fn many(ours_calls: bool) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("s2st").tempdir()?;
    let sites = Sites::new(Between::Wire)?;
    for site in [&sites.left, &sites.right] {
        more_networks(site)?;
    }
    let ours = side("left", &sites.left, &sites.right, ours_calls);
    let swan = side("right", &sites.right, &sites.left, !ours_calls);
    let mut swan = StrongSwan::new(&sites.right.gateway, swan, dir.path())?;
    let mut ours = Ours::new(program(), &sites.left.gateway, ours, dir.path())?;
    run(&sites, &mut ours, &mut swan, ours_calls).map_err(|error| {
        let said = [ours.status(), swan.status(), error.to_string()].join("\n==\n");
        let kept = std::fs::write(dir.path().join("report.txt"), said)
            .map_err(anyhow::Error::from)
            .and_then(|()| {
                keep(&dir, &format!("many-{}", if ours_calls { "ours" } else { "swan" }))
            });
        error.context(format!("everything is in {kept:?}"))
    })
}

fn run(sites: &Sites, ours: &mut Ours, swan: &mut StrongSwan, ours_calls: bool) -> Result<()> {
    let caller = if ours_calls { "ours" } else { "strongSwan" };
    let begun = now();
    if ours_calls {
        swan.start()?;
        ours.start()?;
    } else {
        ours.start()?;
        swan.start()?;
    }
    all_up(ours, swan, Duration::from_secs(20))?;
    measured(&format!("50 up, {caller} calls: {:.1?}", begun.elapsed()));
    all_answer(sites)?;

    ours.daemon().kill()?;
    let begun = now();
    ours.start()?;
    if !ours_calls {
        cookies(sites, swan)?;
    }
    // strongSwan has to miss us first, if it is the one that calls.
    all_up(ours, swan, if ours_calls { Duration::from_secs(20) } else { Duration::from_secs(30) })?;
    measured(&format!("50 up again after a kill, {caller} calls: {:.1?}", begun.elapsed()));
    all_answer(sites)
}

/// Holds IKE_AUTH back until so many SAs are half open that we want cookies (RFC 7296 §2.6): those that have one come up.
fn cookies(sites: &Sites, swan: &StrongSwan) -> Result<()> {
    let wire = "add rule inet watch in iifname \"out\" udp dport 4500 @th,64,32 0 drop\n";
    sites.left.gateway.nft(wire)?;
    wait_for("strongSwan to be asked for a cookie", Duration::from_secs(10), || {
        Ok(swan.log().contains("parsed IKE_SA_INIT response 0 [ N(COOKIE) ]").then_some(()))
    })?;
    sites.left.gateway.nft("flush chain inet watch in\n")
}

/// Waits until both sides have every connection up, and none twice.
fn all_up(ours: &Ours, swan: &StrongSwan, patience: Duration) -> Result<()> {
    let mut last = (0, 0, 0);
    wait_for("all connections to be up on both sides", patience, || {
        let (here, there) = (ours.sas()?, swan.sas()?);
        let whole = |sa: &&testkit::peer::Sa| {
            sa.established && sa.children.len() == 1 && sa.children.iter().all(|c| c.installed)
        };
        let here: Vec<_> = here.iter().filter(whole).map(|sa| sa.spis.clone()).collect();
        let both = there.iter().filter(whole).filter(|sa| here.contains(&sa.spis)).count();
        last = (here.len(), there.len(), both);
        Ok((last == (usize::from(COUNT), usize::from(COUNT), usize::from(COUNT))).then_some(()))
    })
    .map_err(|error| error.context(format!("ours, theirs, on both: {last:?}")))
}

fn all_answer(sites: &Sites) -> Result<()> {
    for number in 1..=COUNT {
        let [from, to] = [1, 2].map(|site| IpAddr::from([10, site, number, 2]));
        let answered = sites
            .left
            .host
            .inside(|| testkit::ping::ping_from(Some(from), to, 2, GAP, Duration::from_secs(1)))?;
        let routes = |site: &Site| {
            let shown =
                site.gateway.run("ip", &["route", "show", "table", "all", "type", "unicast"]);
            let shown = shown.unwrap_or_default();
            let of_number = |line: &&str| line.contains(&format!(".{number}.0/24"));
            shown.lines().filter(of_number).collect::<Vec<_>>().join("; ")
        };
        ensure!(
            answered == 2,
            "{answered} of 2 pings from {from} to {to} answered; routes left {}, right {}",
            routes(&sites.left),
            routes(&sites.right)
        );
    }
    Ok(())
}

/// Addresses for the host in fifty networks more, by way of the one that it has.
pub(crate) fn more_networks(site: &Site) -> Result<()> {
    let lan = site.host_address(Family::V4, 0);
    let IpAddr::V4(address) = lan else { unreachable!("asked for IPv4") };
    let [_, site_number, ..] = address.octets();
    let each = |last: u8| {
        let lines =
            (1..=COUNT).map(|n| format!("addr add 10.{site_number}.{n}.{last}/32 dev lo\n"));
        lines.collect::<Vec<_>>().concat()
    };
    site.gateway.ip(&format!("route add 10.{site_number}.0.0/16 via {lan}\n"))?;
    // strongSwan wants an address of its own in every network.
    site.gateway.ip(&each(1))?;
    site.host.ip(&each(2))
}

pub(crate) fn side(name: &str, site: &Site, peer: &Site, initiate: bool) -> GatewaySpec {
    let (here, there) = if name == "left" { (1, 2) } else { (2, 1) };
    let other = if name == "left" { "right" } else { "left" };
    let connection = |number| ConnectionSpec {
        name: format!("site-{number}"),
        local: site.outer(Family::V4),
        remote: Some(peer.outer(Family::V4)),
        local_id: format!("{name}-{number}.example.org"),
        remote_id: format!("{other}-{number}.example.org"),
        psk: format!("{KEY}-{number}"),
        ppk: None,
        built_in: None,
        ike: "aes256gcm16-prfsha256-curve25519".into(),
        esp: "aes256gcm16".into(),
        local_subnets: vec![format!("10.{here}.{number}.0/24")],
        remote_subnets: vec![format!("10.{there}.{number}.0/24")],
        initiate,
        dpd: (Duration::from_secs(1), Duration::from_secs(4)),
        ours_extra: String::new(),
        swan_extra: String::new(),
        swan_connection: String::new(),
        // Given by itself they move when fifty children are made anew at once, and then kernel-libipsec sends nothing.
        swan_child: format!("reqid = {number}"),
        proofs: None,
        split: false,
    };
    GatewaySpec {
        name: name.into(),
        listen: vec![site.outer(Family::V4)],
        connections: (1..=COUNT).map(connection).collect(),
    }
}

const COUNT: u8 = 50;
