//! The way out of the host comes and goes (T34): the outer device, the default route, in the midst of a rekey or not. The tunnel is
//! back within five seconds of the way, and costs nothing while there is none.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::measured::measured;
use testkit::netns::Between;
use testkit::peer::{Facts, now, pause, wait_for};

use crate::List;
use crate::case::{Case, Pair, Tunnel};
use crate::meddled::ticks;
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    for pair in [Pair::OursToOurs, Pair::OursToSwan] {
        list.tunnel("bouncing/device", gcm(pair), device);
        list.tunnel("bouncing/in-a-rekey", gcm(pair), in_a_rekey);
    }
    let routed = Tunnel { between: Between::Router, ..gcm(Pair::OursToOurs) };
    list.tunnel("bouncing/default-route", routed, default_route);
}

/// How long the device is down, in the long run of it half a minute.
fn outage() -> Duration {
    let long = std::env::var("S2S_LONG").is_ok();
    Duration::from_secs(if long { 30 } else { 8 })
}

/// Down for longer than the peer waits.
fn device(case: &mut Case) -> Result<()> {
    case.up()?;
    let pid = case.left.daemon().pid().context("it runs")?;
    case.sites.left.gateway.ip("link set out down\n")?;
    let (begun, before) = (now(), ticks(pid)?);
    pause(outage());
    let percent =
        (ticks(pid)? - before) * 1000 / u64::try_from(begun.elapsed().as_millis())?.max(1);
    ensure!(case.left.daemon().ended()?.is_none(), "it ended");
    case.sites.left.gateway.ip("link set out up\n")?;
    let back = now();
    case.wait_ping(Duration::from_secs(10))?;
    let took = back.elapsed();
    let pair = case.tunnel.pair.name();
    measured(
        "T34",
        &format!("processor time while the device is down, {pair}"),
        format!("{percent} %"),
        "< 5 %",
    );
    measured(
        "T34",
        &format!("tunnel back after the device, {pair}"),
        format!("{took:.1?}"),
        "<= 5 s",
    );
    ensure!(percent < 5, "{percent} % of a processor");
    ensure!(took <= Duration::from_secs(5), "it took {took:?}");
    case.wait_up(Duration::from_secs(10))?;
    case.ping_all()
}

/// A short bounce at each of some moments of a rekey of the IKE SA: the new SA is not lost with the old one (SS#3042).
fn in_a_rekey(case: &mut Case) -> Result<()> {
    case.up()?;
    let pair = case.tunnel.pair.name();
    let mut worst = Duration::ZERO;
    for moment in [0, 1, 3, 10, 40] {
        let left = &case.sites.left.gateway;
        if moment == 0 {
            left.ip("link set out down\n")?;
            case.left.rekey_ike("site")?;
        } else {
            case.left.rekey_ike("site")?;
            pause(Duration::from_millis(moment));
            left.ip("link set out down\n")?;
        }
        pause(Duration::from_millis(1200));
        left.ip("link set out up\n")?;
        let back = now();
        case.wait_ping(Duration::from_secs(10)).with_context(|| format!("moment {moment}"))?;
        worst = worst.max(back.elapsed());
        case.wait_up(Duration::from_secs(10))?;
        wait_for("one IKE SA at each end", Duration::from_secs(12), || {
            Ok((case.left.sas()?.len() == 1 && case.right.sas()?.len() == 1).then_some(()))
        })?;
    }
    measured(
        "T34",
        &format!("tunnel back after a bounce in a rekey, {pair}"),
        format!("{worst:.1?}"),
        "<= 5 s",
    );
    ensure!(worst <= Duration::from_secs(5), "it took {worst:?}");
    case.ping_all()
}

/// The route to the peer is taken away and comes back by another next hop.
fn default_route(case: &mut Case) -> Result<()> {
    case.up()?;
    let before = case.facts()?;
    let router = case.sites.router.as_ref().context("a router")?;
    router.ip("addr add 192.0.2.253/32 dev inside\n")?;
    let left = &case.sites.left.gateway;
    left.ip("route add 192.0.2.253 dev out\nroute del 192.0.2.0/24 via 192.0.2.254\n")?;
    pause(Duration::from_millis(1500));
    left.ip("route add default via 192.0.2.253\n")?;
    let back = now();
    case.wait_ping(Duration::from_secs(10))?;
    let took = back.elapsed();
    measured("T34", "tunnel back after the default route changed", format!("{took:.1?}"), "<= 5 s");
    ensure!(took <= Duration::from_secs(5), "it took {took:?}");
    let spis = |facts: &[Facts; 2]| {
        facts.each_ref().map(|one| (one.ike_spi.clone(), one.child_spis.clone()))
    };
    let after = case.facts()?;
    ensure!(spis(&after) == spis(&before), "other SAs: {before:?} {after:?}");
    case.ping_all()
}
