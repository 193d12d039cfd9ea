//! To another endpoint of the same peer, because the caller wants it: make before break.
//!
//! ```text
//!   hub-a ══ SA ═════════════════════════════╗ deleted when the other is up
//!   hub-b    IKE_SA_INIT, IKE_AUTH ══ SA ════╩═════════════►   PeerUp
//!            no answer, refused                                SwitchFailed, hub-a stays
//! ```

use std::time::Instant;

use super::Endpoint;
use crate::error::{CloseReason, Unknown};
use crate::event::{Path, PeerId};
use crate::sa::{Attempt, IkeSa};
use crate::wire::header::IkeSpi;

impl Endpoint {
    /// Goes to where this path leads. An SA that is up stays until the new one is, and for good if that comes to nothing
    /// ([`Event::SwitchFailed`](crate::Event::SwitchFailed)). Says whether one is up; if not, this path is tried first when
    /// the peer is called next, which is at once if it is wanted and nothing is on its way.
    ///
    /// # Errors
    /// `Unknown` if there is no such peer.
    pub fn switch_to(&mut self, now: Instant, peer: PeerId, path: Path) -> Result<bool, Unknown> {
        let Some(current) = self.in_use(peer) else {
            let state = self.peers.one(peer)?;
            state.prefer(path);
            state.retry_at = None;
            self.pursue(now, peer);
            return Ok(false);
        };
        self.end_wishes(now, peer);
        self.begin(now, peer, path, Attempt { supersedes: Some(current), redirected_from: None });
        Ok(true)
    }

    /// Ends the attempts to take the place of an SA that is up: the newest wish counts.
    pub(super) fn end_wishes(&mut self, now: Instant, peer: PeerId) {
        let sas = self.peers.one(peer).map_or_else(|_| Vec::new(), |peer| peer.sas.clone());
        let is_wish = |spi: &IkeSpi| self.sas.get(spi).is_some_and(IkeSa::is_wish);
        for earlier in sas.into_iter().filter(is_wish).collect::<Vec<_>>() {
            self.close(now, earlier, CloseReason::Local);
        }
    }
}
