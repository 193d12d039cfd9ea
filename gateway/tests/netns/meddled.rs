//! Others lay hands on what the gateway needs of its host (T39): the TUN device, its way out, its right to send. It goes on,
//! says what is wrong, costs no processor time meanwhile, and is back within two seconds.
//!
//! ```text
//!   ip link del s2s0            made anew, the same SAs        nft .. output drop     EPERM
//!   ip link set s2s0 down       switched on again              ip link set out down   ENETUNREACH
//!   ip link add s2s0 type veth  W0505 until it is free         narrow device          EMSGSIZE
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::measured::measured;
use testkit::netns::Family;
use testkit::peer::{now, pause, wait_for};

use crate::List;
use crate::case::{Case, Pair, Tunnel};
use crate::chatter::Chatter;
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    let long_lived = || Tunnel {
        dpd: (Duration::from_secs(5), Duration::from_secs(20)),
        ..gcm(Pair::OursToOurs)
    };
    list.tunnel("meddled/device", long_lived(), device);
    list.tunnel("meddled/device-name-taken", long_lived(), name_taken);
    list.tunnel("meddled/firewall", long_lived(), firewall);
    list.tunnel("meddled/no-way-out", long_lived(), no_way_out);
    list.tunnel("meddled/narrow", long_lived(), narrow);
}

/// The device is removed and switched off under load, again and again: the SAs are the same, and it is soon back.
fn device(case: &mut Case) -> Result<()> {
    case.up()?;
    let before = case.facts()?;
    let chatter = Chatter::start(&case.sites, &[Family::V4])?;
    let mut worst = Duration::ZERO;
    for lines in ["link del s2s0\n", "link set s2s0 down\n"].repeat(3) {
        case.sites.left.gateway.ip(lines)?;
        let meddled = now();
        // The route is gone with it until then.
        case.wait_ping(Duration::from_secs(5))?;
        worst = worst.max(meddled.elapsed());
        pause(Duration::from_millis(1200));
    }
    drop(chatter);
    measured(
        "T39",
        "back after the TUN device was deleted or switched off",
        format!("{worst:.1?}"),
        "<= 2 s",
    );
    ensure!(worst <= Duration::from_secs(2), "it took {worst:?}");
    ensure!(case.facts()? == before, "other SAs: {before:?}, {:?}", case.facts()?);
    case.exchange()?;
    let links = case.sites.left.gateway.run("ip", &["-o", "link", "show", "type", "tun"])?;
    ensure!(links.lines().count() == 1, "devices: {links}");
    Ok(())
}

/// Somebody else takes the name: degraded with a reason, idle, and mended when the name is free.
fn name_taken(case: &mut Case) -> Result<()> {
    case.up()?;
    let before = case.facts()?;
    case.sites.left.gateway.ip("link del s2s0\nlink add s2s0 type veth peer name taken\n")?;
    degraded(case, "device-lost", Some("W0505"))?;
    idle(case, "while the name of the TUN device is taken")?;
    case.sites.left.gateway.ip("link del s2s0\n")?;
    back(case, "the name of the TUN device is free")?;
    ensure!(case.facts()? == before, "other SAs: {before:?}, {:?}", case.facts()?);
    Ok(())
}

/// A rule drops what it sends: the kernel says EPERM to every packet.
fn firewall(case: &mut Case) -> Result<()> {
    case.up()?;
    let chatter = Chatter::start(&case.sites, &[Family::V4])?;
    case.sites.left.gateway.nft(
        "table inet wall { chain out { type filter hook output priority 0;
         oifname \"out\" udp dport { 500, 4500 } drop; }; }\n",
    )?;
    degraded(case, "cannot-send", None)?;
    ensure!(
        case.left.status().contains("not permitted") || case.left.status().contains("refused"),
        "no reason"
    );
    drop(chatter);
    idle(case, "while a firewall drops what is sent")?;
    case.sites.left.gateway.nft("delete table inet wall\n")?;
    back(case, "the firewall rule is gone")
}

/// The outer device goes down: every send fails.
fn no_way_out(case: &mut Case) -> Result<()> {
    case.up()?;
    let chatter = Chatter::start(&case.sites, &[Family::V4])?;
    case.sites.left.gateway.ip("link set out down\n")?;
    degraded(case, "", None)?;
    idle(case, "while the outer device is down, under load")?;
    drop(chatter);
    case.sites.left.gateway.ip("link set out up\n")?;
    back(case, "the outer device is up")
}

/// The outer device takes less than before: EMSGSIZE until the path MTU follows.
fn narrow(case: &mut Case) -> Result<()> {
    case.up()?;
    for mtu in [1000, 1500] {
        // What one end takes less of it drops without a word, on such a cable.
        for site in [&case.sites.left, &case.sites.right] {
            site.gateway.ip(&format!("link set out mtu {mtu}\n"))?;
        }
        let to = case.sites.right.host_address(Family::V4, 0);
        let stall = Duration::from_secs(2);
        testkit::flow::exchange(&case.sites.left.host, &case.sites.right.host, to, stall)?;
        measured(
            "T39",
            &format!("stall of TCP after an MTU of {mtu} on the way out"),
            "less",
            "<= 2 s",
        );
    }
    case.encrypted()
}

/// The left one says so, with a reason, and lives.
fn degraded(case: &mut Case, alert: &str, warning: Option<&str>) -> Result<()> {
    ensure!(case.left.daemon().ended()?.is_none(), "it ended");
    wait_for(&format!("the reason {alert}"), Duration::from_secs(4), || {
        let status = case.left.as_ours().context("ours")?.json()?;
        let text = |at: &str| status.pointer(at).map(ToString::to_string).unwrap_or_default();
        let state = text("/connections/0/state");
        let reason = text("/connections/0/reason/alert");
        let warned = warning.is_none_or(|code| text("/warnings").contains(code));
        Ok((state != "\"up\"" && reason.contains(alert) && reason.len() > 4 && warned)
            .then_some(()))
    })?;
    measured("T39", &format!("degraded with a reason: {alert}"), "yes", "yes");
    Ok(())
}

/// What it costs for two seconds, of one processor.
fn idle(case: &mut Case, when: &str) -> Result<()> {
    let pid = case.left.daemon().pid().context("it runs")?;
    let before = ticks(pid)?;
    pause(Duration::from_secs(2));
    let percent = (ticks(pid)? - before) / 2;
    measured("T39", &format!("processor time {when}"), format!("{percent} %"), "< 5 %");
    ensure!(percent < 5, "{percent} % of a processor {when}");
    ensure!(case.left.daemon().ended()?.is_none(), "it ended");
    Ok(())
}

fn back(case: &mut Case, after: &str) -> Result<()> {
    let mended = now();
    case.wait_ping(Duration::from_secs(10))?;
    let took = mended.elapsed();
    measured("T39", &format!("traffic back after {after}"), format!("{took:.1?}"), "<= 2 s");
    ensure!(took <= Duration::from_secs(2), "{took:?} after {after}");
    wait_for("the left one to say that it is up", Duration::from_secs(5), || {
        Ok(case.left.facts("site")?.up.then_some(()))
    })?;
    case.ping_all()
}

/// Hundredths of a second that the program has computed (proc(5): utime and stime).
pub(crate) fn ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit_once(") ").context("stat")?.1;
    let fields: Vec<&str> = after.split(' ').collect();
    let number = |at: usize| -> Result<u64> { Ok(fields.get(at).context("stat")?.parse()?) };
    Ok(number(11)? + number(12)?)
}
