//! What a reload did, or would do: for people and for programs (`s2s-gw/reload/1`).
//!
//! ```text
//!   berlin: changed
//!     remote_subnets +10.3.0.0/24
//!         the replacement first, then DELETE of the old child SA    loss: none
//!     description, dpd
//!         in place                                                  loss: none
//! ```

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The answer to [`Request::Reload`](super::protocol::Request::Reload).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reload {
    /// `s2s-gw/reload/1`; fields are only ever added.
    pub schema: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The configuration file.
    pub file: String,
    /// Keys of `[gateway]` and other sections that are of no connection.
    #[serde(default)]
    pub gateway: Vec<Step>,
    /// Connections that differ: those of the new file in its order, then those that are gone.
    #[serde(default)]
    pub connections: Vec<ConnectionPlan>,
    /// Connections that do not differ.
    #[serde(default)]
    pub unchanged: usize,
    /// Keys that cannot change while the gateway runs, as `[gateway] listen`; with [`Outcome::NeedsRestart`] alone.
    #[serde(default)]
    pub needs_restart: Vec<String>,
    /// Errors and warnings of the file, as `check --json` has them.
    #[serde(default)]
    pub check: Option<Value>,
    /// The same for people; empty if there are none.
    #[serde(default)]
    pub findings: String,
}

/// How a reload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The new configuration is in force.
    Applied,
    /// A dry run: nothing was done.
    Planned,
    /// The file has errors; nothing was done.
    Invalid,
    /// Something differs that cannot change while the gateway runs; nothing was done.
    NeedsRestart,
}

/// What happens to one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionPlan {
    /// Its name.
    pub name: String,
    /// What the files say about it.
    pub change: Change,
    /// What follows from that, line by line.
    pub steps: Vec<Step>,
}

/// What became of a connection in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It is new.
    Added,
    /// It is there no more.
    Removed,
    /// `enabled = true` now.
    Enabled,
    /// `enabled = false` now.
    Disabled,
    /// Some keys differ.
    Changed,
}

impl Change {
    /// `added` and so on.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Changed => "changed",
        }
    }
}

/// One line of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The keys, some with what was added to or taken out of them; never a secret.
    pub keys: Vec<String>,
    /// What is done.
    pub action: Action,
    /// What it costs.
    pub loss: Loss,
    /// `action` in words.
    pub words: String,
}

/// What is done about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It counts at once and no SA notices.
    InPlace,
    /// Routes of the kernel change.
    Routes,
    /// A further child SA is asked for.
    AddChild,
    /// A child SA is asked for that takes the place of another one.
    ReplaceChild,
    /// A child SA is deleted.
    RemoveChild,
    /// The child SAs are rekeyed.
    RekeyChildren,
    /// Nothing, until the IKE SA is rekeyed anyway.
    NextIkeRekey,
    /// The IKE SA is rekeyed.
    RekeyIke,
    /// A new IKE SA is made beside the old one.
    Supersede,
    /// Nothing, until the peer authenticates anew.
    NextAuthentication,
    /// The connection is brought up as `start` says.
    BringUp,
    /// All its SAs are deleted, its routes removed.
    TakeDown,
    /// Nothing: what the gateway was started with goes before it.
    Overridden,
}

/// What a step costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// No packet.
    None,
    /// What was taken out does not pass any more; nothing else is lost.
    Intended,
}

impl Loss {
    /// For people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Intended => "intended",
        }
    }
}

impl Action {
    /// For people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::InPlace => "in place",
            Self::Routes => "routes changed, the new ones first",
            Self::AddChild => "CREATE_CHILD_SA for the new pair",
            Self::ReplaceChild => "a new child SA first, then DELETE of the old one",
            Self::RemoveChild => "DELETE of that child SA only",
            Self::RekeyChildren => "child SAs rekeyed now, make before break",
            Self::NextIkeRekey => "used at the next IKE rekey (--now: at once)",
            Self::RekeyIke => "IKE SA rekeyed now, make before break",
            Self::Supersede => "new IKE SA beside the old one, which stays if that fails",
            Self::NextAuthentication => "used when the peer authenticates anew; it calls",
            Self::BringUp => "routes and policy installed, brought up as `start` says",
            Self::TakeDown => "all SAs deleted with DELETE, routes removed",
            Self::Overridden => "not used: --log or $S2S_GW_LOG goes before it",
        }
    }

    /// What it costs.
    #[must_use]
    pub const fn loss(self) -> Loss {
        match self {
            Self::RemoveChild | Self::TakeDown => Loss::Intended,
            Self::InPlace
            | Self::Routes
            | Self::AddChild
            | Self::ReplaceChild
            | Self::RekeyChildren
            | Self::NextIkeRekey
            | Self::RekeyIke
            | Self::Supersede
            | Self::NextAuthentication
            | Self::BringUp
            | Self::Overridden => Loss::None,
        }
    }
}

impl Step {
    /// A line about these keys.
    #[must_use]
    pub fn new(action: Action, keys: Vec<String>) -> Self {
        Self { keys, action, loss: action.loss(), words: action.words().to_owned() }
    }
}

impl Reload {
    /// Nothing but how it ended.
    #[must_use]
    pub fn new(outcome: Outcome, file: String) -> Self {
        Self {
            schema: "s2s-gw/reload/1".to_owned(),
            outcome,
            file,
            gateway: Vec::new(),
            connections: Vec::new(),
            unchanged: 0,
            needs_restart: Vec::new(),
            check: None,
            findings: String::new(),
        }
    }

    /// Whether the files say what runs already.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.gateway.is_empty() && self.connections.is_empty()
    }

    /// One sentence about how it ended.
    #[must_use]
    pub fn sentence(&self) -> String {
        let file = &self.file;
        match self.outcome {
            Outcome::Invalid => {
                format!("{file} has errors; running configuration NOT changed")
            }
            Outcome::NeedsRestart => format!(
                "needs restart: {}; running configuration NOT changed",
                self.needs_restart.join(", ")
            ),
            Outcome::Applied | Outcome::Planned if self.is_empty() => {
                format!("{file} is what runs already; nothing to do")
            }
            Outcome::Planned => format!("{file} is valid; `s2s-gw reload` would do this:"),
            Outcome::Applied => format!("{file} is in force now; done, or begun:"),
        }
    }

    /// The plan, line by line, each of at most 80 columns but for long names; ends with a newline.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.sentence() + "\n";
        if matches!(self.outcome, Outcome::Invalid | Outcome::NeedsRestart) {
            return text;
        }
        if !self.gateway.is_empty() {
            text.push_str("gateway: changed\n");
            self.gateway.iter().for_each(|step| step.write(&mut text));
        }
        for connection in &self.connections {
            let _ = writeln!(text, "{}: {}", connection.name, connection.change.word());
            connection.steps.iter().for_each(|step| step.write(&mut text));
        }
        if !self.is_empty() && self.unchanged > 0 {
            let plural = if self.unchanged == 1 { "" } else { "s" };
            let _ = writeln!(text, "{} connection{plural} unchanged", self.unchanged);
        }
        text
    }
}

impl Step {
    fn write(&self, text: &mut String) {
        let mut column = usize::MAX;
        for (index, key) in self.keys.iter().enumerate() {
            let comma = if index + 1 == self.keys.len() { "" } else { "," };
            let length = key.chars().count() + comma.len() + 1;
            if column.saturating_add(length) > COLUMNS {
                text.push_str(if index == 0 { "  " } else { "\n  " });
                column = 2;
            } else {
                text.push(' ');
            }
            let _ = write!(text, "{key}{comma}");
            column += length;
        }
        if !self.keys.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "      {:<58} loss: {}", self.words, self.loss.word());
    }
}

const COLUMNS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Reload {
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        let many: Vec<String> = (0..20).map(|n| format!("remote_subnets +10.{n}.0.0/16")).collect();
        Reload {
            gateway: vec![Step::new(Action::Overridden, keys(&["[log] level"]))],
            connections: vec![
                ConnectionPlan {
                    name: "berlin".into(),
                    change: Change::Changed,
                    steps: vec![
                        Step::new(Action::InPlace, keys(&["description", "dpd"])),
                        Step::new(Action::ReplaceChild, many),
                    ],
                },
                ConnectionPlan {
                    name: "paris".into(),
                    change: Change::Removed,
                    steps: vec![Step::new(Action::TakeDown, Vec::new())],
                },
            ],
            unchanged: 3,
            ..Reload::new(Outcome::Planned, "/etc/s2s-gw/s2s-gw.toml".into())
        }
    }

    #[test]
    fn a_plan_is_made_to_be_read() {
        let text = sample().text();
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
        let begins = "\
/etc/s2s-gw/s2s-gw.toml is valid; `s2s-gw reload` would do this:
gateway: changed
  [log] level
      not used: --log or $S2S_GW_LOG goes before it              loss: none
berlin: changed
  description, dpd
      in place                                                   loss: none
";
        assert!(text.starts_with(begins), "{text}");
        let ends = "\
paris: removed
      all SAs deleted with DELETE, routes removed                loss: intended
3 connections unchanged
";
        assert!(text.ends_with(ends), "{text}");
    }

    #[test]
    fn every_action_has_words_that_fit() {
        for action in [
            Action::InPlace,
            Action::Routes,
            Action::AddChild,
            Action::ReplaceChild,
            Action::RemoveChild,
            Action::RekeyChildren,
            Action::NextIkeRekey,
            Action::RekeyIke,
            Action::Supersede,
            Action::NextAuthentication,
            Action::BringUp,
            Action::TakeDown,
            Action::Overridden,
        ] {
            assert!(action.words().chars().count() <= 58, "{action:?}");
        }
    }

    #[test]
    fn the_answer_survives_the_wire_and_may_grow() {
        let line = serde_json::to_string(&sample()).expect("serializes");
        assert_eq!(serde_json::from_str::<Reload>(&line).expect("parses"), sample());
        let newer = r#"{"schema":"s2s-gw/reload/1","outcome":"applied","file":"x","moon":"full"}"#;
        let newer: Reload = serde_json::from_str(newer).expect("parses");
        assert_eq!(newer.text(), "x is what runs already; nothing to do\n");
    }

    #[test]
    fn what_is_refused_says_that_nothing_changed() {
        let refused = Reload {
            needs_restart: vec!["[gateway] listen".into(), "[gateway] tun".into()],
            ..Reload::new(Outcome::NeedsRestart, "x".into())
        };
        assert_eq!(
            refused.text(),
            "needs restart: [gateway] listen, [gateway] tun; running configuration NOT changed\n"
        );
        let invalid = Reload::new(Outcome::Invalid, "x".into());
        assert!(invalid.text().ends_with("running configuration NOT changed\n"));
    }
}
