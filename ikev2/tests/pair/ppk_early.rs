//! Post-quantum keys mixed in before IKE_AUTH (RFC 9867): what both have, what one of them lacks, which of several, and what
//! somebody on the path can make of the announcement.

use ikev2::{CloseReason, Event, PeerConfig, Ppk, PpkId, PpkKey, PpkMix, PpkProblem, Psk};
use testkit::link::Link;
use testkit::measured::measured;
use testkit::world::{Host, LEFT, RIGHT, World, for_each_seed, pair_of, psk_pair};

use crate::{MINUTE, assert_healthy, up};

/// USE_PPK and USE_PPK_INT as a notification about no SA has them.
const USE_PPK: [u8; 4] = [0x00, 0x00, 0x40, 0x33];
const USE_PPK_INT: [u8; 4] = [0x00, 0x00, 0x40, 0x3d];
/// A notification that nobody knows.
const UNKNOWN: [u8; 4] = [0x00, 0x00, 0x60, 0x3d];
const IKE_SA_INIT: u8 = 34;
const IKE_INTERMEDIATE: u8 = 43;

const HYBRID: &str = "aes256-sha256-x25519-ke1_mlkem512";

/// Keys of these names, the first choice first.
fn keys(names: &[(&str, u8)], required: bool) -> Ppk {
    let mut all = names
        .iter()
        .map(|(name, key)| PpkKey { id: PpkId::fixed(*name), key: Psk::new(vec![*key; 32]) });
    let PpkKey { id, key } = all.next().unwrap();
    Ppk { others: all.collect(), ..Ppk::new(id, key, required) }
}

fn with(mut pair: [PeerConfig; 2], left: Option<Ppk>, right: Option<Ppk>) -> [PeerConfig; 2] {
    pair[LEFT].ppk = left;
    pair[RIGHT].ppk = right;
    pair
}

/// The key in use, and whether it was mixed in early.
fn used(host: &Host) -> (Option<PpkId>, bool) {
    let info = host.up.values().next().unwrap();
    (info.ppk.clone(), info.ppk_early)
}

fn both_use(world: &World, name: Option<&str>, early: bool) {
    let expected = (name.map(PpkId::fixed), early);
    assert_eq!((used(world.left()), used(world.right())), (expected.clone(), expected));
}

fn reason(host: &Host) -> Option<CloseReason> {
    host.events.iter().find_map(|(_, event)| match event {
        Event::Refused { reason, .. } | Event::PeerDown { reason, .. } => Some(reason.clone()),
        _ => None,
    })
}

fn child_up(event: &Event) -> bool {
    matches!(event, Event::ChildUp { .. })
}

/// Runs two that cannot agree; why each of them gave up.
fn apart(pair: [PeerConfig; 2]) -> (Option<CloseReason>, Option<CloseReason>) {
    let mut world = World::new(1).peers(pair);
    world.run_for(MINUTE);
    assert!(world.all_down(), "{}", world.report());
    assert_eq!(world.left().count(child_up) + world.right().count(child_up), 0);
    (reason(world.left()), reason(world.right()))
}

#[expect(clippy::unnecessary_wraps, reason = "what a host may have heard")]
fn problem(problem: PpkProblem) -> Option<CloseReason> {
    Some(CloseReason::Ppk(problem))
}

#[test]
fn both_have_it_and_keep_it_through_every_rekey() {
    let hybrid = || pair_of(HYBRID, "aes256gcm16-noesn");
    for (pair, mixes, required) in [
        (psk_pair(), [PpkMix::Auto, PpkMix::Auto], [true, true]),
        (psk_pair(), [PpkMix::Intermediate, PpkMix::Auto], [false, true]),
        (psk_pair(), [PpkMix::Auto, PpkMix::Intermediate], [true, false]),
        (hybrid(), [PpkMix::Auto, PpkMix::Auto], [true, true]),
        (hybrid(), [PpkMix::Intermediate, PpkMix::Intermediate], [false, false]),
    ] {
        let ppk = |side: usize| Ppk { mix: mixes[side], ..keys(&[("a", 1)], required[side]) };
        let mut world = up(World::new(1).peers(with(pair, Some(ppk(LEFT)), Some(ppk(RIGHT)))));
        assert_healthy(&world, 1);
        both_use(&world, Some("a"), true);
        // Keys of children and of the next IKE SA are made of SK_d, which both have to have alike.
        let peer = world.host(LEFT).peers[0];
        world.command(LEFT, |endpoint, now| endpoint.rekey_ike(now, peer)).unwrap();
        world.run_until_quiet(MINUTE);
        let child = world.right().children().next().unwrap().id;
        world.command(RIGHT, |endpoint, now| endpoint.rekey_child(now, child)).unwrap();
        world.run_until_quiet(MINUTE);
        assert_healthy(&world, 1);
        both_use(&world, Some("a"), true);
    }
}

/// The keys are named in the last exchange before IKE_AUTH, with the key exchange that it is for; if there is none, in one more.
#[test]
fn it_costs_one_exchange_where_there_is_none_yet() {
    for (pair, exchanges) in [
        (psk_pair(), 1),
        (pair_of(HYBRID, "aes256gcm16-noesn"), 1),
        (pair_of("aes256-sha256-x25519-ke1_mlkem512-ke2_ecp256", "aes256gcm16-noesn"), 2),
    ] {
        let pair = with(pair, Some(keys(&[("a", 1)], true)), Some(keys(&[("a", 1)], true)));
        let mut world = World::new(1).peers(pair);
        let right = world.host(RIGHT).address;
        let seen = std::sync::Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
        let ids = seen.clone();
        world.attack(move |datagram, _| {
            // Behind port 4500 four octets of the non-ESP marker are gone here.
            if datagram.source.ip() != right && datagram.payload.get(18) == Some(&IKE_INTERMEDIATE)
            {
                ids.lock().unwrap().insert(datagram.payload[20..24].to_vec());
            }
            vec![datagram]
        });
        world.run_until(World::both_up, MINUTE);
        both_use(&world, Some("a"), true);
        assert_eq!(seen.lock().unwrap().len(), exchanges);
    }
}

/// With a peer that knows RFC 8784 alone that is used; nothing stops while keys are rolled out one by one.
#[test]
fn the_older_way_and_none_at_all_are_fallen_back_to() {
    let auto = |required| Some(keys(&[("a", 1)], required));
    let only = |mix, required| Some(Ppk { mix, ..keys(&[("a", 1)], required) });
    for (left, right, name) in [
        (auto(true), only(PpkMix::Auth, true), Some("a")),
        (only(PpkMix::Auth, true), auto(true), Some("a")),
        (only(PpkMix::Intermediate, false), only(PpkMix::Auth, false), None),
        (only(PpkMix::Auth, false), only(PpkMix::Intermediate, false), None),
        (auto(false), None, None),
        (None, auto(false), None),
        (auto(false), Some(keys(&[("b", 1)], false)), None),
        (auto(false), Some(keys(&[("a", 2)], false)), None),
    ] {
        let world = up(World::new(1).peers(with(psk_pair(), left, right)));
        assert_healthy(&world, 1);
        both_use(&world, name, false);
    }
}

#[test]
fn of_several_the_first_that_both_have_is_used() {
    let two = |required| Some(keys(&[("new", 2), ("old", 1)], required));
    let one = |name, key| Some(keys(&[(name, key)], true));
    for (left, right, name) in [
        (two(true), one("old", 1), "old"),
        (two(true), one("new", 2), "new"),
        (one("old", 1), two(true), "old"),
        (two(true), two(true), "new"),
        // Somebody mistook one for the other.
        (two(true), Some(keys(&[("new", 9), ("old", 1)], true)), "old"),
    ] {
        let world = up(World::new(1).peers(with(psk_pair(), left, right)));
        assert_healthy(&world, 1);
        both_use(&world, Some(name), true);
    }
    // In IKE_AUTH one can be named, and a responder takes any of its own.
    let older = |ppk: Option<Ppk>| ppk.map(|ppk| Ppk { mix: PpkMix::Auth, ..ppk });
    let world = up(World::new(1).peers(with(psk_pair(), older(one("old", 1)), two(true))));
    both_use(&world, Some("old"), false);
}

#[test]
fn whoever_insists_hears_what_is_wrong() {
    let ppk = |name, key, required| Some(keys(&[(name, key)], required));
    let fixed = PpkId::fixed;
    // One has none.
    let (left, right) = apart(with(psk_pair(), ppk("a", 1, true), None));
    assert_eq!((left, right), (problem(PpkProblem::Absent), None));
    let (left, right) = apart(with(psk_pair(), None, ppk("a", 1, true)));
    assert!(matches!(left, Some(CloseReason::AuthRefusedByPeer { .. })), "{left:?}");
    assert_eq!(right, problem(PpkProblem::Absent));
    // Both insist, or the responder does: it says so before identities are told.
    for insists in [true, false] {
        let (left, right) = apart(with(psk_pair(), ppk("a", 1, insists), ppk("b", 1, true)));
        assert_eq!(left, problem(PpkProblem::Refused));
        assert_eq!(right, problem(PpkProblem::Unknown(Some(fixed("a")))));
        let (left, right) = apart(with(psk_pair(), ppk("a", 1, insists), ppk("a", 2, true)));
        assert_eq!(left, problem(PpkProblem::Refused));
        assert_eq!(right, problem(PpkProblem::Differs(fixed("a"))));
    }
    // The initiator alone insists.
    for other in [ppk("b", 1, false), ppk("a", 2, false)] {
        let (left, _) = apart(with(psk_pair(), ppk("a", 1, true), other));
        assert_eq!(left, problem(PpkProblem::Declined));
    }
    // And wants it early or not at all.
    let early = ppk("a", 1, true).map(|ppk| Ppk { mix: PpkMix::Intermediate, ..ppk });
    let late = ppk("a", 1, true).map(|ppk| Ppk { mix: PpkMix::Auth, ..ppk });
    let (left, _) = apart(with(psk_pair(), early.clone(), late.clone()));
    assert_eq!(left, problem(PpkProblem::Absent));
    let (left, _) = apart(with(psk_pair(), late, early));
    assert_eq!(left, problem(PpkProblem::Absent));
}

#[test]
fn it_goes_with_further_key_exchanges_and_losses() {
    for_each_seed(100, |seed| {
        let pair = match seed % 3 {
            0 => psk_pair(),
            1 => pair_of(HYBRID, "aes256gcm16-noesn"),
            _ => pair_of("aes256-sha256-x25519-ke1_mlkem512-ke2_ecp256", "aes256gcm16-noesn"),
        };
        let two = Some(keys(&[("b", 8), ("a", 7)], seed % 2 == 0));
        let link = Link::default().delay_ms(5..60).loss(200).reorder(100);
        let pair = with(pair, two, Some(keys(&[("a", 7)], true)));
        let mut world = World::new(seed).link(link).peers(pair);
        world.run_until(World::both_up, 5 * MINUTE);
        world.set_link(Link::default());
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, 1);
        both_use(&world, Some("a"), true);
    });
}

/// What goes over the wire in the clear: both announcements ask, and one of them answers (RFC 9867 §3.1).
#[test]
fn the_answer_has_one_of_the_two_announcements() {
    for (mix, early) in [(PpkMix::Auto, true), (PpkMix::Intermediate, true), (PpkMix::Auth, false)]
    {
        let right = Some(Ppk { mix, ..keys(&[("a", 1)], true) });
        let pair = with(psk_pair(), Some(keys(&[("a", 1)], true)), right);
        let mut world = World::new(1);
        world.attack(move |datagram, _| {
            if datagram.payload.get(18) == Some(&IKE_SA_INIT) {
                let count = |four: [u8; 4]| {
                    datagram.payload.windows(4).filter(|octets| **octets == four).count()
                };
                let found = (count(USE_PPK_INT), count(USE_PPK));
                let answers = datagram.payload.get(8..16) != Some(&[0; 8]);
                let expected = match (answers, early) {
                    (false, _) => (1, 1),
                    (true, true) => (1, 0),
                    (true, false) => (0, 1),
                };
                assert_eq!(found, expected, "{mix:?}, answer: {answers}");
            }
            vec![datagram]
        });
        let mut world = world.peers(pair);
        world.run_until(World::both_up, MINUTE);
        both_use(&world, Some("a"), early);
    }
}

/// Who takes the announcement out of either message of IKE_SA_INIT, for good: AUTH covers both, so there is no SA, not even an
/// older or weaker one; when that ends there is one with the key.
#[test]
fn nobody_on_the_path_talks_them_out_of_it() {
    for required in [true, false] {
        for victim in [LEFT, RIGHT] {
            let ppk = || Some(keys(&[("a", 1)], required));
            let mut world = World::new(1);
            world.attack(move |mut datagram, _| {
                let init = datagram.payload.get(18) == Some(&IKE_SA_INIT);
                // The responder's SPI is there in answers alone.
                let side = if datagram.payload.get(8..16) == Some(&[0; 8]) { LEFT } else { RIGHT };
                if init && side == victim {
                    let places = datagram.payload.windows(4).position(|four| four == USE_PPK_INT);
                    if let Some(at) = places {
                        datagram.payload[at..at + 4].copy_from_slice(&UNKNOWN);
                    }
                }
                vec![datagram]
            });
            let mut world = world.peers(with(psk_pair(), ppk(), ppk()));
            world.run_for(2 * MINUTE);
            let weaker = world.left().count(child_up);
            let what = format!("tunnels without the key, required {required}, side {victim}");
            measured("T44", &what, weaker, "0");
            assert_eq!(weaker, 0, "{}", world.report());
            world.relent();
            world.run_until(World::both_up, 5 * MINUTE);
            both_use(&world, Some("a"), true);
        }
    }
}
