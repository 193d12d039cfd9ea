//! Peers that cannot prove who they are (RFC 7296 §2.15, §2.21.2): both sides say why, nobody gets an SA, and the
//! attempts that follow come slowly.

use ikev2::{CloseReason, Event, Identity, Psk, RemoteId};
use testkit::world::{World, psk_pair};

use crate::MINUTE;

fn fqdn(name: &str) -> Identity {
    Identity::Fqdn(name.into())
}

/// Why the left host gave up the first time.
fn left_reason(world: &World) -> CloseReason {
    let mut reasons = world.left().events.iter().filter_map(|(_, event)| match event {
        Event::PeerDown { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    reasons.next().unwrap_or_else(|| panic!("{}", world.report()))
}

/// Why the right host refused the first time.
fn right_reason(world: &World) -> CloseReason {
    let mut reasons = world.right().events.iter().filter_map(|(_, event)| match event {
        Event::Refused { reason, .. } | Event::PeerDown { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    reasons.next().unwrap_or_else(|| panic!("{}", world.report()))
}

#[track_caller]
fn assert_nothing_stands(world: &World) {
    assert!(world.all_down(), "{}", world.report());
    let child_up = |event: &Event| matches!(event, Event::ChildUp { .. });
    let ups = world.left().count(child_up) + world.right().count(child_up);
    assert_eq!(ups, 0, "no keys without authentication\n{}", world.report());
    assert!(world.sent().len() < 4 * 12 * 5, "attempts come slowly: {}", world.sent().len());
}

#[test]
fn a_wrong_key_is_noticed_by_the_responder() {
    let [left, mut right] = psk_pair();
    right.set_psk(Psk::new(b"another key".to_vec()));
    let mut world = World::new(1).peers([left, right]);
    world.run_for(5 * MINUTE);
    assert_nothing_stands(&world);
    assert_eq!(right_reason(&world), CloseReason::WrongKey { claimed: fqdn("left.test") });
    let CloseReason::AuthRefusedByPeer { sent, .. } = left_reason(&world) else {
        panic!("{}", world.report())
    };
    assert_eq!(sent, fqdn("left.test"));
}

#[test]
fn an_initiator_that_nobody_knows_is_refused() {
    let [mut left, right] = psk_pair();
    left.local_id = Some(fqdn("somebody.test"));
    let mut world = World::new(1).peers([left, right]);
    world.run_for(5 * MINUTE);
    assert_nothing_stands(&world);
    let expected = vec![fqdn("left.test")];
    let claimed = fqdn("somebody.test");
    assert_eq!(right_reason(&world), CloseReason::WrongIdentity { claimed, expected });
    assert!(matches!(left_reason(&world), CloseReason::AuthRefusedByPeer { .. }));
}

#[test]
fn a_responder_with_the_wrong_name_is_refused() {
    let [left, mut right] = psk_pair();
    right.local_id = Some(fqdn("somebody.test"));
    let mut world = World::new(1).peers([left, right]);
    world.run_for(5 * MINUTE);
    assert!(world.left().up.is_empty(), "{}", world.report());
    let child_up = |event: &Event| matches!(event, Event::ChildUp { .. });
    assert_eq!(world.left().count(child_up), 0);
    let reason = left_reason(&world);
    assert!(
        matches!(
            &reason,
            CloseReason::WrongIdentity { .. } | CloseReason::AuthRefusedByPeer { .. }
        ),
        "{reason:?}"
    );
    world.cut(true);
    world.run_for(5 * MINUTE);
    assert!(world.right().up.is_empty(), "the responder does not keep what the initiator refused");
}

#[test]
fn a_responder_that_expects_another_name_for_itself_still_answers_by_its_own() {
    let [mut left, right] = psk_pair();
    left.remote_id = RemoteId::Exact(fqdn("third.test"));
    let mut world = World::new(1).peers([left, right]);
    world.run_for(5 * MINUTE);
    assert!(world.left().up.is_empty(), "{}", world.report());
    let reason = left_reason(&world);
    assert!(
        matches!(
            &reason,
            CloseReason::WrongIdentity { .. } | CloseReason::AuthRefusedByPeer { .. }
        ),
        "{reason:?}"
    );
}

#[test]
fn a_corrected_key_is_enough_to_come_up() {
    let [left, right] = psk_pair();
    let mut wrong = right.clone();
    wrong.set_psk(Psk::new(b"another key".to_vec()));
    let mut world = World::new(1).peers([left, wrong]);
    world.run_for(2 * MINUTE);
    world.restart(testkit::world::RIGHT, vec![right]);
    world.run_until(World::both_up, 2 * MINUTE);
    world.assert_mirrored();
}

/// Two peers of the right host have the same address and identity; who of the two it is, the key tells, or the identity
/// by which the right host is called.
#[test]
fn peers_of_one_address_and_name_are_told_apart_by_key_and_by_the_name_that_they_call() {
    let [left, right] = psk_pair();
    let mut other = right.clone();
    other.set_psk(Psk::new(b"another key".to_vec()));
    let mut second = right.clone();
    second.local_id = Some(fqdn("second.test"));
    for (one, two) in [(other, right.clone()), (second, right.clone())] {
        let mut world = World::new(1).peers([left.clone(), one]);
        let two = world.add_peer(testkit::world::RIGHT, two);
        world.run_until(|world| world.left().is_up(), MINUTE);
        world.assert_mirrored();
        assert!(world.right().up.keys().eq([&two]), "{}", world.report());
    }
}
