//! Further key exchanges (RFC 9242, RFC 9370): who agrees on what, with every fault of a path, and the replacements of SAs
//! that have them.

use std::time::Duration;

use ikev2::registry::{ExchangeType, KeMethod, PayloadType};
use ikev2::{
    ChildSa, CloseReason, Event, FragmentSizes, Fragmentation, IkeSaInfo, PeerConfig, Proposal,
};
use testkit::link::Link;
use testkit::world::{Host, LEFT, RIGHT, Sent, World, for_each_seed, pair_of};

use crate::{MINUTE, assert_healthy, assert_no_interruption, header, up};

const HYBRID: &str = "aes256gcm16-prfsha256-curve25519-ke1_mlkem768";
const TWICE: &str = "aes256-sha384-ecp256-ke2_mlkem512-ke3_x25519";
const CLASSICAL: &str = "aes256gcm16-prfsha256-curve25519";
const ESP: &str = "aes256gcm16-noesn";
const ESP_HYBRID: &str = "aes256gcm16-curve25519-ke1_mlkem768-noesn";
const ESP_TWICE: &str = "aes256gcm16-ecp256-ke1_mlkem512-ke2_x25519-noesn";

fn ike(words: &[&str]) -> Vec<Proposal> {
    words.iter().map(|words| Proposal::ike_from_keywords(words).unwrap()).collect()
}

fn info(host: &Host) -> &IkeSaInfo {
    host.up.values().next().unwrap()
}

fn child(host: &Host) -> &ChildSa {
    host.children().next().unwrap()
}

fn rekey_child(world: &mut World, host: usize) {
    let child = child(world.host(host)).id;
    // Refused if it is being replaced already.
    let _ = world.command(host, |endpoint, now| endpoint.rekey_child(now, child));
}

fn rekey_ike(world: &mut World, host: usize) {
    let peer = world.host(host).peers[0];
    world.command(host, |endpoint, now| endpoint.rekey_ike(now, peer)).unwrap();
}

/// Requests of this exchange that a host sent, each counted once however often it was sent.
fn requests(world: &World, host: usize, exchange: ExchangeType) -> usize {
    let mut ids: Vec<_> = world
        .sent()
        .iter()
        .filter(|sent| sent.host == host)
        .map(header)
        .filter(|header| header.exchange == exchange && !header.flags.response)
        .map(|header| (header.spi_i, header.message_id))
        .collect();
    ids.sort_unstable_by_key(|(spi, id)| (spi.0, id.0));
    ids.dedup();
    ids.len()
}

fn datagrams(world: &World, exchange: ExchangeType) -> Vec<&Sent> {
    world.sent().iter().filter(|sent| header(sent).exchange == exchange).collect()
}

/// Octets of the IP datagram.
fn size(sent: &Sent) -> usize {
    let marker = if sent.path.local.port() == 4500 { 4 } else { 0 };
    20 + 8 + marker + sent.payload.len()
}

#[test]
fn each_further_exchange_is_made_before_authentication() {
    for (words, rounds, name) in [
        (CLASSICAL, 0, "AES_GCM_16_256/PRF_HMAC_SHA2_256/CURVE_25519"),
        (HYBRID, 1, "AES_GCM_16_256/PRF_HMAC_SHA2_256/CURVE_25519/KE1_ML_KEM_768"),
        (
            TWICE,
            2,
            "AES_CBC_256/HMAC_SHA2_384_192/PRF_HMAC_SHA2_384/ECP_256/KE2_ML_KEM_512/KE3_CURVE_25519",
        ),
        ("aes256gcm16-prfsha384-mlkem512", 0, "AES_GCM_16_256/PRF_HMAC_SHA2_384/ML_KEM_512"),
        ("aes256gcm16-prfsha384-mlkem1024", 0, "AES_GCM_16_256/PRF_HMAC_SHA2_384/ML_KEM_1024"),
        (
            "aes256gcm16-prfsha384-mlkem768-ke1_mlkem1024",
            1,
            "AES_GCM_16_256/PRF_HMAC_SHA2_384/ML_KEM_768/KE1_ML_KEM_1024",
        ),
    ] {
        // ML-KEM-1024 in IKE_SA_INIT does not fit into an Ethernet frame: IP fragments it.
        let link = Link::default().mtu(2000);
        let world = up(World::new(1).link(link).peers(pair_of(words, ESP)));
        assert_healthy(&world, 1);
        for host in [world.left(), world.right()] {
            assert_eq!(info(host).suite.to_string(), name);
        }
        assert_eq!(requests(&world, LEFT, ExchangeType::IKE_INTERMEDIATE), rounds, "{words}");
        assert_eq!(requests(&world, LEFT, ExchangeType::IKE_AUTH), 1);
        assert_eq!(world.left().count(|e| matches!(e, Event::Connecting { .. })), 1, "{words}");
    }
}

/// RFC 9242 §3.2: the first message after IKE_SA_INIT goes to port 4500, and IKE_AUTH follows the last exchange.
#[test]
fn message_ids_and_ports_are_those_of_the_rfc() {
    let world = up(World::new(1).peers(pair_of(TWICE, ESP)));
    let seen: Vec<_> = world
        .sent()
        .iter()
        .filter(|sent| sent.host == LEFT)
        .map(|sent| (header(sent).exchange, header(sent).message_id.0, sent.path.remote.port()))
        .take(4)
        .collect();
    assert_eq!(
        seen,
        [
            (ExchangeType::IKE_SA_INIT, 0, 500),
            (ExchangeType::IKE_INTERMEDIATE, 1, 4500),
            (ExchangeType::IKE_INTERMEDIATE, 2, 4500),
            (ExchangeType::IKE_AUTH, 3, 4500),
        ]
    );
}

#[test]
fn a_peer_without_further_exchanges_is_met_with_the_next_proposal() {
    for (left, right, expected) in [
        (&[HYBRID, CLASSICAL][..], &[CLASSICAL][..], false),
        (&[CLASSICAL], &[HYBRID, CLASSICAL], false),
        (&[HYBRID, CLASSICAL], &[HYBRID, CLASSICAL], true),
        (&[CLASSICAL, HYBRID], &[HYBRID, CLASSICAL], true),
        (&["aes256gcm16-prfsha256-curve25519-ke1_mlkem768-ke1_none"], &[CLASSICAL], false),
        (&[CLASSICAL], &["aes256gcm16-prfsha256-curve25519-ke1_mlkem768-ke1_none"], false),
        (&["aes256gcm16-prfsha256-curve25519-ke1_mlkem768-ke1_none"], &[HYBRID], true),
    ] {
        let mut pair = pair_of(CLASSICAL, ESP);
        pair[LEFT].proposals = ike(left);
        pair[RIGHT].proposals = ike(right);
        let world = up(World::new(1).peers(pair));
        let further = info(world.left()).suite.additional;
        assert_eq!(further.iter().next().is_some(), expected, "{left:?} {right:?}");
        assert_eq!(further, info(world.right()).suite.additional);
    }
    let mut pair = pair_of(HYBRID, ESP);
    pair[RIGHT].proposals = ike(&[CLASSICAL]);
    let mut world = World::new(1).peers(pair);
    world.run_for(MINUTE);
    let refused = |event: &Event| {
        matches!(event, Event::Refused { reason: CloseReason::IkeProposalMismatch { .. }, .. })
    };
    assert!(world.all_down() && world.right().count(refused) > 0, "{}", world.report());
}

/// The octets of a whole exchange, as a path sees them.
#[test]
fn long_exchanges_come_in_fragments_and_short_ones_do_not() {
    for (words, sizes, fragments) in [
        (HYBRID, FragmentSizes::default(), [2, 1]),
        (HYBRID, FragmentSizes { v4: 576, v6: 1280 }, [3, 3]),
        (HYBRID, FragmentSizes { v4: 1500, v6: 1500 }, [1, 1]),
        ("aes256gcm16-prfsha384-ecp384-ke1_mlkem1024", FragmentSizes::default(), [2, 2]),
    ] {
        let mut pair = pair_of(words, ESP);
        for peer in &mut pair {
            peer.fragmentation = Fragmentation::On(sizes);
        }
        let world = up(World::new(1).peers(pair));
        let sent = datagrams(&world, ExchangeType::IKE_INTERMEDIATE);
        let of = |host: usize| sent.iter().filter(move |sent| sent.host == host);
        assert_eq!([of(LEFT).count(), of(RIGHT).count()], fragments, "{words} {sizes:?}");
        for (host, count) in [LEFT, RIGHT].into_iter().zip(fragments) {
            let cut = of(host).all(|sent| sent.payload[16] == PayloadType::SKF.0);
            assert_eq!(cut, count > 1);
        }
        assert!(sent.iter().all(|sent| size(sent) <= usize::from(sizes.v4)));
    }
}

/// Losses make both sides repeat, and cut anew in the middle of it: both authenticate the same octets all the same.
#[test]
fn every_fault_of_a_path_is_survived() {
    for_each_seed(100, |seed| {
        let link = Link::default().delay_ms(5..80).loss(250).reorder(150).duplicate(100);
        let words = [HYBRID, TWICE, "aes256-sha256-modp2048-ke1_mlkem1024"];
        let words = words[usize::try_from(seed % 3).unwrap()];
        let mut pair = pair_of(words, ESP);
        if seed % 2 == 0 {
            pair[LEFT].fragmentation = Fragmentation::On(FragmentSizes { v4: 1500, v6: 1500 });
        }
        let mut world = World::new(seed).link(link).peers(pair);
        world.run_until(World::both_up, 5 * MINUTE);
        world.set_link(Link::default());
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, 1);
    });
}

/// RFC 7383 §2.5.2: an IKE_INTERMEDIATE that gets no answer is cut for 576 octets; the responder has answered it already and
/// gone on to the next keys, and its answer is cut anew with the old ones.
#[test]
fn an_exchange_that_changed_the_keys_is_repeated_with_the_old_ones() {
    let mut pair = pair_of(HYBRID, ESP);
    for peer in &mut pair {
        peer.fragmentation = Fragmentation::On(FragmentSizes { v4: 1400, v6: 1400 });
    }
    let mut world = World::new(3).peers(pair);
    // The path drops what is long, of the answers alone.
    let right = world.host(RIGHT).address;
    world.attack(move |datagram, _| {
        let long = datagram.payload.len() > 700 && datagram.source.ip() == right;
        if long { Vec::new() } else { vec![datagram] }
    });
    world.run_until(World::both_up, MINUTE);
    world.relent();
    world.run_until_quiet(MINUTE);
    assert_healthy(&world, 1);
    assert_eq!(world.left().count(|event| matches!(event, Event::Connecting { .. })), 1);
}

/// Somebody on the path changes a ciphertext: its ICV says so. What he cannot do either is to take the exchange away.
#[test]
fn a_first_answer_without_the_announcement_is_not_taken() {
    let mut world = World::new(1).peers(pair_of(HYBRID, ESP));
    world.attack(|mut datagram, _| {
        let marker = [41_u8, 0, 0, 8, 0, 0, 0x40, 0x36];
        if datagram.payload.get(18) == Some(&ExchangeType::IKE_SA_INIT.0) {
            let at = datagram.payload.windows(4).position(|four| four == &marker[4..]);
            if let Some(at) = at {
                datagram.payload[at + 3] = 0x35;
                datagram.payload[at + 2] = 0x60;
            }
        }
        vec![datagram]
    });
    world.run_for(MINUTE);
    assert!(world.all_down(), "{}", world.report());
}

#[test]
fn children_and_ike_sas_are_replaced_with_all_their_exchanges() {
    for (words, esp, rounds) in
        [(HYBRID, ESP, (1, 0)), (TWICE, ESP_TWICE, (2, 2)), (CLASSICAL, ESP_HYBRID, (0, 1))]
    {
        for host in [LEFT, RIGHT] {
            let mut world = up(World::new(1).peers(pair_of(words, esp)));
            let before = (child(world.left()).spi_in, info(world.left()).spis);
            rekey_child(&mut world, host);
            world.run_until_quiet(MINUTE);
            assert_healthy(&world, 1);
            let found = requests(&world, host, ExchangeType::IKE_FOLLOWUP_KE);
            assert_eq!(found, rounds.1, "{words} {esp}");
            assert_ne!(child(world.left()).spi_in, before.0);
            let further = child(world.left()).suite.additional;
            assert_eq!(further.iter().count(), rounds.1);
            rekey_ike(&mut world, host);
            world.run_until_quiet(MINUTE);
            assert_healthy(&world, 1);
            assert_ne!(info(world.left()).spis, before.1);
            assert_eq!(info(world.left()).suite.additional.iter().count(), rounds.0);
            let found = requests(&world, host, ExchangeType::IKE_FOLLOWUP_KE);
            assert_eq!(found, rounds.0 + rounds.1, "{words} {esp}");
            rekey_child(&mut world, RIGHT - host);
            world.run_until_quiet(MINUTE);
            assert_healthy(&world, 1);
            assert_no_interruption(&world);
        }
    }
}

/// The old child goes when the new one is there, and not before.
#[test]
fn a_child_is_made_before_the_old_one_is_broken() {
    let mut world = up(World::new(1).peers(pair_of(CLASSICAL, ESP_TWICE)));
    for host in [LEFT, RIGHT, LEFT] {
        rekey_child(&mut world, host);
        world.run_until_quiet(MINUTE);
    }
    for host in [world.left(), world.right()] {
        let mut installed = 0;
        for (_, event) in &host.events {
            match event {
                Event::ChildUp { replaces, .. } => {
                    assert_eq!(replaces.is_some(), installed > 0, "{}", world.report());
                    installed += 1;
                }
                Event::ChildDown { reason, .. } => {
                    assert_eq!(*reason, CloseReason::Rekeyed);
                    installed -= 1;
                }
                _ => {}
            }
            assert!(installed <= 2);
        }
        assert_eq!(installed, 1);
    }
}

fn collide(
    seed: u64,
    pair: [PeerConfig; 2],
    left: fn(&mut World, usize),
    right: fn(&mut World, usize),
) {
    let link = Link::default().delay_ms(5..80).loss(200).reorder(50);
    let mut world = World::new(seed).link(link).peers(pair);
    world.run_until(World::both_up, 3 * MINUTE);
    world.run_until_quiet(10 * MINUTE);
    let before = (child(world.left()).spi_in, info(world.left()).spis);
    left(&mut world, LEFT);
    world.run_for(Duration::from_millis(seed * 7 % 300));
    right(&mut world, RIGHT);
    world.run_for(MINUTE);
    world.run_until_quiet(10 * MINUTE);
    assert_healthy(&world, 1);
    assert_no_interruption(&world);
    let after = (child(world.left()).spi_in, info(world.left()).spis);
    assert!(before.0 != after.0 || before.1 != after.1, "{}", world.report());
    assert_eq!(info(world.left()).spis, info(world.right()).spis, "{}", world.report());
    // What stands works on: nothing is left half done.
    rekey_child(&mut world, RIGHT);
    world.run_until_quiet(10 * MINUTE);
    rekey_ike(&mut world, LEFT);
    world.run_until_quiet(10 * MINUTE);
    assert_healthy(&world, 1);
}

#[test]
fn both_replace_the_child_at_once() {
    for_each_seed(150, |seed| {
        collide(seed, pair_of(CLASSICAL, ESP_TWICE), rekey_child, rekey_child);
    });
}

#[test]
fn both_replace_the_ike_sa_at_once() {
    for_each_seed(150, |seed| collide(seed, pair_of(TWICE, ESP), rekey_ike, rekey_ike));
}

#[test]
fn a_child_and_the_ike_sa_at_once() {
    for_each_seed(150, |seed| collide(seed, pair_of(HYBRID, ESP_HYBRID), rekey_child, rekey_ike));
}

/// One side would have a further exchange, the other would not: each chooses by its own order, so the two exchanges that
/// cross differ.
#[test]
fn exchanges_of_different_lengths_cross() {
    for_each_seed(150, |seed| {
        let mut pair = pair_of(CLASSICAL, ESP);
        let esp = |words: &[&str]| -> Vec<Proposal> {
            words.iter().map(|words| Proposal::esp_from_keywords(words).unwrap()).collect()
        };
        let same = "aes256gcm16-curve25519-noesn";
        pair[LEFT].children[0].proposals = esp(&[ESP_HYBRID, same]);
        pair[RIGHT].children[0].proposals = esp(&[same, ESP_HYBRID]);
        pair[LEFT].proposals = ike(&[HYBRID, CLASSICAL]);
        pair[RIGHT].proposals = ike(&[CLASSICAL, HYBRID]);
        let rekey = if seed % 2 == 0 { rekey_child } else { rekey_ike };
        collide(seed, pair, rekey, rekey);
    });
}

/// The peer is gone for longer than a draft is kept: STATE_NOT_FOUND, and then from the beginning.
#[test]
fn a_draft_is_forgotten_after_a_while_and_the_exchange_begins_anew() {
    for rekey in [rekey_child as fn(&mut World, usize), rekey_ike] {
        let mut world = up(World::new(1).peers(pair_of(TWICE, ESP_TWICE)));
        let before = (child(world.left()).spi_in, info(world.left()).spis);
        world.attack(|datagram, _| {
            let followup = datagram.payload.get(18) == Some(&ExchangeType::IKE_FOLLOWUP_KE.0);
            if followup { Vec::new() } else { vec![datagram] }
        });
        rekey(&mut world, LEFT);
        world.run_for(Duration::from_secs(30));
        assert_eq!(before, (child(world.left()).spi_in, info(world.left()).spis), "still in use");
        world.relent();
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, 1);
        assert_no_interruption(&world);
        assert_ne!(before, (child(world.left()).spi_in, info(world.left()).spis));
    }
}

/// The child that is being replaced is deleted by either side before the last exchange.
#[test]
fn a_delete_in_between_leaves_one_child() {
    for host in [LEFT, RIGHT] {
        for_each_seed(20, |seed| {
            let link = Link::default().delay_ms(20..60);
            let mut pair = pair_of(CLASSICAL, ESP_TWICE);
            pair[RIGHT].start = ikev2::Start::Always;
            let mut world = World::new(seed).link(link).peers(pair);
            world.run_until(World::both_up, MINUTE);
            world.run_until_quiet(MINUTE);
            rekey_child(&mut world, LEFT);
            world.run_for(Duration::from_millis(30 + seed * 11 % 160));
            let old = child(world.host(host)).id;
            world.command(host, |endpoint, now| endpoint.expire_child(now, old)).unwrap();
            world.run_for(MINUTE);
            world.run_until_quiet(10 * MINUTE);
            assert_healthy(&world, 1);
        });
    }
}

#[test]
fn ml_kem_may_be_asked_for_instead_of_another_group() {
    let mut pair = pair_of("aes256gcm16-prfsha256-curve25519-mlkem768", ESP);
    pair[RIGHT].proposals = ike(&["aes256gcm16-prfsha256-mlkem768"]);
    let world = up(World::new(1).peers(pair));
    assert_eq!(info(world.left()).suite.ke, KeMethod::ML_KEM_768);
}
