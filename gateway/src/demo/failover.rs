//! `--failover`: the gateway of site B is killed, and a second one takes over.
//!
//! ```text
//!   gw-a ══ gw-b ── host-b       pings, ten a second     !!!!!!!!!!
//!        └─ gw-c ──┘             kill -9 gw-b            ............
//!   gw-a ══ gw-c ── host-b       dpd, then the next of `peer`        !!!!!!!!!!
//! ```
//!
//! gw-a learns by dead peer detection that gw-b is gone, so that this is how long the gap is: its `timeout` and a handshake.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::gateways::{Gateway, KEY, connection, write_key};
use super::ping::Pinger;
use super::shell::Shell;
use super::stage::Paint;
use super::story::Setting;
use super::topology::{SITE_A, SITE_B, SITE_C, Topology, inside};
use super::{DemoError, During as _};
use crate::clock;
use crate::status::State;
use crate::sys::netns::Netns;

/// What was measured.
#[derive(Debug, Default, Serialize)]
struct Found {
    /// Pings before the kill that came back, of so many.
    before: (u32, u32),
    /// Pings that were lost.
    lost: u32,
    /// From the kill to the first ping that came back.
    gap_seconds: f64,
    /// Pings after that which came back, of so many.
    after: (u32, u32),
    /// Where gw-a's SA was before and is now.
    peers: [String; 2],
}

/// Tells it; returns what has to live as long as the demo.
pub(super) fn tell(
    setting: &Setting<'_>,
    topology: &Topology,
) -> Result<(Vec<Gateway>, Netns), DemoError> {
    let Setting { stage, directory, .. } = setting;
    stage.working("gateways", "starting three daemons…");
    let third = topology.second_gateway()?;
    write_key(directory, KEY)?;
    let responder = connection(&SITE_B, &SITE_A) + IDENTITY + "start          = \"respond-only\"\n";
    let mut b = Gateway::start(&SITE_B, &responder, &topology.gateway_b, directory)?;
    let mut c = Gateway::start(&SITE_C, &responder, &third, directory)?;
    b.until_ready()?;
    c.until_ready()?;
    let text = initiator();
    let a = text.clone() + setting.http();
    let mut a = Gateway::start(&SITE_A, &a, &topology.gateway_a, directory)?;
    let shown = stage.paint(Paint::Cyan, text.trim_end());
    stage.done("gateways", &format!("three daemons; what gw-a was told:\n{shown}"));
    a.until_up()?;
    let first = peer_of(&mut a)?;
    stage.done("tunnel", &format!("up, to gw-b at {first}"));

    let pinger =
        inside(&topology.host_a, || Pinger::open(SITE_B.host).during("open a raw socket"))?;
    let mut row = Row { setting, pinger, marks: String::new(), last: None };
    let before = row.some(BEFORE)?;
    stage.done("ping", &format!("host-a to host-b, ten a second\n{}", row.take()));
    b.kill()?;
    let killed = clock::now();
    stage.found(false, "kill", "gw-b gets SIGKILL, and says goodbye to nobody");
    let lost = row.until_answered(killed)?;
    let gap = row.last.map_or(0.0, |last| (last - killed).as_secs_f64());
    let after = row.some(AFTER)?;
    let text = format!("{lost} lost; after {gap:.1} s they come back\n{}", row.take());
    stage.done("ping", &text);
    let second = peer_of(&mut a)?;
    stage.done("tunnel", &format!("up, to gw-c at {second}"));
    let shell = Shell { stage, namespace: &topology.gateway_a, directory };
    shell.types(&a, &["status", SITE_B.name])?;
    stage.say("");

    let found = Found { before, lost, gap_seconds: gap, after, peers: [first, second] };
    let doubts = found.doubts();
    if !doubts.is_empty() {
        return Err(DemoError::Doubts(doubts));
    }
    stage.succeed(&found);
    Ok((vec![a, c], third))
}

impl Found {
    fn doubts(&self) -> Vec<String> {
        let [first, second] = &self.peers;
        let suspicions = [
            (self.before.0 == 0, "no ping came back before".to_owned()),
            (self.lost == 0, "no ping was lost, so that nothing was proved".to_owned()),
            (self.after.0 == 0, "no further ping came back afterwards".to_owned()),
            (!first.starts_with(&SITE_B.wan.to_string()), format!("it began with {first}")),
            (!second.starts_with(&SITE_C.wan.to_string()), format!("it ended with {second}")),
        ];
        suspicions.into_iter().filter(|(holds, _)| *holds).map(|(_, sentence)| sentence).collect()
    }
}

/// Both gateways of the site are one to the other side.
const IDENTITY: &str = "local_id       = \"site-b.example\"\n";

fn initiator() -> String {
    let one = format!("peer           = \"{}\"\n", SITE_B.wan);
    let two = format!("peer           = [\"{}\", \"{}\"]\n", SITE_B.wan, SITE_C.wan);
    connection(&SITE_A, &SITE_B).replace(&one, &two)
        + "peer_id        = \"site-b.example\"\n\
           dpd            = { interval = \"1s\", timeout = \"4s\" }\n"
}

/// Where the connection of gw-a leads, once it is up or was never down.
fn peer_of(a: &mut Gateway) -> Result<String, DemoError> {
    a.until_seen("it does not come up again", |seen| {
        let up = matches!(seen.state, State::Up | State::Degraded) && seen.ike.is_some();
        seen.peer.active.clone().filter(|_| up)
    })
}

/// Pings and how they fare, as a row of marks.
struct Row<'a> {
    setting: &'a Setting<'a>,
    pinger: Pinger,
    marks: String,
    /// When the last one came back.
    last: Option<Instant>,
}

impl Row<'_> {
    /// One ping, and the rest of its tenth of a second.
    fn one(&mut self, so_far: &str) -> Result<bool, DemoError> {
        let begun = clock::now();
        let answer = self.pinger.ping(GAP).during("send a ping")?;
        let is_answered = answer.is_some();
        if is_answered {
            self.last = Some(clock::now());
        }
        self.marks.push(if is_answered { '!' } else { '.' });
        let shown: Vec<char> = self.marks.chars().collect();
        let from = shown.len().saturating_sub(WIDTH);
        let shown: String = shown.get(from..).unwrap_or_default().iter().collect();
        self.setting.stage.working("ping", &format!("{shown} {so_far}"));
        let rest = GAP.saturating_sub(clock::now() - begun);
        super::pause(rest)?;
        Ok(is_answered)
    }

    fn some(&mut self, count: u32) -> Result<(u32, u32), DemoError> {
        let mut answered = 0;
        for _ in 0..count {
            answered += u32::from(self.one("")?);
        }
        Ok((answered, count))
    }

    /// How many are lost until one is not.
    fn until_answered(&mut self, since: Instant) -> Result<u32, DemoError> {
        let mut lost = 0;
        while clock::now() - since < PATIENCE {
            let so_far = format!("{:.1} s", (clock::now() - since).as_secs_f64());
            if self.one(&so_far)? {
                break;
            }
            lost += 1;
        }
        Ok(lost)
    }

    /// The marks in rows, coloured.
    fn take(&mut self) -> String {
        let marks: Vec<char> = std::mem::take(&mut self.marks).chars().collect();
        let stage = self.setting.stage;
        let rows = marks.chunks(WIDTH).map(|row| {
            let runs = row.chunk_by(|a, b| a == b);
            let painted = runs.map(|run| {
                let good = run.first() == Some(&'!');
                let text: String = run.iter().collect();
                stage.paint(if good { Paint::Green } else { Paint::Red }, &text)
            });
            painted.collect::<String>()
        });
        rows.collect::<Vec<_>>().join("\n")
    }
}

/// Between two pings.
const GAP: Duration = Duration::from_millis(100);

/// Pings before the kill, and after the first that came back.
const BEFORE: u32 = 20;
const AFTER: u32 = 20;

/// Marks in a row.
const WIDTH: usize = 50;

/// For the second gateway to be found, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_daemon_knows_both_gateways() {
        let directory = tempfile::tempdir().unwrap();
        write_key(directory.path(), KEY).unwrap();
        let file = directory.path().join("gw-a.toml");
        std::fs::write(&file, initiator()).unwrap();
        let config = Config::load(&file).unwrap();
        assert_eq!(config.warnings.len(), 0);
        assert!(initiator().contains("[\"192.0.2.210\", \"203.0.113.210\"]"));
    }
}
