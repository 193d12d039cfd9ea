//! Processes that die, ours and the peer's (T30, T31, T32), and what each leaves behind.
//!
//! ```text
//!   kill -9 of ours, under load, again and again ─► up in three seconds, one device, the same routes, nothing in clear
//!   kill -9 of the peer, which comes back        ─► noticed by DPD, or by INITIAL_CONTACT; one SA each, traffic in two seconds
//!   SIGTERM in the midst of things               ─► DELETE, two seconds, exit code 0
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use testkit::measured::measured;
use testkit::netns::{Family, Netns};
use testkit::peer::{now, pause, wait_for};

use crate::List;
use crate::case::{Case, Pair};
use crate::chatter::Chatter;
use crate::leak::{guards, open_roads};
use crate::traffic::gcm;
use crate::watch::Watch;

pub(crate) fn list(list: &mut List) {
    list.tunnel("dying/ours-again-and-again", gcm(Pair::OursToOurs), again_and_again);
    list.tunnel("dying/ours-again-and-again", gcm(Pair::OursToSwan), again_and_again);
    for pair in [Pair::OursToOurs, Pair::OursToSwan] {
        list.tunnel("dying/peer-comes-back", gcm(pair), peer_comes_back);
        list.tunnel("dying/half-dead-peer", gcm(pair), half_dead);
    }
    list.tunnel("dying/stop-in-the-midst", gcm(Pair::OursToOurs), stop_in_the_midst);
    list.tunnel("dying/frozen", gcm(Pair::OursToOurs), frozen);
}

/// How often, in the long run of it.
fn rounds() -> usize {
    std::env::var("S2S_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

fn again_and_again(case: &mut Case) -> Result<()> {
    case.up()?;
    open_roads(case)?;
    let before = left_behind(&case.sites.left.gateway)?;
    let eye = Watch::start(&case.sites.left.gateway, "out")?;
    let chatter = Chatter::start(&case.sites, &[Family::V4])?;
    let (mut worst, rounds) = (Duration::ZERO, rounds());
    for round in 0..rounds {
        case.left.daemon().kill()?;
        let killed = now();
        case.left.start()?;
        wait_for("a ping", Duration::from_secs(10), || {
            let to = case.sites.right.host_address(Family::V4, 0);
            Ok((case.sites.left.host.ping(to, 1, Duration::ZERO)? == 1).then_some(()))
        })
        .with_context(|| format!("after {round} kills"))?;
        worst = worst.max(killed.elapsed());
        // Not always at the same moment of its life.
        pause(Duration::from_millis(37 * (round as u64 % 7)));
    }
    drop(chatter);
    let (seen, after) = (eye.take(), left_behind(&case.sites.left.gateway)?);
    let pair = case.tunnel.pair.name();
    measured(
        "T31",
        &format!("up again, the worst of {rounds} kill -9 under load, {pair}"),
        format!("{worst:.1?}"),
        "<= 3 s",
    );
    measured("T31", &format!("packets in clear, {pair}"), seen, "0");
    measured(
        "T31",
        &format!("devices and routes more than before, {pair}"),
        after.len().saturating_sub(before.len()),
        "0",
    );
    ensure!(seen == 0, "{seen} packets left in clear");
    ensure!(after == before, "left over: {after:?} instead of {before:?}");
    ensure!(worst <= Duration::from_secs(3), "it took {worst:?}");
    case.wait_up(Duration::from_secs(10))?;
    case.ping_all()
}

/// Devices, routes and guards of ours, and tables of nf_tables.
fn left_behind(gateway: &Netns) -> Result<Vec<String>> {
    let mut all = guards(gateway)?;
    for family in ["-4", "-6"] {
        for protocol in ["77", "78"] {
            let routes =
                gateway.run("ip", &[family, "route", "show", "table", "all", "proto", protocol])?;
            all.extend(routes.lines().map(|line| line.trim().to_owned()));
        }
    }
    let links = gateway.run("ip", &["-br", "link"])?;
    all.extend(links.lines().filter_map(|line| line.split_whitespace().next().map(str::to_owned)));
    let tables = gateway.run("nft", &["list", "tables"])?;
    all.extend(tables.lines().map(str::to_owned));
    all.sort();
    Ok(all)
}

/// The peer dies; once nobody notices before it is back, once DPD does.
fn peer_comes_back(case: &mut Case) -> Result<()> {
    case.up()?;
    let pair = case.tunnel.pair.name();
    for noticed in [false, true] {
        case.right.daemon().kill()?;
        let died = now();
        if noticed {
            wait_for("the left one to notice", Duration::from_secs(8), || {
                Ok((!case.left.facts("site")?.up).then_some(()))
            })?;
            let (took, bar) = (died.elapsed(), case.tunnel.dpd.1);
            measured(
                "T30",
                &format!("death of the peer noticed, {pair}"),
                format!("{took:.1?}"),
                "<= 4 s (dpd) + 10 % and a second of the clock",
            );
            ensure!(took <= bar.mul_f64(1.1) + Duration::from_secs(1), "it took {took:?}");
        }
        case.right.start()?;
        let back = now();
        // A peer without memory does not call; we find out that it is dead, and call it: within dpd.
        let patience = if noticed { 5 } else { 10 };
        case.wait_ping(Duration::from_secs(patience))?;
        let what = if noticed { "after DPD" } else { "before anybody noticed: within dpd" };
        measured(
            "T30",
            &format!("tunnel back {what}, {pair}"),
            format!("{:.1?}", back.elapsed()),
            if noticed { "<= 5 s (gap of calls)" } else { "<= dpd + 2 s" },
        );
        case.wait_up(Duration::from_secs(10))?;
        one_each(case)?;
    }
    case.ping_all()
}

/// One IKE SA with its children at each end.
fn one_each(case: &Case) -> Result<()> {
    wait_for("one SA at each end", Duration::from_secs(10), || {
        let (left, right) = (case.left.sas()?, case.right.sas()?);
        let one = |sas: &[testkit::peer::Sa]| {
            sas.len() == 1 && sas.iter().all(|sa| sa.children.len() == 1)
        };
        Ok((one(&left) && one(&right)).then_some(()))
    })?;
    measured("T30", &format!("SAs left over, {}", case.tunnel.pair.name()), 0, "0");
    Ok(())
}

/// IKE lives and ESP is dead, and the other way round: the first is said, the second one noticed by DPD.
fn half_dead(case: &mut Case) -> Result<()> {
    case.up()?;
    let wall = |rule: &str| {
        format!(
            "table inet half {{ chain in {{ type filter hook prerouting priority -400; {rule}; }}; }}\n"
        )
    };
    let gateway = &case.sites.right.gateway;
    // ESP alone: the first four octets behind the UDP header are no marker (RFC 3948 §2.2).
    gateway.nft(&wall(
        "iifname \"out\" udp dport 4500 @th,64,32 != 0 drop; iifname \"out\" meta l4proto esp drop",
    ))?;
    let chatter = Chatter::start(&case.sites, &[Family::V4])?;
    pause(case.tunnel.dpd.1 * 2);
    ensure!(case.left.daemon().ended()?.is_none(), "it ended");
    let said = case.left.facts("site")?;
    measured(
        "T30",
        &format!("ESP dead, IKE alive: {}", case.tunnel.pair.name()),
        if said.up { "up" } else { "said" },
        "no flapping, said if nothing comes back",
    );
    case.sites.right.gateway.nft("delete table inet half\n")?;
    case.wait_ping(Duration::from_secs(5))?;
    // IKE alone is dead: packets prove life, so nobody gives up while they come (RFC 7296 §2.4).
    let gateway = &case.sites.right.gateway;
    gateway.nft(&wall(
        "iifname \"out\" udp dport 4500 @th,64,32 0 drop; iifname \"out\" udp dport 500 drop",
    ))?;
    let before = case.left.facts("site")?;
    pause(case.tunnel.dpd.1 * 2);
    case.wait_ping(Duration::from_secs(2))?;
    let after = case.left.facts("site")?;
    ensure!(after.ike_spi == before.ike_spi, "ESP came, and the peer was given up");
    measured(
        "T30",
        &format!("IKE dead, ESP alive: {}", case.tunnel.pair.name()),
        "traffic goes on",
        "traffic goes on",
    );
    case.sites.right.gateway.nft("delete table inet half\n")?;
    drop(chatter);
    case.wait_up(Duration::from_secs(15))?;
    case.ping_all()
}

/// SIGTERM while the IKE SA is being replaced, and while the peer has just fallen silent.
fn stop_in_the_midst(case: &mut Case) -> Result<()> {
    for turn in 0..6_u64 {
        case.start()?;
        case.wait_up(Duration::from_secs(10))?;
        if turn == 5 {
            case.right.daemon().signal(Signal::STOP)?;
        } else {
            case.left.rekey_ike("site")?;
            pause(Duration::from_millis(turn));
        }
        let (status, took) = case.left.daemon().stop(Signal::TERM)?;
        let what = if turn == 5 { "with a silent peer" } else { "during a rekey" };
        measured(
            "T32",
            &format!("SIGTERM {what}"),
            format!("{took:.1?}, {:?}", status.code()),
            "<= 2 s, code 0",
        );
        ensure!(
            status.code() == Some(0) && took <= Duration::from_secs(2),
            "{what}: {status}, {took:?}"
        );
        if turn == 5 {
            case.right.daemon().signal(Signal::CONT)?;
        }
        wait_for("the right one to hear of it", Duration::from_secs(6), || {
            Ok(case.right.sas()?.is_empty().then_some(()))
        })?;
        case.right.daemon().stop(Signal::TERM)?;
    }
    Ok(())
}

/// Stopped for longer than the peer waits, as a suspended machine is: it finds out, and is back soon (T36).
fn frozen(case: &mut Case) -> Result<()> {
    case.up()?;
    for long in [Duration::from_secs(1), case.tunnel.dpd.1 + Duration::from_secs(3)] {
        let before = case.facts()?;
        case.left.daemon().signal(Signal::STOP)?;
        pause(long);
        case.left.daemon().signal(Signal::CONT)?;
        let awake = now();
        case.wait_ping(Duration::from_secs(8))?;
        let took = awake.elapsed();
        measured(
            "T36",
            &format!("traffic after {long:?} of SIGSTOP"),
            format!("{took:.1?}"),
            "<= 5 s",
        );
        ensure!(took <= Duration::from_secs(5), "it took {took:?}");
        case.wait_up(Duration::from_secs(8))?;
        if long < case.tunnel.dpd.1 {
            ensure!(case.facts()? == before, "an SA was lost by a second of sleep");
        }
    }
    case.ping_all()
}
