//! Signatures beside further key exchanges (RFC 9370), which end what is signed, and beside post-quantum pre-shared keys
//! (RFC 8784), with which an initiator that does not insist signs twice: once for a responder that has the key, once for
//! one that has not.

use ikev2::{CloseReason, Event, PeerConfig, Ppk, PpkId, PpkMix, PpkProblem, Proposal, Psk};
use testkit::pki::Key;
use testkit::world::{LEFT, RIGHT, World};

use super::{certified, methods};
use crate::{MINUTE, assert_healthy, up};

fn hybrid() -> [PeerConfig; 2] {
    let words = "aes256gcm16-prfsha256-curve25519-ke1_mlkem768";
    certified(&Key::p256(), &Key::ed25519()).map(|mut peer| {
        peer.proposals = vec![Proposal::ike_from_keywords(words).unwrap()];
        peer
    })
}

#[expect(clippy::unnecessary_wraps, reason = "what a configuration holds")]
fn ppk(name: &str, key: u8, required: bool) -> Option<Ppk> {
    Some(Ppk {
        mix: PpkMix::Auth,
        ..Ppk::new(PpkId::fixed(name), Psk::new(vec![key; 32]), required)
    })
}

fn with(left: Option<Ppk>, right: Option<Ppk>) -> [PeerConfig; 2] {
    let mut pair = hybrid();
    pair[LEFT].ppk = left;
    pair[RIGHT].ppk = right;
    pair
}

#[test]
fn signatures_go_with_further_key_exchanges() {
    let world = up(World::new(1).peers(hybrid()));
    assert_healthy(&world, 1);
    assert_eq!(methods(&world), ["ECDSA with SHA2-256", "Ed25519"]);
    for host in [world.left(), world.right()] {
        let suite = host.up.values().next().unwrap().suite;
        assert!(!suite.additional.is_empty(), "{suite}");
    }
}

#[test]
fn signatures_go_with_a_post_quantum_key_and_without_it() {
    let name = || Some(PpkId::fixed("a"));
    for (left, right, used) in [
        (ppk("a", 1, true), ppk("a", 1, true), name()),
        (ppk("a", 1, false), ppk("a", 1, true), name()),
        (ppk("a", 1, false), ppk("b", 1, false), None),
        (ppk("a", 1, false), None, None),
        (None, ppk("a", 1, false), None),
    ] {
        let world = up(World::new(1).peers(with(left, right)));
        assert_healthy(&world, 1);
        assert_eq!(methods(&world), ["ECDSA with SHA2-256", "Ed25519"]);
        for host in [world.left(), world.right()] {
            assert_eq!(host.up.values().next().unwrap().ppk, used);
        }
    }
}

/// A signature that fits without the key and not with it is the fault of the key, and not of the certificate.
#[test]
fn another_post_quantum_key_is_told_apart_from_a_bad_signature() {
    for (required, expected) in [
        (false, PpkProblem::Differs(PpkId::fixed("a"))),
        (true, PpkProblem::DiffersOrOther(PpkId::fixed("a"))),
    ] {
        let mut world = World::new(1).peers(with(ppk("a", 1, required), ppk("a", 2, required)));
        world.run_for(MINUTE);
        assert!(world.all_down(), "{}", world.report());
        let told = world.right().events.iter().find_map(|(_, event)| match event {
            Event::Refused { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        assert_eq!(told, Some(CloseReason::Ppk(expected)));
    }
}
