//! All configured peers, found by number, by address, or by an IKE SA that they have, whatever their number.
//!
//! ```text
//!   PeerId ──────────► list                 address ─► at ┐
//!   SPI of an SA ────► owners ─► PeerId                   ├─► candidates: who may be there, those of the address first
//!                                        any ─► anywhere ─┘
//! ```

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::candidates::{Candidates, Group};
use crate::config::PeerConfig;
use crate::error::Unknown;
use crate::event::{Path, PeerId};
use crate::peer::Peer;
use crate::wire::header::IkeSpi;

/// The peers of an endpoint.
#[derive(Default)]
pub(crate) struct Peers {
    list: Vec<Peer>,
    at: HashMap<IpAddr, Group>,
    anywhere: Group,
    owners: HashMap<IkeSpi, PeerId>,
    /// Those whose numbers mean nobody any more.
    removed: HashSet<PeerId>,
}

impl Peers {
    /// Adds one.
    ///
    /// # Panics
    /// With more than 2³² peers.
    pub(crate) fn add(&mut self, config: &PeerConfig) -> PeerId {
        let id = PeerId(u32::try_from(self.list.len()).expect("fewer than 2^32 peers"));
        self.list.push(Peer::new(id, config));
        if config.any_address {
            self.anywhere.add(id);
        }
        self.place(id, &config.paths);
        id
    }

    /// Moves one to other paths; gives the last that it had, which may be a while ago: a host that loses its address has
    /// none until it gets another.
    pub(crate) fn set_paths(&mut self, id: PeerId, paths: Vec<Path>) -> Result<Vec<Path>, Unknown> {
        if self.removed.contains(&id) {
            return Err(Unknown);
        }
        let old = std::mem::take(&mut self.one(id)?.paths);
        for address in old.iter().map(|path| path.remote.ip()) {
            if let Some(there) = self.at.get_mut(&address) {
                there.remove(id);
                if there.is_empty() {
                    self.at.remove(&address);
                }
            }
        }
        self.place(id, &paths);
        let peer = self.one(id)?;
        peer.paths = paths;
        if !old.is_empty() {
            peer.former_paths.clone_from(&old);
        }
        Ok(peer.former_paths.clone())
    }

    /// Whether one may be at an address that no path of it has.
    pub(crate) fn set_anywhere(&mut self, id: PeerId, anywhere: bool) {
        if anywhere {
            self.anywhere.add(id);
        } else {
            self.anywhere.remove(id);
        }
    }

    /// Nobody is this peer any more. What it has of SAs it keeps until they are gone.
    pub(crate) fn remove(&mut self, id: PeerId) -> Result<(), Unknown> {
        self.set_paths(id, Vec::new())?;
        self.one(id)?.former_paths.clear();
        self.set_anywhere(id, false);
        self.removed.insert(id);
        Ok(())
    }

    fn place(&mut self, id: PeerId, paths: &[Path]) {
        for path in paths {
            self.at.entry(path.remote.ip()).or_default().add(id);
        }
    }

    /// One by its number.
    pub(crate) fn one(&mut self, id: PeerId) -> Result<&mut Peer, Unknown> {
        let index = usize::try_from(id.0).map_err(|_| Unknown)?;
        self.list.get_mut(index).ok_or(Unknown)
    }

    /// The same to look at.
    pub(crate) fn get(&self, id: PeerId) -> Option<&Peer> {
        self.list.get(usize::try_from(id.0).ok()?)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.list.iter()
    }

    /// Takes one down, or lets it come again.
    pub(crate) fn bar(&mut self, id: PeerId, barred: bool) -> Result<&mut Peer, Unknown> {
        let index = usize::try_from(id.0).map_err(|_| Unknown)?;
        let peer = self.list.get_mut(index).filter(|_| !self.removed.contains(&id));
        let peer = peer.ok_or(Unknown)?;
        if peer.barred != barred {
            peer.barred = barred;
            self.anywhere.changed();
            for path in &peer.paths {
                if let Some(there) = self.at.get_mut(&path.remote.ip()) {
                    there.changed();
                }
            }
        }
        Ok(peer)
    }

    /// Those that may be at this address and may begin an SA: those configured for it first. Costs the same for any
    /// number of peers, but for the first call after a change.
    pub(crate) fn candidates(&mut self, address: IpAddr) -> Candidates {
        let list = &self.list;
        let is_open = |id: &PeerId| {
            let index = usize::try_from(id.0).ok();
            index.and_then(|index| list.get(index)).is_some_and(|peer| !peer.barred)
        };
        let there = self.at.get_mut(&address).map(|there| there.open(is_open)).unwrap_or_default();
        Candidates { there, anywhere: self.anywhere.open(is_open) }
    }

    /// Notes that a peer has this SA.
    pub(crate) fn own(&mut self, id: PeerId, spi: IkeSpi) {
        if let Ok(peer) = self.one(id)
            && !peer.sas.contains(&spi)
        {
            peer.sas.push(spi);
            self.owners.insert(spi, id);
        }
    }

    /// Who has this SA.
    pub(crate) fn owner(&self, spi: IkeSpi) -> Option<PeerId> {
        self.owners.get(&spi).copied()
    }

    /// Notes that an SA is gone.
    pub(crate) fn disown(&mut self, spi: IkeSpi) {
        let owner = self.owners.remove(&spi);
        if let Some(Ok(peer)) = owner.map(|id| self.one(id)) {
            peer.sas.retain(|known| *known != spi);
        }
    }

    #[cfg(test)]
    pub(crate) fn owned(&self) -> usize {
        self.list.iter().map(|peer| peer.sas.len()).sum::<usize>().max(self.owners.len())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::config::Psk;

    fn path(last: u8) -> Path {
        let local = SocketAddr::from(([192, 0, 2, 200], 500));
        Path { local, remote: SocketAddr::from(([192, 0, 2, last], 500)) }
    }

    fn config(paths: &[u8], any_address: bool) -> PeerConfig {
        let mut config = PeerConfig::new("peer", Psk::new(vec![1]), Vec::new());
        config.paths = paths.iter().map(|last| path(*last)).collect();
        config.any_address = any_address;
        config
    }

    fn at(peers: &mut Peers, last: u8) -> Vec<u32> {
        peers.candidates(path(last).remote.ip()).iter().map(|id| id.0).collect()
    }

    #[test]
    fn whoever_is_configured_for_an_address_comes_before_those_that_may_be_anywhere() {
        let mut peers = Peers::default();
        for config in [config(&[], true), config(&[1, 2], false), config(&[2, 2], true)] {
            peers.add(&config);
        }
        assert_eq!(
            (at(&mut peers, 1), at(&mut peers, 2), at(&mut peers, 3)),
            (vec![1, 0, 2], vec![1, 2, 0], vec![0, 2])
        );
        peers.bar(PeerId(1), true).unwrap();
        assert_eq!(at(&mut peers, 1), [0, 2]);
        peers.bar(PeerId(0), true).unwrap();
        assert_eq!(at(&mut peers, 1), [2]);
        for id in [0, 1] {
            peers.bar(PeerId(id), false).unwrap();
        }
        assert_eq!(at(&mut peers, 1), [1, 0, 2]);
    }

    #[test]
    fn a_peer_that_moves_is_found_where_it_is() {
        let mut peers = Peers::default();
        peers.add(&config(&[1], false));
        peers.add(&config(&[1], false));
        peers.set_paths(PeerId(0), vec![path(2), path(3)]).unwrap();
        assert_eq!(
            (at(&mut peers, 1), at(&mut peers, 2), at(&mut peers, 3)),
            (vec![1], vec![0], vec![0])
        );
        peers.set_paths(PeerId(0), vec![path(3), path(1)]).unwrap();
        assert_eq!(
            (at(&mut peers, 1), at(&mut peers, 2), at(&mut peers, 3)),
            (vec![0, 1], vec![], vec![0])
        );
        peers.set_paths(PeerId(0), vec![]).unwrap();
        peers.set_paths(PeerId(1), vec![]).unwrap();
        assert!(peers.at.is_empty());
        assert!(peers.set_paths(PeerId(2), vec![]).is_err());
    }
}
