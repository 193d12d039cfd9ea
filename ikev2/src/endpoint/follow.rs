//! A redirect to a name (RFC 5685 §3): we have no resolver, so that the caller has to say what the name means.
//!
//! ```text
//!   REDIRECT to an address ─► there at once
//!              to a name   ─► Event::Redirected ─► the caller resolves it ─► follow_redirect ─► there
//! ```

use std::net::IpAddr;
use std::time::Instant;

use super::Endpoint;
use crate::error::Unknown;
use crate::event::PeerId;
use crate::sa::{Attempt, Stage};
use crate::wire::header::IkeSpi;
use crate::wire::redirect::GatewayId;

impl Endpoint {
    /// Goes to the gateway to whose name the peer sent us ([`Event::Redirected`](crate::Event::Redirected)), now that its address is known. As with an
    /// address from the peer itself, an SA that is up stays until the new one is, and if there is no answer we are back at
    /// the configured paths. `false` if we were not sent to a name, were sent too often (RFC 5685 §7), or cannot send to
    /// this address from where we are.
    ///
    /// # Errors
    /// `Unknown` if there is no such peer.
    pub fn follow_redirect(
        &mut self,
        now: Instant,
        peer: PeerId,
        address: IpAddr,
    ) -> Result<bool, Unknown> {
        let port = self.shared.config.ike_port;
        let state = self.peers.one(peer)?;
        let Some(here) = state.named else { return Ok(false) };
        let Some(path) = state.redirected(now, here, &GatewayId::Address(address), port) else {
            return Ok(false);
        };
        state.retry_at = None;
        let sas = state.sas.clone();
        let is_up = |spi: &IkeSpi| self.sas.get(spi).is_some_and(|sa| sa.stage() == Stage::Up);
        match sas.into_iter().rfind(is_up) {
            Some(spi) => {
                let redirected_from = Some(here.remote.ip());
                self.begin(now, peer, path, Attempt { supersedes: Some(spi), redirected_from });
            }
            None => self.pursue(now, peer),
        }
        Ok(true)
    }
}
