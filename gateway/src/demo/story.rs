//! The frame of every story of the demo: the network before it, the page beside it, the farewell after it.
//!
//! ```text
//!   picture ─► network: five namespaces and four cables ─► page, for browsers
//!     ─► sound.rs      without a fault: what protects, seen from the outside
//!        broken.rs     a fault, its name and its end
//!        failover.rs   a gateway dies
//!     ─► for as long as the user wants to look ─► farewell
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use super::page::{HTTP, Page};
use super::ping::Pinger;
use super::stage::{Paint, Stage};
use super::topology::{SITE_B, Topology, inside};
use super::wire::Eye;
use super::{DemoArgs, DemoError, During as _, broken, capture, failover, pause, sound};
use crate::clock;
use crate::sys::netlink::Netlink;

/// Where a story is told, and what the user wants of it.
pub(super) struct Setting<'a> {
    pub(super) stage: &'a Stage,
    /// Of the demo, with all its files.
    pub(super) directory: &'a Path,
    pub(super) args: &'a DemoArgs,
    /// A port for browsers, if they are to be served.
    pub(super) page: Option<&'a Page>,
}

impl Setting<'_> {
    /// What belongs at the end of gw-a's configuration.
    pub(super) fn http(&self) -> &'static str {
        if self.page.is_some() { HTTP } else { "" }
    }
}

/// Tells it. `user_namespace`: we are root only of our own little world. `started`: when the user began to wait.
pub(super) fn tell(
    setting: &Setting<'_>,
    user_namespace: bool,
    started: Instant,
) -> Result<(), DemoError> {
    let Setting { stage, directory, args, page } = setting;
    stage.say(&picture(stage, args));
    std::fs::OpenOptions::new().read(true).write(true).open(TUN).map_err(DemoError::NoTun)?;

    stage.working("network", "plugging in cables…");
    let topology = Topology::build()?;
    let root = if user_namespace { "no root needed" } else { "apart from this machine's own" };
    stage.done("network", &format!("5 namespaces, 4 cables, {root} ({})", milliseconds(started)));

    if args.keep.is_some() {
        record(&topology, directory)?;
    }
    if let Some(page) = page {
        page.serve(&topology.gateway_a)?;
        stage.done("page", &page.address());
    }
    if let Some(fault) = args.fault {
        let gateways = broken::tell(setting, fault, &topology)?;
        end(setting, &topology, gateways)?;
        stage.say(&ending(started, "One fault, its name and its end."));
    } else if args.failover {
        let gateways = failover::tell(setting, &topology)?;
        end(setting, &topology, gateways)?;
        stage.say(&ending(started, "A gateway died, and the sites can talk."));
    } else {
        let gateways = sound::tell(setting, &topology, user_namespace, started)?;
        end(setting, &topology, gateways)?;
        stage.say(&closing(stage, started));
    }
    Ok(())
}

/// Stays for as long as the user wants, and stops the gateways.
fn end<T>(setting: &Setting<'_>, topology: &Topology, gateways: T) -> Result<(), DemoError> {
    stay(setting, topology)?;
    setting.stage.working("end", "the gateways say goodbye…");
    drop(gateways);
    setting.stage.erase();
    Ok(())
}

/// With a page for browsers, for as long as the user wants, with a ping a second for its curves.
fn stay(setting: &Setting<'_>, topology: &Topology) -> Result<(), DemoError> {
    let Some(page) = setting.page else { return Ok(()) };
    let how_long = setting.args.seconds.map(Duration::from_secs);
    let until =
        how_long.map_or("Ctrl-C".to_owned(), |time| format!("{} s are over", time.as_secs()));
    setting.stage.done("page", &format!("{} until {until}", page.address()));
    let begun = clock::now();
    let mut pinger =
        inside(&topology.host_a, || Pinger::open(SITE_B.host).during("open a raw socket"))?;
    while how_long.is_none_or(|time| clock::now() - begun < time) {
        pinger.send().during("send a ping")?;
        let left = how_long.map_or(SECOND, |time| time.saturating_sub(clock::now() - begun));
        pause(left.min(SECOND))?;
    }
    Ok(())
}

/// Writes down what crosses the wire, outside and on host-a's cable.
fn record(topology: &Topology, directory: &Path) -> Result<(), DemoError> {
    let eye =
        inside(&topology.internet, || Eye::everything(own_devices()?).during("watch the wire"))?;
    capture::record(eye, &directory.join("internet.pcap"))?;
    let eye = inside(&topology.host_a, || Eye::everything(Vec::new()).during("watch the wire"))?;
    capture::record(eye, &directory.join("host-a.pcap"))
}

/// The hardware addresses of the calling thread's namespace.
pub(super) fn own_devices() -> Result<Vec<Vec<u8>>, DemoError> {
    let links = Netlink::open().during("open netlink")?.links()?;
    Ok(links.into_iter().map(|link| link.address).collect())
}

fn picture(stage: &Stage, args: &DemoArgs) -> String {
    let bold = |text| stage.paint(Paint::Bold, text);
    let tunnel = stage.paint(Paint::Green, "═══════════");
    let (title, below, [branch, second]) = if args.failover {
        let title =
            "Two sites, one with a second gateway, and an internet, all inside this machine";
        let line = stage.paint(Paint::Green, "══════════");
        let branch = format!("{:29}╚{line} {} ────┘\n", "", bold("gw-c"));
        (title, "", [branch, format!("{:44}203.0.113.210\n", "")])
    } else if args.against.is_some() {
        let title = "Two sites, s2s-gw, strongSwan and an internet, all inside this machine";
        (title, "strongSwan", [String::new(), String::new()])
    } else {
        let title = "Two sites, two gateways and an internet, all inside this machine";
        (title, "", [String::new(), String::new()])
    };
    format!(
        "\n  {}\n\n    site A 10.1.0.0/16                                  site B 10.2.0.0/16\n    \
         {} ───── {} {tunnel} {} {tunnel} {} ───── {}\n    \
         10.1.0.2     192.0.2.10                     192.0.2.210     10.2.0.2\n{}{branch}{second}",
        bold(title),
        bold("host-a"),
        bold("gw-a"),
        bold("internet"),
        bold("gw-b"),
        bold("host-b"),
        if below.is_empty() { String::new() } else { format!("{:48}{below}\n", "") },
    )
}

fn closing(stage: &Stage, started: Instant) -> String {
    let bold = |text| stage.paint(Paint::Bold, text);
    format!(
        "\n  {}\n  All of it took {:.1} s and is gone again.\n\n  \
         Next, between two machines of yours:\n    \
         {}  make a key, copy it to both\n    \
         {}                 check what you have written\n    \
         {}                start the gateway\n",
        bold("The sites can talk, and the internet cannot listen."),
        (clock::now() - started).as_secs_f64(),
        bold("(umask 077; s2s-gw genpsk > site.psk)"),
        bold("s2s-gw check FILE.toml"),
        bold("s2s-gw run -c FILE.toml"),
    )
}

/// The last word of the other stories.
fn ending(started: Instant, sentence: &str) -> String {
    let seconds = (clock::now() - started).as_secs_f64();
    format!("\n  {sentence} All of it took {seconds:.1} s and is gone again.\n")
}

fn milliseconds(since: Instant) -> String {
    format!("{} ms", (clock::now() - since).as_millis())
}

const SECOND: Duration = Duration::from_secs(1);

const TUN: &str = "/dev/net/tun";
