//! From what a peer sent to the key that its AUTH is held against, or what is wrong.
//!
//! ```text
//!   CERT 1  leaf            1. reads, and is for the identity that is claimed      RFC 4945 §3.1
//!                           2. valid now, may sign for IKE                         RFC 5280 §4.1.2.5, RFC 4945 §5.1.3
//!                           3. pinned?  then that is all
//!   CERT 2..8 issuers       4. a path to an anchor, of any of these, in any order   RFC 5280 §6, by rustls-webpki: signatures, validity,
//!                              basicConstraints, path length, name constraints, purposes, unknown critical extensions, CRLs
//!   no CERT                 each pinned certificate that passes 1 and 2
//! ```
//!
//! A stranger may send anything: the number and the octets of the certificates are limited before one of them is read, and
//! webpki limits the signatures that it checks.

use std::cmp::Reverse;

use der::asn1::ObjectIdentifier;
use p521::ecdsa::signature::Verifier;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm,
    TrustAnchor, UnixTime, alg_id,
};
use webpki::{
    EndEntityCert, Error, ExpirationPolicy, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage,
    RequiredEkuNotFoundContext, RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy,
    anchor_from_trusted_cert,
};

use super::{AuthProblem, Certificate, CertificateTrust, Credential, Crl, CrlPolicy};
use crate::wire::identity::Identity;
use crate::wire::name::DistinguishedName;

/// The most octets of certificates that are read: a chain of RSA-8192 has a third of it.
const MOST_OCTETS: usize = 16 * 1024;

/// Purposes that let a certificate sign for IKE: ipsecIKE and any (RFC 4945 §5.1.3.12); those of TLS; and the three of IPsec
/// that RFC 4945 calls obsolete (ipsecEndSystem, ipsecTunnel, ipsecUser).
pub(super) const PURPOSES: [ObjectIdentifier; 7] = [
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.17"),
    ObjectIdentifier::new_unwrap("2.5.29.37.0"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.5"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.6"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.7"),
];

/// The first of them, as DER has it.
const IPSEC_IKE: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x03\x11";

pub(super) const NO_PURPOSE: &str =
    "its extended key usage names neither ipsecIKE nor any purpose, nor serverAuth or clientAuth";

/// The certificates that the peer may have signed with; not empty. `now` in seconds since 1970.
pub(crate) fn leaves(
    trust: &CertificateTrust,
    sent: &[&[u8]],
    claimed: &Identity,
    now: Option<u64>,
) -> Result<Vec<Certificate>, AuthProblem> {
    let now = now.ok_or(AuthProblem::NoClock)?;
    let octets: usize = sent.iter().map(|der| der.len()).sum();
    if sent.len() > Credential::MAX_CHAIN {
        return Err(AuthProblem::TooMuch(format!("{} certificates", sent.len())));
    }
    if octets > MOST_OCTETS {
        return Err(AuthProblem::TooMuch(format!("{octets} octets of certificates")));
    }
    let Some((first, others)) = sent.split_first() else {
        return pinned(trust, claimed, now);
    };
    let leaf = Certificate::from_der(first);
    let leaf = leaf.map_err(|error| AuthProblem::Unreadable(error.to_string()))?;
    check(&leaf, claimed, now)?;
    if !trust.pinned.contains(&leaf) {
        check_path(trust, &leaf, others, now)?;
    }
    Ok(vec![leaf])
}

fn pinned(
    trust: &CertificateTrust,
    claimed: &Identity,
    now: u64,
) -> Result<Vec<Certificate>, AuthProblem> {
    let mut problem = AuthProblem::NoCertificate;
    let mut good = Vec::new();
    for leaf in trust.pinned.iter().take(Credential::MAX_CHAIN) {
        match check(leaf, claimed, now) {
            Ok(()) => good.push(leaf.clone()),
            Err(why) => problem = why,
        }
    }
    if good.is_empty() { Err(problem) } else { Ok(good) }
}

/// What the certificate itself has to say.
fn check(leaf: &Certificate, claimed: &Identity, now: u64) -> Result<(), AuthProblem> {
    if !leaf.covers(claimed) {
        let certified = leaf.identities().to_vec();
        return Err(AuthProblem::Identity { claimed: claimed.clone(), certified });
    }
    leaf.check_use(now)
}

/// Whether a CA of ours stands behind it.
fn check_path(
    trust: &CertificateTrust,
    leaf: &Certificate,
    others: &[&[u8]],
    now: u64,
) -> Result<(), AuthProblem> {
    if trust.crls.is_empty() && trust.crl_policy == CrlPolicy::Require {
        // webpki takes no lists for no wish to look at any.
        return Err(AuthProblem::RevocationUnknown { subject: leaf.subject().clone() });
    }
    #[cfg(test)]
    crate::effort::count("chains built");
    let explain = |error: Error| explain(error, trust, leaf, others, now);
    let der = CertificateDer::from(leaf.der());
    let end = EndEntityCert::try_from(&der).map_err(explain)?;
    let anchors: Vec<CertificateDer<'_>> =
        trust.anchors.iter().map(|anchor| CertificateDer::from(anchor.der())).collect();
    let anchors: Vec<TrustAnchor<'_>> =
        anchors.iter().filter_map(|anchor| anchor_from_trusted_cert(anchor).ok()).collect();
    let others: Vec<CertificateDer<'_>> =
        others.iter().map(|other| CertificateDer::from(*other)).collect();
    // webpki takes the first list of an issuer: the newest.
    let mut lists: Vec<&Crl> = trust.crls.iter().collect();
    lists.sort_by_key(|list| Reverse(list.this_update()));
    let lists: Vec<_> = lists.into_iter().map(Crl::list).collect();
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
    let path = end.verify_for_usage(
        &algorithms(),
        &anchors,
        &others,
        time,
        ForIke,
        revocation(&lists, trust.crl_policy),
        None,
    );
    path.map(|_| ()).map_err(explain)
}

/// What is accepted on the way up: the algorithms of webpki (RSA of 2048 to 8192 bits, ECDSA on P-256 and P-384, Ed25519, with
/// SHA-2) and ECDSA on P-521, which `ring` lacks.
fn algorithms() -> Vec<&'static dyn SignatureVerificationAlgorithm> {
    let p521: &dyn SignatureVerificationAlgorithm = &EcdsaP521Sha512;
    webpki::ALL_VERIFICATION_ALGS.iter().copied().chain([p521]).collect()
}

#[derive(Debug)]
struct EcdsaP521Sha512;

impl SignatureVerificationAlgorithm for EcdsaP521Sha512 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(public_key);
        let signature = p521::ecdsa::Signature::from_der(signature);
        let (Ok(key), Ok(signature)) = (key, signature) else { return Err(InvalidSignature) };
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA512
    }
}

/// The purposes of a certificate and of each CA above it: none named, or one of [`PURPOSES`].
struct ForIke;

impl ExtendedKeyUsageValidator for ForIke {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        let mut present = Vec::new();
        for purpose in purposes {
            let purpose = purpose?.to_decoded_oid();
            let is = |known: &ObjectIdentifier| {
                known.arcs().map(|arc| arc as usize).eq(purpose.iter().copied())
            };
            if PURPOSES.iter().any(is) {
                return Ok(());
            }
            present.push(purpose);
        }
        if present.is_empty() {
            return Ok(());
        }
        let required = KeyUsage::required_if_present(IPSEC_IKE);
        Err(Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext { required, present }))
    }
}

/// All certificates below the anchor are looked up.
fn revocation<'l>(
    lists: &'l [&'l webpki::CertRevocationList<'l>],
    policy: CrlPolicy,
) -> Option<RevocationOptions<'l>> {
    match (RevocationOptionsBuilder::new(lists), policy) {
        (Ok(builder), CrlPolicy::IfPresent) => {
            let lenient = builder.with_status_policy(UnknownStatusPolicy::Allow);
            Some(lenient.with_expiration_policy(ExpirationPolicy::Ignore).build())
        }
        (Ok(builder), CrlPolicy::Require) => {
            let strict = builder.with_status_policy(UnknownStatusPolicy::Deny);
            Some(strict.with_expiration_policy(ExpirationPolicy::Enforce).build())
        }
        // No lists at all.
        (Err(_), _) => None,
    }
}

/// What webpki found, in terms of the certificates at hand.
#[expect(clippy::wildcard_enum_match_arm, reason = "webpki's errors grow, and say what they are")]
fn explain(
    error: Error,
    trust: &CertificateTrust,
    leaf: &Certificate,
    others: &[&[u8]],
    now: u64,
) -> AuthProblem {
    let subject = leaf.subject().clone();
    match error {
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => {
            let read = others.iter().filter_map(|other| Certificate::from_der(other).ok());
            let culprit = read.filter(|one| !(one.not_before()..=one.not_after()).contains(&now));
            match culprit.map(|one| one.check_use(now)).find_map(Result::err) {
                Some(problem) => problem,
                None => AuthProblem::Chain { subject, rule: told(&error) },
            }
        }
        Error::UnknownIssuer => AuthProblem::UnknownIssuer {
            subject,
            issuer: topmost(leaf, others),
            trusted: trust.anchors.iter().map(|anchor| anchor.subject().clone()).collect(),
        },
        Error::CertRevoked => AuthProblem::Revoked { subject },
        Error::UnknownRevocationStatus => AuthProblem::RevocationUnknown { subject },
        Error::CrlExpired { .. } => AuthProblem::CrlExpired { subject },
        error => AuthProblem::Chain { subject, rule: told(&error) },
    }
}

/// Whose certificate is missing: the issuer of the last one that the chain leads to.
fn topmost(leaf: &Certificate, others: &[&[u8]]) -> DistinguishedName {
    let read: Vec<_> = others.iter().filter_map(|der| Certificate::from_der(der).ok()).collect();
    let mut issuer = leaf.issuer();
    for _ in others {
        match read.iter().find(|one| one.subject() == issuer && one.issuer() != issuer) {
            Some(next) => issuer = next.issuer(),
            None => break,
        }
    }
    issuer.clone()
}

/// The rules of RFC 5280 by name.
#[expect(clippy::wildcard_enum_match_arm, reason = "webpki's errors grow, and say what they are")]
fn told(error: &Error) -> String {
    match error {
        Error::CaUsedAsEndEntity => "its certificate is that of a CA".into(),
        Error::EndEntityUsedAsCa => "an issuer is no CA (basicConstraints)".into(),
        Error::PathLenConstraintViolated => {
            "there are more CAs than one of them allows (pathLenConstraint)".into()
        }
        Error::NameConstraintViolation => {
            "a CA must not issue for these names (nameConstraints)".into()
        }
        Error::RequiredEkuNotFoundContext(_) => {
            "a CA above it is for other purposes (extendedKeyUsage)".into()
        }
        Error::InvalidSignatureForPublicKey => "a signature on the way does not verify".into(),
        other => other.to_string(),
    }
}
