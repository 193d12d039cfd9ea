//! What the caller changes while SAs stand: children come and go, and packets ask for them (RFC 7296 §1.4.1, §2.9).
//!
//! ```text
//!   add_child     ─► asked for, by whoever asks for children: the initiator, or a peer that starts always
//!   remove_child  ─► its SAs go at once, then DELETE; what was queued for it is dropped; an answer that is still on its
//!                    way makes a pair that is deleted before it is told
//!   packet        ─► the child that it belongs to is asked for, its selectors first in the request
//! ```

use super::child::Child;
use super::established::Established;
use super::slot::{Slot, is_divisible, pairs};
use super::tasks::{Pending, Task};
use super::{Cx, IkeSa, Origin};
use crate::config::{Pairing, Start};
use crate::error::CloseReason;
use crate::event::{ChildId, PeerId};
use crate::wire::traffic::{PacketSelectors, Traffic};

impl IkeSa {
    /// A child was added to the configuration of the peer.
    pub(crate) fn add_child(&mut self, config: usize, cx: &mut Cx<'_>) {
        if let Ok(state) = self.established()
            && state.asks_by_itself(cx)
        {
            state.want_missing(config, cx);
            state.ask(cx);
        }
    }

    /// Asks for a child that is not up, whoever's it is to ask.
    pub(crate) fn ask_for_child(&mut self, config: usize, cx: &mut Cx<'_>) {
        if let Ok(state) = self.established() {
            state.want_missing(config, cx);
            state.ask(cx);
        }
    }

    /// A child was taken out of the configuration of the peer.
    pub(crate) fn remove_child(&mut self, config: usize, cx: &mut Cx<'_>) {
        if let Ok(state) = self.established() {
            state.forget_child(config, cx);
            state.ask(cx);
        }
    }

    /// A packet waits for a child; see [`Cx::slot_of_packet`].
    pub(crate) fn want_packet(&mut self, cx: &mut Cx<'_>) {
        if let Ok(state) = self.established() {
            state.want_packet(cx);
            state.ask(cx);
        }
    }
}

impl Established {
    /// Whether it is ours to ask for children that are missing.
    fn asks_by_itself(&self, cx: &Cx<'_>) -> bool {
        self.first().origin == Origin::Local || cx.peer(self.peer).start == Start::Always
    }

    fn forget_child(&mut self, config: usize, cx: &mut Cx<'_>) {
        self.queue.retain(|task| !matches!(task, Task::NewChild(slot, _) | Task::NewResource(slot, _) if slot.config == config));
        self.retries.retain(|retry| retry.slot.config != config);
        self.split.retain(|split| *split != config);
        self.enough.retain(|slot| slot.config != config);
        let of = |child: &&Child| child.slot.config == config;
        let gone: Vec<ChildId> = self.children.iter().filter(of).map(|child| child.id).collect();
        for id in gone {
            self.drop_child(id, cx);
        }
    }

    /// Takes a child out at once and has it deleted. The SPI stays ours until the DELETE is answered.
    fn drop_child(&mut self, id: ChildId, cx: &mut Cx<'_>) {
        let Some(index) = self.children.iter().position(|child| child.id == id) else { return };
        let mut gone = self.children.swap_remove(index);
        let of_it = |task: &Task| matches!(task, Task::DeleteChild(child) | Task::RekeyChild(child, _) if *child == id);
        self.queue.retain(|task| !of_it(task));
        self.drop_drafts_of(id, cx);
        // A DELETE of ours that is out already is enough.
        if matches!(self.pending, Some(Pending::DeleteChild(child)) if child == id) {
            self.pending = Some(Pending::DeleteSpis(vec![gone.spi_in]));
        } else {
            self.queue.push_back(Task::DeleteSpi(gone.spi_in));
        }
        // One that was replaced, or whose time is over, may be down already.
        gone.take_down(CloseReason::Local, cx);
    }

    /// Whether a child that was agreed on is to be installed. Its configuration may have been removed meanwhile: then it is
    /// deleted instead. If it is wanted, nothing that it serves has to be asked for again.
    pub(super) fn is_wanted(&mut self, child: &Child, cx: &mut Cx<'_>) -> bool {
        let peer = cx.peer(self.peer);
        let Some(config) = peer.child(child.slot.config) else {
            self.queue.push_back(Task::DeleteSpi(child.spi_in));
            return false;
        };
        if child.resource {
            return true;
        }
        self.retries.retain(|retry| {
            let same = retry.slot.config == child.slot.config;
            // One pair that the peer asked for is not the whole.
            let is_part = retry.slot.pair.is_none() && child.slot.pair.is_some();
            !same || is_part || !retry.slot.is_served_by(&child.traffic, config)
        });
        if cx.shared.packets.get(&self.peer).is_some_and(|packet| child.traffic.holds(packet)) {
            cx.shared.packets.remove(&self.peer);
        }
        true
    }

    /// Whether the waiting packet belongs to this slot and no child carries it: then another one is wanted, even if the
    /// slot has one that the peer narrowed to other traffic.
    pub(super) fn packet_waits_for(&self, slot: Slot, cx: &Cx<'_>) -> bool {
        let Some(packet) = cx.shared.packets.get(&self.peer) else { return false };
        let peer = cx.peer(self.peer);
        peer.child(slot.config).is_some_and(|child| slot.traffic(child).holds(packet))
            && !self.children.iter().any(|child| child.traffic.holds(packet))
    }

    /// Asks for the child that a packet belongs to, if none carries it.
    fn want_packet(&mut self, cx: &Cx<'_>) {
        let Some(slot) = cx.slot_of_packet(self.peer) else { return };
        if self.packet_waits_for(slot, cx) {
            self.retries.retain(|retry| retry.slot != slot);
            self.want(Task::NewChild(slot, None));
        }
    }
}

impl Cx<'_> {
    /// The selectors of a request for a new child, those of the packet that waits for it first (RFC 7296 §2.9).
    pub(super) fn led_by_packet(&self, peer: PeerId, traffic: Traffic) -> Traffic {
        match self.shared.packets.get(&peer) {
            Some(packet) => traffic.led_by(packet),
            None => traffic,
        }
    }

    /// The child that the waiting packet of a peer belongs to: the first one that is configured for it.
    pub(super) fn slot_of_packet(&self, id: PeerId) -> Option<Slot> {
        let packet: &PacketSelectors = self.shared.packets.get(&id)?;
        let peer = self.peer(id);
        peer.live_children().find_map(|(config, child)| {
            let whole = Slot::whole(config);
            let mine = |slot: &Slot| slot.traffic(child).holds(packet);
            if child.pairing == Pairing::Single && is_divisible(child) {
                let all = pairs(child).into_iter().map(|pair| Slot { config, pair: Some(pair) });
                return all.into_iter().find(mine);
            }
            Some(whole).filter(mine)
        })
    }
}
