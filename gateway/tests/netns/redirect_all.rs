//! A hub that is taken out of service sends all its spokes to another one, and nobody notices (RFC 5685).
//!
//! ```text
//!   third ── left ── 192.0.2.2 right: hub-a ── 203.0.113.9 hub-b      10.2.0.7 is on both hubs
//!   spoke    spoke
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::gateway::Ours;
use testkit::netns::{Between, Family, Netns, Sites, unique_prefix};
use testkit::peer::{ConnectionSpec, GatewaySpec, Peer, now, pause, wait_for};

use crate::List;
use crate::case::{GAP, KEY, Pair, measured, program, tail};
use crate::redirect::connection;

pub(crate) fn list(list: &mut List) {
    if Pair::all().contains(&Pair::OursToOurs) {
        list.add("redirect/all-spokes", false, || {
            all_spokes().map_err(|error| format!("{error:#}"))
        });
    }
}

const TARGET: [u8; 4] = [10, 2, 0, 7];

fn all_spokes() -> Result<()> {
    let dir = tempfile::Builder::new().prefix("s2st").tempdir()?;
    let sites = Sites::new(Between::WireAndThird)?;
    let third = sites.third.as_ref().context("a third site")?;
    let beyond = Netns::new(format!("{}-hubb", unique_prefix()))?;
    let right = &sites.right.gateway;
    right.ip(&format!(
        "link add beyond type veth peer name out netns {}\naddr add 203.0.113.1/24 dev beyond\n\
         link set beyond up\nroute add 198.51.100.0/24 via 192.0.2.1\naddr add 10.2.0.7/32 dev lo\n",
        beyond.name()
    ))?;
    beyond.ip(
        "addr add 203.0.113.9/24 dev out\nlink set out up\nlink set lo up\naddr add 10.2.0.7/32 dev lo\n\
         route add default via 203.0.113.1\n",
    )?;
    sites.left.gateway.ip("route add 203.0.113.0/24 via 192.0.2.2\n")?;
    third.gateway.ip(
        "route add 192.0.2.0/24 via 198.51.100.1\nroute add 203.0.113.0/24 via 198.51.100.1\n",
    )?;

    let left = connection(&sites);
    let far = ConnectionSpec {
        local_id: "third.example.org".into(),
        psk: format!("{KEY}-third"),
        local_subnets: vec![third.subnet(Family::V4, 0)],
        ..left.clone()
    };
    let hub = |netns: &Netns, name: &str, address: &str| {
        let at_hub = |spoke: &ConnectionSpec, name: &str| ConnectionSpec {
            name: name.into(),
            local: address.into(),
            remote: None,
            ..spoke.mirrored()
        };
        let connections = vec![at_hub(&left, "left"), at_hub(&far, "third")];
        let spec = GatewaySpec { name: name.into(), listen: vec![address.into()], connections };
        Ours::new(program(), netns, spec, dir.path())
    };
    let spoke = |netns: &Netns, name: &str, one: &ConnectionSpec| {
        let connections = vec![one.clone()];
        let spec = GatewaySpec { name: name.into(), listen: Vec::new(), connections };
        Ours::new(program(), netns, spec, dir.path())
    };
    let mut all = [
        hub(right, "hub-a", "192.0.2.2")?,
        hub(&beyond, "hub-b", "203.0.113.9")?,
        spoke(&sites.left.gateway, "left", &left)?,
        spoke(&third.gateway, "third", &far)?,
    ];
    for gateway in &mut all {
        gateway.start()?;
    }
    run(&sites, &all).map_err(|error| {
        let logs = all.each_ref().map(|one| tail(&one.log(), 40));
        error.context(logs.join("\n==\n"))
    })
}

fn run(sites: &Sites, [hub, _, left, far]: &[Ours; 4]) -> Result<()> {
    const COUNT: u16 = 150;
    let third = sites.third.as_ref().context("a third site")?;
    let spokes = [(left, &sites.left.host), (far, &third.host)];
    for (spoke, host) in spokes {
        at(spoke, "192.0.2.2", Duration::from_secs(10))?;
        wait_for("the first ping", Duration::from_secs(2), || {
            Ok((host.ping(TARGET.into(), 1, GAP)? == 1).then_some(()))
        })?;
    }
    let lost = std::thread::scope(|scope| -> Result<[u16; 2]> {
        let pinging = spokes.map(|(_, host)| {
            scope.spawn(|| host.ping(TARGET.into(), COUNT, Duration::from_millis(20)))
        });
        pause(Duration::from_millis(300));
        let asked = now();
        let told = hub.tell(&["redirect", "--to", "203.0.113.9"])?;
        ensure!(told.contains("2 peers are told"), "{told}");
        for (spoke, _) in spokes {
            at(spoke, "203.0.113.9", Duration::from_secs(3))?;
        }
        measured(&format!("redirect, two spokes: gone after {:.1?}", asked.elapsed()));
        let mut lost = [0; 2];
        for (lost, pinging) in lost.iter_mut().zip(pinging) {
            *lost = COUNT - pinging.join().map_err(|_| anyhow::anyhow!("a pinger panicked"))??;
        }
        Ok(lost)
    })?;
    ensure!(lost.iter().all(|lost| *lost <= 1), "pings lost: {lost:?}");
    wait_for("the hub to have no SA", Duration::from_secs(8), || {
        Ok(hub.sas()?.is_empty().then_some(()))
    })
}

fn at(spoke: &Ours, address: &str, patience: Duration) -> Result<()> {
    wait_for(&format!("a spoke to be at {address}"), patience, || {
        let told = spoke.tell(&["status", "site"])?;
        Ok((told.contains(&format!("-> {address}:")) && told.contains("spi in")).then_some(()))
    })
}
