//! A [`World`] moved by hand: the caller decides which datagram arrives next, and time passes only when it says so.
//!
//! ```text
//!   in_flight ─► 7, 8, 9      arrive(8)  lose(7)  copy(9)         time stands still
//!   next_timer ─► (host, at)  fire()                              now = at, whatever is in flight stays there
//! ```
//!
//! Since the clock stands still between timers, what an endpoint does depends on its own inputs alone and not on what
//! happened at the other one meanwhile: the order of two arrivals at different hosts makes no difference.

use std::time::Instant;

use ikev2::{Deadline, Endpoint, EndpointConfig, PeerConfig};

use super::{Datagram, World};

impl World {
    /// What is on its way, in the order in which it was sent, with the number by which it is moved.
    pub fn in_flight(&self) -> impl Iterator<Item = (u64, &Datagram)> {
        let mut all: Vec<_> =
            self.in_flight.iter().map(|((_, serial), datagram)| (*serial, datagram)).collect();
        all.sort_unstable_by_key(|(serial, _)| *serial);
        all.into_iter()
    }

    /// The index of the host that a datagram is for, if it is for any.
    #[must_use]
    pub fn host_of(&self, datagram: &Datagram) -> Option<usize> {
        let address = datagram.destination.ip();
        self.hosts.iter().position(|host| host.address == address)
    }

    /// Lets this datagram arrive now, before all others.
    pub fn arrive_now(&mut self, serial: u64) {
        if let Some(datagram) = self.take(serial) {
            self.arrive(datagram);
        }
    }

    /// Lets this datagram arrive now, while a copy of it stays on the way.
    pub fn arrive_and_stay(&mut self, serial: u64) {
        let copy = self.in_flight().find(|(other, _)| *other == serial);
        if let Some(datagram) = copy.map(|(_, datagram)| datagram.clone()) {
            self.arrive(datagram);
        }
    }

    /// Loses this datagram.
    pub fn lose(&mut self, serial: u64) {
        let _lost = self.take(serial);
    }

    fn take(&mut self, serial: u64) -> Option<Datagram> {
        let key = self.in_flight.keys().find(|(_, other)| *other == serial).copied()?;
        self.in_flight.remove(&key)
    }

    /// The number that the next datagram gets.
    #[must_use]
    pub fn next_serial(&self) -> u64 {
        self.serial + 1
    }

    /// The next timer of any host.
    #[must_use]
    pub fn next_timer(&self) -> Option<(usize, Deadline)> {
        let timers = self.hosts.iter().enumerate();
        let timers =
            timers.filter_map(|(index, host)| Some((index, host.endpoint.poll_timeout()?)));
        timers.min_by_key(|(_, deadline)| deadline.at)
    }

    /// Goes to the next timer, past everything that is in flight, and lets it fire; the hosts whose timers these were.
    ///
    /// # Panics
    /// If an endpoint's deadline does not move when it is served.
    pub fn fire(&mut self) -> Vec<usize> {
        let Some((_, deadline)) = self.next_timer() else { return Vec::new() };
        self.skip_to(deadline.at);
        let due: Vec<usize> = (0..self.hosts.len()).filter(|host| self.is_due(*host)).collect();
        for host in &due {
            self.wake(*host);
        }
        due
    }

    /// Serves the timers of one host.
    ///
    /// # Panics
    /// If its deadline does not move.
    pub fn wake(&mut self, host: usize) {
        self.command(host, Endpoint::handle_timeout);
        assert!(!self.is_due(host), "a deadline does not move\n{}", self.report());
    }

    fn is_due(&self, host: usize) -> bool {
        self.host(host).endpoint.poll_timeout().is_some_and(|deadline| deadline.at <= self.now)
    }

    /// Lets the clock go on, and nothing else.
    pub fn skip_to(&mut self, at: Instant) {
        self.now = self.now.max(at);
    }

    /// [`restart`](Self::restart) with the seed of the new endpoint, so that it does not depend on the world's past.
    pub fn restart_from(&mut self, host: usize, configs: Vec<PeerConfig>, seed: [u8; 32]) {
        let endpoint = Endpoint::new(EndpointConfig::default(), seed);
        self.host_mut(host).restart(endpoint);
        for config in configs {
            self.add_peer(host, config);
        }
    }
}
