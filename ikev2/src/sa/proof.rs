//! Proving who we are, and checking that the peer is who it says (RFC 7296 §2.15): by key or by signature, each side its way.
//!
//! ```text
//!   show,   LocalAuth ─► CERT leaf, CERT issuer, ..  AUTH          certified key; the certificates go out whether asked for or not
//!   prove                [CERT key]                  AUTH          bare key; the key goes out if asked for (RFC 7670)
//!                                                    AUTH          pre-shared key
//!
//!   check   RemoteAuth + CERTs + AUTH ─► PeerAuthenticated, or what is wrong
//!
//!   wish    RemoteAuth ─► CERTREQ of our CAs, or of a bare key: the responder's in IKE_SA_INIT, the initiator's in IKE_AUTH
//! ```
//!
//! What a stranger can make us do is bounded: at most [`Credential::MAX_CHAIN`](crate::pki::Credential::MAX_CHAIN) certificates of 16 KiB together are read, and
//! [`MOST_TRIED`] configurations held against them.

use zeroize::Zeroizing;

use super::extensions::Announced;
use crate::config::{LocalAuth, PeerConfig, RemoteAuth, RemoteId};
use crate::crypto::auth::{
    PeerAuthenticated, SignedOctets, psk_auth, verify_psk, verify_signature,
};
use crate::crypto::prf::Prf;
use crate::crypto::signature::Hashes;
use crate::error::CloseReason;
use crate::event::Path;
use crate::pki::{AuthProblem, Certificate, chain};
use crate::registry::{AuthMethod, CertEncoding};
use crate::wire::identity::Identity;
use crate::wire::message::{Auth, Body, Chain};

/// How often what a stranger shows is held against a configuration with the identity that it claims: each time costs a chain
/// and a signature, and with a post-quantum key AUTH may come in two forms.
pub(super) const MOST_TRIED: usize = 8;

/// The most CAs that a CERTREQ names.
const MOST_AUTHORITIES: usize = 64;

/// What the name of a pre-shared key is among the ways to prove an identity.
const PSK: &str = "PSK";

/// Both ends of an SA, as they have proved themselves.
#[derive(Debug, Clone)]
pub(super) struct Ends {
    pub(super) local_id: Identity,
    pub(super) remote_id: Identity,
    pub(super) local_auth: &'static str,
    pub(super) remote: Shown,
}

/// How the peer proved itself.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) method: &'static str,
    pub(super) certificate: Option<Certificate>,
}

/// Who we are on this path.
pub(super) fn local_identity(config: &PeerConfig, path: Path) -> Identity {
    let certificate = match &config.local_auth {
        LocalAuth::Signature(credential) => credential.certificate(),
        LocalAuth::Psk(_) => None,
    };
    let certified = certificate.map(Certificate::identities).unwrap_or_default();
    match &config.local_id {
        // As it is in the certificate: its octets may differ from ours where the letters do not.
        Some(identity) => certified.iter().find(|one| *one == identity).unwrap_or(identity).clone(),
        None => match certified.last() {
            Some(subject) => subject.clone(),
            None => Identity::from(path.local.ip()),
        },
    }
}

/// Adds the CERT payloads.
pub(super) fn show(chain: &mut Chain, auth: &LocalAuth, peer: Announced) {
    let LocalAuth::Signature(credential) = auth else { return };
    for certificate in credential.chain() {
        chain.cert(CertEncoding::X509_SIGNATURE, certificate.der());
    }
    if credential.chain().is_empty() && peer.wants_raw_key {
        chain.cert(CertEncoding::RAW_PUBLIC_KEY, credential.public_key().spki());
    }
}

/// Adds the AUTH payload; returns how we proved ourselves, for people.
pub(super) fn prove(
    chain: &mut Chain,
    auth: &LocalAuth,
    peer: Announced,
    prf: Prf,
    signed: SignedOctets<'_>,
) -> Result<&'static str, CloseReason> {
    let data = data(auth, peer, prf, signed)?;
    chain.auth(data.method, &data.octets);
    Ok(data.name)
}

/// What an AUTH payload says.
pub(super) struct Data {
    pub(super) method: AuthMethod,
    pub(super) octets: Zeroizing<Vec<u8>>,
    /// The method, for people.
    pub(super) name: &'static str,
}

/// What our AUTH payload says.
pub(super) fn data(
    auth: &LocalAuth,
    peer: Announced,
    prf: Prf,
    signed: SignedOctets<'_>,
) -> Result<Data, CloseReason> {
    let credential = match auth {
        LocalAuth::Psk(psk) => {
            let octets = psk_auth(prf, psk, signed);
            return Ok(Data { method: AuthMethod::SHARED_KEY, octets, name: PSK });
        }
        LocalAuth::Signature(credential) => credential,
    };
    let cannot = || CloseReason::CannotSign {
        key: credential.public_key().kind(),
        hashes: peer.hashes.map(Hashes::numbers).unwrap_or_default(),
    };
    let (key, padding) = (credential.key(), credential.rsa_padding());
    let scheme = key.scheme(peer.hashes, padding).ok_or_else(cannot)?;
    let (method, octets) = key.sign(scheme, &signed.concat(prf)).ok_or_else(cannot)?;
    Ok(Data { method, octets: Zeroizing::new(octets), name: scheme.name() })
}

/// Adds the CERTREQ payloads for peers that may have any of these configurations.
pub(super) fn wish<'c>(chain: &mut Chain, any: impl Iterator<Item = &'c PeerConfig>) {
    let mut authorities: Vec<[u8; 20]> = Vec::new();
    let mut wants = (false, false);
    for config in any {
        match &config.remote_auth {
            RemoteAuth::Psk(_) => {}
            RemoteAuth::PublicKey(_) => wants.1 = true,
            RemoteAuth::Certificate(trust) => {
                wants.0 = true;
                for anchor in &trust.anchors {
                    let hash = anchor.public_key().certreq_hash();
                    if authorities.len() < MOST_AUTHORITIES && !authorities.contains(&hash) {
                        authorities.push(hash);
                    }
                }
            }
        }
    }
    if wants.0 {
        chain.cert_request(CertEncoding::X509_SIGNATURE, &authorities);
    }
    if wants.1 {
        chain.cert_request(CertEncoding::RAW_PUBLIC_KEY, &[]);
    }
}

/// Whether the peer asks for a bare key (RFC 7670 §3).
pub(super) fn wants_raw_key(body: &Body<'_>) -> bool {
    body.cert_requests.iter().any(|request| request.encoding == CertEncoding::RAW_PUBLIC_KEY)
}

/// Holds what the peer sent against what is configured for it. `signed`: its message, our nonce, its SK_p, its identity.
pub(super) fn check(
    wanted: &RemoteAuth,
    body: &Body<'_>,
    (claimed, auth): (&Identity, &Auth<'_>),
    prf: Prf,
    signed: SignedOctets<'_>,
    now: Option<u64>,
) -> Result<(PeerAuthenticated, Shown), CloseReason> {
    let fail =
        |problem| CloseReason::NotProved { claimed: claimed.clone(), problem: Box::new(problem) };
    let wrong_method = |wanted| fail(AuthProblem::Method { used: auth.method, wanted });
    let by_key = auth.method == AuthMethod::SHARED_KEY;
    match wanted {
        RemoteAuth::Psk(_) if !by_key => Err(wrong_method("a pre-shared key")),
        RemoteAuth::Certificate(_) if by_key => Err(wrong_method("a certificate")),
        RemoteAuth::PublicKey(_) if by_key => Err(wrong_method("a public key")),
        RemoteAuth::Psk(psk) => {
            let proof = verify_psk(prf, psk, signed, auth.data);
            let proof = proof.ok_or_else(|| CloseReason::WrongKey { claimed: claimed.clone() })?;
            Ok((proof, Shown { method: PSK, certificate: None }))
        }
        RemoteAuth::PublicKey(key) => {
            let (proof, scheme) = verify_signature(prf, key, signed, auth).map_err(fail)?;
            Ok((proof, Shown { method: scheme.name(), certificate: None }))
        }
        RemoteAuth::Certificate(trust) => {
            let x509 = body.certs.iter().filter(|c| c.encoding == CertEncoding::X509_SIGNATURE);
            let sent: Vec<&[u8]> = x509.map(|cert| cert.data).collect();
            let leaves = chain::leaves(trust, &sent, claimed, now).map_err(fail)?;
            let mut problem = AuthProblem::NoCertificate;
            for leaf in leaves {
                match verify_signature(prf, leaf.public_key(), signed, auth) {
                    Ok((proof, scheme)) => {
                        let shown = Shown { method: scheme.name(), certificate: Some(leaf) };
                        return Ok((proof, shown));
                    }
                    Err(why) => problem = why,
                }
            }
            Err(fail(problem))
        }
    }
}

/// Whom we expect on this path.
pub(super) fn expected_identity(config: &PeerConfig, path: Path) -> Identity {
    match &config.remote_id {
        RemoteId::Exact(identity) => identity.clone(),
        RemoteId::PeerAddress => Identity::from(path.remote.ip()),
    }
}

/// Whether the claimed identity is the expected one.
pub(super) fn is_expected(expected: &RemoteId, claimed: &Identity, path: Path) -> bool {
    match expected {
        RemoteId::Exact(identity) => identity == claimed,
        RemoteId::PeerAddress => *claimed == Identity::from(path.remote.ip()),
    }
}

#[cfg(test)]
mod tests {
    use testkit::pki::{Authority, TODAY};

    use super::*;
    use crate::pki::CertificateTrust;

    const SIGNED: SignedOctets<'_> = SignedOctets {
        message: b"message",
        peer_nonce: b"nonce",
        sk_p: b"key",
        id_body: b"id",
        int_auth: b"",
    };

    /// Hash-and-URL (RFC 7296 §3.6, 12 and 13), a list (7) and a bare key (15) are no certificates: the answer is the one to
    /// a peer that sent none, and nobody is asked for anything.
    #[test]
    fn what_is_no_x509_certificate_is_passed_over() {
        let anchors = vec![Certificate::from_der(&Authority::root("CA").der()).unwrap()];
        let trust = CertificateTrust { anchors, ..CertificateTrust::default() };
        let wanted = RemoteAuth::Certificate(std::sync::Arc::new(trust));
        let claimed = Identity::Fqdn("left.test".into());
        let auth = Auth { method: AuthMethod::DIGITAL_SIGNATURE, data: &[0; 80] };
        for encoding in [7, 12, 13, 15, 200] {
            let mut chain = Chain::new();
            let url = [[7; 20].as_slice(), b"http://192.0.2.1/certificate"].concat();
            chain.cert(CertEncoding(encoding), &url);
            let body = Body::parse(chain.first(), chain.octets()).unwrap();
            let now = Some(TODAY.as_secs());
            let found =
                check(&wanted, &body, (&claimed, &auth), Prf::HmacSha2_256, SIGNED, now).map(drop);
            let problem = Box::new(AuthProblem::NoCertificate);
            assert_eq!(found, Err(CloseReason::NotProved { claimed: claimed.clone(), problem }));
        }
    }
}
