//! Requests are repeated until they are answered, octet for octet, and so are answers (RFC 7296 §2.1).

use std::collections::BTreeMap;
use std::sync::Arc;

use testkit::world::{LEFT, RIGHT, World, psk_pair};

use crate::{MINUTE, assert_healthy, header, up};

/// What a host sent, by (is response, message ID), for messages of IKE_AUTH and later.
fn sent_by(world: &World, host: usize) -> BTreeMap<(bool, u32), Vec<Arc<[u8]>>> {
    let mut sent: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for message in world.sent().iter().filter(|sent| sent.host == host) {
        let header = header(message);
        let key = (header.flags.response, header.message_id.0);
        sent.entry(key).or_default().push(Arc::clone(&message.payload));
    }
    sent
}

#[track_caller]
fn assert_identical(messages: &[Arc<[u8]>]) {
    assert!(messages.windows(2).all(|pair| pair[0] == pair[1]), "the repetitions differ");
}

#[test]
fn a_lost_request_is_repeated_octet_for_octet() {
    for lost in [1, 2, 5] {
        let mut world = World::new(1);
        let mut left_to_lose = BTreeMap::new();
        world.attack(move |datagram, _| {
            let answer = datagram.payload[19] & 0x20 != 0;
            let left = left_to_lose.entry(datagram.payload[18]).or_insert(lost);
            let lose = !answer && *left > 0;
            *left -= usize::from(lose);
            if lose { Vec::new() } else { vec![datagram] }
        });
        let mut world = world.peers(psk_pair());
        world.run_until(World::both_up, MINUTE);
        let requests = sent_by(&world, LEFT);
        assert_eq!(requests[&(false, 0)].len(), lost + 1, "IKE_SA_INIT");
        assert_eq!(requests[&(false, 1)].len(), lost + 1, "IKE_AUTH");
        for messages in requests.values() {
            assert_identical(messages);
        }
        world.assert_mirrored();
    }
}

#[test]
fn a_lost_answer_is_given_again_octet_for_octet() {
    let mut world = World::new(1);
    let mut left_to_lose = BTreeMap::new();
    world.attack(move |datagram, _| {
        let answer = datagram.payload[19] & 0x20 != 0;
        let left = left_to_lose.entry(datagram.payload[18]).or_insert(3);
        let lose = answer && *left > 0;
        *left -= i32::from(lose);
        if lose { Vec::new() } else { vec![datagram] }
    });
    let mut world = world.peers(psk_pair());
    world.run_until(World::both_up, MINUTE);
    let answers = sent_by(&world, RIGHT);
    assert_eq!(answers[&(true, 0)].len(), 4, "IKE_SA_INIT");
    assert_eq!(answers[&(true, 1)].len(), 4, "IKE_AUTH");
    for messages in answers.values() {
        assert_identical(messages);
    }
    assert_healthy(&world, 1);
}

#[test]
fn repetitions_come_less_often_but_never_stop_for_long() {
    let mut world = World::new(1);
    world.cut(true);
    let mut world = world.peers(psk_pair());
    world.run_for(10 * MINUTE);
    let times: Vec<_> = world.sent().iter().map(|sent| sent.at.as_millis()).collect();
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| (200..5000).contains(gap)), "{gaps:?}");
    world.cut(false);
    let took = world.run_until(World::both_up, MINUTE);
    assert!(took.as_secs() < 6, "a peer that returns is found within five seconds, not {took:?}");
}

#[test]
fn an_answer_for_each_request_and_one_request_at_a_time() {
    let mut world = up(World::new(3).peers(psk_pair()));
    let child = world.left().children().next().unwrap().id;
    let peer = world.left().peers[0];
    world.command(LEFT, |endpoint, now| endpoint.rekey_child(now, child)).unwrap();
    world.command(LEFT, |endpoint, now| endpoint.rekey_ike(now, peer)).unwrap();
    let requests = world.sent().iter().filter(|sent| sent.host == LEFT);
    let pending = requests.filter(|sent| header(sent).message_id.0 > 1).count();
    assert_eq!(pending, 1, "the window is one (RFC 7296 §2.3)");
    world.run_until_quiet(MINUTE);
    assert_healthy(&world, 1);
}

/// An answer tells how far the peer is; one to a request that was sent twice does not.
#[test]
fn round_trips_are_measured_without_the_repeated_ones() {
    let peer = ikev2::PeerId(0);
    let rtt = |world: &World| world.left().endpoint.rtt(peer);
    let mut world =
        up(World::new(1).link(testkit::link::Link::default().delay_ms(40..40)).peers(psk_pair()));
    assert_eq!(rtt(&world), Some(std::time::Duration::from_millis(80)));
    world.run_for(5 * MINUTE);
    assert_eq!(rtt(&world), Some(std::time::Duration::from_millis(80)));
    // Each request is lost once: its answer comes late, and says nothing.
    let mut seen = std::collections::BTreeSet::new();
    world.attack(
        move |datagram, _| {
            if seen.insert(datagram.payload.clone()) { Vec::new() } else { vec![datagram] }
        },
    );
    world.run_for(5 * MINUTE);
    assert_eq!(rtt(&world), Some(std::time::Duration::from_millis(80)));
}
