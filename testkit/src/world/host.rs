//! A host of the [`World`](super::World): an endpoint, and the record of what it told its caller.
//!
//! ```text
//!   Event::PeerUp / PeerRekeyed / PeerDown ─► up          Event::ChildUp / ChildDown ─► children()
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ikev2::{ChildId, ChildSa, Endpoint, Event, IkeSaInfo, Path, PeerId};

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
    /// Peers that are up or on their way: each has exactly one `PeerDown` to come, if it ever goes down.
    pending: BTreeSet<PeerId>,
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
            pending: BTreeSet::new(),
            installed: BTreeMap::new(),
            wanted: 0,
        }
    }

    /// A new endpoint takes the place of the old one; only the record of the past stays.
    pub(super) fn restart(&mut self, endpoint: Endpoint) {
        self.endpoint = endpoint;
        self.peers.clear();
        self.up.clear();
        self.pending.clear();
        self.installed.clear();
        self.wanted = 0;
    }

    /// Notes an event, after a look whether it may come now: in every scenario every child goes once and after it came,
    /// and every peer goes once for each time that it came or was called.
    pub(super) fn record(&mut self, at: Duration, event: Event) {
        let index = self.events.len();
        let name = self.name;
        match &event {
            Event::Connecting { peer, .. } => drop(self.pending.insert(*peer)),
            Event::PeerUp { peer, info } => {
                self.pending.insert(*peer);
                self.up.insert(*peer, IkeSaInfo::clone(info));
            }
            Event::PeerRekeyed { peer, info } => {
                let known = self.up.insert(*peer, IkeSaInfo::clone(info)).is_some();
                assert!(known, "{name}: {event:?} of a peer that is not up");
            }
            Event::PeerMoved { peer, .. } => {
                assert!(self.up.contains_key(peer), "{name}: {event:?} of a peer that is not up");
            }
            Event::PeerDown { peer, .. } => {
                assert!(self.pending.remove(peer), "{name}: {event:?} comes twice");
                self.up.remove(peer);
                let left = self.children().find(|child| child.peer == *peer);
                assert!(
                    left.is_none(),
                    "{name}: {event:?} leaves {:?}",
                    left.map(|child| child.id)
                );
            }
            Event::ChildUp { child, replaces } => {
                let known = replaces.is_none_or(|old| self.installed.contains_key(&old));
                assert!(known, "{name}: {:?} replaces what is not there", child.id);
                let again = self.installed.insert(child.id, index);
                assert!(again.is_none(), "{name}: {:?} comes twice", child.id);
            }
            Event::ChildDown { child, .. } => {
                let known = self.installed.remove(child).is_some();
                assert!(known, "{name}: {event:?} of what is not there");
            }
            Event::Refused { .. } | Event::ChildFailed { .. } | _ => {}
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

    /// Where the host sends ESP to and from: where the first of its children was made, or moved to since.
    #[must_use]
    pub fn esp_path(&self) -> Option<Path> {
        let (id, made) = self.installed.first_key_value()?;
        let mut path = None;
        for (_, event) in self.events.get(*made..)? {
            if let Event::ChildUp { child, .. } = event {
                path = path.or(Some(child.path));
            }
            if let Event::PeerMoved { path: to, children, .. } = event
                && children.contains(id)
            {
                path = Some(*to);
            }
        }
        path
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
