//! Many SAs that began together and live equally long are not replaced together (RFC 7296 §2.8: "jitter").
//!
//! ```text
//!   t = 0: all come up      t = 54..60 min: their rekeys, at most one of twenty in any one second
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ikev2::wire::header::MessageId;
use ikev2::{Event, Identity, RemoteId};
use testkit::measured::measured;
use testkit::world::{LEFT, World, child_of, path, psk_pair};

use crate::{MINUTE, assert_healthy, header};
use ikev2::registry::ExchangeType;

/// The most rekeys that begin in one second, and how many there are, among the requests since then.
fn busiest_second(world: &World, since: Duration) -> (usize, usize) {
    let mut seen = std::collections::BTreeSet::new();
    let mut seconds: BTreeMap<u64, usize> = BTreeMap::new();
    for sent in world.sent().iter().filter(|sent| sent.at >= since) {
        let header = header(sent);
        let rekey = header.exchange == ExchangeType::CREATE_CHILD_SA && !header.flags.response;
        let id: (u64, MessageId, usize) = (header.spi_i.0, header.message_id, sent.host);
        if rekey && seen.insert(id) {
            *seconds.entry(sent.at.as_secs()).or_default() += 1;
        }
    }
    (seconds.values().copied().max().unwrap_or(0), seconds.values().sum())
}

#[track_caller]
fn assert_spread(world: &World, since: Duration, least: usize) {
    let (most, all) = busiest_second(world, since);
    assert!(all >= least, "only {all} of {least} were replaced");
    measured("T55", &format!("most of {all} rekeys in one second"), most, "<= 5 %");
    assert!(most * 20 <= all, "{most} of {all} rekeys in one second");
    let is_down = |event: &Event| matches!(event, Event::PeerDown { .. });
    assert_eq!(world.left().count(is_down), 0);
}

#[test]
fn a_thousand_children_of_one_ike_sa() {
    let [mut left, mut right] = psk_pair();
    for config in [&mut left, &mut right] {
        config.dpd = None;
        config.children.clear();
    }
    for number in 0..1000u16 {
        let [high, low] = number.to_be_bytes();
        let net = |side: u8| {
            let address = IpAddr::V4(Ipv4Addr::new(10, side + high, low, 0));
            vec![ikev2::TrafficSelector::subnet(address, 24)]
        };
        let mut child = child_of(&format!("net{number}"), 1, 2, "aes256gcm16-noesn");
        (child.local, child.remote) = (net(0), net(100));
        left.children.push(child.clone());
        (child.local, child.remote) = (net(100), net(0));
        right.children.push(child);
    }
    let mut world = World::new(5).peers([left, right]);
    world.run_until(World::both_up, 5 * MINUTE);
    let since = world.elapsed();
    world.run_for(62 * MINUTE);
    assert_spread(&world, since, 1000);
    world.run_until(|world| world.left().child_count() == 1000, MINUTE);
    assert_healthy(&world, 1000);
}

#[test]
fn several_hundred_peers_of_one_host() {
    const PEERS: u8 = 200;
    let [left, right] = psk_pair();
    let mut world = World::new(6);
    let hub = world.add_host("hub", IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    assert_eq!(hub, LEFT);
    for number in 0..PEERS {
        let address = IpAddr::V4(Ipv4Addr::new(203, 0, 113, number));
        let name = Identity::Fqdn(format!("spoke{number}.test"));
        let host = world.add_host("spoke", address);
        let mut config = right.clone();
        config.paths = vec![path(address, world.host(hub).address)];
        config.local_id = Some(name.clone());
        config.dpd = None;
        world.add_peer(host, config);
        let mut config = left.clone();
        config.paths = vec![path(world.host(hub).address, address)];
        config.remote_id = RemoteId::Exact(name);
        config.dpd = None;
        world.add_peer(hub, config);
    }
    world.run_until(World::both_up, 5 * MINUTE);
    let since = world.elapsed();
    world.run_for(65 * MINUTE);
    assert_spread(&world, since, usize::from(PEERS));
    assert!(world.both_up(), "{}", world.report());
}
