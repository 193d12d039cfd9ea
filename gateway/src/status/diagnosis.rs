//! What `explain` and `doctor` find out, one finding a line, each with what to do about it.
//!
//! ```text
//!   ✓ route   10.2.0.0/16 dev s2s0 metric 100              Level::Passed
//!   ! mtu     the path carries less than the device        Level::Warned      looked at, and it works
//!   ✗ sa      no SA                                        Level::Failed      the first of these is the answer
//!       fix: s2s-gw up berlin
//!   - probe   only who may change things may ask           Level::Skipped     not known
//! ```

use std::fmt::Write as _;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::text::{Colour, Look, hanging};

/// What was found at one stage, or by one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at, a word: `route`, `policy`, `rp_filter`.
    pub stage: String,
    /// Of a doctor the layer that it belongs to: `host`, `config`, `path`, `negotiation`, `traffic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// Of a doctor the connection that it is about; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// How it went.
    pub level: Level,
    /// What was seen, without full stop.
    pub message: String,
    /// Stable code, where there is one: `E1005`, `W0501`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What to do, one sentence without full stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Not looked at, for the reason that the message has.
    Skipped,
    /// As it should be.
    Passed,
    /// It works, and should be looked at.
    Warned,
    /// No packet gets past this.
    Failed,
}

impl Level {
    /// One character.
    #[must_use]
    pub const fn sign(self) -> char {
        match self {
            Self::Skipped => '-',
            Self::Passed => '✓',
            Self::Warned => '!',
            Self::Failed => '✗',
        }
    }

    const fn paint(self) -> &'static str {
        match self {
            Self::Skipped => "\x1b[2m",
            Self::Passed => "\x1b[32m",
            Self::Warned => "\x1b[33m",
            Self::Failed => "\x1b[31m",
        }
    }
}

impl Finding {
    /// Something that was looked at.
    pub(crate) fn new(level: Level, stage: &str, message: impl Into<String>) -> Self {
        Self {
            stage: stage.to_owned(),
            layer: None,
            connection: None,
            level,
            message: message.into(),
            code: None,
            fix: None,
        }
    }

    pub(crate) fn passed(stage: &str, message: impl Into<String>) -> Self {
        Self::new(Level::Passed, stage, message)
    }

    pub(crate) fn warned(stage: &str, message: impl Into<String>) -> Self {
        Self::new(Level::Warned, stage, message)
    }

    pub(crate) fn failed(stage: &str, message: impl Into<String>) -> Self {
        Self::new(Level::Failed, stage, message)
    }

    pub(crate) fn skipped(stage: &str, message: impl Into<String>) -> Self {
        Self::new(Level::Skipped, stage, message)
    }

    /// The same with what to do about it.
    pub(crate) fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }

    /// The same with the code under which `s2s-gw error` says more.
    pub(crate) fn code(self, code: impl Into<String>) -> Self {
        Self { code: Some(code.into()), ..self }
    }

    /// `message (CODE)`.
    fn sentence(&self) -> String {
        match &self.code {
            Some(code) => format!("{code} {}", self.message),
            None => self.message.clone(),
        }
    }
}

/// The way of one packet through the gateway, as it would be. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// `s2s-gw/explain/1`.
    pub schema: String,
    /// Of the packet.
    pub source: IpAddr,
    /// Of the packet.
    pub destination: IpAddr,
    /// Its IP protocol, 1 to 255; `None`: any.
    pub protocol: Option<u8>,
    /// `out`: into a tunnel. `in`: out of one. `relay`: out of one and into another.
    pub direction: String,
    /// The connection that would carry it.
    pub connection: Option<String>,
    /// The child of that.
    pub child: Option<String>,
    /// Whether it would pass.
    pub passes: bool,
    /// In the order in which the packet meets them.
    pub steps: Vec<Finding>,
    /// One sentence.
    pub verdict: String,
}

/// The name of the JSON form of a [`Walk`].
pub const WALK: &str = "s2s-gw/explain/1";

/// What a doctor found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkup {
    /// `s2s-gw/doctor/1`.
    pub schema: String,
    /// Whether a daemon answered.
    pub daemon: bool,
    /// Whether nothing failed.
    pub healthy: bool,
    /// By layer, lowest first.
    pub findings: Vec<Finding>,
    /// One sentence: the lowest layer that failed, and what to do.
    pub verdict: String,
}

/// The first warning that has a code.
fn foreboding(findings: &[Finding]) -> Option<String> {
    let mut warned = findings.iter().filter(|one| one.level == Level::Warned);
    warned.find(|one| one.code.is_some()).map(Finding::sentence)
}

/// The name of the JSON form of a [`Checkup`].
pub const CHECKUP: &str = "s2s-gw/doctor/1";

impl Checkup {
    /// With the verdict that follows from the findings: the first that failed is the answer, for what lies above it may
    /// follow from it.
    #[must_use]
    pub fn of(findings: Vec<Finding>, daemon: bool) -> Self {
        let failed = findings.iter().find(|one| one.level == Level::Failed);
        let warned = findings.iter().filter(|one| one.level == Level::Warned).count();
        let verdict = match failed {
            Some(first) => {
                let layer = first.layer.as_deref().unwrap_or("host");
                let of = first.connection.as_ref().map(|name| format!(" of {name}"));
                let fix = first.fix.as_ref().map(|fix| format!(". Fix: {fix}"));
                let (of, fix) = (of.unwrap_or_default(), fix.unwrap_or_default());
                format!("the first layer that fails is {layer}{of}: {}{fix}.", first.sentence())
            }
            None if warned == 0 => "nothing is wrong.".to_owned(),
            None => format!(
                "nothing fails; {warned} {} a look{}.",
                if warned == 1 { "finding deserves" } else { "findings deserve" },
                foreboding(&findings).map_or(String::new(), |what| format!(", first {what}")),
            ),
        };
        let healthy = failed.is_none();
        Self { schema: CHECKUP.to_owned(), daemon, healthy, findings, verdict }
    }

    /// For people: a heading for each layer and connection, a line for each finding, the verdict last.
    #[must_use]
    pub fn text(&self, look: Look) -> String {
        let mut text = String::new();
        let mut before = None;
        for finding in &self.findings {
            let heading = (finding.layer.as_deref().unwrap_or_default(), &finding.connection);
            if before != Some(heading) {
                before = Some(heading);
                let of = finding.connection.as_ref().map(|name| format!(" {name}"));
                let _ = writeln!(text, "{}{}", heading.0, of.unwrap_or_default());
            }
            text += &lines(finding, look, 2);
        }
        text += &last(&self.verdict, self.healthy, look);
        text
    }
}

impl Walk {
    /// For people: the packet, a line for each stage, the verdict last.
    #[must_use]
    pub fn text(&self, look: Look) -> String {
        let by = match (&self.connection, &self.child) {
            (Some(connection), Some(child)) => format!(", {connection}/{child}"),
            _ => String::new(),
        };
        let mut text =
            format!("{} -> {} ({}{by})\n", self.source, self.destination, self.direction);
        for step in &self.steps {
            text += &lines(step, look, 0);
        }
        text += &last(&self.verdict, self.passes, look);
        text
    }
}

/// `✓ stage  message`, and below it what to do.
fn lines(finding: &Finding, look: Look, indent: usize) -> String {
    let columns = look.columns.unwrap_or(usize::MAX);
    let sign = painted(finding.level, look);
    let margin = indent + 2 + STAGE + 1;
    let line = format!("{:indent$}{sign} {:STAGE$} {}", "", finding.stage, finding.sentence());
    let mut text = hanging(&line, columns, margin) + "\n";
    if let Some(fix) = &finding.fix {
        let line = format!("{:margin$}fix: {fix}", "");
        text += &hanging(&line, columns, margin + 5);
        text.push('\n');
    }
    text
}

fn last(verdict: &str, good: bool, look: Look) -> String {
    let sign = painted(if good { Level::Passed } else { Level::Failed }, look);
    hanging(&format!("{sign} {verdict}"), look.columns.unwrap_or(usize::MAX), 2) + "\n"
}

fn painted(level: Level, look: Look) -> String {
    match look.colour {
        Colour::On => format!("{}{}\x1b[0m", level.paint(), level.sign()),
        Colour::Off => level.sign().to_string(),
    }
}

/// Columns of the name of a stage.
const STAGE: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Look = Look { colour: Colour::Off, columns: Some(60) };

    fn finding(level: Level, layer: &str) -> Finding {
        let found = Finding::new(level, "probe", format!("{layer} is {level:?}"));
        Finding { layer: Some(layer.to_owned()), ..found }
    }

    #[test]
    fn the_first_layer_that_fails_is_the_answer() {
        let all = vec![
            finding(Level::Passed, "host"),
            finding(Level::Warned, "config"),
            finding(Level::Failed, "path").code("E1001").fix("let UDP 500 pass"),
            finding(Level::Failed, "traffic"),
        ];
        let found = Checkup::of(all, true);
        assert!(!found.healthy);
        assert_eq!(
            found.verdict,
            "the first layer that fails is path: E1001 path is Failed. Fix: let UDP 500 pass."
        );
        let good = Checkup::of(vec![finding(Level::Warned, "host")], true);
        assert!(good.healthy);
        assert_eq!(good.verdict, "nothing fails; 1 finding deserves a look.");
        let coded = finding(Level::Warned, "negotiation").code("E1011");
        let good = Checkup::of(vec![finding(Level::Warned, "host"), coded], true);
        let verdict =
            "nothing fails; 2 findings deserve a look, first E1011 negotiation is Warned.";
        assert_eq!(good.verdict, verdict);
    }

    #[test]
    fn every_finding_has_its_line_and_long_ones_are_folded() {
        let long =
            "the kernel sends it to eth0 by the route 10.0.0.0/8 via 192.0.2.9, which is not ours";
        let walk = Walk {
            schema: WALK.to_owned(),
            source: [10, 1, 0, 1].into(),
            destination: [10, 2, 0, 1].into(),
            protocol: None,
            direction: "out".to_owned(),
            connection: Some("berlin".to_owned()),
            child: Some("lan-1".to_owned()),
            passes: false,
            steps: vec![
                Finding::failed("route", long).code("W0503").fix("delete it"),
                Finding::passed("policy", "berlin"),
            ],
            verdict: "it would not pass.".to_owned(),
        };
        let expected = "\
10.1.0.1 -> 10.2.0.1 (out, berlin/lan-1)
✗ route        W0503 the kernel sends it to eth0 by the
               route 10.0.0.0/8 via 192.0.2.9, which is not
               ours
               fix: delete it
✓ policy       berlin
✗ it would not pass.
";
        assert_eq!(walk.text(PLAIN), expected);
        let colourful = walk.text(Look { colour: Colour::On, columns: None });
        assert!(colourful.contains("\x1b[31m✗\x1b[0m route"), "{colourful}");
    }
}
