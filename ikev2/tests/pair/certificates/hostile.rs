//! Peers that claim what they cannot prove (T12, T14, T15 of the threat list), from either side.

use super::*;

#[test]
fn a_method_that_is_not_configured_is_refused() {
    let psk = || Psk::new(b"a key of both".to_vec());
    let [left, right] = certified(&Key::p256(), &Key::p256());
    // A shared key where a certificate is wanted, and the other way round; from the responder too.
    let mut by_key = left.clone();
    by_key.local_auth = LocalAuth::Psk(psk());
    let problem = problem_on_the_right([by_key, right.clone()]);
    assert_eq!(
        problem.to_string(),
        "it authenticates by SHARED_KEY, but a certificate is configured for it"
    );
    let mut wants_key = right.clone();
    wants_key.remote_auth = RemoteAuth::Psk(psk());
    let problem = problem_on_the_right([left.clone(), wants_key]);
    assert!(matches!(problem, AuthProblem::Method { .. }), "{problem}");
    let mut answers_by_key = right;
    answers_by_key.local_auth = LocalAuth::Psk(psk());
    let problem = problem_on_the_left([left, answers_by_key]);
    assert!(matches!(problem, AuthProblem::Method { .. }), "{problem}");
}

/// Somebody with a good certificate of our CA claims to be somebody else.
#[test]
fn a_certificate_proves_its_own_name_alone() {
    let ca = Authority::root("CA of all");
    let [mut left, mut right] = psk_pair();
    left.local_auth = by(credential(&ca, &Key::p256(), "mallory.test"));
    left.remote_auth = believing(trust(&ca.der()));
    right.local_auth = by(credential(&ca, &Key::p256(), "right.test"));
    right.remote_auth = believing(trust(&ca.der()));
    let problem = problem_on_the_right([left.clone(), right.clone()]);
    assert_eq!(
        problem.to_string(),
        "its certificate is not for left.test, but for mallory.test or O=Test, CN=mallory.test"
    );
    // And as a responder.
    left.local_auth = by(credential(&ca, &Key::p256(), "left.test"));
    right.local_auth = by(credential(&ca, &Key::p256(), "mallory.test"));
    let problem = problem_on_the_left([left, right]);
    assert!(matches!(problem, AuthProblem::Identity { .. }), "{problem}");
}

/// The certificate of the real peer, stolen from a capture say, without its key.
#[test]
fn a_certificate_without_its_key_proves_nothing() {
    let [left, mut right] = certified(&Key::p256(), &Key::p256());
    let LocalAuth::Signature(real) = &left.local_auth else { unreachable!() };
    let mut pins = CertificateTrust::default();
    pins.pinned = real.chain().to_vec();
    right.remote_auth = believing(pins);
    let mut thief = left.clone();
    thief.local_auth = by(Credential::raw(&Key::p256().pkcs8).unwrap());
    let problem = problem_on_the_right([thief, right]);
    assert!(matches!(problem, AuthProblem::Signature { .. }), "{problem}");
}

#[test]
fn no_certificate_at_all_is_told() {
    let [mut left, right] = certified(&Key::p256(), &Key::p256());
    left.local_auth = by(Credential::raw(&Key::p256().pkcs8).unwrap());
    let problem = problem_on_the_right([left, right]);
    assert_eq!(problem, AuthProblem::NoCertificate);
}

/// A peer that knows no Identity hash (it is taken out on the way) gets no Ed25519 signature (RFC 8420 §2), on either side.
#[test]
fn what_the_peer_cannot_check_is_not_sent() {
    for (left, right, of_left) in
        [(Key::ed25519(), Key::p256(), true), (Key::p256(), Key::ed25519(), false)]
    {
        let mut world = World::new(1).peers(certified(&left, &right));
        world.attack(|mut datagram, _| {
            let hashes = [0, 2, 0, 3, 0, 4, 0, 5];
            let place = datagram.payload.windows(8).position(|window| window == hashes);
            if let Some(at) = place {
                datagram.payload[at + 7] = 4;
            }
            vec![datagram]
        });
        world.run_for(MINUTE / 4);
        let cannot = |event: &Event| {
            let (Event::Refused { reason, .. } | Event::PeerDown { reason, .. }) = event else {
                return false;
            };
            let CloseReason::CannotSign { key, hashes } = reason else { return false };
            *key == KeyKind::Ed25519 && *hashes == [2, 3, 4]
        };
        let host = if of_left { world.left() } else { world.right() };
        // What was changed on the way changes what is signed: nothing comes up by it either.
        assert!(world.all_down(), "{}", world.report());
        assert!(!of_left || host.count(cannot) > 0, "{}", world.report());
    }
}

/// The answer on the wire does not say what was wrong: one AUTHENTICATION_FAILED for all (T12).
#[test]
fn refusals_look_alike_from_outside() {
    let [left, right] = certified(&Key::p256(), &Key::p256());
    let mut unknown = left.clone();
    unknown.local_id = Some(Identity::Fqdn("nobody.test".into()));
    let mut by_key = left.clone();
    by_key.local_auth = LocalAuth::Psk(Psk::new(b"some key".to_vec()));
    let mut other_ca = left.clone();
    other_ca.local_auth = by(credential(&Authority::root("Other"), &Key::p256(), "left.test"));
    let lengths = [unknown, by_key, other_ca].map(|left| {
        let mut world = World::new(1).peers([left, right.clone()]);
        world.run_for(MINUTE / 4);
        let mut answers = world
            .sent()
            .iter()
            .filter(|sent| header(sent).exchange == ExchangeType::IKE_AUTH && sent.host == RIGHT);
        answers.next().unwrap().payload.len()
    });
    assert!(lengths.iter().all(|len| *len == lengths[0]), "{lengths:?}");
}

/// Two connections with the same identities: one by a shared key, one by certificate.
#[test]
fn connections_of_one_name_are_told_apart_by_what_proves_it() {
    let [left, right] = certified(&Key::p256(), &Key::p256());
    let mut by_key = right.clone();
    by_key.set_psk(Psk::new(b"a key".to_vec()));
    let mut world = World::new(1).peers([left, by_key]);
    let right = world.add_peer(RIGHT, right);
    world.run_until(|world| world.left().is_up(), MINUTE);
    world.assert_mirrored();
    assert!(world.right().up.keys().eq([&right]), "{}", world.report());
}
