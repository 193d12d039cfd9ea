//! IKE fragmentation (RFC 7383): long messages on paths that carry no long datagrams, with every fault of a path.
//!
//! ```text
//!   long_pair(): identities of 1500 octets, forty ESP proposals      IKE_AUTH request and answer, and CREATE_CHILD_SA,
//!                                                                    are too long for one datagram
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ikev2::registry::{ExchangeType, PayloadType};
use ikev2::wire::message::Payloads;
use ikev2::{
    Disposition, DropReason, FragmentSizes, Fragmentation, Identity, PeerConfig, Proposal, RemoteId,
};
use testkit::link::Link;
use testkit::world::{Datagram, LEFT, RIGHT, Sent, World, for_each_seed, psk_pair};

use crate::{MINUTE, assert_healthy, assert_no_interruption, header, up};

/// [`psk_pair`] with messages that do not fit into a datagram.
fn long_pair() -> [PeerConfig; 2] {
    let [left, right] = psk_pair();
    let name = |of: &str| Identity::Fqdn(format!("{}.{of}.test", "x".repeat(1500)));
    [(left, "left", "right"), (right, "right", "left")].map(|(mut peer, own, other)| {
        peer.local_id = Some(name(own));
        peer.remote_id = RemoteId::Exact(name(other));
        let wanted = peer.children[0].proposals.clone();
        let words = ["aes128-sha256-noesn", "aes192-sha384-noesn", "aes256-sha512-noesn"];
        let unwanted = words.iter().map(|words| Proposal::esp_from_keywords(words).unwrap());
        let proposals = &mut peer.children[0].proposals;
        if own == "right" {
            // It takes one of many only, and offers as many itself.
            proposals.extend(unwanted.cycle().take(39));
        } else {
            *proposals = unwanted.cycle().take(39).chain(wanted).collect();
        }
        peer
    })
}

fn with(mut pair: [PeerConfig; 2], sizes: [Fragmentation; 2]) -> [PeerConfig; 2] {
    for (peer, fragmentation) in pair.iter_mut().zip(sizes) {
        peer.fragmentation = fragmentation;
    }
    pair
}

/// Number and total of a fragment, if it is one.
fn numbers(payload: &[u8]) -> Option<(u16, u16)> {
    let is_fragment = payload[16] == PayloadType::SKF.0;
    let at = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    is_fragment.then(|| (at(32), at(34)))
}

/// Octets of the IP datagram.
fn size(sent: &Sent) -> usize {
    let marker = if sent.path.local.port() == 4500 { 4 } else { 0 };
    20 + 8 + marker + sent.payload.len()
}

/// What a host sent of one exchange, as requests or as responses.
fn sent_of(world: &World, host: usize, exchange: ExchangeType, response: bool) -> Vec<&Sent> {
    let is_of = |sent: &&Sent| {
        let header = header(sent);
        sent.host == host && header.exchange == exchange && header.flags.response == response
    };
    world.sent().iter().filter(is_of).collect()
}

fn fragments(world: &World) -> usize {
    world.sent().iter().filter(|sent| numbers(&sent.payload).is_some()).count()
}

/// The numbers of these messages, which all have to be fragments.
fn all_numbers(messages: &[&Sent]) -> Vec<(u16, u16)> {
    messages.iter().map(|sent| numbers(&sent.payload).expect("a fragment")).collect()
}

#[test]
fn a_long_message_goes_in_fragments_that_fill_the_size_and_never_exceed_it() {
    for (suite, size_v4, link) in [
        ("aes256gcm16-prfsha256-curve25519", 1280, 1280),
        ("aes256-sha512-curve25519", 1280, 1280),
        ("aes256gcm16-prfsha256-curve25519", 576, 576),
        ("aes128-sha256-curve25519", 1401, 1500),
        ("aes256gcm16-prfsha256-curve25519", 9000, 9000),
    ] {
        let on = Fragmentation::On(FragmentSizes { v4: size_v4, v6: 1280 });
        let mut pair = with(long_pair(), [on, on]);
        for peer in &mut pair {
            peer.proposals = vec![Proposal::ike_from_keywords(suite).unwrap()];
        }
        let mut world = World::new(1).link(Link::default().mtu(link)).peers(pair);
        let took = world.run_until(World::both_up, MINUTE);
        assert!(took < Duration::from_millis(100), "nothing is repeated: {took:?}");
        assert_healthy(&world, 1);
        assert!(world.left().up.values().all(|info| info.fragmentation));
        assert!(world.right().up.values().all(|info| info.fragmentation));
        for (host, response) in [(LEFT, false), (RIGHT, true)] {
            let messages = sent_of(&world, host, ExchangeType::IKE_AUTH, response);
            if size_v4 == 9000 {
                assert_eq!(messages.len(), 1, "it fits");
                assert_eq!(numbers(&messages[0].payload), None, "so it is whole");
                continue;
            }
            let total = u16::try_from(messages.len()).unwrap();
            let expected: Vec<_> = (1..=total).map(|number| (number, total)).collect();
            assert!(total > 1);
            assert_eq!(all_numbers(&messages), expected);
            for (number, sent) in (1..).zip(&messages) {
                let size_v4 = usize::from(size_v4);
                assert!(size(sent) <= size_v4, "{} {suite}", size(sent));
                assert!(number == total || size(sent) > size_v4 - 16, "{} {suite}", size(sent));
                let first = sent.payload[28] != 0;
                assert_eq!(first, number == 1, "only the first names a payload");
            }
        }
    }
}

/// RFC 7383 §2.3, and §2.4: what is short is never cut.
#[test]
fn both_announce_it_and_short_messages_stay_whole() {
    let mut world = up(World::new(1).peers(psk_pair()));
    let child = world.left().children().next().unwrap().id;
    world.command(LEFT, |endpoint, now| endpoint.rekey_child(now, child)).unwrap();
    world.run_until_quiet(MINUTE);
    assert_eq!(fragments(&world), 0);
    assert_eq!(announcements(&world), [true, true]);
    assert!(world.left().up.values().all(|info| info.fragmentation));
}

/// Whether the first message of each host announces fragmentation.
fn announcements(world: &World) -> [bool; 2] {
    [(LEFT, false), (RIGHT, true)].map(|(host, response)| {
        let sent = sent_of(world, host, ExchangeType::IKE_SA_INIT, response)[0];
        let payloads = Payloads::new(header(sent).next_payload, &sent.payload[28..]);
        let bodies = payloads.map(Result::unwrap).filter(|p| p.kind == PayloadType::NOTIFY);
        // Protocol 0, SPI size 0, type 16430, no data (RFC 7383 §2.3).
        bodies.filter(|payload| payload.body == [0, 0, 0x40, 0x2e]).count() == 1
    })
}

#[test]
fn a_peer_that_does_not_know_fragments_gets_none() {
    let on = Fragmentation::default();
    for (sizes, expected) in [
        ([Fragmentation::Off, on], [false, false]),
        ([on, Fragmentation::Off], [true, false]),
        ([Fragmentation::Off, Fragmentation::Off], [false, false]),
    ] {
        let link = Link::default().mtu(9000);
        let mut world = up(World::new(1).link(link).peers(with(long_pair(), sizes)));
        assert_eq!(announcements(&world), expected);
        let peer = world.left().peers[0];
        world.command(LEFT, |endpoint, now| endpoint.rekey_ike(now, peer)).unwrap();
        world.run_until_quiet(MINUTE);
        let child = world.right().children().next().unwrap().id;
        world.command(RIGHT, |endpoint, now| endpoint.rekey_child(now, child)).unwrap();
        world.run_until_quiet(MINUTE);
        assert_eq!(fragments(&world), 0);
        assert!(world.left().up.values().all(|info| !info.fragmentation));
        assert_healthy(&world, 1);
    }
}

/// RFC 7383 §2.5.2: from large to small, with timers that begin again, and more fragments each time.
#[test]
fn a_path_that_carries_less_is_found_out_and_remembered() {
    let link = Link::default().mtu(580);
    let mut world = World::new(1).link(link).peers(long_pair());
    let took = world.run_until(World::both_up, MINUTE);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_healthy(&world, 1);
    let requests = sent_of(&world, LEFT, ExchangeType::IKE_AUTH, false);
    let last = requests.last().unwrap().at;
    let (small, large): (Vec<&Sent>, Vec<&Sent>) = requests.iter().partition(|s| s.at == last);
    let (_, few) = numbers(&large[0].payload).unwrap();
    let (_, many) = numbers(&small[0].payload).unwrap();
    assert_eq!((large.len(), small.len()), (3 * usize::from(few), usize::from(many)));
    assert!(many > few);
    assert!(small.iter().all(|sent| size(sent) <= 576));
    let answers = sent_of(&world, RIGHT, ExchangeType::IKE_AUTH, true);
    assert!(answers.iter().all(|sent| size(sent) <= 576), "answered as it was asked");
    assert_eq!(all_numbers(&answers).len(), usize::from(numbers(&answers[0].payload).unwrap().1));

    // From here on the initiator does not try the large size again, in the next IKE SA neither.
    for _ in 0..2 {
        let before = world.sent().len();
        let child = world.left().children().next().unwrap().id;
        world.command(LEFT, |endpoint, now| endpoint.rekey_child(now, child)).unwrap();
        let took = world.run_until(|world| fresh_child(world, child), MINUTE);
        assert!(took < Duration::from_millis(100), "{took:?}");
        world.run_until_quiet(MINUTE);
        assert!(world.sent()[before..].iter().all(|sent| size(sent) <= 576));
        let cut = world.sent()[before..].iter().filter(|sent| numbers(&sent.payload).is_some());
        assert!(cut.count() > 1, "forty proposals");
        let peer = world.left().peers[0];
        world.command(LEFT, |endpoint, now| endpoint.rekey_ike(now, peer)).unwrap();
        world.run_until_quiet(MINUTE);
        assert!(world.left().up.values().all(|info| info.fragmentation), "after an IKE rekey");
    }
    // The responder finds out for itself.
    let child = world.right().children().next().unwrap().id;
    world.command(RIGHT, |endpoint, now| endpoint.rekey_child(now, child)).unwrap();
    world.run_until_quiet(MINUTE);
    assert!(fresh_child(&world, child));
    assert_healthy(&world, 1);
    assert_no_interruption(&world);
}

/// RFC 7383 §2.5.2: with a new size "the node MUST reset its retransmission timers". From the second time on the size of
/// before goes, too.
#[test]
fn the_repetitions_begin_again_with_the_smaller_size() {
    let mut world = World::new(1);
    world.attack(|datagram, _| {
        if datagram.payload[18] == ExchangeType::IKE_AUTH.0 { vec![] } else { vec![datagram] }
    });
    let mut world = world.peers(long_pair());
    world.run_for(Duration::from_secs(8));
    let requests = sent_of(&world, LEFT, ExchangeType::IKE_AUTH, false);
    let firsts: Vec<_> =
        requests.iter().filter(|sent| numbers(&sent.payload).unwrap().0 == 1).collect();
    let totals: Vec<_> = firsts.iter().map(|sent| numbers(&sent.payload).unwrap().1).collect();
    assert!(totals[2] < totals[3], "{totals:?}");
    let (large, small) = (totals[0], totals[3]);
    let both = [small, large].repeat(3);
    assert_eq!(totals, [&[large; 3][..], &[small], &both].concat());
    let mut times: Vec<_> = firsts.iter().map(|sent| sent.at.as_millis()).collect();
    times.dedup();
    assert_eq!(times.len(), 7);
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (gap, usual) in gaps.iter().zip([500, 1000, 2000, 500, 1000, 2000]) {
        assert!((usual * 9 / 10..=usual * 11 / 10).contains(gap), "{gaps:?}");
    }
}

/// While more and more of the answer comes, the size is right and only the luck is bad: nothing starts over.
#[test]
fn a_request_whose_answer_comes_bit_by_bit_is_not_cut_anew() {
    let sizes = Fragmentation::On(FragmentSizes { v4: 800, v6: 1280 });
    let mut world = World::new(1);
    let mut round = 0;
    world.attack(move |datagram, _| {
        let back = datagram.destination.ip() == testkit::world::LEFT_ADDRESS;
        let Some((number, _)) = numbers(&datagram.payload).filter(|_| back) else {
            return vec![datagram];
        };
        round += u16::from(number == 1);
        if number + 1 == round { vec![datagram] } else { vec![] }
    });
    let mut world = world.peers(with(long_pair(), [sizes, sizes]));
    world.run_until(World::both_up, MINUTE);
    let answers = sent_of(&world, RIGHT, ExchangeType::IKE_AUTH, true);
    assert_eq!(numbers(&answers[0].payload), Some((1, 3)));
    assert_eq!(answers.len(), 4 * 3, "the fourth time brings the third fragment");
    let requests = sent_of(&world, LEFT, ExchangeType::IKE_AUTH, false);
    let totals: Vec<_> = all_numbers(&requests).iter().map(|(_, total)| *total).collect();
    assert!(totals.iter().all(|total| *total == totals[0]), "{totals:?}");
}

fn fresh_child(world: &World, old: ikev2::ChildId) -> bool {
    let both = [world.left(), world.right()];
    both.iter().all(|host| host.child_count() == 1 && host.children().all(|c| c.id != old))
}

/// The request passes, the answer does not: the request in smaller fragments, though answered long ago, brings the answer
/// in smaller fragments.
#[test]
fn an_answer_that_is_too_long_for_the_way_back_is_cut_anew() {
    let mut world = World::new(1);
    world.attack(|datagram, _| {
        let back = datagram.destination.ip() == testkit::world::LEFT_ADDRESS;
        if back && datagram.payload.len() > 560 { vec![] } else { vec![datagram] }
    });
    let mut world = world.peers(long_pair());
    let took = world.run_until(World::both_up, MINUTE);
    assert!(took < Duration::from_secs(6), "{took:?}");
    let totals: Vec<u16> = sent_of(&world, RIGHT, ExchangeType::IKE_AUTH, true)
        .iter()
        .map(|sent| numbers(&sent.payload).unwrap().1)
        .collect();
    assert!(totals.is_sorted() && totals[0] < *totals.last().unwrap(), "{totals:?}");
    assert_healthy(&world, 1);
    let authenticated = |event: &ikev2::Event| matches!(event, ikev2::Event::PeerUp { .. });
    assert_eq!(world.right().count(authenticated), 1, "the request was processed once");
}

/// A request that is whole, and too long for the path all the same, is cut when it is not answered.
#[test]
fn a_whole_request_that_does_not_pass_is_cut() {
    let mut pair = psk_pair();
    let long = |of: &str| Identity::Fqdn(format!("{}.{of}.test", "x".repeat(400)));
    pair[0].local_id = Some(long("left"));
    pair[1].remote_id = RemoteId::Exact(long("left"));
    let mut world = World::new(1).link(Link::default().mtu(576)).peers(pair);
    world.run_until(World::both_up, MINUTE);
    let requests = sent_of(&world, LEFT, ExchangeType::IKE_AUTH, false);
    assert!(size(requests[0]) > 576 && size(requests[0]) < 1280);
    assert_eq!(numbers(&requests[0].payload), None);
    assert_eq!(numbers(&requests.last().unwrap().payload), Some((2, 2)));
    assert_healthy(&world, 1);
}

/// A peer that has answered takes only the octets that it knows for a repeat (strongSwan): whoever repeats in smaller
/// fragments, because no answer came, has to go on with the first ones, too.
#[test]
fn a_peer_that_knows_a_request_by_its_octets_is_asked_in_those() {
    let mut pair = psk_pair();
    let long = |of: &str| Identity::Fqdn(format!("{}.{of}.test", "x".repeat(400)));
    pair[0].local_id = Some(long("left"));
    pair[1].remote_id = RemoteId::Exact(long("left"));
    let mut world = World::new(1);
    let mut answers = 0;
    world.attack(move |datagram, _| {
        let is_auth = datagram.payload[18] == ExchangeType::IKE_AUTH.0;
        let back = datagram.destination.ip() == testkit::world::LEFT_ADDRESS;
        answers += u32::from(is_auth && back);
        let is_lost =
            is_auth && if back { answers <= 3 } else { numbers(&datagram.payload).is_some() };
        if is_lost { vec![] } else { vec![datagram] }
    });
    let mut world = world.peers(pair);
    let took = world.run_until(World::both_up, MINUTE);
    assert!(took < Duration::from_secs(6), "{took:?}");
    let requests = sent_of(&world, LEFT, ExchangeType::IKE_AUTH, false);
    let whole: Vec<_> = requests.iter().filter(|sent| numbers(&sent.payload).is_none()).collect();
    assert!(whole.iter().all(|sent| sent.payload == whole[0].payload) && whole.len() == 4);
    assert!(requests.len() > 4, "it was cut meanwhile");
    assert_healthy(&world, 1);
}

#[test]
fn every_fault_of_the_path_at_once() {
    for_each_seed(150, |seed| {
        let mtu = [1280, 600, 1500][usize::try_from(seed % 3).unwrap()];
        let link = Link::default().mtu(mtu).delay_ms(1..60).loss(100).duplicate(150).reorder(200);
        let mut world = World::new(seed).link(link.clone()).peers(long_pair());
        world.run_until(World::both_up, 3 * MINUTE);
        for host in [LEFT, RIGHT] {
            let child = world.host(host).children().next().unwrap().id;
            let _gone = world.command(host, |endpoint, now| endpoint.rekey_child(now, child));
            world.run_for(Duration::from_secs(20));
            let peer = world.host(host).peers[0];
            let _down = world.command(host, |endpoint, now| endpoint.rekey_ike(now, peer));
            world.run_for(Duration::from_secs(20));
        }
        world.set_link(link.loss(0));
        world.run_until(World::both_up, 3 * MINUTE);
        world.run_until_quiet(5 * MINUTE);
        assert_healthy(&world, 1);
        assert!(fragments(&world) > 5);
        let drops = [world.left(), world.right()].map(|host| host.drops.clone()).concat();
        let bad = |reason| matches!(reason, DropReason::BadIcv | DropReason::Malformed);
        assert!(!drops.iter().any(|(_, reason)| bad(*reason)), "{drops:?}");
    });
}

#[test]
fn the_fragments_arrive_backwards_and_twice() {
    for copies in [1, 2, 3] {
        let mut world = World::new(1);
        let mut held: BTreeMap<Vec<u8>, Vec<Datagram>> = BTreeMap::new();
        world.attack(move |datagram, _| {
            let Some((number, total)) = numbers(&datagram.payload) else { return vec![datagram] };
            let key = [&datagram.payload[..16], &datagram.payload[19..24]].concat();
            let set = held.entry(key).or_default();
            set.push(datagram);
            if number < total {
                return vec![];
            }
            let mut all = std::mem::take(set);
            all.reverse();
            std::iter::repeat_n(all, copies).flatten().collect()
        });
        let mut world = world.peers(long_pair());
        let took = world.run_until(World::both_up, MINUTE);
        assert!(took < Duration::from_millis(100), "{took:?}");
        world.run_until_quiet(MINUTE);
        assert_healthy(&world, 1);
        // One answer for each time that the first fragment came.
        let answers = sent_of(&world, RIGHT, ExchangeType::IKE_AUTH, true);
        let total = usize::from(numbers(&answers[0].payload).unwrap().1);
        assert_eq!(answers.len(), copies * total);
        assert_identical_sets(&answers);
    }
}

/// The same number of the same set is the same octets every time (RFC 7296 §2.1).
#[track_caller]
fn assert_identical_sets(messages: &[&Sent]) {
    let mut seen: BTreeMap<_, Arc<[u8]>> = BTreeMap::new();
    for sent in messages {
        let key = (header(sent).message_id, numbers(&sent.payload));
        let first = seen.entry(key).or_insert_with(|| Arc::clone(&sent.payload));
        assert_eq!(*first, sent.payload, "{key:?}");
    }
}

#[test]
fn requests_and_answers_are_repeated_octet_for_octet() {
    for_each_seed(20, |seed| {
        let link = Link::default().loss(300);
        let mut world = World::new(seed).link(link).peers(long_pair());
        world.run_until(World::both_up, 5 * MINUTE);
        // Each attempt has keys, and so octets, of its own.
        let mut attempts: BTreeMap<_, Vec<&Sent>> = BTreeMap::new();
        for sent in world.sent() {
            let header = header(sent);
            if header.exchange == ExchangeType::IKE_AUTH {
                let key = (header.spi_i, header.spi_r, header.flags.response);
                attempts.entry(key).or_default().push(sent);
            }
        }
        for messages in attempts.values() {
            assert_identical_sets(messages);
        }
    });
}

/// RFC 7383 §2.6.1, by replaying everything.
#[test]
fn only_the_first_fragment_asks_for_the_answer_again() {
    let mut world = up(World::new(1).peers(long_pair()));
    let events = world.right().events.len();
    let requests: Vec<Sent> =
        sent_of(&world, LEFT, ExchangeType::IKE_AUTH, false).into_iter().cloned().collect();
    let answers = sent_of(&world, RIGHT, ExchangeType::IKE_AUTH, true).len();
    for sent in &requests {
        let before = world.sent().len();
        let source = sent.path.local;
        let disposition = world.inject(RIGHT, source, 4500, &sent.payload);
        let (number, _) = numbers(&sent.payload).unwrap();
        let (reason, expected) =
            if number == 1 { (DropReason::Retransmit, answers) } else { (DropReason::Fragment, 0) };
        assert_eq!(disposition, Disposition::Dropped(reason), "{number}");
        assert_eq!(world.sent().len() - before, expected, "{number}");
        // In other octets nothing is the same request.
        for at in [33, 35, 40, 60] {
            let mut forged = sent.payload.to_vec();
            forged[at] ^= 1;
            let before = world.sent().len();
            let disposition = world.inject(RIGHT, source, 4500, &forged);
            assert!(
                matches!(
                    disposition,
                    Disposition::Dropped(DropReason::BadIcv | DropReason::Fragment)
                ),
                "{disposition:?}"
            );
            assert_eq!(world.sent().len(), before);
        }
    }
    world.run_until_quiet(MINUTE);
    // The answers that went out again are an old exchange to the initiator.
    assert_eq!(world.right().events.len(), events);
    assert_healthy(&world, 1);
    assert_no_interruption(&world);
}

/// Whoever has no keys cannot disturb a reassembly (RFC 7383, appendix A): a damaged copy comes before each good one.
#[test]
fn damaged_fragments_change_nothing() {
    for_each_seed(40, |seed| {
        let mut world = World::new(seed);
        world.attack(|datagram, rng| {
            let mut hail = Vec::new();
            if numbers(&datagram.payload).is_some() {
                for _ in 0..4 {
                    let mut damaged = datagram.clone();
                    let range = u32::try_from(damaged.payload.len() - 28).unwrap();
                    let at = 28 + usize::try_from(rand_core::Rng::next_u32(rng) % range).unwrap();
                    damaged.payload[at] ^= 1 << (at % 8);
                    hail.push(damaged);
                }
                // Greater totals, which would start it over if they were believed.
                let mut newer = datagram.clone();
                newer.payload[35] += 1;
                hail.push(newer);
            }
            hail.push(datagram);
            hail
        });
        let mut world = world.peers(long_pair());
        let took = world.run_until(World::both_up, MINUTE);
        assert!(took < Duration::from_millis(100), "{took:?}");
        world.run_until_quiet(MINUTE);
        assert_healthy(&world, 1);
    });
}
