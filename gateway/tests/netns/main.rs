//! Namespace tests: `s2s-gw` against strongSwan and against itself, as root, in network namespaces made by the test.
//!
//! ```text
//!   cargo xtask test                                  installs the peers, then runs these
//!   S2S_NETNS=1 cargo test --test netns [-- WORD]     these alone
//! ```
//!
//! Without `S2S_NETNS` every test is ignored, so that a plain `cargo test` asks for no root (with `off` there is none at
//! all). With it, a test whose programs are missing is ignored. `S2S_NETNS=harness` runs the list with strongSwan on both
//! sides: what fails then is the harness. `S2S_CHARON_LOG=4` and `S2S_GW_LOG=trace` make the logs longer; what a failed
//! test leaves is in `target/netns-failures/`.

mod bad_input;
mod bouncing;
mod capture;
mod case;
mod certificates;
mod chatter;
mod children;
mod collide;
mod datagrams;
mod dead_peer;
mod diagnosis;
mod dying;
mod failover;
mod fragments;
mod guard;
mod handed;
mod host;
mod hub;
mod interop;
mod kept;
mod killed;
mod leak;
mod lifecycle;
mod lifetimes;
mod many;
mod marks;
mod meddled;
mod moving;
mod mtu;
mod operate;
mod packets;
mod page;
mod path_mtu;
mod pfs;
mod port;
mod post_quantum;
mod redirect;
mod redirect_all;
mod refusal;
mod rekey;
mod relay;
mod reload;
mod secrets;
mod service;
mod sizes;
mod speed;
mod starved;
mod strangers;
mod suites;
mod traffic;
mod watch;
mod workers;

use std::path::Path;
use std::process::ExitCode;

use case::{Case, Pair, Tunnel};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    // This program again, as the one that starts a gateway in handed.rs.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == handed::STARTER) {
        let Err(error) = testkit::handover::run(arguments);
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    if std::env::var("S2S_NETNS").is_ok_and(|value| value == "off") {
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    // More would measure the machine: a charon and two gateways share the processors with the flows that they carry.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    let mut list = List { trials: Vec::new(), ours: reasons(false), swan: reasons(true) };
    traffic::list(&mut list);
    suites::list(&mut list);
    rekey::list(&mut list);
    collide::list(&mut list);
    children::list(&mut list);
    dead_peer::list(&mut list);
    diagnosis::list(&mut list);
    many::list(&mut list);
    moving::list(&mut list);
    mtu::list(&mut list);
    path_mtu::list(&mut list);
    pfs::list(&mut list);
    port::list(&mut list);
    post_quantum::list(&mut list);
    redirect::list(&mut list);
    redirect_all::list(&mut list);
    failover::list(&mut list);
    relay::list(&mut list);
    fragments::list(&mut list);
    lifetimes::list(&mut list);
    lifecycle::list(&mut list);
    refusal::list(&mut list);
    certificates::list(&mut list);
    reload::list(&mut list);
    hub::list(&mut list);
    bad_input::list(&mut list);
    interop::list(&mut list);
    strangers::list(&mut list);
    host::list(&mut list);
    operate::list(&mut list);
    packets::list(&mut list);
    capture::list(&mut list);
    page::list(&mut list);
    service::list(&mut list);
    handed::list(&mut list);
    kept::list(&mut list);
    killed::list(&mut list);
    guard::list(&mut list);
    starved::list(&mut list);
    secrets::list(&mut list);
    dying::list(&mut list);
    bouncing::list(&mut list);
    leak::list(&mut list);
    meddled::list(&mut list);
    speed::list(&mut list);
    sizes::list(&mut list);
    datagrams::list(&mut list);
    marks::list(&mut list);
    workers::list(&mut list);
    if interop::alone() {
        list.trials.retain(|trial| trial.name().starts_with("interop/"));
    }
    if list.ours.is_none() && !arguments.list {
        // What an earlier run left after kill -9; a failure shows soon enough.
        let _ = testkit::netns::sweep();
    }
    // A filter on the command line is one word; `cargo xtask robust` has many names.
    if let Ok(names) = std::env::var("S2S_TESTS") {
        let wanted = |trial: &Trial| names.split(' ').any(|name| trial.name().starts_with(name));
        list.trials.retain(wanted);
    }
    let conclusion = libtest_mimic::run(&arguments, list.trials);
    suites::report();
    conclusion.exit_code()
}

/// The tests so far, and why some cannot run here.
pub(crate) struct List {
    trials: Vec<Trial>,
    ours: Option<String>,
    swan: Option<String>,
}

impl List {
    /// A test of a tunnel between a pair of gateways.
    pub(crate) fn tunnel(
        &mut self,
        what: &str,
        tunnel: Tunnel,
        body: impl FnOnce(&mut Case) -> anyhow::Result<()> + Send + 'static,
    ) {
        let name = format!("{what}/{}", tunnel.pair.name());
        let swan = tunnel.pair.has_swan();
        let called = name.clone();
        self.add(name, swan, move || case::run(&called, tunnel, body));
    }

    /// A test that cannot run here, and what it would need.
    pub(crate) fn missing(&mut self, name: &str, packages: &str) {
        let told = format!("missing: {packages}");
        let trial = Trial::test(name, move || Err(Failed::from(told)));
        self.trials.push(trial.with_ignored_flag(true));
    }

    /// The same test for each pair with us in it.
    pub(crate) fn every_pair(
        &mut self,
        what: &str,
        tunnel: impl Fn(Pair) -> Tunnel,
        body: fn(&mut Case) -> anyhow::Result<()>,
    ) {
        for pair in Pair::all() {
            self.tunnel(what, tunnel(pair), body);
        }
    }

    /// A test that builds what it needs by itself.
    pub(crate) fn add(
        &mut self,
        name: impl Into<String>,
        swan: bool,
        body: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) {
        let missing = if swan { self.swan.clone() } else { self.ours.clone() };
        let ignored = missing.is_some();
        let trial = Trial::test(name, move || match missing {
            Some(missing) => Err(Failed::from(missing)),
            None => body().map_err(Failed::from),
        });
        self.trials.push(trial.with_ignored_flag(ignored));
    }
}

/// Why tests cannot run here, if so.
fn reasons(swan: bool) -> Option<String> {
    if !std::env::var("S2S_NETNS").is_ok_and(|value| value == "1" || value == "harness") {
        return Some("set S2S_NETNS=1, or use cargo xtask test".into());
    }
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root");
    }
    if !Path::new("/dev/net/tun").exists() {
        missing.push("/dev/net/tun");
    }
    for (program, package) in [("ip", "iproute2"), ("nft", "nftables")] {
        let dirs = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
        if !dirs.iter().any(|dir| Path::new(dir).join(program).exists()) {
            missing.push(package);
        }
    }
    if swan {
        missing.extend(testkit::strongswan::missing());
    }
    (!missing.is_empty()).then(|| format!("missing: {}", missing.join(", ")))
}
