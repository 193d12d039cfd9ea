//! Two spokes that talk through their hub, if it relays, and do not if it does not.
//!
//! ```text
//!   right ══ 192.0.2.1 left: hub 198.51.100.1 ══ third
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::gateway::Ours;
use testkit::netns::{Between, Family, Netns, Sites};
use testkit::peer::{ConnectionSpec, GatewaySpec, Peer, wait_for};

use crate::List;
use crate::case::{GAP, Pair, program, tail};
use crate::hub::connection;

pub(crate) fn list(list: &mut List) {
    if !Pair::all().contains(&Pair::OursToOurs) {
        return;
    }
    for (name, relay) in [("relay/through-the-hub", true), ("relay/refused-without", false)] {
        list.add(name, false, move || spokes(relay).map_err(|error| format!("{error:#}")));
    }
}

fn spokes(relay: bool) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("s2st").tempdir()?;
    let sites = Sites::new(Between::WireAndThird)?;
    let third = sites.third.as_ref().context("a third site")?;
    let at_hub = |name: &str, local: &str, site| {
        let one = connection(name, &sites.left, local, site, false);
        ConnectionSpec { ours_extra: format!("relay = {relay}"), ..one }
    };
    let (to_right, to_third) =
        (at_hub("right", "192.0.2.1", &sites.right), at_hub("third", "198.51.100.1", third));
    // Each spoke wants what is behind the hub, and what is behind the other one.
    let spoke = |netns: &Netns, name: &str, hub: &ConnectionSpec, other: &ConnectionSpec| {
        let one = ConnectionSpec {
            name: "hub".into(),
            initiate: true,
            remote_subnets: [&hub.local_subnets[..], &other.remote_subnets[..]].concat(),
            ours_extra: String::new(),
            ..hub.mirrored()
        };
        let spec = GatewaySpec { name: name.into(), listen: Vec::new(), connections: vec![one] };
        Ours::new(program(), netns, spec, dir.path())
    };
    let mut right = spoke(&sites.right.gateway, "right", &to_right, &to_third)?;
    let mut far = spoke(&third.gateway, "third", &to_third, &to_right)?;
    let hub = GatewaySpec {
        name: "hub".into(),
        listen: vec!["192.0.2.1".into(), "198.51.100.1".into()],
        connections: vec![to_right, to_third],
    };
    let mut hub = Ours::new(program(), &sites.left.gateway, hub, dir.path())?;
    for gateway in [&mut hub, &mut right, &mut far] {
        gateway.start()?;
    }
    run(&sites, relay, [&hub, &right, &far]).map_err(|error| {
        let logs = [&hub, &right, &far].map(|one| tail(&one.log(), 60));
        error.context(format!("hub:\n{}\n{}", hub.status(), logs.join("\n==\n")))
    })
}

fn run(sites: &Sites, relay: bool, [hub, right, far]: [&Ours; 3]) -> Result<()> {
    let third = sites.third.as_ref().context("a third site")?;
    for (peer, name) in [(hub, "right"), (hub, "third"), (right, "hub"), (far, "hub")] {
        wait_for(&format!("{name} to be up"), Duration::from_secs(10), || {
            Ok(peer.facts(name)?.up.then_some(()))
        })?;
    }
    let ends = [(&sites.right, third), (third, &sites.right)];
    for (from, to) in ends {
        let hub = sites.left.host_address(Family::V4, 0);
        wait_for("a ping to the hub's host", Duration::from_secs(2), || {
            Ok((from.host.ping(hub, 1, GAP)? == 1).then_some(()))
        })?;
        let answered = from.host.ping(to.host_address(Family::V4, 0), 5, GAP)?;
        ensure!(answered == if relay { 5 } else { 0 }, "{answered} of 5 pings came through");
    }
    let redirects =
        sites.left.gateway.run("cat", &["/proc/sys/net/ipv4/conf/s2s0/send_redirects"])?;
    ensure!(redirects.trim() == if relay { "0" } else { "1" }, "send_redirects is {redirects}");
    for site in [&sites.left, &sites.right, third] {
        ensure!(site.counted()?.1 == 0, "packets left in the clear");
    }
    Ok(())
}
