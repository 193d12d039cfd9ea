//! Which key or certificate proves what: the rules, and what does not fit together.
//!
//! ```text
//!              the connection names       else its `psk`     else [gateway]
//!   ours       cert and key, or key       psk                cert and key, or key
//!   theirs     ca, peer_cert, peer_key    psk                ca
//! ```
//!
//! So `psk` alone is both sides, `psk` beside `cert` is the peer's side only, and a `psk` that is left for no side is an error
//! (E0162): nobody shall believe in a key that is not in use.

use std::path::Path;
use std::sync::Arc;

use ikev2::pki::{Certificate, CertificateTrust, Credential, CrlPolicy, PkiError};

use super::auth::{Auth, Dated, OurKey, OurProof, Part, TheirProof, Trust};
use super::codes::Code;
use super::load::Surroundings;
use super::pem;
use super::raw::Raw;
use super::raw_auth::RawAuth;
use super::raw_connection::RawConnection;
use super::report::Diagnostic;
use super::secret::{KeySource, PresharedKey};
use super::section::{Field, Findings};
use super::source::{At, Place};
use super::validity;

/// One side, as far as it was read: what it is, what of it has an end, and where it stands.
type Side<T> = Field<(T, Vec<Dated>)>;

/// What `[gateway]` says for connections that say nothing.
pub(super) struct Defaults {
    ours: Side<OurKey>,
    theirs: Side<TheirProof>,
}

impl Defaults {
    pub(super) fn read(raw: &Raw, surroundings: &Surroundings, findings: &mut Findings) -> Self {
        let Some(raw) = raw.gateways.first().map(|first| &first.auth) else {
            // What a misspelled table has is not missed on top.
            let (ours, theirs) = if raw.lost_gateway {
                (Field::Wrong, Field::Wrong)
            } else {
                (Field::Absent, Field::Absent)
            };
            return Self { ours, theirs };
        };
        let ours = ours(raw, surroundings, findings);
        Self { ours, theirs: theirs(raw, surroundings, findings) }
    }

    /// E0107: nothing at all proves an identity.
    pub(super) fn check_any(&self, raw: &RawConnection, findings: &mut Findings) {
        let own = raw.auth.has_ours() || raw.auth.has_theirs() || !raw.psk.is_absent();
        if own || !self.ours.is_absent() || !self.theirs.is_absent() {
            return;
        }
        let name = &raw.name;
        let message = format!("[connection.{}] has no `psk` and no certificate", name.value);
        findings.add(
            Diagnostic::at(Code::MissingKey, &name.place, message)
                .label("`psk` is missing here")
                .fix(
                    "write `psk = { file = \"PATH\" }`; or `cert`, `key` and `ca`, see s2s-gw pki",
                ),
        );
    }
}

/// What a side came to.
enum Outcome<T> {
    Given(T),
    Absent,
    Wrong,
}

/// How both sides of a connection prove who they are; `psk` is its pre-shared key, if it has one. `None` after an error.
pub(super) fn auth(
    raw: &RawConnection,
    psk: &Field<PresharedKey>,
    defaults: &Defaults,
    surroundings: &Surroundings,
    findings: &mut Findings,
) -> Option<Auth> {
    let own = &raw.auth;
    let ours = ours(own, surroundings, findings);
    let theirs = theirs(own, surroundings, findings);
    if let (true, true, Some(at)) = (own.has_ours(), own.has_theirs(), psk.given()) {
        findings.add(unused_psk(&at.place, raw));
    }
    let of_psk = |psk: &Field<PresharedKey>| {
        psk.clone().and_then(|at| Some(at.map(|key| (key, Vec::new()))))
    };
    let mut dated = Vec::new();
    let ours = if own.has_ours() {
        of(ours, OurProof::Signature, &mut dated)
    } else if psk.is_absent() {
        of(defaults.ours.clone(), OurProof::Signature, &mut dated)
    } else {
        of(of_psk(psk), OurProof::Psk, &mut dated)
    };
    let theirs = if own.has_theirs() {
        of(theirs, |proof| proof, &mut dated)
    } else if psk.is_absent() {
        of(defaults.theirs.clone(), |proof| proof, &mut dated)
    } else {
        of(of_psk(psk), TheirProof::Psk, &mut dated)
    };
    missing(raw, &ours, &theirs, findings);
    let (Outcome::Given(ours), Outcome::Given(theirs)) = (ours, theirs) else { return None };
    Some(Auth { ours, theirs, dated })
}

fn of<T, U>(side: Side<T>, wrap: impl FnOnce(T) -> U, dated: &mut Vec<Dated>) -> Outcome<U> {
    match side {
        Field::Absent => Outcome::Absent,
        Field::Wrong => Outcome::Wrong,
        Field::Given(at) => {
            let (value, more) = at.value;
            dated.extend(more);
            Outcome::Given(wrap(value))
        }
    }
}

/// E0107.
fn missing<A, B>(
    raw: &RawConnection,
    ours: &Outcome<A>,
    theirs: &Outcome<B>,
    findings: &mut Findings,
) {
    let name = &raw.name;
    let at = |message: String| Diagnostic::at(Code::MissingKey, &name.place, message);
    let absent = (matches!(ours, Outcome::Absent), matches!(theirs, Outcome::Absent));
    match absent {
        // Both are there, or it was told already (`check_any`).
        (false, false) | (true, true) => {}
        (true, false) => findings.add(
            at(format!("[connection.{}] does not say how we prove who we are", name.value))
                .label("`cert` and `key` are missing here")
                .why("what is there is about the peer only")
                .fix("write `cert = \"NAME.pem\"` and `key = \"NAME.key\"`, or `psk = { file = \"PATH\" }`"),
        ),
        (false, true) => findings.add(
            at(format!("[connection.{}] does not say how the peer proves who it is", name.value))
                .label("`ca` is missing here")
                .why("what is there is about us only; without it everybody would be let in")
                .fix("write `ca = \"ca.pem\"`, `peer_cert`, `peer_key` or `psk = { file = \"PATH\" }`"),
        ),
    }
}

fn ours(raw: &RawAuth, surroundings: &Surroundings, findings: &mut Findings) -> Side<OurKey> {
    let (cert, source) = match (&raw.cert, &raw.key) {
        (Field::Absent, Field::Absent) => {
            if let Some(at) = raw.rsa_padding.given() {
                findings.add(
                    Diagnostic::at(Code::AuthMixed, &at.place, "`rsa_padding` without `key`")
                        .label("it says how that key signs")
                        .fix("write `cert` and `key` beside it, or delete it"),
                );
                return Field::Wrong;
            }
            return Field::Absent;
        }
        (Field::Wrong, _) | (_, Field::Wrong) => return Field::Wrong,
        (Field::Given(cert), Field::Absent) => {
            findings.add(
                Diagnostic::at(Code::AuthMixed, &cert.place, "`cert` without `key`")
                    .label("a certificate proves nothing without its private key")
                    .fix("write `key = \"NAME.key\"`, or { credential = \"NAME\" } under systemd"),
            );
            return Field::Wrong;
        }
        (Field::Absent, Field::Given(key)) => (None, key),
        (Field::Given(cert), Field::Given(key)) => (Some(cert), key),
    };
    let key = pem::private_key(&source.value, surroundings, findings);
    let chain = cert.map(|cert| pem::certificates("cert", cert, surroundings, findings));
    let (Some(key), Some(chain)) = (key, chain.map_or(Some(None), |chain| chain.map(Some))) else {
        return Field::Wrong;
    };
    let (file, chain) = chain.unwrap_or_default();
    let dated = dated(Part::Ours, &file, &chain);
    let place = cert.map_or(&source.place, |cert| &cert.place);
    validity::warn(&dated, place, surroundings, findings);
    let padding = raw.rsa_padding.value().copied().unwrap_or_default();
    let made = match cert {
        Some(_) => Credential::certified(&key, chain),
        None => Credential::raw(&key),
    };
    match made.map(|made| Arc::new(made.with_rsa_padding(padding))) {
        Ok(credential) => {
            Field::Given(At::new((OurKey { credential, padding }, dated), place.clone()))
        }
        Err(error) => {
            findings.add(no_credential(&error, cert, source));
            Field::Wrong
        }
    }
}

/// The key, the chain, or both together cannot be used.
fn no_credential(error: &PkiError, cert: Option<&At<String>>, key: &At<KeySource>) -> Diagnostic {
    let at = |code, place, message| Diagnostic::at(code, place, message).label(error.to_string());
    let is_chain = matches!(error, PkiError::ChainOrder { .. } | PkiError::TooManyCertificates(_));
    match (error, cert) {
        (PkiError::KeyDoesNotFit { .. }, Some(cert)) => {
            at(Code::KeyMismatch, &key.place, "`key` does not fit `cert`")
                .related(&cert.place, "the first certificate in here is for another key")
                .fix("name the key that the certificate was made for, or the other certificate")
        }
        (_, Some(cert)) if is_chain => {
            at(Code::CertFile, &cert.place, "the certificates in `cert` make no chain")
                .fix("put our certificate first, then the one that issued it, and so on; no root")
        }
        (PkiError::RsaPrivateKey { .. } | PkiError::Unsupported(_), _) => {
            at(Code::WeakCertificate, &key.place, "`key` cannot be used")
                .fix("make a new key, and have a certificate made for it")
        }
        _ => at(Code::PrivateKey, &key.place, "`key` cannot be used")
            .fix("name a PEM file with a private key"),
    }
}

fn theirs(raw: &RawAuth, surroundings: &Surroundings, findings: &mut Findings) -> Side<TheirProof> {
    let named = [
        ("ca", !raw.ca.is_absent(), raw.ca.given().map(|at| &at.place)),
        ("peer_cert", !raw.peer_cert.is_absent(), raw.peer_cert.given().map(|at| &at.place)),
        ("peer_key", !raw.peer_key.is_absent(), raw.peer_key.given().map(|at| &at.place)),
    ];
    let there: Vec<_> = named.iter().filter(|(_, is_there, _)| *is_there).collect();
    let lists = [raw.crl.given().map(|at| &at.place), raw.crl_policy.given().map(|at| &at.place)];
    if let (true, Some(place)) = (raw.ca.is_absent(), lists.into_iter().flatten().next()) {
        findings.add(
            Diagnostic::at(Code::AuthMixed, place, "a revocation list without `ca`")
                .label("it is about the certificates of an authority")
                .why("what is believed without an authority is not looked up in its list")
                .fix("write `ca` beside it, or delete it"),
        );
        return Field::Wrong;
    }
    match there.as_slice() {
        [] => Field::Absent,
        [_] => read_theirs(raw, surroundings, findings),
        [.., last] => {
            let words: Vec<_> = there.iter().map(|(key, ..)| format!("`{key}`")).collect();
            let first = there.iter().find_map(|(_, _, place)| *place);
            let Some(place) = last.2.or(first) else { return Field::Wrong };
            let message = format!("{} beside each other", words.join(" and "));
            let mut found = Diagnostic::at(Code::AuthMixed, place, message)
                .label("which one is it?")
                .why("either would be enough, so the stricter one would not count")
                .fix("keep `ca` for every certificate that it issues, `peer_cert` or `peer_key` for this one only");
            if let Some(first) = first.filter(|first| *first != place) {
                found = found.related(first, "this one lets the peer in, too");
            }
            findings.add(found);
            Field::Wrong
        }
    }
}

fn read_theirs(
    raw: &RawAuth,
    surroundings: &Surroundings,
    findings: &mut Findings,
) -> Side<TheirProof> {
    if let Field::Given(name) = &raw.peer_key {
        if !super::keys::names_a_file(&name.value) {
            findings.add(
                Diagnostic::at(Code::KeySource, &name.place, "`peer_key` does not name a file")
                    .label("not shown: it may be a key")
                    .fix("write `peer_key = \"NAME.pub\"`; a pre-shared key is `psk`"),
            );
            return Field::Wrong;
        }
        let key = pem::public_key(name, surroundings, findings);
        return key.map_or(Field::Wrong, |key| {
            Field::Given(At::new((TheirProof::PublicKey(key), Vec::new()), name.place.clone()))
        });
    }
    let (key, part, names) = match (&raw.ca, &raw.peer_cert) {
        (Field::Given(names), _) => ("ca", Part::Authority, names),
        (_, Field::Given(names)) => ("peer_cert", Part::Pinned, names),
        _ => return Field::Wrong,
    };
    let mut trust = CertificateTrust::default();
    let mut dated = Vec::new();
    let mut complete = true;
    for name in &names.value {
        let Some((file, mut found)) = pem::certificates(key, name, surroundings, findings) else {
            complete = false;
            continue;
        };
        if part == Part::Pinned {
            // What follows in such a file is the chain, which a pinned certificate does without.
            found.truncate(1);
        }
        if part == Part::Authority {
            complete &= found.iter().all(|one| is_authority(one, name, findings));
        }
        let ends = self::dated(part, &file, &found);
        validity::warn(&ends, &name.place, surroundings, findings);
        dated.extend(ends);
        if part == Part::Authority {
            trust.anchors.extend(found);
        } else {
            trust.pinned.extend(found);
        }
    }
    let lists = read_lists(raw, &mut trust, &mut dated, surroundings, findings);
    let Some(lists) = lists.filter(|_| complete) else { return Field::Wrong };
    let trust = Trust { trust: Arc::new(trust), lists: lists.into() };
    Field::Given(At::new((TheirProof::Certificate(trust), dated), names.place.clone()))
}

/// E0165.
fn is_authority(one: &Certificate, name: &At<String>, findings: &mut Findings) -> bool {
    if !one.is_ca() {
        let message = format!("`{}` is not the certificate of an authority", name.value);
        findings.add(
            Diagnostic::at(Code::NotAuthority, &name.place, message)
                .label(format!("that of {} is not made to issue others (CA:TRUE)", one.subject()))
                .why("`ca` names who issues certificates; the peer's own is `peer_cert`")
                .fix(format!(
                    "name the file of {}, which issued it, or write `peer_cert`",
                    one.issuer()
                )),
        );
    }
    one.is_ca()
}

/// The lists, each of an authority that is there; `None` after an error.
fn read_lists(
    raw: &RawAuth,
    trust: &mut CertificateTrust,
    dated: &mut Vec<Dated>,
    surroundings: &Surroundings,
    findings: &mut Findings,
) -> Option<Vec<Vec<u8>>> {
    let policy = raw.crl_policy.given();
    trust.crl_policy = policy.map_or(CrlPolicy::default(), |at| at.value);
    if let (Some(at), true) = (policy, raw.crl.is_absent())
        && at.value == CrlPolicy::Require
    {
        findings.add(
            Diagnostic::at(
                Code::AuthMixed,
                &at.place,
                "`crl_policy` wants a list, and there is none",
            )
            .label("every peer would be refused")
            .fix("write `crl = \"crl.pem\"`, or delete `crl_policy`"),
        );
        return None;
    }
    if matches!(raw.crl, Field::Wrong) || matches!(raw.crl_policy, Field::Wrong) {
        return None;
    }
    let mut octets = Vec::new();
    let mut complete = true;
    for name in raw.crl.value().into_iter().flatten() {
        let Some(read) = pem::lists(name, surroundings, findings) else {
            complete = false;
            continue;
        };
        for (list, der) in read.lists {
            let to = list.next_update().unwrap_or(u64::MAX);
            let (part, from) = (Part::List, list.this_update());
            let one =
                Dated { part, file: read.path.clone(), name: list.issuer().to_string(), from, to };
            validity::warn(std::slice::from_ref(&one), &name.place, surroundings, findings);
            dated.push(one);
            trust.crls.push(list);
            octets.push(der);
        }
    }
    complete.then_some(octets)
}

fn dated(part: Part, file: &Path, certificates: &[Certificate]) -> Vec<Dated> {
    certificates.iter().map(|one| Dated::of(part, file, one)).collect()
}

/// E0162: a key that neither side uses.
fn unused_psk(place: &Place, raw: &RawConnection) -> Diagnostic {
    let own = &raw.auth;
    let ours = own.cert.given().map(|at| &at.place).or(own.key.given().map(|at| &at.place));
    let mut found = Diagnostic::at(Code::AuthMixed, place, "`psk` is used by neither side")
        .label("this key would count for nothing")
        .why("`cert` says how we prove who we are, `ca`, `peer_cert` or `peer_key` how the peer does")
        .fix("delete `psk`, or the keys of the side that is to use it");
    if let Some(ours) = ours {
        found = found.related(ours, "our side");
    }
    found
}
