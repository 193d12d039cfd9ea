//! AUTH payloads that prove nothing (T12, RFC 7296 §2.15, RFC 5998, RFC 7619): whatever it is, one AUTHENTICATION_FAILED, and nobody
//! is let in.
//!
//! ```text
//!   A, half open, with the keys of IKE_SA_INIT but not the pre-shared one ── IDi, AUTH, SA, TSi, TSr ──► B
//! ```

use testkit::measured::measured;

use super::letter::read;
use super::*;
use crate::registry::AuthMethod;

/// B waits for IKE_AUTH; the real one, that A has sent, is held back.
fn half_open() -> (Pair, Vec<u8>) {
    let mut pair = Pair::new();
    pair.pass();
    pair.pass();
    let (_, auth) = pair.wire.pop_front().unwrap();
    (pair, auth.payload.to_vec())
}

fn offer(chain: &mut Chain) {
    let mut proposal = Proposal::esp_from_keywords(ESP).unwrap();
    (proposal.spi, proposal.number) = (vec![0, 0, 0x12, 0x34], 1);
    chain.sa(&[proposal]).ts_i(&[subnet(A)]).ts_r(&[subnet(B)]);
}

/// B is asked with this, and must answer as to a wrong key, in as many octets.
#[track_caller]
fn assert_refused(name: &str, chain: &Chain) {
    let (mut pair, _) = half_open();
    let request = pair.forge(A, ExchangeType::IKE_AUTH, (1, false), chain);
    assert_eq!(pair.deliver(A, &request), Disposition::Accepted, "{name}");
    let (_, answer) = pair.wire.pop_front().expect("an answer");
    assert_eq!(pair.open(A, &answer.payload), [NotifyType::AUTHENTICATION_FAILED], "{name}");
    assert_eq!(answer.payload.len(), 65, "{name}: all refusals look alike");
    assert!(pair.ends[B].children.is_empty(), "{name}");
    assert!(pair.ends[B].sas.values().all(|sa| sa.stage() != Stage::Up), "{name}");
    assert_eq!(count(&pair.events[B], |e| matches!(e, Event::PeerUp { .. })), 0, "{name}");
}

/// The right AUTH of A, as it lies in its request.
fn right_auth(pair: &mut Pair, auth: &[u8]) -> Vec<u8> {
    read(pair, B, auth, |body| body.auth.unwrap().data.to_vec())
}

#[test]
fn every_other_method_and_none_at_all() {
    let mut tried = 0;
    for method in (0..=255u8).filter(|method| *method != AuthMethod::SHARED_KEY.0) {
        let (mut pair, real) = half_open();
        let right = right_auth(&mut pair, &real);
        for data in [&right[..], &[], &[0; 64]] {
            let mut chain = Chain::new();
            chain.id_i(&name(A)).auth(AuthMethod(method), data);
            offer(&mut chain);
            assert_refused(&format!("method {method}"), &chain);
            tried += 1;
        }
    }
    // EAP begins without AUTH (RFC 7296 §2.16, RFC 5998); NULL has its own ID type 13 (RFC 7619).
    let mut eap = Chain::new();
    eap.id_i(&name(A)).notify(NotifyType(16_417), &[]);
    offer(&mut eap);
    assert_refused("EAP only", &eap);
    let mut nobody = Chain::new();
    nobody.auth(AuthMethod::SHARED_KEY, &[7; 32]);
    offer(&mut nobody);
    assert_refused("no identity", &nobody);
    measured(
        "T12",
        "accepted of AUTH payloads with another method or none",
        format!("0 of {}", tried + 2),
        "0",
    );
}

/// The right key for every octet but those that the other side's AUTH, or another SA's, has in its place.
#[test]
fn what_was_made_for_somebody_else() {
    let (mut pair, real) = half_open();
    let right = right_auth(&mut pair, &real);
    let wrong: Vec<Vec<u8>> = vec![
        vec![],
        vec![0; 32],
        right[..31].to_vec(),
        [&right[..], &[0]].concat(),
        right.iter().map(|octet| octet ^ 1).collect(),
        // Of an SA that was made before: other nonces, other keys.
        right.clone(),
    ];
    for (number, data) in wrong.iter().enumerate() {
        let mut chain = Chain::new();
        chain.id_i(&name(A)).auth(AuthMethod::SHARED_KEY, data);
        offer(&mut chain);
        if number + 1 < wrong.len() {
            assert_refused(&format!("AUTH {number}"), &chain);
        } else {
            let mut other = Pair::empty();
            other.ends[A] = Endpoint::new(EndpointConfig::default(), [9; 32]);
            other.ends[B].add_peer(other.now, config(B));
            other.ends[A].add_peer(other.now, config(A));
            other.drain();
            other.pass();
            other.pass();
            other.wire.clear();
            assert_eq!(
                other.ask(A, ExchangeType::IKE_AUTH, 1, &chain),
                [NotifyType::AUTHENTICATION_FAILED]
            );
            assert!(other.ends[B].children.is_empty());
        }
    }
}

/// The initiator's own AUTH comes back to it as the responder's, under either name (RFC 7296 §2.15: who reflects knows no key).
#[test]
fn our_own_auth_sent_back_to_us_proves_nothing() {
    for claimed in [name(A), name(B)] {
        for both_are_called_alike in [false, true] {
            let mut pair = Pair::empty();
            let mut ours = config(A);
            if both_are_called_alike {
                ours.remote_id = RemoteId::Exact(name(A));
            }
            pair.ends[B].add_peer(pair.now, config(B));
            pair.ends[A].add_peer(pair.now, ours);
            pair.drain();
            pair.pass();
            pair.pass();
            let (_, request) = pair.wire.pop_front().unwrap();
            let own = right_auth(&mut pair, &request.payload);
            let mut chain = Chain::new();
            chain.id_r(&claimed).auth(AuthMethod::SHARED_KEY, &own);
            offer(&mut chain);
            let answer = pair.forge(B, ExchangeType::IKE_AUTH, (1, true), &chain);
            pair.deliver(B, &answer);
            assert_eq!(count(&pair.events[A], |e| matches!(e, Event::PeerUp { .. })), 0);
            assert!(pair.ends[A].children.is_empty());
        }
    }
}

/// Names that would fit if anybody took them for patterns, or compared less than all of them.
#[test]
fn identities_that_nobody_has() {
    let fqdn = |text: &str| Identity::Fqdn(text.into());
    let long = "a".repeat(60_000);
    let names = [
        fqdn(""),
        fqdn("*"),
        fqdn("*.test"),
        fqdn("%any"),
        fqdn("@a.test"),
        fqdn("a.test."),
        fqdn(".a.test"),
        fqdn("a.test\0"),
        fqdn("a.test\0.evil.test"),
        fqdn("A.TEST\n"),
        fqdn("a.tes"),
        fqdn("a.testt"),
        fqdn("$(id)"),
        fqdn("%n%n%s"),
        fqdn("\u{1b}[2J"),
        fqdn(&long),
        fqdn("b.test"),
        Identity::from(std::net::IpAddr::from([192, 0, 2, 1])),
    ];
    for identity in &names {
        let (mut pair, real) = half_open();
        let right = right_auth(&mut pair, &real);
        let mut chain = Chain::new();
        chain.id_i(identity).auth(AuthMethod::SHARED_KEY, &right);
        offer(&mut chain);
        assert_refused(&format!("{:.40}", identity.to_string()), &chain);
    }
    measured("T12", "accepted of identities that nobody has", format!("0 of {}", names.len()), "0");
}

/// A key that is not there is no key that everybody has.
#[test]
fn the_empty_key_opens_nothing() {
    let mut pair = Pair::empty();
    pair.ends[B].add_peer(pair.now, config(B));
    let mut keyless = config(A);
    keyless.set_psk(Psk::new(Vec::new()));
    pair.ends[A].add_peer(pair.now, keyless);
    pair.drain();
    pair.settle();
    assert!(pair.ends[B].children.is_empty() && pair.ends[A].children.is_empty());
}
