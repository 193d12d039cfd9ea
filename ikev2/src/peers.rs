//! All configured peers, found by number, by address, or by an IKE SA that they have, whatever their number.
//!
//! ```text
//!   PeerId ──────────► list                 address ─► at ┐
//!   SPI of an SA ────► owners ─► PeerId                   ├─► candidates: who may be there, those of the address first
//!                                        any ─► anywhere ─┘
//! ```

use std::collections::HashMap;
use std::net::IpAddr;

use crate::config::PeerConfig;
use crate::error::Unknown;
use crate::event::{Path, PeerId};
use crate::peer::Peer;
use crate::wire::header::IkeSpi;

/// The peers of an endpoint.
#[derive(Default)]
pub(crate) struct Peers {
    list: Vec<Peer>,
    /// In the order of their numbers, each once.
    at: HashMap<IpAddr, Vec<PeerId>>,
    anywhere: Vec<PeerId>,
    owners: HashMap<IkeSpi, PeerId>,
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
            self.anywhere.push(id);
        }
        self.place(id, &config.paths);
        id
    }

    /// Moves one to other paths.
    pub(crate) fn set_paths(&mut self, id: PeerId, paths: Vec<Path>) -> Result<(), Unknown> {
        let old = std::mem::take(&mut self.one(id)?.paths);
        for address in old.iter().map(|path| path.remote.ip()) {
            if let Some(there) = self.at.get_mut(&address) {
                there.retain(|other| *other != id);
                if there.is_empty() {
                    self.at.remove(&address);
                }
            }
        }
        self.place(id, &paths);
        self.one(id)?.paths = paths;
        Ok(())
    }

    fn place(&mut self, id: PeerId, paths: &[Path]) {
        for path in paths {
            let there = self.at.entry(path.remote.ip()).or_default();
            if let Err(index) = there.binary_search(&id) {
                there.insert(index, id);
            }
        }
    }

    /// One by its number.
    pub(crate) fn one(&mut self, id: PeerId) -> Result<&mut Peer, Unknown> {
        let index = usize::try_from(id.0).map_err(|_| Unknown)?;
        self.list.get_mut(index).ok_or(Unknown)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.list.iter()
    }

    /// Whether anybody may be at this address and may begin an SA: [`Self::candidates`] without the list.
    pub(crate) fn expects(&self, address: IpAddr) -> bool {
        self.is_configured(address) || self.anywhere.iter().any(|id| self.is_open(*id))
    }

    /// Whether this very address is that of a peer that may begin an SA.
    pub(crate) fn is_configured(&self, address: IpAddr) -> bool {
        self.at.get(&address).is_some_and(|there| there.iter().any(|id| self.is_open(*id)))
    }

    fn is_open(&self, id: PeerId) -> bool {
        let index = usize::try_from(id.0).ok();
        index.and_then(|index| self.list.get(index)).is_some_and(|peer| !peer.barred)
    }

    /// Those that may be at this address and may begin an SA: those configured for it first.
    pub(crate) fn candidates(&self, address: IpAddr) -> Vec<PeerId> {
        let there = self.at.get(&address).map_or(&[][..], Vec::as_slice);
        let elsewhere = self.anywhere.iter().filter(|id| there.binary_search(id).is_err());
        there.iter().chain(elsewhere).copied().filter(|id| self.is_open(*id)).collect()
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

    fn at(peers: &Peers, last: u8) -> Vec<u32> {
        peers.candidates(path(last).remote.ip()).into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn whoever_is_configured_for_an_address_comes_before_those_that_may_be_anywhere() {
        let mut peers = Peers::default();
        for config in [config(&[], true), config(&[1, 2], false), config(&[2, 2], true)] {
            peers.add(&config);
        }
        assert_eq!(
            (at(&peers, 1), at(&peers, 2), at(&peers, 3)),
            (vec![1, 0, 2], vec![1, 2, 0], vec![0, 2])
        );
        peers.one(PeerId(1)).unwrap().barred = true;
        assert_eq!(at(&peers, 1), [0, 2]);
    }

    #[test]
    fn a_peer_that_moves_is_found_where_it_is() {
        let mut peers = Peers::default();
        peers.add(&config(&[1], false));
        peers.add(&config(&[1], false));
        peers.set_paths(PeerId(0), vec![path(2), path(3)]).unwrap();
        assert_eq!((at(&peers, 1), at(&peers, 2), at(&peers, 3)), (vec![1], vec![0], vec![0]));
        peers.set_paths(PeerId(0), vec![path(3), path(1)]).unwrap();
        assert_eq!((at(&peers, 1), at(&peers, 2), at(&peers, 3)), (vec![0, 1], vec![], vec![0]));
        peers.set_paths(PeerId(0), vec![]).unwrap();
        peers.set_paths(PeerId(1), vec![]).unwrap();
        assert!(peers.at.is_empty());
        assert!(peers.set_paths(PeerId(2), vec![]).is_err());
    }
}
