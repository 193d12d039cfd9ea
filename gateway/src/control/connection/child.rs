//! What we know of one configured child: its SAs, what of it could not be made, what it carries.
//!
//! ```text
//!   live       SA pairs that are installed: two while one replaces the other, one for each pair of networks
//!   failures   what could not be made, whole or by pairs; `missing` is what of that nothing stands in for
//!   state      Down without SAs, Up with all and answers, else Degraded
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use ikev2::{ChildId, Traffic};
use jiff::Timestamp;

use crate::control::narrowing::Narrowing;
use crate::control::pfs::Pfs;
use crate::dataplane::{ChildCounters, SlotId};
use crate::status::show::Counted;
use crate::status::{Reason, State};

/// One configured child of a connection.
#[derive(Debug)]
pub(in crate::control) struct Child {
    pub(in crate::control) slot: SlotId,
    /// Its number in `ikev2`: its place, unless children came and went since the connection was enabled.
    pub(in crate::control) index: Option<usize>,
    /// A command took it down by itself.
    pub(in crate::control) down: bool,
    pub(in crate::control) counters: Arc<ChildCounters>,
    /// Installed SA pairs, oldest first, and what each carries: two while one replaces the other, and one for each pair of
    /// networks where the peer wants it so.
    pub(in crate::control) live: Vec<(ChildId, Traffic)>,
    /// What of it could not be made: all, or some pairs.
    pub(in crate::control) failures: Vec<Failed>,
    /// When a packet last asked for it while the connection was up.
    asked: Option<Instant>,
    /// How often it was replaced since it came up.
    pub(in crate::control) rekeys: u64,
    /// The rates of the last second and what they were computed from.
    pub(in crate::control) rate: Rate,
    /// When it came up or a packet last came in, and the packets sent until then; for seeing that nothing comes back.
    heard: Option<(Instant, u64)>,
    /// Whether anything came in since it came up.
    answered: bool,
    /// When a packet was last sent, as of the last look, and how many there were then.
    pub(in crate::control) last_sent: Option<Instant>,
    sent: u64,
    /// What was counted when somebody last reset the counters, and when that was.
    pub(in crate::control) baseline: Option<(Instant, Counted)>,
    /// Whether the peer left less of it than it was to carry.
    pub(in crate::control) narrowing: Narrowing,
    /// Whether both sides agree on PFS.
    pub(in crate::control) pfs: Pfs,
    pub(super) shown: State,
    pub(in crate::control) since: Instant,
    pub(in crate::control) since_wall: Timestamp,
}

/// A child, or a pair of its networks, that could not be made.
#[derive(Debug)]
pub(in crate::control) struct Failed {
    /// What it would have carried.
    pub(in crate::control) traffic: Traffic,
    pub(in crate::control) reason: Reason,
    /// When it is tried again.
    pub(in crate::control) retry_at: Option<Instant>,
}

/// Octets per second in both directions.
#[derive(Debug, Default)]
pub(in crate::control) struct Rate {
    pub(in crate::control) rx: u64,
    pub(in crate::control) tx: u64,
    last: Option<(Instant, u64, u64)>,
}

impl Child {
    /// A child in which nothing has happened.
    pub(in crate::control) fn new(
        slot: SlotId,
        index: Option<usize>,
        now: Instant,
        wall: Timestamp,
    ) -> Self {
        Self {
            slot,
            index,
            down: false,
            counters: Arc::new(ChildCounters::new(now)),
            live: Vec::new(),
            failures: Vec::new(),
            asked: None,
            rekeys: 0,
            rate: Rate::default(),
            heard: None,
            answered: false,
            last_sent: None,
            sent: 0,
            baseline: None,
            narrowing: Narrowing::default(),
            pfs: Pfs::Unknown,
            shown: State::Down,
            since: now,
            since_wall: wall,
        }
    }

    /// A pair of SAs was installed that carries `traffic`; `replaces` another one.
    pub(in crate::control) fn on_up(
        &mut self,
        id: ChildId,
        traffic: Traffic,
        replaces: bool,
        now: Instant,
    ) {
        self.failures.retain(|failed| !serves(&traffic, &failed.traffic));
        if replaces {
            self.rekeys += 1;
        } else if self.live.is_empty() {
            self.rekeys = 0;
            self.heard = Some((now, self.counters.packets_out()));
            self.answered = false;
        }
        self.live.push((id, traffic));
        self.narrowing.changed(now);
    }

    /// A pair of SAs was removed.
    pub(in crate::control) fn on_down(&mut self, id: ChildId, now: Instant) {
        self.live.retain(|(live, _)| *live != id);
        self.narrowing.changed(now);
        if self.live.is_empty() {
            self.heard = None;
            self.narrowing.forget();
            self.pfs = Pfs::Unknown;
        }
    }

    /// The connection went down: what was tells nothing of what will be.
    pub(super) fn forget(&mut self) {
        self.failures.clear();
        self.asked = None;
        self.heard = None;
        self.narrowing.forget();
        self.pfs = Pfs::Unknown;
    }

    /// It, or a pair of its networks, could not be made.
    pub(in crate::control) fn on_failed(&mut self, failed: Failed) {
        // Pairs that are asked for one by one take the place of the whole, and the whole that of its pairs.
        self.failures.retain(|known| !serves(&known.traffic, &failed.traffic));
        // The endpoint has no more pairs than that in one child; this is in case it ever has.
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(failed);
        }
    }

    /// What could not be made and is not there: a failed rekey leaves the old SAs in place.
    pub(in crate::control) fn missing(&self) -> impl Iterator<Item = &Failed> {
        self.failures.iter().filter(|failed| !self.carries(&failed.traffic))
    }

    /// Why it is not whole, if something of it is wrong.
    pub(in crate::control) fn fault(&self) -> Option<&Reason> {
        self.worst().map(|failed| &failed.reason).or(self.narrowing.reason())
    }

    /// Of all that went wrong, what is missing rather than what was not rekeyed.
    pub(in crate::control) fn worst(&self) -> Option<&Failed> {
        self.missing().next().or(self.failures.first())
    }

    pub(in crate::control) fn carries(&self, traffic: &Traffic) -> bool {
        self.live.iter().any(|(_, live)| serves(live, traffic))
    }

    /// While the connection is up only a child that is not there at all is asked for, and not again and again.
    pub(super) fn may_acquire(&mut self, now: Instant) -> bool {
        let waits = self.failures.iter().any(|failed| failed.retry_at.is_some());
        let lately = self.asked.is_some_and(|at| now.saturating_duration_since(at) < ASK_PAUSE);
        if waits || lately || self.down || !self.live.is_empty() {
            return false;
        }
        self.asked = Some(now);
        true
    }

    /// The state of its packets.
    pub(in crate::control) fn state(&self, now: Instant) -> State {
        if self.down {
            State::Disabled
        } else if self.live.is_empty() {
            State::Down
        } else if self.failures.is_empty()
            && self.one_way(now).is_none()
            && self.narrowing.reason().is_none()
        {
            State::Up
        } else {
            State::Degraded
        }
    }

    /// Notes when the state changed.
    pub(in crate::control) fn refresh(&mut self, now: Instant, wall: Timestamp) {
        let state = self.state(now);
        if state != self.shown {
            self.shown = state;
            (self.since, self.since_wall) = (now, wall);
        }
    }

    /// Computes the rates, and notes what came and went; called about once a second.
    pub(in crate::control) fn measure(&mut self, now: Instant) {
        let sent = self.counters.packets_out();
        if sent != self.sent {
            (self.sent, self.last_sent) = (sent, Some(now));
        }
        if let (Some((heard, before)), Some(last)) = (&mut self.heard, self.counters.last_inbound())
            && last > *heard
        {
            (*heard, *before, self.answered) = (last, sent, true);
        }
        let (rx, tx) = (self.counters.octets_in(), self.counters.octets_out());
        if let Some((then, last_rx, last_tx)) = self.rate.last {
            let millis =
                u64::try_from(now.saturating_duration_since(then).as_millis()).unwrap_or(0);
            if millis < 200 {
                return;
            }
            self.rate.rx = rx.saturating_sub(last_rx).saturating_mul(1000) / millis;
            self.rate.tx = tx.saturating_sub(last_tx).saturating_mul(1000) / millis;
        }
        self.rate.last = Some((now, rx, tx));
    }

    /// How many packets have left, and for how long, since the last one came in or the child came up; `None` where that is
    /// nothing to wonder about.
    pub(super) fn one_way(&self, now: Instant) -> Option<(u64, Duration)> {
        let (heard, sent_before) = self.heard?;
        let lately = self.counters.last_inbound().is_some_and(|last| last > heard);
        let sent = self.counters.packets_out().saturating_sub(sent_before);
        let silence = now.saturating_duration_since(heard);
        let patience = if self.answered { ONE_WAY_LATER } else { ONE_WAY_AFTER };
        (!lately && sent >= ONE_WAY_PACKETS && silence >= patience).then_some((sent, silence))
    }
}

/// Whether an SA that carries `live` stands in the place of what was `wanted`, which the peer may have narrowed.
pub(super) fn serves(live: &Traffic, wanted: &Traffic) -> bool {
    live.contains(wanted) || wanted.contains(live)
}

/// The failures of one child that are kept.
pub(super) const MAX_FAILURES: usize = 1024;

/// A packet asks for a child of a connection that is up no more often than this.
pub(super) const ASK_PAUSE: Duration = Duration::from_secs(10);

/// One-way traffic is worth a word after so long and so many packets: a TCP handshake or a ping would have been answered.
pub(super) const ONE_WAY_AFTER: Duration = Duration::from_secs(30);
pub(super) const ONE_WAY_PACKETS: u64 = 10;

/// The same after there were answers: a stream that goes one way for a while is nothing special.
pub(super) const ONE_WAY_LATER: Duration = Duration::from_mins(1);
