//! SAs that take the place of another one: elsewhere, because the peer sends us there (RFC 5685), or anew (RFC 4478).
//!
//! ```text
//!   REDIRECT to an address ─► there at once
//!              to a name   ─► Event::Redirected ─► the caller resolves it ─► follow_redirect ─► there
//!   the end of an authentication, or a peer that grants nothing more ─► the same peer, beside the SA that there is
//!   redirect()             ─► the peer is sent to another gateway
//! ```
//!
//! We have no resolver, so that the caller has to say what a name means (RFC 5685 §3).

use std::net::IpAddr;
use std::time::Instant;

use super::Endpoint;
use crate::error::Unknown;
use crate::event::{Event, Path, PeerId};
use crate::sa::{Attempt, IkeSa};
use crate::shared::Cx;
use crate::wire::header::IkeSpi;
use crate::wire::redirect::GatewayId;

impl Endpoint {
    /// Sends a peer to another gateway (RFC 5685): its SA at once, if it follows, and each that it begins after that;
    /// `None` lets it stay again. Says whether an SA is told: the peer has to have called us, and to follow redirects.
    ///
    /// # Errors
    /// `Unknown` if there is no such peer.
    pub fn redirect(
        &mut self,
        now: Instant,
        peer: PeerId,
        to: Option<GatewayId>,
    ) -> Result<bool, Unknown> {
        let leaves = to.is_some();
        let mut told = false;
        self.configure(peer, |config| config.redirect_to = to)?;
        for spi in self.peers.one(peer)?.sas.clone().into_iter().filter(|_| leaves) {
            if let Some(sa) = self.sas.get_mut(&spi) {
                told |= sa.redirect(&mut Cx { now, shared: &mut self.shared }).is_ok();
            }
            self.settle(now, spi);
        }
        Ok(told)
    }

    /// Goes to the gateway to whose name the peer sent us ([`Event::Redirected`]), now that its address is known. As with an
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
        match self.in_use(peer) {
            Some(spi) => {
                let redirected_from = Some(here.remote.ip());
                self.begin(now, peer, path, Attempt { supersedes: Some(spi), redirected_from });
            }
            None => self.pursue(now, peer),
        }
        Ok(true)
    }

    /// The peer, authenticated, sends us elsewhere: its SA stays until the one with the other gateway is up.
    pub(super) fn on_redirected(&mut self, now: Instant, spi: IkeSpi, id: PeerId, to: GatewayId) {
        let here = self.sas.get(&spi).and_then(IkeSa::path);
        let Some(here) = here else { return };
        // It says so again where its request was not answered before an IKE rekey.
        self.end_wishes(now, id);
        if let Some(path) = self.detour(now, id, here, to) {
            let redirected_from = Some(here.remote.ip());
            self.begin(now, id, path, Attempt { supersedes: Some(spi), redirected_from });
        }
    }

    /// The way to the gateway to which the one at the end of `here` sends us.
    pub(super) fn detour(
        &mut self,
        now: Instant,
        id: PeerId,
        here: Path,
        to: GatewayId,
    ) -> Option<Path> {
        let port = self.shared.config.ike_port;
        let way = self.peers.one(id).ok()?.redirected(now, here, &to, port);
        self.shared.out.events.push_back(Event::Redirected { peer: id, to });
        way
    }

    /// Our authentication is about to end (RFC 4478): the same again, beside the SA that there is.
    pub(super) fn on_reauthenticate(&mut self, now: Instant, spi: IkeSpi, id: PeerId) {
        let Some(mut path) = self.sas.get(&spi).and_then(IkeSa::path) else { return };
        let mut attempts = self.peers.one(id).ok().into_iter().flat_map(|peer| &peer.sas);
        let takes_over = |sa: &IkeSa| sa.is_wish() && sa.supersedes == Some(spi);
        if attempts.any(|sa| self.sas.get(sa).is_some_and(takes_over)) {
            return;
        }
        let (ike, nat) = (self.shared.config.ike_port, self.shared.config.nat_port);
        if path.local.port() == nat && path.remote.port() == nat {
            path.local.set_port(ike);
            path.remote.set_port(ike);
        }
        self.begin(now, id, path, Attempt { supersedes: Some(spi), redirected_from: None });
    }
}
