//! An attacker on the path that does everything but make messages vanish (RFC 7296 §2.21, §2.21.1, §5): it changes nothing
//! that is up, and keeps nobody from coming up for longer than it stays.
//!
//! ```text
//!   the same world twice:   left ══════════════════ right        the same IKE SA, the same children
//!                           left ══ Adversary ══════ right
//! ```

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use ikev2::registry::{ExchangeType, KeMethod, NotifyType};
use ikev2::wire::header::Header;
use ikev2::wire::message::Body;
use ikev2::{Encap, Event, GatewayId, PeerConfig};
use testkit::link::Link;
use testkit::world::{
    Adversary, Answer, LEFT, LEFT_ADDRESS, RIGHT, RIGHT_ADDRESS, Sent, Trick, World, child_of,
    for_each_seed, for_each_seed_on_all_cores, pair_of, psk_pair,
};

use crate::chaos::draw;
use crate::{MINUTE, assert_healthy, assert_no_interruption, header, up};

/// Rekeys of everything, from both sides, at moments that the seed decides; the wire is free of faults.
fn busy(seed: u64, pair: [PeerConfig; 2], adversary: Option<Adversary>) -> World {
    let children = pair[LEFT].children.len();
    let mut world = up(World::new(seed).link(Link::default().delay_ms(20..20)).peers(pair));
    if let Some(adversary) = adversary {
        world.face(adversary);
    }
    let mut state = seed;
    for _ in 0..8 {
        crate::chaos::command(&mut world, draw(&mut state, 8));
        world.run_for(Duration::from_millis(draw(&mut state, 400)));
    }
    world.run_for(3 * MINUTE);
    world.run_until_quiet(10 * MINUTE);
    assert_healthy(&world, children);
    assert_no_interruption(&world);
    world
}

/// What is up: the SPIs of the IKE SA and of the children, on both sides.
fn spis(world: &World) -> Vec<BTreeSet<u64>> {
    let of = |host: usize| {
        let host = world.host(host);
        let ike = host.up.values().flat_map(|info| [info.spis.0, info.spis.1]);
        let esp = host.children().flat_map(|child| [child.spi_in.0.get(), child.spi_out.0.get()]);
        ike.chain(esp.map(u64::from)).collect()
    };
    vec![of(LEFT), of(RIGHT)]
}

fn kinds(world: &World) -> Vec<String> {
    let name = |event: &Event| {
        let text = format!("{event:?}");
        text.split([' ', '{']).next().unwrap().to_string()
    };
    [world.left(), world.right()]
        .iter()
        .flat_map(|host| host.events.iter().map(|(_, event)| name(event)))
        .collect()
}

#[track_caller]
fn assert_nobody_is_blamed_or_moved(world: &World) {
    let odd = |event: &Event| {
        matches!(
            event,
            Event::PeerMoved { .. }
                | Event::Refused { .. }
                | Event::ChildFailed { .. }
                | Event::Redirected { .. }
        )
    };
    assert_eq!(world.left().count(odd) + world.right().count(odd), 0, "{}", world.report());
}

/// What the attacker adds arrives behind the real thing: not one event is another than without it, nor one SPI.
#[test]
fn a_later_attacker_changes_nothing_at_all() {
    for_each_seed_on_all_cores(60, |seed| {
        let alone = busy(seed, psk_pair(), None);
        let attacked = busy(seed, psk_pair(), Some(Adversary::everything(seed, 300).only_behind()));
        assert_eq!(spis(&alone), spis(&attacked), "{}", attacked.report());
        assert_eq!(kinds(&alone), kinds(&attacked), "{}", attacked.report());
        let drops = attacked.left().drops.len() + attacked.right().drops.len();
        assert!(drops > 20, "the attacker was there: {drops}");
    });
}

/// What the attacker adds may arrive first, from any address: the answer to it goes astray, and is repeated.
#[test]
fn a_faster_attacker_interrupts_nothing() {
    for encap in [Encap::Auto, Encap::Force] {
        for_each_seed_on_all_cores(60, |seed| {
            let pair = psk_pair().map(|mut peer| {
                peer.encap = encap;
                peer
            });
            let world = busy(seed, pair, Some(Adversary::everything(seed, 300)));
            if encap == Encap::Auto {
                assert_nobody_is_blamed_or_moved(&world);
            }
        });
    }
}

/// Each trick for each datagram, and several children.
#[test]
fn each_trick_alone_all_the_time() {
    let mut pair = psk_pair();
    for (side, (own, other)) in pair.iter_mut().zip([(1, 2), (2, 1)]) {
        side.children.push(child_of("more", own + 10, other + 10, "aes256gcm16-ecp256-noesn"));
    }
    for trick in Trick::ALL {
        for_each_seed(6, |seed| {
            let alone = busy(seed, pair.clone(), None);
            let adversary = Adversary::new(seed).with(trick, 1000).only_behind();
            let attacked = busy(seed, pair.clone(), Some(adversary));
            assert_eq!(spis(&alone), spis(&attacked), "{trick:?}\n{}", attacked.report());
            assert_nobody_is_blamed_or_moved(&attacked);
        });
    }
}

/// On a bad wire nothing can be compared, but nothing breaks either.
#[test]
fn an_attacker_on_a_bad_wire_interrupts_nothing() {
    for_each_seed_on_all_cores(100, |seed| {
        let link = Link::default().delay_ms(5..80).loss(100).reorder(100).duplicate(100);
        let mut world = up(World::new(seed).peers(psk_pair()));
        world.set_link(link);
        world.face(Adversary::everything(seed, 200).without(Trick::Spoof));
        let mut state = seed;
        for _ in 0..12 {
            crate::chaos::command(&mut world, draw(&mut state, 8));
            world.run_for(Duration::from_millis(draw(&mut state, 300)));
        }
        world.run_for(MINUTE);
        world.relent();
        world.set_link(Link::default());
        world.run_for(3 * MINUTE);
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, 1);
        assert_no_interruption(&world);
        assert_nobody_is_blamed_or_moved(&world);
    });
}

/// Everything that is said in the handshake is followed by forgeries of it: what came first counts, and it is the real one.
#[test]
fn a_handshake_among_forgeries_that_are_later() {
    for_each_seed_on_all_cores(100, |seed| {
        let mut world = World::new(seed).link(Link::default().delay_ms(5..5));
        world.face(Adversary::everything(seed, 300).only_behind());
        let mut world = world.peers(psk_pair());
        let took = world.run_until(World::both_up, MINUTE);
        assert!(took < Duration::from_secs(1), "{took:?}\n{}", world.report());
        world.run_for(MINUTE);
        world.relent();
        world.run_until_quiet(5 * MINUTE);
        assert_healthy(&world, 1);
        assert_no_interruption(&world);
    });
}

const BOTH_GROUPS: &str = "aes256gcm16-prfsha256-curve25519-modp2048";
const NOWHERE: [u8; 4] = [203, 0, 113, 7];

/// Answers that say that it is over, or that something else should be tried.
fn answers() -> Vec<Answer> {
    vec![
        Answer::NoProposalChosen,
        Answer::AuthenticationFailed,
        Answer::InvalidSyntax,
        Answer::InvalidMajorVersion,
        Answer::UnsupportedCriticalPayload,
        Answer::InvalidKe(KeMethod(2)),
        Answer::InvalidKe(KeMethod::ECP_384),
        Answer::InvalidKe(KeMethod(1025)),
        Answer::InvalidKe(KeMethod::NONE),
        Answer::InvalidKe(KeMethod::CURVE25519),
        Answer::Cookie(Vec::new()),
        Answer::Cookie(vec![7; 65]),
        Answer::Redirect(GatewayId::Address(NOWHERE.into())),
    ]
}

/// The key exchange methods that the left host tried, in order.
fn tried(world: &World) -> Vec<KeMethod> {
    let method = |sent: &Sent| {
        let first = header(sent);
        let is_request = first.exchange == ExchangeType::IKE_SA_INIT && !first.flags.response;
        let body = Body::parse(first.next_payload, &sent.payload[Header::LEN..]).unwrap();
        body.ke.filter(|_| is_request && sent.host == LEFT).map(|ke| ke.method)
    };
    let exchanges = world.sent().iter().filter(|sent| header(sent).exchange.0 == 34);
    exchanges.filter_map(method).collect()
}

/// How many different cookies the left host sent back with each of its SPIs.
fn cookie_rounds(world: &World) -> usize {
    let mut rounds = std::collections::BTreeMap::<u64, BTreeSet<Vec<u8>>>::new();
    for sent in world.sent().iter().filter(|sent| sent.host == LEFT) {
        let first = header(sent);
        if first.exchange == ExchangeType::IKE_SA_INIT {
            let body = Body::parse(first.next_payload, &sent.payload[Header::LEN..]).unwrap();
            if let Some(cookie) = body.notify(NotifyType::COOKIE) {
                rounds.entry(first.spi_i.0).or_default().insert(cookie.data.to_vec());
            }
        }
    }
    rounds.values().map(BTreeSet::len).max().unwrap_or(0)
}

/// RFC 7296 §2.21.1: nothing that comes in the clear ends an attempt before a better answer had its time.
#[test]
fn the_real_answer_counts_if_it_comes_within_two_seconds() {
    for answer in answers() {
        for milliseconds in [10, 500, 985] {
            let link = Link::default().delay_ms(milliseconds..milliseconds);
            let pair = pair_of(BOTH_GROUPS, "aes256gcm16-noesn");
            let mut world = World::new(1).link(link).peers(pair);
            let request = world.sent()[0].payload.clone();
            let forged = answer.to(&request).expect("an IKE_SA_INIT request");
            let source = SocketAddr::new(RIGHT_ADDRESS, 500);
            for _ in 0..3 {
                let _dropped_or_not = world.inject(LEFT, source, 500, &forged);
            }
            let took = world.run_until(World::both_up, MINUTE);
            let exchanges = Duration::from_millis(milliseconds) * 4;
            assert_eq!(took, exchanges, "{answer:?}: {took:?}\n{}", world.report());
            let spis: BTreeSet<u64> =
                world.sent().iter().map(|sent| header(sent).spi_i.0).collect();
            assert_eq!(spis.len(), 1, "{answer:?}: the first attempt\n{}", world.report());
            assert!(tried(&world).iter().all(|method| *method == KeMethod::CURVE25519));
            world.assert_mirrored();
        }
    }
}

/// The same for every request, for as long as it takes.
#[test]
fn answers_in_the_clear_to_every_request_keep_nobody_out() {
    for answer in answers() {
        for_each_seed(10, |seed| {
            let mut world = World::new(seed).link(Link::default().delay_ms(5..900));
            world.face(Adversary::new(seed).answering(answer.clone()));
            let mut world = world.peers(pair_of(BOTH_GROUPS, "aes256gcm16-noesn"));
            let took = world.run_until(World::both_up, MINUTE);
            assert!(took < Duration::from_secs(8), "{answer:?}: {took:?}\n{}", world.report());
            world.assert_mirrored();
            assert_eq!(world.left().up.values().next().unwrap().path.remote.ip(), RIGHT_ADDRESS);
        });
    }
}

/// A weaker group that we proposed is tried, one that we did not propose is not, and what is agreed on in the end is what
/// both prefer.
#[test]
fn only_groups_that_were_proposed_are_tried_and_the_best_is_taken() {
    for_each_seed(30, |seed| {
        let link = Link::default().delay_ms(5..60);
        let mut world = World::new(seed).link(link);
        let weaker = Answer::InvalidKe(KeMethod::MODP_2048);
        let adversary = Adversary::new(seed).answering(weaker);
        let foreign = [KeMethod(2), KeMethod(5), KeMethod::ECP_384, KeMethod(1025)];
        let all = foreign.into_iter().map(Answer::InvalidKe);
        world.face(all.fold(adversary, Adversary::answering));
        let mut world = world.peers(pair_of(BOTH_GROUPS, "aes256gcm16-noesn"));
        world.run_for(Duration::from_secs(10));
        let proposed = [KeMethod::CURVE25519, KeMethod::MODP_2048];
        let tried = tried(&world);
        assert!(tried.iter().all(|method| proposed.contains(method)), "{tried:?}");
        world.relent();
        world.run_until(World::both_up, MINUTE);
        world.run_until_quiet(5 * MINUTE);
        assert_healthy(&world, 1);
        let suite = world.left().up.values().next().unwrap().suite;
        assert_eq!(suite.ke, KeMethod::CURVE25519, "{}", world.report());
    });
}

/// Cookies without end, each another: five rounds an attempt. A forged one spoils AUTH, which covers the request that was
/// answered, so the attempt fails as if the key were wrong; once the forger is gone, the longest wait after such a failure
/// is all that is left of it.
#[test]
fn cookies_without_end_cost_five_rounds_an_attempt() {
    for_each_seed(30, |seed| {
        let mut world = World::new(seed).link(Link::default().delay_ms(5..60));
        let mut number = seed;
        world.attack(move |datagram, _| {
            number += 1;
            let cookie = Answer::Cookie(number.to_be_bytes().to_vec());
            let mut adversary = Adversary::new(number).answering(cookie);
            if number % 3 == 0 {
                adversary = adversary.answering(Answer::InvalidKe(KeMethod::MODP_2048));
            }
            adversary.strike(datagram)
        });
        let mut world = world.peers(pair_of(BOTH_GROUPS, "aes256gcm16-noesn"));
        world.run_for(3 * MINUTE);
        let rounds = cookie_rounds(&world);
        assert!((1..=5).contains(&rounds), "{rounds}\n{}", world.report());
        world.relent();
        world.run_until(World::both_up, 2 * MINUTE);
        world.run_until_quiet(5 * MINUTE);
        assert_healthy(&world, 1);
    });
}

/// The attacker plays the responder to the responder, too: what it says in the name of the left host is the left host's
/// business, and nobody is kept out.
#[test]
fn forged_requests_do_not_keep_the_peer_out() {
    for_each_seed_on_all_cores(40, |seed| {
        let mut world = World::new(seed).link(Link::default().delay_ms(5..30));
        let tricks = [Trick::Flip, Trick::Header, Trick::Truncate, Trick::Extend, Trick::Fragment];
        let all = tricks.into_iter();
        world.face(all.fold(Adversary::new(seed), |adversary, trick| adversary.with(trick, 300)));
        let mut world = world.peers(psk_pair());
        world.run_for(2 * MINUTE);
        world.relent();
        world.run_until(World::both_up, MINUTE);
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, 1);
        assert_eq!(world.right().up.values().next().unwrap().path.remote.ip(), LEFT_ADDRESS);
    });
}
