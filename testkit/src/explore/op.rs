//! The operations that race, and the worlds in which they can begin.
//!
//! ```text
//!   nothing  rekey-child  rekey-ike  new-child  end-child  disconnect  liveness  restart  move   resource: as new-child
//!                                    └────────┬────────┘                └── at once: the world is run to the moment at
//!                                             └── begins by itself          which its timer is due
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ikev2::{Dpd, DpdAction, Lifetime, PeerConfig, Start};

use crate::explore::Budget;
use crate::world::{LEFT, RIGHT, World, child_of, pair_of, psk_pair};

/// What one side does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// Nothing; it only answers.
    Nothing,
    /// Rekeys its newest child.
    RekeyChild,
    /// Rekeys the IKE SA.
    RekeyIke,
    /// Asks for its second child. The left side only, for it does so when it comes up.
    NewChild,
    /// Asks for a child for its second resource (RFC 9611). The left side only, for it does so when it comes up.
    Resource,
    /// Deletes its child, which comes to the end of its life because the other side refuses to rekey it.
    EndChild,
    /// Ends the IKE SA and wants no other.
    Disconnect,
    /// Asks whether the other side lives.
    Liveness,
    /// Loses its memory and connects anew. The left side only, for the other one only answers.
    Restart,
    /// Gets another address and tells its endpoint (RFC 4555).
    Move,
}

impl Op {
    const NAMES: [(Self, &'static str); 10] = [
        (Self::Nothing, "nothing"),
        (Self::RekeyChild, "rekey-child"),
        (Self::RekeyIke, "rekey-ike"),
        (Self::NewChild, "new-child"),
        (Self::Resource, "resource"),
        (Self::EndChild, "end-child"),
        (Self::Disconnect, "disconnect"),
        (Self::Liveness, "liveness"),
        (Self::Restart, "restart"),
        (Self::Move, "move"),
    ];

    /// Whether it begins when its time comes, which is at once.
    #[must_use]
    pub const fn is_timed(self) -> bool {
        matches!(self, Self::NewChild | Self::Resource | Self::EndChild | Self::Liveness)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(op, _)| op == self);
        f.write_str(name.map_or("?", |(_, name)| name))
    }
}

impl FromStr for Op {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(op, _)| *op).ok_or(())
    }
}

/// Two operations, the seed of the world in which they meet, and how bad the network may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Race {
    /// What the left host does, which connected.
    pub left: Op,
    /// What the right host does, which answered.
    pub right: Op,
    /// Decides among other things which side's nonces are the lower ones.
    pub seed: u64,
    /// What may go wrong.
    pub budget: Budget,
    /// Whether each SA has a further key exchange, so that CREATE_CHILD_SA is not the end of it (RFC 9370).
    pub further: bool,
}

impl Race {
    /// A race on a network that may reorder and nothing else.
    #[must_use]
    pub const fn new(left: Op, right: Op, seed: u64) -> Self {
        Self { left, right, seed, budget: Budget::NONE, further: false }
    }

    /// The same with this budget.
    #[must_use]
    pub const fn budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// The same with a further key exchange for each SA.
    #[must_use]
    pub const fn further(self) -> Self {
        Self { further: true, ..self }
    }

    /// Every pair of operations that can meet.
    #[must_use]
    pub fn all_pairs() -> Vec<(Op, Op)> {
        let right = [
            Op::Nothing,
            Op::RekeyChild,
            Op::RekeyIke,
            Op::EndChild,
            Op::Disconnect,
            Op::Liveness,
            Op::Move,
        ];
        let pairs = Op::NAMES.iter().flat_map(|(left, _)| right.map(|right| (*left, right)));
        pairs.filter(|(left, right)| can_meet(*left, *right)).collect()
    }

    /// Whether one side wants it down in the end.
    #[must_use]
    pub fn ends_down(&self) -> bool {
        self.has(Op::Disconnect)
    }

    /// Whether one of the sides does this.
    #[must_use]
    pub fn has(&self, op: Op) -> bool {
        self.left == op || self.right == op
    }

    /// What a host does.
    #[must_use]
    pub const fn of(&self, host: usize) -> Op {
        if host == LEFT { self.left } else { self.right }
    }

    /// The configurations of the children that there are in the end, if the IKE SA is up then.
    #[must_use]
    pub fn children(&self) -> &'static [usize] {
        match self {
            race if race.has(Op::EndChild) => &[],
            race if race.has(Op::NewChild) => &[0, 1],
            race if race.has(Op::Resource) => &[0, 0],
            _ => &[0],
        }
    }

    /// How far away the next timer is when nothing is going on any more.
    #[must_use]
    pub fn horizon(&self) -> Duration {
        // The child that ended is asked for again and again, and refused.
        if self.has(Op::EndChild) { Duration::from_secs(10) } else { Duration::from_mins(10) }
    }

    /// How the two hosts are configured.
    #[must_use]
    pub fn configs(&self) -> [PeerConfig; 2] {
        let ike = "aes256gcm16-prfsha256-curve25519";
        let [mut left, mut right] = if self.further {
            let ike = "aes256gcm16-prfsha256-curve25519-ke1_mlkem512";
            pair_of(ike, "aes256gcm16-curve25519-ke1_mlkem512-noesn")
        } else {
            psk_pair()
        };
        if self.has(Op::EndChild) {
            left = pair_of(ike, "aes256gcm16-curve25519-noesn")[LEFT].clone();
            right = pair_of(ike, "aes256gcm16-ecp256-noesn")[RIGHT].clone();
        }
        if self.left == Op::NewChild {
            left.children.push(child_of("net2", 11, 12, "aes256gcm16-noesn"));
            right.children.push(child_of("net2", 12, 11, "aes256gcm16-noesn"));
        }
        if self.left == Op::Resource {
            left.children.iter_mut().for_each(|child| child.resources = 2);
        }
        if self.ends_down() {
            left.start = Start::OnDemand;
        }
        for (config, op) in [(&mut left, self.left), (&mut right, self.right)] {
            // Agreement must not wait for the discovery of a dead peer.
            config.dpd = (op == Op::Liveness).then_some(Dpd {
                interval: Duration::from_mins(20),
                timeout: Duration::from_mins(40),
                action: DpdAction::Restart,
            });
            if op == Op::EndChild {
                for child in &mut config.children {
                    child.lifetime = Lifetime::of(Duration::from_mins(1));
                }
            }
        }
        [left, right]
    }

    /// A world in which everything is up and whatever begins by itself is about to begin.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn world(&self) -> World {
        let mut world = World::new(self.seed).peers(self.configs());
        if self.ends_down() {
            let peer = *world.left().peers.first().expect("the peer that was added");
            let known = world.command(LEFT, |endpoint, now| endpoint.connect(now, peer));
            known.expect("the peer that was added");
        }
        if matches!(self.left, Op::NewChild | Op::Resource) {
            // The left host asks as soon as it is up.
            world.run_until(|world| world.left().child_count() == 1, Duration::from_mins(1));
            return world;
        }
        world.run_until(World::both_up, Duration::from_mins(1));
        let moments = [
            (LEFT, "child expires"),
            (RIGHT, "child expires"),
            (LEFT, "liveness"),
            (RIGHT, "liveness"),
        ];
        let awaited = |host: usize, why: &str| match self.of(host) {
            Op::EndChild => why == "child expires",
            Op::Liveness => why == "liveness",
            Op::Nothing
            | Op::RekeyChild
            | Op::RekeyIke
            | Op::NewChild
            | Op::Resource
            | Op::Disconnect
            | Op::Restart
            | Op::Move => false,
        };
        let mut latest = world.now();
        for (host, why) in moments.into_iter().filter(|(host, why)| awaited(*host, why)) {
            let at = |world: &World| world.host(host).endpoint.poll_timeout();
            let due = |world: &World| at(world).filter(|deadline| deadline.why == why);
            world.run_until(
                |world| due(world).is_some() && world.in_flight().next().is_none(),
                Duration::from_hours(1),
            );
            latest = latest.max(due(&world).map_or(latest, |deadline| deadline.at));
        }
        world.skip_to(latest);
        world
    }
}

/// Whether there is a world in which the two can begin at once.
fn can_meet(left: Op, right: Op) -> bool {
    let timed = |op: Op| matches!(op, Op::EndChild | Op::Liveness);
    let different = timed(left) && timed(right) && left != right;
    // Whoever wants it down turns away whoever wants it up, for ever.
    let never_at_rest = left == Op::Restart && right == Op::Disconnect;
    // The children of one are not those of the other.
    let other_world = matches!(left, Op::NewChild | Op::Resource | Op::Restart) && timed(right);
    // Nobody finds a peer that moved while it forgot where it is, or moved itself (RFC 4555 §1.2 rules the latter out).
    let never_found = matches!(left, Op::Restart | Op::Move) && right == Op::Move;
    !different && !never_at_rest && !other_world && !never_found
}

impl fmt::Display for Race {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let further = if self.further { " further" } else { "" };
        write!(f, "{},{} seed={}{further}", self.left, self.right, self.seed)
    }
}

impl FromStr for Race {
    type Err = ();

    /// What `Display` writes. The budget is without limit: whatever the moves ask for.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (ops, seed) = text.trim().split_once(" seed=").ok_or(())?;
        let (left, right) = ops.split_once(',').ok_or(())?;
        let (seed, further) = match seed.trim().strip_suffix(" further") {
            Some(seed) => (seed, true),
            None => (seed.trim(), false),
        };
        let seed = seed.parse().map_err(|_| ())?;
        let budget = Budget { losses: u8::MAX, late: u8::MAX, copies: u8::MAX };
        Ok(Self { left: left.parse()?, right: right.parse()?, seed, budget, further })
    }
}
