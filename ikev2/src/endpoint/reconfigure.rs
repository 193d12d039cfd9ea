//! Another configuration for a peer, while its SAs stand.
//!
//! ```text
//!   reconfigure        dead peer detection, lifetimes, start      at once
//!                      IKE proposals                              at the next rekey
//!                      identities, key, what is announced         at the next authentication
//!   reconfigure_child  lifetime at once, algorithms with the next rekey
//!   supersede          a new IKE SA beside the old one ─► up: the old one goes a moment later
//!                                                      └► not: the old one stays, Event::SwitchFailed
//!   remove_peer        DELETE for every SA; the number of the peer is not used again
//! ```

use std::time::Instant;

use super::Endpoint;
use crate::config::{ChildConfig, PeerConfig, Psk, Start};
use crate::error::{CloseReason, Unknown};
use crate::event::{ChildId, Event, IkeSaInfo, Path, PeerId};
use crate::sa::{Attempt, IkeSa, Stage};
use crate::wire::header::IkeSpi;

impl Endpoint {
    /// Gives a peer another configuration. SAs that stand go on: what they can take over they do at once (dead peer
    /// detection, the lifetime), new IKE proposals count from the next rekey on, and the rest, identities and key among it,
    /// from the next authentication on; [`supersede`](Self::supersede) brings that about.
    ///
    /// Its children stay as they are, whatever `config` says: see [`add_child`](Self::add_child),
    /// [`remove_child`](Self::remove_child), [`reconfigure_child`](Self::reconfigure_child). So does
    /// [`redirect_to`](PeerConfig::redirect_to). Unlike with [`set_paths`](Self::set_paths) no SA moves to other paths.
    ///
    /// # Errors
    /// `Unknown` if there is no such peer.
    pub fn reconfigure(
        &mut self,
        now: Instant,
        peer: PeerId,
        config: PeerConfig,
    ) -> Result<(), Unknown> {
        let mut config = config.bounded();
        let (start, paths, any) = (config.start, config.paths.clone(), config.any_address);
        let mut before = (config.start, config.lifetime);
        self.change(peer, |old| {
            before = (old.start, old.lifetime);
            config.children = std::mem::take(&mut old.children);
            config.redirect_to = old.redirect_to.take();
            *old = config;
            Ok(())
        })?;
        self.peers.set_paths(peer, paths)?;
        self.peers.set_anywhere(peer, any);
        let state = self.peers.one(peer)?;
        if start != before.0 && !state.barred {
            // What is up stays up; whether we call when it is not any more is another matter.
            state.wanted = start == Start::Always;
        }
        self.each_up(now, peer, |sa, cx| sa.reconfigure(before.1, cx));
        self.pursue(now, peer);
        Ok(())
    }

    /// Gives a child of a peer other algorithms and another lifetime. Time counts at once, for SAs that stand too; octets,
    /// packets and algorithms from the next rekey on. The selectors stay: another pair of lists is another child.
    ///
    /// # Errors
    /// `Unknown` if there is no such peer, or no such child any more.
    pub fn reconfigure_child(
        &mut self,
        now: Instant,
        peer: PeerId,
        index: usize,
        child: ChildConfig,
    ) -> Result<(), Unknown> {
        let child = child.bounded();
        let mut before = child.lifetime;
        self.change(peer, |config| {
            let old = config.children.get_mut(index).filter(|child| !child.removed);
            let old = old.ok_or(Unknown)?;
            before = old.lifetime;
            let (local, remote) = (std::mem::take(&mut old.local), std::mem::take(&mut old.remote));
            *old = ChildConfig { local, remote, ..child };
            Ok(())
        })?;
        self.each_up(now, peer, |sa, cx| sa.reconfigure_child(index, before, cx));
        Ok(())
    }

    /// Authenticates anew, by this path, with what is configured now: a new IKE SA beside the one that is up. That one goes
    /// a moment after the new one is up; if the new one cannot be had, it stays, and
    /// [`Event::SwitchFailed`] says why. An attempt to the same end that is under way is given
    /// up for this one.
    ///
    /// `false`: the peer is not up. Then an attempt of ours that is under way, perhaps with what is not true any more, is
    /// given up, and if the peer is wanted it is called at once.
    ///
    /// # Errors
    /// `Unknown` if there is no such peer.
    pub fn supersede(&mut self, now: Instant, peer: PeerId, path: Path) -> Result<bool, Unknown> {
        let state = self.peers.one(peer)?;
        let (wanted, sas) = (state.wanted, state.sas.clone());
        let how_far = |spi: &IkeSpi| self.sas.get(spi).map(IkeSa::stage);
        let under_way =
            |spi: &IkeSpi| matches!(how_far(spi), Some(Stage::Knocking | Stage::HalfOpen));
        let attempts: Vec<IkeSpi> = sas.into_iter().filter(under_way).collect();
        for spi in attempts {
            self.close(now, spi, CloseReason::Local);
        }
        if let Some(spi) = self.in_use(peer) {
            let attempt = Attempt { supersedes: Some(spi), redirected_from: None };
            if !self.begin(now, peer, path, attempt) {
                let reason = CloseReason::Protocol("no proposal names a key exchange that we know");
                self.shared.out.events.push_back(Event::SwitchFailed { peer, reason });
            }
            return Ok(true);
        }
        let state = self.peers.one(peer)?;
        state.wanted = wanted;
        state.retry_at = None;
        self.pursue(now, peer);
        Ok(false)
    }

    /// Removes a peer: its SAs are deleted, with a word to it, and from here on nobody is taken for it. Its number is not
    /// used again. The events that its SAs end with are still told, with that number.
    ///
    /// # Errors
    /// `Unknown` if there is no such peer any more.
    pub fn remove_peer(&mut self, now: Instant, peer: PeerId) -> Result<(), Unknown> {
        self.disconnect(now, peer)?;
        self.peers.remove(peer)?;
        self.shared.packets.remove(&peer);
        self.change(peer, |config| {
            // Somebody may be half-way in, who could be this peer: without proposals it is nobody's peer.
            let name = std::mem::take(&mut config.name);
            *config = PeerConfig::new(name, Psk::new(Vec::new()), Vec::new());
            Ok(())
        })
    }

    /// What the IKE SA in use with this peer is; `None` if there is none.
    #[must_use]
    pub fn ike_sa(&self, peer: PeerId) -> Option<IkeSaInfo> {
        self.sas.get(&self.in_use(peer)?)?.info()
    }

    /// When a child is rekeyed, which [`reconfigure_child`](Self::reconfigure_child) may have changed.
    #[must_use]
    pub fn child_rekey_at(&self, child: ChildId) -> Option<Instant> {
        self.sas.get(self.children.get(&child)?)?.child_rekey_at(child)
    }
}
