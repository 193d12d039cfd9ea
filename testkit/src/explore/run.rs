//! One path: the world of a race, the moves that were made in it, and what is possible next.
//!
//! ```text
//!   L  R        the left, the right side begins         words of a path: "L R a2 x1 t a3"
//!   a3 x3 c3    datagram #3 arrives, is lost, arrives and stays on the way
//!   t           the next timer fires
//! ```
//!
//! Datagrams are numbered from the moment at which the race may begin.

use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ikev2::ChildId;
use ikev2::wire::header::Header;

use super::Budget;
use super::op::{Op, Race};
use crate::world::{LEFT, RIGHT, World, path};

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// A host begins its operation.
    Begin(usize),
    /// A datagram arrives.
    Arrive(u64),
    /// A datagram is lost.
    Lose(u64),
    /// A datagram arrives and stays on the way.
    Copy(u64),
    /// The next timer fires.
    Timer,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(host) => f.write_str(if *host == LEFT { "L" } else { "R" }),
            Self::Arrive(number) => write!(f, "a{number}"),
            Self::Lose(number) => write!(f, "x{number}"),
            Self::Copy(number) => write!(f, "c{number}"),
            Self::Timer => f.write_str("t"),
        }
    }
}

impl FromStr for Move {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let number = |text: &str| text.parse().map_err(|_| ());
        match word.split_at_checked(1).ok_or(())? {
            ("L", "") => Ok(Self::Begin(LEFT)),
            ("R", "") => Ok(Self::Begin(RIGHT)),
            ("t", "") => Ok(Self::Timer),
            ("a", text) => Ok(Self::Arrive(number(text)?)),
            ("x", text) => Ok(Self::Lose(number(text)?)),
            ("c", text) => Ok(Self::Copy(number(text)?)),
            _ => Err(()),
        }
    }
}

/// A race under way.
pub struct Run<'r> {
    pub(super) race: &'r Race,
    pub(super) world: World,
    budget: Budget,
    begun: [bool; 2],
    /// Children, with their hosts, and hosts whose rekey was asked for.
    pub(super) rekeyed: (Vec<(usize, ChildId)>, Vec<usize>),
    /// What each host was given since the beginning, and when.
    given: [u128; 2],
    taken: Vec<Move>,
    log: Vec<String>,
    /// The number of the last datagram before the race.
    before: u64,
    /// Datagrams of which the timeline knows.
    told: usize,
}

/// Where a host goes that moves.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

impl<'r> Run<'r> {
    /// The race before its first move.
    ///
    /// # Panics
    /// If its world does not come up.
    #[must_use]
    pub fn start(race: &'r Race) -> Self {
        let world = race.world();
        let by_itself = matches!(race.left, Op::NewChild | Op::Resource | Op::Nothing);
        let begun = [by_itself, race.right == Op::Nothing];
        // What the left host sends by itself is #1.
        let first = world.in_flight().next().map_or(world.next_serial(), |(serial, _)| serial);
        let told = world.sent().len();
        Self {
            race,
            world,
            budget: race.budget,
            begun,
            rekeyed: (Vec::new(), Vec::new()),
            given: [0; 2],
            taken: Vec::new(),
            log: Vec::new(),
            before: first - 1,
            told,
        }
    }

    /// The world as it is now.
    #[must_use]
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// The moves so far.
    #[must_use]
    pub fn taken(&self) -> &[Move] {
        &self.taken
    }

    /// Every move that the budget allows; none if everything is at rest. The first of them leads to rest.
    #[must_use]
    pub fn moves(&self) -> Vec<Move> {
        let mut begins = (LEFT..=RIGHT).filter(|host| self.begun.get(*host) == Some(&false));
        let timed = begins.clone().find(|host| self.race.of(*host).is_timed());
        if let Some(host) = timed {
            return vec![Move::Begin(host)];
        }
        let mut seen = Vec::new();
        let mut numbers = Vec::new();
        for (serial, datagram) in self.world.in_flight() {
            // Of equal datagrams one is as good as the other.
            if !seen.contains(&datagram) {
                seen.push(datagram);
                numbers.push(serial - self.before);
            }
        }
        let mut moves: Vec<Move> = numbers.iter().copied().map(Move::Arrive).collect();
        moves.extend(begins.by_ref().map(Move::Begin));
        if self.budget.losses > 0 {
            moves.extend(numbers.iter().copied().map(Move::Lose));
        }
        if self.budget.copies > 0 {
            moves.extend(numbers.iter().copied().map(Move::Copy));
        }
        let waits = self.waits();
        if waits && (numbers.is_empty() || self.budget.late > 0) {
            moves.push(Move::Timer);
        }
        moves
    }

    /// Whether a timer is about to fire that has to do with what is going on.
    fn waits(&self) -> bool {
        let end = self.world.now() + self.race.horizon();
        self.world.next_timer().is_some_and(|(_, deadline)| deadline.at < end)
    }

    /// Whether a move makes sense here, whatever the budget says.
    #[must_use]
    pub fn is_possible(&self, step: Move) -> bool {
        match step {
            Move::Begin(host) => self.begun.get(host) == Some(&false),
            Move::Arrive(number) | Move::Lose(number) | Move::Copy(number) => {
                self.world.in_flight().any(|(serial, _)| serial == number + self.before)
            }
            Move::Timer => self.world.next_timer().is_some(),
        }
    }

    /// Makes a move.
    pub fn take(&mut self, step: Move) {
        self.taken.push(step);
        self.tell(step);
        match step {
            Move::Begin(host) => self.begin(host),
            Move::Arrive(number) => {
                self.note(number);
                self.world.arrive_now(number + self.before);
            }
            Move::Copy(number) => {
                self.budget.copies = self.budget.copies.saturating_sub(1);
                self.note(number);
                self.world.arrive_and_stay(number + self.before);
            }
            Move::Lose(number) => {
                self.budget.losses = self.budget.losses.saturating_sub(1);
                self.world.lose(number + self.before);
            }
            Move::Timer => {
                let late = u8::from(self.world.in_flight().next().is_some());
                self.budget.late = self.budget.late.saturating_sub(late);
                for host in self.world.fire() {
                    self.give(host, &"timer");
                }
            }
        }
        self.tell_sent();
    }

    fn begin(&mut self, host: usize) {
        if let Some(begun) = self.begun.get_mut(host) {
            *begun = true;
        }
        self.give(host, &"begin");
        let world = &mut self.world;
        let peer = *world.host(host).peers.first().expect("each host has one peer");
        match self.race.of(host) {
            Op::RekeyChild => {
                if let Some(child) = world.host(host).children().last().map(|child| child.id) {
                    // Refused if it is being replaced already.
                    let asked =
                        world.command(host, |endpoint, now| endpoint.rekey_child(now, child));
                    self.rekeyed.0.extend(asked.ok().map(|()| (host, child)));
                }
            }
            Op::RekeyIke => {
                // Refused if it is down.
                let asked = world.command(host, |endpoint, now| endpoint.rekey_ike(now, peer));
                self.rekeyed.1.extend(asked.ok().map(|()| host));
            }
            Op::Disconnect => {
                let known = world.command(host, |endpoint, now| endpoint.disconnect(now, peer));
                known.expect("the peer was added");
            }
            Op::Restart => {
                let configs = self.race.configs();
                let config = configs.into_iter().nth(host).expect("two hosts");
                let seed = [0xa5 ^ u8::try_from(self.race.seed % 256).unwrap_or(0); 32];
                world.restart_from(host, vec![config], seed);
            }
            Op::Move => {
                let (to, there) = (ELSEWHERE, world.host(RIGHT - host).address);
                world.readdress(host, to);
                let ways = [path(to, there)];
                let known =
                    world.command(host, |endpoint, now| endpoint.set_paths(now, peer, &ways));
                known.expect("the peer that was added");
            }
            Op::EndChild | Op::Liveness => world.wake(host),
            Op::Nothing | Op::NewChild | Op::Resource => {}
        }
    }

    /// Notes what the host of a datagram is about to be given.
    fn note(&mut self, number: u64) {
        let world = &self.world;
        let found = world.in_flight().find(|(serial, _)| *serial == number + self.before);
        let Some((_, datagram)) = found else { return };
        if let Some(host) = world.host_of(datagram) {
            let digest = digest(&(datagram.source, datagram.destination, &datagram.payload));
            self.give(host, &digest);
        }
    }

    fn give(&mut self, host: usize, what: &impl Hash) {
        let now = self.world.elapsed();
        if let Some(given) = self.given.get_mut(host) {
            *given = digest(&(*given, now, digest(what)));
        }
    }

    /// Equal for two paths only if everything that can happen after them is equal, but for a chance of 2^-64 or so.
    #[must_use]
    pub fn key(&self) -> u128 {
        let flight = self.world.in_flight();
        let mut flight: Vec<u128> = flight
            .map(|(_, datagram)| {
                digest(&(datagram.source, datagram.destination, &datagram.payload))
            })
            .collect();
        flight.sort_unstable();
        digest(&(self.given, self.world.elapsed(), flight, self.budget, self.begun))
    }

    fn tell(&mut self, step: Move) {
        let at = self.world.elapsed();
        let line = match step {
            Move::Begin(host) => {
                let name = self.world.host(host).name;
                format!("{name} begins: {}", self.race.of(host))
            }
            Move::Arrive(number) => self.draw(number, "──►"),
            Move::Copy(number) => self.draw(number, "──► and a copy stays"),
            Move::Lose(number) => self.draw(number, "──x lost"),
            Move::Timer => match self.world.next_timer() {
                Some((host, deadline)) => {
                    let wait = deadline.at.saturating_duration_since(self.world.now());
                    let name = self.world.host(host).name;
                    format!("timer of {name} after {wait:.1?}: {}", deadline.why)
                }
                None => "no timer".into(),
            },
        };
        self.log.push(format!("{:<9} {step:<4} {line}", format!("{at:.1?}")));
    }

    fn draw(&self, number: u64, arrow: &str) -> String {
        let serial = number + self.before;
        let found = self.world.in_flight().find(|(other, _)| *other == serial);
        let Some((_, datagram)) = found else { return format!("#{number} is not on the way") };
        let name = |host: Option<usize>| host.map_or("?", |host| self.world.host(host).name);
        let to = self.world.host_of(datagram);
        let from = to.map(|to| LEFT + RIGHT - to);
        format!("{} ── #{number} {} {arrow} {}", name(from), tell(&datagram.payload), name(to))
    }

    /// What was sent since the last move.
    fn tell_sent(&mut self) {
        let sent = self.world.sent().get(self.told..).unwrap_or_default();
        let next = self.world.next_serial() - self.before;
        let first = next - u64::try_from(sent.len()).unwrap_or(0);
        for (number, sent) in (first..).zip(sent) {
            let name = self.world.host(sent.host).name;
            let line = format!("{:15}{name} sends #{number} {}", "", tell(&sent.payload));
            self.log.push(line);
        }
        self.told = self.world.sent().len();
    }

    /// What happened, and the line that makes it happen again.
    #[must_use]
    pub fn timeline(&self) -> String {
        let words: Vec<String> = self.taken.iter().map(Move::to_string).collect();
        let mut text = format!("RACE='{} : {}'\n", self.race, words.join(" "));
        for line in &self.log {
            let _fits = writeln!(text, "  {line}");
        }
        text
    }
}

fn tell(payload: &[u8]) -> String {
    let Ok(header) = Header::parse(payload) else { return "no IKE message".into() };
    let kind = if header.flags.response { "answer" } else { "request" };
    let spi = header.spi_i.to_string();
    format!("{} {kind} {} of {spi:.6}.. ({})", header.exchange, header.message_id, payload.len())
}

fn digest(what: &impl Hash) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        what.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}
