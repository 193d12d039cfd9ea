//! The AUTH payload (RFC 7296 §2.15): what is signed, and the only makers of [`PeerAuthenticated`].
//!
//! ```text
//!   AUTH = prf( prf(shared secret, "Key Pad for IKEv2"), signed octets )        or a signature over them: `signature.rs`
//!
//!   signed octets of the initiator = IKE_SA_INIT request,  header to end  | Nr | prf(SK_pi, rest of IDi payload) [| IntAuth]
//!   signed octets of the responder = IKE_SA_INIT response, header to end  | Ni | prf(SK_pr, rest of IDr payload) [| IntAuth]
//! ```
//!
//! The message is the one that made the SA: after COOKIE or INVALID_KE_PAYLOAD it is the last of them.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::prf::Prf;
use super::signature::{self, Scheme};
use crate::config::Psk;
use crate::pki::{AuthProblem, PublicKey};
use crate::wire::payload::Auth;

/// What one side signs.
#[derive(Clone, Copy)]
pub(crate) struct SignedOctets<'a> {
    /// The IKE_SA_INIT message that this side sent, from the header to its end, as it was on the wire.
    pub(crate) message: &'a [u8],
    /// The nonce that the other side sent, without payload header.
    pub(crate) peer_nonce: &'a [u8],
    /// SK_pi if the original initiator signs, else SK_pr.
    pub(crate) sk_p: &'a [u8],
    /// The ID payload of this side without its generic header: type, three reserved octets, data (`RestOfIDPayload`).
    pub(crate) id_body: &'a [u8],
    /// What the IKE_INTERMEDIATE exchanges left (RFC 9242 §3.3.2), see `intauth`; empty if there were none.
    pub(crate) int_auth: &'a [u8],
}

impl SignedOctets<'_> {
    /// All of it, one behind the other: for keys and signatures alike.
    pub(crate) fn concat(&self, prf: Prf) -> Vec<u8> {
        let maced_id = prf.compute(self.sk_p, &[self.id_body]);
        [self.message, self.peer_nonce, &maced_id, self.int_auth].concat()
    }
}

/// The proof that the peer knows the key. Nothing but [`verify_psk`] and [`verify_signature`] makes one.
#[derive(Debug)]
#[must_use]
pub(crate) struct PeerAuthenticated(());

/// The authentication data for an AUTH payload with method SHARED_KEY.
pub(crate) fn psk_auth(prf: Prf, psk: &Psk, signed: SignedOctets<'_>) -> Zeroizing<Vec<u8>> {
    let key = prf.compute(psk.octets(), &[KEY_PAD]);
    prf.compute(&key, &[&signed.concat(prf)])
}

/// Compares the authentication data that the peer sent with what the peer should have sent: `signed` is the peer's
/// message, our nonce, the peer's SK_p and the peer's identity. The comparison is in constant time.
pub(crate) fn verify_psk(
    prf: Prf,
    psk: &Psk,
    signed: SignedOctets<'_>,
    received: &[u8],
) -> Option<PeerAuthenticated> {
    #[cfg(test)]
    crate::effort::count("keys tried");
    let good: bool = psk_auth(prf, psk, signed).ct_eq(received).into();
    good.then_some(PeerAuthenticated(()))
}

/// Holds the signature that the peer sent against its public key, whose right to its identity is the caller's to check.
/// `signed` as for [`verify_psk`].
pub(crate) fn verify_signature(
    prf: Prf,
    key: &PublicKey,
    signed: SignedOctets<'_>,
    auth: &Auth<'_>,
) -> Result<(PeerAuthenticated, Scheme), AuthProblem> {
    #[cfg(test)]
    crate::effort::count("signatures verified");
    let scheme = signature::verify(key, auth.method, auth.data, &signed.concat(prf))?;
    Ok((PeerAuthenticated(()), scheme))
}

/// 17 octets, without terminating zero.
const KEY_PAD: &[u8] = b"Key Pad for IKEv2";

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: SignedOctets<'_> = SignedOctets {
        message: b"message",
        peer_nonce: b"nonce",
        sk_p: b"key",
        id_body: b"id",
        int_auth: b"",
    };

    fn psk(octets: &[u8]) -> Psk {
        Psk::new(octets.to_vec())
    }

    /// RFC 7296 §2.15 written out. Answers of a real negotiation are in `super::super::transcripts`.
    #[test]
    fn every_input_goes_where_the_rfc_puts_it() {
        let prf = Prf::HmacSha2_256;
        let maced_id = prf.compute(b"key", &[b"id"]);
        let octets = [b"message".as_slice(), b"nonce", &maced_id].concat();
        let inner = prf.compute(b"secret", &[b"Key Pad for IKEv2"]);
        let expected = prf.compute(&inner, &[&octets]);
        assert_eq!(psk_auth(prf, &psk(b"secret"), SIGNED), expected);
        let signed = SignedOctets { int_auth: b"IntAuth", ..SIGNED };
        // What keys and signatures have in common (RFC 9242 §3.3.2).
        assert_eq!(signed.concat(prf), [octets.as_slice(), b"IntAuth"].concat());
        let expected = prf.compute(&inner, &[&octets, b"IntAuth"]);
        assert_eq!(psk_auth(prf, &psk(b"secret"), signed), expected);
    }

    #[test]
    fn nothing_but_the_right_octets_is_a_proof() {
        let prf = Prf::HmacSha2_384;
        let key = psk(b"secret");
        let auth = psk_auth(prf, &key, SIGNED);
        assert!(verify_psk(prf, &key, SIGNED, &auth).is_some());
        assert!(verify_psk(prf, &psk(b"secreu"), SIGNED, &auth).is_none());
        assert!(verify_psk(Prf::HmacSha2_256, &key, SIGNED, &auth).is_none());
        for at in 0..auth.len() {
            let mut wrong = auth.to_vec();
            wrong[at] ^= 0x80;
            assert!(verify_psk(prf, &key, SIGNED, &wrong).is_none(), "{at}");
            assert!(verify_psk(prf, &key, SIGNED, &auth[..at]).is_none(), "{at}");
        }
        assert!(verify_psk(prf, &key, SIGNED, &[auth.as_slice(), &[0]].concat()).is_none());
        for other in [
            SignedOctets { message: b"massage", ..SIGNED },
            SignedOctets { peer_nonce: b"nonse", ..SIGNED },
            SignedOctets { sk_p: b"kez", ..SIGNED },
            SignedOctets { id_body: b"ie", ..SIGNED },
            SignedOctets { int_auth: b"i", ..SIGNED },
        ] {
            assert!(verify_psk(prf, &key, other, &auth).is_none());
        }
    }
}
