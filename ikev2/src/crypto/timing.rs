//! The comparisons of secrets, for the benchmark that measures whether their time tells something (`benches/constant.rs`).

use super::auth::{SignedOctets, psk_auth, verify_psk};
use super::integ::Integ;
use super::prf::Prf;
use crate::config::Psk;

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
