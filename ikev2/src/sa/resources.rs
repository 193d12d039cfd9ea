//! Several children with the same selectors, one for each resource of ours: a thread, a CPU, a queue (RFC 9611).
//!
//! ```text
//!   first child    N(SA_RESOURCE_INFO) ──►   ◄── N(SA_RESOURCE_INFO)     both are willing; it is the fallback, for everything
//!   further ones   SK { SA, Ni, [KEi], TSi, TSr, N(SA_RESOURCE_INFO) } ──►
//!                     ◄── the same: granted       ◄── N(TS_MAX_QUEUE) or another error: what is there stays, no more is asked
//!
//!   fallback  SPI family 9    resource 9 % 3 = 0
//!   further   SPI family 28            28 % 3 = 1     each keeps its family, and so its resource, when it is rekeyed
//!   further   SPI family 2              2 % 3 = 2
//! ```
//!
//! Both sides may have as many as they have resources, which need not be equally many: we ask while one of ours has none. The
//! one that began the IKE SA asks first, so that both do not ask for the same. What the identifier in the notification says
//! is for people (§5.1), and not looked at.
//!
//! A child that the peer asked for carries nothing of ours before the peer is known to have it: until then there is the
//! fallback. One that the peer deletes is asked for again when the fallback is replaced, not before (§6). If it is the fallback
//! that goes, another one takes its part: nothing on the wire tells them apart, so that what we took for a further one may be
//! the peer's fallback.

use std::time::Duration;

use super::child::{Agreed, Child, ChildOffer, Phase};
use super::create_child::{Next, Refused};
use super::established::Established;
use super::slot::Slot;
use super::tasks::{Pending, Task};
use super::{Cx, Origin, negotiate};
use crate::config::ChildConfig;
use crate::crypto::suite::ChildSuite;
use crate::event::{ChildId, Event, SendWhen};
use crate::registry::{ExchangeType, KeMethod, NotifyType};
use crate::wire::message::{Body, Chain};
use crate::wire::traffic::Traffic;

/// What SA_RESOURCE_INFO of a fallback says, if we know of RFC 9611 there: nothing.
pub(super) fn announced(child: &ChildConfig) -> Option<Vec<u8>> {
    (child.most_for_resources > 1).then(Vec::new)
}

/// A fallback and the children beside it, as a request for one more needs to know them.
#[derive(Debug)]
pub(super) struct Siblings {
    pub(super) slot: Slot,
    /// All have the same.
    pub(super) suite: ChildSuite,
    traffic: Traffic,
    /// How many there are.
    pub(super) count: u32,
    /// The resource of ours with the fewest of them (RFC 9611 §4).
    pub(super) idle: u32,
}

impl Siblings {
    /// Those that a request belongs to: of the same configuration, with the same selectors.
    pub(super) fn of<'a>(
        asked: &'a super::child::Asked,
        slot: Slot,
        traffic: &Traffic,
    ) -> Option<&'a Self> {
        let super::child::Asked::Further { beside, .. } = asked else { return None };
        beside.iter().find(|siblings| {
            siblings.slot.config == slot.config
                && siblings.traffic.contains(traffic)
                && traffic.contains(&siblings.traffic)
        })
    }
}

impl Child {
    /// It takes the place of one of this kind: whether for a resource, and whether the peer knows of such. The peer need not
    /// say so again (RFC 9611 §3).
    pub(super) const fn continues(&mut self, (resource, resources): (bool, bool)) {
        self.resource = resource;
        self.remarks.resources |= resources;
    }
}

impl Established {
    /// Whether there are children beside the fallback of this slot.
    pub(super) fn has_resources(&self, slot: Slot) -> bool {
        self.alike(slot).any(|child| child.resource)
    }

    pub(super) fn is_resource(&self, id: ChildId) -> bool {
        self.children.iter().any(|child| child.id == id && child.resource)
    }

    /// The children of a slot that are in use, whether fallback or beside it.
    fn alike(&self, slot: Slot) -> impl Iterator<Item = &Child> {
        self.children.iter().filter(move |child| child.slot == slot && child.phase == Phase::Up)
    }

    fn fallback(&self, slot: Slot) -> Option<&Child> {
        self.alike(slot).find(|child| !child.resource)
    }

    /// Whether a child that comes up is to be one beside the fallback. While it was agreed on the fallback may have gone, or another may
    /// have taken the part that was to be its own.
    pub(super) fn is_beside_another(&self, child: &Child) -> bool {
        let alike = |other: &&Child| {
            other.traffic.contains(&child.traffic) && child.traffic.contains(&other.traffic)
        };
        let others = self.alike(child.slot).filter(|other| Some(other.id) != child.replaces);
        let mut fallbacks = others.filter(alike).filter(|other| !other.resource);
        (child.resource || child.remarks.resources) && fallbacks.next().is_some()
    }

    /// The fallback of a slot is gone: the oldest of the others takes its part, if there is one.
    pub(super) fn appoint_fallback(&mut self, slot: Slot) -> bool {
        let up = |child: &&mut Child| child.slot == slot && child.phase == Phase::Up;
        let oldest = self.children.iter_mut().filter(up).min_by_key(|child| child.id);
        oldest.map(|child| child.resource = false).is_some()
    }

    /// How many children each of our resources has.
    fn loads(&self, slot: Slot, child: &ChildConfig) -> Vec<u32> {
        let mut loads = vec![0; child.resources as usize];
        for child_sa in self.alike(slot) {
            let resource = child_sa.spi_in.resource(child.resources) as usize;
            loads.iter_mut().skip(resource).take(1).for_each(|load| *load += 1);
        }
        loads
    }

    /// What there is beside the child that a request asks for; nothing if it asks for an ordinary one.
    pub(super) fn siblings(&self, body: &Body<'_>, cx: &Cx<'_>) -> Vec<Siblings> {
        if body.notify(NotifyType::SA_RESOURCE_INFO).is_none() {
            return Vec::new();
        }
        let peer = cx.peer(self.peer);
        let up = self.children.iter().filter(|child| child.phase == Phase::Up && !child.resource);
        let siblings = up.filter_map(|fallback| {
            let (slot, suite, traffic) = (fallback.slot, fallback.suite, fallback.traffic.clone());
            let loads = self.loads(slot, peer.child(slot.config)?);
            let count = loads.iter().sum();
            let (idle, _) = (0..).zip(loads).min_by_key(|(_, load)| *load)?;
            Some(Siblings { slot, suite, traffic, count, idle })
        });
        siblings.collect()
    }

    /// Puts a child to use that the peer asked for.
    pub(super) fn install_further(&mut self, agreed: Agreed, cx: &mut Cx<'_>) {
        if !agreed.child.resource {
            return self.install(agreed, SendWhen::Now, None, cx);
        }
        let slot = agreed.child.slot;
        self.install(agreed, SendWhen::AfterInbound, None, cx);
        // There may be more to come, which we need not ask for.
        if self.missing(slot, cx).is_some() && self.resources_at.is_some() {
            self.resources_at = Some(cx.now + cx.jitter(AFTER_YOU));
        }
    }

    /// With a window of one, a new request says that our last answer arrived.
    pub(super) fn confirm_children(&mut self, cx: &mut Cx<'_>) {
        for child in self.children.iter_mut().filter(|child| !child.confirmed) {
            child.confirmed = true;
            if child.resource && child.replaces.is_none() {
                cx.event(Event::ChildConfirmed { child: child.id });
            }
        }
    }

    /// A resource of ours that has no child in this slot, if the peer may be asked for one.
    fn missing(&self, slot: Slot, cx: &Cx<'_>) -> Option<u32> {
        let peer = cx.peer(self.peer);
        let child = peer.child(slot.config)?;
        let knows = self.fallback(slot).is_some_and(|fallback| fallback.remarks.resources);
        if !knows || announced(child).is_none() || self.enough.contains(&slot) {
            return None;
        }
        let loads = self.loads(slot, child);
        (0..).zip(loads).find(|(_, load)| *load == 0).map(|(resource, _)| resource)
    }

    /// Sees to it that every resource of ours gets a child in this slot. Whoever began the IKE SA asks at once.
    pub(super) fn want_resources(&mut self, slot: Slot, cx: &mut Cx<'_>) {
        if self.missing(slot, cx).is_none() {
            return;
        }
        match self.first().origin {
            Origin::Local => self.want(Task::NewResource(slot, None)),
            Origin::Remote => self.resources_at = Some(cx.now + cx.jitter(AFTER_YOU)),
        }
    }

    /// The other side had its time.
    pub(super) fn resume_resources(&mut self, cx: &Cx<'_>) {
        if self.resources_at.take_if(|at| *at <= cx.now).is_none() {
            return;
        }
        let slots: Vec<Slot> =
            self.children.iter().filter(|child| !child.resource).map(|child| child.slot).collect();
        for slot in slots {
            if self.missing(slot, cx).is_some() {
                self.want(Task::NewResource(slot, None));
            }
        }
    }

    /// Asks for a child for the first resource that has none: the same as the fallback, but for its keys (RFC 9611 §3).
    pub(super) fn ask_resource(&mut self, slot: Slot, ke: Option<KeMethod>, cx: &mut Cx<'_>) {
        let (Some(resource), Some(fallback)) = (self.missing(slot, cx), self.fallback(slot)) else {
            return;
        };
        let peer = cx.peer(self.peer);
        let Some(child) = peer.child(slot.config) else { return };
        let proposals = negotiate::only(&child.proposals, &fallback.suite);
        let offered = (slot, fallback.traffic.clone());
        let spi_in = cx.esp_spi_of_resource(resource, child.resources);
        let mut offer = ChildOffer::further(&proposals, offered, (ke, None), spi_in, cx);
        offer.resource = true;
        offer.resource_info = Some(resource.to_be_bytes().to_vec());
        let mut chain = Chain::new();
        offer.write(&mut chain);
        self.pending = Some(Pending::NewChild(offer));
        self.channel.request(ExchangeType::CREATE_CHILD_SA, &chain, cx);
    }

    pub(super) fn on_resource_agreed(
        &mut self,
        slot: Slot,
        agreed: Result<Agreed, Refused>,
        cx: &mut Cx<'_>,
    ) {
        match agreed {
            Ok(agreed) => {
                self.install(agreed, SendWhen::Now, None, cx);
                if self.missing(slot, cx).is_some() {
                    self.want(Task::NewResource(slot, None));
                } else {
                    // Whatever we ask next tells the peer that its answer arrived; so that it need not wait for a packet.
                    self.want(Task::Liveness);
                }
            }
            Err(Refused { next: Next::OtherGroup(method), .. }) => {
                self.queue.push_front(Task::NewResource(slot, Some(method)));
            }
            // It need not be soon, and to give the SA up for it would be wrong.
            Err(Refused { next: Next::Later, .. }) => {
                self.resources_at = Some(cx.now + cx.jitter(PUT_OFF));
            }
            // Granted, and deleted before the answer came: as if it had been deleted later.
            Err(Refused { next: Next::Deleted, .. }) => {}
            Err(Refused { next: Next::Gone | Next::Full | Next::GiveUp, reason }) => {
                let peer = self.peer;
                let config = slot.config;
                let children = self.alike(slot).count();
                let wanted = cx.peer(peer).child(config).map_or(1, |child| child.resources);
                self.enough.push(slot);
                cx.event(Event::EnoughChildren { peer, config, children, wanted, reason });
            }
        }
    }
}

/// How long the side that did not begin the IKE SA waits for the other's requests.
const AFTER_YOU: Duration = Duration::from_secs(1);

/// How long to wait after TEMPORARY_FAILURE before a child for a resource is asked for again.
const PUT_OFF: Duration = Duration::from_secs(10);
