//! What RFC 7296 demands of every message, whatever it is about: header fields, who answers what, how often. Cited by
//! `docs/conformance.md`.

use ikev2::registry::ExchangeType;
use ikev2::wire::header::IkeSpi;
use testkit::world::{LEFT, RIGHT, World, psk_pair};

use crate::{MINUTE, assert_healthy, header, up};

/// A world in which either side made an IKE SA and asked for everything there is.
fn talkative() -> World {
    let mut world = up(World::new(1).peers(psk_pair()));
    for host in [RIGHT, LEFT, RIGHT] {
        let child = world.host(host).children().next().unwrap().id;
        world.command(host, |endpoint, now| endpoint.rekey_child(now, child)).unwrap();
        world.run_until_quiet(MINUTE);
        let peer = world.host(host).peers[0];
        world.command(host, |endpoint, now| endpoint.rekey_ike(now, peer)).unwrap();
        world.run_until_quiet(MINUTE);
    }
    world.run_for(MINUTE);
    assert_healthy(&world, 1);
    world
}

/// RFC 7296 §3.1.
#[test]
fn every_header_is_as_the_rfc_wants_it() {
    let world = talkative();
    // Who made each SA, by its SPIs: whoever sent the first request in it, and after a rekey whoever asked for that.
    let mut seen = Vec::new();
    for sent in world.sent() {
        let header = header(sent);
        assert_eq!(header.version, 0x20);
        assert_eq!(sent.payload[19] & !0x28, 0, "no flag but I and R");
        assert_ne!(header.spi_i, IkeSpi::ZERO);
        let first = header.exchange == ExchangeType::IKE_SA_INIT && !header.flags.response;
        assert_eq!(header.spi_r == IkeSpi::ZERO, first, "{header:?}");
        seen.push((header, sent.host));
    }
    for (header, host) in &seen {
        let same_sa = seen.iter().filter(|(other, _)| other.spi_r == header.spi_r);
        for (other, other_host) in same_sa {
            let same_side = host == other_host;
            assert_eq!(header.flags.initiator == other.flags.initiator, same_side, "{header:?}");
        }
        if header.flags.response {
            let asked = |(request, from): &&(ikev2::wire::header::Header, usize)| {
                !request.flags.response
                    && from != host
                    && request.spi_i == header.spi_i
                    && request.exchange == header.exchange
                    && request.message_id == header.message_id
            };
            assert!(seen.iter().find(asked).is_some(), "an answer to nothing: {header:?}");
        }
    }
    let made_by =
        |host: usize| seen.iter().any(|(header, sender)| *sender == host && header.flags.initiator);
    assert!(made_by(LEFT) && made_by(RIGHT), "both were original initiators");
}

/// RFC 7296 §3.1: nobody answers an answer.
#[test]
fn no_answer_is_answered() {
    let mut world = talkative();
    let answers: Vec<_> = world
        .sent()
        .iter()
        .filter(|sent| header(sent).flags.response)
        .map(|sent| (sent.host, sent.payload.clone()))
        .collect();
    let before = world.sent().len();
    for (sender, payload) in answers {
        for receiver in [LEFT, RIGHT] {
            let source = std::net::SocketAddr::new(world.host(sender).address, 4500);
            let _dropped = world.inject(receiver, source, 4500, &payload);
        }
    }
    assert_eq!(world.sent().len(), before);
}

/// RFC 7296 §2.2, §2.18: requests are counted from 0 in either direction of an SA, without a gap.
#[test]
fn message_ids_are_counted_from_zero_without_a_gap() {
    let world = talkative();
    let mut next = std::collections::BTreeMap::new();
    let mut sas = 0;
    for sent in world.sent().iter().filter(|sent| !header(sent).flags.response) {
        let header = header(sent);
        if header.exchange == ExchangeType::IKE_SA_INIT {
            continue;
        }
        let first = u32::from(header.exchange == ExchangeType::IKE_AUTH);
        let expected = next.entry((header.spi_i, sent.host)).or_insert_with(|| {
            sas += 1;
            first
        });
        assert_eq!(header.message_id.0, *expected, "{header:?}");
        *expected += 1;
    }
    assert!(sas >= 4, "three rekeys made three more SAs");
}

/// RFC 7296 §2.4: the gaps between repetitions double, up to the four seconds that we allow ourselves.
#[test]
fn the_gaps_between_repetitions_double() {
    let mut world = World::new(1);
    world.cut(true);
    let mut world = world.peers(psk_pair());
    world.run_for(MINUTE / 5);
    let times: Vec<_> = world.sent().iter().map(|sent| sent.at.as_secs_f64()).collect();
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let expected = [0.5, 1.0, 2.0, 4.0];
    assert!(gaps.len() >= expected.len(), "{gaps:?}");
    for (gap, expected) in gaps.iter().zip(expected) {
        assert!((gap / expected - 1.0).abs() <= 0.11, "{gaps:?}");
    }
}
