//! Several connections at once: a hub that calls strongSwan at one site and is called by one of ours at another.
//!
//! ```text
//!   right (strongSwan) ◄── calls ── left: hub (ours) ◄── is called by ── third (ours)
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::flow;
use testkit::gateway::Ours;
use testkit::netns::{Between, Family, Site, Sites};
use testkit::peer::{ConnectionSpec, GatewaySpec, Peer, wait_for};
use testkit::strongswan::StrongSwan;

use crate::List;
use crate::case::{GAP, KEY, STALL, program, spec, tail};

pub(crate) fn list(list: &mut List) {
    list.add("hub/two-peers", true, || two_peers().map_err(|error| format!("{error:#}")));
}

fn two_peers() -> Result<()> {
    let dir = tempfile::Builder::new().prefix("s2st").tempdir()?;
    let sites = Sites::new(Between::WireAndThird)?;
    let third = sites.third.as_ref().context("a third site")?;
    let call = connection("right", &sites.left, "192.0.2.1", &sites.right, true);
    let wait = connection("third", &sites.left, "198.51.100.1", third, false);
    let hub = GatewaySpec {
        name: "hub".into(),
        listen: vec!["192.0.2.1".into(), "198.51.100.1".into()],
        connections: vec![call.clone(), wait.clone()],
    };
    let mirror = |connection: &ConnectionSpec, name: &str| {
        spec(name, ConnectionSpec { name: "hub".into(), ..connection.mirrored() })
    };
    let mut swan = StrongSwan::new(&sites.right.gateway, mirror(&call, "right"), dir.path())?;
    let mut ours = Ours::new(program(), &third.gateway, mirror(&wait, "third"), dir.path())?;
    let mut hub = Ours::new(program(), &sites.left.gateway, hub, dir.path())?;
    swan.start()?;
    hub.start()?;
    ours.start()?;
    run(&sites, &hub, &swan, &ours).map_err(|error| {
        let logs = [tail(&hub.log(), 60), tail(&swan.log(), 30), tail(&ours.log(), 30)];
        error.context(format!("hub:\n{}\n{}", hub.status(), logs.join("\n==\n")))
    })
}

fn run(sites: &Sites, hub: &Ours, swan: &StrongSwan, ours: &Ours) -> Result<()> {
    let third = sites.third.as_ref().context("a third site")?;
    for (peer, name) in [(hub as &dyn Peer, "right"), (hub, "third"), (swan, "hub"), (ours, "hub")]
    {
        wait_for(&format!("{name} to be up"), Duration::from_secs(10), || {
            Ok(peer.facts(name)?.up.then_some(()))
        })?;
    }
    for site in [&sites.right, third] {
        let to = site.host_address(Family::V4, 0);
        wait_for("the first ping", Duration::from_secs(2), || {
            Ok((sites.left.host.ping(to, 1, GAP)? == 1).then_some(()))
        })?;
        ensure!(sites.left.host.ping(to, 10, GAP)? == 10, "pings to {to} lost");
        ensure!(site.host.ping(sites.left.host_address(Family::V4, 0), 5, GAP)? == 5, "and back");
        flow::exchange(&sites.left.host, &site.host, to, STALL)?;
    }
    // What happens to one connection is nothing to the other.
    let before = hub.facts("third")?;
    hub.restart("right")?;
    let to = third.host_address(Family::V4, 0);
    ensure!(sites.left.host.ping(to, 20, GAP)? == 20, "the other connection lost pings");
    wait_for("right to be up again", Duration::from_secs(5), || {
        Ok(hub.facts("right")?.up.then_some(()))
    })?;
    ensure!(hub.facts("third")? == before, "the other connection changed");
    Ok(())
}

/// A connection of the hub, seen from the hub.
pub(crate) fn connection(
    name: &str,
    hub: &Site,
    local: &str,
    peer: &Site,
    initiate: bool,
) -> ConnectionSpec {
    ConnectionSpec {
        name: name.into(),
        local: local.into(),
        remote: Some(peer.outer(Family::V4)),
        local_id: "hub.example.org".into(),
        remote_id: format!("{name}.example.org"),
        psk: format!("{KEY}-{name}"),
        ppk: None,
        built_in: None,
        ike: "aes256gcm16-prfsha256-curve25519".into(),
        esp: "aes256gcm16".into(),
        local_subnets: vec![hub.subnet(Family::V4, 0)],
        remote_subnets: vec![peer.subnet(Family::V4, 0)],
        initiate,
        dpd: (Duration::from_secs(1), Duration::from_secs(4)),
        ours_extra: String::new(),
        swan_extra: String::new(),
        swan_connection: String::new(),
        swan_child: String::new(),
        split: false,
    }
}
