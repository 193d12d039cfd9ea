//! This host, as far as a tunnel depends on it. Everything is read, nothing is changed.
//!
//! ```text
//!   /proc, /sys           kernel, memory, processors, sysctls, counters, devices
//!   ip, ethtool, nft      routes and rules of ours, the device, offloads, our table; where these programs are
//! ```

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::Entry;
use crate::route;

/// What runs here.
pub(super) fn version(daemon: Option<&str>) -> Value {
    let features: Vec<&str> =
        [("aws-lc", cfg!(feature = "aws-lc")), ("watch", cfg!(feature = "watch"))]
            .into_iter()
            .filter_map(|(name, is_on)| is_on.then_some(name))
            .collect();
    let system = rustix::system::uname();
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    json!({
        "schema": "s2s-gw/bundle/1",
        "version": env!("CARGO_PKG_VERSION"),
        "daemon": daemon,
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
        "features": features,
        "architecture": std::env::consts::ARCH,
        "kernel": system.release().to_string_lossy(),
        "kernel_build": system.version().to_string_lossy(),
        "system": pretty.map(|name| name.trim_matches('"')),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
    })
}

/// One entry for each file of `host/`. `tun`: the device.
pub(super) fn facts(tun: &str) -> Vec<Entry> {
    let entry = |path: &str, about, text| Entry::new(path, about, text);
    let ours = [route::PROTOCOL, route::GUARD_PROTOCOL].map(|number| number.to_string());
    let [routes, guards] = ours.each_ref().map(String::as_str);
    let mut table = run("ip", &["-4", "route", "show", "table", "all", "proto", routes]);
    for (family, protocol) in [("-6", routes), ("-4", guards), ("-6", guards)] {
        let more = run("ip", &[family, "route", "show", "table", "all", "proto", protocol]);
        table = table.and_then(|table| more.map(|more| table + &more));
    }
    let rules = run("ip", &["-4", "rule"]).and_then(|v4| Ok(v4 + &run("ip", &["-6", "rule"])?));
    let default = run("ip", &["-4", "route", "show", "default"])
        .and_then(|v4| Ok(v4 + &run("ip", &["-6", "route", "show", "default"])?));
    vec![
        entry("host/cpu.txt", "processors", cpu()),
        entry("host/memory.txt", "memory", read("/proc/meminfo")),
        entry("host/sysctl.txt", "settings of the kernel that matter", Ok(sysctls(tun))),
        entry("host/routes.txt", "routes of ours", table),
        entry("host/default-route.txt", "where the rest goes", default),
        entry("host/rules.txt", "which table is asked", rules),
        entry("host/links.txt", "devices and their counters", run("ip", &["-s", "-d", "link"])),
        entry("host/addresses.txt", "addresses of this host", run("ip", &["address"])),
        entry("host/offloads.txt", "offloads of the device", run("ethtool", &["-k", tun])),
        entry("host/nft.txt", "tables of nf_tables", run("nft", &["list", "tables"])),
        entry("host/snmp.txt", "counters of IP, UDP, TCP and ICMP", read("/proc/net/snmp")),
        entry("host/softnet.txt", "counters of each processor", read("/proc/net/softnet_stat")),
        entry("host/xfrm.txt", "counters of the kernel's IPsec", read("/proc/net/xfrm_stat")),
    ]
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))
}

/// Model and flags once: all are alike as far as it matters here.
fn cpu() -> Result<String, String> {
    let all = read("/proc/cpuinfo")?;
    let count = all.lines().filter(|line| line.starts_with("processor")).count();
    let first = all.split("\n\n").next().unwrap_or_default();
    let wanted = ["model name", "flags", "Features", "CPU part", "cpu MHz"];
    let lines = first.lines().filter(|line| wanted.iter().any(|key| line.starts_with(key)));
    Ok(lines.fold(format!("processors: {count}\n"), |text, line| text + line + "\n"))
}

/// `net.ipv4.ip_forward = 1`, as sysctl(8) writes them.
fn sysctls(tun: &str) -> String {
    let mut names: Vec<String> = SYSCTLS.iter().map(|name| (*name).to_owned()).collect();
    for device in ["all", "default", tun] {
        names
            .extend(OF_DEVICES.iter().map(|(family, key)| format!("{family}/conf/{device}/{key}")));
    }
    let mut text = String::new();
    for name in names {
        if let Ok(value) = fs::read_to_string(format!("/proc/sys/net/{name}")) {
            let _ = writeln!(text, "net.{} = {}", name.replace('/', "."), value.trim());
        }
    }
    text
}

const SYSCTLS: [&str; 12] = [
    "ipv4/ip_forward",
    "ipv4/ip_no_pmtu_disc",
    "ipv4/ping_group_range",
    "ipv4/tcp_mtu_probing",
    "ipv4/icmp_ratelimit",
    "core/rmem_max",
    "core/rmem_default",
    "core/wmem_max",
    "core/wmem_default",
    "core/netdev_max_backlog",
    "core/netdev_budget",
    "core/optmem_max",
];

const OF_DEVICES: [(&str, &str); 7] = [
    ("ipv4", "forwarding"),
    ("ipv4", "rp_filter"),
    ("ipv4", "accept_redirects"),
    ("ipv4", "send_redirects"),
    ("ipv4", "src_valid_mark"),
    ("ipv6", "forwarding"),
    ("ipv6", "disable_ipv6"),
];

/// What a program says; a host need not have it.
fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).output().map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            format!("there is no program `{program}` here")
        } else {
            format!("`{program}` does not run: {error}")
        }
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().next().unwrap_or("nothing");
    Err(format!("`{program} {}` failed and said: {line}", arguments.join(" ")))
}
