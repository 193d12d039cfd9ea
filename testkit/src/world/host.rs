//! A host of the [`World`](super::World): an endpoint, and the record of what it told its caller.
//!
//! ```text
//!   Event::PeerUp / PeerRekeyed / PeerDown ─► up          Event::ChildUp / ChildDown ─► children()
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ikev2::{ChildId, ChildSa, Endpoint, Event, IkeSaInfo, PeerId};

/// One endpoint and what its caller would know.
pub struct Host {
    /// For failure reports.
    pub name: &'static str,
    /// Its address; behind a NAT box, the inside one.
    pub address: IpAddr,
    /// The endpoint. Commands go through [`World::command`](super::World::command), which drains it.
    pub endpoint: Endpoint,
    /// Its peers, in the order in which they were added.
    pub peers: Vec<PeerId>,
    /// Every event, with its time since the world began.
    pub events: Vec<(Duration, Event)>,
    /// Every disposition of a datagram that was not accepted.
    pub drops: Vec<(Duration, ikev2::DropReason)>,
    /// Peers that are up, and with what.
    pub up: BTreeMap<PeerId, IkeSaInfo>,
    /// Children that are installed, as indices of `events`.
    installed: BTreeMap<ChildId, usize>,
    /// How many children the peers' configurations want.
    pub(super) wanted: usize,
}

impl Host {
    pub(super) fn new(name: &'static str, address: IpAddr, endpoint: Endpoint) -> Self {
        Self {
            name,
            address,
            endpoint,
            peers: Vec::new(),
            events: Vec::new(),
            drops: Vec::new(),
            up: BTreeMap::new(),
            installed: BTreeMap::new(),
            wanted: 0,
        }
    }

    /// A new endpoint takes the place of the old one; only the record of the past stays.
    pub(super) fn restart(&mut self, endpoint: Endpoint) {
        self.endpoint = endpoint;
        self.peers.clear();
        self.up.clear();
        self.installed.clear();
        self.wanted = 0;
    }

    pub(super) fn record(&mut self, at: Duration, event: Event) {
        let index = self.events.len();
        match &event {
            Event::PeerUp { peer, info } | Event::PeerRekeyed { peer, info } => {
                self.up.insert(*peer, IkeSaInfo::clone(info));
            }
            Event::PeerDown { peer, .. } => drop(self.up.remove(peer)),
            Event::ChildUp { child, .. } => drop(self.installed.insert(child.id, index)),
            Event::ChildDown { child, .. } => drop(self.installed.remove(child)),
            Event::Connecting { .. }
            | Event::PeerMoved { .. }
            | Event::Refused { .. }
            | Event::ChildFailed { .. }
            | _ => {}
        }
        self.events.push((at, event));
    }

    /// The children that are installed.
    pub fn children(&self) -> impl Iterator<Item = &ChildSa> {
        self.installed.values().filter_map(|index| match self.events.get(*index) {
            Some((_, Event::ChildUp { child, .. })) => Some(&**child),
            _ => None,
        })
    }

    /// How many children are installed.
    #[must_use]
    pub fn child_count(&self) -> usize {
        self.installed.len()
    }

    /// Whether every peer is up with every child that is configured.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.len() == self.peers.len() && self.child_count() >= self.wanted
    }

    /// How many events satisfy `wanted`.
    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| wanted(event)).count()
    }
}
