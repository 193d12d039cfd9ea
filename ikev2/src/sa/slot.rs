//! Which child of a configuration is meant: the whole of its selectors, or one pair of them, each a child of its own
//! (RFC 7296 §2.9, SINGLE_PAIR_REQUIRED).
//!
//! ```text
//!   local 10.1/16, 10.3/16   remote 10.2/16, 10.4/16
//!
//!   Combined   one child            [10.1, 10.3] <-> [10.2, 10.4]
//!   Single     a child for a pair   10.1<->10.2   10.1<->10.4   10.3<->10.2   10.3<->10.4
//!   Auto       one child; once the peer refused it, or took only some of it, a child for each pair that is left
//! ```
//!
//! What was learned about the peer (`Established::split`) lasts as long as the IKE SA and those that take its place.

use super::Cx;
use super::child::{Child, Phase};
use super::established::Established;
use super::tasks::Task;
use crate::config::{ChildConfig, Pairing};
use crate::error::CloseReason;
use crate::event::Event;
use crate::registry::NotifyType;
use crate::wire::selector::TrafficSelector;
use crate::wire::traffic::Traffic;

/// The most pairs that one configuration is taken apart into.
pub(super) const MOST_PAIRS: usize = 1024;

/// A child that there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// Index of the configuration.
    pub(super) config: usize,
    /// Positions in its two lists; `None` means all of both.
    pub(super) pair: Option<(u16, u16)>,
}

impl Slot {
    pub(super) const fn whole(config: usize) -> Self {
        Self { config, pair: None }
    }

    /// What the configuration says of it.
    pub(super) fn traffic(self, child: &ChildConfig) -> Traffic {
        match self.pair.and_then(|pair| selectors(child, pair)) {
            Some((local, remote)) => Traffic::new(vec![local], vec![remote]),
            None => Traffic::new(child.local.clone(), child.remote.clone()),
        }
    }

    /// The slot of a child that the peer asked for with these selectors.
    pub(super) fn of(config: usize, child: &ChildConfig, traffic: &Traffic) -> Self {
        let pairs = pairs(child);
        let mut served = pairs.iter().filter(|pair| serves(traffic, child, **pair));
        match (served.next(), served.next()) {
            (Some(only), None) if pairs.len() > 1 => Self { config, pair: Some(*only) },
            _ => Self::whole(config),
        }
    }

    /// Whether a child of the same configuration that carries this traffic leaves nothing of it to ask for.
    pub(super) fn is_served_by(self, traffic: &Traffic, child: &ChildConfig) -> bool {
        self.pair.is_none_or(|pair| serves(traffic, child, pair))
    }
}

/// The pairs of a configuration, in order, each of one address family; no more than [`MOST_PAIRS`].
pub(super) fn pairs(child: &ChildConfig) -> Vec<(u16, u16)> {
    let local = (0..=u16::MAX).zip(&child.local);
    let all = local.flat_map(|(l, ours)| {
        let remote = (0..=u16::MAX).zip(&child.remote);
        let fitting = remote.filter(|(_, r)| r.start.is_ipv4() == ours.start.is_ipv4());
        fitting.map(move |(r, _)| (l, r))
    });
    all.take(MOST_PAIRS).collect()
}

/// Whether there is more than one pair.
pub(super) fn is_divisible(child: &ChildConfig) -> bool {
    child.local.len() > 1 || child.remote.len() > 1
}

fn selectors(
    child: &ChildConfig,
    (local, remote): (u16, u16),
) -> Option<(TrafficSelector, TrafficSelector)> {
    Some((*child.local.get(usize::from(local))?, *child.remote.get(usize::from(remote))?))
}

/// Whether a child with this traffic stands for a pair: it carries all of it, or what the peer left of it. To ask again
/// for what the peer cut off would get the same answer.
fn serves(traffic: &Traffic, child: &ChildConfig, pair: (u16, u16)) -> bool {
    let meets = |list: &[TrafficSelector], wanted: &TrafficSelector| {
        list.iter().any(|ts| ts.contains(wanted) || wanted.contains(ts))
    };
    selectors(child, pair).is_some_and(|(local, remote)| {
        meets(&traffic.local, &local) && meets(&traffic.remote, &remote)
    })
}

impl Established {
    /// Whether a configuration is negotiated pair by pair with this peer.
    fn goes_by_pairs(&self, config: usize, child: &ChildConfig) -> bool {
        match child.pairing {
            Pairing::Combined => false,
            Pairing::Single => is_divisible(child),
            Pairing::Auto => self.split.contains(&config),
        }
    }

    /// The children that a configuration stands for now.
    fn slots(&self, config: usize, child: &ChildConfig) -> Vec<Slot> {
        if self.goes_by_pairs(config, child) {
            pairs(child).into_iter().map(|pair| Slot { config, pair: Some(pair) }).collect()
        } else {
            vec![Slot::whole(config)]
        }
    }

    /// The slot to ask for in IKE_AUTH, where there is only one: the first of the first configuration.
    pub(super) fn first_slot(config: &crate::config::PeerConfig) -> Option<Slot> {
        let (index, child) = config.live_children().next()?;
        let by_pairs = child.pairing == Pairing::Single && is_divisible(child);
        let pair = by_pairs.then(|| pairs(child).first().copied()).flatten();
        Some(Slot { config: index, pair })
    }

    /// Whether a child in this slot is in use.
    pub(super) fn has_up(&self, slot: Slot, cx: &Cx<'_>) -> bool {
        let peer = cx.peer(self.peer);
        let Some(child) = peer.child(slot.config) else { return false };
        let up = || self.up(slot.config);
        match slot.pair {
            Some(_) => up().any(|other| slot.is_served_by(&other.traffic, child)),
            None if up().any(|other| other.slot == slot) => true,
            None => {
                let is_up =
                    |pair: &(u16, u16)| up().any(|other| serves(&other.traffic, child, *pair));
                up().next().is_some() && pairs(child).iter().all(is_up)
            }
        }
    }

    /// Whether what the peer granted of a slot that we asked for is in use already, in the child of the slot or of one of its pairs.
    pub(super) fn is_there(&self, slot: Slot, granted: &Traffic, cx: &Cx<'_>) -> bool {
        let peer = cx.peer(self.peer);
        let Some(child) = peer.child(slot.config) else { return false };
        let granted =
            Slot { pair: slot.pair.or(Slot::of(slot.config, child, granted).pair), ..slot };
        !self.packet_waits_for(slot, cx) && (self.has_up(slot, cx) || self.has_up(granted, cx))
    }

    /// Those beside the fallbacks (RFC 9611) do not count: there has to be one that is for everything.
    fn up(&self, config: usize) -> impl Iterator<Item = &Child> {
        let of = move |child: &&Child| child.slot.config == config && child.phase == Phase::Up;
        self.children.iter().filter(of).filter(|child| !child.resource)
    }

    /// Whatever is configured, is not in use and is not waiting for its next try.
    pub(super) fn ask_for_missing_children(&mut self, cx: &mut Cx<'_>) {
        let peer = cx.peer(self.peer);
        for (config, _) in peer.live_children() {
            self.want_missing(config, cx);
        }
        self.ask(cx);
    }

    /// The same for one configuration, without sending yet.
    pub(super) fn want_missing(&mut self, config: usize, cx: &Cx<'_>) {
        let peer = cx.peer(self.peer);
        let Some(child) = peer.child(config) else { return };
        for slot in self.slots(config, child) {
            if !self.has_up(slot, cx) && !self.waits_for(slot) {
                self.want(Task::NewChild(slot, None));
            }
        }
    }

    /// Whether fewer children are in use than there are slots.
    pub(super) fn lacks_children(&self, cx: &Cx<'_>) -> bool {
        let peer = cx.peer_ref(self.peer);
        let in_use = |child: &&Child| child.phase == Phase::Up && !child.resource;
        let slots = |(config, child): (usize, &ChildConfig)| {
            if self.goes_by_pairs(config, child) { pairs(child).len() } else { 1 }
        };
        let up = self.children.iter().filter(in_use).count();
        up < peer.live_children().map(slots).sum()
    }

    /// Whether a slot that we are about to ask for has to be asked for pair by pair; then that is arranged.
    pub(super) fn is_taken_apart(&mut self, slot: Slot, cx: &Cx<'_>) -> bool {
        let peer = cx.peer(self.peer);
        let Some(child) = peer.child(slot.config) else { return true };
        let apart = slot.pair.is_none() && self.goes_by_pairs(slot.config, child);
        if apart {
            self.want_missing(slot.config, cx);
        }
        apart
    }

    /// Asks for the pairs one by one if the peer did not want all at once; `false` if that is not the matter.
    ///
    /// SINGLE_PAIR_REQUIRED says so. TS_UNACCEPTABLE does not, but is all that gateways say that keep one pair of
    /// networks in a child; when the networks do differ, asking for the pairs tells which of them.
    pub(super) fn falls_back(&mut self, slot: Slot, reason: &CloseReason, cx: &Cx<'_>) -> bool {
        let single = CloseReason::Notified(NotifyType::SINGLE_PAIR_REQUIRED);
        // Of TS_UNACCEPTABLE only the peer's: when we refuse, we know what the peer wanted.
        let unacceptable =
            matches!(reason, CloseReason::SelectorMismatch { theirs, .. } if theirs.is_empty());
        let refused = *reason == single || unacceptable;
        let peer = cx.peer(self.peer);
        let apart = peer.child(slot.config).is_some_and(|child| {
            slot.pair.is_none() && child.pairing == Pairing::Auto && is_divisible(child)
        });
        refused && apart && self.split(slot.config, cx)
    }

    /// After an answer of the peer: if it took only some of the pairs, the others are asked for one by one.
    pub(super) fn ask_for_rest(&mut self, slot: Slot, cx: &Cx<'_>) {
        let peer = cx.peer(self.peer);
        let Some(child) = peer.child(slot.config) else { return };
        if slot.pair.is_none() && child.pairing == Pairing::Auto && is_divisible(child) {
            let up = || self.up(slot.config);
            let all = pairs(child)
                .iter()
                .all(|pair| up().any(|other| serves(&other.traffic, child, *pair)));
            if !all {
                self.split(slot.config, cx);
            }
        }
    }

    fn split(&mut self, config: usize, cx: &Cx<'_>) -> bool {
        if self.split.contains(&config) {
            return false;
        }
        tracing::info!(peer = self.peer.0, child = config, "going on with one child for each pair");
        self.split.push(config);
        self.want_missing(config, cx);
        true
    }

    /// What a rekey of a child is about (RFC 7296 §2.9.2): never less than what is in use. Where no other child has a
    /// share in the configuration, as much as is configured, so that what a peer once cut off can come back. Those of which
    /// there are several stay alike (RFC 9611 §3).
    pub(super) fn rekey_scope(&self, old: &Child, cx: &Cx<'_>) -> Traffic {
        let peer = cx.peer(self.peer);
        let Some(child) = peer.child(old.slot.config) else { return old.traffic.clone() };
        if old.resource || self.has_resources(old.slot) {
            return old.traffic.clone();
        }
        let alone = || self.up(old.slot.config).all(|other| other.id == old.id);
        let configured = old.slot.traffic(child);
        let whole =
            old.slot.pair.is_some() || (!self.goes_by_pairs(old.slot.config, child) && alone());
        if whole && configured.contains(&old.traffic) { configured } else { old.traffic.clone() }
    }

    /// Whether the peer has made so many children that it may have no more before it deletes some (RFC 7296 §1.3). In
    /// order are one for each slot that is configured, and for a while, in a rekey that crosses another, two more. Those for
    /// resources (RFC 9611) have their own measure, twice over while they are replaced.
    pub(super) fn is_full(&self, cx: &Cx<'_>) -> bool {
        let (most, most_for_resources) = self.most_children(cx);
        let for_resources = self.children.iter().filter(|child| child.resource).count();
        let others = self.children.len() - for_resources;
        others >= most || for_resources >= most_for_resources
    }

    /// How many children the peer may have, and how many for resources besides.
    pub(super) fn most_children(&self, cx: &Cx<'_>) -> (usize, usize) {
        let peer = cx.peer(self.peer);
        let for_one = cx.shared.config.max_children.max(1);
        let (mut most, mut most_for_resources) = (0_usize, 0_usize);
        for (_, child) in peer.live_children() {
            let slots = pairs(child).len().max(1);
            let for_resources = usize::try_from(child.most_for_resources).unwrap_or(usize::MAX);
            most = most.saturating_add(for_one.saturating_mul(slots));
            most_for_resources =
                most_for_resources.saturating_add(for_resources.saturating_mul(2 * slots));
        }
        (most.max(for_one), most_for_resources.max(1))
    }

    /// Tells that a child could not be had.
    pub(super) fn tell_failed(
        &self,
        slot: Slot,
        reason: CloseReason,
        retry_at: Option<std::time::Instant>,
        cx: &mut Cx<'_>,
    ) {
        let config = cx.peer(self.peer);
        let selectors = config.child(slot.config).map(|child| slot.traffic(child));
        let (peer, config, selectors) = (self.peer, slot.config, selectors.unwrap_or_default());
        cx.event(Event::ChildFailed { peer, config, selectors, reason, retry_at });
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn net(second: u8, len: u8) -> TrafficSelector {
        TrafficSelector::subnet(IpAddr::from([10, second, 0, 0]), len)
    }

    fn config(local: &[TrafficSelector], remote: &[TrafficSelector]) -> ChildConfig {
        ChildConfig::new("net", local.to_vec(), remote.to_vec(), Vec::new())
    }

    #[test]
    fn pairs_are_of_one_family_and_bounded() {
        let v6 = TrafficSelector::any_v6();
        let mixed = config(&[net(1, 16), v6], &[net(2, 16), net(4, 16), v6]);
        assert_eq!(pairs(&mixed), [(0, 0), (0, 1), (1, 2)]);
        let many = config(&vec![net(1, 16); 200], &vec![net(2, 16); 200]);
        assert_eq!(pairs(&many).len(), MOST_PAIRS);
        assert!(is_divisible(&mixed) && !is_divisible(&config(&[v6], &[v6])));
    }

    #[test]
    fn a_pair_is_served_by_all_of_it_or_by_what_the_peer_left() {
        let child = config(&[net(1, 16), net(3, 16)], &[net(2, 16)]);
        let first = Slot { config: 0, pair: Some((0, 0)) };
        let carries = |local: TrafficSelector, remote: TrafficSelector| {
            first.is_served_by(&Traffic::new(vec![local], vec![remote]), &child)
        };
        assert!(carries(net(1, 16), net(2, 16)));
        assert!(carries(net(0, 8), net(2, 16)), "more");
        assert!(carries(net(1, 24), net(2, 24)), "less");
        assert!(!carries(net(3, 16), net(2, 16)) && !carries(net(1, 16), net(4, 16)));
    }

    #[test]
    fn what_the_peer_asks_for_is_one_pair_or_not_divided() {
        let child = config(&[net(1, 16), net(3, 16)], &[net(2, 16)]);
        let slot = |local: &[TrafficSelector]| {
            Slot::of(0, &child, &Traffic::new(local.to_vec(), vec![net(2, 16)])).pair
        };
        assert_eq!(slot(&[net(3, 24)]), Some((1, 0)));
        assert_eq!(slot(&[net(1, 16), net(3, 16)]), None);
        let one = config(&[net(1, 16)], &[net(2, 16)]);
        assert_eq!(Slot::of(0, &one, &Slot::whole(0).traffic(&one)), Slot::whole(0));
    }
}
