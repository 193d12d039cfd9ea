//! What carries on when something dies: another connection for the same networks, or another endpoint of the same peer.
//!
//! ```text
//!   left 192.0.2.1 ══ 192.0.2.2 right      10.2.0.2 lives behind both
//!                 └══ 198.51.100.3 third
//! ```

#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value answers null, it does not panic"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use testkit::gateway::Ours;
use testkit::netns::{Between, Family, Netns, Sites};
use testkit::peer::{ConnectionSpec, GatewaySpec, Peer, now, pause, wait_for};

use crate::List;
use crate::case::{GAP, Pair, keep, program, tail};
use crate::redirect::{connection, same_network};

pub(crate) fn list(list: &mut List) {
    if !Pair::all().contains(&Pair::OursToOurs) {
        return;
    }
    let mut add = |name: &'static str, hubs: fn() -> Hubs, body: fn(&mut Stage) -> Result<()>| {
        list.add(name, false, move || {
            run(name, &hubs(), body).map_err(|error| format!("{error:#}"))
        });
    };
    add("failover/metric", || Hubs::Rivals(""), metric);
    add("failover/monitor-icmp", || Hubs::Rivals(ICMP), monitor);
    add("failover/monitor-tcp", || Hubs::Rivals(TCP), monitor);
    add("failover/dead-hub", || Hubs::OnePeer(""), dead_hub);
    add("failover/command", || Hubs::OnePeer(""), command);
    add(
        "failover/back-by-itself",
        || Hubs::OnePeer("failover = { failback = \"auto\", probe = \"1s\" }"),
        back,
    );
    add(
        "failover/stays",
        || Hubs::OnePeer("failover = { failback = \"manual\", probe = \"1s\" }"),
        stays,
    );
    add("failover/dns", || Hubs::Named, dns);
    add("failover/hub-stops", || Hubs::OnePeer(""), hub_stops);
    add("failover/kept", || Hubs::OnePeer(""), kept);
    add("failover/killed", || Hubs::OnePeer(""), killed);
    add("failover/started-without-dns", || Hubs::Named, without_dns);
}

/// How the left one knows the two others.
enum Hubs {
    /// Two connections, the right one with the better metric, and what else that one says.
    Rivals(&'static str),
    /// One connection to a peer of two endpoints, and what else it says.
    OnePeer(&'static str),
    /// One connection to a peer with a name.
    Named,
}

struct Stage {
    sites: Sites,
    hosts: Hosts,
    left: Ours,
    right: Ours,
    third: Ours,
}

/// The name of the hub.
const NAME: &str = "hub.example.test";

/// What `ip netns exec` puts in the place of /etc/hosts; removed when dropped.
struct Hosts(PathBuf);

impl Hosts {
    fn new(netns: &Netns, address: &str) -> Result<Self> {
        let hosts = Self(Path::new("/etc/netns").join(netns.name()));
        std::fs::create_dir_all(&hosts.0)?;
        hosts.lead_to(address)?;
        Ok(hosts)
    }

    fn lead_to(&self, address: &str) -> Result<()> {
        Ok(std::fs::write(
            self.0.join("hosts"),
            format!("127.0.0.1 localhost\n{address} {NAME}\n"),
        )?)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const DPD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));

fn run(name: &str, hubs: &Hubs, body: fn(&mut Stage) -> Result<()>) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("s2st").tempdir()?;
    let sites = Sites::new(Between::WireAndThird)?;
    let third = sites.third.as_ref().context("a third site")?;
    same_network(third)?;
    let make = |netns: &Netns, name: &str, connections: Vec<ConnectionSpec>| {
        let listen = connections.first().map(|one| one.local.clone()).filter(|it| it != "%any");
        let listen = listen.into_iter().collect();
        let spec = GatewaySpec { name: name.into(), listen, connections };
        Ours::new(program(), netns, spec, dir.path())
    };
    let base = ConnectionSpec { dpd: DPD, ..connection(&sites) };
    let (to_right, to_third) = (sites.right.outer(Family::V4), third.outer(Family::V4));
    let (calls, at_third) = match hubs {
        Hubs::Rivals(extra) => {
            let best = ConnectionSpec { ours_extra: (*extra).into(), ..base.clone() };
            let backup = ConnectionSpec {
                name: "backup".into(),
                remote: Some(to_third.clone()),
                remote_id: "third.example.org".into(),
                ours_extra: "metric = 200".into(),
                ..base.clone()
            };
            let at_third = ConnectionSpec { local: to_third, remote: None, ..backup.mirrored() };
            (vec![best, backup], ConnectionSpec { name: "site".into(), ..at_third })
        }
        Hubs::Named => {
            let one = ConnectionSpec { remote: Some(NAME.into()), ..base.clone() };
            (vec![one], ConnectionSpec { local: to_third, remote: None, ..base.mirrored() })
        }
        Hubs::OnePeer(extra) => {
            let one = ConnectionSpec {
                remote: Some(format!("{to_right},{to_third}")),
                ours_extra: (*extra).into(),
                ..base.clone()
            };
            (vec![one], ConnectionSpec { local: to_third, remote: None, ..base.mirrored() })
        }
    };
    let at_right = ConnectionSpec { remote: None, ..base.mirrored() };
    let (left, right, there) = (
        make(&sites.left.gateway, "left", calls)?,
        make(&sites.right.gateway, "right", vec![plain(at_right)])?,
        make(&third.gateway, "third", vec![plain(at_third)])?,
    );
    let hosts = Hosts::new(&sites.left.gateway, "192.0.2.2")?;
    let mut stage = Stage { sites, hosts, left, right, third: there };
    let outcome = (|| {
        stage.right.start()?;
        stage.third.start()?;
        stage.left.start()?;
        up(&stage.left, "site")?;
        wait_for("the first ping", Duration::from_secs(3), || ping(&stage))?;
        body(&mut stage)
    })();
    outcome.map_err(|error| {
        let logs = [&stage.left, &stage.right, &stage.third].map(|one| tail(&one.log(), 60));
        let said = format!("{error:#}\n{}\n{}", stage.left.status(), logs.join("\n==\n"));
        let kept = std::fs::write(dir.path().join("report.txt"), said)
            .map_err(anyhow::Error::from)
            .and_then(|()| keep(&dir, name));
        error.context(format!("everything is in {kept:?}"))
    })
}

/// What is meant for the left side only.
fn plain(one: ConnectionSpec) -> ConnectionSpec {
    ConnectionSpec { ours_extra: String::new(), ..one }
}

/// The better connection dies, the other one carries, and the better one takes over again.
fn metric(stage: &mut Stage) -> Result<()> {
    up(&stage.left, "backup")?;
    // The policy follows the SAs within a tenth of a second.
    pause(Duration::from_millis(300));
    let third = stage.sites.third.as_ref().context("a third site")?;
    let before = third.counted()?.0;
    ensure!(pings(stage, 5)? == 5, "pings lost");
    ensure!(third.counted()?.0 == before, "the worse one carried though the better one was up");
    stage.right.daemon().kill()?;
    let died = now();
    wait_for("the other one to carry", DPD.1 + Duration::from_secs(2), || ping(stage))?;
    ensure!(died.elapsed() > Duration::from_secs(1), "nothing died");
    ensure!(pings(stage, 10)? == 10, "pings lost over the other one");
    let third = stage.sites.third.as_ref().context("a third site")?;
    ensure!(third.counted()?.0 > before, "it went elsewhere");
    stage.right.start()?;
    up(&stage.left, "site")?;
    pause(Duration::from_millis(300));
    let before = stage.sites.third.as_ref().context("a third site")?.counted()?.0;
    ensure!(pings(stage, 10)? == 10, "pings lost on the way back");
    let after = stage.sites.third.as_ref().context("a third site")?.counted()?.0;
    // A liveness check is IKE, not ESP.
    ensure!(after == before, "the worse one still carries: {before} {after}");
    for site in [&stage.sites.left, &stage.sites.right] {
        ensure!(site.counted()?.1 == 0, "packets left in the clear");
    }
    Ok(())
}

/// Asks a host behind the better connection.
const ICMP: &str = "monitor = [{ kind = \"icmp\", target = \"10.2.0.2\", interval = \"1s\", \
    fail_after = 2, max_latency = \"500ms\" }]";
const TCP: &str = "monitor = [{ kind = \"tcp\", target = \"10.2.0.2\", port = 7, interval = \"1s\", \
    fail_after = 2, max_latency = \"500ms\" }]";

/// The better connection is up and nothing comes through: the other one carries until that is over.
fn monitor(stage: &mut Stage) -> Result<()> {
    up(&stage.left, "backup")?;
    // Somebody listens on the port, at both places.
    let third = stage.sites.third.as_ref().context("a third site")?;
    let listen = || Ok(std::net::TcpListener::bind("10.2.0.2:7")?);
    let _listening = [stage.sites.right.host.inside(listen)?, third.host.inside(listen)?];
    let until = |stage: &Stage, wanted: &'static str, code: &'static str| {
        wait_for(&format!("site to be {wanted}"), Duration::from_secs(8), || {
            let json = stage.left.json()?;
            let one = &json["connections"][0];
            let is_so =
                one["state"] == wanted && one["reason"]["code"].as_str().unwrap_or("") == code;
            Ok(is_so.then_some(()))
        })
    };
    // Until somebody listened TCP was refused.
    until(stage, "up", "")?;
    stage.sites.right.gateway.ip("link set lan down\n")?;
    until(stage, "degraded", "E1020")?;
    pause(Duration::from_millis(300));
    ensure!(pings(stage, 10)? == 10, "the other one does not carry");
    // Its questions go on over the connection that they are about: it does not get well by the other one.
    pause(Duration::from_secs(3));
    ensure!(!stage.left.log().contains("event=monitor-ok"), "it got well by the other one");
    stage.sites.right.gateway.ip("link set lan up\n")?;
    until(stage, "up", "")?;
    pause(Duration::from_millis(300));
    let third = stage.sites.third.as_ref().context("a third site")?;
    let before = third.counted()?.0;
    ensure!(pings(stage, 10)? == 10, "pings lost on the way back");
    ensure!(third.counted()?.0 == before, "the worse one still carries");
    let log = stage.left.log();
    ensure!(log.contains("event=monitor-failed") && log.contains("event=monitor-ok"), "no events");
    Ok(())
}

/// The name leads to the other hub while the first one is alive: we go there and lose nothing.
fn dns(stage: &mut Stage) -> Result<()> {
    at(stage, "192.0.2.2")?;
    stage.hosts.lead_to("198.51.100.3")?;
    wait_for("the connection to follow the name", Duration::from_mins(1), || {
        Ok(at(stage, "198.51.100.3").ok())
    })?;
    ensure!(pings(stage, 10)? == 10, "pings lost");
    let third = stage.sites.third.as_ref().context("a third site")?;
    ensure!(third.counted()?.0 > 0, "it did not go there");
    ensure!(!stage.left.log().contains("event=down conn=site"), "it was down in between");
    Ok(())
}

fn dead_hub(stage: &mut Stage) -> Result<()> {
    stage.right.daemon().kill()?;
    wait_for("traffic by way of the other hub", DPD.1 + Duration::from_secs(2), || ping(stage))?;
    at(stage, "198.51.100.3")?;
    let status = stage.left.tell(&["status", "site"])?;
    ensure!(status.contains("degraded") && status.contains("W0702"), "{status}");
    ensure!(stage.left.log().contains("event=failover"), "no event");
    Ok(())
}

fn command(stage: &mut Stage) -> Result<()> {
    let spis = |stage: &Stage| -> Result<Vec<String>> {
        Ok(stage.left.sas()?.into_iter().map(|sa| sa.spis).collect())
    };
    let to_third = ["failover", "site", "--to", "198.51.100.3"];
    let said = stage.left.tell(&[to_third.as_slice(), &["--probe"]].concat())?;
    ensure!(said.contains("198.51.100.3:500 answers"), "{said}");
    let before = spis(stage)?;
    stage.third.daemon().kill()?;
    for refused in [to_third.as_slice(), &["failover", "site"]] {
        let said = stage.left.tell(refused).expect_err("a dead endpoint was taken").to_string();
        ensure!(said.contains("does not answer") && said.contains("stays at 192.0.2.2"), "{said}");
    }
    let said =
        stage.left.tell(&["failover", "site", "--to", "203.0.113.9"]).expect_err("a stranger");
    ensure!(said.to_string().contains("192.0.2.2, 198.51.100.3"), "{said}");
    ensure!(spis(stage)? == before, "the SA did not stay");
    ensure!(pings(stage, 5)? == 5, "pings lost");
    stage.third.start()?;
    for (to, state) in [("198.51.100.3", "degraded"), ("192.0.2.2", "up")] {
        let lost = while_pinging(stage, |stage| {
            let said = stage.left.tell(&["failover", "site"])?;
            ensure!(said.contains(&format!("goes to {to}")), "{said}");
            at(stage, to)
        })?;
        ensure!(lost <= 1, "{lost} pings lost on the way to {to}");
        let json = stage.left.json()?;
        ensure!(json["connections"][0]["state"] == state, "{json}");
        ensure!(json["connections"][0]["peer"]["endpoints"][1]["probe"] == "ok", "{json}");
    }
    ensure!(stage.left.log().contains("event=failback"), "no event");
    Ok(())
}

/// The operator of a hub stops it: it says so, and its spokes go to the other one without asking it again.
fn hub_stops(stage: &mut Stage) -> Result<()> {
    let before = stage.left.log();
    let (status, _) = stage.right.daemon().stop(Signal::TERM)?;
    ensure!(status.success(), "{status}");
    wait_for("traffic by way of the other hub", Duration::from_secs(4), || ping(stage))?;
    at(stage, "198.51.100.3")?;
    let log = stage.left.log();
    let log = log.strip_prefix(&before).context("the log grew")?;
    ensure!(log.contains("reason=peer-deleted"), "{log}");
    ensure!(
        !log.contains("event=connecting conn=site peer=192.0.2.2"),
        "it was asked again: {log}"
    );
    Ok(())
}

/// Where a command went is where the next start goes, and whence a command came back there nobody goes any more.
fn kept(stage: &mut Stage) -> Result<()> {
    for (to, state) in [("198.51.100.3", "degraded"), ("192.0.2.2", "up")] {
        stage.left.tell(&["failover", "site", "--to", to])?;
        at(stage, to)?;
        stage.left.daemon().kill()?;
        let before = stage.left.log();
        stage.left.start()?;
        wait_for(&format!("the connection to be at {to}"), Duration::from_secs(5), || {
            Ok(at(stage, to).ok())
        })?;
        let log = stage.left.log();
        let log = log.strip_prefix(&before).context("the log grew")?;
        let calls = log.matches("event=connecting").count();
        ensure!(calls == 1, "it called {calls} times: {log}");
        let json = stage.left.json()?;
        ensure!(json["connections"][0]["state"] == state, "{json}");
        wait_for("a ping", Duration::from_secs(3), || ping(stage))?;
    }
    // What dies is no place to stay at: the preference of the file counts again.
    stage.left.tell(&["failover", "site", "--to", "198.51.100.3"])?;
    at(stage, "198.51.100.3")?;
    stage.third.daemon().kill()?;
    wait_for("traffic", DPD.1 + Duration::from_secs(2), || ping(stage))?;
    stage.third.start()?;
    pause(Duration::from_millis(1500));
    stage.left.daemon().kill()?;
    stage.left.start()?;
    wait_for("the preferred endpoint", Duration::from_secs(5), || Ok(at(stage, "192.0.2.2").ok()))
}

/// In the midst of a failover: afterwards it is at one of the two, its packets pass, and its routes are right.
fn killed(stage: &mut Stage) -> Result<()> {
    for moment in crate::killed::MOMENTS {
        let to = if stage.left.log().matches("event=starting").count() % 2 == 1 {
            "198.51.100.3"
        } else {
            "192.0.2.2"
        };
        let mut command = stage.left.command(&["failover", "site", "--to", to, "--control"]);
        command.arg(stage.left.config().with_extension("sock"));
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut client = command.spawn()?;
        pause(Duration::from_millis(moment));
        stage.left.daemon().kill()?;
        client.wait()?;
        let gateway = &stage.sites.left.gateway;
        let left_over = crate::killed::routes(gateway)?;
        ensure!(left_over.is_empty(), "{moment} ms: left over: {left_over:?}");
        stage.left.start()?;
        wait_for(&format!("a ping after {moment} ms"), Duration::from_secs(10), || ping(stage))?;
        let found = crate::killed::routes(&stage.sites.left.gateway)?;
        let expected = [stage.sites.right.subnet(Family::V4, 0)].into_iter().collect();
        ensure!(found == expected, "{moment} ms: {found:?} instead of {expected:?}");
        let json = stage.left.json()?;
        ensure!(json["connections"][0]["ike"].is_object(), "{json}");
        ensure!(!json["warnings"].to_string().contains("W0604"), "half a file: {json}");
    }
    Ok(())
}

/// Nobody can say where the name leads: it leads where the peer was last.
fn without_dns(stage: &mut Stage) -> Result<()> {
    let file = stage.left.config().with_extension("state.json");
    wait_for("the address to be kept", Duration::from_secs(5), || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        Ok(text.contains("\"192.0.2.2\"").then_some(()))
    })?;
    stage.left.daemon().kill()?;
    std::fs::write(stage.hosts.0.join("hosts"), "127.0.0.1 localhost\n")?;
    stage.left.start()?;
    wait_for("a ping without a name", Duration::from_secs(15), || ping(stage))?;
    at(stage, "192.0.2.2")?;
    ensure!(stage.left.log().contains("event=former-address"), "it found the name");
    // When the name is known again it is followed.
    stage.hosts.lead_to("198.51.100.3")?;
    wait_for("the connection to follow the name", Duration::from_mins(1), || {
        Ok(at(stage, "198.51.100.3").ok())
    })
}

/// With `failback = "auto"`.
fn back(stage: &mut Stage) -> Result<()> {
    dead_hub(stage)?;
    stage.right.start()?;
    wait_for("the preferred endpoint to be in use", Duration::from_secs(10), || {
        Ok(at(stage, "192.0.2.2").ok())
    })?;
    ensure!(pings(stage, 10)? == 10, "pings lost");
    ensure!(stage.left.log().contains("event=failback"), "no event");
    let json = stage.left.json()?;
    ensure!(json["connections"][0]["state"] == "up", "{json}");
    Ok(())
}

/// With `failback = "manual"`.
fn stays(stage: &mut Stage) -> Result<()> {
    dead_hub(stage)?;
    stage.right.start()?;
    wait_for("the preferred endpoint to answer", Duration::from_secs(8), || {
        let json = stage.left.json()?;
        Ok((json["connections"][0]["peer"]["endpoints"][0]["probe"] == "ok").then_some(()))
    })?;
    pause(Duration::from_secs(3));
    at(stage, "198.51.100.3")?;
    ensure!(pings(stage, 5)? == 5, "pings lost");
    Ok(())
}

/// The pings lost of those that are sent all the time while `body` runs, and a second longer.
fn while_pinging(stage: &Stage, body: impl FnOnce(&Stage) -> Result<()>) -> Result<u16> {
    const COUNT: u16 = 150;
    let (host, to) = (&stage.sites.left.host, stage.sites.right.host_address(Family::V4, 0));
    std::thread::scope(|scope| {
        let pinger = scope.spawn(|| host.ping(to, COUNT, Duration::from_millis(20)));
        pause(Duration::from_millis(200));
        let done = body(stage);
        let answered = pinger.join().map_err(|_| anyhow::anyhow!("the pinger panicked"))??;
        done.map(|()| COUNT - answered)
    })
}

/// Waits until the connection is at this endpoint.
fn at(stage: &Stage, address: &str) -> Result<()> {
    wait_for(&format!("the connection to be at {address}"), Duration::from_secs(2), || {
        let json = stage.left.json()?;
        let active = json["connections"][0]["peer"]["active"].as_str().unwrap_or_default();
        let is_up = json["connections"][0]["ike"].is_object();
        Ok((is_up && active.starts_with(address)).then_some(()))
    })
}

fn up(peer: &Ours, connection: &str) -> Result<()> {
    wait_for(&format!("{connection} to be up"), Duration::from_secs(10), || {
        Ok(peer.facts(connection)?.up.then_some(()))
    })
}

fn ping(stage: &Stage) -> Result<Option<()>> {
    Ok((pings(stage, 1)? == 1).then_some(()))
}

fn pings(stage: &Stage, count: u16) -> Result<u16> {
    stage.sites.left.host.ping(stage.sites.right.host_address(Family::V4, 0), count, GAP)
}
