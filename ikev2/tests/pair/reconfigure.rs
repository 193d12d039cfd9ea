//! Another configuration while SAs stand: what counts at once, what later, and a new SA beside the old one.

use std::time::Duration;

use ikev2::{CloseReason, Dpd, DpdAction, Event, PeerConfig, Proposal, Psk, Start, Unknown};
use testkit::link::Link;
use testkit::world::{
    LEFT, LEFT_ADDRESS, RIGHT, RIGHT_ADDRESS, World, child_of, for_each_seed, path, psk_pair,
};

use crate::{MINUTE, assert_healthy, assert_no_interruption, up};

const ESP: &str = "aes256gcm16-noesn";
const HOUR: Duration = Duration::from_hours(1);

fn reconfigure(world: &mut World, host: usize, config: &PeerConfig) {
    let peer = world.host(host).peers[0];
    let config = config.clone();
    world.command(host, |endpoint, now| endpoint.reconfigure(now, peer, config)).unwrap();
}

fn supersede(world: &mut World, host: usize) -> bool {
    let peer = world.host(host).peers[0];
    let ends = [LEFT_ADDRESS, RIGHT_ADDRESS];
    let way = path(ends[host], ends[1 - host]);
    world.command(host, |endpoint, now| endpoint.supersede(now, peer, way)).unwrap()
}

fn spis(world: &World, host: usize) -> (u64, u64) {
    world.host(host).up.values().next().unwrap().spis
}

fn with(config: &PeerConfig, change: impl FnOnce(&mut PeerConfig)) -> PeerConfig {
    let mut config = config.clone();
    change(&mut config);
    config
}

fn with_key(config: &PeerConfig, key: &[u8]) -> PeerConfig {
    with(config, |config| config.set_psk(Psk::new(key.to_vec())))
}

fn stayed(world: &World, host: usize) -> Vec<CloseReason> {
    let events = world.host(host).events.iter();
    let reasons = events.filter_map(|(_, event)| match event {
        Event::SwitchFailed { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    reasons.collect()
}

#[test]
fn a_key_is_changed_on_one_side_after_the_other_without_losing_the_tunnel() {
    for_each_seed(20, |seed| {
        let [left, right] = psk_pair();
        let link = Link::default().loss(100);
        let mut world = up(World::new(seed).link(link).peers([left.clone(), right.clone()]));
        let before = spis(&world, LEFT);
        reconfigure(&mut world, LEFT, &with_key(&left, b"another key than before"));
        assert!(supersede(&mut world, LEFT));
        world.run_until(|world| !stayed(world, LEFT).is_empty(), 5 * MINUTE);
        world.run_until_quiet(MINUTE);
        let why = stayed(&world, LEFT);
        assert!(matches!(why[..], [CloseReason::AuthRefusedByPeer { .. }]), "{why:?}");
        assert_eq!(spis(&world, LEFT), before, "the old one stays");
        assert_healthy(&world, 1);
        reconfigure(&mut world, RIGHT, &with_key(&right, b"another key than before"));
        world.run_for(MINUTE);
        assert_eq!(spis(&world, LEFT), before, "an SA that stands needs no key");
        assert!(supersede(&mut world, LEFT));
        world.run_until(|world| spis(world, LEFT) != before, 5 * MINUTE);
        world.run_for(MINUTE);
        assert_healthy(&world, 1);
        assert_no_interruption(&world);
        let mut children = 0;
        for (at, event) in &world.left().events {
            match event {
                Event::ChildUp { .. } => children += 1,
                Event::ChildDown { .. } => children -= 1,
                _ => continue,
            }
            assert!(children > 0, "no child at {at:?}\n{}", world.report());
        }
    });
}

#[test]
fn lifetimes_count_at_once() {
    let [left, mut right] = psk_pair();
    // The other side rekeys nothing by itself.
    right.lifetime.time = 1000 * HOUR;
    right.children[0].lifetime.time = 1000 * HOUR;
    let mut world = up(World::new(3).peers([left.clone(), right]));
    let (before, child) = (spis(&world, LEFT), world.left().children().next().unwrap().id);
    let mut short = left.clone();
    short.lifetime.time = 2 * HOUR;
    reconfigure(&mut world, LEFT, &short);
    let peer = world.left().peers[0];
    let mut long = child_of("net", 1, 2, ESP);
    long.lifetime.time = 5 * HOUR;
    let changed =
        world.command(LEFT, |endpoint, now| endpoint.reconfigure_child(now, peer, 0, long.clone()));
    assert_eq!(changed, Ok(()));
    let at = world.left().endpoint.child_rekey_at(child).unwrap();
    let in_hours = at.duration_since(world.now()).as_secs_f64() / 3600.0;
    assert!((4.4..5.0).contains(&in_hours), "{in_hours}");
    world.run_for(HOUR + 40 * MINUTE);
    assert_eq!(spis(&world, LEFT), before, "nine tenths of two hours are not over");
    world.run_for(25 * MINUTE);
    assert_ne!(spis(&world, LEFT), before, "two hours are");
    assert!(world.left().children().any(|now| now.id == child), "an hour does not count any more");
    // What is too old by the change is replaced soon, make before break.
    long.lifetime.time = HOUR;
    let changed =
        world.command(LEFT, |endpoint, now| endpoint.reconfigure_child(now, peer, 0, long.clone()));
    assert_eq!(changed, Ok(()));
    world.run_for(2 * MINUTE);
    assert!(!world.left().children().any(|now| now.id == child));
    assert_no_interruption(&world);
    let other = world.command(LEFT, |endpoint, now| endpoint.reconfigure_child(now, peer, 1, long));
    assert_eq!(other, Err(Unknown));
}

#[test]
fn dead_peer_detection_counts_at_once() {
    let [left, right] = psk_pair();
    let mut world = up(World::new(10).peers([left.clone(), right]));
    let seconds = Duration::from_secs;
    let dpd = Dpd { interval: seconds(2), timeout: seconds(6), action: DpdAction::Restart };
    reconfigure(&mut world, LEFT, &with(&left, |left| left.dpd = Some(dpd)));
    world.cut(true);
    let took = world.run_until(|world| world.left().up.is_empty(), MINUTE);
    assert!(took < seconds(8), "{took:?}");
}

#[test]
fn ike_proposals_wait_for_the_next_rekey() {
    let [mut left, mut right] = psk_pair();
    let mut world = up(World::new(4).peers([left.clone(), right.clone()]));
    let before = world.left().up.values().next().unwrap().suite;
    let other = Proposal::ike_from_keywords("aes256gcm16-prfsha384-ecp384").unwrap();
    (left.proposals, right.proposals) = (vec![other.clone()], vec![other]);
    reconfigure(&mut world, LEFT, &left);
    reconfigure(&mut world, RIGHT, &right);
    world.run_for(MINUTE);
    assert_eq!(world.left().up.values().next().unwrap().suite, before);
    let peer = world.left().peers[0];
    world.command(LEFT, |endpoint, now| endpoint.rekey_ike(now, peer)).unwrap();
    world.run_for(MINUTE);
    assert_ne!(world.left().up.values().next().unwrap().suite, before);
    assert_healthy(&world, 1);
    assert_no_interruption(&world);
}

#[test]
fn children_and_redirects_are_not_part_of_it() {
    let [left, right] = psk_pair();
    let mut world = up(World::new(5).peers([left.clone(), right]));
    let child = world.left().children().next().unwrap().id;
    reconfigure(&mut world, LEFT, &with(&left, |left| left.children.clear()));
    world.run_for(3 * HOUR);
    assert_healthy(&world, 1);
    assert!(world.left().children().all(|now| now.id != child), "it is rekeyed as before");
    assert_no_interruption(&world);
}

#[test]
fn whether_we_call_may_change() {
    let [left, right] = psk_pair();
    let mut world = up(World::new(6).peers([left.clone(), right.clone()]));
    // The sides change their parts: nothing happens to what is up, but the right one is to call from now on.
    reconfigure(&mut world, LEFT, &with(&left, |left| left.start = Start::RespondOnly));
    reconfigure(&mut world, RIGHT, &with(&right, |right| right.start = Start::Always));
    world.run_for(MINUTE);
    assert_no_interruption(&world);
    let begun = world.elapsed();
    let connecting = |host: usize, world: &World| {
        let since = world.host(host).events.iter().filter(|(at, _)| *at > begun);
        since.filter(|(_, event)| matches!(event, Event::Connecting { .. })).count()
    };
    world.cut(true);
    world.run_until(World::all_down, 10 * MINUTE);
    world.cut(false);
    world.run_until(World::both_up, 10 * MINUTE);
    assert_eq!(connecting(LEFT, &world), 0);
    assert!(connecting(RIGHT, &world) > 0);
}

#[test]
fn an_attempt_that_is_under_way_starts_over_with_what_is_true_now() {
    let [left, right] = psk_pair();
    let mut world = World::new(7).peers([with_key(&left, b"a key with a typing error"), right]);
    world.run_for(3 * MINUTE);
    assert!(world.left().up.is_empty());
    reconfigure(&mut world, LEFT, &left);
    assert!(!supersede(&mut world, LEFT), "nothing is up");
    let took = world.run_until(World::both_up, MINUTE);
    assert!(took < Duration::from_secs(1), "{took:?}");
    // The same where nobody answered.
    let [left, right] = psk_pair();
    let nowhere = "203.0.113.99".parse().unwrap();
    let lost = with(&left, |left| left.paths = vec![path(LEFT_ADDRESS, nowhere)]);
    let mut world = World::new(7).peers([lost, right]);
    world.run_for(Duration::from_millis(5300));
    reconfigure(&mut world, LEFT, &left);
    assert!(!supersede(&mut world, LEFT));
    let took = world.run_until(World::both_up, MINUTE);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_peer_is_removed_with_a_word_and_for_good() {
    for host in [LEFT, RIGHT] {
        let [left, mut right] = psk_pair();
        right.start = Start::Always;
        let configs = [left, right];
        let mut world = up(World::new(8).peers(configs.clone()));
        let peer = world.host(host).peers[0];
        world.command(host, |endpoint, now| endpoint.remove_peer(now, peer)).unwrap();
        assert_eq!(world.host(host).child_count(), 0, "here at once");
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.host(1 - host).child_count(), 0, "there by DELETE");
        world.run_for(10 * MINUTE);
        assert!(world.host(host).up.is_empty() && world.host(1 - host).up.is_empty());
        assert!(world.host(host).endpoint.is_idle());
        let unknown = world.host(host).drops.iter();
        let unknown = unknown.filter(|(_, why)| *why == ikev2::DropReason::UnknownPeer);
        assert!(unknown.count() > 0, "the other side calls nobody");
        let ways = vec![path(LEFT_ADDRESS, RIGHT_ADDRESS)];
        world.command(host, |endpoint, now| {
            assert_eq!(endpoint.connect(now, peer), Err(Unknown));
            assert_eq!(endpoint.set_paths(now, peer, &ways), Err(Unknown));
            assert_eq!(endpoint.remove_peer(now, peer), Err(Unknown));
        });
        // The same again is somebody else.
        let again = world.add_peer(host, configs[host].clone());
        assert_ne!(again, peer);
        world.run_until(|world| world.host(host).child_count() == 1, 3 * MINUTE);
    }
}

#[test]
fn a_peer_that_is_removed_while_it_authenticates_does_not_come_in() {
    for at in 1..60 {
        let mut world = World::new(9).peers(psk_pair());
        world.run_for(Duration::from_millis(at));
        let peer = world.right().peers[0];
        world.command(RIGHT, |endpoint, now| endpoint.remove_peer(now, peer)).unwrap();
        world.run_for(MINUTE);
        assert!(world.right().up.is_empty() && world.right().child_count() == 0, "after {at} ms");
    }
}
