//! Certificates that end: the clock that the endpoint judges them by, what `status` warns of, and an event for each threshold.
//!
//! ```text
//!   every second   wall clock ─► endpoint: validity is looked at anew at each authentication
//!   every minute   ours, authorities, pinned, lists; the peer's own while it is up
//!                    30 days, 7 days, ended, not yet ─► W0320 .. W0324, told once for each certificate and code
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Control;
use super::connection::{Connection, Phase};
use crate::clock;
use crate::config::validity;
use crate::config::{Code, Dated, Diagnostic, Part};
use crate::status::Warning;

/// What was told already.
#[derive(Debug, Default)]
pub(super) struct Watch {
    told: BTreeMap<(String, u64), Code>,
    look_at: Option<Instant>,
}

impl Control {
    /// Once a second.
    pub(super) fn watch_certificates(&mut self, now: Instant) {
        let unix = clock::unix();
        self.endpoint.set_wall_clock(now, Duration::from_secs(unix));
        if self.certificates.look_at.is_some_and(|at| now < at) {
            return;
        }
        self.certificates.look_at = Some(now + EVERY);
        self.certificates.look(&self.connections, unix);
    }
}

impl Watch {
    /// Tells of each certificate that came to another code; of one in many connections once.
    fn look(&mut self, connections: &[Connection], unix: u64) {
        let mut seen = BTreeMap::new();
        for connection in connections.iter().filter(|connection| connection.wanted) {
            for (dated, code) in ending(connection, unix) {
                let key = (format!("{} {}", dated.part.words(), dated.name), dated.to);
                if self.told.get(&key) != Some(&code) && !seen.contains_key(&key) {
                    let conn = &connection.config.name;
                    tracing::warn!(
                        target: "ike", event = "certificate", %conn, code = code.id(),
                        msg = validity::sentence(&dated, code, unix),
                        fix = validity::fix(&dated, code)
                    );
                }
                seen.insert(key, code);
            }
        }
        self.told = seen;
    }
}

/// A minute more or less is no matter where days are left.
const EVERY: Duration = Duration::from_mins(1);

/// What `status` warns of.
pub(super) fn warnings(connection: &Connection, unix: u64) -> Vec<Warning> {
    let all = ending(connection, unix).into_iter();
    all.map(|(dated, code)| Warning {
        code: code.id().to_owned(),
        title: code.title().to_owned(),
        severity: code.severity().word().to_owned(),
        message: Some(validity::sentence(&dated, code, unix)),
        fix: validity::fix(&dated, code),
    })
    .collect()
}

/// What of a connection there is something to say about.
fn ending(connection: &Connection, unix: u64) -> Vec<(Dated, Code)> {
    let configured = connection.config.auth.dated.iter().cloned();
    let all = configured.chain(of_peer(connection));
    all.filter_map(|dated| validity::code(&dated, unix).map(|code| (dated, code))).collect()
}

/// The certificate that the peer has proved its identity with, unless it is pinned and so told already.
fn of_peer(connection: &Connection) -> Option<Dated> {
    let Phase::Up { info } = &connection.phase else { return None };
    let certificate = info.remote_certificate.as_ref()?;
    let pinned = connection.config.auth.dated.iter().any(|one| one.part == Part::Pinned);
    (!pinned).then(|| Dated::of(Part::Peers, std::path::Path::new(""), certificate))
}

/// The warnings of a configuration but for those that depend on the moment: these are made anew whenever they are shown.
pub(super) fn lasting(warnings: &[Diagnostic]) -> Vec<Warning> {
    let lasting = warnings.iter().filter(|one| !validity::is_of_a_moment(one.code));
    lasting.map(Warning::of_config).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::connection::tests::connection;

    #[test]
    fn each_threshold_is_told_once() {
        let mut connection = connection(ikev2::Start::Always, clock::now());
        let dated = Dated {
            part: Part::Ours,
            file: "fra1.pem".into(),
            name: "CN=fra1".into(),
            from: 0,
            to: 100 * DAY,
        };
        connection.config.auth.dated = vec![dated];
        let both = [connection];
        let mut watch = Watch::default();
        let mut at = |days: u64| {
            watch.look(&both, days * DAY);
            watch.told.values().map(|code| code.id()).collect::<Vec<_>>()
        };
        assert_eq!(at(60), [""; 0]);
        assert_eq!(at(80), ["W0320"]);
        assert_eq!(at(81), ["W0320"]);
        assert_eq!(at(95), ["W0321"]);
        assert_eq!(at(101), ["W0322"]);
        // The clock was wrong.
        assert_eq!(at(50), [""; 0]);
        let shown = warnings(&both[0], 99 * DAY);
        assert_eq!(shown.len(), 1);
        assert_eq!((shown[0].code.as_str(), shown[0].severity.as_str()), ("W0321", "warning"));
        assert!(shown[0].message.as_ref().is_some_and(|said| said.contains("in 24 hours")));
    }

    const DAY: u64 = 86_400;
}
