//! Rekeys by either side while TCP runs: no octet lost, no stall over a second (RFC 7296 §2.8, make before break).

use std::thread::ScopedJoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use testkit::netns::Family;
use testkit::peer::pause;

use crate::List;
use crate::case::{Case, Pair, Tunnel};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    list.tunnel("harness/rekey", gcm(Pair::SwanToSwan), |case| child(case, true));
    list.tunnel("harness/stall-is-seen", gcm(Pair::SwanToSwan), stall_is_seen);
    for (name, tunnel) in
        [("rekey/child", without_pfs as fn(Pair) -> Tunnel), ("rekey/child-pfs", with_pfs)]
    {
        list.every_pair(&format!("{name}/by-left"), tunnel, |case| child(case, true));
        list.every_pair(&format!("{name}/by-right"), tunnel, |case| child(case, false));
    }
    list.every_pair("rekey/ike/by-left", gcm, |case| ike(case, true));
    list.every_pair("rekey/ike/by-right", gcm, |case| ike(case, false));
    list.every_pair("rekey/no-packet-lost", with_pfs, no_packet_lost);
    list.every_pair("rekey/all-in-turn", with_pfs, in_turn);
}

/// The measure itself: a wire that is cut for a second and a half must fail the check.
fn stall_is_seen(case: &mut Case) -> Result<()> {
    case.up()?;
    let outcome = case.while_flowing(|case| {
        let wire = &case.sites.right.gateway;
        wire.nft("add rule inet watch in iifname \"out\" udp dport 4500 drop\n")?;
        pause(Duration::from_millis(1500));
        wire.nft("flush chain inet watch in\n")
    });
    match outcome {
        Ok(reports) => bail!("nobody saw the stall: {reports:?}"),
        Err(error) => {
            ensure!(error.to_string().contains("stalled for more than"), "{error:#}");
            Ok(())
        }
    }
}

fn without_pfs(pair: Pair) -> Tunnel {
    gcm(pair)
}

fn with_pfs(pair: Pair) -> Tunnel {
    gcm(pair).suite("aes256gcm16-prfsha256-curve25519", "aes256gcm16-curve25519")
}

fn child(case: &mut Case, left: bool) -> Result<()> {
    case.up()?;
    case.while_flowing(|case| child_now(case, left))?;
    case.ping_all()
}

fn ike(case: &mut Case, left: bool) -> Result<()> {
    case.up()?;
    case.while_flowing(|case| ike_now(case, left))?;
    case.ping_all()?;
    // The children moved to the new IKE SA: it can rekey them.
    child_now(case, left)?;
    case.ping_all()
}

/// Every rekey after every other, on the SAs that the one before made.
fn in_turn(case: &mut Case) -> Result<()> {
    case.up()?;
    case.while_flowing(|case| {
        for left in [true, false] {
            child_now(case, left)?;
            ike_now(case, left)?;
            child_now(case, !left)?;
        }
        Ok(())
    })?;
    case.ping_all()
}

/// TCP repairs a lost packet; a ping does not. 200 a second, both ways at once, through every kind of rekey.
fn no_packet_lost(case: &mut Case) -> Result<()> {
    case.up()?;
    let gap = Duration::from_millis(5);
    let sides = [(&case.sites.left, &case.sites.right), (&case.sites.right, &case.sites.left)];
    std::thread::scope(|scope| {
        let pings = sides.map(|(from, to)| {
            let to = to.host_address(Family::V4, 0);
            scope.spawn(move || from.host.ping(to, PINGS, gap))
        });
        for left in [true, false] {
            child_now(case, left)?;
            ike_now(case, left)?;
        }
        let over = pings.iter().any(ScopedJoinHandle::is_finished);
        ensure!(!over, "the pings ended before the rekeys");
        for ping in pings {
            let answered = ping.join().map_err(|_| anyhow!("a pinging thread panicked"))??;
            ensure!(answered == PINGS, "{answered} of {PINGS} pings answered");
        }
        Ok(())
    })
}

/// Four seconds of them.
const PINGS: u16 = 800;

pub(crate) fn child_now(case: &Case, left: bool) -> Result<()> {
    let before = case.facts()?;
    by(case, left).rekey_child("site")?;
    case.wait_changed(&before, "a new child SA", |before, after| {
        after.child_spis.iter().all(|spi| !before.child_spis.contains(spi))
    })?;
    for (before, after) in before.iter().zip(case.facts()?) {
        ensure!(before.ike_spi == after.ike_spi, "the IKE SA changed too");
    }
    Ok(())
}

pub(crate) fn ike_now(case: &Case, left: bool) -> Result<()> {
    let before = case.facts()?;
    by(case, left).rekey_ike("site")?;
    case.wait_changed(&before, "a new IKE SA", |before, after| before.ike_spi != after.ike_spi)?;
    for (before, after) in before.iter().zip(case.facts()?) {
        ensure!(before.child_spis == after.child_spis, "the children did not move as they are");
    }
    Ok(())
}

fn by(case: &Case, left: bool) -> &dyn testkit::peer::Peer {
    if left { case.left.as_ref() } else { case.right.as_ref() }
}
