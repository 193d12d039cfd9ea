//! A peer that is known and did not prove who it is: what is wrong with its certificate, key or method, and who can mend it.
//!
//! ```text
//!   AuthProblem ──► E1030 expired          E1033 for somebody else       E1036 another method
//!                   E1031 not valid yet    E1034 revoked                 E1037 cannot be used
//!                   E1032 unknown issuer   E1035 nobody knows whether    E1038 the signature is wrong
//! ```

use ikev2::Identity;
use ikev2::pki::{AuthProblem, KeyKind};

use super::{Code, Fixed, Gravity, words};
use crate::status::certificate::printable;

/// The fixed part.
pub(super) const fn fixed(problem: &AuthProblem) -> Fixed {
    let (code, alert) = match problem {
        AuthProblem::Expired { .. } => (Code::PeerExpired, "peer-certificate-expired"),
        AuthProblem::NotYetValid { .. } | AuthProblem::NoClock => {
            (Code::PeerNotYetValid, "peer-certificate-not-yet-valid")
        }
        AuthProblem::UnknownIssuer { .. } => (Code::UnknownIssuer, "peer-certificate-untrusted"),
        AuthProblem::Identity { .. } => (Code::NotItsIdentity, "peer-certificate-identity"),
        AuthProblem::Revoked { .. } => (Code::PeerRevoked, "peer-certificate-revoked"),
        AuthProblem::RevocationUnknown { .. } | AuthProblem::CrlExpired { .. } => {
            (Code::RevocationUnknown, "revocation-unknown")
        }
        AuthProblem::Method { .. } | AuthProblem::NoCertificate => {
            (Code::OtherMethod, "auth-method-mismatch")
        }
        AuthProblem::Signature { .. } => (Code::WrongSignature, "local-auth-failed"),
        // The others are about a certificate that no authority of ours should have issued.
        AuthProblem::Algorithm(_)
        | AuthProblem::KeyKind { .. }
        | AuthProblem::TooMuch(_)
        | AuthProblem::Unreadable(_)
        | AuthProblem::Purpose { .. }
        | AuthProblem::Chain { .. }
        | _ => (Code::PeerUnusable, "peer-certificate-unusable"),
    };
    Fixed::new(code, alert, Gravity::NeedsEdit)
}

/// What happened, and what to do about it.
pub(super) fn sentences(claimed: &Identity, problem: &AuthProblem) -> (String, String) {
    let name = words::identity(claimed);
    let message =
        format!("the peer did not prove that it is {name}: {}", printable(&problem.to_string()));
    (message, fix(&name, problem))
}

fn fix(name: &str, problem: &AuthProblem) -> String {
    match problem {
        AuthProblem::Expired { .. } => {
            "give the peer a new certificate; if it has one, see that the clocks of both are right".to_owned()
        }
        AuthProblem::NotYetValid { .. } | AuthProblem::NoClock => {
            "see that the clocks of both gateways are right: date -u".to_owned()
        }
        AuthProblem::UnknownIssuer { issuer, .. } => format!(
            "put the certificate of {issuer} into `ca` here, or give the peer one that our authority issued, with those between"
        ),
        AuthProblem::Identity { certified, .. } => match certified.first() {
            Some(first) => format!(
                "set peer_id = \"{}\" here and that identity at the peer, or have a certificate made for {name}",
                words::identity(first)
            ),
            None => format!("have a certificate made for {name}, in its alternative names"),
        },
        AuthProblem::Revoked { .. } => {
            "find out why it was revoked; a peer that is to be let in needs a new certificate".to_owned()
        }
        AuthProblem::RevocationUnknown { .. } | AuthProblem::CrlExpired { .. } => {
            "put the newest lists of all authorities into `crl`, then s2s-gw reload".to_owned()
        }
        AuthProblem::Method { .. } => {
            "make both sides agree: `psk`, or `ca`, `peer_cert`, `peer_key` here, and what the peer has for itself".to_owned()
        }
        AuthProblem::NoCertificate => {
            "let the peer send its certificate, or pin it here: `peer_cert`".to_owned()
        }
        AuthProblem::Signature { .. } => {
            "see that the peer signs with the key of its certificate; with `peer_key`, that this is its key".to_owned()
        }
        AuthProblem::Algorithm(_)
        | AuthProblem::KeyKind { .. }
        | AuthProblem::TooMuch(_)
        | AuthProblem::Unreadable(_)
        | AuthProblem::Purpose { .. }
        | AuthProblem::Chain { .. }
        | _ => "have another certificate made for the peer; `s2s-gw pki show FILE` says what is in one".to_owned(),
    }
}

/// Our key makes no signature that the peer can check.
pub(super) fn cannot_sign(key: KeyKind, hashes: &[u16]) -> (String, String) {
    let hashes: Vec<String> = hashes.iter().map(ToString::to_string).collect();
    let known = if hashes.is_empty() {
        "it knows no signatures of RFC 7427".to_owned()
    } else {
        format!("it knows the hashes {}", hashes.join(", "))
    };
    (
        format!("the peer cannot check a signature with our {key} key: {known}"),
        "use a key that the peer knows, ECDSA P-256 or RSA mostly, or switch RFC 7427 on there"
            .to_owned(),
    )
}
