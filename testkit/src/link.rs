//! Links that lose, delay, reorder and duplicate datagrams, by the numbers of a seeded generator, and a NAT box.
//!
//! ```text
//!   host ──► Link::carry ──► lost | arrives at t | arrives at t and again at t'
//!                            t = now + delay, not before what was sent earlier, unless it is reordered
//!
//!   inside host ──► Nat::outward: 10.0.0.2:4500 becomes 203.0.113.1:20000 ──► peer
//!               ◄── Nat::inward:  only to a port that was given out      ◄──
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

/// What happens to datagrams on their way, in each direction. Chances are per mille.
#[derive(Debug, Clone)]
pub struct Link {
    /// Chance to vanish.
    pub loss: u16,
    /// Time on the way, drawn anew for each datagram.
    pub delay: Range<Duration>,
    /// Chance to be held back, so that later ones overtake it.
    pub reorder: u16,
    /// Chance to arrive twice.
    pub duplicate: u16,
    /// The largest IP packet that passes, in octets; larger ones vanish.
    pub mtu: usize,
}

impl Default for Link {
    /// 10 ms, no fault, 1500 octets.
    fn default() -> Self {
        let delay = Duration::from_millis(10)..Duration::from_millis(10);
        Self { loss: 0, delay, reorder: 0, duplicate: 0, mtu: 1500 }
    }
}

impl Link {
    /// This link with another chance of loss, per mille.
    #[must_use]
    pub fn loss(self, loss: u16) -> Self {
        Self { loss, ..self }
    }

    /// This link with another delay, in milliseconds.
    #[must_use]
    pub fn delay_ms(self, delay: Range<u64>) -> Self {
        let delay = Duration::from_millis(delay.start)..Duration::from_millis(delay.end);
        Self { delay, ..self }
    }

    /// This link with another chance of reordering, per mille.
    #[must_use]
    pub fn reorder(self, reorder: u16) -> Self {
        Self { reorder, ..self }
    }

    /// This link with another chance of duplication, per mille.
    #[must_use]
    pub fn duplicate(self, duplicate: u16) -> Self {
        Self { duplicate, ..self }
    }

    /// This link with another MTU, in octets.
    #[must_use]
    pub fn mtu(self, mtu: usize) -> Self {
        Self { mtu, ..self }
    }

    /// When a UDP payload of `len` octets arrives; empty if it never does. `earliest` is when the last one in this
    /// direction arrived, and is moved on.
    pub fn carry(
        &self,
        now: Instant,
        earliest: &mut Instant,
        len: usize,
        rng: &mut ChaCha20Rng,
    ) -> Vec<Instant> {
        let headers = 20 + 8;
        let lost = chance(self.loss, rng);
        let copies = if chance(self.duplicate, rng) { 2 } else { 1 };
        let held_back = chance(self.reorder, rng);
        if lost || len + headers > self.mtu {
            return Vec::new();
        }
        let arrivals = (0..copies).map(|_| {
            let arrival = now + self.draw_delay(rng);
            if held_back {
                return arrival + 3 * self.delay.end;
            }
            *earliest = arrival.max(*earliest);
            *earliest
        });
        arrivals.collect()
    }

    fn draw_delay(&self, rng: &mut ChaCha20Rng) -> Duration {
        let spread = self.delay.end.saturating_sub(self.delay.start);
        self.delay.start + spread.mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX))
    }
}

fn chance(per_mille: u16, rng: &mut ChaCha20Rng) -> bool {
    rng.next_u32() % 1000 < u32::from(per_mille)
}

/// A NAT box before one host: gives each inside address and port a port of its public address.
#[derive(Debug, Clone)]
pub struct Nat {
    /// The address of the host behind it.
    pub inside: IpAddr,
    /// Its own address.
    pub public: IpAddr,
    ports: BTreeMap<SocketAddr, u16>,
    next_port: u16,
}

impl Nat {
    /// A box without mappings.
    #[must_use]
    pub fn new(inside: IpAddr, public: IpAddr) -> Self {
        Self { inside, public, ports: BTreeMap::new(), next_port: 20_000 }
    }

    /// Gives an inside port the same port outside, so that somebody may call the host behind the box.
    #[must_use]
    pub fn forward(mut self, port: u16) -> Self {
        self.ports.insert(SocketAddr::new(self.inside, port), port);
        self
    }

    /// Gets another public address, as after a new lease. Every mapping is forgotten.
    pub fn renumber(&mut self, public: IpAddr) {
        self.public = public;
        self.reboot();
    }

    /// Forgets every mapping, as after a power cut. New ones get new ports.
    pub fn reboot(&mut self) {
        self.ports.clear();
    }

    /// The source that the world sees.
    pub fn outward(&mut self, source: SocketAddr) -> SocketAddr {
        if source.ip() != self.inside {
            return source;
        }
        let next_port = &mut self.next_port;
        let port = self.ports.entry(source).or_insert_with(|| {
            *next_port += 1;
            *next_port
        });
        SocketAddr::new(self.public, *port)
    }

    /// The destination inside; `None` if the port was not given out, or the address is behind the box.
    #[must_use]
    pub fn inward(&self, destination: SocketAddr) -> Option<SocketAddr> {
        if destination.ip() == self.inside {
            return None;
        }
        if destination.ip() != self.public {
            return Some(destination);
        }
        self.ports.iter().find(|(_, port)| **port == destination.port()).map(|(inside, _)| *inside)
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;

    /// Sends `count` datagrams of `len` octets, one each millisecond; the arrivals in milliseconds.
    fn send(link: &Link, count: u32, len: usize) -> Vec<Vec<u128>> {
        #[expect(clippy::disallowed_methods, reason = "any origin will do")]
        let start = Instant::now();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut earliest = start;
        (0..count)
            .map(|sent| {
                let now = start + Duration::from_millis(sent.into());
                let arrivals = link.carry(now, &mut earliest, len, &mut rng);
                arrivals.iter().map(|at| at.duration_since(start).as_millis()).collect()
            })
            .collect()
    }

    #[test]
    fn a_faultless_link_delivers_everything_in_order() {
        for (sent, arrivals) in (0..).zip(send(&Link::default(), 100, 1472)) {
            assert_eq!(arrivals, [sent + 10]);
        }
        assert!(send(&Link::default(), 10, 1473).iter().all(Vec::is_empty), "beyond the MTU");
    }

    #[test]
    fn faults_are_about_as_frequent_as_asked() {
        let lost = send(&Link::default().loss(200), 10_000, 100);
        let lost = lost.iter().filter(|arrivals| arrivals.is_empty()).count();
        assert!((1800..2200).contains(&lost), "{lost}");
        let twice = send(&Link::default().duplicate(100), 10_000, 100);
        let twice = twice.iter().filter(|arrivals| arrivals.len() == 2).count();
        assert!((900..1100).contains(&twice), "{twice}");
        let jittered = send(&Link::default().delay_ms(5..50), 1000, 100).concat();
        assert!(jittered.is_sorted(), "delay alone does not reorder");
        let reordered = send(&Link::default().delay_ms(5..50).reorder(50), 1000, 100).concat();
        assert!(!reordered.is_sorted());
    }

    #[test]
    fn a_nat_box_rewrites_what_leaves_and_lets_answers_in() {
        let mut nat = Nat::new([10, 0, 0, 2].into(), [203, 0, 113, 1].into());
        let inside = SocketAddr::from(([10, 0, 0, 2], 4500));
        let elsewhere = SocketAddr::from(([192, 0, 2, 9], 4500));
        let public = nat.outward(inside);
        assert_eq!(public.ip(), nat.public);
        assert_ne!(public.port(), 4500);
        assert_eq!(nat.outward(inside), public, "a mapping stays");
        assert_eq!(nat.outward(elsewhere), elsewhere);
        assert_eq!(nat.inward(public), Some(inside));
        assert_eq!(nat.inward(elsewhere), Some(elsewhere));
        assert_eq!(nat.inward(SocketAddr::new(nat.public, 4500)), None);
        assert_eq!(nat.inward(inside), None, "no way in past the box");
        nat.reboot();
        assert_eq!(nat.inward(public), None);
        assert_ne!(nat.outward(inside), public);
    }

    #[test]
    fn a_nat_box_forwards_ports_until_it_gets_another_address() {
        let mut nat = Nat::new([10, 0, 0, 2].into(), [203, 0, 113, 1].into()).forward(4500);
        let inside = SocketAddr::new(nat.inside, 4500);
        let before = SocketAddr::new(nat.public, 4500);
        assert_eq!(nat.inward(before), Some(inside), "nobody sent from there yet");
        assert_eq!(nat.outward(inside), before);
        nat.renumber([203, 0, 113, 2].into());
        let after = nat.outward(inside);
        assert_eq!(after.ip(), nat.public);
        assert_ne!(after.port(), 4500);
        assert_eq!(nat.inward(after), Some(inside));
        assert_eq!(nat.inward(before), Some(before), "not an address of the box any more");
    }
}
