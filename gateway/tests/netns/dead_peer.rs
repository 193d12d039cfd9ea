//! What we do when the peer died without a word, by `dpd.action` (RFC 7296 §2.4): call again for ever, wait, or wait for
//! a packet.
//!
//! ```text
//!              peer is dead   peer is back, silence   a packet for it   a command, or the peer calls
//!   restart    calls          up
//!   trap       silent         silent                  calls, up
//!   clear      silent         silent                  silent            calls, up
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::netns::Family;
use testkit::peer::{ConnectionSpec, now, pause, wait_for};

use crate::List;
use crate::case::{Case, GAP, Pair, Tunnel};
use crate::lifecycle::says;
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    for pair in [Pair::OursToSwan, Pair::OursToOurs] {
        if !Pair::all().contains(&pair) {
            continue;
        }
        list.tunnel("dpd/clear", with(pair, |left, _| set(left, "clear")), clear);
    }
    if Pair::all().contains(&Pair::OursToSwan) {
        let to_swan = |edit| with(Pair::OursToSwan, edit);
        list.tunnel("dpd/restart", to_swan(|left, _| set(left, "restart")), restart);
        list.tunnel("dpd/trap", to_swan(|left, _| set(left, "trap")), trap);
        let edit = |left: &mut ConnectionSpec, _: &mut ConnectionSpec| set(left, "clear");
        list.tunnel("dpd/clear-and-the-peer-calls", with(Pair::OursToSwan, edit), called);
    }
}

fn with(pair: Pair, edit: fn(&mut ConnectionSpec, &mut ConnectionSpec)) -> Tunnel {
    Tunnel { edit, ..gcm(pair) }
}

fn set(spec: &mut ConnectionSpec, action: &str) {
    spec.ours_extra =
        format!("dpd = {{ interval = \"1s\", timeout = \"3s\", action = \"{action}\" }}");
}

/// It calls while nobody is there, and is up soon after somebody is.
fn restart(case: &mut Case) -> Result<()> {
    dies(case)?;
    wait_for("a call", Duration::from_secs(3), || Ok((calls(case)? > 0).then_some(())))?;
    case.right.start()?;
    case.wait_up(Duration::from_secs(5))?;
    case.ping_all()
}

/// Silent until a packet wants the tunnel.
fn trap(case: &mut Case) -> Result<()> {
    dies(case)?;
    case.right.start()?;
    silent(case)?;
    let asked = now();
    case.wait_ping(Duration::from_secs(3))?;
    ensure!(asked.elapsed() < Duration::from_secs(3), "up after {:?}", asked.elapsed());
    case.wait_up(Duration::from_secs(2))?;
    case.ping_all()
}

/// Silent whatever packets come; a command makes it call.
fn clear(case: &mut Case) -> Result<()> {
    dies(case)?;
    case.right.start()?;
    let to = case.sites.right.host_address(Family::V4, 0);
    ensure!(case.sites.left.host.ping(to, 3, GAP)? == 0, "a packet woke it");
    silent(case)?;
    for site in [&case.sites.left, &case.sites.right] {
        ensure!(site.counted()?.1 == 0, "packets for the tunnel left in the clear");
    }
    case.left.as_ours().context("the left one is ours")?.tell(&["up", "site"])?;
    case.wait_up(Duration::from_secs(5))?;
    case.ping_all()
}

/// Silent, but it answers.
fn called(case: &mut Case) -> Result<()> {
    dies(case)?;
    case.right.start()?;
    silent(case)?;
    let swan = case.right.as_swan().context("the right one is strongSwan")?;
    swan.swanctl(&["--initiate", "--child", "site-v4", "--timeout", "5"])?;
    case.wait_up(Duration::from_secs(5))?;
    case.ping_all()
}

/// Kills the right one and waits until the left one knows.
fn dies(case: &mut Case) -> Result<()> {
    case.up()?;
    case.ping_all()?;
    case.right.daemon().kill()?;
    // What the left one sends on port 500 from here on is a new call.
    case.sites.right.gateway.nft("reset counters\n")?;
    says(case.left.as_ref(), &[("ours", "event=up")])?;
    let patience = case.tunnel.dpd.1 + Duration::from_secs(1);
    wait_for("the left one to notice", patience, || {
        Ok((!case.left.facts("site")?.up).then_some(()))
    })?;
    says(case.left.as_ref(), &[("ours", "dpd-timeout")])
}

/// Nobody calls for a while, and nothing is up.
fn silent(case: &Case) -> Result<()> {
    pause(Duration::from_millis(1500));
    ensure!(calls(case)? == 0, "it called");
    ensure!(!case.left.facts("site")?.up, "it is up");
    Ok(())
}

/// IKE datagrams that reached port 500 of the right gateway since the peer died.
fn calls(case: &Case) -> Result<u64> {
    let list = case.sites.right.gateway.run("nft", &["list", "counter", "inet", "watch", "ike"])?;
    let packets = list.split_once("packets ").and_then(|(_, rest)| rest.split_once(' '));
    Ok(packets.context("a counter")?.0.parse()?)
}
