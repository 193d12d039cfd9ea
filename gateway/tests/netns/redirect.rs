//! A gateway sends its peer to another, which has the same identity, key and networks (RFC 5685).
//!
//! ```text
//!   left 192.0.2.1 ══ 192.0.2.2 right     "go to 198.51.100.3"
//!                 └══ 198.51.100.3 third   10.2.0.2 lives there, too
//! ```

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::gateway::Ours;
use testkit::netns::{Between, Family, Netns, Site, Sites};
use testkit::peer::{ConnectionSpec, GatewaySpec, Peer, now, wait_for};
use testkit::strongswan::StrongSwan;

use crate::List;
use crate::case::{GAP, KEY, Pair, keep, measured, program};

pub(crate) fn list(list: &mut List) {
    for pair in Pair::all() {
        let name = format!("redirect/{}", pair.name());
        list.add(name.clone(), pair.has_swan(), move || {
            redirected(pair, &name).map_err(|error| format!("{error:#}"))
        });
    }
}

fn redirected(pair: Pair, name: &str) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("s2st").tempdir()?;
    let sites = Sites::new(Between::WireAndThird)?;
    let third = sites.third.as_ref().context("a third site")?;
    same_network(third)?;
    let left = connection(&sites);
    let right = ConnectionSpec { remote: None, ..left.mirrored() };
    let there = ConnectionSpec { local: third.outer(Family::V4), ..right.clone() };
    let make = |ours: bool, netns: &Netns, name: &str, one: ConnectionSpec| {
        let listen = Some(one.local.clone()).filter(|local| local != "%any");
        let spec = GatewaySpec {
            name: name.into(),
            listen: listen.into_iter().collect(),
            connections: vec![one],
        };
        Ok::<Box<dyn Peer>, anyhow::Error>(if ours {
            Box::new(Ours::new(program(), netns, spec, dir.path())?)
        } else {
            Box::new(StrongSwan::new(netns, spec, dir.path())?)
        })
    };
    let (left_is_ours, right_is_ours) = pair.ours();
    let mut left = make(left_is_ours, &sites.left.gateway, "left", left)?;
    let mut right = make(right_is_ours, &sites.right.gateway, "right", right)?;
    let mut there = make(right_is_ours, &third.gateway, "third", there)?;
    for peer in [&mut right, &mut there, &mut left] {
        peer.start()?;
    }
    run(&sites, [left.as_ref(), right.as_ref(), there.as_ref()], pair).map_err(|error| {
        let said = [left.status(), right.status(), there.status(), format!("{error:#}")];
        let kept = std::fs::write(dir.path().join("report.txt"), said.join("\n==\n"))
            .map_err(anyhow::Error::from)
            .and_then(|()| keep(&dir, name));
        error.context(format!("everything is in {kept:?}"))
    })
}

fn run(sites: &Sites, [left, right, there]: [&dyn Peer; 3], pair: Pair) -> Result<()> {
    for peer in [left, right] {
        up(peer)?;
    }
    let to = sites.right.host_address(Family::V4, 0);
    wait_for("the first ping", Duration::from_secs(2), || ping(sites, to))?;
    let third = sites.third.as_ref().context("a third site")?;
    ensure!(third.counted()?.0 == 0, "it went to the third gateway at once");
    let asked = now();
    match (right.as_ours(), right.as_swan()) {
        (Some(ours), _) => {
            let told = ours.tell(&["redirect", "--to", "198.51.100.3"])?;
            ensure!(told.contains("1 peer is told"), "{told}");
        }
        (None, Some(swan)) => {
            let told = ["--redirect", "--peer-id", "left.example.org", "--gateway", "198.51.100.3"];
            swan.swanctl(&told)?;
        }
        (None, None) => {}
    }
    up(there)?;
    // The first one may carry a ping more: its SA goes when the new one stands.
    wait_for("a ping by way of the third gateway", Duration::from_secs(3), || {
        let answered = ping(sites, to)?;
        Ok(answered.filter(|()| third.counted().is_ok_and(|(esp, _)| esp > 0)))
    })?;
    measured(&format!("redirect, {}: traffic back after {:.1?}", pair.name(), asked.elapsed()));
    up(left)?;
    // It left the first one for good, and there is one SA.
    wait_for("the first gateway to have no SA", Duration::from_secs(8), || {
        Ok(right.sas()?.is_empty().then_some(()))
    })?;
    let spis = |peer: &dyn Peer| -> Result<Vec<String>> {
        Ok(peer.sas()?.into_iter().map(|sa| sa.spis).collect())
    };
    let (here, far) = (spis(left)?, spis(there)?);
    ensure!(here.len() == 1 && here == far, "not one SA and the same: {here:?} {far:?}");
    ensure!(sites.left.host.ping(to, 10, GAP)? == 10, "pings lost");
    Ok(())
}

fn up(peer: &dyn Peer) -> Result<()> {
    wait_for("the tunnel to be up", Duration::from_secs(10), || {
        Ok(peer.facts("site")?.up.then_some(()))
    })
}

fn ping(sites: &Sites, to: IpAddr) -> Result<Option<()>> {
    Ok((sites.left.host.ping(to, 1, GAP)? == 1).then_some(()))
}

/// The third site has the network of the right one, too, and a way to the left gateway's first address.
pub(crate) fn same_network(third: &Site) -> Result<()> {
    third.gateway.ip("addr add 10.2.0.1/24 dev lan\nroute add 192.0.2.0/24 via 198.51.100.1\n")?;
    third.host.ip("addr add 10.2.0.2/24 dev lan\n")?;
    third.host.ip("route replace default via 10.2.0.1 src 10.2.0.2\n")
}

pub(crate) fn connection(sites: &Sites) -> ConnectionSpec {
    ConnectionSpec {
        name: "site".into(),
        local: "%any".into(),
        remote: Some(sites.right.outer(Family::V4)),
        local_id: "left.example.org".into(),
        remote_id: "right.example.org".into(),
        psk: KEY.into(),
        ppk: None,
        built_in: None,
        ike: "aes256gcm16-prfsha256-curve25519".into(),
        esp: "aes256gcm16".into(),
        local_subnets: vec![sites.left.subnet(Family::V4, 0)],
        remote_subnets: vec![sites.right.subnet(Family::V4, 0)],
        initiate: true,
        dpd: (Duration::from_secs(1), Duration::from_secs(4)),
        ours_extra: String::new(),
        swan_extra: String::new(),
        swan_connection: String::new(),
        swan_child: String::new(),
        split: false,
    }
}
