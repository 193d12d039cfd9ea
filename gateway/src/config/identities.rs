//! Who the two sides are, and whether their certificates are for that.
//!
//! ```text
//!   we     local_id, else `id` of [gateway], else what our certificate says     E0166 not in the certificate
//!   peer   peer_id, else its address                                            E0167 missing, E0166 not in the pinned one
//! ```

use ikev2::Identity;
use ikev2::pki::Certificate;

use super::auth::{Auth, TheirProof};
use super::codes::Code;
use super::connection::Draft;
use super::model::{Gateway, HostName};
use super::raw_connection::RawConnection;
use super::report::Diagnostic;
use super::section::{Field, Findings};
use super::source::Place;

/// Ours.
pub(super) fn identity(field: &Field<String>, findings: &mut Findings) -> Option<Identity> {
    read(field, "write the one that the peer expects of us, or leave it out", findings)
}

/// The peer's.
pub(super) fn peer_identity(field: &Field<String>, findings: &mut Findings) -> Option<Identity> {
    read(field, "write the one that it sends; `s2s-gw status` names it when it calls", findings)
}

/// `one`: what to write instead of what other programs have for everybody.
fn read(field: &Field<String>, one: &str, findings: &mut Findings) -> Option<Identity> {
    let at = field.given()?;
    let message = || format!("`{}` is not an identity", at.value);
    let said = match at.value.parse::<Identity>() {
        _ if matches!(at.value.as_str(), "*" | "%any" | "%any4" | "%any6") => {
            Diagnostic::at(Code::BadIdentity, &at.place, message())
                .label("it stands for everybody")
                .why("each side has to prove one identity, and the key is looked up by it")
                .fix(one)
        }
        Ok(identity) => return Some(identity),
        Err(error) => Diagnostic::at(Code::BadIdentity, &at.place, message())
            .label(error.to_string())
            .fix("write an address, a DNS name, a mail address, keyid:TEXT, or the subject of a certificate"),
    };
    findings.add(said);
    None
}

/// That of the connection, of the gateway, or of our certificate.
pub(super) fn local_id(
    raw: &RawConnection,
    gateway: &Gateway,
    auth: Option<&Auth>,
    findings: &mut Findings,
) -> Option<Identity> {
    let own = identity(&raw.local_id, findings);
    if own.is_none() && !raw.local_id.is_absent() {
        return None;
    }
    let place = raw.local_id.given().map(|at| &at.place);
    let of_gateway = || gateway.id.as_ref().map(|id| (id, None));
    let configured = own.as_ref().map(|id| (id, place)).or_else(of_gateway);
    let cert = raw.auth.cert.given().map_or(&raw.name.place, |at| &at.place);
    our_identity(configured, auth, cert, findings)
}

/// Our identity: as configured, or what our certificate says. E0166 if the certificate is not for it.
fn our_identity(
    configured: Option<(&Identity, Option<&Place>)>,
    auth: Option<&Auth>,
    place: &Place,
    findings: &mut Findings,
) -> Option<Identity> {
    let Some(certificate) = auth.and_then(Auth::our_certificate) else {
        return configured.map(|(identity, _)| identity.clone());
    };
    let Some((identity, written)) = configured else {
        return certificate.identities().first().cloned();
    };
    if !certificate.covers(identity) {
        let names = list(certificate.identities());
        let message = format!("our certificate is not for {identity}");
        findings.add(
            Diagnostic::at(Code::NotInCertificate, written.unwrap_or(place), message)
                .label(format!("the certificate is for {names}"))
                .why("the peer believes the identity that our certificate is for, and no other")
                .fix("write one of these as `local_id`, leave it out, or have a certificate made for this one"),
        );
    }
    Some(identity.clone())
}

/// E0167: the peer is anybody whom an authority certified. E0166: the pinned certificate is for somebody else.
pub(super) fn check_peer_id(raw: &RawConnection, draft: &Draft, findings: &mut Findings) {
    let Some(Auth { theirs: TheirProof::Certificate(trust), .. }) = &draft.auth else { return };
    if matches!(raw.peer_id, Field::Wrong) || raw.peer_id.is_absent() != draft.peer_id.is_none() {
        return;
    }
    let peer_id = draft.peer_id.as_ref().zip(raw.peer_id.given().map(|at| &at.place));
    let by_address = draft.hosts.iter().all(|at| matches!(at.value.name, HostName::Address(_)));
    let place = &draft.peer_place;
    let pinned = &trust.trust().pinned;
    let Some((identity, written)) = peer_id else {
        if !by_address {
            let names = pinned.iter().flat_map(Certificate::identities).next();
            let name = names.map_or_else(|| "NAME".to_owned(), ToString::to_string);
            findings.add(
                Diagnostic::at(Code::CertificateNeedsId, place, "`peer_id` is missing")
                    .label("who has to be there?")
                    .why("an authority certifies many, and a certificate alone would let any of them in")
                    .fix(format!("write `peer_id = \"{name}\"` with the identity that the peer sends")),
            );
        }
        return;
    };
    if !pinned.is_empty() && !pinned.iter().any(|one| one.covers(identity)) {
        let names: Vec<Identity> =
            pinned.iter().flat_map(Certificate::identities).cloned().collect();
        findings.add(
            Diagnostic::at(
                Code::NotInCertificate,
                written,
                format!("the pinned certificate is not for {identity}"),
            )
            .label(format!("it is for {}", list(&names)))
            .fix("write one of these as `peer_id`, or pin the certificate of this peer"),
        );
    }
}

fn list(identities: &[Identity]) -> String {
    let all: Vec<_> = identities.iter().map(|one| format!("`{one}`")).collect();
    if all.is_empty() { "nobody".to_owned() } else { all.join(", ") }
}
