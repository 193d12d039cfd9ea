//! What was slept through: the machine was suspended, or the process stopped (SIGSTOP, a frozen cgroup, a paused container).
//!
//! ```text
//!   a tick comes much later than a second after the one before
//!     shorter than peers wait   ─► nothing: SAs stand, and what waited in the sockets is handled
//!     longer                    ─► a new IKE SA beside each one that is up (make before break): peers have given us up by now,
//!                                  and are silent on the old one
//! ```

use std::time::{Duration, Instant};

use super::connection::Phase;
use super::{Connection, Control, diff};

/// When it was awake last, since the machine was booted.
#[derive(Debug)]
pub(super) struct Awake(Duration);

impl Awake {
    /// It is awake at this moment.
    pub(super) const fn since(boot: Duration) -> Self {
        Self(boot)
    }

    /// How long it was not, if that was more than a tick may be late.
    fn slept(&mut self, boot: Duration) -> Option<Duration> {
        let before = std::mem::replace(&mut self.0, boot);
        Some(boot.saturating_sub(before)).filter(|gap| *gap >= WORTH_A_WORD)
    }
}

impl Control {
    /// Once a second.
    pub(super) fn look_at_sleep(&mut self, now: Instant, boot: Duration) {
        let Some(slept) = self.awake.slept(boot) else { return };
        let mut called = 0;
        for index in 0..self.connections.len() {
            let Some(connection) = self.connections.get(index) else { continue };
            let Some(peer) = connection.peer.filter(|_| is_given_up(connection, slept)) else {
                continue;
            };
            let Phase::Up { info } = &connection.phase else { continue };
            called += 1;
            // It is known: it is up.
            let _ = self.endpoint.supersede(now, peer, info.path);
            self.drain(now);
        }
        tracing::info!(target: "gateway", event = "slept", seconds = slept.as_secs(), called);
    }
}

/// Whether the peer, if it waits as long as we do, does not wait any more, and it is ours to call.
fn is_given_up(connection: &Connection, slept: Duration) -> bool {
    let patience = connection.config.policy.dpd.map_or(PATIENCE, |dpd| dpd.timeout.min(PATIENCE));
    slept >= patience && diff::calls(&connection.config)
}

/// A tick is late by that on no machine that is only busy.
const WORTH_A_WORD: Duration = Duration::from_secs(3);

/// No peer is expected to wait longer.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use ikev2::Start;

    use super::*;
    use crate::clock;

    #[test]
    fn late_ticks_are_no_sleep_and_a_gap_is() {
        let at = Duration::from_secs;
        let mut awake = Awake::since(at(100));
        assert_eq!(awake.slept(at(101)), None);
        assert_eq!(awake.slept(at(103)), None);
        assert_eq!(awake.slept(at(193)), Some(at(90)));
        assert_eq!(awake.slept(at(194)), None, "it is told once");
    }

    #[test]
    fn a_peer_that_still_waits_is_left_alone_and_one_that_calls_too() {
        let of = |start| super::super::connection::tests::connection(start, clock::now());
        let mut ours = of(Start::Always);
        assert!(!is_given_up(&ours, Duration::from_secs(29)));
        assert!(is_given_up(&ours, PATIENCE));
        assert!(!is_given_up(&of(Start::RespondOnly), PATIENCE));
        ours.config.policy.dpd =
            Some(ikev2::Dpd { timeout: Duration::from_secs(4), ..ikev2::Dpd::default() });
        assert!(is_given_up(&ours, Duration::from_secs(4)));
    }
}
