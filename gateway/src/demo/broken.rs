//! `--break`: two gateways with one fault between them, what they say about it, and its end.
//!
//! ```text
//!   fault     configurations or wire, as faults.rs has them
//!   tunnel    does not come up, or does and something is lost
//!   log       what gw-a has logged about it
//!   $ ..      status, doctor, explain or ping: the program itself speaks
//!   fix       what has to be written instead, and `reload`
//!   ping      host-a to host-b and back
//! ```

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::faults::{Fault, OTHER_KEY, Plan, Shows};
use super::gateways::{Gateway, KEY, write_key};
use super::ping::Pinger;
use super::shell::Shell;
use super::stage::{Paint, Stage};
use super::story::Setting;
use super::topology::{SITE_A, SITE_B, Topology, inside};
use super::{DemoError, During as _};
use crate::clock;
use crate::status::diagnosis::Checkup;
use crate::status::{ConnectionStatus, State};

/// What was found, for programs.
#[derive(Debug, Default, Serialize)]
struct Found {
    /// The word of `--break`.
    fault: &'static str,
    /// The code that the gateway gives it.
    code: String,
    /// What `doctor --json` says while it is there.
    doctor: Option<Checkup>,
    /// Pings that came back before it was mended, of so many.
    before: (u32, u32),
    /// And after.
    after: (u32, u32),
    /// Whether the doctor finds nothing wrong then.
    healthy: bool,
}

/// Tells it.
pub(super) fn tell(
    setting: &Setting<'_>,
    fault: Fault,
    topology: &Topology,
) -> Result<[Gateway; 2], DemoError> {
    let Setting { stage, directory, .. } = setting;
    let plan = fault.plan();
    fault.spoil(topology)?;
    stage.found(false, "fault", &wrapped(plan.what));
    let [a, b] = &plan.before;
    let a = format!("{a}{}", setting.http());
    write_key(directory, KEY)?;
    if fault == Fault::Psk {
        write_key(directory, OTHER_KEY)?;
    }
    stage.working("gateways", "starting two daemons…");
    let mut right = Gateway::start(&SITE_B, b, &topology.gateway_b, directory)?;
    right.until_ready()?;
    let left = Gateway::start(&SITE_A, &a, &topology.gateway_a, directory)?;
    let shell = Shell { stage, namespace: &topology.gateway_a, directory };
    let found = Found { fault: plan.word, ..Found::default() };
    let mut tale = Tale { setting, stage, topology, shell, plan, left, right, found };
    tale.shows()?;
    tale.speaks(fault)?;
    tale.mend(fault, directory)?;
    let Tale { left, right, found, .. } = tale;
    let doubts = found.doubts();
    if !doubts.is_empty() {
        return Err(DemoError::Doubts(doubts));
    }
    stage.succeed(&found);
    Ok([left, right])
}

impl Found {
    fn doubts(&self) -> Vec<String> {
        let suspicions = [
            (self.code.is_empty(), "the doctor did not name the fault".to_owned()),
            (self.after.0 < self.after.1, "pings were lost after it was mended".to_owned()),
            (!self.healthy, "the doctor is not content after it was mended".to_owned()),
        ];
        suspicions.into_iter().filter(|(holds, _)| *holds).map(|(_, sentence)| sentence).collect()
    }
}

struct Tale<'a> {
    setting: &'a Setting<'a>,
    stage: &'a Stage,
    topology: &'a Topology,
    shell: Shell<'a>,
    plan: Plan,
    left: Gateway,
    right: Gateway,
    found: Found,
}

impl Tale<'_> {
    /// Until the fault is there for all to see.
    fn shows(&mut self) -> Result<(), DemoError> {
        let (stage, code) = (self.stage, self.plan.code);
        stage.working("tunnel", "waiting for what comes of it…");
        if self.plan.shows == Shows::AtOnce {
            self.left.until_seen("the fault does not show", |seen| named(seen, code))?;
            stage.found(false, "tunnel", "does not come up");
        } else {
            self.left.until_up()?;
            self.right.until_up()?;
            stage.done("tunnel", "up");
        }
        match self.plan.shows {
            Shows::AtRekey => {
                self.shell.types(&self.left, &["rekey", SITE_B.name])?;
                stage.say("");
                stage.working("tunnel", "waiting for what comes of it…");
                self.left.until_seen("the fault does not show", |seen| named(seen, code))?;
            }
            Shows::AtOnce | Shows::InTraffic | Shows::InLongPackets => {}
        }
        let pings = if self.plan.shows == Shows::InTraffic { ENOUGH_TO_TELL } else { PINGS };
        let lossy = matches!(self.plan.shows, Shows::AtOnce | Shows::InTraffic);
        self.found.before = self.pings(pings, if lossy { GLANCE } else { LONG_GLANCE })?;
        self.logged();
        Ok(())
    }

    /// What gw-a has logged that is no routine.
    fn logged(&self) {
        let log = self.left.log();
        let telling = |line: &&str| {
            [" WARN ", " ERROR ", "reason=", "code="].iter().any(|word| line.contains(word))
                && !line.contains("W0501")
        };
        let mut lines: Vec<&str> = log.lines().filter(telling).collect();
        let from = lines.len().saturating_sub(LINES);
        lines = lines.split_off(from);
        if lines.is_empty() {
            self.stage.found(false, "log", "gw-a has nothing to say: it does not know");
            return;
        }
        self.stage.found(false, "log", &self.stage.paint(Paint::Dim, "gw-a.log"));
        for line in lines {
            self.stage.quote(line);
        }
    }

    /// The commands that an operator asks.
    fn speaks(&mut self, fault: Fault) -> Result<(), DemoError> {
        let (shell, left) = (&self.shell, &self.left);
        if self.stage.is_silent() {
            let (_, said) = shell.asks(left, &[&DOCTOR[..], &["--json"]].concat())?;
            let checkup: Option<Checkup> = serde_json::from_str(&said).ok();
            let findings = checkup.iter().flat_map(|checkup| &checkup.findings);
            let mut codes = findings.filter_map(|finding| finding.code.clone());
            self.found.code = codes.find(|code| code == self.plan.code).unwrap_or_default();
            self.found.doctor = checkup;
            return Ok(());
        }
        shell.types(left, &["status", SITE_B.name])?;
        let (source, target) = (SITE_A.host.to_string(), SITE_B.host.to_string());
        match self.plan.shows {
            Shows::InLongPackets => {
                let long = ["ping", &target, "--size", "1300", "--df", "--count", "2"];
                shell.types(left, &["ping", &target, "--count", "2"])?;
                shell.types(left, &long)?;
            }
            // The side that was called knows more.
            Shows::AtOnce if fault != Fault::Subnet => {
                let namespace = &self.topology.gateway_b;
                Shell { namespace, ..self.shell }.types(&self.right, &["status", SITE_A.name])?;
            }
            Shows::AtOnce => drop(shell.types(left, &["explain", &source, &target])?),
            Shows::AtRekey | Shows::InTraffic => {}
        }
        let failed = shell.types(left, &DOCTOR)? != 0;
        // What only breaks later is a warning.
        if failed || self.plan.shows == Shows::AtRekey {
            self.found.code = self.plan.code.to_owned();
        }
        Ok(())
    }

    fn mend(&mut self, fault: Fault, directory: &Path) -> Result<(), DemoError> {
        let stage = self.stage;
        stage.say("");
        stage.done("fix", &wrapped(self.plan.mends));
        if fault == Fault::Psk {
            let (from, to) = (directory.join(KEY), directory.join(OTHER_KEY));
            stage.prompt(SITE_A.gateway, &format!("cp {KEY} {OTHER_KEY}"));
            fs::copy(from, to).during("copy the key")?;
        }
        let namespaces = [&self.topology.gateway_a, &self.topology.gateway_b];
        let each = [&self.left, &self.right].into_iter().zip(namespaces);
        let texts = self.plan.before.iter().zip(&self.plan.after);
        for ((gateway, namespace), (before, after)) in each.zip(texts) {
            if before != after {
                stage.difference(&format!("{}.toml", gateway.name()), before, after);
                let is_left = gateway.name() == SITE_A.gateway;
                let more = if is_left { self.setting.http() } else { "" };
                gateway.edit(&format!("{after}{more}"))?;
            }
            if before != after || (fault == Fault::Psk && gateway.name() == SITE_A.gateway) {
                Shell { namespace, ..self.shell }.types(gateway, &["reload"])?;
            }
        }
        if self.plan.shows == Shows::AtRekey {
            self.shell.types(&self.left, &["rekey", SITE_B.name, "--wait", "20s"])?;
        }
        stage.say("");
        stage.working("tunnel", "waiting for it…");
        self.until_packets_pass()?;
        self.left.until_seen("it is not mended", mended)?;
        stage.done("tunnel", "up");
        self.found.after = self.pings(PINGS, LONG_GLANCE)?;
        let (code, _) = self.shell.asks(&self.left, &DOCTOR)?;
        self.found.healthy = code == 0;
        let text = if code == 0 { "nothing is wrong" } else { "something is still wrong" };
        stage.found(code == 0, "doctor", text);
        Ok(())
    }

    /// Packets follow the new SAs a moment later.
    fn until_packets_pass(&self) -> Result<(), DemoError> {
        let begun = clock::now();
        let mut pinger = self.pinger()?;
        while clock::now() - begun < PATIENCE {
            if pinger.ping(GLANCE).during("send a ping")?.is_some() {
                break;
            }
        }
        Ok(())
    }

    fn pinger(&self) -> Result<Pinger, DemoError> {
        inside(&self.topology.host_a, || Pinger::open(SITE_B.host).during("open a raw socket"))
    }

    fn pings(&self, count: u32, patience: Duration) -> Result<(u32, u32), DemoError> {
        let mut pinger = self.pinger()?;
        let mut came_back = 0;
        for number in 1..=count {
            self.stage.working("ping", &format!("host-a to host-b, {number} of {count}…"));
            came_back += u32::from(pinger.ping(patience).during("send a ping")?.is_some());
        }
        let good = came_back == count;
        let text = format!("host-a to host-b: {came_back} of {count} came back");
        self.stage.found(good, "ping", &text);
        Ok((came_back, count))
    }
}

/// The code, if it is the one that the connection or a child of it has for its reason.
fn named(seen: &ConnectionStatus, code: &str) -> Option<String> {
    let children = seen.children.iter().filter_map(|child| child.reason.as_ref());
    let mut reasons = seen.reason.iter().chain(children);
    reasons.find(|reason| reason.code == code).map(|reason| reason.code.clone())
}

fn mended(seen: &ConnectionStatus) -> Option<()> {
    let children = seen.children.iter().all(|child| child.reason.is_none() && child.sa.is_some());
    (seen.state == State::Up && children).then_some(())
}

/// A sentence as lines that fit below the title of a step.
fn wrapped(text: &str) -> String {
    crate::status::text::hanging(text, 64, 0)
}

/// Looks for what is wrong on gw-a.
const DOCTOR: [&str; 3] = ["doctor", "-c", "gw-a.toml"];

/// For whatever has to change, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// For a ping that is expected to be lost, and for one that is not, on a busy machine.
const GLANCE: Duration = Duration::from_millis(400);
const LONG_GLANCE: Duration = Duration::from_secs(3);

const PINGS: u32 = 5;

/// From ten packets without an answer on the gateway speaks of one-way traffic.
const ENOUGH_TO_TELL: u32 = 12;

/// Of the log.
const LINES: usize = 3;
