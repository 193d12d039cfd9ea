//! Children that come and go while the endpoint runs, and packets that ask for one.
//!
//! ```text
//!   add_child ─► index      children: [ lan, (removed), new ]      an index never means another child
//!   remove_child(1)         the peer may not bring it up again: TS_UNACCEPTABLE
//!   connect_for(packet)     connect, with the packet's selectors first in the request (RFC 7296 §2.9)
//! ```

use std::sync::Arc;
use std::time::Instant;

use super::Endpoint;
use crate::config::{ChildConfig, PeerConfig};
use crate::error::Unknown;
use crate::event::{ChildId, PeerId};
use crate::sa::{IkeSa, Stage};
use crate::shared::Cx;
use crate::wire::header::IkeSpi;
use crate::wire::traffic::PacketSelectors;

impl Endpoint {
    /// Adds a child to a peer; its index in [`PeerConfig::children`] comes back. If the peer is up, it is asked for, unless
    /// it is the peer's to ask: the peer began the IKE SA and is not one that starts always.
    ///
    /// # Errors
    /// `Unknown` if there is no such peer.
    pub fn add_child(
        &mut self,
        now: Instant,
        peer: PeerId,
        child: ChildConfig,
    ) -> Result<usize, Unknown> {
        let mut index = 0;
        self.change(peer, |config| {
            index = config.children.len();
            config.children.push(child.bounded());
            Ok(())
        })?;
        self.each_up(now, peer, |sa, cx| sa.add_child(index, cx));
        Ok(index)
    }

    /// Asks for a child of a peer that is up, if the child is not, even where it is the peer's to ask
    /// ([`add_child`](Self::add_child)): for when the peer was waited for long enough.
    ///
    /// # Errors
    /// `Unknown` if there is no such peer, or no such child any more.
    pub fn ask_for_child(
        &mut self,
        now: Instant,
        peer: PeerId,
        index: usize,
    ) -> Result<(), Unknown> {
        self.change(peer, |config| {
            let child = config.children.get(index).filter(|child| !child.removed);
            child.map(drop).ok_or(Unknown)
        })?;
        self.each_up(now, peer, |sa, cx| sa.ask_for_child(index, cx));
        Ok(())
    }

    /// Removes a child of a peer. Its SAs end at once ([`CloseReason::Local`](crate::CloseReason::Local)) and the peer is
    /// told by DELETE; from then on it is refused with TS_UNACCEPTABLE. The index stays taken.
    ///
    /// # Errors
    /// `Unknown` if there is no such peer, or no such child any more.
    pub fn remove_child(
        &mut self,
        now: Instant,
        peer: PeerId,
        index: usize,
    ) -> Result<(), Unknown> {
        self.change(peer, |config| {
            let child = config.children.get_mut(index).filter(|child| !child.removed);
            child.ok_or(Unknown)?.removed = true;
            Ok(())
        })?;
        self.each_up(now, peer, |sa, cx| sa.remove_child(index, cx));
        Ok(())
    }

    /// Rekeys one child now.
    ///
    /// # Errors
    /// `Unknown` if there is no such child, or another has taken its place. One whose rekey is under way is not rekeyed twice.
    pub fn rekey_child(&mut self, now: Instant, child: ChildId) -> Result<(), Unknown> {
        let spi = *self.children.get(&child).ok_or(Unknown)?;
        let sa = self.sas.get_mut(&spi).ok_or(Unknown)?;
        sa.rekey_child(child, &mut Cx { now, shared: &mut self.shared })?;
        self.settle(now, spi);
        Ok(())
    }

    /// Ends a child that has carried all that it may ([`ChildSa::hard`](crate::ChildSa::hard)), as if its time were over: it
    /// is deleted, and another one is asked for.
    ///
    /// # Errors
    /// `Unknown` if there is no such child.
    pub fn expire_child(&mut self, now: Instant, child: ChildId) -> Result<(), Unknown> {
        let spi = *self.children.get(&child).ok_or(Unknown)?;
        let sa = self.sas.get_mut(&spi).ok_or(Unknown)?;
        sa.expire_child(child, &mut Cx { now, shared: &mut self.shared });
        self.settle(now, spi);
        Ok(())
    }

    /// [`connect`](Self::connect), because of this packet. If a child is configured for it and none that is up carries it,
    /// that child is asked for, and the request says which packet it is for, so that a peer that has to choose among
    /// its own policies chooses the right one (RFC 7296 §2.9). Of several packets the last one counts.
    ///
    /// # Errors
    /// `Unknown` if there is no such peer.
    pub fn connect_for(
        &mut self,
        now: Instant,
        peer: PeerId,
        packet: PacketSelectors,
    ) -> Result<(), Unknown> {
        self.peers.one(peer)?;
        self.shared.packets.insert(peer, packet);
        self.connect(now, peer)?;
        self.each_up(now, peer, IkeSa::want_packet);
        Ok(())
    }

    /// Puts another configuration in the place of a peer's.
    pub(super) fn change(
        &mut self,
        peer: PeerId,
        change: impl FnOnce(&mut PeerConfig) -> Result<(), Unknown>,
    ) -> Result<(), Unknown> {
        let index = usize::try_from(peer.0).map_err(|_| Unknown)?;
        let place = self.shared.peers.get_mut(index).ok_or(Unknown)?;
        // SAs hold it only while they are at work, so that this rarely copies.
        change(Arc::make_mut(place))
    }

    pub(super) fn each_up(
        &mut self,
        now: Instant,
        peer: PeerId,
        run: impl Fn(&mut IkeSa, &mut Cx<'_>),
    ) {
        let Ok(state) = self.peers.one(peer) else { return };
        let spis: Vec<IkeSpi> = state.sas.clone();
        for spi in spis {
            if let Some(sa) = self.sas.get_mut(&spi).filter(|sa| sa.stage() == Stage::Up) {
                run(sa, &mut Cx { now, shared: &mut self.shared });
                self.settle(now, spi);
            }
        }
    }
}
