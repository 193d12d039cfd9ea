//! The end of a tunnel and its return: peers that die, deletes by either side, signals.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use testkit::netns::Between;
use testkit::peer::{Peer, now, pause, wait_for};

use crate::List;
use crate::case::{Case, Pair, Tunnel};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    list.every_pair("liveness/left-killed", gcm, |case| killed(case, true));
    list.every_pair("liveness/right-killed", gcm, |case| killed(case, false));
    list.every_pair("liveness/left-restarted-at-once", gcm, restarted);
    list.every_pair("delete/by-left", gcm, |case| deleted(case, true));
    list.every_pair("delete/by-right", gcm, |case| deleted(case, false));
    if Pair::all().contains(&Pair::OursToOurs) {
        let nat = Tunnel { between: Between::Nat, ..gcm(Pair::OursToOurs) };
        list.tunnel("down-and-up/of-a-peer-at-any-address", nat, let_in_again);
    }
    for pair in Pair::all() {
        let name = pair.name();
        if name == "ours-to-swan" {
            list.tunnel("delete/child-by-right", gcm(pair), child_deleted);
        }
        if name.starts_with("ours") {
            list.tunnel("down-and-up", gcm(pair), down_and_up);
        }
        for (signal, word) in [(Signal::TERM, "sigterm"), (Signal::INT, "sigint")] {
            if name.contains("ours") {
                let name = format!("stop/{word}");
                list.tunnel(&name, Tunnel { subnets: 2, ..gcm(pair) }, move |case| {
                    stopped(case, signal)
                });
                let name = format!("stop/{word}-when-the-peer-is-gone");
                list.tunnel(&name, gcm(pair), move |case| stopped_alone(case, signal));
            }
        }
    }
}

/// A peer that dies without a word is noticed within the timeout; when it is back, so is the tunnel.
fn killed(case: &mut Case, left: bool) -> Result<()> {
    case.up()?;
    case.ping_all()?;
    let (_, timeout) = case.tunnel.dpd;
    let (victim, survivor) = split(case, left);
    victim.daemon().kill()?;
    let dead = now();
    // strongSwan's own timeout begins with its next look at the clock, ours with the last packet.
    let slack = if survivor.kind() == "swan" { 2 } else { 1 };
    let patience = timeout + Duration::from_secs(slack);
    wait_for(&format!("{} to notice", survivor.kind()), patience, || {
        Ok((!survivor.facts("site")?.up).then_some(()))
    })?;
    let noticed = dead.elapsed();
    ensure!(noticed > Duration::from_secs(1), "noticed after {noticed:?}: that was not DPD");
    says(survivor, &[("ours", "dpd-timeout"), ("swan", "giving up after 3 retransmits")])?;
    pause(Duration::from_secs(1));
    victim.start()?;
    let back = now();
    case.wait_ping(Duration::from_secs(5)).context("after the peer came back")?;
    case.wait_up(Duration::from_secs(5).saturating_sub(back.elapsed()))?;
    case.ping_all()
}

/// An initiator that forgot everything calls again before anybody missed it (INITIAL_CONTACT, RFC 7296 §2.4).
fn restarted(case: &mut Case) -> Result<()> {
    case.up()?;
    let before = case.facts()?;
    case.left.daemon().kill()?;
    case.left.start()?;
    let back = now();
    case.wait_changed(&before, "a new IKE SA", |before, after| before.ike_spi != after.ike_spi)?;
    case.wait_ping(Duration::from_secs(5).saturating_sub(back.elapsed()))?;
    case.ping_all()?;
    // The old SAs do not come back, and their end takes nothing along.
    pause(case.tunnel.dpd.1 + Duration::from_secs(1));
    let after = case.facts()?;
    ensure!(after.iter().all(|facts| facts.up && facts.child_spis.len() == 1), "{after:?}");
    case.ping_all()
}

/// One side deletes the IKE SA: the other says so, and the initiator makes a new one.
fn deleted(case: &mut Case, left: bool) -> Result<()> {
    case.up()?;
    let before = case.facts()?;
    let (deleter, other) = split(case, left);
    deleter.restart("site")?;
    says(other, &[("ours", "peer-deleted"), ("swan", "received DELETE for IKE_SA")])?;
    case.wait_changed(&before, "a new IKE SA", |before, after| before.ike_spi != after.ike_spi)?;
    case.wait_ping(Duration::from_secs(2))?;
    case.ping_all()
}

/// strongSwan deletes the child alone: we make it anew on the same IKE SA.
fn child_deleted(case: &mut Case) -> Result<()> {
    case.up()?;
    let before = case.facts()?;
    let swan = case.right.as_swan().context("the right one is strongSwan")?;
    swan.swanctl(&["--terminate", "--child", "site-v4"])?;
    case.wait_changed(&before, "a new child", |before, after| {
        before.child_spis != after.child_spis
    })?;
    let after = case.facts()?;
    ensure!(before[0].ike_spi == after[0].ike_spi, "the IKE SA changed too");
    case.wait_ping(Duration::from_secs(2))?;
    case.ping_all()
}

/// Whoever has no address to be called at is let in again by `up`, and by `restart`, which is both.
fn let_in_again(case: &mut Case) -> Result<()> {
    case.up()?;
    let before = case.facts()?;
    case.right.restart("site")?;
    case.wait_changed(&before, "a new IKE SA", |before, after| before.ike_spi != after.ike_spi)?;
    let hub = case.right.as_ours().context("the right one is ours")?;
    hub.tell(&["down", "site"])?;
    wait_for("the spoke to lose the tunnel", Duration::from_secs(2), || {
        Ok((!case.left.facts("site")?.up).then_some(()))
    })?;
    let hub = case.right.as_ours().context("the right one is ours")?;
    ensure!(hub.tell(&["up", "site"])?.contains("waits for its peer"), "it calls whom?");
    case.wait_up(Duration::from_secs(10))?;
    case.ping_all()
}

/// `down` lasts until `up`, whatever the peer does.
fn down_and_up(case: &mut Case) -> Result<()> {
    case.up()?;
    let ours = case.left.as_ours().context("the left one is ours")?;
    ours.tell(&["down", "site"])?;
    wait_for("the other side to lose the tunnel", Duration::from_secs(2), || {
        Ok((!case.right.facts("site")?.up).then_some(()))
    })?;
    pause(Duration::from_millis(1500));
    let status = ours.json()?;
    ensure!(
        status.pointer("/connections/0/state").is_some_and(|state| state == "disabled"),
        "{status}"
    );
    ensure!(!case.right.facts("site")?.up, "it came back by itself");
    ours.tell(&["up", "site"])?;
    case.wait_up(Duration::from_secs(5))?;
    case.ping_all()
}

/// A signal ends our daemon within two seconds, politely and without a trace.
fn stopped(case: &mut Case, signal: Signal) -> Result<()> {
    case.up()?;
    case.ping_all()?;
    let left = case.left.kind() == "ours";
    let (ours, other) = split(case, left);
    let (status, took) = ours.daemon().stop(signal)?;
    ensure!(status.code() == Some(0), "exit: {status}");
    ensure!(took <= Duration::from_secs(2), "it took {took:?} to end");
    says(other, &[("ours", "peer-deleted"), ("swan", "received DELETE for IKE_SA")])?;
    wait_for("the other side to lose the tunnel", Duration::from_secs(2), || {
        Ok((!other.facts("site")?.up).then_some(()))
    })?;
    let site = if left { &case.sites.left } else { &case.sites.right };
    let ours = if left { &case.left } else { &case.right };
    crate::host::nothing_left(&site.gateway, ours.as_ours().context("ours")?)
}

/// Nobody answers the DELETE, and still it ends in time.
fn stopped_alone(case: &mut Case, signal: Signal) -> Result<()> {
    case.up()?;
    let left = case.left.kind() == "ours";
    let (ours, other) = split(case, left);
    other.daemon().kill()?;
    let (status, took) = ours.daemon().stop(signal)?;
    let code = format!("{took:.1?}, {:?}", status.code());
    testkit::measured::measured("T32", "a signal while the peer is dead", code, "<= 2 s, code 0");
    ensure!(status.code() == Some(0), "exit: {status}");
    ensure!(took <= Duration::from_secs(2), "it took {took:?} to end");
    let site = if left { &case.sites.left } else { &case.sites.right };
    let ours = if left { &case.left } else { &case.right };
    crate::host::nothing_left(&site.gateway, ours.as_ours().context("ours")?)
}

/// (the one that acts, the one that looks on)
fn split(case: &mut Case, left: bool) -> (&mut dyn Peer, &mut dyn Peer) {
    let Case { left: one, right: other, .. } = case;
    if left { (one.as_mut(), other.as_mut()) } else { (other.as_mut(), one.as_mut()) }
}

/// Waits until the log of a gateway has the words for its kind.
pub(crate) fn says(peer: &dyn Peer, words: &[(&str, &str)]) -> Result<()> {
    let Some((_, words)) = words.iter().find(|(kind, _)| *kind == peer.kind()) else {
        bail!("no words for {}", peer.kind())
    };
    let what = format!("{} to log \"{words}\"", peer.kind());
    wait_for(&what, Duration::from_secs(3), || Ok(peer.log().contains(words).then_some(())))
}
