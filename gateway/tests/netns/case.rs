//! One namespace test: two sites, two gateways, and what is printed and kept when it fails.
//!
//! ```text
//!   Tunnel (what to build) ──► Case { sites, left, right, dir } ──► the test's body ──► Ok, or a report:
//!        error, both logs' tails, both statuses, packet counters, where the directory was kept
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use testkit::flow::{Flow, Plan, Report};
use testkit::gateway::Ours;
use testkit::netns::{Between, Family, Netns, Site, Sites};
use testkit::peer::{ConnectionSpec, Facts, GatewaySpec, Peer, now, pause, wait_for};
use testkit::strongswan::StrongSwan;

/// Who is left (the initiator) and who is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pair {
    OursToSwan,
    SwanToOurs,
    OursToOurs,
    /// Proves the harness itself: whatever fails here is not our gateway's fault.
    SwanToSwan,
}

impl Pair {
    /// Every pair with us in it; with `S2S_NETNS=harness` strongSwan plays both parts.
    pub(crate) fn all() -> Vec<Self> {
        if std::env::var("S2S_NETNS").is_ok_and(|value| value == "harness") {
            vec![Self::SwanToSwan]
        } else {
            vec![Self::OursToSwan, Self::SwanToOurs, Self::OursToOurs]
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OursToSwan => "ours-to-swan",
            Self::SwanToOurs => "swan-to-ours",
            Self::OursToOurs => "ours-to-ours",
            Self::SwanToSwan => "swan-to-swan",
        }
    }

    pub(crate) const fn has_swan(self) -> bool {
        !matches!(self, Self::OursToOurs)
    }

    /// Whether left and right are ours.
    pub(crate) const fn ours(self) -> (bool, bool) {
        (self.left_is_ours(), self.right_is_ours())
    }

    const fn left_is_ours(self) -> bool {
        matches!(self, Self::OursToSwan | Self::OursToOurs)
    }

    const fn right_is_ours(self) -> bool {
        matches!(self, Self::SwanToOurs | Self::OursToOurs)
    }
}

/// What to build. The connection is called `site` on both gateways.
#[derive(Debug, Clone)]
pub(crate) struct Tunnel {
    pub(crate) pair: Pair,
    pub(crate) between: Between,
    pub(crate) outer: Family,
    pub(crate) inner: Vec<Family>,
    pub(crate) subnets: u8,
    pub(crate) ike: &'static str,
    pub(crate) esp: &'static str,
    pub(crate) dpd: (Duration, Duration),
    /// Identities of left and right, if not the usual names.
    pub(crate) identities: Option<(&'static str, &'static str)>,
    /// Changes what the two sides have configured, after everything else is set.
    pub(crate) edit: fn(&mut ConnectionSpec, &mut ConnectionSpec),
}

impl Tunnel {
    /// The baseline: one IPv4 subnet each side over IPv4, the suite that everybody has.
    pub(crate) fn new(pair: Pair) -> Self {
        Self {
            pair,
            between: Between::Wire,
            outer: Family::V4,
            inner: vec![Family::V4],
            subnets: 1,
            ike: "aes256-sha256-modp2048",
            esp: "aes256-sha256",
            dpd: (Duration::from_secs(1), Duration::from_secs(4)),
            identities: None,
            edit: |_, _| {},
        }
    }

    pub(crate) fn suite(self, ike: &'static str, esp: &'static str) -> Self {
        Self { ike, esp, ..self }
    }

    fn connections(&self, sites: &Sites) -> (ConnectionSpec, ConnectionSpec) {
        let nets = |site: &Site| -> Vec<String> {
            let of = |family: &Family| {
                (0..self.subnets).map(|index| site.subnet(*family, index)).collect()
            };
            self.inner.iter().flat_map(|family| -> Vec<String> { of(family) }).collect()
        };
        let (left_id, right_id) =
            self.identities.unwrap_or(("left.example.org", "right.example.org"));
        let mut left = ConnectionSpec {
            name: "site".into(),
            local: sites.own_outer(&sites.left, self.outer),
            remote: Some(sites.right.outer(self.outer)),
            local_id: left_id.into(),
            remote_id: right_id.into(),
            psk: KEY.into(),
            ppk: None,
            built_in: None,
            ike: self.ike.into(),
            esp: self.esp.into(),
            local_subnets: nets(&sites.left),
            remote_subnets: nets(&sites.right),
            initiate: true,
            dpd: self.dpd,
            ours_extra: String::new(),
            swan_extra: String::new(),
            swan_connection: String::new(),
            swan_child: String::new(),
            split: false,
        };
        let mut right = left.mirrored();
        if self.between == Between::Nat {
            right.remote = None;
        }
        (self.edit)(&mut left, &mut right);
        (left, right)
    }
}

/// A test in progress.
pub(crate) struct Case {
    pub(crate) tunnel: Tunnel,
    pub(crate) left: Box<dyn Peer>,
    pub(crate) right: Box<dyn Peer>,
    pub(crate) sites: Sites,
    pub(crate) dir: tempfile::TempDir,
}

impl Case {
    /// Builds the sites and writes both configurations; nothing runs yet.
    pub(crate) fn new(tunnel: Tunnel) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("s2st").tempdir()?;
        let sites = Sites::new(tunnel.between)?;
        let (left, right) = tunnel.connections(&sites);
        let left = spec("left", left);
        let right = spec("right", right);
        let make = |ours: bool, netns: &Netns, spec: GatewaySpec| -> Result<Box<dyn Peer>> {
            Ok(if ours {
                Box::new(Ours::new(program(), netns, spec, dir.path())?)
            } else {
                Box::new(StrongSwan::new(netns, spec, dir.path())?)
            })
        };
        let left = make(tunnel.pair.left_is_ours(), &sites.left.gateway, left)?;
        let right = make(tunnel.pair.right_is_ours(), &sites.right.gateway, right)?;
        Ok(Self { tunnel, left, right, sites, dir })
    }

    /// Starts the responder, then the initiator.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.right.start().context("right")?;
        self.left.start().context("left")
    }

    /// Starts both and waits until both say that the tunnel is up and the first ping is through.
    pub(crate) fn up(&mut self) -> Result<()> {
        self.start()?;
        self.wait_up(Duration::from_secs(10))
    }

    /// Waits until both say that the tunnel is up, and a ping is through.
    pub(crate) fn wait_up(&mut self, patience: Duration) -> Result<()> {
        for peer in [&self.left, &self.right] {
            wait_for(&format!("{} to say that the tunnel is up", peer.kind()), patience, || {
                Ok(peer.facts("site")?.up.then_some(()))
            })?;
        }
        self.wait_ping(Duration::from_secs(2))
    }

    /// Waits until a ping from the left host to the right host is answered.
    pub(crate) fn wait_ping(&self, patience: Duration) -> Result<()> {
        let family = self.tunnel.inner.first().copied().unwrap_or(Family::V4);
        let to = self.sites.right.host_address(family, 0);
        wait_for(&format!("a ping to {to}"), patience, || {
            Ok((self.sites.left.host.ping(to, 1, GAP)? == 1).then_some(()))
        })
    }

    /// Every host address of one side answers every ping of the other, in both directions, and nothing was readable on
    /// the wire.
    pub(crate) fn ping_all(&self) -> Result<()> {
        let sides = [(&self.sites.left, &self.sites.right), (&self.sites.right, &self.sites.left)];
        for (from, to) in sides {
            for family in &self.tunnel.inner {
                for index in 0..self.tunnel.subnets {
                    let to = to.host_address(*family, index);
                    let answered = from.host.ping(to, 5, GAP)?;
                    ensure!(answered == 5, "{answered} of 5 pings to {to} answered");
                }
            }
        }
        self.encrypted()
    }

    /// What crossed the outer wire so far was ESP, none of it readable.
    pub(crate) fn encrypted(&self) -> Result<()> {
        for site in [&self.sites.left, &self.sites.right] {
            let (esp, readable) = site.counted()?;
            ensure!(readable == 0, "{readable} packets crossed the wire unencrypted");
            ensure!(esp > 0, "no ESP packet reached a gateway");
        }
        Ok(())
    }

    /// 20 MB of TCP each way, every octet compared.
    pub(crate) fn exchange(&self) -> Result<()> {
        for family in &self.tunnel.inner {
            let to = self.sites.right.host_address(*family, 0);
            testkit::flow::exchange(&self.sites.left.host, &self.sites.right.host, to, STALL)?;
        }
        self.encrypted()
    }

    /// Neither of ours dropped anything so far but for these reasons.
    pub(crate) fn dropped_only(&self, reasons: &[&str]) -> Result<()> {
        for (side, peer) in [("left", &self.left), ("right", &self.right)] {
            let drops = peer.as_ours().map_or(Ok(BTreeMap::new()), Ours::drops)?;
            // A host that is still being looked for on a link keeps IKE waiting: it is sent and answered twice.
            let twice = ["retransmit", "unprotected"];
            let expected = |reason| reasons.contains(&reason) || twice.contains(&reason);
            let unexpected = drops.keys().any(|reason| !expected(reason.as_str()));
            ensure!(!unexpected, "{side} dropped: {drops:?}, expected {reasons:?}");
        }
        Ok(())
    }

    /// Runs `body` in the middle of a steady TCP flow in both directions, and checks that no octet was lost and that
    /// nothing stalled for more than a second.
    pub(crate) fn while_flowing(
        &mut self,
        body: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<[Report; 2]> {
        let pace = if self.tunnel.pair.has_swan() { SWAN_PACE } else { PACE };
        let plan = Plan { octets: u64::MAX, pace: Some(pace) };
        let family = self.tunnel.inner.first().copied().unwrap_or(Family::V4);
        let to = self.sites.right.host_address(family, 0);
        let flow = Flow::start(&self.sites.left.host, &self.sites.right.host, to, plan)?;
        pause(Duration::from_millis(700));
        body(self)?;
        pause(Duration::from_secs(2));
        let reports = flow.finish()?;
        reports.iter().try_for_each(|report| report.check(STALL))?;
        Ok(reports)
    }

    /// Waits until both sides say that `changed` holds between what they said before and what they say.
    pub(crate) fn wait_changed(
        &self,
        before: &[Facts; 2],
        what: &str,
        changed: impl Fn(&Facts, &Facts) -> bool,
    ) -> Result<()> {
        for (peer, before) in [&self.left, &self.right].into_iter().zip(before) {
            wait_for(&format!("{what} at {}", peer.kind()), Duration::from_secs(5), || {
                let after = peer.facts("site")?;
                Ok((after.up && changed(before, &after)).then_some(()))
            })?;
        }
        Ok(())
    }

    pub(crate) fn facts(&self) -> Result<[Facts; 2]> {
        Ok([self.left.facts("site")?, self.right.facts("site")?])
    }

    /// Neither our log nor our status tells the key.
    fn secretive(&self) -> Result<()> {
        for peer in [&self.left, &self.right].into_iter().filter(|peer| peer.kind() == "ours") {
            ensure!(!peer.log().contains(KEY), "the pre-shared key is in the log");
            ensure!(!peer.status().contains(KEY), "the pre-shared key is in the status");
        }
        Ok(())
    }

    /// The error with everything that may explain it; keeps the directory.
    fn report(self, name: &str, error: &anyhow::Error) -> String {
        let mut text = format!("{error:#}\n");
        for (side, peer) in [("left", &self.left), ("right", &self.right)] {
            let _ = write!(text, "\n== {side} ({}) status\n{}", peer.kind(), peer.status());
            let _ = write!(
                text,
                "\n== {side} ({}) log, the end\n{}",
                peer.kind(),
                tail(&peer.log(), 60)
            );
        }
        for site in [&self.sites.left, &self.sites.right] {
            let counters = site.gateway.run("nft", &["list", "counters"]).unwrap_or_default();
            let routes = site
                .gateway
                .run("ip", &["route", "show", "table", "all", "type", "unicast"])
                .unwrap_or_default();
            let _ =
                write!(text, "\n== {} packet counters\n{counters}{routes}", site.gateway.name());
        }
        let Self { dir, left, right, .. } = self;
        drop((left, right));
        match keep(&dir, name) {
            Ok(kept) => {
                let _ = std::fs::write(kept.join("report.txt"), &text);
                let _ = write!(text, "\n== everything is in {}\n", kept.display());
            }
            Err(error) => {
                let _ = write!(text, "\n== the directory was not kept: {error}\n");
            }
        }
        text
    }
}

/// Runs a test's body on a fresh case; a failure or panic comes back as a report.
pub(crate) fn run(
    name: &str,
    tunnel: Tunnel,
    body: impl FnOnce(&mut Case) -> Result<()>,
) -> Result<(), String> {
    let mut case = Case::new(tunnel).map_err(|error| format!("{error:#}"))?;
    let begun = now();
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| body(&mut case)))
        .unwrap_or_else(|panic| Err(anyhow!("panicked: {:?}", panic.downcast_ref::<String>())))
        .and_then(|()| case.secretive());
    let Err(error) = outcome else { return Ok(()) };
    Err(case.report(name, &error.context(format!("after {:.1?}", begun.elapsed()))))
}

pub(crate) fn spec(name: &str, connection: ConnectionSpec) -> GatewaySpec {
    GatewaySpec {
        name: name.into(),
        listen: Some(connection.local.clone())
            .filter(|local| local != "%any")
            .into_iter()
            .collect(),
        connections: vec![connection],
    }
}

/// The program under test.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_s2s-gw"))
}

/// Writes down a number that a test found, beside what failed tests leave: `target/netns-numbers.txt`.
pub(crate) fn measured(sentence: &str) {
    let Some(target) = program().ancestors().nth(2) else { return };
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(target.join("netns-numbers.txt"));
    // It is for the reader alone.
    let _ = file.and_then(|mut file| writeln!(file, "{sentence}"));
}

/// The last `lines` lines.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// Copies a test's files to where they survive.
pub(crate) fn keep(dir: &tempfile::TempDir, name: &str) -> Result<PathBuf> {
    let target = program().ancestors().nth(2).context("no target directory")?;
    let kept = target.join("netns-failures").join(name.replace('/', "-"));
    std::fs::create_dir_all(&kept)?;
    for entry in std::fs::read_dir(dir.path())? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), kept.join(entry.file_name()))?;
        }
    }
    Ok(kept)
}

/// Both sides' key unless a test changes it: 40 characters, made for these tests alone.
pub(crate) const KEY: &str = "s2st-Oq3vY8sLw1dKx7Zp0bHn5uTf2gRm9cJe4ai";
pub(crate) const GAP: Duration = Duration::from_millis(50);
pub(crate) const STALL: Duration = Duration::from_secs(1);
/// Octets per second each way, enough for packets at every moment of a rekey.
const PACE: u64 = 5_000_000;
/// The same with strongSwan at one end, whose socket has room for some 90 packets: a tenth of a second at this pace.
const SWAN_PACE: u64 = 1_000_000;
