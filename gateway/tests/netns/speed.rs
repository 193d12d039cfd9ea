//! TCP as fast as it goes, every octet compared: super-packets through rekeys, losses, raw ESP, IPv6, to strongSwan, and a
//! thousand connections that are too short for them.
//!
//! ```text
//!   host ══ 64 KiB ══► gateway ── trains of ESP ──► gateway ══ 64 KiB ══► host       both ways at once
//! ```
//!
//! `BULK_MB` says how much each way the longest of them carries; the others carry a part of it.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use testkit::datagrams::{Load, Shape, datagrams};
use testkit::flow::{Flow, Plan, Report};
use testkit::netns::{Family, Site};
use testkit::peer::{ConnectionSpec, now, pause, wait_for};
use testkit::requests::{Requests, requests};

use crate::List;
use crate::case::{Case, Pair, STALL, Tunnel, measured};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    for pair in Pair::all().into_iter().filter(|pair| pair.has_swan()) {
        list.tunnel("speed/paced", gcm(pair), paced);
    }
    if !Pair::all().contains(&Pair::OursToOurs) {
        return;
    }
    let ours = || gcm(Pair::OursToOurs);
    list.tunnel("speed/through-rekeys", ours(), through_rekeys);
    let inner = vec![Family::V6];
    list.tunnel("speed/v6-in-v6", Tunnel { outer: Family::V6, inner, ..ours() }, bulk);
    let edit = |left: &mut ConnectionSpec, right: &mut ConnectionSpec| {
        for side in [left, right] {
            side.ours_extra = "encap = \"auto\"".into();
        }
    };
    list.tunnel("speed/raw-esp", Tunnel { edit, ..ours() }, raw_esp);
    let edit = |left: &mut ConnectionSpec, right: &mut ConnectionSpec| {
        for side in [left, right] {
            side.ours_extra = "replay_window = 32".into();
        }
    };
    list.tunnel("speed/narrow-window", Tunnel { edit, ..ours() }, narrow_window);
    list.tunnel("speed/cbc", Tunnel::new(Pair::OursToOurs), bulk);
    list.tunnel("speed/one-in-100-lost", ours(), |case| lossy(case, 1));
    list.tunnel("speed/five-in-100-lost", ours(), |case| lossy(case, 5));
    list.tunnel("speed/short-connections", ours(), short_connections);
}

/// Octets each way: `parts` in 200 of what `BULK_MB` says, so that many megabytes if it says nothing.
pub(crate) fn megabytes(parts: u64) -> u64 {
    let bulk = std::env::var("BULK_MB").ok().and_then(|value| value.parse().ok());
    bulk.unwrap_or(BULK) * 1_000_000 / BULK * parts
}

/// So much each way at once, nothing lost or late; says how it went.
pub(crate) fn carry(
    case: &Case,
    family: Family,
    octets: u64,
    stall: Duration,
) -> Result<[Report; 2]> {
    let (from, to) = (&case.sites.left.host, &case.sites.right);
    let plan = Plan { octets, pace: None };
    let reports = Flow::start(from, &to.host, to.host_address(family, 0), plan)?.wait()?;
    for report in &reports {
        report.check(stall)?;
        ensure!(report.received == octets, "incomplete: {report:?}");
    }
    measured(&format!("{family:?} carried {:.0?} MB/s", reports.each_ref().map(rate)));
    Ok(reports)
}

/// MB/s.
fn rate(report: &Report) -> f64 {
    let millis = u32::try_from(report.elapsed.as_millis()).unwrap_or(u32::MAX);
    let kilobytes = u32::try_from(report.received / 1000).unwrap_or(u32::MAX);
    f64::from(kilobytes) / f64::from(millis)
}

/// A child rekey every half second, by either side in turn, and an IKE rekey among them, until everything is through.
fn through_rekeys(case: &mut Case) -> Result<()> {
    case.up()?;
    let octets = megabytes(200);
    let to = case.sites.right.host_address(Family::V4, 0);
    let plan = Plan { octets: u64::MAX, pace: None };
    let flow = Flow::start(&case.sites.left.host, &case.sites.right.host, to, plan)?;
    let (begun, mut rounds) = (now(), 0);
    while rounds < ROUNDS_LEAST || flow.progress().iter().any(|got| *got < octets) {
        let late = begun.elapsed() > Duration::from_secs(20 + octets / 5_000_000);
        ensure!(!late, "{:?} of {octets} after {:?}", flow.progress(), begun.elapsed());
        let due = begun + REKEY_EVERY * (rounds + 1);
        pause(due.saturating_duration_since(now()));
        if rounds == 2 {
            crate::rekey::ike_now(case, true)?;
        }
        crate::rekey::child_now(case, rounds % 2 == 0)?;
        rounds += 1;
    }
    let reports = flow.finish()?;
    measured(&format!("{rounds} rekeys, {:.0?} MB/s", reports.each_ref().map(rate)));
    reports.iter().try_for_each(|report| report.check(STALL))?;
    case.encrypted()?;
    case.dropped_only(&[])
}

fn bulk(case: &mut Case) -> Result<()> {
    case.up()?;
    for family in &case.tunnel.inner {
        carry(case, *family, megabytes(50), STALL)?;
    }
    case.encrypted()?;
    case.dropped_only(&[])?;
    in_one_piece(case)
}

/// Both devices carried super-packets; otherwise all of this tried nothing.
pub(crate) fn in_one_piece(case: &Case) -> Result<()> {
    for ours in [&case.left, &case.right].into_iter().filter_map(|peer| peer.as_ours()) {
        let (status, (rx, tx)) = (ours.json()?, ours.device_packets()?);
        let child = status.pointer("/connections/0/children/0");
        let count = |name| child.and_then(|child| child.get(name)?.as_u64()).unwrap_or(0);
        let (sent, received) = (count("tx_packets"), count("rx_packets"));
        // Acknowledgments are not merged, which is up to half of the packets each way.
        ensure!(
            rx * 3 < received * 2 && tx * 3 < sent * 2,
            "{received} packets came as {rx}, {sent} packets left as {tx}"
        );
    }
    Ok(())
}

/// The window that every receiver has to have (RFC 4303 §3.4.3) and many have no more: what overtakes on the way out must not
/// leave it. Short datagrams and acknowledgments between the bulk make every kind of train.
pub(crate) fn narrow_window(case: &mut Case) -> Result<()> {
    case.up()?;
    let (from, to) = (&case.sites.left, &case.sites.right);
    let load = Load { flows: 4, bursts: 400, shape: Shape::Burst(200), pace: 2_000_000 };
    let case = &*case;
    std::thread::scope(|scope| {
        let sides = [(from, to), (to, from)];
        let short = sides.map(|(from, to)| {
            let address = to.host_address(Family::V4, 0);
            scope.spawn(move || datagrams(&from.host, &to.host, address, load))
        });
        let plan = Requests { count: 1000, parallel: 50, request: 2000, answer: 200_000 };
        let address = to.host_address(Family::V4, 0);
        let answered = scope.spawn(move || requests(&from.host, &to.host, address, plan));
        let carried = carry(case, Family::V4, megabytes(50), STALL);
        answered.join().unwrap_or_else(|_| bail!("a thread panicked"))?;
        // The bulk may fill the device's queue, which then drops some of them.
        for one in short {
            drop(one.join());
        }
        carried.map(drop)
    })?;
    case.encrypted()?;
    case.dropped_only(&[])
}

fn raw_esp(case: &mut Case) -> Result<()> {
    case.up()?;
    carry(case, Family::V4, megabytes(20), STALL)?;
    for site in [&case.sites.left, &case.sites.right] {
        let in_udp = site.gateway.counted("esp_in_udp")?;
        ensure!(in_udp == 0, "{in_udp} ESP packets went in UDP");
    }
    case.encrypted()?;
    case.dropped_only(&[])
}

/// strongSwan's socket has room for some 90 packets, so that it is not asked for more than it can.
fn paced(case: &mut Case) -> Result<()> {
    case.up()?;
    let (from, to) = (&case.sites.left.host, &case.sites.right);
    let plan = Plan { octets: megabytes(50), pace: Some(SWAN_MOST) };
    let reports = Flow::start(from, &to.host, to.host_address(Family::V4, 0), plan)?.wait()?;
    for report in &reports {
        report.check(STALL)?;
        ensure!(report.received == plan.octets, "incomplete: {report:?}");
    }
    case.encrypted()?;
    case.dropped_only(&[])
}

/// The wire loses packet by packet: the kernel has to cut trains before they reach it.
///
/// What TCP does then depends on what it has to wait for. A lost packet costs it no time to speak of, but one whose repetition
/// is lost too costs a timeout, 200 ms at least. That is one packet in 1 / p², so the floor is 1 / p² packets in 800 ms: a
/// timeout that was doubled, and that again for a busy machine; and what a busy machine carries, if it is less.
fn lossy(case: &mut Case, percent: u64) -> Result<()> {
    for site in [&case.sites.left, &case.sites.right] {
        site.gateway.ip("link set dev out gso_max_segs 1\n")?;
    }
    case.up()?;
    for site in [&case.sites.left, &case.sites.right] {
        site.gateway.nft(&format!(
            "add counter inet watch lost
             add rule inet watch in iifname \"out\" udp dport 4500 @th,64,32 != 0 \
             numgen random mod 100 < {percent} counter name lost drop\n"
        ))?;
    }
    let floor = (1400 * (100 / percent).pow(2) * 10 / 8).min(MACHINE_LEAST);
    // Timeouts in a row double each other: three of them are rare.
    for report in carry(case, Family::V4, megabytes(20), STALL * 5)? {
        let millis = u64::try_from(report.elapsed.as_millis())?.max(1);
        let goodput = report.received * 1000 / millis;
        ensure!(goodput > floor, "{goodput} octets a second, not {floor}: {report:?}");
    }
    for site in [&case.sites.left, &case.sites.right] {
        let (lost, (esp, _)) = (site.gateway.counted("lost")?, site.counted()?);
        let apart = esp > megabytes(20) / 1500;
        ensure!(apart, "{esp} packets only: the wire did not carry them one by one");
        let about = esp * percent / 100;
        ensure!((about / 2..about * 2).contains(&lost), "{lost} of {esp} packets were lost");
    }
    case.encrypted()?;
    case.dropped_only(&[])
}

fn short_connections(case: &mut Case) -> Result<()> {
    case.up()?;
    let plan = Requests { count: megabytes(1) / 1000, parallel: 50, request: 2000, answer: 20_000 };
    let (from, to) = (&case.sites.left.host, &case.sites.right);
    let begun = now();
    let slowest = requests(from, &to.host, to.host_address(Family::V4, 0), plan)?;
    measured(&format!("{} short ones: {:.1?}, {slowest:.1?}", plan.count, begun.elapsed()));
    // One lost SYN would cost a second; the device's queue may have dropped it.
    let device = |site: &Site| site.gateway.run("ip", &["-s", "link", "show", "s2s0"]);
    let devices = [device(&case.sites.left)?, device(&case.sites.right)?].concat();
    ensure!(slowest <= STALL, "one took {slowest:?}: {devices}");
    wait_for("both to have nothing more to do", STALL, || Ok(case.facts().ok()))?;
    case.encrypted()?;
    case.dropped_only(&[])
}

/// Megabytes if nobody says otherwise.
const BULK: u64 = 200;
const REKEY_EVERY: Duration = Duration::from_millis(500);
/// However fast the machine is: the IKE rekey and four child rekeys by each side.
const ROUNDS_LEAST: u32 = 8;
/// Octets per second that strongSwan is sent.
const SWAN_MOST: u64 = 5_000_000;
/// Octets per second, each way at once, that even a debug build on a busy machine carries packet by packet.
const MACHINE_LEAST: u64 = 2_000_000;
