//! Does somebody answer there? An IKE_SA_INIT whose answer is not read.
//!
//! ```text
//!   HDR, SAi1, KEi, Ni  ──►                       three times in as many seconds
//!                       ◄──  anything to our SPI   Probed { rtt }: an SA, a cookie, a refusal, a redirect are all life
//!                            nothing in 4 s        Probed { None }
//! ```
//!
//! The question is a real one, so that whoever answers it could be talked to; what it may leave behind is a half-open SA at
//! the peer, which forgets it. Nothing of it is kept here, and nothing in the answer is believed but that it came: whoever
//! sees the question can forge it (RFC 7296 §2.21.1), so it decides where to knock, never whom to trust.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Endpoint;
use crate::error::Unknown;
use crate::event::{Deadline, Event, Path, PeerId, ProbeId};
use crate::registry::ExchangeType;
use crate::sa::{Attempt, IkeSa};
use crate::shared::Cx;
use crate::timers::Timer;
use crate::wire::header::{Header, IkeSpi};

/// The questions that are not answered yet.
#[derive(Default)]
pub(super) struct Probes {
    waiting: HashMap<IkeSpi, Probe>,
    last: u64,
}

struct Probe {
    id: ProbeId,
    path: Path,
    question: Arc<[u8]>,
    first: Instant,
    sent: u32,
}

/// How often a question is sent.
const TIMES: u32 = 3;
/// Between two times.
const GAP: Duration = Duration::from_secs(1);
/// After the last time.
const PATIENCE: Duration = Duration::from_secs(2);

impl Endpoint {
    /// Asks on this path whether somebody answers IKE_SA_INIT, with the peer's proposals; [`Event::Probed`] tells, after 4 s
    /// at most. SAs are not touched. Nothing is asked, and the event says so at once, if no proposal names a key exchange
    /// that we know.
    ///
    /// # Errors
    /// `Unknown` if there is no such peer.
    pub fn probe(&mut self, now: Instant, peer: PeerId, path: Path) -> Result<ProbeId, Unknown> {
        self.peers.one(peer)?;
        self.probes.last += 1;
        let id = ProbeId(self.probes.last);
        let attempt = Attempt { supersedes: None, redirected_from: None };
        let mut cx = Cx { now, shared: &mut self.shared };
        // What an attempt would send; the attempt itself goes.
        let begun = IkeSa::initiate(peer, path, attempt, &mut cx);
        let question = self.shared.out.transmits.back().map(|sent| Arc::clone(&sent.payload));
        match begun.zip(question) {
            Some((IkeSa { spi, .. }, question)) => {
                self.probes.waiting.insert(spi, Probe { id, path, question, first: now, sent: 1 });
                self.wait(spi, now + GAP);
            }
            None => self.shared.out.events.push_back(Event::Probed { probe: id, rtt: None }),
        }
        Ok(id)
    }

    /// Takes what answers a probe.
    pub(super) fn is_answer_to_probe(&mut self, now: Instant, header: &Header, path: Path) -> bool {
        let answers = header.exchange == ExchangeType::IKE_SA_INIT && header.flags.response;
        let spi = header.spi_i;
        let is_asked =
            |probe: &Probe| probe.path.remote.ip() == path.remote.ip() && !header.flags.initiator;
        if !answers || !self.probes.waiting.get(&spi).is_some_and(is_asked) {
            return false;
        }
        let Some(Probe { id: probe, first, .. }) = self.probes.waiting.remove(&spi) else {
            return false;
        };
        self.timers.clear(Timer::Probe(spi));
        let rtt = Some(now.saturating_duration_since(first));
        self.shared.out.events.push_back(Event::Probed { probe, rtt });
        true
    }

    /// Asks again, or gives up.
    pub(super) fn on_probe_timeout(&mut self, now: Instant, spi: IkeSpi) {
        let Some(probe) = self.probes.waiting.get_mut(&spi) else { return };
        if probe.sent == TIMES {
            let probe = probe.id;
            self.probes.waiting.remove(&spi);
            self.shared.out.events.push_back(Event::Probed { probe, rtt: None });
            return;
        }
        probe.sent += 1;
        let pause = if probe.sent == TIMES { PATIENCE } else { GAP };
        let (path, question) = (probe.path, Arc::clone(&probe.question));
        Cx { now, shared: &mut self.shared }.transmit(path, question);
        self.wait(spi, now + pause);
    }

    fn wait(&mut self, spi: IkeSpi, at: Instant) {
        self.timers.set(Timer::Probe(spi), Some(Deadline { at, why: "probe" }));
    }
}
