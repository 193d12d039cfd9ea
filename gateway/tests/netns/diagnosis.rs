//! What an operator asks when something does not work, and what hosts are told: `explain`, `doctor`, `ping`, `traceroute`,
//! and ICMP "unreachable" with the code that names the fault.
//!
//! ```text
//!   break one thing ─► the command names it, and its layer, and what to do; exit 1
//!   nothing broken  ─► exit 0
//! ```

#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value answers null, it does not panic"
)]

use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};
use testkit::gateway::Ours;
use testkit::netns::{Family, Netns};
use testkit::peer::{ConnectionSpec, wait_for};

use crate::List;
use crate::case::{Case, GAP, Pair, Tunnel};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    let pair = Pair::OursToOurs;
    if !Pair::all().contains(&pair) {
        return;
    }
    let to_swan = Pair::OursToSwan;
    let psk = |_: &mut ConnectionSpec, right: &mut ConnectionSpec| {
        right.psk = "another key that is long enough for anybody".into();
    };
    list.tunnel("diagnosis/explain", gcm(pair), explain);
    list.tunnel("diagnosis/explain-narrowed", Tunnel { edit: wider, ..gcm(pair) }, narrowed);
    list.tunnel("diagnosis/doctor-healthy", gcm(pair), healthy);
    list.tunnel("diagnosis/doctor-healthy", gcm(to_swan), healthy);
    list.tunnel("diagnosis/doctor-wrong-psk", Tunnel { edit: psk, ..gcm(to_swan) }, wrong_psk);
    list.tunnel("diagnosis/doctor-dead-peer", gcm(pair), dead_peer);
    list.tunnel("diagnosis/doctor-blocked-esp", gcm(pair), blocked_esp);
    list.tunnel("diagnosis/doctor-no-forwarding", gcm(pair), no_forwarding);
    list.tunnel("diagnosis/doctor-no-daemon", gcm(pair), no_daemon);
    list.tunnel("diagnosis/ping", gcm(pair), ping);
    list.tunnel("diagnosis/icmp-no-policy", gcm(pair), icmp_no_policy);
    list.tunnel("diagnosis/icmp-not-connected", gcm(pair), icmp_not_connected);
}

/// A command to the daemon: exit code and what it printed.
fn run(ours: &Ours, arguments: &[&str]) -> Result<(i32, String)> {
    let mut command = ours.command(arguments);
    command.arg("--control").arg(ours.config().with_extension("sock"));
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let failed = String::from_utf8_lossy(&output.stderr);
    ensure!(!failed.contains("panicked"), "{arguments:?}: {failed}");
    Ok((output.status.code().context("a signal")?, said + &failed))
}

/// The command ends so and says all of the words.
fn says(ours: &Ours, arguments: &[&str], code: i32, words: &[&str]) -> Result<String> {
    let (ended, said) = run(ours, arguments)?;
    ensure!(ended == code, "{arguments:?}: exit {ended}, not {code}: {said}");
    for word in words {
        ensure!(said.contains(word), "{arguments:?}: no {word:?} in: {said}");
    }
    Ok(said)
}

fn left(case: &Case) -> Result<&Ours> {
    case.left.as_ours().context("the left side is ours")
}

fn doctor(case: &Case, code: i32, words: &[&str]) -> Result<String> {
    let ours = left(case)?;
    let config = ours.config().display().to_string();
    says(ours, &["doctor", "-c", &config], code, words)
}

fn explain(case: &mut Case) -> Result<()> {
    case.up()?;
    let ours = left(case)?;
    let way = ["explain", "10.1.0.2", "10.2.0.2", "-p", "tcp", "--dport", "443"];
    let good = [
        "(out, site/",
        "✓ route",
        "dev s2s0",
        "✓ policy",
        "✓ sa ",
        "✓ size",
        "✓ outer",
        "it would pass",
    ];
    let said = says(ours, &way, 0, &good)?;
    ensure!(!said.contains('✗') && !said.contains('\x1b'), "{said}");
    says(ours, &["explain", "10.2.0.2", "10.1.0.2"], 0, &["(in, site/", "✓ route in", "dev lan"])?;
    let json =
        says(ours, &["explain", "10.1.0.2", "10.2.0.2", "--json"], 0, &["s2s-gw/explain/1"])?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    ensure!(json["passes"] == true && json["connection"] == "site", "{json}");

    let words = ["no connection has 10.77.0.1", "it stops at route"];
    says(ours, &["explain", "10.1.0.2", "10.77.0.1"], 1, &words)?;
    // The second network of the left side is not in the tunnel.
    let words = ["✓ route", "✗ policy", "only from 10.1.0.0/24", "local_subnets"];
    says(ours, &["explain", "10.11.0.2", "10.2.0.2"], 1, &words)?;
    says(ours, &["explain", "10.1.0.2", "2001:db8::1"], 1, &["different address families"])?;
    says(ours, &["explain", "10.1.0.2", "10.2.0.2", "--dport", "1"], 2, &["-p tcp"])?;

    let gateway = &case.sites.left.gateway;
    gateway.ip("route add 10.2.0.2/32 via 192.0.2.2\n")?;
    let words = ["it stops at route", "10.2.0.2/32 via 192.0.2.2 dev out", "more specific route"];
    says(ours, &["explain", "10.1.0.2", "10.2.0.2"], 1, &words)?;
    gateway.ip("route del 10.2.0.2/32 via 192.0.2.2\n")?;

    ours.tell(&["down", "site"])?;
    let words = ["✗ connection", "site is disabled", "s2s-gw up site", "✗ sa"];
    says(ours, &way, 1, &words).map(drop)
}

/// The initiator asks for a network that the responder has but a part of.
fn wider(left: &mut ConnectionSpec, _: &mut ConnectionSpec) {
    left.remote_subnets = vec!["10.2.0.0/16".into()];
}

fn narrowed(case: &mut Case) -> Result<()> {
    case.up()?;
    let ours = left(case)?;
    says(ours, &["explain", "10.1.0.2", "10.2.0.2"], 0, &["it would pass"])?;
    let words = ["it stops at sa", "E1006", "10.2.0.0/24", "leaves this packet out"];
    says(ours, &["explain", "10.1.0.2", "10.2.55.1"], 1, &words)?;
    // Its host is told, too.
    let answer = answer_to(&case.sites.left.host, "10.1.0.2", "10.2.55.1")?;
    ensure!(answer == (3, 13), "{answer:?}");
    Ok(())
}

fn healthy(case: &mut Case) -> Result<()> {
    case.up()?;
    let words = [
        "✓ rights",
        "✓ ike 500",
        "✓ ike 4500",
        "✓ esp",
        "✓ way out",
        "✓ way in",
        "✓ ping",
        "nothing",
    ];
    let said = doctor(case, 0, &words)?;
    ensure!(!said.contains('✗'), "{said}");
    let ours = left(case)?;
    let json = says(ours, &["doctor", "site", "--json"], 0, &["s2s-gw/doctor/1"])?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    ensure!(json["healthy"] == true && json["daemon"] == true, "{json}");
    says(ours, &["doctor", "nobody"], 4, &["no connection `nobody`"]).map(drop)
}

/// Waits until the connection has a reason for being down.
fn wait_code(case: &Case, codes: &[&str]) -> Result<()> {
    let ours = left(case)?;
    wait_for(&format!("{codes:?}"), Duration::from_secs(15), || {
        let json = ours.json()?;
        let code = json.pointer("/connections/0/reason/code").and_then(|code| code.as_str());
        Ok(code.is_some_and(|code| codes.contains(&code)).then_some(()))
    })
}

fn wrong_psk(case: &mut Case) -> Result<()> {
    case.start()?;
    wait_code(case, &["E1007"])?;
    let words = ["✓ ike 500", "first layer that fails is negotiation of site: E1007", "Fix: "];
    doctor(case, 1, &words).map(drop)
}

fn dead_peer(case: &mut Case) -> Result<()> {
    case.up()?;
    case.right.daemon().kill()?;
    wait_code(case, &["E1010", "E1001"])?;
    let words = ["✓ forward v4", "first layer that fails is path of site: E1001", "192.0.2.2:"];
    doctor(case, 1, &words).map(drop)
}

/// IKE passes, and ESP does not.
fn blocked_esp(case: &mut Case) -> Result<()> {
    case.start()?;
    for peer in [&case.left, &case.right] {
        wait_for("the tunnel", Duration::from_secs(10), || {
            Ok(peer.facts("site")?.up.then_some(()))
        })?;
    }
    case.sites.right.gateway.nft(
        "table inet block {
           chain in { type filter hook prerouting priority -400;
             iifname \"out\" udp dport 4500 @th,64,32 != 0 drop
             iifname \"out\" meta l4proto esp drop
           }
         }\n",
    )?;
    let to = case.sites.right.host_address(Family::V4, 0);
    // The daemon, too, calls ten packets without an answer one-way traffic.
    let _ = case.sites.left.host.ping(to, 12, GAP)?;
    let words =
        ["✓ ike 500", "✓ ike 4500", "first layer that fails is path of site: E1016", "4500"];
    doctor(case, 1, &words).map(drop)
}

fn no_forwarding(case: &mut Case) -> Result<()> {
    case.up()?;
    case.sites.left.gateway.sysctl(&[("ipv4/ip_forward", "0")])?;
    let words = [
        "✗ forward v4",
        "first layer that fails is host: W0501",
        "sysctl -w net.ipv4.ip_forward=1",
    ];
    doctor(case, 1, &words)?;
    let words = ["it stops at route: W0501", "sysctl"];
    says(left(case)?, &["explain", "10.1.0.2", "10.2.0.2"], 1, &words).map(drop)
}

/// Host and configuration are looked at all the same.
fn no_daemon(case: &mut Case) -> Result<()> {
    let words = ["✓ tun", "✓ check", "first layer that fails is daemon", "not running"];
    doctor(case, 1, &words)?;
    let ours = left(case)?;
    let config = ours.config();
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&config, text.replace("remote_subnets", "remote_subnet"))?;
    doctor(case, 1, &["first layer that fails is config: E0101", "remote_subnet"]).map(drop)
}

fn ping(case: &mut Case) -> Result<()> {
    case.up()?;
    let ours = left(case)?;
    let two = ["--count", "2", "--interval", "100ms"];
    let words =
        ["10.2.0.2 from 10.1.0.1 by site/", "1: 10.2.0.2 answers", "2 sent, 2 received, 0% lost"];
    says(ours, &[&["ping", "10.2.0.2"], &two[..]].concat(), 0, &words)?;
    let long = ["ping", "10.2.0.2", "--size", "1472", "--df", "--count", "1"];
    says(ours, &long, 1, &["too long for the path", "(ICMP 3/4)"])?;
    let long = ["ping", "10.2.0.2", "--size", "1472", "--count", "1"];
    says(ours, &long, 0, &["1 received"])?;
    let said = says(ours, &["traceroute", "10.2.0.2"], 0, &[" 1  10.2.0.1", " 2  10.2.0.2"])?;
    ensure!(said.lines().count() == 3, "{said}");
    // Nobody has the network: this host's kernel knows, and so does `explain`.
    let words = ["no route leads there"];
    says(ours, &["ping", "10.77.0.1", "--source", "10.1.0.1"], 1, &words)?;
    let json = says(ours, &["ping", "10.2.0.2", "--count", "1", "--json"], 0, &["s2s-gw/ping/1"])?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    ensure!(json["received"] == 1, "{json}");
    // A gateway without an address inside says what it needs.
    case.sites.left.gateway.ip("addr del 10.1.0.1/24 dev lan\n")?;
    wait_for("the address to be gone", Duration::from_secs(40), || {
        let (_, said) = run(ours, &["ping", "10.2.0.2", "--count", "1"])?;
        Ok(said.contains("management_ip").then_some(()))
    })
}

/// Type and code of the ICMP message that a UDP packet from a host of ours brings.
fn answer_to(host: &Netns, from: &str, to: &str) -> Result<(u8, u8)> {
    host.inside(|| {
        let to: IpAddr = to.parse()?;
        let (domain, protocol) = match to {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let icmp = Socket::new(domain, Type::RAW, Some(protocol))?;
        icmp.set_read_timeout(Some(Duration::from_millis(300)))?;
        let udp = UdpSocket::bind((from, 0))?;
        wait_for("an ICMP message", Duration::from_secs(10), || {
            // An error of the last one may be waiting.
            let _ = udp.send_to(b"is anybody there?", (to, 9));
            let mut buffer = [0; 2048];
            let len = match (&icmp).read(&mut buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let octets = buffer.get(..len).unwrap_or_default();
            let icmp = if to.is_ipv4() { octets.get(20..) } else { octets.get(..) };
            let (kind, code) =
                icmp.and_then(|icmp| Some((*icmp.first()?, *icmp.get(1)?))).context("short")?;
            let is_error = kind == if to.is_ipv4() { 3 } else { 1 };
            Ok(is_error.then_some((kind, code)))
        })
    })
}

fn icmp_no_policy(case: &mut Case) -> Result<()> {
    case.up()?;
    let (gateway, host) = (&case.sites.left.gateway, &case.sites.left.host);
    gateway.ip("route add 10.77.0.0/16 dev s2s0\nroute add 2001:db8:77::/64 dev s2s0\n")?;
    let answer = answer_to(host, "10.1.0.2", "10.77.0.1")?;
    ensure!(answer == (3, 0), "no network there: {answer:?}");
    let answer = answer_to(host, "2001:db8:1::2", "2001:db8:77::1")?;
    ensure!(answer == (1, 0), "no network there: {answer:?}");
    // From the second network of the left side, which is not in the tunnel.
    let answer = answer_to(host, "10.11.0.2", "10.2.0.2")?;
    ensure!(answer == (3, 13), "not from there: {answer:?}");
    let told = left(case)?.json()?;
    let told = told.pointer("/drops/told").context("what hosts were told")?;
    ensure!(told["no-route"].as_u64() >= Some(2) && told["source"].as_u64() >= Some(1), "{told}");
    // The host of this gateway sees it by `ping`, as a sentence.
    let words =
        ["network unreachable: no connection has it", "(ICMP 3/0)", "explain: it stops at policy"];
    let ping = ["ping", "10.77.0.1", "--source", "10.1.0.1", "--count", "1"];
    says(left(case)?, &ping, 1, &words).map(drop)
}

/// The peer was never there. A packet that comes up at once is not answered: it may have been what the tunnel waited for.
fn icmp_not_connected(case: &mut Case) -> Result<()> {
    case.left.start()?;
    let answer = answer_to(&case.sites.left.host, "10.1.0.2", "10.2.0.2")?;
    ensure!(answer == (3, 1), "{answer:?}");
    let told = left(case)?.json()?;
    let told = told.pointer("/drops/told").context("what hosts were told")?;
    ensure!(told["not-connected"].as_u64() >= Some(1), "{told}");
    Ok(())
}
