//! `Endpoint`: owns every IKE SA and turns datagrams, time and commands into events, datagrams and a deadline.

use std::time::Instant;

use crate::config::{EndpointConfig, PeerConfig};
use crate::error::Unknown;
use crate::event::{ChildId, ChildUsage, Deadline, Disposition, Event, Path, PeerId, Transmit};

/// Every IKE SA of this host, for both roles. See the crate's drain contract.
pub struct Endpoint {}

impl Endpoint {
    /// An endpoint without peers. All its randomness comes from `seed`, which must be secret and fresh.
    #[must_use]
    pub fn new(_config: EndpointConfig, _seed: [u8; 32]) -> Self {
        todo!()
    }

    /// Adds a peer and, if it starts always, begins to connect.
    pub fn add_peer(&mut self, _now: Instant, _peer: PeerConfig) -> PeerId {
        todo!()
    }

    /// Replaces the paths by which a peer may be reached (its name was resolved anew, or a route changed).
    ///
    /// # Errors
    /// `Unknown` if there is no such peer.
    pub fn set_paths(&mut self, _peer: PeerId, _paths: Vec<Path>) -> Result<(), Unknown> {
        todo!()
    }

    /// Takes one UDP payload, non-ESP marker removed. It is decrypted in place. Noise is `Dropped`, never an error.
    pub fn handle_datagram(&mut self, _now: Instant, _path: Path, _payload: &mut [u8]) -> Disposition {
        todo!()
    }

    /// Does what is due. Spurious calls do nothing.
    pub fn handle_timeout(&mut self, _now: Instant) {
        todo!()
    }

    /// Wants the peer up: connects unless it is up or on its way.
    ///
    /// # Errors
    /// `Unknown` if there is no such peer.
    pub fn connect(&mut self, _now: Instant, _peer: PeerId) -> Result<(), Unknown> {
        todo!()
    }

    /// Deletes every SA with the peer and stays down until `connect` or the peer comes.
    ///
    /// # Errors
    /// `Unknown` if there is no such peer.
    pub fn disconnect(&mut self, _now: Instant, _peer: PeerId) -> Result<(), Unknown> {
        todo!()
    }

    /// Deletes every SA with everybody; `is_idle` turns true when the peers have answered or a second has passed.
    pub fn shutdown(&mut self, _now: Instant) {
        todo!()
    }

    /// Whether no IKE SA is left.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        todo!()
    }

    /// Rekeys one child now.
    ///
    /// # Errors
    /// `Unknown` if there is no such child.
    pub fn rekey_child(&mut self, _now: Instant, _child: ChildId) -> Result<(), Unknown> {
        todo!()
    }

    /// Rekeys the IKE SA with this peer now.
    ///
    /// # Errors
    /// `Unknown` if the peer is not up.
    pub fn rekey_ike(&mut self, _now: Instant, _peer: PeerId) -> Result<(), Unknown> {
        todo!()
    }

    /// Tells what the data plane counted for a child; drives lifetimes and liveness. Call it about once a second for
    /// each child that had traffic. Unknown children are ignored.
    pub fn report_usage(&mut self, _now: Instant, _child: ChildId, _usage: ChildUsage) {
        todo!()
    }

    /// The next event, if any.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }

    /// The next datagram to send, if any.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        todo!()
    }

    /// When `handle_timeout` wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        todo!()
    }
}
