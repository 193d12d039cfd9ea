//! The initial exchanges (RFC 7296 §1.2) and the children that follow (§1.3.1).

use std::time::Duration;

use ikev2::registry::{EncrId, ExchangeType, IntegId, KeMethod, PrfId};
use ikev2::{Dpd, DpdAction, Event, Identity, IkeSaInfo, Lifetime, Start, TrafficSelector};
use testkit::link::Link;
use testkit::world::{
    Host, LEFT, RIGHT, World, child_of, for_each_seed, pair_of, psk_pair, subnet,
};

use crate::{MINUTE, assert_healthy, header, up};

#[test]
fn two_messages_each_and_both_are_up() {
    let mut world = World::new(1).peers(psk_pair());
    world.run_until(World::both_up, MINUTE);
    world.assert_mirrored();
    let exchanges: Vec<_> = world
        .sent()
        .iter()
        .map(header)
        .map(|header| (header.exchange, header.flags.response, header.message_id.0))
        .collect();
    assert_eq!(
        exchanges,
        [
            (ExchangeType::IKE_SA_INIT, false, 0),
            (ExchangeType::IKE_SA_INIT, true, 0),
            (ExchangeType::IKE_AUTH, false, 1),
            (ExchangeType::IKE_AUTH, true, 1),
        ]
    );
    let (left, right) = (world.left(), world.right());
    let (mine, theirs) = (left.up.values().next().unwrap(), right.up.values().next().unwrap());
    assert!(mine.initiator && !theirs.initiator);
    assert_eq!(mine.local_id, Identity::Fqdn("left.test".into()));
    assert_eq!(mine.remote_id, theirs.local_id);
    assert_eq!(mine.local_id, theirs.remote_id);
    assert_eq!((mine.spis, mine.suite), (theirs.spis, theirs.suite));
    let child = left.children().next().unwrap();
    assert_eq!((&*child.local_ts, &*child.remote_ts), (&[subnet(1)][..], &[subnet(2)][..]));
}

#[test]
fn every_suite_makes_equal_keys() {
    let ciphers = [
        ("aes128gcm16-prfsha256", EncrId::AES_GCM_16, 128, PrfId::HMAC_SHA2_256, None),
        ("aes192gcm16-prfsha384", EncrId::AES_GCM_16, 192, PrfId::HMAC_SHA2_384, None),
        ("aes256gcm16-prfsha512", EncrId::AES_GCM_16, 256, PrfId::HMAC_SHA2_512, None),
        (
            "aes128-sha256",
            EncrId::AES_CBC,
            128,
            PrfId::HMAC_SHA2_256,
            Some(IntegId::HMAC_SHA2_256_128),
        ),
        (
            "aes192-sha384",
            EncrId::AES_CBC,
            192,
            PrfId::HMAC_SHA2_384,
            Some(IntegId::HMAC_SHA2_384_192),
        ),
        (
            "aes256-sha512",
            EncrId::AES_CBC,
            256,
            PrfId::HMAC_SHA2_512,
            Some(IntegId::HMAC_SHA2_512_256),
        ),
    ];
    let groups = [
        ("modp2048", KeMethod::MODP_2048),
        ("modp3072", KeMethod::MODP_3072),
        ("modp4096", KeMethod::MODP_4096),
        ("ecp256", KeMethod::ECP_256),
        ("ecp384", KeMethod::ECP_384),
        ("curve25519", KeMethod::CURVE25519),
    ];
    for (position, (words, encr, key_bits, prf, integ)) in ciphers.into_iter().enumerate() {
        for (offset, (group, ke)) in groups.into_iter().enumerate() {
            // Every cipher and every group, and both of them once with ESP of either kind.
            if offset != position && group != "curve25519" && words != "aes256gcm16-prfsha512" {
                continue;
            }
            let esp = if integ.is_some() { words.to_string() } else { words[..11].to_string() };
            let mut world = World::new(1).peers(pair_of(&format!("{words}-{group}"), &esp));
            world.run_until(World::both_up, MINUTE);
            world.assert_mirrored();
            let suite = world.left().up.values().next().unwrap().suite;
            assert_eq!(
                (suite.encr, suite.key_bits, suite.prf, suite.integ, suite.ke),
                (encr, key_bits, prf, integ, ke),
                "{words}-{group}"
            );
            let child = world.left().children().next().unwrap();
            assert_eq!((child.suite.encr, child.suite.integ), (encr, integ));
            assert!(child.suite.esn, "{esp} offers both and prefers ESN");
            let salt = if encr == EncrId::AES_GCM_16 { 4 } else { 0 };
            assert_eq!(child.keys_in.encr.len(), usize::from(key_bits / 8) + salt);
        }
    }
}

/// The suites that are asked for less: what counts is that both ends make the same keys of them, and again on a rekey.
#[test]
fn every_other_suite_makes_equal_keys() {
    for (ike, esp, name) in [
        ("chacha20poly1305-prfsha256-ecp521", "chacha20poly1305-ecp521", "CHACHA20_POLY1305/PRF"),
        ("aes128ccm8-prfaesxcbc-modp6144", "aes128ccm8", "AES_CCM_8_128/PRF_AES128_XCBC/"),
        ("aes192ccm12-prfaescmac-curve25519", "aes192ccm12", "AES_CCM_12_192/PRF_AES128_CMAC/"),
        ("aes256ccm16-prfsha512-curve25519", "aes256ccm16", "AES_CCM_16_256/"),
        ("aes256gcm8-prfsha1-curve25519", "aes256gcm8", "AES_GCM_8_256/PRF_HMAC_SHA1/"),
        ("aes128gcm12-prfsha384-curve25519", "aes128gcm12", "AES_GCM_12_128/"),
        ("aes128ctr-aesxcbc-curve25519", "aes128ctr-aesxcbc", "AES_CTR_128/AES_XCBC_96/PRF_AES"),
        ("aes256ctr-aescmac-curve25519", "aes256ctr-aescmac", "AES_CTR_256/AES_CMAC_96/PRF_AES"),
        ("3des-sha1-modp1024", "3des-sha1-modp1536", "TRIPLE_DES/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP"),
        ("aes256gcm16-prfsha256-curve25519", "null-sha256", "AES_GCM_16_256/"),
        ("aes256gcm16-prfsha256-curve25519", "aes128gmac", "AES_GCM_16_256/"),
        ("aes256gcm16-prfsha256-curve25519", "aes256gcm16iiv", "AES_GCM_16_256/"),
    ] {
        let mut world = World::new(1).peers(pair_of(ike, esp));
        world.run_until(World::both_up, MINUTE);
        world.assert_mirrored();
        let suite = world.left().up.values().next().unwrap().suite.to_string();
        assert!(suite.starts_with(name), "{suite}");
        let before = world.left().children().next().unwrap();
        let (child, first) = (before.id, before.suite);
        let peer = world.host(RIGHT).peers[0];
        world.command(LEFT, |endpoint, now| endpoint.rekey_child(now, child)).unwrap();
        world.run_for(MINUTE);
        world.command(RIGHT, |endpoint, now| endpoint.rekey_ike(now, peer)).unwrap();
        world.run_for(MINUTE);
        world.assert_mirrored();
        let after = world.left().children().next().unwrap();
        assert_ne!(after.id, child, "{esp}: rekeyed");
        assert_eq!((after.suite.encr, after.suite.integ), (first.encr, first.integ), "{esp}");
        assert_eq!(world.left().up.values().next().unwrap().suite.to_string(), suite);
    }
}

#[test]
fn several_children_come_up_one_after_the_other() {
    for_each_seed(10, |seed| {
        let [mut left, mut right] = psk_pair();
        for number in 3..7 {
            let name = format!("net{number}");
            left.children.push(child_of(&name, 1, number, "aes256gcm16-noesn"));
            right.children.push(child_of(&name, number, 1, "aes256gcm16-noesn"));
        }
        let mut world = World::new(seed).link(Link::default().delay_ms(1..80)).peers([left, right]);
        world.run_until(World::both_up, MINUTE);
        world.run_until_quiet(MINUTE);
        assert_eq!(world.left().child_count(), 5);
        world.assert_mirrored();
        let mut configs: Vec<_> = world.right().children().map(|child| child.config).collect();
        configs.sort_unstable();
        assert_eq!(
            configs,
            [0, 1, 2, 3, 4],
            "each child of the responder belongs to its own entry"
        );
    });
}

#[test]
fn both_may_begin_at_once() {
    for_each_seed(100, |seed| {
        let [left, mut right] = psk_pair();
        right.start = Start::Always;
        let link = Link::default().delay_ms(5..60).loss(50);
        let mut world = World::new(seed).link(link).peers([left, right]);
        world.run_until(World::both_up, MINUTE);
        world.run_until_quiet(5 * MINUTE);
        assert_healthy(&world, 1);
        let before = world.sent().len();
        world.run_for(MINUTE);
        let mut spis: Vec<_> =
            world.sent()[before..].iter().map(|sent| header(sent).spi_i).collect();
        assert!(spis.len() >= 4, "both ask whether the other lives");
        spis.dedup();
        assert_eq!(spis.len(), 1, "one IKE SA is left\n{}", world.report());
    });
}

#[test]
fn selectors_are_narrowed_to_what_both_want() {
    let [mut left, right] = psk_pair();
    left.children[0].remote = vec![TrafficSelector::any_v4()];
    let mut world = World::new(1).peers([left, right]);
    world.run_until(World::both_up, MINUTE);
    world.assert_mirrored();
    assert_eq!(world.left().children().next().unwrap().remote_ts, [subnet(2)]);
}

#[test]
fn the_same_seed_gives_the_same_octets() {
    let run = || {
        let link = Link::default().loss(200).delay_ms(1..100);
        let mut world = World::new(5).link(link).peers(psk_pair());
        world.run_until(World::both_up, MINUTE);
        world.sent().iter().map(|sent| (sent.at, sent.payload.clone())).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn a_peer_that_is_wanted_on_demand_waits_for_the_demand() {
    let [mut left, right] = psk_pair();
    left.start = Start::OnDemand;
    let mut world = World::new(1).peers([left, right]);
    world.run_for(5 * MINUTE);
    assert!(world.sent().is_empty());
    let peer = world.left().peers[0];
    world.command(LEFT, |endpoint, now| endpoint.connect(now, peer)).unwrap();
    world.run_until(World::both_up, MINUTE);
    let connecting = |event: &Event| matches!(event, Event::Connecting { .. });
    assert_eq!(world.left().count(connecting), 1);
}

/// "Never" may be written as the longest duration there is.
#[test]
fn durations_without_end_do_not_overflow_the_clock() {
    let endless = || {
        psk_pair().map(|mut peer| {
            peer.lifetime = Lifetime::of(Duration::MAX);
            peer.children[0].lifetime = Lifetime::of(Duration::MAX);
            let action = DpdAction::Restart;
            peer.dpd = Some(Dpd { interval: Duration::MAX, timeout: Duration::MAX, action });
            peer
        })
    };
    let mut world = up(World::new(1).peers(endless()));
    world.run_for(MINUTE);
    assert_healthy(&world, 1);
}

/// From the first event on, and after a rekey.
#[test]
fn what_both_can_do_beyond_the_standard_is_told() {
    let [left, mut right] = psk_pair();
    right.start = Start::RespondOnly;
    let mut world = up(World::new(1).peers([left, right]));
    let facts = |info: &IkeSaInfo| (info.mobike, info.message_id_sync, info.redirect);
    let all = |host: &Host| host.up.values().map(facts).collect::<Vec<_>>();
    assert_eq!(
        all(world.left()),
        [(true, true, false)],
        "who calls is redirected, and redirects nobody"
    );
    assert_eq!(all(world.right()), [(true, true, true)]);
    let peer = world.left().peers[0];
    world.command(LEFT, |endpoint, now| endpoint.rekey_ike(now, peer)).unwrap();
    world.run_for(MINUTE);
    assert_eq!(all(world.left()), [(true, true, false)]);
    assert_eq!(all(world.right()), [(true, true, true)]);
}
