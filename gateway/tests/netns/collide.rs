//! Both sides rekey at the same moment, again and again, with traffic in both directions (RFC 7296 §2.8.1, §2.25).
//!
//! ```text
//!   left  ── CREATE_CHILD_SA ──┐ ┌── CREATE_CHILD_SA ── right      10 rounds as they come, then 2 in which the router holds
//!                              X                                   IKE back until both have asked: no luck is needed
//!   left  ◄────────────────────┘ └───────────────────► right
//!
//!   at the end: one IKE SA and one child, the same SPIs on both sides, nothing waiting to go
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use testkit::netns::{Between, Family};
use testkit::peer::{Peer, Sa, pause, wait_for};

use crate::List;
use crate::case::{Case, Tunnel};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    use What::{Child, Ike};
    let tunnel = |pair| Tunnel {
        between: Between::Router,
        edit: |left, right| {
            for side in [left, right] {
                // It gives up after three seconds otherwise, which a busy machine needs to tell both to begin.
                side.swan_extra = "delete_rekeyed_delay = 2\n  retransmit_tries = 8".into();
            }
        },
        ..gcm(pair)
    };
    list.every_pair("collide/child-child", tunnel, |case| collide(case, [(Child, Child); 2]));
    list.every_pair("collide/ike-ike", tunnel, |case| collide(case, [(Ike, Ike); 2]));
    list.every_pair("collide/crosswise", tunnel, |case| {
        collide(case, [(Child, Ike), (Ike, Child)])
    });
}

#[derive(Debug, Clone, Copy)]
enum What {
    Child,
    Ike,
}

/// What left and right do in even and in odd rounds.
fn collide(case: &mut Case, turns: [(What, What); 2]) -> Result<()> {
    case.up()?;
    case.while_flowing(|case| {
        while_pinging(case, |case| {
            for (round, (left, right)) in (0..FREE_ROUNDS).zip(turns.into_iter().cycle()) {
                both(case, left, right)?;
                pause(Duration::from_millis(150 + 40 * (round % 4)));
            }
            for (left, right) in turns {
                // Requests alone are to be lost: a peer that lost an answer as well may have deleted what we would ask about.
                at_rest(case, 1)?;
                hold(case, true)?;
                both(case, left, right)?;
                hold(case, false)?;
                pause(Duration::from_millis(1200));
            }
            Ok(())
        })
    })?;
    for swan in [&case.left, &case.right].into_iter().filter(|peer| peer.kind() == "swan") {
        let met = [" collision with ", "N(TEMP_FAIL)"].iter().any(|word| swan.log().contains(word));
        ensure!(met, "there was no collision");
    }
    at_rest(case, 1)?;
    case.ping_all()?;
    // What is left can still be used, and is all that there is: the status shows the newest of each child, this all.
    crate::rekey::ike_now(case, true)?;
    for ours in [&case.left, &case.right].into_iter().filter_map(|peer| peer.as_ours()) {
        let before = case.facts()?;
        let told = ours.tell(&["rekey", "site"])?;
        ensure!(told.contains("rekeying 1 child SA"), "{told}");
        case.wait_changed(&before, "a new child SA", |before, after| {
            before.child_spis != after.child_spis
        })?;
    }
    case.ping_all()
}

/// Both at once. One that refuses is one that has just begun by itself what it is asked for.
fn both(case: &Case, left: What, right: What) -> Result<()> {
    let ask = |peer: &dyn Peer, what| match what {
        What::Child => peer.rekey_child("site"),
        What::Ike => peer.rekey_ike("site"),
    };
    let (one, other) = (case.left.as_ref(), case.right.as_ref());
    let asked = std::thread::scope(|scope| {
        let there = scope.spawn(move || ask(other, right).is_ok());
        let here = ask(one, left).is_ok();
        Ok::<_, anyhow::Error>(
            here || there.join().map_err(|_| anyhow!("a rekeying thread panicked"))?,
        )
    })?;
    ensure!(asked, "neither side would rekey");
    Ok(())
}

/// Loses IKE in both directions, or lets it pass again, both in the same moment; ESP always passes.
fn hold(case: &Case, on: bool) -> Result<()> {
    let router = case.sites.router.as_ref().ok_or_else(|| anyhow!("no router is in between"))?;
    router.nft(if on {
        "add table inet hold
         add chain inet hold between { type filter hook forward priority 0; }
         add rule inet hold between udp dport 4500 @th,64,32 0 drop\n"
    } else {
        "delete table inet hold\n"
    })
}

/// Runs `body` while both hosts ping each other, a hundred times a second, and wants every ping answered, but for those that
/// never got as far as strongSwan: its socket has the kernel's default buffer, some 90 packets, which overflows while a busy
/// machine gives charon no turn.
pub(crate) fn while_pinging(
    case: &mut Case,
    body: impl FnOnce(&mut Case) -> Result<()>,
) -> Result<()> {
    let over = AtomicBool::new(false);
    let sides = [(&case.sites.left, &case.sites.right), (&case.sites.right, &case.sites.left)];
    let sides = sides.map(|(from, to)| (from.host.name().to_owned(), to));
    let hosts = sides.map(|(name, to)| (name, to.host_address(Family::V4, 0)));
    let over = &over;
    let before = overflows(case)?;
    std::thread::scope(|scope| {
        let pings = hosts.map(|(name, to)| {
            scope.spawn(move || -> Result<(u32, u32)> {
                testkit::netns::enter(&name)?;
                let (mut sent, mut answered) = (0, 0);
                while !over.load(Ordering::Relaxed) {
                    let gap = Duration::from_millis(10);
                    sent += u32::from(BATCH);
                    answered += u32::from(testkit::ping::ping(to, BATCH, gap, PATIENCE)?);
                }
                Ok((sent, answered))
            })
        });
        let outcome = body(case);
        over.store(true, Ordering::Relaxed);
        let mut lost = 0;
        for ping in pings {
            let (sent, answered) =
                ping.join().map_err(|_| anyhow!("a pinging thread panicked"))??;
            lost += u64::from(sent - answered);
        }
        outcome?;
        let overflown = overflows(case)? - before;
        ensure!(lost <= overflown, "{lost} pings were lost, {overflown} packets by full buffers");
        Ok(())
    })
}

/// Datagrams that the kernel dropped in front of strongSwan, for want of room in its socket.
fn overflows(case: &Case) -> Result<u64> {
    let sides = [(&case.left, &case.sites.left), (&case.right, &case.sites.right)];
    let swans = sides.into_iter().filter(|(peer, _)| peer.kind() == "swan");
    let counts = swans.map(|(_, site)| {
        let text = site.gateway.run("cat", &["/proc/net/snmp"])?;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, numbers) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
        let mut columns = names.split(' ').zip(numbers.split(' '));
        let (_, number) = columns
            .find(|(name, _)| *name == "RcvbufErrors")
            .ok_or_else(|| anyhow!("no RcvbufErrors in {text}"))?;
        Ok(number.parse::<u64>()?)
    });
    counts.sum()
}

/// Waits until both sides list the same one IKE SA with `children` children and nothing else: no SA that waits for its end,
/// no second child with the same traffic.
pub(crate) fn at_rest(case: &Case, children: usize) -> Result<()> {
    let mut seen = [Vec::new(), Vec::new()];
    wait_for("both sides to have the same SAs and no more", Duration::from_secs(15), || {
        seen = [case.left.sas()?, case.right.sas()?];
        Ok(alike(&seen, children).then_some(()))
    })
    .map_err(|error| error.context(format!("{seen:#?}")))
}

fn alike([left, right]: &[Vec<Sa>; 2], children: usize) -> bool {
    let ([left], [right]) = (left.as_slice(), right.as_slice()) else { return false };
    let spis = |sa: &Sa, turned: bool| {
        let turn = |(a, b): (String, String)| if turned { (b, a) } else { (a, b) };
        let mut spis: Vec<_> = sa.children.iter().map(|child| turn(child.spis.clone())).collect();
        spis.sort();
        spis
    };
    let whole = |sa: &Sa| {
        sa.established
            && sa.children.len() == children
            && sa.children.iter().all(|child| child.installed)
    };
    whole(left) && whole(right) && left.spis == right.spis && spis(left, false) == spis(right, true)
}

const FREE_ROUNDS: u64 = 10;
/// Pings that are sent before all of them have to be answered.
const BATCH: u16 = 50;
const PATIENCE: Duration = Duration::from_secs(1);
