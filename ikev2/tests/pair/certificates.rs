//! Peers that prove themselves by signatures (RFC 7296 §2.15, RFC 7427): every kind of key, either side its own way, and each
//! thing that can be wrong with a certificate is refused with its name, and with AUTHENTICATION_FAILED on the wire.
//!
//! ```text
//!   certified(left, right)    psk_pair() with a certificate for left.test and right.test each, and the other's CA as anchor
//!   chains.rs                 certificates that are not good           hostile.rs   peers that are not
//!   clock.rs                  the time of day jumps
//!   quantum.rs                beside further key exchanges and post-quantum keys
//! ```

mod chains;
mod clock;
mod hostile;
mod quantum;

use std::sync::Arc;

use ikev2::pki::{
    AuthProblem, Certificate, CertificateTrust, Credential, KeyKind, PublicKey, RsaPadding,
};
use ikev2::registry::{ExchangeType, PayloadType};
use ikev2::wire::message::Payloads;
use ikev2::{
    CloseReason, Event, Fragmentation, Identity, LocalAuth, PeerConfig, Psk, RemoteAuth, RemoteId,
};
use testkit::link::Link;
use testkit::pki::{Authority, Key, P521, TODAY, self_signed};
use testkit::world::{LEFT, RIGHT, World, for_each_seed, psk_pair};

use crate::{MINUTE, header, up};

fn read(der: &[u8]) -> Certificate {
    Certificate::from_der(der).unwrap()
}

fn trust(ca: &[u8]) -> CertificateTrust {
    let mut trust = CertificateTrust::default();
    trust.anchors = vec![read(ca)];
    trust
}

fn by(credential: Credential) -> LocalAuth {
    LocalAuth::Signature(Arc::new(credential))
}

fn believing(trust: CertificateTrust) -> RemoteAuth {
    RemoteAuth::Certificate(Arc::new(trust))
}

/// A credential of this key, certified by that authority for that name.
fn credential(ca: &Authority, key: &Key, name: &str) -> Credential {
    let certificate = ca.issue(key, name, |_| {});
    Credential::certified(&key.pkcs8, vec![read(&certificate)]).unwrap()
}

/// Left and right with keys of these kinds, certified by a CA of each.
fn certified(left: &Key, right: &Key) -> [PeerConfig; 2] {
    let cas = ["Left CA", "Right CA"].map(Authority::root);
    let [mut one, mut two] = psk_pair();
    one.local_auth = by(credential(&cas[0], left, "left.test"));
    two.local_auth = by(credential(&cas[1], right, "right.test"));
    one.remote_auth = believing(trust(&cas[1].der()));
    two.remote_auth = believing(trust(&cas[0].der()));
    [one, two]
}

/// Why the left host gave up the first time.
fn left_reason(world: &World) -> CloseReason {
    let mut reasons = world.left().events.iter().filter_map(|(_, event)| match event {
        Event::PeerDown { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    reasons.next().unwrap_or_else(|| panic!("{}", world.report()))
}

/// What the right host told about the left one, and the left one only that it was refused.
#[track_caller]
fn problem_on_the_right(peers: [PeerConfig; 2]) -> AuthProblem {
    let mut world = World::new(1).peers(peers);
    world.run_for(2 * MINUTE);
    assert!(world.all_down(), "{}", world.report());
    let child_up = |event: &Event| matches!(event, Event::ChildUp { .. });
    assert_eq!(world.left().count(child_up) + world.right().count(child_up), 0);
    let refused = left_reason(&world);
    assert!(matches!(refused, CloseReason::AuthRefusedByPeer { .. }), "{refused:?}");
    let mut told = world.right().events.iter().filter_map(|(_, event)| match event {
        Event::Refused {
            peer: Some(_), reason: CloseReason::NotProved { problem, .. }, ..
        } => Some((**problem).clone()),
        _ => None,
    });
    told.next().unwrap_or_else(|| panic!("{}", world.report()))
}

/// What the left host told about the right one.
#[track_caller]
fn problem_on_the_left(peers: [PeerConfig; 2]) -> AuthProblem {
    let mut world = World::new(1).peers(peers);
    world.run_for(2 * MINUTE);
    let child_up = |event: &Event| matches!(event, Event::ChildUp { .. });
    assert_eq!(world.left().count(child_up), 0, "{}", world.report());
    match left_reason(&world) {
        CloseReason::NotProved { problem, .. } => *problem,
        other => panic!("{other:?}\n{}", world.report()),
    }
}

/// How the left host and the right one proved themselves, as each is told of itself and of the other.
fn methods(world: &World) -> [&'static str; 2] {
    let left = world.left().up.values().next().unwrap();
    let right = world.right().up.values().next().unwrap();
    assert_eq!((left.local_auth, left.remote_auth), (right.remote_auth, right.local_auth));
    [left.local_auth, right.local_auth]
}

#[test]
fn every_kind_of_key_comes_up_with_every_other() {
    let keys = || [Key::rsa(2048), Key::p256(), Key::p384(), Key::ed25519()];
    for left in keys() {
        for right in keys() {
            let world = up(World::new(1).peers(certified(&left, &right)));
            let name = |key: &Key| match Credential::raw(&key.pkcs8).unwrap().public_key().kind() {
                KeyKind::Rsa { .. } => "RSASSA-PSS with SHA2-256",
                KeyKind::EcdsaP256 => "ECDSA with SHA2-256",
                KeyKind::EcdsaP384 => "ECDSA with SHA2-384",
                KeyKind::Ed25519 => "Ed25519",
                other => panic!("{other}"),
            };
            assert_eq!(methods(&world), [name(&left), name(&right)]);
            let shown = &world.left().up.values().next().unwrap().remote_certificate;
            assert_eq!(shown.as_ref().unwrap().identities()[0], "right.test".parse().unwrap());
        }
    }
}

#[test]
fn longer_rsa_keys_and_p521_come_up() {
    for bits in [3072, 4096] {
        up(World::new(1).peers(certified(&Key::rsa(bits), &Key::p256())));
    }
    let [mut left, mut right] = certified(&Key::p256(), &Key::p256());
    let chain = vec![read(P521::CERTIFICATE)];
    left.local_auth = by(Credential::certified(P521::KEY, chain).unwrap());
    right.remote_auth = believing(trust(P521::CA));
    let world = up(World::new(1).peers([left, right]));
    assert_eq!(methods(&world)[0], "ECDSA with SHA2-512");
}

#[test]
fn rsa_signs_with_the_old_padding_where_that_is_wanted() {
    let [mut left, right] = certified(&Key::rsa(2048), &Key::p256());
    let ca = Authority::root("Another CA");
    let old = credential(&ca, &Key::rsa(2048), "left.test").with_rsa_padding(RsaPadding::Pkcs1);
    left.local_auth = by(old);
    let mut right = right;
    right.remote_auth = believing(trust(&ca.der()));
    let world = up(World::new(1).peers([left, right]));
    assert_eq!(methods(&world)[0], "RSASSA-PKCS1-v1_5 with SHA2-256");
}

/// RFC 7296 §2.15: "There is no requirement that the initiator and responder sign with the same cryptographic algorithms."
#[test]
fn each_side_has_its_own_way() {
    let psk = || Psk::new(b"a key of both".to_vec());
    let [left, right] = certified(&Key::ed25519(), &Key::p384());
    let key = Key::p256();
    let raw = Credential::raw(&key.pkcs8).unwrap();
    let public = raw.public_key().clone();
    let raw = by(raw);
    for (local, remote, name) in [
        (LocalAuth::Psk(psk()), RemoteAuth::Psk(psk()), "PSK"),
        (raw, RemoteAuth::PublicKey(public), "ECDSA with SHA2-256"),
        (left.local_auth.clone(), right.remote_auth.clone(), "Ed25519"),
    ] {
        let (mut one, mut two) = (left.clone(), right.clone());
        one.local_auth = local.clone();
        two.remote_auth = remote.clone();
        let world = up(World::new(1).peers([one, two]));
        assert_eq!(methods(&world), [name, "ECDSA with SHA2-384"]);
        // And with the roles changed.
        let [mut one, mut two] = certified(&Key::ed25519(), &Key::p384());
        let (name_l, name_r) =
            (Identity::Fqdn("left.test".into()), Identity::Fqdn("right.test".into()));
        (one.local_id, two.remote_id) = (Some(name_r.clone()), RemoteId::Exact(name_r));
        (two.local_id, one.remote_id) = (Some(name_l.clone()), RemoteId::Exact(name_l));
        let cas = ["Left CA", "Right CA"].map(Authority::root);
        one.local_auth = by(credential(&cas[0], &Key::p384(), "right.test"));
        two.remote_auth = believing(trust(&cas[0].der()));
        (two.local_auth, one.remote_auth) = (local, remote);
        let world = up(World::new(1).peers([one, two]));
        assert_eq!(methods(&world), ["ECDSA with SHA2-384", name]);
    }
}

#[test]
fn bare_keys_of_every_kind_come_up_and_another_key_does_not() {
    let keys = [Key::rsa(2048).pkcs8, Key::p384().pkcs8, P521::KEY.to_vec(), Key::ed25519().pkcs8];
    for key in keys {
        let [mut left, mut right] = psk_pair();
        let raw = Credential::raw(&key).unwrap();
        let spki = raw.public_key().spki().to_vec();
        right.remote_auth = RemoteAuth::PublicKey(PublicKey::from_spki_der(&spki).unwrap());
        left.local_auth = by(raw);
        let world = up(World::new(1).peers([left.clone(), right.clone()]));
        assert!(world.right().up.values().next().unwrap().remote_certificate.is_none());
        let other = Credential::raw(&Key::p256().pkcs8).unwrap();
        right.remote_auth = RemoteAuth::PublicKey(other.public_key().clone());
        let problem = problem_on_the_right([left, right]);
        let by_kind =
            matches!(problem, AuthProblem::KeyKind { .. } | AuthProblem::Signature { .. });
        assert!(by_kind, "{problem}");
    }
}

/// The subject of the certificate is who we are if nobody says otherwise, and a name in other letters is the same name.
#[test]
fn a_certificate_without_a_name_beside_it_speaks_by_its_subject() {
    let [mut left, mut right] = certified(&Key::p256(), &Key::p256());
    left.local_id = None;
    right.remote_id = RemoteId::Exact("O=TEST, CN=Left.test".parse().unwrap());
    let world = up(World::new(1).peers([left, right]));
    let info = world.right().up.values().next().unwrap();
    assert_eq!(info.remote_id.to_string(), "O=Test, CN=left.test");
}

#[test]
fn addresses_and_mailboxes_are_names_too() {
    use testkit::pki::rcgen::SanType;
    let ca = Authority::root("Left CA");
    let key = Key::p256();
    let names = |params: &mut testkit::pki::rcgen::CertificateParams| {
        params.subject_alt_names = vec![
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
            SanType::Rfc822Name("ops@left.test".try_into().unwrap()),
            SanType::DnsName("left.test".try_into().unwrap()),
            SanType::DnsName("*.left.test".try_into().unwrap()),
        ];
    };
    let certificate = read(&ca.issue(&key, "somebody", names));
    for (name, fits) in [
        ("192.0.2.1", true),
        ("192.0.2.2", false),
        ("2001:db8::1", true),
        ("ops@left.test", true),
        ("LEFT.test", true),
        ("fqdn:192.0.2.1", false),
        ("a.left.test", false),
        ("somebody", false),
        ("CN=somebody", false),
        ("O=Test, CN=somebody", true),
        ("CN=somebody, O=Test", false),
        ("keyid:left.test", false),
    ] {
        let name: Identity = name.parse().unwrap();
        assert_eq!(certificate.covers(&name), fits, "{name}");
        let [mut left, mut right] = certified(&Key::p256(), &Key::p256());
        left.local_auth = by(Credential::certified(&key.pkcs8, vec![certificate.clone()]).unwrap());
        left.local_id = Some(name.clone());
        right.remote_id = RemoteId::Exact(name.clone());
        right.remote_auth = believing(trust(&ca.der()));
        if fits {
            up(World::new(1).peers([left, right]));
        } else {
            let problem = problem_on_the_right([left, right]);
            let AuthProblem::Identity { claimed, certified } = problem else { panic!("{problem}") };
            assert_eq!((claimed, certified.len()), (name, 6));
        }
    }
}

#[test]
fn a_pinned_certificate_needs_no_ca_and_need_not_be_sent() {
    let key = Key::ed25519();
    let pinned = read(&self_signed(&key, "left.test"));
    for sent in [true, false] {
        let [mut left, mut right] = certified(&Key::p256(), &Key::p256());
        let mut pins = CertificateTrust::default();
        pins.pinned = vec![read(&self_signed(&Key::p256(), "left.test")), pinned.clone()];
        right.remote_auth = believing(pins);
        left.local_auth = by(if sent {
            Credential::certified(&key.pkcs8, vec![pinned.clone()]).unwrap()
        } else {
            Credential::raw(&key.pkcs8).unwrap()
        });
        let world = up(World::new(1).peers([left.clone(), right.clone()]));
        let info = world.right().up.values().next().unwrap();
        assert_eq!(info.remote_certificate.as_ref(), Some(&pinned));
        // A certificate of the same name with another key is not the pinned one.
        let other = Key::p256();
        let certificate = read(&self_signed(&other, "left.test"));
        left.local_auth = by(Credential::certified(&other.pkcs8, vec![certificate]).unwrap());
        let problem = problem_on_the_right([left, right]);
        assert!(matches!(problem, AuthProblem::UnknownIssuer { .. }), "{problem}");
    }
}

/// A chain of RSA-4096 is five kilobytes; it goes in fragments (RFC 7383), over lossy links too.
#[test]
fn a_long_chain_goes_in_fragments() {
    let root = Authority::root_with("Root", Key::rsa(4096));
    let middle = root.under("Middle", |_| {});
    let key = Key::rsa(4096);
    let chain = [middle.issue(&key, "left.test", |_| {}), middle.der(), root.der()];
    let chain = chain.iter().map(|der| read(der)).collect();
    let [mut left, mut right] = certified(&Key::p256(), &Key::p256());
    left.local_auth = by(Credential::certified(&key.pkcs8, chain).unwrap());
    right.remote_auth = believing(trust(&root.der()));
    for_each_seed(20, |seed| {
        let peers = [left.clone(), right.clone()];
        let link = Link::default().loss(if seed == 0 { 0 } else { 100 });
        let world = up(World::new(seed).link(link).peers(peers));
        let auth = |sent: &&testkit::world::Sent| {
            header(sent).exchange == ExchangeType::IKE_AUTH && sent.host == LEFT
        };
        assert!(world.sent().iter().filter(auth).count() >= 4, "several fragments");
        assert!(world.sent().iter().all(|sent| sent.payload.len() <= 1252), "none too long");
    });
    left.fragmentation = Fragmentation::Off;
    up(World::new(1).link(Link::default().mtu(65_535)).peers([left, right]));
}

/// RFC 7296 §3.7: hashes of the CAs in IKE_SA_INIT, but nothing for peers with a shared key.
#[test]
fn certificates_are_asked_for_where_they_count() {
    let asked = |peers: [PeerConfig; 2]| {
        let world = up(World::new(1).peers(peers));
        let answer = world.sent().iter().find(|sent| sent.host == RIGHT).unwrap();
        let first = header(answer).next_payload;
        let requests = Payloads::new(first, &answer.payload[28..]).map(Result::unwrap);
        let requests = requests.filter(|payload| payload.kind == PayloadType::CERTREQ);
        requests.map(|payload| payload.body.to_vec()).collect::<Vec<_>>()
    };
    assert!(asked(psk_pair()).is_empty());
    let requests = asked(certified(&Key::p256(), &Key::p256()));
    assert_eq!((requests.len(), requests[0].len(), requests[0][0]), (1, 21, 4));
    let [mut left, mut right] = psk_pair();
    let raw = Credential::raw(&Key::p256().pkcs8).unwrap();
    right.remote_auth = RemoteAuth::PublicKey(raw.public_key().clone());
    left.local_auth = by(raw);
    assert_eq!(asked([left, right]), [[15]]);
}

#[test]
fn without_a_clock_no_certificate_is_valid() {
    let [left, right] = certified(&Key::p256(), &Key::p256());
    let mut world = World::new(1).peers([left, right.clone()]);
    // Whoever is started like this is not told the time.
    world.restart_from(RIGHT, vec![right], [7; 32]);
    world.run_for(MINUTE / 2);
    let no_clock = |event: &Event| {
        let Event::Refused { reason: CloseReason::NotProved { problem, .. }, .. } = event else {
            return false;
        };
        matches!(**problem, AuthProblem::NoClock)
    };
    assert!(world.right().count(no_clock) > 0, "{}", world.report());
    // Told the time, it lets the peer in.
    world.command(RIGHT, |endpoint, now| endpoint.set_wall_clock(now, TODAY));
    world.run_until(World::both_up, 5 * MINUTE);
}
