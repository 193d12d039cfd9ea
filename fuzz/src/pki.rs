//! Certificates, keys and revocation lists, as files and peers bring them.

use ikev2::Identity;
use ikev2::pki::{Certificate, Credential, Crl, PublicKey};

/// One DER of any of them. What is read can be shown to people without harm.
pub(crate) fn certificate(data: &[u8]) {
    match Certificate::from_der(data) {
        Ok(certificate) => look(&certificate),
        Err(error) => drop(error.to_string()),
    }
    if let Ok(list) = Crl::from_der(data) {
        let _facts = (list.issuer().to_string(), list.this_update(), list.next_update());
        let _count = list.revoked();
    }
    if let Ok(key) = PublicKey::from_spki_der(data) {
        let _facts = (key.kind(), key.fingerprint());
        let again = PublicKey::from_spki_der(key.spki()).expect("what was read once");
        assert_eq!(again.spki(), key.spki());
    }
    if let Ok(key) = Credential::raw(data) {
        let _public = key.public_key().spki();
    }
}

fn look(certificate: &Certificate) {
    for name in [certificate.subject(), certificate.issuer()] {
        let text = name.to_string();
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    for identity in certificate.identities() {
        assert!(certificate.covers(identity));
        let text = identity.to_string();
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert_eq!(text.parse::<Identity>().as_ref(), Ok(identity), "{text:?}");
    }
    let _facts = (certificate.serial(), certificate.is_ca(), certificate.fingerprint());
    for now in [0, certificate.not_before(), certificate.not_after(), u64::MAX] {
        if let Err(problem) = certificate.check_use(now) {
            let _sentence = problem.to_string();
        }
    }
    let again = Certificate::from_der(certificate.der()).expect("what was read once");
    assert_eq!(again.fingerprint(), certificate.fingerprint());
}
