//! What is rarely at work at once: children that are configured and taken out, pairs, resources, limits of use, new
//! authentications and moves, all while both sides replace and end what they have.
//!
//! ```text
//!   up ── twenty commands of the flavour, up to 100 ms apart ── calm ── one IKE SA, each child once, the same on both sides, silence
//! ```

use std::net::IpAddr;
use std::time::Duration;

use ikev2::{
    ChildConfig, ChildUsage, EndpointConfig, Lifetime, Pairing, Path, PeerConfig, Start, Traffic,
};
use testkit::link::Link;
use testkit::world::{
    Host, LEFT, RIGHT, World, child_of, for_each_seed_on_all_cores, pair_of, path, subnet,
};

use crate::chaos::{draw, replace_or_end};
use crate::storm::relocate;
use crate::{MINUTE, assert_healthy, interruptions};

const COMMANDS: usize = 20;

/// What a world has besides rekeys and ends.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is mixed in by itself")]
struct Flavour {
    /// Children are taken out of the configurations and put in again.
    configure: bool,
    /// Each side has several selectors, and one of them wants a child for each pair.
    pairs: bool,
    /// So many resources at most.
    resources: u32,
    /// Both sides move.
    moves: bool,
    /// Both sides authenticate anew, because somebody wants it so or to go to an endpoint, and are configured otherwise.
    anew: bool,
    /// A peer may have one IKE SA.
    few: bool,
}

/// Octets that a child may carry.
const LIMIT: u64 = 1_000_000;

fn configs(seed: u64, flavour: Flavour, state: &mut u64) -> [PeerConfig; 2] {
    let suites = [
        ("aes256gcm16-prfsha256-curve25519", "aes256gcm16-noesn"),
        ("aes256gcm16-prfsha256-curve25519-ke1_mlkem512", "aes256gcm16-ecp256-ke1_mlkem512-noesn"),
    ];
    let (ike, esp) = suites[usize::from(seed.is_multiple_of(3))];
    let mut pair = pair_of(ike, esp);
    for (host, (own, other)) in [(1, 2), (2, 1)].into_iter().enumerate() {
        let config = &mut pair[host];
        if flavour.pairs {
            let of = |number: u8| vec![subnet(number), subnet(number + 2)];
            (config.children[0].local, config.children[0].remote) = (of(own), of(other));
            let modes = [Pairing::Single, Pairing::Auto];
            config.children[0].pairing = if host == RIGHT {
                Pairing::Single
            } else {
                modes[usize::from(draw(state, 2) == 0)]
            };
        }
        config.children.push(child_of("net10", own + 10, other + 10, esp));
        if !flavour.pairs && flavour.resources < 2 {
            config.children.push(child_of("net20", own + 20, other + 20, esp));
        }
        config.start = Start::Always;
        config.any_address = flavour.moves;
        if flavour.resources > 1 {
            let resources = 1 + u32::try_from(draw(state, flavour.resources.into())).unwrap();
            config.children[0].resources = resources;
        }
        for child in &mut config.children {
            child.lifetime = Lifetime::of(120 * MINUTE);
            child.lifetime.octets = Some(LIMIT);
        }
    }
    if draw(state, 2) == 0 {
        pair[RIGHT].start = Start::RespondOnly;
    }
    pair
}

/// A world, and what each side calls each of the children that both are to have in the end.
struct Medley {
    world: World,
    flavour: Flavour,
    configs: [PeerConfig; 2],
    children: [Vec<ChildConfig>; 2],
    indices: [Vec<Option<usize>>; 2],
}

impl Medley {
    fn act(&mut self, state: &mut u64) {
        let host = usize::try_from(draw(state, 2)).unwrap();
        let peer = self.world.host(host).peers[0];
        match draw(state, 10) {
            0..4 => replace_or_end(&mut self.world, state),
            4 => self.use_up(host, state),
            5 | 6 if self.flavour.configure => self.configure(host, state),
            7 if self.flavour.configure => {
                let which = usize::try_from(draw(state, 3)).unwrap() % self.indices[host].len();
                if let Some(index) = self.indices[host][which] {
                    self.world
                        .command(host, |endpoint, now| endpoint.ask_for_child(now, peer, index))
                        .unwrap();
                }
            }
            8 if self.flavour.moves => relocate(&mut self.world, host, draw(state, 2)),
            9 if self.flavour.anew => {
                let way = path(self.world.host(host).address, self.world.host(1 - host).address);
                let which = draw(state, 4);
                let config = self.reconfigured(host, way, state);
                self.world
                    .command(host, |endpoint, now| match which {
                        0 => endpoint.switch_to(now, peer, way),
                        1 => endpoint.reconfigure(now, peer, config).map(|()| true),
                        _ => endpoint.supersede(now, peer, way),
                    })
                    .unwrap();
            }
            _ => {}
        }
    }

    /// What the host is configured with, but for its lifetime.
    fn reconfigured(&self, host: usize, way: Path, state: &mut u64) -> PeerConfig {
        let mut config = self.configs[host].clone();
        config.paths = vec![way];
        config.lifetime.time = Duration::from_mins(60 + draw(state, 120));
        config
    }

    /// One child has carried what it may, or nearly.
    fn use_up(&mut self, host: usize, state: &mut u64) {
        let children: Vec<_> = self.world.host(host).children().map(|child| child.id).collect();
        if let Some(child) = children.get(usize::try_from(draw(state, 6)).unwrap()) {
            let octets = LIMIT - 100_000 + draw(state, 2) * 100_000;
            let usage = ChildUsage { octets, packets: 10, last_inbound: None };
            self.world.command(host, |endpoint, now| endpoint.report_usage(now, *child, usage));
        }
    }

    /// Takes a child out, or puts it in again.
    fn configure(&mut self, host: usize, state: &mut u64) {
        let which = usize::try_from(draw(state, 3)).unwrap() % self.indices[host].len();
        self.toggle(host, which);
    }

    fn toggle(&mut self, host: usize, which: usize) {
        let peer = self.world.host(host).peers[0];
        self.indices[host][which] = if let Some(index) = self.indices[host][which] {
            self.world
                .command(host, |endpoint, now| endpoint.remove_child(now, peer, index))
                .unwrap();
            None
        } else {
            let child = self.children[host][which].clone();
            let added =
                self.world.command(host, |endpoint, now| endpoint.add_child(now, peer, child));
            Some(added.unwrap())
        };
    }

    /// Everything is configured on both sides in the end.
    fn complete(&mut self) {
        for host in [LEFT, RIGHT] {
            for which in 0..self.indices[host].len() {
                if self.indices[host][which].is_none() {
                    self.toggle(host, which);
                }
            }
        }
    }
}

fn carried(host: &Host) -> Vec<String> {
    let mut all: Vec<String> = host
        .children()
        .map(|sa| Traffic::new(sa.local_ts.clone(), sa.remote_ts.clone()).to_string())
        .collect();
    all.sort();
    if host.children().any(|sa| sa.resource) {
        // Children for resources are all alike.
        all.dedup();
    }
    all
}

fn medley(seeds: u64, flavour: Flavour) {
    for_each_seed_on_all_cores(seeds, |seed| {
        let mut state = seed;
        let loss = [0, 0, 100, 300][usize::try_from(draw(&mut state, 4)).unwrap()];
        let pair = configs(seed, flavour, &mut state);
        let children = pair.clone().map(|config| config.children);
        let wanted = pair.clone().map(|config| config.children[0].resources);
        let indices = children.clone().map(|all| (0..all.len()).map(Some).collect());
        let mut link = Link::default().delay_ms(5..60).reorder(100).loss(loss);
        if loss > 0 {
            link = link.duplicate(100);
        }
        let mut settings = EndpointConfig::default();
        if flavour.few {
            settings.max_ike_sas = 1;
        }
        let world = World::new(seed).settings(settings).link(link).peers(pair.clone());
        let mut medley = Medley { world, flavour, configs: pair, children, indices };
        medley.world.run_until(World::both_up, 10 * MINUTE);
        medley.world.run_for(MINUTE);
        medley.world.run_until_quiet(5 * MINUTE);
        let before = interruptions(&medley.world);
        let at_first = carried(medley.world.left());
        for _ in 0..COMMANDS {
            medley.act(&mut state);
            medley.world.run_for(Duration::from_millis(draw(&mut state, 100)));
        }
        medley.complete();
        let Medley { mut world, .. } = medley;
        world.set_link(Link::default().delay_ms(5..20));
        world.run_for(10 * MINUTE);
        world.run_until_quiet(5 * MINUTE);
        assert!(world.both_up(), "{}", world.report());
        let count = world.left().child_count();
        assert_healthy(&world, count);
        assert_eq!(carried(world.left()), at_first, "{}", world.report());
        if flavour.resources > 1 {
            // Who has more resources asks for one that the other side ended when the fallback is replaced.
            for host in [LEFT, RIGHT] {
                let ids: Vec<_> = world.host(host).children().map(|child| child.id).collect();
                for id in ids {
                    world.command(host, |endpoint, now| endpoint.rekey_child(now, id)).unwrap();
                }
                world.run_for(MINUTE);
                world.run_until_quiet(5 * MINUTE);
            }
            let count = world.left().child_count();
            assert_healthy(&world, count);
            for (host, of) in [world.left(), world.right()].into_iter().zip(wanted) {
                let mut loads = vec![0; of as usize];
                for child in host.children().filter(|child| child.config == 0) {
                    loads[child.spi_in.resource(of) as usize] += 1;
                }
                assert!(loads.iter().all(|load| *load > 0), "{loads:?} {}", world.report());
            }
        }
        assert_eq!(interruptions(&world), before, "{}", world.report());
        assert_in_place(&mut world);
    });
}

/// One IKE SA, the same on both sides, on the way where both are; and nothing more is said than that both are alive.
#[track_caller]
fn assert_in_place(world: &mut World) {
    let spis = |host: usize| world.host(host).up.values().next().unwrap().spis;
    assert_eq!(spis(LEFT), spis(RIGHT), "{}", world.report());
    for (host, other) in [(LEFT, RIGHT), (RIGHT, LEFT)] {
        let way = world.host(host).esp_path().unwrap();
        let now: (IpAddr, IpAddr) = (world.host(host).address, world.host(other).address);
        assert_eq!((way.local.ip(), way.remote.ip()), now, "{}", world.report());
    }
    let before = world.sent().len();
    world.run_for(5 * MINUTE);
    let said = world.sent().len() - before;
    // Each side asks every 30 s, and is answered.
    assert!(said <= 5 * 2 * 4, "{said} messages\n{}", world.report());
}

#[test]
fn children_that_are_configured_among_rekeys() {
    medley(300, Flavour { configure: true, ..Flavour::default() });
}

#[test]
fn pairs_among_rekeys() {
    medley(300, Flavour { pairs: true, ..Flavour::default() });
}

#[test]
fn resources_and_moves_among_rekeys() {
    medley(300, Flavour { resources: 3, moves: true, ..Flavour::default() });
}

#[test]
fn new_authentications_among_rekeys() {
    medley(300, Flavour { anew: true, ..Flavour::default() });
}

#[test]
fn moves_and_new_authentications_of_children_that_are_configured() {
    medley(300, Flavour { configure: true, moves: true, anew: true, ..Flavour::default() });
}

#[test]
fn pairs_that_are_configured_among_moves_and_new_authentications() {
    let all =
        Flavour { configure: true, pairs: true, moves: true, anew: true, resources: 1, few: false };
    medley(300, all);
}

#[test]
fn new_authentications_where_a_peer_may_have_one_ike_sa() {
    medley(300, Flavour { anew: true, few: true, ..Flavour::default() });
}
