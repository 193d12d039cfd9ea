//! What somebody who is not known can make us do and keep, counted in steps and octets (RFC 7296 §2.6, RFC 8019 §4).
//!
//! ```text
//!   one datagram ─► proposals compared, key exchanges, signatures verified, answers          `effort`, `Crowd`
//!   an identity that nobody has, or the wrong key ─► the same steps and the same answer
//! ```

use testkit::measured::measured;
use testkit::pki::{Authority, Key, TODAY};

use super::crowd::{Crowd, HUB};
use super::flood::{Forger, cookie_in, demanding, with_cookie};
use super::letter::rebuilt;
use super::*;
use crate::config::{LocalAuth, Ppk, PpkMix, RemoteAuth};
use crate::effort;
use crate::pki::{Certificate, CertificateTrust, Credential};
use crate::wire::ppk::PpkId;

fn home() -> SocketAddr {
    "198.51.100.7:500".parse().unwrap()
}

/// T01: the request is kept for AUTH, so its length is part of what a stranger costs.
#[test]
fn a_request_that_is_longer_than_any_honest_one_is_not_kept() {
    let mut forger = Forger::new();
    for (len, taken) in [(0, true), (1000, true), (7000, true), (9000, false), (60_000, false)] {
        let mut crowd = Crowd::new(EndpointConfig::default());
        let request = rebuilt(&forger.request(), |payloads| {
            payloads.push((PayloadType::VENDOR_ID, 0, vec![7; len]));
        });
        crowd.say(home(), &request);
        assert_eq!(crowd.hub.sas.len() == 1, taken, "{len}");
        assert_eq!(crowd.hub.shared.key_exchanges == 1, taken, "{len}");
    }
}

/// RFC 768: port 0 is none, and nobody there hears an answer. None is made, so that none fails to be sent.
#[test]
fn who_has_no_port_is_not_answered() {
    let mut forger = Forger::new();
    for (port, taken) in [(0, false), (1, true)] {
        let mut crowd = Crowd::new(EndpointConfig::default());
        let from = SocketAddr::new(home().ip(), port);
        let newer = Header { version: 0x30, ..Header::parse(&forger.request()).unwrap() };
        crowd.say(from, &message(newer, &Chain::new()));
        assert_eq!(crowd.received.is_empty(), !taken, "port {port}");
        crowd.say(from, &forger.request());
        assert_eq!(crowd.hub.sas.len() == 1, taken, "port {port}");
    }
}

/// T43: a request that is repeated for ever is answered as often as an honest initiator would ask, whatever the answer weighs.
#[test]
fn a_repeated_request_is_not_answered_for_ever() {
    let mut crowd = Crowd::new(EndpointConfig::default());
    let mut anybody = config(B);
    anybody.paths.clear();
    anybody.any_address = true;
    let mut trust = CertificateTrust::default();
    for number in 0..64 {
        let ca = Authority::root(&format!("CA {number}"));
        trust.anchors.push(Certificate::from_der(&ca.der()).unwrap());
    }
    anybody.remote_auth = RemoteAuth::Certificate(Arc::new(trust));
    crowd.hub.add_peer(crowd.now, anybody);
    let mut forger = Forger::new();
    let requests: Vec<_> = (0..10).map(|_| forger.request()).collect();
    let mut answers = 0;
    for round in 0..2000 {
        crowd.say(home(), &requests[round % 10]);
        answers += crowd.received.len();
        crowd.run_for(Duration::from_millis(1));
    }
    assert!((100..=300).contains(&answers), "{answers}");
    let ratio = crowd.amplification();
    measured(
        "T43",
        "octets out for octets in, a request repeated 200 times",
        format!("{ratio:.2}"),
        "<= 1.2",
    );
    assert!(ratio <= 1.2, "{} for {}", crowd.said, crowd.heard);
}

/// RFC 8019 §4.2: whoever receives at its address, and so has a cookie, may still not have us compute for nothing.
#[test]
fn bad_public_values_with_a_cookie_are_bounded_for_each_network() {
    let mut crowd = Crowd::new(demanding(0));
    let mut forger = Forger::new();
    for _ in 0..3000 {
        let request = forger.request();
        crowd.say(home(), &request);
        let Some(cookie) = crowd.received.first().and_then(|answer| cookie_in(answer)) else {
            continue;
        };
        let low_order = rebuilt(&with_cookie(&request, &cookie), |payloads| {
            for (kind, _, body) in payloads {
                if *kind == PayloadType::KE {
                    body[4..].fill(0);
                }
            }
        });
        crowd.say(home(), &low_order);
        crowd.run_for(Duration::from_micros(500));
    }
    let made = crowd.hub.shared.key_exchanges;
    measured("T01", "key exchanges for 3000 bad public values with a cookie", made, "<= 100");
    assert!((10..=100).contains(&made), "{made}");
    assert_eq!(crowd.hub.sas.len(), 0);
    // Other networks do not pay for it, and this one no longer than the attack lasts.
    crowd.add_spoke(false);
    crowd.run_until_up(1, Duration::from_secs(1));
    crowd.run_for(Duration::from_secs(30));
    let request = forger.request();
    crowd.say(home(), &request);
    let cookie = cookie_in(&crowd.received[0]).unwrap();
    assert_eq!(crowd.say(home(), &with_cookie(&request, &cookie)), Disposition::Accepted);
}

/// T08: as many proposals as a datagram holds, none of which will do, held against a thousand peers that may be anywhere.
#[test]
fn proposals_are_compared_once_for_all_peers_that_have_the_same() {
    let mut hub = Endpoint::new(EndpointConfig::default(), [1; 32]);
    let mut pair = Pair::empty();
    for number in 0..1000 {
        let mut anybody = config(B);
        anybody.paths.clear();
        anybody.any_address = true;
        anybody.remote_id = RemoteId::Exact(Identity::Fqdn(format!("spoke{number}.test")));
        hub.add_peer(pair.now, anybody);
    }
    pair.ends[B] = hub;
    let mut forger = Forger::new();
    for count in [255, 900, 7000usize] {
        let request = rebuilt(&forger.request(), |payloads| {
            // Empty proposals of the protocol IKE, eight octets each.
            let one = |number: usize| [if number < count { 2 } else { 0 }, 0, 0, 8, 1, 1, 0, 0];
            payloads[0].2 = (1..=count).flat_map(one).collect();
        });
        effort::forget();
        let path = Path { local: HUB.parse().unwrap(), remote: home() };
        let _refused = pair.ends[B].handle_datagram(pair.now, path, &mut request.clone());
        let compared = effort::done("proposals compared");
        measured(
            "T08",
            &format!("proposals compared for {count} of theirs, 1000 peers"),
            compared,
            "<= 255",
        );
        assert!(compared <= 255, "{compared} for {count}");
    }
}

/// What a responder does for an IKE_AUTH request: keys tried, chains built, signatures verified; and its answer's length.
type Work = (usize, usize, usize, usize);

fn work(mut caller: PeerConfig, hub: &[PeerConfig]) -> Work {
    let mut pair = Pair::empty();
    caller.start = Start::Always;
    for end in [A, B] {
        pair.ends[end].set_wall_clock(pair.now, TODAY);
    }
    for peer in hub {
        pair.ends[B].add_peer(pair.now, peer.clone());
    }
    pair.ends[A].add_peer(pair.now, caller);
    pair.drain();
    pair.pass();
    pair.pass();
    effort::forget();
    let auth: Vec<_> = pair.wire.drain(..).collect();
    for (from, datagram) in auth {
        pair.deliver(from, &datagram.payload);
    }
    let (_, answer) = pair.wire.front().expect("a refusal");
    assert!(pair.ends[B].children.is_empty());
    let done = effort::done;
    (done("keys tried"), done("chains built"), done("signatures verified"), answer.payload.len())
}

/// T12: nobody learns from our time or our answer which identities are configured.
#[test]
fn an_unknown_identity_costs_what_a_wrong_key_costs() {
    let mut wrong_key = config(A);
    wrong_key.set_psk(Psk::new(b"another secret".to_vec()));
    let mut unknown = config(A);
    unknown.local_id = Some(Identity::Fqdn("nobody.test".into()));
    let hub = [config(B)];
    let (known, nobody) = (work(wrong_key, &hub), work(unknown, &hub));
    assert_eq!(known, (1, 0, 0, nobody.3));
    measured(
        "T12",
        "keys tried for an unknown identity and for a wrong key",
        format!("{} and {}", nobody.0, known.0),
        "equal",
    );
    assert_eq!(known, nobody);
}

fn certified(ca: &Authority, name: &str) -> LocalAuth {
    let key = Key::p256();
    let leaf = Certificate::from_der(&ca.issue(&key, name, |_| {})).unwrap();
    LocalAuth::Signature(Arc::new(Credential::certified(&key.pkcs8, vec![leaf]).unwrap()))
}

fn trusting(ca: &Authority) -> RemoteAuth {
    let anchors = vec![Certificate::from_der(&ca.der()).unwrap()];
    RemoteAuth::Certificate(Arc::new(CertificateTrust { anchors, ..CertificateTrust::default() }))
}

/// The same for those that show a certificate which says the name that they claim, of a CA that is not ours.
#[test]
fn an_unknown_name_in_a_certificate_costs_what_a_known_one_costs() {
    let (ours, other) = (Authority::root("Ours"), Authority::root("Other"));
    let mut hub = config(B);
    hub.remote_auth = trusting(&ours);
    let caller = |name: &str| {
        let mut caller = config(A);
        caller.local_id = Some(Identity::Fqdn(name.into()));
        caller.local_auth = certified(&other, name);
        caller
    };
    let (known, nobody) =
        (work(caller("a.test"), &[hub.clone()]), work(caller("nobody.test"), &[hub]));
    assert_eq!(known, (0, 1, 0, nobody.3));
    assert_eq!(known, nobody);
}

/// RFC 8784: AUTH comes with and without the post-quantum key, and either is a signature. However many configurations have
/// the name, so many signatures are verified and no more.
#[test]
fn signatures_with_and_without_a_post_quantum_key_count_alike() {
    let ca = Authority::root("CA");
    let ppk = |key: u8| {
        let key = Psk::new(vec![key; 32]);
        Some(Ppk { mix: PpkMix::Auth, ..Ppk::new(PpkId::fixed("p"), key, false) })
    };
    let hub: Vec<_> = (0..20)
        .map(|number| {
            let mut peer = config(B);
            peer.remote_auth = trusting(&ca);
            peer.ppk = ppk(number);
            peer
        })
        .collect();
    let mut caller = config(A);
    caller.local_auth = certified(&ca, "a.test");
    caller.ppk = ppk(99);
    let (_, chains, signatures, _) = work(caller, &hub);
    measured("T15", "signatures verified for one IKE_AUTH", signatures, "<= 8");
    assert!(signatures <= 8 && chains <= 8, "{signatures} signatures, {chains} chains");
}
