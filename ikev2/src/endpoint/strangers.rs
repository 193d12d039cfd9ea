//! What belongs to no SA and may begin one: a first IKE_SA_INIT, or a message of another version (RFC 7296 §1.2, §2.5, §2.6).
//!
//! ```text
//!   peers.rs: who may be at this address? ─► nobody: silence
//!   admission.rs: repeat | cookie | full  ─► at most an answer as long as the request
//!   respond.rs: keys                      ─► a half-open SA, which takes a place
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Endpoint;
use crate::admission::{Claim, Verdict};
use crate::error::DropReason;
use crate::event::{Disposition, Path};
use crate::registry::NotifyType;
use crate::sa::{Declined, InitRequest, respond_to_init};
use crate::shared::Cx;
use crate::wire::header::{Flags, Header, IkeSpi};
use crate::wire::message::{Chain, message};

/// The least time between two answers to messages of another version.
const BETWEEN_VERSIONS: Duration = Duration::from_millis(100);

impl Endpoint {
    /// A request of a newer version is told which one we speak (RFC 7296 §2.5): in the clear, so only to addresses that
    /// are a peer's, and never often.
    pub(super) fn on_other_version(&mut self, now: Instant, header: &Header, path: Path) {
        let too_soon = self.version_told.is_some_and(|at| now < at + BETWEEN_VERSIONS);
        let newer = header.major() > 2 && !header.flags.response;
        if !newer || too_soon || self.peers.candidates(path.remote.ip()).is_empty() {
            return;
        }
        self.version_told = Some(now);
        let mut chain = Chain::new();
        chain.notify(NotifyType::INVALID_MAJOR_VERSION, &[]);
        let flags = Flags { response: true, ..Flags::default() };
        let header = Header { version: Header::VERSION, flags, ..*header };
        let answer = Arc::from(message(header, &chain));
        Cx { now, shared: &mut self.shared }.transmit(path, answer);
    }

    /// A request that wants to begin an SA.
    pub(super) fn on_first(
        &mut self,
        now: Instant,
        header: &Header,
        path: Path,
        payload: &[u8],
    ) -> Disposition {
        if header.spi_i == IkeSpi::ZERO {
            return Disposition::Dropped(DropReason::Malformed);
        }
        if self.sas.contains_key(&header.spi_i) {
            // Its sender chose the SPI that we chose: it is our own request, sent back.
            return Disposition::Dropped(DropReason::Unexpected);
        }
        let candidates = self.peers.candidates(path.remote.ip());
        if candidates.is_empty() {
            return Disposition::Dropped(DropReason::UnknownPeer);
        }
        if payload.len() > self.shared.config.max_init_octets {
            return Disposition::Dropped(DropReason::Malformed);
        }
        let Some(claim) = Claim::read(header, path, payload) else {
            return Disposition::Dropped(DropReason::Malformed);
        };
        let configured = !candidates.there.is_empty();
        let verdict = self.admission.judge(now, &claim, configured, &mut self.shared.rng);
        let mut cx = Cx { now, shared: &mut self.shared };
        let pass = match verdict {
            Verdict::Repeat(answer) => {
                cx.transmit(path, answer);
                return Disposition::Dropped(DropReason::Retransmit);
            }
            Verdict::AskForCookie(answer) => {
                cx.transmit(path, Arc::from(answer));
                return Disposition::Dropped(DropReason::CookieAsked);
            }
            Verdict::Past => return Disposition::Dropped(DropReason::Retransmit),
            Verdict::TooShort => return Disposition::Dropped(DropReason::Malformed),
            Verdict::Full => return Disposition::Dropped(DropReason::Overload),
            Verdict::Admit(pass) => pass,
        };
        let retention = pass.retention;
        let request = InitRequest { header, path, datagram: payload, candidates, retention };
        match respond_to_init(&request, &mut cx) {
            Ok((sa, answer)) => {
                let spi = sa.spi;
                if let Some(victim) = pass.evict {
                    self.forget(victim);
                }
                self.admission.begin(now, &claim, pass, spi, answer);
                self.sas.insert(spi, sa);
                self.settle(now, spi);
                Disposition::Accepted
            }
            Err(Declined { reason, computed }) => {
                self.admission.refused(now, pass, computed);
                Disposition::Dropped(reason)
            }
        }
    }
}
