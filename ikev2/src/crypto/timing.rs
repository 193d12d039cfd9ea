//! The comparisons of secrets and what is computed with private keys, for the benchmark that measures whether their time tells something (`benches/constant.rs`).

use super::auth::{SignedOctets, psk_auth, verify_psk};
use super::integ::Integ;
use super::ke;
use super::ppk::Confirmation;
use super::prf::Prf;
use crate::config::Psk;
use crate::registry::KeMethod;
use crate::wire::header::IkeSpi;

const OCTETS: SignedOctets<'static> = SignedOctets {
    message: &[1; 400],
    peer_nonce: &[2; 32],
    sk_p: &[3; 32],
    id_body: &[4; 20],
    int_auth: &[],
};

/// What a peer with this key sends as its AUTH.
#[must_use]
pub fn auth(psk: &Psk) -> Vec<u8> {
    psk_auth(Prf::HmacSha2_256, psk, OCTETS).to_vec()
}

/// Whether it is that.
#[must_use]
pub fn is_auth(psk: &Psk, received: &[u8]) -> bool {
    verify_psk(Prf::HmacSha2_256, psk, OCTETS, received).is_some()
}

/// What shows that the sender has this post-quantum key, where the nonces are zero octets.
#[must_use]
pub fn confirmation(ppk: &[u8]) -> [u8; 8] {
    CONFIRMED.of(ppk)
}

/// Whether it is that.
#[must_use]
pub fn is_confirmed(ppk: &[u8], received: [u8; 8]) -> bool {
    CONFIRMED.is_of(ppk, received)
}

const CONFIRMED: Confirmation<'static> = Confirmation {
    prf: Prf::HmacSha2_256,
    nonces: (&[0; 32], &[0; 32]),
    spis: (IkeSpi(1), IkeSpi(2)),
};

/// A power of `base` in group 14 (2048 bits, RFC 3526): the shared secret of a private exponent and a peer's public value, both
/// big-endian, the latter of 256 octets. `None` if the value is none.
#[must_use]
pub fn power(exponent: &[u8], base: &[u8]) -> Option<Vec<u8>> {
    ke::power(KeMethod::MODP_2048, exponent, base).map(|secret| secret.to_vec())
}

/// The integrity check value of an IKE message.
#[must_use]
pub fn icv(key: &[u8; 32], message: &[u8]) -> Vec<u8> {
    Integ::HmacSha2_256_128.icv(key, &[message]).to_vec()
}

/// Whether it is that.
#[must_use]
pub fn is_icv(key: &[u8; 32], message: &[u8], received: &[u8]) -> bool {
    Integ::HmacSha2_256_128.verify(key, &[message], received)
}
