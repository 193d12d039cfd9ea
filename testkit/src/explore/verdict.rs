//! What must hold on every path of a race: at any time, and when everything is at rest.
//!
//! ```text
//!   at any time   whoever sends, sends on an SA that the other side receives on (it may be replaced, but not for long)
//!   at rest       both have the same IKE SA, exactly the children that are wanted, mirrored; or both are down
//!                 nobody was down in between, unless somebody wanted that
//! ```

#![expect(clippy::wildcard_enum_match_arm, reason = "one event is looked for among all")]

use std::time::Duration;

use ikev2::{ChildId, CloseReason, Event, SendWhen};

use super::op::Op;
use super::run::Run;
use crate::world::{Host, LEFT, RIGHT};

/// How long a data plane takes packets for an SA that was replaced.
const LINGER: Duration = Duration::from_secs(5);

impl Run<'_> {
    /// What must hold at any time.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn check(&self) {
        if [Op::Disconnect, Op::Restart, Op::EndChild].into_iter().any(|op| self.race.has(op)) {
            return;
        }
        for (sender, receiver) in [(LEFT, RIGHT), (RIGHT, LEFT)] {
            let sender = self.world.host(sender);
            let sending = sending(sender);
            assert!(!sending.is_empty(), "{} has nothing to send on", sender.name);
            for (spi, replaces) in sending {
                self.check_receiver(self.world.host(receiver), spi, replaces);
            }
        }
    }

    #[track_caller]
    fn check_receiver(&self, receiver: &Host, spi: u32, replaces: bool) {
        let name = receiver.name;
        let id = receiver.events.iter().find_map(|(_, event)| match event {
            Event::ChildUp { child, .. } if child.spi_in.0.get() == spi => Some(child.id),
            _ => None,
        });
        let Some(id) = id else {
            // Whoever answers has a new child before the other side has it, and nothing else to send on.
            assert!(!replaces, "{name} does not know {spi:08x}, on which it is sent to");
            return;
        };
        let gone = receiver.events.iter().find_map(|(at, event)| match event {
            Event::ChildDown { child, reason } if *child == id => Some((*at, reason)),
            _ => None,
        });
        if let Some((at, reason)) = gone {
            assert_eq!(*reason, CloseReason::Rekeyed, "{name} dropped what it is sent to on");
            let since = self.world.elapsed().saturating_sub(at);
            assert!(since <= LINGER, "{name} forgot {spi:08x} {since:?} ago and is sent to on it");
        }
    }

    /// What must hold when nothing is going on any more.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn verdict(&self) {
        let world = &self.world;
        if self.race.ends_down() {
            assert!(world.all_down(), "somebody is up\n{}", world.report());
            let idle = world.left().endpoint.is_idle() && world.right().endpoint.is_idle();
            assert!(idle, "somebody still waits\n{}", world.report());
            return;
        }
        let ike = |host: &Host| host.up.values().map(|info| info.spis).collect::<Vec<_>>();
        let (left, right) = (ike(world.left()), ike(world.right()));
        assert!(left.len() == 1 && left == right, "{left:x?}, {right:x?}\n{}", world.report());
        world.assert_mirrored();
        let mut configs: Vec<usize> = world.left().children().map(|child| child.config).collect();
        configs.sort_unstable();
        assert_eq!(configs, self.race.children(), "the children\n{}", world.report());
        self.check_done();
        for (host, other) in [(LEFT, RIGHT), (RIGHT, LEFT)] {
            let Some(path) = world.host(host).esp_path() else { continue };
            let addresses = (world.host(host).address, world.host(other).address);
            let path = (path.local.ip(), path.remote.ip());
            assert_eq!(path, addresses, "where ESP goes\n{}", world.report());
        }
        if !self.race.has(Op::Restart) {
            let is_down = |event: &Event| matches!(event, Event::PeerDown { .. });
            let downs = world.left().count(is_down) + world.right().count(is_down);
            assert_eq!(downs, 0, "an interruption\n{}", world.report());
        }
    }

    /// Every rekey came to something: what was there before is not there any more.
    #[track_caller]
    fn check_done(&self) {
        let world = &self.world;
        let (children, hosts) = &self.rekeyed;
        for (host, child) in children {
            let left = world.host(*host).children().any(|known| known.id == *child);
            assert!(!left, "{child:?} was not replaced\n{}", world.report());
        }
        for host in hosts {
            let rekeyed = |event: &Event| matches!(event, Event::PeerRekeyed { .. });
            let done = world.host(*host).count(rekeyed) > 0 || self.race.has(Op::Restart);
            assert!(done, "the IKE SA was not replaced\n{}", world.report());
        }
    }
}

/// What a data plane that follows the events sends on, for each child that is configured and each resource: the newest
/// child, but a held one (`AfterInbound`) only when the one that it replaces is gone, which is the latest moment that it may
/// choose; one that replaces none only when the peer is known to have it. With the SPIs: whether the peer must know it.
fn sending(host: &Host) -> Vec<(u32, bool)> {
    let mut installed: Vec<Sent> = Vec::new();
    for (_, event) in &host.events {
        match event {
            Event::ChildUp { child, replaces } => {
                let surely = replaces.is_some() || child.resource;
                installed.push(Sent {
                    id: child.id,
                    // A child keeps its family when it is replaced.
                    place: (child.config, if child.resource { child.spi_in.family() } else { 64 }),
                    spi: (child.spi_out.0.get(), surely),
                    replaces: replaces.is_some(),
                    held: child.send == SendWhen::AfterInbound && surely,
                });
            }
            Event::ChildConfirmed { child } => {
                installed.iter_mut().filter(|sa| sa.id == *child).for_each(|sa| sa.held = false);
            }
            Event::ChildDown { child, .. } => installed.retain(|sa| sa.id != *child),
            _ => continue,
        }
        let places: Vec<(usize, u32)> = installed.iter().map(|sa| sa.place).collect();
        for place in places {
            let mut own = installed.iter_mut().filter(|sa| sa.place == place);
            if own.by_ref().all(|sa| sa.held)
                && let Some(next) =
                    installed.iter_mut().rfind(|sa| sa.place == place && sa.replaces)
            {
                next.held = false;
            }
        }
    }
    let mut newest: Vec<Sent> = Vec::new();
    for sa in installed.into_iter().filter(|sa| !sa.held) {
        newest.retain(|other| other.place != sa.place);
        newest.push(sa);
    }
    newest.into_iter().map(|sa| sa.spi).collect()
}

/// An SA that may be sent on.
struct Sent {
    id: ChildId,
    place: (usize, u32),
    spi: (u32, bool),
    replaces: bool,
    held: bool,
}
