//! Several workers: one child SA for each where the peer takes part (RFC 9611), one that all share where it does not.
//!
//! ```text
//!   ours, 3 workers ══ 3 SAs ══ ours, 3 workers     nothing overtakes within an SA: a window of 32 packets is enough
//!   ours, 3 workers ══ 1 SA ═══ strongSwan 5.9      which does not know SA_RESOURCE_INFO, and is not asked for more
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testkit::gateway::Ours;
use testkit::netns::Family;
use testkit::peer::{ConnectionSpec, pause, wait_for};
use testkit::requests::{Requests, requests};

use crate::List;
use crate::case::{Case, Pair, STALL, Tunnel};
use crate::lifecycle::says;
use crate::rekey::{child_now, ike_now};
use crate::speed::{carry, megabytes, narrow_window};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    list.every_pair("workers/three", gcm, |case| with_swan_or_ours(case, [3, 3]));
    if !Pair::all().contains(&Pair::OursToOurs) {
        return;
    }
    let ours = || gcm(Pair::OursToOurs);
    list.tunnel("workers/two-and-four", ours(), |case| with_swan_or_ours(case, [2, 4]));
    list.tunnel("workers/one-and-three", ours(), |case| with_swan_or_ours(case, [1, 3]));
    let edit = |left: &mut ConnectionSpec, right: &mut ConnectionSpec| {
        for side in [left, right] {
            side.ours_extra = "replay_window = 32".into();
        }
    };
    list.tunnel("workers/narrow-window", Tunnel { edit, ..ours() }, |case| {
        write_workers(case, [3, 3])?;
        narrow_window(case)?;
        served(case, [3, 3])?;
        each_carries(case)
    });
    list.tunnel("workers/worn", ours(), |case| {
        // At five megabytes a second each is due after some ten seconds.
        write_in(case, "[policy.site]\n", |_| "esp_lifebytes = \"60MB\"\n".into())?;
        up(case, [2, 2])?;
        served(case, [2, 2])?;
        case.while_flowing(|_| {
            pause(Duration::from_secs(13));
            Ok(())
        })?;
        served(case, [2, 2])?;
        says(case.left.as_ref(), &[("ours", "event=rekeyed")])?;
        case.dropped_only(&[])
    });
}

/// Adds a line to the configuration of each side that is ours.
fn write_in(case: &Case, table: &str, line: impl Fn(usize) -> String) -> Result<()> {
    for (side, peer) in [&case.left, &case.right].into_iter().enumerate() {
        let Some(ours) = peer.as_ours() else { continue };
        let toml = std::fs::read_to_string(ours.config())?;
        let with = toml.replacen(table, &format!("{table}{}", line(side)), 1);
        std::fs::write(ours.config(), with)?;
    }
    Ok(())
}

/// Starts both with so many workers.
fn up(case: &mut Case, workers: [usize; 2]) -> Result<()> {
    write_workers(case, workers)?;
    case.up()
}

/// Says in each configuration how many workers there are.
fn write_workers(case: &Case, [left, right]: [usize; 2]) -> Result<()> {
    let line = |side| format!("workers = {}\n", if side == 0 { left } else { right });
    write_in(case, "[gateway]\n", line)
}

/// The SAs beside the one that stands for the child: which worker, and the packets that each has carried.
fn of_workers(ours: &Ours) -> Result<Vec<(u64, u64)>> {
    let status = ours.json()?;
    let all = status.pointer("/connections/0/children/0/of_workers").and_then(Value::as_array);
    let number = |sa: &Value, name: &str| sa.get(name).and_then(Value::as_u64);
    let each =
        all.into_iter().flatten().map(|sa| Some((number(sa, "worker")?, number(sa, "packets")?)));
    each.collect::<Option<_>>().context("a worker and what it carried")
}

/// Waits until all of ours with all of ours have as many SAs as the larger number of workers, one for each.
fn served(case: &Case, workers: [usize; 2]) -> Result<()> {
    let most = workers.into_iter().max().unwrap_or(1);
    for ours in [&case.left, &case.right].into_iter().filter_map(|peer| peer.as_ours()) {
        wait_for("an SA for each worker", Duration::from_secs(10), || {
            Ok((of_workers(ours)?.len() + 1 == most).then_some(()))
        })?;
    }
    Ok(())
}

/// Each SA beside the first has carried something, at both ends the same, and the sum is no more than the child's.
fn each_carries(case: &Case) -> Result<()> {
    for ours in [&case.left, &case.right].into_iter().filter_map(|peer| peer.as_ours()) {
        let each = of_workers(ours)?;
        ensure!(each.iter().all(|(_, packets)| *packets > 100), "{each:?}");
        let status = ours.json()?;
        let child = status.pointer("/connections/0/children/0").context("a child")?;
        let count = |name| child.get(name).and_then(Value::as_u64).unwrap_or(0);
        let (all, further) = (
            count("tx_packets") + count("rx_packets"),
            each.iter().map(|(_, packets)| packets).sum::<u64>(),
        );
        ensure!(further < all, "{further} of {all} packets: {each:?}");
    }
    Ok(())
}

/// Fifty connections at once, through rekeys of every SA by either side and of the IKE SA: no octet is lost, nothing stalls.
fn with_swan_or_ours(case: &mut Case, workers: [usize; 2]) -> Result<()> {
    up(case, workers)?;
    let swan = case.tunnel.pair.has_swan();
    if swan {
        // Longer than it takes to ask.
        pause(Duration::from_secs(3));
        for ours in [&case.left, &case.right].into_iter().filter_map(|peer| peer.as_ours()) {
            ensure!(of_workers(ours)?.is_empty(), "{:?}", of_workers(ours)?);
        }
    } else {
        served(case, workers)?;
    }
    case.while_flowing(|case| {
        for left in [true, false] {
            child_now(case, left)?;
            ike_now(case, left)?;
        }
        Ok(())
    })?;
    if swan {
        return case.ping_all();
    }
    served(case, workers)?;
    let plan = Requests { count: 400, parallel: 50, request: 2000, answer: 50_000 };
    let (from, to) = (&case.sites.left.host, &case.sites.right);
    let slowest = requests(from, &to.host, to.host_address(Family::V4, 0), plan)?;
    ensure!(slowest <= STALL, "one took {slowest:?}");
    carry(case, Family::V4, megabytes(20), STALL)?;
    case.encrypted()?;
    case.dropped_only(&[])
}
